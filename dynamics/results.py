"""Results: labelled arrays with their provenance; saved whole as netCDF, never pickled.

What is trusted. `load` reads numbers and text, and runs nothing. It holds the file against the checksum at
its end, so that damage is an error; whoever reads a part of it by other means has HDF5's own checksum of
every chunk of numbers. A result of format 1, from before checksums, is read with a warning that it is not
verified.

A result names the experiment that made it. One in a file of the user's own runs, to draw or to judge, only if
that file is at the place and has the SHA-256 that the result holds, or if the user names it: on the command
line by `--experiment FILE.py:NAME`, in Python by `experiments.get`. What such a file imports is not compared,
and no checksum says who wrote a result: of a stranger's, run only files that you have read.
"""

import datetime
import functools
import importlib.metadata
import io
import json
import mmap
import os
import platform
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dynamics import startup
from dynamics.files import is_sealed, seal, write_atomically

FORMAT = "training-dynamics-lab result 2"
_UNVERIFIED = "training-dynamics-lab result 1"  # before checksums
_JSON = ("config", "problem", "descent", "versions", "sweep", "sweep_dims")  # attributes
_SETTINGS = (
    "jax_random_seed_offset",
    "jax_high_dynamic_range_gumbel",
    "jax_softmax_custom_jvp",
    "jax_explicit_x64_dtypes",
)


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
            # a parameter's own axes have no labels: a page of them would hide what there is
            known = {*coords, *(dim for dim in dims if dim.startswith(f"{name}."))}
            coords |= {k: np.arange(n) for k, n in zip(dims, shape, strict=True) if k not in known}
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
        "jax_settings": json.dumps(jax_settings()),
        "git_revision": git_revision(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def jax_settings() -> dict[str, Any]:
    """JAX's settings that change numbers, but for those that the library fixes and the precision."""
    import jax

    values = {name: getattr(jax.config, name, None) for name in _SETTINGS}
    return {name: getattr(value, "name", value) for name, value in values.items()}


@functools.cache
def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


@functools.cache  # the code in memory stays what it is
def git_revision() -> str:
    """The revision of the checkout this package runs from, `+changes` if edited; "" outside of one."""
    checkout = Path(__file__).resolve().parents[1]
    if not (checkout / ".git").exists():
        return ""
    # hooks and `git rebase --exec` name their own repository there; and none above this folder is meant
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CEILING_DIRECTORIES": str(checkout.parent), "GIT_OPTIONAL_LOCKS": "0"}

    def git(*args):
        run = subprocess.run(
            ["git", "-C", str(checkout), *args],
            env=environment,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        return run.stdout.strip()

    try:
        changes = git("status", "--porcelain", "--untracked-files=normal", "--", "dynamics", "kernels")
        return git("rev-parse", "HEAD") + ("+changes" if changes else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def save(dataset: xr.Dataset, path: str | os.PathLike) -> None:
    """Write `dataset` to `path` as netCDF with checksums, whole or not at all.

    Raises:
      OSError: the place cannot be written to.
      TypeError: an attribute that is neither text nor numbers.
    """
    import h5netcdf  # say at once that it is missing, not after the run

    if "format" not in dataset.attrs:  # a mean or a selection by the user drops the attributes
        dataset = dataset.assign_attrs(complete=1)
    dataset = dataset.assign_attrs(format=FORMAT)
    _refuse_attributes(dataset.attrs)
    for variable in dataset.variables.values():
        _refuse_attributes(variable.attrs)
        # HDF5 keeps text outside of the chunks that it sums up
        summed = variable.ndim > 0 and variable.size > 0 and variable.dtype.kind in "biufc"
        variable.encoding = {"fletcher32": True} if summed else {}
    # made in memory first: HDF5 that runs out of disk in the middle takes the process down with it
    whole = io.BytesIO()
    with h5netcdf.File(whole, "w", libver=("v110", "v110")) as file:  # older formats take 3 KB a chunk
        dataset.dump_to_store(xr.backends.H5NetCDFStore(file))

    def write(temporary: Path) -> None:
        temporary.write_bytes(whole.getbuffer())
        seal(temporary)

    write_atomically(Path(path), write)


def _refuse_attributes(attrs: Mapping[Any, Any]) -> None:
    for name, value in attrs.items():
        numbers = int | float | complex | np.number | np.ndarray
        if isinstance(value, bool) or not isinstance(value, str | bytes | list | tuple | numbers):
            raise TypeError(f"attribute {name} must be text or numbers, got {value!r}; write others as JSON")


def load(path: str | os.PathLike, *, partial: bool = False) -> xr.Dataset:
    """The result in `path`: a file that `save` wrote, or the folder of a run.

    Args:
      partial: also accept what an interrupted run had recorded (`partial.nc`).

    Raises: ValueError: nothing there, not a result of this library, damaged, or interrupted.
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
    verified = _is_verified(path)
    try:
        with xr.open_dataset(path, engine="h5netcdf") as opened:
            dataset = opened.load()
    except Exception as error:  # h5py raises many kinds for a file it cannot read
        if isinstance(error, ImportError | MemoryError):
            raise
        raise ValueError(f"{path} is not a readable result: truncated, or not a netCDF file") from None
    if dataset.attrs.get("format") != (FORMAT if verified else _UNVERIFIED):
        raise ValueError(f"{path} is a netCDF file, but not a result of this library")
    if not verified:
        if any(variable.encoding.get("fletcher32") for variable in dataset.variables.values()):
            raise ValueError(f"{path} is damaged: it says that it has no checksums, but has some")
        warnings.warn(f"{path} was made before results had checksums: it is not verified", stacklevel=2)
    _check_attributes(dataset, path)
    if not partial and not int(dataset.attrs.get("complete", 0)):
        raise ValueError(f"{path} is of an interrupted run; load(..., partial=True) reads what there is")
    return dataset


def _is_verified(path: Path) -> bool:
    """Whether the file is as `save` wrote it; if not, it has no checksum and is of before checksums.

    Raises: ValueError: it is damaged, or was changed or written by another program.
    """
    try:
        if is_sealed(path):
            return True
    except ValueError:
        raise ValueError(
            f"{path} is not a readable result: it is damaged, or was changed by another program"
        ) from None
    if path.stat().st_size:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(FORMAT.encode()) >= 0:
                raise ValueError(
                    f"{path} is not a readable result: truncated, damaged, or written by another program "
                    "than `dynamics.results.save`, which gives it its checksum"
                )
    return False


def _check_attributes(dataset: xr.Dataset, path: Path) -> None:
    for name in _JSON:
        try:
            json.loads(dataset.attrs.get(name, "{}"))
        except (TypeError, ValueError, RecursionError):
            raise ValueError(f"{path} is damaged: its attribute {name} is not JSON") from None
    for name, kind in (("complete", int), ("wall_s", float)):
        try:
            kind(dataset.attrs.get(name, 0))
        except (TypeError, ValueError):
            raise ValueError(f"{path} is damaged: its attribute {name} is not a number") from None


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


def by_number(parts: Mapping[str, xr.Dataset], dim: str, values: Sequence[int | float]) -> xr.Dataset:
    """One Dataset with the parts along a new dimension of these numbers."""
    return join(parts, dim).assign_coords({dim: list(values)})


def without_steps(dataset: xr.Dataset) -> xr.Dataset:
    """What was recorded once: the Dataset without what has the dimension `step`, and without that."""
    return dataset.drop_dims("step", errors="ignore")
