r"""Shampoo as an optax transformation: steepest descent in the spectral norm, with a memory."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree, ScalarLike

from dynamics import linalg
from dynamics.descent import norms


class ShampooState(NamedTuple):
    r"""Averages of $G G^\top$ and $G^\top G$, vectors being matrices of one row, divided by $4^e$.

    The exponent e of a layer follows its gradients' size, whose squares alone would underflow.
    """

    left: PyTree
    right: PyTree
    exponent: PyTree


def shampoo(learning_rate: ScalarLike, b2: ScalarLike = 0.0) -> optax.GradientTransformation:
    r"""Steps $-\eta\, L^{-1/4} G R^{-1/4}$ for matrices, $-\eta\, H^{-1/2} g$ for vectors.

    $L \leftarrow b_2 L + (1 - b_2) G G^\top$ from 0; so do $R$ of $G^\top G$ and $H$ of $g g^\top$. The roots
    are pseudo-inverse, without eigenvalues that are 0 up to round-off. With $b_2 = 0$ the step is
    $\eta\, U V^\top$: normalised steepest descent in the spectral norm of each layer.

    Reference: Gupta, Koren & Singer 2018, arXiv:1802.09568, Algorithm 1, with averages for sums.
    """

    def init(params):
        def zeros(side):
            def of(leaf):
                size = norms.as_matrix(leaf).shape[side]
                return jnp.zeros((size, size), leaf.dtype)

            return jax.tree.map(of, params)

        return ShampooState(zeros(0), zeros(1), jax.tree.map(norms.exponent, zeros(0)))

    def update(grads, state, params=None):
        del params
        leaves, structure = jax.tree.flatten(grads)
        sides = [structure.flatten_up_to(side) for side in state]
        steps, kept = [], []
        for leaf, left, right, before in zip(leaves, *sides, strict=True):
            g = norms.as_matrix(leaf)
            size = jnp.maximum(norms.exponent(g), before + norms.exponent(left) // 2)
            g, drop = norms.shifted(g, -size), 2 * (before - size)
            left = b2 * norms.shifted(left, drop) + (1 - b2) * (g @ g.T)
            right = b2 * norms.shifted(right, drop) + (1 - b2) * (g.T @ g)
            if norms.is_matrix(leaf):
                step = _power(left, -0.25) @ g @ _power(right, -0.25)
            else:
                step = (_power(right, -0.5) @ g.T).T
            steps.append(-learning_rate * step.reshape(leaf.shape))
            kept.append((left, right, size))
        state = ShampooState(*(jax.tree.unflatten(structure, side) for side in zip(*kept, strict=True)))
        return jax.tree.unflatten(structure, steps), state

    return optax.GradientTransformation(init, update)


def _power(matrix: Float[Array, "n n"], power: float) -> Float[Array, "n n"]:
    """A power of a symmetric positive semi-definite matrix, on its range."""
    values, vectors = linalg.eigh(matrix)
    some = values > len(values) * jnp.finfo(matrix.dtype).eps * values[-1]
    powers = jnp.where(some, jnp.where(some, values, 1) ** power, 0)
    return (vectors * powers[None]) @ vectors.T
