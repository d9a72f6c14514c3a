"""Steepest descent: dual norms, ties, zeros, tiny gradients, and use outside of the engine."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dynamics.descent import DUAL, NORMS, direction, named, norm, steepest, traced
from dynamics.parts import Axis, partition

# math.hypot neither underflows nor overflows, unlike numpy.linalg.norm
PLAIN = {
    "l1": lambda g: math.fsum(np.abs(g)),
    "l2": lambda g: math.hypot(*g),
    "linf": lambda g: np.max(np.abs(g)),
}
GRADIENT = st.integers(1, 8).flatmap(
    lambda n: arrays(float, n, elements=st.floats(-1e3, 1e3, allow_subnormal=False))
)


def update(rule, grads):
    return rule.update(grads, rule.init(grads))[0]


@pytest.mark.parametrize("name", NORMS)
@given(g=GRADIENT)
def test_direction_attains_the_dual_norm(name, g):
    d = np.asarray(direction(jnp.asarray(g), name))
    dual = PLAIN[DUAL[name]](g)
    np.testing.assert_allclose(g @ d, dual, rtol=1e-12, atol=1e-290)
    assert PLAIN[name](d) <= 1 + 1e-12
    if dual > 1e-290:
        np.testing.assert_allclose(PLAIN[name](d), 1, rtol=1e-12)


@pytest.mark.parametrize("name", NORMS)
@given(g=GRADIENT)
def test_step_is_the_direction_with_or_without_the_dual_norm(name, g):
    d = np.asarray(direction(jnp.asarray(g), name))
    dual = PLAIN[DUAL[name]](g)
    np.testing.assert_allclose(
        update(steepest(name, 0.3, normalize=True), jnp.asarray(g)), -0.3 * d, rtol=1e-12
    )
    np.testing.assert_allclose(
        update(steepest(name, 0.3), jnp.asarray(g)), -0.3 * dual * d, rtol=1e-12, atol=1e-290
    )


@pytest.mark.parametrize("name", NORMS)
@given(g=GRADIENT)
def test_norm(name, g):
    expected = PLAIN[name](g)
    np.testing.assert_allclose(norm(jnp.asarray(g), name), expected, rtol=1e-12)


def test_all_parameters_count_as_one_vector():
    grads = {"b": jnp.array([3.0]), "W": jnp.array([[0.0, -4.0]])}
    assert float(norm(grads, "l2")) == 5
    assert float(norm(grads, "l1")) == 7
    assert float(norm(grads, "linf")) == 4
    step = update(steepest("l1", 0.5), grads)
    np.testing.assert_array_equal(step["W"], [[0.0, 2.0]])
    np.testing.assert_array_equal(step["b"], [0.0])
    np.testing.assert_allclose(update(steepest("l2", 1.0, normalize=True), grads)["b"], [-0.6], rtol=1e-15)
    np.testing.assert_allclose(update(steepest("linf", 1.0), grads)["b"], [-7.0], rtol=1e-15)


def test_ties_in_l1_go_to_the_lowest_index():
    np.testing.assert_array_equal(direction(jnp.array([1.0, -2.0, 2.0, -2.0]), "l1"), [0, -1, 0, 0])
    # leaves in the order of jax.tree.leaves: W before b
    d = direction({"b": jnp.array([2.0]), "W": jnp.array([1.0, -2.0])}, "l1")
    np.testing.assert_array_equal(d["W"], [0, -1])
    np.testing.assert_array_equal(d["b"], [0])


def test_sign_of_zero_is_zero():
    np.testing.assert_array_equal(direction(jnp.array([0.0, -0.0, 2.0, -1e-300]), "linf"), [0, 0, 1, -1])


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("name", NORMS)
def test_a_zero_gradient_is_no_step(name, normalize):
    step = update(steepest(name, 0.1, normalize=normalize), {"W": jnp.zeros((2, 3)), "b": jnp.zeros(2)})
    for leaf in jax.tree.leaves(step):
        np.testing.assert_array_equal(leaf, np.zeros(leaf.shape))


@pytest.mark.parametrize("size", [1e-30, 1e-37, 1e30])
def test_normalised_l2_neither_underflows_nor_overflows_in_float32(size):
    g = jnp.asarray([3 * size, -4 * size], jnp.float32)
    rate = jnp.float32(1.0)
    step = update(steepest("l2", rate, normalize=True), g)
    np.testing.assert_allclose(step, [-0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(float(norm(g, "l2")), 5 * size, rtol=1e-6)


def test_float32_gradients_stay_float32_at_the_engines_precision():
    with jax.enable_x64(False):
        g = jnp.array([1.0, -2.0])
        for name in NORMS:
            for normalize in (False, True):
                assert update(steepest(name, 0.1, normalize=normalize), g).dtype == jnp.float32


@pytest.mark.parametrize("name", NORMS)
def test_works_in_an_optax_chain_under_jit(name):
    g = {"W": jnp.array([[1.0, -3.0]]), "b": jnp.array([2.0])}
    rule = optax.chain(optax.scale(2.0), steepest(name, 0.1), optax.scale(0.5))
    step = jax.jit(rule.update)(g, rule.init(g))[0]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), step, update(steepest(name, 0.1), g)
    )


def test_learning_rate_may_be_a_hyperparameter_of_optax():
    rule = optax.inject_hyperparams(steepest, static_args=("norm", "normalize"))(
        norm="linf", learning_rate=0.1, normalize=True
    )
    g = jnp.array([1.0, -3.0])
    state = rule.init(g)
    np.testing.assert_allclose(rule.update(g, state)[0], [-0.1, 0.1], rtol=1e-7)
    state.hyperparams["learning_rate"] = jnp.asarray(0.5)
    np.testing.assert_allclose(rule.update(g, state)[0], [-0.5, 0.5], rtol=1e-7)


def test_learning_rate_may_be_traced():
    g = jnp.array([1.0, -3.0])

    @jax.jit
    def step(rate):
        return update(steepest("l2", rate), g)

    for rate in (0.1, 0.2):
        np.testing.assert_allclose(step(rate), -rate * g, rtol=1e-12)
    assert step._cache_size() == 1


def test_recipes_differ_in_numbers_only():
    numbers, rest = partition(steepest("l2", 0.1).recipe)
    assert [float(n) for n in numbers] == [0.1]
    assert partition(steepest("l2", 0.7).recipe)[1] == rest
    assert partition(steepest("l2", Axis("rate", [0.1, 0.2])).recipe)[1] == rest
    assert partition(steepest("l1", 0.1).recipe)[1] != rest
    assert partition(steepest("l2", 0.1, normalize=True).recipe)[1] != rest


OPTAX = {
    "momentum": optax.sgd(0.1, momentum=0.9),
    "nesterov": optax.sgd(0.1, momentum=0.9, nesterov=True),
    "adam": optax.adam(0.1),
    "rmsprop": optax.rmsprop(0.1),
}


@pytest.mark.parametrize("name", OPTAX)
def test_named_optax_rules(name):
    rule, plain = named(name, 0.1), OPTAX[name]
    params = {"W": jnp.array([1.0, 2.0])}
    state, plain_state = rule.init(params), plain.init(params)
    for t in range(3):
        g = {"W": jnp.array([1.0 + t, -0.5])}
        step, state = rule.update(g, state, params)
        expected, plain_state = plain.update(g, plain_state, params)
        np.testing.assert_allclose(step["W"], expected["W"], rtol=1e-12)


@pytest.mark.parametrize(("name", "ball"), [("gd", "l2"), ("sign", "linf"), ("coordinate", "l1")])
@pytest.mark.parametrize("normalize", [False, True])
def test_named_steepest_rules(name, ball, normalize):
    g = jnp.array([1.0, -3.0, 2.0])
    np.testing.assert_array_equal(
        update(named(name, 0.1, normalize=normalize), g), update(steepest(ball, 0.1, normalize=normalize), g)
    )


def test_traced_takes_any_factory():
    g = jnp.array([1.0, -3.0])
    rule = traced(optax.sgd, learning_rate=0.25)
    np.testing.assert_allclose(update(rule, g), -0.25 * g, rtol=1e-12)
    assert isinstance(rule, optax.GradientTransformationExtraArgs)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: steepest("l0.5", 0.1), "norm must be l1, l2, linf or another lp .* got 'l0.5'"),
        (lambda: steepest("l2", 0.1, step="fast"), "step must be one of raw, normalized, .* got 'fast'"),
        (lambda: steepest("l2", 0.1, of="margin"), "of must be one of loss, log_loss, got 'margin'"),
        (lambda: steepest("l2", 0.1, step="log_decrease", normalize=True), "give one of them"),
        (lambda: steepest("l2", 0.1, cap=0.2), "cap applies to step='log_decrease' only"),
        (lambda: steepest("linf", 0.1, newton_schulz=5), "newton_schulz applies to the spectral norms only"),
        (lambda: named("sgd", 0.1), "descent must be one of gd, sign, coordinate, .* got 'sgd'"),
        (lambda: named("adam", 0.1, normalize=True), "normalize applies to steepest descent in a norm only"),
        (lambda: named("muon", 0.1, step="log_decrease"), "step applies to steepest descent in a norm only"),
        (lambda: named("gd", 0.1, step="log_decrease", normalize=True), "give one of them"),
    ],
)
def test_bad_arguments(untyped, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
