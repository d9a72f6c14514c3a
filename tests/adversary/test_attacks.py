"""Attacks against closed forms of linear models, a plain NumPy loop, and their own promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics.adversary import (
    FGSM,
    PGD,
    FeatureAttack,
    along,
    feature_direction,
    fgsm,
    pgd,
    project,
    smallest_radius,
)
from dynamics.data.sample import Draw, Sample
from dynamics.parts import Axis

NORMS = {"l2": 2, "linf": np.inf}
DUAL = {"l2": 2, "linf": 1}
SAMPLES, DIM = 6, 7


def few(test):
    return settings(max_examples=15, deadline=None)(test)


def linear(seed, dim=DIM, samples=SAMPLES):
    rng = np.random.default_rng(seed)
    return rng.normal(size=dim), rng.normal(), rng.normal(size=(samples, dim))


def lengths(delta, norm):
    return np.linalg.norm(np.asarray(delta, dtype=np.float64).reshape(len(delta), -1), NORMS[norm], axis=1)


projections = {norm: jax.jit(lambda d, r, norm=norm: project(d, r, norm)) for norm in NORMS}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@few
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([1e-30, 1e-3, 1.0, 1e30]))
def test_projection_is_the_nearest_point_of_the_ball(norm, dtype, seed, scale):
    rng = np.random.default_rng(seed)
    delta = (scale * rng.normal(size=(SAMPLES, 3, 50))).astype(dtype)
    radius = (scale * rng.uniform(0, 15, size=SAMPLES)).astype(dtype)
    out = np.asarray(projections[norm](delta, radius))
    assert (lengths(out / scale, norm) <= radius / scale * (1 + 1e-6)).all()
    inside = lengths(delta / scale, norm) < radius / scale * (1 - 1e-6)
    np.testing.assert_array_equal(out[inside], delta[inside])
    wide = radius.reshape(-1, 1, 1)
    if norm == "linf":
        np.testing.assert_array_equal(out, np.clip(delta, -wide, wide))
    else:
        shrunk = delta * (wide / scale / lengths(delta / scale, norm).reshape(-1, 1, 1))
        np.testing.assert_allclose(out[~inside], shrunk[~inside], rtol=2e-6)
    np.testing.assert_array_equal(projections[norm](out, radius), out)


def nonlinear(norm, box):
    """A PGD and an FGSM attack on a wavy objective, for one weight matrix and radius."""

    def attack(key, W, x, radius):
        def objective(points):
            return jnp.sin(3 * points.reshape(len(points), -1) @ W).sum(axis=1)

        found = pgd(key, objective, x, radius, norm=norm, steps=5, restarts=2, box=box)
        moved = fgsm(objective, x, radius, norm=norm, box=box)
        return found, moved, objective(found), objective(x)

    return jax.jit(attack)


attacks = {norm: nonlinear(norm, (0.0, 1.0)) for norm in NORMS}


@pytest.mark.parametrize("norm", NORMS)
@few
@given(seed=st.integers(0, 2**32 - 1), radius=st.sampled_from([0.0, 1e-6, 1e-3, 0.3, 5.0]))
def test_attacks_stay_in_ball_and_box_in_float32(norm, seed, radius):
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(SAMPLES, 20, 20)).astype(np.float32)
    x[0] = 0.0
    W = rng.normal(size=(400, 3)).astype(np.float32)
    radii = np.full(SAMPLES, radius, np.float32)
    found, moved, value, start = attacks[norm](jax.random.key(seed), W, x, radii)
    assert found.dtype == np.float32
    for point in (found, moved):
        assert (lengths(point - x, norm) <= np.float64(radii) * (1 + 1e-6)).all()
        assert (point >= 0).all()
        assert (point <= 1).all()
        if radius == 0:
            np.testing.assert_array_equal(point, x)
    assert (value >= start - 1e-5).all()


@pytest.mark.parametrize("norm", NORMS)
def test_linear_model_gives_the_dual_norm(norm):
    w, bias, x = linear(0)
    y = np.sign(x @ w + bias)
    size = np.linalg.norm(w, DUAL[norm])

    def score(points):
        return points @ w + bias

    radius = np.linspace(0.1, 2, SAMPLES)
    start = np.asarray(score(x))
    for random_start in (False, True):
        point = jax.jit(
            lambda key, r, random_start=random_start: pgd(
                key, score, x, r, norm=norm, random_start=random_start
            )
        )(jax.random.key(1), radius)
        gain = (point @ w + bias - start) / (radius * size)
        assert (gain <= 1 + 1e-9).all()
        # from a random start the l2 steps, 2.5 radii in all, still turn along the sphere at the end
        np.testing.assert_allclose(gain, 1, rtol=0.05 if random_start and norm == "l2" else 1e-9)
    np.testing.assert_allclose(fgsm(score, x, radius, norm=norm) @ w + bias, start + radius * size, rtol=1e-9)

    truth = np.abs(start) / size
    search = jax.jit(
        lambda key, reach: smallest_radius(key, score, x, y, max_radius=reach, norm=norm, steps=5, rounds=4)
    )
    found, point = search(jax.random.key(2), 2 * truth.max())
    np.testing.assert_allclose(found, truth, rtol=1e-6)
    np.testing.assert_allclose(lengths(point - x, norm), found, rtol=1e-12)
    assert (y * (np.asarray(point) @ w + bias) <= 0).all()

    reach = np.sort(truth)[2] * 1.01
    found, point = search(jax.random.key(2), reach)
    near = truth < reach
    assert near.sum() == 3
    np.testing.assert_allclose(found[near], truth[near], rtol=1e-6)
    assert np.isposinf(found[~near]).all()
    assert np.isnan(point[~near]).all()


def numpy_pgd(W, a, x, radius, step, steps, norm):
    """Best point of projected ascent on tanh(x W) a, and all its iterates, in plain float64."""

    def value(p):
        return np.tanh(p @ W) @ a

    point, best, iterates = x.copy(), x.copy(), []
    for _ in range(steps):
        gradient = ((1 - np.tanh(point @ W) ** 2) * a) @ W.T
        if norm == "l2":
            delta = point + step * gradient / np.linalg.norm(gradient, axis=1, keepdims=True) - x
            delta *= np.minimum(1, radius / np.linalg.norm(delta, axis=1, keepdims=True))
        else:
            delta = np.clip(point + step * np.sign(gradient) - x, -radius, radius)
        point = x + delta
        iterates.append(point)
        best = np.where((value(point) > value(best))[:, None], point, best)
    return best, iterates


@pytest.mark.parametrize("norm", NORMS)
def test_iterates_agree_with_a_plain_numpy_loop(norm):
    rng = np.random.default_rng(4)
    W, a, x = rng.normal(size=(5, 8)), rng.normal(size=8), rng.normal(size=(4, 5))
    radius, step = 0.9, 0.4

    def objective(points):
        return jnp.tanh(points @ W) @ a

    for steps in (1, 2, 3, 12):
        best, iterates = numpy_pgd(W, a, x, radius, step, steps, norm)
        found = pgd(
            jax.random.key(0),
            objective,
            x,
            radius,
            norm=norm,
            steps=steps,
            step_size=step,
            random_start=False,
        )
        np.testing.assert_allclose(found, best, rtol=1e-9, atol=1e-12)

    seen = []

    def watched(points):
        jax.debug.callback(lambda p: seen.append(np.asarray(p)), points, ordered=True)
        return objective(points)

    pgd(
        jax.random.key(0), watched, x, radius, norm=norm, steps=12, step_size=step, random_start=False
    ).block_until_ready()
    jax.effects_barrier()
    np.testing.assert_allclose(np.stack(seen[-12:]), np.stack(iterates), rtol=1e-9, atol=1e-12)


def test_random_starts_fill_the_ball_evenly():
    n, dim, radius = 4000, 3, 2.0
    x = np.zeros((n, dim))
    for norm in NORMS:
        # the objective is flat except at x, so that the random start itself is returned
        start = pgd(
            jax.random.key(3),
            lambda p: jax.lax.stop_gradient(jnp.any(p != 0, axis=1).astype(p.dtype)),
            x,
            radius,
            norm=norm,
            steps=1,
        )
        share = (lengths(start, norm) / radius) ** dim  # uniform on [0, 1]
        assert abs(share.mean() - 0.5) < 5 * np.sqrt(1 / 12 / n)
        assert abs((share**2).mean() - 1 / 3) < 5 * np.sqrt(4 / 45 / n)
        assert (np.abs(np.asarray(start).mean(0)) < 5 * radius / np.sqrt(n)).all()


def test_zero_and_tiny_gradients():
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    for norm in NORMS:
        flat = fgsm(lambda p: 0 * p.sum(axis=1), x, 1.0, norm=norm)
        np.testing.assert_array_equal(flat, x)
        still = pgd(jax.random.key(0), lambda p: jax.nn.relu(p - 100).sum(1), x, 1.0, norm=norm)
        np.testing.assert_array_equal(still, x)
        # squares of this gradient underflow in float32
        tiny = fgsm(lambda p: np.float32(1e-30) * p[:, 0], x, 1.0, norm=norm)
        np.testing.assert_allclose(tiny[:, 0] - x[:, 0], 1, rtol=1e-5)


def test_best_point_is_kept_when_ascent_overshoots():
    x = np.array([[0.1]])
    found = pgd(
        jax.random.key(0), lambda p: -jnp.abs(p[:, 0]), x, 5.0, steps=3, step_size=4.0, random_start=False
    )
    np.testing.assert_array_equal(found, x)


def test_along_and_feature_direction():
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=(5, 2, 3)), rng.normal(size=6)
    np.testing.assert_allclose(along(x, v, 2.0), x + 2 * v.reshape(1, 2, 3) / np.linalg.norm(v), rtol=1e-12)
    each = rng.normal(size=(5, 6))
    radii = np.arange(5.0)
    moved = np.asarray(along(x, each, radii))
    expected = radii[:, None] * each / np.linalg.norm(each, axis=1, keepdims=True)
    np.testing.assert_allclose((moved - x).reshape(5, 6), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(along(x, np.zeros(6), 2.0), x)
    features, signs = rng.normal(size=(4, 6)), np.array([1.0, -1.0, 1.0, 1.0])
    total = features[0] - features[1] + features[2] + features[3]
    np.testing.assert_allclose(feature_direction(features, signs), total / np.linalg.norm(total), rtol=1e-12)
    np.testing.assert_array_equal(feature_direction(np.ones((2, 3)), np.array([1.0, -1.0])), np.zeros(3))


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


def test_smallest_radius_in_float32_with_a_box():
    rng = np.random.default_rng(2)
    W, a = rng.normal(size=(16, 9)).astype(np.float32), rng.normal(size=16).astype(np.float32)
    x = rng.uniform(size=(20, 3, 3)).astype(np.float32)

    def score(points):
        return jnp.tanh(points.reshape(len(points), -1) @ W.T) @ a

    y = np.sign(score(x))
    y = y * np.where(np.arange(20) == 0, -1, 1).astype(np.float32)
    for norm in NORMS:
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


def small_problem():
    w, bias, x = linear(5)
    signs = np.array([1.0, -1.0])
    index = np.zeros(SAMPLES, dtype=int)
    y = jnp.asarray(np.sign(x @ w + bias))
    sample = Sample(x=jnp.asarray(x), y=y, target=jnp.asarray(index), feature=jnp.asarray(index))
    features = jnp.asarray(np.stack([w, -w]))
    draw = Draw(sample, sample, features, jnp.asarray(signs), jnp.asarray(signs))
    return sample, draw, lambda points: -y * (points @ w + bias), w, bias


def test_parts_agree_with_the_functions_and_vmap_over_the_radius():
    sample, draw, objective, w, _ = small_problem()
    radii = jnp.asarray([0.0, 0.5, 1.5])
    key = jax.random.key(0)
    rise = {"l2": np.linalg.norm(w), "linf": np.abs(w).sum()}
    cases = [
        (lambda r: FGSM(r), "linf"),
        (lambda r: FGSM(r, norm="l2"), "l2"),
        (lambda r: PGD(r, relative_step=2.0, random_start=False), "l2"),
        (lambda r: PGD(r, norm="linf", restarts=2, steps=10), "linf"),
        (lambda r: FeatureAttack(r), "l2"),
    ]
    for make, norm in cases:
        run = jax.jit(jax.vmap(lambda part: part.perturb(key, objective, sample, draw)))
        parts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[make(r) for r in radii])
        moved = run(parts)
        np.testing.assert_array_equal(moved[0], sample.x)
        for r, point in zip(radii, moved, strict=True):
            gain = objective(point) - objective(sample.x)
            np.testing.assert_allclose(gain, r * rise[norm], rtol=1e-9, atol=1e-12)


def test_a_new_radius_does_not_recompile():
    sample, draw, objective, *_ = small_problem()
    run = jax.jit(lambda part, key: part.perturb(key, objective, sample, draw))
    for radius in (0.1, 0.2):
        run(PGD(radius, steps=3), jax.random.key(0))
    assert run._cache_size() == 1


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: FGSM(-1.0), "radius"),
        (lambda: FGSM(1.0, norm="l1"), "norm"),
        (lambda: FGSM(1.0, box=(1.0, 0.0)), "box"),
        (lambda: FGSM(1.0, box=(1.0,)), "box"),
        (lambda: PGD(float("nan")), "radius"),
        (lambda: PGD(np.array([0.5, -0.5])), "radius"),
        (lambda: PGD(Axis("radius", [0.0, -1.0])), "radius"),
        (lambda: PGD(1.0, steps=0), "steps"),
        (lambda: PGD(1.0, restarts=0), "restarts"),
        (lambda: PGD(1.0, restarts=2, random_start=False), "restarts"),
        (lambda: PGD(1.0, relative_step=0.0), "relative_step"),
        (lambda: PGD(1.0, norm="l1"), "norm"),
        (lambda: FeatureAttack(float("inf")), "radius"),
        (lambda: project(jnp.ones((2, 2)), 1.0, "l1"), "norm"),
        (lambda: along(jnp.ones((2, 2)), jnp.ones(2), -1.0), "radius"),
        (
            lambda: smallest_radius(jax.random.key(0), len, jnp.ones((2, 2)), jnp.ones(2), max_radius=-1.0),
            "max",
        ),
    ],
)
def test_bad_values_are_refused(make, field):
    with pytest.raises(ValueError, match=field):
        make()


def test_axes_and_traced_radii_are_accepted():
    axis = Axis("radius", [0.0, 1.0])
    assert PGD(axis).radius is axis
    assert FGSM(axis, box=(0.0, 1.0)).radius is axis
    assert FeatureAttack(axis).radius is axis
    assert jax.jit(lambda r: PGD(r, relative_step=r).radius + FGSM(r).radius)(1.0) == 2
