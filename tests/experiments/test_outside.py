"""Experiments in a user's own file: run, checked, redrawn and resumed as built-in ones; and refused."""

import json
import py_compile
import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from dynamics import experiments
from dynamics.cli import main
from dynamics.cli.folder import read_run, write_run
from dynamics.results import load, save

OWN = Path(__file__).with_name("own_experiment.py")
pytestmark = pytest.mark.usefixtures("untyped")


@pytest.mark.exhaustive
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


# --- which files run because a result or run.json names them


BOTH = ["run", pytest.param("sweep", marks=pytest.mark.exhaustive)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes a run or a sweep by `mine.py`, once, and gives its folder."""
    folder = tmp_path_factory.mktemp("made")
    shutil.copy(OWN, folder / "mine.py")
    argv = [f"{folder}/mine.py", "--seeds", "2", "--dim", "3", "--steps", "2", "--out"]

    def make(name):
        varied = ["--vary", "init_scale=0,1"] if name == "sweep" else []
        if not (folder / name).exists():
            assert main([name, *argv, str(folder / name), *varied]) == 0
        return folder / name

    return make


@pytest.fixture
def name():
    return "run"


@pytest.fixture
def copied(made, tmp_path, name):
    """A copy's folder, the file that made it, one that is there once a spy has run, and the spy's code."""
    file, ran = made(name).parent / "mine.py", tmp_path / "ran"
    shutil.copytree(made(name), tmp_path / name)
    yield tmp_path, file, ran, f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n"
    shutil.copy(OWN, file)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("command", ["plot", "report", "resume"])
def test_a_file_with_other_content_runs_only_if_it_is_named(copied, capsys, command, name):
    folder, file, ran, spy = copied
    file.write_text(OWN.read_text(encoding="utf-8") + spy, encoding="utf-8")
    assert main([command, str(folder / name)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{file}, which is not known to be the file that made this" in line
    assert line.endswith(f"if you trust it, add --experiment {file}:EXPERIMENT")
    assert not ran.exists()
    assert main([command, str(folder / name), "--experiment", f"{file}:EXPERIMENT"]) == 0
    assert ran.exists()


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("change", ["no hash", "no text", "relative", "name"])
def test_a_file_that_a_stranger_names_does_not_run(copied, capsys, monkeypatch, name, change):
    folder, _, ran, spy = copied
    evil = folder / "evil.py"
    evil.write_text(OWN.read_text(encoding="utf-8") + spy, encoding="utf-8")
    about = {"experiment_file": f"{evil}:EXPERIMENT"}
    if change in ("no hash", "name"):
        about["experiment_sha256"] = ""
    if change == "no text":
        about |= {"experiment_sha256": 3}
    if change == "relative":
        monkeypatch.chdir(folder)
        about = {"experiment_file": "evil.py", "experiment_sha256": sha256(evil.read_bytes()).hexdigest()}
    dataset, run = load(folder / name), read_run(folder / name)
    if change == "name":  # in the attribute that names built-in ones
        dataset.attrs["experiment"] = str(evil)
        about["experiment_file"] = ""
    save(dataset.assign_attrs(about), folder / name / "result.nc")
    named = {"experiment": about["experiment_file"] or str(evil)}
    write_run(folder / name, run | named | {"experiment_sha256": about.get("experiment_sha256", "")})
    for command in ("plot", "report", "resume"):
        assert main([command, str(folder / name)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(ValueError, match="is not known to be the file that made this"):
        experiments.made(load(folder / name))
    assert not ran.exists()


def test_run_json_of_before_hashes_needs_the_flag(copied, capsys):
    folder, file, _, _ = copied
    about = read_run(folder / "run")
    del about["experiment_sha256"]
    (folder / "run" / "run.json").write_text(json.dumps(about))
    assert main(["resume", str(folder / "run")]) == 2
    assert "--experiment" in capsys.readouterr().err
    assert main(["resume", str(folder / "run"), "--experiment", str(file)]) == 0


def test_another_experiment_than_the_one_that_made_it_is_refused(copied, capsys):
    folder, _, _, _ = copied
    assert main(["plot", str(folder / "run"), "--experiment", "feature_averaging"]) == 2
    assert "was made by teacher, not by feature_averaging" in capsys.readouterr().err


def test_what_is_hashed_is_run_and_no_compiled_file_beside_it(tmp_path):
    path, ran = tmp_path / "mine.py", tmp_path / "ran"
    text = OWN.read_text(encoding="utf-8")
    spy = f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n"
    path.write_text(spy + text, encoding="utf-8")
    compiled = py_compile.compile(str(path), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    path.write_text(text, encoding="utf-8")
    assert Path(compiled).exists()
    assert experiments.get(str(path)).name == "teacher"
    assert not ran.exists()


def test_control_characters_of_a_file_do_not_reach_the_terminal(copied, capsys):
    folder, file, _, _ = copied
    hostile = "\x1b]0;owned\x07\x1b[2J\x9b1m\u202e\r"
    dataset = load(folder / "run").assign_attrs(device=hostile)
    save(dataset, folder / "run" / "result.nc")
    assert main(["resume", str(folder / "run")]) == 0
    said = capsys.readouterr()
    assert r"\x1b]0;owned\x07\x1b[2J\x9b1m\u202e\r" in said.out
    dataset.attrs |= {"experiment_file": f"{file}{hostile}.py", "experiment_sha256": hostile}
    save(dataset, folder / "run" / "result.nc")
    assert main(["plot", str(folder / "run")]) == 2
    dataset.attrs |= {"experiment_file": "", "experiment": hostile}
    save(dataset, folder / "run" / "result.nc")
    assert main(["plot", str(folder / "run")]) == 2
    said = said.out + said.err + "".join(capsys.readouterr())
    assert not set(said) & set("\x1b\x07\x9b\u202e\r")


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
        ('{"small": Config()}', '{"small": 3}', "preset small must be of a class made from study.Config"),
        ("claims=CLAIMS", "claims=[]", "claims must be study.Claims(runs), got list"),
        ('about("main"', 'about("other"', "no run 'other'; there are main"),
        ('figures={"accuracy": accuracy}', "figures={}", "figures must hold"),
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
