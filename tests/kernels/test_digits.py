"""Kernels keep their digits in single precision: where points nearly coincide, at any scale and default."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import (
    angles,
    attacks,
    blocks,
    closed_form,
    distillation,
    duals,
    eigenfeatures,
    empirical,
    evolution,
    products,
    regression,
)

LONG = np.longdouble


@pytest.fixture
def single():
    with jax.enable_x64(False):
        yield


def images():
    """One of random pixels 0 to 255, and: itself, pixels of it changed, multiples, another one."""
    rng = np.random.default_rng(0)
    x, other = rng.integers(0, 256, (2, 784)).astype(np.float32)
    changed = np.tile(x, (5, 1))
    changed[:, 5] += np.array([0, 1, -3, 0.01, 20], np.float32)
    turned = -x
    turned[7] += 1
    return x[None], np.stack([*changed, 1.5 * x, -x, turned, other]).astype(np.float32)


def exactly(x, z, depth, activation, weight_std, bias_std, slope=0.0):
    """NNGP and NTK of `deep` in NumPy's long doubles, by the formulas of textbooks."""
    pi = 4 * np.arctan(LONG(1))

    def expectations(A, B, C):
        det = np.maximum(A * B - C * C, 0)
        if activation == "erf":
            rest = np.sqrt(1 + 2 * A + 2 * B + 4 * det)
            return 2 / pi * np.arctan2(2 * C, rest), 4 / pi / rest
        angle = np.arctan2(np.sqrt(det), C)

        def ray(t):
            return np.sqrt(A) * np.sqrt(B) * (np.sin(t) + (pi - t) * np.cos(t)) / (2 * pi)

        values = (1 + slope**2) * ray(angle) - 2 * slope * ray(pi - angle)
        return values, ((1 + slope**2) * (pi - angle) + 2 * slope * angle) / (2 * pi)

    s, b = LONG(weight_std) ** 2, LONG(bias_std) ** 2
    x, z = LONG(x), LONG(z)
    A, B, C = s * (x * x).sum(1)[:, None] / x.shape[1], s * (z * z).sum(1)[None] / x.shape[1], s * x @ z.T
    A, B, C = A + b, B + b, C / x.shape[1] + b
    ntk = C
    for _ in range(depth):
        values, slopes = expectations(A, B, C)
        A, B, C = s * expectations(A, A, A)[0] + b, s * expectations(B, B, B)[0] + b, s * values + b
        ntk = C + s * ntk * slopes
    return C, ntk


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("activation", "depth", "weight_std", "bias_std"),
    [
        ("erf", 1, 28.0, 0.0),  # d = 784: the two-layer kernel
        ("erf", 2, math.sqrt(2), 0.1),
        ("erf", 6, 16.0, 0.3),  # every layer tears what is near further apart
        ("relu", 3, math.sqrt(2), 0.1),
        ("leaky", 3, math.sqrt(2), 0.1),
    ],
)
def test_points_that_nearly_coincide(single, activation, depth, weight_std, bias_std):
    x, z = images()
    act = duals.leaky_relu(0.3) if activation == "leaky" else activation
    kernel = jax.jit(
        lambda x, z: closed_form.deep(x, z, depth, act, weight_std=weight_std, bias_std=bias_std)
    )
    for found, wanted in zip(
        kernel(x, z),
        exactly(x, z, depth, activation, weight_std, bias_std, 0.3 * (act is not activation)),
        strict=True,
    ):
        known = np.abs(wanted) > 1e-6 * np.abs(wanted).max()  # that of opposite points is 0
        np.testing.assert_allclose(np.asarray(found)[known], wanted[known].astype(float), rtol=2e-5)
        np.testing.assert_allclose(np.asarray(found)[~known], 0, atol=2e-6 * float(np.abs(wanted).max()))


@pytest.mark.exhaustive
def test_erf_of_images_and_of_inputs_of_any_size(single):
    x, z = images()
    for scale in (1, 1e3, 1e6, 1e15):
        here, there = (jnp.asarray(np.float32(scale) * points) for points in (x, z))
        found = closed_form.two_layer(here, there, "erf")
        wanted = exactly(here, there, 1, "erf", 28.0, 0.0)
        np.testing.assert_allclose(found.nngp, np.asarray(wanted[0] / 784, float), rtol=2e-5)
    own = closed_form.two_layer(jnp.asarray(np.concatenate([x, z[-1:]])), None, "erf").ntk
    square = float((LONG(x) ** 2).sum())
    wanted = 2 / math.pi * math.asin(2 * square / (1 + 2 * square)) + 4 / math.pi * square / math.sqrt(
        1 + 4 * square
    )
    assert float(own[0, 0]) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.exhaustive
