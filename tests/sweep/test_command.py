"""`dynamics sweep` from end to end: figures, exponents, quantities, a folder to redraw and to resume."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from dynamics import experiments
from dynamics.cli import main, sweep
from dynamics.cli.folder import read_run, write_run
from dynamics.results import load, save
from dynamics.study import Law
from dynamics.sweep import foresight, grid
from dynamics.sweep.figures import Shown

OWN = str(Path(__file__).parents[1] / "experiments" / "own_experiment.py")
pytestmark = pytest.mark.usefixtures("untyped")


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Folder of a sweep over three settings, two of which share a program."""
    folder = tmp_path_factory.mktemp("swept") / "done"
    argv = ["sweep", OWN, "--vary", "init_scale=0:1:3", "--vary", "learning-rate=0.1:1:2:log", "--seeds", "3"]
    assert main([*argv, "--dim", "3", "--tie", "num_samples=10*dim", "--out", str(folder)]) == 0
    return folder


def test_writes_one_labelled_result_with_its_figures(swept):
    dataset = load(swept)
    assert dataset.test_accuracy.dims == ("init_scale", "learning_rate", "seed", "step")
    np.testing.assert_allclose(dataset.learning_rate, [0.1, 1.0])
    config = experiments.made(dataset).config_of(dataset)
    assert (config.dim, config.num_samples) == (3, 30)
    assert {path.name for path in swept.iterdir()} == {
        *("run.json", "result.nc", "phase.png", "phase.json", "curve.png", "curve.json")
    }
    about = json.loads((swept / "phase.json").read_text())
    assert about["sweep"]["axes"]["init_scale"] == [0.0, 0.5, 1.0]
    assert about["quantities"] == ["test_accuracy"]
    assert about["command"].startswith("dynamics sweep")


def test_is_redrawn_and_resumed(swept, tmp_path, capsys):
    folder = tmp_path / "copy"
    shutil.copytree(swept, folder)
    (folder / "phase.png").unlink()
    assert main(["plot", str(folder), "--quantity", "training_loss"]) == 0
    assert "phase.png" in capsys.readouterr().out
    assert json.loads((folder / "phase.json").read_text())["quantities"] == ["training_loss"]
    before = (folder / "result.nc").read_bytes()
    assert main(["resume", str(folder)]) == 0
    assert (folder / "result.nc").read_bytes() == before
    assert main(["plot", str(folder), "--quantity", "colour"]) == 2
    assert "there are test_accuracy, training_loss" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "name of an experiment first"),
        (["--vary"], "name of an experiment first"),
        ([OWN], "--vary NAME=a:b:n"),
        (["feature-averaging", "--vary", "noise=1,2"], "no experiment"),
        ([OWN, "--vary", "dim"], "--vary needs NAME="),
        ([OWN, "--vary", "dims=1,2"], "did you mean dim?"),
        ([OWN, "--vary", "dim=1:2"], "a:b:n"),
        ([OWN, "--vary", "dim=0,2"], "dim must be an integer at least 1, got 0"),
        ([OWN, "--vary", "dim=2,x"], "dim must be an integer at least 1, got 'x'"),
        ([OWN, "--vary", "dim=2,3", "--vary", "dim=4"], "--vary names dim twice"),
        ([OWN, "--vary", "dim=2,3", "--dim", "4"], "dim is both varied and set"),
        ([OWN, "--vary", "dim=2,3", "--tie", "steps=seeds"], "seeds is not a setting"),
        ([OWN, "--vary", "dim=2,3", "--tie", "steps"], "--tie needs NAME="),
        ([OWN, "--vary", "dim=2,3", "--seeds", "0"], "--seeds"),
        ([OWN, "--vary", "dim=2,3", "--preset", "large"], "preset must be one of small"),
        ([OWN, "--vary", "dim=2,3", "--engine", "fast"], "--engine"),
        ([OWN, "--vary", "descent=newton,huber"], "no point of the sweep is possible"),
        (
            [OWN, "--vary", "descent=gd,newton", "--steps", "-1"],
            "steps must be an integer at least 0, got -1",
        ),
        (
            [OWN, "--vary", "dim=2,3", "--steps", "x", "--tie", "num_samples=2*steps"],
            "steps must be an integer",
        ),
        ([OWN, "--vary", "dim=2,3", "--memory", "1KiB"], "the memory limit is 1,024 bytes"),
        ([OWN, "--vary", "dim=2,3", "--quantity", "colour"], "there are test_accuracy, training_loss"),
        (
            [OWN, "--vary", "dim=2,3", "--quantity", "test_accuracy[arm=a]"],
            "no 'arm' to choose from; it has step",
        ),
        ([OWN, "--vary", "dim=2,3", "--quantity", "test_accuracy[step=-1]"], "step has the values 0"),
        ([OWN, "--vary", "dim=2,3", *["--quantity", "a", "--quantity", "b"] * 3], "at most 4 quantities"),
        ([OWN, "--vary", "dim=2,3", "--distributed"], "unknown argument --distributed"),
    ],
)
def test_bad_input_is_one_sentence(argv, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", *argv]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_help_and_a_damaged_folder(swept, tmp_path, capsys):
    assert main(["sweep", "--help"]) == 0
    assert "--tie" in capsys.readouterr().out
    folder = tmp_path / "copy"
    shutil.copytree(swept, folder)
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(about | {"sweep": []}))
    assert main(["resume", str(folder)]) == 2
    assert "run.json is damaged or was edited" in capsys.readouterr().err
    write_run(folder, read_run(swept) | {"sweep": []})
    assert main(["resume", str(folder)]) == 2
    assert "does not describe a sweep" in capsys.readouterr().err
    write_run(folder, read_run(swept))
    dataset = load(folder)
    dataset.attrs["sweep"] = "{}"
    save(dataset, folder / "result.nc")
    assert main(["resume", str(folder)]) == 2
    assert "result.nc is of another sweep than run.json" in capsys.readouterr().err
    assert main(["plot", str(folder)]) == 2
    assert "does not hold the grid" in capsys.readouterr().err


