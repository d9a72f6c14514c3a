"""What is refused, in one sentence each; traced values are checked by their shapes alone."""

from collections.abc import Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

PerLayer = float | Sequence[float] | Float[Array, " layers"] | Float[np.ndarray, " layers"]
"""One number for all layers, or one for each, from the input's to the output's."""


def known(array: Any) -> bool:
    """Whether an array's values are at hand."""
    return not isinstance(array, jax.core.Tracer)


def _now(compute, array: Any) -> Any:
    """A number from known values, inside a trace too; in the host's memory nothing is compiled for it."""
    if not isinstance(array, jax.Array) or all(device.platform == "cpu" for device in array.devices()):
        return compute(np, np.asarray(array)).item()
    with jax.ensure_compile_time_eval():
        return compute(jnp, array).item()


def finite(name: str, array: Any) -> None:
    """Refuse NaN and infinity."""
    if known(array) and not _now(lambda xp, a: xp.isfinite(a).all(), array):
        raise ValueError(f"{name} must be finite, but some of its values are NaN or infinite")


def points(x: Any, z: Any = None) -> None:
    """Refuse points that are not a matrix each, of the same dimension and finite."""
    for name, value in (("x", x), ("z", z)):
        if value is None:
            continue
        if getattr(value, "ndim", 0) != 2 or 0 in value.shape:
            shape = getattr(value, "shape", type(value).__name__)
            raise ValueError(f"{name} must have shape (points, dim) and not be empty, got {shape}")
        finite(name, value)
    if z is not None and x.shape[1] != z.shape[1]:
        raise ValueError(f"x and z must have the same dimension, got {x.shape[1]} and {z.shape[1]}")


def shaped(name: str, array: Any, *dims: int | str) -> None:
    """Refuse an array of another shape; a word stands for any size, and "..." at the end for more of them."""
    shape = getattr(array, "shape", None)
    fixed, more = (dims[:-1], True) if dims and dims[-1] == "..." else (dims, False)
    fits = shape is not None and (len(shape) >= len(fixed) if more else len(shape) == len(fixed))
    if not fits or any(isinstance(d, int) and d != s for d, s in zip(fixed, shape, strict=False)):
        wanted = ", ".join(map(str, dims)) + ("," if len(dims) == 1 else "")
        raise ValueError(
            f"{name} must have shape ({wanted}), got {type(array).__name__ if shape is None else shape}"
        )


def number(
    name: str, value: Any, *, low: int | float | None = None, above: int | float | None = None
) -> None:
    """Refuse what is no real scalar, is not finite, or below `low`, or not above `above`."""
    if np.ndim(value):
        raise ValueError(f"{name} must be one number, got {value!r}")
    if not known(value):
        return
    kind = np.asarray(value).dtype
    if not jnp.issubdtype(kind, jnp.floating) and not jnp.issubdtype(kind, jnp.integer):
        raise ValueError(f"{name} must be a number, got {value!r}")
    single = float(value)
    bound = f"above {above:g}" if above is not None else "" if low is None else f"at least {low:g}"
    inside = (low is None or single >= low) and (above is None or single > above)
    if not (np.isfinite(single) and inside):
        raise ValueError(f"{name} must be finite{' and ' * bool(bound)}{bound}, got {value}")


def per_layer(name: str, value: Any, layers: int) -> tuple[Any, ...]:
    """One non-negative number for each of so many layers, of one for all or a sequence of them.

    Raises: ValueError: a sequence of another length, or what is no such number.
    """
    several = isinstance(value, Sequence) or getattr(value, "ndim", 0) == 1
    values = tuple(value) if several and not isinstance(value, str) else (value,) * layers
    if len(values) != layers:
        raise ValueError(f"{name} must be one number or one for each of {layers} layers, got {len(values)}")
    for single in values:
        number(name, single, low=0)
    return tuple(1.0 * single for single in values)


def one_of(name: str, value: Any, choices: Any) -> None:
    """Refuse a word that is none of a `Literal`'s."""
    if value not in get_args(choices):
        raise ValueError(f"{name} must be one of {', '.join(get_args(choices))}, got {value!r}")


def labels(values: Any, points: int, outputs: int) -> None:
    """Refuse labels that are not one a point: -1 and +1 for one output, class numbers for several."""
    shaped("labels", values, points)
    if not known(values):
        return
    if outputs == 1 and not _now(lambda xp, a: (abs(a) == 1).all(), values):
        raise ValueError("labels of a single output must be -1 or +1")

    def fit(xp, a):
        return ((a >= 0) & (a < outputs) & (a % 1 == 0)).all()

    if outputs > 1 and not _now(fit, values):
        raise ValueError(f"labels must be class numbers from 0 to {outputs - 1}")


def whole(name: str, value: Any, low: int) -> None:
    """Refuse what is not an integer of at least `low`."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise ValueError(f"{name} must be an integer of at least {low}, got {value!r}")


def gram(matrix: Any) -> None:
    """Refuse what is not square, finite and symmetric up to round-off."""
    if getattr(matrix, "ndim", 0) != 2 or matrix.shape[0] != matrix.shape[1] or 0 in matrix.shape:
        raise ValueError(f"a Gram matrix must be square, got shape {getattr(matrix, 'shape', None)}")
    if not known(matrix):
        return
    finite("the Gram matrix", matrix)
    off, size = _now(lambda xp, a: abs(a - a.T).max(), matrix), _now(lambda xp, a: abs(a).max(), matrix)
    if off > 100 * float(jnp.finfo(matrix.dtype).eps) * size:
        raise ValueError(
            f"a Gram matrix must be symmetric, but entries differ from their mirror images by up to {off:.3g}"
        )


def spectrum(values: Any) -> None:
    """Refuse eigenvalues of which one is negative beyond round-off."""
    if not known(values):
        return
    low, high = _now(lambda xp, a: a.min(), values), _now(lambda xp, a: abs(a).max(), values)
    if low < -10 * len(values) * float(jnp.finfo(values.dtype).eps) * high:
        raise ValueError(
            f"a Gram matrix must be positive semi-definite, but its smallest eigenvalue is {low:.3g} "
            f"and its largest {high:.3g}"
        )
