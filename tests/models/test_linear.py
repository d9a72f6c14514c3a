"""Linear predictors are linear, in their inputs and as far as they say in their parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.models.linear import DiagonalLinear, Linear

DIM, SAMPLES = 5, 6
X = np.random.default_rng(0).normal(size=(SAMPLES, DIM))


def drawn(model):
    params = jax.jit(model.init)(jax.random.key(0), jnp.asarray(X))["params"]
    return params, model.apply({"params": params}, jnp.asarray(X))


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_linear(num_outputs):
    model = Linear(num_outputs)
    params, actual = drawn(model)
    assert {name: leaf.shape for name, leaf in params.items()} == {"W": (num_outputs, DIM)}
    expected = X @ np.asarray(params["W"]).T
    np.testing.assert_allclose(actual, expected[:, 0] if num_outputs == 1 else expected, rtol=1e-13)
    z = jnp.asarray(expected)
    np.testing.assert_allclose(model.from_pre_activations({}, z), actual, rtol=1e-13)
    np.testing.assert_array_equal(model.activation(z, jnp.ones(num_outputs)), z)


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_diagonal_linear(depth):
    params, actual = drawn(DiagonalLinear(depth))
    assert {name: leaf.shape for name, leaf in params.items()} == {f"u{i + 1}": (DIM,) for i in range(depth)}
    weights = np.prod([np.asarray(leaf) for leaf in params.values()], axis=0)
    np.testing.assert_allclose(actual, X @ weights, rtol=1e-12, atol=1e-15)


def test_gradients_of_a_diagonal_network_are_products_of_the_other_factors():
    model = DiagonalLinear(3)
    params, _ = drawn(model)
    grads = jax.grad(lambda p: jnp.sum(model.apply({"params": p}, jnp.asarray(X))))(params)
    for name in params:
        others = np.prod([np.asarray(leaf) for other, leaf in params.items() if other != name], axis=0)
        np.testing.assert_allclose(grads[name], X.sum(axis=0) * others, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("model", [Linear(), DiagonalLinear(2), DiagonalLinear(3)])
def test_predictors_are_linear_in_their_inputs(model):
    params, actual = drawn(model)
    both = model.apply({"params": params}, jnp.asarray(2 * X + X[::-1]))
    np.testing.assert_allclose(both, 2 * actual + actual[::-1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("depth", [1, 0, -2])
def test_shallow_products_are_refused(untyped, depth):
    with pytest.raises(ValueError, match=f"depth must be at least 2, got {depth}"):
        DiagonalLinear(depth)
