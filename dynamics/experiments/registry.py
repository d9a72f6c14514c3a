"""Finds the experiments: modules of this package that define EXPERIMENT, by file name, and users' files."""

import difflib
import importlib
import pkgutil

import xarray as xr

from dynamics import experiments
from dynamics.experiments import _outside
from dynamics.experiments.base import Experiment
from dynamics.words import quoted

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
        raise ValueError(f"no experiment {quoted(name)}: {hint}")
    return importlib.import_module(f"dynamics.experiments.{name}").EXPERIMENT


def made(dataset: xr.Dataset, named: str | None = None) -> Experiment:
    """The experiment that made a Dataset.

    Args:
      named: the experiment, if the user has named it; that of the Dataset is then not looked for.

    Raises: ValueError: none did, or its file is not what it was.
    """
    attrs = dataset.attrs
    if "experiment" not in attrs:
        raise ValueError("this result was not made by an experiment, so there is no figure to draw")
    name = str(attrs.get("experiment_file") or attrs["experiment"])
    experiment = recorded(name, str(attrs.get("experiment_sha256", "")), named)
    experiment.config_of(dataset)
    return experiment


def recorded(name: str, sha256: str, named: str | None = None) -> Experiment:
    """The experiment that a file names, built in or in a file of the user's own.

    Such a file is run only if it has the recorded SHA-256: who wrote the name may not be who reads it.

    Args:
      named: as of `made`.

    Raises: ValueError: there is none, or it holds something else.
    """
    if named is not None:
        return get(named)
    return _outside.load(name, sha256) if _outside.is_reference(name) else get(name)
