"""Helpers for quantities: numbers of a run that keep `seed`, and any axis of a sweep, and reduce all else.

A quantity is a plain function of a Dataset, in the words of xarray: `lambda run: last(run.accuracy)`. These
helpers are what several papers need; each says what becomes of values that are missing.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Real

Points = xr.DataArray | Real[np.ndarray, " points"] | Sequence[int | float]


def first(values: xr.DataArray) -> xr.DataArray:
    """The values at the first record, without the dim `step`."""
    return values.isel(step=0, drop=True)


def last(values: xr.DataArray) -> xr.DataArray:
    """The values at the last record, without the dim `step`; of what is recorded at the end only, all."""
    return values.isel(step=-1, drop=True, missing_dims="ignore")


def first_step(happened: xr.DataArray) -> xr.DataArray:
    """The first recorded step at which a condition holds, without the dim `step`; NaN if it never does.

    `first_step(dataset.train_accuracy >= 1)`: known up to the distance of recording times.

    Raises: ValueError: no dimension `step`.
    """
    if "step" not in happened.dims:
        raise ValueError(f"a condition needs the dimension step, got {happened.dims}")
    return happened.step.where(happened).min("step")


def passed_between(happened: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """The recorded steps before and at which a condition first holds, without the dim `step`.

    Both are the first record, where it holds there; inf is the later one, where it never does.

    Raises: ValueError: no dimension `step`.
    """
    first = first_step(happened)
    after = first.fillna(np.inf)
    return happened.step.where(happened.step < after).max("step").fillna(first), after


def first_above(values: xr.DataArray, level: float) -> xr.DataArray:
    """The first step at which a curve is above a level, linear between records; NaN if it never is.

    It is the first record, where the curve starts above. Records that are missing are left out.

    Raises: ValueError: no dimension `step`.
    """
    if "step" not in values.dims:
        raise ValueError(f"a curve needs the dimension step, got {values.dims}")

    def one(curve, steps):
        there = np.isfinite(curve)  # in a sweep, points of other lengths have other records
        curve, steps = curve[there], steps[there]
        above = np.flatnonzero(curve > level)
        if above.size == 0:
            return np.nan
        j = above[0]
        return np.interp(level, curve[j - 1 : j + 1], steps[j - 1 : j + 1]) if j else float(steps[0])

    return xr.apply_ufunc(one, values, values.step, input_core_dims=[["step"]] * 2, vectorize=True)


def hitting_time(learned: xr.DataArray, left: float = 0.1) -> xr.DataArray:
    r"""The first step at which no more than a share `left` of a target remains, from the share `learned`.

    Linear between records in $\ln(1 - \mathrm{learned})$, so exact for modes that decay exponentially; NaN if
    it never is. What is wholly learned counts as 1e-300 left.

    Raises: ValueError: no dimension `step`, or a share that is not between 0 and 1.
    """
    if not 0 < left < 1:
        raise ValueError(f"left must be between 0 and 1, both excluded, got {left}")
    return first_above(-np.log((1 - learned).clip(min=1e-300)), -np.log(left))


def amplitude(values: xr.DataArray, frequency: int | xr.DataArray, dim: str = "point") -> xr.DataArray:
    r"""Amplitude of $\cos k\varphi$ in values on the regular grid $\varphi_i = 2\pi i / N$ of the circle.

    $\sum_i f_i \cos k\varphi_i / \sum_i \cos^2 k\varphi_i$, without the dimension `dim` of the points.

    Args:
      frequency: k, or several, as an array with a dimension of its own or one that `values` have too.

    Raises: ValueError: no such dimension, or frequencies that the grid does not tell apart.
    """
    if dim not in values.dims:
        raise ValueError(f"values must have the dimension {dim}, got {', '.join(map(str, values.dims))}")
    count = values.sizes[dim]
    if np.any((np.asarray(frequency) < 0) | (2 * np.asarray(frequency) > count)):
        raise ValueError(f"frequencies must be from 0 to {count / 2:g}, half of the points")
    wave = np.cos(frequency * xr.DataArray(2 * np.pi * np.arange(count) / count, dims=dim))
    return (values * wave).sum(dim, skipna=False) / (wave**2).sum(dim)


def falls_between(
    times: Float[np.ndarray, " times"], rest: Float[np.ndarray, " times"], left: float
) -> tuple[float, float]:
    """What the time lies between at which a curve falls below a share `left`, by its records.

    Where the lines through this, the last and the next two records pass: a curve whose logarithm bends to one
    side lies between them; beside the first or last record it may pass anywhere between the two, and after
    the last one any time later.
    """
    below = np.flatnonzero(rest < left)
    if not below.size:
        return float(times[-1]), np.inf
    i = below[0]
    if i == 0:
        return 0.0, 0.0
    if i < 2 or i + 1 == len(times):
        return float(times[i - 1]), float(times[i])
    height = np.log(np.maximum(np.abs(rest[i - 2 : i + 2]), 1e-300)) - np.log(left)
    near = times[i - 2 : i + 2]
    with np.errstate(divide="ignore"):
        passes = near[:-1] - height[:-1] * np.diff(near) / np.diff(height)
    passes = np.clip(np.nan_to_num(passes, nan=near[2]), near[1], near[2])
    return float(passes.min()), float(passes.max())


def slope(x: Points, values: xr.DataArray, dim: str) -> xr.DataArray:
    """Least-squares slope of `values` in `x` along `dim`; NaN for missing values, or if all x are equal."""
    x = x if isinstance(x, xr.DataArray) else xr.DataArray(np.asarray(x, float), dims=dim)
    x = x.drop_vars(dim, errors="ignore").astype(float)
    values = values.drop_vars(dim, errors="ignore")
    x = x - x.mean(dim)
    square = (x**2).sum(dim)
    return (x * values).sum(dim, skipna=False) / square.where(square > 0)


def power_law(x: Points, values: xr.DataArray, dim: str) -> xr.DataArray:
    """Exponent of a power law: the slope of log `values` in log `x`; NaN also where one is not positive."""
    x = x if isinstance(x, xr.DataArray) else xr.DataArray(np.asarray(x, float), dims=dim)
    return slope(np.log(x.where(x > 0)), np.log(values.where(values > 0)), dim)


def exponent_over(
    number: Callable[[Any], float], quantity: Callable[[Any], xr.DataArray], names: Iterable[str] = ()
) -> Callable[[Mapping[str, Any]], xr.DataArray]:
    """Of several runs (or those of some names) the exponent of a number of their configs in a quantity.

    NaN as in `power_law`.
    """

    def exponent(runs):
        chosen = {name: runs[name] for name in names or runs}
        values = stacked({name: quantity(run) for name, run in chosen.items()})
        return power_law([number(run.config) for run in chosen.values()], values, "run")

    return exponent


def largest_of(quantity: Callable[[Any], xr.DataArray]) -> Callable[[Mapping[str, Any]], xr.DataArray]:
    """Of several runs, the largest of a quantity, of the seeds that all have; NaN if one is missing."""

    def largest(runs):
        return stacked({name: quantity(run) for name, run in runs.items()}).max("run", skipna=False)

    return largest


def largest_ratio(quantity: Callable[[Any], xr.DataArray]) -> Callable[[Mapping[str, Any]], xr.DataArray]:
    """Of several runs, the largest ratio of a quantity to that of the run before; NaN if one is missing."""

    def ratio(runs):
        values = stacked({name: quantity(run) for name, run in runs.items()})
        return (values / values.shift(run=1)).isel(run=slice(1, None)).max("run", skipna=False)

    return ratio


def stacked(parts: dict[str, xr.DataArray], dim: str = "run") -> xr.DataArray:
    """Numbers of several runs along a new dimension; of seeds, those that all have."""
    whole = xr.concat(
        list(parts.values()),
        xr.IndexVariable(dim, list(parts)),
        join="inner",
        coords="minimal",
        compat="override",
    )
    return whole


def at_each(
    dataset: xr.Dataset, dims: Sequence[str], by: str, number: Callable[[xr.Dataset, Any], float], about: str
) -> xr.DataArray:
    """A number for all coordinates of some dimensions, and all values of one more.

    Args:
      number: given the slice at the coordinates, and the value; NaN stands where it raises ValueError.
      about: what it is, for an axis.
    """

    def known(one, value):
        try:
            return number(one, value)
        except ValueError:
            return np.nan

    places = itertools.product(*(dataset[dim].values for dim in dims))
    slices = (dataset.sel(dict(zip(dims, place, strict=True))) for place in places)
    found = [known(one, value) for one in slices for value in dataset[by].values.tolist()]
    whole = (*dims, by)
    shape = [dataset.sizes[dim] for dim in whole]
    return xr.DataArray(np.reshape(found, shape), dims=whole, attrs={"long_name": about})


def value_at(values: xr.DataArray, dim: str, place: float) -> xr.DataArray:
    """Values at a place along `dim`, linear between neighbours; beyond an end the values there."""
    return xr.apply_ufunc(
        lambda row, places: np.interp(place, places, row),
        values,
        values[dim],
        input_core_dims=[[dim]] * 2,
        vectorize=True,
    )


def rank_correlation(x: xr.DataArray, values: xr.DataArray, dim: str) -> xr.DataArray:
    """Spearman's correlation of `x` and `values` along `dim`; NaN for missing values, or if all are equal."""
    from scipy import stats

    return xr.apply_ufunc(
        lambda one, other: stats.spearmanr(one, other).statistic,
        x,
        values,
        input_core_dims=[[dim]] * 2,
        vectorize=True,
    )
