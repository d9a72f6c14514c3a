"""Networks in NTK parametrisation: against plain NumPy, and against the kernels of their limit."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.models.activations import Activation
from dynamics.models.ntk_mlp import NTKNetwork
from kernels import closed_form, empirical


def points(count, dim, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, dim)))


def test_against_numpy():
    model, x = NTKNetwork(6, 2, 3, weight_std=1.3, bias_std=0.4), points(4, 5)
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    h, params = np.asarray(x), jax.tree.map(np.asarray, params)
    for layer in range(3):
        h = 1.3 / math.sqrt(h.shape[1]) * h @ params[f"W{layer}"] + 0.4 * params[f"b{layer}"]
        h = np.maximum(h, 0) if layer < 2 else h
    np.testing.assert_allclose(model.apply({"params": params}, x), h, rtol=1e-12)


@pytest.mark.exhaustive
@pytest.mark.parametrize(("depth", "bias_std", "name"), [(1, 0.1, "relu"), (2, 0.0, "relu"), (2, 0.3, "erf")])
def test_wide_networks_have_the_infinite_kernel(depth, bias_std, name):
    model = NTKNetwork(512, depth, bias_std=bias_std, activation=Activation(name))
    x = points(5, 3)

    @jax.jit
    def one(key):
        params = jax.jit(model.init)(key, x)["params"]
        return empirical.ntk(lambda p, x: model.apply({"params": p}, x), params, x)

    mean = jnp.mean(jax.lax.map(one, jax.random.split(jax.random.key(1), 12)), axis=0)
    exact = closed_form.deep(x, None, depth, name, bias_std=bias_std).ntk
    assert float(jnp.linalg.norm(mean - exact) / jnp.linalg.norm(exact)) < 0.06


@pytest.mark.exhaustive
def test_doubled_networks_start_at_zero_with_half_the_width_s_kernel():
    model, x = NTKNetwork(16, doubled=True), points(6, 4)
    params = jax.jit(model.init)(jax.random.key(3), x)["params"]

    @jax.jit
    def apply(params, x):
        return model.apply({"params": params}, x)

    np.testing.assert_allclose(apply(params, x), 0, atol=1e-14)
    half = NTKNetwork(8)
    small = {"W0": params["W0"][:, :8], "b0": params["b0"][:8], "W1": params["W1"][:8], "b1": params["b1"]}
    expected = jax.jit(lambda p: empirical.ntk(lambda p, x: half.apply({"params": p}, x), p, x))(small)
    found = jax.jit(lambda p: empirical.ntk(apply, p, x))(params)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("given", [{"width": 3}, {"width": 4, "depth": 2}])
def test_bad_input(given):
    with pytest.raises(ValueError, match="depth 1 and an even width"):
        NTKNetwork(**given, doubled=True)
