"""The grid of a sweep: settings that vary, settings tied to them by a formula, and a config a point."""

import ast
import dataclasses
import json
import math
import operator
import typing
import warnings
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import xarray as xr

from dynamics.study.config import Config, annotation, checked, from_text
from dynamics.words import near, quoted

MOST_AXES, MOST_POINTS = 3, 10_000
LONGEST, MOST_DIGITS = 300, 300  # of a formula: its letters, and the digits that it rounds to
FORMS = "VALUES is a:b:n (evenly spaced), a:b:n:log, or a list x,y,z"


@dataclasses.dataclass(frozen=True)
class Grid:
    """Every combination of the values of some fields of a config.

    Attributes:
      configs: a config a point, in the order of `indices`; None where fields do not go together.
      axes: values by field, the last one innermost.
      ties: formulas by field, of other fields: `{"num_samples": "100 * num_clusters"}`.
      refused: why the first point without a config has none; "" if all have one.
    """

    configs: tuple[Config | None, ...]
    axes: Mapping[str, tuple]
    ties: Mapping[str, str]
    refused: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values of each axis."""
        return tuple(map(len, self.axes.values()))

    @property
    def indices(self) -> Iterator[tuple[int, ...]]:
        """The points, by the places of their values."""
        return product(*map(range, self.shape))

    @property
    def base(self) -> Config:
        """The config of the first point that has one."""
        return next(config for config in self.configs if config is not None)

    def where(self, number: int) -> str:
        """A point in words: `noise=0.5, num_clusters=4`."""
        at = np.unravel_index(number, self.shape)
        return ", ".join(f"{name}={self.axes[name][i]}" for name, i in zip(self.axes, at, strict=True))

    def to_json(self) -> str:
        """Axes and ties, to be kept in a result."""
        return json.dumps({"axes": self.axes, "ties": dict(self.ties)})


def make(
    start: Config,
    axes: Mapping[str, Sequence[Any]],
    ties: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Grid:
    """The grid of `axes` around a config, with further `settings` changed at every point.

    Raises: ValueError: an unknown field, a value that no config allows, too many points, or no point at
      which all fields go together.
    """
    cls, ties, settings = type(start), dict(ties or {}), dict(settings or {})
    if not 1 <= len(axes) <= MOST_AXES:
        raise ValueError(f"a sweep varies 1 to {MOST_AXES} settings, got {len(axes)}")
    found = {name: _values(cls, name, values) for name, values in axes.items()}
    if (size := math.prod(map(len, found.values()))) > MOST_POINTS:
        raise ValueError(f"a sweep has at most {MOST_POINTS} points, got {size}")
    for name, formula in ties.items():
        _field(cls, name)
        _parsed(cls, name, formula)
    for name, value in settings.items():
        checked(_field(cls, name), annotation(cls, name), value)
    for name in ties:
        if name in found or name in settings:
            raise ValueError(f"{name} is both tied and {'varied' if name in found else 'set'}; choose one")
    for name in found:
        if name in settings:
            raise ValueError(f"{name} is both varied and set; choose one")
    configs: list[Config | None] = []
    refused: list[str] = []
    for values in product(*found.values()):
        try:
            here = dict(zip(found, values, strict=True))
            configs.append(_config(start, settings, here, ties))
        except ValueError as error:
            configs.append(None)
            refused.append(str(error))
    if len(refused) == len(configs):
        raise ValueError(f"no point of the sweep is possible: {refused[0]}")
    return Grid(tuple(configs), found, ties, refused[0] if refused else "")


def read(about: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Axes and ties as `Grid.to_json` keeps them.

    Raises: ValueError: anything else.
    """
    found = (about.get("axes"), about.get("ties")) if isinstance(about, dict) else ()
    if not found or not all(isinstance(one, dict) for one in found):
        raise ValueError("this does not describe a grid")
    return found


def of(config: Config, dataset: xr.Dataset) -> Grid:
    """The grid that a Dataset was made on, around its config.

    Raises: ValueError: it is no sweep's, or damaged.
    """
    try:
        axes, ties = read(json.loads(dataset.attrs["sweep"]))
    except (KeyError, TypeError, ValueError):
        raise ValueError("this result is not of a sweep, or damaged: it does not hold the grid") from None
    return make(config, axes, ties)


def read_axis(cls: type[Config], text: str) -> tuple[str, list[Any]]:
    """`NAME=VALUES` as a field and its values.

    Raises: ValueError: an unknown field, or values of another form.
    """
    name, values = _split(cls, text, "--vary", FORMS)
    kind = _kind(cls, name)
    parts = values.split(":")
    if len(parts) == 1:
        return name, [from_text(kind, item) for item in values.split(",") if item]
    if kind not in (int, float) or len(parts) not in (3, 4) or parts[3:] not in ([], ["log"]):
        raise ValueError(f"--vary {text}: {FORMS}; ranges are for numbers")
    try:
        low, high, count = float(parts[0]), float(parts[1]), int(parts[2])
    except ValueError:
        raise ValueError(f"--vary {text}: {FORMS}") from None
    if not (2 <= count <= MOST_POINTS and math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"--vary {text}: a range needs two finite ends and 2 to {MOST_POINTS} values")
    if parts[3:] and not (low > 0 and high > 0):
        raise ValueError(f"--vary {text}: a logarithmic range needs ends above 0")
    with np.errstate(over="ignore", invalid="ignore"):
        spaced = np.geomspace(low, high, count) if parts[3:] else np.linspace(low, high, count)
    if not np.isfinite(spaced).all() or (kind is int and max(abs(low), abs(high)) >= 2**63):
        raise ValueError(f"--vary {text}: the ends of a range must not lie that far out")
    return name, (np.rint(spaced).astype(int) if kind is int else spaced).tolist()


