"""Parameters that are frozen or masked, against plain loops over the trained entries alone."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest

from dynamics.data import Clusters, LinearTeacher
from dynamics.descent import steepest, within
from dynamics.engine.simulate import simulate
from dynamics.keys import named_key, seed_key
from dynamics.models import MLP, TwoLayer
from dynamics.observables import parameters
from dynamics.parts import Axis, part
from dynamics.problem import Problem

DIM, COUNT, WIDTH, STEPS = 3, 5, 4, 4
DATA = LinearTeacher(DIM, COUNT, 2)
MASK = np.arange(WIDTH * DIM).reshape(WIDTH, DIM) % 3 != 1


class Net(nn.Module):
    """a tanh(W x + b), in parameters of two levels."""

    @nn.compact
    def __call__(self, x):
        first = nn.Dense(WIDTH, name="first", param_dtype=float, bias_init=nn.initializers.normal())
        a = self.param("a", nn.initializers.normal(), (WIDTH,), float)
        return nn.tanh(first(x)) @ a


def of(problem, seed):
    """Initial parameters and training samples, as NumPy arrays."""
    key = seed_key(seed)
    data = named_key(key, "data")
    params = jax.device_get(problem.init(named_key(key, "init"), data))
    return params, jax.device_get(problem.sample(data).train)


def restricted(loop, params, sample, mask):
    """The trained entries as one vector, the loss of it, and the way back to all parameters."""
    kernel, b, a = params["first"]["kernel"], params["first"]["bias"], params["a"]

    def whole(z):
        full = kernel.astype(z.dtype)
        full[mask] = z[: mask.sum()]
        return full, z[mask.sum() :]

    def loss(p, step=None):
        full, bias = whole(p["z"])
        return np.mean(loop.softplus(-sample.y * (np.tanh(sample.x @ full + bias) @ a)))

    def flat(z):  # in the order of jax.tree.leaves: a, first/bias, first/kernel
        full, bias = whole(z)
        return np.concatenate([a, bias, full.ravel()])

    return np.concatenate([kernel[mask], b]), loss, flat


RULES = {
    "normalised": (steepest("l2", 0.1, normalize=True), None),
    "sign with momentum": (steepest("linf", 0.1, normalize=True, momentum=0.9), None),
    "log decrease, capped": (steepest("l2", 1.0, step="log_decrease", cap=0.05), None),
    "adamw": (optax.adamw(0.1, weight_decay=0.3), optax.adamw(0.1, weight_decay=0.3)),
}


def mover(name, loss):
    """The rule in NumPy (or optax itself) on the vector of trained entries."""
    rule, state, m = RULES[name][1], None, 0.0

    def move(params, grads):
        nonlocal state, m
        z, g = params["z"], grads["z"]
        if name == "normalised":
            return {"z": z - 0.1 * g / np.sqrt(np.sum(g**2))}
        if name == "sign with momentum":
            m = 0.9 * m + 0.1 * g
            return {"z": z - 0.1 * np.sign(m)}
        if name == "log decrease, capped":
            size = np.sqrt(np.sum(g**2))
            return {"z": z - min(loss(params) / size, 0.05 * np.sqrt(np.sum(z**2))) * g / size}
        state = rule.init(params) if state is None else state
        updates, state = rule.update(grads, state, params)
        return jax.tree.map(np.asarray, optax.apply_updates(params, updates))

    return move


@pytest.mark.parametrize("name", RULES)
def test_rules_act_on_the_trained_entries_alone(reference, name):
    loop = reference("plain_loop")
    problem = Problem(DATA, Net(), frozen=("a",), mask={"first": {"kernel": MASK.T}})
    run = simulate(
        problem, RULES[name][0], steps=STEPS, observe={"p": parameters}, when=range(STEPS + 1), seeds=2
    )
    params, sample = of(problem, 1)
    start, loss, flat = restricted(loop, params, sample, MASK.T)
    path = loop.train(loss, {"z": start}, STEPS, None, mover(name, loss))
    expected = np.stack([flat(p["z"]) for p in path])
    np.testing.assert_allclose(run.p.sel(seed=1), expected, rtol=0, atol=1e-11)
    moved = run.p.sel(seed=1).values != run.p.sel(seed=1, step=0).values
    trained = np.concatenate([np.zeros(WIDTH, bool), np.ones(WIDTH, bool), MASK.T.ravel()])
    np.testing.assert_array_equal(moved.any(axis=0), trained)  # the others stay to the bit


@part
class Sparse:
    """A mask of each seed's own."""

    share: Any = 0.5

    def mask(self, key, params):
        return {"first/kernel": jax.random.bernoulli(key, self.share, params["first"]["kernel"].shape)}


