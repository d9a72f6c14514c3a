"""Do neurons average the cluster centres, and do finer labels decouple them?

Li, Pan, Lyu & Li 2025, "Feature Averaging: An Implicit Bias of Gradient Descent Leading to
Non-Robustness in Neural Networks", arXiv:2410.10322.
"""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax.numpy as jnp
import numpy as np

from dynamics import observables
from dynamics.adversary import PGD
from dynamics.adversary.certificates import MAX_PIECES
from dynamics.data import box as boxes
from dynamics.data import clusters
from dynamics.data.clusters import Clusters
from dynamics.data.coarse import BinaryClasses
from dynamics.data.shared import Shared
from dynamics.data.shipped import SHIPPED_COUNTS
from dynamics.engine.job import Job
from dynamics.laws import feature_averaging as laws
from dynamics.models import handmade
from dynamics.models.activations import Activation, ActivationName
from dynamics.models.mlp import MLP
from dynamics.models.two_layer import TwoLayer
from dynamics.problem import Problem
from dynamics.problem.readouts import Readout
from dynamics.study.config import TrainingConfig, setting

_MOST_PAIRS = 2**12  # of pieces, where their number doubles with every neuron


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Cluster data (or images), a two-layer network (or an MLP), labels coarse or fine."""

    data: str = setting("clusters", "clusters, mnist, digits, or a path of image or feature files")
    box: tuple[float, ...] = setting((), boxes.ABOUT, low=-boxes.FARTHEST, high=boxes.FARTHEST)
    supervision: Literal["binary", "fine", "both"] = setting("both", "labels trained on")
    dim: int = setting(1024, "input dimension d (clusters)", low=2)
    num_clusters: int = setting(10, "clusters k", low=2)
    num_positive: int = setting(0, "clusters labelled +1, |J+|; 0: half", low=0)
    num_labels: int = setting(0, "fine labels G; 0: one a cluster", low=0)
    num_samples: int = setting(1000, "training samples n", low=1)
    num_test: int = setting(1000, "test samples", low=1)
    num_points: int = setting(
        100, "test points attacked by PGD (certificates take all)", low=1, high="num_test"
    )
    centre_norm: float = setting(0.0, "norm R of the centres; 0: sqrt(d)", low=0)
    noise: float = setting(1.0, "noise sigma, standard deviation per coordinate", low=0)
    correlation: float = setting(0.0, "cosine of every two centres", above=-1, below=1)
    image_labels: Literal["odd", "first_half"] = setting("odd", "image classes labelled +1")
    model: Literal["two_layer", "mlp"] = setting("two_layer", "network")
    width: int = setting(5, "neurons m of each sign (binary network)", low=1)
    group_width: int = setting(1, "neurons h of each class (fine network)", low=1)
    hidden: tuple[int, ...] = setting((512,), "hidden widths (mlp)", low=1)
    activation: ActivationName = setting("relu", "activation (two_layer)")
    power: float = setting(3.0, "power p of prelu, q of smoothed_relu", low=1)
    use_bias: bool = setting(True, "train biases (binary two_layer; the fine one has none)")
    train_output: bool = setting(False, "train the second layer too (two_layer)")
    init_scale: float = setting(1e-5, "initial standard deviation sigma_w of the weights (two_layer)", low=0)
    init_bias: float = setting(1e-5, "initial standard deviation sigma_b of the biases (two_layer)", low=0)
    learning_rate: float = setting(3e-3, "step size eta", above=0)
    start: Literal["random", "averaging", "decoupled", "mixed"] = setting(
        "random", "initial weights: random, or written down (averaging: binary; decoupled, mixed: fine)"
    )
    mixing: float = setting(0.5, "mixing t of the start `mixed`: 0 decoupled, 1 averaging", low=0, high=1)
    train_radius: float = setting(0.0, "l2 radius of adversarial training; 0: standard", low=0)
    train_attack_steps: int = setting(5, "PGD steps of adversarial training", low=1)
    readout: Readout = setting("max_logit", "binary readout of the fine network")
    attack_steps: int = setting(40, "PGD steps of the robustness evaluation; 0: certificates only", low=0)
    radii: tuple[float, ...] = setting(
        (), "l2 radii of the evaluation; none given: 21 up to 0.8 R", low=0, increasing=True
    )
    keep_weights: bool = setting(False, "keep final weights and features in the result")

    def check(self) -> None:
        """Refuse what does not fit together."""
        super().check()
        of_file = self.on_images and self.data not in SHIPPED_COUNTS
        boxes.asked(self.box, of_file=of_file, where=f"data={self.data!r}")
        if self.on_images:
            self._check_images()
        elif self.model == "mlp":
            raise ValueError(
                "model 'mlp' has no neurons to align with cluster centres; use it with image data"
            )
        elif self.num_clusters > self.dim:
            raise ValueError(
                "orthogonal clusters need num_clusters <= dim, "
                f"got num_clusters={self.num_clusters} and dim={self.dim}"
            )
        elif self.num_positive >= self.num_clusters:
            raise ValueError(
                f"num_positive must be below num_clusters={self.num_clusters}, got {self.num_positive}"
            )
        else:
            clusters.granular_classes(self.signs, self.num_labels or self.num_clusters)
            low = -1 / (self.num_clusters - 1)
            if self.correlation <= low:
                raise ValueError(f"correlation must be above -1/(k-1) = {low:.4g}, got {self.correlation}")
        if self.start != "random":
            self._check_start()

    def _check_start(self) -> None:
        if self.model == "mlp" or self.supervision != ("binary" if self.start == "averaging" else "fine"):
            raise ValueError(
                "start 'averaging' needs supervision 'binary', 'decoupled' and 'mixed' need 'fine', all need "
                f"model 'two_layer'; got start={self.start!r}, supervision={self.supervision!r}, "
                f"model={self.model!r}"
            )
        if self.start != "averaging" and self.num_labels not in (0, self.num_clusters):
            raise ValueError(
                f"start {self.start!r} needs one label a cluster, got num_labels={self.num_labels}"
            )

    def _check_images(self) -> None:
        if self.num_labels not in (0, 2):
            raise ValueError(
                f"num_labels must be 0 (all classes) or 2 (binary labels) on images, got {self.num_labels}"
            )
        shipped = SHIPPED_COUNTS.get(self.data)
        if shipped is None and not Path(self.data).exists():
            raise ValueError(f"data must be clusters, mnist, digits or an existing path, got {self.data!r}")
        if shipped is not None and self.num_samples + self.num_test > shipped:
            raise ValueError(
                f"num_samples + num_test must be at most the {shipped} images of {self.data}, "
                f"got {self.num_samples} + {self.num_test}"
            )

    @property
    def on_images(self) -> bool:
        """Whether the data are images rather than clusters."""
        return self.data != "clusters"

    @property
    def signs(self) -> tuple[int, ...]:
        """Binary label of each cluster."""
        return clusters.balanced_signs(self.num_clusters, self.num_positive or (self.num_clusters + 1) // 2)

    @property
    def labels(self) -> int:
        """Number G of fine labels."""
        return self.num_labels or self.num_clusters

    @property
    def norm(self) -> float:
        """Norm R of the centres."""
        return self.centre_norm or math.sqrt(self.dim)

    @property
    def sizes(self) -> laws.Clusters:
        """What the laws depend on."""
        return laws.Clusters(self.dim, self.num_clusters, self.num_samples, self.norm, self.noise)

    @property
    def evaluation_radii(self) -> tuple[float, ...]:
        """Radii of the robustness evaluation."""
        return self.radii or tuple(np.linspace(0, 0.8 * self.norm, 21).tolist())

    def trains(self, supervision: str) -> bool:
        """Whether this config trains the network of that supervision."""
        return self.supervision in (supervision, "both")


_SYNTHETIC = Config()
_IMAGES = Config(
    data="mnist",
    model="mlp",
    descent="adam",
    learning_rate=1e-3,
    batch_size=100,
    steps=1500,
    num_samples=4000,
    num_test=1000,
    num_points=500,
    readout="softmax_group",
    attack_steps=20,
    radii=(0.0, 0.4, 0.8, 1.2, 1.6, 2.0),
    records=16,
)
_PAPER_RADII = (*range(0, 12, 4), *range(12, 46, 2))
PRESETS = {
    "small": _SYNTHETIC,
    "paper": dataclasses.replace(_SYNTHETIC, dim=3072, learning_rate=1e-3, radii=_PAPER_RADII),
    "mnist": _IMAGES,
    "digits": dataclasses.replace(
        _IMAGES,
        data="digits",
        num_samples=1200,
        num_test=500,
        hidden=(256,),
        radii=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8),
    ),
}


def positive_labels(config: Config) -> int:
    """How many fine labels are positive."""
    classes = clusters.granular_classes(config.signs, config.labels)
    return len({c for c, sign in zip(classes, config.signs, strict=True) if sign == 1})


def certifies(config: Config, supervision: str, readout: str) -> bool:
    """Whether a run has this readout's certified radius: on the plain network, while there are few pieces."""
    plain = config.model == "two_layer" and config.activation == "relu" and not config.train_output
    if config.on_images or not plain or (supervision == "fine" and readout == "softmax_group"):
        return False
    if supervision == "binary":
        return 4**config.width <= _MOST_PAIRS
    if readout == "sum_logit":
        return 2 ** (config.labels * config.group_width) <= _MOST_PAIRS
    pieces = config.labels * (2**config.group_width - 1)
    return pieces * (pieces + 1) <= MAX_PIECES


