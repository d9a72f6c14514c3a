"""Fully connected ReLU networks of any depth, as used on images."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from dynamics.parts import written


class MLP(nn.Module):
    r"""A ReLU network with biases and hidden layers of the given widths.

    Kernels start as He normal (variance 2 / fan-in), biases at 0. The output has shape (samples,) if
    `num_outputs` is 1, else (samples, outputs).

    Attributes:
      hidden: widths of the hidden layers.
      num_outputs: 1 for a binary network, else the number of classes.
    """

    __repr__ = written

    hidden: tuple[int, ...]
    num_outputs: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "samples dim"]) -> Float[Array, "samples *outputs"]:
        dtype = jnp.result_type(float)
        for width in self.hidden:
            x = nn.relu(nn.Dense(width, kernel_init=nn.initializers.he_normal(), param_dtype=dtype)(x))
        x = nn.Dense(self.num_outputs, kernel_init=nn.initializers.he_normal(), param_dtype=dtype)(x)
        return x[:, 0] if self.num_outputs == 1 else x
