"""Finds the experiments: the modules of this package that define EXPERIMENT, by file name."""

import difflib
import importlib
import pkgutil

from dynamics import experiments
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
    """The experiment of this name.

    Raises: ValueError: there is none; the nearest name is suggested.
    """
    if name not in names():
        near = difflib.get_close_matches(str(name), names(), n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names())}"
        raise ValueError(f"no experiment {name!r}: {hint}")
    return importlib.import_module(f"dynamics.experiments.{name}").EXPERIMENT
