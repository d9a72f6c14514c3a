"""The command line from end to end, interrupted and resumed, and `check` on a stub experiment."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jaxtyping
import matplotlib.image
import numpy as np
import pytest
import xarray as xr

from dynamics import experiments
from dynamics.cli import main, work
from dynamics.cli.folder import find_folder, read_run, write_run
from dynamics.engine.execution import Execution
from dynamics.engine.progress import Progress
from dynamics.experiments import registry
from dynamics.experiments.base import Experiment
from dynamics.results import load, save
from dynamics.study import Ablation, CheckRun, Claims, at_least, at_most
from dynamics.study.config import Config, setting

NAME = "feature_averaging"
ROOT = Path(__file__).resolve().parents[1]


def flags(**settings):
    """Settings as the command line writes them."""
    return [word for name, value in settings.items() for word in ("--" + name.replace("_", "-"), str(value))]


TINY = flags(
    dim=32,
    num_clusters=4,
    num_samples=40,
    num_test=50,
    num_points=10,
    steps=5,
    records=3,
    attack_steps=0,
    seeds=2,
)
# compiles in seconds; long enough to be stopped on the way
LONG = flags(
    supervision="binary",
    dim=16,
    num_clusters=2,
    num_samples=20,
    num_test=10,
    num_points=5,
    width=1,
    attack_steps=0,
    steps=100,
    records=101,
    spacing="linear",
    learning_rate=1e-2,
    seeds=2,
)
# the same command line, which takes its time and says when it has begun to record
SLOWLY = """
import pathlib, sys, time
from dynamics.cli import main
from dynamics.engine.execution import Execution
from dynamics.engine.progress import Progress

def update(self, step):
    pathlib.Path("recording").touch()
    time.sleep(0.1)

Progress.update = update
sys.exit(main(sys.argv[1:]))
"""
FIGURES = {"overview", "alignment", "feature_maps", "robust_accuracy", "growth"}
VERDICT = {
    "id",
    "source",
    "statement",
    "predicted",
    "measured",
    "interval",
    "per_seed",
    "holds",
    "needs",
    "tolerance",
    "ablation",
    "formula",
}


@pytest.fixture(scope="module", autouse=True)
def _untyped():
    """As users have it: without the type checks of the test run."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module", autouse=True)
def _same_precision():
    before = jax.config.jax_enable_x64
    yield
    jax.config.update("jax_enable_x64", before)


def assert_same(one, other):
    """Bit for bit equal variables and coordinates."""
    assert set(one.variables) == set(other.variables)
    for name in one.variables:
        assert one[name].dims == other[name].dims
        assert one[name].dtype == other[name].dtype
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=name)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """Folder of a tiny run whose place the command line chose, and what was printed."""
    folder = tmp_path_factory.mktemp("tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        lines = []
        patch.setattr("builtins.print", lambda *words, **_: lines.append(" ".join(map(str, words))))
        assert main(["run", NAME, *TINY]) == 0
    (run,) = (folder / "runs").iterdir()
    return run, "\n".join(lines)


def test_list(capsys):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == experiments.names()
    assert any(NAME in line and "arXiv:2410.10322" in line for line in lines)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["list", "run", "resume", "check", "plot", "bench"]),
        (["--help"], ["list", "run", "resume", "check", "plot", "bench"]),
        (["run", "--help"], ["--seeds", "--preset", "--checkpoint", "--engine", "--memory", "--distributed"]),
        (
            ["run", NAME, "--help"],
            ["--num-clusters", "--no-use-bias", "at least 2", "[1024]", "small, early, paper, mnist"],
        ),
        (["run", NAME, "--preset", "paper", "--help"], ["of the preset paper", "[3072]"]),
        (["run", NAME, "--preset=paper", "--help"], ["of the preset paper", "[3072]"]),
        (["sweep", NAME, "--preset", "paper", "--help"], ["of the preset paper", "[3072]"]),
        (["resume", "--help"], ["DIR", "run or sweep", "--memory", "--distributed"]),
        (["check", "--help"], ["--ablations", "--json", "--engine", "--memory"]),
        (["plot", "--help"], ["DIR"]),
    ],
)
def test_help(argv, words, capsys):
    assert main(argv) == 0
    out = capsys.readouterr().out
    for word in words:
        assert word in out


