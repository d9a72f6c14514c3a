"""Kills, Ctrl-C, full disks and folders that cannot be written to: what is there is whole, and goes on.

The processes that are stopped are forked from one that has imported everything, which saves two seconds
each. They draw no figures and keep their progress at every recording time.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import jax
import jaxtyping
import numpy as np
import pytest

from dynamics.cli import main
from dynamics.cli.folder import write_run
from dynamics.results import load

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
INTERRUPTIONS = 2
EXPERIMENT = str(ROOT / "tests" / "reference" / "two_rules.py")
RUN = ["run", EXPERIMENT, "--seeds", "2"]
SWEEP = ["sweep", *RUN[1:], "--vary", "init-scale=0.001,0.002,0.004"]
# reads a line of JSON: what to run, and after how long to stop it; says how that ended. Only the parent
# of a process may send it signals: to others its number may be another one's by then
NURSERY = """
import json, os, resource, sys, time

import dynamics.cli.run, dynamics.cli.work, dynamics.engine.processes, dynamics.experiments, dynamics.study
import dynamics.cli.shared, dynamics.cli.sweep, dynamics.sweep.run
import encodings.cp437, fileinput, h5netcdf, scipy.linalg, threadpoolctl
import dynamics.cli  # a user without privileges may not see Python's own files
from dynamics.engine import chunk

chunk.KEEP_EVERY_S = 0.0
dynamics.cli.work.draw = lambda experiment, dataset, folder, command: [folder / "overview.png"]
dynamics.cli.sweep.draw = lambda experiment, dataset, folder, command, asked: [folder / "phase.png"]
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(os.open(asked["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(os.open(asked["err"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        if asked["user"]:
            os.setgid(asked["user"])
            os.setuid(asked["user"])
        if asked["largest"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (asked["largest"], asked["largest"]))
        if asked["share"]:  # as if the processes had met
            dynamics.engine.processes.join = lambda **how: tuple(asked["share"])
        os.chdir(asked["at"])
        sys.argv = ["dynamics", *asked["argv"]]
        try:
            dynamics.cli.entry()
        except SystemExit as stop:
            sys.stdout.flush()
            os._exit(stop.code or 0)
    begun = time.perf_counter()
    if asked["after"] is not None:
        time.sleep(asked["after"])
        os.kill(child, asked["how"])
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([code, time.perf_counter() - begun]), flush=True)
"""


class Nursery:
    """Starts processes that have imported everything already."""

    def __init__(self, folder, environment):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", NURSERY],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout.readline() == "ready\n"

    def run(self, argv, at, **how):
        """Run a command, stopped after some seconds; exit code (negative: signal), stderr, seconds."""
        self.begin(argv, at, **how)
        return self.end()

    def begin(self, argv, at, *, after=None, how=signal.SIGKILL, largest=0, user=0, share=None):
        """Begin to run a command; `end` waits for it."""
        files = {name: str(self.folder / name) for name in ("out", "err")}
        asked = {"argv": argv, "at": str(at), "largest": largest, "user": user, "share": share, **files}
        asked |= {"after": after, "how": how}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()

    def end(self):
        """What `run` returns."""
        code, seconds = json.loads(self.process.stdout.readline())
        return code, (self.folder / "err").read_text(), seconds


@pytest.fixture(scope="module")
def nurseries(tmp_path_factory):
    """Makes one more: two are for two processes at a time."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_", "TF_"))}
    cache = {"DYNAMICS_CACHE": str(tmp_path_factory.mktemp("compiled")), "PYTHONPATH": str(ROOT)}
    cache["XLA_FLAGS"] = os.environ["DYNAMICS_TESTS_QUICK"]
    made = []

    def one_more():
        made.append(Nursery(tmp_path_factory.mktemp("nursery"), clean | cache))
        return made[-1]

    yield one_more
    for each in made:
        each.process.stdin.close()
        each.process.wait(timeout=60)


@pytest.fixture(scope="module")
def nursery(nurseries):
    return nurseries()


@pytest.fixture(scope="module")
def whole(nursery, tmp_path_factory):
    """The run that nobody stops, and how long it takes once its programs are compiled."""
    folder = tmp_path_factory.mktemp("whole")
    for name in ("cold", "warm"):
        code, said, seconds = nursery.run([*RUN, "--checkpoint", "--out", name], folder)
        assert (code, said) == (0, "")
    return load(folder / "warm"), seconds


