"""How runs are batched: all in one program (`vmap`), or one program that takes run after run (`map`).

What belongs to the runs is a tree of arrays with a leading run axis under `vmap`, and a list of one
tree a run under `map`: there every run keeps buffers of its own, which a `lax.map` over stacked data
would copy (12 MB a seed at the size of feature averaging) whenever it is entered.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from dynamics.parts import merge

Strategy = Literal["auto", "vmap", "map"]


class Plan(NamedTuple):
    """What is compiled in: hashable, and equal for runs that differ in numbers only.

    Attributes:
      rest: the static half of the parts that a program works on.
      varied: which of their numbers have a value of their own in every run.
      strategy: `vmap` or `map`.
      root: key that the seeds are folded into.
      batch_size: samples a step, None for all.
    """

    rest: Any
    varied: tuple[bool, ...]
    strategy: Literal["vmap", "map"]
    root: int
    batch_size: int | None = None


def choose(strategy: Strategy) -> Literal["vmap", "map"]:
    """The strategy to use here: `auto` is `map` on a CPU, where thin layers stay in cache, else `vmap`.

    Raises: ValueError: unknown strategy.
    """
    if strategy not in get_args(Strategy):
        raise ValueError(f"strategy must be one of {', '.join(get_args(Strategy))}, got {strategy!r}")
    if strategy != "auto":
        return strategy
    return "map" if jax.default_backend() == "cpu" else "vmap"


class Program:
    """`task(plan, *parts, *run, *extra)`, compiled once for a plan: `run` is one run's, `extra` all runs'."""

    def __init__(self, task: Callable[..., Any]):
        def one(plan, numbers, run, extra):
            return task(plan, *merge(numbers, plan.rest), *run, *extra)

        def every(plan, numbers, runs, extra):
            axes = [0 if varied else None for varied in plan.varied]
            return jax.vmap(lambda n, run: one(plan, n, run, extra), in_axes=(axes, 0))(numbers, runs)

        one.__name__ = every.__name__ = task.__name__
        self.__doc__ = task.__doc__
        self._one = jax.jit(one, static_argnums=0)
        self._every = jax.jit(every, static_argnums=0)

    def __call__(self, plan: Plan, numbers: Any, runs: Sequence[Any], *extra: Any) -> Any:
        """The task's results for all runs, stacked (`vmap`) or listed (`map`)."""
        if plan.strategy == "vmap":
            return self._every(plan, numbers, tuple(runs), extra)
        return [self._one(plan, own, run, extra) for own, *run in zip(numbers, *runs, strict=True)]

    def shapes(self, plan: Plan, numbers: Any, runs: Sequence[Any], num_runs: int, *extra: Any) -> PyTree:
        """Shapes and dtypes of `gather(plan, self(...))`; nothing is compiled."""
        if plan.strategy == "vmap":
            return jax.eval_shape(lambda *args: self._every(plan, *args), numbers, tuple(runs), extra)
        run = [listed[0] for listed in runs]
        one = jax.eval_shape(lambda *args: self._one(plan, *args), numbers[0], run, extra)
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((num_runs, *leaf.shape), leaf.dtype), one)

    def _cache_size(self) -> int:
        return self._one._cache_size() + self._every._cache_size()


def spread(plan: Plan, tree: PyTree, num_runs: int) -> Any:
    """Arrays with a leading run axis as `plan` wants them."""
    if plan.strategy == "vmap":
        return jax.tree.map(jnp.asarray, tree)
    return [jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf[i]), tree) for i in range(num_runs)]


def spread_numbers(plan: Plan, numbers: Sequence[Any], num_runs: int) -> Any:
    """Numbers, those that vary with a leading run axis, as `plan` wants them."""
    if plan.strategy == "vmap":
        return list(numbers)
    marked = list(zip(numbers, plan.varied, strict=True))
    return [[n[i] if varied else n for n, varied in marked] for i in range(num_runs)]


def unzip(plan: Plan, results: Any) -> tuple[Any, ...]:
    """Results that are tuples, as a tuple of results."""
    return tuple(results) if plan.strategy == "vmap" else tuple(map(list, zip(*results, strict=True)))


def gather(plan: Plan, results: Any) -> PyTree:
    """All runs' results on the host, with a leading run axis; what is there already stays as it is."""
    listed = isinstance(results, list)
    results = jax.device_get(results)
    if plan.strategy == "vmap" or not listed:
        return results
    return jax.tree.map(lambda *leaves: np.stack(leaves), *results)
