"""Claims about robust features hold over seeds and their ablations break them; runs of other settings."""

import dataclasses

import jax
import numpy as np
import pytest
import xarray as xr

from dynamics import experiments, load, save
from dynamics.engine.stages import Stages
from dynamics.experiments.robust_feature_learning import quantities as measures
from dynamics.experiments.robust_feature_learning import setting as module
from dynamics.experiments.robust_feature_learning.figures import _middle
from dynamics.experiments.robust_feature_learning.images import Images, split
from dynamics.experiments.robust_feature_learning.setting import Patches
from dynamics.keys import named_key, seed_key
from dynamics.study import last
from dynamics.study.claim import Run
from dynamics.study.verdict import judge

EXPERIMENT = experiments.get("robust_feature_learning")
PRESETS = EXPERIMENT.presets
IDS = [claim.id for claim in EXPERIMENT.claims]
SEEDS = 2
SHORT_RUNS = {"pure_robust", "pure_nonrobust"}
# of their claims, those whose ablations are few
OTHERS = {"A1-clean", "C4-frozen"}
SHORT = [c.id for c in EXPERIMENT.claims if set(c.runs) <= SHORT_RUNS and c.id not in OTHERS]
LONG = [claim for claim in IDS if claim not in SHORT]
TINY = {
    "steps": 20,
    "records": 3,
    "num_nonrobust": 6,
    "dim": 8,
    "width": 3,
    "test_steps": 0,
    "num_samples": 8,
}


@pytest.fixture(scope="module")
def short(check):
    return check("robust_feature_learning", SEEDS, SHORT)


@pytest.fixture(scope="module")
def long(check):
    return check("robust_feature_learning", SEEDS, LONG)


def assert_decided(verdict):
    assert verdict["holds"], verdict
    assert verdict["ablation"]["holds"] is False, verdict


@pytest.mark.exhaustive
@pytest.mark.slow
def test_exit_code_says_that_every_claim_holds(short):
    done, verdicts = short
    assert list(verdicts) == SHORT
    assert done.returncode == 0, done.stdout


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("claim", SHORT)
def test_claim_holds_and_its_ablation_does_not(short, claim):
    assert_decided(short[1][claim])


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("claim", LONG)
def test_claim_of_long_runs_holds_and_its_ablation_does_not(long, claim):
    assert_decided(long[1][claim])


# --- the numbers of a run


def start_of(config, training, seed):
    """One seed's draw and initial weights, as the engine makes them."""
    problem = module.problem(config, training)
    data, init = (named_key(seed_key(seed), name) for name in ("data", "init"))
    draw, params = jax.jit(lambda data, init: (problem.sample(data), problem.init(init, data)))(data, init)
    return problem, draw, params


@pytest.fixture(scope="module")
def tiny():
    """A run of adversarial training, and its config."""
    config = Patches(**TINY, training="adversarial", shuffle=True, noise=0.1, keep_weights=True)
    return config, EXPERIMENT.run(config, seeds=[5, 2])


@pytest.mark.exhaustive
@pytest.mark.parametrize("attack", ["one_step features", "standard", "one_step all", "oracle"])
def test_training_against_a_numpy_loop(attack, reference, tiny):
    loop = reference("feature_loop")
    name, _, span = attack.partition(" ")
    training = "standard" if name == "standard" else "adversarial"
    config, run = tiny
    if attack != "one_step features":
        given = {"attack": name, "span": span or "features"} if training == "adversarial" else {}
        config = dataclasses.replace(config, training=training, **given)
        run = EXPERIMENT.run(config, seeds=[5])
    found = run.sel(training=training, seed=5)
    _, draw, params = start_of(config, training, 5)
    k, m = config.num_classes, config.width
    u, v = np.asarray(draw.features[:k]), np.asarray(draw.features[k:])
    kind = {"standard": None, "oracle": "oracle"}.get(name, "family" if span == "features" else "full")
    W = loop.train(
        np.asarray(params["W"]).reshape(k, m, -1),
        np.asarray(draw.train.x),
        np.asarray(draw.train.target),
        np.asarray(draw.train.patches.family),
        config.steps,
        config.learning_rate,
        kind,
        config.radius,
        u,
        v,
        (config.robust_strength, config.nonrobust_strength),
    )
    np.testing.assert_allclose(found.weights.values.reshape(k, m, -1), W, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        found.projection.isel(step=-1), (W @ draw.features.T).reshape(k * m, -1), atol=1e-9
    )


