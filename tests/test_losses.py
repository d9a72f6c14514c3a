"""Losses against fifty and more digits, in both tails."""

from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dynamics import losses
from dynamics.data.sample import Sample

MARGINS = np.array(
    [-1e3, -745.2, -300.5, -37.0, -5.0, -1e-3, -1e-17, 0.0, 1e-17, 0.3, 2.0, 36.7, 37.0, 300.5, 700.0]
)
FAR = np.array([746.0, 1e3])  # where the exact value is below the smallest float64


def exact(function, values):
    """`function` in decimals of 700 digits, rounded to float64 at the end."""
    with localcontext() as context:
        context.prec = 700
        return np.array([float(function(Decimal(float(v)))) for v in values])


EXACT = {
    "logistic": (lambda q: (1 + (-q).exp()).ln(), lambda q: -1 / (1 + q.exp())),
    "exponential": (lambda q: (-q).exp(), lambda q: -(-q).exp()),
    "hinge": (lambda q: max(Decimal(0), 1 - q), lambda q: Decimal(-1 if q < 1 else 0)),
    "squared": (lambda q: (1 - q) ** 2 / 2, lambda q: q - 1),
}


def gradient(name, margins):
    return jax.grad(lambda q: jnp.sum(losses.MARGIN_LOSSES[name](q)))(jnp.asarray(margins))


@pytest.mark.parametrize("name", losses.MARGIN_LOSSES)
def test_margin_losses_keep_their_relative_accuracy(name):
    margins = MARGINS[MARGINS > -700] if name == "exponential" else MARGINS
    value, slope = EXACT[name]
    # exp of an argument of size 700 is off by 700 units in the last place at most
    np.testing.assert_allclose(
        losses.MARGIN_LOSSES[name](jnp.asarray(margins)), exact(value, margins), rtol=2e-13
    )
    np.testing.assert_allclose(gradient(name, margins), exact(slope, margins), rtol=2e-13)


@pytest.mark.parametrize("name", losses.MARGIN_LOSSES)
def test_far_tail_is_finite(name):
    values, slopes = losses.MARGIN_LOSSES[name](jnp.asarray(FAR)), gradient(name, FAR)
    assert np.isfinite(values).all()
    assert np.isfinite(slopes).all()
    if name != "squared":
        assert (np.abs(values) < 1e-300).all()


def test_logistic_in_float32():
    q = jnp.asarray([-90.0, -20.0, 0.0, 20.0, 80.0], jnp.float32)
    np.testing.assert_allclose(losses.logistic(q), exact(EXACT["logistic"][0], np.asarray(q)), rtol=1e-5)


def test_hinge_kink():
    np.testing.assert_array_equal(gradient("hinge", [1.0]), [0.0])


def test_squared_is_half_the_squared_error_of_either_label():
    f, y = np.array([0.3, -2.0, 5.0]), np.array([1.0, -1.0, -1.0])
    np.testing.assert_allclose(losses.squared(jnp.asarray(y * f)), 0.5 * (f - y) ** 2, rtol=1e-14)


def test_cross_entropy_is_scipys_log_softmax():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(50, 6)) * 5, rng.integers(0, 6, 50)
    expected = -scipy.special.log_softmax(logits, axis=1)[np.arange(50), target]
    # scipy's difference of two numbers of size 20 keeps 1e-15 absolutely
    np.testing.assert_allclose(
        losses.cross_entropy(jnp.asarray(logits), jnp.asarray(target)), expected, atol=1e-14
    )
    actual = jax.grad(lambda f: jnp.sum(losses.cross_entropy(f, jnp.asarray(target))))(jnp.asarray(logits))
    np.testing.assert_allclose(actual, scipy.special.softmax(logits, axis=1) - np.eye(6)[target], atol=1e-14)


@pytest.mark.parametrize("gap", [-1e3, -50.0, -1.0, 0.0, 1.0, 36.0, 50.0, 300.0, 700.0])
def test_cross_entropy_keeps_its_relative_accuracy(gap):
    # the target's logit is ahead of the three others by `gap`
    logits, target = jnp.array([[2.0 - gap, 2.0, 2.0 - gap, 2.0 - gap]]), jnp.array([1])
    (value,) = exact(lambda q: (1 + 3 * (-q).exp()).ln(), [gap])
    np.testing.assert_allclose(losses.cross_entropy(logits, target), [value], rtol=5e-13)
    (own,) = exact(lambda q: -3 * (-q).exp() / (1 + 3 * (-q).exp()), [gap])
    slope = jax.grad(lambda f: losses.cross_entropy(f, target)[0])(logits)
    np.testing.assert_allclose(slope, np.array([[-own / 3, own, -own / 3, -own / 3]]), rtol=5e-13)


def test_cross_entropy_of_infinite_confidence():
    logits, target = jnp.array([[1e3, -1e3], [-1e3, 1e3]]), jnp.array([0, 0])
    np.testing.assert_allclose(losses.cross_entropy(logits, target), [0, 2e3], rtol=1e-15)
    slope = jax.grad(lambda f: jnp.sum(losses.cross_entropy(f, target)))(logits)
    np.testing.assert_allclose(slope, [[0, 0], [-1, 1]], atol=1e-300)


def sample(count=3):
    index = jnp.arange(count)
    return Sample(jnp.ones((count, 2)), jnp.array([1.0, -1.0, 1.0]), index % 2, index)


def test_evaluate():
    f = jnp.array([0.5, -2.0, -1.0])
    for name, loss in losses.MARGIN_LOSSES.items():
        np.testing.assert_array_equal(losses.evaluate(name, f, sample()), loss(jnp.array([0.5, 2.0, -1.0])))
    logits = jnp.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(
        losses.evaluate("cross_entropy", logits, sample()), losses.cross_entropy(logits, jnp.array([0, 1, 0]))
    )


@pytest.mark.parametrize("name", losses.LOSSES)
def test_evaluate_refuses_a_network_that_does_not_fit(untyped, name):
    wrong = jnp.zeros(3) if name == "cross_entropy" else jnp.zeros((3, 2))
    with pytest.raises(ValueError, match=f"{name}.*needs a network with") as caught:
        losses.evaluate(name, wrong, sample())
    assert "\n" not in str(caught.value)
