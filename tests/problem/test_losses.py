"""Losses against fifty and more digits, in both tails."""

import functools
from decimal import Decimal, localcontext

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from dynamics.data.sample import Sample
from dynamics.problem import losses

MARGINS = np.array(
    [-1e3, -745.2, -300.5, -37.0, -5.0, -1e-3, -1e-17, 0.0, 1e-17, 0.3, 2.0, 36.7, 37.0, 300.5, 700.0]
)
FAR = np.array([746.0, 1e3])  # where the exact value is below the smallest float64


def exact(function, values, digits=700):
    """`function` in decimals of so many digits, rounded to float64 at the end."""
    with localcontext() as context:
        context.prec = digits
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


@pytest.mark.exhaustive
@pytest.mark.parametrize("gap", [-1e3, -50.0, -1.0, 0.0, 1.0, 36.0, 50.0, 300.0, 700.0])
def test_cross_entropy_keeps_its_relative_accuracy(gap):
    # the target's logit is ahead of the three others by `gap`
    logits, target = jnp.array([[2.0 - gap, 2.0, 2.0 - gap, 2.0 - gap]]), jnp.array([1])
    (value,) = exact(lambda q: (1 + 3 * (-q).exp()).ln(), [gap])
    np.testing.assert_allclose(losses.cross_entropy(logits, target), [value], rtol=5e-13)
    (own,) = exact(lambda q: -3 * (-q).exp() / (1 + 3 * (-q).exp()), [gap])
    slope = jax.grad(lambda f: losses.cross_entropy(f, target)[0])(logits)
    np.testing.assert_allclose(slope, np.array([[-own / 3, own, -own / 3, -own / 3]]), rtol=5e-13)


@pytest.mark.exhaustive
def test_cross_entropy_of_infinite_confidence():
    logits, target = jnp.array([[1e3, -1e3], [-1e3, 1e3]]), jnp.array([0, 0])
    np.testing.assert_allclose(losses.cross_entropy(logits, target), [0, 2e3], rtol=1e-15)
    slope = jax.grad(lambda f: jnp.sum(losses.cross_entropy(f, target)))(logits)
    np.testing.assert_allclose(slope, [[0, 0], [-1, 1]], atol=1e-300)


# --- logarithms of losses

# both tails, where log log(1 + e^-q) is 0, and what a float64 next to 0 can be
LOG_MARGINS = np.array([*MARGINS, *FAR, -0.5413248546129181, 1e-300, 708.4, 745.2, 1e5, 1e8])
LOG_DIGITS = 300


def _log_logistic(q):
    # far out, where 1 + e^-q costs too many digits, log(1 + u) = u - u^2 / 2
    return (1 + (-q).exp()).ln().ln() if q < 100 else -q - (-q).exp() / 2


def _log_logistic_slope(q):
    return -1 / ((1 + q.exp()) * (1 + (-q).exp()).ln()) if q < 100 else -1 + (-q).exp() / 2


LOG_EXACT = {
    "logistic": (_log_logistic, _log_logistic_slope),
    "exponential": (lambda q: -q, lambda q: Decimal(-1)),
}


def log_gradient(name, margins):
    return jax.grad(lambda q: jnp.sum(losses.LOG_MARGIN_LOSSES[name](q)))(jnp.asarray(margins))


@pytest.mark.parametrize("name", LOG_EXACT)
def test_logarithms_of_margin_losses_are_exact_everywhere(name):
    value, slope = LOG_EXACT[name]
    # values are sums of a logarithm and -q: where they pass through 0, what is kept is the absolute error
    np.testing.assert_allclose(
        losses.LOG_MARGIN_LOSSES[name](jnp.asarray(LOG_MARGINS)),
        exact(value, LOG_MARGINS, LOG_DIGITS),
        rtol=1e-15,
        atol=1e-15,
    )
    np.testing.assert_allclose(
        log_gradient(name, LOG_MARGINS), exact(slope, LOG_MARGINS, LOG_DIGITS), rtol=2e-15
    )


@pytest.mark.parametrize("name", LOG_EXACT)
def test_logarithms_of_margin_losses_in_float32(name):
    margins = np.array([-1e3, -90.0, -3.0, -1e-9, 0.0, 1e-9, 3.0, 80.0, 87.3, 90.0, 103.0, 1e8], np.float32)
    value, slope = LOG_EXACT[name]
    actual = losses.LOG_MARGIN_LOSSES[name](jnp.asarray(margins)), log_gradient(name, margins)
    assert {a.dtype for a in actual} == {jnp.dtype("float32")}
    for values, function in zip(actual, (value, slope), strict=True):
        np.testing.assert_allclose(values, exact(function, margins, LOG_DIGITS), rtol=1e-6, atol=1e-6)


BENDS = [-1e3, -30.0, -5.0, -0.3, 0.0, 0.3, 2.0, 30.0, 100.0, 300.0, 400.0, 1e3, 1e8]


@functools.cache
def curvatures():
    """Second derivatives of log_logistic by margin, and what they should be."""
    step = Decimal(10) ** -40

    def difference(q):
        return (_log_logistic_slope(q + step) - _log_logistic_slope(q - step)) / (2 * step)

    second = jax.grad(jax.grad(lambda q: losses.log_logistic(q[None])[0]))
    actual = jax.jit(jax.vmap(second))(jnp.asarray(BENDS))
    return dict(zip(BENDS, zip(actual, exact(difference, BENDS, LOG_DIGITS), strict=True), strict=True))


