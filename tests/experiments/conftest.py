"""The command `dynamics check`, as a user runs it."""

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def check(tmp_path_factory):
    """`check(name, seeds, claims)`: what `dynamics check --ablations` did, and its verdicts by claim."""

    def run(name, seeds, claims):
        folder = tmp_path_factory.mktemp("check")
        argv = ["check", name, "--seeds", str(seeds), "--ablations", "--json", "verdicts.json"]
        done = subprocess.run(
            [sys.executable, "-m", "dynamics", *argv, "--claims", ",".join(claims)],
            cwd=folder,
            env=dict(os.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (folder / "verdicts.json").exists(), done.stderr[-2000:]
        (record,) = json.loads((folder / "verdicts.json").read_text())
        return done, {v["id"]: v for v in record["verdicts"]}

    return run
