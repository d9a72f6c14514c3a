r"""Kernel regression, and the function-space dynamics of training that it is the limit of.

Squared loss $\frac12 \sum_i (f(x_i) - y_i)^2$ with a fixed NTK $K = \sum_i \lambda_i v_i v_i^\top$ moves
every mode on its own: of $v_i \cdot (y - f_0)$ a fraction $h(\lambda_i)$ has been learned. A `Filter` is
that $h$, whether training time, steps, ridge or truncation set it:
$f(x) = f_0(x) + \sum_i \lambda_i^{-1} h(\lambda_i)\,\Theta(x, X) v_i\,v_i^\top (y - f_0(X))$.
For the mean loss $\frac1{2n} \sum$, divide times and learning rates by n.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, ScalarLike

from kernels import checks
from kernels.products import full_precision

Filter = Callable[[Float[Array, " modes"]], Float[Array, " modes"]]
Kernel = Callable[[Float[Array, "points dim"], Float[Array, "others dim"]], Float[Array, "points others"]]


class Spectrum(NamedTuple):
    """Eigenvalues of a Gram matrix, the largest first, and its eigenvectors as columns."""

    values: Float[Array, " modes"]
    vectors: Float[Array, "samples modes"]

    @property
    def inverses(self) -> Float[Array, " modes"]:
        """1 / eigenvalue; 0 for what is 0 up to round-off, as in a pseudo-inverse."""
        floor = len(self.values) * jnp.finfo(self.values.dtype).eps * self.values[0]
        return jnp.where(self.values > floor, 1 / jnp.where(self.values > floor, self.values, 1), 0)


@full_precision
def spectrum(gram: Float[Array, "samples samples"]) -> Spectrum:
    """The eigendecomposition of a Gram matrix; use x64 where small eigenvalues matter.

    Raises: ValueError: a matrix that is not square, finite, symmetric and positive semi-definite up to
      round-off (inside `jit` only its shape is checked).
    """
    checks.gram(gram)
    values, vectors = jnp.linalg.eigh(gram)
    checks.spectrum(values)
    return Spectrum(values[::-1], vectors[:, ::-1])


def interpolation() -> Filter:
    """Training without end: all modes are learned."""
    return jnp.ones_like


def keep(modes: int | Sequence[int] | Int[Array, " kept"]) -> Filter:
    """The `modes` largest modes and no others; or those of the given indices, 0 being the largest.

    Raises: ValueError: (when applied) more modes than there are samples, or an index out of range.
    """
    if isinstance(modes, int | np.integer):
        checks.whole("modes", modes, 0)
    chosen = np.arange(modes) if isinstance(modes, int | np.integer) else np.asarray(modes)
    if not np.issubdtype(chosen.dtype, np.integer):
        raise ValueError(f"modes are kept by integers, got {modes!r}")

    def kept(values):
        inside(chosen, len(values))
        return jnp.zeros_like(values).at[chosen].set(1)

    return kept


def inside(modes: np.ndarray, count: int) -> None:
    """Refuse indices of modes that a matrix of this size does not have."""
    if modes.size and not (modes.min() >= 0 and modes.max() < count):
        raise ValueError(
            f"a Gram matrix of {count} samples has eigenfeatures 0 to {count - 1}, "
            f"but {modes.min()} to {modes.max()} were asked for"
        )


def ridge(strength: ScalarLike) -> Filter:
    r"""$\lambda / (\lambda + r)$: penalty $\frac r2 \|\theta - \theta_0\|^2$, or noise of variance r.

    Of a mode with $\lambda = 0$ nothing is learned, at r = 0 too.
    """
    checks.number("strength", strength, low=0)

    def learned(values):
        some = values + strength > 0
        return jnp.where(some, values / jnp.where(some, values + strength, 1), 0)

    return learned


def flow(time: ScalarLike) -> Filter:
    r"""Gradient flow for a time $\eta t$: $1 - e^{-\lambda \eta t}$."""
    checks.number("time", time, low=0)
    return lambda values: -jnp.expm1(-values * time)


def descent(steps: ScalarLike, learning_rate: ScalarLike) -> Filter:
    r"""Gradient descent: $1 - (1 - \eta\lambda)^t$; converges for $\eta < 2 / \lambda_{\max}$."""

    checks.number("steps", steps, low=0)
    checks.number("learning_rate", learning_rate, low=0)

    def learned(values):
        rest = 1 - learning_rate * values
        size = jnp.power(jnp.abs(rest), steps)
        return 1 - jnp.where((rest < 0) & (jnp.mod(steps, 2) == 1), -size, size)

    return learned


def momentum(steps: int, learning_rate: ScalarLike, coefficient: ScalarLike) -> Filter:
    r"""Heavy ball: residuals $r_{t+1} = (1 + b - \eta\lambda) r_t - b\,r_{t-1}$ from $r_0, r_{-1} = 1$."""

    checks.whole("steps", steps, 0)
    checks.number("learning_rate", learning_rate, low=0)
    checks.number("coefficient", coefficient, low=0)

    def learned(values):
        def step(_, pair):
            now, before = pair
            return (1 + coefficient - learning_rate * values) * now - coefficient * before, now

        one = jnp.ones_like(values)
        return 1 - jax.lax.fori_loop(0, steps, step, (one, one))[0]

    return learned


@full_precision
def coefficients(
    modes: Spectrum, targets: Float[Array, "samples *outputs"], learned: Filter | None = None
) -> Float[Array, "samples *outputs"]:
    r"""$\alpha = \sum_i \lambda_i^{-1} h(\lambda_i) v_i v_i^\top y$, so that $f(x) = \Theta(x, X)\alpha$.

    Args:
      targets: $y$, or $y - f_0(X)$ if the network does not start at 0.
      learned: $h$; None: all is learned.
    """
    if not isinstance(modes, Spectrum):
        raise ValueError("modes must be a Spectrum, such as spectrum(gram) gives")
    checks.shaped("targets", targets, len(modes.values), "...")
    checks.finite("targets", targets)
    share = (learned or interpolation())(modes.values) * modes.inverses
    return jnp.tensordot(modes.vectors * share[None], jnp.tensordot(modes.vectors.T, targets, 1), 1)


@partial(jax.tree_util.register_dataclass, data_fields=["train", "alpha"], meta_fields=["kernel"])
@dataclass(frozen=True, eq=False)  # by identity, as functions are: it may go into `jax.jit`
class Predictor:
    r"""$x \mapsto \Theta(x, X)\alpha$: a function, and a pytree of the numbers in it."""

    kernel: Kernel
    train: Float[Array, "samples dim"]
    alpha: Float[Array, "samples *outputs"]

    @full_precision
    def __call__(self, x: Float[Array, "points dim"]) -> Float[Array, "points *outputs"]:
        """The prediction at points."""
        return jnp.tensordot(self.kernel(x, self.train), self.alpha, 1)


def predictor(
    kernel: Kernel, train: Float[Array, "samples dim"], alpha: Float[Array, "samples *outputs"]
) -> Predictor:
    r"""$x \mapsto \Theta(x, X)\alpha$, differentiable in x as far as the kernel is."""
    checks.shaped("alpha", alpha, len(train), "...")
    return Predictor(kernel, train, alpha)


@full_precision
def weight_distance(
    modes: Spectrum, targets: Float[Array, " samples"], learned: Filter | None = None
) -> Float[Array, ""]:
    r"""$\|\theta_t - \theta_0\|$ linearised: $(\sum_i h_i^2 \lambda_i^{-1} (v_i^\top y)^2)^{1/2}$."""
    checks.shaped("targets", targets, len(modes.values))
    share = (learned or interpolation())(modes.values) ** 2 * modes.inverses
    return jnp.sqrt(jnp.sum(share * (modes.vectors.T @ targets) ** 2))


@full_precision
def ensemble_covariance(
    prior: Float[Array, "points points"],
    prior_cross: Float[Array, "points samples"],
    prior_gram: Float[Array, "samples samples"],
    cross: Float[Array, "points samples"],
    modes: Spectrum,
    learned: Filter | None = None,
) -> Float[Array, "points points"]:
    r"""Covariance of trained, infinitely wide networks over their initialisation.

    With $B = \Theta(x, X) V h(\lambda) \lambda^{-1} V^\top$ and NNGP kernel N (the `prior`):
    $N - B N_{Xx} - N_{xX} B^\top + B N_{XX} B^\top$. The mean is that of `coefficients`.

    Raises: ValueError: sizes that do not fit.
    Reference: Lee et al. 2019, arXiv:1902.06720, Corollary 1.
    """
    samples, points = len(modes.values), len(prior)
    checks.shaped("prior", prior, points, points)
    checks.shaped("prior_cross", prior_cross, points, samples)
    checks.shaped("prior_gram", prior_gram, samples, samples)
    checks.shaped("cross", cross, points, samples)
    share = (learned or interpolation())(modes.values) * modes.inverses
    B = ((cross @ modes.vectors) * share[None]) @ modes.vectors.T
    mixed = B @ prior_cross.T
    return prior - mixed - mixed.T + B @ prior_gram @ B.T


@full_precision
def posterior(
    prior: Float[Array, "points points"],
    cross: Float[Array, "points samples"],
    modes: Spectrum,
    targets: Float[Array, "samples *outputs"],
    noise: ScalarLike = 0.0,
) -> tuple[Float[Array, "points *outputs"], Float[Array, "points points"]]:
    """Mean and covariance of a Gaussian process after observing targets with noise of this variance.

    Raises: ValueError: sizes that do not fit, or a negative variance.
    """
    checks.shaped("prior", prior, len(cross), len(cross))
    checks.shaped("cross", cross, "points", len(modes.values))
    checks.shaped("targets", targets, len(modes.values), "...")
    checks.number("noise", noise, low=0)
    share = ridge(noise)(modes.values) * modes.inverses
    rotated = cross @ modes.vectors
    mean = jnp.tensordot(rotated * share[None], jnp.tensordot(modes.vectors.T, targets, 1), 1)
    return mean, prior - (rotated * share[None]) @ rotated.T


@full_precision
def descend(
    gram: Float[Array, "samples samples"],
    gradient: Callable[[Float[Array, "samples *outputs"]], Float[Array, "samples *outputs"]],
    start: Float[Array, "samples *outputs"],
    *,
    learning_rate: ScalarLike,
    steps: int,
    momentum: ScalarLike = 0.0,
) -> Float[Array, "samples *outputs"]:
    r"""Gradient descent in function space for any loss: the $\alpha$ after `steps` steps.

    $v \leftarrow b v - \eta \nabla \mathcal L(f)$, $\alpha \leftarrow \alpha + v$; $f = f_0(X) + K\alpha$.

    Args:
      gradient: of the loss with respect to the outputs, such as softmax(f) - Y of cross-entropy.
      start: $f_0(X)$.
    """
    checks.gram(gram)
    checks.shaped("start", start, len(gram), "...")
    checks.whole("steps", steps, 0)

    def step(_, state):
        alpha, velocity = state
        velocity = momentum * velocity - learning_rate * gradient(start + jnp.tensordot(gram, alpha, 1))
        return alpha + velocity, velocity

    zero = jnp.zeros_like(start)
    return jax.lax.fori_loop(0, steps, step, (zero, zero))[0]
