"""What is refused before anything is compiled, in one sentence each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.errors
import jax
import numpy as np
from jaxtyping import PyTree

from dynamics.data.sample import Draw
from dynamics.descent import Objective
from dynamics.descriptions import opaque
from dynamics.keys import MOST, seed_key
from dynamics.observables.base import Observable
from dynamics.problem import Problem
from dynamics.words import MOST_SEEDS, as_integer, integer


def seed_list(seeds: Any) -> list[int]:
    """Seeds as a list: a number of them counts from 0.

    Raises: ValueError: neither a number of seeds nor a list of different ones.
    """
    if isinstance(seeds, int | np.integer) and not isinstance(seeds, bool):
        if not 1 <= seeds <= MOST_SEEDS:
            bound = "at least 1" if seeds < 1 else f"at most {MOST_SEEDS}"
            raise ValueError(f"seeds must be {bound}, got {seeds}")
        return list(range(int(seeds)))
    try:
        listed = [as_integer(seed) for seed in seeds]
    except TypeError:
        listed = [None]
    if None in listed:
        raise ValueError(f"seeds must be a number of seeds or a list of integers, got {seeds!r}")
    if not listed or len(set(listed)) < len(listed) or not all(0 <= seed <= MOST for seed in listed):
        raise ValueError("seeds must be different integers from 0 to 2**32 - 1, and at least one")
    return listed


def share(given: tuple[int, int] | None, checkpoint: str | Path | None) -> None:
    """Refuse a share (i, n) that is none, or that has no folder to go to."""
    if given is None:
        return
    try:
        index, count = given
        integer("share", index, 0, integer("share", count, 1) - 1)
    except (TypeError, ValueError):
        raise ValueError(f"share must be (i, n) with 0 <= i < n, got {given!r}") from None
    if checkpoint is None:
        raise ValueError("a share of the runs needs a checkpoint folder, where all shares come together")


def told_apart(identity: dict[str, Any]) -> None:
    """Refuse to keep a run that a checkpoint could not tell from another."""
    if (found := opaque(identity)) is not None:
        where, kind = found
        raise TypeError(
            f"a checkpoint cannot tell this run from others: {where} is of {kind}, which has no contents "
            "to look at; leave checkpoint out, or use numbers, arrays, functions or dataclasses there"
        )


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
    key = jax.eval_shape(lambda: seed_key(0))

    def once(key):
        draw, params = problem.sample(key), problem.init(key, key)
        loss = problem.training_loss(params, draw.train, draw, key, of)
        return draw, params, problem.apply(params, draw.train.x), loss

    try:
        draw, params, outputs, _ = jax.eval_shape(once, key)
    except flax.errors.InvalidRngError:
        raise ValueError(
            f"the model {type(problem.model).__name__} asks for random numbers when it is applied (dropout, "
            "say), and networks here are functions of their parameters: make it deterministic"
        ) from None
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
