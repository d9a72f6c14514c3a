"""Recording times."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from dynamics.words import as_integer


def linear_spaced(steps: int, count: int) -> list[int]:
    """At most `count` steps (two at least) from 0 to `steps`, both included, evenly spaced."""
    return np.unique(np.round(np.linspace(0, steps, max(count, 2))).astype(int)).tolist()


def log_spaced(steps: int, count: int) -> list[int]:
    """At most `count` steps (at least two) from 0 to `steps`, both included, evenly spaced in log(step)."""
    if steps == 0 or count <= 2:
        return sorted({0, steps})
    times = np.geomspace(1, steps, count - 1)
    return np.unique(np.concatenate([[0], np.round(times).astype(int)])).tolist()


def recording_times(steps: int, when: Sequence[int] | np.ndarray | None) -> list[int]:
    """The times of a run: `when` with `steps` appended, or 64 log-spaced ones.

    Raises: ValueError: times that are not integers, not increasing, or outside 0 .. steps.
    """
    if when is None:
        return log_spaced(steps, 64)
    try:
        times = [as_integer(t) for t in when]
    except TypeError:
        times = [None]
    if None in times:
        raise ValueError(f"when must be a list of steps (integers), got {when!r}")
    if any(b <= a for a, b in pairwise(times)):
        raise ValueError("when must increase from one recording time to the next")
    if times and not 0 <= times[0] <= times[-1] <= steps:
        raise ValueError(f"when must lie between 0 and steps={steps}, got {times[0]} .. {times[-1]}")
    return times if times and times[-1] == steps else [*times, steps]
