"""Help without JAX, the number of CPU devices, and the cache of compiled programs."""

import itertools
import json
import os
import re
import subprocess
import sys
import time
import zlib
from pathlib import Path

import jax
import pytest

from dynamics import startup
from dynamics.cli import arguments, listing
from dynamics.experiments import registry

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"jax", "numpy", "matplotlib", "xarray", "scipy", "pandas", "optax", "flax"}
SETTLED = time.time() - 10 * startup.SETTLED_SECONDS
# what is compiled, and digits of what it gives
PROGRAM = """
import json, sys
import jax
from dynamics import startup

startup.prepare()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event))
x = jax.random.normal(jax.random.key(0), (50, 50))
y = jax.jit(lambda x: jax.numpy.tanh(x @ x) @ jax.numpy.exp(-x))(x)
json.dump({"y": y.tolist(), "hits": hits.count("/jax/compilation_cache/cache_hits"),
           "devices": len(jax.devices()), "folder": jax.config.jax_compilation_cache_dir}, sys.stdout)
"""


def python(code, **environment):
    """Run `code` in a process without what the test run's environment says of JAX; it must end well."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_", "TF_", "DYNAMICS_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=clean | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def program(**environment):
    done = python(PROGRAM, **environment)
    return json.loads(done.stdout) | {"stderr": done.stderr}


# --- what is not imported


@pytest.mark.parametrize("argv", [["--help"], [], ["run", "--help"], ["resume", "--help"], ["list"]])
def test_help_imports_nothing_heavy(argv):
    code = f"import sys; from dynamics.cli import main; main({argv!r}); print(*sys.modules, file=sys.stderr)"
    loaded = {name.split(".")[0] for name in python(code).stderr.split()}
    assert not loaded & HEAVY


def test_help_is_fast():
    """At most half a second; the best of five at most, as others use the machine too."""

    def seconds():
        begun = time.perf_counter()
        python("import sys; from dynamics.cli import main; main(['--help'])")
        return time.perf_counter() - begun

    assert any(seconds() < 0.5 for _ in range(5))


def test_experiments_import_nothing_that_only_few_runs_need():
    code = "import sys, dynamics.experiments.feature_averaging; print(*sys.modules)"
    loaded = set(python(code).stdout.split())
    assert not loaded & {"matplotlib", "scipy.io", "scipy.stats", "sklearn", "mlxtend", "matfree"}


def test_listing_reads_what_the_experiments_say(tmp_path):
    paths = listing.modules()
    assert [path.parent.name for path in paths] == registry.names()
    for path in paths:
        experiment = registry.get(path.parent.name)
        assert listing.about(path) == {
            "name": experiment.name,
            "arxiv": experiment.arxiv,
            "about": experiment.about,
        }
    # what is not a literal is looked up in the module
    other = tmp_path / paths[0].parent.name / paths[0].name
    other.parent.mkdir()
    other.write_text("EXPERIMENT = Experiment(name=NAME, arxiv='', about='')\n")
    assert listing.about(other) == listing.about(paths[0])


# --- devices


@pytest.mark.exhaustive
def test_a_device_a_core_unless_told_otherwise(tmp_path):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert startup.num_cores() == cores
    assert program(DYNAMICS_CACHE="off")["devices"] == cores
    flag = "--xla_force_host_platform_device_count=3"
    assert program(DYNAMICS_CACHE="off", XLA_FLAGS=flag)["devices"] == 3
    assert program(DYNAMICS_CACHE="off", JAX_NUM_CPU_DEVICES="5")["devices"] == 5


def test_devices_asked_for_and_too_late():
    code = """
import dynamics, jax
dynamics.prepare(cpu_devices=4, cache="off")
assert len(jax.devices()) == 4
dynamics.prepare(cpu_devices=4)
try:
    dynamics.prepare(cpu_devices=2)
except RuntimeError as error:
    print(error)
assert dynamics.startup.use_cache() is None and jax.config.jax_compilation_cache_dir is None
"""
    (sentence,) = python(code).stdout.splitlines()
    assert "before anything is computed" in sentence


def test_preparing_too_late_is_a_warning():
    code = """
import dynamics, jax, warnings
jax.devices()
with warnings.catch_warnings(record=True) as told:
    dynamics.prepare(cache="off")
