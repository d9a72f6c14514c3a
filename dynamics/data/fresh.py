"""Any data distribution with its training samples drawn anew at every step: descent on a stream of data."""

import inspect
from typing import Any

from jaxtyping import Array, Int, Key

from dynamics.data import box as boxes
from dynamics.data.sample import Draw, Sample
from dynamics.parts import part


@part
class Fresh:
    """`source` whose training samples are drawn anew at every step; each step takes all of them.

    Features and test samples stay those of the seed. So do the draw's own training samples, which no step
    looks at: what observables say of them is said of unseen data of the same distribution.

    A part of one's own streams without this one if it has a method `batch` as here.

    Attributes:
      source: a part with `sample(key, step=None) -> Draw`, whose training samples follow from seed and step
        (`keys.at_step`), and all else from the seed alone; their number is the batch size.
    Raises: TypeError: a source whose `sample` takes no step.
    """

    source: Any

    def __post_init__(self):
        sample = getattr(self.source, "sample", None)
        if sample is None or "step" not in inspect.signature(sample).parameters:
            kind = type(self.source).__name__
            raise TypeError(
                f"source of Fresh must have a method sample(key, step), by which samples differ from step to "
                f"step, and {kind} has none"
            )

    @property
    def box(self) -> boxes.Box:
        """The source's box."""
        return boxes.of(self.source)

    def sample(self, key: Key[Array, ""]) -> Draw:
        """One seed's features, test samples and samples that are not trained on."""
        return self.source.sample(key)

    def batch(self, key: Key[Array, ""], step: int | Int[Array, ""]) -> Sample:
        """The training samples of one step of the seed whose data key this is."""
        return self.source.sample(key, step).train
