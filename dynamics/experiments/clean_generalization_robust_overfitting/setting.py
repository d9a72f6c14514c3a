"""The settings of Li & Li 2025, arXiv:2306.01271: patches of signal and noise, and networks written down."""

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np

from dynamics import Axis, Job, Problem, results
from dynamics import observables as o
from dynamics.adversary import PGD, FeatureAttack, FeatureShift
from dynamics.data import Parity, Shared, SignalNoise
from dynamics.data.patches import Direction, Labels, SignalPatch
from dynamics.descent import steepest
from dynamics.engine.stages import Jobs, Staged
from dynamics.laws import clean_generalization_robust_overfitting as laws
from dynamics.models import Activation, PatchCNN
from dynamics.models.memorised_balls import MemorisedBalls, SignParity, Towers, ball_widths, parity_widths
from dynamics.study.config import Config, TrainingConfig, setting

ALWAYS = {"training_loss": o.training_loss, "clean_train": o.accuracy.given(points="train")}
ALWAYS |= {"clean_test": o.accuracy.given(points="test")}


@dataclass(frozen=True, kw_only=True)
class Networks(Config):
    """What all settings share. Where `num_samples` or `width` are lists, every combination is a network."""

    num_samples: tuple[int, ...] = setting((20,), "training samples N", low=1, distinct=True, filled=True)
    num_test: int = setting(500, "test samples", low=1)
    num_points: int = setting(500, "of the training and of the test samples, how many PGD attacks", low=1)
    attack_steps: int = setting(20, "PGD steps of the evaluation at the end; 0: none", low=0)

    @property
    def arms(self) -> Mapping[str, tuple[int, ...]]:
        """Number of samples of each network, by name."""
        return {f"N={count}": (count,) for count in self.num_samples}


@dataclass(frozen=True, kw_only=True)
class Trained(TrainingConfig, Networks):
    """What settings share that train networks adversarially."""

    width: tuple[int, ...] = setting(
        (20,), "hidden neurons m (of each sign if signed)", low=1, distinct=True, filled=True
    )
    adversarial_weight: float = setting(
        0.9, "weight lambda of the adversarial loss beside 1 - lambda of the clean one", low=0, high=1
    )
    train_attack_steps: int = setting(5, "PGD steps of training", low=1, of={"attack": ["pgd"]})
    radii: tuple[float, ...] = setting(
        (), "radii of the evaluation; none: about that of training", low=0, increasing=True
    )

    @property
    def arms(self) -> Mapping[str, tuple[int, ...]]:
        """Number of samples and width of each network, by name."""
        return {f"N={n}, m={m}": (n, m) for n, m in itertools.product(self.num_samples, self.width)}

    def mixed(self, adversary: Any) -> dict[str, Any]:
        """The losses of a problem under an adversary of training, which is none where nothing is moved."""
        attacks = self.attack != "none" and self.adversarial_weight > 0
        weight = self.adversarial_weight if attacks and self.adversarial_weight < 1 else None
        return {"adversary": adversary if attacks else None, "adversarial_weight": weight}


