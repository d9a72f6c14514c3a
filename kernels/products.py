"""Products and norms in full precision and in range, whatever JAX's default and the size of the numbers."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from kernels.arrays import native

P = ParamSpec("P")
T = TypeVar("T")


def full_precision(function: Callable[P, T]) -> Callable[P, T]:
    """`function` with matrix products in their factors' precision: GPUs and TPUs take less by default.

    Arrays of NumPy are read as `native` reads them.
    """

    @functools.wraps(function)
    def precise(*args: P.args, **options: P.kwargs) -> T:
        args = tuple(map(_native, args))
        options = {name: _native(value) for name, value in options.items()}
        with jax.default_matmul_precision("highest"):
            return function(*args, **options)

    return precise


def _native(value):
    return native(value) if isinstance(value, np.ndarray) else value


def floating(array: Shaped[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Integers as numbers whose squares are themselves no integers that wrap around."""
    return (
        jnp.asarray(array, jnp.promote_types(array.dtype, jnp.asarray(0.0).dtype)) if _whole(array) else array
    )


def _whole(array):
    return not jnp.issubdtype(array.dtype, jnp.inexact)


@functools.partial(jax.jit, static_argnames="axis", inline=True)
def size(array: Float[Array, "*shape"], axis: int | tuple[int, ...] | None = -1) -> Float[Array, "*ones"]:
    """Powers of two near the largest entries along `axis`, which is kept; 1 for zeros. No derivative."""
    largest = jnp.max(jnp.abs(jax.lax.stop_gradient(array)), axis, keepdims=True)
    info = jnp.finfo(array.dtype)
    power = jax.lax.reduce_precision(largest, info.nexp, 0)
    # within these bounds neither a power nor its inverse leaves the range
    low = 2.0 ** (info.minexp + 8)
    return jnp.where(largest > 0, jnp.clip(power, low, 1 / low), 1)


@functools.partial(jax.jit, inline=True)
def inner(x: Float[Array, "points dim"], z: Float[Array, "others dim"]) -> Float[Array, "points others"]:
    """`x @ z.T`, of which no term leaves the range where the sum does not."""
    here, there = size(x), size(z)
    return ((x / here) @ (z / there).T) * here * there.T


@functools.partial(jax.jit, static_argnames="axis", inline=True)
def norms(array: Float[Array, "*shape"], axis: int | tuple[int, ...] | None = -1) -> Float[Array, "*ones"]:
    """Euclidean norms along `axis`, which is kept; no square leaves the range. The derivative at 0 is 0."""
    scale = size(array, axis)
    squares = jnp.sum((array / scale) ** 2, axis, keepdims=True)
    return scale * jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)


@functools.partial(jax.jit, static_argnames="axis", inline=True)
def units(array: Float[Array, "*shape"], axis: int | tuple[int, ...] | None = -1) -> Float[Array, "*shape"]:
    """`array` over its norms along `axis`; what is 0 stays 0."""
    array = array / size(array, axis)
    lengths = norms(array, axis)
    return array / jnp.where(lengths > 0, lengths, 1)
