"""Several processes: they meet or say why not, share a run, and survive one another."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dynamics.engine import processes
from dynamics.results import load

ROOT = Path(__file__).resolve().parents[2]
SIZES = {
    "dim": 64,
    "num-clusters": 2,
    "num-samples": 20,
    "num-test": 10,
    "num-points": 5,
    "width": 1,
    "attack-steps": 0,
    "steps": 20,
    "records": 11,
    "spacing": "linear",
    "learning-rate": 0.01,
    "seeds": 8,
}
RUN = [
    "run",
    "feature_averaging",
    *(word for name, size in SIZES.items() for word in (f"--{name}", str(size))),
]
# the command line, which takes its time and says when it has begun to record
SLOWLY = """
import pathlib, sys, time
from dynamics.cli import entry
from dynamics.engine.progress import Progress

def update(self, step):
    if step >= 4:
        pathlib.Path("recording").touch()
        time.sleep(0.3)

Progress.update = update
entry()
"""
COMMAND = ["-m", "dynamics"]


@pytest.fixture(scope="module")
def nursery(reference, tmp_path_factory):
    """Starts processes, which share what they compile, and set up JAX themselves."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("JAX_", "XLA_", "TF_"))}
    ours = {"DYNAMICS_CACHE": str(tmp_path_factory.mktemp("compiled")), "PYTHONPATH": str(ROOT)}
    ours["XLA_FLAGS"] = os.environ["DYNAMICS_TESTS_QUICK"]
    made = reference("nursery").Nursery(tmp_path_factory.mktemp("nursery"), clean | ours)
    yield made
    made.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory, nursery):
    """The run made by one process."""
    folder = tmp_path_factory.mktemp("whole")
    (said,) = together([[*COMMAND, *RUN, "--out", "run"]], folder, nursery)
    assert said[0] == 0, said
    return load(folder / "run")


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def together(commands, folder, nursery):
    """Run these at the same time; (exit code, stdout, stderr) of each."""
    return [ended(process) for process in [nursery.begin(words, folder) for words in commands]]


def ended(process):
    """Exit code, output and errors, without what a slow machine has a process say while it waits."""
    code, out, err = process.end()
    lines = [line for line in err.splitlines(keepends=True) if not line.startswith("waiting for all ")]
    return code, out, "".join(lines)


def shares(words, count, how=COMMAND):
    """A command for each of `count` processes."""
    at = ["--distributed", "--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", str(count)]
    return [[*how, *words, *at, "--process-id", str(i)] for i in range(count)]


def assert_same(one, other):
    """Bit for bit equal variables and coordinates."""
    assert set(one.variables) == set(other.variables)
    for name in one.variables:
        assert one[name].dims == other[name].dims
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=name)


def assert_finished(folder):
    assert (folder / "claims.json").exists()
    assert (folder / "overview.png").exists()
    assert not (folder / "checkpoint").exists()
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


# --- meeting

MEET = """
import sys
import jax
from dynamics import startup
from dynamics.engine.processes import join

startup.prepare(cpu_devices=3)
i, n = join(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), timeout=60)
print(i, n, jax.process_index(), jax.process_count(), len(jax.devices()), [d.id for d in jax.devices()])
"""


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 4])
def test_they_meet_and_are_ordinary_processes_again(count, tmp_path, nursery):
    at = f"127.0.0.1:{free_port()}"
    commands = [["-c", MEET, at, str(count), str(i)] for i in range(count)]
    for i, (code, out, err) in enumerate(together(commands, tmp_path, nursery)):
        assert code == 0, err
        assert out == f"{i} {count} 0 1 3 [0, 1, 2]\n"


@pytest.mark.exhaustive
@pytest.mark.slow
def test_who_waits_in_vain_says_so(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE_SECONDS", 0.5)
    at, said = f"127.0.0.1:{free_port()}", []
    with pytest.raises(ValueError, match=f"not all processes came together at {at} within 2 seconds"):
        processes.join(at, 2, 0, timeout=2, say=said.append)
    assert said == [f"waiting for all 2 processes at {at}"]


def test_no_cluster(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("SLURM_", "OMPI_", "KUBERNETES_", "JAX_"))]:
        monkeypatch.delenv(name)
    with pytest.raises(ValueError, match=r"no cluster .* give --coordinator HOST:PORT"):
        processes.join(timeout=5)


