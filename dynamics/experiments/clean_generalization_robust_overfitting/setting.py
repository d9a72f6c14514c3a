"""Why does adversarial training generalise on clean data and overfit robustly?

Li & Li 2025, "On the Clean Generalization and Robust Overfitting in Adversarial Training from Two
Theoretical Views: Representation Complexity and Training Dynamics", arXiv:2306.01271.
"""

import dataclasses
import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from dynamics import observables, results
from dynamics.adversary import PGD, FeatureAttack, FeatureShift
from dynamics.data import box as boxes
from dynamics.data.parity import Parity
from dynamics.data.patches import SignalNoise
from dynamics.data.shared import Shared
from dynamics.data.shipped import SHIPPED_COUNTS
from dynamics.engine.job import Job
from dynamics.engine.stages import Staged
from dynamics.laws import clean_generalization_robust_overfitting as laws
from dynamics.models import memorised_balls
from dynamics.models.activations import Activation
from dynamics.models.mlp import MLP
from dynamics.models.patch_cnn import PatchCNN
from dynamics.parts import Axis
from dynamics.problem import Problem
from dynamics.study.config import TrainingConfig, setting

SYNTHETIC = ("patches", "parity")


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """Adversarial training on patches of signal and noise or on images, or networks written down.

    Where `num_samples`, `width` or `gamma` are lists, every combination is trained.
    """

    data: str = setting("patches", "patches, parity, mnist, digits, or a path of image or feature files")
    box: tuple[float, ...] = setting((), boxes.ABOUT, low=-boxes.FARTHEST, high=boxes.FARTHEST)
    dim: int = setting(100, "dimension of a patch d; of parity D", low=2)
    num_patches: int = setting(2, "patches P of an input, the signal patch included", low=1)
    num_samples: tuple[int, ...] = setting((20,), "training samples N", low=1, distinct=True, filled=True)
    num_test: int = setting(500, "test samples", low=1)
    num_points: int = setting(500, "of the training and of the test samples, how many PGD attacks", low=1)
    signal: float = setting(0.0, "signal strength alpha; 0: d^0.249; of parity: a, 0: 0.1", low=0)
    noise: float = setting(0.0, "noise sigma, standard deviation per coordinate; 0: d^-0.509", low=0)
    direction: Literal["first_axis", "random"] = setting("first_axis", "signal direction w*")
    signal_patch: Literal["first", "random"] = setting("first", "which patch holds the signal")
    labels: Literal["balanced", "random"] = setting("balanced", "labels in turn, or drawn")
    width: tuple[int, ...] = setting(
        (20,), "neurons m (of each sign if signed; images: hidden units)", low=1, distinct=True, filled=True
    )
    activation: Literal["odd_power", "relu_power", "relu"] = setting(
        "odd_power", "sign(z)|z|^q, ReLU(z)^q, or ReLU(z)"
    )
    power: float = setting(3.0, "power q of the activation", low=1)
    signed: bool = setting(False, "neurons with second layer -1 beside those with +1")
    init_scale: float = setting(0.0, "initial standard deviation sigma_0 of the weights; 0: d^-1/2", low=0)
    attack: Literal["fixed", "model", "pgd", "none"] = setting(
        "fixed",
        "training adversary: against w* whatever the network, the worse of both shifts along w*, "
        "PGD in all directions (l2; images: linf), none",
    )
    gamma: tuple[float, ...] = setting(
        (0.02,),
        "what the adversary leaves of the signal, (alpha - delta)/alpha",
        low=-1,
        high=1,
        distinct=True,
        filled=True,
    )
    radius: float = setting(0.0, "radius delta of the adversary, in place of gamma; 0: by gamma", low=0)
    adversarial_weight: float = setting(
        0.9, "weight lambda of the adversarial loss beside 1 - lambda of the clean one", low=0, high=1
    )
    learning_rate: float = setting(0.02, "step size eta", above=0)
    steps: int = setting(10_000, "number of steps T", low=0)
    records: int = setting(121, "recording times", low=2)
    train_attack_steps: int = setting(5, "PGD steps of training", low=1)
    attack_steps: int = setting(20, "PGD steps of the evaluation at the end; 0: none", low=0)
    radii: tuple[float, ...] = setting(
        (),
        "radii of the evaluation; none given: up to alpha + 0.1; images: up to twice the radius",
        low=0,
        increasing=True,
    )
    classifier: Literal["memorising", "clean", "robust"] = setting(
        "memorising", "network written down on parity: clean with memorised balls, clean, or the parity"
    )
    ramp: float = setting(0.1, "width tau of the edge of a memorised ball", above=0)

    def check(self) -> None:
        """Refuse what does not fit together."""
        super().check()
        if self.radius and len(self.gamma) > 1:
            raise ValueError(f"radius is one number for all: give it or several gamma, got {self.gamma}")
        of_file = self.on_images and self.data not in SHIPPED_COUNTS
        boxes.asked(self.box, of_file=of_file, where=f"data={self.data!r}")
        if self.data == "parity":
            self._check_parity()
        elif self.data != "patches":
            self._check_images()

    def _check_parity(self) -> None:
        if self.steps:
            raise ValueError(f"networks on parity are written down, not trained: steps=0, got {self.steps}")
        if len(self.width) > 1 or len(self.gamma) > 1:
            raise ValueError("networks on parity have no width or gamma: give one of each")
        if not self.radius + self.ramp < 1:
            raise ValueError(
                "balls of opposite labels must be disjoint: radius + ramp below 1, "
                f"got {self.radius:g} + {self.ramp:g}"
            )

    def _check_images(self) -> None:
        shipped = SHIPPED_COUNTS.get(self.data)
        if shipped is None and not Path(self.data).exists():
            raise ValueError(
                f"data must be patches, parity, mnist, digits or an existing path, got {self.data!r}"
            )
        if shipped is not None and max(self.num_samples) + self.num_test > shipped:
            raise ValueError(
                f"num_samples + num_test must be at most the {shipped} images of {self.data}, "
                f"got {max(self.num_samples)} + {self.num_test}"
            )
        if self.attack in ("fixed", "model"):
            raise ValueError(
                f"images have no signal to shift: attack must be pgd or none, got {self.attack!r}"
            )
        if not self.radius:
            raise ValueError("images need the radius of the adversary, got 0")

    @property
    def on_images(self) -> bool:
        """Whether the data are images."""
        return self.data not in SYNTHETIC

    @property
    def alpha(self) -> float:
        """The signal strength."""
        return self.signal or (0.1 if self.data == "parity" else self.dim**0.249)

    @property
    def sigma(self) -> float:
        """The standard deviation of the noise."""
        return self.noise or self.dim**-0.509

    @property
    def noise_square(self) -> float:
        r"""$E\|\xi\|^2 = \sigma^2(d-1)$ of a noise patch."""
        return self.sigma**2 * (self.dim - 1)

    @property
    def sigma_0(self) -> float:
        """The initial standard deviation of the weights."""
        return self.init_scale or self.dim**-0.5

    @property
    def residuals(self) -> tuple[float, ...]:
        r"""$\gamma$ in use: $\alpha'/\alpha$ of each adversary."""
        return ((self.alpha - self.radius) / self.alpha,) if self.radius else self.gamma

    @property
    def shifts(self) -> tuple[float, ...]:
        r"""Radius $\delta$ of each adversary."""
        return (self.radius,) if self.radius else tuple(self.alpha * (1 - g) for g in self.gamma)

    @property
    def arms(self) -> dict[str, tuple[int, int]]:
        """Number of samples and width of each network, by name."""
        width = "" if self.data == "parity" else ", m={}"
        pairs = itertools.product(self.num_samples, self.width)
        return {f"N={pair[0]}" + width.format(pair[1]): pair for pair in pairs}

    @property
    def evaluation_radii(self) -> tuple[float, ...]:
        """Radii of the evaluation at the end."""
        if self.radii:
            return self.radii
        if self.on_images:
            return tuple(factor * self.radius for factor in (0.5, 1.0, 1.5, 2.0))
        return tuple(sorted({1.0, *np.linspace(0.5, self.alpha + 0.1, 7).tolist()}))

    def race(self, num_samples: int, residual: float) -> laws.Race:
        """What the laws depend on, for one number of samples and one adversary."""
        return laws.Race(
            signal=self.alpha,
            residual=abs(residual) * self.alpha,
            noise_square=self.noise_square,
            num_samples=num_samples,
            adversarial_weight=self.adversarial_weight,
            learning_rate=self.learning_rate,
            power=self.power,
        )

    @property
    def starts(self) -> tuple[float, float]:
        r"""About the largest initial signal and memory: $\sigma_0\sqrt{2\ln m}$, and that times $\|\xi\|$."""
        width = self.width[0]
        length = math.sqrt(self.noise_square)
        return tuple(laws.largest_start(self.sigma_0, size, width) for size in (1.0, length))

    def phase_times(self, num_samples: int) -> tuple[float, float]:
        """About the steps at which the signal is learned (phase I) and the noise is memorised (phase III)."""
        race = self.race(num_samples, 0.0)
        signal, memory = self.starts
        return race.signal_time(signal), race.memory_time(memory)

    def threshold(self, num_samples: int) -> float:
        r"""About $\gamma_c$, from the largest starts and the laws alone; nan where there is no race."""
        if not 0 < self.adversarial_weight < 1 or self.num_patches < 2:
            return math.nan
        race = self.race(num_samples, 0.0)
        signal, memory = self.starts
        strength = race.signal_strength(self.phase_times(num_samples)[1], signal)
        return race.threshold(strength, memory)


