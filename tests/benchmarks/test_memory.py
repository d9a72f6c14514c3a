"""Peak memory beside its estimate, and under a limit, each in a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
from dynamics import prepare
prepare()
from dynamics import Problem, observables as o, simulate, steepest
from dynamics.data.clusters import Clusters
from dynamics.engine import memory
from dynamics.models.two_layer import TwoLayer

engine, strategy, seeds, limit, calls = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
problem = Problem(Clusters(3072, 10, 1000, 500), TwoLayer(5), init_scale=1e-5)
found = []
for _ in range(calls):
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak starts anew
    ds = simulate(
        problem, steepest("l2", 1e-3), steps=5, when=[0, 5], seeds=seeds, engine=engine, strategy=strategy,
        observe={"alignment": o.alignment, "accuracy": o.test_accuracy}, memory=limit or None,
    )
    found.append(
        {"peak": memory.peak(), "estimate": ds.attrs["memory_estimate"], "chunk": ds.attrs["chunk"]}
    )
print(json.dumps(found))
"""


def measured(engine, strategy, seeds, limit=0, calls=1):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "DYNAMICS_CACHE": "off"}
    command = [sys.executable, "-c", SCRIPT, engine, strategy, *map(str, (seeds, limit, calls))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(("engine", "strategy", "seeds"), [("gram", "vmap", 16), ("direct", "map", 4)])
def test_the_peak_is_within_a_fifth_of_the_estimate_at_every_call(engine, strategy, seeds, record_property):
    found = measured(engine, strategy, seeds, calls=3)
    ratios = [call["peak"] / call["estimate"] for call in found]
    record_property("ratios", ratios)
    assert all(0.8 < ratio < 1.2 for ratio in ratios), found


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_peak_stays_under_a_limit():
    limit = int(1.2 * 2**30)
    for call in measured("gram", "vmap", 24, limit, calls=2):
        assert call["chunk"] < 24
        assert call["peak"] < limit, call
