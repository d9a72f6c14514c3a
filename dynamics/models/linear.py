"""Linear predictors: linear in their parameters too, or a product of them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from dynamics.models.activations import Activation
from dynamics.models.homogeneous import uniform
from dynamics.parts import written


class Linear(nn.Module):
    r"""$f(x) = \langle w, x\rangle$: one parameter `W` of shape (1, dim), uniform in $\pm 1/\sqrt d$."""

    __repr__ = written

    num_outputs: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "samples dim"]) -> Float[Array, "samples *outputs"]:
        W = self.param("W", uniform, (self.num_outputs, x.shape[-1]), jnp.result_type(float))
        return self.from_pre_activations({"W": W}, x @ W.T)

    @nn.nowrap
    def from_pre_activations(
        self,
        params: PyTree,
        z: Float[Array, "samples outputs"],
        norms: Float[Array, " outputs"] | None = None,
    ) -> Float[Array, "samples *outputs"]:
        """The outputs where $W x$ is `z`: that itself."""
        del params, norms
        return z[:, 0] if self.num_outputs == 1 else z

    @property
    def activation(self) -> Activation:
        """None in effect: the identity."""
        return Activation("linear")

    @property
    def degree(self) -> float:
        """Degree of homogeneity."""
        return 1.0


class DiagonalLinear(nn.Module):
    r"""$f(x) = \langle u_1 \odot \cdots \odot u_L, x\rangle$: parameters `u1`, `u2`, ... of shape (dim,).

    They start uniform in $\pm 1$, which the problem's `init_scale` multiplies.

    Attributes: depth: number L of factors, at least 2.
    Raises: ValueError: `depth` below 2.
    """

    __repr__ = written

    depth: int = 2

    def __post_init__(self):
        if self.depth < 2:
            raise ValueError(f"depth must be at least 2, got {self.depth}")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "samples dim"]) -> Float[Array, " samples"]:
        dtype = jnp.result_type(float)
        weights = jnp.ones(x.shape[-1], dtype)
        for i in range(self.depth):
            weights = weights * self.param(f"u{i + 1}", _symmetric, (x.shape[-1],), dtype)
        return x @ weights

    @property
    def degree(self) -> float:
        """Degree of homogeneity."""
        return float(self.depth)


def _symmetric(key, shape, dtype):
    return jax.random.uniform(key, shape, dtype, -1, 1)
