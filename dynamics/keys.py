"""One integer seed a run: every random number of it is folded from that seed and a name."""

import zlib

import jax
from jaxtyping import Array, Integer, Key


def seed_key(seed: int | Integer[Array, ""], root: int = 0) -> Key[Array, ""]:
    """The key of one seed; it does not depend on how many seeds run beside it."""
    return jax.random.fold_in(jax.random.key(root), seed)


def named_key(key: Key[Array, ""], name: str) -> Key[Array, ""]:
    """The sub-key for one use of randomness: `data`, `init`, `noise`, `attack`, `test`, ..."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))
