r"""Attacks: points near an input where an objective is large.

The functions are pure, safe under jit and vmap, and work sample by sample: axis 0 of `x` counts
samples, all other axes are one input. A radius may be traced, and is one number or one per sample.

Round-off: a step is projected to just inside the l2 ball (a factor 1 - 4 machine epsilons), and
each coordinate of `x + step` is rounded towards `x`, so that the displacement one measures afterwards,
`point - x`, is never longer than the step. Hence norm <= radius (1 + 1e-6), also in float32. Radius 0
gives `x` itself. A box is applied last; it never moves a coordinate away from `x`: where `x` lies
outside the box, that coordinate may only move towards it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, PRNGKeyArray, ScalarLike

from dynamics import linalg
from dynamics.adversary import ball
from dynamics.adversary.ball import Arrays, Box, Radius
from dynamics.data import box as boxes
from dynamics.data.sample import Draw, Sample, stated
from dynamics.descent import norms
from dynamics.parts import Axis, known, part, static

Span = Literal["all", "features"]
Restriction = Callable[[Array], Array]


def fgsm(
    objective: Callable[[Array], Array],
    x: Num[Arrays, "samples *shape"],
    radius: Radius,
    *,
    norm: str = "linf",
    box: Box = None,
    restrict: Restriction | None = None,
) -> Float[Array, "samples *shape"]:
    r"""One step of length `radius` along the steepest ascent direction of the objective at `x`.

    $x + r\,\mathrm{sign}(g)$ for linf, $x + r\,g/\|g\|$ for l2, and that for each patch by itself for
    max-l2. A zero gradient is no step.

    Args:
      objective: maps inputs to one number per sample, to be increased.
      x: inputs; integers are taken as floats.
      radius: length of the step.
      norm: `"l2"`, `"linf"` or `"max-l2"`.
      box: (low, high) that every coordinate must keep to; see the module's docstring.
      restrict: maps gradients to the allowed directions, such as `feature_span`.

    Raises: ValueError: unknown `norm`, bad `box`, or a known `radius` that is negative or not finite.
    Reference: Goodfellow et al. 2015, arXiv:1412.6572.
    """
    ball.check_norm(norm)
    boxes.check(box)
    x = ball.inputs(x)
    ball.check_radius(radius, samples=len(x))
    values, pull = jax.vjp(objective, x)
    (gradient,) = pull(jnp.ones_like(values))
    gradient = gradient if restrict is None else restrict(gradient)
    return ball.place(
        x, ball.project(ball.column(radius, x) * ball.ascent(gradient, norm), radius, norm), box
    )


def pgd(
    key: PRNGKeyArray,
    objective: Callable[[Array], Array],
    x: Num[Arrays, "samples *shape"],
    radius: Radius,
    *,
    norm: str = "l2",
    steps: int = 40,
    step_size: Radius | None = None,
    random_start: bool = True,
    start: Float[Arrays, "samples *shape"] | None = None,
    restarts: int = 1,
    box: Box = None,
    restrict: Restriction | None = None,
) -> Float[Array, "samples *shape"]:
    r"""Projected gradient ascent; returns per sample the best point that was visited.

    $x_{t+1} = \Pi(x_t + \alpha\, s_t)$ with $s_t = g_t/\|g_t\|$ for l2 and $s_t = \mathrm{sign}(g_t)$
    for linf (max-l2: as l2, patch by patch), where $\Pi$ projects on the ball and then on the box. Visited
    are all iterates of all restarts, `x` itself and, with random starts, the single step of `fgsm`: the walk
    is 2.5 radii long by default, and may end short of an optimum that one step reaches. A zero gradient is
    no step, and coordinates of a gradient that are not finite count as zero.

    Args:
      key: for the random starts.
      objective: maps inputs to one number per sample, to be increased; NaN is never the best.
      x: inputs; integers are taken as floats.
      radius: of the ball around each input.
      norm: `"l2"`, `"linf"` or `"max-l2"`.
      steps: number of steps; static.
      step_size: absolute step $\alpha$; 2.5 radius / steps if None.
      random_start: start uniformly in the ball (linf: in the cube), otherwise at `x`.
      start: begin at these points instead, drawn into the ball; not with random starts.
      restarts: number of random starts; static.
      box: (low, high) that every coordinate must keep to; see the module's docstring.
      restrict: maps gradients and random starts to the allowed directions, such as `feature_span`.

    Raises: ValueError: unknown `norm`, `steps` or `restarts` below 1, restarts without random starts,
      a start with them, bad `box`, or a known `radius` or `step_size` that is negative or not finite.
    Reference: Madry et al. 2018, arXiv:1706.06083.
    """
    ball.check_norm(norm)
    boxes.check(box)
    x = ball.inputs(x)
    ball.check_radius(radius, samples=len(x))
    ball.check_counts(steps, restarts, random_start)
    if random_start and start is not None:
        raise ValueError("start needs random_start=False: a start is one or the other")
    if step_size is None:
        step_size = 2.5 * jnp.asarray(radius, x.dtype) / steps
    else:
        ball.check_radius(step_size, "step_size", len(x))
    visit = ascender(objective, x, norm, steps, box, restrict)
    best = start_best(objective, x)
    if not random_start:
        begin = x if start is None else ball.place(x, ball.project(start - x, radius, norm), box)
        return visit(begin, radius, step_size, best)[1]
    single = fgsm(objective, x, radius, norm=norm, box=box, restrict=restrict)
    best = better(best, objective(single), single)

    def restart(best, key):
        start = ball.uniform_points(key, x, radius, norm)
        start = start if restrict is None else restrict(start)
        start = ball.place(x, ball.project(start, radius, norm), box)
        return visit(start, radius, step_size, best), None

    (_, point), _ = jax.lax.scan(restart, best, jax.random.split(key, restarts))
    return point


def along(
    x: Num[Arrays, "samples *shape"],
    direction: Float[Arrays, "..."],
    radius: Radius,
    box: Box = None,
) -> Float[Array, "samples *shape"]:
    r"""$x + r\,v/\|v\|$ in l2; a zero direction leaves `x`.

    Args:
      x: inputs; integers are taken as floats.
      direction: $v$, one of shape (dim,) for all samples or one per sample (samples, dim), where dim is
        the number of coordinates of an input.
      radius: length of the step.
      box: (low, high) that every coordinate must keep to; see the module's docstring.

    Raises: ValueError: bad `box`, or a known `radius` that is negative or not finite.
    """
    boxes.check(box)
    x = ball.inputs(x)
    ball.check_radius(radius, samples=len(x))
    direction = ball.broadcast_direction(direction, x)
    step = ball.column(radius, x) * ball.ascent(direction, "l2")
    return ball.place(x, ball.project(step, radius, "l2"), box)


def feature_direction(
    features: Float[Arrays, "features dim"], feature_signs: Float[Arrays, " features"]
) -> Float[Array, " dim"]:
    r"""Unit vector along $\sum_{j \in J_+} \mu_j - \sum_{j \in J_-} \mu_j$; zero if that sum is zero.

    Against a network that averages features, moving against it (times the label) is the optimal
    l2 attack, the same for every sample.

    Reference: Li et al. 2025, arXiv:2410.10322.
    """
    total = jnp.matmul(jnp.asarray(feature_signs), jnp.asarray(features), precision=jax.lax.Precision.HIGHEST)
    return ball.ascent(total[None, :], "l2")[0]


def feature_span(sample: Sample, draw: Draw) -> Restriction:
    """The projection of steps on the span of the features, for inputs like those of `sample`.

    A patch moves in the features of its own family only, and a patch of noise not at all; inputs that are
    not made of patches move in all features. Features may be correlated, linearly dependent or zero.

    Raises: ValueError: data made of patches that do not say of which family their features are.
    """
    # a projection does not depend on how long they are
    features, allowed = stated(draw, "features"), None
    features = norms.shifted(features, -norms.exponent(features))
    if sample.patches is not None:
        if draw.feature_families is None:
            raise ValueError("span 'features' needs data that say of which family of patches a feature is")
        allowed = sample.patches.family[..., None] == draw.feature_families[None, None]
    multiply = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    gram = multiply(features, features.T)
    same = jnp.ones_like(gram, bool)
    if allowed is not None:
        same = draw.feature_families[:, None] == draw.feature_families[None]
    values, vectors = linalg.eigh(jnp.where(same, gram, 0))
    kept = values > len(values) * jnp.finfo(values.dtype).eps * jnp.max(values)
    inverse = multiply(vectors * jnp.where(kept, 1 / jnp.where(kept, values, 1), 0)[None], vectors.T)
    dual = multiply(jnp.where(same, inverse, 0), features)

    def project(step):
        coordinates = multiply(step, features.T)
        return multiply(coordinates if allowed is None else jnp.where(allowed, coordinates, 0), dual)

    return project


def restriction(span: Span, sample: Sample, draw: Draw) -> Restriction | None:
    """What the attack's option `span` asks for."""
    return feature_span(sample, draw) if span == "features" else None


