"""Verdicts: what became of claims over seeds, with means, intervals and the outcome of ablations."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from dynamics.study.bands import FEWEST_RESAMPLED, Band, Bracketed
from dynamics.study.claim import Claim, Run
from dynamics.study.typeset import escaped, html_table, inline

if TYPE_CHECKING:
    import pandas

MOST_RESAMPLED = 1_000
"""Seeds up to which an interval is a bootstrap's: of more the mean is as good as normal."""
BLOCK = 2**20
"""Indices that a bootstrap draws at a time."""
_NUMBERS = ("measured", "interval_low", "interval_high", "predicted", "accepted_low", "accepted_high")
_NUMBERS += ("ablation_measured",)
MARKS = {True: "✓ holds", False: "✗ fails", None: "? undecided"}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a claim: one number a seed, their mean with a 95% interval, and whether it holds.

    `holds` is None where the runs do not decide it; `needs` then says what would.
    """

    id: str
    source: str
    statement: str
    predicted: float | None
    measured: float | None
    interval: tuple[float, float] | None
    per_seed: tuple[float | None, ...]
    holds: bool | None
    needs: str
    tolerance: dict[str, Any]
    ablation: dict[str, Any]
    formula: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; what is not finite is null."""
        return dataclasses.asdict(self) | {
            "interval": None if self.interval is None else list(self.interval),
            "per_seed": list(self.per_seed),
        }


class Verdicts(list[Verdict]):
    """A list of verdicts that shows itself as a table, in text and in notebooks."""

    def __getitem__(self, place):
        found = super().__getitem__(place)
        return Verdicts(found) if isinstance(place, slice) else found

    def __repr__(self) -> str:
        return f"{tally([v.holds for v in self])}\n\n{table(self)}" if self else "no claim is decided"

    def _repr_html_(self) -> str:
        head = ("verdict", "claim", "formula", "measured [95 % interval]", "predicted", "accepted")
        return f"<p>{escaped(tally([v.holds for v in self]))}</p>" + html_table(head, map(_cells, self))

    def to_dataframe(self) -> "pandas.DataFrame":
        """A row a verdict, by claim: as `Verdict`, with a column for each end of interval and band.

        `holds` and `ablation_holds` are of pandas' own boolean type: undecided, or not run, is `<NA>`.
        """
        import pandas as pd

        ends = {"low": 0, "high": 1}
        rows = {
            v.id: {
                "holds": v.holds,
                "measured": v.measured,
                **{f"interval_{end}": v.interval[i] if v.interval else None for end, i in ends.items()},
                "predicted": v.predicted,
                **{f"accepted_{end}": v.tolerance[end] for end in ends},
                "over": v.tolerance["over"],
                "seeds": len(v.per_seed),
                "needs": v.needs,
                "ablation": v.ablation["about"],
                "ablation_holds": v.ablation["holds"],
                "ablation_measured": v.ablation.get("measured"),
                "statement": v.statement,
                "formula": v.formula,
                "source": v.source,
            }
            for v in self
        }
        found = pd.DataFrame.from_dict(rows, orient="index").rename_axis("claim")
        truths = dict.fromkeys(("holds", "ablation_holds"), "boolean")
        return found.astype(truths | dict.fromkeys(_NUMBERS, float)) if self else found


def _cells(verdict: Verdict) -> tuple[str, ...]:
    """A verdict as cells of an HTML table."""
    shown = told(verdict.to_dict())
    notes = (escaped(shown[name]) for name in ("needs", "ablation") if shown[name])
    more = "".join(f"<br><small>{note}</small>" for note in notes)
    words = f"<b>{escaped(verdict.id)}</b>: {escaped(verdict.statement)} ({escaped(verdict.source)}){more}"
    numbers = (escaped(shown[name]) for name in ("measured", "predicted", "accepted"))
    return (MARKS[verdict.holds], words, inline(verdict.formula), *numbers)


