r"""Norms of parameters, their dual norms, and the directions that attain these.

A parameter tree is measured as a whole. Its leaves are its *layers*: a leaf with at least two axes longer
than 1 is a matrix (all axes but the last make its rows), any other leaf is a vector.

| name | $\|\theta\|$ | dual norm $\|g\|_*$ | direction $\arg\max_{\|v\| \le 1} \langle v, g\rangle$ |
| --- | --- | --- | --- |
| `l1` | $\ell_1$ of all entries | $\ell_\infty$ | $\mathrm{sign}(g_j) e_j$ at the largest $\lvert g_j\rvert$ |
| `l2` | $\ell_2$ | $\ell_2$ | $g / \|g\|_2$ |
| `linf` | $\ell_\infty$ | $\ell_1$ | $\mathrm{sign}(g)$, sign(0) = 0 |
| `l1.5`, ... | $\ell_p$, $p > 1$ | $\ell_q$, $1/p + 1/q = 1$ | $\mathrm{sign}(g) \lvert g\rvert^{q-1} / \|g\|_q^{q-1}$ |
| `max-l2`, ... | largest $\ell_p$ of a layer | sum over layers of the dual norms | that of each layer |
| `spectral` | largest singular value of any layer | sum of nuclear norms | $U V^\top$ of each layer |
| `spectral-linf` | `spectral` of matrices, `linf` of vectors | sum of both duals | that of each layer |

Directions of a zero gradient are zero; $U V^\top$ leaves out singular values that are zero up to round-off.
Ties of `l1` go to the lowest index, leaves in the order of `jax.tree.leaves`.

Squares of float32 numbers below 1e-19 are 0, and those above 1e19 infinite. What is squared is therefore
divided by a power of two near its size first (`exponent`, `shifted`), which rounds nothing.
"""  # noqa: E501 - a table's rows are lines

import re
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree, ScalarLike

from dynamics import linalg

NAMES = ("l1", "l2", "linf", "spectral", "spectral-linf", "max-l1", "max-l2")
"""The norms with names of their own, and examples of the others."""


class Norm(NamedTuple):
    """A norm as it is computed.

    Attributes:
      layered: the largest norm of a layer, instead of one norm of all entries.
      matrices, vectors: exponent p of each kind of layer, None for the largest singular value.
    """

    layered: bool
    matrices: float | None
    vectors: float | None


def parse(name: str) -> Norm:
    """The norm of this name.

    Raises: ValueError: unknown name.
    """
    if name == "spectral":
        return Norm(True, None, None)
    if name == "spectral-linf":
        return Norm(True, None, float("inf"))
    found = re.fullmatch(r"(max-)?l(inf|\d+(?:\.\d+)?)", name) if isinstance(name, str) else None
    if found is None or not float(found[2]) >= 1:
        raise ValueError(
            "norm must be l1, l2, linf or another lp with p of at least 1 (such as l1.5), max-l1, max-l2, "
            f"..., spectral or spectral-linf, got {name!r}"
        )
    p = float(found[2])
    return Norm(found[1] is not None and p < float("inf"), p, p)


def norm(tree: PyTree, name: str) -> ScalarLike:
    """The norm of a tree, of shape (); 0 for a tree of zeros.

    Raises: ValueError: unknown name.
    """
    kind = parse(name)
    if not kind.layered:
        return _p_norm(_joined(tree), kind.matrices)
    sizes = []
    for leaf in jax.tree.leaves(tree):
        p = kind.matrices if is_matrix(leaf) else kind.vectors
        sizes.append(_largest_singular_value(leaf) if p is None else _p_norm(leaf.ravel(), p))
    return jnp.max(jnp.stack(sizes))


def dual_norm(grads: PyTree, name: str) -> ScalarLike:
    """The dual norm of a tree, of shape ().

    Raises: ValueError: unknown name.
    """
    return steepest(grads, name)[1]


def direction(grads: PyTree, name: str) -> PyTree:
    r"""$\arg\max_{\|v\| \le 1} \langle v, g\rangle$, of the structure of `grads`; zero for a zero gradient.

    Raises: ValueError: unknown name.
    """
    return steepest(grads, name)[0]


def steepest(grads: PyTree, name: str) -> tuple[PyTree, ScalarLike]:
    r"""The direction of steepest ascent and the dual norm $\|g\|_* = \langle v, g\rangle$.

    Raises: ValueError: unknown name.
    """
    kind = parse(name)
    if not kind.layered:
        flat, unravel = ravel_pytree(grads)
        v, size = _p_steepest(flat, kind.matrices)
        return unravel(v), size
    leaves, structure = jax.tree.flatten(grads)
    directions, sizes = [], []
    for leaf in leaves:
        p = kind.matrices if is_matrix(leaf) else kind.vectors
        v, size = _p_steepest(leaf.ravel(), p) if p is not None else _spectral_steepest(leaf)
        directions.append(v.reshape(leaf.shape))
        sizes.append(size)
    return jax.tree.unflatten(structure, directions), jnp.sum(jnp.stack(sizes))


