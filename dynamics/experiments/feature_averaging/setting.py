"""Do neurons average the cluster centres, and do finer labels decouple them?

Li, Pan, Lyu & Li 2025, "Feature Averaging: An Implicit Bias of Gradient Descent Leading to
Non-Robustness in Neural Networks", arXiv:2410.10322.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from dynamics import Job, Problem, data
from dynamics import observables as o
from dynamics.adversary import PGD
from dynamics.adversary.certificates import MAX_PIECES
from dynamics.data import box as boxes
from dynamics.data import clusters
from dynamics.laws import feature_averaging as laws
from dynamics.models import MLP, Activation, Mixed, TwoLayer
from dynamics.models.activations import ActivationName
from dynamics.problem.readouts import Readout
from dynamics.study.config import TrainingConfig, setting
from dynamics.study.images import OnImages

_MOST_PAIRS = 2**12  # of pieces, where their number doubles with every neuron
FINE = {"supervision": ["fine", "both"]}


@dataclass(frozen=True, kw_only=True)
class Supervised(TrainingConfig):
    """What both settings share: networks that see binary labels, finer ones, or one of each."""

    supervision: Literal["binary", "fine", "both"] = setting("both", "labels trained on")
    num_samples: int = setting(1000, "training samples n", low=1)
    num_test: int = setting(1000, "test samples", low=1)
    num_points: int = setting(100, "test points that PGD attacks (certificates: all)", low=1, high="num_test")
    learning_rate: float = 3e-3
    train_radius: float = setting(0.0, "l2 radius of adversarial training; 0: standard", low=0)
    train_attack_steps: int = setting(5, "PGD steps of adversarial training", low=1)
    readout: Readout = setting("max_logit", "binary readout of the fine network", of=FINE)
    attack_steps: int = setting(40, "PGD steps of the robustness evaluation; 0: certificates only", low=0)
    radii: tuple[float, ...] = setting(
        (), "l2 radii of the evaluation; none given: 21 up to 0.8 R", low=0, increasing=True
    )

    @property
    def evaluation_radii(self) -> tuple[float, ...]:
        """Radii of the robustness evaluation."""
        return self.radii or tuple(np.linspace(0, 0.8 * self.norm, 21).tolist())

    def trains(self, supervision: str) -> bool:
        """Whether this config trains the network of that supervision."""
        return self.supervision in (supervision, "both")


@dataclass(frozen=True, kw_only=True)
class Clusters(Supervised):
    """Cluster data and a two-layer network, labels coarse or fine."""

    dim: int = setting(1024, "input dimension d", low=2)
    num_clusters: int = setting(10, "clusters k", low=2, high="dim")
    num_positive: int | None = setting(
        None, "clusters labelled +1, |J+|; none: half", low=1, below="num_clusters"
    )
    num_labels: int | None = setting(None, "fine labels G; none: one a cluster", low=2, high="num_clusters")
    centre_norm: float | None = setting(None, "norm R of the centres; none: sqrt(d)", above=0)
    noise: float = setting(1.0, "noise sigma, standard deviation per coordinate", low=0)
    correlation: float = setting(0.0, "cosine of every two centres", above="least_correlation", below=1)
    width: int = setting(5, "neurons m of each sign (binary network)", low=1)
    group_width: int = setting(1, "neurons h of each class (fine network)", low=1, of=FINE)
    activation: ActivationName = setting("relu", "activation")
    power: float = setting(
        3.0, "its power p or q", low=1,
        of={"activation": ["prelu", "smoothed_relu", "odd_power", "relu_power"]},
    )  # fmt: skip
    second_layer: Literal["fixed", "balanced"] = setting(
        "fixed", "output weights: fixed, or trained from the size of the neurons' weights"
    )
    use_bias: bool = setting(True, "train biases of the binary network; the fine one has none")
    init_scale: float = setting(
        1e-5, "initial standard deviation sigma_w of the weights", low=0, of={"start": ["random"]}
    )
    init_bias: float = setting(
        1e-5, "initial standard deviation sigma_b of the biases", low=0, of={"use_bias": [True]}
    )
    start: Literal["random", "mixed"] = setting(
        "random", "initial weights: random, or a mixture of averages and centres",
        of={"supervision": ["fine"], "num_labels": [None]},
    )  # fmt: skip
    mixing: float = setting(
        0.5, "its mixing t: 0 decoupled, 1 averaging", low=0, high=1, of={"start": ["mixed"]}
    )

    @property
    def least_correlation(self) -> float:
        """-1/(k-1), the cosine of the corners of a simplex."""
        return -1 / (self.num_clusters - 1)

    @property
    def signs(self) -> tuple[int, ...]:
        """Binary label of each cluster."""
        return clusters.balanced_signs(self.num_clusters, self.num_positive or (self.num_clusters + 1) // 2)

    @property
    def labels(self) -> int:
        """Number G of fine labels."""
        return self.num_labels or self.num_clusters

    @property
    def classes(self) -> tuple[int, ...]:
        """Fine label of each cluster."""
        return clusters.granular_classes(self.signs, self.labels)

    @property
    def positive_labels(self) -> int:
        """How many fine labels are positive."""
        return len({c for c, sign in zip(self.classes, self.signs, strict=True) if sign == 1})

    @property
    def norm(self) -> float:
        """Norm R of the centres."""
        return self.centre_norm or math.sqrt(self.dim)

    @property
    def sizes(self) -> laws.Clusters:
        """What the laws depend on."""
        return self.into(laws.Clusters, centre_norm=self.norm)

    @property
    def source(self) -> data.Clusters:
        """The data distribution."""
        return self.into(data.Clusters, centre_norm=self.norm, signs=self.signs, classes=self.classes)

    def model(self, binary: bool, classes: int) -> tuple[TwoLayer, dict[str, float]]:
        """The network of one supervision, and the scale of its initial weights."""
        activation = Activation(self.activation, power=self.power)
        size = (self.width, 1, self.use_bias) if binary else (self.group_width, classes, False)
        scale = {"W": self.init_scale} | ({"b": self.init_bias} if size[2] else {})
        balanced = self.second_layer == "balanced"
        if balanced:
            scale["a"] = size[0] * self.init_scale * math.sqrt(self.dim)
        return TwoLayer(*size, train_output=balanced, activation=activation), scale


@dataclass(frozen=True, kw_only=True)
class Images(OnImages, Supervised):
    """Images and a multilayer network, labels odd or even, or all classes."""

    data: str = "mnist"
    num_labels: Literal[2] | None = setting(None, "labels of the fine network: 2; none: all classes")
    hidden: tuple[int, ...] = setting((512,), "hidden widths", low=1)
    num_samples: int = 4000
    readout: Readout = "softmax_group"
    radii: tuple[float, ...] = setting(
        (0.0, 0.4, 0.8, 1.2, 1.6, 2.0), "l2 radii of the evaluation", low=0, filled=True, increasing=True
    )

    def check(self) -> None:
        """Refuse to ask for more images than there are."""
        super().check()
        self.ask_for({"num_samples": self.num_samples, "num_test": self.num_test})

    @property
    def source(self) -> Any:
        """The data distribution."""
        size = {"num_train": self.num_samples, "num_test": self.num_test}
        source = data.load(self.data, box=self.box, **size)
        return data.BinaryClasses(source) if self.num_labels == 2 else source

    def model(self, binary: bool, classes: int) -> tuple[MLP, dict[str, float]]:
        """The network of one supervision, and the scale of its initial weights."""
        return MLP(self.hidden, 1 if binary else classes), {}


SMALL = Clusters()
EARLY = replace(
    SMALL, dim=256, num_clusters=4, num_samples=400, num_test=200, width=4, use_bias=False, init_scale=1e-4,
    learning_rate=4e-5, steps=250, attack_steps=0,
)  # fmt: skip
_IMAGES = Images(
    descent="adam", learning_rate=1e-3, batch_size=100, steps=1500, num_points=500, attack_steps=20,
    records=16,
)  # fmt: skip
PRESETS = {
    "small": SMALL,
    "early": EARLY,
    "paper": replace(SMALL, dim=3072, learning_rate=1e-3, radii=(*range(0, 12, 4), *range(12, 46, 2))),
    "mnist": _IMAGES,
    "digits": replace(
        _IMAGES, data="digits", num_samples=1200, num_test=500, hidden=(256,),
        radii=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8),
    ),
}  # fmt: skip


def certifies(config: Supervised, supervision: str, readout: str) -> bool:
    """Whether a run has this readout's certified radius: on clusters, of ReLU, while there are few pieces."""
    plain = isinstance(config, Clusters) and config.activation == "relu" and config.second_layer == "fixed"
    if not plain or (supervision == "fine" and readout == "softmax_group"):
        return False
    if supervision == "binary":
        return 4**config.width <= _MOST_PAIRS
    if readout == "sum_logit":
        return 2 ** (config.labels * config.group_width) <= _MOST_PAIRS
    pieces = config.labels * (2**config.group_width - 1)
    return pieces * (pieces + 1) <= MAX_PIECES


