"""What a step in Gram space costs does not depend on the dimension."""

import statistics
import time

import jax
import pytest

from dynamics.data.clusters import Clusters
from dynamics.descent import steepest
from dynamics.engine import gram
from dynamics.engine.simulate import simulate
from dynamics.models.two_layer import TwoLayer
from dynamics.problem import Problem

SMALL, LARGE = 3072, 49152
STEPS, REPEATS = 1000, 5


class Timed:
    """A program that notes how long each of its calls took."""

    def __init__(self, program):
        self.program, self.shapes, self.seconds = program, program.shapes, []

    def __call__(self, *args):
        jax.block_until_ready(args[1:])
        begun = time.perf_counter()
        result = jax.block_until_ready(self.program(*args))
        self.seconds.append(time.perf_counter() - begun)
        return result


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_step_costs_the_same_in_sixteen_times_the_dimensions(untyped, monkeypatch, record_property):
    timed = Timed(gram.advance)
    monkeypatch.setattr(gram, "advance", timed)

    def seconds(dim):
        timed.seconds.clear()
        problem = Problem(Clusters(dim, 10, 1000, 10), TwoLayer(5), init_scale=1e-5)
        simulate(problem, steepest("l2", 3 / dim), steps=STEPS, when=[], seeds=1, engine="gram")
        return timed.seconds[-1]

    with jax.enable_x64(False):
        for dim in (SMALL, LARGE):
            seconds(dim)  # compile
        times = [(seconds(SMALL), seconds(LARGE)) for _ in range(REPEATS)]  # in turns
    ratio = statistics.median(large / small for small, large in times)
    record_property("ratio", ratio)
    print(f"\na step at d={LARGE} / d={SMALL}: {ratio:.3f}, {times}")
    assert ratio < 1.25