def test_every_field_has_a_flag(capsys):
    main(["run", NAME, "--help"])
    out = capsys.readouterr().out
    for field in dataclasses.fields(experiments.get(NAME).Config):
        assert "--" + field.name.replace("_", "-") in out


@pytest.mark.exhaustive
def test_run_writes_what_it_says(tiny):
    folder, printed = tiny
    assert f"writing to runs/{folder.name}" in printed
    assert folder.name.startswith(NAME)
    names = {path.name for path in folder.iterdir()}
    pictures = {f"{name}{end}" for name in FIGURES for end in (".png", ".json")}
    assert names == {"run.json", "result.nc", "claims.json"} | pictures
    assert "claims that this run can decide hold" in printed


def test_result(tiny):
    dataset = load(tiny[0])
    assert dataset.seed.values.tolist() == [0, 1]
    assert dataset.supervision.values.tolist() == ["binary", "fine"]
    assert dataset.step.values[[0, -1]].tolist() == [0, 5]
    assert json.loads(dataset.attrs["config"])["dim"] == 32
    assert dataset.attrs["experiment"] == NAME
    assert np.isfinite(dataset.training_loss).all()


def test_claims_schema(tiny):
    verdicts = json.loads((tiny[0] / "claims.json").read_text())
    assert isinstance(verdicts, list)
    assert len({v["id"] for v in verdicts}) == len(verdicts) > 5
    for verdict in verdicts:
        assert set(verdict) == VERDICT
        assert type(verdict["holds"]) is bool
        assert len(verdict["per_seed"]) == 2
        low, high = verdict["interval"]
        assert low <= verdict["measured"] <= high
        assert np.mean(verdict["per_seed"]) == pytest.approx(verdict["measured"])
        assert set(verdict["tolerance"]) == {"low", "high", "over"}
        assert set(verdict["ablation"]) == {"about", "change", "holds"}
        band = verdict["tolerance"]
        inside = [
            (band["low"] is None or value >= band["low"]) and (band["high"] is None or value <= band["high"])
            for value in verdict["per_seed"]
        ]
        assert verdict["holds"] == all(inside)


def readable(path):
    """A picture that is not blank."""
    picture = matplotlib.image.imread(path)
    assert min(picture.shape[:2]) > 300
    assert picture[..., :3].std() > 0.05


def test_figures_and_their_provenance(tiny):
    for name in FIGURES:
        readable(tiny[0] / f"{name}.png")
        about = json.loads((tiny[0] / f"{name}.json").read_text())
        assert about["figure"] == name
        assert about["experiment"] == NAME
        assert about["config"] == json.loads(load(tiny[0]).attrs["config"])
        assert about["seeds"] == [0, 1]
        assert about["versions"]["jax"] == jax.__version__
        assert about["command"].startswith(f"dynamics run {NAME} --dim 32")


@pytest.mark.exhaustive
def test_plot_needs_the_result_alone(tiny, tmp_path, capsys):
    shutil.copy(tiny[0] / "result.nc", tmp_path)
    assert main(["plot", str(tmp_path)]) == 0
    drawn = {Path(line).name for line in capsys.readouterr().out.splitlines()}
    assert drawn == {f"{name}.png" for name in FIGURES}
    for name in FIGURES:
        before = matplotlib.image.imread(tiny[0] / f"{name}.png")
        np.testing.assert_array_equal(matplotlib.image.imread(tmp_path / f"{name}.png"), before)
        assert json.loads((tmp_path / f"{name}.json").read_text())["seeds"] == [0, 1]


def test_resume_of_a_finished_run_changes_nothing(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "draw", lambda *given: [])
    folder = tmp_path / "run"
    shutil.copytree(tiny[0], folder)
    assert main(["resume", str(folder)]) == 0
    for path in tiny[0].iterdir():
        if path.name != "claims.json" and path.suffix != ".png":
            assert (folder / path.name).read_bytes() == path.read_bytes()
    assert json.loads((folder / "claims.json").read_text()) == json.loads(
        (tiny[0] / "claims.json").read_text()
    )


