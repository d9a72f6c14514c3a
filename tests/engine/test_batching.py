"""Chunks, lanes, devices, shares and shared data change no result; memory that runs out is worked around."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import observables as o
from dynamics.data.clusters import Clusters
from dynamics.data.shared import Shared
from dynamics.descent import named, steepest
from dynamics.engine import batching, chunk, direct, gram, layout, memory
from dynamics.engine.progress import Progress
from dynamics.engine.simulate import Interrupted, Unfinished, simulate
from dynamics.keys import named_key, seed_key
from dynamics.models.two_layer import TwoLayer
from dynamics.observables.base import observable
from dynamics.parts import Axis, part
from dynamics.problem import Problem

ROOT = Path(__file__).parents[2]
DATA = Clusters(dim=30, num_clusters=4, num_samples=12, num_test=9, centre_norm=3.0)
PROBLEM = Problem(DATA, TwoLayer(2), init_scale=0.3)
RULE = steepest("l2", 0.05)


@observable(("neuron", "dim"))
def first_layer(params, problem, draw):
    return params["W"]


OBSERVE = {"W": first_layer, "alignment": o.alignment, "margins": o.margins}
END = {"coefficients": o.coefficients, "end": first_layer}
WHEN = [0, 2, 5, 11, 20]


def run(problem=PROBLEM, rule=RULE, **changes):
    arguments = {
        "steps": 20,
        "observe": OBSERVE,
        "observe_end": END,
        "when": WHEN,
        "seeds": 7,
        "strategy": "map",
    }
    return simulate(problem, rule, **arguments | changes)


def same(one, other, tolerance=1e-12):
    """Equal variables: bit for bit if the tolerance is 0, else relative to the largest entry."""
    assert set(one.data_vars) == set(other.data_vars)
    for name in one.data_vars:
        a, b = one[name].values, other[name].values
        assert one[name].dims == other[name].dims
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.max(np.abs(b)), err_msg=name)


@pytest.fixture(scope="module", params=["direct", "gram"])
def whole(request):
    return run(engine=request.param)


def test_lanes_are_powers_of_two_that_fit():
    assert batching.lanes("vmap", 1024, 1, 10, fit=400) == 256
    assert batching.lanes("vmap", 1024, 8, 10, fit=400) == 128
    assert batching.lanes("vmap", 520, 1, 10, fit=1000) == 512
    assert batching.lanes("vmap", 3, 8, 10, fit=400) == 1
    assert batching.lanes("map", 1, 2, 10, fit=400) == 1
    assert batching.lanes("map", 1024, 2, 4 * 2**20, fit=400) == 1  # one run fills the cache
    assert batching.lanes("map", 1024, 2, 2**18, fit=400) == 4
    assert batching.lanes("map", 1024, 2, 2**18, fit=3) == 2
    assert batching.lanes("map", 10**6, 1, 1, fit=10**6) == batching.MAX_LANES


@pytest.mark.parametrize("strategy", ["vmap", "map"])
@pytest.mark.parametrize("devices", [1, 2, 8])
def test_another_number_of_seeds_compiles_once_per_power_of_two(strategy, devices):
    for low in (2**k for k in range(10)):
        chosen = {batching.lanes(strategy, runs, devices, 10, fit=10**6) for runs in range(1, 2 * low)}
        assert len(chosen) <= low.bit_length() + 1
    for runs in range(1, 300):  # few runs more are computed than asked for, on a CPU
        size = devices * batching.lanes("map", runs, devices, 10, fit=10**6)
        assert -(-runs // size) * size <= max(devices * -(-runs // devices), 2 * runs - 1)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_the_size_of_a_chunk_changes_nothing(monkeypatch, whole, size):
    monkeypatch.setattr(batching, "MAX_LANES", size)
    ds = run(engine=whole.attrs["engine"])
    assert ds.attrs["chunk"] == -(-7 // -(-7 // size))
    same(ds, whole)


def test_a_seed_is_the_same_in_any_company_bit_for_bit_where_runs_are_alone(monkeypatch):
    monkeypatch.setattr(batching, "MAX_LANES", 1)
    for engine in ("direct", "gram"):
        same(run(engine=engine, seeds=[5]), run(engine=engine).sel(seed=[5]), 0)
        same(run(engine=engine, seeds=[5, 900, 2]).sel(seed=[5]), run(engine=engine).sel(seed=[5]), 0)


@pytest.mark.exhaustive
def test_axes_are_cut_into_chunks_too(monkeypatch):
    rule = steepest("l2", Axis("rate", [0.01, 0.05, 0.1]))
    problem = Problem(
        Clusters(30, 4, 12, 9, centre_norm=3.0, noise=Axis("noise", [0.5, 1.0])), TwoLayer(2), init_scale=0.3
    )
    expected = run(problem, rule, seeds=3)
    assert expected.W.dims[:3] == ("noise", "rate", "seed")
    monkeypatch.setattr(batching, "MAX_LANES", 5)
    same(run(problem, rule, seeds=3), expected)


# --- several devices ---

SCRIPT = """
import json, sys
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, sys.argv[2])
import test_batching as t
from dynamics.engine import batching
batching.MAX_LANES = int(sys.argv[3])
found = {}
for engine in ("direct", "gram"):
    for strategy in ("map", "vmap"):
        for name, problem in (("own", t.PROBLEM), ("shared", t.SHARED)):
            if sys.argv[4] == "half" and (engine == "direct") ^ (strategy == "map") ^ (name == "own"):
                continue
            ds = t.run(problem, engine=engine, strategy=strategy)
            found[f"{engine} {strategy} {name}"] = {
                "chunk": ds.attrs["chunk"], **{k: v.values.tolist() for k, v in ds.data_vars.items()}
            }
