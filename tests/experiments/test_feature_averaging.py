"""Every claim of the paper holds over seeds and its ablation breaks it: the README's `check` command."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dynamics import experiments

EXPERIMENT = experiments.get("feature_averaging")
README = Path(__file__).parents[2] / "README.md"
IDS = [claim.id for claim in EXPERIMENT.claims]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Exit code and verdicts of the command as the README prints it."""
    (line,) = [
        ln for ln in README.read_text().splitlines() if ln.startswith("dynamics check feature_averaging")
    ]
    folder = tmp_path_factory.mktemp("check")
    command = [sys.executable, "-m", *shlex.split(line)]
    done = subprocess.run(
        command, cwd=folder, env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert (folder / "verdicts.json").exists(), done.stderr[-2000:]
    verdicts = {v["id"]: v for v in json.loads((folder / "verdicts.json").read_text())}
    return done, verdicts


def test_exit_code_says_that_every_claim_holds(checked):
    done, verdicts = checked
    assert list(verdicts) == IDS
    assert done.returncode == 0, done.stdout


def test_each_distinct_run_is_made_once(checked):
    lines = [ln.split(": ", 1)[1] for ln in checked[0].stderr.splitlines() if "] run " in ln]
    assert len(lines) == len(set(lines)) > 30


@pytest.mark.parametrize("claim", IDS)
def test_claim_holds(checked, claim):
    verdict = checked[1][claim]
    assert verdict["holds"], verdict
    assert len(verdict["per_seed"]) == 2
    low, high = verdict["interval"]
    assert low <= verdict["measured"] <= high


@pytest.mark.parametrize("claim", IDS)
def test_ablation_breaks_the_claim(checked, claim):
    ablation = checked[1][claim]["ablation"]
    assert ablation["holds"] is False, checked[1][claim]
    assert ablation["about"]
