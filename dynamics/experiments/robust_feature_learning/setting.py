"""Does standard training learn dense weak features, and adversarial training the sparse strong ones?

Li & Li 2025, "Adversarial Training Can Provably Improve Robustness: Theoretical Analysis of Feature
Learning Process Under Structured Data", arXiv:2410.08503.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dynamics import keys
from dynamics import observables as o
from dynamics.adversary import FGSM, PGD, FeatureFlip, FeaturePlant, FeatureShift, GradientStep
from dynamics.data import box as boxes
from dynamics.data.patches import Labels, RobustNonRobust
from dynamics.data.shared import Shared
from dynamics.data.shipped import SHIPPED_COUNTS
from dynamics.engine import stages
from dynamics.engine.job import Job
from dynamics.experiments.robust_feature_learning import images as image_part
from dynamics.laws.robust_feature_learning import PatchFeatures
from dynamics.models.activations import Activation, ActivationName
from dynamics.models.handmade import PureFeatures
from dynamics.models.patch_cnn import PatchCNN
from dynamics.parts import Axis
from dynamics.problem import Problem
from dynamics.study.config import TrainingConfig, setting

Training = Literal["standard", "adversarial", "both"]
Attack = Literal["one_step", "gradient", "pgd", "oracle"]


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Patch data with robust and non-robust features (or images), trained plainly or adversarially."""

    data: str = setting("patches", "patches, digits, mnist, or a path of image files")
    box: tuple[float, ...] = setting((), boxes.ABOUT, low=-boxes.FARTHEST, high=boxes.FARTHEST)
    training: Training = setting("both", "training: on the data, on attacked data, or one network of each")
    dim: int = setting(16, "patch dimension d (patches)", low=2)
    num_classes: int = setting(4, "classes k (patches)", low=2)
    num_samples: int = setting(12, "training samples N; of images, in each of the two halves", low=1)
    num_test: int = setting(12, "test samples", low=1)
    labels: Labels = setting("balanced", "classes in turn, or drawn")
    num_robust: int = setting(1, "patches S with the robust feature", low=1)
    num_nonrobust: int = setting(120, "patches P_N with the non-robust feature", low=1)
    robust_strength: float = setting(1.0, "strength alpha of the robust feature", low=0)
    nonrobust_strength: float = setting(0.3, "strength beta of the non-robust feature", low=0)
    spread: float = setting(0.0, "spread r of strengths over patches, in [1-r, 1+r]", low=0, high=1)
    noise: float = setting(0.03, "noise sigma_n, standard deviation per coordinate", low=0)
    shuffle: bool = setting(False, "put the patches of each sample in a random order")
    compact: bool = setting(False, "without noise: one patch of each kind, counted S and P_N times")
    width: int = setting(16, "neurons m of each class", low=1)
    activation: ActivationName = setting("smoothed_relu", "activation (patches)")
    power: float = setting(3.0, "power q of the activation", low=1)
    threshold: float = setting(1.0, "knee rho of smoothed_relu", above=0)
    init_scale: float = setting(0.05, "initial standard deviation sigma_0 of the weights (patches)", low=0)
    start: Literal["random", "robust", "nonrobust"] = setting(
        "random", "initial weights: random, or one family's features (times start_size)"
    )
    start_size: float = setting(0.5, "size c of weights that are features", above=0)
    learning_rate: float = setting(0.6, "step size eta", above=0)
    steps: int = setting(1200, "number of steps T", low=0)
    radius: float = setting(0.3, "radius eps of training: l2 of each patch (patches), linf (images)", low=0)
    radii: tuple[float, ...] = setting(
        (), "radii of training, side by side; none given: `radius`", low=0, increasing=True
    )
    attack: Attack = setting("one_step", "training attack: a normalised step, the gradient's, pgd, oracle")
    span: Literal["all", "features"] = setting("features", "directions that the training attack may take")
    norm: Literal["max-l2", "l2", "linf"] = setting(
        "max-l2", "ball of the attacks on patches: each patch in l2, the whole input in l2, or linf"
    )
    attack_steps: int = setting(4, "PGD steps of the training attack pgd", low=1)
    random_start: bool = setting(False, "start the training attack pgd at random (of images it always is)")
    warm_start: bool = setting(False, "start the training attack pgd where the last one ended (patches)")
    gradient_step: float = setting(100.0, "multiple of the gradient that the attack `gradient` takes", low=0)
    adversarial_weight: float = setting(1.0, "share lambda of the loss on attacked data", low=0, high=1)
    test_radius: float = setting(0.0, "radius of the evaluation's attacks; 0: `radius`", low=0)
    test_steps: int = setting(20, "PGD steps of the evaluation; 0: single steps only", low=0)
    curve_radii: tuple[float, ...] = setting(
        (), "radii of the flip and plant curves; none: no curves", low=0, increasing=True
    )
    hidden: int = setting(128, "hidden neurons (images)", low=1)
    rate_radius: float = setting(0.0, "radius of images' targeted examples; 0: twice `radius`", low=0)
    rate_steps: int = setting(30, "PGD steps of images' targeted examples", low=1)
    reference_seed: int = setting(
        0, "seed of the split and of the two reference networks (images)", low=0, high=keys.MOST
    )
    keep_weights: bool = setting(False, "keep final weights and features in the result")
    records: int = setting(24, "recording times", low=2)

    def check(self) -> None:
        """Refuse what does not fit together."""
        super().check()
        of_file = self.on_images and self.data not in SHIPPED_COUNTS
        boxes.asked(self.box, of_file=of_file, where=f"data={self.data!r}")
        if self.on_images:
            self._check_images()
        else:
            self._check_patches()
        if self.radii and self.training != "adversarial":
            raise ValueError(f"radii need training='adversarial', got training={self.training!r}")

    def _check_patches(self) -> None:
        if self.data != "patches" and not Path(self.data).exists():
            raise ValueError(f"data must be patches, digits, mnist or an existing path, got {self.data!r}")
        if 2 * self.num_classes > self.dim:
            raise ValueError(
                "orthonormal features need 2 * num_classes <= dim, "
                f"got num_classes={self.num_classes} and dim={self.dim}"
            )
        if self.activation == "prelu":
            raise ValueError("activation must be other than prelu on patches: prelu depends on norms")
        if self.norm == "linf" and (self.span == "features" or self.attack == "oracle"):
            raise ValueError(
                "norm linf leaves the span of features: it needs span='all', not attack='oracle'"
            )
        if self.warm_start and (self.random_start or self.batch_size):
            raise ValueError("warm_start needs full batches and random_start=false")
        if self.compact:
            if self.norm != "max-l2":
                raise ValueError(
                    f"compact needs norm='max-l2', in which patches are alike, got {self.norm!r}"
                )
            for name in ("noise", "spread", "shuffle"):
                if getattr(self, name):
                    raise ValueError(f"compact needs {name}=0, got {name}={getattr(self, name)}")
            if self.attack == "gradient":
                raise ValueError("compact does not go with attack='gradient', whose step counts patches")

    def _check_images(self) -> None:
        if self.radii or self.curve_radii:
            raise ValueError("radii and curve_radii are for data='patches'; of images, give one radius")
        if self.attack in ("oracle", "gradient") or self.start != "random" or self.compact:
            raise ValueError(
                "images have no known features: they need attack one_step or pgd, start random, no compact, "
                f"got attack={self.attack!r}, start={self.start!r}, compact={self.compact}"
            )
        if self.span != "all":
            raise ValueError("images need span='all': their features are not known")
        count = SHIPPED_COUNTS.get(self.data)
        if count is not None and 2 * self.num_samples + self.num_test > count:
            raise ValueError(
                f"2 * num_samples + num_test must be at most the {count} images of {self.data}, "
                f"got {self.num_samples} and {self.num_test}"
            )

    @property
    def on_images(self) -> bool:
        """Whether the data are images rather than patches."""
        return self.data in ("digits", "mnist") or (self.data != "patches" and Path(self.data).exists())

    @property
    def sizes(self) -> PatchFeatures:
        """What the laws depend on."""
        return PatchFeatures(
            self.num_classes,
            self.num_robust,
            self.num_nonrobust,
            self.robust_strength,
            self.nonrobust_strength,
            self.power,
            self.threshold,
            self.learning_rate,
        )

    @property
    def evaluation_radius(self) -> float:
        """Radius of the evaluation's attacks."""
        return self.test_radius or self.radius

    @property
    def follows_recursion(self) -> bool:
        """Whether the early growth is that of the closed form."""
        smooth = self.activation == "smoothed_relu" and self.power > 2 and not self.spread
        return smooth and self.is_gradient_descent and not self.batch_size and not self.on_images


