"""Robust accuracy under attacks, and robust radii with the certificates that bound them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, PyTree

from dynamics import adversary
from dynamics.adversary import certificates
from dynamics.adversary.ball import Arrays
from dynamics.data.sample import Draw, Sample, stated
from dynamics.models import two_layer
from dynamics.observables.base import observable
from dynamics.problem import Problem, first_layers, losses


def _attacked(draw, num_points):
    test = draw.test
    return (test.x, test.y) if num_points is None else (test.x[:num_points], test.y[:num_points])


def attacked(
    params: PyTree,
    problem: Problem,
    draw: Draw,
    key: Key[Array, ""],
    points: first_layers.Points,
    attack: Any,
    *,
    num_points: int | None = None,
    objective: str = "loss",
) -> Sample:
    """The first `num_points` training or test samples, moved by an attack of `dynamics.adversary`.

    It raises the training loss, or another one of `dynamics.problem.losses` by name, or lowers the `margin`:
    $y f(x)$, or the target's lead over the next logit.

    Raises: ValueError: unknown objective, or an attack that does not suit the data.
    """
    if objective not in ("loss", *losses.RAISED):
        raise ValueError(f"objective must be one of loss, {', '.join(losses.RAISED)}, got {objective!r}")
    sample = jax.tree.map(lambda leaf: leaf[:num_points], getattr(draw, points))
    predict = problem.predictor(first_layers.plain(params))
    name = problem.loss if objective == "loss" else objective

    def raised(x):
        return losses.raised(name, predict(x), sample)

    return dataclasses.replace(sample, x=attack.perturb(key, raised, sample, draw))


def _share_of_positive_margins(params, problem, sample):
    margins = losses.margins(problem.apply(first_layers.plain(params), sample.x), sample)
    return jnp.mean((margins > 0).astype(margins.dtype))


@observable(about="accuracy")
def accuracy(params, problem, draw, points="test"):
    """Share of test (or training) samples of positive margin: of logits, the target's is the largest."""
    margins = problem.margins_at(params, draw, points)
    return jnp.mean((margins > 0).astype(margins.dtype))


@observable(about="robust accuracy", random=True)
def robust_accuracy(params, problem, draw, key, attack, points="test", objective="loss", num_points=None):
    """Share of the first `num_points` test (or training) samples of positive margin after `attack`.

    An attack that fails proves nothing: the true robust accuracy is at most this.
    """
    chosen = {"num_points": num_points, "objective": objective}
    moved = attacked(params, problem, draw, key, points, attack, **chosen)
    return _share_of_positive_margins(params, problem, moved)


@observable(("radius",), about="robust accuracy", random=True)
def robust_curve(
    params,
    problem,
    draw,
    key,
    attack,
    radius: Float[Arrays, " radii"],
    points="test",
    objective="loss",
    num_points=None,
) -> Float[Array, " radii"]:
    """As `robust_accuracy`, with the attack's radius replaced by each of `radius`."""
    chosen = {"num_points": num_points, "objective": objective}

    def share(r):
        stronger = dataclasses.replace(attack, radius=r)
        moved = attacked(params, problem, draw, key, points, stronger, **chosen)
        return _share_of_positive_margins(params, problem, moved)

    return jax.lax.map(share, radius)


def _share_correct(score, y):
    return jnp.mean((y * score > 0).astype(score.dtype))


@observable(("radius",), about="robust test accuracy under PGD", random=True)
def pgd_accuracy(
    params,
    problem,
    draw,
    key,
    radius: Float[Arrays, " radii"],
    readout=None,
    norm="l2",
    steps=40,
    restarts=1,
    num_points=None,
    box=None,
    loss="score",
) -> Float[Array, " radii"]:
    r"""Share of the first `num_points` test points that PGD leaves correct, at every radius.

    The attack lowers $y$ times the binary score (`loss="score"`; the same attack as on its logistic
    loss), or raises the loss that the network was trained on (`loss="training"`). A PGD that fails
    proves nothing: read it beside the certified radius.
    """
    x, y = _attacked(draw, num_points)

    def score(points):
        return problem.score(params, points, draw, readout)

    def objective(points):
        if loss == "training":
            labels = jax.tree.map(lambda leaf: leaf[: y.shape[0]], draw.test)
            return problem.sample_losses(params, dataclasses.replace(labels, x=points))
        return -y * score(points)

    def share(r):
        found = adversary.pgd(key, objective, x, r, norm=norm, steps=steps, restarts=restarts, box=box)
        return _share_correct(score(found), y)

    return jax.lax.map(share, radius)


