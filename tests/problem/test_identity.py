"""All that a problem says is part of what tells its runs apart; its numbers are traced, and nothing else."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.data import Clusters, Fresh
from dynamics.descriptions import describe, opaque
from dynamics.engine.checkpoint import identity_of
from dynamics.models import TwoLayer
from dynamics.parts import bind, partition
from dynamics.problem import GroupLasso, Lasso, Loss, Problem, Ridge

DATA = Clusters(6, 2, 5, 3)
PLAIN = Problem(DATA, TwoLayer(2))
MASK = np.ones((4, 6))


def huber(outputs, sample, width):
    return jnp.minimum(jnp.abs(outputs - sample.y), width)


def absolute(outputs, sample):
    return jnp.abs(outputs - sample.y)


CHANGES = {
    "stream": {"data": Fresh(DATA)},
    "function": {"loss": absolute},
    "bound": {"loss": bind(huber, width=0.5)},
    "terms": {"terms": (Ridge(0.1),)},
    "only": {"terms": (Ridge(0.1, only=("W",)),)},
    "loss as a term": {"terms": (Loss("squared", 0.1),)},
    "two": {"terms": (Ridge(0.1), Ridge(0.1))},
    "frozen": {"frozen": ("W",)},
    "frozen b": {"frozen": ("b",)},
    "mask": {"mask": {"W": MASK}},
    "another mask": {"mask": {"W": 0 * MASK}},
    "lasso": {"penalty": Lasso(0.1)},
    "groups": {"penalty": GroupLasso(0.1)},
    "axis": {"penalty": GroupLasso(0.1, axis=0)},
}


def test_each_change_is_another_identity():
    problems = [PLAIN, *(dataclasses.replace(PLAIN, **change) for change in CHANGES.values())]
    found = {identity_of(describe(problem)) for problem in problems}
    assert len(found) == len(problems)
    assert all(opaque(describe(problem)) is None for problem in problems)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"terms": (Ridge(0.1),)}, {"terms": (Ridge(0.2),)}),
        ({"terms": (Loss("squared", 0.1),)}, {"terms": (Loss("squared", 0.2),)}),
        ({"loss": bind(huber, width=0.5)}, {"loss": bind(huber, width=0.7)}),
        ({"penalty": Lasso(0.1)}, {"penalty": Lasso(0.2)}),
        ({"mask": {"W": MASK}}, {"mask": {"W": 0 * MASK}}),
    ],
)
def test_numbers_are_traced_and_part_of_the_identity(one, other):
    one, other = (dataclasses.replace(PLAIN, **given) for given in (one, other))
    assert partition(one)[1] == partition(other)[1]
    assert identity_of(describe(one)) != identity_of(describe(other))
