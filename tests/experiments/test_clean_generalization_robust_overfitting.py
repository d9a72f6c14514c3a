"""Every claim holds over seeds and its ablation breaks it; one run against plain loops; other settings."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from dynamics import experiments, load, save
from dynamics.adversary import FeatureShift
from dynamics.data.parity import Parity
from dynamics.engine.stages import Stages
from dynamics.experiments.clean_generalization_robust_overfitting import quantities
from dynamics.experiments.clean_generalization_robust_overfitting import setting as module
from dynamics.experiments.clean_generalization_robust_overfitting.images import Images
from dynamics.experiments.clean_generalization_robust_overfitting.setting import Construction, Patches
from dynamics.keys import named_key, seed_key
from dynamics.laws.clean_generalization_robust_overfitting import reduced_dynamics, unseen_deviation
from dynamics.study.claim import Run
from dynamics.study.verdict import judge
from dynamics.sweep import grid as grids
from dynamics.sweep.figures import Shown
from dynamics.sweep.run import joined

EXPERIMENT = experiments.get("clean_generalization_robust_overfitting")
PRESETS = EXPERIMENT.presets
IDS = [claim.id for claim in EXPERIMENT.claims]
SEEDS = 2
SHORT = ["A1-robust-train", "A1-robust-test", "A2-no-memory", "A3-robust"]
LONG = [claim for claim in IDS if claim not in SHORT]
NAME = EXPERIMENT.name


@pytest.fixture(scope="module")
def short(check):
    return check(NAME, SEEDS, SHORT)


@pytest.fixture(scope="module")
def long(check):
    return check(NAME, 16, LONG)


def assert_decided(verdict):
    assert verdict["holds"], verdict
    assert verdict["ablation"]["holds"] is False, verdict


@pytest.mark.exhaustive
@pytest.mark.slow
def test_exit_code_says_that_every_claim_holds(short):
    done, verdicts = short
    assert list(verdicts) == SHORT
    assert done.returncode == 0, done.stdout
    assert all(len(verdict["per_seed"]) == SEEDS for verdict in verdicts.values())


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("claim", SHORT)
def test_claim_holds_and_its_ablation_does_not(short, claim):
    assert_decided(short[1][claim])


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("claim", LONG)
def test_claim_of_many_runs_holds_and_its_ablation_does_not(long, claim):
    assert_decided(long[1][claim])


# --- one run against loops in plain NumPy

TINY = dataclasses.replace(
    PRESETS["small"],
    dim=9,
    num_patches=3,
    num_samples=(4,),
    width=(3,),
    num_test=40,
    num_points=20,
    init_scale=0.4,
    steps=40,
    records=41,
    spacing="linear",
    attack_steps=0,
)


@pytest.fixture(scope="module")
def tiny():
    """A run with its draw and initial weights."""
    dataset = EXPERIMENT.run(TINY, seeds=[3, 1])
    problem = module.problem(TINY, 4, 3)
    data, init = (named_key(seed_key(1), name) for name in ("data", "init"))
    draw, params = jax.jit(lambda data, init: (problem.sample(data), problem.init(init, data)))(data, init)
    return dataset, draw, np.asarray(params["W"])


def test_a_run_is_the_plain_loop_and_the_reduced_dynamics(tiny, reference):
    dataset, draw, W = tiny
    one = dataset.isel(arm=0, gamma=0).sel(seed=1)
    x, y = np.asarray(draw.train.x), np.asarray(draw.train.y)
    alpha, direction = TINY.alpha, np.asarray(draw.features)[0]
    residual = 0.02 * alpha
    path = reference("patch_loop").train(W, x, y, direction, alpha, residual, 0.9, 3.0, 0.02, 40)
    signals = np.stack([w @ direction for w in path])
    np.testing.assert_allclose(one.signals.isel(feature=0).values, signals, rtol=1e-9, atol=1e-12)
    noise = x[:, 1:].reshape(-1, TINY.dim)
    race = TINY.race(4, 0.02)
    u, v = reduced_dynamics(W @ direction, W @ noise.T, noise @ noise.T, y, race, range(41))
    np.testing.assert_allclose(u, signals, rtol=1e-9, atol=1e-12)
    total = (np.sign(u) * np.abs(u) ** 3).sum(axis=1)
    memory = y[None] * (np.sign(v) * np.abs(v) ** 3).sum(axis=1).reshape(41, 4, 2).sum(axis=2)
    scores = {"scores": alpha, "robust_scores": residual}
    for name, strength in scores.items():
        found = one[name].transpose("step", "sample", "family").values
        np.testing.assert_allclose(found[..., 1], memory, rtol=1e-8, atol=1e-10)
        expected = np.repeat(strength**3 * total[:, None], 4, axis=1)
        # the shift is a difference of numbers of the size of alpha
        np.testing.assert_allclose(found[..., 0], expected, rtol=1e-8, atol=1e-10)
    largest = (y[None, None] * v.reshape(41, 3, 4, 2).max(axis=3) * np.ones((41, 3, 4))).max(axis=1)
    assert one.memory_strength.shape == largest.shape
    signed = (np.repeat(y, 2)[None, None] * v).reshape(41, 3, 4, 2).max(axis=(1, 3))
    np.testing.assert_allclose(one.memory_strength.values, signed, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        one.noise_square.values, (noise**2).sum(axis=1).reshape(4, 2).max(axis=1), rtol=1e-12
    )


def test_accuracies_are_those_of_scores(tiny):
    one = tiny[0].isel(arm=0, gamma=0)
    for accuracy, scores in ((one.clean_train, one.scores), (one.robust_train, one.robust_scores)):
        np.testing.assert_allclose(accuracy, (scores.sum("family") > 0).mean("sample"))
    end = (one.test_scores.sum("family") > 0).mean("point")
    np.testing.assert_allclose(one.clean_test.isel(step=-1), end)


def test_every_figure_is_drawn_from_a_saved_run(tiny, tmp_path, flaws):
    save(tiny[0], tmp_path / "result.nc")
    saved = load(tmp_path / "result.nc")
    drawn = EXPERIMENT.draw(saved)
    assert set(EXPERIMENT.figures) - set(drawn) == {"threshold", "width", "landscape"}
    for figure in drawn.values():
        assert all(ax.get_xlabel() and ax.get_ylabel() for ax in figure.axes if ax.axison)
        assert not flaws(figure, curves=False)
    assert "N=4, m=3" in EXPERIMENT.summary(saved)
    judged = {verdict.id: verdict for verdict in EXPERIMENT.judge(saved)}
    assert judged["A9-scores"].holds


# --- what is measured


def test_thresholds_are_the_first_of_a_grid_and_not_its_edge():
    gamma = [0.05, 0.1, 0.2]
    accuracies = {"first": [0.95, 1.0, 1.0], "second": [0.5, 0.91, 1.0], "none": [0.5, 0.6, 0.9]}
    runs = {}
    for name, values in accuracies.items():
        dims = ("arm", "seed", "step", "gamma")
        robust = xr.DataArray(np.asarray(values)[None, None, None], dims=dims, coords={"gamma": gamma})
        runs[name] = Run(TINY, robust.to_dataset(name="robust_test"))
    found = [quantities.threshold(run) for run in runs.values()]
    np.testing.assert_array_equal(found, [np.nan, 0.1, np.nan])


def phases(steps, signal, noise):
    """A run of these signals and memories, (seeds, steps)."""
    scores = np.stack([np.asarray(signal, float), np.asarray(noise, float)], axis=-1)[None, :, None, :, None]
    dims = ("arm", "seed", "gamma", "step", "sample", "family")
    values = xr.DataArray(scores, dims=dims, coords={"step": steps, "family": [0, -1]})
    return Run(PRESETS["small"], values.to_dataset(name="scores"))


@pytest.mark.parametrize(
    ("steps", "signal", "noise", "time", "order", "ratio"),
    [
        # both pass within the one gap that there is
        ([0, 10_000], [[0, 9]] * 2, [[0, 6]] * 2, None, None, None),
        ([0, 100, 200, 10_000], [[0, 9, 9, 9]] * 2, [[0, 0, 0, 6]] * 2, True, True, None),
        ([0, 100, 900, 10_000], [[0, 9, 9, 9]] * 2, [[0, 0, 0, 6]] * 2, True, True, True),
        ([0, 100, 900, 10_000], [[0, 0, 0, 9]] * 2, [[0, 6, 6, 6]] * 2, False, False, False),
        ([0, 100, 900, 10_000], [[2, 9, 9, 9]] * 2, [[0, 6, 6, 6]] * 2, True, True, True),  # starts with it
        ([0, 100, 300, 10_000], [[0, 0, 9, 9]] * 2, [[0, 0, 0, 6]] * 2, None, True, None),
        ([0, 100, 300, 10_000], [[0, 0, 0, 0]] * 2, [[0, 6, 6, 6]] * 2, False, False, False),  # never learned
    ],
)
def test_times_between_two_records_decide_what_they_can(steps, signal, noise, time, order, ratio):
    claims = {claim.id: claim for claim in EXPERIMENT.claims}
    runs = {"main": phases(steps, signal, noise)}
    for id, holds in (("A4-signal-time", time), ("A4-order", order), ("A4-ratio", ratio)):
        found = judge(claims[id], runs)
        assert found.holds is holds, found
        assert ("--records" in found.needs) is (holds is None)


def test_a_run_says_what_it_has_too_few_of():
    claims = {claim.id: claim for claim in EXPERIMENT.claims}

    def run(seeds=2, preset="small", **change):
        config = dataclasses.replace(PRESETS[preset], **change)
        return Run(config, xr.Dataset(coords={"seed": range(seeds)}))

    coin, trained = claims["A1-robust-test"], claims["A2-robust-train"]
    assert coin.needs(run(num_test=10)) == "at least 50 points (num_test)"
    assert coin.needs(run(num_test=50)) == ""
    assert coin.accepts({"main": run()}).high == pytest.approx(0.58)
    assert coin.accepts({"main": run(num_test=125)}).high == pytest.approx(0.66)
    assert "25 training samples" in trained.needs(run(num_samples=(6,)))
    assert trained.needs(run(seeds=5, num_samples=(6,))) == ""
    one, four = (claims["A12-overfits"].accepts({"construction": run(n, "construction")}) for n in (1, 4))
    assert (one.over, four.over) == ("every seed", "mean")  # of one seed too the deviation is known
    assert four.high - four.predicted == pytest.approx((one.high - one.predicted) / 2)


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        (
            {"width": (4,)},
            {"A1-robust-train", "A4-order"},
        ),  # a sample whose noise no neuron is on the side of
        ({"num_samples": (10,)}, set()),
        ({"adversarial_weight": 0.0, "init_scale": 1.0}, {"A2-no-memory"}),  # the start is a memory
        ({"adversarial_weight": 0.0, "signal": 0.3}, {"A2-no-memory", "A2-clean-test"}),
    ],
)
def test_what_is_outside_of_a_setting_is_not_judged(change, gone):
    claims = {claim.id: claim for claim in EXPERIMENT.claims}
    config = dataclasses.replace(PRESETS["small"], **change)
    usual = dataclasses.replace(PRESETS["small"], adversarial_weight=config.adversarial_weight)
    watched = (
        {"A1-robust-train", "A4-order"} if config.adversarial_weight else {"A2-no-memory", "A2-clean-test"}
    )
    assert all(claims[id].applies(usual) for id in watched)
    assert not any(claims[id].applies(config) for id in gone)
    assert change != {"num_samples": (10,)} or all(claims[id].applies(config) for id in watched)


@pytest.mark.exhaustive
def test_scores_of_neurons_of_both_signs():
    config = dataclasses.replace(TINY, signed=True, attack="none", adversarial_weight=0.0)
    run = Run(config, EXPERIMENT.run(config, seeds=1))
    assert quantities.score_error(run).max() < 1e-9


def test_a_signal_that_is_never_learned_comes_after_the_memory():
    run = phases([0, 10, 20], [[0, 2.0, 3.0], [0, 0.1, 0.2]], [[0, 0, 1.0], [0, 1.0, 2.0]])
    found = quantities.phase_range(run).values
    np.testing.assert_allclose(found, [5 / 15, 20 / 5])


def test_errors_of_identities_are_relative_at_every_record(tiny):
    dataset = tiny[0]
    assert (quantities.score_error(Run(TINY, dataset)) < 1e-12).all()
    assert (quantities.update_error(Run(TINY, dataset)) < 1e-12).all()
    # the first record is smaller than the last ones, and counts as much as they do
    first = dataset.step == 0
    for name in ("margins", "robust_scores"):
        wrong = dataset.assign({name: dataset[name] * (1 + 1e-3 * first)})
        assert (quantities.score_error(Run(TINY, wrong)) > 5e-4).all(), name


@pytest.mark.exhaustive
def test_attacks_turn_the_parity_inputs_that_were_not_memorised(flaws):
    tiny = {"dim": 6, "num_samples": (20,), "num_test": 300, "num_points": 250}
    config = dataclasses.replace(PRESETS["construction"], **tiny)
    run = EXPERIMENT.run(config, seeds=4)
    end = run.isel(arm=0, step=-1)
    source = config.into(Parity, num_samples=20)
    draws = jax.jit(jax.vmap(lambda seed: source.sample(named_key(seed_key(seed), "data"))))(end.seed.values)
    train, test = np.asarray(draws.train.x)[:, :, 1:], np.asarray(draws.test.x)[:, :250, 1:]
    for i in range(4):
        known = {tuple(row) for row in train[i]}
        np.testing.assert_allclose(end.unseen_test[i], np.mean([tuple(row) not in known for row in test[i]]))
    np.testing.assert_array_equal(quantities.overfit_count_error(Run(config, run)), 0)
    assert (run.first_nonfinite_step == -1).all()
    assert not flaws(EXPERIMENT.draw(run, ["overview"])["overview"], curves=False)
    assert len(EXPERIMENT.summary(run).splitlines()) == 2


def test_the_share_of_unseen_signs_and_its_deviation_by_drawing():
    config = dataclasses.replace(
        PRESETS["construction"], dim=6, num_samples=(20,), num_test=100, num_points=100
    )
    rng = np.random.default_rng(0)
    train, test = rng.integers(0, 32, (20_000, 20)), rng.integers(0, 32, (20_000, 100))
    unseen = np.ones((20_000, 32))
    np.put_along_axis(unseen, train, 0.0, axis=1)
    shares = np.take_along_axis(unseen, test, axis=1).mean(axis=1)
    assert shares.mean() == pytest.approx(quantities.ROBUST_ERROR.theory(config), rel=5e-3)
    assert shares.std() == pytest.approx(unseen_deviation(6, 20, 100), rel=0.05)


def test_the_worse_shift_is_the_fixed_one_where_the_signal_is_positive(tiny):
    key, draw = jax.random.key(0), tiny[1]
    sample, direction = draw.train, draw.features[0]
    fixed = FeatureShift(1.0).perturb(key, jnp.sum, sample, draw)
    for sign in (1.0, -1.0):

        def loss(x, sign=sign):
            return -sign * sample.y * jnp.sum(x @ direction, axis=1)

        moved = FeatureShift(1.0, either_way=True).perturb(key, loss, sample, draw)
        np.testing.assert_allclose(moved, fixed if sign > 0 else 2 * sample.x - fixed, rtol=1e-12)


# --- other settings

ENDS = {"num_test": 20, "num_points": 10, "attack_steps": 0}
SHORT_RUN = {"steps": 20, "records": 3, "width": (3,)} | ENDS
SMALL = SHORT_RUN | {"dim": 10}
OTHER = {
    "samples": Patches(**SMALL | {"num_samples": (4, 6), "gamma": (0.02, 0.5)}),
    "widths": Patches(**SMALL | {"width": (2, 3), "adversarial_weight": 0.0}),
    "model": Patches(
        **SMALL, attack="model", direction="random", signal_patch="random", labels="random",
        gamma=(0.02, -0.1, 0.5),
    ),
    "pgd": Patches(
        **SMALL | {"attack_steps": 1}, attack="pgd", train_attack_steps=2, radius=0.5,
        activation="relu_power", signed=True,
    ),
    "sign": Patches(**SMALL, descent="sign", normalize=True, activation="relu", adversarial_weight=1.0),
    "adam": Patches(**SMALL, descent="adam", batch_size=5, power=2.5, shared_data=True, num_patches=1),
    "parity": Construction(**ENDS, dim=4, radius=0.3, num_samples=(5,), signal=0.2, ramp=0.2),
    "digits": Images(**SHORT_RUN | {"attack_steps": 1}, radius=0.1, num_samples=(30,)),
}  # fmt: skip


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", OTHER)
def test_what_makes_sense_runs(name, flaws):
    config = OTHER[name]
    run = EXPERIMENT.run(config, seeds=2)
    assert run.arm.values.tolist() == list(config.arms)
    gammas = 1
    if isinstance(config, Patches):
        np.testing.assert_allclose(run.gamma, config.residuals)
        gammas = len(config.gamma)
    assert (run.first_nonfinite_step == -1).all()
    assert not flaws(EXPERIMENT.draw(run, ["overview"])["overview"], curves=False)
    assert len(EXPERIMENT.summary(run).splitlines()) == 1 + len(config.arms) * gammas
    if name == "samples":
        one = run.sel(arm="N=4, m=3").dropna("sample", how="all", subset=["margins"])
        assert one.sizes["sample"] == 4
        left = one.robust_scores.sel(family=0) / one.scores.sel(family=0)
        np.testing.assert_allclose(left, one.gamma.values[:, None, None, None] ** 3 * np.ones(left.shape))
    if gammas > 1:
        assert not flaws(EXPERIMENT.draw(run, ["threshold"])["threshold"], curves=False)
    if name == "widths":
        assert not flaws(EXPERIMENT.draw(run, ["width"])["width"], curves=False)
    if name == "digits":
        assert not flaws(EXPERIMENT.draw(run, ["landscape"])["landscape"], curves=False)


@pytest.mark.parametrize(
    ("setting", "given", "message"),
    [
        (Patches, {"gamma": ()}, "gamma must be one value or several different ones"),
        (Patches, {"num_samples": (3, 3)}, "num_samples must be one value or several different ones"),
        (Patches, {"gamma": (0.1, 0.2), "radius": 1.0}, "radius is one number for all"),
        (Patches, {"batch_size": 21}, "batch_size must be at most num_samples=20"),
        (Patches, {"radii": (1.0, 1.0)}, "radii must increase"),
        (Patches, {"train_attack_steps": 3}, "train_attack_steps is for attack 'pgd'"),
        (Patches, {"activation": "relu", "power": 2.0}, "power is for activation"),
        (Patches, {"signal": 0.0}, "signal must be a finite number above 0"),
        (Patches, {"adversarial_weight": 1.5}, "adversarial_weight must be"),
        (Images, {"attack": "fixed"}, "attack must be one of pgd, none"),
        (Images, {"radius": 0.0}, "radius must be a finite number above 0"),
        (Images, {"num_samples": (20, 1797)}, "num_test must be at most the 1797 images of digits"),
        (Construction, {"radius": 0.95}, "radius \\+ ramp below 1"),
    ],
)
def test_bad_configs(setting, given, message):
    with pytest.raises(ValueError, match=message) as caught:
        setting(**given)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused_where_it_is_loaded():
    config = Images(data="nowhere")
    with pytest.raises(ValueError, match="nowhere does not exist"):
        Stages(EXPERIMENT.train, config, EXPERIMENT.arms)


# fields of the one config that there was, as results have them
ONE = {"num_samples": [9], "num_test": 8, "num_points": 7, "attack_steps": 3, "dim": 5, "box": []}
ONE |= {"width": [6], "gamma": [0.1], "radii": [], "train_attack_steps": 4, "adversarial_weight": 0.7}
ONE |= {"signal": 0.0, "noise": 0.0, "init_scale": 0.0, "radius": 0.0, "ramp": 0.2, "classifier": "clean"}
KEPT = {"num_samples": (9,), "num_test": 8, "num_points": 7, "attack_steps": 3}
TRAINED = KEPT | {"width": (6,), "adversarial_weight": 0.7, "train_attack_steps": 4}


@pytest.mark.parametrize(
    ("change", "config"),
    [
        ({"data": "patches", "attack": "pgd"}, Patches(**TRAINED, dim=5, gamma=(0.1,), attack="pgd")),
        (
            {"data": "patches", "attack": "fixed", "radius": 0.4, "signal": 2.0, "noise": 0.3,
             "init_scale": 1.0},
            Patches(
                **TRAINED | {"train_attack_steps": 5}, dim=5, gamma=(0.1,), radius=0.4, signal=2.0, noise=0.3,
                init_scale=1.0,
            ),
        ),
        ({"data": "digits", "attack": "pgd", "radius": 0.2}, Images(**TRAINED, radius=0.2)),
        (
            {"data": "a.npz", "box": [0, 1], "attack": "none", "radius": 0.2},
            Images(
                **TRAINED | {"train_attack_steps": 5}, data="a.npz", box=(0.0, 1.0), attack="none", radius=0.2
            ),
        ),
        (
            {"data": "parity", "attack": "fixed", "radius": 0.3},
            Construction(**KEPT, dim=5, radius=0.3, ramp=0.2, classifier="clean"),
        ),
        (  # without a radius it was what gamma leaves
            {"data": "parity", "attack": "fixed", "signal": 0.2},
            Construction(**KEPT, dim=5, signal=0.2, radius=0.2 * 0.9, ramp=0.2, classifier="clean"),
        ),
    ],
)  # fmt: skip
def test_results_of_the_one_config_that_there_was_load(change, config):
    for setting in (None, "Config"):
        assert EXPERIMENT.read(ONE | change, setting) == config
    assert EXPERIMENT.read(config.to_dict(), type(config).__name__) == config


def test_claims_apply_where_their_setting_is():
    claims = {claim.id: claim for claim in EXPERIMENT.claims}

    def deciding(config):
        return {name for name, claim in claims.items() if claim.applies is not None and claim.applies(config)}

    small, replace = PRESETS["small"], dataclasses.replace
    assert {"A1-robust-train", "A1-memory", "A10-shift-is-worst"} <= deciding(small)
    assert {name[:2] for name in deciding(replace(small, adversarial_weight=0.0))} == {"A2"}
    assert {"A3-robust", "A3-no-memory", "A9-scores"} == deciding(replace(small, gamma=(0.3,)))
    assert {"A1-robust-train"} <= deciding(PRESETS["paper"])
    assert "A1-memory" not in deciding(PRESETS["paper"])
    assert not deciding(replace(small, steps=2000)) - {"A9-scores"}
    assert {name[:3] for name in deciding(PRESETS["construction"])} == {"A12"}
    assert {name[:2] for name in deciding(PRESETS["digits"])} == {"C7", "C8"}
    assert not deciding(PRESETS["threshold"])


def test_a_sweep_measures_the_times_of_the_claims_and_knows_their_exponents():
    base = dataclasses.replace(PRESETS["small"], dim=50, learning_rate=0.1)
    counts, steps = (4, 8), [0, 100, 200, 400]
    runs = [
        phases(steps, [[0, 9 / n, 9, 9]] * 2, [[0, 0, 0.1, 5 / n], [0, 0, 0.2, 6 / n]]).dataset
        for n in counts
    ]
    ended = {"first_nonfinite_step": (("arm", "seed"), np.full((1, 2), -1))}
    runs = [run.assign(ended).assign_coords(arm=["one"], gamma=[0.0], seed=[0, 1]) for run in runs]
    grid = grids.make(base, {"num_samples": list(counts)})
    swept = EXPERIMENT.signed(joined(grid, dict(enumerate(runs))), base)
    signal, memory, *_ = Shown(EXPERIMENT, swept).quantities
    assert (signal.name, memory.name) == ("signal_time", "memory_time")
    for count, run in zip(counts, runs, strict=True):
        config = dataclasses.replace(base, num_samples=(count,))
        for one in (signal, memory):
            found = one.quantity(swept).sel(num_samples=count)
            np.testing.assert_allclose(found, one.quantity(Run(config, run)))
            assert np.isfinite(found).all()
            assert one.predicted(config) == config.phase_times(count)[one is memory]
    # the exponents are those of the laws: exact where the end of the phase is far above its start
    for one in (signal, memory):
        start = dataclasses.replace(base, init_scale=1e-4, signal=3.0, noise=0.3)
        for field, exponent in one.exponents(start).items():
            value = getattr(start, field)
            value = value[0] if isinstance(value, tuple) else value
            more = dataclasses.replace(
                start, **{field: (2 * value,) if field == "num_samples" else value / 2}
            )
            ratio = one.theory(more) / one.theory(start)
            expected = 2**exponent if field == "num_samples" else 0.5**exponent
            np.testing.assert_allclose(ratio, expected, rtol=0.02, err_msg=f"{one.name} {field}")
