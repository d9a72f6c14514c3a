"""Laws of feature averaging against integrated flows, sampled maxima and hand-made networks."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dynamics.adversary.certificates import max_logit_radius, two_layer_radius
from dynamics.laws.feature_averaging import (
    Clusters,
    largest_normal,
    mixed_radius,
    robust_accuracy,
    sum_logit_radius,
)

PAPER = Clusters(3072, 10, 1000, float(np.sqrt(3072)), 1.0)
NOISY = Clusters(256, 6, 120, 8.0, 0.7)
STEPS = np.array([0.0, 1.0, 5.0, 20.0, 100.0, 400.0])


def flow(slope, times):
    """Solution of dz/dt = slope(z), z(0) = 0."""
    solved = solve_ivp(lambda t, z: slope(z), (0, times[-1]), [0.0], t_eval=times, rtol=1e-11, atol=1e-13)
    return solved.y[0]


def memorisation(sizes):
    """1 + k sigma^2 d / (n R^2), written out."""
    return 1 + sizes.num_clusters * sizes.noise**2 * sizes.dim / sizes.num_samples / sizes.centre_norm**2


@pytest.mark.parametrize("sizes", [PAPER, NOISY])
@pytest.mark.parametrize("width", [1, 5])
def test_averaged_growth_integrates_the_flow(sizes, width):
    rate, c = 0.5 / sizes.centre_norm**2, memorisation(sizes)
    push = rate * sizes.centre_norm**2 / (sizes.num_clusters * width)
    expected = flow(lambda z: push / (1 + np.exp(c * z)), STEPS)
    np.testing.assert_allclose(sizes.averaged_growth(STEPS, rate, width), expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("sizes", [PAPER, NOISY])
@pytest.mark.parametrize("labels", [None, 2, 4])
def test_decoupled_growth_integrates_the_flow(sizes, labels):
    rate, c, width = 0.5 / sizes.centre_norm**2, memorisation(sizes), 2
    others = (labels or sizes.num_clusters) - 1
    push = rate * sizes.centre_norm**2 / (sizes.num_clusters * width)
    expected = flow(lambda z: push * others / (np.exp(c * z) + others), STEPS)
    found = sizes.decoupled_growth(STEPS, rate, width, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_growth_limits():
    """Early: half the push for two equally likely labels, (G-1)/G of it for G; late: logarithmic."""
    push = 1e-3 * 3072 / 10
    assert PAPER.averaged_growth(np.array([1e-4]), 1e-3, 1)[0] == pytest.approx(push * 1e-4 / 2, rel=1e-4)
    assert PAPER.decoupled_growth(np.array([1e-4]), 1e-3, 1)[0] == pytest.approx(push * 1e-4 * 0.9, rel=1e-4)
    first, second = PAPER.averaged_growth(np.array([1e12, 1e13]), 1e-3, 1)
    assert second - first == pytest.approx(np.log(10) / memorisation(PAPER), rel=1e-6)
    assert PAPER.averaged_growth(np.array([100.0]), 1e-3, 5)[0] == pytest.approx(1.688, abs=5e-4)
    assert PAPER.decoupled_growth(np.array([100.0]), 1e-3, 1)[0] == pytest.approx(5.39, abs=5e-3)


def test_growth_solves_its_equation():
    c, z = 1.01, PAPER.averaged_growth(STEPS, 1e-3, 5)
    np.testing.assert_allclose((np.exp(c * z) - 1) / c + z, 1e-3 * 3072 * STEPS / 50, rtol=1e-9, atol=1e-11)


def test_alignment_and_radius():
    assert PAPER.memorisation == pytest.approx(1.01)
    assert memorisation(NOISY) == pytest.approx(NOISY.memorisation)
    assert PAPER.averaged_alignment(5) == pytest.approx(1 / np.sqrt(5 * 1.01))
    assert PAPER.averaged_radius() == pytest.approx(np.sqrt(3072 / 10) / np.sqrt(1.01))
    expected = np.sqrt(3072 / 2) / np.sqrt(1.01) - 1.1629644736 / np.sqrt(2)
    assert PAPER.decoupled_radius(10) == pytest.approx(expected, rel=1e-8)
    assert PAPER.decoupled_radius(2) == pytest.approx(PAPER.averaged_radius())


@pytest.mark.parametrize(
    ("positive", "half"), [(5, 1.1629644736), (3, 0.3 * 1.3521783756 + 0.7 * 0.8462843753)]
)
def test_the_nearest_opposite_label_of_signs_of_unequal_size(positive, half):
    """Of 3 positive labels among 10 three points in ten have 7 opposite labels, and seven have 3."""
    expected = np.sqrt(3072 / 2) / np.sqrt(1.01) - half / np.sqrt(2)
    assert PAPER.decoupled_radius(10, positive) == pytest.approx(expected, rel=1e-8)
    assert PAPER.decoupled_radius(10, 10 - positive) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("dim", "clusters", "num_own", "noise"), [(256, 4, 2, 1.0), (512, 5, 3, 1.0), (256, 7, 2, 0.6)]
)
def test_cosines_with_other_centres(dim, clusters, num_own, noise, reference):
    """Below 0 by the law, up to six standard errors of a centre of noisy samples."""
    sizes = Clusters(dim, clusters, 100 * clusters, float(np.sqrt(dim)), noise)
    signs = np.where(np.arange(clusters) < num_own, 1, -1)
    cosines_of = reference("cluster_loop").cosines
    found = np.stack([cosines_of(sizes, signs, 150, 3.0 / dim, seed) for seed in range(3)])
    for neuron, sign in enumerate((1, -1)):
        cosines, own = found[:, neuron, signs != sign], int(np.sum(signs == sign))
        law = sizes.off_alignment(own)
        assert np.abs(cosines - law).max() < 6 * sizes.centre_error
        assert abs(cosines.mean() - law) < 3 * sizes.centre_error
        assert law < -3 * sizes.centre_error


@pytest.mark.parametrize(
    ("count", "mean"),
    [
        (1.0, 0.0),
        (2.0, 1 / np.sqrt(np.pi)),
        (3.0, 1.5 / np.sqrt(np.pi)),
        (5.0, 1.1629644736),
        (10.0, 1.5387527308),
    ],
)
def test_largest_normal(count, mean):
    assert largest_normal(count) == pytest.approx(mean, abs=1e-9)


def test_largest_normal_of_samples():
    samples = np.random.default_rng(0).normal(size=(20000, 8)).max(axis=1)
    assert abs(largest_normal(8.0) - samples.mean()) < 5 * samples.std() / np.sqrt(20000)
    assert largest_normal(0.5) == 0.0
    values = [largest_normal(q) for q in (1.0, 1.5, 2.0, 2.5)]
    assert values == sorted(values)


def centres(k, dim, norm):
    q, _ = np.linalg.qr(np.random.default_rng(k).normal(size=(dim, k)))
    return norm * q.T


@pytest.mark.parametrize(("k", "mixing"), [(4, 0.3), (6, 0.0), (6, 0.8), (6, 1.0)])
def test_mixed_radius(k, mixing):
    norm = 7.0
    mu, signs = centres(k, 20, norm), np.repeat([1.0, -1.0], k // 2)
    own = (signs[:, None] == signs[None]).astype(float)
    W = ((1 - mixing) * mu + mixing * own @ mu) / norm**2
    lower, upper = max_logit_radius(mu @ W.T, W @ W.T, signs, signs, 1)
    np.testing.assert_allclose(lower, mixed_radius(norm, k, mixing), rtol=1e-6)
    np.testing.assert_allclose(upper, mixed_radius(norm, k, mixing), rtol=1e-5)


def test_mixed_radius_ends():
    assert mixed_radius(7.0, 10, 0.0) == pytest.approx(7 / np.sqrt(2))
    assert mixed_radius(7.0, 10, 1.0) == pytest.approx(7 / np.sqrt(10))


@pytest.mark.parametrize(("opposite", "suppression"), [(1, 0.0), (5, 0.0), (5, 0.14)])
def test_sum_logit_radius(opposite, suppression):
    """One own neuron along mu_1 and orthogonal opposite ones with pre-activation -beta at mu_1.

    Above beta = 1/(q + 2) it is shorter to raise some of the opposite neurons only.
    """
    norm = 5.0
    mu = centres(opposite + 2, 12, norm)
    W = mu[: opposite + 1] / norm**2
    b = np.concatenate([[0.0], np.full(opposite, -suppression)])
    a = np.concatenate([[1.0], -np.ones(opposite)])
    lower, upper = two_layer_radius(W, b, a, mu[:1], np.ones(1), 1)
    np.testing.assert_allclose(lower, sum_logit_radius(norm, opposite, suppression), rtol=1e-6)
    np.testing.assert_allclose(upper, sum_logit_radius(norm, opposite, suppression), rtol=1e-5)


@pytest.mark.parametrize("labels", [2, 4, 8])
def test_sum_logit_radius_of_labels_with_several_clusters(labels):
    """Every label's weight is the mean of its centres: the certificate at the centres of a net so made."""
    k, norm, dim = 8, 5.0, 12
    mu = centres(k, dim, norm)
    label = np.arange(k) * labels // k
    W = np.stack([mu[label == g].sum(axis=0) for g in range(labels)]) / norm**2
    a = np.where(np.arange(labels) < labels // 2, 1.0, -1.0)
    lower, upper = two_layer_radius(W, np.zeros(labels), a, mu, a[label], labels // 2)
    expected = Clusters(dim, k, 100, norm, noise=0.0).sum_logit_radius(labels)
    np.testing.assert_allclose(lower, expected, rtol=1e-6)
    np.testing.assert_allclose(upper, expected, rtol=1e-5)


def test_robust_accuracy():
    distance = np.random.default_rng(3).normal(4.0, 1.5, 40000)
    radii = np.array([0.0, 2.0, 4.0, 7.0])
    expected = (distance[:, None] > radii).mean(axis=0)
    np.testing.assert_allclose(robust_accuracy(radii, 4.0, 1.5), expected, atol=5 * 0.5 / 200)


def turning(dim, clusters, samples, noise, width, pushes, times):
    """Mean own cosine of neurons that follow the gradient at outputs of 0, sample by sample, in float64."""
    rng = np.random.default_rng(4)
    centres = np.linalg.qr(rng.standard_normal((dim, clusters)))[0].T * np.sqrt(dim)
    which = np.arange(samples) % clusters
    x = centres[which] + noise * rng.standard_normal((samples, dim))
    pull = np.asarray(pushes)[which]
    w = rng.standard_normal((400, dim))
    own, step, found, now = np.asarray(pushes) > 0, 0.05, [], 0.0
    for time in times:
        while now < time - 1e-9:
            w = w + step / (width * samples) * ((w @ x.T > 0) * pull) @ x
            now += step
        found.append((w @ centres[own].T / np.linalg.norm(w, axis=1)[:, None] / np.sqrt(dim)).mean())
    return np.asarray(found)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("pushes", "noise"),
    [((0.5, 0.5, -0.5, -0.5), 1.0), ((0.5, 0.5, -0.5, -0.5), 0.5), ((0.75, -0.25, -0.25, -0.25), 1.0)],
)
def test_early_alignment_against_neurons_that_follow_the_gradient(pushes, noise):
    dim, clusters, samples, width = 128, 4, 240, 3
    sizes = Clusters(dim, clusters, samples, np.sqrt(dim), noise)
    times = np.array([0.0, 5.0, 15.0, 30.0, 50.0])
    law = sizes.early_alignment(times, width, pushes)
    np.testing.assert_allclose(law, turning(dim, clusters, samples, noise, width, pushes, times), atol=0.03)
    assert law[-1] - law[0] > 0.4


def test_early_alignment_ends_where_averaging_does():
    sizes = Clusters(256, 4, 400, 16.0, 1.0)
    (start, end) = sizes.early_alignment(np.array([0.0, 1e5]), 4, (0.5, 0.5, -0.5, -0.5))
    assert abs(start) < 0.01
    np.testing.assert_allclose(end, sizes.averaged_alignment(2), rtol=0.02)
