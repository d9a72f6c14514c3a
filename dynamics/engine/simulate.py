"""The engine's door: train a problem for many seeds and return what was observed, labelled."""

import json
import math
import operator
import time
import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import xarray as xr

from dynamics import results
from dynamics.descent import Descent
from dynamics.engine import batching, direct
from dynamics.engine.checkpoint import Checkpoint
from dynamics.engine.interrupt import Interrupts
from dynamics.engine.progress import Progress
from dynamics.engine.schedule import recording_times
from dynamics.observables.base import Observable
from dynamics.parts import Axis, bind, describe, partition
from dynamics.problem import Problem

IN_FLIGHT = 2  # segments that the host may be ahead of the device


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during a run; `dataset` holds what had been recorded by then."""

    def __init__(self, dataset: xr.Dataset, where: str = ""):
        super().__init__(where or f"interrupted at step {int(dataset.step[-1])} of {dataset.attrs['steps']}")
        self.dataset = dataset


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
    strategy: batching.Strategy = "auto",
    root: int = 0,
    checkpoint: str | Path | None = None,
    checkpoint_every: bool = True,
    label: str = "training",
) -> xr.Dataset:
    """Train `problem` by `descent` for every seed, recording observables on the way.

    Training runs in segments between recording times: one compiled program advances every seed from
    one time to the next, and the host looks in between. Numbers inside `problem` and `descent` are
    traced (new values do not recompile), and an `Axis` in place of one runs all its values beside
    all seeds. A seed whose parameters or loss stop being finite is frozen there, named in
    `first_nonfinite_step` and in one warning; the others go on untouched, and what would have been
    recorded of it from then on is NaN.

    Args:
      problem: data, model, loss and adversary.
      descent: an optax transformation; one made by `steepest`, `named` or `traced` has its numbers traced.
      steps: number of steps; 0 records the initial state only.
      observe: what to record at every recording time, by name.
      observe_end: what to record once, at the end, by name.
      when: recording times, increasing; `steps` is appended. Default: 64, log-spaced.
      seeds: how many (0 .. N-1), or which. A seed's run does not depend on the others.
      batch_size: samples a step; None takes them all.
      strategy: how runs are batched; `auto` chooses for the backend.
      root: the key that all seeds are folded into.
      checkpoint: a folder to keep progress in, and to go on from if it holds any.
      checkpoint_every: write it at every recording time; else only when interrupted.
      label: what the progress line calls this run.

    Returns: a Dataset with dims (axes ..., seed, step, ...) for `observe`, the same without step for
      `observe_end`, `first_nonfinite_step` (-1: none), and attributes that say how it was made.
    Raises:
      ValueError, TypeError: bad arguments, before anything is compiled.
      Interrupted: Ctrl-C; carries the Dataset of what was recorded.
    """
    if not isinstance(problem, Problem):
        raise TypeError(f"problem must be a Problem, got {type(problem).__name__}")
    if not isinstance(descent, optax.GradientTransformation):
        raise TypeError(f"descent must be an optax transformation such as steepest(...), got {descent!r}")
    for given in (observe, observe_end):
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"observe must map names to Observables, got {given!r}")
    observe, observe_end = dict(observe or {}), dict(observe_end or {})
    seeds = _seed_list(seeds)
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 0:
        raise ValueError(f"steps must be an integer of at least 0, got {steps!r}")
    if batch_size is not None and (
        isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1
    ):
        raise ValueError(f"batch_size must be None or an integer of at least 1, got {batch_size!r}")
    times = recording_times(int(steps), when)
    _check_observables(observe, observe_end)
    recipe = descent.recipe if isinstance(descent, Descent) else bind(_as_given, rule=descent)

    numbers, rest = partition((problem, recipe, observe, observe_end))
    axes = _axes(numbers)
    taken = {"seed", "step", *observe, *observe_end}
    taken |= {dim for what in (observe | observe_end).values() for dim in what.dims}
    if both := taken & set(axes):
        raise ValueError(f"an axis cannot be called {min(both)!r}: the result has that already")
    chosen = batching.choose(strategy)
    num_runs = math.prod(map(len, axes.values())) * len(seeds)

    def plan_for(numbers, rest, size):
        numbers, varied = _lay_out(numbers, axes, len(seeds))
        plan = batching.Plan(rest, varied, chosen, root, size)
        return plan, batching.spread_numbers(plan, numbers, num_runs)

    _check_shapes(problem, batch_size, observe | observe_end)

    identity = {
        "problem": describe(problem),
        "descent": describe(recipe),
        "observe": describe(observe),
        "observe_end": describe(observe_end),
        "steps": int(steps),
        "times": times,
        "seeds": seeds,
        "batch_size": batch_size,
        "root": root,
        "float64": bool(jax.config.jax_enable_x64),
    }
    kept = None if checkpoint is None else Checkpoint(Path(checkpoint), identity)
    if kept is not None and kept.result.exists():
        return results.load(kept.result)

    begun = time.perf_counter()
    progress = Progress(label, int(steps), num_runs)
    rows: list[dict[str, np.ndarray]] = []

    def dataset(end_row, states, complete):
        first_nonfinite_step = batching.gather(plan, states).first_nonfinite_step
        attrs = {name: json.dumps(identity[name]) for name in ("problem", "descent")}
        attrs |= {"steps": int(steps), "root": root, "strategy": chosen, "batch_size": batch_size or 0}
        attrs |= {"wall_s": round(time.perf_counter() - begun, 3), "complete": int(complete)}
        return results.assemble(
            [batching.gather(plan, row) for row in rows],
            end_row,
            first_nonfinite_step=first_nonfinite_step,
            axes=axes,
            seeds=seeds,
            times=times[: len(rows)],
            observables=observe | observe_end,
            attrs=attrs | results.provenance(),
        )

    with jax.default_matmul_precision("highest"), Interrupts() as interrupts:
        plan, numbers = plan_for(numbers, rest, batch_size)
        run_seeds = np.tile(np.asarray(seeds, np.uint32), num_runs // len(seeds))
        run_seeds = batching.spread(plan, run_seeds, num_runs)
        shapes = direct.start.shapes(plan, numbers, [run_seeds], num_runs)
        found = None if kept is None else kept.load(jax.tree.leaves(shapes))
        data_plan, data_numbers = plan_for(*partition((problem.data,)), None)
        draws = direct.sample(data_plan, data_numbers, [run_seeds])
        if found is None:
            position, states = -1, direct.start(plan, numbers, [run_seeds])
        else:
            position, leaves, rows = found
            states = jax.tree.unflatten(jax.tree.structure(shapes), leaves)
            states = batching.spread(plan, states, num_runs)
        try:
            for i, (previous, now) in enumerate(pairwise([0, *times])):
                if i <= position:
                    continue
                runs = [run_seeds, states, draws]
                advanced = direct.advance(plan, numbers, runs, previous, now - previous)
                states_now, row = batching.unzip(plan, advanced)
                rows.append(row)
                states, position = states_now, i
                if i >= IN_FLIGHT:
                    rows[i - IN_FLIGHT] = batching.gather(plan, rows[i - IN_FLIGHT])
                if kept is not None and checkpoint_every:
                    rows[i] = batching.gather(plan, rows[i])
                    kept.save_record(i, rows[i])
                    kept.save_state(i, jax.tree.leaves(batching.gather(plan, states)))
                progress.update(now)
                interrupts.check()
            runs = [run_seeds, states, draws]
            end_row = batching.gather(plan, direct.conclude(plan, numbers, runs))
            interrupts.check()
        except KeyboardInterrupt:
            del rows[position + 1 :]
            if kept is not None and position >= 0:
                for i, row in enumerate(rows):
                    kept.save_record(i, batching.gather(plan, row))
                kept.save_state(position, jax.tree.leaves(batching.gather(plan, states)))
            if not rows:
                raise
            raise Interrupted(dataset({}, states, complete=False)) from None
        finally:
            progress.close()

    result = dataset(end_row, states, complete=True)
    _warn_of_divergence(result)
    if kept is not None:
        results.save(result, kept.result)
        kept.clear()
    return result


def _as_given(rule):
    return rule


def _seed_list(seeds) -> list[int]:
    if isinstance(seeds, int | np.integer) and not isinstance(seeds, bool):
        if seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {seeds}")
        return list(range(int(seeds)))
    try:
        listed = [operator.index(s) for s in seeds]
    except (TypeError, ValueError):
        raise ValueError(f"seeds must be a number of seeds or a list of integers, got {seeds!r}") from None
    if not listed or len(set(listed)) < len(listed) or not all(0 <= s < 2**32 for s in listed):
        raise ValueError("seeds must be different integers from 0 to 2**32 - 1, and at least one")
    return listed


def _check_observables(observe, observe_end):
    for name, what in (observe | observe_end).items():
        if name in ("seed", "step", "first_nonfinite_step"):
            raise ValueError(f"an observable cannot be called {name!r}: every result has that already")
        if not isinstance(what, Observable):
            raise TypeError(f"observe[{name!r}] must be an Observable, got {type(what).__name__}")
    if both := set(observe) & set(observe_end):
        raise ValueError(f"{', '.join(sorted(both))} is named in both observe and observe_end")


def _check_shapes(problem: Problem, batch_size: int | None, observed: Mapping[str, Observable]) -> None:
    """Trace on shapes alone: a misfit of model, loss, data or observables is refused before compiling."""
    key = jax.eval_shape(lambda: jax.random.key(0))

    def once(key):
        draw, params = problem.sample(key), problem.init(key, key)
        loss = problem.training_loss(params, draw.train, draw, key)
        return draw, params, problem.apply(params, draw.train.x), loss

    def first(leaf):
        return leaf.values[0] if isinstance(leaf, Axis) else leaf

    problem, observed = jax.tree.map(first, (problem, dict(observed)))
    draw, params, outputs, _ = jax.eval_shape(once, key)
    classes, count = draw.class_signs.shape[0], draw.train.y.shape[0]
    if outputs.ndim == 2 and outputs.shape[1] != classes:
        raise ValueError(f"the network has {outputs.shape[1]} logits, but the data has {classes} classes")
    if batch_size is not None and batch_size > count:
        raise ValueError(f"batch_size must be at most the {count} training samples, got {batch_size}")
    sizes: dict[str, int] = {}
    for name, what in observed.items():
        shape = jax.eval_shape(lambda p, d, k, what=what: what(p, problem, d, k), params, draw, key).shape
        if len(shape) != len(what.dims):
            raise ValueError(f"observable {name!r} names dimensions {what.dims}, but has shape {shape}")
        for dim, size in zip(what.dims, shape, strict=True):
            if dim in ("seed", "step") or sizes.setdefault(dim, size) != size:
                raise ValueError(
                    f"dimension {dim!r} of observable {name!r} has size {size}, elsewhere {sizes.get(dim)}; "
                    "give it a name of its own"
                )


def _axes(numbers) -> dict[str, np.ndarray]:
    """Axes by name, in order of appearance."""
    axes: dict[str, np.ndarray] = {}
    for number in numbers:
        if isinstance(number, Axis):
            known = axes.setdefault(number.name, number.values)
            if len(known) != len(number.values):
                raise ValueError(
                    f"axis {number.name!r} stands for {len(known)} and {len(number.values)} values"
                )
    return axes


def _lay_out(numbers, axes, num_seeds):
    """Each number as an array, those of an axis with a value a run (axes outside, seeds inside)."""
    sizes = [len(values) for values in axes.values()]
    laid_out, varied = [], []
    for number in numbers:
        if isinstance(number, Axis):
            shape = [1] * (len(sizes) + 1)
            shape[list(axes).index(number.name)] = len(number.values)
            spread = np.broadcast_to(number.values.reshape(shape), [*sizes, num_seeds])
            laid_out.append(jnp.asarray(spread.ravel(), float))
        elif isinstance(number, int | float | np.floating):
            laid_out.append(jnp.asarray(number, float))
        else:
            laid_out.append(jnp.asarray(number))
        varied.append(isinstance(number, Axis))
    return laid_out, tuple(varied)


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
    warnings.warn(f"{len(named)} of {stacked.size} runs diverged and were frozen: {shown}", stacklevel=3)