_SMALL = Config()
_DIGITS = Config(
    data="digits",
    width=(4, 16, 64, 256),
    num_samples=(600,),
    num_test=600,
    num_points=600,
    attack="pgd",
    radius=0.15,
    adversarial_weight=1.0,
    descent="adam",
    learning_rate=3e-3,
    batch_size=100,
    steps=3000,
    records=16,
)
PRESETS = {
    "small": _SMALL,
    "paper": dataclasses.replace(
        _SMALL, dim=400, num_patches=4, num_samples=(40,), width=(40,), gamma=(0.01,), steps=36_000
    ),
    "threshold": dataclasses.replace(
        _SMALL,
        num_samples=(10, 20, 40),
        gamma=(0.02, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12),
        steps=24_000,
        records=61,
        attack_steps=0,
    ),
    "construction": dataclasses.replace(
        _SMALL,
        data="parity",
        dim=12,
        num_samples=(200,),
        num_test=1000,
        num_points=1000,
        radius=0.2,
        steps=0,
        records=2,
        attack_steps=5,
    ),
    "digits": _DIGITS,
    # at the customary radius 0.3 networks of these widths stay at chance
    "mnist": dataclasses.replace(_DIGITS, data="mnist", num_samples=(4000,), num_test=1000, radius=0.1),
}


