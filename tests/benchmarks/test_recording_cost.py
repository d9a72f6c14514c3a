"""What recording costs, as a ratio of two runs in one process."""

import statistics
import time

import jax
import pytest

from dynamics.data.clusters import Clusters
from dynamics.descent import steepest
from dynamics.engine.schedule import linear_spaced
from dynamics.engine.simulate import simulate
from dynamics.models.two_layer import TwoLayer
from dynamics.observables.alignment import alignment
from dynamics.problem import Problem

STEPS, REPEATS = 1000, 5


@pytest.mark.exhaustive
@pytest.mark.slow
def test_recording_alignments_at_64_times_costs_little(untyped, record_property):
    problem = Problem(Clusters(3072, 10, 1000, 10), TwoLayer(5), init_scale=1e-5)
    choices = {
        "none": {"observe": {}, "when": []},
        "alignments": {"observe": {"alignment": alignment}, "when": linear_spaced(STEPS, 64)},
    }

    def seconds(choice):
        begun = time.perf_counter()
        simulate(problem, steepest("l2", 1e-3), steps=STEPS, seeds=2, **choices[choice])
        return time.perf_counter() - begun

    with jax.enable_x64(False):
        for choice in choices:
            seconds(choice)  # compile
        times = {choice: [] for choice in choices}
        for _ in range(REPEATS):  # in turns, so that a busy machine slows both
            for choice in choices:
                times[choice].append(seconds(choice))
    medians = {choice: statistics.median(values) for choice, values in times.items()}
    ratio = statistics.median(a / b for a, b in zip(times["alignments"], times["none"], strict=True))
    record_property("ratio", ratio)
    print(f"\nrecording / not recording: {ratio:.4f}, medians {medians}, all {times}")
    assert ratio < 1.10
