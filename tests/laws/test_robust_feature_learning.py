"""Laws of patch features against direct simulation of their recursion, and against brute force."""

import dataclasses

import numpy as np
import pytest

from dynamics.laws.robust_feature_learning import PatchFeatures

SIZES = PatchFeatures(4, 1, 120, 1.0, 0.3, 3.0, 1.0, 0.6)


def test_rates_by_hand():
    share = 0.25 * 0.75
    assert SIZES.robust_rate() == pytest.approx(0.6 * share)
    assert SIZES.nonrobust_rate() == pytest.approx(0.6 * share * 120 * 0.027)
    assert SIZES.robust_rate(0.5) == pytest.approx(0.6 * share / 8)
    assert SIZES.nonrobust_rate(0.3) == SIZES.nonrobust_rate(0.4) == 0


@pytest.mark.parametrize("power", [2.0, 3.0, 4.0])
def test_growth_is_the_recursion(power):
    sizes = SIZES.__class__(4, 1, 120, 1.0, 0.3, power, 1.0, 0.6)
    a, path = 0.1, [0.1]
    for _ in range(20):
        a += 0.05 * a ** (power - 1)
        path.append(a)
    found = sizes.growth(np.asarray([0.1, -0.2]), 0.05, 20)
    np.testing.assert_allclose(found[:, 0], path, rtol=1e-13)
    np.testing.assert_array_equal(found[:, 1], -0.2)


@pytest.mark.parametrize("power", [3.0, 3.5, 5.0])
def test_escape_time_and_frozen_loser_are_those_of_the_flow(power):
    sizes = SIZES.__class__(4, 1, 120, 1.0, 0.3, power, 1.0, 0.6)
    fast, slow, dt = 1.0, 0.3, 1e-4
    b, a, t = 0.5, 0.4, 0.0
    while b < 1e4:
        # steps in proportion to the time scale of b, by midpoints
        h = dt / b ** (power - 2)
        mid_b, mid_a = b + h / 2 * fast * b ** (power - 1), a + h / 2 * slow * a ** (power - 1)
        b, a, t = b + h * fast * mid_b ** (power - 1), a + h * slow * mid_a ** (power - 1), t + h
    left = 1e4 ** (2 - power) / ((power - 2) * fast)
    assert sizes.escape_time(0.5, fast) == pytest.approx(t + left, rel=1e-4)
    assert float(sizes.frozen(np.asarray(0.4), np.asarray(0.5), slow / fast)) == pytest.approx(a, rel=1e-3)


def test_what_cannot_grow():
    assert SIZES.escape_time(-0.1, 1.0) == np.inf
    assert SIZES.escape_time(0.1, 0.0) == np.inf
    assert float(SIZES.frozen(np.asarray(-0.1), np.asarray(0.5), 0.3)) == -0.1
    assert SIZES.side_ratio(np.asarray(0.1), np.asarray(0.1), 0.3) == np.inf


def test_the_crossing_equates_the_rates():
    radius = SIZES.crossing_radius()
    assert radius == pytest.approx(0.122, abs=5e-4)
    assert SIZES.robust_rate(radius) == pytest.approx(SIZES.nonrobust_rate(radius))
    assert SIZES.side_ratio(np.asarray(0.2), np.asarray(0.1), radius) == pytest.approx(2)
    assert np.isnan(dataclasses.replace(SIZES, num_robust=120).crossing_radius())


def test_thresholds_of_pure_networks_by_brute_force():
    def act(z):
        return np.where(z > 1, z - 2 / 3, np.maximum(z, 0) ** 3 / 3)

    radii = np.arange(1, 9000) / 1e4
    alpha, beta, c = 1.0, 0.3, 0.5
    root = np.sqrt(2)
    flipped = [act(c * r / root) >= act(c * (alpha - r / root)) for r in radii]
    assert radii[np.argmax(flipped)] == pytest.approx(SIZES.flip_radius(0), abs=1e-4)
    flipped = [act(c * r / root) >= act(c * (beta - r / root)) for r in radii]
    assert radii[np.argmax(flipped)] == pytest.approx(SIZES.flip_radius(1), abs=1e-4)
    planted = [120 * act(c * r) >= act(c * alpha) for r in radii]
    assert radii[np.argmax(planted)] == pytest.approx(SIZES.plant_radius(), abs=1e-4)


@pytest.mark.parametrize(("width", "ratio"), [(1, 3.0), (4, 2.0), (16, 3.24)])
def test_odds_of_the_robust_feature_by_sampling(width, ratio):
    """The largest of m normals each: how often a is more than `ratio` times b."""
    sizes = PatchFeatures(4, 1, 120, 1.0, (ratio / 120) ** (1 / 3), 3.0, 1.0, 0.6)
    assert sizes.nonrobust_rate() / sizes.robust_rate() == pytest.approx(ratio)
    a, b = np.random.default_rng(width).normal(size=(2, 100_000, width)).max(axis=2)
    share = np.mean(a > ratio * b)
    assert abs(sizes.robust_odds(width) - share) < 5 * np.sqrt(share / 100_000)


def test_the_slowest_of_all_classes_by_sampling():
    sizes = PatchFeatures(4, 1, 120, 1.0, 0.3, 3.0, 1.0, 0.6)
    least = np.random.default_rng(1).normal(size=(50_000, 4, 16)).max(axis=2).min(axis=1)
    share = np.mean(least < sizes.slowest_start(16, 0.03))
    assert abs(share - 0.03) < 5 * np.sqrt(0.03 / 50_000)
