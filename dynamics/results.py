"""Results: labelled arrays with their provenance; saved whole as netCDF, never pickled."""

import datetime
import functools
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dynamics import startup
from dynamics.files import write_atomically

FORMAT = "training-dynamics-lab result 1"


def assemble(
    recorded: Mapping[str, np.ndarray],
    ended: Mapping[str, np.ndarray],
    *,
    first_nonfinite_step: np.ndarray,
    axes: Mapping[str, np.ndarray],
    seeds: Sequence[int],
    times: Sequence[int],
    observables: Mapping[str, Any],
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    """The Dataset of a run from what was recorded at all times, each of shape (runs, times, ...), and at
    its end, each (runs, ...); runs of all axes' values, seeds innermost.

    Floats recorded at or after a run's `first_nonfinite_step` are NaN.
    """
    batch = (*axes, "seed")
    sizes = (*(len(v) for v in axes.values()), len(seeds))
    diverged = first_nonfinite_step >= 0
    coords: dict[str, Any] = {**axes, "seed": np.asarray(seeds), "step": np.asarray(times)}
    late = diverged[:, None] & (np.asarray(times) >= first_nonfinite_step[:, None])
    data = {}
    for found, step, blank in ((recorded, ("step",), late), (ended, (), diverged)):
        for name, values in found.items():
            what = observables[name]
            dims = (*batch, *step, *what.dims)
            shape = (*sizes, *values.shape[1:])
            if len(dims) != len(shape):
                given = len(shape) - len(dims) + len(what.dims)
                raise ValueError(f"observable {name!r} names dimensions {what.dims} but has {given}")
            values = _blank(values, blank).reshape(shape)
            data[name] = (dims, values, {"long_name": what.about or name, "units": what.units})
            coords |= {k: v for k, v in what.coordinates.items() if k not in coords}
            coords |= {k: np.arange(n) for k, n in zip(dims, shape, strict=True) if k not in coords}
    data["first_nonfinite_step"] = (
        batch,
        first_nonfinite_step.reshape(sizes),
        {"long_name": "first step whose result was not finite (-1: none)", "units": ""},
    )
    return xr.Dataset(data, coords, {"format": FORMAT, **attrs})


def _blank(values: np.ndarray, late: np.ndarray) -> np.ndarray:
    if not np.issubdtype(values.dtype, np.floating) or not late.any():
        return values
    values = values.copy()
    values[late] = np.nan
    return values


def provenance() -> dict[str, str]:
    """What a result says of where it comes from: versions, device, machine, code revision, time."""
    import jax

    versions = {
        name: _version(name)
        for name in ("training-dynamics-lab", "jax", "jaxlib", "optax", "flax", "numpy", "scipy", "xarray")
    }
    device = jax.devices()[0]
    return {
        "versions": json.dumps({"python": platform.python_version(), **versions}),
        "device": f"{len(jax.devices())} x {device.device_kind} ({device.platform})",
        "machine": f"{startup.cpu_name()}, {os.cpu_count()} cores, {platform.system()}",
        "float64": str(bool(jax.config.jax_enable_x64)),
        "git_revision": git_revision(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


@functools.cache
def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@functools.cache  # the code in memory stays what it is
def git_revision() -> str:
    """The revision of the checkout this package runs from, `+changes` if edited; "" outside of one."""
    folder = Path(__file__).resolve().parent
    if not (folder.parent / ".git").exists():
        return ""

    def git(*args):
        run = subprocess.run(
            ["git", "-C", str(folder), *args], capture_output=True, text=True, timeout=10, check=True
        )
        return run.stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def save(dataset: xr.Dataset, path: str | os.PathLike) -> None:
    """Write `dataset` to `path` as netCDF, whole or not at all.

    Raises: OSError: the place cannot be written to.
    """
    import h5netcdf  # noqa: F401  (say at once that it is missing, not after the run)

    if "format" not in dataset.attrs:  # a mean or a selection by the user drops the attributes
        dataset = dataset.assign_attrs(format=FORMAT, complete=1)
    # made in memory first: HDF5 that runs out of disk in the middle takes the process down with it
    whole = dataset.to_netcdf(engine="h5netcdf")
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(whole))


def load(path: str | os.PathLike, *, partial: bool = False) -> xr.Dataset:
    """The result in `path`: a file that `save` wrote, or the folder of a run.

    Args:
      partial: also accept what an interrupted run had recorded (`partial.nc`).

    Raises: ValueError: nothing there, not a result of this library, truncated, or interrupted.
    """
    path = Path(path)
    if path.is_dir():
        folder, path = path, path / "result.nc"
        left = [folder / "partial.nc", folder / "checkpoint", folder / "run.json"]
        if not path.exists() and any(trace.exists() for trace in left):
            if not partial or not left[0].exists():
                raise ValueError(
                    f"{folder} holds an interrupted run: resume it with `dynamics resume {folder}`, "
                    "or read what there is with load(..., partial=True)"
                )
            path = folder / "partial.nc"
    if not path.exists():
        raise ValueError(f"{path} does not exist: give a run's folder or its result.nc")
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            dataset = opened.load()
    except Exception as error:  # h5py raises many kinds for a file it cannot read
        if isinstance(error, ImportError | MemoryError):
            raise
        raise ValueError(f"{path} is not a readable result: truncated, or not a netCDF file") from None
    if dataset.attrs.get("format") != FORMAT:
        raise ValueError(f"{path} is a netCDF file, but not a result of this library")
    if not partial and not int(dataset.attrs.get("complete", 0)):
        raise ValueError(f"{path} is of an interrupted run; load(..., partial=True) reads what there is")
    return dataset


def join(parts: Mapping[str, xr.Dataset], dim: str) -> xr.Dataset:
    """One Dataset with the parts along a new labelled dimension; what a part lacks is NaN."""
    names = list(parts)
    joined = xr.concat(
        list(parts.values()),
        xr.IndexVariable(dim, np.asarray(names, dtype=str)),
        join="outer",
        combine_attrs="drop_conflicts",
        data_vars="all",
        coords="minimal",
        compat="override",
    )
    joined.attrs["wall_s"] = round(sum(float(p.attrs.get("wall_s", 0)) for p in parts.values()), 3)
    joined.attrs["complete"] = int(all(int(p.attrs.get("complete", 0)) for p in parts.values()))
    joined.attrs["created"] = max(p.attrs.get("created", "") for p in parts.values())
    for name in ("problem", "descent"):
        joined.attrs[name] = json.dumps({k: json.loads(p.attrs[name]) for k, p in parts.items()})
    return joined


def first_step(happened: xr.DataArray) -> xr.DataArray:
    """The first recorded step at which a condition holds, without the dim `step`; NaN if it never does.

    `first_step(dataset.train_accuracy >= 1)`: known up to the distance of recording times.

    Raises: ValueError: no dimension `step`.
    """
    if "step" not in happened.dims:
        raise ValueError(f"a condition needs the dimension step, got {happened.dims}")
    return happened.step.where(happened).min("step")


def passed_between(happened: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """The recorded steps before and at which a condition first holds, without the dim `step`.

    Both are the first record, where it holds there; inf is the later one, where it never does.

    Raises: ValueError: no dimension `step`.
    """
    first = first_step(happened)
    after = first.fillna(np.inf)
    return happened.step.where(happened.step < after).max("step").fillna(first), after
