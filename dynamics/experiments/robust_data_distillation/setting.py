"""Can a data set be optimised so that ordinary fitting on it is robust, and is it really?

Tsilivis, Su & Kempe 2022, "Can we achieve robustness from data alone?", arXiv:2207.11727. Three parts, one at
a time: `distillation` (images learned through kernel regression, plainly or against an attack),
`networks` (wide networks trained on such images) and `rescaling` (how large logits disable an attack).
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dynamics import observables as o
from dynamics import results
from dynamics.adversary import ATTACKS, PGD
from dynamics.data import box as boxes
from dynamics.data.shared import Shared
from dynamics.data.shipped import SHIPPED_COUNTS
from dynamics.descent import Descent, within
from dynamics.engine.job import Job
from dynamics.engine.stages import Staged, Training, in_precision
from dynamics.experiments.robust_data_distillation import networks
from dynamics.models.kernel_regression import FirstSamples, KernelRegression
from dynamics.problem import Problem
from dynamics.study.config import TrainingConfig, setting
from kernels.closed_form import DeepNTK

ARMS = ("subset", "full", "kip", "adv_kip")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Settings; symbols as in the paper. Radii are of linf balls."""

    part: Literal["distillation", "networks", "rescaling"] = setting("distillation", "what is simulated")
    data: str = setting("digits", "digits, mnist, or a path of images")
    box: tuple[float, ...] = setting((), boxes.ABOUT, low=-boxes.FARTHEST, high=boxes.FARTHEST)
    num_samples: int = setting(1200, "training images", low=2)
    num_test: int = setting(200, "test images", low=1)
    arms: tuple[str, ...] = setting(ARMS, f"which sets are fitted: {', '.join(ARMS)}")
    num_support: int = setting(100, "learned images n_s", low=1, high="num_samples")
    in_turn: bool = setting(False, "start from the first images of every class in turn")
    kernel: Literal["relu", "erf"] = setting("relu", "activation of the network behind the kernel")
    depth: int = setting(1, "its hidden layers; 0: the linear kernel", low=0)
    weight_std: float = setting(2**0.5, "sigma_w", above=0)
    bias_std: float = setting(0.1, "sigma_b", low=0)
    ridge: float = setting(1e-6, "ridge r in units of the mean diagonal of the Gram matrix", low=0)
    radius: float = setting(0.2, "radius epsilon of the attack within adv-KIP", low=0)
    attack_steps: int = setting(5, "PGD steps of the attack within adv-KIP; 0: none", low=0)
    attack_loss: Literal["cross_entropy", "margin", "squared"] = setting(
        "cross_entropy", "what the attack within adv-KIP raises (margin: lowers)"
    )
    outer: Literal["squared", "cross_entropy"] = setting("squared", "outer loss")
    logit_scale: float = setting(1.0, "factor of the kernel predictor's outputs", above=0)
    learn_labels: bool = setting(False, "learn the labels of the support too")
    centred: bool = setting(True, "labels are one-hot less 1/C (else one-hot; outer loss squared)")
    ball: float = setting(0.0, "radius of the linf ball around the first images; 0: none", low=0)
    test_radius: float = setting(0.0, "radius of the evaluation's attacks; 0: `radius`", low=0)
    test_steps: int = setting(20, "PGD steps on the cross-entropy in the evaluation", low=1)
    margin_steps: int = setting(40, "PGD steps on the margin in the evaluation", low=1)
    restarts: int = setting(1, "random starts of the latter, besides the one at the image", low=1)
    trials: int = setting(200, "points that random search tries", low=1)
    curve_radii: tuple[float, ...] = setting(
        (0.0, 0.05, 0.1, 0.2, 0.3, 0.5),
        "radii of the curves of robust accuracy; none: no curves",
        low=0,
        increasing=True,
    )
    probabilities: bool = setting(False, "attack the softmax instead of the logits (rescaling)")
    scales: tuple[float, ...] = setting(
        (1, 10, 100, 1e3, 1e4), "factors of the logits (rescaling)", above=0, increasing=True
    )
    widths: tuple[int, ...] = setting(
        (256, 1024, 4096), "widths m of the networks (networks)", low=2, increasing=True
    )
    doubled: bool = setting(True, "networks start at 0, by pairs of opposite neurons (networks)")
    network: Literal["lazy", "standard"] = setting(
        "lazy", "in NTK parametrisation by gradient descent, or standard by Adam (networks)"
    )
    net_rate: float = setting(1e-3, "step size of standard networks", above=0)
    net_steps: int = setting(300, "steps of networks, lazy ones of 1/lambda_max (networks)", low=1)
    descent: str = setting("adam", "update rule of the support, such as adam or sign")
    learning_rate: float = setting(1e-2, "step size of the support", above=0)
    steps: int = setting(150, "outer steps", low=0)
    batch_size: int = setting(200, "images of an outer step; 0: all", low=0, high="num_samples")
    records: int = setting(6, "recording times", low=2)
    spacing: Literal["linear", "log"] = setting("linear", "spacing of the recording times")

    def check(self) -> None:
        """Refuse what does not fit together."""
        super().check()
        count = SHIPPED_COUNTS.get(self.data)
        if count is None and not Path(self.data).exists():
            raise ValueError(f"data must be digits, mnist or an existing path, got {self.data!r}")
        if count is not None and self.num_samples + self.num_test > count:
            raise ValueError(
                f"num_samples + num_test must be at most the {count} images of {self.data}, "
                f"got {self.num_samples} and {self.num_test}"
            )
        boxes.asked(self.box, of_file=count is None, where=f"data={self.data!r}")
        if not self.arms or len(set(self.arms)) < len(self.arms) or set(self.arms) - set(ARMS):
            raise ValueError(f"arms must be different ones of {', '.join(ARMS)}, got {', '.join(self.arms)}")
        if self.part == "rescaling" and not self.scales:
            raise ValueError("scales must not be empty")
        if self.part == "networks":
            self._check_networks()
        if not self.centred and self.outer != "squared":
            raise ValueError(f"centred=false needs outer='squared', got outer={self.outer!r}")

    def _check_networks(self) -> None:
        if not self.widths:
            raise ValueError("widths must not be empty")
        if (
            self.network == "lazy"
            and self.doubled
            and (self.depth != 1 or any(width % 2 for width in self.widths))
        ):
            raise ValueError("doubled networks need depth=1 and even widths")
        if self.depth == 0:
            raise ValueError("networks need a depth of at least 1")
        if "full" in self.arms:
            raise ValueError("arms of networks must be among subset, kip, adv_kip, got full")
        if self.learn_labels or not self.centred:
            raise ValueError("networks need centred labels that are not learned")

    @property
    def evaluation_radius(self) -> float:
        """Radius of the evaluation's attacks."""
        return self.test_radius or self.radius

    def support_rule(self, box: boxes.Box) -> Descent:
        """The update rule of the support, which stays in the data's box and, if asked for, near its start."""
        if box is None and not self.ball:
            return self.update_rule
        return within(self.update_rule, box=box, ball=self.ball or None, only=("support",))


