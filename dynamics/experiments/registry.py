"""Finds the experiments: folders beside this file whose package defines EXPERIMENT, and users' files."""

import difflib
import importlib
import pkgutil
from pathlib import Path

import xarray as xr

from dynamics.experiments import outside
from dynamics.experiments.base import Experiment
from dynamics.words import quoted


def names() -> list[str]:
    """Names of all experiments, sorted."""
    here = str(Path(__file__).parent)
    return sorted(found.name for found in pkgutil.iter_modules([here]) if found.ispkg)


def get(name: str) -> Experiment:
    """The experiment of this name, or the one that `FILE.py:NAME` names in a file of the user's own.

    Raises: ValueError: there is none; the nearest name is suggested.
    """
    if outside.is_reference(name):
        return outside.load(name)
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
    return outside.load(name, sha256) if outside.is_reference(name) else get(name)