def told(verdict: Mapping[str, Any]) -> dict[str, str]:
    """What a page shows of a verdict as `to_dict` writes it: numbers, band, needs and ablation in words."""
    spread = "" if verdict["interval"] is None else " [{:.4g}, {:.4g}]".format(*verdict["interval"])
    measured = verdict["measured"]
    return {
        "measured": "not finite" if measured is None else f"{measured:.4g}{spread}",
        "predicted": "" if verdict["predicted"] is None else f"{verdict['predicted']:.4g}",
        "accepted": accepted(verdict["tolerance"], "≥", "≤"),
        "needs": f"needs {verdict['needs']}" if verdict["holds"] is None else "",
        "ablation": f"ablation: {ablated(verdict['ablation'])}" if was_ablated(verdict["ablation"]) else "",
    }


def accepted(tolerance: Mapping[str, Any], least: str = ">=", most: str = "<=") -> str:
    """A band in words, with what it is over: "= 1 (mean)" where its ends are one number."""
    low, high = tolerance["low"], tolerance["high"]
    ends = [f"{least} {low:.4g}"] if low is not None else []
    ends += [f"{most} {high:.4g}"] if high is not None else []
    words = f"= {low:.4g}" if low is not None and low == high else " and ".join(ends)
    return f"{words} ({tolerance['over']})"


def judge(claim: Claim, runs: Mapping[str, Run]) -> Verdict:
    """Evaluate `claim` on its runs; a seed whose number is not finite makes it fail.

    It is undecided where the runs lack what `claim.needs`, where a `Bracketed` number may lie in the band or
    outside of it, and where too few seeds tell of a mean: one alone, or fewer than `Band.seeds` that differ.
    """
    with np.errstate(divide="ignore", invalid="ignore"):  # what is not finite makes the claim fail, below
        found = claim.quantity(given := claim.given(runs))
        found = found if isinstance(found, Bracketed) else Bracketed(found, found, found, "")
        values, low, high = (_numbers(part, claim.id) for part in found[:3])
    band = claim.accepts(runs)
    seeds = max((run.dataset.sizes.get("seed", 1) for run in runs.values()), default=values.size)
    holds, needs = _decided(Bracketed(values, low, high, found.needs), band, seeds)
    if lacking := claim.needs(given):
        holds, needs = None, lacking
    return Verdict(
        id=claim.id,
        source=claim.source,
        statement=claim.statement,
        predicted=_finite(band.predicted),
        measured=_finite(values.mean()) if values.size else None,
        interval=mean_interval(values),
        per_seed=tuple(_finite(v) for v in values),
        holds=holds,
        needs=needs,
        tolerance={"low": _finite(band.low), "high": _finite(band.high), "over": band.over},
        ablation={"about": claim.ablation.about, "change": claim.ablation.told(), "holds": None},
        formula=claim.formula,
    )


def _numbers(found, name: str) -> np.ndarray:
    """One number a seed, or one for all; a dimension of one value, such as the only arm of a run, is none."""
    if isinstance(found, xr.DataArray):
        found = found.squeeze([dim for dim, size in found.sizes.items() if size == 1 and dim != "seed"])
        if left := [str(dim) for dim in found.dims if dim != "seed"]:
            raise ValueError(
                f"the quantity of {name} must have no dimension but seed, it has {', '.join(left)}"
            )
    return np.atleast_1d(np.asarray(found, dtype=float))


def _decided(found: Bracketed, band: Band, seeds: int) -> tuple[bool | None, str]:
    """Whether numbers lie in the band; if that is open, None and what would tell."""
    values, low, high, needs = found
    if values.size == 0:
        return None, "a seed that it is about"
    if not np.all(np.isfinite(values)):
        return False, ""
    below, above = high < band.low, low > band.high
    if band.over == "mean":
        if seeds == 1:
            return None, "at least 2 seeds: it is about their mean"
        enough = values.size >= band.seeds or below.all() or above.all()
        low, high = low.mean(keepdims=True), high.mean(keepdims=True)
        below, above = high < band.low, low > band.high
        if (below | above).any() and not enough:
            return None, f"at least {band.seeds} seeds: the mean of these lies outside, but not each of them"
    if np.any(below | above):
        return False, ""
    inside = (low >= band.low) & (high <= band.high)
    if inside.all():
        return True, ""
    first = int(np.argmin(inside))
    return None, f"{needs}: it lies between {low[first]:.4g} and {high[first]:.4g}"


