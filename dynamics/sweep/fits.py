"""Power laws: the exponent of a measured quantity in a setting, with an interval over seeds."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real

from dynamics.study.bands import FEWEST_RESAMPLED
from dynamics.study.verdict import MOST_RESAMPLED, resampled_means


class PowerLaw(NamedTuple):
    """y = factor * x ** exponent, with the 95 % interval of the exponent; None for a single seed."""

    exponent: float
    interval: tuple[float, float] | None
    factor: float

    def at(self, x: Real[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
        """The fitted values."""
        return self.factor * np.asarray(x, float) ** self.exponent


def power_law(
    x: Real[np.ndarray, " points"],
    values: Float[np.ndarray, "points seeds"],
    *,
    level: float = 0.95,
    resamples: int = 10_000,
) -> PowerLaw | None:
    """Least squares of the logarithm of the mean over seeds against the logarithm of x.

    The interval is of the kind of `claims.mean_interval`: a widened percentile bootstrap, for which seeds are
    drawn anew, for each point by itself, as no two points need to have anything in common; of few seeds, or
    very many, Student's. Points where any value is missing are left out.

    Returns: None for fewer than three points, or where x or a mean is not above 0.
    """
    x, values = np.asarray(x, float), np.asarray(values, float)
    whole = np.isfinite(values).all(axis=1)
    x, values = x[whole], values[whole]
    if len(x) < 3 or (x <= 0).any() or (values.mean(axis=1) <= 0).any():
        return None
    centred = np.log(x) - np.log(x).mean()
    weights = centred / (centred**2).sum()
    logs = np.log(values.mean(axis=1))
    exponent = float(weights @ logs)
    factor = float(np.exp(logs.mean() - exponent * np.log(x).mean()))
    count = values.shape[1]
    if count < 2:
        return PowerLaw(exponent, None, factor)
    from scipy.special import ndtr, stdtrit

    quantile = stdtrit(len(x) * (count - 1), (1 + level) / 2)
    if not FEWEST_RESAMPLED <= count <= MOST_RESAMPLED:
        errors = values.std(axis=1, ddof=1) / np.sqrt(count) / values.mean(axis=1)  # of the logarithms
        half = quantile * float(np.linalg.norm(weights * errors))
        return PowerLaw(exponent, (exponent - half, exponent + half), factor)
    rng = np.random.default_rng(0)
    means = np.stack([resampled_means(rng, row, resamples) for row in values])
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample of values of both signs
        slopes = weights @ np.log(means)
    tail = ndtr(-np.sqrt(count / (count - 1)) * quantile)
    low, high = np.quantile(slopes[np.isfinite(slopes)], [tail, 1 - tail])
    return PowerLaw(exponent, (float(low), float(high)), factor)
