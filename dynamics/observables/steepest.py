r"""Margins in the norm of an update rule, and how far the weights are from a stationary point of them.

For a model of degree L in its parameters $\theta$, margins $q_i = y_i f(x_i)$ and loss
$\mathcal L = \sum_i e^{-q_i}$, steepest descent in a norm increases that norm's margin once the loss is
small (Tsilivis et al. 2025, arXiv:2410.22069, Theorem 3.1). Norms are named as in `descent.norms`; one run
may be measured in all of them side by side.
"""

import jax
import jax.numpy as jnp

from dynamics.descent import norms
from dynamics.observables.base import observable
from dynamics.problem import first_layers

NORMS = ("l1", "l2", "linf", "spectral")


def degree(problem) -> float:
    """Degree of homogeneity of the problem's model.

    Raises: ValueError: it has none.
    """
    found = getattr(problem.model, "degree", None)
    if found is None:
        raise ValueError(
            f"margins in a norm need a model that is homogeneous in its parameters; "
            f"{type(problem.model).__name__} with these options is not"
        )
    return found


def _log_total(params, problem, draw):
    """Logarithm of the sum of the samples' losses."""
    return jax.nn.logsumexp(problem.losses_at(params, draw, "train", "log_loss"))


def _norms(params, names):
    return jnp.stack([norms.norm(params, name) for name in names])


def _divided(value, sizes, power):
    """`value / sizes**power`, with the power taken of logarithms; NaN at weights of zero."""
    scale = jnp.exp(-power * jnp.log(jnp.where(sizes > 0, sizes, 1)))
    return jnp.where(sizes > 0, value * scale, jnp.nan)


@observable(("norm",), about="norm of the parameters")
def parameter_norm(params, problem, draw, norm=NORMS):
    r"""$\|\theta\|$ of all parameters together, in each norm."""
    return _norms(first_layers.plain(params), norm)


@observable(("norm",), about="geometric margin")
def geometric_margin(params, problem, draw, norm=NORMS):
    r"""$\gamma = \min_i q_i / \|\theta\|^L$ in each norm, L the model's degree.

    Raises: ValueError: a model that is not homogeneous.
    """
    power, unit = (
        degree(problem),
        first_layers.in_one_unit(params),
    )  # which changes nothing but the size of terms
    smallest = jnp.min(problem.margins_at(unit, draw, "train"))
    return _divided(smallest, _norms(first_layers.plain(unit), norm), power)


@observable(("norm",), about="soft margin")
def soft_margin(params, problem, draw, norm=NORMS):
    r"""$\tilde\gamma = \log(1/\mathcal L) / \|\theta\|^L$ in each norm, $\mathcal L$ the sum of the losses.

    It lies between $\gamma - \log n / \|\theta\|^L$ and $\gamma$ for the exponential loss.

    Raises: ValueError: a model that is not homogeneous, or a loss without exponential tail.
    """
    return _divided(
        -_log_total(params, problem, draw), _norms(first_layers.plain(params), norm), degree(problem)
    )


@observable(("norm",), about="alignment of parameters and negative gradient")
def stationarity(params, problem, draw, norm=NORMS):
    r"""$\beta = \langle\theta, -g\rangle / (\|\theta\|\,\|g\|_*)$, at most 1, with $g$ the loss's gradient.

    1 where the direction of $\theta$ is a stationary (KKT) point of the margin in that norm. 0 at a zero
    gradient or zero weights.
    """
    plain = first_layers.plain(params)
    grads = jax.grad(_log_total)(plain, problem, draw)
    plain, grads = first_layers.in_one_unit(plain), first_layers.in_one_unit(grads)
    inner = -sum(jax.tree.leaves(jax.tree.map(lambda p, g: jnp.sum(p * g), plain, grads)))
    scale = jnp.stack([norms.norm(plain, name) * norms.dual_norm(grads, name) for name in norm])
    return jnp.where(scale > 0, inner / jnp.where(scale > 0, scale, 1), 0)


@observable(("norm",), about="Bregman divergence from a KKT point")
def bregman_gap(params, problem, draw, norm=NORMS):
    r"""$D = \|\tilde\theta\|^2 (1 - \beta)$, $\tilde\theta = \theta / q_{\min}^{1/L}$; NaN before separation.

    It is $\tfrac12 \|\tilde\theta\|^2 + \tfrac12 \|s\|_*^2 - \langle\tilde\theta, s\rangle \ge 0$ for the
    multiple $s$ of $-g$ with $\|s\|_* = \|\tilde\theta\|$; 0 exactly at a KKT point. For l2 it is
    $\|\tilde\theta - s\|^2 / 2$.

    Raises: ValueError: a model that is not homogeneous.
    """
    power, unit = degree(problem), first_layers.in_one_unit(params)
    smallest = jnp.min(problem.margins_at(unit, draw, "train"))
    size = _norms(first_layers.plain(unit), norm)
    squares = jnp.square(size) * jnp.where(smallest > 0, smallest, jnp.nan) ** (-2 / power)
    return squares * (1 - stationarity.measure(params, problem, draw, norm=norm))


def _magnitudes(params):
    plain = first_layers.plain(params)
    return jnp.concatenate([jnp.abs(leaf).ravel() for leaf in jax.tree.leaves(plain)])


@observable(about="share of parameters above half the largest")
def saturated(params, problem, draw, above=0.5):
    r"""Share of parameters with $|\theta_i| > $ `above` $\cdot \max_j |\theta_j|$."""
    sizes = _magnitudes(params)
    return jnp.mean((sizes > above * jnp.max(sizes)).astype(sizes.dtype))


@observable(about="share of parameters that are nearly 0")
def vanishing(params, problem, draw, below=1e-3):
    r"""Share of parameters with $|\theta_i| < $ `below` $\cdot \max_j |\theta_j|$."""
    sizes = _magnitudes(params)
    return jnp.mean((sizes < below * jnp.max(sizes)).astype(sizes.dtype))


@observable(about="effective share of nonzero parameters")
def effective_sparsity(params, problem, draw):
    r"""$\|\theta\|_1^2 / (p \|\theta\|_2^2)$ of p parameters: 1/p for a single one, 1 for equal sizes."""
    sizes = _magnitudes(params)
    ratio = norms.norm(sizes, "l1") / norms.norm(sizes, "l2")
    return jnp.square(ratio) / sizes.size


BINS = tuple(i / 40 for i in range(40))


@observable(("bin",), about="share of parameters by size")
def magnitudes(params, problem, draw, bin=BINS):
    r"""Share of parameters with $|\theta_i| / \max_j |\theta_j|$ between a `bin` edge and the next (or 1)."""
    sizes = _magnitudes(params)
    edges = jnp.asarray([*bin, jnp.inf], sizes.dtype)
    counts, _ = jnp.histogram(sizes / jnp.max(sizes), edges)
    return counts.astype(sizes.dtype) / sizes.size
