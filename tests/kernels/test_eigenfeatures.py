"""Eigenfeatures: identities of the decomposition, and the linear kernel, whose attacks are known exactly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import eigenfeatures, regression
from kernels.attacks import Attack
from kernels.closed_form import deep
from kernels.eigenfeatures import features, inner_products, robustness, usefulness
from kernels.regression import coefficients, spectrum


def ntk(x, z=None):
    return deep(x, z).ntk


def linear(x, z):
    return x @ z.T


def problem(seed, count=60, dim=5):
    rng = np.random.default_rng(seed)
    x, at = jnp.asarray(rng.normal(size=(count, dim))), jnp.asarray(rng.normal(size=(17, dim)))
    return x, jnp.sign(jnp.asarray(rng.normal(size=count))), at


@settings(max_examples=4)
@given(st.integers(0, 2**16))
def test_identities(seed):
    x, y, at = problem(seed)
    K, cross = ntk(x), ntk(at, x)
    modes = spectrum(K)
    found = features(cross, modes, y)
    np.testing.assert_allclose(jnp.sum(found, 0), cross @ np.linalg.solve(K, y), rtol=1e-8, atol=1e-9)
    own = features(K, modes, y)
    projected = modes.vectors.T * (modes.vectors.T @ y)[:, None]
    np.testing.assert_allclose(own, projected, atol=1e-8)
    products = inner_products(modes, y)
    expected = jnp.diag((modes.vectors.T @ y) ** 2 / modes.values)
    np.testing.assert_allclose(products, expected, atol=1e-8 * float(jnp.max(expected)))


def test_features_do_not_depend_on_scale_sign_or_order():
    x, y, at = problem(0)
    modes = spectrum(ntk(x))
    found = features(ntk(at, x), modes, y)
    scaled = features(3 * ntk(at, x), spectrum(3 * ntk(x)), y)
    np.testing.assert_allclose(scaled, found, atol=1e-8)
    flipped = modes._replace(vectors=-modes.vectors)
    np.testing.assert_allclose(features(ntk(at, x), flipped, y), found, atol=1e-12)
    order = np.random.default_rng(1).permutation(len(x))
    moved = features(ntk(at, x[order]), spectrum(ntk(x[order])), y[order])
    np.testing.assert_allclose(moved, found, atol=1e-8)


@pytest.mark.exhaustive
def test_in_a_degenerate_eigenspace_only_the_sum_is_defined():
    centres = 3 * jnp.eye(5)
    y = jnp.array([1.0, -1, 1, -1, 1])
    K, cross = ntk(centres), ntk(jnp.ones((2, 5)) + centres[:2], centres)
    modes = spectrum(K)
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    rotated = modes._replace(vectors=modes.vectors.at[:, 1:].set(modes.vectors[:, 1:] @ turn))
    one, other = features(cross, modes, y), features(cross, rotated, y)
    assert float(jnp.max(jnp.abs(one[1:] - other[1:]))) > 0.01
    np.testing.assert_allclose(jnp.sum(one[1:], 0), jnp.sum(other[1:], 0), atol=1e-10)


def test_several_outputs_are_features_of_each():
    x, y, at = problem(2)
    both = jnp.stack([y, jnp.cos(y)], axis=1)
    modes = spectrum(ntk(x))
    found = features(ntk(at, x), modes, both, 7)
    assert found.shape == (7, 17, 2)
    np.testing.assert_allclose(found[..., 1], features(ntk(at, x), modes, both[:, 1], 7), atol=1e-12)


@pytest.mark.parametrize(("norm", "dual"), [("linf", 1), ("l2", 2)])
@pytest.mark.parametrize("steps", [1, 10])
def test_linear_kernels_robustness_is_a_count(norm, dual, steps):
    """f_i is proportional to u_i . x, so right under attack where it is right by more than radius |u_i|_*."""
    x, _, at = problem(3, count=40, dim=30)
    y, labels = jnp.sign(x[:, 0] + 0.3 * x[:, 1]), np.sign(np.asarray(at[:, 0]))
    modes, radius = spectrum(linear(x, x)), 0.08
    found = robustness(linear, x, modes, y, at, jnp.asarray(labels), Attack(radius, norm, steps), 20)
    u = np.asarray(x.T @ modes.vectors[:, :20])
    u = u / np.linalg.norm(u, axis=0)
    values = np.asarray(at) @ u * np.sign(np.asarray(modes.vectors[:, :20].T @ y))
    right = (values * labels[:, None] > 0) & (np.abs(values) > radius * np.linalg.norm(u, dual, axis=0))
    np.testing.assert_array_equal(np.round(17 * found), right.sum(axis=0))
    clean = usefulness(features(linear(at, x), modes, y, 20), jnp.asarray(labels))
    np.testing.assert_array_equal(np.round(17 * clean), (values * labels[:, None] > 0).sum(axis=0))


@pytest.mark.exhaustive
def test_robustness_never_exceeds_usefulness():
    x, y, at = problem(4)
    labels = jnp.sign(at[:, 0])
    modes = spectrum(ntk(x))
    clean = usefulness(features(ntk(at, x), modes, y, [0, 3, 50]), labels)
    attacked = [
        robustness(ntk, x, modes, y, at, labels, Attack(radius), [0, 3, 50]) for radius in (0.0, 0.1, 0.5)
    ]
    np.testing.assert_allclose(attacked[0], clean)
    assert np.all(attacked[1] <= clean)
    assert float(jnp.mean(attacked[2])) < float(jnp.mean(clean))


def test_classes_by_their_largest_feature():
    values = jnp.array([[[0.1, 0.9], [0.8, 0.2]]])
    np.testing.assert_allclose(usefulness(values, jnp.array([1, 1])), [0.5])


def test_gradient_cosine_of_linear_functions():
    w, v = jnp.array([1.0, 0.0]), jnp.array([1.0, 1.0])
    found = eigenfeatures.gradient_cosine(lambda x: x @ w, lambda x: x @ v, jnp.ones((3, 2)))
    assert float(found) == pytest.approx(np.sqrt(0.5))
    assert float(eigenfeatures.gradient_cosine(lambda x: x @ w, lambda x: 0 * x[:, 0], jnp.ones((3, 2)))) == 0


def test_subspace_overlap():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    one = spectrum(jnp.diag(jnp.arange(6.0, 0, -1)))
    other = one._replace(vectors=jnp.asarray(turn))
    assert float(eigenfeatures.subspace_overlap(one, one, 3)) == pytest.approx(1)
    assert float(eigenfeatures.subspace_overlap(one, other, 6)) == pytest.approx(1)
    expected = np.sum((np.asarray(one.vectors)[:, :2].T @ turn[:, :2]) ** 2) / 2
    assert float(eigenfeatures.subspace_overlap(one, other, 2)) == pytest.approx(expected)


@pytest.mark.exhaustive
def test_robust_accuracy_of_the_kernel_predictor():
    x, _, at = problem(5)
    y, labels = jnp.sign(x[:, 0]), jnp.sign(at[:, 0])
    predict = regression.predictor(ntk, x, coefficients(spectrum(ntk(x)), y))
    clean = float(eigenfeatures.robust_accuracy(predict, at, labels))
    fgsm = float(eigenfeatures.robust_accuracy(predict, at, labels, Attack(0.2)))
    pgd = float(eigenfeatures.robust_accuracy(predict, at, labels, Attack(0.2, steps=20)))
    assert pgd <= fgsm < clean


@pytest.mark.parametrize(
    ("which", "message"),
    [(61, "eigenfeatures 0 to 59"), ([60], "eigenfeatures 0 to 59"), (0, "must be an integer of at least 1")],
)
def test_more_eigenfeatures_than_samples(untyped, which, message):
    x, y, at = problem(0)
    with pytest.raises(ValueError, match=message):
        features(ntk(at, x), spectrum(ntk(x)), y, which)


def test_targets_of_another_number(untyped):
    x, y, at = problem(0)
    with pytest.raises(ValueError, match="60 samples have 59 targets"):
        features(ntk(at, x), spectrum(ntk(x)), y[:-1])


@pytest.mark.exhaustive
def test_robustness_runs_under_jit():
    x, y, at = problem(6)
    labels = jnp.sign(at[:, 0])

    @jax.jit
    def run(x, y, at):
        return robustness(ntk, x, spectrum(ntk(x)), y, at, labels, Attack(0.1), 3)

    direct = robustness(ntk, x, spectrum(ntk(x)), y, at, labels, Attack(0.1), 3)
    np.testing.assert_allclose(run(x, y, at), direct)
