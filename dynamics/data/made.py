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
from dynamics.words import listed


@part
class Made:
    """A distribution of each seed's own, found again by the seed's key (of runs with `root` 0).

    Attributes:
      source: a part with `sample(key) -> Draw` whose numbers have a leading axis: one distribution a seed.
      seeds: whose they are; a run of another seed, or with another root, is refused.
    """

    source: Any
    seeds: Integer[Array | np.ndarray, " seeds"]

    @classmethod
    def of(cls, seeds: Sequence[int], sources: Sequence[Any]) -> "Made":
        """From distributions that differ in numbers only, one for each seed."""
        return cls(jax.tree.map(lambda *leaves: jnp.stack(leaves), *sources), np.asarray(seeds, np.uint32))

    def check(self, seeds: Sequence[int], root: int) -> None:
        """Refuse runs whose distribution is not here.

        Raises: ValueError: a seed that is none of these, or a root other than 0.
        """
        known = np.asarray(self.seeds).tolist()
        if unknown := [seed for seed in seeds if seed not in known]:
            raise ValueError(f"the data are those of the seeds {listed(known)}, and not of {unknown[0]}")
        if root:
            raise ValueError(f"data of each seed's own are found again with root 0 only, got {root}")

    @as_one
    def sample(self, key: Key[Array, ""]) -> Draw:
        """The draw that the seed's distribution gives with this key."""
        keys = jax.vmap(lambda seed: named_key(seed_key(seed), "data"))(jnp.asarray(self.seeds))
        known = jax.random.key_data(keys) == jax.random.key_data(key)[None]
        place = jnp.argmax(jnp.all(known, axis=1))
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[place], self.source).sample(key)
