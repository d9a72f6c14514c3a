"""What a sweep shows: one number a point and seed, with the theory's where there is one."""

import functools
import operator
import re
from collections.abc import Sequence

import numpy as np
import xarray as xr
from jaxtyping import Float

from dynamics.study.law import Law
from dynamics.sweep.grid import Grid

MOST_QUANTITIES = 4
DEFAULTS = ("test_accuracy", "accuracy", "training_loss")
_SELECTION = re.compile(r"(?P<name>[^\[\]]+)(?:\[(?P<where>[^\[\]]*)\])?")


class NoSuchValue(ValueError):
    """A quantity is asked for where its variable has no coordinate of this value."""


def values(one: Law, dataset: xr.Dataset, dims: Sequence[str]) -> Float[np.ndarray, "*axes seeds"]:
    """The number of every point and seed; of each point by itself, if points recorded other steps."""
    recorded = _recorded(dataset, dims)
    if recorded is None or bool(recorded.all()):
        return np.asarray(one.quantity(dataset).transpose(*dims, "seed").values, float)
    found = np.full([dataset.sizes[dim] for dim in (*dims, "seed")], np.nan)
    for place in np.ndindex(found.shape[:-1]):
        at = dict(zip(dims, place, strict=True))
        steps = np.flatnonzero(recorded.isel(at).values)
        if steps.size:
            found[place] = one.quantity(dataset.isel(at | {"step": steps})).transpose("seed").values
    return found


def _recorded(dataset: xr.Dataset, dims: Sequence[str]) -> xr.DataArray | None:
    """Which steps each point recorded: those at which any number of any seed is there."""
    there = [
        variable.notnull().any([dim for dim in variable.dims if dim not in (*dims, "step")])
        for variable in dataset.data_vars.values()
        if {*dims, "step"} <= set(variable.dims)
    ]
    return None if not there else functools.reduce(operator.or_, there)


def predicted(one: Law, grid: Grid) -> Float[np.ndarray, "*axes"]:
    """The theory's number of every point, NaN where there is none."""
    found = [None if config is None else one.predicted(config) for config in grid.configs]
    return np.asarray([np.nan if value is None else value for value in found], float).reshape(grid.shape)


def choose(
    declared: Sequence[Law | str],
    dataset: xr.Dataset,
    grid: Grid,
    dims: Sequence[str],
    asked: Sequence[str] = (),
) -> list[Law]:
    """The quantities asked for by name, or by variable as `NAME[dim=value,...]`; else those declared.

    Raises: ValueError: no such variable or coordinate, or too many.
    """
    named = {one.name: one for one in declared if isinstance(one, Law)}
    if asked:
        wanted: Sequence[Law | str] = [named.get(text, text) for text in dict.fromkeys(asked)]
    else:
        wanted = [one for one in declared if _is_there(one, dataset, grid)]
        if not wanted:
            wanted = [next((name for name in DEFAULTS if name in dataset), _any(dataset, dims))]
    for one in wanted:
        if isinstance(one, Law) and not _is_there(one, dataset, grid):
            raise ValueError(f"--quantity {one.name} does not apply to the runs of this sweep")
    found = [
        m for one in wanted for m in ([one] if isinstance(one, Law) else _read(one, dataset, dims, named))
    ]
    if len(found) > MOST_QUANTITIES:
        names = ", ".join(one.name for one in found)
        raise ValueError(
            f"at most {MOST_QUANTITIES} quantities can be shown; choose by --quantity from {names}"
        )
    return found


def _is_there(one, dataset, grid):
    if isinstance(one, str):
        return one.partition("[")[0] in dataset
    try:
        some = any(config is not None and one.recorded(config) for config in grid.configs)
        return some and one.quantity(dataset) is not None
    except KeyError:  # it was not recorded
        return False