@dataclass(frozen=True, kw_only=True)
class Patches(Trained):
    """Adversarial training on patches of signal and noise; of several `gamma` each is an adversary."""

    dim: int = setting(100, "dimension of a patch d", low=2)
    num_patches: int = setting(2, "patches P of an input, the signal patch included", low=1)
    signal: float | None = setting(None, "signal strength alpha; none: d^0.249", above=0)
    noise: float | None = setting(
        None, "noise sigma, standard deviation per coordinate; none: d^-0.509", above=0
    )
    direction: Direction = setting("first_axis", "signal direction w*")
    signal_patch: SignalPatch = setting("first", "which patch holds the signal")
    labels: Labels = setting("balanced", "labels in turn, or drawn")
    activation: Literal["odd_power", "relu_power", "relu"] = setting(
        "odd_power", "sign(z)|z|^q, ReLU(z)^q, or ReLU(z)"
    )
    power: float = setting(3.0, "power q", low=1, of={"activation": ["odd_power", "relu_power"]})
    signed: bool = setting(False, "neurons with second layer -1 beside those with +1")
    init_scale: float | None = setting(
        None, "initial standard deviation sigma_0 of the weights; none: d^-1/2", above=0
    )
    attack: Literal["fixed", "model", "pgd", "none"] = setting(
        "fixed",
        "training adversary: against w* whatever the network, the worse of both shifts along w*, PGD in all "
        "directions (l2), none",
    )
    gamma: tuple[float, ...] = setting(
        (0.02,), "what the adversary leaves of the signal, (alpha - delta)/alpha", low=-1, high=1,
        distinct=True, filled=True,
    )  # fmt: skip
    radius: float | None = setting(
        None, "radius delta of the adversary, in place of gamma; none: by gamma", low=0
    )
    learning_rate: float = 0.02
    steps: int = 10_000
    records: int = 121

    def check(self) -> None:
        """Refuse a radius beside several gamma."""
        super().check()
        if self.radius is not None and len(self.gamma) > 1:
            raise ValueError(f"radius is one number for all: give it or several gamma, got {self.gamma}")

    @property
    def alpha(self) -> float:
        """The signal strength."""
        return self.dim**0.249 if self.signal is None else self.signal

    @property
    def sigma(self) -> float:
        """The standard deviation of the noise."""
        return self.dim**-0.509 if self.noise is None else self.noise

    @property
    def noise_square(self) -> float:
        r"""$E\|\xi\|^2 = \sigma^2(d-1)$ of a noise patch."""
        return self.sigma**2 * (self.dim - 1)

    @property
    def sigma_0(self) -> float:
        """The initial standard deviation of the weights."""
        return self.dim**-0.5 if self.init_scale is None else self.init_scale

    @property
    def residuals(self) -> tuple[float, ...]:
        r"""$\gamma$ in use: $\alpha'/\alpha$ of each adversary."""
        return self.gamma if self.radius is None else ((self.alpha - self.radius) / self.alpha,)

    @property
    def shift(self) -> float | Axis:
        r"""Radius $\delta$ of the adversary, along the axis `gamma` if there are several."""
        if self.radius is not None:
            return self.radius
        shifts = tuple(self.alpha * (1 - g) for g in self.gamma)
        return shifts[0] if len(shifts) == 1 else Axis("gamma", shifts)

    @property
    def evaluation_radii(self) -> tuple[float, ...]:
        """Radii of the evaluation at the end, by default up to a little above the signal."""
        return self.radii or tuple(sorted({1.0, *np.linspace(0.5, self.alpha + 0.1, 7).tolist()}))

    def race(self, num_samples: int, residual: float) -> laws.Race:
        """What the laws depend on, for one number of samples and one adversary."""
        kept = {"noise_square": self.noise_square, "num_samples": num_samples}
        return self.into(laws.Race, signal=self.alpha, residual=abs(residual) * self.alpha, **kept)

    @property
    def starts(self) -> tuple[float, float]:
        r"""About the largest initial signal and memory: $\sigma_0\sqrt{2\ln m}$, and that times $\|\xi\|$."""
        sizes = (1.0, math.sqrt(self.noise_square))
        return tuple(laws.largest_start(self.sigma_0, size, self.width[0]) for size in sizes)

    def phase_times(self, num_samples: int) -> tuple[float, float]:
        """About the steps at which the signal is learned (phase I) and the noise is memorised (phase III)."""
        race, (signal, memory) = self.race(num_samples, 0.0), self.starts
        return race.signal_time(signal), race.memory_time(memory)

    def threshold(self, num_samples: int) -> float:
        r"""About $\gamma_c$, from the largest starts and the laws alone; nan where there is no race."""
        if not 0 < self.adversarial_weight < 1 or self.num_patches < 2:
            return math.nan
        race, (signal, memory) = self.race(num_samples, 0.0), self.starts
        strength = race.signal_strength(race.memory_time(memory), signal)
        return race.threshold(strength, memory)

    def jobs(self) -> Staged:
        """Train every network asked for; dimensions `arm` (samples and width) and `gamma` tell them apart."""
        how = observed(self)
        found = yield {name: self.job(problem(self, *sizes), **how) for name, sizes in self.arms.items()}
        gamma = np.asarray(self.residuals)
        several = {k: one if "gamma" in one.dims else one.expand_dims("gamma") for k, one in found.items()}
        return results.join({k: one.assign_coords(gamma=gamma) for k, one in several.items()}, "arm")


