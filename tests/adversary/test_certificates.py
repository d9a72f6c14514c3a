"""Certificates against closed forms, against a dense search in the plane, and against attacks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.adversary import smallest_radius
from dynamics.adversary.certificates import (
    MAX_PIECES,
    max_logit_radius,
    two_layer_adversarial_point,
    two_layer_radius,
    two_layer_radius_from_gram,
)

two_layer = jax.jit(two_layer_radius, static_argnames="num_positive")
point_of = jax.jit(two_layer_adversarial_point, static_argnames="num_positive")
max_logit = jax.jit(max_logit_radius, static_argnames="h")


def sum_score(W, b, a, x):
    return np.maximum(x @ W.T + b, 0) @ a


def max_score(W, b, signs, h, x):
    logits = np.maximum(x @ W.T + b, 0).reshape(*x.shape[:-1], len(signs), h).mean(-1)
    return logits[..., signs > 0].max(-1) - logits[..., signs < 0].max(-1)


def distance_in_the_plane(score, x, y, reach=4.0, angles=720, radii=800):
    """Distance of one point to the nearest error on a polar grid: never below the truth."""
    turn = np.linspace(0, 2 * np.pi, angles, endpoint=False)
    length = np.linspace(0, reach, radii + 1)[1:]
    step = np.stack([np.cos(turn), np.sin(turn)], axis=-1)[:, None, :] * length[None, :, None]
    wrong = (y * score(x + step) <= 0).any(axis=0)
    return length[wrong.argmax()] if wrong.any() else np.inf


def orthogonal_centres(k, d, seed=0):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, k)))[0].T * np.sqrt(d)


def random_net(seed, dim, pos, neg, samples, bias=0.5):
    rng = np.random.default_rng(seed)
    W = rng.normal(size=(pos + neg, dim))
    b = bias * rng.normal(size=pos + neg)
    a = np.concatenate([rng.uniform(0.3, 1, pos), -rng.uniform(0.3, 1, neg)])
    x = rng.normal(size=(samples, dim))
    y = np.sign(sum_score(W, b, a, x))
    y[0] *= -1  # one misclassified sample
    return W, b, a, x, np.where(y == 0, 1.0, y)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_layer_bounds_hold_against_a_dense_search_in_the_plane(seed):
    W, b, a, x, y = random_net(seed, 2, 3, 3, 10)
    lower, upper = map(np.asarray, two_layer(W, b, a, x, y, num_positive=3))
    true = np.array(
        [distance_in_the_plane(lambda p: sum_score(W, b, a, p), *xy) for xy in zip(x, y, strict=True)]
    )
    right = y * sum_score(W, b, a, x) > 0
    assert not right.all()
    assert (lower[~right] == 0).all()
    assert (upper[~right] == 0).all()
    lower, upper, true = lower[right], upper[right], true[right]
    assert (lower > 0).any()
    assert np.isfinite(upper).any()
    assert (lower <= true + 1e-9).all()
    assert (upper[np.isfinite(true)] >= true[np.isfinite(true)] - 4 / 800 - 1e-3).all()


@pytest.mark.parametrize("h", [1, 2])
def test_max_logit_bounds_hold_against_a_dense_search_in_the_plane(h):
    rng = np.random.default_rng(3)
    signs = np.array([1.0, -1.0, 1.0, -1.0])
    W, b = rng.normal(size=(4 * h, 2)), 0.3 * rng.normal(size=4 * h)
    x = rng.normal(size=(16, 2))
    y = np.where(max_score(W, b, signs, h, x) > 0, 1.0, -1.0)
    lower, upper = map(np.asarray, max_logit(x @ W.T + b, W @ W.T, y, signs, h=h))
    true = np.array(
        [distance_in_the_plane(lambda p: max_score(W, b, signs, h, p), *xy) for xy in zip(x, y, strict=True)]
    )
    right = y * max_score(W, b, signs, h, x) > 0
    assert (lower[~right] == 0).all()
    assert (lower[right] > 0).any()
    assert np.isfinite(upper[right]).any()
    assert (lower[right] <= true[right] + 1e-9).all()
    known = right & np.isfinite(true)
    assert (upper[known] >= true[known] - 4 / 800 - 1e-3).all()


def test_points_of_the_upper_bound_are_errors_at_that_distance():
    W, b, a, x, y = random_net(5, 6, 4, 3, 40)
    _, upper = map(np.asarray, two_layer(W, b, a, x, y, num_positive=4))
    point = np.asarray(point_of(W, b, a, x, y, num_positive=4))
    finite = np.isfinite(upper)
    assert finite.sum() > 10
    assert np.isnan(point[~finite]).all()
    assert (y * sum_score(W, b, a, point) <= 0)[finite].all()
    np.testing.assert_allclose(np.linalg.norm(point - x, axis=1)[finite], upper[finite], rtol=1e-9)
    wrong = y * sum_score(W, b, a, x) <= 0
    np.testing.assert_array_equal(point[wrong], x[wrong])


def test_no_attack_beats_the_lower_bound():
    W, b, a, x, y = random_net(7, 5, 3, 3, 12)
    lower, upper = map(np.asarray, two_layer(W, b, a, x, y, num_positive=3))

    def attack(key):
        def score(p):
            return jax.nn.relu(p @ W.T + b[None, :]) @ a

        return smallest_radius(key, score, x, y, max_radius=8.0, steps=20, rounds=8)

    radius, _ = map(np.asarray, jax.jit(attack)(jax.random.key(0)))
    right = y * sum_score(W, b, a, x) > 0
    assert (radius >= lower * (1 - 1e-9)).all()
    assert (lower <= upper).all()
    tight = right & (upper <= lower * (1 + 1e-5))
    assert tight.any()
    np.testing.assert_allclose(radius[tight].min(), lower[tight].min(), rtol=0.05)


@pytest.mark.parametrize(("num_plus", "width"), [(4, 1), (4, 3), (3, 2)])
def test_averaging_network_has_the_distance_to_one_hyperplane(num_plus, width):
    k, d = 8, 512
    mu = orthogonal_centres(k, d)
    signs = np.where(np.arange(k) < num_plus, 1.0, -1.0)
    blocks = np.stack([mu[signs > 0].sum(0), mu[signs < 0].sum(0)]) / d
    W, b = np.repeat(blocks, width, axis=0), np.zeros(2 * width)
    a = np.repeat([1.0, -1.0], width) / width
    rng = np.random.default_rng(1)
    j = rng.integers(k, size=30)
    x, y = mu[j] + rng.normal(size=(30, d)), signs[j]
    normal = (signs @ mu) / np.sqrt(k * d)
    np.testing.assert_allclose(np.linalg.norm(normal), 1)
    expected = y * (x @ normal)
    lower, upper = two_layer(W, b, a, x, y, num_positive=width)
    np.testing.assert_allclose(lower, expected, rtol=1e-9)
    np.testing.assert_allclose(upper, expected, rtol=3e-6)
    centre, _ = two_layer(W, b, a, mu, signs, num_positive=width)
    np.testing.assert_allclose(centre, np.sqrt(d / k), rtol=1e-9)


def test_averaging_network_stops_at_zero_where_the_other_block_is_far_off():
    # hyperplane of the pair at (1 + 2) / sqrt 2, but the score is zero already at distance 1
    W, b, a = np.eye(2), np.zeros(2), np.array([1.0, -1.0])
    lower, upper = two_layer(W, b, a, np.array([[1.0, -2.0]]), np.ones(1), num_positive=1)
    np.testing.assert_allclose(lower, 1, rtol=1e-12)
    np.testing.assert_allclose(upper, 1, rtol=3e-6)


@pytest.mark.exhaustive
@pytest.mark.parametrize("bias", [0.0, -0.5])
def test_decoupled_network_with_the_sum_readout(bias):
    k, d = 6, 64
    mu = orthogonal_centres(k, d)
    a = np.where(np.arange(k) < k // 2, 1.0, -1.0)
    expected = np.sqrt(d / (1 + k / 2)) if bias == 0 else np.sqrt(d) / 2
    args = (mu / d, np.full(k, bias), a, mu, a)
    lower, upper = two_layer(*args, num_positive=k // 2)
    np.testing.assert_allclose(lower, expected, rtol=1e-9)
    np.testing.assert_allclose(upper, expected, rtol=3e-6)
    point = np.asarray(point_of(*args, num_positive=k // 2))
    assert (a * sum_score(mu / d, np.full(k, bias), a, point) <= 0).all()


def test_opposite_neurons_below_zero_add_to_the_radius_of_the_sum_readout():
    k, d, beta = 6, 64, 0.05
    mu = orthogonal_centres(k, d)
    a = np.where(np.arange(k) < k // 2, 1.0, -1.0)
    x = mu[:1] - beta * mu[3:].sum(0)[None]
    lower, upper = two_layer(mu / d, np.zeros(k), a, x, np.ones(1), num_positive=3)
    expected = np.sqrt(d) * (1 + 3 * beta) / np.sqrt(1 + 3)
    np.testing.assert_allclose(lower, expected, rtol=1e-9)
    np.testing.assert_allclose(upper, expected, rtol=3e-6)


@pytest.mark.exhaustive
def test_upper_bound_goes_on_where_weak_neurons_switch_off_on_the_way():
    k, d = 6, 512
    mu = orthogonal_centres(k, d)
    a = np.where(np.arange(k) < k // 2, 1.0, -1.0)
    j = np.arange(30) % k
    x = mu[j] + np.random.default_rng(2).normal(size=(30, d))
    lower, upper = map(np.asarray, two_layer(mu / d, np.zeros(k), a, x, a[j], num_positive=3))
    assert (upper <= 1.2 * lower).all()
    point = np.asarray(point_of(mu / d, np.zeros(k), a, x, a[j], num_positive=3))
    assert (a[j] * sum_score(mu / d, np.zeros(k), a, point) <= 0).all()
    np.testing.assert_allclose(np.linalg.norm(point - x, axis=1), upper, rtol=1e-9)


def mixed(t, mu, signs):
    own_sum = (signs[:, None] == signs[None, :]).astype(float) @ mu
    return ((1 - t) * mu + t * own_sum) / mu.shape[1]


@pytest.mark.exhaustive
def test_mixed_family_runs_from_decoupled_to_averaged():
    k, d = 8, 64
    mu = orthogonal_centres(k, d)
    signs = np.where(np.arange(k) < k // 2, 1.0, -1.0)
    t = np.array([0.0, 0.2, 0.5, 0.8, 1.0])
    W = np.stack([mixed(value, mu, signs) for value in t])
    z, gram = np.einsum("tnd,sd->tsn", W, mu), np.einsum("tnd,tmd->tnm", W, W)
    lower, upper = jax.jit(jax.vmap(lambda z, gram: max_logit_radius(z, gram, signs, signs)))(z, gram)
    expected = np.sqrt(d / (2 * (1 - t) ** 2 + 4 * t * (1 - t) + t**2 * k))
    np.testing.assert_allclose(expected[[0, -1]], [np.sqrt(d / 2), np.sqrt(d / k)])
    np.testing.assert_allclose(lower, np.tile(expected[:, None], k), rtol=1e-9)
    np.testing.assert_allclose(upper, np.tile(expected[:, None], k), rtol=3e-6)

    def attack(key, W):
        def score(x):
            logits = jax.nn.relu(x @ W.T)
            return logits[:, : k // 2].max(1) - logits[:, k // 2 :].max(1)

        directions = [mu[signs < 0][0] - mu[0], -(signs @ mu)]
        return smallest_radius(
            key, score, mu[:1], signs[:1], max_radius=8.0, steps=20, rounds=6, directions=directions
        )

    radius, _ = jax.jit(jax.vmap(attack))(jax.random.split(jax.random.key(0), len(t)), W)
    assert (np.asarray(radius)[:, 0] >= expected * (1 - 1e-9)).all()
    np.testing.assert_allclose(np.asarray(radius)[[0, -1], 0], expected[[0, -1]], rtol=1e-6)


def test_granularity_law():
    k, d, groups = 8, 64, 4  # neighbouring pairs of clusters share a label
    mu = orthogonal_centres(k, d)
    W = mu.reshape(groups, k // groups, d).sum(1) / d
    signs = np.array([1.0, 1.0, -1.0, -1.0])
    y = np.repeat(signs, k // groups)
    lower, upper = max_logit(mu @ W.T, W @ W.T, y, signs)
    np.testing.assert_allclose(lower, np.sqrt(groups * d / (2 * k)), rtol=1e-9)
    np.testing.assert_allclose(upper, np.sqrt(groups * d / (2 * k)), rtol=3e-6)


def test_max_logit_with_several_neurons_equals_one_averaged_neuron_when_they_are_copies():
    k, d = 4, 32
    mu = orthogonal_centres(k, d)
    signs = np.array([1.0, 1.0, -1.0, -1.0])
    x = mu + 0.3 * np.random.default_rng(0).normal(size=mu.shape)
    W = mu / d
    one = max_logit(x @ W.T, W @ W.T, signs, signs)
    W = np.repeat(W, 2, axis=0)
    two = max_logit(x @ W.T, W @ W.T, signs, signs, h=2)
    np.testing.assert_allclose(one[0], two[0], rtol=1e-9)
    np.testing.assert_allclose(one[1], two[1], rtol=1e-9)


@pytest.mark.exhaustive
def test_equal_and_vanishing_gradients_give_no_nan():
    ones = np.ones(1)
    # constant score: no perturbation changes it
    bounds = two_layer(
        np.zeros((2, 3)), np.array([2.0, 1.0]), np.array([1.0, -1.0]), np.zeros((1, 3)), ones, 1
    )
    assert np.isposinf(np.asarray(bounds)).all()
    # parallel neurons apart by a bias: relu(x + 1) > relu(x) until both are off, at x = -1
    bounds = two_layer(
        np.ones((2, 1)), np.array([1.0, 0.0]), np.array([1.0, -1.0]), np.zeros((1, 1)), ones, 1
    )
    np.testing.assert_allclose(bounds, np.ones((2, 1)), rtol=1e-5)
    # the same pair as classes, then two indistinguishable classes
    signs, gram = np.array([1.0, -1.0]), np.ones((2, 2))
    bounds = max_logit(np.array([[1.0, 0.0], [1.0, 1.0]]), gram, np.ones(2), signs)
    np.testing.assert_allclose(bounds, [[1, 0], [1, 0]], rtol=1e-5)
    # only positive neurons, only negative neurons
    for sign in (1.0, -1.0):
        bounds = two_layer(
            np.eye(2), np.zeros(2), np.full(2, sign), np.ones((1, 2)), sign * ones, 2 * (sign > 0)
        )
        np.testing.assert_allclose(bounds, np.full((2, 1), np.sqrt(2)), rtol=1e-5)


@pytest.mark.exhaustive
def test_float32_agrees_with_float64():
    k, d = 10, 3072
    mu = orthogonal_centres(k, d)
    rng = np.random.default_rng(0)
    signs = np.where(np.arange(k) < k // 2, 1.0, -1.0)
    blocks = np.stack([mu[signs > 0].sum(0), mu[signs < 0].sum(0)]) / d
    W = np.repeat(blocks, 3, axis=0) + 1e-3 / np.sqrt(d) * rng.normal(size=(6, d))
    b, a = 0.01 * rng.normal(size=6), np.repeat([1.0, -1.0], 3) / 3
    j = np.arange(20) % k
    x, y = mu[j] + rng.normal(size=(20, d)), signs[j]
    args = (W, b, a, x, y)
    single_args = [np.float32(value) for value in args]
    double = two_layer(*args, num_positive=3)
    single = two_layer(*single_args, num_positive=3)
    for low, high in zip(single, double, strict=True):
        assert low.dtype == np.float32
        np.testing.assert_allclose(low, high, rtol=1e-4)
    point = np.asarray(point_of(*single_args, num_positive=3))
    assert (y * sum_score(*single_args[:3], point) <= 0).all()
    W = mu / d
    double = max_logit(x @ W.T, W @ W.T, y, signs)
    single = max_logit(*(np.float32(value) for value in (x @ W.T, W @ W.T, y, signs)))
    for low, high in zip(single, double, strict=True):
        np.testing.assert_allclose(low, high, rtol=1e-4)


@pytest.mark.exhaustive
def test_samples_in_blocks_agree_with_samples_alone():
    W, b, a, x, y = random_net(9, 4, 6, 5, 100)  # more numbers than one block holds
    lower, upper = two_layer(W, b, a, x, y, num_positive=6)
    few = two_layer(W, b, a, x[-3:], y[-3:], num_positive=6)
    np.testing.assert_allclose(lower[-3:], few[0], rtol=1e-12)
    np.testing.assert_allclose(upper[-3:], few[1], rtol=1e-12)


def test_bad_input_is_refused():
    z, y = jnp.ones((2, 15)), jnp.ones(2)
    with pytest.raises(ValueError, match="neurons"):
        two_layer_radius_from_gram(z, jnp.eye(15), jnp.ones(15), y, 15)
    with pytest.raises(ValueError, match="num_positive"):
        two_layer_radius_from_gram(z[:, :3], jnp.eye(3), jnp.ones(3), y, 4)
    with pytest.raises(ValueError, match="a must be"):
        two_layer_radius_from_gram(z[:, :3], jnp.eye(3), jnp.ones(3), y, 2)
    with pytest.raises(ValueError, match="classes"):
        max_logit_radius(z, jnp.eye(15), y, jnp.ones(4), 2)
    with pytest.raises(ValueError, match=str(MAX_PIECES)):
        max_logit_radius(z, jnp.eye(15), y, jnp.ones(1), 15)


@pytest.mark.exhaustive
@pytest.mark.parametrize("scale", [2.0**-100, 2.0**-66, 2.0**50, 2.0**100])
def test_radii_do_not_depend_on_the_scale_of_weights(scale):
    W, b, a, x, y = (np.asarray(v, np.float32) for v in random_net(0, 2, 3, 3, 10))
    scaled = (np.float32(scale) * W, np.float32(scale) * b, a / np.float32(scale), x, y)
    for function in (two_layer, point_of):
        usual = function(W, b, a, x, y, num_positive=3)
        jax.tree.map(np.testing.assert_array_equal, function(*scaled, num_positive=3), usual)
