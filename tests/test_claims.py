"""Judging claims: bands, seeds that are not finite, intervals, JSON."""

import json

import numpy as np
import pytest
import scipy.stats
import xarray as xr

from dynamics.claims import (
    Ablation,
    Band,
    Claim,
    Run,
    around,
    at_least,
    at_most,
    between,
    judge,
    mean_interval,
    table,
    tally,
)
from dynamics.config import Config


def verdict(values, band):
    claim = Claim(
        "id",
        "source",
        "statement",
        lambda runs: runs["main"].dataset.x.values,
        lambda runs: band,
        Ablation("less", {"steps": 1}),
    )
    return judge(claim, {"main": Run(Config(), xr.Dataset({"x": ("seed", np.asarray(values, float))}))})


@pytest.mark.parametrize(
    ("values", "band", "holds"),
    [
        ([1.0, 1.2], between(1.0, 1.2), True),  # the ends are included
        ([1.0, 1.2], between(1.0, 1.19), False),
        ([0.5, 1.5], around(1.0, absolute=0.5), True),
        ([0.4, 1.5], around(1.0, absolute=0.5), False),
        ([-2.2, -1.8], around(-2.0, relative=0.1), True),
        ([-2.3, -1.8], around(-2.0, relative=0.1), False),
        ([1.0], around(1.0), True),
        ([3.0, 9.0], at_least(3.0), True),
        ([2.9, 9.0], at_least(3.0), False),
        ([3.0, -9.0], at_most(3.0), True),
        ([3.1, -9.0], at_most(3.0), False),
        ([0.0, 2.0], Band(1.0, 0.9, 1.1, "mean"), True),
        ([0.0, 2.0], Band(1.0, 0.9, 1.1, "every seed"), False),
        ([1.0, 1.5], Band(1.0, 0.9, 1.1, "mean"), False),
    ],
)
def test_bands(values, band, holds):
    assert verdict(values, band).holds is holds


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("over", ["every seed", "mean"])
def test_one_seed_that_is_not_finite_fails(bad, over):
    found = verdict([1.0, bad, 1.0], Band(1.0, -np.inf, np.inf, over))
    assert not found.holds
    assert found.per_seed == (1.0, None, 1.0)
    assert found.measured is None
    assert found.interval is None
    assert "not finite" in table([found])


def test_verdict_is_json():
    found = verdict([1.0, 2.0], at_least(0.5, 1.0)).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["predicted"] == 1.0
    assert found["measured"] == 1.5
    assert found["per_seed"] == [1.0, 2.0]
    assert found["tolerance"] == {"low": 0.5, "high": None, "over": "every seed"}
    assert found["ablation"] == {"about": "less", "change": {"steps": 1}, "holds": None}
    assert verdict([1.0], at_least(0.5)).to_dict()["predicted"] is None


@pytest.mark.parametrize("count", [2, 3, 7])
def test_interval_of_few_values_is_students(count):
    values = np.random.default_rng(count).normal(5.0, 2.0, count)
    expected = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(0.9)
    np.testing.assert_allclose(mean_interval(values, level=0.9), expected, rtol=1e-12)


def test_interval_of_equal_values_or_one():
    for count in (3, 9):
        np.testing.assert_allclose(mean_interval(np.full(count, 3.0)), [3.0, 3.0])
    assert mean_interval(np.array([3.0])) is None


@pytest.mark.parametrize("count", [2, 4, 8, 16])
def test_interval_covers_the_mean_as_often_as_it_says(count):
    rng, trials = np.random.default_rng(count), 600
    found = [mean_interval(rng.normal(size=count), resamples=1000) for _ in range(trials)]
    covered = np.mean([low <= 0 <= high for low, high in found])
    assert abs(covered - 0.95) <= 3 * np.sqrt(0.95 * 0.05 / trials)


def test_interval_is_near_the_normal_one():
    values = np.random.default_rng(1).normal(5.0, 2.0, 400)
    width = 1.959964 * values.std() / np.sqrt(values.size)
    low, high = mean_interval(values)
    np.testing.assert_allclose(
        [low, high], [values.mean() - width, values.mean() + width], atol=0.05 * width * 2
    )
    narrow = mean_interval(values, level=0.5)
    np.testing.assert_allclose(narrow[1] - narrow[0], (high - low) * 0.67449 / 1.959964, rtol=0.05)


def test_interval_is_repeatable():
    values = np.random.default_rng(2).normal(size=8)
    assert mean_interval(values) == mean_interval(values.copy())
    low, high = mean_interval(values)
    assert values.min() < low < values.mean() < high < values.max()


def test_table_says_what_became_of_the_ablation():
    import dataclasses

    found = verdict([1.0, 2.0], at_least(0.5, 1.0))
    assert table([found]).startswith("HOLDS  id: statement (source)")
    assert "ablation" not in table([found])
    for holds, measured, words in (
        (True, 1.5, "less: still holds (it should fail); 1.5"),
        (False, 0.25, "less: fails, as it should; 0.25"),
        (False, None, "less: fails, as it should; nothing finite to measure"),
    ):
        outcome = {"holds": holds, "measured": measured}
        asked = dataclasses.replace(found, ablation=found.ablation | outcome)
        assert words in table([asked])
    assert table([verdict([0.0], at_least(0.5))]).startswith("FAILS")


def test_a_tally_is_in_the_singular_for_one_claim():
    assert tally([True]) == "1 of 1 claim holds"
    assert tally([True, False], " asked for") == "1 of 2 claims asked for hold"
