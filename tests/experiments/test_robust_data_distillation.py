"""Claims about distilled data hold over seeds and their ablations break them; a run's numbers by NumPy."""

import dataclasses

import jax
import numpy as np
import pytest
import xarray as xr

from dynamics import experiments, load, observables, save
from dynamics.data.images import LabelledImages
from dynamics.experiments.robust_data_distillation.setting import Networks, Rescaling
from dynamics.keys import named_key, seed_key
from dynamics.models.ntk_mlp import NTKNetwork
from dynamics.problem import Problem
from dynamics.study.claim import Run
from kernels import closed_form

EXPERIMENT = experiments.get("robust_data_distillation")
Config, PRESETS = EXPERIMENT.Config, EXPERIMENT.presets
IDS = [claim.id for claim in EXPERIMENT.claims]
TINY = {
    "num_samples": 40, "num_test": 20, "num_support": 12, "batch_size": 10, "steps": 2,
    "attack_steps": 2, "test_steps": 2, "margin_steps": 2,
}  # fmt: skip
FEW = {"records": 2, "trials": 4}


@pytest.fixture(scope="module")
def everything(check):
    return check("robust_data_distillation", 3, IDS)


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("claim", IDS)
def test_claim_holds_and_its_ablation_does_not(everything, claim):
    verdict = everything[1][claim]
    assert verdict["holds"], verdict
    assert verdict["ablation"]["holds"] is False, verdict


@pytest.fixture(scope="module")
def tiny():
    """A run without hidden layers, and its config."""
    config = Config(**TINY, **FEW, depth=0, arms=("adv_kip",), curve_radii=())
    return config, EXPERIMENT.run(config, seeds=[3])


def test_a_saved_run_is_drawn_tabled_and_judged(tiny, tmp_path, flaws):
    config, dataset = tiny
    save(dataset, tmp_path / "result.nc")
    saved = load(tmp_path / "result.nc")
    assert EXPERIMENT.config_of(saved) == config
    drawn = EXPERIMENT.draw(saved)
    assert {"overview", "images"} <= set(drawn)
    assert not [flaw for figure in drawn.values() for flaw in flaws(figure, curves=False)]
    assert EXPERIMENT.summary(saved).splitlines()[1].split()[0] == "adv_kip"
    assert EXPERIMENT.judge(saved) == []  # which is no setting of a claim


def test_a_run_against_plain_numpy(tiny):
    config, whole = tiny
    found = whole.isel(seed=0, training=0)
    draw = config.source().sample(named_key(seed_key(3), "data"))
    S, x, target = found.support.values, np.asarray(draw.test.x), np.asarray(draw.train.target[:12])
    np.testing.assert_array_equal(found.support_class, target)
    gram, cross = (2 * z @ S.T / 64 + 0.01 for z in (S, x))  # without hidden layers
    alpha = np.linalg.solve(gram + 1e-6 * np.trace(gram) / 12 * np.eye(12), np.eye(10)[target] - 0.1)
    right = np.argmax(cross @ alpha, axis=1) == np.asarray(draw.test.target)
    assert float(found.under.sel(attack="clean")) == pytest.approx(right.mean())
    assert float(found.condition) == pytest.approx(np.linalg.cond(gram), rel=1e-6)
    assert float(found.drift) == pytest.approx(np.abs(S - np.asarray(draw.train.x[:12])).max(), rel=1e-9)
    assert float(found.drift) > 0.01
    assert 0 <= S.min() <= S.max() <= 1
    assert bool((found.under.sel(attack="worst") <= found.under.min("attack")).all())
    assert float(found.outer_loss[-1]) < float(found.outer_loss[0])


@pytest.mark.exhaustive
def test_all_arms_and_curves():
    config = Config(**TINY, **FEW, curve_radii=(0.0, 0.2))
    found = EXPERIMENT.run(config, seeds=2)
    assert found.training.values.tolist() == ["subset", "full", "kip", "adv_kip"]
    same = found.under.sel(training="subset")
    np.testing.assert_array_equal(same.sel(attack="transfer"), same.sel(attack="pgd"))
    np.testing.assert_allclose(found.pgd_curve.sel(radius=0.0), found.under.sel(attack="clean"))
    np.testing.assert_allclose(found.pgd_curve.sel(radius=0.2), found.under.sel(attack="pgd"))
    assert EXPERIMENT.plot(found).get_axes()


