import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

from kernels import closed_form, spectra


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def both(x, z):
    return closed_form.two_layer(x, z).ntk


def with_biases(x, z):
    return closed_form.two_layer(x, z, trained_bias=1.0).ntk


def test_circle_has_the_eigenvalues_of_the_closed_forms():
    # aliasing of 4096 points: about lambda_4000 = 1e-8
    wanted = [closed_form.circle_spectrum(k) for k in range(9)]
    np.testing.assert_allclose(spectra.circle(both, range(9)), wanted, atol=3e-8)
    wanted = [closed_form.circle_spectrum(k) + closed_form.circle_spectrum(k, "slopes") for k in range(9)]
    np.testing.assert_allclose(spectra.circle(with_biases, range(9)), wanted, atol=1e-7)


def test_circle_of_erf_decays_geometrically_and_has_odd_frequencies_alone():
    found = spectra.circle(lambda x, z: closed_form.two_layer(x, z, "erf").ntk, range(10))
    printed, half_a_digit = [0.489, 0.0251, 0.00254, 2.98e-4, 3.7e-5], [5e-4, 5e-5, 5e-6, 5e-7, 5e-7]
    assert np.all(np.abs(found[1::2] - printed) < half_a_digit)
    np.testing.assert_allclose(found[::2], 0, atol=1e-15)


def test_sphere_has_rational_eigenvalues_in_three_dimensions():
    wanted = [1 / 4, 1 / 6, 5 / 128, 0, 1 / 384, 0, None, 0]
    found = spectra.sphere(both, range(8), 3)
    for k, value in enumerate(wanted):
        if value is not None:
            assert found[k] == pytest.approx(value, abs=1e-12), k


@pytest.mark.parametrize("dim", [2, 4, 7])
def test_sphere_agrees_with_another_quadrature_and_sums_to_the_diagonal(dim):
    theta = np.linspace(0, np.pi, 20_001)
    z = np.zeros((len(theta), dim))
    z[:, 0], z[:, 1] = np.cos(theta), np.sin(theta)
    values = np.asarray(with_biases(jnp.eye(1, dim), jnp.asarray(z)))[0] * np.sin(theta) ** (dim - 2)
    area = integrate.simpson(np.sin(theta) ** (dim - 2), x=theta)
    for k in (0, 3):
        wanted = integrate.simpson(values * spectra.harmonic(k, dim, np.cos(theta)), x=theta) / area
        assert spectra.sphere(with_biases, k, dim)[0] == pytest.approx(wanted, abs=1e-9)
    found = spectra.sphere(with_biases, range(80), dim)
    total = np.cumsum([value * spectra.multiplicity(k, dim) for k, value in enumerate(found)])
    # Theta(x, x) = (1 + 1) / 2 + 1 / 2; the tail of degrees beyond K is of order 1 / K
    assert 1.5 - total[79] == pytest.approx((1.5 - total[39]) / 2, rel=0.15)


def test_nodes_are_computed_once(monkeypatch):
    first = spectra.sphere(lambda x, z: jnp.exp(x @ z.T), 2, 3, nodes=321)
    monkeypatch.setattr(special, "roots_legendre", None)
    np.testing.assert_array_equal(spectra.sphere(lambda x, z: jnp.exp(x @ z.T), 2, 3, nodes=321), first)


@pytest.mark.exhaustive
def test_sphere_resolves_high_degrees_and_says_where_it_does_not():
    # k = 1600 with 1700, 2048 and 4096 nodes: 3.88199e-11, 3.88199e-11, 3.88199e-11
    with jax.enable_x64(False):  # eigenvalues below single precision's round-off
        found = spectra.sphere(both, [2, 500, 1600], 3)
    np.testing.assert_allclose(found, [5 / 128, 1.2694687e-9, 3.88199e-11], rtol=1e-5)
    k = 1800
    wanted = closed_form.circle_spectrum(k)
    assert spectra.sphere(both, k, 2)[0] == pytest.approx(wanted, rel=1e-5)
    assert spectra.circle(both, k)[0] == pytest.approx(wanted, rel=5e-3)  # up to aliasing


def test_sphere_in_high_dimensions_has_the_coefficients_of_its_series():
    """Of (1 + t)^2: with P_2 = (d t^2 - 1) / (d - 1), the harmonics have 1 + 1/d, 2 and 1 - 1/d."""
    dim = 1_000
    shares = np.array([1 + 1 / dim, 2, 1 - 1 / dim])

    def kernel(x, z):
        return (1 + x @ z.T) ** 2

    multiples = np.array([spectra.multiplicity(k, dim) for k in range(3)], float)
    np.testing.assert_allclose(spectra.sphere(kernel, range(3), dim) * multiples, shares, rtol=1e-9)
    assert np.isfinite(spectra.harmonic(dim, dim, np.array([1.0, 0.1]))).all()


