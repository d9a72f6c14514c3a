"""Activations by themselves: powers against closed forms, derivatives at and around 0, degrees."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.models.activations import Activation, ActivationName

POWERS = [1.0, 1.25, 2.0, 2.5, 3.0, 4.0, 5.0]
POINTS = np.array([-3.0, -1.0, -0.2, -1e-8, 0.0, 1e-8, 0.2, 1.0, 3.0])


def value_and_slope(activation, points):
    z = jnp.asarray(points)[:, None]
    norms = jnp.ones(1)
    value = activation(z, norms)[:, 0]
    slope = jax.grad(lambda z: jnp.sum(activation(z, norms)))(z)[:, 0]
    return np.asarray(value), np.asarray(slope)


@pytest.mark.parametrize("power", POWERS)
def test_odd_power(power):
    value, slope = value_and_slope(Activation("odd_power", power=power), POINTS)
    size = np.abs(POINTS)
    np.testing.assert_allclose(value, np.sign(POINTS) * size**power, rtol=1e-13)
    # NumPy's 0**0 is 1: the identity has slope 1 at 0
    np.testing.assert_allclose(slope, power * size ** (power - 1), rtol=1e-13)
    np.testing.assert_array_equal(value, -value[::-1])


@pytest.mark.parametrize("power", POWERS)
def test_relu_power(power):
    value, slope = value_and_slope(Activation("relu_power", power=power), POINTS)
    size = np.maximum(POINTS, 0)
    np.testing.assert_allclose(value, size**power, rtol=1e-13)
    np.testing.assert_allclose(slope, np.where(POINTS > 0, power * size ** (power - 1), 0), rtol=1e-13)


@pytest.mark.parametrize("power", POWERS)
def test_odd_power_is_the_difference_of_two_relu_powers(power):
    odd, _ = value_and_slope(Activation("odd_power", power=power), POINTS)
    up, down = (value_and_slope(Activation("relu_power", power=power), s * POINTS)[0] for s in (1, -1))
    np.testing.assert_array_equal(odd, up - down)


@pytest.mark.parametrize("name", ["odd_power", "relu_power"])
@pytest.mark.parametrize("power", POWERS)
def test_slopes_of_powers_agree_with_differences(name, power):
    points, step = np.array([-2.0, -0.3, 0.4, 1.7]), 1e-6
    activation = Activation(name, power=power)
    ends = [value_and_slope(activation, points + sign * step)[0] for sign in (1, -1)]
    numeric = (ends[0] - ends[1]) / (2 * step)  # error step^2 + 1e-16 / step
    np.testing.assert_allclose(value_and_slope(activation, points)[1], numeric, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", ["odd_power", "relu_power"])
@pytest.mark.parametrize("power", POWERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_powers_are_finite_at_tiny_and_huge_negative_values(name, power, dtype):
    tiny = np.finfo(dtype).tiny
    points = np.array([-tiny, -0.0, 0.0, tiny, -tiny / 2, tiny / 2, -1e6, 1e6], dtype)
    value, slope = value_and_slope(Activation(name, power=power), points)
    assert value.dtype == slope.dtype == dtype
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()
    if name == "relu_power":
        # what is far below 0 must not show, however large its own power is
        far = value_and_slope(Activation(name, power=power), np.array([-np.finfo(dtype).max], dtype))
        np.testing.assert_array_equal(far, [[0], [0]])


@pytest.mark.parametrize("name", get_args(ActivationName))
def test_sees_norms(name):
    """Values change with the norms exactly where the activation says that it sees them."""
    activation = Activation(name)
    z = jnp.linspace(-1.0, 2.0, 6)[:, None]
    differ = not np.array_equal(activation(z, jnp.ones(1)), activation(z, jnp.full(1, 2.0)))
    assert activation.sees_norms == differ == (name == "prelu")


DEGREES = {
    "relu": 1,
    "leaky_relu": 1,
    "prelu": 1,
    "linear": 1,
    "odd_power": 2.5,
    "relu_power": 2.5,
    "quadratic": 2,
    "gelu": None,
    "erf": None,
    "smoothed_relu": None,
}


@pytest.mark.parametrize("name", get_args(ActivationName))
def test_degree(name):
    """phi(c z) = c^p phi(z) for c > 0, the norms of the weights growing as z does."""
    activation, c = Activation(name, power=2.5, slope=0.2), 1.7
    assert activation.degree == DEGREES[name]
    z = jnp.asarray(POINTS)[:, None]
    value, scaled = activation(z, jnp.ones(1)), activation(c * z, jnp.full(1, c))
    if activation.degree is None:
        ratios = scaled[value != 0] / value[value != 0]
        assert ratios.max() / ratios.min() > 1.1
    else:
        np.testing.assert_allclose(scaled, c**activation.degree * value, rtol=1e-14)


@pytest.mark.exhaustive
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12])
def test_prelu_is_of_degree_1_however_small_the_weights(scale):
    """Pre-activations and norms at this scale, in float32: the value, and slopes that do not depend on it."""
    act = Activation("prelu", power=3.0)
    z, norms = np.array([[-1.0, 0.3, 1.2]]), np.array([2.0, 0.5, 1.5])
    given = jnp.asarray(scale * z, jnp.float32), jnp.asarray(scale * norms, jnp.float32)
    np.testing.assert_allclose(act(*given), scale * np.maximum(z, 0) ** 3 / norms**2, rtol=1e-5)
    slope = jax.grad(lambda z, norms: jnp.sum(act(z, norms)), argnums=(0, 1))(*given)
    np.testing.assert_allclose(slope[0], 3 * np.maximum(z, 0) ** 2 / norms**2, rtol=1e-5)
    np.testing.assert_allclose(slope[1], (-2 * np.maximum(z, 0) ** 3 / norms**3)[0], rtol=1e-5)
    zero = jax.grad(lambda z: jnp.sum(act(z, jnp.zeros(3, jnp.float32))))(jnp.asarray(9 * z, jnp.float32))
    np.testing.assert_array_equal(zero, 0)  # weights of zero beside a bias


@pytest.mark.parametrize("name", ["odd_power", "relu_power"])
@pytest.mark.parametrize("power", [0.5, 0.0, -1.0, float("nan")])
def test_small_powers_are_refused(untyped, name, power):
    with pytest.raises(ValueError, match="power must be at least 1"):
        Activation(name, power=power)
