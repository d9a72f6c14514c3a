"""The setting of Li & Li 2025, arXiv:2410.08503: patches that carry a robust or a non-robust feature."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from dynamics import observables as o
from dynamics.adversary import FGSM, PGD, FeatureFlip, FeaturePlant, FeatureShift, GradientStep
from dynamics.data.patches import Labels, RobustNonRobust
from dynamics.data.shared import Shared
from dynamics.engine.stages import Training
from dynamics.laws.robust_feature_learning import PatchFeatures
from dynamics.models.activations import Activation
from dynamics.models.handmade import PureFeatures
from dynamics.models.patch_cnn import PatchCNN
from dynamics.parts import Axis
from dynamics.problem import Problem
from dynamics.study.config import TrainingConfig, setting

OfPatches = Literal[
    "relu", "leaky_relu", "smoothed_relu", "gelu", "erf", "linear", "quadratic", "odd_power", "relu_power"
]
POWERS = ["smoothed_relu", "odd_power", "relu_power"]
ATTACKED, BY_PGD = {"training": ["adversarial", "both"]}, {"attack": ["pgd"]}
ALIKE = {"noise": [0], "spread": [0], "shuffle": [False], "norm": ["max-l2"]}


@dataclass(frozen=True, kw_only=True)
class Compared(TrainingConfig):
    """What all settings share: networks that are trained plainly, adversarially, or one of each."""

    training: Literal["standard", "adversarial", "both"] = setting(
        "both", "training: on the data, on attacked data, or one network of each"
    )
    num_test: int = setting(12, "test samples", low=1)
    test_radius: float | None = setting(None, "radius of the evaluation's attacks; none: `radius`", low=0)

    @property
    def evaluation_radius(self) -> float:
        """Radius of the evaluation's attacks."""
        return self.radius if self.test_radius is None else self.test_radius

    @property
    def arms(self) -> tuple[str, ...]:
        """The kinds of training asked for."""
        return ("standard", "adversarial") if self.training == "both" else (self.training,)


@dataclass(frozen=True, kw_only=True)
class Patches(Compared):
    """Patch data with robust and non-robust features, trained plainly or adversarially."""

    dim: int = setting(16, "patch dimension d; num_features is 2k", low="num_features")
    num_classes: int = setting(4, "classes k", low=2)
    num_samples: int = setting(12, "training samples N", low=1)
    labels: Labels = setting("balanced", "classes in turn, or drawn")
    num_robust: int = setting(1, "patches S with the robust feature", low=1)
    num_nonrobust: int = setting(120, "patches P_N with the non-robust feature", low=1)
    robust_strength: float = setting(1.0, "strength alpha of the robust feature", low=0)
    nonrobust_strength: float = setting(0.3, "strength beta of the non-robust feature", low=0)
    spread: float = setting(0.0, "spread r of strengths over patches, in [1-r, 1+r]", low=0, high=1)
    noise: float = setting(0.03, "noise sigma_n, standard deviation per coordinate", low=0)
    shuffle: bool = setting(False, "put the patches of each sample in a random order")
    compact: bool = setting(
        False,
        "one patch of each kind, counted S and P_N times",
        of=ALIKE | {"attack": ["one_step", "pgd", "oracle"]},
    )
    width: int = setting(16, "neurons m of each class", low=1)
    activation: OfPatches = setting("smoothed_relu", "activation")
    power: float = setting(3.0, "power q of the activation", low=1, of={"activation": POWERS})
    threshold: float = setting(1.0, "knee rho", above=0, of={"activation": ["smoothed_relu"]})
    start: Literal["random", "robust", "nonrobust"] = setting(
        "random", "initial weights: random, or one family's features (times start_size)"
    )
    init_scale: float = setting(
        0.05, "initial standard deviation sigma_0 of the weights", low=0, of={"start": ["random"]}
    )
    start_size: float = setting(
        0.5, "size c of such features", above=0, of={"start": ["robust", "nonrobust"]}
    )
    learning_rate: float = 0.6
    steps: int = 1200
    radius: float = setting(0.3, "radius eps of training, l2 of each patch", low=0)
    radii: tuple[float, ...] = setting(
        (), "radii of training, side by side; none given: `radius`", low=0, increasing=True,
        of={"training": ["adversarial"]},
    )  # fmt: skip
    attack: Literal["one_step", "gradient", "pgd", "oracle"] = setting(
        "one_step", "training attack: a normalised step, the gradient's, pgd, oracle"
    )
    span: Literal["all", "features"] = setting(
        "features", "directions that it may take", of={"attack": ["one_step", "gradient", "pgd"]}
    )
    norm: Literal["max-l2", "l2", "linf"] = setting(
        "max-l2", "ball of the attacks: each patch in l2, the whole input in l2, or linf"
    )
    attack_steps: int = setting(4, "PGD steps of training", low=1, of=BY_PGD)
    random_start: bool = setting(False, "start them at random", of=BY_PGD)
    warm_start: bool = setting(
        False, "start them at the last ones' end", of=BY_PGD | {"random_start": [False], "batch_size": [0]}
    )
    gradient_step: float = setting(
        100.0, "multiple of the gradient taken", low=0, of={"attack": ["gradient"]}
    )
    adversarial_weight: float = setting(
        1.0, "share lambda of the loss on attacked data", low=0, high=1, of=ATTACKED
    )
    test_steps: int = setting(20, "PGD steps of the evaluation; 0: single steps only", low=0)
    curve_radii: tuple[float, ...] = setting(
        (), "radii of the flip and plant curves; none: no curves", low=0, increasing=True
    )
    keep_weights: bool = setting(False, "keep final weights and features in the result")
    records: int = 24

    def check(self) -> None:
        """Refuse a ball that leaves the span of features to an attack that must not."""
        super().check()
        if self.norm == "linf" and self.span == "features":
            raise ValueError(
                "norm linf leaves the span of features: it needs span='all', not attack='oracle'"
            )

    @property
    def num_features(self) -> int:
        """Features, which are orthonormal: two a class."""
        return 2 * self.num_classes

    @property
    def sizes(self) -> PatchFeatures:
        """What the laws depend on."""
        return self.into(PatchFeatures)

    @property
    def follows_recursion(self) -> bool:
        """Whether the early growth is that of the closed form."""
        smooth = self.activation == "smoothed_relu" and self.power > 2 and not self.spread
        return smooth and self.is_gradient_descent and not self.batch_size

    def jobs(self) -> Training:
        """A network of each kind of training asked for; dimension `training` tells them apart."""
        always, end = observed(self)
        how = {"observe": always, "observe_end": end}
        return {training: self.job(problem(self, training), **how) for training in self.arms}


