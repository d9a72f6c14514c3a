"""Laws of signal and memory against integrated flows, and reduced dynamics against training itself."""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dynamics.laws.clean_generalization_robust_overfitting import Race, largest_start, reduced_dynamics

RACE = Race(
    signal=3.0,
    residual=0.1,
    noise_square=0.9,
    num_samples=20,
    adversarial_weight=0.9,
    learning_rate=0.02,
)
POWERS = (2.0, 2.5, 3.0, 4.0)


def powered(power):
    return dataclasses.replace(RACE, power=power)


def flow(slope, start, times):
    solved = solve_ivp(
        lambda t, x: slope(x), (0, times[-1]), [start], t_eval=times, rtol=1e-11, atol=1e-13, method="DOP853"
    )
    return solved.y[0]


@pytest.mark.parametrize("power", POWERS)
def test_growth_integrates_its_flow_and_blows_up_at_its_end(power):
    race, start = powered(power), 0.2
    for rate, growth, end in (
        (race.signal_rate, race.signal_growth, race.signal_time(start)),
        (race.memory_rate, race.memory_growth, race.memory_time(start)),
    ):
        times = np.linspace(0, 0.9 * end, 7)
        expected = flow(lambda x, rate=rate: rate * x ** (power - 1), start, times)
        np.testing.assert_allclose(growth(times, start), expected, rtol=1e-8)
        if power > 2:
            assert np.isinf(growth(np.array([1.01 * end]), start)).all()
            assert growth(np.array([0.999 * end]), start)[0] > 5 * start
    assert race.signal_time(0.0) == np.inf
    assert race.memory_time(-0.1) == np.inf


def test_rates_are_those_of_the_update():
    """One step of size eta from two scores near 0, written out."""
    q, eta, weight = 3.0, 0.02, 0.9
    u = 1e-3
    push = 0.5 * ((1 - weight) * 3.0**q + weight * 0.1**q)
    assert RACE.signal_rate * u**2 == pytest.approx(eta * q * u**2 * push)
    assert RACE.memory_rate == pytest.approx(eta * q * weight * 0.9 / (2 * 20))
    assert RACE.signal_time(0.25) == pytest.approx(1 / (RACE.signal_rate * 0.25))
    assert RACE.memory_time(0.25) == pytest.approx(1 / (RACE.memory_rate * 0.25))


@pytest.mark.parametrize("power", POWERS)
def test_signal_margin_is_phase_one_and_then_logarithmic(power):
    race, start = powered(power), 0.01
    early = np.linspace(0, 0.02 * race.signal_time(start), 5)
    grown = race.signal**power * race.signal_growth(early, start) ** power
    np.testing.assert_allclose(race.signal_margin(early, start), grown, rtol=2e-3)
    pure = dataclasses.replace(race, residual=0.0)
    late = np.geomspace(1e5, 1e8, 4)
    margins = pure.signal_margin(late, 0.2)
    # dS/dt = eta q^2 alpha^2 (1 - lambda) S^(2 - 2/q) e^-S, so that growth a decade nears log 10
    np.testing.assert_allclose(np.diff(margins), np.log(10), rtol=0.2)
    rate = 0.02 * power**2 * 9.0 * 0.1
    slopes = (pure.signal_margin(late * 1.001, 0.2) - margins) / (0.001 * late)
    np.testing.assert_allclose(slopes, rate * margins ** (2 - 2 / power) * np.exp(-margins), rtol=0.02)
    assert pure.signal_strength(1e5, 0.2) == pytest.approx(margins[0] ** (1 / power) / 3.0, rel=1e-6)


