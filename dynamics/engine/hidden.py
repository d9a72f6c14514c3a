"""Axes that stand where the engine does not look: refused, as their values would not be run."""

import dataclasses
import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from dynamics.parts import Axis, Bound, inside

_ATOMS = (str, bytes, int, float, complex, type, types.ModuleType, np.ndarray, jax.Array)


def refuse(**given: Any) -> None:
    """Refuse an axis, in what was given by name, that is no traced field of a part.

    Raises: ValueError: says where it stands, and how it would be run.
    """
    for name, value in given.items():
        for path, axis, holder in _hidden(value, name, None, True, {}):
            raise ValueError(f"axis {axis.name!r} at {path} would not be run: {_way_out(name, holder)}")


def _way_out(name, holder):
    if name == "descent":
        return "take the rule from dynamics.optax, which has all of optax, as dynamics.optax.adamw(Axis(...))"
    if jax.tree_util.all_leaves([holder]) and hasattr(holder, "sample"):
        return f"make {type(holder).__name__} a part, by the decorator @part and nothing else"
    if name == "problem" and jax.tree_util.all_leaves([holder]) and dataclasses.is_dataclass(holder):
        return f"if {type(holder).__name__} is to take it, make it a part, by the decorator @part"
    if dataclasses.is_dataclass(holder) and not isinstance(holder, Bound):
        return f"{type(holder).__name__} is compiled in there; run the values one after another"
    return "an axis is run in a field of a part that is not static, or as an option by given(...)"


def _hidden(
    value: Any, path: str, holder: Any, traced: bool, seen: dict[tuple[int, bool], Any]
) -> Iterator[tuple[str, Axis, Any]]:
    """Axes that can be reached, but are not traced, and the object because of which they are not."""
    if isinstance(value, Axis):
        if not traced:
            yield path, value, holder
        return
    if value is None or isinstance(value, _ATOMS) or (id(value), traced) in seen:
        return
    seen[id(value), traced] = value
    is_tree = traced and not jax.tree_util.all_leaves([value])
    for step, inner, static in _inside(value):
        stays = is_tree and not static
        if is_tree and static:  # a module's counts are traced all the same
            seen |= {(id(numbers), False): numbers for numbers in inside(inner).values()}
        yield from _hidden(inner, f"{path}{step}", value if traced and not stays else holder, stays, seen)


def _inside(value):
    """What an object holds: the way there in words, the thing, and whether a part compiles it in."""
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return [(f".{f.name}", getattr(value, f.name, None), f.metadata.get("static", False)) for f in fields]
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", item, False) for key, item in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [(f".{name}", item, False) for name, item in zip(value._fields, value, strict=True)]
    if isinstance(value, tuple | list | set | frozenset):
        return [(f"[{i}]", item, False) for i, item in enumerate(value)]
    if isinstance(value, functools.partial):
        return [("", item, False) for item in (value.func, value.args, value.keywords)]
    if isinstance(value, types.MethodType):
        return [("", item, False) for item in (value.__self__, value.__func__)]
    found = [(f".{name}", item, False) for name, item in getattr(value, "__dict__", {}).items()]
    if isinstance(value, types.FunctionType):
        found += [(f" ({name})", item, False) for name, item in _closure(value)]
        found += [(" (default)", item, False) for item in value.__defaults__ or ()]
        found += [(f" ({name})", item, False) for name, item in (value.__kwdefaults__ or {}).items()]
    return found


def _closure(function):
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # not filled yet
            continue
