"""The empirical NTK as an observable: against jax.jacobian, on any experiment's network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import Problem, experiments, simulate
from dynamics import observables as o
from dynamics.adversary import FGSM
from dynamics.data.clusters import Clusters
from dynamics.descent import named
from dynamics.keys import named_key, seed_key
from dynamics.models.mlp import MLP
from dynamics.models.two_layer import TwoLayer
from kernels import eigenfeatures, evolution, regression

DATA = Clusters(8, 4, 12, 10)


def brute(problem, params, x):
    outputs = problem.apply(params, x).reshape(len(x), -1).shape[1]
    J = jax.jit(jax.jacobian(lambda p: problem.apply(p, x).reshape(len(x), outputs)))(params)
    J = jnp.concatenate([leaf.reshape(len(x) * outputs, -1) for leaf in jax.tree.leaves(J)], axis=1)
    return J @ J.T


def start(problem, seed=0):
    data, init = (named_key(seed_key(seed), name) for name in ("data", "init"))
    return jax.jit(problem.sample)(data), jax.jit(problem.init)(init, data)


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("model", ["mlp", "two_layer"])
def test_is_the_jacobians(model, outputs):
    net = MLP((5,), outputs) if model == "mlp" else TwoLayer(3, outputs)
    loss = "logistic" if outputs == 1 else "cross_entropy"
    problem = Problem(DATA, net, loss)
    draw, params = start(problem)
    key = jax.random.key(0)
    found = o.ntk(params, problem, draw, key)
    np.testing.assert_allclose(found, brute(problem, params, draw.train.x), atol=1e-10)
    few = o.ntk.given(points="test", num_points=3)(params, problem, draw, key)
    np.testing.assert_allclose(few, brute(problem, params, draw.test.x[:3]), atol=1e-10)
    values = o.ntk_eigenvalues(params, problem, draw, key)
    np.testing.assert_allclose(values, np.linalg.eigvalsh(found)[::-1], atol=1e-10)


@pytest.mark.exhaustive
def test_at_attacked_points():
    problem = Problem(DATA, MLP((5,)), "logistic")
    draw, params = start(problem)
    key, attack = jax.random.key(0), FGSM(0.3, norm="linf")
    found = o.ntk.given(attack=attack)(params, problem, draw, key)
    slope = jax.grad(lambda x: jnp.sum(jax.nn.softplus(-draw.train.y * problem.apply(params, x))))(
        draw.train.x
    )
    moved = draw.train.x + 0.3 * jnp.sign(slope)
    np.testing.assert_allclose(found, brute(problem, params, moved), atol=1e-10)


@pytest.mark.exhaustive
def test_eigenfeatures_while_a_network_averages_features():
    """Any experiment: the second feature of the trained network separates the two classes of clusters."""
    experiment = experiments.get("feature_averaging")
    from dynamics.experiments.feature_averaging import setting as module

    config = experiment.Config(num_clusters=4, dim=64, num_samples=64, num_test=50, num_points=50)
    problem = module.problem(config, "binary")
    dataset = simulate(
        problem,
        named("gd", 0.05),
        steps=40,
        observe={"rho": o.ntk_usefulness.given(count=4), "kernel": o.ntk.given(num_points=20)},
        when=[0, 10],
        seeds=2,
    )
    assert dataset.rho.shape == (2, 3, 4)
    assert (dataset.rho.isel(step=-1).max("eigenfeature") > 0.9).all()
    path = jnp.asarray(dataset.kernel.values[0])
    assert float(evolution.distance(path[0], path[-1])) > 0
    assert float(evolution.polar(path)[0][-1]) == pytest.approx(1)


@pytest.mark.exhaustive
def test_usefulness_is_that_of_the_kernels_package():
    problem = Problem(DATA, MLP((5,)), "logistic")
    draw, params = start(problem)
    gram = brute(problem, params, jnp.concatenate([draw.train.x, draw.test.x]))
    modes = regression.spectrum(gram[:12, :12])
    expected = eigenfeatures.usefulness(
        eigenfeatures.features(gram[12:, :12], modes, draw.train.y, 3), draw.test.y
    )
    found = o.ntk_usefulness.given(count=3)(params, problem, draw, jax.random.key(0))
    np.testing.assert_allclose(found, expected)


def test_usefulness_is_for_single_outputs():
    problem = Problem(DATA, MLP((5,), 4), "cross_entropy")
    draw, params = start(problem)
    with pytest.raises(ValueError, match="single output"):
        o.ntk_usefulness(params, problem, draw, jax.random.key(0))
