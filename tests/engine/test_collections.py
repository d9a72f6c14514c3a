"""What a model keeps beside its parameters, against a plain loop: batch norm in training and in use."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.adversary import FGSM
from dynamics.data import LinearTeacher
from dynamics.descent import steepest
from dynamics.engine import direct
from dynamics.engine.interrupt import Interrupts
from dynamics.engine.simulate import Interrupted, simulate
from dynamics.keys import named_key, seed_key
from dynamics.models import TwoLayer
from dynamics.observables import outputs, training_loss
from dynamics.observables.base import observable
from dynamics.parts import part
from dynamics.problem import Problem

DIM, COUNT, WIDTH, STEPS, RATE = 3, 6, 2, 6, 0.5
DATA = LinearTeacher(DIM, COUNT, 4)


class Normed(nn.Module):
    """a tanh(batch norm of V x)."""

    @nn.compact
    def __call__(self, x, train):
        V = self.param("V", nn.initializers.normal(1.0), (DIM, WIDTH), float)
        a = self.param("a", nn.initializers.normal(1.0), (WIDTH,), float)
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.8, param_dtype=float, name="norm")
        return nn.tanh(norm(x @ V)) @ a


@observable(("direction", "neuron"))
def first(params, problem, draw):
    return params["V"]


@observable(("moment", "neuron"))
def running(params, problem, draw):
    kept = problem.collections["batch_stats"]["norm"]
    return jnp.stack([kept["mean"], kept["var"]])


PROBLEM = Problem(DATA, Normed())
OBSERVE = {"V": first, "running": running, "loss": training_loss}
OBSERVE["f"] = outputs.given(points="test")
HOW = {"steps": STEPS, "observe": OBSERVE, "when": range(STEPS + 1)}
RULE = steepest("l2", RATE)


def moments(params, x):
    z = x @ params["V"]
    return z, z.mean(0), (z**2).mean(0) - z.mean(0) ** 2


def network(params, x, mean, var):
    z = (x @ params["V"] - mean) / np.sqrt(var + 1e-5)
    return np.tanh(z * params["scale"] + params["bias"]) @ params["a"]


def plain(loop, seed, radius=None):
    """Parameters, running moments and the draw of a plain loop; inputs moved as the network is used."""
    key = seed_key(seed)
    data = named_key(key, "data")
    start, draw = jax.device_get((PROBLEM.init(named_key(key, "init"), data), PROBLEM.sample(data)))
    x, y = draw.train.x, draw.train.y
    params = {"V": start["V"], "a": start["a"], **start["norm"]}
    mean, var, path = np.zeros(WIDTH), np.ones(WIDTH), []
    for _ in range(STEPS + 1):
        path.append((params, mean, var))
        at = x
        if radius is not None:

            def used(p, params=params, mean=mean, var=var):
                return np.sum(loop.softplus(-y * network(params, p["x"], mean, var)))

            at = x + radius * np.sign(loop.gradient(used, {"x": x})["x"])

        def loss(p, at=at):
            return np.mean(loop.softplus(-y * network(p, at, *moments(p, at)[1:])))

        grads = loop.gradient(loss, params)
        _, now, spread = moments(params, at)
        mean, var = 0.8 * mean + 0.2 * now, 0.8 * var + 0.2 * spread
        params = {name: params[name] - RATE * grads[name] for name in params}
    return path, draw


@pytest.fixture(scope="module")
def run():
    return simulate(PROBLEM, RULE, seeds=3, **HOW)


def test_batch_norm_agrees_with_a_plain_loop(reference, run):
    """Steps normalise by the batch, and move the running moments, by which observables normalise."""
    loop = reference("plain_loop")
    path, draw = plain(loop, 2)
    one, close = run.sel(seed=2), {"rtol": 0, "atol": 1e-11}
    np.testing.assert_allclose(one.V, [p["V"] for p, *_ in path], **close)
    np.testing.assert_allclose(one.running, [np.stack(kept) for _, *kept in path], **close)
    np.testing.assert_allclose(one.f, [network(p, draw.test.x, *kept) for p, *kept in path], **close)
    x, y = draw.train.x, draw.train.y
    used = [np.mean(loop.softplus(-y * network(p, x, *kept))) for p, *kept in path]
    np.testing.assert_allclose(one.loss, used, **close)


@pytest.mark.exhaustive
def test_a_seed_alone_is_the_seed_in_a_batch(run):
    alone = simulate(PROBLEM, RULE, steps=STEPS, observe=OBSERVE, when=[2], seeds=[2])
    for name in OBSERVE:
        expected = run[name].sel(seed=2, step=[2, STEPS])
        np.testing.assert_allclose(alone[name][0], expected, rtol=0, atol=1e-13)


@pytest.mark.exhaustive
def test_a_run_that_was_interrupted_goes_on_with_its_running_moments(run, tmp_path, monkeypatch):
    count = iter(range(100))

    def stop(self):
        if next(count) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Interrupts, "check", stop)
        with pytest.raises(Interrupted):
            simulate(PROBLEM, RULE, seeds=3, checkpoint=tmp_path, **HOW)
    resumed = simulate(PROBLEM, RULE, seeds=3, checkpoint=tmp_path, **HOW)
    for name in OBSERVE:
        np.testing.assert_array_equal(resumed[name], run[name])


@pytest.mark.exhaustive
def test_an_adversary_attacks_the_network_as_it_is_used(reference):
    problem = dataclasses.replace(PROBLEM, adversary=FGSM(0.3, norm="linf"))
    run = simulate(problem, RULE, seeds=[1], **HOW)
    path, _ = plain(reference("plain_loop"), 1, radius=0.3)
    np.testing.assert_allclose(run.V[0], [p["V"] for p, *_ in path], rtol=0, atol=1e-11)
    np.testing.assert_allclose(run.running[0], [np.stack(k) for _, *k in path], rtol=0, atol=1e-11)


def test_collections_of_a_diverged_run_stay_as_they_were():
    old = direct.State({"w": jnp.ones(2)}, (), jnp.asarray(-1), (), {"mean": jnp.zeros(2)})
    new = direct.State({"w": jnp.ones(2)}, (), jnp.asarray(-1), (), {"mean": jnp.full(2, jnp.inf)})
    left = direct.unless_diverged(4, direct.all_finite((new.params, new.collections)), new, old)
    np.testing.assert_array_equal(left.collections["mean"], 0)
    assert int(left.first_nonfinite_step) == 5


@pytest.mark.exhaustive
def test_running_means_that_nothing_moves_are_taken_as_they_start():
    class Fixed(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(nn.BatchNorm(use_running_average=True)(x))[:, 0]

    problem = Problem(DATA, Fixed())
    params, kept = problem.variables(seed_key(0))
    x = problem.sample(seed_key(0)).test.x
    f = problem.at(kept).apply(params, x)
    np.testing.assert_allclose(f, x @ params["Dense_0"]["kernel"][:, 0] / np.sqrt(1 + 1e-5), rtol=1e-6)


def test_what_a_model_keeps_must_have_a_start_and_a_mode(untyped):
    class Always(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(1)(nn.BatchNorm(use_running_average=False)(x))[:, 0]

    @part
    class Start:
        scale: Any = 1.0

        def params(self, model, draw):
            return PROBLEM.init(seed_key(0))

    for problem, words in (
        (Problem(DATA, Always()), "it changes what it keeps beside its parameters whenever it is used"),
        (Problem(DATA, Normed(), start=Start()), "and a start gives parameters only"),
    ):
        with pytest.raises(ValueError, match=words) as caught:
            simulate(problem, RULE, steps=1, seeds=1)
        assert "\n" not in str(caught.value)


def test_models_without_collections_keep_none():
    assert Problem(DATA, TwoLayer(2)).variables(seed_key(0))[1] == {}
