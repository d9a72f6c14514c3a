"""Attacks on data made of patches that know what a patch carries, and one-step attacks of training."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from dynamics.adversary import ball
from dynamics.adversary.attacks import Span, check_span, restriction
from dynamics.adversary.ball import Radius
from dynamics.data import box as boxes
from dynamics.data.sample import Draw, Sample
from dynamics.parts import Axis, part, static


def own_directions(sample: Sample, draw: Draw) -> Float[Array, "samples patches dim"]:
    """The unit vector that every patch carries; zero for a patch of noise.

    Raises: ValueError: data that are not made of patches, or do not say what each class carries.
    """
    return _directions(sample, draw, sample.target)


def _check_patches(sample, draw):
    if sample.patches is None:
        raise ValueError("attacks on what patches carry need data made of patches, such as RobustNonRobust")
    if draw.carried is None:
        raise ValueError("attacks on what patches carry need data that say what it is, class by class")


def _directions(sample, draw, classes):
    _check_patches(sample, draw)
    family = sample.patches.family
    chosen = draw.carried[jnp.maximum(family, 0), classes[:, None]]
    return jnp.where((family >= 0)[..., None], chosen, 0)


def _moved(x, step, radius):
    """`x + step`, rounded so that every patch stays within the radius."""
    return ball.place(x, ball.project(step, radius, "max-l2"), None)


@part
class FeatureShift:
    r"""Moves every patch against the feature it carries, whatever the network: $x_p - r_p u$.

    $r_p$ is the radius or, if `stop`, the smaller of the radius and the patch's amplitude. Patches of
    noise stay. The perturbed data are those of weaker features, so that training on them is standard
    training on other data. With `either_way` the network is asked after all: of $x_p - r_p u$ and
    $x_p + r_p u$ (all patches of an input alike) the one with the larger objective is taken, the worst case
    along the features of a score that is monotone in their strength. No gradient is needed, which of a loss
    of $e^{-100}$ would be 0.

    Attributes:
      radius: $\max_p r_p$, in the l2 norm of a patch; one number or one per sample.
      stop: do not go beyond amplitude 0.
      either_way: try the opposite shift too.

    Raises: ValueError: a radius that is negative or not finite.
    Reference: Li & Li 2025, arXiv:2306.01271 (adversarial examples of the true feature).
    """

    radius: Radius | Axis
    stop: bool = static(False)
    either_way: bool = static(False)

    def __post_init__(self):
        ball.check_radius(self.radius)

    @property
    def norm(self) -> str:
        """The norm of the ball that inputs stay in."""
        return "max-l2"

    def perturb(
        self, key: PRNGKeyArray, objective: Callable[[Array], Array], sample: Sample, draw: Draw
    ) -> Float[Array, "samples patches dim"]:
        """The moved inputs; `key` is not used, and `objective` only to choose between two ways.

        Raises: ValueError: data that are not made of patches.
        """
        directions, amplitude = own_directions(sample, draw), sample.patches.amplitude
        length = jnp.broadcast_to(ball.column(self.radius, amplitude), amplitude.shape)
        length = jnp.minimum(length, amplitude) if self.stop else length
        step = length[..., None] * directions
        against = _moved(sample.x, -step, self.radius)
        if not self.either_way:
            return against
        along = _moved(sample.x, step, self.radius)
        return jnp.where(ball.column(objective(against) >= objective(along), along), against, along)


@part
class FeatureFlip:
    r"""Moves patches from their class's feature to another's: $x_p + r (u_t - u_c)/\|u_t - u_c\|$.

    Each of the other classes t is tried, for all patches of an input at once, and the one with the largest
    objective is kept. Patches of noise stay.

    Attributes:
      radius: r, in the l2 norm of a patch; one number or one per sample.

    Raises: ValueError: a radius that is negative or not finite.
    Reference: Li & Li 2025, arXiv:2410.08503 (adversarial examples along negative features).
    """

    radius: Radius | Axis

    def __post_init__(self):
        ball.check_radius(self.radius)

    @property
    def norm(self) -> str:
        """The norm of the ball that inputs stay in."""
        return "max-l2"

    def perturb(
        self, key: PRNGKeyArray, objective: Callable[[Array], Array], sample: Sample, draw: Draw
    ) -> Float[Array, "samples patches dim"]:
        """The inputs moved to the class of the largest `objective`; `key` is not used.

        Raises: ValueError: data that are not made of patches.
        """
        own = own_directions(sample, draw)

        def step(target):
            away = _directions(sample, draw, target) - own
            return ball.ascent(away.reshape(-1, away.shape[-1]), "l2").reshape(away.shape)

        return _best_class(objective, sample, draw, self.radius, step)


def _best_class(objective, sample, draw, radius, step):
    """`x + radius * step(t)` with the other class t, one a sample, that raises the objective most."""
    num_classes = draw.carried.shape[1]

    def towards(best, offset):
        direction = step((sample.target + offset) % num_classes)
        point = _moved(sample.x, ball.column(radius, direction) * direction, radius)
        value = objective(point).astype(sample.x.dtype)
        larger = value > best[0]
        chosen = jnp.where(ball.column(larger, point), point, best[1])
        return (jnp.where(larger, value, best[0]), chosen), None

    lowest = jnp.full(sample.x.shape[:1], -jnp.inf, sample.x.dtype)
    (_, point), _ = jax.lax.scan(towards, (lowest, sample.x), jnp.arange(1, num_classes))
    return point


@part
class FeaturePlant:
    r"""Adds another class's feature where it does not belong: $x_p + r u_t$ in patches of other families.

    $u_t$ is class t's direction in `family`; the patches of that family itself, and of noise, stay. Each of
    the other classes is tried, as in `FeatureFlip`. Weak features planted in many patches outweigh a strong
    one in few.

    Attributes:
      radius: r, in the l2 norm of a patch; one number or one per sample.
      family: of the feature that is planted.

    Raises: ValueError: a radius that is negative or not finite.
    """

    radius: Radius | Axis
    family: int = static(0)

    def __post_init__(self):
        ball.check_radius(self.radius)

    @property
    def norm(self) -> str:
        """The norm of the ball that inputs stay in."""
        return "max-l2"

    def perturb(
        self, key: PRNGKeyArray, objective: Callable[[Array], Array], sample: Sample, draw: Draw
    ) -> Float[Array, "samples patches dim"]:
        """The inputs with the class of the largest `objective` planted; `key` is not used.

        Raises: ValueError: data that are not made of patches.
        """
        _check_patches(sample, draw)
        others = (sample.patches.family >= 0) & (sample.patches.family != self.family)

        def step(target):
            return jnp.where(others[..., None], draw.carried[self.family, target][:, None], 0)

        return _best_class(objective, sample, draw, self.radius, step)


@part
class GradientStep:
    r"""One step along the gradient itself, drawn back into the ball: $\Pi(x + s\,\nabla_x)$.

    Unlike `FGSM` the step is short where the objective is flat. Coordinates of the step that are not finite
    count as zero.

    Attributes:
      radius: of the ball around each input, one number or one per sample.
      step: s, a multiple of the gradient of a single sample's objective.
      norm: `"l2"`, `"linf"` or `"max-l2"`.
      box: (low, high) of every coordinate, or None.
      span: move in `all` directions, or each patch in the `features` of its own kind (l2 and max-l2,
        no box); see `feature_span`.

    Raises: ValueError: a radius or step that is negative or not finite, an unknown norm or span, a bad box.
    """

    radius: Radius | Axis
    step: ScalarLike | Axis = 100.0
    norm: str = static("max-l2")
    box: Any = static(None)
    span: Span = static("all")

    def __post_init__(self):
        ball.check_radius(self.radius)
        ball.check_radius(self.step, "step")
        ball.check_norm(self.norm)
        boxes.check(self.box)
        check_span(self.span, self.norm, self.box)

    def perturb(
        self, key: PRNGKeyArray, objective: Callable[[Array], Array], sample: Sample, draw: Draw
    ) -> Float[Array, "samples *shape"]:
        """Inputs moved to increase `objective`; `key` is not used."""
        x = jnp.asarray(sample.x)
        values, pull = jax.vjp(objective, x)
        (gradient,) = pull(jnp.ones_like(values))
        if (restrict := restriction(self.span, sample, draw)) is not None:
            gradient = restrict(gradient)
        step = jnp.asarray(self.step, x.dtype) * gradient
        step = jnp.where(jnp.isfinite(step), step, 0)
        return ball.place(x, ball.project(step, self.radius, self.norm), self.box)
