"""Trained parameters in a result: each by a name of its own, and networks made of them again.

Parameters at `Dense_0/kernel` are the variable `parameters.Dense_0.kernel`, and what the model keeps beside
them is `collections.batch_stats.norm.mean`; other signs in names are written as in web addresses, so that a
variable has one path.
"""

import dataclasses
import importlib
import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote

import flax
import jax
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PyTree

from dynamics.descriptions import describe
from dynamics.observables.base import Observable
from dynamics.parts import bind, word
from dynamics.problem import Problem, first_layers
from dynamics.words import listed, quoted

KINDS = ("parameters", "collections")
_REBUILT_FROM = {"dynamics", "kernels", "flax", "jax"}  # packages whose models and functions have names


def recorded(params: PyTree, collections: PyTree) -> dict[str, Observable]:
    """An observable of each leaf, by its name in a result; both trees may be of shapes.

    Raises: ValueError: leaves that are not in dicts by name.
    """
    found = {}
    for kind, tree in zip(KINDS, (params, collections), strict=True):
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            keys = tuple(getattr(entry, "key", None) for entry in path)
            if not keys or not all(isinstance(key, str) for key in keys):
                where = jax.tree_util.keystr(path)
                raise ValueError(f"parameters are kept by name, in dicts of dicts, but one is at {where!r}")
            name = ".".join((kind, *(quote(key, safe="").replace(".", "%2E") for key in keys)))
            dims = tuple(f"{name}.{axis}" for axis in range(leaf.ndim))
            found[name] = Observable(bind(_leaf, kind=kind, keys=keys), dims, "/".join(keys))
    return found


def _leaf(params, problem, draw, kind, keys):
    tree = first_layers.plain(params) if kind == "parameters" else problem.collections
    for key in keys:
        tree = tree[key]
    return tree


def parameters(result: xr.Dataset, seed: int, **axes: float | str) -> dict[str, Any]:
    """The trained parameters of one seed, as the model has them, in NumPy arrays.

    Args:
      result: of a run with `parameters=True`, also one that was saved and loaded.
      seed: which.
      axes: the value of every other axis of the result: `noise=0.5`.

    Raises: ValueError: no parameters in the result, a seed or value that it does not have, an axis of which
      none is given, or a seed that diverged.
    """
    return _tree(_one(result, seed, axes), "parameters")


def predictor(
    result: xr.Dataset, seed: int, problem: Problem | None = None, **axes: float | str
) -> Callable[[Float[Array | np.ndarray, "samples *shape"]], Float[Array, "samples *outputs"]]:
    """The trained network of one seed: a function of inputs, or of a single one, in the precision of the run.

    Args:
      result, seed, axes: as of `parameters`.
      problem: what was trained; None: the result says what its model is, if that is one of this
        library's.

    Raises: ValueError: as `parameters`; a model that the result alone cannot rebuild, or that is another one
      than the problem's.
    """
    one = _one(result, seed, axes)
    params, collections = (_tree(one, kind) for kind in KINDS)
    said = json.loads(result.attrs.get("problem", "{}"))
    for value in axes.values():  # of joined results, the part of the one that is chosen
        said = said.get(str(value), said)
    if problem is None:
        problem = Problem(None, _rebuilt_model(said.get("model")))
    elif describe(problem.model) != said.get("model"):
        raise ValueError(f"the result is of another model than the problem's {type(problem.model).__name__}")
    predict = jax.jit(problem.at(collections).predictor(params))
    place = ", ".join(f"{name}={word(value)}" for name, value in {"seed": seed, **axes}.items())
    float64 = result.attrs.get("float64") == "True"
    return Network(predict, float64, f"{word(problem.model)} trained with {place}")


