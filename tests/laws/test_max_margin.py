"""Largest margins against cvxpy, brute force and hand-made networks."""

import cvxpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamics.laws import max_margin

DUAL = {"l1": np.inf, "l2": 2, "linf": 1}
PRIMAL = {"l1": 1, "l2": 2, "linf": np.inf}


def separable(seed, count, dim):
    rng = np.random.default_rng(seed)
    x, teacher = rng.normal(size=(count, dim)), rng.normal(size=dim)
    return x * np.sign(x @ teacher)[:, None]


@pytest.mark.parametrize("norm", max_margin.NORMS)
@pytest.mark.parametrize(("count", "dim"), [(20, 50), (40, 20), (3, 2)])
def test_linear_against_cvxpy(norm, count, dim):
    rows = separable(count, count, dim)
    w, margin = cvxpy.Variable(dim), cvxpy.Variable()
    program = cvxpy.Problem(cvxpy.Maximize(margin), [rows @ w >= margin, cvxpy.norm(w, PRIMAL[norm]) <= 1])
    program.solve(solver=cvxpy.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    found, best = max_margin.linear(rows, norm)
    np.testing.assert_allclose(found, program.value, rtol=1e-7)
    np.testing.assert_allclose(np.linalg.norm(best, PRIMAL[norm]), 1, rtol=1e-9)
    np.testing.assert_allclose((rows @ best).min(), found, rtol=1e-9)


@pytest.mark.parametrize("norm", max_margin.NORMS)
@given(seed=st.integers(0, 10**6), scale=st.sampled_from([1e-6, 1.0, 1e6]))
def test_linear_duality(norm, seed, scale):
    """Any direction is a lower bound, any mixture of the rows an upper one; scaling scales."""
    rows = separable(seed, 8, 5)
    found, best = max_margin.linear(rows, norm)
    rng = np.random.default_rng(seed)
    directions = np.vstack([rng.normal(size=(50, 5)), best + 1e-3 * rng.normal(size=(50, 5))])
    directions /= np.linalg.norm(directions, PRIMAL[norm], axis=1)[:, None]
    assert (rows @ directions.T).min(axis=0).max() <= found * (1 + 1e-9)
    mixtures = rng.dirichlet(np.full(8, 0.3), size=50) @ rows
    assert np.linalg.norm(mixtures, DUAL[norm], axis=1).min() >= found * (1 - 1e-9)
    np.testing.assert_allclose(max_margin.linear(scale * rows, norm)[0], scale * found, rtol=1e-7)


@pytest.mark.parametrize("norm", max_margin.NORMS)
def test_one_row_has_its_dual_norm(norm):
    x = np.array([3.0, -1.0, 0.5, 2.0])
    np.testing.assert_allclose(max_margin.linear(x[None], norm)[0], np.linalg.norm(x, DUAL[norm]), rtol=1e-9)


@pytest.mark.parametrize("norm", max_margin.NORMS)
def test_what_cannot_be_separated_has_margin_zero(norm):
    rows = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    assert max_margin.linear(rows, norm)[0] == pytest.approx(0, abs=1e-9)


def margin(rows, layers):
    """min_i q_i of a linear network a^T W_h ... W x."""
    predictor = layers[-1][0]
    for W in layers[-2::-1]:
        predictor = predictor @ W
    return (rows @ predictor).min()


SIZES = {
    "l1": lambda layers: sum(np.abs(W).sum() for W in layers),
    "l2": lambda layers: np.sqrt(sum((W**2).sum() for W in layers)),
    "linf": lambda layers: max(np.abs(W).max() for W in layers),
    "spectral": lambda layers: max(np.linalg.norm(W, 2) for W in layers),
}


@pytest.mark.parametrize("norm", SIZES)
@pytest.mark.parametrize("depth", [2, 3])
def test_deep_linear_networks(norm, depth):
    """A network written down attains the closed form, and no random one or neighbour of it passes it."""
    rows, width = separable(5, 6, 4), 3
    best = max_margin.linear(rows, "l2" if norm == "spectral" else norm)[1]
    if norm == "linf":
        layers = [np.tile(np.sign(best) * np.abs(best), (width, 1))]
        layers += [np.ones((width, width))] * (depth - 2) + [np.ones((1, width))]
    else:  # one path, of layers of equal norm
        layers = [np.zeros((width, 4))] + [np.zeros((width, width)) for _ in range(depth - 2)]
        layers += [np.zeros((1, width))]
        layers[0][0] = best
        for W in layers[1:]:
            W[0, 0] = 1.0
    claimed = max_margin.deep_linear(rows, norm, depth, width)
    np.testing.assert_allclose(margin(rows, layers) / SIZES[norm](layers) ** depth, claimed, rtol=1e-8)
    rng = np.random.default_rng(0)
    for size in (0.01, 0.3, 3.0):
        for _ in range(100):
            moved = [W + size * rng.normal(size=W.shape) for W in layers]
            assert margin(rows, moved) / SIZES[norm](moved) ** depth <= claimed * (1 + 1e-9)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_diagonal_linear_networks(norm):
    rows = separable(2, 6, 4)
    claimed = max_margin.diagonal_linear(rows, norm)
    best = max_margin.linear(rows, "l1" if norm == "l2" else "linf")[1]
    u = np.sqrt(np.abs(best))
    rng = np.random.default_rng(0)
    size = {
        "l2": lambda u, v: np.sqrt((u**2).sum() + (v**2).sum()),
        "linf": lambda u, v: max(abs(u).max(), abs(v).max()),
    }
    attained = (rows @ (u * np.sign(best) * u)).min() / size[norm](u, u) ** 2
    if norm == "linf":
        attained = (rows @ best).min() / size[norm](np.ones(4), best) ** 2
    np.testing.assert_allclose(attained, claimed, rtol=1e-8)
    for _ in range(300):
        a, b = u + 0.1 * rng.normal(size=4), u * np.sign(best) + 0.1 * rng.normal(size=4)
        assert (rows @ (a * b)).min() / size[norm](a, b) ** 2 <= claimed * (1 + 1e-9)


def relu_margin(rows_x, y, W, a):
    return (y * (np.maximum(rows_x @ W.T, 0) @ a)).min()


@pytest.mark.parametrize(("norm", "neurons"), [("l2", 1), ("l1", 1), ("linf", 1), ("linf", 5)])
def test_one_point(norm, neurons):
    x = np.array([3.0, -1.0, 0.5, 2.0])
    direction = {"l2": x / np.linalg.norm(x), "l1": np.eye(4)[0], "linf": np.sign(x)}[norm]
    W, a = np.tile(direction, (neurons, 1)), np.ones(neurons)
    size = {"l2": np.sqrt((W**2).sum() + neurons), "l1": np.abs(W).sum() + 1.0, "linf": 1.0}[norm]
    attained = relu_margin(x[None], np.ones(1), W, a) / size**2
    np.testing.assert_allclose(attained, max_margin.relu_one_point(x, norm, neurons), rtol=1e-12)


@pytest.mark.parametrize(("positive", "negative"), [(6, 2), (1, 1), (3, 0)])
def test_orthogonal_points(positive, negative):
    """One neuron a sign, with equal weight on its points, attains the claimed margin; none passes it."""
    radius, n = 2.0, positive + negative
    y = np.r_[np.ones(positive), -np.ones(negative)]
    claimed = max_margin.relu_orthogonal(positive, negative, radius)
    W = np.stack([(y > 0).astype(float), (y < 0).astype(float)])
    sizes = np.linalg.norm(W, axis=1)
    a = np.sqrt(sizes) * [1.0, -1.0]
    W = W / np.sqrt(np.where(sizes > 0, sizes, 1))[:, None]  # balanced, and the same output at every point
    total = (W**2).sum() + (a**2).sum()
    np.testing.assert_allclose(relu_margin(radius * np.eye(n), y, W, a) / total, claimed, rtol=1e-12)
    rng = np.random.default_rng(0)
    for _ in range(300):
        V, b = W + 0.2 * rng.normal(size=W.shape), a + 0.2 * rng.normal(size=2)
        assert relu_margin(radius * np.eye(n), y, V, b) / ((V**2).sum() + (b**2).sum()) <= claimed * (
            1 + 1e-12
        )


def test_the_certificate_is_one_at_a_largest_margin_and_below_elsewhere():
    """A linear model: the tangent features are the data."""
    rows = separable(1, 10, 6)
    for norm in max_margin.NORMS:
        best = max_margin.linear(rows, norm)[1]
        for w, exact in ((7 * best, True), (7 * best + 0.01 * np.ones(6), False)):
            smallest = (rows @ w).min()
            found = max_margin.certificate(rows, np.linalg.norm(w, PRIMAL[norm]), smallest, 1, norm)
            assert found == pytest.approx(1, rel=1e-8) if exact else found < 1 - 1e-6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: max_margin.linear(np.ones((2, 2)), "l3"), "norm must be one of l1, l2, linf, got 'l3'"),
        (lambda: max_margin.linear(np.ones((0, 2)), "l1"), "rows must have shape"),
        (lambda: max_margin.deep_linear(np.ones((2, 2)), "l4", 2, 2), "norm must be one of"),
        (lambda: max_margin.diagonal_linear(np.ones((2, 2)), "l1"), "norm must be l2 or linf"),
        (lambda: max_margin.relu_one_point(np.ones(2), "l3"), "norm must be one of"),
    ],
)
def test_bad_arguments(untyped, call, message):
    with pytest.raises(ValueError, match=message):
        call()
