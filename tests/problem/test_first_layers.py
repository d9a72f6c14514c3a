"""What is said of neurons does not depend on how long they are: both forms of parameters against NumPy."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import observables as o
from dynamics.data.sample import Draw, Sample
from dynamics.descent import norms
from dynamics.engine import gram
from dynamics.models.two_layer import TwoLayer
from dynamics.problem import Problem, first_layers

SCALES = [2.0**power for power in (-100, -66, -30, 50, 100)]  # 8e-31 to 1e30
FORMS = pytest.mark.parametrize("form", ["direct", "gram"])
SCALE = pytest.mark.parametrize("scale", SCALES)
PROBLEM = Problem(None, TwoLayer(2))
OBSERVED = {
    name: getattr(o, name)
    for name in (
        "alignment",
        "off_span",
        "averaging_residual",
        "neuron_norm",
        "coefficients",
        "feature_strength",
    )
} | {name: getattr(o, name).given(num_positive=2) for name in ("certified_radius", "attained_radius")}

RNG = np.random.default_rng(0)
X, TEST, FEATURES = (RNG.normal(size=(n, 7)) for n in (5, 4, 3))
SIZES = np.array([1, 1, 1, 1e-3])[:, None]  # of neurons beside each other
W0, C, B = RNG.normal(size=(4, 7)) * SIZES, RNG.normal(size=(4, 5)) * SIZES, RNG.normal(size=4)
W, Y = W0 + C @ X, jnp.asarray([1, -1, 1, -1, 1], jnp.float32)


@partial(jax.jit, static_argnums=0)
def observed(form, start, moved, b, x, test, features):
    """What is observed of weights `start + moved @ x` in float32."""

    def sample(x):
        zeros = jnp.zeros(len(x), int)
        return Sample(x, Y[: len(x)], zeros, zeros)

    signs = jnp.asarray([1, 1, -1], jnp.float32)
    draw = Draw(sample(x), sample(test), features, signs, signs)
    if form == "direct":
        params = {"W": start + moved @ x, "b": b}
    else:
        products = dataclasses.replace(gram.products_of(draw, True), draw=draw)
        own, C = gram.start_of(start, draw, products), norms.shifted(moved, products.exponent)
        params = first_layers.SpanParams(C, own.train + C @ products.train, {"b": b}, own, products)
    return {name: what.measure(params, PROBLEM, draw) for name, what in OBSERVED.items()}


def found(form, weights=1.0, inputs=1.0, features=1.0):
    """The same, with everything at other sizes."""
    given = (W0 * weights, C * weights / inputs, B * weights, X * inputs, TEST * inputs, FEATURES * features)
    return observed(form, *(jnp.asarray(array, jnp.float32) for array in given))


def directions():
    """Cosines, share off the span and distance from averaging, in float64."""
    inner, length = W @ FEATURES.T, np.linalg.norm(W, axis=1)
    rest = W - np.linalg.lstsq(FEATURES.T, W.T, rcond=None)[0].T @ FEATURES
    own = np.array([[1, 1, 0]] * 2 + [[0, 0, 1]] * 2)
    mean = np.sum(own * inner, axis=1) / own.sum(axis=1)
    average = (mean[:, None] * own / np.sum(FEATURES**2, axis=1)) @ FEATURES
    return {
        "alignment": inner / np.outer(length, np.linalg.norm(FEATURES, axis=1)),
        "off_span": np.linalg.norm(rest, axis=1) / length,
        "averaging_residual": np.linalg.norm(W - average, axis=1) / np.linalg.norm(average, axis=1),
    }


@pytest.mark.exhaustive
@FORMS
@SCALE
def test_directions_and_radii_do_not_depend_on_the_length_of_weights(form, scale):
    usual, scaled = found(form), found(form, scale)
    for name in (*directions(), "certified_radius", "attained_radius"):
        np.testing.assert_array_equal(scaled[name], usual[name], err_msg=name)
    assert ((usual["certified_radius"] > 0) & (usual["certified_radius"] < np.inf)).any()


@FORMS
@pytest.mark.parametrize("inputs", [1.0, 2.0**-66, 2.0**66])
@pytest.mark.parametrize("features", [1.0, 2.0**-100, 2.0**66])
def test_directions_are_those_of_float64_however_large_the_data(form, inputs, features):
    measured = found(form, inputs=inputs, features=features)
    for name, expected in directions().items():
        np.testing.assert_allclose(measured[name], expected, rtol=2e-4, atol=1e-6, err_msg=name)


@pytest.mark.exhaustive
@FORMS
@SCALE
def test_lengths_and_coefficients_scale_with_the_weights(form, scale):
    measured, size = found(form, scale), scale * SIZES
    np.testing.assert_allclose(measured["neuron_norm"], scale * np.linalg.norm(W, axis=1), rtol=1e-5)
    wanted = np.linalg.lstsq(FEATURES.T, W.T, rcond=None)[0].T / SIZES
    np.testing.assert_allclose(measured["coefficients"] / size, wanted, rtol=1e-4, atol=1e-4)
    inner = scale * W @ FEATURES.T / np.linalg.norm(FEATURES, axis=1)
    strength = [inner[:2, 0].max(), inner[:2, 1].max(), inner[2:, 2].max()]
    np.testing.assert_allclose(measured["feature_strength"], strength, rtol=1e-4)
