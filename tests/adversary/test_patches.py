"""Attacks that know what patches carry, against NumPy loops; training on them, against other data."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics import observables as o
from dynamics import simulate, steepest
from dynamics.adversary import (
    FGSM,
    PGD,
    FeatureFlip,
    FeaturePlant,
    FeatureShift,
    GradientStep,
    feature_span,
    own_directions,
)
from dynamics.data.clusters import Clusters
from dynamics.data.coarse import BinaryClasses
from dynamics.data.patches import RobustNonRobust, SignalNoise
from dynamics.data.rescaled import Rescaled
from dynamics.data.teachers import FixedPoints
from dynamics.keys import named_key, seed_key
from dynamics.models.activations import Activation
from dynamics.models.patch_cnn import PatchCNN
from dynamics.models.two_layer import TwoLayer
from dynamics.parts import Axis
from dynamics.problem import Problem

KEY = jax.random.key(3)
DATA = RobustNonRobust(10, 3, 8, 6, 1, 2, shuffle=True, labels="random", spread=0.4, noise=0.1)
SIGNAL = SignalNoise(6, 4, 8, 5, "random", "random", "random", signal=0.7, noise=0.3)
NET = PatchCNN(2, 3, activation=Activation("smoothed_relu"))
DRAWS = {kind: jax.jit(data.sample)(KEY) for kind, data in (("features", DATA), ("signal", SIGNAL))}
WEIGHTS = np.random.default_rng(0).normal(size=(3, 10))


def carries(draw, i, p, target=None):
    """The unit vector in patch p of training sample i, by the data's definition; as if of class `target`."""
    features, family = np.asarray(draw.features), int(draw.train.patches.family[i, p])
    target = int(draw.train.target[i]) if target is None else target
    if len(features) == 1:
        return (0.0 if family < 0 else 1.0 - 2 * target) * features[0]
    return features[3 * family + target]


def quadratic(draw):
    """An objective of all patches, the sum of (w.x_p)^2 / 2 + c.x_p, with its gradient by hand."""
    n, dim = len(draw.train.x), draw.train.x.shape[-1]
    rng = np.random.default_rng(1)
    w, c = rng.normal(size=(n, 1, dim)), rng.normal(size=(n, 1, dim))

    def value(x):
        return (0.5 * (x * w).sum(axis=-1) ** 2 + (x * c).sum(axis=-1)).sum(axis=1)

    return value, lambda x: (x * w).sum(axis=-1, keepdims=True) * w + c


@pytest.mark.parametrize("kind", DRAWS)
def test_own_directions_are_what_the_data_are_made_of(kind):
    draw = DRAWS[kind]
    found = np.asarray(own_directions(draw.train, draw))
    for i, p in np.ndindex(*found.shape[:2]):
        np.testing.assert_array_equal(found[i, p], carries(draw, i, p))
    # what is left of the inputs without it is noise alone
    left = draw.train.x - draw.train.patches.amplitude[..., None] * found
    sigma = {"features": 0.1, "signal": 0.3}[kind]
    assert np.sqrt(np.square(left).mean()) < 1.3 * sigma


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", DRAWS)
@pytest.mark.parametrize("stop", [False, True])
def test_shift_weakens_every_patch_by_itself(kind, stop):
    draw = DRAWS[kind]
    x, amplitude = np.asarray(draw.train.x), np.asarray(draw.train.patches.amplitude)
    for radius in (0.0, 0.3, np.linspace(0, 2, len(x))):
        moved = np.asarray(FeatureShift(radius, stop=stop).perturb(KEY, len, draw.train, draw))
        lengths = np.broadcast_to(radius, len(x))
        for i, p in np.ndindex(*x.shape[:2]):
            r = min(lengths[i], amplitude[i, p]) if stop else lengths[i]
            np.testing.assert_allclose(moved[i, p], x[i, p] - r * carries(draw, i, p), atol=1e-14)