cores = dynamics.startup.num_cores()
print(len(told) == (cores > 1), *{str(one.message)[-27:] for one in told if one.filename == "<string>"})
"""
    assert python(code).stdout.strip() in ("True", "True before anything is computed")


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"])
def test_devices_that_are_none(wrong, untyped):
    with pytest.raises(ValueError, match="cpu_devices"):
        startup.prepare(wrong, cache="off")


@pytest.fixture(autouse=True)
def _nothing_stays(monkeypatch):
    monkeypatch.setattr(startup, "_turned_off", False)
    before = {n: getattr(jax.config, n) for n in CACHE_OPTIONS}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


CACHE_OPTIONS = ("jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs")


# --- cache


@pytest.mark.exhaustive
def test_a_cached_program_gives_the_same_numbers_bit_for_bit(tmp_path):
    fresh = program(DYNAMICS_CACHE="off")
    assert fresh["folder"] is None
    assert fresh["hits"] == 0
    first = program(DYNAMICS_CACHE=str(tmp_path))
    entries = list(tmp_path.glob("jax-*/*-cache"))
    assert first["hits"] == 0
    assert entries
    cached = program(DYNAMICS_CACHE=str(tmp_path))
    assert cached["hits"] == len(entries)
    assert fresh["y"] == first["y"] == cached["y"]
    assert cached["stderr"] == ""  # XLA's loader does not complain of every program
    # damage of every kind: nothing crashes, nothing changes
    damages = itertools.cycle([lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"x" * 99, flip])
    for path, damage in zip(entries, damages, strict=False):
        path.write_bytes(damage(path.read_bytes()))
    damaged = program(DYNAMICS_CACHE=str(tmp_path))
    assert damaged["y"] == fresh["y"]
    assert damaged["hits"] == 0
    assert damaged["stderr"] == ""
    for path in entries:  # once the files have settled, they are removed and written anew
        os.utime(path, (SETTLED, SETTLED))
    os.utime(entries[0].parent / ".checked", (0, 0))
    assert program(DYNAMICS_CACHE=str(tmp_path))["hits"] == 0
    assert program(DYNAMICS_CACHE=str(tmp_path))["hits"] == len(entries)


def flip(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :]


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert startup.cache_place().parent == tmp_path / "xdg" / "training-dynamics-lab"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # which the standard says to ignore
    monkeypatch.setenv("HOME", str(tmp_path))
    assert startup.cache_place().parent == tmp_path / ".cache" / "training-dynamics-lab"
    assert re.fullmatch(r"jax-[0-9a-f]{12}", startup.cache_place().name)
    assert startup.cache_place(str(tmp_path / "own")).parent == tmp_path / "own"


def test_a_cache_of_the_users_own_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv("DYNAMICS_CACHE", raising=False)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "mine"))
    assert startup.use_cache() == tmp_path / "mine"
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
    own = program(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "theirs"), DYNAMICS_CACHE=str(tmp_path / "ours"))
    assert own["folder"] == str(tmp_path / "theirs")
    assert not (tmp_path / "ours").exists()


def test_on_and_off(tmp_path, monkeypatch):
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setenv("DYNAMICS_CACHE", "OFF")
    assert startup.use_cache() is None
    monkeypatch.setenv("DYNAMICS_CACHE", str(tmp_path))
    startup.use_cache("off")
    assert startup.use_cache() is None  # as the engine asks, later
    place = startup.use_cache(tmp_path / "asked")
    assert place.parent == tmp_path / "asked"
    assert jax.config.jax_compilation_cache_dir == str(place)


def test_a_folder_that_cannot_be_written_to_is_one_warning(tmp_path, monkeypatch):
    jax.config.update("jax_compilation_cache_dir", None)
    (tmp_path / "file").touch()
    with pytest.warns(UserWarning, match="not kept") as caught:
        assert startup.use_cache(tmp_path / "file" / "below") is None
    assert len(caught) == 1
    monkeypatch.delenv("DYNAMICS_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert startup.use_cache() is None  # the default place: no warning (pytest would show it as an error)
    assert jax.config.jax_compilation_cache_dir is None


def test_the_cache_is_bounded_and_truncated_entries_go(tmp_path):
    for i in range(10):
        path = tmp_path / f"jit_{i}-cache"
        path.write_bytes(zlib.compress(os.urandom(1000)))
        os.utime(path, (SETTLED + i, SETTLED + i))
    broken = tmp_path / "jit_broken-cache"
    broken.write_bytes(zlib.compress(os.urandom(1000))[:-8])
    os.utime(broken, (SETTLED, SETTLED))
    young = tmp_path / "jit_young-cache"
    young.write_bytes(b"being written")
    other = tmp_path / "xla_gpu_per_fusion_autotune_cache_dir"
    other.mkdir()
    startup.clean(tmp_path)
    assert not broken.exists()
    assert len(list(tmp_path.glob("*-cache"))) == 11
    startup.clean(tmp_path, limit=3500)
    left = sorted(path.name for path in tmp_path.glob("*-cache"))
    assert left == ["jit_7-cache", "jit_8-cache", "jit_9-cache", "jit_young-cache"]
    assert other.exists()


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1000B", 1000), ("4GiB", 2**32), ("1.5KiB", 1536), ("3MiB", 3 * 2**20), ("2 GB", 2 * 10**9),
     ("5KB", 5000), ("7MB", 7 * 10**6)],
)  # fmt: skip
def test_sizes(text, value):
    assert arguments.size("--memory", text) == value


# --- a long session


def test_programs_go_before_there_are_too_many(monkeypatch):
    twice, begun = jax.jit(lambda x: 2 * x), time.monotonic()
    for most, looked, kept in ((10**9, -1e9, 1), (0, time.monotonic(), 1), (0, -1e9, 0)):
        twice(1.0)
        monkeypatch.setattr(startup, "MOST_MAPS", most)
        monkeypatch.setattr(startup, "_looked", looked)
        startup.let_programs_go()
        assert twice._cache_size() == kept
    assert startup._looked >= begun
    assert twice(1.0) == 2


def test_a_backend_for_windows_that_is_not_there_stops_no_command():
    program = """
import contextlib, sys
sys.argv = ["dynamics", "list"]
from dynamics import cli
with contextlib.suppress(SystemExit):
    cli.entry()
import matplotlib
assert matplotlib.get_backend() == "agg"
"""
    environment = os.environ | {"MPLBACKEND": "nope"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