def check_span(span: Any, norm: str, box: Box = None) -> None:
    """Refuse an unknown span, and one that steps in the norm or the box would leave."""
    if span not in get_args(Span):
        raise ValueError(f"span must be one of {', '.join(get_args(Span))}, got {span!r}")
    if span == "features" and norm == "linf":
        raise ValueError("span 'features' needs norm 'l2' or 'max-l2', got 'linf': sign steps leave the span")
    if span == "features" and box is not None:
        raise ValueError(f"span 'features' needs box None, got {box!r}: its sides cut across the span")


def start_best(objective, x):
    """The worst points known so far: the clean ones, with what the objective is there."""
    value = objective(x).astype(x.dtype)
    return jnp.where(jnp.isnan(value), -jnp.inf, value), x


def better(best, value, point):
    """The worse of the points known so far and these, one by one."""
    value = value.astype(point.dtype)
    better = value > best[0]
    return jnp.where(better, value, best[0]), jnp.where(ball.column(better, point), point, best[1])


def ascender(objective, x, norm, steps, box, restrict=None):
    """A function that climbs from `start` and returns the best value and point, `best` included."""

    def visit(start, radius, step_size, best):
        step_size = ball.column(step_size, x)

        def climb(_, carry):
            point, best = carry
            value, pull = jax.vjp(objective, point)
            (gradient,) = pull(jnp.ones_like(value))
            gradient = gradient if restrict is None else restrict(gradient)
            best = better(best, value, point)
            moved = point - x + step_size * ball.ascent(gradient, norm)
            return ball.place(x, ball.project(moved, radius, norm), box), best

        point, best = jax.lax.fori_loop(0, steps, climb, (start, best))
        return better(best, objective(point), point)

    return visit


