"""Patch data: where signals, features and noise sit, their moments, their keys, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.data.patches import RobustNonRobust, SignalNoise
from dynamics.parts import Axis

KEY = jax.random.key(0)


def drawn(data):
    """One program, as runs take it: an operation at a time, each would be compiled by itself."""
    return jax.jit(data.sample)(KEY)


def arrays(sample):
    return np.asarray(sample.x), np.asarray(sample.y), np.asarray(sample.target), np.asarray(sample.feature)


def same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def sorted_patches(x):
    """The patches of each sample in an order that only their values decide."""
    return np.stack([patches[np.lexsort(patches.T)] for patches in np.asarray(x)])


# one signal among noise


def test_signal_in_the_first_patch():
    draw = drawn(SignalNoise(10, 3, 6, 5))
    np.testing.assert_array_equal(draw.features, np.eye(1, 10))
    np.testing.assert_array_equal(draw.feature_signs, [1])
    np.testing.assert_array_equal(draw.class_signs, [1, -1])
    np.testing.assert_array_equal(draw.feature_classes, [0])
    for sample, count in ((draw.train, 6), (draw.test, 5)):
        x, y, target, feature = arrays(sample)
        assert x.shape == (count, 3, 10)
        np.testing.assert_array_equal(y, [1, -1, 1, -1, 1, -1][:count])
        np.testing.assert_array_equal(target, (y < 0).astype(int))
        np.testing.assert_array_equal(feature, np.zeros(count))
        np.testing.assert_allclose(x[:, 0], 10**0.249 * y[:, None] * np.eye(1, 10), rtol=1e-15)


@pytest.mark.parametrize("signal_patch", ["first", "random"])
@pytest.mark.parametrize("direction", ["first_axis", "random"])
def test_noise_is_orthogonal_to_the_signal(direction, signal_patch):
    data = SignalNoise(50, 5, 40, 30, direction, signal_patch, noise=2.0)
    draw = jax.jit(data.sample)(KEY)  # as runs take it
    w = np.asarray(draw.features)[0]
    np.testing.assert_allclose(np.linalg.norm(w), 1, rtol=1e-14)
    for sample in (draw.train, draw.test):
        x, y, _, _ = arrays(sample)
        along = x @ w * y[:, None]
        has_signal = along > 50**0.249 / 2
        np.testing.assert_array_equal(has_signal.sum(axis=1), 1)
        np.testing.assert_allclose(along[has_signal], 50**0.249, rtol=1e-14)
        off = x - (x @ w)[..., None] * w
        # rounding of 50 products of a size up to 10
        assert np.abs(off[has_signal]).max() < 1e-14
        if direction == "first_axis":
            np.testing.assert_array_equal(x[..., 0][~has_signal], 0)
        else:
            assert np.abs(along[~has_signal]).max() < 1e-13


@pytest.mark.exhaustive
def test_random_positions_swap_two_patches():
    fixed, moved = (drawn(SignalNoise(8, 4, 2000, 50, "random", where)) for where in ("first", "random"))
    same(fixed.features, moved.features)
    for one, other in ((fixed.train, moved.train), (fixed.test, moved.test)):
        same(one.y, other.y)
        np.testing.assert_array_equal(sorted_patches(one.x), sorted_patches(other.x))
    # where the signal lies is uniform, and has nothing to do with the label
    x, y, _, _ = arrays(moved.train)
    position = np.abs(x @ np.asarray(moved.features)[0]).argmax(axis=1)
    for label in (-1, 1):
        share = np.bincount(position[y == label], minlength=4) / 1000
        assert (np.abs(share - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 1000)).all()
    # a patch that gave its place to the signal takes the signal's place
    start = np.asarray(fixed.train.x)
    for i in range(5):
        swapped = start[i].copy()
        swapped[[0, position[i]]] = swapped[[position[i], 0]]
        np.testing.assert_array_equal(x[i], swapped)


@pytest.mark.exhaustive
@pytest.mark.parametrize("noise", [None, 0.7])
def test_noise_moments(noise):
    draw = drawn(SignalNoise(20, 4, 1500, 1000, "random", noise=noise))
    w = np.asarray(draw.features)[0]
    sigma = 20**-0.509 if noise is None else noise
    # an orthonormal basis of what is orthogonal to w*: there the noise is standard normal
    basis = np.linalg.svd(w[None])[2][1:]
    for sample in (draw.train, draw.test):
        xi = np.asarray(sample.x)[:, 1:] @ basis.T / sigma
        rows = xi.reshape(-1, 19)
        assert abs(xi.mean()) < 5 / np.sqrt(xi.size)
        assert abs(xi.var() - 1) < 5 * np.sqrt(2 / xi.size)
        assert abs((xi**4).mean() - 3) < 5 * np.sqrt(96 / xi.size)  # variance of the fourth power: 105 - 9
        off = (rows.T @ rows / len(rows))[np.triu_indices(19, 1)]
        assert np.abs(off).max() < 5 / np.sqrt(len(rows))
        # patches of one sample are independent
        assert abs(np.mean(xi[:, 0] * xi[:, 1])) < 5 / np.sqrt(xi[:, 0].size)
    train, test = (np.asarray(s.x)[:1000, 1:] @ basis.T / sigma for s in (draw.train, draw.test))
    assert abs(np.mean(train * test)) < 5 / np.sqrt(train.size)


@pytest.mark.exhaustive
def test_random_direction_points_everywhere():
    keys = jax.random.split(KEY, 2000)
    w = np.asarray(jax.vmap(SignalNoise(4, 2, 1, direction="random").feature)(keys))[:, 0]
    assert w.shape == (2000, 4)
    # the first coordinate of a uniform unit vector: mean 0, second moment 1/4 with variance 1/16
    assert abs(w[:, 0].mean()) < 5 * 0.5 / np.sqrt(2000)
    assert abs((w[:, 0] ** 2).mean() - 0.25) < 5 * 0.25 / np.sqrt(2000)


def test_random_labels():
    y = np.asarray(drawn(SignalNoise(3, 1, 20_000, 10, labels="random")).train.y)
    assert set(y.tolist()) == {-1, 1}
    assert abs(y.mean()) < 5 / np.sqrt(20_000)
    assert abs((y[1:] * y[:-1]).mean()) < 5 / np.sqrt(20_000)


@pytest.mark.exhaustive
def test_scales():
    data = SignalNoise(10, 3, 6, 5)
    assert data.alpha == 10**0.249
    assert data.sigma == 10**-0.509
    given = SignalNoise(10, 3, 6, 5, signal=3.0, noise=0.5)
    assert (given.alpha, given.sigma) == (3.0, 0.5)
    assert given.class_signs == (1, -1)
    base, scaled = drawn(data).train.x, drawn(given).train.x
    np.testing.assert_allclose(scaled[:, 0], 3 / data.alpha * base[:, 0], rtol=1e-14)
    np.testing.assert_allclose(scaled[:, 1:], 0.5 / data.sigma * base[:, 1:], rtol=1e-13)


def test_a_single_patch_is_the_signal():
    x = drawn(SignalNoise(4, 1, 3, 2, signal=2.0, signal_patch="random")).train.x
    np.testing.assert_array_equal(x, [[[2, 0, 0, 0]], [[-2, 0, 0, 0]], [[2, 0, 0, 0]]])


# robust and non-robust features


@pytest.mark.exhaustive
def test_features_are_orthonormal():
    data = RobustNonRobust(12, 5, 11, 7)
    draw = drawn(data)
    features = np.asarray(draw.features)
    assert features.shape == (10, 12)
    np.testing.assert_allclose(features @ features.T, np.eye(10), rtol=0, atol=1e-13)
    np.testing.assert_array_equal(draw.feature_classes, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
    np.testing.assert_array_equal(draw.class_signs, [1, 1, 1, -1, -1])
    np.testing.assert_array_equal(draw.feature_signs, [1, 1, 1, -1, -1] * 2)
    assert data.class_signs == (1, 1, 1, -1, -1)
    assert data.num_patches == 121
    # as many features as dimensions
    square = drawn(RobustNonRobust(6, 3, 1, 1)).features
    np.testing.assert_allclose(square @ square.T, np.eye(6), rtol=0, atol=1e-13)


@pytest.mark.exhaustive
@pytest.mark.parametrize("labels", ["balanced", "random"])
def test_patches_without_noise(labels):
    data = RobustNonRobust(
        9, 3, 7, 5, 2, 4, labels=labels, robust_strength=1.5, nonrobust_strength=0.4, noise=0.0
    )
    draw = drawn(data)
    features = np.asarray(draw.features)
    for sample, count in ((draw.train, 7), (draw.test, 5)):
        x, y, target, feature = arrays(sample)
        assert x.shape == (count, 6, 9)
        np.testing.assert_array_equal(feature, target)
        np.testing.assert_array_equal(y, np.array([1, 1, -1])[target])
        if labels == "balanced":
            np.testing.assert_array_equal(target, np.arange(count) % 3)
        for i in range(count):
            for p in range(6):
                expected = 1.5 * features[target[i]] if p < 2 else 0.4 * features[3 + target[i]]
                np.testing.assert_allclose(x[i, p], expected, rtol=1e-15)


@pytest.mark.exhaustive
def test_random_classes_are_uniform():
    n = 20_000
    target = np.asarray(drawn(RobustNonRobust(8, 4, n, 1, 1, 0, labels="random")).train.target)
    share = np.bincount(target, minlength=4) / n
    assert (np.abs(share - 0.25) < 5 * np.sqrt(0.25 * 0.75 / n)).all()


@pytest.mark.exhaustive
def test_amplitudes_are_uniform():
    spread, alpha, beta = 0.4, 2.0, 0.5
    data = RobustNonRobust(
        4, 2, 1000, 10, 3, 5, robust_strength=alpha, nonrobust_strength=beta, spread=spread, noise=0.0
    )
    draw = drawn(data)
    x, _, target, _ = arrays(draw.train)
    features = np.asarray(draw.features)
    for kind, mean, patches in ((0, alpha, slice(0, 3)), (2, beta, slice(3, 8))):
        own = features[kind + target]
        size = np.einsum("npd,nd->np", x[:, patches], own)
        np.testing.assert_allclose(x[:, patches], size[..., None] * own[:, None], rtol=0, atol=1e-14)
        t = (size / mean - 1) / spread  # uniform on [-1, 1]: moments 1/3 and 1/5
        assert np.abs(t).max() <= 1 + 1e-12
        assert abs(t.mean()) < 5 * np.sqrt(1 / 3 / t.size)
        assert abs((t**2).mean() - 1 / 3) < 5 * np.sqrt((1 / 5 - 1 / 9) / t.size)
        # every patch has a draw of its own
        assert abs(np.mean(t[:, 0] * t[:, 1])) < 5 / 3 / np.sqrt(len(t))


@pytest.mark.exhaustive
def test_feature_noise_moments():
    draw = drawn(RobustNonRobust(20, 3, 600, 600, 1, 3, noise=0.3))
    clean = drawn(RobustNonRobust(20, 3, 600, 600, 1, 3, noise=0.0))
    same(draw.features, clean.features)
    noise = []
    for noisy, without in ((draw.train, clean.train), (draw.test, clean.test)):
        xi = (np.asarray(noisy.x) - np.asarray(without.x)) / 0.3
        assert abs(xi.mean()) < 5 / np.sqrt(xi.size)
        assert abs(xi.var() - 1) < 5 * np.sqrt(2 / xi.size)
        assert abs((xi**4).mean() - 3) < 5 * np.sqrt(96 / xi.size)
        # neither kind of patch is noisier, and no direction is
        for part in (xi[:, 0], xi[:, 1:], xi @ np.asarray(draw.features).T):
            assert abs((part**2).mean() - 1) < 5 * np.sqrt(2 / part.size)
        noise.append(xi)
    assert abs(np.mean(noise[0] * noise[1])) < 5 / np.sqrt(noise[0].size)


@pytest.mark.exhaustive
def test_shuffling_permutes_patches():
    n = 3000
    fixed, shuffled = (drawn(RobustNonRobust(4, 2, n, 20, 1, 3, s, spread=0.2)) for s in (False, True))
    same(fixed.features, shuffled.features)
    for one, other in ((fixed.train, shuffled.train), (fixed.test, shuffled.test)):
        same(one.target, other.target)
        np.testing.assert_array_equal(sorted_patches(one.x), sorted_patches(other.x))
    first = np.asarray(fixed.train.x)[:, :1]
    position = (np.asarray(shuffled.train.x) == first).all(axis=2).argmax(axis=1)
    share = np.bincount(position, minlength=4) / n
    assert (np.abs(share - 0.25) < 5 * np.sqrt(0.25 * 0.75 / n)).all()


@pytest.mark.exhaustive
def test_one_kind_of_patches_alone():
    robust = drawn(RobustNonRobust(6, 2, 4, 2, 2, 0, noise=0.0))
    assert robust.train.x.shape == (4, 2, 6)
    np.testing.assert_array_equal(robust.train.x[0, 0], robust.features[0])
    weak = drawn(RobustNonRobust(6, 2, 4, 2, 0, 2, noise=0.0))
    np.testing.assert_allclose(weak.train.x[1, 0], 0.3 * weak.features[3], rtol=1e-15)


# what patches carry


@pytest.mark.exhaustive
def test_the_account_of_signals():
    data = SignalNoise(8, 4, 30, 20, "random", "random", "random", signal=2.0, noise=0.3)
    draw = jax.jit(data.sample)(KEY)
    w = np.asarray(draw.features)[0]
    np.testing.assert_array_equal(draw.carried, [[w, -w]])
    np.testing.assert_array_equal(draw.feature_families, [0])
    for sample in (draw.train, draw.test):
        x, y, _, _ = arrays(sample)
        is_signal = np.abs(x @ w) > 1
        np.testing.assert_array_equal(sample.patches.family, np.where(is_signal, 0, -1))
        np.testing.assert_array_equal(sample.patches.amplitude, np.where(is_signal, 2, 0))
        np.testing.assert_allclose(x[is_signal], 2 * y[:, None] * w, atol=1e-13)
    assert 0 < np.asarray(is_signal)[:, 0].sum() < 20


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_account_of_features(shuffle):
    """Without noise a patch is its amplitude times what its family carries for the class."""
    data = RobustNonRobust(8, 3, 12, 9, 2, 3, shuffle, "random", spread=0.4, noise=0.0)
    draw = jax.jit(data.sample)(KEY)
    features = np.asarray(draw.features)
    np.testing.assert_array_equal(draw.carried, [features[:3], features[3:]])
    np.testing.assert_array_equal(draw.feature_families, [0, 0, 0, 1, 1, 1])
    for sample in (draw.train, draw.test):
        family, amplitude = np.asarray(sample.patches.family), np.asarray(sample.patches.amplitude)
        np.testing.assert_array_equal(np.sort(family, axis=1), np.tile([0, 0, 1, 1, 1], (len(family), 1)))
        assert shuffle == bool((family[:, 0] == 1).any())
        assert (np.abs(amplitude / np.array([1.0, 0.3])[family] - 1) <= 0.4).all()
        for i, p in np.ndindex(*family.shape):
            own = features[3 * family[i, p] + int(sample.target[i])]
            np.testing.assert_allclose(sample.x[i, p], amplitude[i, p] * own, atol=1e-14)


# both


MAKE = {
    "signal": lambda **given: SignalNoise(
        **{"dim": 8, "num_patches": 3, "num_samples": 10, "num_test": 6, "direction": "random"}
        | {"signal_patch": "random", "labels": "random"}
        | given
    ),
    "features": lambda **given: RobustNonRobust(
        **{"dim": 8, "num_classes": 3, "num_samples": 10, "num_test": 6, "num_robust": 1}
        | {"num_nonrobust": 2, "shuffle": True, "labels": "random", "spread": 0.2}
        | given
    ),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("make", MAKE.values(), ids=list(MAKE))
def test_randomness_has_keys_of_its_own(make):
    base = drawn(make())
    same(base, drawn(make()))
    more_test = drawn(make(num_test=7))
    same(base.train, more_test.train)
    same(base.features, more_test.features)
    more_train = drawn(make(num_samples=11))
    same(base.test, more_train.test)
    same(base.features, more_train.features)
    quieter = drawn(make(noise=0.0))
    same(
        (base.features, base.train.y, base.train.target),
        (quieter.features, quieter.train.y, quieter.train.target),
    )
    assert not np.array_equal(base.train.x[:6], base.test.x)
    other = make().sample(jax.random.key(1))
    assert not np.array_equal(base.train.x, other.train.x)
    assert not np.array_equal(base.features, other.features)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("make", "numbers"),
    [
        (MAKE["signal"], ({"signal": 1.0, "noise": 0.1}, {"signal": 2.0, "noise": 0.3})),
        (
            MAKE["features"],
            (
                {"robust_strength": 1.0, "nonrobust_strength": 0.2, "spread": 0.0, "noise": 0.1},
                {"robust_strength": 2.0, "nonrobust_strength": 0.3, "spread": 0.5, "noise": 0.0},
            ),
        ),
    ],
    ids=list(MAKE),
)
def test_numbers_are_traced(make, numbers):
    @jax.jit
    def inputs(data):
        return drawn(data).train.x

    for given in numbers:
        # the compiled program may round once where the steps one by one round twice
        np.testing.assert_allclose(inputs(make(**given)), drawn(make(**given)).train.x, rtol=0, atol=1e-14)
    assert inputs._cache_size() == 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("make", MAKE.values(), ids=list(MAKE))
def test_float32(make):
    with jax.enable_x64(False):
        draw = make().sample(jax.random.key(0))
        assert {leaf.dtype for leaf in jax.tree.leaves(draw)} == {jnp.dtype("float32"), jnp.dtype("int32")}
        assert draw.train.x.dtype == draw.train.y.dtype == draw.features.dtype == jnp.float32
        np.testing.assert_allclose(draw.features @ draw.features.T, np.eye(len(draw.features)), atol=1e-6)


NUMBERS = {
    "signal": ("signal", "noise"),
    "features": ("robust_strength", "nonrobust_strength", "spread", "noise"),
}


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in NUMBERS for name in NUMBERS[kind]])
def test_bad_numbers(untyped, kind, name):
    bad = [-0.1, float("nan"), float("inf"), "1", True, [0.5], np.ones(2), Axis("a", [0.5, -1.0])]
    for value in [*bad, 1.5] if name == "spread" else bad:
        with pytest.raises(ValueError, match=f"^{name} must be a finite number") as caught:
            MAKE[kind](**{name: value})
        assert "got " in str(caught.value)
        assert "\n" not in str(caught.value)
    axis = Axis("a", [0.0, 1.0])
    assert getattr(MAKE[kind](**{name: axis}), name) is axis
    for value in (0, 0.5, np.float32(0.5), np.array(0.5), jnp.float32(0.5)):
        MAKE[kind](**{name: value})
    # made around a tracer
    jax.jit(lambda v: MAKE[kind](**{name: v}).sample(KEY).train.x)(0.5)


BAD = {
    "signal": {
        "one dimension": ({"dim": 1}, "dim must be an integer of at least 2, got 1"),
        "no patch": ({"num_patches": 0}, "num_patches must be an integer of at least 1, got 0"),
        "half a patch": ({"num_patches": 2.5}, "num_patches must be an integer of at least 1, got 2.5"),
        "no samples": ({"num_samples": 0}, "num_samples must be an integer of at least 1, got 0"),
        "no test samples": ({"num_test": 0}, "num_test must be an integer of at least 1, got 0"),
        "direction": ({"direction": "up"}, "direction must be one of first_axis, random, got 'up'"),
        "position": ({"signal_patch": "last"}, "signal_patch must be one of first, random, got 'last'"),
        "labels": ({"labels": "equal"}, "labels must be one of balanced, random, got 'equal'"),
    },
    "features": {
        "one class": ({"num_classes": 1}, "num_classes must be an integer of at least 2, got 1"),
        "too few dimensions": ({"dim": 5}, "2 \\* num_classes <= dim, got num_classes=3 and dim=5"),
        "no dimension": ({"dim": True}, "dim must be an integer of at least 1, got True"),
        "no samples": ({"num_samples": 0}, "num_samples must be an integer of at least 1, got 0"),
        "no test samples": ({"num_test": -1}, "num_test must be an integer of at least 1, got -1"),
        "robust": ({"num_robust": -1}, "num_robust must be an integer of at least 0, got -1"),
        "nonrobust": ({"num_nonrobust": -1}, "num_nonrobust must be an integer of at least 0, got -1"),
        "no patch": (
            {"num_robust": 0, "num_nonrobust": 0},
            "num_robust and num_nonrobust must sum to at least 1",
        ),
        "shuffle": ({"shuffle": "yes"}, "shuffle must be one of False, True, got 'yes'"),
        "labels": ({"labels": None}, "labels must be one of balanced, random, got None"),
    },
}


@pytest.mark.parametrize(("kind", "case"), [(kind, case) for kind in BAD for case in BAD[kind]])
def test_bad_values(untyped, kind, case):
    fields, message = BAD[kind][case]
    with pytest.raises(ValueError, match=message) as caught:
        MAKE[kind](**fields)
    assert "\n" not in str(caught.value)