@pytest.mark.exhaustive
def test_distance_from_the_kernel_by_a_loop():
    rng = np.random.default_rng(0)
    data = LabelledImages(rng.uniform(size=(20, 4)), np.arange(20) % 3, (1, -1, 1), 9, 5)
    problem = Problem(data, NTKNetwork(6, num_outputs=3), "squared")
    draw, params = jax.jit(lambda key: (data.sample(key), problem.init(key)))(jax.random.key(0))
    kernel = closed_form.DeepNTK()
    gram, cross = (np.asarray(jax.jit(kernel)(z, draw.train.x)) for z in (draw.train.x, draw.test.x))
    f, alpha = np.zeros((9, 3)), np.zeros((9, 3))
    for _ in range(7):
        alpha = alpha + 0.05 * (np.eye(3)[np.asarray(draw.train.target)] - 1 / 3 - f)
        f = gram @ alpha
    outputs = np.asarray(jax.jit(problem.apply)(params, draw.test.x))
    gap = np.sqrt(np.mean((outputs - cross @ alpha) ** 2))
    what = observables.kernel_gap.given(kernel=kernel, steps=7, learning_rate=0.05)
    measured = jax.jit(lambda p, d: what(p, problem, d, jax.random.key(0)))(params, draw)
    assert float(measured) == pytest.approx(gap, rel=1e-9)


@pytest.mark.exhaustive
def test_networks_follow_the_sets_they_are_given():
    config = Networks(**TINY, arms=("subset", "kip"), widths=(8, 1024), net_steps=20)
    found = EXPERIMENT.run(config, seeds=[1, 2])
    assert set(found.kernel_gap.dims) == {"training", "seed", "width"}
    assert bool((found.kernel_gap.isel(width=1) < found.kernel_gap.isel(width=0)).all())
    assert EXPERIMENT.plot(found).get_axes()
    assert "distance from the kernel, kip" in EXPERIMENT.summary(found)
    config = dataclasses.replace(config, network="standard", widths=(16,))
    found = EXPERIMENT.run(config, seeds=1)
    assert set(found.under.dims) == {"training", "seed", "width", "attack"}
    assert EXPERIMENT.plot(found).get_axes()


@pytest.mark.exhaustive
def test_factors_of_the_logits_leave_predictions_as_they_are():
    config = dataclasses.replace(
        PRESETS["rescaling"], num_samples=40, num_support=40, num_test=30, scales=(1, 1e4), restarts=2
    )
    found = EXPERIMENT.run(config, seeds=1)
    assert found.scale.values.tolist() == [1.0, 1e4]
    clean, ascent = (found.under.sel(attack=name).isel(seed=0).values for name in ("clean", "pgd"))
    assert clean[0] == clean[1]
    assert ascent[1] > ascent[0]
    assert EXPERIMENT.plot(found).get_axes()
    assert "are exactly 0" in EXPERIMENT.summary(found)


@pytest.mark.exhaustive
def test_factors_alike_in_six_digits_are_two_runs():
    scales = (1.0000001, 1.0000002, 3.0)
    config = dataclasses.replace(
        PRESETS["rescaling"], num_samples=20, num_support=20, num_test=10, scales=scales,
        test_steps=2, margin_steps=2,
    )  # fmt: skip
    assert EXPERIMENT.run(config, seeds=1).scale.values.tolist() == list(scales)


