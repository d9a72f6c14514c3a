"""Runs of many configs gathered into few programs: those that differ in numbers only run side by side."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import xarray as xr

from dynamics.descent import Descent, recipe_of
from dynamics.descriptions import checksum, describe
from dynamics.parts import Axis, merge, partition

POINT = "sweep_point"


class Call(NamedTuple):
    """What one point of a sweep asks of `simulate`: traced numbers, all the rest, and how it is run."""

    numbers: tuple[Any, ...]
    rest: Any
    options: Mapping[str, Any]
    float64: bool

    def form(self) -> tuple[Any, ...]:
        """What calls that may run side by side have in common: all but single numbers."""
        fixed = tuple(None if self.varies(i) else checksum(describe(n)) for i, n in enumerate(self.numbers))
        return (self.rest, fixed, repr(sorted(self.options.items())), self.float64)

    def varies(self, i: int) -> bool:
        """Whether an axis may take the place of the i-th number: it then has the computation's precision."""
        number = self.numbers[i]
        if isinstance(number, Axis):
            return False
        if isinstance(number, int | float | np.floating):
            return True
        wide = np.float64 if self.float64 else np.float32
        return np.ndim(number) == 0 and number.dtype in (np.float64, wide)


class Gather:
    """One point of a sweep: the calls of `simulate` that it has asked for, and those that are answered."""

    def __init__(self):
        self.asked: dict[str, Call] = {}
        self.answers: dict[str, xr.Dataset] = {}

    def answer(
        self,
        label: str,
        problem: Any,
        descent: optax.GradientTransformation,
        observe: Mapping[str, Any],
        observe_end: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> xr.Dataset | None:
        """The result of the call of this label, if it is there; else the call is noted."""
        if label in self.answers:
            return self.answers[label]
        numbers, rest = partition((problem, recipe_of(descent), dict(observe), dict(observe_end)))
        self.asked[label] = Call(tuple(numbers), rest, options, bool(jax.config.jax_enable_x64))
        return None


def answer_all(
    points: Mapping[int, Gather],
    simulate: Callable[..., xr.Dataset],
    check: Callable[..., None] = lambda *parts, **how: None,
    say: Callable[[str], None] = lambda line: None,
    checkpoint: Path | None = None,
    checkpoint_every: bool = True,
) -> None:
    """Carry out what the points have asked for, in as few programs as there are forms of calls.

    Args:
      points: by number; the same numbers find the same checkpoints again.
      simulate: the engine's door.
      check: called with every program, but for those that are done, before the first one is run.
      say: called with a line before every program.
      checkpoint: a folder in which every program has its own.
      checkpoint_every: as of `simulate`.
    """
    groups: dict[tuple, list[int]] = {}
    for number, point in points.items():
        for label, call in point.asked.items():
            groups.setdefault((label, call.form()), []).append(number)
    programs = []
    for (label, _), members in groups.items():
        calls = [points[number].asked[label] for number in members]
        joined, places = _side_by_side(calls)
        with jax.enable_x64(calls[0].float64):
            problem, recipe, observe, observe_end = merge(joined, calls[0].rest)
        name = f"{label}-{zlib.crc32(repr(members).encode()):08x}"
        folder = None if checkpoint is None else checkpoint / name
        asked = {"observe": observe, "observe_end": observe_end, "label": label, **calls[0].options}
        programs.append((members, places, calls[0].float64, folder, (problem, Descent(recipe)), asked))
    for _, _, float64, folder, parts, asked in programs:
        if folder is None or not (folder / "result.nc").exists():
            with jax.enable_x64(float64):
                check(*parts, **asked)
    for count, (members, places, float64, folder, parts, asked) in enumerate(programs, 1):
        label = asked["label"]
        say(f"program {count} of {len(programs)}: {label}, {len(set(places))} different runs of every seed")
        with jax.enable_x64(float64):
            result = simulate(*parts, checkpoint=folder, checkpoint_every=checkpoint_every, **asked)
        for number, place in zip(members, places, strict=True):
            alone = result.isel({POINT: place}, drop=True) if POINT in result.dims else result
            points[number].answers[label] = alone
    for point in points.values():
        point.asked.clear()


def _side_by_side(calls: Sequence[Call]) -> tuple[list[Any], list[int]]:
    """Numbers for all calls at once, an `Axis` where they differ, and each call's place on it."""
    single = [i for i in range(len(calls[0].numbers)) if calls[0].varies(i)]
    values = [tuple(float(call.numbers[i]) for i in single) for call in calls]
    different = list(dict.fromkeys(values))
    numbers = list(calls[0].numbers)
    for column, i in enumerate(single):
        here = [row[column] for row in different]
        if any(value != here[0] for value in here):
            numbers[i] = Axis(POINT, here)
    return numbers, [different.index(row) for row in values]
