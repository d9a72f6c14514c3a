"""The pages are true: commands and snippets run as printed, links lead to files, CI runs the test command."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import matplotlib
import matplotlib.image
import pytest

import dynamics
from dynamics import experiments
from dynamics.cli import table

ROOT = Path(__file__).parents[1]
PLACES = ("", "dynamics", "dynamics/cli", "dynamics/engine", "dynamics/experiments", "kernels", "tests")
PLACES += ("figures", "notebooks")
PAGES = {place: (ROOT / place / "README.md").read_text() for place in PLACES}
README = PAGES[""]


def blocks(page, language):
    """What stands in the fenced blocks of a page."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.S)


SHELL = [line for page in PAGES.values() for block in blocks(page, "sh") for line in block.splitlines()]
SNIPPETS = {
    f"{place or 'README'}-{number}": snippet
    for place, page in PAGES.items()
    for number, snippet in enumerate(blocks(page, "python"))
}
# run elsewhere: the set-up of the environment by .ci/run
COMMANDS = [line for line in SHELL if line.startswith("dynamics ")]


def test_ci_runs_the_test_command_to_the_letter():
    (command,) = [line for line in SHELL if line.endswith("-m pytest -q")]
    assert command in (ROOT / ".ci" / "run").read_text().splitlines()


def test_the_first_command_is_the_main_job_with_a_picture(tmp_path):
    (line,) = [line for line in SHELL if "dynamics run" in line and line.startswith("python3 -m venv")]
    _run(line.rsplit(".venv/bin/", 1)[1], tmp_path)
    picture = matplotlib.image.imread(tmp_path / "runs" / "first" / "overview.png")
    assert picture.shape[0] > 500
    assert picture.std() > 0.05


@pytest.fixture(scope="module")
def python(reference, tmp_path_factory):
    """Runs Python with some words in a folder; it must end well."""
    quick = os.environ | {"XLA_FLAGS": os.environ["DYNAMICS_TESTS_QUICK"]}
    nursery = reference("nursery").Nursery(tmp_path_factory.mktemp("nursery"), quick)

    def run(words, folder):
        code, _, said = nursery.run(words, folder)
        assert code == 0, f"{words}\n{said[-2000:]}"

    yield run
    nursery.close()


@pytest.mark.slow
@pytest.mark.exhaustive
def test_commands_run_in_the_order_they_are_printed(tmp_path, python):
    assert len(COMMANDS) >= 8
    (own,) = [snippet for snippet in SNIPPETS.values() if snippet.startswith("# my_experiment.py\n")]
    (tmp_path / "my_experiment.py").write_text(own)
    for line in COMMANDS:
        python(["-m", *shlex.split(line)], tmp_path)
    assert (tmp_path / "runs" / "four" / "overview.png").exists()
    assert (tmp_path / "verdicts.json").exists()
    assert (tmp_path / "runs" / "sweep" / "report.html").exists()


# the first page's always run, the others' with the exhaustive tests
RUN = [
    name if name.startswith("README") else pytest.param(name, marks=pytest.mark.exhaustive)
    for name in SNIPPETS
]


@pytest.mark.parametrize("name", RUN)
def test_snippet_runs(name, tmp_path, python):
    python(["-W", "error::UserWarning", "-c", SNIPPETS[name]], tmp_path)


@pytest.mark.parametrize("place", PLACES)
def test_links_lead_to_files(place):
    links = [link for link in re.findall(r"\]\(([^)]+)\)", PAGES[place]) if "://" not in link]
    missing = [link for link in links if not (ROOT / place / link.partition("#")[0]).exists()]
    assert not missing


def test_every_picture_is_in_the_gallery_with_a_sentence():
    pictures = {str(path.relative_to(ROOT / "figures")) for path in (ROOT / "figures").rglob("*.png")}
    gallery = PAGES["figures"].partition("## Gallery")[2].replace("\n  ", " ")
    told = {}
    for line in gallery.splitlines():
        links, _, sentence = line.partition("): ")
        told |= dict.fromkeys(re.findall(r"\]\(([^)]+\.png)", links), sentence)
    assert set(told) == pictures
    assert min(len(sentence) for sentence in told.values()) >= 20


def test_the_readme_is_read_in_two_minutes_and_no_line_is_wide():
    assert len(README.splitlines()) <= 160
    for place, page in PAGES.items():
        text = re.sub(r"```.*?```", "", page, flags=re.S)
        wide = [line for line in text.splitlines() if len(line) > 160 and not line.startswith("|")]
        assert not wide, place


def test_every_page_is_linked_to():
    linked = {link.removesuffix("/README.md") for link in re.findall(r"\]\(([^)]+/README\.md)\)", README)}
    assert linked == set(PLACES) - {""}
    assert {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("*/**/README.md")} >= linked


@pytest.mark.parametrize("name", experiments.names())
def test_the_verdicts_are_those_of_the_claims(name):
    (record,) = json.loads((ROOT / "figures" / name / "verdicts.json").read_text())
    verdicts = record["verdicts"]
    asked = f"dynamics check {name} --seeds {record['seeds']} --ablations --json "
    assert record["command"] in (f"{asked}verdicts.json", f"{asked}figures/{name}/verdicts.json")
    claims = {claim.id: claim.statement for claim in experiments.get(name).claims}
    assert {v["id"]: v["statement"] for v in verdicts} == claims
    assert not any(v["ablation"]["holds"] for v in verdicts)


def test_the_tables_are_made_from_the_records():
    assert table.papers(experiments.names(), ROOT) in README
    assert table.verdicts(experiments.names(), ROOT / "figures") in PAGES["figures"]
    assert table.notebooks(experiments.names(), ROOT / "notebooks") in PAGES["notebooks"]


def test_the_version_is_one():
    (cited,) = re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.M)
    (printed,) = re.findall(r"version = \{(.*)\}", README)
    assert cited == printed == dynamics.__version__
    assert f"to be {cited}" in (ROOT / "CHANGELOG.md").read_text()


def test_all_parts_are_listed_with_a_sentence_each():
    assert table.parts() in PAGES["dynamics"]
    lines = [line for line in table.parts().splitlines() if line.startswith("- ")]
    assert len(lines) > 100
    assert not [line for line in lines if line.endswith(": ")]


def _run(line, folder):
    command = [sys.executable, "-m", *shlex.split(line)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stderr[-2000:]}"
