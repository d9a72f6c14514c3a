"""A job is what is trained, as a value: refused when it is made, and the same however it is executed."""

import dataclasses

import jax
import numpy as np
import pytest

from dynamics import observables as o
from dynamics.data.teachers import LinearTeacher
from dynamics.descent import steepest
from dynamics.engine.blank import blank
from dynamics.engine.execution import Execution
from dynamics.engine.job import Job
from dynamics.engine.simulate import Unfinished, execute, simulate
from dynamics.models.linear import Linear
from dynamics.problem import Problem

PROBLEM = Problem(LinearTeacher(3, 5, 4), Linear())
RULE = steepest("l2", 0.5)
OBSERVED = {"W": o.weights, "loss": o.training_loss}
JOB = Job(PROBLEM, RULE, steps=4, when=[0, 2], observe=OBSERVED, observe_end={"margins": o.margins})


def same(one, other):
    assert set(one.data_vars) == set(other.data_vars)
    for name in one.data_vars:
        np.testing.assert_array_equal(one[name].values, other[name].values)


@pytest.mark.exhaustive
def test_executed_it_is_the_call_of_simulate():
    options = {"when": JOB.when, "observe": JOB.observe, "observe_end": JOB.observe_end}
    found = simulate(PROBLEM, RULE, steps=4, seeds=3, **options)
    same(execute(JOB, Execution(3)), found)
    assert execute(JOB, Execution(3)).attrs["identity"] == found.attrs["identity"]


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64")
def test_its_precision_is_its_own():
    narrow = dataclasses.replace(JOB, float64=False)
    found = execute(narrow, Execution(2))
    assert found.W.dtype == np.float32
    assert found.attrs["float64"] == "False"
    with jax.enable_x64(False):
        made = Job(PROBLEM, steepest("l2", 0.5), steps=4, when=[0, 2], observe=OBSERVED)
        alone = execute(made, Execution(2))
    assert not made.float64
    np.testing.assert_array_equal(found.W.values, alone.W.values)
    assert execute(JOB, Execution(2)).W.dtype == np.float64
    assert blank(narrow, [0]).W.dtype == np.float32


@pytest.mark.exhaustive
def test_seeds_of_its_own_are_no_share_of_the_runs(tmp_path):
    own = dataclasses.replace(JOB, seeds=[6])
    shared = execute(own, Execution(range(4), tmp_path, share=(1, 2)))
    assert shared.seed.values.tolist() == [6]
    same(shared, execute(JOB, Execution([6])))
    assert own.whole


def test_what_later_jobs_need_every_process_makes(tmp_path):
    with pytest.raises(Unfinished):
        execute(JOB, Execution(3, tmp_path / "part", share=(0, 2)))
    whole = execute(dataclasses.replace(JOB, whole=True), Execution(3, tmp_path / "whole", share=(0, 2)))
    same(whole, execute(JOB, Execution(3)))


def test_still_takes_no_step():
    found = execute(Job.still(PROBLEM, {"margins": o.margins}), Execution(2))
    assert found.margins.dims == ("seed", "sample")
    assert found.step.values.tolist() == [0]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"problem": 3}, TypeError, "problem must be a Problem, got int"),
        ({"descent": 0.1}, TypeError, "descent must be an optax transformation"),
        ({"steps": -1}, ValueError, "steps must be an integer of at least 0"),
        ({"when": [3, 1]}, ValueError, "when must increase"),
        ({"observe": [o.weights]}, TypeError, "observe must map names to Observables"),
        ({"batch_size": 0}, ValueError, "batch_size must be"),
        ({"seeds": [1, 1]}, ValueError, "seeds must be different"),
    ],
)
def test_bad_jobs_are_refused_when_they_are_made(untyped, change, error, words):
    with pytest.raises(error, match=words):
        dataclasses.replace(JOB, **change)


def test_execution_by_name(untyped, tmp_path):
    how = Execution(seeds=2, checkpoint=str(tmp_path), memory=10**9)
    assert how.seeds == (0, 1)
    named = how.named("arm")
    assert (named.checkpoint, named.label, named.memory) == (tmp_path / "arm", "arm", 10**9)
    assert Execution().named("arm").checkpoint is None
    for bad in ({"seeds": 0}, {"memory": 0}, {"share": (0, 2)}, {"share": 1, "checkpoint": "here"}):
        with pytest.raises(ValueError, match=r"must be|needs a checkpoint"):
            Execution(**bad)
