"""Kernel regression and function-space dynamics against tables, loops, an ODE solver and other libraries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from kernels import regression
from kernels.closed_form import two_layer
from kernels.empirical import Dense, dense, evaluate
from kernels.regression import Spectrum, coefficients, spectrum

X = jnp.array([[1.0, 0.0], [0.0, 1.0], [-0.6, 0.8]])
Y = jnp.array([1.0, -1.0, 1.0])
AT = jnp.array([[0.5, 0.5]])


def gram(count, seed=0):
    root = np.random.default_rng(seed).normal(size=(count, count + 2))
    return jnp.asarray(root @ root.T / count)


def test_worked_numbers():
    K = two_layer(X).ntk
    np.testing.assert_allclose(K[jnp.triu_indices(3, 1)], [0.159155, -0.049776, 0.731627], atol=1e-6)
    modes = spectrum(K)
    np.testing.assert_allclose(modes.values, [1.739877, 1.020602, 0.239521], atol=1e-6)
    table = {
        0.5: (0.047645, [0.314600, -0.070373, 0.099943]),
        2: (-0.008382, [0.722884, -0.321707, 0.345247]),
        10: (-0.377975, [0.972377, -0.899070, 0.901096]),
        None: (-0.448625, [1, -1, 1]),
    }
    for time, (at, train) in table.items():
        learned = regression.interpolation() if time is None else regression.flow(time)
        alpha = coefficients(modes, Y, learned)
        np.testing.assert_allclose(two_layer(AT, X).ntk @ alpha, [at], atol=1e-5)
        np.testing.assert_allclose(K @ alpha, train, atol=1e-5)


def test_flow_against_an_ode_solver():
    K, y = gram(20), jnp.asarray(np.random.default_rng(1).normal(size=20))
    path = integrate.solve_ivp(
        lambda _, f: np.asarray(K) @ (np.asarray(y) - f),
        (0, 3),
        np.zeros(20),
        "DOP853",
        rtol=1e-10,
        atol=1e-12,
    )
    found = K @ coefficients(spectrum(K), y, regression.flow(3.0))
    np.testing.assert_allclose(found, path.y[:, -1], atol=1e-6)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 37])
@pytest.mark.parametrize("share", [0.5, 1.7])
def test_descent_against_a_loop(momentum, steps, share):
    """Beyond 1 / lambda_max residuals of the largest modes change their sign at every step."""
    K, y = np.asarray(gram(8)), np.random.default_rng(1).normal(size=(8, 2))
    rate = share / np.linalg.eigvalsh(K)[-1]
    alpha, velocity = np.zeros_like(y), np.zeros_like(y)
    for _ in range(steps):
        velocity = momentum * velocity - rate * (K @ alpha - y)
        alpha = alpha + velocity
    modes = spectrum(jnp.asarray(K))
    learned = regression.momentum(steps, rate, momentum)
    np.testing.assert_allclose(coefficients(modes, jnp.asarray(y), learned), alpha, rtol=1e-9)
    if momentum == 0:
        plain = coefficients(modes, jnp.asarray(y), regression.descent(steps, rate))
        np.testing.assert_allclose(plain, alpha, rtol=1e-9)
    options = {"learning_rate": rate, "steps": steps, "momentum": momentum}
    by_steps = regression.descend(jnp.asarray(K), lambda f: f - y, jnp.zeros_like(y), **options)
    np.testing.assert_allclose(by_steps, alpha, rtol=1e-9)


@pytest.mark.exhaustive
def test_descent_on_cross_entropy_lowers_it_to_a_stationary_point():
    K, labels = gram(6) + jnp.eye(6), np.array([0, 1, 2, 0, 1, 2])
    onehot = jnp.eye(3)[labels]

    def gradient(f):
        return jax.nn.softmax(f, axis=1) - onehot + 0.1 * f  # with a penalty, it has a minimum

    alpha = regression.descend(K, gradient, jnp.zeros((6, 3)), learning_rate=0.05, steps=5000)
    np.testing.assert_allclose(gradient(K @ alpha), 0, atol=1e-8)


def test_ridge_and_truncation():
    K, y = gram(9), jnp.asarray(np.random.default_rng(1).normal(size=9))
    modes = spectrum(K)
    found = coefficients(modes, y, regression.ridge(0.3))
    np.testing.assert_allclose(found, np.linalg.solve(np.asarray(K) + 0.3 * np.eye(9), y), rtol=1e-9)
    values, vectors = np.linalg.eigh(K)
    top = vectors[:, -2:] @ np.diag(1 / values[-2:]) @ vectors[:, -2:].T @ y
    np.testing.assert_allclose(coefficients(modes, y, regression.keep(2)), top, rtol=1e-9)
    last = coefficients(modes, y, regression.keep([8]))
    np.testing.assert_allclose(last, vectors[:, 0] * (vectors[:, 0] @ y) / values[0], rtol=1e-8)


@pytest.mark.exhaustive
def test_a_singular_kernel_gives_least_squares():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(12, 4)))
    y = jnp.asarray(np.random.default_rng(1).normal(size=12))
    modes = spectrum(x @ x.T)
    at = jnp.asarray(np.random.default_rng(2).normal(size=(5, 4)))
    w = np.linalg.pinv(x) @ y
    np.testing.assert_allclose(at @ x.T @ coefficients(modes, y), at @ w, rtol=1e-9)
    assert float(regression.weight_distance(modes, y)) == pytest.approx(np.linalg.norm(w), rel=1e-9)


@pytest.mark.exhaustive
def test_a_singular_kernel_without_noise_is_the_pseudo_inverse():
    modes = spectrum(jnp.diag(jnp.array([1.0, 0.0])))
    np.testing.assert_array_equal(regression.ridge(0.0)(modes.values), [1.0, 0.0])
    cross, targets = jnp.array([[0.5, 0.0]]), jnp.array([2.0, 3.0])
    np.testing.assert_array_equal(coefficients(modes, targets, regression.ridge(0.0)), [2.0, 0.0])
    mean, covariance = regression.posterior(jnp.eye(1), cross, modes, targets)
    np.testing.assert_array_equal(mean, [1.0])
    np.testing.assert_array_equal(covariance, [[0.75]])


def test_posterior_against_scikit_learn():
    rng = np.random.default_rng(0)
    x, y, at = rng.normal(size=(10, 2)), rng.normal(size=10), rng.normal(size=(4, 2))
    kernel = RBF(0.8)
    fitted = GaussianProcessRegressor(kernel, alpha=0.05, optimizer=None).fit(x, y)
    mean, covariance = fitted.predict(at, return_cov=True)
    found = regression.posterior(
        jnp.asarray(kernel(at)),
        jnp.asarray(kernel(at, x)),
        spectrum(jnp.asarray(kernel(x))),
        jnp.asarray(y),
        0.05,
    )
    np.testing.assert_allclose(found[0], mean, rtol=1e-8)
    np.testing.assert_allclose(found[1], covariance, atol=1e-8)


@pytest.mark.exhaustive
def test_readout_training_samples_the_posterior():
    at = jnp.asarray(np.random.default_rng(2).normal(size=(4, 2)))
    prior, cross, K = two_layer(at).nngp, two_layer(at, X).nngp, two_layer(X).nngp
    modes = spectrum(K)
    ensemble = regression.ensemble_covariance(prior, cross, K, cross, modes)
    np.testing.assert_allclose(ensemble, regression.posterior(prior, cross, modes, Y)[1], atol=1e-12)
    untrained = regression.ensemble_covariance(prior, cross, K, cross, modes, regression.flow(0.0))
    np.testing.assert_allclose(untrained, prior, atol=1e-12)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_thousand_trained_networks_have_the_ensembles_mean_and_variance():
    rng = np.random.default_rng(0)
    x, at = (
        jnp.asarray(p / np.linalg.norm(p, axis=1)[:, None])
        for p in (rng.normal(size=(6, 4)), rng.normal(size=(10, 4)))
    )
    y, width, count = jnp.sign(x[:, 0] * x[:, 1]), 1024, 1000
    kernels, cross, prior = two_layer(x), two_layer(at, x), two_layer(at).nngp
    modes = spectrum(kernels.ntk)
    rate = 1 / float(modes.values[0])

    def one(key):
        kw, ka = jax.random.split(key)
        signs = jax.random.rademacher(ka, (width, 1), float)
        params = [Dense(jax.random.normal(kw, (4, width))), Dense(signs, None, 1 / 32)]

        def loss(params):
            return 0.5 * jnp.sum((evaluate(params, x)[:, 0] - y) ** 2)

        def step(_, params):
            return jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(loss)(params))

        early = jax.lax.fori_loop(0, 20, step, params)
        return jnp.stack([evaluate(p, at)[:, 0] for p in (params, early)])

    outputs = jax.jit(lambda keys: jax.lax.map(one, keys, batch_size=50))(
        jax.random.split(jax.random.key(0), count)
    )
    for when, steps in enumerate((0, 20)):
        learned = regression.descent(steps, rate)
        mean = cross.ntk @ coefficients(modes, y, learned)
        covariance = regression.ensemble_covariance(
            prior, cross.nngp, kernels.nngp, cross.ntk, modes, learned
        )
        ratio = np.var(outputs[:, when], axis=0) / jnp.diag(covariance)
        assert float(ratio.min()) >= 0.88
        assert float(ratio.max()) <= 1.12
        standard = np.sqrt(np.diag(covariance) / count)
        assert np.max(np.abs(np.mean(outputs[:, when], axis=0) - mean) / standard) < 4


def test_filters_work_inside_jit_and_vmap():
    K, y = gram(5), jnp.arange(5.0)

    @jax.jit
    def at(time):
        return coefficients(spectrum(K), y, regression.flow(time))

    found = jax.vmap(at)(jnp.array([0.5, 2.0]))
    np.testing.assert_allclose(found[1], coefficients(spectrum(K), y, regression.flow(2.0)), rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spectrum(jnp.ones((2, 3))), "must be square"),
        (lambda: spectrum(jnp.array([[1.0, jnp.nan], [jnp.nan, 1.0]])), "must be finite"),
        (lambda: spectrum(jnp.array([[1.0, 0.5], [0.4, 1.0]])), "must be symmetric"),
        (lambda: spectrum(jnp.array([[1.0, 2.0], [2.0, 1.0]])), "must be positive semi-definite"),
        (lambda: coefficients(spectrum(gram(3)), jnp.ones(4)), "targets must have shape"),
        (lambda: coefficients(spectrum(gram(3)), jnp.ones(3), regression.keep(4)), "eigenfeatures 0 to 2"),
        (lambda: coefficients(spectrum(gram(3)), jnp.array([1.0, jnp.inf, 0.0])), "targets must be finite"),
        (lambda: regression.keep(-1), "modes must be an integer of at least 0"),
    ],
)
def test_bad_input(untyped, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_spectrum_is_sorted_and_complete():
    K = gram(7)
    modes = spectrum(K)
    assert isinstance(modes, Spectrum)
    assert np.all(np.diff(modes.values) <= 0)
    np.testing.assert_allclose((modes.vectors * modes.values[None]) @ modes.vectors.T, K, atol=1e-12)
    layer = [Dense(jnp.ones((3, 1)))]
    np.testing.assert_allclose(dense(layer, jnp.eye(3)), jnp.eye(3))
