"""Every claim about flavors of margin holds over seeds and its ablation breaks it; runs of other settings."""

import dataclasses

import jax
import numpy as np
import pytest
import xarray as xr

from dynamics import descent, experiments, load
from dynamics.data import images, teachers
from dynamics.experiments.flavors_of_margin import quantities
from dynamics.experiments.flavors_of_margin import setting as module
from dynamics.laws import max_margin
from dynamics.study import first_step
from dynamics.study.claim import Run
from dynamics.study.verdict import judge

EXPERIMENT = experiments.get("flavors_of_margin")
Config, PRESETS = EXPERIMENT.Config, EXPERIMENT.presets
CLAIMS = {claim.id: claim for claim in EXPERIMENT.claims}
IDS = list(CLAIMS)
SEEDS = 2
SHORT = ["A1-identity", "A5-point-l1"]
LONG = [claim for claim in IDS if claim not in SHORT]


@pytest.fixture(scope="module")
def short(check):
    return check("flavors_of_margin", SEEDS, SHORT)


@pytest.fixture(scope="module")
def long(check):
    return check("flavors_of_margin", SEEDS, LONG)


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
def test_claim_of_long_runs_holds_and_its_ablation_does_not(long, claim):
    assert_decided(long[1][claim])


@pytest.mark.slow
@pytest.mark.exhaustive
def test_means_over_noisy_data_take_the_seeds_that_they_need(long):
    assert len(long[1]["A10-sparse"]["per_seed"]) == 32
    assert len(long[1]["A3-raw-constant"]["per_seed"]) == 16
    assert len(long[1]["A11-l1"]["per_seed"]) == 2


# --- one run, from its numbers to its pictures


@pytest.fixture(scope="module")
def linear():
    config = dataclasses.replace(PRESETS["linear"], steps=400, records=21)
    return config, EXPERIMENT.run(config, seeds=[3, 1])


@pytest.mark.exhaustive
def test_the_optimum_is_the_linear_program_of_the_seeds_own_data(linear):
    config, run = linear
    for algorithm, norm in (("gd", "l2"), ("sign", "linf"), ("coordinate", "l1")):
        one = run.sel(algorithm=algorithm, seed=1)
        rows = one.signed_inputs.values
        duals = {"l2": 2, "linf": 1, "l1": np.inf}
        assert np.linalg.norm(rows, duals[norm], axis=1).max() == pytest.approx(1, rel=1e-12)
        for name in ("l1", "l2", "linf"):
            assert float(one.optimum.sel(norm=name)) == pytest.approx(
                max_margin.linear(rows, name)[0], rel=1e-9
            )
        assert float(one.geometric_margin.isel(step=-1).sel(norm=norm) / one.optimum.sel(norm=norm)) > 0.8
    ratio = run.geometric_margin / run.optimum
    assert float(ratio.max()) <= 1 + 1e-6
    assert config.measured_norms == ("l1", "l2", "linf")
    assert run.geometric_margin.dtype == np.float64


@pytest.mark.parametrize("algorithm", ["gd", "sign", "coordinate"])
def test_one_seed_of_one_algorithm_above_the_largest_margin_is_enough(linear, algorithm):
    config, run = linear
    claim = CLAIMS["A2-never-above"]
    assert judge(claim, dict.fromkeys(claim.runs, Run(config, run))).holds
    this = (run.algorithm == algorithm) & (run.seed == 1) & (run.step == run.step[-1])
    above = run.assign(geometric_margin=run.geometric_margin.where(~this, run.optimum * 1.05))
    for bad in (above, run.assign(geometric_margin=run.geometric_margin.where(~this))):
        found = judge(claim, dict.fromkeys(claim.runs, Run(config, run)) | {"sqrt": Run(config, bad)})
        assert not found.holds
        assert found.per_seed[0] < 1
    more = Run(config, above.sel(seed=[3]))  # of runs with different seeds, those that all have
    assert len(judge(claim, dict.fromkeys(claim.runs, Run(config, run)) | {"raw": more}).per_seed) == 1


def test_a_diverged_algorithm_is_not_passed_over(linear):
    config, run = linear
    margin = run.geometric_margin.where(run.algorithm != "gd")
    diverged = Run(config, run.assign(geometric_margin=margin))
    for id in ("A2-own", "A2-bound-wide", "A2-diagonal"):
        found = judge(CLAIMS[id], {"wide": diverged})
        assert found.holds is False
        assert found.measured is None