_PATCHES = Config()
_IMAGES = Config(
    data="digits",
    num_samples=600,
    num_test=597,
    descent="adam",
    learning_rate=3e-3,
    batch_size=100,
    steps=1500,
    radius=0.15,
    attack="pgd",
    span="all",
    attack_steps=5,
    records=16,
)
_MNIST = dataclasses.replace(_IMAGES, data="mnist", num_samples=2000, num_test=1000, hidden=256)
PRESETS = {
    "small": _PATCHES,
    "paper": dataclasses.replace(
        _PATCHES,
        num_classes=10,
        dim=40,
        num_samples=20,
        num_test=20,
        num_nonrobust=300,
        nonrobust_strength=0.25,
        steps=2500,
        # with ten classes one normalised step overfits: robust to itself, and to nothing else
        attack="pgd",
    ),
    "crossing": dataclasses.replace(
        _PATCHES,
        training="adversarial",
        attack="oracle",
        noise=0.01,
        radii=(0.0, 0.03, 0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.21, 0.24, 0.3),
        test_steps=0,
    ),
    "full_attack": dataclasses.replace(
        _PATCHES, training="adversarial", attack="pgd", span="all", steps=1500
    ),
    "digits": _IMAGES,
    "mnist": _MNIST,
}


def data(config: Config) -> RobustNonRobust:
    """The patch distribution."""
    counts = (1, 1) if config.compact else (config.num_robust, config.num_nonrobust)
    return RobustNonRobust(
        dim=config.dim,
        num_classes=config.num_classes,
        num_samples=config.num_samples,
        num_test=config.num_test,
        num_robust=counts[0],
        num_nonrobust=counts[1],
        shuffle=config.shuffle,
        labels=config.labels,
        robust_strength=config.robust_strength,
        nonrobust_strength=config.nonrobust_strength,
        spread=config.spread,
        noise=config.noise,
    )


