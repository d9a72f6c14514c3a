"""Rescaled data: units in which the largest training input has norm 1, and what that does to training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.data.rescaled import Rescaled
from dynamics.data.teachers import FixedPoints, LinearTeacher, ReluTeacher
from dynamics.descent import steepest
from dynamics.models.linear import Linear
from dynamics.problem import Problem

KEY = jax.random.key(5)
SOURCE = LinearTeacher(4, 12, 7)
# the dual exponent of each norm of the weights; a single vector has one singular value
DUAL = {"l1": np.inf, "l2": 2, "linf": 1, "l1.5": 3, "max-l1": np.inf, "spectral": 2}


def drawn(data):
    return jax.tree.map(np.asarray, jax.jit(data.sample)(KEY))


@pytest.mark.exhaustive
@pytest.mark.parametrize("source", [SOURCE, ReluTeacher(4, 12, 7)])
@pytest.mark.parametrize("norm", DUAL)
def test_the_largest_training_input_has_dual_norm_1_and_all_else_shares_its_scale(norm, source):
    plain, draw = drawn(source), drawn(Rescaled(source, norm))
    sizes = np.linalg.norm(draw.train.x, DUAL[norm], axis=1)
    np.testing.assert_allclose(sizes.max(), 1, rtol=1e-14)
    scale = 1 / np.linalg.norm(plain.train.x, DUAL[norm], axis=1).max()
    np.testing.assert_allclose(draw.train.x, scale * plain.train.x, rtol=1e-14)
    np.testing.assert_allclose(draw.test.x, scale * plain.test.x, rtol=1e-14)
    np.testing.assert_allclose(draw.features, scale * plain.features, rtol=1e-14)
    for one, other in ((draw.train, plain.train), (draw.test, plain.test)):
        for name in ("y", "target", "feature"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("feature_signs", "class_signs", "feature_classes"):
        np.testing.assert_array_equal(getattr(draw, name), getattr(plain, name))


@pytest.mark.exhaustive
def test_seeds_have_scales_of_their_own_also_beside_each_other():
    data, keys = Rescaled(SOURCE, "l1"), jax.random.split(KEY, 3)
    many = jax.jit(jax.vmap(data.sample))(keys)
    np.testing.assert_allclose(np.abs(many.train.x).max(axis=(1, 2)), np.ones(3), rtol=1e-14)
    sample = jax.jit(data.sample)
    for i, key in enumerate(keys):
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-13), many, sample(key))


def test_inputs_of_zero_stay_zero():
    draw = drawn(Rescaled(FixedPoints(np.zeros((2, 3)), (1, -1))))
    np.testing.assert_array_equal(draw.train.x, np.zeros((2, 3)))


def trained(data, norm, rate, start, of="log_loss", steps=6):
    """Weights and logarithms of the loss along loss-adaptive steepest descent of the exponential loss."""
    problem, draw = Problem(data, Linear(), "exponential"), jax.jit(data.sample)(KEY)
    rule = steepest(norm, rate, step="loss_adaptive", of=of)

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(problem.training_loss)(params, draw.train, draw, KEY, of)
        updates, state = rule.update(grads, state, params, value=value)
        return jax.tree.map(jnp.add, params, updates), state, value, grads["W"]

    params = {"W": jnp.asarray(start)}
    state, path = rule.init(params), []
    for _ in range(steps):
        weights = params["W"]
        params, state, value, grads = step(params, state)
        path.append([np.asarray(x) for x in (weights, value, grads)])
    return [np.stack(x) for x in zip(*path, strict=True)]


@pytest.mark.parametrize("of", ["loss", "log_loss"])
@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_a_step_on_rescaled_data_is_one_of_the_step_size_over_the_squared_scale(norm, of):
    scale = np.linalg.norm(drawn(SOURCE).train.x, DUAL[norm], axis=1).max()
    start = np.array([[0.3, -0.2, 0.1, 0.4]])
    rescaled, values, _ = trained(Rescaled(SOURCE, norm), norm, 0.7, scale * start, of)
    plain, plain_values, _ = trained(SOURCE, norm, 0.7 / scale**2, start, of)
    assert np.abs(plain[-1] - plain[0]).max() > 0.05
    # six steps, each of which adds the round-off of a few dozen operations
    np.testing.assert_allclose(rescaled / scale, plain, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(values, plain_values, rtol=1e-12)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf", "l1.5"])
def test_steps_up_to_1_never_overshoot(norm):
    """log L has curvature at most 1 in these units, so that a step lowers it by rate (1 - rate / 2) |g|^2."""
    for rate in (0.5, 1.0):
        _, values, grads = trained(
            Rescaled(SOURCE, norm), norm, rate, np.array([[9.0, -8.0, 7.0, -9.0]]), steps=20
        )
        sizes = np.linalg.norm(grads[:, 0], DUAL[norm], axis=1)
        falls = values[:-1] - values[1:]
        assert (falls >= rate * (1 - rate / 2) * sizes[:-1] ** 2 * (1 - 1e-12) - 1e-14).all()
        assert falls.min() > 0


@pytest.mark.parametrize("norm", ["l0.5", "nuclear"])
def test_unknown_norms_are_refused(norm):
    with pytest.raises(ValueError, match="norm must be l1, l2, linf or another lp"):
        Rescaled(SOURCE, norm)
