"""Shampoo against NumPy, and against steepest descent in the spectral norm, which it is without memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.descent import named, norms
from dynamics.descent.shampoo import shampoo


def tree(seed):
    rng = np.random.default_rng(seed)
    return {"W": jnp.asarray(rng.normal(size=(5, 3))), "a": jnp.asarray(rng.normal(size=(1, 4)))}


def power(matrix, exponent):
    values, vectors = np.linalg.eigh(matrix)
    kept = values > 1e-12 * values[-1]
    return (vectors[:, kept] * values[kept] ** exponent) @ vectors[:, kept].T


@pytest.mark.exhaustive
def test_without_memory_it_is_spectral_descent():
    g, rule = tree(0), shampoo(0.1)
    step, _ = jax.jit(lambda g: rule.update(g, rule.init(g)))(g)
    spectral = jax.jit(lambda g: norms.direction(g, "spectral"))(g)
    jax.tree.map(lambda s, v: np.testing.assert_allclose(s, -0.1 * v, rtol=1e-9), step, spectral)


@pytest.mark.parametrize("b2", [0.0, 0.9])
def test_several_steps_against_numpy(b2):
    rule, state = named("shampoo", 0.1, b2=b2), None
    left, right, square = np.zeros((5, 5)), np.zeros((3, 3)), np.zeros((4, 4))
    for seed in range(4):
        g = tree(seed)
        state = rule.init(g) if state is None else state
        step, state = rule.update(g, state)
        W, a = np.asarray(g["W"]), np.asarray(g["a"])[0]
        left, right = b2 * left + (1 - b2) * W @ W.T, b2 * right + (1 - b2) * W.T @ W
        square = b2 * square + (1 - b2) * np.outer(a, a)
        np.testing.assert_allclose(step["W"], -0.1 * power(left, -0.25) @ W @ power(right, -0.25), rtol=1e-7)
        np.testing.assert_allclose(step["a"], -0.1 * (power(square, -0.5) @ a)[None], rtol=1e-7)


def test_a_zero_gradient_is_no_step():
    g = jax.tree.map(jnp.zeros_like, tree(0))
    step, _ = shampoo(0.1).update(g, shampoo(0.1).init(g))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(step))


@pytest.mark.exhaustive
@pytest.mark.parametrize("b2", [0.0, 0.9])
def test_steps_do_not_depend_on_the_scale_of_gradients(b2):
    """In float32 squares of 1e-25 are 0."""
    rule = named("shampoo", 0.1, b2=b2)
    update, runs = jax.jit(rule.update), []
    for scale in (1.0, 2.0**-83, 2.0**70):
        state = rule.init(jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tree(0)))
        for seed in range(3):
            g = jax.tree.map(lambda leaf, c=scale: (c * leaf).astype(jnp.float32), tree(seed))
            step, state = update(g, state)
        runs.append(step)
    for run in runs[1:]:
        jax.tree.map(np.testing.assert_array_equal, run, runs[0])
