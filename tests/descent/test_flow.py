"""Gradient flow: against the matrix exponential, and against small steps of gradient descent."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from dynamics import data, descent
from dynamics.adversary import FGSM
from dynamics.descent import gradient_flow, steepest
from dynamics.engine.simulate import Interrupted, simulate
from dynamics.keys import named_key, seed_key
from dynamics.models.activations import Activation
from dynamics.models.linear import Linear
from dynamics.models.two_layer import TwoLayer
from dynamics.observables import parameters, training_loss
from dynamics.parts import Axis
from dynamics.problem import Problem
from dynamics.problem.penalties import Lasso

DATA = data.LinearTeacher(3, 8, 2)
LINEAR = Problem(DATA, Linear(), "squared", init_scale=0.3)
SMOOTH = Problem(DATA, TwoLayer(2, activation=Activation("gelu")), init_scale=0.5)
OBSERVE = {"theta": parameters, "loss": training_loss}


def closed_form(seed, time):
    r"""$w^* + e^{-A t} (w_0 - w^*)$ with $A = X^\top X / n$ and $A w^* = X^\top y / n$."""
    key = seed_key(seed)
    draw = DATA.sample(named_key(key, "data"))
    start = LINEAR.init(named_key(key, "init"))["W"][0]
    x, y = np.asarray(draw.train.x), np.asarray(draw.train.y)
    A, b = x.T @ x / len(y), x.T @ y / len(y)
    best = np.linalg.solve(A, b)
    return best + scipy.linalg.expm(-A * time) @ (start - best)


@pytest.fixture(scope="module")
def linear():
    """Times 0.5 and 20 a step, which is far beyond where steps of gradient descent diverge."""
    rule = gradient_flow(Axis("dt", [0.5, 20.0]), Axis("rtol", [1e-4, 1e-9]))
    return simulate(LINEAR, rule, steps=4, observe=OBSERVE, when=[0, 1, 4], seeds=2)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_linear_model_follows_the_matrix_exponential(linear, seed):
    for dt in linear.dt.values:
        for rtol in linear.rtol.values:
            for step in (1, 4):
                found = linear.theta.sel(dt=dt, rtol=rtol, seed=seed, step=step)
                expected = closed_form(seed, dt * step)
                np.testing.assert_allclose(found, expected, rtol=0, atol=20 * rtol * np.abs(expected).max())


def test_a_tighter_tolerance_is_closer(linear):
    expected = closed_form(0, 2.0)
    errors = [np.abs(linear.theta.sel(dt=0.5, seed=0, step=4, rtol=r) - expected).max() for r in (1e-4, 1e-9)]
    assert 0 < errors[1] < 1e-3 * errors[0]


@pytest.mark.exhaustive
def test_small_steps_of_gradient_descent_approach_it():
    """Their error halves with their length, so that twice the shorter less the longer leaves its square."""
    flow = simulate(SMOOTH, gradient_flow(0.5, 1e-10), steps=4, observe=OBSERVE, when=[4], seeds=2)

    def descended(count):
        rule = steepest("l2", 2.0 / count)
        return simulate(SMOOTH, rule, steps=count, observe=OBSERVE, when=[count], seeds=2).theta.values

    long, short = descended(1000), descended(2000)
    end = flow.theta.values
    assert np.abs(long - end).max() > 1e-5
    np.testing.assert_allclose(long - end, 2 * (short - end), rtol=0, atol=2e-3 * np.abs(long - end).max())
    np.testing.assert_allclose(2 * short - long, end, rtol=0, atol=1e-6)


def test_goes_on_bit_for_bit_from_a_checkpoint(linear, tmp_path):
    def stop(step, values):
        if step == 1:
            raise RuntimeError("enough")

    how = {"steps": 4, "observe": OBSERVE, "when": [0, 1, 4], "seeds": 2, "checkpoint": tmp_path}
    rule = gradient_flow(Axis("dt", [0.5, 20.0]), Axis("rtol", [1e-4, 1e-9]))
    with pytest.raises(Interrupted, match="at step 1"):
        simulate(LINEAR, rule, callback=stop, **how)
    assert list(tmp_path.glob("chunk-*/state.npz"))
    again = simulate(LINEAR, rule, **how)
    np.testing.assert_array_equal(again.theta, linear.theta)


def test_kinks_blow_up_and_rest():
    """|x - 1| is left at its kink within the shortest step, -x^3/3 is gone at time 1, and 0 stays 0."""
    rule = gradient_flow(1.25, 1e-6)

    @jax.jit
    def moved(theta):
        def slope(theta, _):
            return jnp.stack([jnp.sign(theta[0] - 1), -jnp.square(theta[1])])

        grads = slope(theta, None)
        return theta + rule.update(grads, rule.init(theta), theta, grad_fn=slope)[0]

    kink, rest = moved(jnp.array([1.5, 0.0]))
    assert abs(kink - 1) <= 1.25 / 1024
    assert rest == 0
    assert np.isnan(moved(jnp.array([1.5, 1.0]))).all()


@pytest.mark.parametrize(
    ("changes", "way"),
    [
        ({"batch_size": 4}, "leave out batch_size"),
        ({"problem": Problem(data.Fresh(DATA), Linear())}, "leave out Fresh"),
        ({"problem": Problem(DATA, Linear(), adversary=FGSM(0.1))}, "leave out the adversary"),
        ({"problem": Problem(DATA, Linear(), penalty=Lasso(0.1))}, "leave out the penalty"),
        (
            {"descent": descent.within(gradient_flow(0.1), ball=1.0, only=("W",)), "batch_size": 4},
            "batch_size",
        ),
    ],
)
def test_only_full_batches_of_a_smooth_loss(changes, way):
    with pytest.raises(ValueError, match=f"takes full batches, without an adversary or a penalty: .*{way}"):
        simulate(**{"problem": LINEAR, "descent": gradient_flow(0.1), "steps": 1} | changes)


@pytest.mark.parametrize("given", [{"dt": -1.0}, {"dt": 0.1, "rtol": 1.0}, {"dt": Axis("t", [0.1, np.inf])}])
def test_numbers_that_are_none_are_refused(given):
    with pytest.raises(ValueError, match="of gradient_flow must be positive and"):
        gradient_flow(**given)


def test_without_diffrax_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r'needs diffrax: pip install .* "\.\[flow\]"'):
        gradient_flow(0.1)


def test_diffrax_is_not_imported_before_it_is_used():
    code = "import sys, dynamics; dynamics.descent.gradient_flow(0.1); assert 'diffrax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
