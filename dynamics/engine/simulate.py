"""The engine's door: train a problem for many seeds and return what was observed, labelled."""

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import xarray as xr

from dynamics import asides, results, startup
from dynamics.descent import objective
from dynamics.descriptions import describe
from dynamics.engine import batching, checks, labels, layout, seed_numbers
from dynamics.engine.checkpoint import Checkpoint, Part, Row, identity_of
from dynamics.engine.choice import Choice, EngineName, Sized, choose_engine
from dynamics.engine.chunk import Work
from dynamics.engine.execution import Execution
from dynamics.engine.interrupt import Interrupts, Stopped
from dynamics.engine.job import Job
from dynamics.engine.progress import Progress
from dynamics.keys import fixed_generator
from dynamics.observables.base import Observable
from dynamics.parts import Axis, partition, per_seed
from dynamics.problem import Problem


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; `dataset` holds what had been recorded by then, NaN where nothing was."""

    def __init__(self, dataset: xr.Dataset, where: str = ""):
        super().__init__(where or f"interrupted at step {int(dataset.step[-1])} of {dataset.attrs['steps']}")
        self.dataset = dataset


class Unfinished(Exception):
    """This process has done its share of the runs, but others have not; `done` of `total` runs are kept."""

    def __init__(self, done: int, total: int):
        super().__init__(f"{done} of {total} runs are done; other processes have the rest")
        self.done, self.total = done, total


def simulate(
    problem: Problem,
    descent: optax.GradientTransformation,
    *,
    steps: int,
    observe: Mapping[str, Observable] | None = None,
    observe_end: Mapping[str, Observable] | None = None,
    parameters: bool = False,
    when: Sequence[int] | None = None,
    seeds: int | Sequence[int] = 8,
    batch_size: int | None = None,
    engine: EngineName = "auto",
    strategy: batching.Strategy = "auto",
    memory: int | None = None,
    root: int = 0,
    checkpoint: str | Path | None = None,
    checkpoint_every: bool = True,
    share: tuple[int, int] | None = None,
    callback: Callable[[int, xr.Dataset], object] | None = None,
) -> xr.Dataset:
    """Train `problem` by `descent` for every seed, recording observables on the way.

    Training runs in segments between recording times: one compiled program advances a chunk of runs
    from one time to the next, and the host looks in between. Numbers inside `problem` and `descent` are
    traced (new values do not recompile), and an `Axis` in place of one runs all its values beside
    all seeds. A seed whose parameters or loss stop being finite is frozen there, named in
    `first_nonfinite_step` and in one warning; the others go on untouched, and what would have been
    recorded of it from then on is NaN.

    Args:
      problem, descent, steps, observe, observe_end, parameters, when, batch_size, root: what is trained, and
        what is recorded of it; `engine.job.Job` explains each.
      seeds, engine, strategy, memory, checkpoint, checkpoint_every, share, callback: how that is executed;
        `engine.execution.Execution` explains each.

    Returns: a Dataset with dims (axes ..., seed, step, ...) for `observe`, the same without step for
      `observe_end`, `first_nonfinite_step` (-1: none), and attributes that say how it was made.
    Raises:
      ValueError, TypeError: bad arguments, too little memory for one run, or an environment in which JAX
        does not start, before anything is compiled.
      Interrupted: Ctrl-C, or an exception of the callback's, its cause; carries the Dataset of what was
        recorded.
      Unfinished: the share is done, but not those of the other processes.
      MemoryError: one run alone did not fit after all, or the process may not take what JAX needs.
    """
    job = Job(
        problem,
        descent,
        steps=steps,
        observe=observe,
        observe_end=observe_end,
        parameters=parameters,
        when=when,
        batch_size=batch_size,
        root=root,
    )
    execution = Execution(
        seeds, checkpoint, checkpoint_every, strategy, engine, memory, share, callback=callback
    )
    return execute(job, execution)


def execute(job: Job, execution: Execution) -> xr.Dataset:
    """The Dataset of a job, as `simulate`, in the job's precision."""
    startup.use_cache()
    startup.start()
    begun = time.perf_counter()
    with jax.enable_x64(job.float64):
        asked = _asked(job, execution)
        labels.first_draw(
            seed_numbers.typical(job.problem), job.observed.values(), asked.outputs, asked.seeds[0], job.root
        )
        identity = _identity(job, asked)
        if execution.checkpoint is not None:
            checks.told_apart(identity)
        kept = None if execution.checkpoint is None else Checkpoint(Path(execution.checkpoint), identity)
        if kept is not None and kept.result.exists():
            return kept.finished()
        return _train(job, execution, asked, identity, kept, begun)


def check(job: Job, execution: Execution) -> None:
    """Refuse what `execute` would refuse of a job: parts that do not fit, too little memory for a run.

    Raises: ValueError, TypeError: as `simulate`.
    """
    with jax.enable_x64(job.float64):
        asked = _asked(job, execution)
        _sized(job, execution, asked, asked.num_runs)


