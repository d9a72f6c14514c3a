r"""Signs whose product is the label, and one small coordinate that gives it away."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from dynamics.data.sample import Draw, Sample
from dynamics.keys import at_step, named_key
from dynamics.parts import as_one, is_number, part, static
from dynamics.words import quoted


@part
class Parity:
    r"""$x = (a y, \xi_2, .., \xi_D)$ with $\xi_k = \pm 1$ uniform and $y = \prod_k \xi_k$.

    The first coordinate alone is a linear classifier without error, but a change of $a$ in it is enough to
    turn it; the parity of the signs withstands every change below 1. Inputs of distinct signs differ by 2 in
    some coordinate. The only feature is the first axis; class 0 has label +1 and class 1 label -1.

    Attributes:
      dim: D, at least 2.
      num_samples, num_test: training and test samples.
      signal: a.
    Raises: ValueError: a value out of range.
    """

    dim: int = static()
    num_samples: int = static()
    num_test: int = static(1000)
    signal: Any = 0.1

    def __post_init__(self):
        for name, low in (("dim", 2), ("num_samples", 1), ("num_test", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
                raise ValueError(f"{name} must be an integer of at least {low}, got {quoted(value)}")
        if is_number(self.signal) and not np.all(np.isfinite(self.signal) & (np.asarray(self.signal) > 0)):
            raise ValueError(f"signal must be finite and positive, got {self.signal!r}")

    @property
    def class_signs(self) -> tuple[int, ...]:
        """Binary label of each class."""
        return (1, -1)

    @as_one
    def sample(self, key: Key[Array, ""], step: int | Int[Array, ""] | None = None) -> Draw:
        """Training samples (of one step, if given) and test samples, drawn with replacement."""
        dtype = jnp.result_type(float)

        def points(key, name, count):
            xi = jax.random.rademacher(named_key(key, name), (count, self.dim - 1), dtype)
            y = jnp.prod(xi, axis=1)
            x = jnp.concatenate([jnp.asarray(self.signal, dtype) * y[:, None], xi], axis=1)
            target = (y < 0).astype(jnp.result_type(int))
            return Sample(x, y, target, jnp.zeros_like(target))

        signs = jnp.asarray(self.class_signs, dtype)
        train, test = (
            points(at_step(key, step), "train", self.num_samples),
            points(key, "test", self.num_test),
        )
        feature = jnp.eye(1, self.dim, dtype=dtype)
        return Draw(train, test, feature, signs[:1], signs, jnp.zeros(1, train.target.dtype))