@pytest.mark.parametrize("margin", BENDS)
def test_second_derivative_of_log_logistic_is_the_difference_of_exact_first_ones(margin):
    actual, expected = curvatures()[margin]
    # the difference of two numbers of size 1, of which the absolute error is kept
    np.testing.assert_allclose(actual, expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("gap", [-1e3, -50.0, -1.0, 0.0, 1.0, 36.0, 300.0, 700.0, 1e3, 1e8])
def test_log_cross_entropy_is_exact_everywhere(gap):
    # the target's logit is ahead of the three others by `gap`, so that q = gap - log 3
    logits, target = jnp.array([[0.0, gap, 0.0, 0.0]]), jnp.array([1])
    margin = [gap]
    (value,) = exact(lambda q: _log_logistic(q - Decimal(3).ln()), margin, LOG_DIGITS)
    (own,) = exact(lambda q: _log_logistic_slope(q - Decimal(3).ln()), margin, LOG_DIGITS)
    np.testing.assert_allclose(losses.log_cross_entropy(logits, target), [value], rtol=1e-15, atol=1e-15)
    slope = jax.grad(lambda f: losses.log_cross_entropy(f, target)[0])(logits)
    # the argument of the exponentials, known to 1e-16 of its size where that size matters
    np.testing.assert_allclose(slope, [[-own / 3, own, -own / 3, -own / 3]], rtol=1e-14)


@pytest.mark.exhaustive
def test_log_cross_entropy_of_two_classes_is_log_logistic_of_their_difference():
    logits = jnp.array([[3.0, -2.0], [-400.0, 500.0], [1.0, 1.0]])
    target = jnp.array([1, 0, 0])
    expected = losses.log_logistic(jnp.array([-5.0, -900.0, 0.0]))
    np.testing.assert_allclose(losses.log_cross_entropy(logits, target), expected, rtol=1e-15)


def test_logarithms_are_those_of_the_losses():
    rng = np.random.default_rng(0)
    q, logits, target = rng.normal(size=50) * 5, rng.normal(size=(50, 6)) * 5, rng.integers(0, 6, 50)
    for name, loss in losses.LOG_MARGIN_LOSSES.items():
        expected = np.log(losses.MARGIN_LOSSES[name](jnp.asarray(q)))
        np.testing.assert_allclose(loss(jnp.asarray(q)), expected, rtol=1e-13, atol=1e-14)
    values = losses.cross_entropy(jnp.asarray(logits), jnp.asarray(target))
    np.testing.assert_allclose(
        losses.log_cross_entropy(jnp.asarray(logits), jnp.asarray(target)),
        np.log(values),
        rtol=1e-13,
        atol=1e-14,
    )


# --- margins, and losses by name


def test_margins_of_one_output_and_of_logits():
    np.testing.assert_array_equal(losses.margins(jnp.array([0.5, -2.0, -1.0]), sample()), [0.5, 2.0, -1.0])
    logits = jnp.array([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [-1.0, -1.0, -5.0]])  # targets 0, 1, 0
    np.testing.assert_array_equal(losses.margins(logits, sample()), [1.0, -2.0, 0.0])
    far = jnp.array([[1e8, 0.0], [0.0, 1e8], [0.0, 1e8]])
    np.testing.assert_array_equal(losses.margins(far, sample()), [1e8, 1e8, -1e8])


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


def test_evaluate_of_logarithms():
    f = jnp.array([0.5, -2.0, -1.0])
    for name, loss in losses.LOG_MARGIN_LOSSES.items():
        expected = loss(jnp.array([0.5, 2.0, -1.0]))
        np.testing.assert_array_equal(losses.evaluate(name, f, sample(), "log_loss"), expected)
    logits = jnp.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(
        losses.evaluate("cross_entropy", logits, sample(), of="log_loss"),
        losses.log_cross_entropy(logits, jnp.array([0, 1, 0])),
    )


@pytest.mark.parametrize("name", ["hinge", "squared"])
def test_evaluate_refuses_logarithms_of_losses_that_are_0_somewhere(name):
    with pytest.raises(ValueError, match=f"by their logarithm, got loss='{name}'") as caught:
        losses.evaluate(name, jnp.zeros(3), sample(), of="log_loss")
    assert "\n" not in str(caught.value)
    assert name not in losses.TAILED


@pytest.mark.parametrize("name", ["squared", "squared_one_hot"])
def test_squared_error_of_several_outputs(name):
    outputs = np.random.default_rng(0).normal(size=(3, 2))
    wanted = np.eye(2)[[0, 1, 0]] - (0.5 if name == "squared" else 0)
    expected = [
        sum((f - t) ** 2 for f, t in zip(*row, strict=True)) / 2 for row in zip(outputs, wanted, strict=True)
    ]
    np.testing.assert_allclose(losses.evaluate(name, jnp.asarray(outputs), sample()), expected, rtol=1e-14)


def test_what_an_attack_raises():
    outputs = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2)))
    np.testing.assert_array_equal(
        losses.raised("margin", outputs, sample()), -losses.margins(outputs, sample())
    )
    loss = losses.evaluate("squared", outputs, sample())
    np.testing.assert_array_equal(losses.raised("squared", outputs, sample()), loss)


@pytest.mark.parametrize("name", sorted(set(losses.LOSSES) - {"squared"}))
def test_evaluate_refuses_a_network_that_does_not_fit(untyped, name):
    wrong = jnp.zeros(3) if name in ("cross_entropy", "squared_one_hot") else jnp.zeros((3, 2))
    for of in ("loss", "log_loss") if name in losses.TAILED else ("loss",):
        with pytest.raises(ValueError, match=f"{name}.*needs a network with") as caught:
            losses.evaluate(name, wrong, sample(), of)
        assert "\n" not in str(caught.value)
