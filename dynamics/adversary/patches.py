"""Attacks on data made of patches that know what a patch carries, and one-step attacks of training."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from dynamics.adversary import ball
from dynamics.adversary.attacks import Span, check_span, restriction
from dynamics.adversary.ball import Radius
from dynamics.data.sample import Draw, Sample
from dynamics.parts import Axis, part, static


def own_directions(sample: Sample, draw: Draw) -> Float[Array, "samples patches dim"]:
    """The unit vector that every patch carries; zero for a patch of noise.

    Raises: ValueError: data that are not made of patches.
    """
    return _directions(sample, draw, sample.target)


def _directions(sample, draw, classes):
    if sample.patches is None or draw.carried is None:
        raise ValueError("this attack needs data made of patches, whose features are known")
    family = sample.patches.family
    chosen = draw.carried[jnp.maximum(family, 0), classes[:, None]]
    return jnp.where((family >= 0)[..., None], chosen, 0)


@part
class FeatureShift:
    r"""Moves every patch against the feature it carries, whatever the network: $x_p - r_p u$.

    $r_p$ is the radius or, if `stop`, the smaller of the radius and the patch's amplitude. Patches of
    noise stay. The perturbed data are those of weaker features, so that training on them is standard
    training on other data.

    Attributes:
      radius: $\max_p r_p$, in the l2 norm of a patch; one number.
      stop: do not go beyond amplitude 0.

    Raises: ValueError: a radius that is negative or not finite.
    Reference: Li & Li 2025, arXiv:2306.01271 (adversarial examples of the true feature).
    """

    radius: ScalarLike | Axis
    stop: bool = static(False)

    def __post_init__(self):
        ball.check_radius(self.radius)

    def perturb(
        self, key: PRNGKeyArray, objective: Callable[[Array], Array], sample: Sample, draw: Draw
    ) -> Float[Array, "samples patches dim"]:
        """The moved inputs; `key` and `objective` are not used.

        Raises: ValueError: data that are not made of patches.
        """
        directions = own_directions(sample, draw)
        length = jnp.asarray(self.radius, sample.x.dtype)
        length = jnp.minimum(length, sample.patches.amplitude) if self.stop else length
        return sample.x - jnp.broadcast_to(length, sample.patches.amplitude.shape)[..., None] * directions


@part
class FeatureFlip:
    r"""Moves patches from their class's feature to another's: $x_p + r (u_t - u_c)/\|u_t - u_c\|$.

    Each of the other classes t is tried, for all patches of an input at once, and the one with the largest
    objective is kept. Patches of noise stay.

    Attributes:
      radius: r, in the l2 norm of a patch; one number.

    Raises: ValueError: a radius that is negative or not finite.
    Reference: Li & Li 2025, arXiv:2410.08503 (adversarial examples along negative features).
    """

    radius: ScalarLike | Axis

    def __post_init__(self):
        ball.check_radius(self.radius)

    def perturb(
        self, key: PRNGKeyArray, objective: Callable[[Array], Array], sample: Sample, draw: Draw
    ) -> Float[Array, "samples patches dim"]:
        """The inputs moved to the class of the largest `objective`; `key` is not used.

        Raises: ValueError: data that are not made of patches.
        """
        own = own_directions(sample, draw)
        num_classes = draw.carried.shape[1]

        def towards(best, offset):
            away = _directions(sample, draw, (sample.target + offset) % num_classes) - own
            shape = away.shape
            step = ball.ascent(away.reshape(-1, shape[-1]), "l2").reshape(shape)
            point = sample.x + jnp.asarray(self.radius, sample.x.dtype) * step
            value = objective(point).astype(sample.x.dtype)
            larger = value > best[0]
            chosen = jnp.where(ball.column(larger, point), point, best[1])
            return (jnp.where(larger, value, best[0]), chosen), None

        lowest = jnp.full(sample.x.shape[:1], -jnp.inf, sample.x.dtype)
        (_, point), _ = jax.lax.scan(towards, (lowest, sample.x), jnp.arange(1, num_classes))
        return point


@part
class GradientStep:
    r"""One step along the gradient itself, drawn back into the ball: $\Pi(x + s\,\nabla_x)$.

    Unlike `FGSM` the step is short where the objective is flat.

    Attributes:
      radius: of the ball around each input, one number or one per sample.
      step: s, a multiple of the gradient of a single sample's objective.
      norm: `"l2"`, `"linf"` or `"max-l2"`.
      box: (low, high) of every coordinate, or None.
      span: move in `all` directions, or in the `features` that the data are made of (l2 and max-l2).

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
        ball.check_box(self.box)
        check_span(self.span, self.norm)

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
        return ball.place(x, ball.project(step, self.radius, self.norm), self.box)
