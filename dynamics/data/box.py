"""Boxes: the bounds (low, high) of every coordinate that belong to some data and to no other.

Pixels lie in [0, 1]. Floats of a file have no bounds, even where all of them lie in [0, 1], unless the user
says so.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Array, Num

Box = tuple[float, float] | None

PIXELS = (0.0, 1.0)
FARTHEST = 1e30  # the largest bound: differences of two stay in float32
ABOUT = (
    "bounds LOW,HIGH of every input of a data file, which attacks keep to; none given: 0,1 for image formats "
    "and bytes, none for floats, even for those in [0, 1]"
)


def asked(box: Sequence[int | float], *, of_file: bool, where: str) -> None:
    """Refuse the setting `box` if it is no box, or `where` says that no file is read.

    Raises: ValueError: as above.
    """
    if not box:
        return
    if len(box) != 2 or not box[0] < box[1]:
        raise ValueError(
            f"box must be two numbers LOW,HIGH with LOW below HIGH, got {','.join(f'{v:g}' for v in box)}"
        )
    if not of_file:
        raise ValueError(f"box is for the inputs of a data file, and there is none with {where}")


def check(box: Any) -> None:
    """Refuse what is neither None nor (low, high).

    Raises: ValueError: as above.
    """
    kinds = int | float | np.integer | np.floating
    if box is not None and not (
        isinstance(box, tuple)
        and len(box) == 2
        and all(isinstance(end, kinds) and not isinstance(end, bool) for end in box)
        and box[0] < box[1]
    ):
        raise ValueError(f"box must be None or a tuple (low, high) with low < high, got {box!r}")


def of(data: Any) -> Box:
    """The box that a data distribution says its inputs lie in; None if it says nothing."""
    return getattr(data, "box", None)


def refuse_outside(x: Num[Array | np.ndarray, "*shape"], box: Box, what: str) -> None:
    """Refuse inputs that a box does not hold; rounding is no reason to.

    Raises: ValueError: says how far they lie outside, and on which side.
    """
    if box is None or not np.size(x):
        return
    low, high = box
    eps = 4 * float(np.finfo(np.float32).eps)  # doubles may have been floats once
    distances = {
        f"below {low:g}": (low - float(x.min()), low),
        f"above {high:g}": (float(x.max()) - high, high),
    }
    sides = [f"{far:.3g} {side}" for side, (far, end) in distances.items() if far > eps * abs(end)]
    if sides:
        raise ValueError(
            f"{what} must lie in the box [{low:g}, {high:g}] that was asked for, but reach "
            f"{' and '.join(sides)}; give a box that holds them, or none"
        )
