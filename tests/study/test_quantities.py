"""Shared helpers of quantities, against numbers written down and SciPy."""

import dataclasses

import numpy as np
import pytest
import scipy.stats
import xarray as xr

from dynamics.study import (
    Config,
    Law,
    Run,
    amplitude,
    first,
    first_above,
    first_step,
    hitting_time,
    last,
    passed_between,
    power_law,
    setting,
    slope,
)
from dynamics.study.quantities import (
    at_each,
    exponent_over,
    largest_of,
    largest_ratio,
    rank_correlation,
    stacked,
    value_at,
)

STEPS = [0, 10, 30, 100]


class Own(Config):
    """Configs that the law is about."""


def curves(values) -> xr.DataArray:
    return xr.DataArray(np.asarray(values, float), dims=("seed", "step"), coords={"step": STEPS})


def test_ends_of_a_curve():
    values = curves([[1, 2, 3, 4], [5, 6, 7, 8]])
    np.testing.assert_array_equal(first(values), [1, 5])
    np.testing.assert_array_equal(last(values), [4, 8])
    assert "step" not in last(values).coords
    assert last(last(values)).identical(last(values))  # what was recorded at the end only is that


def test_first_crossing_is_linear_between_records():
    values = curves([[0, 1, 3, 3], [2, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0.5], [0, np.nan, 2, 2]])
    np.testing.assert_allclose(first_above(values, 0.5), [5.0, 0.0, 65.0, np.nan, 7.5])
    np.testing.assert_array_equal(first_step(values > 0.5), [10, 0, 100, np.nan, 30])
    with pytest.raises(ValueError, match="dimension step"):
        first_above(values.rename(step="time"), 1.0)


def test_hitting_times_are_those_of_exponential_decay_and_never_is_nan():
    step = np.arange(0, 50, 7)
    learned = (1 - np.exp(-0.07 * step)) * np.ones((2, 3, 1))
    learned = xr.DataArray(learned, dims=("frequency", "seed", "step"), coords={"step": step})
    np.testing.assert_allclose(hitting_time(learned), np.log(10) / 0.07, rtol=1e-12)
    np.testing.assert_allclose(hitting_time(learned, 0.5), np.log(2) / 0.07, rtol=1e-12)
    assert np.isnan(hitting_time(learned * 0.5)).all()
    assert (hitting_time(xr.ones_like(learned)) == 0).all()
    with pytest.raises(ValueError, match="left must be between 0 and 1"):
        hitting_time(learned, 1.0)


def test_amplitudes_on_a_grid_are_those_that_the_values_are_made_of():
    phi = 2 * np.pi * np.arange(8) / 8
    made = 3.0 + 0.5 * np.cos(2 * phi) + np.sin(2 * phi) - 2.0 * np.cos(4 * phi)
    values = xr.DataArray(np.stack([made, 2 * made]), dims=("seed", "point"))
    every = amplitude(values, xr.DataArray(range(5), dims="frequency"))
    np.testing.assert_allclose(every[0], [3, 0, 0.5, 0, -2], atol=1e-14)
    np.testing.assert_allclose(every[:, 1:4] * 4, np.fft.rfft(values.values)[:, 1:4].real, atol=1e-13)
    np.testing.assert_allclose(amplitude(values, 2), [0.5, 1.0], rtol=1e-13)
    for bad, message in ((5, "from 0 to 4"), (-1, "from 0 to 4")):
        with pytest.raises(ValueError, match=message):
            amplitude(values, bad)
    with pytest.raises(ValueError, match="must have the dimension point, got seed"):
        amplitude(values.rename(point="place"), 1)


def test_a_condition_passes_between_two_records():
    steps = [0, 10, 30, 100]
    happened = [[0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]]
    values = xr.DataArray(np.asarray(happened, bool), dims=("seed", "step"), coords={"step": steps})
    before, after = passed_between(values)
    np.testing.assert_array_equal(before, [10, 0, 0, 100])
    np.testing.assert_array_equal(after, [30, 10, 0, np.inf])
    with pytest.raises(ValueError, match="dimension step"):
        passed_between(values.rename(step="time"))


def test_slopes_are_least_squares():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=7), rng.normal(size=(3, 7))
    found = slope(x, xr.DataArray(y, dims=("seed", "run")), "run")
    np.testing.assert_allclose(found, [scipy.stats.linregress(x, row).slope for row in y], rtol=1e-12)
    assert np.isnan(slope(np.ones(7), xr.DataArray(y, dims=("seed", "run")), "run")).all()
    y[1, 2] = np.nan
    assert np.isnan(slope(x, xr.DataArray(y, dims=("seed", "run")), "run")).values.tolist() == [
        False,
        True,
        False,
    ]


