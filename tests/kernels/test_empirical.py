"""Empirical kernels against jax.jacobian, neural-tangents, and the dynamics that they describe."""

import dataclasses
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import closed_form, infinite, regression
from kernels.empirical import Dense, as_matrix, dense, doubled, evaluate, linearize, normal_mlp, ntk


def points(count, dim, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, dim)))


def brute(apply, params, x, z):
    """J J^T by jax.jacobian, as (points, outputs, others, outputs)."""

    def jacobian(x):
        J = jax.jacobian(lambda p: apply(p, x).reshape(len(x), -1))(params)
        return jnp.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in jax.tree.leaves(J)], axis=2)

    return jnp.einsum("iop,jqp->iojq", jacobian(x), jacobian(z))


@pytest.mark.exhaustive
@pytest.mark.parametrize("sizes", [(4, 6, 1), (4, 6, 3), (4, 5, 6, 2), (4, 5, 6, 7, 1), (4, 2)])
@pytest.mark.parametrize("biases", [True, False])
@pytest.mark.parametrize("activation", ["relu", "erf"])
def test_dense_is_the_jacobians(sizes, biases, activation):
    layers = normal_mlp(jax.random.key(1), sizes, bias_std=0.3 if biases else 0.0)
    x, z = points(5, 4), points(3, 4, 1)
    expected = brute(lambda p, x: evaluate(p, x, activation), layers, x, z)
    found = dense(layers, x, z, activation)
    full = found if sizes[-1] > 1 else found[:, None, :, None]
    np.testing.assert_allclose(full, expected, rtol=1e-11, atol=1e-12)
    mean = jnp.einsum("iojo->ij", expected) / sizes[-1]
    np.testing.assert_allclose(dense(layers, x, z, activation, outputs="mean"), mean, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(
        dense(layers, x, None, activation), dense(layers, x, x, activation), rtol=1e-12
    )


@pytest.mark.exhaustive
def test_layers_that_train_add_up():
    layers = normal_mlp(jax.random.key(1), (4, 6, 5, 1), bias_std=0.3)
    x = points(5, 4)

    def only(kept):
        return [dataclasses.replace(layer, trained=i == kept) for i, layer in enumerate(layers)]

    parts = [dense(only(i), x) for i in range(3)]
    np.testing.assert_allclose(sum(parts), dense(layers, x), rtol=1e-12)
    assert all(float(jnp.max(jnp.abs(part))) > 0 for part in parts)


@pytest.mark.exhaustive
@pytest.mark.parametrize("limit", [2**30, 8 * 4 * 1000, 1])
@pytest.mark.parametrize("outputs", [1, 3])
def test_general_form_under_any_memory_limit(limit, outputs):
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            h = nn.tanh(nn.Conv(3, (2, 2), param_dtype=float)(x))
            out = nn.Dense(outputs, param_dtype=float)(h.reshape(len(x), -1))
            return out[:, 0] if outputs == 1 else out

    x, z = (jnp.asarray(np.random.default_rng(s).normal(size=(n, 3, 3, 1))) for s, n in ((0, 4), (1, 5)))
    params = jax.jit(Net().init)(jax.random.key(0), x)

    def apply(params, x):
        return Net().apply(params, x)

    expected = brute(apply, params, x, z)
    found = ntk(apply, params, x, z, limit=limit)
    full = found if outputs > 1 else found[:, None, :, None]
    np.testing.assert_allclose(full, expected, rtol=1e-10, atol=1e-12)
    mean = ntk(apply, params, x, z, outputs="mean", limit=limit)
    np.testing.assert_allclose(mean, jnp.einsum("iojo->ij", expected) / outputs, rtol=1e-10, atol=1e-12)
    if outputs > 1:
        matrix = as_matrix(ntk(apply, params, x, limit=limit))
        np.testing.assert_allclose(matrix, matrix.T, rtol=1e-10, atol=1e-12)
        assert np.linalg.eigvalsh(matrix).min() > -1e-10


def test_agrees_with_neural_tangents():
    nt = infinite.load()
    with jax.numpy_rank_promotion("allow"):
        init, apply, _ = nt.stax.serial(nt.stax.Dense(7), nt.stax.Relu(), nt.stax.Dense(2))
        _, params = init(jax.random.key(0), (-1, 4))
        x, z = points(5, 4), points(3, 4, 1)
        full = nt.empirical_ntk_fn(apply, trace_axes=(), vmap_axes=0, implementation=1)
        traced = nt.empirical_ntk_fn(apply, trace_axes=(-1,), vmap_axes=0, implementation=2)
        theirs, mean = jax.jit(lambda p: (full(x, z, p), traced(x, z, p)))(params)
        both = jax.jit(lambda p: (ntk(apply, p, x, z), ntk(apply, p, x, z, outputs="mean")))
        found, ours = both(params)
    np.testing.assert_allclose(jnp.moveaxis(found, 1, 2), theirs, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ours, mean, rtol=1e-12, atol=1e-12)


@pytest.mark.exhaustive
def test_dense_agrees_with_the_general_form_under_vmap_and_jit():
    x = points(4, 3)
    keys = jax.random.split(jax.random.key(0), 5)

    @jax.jit
    @jax.vmap
    def both(key):
        layers = normal_mlp(key, (3, 8, 8, 2), bias_std=0.1)
        return dense(layers, x), ntk(evaluate, layers, x)

    first, second = both(keys)
    assert first.shape == (5, 4, 2, 4, 2)
    np.testing.assert_allclose(first, second, rtol=1e-10, atol=1e-12)
    alone = dense(normal_mlp(keys[3], (3, 8, 8, 2), bias_std=0.1), x)
    np.testing.assert_allclose(first[3], alone, rtol=1e-12)


@pytest.mark.exhaustive
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_wide_networks_have_the_infinite_kernel(depth):
    x = points(8, 5)
    exact = closed_form.deep(x, None, depth).ntk

    @jax.jit
    def one(key):
        return dense(normal_mlp(key, (5, *[1024] * depth, 1), bias_std=0.1), x)

    mean = jnp.mean(jax.lax.map(one, jax.random.split(jax.random.key(0), 8)), axis=0)
    assert float(jnp.linalg.norm(mean - exact) / jnp.linalg.norm(exact)) < 0.06


@pytest.mark.exhaustive
def test_doubled_networks_start_at_zero_with_the_same_kernel():
    layers = normal_mlp(jax.random.key(2), (4, 9, 1), bias_std=0.2)
    twice, x = doubled(layers), points(6, 4)
    np.testing.assert_allclose(evaluate(twice, x), 0, atol=1e-14)
    np.testing.assert_allclose(dense(twice, x), dense(layers, x), rtol=1e-12)
    np.testing.assert_allclose(dense(twice, x), brute(evaluate, twice, x, x)[:, 0, :, 0], rtol=1e-11)


@pytest.mark.exhaustive
@pytest.mark.parametrize("momentum", [0.0, 0.7])
def test_descent_on_the_linearised_network_is_the_closed_form(momentum):
    """The same sequence exactly: 400 steps at 1 / lambda_max."""
    x, z = points(6, 3), points(4, 3, 1)
    y = jnp.sign(x[:, 0])
    layers = normal_mlp(jax.random.key(0), (3, 20, 1), bias_std=0.1)
    linear = linearize(evaluate, layers)
    modes = regression.spectrum(dense(layers, x))
    rate = 1 / float(modes.values[0])

    def loss(params):
        return 0.5 * jnp.sum((linear(params, x)[:, 0] - y) ** 2)

    @jax.jit
    def step(params, velocity):
        velocity = jax.tree.map(lambda v, g: momentum * v - rate * g, velocity, jax.grad(loss)(params))
        return jax.tree.map(jnp.add, params, velocity), velocity

    params, velocity = layers, jax.tree.map(jnp.zeros_like, layers)
    for _ in range(400):
        params, velocity = step(params, velocity)
    learned = regression.momentum(400, rate, momentum) if momentum else regression.descent(400, rate)
    start, cross = evaluate(layers, z)[:, 0], dense(layers, z, x)
    targets = y - evaluate(layers, x)[:, 0]
    expected = start + cross @ regression.coefficients(modes, targets, learned)
    np.testing.assert_allclose(linear(params, z)[:, 0], expected, atol=1e-10)
    moved = jnp.sqrt(
        sum(jnp.sum((a - b) ** 2) for a, b in zip(*map(jax.tree.leaves, (params, layers)), strict=True))
    )
    assert float(moved) == pytest.approx(float(regression.weight_distance(modes, targets, learned)), rel=1e-8)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_training_approaches_the_kernel_at_the_rates_of_theory():
    """Weights move and the linearised net is left as 1 / sqrt(width); the kernel drifts faster."""
    x = points(10, 5)
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    far = points(20, 5, 1)
    far = far / jnp.linalg.norm(far, axis=1, keepdims=True)
    y = jnp.sign(x[:, 0] * x[:, 1])

    @jax.jit(static_argnums=1)
    def one(key, width):
        kw, ka = jax.random.split(key)
        first = Dense(jax.random.normal(kw, (5, width)))
        signs = jax.random.rademacher(ka, (width, 1), float)
        start = [first, Dense(signs, None, 1 / math.sqrt(width))]
        before = dense(start, x)
        modes = regression.spectrum(before)
        rate = 1 / modes.values[0]

        def loss(params):
            return 0.5 * jnp.sum((evaluate(params, x)[:, 0] - y) ** 2)

        def step(_, params):
            return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params))

        end = jax.lax.fori_loop(0, 400, step, start)
        learned = regression.descent(400, rate)
        alpha = regression.coefficients(modes, y - evaluate(start, x)[:, 0], learned)
        linear = evaluate(start, far)[:, 0] + dense(start, far, x) @ alpha

        def size(tree):
            return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))

        motion = size(jax.tree.map(jnp.subtract, end, start)) / size(start)
        gap = jnp.sqrt(jnp.mean((evaluate(end, far)[:, 0] - linear) ** 2))
        drift = jnp.linalg.norm(dense(end, x) - before) / jnp.linalg.norm(before)
        return jnp.stack([motion, gap, drift])

    widths = [128, 512, 2048]
    keys = jax.random.split(jax.random.key(0), 8)
    means = jnp.stack([jnp.mean(jnp.stack([one(key, m) for key in keys]), axis=0) for m in widths])
    motion, gap, drift = (np.polyfit(np.log(widths), np.log(column), 1)[0] for column in np.asarray(means).T)
    assert motion == pytest.approx(-0.5, abs=0.05)
    assert gap == pytest.approx(-0.5, abs=0.12)
    assert -1.0 <= drift <= -0.7


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dense([], jnp.ones((2, 3))), "at least one layer"),
        (
            lambda: dense([Dense(jnp.ones((4, 1)))], jnp.ones((2, 3))),
            r"layer 0 must have a weight of shape \(3,",
        ),
        (
            lambda: dense([Dense(jnp.ones((3, 2)), jnp.ones(3))], jnp.ones((2, 3))),
            "layer 0 must have a bias of shape",
        ),
        (lambda: dense([Dense(jnp.ones((3, 1)))], jnp.full((2, 3), jnp.inf)), "x must be finite"),
        (
            lambda: ntk(lambda p, x: x @ p, jnp.ones(3), jnp.ones((2, 3)), jnp.ones((2, 4))),
            "points of one shape",
        ),
        (
            lambda: ntk(lambda p, x: x @ p, jnp.ones(3), jnp.ones((2, 3)), outputs="all"),
            "outputs must be one of",
        ),
        (lambda: doubled(normal_mlp(jax.random.key(0), (3, 4, 4, 1))), "two-layer networks, got 3 layers"),
    ],
)
def test_bad_input(untyped, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
