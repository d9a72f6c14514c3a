"""Any data distribution in units in which the largest training input has norm 1."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from dynamics.data.sample import Draw
from dynamics.descent import norms
from dynamics.parts import as_one, part, static


@part
class Rescaled:
    r"""`source` with all inputs and features divided by $B = \max_i \|x_i\|_*$ over the training inputs.

    For a linear predictor steepest descent with the step $\eta\,\|g\|_* / \mathcal L$ on these inputs is that
    with $\eta / B^2$ on the source's, and $\eta \le 1$ never overshoots.

    Attributes:
      source: a part with `sample(key) -> Draw`, whose inputs are vectors.
      norm: the norm of the weights; inputs are measured in its dual.
    """

    source: Any
    norm: str = static("l2")

    def __post_init__(self):
        norms.parse(self.norm)

    @as_one
    def sample(self, key: Key[Array, ""]) -> Draw:
        """The source's draw, rescaled."""
        draw = self.source.sample(key)
        largest = jnp.max(jax.vmap(lambda x: norms.dual_norm(x, self.norm))(draw.train.x))
        scale = 1 / jnp.where(largest > 0, largest, 1)

        def rescaled(sample):
            patches = sample.patches
            if patches is not None:
                patches = dataclasses.replace(patches, amplitude=patches.amplitude * scale)
            return dataclasses.replace(sample, x=sample.x * scale, patches=patches)

        train, test = rescaled(draw.train), rescaled(draw.test)
        return dataclasses.replace(draw, train=train, test=test, features=draw.features * scale)
