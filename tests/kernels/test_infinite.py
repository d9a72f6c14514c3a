"""neural-tangents on current JAX: it loads, leaves JAX as it was, and computes what is known otherwise.

These tests never skip: they are to fail loudly on a JAX that neural-tangents cannot be loaded on.
"""

import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

from kernels import infinite
from kernels.closed_form import deep

LENT = (
    (jax, "ShapedArray"),
    (jax.random, "KeyArray"),
    (jax.tree_util, "tree_multimap"),
    (jax.core, "Primitive"),
    (jax.core, "Jaxpr"),
)


@pytest.fixture(autouse=True)
def promotion():
    """neural-tangents broadcasts over ranks."""
    with jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture
def nt():
    return infinite.load()


def points(count, dim, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, dim)))


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)


def test_loads_without_tensorflow_and_leaves_jax_as_it_was():
    code = """
import sys, jax
before = {m: set(dir(sys.modules[m])) for m in ("jax", "jax.random", "jax.tree_util", "jax.core")}
try:
    import neural_tangents
except Exception:
    pass
from kernels import infinite
nt = infinite.load()
assert nt.__version__ in infinite.TESTED, nt.__version__
assert infinite.load() is nt
for name in ("tensorflow", "tf2jax", "jax.util"):
    assert name not in sys.modules, name
for m, names in before.items():
    for extra in ("ShapedArray", "KeyArray", "tree_multimap", "Primitive", "Jaxpr", "Literal", "Var"):
        assert (extra in dir(sys.modules[m])) == (extra in names), (m, extra)
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_lent_names_are_gone(nt):
    before = {(module.__name__, name) for module, name in LENT if hasattr(module, name)}
    infinite.load()
    assert before == {(module.__name__, name) for module, name in LENT if hasattr(module, name)}
    assert not hasattr(jax.random, "KeyArray")
    assert not hasattr(jax.tree_util, "tree_multimap")


@pytest.mark.exhaustive
def test_a_version_that_cannot_be_loaded_is_one_sentence():
    code = """
import sys, types
sys.meta_path.insert(0, type("Broken", (), {"find_spec": staticmethod(lambda name, *a: (_ for _ in ()).throw(
    AttributeError("no such thing")) if name == "neural_tangents" else None)}))
from kernels import closed_form, infinite
import jax.numpy as jnp
try:
    infinite.load()
except ImportError as error:
    assert "cannot be loaded on JAX" in str(error) and "\\n" not in str(error), error
else:
    raise SystemExit("no error")
assert closed_form.deep(jnp.ones((2, 3))).ntk.shape == (2, 2)
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_missing_is_one_sentence():
    code = """
import sys
sys.meta_path.insert(0, type("Missing", (), {"find_spec": staticmethod(lambda name, *a: (_ for _ in ()).throw(
    ModuleNotFoundError("gone", name=name)) if name == "neural_tangents" else None)}))
from kernels import infinite
try:
    infinite.load()
except ImportError as error:
    assert "is not installed: pip install" in str(error), error
else:
    raise SystemExit("no error")
"""
    done = run(code)
    assert done.returncode == 0, done.stderr


def test_importing_kernels_is_quick():
    code = """
import time, jax
import jax.numpy
start = time.perf_counter()
import kernels
from kernels import closed_form, eigenfeatures, regression
print(time.perf_counter() - start)
"""
    assert any(float(run(code).stdout) < 1 for _ in range(3))  # others use the machine too


@pytest.mark.exhaustive
def test_convolution_is_the_mean_of_patchwise_kernels(nt):
    images = points(3, 36).reshape(3, 6, 6, 1)
    net = nt.stax.serial(
        nt.stax.Conv(1, (3, 3), padding="VALID"), nt.stax.Relu(), nt.stax.Flatten(), nt.stax.Dense(1)
    )
    found = infinite.kernel(net)(images)
    patches = jnp.stack(
        [images[:, i : i + 3, j : j + 3, 0].reshape(3, 9) for i in range(4) for j in range(4)], axis=1
    )
    # stax's default weights have variance 1 (fan-in), and no biases
    by_patch = jnp.stack([deep(patches[:, p], None, 1, weight_std=1.0, bias_std=0.0).ntk for p in range(16)])
    np.testing.assert_allclose(found.ntk, jnp.mean(by_patch, axis=0), rtol=1e-7)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(np.asarray(found.ntk)[off], np.asarray(jnp.mean(by_patch, 0))[off], rtol=1e-12)


@pytest.mark.exhaustive
def test_prediction(nt):
    x, at = points(6, 3), points(4, 3, 1)
    y = jnp.sin(x[:, :1])
    K, cross = deep(x).ntk, deep(at, x).ntk
    predict = nt.predict.gradient_descent_mse(K, y, learning_rate=1.0)
    rest = expm(-np.asarray(K) * 2.0 / 6)  # its loss is the mean over samples
    train = predict(2.0, jnp.zeros_like(y), None)
    np.testing.assert_allclose(train, y - rest @ y, rtol=1e-7, atol=1e-9)
    end = predict(None, jnp.zeros_like(y), jnp.zeros((4, 1)), cross)[1]
    np.testing.assert_allclose(end, cross @ np.linalg.solve(K, y), rtol=1e-7)
    inside = jax.jit(lambda K: nt.predict.gradient_descent_mse(K, y)(2.0, jnp.zeros_like(y), None))(K)
    np.testing.assert_allclose(inside, train, rtol=1e-9, atol=1e-11)
    largest = nt.predict.max_learning_rate(K)
    assert float(largest) == pytest.approx(2 * 6 / np.linalg.eigvalsh(K)[-1], rel=1e-5)


@pytest.mark.exhaustive
def test_linearization_taylor_and_monte_carlo(nt):
    init, apply, _ = net = nt.stax.serial(nt.stax.Dense(256), nt.stax.Erf(), nt.stax.Dense(1))
    x = points(4, 3)
    _, params = init(jax.random.key(0), (-1, 3))
    moved = jax.tree.map(lambda p: p + 0.01, params)
    difference = jax.tree.map(jnp.subtract, moved, params)
    value, change = jax.jvp(lambda p: apply(p, x), (params,), (difference,))
    np.testing.assert_allclose(nt.linearize(apply, params)(moved, x), value + change, rtol=1e-12)
    first = nt.taylor_expand(apply, params, 1)(moved, x)
    np.testing.assert_allclose(first, value + change, rtol=1e-12)
    sampled = nt.monte_carlo_kernel_fn(init, apply, jax.random.key(1), 20, vmap_axes=0, implementation=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        found = sampled(x, None, "ntk")
    exact = infinite.kernel(net)(x).ntk
    assert float(jnp.linalg.norm(found - exact) / jnp.linalg.norm(exact)) < 0.2


@pytest.mark.exhaustive
def test_batches(nt):
    kernel = nt.stax.serial(nt.stax.Dense(8), nt.stax.Relu(), nt.stax.Dense(1))[2]
    x = points(8, 3)
    whole = kernel(x, None, "ntk")
    serial = nt.batch(kernel, batch_size=4, store_on_device=False)(x, None, "ntk")
    np.testing.assert_allclose(serial, whole, rtol=1e-7)
