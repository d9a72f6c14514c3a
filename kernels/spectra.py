r"""Eigenvalues of kernels that see nothing but angles, on the circle, the sphere and the hypercube.

All are those of the integral operator under the uniform probability measure: the Gram matrix of n points
has n times these, each as often as its multiplicity says, up to fluctuations (on a regular grid of the
circle: up to aliasing). Kernels are functions of two lists of points, as everywhere in this package, and
are evaluated in double precision: an eigenvalue that rounding would leave less than two digits is 0.
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import special

from kernels import checks
from kernels.products import full_precision
from kernels.regression import Kernel

FEWEST, MOST = 1024, 8192  # nodes on the sphere; as many points, and more, on the circle

Values = Float[np.ndarray, " degrees"]


def _degrees(degrees: int | Sequence[int]) -> list[int]:
    listed = [degrees] if isinstance(degrees, int | np.integer) else list(degrees)
    for degree in listed:
        checks.whole("degrees", degree, 0)
    return listed


@full_precision
def _from(kernel: Kernel, first: np.ndarray, points: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(kernel(jnp.asarray(first[None], float), jnp.asarray(points, float)), float)[0]


def circle(kernel: Kernel, frequencies: int | Sequence[int], points: int | None = None) -> Values:
    r"""$\lambda_k = \frac1{2\pi} \int \kappa(\varphi) \cos(k\varphi)\,d\varphi$, of cosine and of sine.

    By a Fourier transform on a grid of `points`, so up to the sum of the eigenvalues of frequencies
    `points` - k and beyond; None: at least 4096, and 32 k.

    Raises: ValueError: a negative frequency, or one beyond half of the points.
    """
    listed = _degrees(frequencies)
    highest = max(listed, default=0)
    if points is None:
        if highest > MOST:
            raise ValueError(f"frequencies must be at most {MOST}, got {highest}: give points for more")
        points = max(4 * FEWEST, 32 * highest)
    if highest > points // 2:
        raise ValueError(f"frequencies must be at most points / 2 = {points // 2}, got {highest}")
    angles = 2 * np.pi * np.arange(points) / points
    values = _from(kernel, np.array([1.0, 0.0]), np.stack([np.cos(angles), np.sin(angles)], 1))
    found = np.real(np.fft.fft(values))[listed] / points
    return np.where(np.abs(found) > 1600 * np.finfo(float).eps * np.abs(values).mean(), found, 0.0)


def sphere(kernel: Kernel, degrees: int | Sequence[int], dim: int, nodes: int | None = None) -> Values:
    r"""$\lambda_k$ of the spherical harmonics of degree k on $S^{d-1}$ (Funk and Hecke's formula), d = `dim`.

    $c_d \int_0^\pi \kappa(\cos\theta) P_k(\cos\theta) \sin^{d-2}\theta\,d\theta$ with Gegenbauer polynomials,
    $P_k(1) = 1$, and $1/c_d$ that integral of 1; by Gauss and Legendre in the angle, in which network kernels
    are smooth. The nodes resolve harmonics up to a degree of their number, and the weight up to
    `dim` = (nodes / 10)^2; None: as many as that takes, at least 1024.

    Raises: ValueError: a negative degree, a dimension below 2, or either beyond what the nodes resolve.
    """
    checks.whole("dim", dim, 2)
    listed = _degrees(degrees)
    highest = max(listed, default=0)
    if nodes is not None:
        checks.whole("nodes", nodes, 1)
    count = nodes or min(max(FEWEST, highest, math.isqrt(100 * dim - 1) + 1), MOST)
    if highest > count:
        raise ValueError(f"degrees must be at most {count}, what {count} nodes resolve, got {highest}")
    if 100 * dim > count**2:
        raise ValueError(f"dim must be at most {count**2 // 100}, what {count} nodes resolve, got {dim}")
    at, weights = _nodes(count)
    theta, weights = (at + 1) * np.pi / 2, weights * np.pi / 2
    around = np.zeros((count, dim))
    around[:, 0], around[:, 1] = np.cos(theta), np.sin(theta)
    weights = weights * np.sin(theta) ** (dim - 2)
    values = _from(kernel, np.eye(1, dim)[0], around) * weights / weights.sum()
    harmonics = itertools.islice(_harmonics(dim, np.cos(theta)), highest + 1)
    found = [_resolved(values * harmonic, degree) for degree, harmonic in enumerate(harmonics)]
    return np.array([found[degree] for degree in listed])


@functools.lru_cache(maxsize=8)
def _nodes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss and Legendre's nodes and weights; 8,192 of them take two seconds."""
    return special.roots_legendre(count)


def _resolved(terms: Float[np.ndarray, " nodes"], degree: int) -> float:
    """The sum of terms, which rounding of kernel and recurrence leaves two digits at least; else 0.

    Their rounding was seen to be at most 15 times that of the sum, or twice the root of the degree, against
    60 digits.
    """
    total, rounding = float(terms.sum()), float(np.finfo(float).eps * np.abs(terms).sum())
    return total if abs(total) > 100 * (16 + 2 * math.sqrt(degree)) * rounding else 0.0


def harmonic(degree: int, dim: int, cosine: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """The zonal harmonic of a degree on the sphere in `dim` dimensions, 1 at its pole."""
    return next(itertools.islice(_harmonics(dim, cosine), degree, None))


def _harmonics(dim: int, cosine: Float[np.ndarray, " points"]) -> Iterator[Float[np.ndarray, " points"]]:
    """Zonal harmonics of all degrees, by the recurrence of Gegenbauer polynomials, which are 1 at most."""
    before, now = np.ones_like(cosine), cosine
    yield before
    for degree in itertools.count(1):
        yield now
        after = ((2 * degree + dim - 2) * cosine * now - degree * before) / (degree + dim - 2)
        before, now = now, after


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
    flips = np.arange(dim + 1)
    flipped = np.where(np.arange(dim)[None] < flips[:, None], -1.0, 1.0)
    weights = np.array([math.comb(dim, j) / 2**dim for j in range(dim + 1)])
    values = _from(kernel, np.ones(dim), flipped) * weights

    def parities():
        """Means over the points with equally many flips, of degrees up to half of the dimension."""
        before, now = np.zeros(dim + 1), np.ones(dim + 1)
        for p in range(dim // 2 + 1):
            yield now
            before, now = now, ((dim - 2 * flips) * now - p * before) / (dim - p)

    signs = (-1.0) ** flips
    found = {}
    for p, mean in enumerate(parities()):
        found[p], found[dim - p] = _resolved(values * mean, p), _resolved(values * (signs * mean), p)
    return np.array([found[p] for p in listed])


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