def assert_same(one, other):
    """Bit for bit equal variables and coordinates."""
    assert set(one.variables) == set(other.variables)
    for name in one.variables:
        assert one[name].dims == other[name].dims
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=name)


def assert_nothing_false(folder, whole):
    """Whatever a stopped run left that is read as a complete result is one: of the run, or of an arm."""
    for path in [p for p in folder.rglob("*") if p.is_file() and ".nc" in p.name]:
        try:
            left = load(path)
        except ValueError:
            continue
        losses = whole.training_loss
        if "rule" not in left.dims:
            losses = losses.sel(rule=path.parent.name)
        np.testing.assert_array_equal(left.training_loss.values, losses.values)


def resumed(nursery, folder, whole):
    """The run goes on from what is there and gives the whole result, with nothing left over."""
    if not (folder / "run.json").exists():  # stopped before it was said what to run: begin again
        code, said, _ = nursery.run([*RUN, "--checkpoint", "--out", folder.name], folder.parent)
    else:
        code, said, _ = nursery.run(["resume", folder.name], folder.parent)
    assert (code, said) == (0, "")
    assert_same(load(folder), whole)
    left = {path.name for path in folder.iterdir()}
    assert left == {"run.json", "result.nc", "claims.json"}


@pytest.mark.exhaustive
def test_killed_at_any_moment(nursery, tmp_path, whole):
    dataset, seconds = whole
    kills = 20
    moments = (np.arange(kills) + np.random.default_rng(7).uniform(size=kills)) / kills * seconds
    in_the_middle, recorded = 0, 0
    for i, moment in enumerate(moments.tolist()):
        folder = tmp_path / f"run{i}"
        code, _, _ = nursery.run([*RUN, "--checkpoint", "--out", folder.name], tmp_path, after=moment)
        assert code in (-signal.SIGKILL, 0)
        if not (folder / "result.nc").exists():
            in_the_middle += 1
            recorded += any(folder.rglob("*.npz"))
            with pytest.raises(ValueError, match=r"holds an interrupted run|does not exist"):
                load(folder)
        assert_nothing_false(folder, dataset)
        resumed(nursery, folder, dataset)
    assert in_the_middle >= 0.5 * kills, in_the_middle
    assert recorded >= 0.2 * kills, recorded


@pytest.mark.exhaustive
def test_a_sweep_killed_at_any_moment(nursery, tmp_path):
    kills = 40
    for name in ("cold", "warm"):
        code, said, seconds = nursery.run([*SWEEP, "--checkpoint", "--out", name], tmp_path)
        assert (code, said.count("program")) == (0, 2), said
    dataset, in_the_middle = load(tmp_path / "warm"), 0
    moments = (np.arange(kills) + np.random.default_rng(9).uniform(size=kills)) / kills * seconds
    for i, moment in enumerate(moments.tolist()):
        folder = tmp_path / f"sweep{i}"
        begun = [*SWEEP, "--checkpoint", "--out", folder.name]
        code, _, _ = nursery.run(begun, tmp_path, after=moment)
        assert code in (-signal.SIGKILL, 0)
        in_the_middle += any(folder.rglob("*.npz"))
        again = ["resume", folder.name] if (folder / "run.json").exists() else begun
        code, said, _ = nursery.run(again, tmp_path)
        assert code == 0, said
        assert_same(load(folder), dataset)
        assert {path.name for path in folder.iterdir()} == {"run.json", "result.nc"}
    assert in_the_middle >= 0.2 * kills, in_the_middle


