"""A training as it is carried out: its jobs all at once, or in turn where one needs an earlier result."""

from collections.abc import Callable, Generator, Mapping
from typing import Any

import jax
import xarray as xr

from dynamics import results
from dynamics.engine.execution import Execution
from dynamics.engine.job import Job
from dynamics.engine.simulate import Interrupted, Unfinished, execute
from dynamics.keys import fixed_generator

Jobs = Mapping[str, Job]
Staged = Generator[Jobs, Mapping[str, xr.Dataset], xr.Dataset]
Training = Jobs | Staged
"""What `train(config)` of an experiment gives. Jobs by name, whose Datasets are joined along the experiment's
arms; or a generator that yields jobs by name, is sent their Datasets by name, may do so again, and returns
the Dataset of the whole."""


class Stages:
    """A training on its way.

    Attributes:
      jobs: what is to be executed next, by name; empty once all is done.
      result: the Dataset of the whole, once all is done.
    """

    def __init__(self, train: Callable[[Any], Training], config: Any, arms: str = ""):
        """Begin: find out what is to be executed first.

        Raises: TypeError, ValueError: what is no training, or jobs that `arms` does not tell apart.
        """
        with fixed_generator():  # trainings also draw by themselves
            training = train(config)
        self._staged = _in_one(training, arms) if isinstance(training, Mapping) else training
        if not isinstance(self._staged, Generator):
            kind = type(training).__name__
            raise TypeError(f"train(config) must give jobs by name, at once or one after another, got {kind}")
        self.jobs: Jobs = {}
        self.result: xr.Dataset | None = None
        self._known: set[str] = set()
        self.answer(None)

    def answer(self, found: Mapping[str, xr.Dataset] | None) -> None:
        """Give the results of `jobs`, and find out what is to be executed next."""
        with fixed_generator():
            try:
                self.jobs = dict(self._staged.send(found))
            except StopIteration as done:
                self.jobs, self.result = {}, done.value
        for name, job in self.jobs.items():
            if not isinstance(job, Job):
                raise TypeError(f"train(config) must give jobs, but {name!r} is {type(job).__name__}")
            if name in self._known:
                raise ValueError(
                    f"two jobs of one training are called {name!r}, which their checkpoints are too"
                )
        self._known |= set(self.jobs)


def _in_one(jobs: Jobs, arms: str) -> Staged:
    if len(jobs) > 1 and not arms:
        raise ValueError("several jobs are joined along a dimension: name it, by `arms` of the experiment")
    found = yield jobs
    return results.join(found, arms) if arms else next(iter(found.values()))


def carry_out(
    train: Callable[[Any], Training], config: Any, execution: Execution, arms: str = ""
) -> xr.Dataset:
    """The Dataset of a training, by itself.

    Raises:
      Interrupted: Ctrl-C; carries what the jobs at work had recorded, joined along `arms`.
      Unfinished: this process's share is done, but not those of the others.
    """
    stages = Stages(train, config, arms)
    while stages.jobs:
        stages.answer(execute_each(stages.jobs, execution, arms))
    return stages.result


def execute_each(jobs: Jobs, execution: Execution, arms: str = "") -> dict[str, xr.Dataset]:
    """The Datasets of jobs by name; if interrupted, those that there are as one, along `arms`.

    Raises:
      Interrupted: see above.
      Unfinished: after all jobs, if this process's share of any is not the last one.
    """
    done: dict[str, xr.Dataset] = {}
    unfinished: list[Unfinished] = []
    for name, job in jobs.items():
        try:
            done[name] = execute(job, execution.named(name))
        except Unfinished as error:
            unfinished.append(error)
        except KeyboardInterrupt as stopped:  # Interrupted, or before this job recorded anything
            parts = {**done, name: stopped.dataset} if isinstance(stopped, Interrupted) else done
            if not parts or not (arms or done):  # of a single job, its own Dataset
                raise
            where = f"{name}: {stopped}" if str(stopped) else f"interrupted before {name}"
            joined = results.join(parts, arms or "job").assign_attrs(complete=0)
            raise Interrupted(joined, where) from stopped.__cause__
    if unfinished:
        whole = sum(dataset.first_nonfinite_step.size for dataset in done.values())
        raise Unfinished(whole + sum(e.done for e in unfinished), whole + sum(e.total for e in unfinished))
    return done


def in_precision(float64: bool | None, train: Callable[..., Training], *args: Any) -> Training:
    """The training `train(*args)`, all that it computes and its jobs in one precision.

    Args:
      float64: whether in float64; None: as JAX is set to.
    """
    float64 = bool(jax.config.jax_enable_x64) if float64 is None else float64
    with jax.enable_x64(float64):
        training = train(*args)
    return training if isinstance(training, Mapping) else _in_precision(float64, training)


def _in_precision(float64: bool, staged: Staged) -> Staged:
    found = None
    while True:
        with jax.enable_x64(float64):
            try:
                jobs = staged.send(found)
            except StopIteration as done:
                return done.value
        found = yield jobs
