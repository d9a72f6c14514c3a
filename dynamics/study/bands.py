"""Bands: what a claim accepts, as values; and numbers that are known up to a range."""

from typing import Literal, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

FEWEST_RESAMPLED = 8
"""Seeds from which on the interval of a mean is a bootstrap's."""


Numbers = Float[np.ndarray, " seeds"] | xr.DataArray


class Band(NamedTuple):
    """What a claim accepts.

    Attributes:
      predicted: the theory's number; None where it gives a bound only.
      low, high: accepted range, ends included (-inf or inf: open).
      over: whether every seed must lie in it, or the mean over seeds.
      seeds: of a mean: how many decide it. Fewer whose mean lies outside, but not each of them, do not.
      deviation: of one seed, where it is known: so many seeds' mean may be off by three standard errors.
    """

    predicted: float | None
    low: float
    high: float
    over: Literal["every seed", "mean"] = "every seed"
    seeds: int = 2
    deviation: float | None = None

    def of(self, seeds: int) -> "Band":
        """The band of so many seeds: the same, but where a seed's deviation is known."""
        if self.deviation is None:
            return self
        error = 3 * self.deviation / seeds**0.5
        band = self._replace(low=self.low - error, high=self.high + error, deviation=None)
        return band if seeds == 1 else typically(band)


def around(predicted: float, *, absolute: float = 0.0, relative: float = 0.0) -> Band:
    """Within an absolute or relative distance of the prediction, every seed."""
    width = absolute + relative * abs(predicted)
    return Band(predicted, predicted - width, predicted + width)


def at_least(low: float, predicted: float | None = None) -> Band:
    """Not below `low`, every seed."""
    return Band(predicted, low, np.inf)


def at_most(high: float, predicted: float | None = None) -> Band:
    """Not above `high`, every seed."""
    return Band(predicted, -np.inf, high)


def between(low: float, high: float, predicted: float | None = None) -> Band:
    """From `low` to `high`, every seed."""
    return Band(predicted, low, high)


def typically(band: Band) -> Band:
    """The band, for the mean over seeds: of as many as a bootstrap is of, if they do not agree."""
    return band._replace(over="mean", seeds=FEWEST_RESAMPLED)


def expected(value: float, deviation: float) -> Band:
    """Within three standard errors of an expectation, for the mean over seeds, or one alone.

    Args: deviation: the standard deviation of one seed.
    """
    return Band(value, value, value, deviation=deviation)


class Bracketed(NamedTuple):
    """Numbers that a run knows only up to a range, such as a time between two records.

    Attributes:
      values: the best guesses.
      low, high: ends of the ranges (inf: open).
      needs: what would narrow them, in words.
    """

    values: Numbers
    low: Numbers
    high: Numbers
    needs: str


MORE_RECORDS = "records nearer to each other (--records)"
