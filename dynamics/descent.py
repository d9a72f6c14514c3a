r"""Update rules as optax transformations: steepest descent for a norm, and named rules for experiments.

A rule made here works anywhere optax does. It also remembers its numbers, so that the engine can
trace them: another learning rate does not recompile, and an `Axis` of them runs side by side.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree, ScalarLike

from dynamics.parts import Axis, Bound, bind

Norm = Literal["l2", "linf", "l1"]
NORMS: tuple[str, ...] = get_args(Norm)
DUAL = {"l2": "l2", "linf": "l1", "l1": "linf"}


class Descent(optax.GradientTransformationExtraArgs):
    """An optax transformation that remembers how it was made (`recipe`)."""

    recipe: Bound

    def __new__(cls, recipe: Bound) -> "Descent":
        def init(params):
            return recipe().init(params)

        def update(updates, state, params=None, **extra):
            rule = optax.with_extra_args_support(recipe())
            return rule.update(updates, state, params, **extra)

        self = super().__new__(cls, init, update)
        self.recipe = recipe
        return self


def traced(factory: Callable[..., optax.GradientTransformation], **arguments: Any) -> Descent:
    """`factory(**arguments)` with its floats traced: `traced(optax.adam, learning_rate=1e-3)`."""
    return Descent(bind(factory, **arguments))


def norm(tree: PyTree, name: Norm) -> ScalarLike:
    """The norm of all entries of a tree taken together, of shape ()."""
    leaves = jax.tree.leaves(tree)
    if name == "l2":
        # scaled by the largest entry: late in training the squares would underflow
        largest = norm(tree, "linf")
        scale = jnp.where(largest > 0, largest, 1)
        return scale * jnp.sqrt(sum(jnp.sum(jnp.square(leaf / scale)) for leaf in leaves))
    if name == "l1":
        return sum(jnp.sum(jnp.abs(leaf)) for leaf in leaves)
    if name == "linf":
        return jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in leaves]))
    raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {name!r}")


def direction(grads: PyTree, name: Norm) -> PyTree:
    r"""$\arg\max_{\|d\| \le 1} \langle g, d\rangle$, of the structure of `grads`; zero for a zero gradient.

    `l2`: $g / \|g\|_2$. `linf`: $\mathrm{sign}(g)$ with sign(0) = 0. `l1`: $\mathrm{sign}(g_j) e_j$ at the
    largest $|g_j|$ over all parameters of all layers; ties go to the lowest index, leaves in the order
    of `jax.tree.leaves`.
    """
    if name == "l2":
        size = norm(grads, "l2")
        return jax.tree.map(lambda g: g / jnp.where(size > 0, size, 1), grads)
    if name == "linf":
        return jax.tree.map(jnp.sign, grads)
    if name == "l1":
        flat, unravel = ravel_pytree(grads)
        j = jnp.argmax(jnp.abs(flat))
        return unravel(jnp.zeros_like(flat).at[j].set(jnp.sign(flat[j])))
    raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {name!r}")


def steepest(norm: Norm, learning_rate: ScalarLike | Axis, *, normalize: bool = False) -> Descent:
    r"""Steepest descent for a norm, taken over all parameters of all layers at once.

    With $g$ the gradient, $\|\cdot\|_*$ the dual norm and $d = \arg\max_{\|d\| \le 1} \langle g, d\rangle$,
    one step is $\theta \leftarrow \theta - \eta\,\|g\|_*\,d$, or $\theta - \eta\,d$ if `normalize`.

    Args:
      norm: `"l2"` is gradient descent, `"linf"` sign descent (dual l1), `"l1"` greedy coordinate
        descent (dual linf). Ties in `"l1"` go to the lowest index; sign(0) is 0.
      learning_rate: step size $\eta$; traced, so a sweep does not recompile.
      normalize: leave the factor $\|g\|_*$ out; what is usually called signGD is `"linf"` with it.

    Raises: ValueError: unknown `norm`.
    Reference: Gunasekar et al. 2018, arXiv:1802.08246, Section 2.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
    rate = learning_rate if isinstance(learning_rate, Axis) else jnp.asarray(learning_rate, float)
    return traced(steepest_rule, name=norm, learning_rate=rate, normalize=normalize)


def steepest_rule(name: Norm, learning_rate: ScalarLike, normalize: bool) -> optax.GradientTransformation:
    """What `steepest` binds: the rule itself, made anew from its numbers in every trace."""

    def update(grads, state, params=None):
        del params
        if name == "l2" and not normalize:  # g itself, with no detour over its norm
            return jax.tree.map(lambda g: -learning_rate * g, grads), state
        size = 1.0 if normalize else norm(grads, DUAL[name])
        step = learning_rate * size
        return jax.tree.map(lambda d: -step * d, direction(grads, name)), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


class _Named(NamedTuple):
    factory: Callable
    arguments: dict[str, Any]


DescentName = Literal["gd", "sign", "coordinate", "momentum", "nesterov", "adam", "rmsprop"]
_STEEPEST = {"gd": "l2", "sign": "linf", "coordinate": "l1"}
_OPTAX = {
    "momentum": _Named(optax.sgd, {"momentum": 0.9}),
    "nesterov": _Named(optax.sgd, {"momentum": 0.9, "nesterov": True}),
    "adam": _Named(optax.adam, {}),
    "rmsprop": _Named(optax.rmsprop, {}),
}


def named(name: DescentName, learning_rate: ScalarLike | Axis, *, normalize: bool = False) -> Descent:
    """The update rule that an experiment's config names.

    `gd`, `sign` and `coordinate` are steepest descent in l2, linf and l1; `momentum` (0.9), `nesterov`
    (0.9), `adam` and `rmsprop` are optax's, with its defaults.

    Raises: ValueError: unknown name, or `normalize` with a rule that is not steepest descent.
    """
    if name in _STEEPEST:
        return steepest(_STEEPEST[name], learning_rate, normalize=normalize)
    if name not in _OPTAX:
        known = ", ".join(get_args(DescentName))
        raise ValueError(f"descent must be one of {known}, got {name!r}")
    if normalize:
        raise ValueError(f"normalize applies to gd, sign and coordinate descent only, got descent={name!r}")
    rate = learning_rate if isinstance(learning_rate, Axis) else jnp.asarray(learning_rate, float)
    return traced(_OPTAX[name].factory, learning_rate=rate, **_OPTAX[name].arguments)
