"""Which features does a network follow on images? Adversarial examples of two reference networks tell.

Perturbations of a plainly trained reference point to its non-robust features, those of an adversarially
trained one to robust features. References and examined networks are trained on disjoint halves. The split and
both references are those of `reference_seed` for every seed of a run: seeds differ in initial weights and
batches only.
"""

import jax.numpy as jnp
import numpy as np

from dynamics import observables as o
from dynamics import results
from dynamics.adversary import PGD
from dynamics.data import images
from dynamics.data.images import LabelledImages
from dynamics.engine.job import Job
from dynamics.engine.stages import Staged
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


def train(config, attack_within) -> Staged:
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

    def job(source, training, **options):
        adversary = attack if training == "adversarial" else None
        trained = Problem(source, model, loss="cross_entropy", adversary=adversary)
        size = config.batch_size or None
        return Job(trained, config.update_rule, steps=config.steps, batch_size=size, **options)

    once = {"seeds": [config.reference_seed], "when": [config.steps]}  # one network serves all seeds
    once["observe_end"] = {"examples": o.targeted_examples.given(**goal)}
    made = yield {f"reference_{kind}": job(first, kind, **once) for kind in ("standard", "adversarial")}
    examples = {name: jnp.asarray(dataset.examples.values[0]) for name, dataset in made.items()}

    robust = PGD(config.evaluation_radius, norm="linf", steps=config.test_steps or 1, box=first.box)
    observe = {
        "training_loss": o.training_loss,
        "accuracy": o.accuracy,
        "pgd_accuracy": o.robust_accuracy.given(attack=robust),
        "nonrobust_rate": o.share_taken_for.given(x=examples["reference_standard"], target=target),
        "robust_rate": o.share_taken_for.given(x=examples["reference_adversarial"], target=target),
    }
    arms = ("standard", "adversarial") if config.training == "both" else (config.training,)
    options = {"observe": observe, "when": config.recording_times()}
    found = yield {training: job(second, training, **options) for training in arms}
    return results.join(found, "training")
