"""One integer seed a run: every random number of it is folded from that seed and a name.

Keys are of one generator, threefry2x32, whatever JAX's default is: it gives a run the same numbers alone
and in a batch, on every device.
"""

import contextlib
import zlib
from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Array, Integer, Key, PyTree

from dynamics.words import integer
from kernels.randomness import is_key

GENERATOR = "threefry2x32"
MOST = 2**32 - 1
"""The largest seed, and the largest root."""


def seed_key(seed: int | np.integer | Integer[Array, ""], root: int = 0) -> Key[Array, ""]:
    """The key of one seed; it does not depend on how many seeds run beside it.

    Raises: ValueError: a seed or root that is no integer from 0 to 2**32 - 1.
    """
    words = np.array([0, integer("root", root, 0, MOST)], np.uint32)
    if not isinstance(seed, jax.Array):
        seed = np.uint32(integer("seed", seed, 0, MOST))
    return jax.random.fold_in(jax.random.wrap_key_data(words, impl=GENERATOR), seed)


def named_key(key: Key[Array, ""], name: str) -> Key[Array, ""]:
    """The sub-key for one use of randomness: `data`, `init`, `noise`, `attack`, `test`, ..."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def at_step(key: Key[Array, ""], step: int | Integer[Array, ""] | None) -> Key[Array, ""]:
    """The key of what is drawn anew at this step; for None, of what is drawn once: `key` itself."""
    return key if step is None else jax.random.fold_in(named_key(key, "step"), step)


@contextlib.contextmanager
def fixed_generator() -> Iterator[None]:
    """Whatever JAX is set to, keys made here are of the same generator, and draw the same numbers."""
    with jax.default_prng_impl(GENERATOR), jax.threefry_partitionable(True):
        yield


def raw(tree: PyTree) -> PyTree:
    """The tree with typed keys as the numbers they are made of, which can be saved."""
    return jax.tree.map(lambda leaf: jax.random.key_data(leaf) if is_key(leaf) else leaf, tree)


def typed(tree: PyTree, like: PyTree) -> PyTree:
    """The inverse of `raw`: keys again where `like` has keys."""
    return jax.tree.map(
        lambda leaf, key: jax.random.wrap_key_data(leaf, impl=GENERATOR) if is_key(key) else leaf, tree, like
    )