_DIGITS = Config()
_MNIST = Config(data="mnist", radius=0.1, learning_rate=2e-2, steps=100, attack_steps=3)
CHANGE = dataclasses.replace
PRESETS = {
    "small": _DIGITS,
    "paper": CHANGE(
        _MNIST, num_samples=4000, num_test=1000, num_support=1000, radius=0.3, attack_steps=10,
        learning_rate=1e-2, batch_size=500, steps=1000, depth=3, curve_radii=(0.0, 0.1, 0.2, 0.3, 0.5),
    ),
    "mnist": _MNIST,
    "near": CHANGE(_DIGITS, radius=0.1, steps=200),
    "margin": CHANGE(_DIGITS, attack_loss="margin", arms=("subset", "adv_kip")),
    "cross_entropy": CHANGE(_DIGITS, outer="cross_entropy", steps=200, arms=("subset", "adv_kip")),
    "scaled": CHANGE(
        _DIGITS, outer="cross_entropy", logit_scale=10.0, steps=200, arms=("subset", "adv_kip")
    ),
    "labels": CHANGE(_DIGITS, attack_steps=1, learn_labels=True, steps=300, arms=("subset", "adv_kip")),
    "sign": CHANGE(
        _DIGITS, descent="sign", normalize=True, ball=0.3, arms=("subset", "kip", "adv_kip")
    ),
    "networks": Config(part="networks", arms=("subset",)),
    "deployed": Config(part="networks", arms=("subset", "kip", "adv_kip"), widths=(256, 1024)),
    "standard": Config(
        part="networks", network="standard", arms=("subset", "kip", "adv_kip"), widths=(512,), net_steps=1500
    ),
    "rescaling": Config(part="rescaling", num_samples=300, num_support=300, ridge=1e-4, batch_size=0),
}  # fmt: skip


def source(config: Config) -> Any:
    """The data, of seed 0 for every seed if asked for."""
    from dynamics.data import images

    loaded = images.load(config.data, num_train=config.num_samples, num_test=config.num_test, box=config.box)
    return Shared(loaded) if config.shared_data else loaded


