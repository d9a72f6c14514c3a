"""Attacks against closed forms of linear models, a plain NumPy loop, and their own promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics.adversary import (
    FGSM,
    NORMS,
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

DUAL = {
    "l2": np.linalg.norm,
    "linf": lambda w: np.abs(w).sum(),
    "max-l2": lambda w: np.linalg.norm(w, axis=1).sum(),
}
SAMPLES, SHAPE = 6, (2, 4)


def few(test):
    return settings(max_examples=15, deadline=None)(test)


def linear(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=SHAPE), rng.normal(size=(SAMPLES, *SHAPE))


def lengths(delta, norm):
    """Norms of samples; of max-l2, the longest row's."""
    delta = np.asarray(delta, np.float64)
    if norm == "max-l2":
        return np.linalg.norm(delta, axis=-1).max(axis=-1)
    return np.linalg.norm(delta.reshape(len(delta), -1), {"l2": 2, "linf": np.inf}[norm], axis=1)


def nonlinear(norm, box):
    """A PGD and an FGSM attack on a wavy objective of the patches `on`, for one weight matrix and radius."""

    def attack(key, W, x, radius, on, size):
        def objective(points):
            seen = jnp.where(on[None, :, None], points, 0).reshape(len(points), -1)
            return size * jnp.sin(3 * seen @ W).sum(axis=1)

        found = pgd(key, objective, x, radius, norm=norm, steps=5, restarts=2, box=box)
        moved = fgsm(objective, x, radius, norm=norm, box=box)
        return found, moved, objective(found), objective(x)

    return jax.jit(attack)


attacks = {norm: nonlinear(norm, (0.0, 1.0)) for norm in NORMS}


