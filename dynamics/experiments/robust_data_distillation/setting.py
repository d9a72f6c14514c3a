"""Images learned through kernel regression, networks on them, and rescaled logits: three settings.

Tsilivis, Su & Kempe 2022, "Can we achieve robustness from data alone?", arXiv:2207.11727.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from dynamics import observables as o
from dynamics import results
from dynamics.adversary import ATTACKS, PGD
from dynamics.data import box as boxes
from dynamics.data.images import LabelledImages, load
from dynamics.data.made import Made
from dynamics.data.shared import Shared
from dynamics.descent import named, within
from dynamics.engine.job import Job
from dynamics.engine.stages import Staged, Training, in_precision
from dynamics.keys import named_key, seed_key
from dynamics.models.activations import Activation
from dynamics.models.kernel_regression import FirstSamples, KernelRegression
from dynamics.models.mlp import MLP
from dynamics.models.ntk_mlp import NTKNetwork
from dynamics.observables.eigenfeatures import inverse_largest
from dynamics.parts import PerSeed
from dynamics.problem import Problem
from dynamics.study.config import RuleConfig, TimedConfig, kept, setting
from dynamics.study.images import OnImages
from kernels.closed_form import DeepNTK


@dataclass(frozen=True, kw_only=True)
class Regression(OnImages):
    """Kernel regression on few images, and attacks on it; symbols are the paper's, radii of linf balls."""

    test_radius = None  # where it is no setting

    num_samples: int = setting(1200, "training images", low=2)
    num_test: int = setting(200, "test images", low=1)
    num_support: int = setting(100, "images of the kernel's set, n_s", low=1, high="num_samples")
    in_turn: bool = setting(False, "they are, or start as, the first images of every class in turn")
    kernel: Literal["relu", "erf"] = setting("relu", "activation of the network behind the kernel")
    depth: int = setting(1, "its hidden layers; 0: the linear kernel", low=0)
    weight_std: float = setting(2**0.5, "sigma_w", above=0)
    bias_std: float = setting(0.1, "sigma_b", low=0)
    ridge: float = setting(1e-6, "ridge r in units of the mean diagonal of the Gram matrix", low=0)
    radius: float = setting(0.2, "radius epsilon of attacks", low=0)
    test_steps: int = setting(20, "PGD steps on the cross-entropy in the evaluation", low=1)
    margin_steps: int = setting(40, "PGD steps on the margin in the evaluation", low=1)
    restarts: int = setting(1, "random starts of the latter, besides the one at the image", low=1)

    def check(self) -> None:
        """Refuse more images than there are."""
        super().check()
        self.ask_for({"num_samples": self.num_samples, "num_test": self.num_test})

    @property
    def evaluation_radius(self) -> float:
        """Radius of the evaluation's attacks."""
        return self.radius if self.test_radius is None else self.test_radius

    def source(self) -> LabelledImages:
        """The data."""
        return load(self.data, num_train=self.num_samples, num_test=self.num_test, box=self.box)

    @property
    def dual_kernel(self) -> DeepNTK:
        """The kernel."""
        return DeepNTK(self.depth, self.kernel, self.weight_std, self.bias_std)

    def regression(self, images: LabelledImages, count: int, **how: Any) -> KernelRegression:
        """Kernel regression on so many images."""
        return KernelRegression(self.dual_kernel, count, len(images.class_signs), self.ridge, **how)

    def attacked(self, box: boxes.Box, *attacks: str, **other: Any) -> Any:
        """The observable of accuracies under these attacks, which keep to the data's box."""
        how = {"radius": self.evaluation_radius, "steps": self.test_steps, "restarts": self.restarts}
        how |= {"margin_steps": self.margin_steps, "box": box}
        return o.accuracy_under.given(attack=attacks, **how, **other)


