"""Observables: pure functions of (parameters, problem, draw) whose results have named dimensions."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Key, PyTree

from dynamics.data.sample import Draw
from dynamics.parts import Axis, Bound, as_one, bind, headed, need, part, static, word
from dynamics.words import integer, near, quoted
from kernels.arrays import native


@part
class Observable:
    """Something to record: name it in `observe=` of `simulate`.

    Attributes:
      measure: the function behind it, with its options.
      dims: names of the result's dimensions. An option of the same name as a dimension gives that
        dimension's coordinates, given or by default.
      about: long name, for labels and files.
      units: unit of the result, "" if it has none.
      random: whether the function takes a `key`.
    """

    measure: Bound
    dims: tuple[str, ...] = static(())
    about: str = static("")
    units: str = static("")
    random: bool = static(False)

    @as_one
    def __call__(self, params: PyTree, problem: Any, draw: Draw, key: Key[Array, ""]) -> Float[Array, "..."]:
        """The value for one run's parameters and data."""
        extra = {"key": key} if self.random else {}
        value = self.measure(params, problem, draw, **extra)
        return native(value, "what it gives") if isinstance(value, np.ndarray | np.generic) else value

    def given(self, **options: Any) -> "Observable":
        """The same observable with options: `pgd_accuracy.given(radius=jnp.linspace(0, 5, 11))`.

        Where an option gives a dimension its coordinates, one value stands for a list of one.

        Raises: ValueError: an option that the observable does not have, or a radius that is none.
        """
        declared = inspect.signature(self.measure.function).parameters
        known = list(declared)[3:]
        known = [name for name in known if name != "key"]
        if unknown := sorted(set(options) - set(known)):
            has = f"its options are {', '.join(known)}" if known else "it has no options"
            hint = near(unknown[0], known)
            raise ValueError(f"{self.measure.function.__name__} has no option {unknown[0]!r}: {has}{hint}")
        for name in set(options) & set(self.dims):
            value = options[name]
            is_array = declared[name].annotation is not inspect.Parameter.empty  # others are static
            if is_array and isinstance(value, int | float | list | tuple):
                options[name] = np.atleast_1d(np.asarray(value, float))
            elif isinstance(value, str | int | float):
                options[name] = (value,)
        for name in set(options) & {"radius", "max_radius"}:
            _length(name, options[name])
        if self.measure.function.__module__.startswith("dynamics.observables"):
            self._check(options)
        return dataclasses.replace(self, measure=bind(self.measure.function, **options))

    def _check(self, options):
        """Options of the library's own, which mean the same wherever they have these names."""
        if (count := options.get("num_points")) is not None:
            integer("num_points", count, 1)
        if (points := options.get("points", "test")) not in ("train", "test", "everywhere"):
            raise ValueError(f"points must be train or test, got {quoted(points)}")
        if "attack" not in self.dims and options.get("attack") is not None:
            need("attack", options["attack"], "perturb", "PGD(0.3)")

    def __repr__(self) -> str:
        function = self.measure.function
        place = "observables." if function.__module__.startswith("dynamics.observables") else ""
        options = {**dict(self.measure.constants), **self.measure.numbers}
        given = ", ".join(f"{name}={word(value)}" for name, value in options.items())
        return f"{place}{function.__name__}" + (f".given({given})" if options else "")

    @property
    def missing(self) -> list[str]:
        """Options that have no default and are not given."""
        declared = list(inspect.signature(self.measure.function).parameters.values())[3:]
        given = {"key", *dict(self.measure.constants), *self.measure.numbers}
        named = (p for p in declared if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))
        return [p.name for p in named if p.default is inspect.Parameter.empty and p.name not in given]

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """Coordinates of the dimensions that an option of the same name describes."""
        declared = inspect.signature(self.measure.function).parameters
        options = {name: declared[name].default for name in self.dims if name in declared}
        options |= {**dict(self.measure.constants), **self.measure.numbers}
        known = {dim: options[dim] for dim in self.dims if dim in options}
        return {
            dim: np.asarray(value)
            for dim, value in known.items()
            if value is not None and value is not inspect.Parameter.empty
        }


def _length(name, value):
    """Refuse a radius that is negative or no finite number."""
    values = value.values if isinstance(value, Axis) else value
    if isinstance(values, jax.core.Tracer):
        return
    try:
        sound = bool(np.all(np.isfinite(values := np.asarray(values, float)) & (values >= 0)))
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise ValueError(f"{name} must be finite numbers of at least 0, got {quoted(value)}")


class _Help:
    """What `help()` shows of an observable: what its function does; of the class: its own text."""

    def __init__(self, text: str | None):
        self._text = text

    def __get__(self, instance: Observable | None, owner: type) -> str | None:
        if instance is None:
            return self._text
        function = instance.measure.function
        options = [
            str(option.replace(annotation=inspect.Parameter.empty))
            for option in list(inspect.signature(function).parameters.values())[3:]
            if option.name != "key"
        ]
        given = f".given({', '.join(options)})" if options else ""
        lines = [f"{function.__name__}{given} -> ({', '.join(instance.dims)})", instance.about]
        lines[1] += f", in {instance.units}" if instance.units else ""
        return "\n".join([*lines, "", inspect.getdoc(function) or ""]).strip()


Observable.__doc__ = _Help(Observable.__doc__)


def observable(
    dims: tuple[str, ...] = (), about: str = "", units: str = "", random: bool = False
) -> Callable[[Callable], Observable]:
    """Make a function `(params, problem, draw, **options) -> array` an `Observable`.

    Args:
      dims: a name for each dimension of the array.
      about: what it is in a few words, for labels of axes and files.
      units: its unit, "" if it has none.
      random: whether the function also takes a `key`: the seed's own, the same at every recording.

    Raises: TypeError: `dims` is no tuple, as where the parentheses are left out; a function of other
      arguments.
    """
    if not isinstance(dims, tuple):
        example = '@observable(("neuron",)), or @observable() for a single number'
        raise TypeError(f"observable takes a tuple of names of dimensions, as {example}, got {dims!r}")

    def wrap(function):
        declared = inspect.signature(function)
        try:
            declared.bind_partial(*[None] * 3)
        except TypeError:
            raise TypeError(
                "an observable is a function of (params, problem, draw), and of options if it has any, got "
                f"{headed(function)}"
            ) from None
        if "key" in declared.parameters and not random:
            raise TypeError(f"{function.__name__} takes a key, which observable(..., random=True) gives")
        return Observable(bind(function), dims, about, units, random)

    return wrap
