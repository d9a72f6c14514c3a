r"""Two-layer networks $f(x) = \sum_r a_r\,\phi(\langle w_r, x\rangle + b_r)$, binary and multi-class."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from dynamics.descent.norms import lengths
from dynamics.models.activations import Activation
from dynamics.parts import written
from dynamics.problem import first_layers


class TwoLayer(nn.Module):
    r"""A two-layer network whose second layer is fixed (default) or trained.

    Binary (`num_outputs` = 1): `2 * width` neurons, the first `width` with $a_r = 1/m$, the others with
    $-1/m$; the output has shape (samples,). Multi-class (`num_outputs` = k): `k * width` neurons, those
    of class j are rows $jh .. (j+1)h - 1$, and $f_j(x) = \frac1h \sum_{r \in \text{group } j} \phi(\cdot)$;
    the output has shape (samples, k).

    Parameters: `W` (neurons, dim); `b` (neurons,) if `use_bias`; `a` (outputs, neurons) if
    `train_output`, which starts at the values above. `W` and `b` start standard normal: the problem's
    `init_scale` sets their size.

    Attributes:
      width: neurons m of each sign (binary) or h of each class (multi-class).
      num_outputs: 1 for a binary network, else the number of classes.
      use_bias: train a bias for each neuron.
      train_output: train the second layer too.
      activation: see `Activation`.
    Reference: Li et al. 2025, arXiv:2410.10322, Section 3.2.
    """

    __repr__ = written

    width: int
    num_outputs: int = 1
    use_bias: bool = True
    train_output: bool = False
    activation: Activation = Activation()

    @nn.compact
    def __call__(self, x: Float[Array, "samples dim"]) -> Float[Array, "samples *outputs"]:
        dtype = jnp.result_type(float)
        normal = nn.initializers.normal(1.0)
        params = {"W": self.param("W", normal, (self.num_neurons, x.shape[-1]), dtype)}
        if self.use_bias:
            params["b"] = self.param("b", normal, (self.num_neurons,), dtype)
        if self.train_output:
            params["a"] = self.param("a", lambda _: jnp.asarray(self.initial_output, dtype))
        norms = lengths(params["W"]) if self.activation.sees_norms else None
        return self.from_pre_activations(params, pre_activations(params, x), norms)

    def from_pre_activations(
        self,
        params: PyTree,
        z: Float[Array, "samples neurons"],
        norms: Float[Array, " neurons"] | None = None,
    ) -> Float[Array, "samples *outputs"]:
        r"""The outputs at pre-activations $z$, biases included; `norms` of the weights where they matter."""
        norms = jnp.zeros(z.shape[-1], z.dtype) if norms is None else norms
        # a row a neuron, as Gram space holds them: nothing is transposed at every step
        hidden = self.activation(z.T, norms[:, None])
        a = params["a"] if "a" in params else jnp.asarray(self.initial_output, z.dtype)
        return a[0] @ hidden if self.num_outputs == 1 else (a @ hidden).T

    @property
    def degree(self) -> float | None:
        """Degree of homogeneity in the trained parameters; None if there is none."""
        p = self.activation.degree
        return None if p is None else p + self.train_output

    @property
    def num_neurons(self) -> int:
        """Number of hidden neurons."""
        return self.width * (2 if self.num_outputs == 1 else self.num_outputs)

    @property
    def initial_output(self) -> Float[np.ndarray, "outputs neurons"]:
        """The fixed second layer (also where a trained one starts)."""
        if self.num_outputs == 1:
            return np.repeat([1.0, -1.0], self.width)[None] / self.width
        return np.kron(np.eye(self.num_outputs), np.ones(self.width)) / self.width


def pre_activations(params: PyTree, x: Float[Array, "samples dim"]) -> Float[Array, "samples neurons"]:
    r"""$\langle w_r, x_i\rangle + b_r$."""
    z = x @ params["W"].T
    return z + params["b"][None] if "b" in params else z


def output_weights(model: nn.Module, params: PyTree) -> Float[Array, "outputs neurons"]:
    """The second layer, fixed or trained.

    Raises: ValueError: the model has none.
    """
    if not ("a" in params or hasattr(model, "initial_output")):
        raise ValueError(
            f"{type(model).__name__} has no second layer: its weights must be the parameter `a` (outputs, "
            "neurons), or a constant of the model as in TwoLayer"
        )
    if "a" in params:
        return params["a"].reshape(-1, params["a"].shape[-1])
    return jnp.asarray(model.initial_output, first_layers.float_type(params))


def biases(params: PyTree) -> Float[Array, " neurons"]:
    """The biases, zero for a network without."""
    if "b" in params:
        return params["b"]
    return jnp.zeros(first_layers.num_neurons(params), first_layers.float_type(params))


def neuron_labels(model: nn.Module, params: PyTree) -> Float[Array, " neurons"]:
    """What a neuron speaks for: the sign of its output weight (binary), or its class (multi-class).

    Raises: ValueError: a network of another form than one hidden layer `W` and a second layer.
    """
    if unknown := sorted(set(params) - {"W", "b", "a"}):
        raise ValueError(
            "what a neuron speaks for is known of networks with one hidden layer only, as TwoLayer, with "
            f"parameters W, b and a; {type(model).__name__} also has {', '.join(unknown)}: say "
            'which the first layer is by .given(weights="Dense_0/kernel")'
        )
    a = output_weights(model, params)
    return jnp.sign(a[0]) if a.shape[0] == 1 else jnp.argmax(a, axis=0).astype(a.dtype)