@pytest.mark.exhaustive
def test_masks_drawn_for_each_seed(reference):
    loop = reference("plain_loop")
    problem = Problem(DATA, Net(), frozen=("a",), mask=Sparse(Axis("share", [0.0, 0.5])))
    how = {"steps": STEPS, "observe": {"p": parameters}, "when": [2]}
    run = simulate(problem, RULES["normalised"][0], seeds=3, **how).p.sel(share=0.5)
    params, sample = of(problem, 2)
    mask = np.asarray(Sparse().mask(named_key(seed_key(2), "mask"), params)["first/kernel"])
    start, loss, flat = restricted(loop, params, sample, mask)
    path = loop.train(loss, {"z": start}, STEPS, None, mover("normalised", loss))
    np.testing.assert_allclose(run.sel(seed=2), [flat(path[t]["z"]) for t in (2, STEPS)], rtol=0, atol=1e-12)
    alone = simulate(
        Problem(DATA, Net(), frozen=("a",), mask=Sparse()), RULES["normalised"][0], seeds=[2], **how
    )
    np.testing.assert_allclose(alone.p[0], run.sel(seed=2), rtol=0, atol=1e-12)
    held = run.isel(step=-1) == simulate(
        problem, RULES["normalised"][0], seeds=3, **how | {"steps": 0, "when": []}
    ).p.sel(share=0.5).isel(step=0)
    assert len({one.tobytes() for one in held.values}) == 3


def test_a_name_freezes_all_below_it():
    problem = Problem(DATA, MLP((2,)), frozen=("Dense_0",))
    params = jax.eval_shape(lambda key: problem.init(key), jax.random.key(0))
    left = jax.eval_shape(lambda p: problem.trained(p, {}), params)
    assert left["Dense_0"] == {"bias": None, "kernel": None}
    assert left["Dense_1"] == params["Dense_1"]


TWO = Clusters(8, 2, 3, 2)
WRONG = {
    "name": ({"frozen": ("c",)}, "'c' is no parameter: there are W, b"),
    "everything": ({"frozen": ("W", "b")}, "all parameters are frozen: none is left to train"),
    "mask's name": ({"mask": {"c": MASK}}, "mask names 'c', which is no parameter"),
    "mask's shape": ({"mask": {"W": MASK}}, "mask of 'W' must have the parameter's shape \\(4, 8\\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_frozen_is_refused(untyped, case):
    given, words = WRONG[case]
    with pytest.raises(ValueError, match=words) as caught:
        simulate(Problem(TWO, TwoLayer(2), **given), steepest("l2", 0.1), steps=1, seeds=1)
    assert "\n" not in str(caught.value)


def test_names_and_masks_that_are_none_are_refused_when_the_problem_is_made(untyped):
    with pytest.raises(ValueError, match="frozen must be a tuple of names"):
        Problem(TWO, TwoLayer(2), frozen="W")
    with pytest.raises(ValueError, match="mask must map names of parameters to arrays"):
        Problem(TWO, TwoLayer(2), mask=MASK)


def test_gram_space_does_not_freeze_and_limits_need_trained_parameters(untyped):
    problem = Problem(TWO, TwoLayer(2), frozen=("b",))
    with pytest.raises(ValueError, match="some parameters are frozen or masked"):
        simulate(problem, steepest("l2", 0.1), steps=1, seeds=1, engine="gram")
    rule = within(steepest("l2", 0.1), box=(0.0, 1.0), only=("b",))
    with pytest.raises(ValueError, match="'b' is no parameter: there are W"):
        simulate(problem, rule, steps=1, seeds=1)
