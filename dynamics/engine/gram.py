r"""Gram space: full-batch gradient descent with the first layer carried by its inner products.

With $W = W_0 + C X$ the loss depends on $W$ through $H = W X^\top$ alone. Let $G$ be its gradient in
$H$, and $K = X X^\top$: then that in $W$ is $G X$, and a step adds $\Delta$ to $C$ and $\Delta K$ to $H$.
Any rule that is linear in the gradients (plain steps, momentum) acts on $G$ as it would on $G X$;
normalised descent needs $\|G X\|^2 = \langle G, G K\rangle$ besides. A step costs $2 n^2 m$ flops,
whatever the dimension, where the direct engine takes $4 n m d$; $n$ counts training inputs, or all
their patches. Inputs are divided by a power of two near their size (`first_layers.Gram`), so that products
of two of them are ordinary numbers.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PyTree

from dynamics import descent
from dynamics.data.sample import Draw
from dynamics.descent import norms
from dynamics.engine import checks, direct
from dynamics.engine.batching import Program, depends_on
from dynamics.keys import seed_key
from dynamics.observables.base import Observable
from dynamics.parts import Bound
from dynamics.problem import Problem
from dynamics.problem.first_layers import Gram, SpanParams, Start, flat

_LEAF = 128  # rows below which a symmetric product is not split further


class State(NamedTuple):
    """Where a run stands.

    Attributes:
      params: parameters, with the coefficients C in the place of W; of a diverged run, the last finite.
      inner: H, the inner products of neurons and training inputs.
      opt_state: state of the update rule, in the coordinates of `params`.
      first_nonfinite_step: the step whose result was not finite, -1 while there is none.
    """

    params: dict[str, PyTree]
    inner: Float[Array, "neurons rows"]
    opt_state: PyTree
    first_nonfinite_step: Int[Array, ""]


class NeedsWeights(Exception):
    """The observable of this name uses parameters in another way than by name."""


def obstacle(problem: Problem, recipe: Bound, batch_size: int | None, params: PyTree) -> str | None:
    """Why Gram space cannot train this problem, as the end of a sentence; None if it can."""
    if not hasattr(problem.model, "from_pre_activations") or "W" not in params:
        return f"{type(problem.model).__name__} is not a two-layer network"
    if problem.model.activation.sees_norms:
        return f"the activation {problem.model.activation.name} also depends on the norms of the weights"
    if problem.adversary is not None:
        return "adversarial training moves the inputs at every step"
    if problem.frozen or problem.mask is not None:
        return "some parameters are frozen or masked"
    if problem.terms or problem.penalty is not None:
        return "terms and penalties beside the loss look at the parameters themselves"
    if problem.streams:
        return "the data give every step samples of its own"
    if batch_size is not None:
        return "it needs full batches, and batch_size is given"
    if _is_linear(recipe) or _is_normalised(recipe):
        return None
    if recipe.function is descent.steepest_rule and (name := dict(recipe.constants)["name"]) != "l2":
        return f"steepest descent in {name} leaves the span of the data"
    return "it follows gradient descent (plain, loss-adaptive, normalised, with momentum) only"


def _is_linear(recipe: Bound) -> bool:
    constants = dict(recipe.constants)
    if recipe.function is descent.steepest_rule:
        return descent.is_linear(constants["name"], constants["step"])
    return recipe.function is optax.sgd


def _is_normalised(recipe: Bound) -> bool:
    """Plain normalised descent; `advance` takes its step itself."""
    constants = dict(recipe.constants)
    if recipe.function is not descent.steepest_rule or set(recipe.numbers) != {"learning_rate"}:
        return False
    return (constants["name"], constants["step"], constants["of"]) == ("l2", "normalized", "loss")


def uses(
    problem: Problem, observe: Mapping[str, Observable], draw: Draw, params: PyTree
) -> tuple[bool, bool]:
    """Whether observing asks for inner products with test inputs, and for the weights themselves.

    Args:
      draw, params: shapes.

    Raises: NeedsWeights: an observable takes the parameters apart in a way of its own.
    """
    key = jax.eval_shape(lambda: seed_key(0))
    x = draw.train.x
    rows, test_rows = x.size // x.shape[-1], draw.test.x.size // draw.test.x.shape[-1]
    neurons, features = params["W"].shape[0], draw.features.shape[0]

    def shape(*sizes):
        return jax.ShapeDtypeStruct(sizes, params["W"].dtype)

    def exponent(*sizes):
        return jax.ShapeDtypeStruct(sizes, jnp.int32)

    data = (shape(rows, rows), shape(rows, test_rows), shape(rows, features), shape(features, features))
    own = (shape(neurons, rows), shape(neurons, test_rows), shape(neurons, features))
    coefficients = shape(neurons, rows)
    exponents = (exponent(), exponent(features), exponent(neurons))

    def look(cross, W, draw, data, own, rest, exponents, key):
        train, _, features, feature_gram = data
        gram = Gram(draw, *exponents[:2], train, cross[0], features, feature_gram)
        start = Start(W, exponents[2], own[0], cross[1], own[2], rest[2])
        seen = SpanParams(rest[0], rest[1], rest[3], start, gram)
        values = []
        for name, what in observe.items():
            try:
                values.append(what(seen, problem, draw, key))
            except (TypeError, ValueError, AttributeError, KeyError):
                raise NeedsWeights(name) from None
        return values

    rest = (coefficients, coefficients, shape(neurons, neurons), _others(params))
    given = ((data[1], own[1]), params["W"], draw, data, own, rest, exponents, key)
    cross, weights, *_ = depends_on(look, *given)
    return cross, weights


@partial(Program, reuse=True)
def products(plan, draw):
    """Inner products of a run's data, without the data; with test inputs only if the plan asks for it."""
    return products_of(draw, plan.cross)


