"""Every claim of the paper holds over seeds and its ablation breaks it."""

import numpy as np
import pytest
import xarray as xr

from dynamics import experiments, load, save
from dynamics.experiments.feature_averaging import claims as claims
from dynamics.experiments.feature_averaging import setting as module
from dynamics.study.claim import Run
from dynamics.sweep import grid as grids
from dynamics.sweep.run import joined

EXPERIMENT = experiments.get("feature_averaging")
CLAIMS = {claim.id: claim for claim in EXPERIMENT.claims}
IDS = [claim.id for claim in EXPERIMENT.claims]
# of the claims on the one main run, those whose ablations are few
QUICK = ("COARSE",)
ONE_RUN = [
    claim.id
    for claim in EXPERIMENT.claims
    if claim.runs == ("main",) and claim.ablation in [getattr(claims, name) for name in QUICK]
]
SWEEPS = [claim for claim in IDS if claim not in ONE_RUN]


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


@pytest.mark.slow
@pytest.mark.exhaustive
def test_exit_code_says_that_every_claim_holds(one_run):
    done, verdicts = one_run
    assert list(verdicts) == ONE_RUN
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.exhaustive
def test_each_distinct_run_is_made_once(one_run):
    lines = [ln.split(": ", 1)[1] for ln in one_run[0].stderr.splitlines() if "] run " in ln]
    assert len(lines) == len(set(lines)) == 1 + len(QUICK)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("claim", ONE_RUN)
def test_claim_holds_and_its_ablation_does_not(one_run, claim):
    assert_decided(one_run[1][claim])


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("claim", SWEEPS)
def test_claim_over_several_runs_holds_and_its_ablation_does_not(sweeps, claim):
    assert_decided(sweeps[1][claim])


def test_what_is_said_of_a_label_a_cluster_is_not_said_of_fewer():
    claims = {claim.id: claim for claim in EXPERIMENT.claims}
    for labels, applies in ((None, True), (10, True), (5, False)):
        config = EXPERIMENT.Config(num_labels=labels, supervision="fine")
        assert claims["A5-diagonal"].applies(config) is applies
        assert claims["A6-radius"].applies(config) is applies


def unmade(config):
    """A run of which the config is enough."""
    return Run(config, xr.Dataset())


def sized(k, positive, dim):
    return EXPERIMENT.Config(
        num_clusters=k, num_positive=positive, dim=dim, num_samples=60 * k, learning_rate=3 / dim, width=1
    )


@pytest.mark.parametrize("k", [3, 5, 7])
def test_classes_of_unequal_size_weigh_alike(k, reference):
    """The law of the mean cosine is the mean over all neurons and centres, as descent in NumPy has it."""
    for positive in range(1, k):
        config = sized(k, positive, 200)
        band = CLAIMS["A1-block-mean"].accepts({"main": unmade(config)})
        c = 1 + k / config.num_samples
        law = (positive * (positive * c) ** -0.5 + (k - positive) * ((k - positive) * c) ** -0.5) / k
        assert band.predicted == pytest.approx(law, rel=1e-12)
        signs = np.asarray(config.signs)
        found = reference("cluster_loop").cosines(
            config.sizes, signs, config.steps, config.learning_rate, positive
        )
        own = np.concatenate([found[0, signs > 0], found[1, signs < 0]])
        assert band.low < own.mean() < band.high, (k, positive)
        lowest, highest = (
            CLAIMS[f"A1-block-{end}"].accepts({"main": unmade(config)}) for end in ("min", "max")
        )
        assert lowest.low < own.min() <= own.max() < highest.high
        others = np.concatenate([found[0, signs < 0], found[1, signs > 0]])
        off = CLAIMS["A1-off-block"].accepts({"main": unmade(config)})
        assert off.low < others.min() <= others.max() <= off.high


def test_bands_of_the_papers_size_are_hardly_wider_than_measured():
    """As narrow as the numbers that were read off there, where they were."""
    config = EXPERIMENT.claims.runs["main"].config
    for id, low, high in (
        ("A1-block-mean", 0.43899, 0.45100),
        ("A1-off-block", -0.06, 0.0),
        ("A2-growth", 1.65421, 1.72174),
        ("A4-radius", 16.800, 17.8002),
        ("A4-radius-spread", 0.9, 1.6),
        ("A5-diagonal", 0.99, np.inf),
        ("A6-radius", 37.3755, 38.9745),
    ):
        band = CLAIMS[id].accepts({"main": unmade(config)})
        assert low <= band.low < band.high <= high, id


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"noise": 0.0}, {"A1-block-mean", "A3-clean-binary", "A5-diagonal"}),  # neurons that never wake
        ({"num_clusters": 7, "num_positive": 1}, {"A4-radius-tight"}),
        ({"dim": 64}, {"A3-clean-binary", "A3-clean-fine"}),  # noise turns points
        ({"attack_steps": 400, "dim": 3072}, {"A7-masked-pgd"}),
    ],
)
def test_what_is_outside_of_a_setting_is_not_judged(change, gone):
    config = EXPERIMENT.Config(**change)
    assert not any(CLAIMS[id].applies(config) for id in gone)
    assert CLAIMS["A1-block-mean"].applies(config) is ("A1-block-mean" not in gone)
    usual = EXPERIMENT.Config(dim=change.get("dim", 1024) if "attack_steps" in change else 1024)
    assert all(CLAIMS[id].applies(usual) for id in gone)


