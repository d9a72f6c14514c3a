"""Fully connected networks against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.models.mlp import MLP


def by_hand(params, x):
    layers = [params[f"Dense_{i}"] for i in range(len(params))]
    for i, layer in enumerate(layers):
        x = x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
        if i < len(layers) - 1:
            x = np.maximum(x, 0)
    return x


@pytest.mark.parametrize("hidden", [(), (4,), (6, 3)])
@pytest.mark.parametrize("num_outputs", [1, 3])
def test_forward(hidden, num_outputs):
    model = MLP(hidden, num_outputs)
    x = np.random.default_rng(0).normal(size=(5, 4))
    params = jax.jit(model.init)(jax.random.key(0), jnp.asarray(x))["params"]
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda p: p + jnp.asarray(rng.normal(size=p.shape)), params)  # biases other than 0
    outputs = model.apply({"params": params}, jnp.asarray(x))
    expected = by_hand(params, x)
    np.testing.assert_allclose(
        outputs, expected[:, 0] if num_outputs == 1 else expected, rtol=1e-12, atol=1e-12
    )


def test_parameters_start_as_he_normal_in_the_precision_of_the_run():
    model = MLP((300, 200), 10)
    params = jax.jit(model.init)(jax.random.key(3), jnp.zeros((1, 100)))["params"]
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float64")}
    for i, (fan_in, fan_out) in enumerate([(100, 300), (300, 200), (200, 10)]):
        kernel = np.asarray(params[f"Dense_{i}"]["kernel"])
        assert kernel.shape == (fan_in, fan_out)
        # the variance of n normals has relative standard error sqrt(2 / n); truncation makes it smaller
        assert abs(kernel.var() * fan_in / 2 - 1) < 5 * np.sqrt(2 / kernel.size)
        assert abs(kernel.mean()) < 5 * np.sqrt(2 / fan_in / kernel.size)
        np.testing.assert_array_equal(params[f"Dense_{i}"]["bias"], np.zeros(fan_out))


def test_float32():
    with jax.enable_x64(False):
        model = MLP((3,))
        params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 2)))["params"]
        assert model.apply({"params": params}, jnp.zeros((4, 2))).dtype == jnp.float32


def test_relu_has_derivative_zero_at_zero():
    model = MLP((2,))
    params = {
        "Dense_0": {"kernel": jnp.zeros((1, 2)), "bias": jnp.zeros(2)},
        "Dense_1": {"kernel": jnp.ones((2, 1)), "bias": jnp.zeros(1)},
    }
    grads = jax.grad(lambda p: jnp.sum(model.apply({"params": p}, jnp.ones((3, 1)))))(params)
    np.testing.assert_array_equal(grads["Dense_0"]["kernel"], np.zeros((1, 2)))
