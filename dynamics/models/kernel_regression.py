r"""Kernel regression as a model: its parameters are the points that it is fitted to, and their labels."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from dynamics.data.sample import Draw
from dynamics.parts import part, static, written
from kernels import distillation
from kernels.closed_form import DeepNTK
from kernels.regression import Kernel


class KernelRegression(nn.Module):
    r"""$f_S(x) = c\,\Theta(x, S)[\Theta(S, S) + r I]^{-1} Y_S$; training moves the support S.

    The parameters are `support` (num_support, dim) and `labels` (num_support, outputs), or (num_support,) for
    one output. They start uniform in [0, 1], with the classes in turn; see `FirstSamples` for data.

    Attributes:
      kernel: maps two sets of points to their kernel.
      num_support: $n_s$.
      num_outputs: 1 for labels -1 and +1, else the number of classes.
      ridge: r in units of the mean of the Gram matrix's diagonal.
      learn_labels: whether $Y_S$ is trained too; else its gradient is 0.
      logit_scale: c.
      probabilities: give out the softmax of $f_S$.
    Raises: ValueError: a support without points, a negative ridge, a scale of 0 or less, probabilities of one
      output.
    """

    __repr__ = written

    kernel: Kernel = DeepNTK()
    num_support: int = 100
    num_outputs: int = 1
    ridge: float = 1e-6
    learn_labels: bool = False
    logit_scale: float = 1.0
    probabilities: bool = False

    def __post_init__(self):
        if self.num_support < 1:
            raise ValueError(f"num_support must be at least 1, got {self.num_support}")
        if not self.ridge >= 0:
            raise ValueError(f"ridge must not be negative, got {self.ridge}")
        if not self.logit_scale > 0:
            raise ValueError(f"logit_scale must be above 0, got {self.logit_scale}")
        if self.probabilities and self.num_outputs == 1:
            raise ValueError("probabilities need one output a class, got num_outputs=1")
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Float[Array, "samples dim"]) -> Float[Array, "samples *outputs"]:
        dtype = jnp.result_type(float)
        support = self.param("support", nn.initializers.uniform(1.0), (self.num_support, x.shape[1]), dtype)
        labels = self.param("labels", lambda key: self.targets(jnp.arange(self.num_support), dtype))
        return self.predictor({"support": support, "labels": labels})(x)

    @nn.nowrap
    def predictor(
        self, params: PyTree
    ) -> Callable[[Float[Array, "samples dim"]], Float[Array, "samples *outputs"]]:
        """The outputs as a function of inputs, for which the Gram matrix is solved once."""
        labels = params["labels"] if self.learn_labels else jax.lax.stop_gradient(params["labels"])
        predict = distillation.predictor(self.kernel, params["support"], labels, self.ridge)

        def outputs(x):
            scaled = self.logit_scale * predict(x)
            return jax.nn.softmax(scaled, axis=1) if self.probabilities else scaled

        return outputs

    @nn.nowrap
    def targets(
        self, classes: Int[Array, " support"], dtype: Any, centred: bool = True
    ) -> Float[Array, "support *outputs"]:
        """Labels of these classes, counted around; of one output -1 and +1 in turn."""
        if self.num_outputs == 1:
            return (2 * (classes % 2) - 1).astype(dtype)
        return distillation.one_hot(classes % self.num_outputs, self.num_outputs, centred=centred).astype(
            dtype
        )


@part
class FirstSamples:
    """Starts a `KernelRegression` at the first of the training samples, with their labels.

    Attributes:
      in_turn: the first of every class, the second of every class, ..., instead of the first of all.
      centred: whether labels of classes are one-hot less 1/C.
    """

    in_turn: bool = static(False)
    centred: bool = static(True)

    def params(self, model: KernelRegression, draw: Draw) -> PyTree:
        """The parameters. Raises ValueError for more points, or for other outputs, than the data have."""
        count, train = model.num_support, draw.train
        classes = draw.class_signs.shape[0]
        if count > train.y.shape[0]:
            raise ValueError(f"num_support={count} is more than the {train.y.shape[0]} training samples")
        if model.num_outputs not in (1, classes):
            raise ValueError(f"num_outputs must be 1 or the {classes} classes, got {model.num_outputs}")
        rows = distillation.in_turn(train.target, classes, count) if self.in_turn else jnp.arange(count)
        x = train.x[rows].reshape(count, -1)
        if model.num_outputs == 1:
            return {"support": x, "labels": train.y[rows]}
        return {"support": x, "labels": model.targets(train.target[rows], x.dtype, self.centred)}
