"""Jobs of many configs gathered into few programs: those that differ in numbers only run side by side."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from dynamics.descriptions import checksum, describe
from dynamics.engine.execution import Execution
from dynamics.engine.job import Job
from dynamics.engine.simulate import check, execute
from dynamics.parts import Axis, merge, partition

POINT = "sweep_point"


class Program(NamedTuple):
    """Jobs of one name that run side by side.

    Attributes:
      name: of the jobs.
      job: all of them at once, numbers that differ along the axis `POINT`.
      members: the points that asked for it.
      places: of each member on the axis.
      execution: in a folder of its own.
    """

    name: str
    job: Job
    members: list[int]
    places: list[int]
    execution: Execution

    @property
    def is_done(self) -> bool:
        """Whether its result is kept already."""
        folder = self.execution.checkpoint
        return folder is not None and (folder / "result.nc").exists()

    def results(self) -> dict[int, xr.Dataset]:
        """Each member's own Dataset."""
        whole = execute(self.job, self.execution)
        alone = (whole.isel({POINT: at}, drop=True) if POINT in whole.dims else whole for at in self.places)
        return dict(zip(self.members, alone, strict=True))


def execute_all(
    asked: Mapping[int, Mapping[str, Job]],
    execution: Execution,
    say: Callable[[str], None] = lambda line: None,
) -> dict[int, dict[str, xr.Dataset]]:
    """The Datasets of the jobs that points ask for, in as few programs as there are forms of jobs.

    All programs are checked before the first one is run, but for those that are done.

    Args:
      asked: jobs by name, by number of the point; the same numbers find the same checkpoints again.
      say: called with a line before every program.
    """
    programs = _programs(asked, execution)
    for program in programs:
        if not program.is_done:
            check(program.job, program.execution)
    found: dict[int, dict[str, xr.Dataset]] = {number: {} for number in asked}
    for count, program in enumerate(programs, 1):
        runs = f"{len(set(program.places))} different runs of every seed"
        say(f"program {count} of {len(programs)}: {program.name}, {runs}")
        for number, dataset in program.results().items():
            found[number][program.name] = dataset
    return found


def _programs(asked: Mapping[int, Mapping[str, Job]], execution: Execution) -> list[Program]:
    groups: dict[tuple, dict[int, Job]] = {}
    for number, jobs in asked.items():
        for name, job in jobs.items():
            groups.setdefault((name, *_form(job)), {})[number] = job
    programs = []
    for (name, *_), group in groups.items():
        job, places = _side_by_side(list(group.values()))
        members = list(group)
        folder = f"{name}-{zlib.crc32(repr(members).encode()):08x}"
        programs.append(Program(name, job, members, places, execution.named(folder)))
    return programs


def _form(job: Job) -> tuple[Any, ...]:
    """What jobs that may run side by side have in common: all but single numbers."""
    numbers, rest = partition(job.parts)
    fixed = tuple(None if _varies(job, number) else checksum(describe(number)) for number in numbers)
    return rest, fixed, job.steps, tuple(job.when), job.batch_size, job.root, job.seeds, job.float64


def _varies(job: Job, number: Any) -> bool:
    """Whether an axis may take the place of a number: it then has the computation's precision."""
    if isinstance(number, Axis):
        return False
    if isinstance(number, int | float | np.floating):
        return True
    wide = np.float64 if job.float64 else np.float32
    return np.ndim(number) == 0 and number.dtype in (np.float64, wide)


def _side_by_side(jobs: Sequence[Job]) -> tuple[Job, list[int]]:
    """All jobs as one, an `Axis` where numbers differ, and each job's place on it."""
    first = jobs[0]
    every = [partition(job.parts)[0] for job in jobs]
    numbers, rest = partition(first.parts)
    single = [i for i, number in enumerate(numbers) if _varies(first, number)]
    values = [tuple(float(own[i]) for i in single) for own in every]
    different = list(dict.fromkeys(values))
    for column, i in enumerate(single):
        here = [row[column] for row in different]
        if any(value != here[0] for value in here):
            numbers[i] = Axis(POINT, here)
    with jax.enable_x64(first.float64):
        joined = first.with_parts(*merge(numbers, rest))
    return joined, [different.index(row) for row in values]
