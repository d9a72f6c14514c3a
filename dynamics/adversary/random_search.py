"""An attack that asks for values alone: random coordinates to the ends of the cube, kept where that helps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, PRNGKeyArray, ScalarLike

from dynamics.adversary import ball
from dynamics.adversary.attacks import better, start_best
from dynamics.adversary.ball import Arrays, Box, Radius
from dynamics.data import box as boxes
from dynamics.data.sample import Draw, Sample
from dynamics.parts import Axis, known, part, static


def random_search(
    key: PRNGKeyArray,
    objective: Callable[[Array], Array],
    x: Num[Arrays, "samples *shape"],
    radius: Radius,
    *,
    trials: int = 200,
    share: ScalarLike = 0.3,
    box: Box = None,
) -> Float[Array, "samples *shape"]:
    r"""The best point of a random search in the linf ball; needs no gradient.

    Trial i = 0, 1, ... sets each coordinate with probability `share` (1 - i / trials), and one at least, to
    $x \pm r$ with a random sign, and leaves the others where the best point so far has them. A box cuts the
    result off; NaN is never the best.

    Args:
      key: for coordinates and signs; every sample has its own.
      objective: maps inputs to one number per sample, to be increased.
      radius: of the ball around each input.
      trials: static.

    Raises: ValueError: `trials` below 1, a share outside (0, 1], a bad box or radius.
    Reference: in the manner of Andriushchenko et al. 2020, arXiv:1912.00049, without its squares.
    """
    _check(radius, trials, share, box)
    x = ball.inputs(x)
    ball.check_radius(radius, samples=len(x))
    size = max(int(np.prod(x.shape[1:])), 1)
    reach = ball.column(radius, x)

    def attempt(best, numbered):
        number, key = numbered
        where, which, signs = jax.random.split(key, 3)
        chosen = jax.random.uniform(where, (len(x), size)) < share * (1 - number / trials)
        chosen |= jnp.arange(size)[None] == jax.random.randint(which, (len(x), 1), 0, size)
        ends = ball.place(x, reach * jax.random.rademacher(signs, x.shape, x.dtype), box)
        point = jnp.where(chosen.reshape(x.shape), ends, best[1])
        return better(best, objective(point), point), None

    numbered = (jnp.arange(trials), jax.random.split(key, trials))
    (_, point), _ = jax.lax.scan(attempt, start_best(objective, x), numbered)
    return point


def _check(radius, trials, share, box):
    ball.check_radius(radius)
    boxes.check(box)
    if isinstance(trials, bool) or not isinstance(trials, int | np.integer) or trials < 1:
        raise ValueError(f"trials must be an integer of at least 1, got {trials!r}")
    values = known(share)
    if values is not None and not ((values > 0) & (values <= 1)).all():
        raise ValueError(f"share must lie above 0 and at most at 1, got {share}")


@part
class RandomSearch:
    """The attack `random_search`, for training and for observables.

    Attributes:
      radius: of the linf ball around each input, one number or one per sample.
      trials: how many points are tried.
      share: of the coordinates that the first trial sets.
      box: (low, high) of every coordinate, or None.

    Raises: ValueError: as `random_search`.
    """

    radius: Radius | Axis
    trials: int = static(200)
    share: ScalarLike | Axis = 0.3
    box: Box = static(None)

    def __post_init__(self):
        _check(self.radius, self.trials, self.share, self.box)

    @property
    def norm(self) -> str:
        """The norm of the ball that inputs stay in."""
        return "linf"

    def perturb(
        self, key: PRNGKeyArray, objective: Callable[[Array], Array], sample: Sample, draw: Draw
    ) -> Float[Array, "samples *shape"]:
        """The best inputs found for `objective`."""
        chosen = {"trials": self.trials, "share": self.share, "box": self.box}
        return random_search(key, objective, sample.x, self.radius, **chosen)
