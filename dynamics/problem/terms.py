r"""Terms that are added to the loss: `Problem(..., terms=(Ridge(1e-3), Loss("squared", 0.1)))`.

A term is a function (params, problem, sample, draw) that gives one number, differentiated with the loss:
`sample` are the samples of a step, at the inputs that an adversary moved if there is one. A function of one's
own has its numbers traced by `parts.bind`. `problem.apply` in it is the network as the step trains it.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from dynamics.data.sample import Draw, Sample
from dynamics.parts import part, static
from dynamics.problem import losses, parameters


@part
class Ridge:
    r"""$\tfrac{\lambda}{2} \|\theta\|_2^2$ of the parameters; its gradient is $\lambda \theta$.

    Attributes:
      strength: $\lambda$.
      only: names or paths of the parameters; None: all.
    """

    strength: Any
    only: tuple[str, ...] | None = static(None)

    def __call__(self, params: PyTree, problem: Any, sample: Sample, draw: Draw) -> Float[Array, ""]:
        """The term.

        Raises: ValueError: a name that is no parameter.
        """
        del problem, sample, draw
        leaves, chosen = parameters.by_path(params), parameters.named(params, self.only)
        return 0.5 * self.strength * sum(jnp.sum(jnp.square(leaves[path])) for path in sorted(chosen))


@part
class Loss:
    """Another loss of the same outputs, reduced over the samples as that of the problem.

    Attributes:
      loss: a name in `problem.losses`, or a function (outputs, sample) that gives each sample's.
      coefficient: what it is multiplied by.
    """

    loss: losses.Loss
    coefficient: Any = 1.0

    def __post_init__(self):
        if not callable(self.loss) and self.loss not in losses.LOSSES:
            raise ValueError(
                f"loss must be one of {', '.join(losses.LOSSES)}, or a function, got {self.loss!r}"
            )

    def __call__(self, params: PyTree, problem: Any, sample: Sample, draw: Draw) -> Float[Array, ""]:
        """The term."""
        del draw
        values = losses.evaluate(self.loss, problem.apply(params, sample.x), sample)
        return self.coefficient * problem.total(values, weights=sample.weights)
