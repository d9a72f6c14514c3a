"""Every claim of the paper holds over seeds and its ablation breaks it."""

import pytest

from dynamics import experiments
from dynamics.experiments import _feature_averaging_claims as claims

EXPERIMENT = experiments.get("feature_averaging")
IDS = [claim.id for claim in EXPERIMENT.claims]
# of the claims on the one main run, those whose ablations are few
QUICK = ("COARSE",)
ONE_RUN = [
    claim.id
    for claim in EXPERIMENT.claims
    if claim.runs == ("main",) and claim.ablation in [getattr(claims, name) for name in QUICK]
]
SWEEPS = [claim for claim in IDS if claim not in ONE_RUN]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def one_run(check):
    return check("feature_averaging", 2, ONE_RUN)


@pytest.fixture(scope="module")
def sweeps(check):
    return check("feature_averaging", 2, SWEEPS)


def assert_decided(verdict):
    assert verdict["holds"], verdict
    assert len(verdict["per_seed"]) == 2
    low, high = verdict["interval"]
    assert low <= verdict["measured"] <= high
    assert verdict["ablation"]["holds"] is False, verdict
    assert verdict["ablation"]["about"]


@pytest.mark.exhaustive
def test_exit_code_says_that_every_claim_holds(one_run):
    done, verdicts = one_run
    assert list(verdicts) == ONE_RUN
    assert done.returncode == 0, done.stdout


@pytest.mark.exhaustive
def test_each_distinct_run_is_made_once(one_run):
    lines = [ln.split(": ", 1)[1] for ln in one_run[0].stderr.splitlines() if "] run " in ln]
    assert len(lines) == len(set(lines)) == 1 + len(QUICK)


@pytest.mark.exhaustive
@pytest.mark.parametrize("claim", ONE_RUN)
def test_claim_holds_and_its_ablation_does_not(one_run, claim):
    assert_decided(one_run[1][claim])


@pytest.mark.exhaustive
@pytest.mark.parametrize("claim", SWEEPS)
def test_claim_over_several_runs_holds_and_its_ablation_does_not(sweeps, claim):
    assert_decided(sweeps[1][claim])


def test_what_is_said_of_a_label_a_cluster_is_not_said_of_fewer():
    claims = {claim.id: claim for claim in EXPERIMENT.claims}
    for labels, applies in ((0, True), (10, True), (5, False)):
        config = EXPERIMENT.Config(num_labels=labels, supervision="fine")
        assert claims["A5-diagonal"].applies(config) is applies
        assert claims["A6-radius"].applies(config) is applies


TINY = {"num_clusters": 4, "dim": 64, "num_samples": 40, "num_test": 16, "num_points": 8, "steps": 4}


def tiny(**change):
    return EXPERIMENT.Config(**TINY | {"attack_steps": 0} | change)


@pytest.mark.parametrize(
    ("change", "radii"),
    [
        ({"supervision": "binary"}, {"certified_radius"}),
        ({"supervision": "binary", "width": 7}, set()),  # 14 neurons: too many pieces
        ({"supervision": "fine"}, {"certified_radius", "certified_radius_sum_logit"}),
        ({"supervision": "fine", "group_width": 5}, {"certified_radius"}),
        ({"supervision": "fine", "group_width": 6}, set()),  # 4 (2^6 - 1) pieces: 63,756 pairs
        ({"supervision": "binary", "activation": "leaky_relu"}, set()),
    ],
)
def test_claims_about_a_radius_are_judged_where_it_is_certified(change, radii):
    dataset = EXPERIMENT.run(tiny(**change), seeds=1)
    assert {name for name in dataset if name.startswith("certified_radius")} == radii
    judged = {verdict.id for verdict in EXPERIMENT.judge(dataset)}
    if "certified_radius" not in radii:
        assert not judged & {"A4-radius", "A4-radius-tight", "A4-radius-spread", "A6-radius"}
    elif change == {"supervision": "binary"}:
        assert "A4-radius" in judged


def test_a_sweep_without_certified_radii_shows_something_else():
    config = tiny(supervision="binary", activation="leaky_relu")
    dataset = EXPERIMENT.sweep({"num_samples": [20, 40]}, config, seeds=1)
    assert EXPERIMENT.plot(dataset).axes