@dataclass(frozen=True, kw_only=True)
class Learned(Regression, RuleConfig):
    """Images that are learned, plainly (`kip`) or against an attack (`adv_kip`)."""

    learn_labels, centred = False, True  # where they are no settings

    attack_steps: int = setting(5, "PGD steps of the attack within adv-KIP; 0: none", low=0)
    attack_loss: Literal["cross_entropy", "margin", "squared"] = setting(
        "cross_entropy", "what the attack within adv-KIP raises (margin: lowers)"
    )
    outer: Literal["squared", "cross_entropy"] = setting("squared", "outer loss")
    logit_scale: float = setting(1.0, "factor of the kernel predictor's outputs", above=0)
    ball: float | None = setting(None, "radius of the ball around the first images; none: no ball", low=0)
    test_radius: float | None = setting(None, "radius of the evaluation's attacks; none: `radius`", low=0)
    descent: str = setting("adam", "update rule of the images, such as adam or sign")
    learning_rate: float = setting(1e-2, "step size of the images", above=0)
    steps: int = setting(150, "outer steps", low=0)
    batch_size: int = setting(200, "images of an outer step; 0: all", low=0, high="num_samples")
    shared_data: bool = setting(False, "all seeds learn from the data of seed 0")

    def problem(self, arm: str) -> Problem:
        """Kernel regression on the images of one arm, by the loss of all training images."""
        images = self.source()
        how = {"learn_labels": self.learn_labels, "logit_scale": self.logit_scale}
        model = self.regression(images, self.num_samples if arm == "full" else self.num_support, **how)
        outer = self.outer if self.centred else "squared_one_hot"
        attack = {}
        if arm == "adv_kip" and self.attack_steps:
            size = {"norm": "linf", "steps": self.attack_steps, "box": images.box}
            attack["adversary"] = PGD(self.radius, random_start=False, **size)
            attack["adversary_loss"] = outer if self.attack_loss == "squared" else self.attack_loss
        start = FirstSamples(in_turn=self.in_turn, centred=self.centred)
        return Problem(Shared(images) if self.shared_data else images, model, outer, start=start, **attack)

    def job(self, arm: str, problem: Problem, **observed: Any) -> Job:
        """The training of an arm's images, which stay in their box and, if asked for, near their start."""
        rule, box = self.update_rule, boxes.of(problem.data)
        if box is not None or self.ball is not None:
            rule = within(rule, box=box, ball=self.ball, only=("support",))
        steps = self.steps if arm in ("kip", "adv_kip") else 0
        return Job(problem, rule, steps=steps, batch_size=self.batch_size or None, **observed)


@dataclass(frozen=True, kw_only=True)
class Distillation(Learned, TimedConfig):
    """Claims D1 to D3: each set of images fitted and attacked; dimension `training`."""

    arms: tuple[Literal["subset", "full", "kip", "adv_kip"], ...] = setting(
        ("subset", "full", "kip", "adv_kip"), "which sets are fitted", filled=True, distinct=True
    )
    learn_labels: bool = setting(False, "learn the labels of the images too")
    centred: bool = setting(True, "labels are one-hot less 1/C (else one-hot)", of={"outer": ["squared"]})
    trials: int = setting(200, "points that random search tries", low=1)
    curve_radii: tuple[float, ...] = setting(
        (0.0, 0.05, 0.1, 0.2, 0.3, 0.5), "radii of curves; none: no curves", low=0, increasing=True
    )
    records: int = 6
    spacing: Literal["linear", "log"] = "linear"

    def jobs(self) -> dict[str, Job]:
        """Every set's."""
        return {arm: self._job(arm) for arm in self.arms}

    def _job(self, arm):
        problem = self.problem(arm)
        box = boxes.of(problem.data)
        size = {"norm": "linf", "steps": self.test_steps, "random_start": False, "box": box}
        ascent = PGD(self.evaluation_radius, **size)
        source = FirstSamples(in_turn=self.in_turn, centred=self.centred)
        end = {
            "under": self.attacked(box, *ATTACKS, source=source, trials=self.trials),
            "masking": o.masking,
            "condition": o.support_condition,
        }
        if arm != "full":
            end |= {"support": o.support, "support_class": o.support_class, "drift": o.support_drift}
        if self.curve_radii:
            curve = {"attack": ascent, "radius": np.asarray(self.curve_radii)}
            end["pgd_curve"] = o.robust_curve.given(objective="cross_entropy", **curve)
            end["margin_curve"] = o.robust_curve.given(objective="margin", **curve)
        if arm not in ("kip", "adv_kip"):
            return self.job(arm, problem, observe_end=end)
        observe = {
            "outer_loss": o.lowered_loss,
            "accuracy": o.accuracy,
            "pgd_accuracy": o.robust_accuracy.given(attack=ascent, objective="cross_entropy"),
            "margin_accuracy": o.robust_accuracy.given(attack=ascent, objective="margin"),
        }
        return self.job(arm, problem, observe=observe, observe_end=end, when=self.recording_times())