def synthetic(swept):
    """The sweep with losses of a known power law in place of its own, and a text dimension."""
    dataset = load(swept).isel(init_scale=[1, 2]).reindex(init_scale=[0.5, 1.0, 2.0, 4.0], method="nearest")
    about = json.loads(dataset.attrs["sweep"])
    about["axes"]["init_scale"] = dataset.init_scale.values.tolist()
    dataset.attrs["sweep"] = json.dumps(about)
    law = 3 * dataset.init_scale**-1.5
    return dataset.assign(training_loss=(law * (dataset.training_loss * 0 + 1)).transpose(..., "step"))


def test_measures_theory_and_exponents_against_what_was_put_in(swept):
    dataset = synthetic(swept)
    loss = Law(
        "loss",
        "loss",
        lambda data: data.training_loss.isel(step=-1),
        theory=lambda config: 3 * config.init_scale**-1.5,
        exponents=lambda config: {"init_scale": -1.5},
    )
    experiment = dataclasses.replace(experiments.made(dataset), quantities=[loss, "test_accuracy"])
    shown = Shown(experiment, dataset)
    assert [one.name for one in shown.quantities] == ["loss", "test_accuracy"]
    np.testing.assert_allclose(shown.theory[0], 3 * dataset.init_scale.values[:, None] ** [-1.5, -1.5])
    fits = shown.fits()
    assert [fit["at"] for fit in fits] == [{"learning_rate": 0.1}, {"learning_rate": 1.0}]
    for fit in fits:
        np.testing.assert_allclose([fit["exponent"], fit["law"], *fit["interval"]], -1.5, rtol=1e-10)
    assert "theorem -1.5" in shown.summary()
    figures = shown.figures()
    phase, curve = figures["phase"].axes, figures["curve"].axes
    np.testing.assert_allclose(
        phase[0].collections[0].get_array().reshape(2, 4), dataset.training_loss.isel(step=-1).mean("seed").T
    )
    dashed = [line for line in curve[0].lines if line.get_linestyle() == "--"]
    np.testing.assert_allclose(dashed[0].get_ydata(), shown.theory[0][:, 0])
    assert all(ax.get_xlabel() for ax in (*phase[:2], *curve))
    # one statistic in every picture, as in the fits
    solid = [line for line in curve[0].lines if line.get_linestyle() == "-" and len(line.get_xdata()) == 4]
    mean = shown.values[0].mean(axis=-1)
    np.testing.assert_allclose([line.get_ydata() for line in solid], mean.T)
    legend = curve[0].get_legend()
    assert "mean and middle half of" in legend.get_title().get_text()
    assert all("; -1.500" in text.get_text() for text in legend.get_texts()[:2])
    # of two values there are no contours: the theory is beside what was measured
    numbers = [text.get_text() for text in phase[0].texts]
    assert numbers[0] == f"{mean[0, 0]:#.3g}\n({shown.theory[0][0, 0]:#.3g})"
    assert phase[0].get_legend().get_texts()[0].get_text() == "in brackets: theory"


