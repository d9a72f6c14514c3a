"""optax, whose rules and schedules remember their numbers: `from dynamics import optax`.

In `optax.chain(optax.clip(1.0), optax.adamw(Axis("rate", [0.1, 0.2]), weight_decay=1e-4))`, written as ever,
another number compiles nothing anew, and an `Axis` runs beside the seeds. All else is optax itself.
"""

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import optax

from dynamics.descent.recipes import Descent, call_of, objective, recipe_of
from dynamics.parts import Axis, Bound, bind, merge, partition, per_seed

# whose names and annotations do not say what they make
SCHEDULES = ("exponential_decay", "join_schedules")
RULES = ("dog", "dowg")


class Schedule:
    """A schedule of optax that remembers how it was made (`recipe`)."""

    def __init__(self, recipe: Bound):
        self.recipe = recipe
        self.written = f"Schedule({recipe!r})"

    def __repr__(self) -> str:
        return self.written

    def __call__(self, count: Any) -> Any:
        """Its value after so many steps."""
        return self.recipe()(count)


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _mirrored(optax, name)


def __dir__() -> list[str]:
    return [*dir(optax), "Schedule"]


class _Module:
    """A module of optax in the same way."""

    def __init__(self, module: ModuleType):
        self._module = module

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _mirrored(self._module, name)

    def __dir__(self) -> list[str]:
        return dir(self._module)


contrib, transforms, schedules = map(_Module, (optax.contrib, optax.transforms, optax.schedules))


@functools.cache
def _mirrored(module, name):
    """What a module of optax has by a name: as it is, unless it makes rules or schedules."""
    found = getattr(module, name)
    function = found.func if isinstance(found, functools.partial) else found
    if not inspect.isfunction(function):
        return found
    gives = str(inspect.signature(function).return_annotation)
    if name.endswith("_schedule") or name in SCHEDULES:
        return _remembering(found, Schedule, f"{module.__name__}.{name}")
    rules = "GradientTransformation" in gives and "Callable" not in gives
    if rules or name.startswith("scale_by_") or name in RULES:
        return _remembering(found, Descent, f"{module.__name__}.{name}")
    return found


def _remembering(factory: Callable, kind: type, name: str) -> Callable:
    """`factory`, by its full name, of rules or schedules, what it makes remembering its numbers.

    Numbers that it looks at, as optax does to refuse or to warn, are compiled in.
    """

    @functools.wraps(factory)
    def make(*args, **kwargs):
        given = _arguments(factory, args, kwargs)
        recipe = _recipe(factory, given)
        if not _works(recipe, kind):
            numbers = {name for name, value in given.items() if isinstance(value, float)}
            fixed = {one for one in numbers if not _works(_recipe(factory, given, numbers - {one}), kind)}
            recipe = _recipe(factory, given, fixed)
        if _works(recipe, kind):
            made = kind(recipe)
            made.written = call_of(name, args, kwargs)
            return made
        if axes := [leaf for leaf in jax.tree.leaves(recipe) if isinstance(leaf, Axis)]:
            raise TypeError(
                f"{name} looks at its numbers when it is made, so that an axis such as "
                f"{axes[0].name!r} cannot be one of them: run the values one after another"
            )
        return factory(*args, **kwargs)

    return make


def _arguments(factory, args, kwargs):
    """What is given to a factory by the names of its arguments; what is a float by nature as one."""
    declared = inspect.signature(factory)
    given = dict(declared.bind(*args, **kwargs).arguments)
    for one in declared.parameters.values():
        if one.kind is one.VAR_KEYWORD:
            given |= given.pop(one.name, {})
        elif type(given.get(one.name)) is int and (one.name == "learning_rate" or type(one.default) is float):
            given[one.name] = float(given[one.name])
    return given


def _recipe(factory, given, fixed=frozenset()):
    """How it is made anew, with recipes in the place of what remembers one; what is fixed is compiled in."""
    several = [
        n for n, one in inspect.signature(factory).parameters.items() if one.kind is one.VAR_POSITIONAL
    ]
    inner = {name: jax.tree.map(_recipe_within, value, is_leaf=_remembers) for name, value in given.items()}
    recipes = [leaf for leaf in jax.tree.leaves(inner, is_leaf=_is_recipe) if _is_recipe(leaf)]
    nested = recipes or several or any(isinstance(value, dict) for value in inner.values())
    free = {name: value for name, value in inner.items() if name not in fixed}
    if not nested:
        bound = bind(factory, **free)
        trees = {}
    else:
        of = "log_loss" if any(objective(each) == "log_loss" for each in recipes) else "loss"
        trees = {name: value for name, value in free.items() if not jax.tree_util.all_leaves([value])}
        free = {name: value for name, value in free.items() if name not in trees}
        bound = bind(_assembled, factory=factory, several=(*several, None)[0], of=of, **free)
    constants = (*bound.constants, *((name, given[name]) for name in sorted(fixed)))
    return Bound(bound.function, constants, bound.numbers | trees)


def _remembers(value):
    return isinstance(value, optax.GradientTransformation | Schedule)


def _is_recipe(value):
    return isinstance(value, Bound)


def _recipe_within(value):
    if isinstance(value, Schedule):
        return value.recipe
    return recipe_of(value) if isinstance(value, optax.GradientTransformation) else value


def _assembled(factory, several, of, **arguments):
    """What `factory` makes of arguments some of which are recipes."""
    del of  # read by `objective`
    made = jax.tree.map(lambda v: v() if _is_recipe(v) else v, arguments, is_leaf=_is_recipe)
    first = made.pop(several, ()) if several else ()
    return factory(*first, **made)


def _works(recipe, kind):
    """Whether it can be made of tracers: it asks for no number's value, and the rest can be compiled in."""
    numbers, rest = partition(recipe)
    shapes = [0.5 if isinstance(number, Axis) else number for number in numbers]

    def once(given):
        made = merge(given, rest)()
        return made(0) if kind is Schedule else None

    try:
        hash(rest)
        jax.eval_shape(once, shapes + [0.5] * len(per_seed(recipe)))
    except TypeError:
        return False
    return True
