"""Adversarial examples of one network, and what other networks make of them."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dynamics import adversary
from dynamics.data.sample import Sample
from dynamics.observables.base import observable
from dynamics.problem import first_layers, losses


@observable(("point", "dim"), about="inputs moved towards another class", random=True)
def targeted_examples(
    params,
    problem,
    draw,
    key,
    x: Float[Array, "points dim"],
    target: Int[Array, " points"],
    radius,
    norm="linf",
    steps=30,
    box=None,
) -> Float[Array, "points dim"]:
    """The inputs `x`, moved by PGD (without random start) to lower the loss of the class `target`."""
    params = first_layers.plain(params)
    wanted = Sample(x, jnp.ones(len(x), x.dtype), target, target)

    def objective(points):
        return -losses.evaluate(problem.loss, problem.apply(params, points), wanted)

    chosen = {"norm": norm, "steps": steps, "box": box, "random_start": False}
    return adversary.pgd(key, objective, x, radius, **chosen)


@observable(about="share of inputs taken for a class")
def share_taken_for(
    params, problem, draw, x: Float[Array, "points dim"], target: Int[Array, " points"]
) -> Float[Array, ""]:
    """Share of the inputs `x` whose largest logit is that of the class `target`."""
    logits = problem.apply(first_layers.plain(params), x)
    if logits.ndim == 1:
        raise ValueError("share_taken_for needs one logit a class, got a single output")
    return jnp.mean((jnp.argmax(logits, axis=1) == target).astype(logits.dtype))
