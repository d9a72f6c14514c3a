"""The kernel picture's claims hold and their ablations break them; every part runs at other settings."""

import dataclasses

import jax
import numpy as np
import pytest
import xarray as xr

from dynamics import experiments, load, observables, save
from dynamics.data.directions import Circle, Hypercube
from dynamics.experiments.kernels_data_physics import quantities
from dynamics.keys import named_key, seed_key
from dynamics.study.claim import Run
from dynamics.study.quantities import falls_between
from dynamics.study.verdict import judge

EXPERIMENT = experiments.get("kernels_data_physics")
Config, PRESETS = EXPERIMENT.Config, EXPERIMENT.presets
IDS = [claim.id for claim in EXPERIMENT.claims]
SHORT = ["X3-closed-form", "X3-distance"]
LONG = [claim for claim in IDS if claim not in SHORT]
TINY = {
    "hypercube": {"sizes": (4, 8), "cube_dim": 5},
    "kernels": {"widths": (4, 8), "draws": 3, "biases": True},
    "width": {"widths": (4, 8), "steps": 3, "target": "random"},
    "linear": {"width": 8, "steps": 5, "rates": (1.0,), "target": "linear", "amplitude": 2.0},
    "small": {"width": 16, "grid": 16, "frequencies": (2, 3), "steps": 5, "amplitudes": (0.1, 1.0)},
    "sphere": {"sphere_points": 60},
    "learning_curves": {"sizes": (4, 8), "modes": 20, "draws": 2},
    "distillation": {
        "steps": 2, "num_images": 60, "num_test_images": 20, "support": (10,), "records": 2, "depth": 2
    },
    "ensemble": {"width": 8, "times": (0, 5), "num_samples": 4, "great_circle": True},
}  # fmt: skip


def tiny_config(preset, **change):
    given = TINY[preset] | change
    if change.get("regular"):
        given = {name: value for name, value in given.items() if name not in ("modes", "draws")}
    return dataclasses.replace(PRESETS[preset], **given)


@pytest.fixture(scope="module")
def short(check):
    return check("kernels_data_physics", 2, SHORT)


@pytest.fixture(scope="module")
def long(check):
    return check("kernels_data_physics", 4, LONG)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_exit_code_says_that_every_claim_holds(short):
    done, verdicts = short
    assert list(verdicts) == SHORT
    assert done.returncode == 0, done.stdout
    assert not any(verdict["ablation"]["holds"] for verdict in verdicts.values())


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("claim", LONG)
def test_claim_of_long_runs_holds_and_its_ablation_does_not(long, claim):
    verdict = long[1][claim]
    assert verdict["holds"], verdict
    assert verdict["ablation"]["holds"] is False, verdict


@pytest.fixture(scope="module")
def tiny():
    made = {}

    def run(preset, **change):
        key = (preset, tuple(change.items()))
        if key not in made:
            made[key] = EXPERIMENT.run(tiny_config(preset, **change), seeds=2)
        return made[key]

    return run


def assert_is_drawn_and_finite(dataset, flaws):
    assert not flaws(EXPERIMENT.plot(dataset), curves=False)
    EXPERIMENT.summary(dataset)
    for name in dataset.data_vars:
        free_of_meaning = name in ("predicted_time",) or name.startswith("posterior")
        assert free_of_meaning or np.isfinite(dataset[name]).all(), name


def test_a_saved_run_is_drawn_tabled_and_judged(tiny, tmp_path, flaws):
    dataset = tiny("hypercube")
    save(dataset, tmp_path / "result.nc")
    saved = load(tmp_path / "result.nc")
    assert EXPERIMENT.config_of(saved) == tiny_config("hypercube")
    assert_is_drawn_and_finite(saved, flaws)
    assert EXPERIMENT.judge(saved) == []  # which is no setting of a claim


@pytest.mark.exhaustive
@pytest.mark.parametrize("preset", list(TINY))
def test_every_setting_runs_is_drawn_and_is_finite_and_the_same_alone(tiny, flaws, preset):
    dataset = tiny(preset)
    assert_is_drawn_and_finite(dataset, flaws)
    alone = EXPERIMENT.run(EXPERIMENT.config_of(dataset), seeds=[1])
    for name, values in alone.data_vars.items():
        if "seed" in values.dims:
            np.testing.assert_allclose(
                values.isel(seed=0), dataset[name].sel(seed=1), rtol=1e-9, atol=1e-12, err_msg=name
            )


