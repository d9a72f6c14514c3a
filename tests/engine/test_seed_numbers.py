"""A number of each seed's own is what a loop over the seeds would give each of them."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import observables as o
from dynamics.data.teachers import LinearTeacher
from dynamics.descent import steepest, traced
from dynamics.engine import simulate as door
from dynamics.engine.execution import Execution
from dynamics.engine.gather import execute_all
from dynamics.engine.job import Job
from dynamics.engine.simulate import Interrupted, Unfinished, simulate
from dynamics.keys import named_key, seed_key
from dynamics.models.linear import Linear
from dynamics.observables.base import observable
from dynamics.parts import Axis, PerSeed, part
from dynamics.problem import Problem

SEEDS = [4, 7, 2**32 - 1]
DATA = LinearTeacher(3, 5, 4)
PROBLEM = Problem(DATA, Linear(), "squared")
WHEN = [0, 2, 6]


@observable(about="step size")
def step_size(params, problem, draw, relative):
    """Relative to the largest eigenvalue of the training inputs' covariance."""
    del params, problem
    x = draw.train.x
    return relative / jnp.linalg.norm(x.T @ x / len(x), 2)


@observable(about="a number times the loss", random=True)
def scaled_loss(params, problem, draw, key, rate):
    """The loss times a number."""
    return rate * problem.training_loss(params, draw.train, draw, key)


OBSERVED = {"W": o.weights, "loss": o.training_loss}
RATE = PerSeed(step_size.given(relative=0.5))


def size_of(seed, relative=0.5):
    """The same number in plain NumPy."""
    x = np.asarray(DATA.sample(named_key(seed_key(seed), "data")).train.x)
    return relative / np.linalg.svd(x, compute_uv=False)[0] ** 2 * len(x)


def run(rate=RATE, seeds=SEEDS, problem=PROBLEM, observe=OBSERVED, **how):
    return simulate(problem, steepest("l2", rate), steps=6, when=WHEN, observe=observe, seeds=seeds, **how)


@pytest.fixture(scope="module")
def loop():
    """Every seed by itself, with its number as a constant."""
    return [run(size_of(seed), [seed], engine="direct") for seed in SEEDS]


@pytest.mark.parametrize(
    "how", [{"engine": "direct", "strategy": "vmap"}, {"strategy": "map"}, {"engine": "gram"}]
)
def test_agrees_with_a_loop_over_seeds(loop, how):
    found = run(**how)
    for name in OBSERVED:
        wanted = np.concatenate([one[name].values for one in loop])
        np.testing.assert_allclose(found[name].values, wanted, rtol=1e-10, atol=1e-12)
    assert len(np.unique(found.loss.isel(step=-1))) == len(SEEDS)


def test_a_seed_alone_is_the_seed_in_a_batch():
    whole = run()
    for seed in SEEDS[1:]:
        np.testing.assert_allclose(run(seeds=[seed]).W.values[0], whole.W.sel(seed=seed).values, rtol=1e-12)


@pytest.mark.exhaustive
def test_an_axis_may_stand_in_it_and_it_in_an_observable():
    relative = Axis("relative", [0.1, 1.5])
    rate = PerSeed(step_size.given(relative=relative))
    found = run(rate, observe={"loss": o.training_loss, "scaled": scaled_loss.given(rate=rate)})
    assert found.loss.dims == ("relative", "seed", "step")
    for i, factor in enumerate(relative.values):
        for j, seed in enumerate(SEEDS):
            alone = run(size_of(seed, factor), [seed]).loss.values[0]
            np.testing.assert_allclose(found.loss.values[i, j], alone, rtol=1e-9)
            np.testing.assert_allclose(found.scaled.values[i, j], size_of(seed, factor) * alone, rtol=1e-9)