@dataclass(frozen=True, kw_only=True)
class Rescaling(Regression):
    """Claims D5: one kernel predictor whose logits are multiplied by several factors; dimension `scale`."""

    probabilities: bool = setting(False, "attack the softmax instead of the logits")
    scales: tuple[float, ...] = setting(
        (1, 10, 100, 1e3, 1e4), "factors of the logits", above=0, increasing=True, filled=True
    )

    def jobs(self) -> Staged:
        """Every factor's, of no steps."""
        data, start = self.source(), FirstSamples(in_turn=self.in_turn)
        under = self.attacked(data.box, "clean", "pgd", "margin", "worst")

        def job(scale):
            how = {"logit_scale": scale, "probabilities": self.probabilities}
            model = self.regression(data, self.num_support, **how)
            problem = Problem(data, model, "squared", start=start)
            return Job.still(problem, {"under": under, "masking": o.masking})

        found = yield {str(scale): job(scale) for scale in self.scales}
        return results.without_steps(results.by_number(found, "scale", self.scales))


@dataclass(frozen=True, kw_only=True)
class Networks(Learned):
    """Claims D4: wide networks trained on each set, beside the kernel that they follow.

    Lazy ones descend by 1 / lambda_max, and `kernel_gap` compares them with the kernel predictor after as
    many steps; standard ones take Adam on the cross-entropy. Dimensions: training, seed, width.
    """

    arms: tuple[Literal["subset", "kip", "adv_kip"], ...] = setting(
        ("subset",), "sets that networks train on", filled=True, distinct=True
    )
    depth: int = setting(1, "hidden layers of the kernel, and of lazy networks", low=1)
    widths: tuple[int, ...] = setting(
        (256, 1024, 4096), "widths m of the networks", low=2, increasing=True, filled=True
    )
    network: Literal["lazy", "standard"] = setting(
        "lazy", "in NTK parametrisation by gradient descent, or standard by Adam"
    )
    doubled: bool = setting(True, "they start at 0, by pairs of opposite neurons", of={"network": ["lazy"]})
    net_rate: float = setting(1e-3, "their step size", above=0, of={"network": ["standard"]})
    net_steps: int = setting(300, "their steps, lazy ones of 1/lambda_max", low=1)

    def check(self) -> None:
        """Refuse networks that cannot start at 0."""
        super().check()
        odd = self.depth != 1 or any(width % 2 for width in self.widths)
        if self.network == "lazy" and self.doubled and odd:
            raise ValueError("doubled networks need depth=1 and even widths")

    def jobs(self) -> Staged:
        """The sets, then every width's network on each."""
        problems = {arm: self.problem(arm) for arm in self.arms}
        end = {"support": o.support, "support_class": o.support_class}
        sets = yield {
            arm: self.job(arm, problems[arm], observe_end=end, when=[], whole=True) for arm in problems
        }
        data = {arm: self._made(problems[arm], sets[arm]) for arm in self.arms}
        boxed = {arm: boxes.of(problems[arm].data) for arm in self.arms}
        trained = yield {
            f"{arm}_{width}": self._network(data[arm], boxed[arm], width)
            for arm in self.arms
            for width in self.widths
        }
        arms = {}
        for arm, found in sets.items():
            parts = {str(m): trained[f"{arm}_{m}"] for m in self.widths}
            joined = results.without_steps(results.by_number(parts, "width", self.widths))
            joined = joined.assign_attrs({name: found.attrs[name] for name in ("problem", "descent")})
            arms[arm] = joined.assign(first_nonfinite_step=found.first_nonfinite_step)
        return results.join(arms, "training")

    def _made(self, problem, found) -> Made:
        """Each seed's set as its data, with the test images of the data that it comes from."""
        seeds, sources = found.seed.values.tolist(), []
        for seed in seeds:
            one, draw = found.sel(seed=seed), problem.sample(named_key(seed_key(seed), "data"))
            signs, classes = tuple(map(int, draw.class_signs)), one.support_class.values.astype(int)
            counts, test = (self.num_support, self.num_test), (draw.test.x, draw.test.target)
            sources.append(LabelledImages(jnp.asarray(one.support.values), classes, signs, *counts, *test))
        return Made.of(seeds, sources)

    def _network(self, data, box, width):
        classes, steps = len(data.source.class_signs), self.net_steps
        end = {"under": self.attacked(box, "clean", "pgd", "margin", "worst")}
        if self.network == "standard":
            problem = Problem(data, MLP((width,), classes), loss="cross_entropy")
            rule = named("adam", self.net_rate)
        else:
            sizes = {"weight_std": self.weight_std, "bias_std": self.bias_std, "doubled": self.doubled}
            model = NTKNetwork(width, self.depth, classes, activation=Activation(self.kernel), **sizes)
            problem = Problem(data, model, loss="squared", reduction="sum")
            rate = PerSeed(inverse_largest.given(kernel=self.dual_kernel))
            how = {"kernel": self.dual_kernel, "steps": steps, "learning_rate": rate}
            rule, end = named("gd", rate), {"kernel_gap": o.kernel_gap.given(**how)} | end
        return Job(problem, rule, steps=steps, when=[steps], observe_end=end)


