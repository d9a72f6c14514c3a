"""Eigenfeatures of the neural tangent kernel, which of them are robust, and how training moves them.

Tsilivis & Kempe 2022, arXiv:2210.05577. Four parts, one at a time: `features` (the kernel's features on data
of a robust and a non-robust block, or on images), `width` (the kernel's attack on finite networks),
`evolution` (the empirical kernel under standard and adversarial training) and `clusters` (the kernel
interpolant of orthogonal centres).
"""

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from dynamics import observables as o
from dynamics import results
from dynamics.adversary import FGSM, PGD
from dynamics.data import box as boxes
from dynamics.data.clusters import Clusters
from dynamics.data.shared import Shared
from dynamics.data.shipped import SHIPPED_COUNTS
from dynamics.data.spiked import Spiked
from dynamics.descent import named
from dynamics.engine.job import Job
from dynamics.engine.stages import Staged, Training, in_precision
from dynamics.experiments.ntk_eigenfeatures import transfer
from dynamics.models.conv import SmallCNN
from dynamics.models.mlp import MLP
from dynamics.models.ntk_mlp import NTKNetwork
from dynamics.observables import eigenfeatures as kernel_part
from dynamics.parts import PerSeed
from dynamics.problem import Problem
from dynamics.study.config import RunConfig, setting