@pytest.mark.exhaustive
def test_rates_alike_in_six_digits_are_two_runs(flaws):
    rates = (1.0000001, 1.0000002)
    config = tiny_config("linear", rates=rates, records=2)
    found = EXPERIMENT.run(config, seeds=1)
    assert found.rate.values.tolist() == list(rates)
    top = found.residual.isel(seed=0, step=-1)
    assert not np.array_equal(top.isel(rate=0), top.isel(rate=1))
    np.testing.assert_allclose(found.residual, found.residual_predicted, rtol=0, atol=1e-12)
    assert_is_drawn_and_finite(found, flaws)


@pytest.mark.exhaustive
def test_a_network_that_is_not_linearised_moves_by_a_finite_distance():
    config = tiny_config("linear", linearized=False)
    found = EXPERIMENT.run(config, seeds=2)
    assert float(found.distance_moved.isel(step=0).max()) == 0
    error = quantities.distance_error(Run(config, found))
    assert np.isfinite(error).all()
    assert (error > 1e-3).all()


def test_an_ensemble_is_one_number_for_all_its_networks():
    """The worst time and point: a variance, a mean in standard errors, a ratio."""
    rng = np.random.default_rng(0)
    made = {"output": (("seed", "step", "point"), rng.normal(size=(2, 3, 4)))}
    made |= {
        name: (("step", "point"), rng.uniform(1, 2, (3, 4)))
        for name in ("variance_predicted", "mean_predicted")
    }
    made |= {name: ("point", rng.uniform(1, 2, 4)) for name in ("variance_limit", "posterior_variance")}
    dataset = xr.Dataset(made)
    run = Run(tiny_config("ensemble"), dataset)
    outputs = dataset.output.values
    ratio = outputs.var(axis=0, ddof=1) / dataset.variance_predicted.values
    assert float(quantities.ensemble_variance(run)) == pytest.approx(np.abs(ratio - 1).max())
    error = outputs.std(axis=0, ddof=1) / np.sqrt(2)
    z = (outputs.mean(axis=0) - dataset.mean_predicted.values) / error
    assert float(quantities.ensemble_mean(run)) == pytest.approx(np.abs(z).max())
    least = (dataset.variance_limit / dataset.posterior_variance).min()
    assert float(quantities.posterior_ratio(run)) == pytest.approx(float(least))


def test_parities_against_plain_numpy(tiny):
    dataset = tiny("hypercube")
    for degree in (1, 2, 3):
        with jax.enable_x64(True):
            draw = Hypercube(5, 8, 500, degree).sample(named_key(seed_key(1), "data"))
        x, y, at, wanted = map(np.asarray, (draw.train.x, draw.train.y, draw.test.x, draw.test.y))

        def kernel(a, b):  # one hidden layer, sigma_w^2 = 2, no biases
            cosine = np.clip(a @ b.T / 5, -1, 1)
            angle = np.arccos(cosine)
            slopes = (np.pi - angle) / np.pi
            values = 2 * (np.sin(angle) + (np.pi - angle) * cosine) / np.pi
            return values + 2 * cosine * slopes

        for size in (4, 8):
            gram = kernel(x[:size], x[:size])
            gram = gram + 1e-8 * np.trace(gram) / size * np.eye(size)
            error = np.mean((kernel(at, x[:size]) @ np.linalg.solve(gram, y[:size]) - wanted) ** 2)
            # repeated points make the smaller Gram matrix nearly singular: its jitter decides
            found = float(dataset.error.sel(seed=1, degree=degree, size=size))
            assert found == pytest.approx(error, rel=1e-5)


def interpolated(size):
    """The predictor of frequency 2 from a regular grid, in NumPy."""
    phi, grid = 2 * np.pi * np.arange(97) / 97, 2 * np.pi * np.arange(size) / size

    def kernel(a, b):
        angle = np.abs((a[:, None] - b[None] + np.pi) % (2 * np.pi) - np.pi)
        return (1 + np.cos(angle)) * (np.pi - angle) / (2 * np.pi)

    return kernel(phi, grid) @ np.linalg.solve(kernel(grid, grid), np.cos(2 * grid))


@pytest.mark.parametrize("size", [4, 8])
def test_a_prediction_on_the_grid_is_one_solve(size):
    what = observables.ridgeless.given(kernel=PRESETS["learning_curves"].kernel())

    @jax.jit
    def predict(key):
        return what({}, None, Circle(size, 97, frequency=2.0).sample(key), key)

    np.testing.assert_allclose(predict(jax.random.key(0)), interpolated(size), atol=1e-7)


