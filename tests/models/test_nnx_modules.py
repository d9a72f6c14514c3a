"""Networks of flax.nnx against plain NumPy loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from dynamics import observables as o
from dynamics import parameters, predictor, simulate, steepest
from dynamics.data import LinearTeacher
from dynamics.engine import checks
from dynamics.keys import named_key, seed_key
from dynamics.models import NNX
from dynamics.problem import Problem

DATA = LinearTeacher(3, 6, 4)
STEPS, RATE = 3, 0.5


class Net(nnx.Module):
    """Batch norm, a hidden layer in a list, and an output."""

    def __init__(self, width, rngs):
        self.norm = nnx.BatchNorm(3, momentum=0.8, rngs=rngs, param_dtype=float)
        self.hidden = nnx.List([nnx.Linear(3, width, rngs=rngs, param_dtype=float)])
        self.out = nnx.Linear(width, 1, use_bias=False, rngs=rngs, param_dtype=float)

    def __call__(self, x):
        return self.out(jnp.tanh(self.hidden[0](self.norm(x))))[:, 0]


class Drops(nnx.Module):
    def __init__(self, rngs):
        self.out, self.drop = nnx.Linear(3, 1, rngs=rngs), nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.drop(self.out(x))[:, 0]


PROBLEM = Problem(DATA, NNX(lambda rngs: Net(2, rngs)))


@pytest.fixture(scope="module")
def run():
    observe = {"W": o.weights.given(weights="hidden/0/kernel"), "f": o.outputs.given(points="test")}
    when = range(STEPS + 1)
    return simulate(
        PROBLEM, steepest("l2", RATE), steps=STEPS, observe=observe, when=when, seeds=2, parameters=True
    )


def network(p, x, mean, var):
    z = (x - mean) / np.sqrt(var + 1e-5) * p["scale"] + p["shift"]
    return (np.tanh(z @ p["V"] + p["b"]) @ p["a"])[:, 0]


def test_training_and_running_means_agree_with_a_plain_loop(reference, run):
    loop, one, key = reference("plain_loop"), run.sel(seed=1), seed_key(1)
    start, draw = jax.device_get(
        (PROBLEM.init(named_key(key, "init")), PROBLEM.sample(named_key(key, "data")))
    )
    x, y, (mean, var) = draw.train.x, draw.train.y, (np.zeros(3), np.ones(3))
    p = {"scale": start["norm"]["scale"], "shift": start["norm"]["bias"], "a": start["out"]["kernel"]}
    p |= {"V": start["hidden"]["0"]["kernel"], "b": start["hidden"]["0"]["bias"]}
    for step in range(STEPS + 1):
        np.testing.assert_allclose(one.W[step], p["V"].T, rtol=0, atol=1e-9)
        np.testing.assert_allclose(one.f[step], network(p, draw.test.x, mean, var), rtol=0, atol=1e-9)
        if step < STEPS:
            grads = loop.gradient(
                lambda q: np.mean(loop.softplus(-y * network(q, x, x.mean(0), x.var(0)))), p
            )
            p = {name: p[name] - RATE * grads[name] for name in p}
            mean, var = 0.8 * mean + 0.2 * x.mean(0), 0.8 * var + 0.2 * x.var(0)
    kept = parameters(run, 1)
    np.testing.assert_allclose(kept["hidden"]["0"]["bias"], p["b"], rtol=0, atol=1e-9)
    found = predictor(run, 1, PROBLEM)(draw.test.x)
    np.testing.assert_allclose(found, network(p, draw.test.x, mean, var), rtol=0, atol=1e-9)


def test_every_seed_has_weights_of_its_own(run):
    start = run.W.isel(step=0)
    assert not np.isclose(start[0], start[1]).any()


LAYER = nnx.eval_shape(lambda: Net(2, nnx.Rngs(0)))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (LAYER, r"weights of its own, got a Net: give NNX\(lambda rngs: Net\(..., rngs=rngs\)\)"),
        (linen.Dense(3), "Dense is of flax.linen, whose networks go in as they are"),
        (lambda: LAYER, r"a function of rngs alone .*, got <lambda>\(\)"),
        (Net, r"a function of rngs alone .*, got "),
        (3, "a function of rngs alone .*, got 3"),
    ],
)
def test_a_network_is_no_factory_of_networks(model, words, untyped):
    with pytest.raises(TypeError, match=words):
        NNX(model)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (LAYER, r"by what makes one, .* models.NNX\(lambda rngs: Net\(..., rngs=rngs\)\)"),
        (Net, r"models.NNX\(lambda rngs: Net\("),
        (
            lambda rngs: Net(2, rngs),
            r"got function; what makes a flax.nnx network goes in as models.NNX\(it\)",
        ),
        (NNX(lambda rngs: LAYER), "the factory gives all seeds one module"),
        (NNX(lambda rngs: 0), "the factory must give a module of flax.nnx, got int"),
        (NNX(Drops), "it keeps random numbers, as Dropout does"),
    ],
)
def test_what_is_no_factory(model, words, untyped):
    def check(problem):
        checks.kinds(problem)
        checks.shapes(problem, None, {})

    with pytest.raises((TypeError, ValueError), match=words) as caught:
        check(Problem(DATA, model))
    assert "\n" not in str(caught.value)


def test_simulate_refuses_an_instance(untyped):
    with pytest.raises(TypeError, match="so that every seed has weights of its own"):
        simulate(Problem(DATA, Net(2, nnx.Rngs(0))), steepest("l2", RATE), steps=1, seeds=1)