@dataclass(frozen=True, kw_only=True)
class Construction(Networks):
    """Networks that are written down on parity, and attacked."""

    dim: int = setting(12, "dimension D", low=2)
    signal: float = setting(0.1, "signal strength a", above=0)
    radius: float = setting(0.2, "radius delta of attacks and balls", low=0)
    classifier: Literal["memorising", "clean", "robust"] = setting(
        "memorising", "clean with memorised balls, clean, or the parity"
    )
    ramp: float = setting(0.1, "width tau of the edge of a ball", above=0)

    def check(self) -> None:
        """Refuse balls of opposite labels that meet."""
        super().check()
        if not self.radius + self.ramp < 1:
            raise ValueError(
                "balls of opposite labels must be disjoint: radius + ramp below 1, "
                f"got {self.radius:g} + {self.ramp:g}"
            )

    def jobs(self) -> Jobs:
        """Attack every network asked for; dimension `arm` (samples) tells them apart."""
        return {name: self._written_down(*sizes) for name, sizes in self.arms.items()}

    def _written_down(self, num_samples):
        if self.classifier == "robust":
            shape, start = (1, parity_widths(self.dim)), SignParity(1 - self.radius)
        else:
            height = None if self.classifier == "memorising" else 0.0
            shape = num_samples, ball_widths(self.dim)
            start = MemorisedBalls(self.radius, self.ramp, height)
        end = {"num_parameters": o.num_parameters}
        end["unseen_test"] = unseen_test.given(num_points=self.num_points)
        attacks = {"shift": FeatureAttack(self.radius)}
        if self.attack_steps:
            attacks["pgd"] = PGD(self.radius, norm="linf", steps=self.attack_steps)
        for points, (name, attack) in itertools.product(("train", "test"), attacks.items()):
            given = {"attack": attack, "points": points, "objective": "margin"}
            end[f"robust_{points}_{name}"] = o.robust_accuracy.given(num_points=self.num_points, **given)
        problem = Problem(self.into(Parity, num_samples=num_samples), Towers(*shape), start=start)
        return Job(problem, steepest("l2", 1.0), steps=0, observe=ALWAYS, observe_end=end)


SMALL = Patches()
PRESETS = {
    "small": SMALL,
    "paper": replace(
        SMALL, dim=400, num_patches=4, num_samples=(40,), width=(40,), gamma=(0.01,), steps=36_000
    ),
    "construction": Construction(num_samples=(200,), num_test=1000, num_points=1000, attack_steps=5),
    "threshold": replace(
        SMALL, num_samples=(10, 20, 40), gamma=(0.02, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12),
        steps=24_000, records=61, attack_steps=0,
    ),
}  # fmt: skip


def problem(config: Patches, num_samples: int, width: int) -> Problem:
    """The problem of one number of samples and one width."""
    source = config.into(SignalNoise, num_samples=num_samples, signal=config.alpha, noise=config.sigma)
    if config.attack == "pgd":
        adversary = PGD(config.shift, norm="l2", steps=config.train_attack_steps)
    else:
        adversary = FeatureShift(config.shift, either_way=config.attack == "model")
    activation = config.into(Activation, name=config.activation)
    return Problem(
        Shared(source) if config.shared_data else source,
        PatchCNN(width, signed=config.signed, activation=activation),
        loss="logistic",
        init_scale=config.sigma_0,
        **config.mixed(adversary),
    )


def observed(config: Patches) -> dict[str, dict]:
    """What is recorded at every recording time, and at the end."""
    shift, families = FeatureShift(config.shift), {"family": (0, -1)}
    always = ALWAYS | {
        "robust_train": o.robust_accuracy.given(attack=shift, points="train"),
        "robust_test": o.robust_accuracy.given(attack=shift, points="test"),
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
        made = {"shift_test": dataclasses.replace(shift, radius=0.0), "span_test": within}
        for name, attack in (made | {"full_train": everywhere, "full_test": everywhere}).items():
            end[name] = o.robust_curve.given(attack=attack, points=name.split("_")[1], **given)
    return {"observe": always, "observe_end": end}


@o.observable(about="share of test points with signs of their own")
def unseen_test(params, problem, draw, num_points):
    """Share of the first `num_points` test inputs of parity whose signs no training input has."""
    train, test = draw.train.x[:, 1:], draw.test.x[:num_points, 1:]
    seen = jnp.any(test @ train.T > train.shape[1] - 0.5, axis=1)
    return jnp.mean(~seen, dtype=test.dtype)
