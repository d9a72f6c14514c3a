"""Factorisations that may be batched beside other work on a CPU.

There jaxlib spreads a batch of LAPACK calls over the thread pool that the program itself runs on, and
waits for them; two programs at once, on as many cores, wait for each other forever. These functions
are never batched: under `vmap` they take one matrix after another. No reverse-mode derivative.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@jax.custom_batching.sequential_vmap
def qr(matrix: Float[Array, "rows columns"]) -> tuple[Array, Array]:
    """Q (rows, columns) and R (columns, columns) of a tall matrix, as `jnp.linalg.qr`."""
    return tuple(jnp.linalg.qr(matrix))


@jax.custom_batching.sequential_vmap
def solve(matrix: Float[Array, "n n"], right: Float[Array, "n columns"]) -> Float[Array, "n columns"]:
    """X with matrix @ X = right, as `jnp.linalg.solve`."""
    return jnp.linalg.solve(matrix, right)


@jax.custom_batching.sequential_vmap
def svd(matrix: Float[Array, "rows columns"]) -> tuple[Array, Array, Array]:
    """U (rows, r), singular values (r,) descending and V' (r, columns), r the smaller side."""
    return tuple(jnp.linalg.svd(matrix, full_matrices=False))


@jax.custom_batching.sequential_vmap
def eigvalsh(matrix: Float[Array, "n n"]) -> Float[Array, " n"]:
    """Eigenvalues of a symmetric matrix, ascending, as `jnp.linalg.eigvalsh`."""
    return jnp.linalg.eigvalsh(matrix)


@jax.custom_batching.sequential_vmap
def eigh(matrix: Float[Array, "n n"]) -> tuple[Array, Array]:
    """Eigenvalues (n,) ascending and eigenvectors (n, n) in columns of a symmetric matrix."""
    return tuple(jnp.linalg.eigh(matrix))
