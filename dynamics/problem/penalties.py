r"""Penalties that are not smooth, with what descent needs of them: a subgradient and a proximal map.

A penalty R is a part with `value(params)`, `subgradient(params)` and `prox(params, step)`, the point
$\arg\min_\vartheta \tfrac12 \|\vartheta - \theta\|^2 + s R(\vartheta)$ for a step of length s. `params` are
those that are trained: what is frozen is not in the tree, what a mask leaves out is 0. A rule that takes
`penalty` (`descent.proximal`) is given the gradient of the smooth part alone; any other descends along the
sum of gradient and subgradient.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, ScalarLike

from dynamics.parts import known, part, static
from dynamics.problem import parameters


def surrogate(penalty: Any, params: PyTree) -> Float[Array, ""]:
    """The penalty's value, whose derivative is its subgradient, whatever JAX would make of its kinks."""
    fixed = jax.lax.stop_gradient(params)
    slopes = jax.lax.stop_gradient(penalty.subgradient(fixed))
    linear = jax.tree.map(lambda slope, p, at: jnp.sum(slope * (p - at)), slopes, params, fixed)
    return penalty.value(fixed) + sum(jax.tree.leaves(linear))


@part
class GroupLasso:
    r"""$\lambda \sum_g \|\theta_g\|_2$, where the entries of a parameter along `axis` are one group.

    With the axis -1 every row of a matrix is a group (all weights into one neuron), with 0 every column (all
    weights out of one input), and a vector is one. The subgradient of a group that is 0 is 0.

    Attributes:
      strength: $\lambda$, 0 or more.
      only: names or paths of the parameters; None: all that are trained.
      axis: see above.
    Raises: ValueError: a negative strength.
    """

    strength: Any
    only: tuple[str, ...] | None = static(None)
    axis: int = static(-1)

    def __post_init__(self):
        _check_strength(self.strength)

    def value(self, params: PyTree) -> Float[Array, ""]:
        """The penalty."""
        return self.strength * _summed(params, self.only, lambda leaf: jnp.sum(self._sizes(leaf)))

    def subgradient(self, params: PyTree) -> PyTree:
        """Each group over its norm, times the strength."""

        def of(leaf):
            size = self._sizes(leaf)
            return self.strength * leaf / jnp.where(size > 0, size, 1)

        return _each(params, self.only, of, jnp.zeros_like)

    def prox(self, params: PyTree, step: ScalarLike) -> PyTree:
        """Each group shortened by `step` times the strength, to 0 if it is not longer."""

        def of(leaf):
            size = self._sizes(leaf)
            left = jnp.maximum(size - step * self.strength, 0)
            return leaf * (left / jnp.where(size > 0, size, 1))

        return _each(params, self.only, of, lambda leaf: leaf)

    def _sizes(self, leaf):
        return jnp.sqrt(jnp.sum(jnp.square(leaf), axis=self.axis if leaf.ndim else None, keepdims=True))


@part
class Lasso:
    r"""$\lambda \|\theta\|_1$; its subgradient at 0 is 0, its proximal map soft thresholding.

    Attributes:
      strength: $\lambda$, 0 or more.
      only: names or paths of the parameters; None: all that are trained.
    Raises: ValueError: a negative strength.
    """

    strength: Any
    only: tuple[str, ...] | None = static(None)

    def __post_init__(self):
        _check_strength(self.strength)

    def value(self, params: PyTree) -> Float[Array, ""]:
        """The penalty."""
        return self.strength * _summed(params, self.only, lambda leaf: jnp.sum(jnp.abs(leaf)))

    def subgradient(self, params: PyTree) -> PyTree:
        """Signs, times the strength."""
        return _each(params, self.only, lambda leaf: self.strength * jnp.sign(leaf), jnp.zeros_like)

    def prox(self, params: PyTree, step: ScalarLike) -> PyTree:
        """Every entry brought closer to 0 by `step` times the strength, as far as 0."""

        def of(leaf):
            return jnp.sign(leaf) * jnp.maximum(jnp.abs(leaf) - step * self.strength, 0)

        return _each(params, self.only, of, lambda leaf: leaf)


def _check_strength(value):
    values = known(value)
    if values is not None and not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"strength must be finite and not negative, got {value}")


def _each(params, only, chosen, other):
    names = parameters.named(params, only)
    return parameters.mapped(lambda path, leaf: chosen(leaf) if path in names else other(leaf), params)


def _summed(params, only, measure):
    leaves = parameters.by_path(params)
    return sum(measure(leaves[path]) for path in sorted(parameters.named(params, only)))
