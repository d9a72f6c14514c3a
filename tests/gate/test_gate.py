"""Every verdict on the stored runs is what it was; see gate.py."""

import importlib.util
import json
from pathlib import Path

import pytest

from dynamics import experiments

_SPEC = importlib.util.spec_from_file_location("gate", Path(__file__).parent / "gate.py")
gate = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(gate)
STORED = sorted(path.stem for path in gate.HERE.glob("*.json"))


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("name", STORED)
def test_every_verdict_is_what_it_was(name):
    assert gate.compare(name) == []


@pytest.mark.parametrize("name", STORED)
def test_every_claim_is_stored_and_every_ablation_fails(name):
    stored = json.loads((gate.HERE / f"{name}.json").read_text())
    assert list(stored) == [claim.id for claim in experiments.get(name).claims]
    assert not [key for key, verdict in stored.items() if verdict["ablation"]["holds"] is not False]


def test_a_change_is_told():
    old = {"A1": {"per_seed": [1.0, 2.0], "holds": True, "statement": "so"}}
    assert (
        list(gate.differences(old, {"A1": {"per_seed": [1.0, 2.0 + 1e-9], "holds": True, "statement": "so"}}))
        == []
    )
    for key, value in (
        ("per_seed", [1.0, 2.1]),
        ("holds", None),
        ("statement", "not so"),
        ("per_seed", [1.0]),
    ):
        assert list(gate.differences(old, {"A1": old["A1"] | {key: value}}, "x"))
    assert list(gate.differences(old, {}, "x"))


def test_they_are_small():
    assert sum(path.stat().st_size for path in gate.HERE.glob("*.nc")) < 15 * 2**20
