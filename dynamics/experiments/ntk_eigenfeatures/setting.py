"""Eigenfeatures of the neural tangent kernel, which of them are robust, and how training moves them.

Tsilivis & Kempe 2022, arXiv:2210.05577. On data of a robust and a non-robust block, or on images: the
features of the kernel (`Features`, with networks beside them `Networks`), its attack on finite networks
(`Width`), the empirical kernel under standard and adversarial training (`Evolution`); and the kernel
interpolant of orthogonal centres (`Centres`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from dynamics import Job, PerSeed, Problem, results
from dynamics import observables as o
from dynamics.adversary import FGSM, PGD
from dynamics.data import Clusters, LabelledImages, Shared, Spiked, load
from dynamics.data import box as boxes
from dynamics.descent import named
from dynamics.engine.stages import Staged, Training, in_precision
from dynamics.experiments.ntk_eigenfeatures import transfer
from dynamics.models import MLP, Activation, NTKNetwork, SmallCNN
from dynamics.observables import eigenfeatures as kernel_part
from dynamics.study.config import Config, RunConfig, setting
from dynamics.study.images import OnImages

DEEP = ("relu", "erf", "leaky_relu")
KERNELS = {"linear": ("linear", 1), "rbf": ("rbf", 1)} | {
    f"{name} {depth}": (name, depth) for name in DEEP for depth in (1, 2, 3, 4, 5)
}
WEIGHT_STD = 2**0.5  # sigma_w
RISING = {"increasing": True}


@dataclass(frozen=True, kw_only=True)
class Blocks(Config):
    """Data of a robust and a non-robust block; symbols as in the paper."""

    num_samples: int = setting(400, "training samples n", low=2)
    num_test: int = setting(500, "test samples", low=1)
    robust_dim: int = setting(2, "coordinates d_r of the robust block", low=0)
    nonrobust_dim: int = setting(200, "coordinates d_n of the non-robust block", low=0)
    robust_mean: float = setting(1.0, "mean mu_r of the robust block")
    nonrobust_mean: float = setting(0.05, "mean mu_n of the non-robust block")
    robust_noise: float = setting(1.0, "standard deviation of the robust block", low=0)
    nonrobust_noise: float = setting(0.2, "standard deviation of the non-robust block", low=0)
    random_labels: bool = setting(False, "draw the labels anew, independent of the inputs")

    def check(self) -> None:
        """Refuse data without a coordinate."""
        super().check()
        self.into(Spiked)

    @property
    def source(self) -> Spiked:
        """The data distribution."""
        return self.into(Spiked)


@dataclass(frozen=True, kw_only=True)
class Images(OnImages):
    """Images of two classes."""

    data: str = "mnist"
    classes: tuple[int, ...] = setting((3, 8), "labels of the two classes, -1 and +1", low=0, distinct=True)
    num_samples: int = setting(600, "training samples n", low=2)
    num_test: int = setting(200, "test samples", low=1)

    def check(self) -> None:
        """Refuse what is no pair of classes."""
        super().check()
        if len(self.classes) != 2:
            raise ValueError(f"classes must be two labels, got {len(self.classes)}")

    @property
    def source(self) -> LabelledImages:
        """The data distribution."""
        size = {"num_train": self.num_samples, "num_test": self.num_test}
        return load(self.data, classes=self.classes, box=self.box, **size)


@dataclass(frozen=True, kw_only=True)
class Kernel(Config):
    """A kernel."""

    kernel: Literal[kernel_part.NAMES] = setting("relu", "the kernel: a network's activation, linear or rbf")
    depth: int = setting(1, "hidden layers of the network behind the kernel", low=1, of={"kernel": DEEP})
    bias_std: float = setting(0.1, "sigma_b", low=0)

    @property
    def kernel_function(self) -> Any:
        """The kernel as a function."""
        return kernel_part.kernel(self.kernel, self.depth, WEIGHT_STD, self.bias_std)


@dataclass(frozen=True, kw_only=True)
class Finite(Kernel):
    """Finite networks, whose kernel that is in the limit."""

    kernel: Literal["relu", "erf"] = setting("relu", "the kernel, by the networks' activation")
    doubled: bool = setting(True, "networks start at 0, by pairs of opposite neurons")

    def check(self) -> None:
        """Refuse networks that cannot start at 0."""
        super().check()
        for width in self.widths if isinstance(self, Width) else (self.net_width,):
            self.network(width)

    def network(self, width: int) -> NTKNetwork:
        """The network of some width."""
        return self.into(NTKNetwork, width=width, activation=Activation(self.kernel))


@dataclass(frozen=True, kw_only=True)
class Spectrum(Kernel):
    """The kernel's features, singly, added up and learned in time."""

    radius: float = setting(0.1, "radius epsilon of the attacks", low=0)
    norm: Literal["linf", "l2"] = setting("linf", "norm of the attacks' ball")
    attack_steps: int = setting(1, "steps of the attacks: 1 is FGSM", low=1)
    features: tuple[int, ...] = setting(
        (*range(12), 20, 40, 80, 150, 250, 390), "eigenfeatures whose robustness is measured, 0 the largest",
        low=0, below="num_samples", **RISING,
    )  # fmt: skip
    kept: tuple[int, ...] = setting(
        (1, 2, 3, 5, 10, 20, 50, 100, 400), "numbers of features kept", low=1, high="num_samples", **RISING
    )
    times: tuple[float, ...] = setting(
        (1, 3, 10, 30, 100, 300, 1000), "times t in units of 1/lambda_max", above=0, **RISING
    )
    ridges: tuple[float, ...] = setting((), "ridge strengths in units of lambda_max", above=0, **RISING)
    compare: tuple[Literal[tuple(KERNELS)], ...] = setting((), "kernels to compare with", distinct=True)


