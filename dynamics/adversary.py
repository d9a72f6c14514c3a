r"""Attacks: points near an input where an objective is large, and the smallest radius that breaks a model.

The functions are pure, safe under jit and vmap, and work sample by sample: axis 0 of `x` counts
samples, all other axes are one input. A radius may be traced, and is one number or one per sample.

Round-off: a step is projected to just inside the l2 ball (a factor 1 - 4 machine epsilons), and
each coordinate of `x + step` is rounded towards `x`, so that the displacement one measures afterwards,
`point - x`, is never longer than the step. Hence norm <= radius (1 + 1e-6), also in float32. Radius 0
gives `x` itself. A box is applied last; it never moves a coordinate away from `x`: where `x` lies
outside the box, that coordinate may only move towards it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, ScalarLike

from dynamics.data.sample import Draw, Sample
from dynamics.parts import Axis, part, static

Box = tuple[float, float] | None

NORMS = ("l2", "linf")

_Arrays = Array | np.ndarray
_Radius = ScalarLike | Float[Array | np.ndarray, " samples"]

_GRID = 16  # points of a segment that are tried before it is bisected
_HALVINGS = 24


def project(
    delta: Float[_Arrays, "samples *shape"], radius: _Radius, norm: str
) -> Float[Array, "samples *shape"]:
    r"""The point of the l2 or linf ball nearest to each `delta`; a point inside stays as it is.

    Raises: ValueError: unknown `norm`, or a known `radius` that is negative or not finite.
    """
    _check_norm(norm)
    _check_radius(radius)
    delta = jnp.asarray(delta)
    radius = _column(radius, delta)
    if norm == "linf":
        return jnp.clip(delta, -radius, radius)
    size = _column(_size(delta, "l2"), delta)
    outside = size > radius
    inner = radius * (1 - 4 * jnp.finfo(delta.dtype).eps)
    return jnp.where(outside, delta * (inner / jnp.where(outside, size, 1)), delta)


def fgsm(
    objective: Callable[[Array], Array],
    x: Float[_Arrays, "samples *shape"],
    radius: _Radius,
    *,
    norm: str = "linf",
    box: Box = None,
) -> Float[Array, "samples *shape"]:
    r"""One step of length `radius` along the steepest ascent direction of the objective at `x`.

    $x + r\,\mathrm{sign}(g)$ for linf, $x + r\,g/\|g\|$ for l2. A zero gradient is no step.

    Args:
      objective: maps inputs to one number per sample, to be increased.
      x: inputs.
      radius: length of the step.
      norm: `"l2"` or `"linf"`.
      box: (low, high) that every coordinate must keep to; see the module's docstring.

    Raises: ValueError: unknown `norm`, bad `box`, or a known `radius` that is negative or not finite.
    Reference: Goodfellow et al. 2015, arXiv:1412.6572.
    """
    _check_norm(norm)
    _check_box(box)
    x = jnp.asarray(x)
    values, pull = jax.vjp(objective, x)
    (gradient,) = pull(jnp.ones_like(values))
    return _place(x, project(_column(radius, x) * _ascent(gradient, norm), radius, norm), box)


def pgd(
    key: PRNGKeyArray,
    objective: Callable[[Array], Array],
    x: Float[_Arrays, "samples *shape"],
    radius: _Radius,
    *,
    norm: str = "l2",
    steps: int = 40,
    step_size: _Radius | None = None,
    random_start: bool = True,
    restarts: int = 1,
    box: Box = None,
) -> Float[Array, "samples *shape"]:
    r"""Projected gradient ascent; returns per sample the best point that was visited.

    $x_{t+1} = \Pi(x_t + \alpha\, s_t)$ with $s_t = g_t/\|g_t\|$ for l2 and $s_t = \mathrm{sign}(g_t)$
    for linf, where $\Pi$ projects on the ball and then on the box. Visited are all iterates of all
    restarts and `x` itself. A zero gradient is no step, and coordinates of a gradient that are not
    finite count as zero.

    Args:
      key: for the random starts.
      objective: maps inputs to one number per sample, to be increased; NaN is never the best.
      x: inputs.
      radius: of the ball around each input.
      norm: `"l2"` or `"linf"`.
      steps: number of steps; static.
      step_size: absolute step $\alpha$; 2.5 radius / steps if None.
      random_start: start uniformly in the ball (linf: in the cube), otherwise at `x`.
      restarts: number of random starts; static.
      box: (low, high) that every coordinate must keep to; see the module's docstring.

    Raises: ValueError: unknown `norm`, `steps` or `restarts` below 1, restarts without random starts,
      bad `box`, or a known `radius` or `step_size` that is negative or not finite.
    Reference: Madry et al. 2018, arXiv:1706.06083.
    """
    _check_norm(norm)
    _check_box(box)
    _check_radius(radius)
    _check_counts(steps, restarts, random_start)
    x = jnp.asarray(x)
    if step_size is None:
        step_size = 2.5 * jnp.asarray(radius, x.dtype) / steps
    else:
        _check_radius(step_size, "step_size")
    visit = _ascender(objective, x, norm, steps, box)
    best = _start_best(objective, x)
    if not random_start:
        return visit(x, radius, step_size, best)[1]

    def restart(best, key):
        start = _place(x, project(_uniform(key, x, radius, norm), radius, norm), box)
        return visit(start, radius, step_size, best), None

    (_, point), _ = jax.lax.scan(restart, best, jax.random.split(key, restarts))
    return point


def along(
    x: Float[_Arrays, "samples *shape"],
    direction: Float[_Arrays, "..."],
    radius: _Radius,
    box: Box = None,
) -> Float[Array, "samples *shape"]:
    r"""$x + r\,v/\|v\|$ in l2; a zero direction leaves `x`.

    Args:
      x: inputs.
      direction: $v$, one of shape (dim,) for all samples or one per sample (samples, dim), where dim is
        the number of coordinates of an input.
      radius: length of the step.
      box: (low, high) that every coordinate must keep to; see the module's docstring.

    Raises: ValueError: bad `box`, or a known `radius` that is negative or not finite.
    """
    _check_box(box)
    _check_radius(radius)
    x = jnp.asarray(x)
    direction = _broadcast_direction(direction, x)
    step = _column(radius, x) * _ascent(direction, "l2")
    return _place(x, project(step, radius, "l2"), box)


def feature_direction(
    features: Float[_Arrays, "features dim"], feature_signs: Float[_Arrays, " features"]
) -> Float[Array, " dim"]:
    r"""Unit vector along $\sum_{j \in J_+} \mu_j - \sum_{j \in J_-} \mu_j$; zero if that sum is zero.

    Against a network that averages features, moving against it (times the label) is the optimal
    l2 attack, the same for every sample.

    Reference: Li et al. 2025, arXiv:2410.10322.
    """
    total = jnp.matmul(jnp.asarray(feature_signs), jnp.asarray(features), precision=jax.lax.Precision.HIGHEST)
    return _ascent(total[None, :], "l2")[0]


def smallest_radius(
    key: PRNGKeyArray,
    score: Callable[[Array], Array],
    x: Float[_Arrays, "samples *shape"],
    y: Float[_Arrays, " samples"],
    *,
    max_radius: _Radius,
    norm: str = "l2",
    steps: int = 40,
    rounds: int = 12,
    directions: Sequence[Any] | None = None,
    box: Box = None,
) -> tuple[Float[Array, " samples"], Float[Array, "samples *shape"]]:
    r"""The smallest radius at which an attack was found for any model, with the point that proves it.

    An attack succeeds where $y\,\mathrm{score} \le 0$: a score of zero is an error. PGD on
    $-y\,\mathrm{score}$ runs with radii that bisect between 0 (or the largest radius that failed) and
    the best one so far, in turn from `x` and from a random point of the ball. Each point found is drawn
    back along its segment to `x` to the first error there (a grid of 16 points, then 24 halvings).
    The segments along `directions`, both ways, are searched too.

    This is an upper bound of the true radius: an attack that fails proves nothing.

    Args:
      key: for the random starts.
      score: maps inputs to one score per sample.
      x, y: inputs and their labels, -1 or +1.
      max_radius: largest radius searched.
      norm: `"l2"` or `"linf"`.
      steps: PGD steps in each round; static.
      rounds: number of radii tried by PGD; static, 0 for directions only.
      directions: arrays of shape (dim,) or (samples, dim) along which to search.
      box: (low, high) that every coordinate must keep to; see the module's docstring.

    Returns: radius and point. A sample that is misclassified has radius 0 and point `x`; one for which
      nothing was found has radius inf and point NaN. Every other radius is the norm of `point - x` and
      the score was evaluated at `point` itself, a few machine epsilons past the boundary so that
      another compilation of the model agrees.

    Raises: ValueError: unknown `norm`, `steps` below 1, `rounds` below 0, bad `box`, or a known
      `max_radius` that is negative or not finite.
    """
    _check_norm(norm)
    _check_box(box)
    _check_radius(max_radius, "max_radius")
    _check_counts(steps, 1, True)
    if rounds < 0:
        raise ValueError(f"rounds must be at least 0, got {rounds}")
    x = jnp.asarray(x)
    y = jnp.asarray(y, x.dtype)
    max_radius = jnp.broadcast_to(jnp.asarray(max_radius, x.dtype), y.shape)

    def objective(points):
        return -y * score(points)

    def shorten(best, end):
        """Keep the shorter of `best` and the first error between `x` and `end`."""
        radius, point = _first_error(score, x, y, end, norm)
        shorter = radius < best[0]
        return jnp.where(shorter, radius, best[0]), jnp.where(_column(shorter, x), point, best[1])

    best = (jnp.full_like(y, jnp.inf), jnp.full_like(x, jnp.nan))
    for direction in directions or ():
        unit = _ascent(_broadcast_direction(direction, x), "l2")
        unit = unit / jnp.maximum(_column(_size(unit, norm), unit), jnp.finfo(x.dtype).tiny)
        for sign in (1, -1):
            step = project(sign * _column(max_radius, x) * unit, max_radius, norm)
            best = shorten(best, _place(x, step, box))

    visit = _ascender(objective, x, norm, steps, box)
    initial = _start_best(objective, x)

    def attack(carry, counted_key):
        best, failed = carry
        number, key = counted_key
        known = jnp.minimum(best[0], max_radius)
        # a failure above the best radius shows that PGD is unreliable here: begin again below
        failed = jnp.where(failed < known, failed, known / 2)
        untried = (number == 0) & jnp.isinf(best[0])
        radius = jnp.where(untried, max_radius, (failed + known) / 2)
        start = project(_uniform(key, x, radius, norm), radius, norm) * (number % 2).astype(x.dtype)
        value, point = visit(_place(x, start, box), radius, 2.5 * radius / steps, initial)
        found = value >= 0
        best = shorten(best, jnp.where(_column(found, x), point, x))
        return (best, jnp.where(found | untried, failed, radius)), None

    if rounds:
        counted_keys = (jnp.arange(rounds), jax.random.split(key, rounds))
        (best, _), _ = jax.lax.scan(attack, (best, jnp.zeros_like(y)), counted_keys)
    wrong = y * score(x) <= 0
    return jnp.where(wrong, 0, best[0]), jnp.where(_column(wrong, x), x, best[1])


@part
class FGSM:
    """One step of steepest ascent of length `radius`; see `fgsm`.

    Attributes:
      radius: of the ball around each input, one number or one per sample.
      norm: `"l2"` or `"linf"`.
      box: (low, high) of every coordinate, or None.

    Raises: ValueError: a radius that is negative or not finite, an unknown norm, a bad box.
    """

    radius: _Radius | Axis
    norm: str = static("linf")
    box: Any = static(None)

    def __post_init__(self):
        _check_radius(self.radius)
        _check_norm(self.norm)
        _check_box(self.box)

    def perturb(
        self, key: PRNGKeyArray, objective: Callable[[Array], Array], sample: Sample, draw: Draw
    ) -> Float[Array, "samples *shape"]:
        """Inputs moved to increase `objective`; `key` and `draw` are not used."""
        return fgsm(objective, sample.x, self.radius, norm=self.norm, box=self.box)


@part
class PGD:
    """Projected gradient ascent in a ball of size `radius`; see `pgd`.

    Attributes:
      radius: of the ball around each input, one number or one per sample.
      norm: `"l2"` or `"linf"`.
      steps: number of steps.
      relative_step: step size times steps over radius.
      random_start: start uniformly in the ball, otherwise at the input.
      restarts: number of random starts.
      box: (low, high) of every coordinate, or None.

    Raises: ValueError: a radius that is negative or not finite, an unknown norm, steps or restarts
      below 1, restarts without random starts, a relative step that is not positive, a bad box.
    """

    radius: _Radius | Axis
    norm: str = static("l2")
    steps: int = static(40)
    relative_step: ScalarLike | Axis = 2.5
    random_start: bool = static(True)
    restarts: int = static(1)
    box: Any = static(None)

    def __post_init__(self):
        _check_radius(self.radius)
        _check_norm(self.norm)
        _check_counts(self.steps, self.restarts, self.random_start)
        _check_box(self.box)
        step = _known(self.relative_step)
        if step is not None and not (np.isfinite(step) & (step > 0)).all():
            raise ValueError(f"relative_step must be finite and positive, got {self.relative_step}")

    def perturb(
        self, key: PRNGKeyArray, objective: Callable[[Array], Array], sample: Sample, draw: Draw
    ) -> Float[Array, "samples *shape"]:
        """The best inputs found for `objective`; `draw` is not used."""
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
            restarts=self.restarts,
            box=self.box,
        )


@part
class FeatureAttack:
    """Moves every input by `radius` in l2 along minus its label times `feature_direction`.

    Attributes:
      radius: length of the step, one number or one per sample.

    Raises: ValueError: a radius that is negative or not finite.
    Reference: Li et al. 2025, arXiv:2410.10322.
    """

    radius: _Radius | Axis

    def __post_init__(self):
        _check_radius(self.radius)

    def perturb(
        self, key: PRNGKeyArray, objective: Callable[[Array], Array], sample: Sample, draw: Draw
    ) -> Float[Array, "samples *shape"]:
        """The moved inputs; `key` and `objective` are not used."""
        direction = feature_direction(draw.features, draw.feature_signs)
        return along(sample.x, -sample.y[:, None] * direction[None, :], self.radius)


def _column(values, like):
    """`values`, one number or one per sample, in the dtype of `like` and shaped to multiply it."""
    values = jnp.asarray(values)
    if values.dtype != bool:
        values = values.astype(like.dtype)
    return values.reshape(values.shape + (1,) * (like.ndim - 1)) if values.ndim else values


def _size(delta, norm):
    """Norm of each sample; scaled, since squares of small float32 gradients underflow."""
    flat = jnp.abs(delta.reshape(len(delta), -1))
    largest = flat.max(axis=1, initial=0)
    if norm == "linf":
        return largest
    scale = jnp.where(largest > 0, largest, 1)
    return largest * jnp.sqrt(jnp.sum((flat / scale[:, None]) ** 2, axis=1))


def _ascent(gradient, norm):
    """Steepest ascent direction of unit norm per sample; zero for a zero gradient."""
    gradient = jnp.where(jnp.isfinite(gradient), gradient, 0)
    if norm == "linf":
        return jnp.sign(gradient)
    largest = _column(_size(gradient, "linf"), gradient)
    gradient = gradient / jnp.where(largest > 0, largest, 1)
    size = _column(_size(gradient, "l2"), gradient)
    return gradient / jnp.where(size > 0, size, 1)


def _place(x, delta, box):
    """`x + delta` rounded towards `x`, in the box."""
    point = x + delta
    point = jnp.where(jnp.abs(point - x) > jnp.abs(delta), jnp.nextafter(point, x), point)
    if box is None:
        return point
    low, high = box
    return jnp.clip(point, jnp.minimum(x, low), jnp.maximum(x, high))


def _uniform(key, x, radius, norm):
    """Uniform points of the ball, one per sample."""
    if norm == "linf":
        return _column(radius, x) * jax.random.uniform(key, x.shape, x.dtype, -1, 1)
    direction_key, length_key = jax.random.split(key)
    dim = max(1, math.prod(x.shape[1:]))
    length = jax.random.uniform(length_key, (len(x),), x.dtype) ** (1 / dim)
    direction = _ascent(jax.random.normal(direction_key, x.shape, x.dtype), "l2")
    return _column(radius, x) * _column(length, x) * direction


def _broadcast_direction(direction, x):
    direction = jnp.asarray(direction, x.dtype).reshape((-1, *x.shape[1:]))
    return jnp.broadcast_to(direction, x.shape)


def _start_best(objective, x):
    value = objective(x).astype(x.dtype)
    return jnp.where(jnp.isnan(value), -jnp.inf, value), x


def _better(best, value, point):
    value = value.astype(point.dtype)
    better = value > best[0]
    return jnp.where(better, value, best[0]), jnp.where(_column(better, point), point, best[1])


def _ascender(objective, x, norm, steps, box):
    """A function that climbs from `start` and returns the best value and point, `best` included."""

    def visit(start, radius, step_size, best):
        step_size = _column(step_size, x)

        def climb(_, carry):
            point, best = carry
            value, pull = jax.vjp(objective, point)
            (gradient,) = pull(jnp.ones_like(value))
            best = _better(best, value, point)
            moved = point - x + step_size * _ascent(gradient, norm)
            return _place(x, project(moved, radius, norm), box), best

        point, best = jax.lax.fori_loop(0, steps, climb, (start, best))
        return _better(best, objective(point), point)

    return visit


def _first_error(score, x, y, end, norm):
    """Radius and point of the first error found on the segment from `x` to `end`; inf and NaN if none."""

    def at(t):
        # rounding must not carry a point past the end, out of the ball or box
        return jnp.clip(x + _column(t, x) * (end - x), jnp.minimum(x, end), jnp.maximum(x, end))

    def wrong(t):
        return y * score(at(t)) <= 0

    def try_grid(i, first):
        t = jnp.full_like(y, (i + 1) / _GRID)
        return jnp.where(wrong(t), jnp.minimum(first, t), first)

    def halve(_, bracket):
        right, error = bracket
        middle = (right + error) / 2
        is_error = wrong(middle)
        return jnp.where(is_error, right, middle), jnp.where(is_error, middle, error)

    first = jax.lax.fori_loop(0, _GRID, try_grid, jnp.full_like(y, jnp.inf))
    error = jnp.where(jnp.isinf(first), 0, first)
    _, error = jax.lax.fori_loop(0, _HALVINGS, halve, (jnp.maximum(error - 1 / _GRID, 0), error))
    beyond = jnp.minimum(error * (1 + 64 * jnp.finfo(x.dtype).eps), 1)
    point = at(jnp.where(wrong(beyond), beyond, error))
    found = jnp.isfinite(first) & (y * score(point) <= 0)
    return jnp.where(found, _size(point - x, norm), jnp.inf), jnp.where(_column(found, x), point, jnp.nan)


def _known(value: Any) -> np.ndarray | None:
    """The numbers in `value`, or None where they are not known before tracing."""
    if isinstance(value, Axis):
        return value.values
    if isinstance(value, int | float | np.number | np.ndarray):
        return np.asarray(value, dtype=float)
    if isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer):
        return np.asarray(value, dtype=float)
    return None


def _check_radius(radius: Any, name: str = "radius") -> None:
    values = _known(radius)
    if values is not None and not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"{name} must be finite and not negative, got {radius}")


def _check_norm(norm: Any) -> None:
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")


def _check_box(box: Any) -> None:
    if box is None:
        return
    if not (isinstance(box, tuple) and len(box) == 2 and box[0] < box[1]):
        raise ValueError(f"box must be None or a tuple (low, high) with low < high, got {box!r}")


def _check_counts(steps: int, restarts: int, random_start: bool) -> None:
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if restarts < 1:
        raise ValueError(f"restarts must be at least 1, got {restarts}")
    if restarts > 1 and not random_start:
        raise ValueError(f"restarts must be 1 without random_start, got {restarts}")
