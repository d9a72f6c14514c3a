"""Linearised networks: the tangent plane by finite differences, and training on it in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.data.directions import Sphere
from dynamics.descent import named
from dynamics.engine.simulate import simulate
from dynamics.keys import named_key, seed_key
from dynamics.models.linearized import Linearized, around
from dynamics.models.mlp import MLP
from dynamics.models.ntk_two_layer import NTKTwoLayer
from dynamics.observables import outputs
from dynamics.problem import Problem
from kernels import empirical


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.exhaustive
def test_the_tangent_plane_by_finite_differences():
    network = MLP((5,))
    model, x = Linearized(network), jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    direction = jax.tree.map(lambda leaf: jnp.ones_like(leaf) * 0.3, params["origin"])

    def at(size):
        moved = jax.tree.map(lambda p, d: p + size * d, params["origin"], direction)
        return network.apply({"params": moved}, x)

    slope = (at(1e-5) - at(-1e-5)) / 2e-5
    wanted = at(0.0) + 2.0 * slope
    moved = jax.tree.map(lambda d: 2.0 * d, direction)
    np.testing.assert_allclose(model.apply({"params": {**params, "moved": moved}}, x), wanted, rtol=1e-6)


@pytest.mark.exhaustive
def test_descent_on_it_is_a_plain_loop_over_its_jacobian():
    problem = Problem(Sphere(6, 3, 3), Linearized(NTKTwoLayer(8)), "squared", "sum")
    found = simulate(problem, named("gd", 0.2), steps=25, when=[25], observe={"f": outputs}, seeds=[4])
    key = seed_key(4)
    draw = problem.sample(named_key(key, "data"))
    params = problem.init(named_key(key, "init"))["origin"]
    network = problem.model.network

    @jax.jit
    def f(p):
        return network.apply({"params": p}, draw.train.x)

    jacobian = jax.jit(jax.jacobian(f))(params)
    J = np.concatenate([np.asarray(leaf).reshape(6, -1) for leaf in jax.tree.leaves(jacobian)], 1)
    start, theta, y = np.asarray(f(params)), np.zeros(J.shape[1]), np.asarray(draw.train.y)
    for _ in range(25):
        theta -= 0.2 * J.T @ (start + J @ theta - y)
    np.testing.assert_allclose(found.f.values[0, -1], start + J @ theta, rtol=1e-10)
    start = problem.init(named_key(key, "init"))
    gram = jax.jit(lambda p: empirical.ntk(problem.apply, p, draw.train.x))(start)
    np.testing.assert_allclose(gram, J @ J.T, rtol=1e-10)


@pytest.mark.exhaustive
def test_it_can_begin_where_training_has_led():
    network, x = NTKTwoLayer(4), jnp.ones((2, 3))
    params = jax.jit(network.init)(jax.random.key(1), x)["params"]
    np.testing.assert_allclose(
        Linearized(network).apply({"params": around(params)}, x), network.apply({"params": params}, x)
    )