@pytest.mark.parametrize("power", [2.0, 3.0, 4.0])
def test_at_the_threshold_signal_and_memory_end_together(power):
    strength, start = 0.5, 0.2
    gamma = powered(power).threshold(strength, start)
    # after phase I the clean loss is flat, and the residual signal alone is pushed
    left = dataclasses.replace(powered(power), signal=1e-6, residual=gamma * 3.0)
    if power == 2:
        assert left.signal_rate == pytest.approx(left.memory_rate)
    else:
        assert left.signal_time(strength) == pytest.approx(left.memory_time(start))
    many = dataclasses.replace(powered(power), num_samples=160).threshold(strength, start)
    assert many / gamma == pytest.approx(8 ** (-1 / power))


def test_the_largest_start_is_about_that_of_samples():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=50)
    W = 0.1 * rng.normal(size=(4000, 64, 50))
    largest = np.abs(W @ noise).max(axis=1).mean()
    assert largest_start(0.1, float(np.linalg.norm(noise)), 64) == pytest.approx(largest, rel=0.15)


def small(power=3.0, each=2, seed=0):
    rng = np.random.default_rng(seed)
    samples, neurons, dim = 5, 4, 7
    y = np.where(np.arange(samples) % 2 == 0, 1.0, -1.0)
    noise = 0.6 * rng.normal(size=(samples, each, dim))
    noise[:, :, 0] = 0
    direction = np.eye(dim)[0]
    x = np.concatenate([3.0 * y[:, None, None] * direction[None, None], noise], axis=1)
    W = 0.3 * rng.normal(size=(neurons, dim))
    return W, x, y, noise, direction, powered(power)


@pytest.mark.parametrize("power", [2.0, 2.5, 3.0])
def test_reduced_dynamics_are_training(reference, power):
    """Gradient descent on the weights, its reduction in loops, and that of the library."""
    loop = reference("patch_loop")
    W, x, y, noise, direction, race = small(power)
    weights = loop.train(W, x, y, direction, 3.0, 0.1, 0.9, power, 0.02, 40)
    flat = noise.reshape(-1, noise.shape[-1])
    gram = np.einsum("ijd,kld->ijkl", noise, noise)
    v = np.einsum("rd,ijd->rij", W, noise)
    looped = loop.reduced(W[:, 0], v, gram, y, 3.0, 0.1, 0.9, power, 0.02, 40)
    when = [0, 1, 17, 40]
    u, memories = reduced_dynamics(W[:, 0], W @ flat.T, flat @ flat.T, y, race, when)
    for k, step in enumerate(when):
        np.testing.assert_allclose(u[k], weights[step][:, 0], rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(memories[k], weights[step] @ flat.T, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(u[k], looped[step][0], rtol=1e-11, atol=1e-13)
        np.testing.assert_allclose(memories[k], looped[step][1].reshape(len(W), -1), rtol=1e-10, atol=1e-12)
    assert np.abs(memories[-1] - memories[0]).max() > 1e-3


def test_the_reduced_dynamics_know_no_dimension():
    """d = 100,000 from inner products alone: noise that is orthogonal gives the law of phase III."""
    samples, neurons = 6, 3
    y = np.tile([1.0, -1.0], 3)
    start = 0.3 * np.ones((neurons, samples)) * y[None] * np.array([[1.0], [0.4], [0.1]])
    race = dataclasses.replace(RACE, num_samples=samples, residual=0.0, noise_square=1e5 * 100_000**-1.018)
    gram = race.noise_square * np.eye(samples)
    steps = int(0.5 * race.memory_time(0.3))
    u, v = reduced_dynamics(np.full(neurons, 1.0), start, gram, y, race, [0, steps])
    law = race.memory_growth(np.array([steps]), 0.3)[0]
    np.testing.assert_allclose(y * v[1][0], law, rtol=0.1)  # the memory's own loss begins to fall
    assert (u[1] >= u[0]).all()


def test_bad_arguments():
    with pytest.raises(ValueError, match="power must be at least 2, got 1"):
        powered(1.0)
    with pytest.raises(ValueError, match="multiple of the 2 samples, got 3"):
        reduced_dynamics(np.ones(1), np.ones((1, 3)), np.eye(3), np.array([1.0, -1.0]), RACE, [1])