@pytest.mark.exhaustive
def test_jobs_that_differ_in_a_number_of_it_are_one_program():
    def job(relative):
        rate = PerSeed(step_size.given(relative=relative))
        return Job(PROBLEM, steepest("l2", rate), steps=6, when=WHEN, observe=OBSERVED)

    said = []
    asked = {number: {"arm": job(relative)} for number, relative in enumerate((0.5, 0.25))}
    found = execute_all(asked, Execution(SEEDS), said.append)
    assert said == ["program 1 of 1: arm, 2 different runs of every seed"]
    np.testing.assert_allclose(found[0]["arm"].W.values, run().W.values, rtol=1e-12)


class Normed(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
        return nn.Dense(1)(nn.BatchNorm(use_running_average=not train, param_dtype=float)(x))[:, 0]


@pytest.mark.exhaustive
def test_it_is_taken_of_what_a_model_keeps_beside_its_parameters():
    normed = Problem(DATA, Normed(), "squared")
    observe = {"loss": o.training_loss, "scaled": scaled_loss.given(rate=PerSeed(o.training_loss))}
    found = run(0.1, problem=normed, observe=observe)
    np.testing.assert_allclose(found.scaled, found.loss * found.loss.isel(step=0), rtol=1e-12)


@part
class OwnStart:
    """Initial weights that are made of the seed."""

    seed: Any = PerSeed()

    def params(self, model, draw):
        del model
        return {"W": jnp.full((1, draw.train.x.shape[1]), jnp.asarray(self.seed, float))}


def test_the_seed_itself_may_stand_in_a_problem():
    found = run(problem=Problem(DATA, Linear(), "squared", start=OwnStart()))
    np.testing.assert_array_equal(found.W.values[:, 0, 0], np.repeat(np.array(SEEDS, float)[:, None], 3, 1))


def test_goes_on_bit_for_bit_where_it_was_interrupted(tmp_path, monkeypatch):
    whole, kept = run(), []
    original = door.Progress.update

    def update(self, step):
        kept.append(step)
        if step == WHEN[1]:
            raise KeyboardInterrupt
        original(self, step)

    monkeypatch.setattr("dynamics.engine.chunk.KEEP_EVERY_S", 0.0)
    monkeypatch.setattr(door.Progress, "update", update)
    with pytest.raises(Interrupted):
        run(checkpoint=tmp_path)
    monkeypatch.setattr(door.Progress, "update", original)
    again = run(checkpoint=tmp_path)
    assert kept == WHEN[:2]
    for name in OBSERVED:
        np.testing.assert_array_equal(again[name].values, whole[name].values)


@pytest.mark.exhaustive
def test_processes_may_share_it(tmp_path):
    with pytest.raises(Unfinished):
        run(checkpoint=tmp_path, share=(0, 2))
    shared = run(checkpoint=tmp_path, share=(1, 2))
    np.testing.assert_allclose(shared.W.values, run().W.values, rtol=1e-12)


@part
class Told(LinearTeacher):
    """Data that ask for their seed."""

    own: Any = PerSeed()


@pytest.mark.parametrize(
    ("rate", "problem", "error", "words"),
    [
        (PerSeed(0.5), PROBLEM, TypeError, "must be an Observable"),
        (PerSeed(step_size), PROBLEM, TypeError, "needs relative"),
        (PerSeed(o.margins), PROBLEM, ValueError, "an observable of one number"),
        (PerSeed(step_size.given(relative=RATE)), PROBLEM, ValueError, "an observable of one number"),
        (0.1, Problem(DATA, Linear(), "squared", start=OwnStart(RATE)), ValueError, "in the problem"),
        (0.1, Problem(Told(3, 5, 4), Linear(), "squared"), ValueError, "cannot stand in the data"),
    ],
)
def test_what_it_cannot_be_and_where_it_cannot_stand(untyped, rate, problem, error, words):
    with pytest.raises(error, match=words) as caught:
        run(rate, problem=problem)
    assert "\n" not in str(caught.value)


def test_it_is_none_to_compute_with():
    with pytest.raises(TypeError, match="a PerSeed is a number of each seed, and none to compute with"):
        2.0 * RATE
    assert traced(lambda learning_rate: None, learning_rate=RATE).recipe.numbers == {"learning_rate": RATE}
