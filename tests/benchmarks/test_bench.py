"""The benchmark on a small problem: what it says, and whom it does not believe."""

import argparse
import importlib.util
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from dynamics.benchmark import command, harness, limits, rows
from dynamics.benchmark.settings import SETTINGS

PEERS = Path(__file__).parent / "peers"
SMALL = ["--dim", "64", "--samples", "40", "--steps", "20", "--seeds", "3", "--repeats", "2"]
WRONG = f"""
import sys
sys.path.insert(0, {str(PEERS)!r})
import jax_loop
from dynamics.benchmark.serve import serve
serve(lambda job: jax_loop.Peer(job | {{"rate": 1.02 * job["rate"]}}))
"""


def arguments(*given):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(given)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One run of the command with two rows more: one with another learning rate, and one that dies."""
    folder, made = tmp_path_factory.mktemp("bench"), rows.rows
    dying = ("-c", "import sys; sys.exit('out of luck')")
    more = [rows.Row("wrong-rate", ("-c", WRONG)), rows.Row("dying", dying)]
    quick = {"size": 64, "copied": 2**20, "seconds": 0.1}
    measure_limits = harness.measure_limits
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "rows", lambda names: made(names) + more)
        patch.setattr(harness, "measure_limits", lambda: measure_limits(quick))
        patch.setattr("dynamics.startup.num_cores", lambda: 1)  # half as many workers
        patch.setenv("DYNAMICS_CACHE", str(folder / "cache"))  # the curve has the row's programs
        names = "torch-eager,jax-loop,auto"
        given = ["--settings", "paper,ntk", "--rows", names, "--curve", "3", "--out", str(folder)]
        code = command.run(arguments(*given, *SMALL))

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    text = (folder / "bench.json").read_text(encoding="utf-8")
    return code, json.loads(text, parse_constant=refuse), folder


@pytest.mark.exhaustive
@pytest.mark.slow
def test_rows_that_compute_the_same_get_times_and_ratios(measured):
    _, result, _ = measured
    paper = result["settings"][0]
    assert paper["name"] == "paper (changed)"
    found = {row["name"]: row for row in paper["rows"]}
    for name in ("jax-loop", "auto"):
        row = found[name]
        assert row["status"] == "measured"
        assert row["deviation"] < 1e-4
        assert row["device"]
        for kind in ("training", "whole"):
            assert len(row[kind]["repeats_s"]) == 2
            assert row[kind]["per_seed_s"] == pytest.approx(row[kind]["median_s"] / 3)
            assert row[kind]["ratio"] > 0
        assert 0 < row["training"]["median_s"] < row["whole"]["median_s"]
        assert row["shares"]["flops_share"] > 0
        assert all(len(lane["repeats"]) == 2 and lane["first"] for lane in row["lanes"])
    assert found["auto"]["training"]["ratio"] == found["auto"]["whole"]["ratio"] == 1
    assert found["auto"]["engine"] in ("direct", "gram")
    assert {"matmul_flops_per_s", "copy_bytes_per_s", "cache_bytes_per_s"} <= set(result["limits"])
    assert result["machine"]["cores"] == 1
    assert result["versions"]["jax"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_row_with_another_learning_rate_is_not_believed(measured):
    code, result, _ = measured
    row = next(row for row in result["settings"][0]["rows"] if row["name"] == "wrong-rate")
    assert code == command.EXIT_DISAGREES
    assert row["status"] == "disagrees"
    assert row["deviation"] > harness.TOLERANCE
    assert row["training"]["ratio"] is None
    assert "float64" in row["reason"]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_what_cannot_run_says_why_in_words(measured):
    _, result, _ = measured
    found = {row["name"]: row for row in result["settings"][0]["rows"]}
    assert found["dying"]["status"] == "died"
    assert found["dying"]["reason"] == "died with exit code 1: out of luck"
    if importlib.util.find_spec("torch") is None:
        assert found["torch-eager"]["status"] == "skipped"
        assert found["torch-eager"]["reason"] == "skipped: torch is not installed; pip install torch"
    else:
        assert found["torch-eager"]["status"] == "measured"


@pytest.mark.exhaustive
@pytest.mark.slow
def test_kernels_are_timed_beside_their_formula(measured):
    _, result, _ = measured
    found = {row["name"]: row for row in result["settings"][1]["rows"]}
    for name in ("jax-loop", "auto"):
        assert found[name]["status"] == "measured"
        assert found[name]["deviation"] < 1e-3
        assert found[name]["training"]["ratio"] > 0
    assert found["auto"]["engine"] == "closed form"


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_curve_has_time_memory_and_a_figure(measured):
    _, result, folder = measured
    (point,) = result["curve"]["points"]
    assert point["seeds"] == 3
    assert point["training_per_seed_s"] > 0
    assert point["peak_bytes"] > point["baseline_bytes"] > 2**20
    assert (folder / "curve.png").stat().st_size > 1000
    assert json.loads((folder / "curve.json").read_text())["figure"] == "curve"


def test_shares_follow_their_formulas():
    setting = SETTINGS["paper"].resized(100, 50)
    job = {"steps": 4}
    machine = {
        "matmul_flops_per_s": 1e9,
        "copy_bytes_per_s": 1e8,
        "cache_bytes_per_s": 1e9,
        "cache_bytes": 30_000,
    }
    row = {"training": {"per_seed_s": 0.5}, "engine": "direct"}
    direct = harness.shares(setting, job, machine, row, 1)
    assert direct["flops_share"] == pytest.approx(4 * 50 * 10 * 100 * 4 / 0.5 / 1e9)
    assert direct["bytes_share"] == pytest.approx(2 * 50 * 100 * 4 * 4 / 0.5 / 1e9)
    gram = harness.shares(setting, job, machine, row | {"engine": "gram"}, 1)
    assert gram["flops_share"] == pytest.approx((2 * 50**2 * 10 * 4 + 2 * 50**2 * 100) / 0.5 / 1e9)
    assert gram["bytes_share"] == pytest.approx(4 * 50**2 * 4 / 0.5 / 1e9)
    several = harness.shares(setting, job, machine, row, 2)  # two seeds at a time do not fit the cache
    assert several["bandwidth"] == "memory"
    assert several["bytes_share"] == pytest.approx(10 * direct["bytes_share"])


def test_peers_are_tried_with_one_thread_and_with_all():
    ours, peer = rows.rows(("auto",))[0], rows.Row("peer", ())
    assert peer.threads(2, "cpu") == [1, 2]
    assert peer.threads(1, "cpu") == [1]
    assert peer.threads(2, "gpu") == [2]
    assert ours.threads(2, "cpu") == [2]


def test_without_a_clone_only_our_own_rows_are_measured(monkeypatch):
    monkeypatch.setattr(rows, "peers_folder", lambda: None)
    assert [row.name for row in rows.rows(rows.NAMES)] == list(rows.OURS)
    with pytest.raises(ValueError, match="--rows jax-loop names peers only"):
        command.run(arguments("--rows", "jax-loop", "--against", "jax-loop"))


def test_limits_are_rates_of_this_machine():
    found = limits.measure(size=32, copied=2**16, seconds=0.01)
    numbers = [found["matmul_flops_per_s"], found["copy_bytes_per_s"], found["cache_bytes"] or 1]
    assert all(number > 0 and math.isfinite(number) for number in numbers)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--seeds", "0"], "--seeds must be an integer from 1 to 1048576, got '0'"),
        (["--steps", "many"], "--steps must be an integer from 1 to 10000000, got 'many'"),
        (["--repeats", "-1"], "--repeats must be an integer from 1 to 1000, got '-1'"),
        (["--settings", "paper,big"], "--settings must be among paper, sign, patch, ntk, got 'big'"),
        (["--rows", "numpy"], "--rows must be among torch-eager, .*, got 'numpy'"),
        (["--against", "torch"], "--against must be among torch-eager, .*, got 'torch'"),
        (["--dim", "9"], "--dim must be at least 10 for the setting paper, got 9"),
        (["--samples", "0"], "--samples must be an integer from 1 to"),
        (["--curve", "1,,2"], "--curve must be an integer from 1 to"),
        (["--json", "no/such/folder/file.json"], "--json .* cannot be written"),
    ],
)
def test_bad_input_is_refused_by_the_name_of_its_option(given, message, monkeypatch):
    monkeypatch.setattr(harness, "Process", None)  # nothing is started
    with pytest.raises(ValueError, match=message):
        command.run(arguments(*given))


def test_the_options_are_known_without_loading_jax():
    code = "import sys, dynamics.benchmark.command; print({'jax', 'numpy', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