def data(config: Config):
    """The data distribution."""
    if config.on_images:
        from dynamics.data import images

        source = images.load(
            config.data, num_train=config.num_samples, num_test=config.num_test, signs=config.image_labels,
            box=config.box,
        )  # fmt: skip
        return BinaryClasses(source) if config.num_labels == 2 else source
    return Clusters(
        dim=config.dim,
        num_clusters=config.num_clusters,
        num_samples=config.num_samples,
        num_test=config.num_test,
        signs=config.signs,
        classes=clusters.granular_classes(config.signs, config.labels),
        centre_norm=config.norm,
        noise=config.noise,
        correlation=config.correlation,
    )


def problem(config: Config, supervision: str) -> Problem:
    """The problem of one supervision: a single logit for `binary`, a logit a class for `fine`."""
    source = data(config)
    binary = supervision == "binary"
    classes = len(source.class_signs) if config.on_images else config.labels
    scale = {}
    if config.model == "mlp":
        model = MLP(config.hidden, 1 if binary else classes)
    else:
        model = TwoLayer(
            width=config.width if binary else config.group_width,
            num_outputs=1 if binary else classes,
            use_bias=config.use_bias and binary,
            train_output=config.train_output,
            activation=Activation(config.activation, power=config.power),
        )
        scale = {"W": config.init_scale} | ({"b": config.init_bias} if model.use_bias else {})
    attack = None
    if config.train_radius:
        size = {"norm": "l2", "steps": config.train_attack_steps, "box": boxes.of(source)}
        attack = PGD(config.train_radius, **size)
    start = None
    if config.start != "random":
        mixing = config.mixing if config.start == "mixed" else 0.0
        start = handmade.Averaging() if config.start == "averaging" else handmade.Mixed(mixing)
    return Problem(
        Shared(source) if config.shared_data else source,
        model,
        loss="logistic" if binary else "cross_entropy",
        readout=config.readout,
        init_scale=scale,
        adversary=attack,
        start=start,
    )


