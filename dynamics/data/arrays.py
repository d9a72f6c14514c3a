"""Data of one's own, from arrays: the same in every seed, or a data set for each."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, Num

from dynamics.data.made import Made
from dynamics.data.sample import Draw, Sample
from dynamics.parts import as_one, part

Numbers = Num[Array | np.ndarray, "..."] | None


@part
class Arrays:
    """The same samples in every seed; `from_arrays` makes it, and says what the arrays are."""

    x: Numbers
    y: Numbers
    target: Numbers
    x_test: Numbers
    y_test: Numbers
    target_test: Numbers
    features: Numbers = None
    feature_signs: Numbers = None
    class_signs: Numbers = None

    @as_one
    def sample(self, key: Key[Array, ""]) -> Draw:
        """The samples."""
        del key

        def numbers(value):
            return None if value is None else jnp.asarray(value, float)

        def classes(value):
            return None if value is None else jnp.asarray(value, int)

        train = Sample(numbers(self.x), numbers(self.y), classes(self.target))
        test = Sample(numbers(self.x_test), numbers(self.y_test), classes(self.target_test))
        return Draw(train, test, *map(numbers, (self.features, self.feature_signs, self.class_signs)))


def from_arrays(
    x: Any,
    y: Any,
    x_test: Any = None,
    y_test: Any = None,
    *,
    features: Any = None,
    feature_signs: Any = None,
    class_signs: Any = None,
    seeds: Sequence[int] | None = None,
) -> Arrays | Made:
    """Data for `Problem`, from inputs and what the outputs are compared with.

    Numbers -1 and +1 are binary labels; other integers are classes, counted from 0 (0 and 1 are both: classes
    of two outputs, and the signs -1 and +1 of one); other floating-point numbers are targets of a regression,
    of the shape of the network's outputs.

    Args:
      x, y: training samples, along the first axis of both.
      x_test, y_test: test samples; None: the training samples.
      features: directions (features, dim) that neurons may align with.
      feature_signs: the binary label -1 or +1 of each.
      class_signs: the binary label -1 or +1 of each class, which binary accuracies and margins are of; None:
        -1 of the first half of them.
      seeds: if every array has one more leading axis, a data set for each of these seeds.

    Raises: ValueError: arrays that do not fit each other, or numbers that are not finite; classes below 0.
    """
    if (x_test is None) != (y_test is None):
        raise ValueError("x_test and y_test must be given together, or neither")
    lead = 0 if seeds is None else 1
    train = _samples("x", x, "y", y, lead)
    test = train if x_test is None else _samples("x_test", x_test, "y_test", y_test, lead)
    if train[0].shape[lead + 1 :] != test[0].shape[lead + 1 :]:
        raise ValueError(f"x and x_test must have inputs of one shape, got {train[0].shape}, {test[0].shape}")
    more = {"features": features, "feature_signs": feature_signs}
    more = {name: _finite(name, np.asarray(v, float)) for name, v in more.items() if v is not None}
    if "features" in more and more["features"].shape[-1:] != train[0].shape[-1:]:
        shapes = f"{more['features'].shape} for x of {train[0].shape}"
        raise ValueError(f"features must have as many entries as inputs in their last axis, got {shapes}")
    if train[2] is not None and test[2] is not None:
        count = int(max(train[2].max(), test[2].max())) + 1
        half = np.where(np.arange(count) < (count + 1) // 2, -1.0, 1.0)
        signs = half if class_signs is None else np.asarray(class_signs, float)
        if len(signs) < count or not set(signs.tolist()) <= {-1, 1}:
            raise ValueError(
                f"class_signs must be -1 or +1 for each of the {count} classes, got {class_signs}"
            )
        more["class_signs"] = signs if seeds is None else np.tile(signs, (len(seeds), 1))
    if seeds is None:
        return Arrays(*train, *test, **more)
    for name, value in {"x": train[0], "x_test": test[0], **more}.items():
        if len(value) != len(seeds):
            raise ValueError(f"{name} must hold one data set a seed: {len(seeds)} of them, got {len(value)}")
    return Made(Arrays(*train, *test, **more), np.asarray(seeds, np.uint32))


def _samples(name, x, label, y, lead):
    """Inputs, what an output is compared with, and classes."""
    x, y = _finite(name, _numbers(name, x)), _finite(label, _numbers(label, y))
    x, y = x.astype(float), y.astype(int) if y.dtype == bool else y
    if x.ndim < lead + 2 or y.shape[: lead + 1] != x.shape[: lead + 1] or not x.size:
        wanted = "seeds, samples, dim" if lead else "samples, dim"
        shapes = f"{x.shape} and {y.shape}"
        raise ValueError(f"{name} must have shape ({wanted}) with a row of {label} a sample, got {shapes}")
    values = set(np.unique(y).tolist()) if y.ndim == lead + 1 else set()
    if y.dtype.kind not in "iu" or (values and values <= {-1, 1}):
        return x, y.astype(float), None
    if y.min() < 0 or y.ndim != lead + 1:
        way = "; leave out its last axis, as by y[..., 0]" if y.ndim == lead + 2 and y.shape[-1] == 1 else ""
        got = f"integers from {y.min()} to {y.max()} of shape {y.shape}"
        raise ValueError(
            f"{label} must be -1 and +1, classes counted from 0, or floating-point targets, got {got}{way}"
        )
    return x, 2.0 * y - 1 if values <= {0, 1} else None, y


def _numbers(name, value):
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must be numbers, got an array of {array.dtype}; classes are counted from 0")
    return array


def _finite(name, array):
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, but some of its values are NaN or infinite")
    return array
