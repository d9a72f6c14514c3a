"""The empirical neural tangent kernel while a network trains, and what its eigenfeatures are worth."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dynamics import linalg
from dynamics.observables.base import observable
from dynamics.observables.robustness import attacked
from dynamics.problem import first_layers
from kernels import eigenfeatures, empirical
from kernels.regression import Kernel, Spectrum


def spectrum(kernel: Kernel, x: Float[Array, "samples dim"]) -> Spectrum:
    """The Gram matrix's modes, safely beside other programs on a CPU."""
    gram = kernel(x, x)
    values, vectors = linalg.eigh((gram + gram.T) / 2)
    return Spectrum(values[::-1], vectors[:, ::-1])


def tangent_kernel(
    params: Any,
    problem: Any,
    draw: Any,
    key: Any,
    *,
    points: first_layers.Points = "train",
    num_points: int | None = None,
    attack: Any = None,
) -> Float[Array, "rows rows"]:
    """The kernel of the first `num_points` training or test inputs, which an attack may have moved.

    Several outputs make a row each, those of one input after another.
    """
    if points not in ("train", "test"):
        raise ValueError(f"points must be train or test, got {points!r}")
    if num_points is not None and not 1 <= num_points <= len(getattr(draw, points).y):
        most = len(getattr(draw, points).y)
        raise ValueError(f"num_points must lie between 1 and the {most} {points} points, got {num_points}")
    params = first_layers.plain(params)
    if attack is None:
        x = getattr(draw, points).x[:num_points]
    else:
        x = attacked(params, problem, draw, key, points, attack, num_points=num_points).x
    kernel = empirical.ntk(problem.apply, params, x)
    kernel = kernel if kernel.ndim == 2 else empirical.as_matrix(kernel)
    return (kernel + kernel.T) / 2


@observable(("row", "column"), about="empirical NTK", random=True)
def ntk(
    params, problem, draw, key, points="train", num_points=None, attack=None
) -> Float[Array, "rows rows"]:
    """The empirical NTK itself, see `tangent_kernel`; `kernels.evolution` measures how it moves."""
    return tangent_kernel(params, problem, draw, key, points=points, num_points=num_points, attack=attack)


@observable(("mode",), about="eigenvalues of the empirical NTK", random=True)
def ntk_eigenvalues(
    params, problem, draw, key, points="train", num_points=None, attack=None
) -> Float[Array, " modes"]:
    """Eigenvalues of the empirical NTK, the largest first."""
    kernel = tangent_kernel(params, problem, draw, key, points=points, num_points=num_points, attack=attack)
    return linalg.eigvalsh(kernel)[::-1]


@observable(("eigenfeature",), about="usefulness of the empirical NTK's eigenfeatures")
def ntk_usefulness(params, problem, draw, count=20, num_points=None) -> Float[Array, " modes"]:
    r"""Share of test points whose label the sign of each of the first `count` eigenfeatures predicts.

    Of networks with one output: $f_i(x) = \lambda_i^{-1}\,\hat\Theta(x, X) v_i\,(v_i^\top y)$.
    """
    params = first_layers.plain(params)
    train, test = (jax.tree.map(lambda leaf: leaf[:num_points], s) for s in (draw.train, draw.test))
    gram = empirical.ntk(problem.apply, params, train.x)
    if gram.ndim != 2:
        raise ValueError("ntk_usefulness is for networks with a single output")
    cross = empirical.ntk(problem.apply, params, test.x, train.x)
    values, vectors = linalg.eigh((gram + gram.T) / 2)
    modes = Spectrum(values[::-1], vectors[:, ::-1])
    return eigenfeatures.usefulness(eigenfeatures.features(cross, modes, train.y, count), test.y)


@observable(("point", "sample"), about="empirical NTK of training and test points with training points")
def ntk_everywhere(params, problem, draw) -> Float[Array, "points samples"]:
    """The empirical NTK, training points' rows first."""
    everywhere = jnp.concatenate([draw.train.x, draw.test.x])
    return empirical.ntk(problem.apply, first_layers.plain(params), everywhere, draw.train.x)


@observable(("layer",), about="relative error of the kernel", random=True)
def finite_kernel_error(params, problem, draw, key, layer, kernel, draws) -> Float[Array, " layers"]:
    """Root mean square over `draws` networks at their start of the relative Frobenius error of the NTK.

    Of `NTKTwoLayer`, whose layers named have these kernels.
    """
    del params
    x = draw.train.x
    exact = jnp.stack([one(x, x) for one in kernel])

    def error(k):
        found = _finite(problem, k, x, layer)
        return jnp.sum((found - exact) ** 2, (1, 2)) / jnp.sum(exact**2, (1, 2))

    return jnp.sqrt(jnp.mean(jax.lax.map(error, jax.random.split(key, draws)), axis=0))


@observable(("layer",), about="width times the kernel's variance on the diagonal", random=True)
def finite_kernel_variance(params, problem, draw, key, layer, draws) -> Float[Array, " layers"]:
    r"""$m\,\mathrm{Var}\,\hat\Theta(x, x)$ over `draws` networks, x the first training point."""
    del params
    x = draw.train.x[:1]

    found = jax.lax.map(lambda k: _finite(problem, k, x, layer)[:, 0, 0], jax.random.split(key, draws))
    return problem.model.width * jnp.var(found, axis=0, ddof=1)


def _finite(problem, key, x, layers):
    """The exact kernels of one network at its start."""
    params = problem.init(key, key)
    return jnp.stack([problem.model.finite(params, x, one) for one in layers])