def test_few_points_decide_nothing():
    few = unmade(EXPERIMENT.Config(num_test=10, num_points=10))
    assert CLAIMS["A4-radius-spread"].needs(few) == "at least 20 test points"
    assert "at least 100 attacked points" in CLAIMS["A7-masked-pgd"].needs(few)
    assert CLAIMS["A4-radius-spread"].needs(unmade(EXPERIMENT.Config())) == ""


TINY = {"num_clusters": 4, "dim": 64, "num_samples": 40, "num_test": 16, "num_points": 8, "steps": 4}


def tiny(**change):
    return EXPERIMENT.Config(**TINY | {"attack_steps": 0} | change)


def certificates(names):
    return {name for name in names if name.startswith("certified_radius")}


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
    config = tiny(**change)
    assert certificates(module.observed(config, config.supervision)[1]) == radii
    judged = {claim.id for claim in EXPERIMENT.claims if claim.applies is not None and claim.applies(config)}
    if "certified_radius" not in radii:
        assert not judged & {"A4-radius", "A4-radius-tight", "A4-radius-spread", "A6-radius"}
    elif change == {"supervision": "binary"}:
        assert "A4-radius" in judged


@pytest.mark.parametrize(
    ("then", "setting", "now"),
    [
        ({"data": "clusters", "num_positive": 0, "num_labels": 0, "centre_norm": 0.0, "hidden": [5]},
         "Clusters", {}),
        ({"num_positive": 3, "num_labels": 4, "centre_norm": 2.0, "keep_weights": True, "box": []},
         "Clusters", {"num_positive": 3, "num_labels": 4, "centre_norm": 2.0}),
        ({"supervision": "binary", "readout": "sum_logit", "activation": "relu", "power": 2.0}, "Clusters",
         {"supervision": "binary"}),
        ({"supervision": "fine", "start": "mixed", "mixing": 0.9, "num_labels": 0}, "Clusters",
         {"supervision": "fine", "start": "mixed", "mixing": 0.9}),
        ({"supervision": "fine", "start": "decoupled", "mixing": 0.5, "num_labels": 0}, "Clusters",
         {"supervision": "fine", "start": "mixed", "mixing": 0.0}),
        ({"start": "random", "mixing": 0.9}, "Clusters", {}),
        ({"data": "digits", "num_labels": 0, "model": "mlp", "hidden": [7], "num_samples": 9, "dim": 4},
         "Images", {"data": "digits", "hidden": (7,), "num_samples": 9}),
        ({"data": "mnist", "num_labels": 2, "width": 3}, "Images", {"num_labels": 2}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("written", [None, "Config"])
def test_results_of_one_setting_for_both_are_read(written, then, setting, now):
    assert EXPERIMENT.read(then, written) == EXPERIMENT.configs[setting](**now)


@pytest.fixture(scope="module")
def run():
    """A run of the network that sees fine labels, and its config."""
    config = tiny(supervision="fine")
    return config, EXPERIMENT.run(config, seeds=2)


def test_a_saved_run_is_drawn_tabled_and_judged(run, tmp_path, flaws):
    config, dataset = run
    assert certificates(dataset) == {"certified_radius", "certified_radius_sum_logit"}
    save(dataset, tmp_path / "result.nc")
    saved = load(tmp_path / "result.nc")
    assert EXPERIMENT.config_of(saved) == config
    drawn = EXPERIMENT.draw(saved)
    assert "overview" in drawn
    assert not [flaw for figure in drawn.values() for flaw in flaws(figure, curves=False)]
    EXPERIMENT.summary(saved)
    judged = {verdict.id: verdict for verdict in EXPERIMENT.judge(saved)}
    assert "A4-radius" not in judged
    wanted = dataset.certified_radius.isel(supervision=0).mean("point")
    np.testing.assert_allclose(judged["A6-radius"].per_seed, wanted)


def test_a_sweep_without_certified_radii_shows_something_else(run):
    dataset = run[1].drop_vars([name for name in run[1] if "_radius" in name])
    grid = grids.make(tiny(supervision="fine", activation="leaky_relu"), {"num_samples": [20, 40]})
    swept = EXPERIMENT.signed(joined(grid, dict.fromkeys(range(2), dataset)), grid.base)
    assert EXPERIMENT.plot(swept).axes