def test_names_are_not_joined_by_lines(swept):
    dataset = load(swept)
    about = json.loads(dataset.attrs["sweep"])
    about["axes"] = {"descent": ["gd", "sign", "coordinate"], "learning_rate": about["axes"]["learning_rate"]}
    dataset = dataset.rename(init_scale="descent").assign_coords(descent=about["axes"]["descent"])
    dims = {"descent": "descent", "learning_rate": "learning_rate"}
    dataset.attrs |= {"sweep": json.dumps(about), "sweep_dims": json.dumps(dims)}
    shown = Shown(experiments.made(dataset), dataset, ["training_loss"])
    lines = shown.figures()["curve"].axes[0].lines
    assert {line.get_linestyle() for line in lines} == {"None"}
    np.testing.assert_array_equal([line.get_ydata() for line in lines], shown.values[0].mean(axis=-1).T)


def test_panels_of_a_phase_diagram_share_their_colours(swept):
    dataset = load(swept)
    about = json.loads(dataset.attrs["sweep"])
    about["axes"]["records"] = [7, 8]
    dims = json.loads(dataset.attrs["sweep_dims"]) | {"records": "records"}
    louder = [dataset, dataset.assign(training_loss=3 * dataset.training_loss)]
    attrs = dataset.attrs | {"sweep": json.dumps(about), "sweep_dims": json.dumps(dims)}
    dataset = xr.concat(louder, xr.IndexVariable("records", [7, 8])).assign_attrs(attrs)
    shown = Shown(experiments.made(dataset), dataset, ["training_loss"])
    panels = [ax.collections[0] for ax in shown.figures()["phase"].axes[:2]]
    assert not np.array_equal(*(panel.get_array() for panel in panels))
    means = shown.values[0].mean(axis=-1)
    assert [panel.get_clim() for panel in panels] == [(means.min(), means.max())] * 2


