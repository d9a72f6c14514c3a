r"""ReLU networks written down: memorised balls on top of a clean classifier, and the parity of signs.

A classifier that is right on clean data and on a ball around every training input, and nowhere else robust,
needs few parameters: those of a clean classifier and $O(D)$ a ball. With $d_i = \|x - x_i\|_\infty$ and
$\phi$ = ReLU, the ramp $r_i = [\phi(\delta + \tau - d_i) - \phi(\delta - d_i)]/\tau$ is 1 in the ball of
radius $\delta$ and 0 beyond $\delta + \tau$, and
$$f_S(x) = f(x) + h \sum_i y_i r_i(x)$$
has the label's sign in every ball if $h > \sup |f|$ and the balls of opposite labels, ramps included, are
disjoint. $|z| = \phi(z) + \phi(-z)$ and, for $b \ge 0$, $\max(a, b) = \phi(a - b) + \phi(b)$ make $d_i$ a
tree of ReLU units.

Reference: after Li & Li 2025, arXiv:2306.01271 (robust memorisation with few parameters); the network, which
adds where the paper multiplies with an indicator, is ours.
"""

import itertools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from dynamics.data.sample import Draw
from dynamics.parts import is_number, part, written
from dynamics.words import quoted


class Towers(nn.Module):
    r"""A sum of small ReLU networks side by side, of one shape, plus a linear function of the input.

    $f(x) = \langle c, x\rangle + \sum_i \langle a_i, h_i(x)\rangle$, where $h_i$ is the last hidden layer of
    tower i. Parameters: `linear` (dim,); `W0` (towers, hidden, dim), then `W1`, ... (towers, hidden, below)
    with `b0`, `b1`, ...; `out` (towers, hidden). Weights between towers are zero and are not kept.

    Attributes:
      num_towers: how many.
      hidden: widths of the hidden layers of each.
    """

    __repr__ = written

    num_towers: int
    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x: Float[Array, "samples dim"]) -> Float[Array, "samples"]:
        dtype, zeros = jnp.result_type(float), nn.initializers.zeros
        linear = self.param("linear", zeros, (x.shape[-1],), dtype)
        h = jnp.broadcast_to(x[:, None], (x.shape[0], self.num_towers, x.shape[-1]))
        for layer, width in enumerate(self.hidden):
            W = self.param(f"W{layer}", zeros, (self.num_towers, width, h.shape[-1]), dtype)
            b = self.param(f"b{layer}", zeros, (self.num_towers, width), dtype)
            h = jax.nn.relu(jnp.einsum("ntj,tij->nti", h, W) + b[None])
        out = self.param("out", zeros, (self.num_towers, self.hidden[-1]), dtype)
        return x @ linear + jnp.einsum("ntj,tj->n", h, out)


def ball_widths(dim: int) -> tuple[int, ...]:
    """Hidden widths of the network that holds one ball: twice the width of every level of the tree."""
    return tuple(2 * width for width in _levels(dim))