def data(config: Config, num_samples: int):
    """The data distribution."""
    if config.on_images:
        from dynamics.data import images

        return images.load(config.data, num_train=num_samples, num_test=config.num_test, box=config.box)
    if config.data == "parity":
        return Parity(config.dim, num_samples, config.num_test, signal=config.alpha)
    return SignalNoise(
        config.dim,
        config.num_patches,
        num_samples,
        config.num_test,
        direction=config.direction,
        signal_patch=config.signal_patch,
        labels=config.labels,
        signal=config.alpha,
        noise=config.sigma,
    )


def _radius(config: Config) -> float | Axis:
    return config.shifts[0] if len(config.shifts) == 1 else Axis("gamma", config.shifts)


def adversary(config: Config, box: boxes.Box) -> Any:
    """The adversary of training, which keeps to the data's box, or None."""
    if config.attack == "none" or config.adversarial_weight == 0 or config.data == "parity":
        return None
    if config.attack == "pgd":
        norm = "linf" if config.on_images else "l2"
        return PGD(_radius(config), norm=norm, steps=config.train_attack_steps, box=box)
    return FeatureShift(_radius(config), either_way=config.attack == "model")


def problem(config: Config, num_samples: int, width: int) -> Problem:
    """The problem of one number of samples and one width."""
    source = data(config, num_samples)
    if config.data == "parity":
        return _written_down(config, source)
    attack = adversary(config, boxes.of(source))
    weight = config.adversarial_weight if attack is not None and config.adversarial_weight < 1 else None
    shared = {"adversary": attack, "adversarial_weight": weight}
    if config.on_images:
        model = MLP((width,), len(source.class_signs))
        loss = {"loss": "cross_entropy"}
    else:
        activation = Activation(config.activation, power=config.power)
        model = PatchCNN(width, signed=config.signed, activation=activation)
        loss = {"loss": "logistic", "init_scale": config.sigma_0}
    return Problem(Shared(source) if config.shared_data else source, model, **loss, **shared)


def _written_down(config, source):
    radius = config.shifts[0]
    if config.classifier == "robust":
        shape = 1, memorised_balls.parity_widths(config.dim)
        start = memorised_balls.SignParity(1 - radius)
    else:
        shape = source.num_samples, memorised_balls.ball_widths(config.dim)
        height = None if config.classifier == "memorising" else 0.0
        start = memorised_balls.MemorisedBalls(radius, config.ramp, height)
    return Problem(source, memorised_balls.Towers(*shape), start=start)


