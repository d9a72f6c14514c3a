"""The smallest radius at which an attack breaks a model, with the point that proves it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from dynamics.adversary import ball
from dynamics.adversary.attacks import ascender, start_best
from dynamics.adversary.ball import Arrays, Box, Radius
from dynamics.data import box as boxes

_GRID = 16  # points of a segment that are tried before it is bisected
_HALVINGS = 24


def smallest_radius(
    key: PRNGKeyArray,
    score: Callable[[Array], Array],
    x: Float[Arrays, "samples *shape"],
    y: Float[Arrays, " samples"],
    *,
    max_radius: Radius,
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
      norm: `"l2"`, `"linf"` or `"max-l2"`.
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
    ball.check_norm(norm)
    boxes.check(box)
    ball.check_counts(steps, 1, True)
    if rounds < 0:
        raise ValueError(f"rounds must be at least 0, got {rounds}")
    x = ball.inputs(x)
    ball.check_radius(max_radius, "max_radius", len(x))
    y = jnp.asarray(y, x.dtype)
    max_radius = jnp.broadcast_to(jnp.asarray(max_radius, x.dtype), y.shape)

    def objective(points):
        return -y * score(points)

    def shorten(best, end):
        """Keep the shorter of `best` and the first error between `x` and `end`."""
        radius, point = _first_error(score, x, y, end, norm)
        shorter = radius < best[0]
        return jnp.where(shorter, radius, best[0]), jnp.where(ball.column(shorter, x), point, best[1])

    best = (jnp.full_like(y, jnp.inf), jnp.full_like(x, jnp.nan))
    for direction in directions or ():
        unit = ball.ascent(ball.broadcast_direction(direction, x), "l2")
        unit = unit / jnp.maximum(ball.column(ball.norms(unit, norm), unit), jnp.finfo(x.dtype).tiny)
        for sign in (1, -1):
            step = ball.project(sign * ball.column(max_radius, x) * unit, max_radius, norm)
            best = shorten(best, ball.place(x, step, box))

    visit = ascender(objective, x, norm, steps, box)
    initial = start_best(objective, x)

    def attack(carry, counted_key):
        best, failed = carry
        number, key = counted_key
        known = jnp.minimum(best[0], max_radius)
        # a failure above the best radius shows that PGD is unreliable here: begin again below
        failed = jnp.where(failed < known, failed, known / 2)
        untried = (number == 0) & jnp.isinf(best[0])
        radius = jnp.where(untried, max_radius, (failed + known) / 2)
        start = ball.project(ball.uniform_points(key, x, radius, norm), radius, norm) * (number % 2).astype(
            x.dtype
        )
        value, point = visit(ball.place(x, start, box), radius, 2.5 * radius / steps, initial)
        found = value >= 0
        best = shorten(best, jnp.where(ball.column(found, x), point, x))
        return (best, jnp.where(found | untried, failed, radius)), None

    if rounds:
        counted_keys = (jnp.arange(rounds), jax.random.split(key, rounds))
        (best, _), _ = jax.lax.scan(attack, (best, jnp.zeros_like(y)), counted_keys)
    wrong = y * score(x) <= 0
    return jnp.where(wrong, 0, best[0]), jnp.where(ball.column(wrong, x), x, best[1])


def _first_error(score, x, y, end, norm):
    """Radius and point of the first error found on the segment from `x` to `end`; inf and NaN if none."""

    def at(t):
        # rounding must not carry a point past the end, out of the ball or box
        return jnp.clip(x + ball.column(t, x) * (end - x), jnp.minimum(x, end), jnp.maximum(x, end))

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
    return jnp.where(found, ball.norms(point - x, norm), jnp.inf), jnp.where(
        ball.column(found, x), point, jnp.nan
    )
