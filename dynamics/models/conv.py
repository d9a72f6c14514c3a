"""A small convolutional network for images that come flattened."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from dynamics.parts import written


class SmallCNN(nn.Module):
    r"""3x3 convolutions with ReLU and 2x2 average pooling after each, then one hidden layer.

    Kernels start LeCun normal (flax's default), biases at 0. Images are grey, square and flattened. The
    output has shape (samples,) if `num_outputs` is 1, else (samples, outputs).

    Attributes:
      channels: of each convolution.
      hidden: width of the dense hidden layer.
      num_outputs: 1 for a binary network, else the number of classes.
    Raises: ValueError: inputs that are no square images.
    Reference: the small network in the code of Tsilivis & Kempe 2022, arXiv:2210.05577.
    """

    __repr__ = written

    channels: tuple[int, ...] = (32, 64)
    hidden: int = 256
    num_outputs: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "samples pixels"]) -> Float[Array, "samples *outputs"]:
        side = math.isqrt(x.shape[1])
        if side**2 != x.shape[1]:
            raise ValueError(f"SmallCNN needs square images, got {x.shape[1]} pixels")
        dtype = jnp.result_type(float)
        h = x.reshape(len(x), side, side, 1)
        for count in self.channels:
            h = nn.avg_pool(nn.relu(nn.Conv(count, (3, 3), param_dtype=dtype)(h)), (2, 2), strides=(2, 2))
        h = nn.relu(nn.Dense(self.hidden, param_dtype=dtype)(h.reshape(len(x), -1)))
        out = nn.Dense(self.num_outputs, param_dtype=dtype)(h)
        return out[:, 0] if self.num_outputs == 1 else out
