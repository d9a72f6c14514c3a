"""Claims in two halves: what they are given, and what is refused when they are made."""

import copy
import dataclasses

import numpy as np
import pytest
import xarray as xr

from dynamics.study import (
    Ablation,
    CheckRun,
    Claims,
    Config,
    Run,
    around,
    at_least,
    expected,
    set_as,
    setting,
)
from dynamics.study.claim import enough
from dynamics.study.verdict import judge


@dataclasses.dataclass(frozen=True, kw_only=True)
class Own(Config):
    height: float = setting(1.0, "a number")
    points: int = setting(3, "another")


LESS = Ablation("less of it", {"height": 0.5})


def run(height: float = 1.0) -> Run:
    values = xr.DataArray([[1.0, 2.0], [3.0, 4.0]], dims=("arm", "seed"), coords={"arm": ["a", "b"]})
    return Run(Own(height=height), xr.Dataset({"x": height * values}))


def test_one_run_is_given_itself_with_a_slice_of_its_result():
    claims = Claims({"main": CheckRun(Own())})
    about = claims.about("main", source="Theorem 1", where={"arm": "b"}, applies=lambda config: True)
    made = about("A1", "it is as high as it is").holds(
        lambda run: run.x, lambda config: around(config.height * 3.5, absolute=0.5), LESS
    )
    found = judge(made, {"main": run(2.0)})
    assert (found.per_seed, found.holds, found.predicted) == ((6.0, 8.0), False, 7.0)
    assert (found.source, found.statement) == ("Theorem 1", "it is as high as it is")
    assert made.applies(Own())
    assert list(claims) == [made]


def test_several_runs_are_given_by_name_and_so_are_their_configs():
    claims = Claims({"low": CheckRun(Own()), "high": CheckRun(Own(height=2.0))})
    made = claims.about("low", "high", source="derived")("A2", "twice as high").holds(
        lambda runs: (runs["high"].x / runs["low"].x).isel(arm=0),
        lambda configs: around(configs["high"].height / configs["low"].height),
        LESS,
        source="Theorem 2",
    )
    assert judge(made, {"low": run(), "high": run(2.0)}).holds
    assert made.source == "Theorem 2"  # what is said last


def test_a_band_may_be_a_value():
    made = (
        Claims({"main": CheckRun(Own())})
        .about("main", source="")("A", "")
        .holds(lambda run: run.x.min("arm"), at_least(1.0), LESS)
    )
    assert judge(made, {"main": run()}).holds
    assert not judge(made, {"main": run(0.5)}).holds


def test_a_known_deviation_makes_a_band_for_so_many_seeds():
    made = (
        Claims({"main": CheckRun(Own())})
        .about("main", source="")("A", "")
        .holds(lambda run: run.x.mean("arm"), lambda config: expected(2.0 * config.height, 0.5), LESS)
    )
    two = made.accepts({"main": run()})
    assert (two.low, two.high) == pytest.approx((2 - 1.5 / 2**0.5, 2 + 1.5 / 2**0.5))
    assert two.over == "mean"
    alone = made.accepts({"main": run().at(seed=[0])})
    assert (alone.low, alone.high, alone.over) == (0.5, 3.5, "every seed")


def test_what_is_refused():
    claims = Claims({"main": CheckRun(Own())})
    with pytest.raises(ValueError, match="no run 'other'; there are main"):
        claims.about("other", source="")
    about = claims.about("main", source="")
    about("A", "").holds(lambda run: run.x, at_least(0.0), LESS)
    with pytest.raises(ValueError, match="two claims A"):
        about("A", "").holds(lambda run: run.x, at_least(0.0), LESS)
    with pytest.raises(ValueError, match="B: its ablation changes width, which main does not have"):
        about("B", "").holds(lambda run: run.x, at_least(0.0), Ablation("narrow", {"width": 1}))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Apart(Config):
    width: int = setting(2, "of another setting")
    depth: int = setting(1, "another")


def test_an_ablation_changes_fields_or_is_a_config_of_another_setting():
    assert LESS.of(Own(points=5)) == Own(height=0.5, points=5)
    assert LESS.told() == {"height": 0.5}
    other = Ablation("wider", Apart(width=7))
    assert other.of(Own()) == Apart(width=7)
    assert other.told() == {"setting": "Apart", "width": 7}
    made = (
        Claims({"main": CheckRun(Own())})
        .about("main", source="")("A", "")
        .holds(lambda run: run.x.min("arm"), at_least(1.0), other)
    )
    assert judge(made, {"main": run()}).ablation["change"] == {"setting": "Apart", "width": 7}


def test_a_run_is_its_dataset_and_can_be_copied():
    made = run()
    assert float(made.x.sum()) == 10
    assert made["x"] is not None
    assert made.sizes["seed"] == 2
    assert copy.copy(made).config == made.config
    with pytest.raises(AttributeError, match="height"):
        _ = made.height
    np.testing.assert_array_equal(made.at(arm="b").x, [3.0, 4.0])


def test_a_setting_but_for_fields_that_do_not_matter():
    assert set_as(Own(points=9), Own(), "points")
    assert not set_as(Own(points=9), Own(), "height")
    assert not set_as(Own(height=2.0, points=9), Own(), "points")


def test_claims_row_by_row_are_those_in_two_halves():
    one, rows = (Claims({"main": CheckRun(Own())}) for _ in range(2))
    about = {"source": "here", "where": {"arm": "a"}}
    given = (lambda run: run.x, at_least(1.0), LESS)
    one.about("main", **about)("first", "x is large").holds(*given)
    rows.hold((rows.about("main", **about), "first", "x is large", *given))
    assert list(one) == list(rows)


def test_what_a_run_has_too_few_of_is_said_by_its_fields():
    assert enough("points", fewest=3)(run()) == ""
    assert enough("points", of="samples", fewest=4)(run()) == "at least 4 samples (points)"
    assert enough("points", "height")(run(200.0)) == "at least 100 points (points)"
