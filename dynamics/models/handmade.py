r"""Two-layer networks written down instead of trained, as starting points of a `Problem`.

With centres $\mu_j$ of norm R, `Averaging` is the averaging classifier of Li et al. 2025, arXiv:2410.10322
(Figure 1), and `Mixed` a construction of ours for its Proposition 4.8: their robust radii are closed forms.
Each has `params(model, draw)`, parameters in the place of random ones; training may go on from there.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from dynamics.data.sample import Draw
from dynamics.descent import norms
from dynamics.models.patch_cnn import PatchCNN
from dynamics.models.two_layer import TwoLayer
from dynamics.parts import is_number, part, static


@part
class Averaging:
    r"""$w_{s,r} = \sum_{j \in J_s} \mu_j / \|\mu_j\|^2$, biases 0, for a binary network.

    Every neuron is the average of its class's centres; the mean robust radius is $R/\sqrt k$.
    """

    def params(self, model: TwoLayer, draw: Draw) -> PyTree:
        """Parameters of a binary `model`. Raises ValueError for a multi-class one."""
        if model.num_outputs != 1:
            raise ValueError("an averaging start needs a binary network, got one logit a class")
        duals = _duals(draw)
        signs = jnp.repeat(jnp.asarray([1.0, -1.0], duals.dtype), model.width)
        own = (signs[:, None] == draw.feature_signs[None]).astype(duals.dtype)
        return _with_bias(model, own @ duals, 0.0)


@part
class Mixed:
    r"""$w_j = (1-t)\,\mu_j/R^2 + t \sum_{s\ \mathrm{of\ the\ sign\ of}\ j} \mu_s/R^2$, one class a centre.

    Class accuracy is perfect for t < 1, yet the max-logit radius falls from $R/\sqrt2$ (t = 0, decoupled)
    to $R/\sqrt k$ (t = 1): fine labels alone do not force decoupling (Proposition 4.8).

    Attributes:
      mixing: t, from 0 to 1.
      bias: of every neuron, if the network has biases; -1/2 makes the summed logits of t = 0 the
        feature-decoupling classifier of Figure 1, whose radius is $R/2$ at a centre.
    Raises: ValueError: `mixing` outside 0 .. 1.
    """

    mixing: Any = 0.0
    bias: Any = 0.0

    def __post_init__(self):
        if is_number(self.mixing) and not np.all(
            (np.asarray(self.mixing) >= 0) & (np.asarray(self.mixing) <= 1)
        ):
            raise ValueError(f"mixing must lie between 0 and 1, got {self.mixing}")

    def params(self, model: TwoLayer, draw: Draw) -> PyTree:
        """Parameters of a multi-class `model`. Raises ValueError unless it has one class a centre."""
        duals = _duals(draw)
        if model.num_outputs != duals.shape[0]:
            raise ValueError(f"a mixed start needs one class for each of the {duals.shape[0]} centres")
        same = (draw.feature_signs[:, None] == draw.feature_signs[None]).astype(duals.dtype)
        mixed = (1 - self.mixing) * duals + self.mixing * (same @ duals)
        return _with_bias(model, jnp.repeat(mixed, model.width, axis=0), self.bias)


@part
class PureFeatures:
    r"""$w_{i,r} = c\,u_i$ for every neuron of class i of a `PatchCNN`, $u_i$ its direction in one family.

    Networks that rest on robust, or on non-robust, features alone.

    Attributes:
      size: c.
      family: which of the class's directions.
    Reference: the setting of Li & Li 2025, arXiv:2410.08503.
    """

    size: Any = 1.0
    family: int = static(0)

    def params(self, model: PatchCNN, draw: Draw) -> PyTree:
        """Parameters of a multi-class `model`. Raises ValueError unless the data's patches suit it."""
        if draw.carried is None or not self.family < draw.carried.shape[0]:
            raise ValueError(f"pure features need data made of patches with a family {self.family}")
        if model.num_outputs != draw.carried.shape[1]:
            raise ValueError(f"pure features need one output for each of {draw.carried.shape[1]} classes")
        params = {"W": self.size * jnp.repeat(draw.carried[self.family], model.width, axis=0)}
        if model.use_bias:
            params["b"] = jnp.zeros(params["W"].shape[0], params["W"].dtype)
        return params


def _duals(draw: Draw) -> Float[Array, "features dim"]:
    lengths = norms.lengths(draw.features)[:, None]
    return draw.features / lengths / lengths


def _with_bias(model, W, bias):
    params = {"W": W}
    if model.use_bias:
        params["b"] = jnp.full(W.shape[0], bias, W.dtype)
    if model.train_output:
        params["a"] = jnp.asarray(model.initial_output, W.dtype)
    return params
