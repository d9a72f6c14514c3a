"""A training is its jobs: side by side, or one after another where a later one needs an earlier result."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import observables as o
from dynamics import results
from dynamics.data.teachers import LinearTeacher
from dynamics.descent import steepest
from dynamics.engine import stages
from dynamics.engine.execution import Execution
from dynamics.engine.gather import execute_all
from dynamics.engine.job import Job
from dynamics.engine.simulate import Interrupted, Unfinished, execute
from dynamics.engine.stages import Stages, carry_out, in_precision
from dynamics.models.linear import Linear
from dynamics.problem import Problem

SEEDS = [1, 5]


def job(rate, **options):
    problem = Problem(LinearTeacher(3, 5, 4), Linear())
    observe = {"loss": o.training_loss, "W": o.weights}
    return Job(problem, steepest("l2", rate), steps=3, observe=observe, when=[0], **options)


def arms(rates):
    return {f"rate {rate}": job(rate) for rate in rates}


def in_turn(rate):
    """The second network learns as fast as the first one has become good."""
    found = yield {"first": job(rate, whole=True)}
    loss = float(found["first"].loss.isel(step=-1).mean())
    found = yield {"second": job(loss)}
    return found["second"].assign(earlier=loss)


def test_jobs_are_joined_along_the_arms():
    found = carry_out(arms, (0.1, 0.5), Execution(SEEDS), "rate")
    assert found.rate.values.tolist() == ["rate 0.1", "rate 0.5"]
    alone = execute(job(0.5), Execution(SEEDS))
    np.testing.assert_array_equal(found.W.values[1], alone.W.values)
    single = carry_out(arms, (0.5,), Execution(SEEDS))
    assert "rate" not in single.dims
    np.testing.assert_array_equal(single.W.values, alone.W.values)


def test_a_later_job_has_an_earlier_result():
    found = carry_out(in_turn, 0.3, Execution(SEEDS))
    first = execute(job(0.3), Execution(SEEDS))
    loss = float(first.loss.isel(step=-1).mean())
    assert float(found.earlier) == loss
    np.testing.assert_array_equal(found.W.values, execute(job(loss), Execution(SEEDS)).W.values)


@pytest.mark.parametrize(
    ("train", "error", "words"),
    [
        (lambda config: job(0.1), TypeError, "must give jobs by name, at once or one after another, got Job"),
        (lambda config: {"a": 1}, TypeError, "must give jobs, but 'a' is int"),
        (lambda config: arms((0.1, 0.2)), ValueError, "joined along a dimension"),
    ],
)
def test_what_is_no_training_is_refused(untyped, train, error, words):
    with pytest.raises(error, match=words):
        Stages(train, None)


def test_two_jobs_of_one_name_are_refused():
    def twice(config):
        yield {"a": job(0.1)}
        yield {"a": job(0.2)}

    begun = Stages(twice, None)
    with pytest.raises(ValueError, match="two jobs of one training are called 'a'"):
        begun.answer({})


def interrupt_at(monkeypatch, stop):
    """Ctrl-C before the job of this name has recorded anything."""
    made = []

    def stopped(one, execution):
        if execution.label == stop:
            raise KeyboardInterrupt
        made.append(execution.label)
        return execute(one, execution)

    monkeypatch.setattr(stages, "execute", stopped)
    return made


def test_interrupted_between_jobs_keeps_those_before(monkeypatch):
    interrupt_at(monkeypatch, "rate 0.5")
    with pytest.raises(Interrupted, match=r"interrupted before rate 0\.5") as caught:
        carry_out(arms, (0.1, 0.5), Execution(SEEDS), "rate")
    assert caught.value.dataset.rate.values.tolist() == ["rate 0.1"]
    assert caught.value.dataset.attrs["complete"] == 0
    with pytest.raises(KeyboardInterrupt) as nothing:
        carry_out(arms, (0.5, 0.1), Execution(SEEDS), "rate")
    assert type(nothing.value) is KeyboardInterrupt


def test_goes_on_with_the_stage_that_was_interrupted(tmp_path, monkeypatch):
    whole = carry_out(in_turn, 0.3, Execution(SEEDS))
    interrupt_at(monkeypatch, "second")
    with pytest.raises(KeyboardInterrupt):
        carry_out(in_turn, 0.3, Execution(SEEDS, tmp_path))
    kept = (tmp_path / "first" / "result.nc").stat().st_mtime_ns
    monkeypatch.setattr(stages, "execute", execute)
    again = carry_out(in_turn, 0.3, Execution(SEEDS, tmp_path))
    assert (tmp_path / "first" / "result.nc").stat().st_mtime_ns == kept
    for name in whole.data_vars:
        np.testing.assert_array_equal(whole[name].values, again[name].values)


@pytest.mark.exhaustive
def test_processes_share_all_jobs_of_a_stage(tmp_path):
    with pytest.raises(Unfinished, match="2 of 4 runs are done"):
        carry_out(arms, (0.1, 0.5), Execution(SEEDS, tmp_path, share=(0, 2)), "rate")
    found = carry_out(arms, (0.1, 0.5), Execution(SEEDS, tmp_path, share=(1, 2)), "rate")
    whole = carry_out(arms, (0.1, 0.5), Execution(SEEDS), "rate")
    np.testing.assert_allclose(found.W.values, whole.W.values, rtol=1e-12)


@pytest.mark.exhaustive
def test_processes_share_the_last_stage_and_each_make_the_one_before(tmp_path):
    with pytest.raises(Unfinished, match="1 of 2 runs are done"):
        carry_out(in_turn, 0.3, Execution(SEEDS, tmp_path, share=(0, 2)))
    found = carry_out(in_turn, 0.3, Execution(SEEDS, tmp_path, share=(1, 2)))
    np.testing.assert_allclose(found.W.values, carry_out(in_turn, 0.3, Execution(SEEDS)).W.values, rtol=1e-12)


@pytest.mark.parametrize("float64", [True, False, None])
def test_all_of_a_training_is_in_one_precision(float64):
    seen = []

    def train(rate):
        seen.append(jnp.ones(()).dtype)
        found = yield {"only": job(rate)}
        seen.append(jnp.ones(()).dtype)
        return found["only"]

    for outer in (True, False):
        wanted = np.dtype(np.float64 if (outer if float64 is None else float64) else np.float32)
        with jax.enable_x64(outer):
            found = carry_out(lambda rate: in_precision(float64, train, rate), 0.5, Execution([0]))
            jobs = in_precision(float64, arms, (0.5,))
            assert jnp.ones(()).dtype == (np.float64 if outer else np.float32)
        assert seen[-2:] == [wanted, wanted]
        assert found.W.dtype == wanted
        assert jobs["rate 0.5"].float64 == (wanted == np.float64)


@pytest.mark.exhaustive
def test_a_sweeps_points_advance_together():
    points = {number: Stages(in_turn, rate) for number, rate in enumerate((0.1, 0.3, 0.3))}
    said = []
    while asked := {number: point.jobs for number, point in points.items() if point.jobs}:
        for number, found in execute_all(asked, Execution(SEEDS), said.append).items():
            points[number].answer(found)
    assert said == [f"program 1 of 1: {name}, 2 different runs of every seed" for name in ("first", "second")]
    for number, rate in enumerate((0.1, 0.3, 0.3)):
        alone = carry_out(in_turn, rate, Execution(SEEDS))
        np.testing.assert_allclose(points[number].result.W.values, alone.W.values, rtol=1e-10)
    assert "step" not in results.without_steps(points[0].result).dims


def test_a_job_keeps_its_seeds_among_others():
    own = dataclasses.replace(job(0.5), seeds=[9])
    found = carry_out(lambda config: {"own": own}, None, Execution(SEEDS))
    assert found.seed.values.tolist() == [9]
