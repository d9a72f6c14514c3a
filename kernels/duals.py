r"""Dual activations: $E[\phi(u)\phi(v)]$ and $E[\phi'(u)\phi'(v)]$ of an activation over a Gaussian pair.

$(u, v)$ is a centred Gaussian pair with variances $A$, $B$ and covariance $C$. The derivatives of the closed
forms are closed forms too, so that input gradients of kernels are finite where two points coincide: there
the derivative of a kink's contribution is the mean of its one-sided values, which is 0.
"""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy import special
from jaxtyping import Array, Float

from kernels import angles
from kernels.angles import Angle

Variances = Float[Array, "*#shape"]
Pairs = Float[Array, "*#shape"]


class Dual(NamedTuple):
    r"""An activation and its expectations over a Gaussian pair with variances A, B and covariance C.

    The angle of the pair may be given beside them, where it is known to more digits than they hold.

    Attributes:
      phi: the activation itself, elementwise; `slope`: its derivative, at a kink that from the left.
      values: $(A, B, C) \mapsto E[\phi(u)\phi(v)]$; shapes broadcast. A fourth argument: their `Angle`.
      slopes: $(A, B, C) \mapsto E[\phi'(u)\phi'(v)]$, likewise.
      turned: the angle of $(\phi(u), \phi(v))$, from A, B and the angle of $(u, v)$; None: no more is known
        of it than `values` tell.
      scales: whether $\phi(cu) = c\,\phi(u)$ for c > 0.
    """

    phi: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    values: Callable[..., Array]
    slopes: Callable[..., Array]
    turned: Callable[[Array, Array, Angle], Angle] | None = None
    scales: bool = False


def _over(a, b):
    return jnp.where(b > 0, a / jnp.where(b > 0, b, 1), 0)


@jax.custom_jvp
def _transverse(A, B, C, cos, apart):
    """C, whose derivative leaves out what comes with the norms: nothing is left of it where a pair coincides.

    Further in, derivatives are those along it, and in A and B at a fixed angle: no two large ones cancel.
    """
    return C


@_transverse.defjvp
def _transverse_jvp(primals, tangents):
    (A, B, C, cos, apart), (dA, dB, dC, *_) = primals, tangents
    exact = C + jax.lax.stop_gradient(jnp.sqrt(A) * jnp.sqrt(B) * cos - C)  # C as the angle has it
    change = dC - exact * (_over(dA, A) + _over(dB, B)) / 2
    return _transverse(*primals), jnp.where(apart, change, 0)


def _pair(A, B, C, angle):
    """A, B, the transverse C, cosine and sine."""
    if angle is None:
        angle, apart = angles.of(A, B, C), True
    else:
        angle = jax.lax.stop_gradient(angle)
        apart = angle.sin > 0
    return A, B, _transverse(A, B, C, angle.cos, jnp.broadcast_to(apart, C.shape)), *angle


@jax.custom_jvp
def _trigonometry(A, B, C, cos, sin):
    """Cosine and sine with their derivatives."""
    return cos, sin


@_trigonometry.defjvp
def _trigonometry_jvp(primals, tangents):
    A, B, C, cos, sin = primals
    cos, sin = _trigonometry(A, B, C, cos, sin)
    along = _over(_over(tangents[2], jnp.sqrt(A)), jnp.sqrt(B))
    return (cos, sin), (along, -cos * _over(along, sin))


def arc_cosine_0(A: Variances, B: Variances, C: Pairs, angle: Angle | None = None) -> Pairs:
    r"""$E[1_{u>0} 1_{v>0}] = (\pi - \theta) / 2\pi$, Cho and Saul 2009; 0 if A or B is 0.

    Where the two coincide (up to sign) the derivative is undefined; it is taken as 0, the mean of the
    one-sided ones.
    """
    return _arc_cosine_0(*_pair(A, B, C, angle))


@jax.custom_jvp
def _arc_cosine_0(A, B, C, cos, sin):
    acute = jnp.arctan2(sin, jnp.abs(cos))
    return jnp.where((A > 0) & (B > 0), jnp.where(cos < 0, acute, math.pi - acute) / (2 * math.pi), 0)


