"""Claims: statements of theorems, evaluated over seeds, each with an ablation that breaks it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from dynamics.config import Config

FEWEST_RESAMPLED = 8
"""Seeds from which on an interval is a bootstrap's."""


class Run(NamedTuple):
    """A run that a claim rests on."""

    config: Config
    dataset: xr.Dataset


class Band(NamedTuple):
    """What a claim accepts.

    Attributes:
      predicted: the theory's number; None where it gives a bound only.
      low, high: accepted range, ends included (-inf or inf: open).
      over: whether every seed must lie in it, or the mean over seeds.
    """

    predicted: float | None
    low: float
    high: float
    over: Literal["every seed", "mean"] = "every seed"


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
    """The band, for the mean over seeds."""
    return band._replace(over="mean")


class Ablation(NamedTuple):
    """A change under which a claim is expected to fail.

    Attributes:
      about: what is taken away, in words.
      change: config fields replaced in every run that the claim rests on.
    """

    about: str
    change: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement of a theorem, as something that can fail.

    Attributes:
      id: short name, unique in its experiment.
      source: theorem, proposition or figure of the paper, or who derived it.
      statement: one sentence.
      measure: one number a seed from the runs, by name.
      accept: the accepted band, from the same runs (their configs, not their outcome).
      ablation: under which change the claim should fail.
      runs: names of the experiment's runs that the claim needs.
      applies: whether a single run of this config can decide the claim; None: only `check` can.
    """

    id: str
    source: str
    statement: str
    measure: Callable[[Mapping[str, Run]], Float[np.ndarray, " seeds"]]
    accept: Callable[[Mapping[str, Run]], Band]
    ablation: Ablation
    runs: tuple[str, ...] = ("main",)
    applies: Callable[[Any], bool] | None = None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a claim: one number a seed, their mean with a 95% interval, and whether it holds."""

    id: str
    source: str
    statement: str
    predicted: float | None
    measured: float | None
    interval: tuple[float, float] | None
    per_seed: tuple[float | None, ...]
    holds: bool
    tolerance: dict[str, Any]
    ablation: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what is not finite is null."""
        return dataclasses.asdict(self) | {
            "interval": None if self.interval is None else list(self.interval),
            "per_seed": list(self.per_seed),
        }


def judge(claim: Claim, runs: Mapping[str, Run]) -> Verdict:
    """Evaluate `claim` on its runs; a seed whose number is not finite makes it fail."""
    with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite makes the claim fail, below
        values = np.atleast_1d(np.asarray(claim.measure(runs), dtype=float))
    band = claim.accept(runs)
    judged = values if band.over == "every seed" else np.asarray([values.mean()])
    holds = bool(np.all(np.isfinite(values)) and np.all((judged >= band.low) & (judged <= band.high)))
    return Verdict(
        id=claim.id,
        source=claim.source,
        statement=claim.statement,
        predicted=_finite(band.predicted),
        measured=_finite(values.mean()),
        interval=mean_interval(values),
        per_seed=tuple(_finite(v) for v in values),
        holds=holds,
        tolerance={"low": _finite(band.low), "high": _finite(band.high), "over": band.over},
        ablation={"about": claim.ablation.about, "change": dict(claim.ablation.change), "holds": None},
    )


def mean_interval(
    values: Float[np.ndarray, " seeds"], level: float = 0.95, resamples: int = 10_000
) -> tuple[float, float] | None:
    """Interval of the mean over seeds; None for fewer than two finite values.

    From `FEWEST_RESAMPLED` seeds on a percentile bootstrap, widened as Hesterberg (2015,
    doi:10.1080/00031305.2015.1089789) has it; a bootstrap of fewer covers far less than it says, so below
    it is Student's. The resampling is seeded: equal values give equal intervals.
    """
    count = values.size
    if count < 2 or not np.all(np.isfinite(values)):
        return None
    from scipy.special import ndtr, stdtrit

    quantile = stdtrit(count - 1, (1 + level) / 2)
    if count < FEWEST_RESAMPLED:
        half = quantile * values.std(ddof=1) / np.sqrt(count)
        return float(values.mean() - half), float(values.mean() + half)
    tail = ndtr(-np.sqrt(count / (count - 1)) * quantile)
    chosen = np.random.default_rng(0).integers(0, count, (resamples, count))
    low, high = np.quantile(values[chosen].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)


def _finite(value):
    return None if value is None or not np.isfinite(value) else float(value)


def tally(holds: Sequence[bool], which: str = "") -> str:
    """How many claims hold, in words; `which` says which claims they are."""
    many = len(holds) != 1
    return f"{sum(holds)} of {len(holds)} claim{'s' * many}{which} hold{'s' * (not many)}"


def table(verdicts: list[Verdict]) -> str:
    """The verdicts as lines of text: mark, id, measured with interval, predicted, accepted, statement."""
    lines = []
    for v in verdicts:
        spread = "" if v.interval is None else f" [{v.interval[0]:.4g}, {v.interval[1]:.4g}]"
        measured = "not finite" if v.measured is None else f"{v.measured:.4g}{spread}"
        predicted = "" if v.predicted is None else f", predicted {v.predicted:.4g}"
        low, high = v.tolerance["low"], v.tolerance["high"]
        ends = [f">= {low:.4g}" if low is not None else "", f"<= {high:.4g}" if high is not None else ""]
        accepted = " and ".join(end for end in ends if end)
        lines.append(f"{'HOLDS' if v.holds else 'FAILS'}  {v.id}: {v.statement} ({v.source})")
        lines.append(f"       measured {measured}{predicted}; accepted {accepted} ({v.tolerance['over']})")
        if v.ablation["holds"] is not None:
            lines.append(f"       ablation: {ablated(v.ablation)}")
    return "\n".join(lines)


def ablated(ablation: Mapping[str, Any]) -> str:
    """What was taken away from a claim, and what became of it, in words; `ablation` as in a verdict."""
    measured = ablation.get("measured")
    number = "nothing finite to measure" if measured is None else f"{measured:.4g}"
    word = "still holds (it should fail)" if ablation["holds"] else "fails, as it should"
    return f"{ablation['about']}: {word}; {number}"
