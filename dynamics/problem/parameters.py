"""Parameters by their paths (`W`, `Dense_0/kernel`): which are named, which are trained, with what masked."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, PyTree


def by_path(tree: PyTree) -> dict[str, Any]:
    """Leaves by path; a dict whose keys are paths already is the same as one of dicts."""
    return {_path(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def mapped(function: Callable[[str, Any], Any], params: PyTree) -> PyTree:
    """`params` with `function(path, leaf)` in the place of each leaf."""
    return jax.tree_util.tree_map_with_path(lambda path, leaf: function(_path(path), leaf), params)


def _path(path):
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named(params: PyTree, names: Iterable[str] | None) -> set[str]:
    """Paths of the parameters that are named, alone or with all that lies below a name; None: all.

    Raises: ValueError: a name that is no parameter.
    """
    paths = list(by_path(params))
    if names is None:
        return set(paths)
    found = set()
    for name in names:
        below = {path for path in paths if path == name or path.startswith(f"{name}/")}
        if not below:
            raise ValueError(f"{name!r} is no parameter: there are {', '.join(paths)}")
        found |= below
    return found


def checked(mask: PyTree, params: PyTree) -> dict[str, Bool[Array, "..."]]:
    """A mask as booleans by path.

    Raises: ValueError: a path that is no parameter, or another shape than the parameter's.
    """
    known, found = by_path(params), by_path(mask)
    for path, entries in found.items():
        if path not in known:
            raise ValueError(f"mask names {path!r}, which is no parameter: there are {', '.join(known)}")
        if jnp.shape(entries) != known[path].shape:
            raise ValueError(
                f"mask of {path!r} must have the parameter's shape {known[path].shape}, got "
                f"{jnp.shape(entries)}"
            )
    return {path: jnp.asarray(entries) != 0 for path, entries in found.items()}


def trained(params: PyTree, frozen: tuple[str, ...], masks: Mapping[str, Bool[Array, "..."]]) -> PyTree:
    """What is trained: no leaf for what is frozen, 0 for the entries that a mask leaves out.

    Raises: ValueError: a frozen name that is no parameter.
    """
    if not frozen and not masks:
        return params
    left = named(params, frozen)

    def one(path, leaf):
        if path in left:
            return None
        return jnp.where(masks[path], leaf, 0) if path in masks else leaf

    return mapped(one, params)


def whole(some: PyTree, params: PyTree, masks: Mapping[str, Bool[Array, "..."]]) -> PyTree:
    """`params` with what is trained replaced by `some`, which is of the form that `trained` gives."""
    moved = by_path(some)
    if not masks and len(moved) == len(jax.tree.leaves(params)):
        return some

    def one(path, leaf):
        if path not in moved:
            return leaf
        return jnp.where(masks[path], moved[path], leaf) if path in masks else moved[path]

    return mapped(one, params)
