"""Losses, one number an example; `Problem` takes their mean over the samples.

Margin losses take the margins $q_i = y_i f(x_i)$ with labels -1 and +1. Tails keep their relative
accuracy; a value is infinite only where the loss itself is beyond the largest float (`exponential`).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dynamics.data.sample import Sample


def logistic(margins: Float[Array, " samples"]) -> Float[Array, " samples"]:
    r"""$\log(1 + e^{-q})$."""
    return jax.nn.softplus(-margins)


def exponential(margins: Float[Array, " samples"]) -> Float[Array, " samples"]:
    r"""$e^{-q}$."""
    return jnp.exp(-margins)


def hinge(margins: Float[Array, " samples"]) -> Float[Array, " samples"]:
    r"""$\max(0, 1 - q)$, with derivative 0 at the kink."""
    return jax.nn.relu(1 - margins)


def squared(margins: Float[Array, " samples"]) -> Float[Array, " samples"]:
    r"""$\tfrac12 (f - y)^2 = \tfrac12 (1 - q)^2$, the two being equal for labels -1 and +1."""
    return 0.5 * jnp.square(1 - margins)


def cross_entropy(
    logits: Float[Array, "samples classes"], target: Int[Array, " samples"]
) -> Float[Array, " samples"]:
    r"""$-\log \mathrm{softmax}(f)_c$ for target class $c$.

    Written as $\log(1 + \sum_{j \ne c} e^{f_j - f_c})$, so that the loss of a confident right answer
    is a small number and not the rounded difference of two large ones.
    """
    own = jnp.take_along_axis(logits, target[:, None], axis=1)
    others = jnp.where(jnp.arange(logits.shape[1])[None] == target[:, None], -jnp.inf, logits - own)
    return jax.nn.softplus(jax.nn.logsumexp(others, axis=1))


MARGIN_LOSSES: dict[str, Callable] = {
    "logistic": logistic,
    "exponential": exponential,
    "hinge": hinge,
    "squared": squared,
}
LOSSES = (*MARGIN_LOSSES, "cross_entropy")


def evaluate(
    name: str, outputs: Float[Array, "samples *classes"], sample: Sample
) -> Float[Array, " samples"]:
    """The named loss of each sample: margin losses want one output a sample, cross-entropy logits.

    Raises: ValueError: the network's output does not fit the loss.
    """
    if name == "cross_entropy":
        if outputs.ndim != 2:
            raise ValueError("cross_entropy needs a network with one logit a class, got a single output")
        return cross_entropy(outputs, sample.target)
    if outputs.ndim != 1:
        raise ValueError(
            f"the {name} loss needs a network with a single output, got {outputs.shape[1]} logits"
        )
    return MARGIN_LOSSES[name](sample.y * outputs)
