"""The loss around inputs and weights: closed forms of linear models, dense Hessians of small networks."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import observables as o
from dynamics import simulate, steepest
from dynamics.adversary import FGSM, PGD, FeatureShift
from dynamics.data.patches import RobustNonRobust
from dynamics.keys import named_key, seed_key
from dynamics.models.activations import Activation
from dynamics.models.patch_cnn import PatchCNN
from dynamics.observables.landscape import dual_size
from dynamics.problem import Problem

KEY = jax.random.key(1)
DATA = RobustNonRobust(5, 2, 9, 6, 1, 2, noise=0.4, shuffle=True)
SEEDS = (0, 1, 2)
RADII, OFFSETS = np.array([0.0, 0.2, 0.9]), np.array([-1.0, 0.0, 0.5, 1.0, 2.0])
# of g copies of one vector, in three patches
DUAL = {
    "l2": lambda v: np.sqrt(3) * np.linalg.norm(v),
    "linf": lambda v: 3 * np.abs(v).sum(),
    "max-l2": lambda v: 3 * np.linalg.norm(v),
}


@pytest.fixture(
    scope="module",
    params=["max-l2", *(pytest.param(n, marks=pytest.mark.exhaustive) for n in ("l2", "linf"))],
)
def norm(request):
    return request.param


@pytest.fixture(scope="module")
def linear(norm):
    """All observables of y f(x) = y <v, sum of patches>, v the sum of two neurons; three seeds at once."""
    problem = Problem(DATA, PatchCNN(2, activation=Activation("linear")), init_scale=0.5)
    attack = FGSM(0.7, norm=norm)
    end = {
        "W": o.weights,
        "rise": o.loss_rise.given(attack=attack, radius=RADII),
        "gradient": o.input_gradient.given(attack=attack, radius=RADII, points="test"),
        "supremum": o.gradient_supremum.given(attack=attack, radius=RADII, num_points=4),
        "slice": o.loss_slice.given(attack=attack, offset=OFFSETS),
        "curve": o.robust_curve.given(attack=attack, radius=RADII),
        "eigenvalues": o.hessian_eigenvalues.given(count=3, depth=10),
    }
    return simulate(problem, steepest("l2", 0.1), steps=2, observe_end=end, seeds=SEEDS, strategy="vmap")


sampled = jax.jit(lambda seed: DATA.sample(named_key(seed_key(seed), "data")))


def margins(result, seed, points):
    """v, and the sums of patches times labels, of one seed, in NumPy."""
    sample = getattr(sampled(seed), points)
    v = np.asarray(result.W.sel(seed=seed)).sum(axis=0)
    return v, np.asarray(sample.x).sum(axis=1) * np.asarray(sample.y)[:, None]


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", SEEDS)
def test_loss_around_inputs_of_a_linear_model(linear, norm, seed):
    found = linear.sel(seed=seed)
    v, inputs = margins(linear, seed, "train")
    q, size = inputs @ v, DUAL[norm](v)
    loss = np.log1p(np.exp(-q))
    rise = [np.mean(np.log1p(np.exp(-q + r * size)) - loss) for r in RADII]
    np.testing.assert_allclose(found.rise, rise, rtol=1e-9, atol=1e-12)
    cut = [np.log1p(np.exp(-q + 0.7 * c * size)).mean() for c in OFFSETS]
    np.testing.assert_allclose(found["slice"], cut, rtol=1e-9)

    v, inputs = margins(linear, seed, "test")
    q = inputs @ v
    slope = size / (1 + np.exp(q[:, None] - RADII * size))
    np.testing.assert_allclose(found.gradient, slope.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.supremum, slope[:4].mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.curve, (q[:, None] > RADII * size).mean(axis=0))
    np.testing.assert_array_equal(found.radius, RADII)


@pytest.mark.exhaustive
def test_hessian_of_a_linear_model(linear):
    for seed in SEEDS:
        v, inputs = margins(linear, seed, "train")
        curvature = 1 / (2 + 2 * np.cosh(inputs @ v))
        # two equal neurons: twice the eigenvalues of the logistic regression, and as many zeros
        expected = 2 * np.linalg.eigvalsh((inputs * curvature[:, None]).T @ inputs / len(inputs))[::-1]
        np.testing.assert_allclose(linear.eigenvalues.sel(seed=seed), expected[:3], rtol=1e-8)


def test_dual_norms_by_hand():
    gradient = np.random.default_rng(0).normal(size=(4, 3, 2))
    expected = {
        "l2": np.linalg.norm(gradient.reshape(4, -1), axis=1),
        "linf": np.abs(gradient).sum(axis=(1, 2)),
        "max-l2": np.linalg.norm(gradient, axis=2).sum(axis=1),
    }
    for norm, size in expected.items():
        np.testing.assert_allclose(dual_size(jnp.asarray(gradient), norm), size, rtol=1e-12)


def test_the_supremum_is_found_where_one_patch_is_off():
    """Brute force over discs; the neuron is off, with a flat margin around it, in the second patch."""
    problem = Problem(
        RobustNonRobust(4, 2, 1, 1, 1, 1), PatchCNN(1, activation=Activation("relu_power", power=2.0))
    )
    draw = jax.jit(problem.sample)(KEY)
    W = np.array([[1.0, 0.5, 0.0, 0.0]])
    x = np.array([[[0.6, 0.2, 0.0, 0.0], [-3.0, 0.0, 0.0, 0.0]]])
    test = dataclasses.replace(draw.test, x=jnp.asarray(x), y=jnp.ones(1))
    attack = PGD(0.5, norm="max-l2", steps=40, random_start=False)
    observable = o.gradient_supremum.given(attack=attack, radius=np.array([0.5]))
    draw = dataclasses.replace(draw, test=test)
    found = jax.jit(lambda W: observable({"W": W}, problem, draw, KEY))(jnp.asarray(W))
    # f = z^2 of the first patch alone, z = w.x_1: the gradient is sigmoid(-f) 2 z |w|, z within 0.5 |w|
    z, size = W[0] @ x[0, 0], np.linalg.norm(W)
    z = np.linspace(z - 0.5 * size, z + 0.5 * size, 10_001)
    sizes = 2 * np.maximum(z, 0) * size / (1 + np.exp(np.maximum(z, 0) ** 2))
    np.testing.assert_allclose(found, [sizes.max()], rtol=1e-3)
    assert sizes.max() > 1.02 * sizes[5000]


# --- eigenvalues


def network(activation="smoothed_relu", num_samples=6):
    data = RobustNonRobust(4, 2, num_samples, 2, 1, 1, noise=0.5)
    return Problem(data, PatchCNN(2, 2, use_bias=True, activation=Activation(activation)), "cross_entropy")


def dense(problem, params, draw):
    """All eigenvalues of the Hessian, of float64, descending."""
    flat, unravel = jax.flatten_util.ravel_pytree(params)

    def loss(vector):
        return problem.total(problem.sample_losses(unravel(vector), draw.train))

    return np.linalg.eigvalsh(jax.jit(jax.hessian(loss))(flat))[::-1]


def lanczos(problem, params, draw, count, depth=32):
    observable = o.hessian_eigenvalues.given(count=count, depth=depth)
    return np.asarray(jax.jit(lambda p: observable(p, problem, draw, KEY))(params))


@pytest.fixture(scope="module")
def small():
    """A network of 20 parameters, its draw and its eigenvalues."""
    problem = network()
    params, draw = jax.jit(lambda key: (problem.init(key), problem.sample(key)))(KEY)
    return problem, params, draw, dense(problem, params, draw)


def test_eigenvalues_are_those_of_the_dense_hessian(small):
    problem, params, draw, expected = small
    assert expected[0] > 0.1
    assert expected[-1] < -0.01
    np.testing.assert_allclose(lanczos(problem, params, draw, 20), expected, atol=1e-10)
    # few steps: from below, and close at the top
    few = lanczos(problem, params, draw, 3, depth=7)
    assert (few <= expected[:3] + 1e-12).all()
    np.testing.assert_allclose(few[0], expected[0], rtol=0.02)


@pytest.mark.exhaustive
def test_eigenvalues_in_float32_whatever_the_rank_and_size(small):
    """Lanczos runs out of directions here: of rank 1, of nothing, and late in training."""
    problem, params, draw, expected = small
    narrow = jax.tree.map(lambda a: a.astype(np.float32) if a.dtype == np.float64 else a, (params, draw))
    found = lanczos(problem, *narrow, 20)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=3e-6 * expected[0])

    linear = Problem(problem.data, PatchCNN(2, activation=Activation("linear")))
    one = jax.tree.map(lambda a: a[:1], narrow[1].train)
    single = dataclasses.replace(narrow[1], train=one)
    total = np.asarray(one.x).sum(axis=(0, 1))
    observable = o.hessian_eigenvalues.given(count=8)
    run = jax.jit(lambda p: observable(p, linear, single, KEY))
    direction = np.asarray(one.y[0] * total / (total @ total))
    # margins of 0, 60 and 10,000: curvatures of 1/4, e^-60 and 0
    for margin in (0.0, 60.0, 1e4):
        W = np.tile(margin / 2 * direction, (2, 1)).astype(np.float32)
        top = 2 * (total @ total) * np.exp(-margin) / (1 + np.exp(-margin)) ** 2
        found = np.asarray(run({"W": jnp.asarray(W)}))
        np.testing.assert_allclose(found[0], top, rtol=1e-4)
        np.testing.assert_allclose(found[1:], 0, atol=1e-6 * top)


@pytest.mark.parametrize(
    ("count", "depth"), [(0, 5), (6, 5), (21, 32)], ids=["none", "above depth", "above parameters"]
)
def test_counts_that_cannot_be_are_refused(small, count, depth):
    problem, params, draw, _ = small
    with pytest.raises(ValueError, match=r"count must be at least 1 and at most depth=.* 20, got"):
        o.hessian_eigenvalues.given(count=count, depth=depth)(params, problem, draw, KEY)


def test_an_attack_without_a_norm_is_refused(small, untyped):
    class Own(FeatureShift):
        norm = None

    problem, params, draw, _ = small
    for observable in (o.input_gradient, o.gradient_supremum):
        with pytest.raises(ValueError, match="must have a norm, one of l2, linf, max-l2, got"):
            observable.measure(params, problem, draw, KEY, attack=Own(1.0), radius=RADII)