@pytest.mark.parametrize("kind", DRAWS)
def test_flip_takes_the_class_of_the_largest_objective(kind):
    draw = DRAWS[kind]
    value, _ = quadratic(draw)
    moved = np.asarray(FeatureFlip(0.8).perturb(KEY, value, draw.train, draw))
    x, target, num_classes = np.asarray(draw.train.x), np.asarray(draw.train.target), len(draw.class_signs)
    chosen = []
    for i in range(len(x)):
        candidates = {}
        for t in set(range(num_classes)) - {int(target[i])}:
            point = x.copy()
            for p in range(x.shape[1]):
                step = carries(draw, i, p, t) - carries(draw, i, p)
                point[i, p] += 0.8 * step / max(np.linalg.norm(step), 1e-300)
            candidates[t] = point[i], value(point)[i]
        chosen.append(max(candidates, key=lambda t: candidates[t][1]) - target[i])
        np.testing.assert_allclose(moved[i], max(candidates.values(), key=lambda c: c[1])[0], atol=1e-13)
    assert kind == "signal" or len(set(chosen)) > 2  # not always the next class


@pytest.mark.parametrize("family", [0, 1])
def test_plant_puts_another_class_where_it_does_not_belong(family):
    draw = DRAWS["features"]
    value, _ = quadratic(draw)
    moved = np.asarray(FeaturePlant(0.8, family).perturb(KEY, value, draw.train, draw))
    x, target, features = (np.asarray(a) for a in (draw.train.x, draw.train.target, draw.features))
    others = np.asarray(draw.train.patches.family) != family
    for i in range(len(x)):
        candidates = []
        for t in set(range(3)) - {int(target[i])}:
            point = x.copy()
            point[i, others[i]] += 0.8 * features[3 * family + t]
            candidates.append((value(point)[i], point[i]))
        np.testing.assert_allclose(moved[i], max(candidates, key=lambda c: c[0])[1], atol=1e-13)


@pytest.mark.parametrize("norm", ["l2", "linf", "max-l2"])
def test_gradient_step_is_the_gradient_drawn_back(norm):
    draw = DRAWS["features"]
    value, gradient = quadratic(draw)
    x, radius = np.asarray(draw.train.x), 0.5
    for step in (0.0, 0.05, 0.3):
        delta = step * gradient(x)
        if norm == "linf":
            expected = np.clip(delta, -radius, radius)
        else:
            size = np.linalg.norm(delta, axis=(1, 2) if norm == "l2" else 2, keepdims=True)
            expected = delta * np.minimum(1, radius / np.maximum(size, 1e-300))
            assert step != 0.3 or (size > radius).any()
            assert step != 0.05 or (size < radius).any()
        attack = GradientStep(radius, step, norm=norm)
        np.testing.assert_allclose(
            attack.perturb(KEY, value, draw.train, draw) - x, expected, rtol=1e-9, atol=1e-14
        )
    boxed = GradientStep(radius, 0.3, norm=norm, box=(-0.2, 0.2)).perturb(KEY, value, draw.train, draw)
    clipped = np.clip(x + expected, np.minimum(x, -0.2), np.maximum(x, 0.2))
    np.testing.assert_allclose(boxed, clipped, atol=1e-12)


# in the span of the features


