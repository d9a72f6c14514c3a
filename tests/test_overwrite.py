"""`--overwrite`: a finished run takes the place of another, which is there until then."""

import json
import shutil
from pathlib import Path

import pytest

from dynamics.cli import folder as folders
from dynamics.cli import main, sweep, work
from dynamics.cli.folder import read_run
from dynamics.engine.progress import Progress
from dynamics.results import load

OWN = str(Path(__file__).parent / "experiments" / "own_experiment.py")
pytestmark = pytest.mark.usefixtures("untyped")


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    monkeypatch.setattr(work, "draw", lambda *given: [])
    monkeypatch.setattr(sweep, "draw", lambda *given: [])


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a run of two seeds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(work, "draw", lambda *given: [])
        folder = tmp_path_factory.mktemp("made") / "first"
        assert main(["run", OWN, "--seeds", "2", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def earlier(made, tmp_path):
    """A run that is there, with a page of its own."""
    folder = tmp_path / "run"
    shutil.copytree(made, folder)
    (folder / "report.html").touch()
    return folder


def test_a_run_takes_the_place_of_another(earlier, capsys):
    assert main(["run", OWN, "--seeds", "3", "--out", str(earlier)]) == 2
    assert "resume the run in it, or replace it by --overwrite" in capsys.readouterr().err
    assert main(["run", OWN, "--seeds", "3", "--out", str(earlier), "--overwrite"]) == 0
    assert f"result, claims and 0 figures in {earlier}\n" in capsys.readouterr().out
    assert load(earlier).sizes["seed"] == 3
    assert sorted(path.name for path in earlier.iterdir()) == ["claims.json", "result.nc", "run.json"]
    assert [path.name for path in earlier.parent.iterdir()] == ["run"]  # nothing is left beside it
    assert "replaces" not in read_run(earlier)
    copy = shutil.copytree(earlier, earlier.with_name("copy"))
    assert main(["resume", str(copy)]) == 0
    assert copy.exists()


def test_a_sweep_takes_the_place_of_a_run(earlier):
    argv = ["sweep", OWN, "--vary", "init_scale=0:1:2", "--seeds", "2", "--out", str(earlier), "--overwrite"]
    assert main(argv) == 0
    assert load(earlier).sizes["init_scale"] == 2
    assert [path.name for path in earlier.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError("no space")])
def test_the_earlier_run_is_there_until_the_new_one_is_finished(error, earlier, monkeypatch, capsys):
    before = (earlier / "result.nc").read_bytes()
    argv = ["run", OWN, "--seeds", "3", "--out", str(earlier), "--overwrite"]

    def stop(self, step):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "update", stop)
        assert main(argv) == (130 if error is KeyboardInterrupt else 2)
    assert (earlier / "result.nc").read_bytes() == before
    assert (earlier / "report.html").exists()
    beside = earlier.with_name("run.new")
    if error is not KeyboardInterrupt:
        assert not beside.exists()
        return
    assert f"go on with `dynamics resume {beside}`" in capsys.readouterr().err
    assert main(argv) == 2
    assert f"finish it by `dynamics resume {beside}`, or remove it" in capsys.readouterr().err
    assert main(["resume", str(beside)]) == 0
    assert not beside.exists()
    assert load(earlier).sizes["seed"] == 3


def test_a_kill_between_the_moves_leaves_both(earlier, monkeypatch):
    """The earlier one is moved away, and then the process dies: `resume` puts the new one in the place."""

    class Killed(BaseException):
        pass

    def rename(self, target):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(folders.Path, "rename", rename)
        with pytest.raises(Killed):
            main(["run", OWN, "--seeds", "3", "--out", str(earlier), "--overwrite"])
    (old,) = earlier.parent.glob(".run.*.old")
    assert load(old).sizes["seed"] == 2
    assert load(earlier.with_name("run.new")).sizes["seed"] == 3
    assert main(["resume", str(earlier.with_name("run.new"))]) == 0
    assert load(earlier).sizes["seed"] == 3
    assert load(old).sizes["seed"] == 2


def test_a_new_folder_needs_no_overwriting(tmp_path):
    assert main(["run", OWN, "--seeds", "2", "--out", str(tmp_path / "run"), "--overwrite"]) == 0
    assert json.loads((tmp_path / "run" / "claims.json").read_text())


@pytest.mark.parametrize(
    ("options", "names", "sentence"),
    [
        ([], [], "--overwrite needs --out DIR"),
        (["--out", "run"], ["run.json", "notes.txt"], "holds notes.txt, which no run writes: --overwrite"),
        (
            ["--out", "run"],
            ["picture.png"],
            "--out run holds no run: --overwrite replaces the folders of runs",
        ),
        (["--out", "."], [], "--out . holds"),
        (["--out", "run", "--distributed"], ["run.json"], "--overwrite is for a run of one process"),
    ],
)
def test_what_is_no_run_is_not_replaced(options, names, sentence, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    for name in names:
        (tmp_path / "run" / name).touch()
    assert main(["run", OWN, "--overwrite", *options]) == 2
    assert sentence in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(names)