def test_an_unfinished_run_of_before_settings_had_names_is_not_resumed(tiny, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(work, "draw", lambda *given: [])
    folder = tmp_path / "run"
    shutil.copytree(tiny[0], folder)
    write_run(folder, {key: value for key, value in read_run(folder).items() if key != "setting"})
    assert main(["resume", str(folder)]) == 0  # it is finished
    (folder / "result.nc").unlink()
    capsys.readouterr()
    assert main(["resume", str(folder)]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert "begun by an earlier version, whose unfinished runs cannot be resumed" in sentence


def test_how_a_run_is_computed_is_kept(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(work, "draw", lambda *given: [])
    argv = ["run", NAME, *TINY, "--supervision", "binary", "--engine", "direct", "--memory", "8GiB"]
    assert main([*argv, "--out", str(tmp_path / "run")]) == 0
    about = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (about["engine"], about["memory"]) == ("direct", 2**33)
    (tmp_path / "run" / "result.nc").unlink()
    assert main(["resume", str(tmp_path / "run"), "--memory", "64GB"]) == 0
    assert load(tmp_path / "run").attrs["engine"] == "direct"


def test_what_a_kill_at_the_very_beginning_leaves_is_no_run(tmp_path):
    for name in (".writable", ".run.json.x1y2.tmp"):
        (tmp_path / name).touch()
    assert find_folder(str(tmp_path), NAME).path == tmp_path
    (tmp_path / "notes").touch()
    with pytest.raises(ValueError, match="not empty"):
        find_folder(str(tmp_path), NAME)


# --- interrupted in the middle


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Processes share what they compile."""
    return os.environ | {"DYNAMICS_CACHE": str(tmp_path_factory.mktemp("compiled")), "PYTHONPATH": str(ROOT)}


def start(how, argv, folder, environment):
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *how, *argv], cwd=folder, env=environment, **pipes)


def finish(argv, folder, environment):
    process = start(["-m", "dynamics"], argv, folder, environment)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said


@pytest.fixture(scope="module")
def whole(tmp_path_factory, environment):
    """The run that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    finish(["run", NAME, *LONG, "--out", "whole"], folder, environment)
    return load(folder / "whole")


def stopped(folder, environment, checkpoint, how):
    """Start the long run, stop it when it has begun to record; returns exit code and stderr."""
    argv = ["run", NAME, *LONG, "--out", "run", *checkpoint]
    process = start(["-c", SLOWLY], argv, folder, environment)
    deadline = time.monotonic() + 60
    while not (folder / "recording").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(how)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize(
    "checkpoint",
    [
        pytest.param([], marks=pytest.mark.exhaustive, id="memory"),
        pytest.param(["--checkpoint"], marks=pytest.mark.exhaustive, id="checkpoint"),
    ],
)
def test_control_c_and_resume(checkpoint, tmp_path, environment, whole):
    code, said = stopped(tmp_path, environment, checkpoint, signal.SIGINT)
    assert code == 130, said
    (line,) = said.splitlines()  # XLA is silent, also about programs that it reads from the cache
    assert line.startswith("dynamics: ")
    assert "interrupted at step" in line
    assert "dynamics resume run" in line
    folder = tmp_path / "run"
    partial = load(folder, partial=True)
    assert not (folder / "result.nc").exists()
    count = partial.sizes["step"]
    assert 0 < count < whole.sizes["step"]
    recorded = partial.training_loss.transpose(*whole.training_loss.dims).values
    np.testing.assert_array_equal(recorded, whole.training_loss.isel(step=slice(count)).values)
    finish(["resume", "run"], tmp_path, environment)
    assert_same(load(folder), whole)
    assert not (folder / "partial.nc").exists()
    assert not (folder / "checkpoint").exists()


@pytest.mark.slow
@pytest.mark.exhaustive
def test_kill_and_resume(tmp_path, environment, whole):
    code, _ = stopped(tmp_path, environment, ["--checkpoint"], signal.SIGKILL)
    assert code == -signal.SIGKILL
    folder = tmp_path / "run"
    assert not (folder / "result.nc").exists()
    assert list((folder / "checkpoint" / "binary").rglob("state.npz"))
    finish(["resume", "run"], tmp_path, environment)
    assert_same(load(folder), whole)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_interrupted_in_the_second_arm(tiny, tmp_path, monkeypatch, capsys):
    """The finished first arm is kept, also if the second one has not recorded anything."""
    labels, update = [], Progress.update

    def stop(self, step):
        labels.append(self.label)
        if self.label == "fine" and step > 0:
            raise KeyboardInterrupt
        update(self, step)

    monkeypatch.setattr(Progress, "update", stop)
    folder = tmp_path / "run"
    assert main(["run", NAME, *TINY, "--out", str(folder)]) == 130
    assert "binary" in labels
    partial = load(folder, partial=True)
    assert partial.attrs["complete"] == 0
    assert np.isfinite(partial.training_loss.sel(supervision="binary")).all()
    monkeypatch.undo()
    monkeypatch.setattr(work, "draw", lambda *given: [])
    labels.clear()
    assert main(["resume", str(folder)]) == 0
    assert_same(load(folder), load(tiny[0]))


def test_interrupted_before_anything_is_done(tmp_path, monkeypatch, capsys):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(experiments.get(NAME)), "run", stop)
    folder = tmp_path / "run"
    assert main(["run", NAME, *TINY, "--out", str(folder)]) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"dynamics: interrupted; go on with `dynamics resume {folder}`"


# --- check


@dataclasses.dataclass(frozen=True, kw_only=True)
class StubConfig(Config):
    height: float = setting(1.0, "what is measured", low=0)


@dataclasses.dataclass(frozen=True)
class Stub(Experiment):
    """Knows its results without training; notes what it is asked for."""

    asked: list[Execution] = dataclasses.field(default_factory=list)
    made: list[tuple] = dataclasses.field(default_factory=list)

    def run(self, config=None, **execution):
        config, how = config or StubConfig(), Execution(**execution)
        self.asked.append(how)
        self.made.append((config.height, how.seeds))
        values = config.height + 0.01 * np.asarray(how.seeds)
        attrs = {"device": "none", "wall_s": 0.0}
        return self.signed(xr.Dataset({"height": ("seed", values)}, {"seed": list(how.seeds)}, attrs), config)


RUNS = {
    "main": CheckRun(StubConfig()),
    "same": CheckRun(StubConfig()),
    "few": CheckRun(StubConfig(height=2.0), max_seeds=2),
}


def stub(*claims, made, name="stub"):
    every = Claims(RUNS)
    for one in claims:
        every.add(one)
    return Stub(
        name=name,
        title="A stub",
        arxiv="0000.00000",
        about="nothing",
        presets={"small": StubConfig(), "paper": StubConfig()},
        train=lambda config: {},
        claims=every,
        figures={},
        made=made,
    )


def claim(name, accept, change=5.0, runs=("main",)):
    def height(given):
        return given[runs[0]].height if len(runs) > 1 else given.height

    about = Claims(RUNS).about(*runs, source="nobody")
    return about(name, "the height is right").holds(
        height, accept, Ablation("another height", {"height": change})
    )


LOW = claim("low", at_most(2.0))
HIGH = claim("high", at_least(2.0))
BLUNT = claim("blunt", at_most(9.0))


@pytest.mark.parametrize(
    ("claims", "options", "code"),
    [
        ([LOW], [], 0),
        ([LOW], ["--ablations"], 0),
        ([LOW, HIGH], [], 1),
        ([HIGH, LOW], ["--claims", "low"], 0),
        ([BLUNT], [], 0),
        ([BLUNT], ["--ablations"], 1),
    ],
    ids=["holds", "ablation fails", "one fails", "the other alone", "blunt", "ablation holds"],
)
def test_check_exit_code(claims, options, code, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(registry, "names", lambda: ["stub"])
    monkeypatch.setattr(registry, "get", lambda name: stub(*claims, made=[]))
    out = tmp_path / "verdicts.json"
    assert main(["check", "stub", "--seeds", "3", "--json", str(out), *options]) == code
    (record,) = json.loads(out.read_text())
    assert (record["experiment"], record["seeds"]) == ("stub", 3)
    assert record["seconds"] >= 0
    assert record["command"] == " ".join(
        ["dynamics check stub --seeds 3 --json verdicts.json", *options]
    )  # its folder is nobody else's
    verdicts = record["verdicts"]
    asked = ["low"] if "--claims" in options else [c.id for c in claims]
    assert [v["id"] for v in verdicts] == asked
    for verdict in verdicts:
        assert set(verdict) == VERDICT
        np.testing.assert_allclose(verdict["per_seed"], [1.0, 1.01, 1.02])
        broken = {"low": False, "blunt": True}.get(verdict["id"])
        assert verdict["ablation"]["holds"] is (broken if "--ablations" in options else None)
    captured = capsys.readouterr()
    assert ("FAILS" in captured.out) == (HIGH in claims and "--claims" not in options)


@pytest.mark.parametrize(
    ("few", "options", "code"),
    [
        (lambda height: height < 9, [], 1),
        (lambda height: height < 9, ["--allow-undecided"], 0),
        (lambda height: height < 9, ["--allow-undecided", "--ablations"], 1),  # an undecided ablation
        (lambda height: height < 4, ["--allow-undecided", "--ablations"], 0),
        (lambda height: False, ["--ablations"], 0),
    ],
    ids=["undecided", "allowed", "ablation too", "the claim alone", "decided"],
)
def test_check_of_undecided_claims(few, options, code, monkeypatch, capsys, tmp_path):
    open_ = dataclasses.replace(LOW, needs=lambda run: "more" if few(run.config.height) else "")
    monkeypatch.setattr(registry, "get", lambda name: stub(open_, made=[]))
    out = tmp_path / "verdicts.json"
    assert main(["check", "stub", "--seeds", "3", "--json", str(out), *options]) == code
    ((verdict,),) = [record["verdicts"] for record in json.loads(out.read_text())]
    said = capsys.readouterr().out
    assert (verdict["holds"], verdict["needs"]) == ((None, "more") if few(1.0) else (True, ""))
    assert ("0 of 1 claim holds, 1 undecided" in said) is few(1.0)
    assert ("UNDECIDED  low" in said) is few(1.0)
    if "--ablations" in options:
        assert verdict["ablation"]["holds"] is (None if few(5.0) else False)
        assert ("another height: undecided (it should fail), needs more" in said) is few(5.0)


def test_each_run_is_made_once(monkeypatch, capsys):
    made = []
    claims = [
        LOW,
        BLUNT,
        claim("twin", at_most(2.0), runs=("same",)),
        claim("few", at_most(3.0), runs=("few", "main")),
        claim("moved", at_most(2.5), change=2.0),
    ]
    experiment = stub(*claims, made=made)
    experiment.check(seeds=3)
    assert sorted(made) == [(1.0, (0, 1, 2)), (2.0, (0, 1))]
    made.clear()
    monkeypatch.setattr(registry, "names", lambda: ["stub"])
    monkeypatch.setattr(registry, "get", lambda name: experiment)
    assert main(["check", "all", "--seeds", "3", "--ablations"]) == 1
    assert sorted(made) == [
        (1.0, (0, 1, 2)),
        (2.0, (0, 1)),
        (2.0, (0, 1, 2)),
        (5.0, (0, 1)),
        (5.0, (0, 1, 2)),
    ]
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5


def test_check_computes_as_asked(monkeypatch, capsys):
    experiment = stub(LOW, made=[])
    monkeypatch.setattr(registry, "get", lambda name: experiment)
    assert main(["check", "stub", "--engine", "gram", "--memory", "1MiB"]) == 0
    assert main(["check", "stub"]) == 0
    assert [(how.engine, how.memory) for how in experiment.asked] == [("gram", 2**20), ("auto", None)]


def test_check_takes_a_list_of_seeds():
    made = []
    verdicts = stub(LOW, made=made).check(seeds=[7, 3])
    assert made == [(1.0, (7, 3))]
    assert verdicts[0].per_seed == (1.07, 1.03)


def test_saved_stub_result_is_refused_by_another_experiment(tmp_path, monkeypatch, capsys):
    """A result of one experiment, named as another's, is not drawn."""
    dataset = stub(made=[]).run(seeds=2).assign_attrs(complete=1, format="training-dynamics-lab result 1")
    save(dataset, tmp_path / "result.nc")
    assert main(["plot", str(tmp_path)]) == 2
    assert "no experiment 'stub'" in capsys.readouterr().err
