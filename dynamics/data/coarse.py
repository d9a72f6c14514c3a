"""Any data distribution with its binary labels as its only classes."""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from dynamics.data import box as boxes
from dynamics.data.sample import Draw
from dynamics.parts import as_one, part


@part
class BinaryClasses:
    """`source` with class 0 for label +1 and class 1 for label -1: what finer labels add is taken away.

    Of data made of patches, a class no longer says which feature a patch carries: `carried` is None.

    Attributes:
      source: a part with `sample(key) -> Draw`.
    """

    source: Any

    @property
    def class_signs(self) -> tuple[int, int]:
        """Binary label of each class."""
        return (1, -1)

    @property
    def box(self) -> boxes.Box:
        """The source's box."""
        return boxes.of(self.source)

    @as_one
    def sample(self, key: Key[Array, ""], step: int | Int[Array, ""] | None = None) -> Draw:
        """The source's draw, or its training samples of one step, relabelled."""

        def classes(signs):
            return (signs < 0).astype(jnp.int32)

        draw = self.source.sample(key) if step is None else self.source.sample(key, step)
        train, test = (dataclasses.replace(s, target=classes(s.y)) for s in (draw.train, draw.test))
        return Draw(
            train,
            test,
            draw.features,
            draw.feature_signs,
            jnp.asarray(self.class_signs, draw.features.dtype),
            classes(draw.feature_signs),
            feature_families=draw.feature_families,
        )