def test_the_predictor_of_a_linear_model_has_the_margin_of_its_weights(linear):
    config, run = linear
    for algorithm, norm in (("gd", "l2"), ("sign", "linf"), ("coordinate", "l1")):
        one = Run(config, run).at(algorithm=algorithm)
        found = quantities.predictor_ratio(norm)(one)
        np.testing.assert_allclose(found, quantities.final_ratio(one), rtol=1e-9)


def test_changes_do_not_cancel_and_what_chatters_is_averaged(linear):
    config, run = linear
    factors = (
        run.geometric_margin.seed.where(run.seed == 1, -1) * 0.1 + 1
    )  # 1.1 in one seed, 0.9 in the other
    momentum = Run(config, run.assign(geometric_margin=run.geometric_margin * factors))
    found = judge(CLAIMS["A9-same-linf"], {"momentum": momentum, "plain": Run(config, run)})
    np.testing.assert_allclose(found.per_seed, 0.1, rtol=1e-12)
    apart = run.assign(test_accuracy=run.test_accuracy * 0 + factors.where(run.algorithm == "gd", 1))
    found = judge(CLAIMS["A10-dense-sign"], {"dense": Run(config, apart)})
    np.testing.assert_allclose(found.per_seed, 0.1, rtol=1e-6)
    turn = xr.DataArray((-1.0) ** np.arange(run.sizes["step"]), dims="step")
    turns = run.stationarity * 0 + 0.5 + 0.1 * turn
    beta = quantities.final_stationarity(Run(config, run.assign(stationarity=turns)))
    assert set(beta.dims) == {"algorithm", "seed"}
    np.testing.assert_allclose(beta, 0.5, rtol=1e-6)


def test_a_seed_that_is_not_fitted_is_outside_of_the_theorem(linear):
    config, run = linear
    unfitted = run.assign(log_loss=run.log_loss.where(run.seed == 1, 1.0))
    found = judge(CLAIMS["A5-local"], {"narrow": Run(config, unfitted)})
    beta = quantities.final_stationarity(Run(config, run).at(algorithm="gd"))
    np.testing.assert_array_equal(found.per_seed, beta[1:])


def test_every_figure_is_drawn_from_a_saved_run(linear, tmp_path, flaws):
    from dynamics import save

    save(linear[1], tmp_path / "result.nc")
    saved = load(tmp_path / "result.nc")
    drawn = EXPERIMENT.draw(saved)
    assert set(EXPERIMENT.figures) - set(drawn) == {"adam", "neurons"}
    for figure in drawn.values():
        shown = [ax for ax in figure.axes if ax.axison and ax.get_label() != "<colorbar>"]
        assert all(ax.get_xlabel() for ax in shown)
        assert not flaws(figure, curves=False)
    assert "coordinate" in EXPERIMENT.summary(saved)


def test_margins_on_data_of_different_size_are_not_compared(linear):
    """Each algorithm has data of its own size: a norm without a known optimum leaves a gap, not a ratio."""
    from dynamics.experiments.flavors_of_margin import figures as figures

    config, run = linear
    unknown = run.assign(optimum=run.optimum.where(run.norm != "l1"))
    scale, label = figures._scale(Run(config, unknown))
    assert label == "margin / largest possible"
    ratio = run.geometric_margin / scale
    assert ratio.sel(norm="l1").isnull().all()
    np.testing.assert_array_equal(
        ratio.sel(norm="l2"), run.geometric_margin.sel(norm="l2") / run.optimum.sel(norm="l2")
    )
    assert "nan" in EXPERIMENT.summary(unknown)
    none = run.assign(optimum=run.optimum * np.nan)
    scale, label = figures._scale(Run(config, none))
    assert label == "margin / largest of the run"
    assert "algorithm" in scale.dims


def test_the_first_perfect_step(linear):
    run = linear[1]
    found = first_step(run.train_accuracy >= 1)
    assert found.dims == ("algorithm", "seed")
    for i, j in np.ndindex(found.shape):
        accuracy = run.train_accuracy.isel(algorithm=i, seed=j)
        steps = run.step.values[accuracy.values >= 1]
        assert float(found[i, j]) == steps[0]
    assert np.isnan(first_step(run.train_accuracy > 2)).all()
    with pytest.raises(ValueError, match="needs the dimension step"):
        first_step(run.optimum > 0)


