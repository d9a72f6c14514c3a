"""The smallest radius at which an attack succeeds, against closed forms and its own promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.adversary import NORMS, smallest_radius

DUAL = {
    "l2": np.linalg.norm,
    "linf": lambda w: np.abs(w).sum(),
    "max-l2": lambda w: np.linalg.norm(w, axis=1).sum(),
}


def lengths(delta, norm):
    """Norms of samples; of max-l2, the longest row's."""
    delta = np.asarray(delta, np.float64)
    if norm == "max-l2":
        return np.linalg.norm(delta, axis=-1).max(axis=-1)
    return np.linalg.norm(delta.reshape(len(delta), -1), {"l2": 2, "linf": np.inf}[norm], axis=1)


@pytest.mark.parametrize("norm", NORMS)
def test_a_linear_model_has_the_margin_over_the_dual_norm(norm):
    rng = np.random.default_rng(0)
    w, bias, x = rng.normal(size=(2, 4)), rng.normal(), rng.normal(size=(6, 2, 4))

    def score(points):
        return jnp.tensordot(points, w, 2) + bias

    start = np.asarray(score(x))
    y, truth = np.sign(start), np.abs(start) / DUAL[norm](w)
    search = jax.jit(
        lambda key, reach: smallest_radius(key, score, x, y, max_radius=reach, norm=norm, steps=5, rounds=4)
    )
    found, point = search(jax.random.key(2), 2 * truth.max())
    np.testing.assert_allclose(found, truth, rtol=1e-6)
    np.testing.assert_allclose(lengths(point - x, norm), found, rtol=1e-12)
    assert (y * np.asarray(score(np.asarray(point))) <= 0).all()

    reach = np.sort(truth)[2] * 1.01
    found, point = search(jax.random.key(2), reach)
    near = truth < reach
    assert near.sum() == 3
    np.testing.assert_allclose(found[near], truth[near], rtol=1e-6)
    assert np.isposinf(found[~near]).all()
    assert np.isnan(point[~near]).all()


def test_smallest_radius_of_a_masked_network_needs_the_direction():
    # error only where the second neuron, off and flat at x, has come on
    W, b, a = np.eye(2), np.array([1.0, -1.0]), np.array([0.01, -1.0])
    x, y = np.array([[0.0, 0.0], [0.0, 0.0], [0.0, 2.0]]), np.array([1.0, -1.0, -1.0])

    def score(points):
        return jax.nn.relu(points @ W.T + b[None, :]) @ a

    search = jax.jit(
        lambda key: smallest_radius(
            key, score, x, y, max_radius=3.0, rounds=0, directions=[np.array([0.0, -1.0])], box=(-9.0, 9.0)
        )
    )
    radius, point = search(jax.random.key(0))
    # up by 1 + 0.01; already wrong; down to where the second neuron reaches 0.01
    np.testing.assert_allclose(radius, [1.01, 0, 0.99], rtol=1e-6)
    np.testing.assert_array_equal(point[1], x[1])
    assert (y * np.asarray(score(np.asarray(point))) <= 0).all()


@pytest.mark.exhaustive
def test_smallest_radius_in_float32_with_a_box():
    rng = np.random.default_rng(2)
    W, a = rng.normal(size=(16, 9)).astype(np.float32), rng.normal(size=16).astype(np.float32)
    x = rng.uniform(size=(20, 3, 3)).astype(np.float32)

    def score(points):
        return jnp.tanh(points.reshape(len(points), -1) @ W.T) @ a

    y = np.sign(score(x))
    y = y * np.where(np.arange(20) == 0, -1, 1).astype(np.float32)
    for norm in ("l2", "linf"):
        search = jax.jit(
            lambda key, reach, norm=norm: smallest_radius(
                key, score, x, y, max_radius=reach, norm=norm, steps=10, rounds=6, box=(0.0, 1.0)
            )
        )
        radius, point = map(np.asarray, search(jax.random.key(0), 0.7))
        found = np.isfinite(radius)
        assert found.sum() > 3
        assert radius.dtype == np.float32
        assert radius[0] == 0
        assert (radius[found] <= 0.7 * (1 + 1e-6)).all()
        assert ((point[found] >= 0) & (point[found] <= 1)).all()
        np.testing.assert_allclose(lengths(point - x, norm)[found], radius[found], rtol=1e-5)
        assert all(y[i] * score(point[i : i + 1])[0] <= 0 for i in np.flatnonzero(found))
