"""Closed forms against tables, numerical integration, finite networks and neural-tangents."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from kernels import closed_form, duals, empirical, infinite
from kernels.closed_form import (
    circle_spectrum,
    cluster_spectrum,
    deep,
    finite_two_layer,
    fluctuation,
    two_layer,
)

ANGLES = (0, math.pi / 6, math.pi / 3, math.pi / 2, 2 * math.pi / 3, math.pi)
# columns: two-layer ReLU K, first, both; erf K, first; deep ReLU 1, 2, 3; its NNGP at 3; deep erf, depth 2
TABLE = np.array(
    [
        [0.5, 0.5, 1, 0.464559, 0.569410, 2.03, 3.06, 4.10, 1.04, 2.146385],
        [0.440421, 0.360844, 0.801265, 0.391827, 0.450158, 1.631531, 2.300988, 2.907765, 0.943468, 1.777192],
        [0.304499, 0.166667, 0.471166, 0.216347, 0.225079, 0.969355, 1.402221, 1.818641, 0.776431, 1.071029],
        [0.159155, 0, 0.159155, 0, 0, 0.341540, 0.728087, 1.128009, 0.641117, 0.379317],
        [0.054499, -0.083333, -0.028834, -0.216347, -0.225079, -0.040867, 0.377653, 0.799443, 0.562712, 0],
        [0, 0, 0, -0.464559, -0.569410, -0.051971, 0.313956, 0.716569, 0.525961, -0.994989],
    ]
)
TABLE[4, 9] = -0.248701


def points(count, dim, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, dim)))


@pytest.mark.parametrize("row", range(len(ANGLES)))
def test_table(row):
    x = jnp.array([[1.0, 0.0]])
    z = jnp.array([[math.cos(ANGLES[row]), math.sin(ANGLES[row])]])
    erf = {"depth": 2, "activation": "erf", "weight_std": math.sqrt(1.5), "bias_std": 0.3}
    found = [
        two_layer(x, z).nngp,
        two_layer(x, z, trained="first").ntk,
        two_layer(x, z).ntk,
        two_layer(x, z, "erf").nngp,
        two_layer(x, z, "erf", trained="first").ntk,
        *(deep(x, z, depth).ntk for depth in (1, 2, 3)),
        deep(x, z, 3).nngp,
        deep(x, z, **erf).ntk,
    ]
    np.testing.assert_allclose([float(f[0, 0]) for f in found], TABLE[row], atol=1e-6)


# --- expectations over Gaussian pairs, by numerical integration


def expectation(f, A, B, C):
    """E[f(u) f(v)] by adaptive integration, in polar coordinates of two independent Gaussians."""
    a, along = math.sqrt(A), C / math.sqrt(A)
    rest = math.sqrt(max(B - along**2, 0))

    def ring(angle):
        c, s = math.cos(angle), math.sin(angle)

        def ray(r):
            return f(a * r * c) * f(along * r * c + rest * r * s) * r * math.exp(-r * r / 2)

        return integrate.quad(ray, 0, 12, epsabs=1e-12)[0]

    # kinks: where u or v changes its sign
    turn = math.atan2(-along, rest) if rest > 0 else 0.0
    cuts = sorted({(t + k) % (2 * math.pi) for t in (math.pi / 2, turn) for k in (0, math.pi)})
    edges = [cuts[0], *cuts[1:], cuts[0] + 2 * math.pi]
    parts = (integrate.quad(ring, low, high, epsabs=1e-10)[0] for low, high in itertools.pairwise(edges))
    return sum(parts) / (2 * math.pi)


SCALAR = {
    "relu": (lambda u: max(u, 0), lambda u: float(u > 0), "relu"),
    "leaky": (lambda u: u if u > 0 else 0.3 * u, lambda u: 1.0 if u > 0 else 0.3, duals.leaky_relu(0.3)),
    "erf": (math.erf, lambda u: 2 / math.sqrt(math.pi) * math.exp(-u * u), "erf"),
    "leaky_relu": (lambda u: u if u > 0 else 0.01 * u, lambda u: 1.0 if u > 0 else 0.01, "leaky_relu"),
    "gelu": (
        lambda u: u * (1 + math.erf(u / math.sqrt(2))) / 2,
        lambda u: (1 + math.erf(u / math.sqrt(2))) / 2 + u * math.exp(-u * u / 2) / math.sqrt(2 * math.pi),
        "gelu",
    ),
    "square": (lambda u: u * u, lambda u: 2 * u, "square"),
    "linear": (lambda u: u, lambda u: 1.0, "linear"),
    "tanh": (math.tanh, lambda u: 1 / math.cosh(u) ** 2, "tanh"),
    "silu": (lambda u: u * logistic(u), lambda u: logistic(u) * (1 + u * logistic(-u)), "silu"),
    "softplus": (lambda u: math.log1p(math.exp(u)), lambda u: logistic(u), "softplus"),
    "sigmoid": (lambda u: logistic(u), lambda u: logistic(u) * logistic(-u), "sigmoid"),
}


def logistic(u):
    return 1 / (1 + math.exp(-u))


@pytest.mark.parametrize("name", SCALAR)
@pytest.mark.parametrize(("A", "B", "cosine"), [(1.0, 1.0, 0.3), (0.5, 2.0, -0.8), (1.5, 0.2, 0.95)])
def test_expectations_by_numerical_integration(name, A, B, cosine):
    phi, slope, act = SCALAR[name]
    C = cosine * math.sqrt(A * B)
    given_ = [jnp.array([v]) for v in (A, B, C)]
    act = duals.dual(act)
    np.testing.assert_allclose(float(act.values(*given_)[0]), expectation(phi, A, B, C), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(
        float(act.slopes(*given_)[0]), expectation(slope, A, B, C), rtol=1e-7, atol=1e-8
    )
    at = jnp.array([-1.3, -0.2, 0.4, 2.0])
    np.testing.assert_allclose(act.phi(at), [phi(float(u)) for u in at], rtol=1e-12)
    np.testing.assert_allclose(act.slope(at), [slope(float(u)) for u in at], rtol=1e-12)


@jax.jit
def related(x, z):
    """Kernels of ReLU networks that one another determine."""
    return {
        **{trained: two_layer(x, z, trained=trained).ntk for trained in ("both", "first", "second")},
        "nngp": two_layer(x, z).nngp,
        "own": two_layer(x).ntk,
        "opposite": two_layer(x, -x).ntk,
        "wide": two_layer(x, z, weight_std=3.0, output_variance=2.0, trained="first"),
        "mirrored": two_layer(x, -z).nngp,
    }


@pytest.mark.exhaustive
@settings(max_examples=30)
@given(seed=st.integers(0, 2**16), dim=st.sampled_from([1, 2, 5]))  # a program each
def test_exact_relations_of_relu(seed, dim):
    x, z = points(4, dim, seed), points(3, dim, seed + 1)
    found = related(x, z)
    first, second = found["first"], found["second"]
    np.testing.assert_allclose(found["both"], first + second, atol=1e-12)
    np.testing.assert_allclose(second, found["nngp"], atol=1e-12)
    np.testing.assert_allclose(found["own"].diagonal(), jnp.sum(x * x, axis=1), rtol=1e-12)
    np.testing.assert_allclose(found["opposite"].diagonal(), 0, atol=1e-12)
    # scalings, and the identity E[relu(u) relu(v)] + E[relu(-u) relu(-v)] - mixed = E[u v]
    wide = found["wide"]
    np.testing.assert_allclose(wide.ntk, 2 * first, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(wide.nngp, 18 * second, rtol=1e-10, atol=1e-12)
    signs = 2 * (second - found["mirrored"])
    np.testing.assert_allclose(signs, x @ z.T, rtol=1e-9, atol=1e-10)


def test_orthogonal_points():
    x, z = jnp.array([[2.0, 0.0]]), jnp.array([[0.0, 3.0]])
    assert float(two_layer(x, z, trained="first").ntk[0, 0]) == pytest.approx(0, abs=1e-15)
    assert float(two_layer(x, z).ntk[0, 0]) == pytest.approx(6 / (2 * math.pi))


@pytest.mark.exhaustive
def test_hidden_biases():
    """Biases are a further input of size sigma_b; trained ones add 1 to the inner product."""
    x, z = points(4, 3), points(5, 3, 1)
    wide, other = (jnp.concatenate([p, jnp.full((len(p), 1), 0.7)], axis=1) for p in (x, z))
    slopes = duals.dual("relu").slopes(
        jnp.sum(wide**2, 1)[:, None], jnp.sum(other**2, 1)[None], wide @ other.T
    )
    made = two_layer(x, z, bias_std=0.7, trained_bias=1.0, trained="first").ntk
    np.testing.assert_allclose(made, (x @ z.T + 1) * slopes, rtol=1e-12)
    ntk_style = two_layer(x, z, bias_std=0.7, trained_bias=0.7).ntk
    np.testing.assert_allclose(ntk_style, two_layer(wide, other).ntk, rtol=1e-10)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_diagonal_without_biases_grows_linearly(depth):
    x = points(3, 5)
    found = jax.jit(lambda x: deep(x, None, depth, bias_std=0.0))(x)
    np.testing.assert_allclose(jnp.diag(found.nngp), 2 * jnp.sum(x * x, 1) / 5, rtol=1e-12)
    np.testing.assert_allclose(jnp.diag(found.ntk), (depth + 1) * 2 * jnp.sum(x * x, 1) / 5, rtol=1e-12)


@pytest.mark.exhaustive
@pytest.mark.parametrize("biases", [True, False])
def test_layers_that_train_add_up(biases):
    x, z, rest = points(4, 3), points(2, 3, 1), {"activation": "erf", "bias_std": 0.4, "train_biases": biases}

    @jax.jit
    def kernels(x, z):
        return [deep(x, z, 3, trained=[layer], **rest).ntk for layer in range(4)], deep(x, z, 3, **rest)

    parts, whole = kernels(x, z)
    np.testing.assert_allclose(sum(parts), whole.ntk, rtol=1e-12)
    if biases:
        np.testing.assert_allclose(parts[3], whole.nngp, rtol=1e-12)


# --- neural-tangents, and finite networks


def stax_net(depth, activation, weight_std, bias_std):
    stax = infinite.load().stax
    layers = []
    for _ in range(depth):
        layers += [stax.Dense(8, W_std=weight_std, b_std=bias_std), activation()]
    return infinite.kernel(stax.serial(*layers, stax.Dense(1, W_std=weight_std, b_std=bias_std)))


@pytest.mark.parametrize("activation", ["relu", "erf", "leaky", "gelu"])
@pytest.mark.parametrize("depth", [1, 3])
def test_agrees_with_neural_tangents(activation, depth):
    stax = infinite.load().stax
    theirs, ours = {
        "relu": (stax.Relu, "relu"),
        "erf": (stax.Erf, "erf"),
        "leaky": (lambda: stax.LeakyRelu(0.2), duals.leaky_relu(0.2)),
        "gelu": (stax.Gelu, "gelu"),
    }[activation]
    x, z = points(6, 4), points(5, 4, 1)
    with jax.numpy_rank_promotion("allow"):
        expected = stax_net(depth, theirs, 1.5, 0.3)(x, z)
    found = deep(x, z, depth, ours, weight_std=1.5, bias_std=0.3)
    np.testing.assert_allclose(found.nngp, expected.nngp, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.ntk, expected.ntk, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("activation", "theirs", "bias_std"),
    [("leaky_relu", "LeakyRelu", (0.0, 0.0, 0.0)), ("gelu", "Gelu", (0.3, 0.0, 0.7))],
)
def test_each_layer_has_its_own_law(activation, theirs, bias_std):
    stax = infinite.load().stax
    weight_std, x, z = [0.5, 2.0, 1.3], points(6, 4), points(5, 4, 1)
    affine = [stax.Dense(8, W_std=w, b_std=b) for w, b in zip(weight_std, bias_std, strict=True)]
    bend = stax.LeakyRelu(0.01) if theirs == "LeakyRelu" else stax.Gelu()
    net = stax.serial(affine[0], bend, affine[1], bend, affine[2])
    with jax.numpy_rank_promotion("allow"):
        expected = infinite.kernel(net)(x, z)
    found = deep(x, z, 2, activation, weight_std=weight_std, bias_std=jnp.asarray(bias_std))
    np.testing.assert_allclose(found.nngp, expected.nngp, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(found.ntk, expected.ntk, rtol=1e-11, atol=1e-12)
    value = closed_form.DeepNTK(2, activation, tuple(weight_std), bias_std)
    np.testing.assert_array_equal(value(x, z), found.ntk)
    assert hash(value) != hash(closed_form.DeepNTK(2, activation, tuple(weight_std), 0.1))


@pytest.mark.exhaustive
def test_a_wide_network_has_the_kernel_of_its_layers():
    x, weight_std, bias_std = points(4, 3), (0.7, 1.6, 1.1), (0.5, 0.0, 0.2)
    each = {"weight_std": weight_std, "bias_std": bias_std}

    @jax.jit
    def finite(key):
        return empirical.dense(empirical.normal_mlp(key, (3, 128, 128, 1), **each), x, activation="gelu")

    found = jax.lax.map(finite, jax.random.split(jax.random.key(0), 64))
    exact = deep(x, None, 2, "gelu", **each).ntk
    error = found.std(0) / 8 + jnp.abs(exact) / 128  # of the mean over seeds, and of the width
    assert float(jnp.abs((found.mean(0) - exact) / error).max()) < 3
    layers = empirical.normal_mlp(jax.random.key(0), (3, 2, 2, 1), **each)
    assert [layer.bias is None for layer in layers] == [False, True, False]


@pytest.mark.exhaustive
def test_agrees_with_neural_tangents_in_single_precision():
    x, z = (np.asarray(p, np.float32) for p in (points(40, 20), points(30, 20, 1)))
    with jax.enable_x64(False), jax.numpy_rank_promotion("allow"):
        expected = stax_net(2, infinite.load().stax.Relu, 1.5, 0.3)(x, z)
        found = deep(jnp.asarray(x), jnp.asarray(z), 2, weight_std=1.5, bias_std=0.3)
        assert found.ntk.dtype == jnp.float32
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-6 * float(np.abs(theirs).max()))


@pytest.mark.exhaustive
def test_the_diagonal_keeps_its_digits_in_single_precision():
    x = np.asarray(points(20, 50), np.float32)
    with jax.enable_x64(False):
        found = deep(jnp.asarray(x), None, 2)
    np.testing.assert_allclose(
        found.ntk.diagonal(), deep(jnp.asarray(x, float), None, 2).ntk.diagonal(), rtol=1e-6
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize("activation", ["relu", "erf", "square"])
@pytest.mark.parametrize("trained", ["first", "second", "both"])
def test_finite_kernel_is_the_jacobians(activation, trained):
    rng = np.random.default_rng(3)
    W, a = jnp.asarray(rng.normal(size=(7, 3))), jnp.asarray(rng.normal(size=7))
    x, z = points(4, 3), points(5, 3, 1)
    act = duals.dual(activation)

    def f(params, x):
        return act.phi(x @ params["W"].T) @ params["a"] / math.sqrt(7)

    def jacobian(x):
        J = jax.jacobian(f)({"W": W, "a": a}, x)
        names = {"first": ["W"], "second": ["a"], "both": ["W", "a"]}[trained]
        return jnp.concatenate([J[name].reshape(len(x), -1) for name in names], axis=1)

    found = finite_two_layer(W, a, x, z, activation, trained=trained)
    np.testing.assert_allclose(found, jacobian(x) @ jacobian(z).T, rtol=1e-12, atol=1e-12)


def sampled(seeds, width, dim, activation="relu", signs=True, trained="both", x=None):
    """Finite kernels at initialisation of many seeds."""

    @jax.jit
    def one(key):
        kw, ka = jax.random.split(key)
        W = jax.random.normal(kw, (width, dim))
        a = jax.random.rademacher(ka, (width,), float) if signs else jax.random.normal(ka, (width,))
        return finite_two_layer(W, a, x, None, activation, trained=trained)

    return jax.lax.map(one, jax.random.split(jax.random.key(0), seeds))


@pytest.mark.exhaustive
@pytest.mark.parametrize("activation", ["relu", "erf"])
@pytest.mark.parametrize(("trained", "size"), [("first", 1.1), ("second", 2.4), ("both", 1.6)])
def test_error_falls_with_the_square_root_of_width(activation, trained, size):
    x = points(8, 5)
    exact = two_layer(x, None, activation, trained=trained).ntk
    widths = 2 ** np.arange(6, 13, 2)
    errors = []
    for width in widths:
        found = sampled(32, int(width), 5, activation, True, trained, x)
        relative = jnp.linalg.norm(found - exact[None], axis=(1, 2)) / jnp.linalg.norm(exact)
        errors.append(float(jnp.sqrt(jnp.mean(relative**2))))
    slope = np.polyfit(np.log(widths), np.log(errors), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.06)
    if activation == "relu":  # the constant depends a little on the points drawn
        assert np.median(errors * np.sqrt(widths)) == pytest.approx(size, rel=0.4)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("trained", "signs", "expected"),
    [
        ("first", True, 0.25),
        ("first", False, 1.25),
        ("second", True, 1.25),
        ("second", False, 1.25),
    ],
)
def test_fluctuations(trained, signs, expected):
    fourth = 1.0 if signs else 3.0
    assert fluctuation(1.0, trained=trained, output_fourth_moment=fourth) == pytest.approx(expected, abs=1e-9)
    x = jnp.array([[0.6, 0.8]])
    found = sampled(4000, 512, 2, "relu", signs, trained, x)
    assert float(512 * jnp.var(found)) == pytest.approx(expected, rel=0.08)


@pytest.mark.exhaustive
def test_fluctuations_of_erf_by_monte_carlo():
    x = jnp.array([[1.2, 0.5]])
    found = sampled(4000, 64, 2, "erf", False, "first", x)
    exact = fluctuation(1.69, "erf", output_fourth_moment=3.0)
    assert float(64 * jnp.var(found)) == pytest.approx(exact, rel=0.1)


# --- input gradients


def test_input_gradient_formula():
    x, z = points(1, 4)[0], points(1, 4, 1)[0]
    r, R = float(jnp.linalg.norm(x)), float(jnp.linalg.norm(z))
    cos = float(x @ z) / (r * R)
    theta, sin = math.acos(cos), math.sqrt(1 - cos**2)
    expected = z * ((math.pi - theta) / math.pi + cos / (2 * math.pi * sin)) + x * (R / r) * (
        sin / (2 * math.pi) - cos**2 / (2 * math.pi * sin)
    )
    found = jax.grad(lambda p: two_layer(p[None], z[None]).ntk[0, 0])(x)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.exhaustive
@pytest.mark.parametrize("kernel", ["two_layer", "deep"])
def test_input_gradient_where_points_coincide(kernel):
    """The mean of the one-sided derivatives: along the point by homogeneity, across it 0 by symmetry."""
    z = points(1, 4)[0]

    def k(p):
        at = p[None], z[None]
        return (two_layer(*at) if kernel == "two_layer" else deep(*at, 3)).ntk[0, 0]

    found = jax.grad(k)(z)
    step = 1e-5
    directions = np.random.default_rng(0).normal(size=(5, 4))
    for u in directions:
        central = (float(k(z + step * u)) - float(k(z - step * u))) / (2 * step)
        assert float(found @ u) == pytest.approx(central, rel=2e-4, abs=2e-5)
    if kernel == "two_layer":
        np.testing.assert_allclose(found, z, rtol=1e-10)
    assert np.isfinite(jax.grad(k)(jnp.zeros(4))).all()
    assert np.isfinite(jax.hessian(k)(z)).all()


def test_the_kernel_has_a_cone_at_coincident_points():
    z, u = jnp.array([2.0, 0.0]), jnp.array([0.0, 1.0])
    for h in (1e-3, -1e-3):
        found = float(two_layer((z + h * u)[None], z[None]).ntk[0, 0])
        assert found == pytest.approx(4 - abs(h) * 2 / (2 * math.pi), abs=2e-6)


@pytest.mark.exhaustive
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "erf", "square", "linear"])
def test_derivatives_of_closed_forms_are_those_of_finite_differences(activation):
    act = duals.dual(activation)
    for f in (act.values, act.slopes):
        at = [jnp.array([v]) for v in (1.3, 0.7, 0.4)]
        exact = jax.jacobian(lambda *at, f=f: f(*at)[0], (0, 1, 2))(*at)
        for argument in range(3):
            high, low = (f(*at[:argument], at[argument] + h, *at[argument + 1 :])[0] for h in (1e-6, -1e-6))
            assert float(exact[argument][0]) == pytest.approx(float(high - low) / 2e-6, rel=1e-6, abs=1e-8)


# --- spectra


@pytest.mark.parametrize("part", ["slopes", "first", "second", "both"])
def test_spectrum_of_the_circle(part):
    count = 4096
    t = 2 * np.pi * np.arange(count) / count
    x = jnp.asarray(np.stack([np.cos(t), np.sin(t)], axis=1))
    if part == "slopes":
        row = duals.arc_cosine_0(jnp.ones((1, count)), jnp.ones((1, count)), x[:1] @ x.T)[0]
    else:
        row = two_layer(x[:1], x, trained=part).ntk[0]
    values = np.fft.fft(np.asarray(row)).real / count
    expected = [circle_spectrum(k, part) for k in range(12)]
    np.testing.assert_allclose(values[:12], expected, atol=1e-6)


@pytest.mark.parametrize("trained", ["first", "both"])
def test_spectrum_of_clusters(trained):
    k, dim = 6, 20
    centres = math.sqrt(dim) * jnp.eye(dim)[:k]
    values = np.linalg.eigvalsh(two_layer(centres, trained=trained).ntk)[::-1]
    top, rest = cluster_spectrum(k, dim, trained)
    np.testing.assert_allclose(values, [top, *[rest] * (k - 1)], rtol=1e-10)


# --- bad input


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: two_layer(jnp.ones(3)), "x must have shape"),
        (lambda: two_layer(jnp.ones((2, 3)), jnp.ones((2, 4))), "same dimension"),
        (lambda: two_layer(jnp.full((2, 3), jnp.nan)), "x must be finite"),
        (lambda: two_layer(jnp.ones((2, 3)), activation="swish"), "activation must be one of"),
        (lambda: two_layer(jnp.ones((2, 3)), trained="third"), "trained must be one of"),
        (lambda: deep(jnp.ones((2, 3)), None, -1), "depth must be an integer of at least 0"),
        (lambda: deep(jnp.ones((2, 3)), None, 2, trained=[3]), "a net of depth 2 has 0 to 2"),
        (
            lambda: deep(jnp.ones((2, 3)), None, 2, weight_std=[1.0, 2.0]),
            "weight_std .* 3 layers, got 2",
        ),
        (lambda: deep(jnp.ones((2, 3)), bias_std=(0.1, -1.0)), "bias_std must be finite and at least 0"),
        (lambda: deep(jnp.ones((2, 3)), weight_std="12"), "weight_std must be a number, got '12'"),
        (lambda: closed_form.DeepNTK(1, "relu", (1.0,)), "one for each of 2 layers, got 1"),
        (lambda: empirical.normal_mlp(jax.random.key(0), (2, 3), bias_std=(0.1, 0.2)), "1 layers, got 2"),
        (lambda: fluctuation(-1.0), "square_norm must be finite and at least 0, got -1"),
        (lambda: circle_spectrum(-1), "frequency must be"),
        (lambda: duals.quadrature(jnp.tanh, 1), "nodes must be at least 2"),
    ],
)
def test_bad_input(untyped, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.exhaustive
def test_kernels_are_differentiable_and_batched():
    x = points(3, 4)
    batched = jax.vmap(lambda p: deep(p, None, 2).ntk)(jnp.stack([x, 2 * x]))
    np.testing.assert_allclose(batched[1], deep(2 * x, None, 2).ntk, rtol=1e-12)
    assert closed_form.Kernels._fields == ("nngp", "ntk")


def test_the_ntk_as_a_value():
    x, z = jnp.asarray(np.eye(3)), jnp.asarray(np.random.default_rng(0).normal(size=(2, 3)))
    one = closed_form.DeepNTK(2, "erf", 1.5, 0.3)
    expected = closed_form.deep(x, z, 2, "erf", weight_std=1.5, bias_std=0.3).ntk
    np.testing.assert_array_equal(one(x, z), expected)
    assert one == closed_form.DeepNTK(2, "erf", 1.5, 0.3)
    assert len({one, closed_form.DeepNTK(2, "erf", 1.5, 0.3), closed_form.DeepNTK()}) == 2


def test_smooth_activations_have_names_too(untyped):
    assert duals.dual("silu") is duals.quadrature(jax.nn.silu)
    # of independent Gaussians the mean is 1/2 each
    mean = duals.dual("sigmoid").values(jnp.ones(1), 2 * jnp.ones(1), jnp.zeros(1))
    np.testing.assert_allclose(mean, 0.25, rtol=1e-12)
    with pytest.raises(ValueError, match=r"one of relu, .*, tanh, silu, softplus, sigmoid, or leaky_relu"):
        duals.dual("cosine")


@pytest.mark.exhaustive
@pytest.mark.parametrize("make", [lambda: duals.leaky_relu(0.3), lambda: duals.quadrature(jnp.tanh, 8)])
def test_an_activation_that_is_made_again_compiles_nothing(make):
    x = points(3, 2)
    two_layer(x, activation=make())
    programs = closed_form._two_layer._cache_size()
    two_layer(x, activation=make(), weight_std=3.0)
    assert closed_form._two_layer._cache_size() == programs


@pytest.mark.exhaustive
def test_sizes_may_be_integers(untyped):
    x = points(3, 2)
    for how in ({"activation": "relu"}, {"activation": "erf"}, {"bias_std": 2}):
        one, other = two_layer(x, weight_std=100_000, **how), two_layer(x, weight_std=1e5, **how)
        np.testing.assert_array_equal(one.ntk, other.ntk)
        np.testing.assert_array_equal(deep(x, weight_std=3, **how).ntk, deep(x, weight_std=3.0, **how).ntk)
