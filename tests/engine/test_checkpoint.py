"""Checkpoints: an interrupted or killed run that goes on is the whole run, bit for bit."""

import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dynamics import results
from dynamics.data.clusters import Clusters
from dynamics.descent import named, steepest, traced
from dynamics.engine import batching, direct
from dynamics.engine.checkpoint import Checkpoint, Part, differences
from dynamics.engine.progress import Progress
from dynamics.engine.simulate import Interrupted, simulate
from dynamics.files import read_json, write_json
from dynamics.models.activations import Activation
from dynamics.models.two_layer import TwoLayer
from dynamics.observables.base import observable
from dynamics.problem import Problem

ROOT = Path(__file__).parents[2]
WHEN = [0, 3, 4, 10, 20]


@observable(("neuron", "dim"))
def first_layer(params, problem, draw):
    return params["W"]


@observable()
def train_loss(params, problem, draw):
    return jnp.mean(problem.sample_losses(params, draw.train))


def run(folder=None, **changes):
    """Adam on minibatches: state besides the parameters, and a position within an epoch."""
    arguments = {
        "problem": Problem(Clusters(6, 2, 12, 3), TwoLayer(2), init_scale=0.3),
        "descent": named("adam", 0.05),
        "steps": 20,
        "observe": {"W": first_layer, "loss": train_loss},
        "observe_end": {"end": first_layer},
        "when": WHEN,
        "seeds": 2,
        "batch_size": 5,
    }
    return simulate(**arguments | changes, checkpoint=folder)


def assert_same(one, other):
    assert set(one.data_vars) == set(other.data_vars)
    for name in one.data_vars:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=name)
        assert one[name].dims == other[name].dims


@pytest.fixture(autouse=True)
def always_due(monkeypatch):
    """Progress is kept at every recording time, not once a second."""
    monkeypatch.setattr("dynamics.engine.chunk.KEEP_EVERY_S", 0.0)


def left(folder, name):
    """A file of the one chunk that was left in `folder`."""
    (chunk,) = folder.glob("chunk-*")
    return chunk / name


@pytest.fixture(scope="module")
def whole():
    return run()


def interrupt_at(monkeypatch, step):
    """Ctrl-C as soon as all runs have reached `step`."""
    update = Progress.update

    def raising(self, now):
        update(self, now)
        if now == step:
            raise KeyboardInterrupt

    monkeypatch.setattr(Progress, "update", raising)


@pytest.fixture(scope="module")
def _interrupted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dynamics.engine.chunk.KEEP_EVERY_S", 0.0)
        interrupt_at(patch, 4)
        with pytest.raises(Interrupted):
            run(folder)
    return folder


@pytest.fixture
def interrupted(tmp_path, _interrupted):
    """The folder of a run interrupted at step 4."""
    return shutil.copytree(_interrupted, tmp_path / "run")


@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize("step", WHEN)
def test_two_halves_are_the_whole(tmp_path, monkeypatch, whole, step, every):
    with monkeypatch.context() as patch:
        interrupt_at(patch, step)
        with pytest.raises(Interrupted, match=f"interrupted at step {step} of 20") as caught:
            run(tmp_path, checkpoint_every=every)
    partial = caught.value.dataset
    assert partial.step.values.tolist() == [t for t in WHEN if t <= step]
    assert partial.attrs["complete"] == 0
    np.testing.assert_array_equal(partial.W, whole.W.sel(step=partial.step))
    assert "end" not in partial
    assert left(tmp_path, "state.npz").exists()
    assert_same(run(tmp_path, checkpoint_every=every), whole)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["result.nc", "run.json"]


def test_many_interruptions(tmp_path, monkeypatch, whole):
    for step in WHEN:
        with monkeypatch.context() as patch:
            interrupt_at(patch, step)
            with pytest.raises(Interrupted):
                run(tmp_path)
    assert_same(run(tmp_path), whole)


@pytest.mark.parametrize("method", ["save_record", "save_state"])
@pytest.mark.parametrize("every", [True, False])
def test_interrupted_while_a_checkpoint_is_written(tmp_path, monkeypatch, whole, method, every):
    original, calls = getattr(Checkpoint, method), []

    def raising(self, *args):
        calls.append(args[0])
        if len(calls) == 3 and every:
            raise KeyboardInterrupt
        original(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, method, raising)
        if not every:
            interrupt_at(patch, 4)
        with pytest.raises(Interrupted):
            run(tmp_path, checkpoint_every=every)
    assert_same(run(tmp_path), whole)


