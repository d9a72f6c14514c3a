"""Settings for every test: float64, no silent rank promotion, no TF32."""

import atexit
import importlib.util
import os
import shutil
import signal
import tempfile
from pathlib import Path

import hypothesis
import jax
import jaxtyping
import pytest

# a shell's background job ignores Ctrl-C, and so would the processes that the tests interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# compiled programs are shared by the processes of this test run, and by no other
_CACHE = tempfile.mkdtemp(prefix="dynamics-tests-")
os.environ.setdefault("DYNAMICS_CACHE", _CACHE)
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)

# compiling fills most of the time of tests, and running that of the commands that they start
_FLAGS = os.environ.get("XLA_FLAGS", "")
_QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
os.environ["XLA_FLAGS"] = f"{_FLAGS} {_QUICK}".strip()
jax.devices()  # XLA reads its flags once
os.environ["XLA_FLAGS"] = f"{_FLAGS} --xla_backend_optimization_level=1".strip()

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "float32")  # the highest there is

# the same examples every time; compilation makes the first example slow, so there is no deadline
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("repeatable")

LONGEST = (
    "experiments",
    "test_readme",
    "test_gram",
    "test_kills",
    "test_batching",
    "test_processes",
    "test_cli",
)


def pytest_collection_modifyitems(items):
    """Long files first, so that no worker is left alone with one at the end."""

    def place(item):
        return next((i for i, name in enumerate(LONGEST) if name in item.nodeid), len(LONGEST))

    items.sort(key=place)


REFERENCE = Path(__file__).parent / "reference"


@pytest.fixture(scope="session")
def reference():
    """Loads a slow independent version by name: `reference("numpy_loop")`."""

    def load(name):
        spec = importlib.util.spec_from_file_location(f"reference_{name}", REFERENCE / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def untyped():
    """Turn the shape and type checks of the test run off, so that the library's own messages show."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
