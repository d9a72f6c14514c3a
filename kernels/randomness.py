"""Random keys in the state of an update rule, of which every seed should have its own."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree


def is_key(value: Array | jax.ShapeDtypeStruct) -> bool:
    """Whether an array, or its shape, is one of typed random keys."""
    return jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)


def own_keys(state: PyTree, key: Key[Array, ""]) -> PyTree:
    """The state with every random key in it folded into `key`; keys that are equal stay so.

    Random keys are typed ones, and those that JAX had before: arrays of pairs of uint32.
    """

    def folded(words):
        return jax.lax.fori_loop(0, words.size, lambda i, own: jax.random.fold_in(own, words[i]), key)

    def own(leaf):
        if is_key(leaf):
            words = jax.random.key_data(leaf)
            return jax.vmap(folded)(words.reshape(-1, words.shape[-1])).reshape(leaf.shape)
        if leaf.dtype == jnp.uint32 and leaf.shape[-1:] == (2,):
            return jax.random.key_data(jax.vmap(folded)(leaf.reshape(-1, 2))).reshape(leaf.shape)
        return leaf

    return jax.tree.map(lambda leaf: own(jnp.asarray(leaf)), state)