@partial(jax.jit, static_argnames="axis", inline=True)
def exponent(x: Float[Array, "*shape"], axis: int | None = None) -> Int[Array, "..."]:
    r"""The e with $2^e \le \max |x| < 2^{e+1}$ along an axis (or of all); of zeros, the lowest there is."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axis=axis, initial=0))
    return jnp.where(largest > 0, jnp.frexp(largest)[1] - 1, jnp.finfo(x.dtype).minexp)


@partial(jax.jit, inline=True)
def shifted(x: Float[Array, "*shape"], exponent: Int[Array, "..."]) -> Float[Array, "*shape"]:
    r"""$x\,2^e$, exact wherever it is a normal number; `exponent` broadcasts against `x`."""
    info = jnp.finfo(x.dtype)
    bits = {32: jnp.int32, 64: jnp.int64}[info.bits]

    def power(e):  # made of its bits: compilers compute 2**e by logarithms
        e = jnp.clip(e, info.minexp, info.maxexp - 1).astype(bits)
        return jax.lax.bitcast_convert_type((e + (info.maxexp - 1)) << info.nmant, x.dtype)

    half = exponent // 2  # the difference of two exponents is no number's own
    return x * power(half) * power(exponent - half)


@partial(jax.jit, inline=True)
def lengths(rows: Float[Array, "*shape dim"]) -> Float[Array, "*shape"]:
    """The l2 norm along the last axis, however small or large; at 0 its derivative is 0."""
    size = exponent(rows, axis=-1)
    squares = jnp.sum(jnp.square(shifted(rows, -size[..., None])), axis=-1)
    return shifted(jnp.where(squares == 0, 0, jnp.sqrt(jnp.where(squares == 0, 1, squares))), size)


def newton_schulz(matrix: Float[Array, "rows columns"], steps: int) -> Float[Array, "rows columns"]:
    r"""An approximation of $U V^\top$ by a quintic iteration of Newton and Schulz, as Muon takes it.

    $X \leftarrow a X + (b A + c A^2) X$ with $A = X X^\top$, from $X = G / \|G\|_F$; after five steps the
    singular values that were not tiny lie in about [0.7, 1.2], not at 1.

    Reference: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    size = _p_norm(wide.ravel(), 2.0)
    x = wide / jnp.where(size > 0, size, 1)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.T


def is_matrix(leaf: Float[Array, "*shape"]) -> bool:
    """Whether a layer has at least two axes longer than 1."""
    return sum(size > 1 for size in leaf.shape) > 1


def as_matrix(leaf: Float[Array, "*shape"]) -> Float[Array, "rows columns"]:
    """A layer as a matrix: a vector is one row, and further axes join the rows."""
    return leaf.reshape(-1, leaf.shape[-1]) if leaf.ndim > 1 else leaf.reshape(1, -1)


def _joined(tree):
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])


def _p_norm(x, p):
    largest = jnp.max(jnp.abs(x))
    if p == float("inf"):
        return largest
    if p == 1:
        return jnp.sum(jnp.abs(x))
    # scaled by the largest entry: late in training the powers would underflow
    scaled = x / jnp.where(largest > 0, largest, 1)
    if p == 2:
        return largest * jnp.sqrt(jnp.sum(jnp.square(scaled)))
    return largest * jnp.sum(jnp.abs(scaled) ** p) ** (1 / p)


def _p_steepest(g, p):
    if p == float("inf"):
        return jnp.sign(g), jnp.sum(jnp.abs(g))
    if p == 1:
        j = jnp.argmax(jnp.abs(g))
        return jnp.zeros_like(g).at[j].set(jnp.sign(g[j])), jnp.abs(g[j])
    q = p / (p - 1)
    size = _p_norm(g, q)
    ratio = g / jnp.where(size > 0, size, 1)
    return (ratio if p == 2 else jnp.sign(ratio) * jnp.abs(ratio) ** (q - 1)), size


def _spectral_steepest(leaf):
    if not is_matrix(leaf):  # one singular value, the l2 norm
        return _p_steepest(leaf.ravel(), 2.0)
    matrix = as_matrix(leaf)
    largest = jnp.max(jnp.abs(matrix))
    u, values, vh = linalg.svd(matrix / jnp.where(largest > 0, largest, 1))
    some = values > max(matrix.shape) * jnp.finfo(matrix.dtype).eps * values[0]
    return (u * some[None]) @ vh, largest * jnp.sum(values)


def _largest_singular_value(leaf):
    if not is_matrix(leaf):
        return _p_norm(leaf.ravel(), 2.0)
    matrix = as_matrix(leaf)
    largest = jnp.max(jnp.abs(matrix))
    scaled = matrix / jnp.where(largest > 0, largest, 1)
    gram = scaled @ scaled.T if matrix.shape[0] <= matrix.shape[1] else scaled.T @ scaled
    return largest * jnp.sqrt(jnp.maximum(linalg.eigvalsh(gram)[-1], 0))