@dataclass(frozen=True, kw_only=True)
class Features(Spectrum, Blocks):
    """The kernel's features on two blocks."""


@dataclass(frozen=True, kw_only=True)
class ImageFeatures(Spectrum, Images):
    """The kernel's features on images."""


@dataclass(frozen=True, kw_only=True)
class Networks(Finite, Features):
    """The kernel's features on two blocks, and finite networks trained for the same times."""

    times: tuple[int, ...] = setting(
        (1, 3, 10, 30, 100, 300, 1000), "times t in units of 1/lambda_max, and steps of the networks",
        low=1, filled=True, **RISING,
    )  # fmt: skip
    net_width: int = setting(512, "width of the networks", low=1)


@dataclass(frozen=True, kw_only=True)
class Width(Finite, Blocks):
    """Attacks made from the kernel, on networks of growing width."""

    steps: int = setting(300, "steps of 1/lambda_max of the networks and of the kernel predictor", low=0)
    widths: tuple[int, ...] = setting((64, 256, 1024), "widths m", low=2, filled=True, **RISING)
    radii: tuple[float, ...] = setting((0.05, 0.1), "radii of attacks", low=0, filled=True, **RISING)


@dataclass(frozen=True, kw_only=True)
class Moving(RunConfig):
    """The empirical kernel under three kinds of training."""

    network: Literal["standard", "lazy"] = setting(
        "standard", "network: standard (He), or lazy (relu in NTK parametrisation)"
    )
    doubled: bool = setting(False, "it starts at 0, by pairs of opposite neurons", of={"network": ["lazy"]})
    hidden: int = setting(256, "its width", low=1)
    learning_rate: float = setting(0.1, "step size eta", above=0)
    radius: float = setting(0.1, "radius epsilon of the attacks", low=0)
    train_steps: int = setting(7, "PGD steps of adversarial training and of attacks", low=1)
    kernel_points: int = setting(100, "training points of the kernel", low=2, high="num_samples")


@dataclass(frozen=True, kw_only=True)
class Evolution(Moving, Blocks):
    """The empirical kernel while networks train on two blocks."""


@dataclass(frozen=True, kw_only=True)
class ImageEvolution(Moving, Images):
    """The empirical kernel while networks train on images."""

    network: Literal["standard", "lazy", "cnn"] = setting(
        "cnn", "network: standard (He), lazy (relu in NTK parametrisation), or convolutions (cnn)"
    )


