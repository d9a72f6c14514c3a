r"""Networks in NTK parametrisation: standard normal parameters, scaled inside the forward pass."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dynamics.models.activations import Activation
from dynamics.parts import written


class NTKNetwork(nn.Module):
    r"""$h_{l+1} = \phi(\sigma_w m_l^{-1/2} W_l h_l + \sigma_b b_l)$ with $h_0 = x$; no $\phi$ at the output.

    Every weight and bias starts standard normal and trains. The infinitely wide network has the kernels of
    `kernels.closed_form.deep`. The output has shape (samples,) if `num_outputs` is 1, else (samples,
    outputs).

    Attributes:
      width: neurons of each hidden layer.
      depth: hidden layers.
      num_outputs: 1 for a binary network, else the number of classes.
      weight_std, bias_std: $\sigma_w$ and $\sigma_b$; with $\sigma_b = 0$ there are no biases.
      doubled: start at 0 everywhere: the units of the last hidden layer come in pairs that share their
        input weights and have opposite output weights; the width must be even, and the kernel is that of
        half of it. For depth 1.
      activation: see `Activation`.
    Reference: Jacot et al. 2018, arXiv:1806.07572, Section 2.
    """

    __repr__ = written

    width: int
    depth: int = 1
    num_outputs: int = 1
    weight_std: float = math.sqrt(2)
    bias_std: float = 0.1
    doubled: bool = False
    activation: Activation = Activation()

    def __post_init__(self):
        if self.doubled and (self.width % 2 or self.depth != 1):
            raise ValueError(
                "a doubled network needs depth 1 and an even width, "
                f"got depth={self.depth}, width={self.width}"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "samples dim"]) -> Float[Array, "samples *outputs"]:
        for layer in range(self.depth + 1):
            last = layer == self.depth
            neurons = self.num_outputs if last else self.width
            u = self._affine(f"{layer}", x, neurons, last)
            x = u if last else self.activation(u, jnp.zeros(neurons, u.dtype))
        return x[:, 0] if self.num_outputs == 1 else x

    def _affine(self, name, x, neurons, last):
        dtype = jnp.result_type(float)
        inputs = x.shape[-1]
        W = self.param(f"W{name}", _pairs(self.doubled, last), (inputs, neurons), dtype)
        u = self.weight_std / math.sqrt(inputs) * (x @ W)
        if self.bias_std:
            start = nn.initializers.zeros if self.doubled and last else _pairs(self.doubled, False)
            u = u + self.bias_std * self.param(f"b{name}", start, (neurons,), dtype)[None]
        return u


def _pairs(doubled: bool, opposite: bool):
    """Standard normal; of a doubled network one half repeats the other, sign changed at the output."""

    def init(key, shape, dtype):
        if not doubled:
            return jax.random.normal(key, shape, dtype)
        axis = 0 if opposite else -1
        half = tuple(n // 2 if i == axis % len(shape) else n for i, n in enumerate(shape))
        drawn = jax.random.normal(key, half, dtype)
        return jnp.concatenate([drawn, -drawn if opposite else drawn], axis=axis)

    return init
