"""Experiments in a user's own file: run, checked, redrawn and resumed as built-in ones; and refused."""

import shutil
from pathlib import Path

import pytest

from dynamics import experiments
from dynamics.cli import main
from dynamics.results import load

OWN = Path(__file__).with_name("own_experiment.py")
pytestmark = pytest.mark.usefixtures("untyped")


def test_is_run_checked_redrawn_and_resumed(tmp_path, monkeypatch, capsys):
    shutil.copy(OWN, tmp_path / "mine.py")
    monkeypatch.chdir(tmp_path)
    assert main(["run", "./mine.py:EXPERIMENT", "--seeds", "3", "--dim", "3", "--out", "done"]) == 0
    done = tmp_path / "done"
    assert "1 of 1 claim that" in capsys.readouterr().out
    assert {path.name for path in done.iterdir()} >= {"result.nc", "claims.json", "accuracy.png"}
    dataset = load(done)
    assert dataset.sizes["seed"] == 3
    assert dataset.attrs["experiment"] == "teacher"
    assert dataset.attrs["experiment_file"] == f"{tmp_path}/mine.py:EXPERIMENT"
    assert experiments.made(dataset).config_of(dataset).dim == 3

    monkeypatch.chdir("/")  # the folder alone tells where the experiment is
    (done / "accuracy.png").unlink()
    assert main(["plot", str(done)]) == 0
    assert (done / "accuracy.png").exists()
    assert main(["resume", str(done)]) == 0
    assert main(["check", f"{tmp_path}/mine.py", "--seeds", "2", "--ablations"]) == 0
    assert "fails, as it should" in capsys.readouterr().out
    assert main(["list", f"{tmp_path}/mine.py"]) == 0
    assert "finds the teacher's direction" in capsys.readouterr().out
    (tmp_path / "mine.py").unlink()
    assert main(["plot", str(done)]) == 2
    assert "mine.py does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        (None, "EXPERIMENT", "does not exist"),
        ("x = 3\n", "EXPERIMENT", "has no EXPERIMENT; experiments in it: none"),
        (OWN.read_text(encoding="utf-8"), "OTHER", "experiments in it: EXPERIMENT"),
        ("EXPERIMENT = 3\n", "EXPERIMENT", "must be an Experiment, got int"),
        ("a = 1\nb = 1 / 0\n", "EXPERIMENT", "line 2: ZeroDivisionError: division by zero"),
        ("a = (\n", "EXPERIMENT", "line 1: SyntaxError"),
        ("import no_such_module\n", "EXPERIMENT", "line 1: ModuleNotFoundError"),
    ],
)
def test_refused_in_one_sentence(tmp_path, capsys, text, name, words):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    for command in ("run", "check", "list"):
        assert main([command, f"{path}:{name}"]) == 2
        error = capsys.readouterr().err
        assert words in error
        assert str(path) in error
        assert len(error.splitlines()) == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name="teacher"', 'name="a/b"', "name must be of letters"),
        ('{"small": Config()}', '{"large": Config()}', "one called small"),
        ('{"small": Config()}', '{"small": 3}', "preset small must be a Config, got int"),
        ('check_runs={"main"', 'check_runs={"other"', "claim found rests on the run main"),
        ('figures={"accuracy": accuracy}', "figures={}", "figures must hold"),
        ("Config=Config,", "Config=int,", "Config must be a class made from"),
        ('dim: int = setting(4, "input dimension d", low=1)', "dim: int = 4", "declare the field dim by"),
    ],
)
def test_an_unsound_experiment_is_refused(tmp_path, capsys, old, new, words):
    text = OWN.read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "mine.py"
    path.write_text(text.replace(old, new))
    assert main(["run", f"{path}:EXPERIMENT"]) == 2
    assert words in capsys.readouterr().err


def test_an_edited_file_is_read_anew_and_text_annotations_are_understood(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN.read_text(encoding="utf-8"))
    first = experiments.get(f"{path}")
    assert experiments.get(f"{path}:EXPERIMENT").Config is first.Config
    text = "from __future__ import annotations\n" + OWN.read_text(encoding="utf-8").partition('"""\n')[2]
    path.write_text(text.replace("A linear teacher", "Another teacher"))
    again = experiments.get(f"{path}")
    assert again.title == "Another teacher"
    assert again.Config(dim=7).dim == 7
    with pytest.raises(ValueError, match="dim must be an integer at least 1"):
        again.Config(dim=0)
