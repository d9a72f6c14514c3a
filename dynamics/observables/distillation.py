"""What is recorded of a learned support, and of networks beside the kernel that they follow."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from dynamics import linalg
from dynamics.observables.base import observable
from dynamics.observables.kernel import spectrum
from dynamics.problem import first_layers
from kernels import distillation, regression


@observable(about="loss that is lowered", random=True)
def lowered_loss(params, problem, draw, key) -> Float[Array, ""]:
    """That of all training samples: attacked, where the problem has an adversary."""
    return problem.training_loss(params, draw.train, draw, key)


@observable(("point", "pixel"), about="pixel of the support")
def support(params, problem, draw, point=None) -> Float[Array, "points pixels"]:
    """The support's inputs; `point`: those of some points."""
    return params["support"] if point is None else params["support"][jnp.asarray(point)]


@observable(("point",), about="class of the support's point")
def support_class(params, problem, draw) -> Float[Array, " points"]:
    """The class of largest label."""
    return jnp.argmax(params["labels"], axis=1).astype(params["labels"].dtype)


@observable(about="largest move of a support's coordinate")
def support_drift(params, problem, draw) -> Float[Array, ""]:
    r"""$|S - S_0|_\infty$."""
    return jnp.max(jnp.abs(params["support"] - problem.start.params(problem.model, draw)["support"]))


@observable(about="condition number of the Gram matrix")
def support_condition(params, problem, draw) -> Float[Array, ""]:
    r"""That of $\Theta(S, S)$, without ridge."""
    gram = problem.model.kernel(params["support"], params["support"])
    values = linalg.eigvalsh((gram + gram.T) / 2)
    return values[-1] / jnp.maximum(values[0], jnp.finfo(values.dtype).tiny)


@observable(about="root mean square of the outputs' distance")
def kernel_gap(params, problem, draw, kernel, steps, learning_rate) -> Float[Array, ""]:
    """Distance of a network's outputs at the test points from the kernel's after as many steps of descent."""
    classes = draw.class_signs.shape[0]
    targets = distillation.one_hot(draw.train.target, classes).astype(draw.train.x.dtype)
    modes = spectrum(kernel, draw.train.x)
    alpha = regression.coefficients(modes, targets, regression.descent(steps, learning_rate))
    outputs = problem.apply(first_layers.plain(params), draw.test.x)
    return jnp.sqrt(jnp.mean((outputs - regression.predictor(kernel, draw.train.x, alpha)(draw.test.x)) ** 2))
