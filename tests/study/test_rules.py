"""Fields of several update rules: what each algorithm gets of them, and what is refused."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.data import Spiked
from dynamics.models import Linear
from dynamics.problem import Problem
from dynamics.study.rules import RulesConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules(RulesConfig):
    steps: int = 3
    records: int = 2


GRADIENT = {"w": jnp.asarray([3.0, -4.0])}


def step_of(config, algorithm):
    """The first step of an algorithm's rule along a gradient, at a loss of 1."""
    rule = config.update_rule(algorithm)
    params = {"w": jnp.ones(2)}
    return np.asarray(rule.update(GRADIENT, rule.init(params), params, value=jnp.asarray(1.0))[0]["w"])


def test_one_value_is_for_all_algorithms_and_several_for_one_each():
    one = Rules(algorithms=("gd", "sign"), step_rule=("raw",), learning_rate=(0.1,), objective="loss")
    np.testing.assert_allclose(step_of(one, "gd"), [-0.3, 0.4], rtol=1e-6)
    each = dataclasses.replace(one, learning_rate=(0.1, 0.01), step_rule=("raw", "normalized"))
    np.testing.assert_allclose(step_of(each, "gd"), [-0.3, 0.4], rtol=1e-6)
    np.testing.assert_allclose(step_of(each, "sign"), [-0.01, 0.01], rtol=1e-6)


def test_every_algorithm_has_a_norm_of_its_own():
    config = Rules(algorithms=("gd", "sign", "coordinate", "adam", "muon", "momentum", "l1.5"))
    norms = [config.own_norm(name) for name in config.algorithms]
    assert norms == ["l2", "linf", "l1", "linf", "spectral", "l2", "l1.5"]


def test_jobs_differ_by_their_rule_alone():
    config = Rules(algorithms=("gd", "sign"), learning_rate=(0.1,))
    problem = Problem(Spiked(num_samples=4, num_test=4), Linear())
    jobs = config.each(lambda name: problem, observe={})
    assert list(jobs) == ["gd", "sign"]
    assert jobs["gd"].steps == 3
    assert jobs["gd"].problem is jobs["sign"].problem
    assert jobs["gd"].descent != jobs["sign"].descent


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"algorithms": ("nope",)}, "nope"),
        ({"algorithms": ()}, "algorithms"),
        ({"algorithms": ("gd", "gd")}, "algorithms"),
        ({"algorithms": ("gd", "sign"), "learning_rate": (0.1, 0.2, 0.3)}, "one value for all of the 2"),
        ({"algorithms": ("adam",), "adam_eps": 0.0, "objective": "loss"}, "adam_eps must be above 0"),
    ],
)
def test_refusals(values, said):
    with pytest.raises(ValueError, match=said):
        Rules(**values)
