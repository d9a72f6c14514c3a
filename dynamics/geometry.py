r"""What observables ask of a first layer, whether its weights are at hand or only their inner products.

Under gradient descent the first layer stays in the span of its start and the training inputs,
$W = W_0 + C X$. A run may therefore be carried as the coefficients $C$ and the products $W X^\top$ alone
(`SpanParams`); every inner product with weights, features and test points then follows from Gram
matrices, whose size does not depend on the input dimension. The functions here take either form.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from dynamics.data.sample import Draw
from dynamics.parts import part

Points = Literal["train", "test"]


@part
class Gram:
    """Inner products of a run's data, all seeds' own or shared.

    Attributes:
      draw: the data themselves, to rebuild weights from; None while only the products are handed on.
      train: between training inputs; `rows` counts samples, or patches of samples.
      test: of training with test inputs; None if nothing asks for it on the way.
      features: of training inputs with features.
      feature_gram: between features.
    """

    draw: Draw | None
    train: Float[Array, "rows rows"]
    test: Float[Array, "rows test_rows"] | None
    features: Float[Array, "rows features"]
    feature_gram: Float[Array, "features features"]


@part
class Start:
    """Inner products of a run's initial weights.

    Attributes:
      W: the initial weights.
      train, test, features: with training inputs, test inputs (None as in `Gram`) and features.
      weights: between themselves.
    """

    W: Float[Array, "neurons dim"]
    train: Float[Array, "neurons rows"]
    test: Float[Array, "neurons test_rows"] | None
    features: Float[Array, "neurons features"]
    weights: Float[Array, "neurons neurons"]


@dataclass(frozen=True)
class SpanParams(Mapping):
    r"""Parameters whose first layer is $W_0 + C X$; as a mapping it is the plain parameters, "W" rebuilt.

    Not a pytree on purpose: a function of all leaves would silently see C in the place of W.

    Attributes:
      coefficients: C.
      train: $W X^\top$, without biases.
      others: the parameters other than W.
      start, gram: what does not change while training.
    """

    coefficients: Float[Array, "neurons rows"]
    train: Float[Array, "neurons rows"]
    others: dict[str, Any]
    start: Start
    gram: Gram

    def __getitem__(self, name: str) -> Any:
        if name == "W":
            return self.start.W + self.coefficients @ flat(self.gram.draw.train.x)
        return self.others[name]

    def __iter__(self) -> Iterator[str]:
        return iter(["W", *self.others])

    def __len__(self) -> int:
        return 1 + len(self.others)

    def plain(self) -> dict[str, Any]:
        """The parameters as a model takes them; costs one product with the training inputs."""
        return {"W": self["W"], **self.others}


def flat(x: Float[Array, "*shape dim"]) -> Float[Array, "rows dim"]:
    """Inputs as rows: samples, or every patch of every sample."""
    return x.reshape(-1, x.shape[-1])


def plain(params: PyTree) -> PyTree:
    """Parameters as a model takes them, whatever form they are carried in."""
    return params.plain() if isinstance(params, SpanParams) else params


def pre_activations(params: PyTree, draw: Draw, points: Points) -> Float[Array, "*shape neurons"]:
    r"""$\langle w_r, x\rangle + b_r$ at the training or test inputs."""
    x = getattr(draw, points).x
    if not isinstance(params, SpanParams):
        z = x @ params["W"].T
        return z + jnp.reshape(params["b"], (1,) * (z.ndim - 1) + (-1,)) if "b" in params else z
    z = params.train
    if points == "test":
        z = params.start.test + params.coefficients @ params.gram.test
    if "b" in params:
        z = z + params["b"][:, None]
    return jnp.moveaxis(z.reshape(-1, *x.shape[:-1]), 0, -1)


def projections(params: PyTree, draw: Draw) -> Float[Array, "neurons features"]:
    r"""$\langle w_r, \mu_j\rangle$."""
    if isinstance(params, SpanParams):
        return params.start.features + params.coefficients @ params.gram.features
    return params["W"] @ draw.features.T


def weight_gram(params: PyTree) -> Float[Array, "neurons neurons"]:
    r"""$\langle w_r, w_s\rangle$."""
    if not isinstance(params, SpanParams):
        return params["W"] @ params["W"].T
    # W0 W0' + W0 X'C' + C X W'; the last two are symmetric together up to rounding
    product = params.start.weights + params.start.train @ params.coefficients.T
    product = product + params.coefficients @ params.train.T
    return (product + product.T) / 2


def norms(params: PyTree) -> Float[Array, " neurons"]:
    r"""$\|w_r\|_2$."""
    if isinstance(params, SpanParams):
        squares = params.start.weights.diagonal() + jnp.sum(
            params.coefficients * (params.start.train + params.train), axis=1
        )
        return jnp.sqrt(jnp.maximum(squares, 0))
    return jnp.linalg.norm(params["W"], axis=1)


def feature_gram(params: PyTree, draw: Draw) -> Float[Array, "features features"]:
    r"""$\langle \mu_i, \mu_j\rangle$."""
    if isinstance(params, SpanParams):
        return params.gram.feature_gram
    return draw.features @ draw.features.T


def num_neurons(params: PyTree) -> int:
    """Number of neurons of the first layer."""
    return params.coefficients.shape[0] if isinstance(params, SpanParams) else params["W"].shape[0]


def float_type(params: PyTree) -> jnp.dtype:
    """Floating type of the first layer."""
    return (params.coefficients if isinstance(params, SpanParams) else params["W"]).dtype


def residual_norms(
    params: PyTree, draw: Draw, coefficients: Float[Array, "neurons features"]
) -> Float[Array, " neurons"]:
    r"""$\|w_r - \sum_j c_{rj} \mu_j\|$.

    From Gram matrices it is a difference of squares: good to the square root of the rounding error
    relative to $\|w_r\|$.
    """
    if not isinstance(params, SpanParams):
        return jnp.linalg.norm(params["W"] - coefficients @ draw.features, axis=1)
    inner = projections(params, draw)
    squares = jnp.square(norms(params)) - 2 * jnp.sum(coefficients * inner, axis=1)
    squares = squares + jnp.sum((coefficients @ feature_gram(params, draw)) * coefficients, axis=1)
    return jnp.sqrt(jnp.maximum(squares, 0))
