"""The fixed point of regularised adversarial training: other quadratures, closed forms, minimisation."""

import cvxpy
import numpy as np
import pytest
from scipy import integrate, optimize
from scipy.special import erfc, expit

from dynamics.laws import regularization_geometry as geometry

pytestmark = pytest.mark.usefixtures("untyped")
# alpha, epsilon, lambda, r, p*: m, q, P, clean and robust error, of another program by other quadratures
ROWS = [
    ((1, 0.1, 0.1, 2, 1), (0.7491, 1.1929, 0.8447, 0.2594, 0.2911)),
    ((1, 0.3, 0.1, 2, 1), (0.7170, 1.1165, 0.7637, 0.2626, 0.3553)),
    ((1, 0.3, 0.1, 1, 1), (1.9930, 10.756, 1.7644, 0.2921, 0.3594)),
    ((0.5, 0.3, 0.1, 1, 1), (0.9567, 5.9811, 0.9833, 0.3721, 0.4210)),
    ((2, 0.3, 0.1, 1, 1), (3.6248, 19.597, 2.9250, 0.1946, 0.2820)),
    ((1, 0.3, 0.1, 3, 1), (0.5213, 0.6070, 0.6281, 0.2667, 0.3705)),
    ((2, 0.3, 0.1, 2, 2), (1.1137, 1.8134, 1.8134, 0.1900, 0.3282)),
    ((1, 0.3, 0.1, 1, 2), (2.0127, 9.2412, 9.2412, 0.2697, 0.3999)),
    ((1, 0.3, 0.01, 2, 1), (2.0767, 9.0218, 2.2071, 0.2570, 0.3515)),
]


def numbers(found):
    return np.stack([found.overlaps.m, found.overlaps.q, found.overlaps.P, *found[3:5]], axis=-1)


@pytest.fixture(scope="module")
def table():
    return geometry.powers(*np.array([given for given, _ in ROWS], float).T)


def test_the_numbers_of_another_program(table):
    np.testing.assert_allclose(numbers(table), [wanted for _, wanted in ROWS], rtol=5e-4)
    np.testing.assert_allclose(table.overlaps.V[[1, 2, 5]], [2.5894, 15.701, 1.6739], rtol=5e-4)
    assert table.converged.all()
    assert not table.zero.any()
    assert table.residual.max() <= 1e-8


@pytest.mark.parametrize(
    ("given", "options", "wanted"),
    [
        ((1, 0.3, 0.2, 2, 1), {"noise": 0.5}, (0.4125, 0.4569, 0.4825, 0.3162, 0.4057)),
        ((1, 0.3, 0.1, 1, 1), {"teacher": geometry.sparse(0.1)}, (4.0208, 19.042, 1.3960, 0.1270, 0.1687)),
        ((1, 0.3, 0.1, 2, 1), {"teacher": geometry.sparse(0.1)}, (0.7959, 1.1432, 0.6403, 0.2328, 0.3097)),
        ((1, 0.3, 0.1, 1, 1), {"loss": "hinge"}, (1.2295, 4.106, 1.2083, 0.2925, 0.3673)),
        ((2, 0.2, 0.2, 1, 1), {"loss": "hinge"}, (2.1096, 6.760, 1.7957, 0.1987, 0.2578)),
    ],
    ids=["noise", "sparse", "sparse ridge", "hinge", "hinge 2"],
)
def test_noise_sparse_teachers_and_the_hinge(given, options, wanted):
    np.testing.assert_allclose(numbers(geometry.powers(*given, **options)), wanted, rtol=5e-4)


@pytest.mark.parametrize("loss", ["logistic", "hinge", "squared"])
def test_conjugates_by_the_unreduced_equations(loss, reference):
    found = geometry.powers(1.5, 0.2, 0.3, 2.0, [1.0, 1.5, 2.0], loss=loss, noise=0.3)
    for i, p_star in enumerate((1.0, 1.5, 2.0)):
        overlaps = [each[i] for each in found.overlaps]
        wanted = reference("asymptotics").conjugates(loss, overlaps, 1.5, 0.2, p_star, noise=0.3)
        found_here = np.array([each[i] for each in found.conjugates])
        np.testing.assert_allclose(found_here[[0, 1, 3]], wanted[[0, 1, 3]], rtol=2e-4)
        np.testing.assert_allclose(found_here[2], wanted[2], rtol=3e-3)  # differences across corners


