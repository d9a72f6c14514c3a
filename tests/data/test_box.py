"""A box belongs to the data: images have theirs, floats of a file have none unless one is asked for."""

import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import experiments, save
from dynamics.cli import main
from dynamics.data import box as boxes
from dynamics.data.coarse import BinaryClasses
from dynamics.data.images import load
from dynamics.data.shared import Shared
from dynamics.data.spiked import Spiked
from dynamics.engine.stages import Stages
from dynamics.keys import named_key, seed_key
from dynamics.parts import describe

RNG = np.random.default_rng(0)
COUNT, SIDE = 24, 4
LABELS = np.arange(COUNT) % 2
FLOATS = RNG.normal(size=(COUNT, SIDE**2))
FILES = {
    "floats": FLOATS,
    "floats in the unit interval": RNG.uniform(size=(COUNT, SIDE**2)),
    "bytes": RNG.integers(0, 256, (COUNT, SIDE, SIDE), dtype=np.uint8),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, x in FILES.items():
        np.savez(folder / f"{name}.npz", x=x, y=LABELS)
    return folder


# --- what is refused, in one sentence ---

FLOAT32 = np.linspace(-0.3, 0.3, 7, dtype=np.float32)


@pytest.mark.parametrize("box", [(-0.3, 0.3), (-0.30001, 1.0), (-np.inf, 0.3)])
def test_a_box_holds_what_rounding_moved(box):
    boxes.refuse_outside(FLOAT32, box, "inputs")
    boxes.refuse_outside(jnp.asarray(FLOAT32), box, "inputs")


@pytest.mark.parametrize(
    ("box", "wrong"),
    [
        ((0.0, 1.0), "reach 0.3 below 0; give"),
        ((-1.0, 0.2), "reach 0.1 above 0.2; give"),
        ((-0.1, 0.1), "box [-0.1, 0.1] that was asked for, but reach 0.2 below -0.1 and 0.2 above 0.1; give"),
        ((-0.3, 0.29999), "reach 1e-05 above 0.29999"),
        ((-np.inf, 0.2), "box [-inf, 0.2] that was asked for, but reach 0.1 above 0.2"),
    ],
)
def test_inputs_outside_are_refused_with_the_distance(box, wrong):
    for x in (FLOAT32, FLOAT32.astype(float), jnp.asarray(FLOAT32)):
        with pytest.raises(ValueError, match="inputs must lie in the box") as caught:
            boxes.refuse_outside(x, box, "inputs")
        assert wrong in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("box", [(1.0,), (1.0, 0.0), (0.5, 0.5), (0.0, 1.0, 2.0)])
def test_what_is_no_box_is_refused(box):
    with pytest.raises(ValueError, match="two numbers LOW,HIGH with LOW below HIGH, got ") as caught:
        boxes.asked(box, of_file=True, where="data='a.npz'")
    assert "\n" not in str(caught.value)


# --- experiments ---

# settings by experiment, of every part that attacks what a file holds
CASES = {
    "feature_averaging": [
        {"setting": "Images", "hidden": (4,), "num_samples": 8, "num_test": 8, "num_points": 4,
         "radii": (0.0, 1.0), "train_radius": 0.1}
    ],
    "robust_feature_learning": [
        {"num_samples": 4, "num_test": 8, "attack": attack} for attack in ("one_step", "pgd")
    ],
    "clean_generalization_robust_overfitting": [
        {"num_samples": (8,), "num_test": 8, "num_points": 4, "width": (4,), "radius": 0.1}
    ],
    "ntk_eigenfeatures": [
        {"setting": "ImageFeatures", "num_samples": 8, "num_test": 8, "features": (0,), "kept": (1,)},
        {"setting": "ImageEvolution", "network": "standard", "num_samples": 8, "num_test": 8,
         "kernel_points": 4},
    ],
    "kernels_data_physics": [
        {"num_images": 12, "num_test_images": 8, "support": (4, 12)},
    ],
    "robust_data_distillation": [
        {"num_samples": 8, "num_test": 8, "num_support": 4, "batch_size": 0},
        {"setting": "Networks", "arms": ("adv_kip",), "num_samples": 8, "num_test": 8, "num_support": 4,
         "batch_size": 0, "widths": (4,)},
        {"setting": "Rescaling", "num_samples": 8, "num_test": 8, "num_support": 8},
    ],
}  # fmt: skip
CLASSES = ("ntk_eigenfeatures",)


def boxes_within(value):
    """All boxes in a description of parts."""
    if isinstance(value, dict):
        value = list(value.items())
    if not isinstance(value, list | tuple):
        return []
    if len(value) == 2 and value[0] == "box" and not isinstance(value[1], dict):  # a parameter of that name
        return [value[1]]
    return [found for item in value for found in boxes_within(item)]


def of_file(name, setting=None, **settings):
    """A config of the experiment's setting of that name, or the first that reads files."""
    found = experiments.get(name).configs
    first = next(key for key, one in found.items() if "box" in one.__dataclass_fields__)
    return found[setting or first](**settings)


def first_jobs(name, settings, data, box=()):
    experiment = experiments.get(name)
    if name in CLASSES:
        settings = settings | {"classes": (0, 1)}
    config = of_file(name, data=str(data), box=box, **settings)
    return Stages(experiment.train, config, experiment.arms).jobs.values()


@pytest.mark.parametrize(
    ("file", "asked", "box"),
    [
        ("floats", (), None),
        ("floats in the unit interval", (), None),
        ("floats in the unit interval", (0.0, 1.0), [0.0, 1.0]),
        ("floats", (-6.0, 7.0), [-6.0, 7.0]),
        ("bytes", (), [0.0, 1.0]),
    ],
)
@pytest.mark.parametrize(("name", "settings"), [(name, case) for name in CASES for case in CASES[name]])
def test_every_attack_and_support_keeps_to_the_box_of_the_data(files, name, settings, file, asked, box):
    jobs = first_jobs(name, settings, files / f"{file}.npz", asked)
    attacks = []
    for job in jobs:
        assert boxes.of(job.problem.data) == (None if box is None else tuple(box))
        attacks += boxes_within(describe((job.problem.adversary, job.observed)))
        attacks += boxes_within(describe(job.descent.recipe)) if box is not None else []
        if "support" in str(describe(job.descent.recipe)):
            assert box is not None, "a support without a box is not held in one"
    assert attacks or (box is None and name == "kernels_data_physics")
    assert all(found == box for found in attacks), attacks


@pytest.mark.parametrize("name", CASES)
def test_settings_of_the_box_are_refused_where_they_mean_nothing(files, name):
    experiment, settings = experiments.get(name), CASES[name][0]
    settings = settings | ({"classes": (0, 1)} if name in CLASSES else {})
    path = str(files / "floats.npz")
    with pytest.raises(ValueError, match="must lie in the box") as caught:
        Stages(experiment.train, of_file(name, data=path, box=(0.0, 1.0), **settings))
    assert path in str(caught.value)
    with pytest.raises(ValueError, match="LOW below HIGH, got 1,0"):
        of_file(name, data=path, box=(1.0, 0.0), **settings)
    with pytest.raises(ValueError, match="box must be a finite number"):
        of_file(name, data=path, box=(0.0, np.inf), **settings)
    with pytest.raises(ValueError, match="box is for the inputs of a data file, and there is none with"):
        of_file(name, data="digits", box=(0.0, 1.0), **settings)
    if name not in ("kernels_data_physics", "robust_data_distillation"):
        with pytest.raises(ValueError, match="box is for the inputs of a data file"):
            of_file(name, box=(0.0, 1.0))


def test_data_made_of_others_keep_their_box(files):
    data = load(files / "bytes.npz", num_train=8, num_test=8)
    assert data.box == Shared(BinaryClasses(data)).box == (0.0, 1.0)
    assert boxes.of(Shared(Spiked(num_samples=2, num_test=2))) is None


# --- the right value ---


@pytest.mark.exhaustive
def test_robust_accuracy_of_gaussian_features_is_that_of_attacks_without_a_box(tmp_path):
    """Of the linear kernel, whose predictor FGSM moves by its l1 norm times the radius."""
    y, slope = np.arange(80) % 2, np.linspace(0.2, 1.6, 12)
    x = np.random.default_rng(0).normal(size=(80, 12)) + (2 * y - 1)[:, None] * slope[None]
    np.savez(tmp_path / "a.npz", x=x, y=y)
    experiment, radius, kept = experiments.get("ntk_eigenfeatures"), 1.0, (1, 12)
    config = experiment.configs["ImageFeatures"](
        data=str(tmp_path / "a.npz"), classes=(0, 1), num_samples=40, num_test=40, kernel="linear", kept=kept,
        features=(), times=(), radius=radius,
    )  # fmt: skip
    dataset = experiment.run(config, seeds=1)
    found = dataset.kept_robust.values[0]
    draw = load(config.data, num_train=40, num_test=40).sample(named_key(seed_key(0), "data"))
    train, label, test, sign = map(np.asarray, (draw.train.x, draw.train.y, draw.test.x, draw.test.y))
    values, vectors = np.linalg.eigh(train @ train.T)
    for count, accuracy in zip(kept, found, strict=True):
        w = train.T @ (vectors[:, -count:] / values[-count:]) @ (vectors[:, -count:].T @ label)
        assert accuracy == pytest.approx(np.mean(sign * (test @ w) > radius * np.abs(w).sum()))
    # of the last of them, all features, the box of images would hide much
    moved = np.clip(test - radius * sign[:, None] * np.sign(w), np.minimum(test, 0), np.maximum(test, 1))
    assert np.mean(sign * (moved @ w) > 0) > accuracy + 0.1
    # and what is kept is drawn and reported where the file is no more
    (tmp_path / "a.npz").unlink()
    save(dataset, tmp_path / "result.nc")
    assert main(["plot", str(tmp_path)]) == 0
    assert (tmp_path / "overview.png").exists()
    assert main(["report", str(tmp_path)]) == 0