def test_hypercube_in_high_dimensions_has_the_coefficients_of_its_series():
    dim = 1_100  # whose 2^d is no double
    found = spectra.hypercube(lambda x, z: (1 + x @ z.T / dim) ** 2, [0, 1, 2, 3, dim], dim)
    np.testing.assert_allclose(found, [1 + 1 / dim, 2 / dim, 2 / dim**2, 0, 0], rtol=1e-9, atol=1e-15)


def test_multiplicities_count_the_harmonics():
    assert [spectra.multiplicity(k, 3) for k in range(5)] == [1, 3, 5, 7, 9]
    assert [spectra.multiplicity(k, 2) for k in range(5)] == [1, 2, 2, 2, 2]
    # homogeneous polynomials of degree 3 in 5 variables: harmonics of degrees 3 and 1
    assert spectra.multiplicity(3, 5) + spectra.multiplicity(1, 5) == math.comb(7, 3)


@pytest.mark.exhaustive
def test_hypercube_agrees_with_the_gram_matrix_of_all_its_points():
    dim = 5
    x = jnp.asarray(list(itertools.product([-1.0, 1.0], repeat=dim)))

    def kernel(x, z):
        return closed_form.deep(x, z, 1, bias_std=0.5).ntk

    found = spectra.hypercube(kernel, range(dim + 1), dim)
    gram = np.asarray(kernel(x, x)) / len(x)
    for p in range(dim + 1):
        parity = np.prod(np.asarray(x)[:, :p], axis=1)
        np.testing.assert_allclose(gram @ parity, found[p] * parity, atol=1e-13)


def test_a_bias_free_net_has_no_parity_of_three_coordinates():
    found = spectra.hypercube(lambda x, z: closed_form.deep(x, z, 1, bias_std=0.0).ntk, [1, 2, 3, 4, 5], 16)
    assert np.all(np.abs(found[[2, 4]]) < 1e-15)
    assert np.all(found[[0, 1]] > 1e-5)


@pytest.mark.exhaustive
def test_grid_interpolant_is_kernel_regression_on_the_grid():
    count, k = 12, 4
    grid = 2 * np.pi * np.arange(count) / count
    angles = np.linspace(0, 2 * np.pi, 50)

    def points(phi):
        return jnp.asarray(np.stack([np.cos(phi), np.sin(phi)], 1))

    def kernel(x, z):
        return closed_form.two_layer(x, z, trained="first", trained_bias=1.0).ntk

    def eigenvalue(k):
        return closed_form.circle_spectrum(k, "first") + closed_form.circle_spectrum(k, "slopes")

    alpha = np.linalg.solve(np.asarray(kernel(points(grid), points(grid))), np.cos(k * grid))
    wanted = np.asarray(kernel(points(angles), points(grid))) @ alpha
    found = spectra.grid_interpolant(k, count, angles, eigenvalue)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert np.abs(wanted - np.cos(k * angles)).max() > 0.05


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: spectra.circle(both, -1), "degrees must be an integer of at least 0, got -1"),
        (lambda: spectra.circle(both, 40, 64), "frequencies must be at most points / 2 = 32, got 40"),
        (lambda: spectra.sphere(both, 1, 1), "dim must be an integer of at least 2, got 1"),
        (
            lambda: spectra.sphere(both, 65, 3, 64),
            "degrees must be at most 64, what 64 nodes resolve, got 65",
        ),
        (lambda: spectra.sphere(both, 9000, 3), "degrees must be at most 8192"),
        (lambda: spectra.sphere(both, 1, 500, 64), "dim must be at most 40, what 64 nodes resolve, got 500"),
        (lambda: spectra.circle(both, 10_000), "frequencies must be at most 8192"),
        (lambda: spectra.hypercube(both, 5, 4), "degrees must be at most dim=4, got 5"),
        (lambda: spectra.grid_interpolant(1, 0, np.zeros(1), lambda k: 1.0), "count must be an integer"),
    ],
)
def test_bad_input(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


# of the ReLU's NNGP on the sphere: (dim, degree) and the eigenvalue, by 60 digits
TINY = {
    (3, 1600): 4.546e-17,
    (20, 60): 2.695e-24,
    (30, 60): 1.220e-29,
    (50, 30): 3.930e-27,
    (50, 40): 2.963e-31,
    (100, 20): 2.902e-27,
    (100, 40): 8.818e-41,
}


@pytest.mark.exhaustive
def test_what_rounding_would_drown_is_zero():
    def nngp(x, z=None):
        return closed_form.two_layer(x, z, activation="relu").nngp

    for (dim, degree), right in TINY.items():
        (found,) = spectra.sphere(nngp, degree, dim)
        assert found == 0 or abs(found / right - 1) < 0.05
    for dim in (3, 50):
        found = spectra.sphere(nngp, range(61), dim)
        assert (found >= 0).all()
        assert (found[3::2] == 0).all()  # by parity
        trace = sum(spectra.multiplicity(k, dim) * value for k, value in enumerate(found))
        assert 0.4997 < trace < 0.5 + 1e-12  # the kernel at one point
    assert (spectra.circle(nngp, range(3, 41, 2)) == 0).all()
    assert (spectra.hypercube(nngp, range(31), 30)[3::2] == 0).all()