@dataclass(frozen=True, kw_only=True)
class Centres(Kernel):
    """The kernel interpolant of orthogonal centres, alternately labelled."""

    bias_std: float = 0.0
    clusters: tuple[int, ...] = setting(
        (4, 8, 16, 32, 64), "numbers k of clusters", low=2, high="dim", filled=True, **RISING
    )
    dim: int = setting(128, "input dimension d", low=2)


WIDTH = Width(num_samples=200, num_test=200, nonrobust_dim=100, nonrobust_mean=0.07)
_OFTEN = {"steps": 300, "batch_size": 40, "records": 16}
EVOLUTION = Evolution(**_OFTEN)
IN_LAZY = {"network": "lazy", "hidden": 2048, "learning_rate": 10.0, "kernel_points": 50}
_IMAGES = ImageFeatures(
    features=tuple(range(60)), kept=(1, 2, 5, 10, 20, 50, 100, 600), times=(1, 10, 100, 1000, 1e5),
    compare=("relu 2", "relu 3", "erf 1", "rbf"),
)  # fmt: skip
PRESETS = {
    "small": Features(),
    "paper": replace(
        _IMAGES, num_samples=800, radius=8 / 255, attack_steps=10,
        features=(*range(12), 25, 50, 100, 200, 400, 799),
        kept=(1, 2, 5, 10, 20, 50, 100, 200, 400, 800),
    ),
    "networks": Networks(),
    "width": WIDTH,
    "evolution": EVOLUTION,
    "lazy": replace(EVOLUTION, **IN_LAZY),
    "cnn": ImageEvolution(num_samples=400, kernel_points=50, **_OFTEN | {"steps": 200}),
    "clusters": Centres(),
    "mnist": _IMAGES,
    "mnist_deep": replace(_IMAGES, depth=2, compare=()),
    "digits": replace(
        _IMAGES, data="digits", num_samples=250, num_test=100, kept=(1, 2, 5, 10, 20, 50, 100, 250)
    ),
}  # fmt: skip


def _features(config: Spectrum) -> Staged:
    """The kernel's features, with the accuracies of networks beside them (`net_clean`, `net_robust`)."""
    own, inputs = config.kernel_function, config.source
    attack = {"radius": config.radius, "norm": config.norm, "steps": config.attack_steps}
    attack["box"] = boxes.of(inputs)
    names = ("eigenvalues", "usefulness")
    end = {name: getattr(kernel_part, name).given(kernel=own) for name in names}
    if config.features:
        end["robustness"] = kernel_part.robustness.given(kernel=own, feature=config.features, **attack)
    for dim, values in (("kept", config.kept), ("time", config.times), ("ridge", config.ridges)):
        if values:
            for name, how in ((f"{dim}_clean", {}), (f"{dim}_robust", attack)):
                end[name] = getattr(kernel_part, name).given(kernel=own, **{dim: values}, **how)
    if isinstance(config, Images):
        shown = tuple(range(min(8, config.num_samples)))
        end["feature_gradients"] = kernel_part.feature_gradients.given(kernel=own, shown=shown)
    if config.compare:
        others = tuple(kernel_part.kernel(*KERNELS[k], WEIGHT_STD, config.bias_std) for k in config.compare)
        leading = tuple(k for k in (1, 2, 5, 10, 20) if k <= config.num_samples)
        end["overlap"] = kernel_part.overlap.given(kernel=own, others=others, leading=leading)
        end["agreement"] = kernel_part.agreement.given(kernel=own, others=others)
    jobs = {"features": Job.still(Problem(inputs, NTKNetwork(2), loss="squared"), end)}
    found = yield jobs | ({"networks": _networks(config)} if isinstance(config, Networks) else {})
    dataset = results.without_steps(found["features"])
    if config.compare:
        dataset = dataset.assign_coords(other=list(config.compare))
    if "networks" in found:
        trained = found["networks"].drop_vars("first_nonfinite_step").sel(step=list(config.times))
        trained = trained.rename(step="time").assign_coords(time=dataset.time)
        dataset = dataset.merge(trained, combine_attrs="override")
    return dataset