@pytest.mark.exhaustive
def test_pairs_of_processes_killed_at_any_moment(nursery, nurseries, tmp_path, whole):
    """Either or both of two are killed; then both go on, or one alone."""
    dataset, seconds = whole
    pair = nursery, nurseries()
    chance, killed, kept = np.random.default_rng(10), 0, 0
    words = ["--distributed", "--coordinator", "127.0.0.1:9", "--num-processes", "2", "--process-id"]

    def together(begin, at, moments):
        for i, each in enumerate(pair):
            each.begin([*begin, *words, str(i)], at, after=moments[i], share=(i, 2))
        return [each.end()[:2] for each in pair]

    together([*RUN, "--out", "compiled"], tmp_path, [None, None])
    for i in range(30):
        folder = tmp_path / f"run{i}"
        begun = [*RUN, "--checkpoint", "--out", folder.name]
        moments = [None if i % 3 == j else chance.uniform(0.15, 0.9) * seconds for j in (1, 2)]
        ended = together(begun, tmp_path, moments)
        for (code, said), moment in zip(ended, moments, strict=True):
            killed += code == -signal.SIGKILL
            stopped = moment is not None and code == -signal.SIGKILL
            # as they do not really meet, one may look when the other has been killed, or has begun
            alone = "process 0 has not begun" in said or "is not empty" in said
            assert code == 0 or stopped or alone, said
        kept += any(folder.rglob("*.npz"))
        assert_nothing_false(folder, dataset)
        if not (folder / "run.json").exists():
            continue
        if i % 2:
            resumed(nursery, folder, dataset)
        else:
            assert [code for code, _ in together(["resume", folder.name], tmp_path, [None, None])] == [0, 0]
            assert_same(load(folder), dataset)
            assert not (folder / "checkpoint").exists()
    assert killed >= 30, killed
    assert kept >= 6, kept


@pytest.mark.exhaustive
@pytest.mark.parametrize("state", ["interrupted", "finished"])
def test_no_corruption_of_a_folder_is_believed(state, nursery, tmp_path, whole, reference):
    """Any file of it is damaged; what follows is one sentence that names a file, or the same result."""
    dataset, seconds = whole
    part, chance, refused = 0.6, random.Random(0), 0
    kept = tmp_path / "kept"
    while not any(kept.rglob("state.npz")):
        shutil.rmtree(kept, ignore_errors=True)
        nursery.run([*RUN, "--checkpoint", "--out", "kept"], tmp_path, after=part * seconds)
        part = part + 0.02 if part < 0.95 else 0.3
    if state == "finished":
        resumed(nursery, kept, dataset)
    for i in range(100):
        folder = tmp_path / f"run{i}"
        shutil.copytree(kept, folder)
        files = sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".nc", ".npz"))
        path = chance.choice([each for each in files if each.name != "claims.json"])
        path.write_bytes(reference("corruption").corrupted(path.read_bytes(), chance))
        code, said, _ = nursery.run(["resume", folder.name], tmp_path)
        if code == 0:
            assert said == ""
            assert_same(load(folder), dataset)
        else:
            refused += 1
            (line,) = said.splitlines()
            assert code == 2
            assert line.startswith("dynamics: ")
            assert path.name in line or str(path.parent.relative_to(tmp_path)) in line
        shutil.rmtree(folder)
    assert refused >= 60, refused


@pytest.mark.exhaustive
def test_killed_again_and_again(nursery, tmp_path, whole):
    """A run that is killed at every attempt, a little later each time, still comes to the same end."""
    dataset, seconds = whole
    nursery.run([*RUN, "--checkpoint", "--out", "run"], tmp_path, after=0.5 * seconds)
    for part in (0.4, 0.5, 0.6, 0.7):
        nursery.run(["resume", "run"], tmp_path, after=part * seconds)
        assert_nothing_false(tmp_path / "run", dataset)
    resumed(nursery, tmp_path / "run", dataset)


@pytest.mark.exhaustive
@pytest.mark.parametrize("checkpoint", [[], ["--checkpoint"]], ids=["memory", "checkpoint"])
def test_control_c_at_any_moment(checkpoint, nursery, tmp_path, whole):
    dataset, seconds = whole
    count = INTERRUPTIONS
    moments = (np.arange(count) + np.random.default_rng(8).uniform(size=count)) / count * seconds
    for i, moment in enumerate(moments.tolist()):
        folder = tmp_path / f"run{i}"
        argv = [*RUN, *checkpoint, "--out", folder.name]
        code, said, _ = nursery.run(argv, tmp_path, after=moment, how=signal.SIGINT)
        if code == 0:  # it had come to its end
            assert said == ""
        else:
            assert code == 130
            (line,) = said.splitlines()
            assert line.startswith("dynamics: ")
            assert "interrupted" in line
            if line == f"dynamics: interrupted; go on with `dynamics resume {folder.name}`":  # nothing yet
                assert not (folder / "partial.nc").exists()
            else:
                assert "kept" in line
        if (folder / "partial.nc").exists():
            assert f"dynamics resume {folder.name}" in said
            partial = load(folder, partial=True)
            first = partial.training_loss.isel(rule=0, step=0).values
            np.testing.assert_array_equal(first, dataset.training_loss.isel(rule=0, step=0).values)
        assert_nothing_false(folder, dataset)
        resumed(nursery, folder, dataset)