@pytest.mark.exhaustive
@pytest.mark.parametrize("attack", ["oracle", "pgd"])
def test_one_counted_patch_of_each_kind_is_all_of_them(attack):
    given = {"attack": attack, "test_steps": 2 if attack == "pgd" else 0, "noise": 0.0, "keep_weights": True}
    given |= {"num_robust": 2}
    config = Patches(**TINY | given, training="adversarial")
    full, compact = (EXPERIMENT.run(dataclasses.replace(config, compact=c), seeds=2) for c in (False, True))
    names = {"weights", "strength", "flip_accuracy", "full_one_step_accuracy", "training_loss"}
    for name in names | ({"full_pgd_accuracy"} if attack == "pgd" else set()):
        np.testing.assert_allclose(compact[name], full[name], rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.exhaustive
def test_a_rotation_of_space_and_another_order_of_patches_change_nothing():
    """With the start and the noise rotated along, all projections and accuracies stay."""
    config = Patches(**TINY, training="adversarial", keep_weights=True)
    _, draw, params = start_of(config, "adversarial", 3)
    problem = module.problem(config, "adversarial")
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(config.dim, config.dim)))[0]
    order = np.random.default_rng(1).permutation(config.num_robust + config.num_nonrobust)

    def turned(sample):
        patches = jax.tree.map(lambda a: a[:, order], sample.patches)
        return dataclasses.replace(sample, x=sample.x[:, order] @ rotation.T, patches=patches)

    moved = dataclasses.replace(
        draw,
        train=turned(draw.train),
        test=turned(draw.test),
        features=draw.features @ rotation.T,
        carried=draw.carried @ rotation.T,
    )
    key = jax.random.key(0)

    def descend(W, draw):
        for _ in range(15):
            slope = jax.grad(lambda p: problem.training_loss(p, draw.train, draw, key))({"W": W})["W"]
            W = W - config.learning_rate * slope
        return W

    W, V = descend(params["W"], draw), descend(params["W"] @ rotation.T, moved)
    np.testing.assert_allclose(V @ moved.features.T, W @ draw.features.T, atol=1e-10)
    np.testing.assert_allclose(V, W @ rotation.T, atol=1e-10)
    always, _ = module.observed(config)
    for name, what in always.items():
        one, other = (what({"W": w}, problem, d, key) for w, d in ((W, draw), (V, moved)))
        np.testing.assert_allclose(other, one, atol=1e-9, err_msg=name)


@pytest.mark.exhaustive
def test_radii_side_by_side_are_runs_of_their_own():
    radii = (0.05, 0.2)
    config = Patches(**TINY, training="adversarial", radii=radii, test_radius=0.3)
    together = EXPERIMENT.run(config, seeds=2)
    for radius in radii:
        alone = EXPERIMENT.run(dataclasses.replace(config, radii=(), radius=radius), seeds=2)
        for name in ("strength", "flip_accuracy"):
            np.testing.assert_allclose(
                together[name].sel(train_radius=radius).transpose(*alone[name].dims), alone[name], atol=1e-10
            )


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "given",
    [
        {"descent": "sign", "normalize": True, "learning_rate": 1e-3, "attack": "oracle"},
        {
            "attack": "gradient",
            "gradient_step": 30.0,
            "span": "all",
            "norm": "linf",
            "adversarial_weight": 0.5,
            "spread": 0.5,
        },
        {
            "descent": "adam",
            "labels": "random",
            "random_start": True,
            "learning_rate": 1e-2,
            "batch_size": 4,
            "activation": "relu",
            "attack": "pgd",
            "test_steps": 2,
        },
        {
            "descent": "coordinate",
            "learning_rate": 1e-2,
            "power": 4.0,
            "shared_data": True,
            "attack": "pgd",
            "warm_start": True,
        },
    ],
    ids=["sign", "gradient", "adam", "coordinate"],
)
def test_what_makes_sense_runs(given):
    dataset = EXPERIMENT.run(Patches(**TINY | given, training="adversarial"), seeds=2)
    for name in ("strength", "training_loss", "scores", "family_one_step_accuracy"):
        assert np.isfinite(dataset[name]).all(), name
    loss = dataset.training_loss.mean(["training", "seed"])
    assert float(loss[-1]) < float(loss[0])
    assert EXPERIMENT.plot(dataset).get_axes()


@pytest.fixture(scope="module")
def digits():
    config = dataclasses.replace(
        PRESETS["digits"], num_samples=300, num_test=100, steps=150, records=4, test_steps=5, rate_steps=5
    )
    return config, EXPERIMENT.run(config, seeds=2)