def read_tie(cls: type[Config], text: str) -> tuple[str, str]:
    """`NAME=FORMULA` as a field and a formula.

    Raises: ValueError: an unknown field, or not a formula.
    """
    return _split(cls, text, "--tie", "FORMULA is arithmetic of other settings, such as 100*num_clusters")


def _split(cls, text, flag, forms):
    name, found, rest = text.partition("=")
    name = name.strip().replace("-", "_")
    if not found or not rest.strip():
        raise ValueError(f"{flag} needs NAME=..., got {quoted(text)}; {forms}")
    _field(cls, name)
    return name, rest.strip()


def _field(cls, name):
    for field in dataclasses.fields(cls):
        if field.name == name:
            return field
    hint = near(name, (field.name for field in dataclasses.fields(cls)))
    raise ValueError(f"{name} is not a setting of this experiment{hint}")


def _kind(cls, name):
    """The type of one value of a field; a field that is a list is varied over lists of one."""
    kind = annotation(cls, name)
    return typing.get_args(kind)[0] if typing.get_origin(kind) is tuple else kind


def _values(cls, name, values):
    field, kind = _field(cls, name), _kind(cls, name)
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        raise ValueError(f"the values of {name} must be a list, got {quoted(values)}")
    values = values.tolist() if isinstance(values, np.ndarray) else list(values)
    if not values:
        raise ValueError(f"{name} needs at least one value to vary over")
    found = tuple(checked(field, kind, value) for value in values)  # of a list: lists of one
    if len(set(found)) < len(found):
        twice = next(value for value in found if found.count(value) > 1)
        raise ValueError(f"{name} must vary over different values, got {twice} twice")
    return found


def _config(start, settings, axes, ties):
    cls = type(start)
    values = {field.name: getattr(start, field.name) for field in dataclasses.fields(start)} | settings
    for name, value in axes.items():
        values[name] = (value,) if typing.get_origin(annotation(cls, name)) is tuple else value
    for name, formula in ties.items():
        values[name] = _tied(annotation(cls, name), name, str(formula), _parsed(cls, name, formula), values)
    return cls(**values)


_BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Pow: math.pow,
}


def _round(value, digits=0):
    if not isinstance(digits, int) or abs(digits) > MOST_DIGITS:  # of huge ones it takes forever
        raise ValueError(f"round takes whole numbers of digits up to {MOST_DIGITS}")
    return round(value, digits) if digits else round(value)


# functions, and how many numbers each takes
_FUNCTIONS = {
    "sqrt": (math.sqrt, (1,)),
    "log": (math.log, (1, 2)),
    "exp": (math.exp, (1,)),
    "round": (_round, (1, 2)),
    "min": (min, range(2, LONGEST)),
    "max": (max, range(2, LONGEST)),
}


def _parsed(cls, name, formula):
    """The formula's syntax tree, of numbers, settings, + - * / // ** and a few functions only."""
    wrong = ValueError(
        f"{name} is tied to {quoted(formula)}, which is not arithmetic of other settings, "
        "such as 100*num_clusters"
    )
    if len(str(formula)) > LONGEST:
        raise ValueError(f"{name} is tied to {quoted(formula)}, but a formula has at most {LONGEST} letters")
    try:
        with warnings.catch_warnings(action="ignore"):  # of its spelling
            tree = ast.parse(str(formula).strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise wrong from None
    if "#" in str(formula):  # which Python would read over
        raise wrong

    def check(node):
        match node:
            case ast.Constant(value=int() | float()) if not isinstance(node.value, bool):
                if math.isinf(node.value):
                    raise ValueError(f"{name} is tied to {quoted(formula)}, which is too large a number")
            case ast.Name(id=word) if word != name:
                if annotation(cls, _field(cls, word).name) not in (int, float):
                    raise ValueError(f"{name} is tied to {word}, which is not a number")
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                check(inner)
            case ast.BinOp(op=op) if type(op) in _BINARY:
                check(node.left)
                check(node.right)
            case ast.Call(func=ast.Name(id=word), args=args, keywords=[]) if word in _FUNCTIONS:
                if len(args) not in _FUNCTIONS[word][1]:
                    raise wrong
                for each in args:
                    check(each)
            case _:
                raise wrong

    check(tree)
    return tree


def _tied(kind, name, formula, tree, values):
    """The value of a tied field: whole where it is meant to be, and of a size that integers can have."""
    try:
        result = _evaluate(tree, values)
    except (ArithmeticError, ValueError) as error:
        raise ValueError(f"{name} = {formula} cannot be computed: {error}") from None
    if kind is int and math.isclose(result, round(result), rel_tol=1e-9):
        result = round(result)
    if kind is int and abs(result) >= 2**63:
        raise ValueError(f"{name} = {formula} is too large: {result:.3g}")
    return result


def _evaluate(node, values):
    match node:
        case ast.Constant():
            result = node.value
        case ast.Name():
            result = values[node.id]
        case ast.UnaryOp():
            result = -_evaluate(node.operand, values)
        case ast.BinOp():
            result = _BINARY[type(node.op)](_evaluate(node.left, values), _evaluate(node.right, values))
        case _:
            result = _FUNCTIONS[node.func.id][0](*(_evaluate(each, values) for each in node.args))
    if not math.isfinite(result):
        raise ValueError("a number on the way is too large")
    return result
