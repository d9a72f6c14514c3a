"""Gram matrices larger than the memory that their intermediate results would take, block by block."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from kernels import checks
from kernels.products import full_precision

BLOCK = 1024
INTERMEDIATE = 8  # arrays of a block's size that a kernel keeps at a time, at most


@full_precision
def gram(
    kernel: Callable[..., Float[Array, "points others"]],
    x: Float[Array, "points dim"] | Float[np.ndarray, "points dim"],
    z: Float[Array, "others dim"] | Float[np.ndarray, "others dim"] | None = None,
    *,
    limit: int | None = None,
) -> Float[np.ndarray, "points others"]:
    """`kernel(x, z)` in the host's memory, computed in compiled blocks; `z` None: half the blocks, mirrored.

    Args:
      kernel: of two arguments; called as `kernel(x)` on the diagonal if `z` is None. Cut out one kernel of
        several by a function of your own: `lambda x, z=None: closed_form.deep(x, z, 2).ntk`. It is compiled
        once, if it is the same function again.
      limit: bytes that the result, the points and the blocks beside them may take together.

    Raises: ValueError: points that `checks.points` refuses, a kernel that gives something else than a matrix,
      or a limit that leaves no room for blocks.
    """
    checks.points(x, z)
    x = jnp.asarray(x)
    other = x if z is None else jnp.asarray(z)
    first = jax.eval_shape(kernel, x[:1]) if z is None else jax.eval_shape(kernel, x[:1], other[:1])
    if getattr(first, "shape", None) != (1, 1):
        raise ValueError(
            "kernel must give one matrix: of several, take one, such as closed_form.deep(x, z).ntk"
        )
    dtype = first.dtype  # the kernel's: points may be integers
    item, total = dtype.itemsize, len(x) * len(other)
    side = BLOCK
    if limit is not None:
        held = total * item + x.nbytes + (0 if z is None else other.nbytes)
        side = min(side, math.isqrt(max(limit - held, 0) // (INTERMEDIATE * item)))
        if side < 1:
            raise ValueError(
                f"a Gram matrix of {len(x):,} x {len(other):,} and its points take {held:,} bytes, a block "
                f"beside them at least {INTERMEDIATE * item}: the limit of {limit:,} is too low"
            )
    out = np.empty((len(x), len(other)), dtype)
    compute = jax.jit(kernel)
    pending = None
    for i in range(0, len(x), side):
        for j in range(i if z is None else 0, len(other), side):
            here, there = slice(i, i + side), slice(j, j + side)
            mirrored = z is None and i == j
            block = compute(x[here]) if mirrored else compute(x[here], other[there])
            if pending is not None:  # one block is computed while the one before is copied
                _store(out, *pending, mirror=z is None)
            pending = here, there, block
    _store(out, *pending, mirror=z is None)
    return out


def _store(out, here, there, block, mirror):
    block = np.asarray(block)
    # matrix products are symmetric up to round-off only
    out[here, there] = (block + block.T) / 2 if mirror and here == there else block
    if mirror and here != there:
        out[there, here] = block.T
