"""Gradient attacks on any function of points: a kernel predictor, one eigenfeature, a network."""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, ScalarLike

from kernels import checks, products
from kernels.products import full_precision

Norm = Literal["linf", "l2"]
Raised = Literal["cross_entropy", "margin"]
Predict = Callable[[Float[Array, "points *shape"]], Float[Array, "points *outputs"]]


@partial(jax.jit, static_argnames="raised", inline=True)
def adversity(
    outputs: Float[Array, "points *outputs"],
    labels: Float[Array, " points"] | Int[Array, " points"],
    raised: Raised = "cross_entropy",
) -> Float[Array, " points"]:
    """What an attack raises: -y f for one output and labels -1, +1; for class numbers the cross-entropy.

    Or, as `margin`, the lead of the best other class over the label's.
    """
    if outputs.ndim == 1:
        return -labels * outputs
    if raised == "margin":
        target = labels.astype(int)[:, None]
        own = jnp.take_along_axis(outputs, target, axis=1)
        other = jnp.arange(outputs.shape[1])[None] != target
        return jnp.max(jnp.where(other, outputs - own, -jnp.inf), axis=1)
    own = jnp.take_along_axis(outputs, labels.astype(int)[:, None], axis=1)[:, 0]
    return jax.nn.logsumexp(outputs, axis=1) - own


@partial(jax.jit, inline=True)
def correct(
    outputs: Float[Array, "points *outputs"], labels: Float[Array, " points"] | Int[Array, " points"]
) -> Float[Array, " points"]:
    """1 where the sign (a sign of 0 is an error) or the largest output is the label, else 0."""
    if outputs.ndim == 1:
        return (labels * outputs > 0).astype(outputs.dtype)
    return (jnp.argmax(outputs, axis=1) == labels).astype(outputs.dtype)


@dataclass(frozen=True)
class Attack:
    """Steepest ascent within a ball: one step is FGSM, several are PGD.

    The result is the most adverse of the points visited, the clean one included, as robustness asks for *all*
    points of the ball. It bounds the true robustness from above; for linear functions one step attains it.

    Attributes:
      radius: of the ball; a number or a traced scalar.
      norm: `linf` (steps along signs, 0 where the gradient is) or `l2` (along the normalised gradient).
      steps: 1 for FGSM.
      step_size: None: the radius for one step, 2.5 radius / steps for several.
      box: bounds, such as (0, 1) for images, that an input keeps to, or goes no further beyond if it lies
        outside: all points stay in its ball. None: none.
      random_start: begin at a uniform point of the cube (`linf`) or ball (`l2`); needs a key.
      raised: of several outputs, the cross-entropy or the lead of the best other class (`margin`).
    """

    radius: ScalarLike
    norm: Norm = "linf"
    steps: int = 1
    step_size: ScalarLike | None = None
    box: tuple[float, float] | None = None
    random_start: bool = False
    raised: Raised = "cross_entropy"

    def __post_init__(self):
        checks.one_of("norm", self.norm, Norm)
        checks.one_of("raised", self.raised, Raised)
        checks.whole("steps", self.steps, 1)
        checks.number("radius", self.radius, low=0)
        if self.step_size is not None:
            checks.number("step_size", self.step_size, low=0)
        if self.box is not None and not (isinstance(self.box, tuple | list) and len(self.box) == 2):
            raise ValueError(f"box must be (low, high), got {self.box!r}")
        if self.box is not None:
            for end, bound in zip(("low", "high"), self.box, strict=True):
                checks.number(f"{end} of the box", bound)
            if not self.box[0] < self.box[1]:
                raise ValueError(f"box must be (low, high) with low < high, got {self.box}")

    @full_precision
    def perturb(
        self,
        predict: Predict,
        x: Float[Array, "points *shape"],
        labels: Float[Array, " points"] | Int[Array, " points"],
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "points *shape"]:
        """The most adverse points visited.

        A `predict` that is a pytree of numbers (as `regression.predictor` gives, or `jax.tree_util.Partial`
        of a network and its parameters) shares one compiled program with those of equal structure.
        """
        x = products.floating(x)
        if self.random_start and key is None:
            raise ValueError("an attack with a random start needs a key")
        numbers = (self.radius, self.step_size, predict, x, labels, key)
        if not is_tree(predict) or any(
            isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(numbers)
        ):
            return self._ascent(predict, x, labels, key)
        others = {
            f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("radius", "step_size")
        }
        others["box"] = None if self.box is None else tuple(map(float, self.box))
        return _compiled(tuple(others.items()), *numbers)

    def _ascent(self, predict, x, labels, key):
        def height(points):
            values = adversity(predict(points), labels, self.raised)
            return jnp.sum(values), values

        rise = jax.value_and_grad(height, has_aux=True)
        size = self.step_size
        if size is None:
            size = self.radius if self.steps == 1 else 2.5 * self.radius / self.steps

        def step(_, state):
            at, best, where = state
            (_, values), slope = rise(at)
            best, where = _worse(values, at, best, where)
            return self._inside(x, at + size * self._direction(slope)), best, where

        begin = self._inside(x, x + self._random(key, x)) if self.random_start else x
        clean = adversity(predict(x), labels, self.raised)
        at, best, where = jax.lax.fori_loop(0, self.steps, step, (begin, clean, x))
        return _worse(adversity(predict(at), labels, self.raised), at, best, where)[1]

    def _direction(self, slope):
        if self.norm == "linf":
            return jnp.sign(slope)
        return products.units(slope, _axes(slope))

    def _inside(self, x, at):
        moved = at - x
        if self.norm == "linf":
            moved = jnp.clip(moved, -self.radius, self.radius)
        else:
            norms = products.norms(moved, _axes(moved))
            moved = moved * jnp.minimum(1, self.radius / jnp.where(norms > 0, norms, 1))
        if self.box is None:
            return x + moved
        low, high = self.box
        return jnp.clip(x + moved, jnp.minimum(x, low), jnp.maximum(x, high))

    def _random(self, key, x):
        if self.norm == "linf":
            return jax.random.uniform(key, x.shape, x.dtype, -1, 1) * self.radius
        far, around = jax.random.split(key)
        g = jax.random.normal(around, x.shape, x.dtype)
        share = jax.random.uniform(far, (len(x), *(1,) * (x.ndim - 1)), x.dtype)
        return self.radius * share ** (1 / math.prod(x.shape[1:])) * products.units(g, _axes(g))


def is_tree(predict: Any) -> bool:
    """Whether a function is a pytree of numbers: what is compiled of it serves others of its structure."""
    leaves = jax.tree.leaves(predict)
    numbers = all(isinstance(leaf, jax.Array | np.ndarray | np.number | float | int) for leaf in leaves)
    return numbers and not jax.tree_util.all_leaves([predict])


@partial(jax.jit, static_argnums=0)
def _compiled(others, radius, step_size, predict, x, labels, key):
    return Attack(radius, step_size=step_size, **dict(others))._ascent(predict, x, labels, key)


def _axes(points):
    return tuple(range(1, points.ndim))


def _worse(values, at, best, where):
    better = values > best
    wide = better.reshape(-1, *(1,) * (at.ndim - 1))
    return jnp.where(better, values, best), jnp.where(wide, at, where)