@pytest.mark.exhaustive
def test_without_an_inner_attack_adversarial_distillation_is_the_plain_one():
    config = Config(**TINY | FEW | {"attack_steps": 0}, arms=("kip", "adv_kip"), curve_radii=())
    found = EXPERIMENT.run(config, seeds=2)
    plain, attacked = (found.sel(training=name) for name in ("kip", "adv_kip"))
    for name in ("under", "support", "outer_loss", "accuracy"):
        np.testing.assert_array_equal(attacked[name], plain[name])


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "given",
    [
        {"attack_loss": "margin", "outer": "cross_entropy", "logit_scale": 10.0},
        {
            "attack_loss": "squared",
            "centred": False,
            "in_turn": True,
            "kernel": "erf",
            "depth": 2,
            "weight_std": 1.0,
            "bias_std": 0.0,
        },
        {"descent": "sign", "normalize": True, "ball": 0.01, "learn_labels": True, "shared_data": True},
    ],
)
def test_other_settings_run(given):
    found = EXPERIMENT.run(Config(**TINY, **FEW, arms=("kip", "adv_kip"), curve_radii=(), **given), seeds=2)
    assert bool(np.isfinite(found.outer_loss).all())
    if given.get("ball"):
        assert float(found.drift.max()) == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("cls", "given", "sentence"),
    [
        (Config, {"num_samples": 1797}, "must be at most the 1797 images"),
        (Config, {"arms": ("kip", "kip")}, "arms must be one value or several different ones, got kip, kip"),
        (Config, {"arms": ("half",)}, "arms must be one of subset, full, kip, adv_kip, got 'half'"),
        (Config, {"num_support": 1300}, "num_support must be at most num_samples=1200"),
        (Config, {"batch_size": 1300}, "batch_size must be at most num_samples=1200"),
        (Config, {"curve_radii": (0.2, 0.1)}, "curve_radii must increase"),
        (Config, {"centred": False, "outer": "cross_entropy"}, "centred is for outer 'squared'"),
        (Rescaling, {"scales": ()}, "scales must not be empty"),
        (Rescaling, {"num_support": 1300}, "num_support must be at most num_samples=1200"),
        (Networks, {"arms": ("full",)}, "arms must be one of subset, kip, adv_kip, got 'full'"),
        (Networks, {"widths": (7,)}, "doubled networks need depth=1 and even widths"),
        (Networks, {"widths": ()}, "widths must not be empty"),
        (Networks, {"doubled": False, "depth": 0}, "depth must be an integer at least 1, got 0"),
        (Networks, {"network": "standard", "doubled": False}, "doubled is for network 'lazy'"),
        (Networks, {"net_rate": 0.1}, "net_rate is for network 'standard'"),
        (Networks, {"descent": "adam", "momentum": 0.5}, "momentum"),
    ],
)
def test_bad_configs_are_refused_in_one_sentence(cls, given, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        cls(**given)
    assert "\n" not in str(error.value)


def test_data_that_are_not_there_are_refused_before_anything_is_trained():
    with pytest.raises(ValueError, match="nowhere does not exist; give a file or folder") as error:
        EXPERIMENT.run(Config(data="nowhere"), seeds=1)
    assert "\n" not in str(error.value)


OLD = {"num_samples": 40, "num_support": 10, "batch_size": 0, "steps": 9, "records": 3, "trials": 5}
OLD |= {
    "ball": 0.0,
    "test_radius": 0.0,
    "learn_labels": True,
    "scales": [1.0],
    "widths": [8],
    "doubled": False,
}
SETS = {"num_samples": 40, "num_support": 10}


@pytest.mark.parametrize(
    ("given", "config"),
    [
        ({}, Config(**SETS, batch_size=0, records=3, learn_labels=True, trials=5, steps=9)),
        (
            {"ball": 0.3, "test_radius": 0.1, "part": "distillation", "trials": 200},
            Config(**SETS, batch_size=0, records=3, learn_labels=True, steps=9, ball=0.3, test_radius=0.1),
        ),
        (
            {"part": "networks", "arms": ["subset"]},
            Networks(**SETS, batch_size=0, steps=9, widths=(8,), doubled=False),
        ),
        (
            {"part": "networks", "arms": ["kip"], "network": "standard"},
            Networks(**SETS, batch_size=0, steps=9, widths=(8,), network="standard", arms=("kip",)),
        ),
        ({"part": "rescaling", "radius": 0.3}, Rescaling(**SETS, radius=0.3, scales=(1,))),
        ({"part": "rescaling", "test_radius": 0.1}, Rescaling(**SETS, radius=0.1, scales=(1,))),
    ],
)
def test_results_of_when_there_was_one_setting_are_read(given, config):
    for name in (None, "Config"):
        assert EXPERIMENT.read(OLD | given, name) == config


def test_every_claim_names_runs_that_exist_and_some_are_decided_by_the_preset():
    for claim in EXPERIMENT.claims:
        for name in claim.runs:
            dataclasses.replace(EXPERIMENT.claims.runs[name].config, **claim.ablation.change)
    decided = {c.id for c in EXPERIMENT.claims if c.applies is not None and c.applies(PRESETS["small"])}
    assert {"D1-clean", "D2-pgd", "D3-overestimate"} <= decided
    assert not any(c.applies(PRESETS["near"]) for c in EXPERIMENT.claims if c.applies is not None)


@pytest.mark.parametrize(
    ("change", "applies"),
    [
        ({"num_test": 400, "curve_radii": ()}, True),
        ({"test_radius": 0.2}, True),
        ({"test_radius": 0.05}, False),
        ({"ridge": 1e-2}, False),
        ({"depth": 2}, False),
        ({"arms": ("kip", "adv_kip")}, False),
    ],
)
def test_bands_that_were_measured_are_of_that_setting(change, applies):
    config = dataclasses.replace(PRESETS["small"], **change)
    judged = {claim.id for claim in EXPERIMENT.claims if claim.applies is not None and claim.applies(config)}
    assert judged == (
        {claim.id for claim in EXPERIMENT.claims if claim.applies is not None} if applies else set()
    )


def test_the_least_difference_is_half_a_test_point():
    claims = {claim.id: claim for claim in EXPERIMENT.claims}
    for count, needs in ((50, "at least 100 test points (num_test)"), (200, ""), (400, "")):
        runs = {"main": Run(dataclasses.replace(PRESETS["small"], num_test=count), xr.Dataset())}
        assert claims["D3-larger"].accepts(runs).low == pytest.approx(0.5 / count)
        assert claims["D3-margin"].accepts(runs).high == pytest.approx(-0.5 / count)
        assert claims["D3-larger"].needs(claims["D3-larger"].given(runs)) == needs
