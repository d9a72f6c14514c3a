"""The declared pictures: their commands are sound, their files are there, and they are made anew."""

import json
from pathlib import Path

import matplotlib.image
import pytest

from dynamics import experiments, plots
from dynamics.cli import figures, main, run, sweep
from dynamics.draw.gallery import Entry, choose

ENTRIES = figures.declared()
FIGURES = Path(__file__).parents[2] / "figures"
OWN = str(Path(__file__).parents[1] / "experiments" / "own_experiment.py")
pytestmark = pytest.mark.usefixtures("untyped")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry.folder))
def test_its_command_is_sound_and_made_what_is_there(entry):
    experiment = experiments.get(entry.experiment)
    if entry.is_sweep:
        _, grid, _ = sweep.read(sweep.command_line(), entry.argv[1:])
        config, drawn = grid.base, {"phase", "curve"}
    else:
        _, config, _ = run.read(run.command_line(), entry.argv[1:])
        drawn = set(experiment.figures) | {f"{name}.gif" for name in experiment.animations}
    assert set(entry.figures) <= drawn
    for name in entry.figures:
        picture = FIGURES / entry.folder / (name if name.endswith(".gif") else f"{name}.png")
        assert picture.stat().st_size < 1_000_000
        if picture.suffix == ".png":
            assert matplotlib.image.imread(picture).shape[1] <= 160 * plots.WIDEST
        about = json.loads(picture.with_suffix(".json").read_text(encoding="utf-8"))
        # fields that are newer than the picture had their defaults in effect
        values, then = config.to_dict(), experiment.read(about["config"], about.get("setting")).to_dict()
        assert about["experiment"] == entry.experiment
        for field in set(about["config"]) & set(values):
            assert values[field] == then[field], field
        count = int(entry.options[entry.options.index("--seeds") + 1])
        assert about["seeds"] == list(range(count))
        if entry.is_sweep:
            assert about["sweep"] == json.loads(grid.to_json())


def test_choose():
    assert choose(ENTRIES) == ENTRIES
    name = "feature_averaging"
    assert {entry.experiment for entry in choose(ENTRIES, name)} == {name}
    assert [entry.place for entry in choose(ENTRIES, name, "mnist")] == ["mnist"]
    assert choose(ENTRIES, f"{name}/mnist") == choose(ENTRIES, name, "mnist")
    assert [entry.place for entry in choose(ENTRIES, name, "paper")] == [""]
    with pytest.raises(ValueError, match="no figures called ''"):
        choose(ENTRIES, name, "")
    assert len({entry.folder for entry in ENTRIES}) == len(ENTRIES)


def test_makes_them_anew(tmp_path, monkeypatch, capsys):
    entries = (
        Entry("own", "", ("--seeds", "2", "--steps", "3"), ("accuracy",)),
        Entry("own", "scale", ("--vary", "init_scale=0,1", "--steps", "2", "--seeds", "2"), ("curve",)),
    )
    found = experiments.get(OWN)
    monkeypatch.setattr(experiments, "get", lambda name: found)
    monkeypatch.setattr(figures, "declared", lambda: entries)
    assert main(["figures", "own", "--out", str(tmp_path)]) == 0
    made = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert made == sorted(
        ["own/accuracy.json", "own/accuracy.png", "own/scale/curve.json", "own/scale/curve.png"]
    )
    assert matplotlib.image.imread(tmp_path / "own/accuracy.png").shape[0] > 100
    about = json.loads((tmp_path / "own/accuracy.json").read_text())
    assert about["command"] == "dynamics run own --seeds 2 --steps 3"
    assert about["config"]["steps"] == 3
    capsys.readouterr()
    assert main(["figures", "own", "scale", "--list"]) == 0
    out = capsys.readouterr().out
    assert out == "own/scale: dynamics sweep own --vary init_scale=0,1 --steps 2 --seeds 2\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nope"], "no figures of 'nope' are declared"),
        (
            ["feature_averaging", "nope"],
            "feature_averaging has no figures called 'nope'; there are paper, early, mnist",
        ),
        (["feature_averaging", "mnist", "more"], "more"),
        (["--out", __file__], "is a file"),
        (["--lis"], "did you mean --list?"),
    ],
)
def test_bad_input_is_one_sentence(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["figures", *argv]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())