@pytest.mark.exhaustive
@pytest.mark.parametrize("norm", NORMS)
@few
@given(
    seed=st.integers(0, 2**32 - 1),
    radius=st.sampled_from([0.0, 1e-6, 1e-3, 0.3, 5.0]),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    size=st.sampled_from([0.0, 1e-45, 1e-38, 1e-20, 1.0, 1e30, 3e38]),
)
def test_attacks_stay_in_ball_and_box_in_float32(norm, seed, radius, share, size):
    """Also where gradients are subnormal, huge or zero, and where patches are off."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=(SAMPLES, 20, 20)).astype(np.float32)
    x[0] = 0.0
    W = rng.normal(size=(400, 3)).astype(np.float32)
    radii = np.full(SAMPLES, radius, np.float32)
    on = rng.uniform(size=20) < share
    found, moved, value, start = attacks[norm](jax.random.key(seed), W, x, radii, on, np.float32(size))
    assert found.dtype == np.float32
    if norm == "max-l2":  # the step of a patch that is off is none
        np.testing.assert_array_equal(moved[:, ~on], x[:, ~on])
    if not on.any() or size == 0:
        np.testing.assert_array_equal(moved, x)
        np.testing.assert_array_equal(found, x)
    if size == 1 and on.any() and radius > 0:
        assert (lengths(moved - x, norm)[1:] > radius / 2).any()
    for point in (found, moved):
        assert (lengths(point - x, norm) <= np.float64(radii) * (1 + 1e-6)).all()
        assert (point >= 0).all()
        assert (point <= 1).all()
        if radius == 0:
            np.testing.assert_array_equal(point, x)
    assert size != 1 or (value >= start - 1e-5).all()


@pytest.mark.exhaustive
@pytest.mark.parametrize("norm", NORMS)
def test_linear_model_gives_the_dual_norm(norm):
    w, x = linear(0)
    size = DUAL[norm](w)

    def score(points):
        return jnp.tensordot(points, w, 2)

    radius, start = np.linspace(0.1, 2, SAMPLES), np.asarray(score(x))
    for random_start in (False, True):
        point = jax.jit(
            lambda key, r, random_start=random_start: pgd(
                key, score, x, r, norm=norm, random_start=random_start
            )
        )(jax.random.key(1), radius)
        gain = (score(point) - start) / (radius * size)
        np.testing.assert_allclose(gain, 1, rtol=1e-9)
    moved = fgsm(score, x, radius, norm=norm)
    np.testing.assert_allclose(score(moved), start + radius * size, rtol=1e-9)


def numpy_pgd(W, a, x, radius, step, steps, norm):
    """Best point of projected ascent on tanh(x W) a, and all its iterates, in plain float64."""

    def value(p):
        return np.tanh(p.reshape(len(p), -1) @ W) @ a

    def unit(v):
        axis = -1 if norm == "max-l2" else (1, 2)
        return v / np.linalg.norm(v, axis=axis, keepdims=True)

    def shrink(v):
        axis = -1 if norm == "max-l2" else (1, 2)
        return v * np.minimum(1, radius / np.linalg.norm(v, axis=axis, keepdims=True))

    point, best, iterates = x.copy(), x.copy(), []
    for _ in range(steps):
        slope = 1 - np.tanh(point.reshape(len(x), -1) @ W) ** 2
        gradient = ((slope * a) @ W.T).reshape(x.shape)
        if norm != "linf":
            delta = shrink(point + step * unit(gradient) - x)
        else:
            delta = np.clip(point + step * np.sign(gradient) - x, -radius, radius)
        point = x + delta
        iterates.append(point)
        best = np.where((value(point) > value(best))[:, None, None], point, best)
    return best, iterates


@pytest.mark.parametrize("norm", NORMS)
def test_iterates_agree_with_a_plain_numpy_loop(norm):
    rng = np.random.default_rng(4)
    W, a, x = rng.normal(size=(6, 8)), rng.normal(size=8), rng.normal(size=(4, 2, 3))
    radius, step = 0.9, 0.4

    def objective(points):
        return jnp.tanh(points.reshape(len(points), -1) @ W) @ a

    for steps in (1, 12):
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


@pytest.mark.exhaustive
def test_random_starts_fill_the_ball_evenly():
    n, radius = 4000, 2.0
    for norm in NORMS:
        # of max-l2 every patch is drawn by itself
        x = np.zeros((n // 2, 2, 3) if norm == "max-l2" else (n, 3))
        dim = 3
        # the objective is flat except at x, so that the random start itself is returned
        start = pgd(
            jax.random.key(3),
            lambda p: jax.lax.stop_gradient(jnp.any(p != 0, axis=range(1, p.ndim)).astype(p.dtype)),
            x,
            radius,
            norm=norm,
            steps=1,
        )
        start = np.asarray(start).reshape(-1, 3)
        share = (lengths(start, "linf" if norm == "linf" else "l2") / radius) ** dim  # uniform on [0, 1]
        assert abs(share.mean() - 0.5) < 5 * np.sqrt(1 / 12 / n)
        assert abs((share**2).mean() - 1 / 3) < 5 * np.sqrt(4 / 45 / n)
        assert (np.abs(start.mean(0)) < 5 * radius / np.sqrt(n)).all()


def test_zero_and_tiny_gradients():
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)

    @jax.jit
    def moved(key, size):
        flat = [fgsm(lambda p: 0 * p.sum(axis=1), x, 1.0, norm=norm) for norm in NORMS]
        still = [
            pgd(key, lambda p: jax.nn.relu(p - 100).sum(1), x, 1.0, norm=norm, steps=3) for norm in NORMS
        ]
        # squares of this gradient underflow in float32
        tiny = [fgsm(lambda p: size * p[:, 0], x, 1.0, norm=norm) for norm in NORMS]
        return flat + still, tiny

    same, tiny = moved(jax.random.key(0), np.float32(1e-30))
    for point in same:
        np.testing.assert_array_equal(point, x)
    for point in tiny:
        np.testing.assert_allclose(point[:, 0] - x[:, 0], 1, rtol=1e-5)


def disc(num_radii, num_angles):
    """Points of the unit disc."""
    r, angle = np.linspace(0, 1, num_radii), np.linspace(0, 2 * np.pi, num_angles, endpoint=False)
    return (r[:, None, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)[None]).reshape(-1, 2)


def unit_ball(norm):
    """A dense grid of the unit ball: of the plane, or (max-l2) of two patches in the plane."""
    if norm == "linf":
        side = np.linspace(-1, 1, 301)
        return np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 1, 2)
    if norm == "l2":
        return disc(150, 600)[:, None]
    half = disc(8, 48)
    return np.stack([np.repeat(half, len(half), axis=0), np.tile(half, (len(half), 1))], axis=1)


@pytest.mark.parametrize("norm", NORMS)
def test_restarted_pgd_finds_what_brute_force_finds(norm):
    grid = unit_ball(norm)
    rng = np.random.default_rng(3)
    W, a = rng.normal(size=(grid[0].size, 12)) * 1.5, rng.normal(size=12)
    x, radius = rng.normal(size=(5, *grid.shape[1:])), 0.8

    def value(points):
        return np.tanh(points.reshape(len(points), -1) @ W) @ a

    best = np.array([value(one[None] + radius * grid).max() for one in x])
    assert (best > value(x) + 0.3).all()
    found = jax.jit(
        lambda key: pgd(
            key,
            lambda p: jnp.tanh(p.reshape(len(p), -1) @ W) @ a,
            x,
            radius,
            norm=norm,
            steps=60,
            restarts=30,
        )
    )(jax.random.key(0))
    assert (lengths(found - x, norm) <= radius * (1 + 1e-9)).all()
    # the grid of the plane is dense, that of two patches coarser: there PGD may find more
    slack = 0.15 if norm == "max-l2" else 2e-3
    gain = value(np.asarray(found)) - best
    assert (gain >= -2e-3).all()
    assert (gain <= slack).all()


def test_best_point_is_kept_when_ascent_overshoots():
    x = np.array([[0.1]])
    found = pgd(
        jax.random.key(0), lambda p: -jnp.abs(p[:, 0]), x, 5.0, steps=3, step_size=4.0, random_start=False
    )
    np.testing.assert_array_equal(found, x)


@pytest.mark.exhaustive
def test_along_and_feature_direction():
    rng = np.random.default_rng(0)
    x, v = rng.normal(size=(5, 2, 3)), rng.normal(size=6)
    moved_by, direction = jax.jit(along), jax.jit(feature_direction)
    np.testing.assert_allclose(
        moved_by(x, v, 2.0), x + 2 * v.reshape(1, 2, 3) / np.linalg.norm(v), rtol=1e-12
    )
    each = rng.normal(size=(5, 6))
    radii = np.arange(5.0)
    moved = np.asarray(moved_by(x, each, radii))
    expected = radii[:, None] * each / np.linalg.norm(each, axis=1, keepdims=True)
    np.testing.assert_allclose((moved - x).reshape(5, 6), expected, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(moved_by(x, np.zeros(6), 2.0), x)
    features, signs = rng.normal(size=(4, 6)), np.array([1.0, -1.0, 1.0, 1.0])
    total = features[0] - features[1] + features[2] + features[3]
    np.testing.assert_allclose(direction(features, signs), total / np.linalg.norm(total), rtol=1e-12)
    np.testing.assert_array_equal(direction(np.ones((2, 3)), np.array([1.0, -1.0])), np.zeros(3))


def small_problem():
    rng = np.random.default_rng(5)
    w, bias, x = rng.normal(size=7), rng.normal(), rng.normal(size=(SAMPLES, 7))
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
        (lambda: FGSM(1.0, span="feature"), r"span must be one of all, features, got 'feature'"),
        (lambda: FGSM(1.0, span="features"), "needs norm 'l2' or 'max-l2', got 'linf'"),
        (lambda: PGD(1.0, norm="linf", span="features"), "needs norm 'l2' or 'max-l2', got 'linf'"),
        (lambda: PGD(1.0, span="features", box=(0.0, 1.0)), "needs box None"),
        (lambda: FGSM(1.0, box=(1.0, 0.0)), "box"),
        (lambda: FGSM(1.0, box=(1.0,)), "box"),
        (lambda: PGD(float("nan")), "radius"),
        (lambda: PGD(np.array([0.5, -0.5])), "radius"),
        (lambda: PGD(Axis("radius", [0.0, -1.0])), "radius"),
        (lambda: PGD(1.0, steps=0), "steps"),
        (lambda: PGD(1.0, restarts=0), "restarts"),
        (lambda: PGD(1.0, restarts=2, random_start=False), "restarts"),
        (
            lambda: pgd(jax.random.key(0), jnp.sum, jnp.ones((1, 2)), 1.0, start=jnp.ones((1, 2))),
            "start needs random_start=False",
        ),
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
def test_bad_values_are_refused(untyped, make, field):
    with pytest.raises(ValueError, match=field):
        make()


def test_axes_and_traced_radii_are_accepted():
    axis = Axis("radius", [0.0, 1.0])
    assert PGD(axis).radius is axis
    assert FGSM(axis, box=(0.0, 1.0)).radius is axis
    assert FeatureAttack(axis).radius is axis
    assert jax.jit(lambda r: PGD(r, relative_step=r).radius + FGSM(r).radius)(1.0) == 2


@pytest.mark.exhaustive
def test_integer_inputs_are_numbers_and_radii_are_one_or_one_a_sample(untyped):
    def objective(points):
        return jnp.sum(points**2, axis=-1)

    whole = np.array([[2, 1], [0, 3]], np.uint8)
    key, moved = jax.random.key(0), whole.astype(float) + np.array([[0.5, 0.5], [0.0, 0.5]])
    np.testing.assert_allclose(fgsm(objective, whole, 0.5), moved, rtol=1e-6)
    point = pgd(key, objective, whole, 0.5, norm="linf", random_start=False, steps=5)
    np.testing.assert_allclose(point[0], moved[0], rtol=1e-6)
    wrong = r"radius must be one number, or one for each of the 2 samples, got an array of shape"
    for radius in ([0.5, 0.1, 0.2], [], np.ones(1), [[0.5], [0.1]]):
        for attack in (fgsm, lambda *rest: pgd(key, *rest)):
            with pytest.raises(ValueError, match=wrong):
                attack(objective, whole.astype(float), radius)
    for radius in ("x", ["x", "y"], [0.1, -0.1]):
        with pytest.raises(ValueError, match="radius must be finite and not negative"):
            fgsm(objective, whole, radius)
