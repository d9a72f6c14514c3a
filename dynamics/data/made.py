"""Data that were made for each seed beforehand, such as images that another run has learned."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer, Key

from dynamics.data.sample import Draw
from dynamics.keys import named_key, seed_key
from dynamics.parts import as_one, part


@part
class Made:
    """A distribution of each seed's own, found again by the seed's key (of runs with `root` 0).

    Attributes:
      source: a part with `sample(key) -> Draw` whose numbers have a leading axis: one distribution a seed.
      seeds: whose they are; another seed has the first one's.
    """

    source: Any
    seeds: Integer[Array | np.ndarray, " seeds"]

    @classmethod
    def of(cls, seeds: Sequence[int], sources: Sequence[Any]) -> "Made":
        """From distributions that differ in numbers only, one for each seed."""
        return cls(jax.tree.map(lambda *leaves: jnp.stack(leaves), *sources), np.asarray(seeds, np.uint32))

    @as_one
    def sample(self, key: Key[Array, ""]) -> Draw:
        """The draw that the seed's distribution gives with this key."""
        keys = jax.vmap(lambda seed: named_key(seed_key(seed), "data"))(jnp.asarray(self.seeds))
        known = jax.random.key_data(keys) == jax.random.key_data(key)[None]
        place = jnp.argmax(jnp.all(known, axis=1))
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[place], self.source).sample(key)