@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_gradients_where_points_nearly_coincide(single, activation):
    x, z = images()

    @jax.jit
    def slope(x, z):
        return jax.jacrev(lambda p: closed_form.deep(p[None], z, 1, activation).ntk[0])(x[0])

    found = slope(x, z[:5])
    with jax.enable_x64(True):
        wanted = np.asarray(slope(jnp.asarray(x, float), jnp.asarray(z[:5], float)))
    off = np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)
    assert off[0] < 1e-4  # coinciding
    assert np.all(off[[1, 2, 4]] < 3e-3)
    assert np.isfinite(found).all()


# --- at any scale


def homogeneous(name):
    rng = np.random.default_rng(1)
    W, a = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((30, 5), (30,)))
    layers = [empirical.Dense(W.T), empirical.Dense(a[:, None])]
    leaky = duals.leaky_relu(0.3)
    return {
        "relu": lambda x, z: closed_form.two_layer(x, z).ntk,
        "leaky": lambda x, z: closed_form.two_layer(x, z, leaky).ntk,
        "linear": lambda x, z: closed_form.two_layer(x, z, "linear").ntk,
        "deep": lambda x, z: closed_form.deep(x, z, 3, bias_std=0.0).ntk,
        "finite": lambda x, z: closed_form.finite_two_layer(W, a, x, z),
        "dense": lambda x, z: empirical.dense(layers, x, z),
        "jacobians": lambda x, z: empirical.ntk(empirical.evaluate, layers, x, z),
        "products": lambda x, z: empirical.ntk(empirical.evaluate, layers, x, z, limit=1),
    }[name]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "name", ["relu", "leaky", "linear", "deep", "finite", "dense", "jacobians", "products"]
)
def test_homogeneous_kernels_scale_with_their_inputs(single, name):
    rng = np.random.default_rng(0)
    x, z = (jnp.asarray(rng.normal(size=(count, 5)), jnp.float32) for count in (3, 4))
    z = z.at[0].set(x[0]).at[1].set(-2 * x[0]).at[2].set(0)
    kernel = jax.jit(homogeneous(name))
    one = np.asarray(kernel(x, z), float)
    assert np.abs(one).max() > 0.1
    for scale in (2.0**-59, 1e-12, 1e10, 2.0**59):
        found = np.asarray(kernel(np.float32(scale) * x, np.float32(scale) * z), float)
        lost = 4 * float(np.finfo(np.float32).tiny) / scale**2  # below the smallest normal number
        np.testing.assert_allclose(found / scale**2, one, rtol=2e-5, atol=max(lost, 2e-6))
    small = np.float32(2.0**-59) * x
    gradient = jax.grad(lambda x: jnp.sum(kernel(x, 2.0**59 * z)))
    assert np.isfinite(gradient(small)).all()
    assert np.isfinite(gradient(jnp.zeros_like(x))).all()


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ["two_layer", "deep"])
def test_curvature_does_not_depend_on_the_scale(single, name):
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 4)), jnp.float32)

    def kernel(a, b):
        points = jnp.stack([a, b])
        if name == "deep":
            return closed_form.deep(points, depth=2, bias_std=0.0).ntk[0, 1]
        return closed_form.two_layer(points).ntk[0, 1]

    curvature = jax.jit(jax.hessian(kernel))
    one = np.asarray(curvature(*x), float)
    assert np.abs(one).max() > 0.01
    for scale in (1e-17, 1e-10, 1e10, 1e17):
        found = np.asarray(curvature(*(np.float32(scale) * x)), float)
        np.testing.assert_allclose(found, one, atol=1e-5 * np.abs(one).max())


@pytest.mark.exhaustive
def test_beyond_the_range_it_is_infinite_and_weights_make_up_for_inputs(single):
    x = jnp.asarray([[1.0, 2.0], [3.0, -1.0]], jnp.float32)
    assert np.isposinf(closed_form.two_layer(1e20 * x).ntk).all()
    assert np.isposinf(closed_form.deep(x, depth=24, weight_std=16.0, bias_std=0.0).ntk).all()
    found = closed_form.two_layer(1e-20 * x, weight_std=1e20).nngp
    np.testing.assert_allclose(found, closed_form.two_layer(x).nngp, rtol=1e-5)


