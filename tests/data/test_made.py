"""Data made for each seed are found again by the seed's key, also in a batch."""

import jax
import numpy as np
import pytest

from dynamics import observables as o
from dynamics.data import Rescaled, Shared
from dynamics.data.images import LabelledImages
from dynamics.data.made import Made
from dynamics.descent import steepest
from dynamics.engine.simulate import simulate
from dynamics.keys import named_key, seed_key
from dynamics.models.mlp import MLP
from dynamics.problem import Problem

SEEDS = [3, 0, 2**32 - 1]


def images(seed):
    rng = np.random.default_rng(seed)
    x, test = rng.uniform(size=(6, 4)), rng.uniform(size=(5, 4))
    return LabelledImages(x, np.arange(6) % 2, (-1, 1), 6, 5, test, np.arange(5) % 2)


@pytest.fixture(scope="module")
def made():
    return Made.of(SEEDS, [images(seed) for seed in SEEDS])


def test_each_seed_has_its_own(made):
    for seed in SEEDS:
        key = named_key(seed_key(seed), "data")
        found, wanted = made.sample(key), images(seed).sample(key)
        jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.exhaustive
def test_runs_on_them_are_runs_on_each(made):
    def run(data, seeds):
        problem = Problem(data, MLP((3,), 2), "cross_entropy")
        observe = {"loss": o.training_loss}
        return simulate(problem, steepest("l2", 0.1), steps=3, observe=observe, seeds=seeds).loss.values

    whole = run(made, SEEDS)
    for place, seed in enumerate(SEEDS):
        np.testing.assert_allclose(whole[place], run(images(seed), [seed])[0], rtol=1e-12)


def test_seeds_and_roots_that_have_no_data_are_refused(made):
    def run(data, **how):
        simulate(Problem(data, MLP((3,), 2), "cross_entropy"), steepest("l2", 0.1), steps=1, **how)

    for data in (made, Rescaled(made)):
        with pytest.raises(ValueError, match="those of the seeds 3, 0, 4294967295, and not of 7"):
            run(data, seeds=[3, 7])
    with pytest.raises(ValueError, match="with root 0 only, got 5"):
        run(made, seeds=[3], root=5)
    with pytest.raises(ValueError, match="and not of 1"):
        run(Shared(made, seed=1), seeds=2)
