r"""Eigenfeatures: a kernel predictor split over the eigenvectors of its Gram matrix, feature by feature.

$f_i(x) = \lambda_i^{-1}\,\Theta(x, X) v_i\,(v_i^\top Y)$ with the largest eigenvalue first; their sum is
kernel regression, and $(1 - e^{-\eta\lambda_i t})$ of each has been learned at time t. A feature is *useful*
if its sign (or largest class) predicts the label, and *robust* if it still does under attack.

Within an eigenspace of several dimensions only the features' sum is defined.

Reference: Tsilivis and Kempe 2022, arXiv:2210.05577; features are defined in Section 2.2.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from kernels import checks, products
from kernels.attacks import Attack, correct
from kernels.products import full_precision
from kernels.regression import Kernel, Spectrum, inside, predictor

Modes = int | Sequence[int] | np.ndarray | None
Labels = Float[Array, " points"] | Int[Array, " points"]


@full_precision
def coefficients(
    modes: Spectrum, targets: Float[Array, "samples *outputs"], which: Modes = None
) -> Float[Array, "features samples *outputs"]:
    r"""$\beta_i = \lambda_i^{-1} v_i (v_i^\top Y)$, so that $f_i(x) = \Theta(x, X)\beta_i$.

    Args:
      which: the features: their number, from the largest eigenvalue on, or their indices; None: all.

    Raises: ValueError: more features than samples, or targets of another number.
    """
    if targets.shape[0] != len(modes.values):
        raise ValueError(f"{len(modes.values)} samples have {targets.shape[0]} targets")
    checks.finite("targets", targets)
    chosen = indices(which, len(modes.values))
    vectors = modes.vectors[:, chosen]
    products = jnp.tensordot(vectors.T, targets, 1)
    scaled = (vectors * modes.inverses[chosen][None]).T
    return scaled.reshape(*scaled.shape, *(1,) * (targets.ndim - 1)) * products[:, None]


def indices(which: Modes, count: int) -> np.ndarray:
    """Indices of eigenfeatures of `count` samples: all, the first `which`, or those given.

    Raises: ValueError: one that does not exist.
    """
    if which is None:
        return np.arange(count)
    if isinstance(which, int | np.integer):
        checks.whole("the number of eigenfeatures", which, 1)
        chosen = np.arange(which)
    else:
        chosen = np.atleast_1d(np.asarray(which))
        if not np.issubdtype(chosen.dtype, np.integer):
            raise ValueError(f"eigenfeatures are chosen by integers, got {which!r}")
    inside(chosen, count)
    return chosen


@full_precision
def features(
    cross: Float[Array, "points samples"],
    modes: Spectrum,
    targets: Float[Array, "samples *outputs"],
    which: Modes = None,
) -> Float[Array, "features points *outputs"]:
    r"""$f_i(x)$ at points whose kernel with the training samples is `cross`.

    Raises: ValueError: a kernel with another number of samples, or not finite; as `coefficients`.
    """
    checks.shaped("cross", cross, "points", len(modes.values))
    checks.finite("cross", cross)
    return jnp.moveaxis(jnp.tensordot(cross, coefficients(modes, targets, which), ((1,), (1,))), 1, 0)


@full_precision
def inner_products(
    modes: Spectrum, targets: Float[Array, " samples"], which: Modes = None
) -> Float[Array, "features features"]:
    r"""$\langle f_i, f_j\rangle$ in the kernel's Hilbert space: $\delta_{ij} (v_i^\top y)^2 / \lambda_i$."""
    chosen = indices(which, len(modes.values))
    beta = coefficients(modes, targets, chosen)
    gram = (modes.vectors * modes.values[None]) @ modes.vectors.T
    return beta @ gram @ beta.T


def usefulness(values: Float[Array, "features points *outputs"], labels: Labels) -> Float[Array, " features"]:
    r"""$\rho_i$: the share of points at which a feature alone predicts the label.

    Raises: ValueError: labels of another number, or none of the kind that `attacks.adversity` takes.
    """
    checks.labels(labels, values.shape[1], values.shape[2] if values.ndim > 2 else 1)
    return jnp.mean(jax.vmap(lambda f: correct(f, labels))(values), axis=1)


@full_precision
def robustness(
    kernel: Kernel,
    train: Float[Array, "samples dim"],
    modes: Spectrum,
    targets: Float[Array, "samples *outputs"],
    points: Float[Array, "points dim"],
    labels: Labels,
    attack: Attack,
    which: Modes = None,
    key: Key[Array, ""] | None = None,
) -> Float[Array, " features"]:
    r"""$\gamma_i$: the share of points at which a feature alone predicts the label after an attack on *it*.

    Each feature is attacked through its own gradient, at its own points; a feature at a time is in memory.

    Raises: ValueError: sizes that do not fit, labels that are none, more features than samples.
    """
    checks.points(train, points)
    checks.shaped("train", train, len(modes.values), points.shape[1])
    checks.labels(labels, len(points), targets.shape[1] if targets.ndim > 1 else 1)

    def of(beta):
        feature = predictor(kernel, train, beta)
        return jnp.mean(correct(feature(attack.perturb(feature, points, labels, key)), labels))

    return jax.lax.map(of, coefficients(modes, targets, which))


@full_precision
def robust_accuracy(
    predict,
    points: Float[Array, "points *shape"],
    labels: Labels,
    attack: Attack | None = None,
    key: Key[Array, ""] | None = None,
) -> Float[Array, ""]:
    """The share of points at which `predict` is right after an attack on it; without one, its accuracy.

    Raises: ValueError: points that are not finite, or labels of another number.
    """
    checks.finite("points", points)
    outputs = jax.eval_shape(predict, points)
    checks.labels(labels, len(points), outputs.shape[1] if len(outputs.shape) > 1 else 1)
    at = points if attack is None else attack.perturb(predict, points, labels, key)
    return jnp.mean(correct(predict(at), labels))


@full_precision
def gradient_cosine(first, second, points: Float[Array, "points *shape"]) -> Float[Array, ""]:
    """Mean over points of the cosine between two functions' input gradients; 0 where one vanishes."""

    def gradient(f):
        return jax.grad(lambda x: jnp.sum(f(x)))(points).reshape(len(points), -1)

    g, h = gradient(first), gradient(second)
    return jnp.mean(jnp.sum(products.units(g) * products.units(h), axis=1))


@full_precision
def subspace_overlap(first: Spectrum, second: Spectrum, count: int) -> Float[Array, ""]:
    r"""$\|V_A^\top V_B\|_F^2 / k$ of two kernels' k largest modes on the same samples; chance: k / n."""
    indices(count, len(first.values))
    return jnp.sum((first.vectors[:, :count].T @ second.vectors[:, :count]) ** 2) / count