@_arc_cosine_0.defjvp
def _arc_cosine_0_jvp(primals, tangents):
    A, B, C, cos, sin = primals
    sin = _trigonometry(A, B, C, cos, sin)[1]
    # of the direction in which points so close differ, rounding leaves no more than a digit or two
    sin = jnp.where(sin > 64 * jnp.finfo(sin.dtype).eps, sin, 0)
    along = _over(_over(tangents[2], jnp.sqrt(A)), jnp.sqrt(B))
    return _arc_cosine_0(*primals), _over(along, sin) / (2 * math.pi)


def arc_cosine_1(A: Variances, B: Variances, C: Pairs, angle: Angle | None = None) -> Pairs:
    r"""$E[u_+ v_+] = \sqrt{AB}\,(\sin\theta + (\pi - \theta)\cos\theta) / 2\pi$, Cho and Saul 2009."""
    return _arc_cosine_1(*_pair(A, B, C, angle))


@jax.custom_jvp
def _arc_cosine_1(A, B, C, cos, sin):
    return jnp.sqrt(A) * (jnp.sqrt(B) * (jnp.maximum(cos, 0) + angles.excess(Angle(cos, sin))) / 2)


@_arc_cosine_1.defjvp
def _arc_cosine_1_jvp(primals, tangents):
    # dE/dC = E[1 1]; homogeneous of degree 1/2 in A and in B at a fixed angle: nothing is singular
    (A, B, *_), (dA, dB, dC, *_) = primals, tangents
    values = _arc_cosine_1(*primals)
    return values, _arc_cosine_0(*primals) * dC + values * (_over(dA, A) + _over(dB, B)) / 2


def leaky_relu(slope: float) -> Dual:
    r"""$\phi(u) = u$ for $u > 0$, else $\alpha u$; slope $\alpha$ = 0 is ReLU, 1 is linear."""
    return _leaky_relu(float(slope))


@lru_cache(maxsize=64)
def _leaky_relu(slope):
    # kept, as programs are compiled for an activation: the same slope is the same one
    both, mixed = 1 + slope**2, 2 * slope

    def values(A, B, C, angle=None):
        same = both * arc_cosine_1(A, B, C, angle)
        return same if slope == 0 else same - mixed * arc_cosine_1(A, B, -C, _opposite(angle))

    def slopes(A, B, C, angle=None):
        same = both * arc_cosine_0(A, B, C, angle)
        return same if slope == 0 else same + mixed * arc_cosine_0(A, B, -C, _opposite(angle))

    def turned(A, B, angle):
        bend = (1 - slope) ** 2 / both
        more = bend * angles.excess(angle)
        share = jnp.where(angle.cos > 0, 1.0, 1 - bend)
        cos = share * angle.cos
        # 1 - (cos + more)^2, without what cancels at small angles
        square = (1 - share) * (1 + share) + (share * angle.sin) ** 2 - more * (2 * cos + more)
        return _known(A, B, cos + more, square)

    return Dual(
        lambda u: jnp.where(u > 0, u, slope * u),
        lambda u: jnp.where(u > 0, 1.0, jnp.asarray(slope, u.dtype)).astype(u.dtype),
        values,
        slopes,
        turned,
        scales=True,
    )


def _opposite(angle):
    return None if angle is None else Angle(-angle.cos, angle.sin)


def _known(A, B, cos, square):
    """An angle by its cosine and squared sine; a pair of which one is 0 is orthogonal."""
    some = (A > 0) & (B > 0)
    sin = jnp.sqrt(jnp.clip(square, 0, 1))
    return Angle(jnp.where(some, jnp.clip(cos, -1, 1), 0), jnp.where(some, sin, 1))


@jax.custom_jvp
def _erf_ratio(A, B, C, cos, sin):
    r"""$c = 2C / \sqrt{(1 + 2A)(1 + 2B)}$ and $\sqrt{1 - c^2}$, whose square has no term that is negative."""
    a, b = jnp.sqrt(0.5 + A), jnp.sqrt(0.5 + B)
    p, q = jnp.sqrt(A) / a, jnp.sqrt(B) / b
    rest = jnp.hypot(jnp.hypot(math.sqrt(0.5) / a, math.sqrt(0.5) * p / b), p * q * sin)
    return p * q * cos, rest


