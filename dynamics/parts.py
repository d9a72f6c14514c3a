"""Parts: frozen dataclasses whose numbers JAX traces and whose other fields it compiles in.

A data distribution, an adversary, an observable or an update rule is a *part*. What fixes the shape
of a computation (a width, a name, a function) is declared with `static()`; every other field is a
number or array that is traced, so that changing it does not recompile. An `Axis` may stand wherever
a number stands: the engine then runs every value of it beside every seed; or a `PerSeed`, of which every
seed has a value of its own.
"""

import copy
import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar, dataclass_transform

import jax
import numpy as np

from dynamics import names
from dynamics.descriptions import checksum, describe
from dynamics.startup import for_once
from dynamics.words import as_integer, no_field, quoted
from kernels.arrays import native

T = TypeVar("T")
MOST_WRITTEN = 8
"""Numbers of an array that are written out where it is printed."""


def static(default: Any = dataclasses.MISSING) -> Any:
    """A field that is compiled in: it must be hashable, and changing it recompiles."""
    return dataclasses.field(default=default, metadata={"static": True})


@dataclass_transform(frozen_default=True, field_specifiers=(static, dataclasses.field))
def part(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass and a pytree.

    `__post_init__` runs when a user makes a part, never when JAX rebuilds one around tracers, so it
    may look at values. NumPy arrays in traced fields become `native` before. Static fields annotated as
    `int` take integers only (and no bool).
    """
    check = _counts_checked(getattr(cls, "__post_init__", lambda self: None))

    def __post_init__(self):
        for name in traced:
            object.__setattr__(self, name, _natives(getattr(self, name), name))
        check(self)

    cls.__post_init__ = __post_init__
    if "__repr__" not in vars(cls):
        cls.__repr__ = written
    own_init = "__init__" in vars(cls)
    cls = dataclasses.dataclass(frozen=True)(cls)
    names = [field.name for field in dataclasses.fields(cls)]
    if not own_init:
        cls.__init__ = _names_checked(cls.__init__, cls.__name__)
    constants = [field.name for field in dataclasses.fields(cls) if field.metadata.get("static")]
    traced = [name for name in names if name not in constants]

    def flatten_with_keys(self):
        # the name of a loss may stand where a function with numbers of its own may: no text is traced
        fixed = (*constants, *(name for name in traced if isinstance(getattr(self, name), str)))
        children = [
            (jax.tree_util.GetAttrKey(name), getattr(self, name)) for name in traced if name not in fixed
        ]
        values = [getattr(self, name) for name in fixed]
        further = [
            (jax.tree_util.GetAttrKey(name), inside(value))
            for name, value in zip(fixed, values, strict=True)
            if inside(value)
        ]
        return [*children, *further], (fixed, tuple(map(_closed, values)))

    def unflatten(aux, children):
        self = object.__new__(cls)
        fixed, values = aux
        left = [name for name in traced if name not in fixed]
        further = iter(children[len(left) :])
        values = [_with(value, next(further)) if inside(value) else value for value in values]
        for name, value in zip([*fixed, *left], [*values, *children[: len(left)]], strict=True):
            object.__setattr__(self, name, value)
        return self

    jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten)
    return cls


def inside(value: Any) -> dict[str, Any]:
    """The numbers of a static value that its class says are `traced` all the same: a module's counts."""
    return {name: getattr(value, name) for name in getattr(type(value), "traced", ())}


def _closed(value):
    return _with(value, dict.fromkeys(inside(value))) if inside(value) else value


def _with(value, fields):
    changed = copy.copy(value)
    for name, field in fields.items():
        object.__setattr__(changed, name, field)
    return changed


def written(value: Any) -> str:
    """A part, or a flax module, as one writes it: with the fields that are not what they are by default."""
    told, of_flax = [], {"parent", "name"} if hasattr(value, "apply") else set()
    for field in dataclasses.fields(value):
        if not field.init or field.name in of_flax:
            continue
        here = getattr(value, field.name)
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if here is not default and not (type(here) is type(default) and _equal(here, default)):
            told.append(f"{field.name}={word(here)}")
    return f"{type(value).__qualname__}({', '.join(told)})"


def word(value: Any) -> str:
    """A value as one writes it in a call: of long arrays the type and shape, of functions the name."""
    if isinstance(value, np.generic):
        return repr(value.item())
    if isinstance(value, np.ndarray | jax.Array) and not isinstance(value, jax.core.Tracer):
        few = value.ndim < 2 and value.size <= MOST_WRITTEN and value.dtype.kind in "biuf"
        return repr(value.tolist()) if few else f"{value.dtype}{list(value.shape)}"
    if type(value) is tuple:
        return f"({', '.join(map(word, value))}{',' if len(value) == 1 else ''})"
    if type(value) is list:
        return f"[{', '.join(map(word, value))}]"
    if type(value) is dict:
        return f"{{{', '.join(f'{key!r}: {word(item)}' for key, item in value.items())}}}"
    if isinstance(value, tuple) and type(value).__repr__.__module__ == "collections":  # a rule of optax
        return f"{type(value).__name__}(...)"
    if isinstance(value, types.FunctionType):
        return value.__name__
    is_module = dataclasses.is_dataclass(value) and not isinstance(value, type) and hasattr(value, "apply")
    return written(value) if is_module else repr(value)


def _equal(one, other):
    try:
        return bool(one == other)
    except ValueError:  # arrays
        return False


def _natives(value, name):
    if isinstance(value, np.ndarray | np.generic):
        return native(value, name)
    if type(value) is dict:
        return {key: _natives(item, key) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(_natives(item, name) for item in value)
    return value


def _counts_checked(check: Callable[[Any], None]) -> Callable[[Any], None]:
    """`check` of a part, and that what is declared an integer is one."""

    def whole(self):
        for field in dataclasses.fields(self):
            counts = field.type in (int, "int") and field.metadata.get("static")
            if counts and as_integer(value := getattr(self, field.name)) is None:
                raise ValueError(f"{field.name} must be an integer, got {quoted(value)}")

    @functools.wraps(check)
    def checked(self):
        try:
            check(self)
        except TypeError:
            whole(self)
            raise
        whole(self)

    return checked


def _names_checked(init: Callable[..., None], kind: str) -> Callable[..., None]:
    """`init` of a dataclass, which says what there is where a name is none of its fields."""
    fields = list(inspect.signature(init).parameters)[1:]

    @functools.wraps(init)
    def checked(self, *given, **named):
        for name in named:
            if name not in fields:
                raise TypeError(no_field(kind, name, fields))
        init(self, *given, **named)

    return checked


class _NoNumber:
    """Stands in the place of a number, and is none to compute with."""

    def _refuse(self, *others: Any, **options: Any) -> Any:
        what, written = self._words()
        raise TypeError(
            f"{what}, and none to compute with: give it to a field of a part, or to an update rule of "
            f"dynamics.optax, which has those of optax, as by dynamics.optax.adamw({written})"
        )

    __array__ = __jax_array__ = __float__ = __int__ = __index__ = __neg__ = __abs__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __pow__ = __rpow__ = _refuse
    __truediv__ = __rtruediv__ = __floordiv__ = __mod__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __array_ufunc__ = None  # NumPy's numbers on the left leave it to the above


class Axis(_NoNumber):
    """Values of one number, to be run side by side: `noise=Axis("noise", [0.0, 0.5, 1.0])`.

    The result has a dimension `name` with these coordinates. Two axes of one name advance together
    and must have equal values or, at least, equal length: the first one found gives the coordinates.

    Raises: ValueError: no values, values that are not a list of numbers, or a name that is none (`names`).
      TypeError: a name that is no text.
    """

    def __init__(self, name: str, values: Sequence[int | float] | np.ndarray):
        names.check(name, "an axis")
        array = np.asarray(values)
        if array.dtype.kind not in "iuf" or array.ndim != 1 or array.size == 0:
            raise ValueError(f"axis {name!r} needs a list of at least one number, got {values!r}")
        self.name = name
        self.values = array.astype(float)

    def __repr__(self) -> str:
        return f"Axis({self.name!r}, {self.values.tolist()})"

    def _words(self):
        return f"axis {self.name!r} is many numbers", f"Axis({self.name!r}, ...)"


@part
class PerSeed(_NoNumber):
    """A number of each seed's own, in the place of one: `named("gd", PerSeed(inverse_largest.given(...)))`.

    It may stand in an update rule and in what is observed; where `of` is None, also in a problem, but for
    its data.

    Attributes:
      of: an observable without dimensions, which is taken once of every run, at its start; None: the seed
        itself.
    """

    of: Any = None

    def _words(self):
        return "a PerSeed is a number of each seed", "PerSeed(...)"


def per_seed(tree: Any) -> list[PerSeed]:
    """The numbers of each seed that a tree of parts asks for, in order."""
    return [leaf for leaf in jax.tree.leaves(tree, is_leaf=_of_seeds) if _of_seeds(leaf)]


def put(tree: Any, values: Iterable[Any]) -> Any:
    """The tree with values in the places of its `per_seed`."""
    given = iter(values)
    return jax.tree.map(lambda leaf: next(given) if _of_seeds(leaf) else leaf, tree, is_leaf=_of_seeds)


def _of_seeds(value):
    return isinstance(value, PerSeed)


def is_number(value: Any) -> bool:
    """Whether `value` can be traced: a number other than a bool, or a numeric array."""
    if isinstance(value, bool | np.bool_):
        return False
    return isinstance(value, int | float | np.number | np.ndarray | jax.Array)


class Rest(NamedTuple):
    """A tree of parts without its numbers: what is compiled in.

    Attributes:
      treedef, leaves: the tree, with holes for numbers.
      checksum: of its description. Objects that say they are equal may differ, and an object may change
        after a program was made of it.
    """

    treedef: Any
    leaves: tuple[Any, ...]
    checksum: str


def partition(tree: Any) -> tuple[list[Any], Hashable]:
    """Split a tree of parts into its numbers (traced, axes among them) and the hashable rest."""
    leaves, treedef = jax.tree.flatten(tree)
    numbers = [leaf for leaf in leaves if is_number(leaf) or isinstance(leaf, Axis)]
    rest = tuple(_HOLE if is_number(leaf) or isinstance(leaf, Axis) else leaf for leaf in leaves)
    return numbers, Rest(treedef, rest, checksum(describe(jax.tree.unflatten(treedef, rest))))


def merge(numbers: Sequence[Any], rest: Any) -> Any:
    """The inverse of `partition`; further numbers take the places of the tree's `per_seed`."""
    remaining = iter(numbers)
    leaves = [next(remaining) if leaf is _HOLE else leaf for leaf in rest.leaves]
    tree = jax.tree.unflatten(rest.treedef, leaves)
    further = list(remaining)
    return put(tree, further) if further else tree


def as_one(method: Callable[..., T]) -> Callable[..., T]:
    """A part's method that, called by itself, is one program rather than one of each operation in it."""

    def one(rest, numbers):
        given, named = merge(numbers, rest)
        return method(*given, **named)

    @functools.cache
    def program():
        return jax.jit(one, static_argnums=0, compiler_options=for_once())

    @functools.wraps(method)
    def call(*given: Any, **named: Any) -> T:
        leaves = jax.tree.leaves((given, named))
        if any(isinstance(leaf, jax.core.Tracer | _NoNumber) for leaf in leaves):
            return method(*given, **named)
        numbers, rest = partition((given, named))
        return program()(rest, numbers) if _is_hashable(rest) else method(*given, **named)

    return call


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


@part
class Bound:
    """A function with some of its arguments given: floats and arrays are traced, all others compiled in."""

    function: Callable = static()
    constants: tuple[tuple[str, Hashable], ...] = static(())
    numbers: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.function(*args, **dict(self.constants), **self.numbers, **kwargs)

    def __repr__(self) -> str:
        given = {**dict(self.constants), **self.numbers}
        name = word(self.function)
        return f"bind({name}, {', '.join(f'{n}={word(v)}' for n, v in given.items())})" if given else name


def bind(function: Callable, **arguments: Any) -> Bound:
    """Bind `arguments`: floats, arrays, axes and parts are traced; ints, strings and functions are not."""
    numbers, constants = {}, []
    for name, value in arguments.items():
        if isinstance(value, float | np.ndarray | np.floating | jax.Array | Axis) or _is_part(value):
            numbers[name] = value
        else:
            constants.append((name, tuple(value) if isinstance(value, list) else value))
    return Bound(function, tuple(constants), numbers)


def _is_part(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not jax.tree_util.all_leaves([value])


class _Hole:
    def __repr__(self) -> str:
        return "<number>"


_HOLE = _Hole()


def takes(function: Any, count: int) -> bool:
    """Whether `function` can be called with so many arguments, as far as that can be told."""
    if not callable(function):
        return False
    bound = {}
    if isinstance(function, Bound):
        function, bound = function.function, {**dict(function.constants), **function.numbers}
    if isinstance(function, type):  # those of flax.nnx hide what they take
        function, count = function.__init__, count + 1
    try:
        inspect.signature(function).bind(*[None] * count, **bound)
    except TypeError:
        return False
    except ValueError:  # of what is not written in Python
        return True
    return True


def headed(value: Any) -> str:
    """What a sentence says of a function: its name and arguments; of all else its `repr`."""
    try:
        return f"{value.__name__}{inspect.signature(value)}"
    except (AttributeError, TypeError, ValueError):
        return quoted(value)


def need(name: str, value: Any, method: str, example: str) -> None:
    """Refuse what has no such method, and a class in the place of its object; `example`: what would do.

    Raises: ValueError: see above.
    """
    if isinstance(value, type) or not hasattr(value, method):
        got = f"the class {value.__name__}" if isinstance(value, type) else quoted(value)
        raise ValueError(f"{name} must be a part with {method}, such as {example}, got {got}")


def known(value: Any) -> np.ndarray | None:
    """The numbers in `value`, or None where they are not known before tracing."""
    if isinstance(value, Axis):
        return value.values
    if isinstance(value, list | tuple):
        value = np.asarray(value)
        return value.astype(float) if value.dtype.kind in "iuf" else None
    if isinstance(value, int | float | np.number | np.ndarray):
        return np.asarray(value, dtype=float)
    if isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer):
        return np.asarray(value, dtype=float)
    return None
