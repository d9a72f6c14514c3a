"""Closed forms of the kernel picture: descent on linear models, ensembles of networks, times of modes."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, ScalarLike

from kernels import regression
from kernels.regression import Kernel, Spectrum


def modes(gram: Float[Array, "samples samples"]) -> Spectrum:
    """Those of a Gram matrix, symmetric but for rounding."""
    return regression.spectrum((gram + gram.T) / 2)


def course(
    kernel: Float[Array, "places samples"],
    start: Float[Array, " places"],
    y: Float[Array, " samples"],
    relative: float,
    times: Sequence[int],
) -> dict[str, Float[np.ndarray | Array, "..."]]:
    """Descent on the squared loss of a model that is linear in its parameters.

    Args:
      kernel: between all places, training points first, and training points.
      start: outputs at all places.
      relative: learning rate times the largest eigenvalue.

    Returns: `eigenvalue` and `mode` of training points; by time the `residual` in these, the `output` at the
      other places, and the `distance` of parameters from their start.
    """
    n = len(y)
    own, rest = modes(kernel[:n]), y - start[:n]
    learned = [regression.descent(t, relative / float(own.values[0])) for t in times]
    alphas = [regression.coefficients(own, rest, h) for h in learned]
    return {
        "eigenvalue": own.values,
        "mode": own.vectors,
        "residual": np.stack([(1 - h(own.values)) * (own.vectors.T @ rest) for h in learned]),
        "output": np.stack([start[n:] + kernel[n:] @ alpha for alpha in alphas]),
        "distance": np.stack([regression.weight_distance(own, rest, h) for h in learned]),
    }


def ensemble(
    ntk: Kernel,
    nngp: Kernel,
    x: Float[Array, "samples dim"],
    y: Float[Array, " samples"],
    at: Float[Array, "points dim"],
    rate: float,
    times: Sequence[int],
) -> dict[str, Float[np.ndarray, "..."]]:
    """Outputs of infinitely wide networks over their initial weights (Lee et al. 2019, Corollary 1).

    Returns: by time `mean_predicted` and `variance_predicted`; after training without end `mean_limit` and
      `variance_limit`; of the Gaussian process `posterior_mean` and `posterior_variance`.
    """
    own, cross, prior = modes(ntk(x, x)), ntk(at, x), (nngp(at, at), nngp(at, x), nngp(x, x))

    def mean(learned):
        return np.asarray(cross @ regression.coefficients(own, y, learned))

    def variance(learned):
        return np.diag(np.asarray(regression.ensemble_covariance(*prior, cross, own, learned))).copy()

    learned = [regression.descent(t, rate) for t in times]
    posterior = regression.posterior(*prior[:2], modes(prior[2]), y)
    return {
        "mean_predicted": np.stack([mean(h) for h in learned]),
        "variance_predicted": np.stack([variance(h) for h in learned]),
        "mean_limit": mean(None),
        "variance_limit": variance(None),
        "posterior_mean": np.asarray(posterior[0]),
        "posterior_variance": np.diag(np.asarray(posterior[1])).copy(),
    }


def gaps(
    kernel: Float[Array, "places samples"],
    start: Float[Array, " places"],
    end: Float[Array, " places"],
    y: Float[Array, " samples"],
    limit: tuple[Spectrum, Float[Array, "points samples"]],
    steps: int,
    rate: ScalarLike,
) -> tuple[float, float]:
    """Root mean squares of a network less itself linearised, and of that less the infinite network.

    Args:
      kernel, start: as of `course`; `end`: the network's outputs after so many steps.
      limit: modes of the infinite network's kernel, and that kernel between test and training points.
    """
    n, learned = len(y), regression.descent(steps, rate)
    rest, others = y - start[:n], start[n:]
    linear = others + kernel[n:] @ regression.coefficients(modes(kernel[:n]), rest, learned)
    infinite = others + limit[1] @ regression.coefficients(limit[0], rest, learned)
    both = (end[n:] - linear, linear - infinite)
    return tuple(float(jnp.sqrt(jnp.mean(gap**2))) for gap in both)


def times_to_learn(
    eigenvalues: Float[np.ndarray, " modes"], rate: float, left: float = 0.1
) -> Float[np.ndarray, " modes"]:
    r"""Steps $\ln(1/q) / -\ln(1 - \eta\lambda)$ after which a share q of a mode is left; inf: never."""
    known = eigenvalues > 1e-12
    contraction = np.abs(1 - rate * np.where(known, eigenvalues, 0.1))
    return np.where(known, math.log(1 / left) / -np.log(contraction), np.inf)
