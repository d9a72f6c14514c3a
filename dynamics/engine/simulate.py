"""The engine's door: train a problem for many seeds and return what was observed, labelled."""

import json
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import xarray as xr

from dynamics import asides, results, startup
from dynamics.descent import objective, recipe_of
from dynamics.descriptions import describe
from dynamics.engine import batching, checks, hidden, labels, layout
from dynamics.engine.checkpoint import Checkpoint, Part, identity_of
from dynamics.engine.choice import Choice, EngineName, choose_engine
from dynamics.engine.chunk import Job
from dynamics.engine.gather import Gather
from dynamics.engine.interrupt import Interrupts
from dynamics.engine.progress import Progress
from dynamics.engine.schedule import recording_times
from dynamics.keys import MOST, fixed_generator
from dynamics.observables.base import Observable
from dynamics.parts import Axis, partition
from dynamics.problem import Problem
from dynamics.words import integer


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
    label: str = "training",
    gather: Gather | None = None,
) -> xr.Dataset:
    """Train `problem` by `descent` for every seed, recording observables on the way.

    Training runs in segments between recording times: one compiled program advances a chunk of runs
    from one time to the next, and the host looks in between. Numbers inside `problem` and `descent` are
    traced (new values do not recompile), and an `Axis` in place of one runs all its values beside
    all seeds. A seed whose parameters or loss stop being finite is frozen there, named in
    `first_nonfinite_step` and in one warning; the others go on untouched, and what would have been
    recorded of it from then on is NaN.

    Args:
      problem: data, model, loss and adversary.
      descent: an optax transformation; one made by `steepest`, `named` or `traced` has its numbers traced.
        Random keys in its state (typed ones, and pairs of uint32) are folded into each seed's own.
      steps: number of steps; 0 records the initial state only.
      observe: what to record at every recording time, by name.
      observe_end: what to record once, at the end, by name.
      when: recording times, increasing; `steps` is appended. Default: 64, log-spaced.
      seeds: how many (0 .. N-1), or which. A seed's run does not depend on the others.
      batch_size: samples a step; None takes them all.
      engine: `direct` steps in parameter space; `gram` carries the first layer by its inner products,
        whose cost a step does not depend on the dimension (see `engine.gram` for where it applies);
        `auto` takes the cheaper one that applies.
      strategy: how many runs one program takes: as many as fit in memory (`vmap`), or those that stay in
        cache (`map`); `auto` chooses for the backend.
      memory: bytes that may be used: by this process on a CPU, of each device elsewhere. Default:
        what it has and 80 % of what is free.
      root: from 0 to 2**32 - 1; makes the key that all seeds are folded into.
      checkpoint: a folder to keep progress in, and to go on from if it holds any; the progress of another
        run is refused. Runs are told apart by all that they are made of, functions by their code and what
        they hold, but not by the globals that functions read (see `descriptions`).
      checkpoint_every: keep the state of unfinished runs too, about once a second; else only when
        interrupted. Finished runs are kept in any case.
      share: (i, n): do the i-th of n shares of the runs only, and leave them in `checkpoint`, where the
        shares of other processes come together.
      label: what the progress line calls this run.
      gather: a point of a sweep: gives the result if it has one, and notes the call if not.

    Returns: a Dataset with dims (axes ..., seed, step, ...) for `observe`, the same without step for
      `observe_end`, `first_nonfinite_step` (-1: none), and attributes that say how it was made.
    Raises:
      ValueError, TypeError: bad arguments, too little memory for one run, or an environment in which JAX
        does not start, before anything is compiled.
      Interrupted: Ctrl-C; carries the Dataset of what was recorded.
      Unfinished: the share is done, but not those of the other processes; or the call was noted by `gather`.
      MemoryError: one run alone did not fit after all, or the process may not take what JAX needs.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a Problem, got {type(problem).__name__}")
    if not isinstance(descent, optax.GradientTransformation):
        raise TypeError(f"descent must be an optax transformation such as steepest(...), got {descent!r}")
    for given in (observe, observe_end):
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"observe must map names to Observables, got {type(given).__name__}")
    checks.kinds(problem)
    observe, observe_end = dict(observe or {}), dict(observe_end or {})
    seeds = checks.seed_list(seeds)
    steps, root = integer("steps", steps, 0), integer("root", root, 0, MOST)
    if batch_size is not None:
        batch_size = integer("batch_size", batch_size, 1)
        if problem.warm_start:
            raise ValueError("warm_start needs full batches: leave out batch_size, or warm_start")
    if memory is not None:
        memory = integer("memory", memory, 1)
    checks.share(share, checkpoint)
    times = recording_times(steps, when)
    checks.observables(observe, observe_end)
    checks.coordinates(observe | observe_end)
    recipe = recipe_of(descent)
    if gather is not None:
        options = {"steps": steps, "when": times, "batch_size": batch_size, "root": root, "seeds": seeds}
        options |= {"engine": engine, "strategy": strategy, "memory": memory}
        result = gather.answer(label, problem, descent, observe, observe_end, options)
        if result is None:
            raise Unfinished(0, len(seeds))
        return result

    hidden.refuse(problem=problem, descent=recipe, observe=observe, observe_end=observe_end)
    startup.use_cache()
    startup.start()
    begun = time.perf_counter()
    numbers, rest = partition((problem, recipe, observe, observe_end))
    axes = layout.axes_of(numbers)
    taken = {"seed", "step", *observe, *observe_end}
    taken |= {dim for what in (observe | observe_end).values() for dim in what.dims}
    if both := taken & set(axes):
        raise ValueError(f"an axis cannot be called {min(both)!r}: the result has that already")
    strategy = batching.choose(strategy)
    num_runs = math.prod(map(len, axes.values())) * len(seeds)
    chosen = _choice(engine, problem, recipe, observe, observe_end, batch_size, steps, len(times))
    choice, outputs = chosen
    observed = [*observe.values(), *observe_end.values()]
    labels.first_draw(jax.tree.map(_first, problem), observed, outputs, seeds[0], root)

    identity = {
        "problem": describe(problem),
        "descent": describe(recipe),
        "observe": describe(observe),
        "observe_end": describe(observe_end),
        "steps": steps,
        "times": times,
        "seeds": seeds,
        "batch_size": batch_size,
        "engine": choice.name,
        "root": root,
        "float64": bool(jax.config.jax_enable_x64),
        "jax_settings": results.jax_settings(),
    }
    if checkpoint is not None:
        checks.told_apart(identity)
    known_by = identity_of(identity)
    kept = None if checkpoint is None else Checkpoint(Path(checkpoint), identity)
    if kept is not None and kept.result.exists():
        return kept.finished()

    numbers, varied = layout.lay_out(numbers, axes, len(seeds))
    data_numbers, data_rest = partition((problem.data,))
    data_numbers, data_varied = layout.lay_out(data_numbers, axes, len(seeds))
    mine = layout.share_of(num_runs, share)
    shared = choice.fixed_data and not any(data_varied)
    sized = choice.sized(strategy, num_runs, len(mine), memory, shared)
    alone = jax.default_backend() != "cpu" or sized.mesh.size == 1
    plan = batching.Plan(rest, varied, root, batch_size, shared, sized.lanes, sized.mesh, choice.cross, alone)
    data_plan = plan._replace(rest=data_rest, varied=data_varied, batch_size=None, shared=False)
    progress = Progress(label, steps, len(mine))
    progress.say(sized.sentence)
    parts: list[Part] = [] if kept is None else kept.parts()

    def dataset(complete):
        recorded, ended, first = layout.together(parts, num_runs, len(times))
        recorded_times = times[: next(iter(recorded.values())).shape[1]] if recorded else times
        attrs = {name: json.dumps(identity[name]) for name in ("problem", "descent")}
        attrs |= {"steps": steps, "root": root, "batch_size": batch_size or 0}
        attrs |= {"engine": choice.name, "strategy": strategy, "chunk": plan.size, "shared": int(plan.shared)}
        attrs |= {"memory_estimate": sized.estimate, "complete": int(complete)}
        attrs |= {"identity": known_by}
        attrs |= {"wall_s": round(time.perf_counter() - begun, 3)}
        return results.assemble(
            recorded,
            ended,
            first_nonfinite_step=first,
            axes=axes,
            seeds=seeds,
            times=recorded_times,
            observables=observe | observe_end,
            attrs=attrs | results.provenance(),
        )

    startup.let_programs_go()
    with (
        jax.default_matmul_precision("highest"),
        fixed_generator(),
        startup.single_threaded_blas(),
        Interrupts() as interrupts,
    ):
        run_seeds = np.tile(np.asarray(seeds, np.uint32), num_runs // len(seeds))
        job = Job(
            engine=choice.module,
            plan=plan,
            numbers=numbers,
            data_plan=data_plan,
            data_numbers=data_numbers,
            seeds=run_seeds,
            times=times,
            progress=progress,
            interrupts=interrupts,
            kept=kept,
            on_the_way=checkpoint_every,
            check=partial(labels.of_runs, problem, observed, outputs),
        )
        try:
            job.work(mine, parts)
        except KeyboardInterrupt:
            if not any(part.recorded or part.ended for part in parts):
                raise
            stopped = dataset(complete=False)
            done = sum(len(part.runs) for part in parts if _is_whole(part, observe_end, len(times)))
            where = f"interrupted with {done} of {num_runs} runs done" if len(parts) > 1 else ""
            raise Interrupted(stopped, where) from None
        finally:
            progress.close()

    if share is not None:
        parts = kept.parts()
        if (done := len({run for part in parts for run in part.runs.tolist()})) < num_runs:
            raise Unfinished(done, num_runs)
    result = dataset(complete=True)
    if kept is not None and share is None:
        results.save(result, kept.result)
        kept.clear()
    _warn_of_divergence(result)  # last: the user may have made errors of warnings
    return result


def check(
    problem: Problem,
    descent: optax.GradientTransformation,
    *,
    steps: int,
    observe: Mapping[str, Observable],
    observe_end: Mapping[str, Observable],
    when: Sequence[int],
    seeds: Sequence[int],
    batch_size: int | None,
    engine: EngineName,
    strategy: batching.Strategy,
    memory: int | None,
    **how: Any,
) -> None:
    """Refuse what `simulate` would refuse of a call: parts that do not fit, too little memory for a run.

    Raises: ValueError, TypeError: as `simulate`.
    """
    recipe = recipe_of(descent)
    axes = layout.axes_of(partition((problem, recipe, observe, observe_end))[0])
    choice, _ = _choice(engine, problem, recipe, observe, observe_end, batch_size, steps, len(when))
    num_runs = math.prod(map(len, axes.values())) * len(seeds)
    _, varied = layout.lay_out(partition((problem.data,))[0], axes, len(seeds))
    choice.sized(batching.choose(strategy), num_runs, num_runs, memory, choice.fixed_data and not any(varied))


# tracing costs more than a short run: do it once for a form of problem
_CHOICES: dict[Any, tuple[Choice, tuple[int, ...]]] = {}


def _choice(engine, problem, recipe, observe, observe_end, batch_size, steps, records):
    """The engine, and the shape of the network's outputs on the training inputs."""
    numbers, rest = partition((problem, recipe, observe, observe_end))
    x64 = bool(jax.config.jax_enable_x64)
    key = (rest, layout.forms(numbers), engine, batch_size, steps, records, x64)
    if key not in _CHOICES:
        first = jax.tree.map(_first, (problem, recipe, observe, observe_end))
        if len(_CHOICES) >= 256:
            _CHOICES.clear()
        with warnings.catch_warnings():  # sizes beyond int32 are refused by the estimate, in its words
            warnings.filterwarnings("ignore", "Explicitly requested dtype int64", UserWarning)
            draw, params, outputs = checks.shapes(
                first[0], batch_size, first[2] | first[3], objective(recipe)
            )
            checks.rule(first[1], params, first[0])
            choice = choose_engine(engine, *first, batch_size, steps, records, draw, params)
        _CHOICES[key] = choice, outputs.shape
    return _CHOICES[key]


def _first(leaf):
    return leaf.values[0] if isinstance(leaf, Axis) else leaf


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
