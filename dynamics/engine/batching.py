"""How many runs advance together: `vmap` over runs, or `map` from one run to the next."""

from collections.abc import Callable
from typing import Any, Literal, get_args

import jax

Strategy = Literal["auto", "vmap", "map"]


def choose(strategy: Strategy) -> Literal["vmap", "map"]:
    """The strategy to use here: `auto` is `map` on a CPU, where thin layers stay in cache, else `vmap`.

    Raises: ValueError: unknown strategy.
    """
    if strategy not in get_args(Strategy):
        raise ValueError(f"strategy must be one of {', '.join(get_args(Strategy))}, got {strategy!r}")
    if strategy != "auto":
        return strategy
    return "map" if jax.default_backend() == "cpu" else "vmap"


def over_runs(strategy: Literal["vmap", "map"], function: Callable[[Any], Any], batched: Any) -> Any:
    """`function` of each run's slice of `batched`, stacked along a new leading axis."""
    return jax.vmap(function)(batched) if strategy == "vmap" else jax.lax.map(function, batched)