KERNELS = {"linear": ("linear", 1), "rbf": ("rbf", 1)} | {
    f"{name} {depth}": (name, depth) for name in ("relu", "erf", "leaky_relu") for depth in (1, 2, 3, 4, 5)
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Settings; symbols as in the paper. Blocks' dimensions, means and noises are of the data `spiked`."""

    part: Literal["features", "width", "evolution", "clusters"] = setting("features", "what is simulated")
    data: str = setting("spiked", "spiked, digits, mnist, or a path of images (not for clusters)")
    box: tuple[float, ...] = setting((), boxes.ABOUT, low=-boxes.FARTHEST, high=boxes.FARTHEST)
    classes: tuple[int, ...] = setting((3, 8), "labels of the two classes of images, -1 and +1", low=0)
    num_samples: int = setting(400, "training samples n", low=2)
    num_test: int = setting(500, "test samples", low=1)
    robust_dim: int = setting(2, "coordinates d_r of the robust block", low=0)
    nonrobust_dim: int = setting(200, "coordinates d_n of the non-robust block", low=0)
    robust_mean: float = setting(1.0, "mean mu_r of the robust block")
    nonrobust_mean: float = setting(0.05, "mean mu_n of the non-robust block")
    robust_noise: float = setting(1.0, "standard deviation of the robust block", low=0)
    nonrobust_noise: float = setting(0.2, "standard deviation of the non-robust block", low=0)
    random_labels: bool = setting(False, "draw the labels anew, independent of the inputs (spiked)")
    kernel: Literal[kernel_part.NAMES] = setting("relu", "the kernel: a network's activation, linear or rbf")
    depth: int = setting(1, "hidden layers of the network behind the kernel", low=1)
    weight_std: float = setting(2**0.5, "sigma_w", above=0)
    bias_std: float = setting(0.1, "sigma_b", low=0)
    compare: tuple[str, ...] = setting((), "kernels to compare with: `relu 2`, `erf 1`, `rbf`, ...")
    radius: float = setting(0.1, "radius epsilon of the attacks", low=0)
    norm: Literal["linf", "l2"] = setting("linf", "norm of the attacks' ball")
    attack_steps: int = setting(1, "steps of the attacks: 1 is FGSM", low=1)
    features: tuple[int, ...] = setting(
        (*range(12), 20, 40, 80, 150, 250, 390),
        "eigenfeatures whose robustness is measured, 0 the largest",
        low=0,
    )
    kept: tuple[int, ...] = setting((1, 2, 3, 5, 10, 20, 50, 100, 400), "numbers of features kept", low=1)
    times: tuple[float, ...] = setting(
        (1, 3, 10, 30, 100, 300, 1000), "times t in units of 1/lambda_max", above=0
    )
    ridges: tuple[float, ...] = setting((), "ridge strengths in units of lambda_max", above=0)
    net_width: int = setting(0, "width of a finite network trained for the same times; 0: none", low=0)
    widths: tuple[int, ...] = setting((64, 256, 1024), "widths m of the networks (width)", low=2)
    radii: tuple[float, ...] = setting((0.05, 0.1), "radii of the attacks on networks (width)", low=0)
    doubled: bool = setting(True, "finite NTK networks start at 0, by pairs of opposite neurons")
    network: Literal["standard", "lazy", "cnn"] = setting(
        "standard", "network of `evolution`: standard (He), NTK parametrisation (lazy), convolutions (images)"
    )
    hidden: int = setting(256, "its width", low=1)
    learning_rate: float = setting(0.1, "its step size eta", above=0)
    train_steps: int = setting(7, "PGD steps of its adversarial training", low=1)
    kernel_points: int = setting(100, "training points of its empirical kernel", low=2)
    clusters: tuple[int, ...] = setting((4, 8, 16, 32, 64), "numbers k of clusters", low=2)
    dim: int = setting(128, "input dimension d (clusters)", low=2)

    def check(self) -> None:
        """Refuse what does not fit together."""
        super().check()
        if self.data != "spiked" and not self.on_images:
            raise ValueError(f"data must be spiked, digits, mnist or an existing path, got {self.data!r}")
        of_file = self.data not in ("spiked", *SHIPPED_COUNTS) and self.part != "clusters"
        boxes.asked(self.box, of_file=of_file, where=f"part={self.part!r} and data={self.data!r}")
        if self.data == "spiked" and self.robust_dim + self.nonrobust_dim < 1:
            raise ValueError("robust_dim and nonrobust_dim must not both be 0")
        if len(self.classes) != 2 or len(set(self.classes)) != 2:
            raise ValueError(f"classes must be two different labels, got {self.classes}")
        if unknown := [name for name in self.compare if name not in KERNELS]:
            raise ValueError(f"compare must name kernels among {', '.join(KERNELS)}, got {unknown[0]!r}")
        for name, most in (("features", self.num_samples - 1), ("kept", self.num_samples)):
            values = getattr(self, name)
            if self.part == "features" and values and max(values) > most:
                raise ValueError(
                    f"{name} must be at most {most} of {self.num_samples} samples, got {max(values)}"
                )
        for name in ("features", "kept", "times", "ridges", "widths", "radii", "clusters"):
            values = getattr(self, name)
            if any(b <= a for a, b in pairwise(values)):
                raise ValueError(f"{name} must increase, got {', '.join(f'{v:g}' for v in values)}")
        if self.part == "clusters" and self.clusters and max(self.clusters) > self.dim:
            raise ValueError(f"clusters must be at most dim={self.dim}, got {max(self.clusters)}")
        if self.part in ("width", "clusters") and not (self.widths and self.radii and self.clusters):
            raise ValueError("widths, radii and clusters must not be empty")
        if self.doubled and any(w % 2 for w in (*self.widths, self.net_width)):
            raise ValueError("doubled networks need an even width")
        if self.part == "evolution" and self.kernel_points > self.num_samples:
            raise ValueError(
                f"kernel_points must be at most num_samples={self.num_samples}, got {self.kernel_points}"
            )
        if self.part == "evolution" and self.network == "cnn" and not self.on_images:
            raise ValueError(f"network cnn needs images, got data={self.data!r}")
        if (self.part == "width" or self.net_width) and self.kernel not in ("relu", "erf"):
            raise ValueError(f"finite networks need the kernel relu or erf, got {self.kernel!r}")
        if self.part == "features" and self.net_width and not self.times:
            raise ValueError("net_width needs times, after which the networks are measured")
        if self.net_width and any(time != int(time) for time in self.times):
            raise ValueError("net_width trains for whole numbers of steps: times must be integers")

    @property
    def on_images(self) -> bool:
        """Whether the data are images."""
        return self.data in SHIPPED_COUNTS or (self.data != "spiked" and Path(self.data).exists())


_FEATURES = Config()
WIDTH = Config(
    part="width", num_samples=200, num_test=200, nonrobust_dim=100, nonrobust_mean=0.07, steps=300,
    features=(0,), kept=(1,),
)  # fmt: skip
EVOLUTION = Config(part="evolution", steps=300, batch_size=40, records=16)
_IMAGES = Config(
    data="mnist", num_samples=600, num_test=200, features=tuple(range(60)),
    kept=(1, 2, 5, 10, 20, 50, 100, 600),
    times=(1, 10, 100, 1000, 1e5), compare=("relu 2", "relu 3", "erf 1", "rbf"),
)  # fmt: skip
PRESETS = {
    "small": _FEATURES,
    "paper": dataclasses.replace(
        _IMAGES, num_samples=800, num_test=200, radius=8 / 255, attack_steps=10,
        features=(*range(12), 25, 50, 100, 200, 400, 799),
        kept=(1, 2, 5, 10, 20, 50, 100, 200, 400, 800),
    ),
    "networks": dataclasses.replace(_FEATURES, net_width=512),
    "width": WIDTH,
    "evolution": EVOLUTION,
    "lazy": dataclasses.replace(
        EVOLUTION, network="lazy", hidden=2048, learning_rate=10.0, kernel_points=50, doubled=False
    ),
    "cnn": dataclasses.replace(
        EVOLUTION, data="mnist", network="cnn", num_test=200, steps=200, kernel_points=50
    ),
    "clusters": Config(part="clusters", bias_std=0.0),
    "mnist": _IMAGES,
    "mnist_deep": dataclasses.replace(_IMAGES, depth=2, compare=()),
    "digits": dataclasses.replace(
        _IMAGES, data="digits", num_samples=250, num_test=100, kept=(1, 2, 5, 10, 20, 50, 100, 250),
    ),
}  # fmt: skip


def data(config: Config) -> Any:
    """The data distribution of one run."""
    if config.on_images:
        from dynamics.data import images

        return images.load(
            config.data, num_train=config.num_samples, num_test=config.num_test, classes=config.classes,
            box=config.box,
        )  # fmt: skip
    return Spiked(
        num_samples=config.num_samples,
        num_test=config.num_test,
        robust_dim=config.robust_dim,
        nonrobust_dim=config.nonrobust_dim,
        random_labels=config.random_labels,
        robust_mean=config.robust_mean,
        nonrobust_mean=config.nonrobust_mean,
        robust_noise=config.robust_noise,
        nonrobust_noise=config.nonrobust_noise,
    )


def source(config: Config) -> Any:
    """The data, of seed 0 for every seed if asked for."""
    return Shared(data(config)) if config.shared_data else data(config)


def kernel(config: Config) -> Any:
    """The kernel of the config."""
    return kernel_part.kernel(config.kernel, config.depth, config.weight_std, config.bias_std)


def network(config: Config, width: int) -> NTKNetwork:
    """The finite network whose kernel that is in the limit."""
    from dynamics.models.activations import Activation

    return NTKNetwork(
        width,
        config.depth,
        weight_std=config.weight_std,
        bias_std=config.bias_std,
        doubled=config.doubled,
        activation=Activation(config.kernel),
    )


def _features(config: Config) -> Staged:
    """The kernel's features; dimension `learner` tells the kernel from the networks trained beside it."""
    own = kernel(config)
    inputs = source(config)
    attack = {"radius": config.radius, "norm": config.norm, "steps": config.attack_steps}
    attack["box"] = boxes.of(inputs)
    end = {
        "eigenvalues": kernel_part.eigenvalues.given(kernel=own),
        "usefulness": kernel_part.usefulness.given(kernel=own),
    }
    if config.features:
        end["robustness"] = kernel_part.robustness.given(kernel=own, feature=config.features, **attack)
    for dim, values in (("kept", config.kept), ("time", config.times), ("ridge", config.ridges)):
        if values:
            given = {"kernel": own, dim: values}
            end[f"{dim}_clean"] = getattr(kernel_part, f"{dim}_clean").given(**given)
            end[f"{dim}_robust"] = getattr(kernel_part, f"{dim}_robust").given(**given, **attack)
    if config.on_images:
        shown = tuple(i for i in range(8) if i < config.num_samples)
        end["feature_gradients"] = kernel_part.feature_gradients.given(kernel=own, shown=shown)
    if config.compare:
        others = tuple(
            kernel_part.kernel(*KERNELS[name], config.weight_std, config.bias_std) for name in config.compare
        )
        leading = tuple(k for k in (1, 2, 5, 10, 20) if k <= config.num_samples)
        end["overlap"] = kernel_part.overlap.given(kernel=own, others=others, leading=leading)
        end["agreement"] = kernel_part.agreement.given(kernel=own, others=others)
    jobs = {"features": Job.still(Problem(inputs, NTKNetwork(2), loss="squared"), end)}
    if config.net_width:
        jobs["networks"] = _networks(config, inputs)
    found = yield jobs
    dataset = results.without_steps(found["features"])
    if config.compare:
        dataset = dataset.assign_coords(other=list(config.compare))
    if config.net_width:
        trained = found["networks"].drop_vars("first_nonfinite_step")
        trained = trained.sel(step=[int(time) for time in config.times]).rename(step="time")
        dataset = dataset.merge(trained.assign_coords(time=dataset.time), combine_attrs="override")
    return dataset


def _networks(config, inputs) -> Job:
    """Finite networks after as many steps of 1 / lambda_max as the kernel flows for."""
    steps = [int(time) for time in config.times]
    size = {"norm": config.norm, "box": boxes.of(inputs)}
    one = FGSM(config.radius, **size)
    many = PGD(config.radius, steps=config.attack_steps, random_start=False, **size)
    attack = one if config.attack_steps == 1 else many
    observe = {
        "net_clean": o.accuracy,
        "net_robust": o.robust_accuracy.given(attack=attack, objective="margin"),
    }
    problem = Problem(inputs, network(config, config.net_width), loss="squared", reduction="sum")
    rate = PerSeed(kernel_part.inverse_largest.given(kernel=kernel(config)))
    return Job(problem, named("gd", rate), steps=steps[-1], observe=observe, when=steps)


def _evolution(config: Config) -> dict[str, Job]:
    """The empirical kernel during three kinds of training; dimension `training`."""
    if config.network == "standard":
        model = MLP((config.hidden,))
        scale = {"Dense_1": 0.5**0.5}  # N(0, 1/m) at the output, where He has N(0, 2/m)
    elif config.network == "cnn":
        model, scale = SmallCNN(hidden=config.hidden), 1.0
    else:
        model, scale = network(config, config.hidden), 1.0
    inputs = source(config)
    size = {"norm": config.norm, "box": boxes.of(inputs)}
    pgd = PGD(config.radius, steps=config.train_steps, random_start=False, **size)
    shown = {"num_points": config.kernel_points}
    observe = {
        "accuracy": o.accuracy,
        "robust_accuracy": o.robust_accuracy.given(attack=pgd),
        "training_loss": o.training_loss,
        "kernel_attacked": o.ntk.given(attack=pgd, **shown),
        "kernel_clean": o.ntk.given(**shown),
    }

    def job(training):
        adversary = {"standard": None, "fgsm": FGSM(config.radius, **size), "pgd": pgd}[training]
        problem = Problem(inputs, model, init_scale=scale, adversary=adversary)
        return Job(
            problem,
            named("gd", config.learning_rate),
            steps=config.steps,
            observe=observe,
            when=config.recording_times(),
            batch_size=config.batch_size or None,
        )

    return {training: job(training) for training in ("standard", "fgsm", "pgd")}


def _clusters(config: Config) -> Staged:
    """The kernel interpolant of k alternately labelled centres, for each k."""
    end = {
        "flip_radius": kernel_part.flip_radius.given(kernel=kernel(config)),
        "centre_eigenvalues": kernel_part.centre_eigenvalues.given(kernel=kernel(config)),
    }

    def job(k):
        signs = tuple(1 if j % 2 == 0 else -1 for j in range(k))
        centres = Clusters(config.dim, k, k, 1, signs=signs, exact_counts=True, noise=0.0)
        source = Shared(centres) if config.shared_data else centres
        return Job.still(Problem(source, NTKNetwork(2), loss="squared"), end)

    found = yield {str(k): job(k) for k in config.clusters}
    joined = results.join({name: results.without_steps(one) for name, one in found.items()}, "num_clusters")
    return joined.assign_coords(num_clusters=list(config.clusters))


def _width(config: Config) -> Staged:
    """Attacks made from the kernel on networks of growing width."""
    return transfer.train(config, data(config), kernel(config), lambda width: network(config, width))


PARTS = {"features": _features, "width": _width, "evolution": _evolution, "clusters": _clusters}


def train(config: Config) -> Training:
    """The part asked for, in float64 (but for `evolution`): small eigenvalues need its digits."""
    return in_precision(config.part != "evolution" or None, PARTS[config.part], config)