def _levels(dim):
    """Numbers left at each level of the tree: D, then half of them (rounded up), ..., 1, and the ramp."""
    levels = [dim]
    while levels[-1] > 1:
        levels.append((levels[-1] + 1) // 2)
    return [*levels, 1]


@part
class MemorisedBalls:
    r"""$f_S$ of `Towers(N, ball_widths(dim))`: the balls of the N training inputs on a linear classifier.

    The linear classifier is $x_1/a$ along the first feature, with a its value on the data: it has clean
    margin 1 and, for a radius above a, no robustness at all.

    Attributes:
      radius: $\delta$ of the linf balls.
      ramp: $\tau$; radius + ramp must be below half the distance of opposite inputs.
      height: h of each ball; None: $2 \sup|f|$ over the balls, $2(1 + \delta/a)$.
    Raises: ValueError: a radius or ramp that is not positive.
    """

    radius: Any
    ramp: Any = 0.1
    height: Any = None

    def __post_init__(self):
        for name in ("radius", "ramp"):
            value = getattr(self, name)
            if is_number(value) and not np.all(np.isfinite(value) & (np.asarray(value) > 0)):
                raise ValueError(f"{name} must be finite and positive, got {quoted(value)}")

    def params(self, model: Towers, draw: Draw) -> PyTree:
        """Parameters of `model`. Raises ValueError unless it has a tower of the right shape an input."""
        x, y = draw.train.x, draw.train.y
        count, dim = x.shape
        if model.num_towers != count or model.hidden != ball_widths(dim):
            raise ValueError(f"{count} balls in dimension {dim} need Towers({count}, ball_widths({dim}))")
        dtype = x.dtype

        def each(matrix):
            return jnp.broadcast_to(jnp.asarray(matrix, dtype), (count, *np.shape(matrix)))

        pair = np.kron(np.eye(dim), [[1.0], [-1.0]])  # z and -z of every coordinate
        params = {"W0": each(pair), "b0": -x @ jnp.asarray(pair.T, dtype)}
        levels = _levels(dim)
        for layer, (below, here) in enumerate(itertools.pairwise(levels[:-1]), start=1):
            params[f"W{layer}"] = each(_maxima(below, here))
            params[f"b{layer}"] = each(np.zeros(2 * here))
        last = len(levels) - 1
        radius, ramp = (jnp.asarray(value, dtype) for value in (self.radius, self.ramp))
        params[f"W{last}"] = each(-np.ones((2, 2)))
        ends = jnp.stack([radius + ramp, radius])
        params[f"b{last}"] = jnp.broadcast_to(ends, (count, 2))
        strength = jnp.mean(y * (x @ draw.features[0]))
        height = 2 * (1 + radius / strength) if self.height is None else self.height
        params["out"] = height / ramp * y[:, None] * jnp.asarray([[1.0, -1.0]], dtype)
        return params | {"linear": draw.features[0] / strength}


def _maxima(below, here):
    """Weights from the pairs of `below` numbers, each a sum of two units, to those of their maxima."""
    W = np.zeros((2 * here, 2 * below))
    for node in range(here):
        first, second = 2 * node, 2 * node + 1
        if second == below:  # one is left over, and passed on
            W[2 * node, 2 * first : 2 * first + 2] = 1
            continue
        W[2 * node, 2 * first : 2 * first + 2] = 1
        W[2 * node, 2 * second : 2 * second + 2] = -1
        W[2 * node + 1, 2 * second : 2 * second + 2] = 1
    return W


@part
class SignParity:
    r"""$\prod_{k \ge 2} \mathrm{sign}(x_k)$ as `Towers(1, parity_widths(dim))`, if all $|x_k| \ge$ `margin`.

    Each coordinate is clipped to $\pm$ `margin`, and a zigzag reads the number of positive ones: $O(D)$
    parameters.

    Attributes:
      margin: from 0 (excluded) to 1; inputs of signs $\pm 1$ withstand every linf change up to 1 - margin.
    Raises: ValueError: a margin out of range.
    """

    margin: Any = 0.5

    def __post_init__(self):
        value = np.asarray(self.margin) if is_number(self.margin) else np.ones(1)
        if not np.all((value > 0) & (value <= 1)):
            raise ValueError(f"margin must be above 0 and at most 1, got {self.margin!r}")

    def params(self, model: Towers, draw: Draw) -> PyTree:
        """Parameters of `model`. Raises ValueError unless it has one tower of the right shape."""
        dim = draw.train.x.shape[1]
        signs = dim - 1
        if model.num_towers != 1 or model.hidden != parity_widths(dim):
            raise ValueError(f"the parity of {signs} signs needs Towers(1, parity_widths({dim}))")
        dtype = draw.train.x.dtype
        margin = jnp.asarray(self.margin, dtype)
        pick = np.zeros((2 * signs, dim))
        pick[np.arange(2 * signs), 1 + np.arange(2 * signs) // 2] = 1
        ends = jnp.tile(jnp.asarray([1.0, -1.0], dtype), signs)
        # (relu(x + c) - relu(x - c)) / 2c is 1 for a positive coordinate and 0 for a negative one
        count = jnp.broadcast_to(ends / (2 * margin), (signs, 2 * signs))
        kinks = np.arange(signs)
        turns = np.where(kinks == 0, -2.0, -4.0 * (-1.0) ** kinks)
        return {
            "linear": jnp.zeros(dim, dtype),
            "W0": jnp.asarray(pick, dtype)[None],
            "b0": margin * ends[None],
            "W1": jnp.concatenate([count, jnp.zeros((1, 2 * signs), dtype)])[None],
            "b1": jnp.asarray([[*-kinks, 1.0]], dtype),  # the last unit is the constant 1
            "out": jnp.asarray([(-1.0) ** signs * np.append(turns, 1.0)], dtype),
        }


def parity_widths(dim: int) -> tuple[int, ...]:
    """Hidden widths of the network that reads the parity of D - 1 signs."""
    return 2 * (dim - 1), dim