@pytest.mark.parametrize("kind", DRAWS)
def test_patches_move_in_the_span_of_their_own_family(kind):
    """To the closed form of a linear objective: each patch by its gradient's projection on its family."""
    draw = DRAWS[kind]
    x, family = np.asarray(draw.train.x), np.asarray(draw.train.patches.family)
    c = np.random.default_rng(2).normal(size=x.shape)
    spans = [np.asarray(carried) for carried in draw.carried]

    def objective(points):
        return jnp.sum(points * c, axis=(1, 2))

    gradient = np.zeros_like(x)
    for i, p in np.ndindex(*x.shape[:2]):
        if family[i, p] >= 0:
            gradient[i, p] = np.linalg.pinv(spans[family[i, p]]) @ (spans[family[i, p]] @ c[i, p])
    size = np.linalg.norm(gradient, axis=2)
    per_patch = gradient / np.where(size > 0, size, 1)[..., None]
    whole = gradient / np.linalg.norm(size, axis=1)[:, None, None]
    attacks = {
        FGSM(0.6, norm="max-l2", span="features"): per_patch,
        PGD(0.6, "l2", 3, random_start=False, span="features"): whole,
        GradientStep(0.6, 1e9, norm="max-l2", span="features"): per_patch,
        PGD(0.6, "max-l2", 4, restarts=2, span="features"): None,
    }
    moves = jax.jit(lambda key: [a.perturb(key, objective, draw.train, draw) for a in attacks])(KEY)
    for moved, unit in zip(moves, attacks.values(), strict=True):
        np.testing.assert_array_equal(moved[family < 0], x[family < 0])
        assert unit is None or np.abs(moved - x - 0.6 * unit).max() < 1e-12
    # the random starts are in the span too, and climb on from there
    moved = np.asarray(moves[-1])
    for number, span in enumerate(spans):
        step = (moved - x)[family == number]
        np.testing.assert_allclose(step @ np.linalg.pinv(span) @ span, step, atol=1e-12)
    gain = np.asarray(objective(moved - x)) / (0.6 * size.sum(axis=1))
    assert (gain > 0.9).all()
    assert (gain <= 1 + 1e-12).all()


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "data",
    [
        Clusters(9, 4, 7, 5, correlation=0.9),
        FixedPoints(np.array([[1.0, 2, 0, 0], [2, 4, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0]]), (1, 1, -1, -1)),
        BinaryClasses(SimpleNamespace(sample=lambda key: DRAWS["features"])),
    ],
    ids=["correlated", "dependent and zero", "binary classes"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_span_of_any_features_is_an_orthogonal_projection(data, dtype):
    draw = jax.tree.map(lambda a: a.astype(dtype) if a.dtype == np.float64 else a, data.sample(KEY))
    project = jax.jit(lambda step: feature_span(draw.train, draw)(step))
    step = jnp.asarray(np.random.default_rng(0).normal(size=draw.train.x.shape), dtype)
    found, features = np.asarray(project(step), np.float64), np.asarray(draw.features, np.float64)
    atol = 1e-4 if dtype == np.float32 else 1e-12
    if draw.train.patches is None:
        _, sizes, rows = np.linalg.svd(features, full_matrices=False)
        rows = rows[sizes > 1e-6]
        np.testing.assert_allclose(found, step @ rows.T @ rows, atol=atol)
        assert len(rows) < features.shape[1]
    else:
        own = np.asarray(draw.train.patches.family)[..., None] == np.asarray(draw.feature_families)
        np.testing.assert_allclose(found, np.where(own, step @ features.T, 0) @ features, atol=atol)


# promises in float32


@jax.jit
def _all_moves(x, radius, size, on, draw):
    """Every attack on patches, at the inputs `x`, for an objective of `size` that only sees patches `on`."""
    sample = dataclasses.replace(draw.train, x=x)

    def objective(points):
        return size * jnp.sin(jnp.where(on[None, :, None], points, 0) @ WEIGHTS.T.astype(x.dtype)).sum(
            axis=(1, 2)
        )

    attacks = {
        "max-l2": (
            FeatureShift(radius),
            FeatureShift(radius, stop=True),
            FeatureFlip(radius),
            GradientStep(radius),
            FGSM(radius, norm="max-l2", span="features"),
            PGD(radius, norm="max-l2", steps=3, span="features"),
        ),
        "l2": (GradientStep(radius, norm="l2", span="features"),),
        "linf": (GradientStep(radius, norm="linf", box=(-1.0, 1.0)),),
    }
    return {norm: [a.perturb(KEY, objective, sample, draw) for a in some] for norm, some in attacks.items()}


@pytest.mark.exhaustive
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    radius=st.sampled_from([0.0, 1e-6, 1e-3, 0.3, 5.0]),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    size=st.sampled_from([0.0, 1e-45, 1e-38, 1.0, 1e30, 3e38]),
)
def test_attacks_on_patches_stay_in_their_ball_in_float32(seed, radius, scale, size):
    rng = np.random.default_rng(seed)
    draw = jax.tree.map(lambda a: a.astype(np.float32) if a.dtype == np.float64 else a, DRAWS["features"])
    x = (scale * rng.normal(size=draw.train.x.shape)).astype(np.float32)
    on = rng.uniform(size=3) < 0.5
    moves = _all_moves(x, np.float32(radius), np.float32(size), on, draw)
    limit = np.float64(np.float32(radius)) * (1 + 1e-6)
    for norm, points in moves.items():
        for number, point in enumerate(points):
            assert point.dtype == np.float32
            assert np.isfinite(point).all()
            delta = np.asarray(point, np.float64) - x
            length = {
                "l2": np.linalg.norm(delta, axis=(1, 2)),
                "max-l2": np.linalg.norm(delta, axis=2),
                "linf": np.abs(delta),
            }[norm]
            assert (length <= limit).all()
            if norm != "max-l2" or number in (3, 4):  # follows gradients, without a random start
                assert not delta[:, ~on].any() or (norm == "linf" and scale > 1e-3)
                assert not delta.any() or size > 0
    low, high = np.minimum(x, -1), np.maximum(x, 1)
    assert ((moves["linf"][0] >= low) & (moves["linf"][0] <= high)).all()


