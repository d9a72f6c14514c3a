"""Accuracy under several attacks at once, and signs of masked gradients; see `adversary.evaluation`."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from dynamics.adversary import evaluation
from dynamics.data.sample import Draw
from dynamics.observables.base import observable
from dynamics.problem import Problem, first_layers


@observable(("attack",), about="accuracy", random=True)
def accuracy_under(
    params: PyTree,
    problem: Problem,
    draw: Draw,
    key: Key[Array, ""],
    radius,
    attack=evaluation.WITHOUT_SOURCE,
    source: Any = None,
    norm="linf",
    steps=20,
    margin_steps=40,
    restarts=1,
    trials=200,
    box=None,
    points="test",
    num_points=None,
) -> Float[Array, " attacks"]:
    """Share of the first `num_points` test (or training) samples that stay correct under each attack.

    The attacks are those of `adversary.evaluation.survivors`. `source` is for `transfer`: a start of a
    `Problem`, with `params(model, draw)`, whose parameters make the other model.
    """
    if points not in ("train", "test"):
        raise ValueError(f"points must be train or test, got {points!r}")
    if jnp.ndim(radius) > 0:
        raise ValueError(f"radius must be one number, or an Axis of the run, got shape {jnp.shape(radius)}")
    sample = jax.tree.map(lambda leaf: leaf[:num_points], getattr(draw, points))
    other = None
    if source is not None:
        other = problem.predictor(source.params(problem.model, draw))
    chosen = {"norm": norm, "steps": steps, "margin_steps": margin_steps, "restarts": restarts}
    alive = evaluation.survivors(
        key,
        problem.predictor(first_layers.plain(params)),
        sample,
        radius,
        attack=tuple(attack),
        source=other,
        trials=trials,
        box=box,
        **chosen,
    )
    return jnp.mean(alive.astype(sample.x.dtype), axis=1)


@observable(("indicator",), about="sign of masked gradients")
def masking(
    params: PyTree,
    problem: Problem,
    draw: Draw,
    indicator=("gradient_norm", "zero_gradients"),
    points="test",
    num_points=None,
) -> Float[Array, " indicators"]:
    """Mean l2 norm of the cross-entropy's input gradients, and the share of them that are exactly 0."""
    sample = jax.tree.map(lambda leaf: leaf[:num_points], getattr(draw, points))
    slopes = evaluation.gradients(problem.predictor(first_layers.plain(params)), sample)
    size, zeros = evaluation.masking(slopes)
    found = {"gradient_norm": size, "zero_gradients": zeros}
    return jnp.stack([found[name] for name in indicator])
