"""The direct engine: steps in parameter space, one compiled program for each segment's work."""

import inspect
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, PyTree

from dynamics import descent
from dynamics.data.sample import Sample
from dynamics.engine import checks
from dynamics.engine.batching import Program
from dynamics.keys import named_key, seed_key
from dynamics.problem import parameters, penalties
from kernels.randomness import own_keys


class State(NamedTuple):
    """Where a run stands.

    Attributes:
      params: parameters; of a diverged run, the last finite ones.
      opt_state: state of the update rule.
      first_nonfinite_step: the step whose result was not finite, -1 while there is none.
      moved: where the last attack ended, if the next one begins there; else ().
      collections: what the model keeps beside its parameters.
    """

    params: PyTree
    opt_state: PyTree
    first_nonfinite_step: Int[Array, ""]
    moved: PyTree = ()
    collections: PyTree = ()


@partial(Program, reuse=True, once=True)
def sample(plan, data, seed, nothing):
    """A run's data; a program of its own, which problems on the same data share."""
    del nothing
    return data.sample(named_key(seed_key(seed, plan.root), "data"))


@partial(Program, once=True)
def start(plan, problem, recipe, observe, observe_end, seed, draw):
    """A run's initial state, and what else belongs to it and does not change: its masks."""
    del observe, observe_end
    key = seed_key(seed, plan.root)
    params, collections = problem.variables(named_key(key, "init"), named_key(key, "data"))
    moved = draw.train.x if problem.warm_start else ()
    masks = problem.masks(named_key(key, "mask"), params)
    rule_state = own_keys(recipe().init(problem.trained(params, masks)), named_key(key, "descent"))
    return State(params, rule_state, jnp.asarray(-1), moved, collections), masks


@Program
def advance(plan, problem, recipe, observe, observe_end, seed, state, masks, draw, first, num_steps):
    """Take `num_steps` steps from step `first`, and observe; one program serves every segment."""
    del observe_end
    key = seed_key(seed, plan.root)
    rule, of = optax.with_extra_args_support(recipe()), descent.objective(recipe)
    asks = problem.penalty is not None and descent.takes_penalty(recipe)

    def step(i, state):
        if problem.streams:
            batch = problem.data.batch(named_key(key, "data"), i)
        else:
            batch = minibatch(named_key(key, "batches"), draw.train, i, plan.batch_size)
        attack_key = jax.random.fold_in(named_key(key, "attack"), i)
        args, moved = (batch, draw, attack_key, of), ()
        now = problem.at(state.collections, training=True)
        if problem.warm_start:
            moved = now.attacked(state.params, *args, state.moved)
            args = (*args, moved)

        def both(some):
            loss, kept = now.lowered(parameters.whole(some, state.params, masks), *args)
            if problem.penalty is not None and not asks:
                loss += penalties.surrogate(problem.penalty, some)
            return loss, kept

        def lowered(some, obj_fn=None, grad_fn=None):
            del obj_fn, grad_fn  # a line search hands on what it has no use for itself
            return both(some)[0]

        some = problem.trained(state.params, masks)
        (loss, kept), grads = jax.value_and_grad(both, has_aux=True)(some)
        # the names by which optax's rules ask for more: line searches, SAM, Sophia
        more = {"value": loss, "grad": grads, "value_fn": lowered, "obj_fn": lowered}
        more["grad_fn"] = lambda params, _: jax.grad(lowered)(params)
        more |= {"penalty": problem.penalty} if asks else {}
        more = taken(rule.update, more)
        updates, opt_state = rule.update(grads, state.opt_state, some, **more)
        params = parameters.whole(optax.apply_updates(some, updates), state.params, masks)
        kept = kept or state.collections
        new = State(params, opt_state, state.first_nonfinite_step, moved, kept)
        return unless_diverged(i, all_finite((loss, params, kept)), new, state)

    state = jax.lax.fori_loop(first, first + num_steps, step, state)
    return state, observed(plan, problem.at(state.collections), observe, seed, state.params, draw)


@Program
def conclude(plan, problem, recipe, observe, observe_end, seed, state, own, draw):
    """The observables of the end."""
    del recipe, observe, own
    return observed(plan, problem.at(state.collections), observe_end, seed, state.params, draw)


def taken(update, arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of the keyword arguments that a rule's `update` takes."""
    parameters = inspect.signature(update).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return arguments
    return {name: value for name, value in arguments.items() if name in parameters}


def initial(plan, problem, seed) -> PyTree:
    """A run's initial parameters."""
    key = seed_key(seed, plan.root)
    return problem.init(named_key(key, "init"), named_key(key, "data"))


def all_finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every number of every leaf is finite."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))


def unless_diverged(i, finite, new, old):
    """`new`, or `old` from the first step on that was not `finite`; that step is noted."""
    running = old.first_nonfinite_step < 0
    kept = jax.tree.map(lambda a, b: jnp.where(running & finite, a, b), new, old)
    diverged = jnp.where(running & ~finite, i + 1, old.first_nonfinite_step)
    return kept._replace(first_nonfinite_step=diverged)


def observed(plan, problem, asked, seed, params, draw, look=checks.value):
    """Each observable's value, of a type that a result can hold."""
    key = named_key(seed_key(seed, plan.root), "observe")
    return {name: widened(look(what, params, problem, draw, key)) for name, what in asked.items()}


def widened(value: Array) -> Array:
    """Numbers of a type that only machine learning knows (bfloat16, float8, int4, ...) in 32 bits."""
    value = jnp.asarray(value)
    if value.dtype.isbuiltin == 1:
        return value
    return value.astype(jnp.float32 if jnp.issubdtype(value.dtype, jnp.floating) else jnp.int32)


def minibatch(key, train: Sample, step, batch_size: int | None) -> Sample:
    """The training samples of one step: all of them, or the next batch of a shuffled epoch.

    Every epoch shuffles anew from its own key; samples that do not fill a last batch wait for another
    epoch. A step's batch follows from its number alone, so a resumed run sees the same batches.
    """
    if batch_size is None:
        return train
    count = train.x.shape[0]
    per_epoch = count // batch_size
    order = jax.random.permutation(jax.random.fold_in(key, step // per_epoch), count)
    chosen = jax.lax.dynamic_slice_in_dim(order, (step % per_epoch) * batch_size, batch_size)
    return jax.tree.map(lambda leaf: leaf[chosen], train)
