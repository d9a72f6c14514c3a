"""Claims: statements of theorems, each with the band of a quantity and an ablation that breaks it.

A paper's claims are written in two halves, the first shared by all that rest on the same runs:

    CLAIMS = Claims(RUNS)
    plain = CLAIMS.about("standard", where={"training": "standard"}, source="Theorem 4.4")
    plain("A1-clean", "clean test accuracy is 1").holds(lambda run: last(run.accuracy), around(1), NOISY)
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import xarray as xr

from dynamics.study.bands import Band
from dynamics.study.config import Config
from dynamics.study.typeset import escaped, html_table, inline


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that claims rest on; variables of its Dataset are attributes: `run.accuracy`.

    Attributes:
      config: what was run.
      dataset: its result.
    """

    config: Config
    dataset: xr.Dataset

    def __getattr__(self, name: str) -> Any:
        if name in ("config", "dataset"):  # not there yet, while a copy is made
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getitem__(self, name: str) -> xr.DataArray:
        return self.dataset[name]

    def __contains__(self, name: str) -> bool:
        return name in self.dataset

    def at(self, **chosen: Any) -> "Run":
        """The run with a slice of its result, at some coordinates."""
        return Run(self.config, self.dataset.sel(chosen)) if chosen else self


class CheckRun(NamedTuple):
    """A run that `check` makes.

    Attributes:
      config: what is run.
      max_seeds: the most seeds it is worth; None: all that are asked for.
      package: a package that it needs.
      min_seeds: the fewest that decide, for a mean over noisy data sets. Where fewer are asked for, the next
        integers join them.
    """

    config: Config
    max_seeds: int | None = None
    package: str | None = None
    min_seeds: int = 1


class Ablation(NamedTuple):
    """A change under which a claim is expected to fail.

    Attributes:
      about: what is taken away, in words.
      change: config fields replaced in every run that the claim rests on; or a config, perhaps of another
        setting, in place of each.
    """

    about: str
    change: Mapping[str, Any] | Config

    def of(self, config: Config) -> Config:
        """What is run in place of a config."""
        return self.change if isinstance(self.change, Config) else dataclasses.replace(config, **self.change)

    def told(self) -> dict[str, Any]:
        """The change, of a whole config its setting and what is not its default."""
        if not isinstance(self.change, Config):
            return dict(self.change)
        values = {f.name: (getattr(self.change, f.name), f.default) for f in dataclasses.fields(self.change)}
        own = {name: value for name, (value, default) in values.items() if value != default}
        return {"setting": type(self.change).__name__} | own


Given = Any
"""What a claim's functions are given: its run, or, if it rests on several, these by name."""


def _nothing(given: Given) -> str:
    return ""


@dataclasses.dataclass(frozen=True)
class Claim:
    """A statement of a theorem, as something that can fail.

    Its functions are given the run that it rests on, or several by name; `band` their configs likewise.

    Attributes:
      id: short name, unique in its experiment.
      source: theorem, proposition or figure of the paper, or who derived it.
      statement: one sentence.
      quantity: one number a seed (a DataArray along `seed`, or an array), one for all, or `Bracketed` ones.
      band: what is accepted: a `Band`, or a function of configs.
      ablation: under which change the claim should fail.
      runs: names of the experiment's runs that the claim needs.
      where: coordinates at which their results are taken.
      applies: whether a single run of this config can decide the claim; None: only `check` can.
      needs: what the runs have too few of to decide it (records, points, ...), in words; "": nothing.
      formula: what it says, in LaTeX without `$`, typeset beside the statement; "": words say it all.
    """

    id: str
    source: str
    statement: str
    quantity: Callable[[Given], Any]
    band: Band | Callable[[Any], Band]
    ablation: Ablation
    runs: tuple[str, ...] = ("main",)
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    applies: Callable[[Any], bool] | None = None
    needs: Callable[[Given], str] = _nothing
    formula: str = ""

    def given(self, runs: Mapping[str, Run]) -> Given:
        """What the quantity is given of these runs."""
        chosen = {name: runs[name].at(**self.where) for name in self.runs}
        return chosen if len(chosen) > 1 else chosen[self.runs[0]]

    def accepts(self, runs: Mapping[str, Run]) -> Band:
        """The band for these runs, of so many seeds."""
        band = self.band
        if not isinstance(band, Band):
            configs = {name: runs[name].config for name in self.runs}
            band = band(configs if len(configs) > 1 else configs[self.runs[0]])
        return band.of(max(run.dataset.sizes.get("seed", 1) for run in runs.values()))