@pytest.mark.parametrize(
    ("words", "missing", "seeds"),
    [
        ("no number in some seed", ["training_loss"], 0),
        ("not possible", ["training_loss", "first_nonfinite_step"], slice(None)),
    ],
)
def test_a_phase_diagram_says_why_a_point_is_empty(swept, words, missing, seeds):
    dataset = load(swept).copy(deep=True)
    for name in missing:
        dataset[name] = dataset[name].astype(float)
        dataset[name][{"learning_rate": 0, "init_scale": 0, "seed": seeds}] = np.nan
    figure = Shown(experiments.made(dataset), dataset, ["training_loss"]).figures()["phase"]
    assert words in [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_variables_by_coordinate_and_at_their_last_step(swept):
    dataset = load(swept)
    arms = dataset.expand_dims(arm=["a", "b"]).copy(deep=True)
    arms["test_accuracy"] = arms.test_accuracy.transpose(*dataset.test_accuracy.dims, "arm")
    late = arms.test_accuracy.values
    late[0, :, :, -1] = np.nan  # a point that ran for fewer steps
    experiment = experiments.made(dataset)
    shown = Shown(experiment, arms, ["test_accuracy"])
    assert [one.name for one in shown.quantities] == ["test_accuracy[arm=a]", "test_accuracy[arm=b]"]
    np.testing.assert_array_equal(shown.values[0][0], late[0, :, :, -2, 0])
    np.testing.assert_array_equal(shown.values[1][1:], late[1:, :, :, -1, 1])
    step = int(dataset.step[1])
    at = Shown(experiment, arms, [f"test_accuracy[arm=b,step={step}]"])
    np.testing.assert_array_equal(at.values[0], late[:, :, :, 1, 1])
    for text, words in (
        ("test_accuracy[arm=c]", "arm has the values a, b"),
        ("test_accuracy[x=1]", "no 'x'"),
    ):
        with pytest.raises(ValueError, match=words):
            Shown(experiment, arms, [text])


def test_a_dataset_is_drawn_fitted_and_not_judged_in_python(swept):
    dataset = load(swept)
    experiment = experiments.made(dataset)
    assert len(experiment.plot(dataset).axes) >= 2
    assert experiment.fits(dataset) == []
    with pytest.raises(ValueError, match="this is a sweep"):
        experiment.judge(dataset)


def test_theory_is_only_where_a_measure_applies(swept):
    dataset = load(swept)
    loss = Law(
        "loss",
        "loss",
        lambda data: data.training_loss.isel(step=-1),
        recorded=lambda config: config.init_scale > 0.5,
        theory=lambda config: 1.0,
    )
    shown = Shown(dataclasses.replace(experiments.made(dataset), quantities=[loss]), dataset)
    assert [one.name for one in shown.quantities] == ["loss"]  # though it is not about the first point
    np.testing.assert_array_equal(np.isfinite(shown.theory[0]), [[False] * 2, [False] * 2, [True] * 2])
    assert "at the 2 points that it is about" in shown.summary()


def test_a_measure_that_only_points_between_the_ends_have(monkeypatch):
    """What may be there is not refused beforehand; names are known of points at the ends."""
    experiment = experiments.get(OWN)
    made = grid.make(experiment.presets["small"], {"steps": [2, 5, 9]})
    foresight.check_quantities(experiment, made, ["training_loss", "test_accuracy[step=5]"])
    with pytest.raises(ValueError, match="no such quantity"):
        foresight.check_quantities(experiment, made, ["training_loss", "loss"])
    # an experiment that cannot work on blank results is believed
    broken = dataclasses.replace(experiment, train=lambda config: 1 / 0)
    foresight.check_quantities(broken, made, ["loss"])


@pytest.mark.parametrize(
    "name",
    [
        *experiments.names()[:1],
        *(pytest.param(n, marks=pytest.mark.exhaustive) for n in experiments.names()[1:]),
    ],
)
def test_names_are_foreseen_in_every_experiment(name):
    experiment = experiments.get(name)
    small = experiment.presets["small"]
    # the preset whose fields are those of a kernel trains nothing
    varied = {"steps": [3]} if hasattr(small, "steps") else {"num_test": [10]}
    made = grid.make(small, varied)
    dataset = foresight._foreseen(experiment, made)
    assert dataset.data_vars
    assert "first_nonfinite_step" in dataset or "steps" not in varied
    with pytest.raises(ValueError, match="no such quantity"):
        foresight.check_quantities(experiment, made, ["colour"])


def test_a_measure_that_turns_out_wrong_leaves_the_result(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(foresight, "check_quantities", lambda *given: None)
    folder = tmp_path / "out"
    argv = [
        "sweep",
        OWN,
        "--vary",
        "init_scale=0,1",
        "--seeds",
        "2",
        "--out",
        str(folder),
        "--quantity",
        "no",
    ]
    assert main(argv) == 2
    assert f"the result is kept, and `dynamics plot {folder}` draws it" in capsys.readouterr().err
    assert main(["plot", str(folder)]) == 0


def test_a_setting_named_as_an_option_and_a_choice_of_numbers(capsys):
    name = "flavors_of_margin"
    assert main(["sweep", name, "--help"]) == 0
    assert "--setting-tie" in capsys.readouterr().out
    _, grid, _ = sweep.read(sweep.command_line(), [name, "--vary", "tie=-1,1"])
    assert [config.tie for config in grid.configs] == [-1, 1]
    _, grid, _ = sweep.read(sweep.command_line(), [name, "--vary", "power=2,3", "--setting-tie", "-1"])
    assert grid.base.tie == -1
    with pytest.raises(ValueError, match="tie must be one of -1, 1, got '2'"):
        sweep.read(sweep.command_line(), [name, "--vary", "power=2,3", "--setting-tie", "2"])
