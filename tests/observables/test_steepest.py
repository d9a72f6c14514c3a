"""Margins in every norm and stationarity, against plain NumPy, closed forms and bounds that always hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import observables as o
from dynamics import simulate, steepest
from dynamics.data.teachers import FixedPoints, LinearTeacher, ReluTeacher
from dynamics.keys import named_key, seed_key
from dynamics.models.activations import Activation
from dynamics.models.homogeneous import Homogeneous
from dynamics.models.linear import Linear
from dynamics.models.mlp import MLP
from dynamics.problem import Problem

KEY = jax.random.key(0)
NORMS = ("l1", "l2", "linf", "spectral", "l1.5")
DATA = ReluTeacher(dim=4, num_samples=12, num_test=5)
SQUARED = Homogeneous((7,), activation=Activation("relu_power", power=2.0))
PROBLEM = Problem(DATA, SQUARED, "exponential", reduction="sum")
DRAW = DATA.sample(KEY)


def weights(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {
        "W": jnp.asarray(scale * rng.normal(size=(7, 4))),
        "a": jnp.asarray(scale * rng.normal(size=(1, 7))),
    }


def fitted():
    """Weights that separate the training samples."""
    run = simulate(
        PROBLEM,
        steepest("l2", 0.1, step="log_decrease", of="log_loss"),
        steps=400,
        observe_end={"W": o.weights, "a": o.output_weights},
        seeds=[0],
    )
    return {name: jnp.asarray(run[name].values[0]) for name in ("W", "a")}


def network(params, x):
    return np.maximum(x @ np.asarray(params["W"]).T, 0) ** 2 @ np.asarray(params["a"])[0]


def sizes(params):
    flat = np.concatenate([np.ravel(params["W"]), np.ravel(params["a"])])
    spectral = max(np.linalg.norm(params["W"], 2), np.linalg.norm(params["a"]))
    return np.array(
        [
            abs(flat).sum(),
            np.sqrt((flat**2).sum()),
            abs(flat).max(),
            spectral,
            (abs(flat) ** 1.5).sum() ** (1 / 1.5),
        ]
    )


def measured(observable, params, problem=PROBLEM, draw=DRAW, **options):
    return np.asarray(observable.given(**options)(params, problem, draw, KEY))


def test_margins_against_numpy():
    params = weights(0)
    q = np.asarray(DRAW.train.y) * network(params, np.asarray(DRAW.train.x))
    norms = sizes(params)
    np.testing.assert_allclose(measured(o.parameter_norm, params, norm=NORMS), norms, rtol=1e-12)
    np.testing.assert_allclose(
        measured(o.geometric_margin, params, norm=NORMS), q.min() / norms**3, rtol=1e-12
    )
    soft = -np.log(np.exp(-q).sum()) / norms**3
    np.testing.assert_allclose(measured(o.soft_margin, params, norm=NORMS), soft, rtol=1e-11)


def test_stationarity_against_numpy():
    params = weights(1)
    x, y = np.asarray(DRAW.train.x), np.asarray(DRAW.train.y)
    W, a = np.asarray(params["W"]), np.asarray(params["a"])[0]
    z = np.maximum(x @ W.T, 0)
    p = -y * np.exp(-y * network(params, x))
    grad_a, grad_W = p @ z**2, (p[:, None] * 2 * z * a).T @ x
    flat = np.concatenate([grad_W.ravel(), grad_a])
    nuclear = np.linalg.norm(grad_W, "nuc") + np.linalg.norm(grad_a)
    duals = np.array(
        [abs(flat).max(), np.linalg.norm(flat), abs(flat).sum(), nuclear, np.linalg.norm(flat, 3)]
    )
    inner = -(W * grad_W).sum() - a @ grad_a
    expected = inner / (sizes(params) * duals)
    np.testing.assert_allclose(measured(o.stationarity, params, norm=NORMS), expected, rtol=1e-10)


def test_soft_margin_lies_within_log_n_of_the_geometric_one():
    for seed in range(5):
        params = weights(seed, 2.0)
        hard, soft = (measured(m, params, norm=NORMS) for m in (o.geometric_margin, o.soft_margin))
        assert (soft <= hard + 1e-12).all()
        assert (soft >= hard - np.log(12) / sizes(params) ** 3 - 1e-12).all()


def test_scaling_the_weights_changes_no_geometric_margin_and_no_stationarity_far_out():
    params = weights(3)
    larger = jax.tree.map(lambda p: 1e3 * p, params)  # margins of 1e9: every loss but one underflows
    for observable, tolerance in (
        (o.geometric_margin, 1e-12),
        (o.effective_sparsity, 1e-12),
        (o.saturated, 0),
    ):
        options = {"norm": NORMS} if observable is o.geometric_margin else {}
        one, other = (measured(observable, p, **options) for p in (params, larger))
        np.testing.assert_allclose(one, other, rtol=tolerance)
    hard, soft = (measured(m, larger, norm=NORMS) for m in (o.geometric_margin, o.soft_margin))
    np.testing.assert_allclose(hard, soft, rtol=1e-8)
    assert np.isfinite(measured(o.stationarity, larger, norm=NORMS)).all()


@pytest.mark.exhaustive
def test_stationarity_is_at_most_one_and_one_at_the_largest_margin():
    """One point, a linear model: the direction of the point is the l2 optimum, its signs the linf one."""
    x = np.array([3.0, -1.0, 0.5, 2.0])
    data = FixedPoints(x[None], (1,))
    problem = Problem(data, Linear(), "exponential", reduction="sum")
    draw = data.sample(KEY)
    best = {"l2": x, "linf": np.sign(x), "l1": np.eye(4)[0], "spectral": x}
    for norm, w in best.items():
        params = {"W": jnp.asarray(5 * w)[None]}
        beta = measured(o.stationarity, params, problem, draw, norm=(norm,))
        gap = measured(o.bregman_gap, params, problem, draw, norm=(norm,))
        np.testing.assert_allclose(beta, 1, rtol=1e-12)
        np.testing.assert_allclose(gap, 0, atol=1e-12)
    for seed in range(4):
        assert (measured(o.stationarity, weights(seed), norm=NORMS) <= 1 + 1e-12).all()


@pytest.mark.exhaustive
def test_bregman_gap_in_l2_is_half_the_squared_distance():
    params = fitted()
    draw = PROBLEM.sample(named_key(seed_key(0), "data"))
    smallest = float(measured(o.smallest_margin, params, draw=draw))
    assert smallest > 0
    flat = np.concatenate([np.ravel(params["W"]), np.ravel(params["a"])])
    tilde = flat / smallest ** (1 / 3)
    grads = jax.grad(lambda p: PROBLEM.training_loss(p, draw.train, draw, KEY))(params)
    g = np.concatenate([np.ravel(grads["W"]), np.ravel(grads["a"])])
    s = -g * np.linalg.norm(tilde) / np.linalg.norm(g)
    gap = measured(o.bregman_gap, params, draw=draw, norm=("l2",))
    np.testing.assert_allclose(gap, [((tilde - s) ** 2).sum() / 2], rtol=1e-10)


def test_no_margin_before_separation_and_none_at_zero_weights():
    params = {"W": jnp.zeros((7, 4)), "a": jnp.zeros((1, 7))}
    assert np.isnan(measured(o.geometric_margin, params, norm=NORMS)).all()
    assert (measured(o.stationarity, params, norm=NORMS) == 0).all()
    wrong = weights(0)
    assert measured(o.smallest_margin, wrong) < 0
    assert np.isnan(measured(o.bregman_gap, wrong, norm=NORMS)).all()


def test_shares_of_weights():
    params = {"W": jnp.asarray([[4.0, 0.0], [1.0, -2.5]]), "a": jnp.asarray([[0.001, 2.0]])}
    data = LinearTeacher(dim=2, num_samples=3, num_test=1)
    problem = Problem(data, Homogeneous((2,)), "exponential")
    draw = data.sample(KEY)
    assert measured(o.saturated, params, problem, draw) == pytest.approx(2 / 6)
    assert measured(o.vanishing, params, problem, draw) == pytest.approx(2 / 6)
    flat = np.array([4, 0, 1, 2.5, 0.001, 2])
    expected = flat.sum() ** 2 / (flat**2).sum() / 6
    assert measured(o.effective_sparsity, params, problem, draw) == pytest.approx(expected)
    shares = measured(o.magnitudes, params, problem, draw, bin=(0.0, 0.25, 0.5, 0.75))
    np.testing.assert_allclose(shares, np.array([2, 1, 2, 1]) / 6)


def test_a_network_with_biases_has_no_margin_in_a_norm():
    problem = Problem(DATA, MLP((4,)), "exponential")
    with pytest.raises(ValueError, match="homogeneous in its parameters; MLP"):
        simulate(problem, steepest("l2", 0.1), steps=1, observe={"margin": o.geometric_margin}, seeds=1)


@pytest.mark.exhaustive
def test_norms_are_coordinates_of_a_result():
    run = simulate(
        PROBLEM,
        steepest("l2", 0.1),
        steps=1,
        observe={"margin": o.geometric_margin.given(norm=NORMS)},
        seeds=2,
    )
    assert run.margin.dims == ("seed", "step", "norm")
    assert run.norm.values.tolist() == list(NORMS)


@pytest.mark.exhaustive
def test_predictor_and_tangents():
    data = LinearTeacher(dim=4, num_samples=6, num_test=1)
    draw = data.sample(KEY)
    deep = Problem(data, Homogeneous((7,), activation=Activation("linear")), "exponential")
    params = weights(0)
    w = np.asarray(params["a"])[0] @ np.asarray(params["W"])
    np.testing.assert_allclose(measured(o.linear_predictor, params, deep, draw), w, rtol=1e-12)
    rows = np.asarray(draw.train.y)[:, None] * np.asarray(draw.train.x)
    np.testing.assert_array_equal(measured(o.signed_inputs, params, deep, draw), rows)
    tangents = measured(o.signed_tangents, params, deep, draw)
    a, W = np.asarray(params["a"])[0], np.asarray(params["W"])
    expected = np.hstack([np.einsum("j,ni->nji", a, rows).reshape(6, -1), rows @ W.T])
    np.testing.assert_allclose(tangents, expected[:, np.r_[0:28, 28:35]], rtol=1e-12)
    # Euler: <theta, gradient> is L times the margin
    flat = np.concatenate([W.ravel(), a])
    np.testing.assert_allclose(tangents @ flat, 2 * rows @ w, rtol=1e-10)


@pytest.mark.exhaustive
@pytest.mark.parametrize("model", [Homogeneous((5, 5, 5)), SQUARED], ids=["deep", "squared"])
def test_margins_do_not_depend_on_the_scale_of_weights(model):
    """In float32, where powers of norms leave the range of numbers long before the norms themselves."""
    problem = Problem(DATA, model, "exponential")
    params = jax.tree.map(lambda p: p.astype(jnp.float32), problem.init(KEY))
    draw = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == float else leaf, DRAW)

    @jax.jit
    def margin(params):
        return o.geometric_margin.measure(params, problem, draw, norm=NORMS)

    usual = margin(params)
    wide = Problem(DATA, model, "exponential").margins_at(
        jax.tree.map(lambda p: p.astype(float), params), DRAW, "train"
    )
    l2 = np.sqrt(sum(float(np.sum(np.square(p, dtype=float))) for p in params.values()))
    np.testing.assert_allclose(usual[1], float(jnp.min(wide)) / l2**model.degree, rtol=1e-4)
    for power in (-100, -40, 40, 100):
        scaled = margin(jax.tree.map(lambda p, c=2.0**power: (p * c).astype(jnp.float32), params))
        np.testing.assert_array_equal(scaled, usual)


@pytest.mark.exhaustive
@pytest.mark.parametrize("power", [-70, 50])
def test_stationarity_of_tiny_and_huge_weights(power):
    """Of a linear model, in float32, against float64."""
    problem = Problem(LinearTeacher(dim=4, num_samples=6, num_test=1), Linear(), "exponential")
    draw = jax.tree.map(
        lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == float else leaf, problem.sample(KEY)
    )
    W = np.random.default_rng(0).normal(size=(1, 4)) * 2.0**power
    found = o.stationarity.measure({"W": jnp.asarray(W, jnp.float32)}, problem, draw, norm=("l2",))
    x, y = np.asarray(draw.train.x, float), np.asarray(draw.train.y, float)
    q = y * (x @ W[0])
    weight = np.exp(-(q - q.min()))
    push = (weight * y) @ x  # minus the gradient of the logarithm of the summed losses, unnormalised
    expected = W[0] @ push / np.linalg.norm(W) / np.linalg.norm(push)
    np.testing.assert_allclose(found, [expected], rtol=1e-3)
