"""Judging claims: bands, seeds that are not finite, intervals, JSON."""

import dataclasses
import json
import tracemalloc
from xml.etree import ElementTree

import numpy as np
import pytest
import scipy.stats
import xarray as xr

from dynamics.study import (
    Ablation,
    Band,
    Bracketed,
    Claim,
    Config,
    Run,
    around,
    at_least,
    at_most,
    between,
    typically,
)
from dynamics.study import (
    verdict as verdicts,
)
from dynamics.study.verdict import Verdicts, accepted, judge, mean_interval, table, tally, told


def verdict(values, band, **how):
    claim = Claim(
        "id",
        "source",
        "statement",
        lambda run: run.x,
        band,
        Ablation("less", {"steps": 1}),
        **how,
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


def ranged(low, high, band):
    """The verdict on numbers that are known to lie in a range, guessed in its middle."""
    low, high = (np.asarray(ends, float) for ends in (low, high))
    found = Bracketed(np.where(np.isinf(high), low, (low + high) / 2), low, high, "finer steps")
    claim = Claim("id", "source", "said", lambda run: found, band, Ablation("less", {}))
    return judge(claim, {"main": Run(Config(), xr.Dataset(coords={"seed": range(low.size)}))})


@pytest.mark.parametrize(
    ("low", "high", "band", "holds"),
    [
        ([1.0, 2.0], [2.0, 3.0], between(1.0, 3.0), True),
        ([1.0, 2.0], [2.0, 3.1], between(1.0, 3.0), None),
        ([0.0, 2.0], [10.0, 3.0], at_most(3.0), None),
        ([0.0, 3.1], [10.0, 4.0], at_most(3.0), False),  # one seed lies outside, wherever the other does
        ([4.0, 4.0], [np.inf, np.inf], at_most(3.0), False),
        ([4.0, 4.0], [np.inf, np.inf], at_least(3.0), True),
        ([2.0, 1.0], [np.inf, np.inf], at_most(3.0), None),
        ([0.0, 2.0], [1.0, 3.0], Band(None, 1.0, 2.0, "mean"), True),
        ([0.0, 2.0], [1.0, 3.2], Band(None, 1.0, 2.0, "mean"), None),
        ([2.0, 2.4], [3.0, 3.0], Band(None, 1.0, 2.0, "mean"), False),
    ],
)
def test_a_range_decides_where_all_of_it_lies_on_one_side(low, high, band, holds):
    found = ranged(low, high, band)
    assert found.holds is holds
    assert (found.needs == "") is (holds is not None)
    assert holds is not None or "finer steps: it lies between" in found.needs


@pytest.mark.parametrize(
    ("values", "band", "holds"),
    [
        ([1.0], typically(around(1.0, absolute=0.1)), None),  # one seed says nothing of a mean
        ([9.0], Band(1.0, 0.9, 1.1, "mean"), None),
        ([1.0, 1.1], typically(around(1.0, absolute=0.1)), True),
        ([1.0, 1.5], typically(around(1.0, absolute=0.1)), None),
        ([1.5, 1.5], typically(around(1.0, absolute=0.1)), False),
        ([0.5, 1.8], typically(around(1.0, absolute=0.1)), None),
        ([1.0] * 6 + [9.0], typically(around(1.0, absolute=0.1)), None),
        ([1.0] * 7 + [9.0], typically(around(1.0, absolute=0.1)), False),
        ([1.0, np.nan], typically(at_least(0.0)), False),
    ],
)
def test_few_seeds_of_a_mean(values, band, holds):
    found = verdict(values, band)
    assert found.holds is holds
    assert ("seeds" in found.needs) is (holds is None)


def test_one_number_of_many_seeds_is_no_single_seed_and_none_is_no_number():
    claim = Claim(
        "id",
        "source",
        "said",
        lambda run: run.x.mean("seed"),
        typically(at_most(2.0)),
        Ablation("less", {}),
    )
    for values, holds in (([1.0, 2.0], True), ([3.0, 4.0], False), ([1.0], None)):
        run = Run(Config(), xr.Dataset({"x": ("seed", np.asarray(values))}))
        assert judge(claim, {"main": run}).holds is holds
    found = verdict([], at_most(2.0))
    assert (found.holds, found.needs) == (None, "a seed that it is about")


def test_what_a_run_has_too_few_of():
    def needs(run):
        return "" if run.sizes["seed"] > 1 else "more of it"

    found = verdict([5.0], at_most(1.0), needs=needs)
    assert (found.holds, found.needs, found.measured) == (None, "more of it", 5.0)
    assert verdict([5.0, 5.0], at_most(1.0), needs=needs).holds is False
    text = table([found])
    assert text.startswith("UNDECIDED  id: statement (source)")
    assert "needs more of it" in text
    saved = found.to_dict()
    assert json.loads(json.dumps(saved, allow_nan=False)) == saved
    assert (saved["holds"], saved["needs"]) == (None, "more of it")


def test_a_quantity_that_leaves_a_dimension_is_refused():
    claim = Claim("id", "source", "said", lambda run: run.x, at_least(0.0), Ablation("less", {}))
    values = xr.DataArray(np.ones((2, 3)), dims=("seed", "class"))
    with pytest.raises(ValueError, match="no dimension but seed, it has class"):
        judge(claim, {"main": Run(Config(), xr.Dataset({"x": values}))})
    alone = xr.Dataset({"x": values.isel({"class": [0]})})  # the only arm of a run
    assert judge(claim, {"main": Run(Config(), alone)}).per_seed == (1.0, 1.0)


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


@pytest.mark.parametrize("count", [8, 64, 900])
def test_blocks_of_a_bootstrap_are_one_draw(count, monkeypatch):
    values = np.random.default_rng(count).exponential(size=count)
    chosen = np.random.default_rng(0).integers(0, count, (10_000, count))
    tail = scipy.stats.norm.cdf(-np.sqrt(count / (count - 1)) * scipy.stats.t.ppf(0.975, count - 1))
    expected = tuple(np.quantile(values[chosen].mean(axis=1), [tail, 1 - tail]))
    monkeypatch.setattr(verdicts, "BLOCK", 9_999)
    assert mean_interval(values) == expected


def test_many_seeds_take_little_memory():
    values = np.random.default_rng(0).normal(size=50_000)
    mean_interval(values[:900])
    for count in (1_000, 50_000):
        tracemalloc.start()
        mean_interval(values[:count])
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 40 * 2**20


def test_the_interval_of_very_many_skewed_values_covers():
    rng, trials = np.random.default_rng(3), 400
    found = [mean_interval(rng.exponential(size=verdicts.MOST_RESAMPLED + 1)) for _ in range(trials)]
    covered = np.mean([low <= 1 <= high for low, high in found])
    assert abs(covered - 0.95) <= 3 * np.sqrt(0.95 * 0.05 / trials)


def test_table_says_what_became_of_the_ablation():
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
    outcome = {"holds": None, "measured": 0.25, "needs": "more records"}
    asked = dataclasses.replace(found, ablation=found.ablation | outcome)
    assert "less: undecided (it should fail), needs more records; 0.25" in table([asked])
    assert table([verdict([0.0], at_least(0.5))]).startswith("FAILS")


def test_verdicts_are_a_list_that_shows_itself():
    holds = dataclasses.replace(verdict([1.0, 2.0], at_least(0.5, 1.0)), formula=r"\frac{1}{k}")
    fails = dataclasses.replace(verdict([0.1], at_least(0.5)), id="<other>", statement="costs $1 and $2")
    both = Verdicts([holds, fails])
    assert both == [holds, fails]
    assert (both[1], list(both), both[:1]) == (fails, [holds, fails], [holds])
    assert repr(both) == f"1 of 2 claims hold\n\n{table(both)}"
    assert str(both[:1]) == f"1 of 1 claim holds\n\n{table([holds])}"
    assert (repr(Verdicts()), Verdicts()) == ("no claim is decided", [])
    shown = both._repr_html_()
    tree = ElementTree.fromstring(f"<div>{shown.replace('<br>', '<br/>')}</div>")
    rows = [["".join(cell.itertext()) for cell in row] for row in tree.iter("tr")]
    assert rows[0] == ["verdict", "claim", "formula", "measured [95 % interval]", "predicted", "accepted"]
    words = ("✓ holds", "id: statement (source)", r"$\frac{1}{k}$", "1.5 [-4.853, 7.853]", "1")
    assert rows[1] == [*words, "≥ 0.5 (every seed)"]
    assert rows[2][:3] == ["✗ fails", "<other>: costs $1 and $2 (source)", ""]
    assert "s <span>$</span>1" in shown  # words are not typeset as a formula


def test_verdicts_as_a_table_of_numbers():
    undecided = ranged([0.4], [0.6], at_least(0.5))
    found = Verdicts([dataclasses.replace(undecided, id="open"), verdict([1.0, 2.0], between(0.5, 3.0, 1.0))])
    table_ = found.to_dataframe()
    assert table_.index.name == "claim"
    assert table_.index.tolist() == ["open", "id"]
    assert table_.loc["id", "holds"]
    assert table_.holds.isna().tolist() == [True, False]
    assert table_.ablation_holds.isna().all()
    numbers = ["measured", "interval_low", "predicted", "accepted_low", "accepted_high", "seeds"]
    low = found[1].interval[0]
    np.testing.assert_array_equal(table_.loc["id", numbers].astype(float), [1.5, low, 1.0, 0.5, 3.0, 2])
    assert np.isnan(table_.loc["open", "interval_low"])
    assert table_.loc["open", "needs"].startswith("finer steps")
    assert Verdicts().to_dataframe().empty


def test_a_tally_is_in_the_singular_for_one_claim():
    assert tally([True]) == "1 of 1 claim holds"
    assert tally([True, False], " asked for") == "1 of 2 claims asked for hold"


def test_a_tally_says_undecided_claims_apart():
    assert tally([True] * 29 + [None, False]) == "29 of 31 claims hold, 1 undecided, 1 fails"
    assert tally([True, None, None], " asked for") == "1 of 3 claims asked for hold, 2 undecided"
    assert tally([None, False, False]) == "0 of 3 claims hold, 1 undecided, 2 fail"


def test_a_band_of_one_number_is_that_number():
    one = {"low": 1.0, "high": 1.0, "over": "each seed"}
    assert accepted(one) == "= 1 (each seed)"
    assert accepted(one | {"low": 0.5}) == ">= 0.5 and <= 1 (each seed)"
    assert accepted(one | {"high": None}, "≥", "≤") == "≥ 1 (each seed)"
    found = verdict([1.0, 1.0], around(1.0))
    assert "; accepted = 1 (every seed)" in table([found])
    assert told(found.to_dict())["accepted"] == "= 1 (every seed)"