@part
class FGSM:
    """One step of steepest ascent of length `radius`; see `fgsm`.

    Attributes:
      radius: of the ball around each input, one number or one per sample.
      norm: `"l2"`, `"linf"` or `"max-l2"`.
      box: (low, high) of every coordinate, or None.
      span: move in `all` directions, or each patch in the `features` of its own kind (l2 and max-l2,
        no box); see `feature_span`.

    Raises: ValueError: a radius that is negative or not finite, an unknown norm or span, a bad box.
    """

    radius: Radius | Axis
    norm: str = static("linf")
    box: Any = static(None)
    span: Span = static("all")

    def __post_init__(self):
        ball.check_radius(self.radius)
        ball.check_norm(self.norm)
        boxes.check(self.box)
        check_span(self.span, self.norm, self.box)

    def perturb(
        self, key: PRNGKeyArray, objective: Callable[[Array], Array], sample: Sample, draw: Draw
    ) -> Float[Array, "samples *shape"]:
        """Inputs moved to increase `objective`; `key` is not used."""
        restrict = restriction(self.span, sample, draw)
        return fgsm(objective, sample.x, self.radius, norm=self.norm, box=self.box, restrict=restrict)


@part
class PGD:
    """Projected gradient ascent in a ball of size `radius`; see `pgd`.

    Attributes:
      radius: of the ball around each input, one number or one per sample.
      norm: `"l2"`, `"linf"` or `"max-l2"`.
      steps: number of steps.
      relative_step: step size times steps over radius.
      random_start: start uniformly in the ball (at that point's projection on the span), otherwise at
        the input.
      restarts: number of random starts.
      warm_start: when training on full batches, start where the attack of the step before ended.
      box: (low, high) of every coordinate, or None.
      span: move in `all` directions, or each patch in the `features` of its own kind (l2 and max-l2,
        no box); see `feature_span`.

    Raises: ValueError: a radius that is negative or not finite, an unknown norm or span, steps or
      restarts below 1, restarts without random starts, a warm start with them, a relative step that is
      not positive, a bad box.
    """

    radius: Radius | Axis
    norm: str = static("l2")
    steps: int = static(40)
    relative_step: ScalarLike | Axis = 2.5
    random_start: bool = static(True)
    restarts: int = static(1)
    box: Any = static(None)
    span: Span = static("all")
    warm_start: bool = static(False)

    def __post_init__(self):
        ball.check_radius(self.radius)
        ball.check_norm(self.norm)
        ball.check_counts(self.steps, self.restarts, self.random_start)
        boxes.check(self.box)
        if self.warm_start and self.random_start:
            raise ValueError("warm_start needs random_start=False: a start is one or the other")
        check_span(self.span, self.norm, self.box)
        step = known(self.relative_step)
        if step is not None and not (np.isfinite(step) & (step > 0)).all():
            raise ValueError(f"relative_step must be finite and positive, got {self.relative_step}")

    def perturb(
        self,
        key: PRNGKeyArray,
        objective: Callable[[Array], Array],
        sample: Sample,
        draw: Draw,
        start: Float[Array, "samples *shape"] | None = None,
    ) -> Float[Array, "samples *shape"]:
        """The best inputs found for `objective`, beginning at `start` where that is given."""
        radius = jnp.asarray(self.radius, sample.x.dtype)
        return pgd(
            key,
            objective,
            sample.x,
            radius,
            norm=self.norm,
            steps=self.steps,
            step_size=self.relative_step * radius / self.steps,
            random_start=self.random_start,
            start=start,
            restarts=self.restarts,
            box=self.box,
            restrict=restriction(self.span, sample, draw),
        )


@part
class FeatureAttack:
    """Moves every input by `radius` in l2 along minus its label times `feature_direction`.

    Attributes:
      radius: length of the step, one number or one per sample.

    Raises: ValueError: a radius that is negative or not finite.
    Reference: Li et al. 2025, arXiv:2410.10322.
    """

    radius: Radius | Axis

    def __post_init__(self):
        ball.check_radius(self.radius)

    @property
    def norm(self) -> str:
        """The norm of the ball that inputs stay in."""
        return "l2"

    def perturb(
        self, key: PRNGKeyArray, objective: Callable[[Array], Array], sample: Sample, draw: Draw
    ) -> Float[Array, "samples *shape"]:
        """The moved inputs; `key` and `objective` are not used."""
        direction = feature_direction(stated(draw, "features"), stated(draw, "feature_signs"))
        return along(sample.x, -sample.y[:, None] * direction[None, :], self.radius)