def training_attack(config: Config, box: boxes.Box = None) -> Any:
    """The adversary of training, which keeps to the box of images."""
    radius = Axis("train_radius", config.radii) if config.radii else config.radius
    if config.on_images:
        if config.attack == "one_step":
            return FGSM(radius, norm="linf", box=box)
        return PGD(radius, norm="linf", steps=config.attack_steps, box=box)
    ball = {"norm": config.norm, "span": config.span}
    if config.attack == "one_step":
        return FGSM(radius, **ball)
    if config.attack == "gradient":
        return GradientStep(radius, config.gradient_step, **ball)
    if config.attack == "pgd":
        begin = {"random_start": config.random_start, "warm_start": config.warm_start}
        return PGD(radius, steps=config.attack_steps, **begin, **ball)
    return FeatureShift(radius, stop=True)


def problem(config: Config, training: str) -> Problem:
    """The problem of one kind of training on patches."""
    source = data(config)
    start = None
    if config.start != "random":
        start = PureFeatures(config.start_size, ("robust", "nonrobust").index(config.start))
    adversarial = training == "adversarial"
    mixes = adversarial and config.adversarial_weight < 1
    return Problem(
        Shared(source) if config.shared_data else source,
        PatchCNN(
            config.width,
            config.num_classes,
            activation=Activation(config.activation, power=config.power, threshold=config.threshold),
            counts=(config.num_robust, config.num_nonrobust) if config.compact else (),
        ),
        loss="cross_entropy",
        init_scale=config.init_scale,
        adversary=training_attack(config) if adversarial else None,
        adversarial_weight=config.adversarial_weight if mixes else None,
        start=start,
    )


def observed(config: Config) -> tuple[dict, dict]:
    """What is recorded at every recording time, and at the end."""
    radius = config.evaluation_radius
    flip = FeatureFlip(radius)
    always = {
        "training_loss": o.training_loss,
        "accuracy": o.accuracy,
        "strength": o.feature_strength,
        "projection": o.projection,
        "flip_accuracy": o.robust_accuracy.given(attack=flip, objective="margin"),
    }
    for name, span in (("family", "features"), ("full", "all")):
        norm = "max-l2" if name == "family" and config.norm == "linf" else config.norm
        one = FGSM(radius, norm=norm, span=span)
        always[f"{name}_one_step_accuracy"] = o.robust_accuracy.given(attack=one)
        if config.test_steps:
            many = PGD(radius, norm=norm, steps=config.test_steps, random_start=False, span=span)
            always[f"{name}_pgd_accuracy"] = o.robust_accuracy.given(attack=many)
    end = {
        "own": o.own,
        "neuron_norm": o.neuron_norm,
        "off_span": o.off_span,
        "scores": o.test_patch_scores.given(family=(0, 1)),
        "flipped_scores": o.test_patch_scores.given(family=(0, 1), attack=flip),
    }
    if config.curve_radii:
        curve = {"radius": np.asarray(config.curve_radii), "objective": "margin"}
        end["flip_curve"] = o.robust_curve.given(attack=flip, **curve)
        end["plant_curve"] = o.robust_curve.given(attack=FeaturePlant(radius), **curve)
    if config.keep_weights:
        end |= {"weights": o.weights, "features": o.features}
    return always, end


def train(config: Config) -> stages.Training:
    """A network of each kind of training asked for; dimension `training` tells them apart."""
    if config.on_images:
        return image_part.train(config, lambda box: training_attack(config, box))
    always, end = observed(config)

    def job(training):
        return Job(
            problem(config, training),
            config.update_rule,
            steps=config.steps,
            observe=always,
            observe_end=end,
            when=config.recording_times(),
            batch_size=config.batch_size or None,
        )

    arms = ("standard", "adversarial") if config.training == "both" else (config.training,)
    return {training: job(training) for training in arms}
