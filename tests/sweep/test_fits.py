"""Power laws: against exact ones, SciPy's regression, and the coverage of the interval."""

import tracemalloc

import numpy as np
import pytest
from scipy.stats import linregress, norm, t

from dynamics.sweep.fits import power_law

X = np.asarray([4, 6, 8, 12, 16, 24.0])


def test_exact_power_laws_are_found():
    fit = power_law(X, np.repeat(3 * X[:, None] ** -0.5, 4, axis=1))
    np.testing.assert_allclose([fit.exponent, fit.factor, *fit.interval], [-0.5, 3, -0.5, -0.5], rtol=1e-12)
    np.testing.assert_allclose(fit.at(X), 3 * X**-0.5, rtol=1e-12)


def test_is_the_regression_of_the_logarithms():
    values = np.exp(np.random.default_rng(1).normal(size=(6, 5)))
    fit = power_law(X, values)
    line = linregress(np.log(X), np.log(values.mean(axis=1)))
    np.testing.assert_allclose([fit.exponent, np.log(fit.factor)], [line.slope, line.intercept], rtol=1e-12)


@pytest.mark.parametrize("seeds", [2, 4, 8, 32])
def test_the_interval_covers_the_truth_as_often_as_it_says(seeds):
    rng, covered = np.random.default_rng(seeds), 0
    for _ in range(400):
        values = X[:, None] ** 0.5 * (1 + 0.1 * rng.normal(size=(6, seeds)))
        low, high = power_law(X, values, resamples=1000).interval
        covered += low <= 0.5 <= high
    assert abs(covered / 400 - 0.95) <= 3 * np.sqrt(0.95 * 0.05 / 400)


@pytest.mark.parametrize("spoil", [0.0, -1.0])
def test_what_has_no_power_law(spoil):
    values = np.ones((6, 2))
    assert power_law(X[:2], values[:2]) is None
    assert power_law(X - 4, values) is None
    values[3] = spoil
    assert power_law(X, values) is None


def test_missing_points_are_left_out_and_one_seed_has_no_interval():
    values = 2 * X[:, None] ** 0.25
    values[2] = np.nan
    fit = power_law(X, values)
    np.testing.assert_allclose(fit.exponent, 0.25, rtol=1e-12)
    assert fit.interval is None


def test_many_seeds_take_little_memory_and_few_the_same_draws():
    rng = np.random.default_rng(2)
    values = X[:4, None] ** 0.5 * (1 + 0.1 * rng.normal(size=(4, 20_000)))
    tracemalloc.start()
    low, high = power_law(X[:4], values).interval
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert low <= 0.5 <= high
    assert high - low < 0.01
    assert peak < 40 * 2**20
    few, draw = values[:, :16], np.random.default_rng(0)
    means = np.stack([row[draw.integers(0, 16, (10_000, 16))].mean(axis=1) for row in few])
    centred = np.log(X[:4]) - np.log(X[:4]).mean()
    slopes = centred @ np.log(means) / (centred**2).sum()
    tail = norm.cdf(-np.sqrt(16 / 15) * t.ppf(0.975, 4 * 15))
    np.testing.assert_allclose(
        power_law(X[:4], few).interval, np.quantile(slopes, [tail, 1 - tail]), rtol=1e-12
    )