@pytest.mark.exhaustive
def test_learning_curves_are_one_solve_each(tiny):
    """On a regular grid: the predictor of every frequency against NumPy and the sum over aliases."""
    dataset = tiny("learning_curves", regular=True)
    for size in (4, 8):
        found = dataset.prediction.sel(size=size, frequency=2).isel(seed=0)
        np.testing.assert_allclose(found, interpolated(size), atol=1e-7)
    exact = dataset.prediction_exact.sel(size=8)
    np.testing.assert_allclose(exact, dataset.prediction.sel(size=8).isel(seed=0), atol=1e-3)


@pytest.mark.exhaustive
def test_what_the_kernel_never_learns_has_no_time_and_is_drawn(flaws):
    dataset = EXPERIMENT.run(Config(width=16, grid=16, frequencies=(3, 5), steps=4, records=2), seeds=1)
    assert np.isinf(dataset.predicted_time).all()
    assert (dataset.predicted_time > 0).all()
    assert not flaws(EXPERIMENT.plot(dataset), curves=False)


@pytest.mark.exhaustive
def test_the_circle_is_the_data_that_theory_is_about(flaws):
    """The Gram matrix of the grid has N lambda_k, so that one step contracts by 1 - eta N lambda_k."""
    config = Config(width=4096, grid=32, frequencies=(2,), steps=1, records=2, horizon=1e-9)
    dataset = EXPERIMENT.run(config, seeds=3)
    draw = Circle(32, 4, frequency=2.0, amplitude=0.1).sample(jax.random.key(0))
    assert draw.train.x.shape == (32, 2)
    learned = dataset.fit.isel(step=-1, frequency=0, amplitude=0)
    steps = int(dataset.step[-1])
    when = float(dataset.predicted_time[0])
    assert learned.mean() == pytest.approx(1 - 0.1 ** (steps / when), rel=0.05)
    for time in (dataset.predicted_time, np.inf * dataset.predicted_time):  # what is never learned, too
        assert_is_drawn_and_finite(dataset.assign(predicted_time=time), flaws)


