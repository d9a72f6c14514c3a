r"""Binary readouts of a multi-class network: one score whose sign is the predicted binary label.

With $J_\pm$ the classes of either sign (the setting of Li et al. 2025, arXiv:2410.10322; which readout its
theorem uses is not settled, so all three are here).
"""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Readout = Literal["max_logit", "softmax_group", "sum_logit"]


def read_out(
    logits: Float[Array, "samples classes"], class_signs: Float[Array, " classes"], readout: Readout
) -> Float[Array, " samples"]:
    r"""The binary score of `logits`.

    - `max_logit`: $\max_{J_+} f_j - \max_{J_-} f_j$.
    - `softmax_group`: $\log\sum_{J_+} e^{f_j} - \log\sum_{J_-} e^{f_j}$, of the sign of the
      difference of the summed softmax probabilities.
    - `sum_logit`: $\sum_{J_+} f_j - \sum_{J_-} f_j$.

    Raises: ValueError: unknown readout.
    """
    if readout == "sum_logit":
        return logits @ class_signs
    groups = [jnp.where(class_signs == sign, logits, -jnp.inf) for sign in (1, -1)]
    if readout == "max_logit":
        return jnp.max(groups[0], axis=1) - jnp.max(groups[1], axis=1)
    if readout == "softmax_group":
        return jax.nn.logsumexp(groups[0], axis=1) - jax.nn.logsumexp(groups[1], axis=1)
    raise ValueError(f"readout must be one of {', '.join(get_args(Readout))}, got {readout!r}")
