r"""Exact asymptotics of regularised adversarial training of linear classifiers, in high dimension.

Inputs $x_i \sim N(0, \Sigma_x)$ in $d$ dimensions, $n = \alpha d$ of them, have labels
$y_i = \mathrm{sign}(\langle w^*, x_i\rangle/\sqrt d + \tau z_i)$. Of

$$\hat w = \arg\min_w \sum_i g\bigl(y_i\langle w, x_i\rangle/\sqrt d,\; \varepsilon A(w)\bigr) + R(w)$$

four numbers are all that the errors see as $d \to \infty$: $m = \langle \hat w, \Sigma_x w^*\rangle/d$,
$q = \langle \hat w, \Sigma_x \hat w\rangle/d$, $P = A^{p^*}$, and the response $V$. They solve a fixed-point
equation: the loss makes of them conjugates $\hat m, \hat q, \hat V, \hat P$, and the penalty the four
numbers of these again.

- `powers`: $R = \lambda\sum_j |w_j|^r$ against attacks in $\ell_p$, with
  $A = (\sum_j |w_j|^{p^*}/d)^{1/p^*}$, the worst shift by a perturbation of size
  $\varepsilon d^{1/p - 1/2}$, and $\Sigma_x = I$.
- `quadratic`: $R = \frac\lambda2 w^\top\Sigma_w w$ against
  $\delta^\top\Sigma_\delta^{-1}\delta \le \varepsilon^2$, with $A = \sqrt{w^\top\Sigma_\delta w/d}$.

With $z = y\langle w, x\rangle/\sqrt d$, $g$ is `logistic`, $\log(1 + e^{\varepsilon A - z})$, `hinge`,
$\max(0, 1 + \varepsilon A - z)$, or `squared`, $(|1 - z| + \varepsilon A)^2$, the worst case of $(1 - z)^2$.

No integral needs an inner solution: where a proximal point of the loss (or a weight, of the penalty) is an
implicit function of a Gaussian, the Gaussian is an explicit function of it, and it is integrated over.

Reference: Vilucchio, Tsilivis, Loureiro & Kempe 2024, arXiv:2410.16073.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from dynamics.laws import robust_losses
from dynamics.laws.robust_losses import REACH, Loss, Overlaps, legendre

WEIGHT_NODES = 400
MOST_ALIGNED = 1 - 1e-8  # of the squared cosine with the teacher, below 1 without noise
NO_WEIGHT = 1e-9  # q below which the solution is 0
START = (0.5, 1.0, 2.0, 0.6)


class FixedPoint(NamedTuple):
    """A solution at each setting, in NumPy arrays of float64 of the settings' common shape.

    Attributes:
      overlaps, conjugates: see `Overlaps`.
      shift: $\\varepsilon P^{1/p^*}$, by which the worst perturbation of training moves margins.
      generalization_error, robust_error: shares of new points that are misclassified, as they are and under
        the attack (`test_epsilon`); boundary_error: the one less the other.
      training_error, training_loss: of training points under the attack of training; the loss is a mean.
      iterations: until the logarithm of no number changes by more than the tolerance.
      residual: the largest such change at the end.
      converged: whether the tolerance was met.
      zero: the estimator is 0 (a large penalty with a corner at 0): all numbers but the status are NaN.
    """

    overlaps: Overlaps
    conjugates: Overlaps
    shift: Float[np.ndarray, "*settings"]
    generalization_error: Float[np.ndarray, "*settings"]
    robust_error: Float[np.ndarray, "*settings"]
    boundary_error: Float[np.ndarray, "*settings"]
    training_error: Float[np.ndarray, "*settings"]
    training_loss: Float[np.ndarray, "*settings"]
    iterations: Int[np.ndarray, "*settings"]
    residual: Float[np.ndarray, "*settings"]
    converged: Bool[np.ndarray, "*settings"]
    zero: Bool[np.ndarray, "*settings"]


def powers(
    alpha: ArrayLike,
    epsilon: ArrayLike,
    lam: ArrayLike,
    r: ArrayLike = 2.0,
    p_star: ArrayLike = 1.0,
    *,
    noise: ArrayLike = 0.0,
    teacher: Sequence[tuple[float, float]] = ((1.0, 1.0),),
    **how: Any,
) -> FixedPoint:
    r"""Under a penalty $\lambda\sum_j|w_j|^r$ and attacks in $\ell_p$, at every setting at once.

    Args:
      alpha: samples over dimensions, above 0; epsilon: the attack's size $\varepsilon$, at least 0;
        lam: $\lambda$, above 0; r: at least 1; p_star: the dual exponent $p^*$, at least 1 (1: attacks in
        linf); noise: $\tau$, at least 0. Numbers or arrays, broadcast against each other.
      teacher: weights and variances of the Gaussians of which its entries are a mixture; see `sparse`.
      how: see `solve`.
    Raises: ValueError: a number out of its range.
    """
    for name, value in (("r", r), ("p_star", p_star)):
        _within(name, value, 1.0)
    weights, variances = np.asarray(teacher, float).T
    if (weights < 0).any() or (variances < 0).any() or not math.isclose(weights.sum(), 1):
        raise ValueError(f"teacher needs weights that sum to 1 and variances of at least 0, got {teacher}")
    mixture = tuple(map(float, weights)), tuple(map(float, variances))
    given = {"r": r, "p_star": p_star}
    rho = float(weights @ variances)
    return solve(_PowerWeights(*mixture), rho, alpha, epsilon, lam, noise, given, **how)


def sparse(kappa: float) -> tuple[tuple[float, float], ...]:
    """A teacher whose entries are 0 but for a share kappa, of variance 1 in all."""
    if not 0 < kappa <= 1:
        raise ValueError(f"kappa must be above 0 and at most 1, got {kappa}")
    return ((kappa, 1 / kappa), (1 - kappa, 0.0))


def quadratic(
    alpha: ArrayLike,
    epsilon: ArrayLike,
    lam: ArrayLike,
    *,
    inputs: ArrayLike = (1.0,),
    attack: ArrayLike = (1.0,),
    penalty: ArrayLike = (1.0,),
    teacher: ArrayLike = (1.0,),
    noise: ArrayLike = 0.0,
    **how: Any,
) -> FixedPoint:
    r"""Under a penalty $\frac\lambda2 w^\top\Sigma_w w$ and Mahalanobis attacks, at every setting at once.

    Args:
      alpha, epsilon, lam, noise: as for `powers`.
      inputs, attack, penalty, teacher: $\Sigma_x$, $\Sigma_\delta$, $\Sigma_w$ and the covariance of the
        teacher's entries: eigenvalues along common axes, equally many of each (of one, it is that for all
        axes), or symmetric matrices, which need not commute.
      how: see `solve`.
    Raises: ValueError: a number out of its range; shapes that do not fit.
    """
    names = ("inputs", "attack", "penalty", "teacher")
    found = [np.asarray(each, float) for each in (inputs, attack, penalty, teacher)]
    sizes = {len(each) for each in found if each.shape != (1,)} or {1}
    square = all(each.ndim in (1, 2) and each.shape[0] == each.shape[-1] for each in found)
    if len(sizes) > 1 or not square:
        shapes = ", ".join(f"{name} {each.shape}" for name, each in zip(names, found, strict=True))
        raise ValueError(f"spectra or square matrices of one size are needed, got {shapes}")
    (size,) = sizes
    for name, each in zip(names, found, strict=True):
        values = np.linalg.eigvalsh(each) if each.ndim == 2 else each
        if not (
            np.isfinite(values).all() and values.min() >= (0 if name in ("attack", "teacher") else 1e-12)
        ):
            raise ValueError(f"{name} must have positive eigenvalues, got {values.min()}")
    if any(each.ndim == 2 for each in found):
        found = [each if each.ndim == 2 else np.diag(np.broadcast_to(each, size)) for each in found]
        rho = float(np.trace(found[0] @ found[3]) / size)
    else:
        found = [np.broadcast_to(each, size) for each in found]
        rho = float(np.mean(found[0] * found[3]))
    given = {"p_star": 2.0}
    return solve(_QuadraticWeights(), rho, alpha, epsilon, lam, noise, given, tuple(found), **how)


class Best(NamedTuple):
    """The penalties of least robust error, at each setting, and the fixed points there."""

    lam: Float[np.ndarray, "*settings"]
    r: Float[np.ndarray, "*settings"]
    at: FixedPoint


def optimal_lambda(
    family: Callable[..., FixedPoint],
    alpha: ArrayLike,
    epsilon: ArrayLike,
    *,
    low: float = 1e-3,
    high: float = 10**0.5,
    zooms: int = 3,
    **given: Any,
) -> Best:
    r"""The $\lambda$ between `low` and `high` of least robust error.

    From large to small in quarters of a decade, each begun where the one before ended, then `zooms` times
    closer around the best. What has not converged, or is 0, is not chosen; where nothing is left, NaN.

    Args:
      family: `powers` or `quadratic`; given: their further arguments.
    """
    count = max(2, round(4 * math.log10(high / low)) + 1)
    shape = np.broadcast_shapes(*(np.shape(each) for each in (alpha, epsilon, given.get("r", 2.0))))
    tried = [np.full(shape, lam) for lam in np.geomspace(high, low, count)]
    found, start = [], None
    for lam in tried:
        found.append(family(alpha, epsilon, lam, start=start, **given))
        start = found[-1].overlaps
    width = math.log(high / low) / (count - 1)
    for _ in range(zooms):
        best = _chosen(tried, found)
        for side in (-0.5, 0.5):
            tried.append(np.clip(best.lam * math.exp(side * width), low, high))
            found.append(family(alpha, epsilon, tried[-1], start=best.at.overlaps, **given))
        width /= 2
    return _chosen(tried, found)._replace(r=np.broadcast_to(np.asarray(given.get("r", 2.0), float), shape))


def optimal_power(
    alpha: ArrayLike, epsilon: ArrayLike, *, low: float = 1.0, high: float = 3.0, zooms: int = 3, **given: Any
) -> Best:
    """The exponent between `low` and `high`, and its lambda, of least robust error; see `optimal_lambda`."""
    shape = np.broadcast_shapes(np.shape(alpha), np.shape(epsilon))
    alpha, epsilon = np.broadcast_to(alpha, shape), np.broadcast_to(epsilon, shape)
    tried = [np.full(shape, r) for r in np.linspace(low, high, 9)]
    found = [optimal_lambda(powers, alpha, epsilon, r=r, **given) for r in tried]
    width = (high - low) / 8
    for _ in range(zooms):
        best = _chosen(tried, [each.at for each in found])
        for side in (-0.5, 0.5):
            tried.append(np.clip(best.lam + side * width, low, high))
            found.append(optimal_lambda(powers, alpha, epsilon, r=tried[-1], **given))
        width /= 2
    best = _chosen(tried, [each.at for each in found])
    lam = _chosen([each.lam for each in found], [each.at for each in found])
    return Best(lam.lam, best.lam, best.at)


def _chosen(tried, found):
    errors = np.stack([np.where(each.converged, each.robust_error, np.inf) for each in found])
    best = np.argmin(errors, axis=0)[None]
    take = lambda *arrays: np.take_along_axis(np.stack(arrays), best, axis=0)[0]  # noqa: E731
    nothing = ~np.isfinite(errors.min(axis=0))
    value = np.where(nothing, np.nan, take(*tried))
    return Best(value, value, jax.tree.map(take, *found))


def solve(
    weights: Callable[..., Overlaps],
    rho: float,
    alpha: ArrayLike,
    epsilon: ArrayLike,
    lam: ArrayLike,
    noise: ArrayLike,
    given: dict[str, ArrayLike],
    spectra: tuple[Float[np.ndarray, "..."], ...] = (),
    *,
    loss: Loss = "logistic",
    test_epsilon: ArrayLike | None = None,
    start: Overlaps | None = None,
    tolerance: float = 1e-8,
    max_iterations: int = 20_000,
    damping: float = 0.1,
) -> FixedPoint:
    """Iterate from the overlaps to their conjugates and back, in logarithms, all settings in one program.

    Args:
      weights, rho, given, spectra: what `powers` and `quadratic` say of the penalty.
      loss: `logistic`, `hinge` or `squared`.
      test_epsilon: the size of the attack at test time; None: that of training.
      start: overlaps to begin with, such as those of a nearby setting; None: the same for all.
      tolerance: largest change of a logarithm at the end; max_iterations: after which it has not converged.
      damping: share of the old logarithms in the new ones, at least 0 and below 1.
    """
    if loss not in get_args(Loss):
        raise ValueError(f"loss must be one of {', '.join(get_args(Loss))}, got {loss!r}")
    if not 0 <= damping < 1:
        raise ValueError(f"damping must be at least 0 and below 1, got {damping}")
    settings = {"alpha": alpha, "epsilon": epsilon, "lam": lam, "noise": noise, **given}
    settings["test_epsilon"] = epsilon if test_epsilon is None else test_epsilon
    for name in ("alpha", "epsilon", "lam", "noise", "test_epsilon"):
        _within(name, settings[name], 0.0, strict=name in ("alpha", "lam"))
    begin = START if start is None else tuple(start)
    arrays = np.broadcast_arrays(*(np.asarray(each, float) for each in (*settings.values(), *begin)))
    shape = arrays[0].shape
    flat = [each.ravel() for each in arrays]
    columns = dict(zip(settings, flat, strict=False))
    begin = zip(flat[len(settings) :], START, strict=True)
    begin = Overlaps(*(np.nan_to_num(each, nan=one) for each, one in begin))
    with jax.enable_x64(True):
        found = _program(weights, loss, max_iterations)(columns, begin, spectra, rho, tolerance, damping)
        found = jax.tree.map(np.asarray, found)
    return jax.tree.map(lambda each: each.reshape(shape), found)


@functools.cache
def _program(weights, loss, max_iterations):
    channel = robust_losses.CHANNELS[loss]

    def one(setting, begin, spectra, rho, tolerance, damping):
        bound = MOST_ALIGNED * rho

        def conjugates(x):
            return channel(x, setting, rho)[0]

        def again(state):
            x, _, count = state
            new = weights(conjugates(x), setting, spectra)
            change = [jnp.abs(jnp.log(jnp.maximum(a, 1e-300) / b)) for a, b in zip(new, x, strict=True)]
            mixed = [
                jnp.exp((1 - damping) * jnp.log(jnp.maximum(a, 1e-300)) + damping * jnp.log(b))
                for a, b in zip(new, x, strict=True)
            ]
            m, q, V, P = mixed
            x = Overlaps(jnp.minimum(m, jnp.sqrt(bound * q)), q, V, P)
            return x, jnp.max(jnp.stack(change)), count + 1

        def goes_on(state):
            x, change, count = state
            return (change > tolerance) & (count < max_iterations) & (x.q > NO_WEIGHT)

        x, residual, count = jax.lax.while_loop(goes_on, again, (begin, jnp.inf, 0))
        zero = ~(x.q > NO_WEIGHT)
        hats, error, mean_loss = channel(x, setting, rho)
        size, noise = x.P ** (1 / setting["p_star"]), setting["noise"]
        shift = setting["epsilon"] * size
        clean = jnp.arccos(jnp.clip(x.m / jnp.sqrt((rho + noise**2) * x.q), -1, 1)) / jnp.pi
        robust = robust_error(x.m, x.q, setting["test_epsilon"] * size, rho, noise)
        numbers = (x, hats, shift, clean, robust, robust - clean, error, mean_loss)
        numbers = jax.tree.map(lambda each: jnp.where(zero, jnp.nan, each), numbers)
        return FixedPoint(*numbers, count, residual, (residual <= tolerance) & ~zero, zero)

    return jax.jit(jax.vmap(one, in_axes=(0, 0, None, None, None, None)))


def robust_error(
    m: ArrayLike, q: ArrayLike, shift: ArrayLike, rho: ArrayLike = 1.0, noise: ArrayLike = 0.0
) -> Float[Array, "..."]:
    r"""$P(y\langle w, x\rangle/\sqrt d < \text{shift})$ of a linear classifier, exact for every d.

    That is $2\int_{-\infty}^{s} \phi(\xi)\,\Phi(c\,\xi)\,d\xi$ with $s = \text{shift}/\sqrt q$ and
    $c = m/\sqrt{(\rho + \tau^2) q - m^2}$.

    Args:
      m, q, rho: $\langle w, \Sigma_x w^*\rangle/d$, $\langle w, \Sigma_x w\rangle/d$ and
        $\langle w^*, \Sigma_x w^*\rangle/d$; noise: $\tau$.
    """
    m, q, shift = (jnp.asarray(each, jnp.result_type(float)) for each in (m, q, shift))
    slope = m / jnp.sqrt(jnp.maximum((rho + jnp.square(noise)) * q - m**2, 1e-12 * q))
    end = shift / jnp.sqrt(q)
    nodes, mass = legendre(64)
    clean = 0.5 - jnp.arctan(slope) / jnp.pi
    # from 0 to the end; steep near 0 for good classifiers
    xi = jnp.minimum(end, REACH)[..., None] * nodes**2
    density = jnp.exp(-(xi**2) / 2) / math.sqrt(2 * math.pi) * ndtr(slope[..., None] * xi)
    return clean + 2 * jnp.minimum(end, REACH) * jnp.sum(density * 2 * nodes * mass, axis=-1)


# --- the penalty: from conjugates to overlaps


class _PowerWeights(NamedTuple):
    r"""Of a field $\Gamma$ it minimises $\hat V z^2/2 - \Gamma z + \lambda|z|^r + \hat P|z|^{p^*}$."""

    shares: tuple[float, ...]
    variances: tuple[float, ...]

    def __call__(self, hats, setting, spectra):
        m, q, V, P = hats
        lam, r, p = setting["lam"], setting["r"], setting["p_star"]
        corner = jnp.where(r == 1, lam, 0) + jnp.where(p == 1, P, 0)

        def field(z):
            bent = jnp.where(r == 1, 0, lam * r * z ** jnp.where(r == 1, 1, r - 1))
            return corner + V * z + bent + jnp.where(p == 1, 0, P * p * z ** jnp.where(p == 1, 1, p - 1))

        def stretch(z):
            bent = jnp.where(r == 1, 0, lam * r * (r - 1) * z ** (r - 2))
            return V + bent + jnp.where(p == 1, 0, P * p * (p - 1) * z ** (p - 2))

        variances = jnp.asarray(self.variances)
        scale = jnp.sqrt(m**2 * variances + q)
        reach = corner + REACH * jnp.max(scale)

        def halve(_, ends):
            low, high = ends
            middle = (low + high) / 2
            above = field(middle) > reach
            return jnp.where(above, low, middle), jnp.where(above, middle, high)

        _, end = jax.lax.fori_loop(0, 60, halve, (0.0 * reach, (reach - corner) / V))
        nodes, mass = legendre(WEIGHT_NODES)
        z = end * nodes**3
        gamma, dgamma = field(z), stretch(z) * end * 3 * nodes**2 * mass
        relative = gamma[None] / scale[:, None]
        # both signs of the field
        density = 2 * jnp.exp(-(relative**2) / 2) / math.sqrt(2 * math.pi) / scale[:, None]
        mass = density * dgamma[None] * jnp.asarray(self.shares)[:, None]
        along = jnp.sum(mass * (gamma * z)[None], axis=1) / scale**2
        return Overlaps(
            jnp.sum(along * m * variances),
            jnp.sum(mass * z[None] ** 2),
            jnp.sum(along),
            jnp.sum(mass * z[None] ** p),
        )


class _QuadraticWeights(NamedTuple):
    """The weights solve linear equations: traces of products with the inverse of their matrix."""

    def __call__(self, hats, setting, spectra):
        m, q, V, P = hats
        inputs, attack, penalty, teacher = map(jnp.asarray, spectra)
        H = setting["lam"] * penalty + V * inputs + 2 * P * attack
        if H.ndim == 1:
            seen = m**2 * inputs**2 * teacher + q * inputs
            return Overlaps(
                jnp.mean(m * inputs**2 * teacher / H),
                jnp.mean(seen * inputs / H**2),
                jnp.mean(inputs / H),
                jnp.mean(seen * attack / H**2),
            )
        inverse = jnp.linalg.inv(H)
        seen = inverse @ (m**2 * inputs @ teacher @ inputs + q * inputs) @ inverse

        def mean(*factors):
            return jnp.trace(functools.reduce(jnp.matmul, factors)) / len(H)

        return Overlaps(
            m * mean(inverse, inputs, teacher, inputs),
            mean(seen, inputs),
            mean(inverse, inputs),
            mean(seen, attack),
        )


def _within(name: str, value: Any, low: float, strict: bool = False) -> None:
    values = np.asarray(value, float)
    if not (np.isfinite(values).all() and (values > low if strict else values >= low).all()):
        wrong = values.ravel()[int(np.argmin(np.where(np.isfinite(values), values, -np.inf)))]
        raise ValueError(
            f"{name} must be {'above' if strict else 'at least'} {low:g} and finite, got {wrong:g}"
        )
