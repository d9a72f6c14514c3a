r"""Proximal gradient descent, for problems with a penalty that is not smooth; and which rules ask for it."""

import inspect

import jax
import optax
from jaxtyping import ScalarLike

from dynamics.descent.recipes import Descent, as_written, traced, within_recipe
from dynamics.descent.rules import Number, as_rate
from dynamics.parts import Bound


@as_written()
def proximal(learning_rate: Number) -> Descent:
    r"""$\theta \leftarrow \mathrm{prox}_{\eta R}(\theta - \eta \nabla L)$ for the loss L and a penalty R.

    With R = $\lambda \|\theta\|_1$ this is iterative soft thresholding: entries become exactly 0.

    Args:
      learning_rate: $\eta$; a number, which is traced.

    Raises: ValueError: a learning rate that is no number of 0 or more.
    Reference: Parikh and Boyd 2014, Proximal Algorithms, Section 4.2.
    """
    if callable(learning_rate):
        raise ValueError("learning_rate of proximal must be a number: its steps are all of one length")
    return traced(_proximal, learning_rate=as_rate(learning_rate))


def _proximal(learning_rate: ScalarLike) -> optax.GradientTransformationExtraArgs:
    def update(grads, state, params=None, *, penalty=None, **extra):
        del extra
        if penalty is None or params is None:
            raise ValueError("proximal takes a problem with a penalty, such as penalty=Lasso(0.1)")
        wanted = penalty.prox(jax.tree.map(lambda p, g: p - learning_rate * g, params, grads), learning_rate)
        return jax.tree.map(lambda new, p: new - p, wanted, params), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def takes_penalty(recipe: Bound) -> bool:
    """Whether a rule, or one that it is made of, has an argument `penalty` of its `update`."""
    if inner := within_recipe(recipe):
        return any(map(takes_penalty, inner))
    update = getattr(recipe(), "update", None)  # a schedule has none
    return update is not None and "penalty" in inspect.signature(update).parameters