def problem(config: Supervised, supervision: str) -> Problem:
    """The problem of one supervision: a single logit for `binary`, a logit a class for `fine`."""
    source, binary = config.source, supervision == "binary"
    classes = config.labels if isinstance(config, Clusters) else len(source.class_signs)
    model, scale = config.model(binary, classes)
    attack = None
    if config.train_radius:
        size = {"norm": "l2", "steps": config.train_attack_steps, "box": boxes.of(source)}
        attack = PGD(config.train_radius, **size)
    mixed = isinstance(config, Clusters) and config.start == "mixed"
    return Problem(
        data.Shared(source) if config.shared_data else source,
        model,
        loss="logistic" if binary else "cross_entropy",
        readout=config.readout,
        init_scale=scale,
        adversary=attack,
        start=Mixed(config.mixing) if mixed else None,
    )


def observed(config: Supervised, supervision: str, box: boxes.Box = None) -> tuple[dict, dict]:
    """What is recorded at every recording time, and at the end; attacks keep to the data's box."""
    always = ["training_loss", "train_accuracy", "test_accuracy", "smallest_margin"]
    always += ["class_accuracy"] if supervision == "fine" else []
    end = ["margins", "point_feature"]
    if isinstance(config, Clusters):
        always += ["alignment", "projection", "bias", "averaging_residual", "neuron_norm"]
        end += ["own", "off_span", "coefficients", "activation_pattern", "dead"]
    always, end = ({name: getattr(o, name) for name in names} for names in (always, end))
    return always, end | _robustness(config, supervision, box)