def observed(config: Config, supervision: str, box: boxes.Box = None) -> tuple[dict, dict]:
    """What is recorded at every recording time, and at the end; attacks keep to the data's box."""
    o = observables
    always = {
        "training_loss": o.training_loss,
        "train_accuracy": o.train_accuracy,
        "test_accuracy": o.test_accuracy,
        "smallest_margin": o.smallest_margin,
    }
    end = {"margins": o.margins, "point_feature": o.point_feature}
    if supervision == "fine":
        always["class_accuracy"] = o.class_accuracy
    if config.model == "two_layer":
        always |= {"alignment": o.alignment, "projection": o.projection, "bias": o.bias}
        always |= {"averaging_residual": o.averaging_residual, "neuron_norm": o.neuron_norm}
        end |= {"own": o.own, "off_span": o.off_span, "coefficients": o.coefficients}
        end |= {"activation_pattern": o.activation_pattern, "dead": o.dead}
        if config.keep_weights:
            end |= {"weights": o.weights, "features": o.features}
    return always, end | _robustness(config, supervision, box)


def _robustness(config: Config, supervision: str, box: boxes.Box) -> dict:
    o, points = observables, config.num_points
    binary = supervision == "binary"
    end = {}
    positive = config.width if binary else positive_labels(config) * config.group_width
    for readout in [config.readout] if binary else dict.fromkeys([config.readout, "sum_logit"]):
        if certifies(config, supervision, readout):
            given = {"num_positive": positive, "readout": readout}
            suffix = "" if readout == config.readout else f"_{readout}"
            end[f"certified_radius{suffix}"] = o.certified_radius.given(**given)
            end[f"attained_radius{suffix}"] = o.attained_radius.given(**given)
    if config.attack_steps:
        given = {"radius": jnp.asarray(config.evaluation_radii, float), "num_points": points, "box": box}
        end["universal_accuracy"] = o.universal_accuracy.given(**given)
        given["steps"] = config.attack_steps
        end["pgd_accuracy"] = o.pgd_accuracy.given(**given)
        if not binary:
            others = {"max_logit", "softmax_group", "sum_logit"} - {config.readout}
            for readout in sorted(others):
                end[f"pgd_accuracy_{readout}"] = o.pgd_accuracy.given(**given, readout=readout)
            end["pgd_accuracy_training_loss"] = o.pgd_accuracy.given(**given, loss="training")
    return end


def train(config: Config) -> dict[str, Job]:
    """The network of each supervision asked for; dimension `supervision` tells them apart."""

    def job(supervision):
        trained = problem(config, supervision)
        always, end = observed(config, supervision, boxes.of(trained.data))
        return Job(
            trained,
            config.update_rule,
            steps=config.steps,
            observe=always,
            observe_end=end,
            when=config.recording_times(),
            batch_size=config.batch_size or None,
        )

    arms = ("binary", "fine") if config.supervision == "both" else (config.supervision,)
    return {supervision: job(supervision) for supervision in arms}
