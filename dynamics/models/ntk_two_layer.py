r"""Two-layer networks $f(x) = m^{-1/2} \sum_r a_r \phi(w_r \cdot x + b_r)$, whose kernels are known."""

import functools
import math
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dynamics.models.activations import Activation
from dynamics.parts import written
from kernels import closed_form
from kernels.duals import leaky_relu
from kernels.regression import Kernel

Trained = Literal["first", "second", "both"]
Output = Literal["sign", "normal"]


class NTKTwoLayer(nn.Module):
    r"""$f(x) = m^{-1/2} \sum_{r=1}^m a_r\,\phi(w_r \cdot x + b_r)$ with $w_r \sim N(0, I)$ and $E a_r^2 = 1$.

    The output has shape (samples,). `infinite` are the infinitely wide network's kernels, `finite` is the
    kernel of one at its weights. Parameters: `W` (neurons,
    dim), `a` (neurons,) and, with biases, `b` (neurons,); what does not train has gradient 0.

    Attributes:
      width: neurons m.
      trained: the layers that train; biases train with the first.
      use_bias: hidden biases, which start at 0 (`trained_bias=1` of the closed form).
      output: the law of $a_r$: signs, or standard normal.
      doubled: start at 0 everywhere: units r and r + m/2 share their input weights and have opposite output
        weights; the width must be even, and the kernel is that of half of it.
      activation: see `Activation`.
    Raises: ValueError: an unknown name, or a doubled network of odd width.
    Reference: Jacot et al. 2018, arXiv:1806.07572; Arora et al. 2019, arXiv:1901.08584.
    """

    __repr__ = written

    width: int
    trained: Trained = "both"
    use_bias: bool = False
    output: Output = "sign"
    doubled: bool = False
    activation: Activation = Activation()

    num_outputs = 1

    def __post_init__(self):
        for name, kind in (("trained", Trained), ("output", Output)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(
                    f"{name} must be one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}"
                )
        if self.width < 1 or (self.doubled and self.width % 2):
            even = " and even for a doubled network" if self.doubled else ""
            raise ValueError(f"width must be at least 1{even}, got {self.width}")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "samples dim"]) -> Float[Array, " samples"]:
        dtype = jnp.result_type(float)
        W = self.param("W", self._start(jax.random.normal, 1), (self.width, x.shape[-1]), dtype)
        draw = jax.random.rademacher if self.output == "sign" else jax.random.normal
        a = self.param("a", self._start(draw, -1), (self.width,), dtype)
        b = self.param("b", nn.initializers.zeros, (self.width,), dtype) if self.use_bias else None
        if self.trained == "second":
            W, b = jax.lax.stop_gradient((W, b))
        if self.trained == "first":
            a = jax.lax.stop_gradient(a)
        z = x @ W.T if b is None else x @ W.T + b[None]
        return self.activation(z, jnp.zeros(self.width, z.dtype)) @ a / math.sqrt(self.width)

    def _start(self, draw, sign):
        def init(key, shape, dtype):
            if not self.doubled:
                return draw(key, shape, dtype)
            half = draw(key, (shape[0] // 2, *shape[1:]), dtype)
            return jnp.concatenate([half, sign * half])

        return init

    @nn.nowrap
    def infinite(self, trained: str = "", nngp: bool = False) -> Kernel:
        """The NTK of the infinitely wide network, or of other layers; or its outputs' covariance (NNGP)."""
        return _infinite(self.activation, trained or self.trained, self.use_bias, nngp)

    @nn.nowrap
    def finite(
        self, params: Any, x: Float[Array, "samples dim"], trained: str = ""
    ) -> Float[Array, "samples samples"]:
        """The exact NTK at some weights; biases are weights of one more coordinate, 1."""
        W, x = params["W"], jnp.asarray(x)
        if self.use_bias:
            W = jnp.concatenate([W, params["b"][:, None]], 1)
            x = jnp.pad(x, ((0, 0), (0, 1)), constant_values=1.0)
        dual = _dual(self.activation)
        return closed_form.finite_two_layer(W, params["a"], x, x, dual, trained=trained or self.trained)


def _dual(activation):
    return leaky_relu(activation.slope) if activation.name == "leaky_relu" else activation.name


@functools.cache  # one function for one kernel, so that equal runs share their programs
def _infinite(activation, trained, use_bias, nngp):
    def kernel(x, z):
        bias = float(use_bias)
        both = closed_form.two_layer(x, z, _dual(activation), trained=trained, trained_bias=bias)
        return both.nngp if nngp else both.ntk

    return kernel
