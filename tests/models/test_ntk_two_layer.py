"""Two-layer networks in NTK scaling: against plain NumPy, their kernels at a width and in the limit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.data.directions import Sphere
from dynamics.descent import named
from dynamics.engine.simulate import simulate
from dynamics.models.activations import Activation
from dynamics.models.ntk_two_layer import NTKTwoLayer
from dynamics.observables import outputs, parameters
from dynamics.problem import Problem
from kernels import closed_form, empirical


def points(count, dim, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, dim)))


@pytest.mark.parametrize("output", ["sign", "normal"])
def test_against_numpy(output):
    model, x = NTKTwoLayer(7, use_bias=True, output=output), points(4, 3)
    params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    np.testing.assert_array_equal(params["b"], 0)
    params = {**params, "b": points(1, 7)[0]}
    hidden = np.maximum(np.asarray(x) @ np.asarray(params["W"]).T + np.asarray(params["b"])[None], 0)
    np.testing.assert_allclose(
        model.apply({"params": params}, x), hidden @ np.asarray(params["a"]) / np.sqrt(7), rtol=1e-5
    )
    if output == "sign":
        np.testing.assert_array_equal(np.abs(params["a"]), 1)


@pytest.mark.exhaustive
@pytest.mark.parametrize("trained", ["first", "second", "both"])
def test_the_empirical_kernel_is_that_of_the_layers_that_train(trained):
    model, x = NTKTwoLayer(30, trained, activation=Activation("erf")), points(5, 3)
    params = jax.jit(model.init)(jax.random.key(1), x)["params"]
    found = empirical.ntk(lambda p, x: model.apply({"params": p}, x), params, x)
    exact = closed_form.finite_two_layer(params["W"], params["a"], x, None, "erf", trained=trained)
    np.testing.assert_allclose(found, exact, rtol=2e-5, atol=1e-6)


@pytest.mark.exhaustive
def test_biases_add_the_kernel_of_one_more_coordinate():
    model, x = NTKTwoLayer(4096, use_bias=True), points(5, 3)
    one = jax.jit(lambda key: model.init(key, x)["params"])

    def kernel(key):
        return empirical.ntk(lambda p, x: model.apply({"params": p}, x), one(key), x)

    mean = jnp.mean(jax.lax.map(kernel, jax.random.split(jax.random.key(1), 6)), axis=0)
    exact = closed_form.two_layer(x, None, trained_bias=1.0).ntk
    assert np.linalg.norm(mean - exact) / np.linalg.norm(exact) < 0.02
    without = closed_form.two_layer(x, None).ntk
    assert np.linalg.norm(mean - without) / np.linalg.norm(exact) > 0.1


@pytest.mark.exhaustive
def test_a_doubled_network_starts_at_zero_with_the_kernel_of_half_of_it():
    model, x = NTKTwoLayer(20, doubled=True), points(6, 3)
    params = jax.jit(model.init)(jax.random.key(2), x)["params"]
    np.testing.assert_allclose(model.apply({"params": params}, x), 0, atol=1e-6)
    found = empirical.ntk(lambda p, x: model.apply({"params": p}, x), params, x)
    exact = closed_form.finite_two_layer(params["W"][:10], params["a"][:10], x)
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.exhaustive
def test_what_does_not_train_stays_and_outputs_and_parameters_are_recorded():
    problem = Problem(Sphere(6, 4, 3), NTKTwoLayer(5, "first"), "squared", "sum")
    end = {"f": outputs.given(points="test"), "theta": parameters}
    found = simulate(problem, named("gd", 0.1), steps=3, when=[0], observe=end, seeds=2)
    assert found.f.shape == (2, 2, 4)
    first, last = found.theta.values[:, 0], found.theta.values[:, -1]  # leaves: W, then a
    assert np.all(np.any(first[:, :15] != last[:, :15], axis=1))
    np.testing.assert_array_equal(first[:, 15:], last[:, 15:])


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: NTKTwoLayer(3, "all"), "trained must be one of first, second, both, got 'all'"),
        (lambda: NTKTwoLayer(3, output="uniform"), "output must be one of sign, normal, got 'uniform'"),
        (
            lambda: NTKTwoLayer(3, doubled=True),
            "width must be at least 1 and even for a doubled network, got 3",
        ),
        (lambda: NTKTwoLayer(0), "width must be at least 1, got 0"),
    ],
)
def test_refusals(untyped, make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
