"""Numbers of each seed: refused where they cannot stand, and taken of a run at its start."""

from typing import Any

import jax
import numpy as np

from dynamics.data.sample import Draw
from dynamics.engine import checks
from dynamics.engine.batching import Program
from dynamics.keys import named_key, seed_key
from dynamics.observables.base import Observable
from dynamics.parts import Axis, per_seed, put


def refuse(problem: Any, recipe: Any, observe: Any, observe_end: Any) -> None:
    """Refuse numbers of each seed that are none, and those whose place is looked at before they are known.

    Raises: TypeError, ValueError: see above.
    """
    if per_seed(problem.data):
        raise ValueError("a PerSeed cannot stand in the data: a distribution is told its seed by its key")
    if any(one.of is not None for one in per_seed(problem)):
        raise ValueError("a PerSeed of an observable cannot stand in the problem that it is observed on")
    for one in per_seed((recipe, observe, observe_end)):
        if one.of is None:
            continue
        checks.observables({"number_of_each_seed": one.of}, {})
        if one.of.dims or per_seed(one.of):
            raise ValueError(f"a PerSeed needs an observable of one number, got dimensions {one.of.dims}")


def typical(parts: Any) -> Any:
    """The parts with one value in the place of every axis, and of every number of each seed."""
    stand_ins = [np.uint32(0) if one.of is None else 1.0 for one in per_seed(parts)]
    put_in = put(parts, stand_ins)
    return jax.tree.map(_one, put_in)


def _one(leaf):
    if isinstance(leaf, Axis):
        return leaf.values[0]
    return float(leaf) if type(leaf) is int else leaf  # as it will be computed with


@Program
def numbers(plan, problem, recipe, observe, observe_end, seed, data):
    """One run's numbers of each seed, in the order of `parts.per_seed`."""
    key = seed_key(seed, plan.root)
    asked = per_seed((problem, recipe, observe, observe_end))
    problem = put(problem, [seed for _ in per_seed(problem)])
    draw = data if isinstance(data, Draw) else data[0]  # Gram space has inner products beside it
    params, collections = problem.variables(named_key(key, "init"), named_key(key, "data"))
    begun = problem.at(collections)

    def value(of: Observable | None):
        return seed if of is None else of(params, begun, draw, named_key(key, "observe"))

    return [value(one.of) for one in asked]
