"""What is refused before anything is compiled, in one sentence each."""

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from dynamics.data.sample import Draw
from dynamics.descent import Objective
from dynamics.observables.base import Observable
from dynamics.problem import Problem


def seed_list(seeds: Any) -> list[int]:
    """Seeds as a list: a number of them counts from 0."""
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


def whole(name: str, value: Any, low: int) -> None:
    """Refuse what is not an integer of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise ValueError(f"{name} must be an integer of at least {low}, got {value!r}")


def share(given: tuple[int, int] | None, checkpoint: str | Path | None) -> None:
    """Refuse a share (i, n) that is none, or that has no folder to go to."""
    if given is None:
        return
    if len(given) != 2 or not 0 <= given[0] < given[1]:
        raise ValueError(f"share must be (i, n) with 0 <= i < n, got {given!r}")
    if checkpoint is None:
        raise ValueError("a share of the runs needs a checkpoint folder, where all shares come together")


def observables(observe: Mapping[str, Observable], observe_end: Mapping[str, Observable]) -> None:
    """Refuse what is no observable, and names that are taken."""
    for name, what in (observe | observe_end).items():
        if name in ("seed", "step", "first_nonfinite_step"):
            raise ValueError(f"an observable cannot be called {name!r}: every result has that already")
        if not isinstance(what, Observable):
            raise TypeError(f"observe[{name!r}] must be an Observable, got {type(what).__name__}")
    if both := set(observe) & set(observe_end):
        raise ValueError(f"{', '.join(sorted(both))} is named in both observe and observe_end")


def shapes(
    problem: Problem, batch_size: int | None, observed: Mapping[str, Observable], of: Objective = "loss"
) -> tuple[Draw, PyTree]:
    """Trace on shapes alone: refuse a misfit of model, loss, data or observables.

    Returns: shapes of a run's data and of its parameters.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))

    def once(key):
        draw, params = problem.sample(key), problem.init(key, key)
        loss = problem.training_loss(params, draw.train, draw, key, of)
        return draw, params, problem.apply(params, draw.train.x), loss

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
    return draw, params
