r"""How a kernel moves during training: similarity, angle, velocity, concentration, alignment with targets.

All functions take Gram matrices on the same samples. Nothing is centred unless `centred` is applied first.

Reference: Tsilivis and Kempe 2022, arXiv:2210.05577, and the normalisations of its public code.
"""

import itertools

import jax.numpy as jnp
from jaxtyping import Array, Float

from kernels import checks, products
from kernels.products import full_precision
from kernels.regression import spectrum

Gram = Float[Array, "samples samples"]
Scalar = Float[Array, ""]


def _square(gram):
    checks.shaped(
        "a Gram matrix", gram, gram.shape[0] if getattr(gram, "ndim", 0) else "samples", gram.shape[0]
    )


def _path(path):
    checks.shaped("path", path, "times", "samples", "samples")
    _square(path[0])


def _count(count, most):
    checks.whole("count", count, 0)
    if count > most:
        raise ValueError(f"count must be at most the {most} modes, got {count}")


@full_precision
def similarity(first: Gram, second: Gram) -> Scalar:
    r"""$\langle K, K'\rangle_F / \|K\|_F \|K'\|_F$, from 0 to 1 for Gram matrices.

    Raises: ValueError: matrices that are not square, or not of one size.
    """
    _square(first)
    checks.shaped("second", second, *first.shape)
    return jnp.vdot(*(products.units(gram, None) for gram in (first, second)))


def distance(first: Gram, second: Gram) -> Scalar:
    """1 - similarity."""
    return 1 - similarity(first, second)


@full_precision
def relative_change(first: Gram, second: Gram) -> Scalar:
    r"""$\|K' - K\|_F / \|K\|_F$: the kernel error, or the drift since `first`."""
    checks.shaped("second", second, *first.shape)
    scale = products.size(first, None)[0, 0]
    first, second = first / scale, second / scale
    return jnp.linalg.norm(second - first) / jnp.linalg.norm(first)


def velocity(path: Float[Array, "times samples samples"]) -> Float[Array, " steps"]:
    """Distance of each kernel from the one before; raises ValueError for what is no path of kernels."""
    _path(path)
    return jnp.stack([distance(before, after) for before, after in itertools.pairwise(path)])


@full_precision
def polar(
    path: Float[Array, "times samples samples"],
) -> tuple[Float[Array, " times"], Float[Array, " times"]]:
    r"""Radius $\|K_t - K_0\|_F / \|K_T - K_0\|_F$ and angle $\arccos s(K_t, K_0)$ (radians) of each.

    Raises: ValueError: what is no path of kernels.
    """
    _path(path)
    moved = products.norms(path - path[:1], (1, 2))[:, 0, 0]
    whole = jnp.where(moved[-1] > 0, moved[-1], 1)
    units = products.units(path, (1, 2))
    cosines = jnp.einsum("tij,ij->t", units, units[0])
    return moved / whole, jnp.arccos(jnp.clip(cosines, -1, 1))


def top_mass(values: Float[Array, " modes"], count: int) -> Scalar:
    r"""$\sum_{i \le k} \lambda_i^2 / \sum_i \lambda_i^2$, squares of eigenvalues; depends on n.

    Raises: ValueError: more modes than there are.
    """
    _count(count, len(values))
    squares = jnp.sort((values / products.size(values)) ** 2)[::-1]
    return jnp.sum(squares[:count]) / jnp.sum(squares)


@full_precision
def truncated(gram: Gram, count: int, *, rest: bool = False) -> Gram:
    """The part of a kernel in its `count` largest modes; or the `rest` of it."""
    values, vectors = spectrum(gram)
    _count(count, len(values))
    chosen = slice(count, None) if rest else slice(None, count)
    return (vectors[:, chosen] * values[chosen][None]) @ vectors[:, chosen].T


def centred(gram: Gram) -> Gram:
    r"""$HKH$ with $H = I - 11^\top/n$."""
    _square(gram)
    over = jnp.mean(gram, axis=0)
    return gram - over[None] - over[:, None] + jnp.mean(over)


@full_precision
def target_alignment(gram: Gram, targets: Float[Array, " samples"]) -> Scalar:
    r"""$y^\top K y / (\|y\|^2 \|K\|_F)$; for labels -1 and +1, $\|y\|^2 = n$."""
    _square(gram)
    checks.shaped("targets", targets, len(gram))
    gram, targets = products.units(gram, None), products.units(targets)
    return targets @ gram @ targets
