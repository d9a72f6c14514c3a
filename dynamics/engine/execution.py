"""How jobs are executed: seeds, checkpoints, memory, devices; nothing here changes what a job is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import xarray as xr

from dynamics.engine import checks
from dynamics.engine.batching import Strategy
from dynamics.engine.choice import EngineName
from dynamics.words import integer


@dataclass(frozen=True)
class Execution:
    """How jobs are executed; one value that is passed on whole.

    Attributes:
      seeds: how many (0 .. N-1), or which. A seed's run does not depend on the others.
      checkpoint: a folder to keep progress in, and to go on from if it holds any; the progress of another
        run is refused. Runs are told apart by all that they are made of, functions by their code and what
        they hold, but not by the globals that functions read (see `descriptions`). An experiment keeps each
        of its jobs in a folder of the job's name.
      checkpoint_every: keep the state of unfinished runs too, about once a second; else only when
        interrupted. Finished runs are kept in any case.
      strategy: how many runs one program takes: as many as fit in memory (`vmap`), or those that stay in
        cache (`map`); `auto` chooses for the backend.
      engine: `direct` steps in parameter space; `gram` carries the first layer by its inner products,
        whose cost a step does not depend on the dimension (see `engine.gram` for where it applies);
        `auto` takes the cheaper one that applies.
      memory: bytes that may be used: by this process on a CPU, of each device elsewhere. Default:
        what it has and 80 % of what is free.
      share: (i, n): do the i-th of n shares of the runs only, and leave them in `checkpoint`, where the
        shares of other processes come together.
      label: what the progress line calls this run.
      callback: called on the host with a step and a Dataset of what was recorded there by `observe`, of those
        runs that advance together: of all of them at once, if they fit; the Dataset's attribute `job` is the
        label. Recordings of an earlier process, in the checkpoint, are not told again. What it raises ends
        the run as Ctrl-C does.
    Raises: ValueError: seeds, memory or a share that are none, or a share without a checkpoint. TypeError: a
      callback that is no function.
    """

    seeds: int | Sequence[int] = 8
    checkpoint: str | Path | None = None
    checkpoint_every: bool = True
    strategy: Strategy = "auto"
    engine: EngineName = "auto"
    memory: int | None = None
    share: tuple[int, int] | None = None
    label: str = "training"
    callback: Callable[[int, xr.Dataset], object] | None = None

    # what is given is checked below, in words: run-time type checkers keep off
    __no_type_check__ = True

    def __post_init__(self):
        object.__setattr__(self, "seeds", tuple(checks.seed_list(self.seeds)))
        if self.memory is not None:
            object.__setattr__(self, "memory", integer("memory", self.memory, 1))
        checks.share(self.share, self.checkpoint)
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback must be a function of a step and a Dataset, got {self.callback!r}")
        if self.checkpoint is not None:
            object.__setattr__(self, "checkpoint", Path(self.checkpoint))

    def named(self, name: str) -> "Execution":
        """The same for one job of several: in a folder of its name."""
        folder = None if self.checkpoint is None else self.checkpoint / name
        return replace(self, checkpoint=folder, label=name)
