"""Claims about the NTK's eigenfeatures hold over seeds and their ablations break them; other settings run."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy.optimize import brentq

from dynamics import experiments, load, save
from dynamics.experiments.ntk_eigenfeatures import setting as module
from dynamics.keys import named_key, seed_key
from dynamics.models.ntk_mlp import NTKNetwork
from dynamics.problem import Problem
from dynamics.problem.starts import Pair
from dynamics.study.claim import Run
from dynamics.sweep import grid as grids
from dynamics.sweep.figures import Shown
from dynamics.sweep.run import joined
from kernels import closed_form

EXPERIMENT = experiments.get("ntk_eigenfeatures")
PRESETS = EXPERIMENT.presets
IDS = [claim.id for claim in EXPERIMENT.claims]
SEEDS = 4
SHORT = ["A7-spectrum", "A7-radius"]
LONG = [claim for claim in IDS if claim not in SHORT]
TINY = {"num_samples": 30, "num_test": 20, "nonrobust_dim": 6, "features": (0, 1, 5), "kept": (1, 2, 30)}


@pytest.fixture(scope="module")
def short(check):
    return check("ntk_eigenfeatures", SEEDS, SHORT)


@pytest.fixture(scope="module")
def long(check):
    return check("ntk_eigenfeatures", SEEDS, LONG)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_exit_code_says_that_every_claim_holds(short):
    done, verdicts = short
    assert list(verdicts) == SHORT
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("claim", LONG)
def test_claim_of_long_runs_holds_and_its_ablation_does_not(long, claim):
    verdict = long[1][claim]
    assert verdict["holds"], verdict
    assert verdict["ablation"]["holds"] is False, verdict


# --- the numbers of a run


def draw_of(config, seed):
    return jax.jit(config.source.sample)(named_key(seed_key(seed), "data"))


@pytest.fixture(scope="module")
def tiny():
    """A run, and its config."""
    config = module.Features(**TINY, times=(2.0,), ridges=(0.1,))
    return config, EXPERIMENT.run(config, seeds=[1, 3])


def test_a_saved_run_is_drawn_tabled_and_judged(tiny, tmp_path, flaws):
    config, dataset = tiny
    save(dataset, tmp_path / "result.nc")
    saved = load(tmp_path / "result.nc")
    assert EXPERIMENT.config_of(saved) == config
    drawn = EXPERIMENT.draw(saved)
    assert "overview" in drawn
    assert not [flaw for figure in drawn.values() for flaw in flaws(figure, curves=False)]
    assert EXPERIMENT.summary(saved).splitlines()[0].split()[0] == "feature"
    assert EXPERIMENT.judge(saved) == []  # which is no setting of a claim
    claim = {claim.id: claim for claim in EXPERIMENT.claims}["C3-full-clean"]
    np.testing.assert_array_equal(claim.quantity(Run(config, saved)), dataset.kept_clean.isel(kept=-1))


def test_the_ledger_against_plain_numpy(tiny):
    """Each number of the features part, by solve and by a loop over features and points."""
    config, found = tiny[0], tiny[1].sel(seed=3)
    with jax.enable_x64(True):
        draw = draw_of(config, 3)
        x, y, at, labels = (np.asarray(v) for v in (draw.train.x, draw.train.y, draw.test.x, draw.test.y))

        kernel = jax.jit(lambda a, b: closed_form.deep(a, b).ntk)

        def k(a, b):
            return np.asarray(kernel(jnp.asarray(a), jnp.asarray(b)))

        def slope(f, p):
            rows = [(f(p + h) - f(p - h)) / 2e-6 for h in 1e-6 * np.eye(p.shape[1])]
            return np.stack(rows, axis=1)

        def accuracies(alpha):
            def f(p):
                return k(p, x) @ alpha

            moved = at - config.radius * labels[:, None] * np.sign(slope(f, at))
            worst = np.minimum(labels * f(at), labels * f(moved))
            return (labels * f(at) > 0).mean(), (worst > 0).mean()

        gram = k(x, x)
        values, vectors = np.linalg.eigh(gram)
        values, vectors = values[::-1], vectors[:, ::-1]
        np.testing.assert_allclose(found.eigenvalues, values, rtol=1e-9)
        for i in config.features:
            alpha = vectors[:, i] * (vectors[:, i] @ y) / values[i]
            clean, robust = accuracies(alpha)
            assert float(found.usefulness.sel(mode=i)) == pytest.approx(clean)
            assert float(found.robustness.sel(feature=i)) == pytest.approx(robust)
        top = values[0]
        filters = {
            "kept": (config.kept, lambda n: (np.arange(30) < n) / values),
            "time": (config.times, lambda t: (1 - np.exp(-t * values / top)) / values),
            "ridge": (config.ridges, lambda r: 1 / (values + r * top)),
        }
        for name, (numbers, share) in filters.items():
            for number in numbers:
                clean, robust = accuracies(vectors @ (share(number) * (vectors.T @ y)))
                assert float(found[f"{name}_clean"].sel({name: number})) == pytest.approx(clean)
                assert float(found[f"{name}_robust"].sel({name: number})) == pytest.approx(robust)


@pytest.mark.exhaustive
def test_flip_radii_by_a_root_finder():
    found = EXPERIMENT.run(module.Centres(clusters=(3, 6), dim=10, bias_std=0.2), seeds=2)
    with jax.enable_x64(True):
        for k in (3, 6):
            centres = np.sqrt(10) * np.eye(10)[:k]
            signs = np.where(np.arange(k) % 2 == 0, 1.0, -1.0)

            def ntk(a, b):
                return np.asarray(closed_form.deep(jnp.asarray(a), jnp.asarray(b), bias_std=0.2).ntk)

            alpha = np.linalg.solve(ntk(centres, centres), signs)
            unit = signs @ centres / np.linalg.norm(signs @ centres)

            def height(r, centres=centres, unit=unit, alpha=alpha, ntk=ntk):
                return (ntk(centres[:1] - r * np.sqrt(10) * unit[None], centres) @ alpha)[0]

            np.testing.assert_allclose(
                found.flip_radius.sel(num_clusters=k), brentq(height, 0, 2, xtol=1e-12), atol=1e-9
            )


@pytest.mark.exhaustive
def test_networks_beside_the_kernel_and_attacks_across():
    config = module.Networks(**TINY | {"nonrobust_dim": 4}, net_width=8, times=(1, 4))
    found = EXPERIMENT.run(config, seeds=1)
    assert found.net_robust.dims == ("seed", "time")
    assert (found.net_robust <= found.net_clean + 1e-12).all()
    sizes = {"num_samples": 30, "num_test": 20, "nonrobust_dim": 4}
    wide = module.Width(**sizes, widths=(32,), radii=(0.0, 0.3), steps=20)
    found = EXPERIMENT.run(wide, seeds=[5])
    still = found.attacked_accuracy.sel(radius=0.0)
    np.testing.assert_allclose(still, found.clean_accuracy.sel(learner="network").broadcast_like(still))
    assert (found.gradient_cosine.isel(width=-1) > 0.3).all()
    assert EXPERIMENT.plot(found).get_axes()
    assert "gradient cosine" in EXPERIMENT.summary(found)


@pytest.mark.exhaustive
@pytest.mark.parametrize("seed", [pytest.param(17, marks=pytest.mark.exhaustive), 2**32 - 1])
def test_the_first_of_two_networks_is_that_of_any_run_of_the_seed(seed):
    source = module.Features(**TINY).source
    key = seed_key(seed)

    def weights(start):
        problem = Problem(source, NTKNetwork(4), start=start)
        params = jax.jit(problem.init)(named_key(key, "init"), named_key(key, "data"))
        return np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)])

    first, second = (weights(Pair(seed, number)) for number in (0, 1))
    np.testing.assert_array_equal(first, weights(None))
    assert not np.isclose(first, second).all()


@pytest.mark.exhaustive
def test_the_kernel_while_training(flaws):
    config = module.Evolution(
        num_samples=20, num_test=20, nonrobust_dim=4, kernel_points=6, hidden=8, steps=4, records=3,
        train_steps=2,
    )  # fmt: skip
    found = EXPERIMENT.run(config, seeds=2)
    assert found.kernel_attacked.sizes["row"] == 6
    assert found.training.values.tolist() == ["standard", "fgsm", "pgd"]
    first = found.isel(step=0).sel(training="standard").kernel_clean
    assert np.allclose(first, found.isel(step=0).sel(training="pgd").kernel_clean)
    for name in ("overview", "distances"):
        assert not flaws(EXPERIMENT.draw(found, [name])[name], curves=False)
    lazy = EXPERIMENT.run(dataclasses.replace(config, network="lazy", doubled=True), seeds=1)
    np.testing.assert_allclose(lazy.training_loss.isel(step=0), np.log(2), rtol=1e-6)  # it starts at 0


@pytest.mark.exhaustive
def test_images_and_other_kernels(flaws):
    config = dataclasses.replace(
        PRESETS["digits"], num_samples=60, num_test=30, kept=(1, 60), features=(0, 1), times=(1.0,),
        kernel="erf",
        compare=("relu 2", "linear", "rbf"), attack_steps=2, norm="l2",
    )  # fmt: skip
    found = EXPERIMENT.run(config, seeds=2)
    assert found.other.values.tolist() == ["relu 2", "linear", "rbf"]
    assert (found.overlap <= 1 + 1e-9).all()
    assert (found.kept_clean.isel(kept=-1) > 0.9).all()
    for name in ("overview", "architectures", "gradients"):
        assert not flaws(EXPERIMENT.draw(found, [name])[name], curves=False)
    assert EXPERIMENT.summary(found).splitlines()[0].split() == ["feature", "eigenvalue", "useful", "robust"]


@pytest.mark.parametrize(
    ("setting", "given", "sentence"),
    [
        ("Features", {"robust_dim": 0, "nonrobust_dim": 0}, "must not both be 0"),
        ("Features", {"num_samples": 100}, "features must be below num_samples=100, got 390"),
        ("Features", {"num_samples": 395}, "kept must be at most num_samples=395, got 400"),
        ("Features", {"kept": (2, 1)}, "kept must increase"),
        ("Features", {"compare": ("relu 9",)}, "compare must be one of linear, rbf, relu 1"),
        ("Features", {"kernel": "rbf", "depth": 2}, "depth is for kernel 'relu' or 'erf' or 'leaky_relu'"),
        ("ImageFeatures", {"classes": (3, 3)}, "classes must be different values"),
        ("ImageFeatures", {"classes": (1, 2, 3)}, "classes must be two labels, got 3"),
        ("Networks", {"net_width": 3}, "even width"),
        ("Networks", {"depth": 2}, "a doubled network needs depth 1"),
        ("Networks", {"kernel": "rbf"}, "kernel must be one of relu, erf"),
        ("Networks", {"times": (0.5,)}, "times must be an integer"),
        ("Networks", {"times": ()}, "times must not be empty"),
        ("Width", {"widths": ()}, "widths must not be empty"),
        ("Width", {"widths": (3,)}, "even width"),
        ("Evolution", {"batch_size": 500}, "batch_size must be at most"),
        ("Evolution", {"kernel_points": 500}, "kernel_points must be at most"),
        ("Evolution", {"network": "cnn"}, "network must be one of standard, lazy"),
        ("Evolution", {"doubled": True}, "doubled is for network 'lazy'"),
        ("Centres", {"dim": 32}, "clusters must be at most dim=32"),
    ],
)
def test_bad_configs_are_refused_in_one_sentence(setting, given, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        EXPERIMENT.configs[setting](**given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("then", "setting", "now"),
    [
        ({"part": "features", "kept": [1, 2], "widths": [3]}, "Features", {"kept": (1, 2)}),
        ({"part": "features", "kernel": "rbf", "depth": 3}, "Features", {"kernel": "rbf"}),
        ({"data": "digits", "box": [], "classes": [1, 2], "features": [0], "kept": [1], "robust_dim": 0},
         "ImageFeatures", {"data": "digits", "classes": (1, 2), "features": (0,), "kept": (1,)}),
        ({"net_width": 16, "times": [1.0, 10.0], "steps": 3}, "Networks",
         {"net_width": 16, "times": (1, 10)}),
        ({"part": "width", "doubled": False, "radius": 0.3}, "Width", {"doubled": False}),
        ({"part": "evolution", "doubled": True, "network": "standard", "hidden": 8}, "Evolution",
         {"hidden": 8}),
        ({"part": "evolution", "doubled": True, "network": "lazy"}, "Evolution",
         {"doubled": True, "network": "lazy"}),
        ({"part": "evolution", "data": "mnist", "network": "cnn", "steps": 5}, "ImageEvolution",
         {"steps": 5}),
        ({"part": "clusters", "bias_std": 0.1, "dim": 64, "data": "mnist"}, "Centres",
         {"bias_std": 0.1, "dim": 64}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("written", [None, "Config"])
def test_results_of_parts_are_read(written, then, setting, now):
    assert EXPERIMENT.read(then, written) == EXPERIMENT.configs[setting](**now)


def test_a_part_that_is_no_more_says_so():
    with pytest.raises(ValueError, match="networks of growing width on images"):
        EXPERIMENT.read({"part": "width", "data": "mnist"})


def test_every_claim_names_runs_that_exist_and_can_be_decided():
    for claim in EXPERIMENT.claims:
        for name in claim.runs:
            dataclasses.replace(EXPERIMENT.claims.runs[name].config, **claim.ablation.change)
    assert {c.id for c in EXPERIMENT.claims if c.applies is not None and c.applies(PRESETS["small"])} == {
        "C2-rank",
        "C3-full-clean",
        "C3-full-robust",
    }


def test_a_sweep_shows_the_predictor_with_the_most_features(tiny):
    config, dataset = tiny
    grid = grids.make(config, {"radius": [0.0, 0.1]})
    other = dataset.assign(kept_robust=dataset.kept_robust / 2)
    swept = EXPERIMENT.signed(joined(grid, {0: dataset, 1: other}), config)
    clean, robust = (one.quantity(swept) for one in Shown(EXPERIMENT, swept).quantities)
    np.testing.assert_array_equal(clean, swept.kept_clean.sel(kept=30))
    np.testing.assert_array_equal(robust, swept.kept_robust.sel(kept=30))
    assert not np.array_equal(robust, swept.kept_robust.sel(kept=1))


@pytest.mark.parametrize(
    ("change", "applies"),
    [
        ({}, True),
        ({"num_test": 1000, "ridges": (0.1,)}, True),
        ({"num_samples": 200, "kept": (2, 200), "features": (0, 1, 2)}, True),
        ({"num_samples": 50, "kept": (2, 50), "features": (0, 1, 2)}, False),
        ({"random_labels": True}, False),
        ({"kernel": "linear"}, False),
        ({"norm": "l2"}, False),
        ({"attack_steps": 10}, False),
        ({"nonrobust_noise": 0.4}, False),
    ],
)
def test_bands_that_were_measured_are_of_that_setting(change, applies):
    claims = {claim.id: claim for claim in EXPERIMENT.claims}
    config = dataclasses.replace(PRESETS["small"], **change)
    assert claims["C3-full-clean"].applies(config) is applies
    assert claims["C2-rank"].applies(config) is applies


def test_few_test_points_decide_nothing():
    claims = {claim.id: claim for claim in EXPERIMENT.claims}
    for id in ("C2-rank", "C3-full-clean", "C3-full-robust"):
        few, enough = (
            Run(dataclasses.replace(PRESETS["small"], num_test=count), xr.Dataset()) for count in (99, 100)
        )
        assert claims[id].needs(few) == "at least 100 test points (num_test)"
        assert claims[id].needs(enough) == ""
    few = Run(dataclasses.replace(PRESETS["small"], features=(0, 1, 2)), xr.Dataset())
    assert claims["C2-rank"].needs(few) == "at least 12 features (features)"
