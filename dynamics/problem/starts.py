"""Initial weights other than a module's own, as starting points of a `Problem`."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import PyTree

from dynamics.data.sample import Draw
from dynamics.keys import named_key, seed_key
from dynamics.parts import PerSeed, part


@part
class Pair:
    """Initial weights of two networks of one seed: those of its runs, and others from a key of their own.

    Attributes:
      seed: whose they are.
      network: which of the two, 0 or 1.
    """

    seed: Any = PerSeed()
    network: Any = 0

    def params(self, model: nn.Module, draw: Draw) -> PyTree:
        """The module's own initial parameters."""
        key = seed_key(self.seed)
        own, other = named_key(key, "init"), named_key(key, "init of another network")
        chosen = jnp.where(self.network == 0, own, other)
        return model.init(chosen, jnp.zeros_like(draw.train.x[:1]))["params"]