def test_interrupted_before_anything_is_recorded(tmp_path, monkeypatch, whole):
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "left", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
    assert_same(run(tmp_path), whole)


@pytest.mark.parametrize("where", ["start", "spread"])
def test_interrupted_again_before_the_first_step_after_a_checkpoint(interrupted, monkeypatch, whole, where):
    """Ctrl-C while the resumed run compiles, and between its start and its stored state."""
    owner = {"start": direct, "spread": batching}[where]
    original = getattr(owner, where)

    class Raising:
        shapes = getattr(original, "shapes", None)

        def __call__(self, plan, given, *args):
            # parameters come back as a state; seeds are one array
            if where == "start" or not hasattr(given, "shape"):
                raise KeyboardInterrupt
            return original(plan, given, *args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, where, Raising())
        with pytest.raises(Interrupted, match="interrupted at step 4") as caught:
            run(interrupted)
    np.testing.assert_array_equal(caught.value.dataset.W, whole.W.sel(step=[0, 3, 4]))
    assert_same(run(interrupted), whole)


def test_divergence_is_known_before_the_first_step_after_a_checkpoint(tmp_path, monkeypatch):
    problem = Problem(Clusters(6, 2, 12, 3), TwoLayer(2), loss="squared", init_scale=0.3)
    diverging = {"problem": problem, "descent": named("gd", 1e200), "batch_size": None}
    with monkeypatch.context() as patch:
        interrupt_at(patch, 10)
        with pytest.raises(Interrupted) as first:
            run(tmp_path, **diverging)
    assert (first.value.dataset.first_nonfinite_step >= 0).all()
    with monkeypatch.context() as patch:
        patch.setattr(batching, "spread", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(Interrupted) as again:
            run(tmp_path, **diverging)
    np.testing.assert_array_equal(
        again.value.dataset.first_nonfinite_step, first.value.dataset.first_nonfinite_step
    )


def test_only_when_interrupted(tmp_path, monkeypatch):
    written = []
    update = Progress.update

    def watch(self, now):
        update(self, now)
        written.append(sorted(p.name for p in tmp_path.iterdir()))

    monkeypatch.setattr(Progress, "update", watch)
    run(tmp_path, checkpoint_every=False)
    assert written == [["run.json"]] * len(WHEN)


def test_a_finished_run_is_returned_as_it_is(tmp_path, monkeypatch, whole):
    first = run(tmp_path)
    assert_same(first, whole)
    monkeypatch.setattr("dynamics.engine.direct.advance", None)  # nothing may be computed again
    again = run(tmp_path)
    assert_same(again, first)
    assert again.attrs["created"] == first.attrs["created"]


def test_without_a_folder_an_interruption_still_carries_the_data(monkeypatch, whole):
    interrupt_at(monkeypatch, 10)
    with pytest.raises(Interrupted) as caught:
        run()
    np.testing.assert_array_equal(caught.value.dataset.loss, whole.loss.sel(step=[0, 3, 4, 10]))
    assert isinstance(caught.value, KeyboardInterrupt)


CHANGES = {
    "learning rate": (
        {"descent": named("adam", 0.06)},
        r"descent\.numbers\.learning_rate: 0\.05 there, 0\.06 here",
    ),
    "rule": ({"descent": named("gd", 0.05)}, "descent"),
    "noise": (
        {"problem": Problem(Clusters(6, 2, 12, 3, noise=0.5), TwoLayer(2), init_scale=0.3)},
        r"problem\.data\.noise: 1\.0 there, 0\.5 here",
    ),
    "width": (
        {"problem": Problem(Clusters(6, 2, 12, 3), TwoLayer(3), init_scale=0.3)},
        r"problem\.model\.width: 2 there, 3 here",
    ),
    "steps": ({"steps": 30}, "steps: 20 there, 30 here"),
    "seeds": ({"seeds": [0, 2]}, r"seeds: \[0, 1\] there, \[0, 2\] here"),
    "batch": ({"batch_size": 6}, "batch_size: 5 there, 6 here"),
    "root": ({"root": 1}, "root: 0 there, 1 here"),
    "observe": ({"observe": {"W": first_layer}}, r"observe\.loss: .* there, null here"),
    "when": ({"when": [0, 20]}, r"times: \[0, 3, 4, 10, 20\] there, \[0, 20\] here"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_another_run_is_refused(interrupted, case):
    changes, message = CHANGES[case]
    with pytest.raises(ValueError, match=f"holds a checkpoint of another run.*{message}") as caught:
        run(interrupted, **changes)
    assert "\n" not in str(caught.value)


def constant(rate):
    return lambda step: rate


def scaled(step, rate):
    return rate


@dataclass(frozen=True)
class Rate:
    rate: float

    def __call__(self, step):
        return self.rate


@observable()
def weighed(params, problem, draw, weight=None):
    return weight(jnp.sum(params["W"]))


def noise(key):
    return {"descent": traced(optax.noisy_sgd, learning_rate=0.1, key=jax.random.key(key))}


UNLIKE = {
    "code": [{"descent": steepest("l2", schedule)} for schedule in (lambda step: 0.01, lambda step: 0.5)],
    "jit": [{"descent": steepest("l2", jax.jit(constant(rate)))} for rate in (0.01, 0.5)],
    "partial": [{"descent": steepest("l2", functools.partial(scaled, rate=rate))} for rate in (0.01, 0.5)],
    "object": [{"descent": steepest("l2", Rate(rate))} for rate in (0.01, 0.5)],
    "option": [{"observe": {"x": weighed.given(weight=w)}} for w in (lambda x: x, lambda x: 2 * x)],
    "key": [noise(0), noise(1)],
    "activation": [
        {"problem": Problem(Clusters(6, 2, 12, 3), TwoLayer(2, activation=Activation(name)))}
        for name in ("relu", "gelu")
    ],
    "integer and float": [{"descent": steepest("l2", constant(rate))} for rate in (1, 1.0)],
}


@pytest.mark.parametrize("case", UNLIKE)
def test_runs_are_told_apart_by_all_they_are_made_of(tmp_path, monkeypatch, case):
    begun = []

    def begin(self, mine, parts):  # far enough for the folder to say whose it is
        begun.append(mine)
        raise KeyboardInterrupt

    monkeypatch.setattr("dynamics.engine.chunk.Work.carry_out", begin)
    first, other = UNLIKE[case]
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, **first)
    with pytest.raises(ValueError, match="holds a checkpoint of another run") as caught:
        run(tmp_path, **other)
    assert "\n" not in str(caught.value)
    assert len(begun) == 2


def test_what_cannot_be_told_apart_is_not_kept(tmp_path):
    class Locked:
        def __init__(self):
            self.lock = threading.Lock()

        def __call__(self, step):
            return 0.1

    with pytest.raises(TypeError, match=r"cannot tell this run from others: .*\.lock is of _thread\.lock"):
        run(tmp_path / "run", descent=steepest("l2", Locked()))
    assert not (tmp_path / "run").exists()


def test_jaxs_settings_that_change_numbers_are_part_of_a_run(interrupted):
    before = jax.config.jax_random_seed_offset
    jax.config.update("jax_random_seed_offset", 1)
    try:
        with pytest.raises(ValueError, match=r"jax_settings\.jax_random_seed_offset: 0 there, 1 here"):
            run(interrupted)
    finally:
        jax.config.update("jax_random_seed_offset", before)


def test_a_checkpoint_of_another_version_is_refused(interrupted):
    about = interrupted / "run.json"
    stored, _ = read_json(about)
    write_json(about, stored | {"format": 1})
    with pytest.raises(ValueError, match="holds a checkpoint of another version of this library"):
        run(interrupted)
    about.write_text("[1]")
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        run(interrupted)


@pytest.mark.exhaustive
def test_a_rule_with_randomness_goes_on_with_its_own(tmp_path, monkeypatch):
    whole = run(**noise(0))
    with monkeypatch.context() as patch:
        interrupt_at(patch, 4)
        with pytest.raises(Interrupted):
            run(tmp_path, **noise(0))
    assert_same(run(tmp_path, **noise(0)), whole)


def test_another_precision_is_refused(interrupted):

    with jax.enable_x64(False), pytest.raises(ValueError, match="float64: true there, false here"):
        run(interrupted)


@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[: len(b) // 2], lambda b: b"x" * len(b)])
@pytest.mark.parametrize("name", ["run.json", "state.npz", "record-00001.npz"])
def test_damaged_files_are_refused(interrupted, name, damage):
    path = interrupted / name if name == "run.json" else left(interrupted, name)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=f"{name.replace('.', '[.]')} is .*damaged") as caught:
        run(interrupted)
    assert "\n" not in str(caught.value)


def test_flipped_bits_are_refused(interrupted):
    path = left(interrupted, "state.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="damaged"):
        run(interrupted)


def test_a_missing_record_is_refused(interrupted):
    left(interrupted, "record-00000.npz").unlink()
    with pytest.raises(ValueError, match=r"record-00000\.npz is missing or damaged"):
        run(interrupted)


def test_another_state_is_refused(interrupted):
    np.savez(left(interrupted, "state.npz"), position=1, runs=np.arange(2), leaf0000=np.zeros(3))
    with pytest.raises(ValueError, match="does not hold the state of this run"):
        run(interrupted)
    np.savez(left(interrupted, "state.npz"), leaf0000=np.zeros(3))
    with pytest.raises(ValueError, match="does not hold the state of this run"):
        run(interrupted)


def test_a_damaged_result_or_that_of_another_run_is_refused(tmp_path):
    run(tmp_path / "one")
    run(tmp_path / "other", descent=named("adam", 0.06))
    path = tmp_path / "one" / "result.nc"
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    with pytest.raises(ValueError, match="not a readable result"):
        run(tmp_path / "one")
    path.write_bytes((tmp_path / "other" / "result.nc").read_bytes())
    with pytest.raises(ValueError, match=r"result\.nc is of another run than its run\.json"):
        run(tmp_path / "one")


RUNS = [np.arange(2), np.array([2, 5, 3])]
SHAPES = [jax.ShapeDtypeStruct((4,), np.float32), jax.ShapeDtypeStruct((), np.int64)]


def kept(folder, rate=0.1):
    """A checkpoint of a finished part and of two chunks that were left at recording time 2."""
    checkpoint = Checkpoint(folder, {"rate": rate, "seeds": [0, 1]})
    chance = np.random.default_rng(0)
    done = np.array([1, 4])
    checkpoint.save_part(
        Part(done, {"W": chance.normal(size=(2, 3, 5))}, {"end": np.ones(2)}, np.full(2, -1))
    )
    for runs in RUNS:
        for position in range(3):
            checkpoint.save_record(runs, position, {"W": chance.normal(size=(len(runs), 5))})
        leaves = [chance.normal(size=(len(runs), 4)).astype(np.float32), np.arange(len(runs))]
        checkpoint.save_state(runs, 2, leaves)
    return checkpoint


def held(folder, rate=0.1):
    """All that is read from such a checkpoint, as bytes."""
    found = Checkpoint(folder, {"rate": rate, "seeds": [0, 1]})
    arrays = []
    for part in found.parts():
        arrays += [part.runs, part.first_nonfinite_step, *part.recorded.values(), *part.ended.values()]
    for left in found.left(SHAPES, set(range(6))):
        arrays += [left.runs, np.asarray(left.position), *left.leaves, *(row["W"] for row in left.rows)]
    return [(array.dtype, array.shape, array.tobytes()) for array in arrays]


@pytest.mark.parametrize("count", [100, pytest.param(3000, marks=pytest.mark.exhaustive)])
def test_no_corruption_is_believed(tmp_path, count, reference):
    corrupted = reference("corruption").corrupted
    kept(tmp_path)
    whole, chance = held(tmp_path), random.Random(0)
    assert len(whole) == 4 + 2 * 7
    files, refused = sorted(path for path in tmp_path.rglob("*") if path.is_file()), 0
    assert len(files) == 1 + 1 + 2 * 4
    for i in range(count):
        path = files[i % len(files)]
        before = path.read_bytes()
        path.write_bytes(corrupted(before, chance))
        try:
            assert held(tmp_path) == whole  # nothing had changed, or white space
        except ValueError as error:
            refused += 1
            (line,) = str(error).splitlines()
            assert path.name in line or "another run" in line
        path.write_bytes(before)
    assert held(tmp_path) == whole
    assert refused > 0.8 * count


def test_files_in_each_others_place_are_refused(tmp_path):
    kept(tmp_path / "one")
    kept(tmp_path / "other", rate=0.2)
    whole = held(tmp_path / "one")
    files = [path for path in sorted((tmp_path / "one").rglob("*")) if path.is_file()]
    for path in files:
        place, before = path.relative_to(tmp_path / "one"), path.read_bytes()
        for other in (tmp_path / "other" / place, *files):
            if other == path:
                continue
            path.write_bytes(other.read_bytes())
            with pytest.raises(ValueError, match=r"damaged|holds a checkpoint of another run"):
                held(tmp_path / "one")
        path.write_bytes(before)
    (tmp_path / "one" / "part-00001-2-copy.npz").write_bytes(
        next((tmp_path / "one").glob("part-*")).read_bytes()
    )
    with pytest.raises(ValueError, match=r"part-00001-2-copy\.npz is missing or damaged"):
        held(tmp_path / "one")
    (tmp_path / "one" / "part-00001-2-copy.npz").unlink()
    assert held(tmp_path / "one") == whole


def test_a_file_of_before_checksums_is_refused(tmp_path):
    about = {"rate": 0.1, "seeds": [0, 1]}
    (tmp_path / "run.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="kept no checksums: it cannot be verified; delete"):
        Checkpoint(tmp_path, about)


def test_differences():
    assert differences({"a": 1, "b": {"c": [1]}}, {"a": 1, "b": {"c": [1]}}) == ""
    assert differences({"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3}}) == "b.c: 2 there, 3 here"
    assert differences({"a": 1}, {"b": 2}) == "a: 1 there, null here; b: null there, 2 here"
    assert len(differences({"a": "x" * 500}, {"a": "y" * 500})) < 140
    assert differences({"a": float("nan")}, {"a": float("nan")}) == ""
    assert differences([{"a": 1}, 2], [{"a": True}, 2]) == "0.a: 1 there, true here"
    assert differences({"a": [1, 2]}, {"a": [1, 3]}) == "a: [1, 2] there, [1, 3] here"


def test_rates_of_a_traced_rule_tell_runs_apart(tmp_path):
    folder = tmp_path / "run"
    run(folder, descent=traced(optax.adam, learning_rate=1e-3), steps=0, when=None)
    with pytest.raises(ValueError, match="learning_rate"):
        run(folder, descent=traced(optax.adam, learning_rate=1e-2), steps=0, when=None)


# --- kill -9 ---

SCRIPT = """
import sys
import jax.numpy as jnp
from dynamics.data.clusters import Clusters
from dynamics.descent import named
from dynamics.engine import chunk
from dynamics.engine.simulate import simulate
from dynamics.models.two_layer import TwoLayer
from dynamics.observables.base import observable
from dynamics.problem import Problem

chunk.KEEP_EVERY_S = 0.0

@observable(("neuron", "dim"))
def first_layer(params, problem, draw):
    return params["W"]

print("imported", flush=True)
simulate(
    Problem(Clusters(64, 4, 16, 4), TwoLayer(2), init_scale=0.1), named("momentum", 1e-3),
    steps=STEPS, observe={"W": first_layer}, when=range(0, STEPS + 1, STEPS // 12),
    seeds=2, checkpoint=sys.argv[1],
)
"""
KILL_STEPS = 360_000


def launch(folder):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu"}
    code = SCRIPT.replace("STEPS", str(KILL_STEPS))
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder)], env=environment, stdout=subprocess.PIPE
    )


@pytest.mark.exhaustive
@pytest.mark.slow
def test_killed_runs_go_on_bit_for_bit(tmp_path):
    undisturbed = launch(tmp_path / "whole")
    folder, chance, positions = tmp_path / "killed", random.Random(0), []
    for kill in range(3):
        process = launch(folder)
        process.stdout.readline()

        def saved():
            return max((path.stat().st_mtime_ns for path in folder.glob("chunk-*/state.npz")), default=0)

        begun, before = time.monotonic(), saved()
        # the first kill may come at any moment; the others once there was progress, mostly within a segment
        while kill and saved() <= before and time.monotonic() < begun + 60:
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.5))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
        assert not (folder / "result.nc").exists()
        for state in folder.glob("chunk-*/state.npz"):
            with np.load(state) as stored:
                positions.append(int(stored["position"]))
    assert positions == sorted(set(positions))
    assert len(positions) >= 2
    last = launch(folder)
    assert last.wait(timeout=60) == 0
    assert undisturbed.wait(timeout=60) == 0
    assert_same(results.load(folder), results.load(tmp_path / "whole"))
    assert json.loads((folder / "run.json").read_text())["steps"] == KILL_STEPS
