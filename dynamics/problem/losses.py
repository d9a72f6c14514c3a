r"""Losses, one number an example; `Problem` takes their mean (or sum) over the samples.

Margin losses take the margins $q_i = y_i f(x_i)$ with labels -1 and +1. Tails keep their relative
accuracy; a value is infinite only where the loss itself is beyond the largest float (`exponential`).

The exponentially tailed losses also come as logarithms, whose values and gradients are exact however far
in the tail: $\log \ell = -q$ where $\ell = e^{-q}$ has long been rounded to 0.
"""

from collections.abc import Callable
from typing import Any

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
    r"""$\tfrac12 (f - y)^2 = \tfrac12 (1 - q)^2$, the two being equal for labels -1 and +1.

    `evaluate` takes $\tfrac12 |f - y|^2$, which also serves regression on targets of any size and shape.
    """
    return 0.5 * jnp.square(1 - margins)


def squared_error(
    outputs: Float[Array, "samples classes"], target: Int[Array, " samples"], *, centred: bool = True
) -> Float[Array, " samples"]:
    r"""$\tfrac12 |f - t|^2$, where t is the target class's one-hot vector, less 1/C if `centred`."""
    classes = outputs.shape[1]
    wanted = jax.nn.one_hot(target, classes, dtype=outputs.dtype) - (1 / classes if centred else 0)
    return 0.5 * jnp.sum(jnp.square(outputs - wanted), axis=1)


def cross_entropy(
    logits: Float[Array, "samples classes"], target: Int[Array, " samples"]
) -> Float[Array, " samples"]:
    r"""$-\log \mathrm{softmax}(f)_c$ for target class $c$.

    Written as $\log(1 + \sum_{j \ne c} e^{f_j - f_c})$, so that the loss of a confident right answer
    is a small number and not the rounded difference of two large ones.
    """
    return jax.nn.softplus(jax.nn.logsumexp(_others(logits, target), axis=1))


def margins(outputs: Float[Array, "samples *outputs"], sample: Sample) -> Float[Array, " samples"]:
    r"""$y f(x)$ of one output; of logits, the target's lead $f_c - \max_{j \ne c} f_j$.

    Raises: ValueError: samples without the labels for that, such as targets of a regression.
    """
    field = "y" if outputs.ndim == 1 else "target"
    labels = getattr(sample, field)
    if outputs.ndim > 2 or labels is None or labels.ndim != 1:
        raise ValueError(
            f"margins are of samples with one {field} each and outputs (samples,) or (samples, classes); "
            f"got outputs of shape {outputs.shape}"
        )
    if outputs.ndim == 1:
        return sample.y * outputs
    return -jnp.max(_others(outputs, sample.target), axis=1)


def _others(logits, target):
    """The logits relative to the target's, which is left out."""
    own = jnp.take_along_axis(logits, target[:, None], axis=1)
    return jnp.where(jnp.arange(logits.shape[1])[None] == target[:, None], -jnp.inf, logits - own)


def log_exponential(margins: Float[Array, " samples"]) -> Float[Array, " samples"]:
    r"""$\log e^{-q} = -q$."""
    return -margins


@jax.custom_jvp
def log_logistic(margins: Float[Array, " samples"]) -> Float[Array, " samples"]:
    r"""$\log \log(1 + e^{-q})$, near $-q$; its derivative is $-1 / ((1 + e^q) \log(1 + e^{-q}))$."""
    tail = jnp.exp(-jnp.maximum(margins, 0))
    body = jnp.log(jax.nn.softplus(-jnp.minimum(margins, 0)))
    return jnp.where(margins > 0, -margins + jnp.log(_log1p_ratio(tail)), body)


@log_logistic.defjvp
def _log_logistic_jvp(primals, tangents):
    (q,), (dq,) = primals, tangents
    return log_logistic(q), -_log_logistic_slope(q) * dq


@jax.custom_jvp
def _log_logistic_slope(q):
    """s = 1 / ((1 + e^q) log(1 + e^-q)), which tends to 1; its derivative is s (s - sigmoid(q))."""
    tail = jnp.exp(-jnp.maximum(q, 0))
    low = jnp.minimum(q, 0)
    body = jax.nn.sigmoid(-low) / jax.nn.softplus(-low)
    return jnp.where(q > 0, 1 / ((1 + tail) * _log1p_ratio(tail)), body)


@_log_logistic_slope.defjvp
def _log_logistic_slope_jvp(primals, tangents):
    (q,), (dq,) = primals, tangents
    s = _log_logistic_slope(q)
    return s, s * (s - jax.nn.sigmoid(q)) * dq


