"""Any data distribution drawn once: all seeds train on the same samples from different initial weights."""

from typing import Any

from jaxtyping import Array, Key

from dynamics.data import box as boxes
from dynamics.data.sample import Draw
from dynamics.keys import MOST, named_key, seed_key
from dynamics.parts import part, static
from dynamics.words import integer


@part
class Shared:
    """The data that `source` gives to one seed, for every seed; the engine then holds them once.

    Attributes:
      source: a part with `sample(key) -> Draw`.
      seed: whose data they are, for runs with `root` 0.
    Raises: ValueError: a seed that is no integer from 0 to 2**32 - 1.
    """

    source: Any
    seed: int = static(0)

    def __post_init__(self):
        integer("seed", self.seed, 0, MOST)

    @property
    def box(self) -> boxes.Box:
        """The source's box."""
        return boxes.of(self.source)

    def sample(self, key: Key[Array, ""]) -> Draw:
        """The one draw; `key` is not looked at."""
        del key
        return self.source.sample(named_key(seed_key(self.seed), "data"))