@_erf_ratio.defjvp
def _erf_ratio_jvp(primals, tangents):
    (A, B, *_), (dA, dB, dC, *_) = primals, tangents
    c, rest = _erf_ratio(*primals)
    scaled = c * (_over(dA, A) / (1 + 2 * A) + _over(dB, B) / (1 + 2 * B)) / 2
    dc = dC / jnp.sqrt(0.5 + A) / jnp.sqrt(0.5 + B) + scaled
    return (c, rest), (dc, -c * dc / rest)


def _erf_values(A, B, C, angle=None):
    return 2 / math.pi * jnp.arctan2(*_erf_ratio(*_pair(A, B, C, angle)))


def _erf_slopes(A, B, C, angle=None):
    rest = _erf_ratio(*_pair(A, B, C, angle))[1]
    return 2 / math.pi / jnp.sqrt(0.5 + A) / rest / jnp.sqrt(0.5 + B)


def _erf_turned(A, B, angle):
    # odd, so that obtuse angles turn as acute ones do: there no two cosines cancel
    c, rest = _erf_ratio(A, B, A, jnp.abs(angle.cos), angle.sin)
    gap = angles.difference(A, B) / (0.5 + A) / (0.5 + B) / 2

    def side(V, other, gap):
        """The angle whose sine is that of the variance, and how far it is from that of c."""
        f = V / (0.5 + V)
        g = jnp.sqrt((1 + f) / (1 + 2 * V))
        short = (gap + other / (0.5 + other) * angle.sin**2) / (rest + g * _over(c, f))
        return jnp.arctan2(f, g), jnp.arctan2(short, g * rest + f * c)

    (p, x), (q, y) = side(A, B, gap), side(B, A, -gap)
    norms = jnp.sqrt(p), jnp.sqrt(q)
    cos, x, y = (_over(_over(value, norms[0]), norms[1]) for value in (jnp.arctan2(c, rest), x, y))
    return _known(A, B, jnp.sign(angle.cos) * cos, cos * (x + y) + x * y)


def _gelu_parts(A, B, C, angle):
    r"""$c = C / \sqrt{(1 + A)(1 + B)}$, $\sqrt{1 - c^2}$ and $E[\Phi(u)\Phi(v)]$."""
    A, B, C, cos, sin = _pair(A, B, C, angle)
    c, rest = _erf_ratio(A / 2, B / 2, C / 2, cos, sin)
    return c, rest, jnp.arctan2(rest, -c) / (2 * math.pi)


def _gelu_values(A, B, C, angle=None):
    c, rest, both = _gelu_parts(A, B, C, angle)
    norm = jnp.sqrt(1 + A) * jnp.sqrt(1 + B)
    bend = c / norm * (c / norm) / rest + A / (1 + A) * (B / (1 + B)) * rest
    return norm * (c * both + bend / (2 * math.pi))


def _gelu_slopes(A, B, C, angle=None):
    c, rest, both = _gelu_parts(A, B, C, angle)
    near = 1 / (1 + A) / rest / (1 + B) / rest
    return both + c / rest * (near + 1 / (1 + A) + 1 / (1 + B)) / (2 * math.pi)


def _square_turned(A, B, angle):
    square = angle.cos**2
    return _known(A, B, (1 + 2 * square) / 3, angle.sin**2 * (8 + 4 * square) / 9)


def _ones(A, B, C, _=None):
    return jnp.ones(jnp.broadcast_shapes(A.shape, B.shape, C.shape), C.dtype)


