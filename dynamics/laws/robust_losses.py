"""The loss's side of the fixed point of `laws.regularization_geometry`: from overlaps to their conjugates."""

import functools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr

Loss = Literal["logistic", "hinge", "squared"]
CHANNEL_NODES = 1201
REACH = 9.0
"""Standard deviations over which Gaussians are integrated."""


class Overlaps(NamedTuple):
    """The four numbers, or their conjugates; all of one shape, that of the settings."""

    m: Any
    q: Any
    V: Any
    P: Any


def _expectations(x, setting, rho, t, dt, force, slope, pull, wrong, loss):
    """Conjugates, training error and loss of what is known at nodes t of the shifted field.

    `force` is $(u - t)/V$ at the proximal point u, `slope` its derivative by t, `pull` the derivative of the
    loss by the attack's shift.
    """
    m, q, _, P = x
    xi = t / jnp.sqrt(q)
    mass = dt / jnp.sqrt(q) * jnp.exp(-(xi**2) / 2) / math.sqrt(2 * math.pi)
    eta = m / jnp.sqrt(q) * xi
    v = rho + setting["noise"] ** 2 - m**2 / q
    density = jnp.exp(-(eta**2) / (2 * v)) / jnp.sqrt(2 * math.pi * v)
    right = ndtr(eta / jnp.sqrt(v))
    alpha, epsilon, p = setting["alpha"], setting["epsilon"], setting["p_star"]

    def mean(values):
        return 2 * jnp.sum(mass * values)

    hats = Overlaps(
        alpha * mean(density * force),
        alpha * mean(right * force**2),
        -alpha * mean(right * slope),
        alpha * epsilon / p * P ** (1 / p - 1) * mean(right * pull),
    )
    return hats, mean(right * wrong), mean(right * loss)


def _logistic(x, setting, rho):
    _, q, V, P = x
    shift, reach = setting["epsilon"] * P ** (1 / setting["p_star"]), REACH * jnp.sqrt(q)

    def proximal(t):
        """Of one field, by bisection: u + shift - t = V sigmoid(-u)."""

        def halve(_, ends):
            low, high = ends
            middle = (low + high) / 2
            above = middle + shift - t > V * jax.nn.sigmoid(-middle)
            return jnp.where(above, low, middle), jnp.where(above, middle, high)

        low, high = jax.lax.fori_loop(0, 40, halve, (t - shift, t - shift + V))
        return (low + high) / 2

    ends = proximal(-reach), proximal(reach)
    step = (ends[1] - ends[0]) / (CHANNEL_NODES - 1)
    u = ends[0] + step * jnp.arange(CHANNEL_NODES)
    force = jax.nn.sigmoid(-u)
    bend = force * (1 - force)
    t = u + shift - V * force
    slope = -bend / (1 + V * bend)
    return _expectations(
        x, setting, rho, t, step * (1 + V * bend), force, slope, force, u < 0, jax.nn.softplus(-u)
    )


def _hinge(x, setting, rho):
    _, q, V, P = x
    shift = setting["epsilon"] * P ** (1 / setting["p_star"])
    t, dt = _pieces(jnp.sqrt(q), (shift + 1 - V, shift + 1))
    moved = t - shift
    u = jnp.where(moved < 1 - V, moved + V, jnp.maximum(moved, 1))
    force = (u - moved) / V
    slope = jnp.where((moved > 1 - V) & (moved < 1), -1 / V, 0)
    return _expectations(x, setting, rho, t, dt, force, slope, force, u < 0, jnp.maximum(1 - u, 0))


def _squared(x, setting, rho):
    _, q, V, P = x
    shift = setting["epsilon"] * P ** (1 / setting["p_star"])
    t, dt = _pieces(jnp.sqrt(q), (1 - 2 * V * shift, 1 + 2 * V * shift))
    # of (|1 - u| + shift)^2 + (u - t)^2 / 2V: soft thresholding, then shrinking
    left = 1 - t
    missing = jnp.sign(left) * jnp.maximum(jnp.abs(left) - 2 * V * shift, 0) / (1 + 2 * V)
    force = (left - missing) / V
    slope = jnp.where(jnp.abs(left) > 2 * V * shift, -2 / (1 + 2 * V), -1 / V)
    size = jnp.abs(missing) + shift
    wrong = 1 - missing < shift
    return _expectations(x, setting, rho, t, dt, force, slope, 2 * size, wrong, size**2)


CHANNELS = {"logistic": _logistic, "hinge": _hinge, "squared": _squared}


def _pieces(scale, corners):
    """Nodes and weights over a Gaussian's reach, in pieces between corners and 0, where labels turn."""
    reach = REACH * scale
    ends = jnp.sort(jnp.clip(jnp.stack([-reach, 0 * reach, reach, *corners]), -reach, reach))
    nodes, mass = legendre(CHANNEL_NODES // (len(corners) + 2))
    lengths = jnp.diff(ends)[:, None]
    # denser towards both ends, where labels turn over a short way
    inner, stretch = nodes**2 * (3 - 2 * nodes), 6 * nodes * (1 - nodes)
    return (ends[:-1, None] + lengths * inner[None]).ravel(), (lengths * (mass * stretch)[None]).ravel()


@functools.cache
def legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return (nodes + 1) / 2, weights / 2