def test_penalties_in_closed_form(table):
    """Soft thresholding of a Gaussian, for exponents 1 and 2 against attacks in linf."""
    for i, (given, _) in enumerate(ROWS):
        lam, r, p_star = given[2:]
        if p_star != 1 or r > 2:
            continue
        m, q, V, P = (each[i] for each in table.conjugates)
        s, h, K = np.hypot(m, np.sqrt(q)), (lam if r == 1 else 0) + P, V + (2 * lam if r == 2 else 0)
        a = h / s
        Q, phi = erfc(a / np.sqrt(2)), np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)
        wanted = m * Q / K, s**2 * ((1 + a**2) * Q - 2 * a * phi) / K**2, Q / K, s * (2 * phi - a * Q) / K
        np.testing.assert_allclose([each[i] for each in table.overlaps], wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("alpha", "epsilon", "lam", "options", "wanted"),
    [
        (1, 0.5, 0.05, {"penalty": (1, 5)}, (0.7428, 1.5611, 2.1157, 0.2973, 0.5532)),
        (1, 0.5, 0.05, {"penalty": (1, 1)}, (0.9414, 2.2417, 3.6042, 0.2836, 0.5664)),
        (1, 0.5, 0.05, {"penalty": (1, 0.2)}, (1.0408, 2.6334, 4.5557, 0.2784, 0.5735)),
        (0.5, 0.3, 0.1, {"penalty": (1, 5), "inputs": (2, 0.5)}, (0.9299, 2.1244, 1.1526, 0.3067, 0.3995)),
    ],
)
def test_quadratic_forms(alpha, epsilon, lam, options, wanted):
    found = geometry.quadratic(alpha, epsilon, lam, attack=(1, 5), **options)
    np.testing.assert_allclose(numbers(found), wanted, rtol=5e-4)


@pytest.mark.exhaustive
def test_a_rotation_of_all_matrices_changes_nothing():
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    spectra = {"inputs": (2, 1, 0.5), "attack": (1, 5, 2), "penalty": (1, 0.5, 3), "teacher": (1, 2, 0.3)}
    matrices = {name: turn @ np.diag(values) @ turn.T for name, values in spectra.items()}
    one, two = (geometry.quadratic(0.7, 0.3, 0.1, **each) for each in (spectra, matrices))
    np.testing.assert_allclose(numbers(two), numbers(one), rtol=1e-6)


# --- minimisation itself


def sample(rng, alpha, dim, teacher=None):
    teacher = rng.normal(size=dim) if teacher is None else teacher
    teacher = teacher * np.sqrt(dim) / np.linalg.norm(teacher)  # rho is 1
    x = rng.normal(size=(round(alpha * dim), dim))
    return teacher, x, np.where(x @ teacher > 0, 1, -1)[:, None] * x / np.sqrt(dim)


def measured(w, teacher, p_star=1):
    return np.array([w @ teacher, w @ w, (np.abs(w) ** p_star).sum()]) / len(w)


@pytest.mark.parametrize("r", [1, pytest.param(2, marks=pytest.mark.exhaustive)])
def test_logistic_regression_in_five_hundred_dimensions(r):
    epsilon, lam, dim, found = 0.3, 0.1, 500, []
    for seed in range(4):
        teacher, _, z = sample(np.random.default_rng(seed), 1, dim)

        def objective(parts, z=z):
            u, v = np.split(parts, 2)
            w, size = u - v, (u + v).sum() / dim
            margins = z @ w - epsilon * size
            pull = -expit(-margins)
            powers = (u + v).sum() if r == 1 else w @ w
            slope = z.T @ pull + (lam * 2 * w if r == 2 else 0)
            both = -epsilon / dim * pull.sum() + (lam if r == 1 else 0)
            return np.logaddexp(0, -margins).sum() + lam * powers, np.concatenate(
                [slope + both, both - slope]
            )

        end = optimize.minimize(
            objective,
            np.full(2 * dim, 0.1),
            jac=True,
            bounds=[(0, None)] * 2 * dim,
            method="L-BFGS-B",
            options={"maxiter": 3000, "maxfun": 5000, "ftol": 1e-13, "gtol": 1e-8},
        )
        found.append(measured(np.subtract(*np.split(end.x, 2)), teacher))
    law = geometry.powers(1, epsilon, lam, r).overlaps
    np.testing.assert_allclose(np.mean(found, axis=0), [law.m, law.q, law.P], rtol=0.05)


