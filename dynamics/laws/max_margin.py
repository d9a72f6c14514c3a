r"""Largest margins: of linear predictors by linear and quadratic programs, of small networks in closed form.

The largest margin of a linear predictor in a norm is
$g = \max_{\|w\| \le 1} \min_i y_i \langle w, x_i\rangle$. All is NumPy and SciPy on the host, in float64.
Reference: Tsilivis et al. 2025, arXiv:2410.22069; closed forms derived from it.
"""

import numpy as np
from jaxtyping import Float

NORMS = ("l1", "l2", "linf")


def linear(rows: Float[np.ndarray, "samples dim"], norm: str) -> tuple[float, Float[np.ndarray, " dim"]]:
    r"""$\max_{\|w\| \le 1} \min_i \langle w, z_i\rangle$ of rows $z_i = y_i x_i$, and a maximiser.

    l1 and linf are linear programs (HiGHS); in l2 the margin is the distance of the origin from the convex
    hull of the rows, a non-negative least squares problem. Rows that no w separates have margin 0.

    Raises: ValueError: another norm, or no rows.
    """
    from scipy.optimize import linprog

    rows = np.asarray(rows, float)
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"rows must have shape (samples, dim), got {rows.shape}")
    if norm == "l2":
        return _nearest_point(rows)
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
    count, dim = rows.shape
    scale = np.abs(rows).max()
    ones = np.ones((count, 1))
    scaled = rows / scale
    if norm == "linf":  # w, margin
        found = linprog(
            np.r_[np.zeros(dim), -1.0],
            A_ub=np.hstack([-scaled, ones]),
            b_ub=np.zeros(count),
            bounds=[(-1, 1)] * dim + [(0, None)],
        )
        w = found.x[:dim]
    else:  # positive and negative part of w, margin
        found = linprog(
            np.r_[np.zeros(2 * dim), -1.0],
            A_ub=np.vstack([np.hstack([-scaled, scaled, ones]), np.r_[np.ones(2 * dim), 0.0][None]]),
            b_ub=np.r_[np.zeros(count), 1.0],
            bounds=[(0, None)] * (2 * dim + 1),
        )
        w = found.x[:dim] - found.x[dim : 2 * dim]
    return max(float(-found.fun * scale), 0.0), w


def _nearest_point(rows):
    from scipy.optimize import nnls

    count, dim = rows.shape
    scale = np.linalg.norm(rows, axis=1).max()
    # min |Z'a|^2 + (1'a - 1)^2 over a >= 0 has its minimiser on the ray of the hull's nearest point
    system = np.vstack([rows.T / scale, np.ones((1, count))])
    weights, _ = nnls(system, np.r_[np.zeros(dim), 1.0], maxiter=50 * (count + dim))
    nearest = rows.T @ (weights / weights.sum())
    margin = float(np.linalg.norm(nearest))
    return margin, nearest / margin if margin > 0 else nearest


def certificate(
    rows: Float[np.ndarray, "samples parameters"],
    size: int | float,
    smallest: int | float,
    degree: int | float,
    norm: str,
) -> float:
    r"""$\beta^* = L\,q_{\min} / (\|\theta\|\,g)$ in (0, 1], g the largest linear margin of tangent features.

    It is 1 exactly where $\theta$ is the largest-margin direction of its own tangent features.

    Args:
      rows: $y_i \nabla_\theta f(x_i)$.
      size: $\|\theta\|$ in `norm`.
      smallest: $q_{\min}$, the smallest $y_i f(x_i)$.
      degree: L.
    Raises: ValueError: a norm that `linear` does not know.
    """
    return degree * smallest / (size * linear(rows, norm)[0])


def deep_linear(rows: Float[np.ndarray, "samples dim"], norm: str, depth: int, width: int) -> float:
    r"""Largest $\min_i q_i / \|\theta\|^L$ of a linear network of L layers whose hidden widths all are k.

    $L^{-L/2} g_{\ell_2}$ in l2, $k^{L-1} g_{\ell_\infty}$ in linf, $L^{-L} g_{\ell_1}$ in l1 and
    $g_{\ell_2}$ in the spectral norm, g being the largest linear margins.

    Raises: ValueError: another norm.
    """
    factors = {"l2": depth ** (-depth / 2), "linf": width ** (depth - 1), "l1": float(depth) ** -depth}
    if norm == "spectral":
        return linear(rows, "l2")[0]
    if norm not in factors:
        raise ValueError(f"norm must be one of {', '.join((*NORMS, 'spectral'))}, got {norm!r}")
    return float(factors[norm] * linear(rows, norm)[0])


def diagonal_linear(rows: Float[np.ndarray, "samples dim"], norm: str) -> float:
    r"""Largest margin of $\langle u \odot v, x\rangle$: $g_{\ell_1} / 2$ in l2, $g_{\ell_\infty}$ in linf.

    Raises: ValueError: another norm.
    """
    if norm not in ("l2", "linf"):
        raise ValueError(f"norm must be l2 or linf, got {norm!r}")
    return linear(rows, "l1")[0] / 2 if norm == "l2" else linear(rows, "linf")[0]


def relu_one_point(x: Float[np.ndarray, " dim"], norm: str, active: int = 1) -> float:
    r"""Largest margin of $\sum_j a_j \mathrm{ReLU}\langle w_j, x\rangle$ on one point with label +1.

    $\|x\|_2 / 2$ in l2, $\|x\|_\infty / 4$ in l1, whatever the width, and $\|x\|_1$ for each active
    neuron with $a_j > 0$ in linf.

    Raises: ValueError: another norm.
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
    size = np.linalg.norm(x, {"l2": 2, "l1": np.inf, "linf": 1}[norm])
    return float(size * {"l2": 0.5, "l1": 0.25, "linf": active}[norm])


def relu_orthogonal(num_positive: int, num_negative: int, radius: int | float) -> float:
    r"""$R / (2 (\sqrt{n_+} + \sqrt{n_-}))$: largest l2 margin of such a network on $x_i = R e_i$.

    Multipliers $\lambda_i = 1 / (R \sqrt{n_{y_i}})$ certify it.
    """
    return radius / (2 * (num_positive**0.5 + num_negative**0.5))