def _robustness(config: Supervised, supervision: str, box: boxes.Box) -> dict:
    binary = supervision == "binary"
    end = {}
    for readout in [config.readout] if binary else dict.fromkeys([config.readout, "sum_logit"]):
        if certifies(config, supervision, readout):
            positive = config.width if binary else config.positive_labels * config.group_width
            given = {"num_positive": positive, "readout": readout}
            suffix = "" if readout == config.readout else f"_{readout}"
            end[f"certified_radius{suffix}"] = o.certified_radius.given(**given)
            end[f"attained_radius{suffix}"] = o.attained_radius.given(**given)
    if config.attack_steps:
        radii = jnp.asarray(config.evaluation_radii, float)
        given = {"radius": radii, "num_points": config.num_points, "box": box}
        end["universal_accuracy"] = o.universal_accuracy.given(**given)
        given["steps"] = config.attack_steps
        end["pgd_accuracy"] = o.pgd_accuracy.given(**given)
        if not binary:
            for readout in sorted({"max_logit", "softmax_group", "sum_logit"} - {config.readout}):
                end[f"pgd_accuracy_{readout}"] = o.pgd_accuracy.given(**given, readout=readout)
            end["pgd_accuracy_training_loss"] = o.pgd_accuracy.given(**given, loss="training")
    return end


def train(config: Supervised) -> dict[str, Job]:
    """The network of each supervision asked for; dimension `supervision` tells them apart."""
    how = {"steps": config.steps, "when": config.recording_times(), "batch_size": config.batch_size or None}

    def job(supervision):
        trained = problem(config, supervision)
        always, end = observed(config, supervision, boxes.of(trained.data))
        return Job(trained, config.update_rule, observe=always, observe_end=end, **how)

    return {supervision: job(supervision) for supervision in ("binary", "fine") if config.trains(supervision)}


def old(values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Setting and fields of a result from when both settings were one."""
    if values.get("data", "clusters") != "clusters":
        return Images.of_old(values, "num_labels")
    if values.get("start") == "decoupled":
        values = values | {"start": "mixed", "mixing": 0.0}
    return Clusters.of_old(values, "num_positive", "num_labels", "centre_norm")
