"""Finds the experiments: modules of this package that define EXPERIMENT, by file name, and users' files."""

import difflib
import importlib
import pkgutil

import xarray as xr

from dynamics import experiments
from dynamics.experiments import _outside
from dynamics.experiments.base import Experiment

_PARTS = {"base", "registry"}


def names() -> list[str]:
    """Names of all experiments, sorted."""
    return sorted(
        m.name
        for m in pkgutil.iter_modules(experiments.__path__)
        if m.name not in _PARTS and m.name[0] != "_"
    )


def get(name: str) -> Experiment:
    """The experiment of this name, or the one that `FILE.py:NAME` names in a file of the user's own.

    Raises: ValueError: there is none; the nearest name is suggested.
    """
    if _outside.is_reference(name):
        return _outside.load(name)
    if name not in names():
        near = difflib.get_close_matches(str(name), names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names())}"
        raise ValueError(f"no experiment {name!r}: {hint}")
    return importlib.import_module(f"dynamics.experiments.{name}").EXPERIMENT


def made(dataset: xr.Dataset) -> Experiment:
    """The experiment that made a Dataset.

    Raises: ValueError: none did, or its file is no longer what it was.
    """
    if "experiment" not in dataset.attrs:
        raise ValueError("this result was not made by an experiment, so there is no figure to draw")
    return get(dataset.attrs.get("experiment_file") or dataset.attrs["experiment"])
