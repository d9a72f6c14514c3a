r"""Two-layer convolutional networks whose neurons see one patch at a time and are summed over patches."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from dynamics.descent.norms import lengths
from dynamics.models.activations import Activation
from dynamics.parts import known, written


class PatchCNN(nn.Module):
    r"""A network of sums over neurons and patches, $\sum_r a_r \sum_p \phi(\langle w_r, x_p\rangle + b_r)$.

    The second layer is fixed at 0, 1 and -1, and nothing is divided by a number of neurons or patches.
    Binary (`num_outputs` = 1): `width` neurons with $a_r = 1$, or, if `signed`, `2 * width` neurons, the
    first `width` with $a_r = 1$ and the others with -1; the output has shape (samples,). Multi-class
    (`num_outputs` = k): `k * width` neurons, those of class i are rows $im .. (i+1)m - 1$, and
    $F_i(X) = \sum_{r \in \text{group } i} \sum_p \phi(\cdot)$; the output has shape (samples, k).

    Parameters: `W` (neurons, dim); `b` (neurons,) if `use_bias`. Both start standard normal: the
    problem's `init_scale` sets their size.

    Attributes:
      width: neurons m, of each sign (`signed`) or of each class (multi-class).
      num_outputs: 1 for a binary network, else the number of classes.
      signed: give a binary network neurons of both signs.
      use_bias: train a bias for each neuron.
      activation: see `Activation`.
      counts: of identical patches, how many each given patch stands for; none given: one each. They are
        traced: another number of copies is the same program.
    Raises: ValueError: `width` or `num_outputs` below 1, `signed` with several outputs, a negative count.
    Reference: Li & Li 2025, arXiv:2306.01271 (binary, `odd_power`) and arXiv:2410.08503 (multi-class,
      `smoothed_relu`).
    """

    __repr__ = written

    width: int
    num_outputs: int = 1
    signed: bool = False
    use_bias: bool = False
    activation: Activation = Activation()
    counts: tuple[Any, ...] = ()
    traced = ("counts",)

    def __post_init__(self):
        for name in ("width", "num_outputs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.signed and self.num_outputs > 1:
            raise ValueError(f"signed is for a single output, got num_outputs={self.num_outputs}")
        if any((known(count) < 0).any() for count in self.counts if known(count) is not None):
            raise ValueError(f"counts must not be negative, got {self.counts}")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "samples patches dim"]) -> Float[Array, "samples *outputs"]:
        if x.ndim != 3:
            raise ValueError(f"PatchCNN needs inputs of shape (samples, patches, dim), got shape {x.shape}")
        dtype = jnp.result_type(float)
        normal = nn.initializers.normal(1.0)
        params = {"W": self.param("W", normal, (self.num_neurons, x.shape[-1]), dtype)}
        z = x @ params["W"].T
        if self.use_bias:
            params["b"] = self.param("b", normal, (self.num_neurons,), dtype)
            z = z + params["b"][None, None]
        return self.from_pre_activations(params, z)

    @nn.nowrap
    def from_pre_activations(
        self,
        params: PyTree,
        z: Float[Array, "samples patches neurons"],
        norms: Float[Array, " neurons"] | None = None,
    ) -> Float[Array, "samples *outputs"]:
        r"""The outputs where $\langle w_r, x_p\rangle + b_r$ is `z`.

        `norms` are those of the weights; only an activation that sees them looks at `norms`, or, where
        they are None, at `params["W"]`.
        """
        if norms is None:
            seen = self.activation.sees_norms
            norms = lengths(params["W"]) if seen else jnp.ones(self.num_neurons, z.dtype)
        hidden = self.activation(z, norms)
        if self.counts:
            if len(self.counts) != z.shape[1]:
                raise ValueError(f"counts must be one for each of {z.shape[1]} patches, got {self.counts}")
            hidden = hidden * jnp.asarray(self.counts, z.dtype)[None, :, None]
        hidden = jnp.sum(hidden, axis=1)
        a = jnp.asarray(self.initial_output, hidden.dtype)
        return hidden @ a[0] if self.num_outputs == 1 else hidden @ a.T

    @property
    def degree(self) -> float | None:
        """Degree of homogeneity in the trained parameters; None if there is none."""
        return self.activation.degree

    @property
    def num_neurons(self) -> int:
        """Number of hidden neurons."""
        return self.width * (2 if self.signed else self.num_outputs)

    @property
    def initial_output(self) -> Float[np.ndarray, "outputs neurons"]:
        """The fixed second layer."""
        if self.signed:
            return np.repeat([1.0, -1.0], self.width)[None]
        return np.kron(np.eye(self.num_outputs), np.ones(self.width))
