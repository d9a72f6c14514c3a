r"""Angles between points and between Gaussian variables, to all digits where they are small.

$1 - \cos^2$ loses the sine of points that nearly coincide, on which kernels depend: of two images whose
pixels are 0 to 255, one of them changed by 1, nothing is left in single precision. Such pairs are found, and
their sines come from differences. What is found has no derivative: kernels have theirs by hand.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, ScalarLike

from kernels import products

NEAR = 1 / 128  # squared sines below which differences are taken


class Angle(NamedTuple):
    """Cosine and sine of the angle of each pair; of a pair of which one is 0: 0 and 1."""

    cos: Float[Array, "*pairs"]
    sin: Float[Array, "*pairs"]


@jax.jit
def of(A: Float[Array, "*#pairs"], B: Float[Array, "*#pairs"], C: Float[Array, "*#pairs"]) -> Angle:
    """Angles by variances and covariances; a sine below the square root of round-off is 0, none is known."""
    A, B, C = jax.lax.stop_gradient((A, B, C))
    some = (A > 0) & (B > 0)
    cos = C / jnp.sqrt(jnp.where(some, A, 1)) / jnp.sqrt(jnp.where(some, B, 1))
    cos = jnp.where(some, jnp.clip(cos, -1, 1), 0)
    square = (1 - cos) * (1 + cos)
    apart = square > 8 * jnp.finfo(cos.dtype).eps
    return Angle(jnp.where(apart, cos, jnp.sign(cos)), jnp.where(apart, jnp.sqrt(square), 0))


def between(x: Float[Array, "points dim"], z: Float[Array, "others dim"] | None = None) -> Angle:
    """Angles between points; `z` None: of the points among themselves."""
    x, z = jax.lax.stop_gradient((x, z))
    if z is not None and len(x) < len(z):  # each point goes through those near it: the more points, the fewer
        return Angle(*(each.T for each in _between(z, x)))
    return _between(x, z)


@jax.jit
def _between(x, z):
    other = x if z is None else z
    some = jnp.any(x != 0, axis=1, keepdims=True) & jnp.any(other != 0, axis=1, keepdims=True).T
    cos = jnp.clip(products.units(x) @ products.units(other).T, -1, 1)
    square = (1 - cos) * (1 + cos)
    same = jnp.eye(len(x), dtype=bool) & some if z is None else jnp.zeros((), bool)
    found = Angle(jnp.where(same, 1, cos), jnp.where(same, 0, jnp.sqrt(square)))
    near = (square < NEAR) & some & ~same

    def differ(state):
        """Angles of every point with the first other one that is still to be told from it."""
        near, cos, sin = state
        first = jnp.argmax(near, axis=1)
        chosen = near & (jnp.arange(near.shape[1])[None] == first[:, None])
        sign = jnp.sign(jnp.take_along_axis(cos, first[:, None], axis=1))
        sine = _sine(x, sign * other[first])
        cosine = sign * jnp.sqrt((1 - sine) * (1 + sine))
        return near & ~chosen, jnp.where(chosen, cosine, cos), jnp.where(chosen, sine, sin)

    return Angle(*jax.lax.while_loop(lambda state: jnp.any(state[0]), differ, (near, *found))[1:])


def _sine(u, v):
    """The sine of the small angle of each pair of rows."""
    here, there = products.size(u), products.size(v)
    # points of about one size keep it, for then their difference is exact
    ours = jnp.maximum(here, there)
    alike = ours <= 2 * jnp.minimum(here, there)
    u, v = u / jnp.where(alike, ours, here), v / jnp.where(alike, ours, there)
    square, rest = jnp.sum(u * u, 1, keepdims=True), v - u
    for _ in range(2):  # what rounding has left along u, goes
        rest = rest - jnp.sum(u * rest, 1, keepdims=True) / square * u
    return jnp.minimum(jnp.sqrt(jnp.sum(rest * rest, 1, keepdims=True) / jnp.sum(v * v, 1, keepdims=True)), 1)


@jax.jit
def with_bias(
    angle: Angle, A: Float[Array, "*#pairs"], B: Float[Array, "*#pairs"], bias: ScalarLike
) -> Angle:
    """Angles once a common variable of this variance has been added to pairs of variances A and B."""
    A, B, bias = jax.lax.stop_gradient((A, B, jnp.asarray(bias, A.dtype)))

    def shares(variance):
        total = jnp.sqrt(jnp.where(variance + bias > 0, variance + bias, 1))
        return total, jnp.sqrt(variance) / total, jnp.sqrt(bias) / total

    (total, a, p), (_, b, q) = shares(A), shares(B)
    norms = jnp.sqrt(A) + jnp.sqrt(B)
    slant = difference(A, B) / jnp.where(norms > 0, norms, 1) / total * q
    ahead = angle.cos > 0
    gap = jnp.where(ahead, angle.sin**2 / jnp.where(ahead, 1 + angle.cos, 1), 1 - angle.cos)  # 1 - cos
    square = (a * b * angle.sin) ** 2 + slant**2 + 2 * a * b * p * q * gap
    some = (A + bias > 0) & (B + bias > 0)
    cos = jnp.where(some, a * b * angle.cos + p * q, 0)
    return Angle(jnp.clip(cos, -1, 1), jnp.where(some, jnp.sqrt(jnp.minimum(square, 1)), 1))


def difference(A: Float[Array, "*#pairs"], B: Float[Array, "*#pairs"]) -> Float[Array, "*pairs"]:
    """A - B; variances that are the same up to round-off have none."""
    return jnp.where(jnp.abs(A - B) > 16 * jnp.finfo(A.dtype).eps * (A + B), A - B, 0)


@jax.jit
def excess(angle: Angle) -> Float[Array, "*pairs"]:
    r"""$(\sin\varphi - \varphi\cos\varphi) / \pi$ of the acute angle of a pair or its opposite."""
    acute = jnp.arctan2(angle.sin, jnp.abs(angle.cos))
    far = (angle.sin - acute * jnp.abs(angle.cos)) / math.pi
    series = jnp.zeros_like(acute)
    for power in range(6, 0, -1):  # it cancels where the angle is small
        series = 2 * power / math.factorial(2 * power + 1) - acute**2 * series
    return jnp.where(acute < 0.3, acute**3 * series / math.pi, far)