_DIGITS = Distillation()
_MNIST = Distillation(data="mnist", radius=0.1, learning_rate=2e-2, steps=100, attack_steps=3)
_TWO = replace(_DIGITS, arms=("subset", "adv_kip"))
PRESETS = {
    "small": _DIGITS,
    "paper": replace(
        _MNIST, num_samples=4000, num_test=1000, num_support=1000, radius=0.3, attack_steps=10,
        learning_rate=1e-2, batch_size=500, steps=1000, depth=3, curve_radii=(0.0, 0.1, 0.2, 0.3, 0.5),
    ),
    "mnist": _MNIST,
    "near": replace(_DIGITS, radius=0.1, steps=200),
    "margin": replace(_TWO, attack_loss="margin"),
    "cross_entropy": replace(_TWO, outer="cross_entropy", steps=200),
    "scaled": replace(_TWO, outer="cross_entropy", logit_scale=10.0, steps=200),
    "labels": replace(_TWO, attack_steps=1, learn_labels=True, steps=300),
    "sign": replace(_DIGITS, descent="sign", normalize=True, ball=0.3, arms=("subset", "kip", "adv_kip")),
    "networks": Networks(),
    "deployed": Networks(arms=("subset", "kip", "adv_kip"), widths=(256, 1024)),
    "standard": Networks(
        network="standard", arms=("subset", "kip", "adv_kip"), widths=(512,), net_steps=1500
    ),
    "rescaling": Rescaling(num_samples=300, num_support=300, ridge=1e-4),
}  # fmt: skip


def train(config: Any) -> Training:
    """The setting's jobs: in float64, but for `Rescaling`, which is about float32."""
    return in_precision(not isinstance(config, Rescaling), type(config).jobs, config)


def old(values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Setting and fields of a result from when one class had all fields, and 0 stood for what is None now."""
    cls = {"networks": Networks, "rescaling": Rescaling}.get(values.get("part", ""), Distillation)
    values = values | {name: values.get(name) or None for name in ("ball", "test_radius")}
    if cls is Rescaling:
        values["radius"] = values["test_radius"] or values.get("radius", 0.2)
    return cls.__name__, kept(cls, values)
