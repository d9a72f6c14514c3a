"""The notebooks run as they are, print what they are kept with, and use public names only.

`python tests/test_notebooks.py [NAME ...]` runs them (all, if none is named) and keeps the new outputs.
"""

import ast
import importlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import nbclient
import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from dynamics import experiments

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
PLACE = re.compile(r"(?<![\w.:/])(?:/(?:home|root|tmp|var|usr|opt|work|Users|content)/|[A-Z]:\\)")


def read(name):
    """The notebook, as it is kept."""
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def execute(name, folder):
    """The notebook run anew in a process of its own, in an empty folder; without what varies between runs.

    Raises: CellExecutionError: a cell raised.
    """
    notebook = read(name)
    environment = {**os.environ, "IPYTHONDIR": str(folder / "ipython"), "JUPYTER_RUNTIME_DIR": str(folder)}
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", record_timing=False, coalesce_streams=True
    )
    client.resources = {"metadata": {"path": str(folder)}}
    client.execute(env=environment)
    language = {"name": "python"}
    notebook.metadata = {"kernelspec": dict(notebook.metadata.kernelspec), "language_info": language}
    for cell in notebook.cells:
        cell.metadata = {"tags": cell.metadata["tags"]} if "tags" in cell.metadata else {}
        if "outputs" in cell:  # a line of progress that was taken away leaves nothing
            cell.outputs = [o for o in cell.outputs if o.get("data", {}).get("text/plain") != ""]
    return notebook


def code(notebook):
    """Its cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook):
    """The text that each cell tagged `check` prints."""
    return [
        "".join(output.text for output in cell.outputs if output.output_type == "stream")
        for cell in code(notebook)
        if "check" in cell.metadata.get("tags", ())
    ]


def agrees(kept, fresh):
    """Whether two texts say the same: integers alike, others within 2 % or one unit of the last digit."""
    if NUMBER.sub("#", kept).split() != NUMBER.sub("#", fresh).split():
        return False
    return all(map(_close, NUMBER.findall(kept), NUMBER.findall(fresh)))


def _close(kept, fresh):
    digits = kept.partition(".")[2]
    if not digits or "e" in kept:
        return float(kept) == float(fresh)
    return math.isclose(float(kept), float(fresh), rel_tol=0.02, abs_tol=1.01 * 10.0 ** -len(digits))


def test_every_experiment_has_one():
    assert {"quickstart", "own_theorem", *experiments.names()} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_kept_small_and_clean(name):
    path, notebook = FOLDER / f"{name}.ipynb", read(name)
    assert path.stat().st_size < 1_000_000
    nbformat.validate(notebook)
    assert [cell.execution_count for cell in code(notebook)] == list(range(1, len(code(notebook)) + 1))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert any("image/png" in output.get("data", ()) for output in outputs)
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert all(printed(notebook))
    assert len(printed(notebook)) >= 2
    assert not PLACE.search(path.read_text(encoding="utf-8"))
    assert {key for cell in notebook.cells for key in cell.metadata} <= {"tags"}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_public(name):
    manager = TransformerManager()
    for cell in code(read(name)):
        for node in ast.walk(ast.parse(manager.transform_cell(cell.source))):
            if isinstance(node, ast.Import):
                used = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                used = [node.module, *(alias.name for alias in node.names)]
                found = importlib.import_module(node.module)
                offered = getattr(found, "__all__", None) or dir(found)
                assert node.module == "dynamics" or set(used[1:]) <= set(dir(found))
                assert node.module != "dynamics" or set(used[1:]) <= set(offered)
            elif isinstance(node, ast.Attribute):
                used = [node.attr]
            else:
                continue
            assert not [part for one in used for part in one.split(".") if part.startswith("_")]


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_and_prints_what_it_is_kept_with(name, tmp_path):
    kept, fresh = printed(read(name)), printed(execute(name, tmp_path))
    for before, now in zip(kept, fresh, strict=True):
        assert agrees(before, now), f"kept:\n{before}\nnow:\n{now}"


def test_all_begin_alike():
    starts = {code(read(name))[0].source.replace("[images]", "") for name in NAMES}
    assert len(starts) == 1


@pytest.mark.exhaustive
@pytest.mark.parametrize("place", ["beside", "above"])
def test_the_first_cell_installs_a_clone_where_there_is_none_installed(place, tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", FOLDER.parent, clone], check=True)
    venv.create(tmp_path / "fresh", with_pip=True)
    python = tmp_path / "fresh" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "ipython"], check=True)
    cell = code(read("quickstart"))[0].source + "\nprint(dynamics.__file__)"
    done = subprocess.run(
        [python, "-m", "IPython", "--no-banner", "-c", cell],
        cwd=tmp_path if place == "beside" else clone / "notebooks",
        env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[-1].startswith(str(tmp_path / "fresh")), done.stdout


@pytest.mark.parametrize(
    ("kept", "fresh", "same"),
    [
        ("A1-mean holds  0.57", "A1-mean holds 0.58", True),
        ("A1-mean holds  0.57", "A1-mean FAILS 0.57", False),
        ("radius 12.98", "radius 13.10", True),
        ("radius 12.98", "radius 13.98", False),
        ("share  0.00", "share -0.00", True),
        ("step 50: 0.1", "step 51: 0.1", False),
        ("1 2", "1", False),
    ],
)
def test_what_counts_as_the_same_text(kept, fresh, same):
    assert agrees(kept, fresh) is same


if __name__ == "__main__":
    for chosen in sys.argv[1:] or NAMES:
        with tempfile.TemporaryDirectory() as temporary:
            done = execute(chosen, Path(temporary))
        text = json.dumps(done, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        (FOLDER / f"{chosen}.ipynb").write_text(text, encoding="utf-8")
        print(f"{chosen}: {len(text) / 1000:.0f} kB")
