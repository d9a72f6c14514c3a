"""What a network computes, its parameters, and its tangent features."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from dynamics.keys import seed_key
from dynamics.observables.base import observable
from dynamics.problem import Problem, first_layers


@observable(("point",), about="output")
def outputs(params, problem, draw, points="train"):
    """$f(x)$ at the training or test points, or `everywhere`, of a network with a single output."""
    places = ("train", "test") if points == "everywhere" else (points,)
    found = jnp.concatenate([problem.outputs(params, draw, place) for place in places])
    if found.ndim != 1:
        raise ValueError(f"outputs is for networks with a single output, got {found.shape[1]}")
    return found


@observable(("parameter",), about="all parameters")
def parameters(params, problem, draw):
    """The parameters in one vector, in the order of `jax.tree.leaves`."""
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(first_layers.plain(params))])


def network(problem: Problem, vector: Float[Array | np.ndarray, " parameters"]) -> Callable[[Array], Array]:
    """The network of recorded `parameters`, as a function of its inputs."""
    shapes = jax.eval_shape(lambda key: problem.init(key, key), seed_key(0))
    unravel = ravel_pytree(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes))[1]
    params = unravel(jnp.asarray(vector))
    return jax.jit(lambda x: problem.apply(params, x))


@observable(("dim",), about="weights of the linear predictor")
def linear_predictor(params, problem, draw):
    r"""$w$ of $f(x) = \langle w, x\rangle$, for models that are linear in their inputs."""
    basis = jnp.eye(draw.train.x.shape[-1], dtype=draw.train.x.dtype)
    return problem.apply(params, basis)


@observable(("sample", "dim"), about="training input times its label")
def signed_inputs(params, problem, draw):
    r"""$y_i x_i$ of every training sample: the rows of the linear programs in `laws.max_margin`."""
    return draw.train.y[:, None] * draw.train.x


@observable(("sample", "parameter"), about="signed tangent feature")
def signed_tangents(params, problem, draw):
    r"""$y_i \nabla_\theta f(x_i)$, parameters in the order of `jax.tree.leaves`."""
    plain = first_layers.plain(params)
    if (found := jax.eval_shape(problem.apply, plain, draw.train.x)).ndim != 1:
        raise ValueError(f"signed_tangents is for networks with a single output, got {found.shape[1]}")

    def output(p, x):
        return problem.apply(p, x[None])[0]

    grads = jax.vmap(jax.grad(output), in_axes=(None, 0))(plain, draw.train.x)
    flat = [leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(grads)]
    return draw.train.y[:, None] * jnp.concatenate(flat, axis=1)


@observable(about="parameters other than 0")
def num_parameters(params, problem, draw):
    """How many weights and biases are not 0."""
    counts = [jnp.count_nonzero(leaf) for leaf in jax.tree.leaves(params)]
    return sum(counts).astype(draw.train.x.dtype)
