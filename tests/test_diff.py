"""`dynamics diff`: what differs of two results is said, and nothing else."""

import json

import numpy as np
import pytest
import xarray as xr

from dynamics.cli import main
from dynamics.results import save

pytestmark = pytest.mark.usefixtures("untyped")


@pytest.fixture(name="write")
def _write(tmp_path):
    """Writes a result: its numbers, and what is other than usual about it."""

    def write(name, numbers=(1.0, 2.0, np.nan), seeds=(0, 1, 2), config=None, dtype=float, **attrs):
        values = ("seed", np.asarray(numbers, dtype))
        words = ("seed", [f"of {seed}" for seed in seeds])
        dataset = xr.Dataset({"loss": values, "own": words}, {"seed": list(seeds)})
        config = {"dim": 4, "noise": 0.5} | (config or {})
        usual = {"experiment": "made", "config": json.dumps(config), "created": name}
        usual |= {"versions": json.dumps({"jax": "1.0"}), "git_revision": "abc", "float64": "False"}
        save(dataset.assign_attrs(usual | attrs), tmp_path / f"{name}.nc")
        return str(tmp_path / f"{name}.nc")

    return write


def rows(capsys, *argv):
    """The exit code, the rows of the tables by their first word, and the last line."""
    code = main(["diff", *argv])
    lines = capsys.readouterr().out.splitlines()
    return code, {line.split("  ")[0]: line for line in lines[:-1] if line}, lines[-1]


def test_equal_results_are_equal_whenever_they_were_made(write, capsys):
    code, found, last = rows(capsys, write("one"), write("other"))
    assert (code, found) == (0, {})
    assert last == "settings and provenance are equal; numbers are equal"


def test_what_made_them_is_said_field_by_field(write, capsys):
    one = write("one")
    other = write(
        "other",
        config={"dim": 8},
        git_revision="def+changes",
        versions=json.dumps({"jax": "2.0"}),
    )
    code, found, last = rows(capsys, one, other)
    assert code == 1
    assert {name: line.split()[-2:] for name, line in found.items() if name != "made"} == {
        "config: dim": ["4", "8"],
        "versions: jax": ["1.0", "2.0"],
        "git_revision": ["abc", "def+changes"],
    }
    assert last == "settings and provenance differ; numbers are equal"
    assert rows(capsys, one, other, "--numbers") == (0, {}, "numbers are equal")


def test_numbers_are_compared_where_coordinates_agree(write, capsys):
    one = write("one", (1.0, 2.0, np.nan))
    code, found, _ = rows(capsys, one, write("near", (1.0, 2.5, np.nan)))
    assert (code, list(found)) == (1, ["numbers", "loss"])
    assert found["loss"].split() == ["loss", "3", "float64", "3", "float64", "0.5", "0.2"]
    code, found, _ = rows(capsys, one, write("fewer", (2.25, 1.0), seeds=(1, 0)))
    assert (code, list(found)) == (1, ["numbers", "loss", "own", "seed"])
    assert found["loss"].split("  ")[-2:] == ["shapes differ; 0.25 in both", "0.111"]
    found = rows(capsys, one, write("others", (1.0, 2.0), seeds=(8, 9)))[1]
    assert {found[name].rstrip().endswith("  shapes differ") for name in ("loss", "own", "seed")} == {True}
    found = rows(capsys, one, write("finite", (1.0, np.inf, 3.0)))[1]
    assert found["loss"].split("  ")[-2].strip() == "0, and 2 finite in one only"
    found = rows(capsys, one, write("single", (1.0, 2.0, np.nan), dtype=np.float32))[1]
    assert found["loss"].split() == ["loss", "3", "float64", "3", "float32", "0", "0"]


def test_a_variable_of_one_alone_is_said(write, capsys, tmp_path):
    one = write("one")
    save(xr.load_dataset(one).drop_vars("loss"), tmp_path / "less.nc")
    code, found, _ = rows(capsys, one, str(tmp_path / "less.nc"))
    assert (code, found["loss"].split()) == (1, ["loss", "3", "float64", "not", "there"])


def test_bad_input_is_one_sentence(write, tmp_path, capsys):
    assert main(["diff", write("one"), str(tmp_path / "nowhere")]) == 2
    assert "nowhere does not exist" in capsys.readouterr().err
    assert main(["diff", write("one")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_dimensions_without_labels_are_compared_if_they_are_as_large(tmp_path, capsys):
    for name, size in (("one", 3), ("same", 3), ("more", 4)):
        save(xr.Dataset({"x": ("point", np.arange(size) * 1.0)}), tmp_path / f"{name}.nc")
    one, same, more = (str(tmp_path / f"{name}.nc") for name in ("one", "same", "more"))
    assert rows(capsys, one, same, "--numbers")[0] == 0
    code, found, _ = rows(capsys, one, more)
    assert (code, found["x"].split()) == (1, ["x", "3", "float64", "4", "float64", "shapes", "differ"])
