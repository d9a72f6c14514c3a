"""Homogeneous networks against plain NumPy; degrees of every model that says it has one; initial weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.models.activations import Activation
from dynamics.models.homogeneous import Homogeneous, layer_name
from dynamics.models.linear import DiagonalLinear, Linear
from dynamics.models.two_layer import TwoLayer

DIM, SAMPLES = 5, 6
X = np.random.default_rng(0).normal(size=(SAMPLES, DIM))

PHI = {
    "relu": (Activation("relu"), lambda z, norms: np.maximum(z, 0)),
    "leaky_relu": (Activation("leaky_relu", slope=0.2), lambda z, norms: np.maximum(z, 0.2 * z)),
    "prelu": (Activation("prelu", power=3.0), lambda z, norms: np.maximum(z, 0) ** 3 / norms**2),
    "linear": (Activation("linear"), lambda z, norms: z),
    "quadratic": (Activation("quadratic"), lambda z, norms: z**2),
    "odd_power": (Activation("odd_power", power=1.5), lambda z, norms: np.sign(z) * np.abs(z) ** 1.5),
    "relu_power": (Activation("relu_power", power=2.0), lambda z, norms: np.maximum(z, 0) ** 2),
}
WIDTHS = [(4,), (4, 3), (4, 3, 4)]


def drawn(model, seed=0):
    return jax.jit(model.init)(jax.random.key(seed), jnp.asarray(X))["params"]


def outputs(model, params):
    return jax.jit(lambda params: model.apply({"params": params}, jnp.asarray(X)))(params)


@pytest.mark.parametrize("num_outputs", [1, 3])
@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("name", PHI)
def test_forward(name, widths, num_outputs):
    activation, phi = PHI[name]
    model = Homogeneous(widths, num_outputs, activation)
    params = drawn(model)
    hidden = X
    for i in range(len(widths)):
        W = np.asarray(params[layer_name(i)])
        hidden = phi(hidden @ W.T, np.linalg.norm(W, axis=1))
    expected = hidden @ np.asarray(params["a"]).T
    actual = outputs(model, params)
    assert actual.shape == ((SAMPLES,) if num_outputs == 1 else (SAMPLES, num_outputs))
    np.testing.assert_allclose(actual.reshape(SAMPLES, -1), expected, rtol=1e-12, atol=1e-15)


MODELS = [
    *(
        pytest.param(Homogeneous(widths, 3, activation), id=f"{name} {widths}")
        for name, (activation, _) in PHI.items()
        for widths in WIDTHS
    ),
    *(
        pytest.param(
            TwoLayer(3, 2, use_bias=bias, train_output=trained, activation=activation),
            id=f"TwoLayer {name}{' bias' * bias}{' trained' * trained}",
        )
        for name, (activation, _) in PHI.items()
        for bias, trained in [(False, False), (True, True)]
    ),
    pytest.param(Linear(), id="Linear"),
    pytest.param(DiagonalLinear(2), id="DiagonalLinear 2"),
    pytest.param(DiagonalLinear(5), id="DiagonalLinear 5"),
]


@pytest.mark.parametrize("model", MODELS)
def test_degree(model):
    """f(x; c theta) = c^degree f(x; theta)."""
    params = drawn(model)
    value = np.asarray(outputs(model, params))
    assert np.abs(value).max() > 1e-8
    for c in (0.7, 3.0):
        scaled = outputs(model, jax.tree.map(lambda leaf, c=c: c * leaf, params))
        # round-off of a few dozen products; sums of terms of both signs lose some of their size
        size = np.abs(value).max() * c**model.degree
        np.testing.assert_allclose(scaled, c**model.degree * value, rtol=1e-12, atol=1e-13 * size)


@pytest.mark.parametrize("name", ["gelu", "smoothed_relu"])
def test_other_activations_have_no_degree(name):
    assert Homogeneous((4, 3), activation=Activation(name)).degree is None
    for trained in (False, True):
        assert TwoLayer(3, activation=Activation(name), train_output=trained).degree is None


def test_degrees_by_hand():
    assert [Homogeneous(widths).degree for widths in WIDTHS] == [2, 3, 4]
    quadratic = [Homogeneous(widths, activation=Activation("quadratic")).degree for widths in WIDTHS]
    assert quadratic == [3, 7, 15]
    assert Homogeneous((4, 4), activation=Activation("relu_power", power=1.5)).degree == 4.75
    assert (TwoLayer(3).degree, TwoLayer(3, train_output=True).degree) == (1, 2)
    assert (Linear().degree, DiagonalLinear(4).degree) == (1, 4)


@pytest.mark.exhaustive
@pytest.mark.parametrize("num_outputs", [1, 3])
@pytest.mark.parametrize("name", ["relu", "prelu"])
def test_from_pre_activations_is_the_network(name, num_outputs):
    model = Homogeneous((4, 3), num_outputs, PHI[name][0])
    params = drawn(model)
    z = jnp.asarray(X) @ params["W"].T
    norms = jnp.linalg.norm(params["W"], axis=1)
    np.testing.assert_allclose(
        model.from_pre_activations(params, z, norms), outputs(model, params), rtol=1e-13, atol=1e-15
    )
    if name == "relu":  # which does not look at the norms
        np.testing.assert_allclose(
            model.from_pre_activations(params, z), outputs(model, params), rtol=1e-13, atol=1e-15
        )


def test_a_deep_linear_network_is_linear_in_its_inputs():
    model = Homogeneous((4, 3, 4), 2, Activation("linear"))
    params = drawn(model)
    matrix = np.asarray(params["a"] @ params["W3"] @ params["W2"] @ params["W"])
    np.testing.assert_allclose(outputs(model, params), X @ matrix.T, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("num_outputs", [1, 3])
def test_parameters(num_outputs):
    params = drawn(Homogeneous((4, 3, 2), num_outputs))
    shapes = {"W": (4, DIM), "W2": (3, 4), "W3": (2, 3), "a": (num_outputs, 2)}
    assert {name: leaf.shape for name, leaf in params.items()} == shapes
    assert {leaf.dtype for leaf in params.values()} == {jnp.dtype("float64")}


def assert_uniform(leaf, size):
    """Within five standard deviations of the moments of the uniform distribution on [-size, size]."""
    values, count = np.asarray(leaf).ravel() / size, leaf.size
    assert np.abs(values).max() <= 1
    assert np.abs(values).max() > 1 - 20 / count
    assert abs(values.mean()) < 5 / np.sqrt(3 * count)
    assert abs(np.mean(values**2) - 1 / 3) < 5 * np.sqrt(4 / 45 / count)


@pytest.mark.exhaustive
def test_initial_weights_are_uniform_in_the_root_of_the_fan_in():
    params = jax.jit(Homogeneous((80, 60), 20).init)(jax.random.key(1), jnp.zeros((1, 50)))["params"]
    for name, fan_in in {"W": 50, "W2": 80, "a": 60}.items():
        assert_uniform(params[name], fan_in**-0.5)
    assert_uniform(Linear(20).init(jax.random.key(1), jnp.zeros((1, 50)))["params"]["W"], 50**-0.5)
    for leaf in jax.jit(DiagonalLinear(3).init)(jax.random.key(1), jnp.zeros((1, 900)))["params"].values():
        assert_uniform(leaf, 1.0)


def test_layers_and_seeds_have_weights_of_their_own():
    draws = [drawn(Homogeneous((DIM, DIM)), seed) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(draws[0]["W"], draws[1]["W"])
    for one, other in ((draws[0]["W"], draws[2]["W"]), (draws[0]["W"], draws[0]["W2"])):
        assert not np.any(np.asarray(one) == np.asarray(other))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"widths": ()}, r"widths must name at least one hidden layer, each of at least 1, got \(\)"),
        ({"widths": (0,)}, r"each of at least 1, got \(0,\)"),
        ({"widths": (4, -1)}, r"each of at least 1, got \(4, -1\)"),
        ({"widths": (4,), "num_outputs": 0}, "num_outputs must be at least 1, got 0"),
    ],
)
def test_bad_sizes(untyped, fields, message):
    with pytest.raises(ValueError, match=message) as caught:
        Homogeneous(**fields)
    assert "\n" not in str(caught.value)