def observed(config: Config, box: boxes.Box = None) -> tuple[dict, dict]:
    """What is recorded at every recording time, and at the end; attacks keep to the data's box."""
    o = observables
    always = {
        "training_loss": o.training_loss,
        "clean_train": o.accuracy.given(points="train"),
        "clean_test": o.accuracy.given(points="test"),
    }
    if config.data == "parity":
        return always, _construction(config)
    if config.on_images:
        return always, _on_images(config, box)
    shift = FeatureShift(_radius(config))
    for points in ("train", "test"):
        always[f"robust_{points}"] = o.robust_accuracy.given(attack=shift, points=points)
    families = {"family": (0, -1)}
    always |= {
        "margins": o.margins,
        "scores": o.patch_scores.given(**families),
        "robust_scores": o.patch_scores.given(**families, attack=shift),
        "signals": o.projection,
        "alignment": o.alignment,
    }
    end = {"test_scores": o.test_patch_scores.given(**families)}
    if config.num_patches > 1:
        always["memory_strength"] = o.memory_strength
        end |= {"noise_square": o.noise_square, "patch_alignment": o.patch_alignment}
    if config.attack_steps:
        given = {"radius": jnp.asarray(config.evaluation_radii, float), "objective": "margin"}
        given["num_points"] = config.num_points
        within = PGD(0.0, steps=config.attack_steps, span="features")
        everywhere = PGD(0.0, steps=config.attack_steps)
        for points in ("train", "test"):
            for name, attack in (("shift", shift), ("span", within), ("full", everywhere)):
                if points == "test" or name == "full":
                    attack = dataclasses.replace(attack, radius=0.0)
                    end[f"{name}_{points}"] = o.robust_curve.given(attack=attack, points=points, **given)
    return always, end


@observables.observable(about="share of test points with signs of their own")
def unseen_test(params, problem, draw, num_points):
    """Share of the first `num_points` test inputs of parity whose signs no training input has."""
    train, test = draw.train.x[:, 1:], draw.test.x[:num_points, 1:]
    seen = jnp.any(test @ train.T > train.shape[1] - 0.5, axis=1)
    return jnp.mean(~seen, dtype=test.dtype)


def _construction(config):
    o, end = observables, {"num_parameters": observables.num_parameters}
    end["unseen_test"] = unseen_test.given(num_points=config.num_points)
    attacks = {"shift": FeatureAttack(config.shifts[0])}
    if config.attack_steps:
        attacks["pgd"] = PGD(config.shifts[0], norm="linf", steps=config.attack_steps)
    for points, (name, attack) in itertools.product(("train", "test"), attacks.items()):
        given = {"attack": attack, "points": points, "objective": "margin", "num_points": config.num_points}
        end[f"robust_{points}_{name}"] = o.robust_accuracy.given(**given)
    return end


def _on_images(config, box):
    o, end = observables, {"num_parameters": observables.num_parameters}
    if not config.attack_steps:
        return end
    attack = PGD(config.radius, norm="linf", steps=config.attack_steps, box=box)
    given = {"radius": jnp.asarray(config.evaluation_radii, float), "num_points": config.num_points}
    for points in ("train", "test"):
        one = {"attack": attack, "points": points, "num_points": config.num_points}
        end[f"robust_{points}"] = o.robust_accuracy.given(**one)
        for name, what in (
            ("robust_curve", o.robust_curve),
            ("loss_rise", o.loss_rise),
            ("input_gradient", o.input_gradient),
            ("gradient_supremum", o.gradient_supremum),
        ):
            end[f"{name}_{points}"] = what.given(attack=attack, points=points, **given)
    return end


def train(config: Config) -> Staged:
    """Train every network asked for; dimensions `arm` (samples and width) and `gamma` tell them apart."""

    def job(samples, width):
        trained = problem(config, samples, width)
        always, end = observed(config, boxes.of(trained.data))
        return Job(
            trained,
            config.update_rule,
            steps=config.steps,
            observe=always,
            observe_end=end,
            when=config.recording_times(),
            batch_size=config.batch_size or None,
        )

    found = yield {name: job(*sizes) for name, sizes in config.arms.items()}
    gamma = np.asarray(config.residuals)
    several = (one if "gamma" in one.dims else one.expand_dims("gamma") for one in found.values())
    named = (one.assign_coords(gamma=gamma) for one in several)
    return results.join(dict(zip(found, named, strict=True)), "arm")
