r"""Eigenvalues of kernels that see nothing but angles, on the circle, the sphere and the hypercube.

All are those of the integral operator under the uniform probability measure: the Gram matrix of n points
has n times these, each as often as its multiplicity says, up to fluctuations (on a regular grid of the
circle: up to aliasing). Kernels are functions of two lists of points, as everywhere in this package, and
are evaluated in their own precision.
"""

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import special

from kernels import checks
from kernels.regression import Kernel

Values = Float[np.ndarray, " degrees"]


def _degrees(degrees: int | Sequence[int]) -> list[int]:
    listed = [degrees] if isinstance(degrees, int | np.integer) else list(degrees)
    for degree in listed:
        checks.whole("degrees", degree, 0)
    return listed


def _from(kernel: Kernel, first: np.ndarray, points: np.ndarray) -> np.ndarray:
    return np.asarray(kernel(jnp.asarray(first[None], float), jnp.asarray(points, float)), float)[0]


def circle(kernel: Kernel, frequencies: int | Sequence[int], points: int = 4096) -> Values:
    r"""$\lambda_k = \frac1{2\pi} \int \kappa(\varphi) \cos(k\varphi)\,d\varphi$, of cosine and of sine.

    By a Fourier transform on a grid of `points`, so up to the sum of the eigenvalues of frequencies
    `points` - k and beyond.

    Raises: ValueError: a negative frequency, or one beyond half of the points.
    """
    listed = _degrees(frequencies)
    if max(listed, default=0) > points // 2:
        raise ValueError(f"frequencies must be at most points / 2 = {points // 2}, got {max(listed)}")
    angles = 2 * np.pi * np.arange(points) / points
    values = _from(kernel, np.array([1.0, 0.0]), np.stack([np.cos(angles), np.sin(angles)], 1))
    return np.real(np.fft.fft(values))[listed] / points


def sphere(kernel: Kernel, degrees: int | Sequence[int], dim: int, nodes: int = 1024) -> Values:
    r"""$\lambda_k$ of the spherical harmonics of degree k on $S^{d-1}$ (Funk and Hecke's formula), d = `dim`.

    $c_d \int_0^\pi \kappa(\cos\theta) P_k(\cos\theta) \sin^{d-2}\theta\,d\theta$ with Gegenbauer polynomials,
    $P_k(1) = 1$, and $1/c_d$ that integral of 1; by Gauss and Legendre in the angle, in which network kernels
    are smooth.

    Raises: ValueError: a negative degree, or a dimension below 2.
    """
    checks.whole("dim", dim, 2)
    listed = _degrees(degrees)
    at, weights = np.polynomial.legendre.leggauss(nodes)
    theta, weights = (at + 1) * np.pi / 2, weights * np.pi / 2
    around = np.zeros((nodes, dim))
    around[:, 0], around[:, 1] = np.cos(theta), np.sin(theta)
    weights = weights * np.sin(theta) ** (dim - 2)
    values = _from(kernel, np.eye(dim)[0], around) * weights / weights.sum()
    return np.array([values @ harmonic(degree, dim, np.cos(theta)) for degree in listed])


def harmonic(degree: int, dim: int, cosine: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """The zonal harmonic of a degree on the sphere in `dim` dimensions, 1 at its pole."""
    if dim == 2:
        return np.cos(degree * np.arccos(cosine))
    order = dim / 2 - 1
    return special.eval_gegenbauer(degree, order, cosine) / special.eval_gegenbauer(degree, order, 1.0)


def multiplicity(degree: int, dim: int) -> int:
    """How many spherical harmonics of this degree there are in `dim` dimensions."""
    checks.whole("degree", degree, 0)
    checks.whole("dim", dim, 2)
    lower = math.comb(degree + dim - 3, dim - 1) if degree > 1 else 0
    return math.comb(degree + dim - 1, dim - 1) - lower


def hypercube(kernel: Kernel, degrees: int | Sequence[int], dim: int) -> Values:
    r"""$\lambda_p = E_x[\kappa(x, 1) \prod_{j \le p} x_j]$ of the parities of p coordinates on $\{\pm1\}^d$.

    Exact, by Krawtchouk polynomials; there are $\binom dp$ parities of degree p.

    Raises: ValueError: a degree that is negative or above the dimension.
    """
    checks.whole("dim", dim, 1)
    listed = _degrees(degrees)
    if max(listed, default=0) > dim:
        raise ValueError(f"degrees must be at most dim={dim}, got {max(listed)}")
    flipped = np.where(np.arange(dim)[None] < np.arange(dim + 1)[:, None], -1.0, 1.0)
    values = _from(kernel, np.ones(dim), flipped)

    def krawtchouk(flips, degree):
        return sum(
            (-1) ** i * math.comb(degree, i) * math.comb(dim - degree, flips - i)
            for i in range(min(degree, flips) + 1)
        )

    return np.array([sum(values[j] * krawtchouk(j, p) for j in range(dim + 1)) / 2.0**dim for p in listed])


def grid_interpolant(
    frequency: int,
    count: int,
    angles: Float[np.ndarray, " points"],
    eigenvalue: Callable[[int], float],
    terms: int = 2000,
) -> Float[np.ndarray, " points"]:
    r"""The ridgeless predictor of $\cos k\varphi$ from `count` equispaced points of the circle, exactly.

    $\sum_q \lambda_{|k + qP|} \cos((k + qP)\varphi) / \sum_q \lambda_{|k + qP|}$: frequencies that agree on
    the grid share the target in proportion to their eigenvalues. `terms` are summed on either side.

    Raises: ValueError: a negative frequency, or no points.
    """
    checks.whole("frequency", frequency, 0)
    checks.whole("count", count, 1)
    aliases = frequency + count * np.arange(-terms, terms + 1)
    weights = np.array([eigenvalue(abs(int(k))) for k in aliases])
    return weights @ np.cos(np.outer(aliases, angles)) / weights.sum()