DUALS: dict[str, Dual] = {
    "relu": leaky_relu(0.0),
    "leaky_relu": leaky_relu(0.01),  # the slope that JAX, flax and PyTorch give it
    "gelu": Dual(
        lambda u: u * special.ndtr(u),
        lambda u: special.ndtr(u) + u * jnp.exp(-(u**2) / 2) / math.sqrt(2 * math.pi),
        _gelu_values,
        _gelu_slopes,
    ),
    "erf": Dual(
        special.erf,
        lambda u: 2 / math.sqrt(math.pi) * jnp.exp(-(u**2)),
        _erf_values,
        _erf_slopes,
        _erf_turned,
    ),
    "linear": Dual(
        lambda u: u,
        jnp.ones_like,
        lambda A, B, C, _=None: jnp.broadcast_arrays(C, A, B)[0],
        _ones,
        lambda A, B, angle: angle,
        scales=True,
    ),
    "square": Dual(
        jnp.square,
        lambda u: 2 * u,
        lambda A, B, C, _=None: A * B + 2 * C**2,
        lambda A, B, C, _=None: jnp.broadcast_arrays(4 * C, A, B)[0],
        _square_turned,
    ),
}
r"""Activations by name: Williams 1997 for erf, Tsuchida et al. 2021 (arXiv:2002.08517) for gelu, which is
$u\Phi(u)$; the others are elementary. `leaky_relu` has slope 0.01; the function of that name, any."""


def quadrature(phi: Callable[[Array], Array], nodes: int = 100) -> Dual:
    """The dual of a smooth activation (`jnp.tanh`, `jax.nn.swish`) by a Gauss-Hermite product rule.

    One pair takes nodes^2 evaluations. Kinks spoil the rule: a few digits are left of ReLU. So do variances
    far above 1, where a smooth activation looks like one with kinks: 100 nodes leave seven digits of tanh at
    2, six at 4 (of its slopes five), and three at 16.
    """
    if nodes < 2:
        raise ValueError(f"nodes must be at least 2, got {nodes}")
    return _quadrature(phi, nodes)


@lru_cache(maxsize=64)
def _quadrature(phi, nodes):
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    weights = weights / weights.sum()

    def derivative(f):
        return jnp.vectorize(jax.grad(lambda u: jnp.squeeze(f(u))))

    @partial(jax.custom_jvp, nondiff_argnums=(0, 1))
    def expectation(f, h, A, B, C, cos, sin):
        at, shares = jnp.asarray(points, C.dtype), jnp.asarray(weights, C.dtype)
        a, b = jnp.sqrt(A), jnp.sqrt(B)
        grid = at.reshape(-1, *(1,) * C.ndim)

        def add(total, node):
            u, w = node
            return total + w * f(a * u) * jnp.tensordot(
                shares, h(b[None] * (cos[None] * u + sin[None] * grid)), 1
            ), None

        start = jnp.zeros(jnp.broadcast_shapes(A.shape, B.shape, C.shape), C.dtype)
        return jax.lax.scan(add, start, (at, shares))[0]

    @expectation.defjvp
    def expectation_jvp(f, h, primals, tangents):
        # Price's theorem in C; in A and B at a fixed angle: those of the scale
        (A, B, *_), (dA, dB, dC, *_) = primals, tangents
        df, dh = derivative(f), derivative(h)
        change = expectation(df, dh, *primals) * dC
        change += expectation(lambda u: u * df(u), h, *primals) * _over(dA, A) / 2
        change += expectation(f, lambda v: v * dh(v), *primals) * _over(dB, B) / 2
        return expectation(f, h, *primals), change

    slope = derivative(phi)
    return Dual(
        phi,
        slope,
        lambda A, B, C, angle=None: expectation(phi, phi, *_pair(A, B, C, angle)),
        lambda A, B, C, angle=None: expectation(slope, slope, *_pair(A, B, C, angle)),
    )


SMOOTH: dict[str, Callable[[Array], Array]] = {
    "tanh": jnp.tanh,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "sigmoid": jax.nn.sigmoid,
}
"""Activations by name whose duals are those of `quadrature`: to seven digits at variances up to 2."""
Activation = str | Dual
"""A name in `DUALS` or `SMOOTH`, or a `Dual` made by `leaky_relu` or `quadrature`."""


def dual(activation: Activation) -> Dual:
    """The dual of an activation.

    Raises: ValueError: unknown name.
    """
    if isinstance(activation, Dual):
        return activation
    if activation in SMOOTH:
        return quadrature(SMOOTH[activation])
    if activation not in DUALS:
        raise ValueError(
            f"activation must be one of {', '.join([*DUALS, *SMOOTH])}, "
            f"or leaky_relu(slope) or quadrature(phi) of kernels.duals, "
            f"got {activation!r}"
        )
    return DUALS[activation]
