"""A kernel's eigenfeatures on one seed's data: what they are worth, singly, added up, and learned in time.

The kernel is an option of every observable; networks' weights play no part.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dynamics import linalg
from dynamics.data.sample import Draw, stated
from dynamics.descent import norms
from dynamics.observables.base import observable
from dynamics.observables.kernel import spectrum
from kernels import closed_form, eigenfeatures, regression
from kernels.attacks import Attack, correct
from kernels.duals import leaky_relu
from kernels.regression import Kernel

NAMES = ("relu", "erf", "leaky_relu", "linear", "rbf")


@functools.cache  # one function for one kernel, so that equal runs share their programs
def kernel(name: str, depth: int, weight_std: float, bias_std: float) -> Kernel:
    """An infinitely wide network's NTK; `linear` is x . z, and `rbf` exp(-|x - z|^2 / d)."""

    def linear(x, z):
        return x @ z.T

    def rbf(x, z):
        square = jnp.sum(x * x, 1)[:, None] + jnp.sum(z * z, 1)[None] - 2 * x @ z.T
        return jnp.exp(-jnp.maximum(square, 0) / x.shape[1])

    def deep(x, z):
        act = leaky_relu(0.1) if name == "leaky_relu" else name
        return closed_form.deep(x, z, depth, act, weight_std=weight_std, bias_std=bias_std).ntk

    return {"linear": linear, "rbf": rbf}.get(name, deep)


@observable(("mode",), about="eigenvalues of the Gram matrix")
def eigenvalues(params, problem, draw, kernel) -> Float[Array, " modes"]:
    """Eigenvalues of the training inputs' Gram matrix, the largest first."""
    del params, problem
    gram = kernel(draw.train.x, draw.train.x)
    return linalg.eigvalsh((gram + gram.T) / 2)[::-1]


@observable(about="1 / largest eigenvalue of the Gram matrix")
def inverse_largest(params, problem, draw, kernel) -> Float[Array, ""]:
    """The learning rate of which descent on the squared loss learns the first mode in one step."""
    del params, problem
    return 1 / spectrum(kernel, draw.train.x).values[0]


@observable(("mode",), about="usefulness")
def usefulness(params, problem, draw, kernel) -> Float[Array, " modes"]:
    """Accuracy of every eigenfeature on the test points."""
    del params, problem
    cross = kernel(draw.test.x, draw.train.x)
    found = eigenfeatures.features(cross, spectrum(kernel, draw.train.x), draw.train.y)
    return eigenfeatures.usefulness(found, draw.test.y)


@observable(("feature",), about="robustness")
def robustness(params, problem, draw, kernel, feature, radius, norm, steps, box) -> Float[Array, " features"]:
    """Accuracy of some eigenfeatures, each under an attack on itself."""
    del params, problem
    attack = Attack(radius, norm, steps, None, box)
    modes = spectrum(kernel, draw.train.x)
    return eigenfeatures.robustness(
        kernel, draw.train.x, modes, draw.train.y, draw.test.x, draw.test.y, attack, feature
    )


@observable(("shown", "pixel"), about="input gradients of eigenfeatures")
def feature_gradients(params, problem, draw, kernel, shown) -> Float[Array, "shown pixels"]:
    """Input gradients of some eigenfeatures at the first test point."""
    del params, problem
    modes = spectrum(kernel, draw.train.x)
    betas = eigenfeatures.coefficients(modes, draw.train.y, shown)

    def slope(beta):
        feature = regression.predictor(kernel, draw.train.x, beta)
        return jax.grad(lambda x: feature(x[None])[0])(draw.test.x[0])

    return jax.lax.map(slope, betas)


Filters = Callable[[Float[Array, ""], Float[Array, " modes"]], Float[Array, " modes"]]


def _keep(count, values):
    return (jnp.arange(len(values)) < count).astype(values.dtype)


def _flow(time, values):  # times are in units of 1 / lambda_max
    return regression.flow(time / values[0])(values)


def _ridge(strength, values):  # strengths in units of lambda_max
    return regression.ridge(strength * values[0])(values)


def _filtered(
    draw: Draw, kernel: Kernel, learned: Filters, numbers: Sequence[int | float], attack: Attack | None
):
    """Accuracy of the kernel predictor under each filter, attacked anew each time."""
    modes = spectrum(kernel, draw.train.x)

    def accuracy(number):
        alpha = regression.coefficients(modes, draw.train.y, lambda values: learned(number, values))
        predict = regression.predictor(kernel, draw.train.x, alpha)
        return eigenfeatures.robust_accuracy(predict, draw.test.x, draw.test.y, attack)

    return jax.lax.map(accuracy, jnp.asarray(np.asarray(numbers, float), draw.train.x.dtype))


@observable(("kept",), about="accuracy, largest eigenfeatures alone")
def kept_clean(params, problem, draw, kernel, kept) -> Float[Array, " numbers"]:
    """Test accuracy along the filter's numbers."""
    del params, problem
    return _filtered(draw, kernel, _keep, kept, None)