@observable(("radius",), about="robust test accuracy under the universal feature direction")
def universal_accuracy(
    params, problem, draw, radius: Float[Arrays, " radii"], readout=None, num_points=None, box=None
) -> Float[Array, " radii"]:
    r"""Share of test points still correct at $x - y\,r\,u$.

    u is the unit vector along $\sum_{J_+}\mu_j - \sum_{J_-}\mu_j$.
    One vector for every sample: a universal perturbation, and the optimal attack on an averaging
    network (Li et al. 2025, arXiv:2410.10322).
    """
    x, y = _attacked(draw, num_points)
    u = adversary.feature_direction(stated(draw, "features"), stated(draw, "feature_signs"))

    def share(r):
        return _share_correct(
            problem.score(params, adversary.along(x, -y[:, None] * u[None], r, box), draw, readout), y
        )

    return jax.lax.map(share, radius)


def _bounds(params, problem, draw, readout, num_points, num_positive):
    """Certified and attained l2 radius of each attacked test point."""
    model = problem.model
    _check_certifiable(model, params, readout, num_positive)
    _, y = _attacked(draw, num_points)
    params = first_layers.in_one_unit(params, "first")  # radii are the same
    z, gram = (
        first_layers.pre_activations(params, draw, "test")[: y.shape[0]],
        first_layers.weight_gram(params),
    )
    if model.num_outputs > 1 and readout == "max_logit":
        return certificates.max_logit_radius(z, gram, y, draw.class_signs, model.width)
    a = two_layer.output_weights(model, params)
    score_weights = a[0] if model.num_outputs == 1 else draw.class_signs @ a
    order = jnp.argsort(-score_weights, stable=True)  # the certificate wants positive neurons first
    bounds = certificates.two_layer_radius_from_gram(
        z[:, order], gram[order][:, order], score_weights[order], y, num_positive
    )[:2]
    counted = jnp.sum(score_weights > 0) == num_positive
    return tuple(jnp.where(counted, bound, jnp.nan) for bound in bounds)


def _check_certifiable(model, params, readout, num_positive):
    if not isinstance(model, two_layer.TwoLayer) or model.activation.name != "relu" or "a" in params:
        raise ValueError(
            "certified radii hold for TwoLayer networks with ReLU and a fixed second layer only; "
            "observe attack_radius for other models"
        )
    if model.num_outputs == 1 and num_positive != model.width:
        raise ValueError(f"num_positive of this binary network must be {model.width}, got {num_positive}")
    if model.num_outputs > 1 and readout not in ("max_logit", "sum_logit"):
        raise ValueError(f"certified radii need readout max_logit or sum_logit, got {readout!r}")


@observable(("point",), about="feature behind the test point")
def point_feature(params, problem, draw):
    """Index of the feature (cluster, class) that each test point was drawn from."""
    return stated(draw.test, "feature").astype(draw.test.x.dtype)


@observable(("point",), about="certified robust radius (l2)")
def certified_radius(params, problem, draw, num_positive, readout="max_logit", num_points=None):
    """Lower bound of the l2 distance from each test point to the nearest error, see `certificates`.

    For two-layer ReLU networks: binary ones, and multi-class ones read out by `max_logit` or
    `sum_logit`. `num_positive` is the number of neurons that raise the binary score; NaN where a
    multi-class network has another number of them. Other activations, trained second layers and other
    models raise ValueError: the bounds would not hold.
    """
    return _bounds(params, problem, draw, readout, num_points, num_positive)[0]


@observable(("point",), about="attained robust radius (l2)")
def attained_radius(params, problem, draw, num_positive, readout="max_logit", num_points=None):
    """Length of a step that truly makes each test point an error; inf where none was constructed."""
    return _bounds(params, problem, draw, readout, num_points, num_positive)[1]


@observable(("point",), about="smallest radius found by attack", random=True)
def attack_radius(
    params,
    problem,
    draw,
    key,
    max_radius,
    readout=None,
    norm="l2",
    steps=40,
    rounds=12,
    num_points=None,
    box=None,
):
    """Smallest radius at which an attack succeeded, for any model; inf if none did within `max_radius`.

    Bisection over PGD radii and the universal feature direction, see `adversary.smallest_radius`.
    """
    x, y = _attacked(draw, num_points)
    u = adversary.feature_direction(stated(draw, "features"), stated(draw, "feature_signs"))

    def score(points):
        return problem.score(params, points, draw, readout)

    return adversary.smallest_radius(
        key,
        score,
        x,
        y,
        max_radius=max_radius,
        norm=norm,
        steps=steps,
        rounds=rounds,
        directions=[u],
        box=box,
    )[0]
