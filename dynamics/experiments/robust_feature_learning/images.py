"""Which features does a network follow on images? Adversarial examples of two reference networks tell.

Perturbations of a plainly trained reference point to its non-robust features, those of an adversarially
trained one to robust features. References and examined networks are trained on disjoint halves. The split and
both references are those of `reference_seed` for every seed of a run: seeds differ in initial weights and
batches only.
"""

import jax.numpy as jnp
import numpy as np
import xarray as xr

from dynamics import observables as o
from dynamics.adversary import PGD
from dynamics.data import images
from dynamics.data.images import LabelledImages
from dynamics.engine.simulate import simulate
from dynamics.experiments.base import Engine, run_arms
from dynamics.models.mlp import MLP
from dynamics.problem import Problem


def split(config) -> tuple[LabelledImages, LabelledImages]:
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
        return LabelledImages(
            source.inputs[rows],
            source.classes[rows],
            source.class_signs,
            n,
            m,
            test_x,
            test_y,
            box=source.box,
        )

    return half(order[:n]), half(order[n : 2 * n])


def run(config, engine: Engine, attack_within) -> xr.Dataset:
    """Train both references, then the networks of each kind asked for, on the other half.

    `attack_within(box)` is the adversary of training.
    """
    first, second = split(config)
    attack = attack_within(first.box)
    model = MLP((config.hidden,), len(first.class_signs))
    x = jnp.asarray(second.test_inputs)
    target = (jnp.asarray(second.test_classes) + 1) % len(second.class_signs)
    goal = {"x": x, "target": target, "box": first.box, "steps": config.rate_steps}
    goal["radius"] = float(config.rate_radius or 2 * config.radius)

    def train(source, training, label, seeds, **observe):
        adversary = attack if training == "adversarial" else None
        return simulate(
            Problem(source, model, loss="cross_entropy", adversary=adversary),
            config.update_rule,
            steps=config.steps,
            batch_size=config.batch_size or None,
            **(engine.keywords(label) | seeds),
            **observe,
        )

    examples = {}
    for training in ("standard", "adversarial"):
        # one network serves all seeds, so it is no share of theirs
        alone = {"seeds": [config.reference_seed], "share": None}
        made = train(
            first, training, f"reference_{training}", alone, when=[config.steps],
            observe_end={"examples": o.targeted_examples.given(**goal)},
        )  # fmt: skip
        examples[training] = jnp.asarray(made.examples.values[0])

    robust = PGD(config.evaluation_radius, norm="linf", steps=config.test_steps or 1, box=first.box)
    observe = {
        "training_loss": o.training_loss,
        "accuracy": o.accuracy,
        "pgd_accuracy": o.robust_accuracy.given(attack=robust),
        "nonrobust_rate": o.share_taken_for.given(x=examples["standard"], target=target),
        "robust_rate": o.share_taken_for.given(x=examples["adversarial"], target=target),
    }

    def arm(training):
        return train(second, training, training, {}, observe=observe, when=config.recording_times())

    arms = ("standard", "adversarial") if config.training == "both" else (config.training,)
    return run_arms("training", dict.fromkeys(arms, arm))
