r"""Gradient flow as an update rule: a step is a time of $\dot\theta = -\nabla L(\theta)$."""

import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree, ScalarLike

from dynamics.descent.recipes import Descent, as_written, traced, within_recipe
from dynamics.descent.rules import Number
from dynamics.parts import Axis, Bound, PerSeed, known
from dynamics.words import quoted

SHORTEST = 2.0**-10
"""The shortest step of the integrator, as a part of a step of the rule."""


@as_written()
def gradient_flow(dt: Number, rtol: Number = 1e-6) -> Descent:
    r"""From $\theta(t)$ to $\theta(t + \delta)$ on $\dot\theta = -\nabla L(\theta)$.

    By the pair of Runge-Kutta methods of orders 5 and 4 of Tsitouras, whose steps are as long as errors
    allow: those of an entry, within a step, at most `rtol` times its size and the root mean square of all;
    but none is shorter than $\delta / 1024$, which errors would ask for where the gradient jumps (ReLU at
    0). Each step of the rule chooses anew, so that where a run is cut makes no difference. It takes full
    batches, no adversary and no penalty, and the extra `flow` (diffrax).

    Args:
      dt: $\delta$, a time; a number, which is traced.
      rtol: the tolerance, also a traced number; at least ten roundings of the precision are taken.

    Raises:
      ValueError: a time that is negative, a tolerance that is not between 0 and 1, or no numbers.
      ImportError: diffrax is not installed.
    Reference: Kidger 2021, On Neural Differential Equations, Section 5; Tsitouras 2011.
    """
    if importlib.util.find_spec("diffrax") is None:
        raise ImportError('gradient_flow needs diffrax: pip install -c constraints.txt -e ".[flow]"')
    return traced(_flow, dt=_number("dt", dt, np.inf), rtol=_number("rtol", rtol, 1))


def _number(name, value, below):
    if isinstance(value, bool | str) or callable(value) or value is None:
        raise ValueError(f"{name} of gradient_flow must be a number, got {quoted(value)}")
    values = known(value)
    if values is not None and not ((values > 0) & (values < below)).all():
        bound = "finite" if below == np.inf else f"below {below}"
        raise ValueError(f"{name} of gradient_flow must be positive and {bound}, got {value}")
    return value if isinstance(value, Axis | PerSeed) else jnp.asarray(value, float)


def _flow(dt: ScalarLike, rtol: ScalarLike) -> optax.GradientTransformationExtraArgs:
    def update(grads, state, params=None, *, grad_fn=None, **extra):
        del extra
        if grad_fn is None or params is None:
            raise ValueError("gradient_flow needs the gradient as a function: update(..., grad_fn=...)")
        return _moved(params, grads, grad_fn, dt, rtol), state

    return optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), update)


def _moved(params, grads, grad_fn, dt, rtol):
    """How far the parameters come in a time dt; NaN if the integrator gives up."""
    import diffrax  # not before it is used

    def slope(t, theta, args):
        del t, args
        return jax.tree.map(jnp.negative, grad_fn(theta, None))

    precision = jnp.finfo(jnp.result_type(*jax.tree.leaves(params)))
    rtol = jnp.maximum(rtol, 10 * precision.eps)
    size = _root_mean_square(params) + dt * _root_mean_square(grads)  # of weights that start at 0 too
    found = diffrax.diffeqsolve(
        diffrax.ODETerm(slope),
        diffrax.Tsit5(),
        t0=jnp.zeros_like(dt),
        t1=dt,
        dt0=None,
        y0=params,
        stepsize_controller=diffrax.PIDController(
            rtol=rtol, atol=rtol * size + precision.tiny, dtmin=SHORTEST * dt, force_dtmin=True
        ),
        adjoint=diffrax.ForwardMode(),
        max_steps=int(16 / SHORTEST),  # those that are refused among them
        throw=False,
    )
    arrived = found.result == diffrax.RESULTS.successful
    return jax.tree.map(lambda end, start: jnp.where(arrived, end[-1] - start, jnp.nan), found.ys, params)


def _root_mean_square(tree: PyTree) -> Float[Array, ""]:
    leaves = jax.tree.leaves(tree)
    total = sum(jnp.sum(jnp.square(leaf)) for leaf in leaves)
    return jnp.sqrt(total / sum(leaf.size for leaf in leaves))


def is_flow(recipe: Bound) -> bool:
    """Whether a rule, or one that it is made of, is gradient flow."""
    return recipe.function is _flow or any(map(is_flow, within_recipe(recipe)))


def refuse_other_than_full_batches(recipe: Bound, problem: Any, batch_size: int | None) -> None:
    """Refuse gradient flow of what is no smooth function of the parameters, the same at all times.

    Raises: ValueError: see above.
    """
    if not is_flow(recipe):
        return
    obstacles = {
        "leave out batch_size": batch_size is not None,
        "leave out Fresh": problem.streams,
        "leave out the adversary": problem.adversary is not None,
        "leave out the penalty": problem.penalty is not None,
    }
    for way, there in obstacles.items():
        if there:
            raise ValueError(
                f"gradient_flow takes full batches, without an adversary or a penalty: {way}, or take steps "
                'by steepest("l2", ...)'
            )
