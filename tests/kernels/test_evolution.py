"""Measures of a moving kernel, against their definitions in plain NumPy."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from kernels import evolution


def gram(seed, count=7):
    root = np.random.default_rng(seed).normal(size=(count, 3))
    return root @ root.T + 0.1 * np.eye(count)


def cosine(a, b):
    return np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b))


def test_similarity_distance_and_change():
    A, B = gram(0), gram(1)
    assert float(evolution.similarity(jnp.asarray(A), jnp.asarray(3 * B))) == pytest.approx(cosine(A, B))
    assert float(evolution.distance(jnp.asarray(A), jnp.asarray(2 * A))) == pytest.approx(0, abs=1e-12)
    assert float(evolution.relative_change(jnp.asarray(A), jnp.asarray(2 * A))) == pytest.approx(1)


def test_polar_and_velocity():
    path = np.stack([gram(s) for s in range(4)])
    radius, angle = evolution.polar(jnp.asarray(path))
    steps = np.array([np.sqrt(np.sum((K - path[0]) ** 2)) for K in path])
    np.testing.assert_allclose(radius, steps / steps[-1])
    np.testing.assert_allclose(angle[1:], [np.arccos(cosine(K, path[0])) for K in path[1:]])
    assert float(angle[0]) == pytest.approx(0, abs=1e-7)
    expected = [1 - cosine(a, b) for a, b in itertools.pairwise(path)]
    np.testing.assert_allclose(evolution.velocity(jnp.asarray(path)), expected)
    still, _ = evolution.polar(jnp.asarray(path[:1].repeat(3, axis=0)))
    np.testing.assert_array_equal(still, 0)


def test_top_mass_squares_eigenvalues():
    values = jnp.array([1.0, 3.0, 2.0])
    assert float(evolution.top_mass(values, 2)) == pytest.approx(13 / 14)
    assert float(evolution.top_mass(values, 3)) == pytest.approx(1)


def test_parts_add_up():
    K = jnp.asarray(gram(2))
    top, rest = evolution.truncated(K, 2), evolution.truncated(K, 2, rest=True)
    np.testing.assert_allclose(top + rest, K, atol=1e-12)
    assert np.linalg.matrix_rank(top, tol=1e-9) == 2


def test_centred_and_target_alignment():
    K, y = gram(3), np.sign(np.random.default_rng(0).normal(size=7))
    H = np.eye(7) - 1 / 7
    np.testing.assert_allclose(evolution.centred(jnp.asarray(K)), H @ K @ H, atol=1e-12)
    expected = y @ K @ y / (7 * np.sqrt(np.sum(K * K)))
    assert float(evolution.target_alignment(jnp.asarray(K), jnp.asarray(y))) == pytest.approx(expected)
    best = evolution.target_alignment(jnp.asarray(np.outer(y, y)), jnp.asarray(y))
    assert float(best) == pytest.approx(1)
