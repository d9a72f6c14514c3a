"""The loss around inputs and around weights: flatness, sharpness, and slices along an attack."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from dynamics import linalg
from dynamics.adversary import ball
from dynamics.adversary.ball import Arrays
from dynamics.observables.base import observable
from dynamics.observables.robustness import attacked
from dynamics.problem import first_layers


def dual_size(gradient: Float[Array, "samples *shape"], norm: str) -> Float[Array, " samples"]:
    r"""Dual norm of each sample's input gradient: l1 for `linf`, l2 for `l2`, $\sum_p\|g_p\|_2$ for `max-l2`.

    To first order the loss rises by it, times the radius, in the ball of the norm.
    """
    if norm == "l2":
        return ball.norms(gradient, "l2")
    if norm == "linf":
        return jnp.sum(jnp.abs(gradient.reshape(len(gradient), -1)), axis=1)
    rows = ball.norms(gradient.reshape(-1, gradient.shape[-1]), "l2")
    return jnp.sum(rows.reshape(len(gradient), -1), axis=1)


def _norm_of(attack):
    if getattr(attack, "norm", None) not in ball.NORMS:
        raise ValueError(f"the attack must have a norm, one of {', '.join(ball.NORMS)}, got {attack!r}")
    return attack.norm


def _input_gradients(params, problem, sample, x):
    values, pull = jax.vjp(lambda p: problem.sample_losses(params, dataclasses.replace(sample, x=p)), x)
    return pull(jnp.ones_like(values))[0]


def _at_each(radius, params, problem, draw, key, attack, points, num_points, measure):
    """`measure(clean, moved)` at every radius."""
    params = first_layers.plain(params)
    clean = jax.tree.map(lambda leaf: leaf[:num_points], getattr(draw, points))

    def at(r):
        stronger = dataclasses.replace(attack, radius=r)
        moved = attacked(params, problem, draw, key, points, stronger, num_points=num_points)
        return measure(params, clean, moved)

    return jax.lax.map(at, radius)


@observable(("radius",), about="rise of the loss in a ball around an input", random=True)
def loss_rise(
    params,
    problem,
    draw,
    key,
    attack,
    radius: Float[Arrays, " radii"],
    points="train",
    num_points=None,
) -> Float[Array, " radii"]:
    r"""Mean over samples of $\max_{\|\xi\| \le r} L(x + \xi) - L(x)$, the maximum being what `attack` finds.

    A lower bound. Flat around training inputs and steep around test inputs is the landscape of robust
    overfitting (Li & Li 2025, arXiv:2306.01271).
    """

    def rise(params, clean, moved):
        return jnp.mean(problem.sample_losses(params, moved) - problem.sample_losses(params, clean))

    return _at_each(radius, params, problem, draw, key, attack, points, num_points, rise)


@observable(("radius",), about="size of the input gradient of the loss at the worst point", random=True)
def input_gradient(
    params,
    problem,
    draw,
    key,
    attack,
    radius: Float[Arrays, " radii"],
    points="train",
    num_points=None,
) -> Float[Array, " radii"]:
    r"""Mean over samples of $\|\nabla_x L\|_*$ where `attack` moves them, in the dual of its norm.

    Raises: ValueError: an attack without a norm.
    """
    norm = _norm_of(attack)

    def size(params, clean, moved):
        gradient = _input_gradients(params, problem, moved, moved.x)
        return jnp.mean(dual_size(gradient, norm))

    return _at_each(radius, params, problem, draw, key, attack, points, num_points, size)


@observable(("radius",), about="largest input gradient in a ball around an input", random=True)
def gradient_supremum(
    params,
    problem,
    draw,
    key,
    attack,
    radius: Float[Arrays, " radii"],
    points="test",
    num_points=None,
) -> Float[Array, " radii"]:
    r"""Mean over samples of $\max_{\|\xi\| \le r} \|\nabla_x L(x + \xi)\|_*$: global flatness.

    The attack climbs the gradient's dual norm itself, so that this is a lower bound.

    Raises: ValueError: an attack without a norm.
    """
    norm = _norm_of(attack)
    params = first_layers.plain(params)
    sample = jax.tree.map(lambda leaf: leaf[:num_points], getattr(draw, points))

    def size(x):
        return dual_size(_input_gradients(params, problem, sample, x), norm)

    def at(r):
        return jnp.mean(size(dataclasses.replace(attack, radius=r).perturb(key, size, sample, draw)))

    return jax.lax.map(at, radius)


@observable(("offset",), about="mean loss along an adversarial direction", random=True)
def loss_slice(
    params,
    problem,
    draw,
    key,
    attack,
    offset: Float[Arrays, " offsets"],
    points="train",
    num_points=None,
) -> Float[Array, " offsets"]:
    r"""Mean loss at $x + c\,(\tilde x - x)$ for every offset c, $\tilde x$ being where `attack` moves x.

    c = 0 is the input, c = 1 the attacked one.
    """
    params = first_layers.plain(params)
    moved = attacked(params, problem, draw, key, points, attack, num_points=num_points)
    x = getattr(draw, points).x[:num_points]

    def at(c):
        return jnp.mean(problem.sample_losses(params, dataclasses.replace(moved, x=x + c * (moved.x - x))))

    return jax.lax.map(at, offset)


@observable(("eigen",), about="largest eigenvalues of the Hessian of the loss", random=True)
def hessian_eigenvalues(params, problem, draw, key, count=1, depth=32) -> Float[Array, " eigenvalues"]:
    r"""The `count` largest eigenvalues of $\nabla^2_\theta$ of the (clean) training loss, descending.

    They are the largest Ritz values in the space that `depth` steps of Lanczos span from a random start,
    which approach the eigenvalues from below as `depth` grows; each step takes two products with the
    Hessian. The space is made orthonormal again: where Lanczos has found an invariant space (a Hessian of
    low rank, or 0), its further vectors are rounding errors, and its own matrix has eigenvalues of no kind.

    Raises: ValueError: `count` below 1, or above `depth` or the number of parameters.
    """
    from matfree import decomp  # heavy, and of use here only

    flat, unravel = ravel_pytree(first_layers.plain(params))
    if not 1 <= count <= min(depth, flat.size):
        limits = f"depth={depth} and the number of parameters {flat.size}"
        raise ValueError(f"count must be at least 1 and at most {limits}, got {count}")

    def loss(vector):
        return problem.loss_at(unravel(vector), draw, "train")

    def product(vector):
        return jax.jvp(jax.grad(loss), (flat,), (vector,))[1]

    start = jax.random.normal(key, flat.shape, flat.dtype)
    # in units of the Hessian's size: late in training its squares would underflow
    size = jnp.max(jnp.abs(product(start)))
    unit = jnp.where(size > 0, size, 1)
    lanczos = decomp.tridiag_sym(min(depth, flat.size), custom_vjp=False)
    vectors = lanczos(lambda vector: product(vector) / unit, start)[0]
    basis, _ = linalg.qr(jnp.where(jnp.isfinite(vectors), vectors, 0).T)
    ritz = basis.T @ (jax.lax.map(product, basis.T).T / unit)
    return unit * linalg.eigvalsh((ritz + ritz.T) / 2)[::-1][:count]
