"""An experiment: a config, what is trained for it, its claims and its figures.

What is trained is said by a function `train(config)`, which never trains by itself. It gives `Job`s by name:

    def train(config):
        return {arm: Job(problem(config, arm), config.update_rule, steps=..., ...) for arm in config.arms}

whose Datasets become one along the dimension that `Experiment.arms` names (a single job needs none). Where a
result is worked on, or a later job needs an earlier one's, it yields jobs in place of returning them, is sent
their Datasets by the same names, and returns the Dataset of the whole:

    def train(config):
        found = yield {"teacher": Job(..., whole=True)}
        found = yield {"student": Job(problem(config, found["teacher"]), ...)}
        return found["student"].assign(...)

A run executes the jobs, a sweep those of all its points together, equal ones as one program; each keeps what
is done in a folder of its name. Seeds are not the training's business: a number of which every seed has its
own value is a `PerSeed`. A training in another precision than JAX's is given by `engine.stages.in_precision`.
"""

import dataclasses
import importlib.util
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from dynamics.draw.gallery import Pictures
from dynamics.engine.checks import seed_list
from dynamics.engine.execution import Execution
from dynamics.engine.simulate import Interrupted
from dynamics.engine.stages import Training, carry_out
from dynamics.study.claim import Ablation, Claims, Run
from dynamics.study.config import Config
from dynamics.study.law import Law
from dynamics.study.verdict import Verdicts, judge
from dynamics.sweep.grid import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _no_table(run: Run) -> str:
    """Lines of text about a run, where an experiment has some; this one has none."""
    return ""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """One paper's record: its settings, claims and figures; what `experiments.get(name)` returns.

    Attributes:
      name: the experiment's name.
      title, arxiv: the paper.
      about: one line on what is shown.
      presets: configs by name, `small` and `paper` among them; they may be of several classes, one a setting.
      train: the jobs of a config (see above).
      claims: what the paper says, with the runs that it rests on.
      figures: panels by name, each a function of a `Run` alone, None where it does not apply; the first is
        `plot`'s.
      arms: the dimension along which its jobs' Datasets are joined; "": there is a single one.
      table: lines of text about a run, printed after it and in its report; "": none.
      animations: moving pictures by name, each a function of a Dataset and the path of a GIF.
      quantities: what a sweep shows unless asked for something else: `Law`s, or names of variables.
      old: of a result that was made before there were these settings, the setting and its fields, from those
        of then; None: they are those of the class of `small`.
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
    presets: Mapping[str, Config]
    train: Callable[[Any], Training]
    claims: Claims
    figures: Mapping[str, Callable[[Run], "Figure | None"]]
    arms: str = ""
    table: Callable[[Run], str] = _no_table
    animations: Mapping[str, Callable[[xr.Dataset, Path], Path]] = dataclasses.field(default_factory=dict)
    quantities: Sequence[Law | str] = ()
    old: Callable[[dict[str, Any]], tuple[str, dict[str, Any]]] | None = None
    gallery: Sequence[Pictures] = ()
    cite: str = ""
    short: str = ""
    claimed: str = ""
    shown: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reference: str = ""
    sha256: str = ""

    def __repr__(self) -> str:
        return f"<Experiment {self.name}: {self.about}>"

    @property
    def configs(self) -> dict[str, type[Config]]:
        """The settings' config classes by name; that of the preset `small` first."""
        every = [
            self.presets["small"],
            *self.presets.values(),
            *(run.config for run in self.claims.runs.values()),
        ]
        return {type(config).__name__: type(config) for config in every}

    def run(self, config: Config | None = None, **execution: Any) -> xr.Dataset:
        """Train `config` (default: the preset `small`) for every seed.

        Args:
          execution: keywords of `engine.execution.Execution`: seeds, checkpoint, engine, memory, ...

        Raises:
          Unfinished: this share of the runs is done, but not those of the other processes.
          ValueError, TypeError: a config of another experiment, bad seeds, another run's checkpoint.
          Interrupted: Ctrl-C; carries the Dataset of what was recorded.
        """
        config = self._own(config)
        try:
            dataset = carry_out(self.train, config, Execution(**execution), self.arms)
        except Interrupted as stopped:
            dataset = self.signed(stopped.dataset, config)
            raise Interrupted(dataset, str(stopped)) from stopped.__cause__
        return self.signed(dataset, config)

    def _own(self, config: Config | None) -> Config:
        config = self.presets["small"] if config is None else config
        if not isinstance(config, tuple(self.configs.values())):
            raise TypeError(
                f"{self.name} needs its own {' or '.join(self.configs)}, got {type(config).__name__}"
            )
        return config

    def signed(self, dataset: xr.Dataset, config: Config) -> xr.Dataset:
        """The Dataset, saying that this experiment made it with this config."""
        file = {"experiment_file": self.reference, "experiment_sha256": self.sha256}
        return dataset.assign_attrs(
            experiment=self.name,
            setting=type(config).__name__,
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
        say: Callable[[str], None] = lambda line: None,
        **execution: Any,
    ) -> xr.Dataset:
        """Train every combination of the axes' values: `sweep({"noise": [0.5, 1], "dim": [64, 128]})`.

        Args:
          axes: values by field of the config; each becomes a labelled dimension.
          config: all other fields; default: the preset `small`.
          ties: fields that follow others by a formula: `{"num_samples": "100 * num_clusters"}`.
          say: called with a line before every program.
          execution: as in `run`.

        `plot` draws the Dataset and `fits` has its exponents.

        Raises: ValueError: unknown fields, values that are not allowed, or no possible combination.
        """
        from dynamics.sweep import grid

        return self.swept(grid.make(self._own(config), axes, ties), say, **execution)

    def swept(
        self, grid: Grid, say: Callable[[str], None] = lambda line: None, **execution: Any
    ) -> xr.Dataset:
        """Train every point of a grid, as `sweep`."""
        from dynamics.sweep import run

        dataset = run.run(self.train, grid, Execution(**execution), arms=self.arms, say=say)
        return self.signed(dataset, grid.base)

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
        return self.read(values, dataset.attrs.get("setting"))

    def read(self, values: dict[str, Any], setting: str | None = None) -> Config:
        """The config with these field values.

        Args:
          setting: the name of its class; None or one that is no more: it was written before there were these.

        Raises: ValueError: no such setting, or values that are not allowed.
        """
        if setting not in self.configs and self.old is not None:
            setting, values = self.old(values)
        if setting is not None and setting not in self.configs:
            raise ValueError(f"{self.name} has no setting {setting!r}; it has {', '.join(self.configs)}")
        return (self.Config if setting is None else self.configs[setting]).from_dict(values)

    def draw(self, dataset: xr.Dataset, names: Sequence[str] | None = None) -> dict[str, "Figure"]:
        """The figures of a run, or those of some names, that apply to it.

        Raises: ValueError: a Dataset of another experiment. KeyError: no such figure.
        """
        run = Run(self.config_of(dataset), dataset)
        found = {name: self.figures[name](run) for name in (self.figures if names is None else names)}
        return {name: figure for name, figure in found.items() if figure is not None}

    def summary(self, dataset: xr.Dataset) -> str:
        """The lines of text about a run."""
        return self.table(Run(self.config_of(dataset), dataset))

    def plot(self, dataset: xr.Dataset) -> "Figure":
        """The experiment's main figure; of a sweep, its phase diagram or curves."""
        self.config_of(dataset)
        if "sweep" in dataset.attrs:
            from dynamics.sweep.figures import Shown

            return next(iter(Shown(self, dataset).figures().values()))
        return next(iter(self.draw(dataset, [next(iter(self.figures))]).values()))

    def judge(self, dataset: xr.Dataset) -> Verdicts:
        """Verdicts of the claims that this one run can decide; none if its setting is that of none.

        Raises: ValueError: a sweep, whose points are runs of their own.
        """
        config = self.config_of(dataset)
        if "sweep" in dataset.attrs:
            raise ValueError("claims are judged on a run, and this is a sweep: run the point by itself")
        run = Run(config, dataset)
        decided = [c for c in self.claims if c.applies is not None and c.applies(config)]
        return Verdicts(judge(c, dict.fromkeys(c.runs, run)) for c in decided)

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
        **execution: Any,
    ) -> Verdicts:
        """Make every run that the claims rest on, each distinct one once, and judge.

        Args:
          seeds: how many, or which; runs of a limited number take the first ones, and runs that need
            more of them take the next integers besides.
          ablations: also run every claim under its ablation; `verdict.ablation` says what came of it.
          claims: ids of the claims to check; None: all.
          say: called with a line before every run.
          execution: of every run, as in `run`.

        Raises: ValueError: an unknown claim.
        """
        known = {claim.id: claim for claim in self.claims}
        if unknown := [name for name in claims or () if name not in known]:
            raise ValueError(f"{self.name} has no claim {unknown[0]!r}; it has {', '.join(known)}")
        listed = seed_list(seeds)
        asked = self.claims if claims is None else [known[name] for name in dict.fromkeys(claims)]
        for package in sorted(
            {self.claims.runs[name].package or "" for c in asked for name in c.runs} - {""}
        ):
            if importlib.util.find_spec(package) is None:
                raise ValueError(
                    f"some of these claims need the package {package}: install the extra with "
                    'pip install -e ".[images]", or choose others with --claims'
                )
        made: dict[tuple, xr.Dataset] = {}

        def run(name: str, change: Ablation | None = None) -> Run:
            wanted = self.claims.runs[name]
            config = change.of(wanted.config) if change else wanted.config
            chosen = tuple(listed[: wanted.max_seeds])
            more = (seed for seed in itertools.count() if seed not in chosen)
            chosen += tuple(itertools.islice(more, max(wanted.min_seeds - len(chosen), 0)))
            if (config, chosen) not in made:
                say(f"run {len(made) + 1}: {name}" + (f" with {change.told()}" if change else ""))
                made[config, chosen] = self.run(config, seeds=chosen, **execution)
            return Run(config, made[config, chosen])

        verdicts = Verdicts()
        for claim in asked:
            verdict = judge(claim, {name: run(name) for name in claim.runs})
            if ablations:
                broken = judge(claim, {name: run(name, claim.ablation) for name in claim.runs})
                outcome = {"holds": broken.holds, "measured": broken.measured}
                outcome |= {"needs": broken.needs} if broken.holds is None else {}
                verdict = dataclasses.replace(verdict, ablation=verdict.ablation | outcome)
            verdicts.append(verdict)
        return verdicts

    @property
    def Config(self) -> type[Config]:
        """The config class of the preset `small`."""
        return type(self.presets["small"])
