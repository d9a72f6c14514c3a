"""Robust accuracy under several attacks at once, and signs that the first of them cannot be trusted.

A model whose gradients are useless to one attack looks robust to it. So points count as robust that
withstand *every* attack, and gradient ascent on the cross-entropy is held against others.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from dynamics import asides
from dynamics.adversary import ball
from dynamics.adversary.attacks import fgsm, pgd
from dynamics.adversary.ball import Arrays, Box, Radius
from dynamics.adversary.random_search import random_search
from dynamics.data.sample import Sample
from dynamics.keys import named_key
from dynamics.problem import losses
from kernels.attacks import is_tree

Outputs = Callable[[Float[Array, "samples *shape"]], Float[Array, "samples *classes"]]

ATTACKS = ("clean", "fgsm", "pgd", "margin", "random_search", "transfer", "worst")
WITHOUT_SOURCE = tuple(name for name in ATTACKS if name != "transfer")
GAP = 0.05  # by how much other attacks may be stronger before it is said
ZEROS = 0.05  # share of gradients that may be 0


class Evaluation(NamedTuple):
    """What `evaluate` found.

    Attributes:
      accuracy: share of correct points, by attack; `worst`: correct under all of them.
      overestimate: by how much gradient ascent on the cross-entropy alone flatters the model.
      gradient_norm: mean l2 norm of the cross-entropy's input gradient at the clean points.
      zero_gradients: share of points at which it is exactly 0.
      suspicions: sentences that say why the model's robustness may be masked gradients.
    """

    accuracy: dict[str, float]
    overestimate: float
    gradient_norm: float
    zero_gradients: float
    suspicions: tuple[str, ...]


def survivors(
    key: PRNGKeyArray,
    outputs: Outputs,
    sample: Sample,
    radius: Radius,
    *,
    attack: tuple[str, ...] = WITHOUT_SOURCE,
    source: Outputs | None = None,
    norm: str = "linf",
    steps: int = 20,
    margin_steps: int = 40,
    restarts: int = 1,
    trials: int = 200,
    box: Box = None,
) -> Bool[Array, "attacks samples"]:
    """Which points are still correct (of positive margin) after each attack; pure, for `jit` and `vmap`.

    - `fgsm`, `pgd`: one step, and `steps` steps from the point itself, up the cross-entropy (one output: the
      logistic loss).
    - `margin`: `margin_steps` steps down the margin, once from the point and `restarts` times from random
      ones; correct under all.
    - `random_search`: `trials` points, down the margin (linf only).
    - `transfer`: `pgd` on the model `source`.
    - `worst`: correct under all of the others asked for, and `clean`.

    Raises: ValueError: an unknown attack, `transfer` without a source, or random search in another norm.
    """
    check(attack, norm, has_source=source is not None)
    ball.check_norm(norm)
    size = {"norm": norm, "box": box}
    keys = {name: named_key(key, name) for name in ("margin", "random_search")}

    def right(x):
        return losses.margins(outputs(x), sample) > 0

    def loss_of(model):
        return lambda x: _loss(model(x), sample)

    def down(x):
        return -losses.margins(outputs(x), sample)

    def margin():
        still = pgd(key, down, sample.x, radius, steps=margin_steps, random_start=False, **size)
        chosen = {"steps": margin_steps, "restarts": restarts, **size}
        return right(still) & right(pgd(keys["margin"], down, sample.x, radius, **chosen))

    def ascent(model):
        return right(pgd(key, loss_of(model), sample.x, radius, steps=steps, random_start=False, **size))

    made = {
        "clean": lambda: right(sample.x),
        "fgsm": lambda: right(fgsm(loss_of(outputs), sample.x, radius, **size)),
        "pgd": lambda: ascent(outputs),
        "margin": margin,
        "random_search": lambda: right(
            random_search(keys["random_search"], down, sample.x, radius, trials=trials, box=box)
        ),
        "transfer": lambda: ascent(source),
    }
    asked = [name for name in made if name in attack or name == "clean"]
    found = {name: made[name]() for name in asked}
    found["worst"] = jnp.all(jnp.stack(list(found.values())), axis=0)
    return jnp.stack([found[name] for name in attack])


def check(attack: tuple[str, ...], norm: str, *, has_source: bool) -> None:
    """Refuse a list of attacks that cannot be made."""
    if unknown := [name for name in attack if name not in ATTACKS]:
        raise ValueError(f"attack must name some of {', '.join(ATTACKS)}, got {unknown[0]!r}")
    if not attack:
        raise ValueError("attack must name at least one attack, got none")
    if "worst" in attack and not set(attack) - {"worst", "clean"}:
        raise ValueError(
            f"worst is over the other attacks asked for: name some of {', '.join(ATTACKS[1:-1])}"
        )
    if "transfer" in attack and not has_source:
        raise ValueError("the attack transfer needs a source, the model that its points are made on")
    if "random_search" in attack and norm != "linf":
        raise ValueError(
            f"the attack random_search needs norm linf, got {norm!r}: leave it out, as in "
            'attack=("clean", "pgd", "margin", "worst")'
        )


def gradients(outputs: Outputs, sample: Sample) -> Float[Array, "samples dim"]:
    """The cross-entropy's (one output: the logistic loss's) gradient in each input."""
    slope = jax.grad(lambda x: jnp.sum(_loss(outputs(x), sample)))(sample.x)
    return slope.reshape(len(slope), -1)


def _loss(outputs, sample):
    return losses.evaluate("logistic" if outputs.ndim == 1 else "cross_entropy", outputs, sample)


def suspicions(accuracy: Mapping[str, float], zero_gradients: float = 0.0) -> list[str]:
    """Sentences that say why gradient ascent on the cross-entropy may not be trusted here; often none."""
    told = []
    for name, words in (("margin", "ascent on the margin"), ("random_search", "random search")):
        if name in accuracy and "pgd" in accuracy and accuracy["pgd"] - accuracy[name] > GAP:
            told.append(
                f"{words} leaves an accuracy of {accuracy[name]:.3f}, gradient ascent on the cross-entropy "
                f"{accuracy['pgd']:.3f}: the latter overstates robustness"
            )
    if zero_gradients > ZEROS:
        told.append(
            f"{zero_gradients:.0%} of the input gradients are exactly 0: attacks that follow them stay"
        )
    return told


def evaluate(
    key: PRNGKeyArray,
    outputs: Outputs,
    x: Float[Arrays, "samples *shape"],
    labels: Num[Arrays, " samples"],
    radius: Radius,
    **options: Any,
) -> Evaluation:
    """Accuracies under all attacks, with a warning where the usual one cannot be trusted.

    Args:
      outputs: the model: inputs to one score each, or to one logit a class. A pytree of its parameters, such
        as `jax.tree_util.Partial(apply, params)`, is compiled once for all of its structure.
      labels: -1 and +1 for scores, class numbers for logits.
      options: of `survivors`, such as `source=` for transferred points.

    Raises: ValueError: as `survivors`, or labels that do not fit.
    """
    x, labels = jnp.asarray(x), jnp.asarray(labels)
    sample = _sample(jax.eval_shape(outputs, x), x, labels)
    options.setdefault("attack", ATTACKS if options.get("source") is not None else WITHOUT_SOURCE)

    ball.check_radius(radius)
    source = options.pop("source", None)
    others = tuple((name, tuple(v) if isinstance(v, list) else v) for name, v in sorted(options.items()))
    if is_tree(outputs) and (source is None or is_tree(source)):
        found, (size, zeros) = _measured(others, outputs, source, key, sample, radius)
    else:  # a program of its own, which goes with the function
        measured = jax.jit(lambda *numbers: _measure(others, outputs, source, *numbers))
        found, (size, zeros) = measured(key, sample, radius)
    accuracy = dict(zip(options["attack"], found.tolist(), strict=True))
    told = suspicions(accuracy, float(zeros))
    for sentence in told:
        asides.warn(sentence, stacklevel=2)
    over = accuracy["pgd"] - accuracy["worst"] if {"pgd", "worst"} <= set(accuracy) else float("nan")
    return Evaluation(accuracy, over, float(size), float(zeros), tuple(told))


def _measure(others, outputs, source, key, sample, radius):
    alive = survivors(key, outputs, sample, radius, source=source, **dict(others))
    return jnp.mean(alive.astype(sample.x.dtype), axis=1), masking(gradients(outputs, sample))


_measured = jax.jit(_measure, static_argnums=0)


def masking(slopes: Float[Array, "samples dim"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean l2 norm of input gradients, and the share of them that are exactly 0."""
    zeros = jnp.all(slopes == 0, axis=1).astype(slopes.dtype)
    return jnp.mean(ball.norms(slopes, "l2")), jnp.mean(zeros)


def _sample(shape, x, labels):
    if labels.shape != x.shape[:1]:
        raise ValueError(f"labels must be one for each of the {len(x)} points, got shape {labels.shape}")
    if shape.ndim == 1:
        if not bool(jnp.all(jnp.abs(labels) == 1)):
            raise ValueError("labels must be -1 and +1 for a model with one output")
        target = (labels > 0).astype(int)
        return Sample(x, labels.astype(x.dtype), target, target)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= shape.shape[1]:
        raise ValueError(f"labels must lie in 0 .. {shape.shape[1] - 1}, got {low} .. {high}")
    target = labels.astype(int)
    return Sample(x, jnp.ones(len(x), x.dtype), target, target)
