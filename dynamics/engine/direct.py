"""The direct engine: steps in parameter space, one compiled program for each segment's work."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PyTree

from dynamics.data.sample import Sample
from dynamics.engine.batching import over_runs
from dynamics.keys import named_key, seed_key
from dynamics.parts import merge


class State(NamedTuple):
    """Where a run stands.

    Attributes:
      params: parameters; of a diverged run, the last finite ones.
      opt_state: state of the update rule.
      first_nonfinite_step: the step whose result was not finite, -1 while there is none.
    """

    params: PyTree
    opt_state: PyTree
    first_nonfinite_step: Int[Array, ""]


class Plan(NamedTuple):
    """What is compiled in: hashable, and equal for runs that differ in numbers only."""

    rest: Any  # the static half of the parts: (problem, recipe, observe, observe_end), or (data,)
    varied: tuple[bool, ...]  # which numbers have a value of their own in every run
    strategy: str
    root: int
    batch_size: int | None = None


def _over(plan, numbers, runs, function):
    own = [n for n, varied in zip(numbers, plan.varied, strict=True) if varied]

    def one(args):
        own, run = args
        remaining = iter(own)
        values = [next(remaining) if v else n for n, v in zip(numbers, plan.varied, strict=True)]
        return function(*merge(values, plan.rest), *run)

    return over_runs(plan.strategy, one, (own, runs))


@partial(jax.jit, static_argnums=0)
def sample(plan: Plan, numbers, seeds):
    """The data of every run; a program of its own, which problems on the same data share."""

    def one(data, seed):
        return data.sample(named_key(seed_key(seed, plan.root), "data"))

    return _over(plan, numbers, (seeds,), one)


@partial(jax.jit, static_argnums=0)
def start(plan: Plan, numbers, seeds):
    """The initial state of every run."""

    def one(problem, recipe, observe, observe_end, seed):
        del observe, observe_end
        key = seed_key(seed, plan.root)
        params = problem.init(named_key(key, "init"), named_key(key, "data"))
        return State(params, recipe().init(params), jnp.asarray(-1))

    return _over(plan, numbers, (seeds,), one)


@partial(jax.jit, static_argnums=0)
def advance(plan: Plan, numbers, seeds, states, draws, first, num_steps):
    """Take `num_steps` steps from step `first` in every run; one program serves every segment."""

    def one(problem, recipe, observe, observe_end, seed, state, draw):
        del observe, observe_end
        key = seed_key(seed, plan.root)
        rule = optax.with_extra_args_support(recipe())

        def step(i, state):
            sample = minibatch(named_key(key, "batches"), draw.train, i, plan.batch_size)
            attack_key = jax.random.fold_in(named_key(key, "attack"), i)
            loss, grads = jax.value_and_grad(problem.training_loss)(state.params, sample, draw, attack_key)
            updates, opt_state = rule.update(grads, state.opt_state, state.params, value=loss)
            params = optax.apply_updates(state.params, updates)
            finite = jnp.isfinite(loss)
            for leaf in jax.tree.leaves(params):
                finite &= jnp.all(jnp.isfinite(leaf))
            running = state.first_nonfinite_step < 0
            diverged = jnp.where(running & ~finite, i + 1, state.first_nonfinite_step)
            params, opt_state = jax.tree.map(
                lambda new, old: jnp.where(running & finite, new, old),
                (params, opt_state),
                (state.params, state.opt_state),
            )
            return State(params, opt_state, diverged)

        return jax.lax.fori_loop(first, first + num_steps, step, state)

    return _over(plan, numbers, (seeds, states, draws), one)


@partial(jax.jit, static_argnums=(0, 5))
def record(plan: Plan, numbers, seeds, states, draws, at_end: bool):
    """The observables of every run: those of every recording time, or those of the end."""

    def one(problem, recipe, observe, observe_end, seed, state, draw):
        del recipe
        key = named_key(seed_key(seed, plan.root), "observe")
        asked = observe_end if at_end else observe
        return {name: what(state.params, problem, draw, key) for name, what in asked.items()}

    return _over(plan, numbers, (seeds, states, draws), one)


def minibatch(key, train: Sample, step, batch_size: int | None) -> Sample:
    """The training samples of one step: all of them, or the next batch of a shuffled epoch.

    Every epoch shuffles anew from its own key; samples that do not fill a last batch wait for another
    epoch. A step's batch follows from its number alone, so a resumed run sees the same batches.
    """
    if batch_size is None:
        return train
    count = train.y.shape[0]
    per_epoch = count // batch_size
    order = jax.random.permutation(jax.random.fold_in(key, step // per_epoch), count)
    chosen = jax.lax.dynamic_slice_in_dim(order, (step % per_epoch) * batch_size, batch_size)
    return jax.tree.map(lambda leaf: leaf[chosen], train)