def products_of(draw: Draw, cross: bool) -> Gram:
    """Inner products of training inputs, features and, if asked for, test inputs."""
    size, feature_size = norms.exponent(draw.train.x), norms.exponent(draw.features, axis=1)
    x, features = (
        norms.shifted(flat(draw.train.x), -size),
        norms.shifted(draw.features, -feature_size[:, None]),
    )
    test = norms.shifted(flat(draw.test.x), -size) if cross else None
    return Gram(
        draw=None,
        exponent=size,
        feature_exponent=feature_size,
        train=symmetric(x),
        test=None if test is None else x @ test.T,
        features=x @ features.T,
        feature_gram=features @ features.T,
    )


def symmetric(x: Float[Array, "rows dim"]) -> Float[Array, "rows rows"]:
    """`x @ x.T`, with the blocks below the diagonal copied from above instead of computed."""
    half = x.shape[0] // 2
    if half < _LEAF:
        return x @ x.T
    upper = x[:half] @ x[half:].T
    return jnp.block([[symmetric(x[:half]), upper], [upper.T, symmetric(x[half:])]])


@Program
def start(plan, problem, recipe, observe, observe_end, seed, data):
    """A run's initial state, and the inner products of its initial weights."""
    del observe, observe_end
    draw, gram = data
    params = direct.initial(plan, problem, seed)
    own = start_of(params["W"], draw, gram)
    params = params | {"W": jnp.zeros_like(own.train)}
    return State(params, own.train, recipe().init(params), jnp.asarray(-1)), own


def start_of(W: Float[Array, "neurons dim"], draw: Draw, gram: Gram) -> Start:
    """Inner products of initial weights, with test inputs if `gram` has those."""
    size = norms.exponent(W, axis=1)
    unit = norms.shifted(W, -size[:, None])

    def inputs(sample):
        return norms.shifted(flat(sample.x), -gram.exponent)

    return Start(
        W=W,
        exponent=size,
        train=W @ inputs(draw.train).T,
        test=None if gram.test is None else W @ inputs(draw.test).T,
        features=W @ norms.shifted(draw.features, -gram.feature_exponent[:, None]).T,
        weights=unit @ unit.T,
    )