def _networks(config: Networks) -> Job:
    """Finite networks after as many steps of 1 / lambda_max as the kernel flows for."""
    attack = FGSM(config.radius, norm=config.norm)
    if config.attack_steps > 1:
        attack = PGD(config.radius, norm=config.norm, steps=config.attack_steps, random_start=False)
    observe = {
        "net_clean": o.accuracy,
        "net_robust": o.robust_accuracy.given(attack=attack, objective="margin"),
    }
    problem = Problem(config.source, config.network(config.net_width), loss="squared", reduction="sum")
    rate = PerSeed(kernel_part.inverse_largest.given(kernel=config.kernel_function))
    return Job(problem, named("gd", rate), steps=config.times[-1], observe=observe, when=list(config.times))


def _evolution(config: Moving) -> dict[str, Job]:
    """The empirical kernel during three kinds of training; dimension `training`."""
    model, scale = {
        "standard": (MLP((config.hidden,)), {"Dense_1": 0.5**0.5}),  # N(0, 1/m) at the output, not N(0, 2/m)
        "lazy": (NTKNetwork(config.hidden, doubled=config.doubled), 1.0),
        "cnn": (SmallCNN(hidden=config.hidden), 1.0),
    }[config.network]
    inputs = Shared(config.source) if config.shared_data else config.source
    size = {"norm": "linf", "box": boxes.of(inputs)}
    pgd = PGD(config.radius, steps=config.train_steps, random_start=False, **size)
    shown = {"num_points": config.kernel_points}
    observe = {
        "accuracy": o.accuracy,
        "robust_accuracy": o.robust_accuracy.given(attack=pgd),
        "training_loss": o.training_loss,
        "kernel_attacked": o.ntk.given(attack=pgd, **shown),
        "kernel_clean": o.ntk.given(**shown),
    }
    how = {"steps": config.steps, "when": config.recording_times(), "batch_size": config.batch_size or None}

    def job(adversary):
        problem = Problem(inputs, model, init_scale=scale, adversary=adversary)
        return Job(problem, named("gd", config.learning_rate), observe=observe, **how)

    return {"standard": job(None), "fgsm": job(FGSM(config.radius, **size)), "pgd": job(pgd)}


def _clusters(config: Centres) -> Staged:
    """The kernel interpolant of k alternately labelled centres, for each k."""
    names = ("flip_radius", "centre_eigenvalues")
    end = {name: getattr(kernel_part, name).given(kernel=config.kernel_function) for name in names}

    def job(k):
        signs = tuple(1 if j % 2 == 0 else -1 for j in range(k))
        centres = Clusters(config.dim, k, k, 1, signs=signs, exact_counts=True, noise=0.0)
        return Job.still(Problem(centres, NTKNetwork(2), loss="squared"), end)

    found = yield {str(k): job(k) for k in config.clusters}
    joined = results.join({name: results.without_steps(one) for name, one in found.items()}, "num_clusters")
    return joined.assign_coords(num_clusters=list(config.clusters))


def part_of(config: Config, parts: Mapping[type, Any]) -> Any:
    """What belongs to a config, of what there is by class."""
    return next(one for kind, one in parts.items() if isinstance(config, kind))


def train(config: Config) -> Training:
    """The jobs of a setting, in float64 (but for `Evolution`): small eigenvalues need its digits."""
    jobs = {Spectrum: _features, Width: transfer.train, Moving: _evolution, Centres: _clusters}
    return in_precision(None if isinstance(config, Moving) else True, part_of(config, jobs), config)


def old(values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Setting and fields of a result from when the settings were parts of one."""
    kinds = {
        "features": (Networks if values.get("net_width") else Features, ImageFeatures),
        "width": (Width, None),
        "evolution": (Evolution, ImageEvolution),
        "clusters": (Centres, Centres),
    }
    kind = kinds[values.get("part", "features")][values.get("data", "spiked") != "spiked"]
    if kind is None:
        raise ValueError("results of networks of growing width on images are of a version before this one")
    name, fields = kind.of_old(values)
    if kind is Networks:
        fields["times"] = [int(time) for time in fields["times"]]
    return name, fields
