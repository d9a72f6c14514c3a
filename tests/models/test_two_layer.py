"""Two-layer networks against NumPy and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dynamics.models.activations import Activation
from dynamics.models.two_layer import TwoLayer, biases, neuron_labels, output_weights, pre_activations

DIM, SAMPLES, WIDTH = 5, 7, 3


def smoothed(z, norms, q=3.0, rho=1.0):
    middle = np.clip(z, 0, None) ** q / (q * rho ** (q - 1))
    return np.where(z < 0, 0, np.where(z <= rho, middle, z - (1 - 1 / q) * rho))


CASES = {
    "relu": (Activation("relu"), lambda z, norms: np.maximum(z, 0)),
    "leaky_relu": (Activation("leaky_relu", slope=0.2), lambda z, norms: np.maximum(z, 0.2 * z)),
    "prelu": (Activation("prelu", power=3.0), lambda z, norms: np.maximum(z, 0) ** 3 / norms**2),
    "prelu 1.5": (Activation("prelu", power=1.5), lambda z, norms: np.maximum(z, 0) ** 1.5 / norms**0.5),
    "prelu 1": (Activation("prelu", power=1.0), lambda z, norms: np.maximum(z, 0)),
    "smoothed_relu": (Activation("smoothed_relu"), smoothed),
    "smoothed_relu 2": (
        Activation("smoothed_relu", power=2.0, threshold=0.5),
        lambda z, norms: smoothed(z, norms, 2.0, 0.5),
    ),
    "erf": (Activation("erf"), lambda z, norms: scipy.special.erf(z)),
    "gelu": (Activation("gelu"), lambda z, norms: z * 0.5 * (1 + scipy.special.erf(z / np.sqrt(2)))),
    "linear": (Activation("linear"), lambda z, norms: z),
    "quadratic": (Activation("quadratic"), lambda z, norms: z**2),
}


def drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(SAMPLES, DIM))
    params = jax.jit(model.init)(jax.random.key(seed), jnp.asarray(x))["params"]
    return params, x


@pytest.mark.parametrize("num_outputs", [1, 3])
@pytest.mark.parametrize("case", CASES)
def test_forward_and_gradient(case, num_outputs):
    activation, phi = CASES[case]
    model = TwoLayer(WIDTH, num_outputs, activation=activation)
    params, x = drawn(model)

    def by_hand(W, b):
        hidden = phi(x @ W.T + b, np.linalg.norm(W, axis=1))
        if num_outputs == 1:
            return (hidden[:, :WIDTH].sum(axis=1) - hidden[:, WIDTH:].sum(axis=1)) / WIDTH
        return np.stack(
            [hidden[:, j * WIDTH : (j + 1) * WIDTH].mean(axis=1) for j in range(num_outputs)], axis=1
        )

    W, b = np.asarray(params["W"]), np.asarray(params["b"])
    outputs = model.apply({"params": params}, jnp.asarray(x))
    np.testing.assert_allclose(outputs, by_hand(W, b), rtol=1e-12, atol=1e-13)

    weight = np.random.default_rng(1).normal(size=outputs.shape)
    grads = jax.grad(lambda p: jnp.sum(model.apply({"params": p}, jnp.asarray(x)) * weight))(params)
    step = 1e-6  # central differences: error step^2 + 1e-16 / step
    for name, value in (("W", W), ("b", b)):
        numeric = np.zeros_like(value)
        for index in np.ndindex(*value.shape):
            moved = np.zeros_like(value)
            moved[index] = step
            ends = [by_hand(**{"W": W, "b": b} | {name: value + sign * moved}) for sign in (1, -1)]
            numeric[index] = np.sum((ends[0] - ends[1]) * weight) / (2 * step)
        np.testing.assert_allclose(grads[name], numeric, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["relu", "prelu", "smoothed_relu"])
def test_derivative_at_zero_is_zero(name):
    activation = Activation(name)
    slope = jax.grad(lambda z: jnp.sum(activation(z, jnp.ones(1))))(jnp.zeros((1, 1)))
    assert float(slope[0, 0]) == 0


@pytest.mark.exhaustive
def test_prelu_of_zero_weights():
    model = TwoLayer(1, activation=Activation("prelu", power=3.0))
    x = jnp.ones((4, 2))
    params = {"W": jnp.array([[0.0, 0.0], [3.0, 4.0]]), "b": jnp.array([1.0, 1.0])}

    def total(p):
        return jnp.sum(model.apply({"params": p}, x))

    # the neuron of norm zero is silent; the other has z = 8 and norm 5
    np.testing.assert_allclose(model.apply({"params": params}, x), -np.full(4, 8**3 / 5**2), rtol=1e-12)
    grads = jax.grad(total)(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    np.testing.assert_array_equal(grads["W"][0], [0, 0])


@pytest.mark.exhaustive
@pytest.mark.parametrize(("power", "threshold"), [(2.0, 0.5), (3.0, 1.0), (2.5, 2.0)])
def test_smoothed_relu_is_continuously_differentiable(power, threshold):
    activation = Activation("smoothed_relu", power=power, threshold=threshold)

    def value(z):
        return activation(z[:, None], jnp.ones(1))[:, 0]

    tiny = 1e-9
    for z, level, slope in ((0.0, 0.0, 0.0), (threshold, threshold / power, 1.0)):
        near = jnp.array([z - tiny, z, z + tiny])
        np.testing.assert_allclose(value(near), level, atol=4 * tiny)
        slopes = jax.grad(lambda v: jnp.sum(value(v)))(near)
        np.testing.assert_allclose(slopes, slope, atol=1e-7)
    far = jnp.array([threshold + 3.0])
    np.testing.assert_allclose(jax.grad(lambda v: jnp.sum(value(v)))(far), 1, rtol=1e-12)


@pytest.mark.parametrize("num_outputs", [1, 3])
@pytest.mark.parametrize("use_bias", [False, True])
@pytest.mark.parametrize("train_output", [False, True])
def test_parameters(num_outputs, use_bias, train_output):
    model = TwoLayer(WIDTH, num_outputs, use_bias=use_bias, train_output=train_output)
    params, x = drawn(model)
    neurons = WIDTH * (2 if num_outputs == 1 else num_outputs)
    shapes = {"W": (neurons, DIM)}
    if use_bias:
        shapes["b"] = (neurons,)
    if train_output:
        shapes["a"] = (num_outputs, neurons)
    assert {name: leaf.shape for name, leaf in params.items()} == shapes
    assert {leaf.dtype for leaf in params.values()} == {jnp.dtype("float64")}
    assert model.num_neurons == neurons
    assert biases(params).shape == (neurons,)
    if not use_bias:
        np.testing.assert_array_equal(biases(params), np.zeros(neurons))
    expected = x @ np.asarray(params["W"]).T + np.asarray(biases(params))
    np.testing.assert_allclose(pre_activations(params, jnp.asarray(x)), expected, rtol=1e-12)
    shape = (SAMPLES,) if num_outputs == 1 else (SAMPLES, num_outputs)
    assert model.apply({"params": params}, jnp.asarray(x)).shape == shape


def test_initial_weights_are_standard_normal():
    model = TwoLayer(200)
    params = jax.jit(model.init)(jax.random.key(1), jnp.zeros((1, 50)))["params"]
    for leaf in params.values():
        values, count = np.asarray(leaf), leaf.size
        assert abs(values.mean()) < 5 / np.sqrt(count)
        assert abs(values.var() - 1) < 5 * np.sqrt(2 / count)


def test_trained_second_layer_starts_at_the_fixed_one_and_counts():
    for num_outputs in (1, 3):
        fixed, trained = (TwoLayer(WIDTH, num_outputs, train_output=t) for t in (False, True))
        params, x = drawn(trained)
        x = jnp.asarray(x)
        np.testing.assert_array_equal(params["a"], fixed.initial_output)
        rest = {name: params[name] for name in ("W", "b")}
        np.testing.assert_array_equal(trained.apply({"params": params}, x), fixed.apply({"params": rest}, x))
        doubled = trained.apply({"params": params | {"a": 2 * params["a"]}}, x)
        np.testing.assert_allclose(doubled, 2 * fixed.apply({"params": rest}, x), rtol=1e-12)


@pytest.mark.exhaustive
def test_neuron_labels():
    model = TwoLayer(2)
    params, _ = drawn(model)
    np.testing.assert_array_equal(neuron_labels(model, params), [1, 1, -1, -1])
    np.testing.assert_array_equal(output_weights(model, params), [[0.5, 0.5, -0.5, -0.5]])
    model = TwoLayer(2, 3)
    params, _ = drawn(model)
    np.testing.assert_array_equal(neuron_labels(model, params), [0, 0, 1, 1, 2, 2])
    model = TwoLayer(1, train_output=True)
    params, _ = drawn(model)
    np.testing.assert_array_equal(neuron_labels(model, params | {"a": jnp.array([[-3.0, 2.0]])}), [-1, 1])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "tanh"}, "activation must be one of relu"),
        ({"power": 0.5}, "power must be at least 1, got 0.5"),
        ({"power": float("nan")}, "power must be at least 1"),
        ({"threshold": 0.0}, "threshold must be positive"),
    ],
)
def test_bad_activations(untyped, fields, message):
    with pytest.raises(ValueError, match=message):
        Activation(**fields)