class _Asked(NamedTuple):
    """What a job asks of the engine, known on shapes alone.

    Attributes:
      seeds: of the runs.
      share: of the runs, that this process makes; None: all.
      numbers, rest: of the job's parts.
      axes: by name.
      num_runs: of all axes' values and seeds.
      strategy: chosen.
      choice: of the engine.
      outputs: shape of the network's outputs on the training inputs.
    """

    seeds: list[int]
    share: tuple[int, int] | None
    numbers: list[Any]
    rest: Any
    axes: dict[str, np.ndarray]
    num_runs: int
    strategy: str
    choice: Choice
    outputs: tuple[int, ...]


def _asked(job: Job, execution: Execution) -> _Asked:
    numbers, rest = partition(job.parts)
    layout.within_range(numbers)
    axes = layout.axes_of(numbers)
    taken = {"seed", "step", *job.observed, *(dim for what in job.observed.values() for dim in what.dims)}
    if both := taken & set(axes):
        raise ValueError(f"an axis cannot be called {min(both)!r}: the result has that already")
    seeds = list(execution.seeds if job.seeds is None else job.seeds)
    checks.data_of_seeds(job.problem.data, seeds, job.root)
    share = None if job.whole else execution.share
    num_runs = math.prod(map(len, axes.values())) * len(seeds)
    strategy = batching.choose(execution.strategy)
    return _Asked(seeds, share, numbers, rest, axes, num_runs, strategy, *_choice(job, execution.engine))


def _identity(job: Job, asked: _Asked) -> dict[str, Any]:
    """All that the numbers of a run depend on, JSON-ready."""
    problem, recipe, observe, observe_end = job.parts
    return {
        "problem": describe(problem),
        "descent": describe(recipe),
        "observe": describe(observe),
        "observe_end": describe(observe_end),
        "steps": job.steps,
        "times": job.when,
        "seeds": asked.seeds,
        "batch_size": job.batch_size,
        "engine": asked.choice.name,
        "root": job.root,
        "float64": job.float64,
        "jax_settings": results.jax_settings(),
    }


def _sized(job: Job, execution: Execution, asked: _Asked, num_mine: int) -> tuple[Sized, bool]:
    """How the runs are laid on the machine, and whether they share their data."""
    varied = any(isinstance(number, Axis) for number in partition((job.problem.data,))[0])
    shared = asked.choice.fixed_data and not varied
    sized = asked.choice.sized(asked.strategy, asked.num_runs, num_mine, execution.memory, shared)
    return sized, shared


def _train(
    job: Job,
    execution: Execution,
    asked: _Asked,
    identity: dict[str, Any],
    kept: Checkpoint | None,
    begun: float,
) -> xr.Dataset:
    """The job's Dataset, from what is kept of it and what is still to do."""
    mine = layout.share_of(asked.num_runs, asked.share)
    sized, shared = _sized(job, execution, asked, len(mine))
    progress = Progress(execution.label, job.steps, len(mine))
    progress.say(sized.sentence)
    parts: list[Part] = [] if kept is None else kept.parts()
    made = {
        **{name: json.dumps(identity[name]) for name in ("problem", "descent")},
        "steps": job.steps,
        "root": job.root,
        "batch_size": job.batch_size or 0,
        "engine": asked.choice.name,
        "strategy": asked.strategy,
        "chunk": sized.lanes * sized.mesh.size,
        "shared": int(shared),
        "memory_estimate": sized.estimate,
        "identity": identity_of(identity),
    }
    startup.let_programs_go()
    with (
        jax.default_matmul_precision("highest"),
        fixed_generator(),
        startup.single_threaded_blas(),
        Interrupts() as interrupts,
    ):
        host = {"progress": progress, "interrupts": interrupts, "kept": kept}
        host["on_the_way"] = execution.checkpoint_every
        if execution.callback is not None:
            host["tell"] = partial(_tell, execution, job.observe, asked)
        work = _laid_out(job, asked, sized, shared, host)
        try:
            work.carry_out(mine, parts)
        except KeyboardInterrupt as stop:
            if not any(part.recorded or part.ended for part in parts):
                raise
            stopped = _assembled(job, asked, parts, made, begun, complete=False)
            where = str(stop) if isinstance(stop, Stopped) else _where(job, asked, parts)
            raise Interrupted(stopped, where) from stop.__cause__
        finally:
            progress.close()
    if asked.share is not None:
        parts = kept.parts()
        if (done := len({run for part in parts for run in part.runs.tolist()})) < asked.num_runs:
            raise Unfinished(done, asked.num_runs)
    result = _assembled(job, asked, parts, made, begun, complete=True)
    if kept is not None and asked.share is None:
        results.save(result, kept.result)
        kept.clear()
    _warn_of_divergence(result)  # last: the user may have made errors of warnings
    return result


