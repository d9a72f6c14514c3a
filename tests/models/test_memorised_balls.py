"""Networks written down on parity data against their formulas, and their parameters counted."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.data.parity import Parity
from dynamics.models.memorised_balls import (
    MemorisedBalls,
    SignParity,
    Towers,
    ball_widths,
    parity_widths,
)
from dynamics.problem import Problem

RADIUS, RAMP = 0.2, 0.1


def built(dim, count, start=None, model=None):
    data = Parity(dim, count, num_test=50)
    start = MemorisedBalls(RADIUS, RAMP) if start is None else start
    model = Towers(count, ball_widths(dim)) if model is None else model
    problem = Problem(data, model, start=start)
    key = jax.random.key(1)
    return problem, problem.sample(key), problem.init(jax.random.key(2), key)


def parameters(params):
    return int(sum(np.count_nonzero(leaf) for leaf in jax.tree.leaves(params)))


@pytest.mark.parametrize("dim", [2, 5, 12])
def test_the_network_is_the_formula(dim):
    """f_S at random points, at training inputs and at the edges of their balls."""
    problem, draw, params = built(dim, 6)
    x, y = np.asarray(draw.train.x), np.asarray(draw.train.y)
    rng = np.random.default_rng(dim)
    points = [rng.uniform(-1.5, 1.5, (40, dim)), x]
    points += [x + r * rng.choice([-1, 1], x.shape) for r in (RADIUS, RADIUS + 0.4 * RAMP, RADIUS + RAMP)]
    points = np.concatenate(points)
    distance = np.abs(points[:, None] - x[None]).max(axis=2)
    ramp = np.clip((RADIUS + RAMP - distance) / RAMP, 0, 1)
    expected = points[:, 0] / 0.1 + 2 * (1 + RADIUS / 0.1) * ramp @ y
    np.testing.assert_allclose(problem.apply(params, jnp.asarray(points)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("dim", "count"), [(4, 1), (8, 7), (16, 1)])
def test_parameters_are_affine_in_samples_and_in_dimension(dim, count):
    assert parameters(built(dim, count)[2]) == count * (10 * dim + 2) + 1


def test_a_leaf_left_over_costs_two_parameters():
    """12 -> 6 -> 3 -> 2 -> 1: once one of three is passed on."""
    assert parameters(built(12, 1)[2]) == 10 * 12 + 2 + 2 + 1


@pytest.mark.exhaustive
def test_inside_every_ball_the_sign_is_right():
    """The worst points of a ball are corners: all of them, and points within."""
    problem, draw, params = built(5, 8)
    corners = np.array(list(itertools.product((-1, 1), repeat=5)))
    for scale in (1.0, 0.5):
        x = np.asarray(draw.train.x)[:, None] + scale * RADIUS * corners[None]
        scores = np.asarray(problem.apply(params, jnp.asarray(x.reshape(-1, 5)))).reshape(8, -1)
        margin = scores * np.asarray(draw.train.y)[:, None]
        assert margin.min() >= (1 + RADIUS / 0.1) - 1e-9  # height less sup |f|


@pytest.mark.exhaustive
def test_height_zero_is_the_clean_classifier():
    problem, draw, params = built(6, 5, MemorisedBalls(RADIUS, RAMP, 0.0))
    np.testing.assert_allclose(problem.apply(params, draw.test.x), 10 * draw.test.x[:, 0], rtol=1e-12)


@pytest.mark.parametrize("dim", [2, 4, 7])
def test_sign_parity_on_every_corner_and_within_the_margin(dim):
    problem, _, params = built(dim, 3, SignParity(0.6), Towers(1, parity_widths(dim)))
    signs = np.array(list(itertools.product((-1.0, 1.0), repeat=dim - 1)))
    rng = np.random.default_rng(0)
    for size in (np.ones_like(signs), rng.uniform(0.6, 1.4, signs.shape)):
        first = rng.normal(size=(len(signs), 1))
        x = np.concatenate([first, signs * size], axis=1)
        np.testing.assert_allclose(problem.apply(params, jnp.asarray(x)), signs.prod(axis=1), atol=1e-9)
    assert parameters(params) < 4 * dim**2 + 20 * dim


def test_parity_data():
    draw = Parity(5, 64, num_test=4000, signal=0.3).sample(jax.random.key(0))
    for sample in (draw.train, draw.test):
        x = np.asarray(sample.x)
        assert set(np.unique(x[:, 1:])) == {-1.0, 1.0}
        np.testing.assert_array_equal(x[:, 1:].prod(axis=1), sample.y)
        np.testing.assert_allclose(x[:, 0], 0.3 * np.asarray(sample.y))
        np.testing.assert_array_equal(np.asarray([1, -1])[np.asarray(sample.target)], sample.y)
    assert np.abs(np.asarray(draw.test.x)[:, 1:].mean(axis=0)).max() < 5 / np.sqrt(4000)
    assert not np.array_equal(draw.train.x, draw.test.x[:64])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MemorisedBalls(0.0), "radius must be finite and positive"),
        (lambda: MemorisedBalls(0.1, -1.0), "ramp must be finite and positive"),
        (lambda: SignParity(1.5), "margin must be above 0 and at most 1"),
        (lambda: Parity(1, 3), "dim must be an integer of at least 2"),
        (lambda: Parity(4, 3, signal=0.0), "signal must be finite and positive"),
        (lambda: built(4, 3, model=Towers(2, ball_widths(4))), "3 balls in dimension 4 need"),
        (lambda: built(4, 3, SignParity(), Towers(1, (2, 2))), "the parity of 3 signs needs"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
