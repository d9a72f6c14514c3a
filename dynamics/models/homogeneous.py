r"""Networks without biases, of any depth, all layers trained: $f(x; c\,\theta) = c^L f(x; \theta)$."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from dynamics.descent.norms import lengths
from dynamics.models.activations import Activation
from dynamics.parts import written


def uniform(key, shape, dtype):
    r"""Uniform in $\pm 1/\sqrt{\text{fan-in}}$, the last axis being the inputs'."""
    size = shape[-1] ** -0.5
    return jax.random.uniform(key, shape, dtype, -size, size)


class Homogeneous(nn.Module):
    r"""A network without biases, $f(x) = a^\top \phi(W_h \cdots \phi(W x))$.

    Parameters: `W` (neurons, dim), the first layer; `W2`, `W3`, ... (neurons, neurons before) for further
    hidden layers; `a` (outputs, neurons), the last. All start uniform in $\pm 1/\sqrt{\text{fan-in}}$,
    which the problem's `init_scale` multiplies. The output has shape (samples,) if `num_outputs` is 1,
    else (samples, outputs).

    Attributes:
      widths: neurons of each hidden layer, at least one layer.
      num_outputs: 1 for a binary network, else the number of classes.
      activation: see `Activation`; `linear` makes a deep linear network.
    Raises: ValueError: no hidden layer, a width or `num_outputs` below 1.
    Reference: Tsilivis et al. 2025, arXiv:2410.22069, Section 2.
    """

    __repr__ = written

    widths: tuple[int, ...]
    num_outputs: int = 1
    activation: Activation = Activation()

    def __post_init__(self):
        if not self.widths or min(self.widths) < 1:
            raise ValueError(
                f"widths must name at least one hidden layer, each of at least 1, got {self.widths}"
            )
        if self.num_outputs < 1:
            raise ValueError(f"num_outputs must be at least 1, got {self.num_outputs}")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "samples dim"]) -> Float[Array, "samples *outputs"]:
        dtype = jnp.result_type(float)
        sizes = (x.shape[-1], *self.widths)
        params = {
            layer_name(i): self.param(layer_name(i), uniform, (sizes[i + 1], sizes[i]), dtype)
            for i in range(len(self.widths))
        }
        params["a"] = self.param("a", uniform, (self.num_outputs, sizes[-1]), dtype)
        norms = lengths(params["W"]) if self.activation.sees_norms else None
        return self.from_pre_activations(params, x @ params["W"].T, norms)

    @nn.nowrap
    def from_pre_activations(
        self,
        params: PyTree,
        z: Float[Array, "samples neurons"],
        norms: Float[Array, " neurons"] | None = None,
    ) -> Float[Array, "samples *outputs"]:
        r"""The outputs where the first layer's $W x$ is `z`; `norms` of its weights where they matter."""
        hidden = self.activation(z, jnp.zeros(z.shape[-1], z.dtype) if norms is None else norms)
        for i in range(1, len(self.widths)):
            W = params[layer_name(i)]
            norms = lengths(W) if self.activation.sees_norms else jnp.ones(len(W), W.dtype)
            hidden = self.activation(hidden @ W.T, norms)
        return hidden @ params["a"][0] if self.num_outputs == 1 else hidden @ params["a"].T

    @property
    def degree(self) -> float | None:
        """Degree of homogeneity L in all parameters together; None if the activation has none."""
        p, degree = self.activation.degree, 0.0
        if p is None:
            return None
        if self.activation.sees_norms:  # prelu: degree 1 in its weights, its power in its input
            return float(sum(self.activation.power**i for i in range(len(self.widths)))) + 1
        for _ in self.widths:
            degree = p * (degree + 1)
        return degree + 1


def layer_name(i: int) -> str:
    """Name of hidden layer i = 0, 1, ...: `W`, `W2`, `W3`, ..."""
    return "W" if i == 0 else f"W{i + 1}"