def _log1p_ratio(u):
    """log(1 + u) / u for u of 0 or more."""
    tiny = u < jnp.finfo(u.dtype).tiny
    return jnp.where(tiny, 1, jnp.log1p(u) / jnp.where(tiny, 1, u))


def log_cross_entropy(
    logits: Float[Array, "samples classes"], target: Int[Array, " samples"]
) -> Float[Array, " samples"]:
    r"""The logarithm of `cross_entropy`: `log_logistic` of $-\log \sum_{j \ne c} e^{f_j - f_c}$."""
    return log_logistic(-jax.nn.logsumexp(_others(logits, target), axis=1))


MARGIN_LOSSES: dict[str, Callable] = {
    "logistic": logistic,
    "exponential": exponential,
    "hinge": hinge,
    "squared": squared,
}
LOG_MARGIN_LOSSES: dict[str, Callable] = {"logistic": log_logistic, "exponential": log_exponential}
Loss = str | Callable[[Float[Array, "samples *outputs"], Sample], Float[Array, " samples"]]
"""The name of a loss, or a function (outputs, sample) that gives each sample's."""
LOSSES = (*MARGIN_LOSSES, "squared_one_hot", "cross_entropy")
TAILED = (*LOG_MARGIN_LOSSES, "cross_entropy")
"""Losses with an exponential tail: never 0, and known by their logarithm."""


def is_regression(loss: Loss, axes: int, y: Any) -> bool:
    """Whether outputs of so many axes are compared with a `y` of their shape, several numbers a sample."""
    return isinstance(loss, str) and loss == "squared" and (axes > 2 or getattr(y, "ndim", 0) > 1)


def evaluate(
    name: Loss, outputs: Float[Array, "samples *outputs"], sample: Sample, of: str = "loss"
) -> Float[Array, " samples"]:
    r"""The loss of each sample, or its logarithm (`of="log_loss"`): a named one, or a function's.

    Margin losses want one output a sample, cross-entropy and `squared_one_hot` logits. `squared` takes
    outputs of the shape of `y`, whatever that is: $\tfrac12 |f - y|^2$. Of logits beside one `y` a sample
    it is `squared_error`, centred.

    Raises: ValueError: the network's output does not fit the loss, or the loss has no logarithm.
    """
    if callable(name):
        if of == "log_loss":
            raise ValueError(
                f"only {', '.join(TAILED)} are trained on by their logarithm, got a function as the loss"
            )
        values = name(outputs, sample)
        is_array, count = isinstance(values, jax.Array), outputs.shape[0]
        if not is_array or values.shape != (count,) or not jnp.issubdtype(values.dtype, jnp.floating):
            got = f"shape {values.shape}, {values.dtype}," if is_array else type(values).__name__
            raise ValueError(
                f"a loss must give one number for each of {count} samples, got {got} from outputs of shape "
                f"{outputs.shape}; the problem itself takes the mean"
            )
        return values
    if of == "log_loss" and name not in TAILED:
        raise ValueError(f"only {', '.join(TAILED)} are trained on by their logarithm, got loss={name!r}")
    if is_regression(name, outputs.ndim, sample.y):
        return 0.5 * jnp.sum(jnp.square(outputs - sample.y).reshape(outputs.shape[0], -1), axis=1)
    if name in ("cross_entropy", "squared_one_hot") and outputs.ndim != 2:
        raise ValueError(f"{name} needs a network with one logit a class, got a single output")
    if name == "squared_one_hot" or (name == "squared" and outputs.ndim == 2):
        return squared_error(outputs, sample.target, centred=name == "squared")
    if name == "cross_entropy":
        loss = cross_entropy if of == "loss" else log_cross_entropy
        return loss(outputs, sample.target)
    if outputs.ndim != 1:
        raise ValueError(
            f"the {name} loss needs a network with a single output, got {outputs.shape[1]} logits"
        )
    if name == "squared":
        return 0.5 * jnp.square(outputs - sample.y)
    return (MARGIN_LOSSES if of == "loss" else LOG_MARGIN_LOSSES)[name](sample.y * outputs)


RAISED = (*LOSSES, "margin")
"""What an attack may raise: a loss, or minus the margin."""


def raised(
    name: Loss, outputs: Float[Array, "samples *outputs"], sample: Sample, of: str = "loss"
) -> Float[Array, " samples"]:
    """What an attack raises, of each sample: `evaluate`'s loss, or for `margin` minus the margin.

    Raises: ValueError: as `evaluate`.
    """
    return (
        -margins(outputs, sample)
        if isinstance(name, str) and name == "margin"
        else evaluate(name, outputs, sample, of)
    )
