"""Images, where networks of several widths are trained adversarially in an linf ball."""

from dataclasses import dataclass, replace
from typing import Literal

import jax.numpy as jnp

from dynamics import Problem
from dynamics import observables as o
from dynamics.adversary import PGD
from dynamics.data import Shared, images
from dynamics.engine.stages import Jobs
from dynamics.experiments.clean_generalization_robust_overfitting.setting import ALWAYS, Trained
from dynamics.models import MLP
from dynamics.study.config import setting
from dynamics.study.images import OnImages


@dataclass(frozen=True, kw_only=True)
class Images(OnImages, Trained):
    """Networks of several widths on images, trained against PGD or plainly."""

    attack: Literal["pgd", "none"] = setting("pgd", "training adversary")
    radius: float = setting(0.15, "linf radius delta of the adversary", above=0)

    def check(self) -> None:
        """Refuse to ask for more images than there are."""
        super().check()
        self.ask_for({"num_samples": max(self.num_samples), "num_test": self.num_test})

    @property
    def evaluation_radii(self) -> tuple[float, ...]:
        """Radii of the evaluation at the end, by default up to twice that of training."""
        return self.radii or tuple(factor * self.radius for factor in (0.5, 1.0, 1.5, 2.0))

    def jobs(self) -> Jobs:
        """Train every network asked for; dimension `arm` (samples and width) tells them apart."""
        return {name: self._trained(*sizes) for name, sizes in self.arms.items()}

    def _trained(self, num_samples, width):
        source = images.load(self.data, num_train=num_samples, num_test=self.num_test, box=self.box)
        ball = {"norm": "linf", "box": source.box}
        problem = Problem(
            Shared(source) if self.shared_data else source,
            MLP((width,), len(source.class_signs)),
            loss="cross_entropy",
            **self.mixed(PGD(self.radius, steps=self.train_attack_steps, **ball)),
        )
        end = {"num_parameters": o.num_parameters}
        curves = {"robust_curve": o.robust_curve, "loss_rise": o.loss_rise}
        curves |= {"input_gradient": o.input_gradient, "gradient_supremum": o.gradient_supremum}
        for points in ("train", "test") if self.attack_steps else ():
            attack = PGD(self.radius, steps=self.attack_steps, **ball)
            one = {"attack": attack, "points": points, "num_points": self.num_points}
            end[f"robust_{points}"] = o.robust_accuracy.given(**one)
            radius = jnp.asarray(self.evaluation_radii, float)
            end |= {f"{name}_{points}": what.given(radius=radius, **one) for name, what in curves.items()}
        return self.job(problem, observe=ALWAYS, observe_end=end)


DIGITS = Images(
    width=(4, 16, 64, 256), num_samples=(600,), num_test=600, num_points=600, adversarial_weight=1.0,
    descent="adam", learning_rate=3e-3, batch_size=100, steps=3000, records=16,
)  # fmt: skip
PRESETS = {
    "digits": DIGITS,
    # at the customary radius 0.3 networks of these widths stay at chance
    "mnist": replace(DIGITS, data="mnist", num_samples=(4000,), num_test=1000, radius=0.1),
}