@pytest.mark.exhaustive
def test_images_follow_references_trained_on_the_other_half(digits, flaws):
    config, dataset = digits
    first, second = (np.asarray(half.inputs) for half in split(config))
    assert len({row.tobytes() for row in first} & {row.tobytes() for row in second}) == 0
    other, _ = split(dataclasses.replace(config, reference_seed=1))
    assert not np.array_equal(first, other.inputs)
    end = dataset.isel(step=-1)
    assert (end.accuracy > 0.8).all()
    assert (end.pgd_accuracy.sel(training="adversarial") > end.pgd_accuracy.sel(training="standard")).all()
    assert (end.nonrobust_rate.sel(training="standard") > end.robust_rate.sel(training="standard")).all()
    drawn = EXPERIMENT.draw(dataset)
    assert list(drawn) == ["overview", "rates"]
    for figure in drawn.values():
        assert len(figure.get_axes()) == 2
        assert not flaws(figure, curves=False)
    assert "follows standard" in EXPERIMENT.summary(dataset)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"num_classes": 9}, "dim must be at least num_features=18, got 16"),
        ({"activation": "prelu"}, "activation must be one of"),
        ({"compact": True}, "compact is for noise 0, got compact=true and noise=0.03"),
        ({"compact": True, "noise": 0.0, "attack": "gradient"}, "attack='gradient'"),
        ({"norm": "linf"}, "needs span='all'"),
        ({"norm": "linf", "span": "all", "attack": "oracle"}, "span is for attack"),
        ({"warm_start": True}, "warm_start is for attack 'pgd'"),
        ({"attack": "pgd", "warm_start": True, "random_start": True}, "random_start=true"),
        ({"attack": "pgd", "warm_start": True, "batch_size": 4}, "is for batch_size 0"),
        ({"gradient_step": 30.0}, "gradient_step is for attack 'gradient'"),
        ({"compact": True, "noise": 0.0, "norm": "l2"}, "norm='l2'"),
        ({"activation": "relu", "power": 2.0}, "power is for activation"),
        ({"start": "robust", "init_scale": 0.1}, "init_scale is for start 'random'"),
        ({"start_size": 0.1}, "start_size is for start 'robust' or 'nonrobust'"),
        ({"training": "standard", "adversarial_weight": 0.5}, "adversarial_weight is for training"),
        ({"radii": (0.1, 0.2)}, "radii is for training 'adversarial'"),
        ({"radii": (0.2, 0.1), "training": "adversarial"}, "radii must increase"),
        ({"batch_size": 13}, "batch_size must be at most"),
    ],
)
def test_bad_patches_are_refused_in_one_sentence(given, sentence):
    refused(Patches, given, sentence)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"attack": "oracle"}, "attack must be one of one_step, pgd"),
        ({"attack": "one_step", "attack_steps": 3}, "attack_steps is for attack 'pgd'"),
        (
            {"num_samples": 900},
            "2 \\* num_samples \\+ num_test must be at most the 1797 images of digits, got 1800 \\+ 12",
        ),
    ],
)
def test_bad_images_are_refused_in_one_sentence(given, sentence):
    refused(Images, given, sentence)


def test_a_file_that_is_not_there_is_refused_where_it_is_loaded():
    config = Images(data="nowhere")
    with pytest.raises(ValueError, match="nowhere does not exist"):
        Stages(EXPERIMENT.train, config)


