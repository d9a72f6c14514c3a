"""Norm balls and boxes: projection, steps that round inwards, and the checks of radii and norms.

The norms of an input are `l2` and `linf` over all its coordinates, and `max-l2`, the largest l2 norm among
its patches (rows along the last axis), whose ball lets every patch move by the radius.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, PRNGKeyArray, ScalarLike, Shaped

from dynamics.data import box as boxes
from dynamics.data.box import Box
from dynamics.parts import Axis, known

Arrays = Array | np.ndarray
Radius = ScalarLike | Float[Array | np.ndarray, " samples"]

NORMS = ("l2", "linf", "max-l2")


def project(
    delta: Float[Arrays, "samples *shape"], radius: Radius, norm: str
) -> Float[Array, "samples *shape"]:
    r"""The point of the ball nearest to each `delta`; a point inside stays as it is.

    Raises: ValueError: unknown `norm`, or a known `radius` that is negative or not finite.
    """
    check_norm(norm)
    check_radius(radius)
    delta = jnp.asarray(delta)
    if norm == "max-l2":
        rows, radius = by_patch(delta, radius)
        return project(rows, radius, "l2").reshape(delta.shape)
    radius = column(radius, delta)
    if norm == "linf":
        return jnp.clip(delta, -radius, radius)
    size = column(norms(delta, "l2"), delta)
    outside = size > radius
    inner = radius * (1 - 4 * jnp.finfo(delta.dtype).eps)
    return jnp.where(outside, delta * (inner / jnp.where(outside, size, 1)), delta)


def column(values: Any, like: Shaped[Array, "samples *shape"]) -> Shaped[Array, "..."]:
    """`values`, one number or one per sample, in the dtype of `like` and shaped to multiply it."""
    values = jnp.asarray(values)
    if values.dtype != bool:
        values = values.astype(like.dtype)
    return values.reshape(values.shape + (1,) * (like.ndim - 1)) if values.ndim else values


def by_patch(
    x: Float[Array, "samples *shape"], radius: Radius
) -> tuple[Float[Array, "rows dim"], Float[Array, " rows"]]:
    """Every patch as a sample of its own, with the radius of the sample it is part of."""
    rows = x.reshape(-1, x.shape[-1])
    per_sample = jnp.broadcast_to(jnp.asarray(radius, x.dtype), x.shape[:1])
    return rows, jnp.repeat(per_sample, rows.shape[0] // max(x.shape[0], 1))


def norms(delta: Float[Array, "samples *shape"], norm: str) -> Float[Array, " samples"]:
    """Norm of each sample; scaled, since squares of small float32 gradients underflow."""
    if norm == "max-l2":
        rows = norms(delta.reshape(-1, delta.shape[-1]), "l2")
        return rows.reshape(len(delta), -1).max(axis=1, initial=0)
    flat = jnp.abs(delta.reshape(len(delta), -1))
    largest = flat.max(axis=1, initial=0)
    if norm == "linf":
        return largest
    largest = jax.lax.stop_gradient(largest)  # a scale only; with it, the derivative at 0 is 0 and not NaN
    squares = jnp.sum(_relative(flat, largest[:, None]) ** 2, axis=1)
    return largest * jnp.sqrt(jnp.where(largest > 0, squares, 1))


def _relative(values, largest):
    """`values / largest`, of large numbers too: compilers multiply by 1 / largest, which may be subnormal."""
    smaller = jnp.where(largest > 1, jnp.asarray(1 / 16, largest.dtype), 1)
    return values * smaller / jnp.where(largest > 0, largest * smaller, 1)


def ascent(gradient: Float[Array, "samples *shape"], norm: str) -> Float[Array, "samples *shape"]:
    """Steepest ascent direction of unit norm per sample; zero for a zero gradient (of a patch, in max-l2)."""
    if norm == "max-l2":
        return ascent(gradient.reshape(-1, gradient.shape[-1]), "l2").reshape(gradient.shape)
    gradient = jnp.where(jnp.isfinite(gradient), gradient, 0)
    if norm == "linf":
        return jnp.sign(gradient)
    largest = column(norms(gradient, "linf"), gradient)
    gradient = _relative(gradient, largest)
    size = column(norms(gradient, "l2"), gradient)
    return gradient / jnp.where(size > 0, size, 1)


def place(
    x: Float[Array, "samples *shape"], delta: Float[Array, "samples *shape"], box: Box
) -> Float[Array, "samples *shape"]:
    """`x + delta` rounded towards `x`, in the box."""
    point = x + delta
    point = jnp.where(jnp.abs(point - x) > jnp.abs(delta), jnp.nextafter(point, x), point)
    if box is None:
        return point
    low, high = box
    return jnp.clip(point, jnp.minimum(x, low), jnp.maximum(x, high))


def uniform_points(
    key: PRNGKeyArray, x: Float[Array, "samples *shape"], radius: Radius, norm: str
) -> Float[Array, "samples *shape"]:
    """Uniform points of the ball, one per sample."""
    if norm == "max-l2":
        rows, radius = by_patch(x, radius)
        return uniform_points(key, rows, radius, "l2").reshape(x.shape)
    if norm == "linf":
        return column(radius, x) * jax.random.uniform(key, x.shape, x.dtype, -1, 1)
    direction_key, length_key = jax.random.split(key)
    dim = max(1, math.prod(x.shape[1:]))
    length = jax.random.uniform(length_key, (len(x),), x.dtype) ** (1 / dim)
    direction = ascent(jax.random.normal(direction_key, x.shape, x.dtype), "l2")
    return column(radius, x) * column(length, x) * direction


def broadcast_direction(direction: Any, x: Float[Array, "samples *shape"]) -> Float[Array, "samples *shape"]:
    """`direction`, one for all samples or one a sample, in the shape of `x`."""
    direction = jnp.asarray(direction, x.dtype).reshape((-1, *x.shape[1:]))
    return jnp.broadcast_to(direction, x.shape)


def inputs(x: Num[Arrays, "samples *shape"]) -> Float[Array, "samples *shape"]:
    """Inputs as an attack moves them: integers as floats."""
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)


def check_radius(radius: Any, name: str = "radius", samples: int | None = None) -> None:
    """Refuse what is no number, a known radius that is negative or not finite, and a list of another length.

    Args:
      samples: of how many samples there may be one each; None: that is not known here.
    """
    values = known(radius)
    wrong = radius is None or isinstance(radius, bool | str)
    wrong |= isinstance(radius, list | tuple) and values is None
    if wrong or (values is not None and not (np.isfinite(values) & (values >= 0)).all()):
        raise ValueError(f"{name} must be finite and not negative, got {radius}")
    if samples is not None and not isinstance(radius, Axis) and np.shape(radius) not in ((), (samples,)):
        raise ValueError(
            f"{name} must be one number, or one for each of the {samples} samples, got an array of shape "
            f"{np.shape(radius)}"
        )


def check_norm(norm: Any) -> None:
    """Refuse an unknown norm."""
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")


def unproven_boxes(problem: Any, observables: Iterable[Any] = ()) -> set[tuple[float, float]]:
    """Boxes that attacks of a problem and of what is observed keep to, but for the one that the data declare.

    A distribution that declares a box was checked when it was made; any other by its first draw
    (`check_inputs`).
    """
    attacks, found = [problem.adversary], set()
    for what in observables:
        options = dict(what.measure.constants) | what.measure.numbers
        attacks.append(options.get("attack"))
        found.add(options.get("box"))
    found |= {getattr(attack, "box", None) for attack in attacks}
    return found - {None, boxes.of(problem.data)}


def check_inputs(inputs: Mapping[str, Float[Arrays, "..."]], asked: Iterable[tuple[float, float]]) -> None:
    """Refuse inputs that lie outside a box that attacks on them keep to.

    Args:
      inputs: of some samples, by the name of the samples.

    Raises: ValueError: says how far outside they lie.
    """
    for box in asked:
        for name, x in inputs.items():
            boxes.refuse_outside(x, box, f"the data's {name} inputs")


def check_counts(steps: int, restarts: int, random_start: bool) -> None:
    """Refuse steps and restarts below 1, and restarts that would all start alike."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if restarts < 1:
        raise ValueError(f"restarts must be at least 1, got {restarts}")
    if restarts > 1 and not random_start:
        raise ValueError(f"restarts must be 1 without random_start, got {restarts}")
