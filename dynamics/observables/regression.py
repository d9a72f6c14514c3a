"""What regression with a kernel gets wrong, by the number of samples; networks' weights play no part."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dynamics import linalg
from dynamics.observables.base import observable


@observable(("size",), about="mean squared test error", random=True)
def regression_error(
    params, problem, draw, key, kernel, size, jitter=0.0, ridge=0.0, draws=0
) -> Float[Array, " sizes"]:
    """Of kernel regression on the first `size` training samples.

    Args:
      jitter: added to the Gram matrix's diagonal.
      ridge: so too, in units of its mean.
      draws: so many fresh draws, over which the mean is taken; 0: the run's own.
    """
    del params

    def errors(draw):
        x, y = draw.train.x, draw.train.y
        gram, cross = kernel(x, x), kernel(draw.test.x, x)
        found = []
        for count in size:
            own = gram[:count, :count]
            alpha = _solve(own, y[:count], jitter + ridge * jnp.trace(own) / count)
            found.append(jnp.mean((cross[:, :count] @ alpha - draw.test.y) ** 2))
        return jnp.stack(found)

    if not draws:
        return errors(draw)
    return jnp.mean(jax.lax.map(lambda k: errors(problem.sample(k)), jax.random.split(key, draws)), axis=0)


@observable(("test_point",), about="ridgeless predictor")
def ridgeless(params, problem, draw, kernel) -> Float[Array, " points"]:
    """The predictor at the test points."""
    del params, problem
    alpha = _solve(kernel(draw.train.x, draw.train.x), draw.train.y, 0.0)
    return kernel(draw.test.x, draw.train.x) @ alpha


def _solve(gram, right, jitter):
    return linalg.solve(gram + jitter * jnp.eye(len(gram), dtype=gram.dtype), right[:, None])[:, 0]