def test_squared_loss_against_its_minimum():
    """Of the worst case (|1 - z| + epsilon A)^2, by cvxpy."""
    epsilon, lam, dim, found = 0.4, 0.3, 100, []
    for seed in range(8):
        teacher, _, z = sample(np.random.default_rng(seed), 2, dim)
        w = cvxpy.Variable(dim)
        worst = cvxpy.abs(1 - z @ w) + epsilon / dim * cvxpy.norm1(w)
        problem = cvxpy.Problem(cvxpy.Minimize(cvxpy.sum_squares(worst) + lam * cvxpy.sum_squares(w)))
        loss = problem.solve(solver="CLARABEL") - lam * (w.value @ w.value)
        found.append([*measured(w.value, teacher), loss / len(z)])
    law = geometry.powers(2, epsilon, lam, 2, loss="squared")
    wanted = [*(getattr(law.overlaps, name) for name in "mqP"), law.training_loss]
    np.testing.assert_allclose(np.mean(found, axis=0), wanted, rtol=0.04)


# --- errors and limits


def test_robust_error_by_quadrature():
    for m, q, shift, rho, noise in (
        (0.7, 1.2, 0.3, 1, 0),
        (2.0, 4.1, 1.0, 1, 0.4),
        (0.99, 0.99, 0.2, 1, 0.05),
    ):
        slope = m / np.sqrt((rho + noise**2) * q - m**2)
        wanted, _ = integrate.quad(
            lambda s: np.exp(-(s**2) / 2) / np.sqrt(2 * np.pi) * erfc(-slope * s / np.sqrt(2)),  # noqa: B023
            -9,
            shift / np.sqrt(q),
            points=[0],
            epsabs=1e-12,
            limit=200,
        )
        np.testing.assert_allclose(geometry.robust_error(m, q, shift, rho, noise), wanted, rtol=1e-6)


def test_without_attack_and_with_stronger_ones():
    found = geometry.powers(1, [0.0, 0.1, 0.3, 0.6], 0.1, 2, [[1.0], [2.0]])
    np.testing.assert_allclose(found.conjugates.P[:, 0], 0)
    np.testing.assert_allclose(found.boundary_error[:, 0], 0, atol=1e-12)
    assert (np.diff(found.robust_error) > 0).all()
    np.testing.assert_allclose(found.overlaps.P[1], found.overlaps.q[1], rtol=1e-6)  # p* and r are 2
    tested = geometry.powers(1, 0.0, 0.1, test_epsilon=[0.0, 0.3]).robust_error
    assert tested[1] > tested[0] + 0.05


def test_what_is_no_solution_says_so():
    found = geometry.powers(1, 0.3, [0.1, 50.0], 1)
    assert found.zero.tolist() == [False, True]
    assert found.converged.tolist() == [True, False]
    assert np.isnan(found.robust_error).tolist() == [False, True]
    short = geometry.powers(1, 0.3, 0.1, 1, max_iterations=3)
    assert not short.converged
    assert short.iterations == 3
    assert short.residual > 1e-3


@pytest.mark.exhaustive
def test_the_best_penalty_is_in_the_dual_norm_of_strong_attacks():
    ridge, sparse = (geometry.optimal_lambda(geometry.powers, 1, [0.01, 0.6], r=r).at for r in (2.0, 1.0))
    np.testing.assert_allclose(ridge.robust_error, [0.2576, 0.4405], atol=1e-3)
    np.testing.assert_allclose(sparse.robust_error, [0.2913, 0.4264], atol=1e-3)


@pytest.mark.exhaustive
def test_the_best_exponent_falls_from_two_to_one():
    best = geometry.optimal_power([[1.0], [0.1]], [0.01, 0.2, 0.4, 0.6], zooms=1)
    assert (np.diff(best.r) <= 0).all()
    assert (best.r[:, 0] > 1.8).all()
    assert (best.r[:, -1] == 1).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: geometry.powers(0, 0.1, 0.1), "alpha must be above 0 and finite, got 0"),
        (lambda: geometry.powers(1, -0.1, 0.1), "epsilon must be at least 0 and finite, got -0.1"),
        (lambda: geometry.powers(1, 0.1, [0.1, np.nan]), "lam must be above 0 and finite, got nan"),
        (lambda: geometry.powers(1, 0.1, 0.1, 0.5), "r must be at least 1"),
        (lambda: geometry.powers(1, 0.1, 0.1, teacher=((0.5, 1),)), "weights that sum to 1"),
        (lambda: geometry.powers(1, 0.1, 0.1, loss="ramp"), "loss must be one of logistic, hinge, squared"),
        (lambda: geometry.powers(1, 0.1, 0.1, damping=1), "damping must be at least 0 and below 1"),
        (lambda: geometry.sparse(0), "kappa must be above 0"),
        (lambda: geometry.quadratic(1, 0.1, 0.1, attack=(1, 2), penalty=(1, 2, 3)), "of one size are needed"),
        (lambda: geometry.quadratic(1, 0.1, 0.1, penalty=(1, -1)), "penalty must have positive eigenvalues"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
