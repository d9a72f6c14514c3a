"""Runs as numbers: axes outside, seeds inside; who does which; and what was observed, put together."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from dynamics.engine.checkpoint import Part, Row
from dynamics.parts import Axis


def axes_of(numbers: Sequence[Any]) -> dict[str, np.ndarray]:
    """Axes by name, in order of appearance."""
    axes: dict[str, np.ndarray] = {}
    for number in numbers:
        if isinstance(number, Axis):
            known = axes.setdefault(number.name, number.values)
            if len(known) != len(number.values):
                raise ValueError(
                    f"axis {number.name!r} stands for {len(known)} and {len(number.values)} values"
                )
    return axes


def lay_out(
    numbers: Sequence[Any], axes: Mapping[str, np.ndarray], num_seeds: int
) -> tuple[list[Any], tuple[bool, ...]]:
    """Each number as an array, those of an axis with a value a run (axes outside, seeds inside).

    Returns: the arrays, and which of them vary.
    """
    sizes = [len(values) for values in axes.values()]
    laid_out, varied = [], []
    for number in numbers:
        if isinstance(number, Axis):
            shape = [1] * (len(sizes) + 1)
            shape[list(axes).index(number.name)] = len(number.values)
            spread = np.broadcast_to(number.values.reshape(shape), [*sizes, num_seeds])
            laid_out.append(np.asarray(spread.ravel(), jnp.result_type(float)))
        elif isinstance(number, int | float | np.floating):
            laid_out.append(jnp.asarray(number, float))
        else:
            laid_out.append(jnp.asarray(number))
        varied.append(isinstance(number, Axis))
    return laid_out, tuple(varied)


def within_range(numbers: Sequence[Any]) -> None:
    """Refuse finite numbers that would be infinite in the precision at hand.

    Raises: ValueError: as above.
    """
    kept = jnp.finfo(jnp.result_type(float))
    for number in numbers:
        if isinstance(number, int) and abs(number) > float(kept.max):
            raise ValueError(
                f"an integer of {len(str(abs(number)))} digits is beyond the range of {kept.dtype}"
            )
        if isinstance(number, Axis | float | np.floating):
            values = np.atleast_1d(number.values if isinstance(number, Axis) else np.float64(number))
            beyond = values[np.isfinite(values) & (np.abs(values) > float(kept.max))]
            if beyond.size:
                raise ValueError(f"{beyond[0]:g} is beyond the range of {kept.dtype}")


def forms(numbers: Sequence[Any]) -> tuple[Any, ...]:
    """What a compiled program sees of numbers: shapes and kinds, no values."""
    found = []
    for number in numbers:
        if isinstance(number, Axis):
            found.append((number.name, len(number.values)))
        else:
            found.append((np.shape(number), jnp.result_type(number).name))
    return tuple(found)


def share_of(num_runs: int, share: tuple[int, int] | None) -> np.ndarray:
    """The runs of one process.

    Dealt out from a fixed shuffle, so that what is left of any division into shares is spread evenly
    over the processes of any other.
    """
    if share is None:
        return np.arange(num_runs)
    index, count = share
    return np.sort(np.random.default_rng(0).permutation(num_runs)[index::count])


def alone(
    row: Row, first: np.ndarray, runs: np.ndarray, axes: Mapping[str, np.ndarray], seeds: Sequence[int]
) -> tuple[Row, np.ndarray, dict[str, np.ndarray], list[int]]:
    """What was recorded of some runs, on the smallest grid of axes and seeds that holds them, NaN elsewhere.

    Returns: values and first steps that are not finite of the grid's runs, its axes and its seeds.
    """
    sizes = [*map(len, axes.values()), len(seeds)]
    places = [np.unique(along) for along in np.unravel_index(runs, sizes)]
    grid = np.ravel_multi_index(np.ix_(*places), sizes).ravel()
    at = np.searchsorted(grid, runs)
    part = Part(at, {}, row, first)
    _, row, first = together([part], len(grid), 0)
    values = [*axes.values(), np.asarray(seeds)]
    values = [each[place] for each, place in zip(values, places, strict=True)]
    return row, first, dict(zip(axes, values, strict=False)), values[-1].tolist()


def together(parts: Sequence[Part], num_runs: int, num_times: int) -> tuple[Row, Row, np.ndarray]:
    """What was recorded and ended of all runs, with NaN for what is missing, and their divergence.

    Times that no run has reached are left out.
    """
    first = np.full(num_runs, -1, int)
    recorded: Row = {}
    ended: Row = {}
    reached = max((value.shape[1] for part in parts for value in part.recorded.values()), default=num_times)
    for part in parts:
        first[part.runs] = part.first_nonfinite_step
        for name, value in part.recorded.items():
            whole = _room(recorded, name, (num_runs, reached, *value.shape[2:]), value, parts, "recorded")
            whole[part.runs, : value.shape[1]] = value
        for name, value in part.ended.items():
            whole = _room(ended, name, (num_runs, *value.shape[1:]), value, parts, "ended")
            whole[part.runs] = value
    return recorded, ended, first


def _room(found, name, shape, value, parts, kind):
    if name not in found:
        covered = np.zeros(shape[: 2 if kind == "recorded" else 1], bool)
        for part in parts:
            own = getattr(part, kind).get(name)
            if own is not None:
                covered[(part.runs, slice(own.shape[1])) if kind == "recorded" else part.runs] = True
        missing = not covered.all()
        dtype = np.result_type(value.dtype, np.float32) if missing else value.dtype  # NaN is a float
        found[name] = np.full(shape, np.nan, dtype) if missing else np.empty(shape, dtype)
    return found[name]
