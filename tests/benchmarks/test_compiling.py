"""What a first `simulate` compiles, and what other numbers of seeds and other rates compile after it.

`python tests/benchmarks/test_compiling.py` prints seconds of CPU too, which drift between machines; the test
looks at the numbers of programs, which do not.
"""

import json
import os
import subprocess
import sys
import tempfile

import pytest

PROGRAM = """
import json, time

begun = time.process_time()
import jax
import optax

import dynamics
from dynamics import Problem, observables, simulate, steepest
from dynamics.data import Clusters
from dynamics.models import TwoLayer

programs, rows = [], {"imports": (time.process_time() - begun, 0)}
jax.monitoring.register_event_duration_secs_listener(
    lambda event, _, **about: programs.append(about) if event.endswith("backend_compile_duration") else None
)
problem = Problem(Clusters(dim=50, num_clusters=4, num_samples=200), TwoLayer(width=4))
observe = {"alignment": observables.alignment}


def row(name, rule, seeds):
    began, before = time.process_time(), len(programs)
    simulate(problem, rule, steps=100, observe=observe, seeds=seeds)
    rows[name] = (time.process_time() - began, len(programs) - before)


row("first, 7 seeds", steepest("l2", 0.1), 7)
for seeds in (11, 13, 8):
    row(f"then {seeds}", steepest("l2", 0.1), seeds)
row("another rate", steepest("l2", 0.2), 8)
row("dynamics.optax.adamw", dynamics.optax.adamw(1e-3), 8)
row("another rate of it", dynamics.optax.adamw(2e-3), 8)
print(json.dumps(rows))
"""


def measured():
    """Seconds of CPU and programs compiled, by what was asked for, in a fresh process that has no cache."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"DYNAMICS_CACHE": cache}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
        )
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_programs_are_few_and_used_again():
    programs = {name: count for name, (_, count) in measured().items()}
    assert programs["imports"] == 0
    assert programs["first, 7 seeds"] <= 8
    assert programs["then 11"] <= 5  # the next power of two
    assert programs["then 13"] == programs["then 8"] == programs["another rate"] == 0
    assert programs["dynamics.optax.adamw"] <= 5
    assert programs["another rate of it"] == 0


if __name__ == "__main__":
    for name, (seconds, count) in measured().items():
        print(f"{name:24} {seconds:6.2f} s of CPU, {count} programs")
