r"""Any network, linearised in its parameters around where it starts."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from dynamics.parts import written


class Linearized(nn.Module):
    r"""$f_{\mathrm{lin}}(x; \theta) = f(x; \theta_0) + J(x)(\theta - \theta_0)$, whose kernel never changes.

    Parameters: `origin`, the network's at $\theta_0$, with gradient 0, and `moved`, $\theta - \theta_0$,
    which starts at 0. Gradient descent on the squared loss is `kernels.regression.descent` with the empirical
    NTK at $\theta_0$, exactly. `around` linearises a network later in its training.

    Attributes:
      network: the network; a module whose parameters are all that it has. Its weights are drawn anew here: at
        the same seed they are others than those of the network by itself; `around` pairs the two.
    Raises: ValueError: no flax module.
    Reference: Lee et al. 2019, arXiv:1902.06720, Section 2.2.
    """

    __repr__ = written

    network: nn.Module

    def __post_init__(self):
        if not isinstance(self.network, nn.Module):
            raise ValueError(f"network must be a flax module, got {self.network!r}")
        super().__post_init__()

    @property
    def num_outputs(self) -> int:
        """The network's."""
        return self.network.num_outputs

    @nn.compact
    def __call__(self, x: Float[Array, "samples *shape"]) -> Float[Array, "samples *outputs"]:
        # not a submodule: its parameters are this module's own, and their tangents too
        network = self.network.clone(parent=None)
        origin = self.param("origin", lambda key: network.init(key, x[:1])["params"])
        moved = self.param("moved", lambda key: jax.tree.map(jnp.zeros_like, origin))
        origin = jax.lax.stop_gradient(origin)
        value, change = jax.jvp(lambda p: network.apply({"params": p}, x), (origin,), (moved,))
        return value + change


def around(params: PyTree) -> dict[str, Any]:
    """Parameters of `Linearized` at those of its network: linearised there, wherever training has led."""
    return {"origin": params, "moved": jax.tree.map(jnp.zeros_like, params)}
