"""Labels that a loss cannot be trained on, and inputs outside of a box: refused before a run is compiled."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from dynamics import asides
from dynamics.adversary import ball
from dynamics.data.arrays import Arrays
from dynamics.data.sample import Draw
from dynamics.engine import layout
from dynamics.keys import named_key, seed_key
from dynamics.observables.base import Observable
from dynamics.parts import merge, partition
from dynamics.problem import Problem, losses

SIGNED = tuple(name for name in losses.MARGIN_LOSSES if name != "squared")
"""Losses of the margin y f(x), which ask for labels -1 and +1."""


def are_known(data: Any) -> bool:
    """Whether data are this library's own, and what they are made of too: their labels need no check."""
    sources = [value for value in getattr(data, "__dict__", {}).values() if hasattr(value, "sample")]
    own = type(data).__module__.startswith("dynamics.") and not isinstance(data, Arrays)
    return own and all(map(are_known, sources))


def first_draw(
    problem: Problem, observed: Iterable[Observable], outputs: Sequence[int], seed: int, root: int
) -> None:
    """Refuse data of one's own, and data in the box of an attack, by what they give to the first seed.

    Args:
      problem: with one value in the place of every axis.
      outputs: shape of the network's outputs.

    Raises: ValueError: labels that the loss cannot be trained on, or inputs that are not finite or lie
      outside of a box.
    """
    asked = ball.unproven_boxes(problem, observed)
    if are_known(problem.data) and not asked:
        return
    numbers, rest = partition(problem.data)
    numbers, _ = layout.lay_out(numbers, {}, 1)
    labels, ends = jax.device_get(_look(rest, root, numbers, jnp.uint32(seed)))
    if not are_known(problem.data):
        check(problem, outputs, labels)
        y = labels["train"][0]
        if len(outputs) == 1 and y is not None and set(np.unique(y).tolist()) == {0, 1}:
            asides.warn(
                "labels are 0 and 1: the squared loss takes them as they are, but accuracies and margins are "
                "of signs, and 0 has none: take 2 * y - 1 for classes"
            )
        for name in ("train", "test"):
            if not np.isfinite(ends.get(name, 0)).all():
                raise ValueError(
                    f"inputs must be finite, but the {name} inputs of the data hold NaN or infinity"
                )
    ball.check_inputs(ends, asked)


@partial(jax.jit, static_argnums=(0, 1))
def _look(rest, root, numbers, seed):
    """Labels and weights of a draw, and the smallest and largest entry of its inputs."""
    draw = merge(numbers, rest).sample(named_key(seed_key(seed, root), "data"))
    ends = {name: jnp.stack([x.min(), x.max()]) for name, x in _inputs(draw).items() if x.size}
    return _labels(draw), ends


def of_runs(
    problem: Problem,
    observed: Iterable[Observable],
    outputs: Sequence[int],
    draws: Draw,
    seeds: np.ndarray,
) -> None:
    """The same of many runs' labels and inputs, each along its first axis."""
    ball.check_inputs(_inputs(draws), ball.unproven_boxes(problem, observed))
    labels = {} if are_known(problem.data) else jax.device_get(_labels(draws))
    for run, seed in enumerate(seeds) if labels else ():
        try:
            check(problem, outputs, jax.tree.map(lambda leaf, i=run: leaf[i], labels))
        except ValueError as error:
            raise ValueError(f"seed {seed}: {error}") from None


def _inputs(draw):
    return {name: getattr(draw, name).x for name in ("train", "test")}


def _labels(draw):
    samples = {name: getattr(draw, name) for name in ("train", "test")}
    return {name: (sample.y, sample.target, sample.weights) for name, sample in samples.items()}


def check(problem: Problem, outputs: Sequence[int], labels: PyTree) -> None:
    """Refuse labels, class indices and weights that the loss cannot be trained on.

    What the loss does not look at may be anything, and so may what a function as the loss looks at.

    Args:
      labels: `y`, `target` and `weights` by "train" and "test".
    """
    for name in ("train", "test"):
        y, target, weights = labels[name]
        if weights is not None and not (
            np.isfinite(weights).all() and (weights >= 0).all() and weights.any()
        ):
            raise ValueError(
                f"weights of the {name} samples must be finite, 0 or more, and not all of them 0"
            )
        if callable(problem.loss):
            continue
        if losses.is_regression(problem.loss, len(outputs), y):
            if not np.isfinite(y).all():
                raise ValueError(f"y of the {name} samples must be finite, but holds NaN or infinity")
        elif len(outputs) == 2:
            wrong = target[(target < 0) | (target >= outputs[1])]
            if wrong.size:
                raise ValueError(
                    f"target must be class indices 0 .. {outputs[1] - 1} for a network with {outputs[1]} "
                    f"logits, but the {name} samples have {_listed(wrong)}"
                )
        elif any(isinstance(each, str) and each in SIGNED for each in (problem.loss, problem.adversary_loss)):
            _refuse_unsigned(y, name, f"the {problem.loss} loss of a network with a single output")
        elif not np.isfinite(y).all():
            raise ValueError(f"labels must be finite, but y of the {name} samples holds NaN or infinity")
    if callable(problem.loss) or len(outputs) != 1:
        return
    if np.isin(labels["train"][0], (-1, 1)).all() and _zero_one(labels["test"][0]):
        _refuse_unsigned(labels["test"][0], "test", "training labels -1 and +1")


def _refuse_unsigned(y, name, why):
    wrong = y[~np.isin(y, (-1, 1))]
    if wrong.size:
        way = (
            ": take 2 * y - 1"
            if _zero_one(y)
            else "; for class indices use one logit a class and cross_entropy"
        )
        raise ValueError(f"y must be -1 or +1 for {why}, but the {name} samples have {_listed(wrong)}{way}")


def _zero_one(y):
    return np.isin(y, (0, 1)).all() and (y == 0).any()


def _listed(values):
    found = [f"{value:g}" for value in np.unique(values)]
    return ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
