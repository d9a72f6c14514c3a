"""What a job would give if every run diverged at once: names, shapes, no training."""

import json
import math
from collections.abc import Sequence

import jax
import numpy as np
import xarray as xr

from dynamics import results
from dynamics.descent import objective
from dynamics.engine import checks, layout, seed_numbers
from dynamics.engine.job import Job
from dynamics.keys import seed_key
from dynamics.parts import partition


def blank(job: Job, seeds: Sequence[int]) -> xr.Dataset:
    """The Dataset of a job, every seed frozen at step 0; nothing is compiled.

    Raises: ValueError, TypeError: parts that do not fit together.
    """
    with jax.enable_x64(job.float64):
        return _blank(job, list(seeds if job.seeds is None else job.seeds))


def _blank(job, seeds):
    axes = layout.axes_of(partition(job.parts)[0])
    problem, recipe, observe, observe_end = seed_numbers.typical(job.parts)
    draw, params, _ = checks.shapes(problem, job.batch_size, {}, objective(recipe))
    key = jax.eval_shape(lambda: seed_key(0))
    beside = problem.kept_shapes()
    runs = math.prod(map(len, axes.values())) * len(seeds)

    def zeros(what, *times):
        one = jax.eval_shape(lambda p, b, d, k: what(p, problem.at(b), d, k), params, beside, draw, key)
        return np.zeros((runs, *times, *one.shape), one.dtype)

    attrs = {"problem": json.dumps({}), "descent": json.dumps({}), "steps": job.steps, "complete": 1}
    return results.assemble(
        {name: zeros(what, len(job.when)) for name, what in observe.items()},
        {name: zeros(what) for name, what in observe_end.items()},
        first_nonfinite_step=np.zeros(runs, int),
        axes=axes,
        seeds=seeds,
        times=job.when,
        observables=job.observed,
        attrs=attrs | results.provenance(),
    )
