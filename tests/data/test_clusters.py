"""Gaussian clusters: geometry of the centres, labels, and statistics of the samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamics.data.clusters import Clusters, balanced_signs, granular_classes

KEY = jax.random.key(0)


def gram(features):
    return np.asarray(features) @ np.asarray(features).T


def test_centres_are_orthogonal_with_norm_sqrt_dim():
    features = Clusters(12, 5, 40, 30).sample(KEY).features
    # five unit vectors in float64; the norms are sqrt(12)
    np.testing.assert_allclose(gram(features) / 12, np.eye(5), rtol=0, atol=1e-12)


@pytest.mark.exhaustive
@pytest.mark.parametrize("correlation", [-0.24, -0.1, 0.3, 0.9])
def test_correlated_centres(correlation):
    features = Clusters(12, 5, 40, 30, correlation=correlation, centre_norm=2.0).sample(KEY).features
    expected = 4 * (correlation + (1 - correlation) * np.eye(5))
    np.testing.assert_allclose(gram(features), expected, rtol=0, atol=1e-12)


@pytest.mark.exhaustive
def test_unequal_norms_and_scale():
    norms = np.array([1.0, 2.0, 0.5, 0.1, 3.0])
    features = Clusters(12, 5, 40, 30, centre_norm=norms, scale=3.0).sample(KEY).features
    np.testing.assert_allclose(gram(features), np.diag((3 * norms) ** 2), rtol=0, atol=1e-11)


@pytest.mark.exhaustive
def test_one_cluster_and_as_many_as_dimensions():
    assert Clusters(3, 1, 4).centres(KEY).shape == (1, 3)
    np.testing.assert_allclose(gram(Clusters(4, 4, 4, centre_norm=1.0).centres(KEY)), np.eye(4), atol=1e-12)


@pytest.mark.exhaustive
def test_centres_point_everywhere():
    """The first coordinate of a random unit vector has mean 0 and second moment 1/d."""
    keys = jax.random.split(KEY, 2000)
    first = np.asarray(jax.vmap(Clusters(4, 2, 1, centre_norm=1.0).centres)(keys))[:, :, 0]
    for j in range(2):
        assert abs(first[:, j].mean()) < 5 * 0.5 / np.sqrt(2000)
        # x1^2 of a uniform unit vector in four dimensions has variance 3/24 - 1/16 = 1/16
        assert abs((first[:, j] ** 2).mean() - 0.25) < 5 * 0.25 / np.sqrt(2000)


@pytest.mark.parametrize("exact", [False, True])
def test_labels_follow_the_clusters(exact):
    data = Clusters(
        12, 5, 40, 30, signs=(1, -1, 1, -1, -1), classes=(0, 1, 2, 1, 3), exact_counts=exact, noise=0.0
    )
    draw = data.sample(KEY)
    for sample, count in ((draw.train, 40), (draw.test, 30)):
        feature = np.asarray(sample.feature)
        assert sample.x.shape == (count, 12)
        np.testing.assert_array_equal(sample.y, np.array([1, -1, 1, -1, -1])[feature])
        np.testing.assert_array_equal(sample.target, np.array([0, 1, 2, 1, 3])[feature])
        np.testing.assert_array_equal(sample.x, np.asarray(draw.features)[feature])
        assert len(set(feature.tolist())) == 5
    np.testing.assert_array_equal(draw.feature_signs, [1, -1, 1, -1, -1])
    np.testing.assert_array_equal(draw.class_signs, [1, -1, 1, -1])
    np.testing.assert_array_equal(draw.feature_classes, [0, 1, 2, 1, 3])


@pytest.mark.parametrize(("k", "positive"), [(1, 1), (2, 1), (5, 3), (10, 5)])
def test_default_signs(k, positive):
    data = Clusters(12, k, 3)
    assert data.cluster_signs == (1,) * positive + (-1,) * (k - positive) == balanced_signs(k, positive)
    assert data.cluster_classes == tuple(range(k))
    assert data.num_classes == k


@pytest.mark.exhaustive
def test_exact_counts():
    counts = np.bincount(np.asarray(Clusters(12, 5, 41, 30, exact_counts=True).sample(KEY).train.feature))
    assert sorted(counts.tolist()) == [8, 8, 8, 8, 9]


@pytest.mark.exhaustive
@pytest.mark.parametrize("probabilities", [None, np.array([0.5, 0.2, 0.2, 0.1])])
def test_cluster_frequencies(probabilities):
    n = 20_000
    feature = np.asarray(Clusters(4, 4, n, 1, probabilities=probabilities).sample(KEY).train.feature)
    p = np.full(4, 0.25) if probabilities is None else probabilities
    share = np.bincount(feature, minlength=4) / n
    assert (np.abs(share - p) < 5 * np.sqrt(p * (1 - p) / n)).all()


@pytest.mark.exhaustive
def test_noise_statistics():
    draw = Clusters(20, 3, 2000, 2000, noise=0.7).sample(KEY)
    for sample in (draw.train, draw.test):
        xi = (np.asarray(sample.x) - np.asarray(draw.features)[np.asarray(sample.feature)]) / 0.7
        count = xi.size
        assert abs(xi.mean()) < 5 / np.sqrt(count)
        assert abs(xi.var() - 1) < 5 * np.sqrt(2 / count)
        assert abs((xi**4).mean() - 3) < 5 * np.sqrt(96 / count)  # variance of the fourth power: 105 - 9
        # coordinates are uncorrelated
        off = (xi.T @ xi / len(xi))[np.triu_indices(20, 1)]
        assert np.abs(off).max() < 5 / np.sqrt(len(xi))
    # training and test noise have nothing to do with each other
    train, test = (
        np.asarray(s.x) - np.asarray(draw.features)[np.asarray(s.feature)] for s in (draw.train, draw.test)
    )
    assert abs(np.mean(train * test)) / 0.49 < 5 / np.sqrt(train.size)


def same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.exhaustive
def test_randomness_has_keys_of_its_own():
    base = Clusters(12, 5, 40, 30).sample(KEY)
    more_test = Clusters(12, 5, 40, 41).sample(KEY)
    same(base.train, more_test.train)
    same(base.features, more_test.features)
    more_train = Clusters(12, 5, 41, 30).sample(KEY)
    same(base.test, more_train.test)
    quieter = Clusters(12, 5, 40, 30, noise=0.5).sample(KEY)
    same(base.train.feature, quieter.train.feature)
    xi, half = (
        np.asarray(d.train.x) - np.asarray(d.features)[np.asarray(d.train.feature)] for d in (base, quieter)
    )
    np.testing.assert_allclose(half, 0.5 * xi, atol=1e-14)
    assert not np.array_equal(base.train.x, Clusters(12, 5, 40, 30).sample(jax.random.key(1)).train.x)


def test_numbers_are_traced():
    @jax.jit
    def inputs(data):
        return data.sample(KEY).train.x

    for noise, correlation in ((0.5, 0.0), (1.0, 0.3)):
        inputs(Clusters(6, 3, 10, 5, noise=noise, correlation=correlation))
    assert inputs._cache_size() == 1


@pytest.mark.exhaustive
def test_float32():
    with jax.enable_x64(False):
        draw = Clusters(12, 5, 40, 30).sample(jax.random.key(0))
        assert draw.train.x.dtype == draw.train.y.dtype == jnp.float32
        np.testing.assert_allclose(gram(draw.features) / 12, np.eye(5), atol=1e-5)


SIGNS = st.lists(st.sampled_from([1, -1]), min_size=1, max_size=12).map(tuple)


@given(signs=SIGNS)
def test_granular_classes(signs):
    labels = len(set(signs))
    for num_classes in range(labels, len(signs) + 1):
        classes = granular_classes(signs, num_classes)
        assert len(classes) == len(signs)
        assert set(classes) == set(range(num_classes))
        sizes = {1: [], -1: []}
        for c in range(num_classes):
            of_class = {s for s, own in zip(signs, classes, strict=True) if own == c}
            assert len(of_class) == 1
            sizes[of_class.pop()].append(classes.count(c))
        for counts in sizes.values():
            assert not counts or max(counts) - min(counts) <= 1
        # a part accepts them, and the binary labels share the classes in proportion
        assert Clusters(12, len(signs), 1, signs=signs, classes=classes).num_classes == num_classes
        if labels == 2 and num_classes * signs.count(1) % len(signs) == 0:
            assert len(sizes[1]) == num_classes * signs.count(1) // len(signs)


def test_granular_extremes():
    assert granular_classes((1, 1, -1, -1), 2) == (0, 0, 1, 1)
    assert granular_classes((1, 1, -1, -1), 4) == (0, 1, 2, 3)
    assert granular_classes((1,) * 5 + (-1,) * 5, 4) == (0, 0, 0, 1, 1, 2, 2, 2, 3, 3)


BAD = {
    "more clusters than dimensions": ({"num_clusters": 9}, "1 <= num_clusters <= dim, got 9 and dim=8"),
    "no cluster": ({"num_clusters": 0}, "1 <= num_clusters <= dim"),
    "no samples": ({"num_samples": 0}, "num_samples and num_test must be at least 1"),
    "no test samples": ({"num_test": 0}, "num_samples and num_test must be at least 1"),
    "short signs": ({"signs": (1, -1)}, "signs needs one entry for each of the 4 clusters, got 2"),
    "short classes": ({"classes": (0,)}, "classes needs one entry"),
    "signs of two": ({"signs": (1, 2, -1, -1)}, "signs must be -1 or \\+1"),
    "mixed class": ({"classes": (0, 1, 1, 2)}, "class 1 holds clusters of both binary labels"),
    "gap": ({"classes": (0, 0, 2, 2)}, "classes must be numbered 0, 1, ... without a gap"),
    "correlation one": ({"correlation": 1.0}, "correlation of 4 centres must lie in"),
    "correlation low": ({"correlation": -1 / 3}, "correlation of 4 centres must lie in"),
    "correlation NaN": ({"correlation": float("nan")}, "correlation of 4 centres must lie in"),
    "noise": ({"noise": -0.1}, "noise must be at least 0"),
    "noise NaN": ({"noise": float("nan")}, "noise must be at least 0"),
    "probabilities": ({"probabilities": np.ones(3) / 3}, "probabilities must be 4 numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_values(untyped, case):
    fields, message = BAD[case]
    with pytest.raises(ValueError, match=message) as caught:
        Clusters(**{"dim": 8, "num_clusters": 4, "num_samples": 10} | fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("num_classes", [1, 5])
def test_bad_granularity(num_classes):
    with pytest.raises(
        ValueError, match=f"num_labels must lie between 2 and the 4 clusters, got {num_classes}"
    ):
        granular_classes((1, 1, -1, -1), num_classes)