def kernel(config: Config) -> DeepNTK:
    """The kernel of the config."""
    return DeepNTK(config.depth, config.kernel, config.weight_std, config.bias_std)


def problem(config: Config, arm: str, **model: Any) -> Problem:
    """The problem of one arm; `model` replaces options of the kernel regression."""
    data = source(config)
    options = {
        "num_support": config.num_samples if arm == "full" else config.num_support,
        "num_outputs": len((data.source if config.shared_data else data).class_signs),
        "ridge": config.ridge,
        "learn_labels": config.learn_labels,
        "logit_scale": config.logit_scale,
    }
    attack = None
    if arm == "adv_kip" and config.attack_steps:
        size = {"norm": "linf", "steps": config.attack_steps, "box": boxes.of(data)}
        attack = PGD(config.radius, random_start=False, **size)
    outer = config.outer if config.centred or config.outer != "squared" else "squared_one_hot"
    inner = config.attack_loss
    return Problem(
        data,
        KernelRegression(kernel(config), **(options | model)),
        loss=outer,
        adversary=attack,
        adversary_loss=None if attack is None else outer if inner == "squared" else inner,
        start=FirstSamples(in_turn=config.in_turn, centred=config.centred),
    )


def evaluation(config: Config, box: boxes.Box, *attacks: str) -> Any:
    """The observable of accuracies under these attacks, which keep to the data's box."""
    return o.accuracy_under.given(
        radius=config.evaluation_radius,
        attack=attacks,
        source=FirstSamples(in_turn=config.in_turn, centred=config.centred),
        steps=config.test_steps,
        margin_steps=config.margin_steps,
        restarts=config.restarts,
        trials=config.trials,
        box=box,
    )


def _observed(config: Config, arm: str, box: boxes.Box) -> tuple[dict, dict]:
    """What is recorded on the way, and at the end."""
    size = {"norm": "linf", "steps": config.test_steps, "random_start": False, "box": box}
    ascent = PGD(config.evaluation_radius, **size)
    always = {
        "outer_loss": o.lowered_loss,
        "accuracy": o.accuracy,
        "pgd_accuracy": o.robust_accuracy.given(attack=ascent, objective="cross_entropy"),
        "margin_accuracy": o.robust_accuracy.given(attack=ascent, objective="margin"),
    }
    end = {"under": evaluation(config, box, *ATTACKS), "masking": o.masking, "condition": o.support_condition}
    if arm != "full":
        end |= {"support": o.support, "support_class": o.support_class, "drift": o.support_drift}
    if config.curve_radii:
        curve = {"attack": ascent, "radius": np.asarray(config.curve_radii)}
        end["pgd_curve"] = o.robust_curve.given(objective="cross_entropy", **curve)
        end["margin_curve"] = o.robust_curve.given(objective="margin", **curve)
    return always, end


def _distillation(config: Config) -> dict[str, Job]:
    """Each set fitted and attacked; dimension `training`."""

    def job(name):
        learned = name in ("kip", "adv_kip")
        fitted = problem(config, name)
        box = boxes.of(fitted.data)
        observe, end = _observed(config, name, box)
        return Job(
            fitted,
            config.support_rule(box),
            steps=config.steps if learned else 0,
            observe=observe if learned else {},
            observe_end=end,
            when=config.recording_times() if learned else None,
            batch_size=config.batch_size or None,
        )

    return {name: job(name) for name in config.arms}


def _rescaling(config: Config) -> Staged:
    """One kernel predictor whose logits are multiplied by several factors; dimension `scale`."""

    def job(scale):
        model = {"logit_scale": scale, "probabilities": config.probabilities}
        made = problem(config, "subset", **model)
        under = evaluation(config, boxes.of(made.data), "clean", "pgd", "margin", "worst")
        return Job.still(made, {"under": under, "masking": o.masking})

    found = yield {str(scale): job(scale) for scale in config.scales}
    joined = results.join({name: results.without_steps(one) for name, one in found.items()}, "scale")
    return joined.assign_coords(scale=list(config.scales))


def _networks(config: Config) -> Staged:
    """Wide networks on each set."""
    return networks.train(config, problem, kernel(config))


def train(config: Config) -> Training:
    """The part asked for: in float64, but for `rescaling`, which is about float32."""
    parts = {"distillation": _distillation, "rescaling": _rescaling, "networks": _networks}
    return in_precision(config.part != "rescaling", parts[config.part], config)