@dataclasses.dataclass(frozen=True, repr=False)
class Network:
    """A trained network: a function of inputs, or of a single one, in the precision of the run."""

    predict: Callable[[Array], Array]
    float64: bool
    about: str

    def __call__(self, x: Any) -> Array:
        """The outputs.

        Raises: ValueError: inputs of another shape than those that the network was trained on.
        """
        x = x if isinstance(x, jax.Array) else np.asarray(x)
        if x.ndim == 1:  # one input alone
            return self(x[None])[0]
        with jax.enable_x64(self.float64), jax.default_matmul_precision("highest"):
            try:
                return self.predict(x)
            except (ValueError, TypeError, IndexError, flax.errors.FlaxError) as error:
                why = str(error).partition("\n")[0].partition(" (https:")[0]
                shape = "(samples, ...) that the network was trained on"
                raise ValueError(f"inputs must be of the shape {shape}, got {x.shape}: {why}") from error

    def __repr__(self) -> str:
        return self.about


def _one(result, seed, axes):
    """The part of a result that is of one run."""
    names = [name for name in result.data_vars if str(name).startswith("parameters.")]
    if not names:
        raise ValueError("the result has no parameters: run it with parameters=True, to its end")
    own = set(result[names[0]].dims) - {d for d in result[names[0]].dims if str(d).startswith(names[0])}
    chosen = {"seed": seed, **axes}
    if unknown := sorted(set(chosen) - own):
        raise ValueError(f"the result has no axis {unknown[0]!r}: it has {', '.join(sorted(map(str, own)))}")
    if missing := sorted(own - set(chosen)):
        values = result[missing[0]].values.tolist()
        raise ValueError(f"the result has several {missing[0]}: give {missing[0]}=, one of {listed(values)}")
    places = {dim: _place(result, dim, value) for dim, value in chosen.items()}
    one = result.isel(places)
    if (first := int(one.first_nonfinite_step)) >= 0:
        raise ValueError(f"seed {seed} diverged at step {first}: there are no parameters of its end")
    return one


def _place(result, dim, value):
    values = result[dim].values
    if values.dtype.kind == "f" and not isinstance(value, str):
        found = np.flatnonzero(np.isclose(values, value, rtol=1e-6, atol=0))
    else:
        found = np.flatnonzero(values == value)
    if len(found) != 1:
        raise ValueError(f"the result has no {dim} {quoted(value)}: it has {listed(values.tolist())}")
    return int(found[0])


def _tree(one: xr.Dataset, kind: str) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, values in one.data_vars.items():
        first, *keys = str(name).split(".")
        if first != kind or not keys:
            continue
        *above, last = map(unquote, keys)
        inner = tree
        for key in above:
            inner = inner.setdefault(key, {})
        inner[last] = values.values
    return tree


class _CannotRebuild(Exception):
    """A description that does not say all that there is to make its object again."""


def _rebuilt_model(said: Any) -> Any:
    """The model of a description.

    Raises: ValueError: it does not say all that it takes.
    """
    try:
        model = _rebuilt(said)
        same = hasattr(model, "apply") and describe(model) == said
    except Exception:  # whatever a model's own code says to the fields that it is made of
        same = False
    if not same:
        kind = said.get("part", "") if isinstance(said, Mapping) else ""
        raise ValueError(
            f"the result does not say all that its model {kind.rpartition('.')[2]} is made of: "
            "give the problem too, as predictor(result, seed, problem)"
        )
    return model


def _rebuilt(said: Any) -> Any:
    if isinstance(said, list):
        return tuple(map(_rebuilt, said))
    if not isinstance(said, dict):
        return said
    for kind in ("function", "class"):
        if set(said) == {kind}:
            return _named(said[kind])
    if "part" not in said or "code" in said:
        raise _CannotRebuild
    fields = {name.removeprefix("."): _rebuilt(value) for name, value in said.items() if name != "part"}
    kind = _named(said["part"])
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):  # a file calls nothing else
        raise _CannotRebuild
    return kind(**fields)


def _named(name: str) -> Any:
    """What a library has by this name."""
    module, _, last = name.rpartition(".")
    if name.partition(".")[0] not in _REBUILT_FROM:
        raise _CannotRebuild
    return getattr(importlib.import_module(module), last)
