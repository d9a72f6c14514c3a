"""An experiment: a config, a way to run it for many seeds, its claims and its figures."""

import dataclasses
import importlib.util
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import xarray as xr

from dynamics import results
from dynamics.draw.gallery import Pictures
from dynamics.engine.checks import seed_list
from dynamics.engine.gather import Gather
from dynamics.engine.simulate import Interrupted, Unfinished
from dynamics.keys import fixed_generator
from dynamics.study.claim import CheckRun, Claim, Run
from dynamics.study.config import Config
from dynamics.study.law import Law
from dynamics.study.verdict import Verdict, judge

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Engine(NamedTuple):
    """How a run is made, whatever its config: passed on to `simulate` as keywords."""

    seeds: Sequence[int]
    checkpoint: Path | None = None
    checkpoint_every: bool = True
    strategy: str = "auto"
    engine: str = "auto"
    memory: int | None = None
    share: tuple[int, int] | None = None
    gather: Gather | None = None

    def keywords(self, name: str) -> dict[str, Any]:
        """Keywords for the `simulate` call of one arm of the run."""
        folder = None if self.checkpoint is None else Path(self.checkpoint) / name
        return self._asdict() | {"checkpoint": folder, "label": name}


def _no_summary(dataset: xr.Dataset) -> str:
    """Lines of text about a Dataset, where an experiment has some; this one has none."""
    return ""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One paper's setting, claims and figures; what `experiments.get(name)` returns.

    Attributes:
      name: the experiment's name.
      title, arxiv: the paper.
      about: one line on what is shown.
      Config: the config class.
      presets: configs by name, `small` and `paper` among them.
      simulate: trains one config; called with an `Engine`.
      claims: what the paper says.
      check_runs: the runs that claims name.
      figures: figures by name from a Dataset alone; the first is `plot`'s.
      summary: lines of text about a Dataset, printed after a run and in its report; "": none.
      animations: moving pictures by name, each a function of a Dataset and the path of a GIF.
      measures: what a sweep shows unless asked for something else: `Law`s, or names of variables.
      gallery: its folders of pictures in figures/, each with the command that makes them.
      cite, short, claimed: for the table of the README: authors and year, the subject in a few words,
        and what the paper claims, in a sentence.
      shown: what that table links: files of figures/NAME by a word.
      reference: `FILE.py:NAME` of an experiment in a file of the user's own; "" for the built-in ones.
      sha256: of that file.
    """

    name: str
    title: str
    arxiv: str
    about: str
    Config: type[Config]
    presets: Mapping[str, Config]
    simulate: Callable[[Any, Engine], xr.Dataset]
    claims: Sequence[Claim]
    check_runs: Mapping[str, CheckRun]
    figures: Mapping[str, Callable[[xr.Dataset], "Figure"]]
    summary: Callable[[xr.Dataset], str] = _no_summary
    animations: Mapping[str, Callable[[xr.Dataset, Path], Path]] = dataclasses.field(default_factory=dict)
    measures: Sequence[Law | str] = ()
    gallery: Sequence[Pictures] = ()
    cite: str = ""
    short: str = ""
    claimed: str = ""
    shown: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reference: str = ""
    sha256: str = ""

    def __repr__(self) -> str:
        return f"<Experiment {self.name}: {self.about}>"

    def run(
        self,
        config: Config | None = None,
        *,
        seeds: int | Sequence[int] = 8,
        checkpoint: str | Path | None = None,
        checkpoint_every: bool = True,
        strategy: str = "auto",
        engine: str = "auto",
        memory: int | None = None,
        share: tuple[int, int] | None = None,
    ) -> xr.Dataset:
        """Train `config` (default: the preset `small`) for every seed; the other arguments are `simulate`'s.

        Raises:
          Unfinished: this share of the runs is done, but not those of the other processes.
          ValueError, TypeError: a config of another experiment, bad seeds, another run's checkpoint.
          Interrupted: Ctrl-C; carries the Dataset of what was recorded.
        """
        config = self.presets["small"] if config is None else config
        if not isinstance(config, self.Config):
            raise TypeError(f"{self.name} needs its own Config, got {type(config).__name__}")
        folder = None if checkpoint is None else Path(checkpoint)
        how = Engine(seed_list(seeds), folder, checkpoint_every, strategy, engine, memory, share)
        try:
            with fixed_generator():  # experiments also draw by themselves
                dataset = self.simulate(config, how)
        except Interrupted as stopped:
            raise Interrupted(self.signed(stopped.dataset, config), str(stopped)) from None
        return self.signed(dataset, config)

    def signed(self, dataset: xr.Dataset, config: Config) -> xr.Dataset:
        """The Dataset, saying that this experiment made it with this config."""
        file = {"experiment_file": self.reference, "experiment_sha256": self.sha256}
        return dataset.assign_attrs(
            experiment=self.name,
            config=json.dumps(config.to_dict()),
            arxiv=self.arxiv,
            **(file if self.reference else {}),
        )

    def sweep(
        self,
        axes: Mapping[str, Sequence[Any]],
        config: Config | None = None,
        *,
        ties: Mapping[str, str] | None = None,
        seeds: int | Sequence[int] = 8,
        **how: Any,
    ) -> xr.Dataset:
        """Train every combination of the axes' values: `sweep({"noise": [0.5, 1], "dim": [64, 128]})`.

        Args:
          axes: values by field of the config; each becomes a labelled dimension.
          config: all other fields; default: the preset `small`.
          ties: fields that follow others by a formula: `{"num_samples": "100 * num_clusters"}`.
          how: `checkpoint` (a folder to resume from), `checkpoint_every`, `strategy`, `engine` and `memory`,
            as in `run`; `say`, called with a line before every program.

        `plot` draws the Dataset and `fits` has its exponents.

        Raises: ValueError: unknown fields, values that are not allowed, or no possible combination.
        """
        from dynamics.sweep import grid, run

        config = self.presets["small"] if config is None else config
        if not isinstance(config, self.Config):
            raise TypeError(f"{self.name} needs its own Config, got {type(config).__name__}")
        return run.run(self, grid.make(config, axes, ties), seeds=seeds, **how)

    def config_of(self, dataset: xr.Dataset) -> Config:
        """The config that a Dataset of this experiment was made with.

        Raises: ValueError: a Dataset of another experiment.
        """
        if dataset.attrs.get("experiment") != self.name:
            made_by = dataset.attrs.get("experiment", "no experiment")
            raise ValueError(f"this result was made by {made_by}, not by {self.name}")
        try:
            values = json.loads(dataset.attrs["config"])
        except (KeyError, TypeError, ValueError):
            where = dataset.encoding.get("source", "this result")
            raise ValueError(f"{where} is damaged: it does not hold the config of its run") from None
        return self.Config.from_dict(values)

    def plot(self, dataset: xr.Dataset) -> "Figure":
        """The experiment's main figure; of a sweep, its phase diagram or curves."""
        self.config_of(dataset)
        if "sweep" in dataset.attrs:
            from dynamics.sweep.figures import Shown

            return next(iter(Shown(self, dataset).figures().values()))
        return next(iter(self.figures.values()))(dataset)

    def judge(self, dataset: xr.Dataset) -> list[Verdict]:
        """Verdicts of the claims that this one run can decide; none if its setting is that of none.

        Raises: ValueError: a sweep, whose points are runs of their own.
        """
        config = self.config_of(dataset)
        if "sweep" in dataset.attrs:
            raise ValueError("claims are judged on a run, and this is a sweep: run the point by itself")
        run = Run(config, dataset)
        decided = [c for c in self.claims if c.applies is not None and c.applies(config)]
        return [judge(c, dict.fromkeys(c.runs, run)) for c in decided]

    def fits(self, dataset: xr.Dataset) -> list[dict[str, Any]]:
        """The power laws of a sweep, where a theorem has an exponent, as `sweep.figures.Shown.fits`.

        Raises: ValueError: not a sweep.
        """
        from dynamics.sweep.figures import Shown

        return Shown(self, dataset).fits()

    def check(
        self,
        *,
        seeds: int | Sequence[int] = 8,
        ablations: bool = False,
        claims: Sequence[str] | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> list[Verdict]:
        """Make every run that the claims rest on, each distinct one once, and judge.

        Args:
          seeds: how many, or which; runs of a limited number take the first ones, and runs that need
            more of them take the next integers besides.
          ablations: also run every claim under its ablation; `verdict.ablation` says what came of it.
          claims: ids of the claims to check; None: all.
          say: called with a line before every run.

        Raises: ValueError: an unknown claim.
        """
        known = {claim.id: claim for claim in self.claims}
        if unknown := [name for name in claims or () if name not in known]:
            raise ValueError(f"{self.name} has no claim {unknown[0]!r}; it has {', '.join(known)}")
        listed = seed_list(seeds)
        asked = self.claims if claims is None else [known[name] for name in dict.fromkeys(claims)]
        for package in sorted({self.check_runs[name].package or "" for c in asked for name in c.runs} - {""}):
            if importlib.util.find_spec(package) is None:
                raise ValueError(
                    f"some of these claims need the package {package}: install the extra with "
                    'pip install -e ".[images]", or choose others with --claims'
                )
        made: dict[tuple, xr.Dataset] = {}

        def run(name: str, change: Mapping[str, Any]) -> Run:
            wanted = self.check_runs[name]
            config = dataclasses.replace(wanted.config, **change)
            chosen = tuple(listed[: wanted.max_seeds])
            more = (seed for seed in itertools.count() if seed not in chosen)
            chosen += tuple(itertools.islice(more, max(wanted.min_seeds - len(chosen), 0)))
            if (config, chosen) not in made:
                say(f"run {len(made) + 1}: {name}" + (f" with {dict(change)}" if change else ""))
                made[config, chosen] = self.run(config, seeds=chosen)
            return Run(config, made[config, chosen])

        verdicts = []
        for claim in asked:
            verdict = judge(claim, {name: run(name, {}) for name in claim.runs})
            if ablations:
                broken = judge(claim, {name: run(name, claim.ablation.change) for name in claim.runs})
                outcome = {"holds": broken.holds, "measured": broken.measured}
                outcome |= {"needs": broken.needs} if broken.holds is None else {}
                verdict = dataclasses.replace(verdict, ablation=verdict.ablation | outcome)
            verdicts.append(verdict)
        return verdicts


def run_arms(dim: str, arms: Mapping[str, Callable[[str], xr.Dataset]]) -> xr.Dataset:
    """Run each arm by its name and join the results along `dim`; if interrupted, join what there is.

    Raises: Unfinished: after all arms, if this process's share of any is not the last one.
    """
    done: dict[str, xr.Dataset] = {}
    unfinished: list[Unfinished] = []
    for name, arm in arms.items():
        try:
            done[name] = arm(name)
        except Unfinished as error:
            unfinished.append(error)
        except KeyboardInterrupt as stopped:  # Interrupted, or before this arm recorded anything
            parts = {**done, name: stopped.dataset} if isinstance(stopped, Interrupted) else done
            if not parts:
                raise
            where = f"{name}: {stopped}" if str(stopped) else f"interrupted before {name}"
            raise Interrupted(results.join(parts, dim).assign_attrs(complete=0), where) from None
    if unfinished:
        whole = sum(dataset.first_nonfinite_step.size for dataset in done.values())
        raise Unfinished(whole + sum(e.done for e in unfinished), whole + sum(e.total for e in unfinished))
    return results.join(done, dim)
