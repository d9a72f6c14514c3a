"""What parts, observables, rules and problems print can be read again, and is what one writes."""

import flax.linen as nn
import numpy as np
import pytest

import dynamics
from dynamics import Axis, Problem, adversary, data, descent, models, observables, optax, steepest
from dynamics.adversary import PGD
from dynamics.data import Clusters, RobustNonRobust
from dynamics.descriptions import describe
from dynamics.models import Activation, PatchCNN
from dynamics.observables.base import observable

NAMES = {
    **{name: getattr(module, name) for module in (data, models, adversary) for name in module.__all__},
    **{"Axis": Axis, "Problem": Problem, "steepest": steepest, "optax": optax},
    **{"descent": descent, "observables": observables},
}
NESTED = Problem(
    RobustNonRobust(9, 2, 4),
    PatchCNN(3, 2, activation=Activation("smoothed_relu"), counts=(1,)),
    loss="cross_entropy",
)
WRITTEN = {
    'steepest("l2", 0.1)': steepest("l2", 0.1),
    'steepest("linf", learning_rate=Axis("rate", [0.1, 0.2]), momentum=0.9)': steepest(
        "linf", learning_rate=Axis("rate", [0.1, 0.2]), momentum=0.9
    ),
    'descent.named("adam", 0.01)': descent.named("adam", 0.01),
    "descent.traced(optax.adamw, learning_rate=0.1)": descent.traced(optax.adamw, learning_rate=0.1),
    'descent.on_log_loss(steepest("l2", 0.1))': descent.on_log_loss(steepest("l2", 0.1)),
    "optax.chain(optax.clip(1.0), optax.adamw(0.1, weight_decay=0.01))": optax.chain(
        optax.clip(1.0), optax.adamw(0.1, weight_decay=0.01)
    ),
    "optax.sgd(optax.exponential_decay(0.1, 9, decay_rate=0.5))": optax.sgd(
        optax.exponential_decay(0.1, 9, decay_rate=0.5)
    ),
    "observables.alignment": observables.alignment,
    "observables.robust_accuracy.given(attack=PGD(radius=0.3, steps=7))": (
        observables.robust_accuracy.given(attack=PGD(0.3, steps=7))
    ),
    'Clusters(dim=9, num_clusters=2, num_samples=5, noise=Axis("noise", [0.5, 1.0]))': (
        Clusters(9, 2, 5, noise=Axis("noise", [0.5, 1.0]))
    ),
    "Problem(data=RobustNonRobust(dim=9, num_classes=2, num_samples=4), model=PatchCNN(width=3, "
    'num_outputs=2, activation=Activation(name="smoothed_relu"), counts=(1,)), loss="cross_entropy")': NESTED,
}


@pytest.mark.parametrize("text", WRITTEN)
def test_things_print_as_they_are_written(text):
    thing = WRITTEN[text]
    assert repr(thing).replace("'", '"') == text
    assert describe(eval(repr(thing), dict(NAMES))) == describe(thing)


def test_things_of_a_users_own():
    @observable()
    def largest(params, problem, draw, times=1):
        return times

    class Own(nn.Module):
        width: int

        def __call__(self, x):
            return x

    assert repr(largest.given(times=2)) == "largest.given(times=2)"
    assert repr(Problem(Clusters(3, 1, 2), Own(4))).endswith("Own(width=4))")
    assert "x=float64[2, 3], y=[1.0, -1.0]," in repr(data.from_arrays(np.ones((2, 3)), np.array([1.0, -1.0])))


def test_every_public_name_is_there():
    for name in dynamics.__all__:
        assert getattr(dynamics, name) is not None