def _any(dataset, dims):
    for name, variable in dataset.data_vars.items():
        if {*dims, "seed"} <= set(variable.dims) and variable.dtype.kind in "fiu":
            return name
    raise ValueError("this sweep recorded no number that could be shown")


def _read(text, dataset, dims, named) -> list[Law]:
    """A variable's last value, averaged over what is left; one quantity for each arm."""
    found = _SELECTION.fullmatch(text.strip())
    name = found["name"] if found else text
    if name not in dataset.data_vars or not {*dims, "seed"} <= set(dataset[name].dims):
        shown = [n for n, v in dataset.data_vars.items() if {*dims, "seed"} <= set(v.dims)]
        there = ", ".join(map(str, dict.fromkeys([*named, *shown])))
        raise ValueError(f"--quantity {text}: no such quantity; there are {there}")
    free = [str(dim) for dim in dataset[name].dims if dim not in (*dims, "seed")]
    chosen = {}
    # the name of an arm may have commas of its own
    for word in filter(
        None, re.split(rf",(?=\s*(?:{'|'.join(map(re.escape, free))})\s*=)", found["where"] or "")
    ):
        dim, _, value = (part.strip() for part in word.partition("="))
        if dim not in free:
            raise ValueError(
                f"--quantity {text}: {name} has no {dim!r} to choose from; it has {', '.join(free)}"
            )
        chosen[dim] = _coordinate(text, dataset[dim].values, dim, value)
    found = [chosen]
    for dim in (dim for dim in free if dim not in chosen and _tells_apart(dataset, name, dim, dims)):
        found = [one | {dim: value} for one in found for value in dataset[dim].values.tolist()]
    return [_of_variable(dataset, name, one) for one in found]


def _tells_apart(dataset, name, dim, dims):
    """Whether a dimension of texts, such as arms, has more than one of them at the same point."""
    if dim not in dataset.coords or dataset[dim].dtype.kind not in "UOT":
        return False
    there = dataset[name].notnull()
    there = there.any([other for other in there.dims if other != dim and other not in dims])
    return int(there.sum(dim).max()) > 1


def _coordinate(text, values, dim, given):
    for value in values.tolist():
        if str(value) == given or (isinstance(value, int | float) and _number(given) == value):
            return value
    shown = ", ".join(map(str, values.tolist()[:12]))
    raise NoSuchValue(f"--quantity {text}: {dim} has the values {shown}, got {given}")


def _number(text):
    try:
        return float(text)
    except ValueError:
        return None


def _of_variable(dataset, name, chosen) -> Law:
    where = ", ".join(map(str, chosen.values()))
    about = name.replace("_", " ")
    if units := dataset[name].attrs.get("units"):
        about += f" [{units}]"
    dims = set(_sweep_dims(dataset))

    def of(data):
        array = data[name].sel(chosen) if chosen else data[name]
        if "step" in array.dims and "step" not in chosen:
            array = _last(array, dims)
            array = _without_diverged(array, data, chosen)
        return array.mean([dim for dim in array.dims if dim not in dims and dim != "seed"])

    shown = ",".join(f"{dim}={value}" for dim, value in chosen.items())
    return Law(f"{name}[{shown}]" if shown else name, f"{about} ({where})" if where else about, of)


def _sweep_dims(dataset):
    from dynamics.sweep.run import dims_of

    return dims_of(dataset).values()


def _last(array, dims):
    """The value at the last step that a point recorded: points may be of different lengths."""
    there = array.notnull().any([dim for dim in array.dims if dim != "step" and dim not in dims])
    steps = xr.DataArray(np.arange(array.sizes["step"]), dims="step")
    return array.isel(step=steps.where(there, 0).max("step").astype(int))


def _without_diverged(array, data, chosen):
    first = data.get("first_nonfinite_step")
    if first is None:
        return array
    first = first.sel({dim: value for dim, value in chosen.items() if dim in first.dims})
    return array.where(~(first >= 0)) if set(first.dims) <= set(array.dims) else array