# training


@jax.jit
def _trained(problem):
    """First-layer weights after 15 steps of gradient descent on each of two keys."""

    def run(key):
        draw = problem.sample(key)

        def step(i, params):
            grads = jax.grad(problem.training_loss)(params, draw.train, draw, jax.random.fold_in(key, i))
            return jax.tree.map(lambda p, g: p - 0.5 * g, params, grads)

        return jax.lax.fori_loop(0, 15, step, problem.init(key))["W"]

    return jax.lax.map(run, jax.random.split(KEY, 2))


@pytest.mark.exhaustive
def test_training_on_shifted_patches_is_training_on_weaker_features():
    def network(alpha, beta, adversary):
        data = RobustNonRobust(10, 3, 8, 2, 1, 2, robust_strength=alpha, nonrobust_strength=beta, noise=0.1)
        return Problem(data, NET, "cross_entropy", init_scale=0.3, adversary=adversary)

    before = _trained(network(1.0, 0.3, None))
    for eps in (0.2, 0.5):
        found = _trained(network(1.0, 0.3, FeatureShift(eps, stop=True)))
        expected = _trained(network(1.0 - eps, 0.3 - min(eps, 0.3), None))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
        assert np.abs(found - before).max() > 0.05
    assert _trained._cache_size() == 2


@pytest.mark.exhaustive
def test_training_against_an_axis_of_radii_is_the_same_under_every_strategy():
    attack = FGSM(Axis("eps", [0.0, 0.4]), norm="max-l2", span="features")
    problem = Problem(DATA, NET, "cross_entropy", init_scale=0.3, adversary=attack)
    one, many = (
        simulate(
            problem, steepest("l2", 0.5), steps=9, observe={"W": o.weights}, when=[9], seeds=2, strategy=s
        )
        for s in ("map", "vmap")
    )
    assert one.W.dims == ("eps", "seed", "step", "neuron", "dim")
    np.testing.assert_allclose(one.W, many.W, rtol=1e-9, atol=1e-12)
    assert np.abs(one.W[1] - one.W[0]).max() > 0.01


# refusals


@pytest.mark.parametrize(
    ("data", "attack", "message"),
    [
        (Clusters(10, 3, 8, 5), FeatureShift(1.0), r"need data made of patches, such as RobustNonRobust"),
        (Clusters(10, 3, 8, 5), FeatureFlip(1.0), r"need data made of patches, such as RobustNonRobust"),
        (BinaryClasses(DATA), FeatureFlip(1.0), r"need data that say what it is, class by class"),
    ],
)
def test_data_that_do_not_suit_are_one_sentence_before_compiling(untyped, data, attack, message):
    model = TwoLayer(2, 3) if isinstance(data, Clusters) else PatchCNN(2, 2)
    with pytest.raises(ValueError, match=message) as caught:
        simulate(Problem(data, model, "cross_entropy", adversary=attack), steepest("l2", 0.5), steps=1)
    assert "\n" not in str(caught.value)


