"""A sweep carried out: all points give jobs, equal ones run together, and the results are one Dataset."""

import json
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from dynamics import asides
from dynamics.engine.execution import Execution
from dynamics.engine.gather import execute_all
from dynamics.engine.stages import Stages, Training
from dynamics.sweep.grid import Grid

_POINT = "point_of_the_sweep"
_OF_ALL = ("versions", "device", "machine", "float64", "jax_settings", "git_revision", "format", "root")


def run(
    train: Callable[[Any], Training],
    grid: Grid,
    execution: Execution,
    *,
    arms: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> xr.Dataset:
    """What is trained at every point of the grid, for every seed.

    Points whose computations differ in numbers only are one program, beside all seeds; others are
    compiled once each, and equal ones are computed once.

    Args:
      train: jobs of a config, as of an experiment.
      arms: dimension along which one point's jobs are joined.
      say: called with a line before every program.

    Returns: a Dataset with a dimension for every axis, named as its field (`_setting` is appended where the
      experiment has a dimension of that name); NaN where fields do not go together, with one warning.
    Raises: ValueError: what is refused at every point, or a share of a sweep. Interrupted: as `simulate`.
    """
    if execution.share is not None:
        raise ValueError("several processes cannot share a sweep: leave share out")
    begun = time.perf_counter()
    points: dict[int, Stages] = {}
    refused = {number: grid.refused for number, config in enumerate(grid.configs) if config is None}
    for number, config in enumerate(grid.configs):
        try:
            if config is not None:
                points[number] = Stages(train, config, arms)
        except ValueError as error:  # parts may refuse what the config does not
            refused[number] = str(error)
    if not points:
        raise ValueError(f"no point of the sweep is possible: {refused[min(refused)]}")
    while asked := {number: point.jobs for number, point in points.items() if point.jobs}:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".* runs diverged")  # said below, by point
            found = execute_all(asked, execution, say)
        for number, datasets in found.items():
            points[number].answer(datasets)
    done = {number: point.result for number, point in points.items()}
    _warn(grid, done, refused)
    return joined(grid, done).assign_attrs(wall_s=round(time.perf_counter() - begun, 3))


def _warn(grid: Grid, done: Mapping[int, xr.Dataset], refused: Mapping[int, str]) -> None:
    if refused:
        number = min(refused)
        asides.warn(
            f"{len(refused)} of {len(grid.configs)} points of the sweep are not possible and stay empty, "
            f"such as {grid.where(number)}: {refused[number]}",
            stacklevel=3,
        )
    diverged = {n: int((one.first_nonfinite_step >= 0).sum()) for n, one in done.items()}
    if total := sum(diverged.values()):
        first = next(number for number, count in diverged.items() if count)
        asides.warn(
            f"{total} runs of the sweep diverged and were frozen, the first at {grid.where(first)}",
            stacklevel=3,
        )


def joined(grid: Grid, done: Mapping[int, xr.Dataset]) -> xr.Dataset:
    """The points' Datasets as one, with a dimension for every axis."""
    import pandas as pd

    parts = [_with_coordinates(done[number]) for number in sorted(done)]
    whole = xr.concat(
        parts,
        xr.IndexVariable(_POINT, sorted(done)),
        join="outer",
        combine_attrs="drop_conflicts",
        data_vars="all",
        coords="minimal",
        compat="override",
    ).reindex({_POINT: range(len(grid.configs))})
    dims = {name: name if name not in whole.dims else f"{name}_setting" for name in grid.axes}
    if taken := set(dims.values()) & set(whole.variables):
        whole = whole.rename({name: f"{name}_measured" for name in taken})
    places = pd.MultiIndex.from_product(map(range, grid.shape), names=list(dims.values()))
    whole = whole.assign_coords(xr.Coordinates.from_pandas_multiindex(places, _POINT)).unstack(_POINT)
    whole = whole.transpose(*dims.values(), ...)
    fields = type(grid.base).__dataclass_fields__
    for name, dim in dims.items():
        about = {"long_name": fields[name].metadata["about"]}
        values = np.asarray(grid.axes[name])
        # netCDF has no booleans
        whole = whole.assign_coords(
            {dim: (dim, values.astype(str) if values.dtype == bool else values, about)}
        )
    whole = whole.map(_storable, keep_attrs=True)
    some = done[min(done)].attrs
    about = {name: some[name] for name in _OF_ALL if name in some}
    about |= {"created": max(part.attrs.get("created", "") for part in parts), "complete": 1}
    about |= {"sweep": grid.to_json(), "sweep_dims": json.dumps(dims)}
    whole.attrs = {}
    return whole.assign_attrs(about)


def _with_coordinates(part: xr.Dataset) -> xr.Dataset:
    bare = {dim: np.arange(size) for dim, size in part.sizes.items() if dim not in part.coords}
    return part.assign_coords(bare)


def _storable(variable: xr.DataArray) -> xr.DataArray:
    """A variable that filling with NaN has made objects of, as numbers or texts again."""
    if variable.dtype != object:
        return variable
    try:
        return variable.astype(float)
    except (TypeError, ValueError):
        return variable.fillna("").astype(str)


def dims_of(dataset: xr.Dataset) -> dict[str, Any]:
    """The dimension of each axis, by field."""
    return json.loads(dataset.attrs["sweep_dims"])
