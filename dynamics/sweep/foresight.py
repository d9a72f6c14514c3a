"""What a sweep will record, told before it is trained: whether there will be what is asked to be shown."""

import warnings
from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np
import xarray as xr

from dynamics.engine.blank import blank
from dynamics.engine.gather import Gather, answer_all
from dynamics.engine.simulate import Unfinished
from dynamics.experiments.base import Engine, Experiment
from dynamics.sweep import measures, run
from dynamics.sweep.grid import Grid

MOST_ROUNDS = 8  # of asking, in which a point may build on what it was answered


def check_measures(experiment: Experiment, grid: Grid, asked: Sequence[str]) -> None:
    """Refuse a measure that no point of the sweep will have.

    The experiment is given blank results in place of trained ones, at the ends of axes of numbers and at all
    values of others. Where it cannot work on those, nothing is refused; what it computes without training
    is computed, for seed 0.

    Raises: ValueError: no such measure, or too many of them.
    """
    if len(asked) > measures.MOST_MEASURES:
        raise ValueError(f"--measure: at most {measures.MOST_MEASURES} measures can be shown")
    missing: dict[str, ValueError] = {}
    waiting, corners = list(asked), list(_corners(grid))
    is_all = len(corners) == sum(config is not None for config in grid.configs)
    for number in corners:
        places = zip(grid.axes, np.unravel_index(number, grid.shape), strict=True)
        axes = {name: (grid.axes[name][place],) for name, place in places}
        point = Grid((grid.configs[number],), axes, grid.ties, "")
        dataset = _foreseen(experiment, point)
        if dataset is None:
            return
        dims = list(run.dims_of(dataset).values())
        for name in list(waiting):
            try:
                measures.choose(experiment.measures, dataset, point, dims, [name])
                waiting.remove(name)
            except measures.NoSuchValue as error:
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


def _foreseen(experiment, point) -> xr.Dataset | None:
    """The sweep of one point and seed, of blank results; None where the experiment needs trained ones."""
    gather = Gather()
    try:
        with warnings.catch_warnings(action="ignore"):  # of means over nothing
            for _ in range(MOST_ROUNDS):
                try:
                    dataset = experiment.simulate(point.base, Engine([0], gather=gather))
                    return run.joined(experiment, point, {0: dataset})
                except Unfinished:
                    answer_all({0: gather}, blank)
    except Exception:  # an experiment may do anything with what it gets, and the training itself will tell
        pass
    return None