def refused(setting, given, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        setting(**given)
    assert "\n" not in str(error.value)


# fields of the one config that there was, as results have them
SHARED = {"training": "both", "num_test": 9, "test_radius": 0.0, "attack": "pgd", "attack_steps": 3}
BOTH = SHARED | {"num_classes": 3, "radius": 0.2, "radii": [], "power": 3.0, "threshold": 2.0, "hidden": 7}
BOTH |= {"rate_radius": 0.0, "rate_steps": 9, "reference_seed": 1, "span": "all", "test_steps": 0, "box": []}


@pytest.mark.parametrize(
    ("change", "config"),
    [
        (
            {"data": "patches"},
            Patches(num_test=9, attack="pgd", attack_steps=3, num_classes=3, radius=0.2, threshold=2.0,
                    span="all", test_steps=0),
        ),
        (
            {"data": "patches", "test_radius": 0.1, "attack": "oracle", "activation": "relu"},
            Patches(num_test=9, attack="oracle", num_classes=3, radius=0.2, test_steps=0, test_radius=0.1,
                    activation="relu"),
        ),
        (
            {"data": "digits"},
            Images(num_test=9, attack_steps=3, radius=0.2, test_steps=1, hidden=7, rate_steps=9,
                   reference_seed=1),
        ),
        (
            {"data": "a.npz", "box": [0.0, 1.0], "test_radius": 0.1, "rate_radius": 0.3, "test_steps": 4},
            Images(data="a.npz", box=(0.0, 1.0), num_test=9, attack_steps=3, radius=0.2, test_radius=0.1,
                   rate_radius=0.3, test_steps=4, hidden=7, rate_steps=9, reference_seed=1),
        ),
    ],
)  # fmt: skip
def test_results_of_the_one_config_that_there_was_load(change, config):
    for setting in (None, "Config"):
        assert EXPERIMENT.read(BOTH | change, setting) == config
    assert EXPERIMENT.read(config.to_dict(), type(config).__name__) == config


def test_a_saved_run_is_drawn_tabled_and_judged(tiny, tmp_path, flaws):
    """Both kinds of training are drawn side by side; here with the same numbers."""
    config, dataset = dataclasses.replace(tiny[0], training="both"), tiny[1]
    dataset = xr.concat([dataset.assign_coords(training=["standard"]), dataset], "training")
    save(EXPERIMENT.signed(dataset, config), tmp_path / "result.nc")
    saved = load(tmp_path / "result.nc")
    drawn = EXPERIMENT.draw(saved)
    assert list(drawn) == ["overview", "neurons"]
    assert not [flaw for figure in drawn.values() for flaw in flaws(figure, curves=False)]
    assert saved.training.values.tolist() == ["standard", "adversarial"]
    assert EXPERIMENT.config_of(saved) == config
    lines = EXPERIMENT.summary(saved).splitlines()
    assert [line.split()[0] for line in lines] == ["training", "standard", "adversarial"]
    assert EXPERIMENT.judge(saved) == []  # which is no setting of a claim
    claim = {claim.id: claim for claim in EXPERIMENT.claims}["A2-clean"]
    found = judge(claim, dict.fromkeys(claim.runs, Run(config, saved)))
    np.testing.assert_array_equal(found.per_seed, last(dataset.accuracy).sel(training="adversarial"))


def crossing_of(flaws, **change):
    """The flawless picture of a run over radii, made by hand."""
    config = dataclasses.replace(PRESETS["crossing"], **change)
    strength = np.random.default_rng(0).uniform(size=(1, len(config.radii), 2, 2, 2 * config.num_classes))
    dims = ("training", "train_radius", "seed", "step", "feature")
    coords = {"training": ["adversarial"], "train_radius": list(config.radii), "seed": [0, 1]}
    made = EXPERIMENT.signed(
        xr.DataArray(strength, dims=dims, coords=coords).to_dataset(name="strength"), config
    )
    drawn = EXPERIMENT.draw(made)
    assert list(drawn) == ["overview", "crossing"]
    assert not [flaw for figure in drawn.values() for flaw in flaws(figure, curves=False)]
    (ax,) = drawn["overview"].get_axes()
    return ax


def test_the_crossing_is_drawn_without_a_law_where_both_features_have_as_many_patches(flaws):
    law = "\\epsilon^*"
    assert any(law in text for text in crossing_of(flaws).get_legend_handles_labels()[1])
    alike = crossing_of(flaws, num_robust=1, num_nonrobust=1)
    assert not any(law in text for text in alike.get_legend_handles_labels()[1])


# --- what is measured


def test_thresholds_are_those_of_a_step_from_all_to_none():
    radius = np.arange(1, 10) / 10
    curves = {
        "step": (radius < 0.45, 0.05),
        "slope": (np.clip(0.75 - radius / 2, 0, 1), 0.45),
        "returns": ((radius < 0.45) | (radius > 0.85), 0.45),
        "ends above 0": (np.where(radius < 0.45, 1.0, 0.1), 0.45),
    }
    for name, (accuracy, error) in curves.items():
        dims = ("training", "seed", "radius")
        values = xr.DataArray(np.asarray(accuracy, float)[None, None], dims=dims, coords={"radius": radius})
        run = Run(Patches(), values.to_dataset(name="curve"))
        found = measures.threshold_error("curve", lambda sizes: 0.45)(run)
        np.testing.assert_allclose(found, error, err_msg=name)


def test_the_lottery_needs_sixty_decided_classes():
    runs = {}
    for seeds in (7, 8):
        strength = np.zeros((1, seeds, 2, 16))
        strength[0, :, :, :8], strength[0, :, 1, 8:] = 1.0, 0.5
        dims = ("training", "seed", "step", "feature")
        config = Patches(training="standard", num_classes=8)
        runs[seeds] = Run(config, xr.DataArray(strength, dims=dims).to_dataset(name="strength"))
    assert np.isnan(measures.lottery_score({"run": runs[7]})).all()
    np.testing.assert_array_equal(measures.lottery_score({"run": runs[8]}), np.ones(8))
    assert measures.enough_decided({"run": runs[7]}) == "at least 60 decided classes (--seeds), has 56"
    assert measures.enough_decided({"run": runs[8]}) == ""


def test_the_digits_are_measured_at_500_and_1500_steps_and_not_at_one_alone():
    times = EXPERIMENT.claims.runs["digits"].config.recording_times()
    assert times == [0, 500, 1000, 1500]
    values = xr.DataArray(
        [[[0.0, 0.2, 0.1, 0.3]]], dims=("training", "seed", "step"), coords={"training": ["standard"]}
    )
    claims = {claim.id: claim for claim in EXPERIMENT.claims}

    def measured(id, **rates):
        dataset = xr.Dataset(rates)
        claim = claims[id]
        return claim.quantity(claim.given({"digits": Run(Patches(), dataset)}))

    at, early = values.assign_coords(step=times), values.assign_coords(step=[0, 39, 443, 1500])
    standard = ("digits-standard", "digits-standard-accuracy")
    found = [measured(id, nonrobust_rate=at, robust_rate=0 * at, pgd_accuracy=at) for id in standard]
    np.testing.assert_allclose(found, [[0.2], [0.3]])
    at, early = (v.assign_coords(training=["adversarial"]) for v in (at, early))
    found = measured("digits-adversarial", robust_rate=at, nonrobust_rate=0 * at)
    np.testing.assert_array_equal(found, [0.2])
    np.testing.assert_array_equal(measured("digits-adversarial-accuracy", pgd_accuracy=at), [0.2])
    with pytest.raises(KeyError, match="not all values found in index 'step'"):
        measured("digits-adversarial-accuracy", pgd_accuracy=early)


def test_every_claim_names_runs_that_exist_and_can_be_decided():
    for claim in EXPERIMENT.claims:
        for name in claim.runs:
            dataclasses.replace(EXPERIMENT.claims.runs[name].config, **claim.ablation.change)
    decided = {c.id for c in EXPERIMENT.claims if c.applies is not None and c.applies(PRESETS["small"])}
    assert {"A1-order", "A1-flip", "A2-order", "A2-flip"} <= decided
    for preset in ("crossing", "digits", "full_attack"):
        assert not {c.id for c in EXPERIMENT.claims if c.applies is not None and c.applies(PRESETS[preset])}


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({}, set()),
        ({"width": 4}, {"A1-order", "A1-clean", "A1-flip"}),  # a class that the start gives to u
        ({"width": 32}, set()),
        ({"steps": 60}, {"A1-order", "A2-order", "A2-flip"}),
        ({"steps": 2400, "learning_rate": 0.3}, set()),
        ({"steps": 1200, "learning_rate": 0.3}, {"A2-order", "A2-clean"}),  # as far as 600 steps of 0.6
        ({"noise": 0.2}, {"A1-clean", "A2-clean"}),
        ({"init_scale": 0.5}, {"A2-nonrobust"}),
        ({"test_radius": 0.6}, {"A2-flip"}),
    ],
)
def test_what_is_outside_of_a_setting_is_not_judged(change, gone):
    config = dataclasses.replace(PRESETS["small"], **change)
    judged = {claim.id for claim in EXPERIMENT.claims if claim.applies is not None and claim.applies(config)}
    every = {"A1-order", "A1-clean", "A1-flip", "A2-order", "A2-nonrobust", "A2-clean", "A2-flip"}
    assert not judged & gone
    assert judged <= every
    assert gone or judged == every


def test_the_median_of_a_recursion_is_that_of_its_middle_starts():
    starts = np.random.default_rng(0).normal(size=12)
    sizes = PRESETS["small"].sizes
    for values in (starts, starts[:11]):
        whole = np.median(sizes.growth(values, 0.1, 20), axis=1)
        np.testing.assert_allclose(sizes.growth(_middle(values), 0.1, 20).mean(axis=1), whole, rtol=1e-12)