def test_a_span_of_families_that_are_not_known_is_refused():
    draw = dataclasses.replace(DRAWS["features"], feature_families=None)
    with pytest.raises(ValueError, match="of which family of patches a feature is"):
        feature_span(draw.train, draw)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FeatureShift(-1.0), "radius must be finite and not negative, got -1"),
        (lambda: FeatureFlip(Axis("r", [0.0, np.nan])), "radius must be finite"),
        (lambda: GradientStep(1.0, np.inf), "step must be finite and not negative, got inf"),
        (lambda: GradientStep(1.0, norm="l1"), "norm must be one of l2, linf, max-l2, got 'l1'"),
        (lambda: GradientStep(1.0, norm="linf", span="features"), "needs norm 'l2' or 'max-l2', got 'linf'"),
        (lambda: GradientStep(1.0, span="features", box=(0.0, 1.0)), "needs box None"),
        (lambda: GradientStep(1.0, span="own"), "span must be one of all, features, got 'own'"),
    ],
)
def test_bad_values_are_refused(untyped, make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_the_norm_of_the_ball_is_known():
    assert FeatureShift(1.0).norm == FeatureFlip(1.0).norm == GradientStep(1.0).norm == "max-l2"


def test_rescaled_patches_keep_their_account():
    draw = Rescaled(SimpleNamespace(sample=lambda key: DRAWS["features"])).sample(KEY)
    left = draw.train.x - draw.train.patches.amplitude[..., None] * own_directions(draw.train, draw)
    scale = np.linalg.norm(draw.train.x) / np.linalg.norm(DRAWS["features"].train.x)
    before = DRAWS["features"].train
    noise = before.x - before.patches.amplitude[..., None] * own_directions(before, DRAWS["features"])
    np.testing.assert_allclose(left, scale * noise, atol=1e-14)


# warm starts


@pytest.mark.exhaustive
def test_a_warm_start_goes_on_where_the_last_attack_ended():
    attack = PGD(0.4, norm="max-l2", steps=1, relative_step=0.3, random_start=False, warm_start=True)
    problem = Problem(DATA, NET, loss="cross_entropy", init_scale=0.5, adversary=attack)
    found = simulate(problem, steepest("l2", 0.1), steps=6, observe_end={"W": o.weights}, seeds=[2])
    data, init = (named_key(seed_key(2), name) for name in ("data", "init"))
    draw, params = problem.sample(data), problem.init(init, data)
    x = draw.train.x
    for _ in range(6):

        def loss(points, params=params):
            return problem.sample_losses(params, dataclasses.replace(draw.train, x=points))

        slope = jax.grad(lambda p, loss=loss: loss(p).sum())(x)
        size = jnp.linalg.norm(slope, axis=2, keepdims=True)
        step = x - draw.train.x + 0.4 * 0.3 * slope / jnp.where(size > 0, size, 1)
        length = jnp.linalg.norm(step, axis=2, keepdims=True)
        moved = draw.train.x + step * jnp.minimum(1, 0.4 / jnp.where(length > 0, length, 1))
        # the best of what was visited: the clean inputs, the start and the end
        seen = jnp.stack([draw.train.x, x, moved])
        best = jnp.argmax(jnp.stack([loss(points) for points in seen]), axis=0)
        x = seen[best, jnp.arange(len(best))]
        gradient = jax.grad(
            lambda p, x=x: problem.sample_losses(p, dataclasses.replace(draw.train, x=x)).mean()
        )(params)
        params = jax.tree.map(lambda a, g: a - 0.1 * g, params, gradient)
    np.testing.assert_allclose(found.W.values[0], params["W"], rtol=1e-9, atol=1e-12)
    assert float(jnp.abs(x - draw.train.x).max()) > 0.1


@pytest.mark.exhaustive
def test_a_warm_start_is_not_a_random_one_and_needs_full_batches():
    with pytest.raises(ValueError, match="warm_start needs random_start=False"):
        PGD(0.1, warm_start=True)
    problem = Problem(
        DATA, NET, loss="cross_entropy", adversary=PGD(0.1, random_start=False, warm_start=True)
    )
    with pytest.raises(ValueError, match="warm_start needs full batches"):
        simulate(problem, steepest("l2", 0.1), steps=1, batch_size=4, seeds=1)