@pytest.mark.parametrize(
    ("preset", "change", "sentence"),
    [
        ("small", {"frequencies": (2, 32)}, "frequencies must be below grid / 2 = 32, got 32"),
        ("small", {"frequencies": ()}, "frequencies must not be empty"),
        ("small", {"width": 3}, "doubled networks need even widths, got 3"),
        ("small", {"amplitudes": (1.0, 0.5)}, "amplitudes must increase, got 1, 0.5"),
        ("small", {"rate": 2.0}, "rate must be a finite number above 0 and below 2, got 2.0"),
        ("kernels", {"widths": (8,)}, "give at least two widths, to show a rate"),
        ("learning_curves", {"sizes": (8,)}, "give at least two sizes, to show a rate"),
        ("learning_curves", {"frequencies": (3,)}, "frequencies is for regular true, got frequencies=3 and"),
        ("learning_curves", {"regular": True, "draws": 5}, "draws is for regular false, got draws=5 and"),
        ("hypercube", {"cube_dim": 2}, "degrees must be at most cube_dim=2, got 3"),
        ("distillation", {"num_images": 20}, "support must be at most num_images=20, got 50"),
        ("ensemble", {"times": (20, 10)}, "times must increase, got 20, 10"),
    ],
)
def test_refusals(preset, change, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(PRESETS[preset], **change)


FIRST = {"trained": "first"}
OLD = FIRST | {"steps": 50, "records": 5, "batch_size": 0, "width": 32, "widths": [8, 16], "draws": 7}
OLD |= {"frequencies": [3], "sizes": [4, 8], "depth": 2, "learning_rate": 0.1, "alias_biases": True}


@pytest.mark.parametrize(
    ("given", "setting", "fields"),
    [
        (
            {},
            "SpectralBias",
            {"steps": 50, "records": 5, "width": 32, "trained": "first", "frequencies": (3,)},
        ),
        ({"part": "kernels"}, "KernelConvergence", {"widths": (8, 16), "draws": 7}),
        ({"part": "width"}, "Width", {"widths": (8, 16), "steps": 50} | FIRST),
        ({"part": "linear"}, "Linear", {"width": 32, "steps": 50, "records": 5} | FIRST),
        (
            {"part": "ensemble", "times": [0, 9]},
            "Ensemble",
            {"width": 32, "times": (0, 9), "trained": "first"},
        ),
        ({"part": "sphere"}, "Sphere", FIRST),
        ({"part": "learning_curves"}, "LearningCurves", {"sizes": (4, 8), "draws": 7} | FIRST),
        (
            {"part": "learning_curves", "regular": True},
            "LearningCurves",
            {"sizes": (4, 8), "regular": True, "frequencies": (3,)} | FIRST,
        ),
        ({"part": "hypercube"}, "Hypercube", {"sizes": (4, 8), "depth": 2}),
        (
            {"part": "distillation"},
            "Distillation",
            {"steps": 50, "records": 5, "depth": 2, "learning_rate": 0.1},
        ),
    ],
)
def test_results_of_when_there_was_one_setting_are_read(given, setting, fields):
    for name in (None, "Config"):
        config = EXPERIMENT.read(OLD | given, name)
        assert config == EXPERIMENT.configs[setting](**fields)
    with pytest.raises(ValueError, match="no part 'eigenfeatures' any more"):
        EXPERIMENT.read(OLD | {"part": "eigenfeatures"})


@pytest.mark.exhaustive
def test_regular_grids_have_a_table_of_one_seed(tiny):
    dataset = tiny("learning_curves", regular=True)
    assert EXPERIMENT.summary(dataset) == EXPERIMENT.summary(dataset.isel(seed=[1]))
    head, *rows = EXPERIMENT.summary(dataset).splitlines()
    assert head.split()[:3] == ["frequency", "n=4", "n=8"]
    assert [row.split()[0] for row in rows] == ["2", "4", "6", "8"]


def test_the_time_of_a_smooth_curve_is_known_better_than_its_records():
    """exp(-t/T) passes a tenth at T log 10 wherever it is recorded; what bends lies between its secants."""
    for steps in (np.array([0, 10, 100, 300, 400.0]), np.array([0, 150, 200, 260, 300.0])):
        low, high = falls_between(steps, np.exp(-steps / 100), 0.1)
        np.testing.assert_allclose([low, high], 100 * np.log(10), rtol=1e-12)
    for power in (0.5, 2.0):
        rest = np.exp(-((np.arange(0, 400, 20.0) / 100) ** power))
        low, high = falls_between(np.arange(0, 400, 20.0), rest, 0.1)
        exact = 100 * np.log(10) ** (1 / power)
        if exact < 380:
            assert low <= exact <= high < low + 20
    steps = np.array([0, 50, 100.0])
    assert falls_between(steps, np.array([1, 0.5, 0.05]), 0.1) == (50, 100)  # nothing after it
    assert falls_between(steps, np.array([1, 0.05, 0.01]), 0.1) == (0, 50)  # nothing before it
    assert falls_between(steps, np.array([1, 0.5, 0.2]), 0.1) == (100, np.inf)
    assert falls_between(steps, np.array([0.05, 0.01, 0.0]), 0.1) == (0, 0)


def test_times_of_frequencies_between_two_records_decide_what_they_can():
    claim = {claim.id: claim for claim in EXPERIMENT.claims}["X5-times"]

    def judged(steps, time, expected=100.0):
        """Learned as exp(-t), to a tenth at `time`."""
        fit = (1 - 0.1 ** (np.asarray(steps) / time)) * np.ones((4, 1, 2, 1))
        dims = ("frequency", "amplitude", "seed", "step")
        coords = {"frequency": [2, 4, 6, 8], "amplitude": [0.1], "seed": [0, 1], "step": steps}
        predicted = ("frequency", np.full(4, expected))
        made = xr.Dataset({"fit": (dims, fit), "predicted_time": predicted}, coords)
        return judge(claim, {"circle": Run(PRESETS["small"], made)})

    assert judged([0, 40, 80, 150, 200], 105).holds is True
    assert judged([0, 40, 80, 150, 200], 115).holds is False
    assert judged([0, 200], 105).holds is None
    assert judged([0, 95, 108], 105).holds is True  # wherever between the last two
    assert judged([0, 60, 105], 200).holds is None  # not yet
    assert judged([0, 60, 120], 200).holds is False  # too late, whenever it will be
    for time in (105, np.inf):  # learned or not, where the theory says never
        never = judged([0, 40, 80, 150, 200], time, np.inf)
        assert (never.holds, never.measured) == (False, 1.0)
    found = judged([0, 200], 105)
    assert "--records" in found.needs
    np.testing.assert_allclose(found.per_seed, [0.05, 0.05], rtol=1e-9)