@pytest.mark.parametrize(("x64", "float64"), [(False, True), (False, False), (True, False)])
def test_jobs_are_in_float32_or_float64_as_the_config_says(x64, float64):
    with jax.enable_x64(x64):
        training = module.train(dataclasses.replace(PRESETS["linear"], float64=float64))
        assert {job.float64 for job in next(training).values()} == {x64 or float64}


@pytest.mark.exhaustive
def test_float32_or_float64_as_the_config_says():
    small = dataclasses.replace(PRESETS["linear"], steps=3, records=2, algorithms=("gd",))
    for x64, float64, kind in (
        (False, True, np.float64),
        (False, False, np.float32),
        (True, False, np.float64),
    ):
        with jax.enable_x64(x64):
            run = EXPERIMENT.run(dataclasses.replace(small, float64=float64), seeds=1)
        assert run.geometric_margin.dtype == kind
        assert run.attrs["float64"] == str(kind is np.float64)


OTHER = {
    "optax and norms": ("small", {"algorithms": ("shampoo", "l1.5")}),
    "newton-schulz": ("small", {"algorithms": ("spectral",), "newton_schulz": 5, "momentum": 0.9}),
    "digits": ("digits", {"data": "digits", "classes": (0, 1), "algorithms": ("gd",)}),
    "deep": ("small", {"widths": (6, 5), "activation": "leaky_relu", "algorithms": ("spectral",)}),
    "diagonal": ("linear", {"model": "diagonal", "init_scale": 0.3, "algorithms": ("gd",)}),
    "certificate": ("small", {"certificate": True, "algorithms": ("gd",), "steps": 300}),
    "mixed rules": (
        "small",
        {"algorithms": ("gd", "sign"), "step_rule": ("raw", "normalized"), "learning_rate": (0.1, 0.01)},
    ),
    "minibatches": ("small", {"batch_size": 5, "algorithms": ("gd",)}),
    "logistic": ("small", {"loss": "logistic", "shared_data": True, "algorithms": ("coordinate",)}),
    "orthogonal": ("orthogonal", {"num_positive": 3, "num_negative": 1, "radius": 1.0, "steps": 200}),
    "point": ("point", {"point": (1.0, 2.0), "init_scale": 0.1}),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", OTHER)
def test_what_makes_sense_runs(name):
    preset, change = OTHER[name]
    small = {"steps": 30, "records": 4}
    small |= {} if preset == "linear" else {"widths": (8,)}
    small |= {} if preset in ("orthogonal", "point") else {"num_samples": 12, "num_test": 20}
    config = dataclasses.replace(PRESETS[preset], **small | change)
    run = EXPERIMENT.run(config, seeds=2)
    assert run.algorithm.values.tolist() == list(config.algorithms)
    assert (run.first_nonfinite_step == -1).all()
    assert np.isfinite(run.geometric_margin).all()
    assert (run.log_loss.isel(step=-1) < run.log_loss.isel(step=0)).any()
    if name == "certificate":
        ratios = run.certificate.sel(norm=["l1", "l2", "linf"]).values
        beta = (
            run.stationarity.isel(step=-1)
            .sel(norm=["l1", "l2", "linf"])
            .transpose(*run.certificate.dims)
            .values
        )
        kept = np.isfinite(ratios)
        assert kept.any()
        assert (ratios[kept] <= 1 + 1e-6).all()
        assert (ratios[kept] >= beta[kept] - 0.1).all()  # beta uses soft support vectors
    if name == "diagonal":
        rows = run.signed_inputs.sel(algorithm="gd").isel(seed=0).values
        assert float(run.optimum.sel(norm="l2")[0, 0]) == pytest.approx(max_margin.linear(rows, "l1")[0] / 2)
    if name == "orthogonal":
        np.testing.assert_allclose(run.optimum.sel(norm="l2"), 1 / (2 * (3**0.5 + 1)), rtol=1e-12)
    if name == "point":
        np.testing.assert_allclose(run.optimum.sel(norm="l1"), 0.5, rtol=1e-12)


def test_the_sum_of_losses_is_minimised_and_rules_are_those_of_the_config():
    config = dataclasses.replace(PRESETS["teacher"], momentum=0.5, decay=0.1)
    problem = config.problem("l1.25")
    assert problem.reduction == "sum"
    assert isinstance(problem.data, teachers.ReluTeacher)
    assert problem.model.degree == 2
    assert dataclasses.replace(PRESETS["small"], power=3.0).network().degree == 4
    rule = config.update_rule("l1.25")
    assert descent.objective(rule.recipe) == "log_loss"
    assert dict(rule.recipe.constants)["name"] == "l1.25"
    assert {"momentum", "decay", "cap", "learning_rate"} == set(rule.recipe.numbers)
    digits = PRESETS["digits"].source()
    assert isinstance(digits, images.LabelledImages)
    assert digits.class_signs == (-1, 1)


@pytest.mark.parametrize(
    ("preset", "change", "message"),
    [
        ("small", {"algorithms": ()}, "algorithms must be one value or several different ones"),
        ("small", {"algorithms": ("gd", "gd")}, "algorithms must be one value or several different ones"),
        ("small", {"algorithms": ("sgd",)}, "descent must be one of .* got 'sgd'"),
        (
            "small",
            {"learning_rate": (0.1, 0.2)},
            "learning_rate must be one value for all of the 4 algorithms or one each",
        ),
        ("small", {"step_rule": ("slow",)}, "step_rule must be"),
        ("small", {"norms": ("l0",)}, "norm must be l1"),
        ("small", {"activation": "gelu"}, "activation must be one of relu, .* got 'gelu'"),
        ("small", {"activation": "relu", "power": 3.0}, "power is for activation 'relu_power' or "),
        ("small", {"widths": ()}, "widths must not be empty"),
        ("small", {"adam_b2": 0.9}, "adam_b2 is for algorithms 'adam', got"),
        ("small", {"tie": -1, "data": "linear"}, "tie is for data 'relu_teacher', got"),
        ("digits", {"classes": (2,)}, "classes must be two different labels"),
        ("digits", {"classes": (2, 2)}, "classes must be different values"),
        ("orthogonal", {"num_positive": 20}, "orthogonal points need"),
        ("point", {"point": (0.0, 0.0)}, "an entry other than 0"),
        ("small", {"teacher_fraction": 0.01}, "fraction must leave each unit of the teacher an input of 10"),
        ("small", {"batch_size": 21}, "batch_size must be at most train_count=20, got 21"),
        ("adam", {"adam_eps": 0.0}, "adam_eps must be above 0"),
    ],
)
def test_bad_configs(preset, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        dataclasses.replace(PRESETS[preset], **change)
    assert "\n" not in str(caught.value)


def test_data_that_are_not_there_are_refused_where_they_are_loaded():
    config = dataclasses.replace(PRESETS["digits"], data="nowhere")
    with pytest.raises(ValueError, match="nowhere") as caught:
        config.source()
    assert "\n" not in str(caught.value)


# every field of the one class that there was
WAS = {
    "steps": 10_000, "batch_size": 0, "shared_data": False, "records": 201, "spacing": "linear",
    "data": "relu_teacher", "dim": 10, "num_samples": 20, "num_test": 1000, "teacher_units": "normal",
    "teacher_fraction": 1.0, "tie": 1, "num_positive": 6, "num_negative": 2, "radius": 2.0,
    "point": [3.0, -1.0, 0.5, 2.0], "classes": [2, 7], "rescale": False, "model": "network",
    "widths": [100], "depth": 2, "activation": "relu_power", "power": 2.0, "init_scale": 0.3,
    "loss": "exponential", "algorithms": ["gd", "sign", "coordinate", "spectral"],
    "step_rule": ["log_decrease"], "learning_rate": [0.05], "momentum": 0.0, "decay": 0.0,
    "newton_schulz": 0, "objective": "log_loss", "adam_eps": 1e-8, "adam_b1": 0.9, "adam_b2": 0.999,
    "norms": ["l1", "l2", "linf", "spectral"], "certificate": False, "float64": True,
}  # fmt: skip


@pytest.mark.parametrize("setting", [None, "Config"])
@pytest.mark.parametrize(
    ("was", "now"),
    [
        ({}, module.Network()),
        ({"activation": "relu", "init_scale": 0.1, "power": 3.0, "adam_eps": 1e-4}, PRESETS["relu"]),
        (
            {"data": "mnist", "num_samples": 100, "num_test": 500, "dim": 7, "tie": -1},
            module.Images(),
        ),
        (
            {"model": "linear", "data": "linear", "dim": 50, "widths": [64], "certificate": True},
            module.Predictor(dim=50),
        ),
        ({"model": "diagonal", "data": "point", "dim": 50}, module.Predictor(model="diagonal", data="point")),
        (
            {"algorithms": ["adam", "gd"], "adam_eps": 1e-4},
            module.Network(algorithms=("adam", "gd"), adam_eps=1e-4),
        ),
    ],
)
def test_results_of_before_settings_had_names_load(was, now, setting):
    assert EXPERIMENT.read(WAS | was, setting) == now


def test_a_linear_predictor_of_images_is_no_setting_any_more():
    with pytest.raises(ValueError, match="no linear predictors of mnist any more"):
        EXPERIMENT.read(WAS | {"data": "mnist", "model": "linear"})


def recorded(steps, log_loss):
    """A run that fits its data as said, (seeds, steps), with each of two algorithms."""
    loss = np.stack([np.asarray(log_loss, float)] * 2)
    coords = {"algorithm": ["gd", "sign"], "seed": range(loss.shape[1]), "step": steps}
    never = (("algorithm", "seed"), np.full(loss.shape[:2], -1))
    made = xr.Dataset(
        {"log_loss": (("algorithm", "seed", "step"), loss), "first_nonfinite_step": never}, coords
    )
    return Run(PRESETS["small"], made)


def test_a_run_says_how_many_records_it_lacks():
    late, fitted, some = (CLAIMS[id].needs for id in ("A6-stationary-l2", "A6-monotone", "A6-mismatched"))
    log = np.unique(np.geomspace(1, 10_000, 201).astype(int))  # as many, of which few are late
    for steps, enough in ((np.linspace(0, 10_000, 201), True), (np.array([0, 10_000]), False), (log, False)):
        runs = recorded(steps, np.linspace(3, -9, len(steps))[None])
        assert (late(runs) == "") is enough
        assert (some(runs) == "") is (len(steps) > 2)
    assert "at least 20 records in the second half, has 1" in late(recorded([0, 10_000], [[3, -9]]))
    assert "below 1 of each algorithm, has 1" in fitted(recorded([0, 9, 99], [[3, 2, -1], [3, -1, -2]]))
    assert fitted(recorded([0, 9, 99], [[3, -1, -2]] * 2)) == ""
    diverged = recorded([0, 9, 99], [[3, 2, np.nan]])
    diverged.dataset["first_nonfinite_step"][0, 0] = 50
    assert fitted(diverged) == ""  # which is no want of records: the claim fails


@pytest.mark.parametrize(
    ("change", "theorem", "measured"),
    [
        ({}, True, True),
        ({"records": 11}, True, True),  # then it says what it needs
        ({"dim": 50}, True, False),
        ({"widths": (30,)}, True, False),
        ({"steps": 20_000}, True, False),
        ({"learning_rate": (0.001,)}, False, False),  # too little training
        ({"float64": False}, False, False),  # increments below rounding
    ],
)
def test_bands_that_were_measured_are_of_that_setting(change, theorem, measured):
    config = dataclasses.replace(PRESETS["small"], **change)
    for id in ("A6-monotone", "A7-diagonal"):
        assert CLAIMS[id].applies(config) is theorem
    for id in ("A7-linf", "A6-stationary-l1"):
        assert CLAIMS[id].applies(config) is measured


def test_frames_are_about_each_algorithms_own_norm(linear):
    config, run = linear
    ax = EXPERIMENT.draw(run, ["margin_matrix"])["margin_matrix"].axes[1]
    names = run.algorithm.values.tolist(), run.norm.values.tolist()
    corners = [(round(patch.get_y() + 0.46), round(patch.get_x() + 0.48)) for patch in ax.patches]
    assert {names[0][i]: names[1][j] for i, j in corners} == {
        name: config.own_norm(name) for name in config.algorithms
    }
