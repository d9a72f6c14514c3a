"""Every public name says what it is, and `help()` shows it."""

import importlib
import inspect
import pkgutil
import pydoc

import pytest

import dynamics
import kernels
from dynamics import observables
from dynamics.observables.base import Observable

MODULES = sorted(
    found.name
    for package in (dynamics, kernels)
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    if not any(part.startswith("_") for part in found.name.split("."))
)
OBSERVABLES = sorted(name for name, value in vars(observables).items() if isinstance(value, Observable))


def own(module):
    """The public functions and classes that a module defines, by name."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    }


def undocumented(module):
    """The public names of a module that say nothing of themselves."""
    silent = [] if module.__doc__ else [module.__name__]
    for name, value in own(module).items():
        made = (f"{name}(", "Attributes:")  # by dataclasses, and of a config without words of its own
        generated = inspect.isclass(value) and (value.__doc__ or "").startswith(made)
        silent += [name] if generated or not value.__doc__ else []
        if not inspect.isclass(value):
            continue
        for part, member in list(vars(value).items()):
            if part.startswith("_") or not (inspect.isfunction(member) or isinstance(member, property)):
                continue
            # a field's default; and what a method overrides may speak for it
            field = part in getattr(value, "__annotations__", {})
            silent += [] if field or inspect.getdoc(getattr(value, part)) else [f"{name}.{part}"]
    return silent


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_says_what_it_is(name):
    assert not undocumented(importlib.import_module(name))


def test_a_name_that_says_nothing_is_found():
    module = type(inspect)("module", "A module.")
    exec("class Silent:\n    'x'\n    def method(self): pass\ndef function(): pass", module.__dict__)
    for name in ("Silent", "function"):
        vars(module)[name].__module__ = "module"
    assert undocumented(module) == ["Silent.method", "function"]


@pytest.mark.parametrize("name", OBSERVABLES)
def test_help_of_an_observable_shows_its_function(name):
    observable = getattr(observables, name)
    function = observable.measure.function
    text = pydoc.plain(pydoc.render_doc(observable))
    assert inspect.getdoc(function).splitlines()[0] in text
    assert observable.about in text
    for option in list(inspect.signature(function).parameters)[3:]:
        assert option == "key" or option in text
    assert "Something to record" in pydoc.plain(pydoc.render_doc(Observable))
