"""What a sweep will record, told before it is trained: whether there will be what is asked to be shown."""

import warnings
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from dynamics.engine.blank import blank
from dynamics.engine.stages import Stages
from dynamics.sweep import run, shown
from dynamics.sweep.grid import Grid

MOST_STAGES = 8  # of a training, which may go on until it has learned enough


def check_quantities(trained: Any, grid: Grid, asked: Sequence[str]) -> None:
    """Refuse a quantity that no point of the sweep will have.

    The training is given blank results in place of trained ones, at the ends of axes of numbers and at all
    values of others. Where it cannot work on those, nothing is refused; what it computes without training
    is computed, for seed 0.

    Args: trained: the experiment, or what has its `train`, `arms`, `quantities` and `signed`.

    Raises: ValueError: no such quantity, or too many of them.
    """
    if len(asked) > shown.MOST_QUANTITIES:
        raise ValueError(f"--quantity: at most {shown.MOST_QUANTITIES} quantities can be shown")
    missing: dict[str, ValueError] = {}
    waiting, corners = list(asked), list(_corners(grid))
    is_all = len(corners) == sum(config is not None for config in grid.configs)
    for number in corners:
        places = zip(grid.axes, np.unravel_index(number, grid.shape), strict=True)
        axes = {name: (grid.axes[name][place],) for name, place in places}
        point = Grid((grid.configs[number],), axes, grid.ties, "")
        dataset = _foreseen(trained, point)
        if dataset is None:
            return
        dims = list(run.dims_of(dataset).values())
        for name in list(waiting):
            try:
                shown.choose(trained.quantities, dataset, point, dims, [name])
                waiting.remove(name)
            except shown.NoSuchValue as error:
                if is_all:
                    missing.setdefault(name, error)
                else:  # a point between may have it
                    waiting.remove(name)
            except ValueError as error:
                missing.setdefault(name, error)
        if not waiting:
            return
    raise missing[waiting[0]]


def _corners(grid: Grid) -> Iterator[int]:
    """Points between which only numbers vary."""
    places = []
    for values in grid.axes.values():
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        places.append(sorted({0, len(values) - 1}) if numbers else range(len(values)))
    for place in product(*places):
        number = int(np.ravel_multi_index(place, grid.shape))
        if grid.configs[number] is not None:
            yield number


def _foreseen(trained, point) -> xr.Dataset | None:
    """The sweep of one point and seed, of blank results; None where the training needs trained ones."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of means over nothing
            stages = Stages(trained.train, point.base, trained.arms)
            for _ in range(MOST_STAGES):
                if not stages.jobs:
                    break
                stages.answer({name: blank(job, [0]) for name, job in stages.jobs.items()})
            return trained.signed(run.joined(point, {0: stages.result}), point.base)
    except Exception:  # a training may do anything with what it gets, and the training itself will tell
        return None