@observable(("kept",), about="robust accuracy, largest eigenfeatures alone")
def kept_robust(params, problem, draw, kernel, kept, radius, norm, steps, box) -> Float[Array, " numbers"]:
    """Test accuracy under attack along the filter's numbers."""
    del params, problem
    return _filtered(draw, kernel, _keep, kept, Attack(radius, norm, steps, None, box))


@observable(("time",), about="accuracy, kernel gradient flow")
def time_clean(params, problem, draw, kernel, time) -> Float[Array, " numbers"]:
    """Test accuracy along the filter's numbers."""
    del params, problem
    return _filtered(draw, kernel, _flow, time, None)


@observable(("time",), about="robust accuracy, kernel gradient flow")
def time_robust(params, problem, draw, kernel, time, radius, norm, steps, box) -> Float[Array, " numbers"]:
    """Test accuracy under attack along the filter's numbers."""
    del params, problem
    return _filtered(draw, kernel, _flow, time, Attack(radius, norm, steps, None, box))


@observable(("ridge",), about="accuracy, kernel ridge regression")
def ridge_clean(params, problem, draw, kernel, ridge) -> Float[Array, " numbers"]:
    """Test accuracy along the filter's numbers."""
    del params, problem
    return _filtered(draw, kernel, _ridge, ridge, None)


@observable(("ridge",), about="robust accuracy, kernel ridge regression")
def ridge_robust(params, problem, draw, kernel, ridge, radius, norm, steps, box) -> Float[Array, " numbers"]:
    """Test accuracy under attack along the filter's numbers."""
    del params, problem
    return _filtered(draw, kernel, _ridge, ridge, Attack(radius, norm, steps, None, box))


@observable(("other", "leading"), about="overlap of leading eigenspaces")
def overlap(params, problem, draw, kernel, others, leading) -> Float[Array, "others leading"]:
    """Share of the `leading` largest modes' space that other kernels have in common with `kernel`."""
    del params, problem
    own = spectrum(kernel, draw.train.x)
    rows = []
    for other in others:
        theirs = spectrum(other, draw.train.x)
        rows.append(jnp.stack([eigenfeatures.subspace_overlap(own, theirs, k) for k in leading]))
    return jnp.stack(rows)


@observable(("other", "mode"), about="agreement of features of the same rank")
def agreement(params, problem, draw, kernel, others) -> Float[Array, "others modes"]:
    """|cos| over the test points of each eigenfeature with that of other kernels of the same rank."""
    del params, problem
    x, y, at = draw.train.x, draw.train.y, draw.test.x

    def normalised(one):
        found = eigenfeatures.features(one(at, x), spectrum(one, x), y)
        lengths = norms.lengths(found)[:, None]
        return found / jnp.where(lengths > 0, lengths, 1)

    own = normalised(kernel)
    return jnp.stack([jnp.abs(jnp.sum(own * normalised(other), axis=1)) for other in others])


@observable(about="flip radius over the square root of the dimension")
def flip_radius(params, problem, draw, kernel) -> Float[Array, ""]:
    r"""Smallest r at which the kernel interpolant of the centres errs at $\mu_1 - r \sqrt d\,u$.

    u is the unit vector along $\sum_j y_j \mu_j$ for a positive $\mu_1$; inf where there is none up to 2.
    """
    del params, problem
    centres, signs = stated(draw, "features"), stated(draw, "feature_signs")
    modes = spectrum(kernel, centres)
    predict = regression.predictor(kernel, centres, regression.coefficients(modes, signs))
    toward = signs @ centres
    unit = toward / norms.lengths(toward) * jnp.sqrt(centres.shape[1])

    def height(r):
        return signs[0] * predict((centres[0] - signs[0] * r * unit)[None])[0]

    grid = jnp.linspace(0, 2, 401)
    wrong = jax.lax.map(height, grid) <= 0
    first = jnp.argmax(wrong)

    def halve(_, ends):
        low, high = ends
        middle = (low + high) / 2
        right = height(middle) > 0
        return jnp.where(right, middle, low), jnp.where(right, high, middle)

    low, high = jax.lax.fori_loop(0, 50, halve, (grid[jnp.maximum(first - 1, 0)], grid[first]))
    return jnp.where(jnp.any(wrong), (low + high) / 2, jnp.inf)


@observable(("mode",), about="eigenvalues of the centres' Gram matrix")
def centre_eigenvalues(params, problem, draw, kernel) -> Float[Array, " modes"]:
    """Eigenvalues of the kernel on the cluster centres, the largest first."""
    del params, problem
    return spectrum(kernel, stated(draw, "features")).values


def accuracy_at(predict, x, y) -> float:
    """Accuracy at given points."""
    return float(jnp.mean(correct(predict(x), y)))
