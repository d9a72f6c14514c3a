"""What a rule remembers of its making, so that its numbers are traced and it prints as it was written."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, ParamSpec

import jax
import optax

from dynamics.parts import Bound, bind, word

Objective = Literal["loss", "log_loss"]
P = ParamSpec("P")


class Descent(optax.GradientTransformationExtraArgs):
    """An optax transformation that remembers how it was made (`recipe`)."""

    recipe: Bound
    written: str | None = None

    def __repr__(self) -> str:
        if self.written is not None:
            return self.written
        function, constants = self.recipe.function, dict(self.recipe.constants)
        place = function.__module__.partition(".")[0]
        given = (f"{name}={word(value)}" for name, value in {**constants, **self.recipe.numbers}.items())
        return f"descent.traced({place}.{function.__name__}, {', '.join(given)})"

    def __new__(cls, recipe: Bound) -> "Descent":
        def init(params):
            return recipe().init(params)

        def update(updates, state, params=None, **extra):
            rule = optax.with_extra_args_support(recipe())
            return rule.update(updates, state, params, **extra)

        self = super().__new__(cls, init, update)
        self.recipe = recipe
        return self


def as_written(place: str = "descent.") -> Callable[[Callable[P, Descent]], Callable[P, Descent]]:
    """For what makes rules: they print as the call that made them."""

    def marked(factory: Callable[P, Descent]) -> Callable[P, Descent]:
        @functools.wraps(factory)
        def make(*given: P.args, **named: P.kwargs) -> Descent:
            rule = factory(*given, **named)
            rule.written = call_of(f"{place}{factory.__name__}", given, named)
            return rule

        return make

    return marked


def call_of(name: str, given: Iterable[Any], named: Mapping[str, Any]) -> str:
    """A call as one writes it."""
    options = (f"{key}={word(value)}" for key, value in named.items())
    return f"{name}({', '.join([*map(word, given), *options])})"


def traced(factory: Callable[..., optax.GradientTransformation], **arguments: Any) -> Descent:
    """`factory(**arguments)` with its floats traced: `traced(optax.adam, learning_rate=1e-3)`."""
    return Descent(bind(factory, **arguments))


def recipe_of(rule: optax.GradientTransformation) -> Bound:
    """How a rule is made anew from its numbers; a plain optax rule is taken as it is."""
    return rule.recipe if isinstance(rule, Descent) else bind(_as_given, rule=rule)


def within_recipe(recipe: Bound) -> list[Bound]:
    """The recipes of the rules that a rule is made of."""
    held = jax.tree.leaves(recipe.numbers, is_leaf=lambda value: isinstance(value, Bound))
    return [each for each in held if isinstance(each, Bound)]


def objective(recipe: Bound) -> Objective:
    """What a rule wants differentiated."""
    return dict(recipe.constants).get("of", "loss")


def _as_given(rule):
    return rule