SMALL = Patches()
PRESETS = {
    "small": SMALL,
    # with ten classes one normalised step overfits: robust to itself, and to nothing else
    "paper": replace(
        SMALL, num_classes=10, dim=40, num_samples=20, num_test=20, num_nonrobust=300, steps=2500,
        nonrobust_strength=0.25, attack="pgd",
    ),
    "crossing": replace(
        SMALL, training="adversarial", attack="oracle", noise=0.01, test_steps=0,
        radii=(0.0, 0.03, 0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.21, 0.24, 0.3),
    ),
    "full_attack": replace(SMALL, training="adversarial", attack="pgd", span="all", steps=1500),
}  # fmt: skip


def training_attack(config: Patches) -> Any:
    """The adversary of training."""
    radius = Axis("train_radius", config.radii) if config.radii else config.radius
    ball = {"norm": config.norm, "span": config.span}
    if config.attack == "one_step":
        return FGSM(radius, **ball)
    if config.attack == "gradient":
        return GradientStep(radius, config.gradient_step, **ball)
    if config.attack == "pgd":
        begin = {"random_start": config.random_start, "warm_start": config.warm_start}
        return PGD(radius, steps=config.attack_steps, **begin, **ball)
    return FeatureShift(radius, stop=True)


def problem(config: Patches, training: str) -> Problem:
    """The problem of one kind of training."""
    counts = (config.num_robust, config.num_nonrobust) if config.compact else ()
    source = config.into(RobustNonRobust, **({"num_robust": 1, "num_nonrobust": 1} if counts else {}))
    activation = config.into(Activation, name=config.activation)
    start = None
    if config.start != "random":
        start = PureFeatures(config.start_size, ("robust", "nonrobust").index(config.start))
    attack = training_attack(config) if training == "adversarial" else None
    mixes = attack is not None and config.adversarial_weight < 1
    return Problem(
        Shared(source) if config.shared_data else source,
        PatchCNN(config.width, config.num_classes, activation=activation, counts=counts),
        loss="cross_entropy",
        init_scale=config.init_scale,
        adversary=attack,
        adversarial_weight=config.adversarial_weight if mixes else None,
        start=start,
    )


def observed(config: Patches) -> tuple[dict, dict]:
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
