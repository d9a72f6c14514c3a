"""Which features does a network follow on images? Adversarial examples of two reference networks tell.

Perturbations of a plainly trained reference point to its non-robust features, those of an adversarially
trained one to robust features. References and examined networks are trained on disjoint halves. The split and
both references are those of `reference_seed` for every seed of a run: seeds differ in initial weights and
batches only.
"""

from dataclasses import dataclass, replace
from typing import Literal

import jax.numpy as jnp
import numpy as np

from dynamics import keys, results
from dynamics import observables as o
from dynamics.adversary import FGSM, PGD
from dynamics.data import images
from dynamics.data.images import LabelledImages
from dynamics.engine.stages import Staged
from dynamics.experiments.robust_feature_learning.setting import Compared
from dynamics.models.mlp import MLP
from dynamics.problem import Problem
from dynamics.study.config import setting
from dynamics.study.images import OnImages


@dataclass(frozen=True, kw_only=True)
class Images(OnImages, Compared):
    """Images, of which perturbations of reference networks tell the features that a network follows."""

    num_samples: int = setting(600, "training images N in each of the two halves", low=1)
    hidden: int = setting(128, "hidden neurons", low=1)
    radius: float = setting(0.15, "radius eps of training, linf", low=0)
    attack: Literal["one_step", "pgd"] = setting("pgd", "training attack: a normalised step, or pgd")
    attack_steps: int = setting(5, "PGD steps of training", low=1, of={"attack": ["pgd"]})
    test_steps: int = setting(20, "PGD steps of the evaluation", low=1)
    rate_radius: float | None = setting(None, "radius of the targeted examples; none: twice `radius`", low=0)
    rate_steps: int = setting(30, "PGD steps of the targeted examples", low=1)
    reference_seed: int = setting(0, "seed of split and reference networks", low=0, high=keys.MOST)

    def check(self) -> None:
        """Refuse to ask for more images than there are."""
        super().check()
        self.ask_for({"2 * num_samples": 2 * self.num_samples, "num_test": self.num_test})

    def jobs(self) -> Staged:
        """Train both references, then the networks of each kind asked for, on the other half."""
        first, second = split(self)
        ball = {"norm": "linf", "box": first.box}
        step = FGSM(self.radius, **ball)
        attack = PGD(self.radius, steps=self.attack_steps, **ball) if self.attack == "pgd" else step
        model = MLP((self.hidden,), len(first.class_signs))
        x = jnp.asarray(second.test_inputs)
        target = (jnp.asarray(second.test_classes) + 1) % len(second.class_signs)
        goal = {"x": x, "target": target, "box": first.box, "steps": self.rate_steps}
        goal["radius"] = 2 * self.radius if self.rate_radius is None else self.rate_radius

        def job(source, training, **options):
            adversary = attack if training == "adversarial" else None
            trained = Problem(source, model, loss="cross_entropy", adversary=adversary)
            return self.job(trained, **options)

        once = {"seeds": [self.reference_seed], "when": [self.steps]}  # one network serves all seeds
        once["observe_end"] = {"examples": o.targeted_examples.given(**goal)}
        made = yield {f"reference_{kind}": job(first, kind, **once) for kind in ("standard", "adversarial")}
        examples = {name: jnp.asarray(dataset.examples.values[0]) for name, dataset in made.items()}

        robust = PGD(self.evaluation_radius, steps=self.test_steps, **ball)
        observe = {
            "training_loss": o.training_loss,
            "accuracy": o.accuracy,
            "pgd_accuracy": o.robust_accuracy.given(attack=robust),
            "nonrobust_rate": o.share_taken_for.given(x=examples["reference_standard"], target=target),
            "robust_rate": o.share_taken_for.given(x=examples["reference_adversarial"], target=target),
        }
        found = yield {training: job(second, training, observe=observe) for training in self.arms}
        return results.join(found, "training")


DIGITS = Images(num_test=597, descent="adam", learning_rate=3e-3, batch_size=100, steps=1500, records=16)
PRESETS = {
    "digits": DIGITS,
    "mnist": replace(DIGITS, data="mnist", num_samples=2000, num_test=1000, hidden=256),
}


def split(config: Images) -> tuple[LabelledImages, LabelledImages]:
    """The references' half and the examined networks' half, with the same test images."""
    source = images.load(
        config.data, num_train=2 * config.num_samples, num_test=config.num_test, box=config.box
    )
    n, m = config.num_samples, config.num_test
    order = np.random.default_rng(config.reference_seed).permutation(len(source.inputs))
    if source.test_inputs is None:
        test_x, test_y = source.inputs[order[2 * n : 2 * n + m]], source.classes[order[2 * n : 2 * n + m]]
    else:
        test_x, test_y = source.test_inputs[:m], source.test_classes[:m]

    def half(rows):
        own = {"inputs": source.inputs[rows], "classes": source.classes[rows]}
        tests = {"num_test": m, "test_inputs": test_x, "test_classes": test_y}
        return replace(source, num_train=n, **own, **tests)

    return half(order[:n]), half(order[n : 2 * n])