@pytest.mark.parametrize(("depth", "weight_std"), [(16, 0.3), (12, 16.0)])
def test_depth_leaves_the_range_of_single_precision_in_none_but_the_result(single, depth, weight_std):
    rng = np.random.default_rng(0)
    x, z = (rng.normal(size=(count, 5)).astype(np.float32) for count in (3, 4))
    found = closed_form.deep(jnp.asarray(x), jnp.asarray(z), depth, weight_std=weight_std, bias_std=0.0)
    for ours, wanted in zip(found, exactly(x, z, depth, "relu", weight_std, 0.0), strict=True):
        np.testing.assert_allclose(ours, wanted.astype(float), rtol=2e-5)


@pytest.mark.exhaustive
def test_similarities_of_kernels_do_not_depend_on_their_scale(single):
    rng = np.random.default_rng(0)
    first, second = (jnp.asarray(m @ m.T) for m in rng.normal(size=(2, 6, 6)).astype(np.float32))
    y = jnp.asarray(rng.normal(size=6), jnp.float32)
    for scale in (np.float32(1e-30), np.float32(1e30)):
        a, b = scale * first, scale * second
        for measure in (evolution.similarity, evolution.relative_change):
            assert float(measure(a, b)) == pytest.approx(float(measure(first, second)), rel=1e-5)
        np.testing.assert_allclose(
            evolution.polar(jnp.stack([a, b, a + b])),
            evolution.polar(jnp.stack([first, second, first + second])),
            rtol=1e-4,
            atol=1e-3,
        )
        target = evolution.target_alignment(a, scale * y)
        assert float(target) == pytest.approx(float(evolution.target_alignment(first, y)), rel=1e-5)
        values = jnp.linalg.eigvalsh(first)
        assert float(evolution.top_mass(scale * values, 2)) == pytest.approx(
            float(evolution.top_mass(values, 2)), rel=1e-5
        )
    tiny = eigenfeatures.gradient_cosine(
        lambda p: 1e-25 * p @ y, lambda p: 1e-25 * p @ (2 * y), jnp.ones((2, 6), jnp.float32)
    )
    assert float(tiny) == pytest.approx(1, rel=1e-5)


def test_attacks_follow_gradients_of_any_size(single):
    w = jnp.asarray([3.0, 4.0], jnp.float32)
    x = jnp.zeros((1, 2), jnp.float32)
    found = attacks.Attack(0.5, "l2").perturb(lambda p: 1e-25 * (p @ w), x, jnp.ones(1))
    np.testing.assert_allclose(found, [[-0.3, -0.4]], rtol=1e-5)


def test_integers_are_numbers(untyped):
    """Pixels of eight bits, whose squares would wrap around."""
    x = np.random.default_rng(0).integers(0, 256, (3, 20)).astype(np.uint8)
    wanted = closed_form.two_layer(jnp.asarray(x, float)).ntk
    np.testing.assert_allclose(closed_form.two_layer(jnp.asarray(x)).ntk, wanted, rtol=1e-12)


# --- in full precision


def precisions(function, *arguments):
    """The precision of every matrix product in a traced function."""

    def walk(jaxpr):
        for equation in jaxpr.eqns:
            if equation.primitive.name == "dot_general":
                yield equation.params["precision"]
            for value in jax.tree.leaves(
                list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns") or hasattr(v, "jaxpr")
            ):
                if hasattr(value, "eqns") or hasattr(value, "jaxpr"):
                    yield from walk(getattr(value, "jaxpr", value))

    return list(walk(jax.make_jaxpr(function)(*arguments).jaxpr))