@Program
def advance(plan, problem, recipe, observe, observe_end, seed, state, own, data, first, num_steps):
    """Take `num_steps` steps from step `first`, and observe; one program serves every segment."""
    del observe_end
    gram = _whole(data)
    rule, of = optax.with_extra_args_support(recipe()), descent.objective(recipe)

    def loss_at(inner, others):
        params = SpanParams(state.params["W"], inner, others, own, gram)
        return problem.loss_at(params, gram.draw, "train", of)

    def move(state):
        loss, grads = jax.value_and_grad(loss_at, argnums=(0, 1))(state.inner, _others(state.params))
        # the barrier keeps the rows' order; left to itself XLA transposes, and the product is slower
        grads = grads[1] | {"W": jax.lax.optimization_barrier(grads[0])}
        if _is_normalised(recipe):
            moved = grads["W"] @ gram.train
            size, rate = _norm(grads, moved), recipe.numbers["learning_rate"]
            over = 1 / jnp.where(size > 0, size, 1)
            updates, opt_state = jax.tree.map(lambda g: -rate * (over * g), grads), state.opt_state
            inner = state.inner - rate * (over * moved)
        else:
            updates, opt_state = rule.update(grads, state.opt_state, state.params, value=loss)
            inner = state.inner + updates["W"] @ gram.train
        params = optax.apply_updates(state.params, updates)
        return State(params, inner, opt_state, state.first_nonfinite_step), jnp.isfinite(loss)

    def quick(_, carried):
        state, fine = carried
        state, also = move(state)
        return state, fine & also

    def careful(i, state):
        new, fine = move(state)
        return direct.unless_diverged(i, fine & direct.all_finite((new.inner, new.params)), new, state)

    # beside the product, passes over the neurons are what a step costs. A sum that is once not finite stays
    # so: one look at the end tells whether to go through the steps again, with a look at each
    running, last = state.first_nonfinite_step < 0, first + num_steps
    new, fine = jax.lax.fori_loop(first, last, quick, (state, running))
    fine &= direct.all_finite((new.inner, new.params))
    state = jax.lax.fori_loop(jnp.where(running & ~fine, first, last), last, careful, state)
    state = jax.tree.map(lambda a, b: jnp.where(fine, a, b), new, state)
    # these parameters are no tree, so that what is traced is not kept
    params, look = span(state, own, gram), checks.single
    return state, direct.observed(plan, problem, observe, seed, params, gram.draw, look)


@Program
def conclude(plan, problem, recipe, observe, observe_end, seed, state, own, data):
    """The observables of the end, on weights rebuilt once."""
    del recipe, observe
    gram = _whole(data)
    params = span(state, own, gram).plain()
    return direct.observed(plan, problem, observe_end, seed, params, gram.draw)


def _whole(data) -> Gram:
    draw, products = data
    return dataclasses.replace(products, draw=draw)


def span(state: State, own: Start, gram: Gram) -> SpanParams:
    """A state as parameters that observables can look at."""
    return SpanParams(state.params["W"], state.inner, _others(state.params), own, gram)


def _others(params):
    return {name: value for name, value in params.items() if name != "W"}


def _norm(grads, moved):
    """The l2 norm of the gradient in parameter space; `moved` is the gradient of W at the inputs."""
    # scaled by the largest entry: late in training the squares would underflow
    largest = norms.norm(grads, "linf")
    scale = jnp.where(largest > 0, largest, 1)
    squares = jnp.sum((grads["W"] / scale) * (moved / scale))
    squares += sum(jnp.sum(jnp.square(leaf / scale)) for leaf in jax.tree.leaves(_others(grads)))
    return scale * jnp.sqrt(jnp.maximum(squares, 0))