@pytest.mark.exhaustive
@pytest.mark.parametrize("largest", [500, 3_000, 20_000], ids=lambda size: f"{size} bytes")
def test_a_full_disk(largest, nursery, tmp_path, whole):
    """No file can grow beyond some size: run.json, a record, or the result does not fit."""
    code, said, _ = nursery.run([*RUN, "--checkpoint", "--out", "run"], tmp_path, largest=largest)
    assert code == 2
    (line,) = said.splitlines()
    assert line.startswith("dynamics: ")
    assert "too large" in line.lower()
    assert not (tmp_path / "run" / "result.nc").exists()
    assert not list((tmp_path / "run").rglob("*.tmp"))
    resumed(nursery, tmp_path / "run", whole[0])


@pytest.mark.exhaustive
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount a disk")
@pytest.mark.parametrize("size", [8, 40, 72], ids=lambda size: f"{size} KiB")
def test_a_disk_that_is_full(size, nursery, tmp_path, whole):
    """The same on a disk of some kilobytes, where mounting one is allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        code, said, _ = nursery.run([*RUN, "--checkpoint", "--out", "run"], disk)
        assert code == 2
        (line,) = said.splitlines()
        assert line.startswith("dynamics: No space left on device")
        assert_nothing_false(disk / "run", whole[0])
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], capture_output=True, check=True)
        resumed(nursery, disk / "run", whole[0])
    finally:
        subprocess.run(["umount", str(disk)], capture_output=True, check=False)


@pytest.fixture
def someone():
    """A folder that all may enter, and a user without privileges (0: we are one already)."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name), 65534 if os.geteuid() == 0 else 0


@pytest.mark.exhaustive
def test_a_folder_that_may_not_be_written_to(nursery, someone, whole):
    folder, user = someone
    (folder / "locked").mkdir(mode=0o555)
    argv = [*RUN, "--checkpoint", "--out", "locked/run"]
    code, said, _ = nursery.run(argv, folder, user=user)
    assert code == 2
    assert said.startswith("dynamics: --out locked/run cannot be written to (Permission denied)")
    assert list((folder / "locked").iterdir()) == []
    # a run that may not go on, because somebody locked it in the middle
    _, seconds = whole
    nursery.run([*RUN, "--checkpoint", "--out", "run"], folder, after=0.6 * seconds)
    for path in [folder / "run", *(folder / "run").rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(path for path in (folder / "run").rglob("*"))
    code, said, _ = nursery.run(["resume", "run"], folder, user=user)
    assert code == 2, said
    (line,) = said.splitlines()
    assert line.startswith("dynamics: Permission denied")
    assert sorted(path for path in (folder / "run").rglob("*")) == before
    for path in [folder / "run", *(folder / "run").rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    resumed(nursery, folder / "run", whole[0])


def test_a_file_in_the_place_of_the_checkpoint(tmp_path, capsys):
    """Unprivileged and in this process: what cannot be a folder is one sentence."""
    jaxtyping.config.update("jaxtyping_disable", True)
    before = jax.config.jax_enable_x64
    (tmp_path / "run").mkdir()
    try:
        assert main([*RUN, "--out", str(tmp_path / "other"), "--memory", "1"]) == 2
        capsys.readouterr()
        about = {"experiment": "feature_averaging", "setting": "Clusters", "seeds": [0], "x64": False}
        config = {"steps": 2, "dim": 16, "num_clusters": 2, "supervision": "binary", "attack_steps": 0}
        write_run(tmp_path / "run", about | {"config": config})
        (tmp_path / "run" / "checkpoint").write_text("a file")
        assert main(["resume", str(tmp_path / "run")]) == 2
    finally:
        jax.config.update("jax_enable_x64", before)
        jaxtyping.config.update("jaxtyping_disable", False)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("dynamics: ")
    assert "checkpoint" in line
    assert (tmp_path / "run" / "checkpoint").read_text() == "a file"