print(json.dumps(found))
"""
SHARED = Problem(Shared(DATA), TwoLayer(2), init_scale=0.3)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "most", "cases"),
    [
        pytest.param(2, 1, "all", marks=pytest.mark.exhaustive),
        pytest.param(8, 64, "all", marks=pytest.mark.exhaustive),
        (8, 64, "half"),
    ],
)
def test_the_number_of_devices_changes_nothing(devices, most, cases):
    command = [sys.executable, "-c", SCRIPT, str(devices), str(Path(__file__).parent), str(most), cases]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = os.environ["DYNAMICS_TESTS_QUICK"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = {"own": run(engine="direct"), "shared": run(SHARED, engine="direct")}
    all_found = json.loads(done.stdout)
    assert len(all_found) == (4 if cases == "half" else 8)
    for case, found in all_found.items():
        chunk_size = found.pop("chunk")
        assert chunk_size % devices == 0, case
        for name, values in found.items():
            right = expected[case.split()[-1]][name].values
            np.testing.assert_allclose(
                values, right, rtol=0, atol=1e-11 * np.max(np.abs(right)), err_msg=case
            )


@part
class Spectral:
    """Data that need an eigendecomposition, which a CPU must not batch beside other work."""

    noise: Any = 1.0

    def sample(self, key):
        draw = DATA.sample(key)
        values = jnp.linalg.eigvalsh(draw.features @ draw.features.T)
        return type(draw)(draw.train, draw.test, draw.features * (values[0] / 9), *_rest(draw))


def _rest(draw):
    return draw.feature_signs, draw.class_signs, draw.feature_classes


@pytest.mark.exhaustive
def test_programs_that_wait_for_their_pool_run_alone(monkeypatch):
    monkeypatch.setattr(batching, "MAX_LANES", 2)
    resized = []
    resize, prepare = chunk.Work._resize, chunk.Work.prepare

    def beside(self):  # as on several devices
        self.plan, self.data_plan = (plan._replace(alone=False) for plan in (self.plan, self.data_plan))
        prepare(self)

    def watched(self, *args, **how):
        resized.append(how)
        resize(self, *args, **how)

    monkeypatch.setattr(chunk.Work, "prepare", beside)
    monkeypatch.setattr(chunk.Work, "_resize", watched)
    ds = run(Problem(Spectral(), TwoLayer(2), init_scale=0.3))
    assert resized == [{"alone": True}]
    same(ds, run(Problem(Spectral(), TwoLayer(2), init_scale=0.3), strategy="vmap"))
    resized.clear()
    run()  # the library's own parts need not
    assert not resized


# --- shared data ---


@pytest.mark.exhaustive
@pytest.mark.parametrize("engine", ["direct", "gram"])
@pytest.mark.parametrize("strategy", ["map", "vmap"])
def test_shared_data_are_held_once_and_change_nothing(reference, engine, strategy):
    loop = reference("numpy_loop")
    ds = run(SHARED, engine=engine, strategy=strategy)
    assert ds.attrs["shared"] == 1
    assert run(engine=engine).attrs["shared"] == 0
    draw = DATA.sample(named_key(seed_key(0), "data"))
    for seed in (0, 6):
        params = PROBLEM.init(named_key(seed_key(seed), "init"))
        path, _ = loop.train(
            jax.tree.map(np.asarray, params),
            *(np.asarray(draw.train.x), np.asarray(draw.train.y), loop.fixed_output(2, 1), "gd", 0.05, 20),
        )
        expected = np.array([path[t]["W"] for t in WHEN])
        np.testing.assert_allclose(ds.W.sel(seed=seed), expected, atol=1e-10 * np.abs(expected).max())


@pytest.mark.exhaustive
def test_shared_data_that_an_axis_varies_are_not_shared():
    noisy = Clusters(30, 4, 12, 9, centre_norm=3.0, noise=Axis("noise", [0.5, 1.0]))
    ds = run(Problem(Shared(noisy), TwoLayer(2), init_scale=0.3), seeds=2)
    assert ds.attrs["shared"] == 0
    same(ds.sel(noise=1.0).drop_vars("noise"), run(SHARED, seeds=2))


def test_dependence_is_read_off_the_program():
    key = jax.eval_shape(lambda: jax.random.key(0))
    assert batching.depends_on(DATA.sample, key) == [True]
    assert batching.depends_on(Shared(DATA).sample, key) == [False]
    number = jax.ShapeDtypeStruct((), jnp.float32)
    assert batching.depends_on(lambda a, b: jax.jit(jnp.sin)(b), number, number) == [False, True]


# --- memory ---


@pytest.fixture
def small_machine(monkeypatch):
    """Only what runs take counts, not what this process holds already."""
    monkeypatch.setattr(memory, "resident", lambda: 0)
    monkeypatch.setattr("dynamics.engine.choice.COMPILER_BYTES", 0)


@pytest.mark.exhaustive
def test_a_limit_cuts_runs_into_chunks(small_machine, whole):
    free = run(engine=whole.attrs["engine"], strategy="vmap")
    limit = int(0.6 * free.attrs["memory_estimate"])
    ds = run(engine=whole.attrs["engine"], strategy="vmap", memory=limit)
    assert ds.attrs["chunk"] < free.attrs["chunk"] == 8
    assert ds.attrs["memory_estimate"] <= limit
    same(ds, whole)


def test_a_limit_below_one_run_is_refused_before_compiling(small_machine):
    compiled = direct.sample._cache_size()
    with pytest.raises(ValueError, match=r"one run needs \d+ MiB.*, but the memory limit is 1 MiB") as caught:
        run(Problem(Clusters(500, 4, 300, 9), TwoLayer(2)), memory=2**20)
    assert "\n" not in str(caught.value)
    assert direct.sample._cache_size() == compiled


@pytest.mark.parametrize("limit", [0, -1, 1.5, "4GiB", True])
def test_a_limit_that_is_none_is_refused(untyped, limit):
    with pytest.raises(ValueError, match="memory must be an integer of at least 1"):
        run(memory=limit)


def test_bytes_in_words():
    assert memory.in_words(int(9.1 * 2**30)) == "9.1 GiB"
    assert memory.in_words(300 * 2**20) == "300 MiB"
    assert memory.available(jax.devices()[0]) > 2**20
    assert memory.resident() > 2**20


def run_out(monkeypatch, engine, most, at=0):
    """Memory that `most` runs at a time just fit in, from recording time `at` on."""
    calls = []

    class Advance:
        shapes = engine.advance.shapes

        def __call__(self, plan, numbers, runs, common, first, count, original=engine.advance):
            calls.append((plan.size, first))
            if plan.size > most and first >= at:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
            return original(plan, numbers, runs, common, first, count)

    monkeypatch.setattr(engine, "advance", Advance())
    return calls


@pytest.mark.exhaustive
@pytest.mark.parametrize("strategy", ["map", "vmap"])
@pytest.mark.parametrize("at", [0, 5])
def test_a_chunk_that_does_not_fit_is_halved_and_nothing_is_lost(monkeypatch, whole, strategy, at):
    engine = {"direct": direct, "gram": gram}[whole.attrs["engine"]]
    calls = run_out(monkeypatch, engine, most=2, at=at)
    ds = run(engine=whole.attrs["engine"], strategy=strategy)
    same(ds, whole)
    assert min(size for size, _ in calls) <= 2
    first_halves = [first for size, first in calls if size == 4]
    if at:  # what was recorded before stays: the halves go on where the whole stood
        assert 0 not in first_halves


@pytest.mark.exhaustive
def test_halves_that_are_interrupted_go_on(monkeypatch, tmp_path, whole):
    """A half starts from memory: what was recorded before it is kept with it."""
    engine, name = {"direct": direct, "gram": gram}[whole.attrs["engine"]], whole.attrs["engine"]
    monkeypatch.setattr(chunk, "KEEP_EVERY_S", 0.0)
    with monkeypatch.context() as patch:
        calls = run_out(patch, engine, most=2, at=5)
        update = Progress.update

        def raising(self, now):
            update(self, now)
            if calls[-1][0] <= 2 and now > 5:
                raise KeyboardInterrupt

        patch.setattr(Progress, "update", raising)
        with pytest.raises(Interrupted):
            run(engine=name, strategy="vmap", checkpoint=tmp_path)
    same(run(engine=name, strategy="vmap", checkpoint=tmp_path), whole)


@pytest.mark.exhaustive
def test_only_finished_runs_are_counted_as_done(monkeypatch):
    run_out(monkeypatch, direct, most=2)
    update = Progress.update

    def raising(self, now):
        update(self, now)
        if self.finished and now == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "update", raising)
    with pytest.raises(Interrupted, match=r"interrupted with 2 of 7 runs done"):
        run(engine="direct", strategy="vmap", observe_end=None)


def test_a_run_that_does_not_fit_alone_ends_in_one_sentence(monkeypatch, tmp_path):
    run_out(monkeypatch, direct, most=0, at=5)
    with pytest.raises(MemoryError, match="one run alone does not fit in memory") as caught:
        run(engine="direct", checkpoint=tmp_path)
    assert "\n" not in str(caught.value)


def test_other_errors_of_the_device_go_through(monkeypatch):
    def broken(*args):
        raise jax.errors.JaxRuntimeError("INTERNAL: a device fell off the bus")

    monkeypatch.setattr(direct, "advance", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="fell off"):
        run(engine="direct")


# --- shares ---


@pytest.mark.parametrize("count", [1, 2, 3, 11])
def test_shares_are_everything_once(count):
    shares = [layout.share_of(20, (i, count)) for i in range(count)]
    assert sorted(np.concatenate(shares).tolist()) == list(range(20))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("engine", ["direct", "gram"])
def test_shares_come_together(tmp_path, monkeypatch, engine):
    monkeypatch.setattr(batching, "MAX_LANES", 2)
    whole = run(engine=engine)
    for i in (2, 0):
        with pytest.raises(Unfinished, match="of 7 runs are done") as caught:
            run(engine=engine, checkpoint=tmp_path, share=(i, 3))
    assert caught.value.total == 7
    same(run(engine=engine, checkpoint=tmp_path, share=(1, 3)), whole, 0)
    monkeypatch.setattr(direct, "advance", None)  # everything is there: nothing is computed again
    monkeypatch.setattr(gram, "advance", None)
    same(run(engine=engine, checkpoint=tmp_path, share=(0, 2)), whole, 0)
    same(run(engine=engine, checkpoint=tmp_path), whole, 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.nc", "run.json"]


@pytest.mark.exhaustive
def test_another_number_of_shares_finishes_what_is_left(tmp_path):
    whole = run()
    with pytest.raises(Unfinished):
        run(checkpoint=tmp_path, share=(1, 4))
    kept = len(list(tmp_path.glob("part-*.npz")))
    assert kept == 1
    with pytest.raises(Unfinished):
        run(checkpoint=tmp_path, share=(0, 2))
    same(run(checkpoint=tmp_path, share=(1, 2)), whole)


@pytest.mark.parametrize("share", [(2, 2), (-1, 2), (0, 0), (0, 1, 2)])
def test_a_share_that_is_none_is_refused(untyped, tmp_path, share):
    with pytest.raises(ValueError, match=r"share must be \(i, n\)"):
        run(share=share, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="needs a checkpoint folder"):
        run(share=(0, 2))


@pytest.mark.exhaustive
def test_new_numbers_do_not_recompile():
    before = None
    for rate, noise in ((0.01, 1.0), (0.02, 0.5), (0.03, 0.25)):
        problem = Problem(Clusters(30, 4, 12, 9, centre_norm=3.0, noise=noise), TwoLayer(2), init_scale=0.3)
        for engine in ("direct", "gram"):
            run(problem, named("gd", rate), engine=engine)
        counts = [p._cache_size() for p in (direct.sample, direct.advance, gram.products, gram.advance)]
        assert before is None or counts == before
        before = counts
