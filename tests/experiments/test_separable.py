"""A theorem that is not in the library, in one file of at most 80 lines, does all that those inside do."""

import json
import shutil
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import xarray as xr

from dynamics import experiments
from dynamics.cli import main
from dynamics.study import Run

FILE = Path(__file__).parent / "separable.py"
pytestmark = pytest.mark.usefixtures("untyped")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("own")
    shutil.copy(FILE, place)
    return place


def test_it_is_short():
    assert FILE.read_text().count("\n") <= 80


def test_list_run_check_sweep_plot_and_report(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    name = "./separable.py"
    assert main(["list", name]) == 0
    assert "arXiv:1710.10345" in capsys.readouterr().out
    small = ["--seeds", "8", "--log-steps", "8", "--records", "12"]
    assert main(["run", name, *small, "--out", "run"]) == 0
    (verdict,) = json.loads((folder / "run" / "claims.json").read_text())
    assert (verdict["id"], verdict["holds"]) == ("rate", True)
    assert main(["check", name, "--seeds", "8", "--ablations", "--json", "verdicts.json"]) == 0
    ((checked,),) = [record["verdicts"] for record in json.loads((folder / "verdicts.json").read_text())]
    assert checked["holds"]
    assert checked["ablation"]["holds"] is False
    assert (
        main(["sweep", name, "--vary", "log_steps=6,8,10", "--records", "2", "--seeds", "8", "--out", "s"])
        == 0
    )
    assert "theorem -1" in capsys.readouterr().out
    assert main(["plot", "run"]) == 0
    assert matplotlib.image.imread(folder / "run" / "rate.png").std() > 0.05
    assert main(["report", "s"]) == 0
    assert "log_steps" in (folder / "s" / "report.html").read_text()


def test_the_error_is_the_distance_of_directions(folder):
    module = experiments.get(f"{folder / 'separable.py'}:EXPERIMENT")
    rows = np.array([[[1.0, 0.0], [0.0, 2.0]]])  # the largest margin is along (2, 1)
    w = np.array([[[2.0, 1.0], [1.0, 2.0], [-4.0, -2.0]]])
    run = xr.Dataset({"rows": (("seed", "sample", "dim"), rows), "w": (("seed", "step", "dim"), w)})
    law = module.quantities[0]
    found = [float(law.quantity(Run(module.Config(), run.isel(step=[place])))[0]) for place in range(3)]
    np.testing.assert_allclose(found, [0, np.sqrt(2 - 2 * 0.8), 2], atol=1e-7)