def test_slurm_says_which_process_this_is(monkeypatch):
    """A job of one process: Slurm's variables are enough, and its device is the only one seen."""
    code = "from dynamics.engine.processes import join; import jax; print(join(timeout=60), end='; '); "
    code += "print(jax.config.read('jax_cuda_visible_devices'))"
    slurm = {"SLURM_JOB_ID": str(free_port()), "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "1"}
    slurm |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_TASKS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | slurm, capture_output=True, text=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert done.stdout == "(0, 1); 0\n", done.stderr


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_port_that_is_taken():
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::", 0))
        taken.listen()
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ValueError, match=f"{at} is in use already"):
            processes.join(at, 2, 0, timeout=5)


# --- sharing a run


@pytest.mark.slow
@pytest.mark.exhaustive  # below, shares of which one is killed come to the same
@pytest.mark.parametrize("count", [2, 4])
def test_a_shared_run_is_the_run(count, tmp_path, nursery, whole):
    said = together(shares([*RUN, "--out", "run"], count), tmp_path, nursery)
    assert [code for code, *_ in said] == [0] * count, said
    assert all(err == "" for *_, err in said), said
    assert sum("result, claims and 5 figures in run" in out for _, out, _ in said) == 1
    for i, (_, out, _) in enumerate(said):
        if "5 figures" not in out:
            (line,) = out.splitlines()
            assert line.startswith(f"process {i} of {count}: ")
    assert_same(load(tmp_path / "run"), whole)
    assert_finished(tmp_path / "run")


@pytest.mark.exhaustive
@pytest.mark.slow
def test_one_of_three_is_killed_and_two_go_on(tmp_path, nursery, whole):
    commands = shares([*RUN, "--out", "run", "--checkpoint"], 3)
    running = [
        nursery.begin(["-c", SLOWLY, *words[2:]] if i == 1 else words, tmp_path)
        for i, words in enumerate(commands)
    ]
    deadline = time.monotonic() + 120
    while not (tmp_path / "recording").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    running[1].send_signal(signal.SIGKILL)
    said = [ended(process) for process in running]
    assert [code for code, *_ in said] == [0, -signal.SIGKILL, 0], said
    for i in (0, 2):
        (line,) = said[i][1].splitlines()
        assert line.startswith(f"process {i} of 3: its runs are done, ")
        assert line.endswith("whoever finishes last writes the result")
    assert not (tmp_path / "run" / "result.nc").exists()
    with pytest.raises(ValueError, match="holds an interrupted run"):
        load(tmp_path / "run")
    said = together(shares(["resume", "run"], 2), tmp_path, nursery)
    assert [code for code, *_ in said] == [0, 0], said
    assert_same(load(tmp_path / "run"), whole)
    assert_finished(tmp_path / "run")


@pytest.mark.slow
@pytest.mark.exhaustive
def test_control_c_in_one_of_two_and_one_alone_goes_on(tmp_path, nursery, whole):
    commands = shares([*RUN, "--out", "run", "--checkpoint"], 2)
    first = nursery.begin(commands[0], tmp_path)
    second = nursery.begin(["-c", SLOWLY, *commands[1][2:]], tmp_path)
    deadline = time.monotonic() + 120
    while not (tmp_path / "recording").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    second.send_signal(signal.SIGINT)
    code, _, err = ended(second)
    assert code == 130
    (line,) = err.splitlines()
    assert line.startswith("dynamics: process 1 of 2: ")
    assert "dynamics resume run" in line
    assert ended(first)[0] == 0
    assert not (tmp_path / "run" / "result.nc").exists()
    ((code, _, err),) = together([[*COMMAND, "resume", "run"]], tmp_path, nursery)
    assert code == 0, err
    assert_same(load(tmp_path / "run"), whole)
    assert_finished(tmp_path / "run")


@pytest.mark.exhaustive
@pytest.mark.slow
def test_processes_that_were_given_different_runs(tmp_path, nursery):
    one, other = shares([*RUN, "--out", "run"], 2)
    said = together([one, [*other, "--noise", "0.5"]], tmp_path, nursery)
    assert said[0][0] == 0
    assert said[1][0] == 2
    assert "given another run than process 0 (config.noise: 1.0 there, 0.5 here)" in said[1][2]