def entries():
    y = jnp.asarray([1.0, -1, 1, -1])
    K = jnp.eye(4)
    modes = regression.Spectrum(jnp.ones(4), K)
    layers = [empirical.Dense(jnp.ones((3, 5))), empirical.Dense(jnp.ones((5, 2)))]
    tanh = duals.quadrature(jnp.tanh, 3)

    def kernel(x, z=None):
        return x @ (x if z is None else z).T

    what = distillation.Distillation(kernel, attack=attacks.Attack(0.1))
    return {
        "two_layer": lambda x: closed_form.two_layer(x, x, "erf"),
        "deep": lambda x: closed_form.deep(x, None, 2),
        "its gradient": jax.grad(lambda x: closed_form.deep(x, x, 2).ntk.sum()),
        "its value": closed_form.DeepNTK(),
        "quadrature": lambda x: closed_form.two_layer(x, None, tanh),
        "finite": lambda x: closed_form.finite_two_layer(jnp.ones((5, 3)), jnp.ones(5), x),
        "dense": lambda x: empirical.dense(layers, x),
        "ntk": lambda x: empirical.ntk(empirical.evaluate, layers, x),
        "products": lambda x: empirical.ntk(empirical.evaluate, layers, x, limit=1),
        "evaluate": lambda x: empirical.evaluate(layers, x),
        "linearize": lambda x: empirical.linearize(empirical.evaluate, layers)(layers, x),
        "coefficients": lambda x: regression.coefficients(modes, x),
        "predictor": lambda x: regression.predictor(kernel, x, y)(x),
        "weight distance": lambda x: regression.weight_distance(modes, x[:, 0]),
        "ensemble": lambda x: regression.ensemble_covariance(K, K, K, K + x[0, 0], modes),
        "posterior": lambda x: regression.posterior(K, K, modes, x),
        "descend": lambda x: regression.descend(K, lambda f: f, x, learning_rate=0.1, steps=2),
        "distilled predictor": lambda x: distillation.predictor(kernel, x, y)(x),
        "distillation": jax.grad(lambda x: distillation.loss(what, x, y, x, y)),
        "eigenfeatures": lambda x: eigenfeatures.features(K, modes, x),
        "inner products": lambda x: eigenfeatures.inner_products(modes, x[:, 0]),
        "robustness": lambda x: eigenfeatures.robustness(kernel, x, modes, y, x, y, attacks.Attack(0.1)),
        "accuracy": lambda x: eigenfeatures.robust_accuracy(lambda p: p @ p[0], x, y, attacks.Attack(0.1)),
        "cosine": lambda x: eigenfeatures.gradient_cosine(lambda p: p @ p[0], lambda p: p @ p[1], x),
        "overlap": lambda x: eigenfeatures.subspace_overlap(modes, modes._replace(vectors=K + x[0, 0]), 2),
        "attack": lambda x: attacks.Attack(0.1).perturb(lambda p: p @ p[0], x, y),
        "similarity": lambda x: evolution.similarity(K + x[0, 0], K),
        "polar": lambda x: evolution.polar(jnp.stack([K, K + x[0, 0]])),
        "truncated": lambda x: evolution.truncated(K + x[0, 0], 2),
        "target": lambda x: evolution.target_alignment(K, x[:, 0]),
    }


def test_every_product_is_in_full_precision_whatever_the_default():
    highest = (jax.lax.Precision.HIGHEST,) * 2
    with jax.default_matmul_precision("bfloat16"):
        lowered = precisions(lambda x: x @ x.T, jnp.ones((2, 3)))
        assert lowered
        assert highest not in lowered
        for name, function in entries().items():
            found = precisions(jax.jit(function), jnp.ones((4, 3)))
            assert found, name
            assert set(found) == {highest}, name
        seen = []

        def watched(x, z=None):
            seen.append(jax.config.jax_default_matmul_precision)
            return x @ (x if z is None else z).T

        blocks.gram(watched, np.ones((3, 2)))
        assert set(seen) == {"highest"}


@pytest.mark.exhaustive
def test_scales_are_powers_of_two_within_the_range(single):
    values = jnp.asarray([[1e-37, 0], [0, 0], [3, -5], [3e38, 1]], jnp.float32)
    scales = np.asarray(products.size(values), float).ravel()
    assert set(np.frexp(scales)[0]) == {0.5}
    assert scales[1] == 1
    assert np.isfinite(values / products.size(values)).all()
    np.testing.assert_allclose(products.norms(jnp.asarray([[3e30, 4e30]], jnp.float32)), [[5e30]], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(lambda x: products.norms(x).sum())(jnp.zeros((1, 2))), 0)


@pytest.mark.exhaustive
def test_angles_of_a_common_part():
    """Adding a coordinate of size b to both points."""
    rng = np.random.default_rng(0)
    x, z = jnp.asarray(rng.normal(size=(3, 4))), jnp.asarray(rng.normal(size=(5, 4)))
    z = z.at[0].set(x[0]).at[1].set(-x[0]).at[2].set(0)
    A, B = jnp.sum(x**2, 1)[:, None], jnp.sum(z**2, 1)[None]
    found = angles.with_bias(angles.between(x, z), A, B, 0.49)
    wide, other = (jnp.concatenate([p, jnp.full((len(p), 1), 0.7)], axis=1) for p in (x, z))
    wanted = angles.between(wide, other)
    np.testing.assert_allclose(found.cos, wanted.cos, atol=1e-14)
    np.testing.assert_allclose(found.sin, wanted.sin, atol=1e-14)
