"""Data that are drawn anew at every step, against a plain loop; and what goes with them."""

import jax
import numpy as np
import pytest

from dynamics.adversary import PGD
from dynamics.data import BinaryClasses, Clusters, Fresh, LinearTeacher, Shared
from dynamics.descent import steepest
from dynamics.engine.simulate import Interrupted, simulate
from dynamics.keys import named_key, seed_key
from dynamics.models import Linear, TwoLayer
from dynamics.observables import test_accuracy as accuracy_at_test
from dynamics.observables import training_loss, weights
from dynamics.problem import Problem

DIM, COUNT, STEPS = 4, 6, 9
STREAM = Problem(Fresh(LinearTeacher(DIM, COUNT, 20)), Linear())
OBSERVE = {"W": weights, "loss": training_loss, "accuracy": accuracy_at_test}
HOW = {"steps": STEPS, "observe": OBSERVE, "when": range(STEPS + 1)}


def of(seed, root=0):
    """Initial weights, the seed's draw and the samples of every step, as NumPy arrays."""
    key = seed_key(seed, root)
    data, start = named_key(key, "data"), STREAM.init(named_key(key, "init"))
    batches = [STREAM.data.batch(data, step) for step in range(STEPS)]
    return jax.device_get((start, STREAM.sample(data), batches))


@pytest.fixture(scope="module")
def run():
    return simulate(STREAM, steepest("l2", 0.5), seeds=4, **HOW)


def test_every_step_takes_its_own_samples_as_in_a_plain_loop(reference, run):
    loop = reference("plain_loop")
    start, draw, batches = of(2)

    def loss(params, step):
        batch = batches[step]
        return np.mean(loop.softplus(-batch.y * (batch.x @ params["W"][0])))

    path = loop.train(loss, start, STEPS, 0.5)
    np.testing.assert_allclose(run.W.sel(seed=2), [p["W"] for p in path], rtol=0, atol=1e-12)
    scores = [draw.test.x @ p["W"][0] * draw.test.y for p in path]
    np.testing.assert_allclose(run.accuracy.sel(seed=2), [np.mean(s > 0) for s in scores])
    # the seed's own training samples are looked at, and not trained on
    own = [np.mean(loop.softplus(-draw.train.y * (draw.train.x @ p["W"][0]))) for p in path]
    np.testing.assert_allclose(run.loss.sel(seed=2), own, rtol=1e-10)


@pytest.mark.exhaustive
def test_a_seed_alone_and_other_recording_times_are_the_same_run(run):
    alone = simulate(STREAM, steepest("l2", 0.5), steps=STEPS, observe=OBSERVE, when=[3, 4], seeds=[2])
    np.testing.assert_allclose(alone.W[0], run.W.sel(seed=2, step=[3, 4, STEPS]), rtol=0, atol=1e-13)


def test_a_run_that_was_interrupted_goes_on_with_the_samples_of_its_steps(run, tmp_path, monkeypatch):
    from dynamics.engine.interrupt import Interrupts

    count = iter(range(100))

    def stop(self):
        if next(count) == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Interrupts, "check", stop)
        with pytest.raises(Interrupted):
            simulate(STREAM, steepest("l2", 0.5), seeds=4, checkpoint=tmp_path, **HOW)
    resumed = simulate(STREAM, steepest("l2", 0.5), seeds=4, checkpoint=tmp_path, **HOW)
    np.testing.assert_array_equal(resumed.W, run.W)


@pytest.mark.exhaustive
def test_normalised_sign_descent_on_a_stream(reference):
    loop, steps = reference("numpy_loop"), reference("plain_loop")
    run = simulate(STREAM, steepest("linf", 0.1, normalize=True), seeds=[1], **HOW)
    start, _, batches = of(1)

    def loss(params, step):
        batch = batches[step]
        return np.mean(steps.softplus(-batch.y * (batch.x @ params["W"][0])))

    def move(params, grads):
        return loop.step(params, grads, "sign", 0.1, normalize=True)

    path = steps.train(loss, start, STEPS, None, move)
    np.testing.assert_allclose(run.W[0], [p["W"] for p in path], rtol=0, atol=1e-12)


REFUSED = {
    "batches": (STREAM, {"batch_size": 2}, "batch_size is for samples that are drawn once"),
    "gram": (
        Problem(Fresh(Clusters(DIM, 2, COUNT, 5)), TwoLayer(2)),
        {"engine": "gram"},
        "the data give every step samples of its own",
    ),
    "inside": (Problem(Shared(STREAM.data), Linear()), {}, "put Fresh outside, as in Fresh\\(Shared"),
    "relabelled": (Problem(BinaryClasses(STREAM.data), Linear()), {}, "put Fresh outside"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_stream_cannot_do_is_refused_in_words(untyped, case):
    problem, options, words = REFUSED[case]
    with pytest.raises((ValueError, TypeError), match=words) as caught:
        simulate(problem, steepest("l2", 0.5), steps=1, seeds=1, **options)
    assert "\n" not in str(caught.value)


def test_a_warm_start_wants_the_same_samples(untyped):
    attack = PGD(0.1, random_start=False, warm_start=True)
    with pytest.raises(ValueError, match="warm_start needs the same samples at every step"):
        Problem(STREAM.data, Linear(), adversary=attack)


def test_samples_of_a_step_must_be_like_the_seeds_own(untyped):
    from dynamics.data import Sample
    from dynamics.parts import part

    @part
    class Other:
        def sample(self, key):
            return STREAM.data.sample(key)

        def batch(self, key, step):
            sample = STREAM.data.batch(key, step)
            return Sample(sample.x[:, :2], sample.y, sample.target, sample.feature)

    with pytest.raises(ValueError, match="the samples of a step must be of the same form"):
        simulate(Problem(Other(), Linear()), steepest("l2", 0.5), steps=1, seeds=1)