def _laid_out(job: Job, asked: _Asked, sized: Sized, shared: bool, host: dict[str, Any]) -> Work:
    """The runs' numbers, the plan that they are compiled by, and what looks on from the host."""
    numbers, varied = layout.lay_out(asked.numbers, asked.axes, len(asked.seeds))
    data_numbers, data_rest = partition((job.problem.data,))
    data_numbers, data_varied = layout.lay_out(data_numbers, asked.axes, len(asked.seeds))
    alone = jax.default_backend() != "cpu" or sized.mesh.size == 1
    size = (sized.lanes, sized.mesh)
    plan = batching.Plan(
        asked.rest, varied, job.root, job.batch_size, shared, *size, asked.choice.cross, alone
    )
    return Work(
        engine=asked.choice.module,
        plan=plan,
        numbers=numbers,
        data_plan=plan._replace(rest=data_rest, varied=data_varied, batch_size=None, shared=False),
        data_numbers=data_numbers,
        per_seed=bool(per_seed(job.parts)),
        seeds=np.tile(np.asarray(asked.seeds, np.uint32), asked.num_runs // len(asked.seeds)),
        times=job.when,
        check=partial(labels.of_runs, job.problem, [*job.observed.values()], asked.outputs),
        **host,
    )


def _assembled(job, asked, parts, made, begun, *, complete) -> xr.Dataset:
    """What was recorded, as a Dataset."""
    recorded, ended, first = layout.together(parts, asked.num_runs, len(job.when))
    times = job.when[: next(iter(recorded.values())).shape[1]] if recorded else job.when
    attrs = made | {"complete": int(complete), "wall_s": round(time.perf_counter() - begun, 3)}
    return results.assemble(
        recorded,
        ended,
        first_nonfinite_step=first,
        axes=asked.axes,
        seeds=asked.seeds,
        times=times,
        observables=job.observed,
        attrs=attrs | results.provenance(),
    )


def _tell(execution, observe, asked, step: int, runs: np.ndarray, row: Row, first: np.ndarray) -> None:
    """Call the user's function with what was recorded of some runs."""
    row, first, axes, seeds = layout.alone(row, first, runs, asked.axes, asked.seeds)
    values = results.assemble(
        {},
        row,
        first_nonfinite_step=first,
        axes=axes,
        seeds=seeds,
        times=[],
        observables=observe,
        attrs={"job": execution.label},
    )
    values = values.drop_vars("step")
    try:
        execution.callback(step, values)
    except Exception as error:
        raise Stopped(f"the callback raised {type(error).__name__} at step {step}: {error}") from error


def _where(job: Job, asked: _Asked, parts: Sequence[Part]) -> str:
    """How far a run of several chunks had come; "" of a single one."""
    done = sum(len(part.runs) for part in parts if _is_whole(part, job.observe_end, len(job.when)))
    return f"interrupted with {done} of {asked.num_runs} runs done" if len(parts) > 1 else ""


# tracing costs more than a short run: do it once for a form of problem
_CHOICES: dict[Any, tuple[Choice, tuple[int, ...]]] = {}


def _choice(job: Job, engine: EngineName) -> tuple[Choice, tuple[int, ...]]:
    """The engine, and the shape of the network's outputs on the training inputs."""
    numbers, rest = partition(job.parts)
    size, records = job.batch_size, len(job.when)
    key = (rest, layout.forms(numbers), engine, size, job.steps, records, job.float64)
    if key not in _CHOICES:
        first = seed_numbers.typical(job.parts)
        if len(_CHOICES) >= 256:
            _CHOICES.clear()
        with warnings.catch_warnings():  # sizes beyond int32 are refused by the estimate, in its words
            warnings.filterwarnings("ignore", "Explicitly requested dtype int64", UserWarning)
            draw, params, outputs = checks.shapes(first[0], size, first[2] | first[3], objective(first[1]))
            checks.rule(first[1], params, first[0])
            choice = choose_engine(engine, *first, size, job.steps, records, draw, params)
        _CHOICES[key] = choice, outputs.shape
    return _CHOICES[key]


def _is_whole(part: Part, observe_end: Mapping[str, Observable], num_times: int) -> bool:
    """Whether these runs are done."""
    if observe_end:
        return bool(part.ended)
    return all(value.shape[1] == num_times for value in part.recorded.values())


def _warn_of_divergence(result: xr.Dataset) -> None:
    first = result.first_nonfinite_step
    if not bool((first >= 0).any()):
        return
    stacked = first.stack(run=first.dims)
    named = [
        ", ".join(
            f"{dim} {value if dim == 'seed' else format(value, 'g')}"
            for dim, value in zip(first.dims, run, strict=True)
        )
        + f" at step {step}"
        for run, step in zip(stacked.run.values.tolist(), stacked.values.tolist(), strict=True)
        if step >= 0
    ]
    shown = "; ".join(named[:10]) + ("; ..." if len(named) > 10 else "")
    asides.warn(f"{len(named)} of {stacked.size} runs diverged and were frozen: {shown}", stacklevel=3)