class Claims(Sequence[Claim]):
    """A paper's claims, in the order in which they are made, and the runs that they rest on.

    Attributes: runs: by name.
    """

    def __init__(self, runs: Mapping[str, CheckRun]):
        self.runs = dict(runs)
        self._made: list[Claim] = []

    def __getitem__(self, place):
        return self._made[place]

    def __len__(self) -> int:
        return len(self._made)

    def __repr__(self) -> str:
        return "\n".join(f"{claim.id}: {claim.statement} ({claim.source})" for claim in self)

    def _repr_html_(self) -> str:
        head = ("claim", "statement", "formula", "source")
        cells = ((escaped(c.id), escaped(c.statement), inline(c.formula), escaped(c.source)) for c in self)
        return html_table(head, cells)

    def about(
        self,
        *runs: str,
        source: str,
        where: Mapping[str, Any] | None = None,
        applies: Callable[[Any], bool] | None = None,
        needs: Callable[[Given], str] = _nothing,
    ) -> Callable[[str, str], "Statement"]:
        """The first half of claims: what they rest on; it is called with an id and a statement.

        Args: as the attributes of `Claim`.

        Raises: ValueError: no such run.
        """
        if missing := [name for name in runs if name not in self.runs]:
            raise ValueError(f"there is no run {missing[0]!r}; there are {', '.join(self.runs)}")
        common = {"source": source, "runs": runs, "where": where or {}, "applies": applies, "needs": needs}
        return lambda id, statement: Statement(self, id, statement, common)

    def hold(self, *claims: tuple) -> None:
        """Take in claims, row by row: what `about` gave, id, statement, quantity, band, ablation and formula.

        Raises: ValueError: as `add`.
        """
        for about, id, statement, *decided in claims:
            about(id, statement).holds(*decided)

    def add(self, claim: Claim) -> Claim:
        """Take a claim in.

        Raises: ValueError: an id that is there already, or an ablation of a field that a run does not have.
        """
        if any(claim.id == other.id for other in self._made):
            raise ValueError(f"there are two claims {claim.id}")
        for name in claim.runs:
            fields = {field.name for field in dataclasses.fields(self.runs[name].config)}
            changed = () if isinstance(claim.ablation.change, Config) else claim.ablation.change
            if unknown := set(changed) - fields:
                raise ValueError(
                    f"{claim.id}: its ablation changes {min(unknown)}, which {name} does not have"
                )
        self._made.append(claim)
        return claim


class Statement(NamedTuple):
    """A claim but for what would decide it."""

    claims: Claims
    id: str
    statement: str
    common: Mapping[str, Any]

    def holds(
        self,
        quantity: Callable[[Given], Any],
        band: Band | Callable[[Any], Band],
        ablation: Ablation,
        formula: str = "",
        **other: Any,
    ) -> Claim:
        """The claim that the quantity lies in the band, and leaves it under the ablation.

        Args:
          formula: what the statement says, in LaTeX; "": words say it all.
          other: attributes of `Claim` in place of those that were said first.

        Raises: ValueError: as `Claims.add`.
        """
        about = {"quantity": quantity, "band": band, "ablation": ablation, "formula": formula}
        return self.claims.add(Claim(self.id, statement=self.statement, **about, **{**self.common, **other}))


def enough(*fields: str, of: str = "points", fewest: int = 100) -> Callable[[Run], str]:
    """What a run has too few of, by fields of its config, where numbers are shares of them: a `needs`."""

    def needs(run: Run) -> str:
        few = [name for name in fields if getattr(run.config, name) < fewest]
        return f"at least {fewest} {of} ({', '.join(few)})" if few else ""

    return needs


def set_as(config: Config, default: Config, *free: str) -> bool:
    """Whether a config is `default` but for some fields: the setting that a band was measured in."""
    names = [field.name for field in dataclasses.fields(default) if field.name not in free]
    return all(getattr(config, name) == getattr(default, name) for name in names)