def mean_interval(
    values: Float[np.ndarray, " seeds"], level: float = 0.95, resamples: int = 10_000
) -> tuple[float, float] | None:
    """Interval of the mean over seeds; None for fewer than two finite values.

    From `FEWEST_RESAMPLED` seeds on a percentile bootstrap, widened as Hesterberg (2015,
    doi:10.1080/00031305.2015.1089789) has it; a bootstrap of fewer covers far less than it says, so below
    it is Student's, and so above `MOST_RESAMPLED`. The resampling is seeded: equal values give equal
    intervals.
    """
    count = values.size
    if count < 2 or not np.all(np.isfinite(values)):
        return None
    from scipy.special import ndtr, stdtrit

    quantile = stdtrit(count - 1, (1 + level) / 2)
    if not FEWEST_RESAMPLED <= count <= MOST_RESAMPLED:
        half = quantile * values.std(ddof=1) / np.sqrt(count)
        return float(values.mean() - half), float(values.mean() + half)
    tail = ndtr(-np.sqrt(count / (count - 1)) * quantile)
    means = resampled_means(np.random.default_rng(0), values, resamples)
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)


def resampled_means(
    rng: np.random.Generator, values: Float[np.ndarray, " seeds"], resamples: int
) -> Float[np.ndarray, " resamples"]:
    """Means of as many values drawn with replacement, `BLOCK` indices at a time: the numbers of one draw."""
    rows = max(BLOCK // values.size, 1)
    means = np.empty(resamples)
    for start in range(0, resamples, rows):
        part = means[start : start + rows]
        part[:] = values[rng.integers(0, values.size, (part.size, values.size))].mean(axis=1)
    return means


def _finite(value):
    return None if value is None or not np.isfinite(value) else float(value)


def tally(holds: Sequence[bool | None], which: str = "") -> str:
    """How many claims hold, in words; `which` says which claims they are. Undecided ones are said apart."""
    many = len(holds) != 1
    counts = {value: sum(each is value for each in holds) for value in (True, False, None)}
    words = f"{counts[True]} of {len(holds)} claim{'s' * many}{which} hold{'s' * (not many)}"
    if counts[None]:
        words += f", {counts[None]} undecided"
        words += f", {counts[False]} fail{'s' * (counts[False] == 1)}" if counts[False] else ""
    return words


def table(verdicts: Sequence[Verdict]) -> str:
    """The verdicts as lines of text: mark, id, measured with interval, predicted, accepted, statement."""
    lines = []
    for v in verdicts:
        spread = "" if v.interval is None else f" [{v.interval[0]:.4g}, {v.interval[1]:.4g}]"
        measured = "not finite" if v.measured is None else f"{v.measured:.4g}{spread}"
        predicted = "" if v.predicted is None else f", predicted {v.predicted:.4g}"
        mark = {True: "HOLDS", False: "FAILS", None: "UNDECIDED"}[v.holds]
        lines.append(f"{mark}  {v.id}: {v.statement} ({v.source})")
        lines.append(f"       measured {measured}{predicted}; accepted {accepted(v.tolerance)}")
        if v.holds is None:
            lines.append(f"       needs {v.needs}")
        if was_ablated(v.ablation):
            lines.append(f"       ablation: {ablated(v.ablation)}")
    return "\n".join(lines)


def was_ablated(ablation: Mapping[str, Any]) -> bool:
    """Whether a verdict's claim was run under its ablation too, with an outcome or without."""
    return ablation["holds"] is not None or "needs" in ablation


def ablated(ablation: Mapping[str, Any]) -> str:
    """What was taken away from a claim, and what became of it, in words; `ablation` as in a verdict."""
    measured = ablation.get("measured")
    number = "nothing finite to measure" if measured is None else f"{measured:.4g}"
    word = {True: "still holds (it should fail)", False: "fails, as it should"}.get(
        ablation["holds"], f"undecided (it should fail), needs {ablation.get('needs')}"
    )
    return f"{ablation['about']}: {word}; {number}"
