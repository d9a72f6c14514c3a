"""What `simulate` would return if every run diverged at once: names, shapes, no training."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
import xarray as xr

from dynamics import results
from dynamics.descent import objective, recipe_of
from dynamics.engine import checks, layout
from dynamics.keys import seed_key
from dynamics.observables.base import Observable
from dynamics.parts import Axis, partition
from dynamics.problem import Problem


def blank(
    problem: Problem,
    descent: optax.GradientTransformation,
    *,
    observe: Mapping[str, Observable],
    observe_end: Mapping[str, Observable],
    steps: int,
    when: Sequence[int],
    seeds: Sequence[int],
    batch_size: int | None,
    **how: Any,
) -> xr.Dataset:
    """The Dataset of this call of `simulate`, every seed frozen at step 0; nothing is compiled.

    Raises: ValueError, TypeError: parts that do not fit together.
    """
    recipe = recipe_of(descent)
    axes = layout.axes_of(partition((problem, recipe, observe, observe_end))[0])
    problem, recipe, observe, observe_end = jax.tree.map(
        lambda leaf: leaf.values[0] if isinstance(leaf, Axis) else leaf,
        (problem, recipe, observe, observe_end),
    )
    draw, params, _ = checks.shapes(problem, batch_size, {}, objective(recipe))
    key = jax.eval_shape(lambda: seed_key(0))
    beside = problem.kept_shapes()
    runs = math.prod(map(len, axes.values())) * len(seeds)

    def zeros(what, *times):
        one = jax.eval_shape(lambda p, b, d, k: what(p, problem.at(b), d, k), params, beside, draw, key)
        return np.zeros((runs, *times, *one.shape), one.dtype)

    attrs = {"problem": json.dumps({}), "descent": json.dumps({}), "steps": steps, "complete": 1}
    return results.assemble(
        {name: zeros(what, len(when)) for name, what in observe.items()},
        {name: zeros(what) for name, what in observe_end.items()},
        first_nonfinite_step=np.zeros(runs, int),
        axes=axes,
        seeds=seeds,
        times=when,
        observables=observe | observe_end,
        attrs=attrs | results.provenance(),
    )