def test_exponents():
    x = xr.DataArray([1.0, 2.0, 4.0], dims="width", coords={"width": [1, 2, 4]})
    values = xr.DataArray([[3.0, 12.0, 48.0], [1.0, 0.0, 1.0]], dims=("seed", "width"), coords=x.coords)
    np.testing.assert_allclose(power_law(x, values, "width"), [2.0, np.nan])
    np.testing.assert_allclose(power_law(x.width, values, "width"), [2.0, np.nan])
    np.testing.assert_allclose(power_law([1, 2, 4], values, "width"), [2.0, np.nan])


def test_runs_side_by_side_keep_the_seeds_that_all_have():
    parts = {"a": xr.DataArray([1.0, 2.0], dims="seed", coords={"seed": [0, 1]})}
    parts["b"] = xr.DataArray([5.0, 6.0], dims="seed", coords={"seed": [1, 2]})
    found = stacked(parts)
    assert found.seed.values.tolist() == [1]
    np.testing.assert_array_equal(found.sel(seed=1), [2.0, 5.0])


def test_a_law_says_where_it_holds():
    law = Law(
        "time",
        "time $T$",
        lambda run: first_step(run.x > 1),
        theory=lambda config: 20.0,
        domain=lambda config: isinstance(config, Own) or "only of some configs",
    )
    run = Run(Own(), xr.Dataset({"x": curves([[0, 2, 2, 2], [0, 0, 2, 2]])}))
    assert (law.applies(Own()), law.predicted(Own()), law.why_not(Own())) == (True, 20.0, "")
    assert (law.applies(Config()), law.predicted(Config())) == (False, None)
    assert law.why_not(Config()) == "only of some configs"
    np.testing.assert_allclose(law.error(run), [0.5, 0.5])
    assert np.isnan(law.error(Run(Config(), run.dataset))).all()


def test_a_value_between_two_places_and_beyond_the_last():
    values = xr.DataArray(
        [[1.0, 0.5, 0.0], [4.0, 2.0, np.nan]], dims=("seed", "radius"), coords={"radius": [0.0, 1.0, 3.0]}
    )
    np.testing.assert_allclose(value_at(values, "radius", 0.5), [0.75, 3.0])
    np.testing.assert_allclose(value_at(values, "radius", 2.0), [0.25, np.nan])
    np.testing.assert_allclose(value_at(values.transpose(), "radius", 9.0), [0.0, np.nan])


def test_rank_correlations_are_spearmans():
    values = xr.DataArray([[1.0, 8, 27, 64], [3, 2, 1, 1], [np.nan, 1, 2, 3]], dims=("seed", "feature"))
    x = xr.DataArray([0, 1, 5, 20], dims="feature")
    tied = -4.5 / np.sqrt(5 * 4.5)  # ranks 4, 3, 1.5, 1.5
    np.testing.assert_allclose(rank_correlation(x, values, "feature"), [1, tied, np.nan])


def test_an_exponent_over_runs_is_that_of_their_configs_numbers():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Sized(Config):
        size: float = setting(1.0, "a size")

    runs = {
        str(n): Run(Sized(size=n), xr.Dataset({"x": ("seed", [2 * n**3, 5 / n, 0.0])})) for n in (1, 2, 4)
    }
    found = exponent_over(lambda config: config.size, lambda run: run.x)(runs)
    np.testing.assert_allclose(found, [3, -1, np.nan])


def test_the_largest_ratio_is_of_neighbours():
    columns = ([4.0, 8.0, 1.0], [2.0, 4.0, np.nan], [3.0, 1.0, 1.0])
    runs = {str(i): Run(Config(), xr.Dataset({"x": ("seed", x)})) for i, x in enumerate(columns)}
    np.testing.assert_allclose(largest_ratio(lambda run: run.x)(runs), [1.5, 0.5, np.nan])


def test_the_largest_over_runs_is_of_the_seeds_that_all_have():
    one = xr.Dataset({"x": ("seed", [1.0, 5.0, 2.0])}, {"seed": [0, 1, 2]})
    other = xr.Dataset({"x": ("seed", [3.0, np.nan])}, {"seed": [0, 2]})
    found = largest_of(lambda run: run.x)({"a": Run(Config(), one), "b": Run(Config(), other)})
    np.testing.assert_array_equal(found, [3.0, np.nan])


def test_a_number_of_each_slice_and_value():
    def number(one, norm):
        if norm == "l0":
            raise ValueError("no such norm")
        return float(one.x) * len(norm)

    coords = {"arm": ["a", "b"], "seed": [3, 5], "norm": ["l2", "l0", "linf"]}
    dataset = xr.Dataset({"x": (("arm", "seed"), [[1.0, 2.0], [3.0, 4.0]])}, coords)
    found = at_each(dataset, ("arm", "seed"), "norm", number, "a size")
    assert found.dims == ("arm", "seed", "norm")
    np.testing.assert_array_equal(found[1], [[6, np.nan, 12], [8, np.nan, 16]])
