r"""Dual activations: $E[\phi(u)\phi(v)]$ and $E[\phi'(u)\phi'(v)]$ of an activation over a Gaussian pair.

$(u, v)$ is a centred Gaussian pair with variances $A$, $B$ and covariance $C$. The derivatives of the closed
forms are closed forms too, so that input gradients of kernels are finite where two points coincide: there
the derivative of a kink's contribution is the mean of its one-sided values, which is 0.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from jaxtyping import Array, Float

Variances = Float[Array, "*#shape"]
Pairs = Float[Array, "*#shape"]


class Dual(NamedTuple):
    r"""An activation and its expectations over a Gaussian pair with variances A, B and covariance C.

    Attributes:
      phi: the activation itself, elementwise; `slope`: its derivative, at a kink that from the left.
      values: $(A, B, C) \mapsto E[\phi(u)\phi(v)]$; shapes broadcast.
      slopes: $(A, B, C) \mapsto E[\phi'(u)\phi'(v)]$.
    """

    phi: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    values: Callable[[Array, Array, Array], Array]
    slopes: Callable[[Array, Array, Array], Array]


def _angle(A, B, C):
    """Norms' product, cosine, sine and angle of a pair; a pair of which one is 0 is orthogonal.

    A sine below the square root of round-off is 0: no digits of it are known.
    """
    product = A * B
    some = product > 0
    norms = jnp.sqrt(jnp.where(some, product, 1))
    cos = jnp.where(some, jnp.clip(C / norms, -1, 1), 0)
    square = (1 - cos) * (1 + cos)
    apart = square > 8 * jnp.finfo(cos.dtype).eps
    sin = jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1)), 0)
    return jnp.where(some, norms, 0), jnp.where(apart, cos, jnp.sign(cos)), sin, jnp.arctan2(sin, cos)


@jax.custom_jvp
def arc_cosine_0(A: Variances, B: Variances, C: Pairs) -> Pairs:
    r"""$E[1_{u>0} 1_{v>0}] = (\pi - \theta) / 2\pi$, Cho and Saul 2009; 0 if A or B is 0.

    Where the two coincide (up to sign) the derivative is undefined; it is taken as 0, the mean of the
    one-sided ones.
    """
    theta = _angle(A, B, C)[3]
    return jnp.where(A * B > 0, (math.pi - theta) / (2 * math.pi), 0)


@arc_cosine_0.defjvp
def _arc_cosine_0_jvp(primals, tangents):
    (A, B, C), (dA, dB, dC) = primals, tangents
    norms, cos, sin, _ = _angle(A, B, C)
    known = (norms > 0) & (sin > 0)
    slope = jnp.where(known, 1 / (2 * math.pi * jnp.where(known, norms * sin, 1)), 0)
    relative = _over(dA, A) + _over(dB, B)
    return arc_cosine_0(A, B, C), slope * (dC - 0.5 * norms * cos * relative)


@jax.custom_jvp
def arc_cosine_1(A: Variances, B: Variances, C: Pairs) -> Pairs:
    r"""$E[u_+ v_+] = \sqrt{AB}\,(\sin\theta + (\pi - \theta)\cos\theta) / 2\pi$, Cho and Saul 2009."""
    norms, cos, sin, theta = _angle(A, B, C)
    return norms * (sin + (math.pi - theta) * cos) / (2 * math.pi)


@arc_cosine_1.defjvp
def _arc_cosine_1_jvp(primals, tangents):
    # dE/dC = E[1 1]; by homogeneity of degree 1/2 in A, dE/dA = (E - C dE/dC) / 2A: nothing is singular
    (A, B, C), (dA, dB, dC) = primals, tangents
    norms, _, sin, _ = _angle(A, B, C)
    side = norms * sin / (4 * math.pi)
    return arc_cosine_1(A, B, C), arc_cosine_0(A, B, C) * dC + side * (_over(dA, A) + _over(dB, B))


def _over(a, b):
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)


def leaky_relu(slope: float) -> Dual:
    r"""$\phi(u) = u$ for $u > 0$, else $\alpha u$; slope $\alpha$ = 0 is ReLU, 1 is linear."""
    both, mixed = 1 + slope**2, 2 * slope

    def values(A, B, C):
        same = both * arc_cosine_1(A, B, C)
        return same if slope == 0 else same - mixed * arc_cosine_1(A, B, -C)

    def slopes(A, B, C):
        same = both * arc_cosine_0(A, B, C)
        return same if slope == 0 else same + mixed * arc_cosine_0(A, B, -C)

    return Dual(
        lambda u: jnp.where(u > 0, u, slope * u),
        lambda u: jnp.where(u > 0, 1.0, jnp.asarray(slope, u.dtype)).astype(u.dtype),
        values,
        slopes,
    )


def _erf_values(A, B, C):
    return 2 / math.pi * jnp.arcsin(2 * C / jnp.sqrt((1 + 2 * A) * (1 + 2 * B)))


def _erf_slopes(A, B, C):
    return 4 / math.pi / jnp.sqrt((1 + 2 * A) * (1 + 2 * B) - 4 * C**2)


def _ones(A, B, C):
    return jnp.ones(jnp.broadcast_shapes(A.shape, B.shape, C.shape), C.dtype)


DUALS: dict[str, Dual] = {
    "relu": leaky_relu(0.0),
    "erf": Dual(special.erf, lambda u: 2 / math.sqrt(math.pi) * jnp.exp(-(u**2)), _erf_values, _erf_slopes),
    "linear": Dual(lambda u: u, jnp.ones_like, lambda A, B, C: jnp.broadcast_arrays(C, A, B)[0], _ones),
    "square": Dual(
        jnp.square,
        lambda u: 2 * u,
        lambda A, B, C: A * B + 2 * C**2,
        lambda A, B, C: jnp.broadcast_arrays(4 * C, A, B)[0],
    ),
}
"""Activations by name. Williams 1997 for erf; the others are elementary."""


def quadrature(phi: Callable[[Array], Array], nodes: int = 100) -> Dual:
    """The dual of a smooth activation (`jnp.tanh`, `jax.nn.gelu`) by a Gauss-Hermite product rule.

    One pair takes nodes^2 evaluations. Kinks spoil the rule: a few digits are left of ReLU.
    """
    if nodes < 2:
        raise ValueError(f"nodes must be at least 2, got {nodes}")
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = weights / weights.sum()
    slope = jnp.vectorize(jax.grad(lambda u: jnp.squeeze(phi(u))))

    def expectation(f, A, B, C):
        scale = jnp.sqrt(jnp.where(A > 0, A, 1))
        along = jnp.where(A > 0, C / scale, 0)
        rest = jnp.maximum(B - along**2, 0)
        rest = jnp.where(rest > 0, jnp.sqrt(jnp.where(rest > 0, rest, 1)), 0)
        inner = partial(jnp.tensordot, jnp.asarray(weights, C.dtype), axes=1)
        grid = jnp.asarray(points, C.dtype).reshape(-1, *(1,) * along.ndim)

        def add(total, node):
            u, w = node
            first = f(jnp.where(A > 0, scale, 0) * u)
            return total + w * first * inner(f(along[None] * u + rest[None] * grid)), None

        start = jnp.zeros(jnp.broadcast_shapes(A.shape, along.shape, rest.shape), C.dtype)
        nodes_ = jnp.asarray(points, C.dtype), jnp.asarray(weights, C.dtype)
        return jax.lax.scan(add, start, nodes_)[0]

    return Dual(phi, slope, partial(expectation, phi), partial(expectation, slope))


Activation = str | Dual
"""A name in `DUALS`, or a `Dual` made by `leaky_relu` or `quadrature`."""


def dual(activation: Activation) -> Dual:
    """The dual of an activation.

    Raises: ValueError: unknown name.
    """
    if isinstance(activation, Dual):
        return activation
    if activation not in DUALS:
        raise ValueError(
            f"activation must be one of {', '.join(DUALS)}, "
            f"or leaky_relu(slope) or quadrature(phi) of kernels.duals, "
            f"got {activation!r}"
        )
    return DUALS[activation]
