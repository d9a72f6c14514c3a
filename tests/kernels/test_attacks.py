"""Attacks: exact on linear functions, inside ball and box, and no weaker than a search of the ball."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import regression
from kernels.attacks import Attack, adversity, correct


def setting(seed, count=6, dim=4):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.normal(size=dim)), jnp.asarray(rng.uniform(size=(count, dim)))


@pytest.mark.exhaustive
@settings(max_examples=20)
@given(
    seed=st.integers(0, 999),
    norm=st.sampled_from(["linf", "l2"]),
    steps=st.sampled_from([1, 7]),
    start=st.booleans(),
)
def test_stays_inside_ball_and_box(seed, norm, steps, start):
    w, x = setting(seed)
    attack = Attack(0.3, norm, steps, step_size=0.4, box=(0.0, 1.0), random_start=start)
    labels = jnp.sign(x[:, 0] - 0.5)
    found = attack.perturb(lambda p: jnp.sin(3 * p @ w), x, labels, jax.random.key(seed))
    size = np.linalg.norm(found - x, np.inf if norm == "linf" else 2, axis=1)
    assert size.max() <= 0.3 + 1e-12
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
@pytest.mark.parametrize("steps", [1, 5])
def test_linear_functions_exactly(norm, dual, steps):
    w, x = setting(1)
    labels = jnp.array([1.0, -1, 1, -1, 1, 1])
    found = Attack(0.3, norm, steps).perturb(lambda p: p @ w, x, labels)
    expected = np.asarray(labels * (x @ w)) - 0.3 * np.linalg.norm(w, dual)
    np.testing.assert_allclose(labels * (found @ w), expected, rtol=1e-10)


@pytest.mark.exhaustive
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_against_a_search_of_the_ball(norm):
    rng = np.random.default_rng(0)
    W, a, x = (
        jnp.asarray(rng.normal(size=(5, 2))),
        jnp.asarray(rng.normal(size=5)),
        jnp.asarray(rng.normal(size=(4, 2))),
    )
    labels = jnp.array([1.0, -1.0, 1.0, -1.0])

    def f(p):
        return jnp.tanh(p @ W.T) @ a

    grid = np.array(list(itertools.product(np.linspace(-0.4, 0.4, 161), repeat=2)))
    grid = grid if norm == "linf" else grid[np.linalg.norm(grid, axis=1) <= 0.4]
    worst = np.array([np.max(-labels[i] * f(point[None] + grid)) for i, point in enumerate(x)])
    found = adversity(f(Attack(0.4, norm, 100, step_size=0.05).perturb(f, x, labels)), labels)
    np.testing.assert_allclose(found, worst, atol=5e-3)


def test_classes_are_attacked_by_cross_entropy():
    W = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
    x = jnp.asarray(np.random.default_rng(1).normal(size=(5, 4)))
    labels = jnp.argmax(x @ W, axis=1)

    def f(p):
        return p @ W

    found = Attack(0.5, steps=1).perturb(f, x, labels)
    softmax = jax.nn.softmax(x @ W, axis=1)
    direction = np.sign((np.asarray(softmax) - np.eye(3)[np.asarray(labels)]) @ np.asarray(W).T)
    np.testing.assert_allclose(found, x + 0.5 * direction, rtol=1e-10)
    assert float(jnp.mean(correct(f(found), labels))) < 1
    np.testing.assert_allclose(
        adversity(f(x), labels), -jax.nn.log_softmax(f(x), axis=1)[jnp.arange(5), labels], rtol=1e-10
    )


def test_nothing_to_follow_is_no_move():
    x = jnp.ones((3, 2))
    for norm in ("linf", "l2"):
        found = Attack(0.5, norm, 3).perturb(lambda p: 0 * p[:, 0] + 1, x, jnp.ones(3))
        np.testing.assert_array_equal(found, x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": -0.1}, "radius must be finite and at least 0"),
        ({"radius": math.inf}, "radius must be finite and at least 0"),
        ({"radius": None}, "radius must be a number, got None"),
        ({"radius": "x"}, "radius must be a number, got 'x'"),
        ({"radius": 1j}, "radius must be a number, got 1j"),
        ({"radius": 0.1, "box": (None, 1)}, "low of the box must be a number, got None"),
        ({"radius": 0.1, "box": (0, "b")}, "high of the box must be a number, got 'b'"),
        ({"radius": [0.1, 0.2]}, r"radius must be one number, got \[0.1, 0.2\]"),
        ({"radius": 0.1, "norm": "l1"}, "norm must be one of"),
        ({"radius": 0.1, "steps": 0}, "steps must be an integer of at least 1"),
        ({"radius": 0.1, "box": (1, 0)}, "box must be"),
    ],
)
def test_bad_input(untyped, options, message):
    with pytest.raises(ValueError, match=message):
        Attack(**options)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("start", [False, True])
def test_a_box_moves_no_input_out_of_its_ball(norm, start):
    x = jnp.asarray([[2.0, -1.0, 0.5], [0.95, 0.05, 3.0]])
    attack = Attack(0.1, norm, 3, box=(0.0, 1.0), random_start=start)
    found = np.asarray(
        attack.perturb(lambda p: jnp.sin(3 * p).sum(1), x, jnp.asarray([1.0, -1.0]), jax.random.key(0))
    )
    size = np.linalg.norm(found - x, np.inf if norm == "linf" else 2, axis=1)
    assert 0 < size.max() <= 0.1 + 1e-12
    assert np.all(found >= np.minimum(x, 0))
    assert np.all(found <= np.maximum(x, 1))


def test_integer_inputs_are_attacked_as_numbers(untyped):
    x = jnp.asarray([[3, 4], [0, 1]])
    found = Attack(0.25).perturb(lambda p: p @ jnp.asarray([1.0, -1.0]), x, jnp.ones(2))
    np.testing.assert_allclose(found, x + jnp.asarray([[-0.25, 0.25]]))


def test_a_random_start_needs_a_key(untyped):
    with pytest.raises(ValueError, match="needs a key"):
        Attack(0.1, random_start=True).perturb(lambda p: p[:, 0], jnp.ones((1, 2)), jnp.ones(1))


def test_predictors_of_equal_structure_share_one_program():
    rng = np.random.default_rng(0)
    x, labels, traced = jnp.asarray(rng.normal(size=(4, 3))), jnp.asarray([1.0, -1, 1, -1]), []

    def kernel(points, others):
        traced.append(len(points))
        return jnp.tanh(points @ others.T)

    def found(seed, radius, function):
        train, alpha = (jnp.asarray(np.random.default_rng(seed).normal(size=size)) for size in ((5, 3), 5))
        predict = regression.predictor(kernel, train, alpha)
        return Attack(radius, steps=3).perturb(predict if function is None else function(predict), x, labels)

    first = found(1, 0.1, None)
    compiled = len(traced)
    second = found(2, 0.3, None)
    assert len(traced) == compiled > 0
    for seed, radius, points in ((1, 0.1, first), (2, 0.3, second)):
        plain = found(seed, radius, lambda predict: lambda p: predict(p))
        np.testing.assert_allclose(points, plain, rtol=1e-12)


@pytest.mark.exhaustive
def test_a_predictor_is_mapped_and_differentiated_like_any_tree():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
    stacked = jnp.asarray(np.random.default_rng(1).normal(size=(2, 4)))

    def risen(alpha):
        predict = regression.predictor(lambda p, z: p @ z.T, x, alpha)
        return predict(Attack(0.1).perturb(predict, x, jnp.ones(4)))

    expected = [np.asarray(x @ x.T @ a) - 0.1 * np.abs(np.asarray(x.T @ a)).sum() for a in stacked]
    np.testing.assert_allclose(jax.vmap(risen)(stacked), expected, rtol=1e-12)
    assert jax.grad(lambda alpha: risen(alpha).sum())(stacked[0]).shape == (4,)
    predict = regression.predictor(lambda p, z: p @ z.T, x, stacked[0])
    np.testing.assert_allclose(jax.jit(predict)(x), predict(x), rtol=1e-12)
