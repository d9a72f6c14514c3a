r"""Exact robust radii in l2 for two-layer ReLU networks, from pre-activations and a Gram matrix.

A two-layer network is a maximum of minima of linear pieces, and every piece has a gradient in the
span of the rows of $W$. Distances to the pieces' zero sets, and the pre-activations after a step to
one of them, therefore need only $z = Wx + b$ and $W W^\top$: nothing here grows with the input
dimension except the two products that make them.

Every function returns a lower bound (no perturbation shorter than it changes the predicted label)
and an upper bound (a perturbation of that length was found and checked). Where they meet, the radius is
exact. A score of exactly zero counts as an error. Both hold up to rounding of the dtype in use.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dynamics.descent.norms import exponent, shifted

MAX_PIECES = 2**14
"""Largest number of pairs of linear pieces that is enumerated."""

_BLOCK = 2**20  # numbers held at once while samples are worked through
_GO_ON = 4  # times a step is lengthened by what the active piece still asks for
_Arrays = Array | np.ndarray


def two_layer_radius(
    W: Float[_Arrays, "neurons dim"],
    b: Float[_Arrays, " neurons"],
    a: Float[_Arrays, " neurons"],
    x: Float[_Arrays, "samples dim"],
    y: Float[_Arrays, " samples"],
    num_positive: int,
) -> tuple[Float[Array, " samples"], Float[Array, " samples"]]:
    r"""Lower and upper bound of the l2 distance from `x` to the nearest error of a two-layer network.

    The network is $f(x) = \sum_i a_i\,\mathrm{relu}(\langle w_i, x\rangle + b_i)$ and an error is
    $y f \le 0$. See `two_layer_radius_from_gram` for the method and for what the bounds are at the edges.

    Args:
      W, b: first layer.
      a: output weights; the first `num_positive` are >= 0, the rest <= 0.
      x, y: inputs and their labels, -1 or +1.
      num_positive: number of neurons that add to the score; static.

    Raises: ValueError: see `two_layer_radius_from_gram`.
    Reference: Li et al. 2025, arXiv:2410.10322, for the networks; the bounds are exact geometry.
    """
    lower, upper, _ = two_layer_radius_from_gram(*_gram_form(W, b, x), a, y, num_positive)
    return lower, upper


def two_layer_adversarial_point(
    W: Float[_Arrays, "neurons dim"],
    b: Float[_Arrays, " neurons"],
    a: Float[_Arrays, " neurons"],
    x: Float[_Arrays, "samples dim"],
    y: Float[_Arrays, " samples"],
    num_positive: int,
) -> Float[Array, "samples dim"]:
    r"""The input that proves the upper bound of `two_layer_radius`: there $y f \le 0$.

    A sample that is already misclassified is its own proof; a sample without an upper bound gets NaN.
    The score is computed again at the returned point, and where rounding would undo the error the
    step is lengthened by the first of $2^6, 2^{10}, 2^{14}$ machine epsilons that restores it (NaN if
    none does).

    Raises: ValueError: see `two_layer_radius_from_gram`.
    """
    W, b, a, x, y = (jnp.asarray(value) for value in (W, b, a, x, y))
    W, b = _in_units(W, b)
    _, upper, coefficients = two_layer_radius_from_gram(*_gram_form(W, b, x), a, y, num_positive)
    step = _matmul(coefficients, W)
    point = jnp.full_like(x, jnp.nan)
    for slack in (2**14, 2**10, 2**6, 0):
        candidate = x + step * (1 + slack * jnp.finfo(x.dtype).eps)
        score = jax.nn.relu(_matmul(candidate, W.T) + b[None, :]) @ a
        point = jnp.where((y * score <= 0)[:, None], candidate, point)
    wrong = upper == 0
    return jnp.where(wrong[:, None], x, jnp.where(jnp.isfinite(upper)[:, None], point, jnp.nan))


def two_layer_radius_from_gram(
    z: Float[_Arrays, "samples neurons"],
    gram: Float[_Arrays, "neurons neurons"],
    a: Float[_Arrays, " neurons"],
    y: Float[_Arrays, " samples"],
    num_positive: int,
) -> tuple[Float[Array, " samples"], Float[Array, " samples"], Float[Array, "samples neurons"]]:
    r"""Bounds of the l2 distance to the nearest error, and the step of the upper bound.

    With $P$ running over subsets of the positive neurons and $S$ over subsets of the negative ones
    (the empty sets among them), $f = \max_P \min_S L_{P,S} = \min_S \max_P L_{P,S}$ where
    $L_{P,S} = \sum_{i \in P \cup S} a_i z_i$ has the constant gradient $g_{P,S}$.

    Lower bound, $y = +1$: $\max_P \min_S \max(L_{P,S}, 0)/\|g_{P,S}\|$. As long as some $P$ has
    $L_{P,S} > 0$ for all $S$, $f > 0$; for one $P$ this is a polyhedron, and the minimum over $S$ is the
    distance to its nearest face. For $y = -1$ the roles of $P$ and $S$ change places.

    Upper bound: from every pair with $y L_{P,S} > 0$ step to the zero set of $L_{P,S}$ and a little
    over it (by a factor 1 + max(1e-6, 64 machine epsilons)). Where neurons changed sides on the way and
    $y f > 0$ is left, go on in the same direction to the zero of the piece that is active there, up to
    four times. Keep the steps after which $y f \le 0$ truly holds, and return the length of the
    shortest; inf if there is none.

    Where the step of the upper bound is $\delta = \sum_i c_i w_i$, the third result is $c$ (zero
    where the sample is misclassified or has no upper bound). A misclassified sample has both bounds 0.
    A gradient that vanishes to rounding counts as being as steep as rounding can hide, so the lower
    bound stays valid; where all weights in a pair are exactly zero, the pair never binds if
    $y L > 0$ (lower bound inf for a network that is constant).

    Args:
      z: pre-activations $W x + b$.
      gram: $W W^\top$.
      a: output weights; the first `num_positive` are >= 0, the rest <= 0. Known values are checked.
      y: labels, -1 or +1.
      num_positive: number of neurons that add to the score; static.

    Raises: ValueError: `num_positive` outside 0..neurons, output weights of the wrong sign, or more
      than `MAX_PIECES` pairs, that is more than 14 neurons.
    """
    z = jnp.asarray(z)
    gram, y = jnp.asarray(gram, z.dtype), jnp.asarray(y, z.dtype)
    neurons = z.shape[1]
    if not 0 <= num_positive <= neurons:
        raise ValueError(f"num_positive must be between 0 and the {neurons} neurons, got {num_positive}")
    if 2**neurons > MAX_PIECES:
        raise ValueError(
            f"two_layer_radius enumerates 2**neurons <= {MAX_PIECES} pairs of pieces, got {neurons} neurons: "
            "merge equal neurons or use fewer"
        )
    if not isinstance(a, jax.core.Tracer):
        values = np.asarray(a)
        if (values[:num_positive] < 0).any() or (values[num_positive:] > 0).any():
            raise ValueError(
                f"a must be >= 0 for the first num_positive={num_positive} neurons and <= 0 for the rest, "
                f"got {values.tolist()}"
            )
    return _two_layer(z, gram, jnp.asarray(a, z.dtype), y, num_positive=num_positive)


@partial(jax.jit, static_argnames="num_positive", inline=True)
def _two_layer(z, gram, a, y, *, num_positive):
    neurons = z.shape[1]
    a = shifted(a, -exponent(a))  # radii and steps are the same
    eps = jnp.finfo(z.dtype).eps
    overshoot = 1 + max(1e-6, 64 * float(eps))

    pos, neg = a[:num_positive], a[num_positive:]
    c_pos = jnp.pad(
        jnp.asarray(_subsets(num_positive), z.dtype) * pos[None, :], ((0, 0), (0, neurons - num_positive))
    )
    c_neg = jnp.pad(
        jnp.asarray(_subsets(neurons - num_positive), z.dtype) * neg[None, :], ((0, 0), (num_positive, 0))
    )
    rise_pos, rise_neg = _matmul(c_pos, gram), _matmul(c_neg, gram)  # what z gains per unit of gradient

    def squared(matrix, first, second):
        own = jnp.sum(_matmul(first, matrix) * first, axis=1)
        other = jnp.sum(_matmul(second, matrix) * second, axis=1)
        return own[:, None] + other[None, :] + 2 * _matmul(_matmul(first, matrix), second.T)

    norm_sq = squared(gram, c_pos, c_neg)
    floor = 4 * eps * squared(jnp.abs(gram), jnp.abs(c_pos), jnp.abs(c_neg))
    steepest_sq = jnp.maximum(norm_sq, floor)
    usable = norm_sq > floor

    def one_sample(sample):
        z, y = sample
        margin = y * jnp.dot(jax.nn.relu(z), a, precision=jax.lax.Precision.HIGHEST)
        level = y * (_matmul(c_pos, z)[:, None] + _matmul(c_neg, z)[None, :])
        distance = _distance(level, steepest_sq)
        lower = jnp.where(y > 0, distance.min(axis=1).max(), distance.min(axis=0).max())

        candidate = usable & (level > 0)
        rise = rise_pos[:, None, :] + rise_neg[None, :, :]

        def along_gradient(length):
            """Margin, and its loss per unit of length, after a step of -y times length times gradient."""
            moved = z[None, None, :] - y * length[:, :, None] * rise
            loss = jnp.sum(jnp.where(moved > 0, a[None, None, :] * rise, 0), axis=-1)
            return y * jnp.sum(jax.nn.relu(moved) * a[None, None, :], axis=-1), loss

        def go_on(_, length):
            left, loss = along_gradient(length)
            ahead = candidate & (left > 0) & (loss > 0)
            return length + jnp.where(ahead, overshoot * left / jnp.where(ahead, loss, 1), 0)

        step = jnp.where(candidate, overshoot * level / jnp.where(usable, norm_sq, 1), 0)
        step = jax.lax.fori_loop(0, _GO_ON, go_on, step)
        flips = candidate & (along_gradient(step)[0] <= 0)
        length = jnp.where(flips, step * jnp.sqrt(steepest_sq), jnp.inf)
        best = jnp.unravel_index(jnp.argmin(length), length.shape)
        upper = length[best]
        coefficients = jnp.where(jnp.isfinite(upper), -y * step[best] * (c_pos[best[0]] + c_neg[best[1]]), 0)

        right = margin > 0
        return (
            jnp.where(right, jnp.minimum(lower, upper), 0),
            jnp.where(right, upper, 0),
            jnp.where(right, coefficients, 0),
        )

    return jax.lax.map(one_sample, (z, y), batch_size=_batch(norm_sq.size * neurons, len(z)))


def max_logit_radius(
    z: Float[_Arrays, "samples neurons"],
    gram: Float[_Arrays, "neurons neurons"],
    y: Float[_Arrays, " samples"],
    class_signs: Float[_Arrays, " classes"],
    h: int = 1,
) -> tuple[Float[Array, " samples"], Float[Array, " samples"]]:
    r"""Bounds of the l2 distance to the nearest error of a multi-class network read out as binary.

    Class $j$ owns neurons $jh, \dots, jh + h - 1$, its logit is
    $f_j = \frac1h \sum_r \mathrm{relu}(z_{j,r}) \ge 0$, and the score is
    $\max_{j \in J_+} f_j - \max_{j \in J_-} f_j$, where the maximum over no class is 0.

    A logit is the maximum over subsets of its neurons of the linear pieces
    $u_p = \frac1h \sum_{r \in p} z_{j,r}$ with gradients $g_p$; the empty subset gives the piece 0.

    Lower bound: $\max_p \min_q \max(u_p - u_q, 0)/\|g_p - g_q\|$ with $p$ over the pieces of the
    sample's own side and $q$ over those of the other side, the piece 0 among them. While one own piece
    stays above every opposite piece, the own side's largest logit exceeds the other side's.

    Upper bound: step to (and a little over) the plane where an own piece meets an opposite one, keep
    the steps after which the true readout, computed from `z` and `gram`, is an error, and return the
    length of the shortest; inf if there is none.

    Misclassified samples have both bounds 0. Pieces whose gradients agree to rounding count as being as
    different as rounding can hide, so the lower bound stays valid (0 if the own piece is not above).

    Args:
      z: pre-activations.
      gram: $W W^\top$, neurons in the same order.
      y: labels, -1 or +1.
      class_signs: binary label -1 or +1 of each class; may be traced.
      h: neurons of each class; static.

    Raises: ValueError: neurons are not classes times `h`, or more than `MAX_PIECES` pairs of pieces,
      which are K (K + 1) with K = classes (2**h - 1).
    Reference: Li et al. 2025, arXiv:2410.10322, for the network and the readout.
    """
    z = jnp.asarray(z)
    gram, y = jnp.asarray(gram, z.dtype), jnp.asarray(y, z.dtype)
    class_signs = jnp.asarray(class_signs)
    classes, neurons = len(class_signs), z.shape[1]
    if h < 1 or classes * h != neurons:
        raise ValueError(f"z must have classes * h = {classes} * {h} neurons, got {neurons}")
    pieces = classes * (2**h - 1)
    if pieces * (pieces + 1) > MAX_PIECES:
        raise ValueError(
            f"max_logit_radius enumerates at most {MAX_PIECES} pairs of pieces, got "
            f"{pieces * (pieces + 1)} from {classes} classes with h={h}: merge equal neurons or use fewer"
        )
    return _max_logit(z, gram, y, class_signs, h=h)


@partial(jax.jit, static_argnames="h", inline=True)
def _max_logit(z, gram, y, class_signs, *, h):
    classes, neurons = len(class_signs), z.shape[1]
    pieces = classes * (2**h - 1)
    eps = jnp.finfo(z.dtype).eps
    overshoot = 1 + max(1e-6, 64 * float(eps))

    subsets = np.kron(np.eye(classes), _subsets(h)[1:] / h)
    c_own = jnp.asarray(subsets, z.dtype)
    c_opp = jnp.asarray(np.concatenate([subsets, np.zeros((1, neurons))]), z.dtype)  # last: the piece 0
    class_of_piece = np.repeat(np.arange(classes), 2**h - 1)
    rise = _matmul(c_opp, gram)

    product = _matmul(rise, c_opp.T)
    sizes = jnp.diagonal(product)
    norm_sq = (sizes[:, None] + sizes[None, :] - 2 * product)[:pieces]
    product = _matmul(_matmul(c_opp, jnp.abs(gram)), c_opp.T)
    sizes = jnp.diagonal(product)
    floor = 4 * eps * (sizes[:, None] + sizes[None, :] + 2 * product)[:pieces]
    steepest_sq = jnp.maximum(norm_sq, floor)
    usable = norm_sq > floor

    def one_sample(sample):
        z, y = sample
        is_own = class_signs * y > 0

        def readout(z):
            logits = jnp.mean(jax.nn.relu(z).reshape(*z.shape[:-1], classes, h), axis=-1)
            own = is_own.reshape((1,) * (logits.ndim - 1) + (classes,))
            return jnp.where(own, logits, 0).max(axis=-1) - jnp.where(own, 0, logits).max(axis=-1)

        own = is_own[class_of_piece]
        opposite = jnp.append(~own, True)
        gap = _matmul(c_own, z)[:, None] - _matmul(c_opp, z)[None, :]
        distance = jnp.where(opposite[None, :], _distance(gap, steepest_sq), jnp.inf)
        lower = jnp.max(jnp.where(own, distance.min(axis=1), 0))

        candidate = own[:, None] & opposite[None, :] & usable & (gap > 0)
        step = jnp.where(candidate, overshoot * gap / jnp.where(usable, norm_sq, 1), 0)
        moved = z[None, None, :] - step[:, :, None] * (rise[:pieces, None, :] - rise[None, :, :])
        flips = candidate & (readout(moved) <= 0)
        upper = jnp.min(jnp.where(flips, step * jnp.sqrt(steepest_sq), jnp.inf))

        right = readout(z) > 0
        return jnp.where(right, jnp.minimum(lower, upper), 0), jnp.where(right, upper, 0)

    return jax.lax.map(one_sample, (z, y), batch_size=_batch(norm_sq.size * neurons, len(z)))


def _subsets(size: int) -> np.ndarray:
    """All subsets of `size` things as rows of zeros and ones, the empty one first."""
    return (np.arange(2**size)[:, None] >> np.arange(size)[None, :] & 1).astype(float)


def _matmul(first, second):
    return jnp.matmul(first, second, precision=jax.lax.Precision.HIGHEST)


def _in_units(W, b):
    """The first layer divided by a power of two near its size, which changes no radius."""
    size = exponent(W)
    return shifted(W, -size), shifted(b, -size)


def _gram_form(W, b, x):
    (W, b), x = _in_units(jnp.asarray(W), jnp.asarray(b)), jnp.asarray(x)
    return _matmul(x, W.T) + b[None, :], _matmul(W, W.T)


def _distance(level, norm_sq):
    """Distance to the zero set of linear pieces: 0 below it, inf above it if the piece is constant."""
    flat = norm_sq == 0
    distance = jnp.where(flat, jnp.inf, level / jnp.sqrt(jnp.where(flat, 1, norm_sq)))
    return jnp.where(level > 0, distance, 0)


def _batch(numbers: int, samples: int) -> int:
    return max(1, min(samples, _BLOCK // numbers))
