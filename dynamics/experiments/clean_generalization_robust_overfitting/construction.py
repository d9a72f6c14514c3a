"""Networks that are written down on parity: a classifier with memorised balls or without, or the parity."""

from dataclasses import dataclass
from itertools import product
from typing import Literal

import jax.numpy as jnp

from dynamics import observables as o
from dynamics.adversary import PGD, FeatureAttack
from dynamics.data.parity import Parity
from dynamics.descent import steepest
from dynamics.engine.job import Job
from dynamics.engine.stages import Jobs
from dynamics.experiments.clean_generalization_robust_overfitting.setting import Networks
from dynamics.models.memorised_balls import MemorisedBalls, SignParity, Towers, ball_widths, parity_widths
from dynamics.problem import Problem
from dynamics.study.config import setting


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

    def data(self, num_samples: int) -> Parity:
        """The data distribution."""
        return self.into(Parity, num_samples=num_samples)

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
        always = {
            "training_loss": o.training_loss,
            "clean_train": o.accuracy.given(points="train"),
            "clean_test": o.accuracy.given(points="test"),
        }
        end = {
            "num_parameters": o.num_parameters,
            "unseen_test": unseen_test.given(num_points=self.num_points),
        }
        attacks = {"shift": FeatureAttack(self.radius)}
        if self.attack_steps:
            attacks["pgd"] = PGD(self.radius, norm="linf", steps=self.attack_steps)
        for points, (name, attack) in product(("train", "test"), attacks.items()):
            given = {"attack": attack, "points": points, "objective": "margin"}
            end[f"robust_{points}_{name}"] = o.robust_accuracy.given(num_points=self.num_points, **given)
        problem = Problem(self.data(num_samples), Towers(*shape), start=start)
        return Job(problem, steepest("l2", 1.0), steps=0, observe=always, observe_end=end)


CONSTRUCTION = Construction(num_samples=(200,), num_test=1000, num_points=1000, attack_steps=5)


@o.observable(about="share of test points with signs of their own")
def unseen_test(params, problem, draw, num_points):
    """Share of the first `num_points` test inputs of parity whose signs no training input has."""
    train, test = draw.train.x[:, 1:], draw.test.x[:num_points, 1:]
    seen = jnp.any(test @ train.T > train.shape[1] - 0.5, axis=1)
    return jnp.mean(~seen, dtype=test.dtype)
