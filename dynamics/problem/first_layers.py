r"""What observables ask of a first layer, whether its weights are at hand or only their inner products.

Under gradient descent the first layer stays in the span of its start and the training inputs,
$W = W_0 + C X$. A run may therefore be carried as the coefficients $C$ and the products $W X^\top$ alone
(`SpanParams`); every inner product with weights, features and test points then follows from Gram
matrices, whose size does not depend on the input dimension. The functions here take either form.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from dynamics.data.sample import Draw, stated
from dynamics.descent.norms import exponent, lengths, shifted
from dynamics.parts import part
from dynamics.problem import parameters

Points = Literal["train", "test"]


@part
class Gram:
    """Inner products of a run's data, all seeds' own or shared.

    Attributes:
      draw: the data themselves, to rebuild weights from; None while only the products are handed on.
      exponent: e, of the largest training input's size $2^e$; all inputs are divided by that in products,
        here and in `Start`.
      feature_exponent: the same of each feature, which is divided by it.
      train: between training inputs; `rows` counts samples, or patches of samples.
      test: of training with test inputs; None if nothing asks for it on the way.
      features: of training inputs with features.
      feature_gram: between features.
    """

    draw: Draw | None
    exponent: Int[Array, ""]
    feature_exponent: Int[Array, " features"]
    train: Float[Array, "rows rows"]
    test: Float[Array, "rows test_rows"] | None
    features: Float[Array, "rows features"]
    feature_gram: Float[Array, "features features"]


@part
class Start:
    """Inner products of a run's initial weights.

    Attributes:
      W: the initial weights.
      exponent: of each neuron, as those in `Gram`; `weights` alone is in these units.
      train, test, features: with training inputs, test inputs (None as in `Gram`) and features.
      weights: between themselves.
    """

    W: Float[Array, "neurons dim"]
    exponent: Int[Array, " neurons"]
    train: Float[Array, "neurons rows"]
    test: Float[Array, "neurons test_rows"] | None
    features: Float[Array, "neurons features"]
    weights: Float[Array, "neurons neurons"]


@dataclass(frozen=True)
class SpanParams(Mapping):
    r"""Parameters whose first layer is $W_0 + C X$; as a mapping it is the plain parameters, "W" rebuilt.

    Not a pytree on purpose: a function of all leaves would silently see C in the place of W.

    Attributes:
      coefficients: C, for X in the units of `gram`.
      train: $W X^\top$, without biases, in the units of `gram`.
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
            return self.start.W + self.coefficients @ shifted(
                flat(self.gram.draw.train.x), -self.gram.exponent
            )
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


def first_layer(params: PyTree) -> Float[Array, "neurons dim"]:
    """The first layer's weights, a row a neuron.

    Raises: ValueError: the parameters have none by the name of W.
    """
    if not isinstance(params, Mapping) or "W" not in params:
        found = ", ".join(parameters.by_path(params))
        found = f"; here they are {found}" if found else ""
        raise ValueError(
            f"what is said of neurons needs a first layer `W` (neurons, dim) among the parameters{found}: "
            'say which by .given(weights="Dense_0/kernel") where an observable takes it, or name it so in a '
            "network of your own"
        )
    return params["W"]


def at(params: PyTree, weights: str | None) -> PyTree:
    """Parameters whose first layer is the one at a path, such as `Dense_0/kernel`; None: as they are.

    A path that ends in `kernel` is laid out as flax does, (inputs, neurons), and transposed; any other has a
    row a neuron, as `W`. A `bias` or `b` beside it is taken along.

    Raises: ValueError: a path that is no parameter, or a parameter that is no matrix, as of a convolution.
    """
    if weights is None or (weights == "W" and isinstance(params, Mapping) and "W" in params):
        return params
    found = parameters.by_path(plain(params))
    if weights not in found:
        raise ValueError(f"weights={weights!r} is no parameter: there are {', '.join(found)}")
    matrix, (*above, name) = found[weights], weights.split("/")
    if jnp.ndim(matrix) != 2:
        raise ValueError(
            f"weights={weights!r} has shape {jnp.shape(matrix)}: a first layer is a matrix, each of whose "
            "neurons sees a whole input, which the kernel of a convolution is not"
        )
    beside = (found.get("/".join([*above, bias])) for bias in ("bias", "b"))
    biases = [{"b": leaf} for leaf in beside if leaf is not None and jnp.ndim(leaf) == 1]
    return {"W": matrix.T if name == "kernel" else matrix, **(biases[0] if biases else {})}


def inner_products(params: PyTree, draw: Draw, points: Points) -> Float[Array, "*shape neurons"]:
    r"""$\langle w_r, x\rangle$ at the training or test inputs."""
    return _pre_activations(params, draw, points, 0)


def pre_activations(params: PyTree, draw: Draw, points: Points) -> Float[Array, "*shape neurons"]:
    r"""$\langle w_r, x\rangle + b_r$ at the training or test inputs."""
    return _pre_activations(params, draw, points, params.get("b", 0))


def _pre_activations(params, draw, points, b):
    x = getattr(draw, points).x
    if not isinstance(params, SpanParams):
        return x @ first_layer(params).T + jnp.reshape(b, (1,) * (x.ndim - 1) + (-1,))
    z = params.train
    if points == "test":
        z = params.start.test + params.coefficients @ params.gram.test
    z = z * shifted(jnp.ones((), z.dtype), params.gram.exponent) + jnp.reshape(b, (-1, 1))
    return jnp.moveaxis(z.reshape(-1, *x.shape[:-1]), 0, -1)


def projections(params: PyTree, draw: Draw) -> Float[Array, "neurons features"]:
    r"""$\langle w_r, \mu_j\rangle$.

    Raises: ValueError: a layer that does not see the inputs.
    """
    if isinstance(params, SpanParams):
        inner = params.start.features + params.coefficients @ params.gram.features
        return shifted(inner, params.gram.feature_exponent[None])
    W, features = first_layer(params), stated(draw, "features")
    if W.shape[1] != features.shape[1]:
        raise ValueError(
            f"the layer has neurons of {W.shape[1]} weights, but features have {features.shape[1]} entries: "
            "only a layer that sees the inputs is compared with them"
        )
    return W @ features.T


def weight_gram(params: PyTree) -> Float[Array, "neurons neurons"]:
    r"""$\langle w_r, w_s\rangle$."""
    if not isinstance(params, SpanParams):
        return first_layer(params) @ first_layer(params).T
    # W0 W0' + W0 X'C' + C X W'; the last two are symmetric together up to rounding
    product = shifted(params.start.weights, params.start.exponent[:, None] + params.start.exponent[None])
    product = product + params.start.train @ params.coefficients.T
    product = product + params.coefficients @ params.train.T
    return (product + product.T) / 2


def norms(params: PyTree) -> Float[Array, " neurons"]:
    r"""$\|w_r\|_2$."""
    if not isinstance(params, SpanParams):
        return lengths(first_layer(params))
    size = _exponents(params)
    unit = _with_first_layer(params, -size)
    squares = shifted(unit.start.weights.diagonal(), 2 * unit.start.exponent)
    squares = squares + jnp.sum(unit.coefficients * (unit.start.train + unit.train), axis=1)
    return shifted(jnp.sqrt(jnp.maximum(squares, 0)), size)


def feature_gram(params: PyTree, draw: Draw) -> Float[Array, "features features"]:
    r"""$\langle \mu_i, \mu_j\rangle$."""
    if isinstance(params, SpanParams):
        size = params.gram.feature_exponent
        return shifted(params.gram.feature_gram, size[:, None] + size[None])
    return stated(draw, "features") @ stated(draw, "features").T


def in_units(
    params: PyTree, draw: Draw, alike: bool = False
) -> tuple[PyTree, Draw, Int[Array, " neurons"], Int[Array, " features"]]:
    """Every neuron's weights and every feature divided by a power of two near its own size.

    What does not depend on lengths is measured on these, whose squares are ordinary numbers.

    Args:
      alike: divide all features by one number, where they are added up.

    Returns: parameters, data, and the exponents of neurons and features.
    """
    neurons, features = _exponents(params), exponent(stated(draw, "features"), axis=1)
    features = jnp.full_like(features, jnp.max(features)) if alike else features
    draw = dataclasses.replace(draw, features=shifted(stated(draw, "features"), -features[:, None]))
    params = _with_first_layer(params, -neurons)
    if isinstance(params, SpanParams):
        left = params.gram.feature_exponent - features
        gram = dataclasses.replace(params.gram, draw=draw, feature_exponent=left)
        params = dataclasses.replace(params, gram=gram)
    return params, draw, neurons, features


def in_one_unit(params: PyTree, of: Literal["all", "first"] = "all") -> PyTree:
    """All parameters divided by one power of two, near the size of all of them or of the first layer."""
    is_span = isinstance(params, SpanParams)
    found = [jnp.max(_exponents(params))] if is_span or of == "first" else []
    if of == "all":
        found += [exponent(leaf) for leaf in jax.tree.leaves(params.others if is_span else params)]
    by = -jnp.max(jnp.stack(found))
    if not is_span:
        return jax.tree.map(lambda leaf: shifted(leaf, by), params)
    params = _with_first_layer(params, jnp.broadcast_to(by, params.start.exponent.shape))
    others = jax.tree.map(lambda leaf: shifted(leaf, by), params.others)
    return dataclasses.replace(params, others=others)


def _exponents(params):
    """A power of two near the size of each neuron's weights."""
    if isinstance(params, SpanParams):
        return jnp.maximum(params.start.exponent, exponent(params.coefficients, axis=1))
    return exponent(first_layer(params), axis=1)


def _with_first_layer(params, by):
    """The first layer's rows times powers of two; biases stay as they are."""
    rows = by[:, None]
    if not isinstance(params, SpanParams):
        return {**params, "W": shifted(first_layer(params), rows)}
    start = params.start
    start = dataclasses.replace(
        start,
        W=shifted(start.W, rows),
        exponent=start.exponent + by,
        train=shifted(start.train, rows),
        test=None if start.test is None else shifted(start.test, rows),
        features=shifted(start.features, rows),
    )
    moved = {"coefficients": shifted(params.coefficients, rows), "train": shifted(params.train, rows)}
    return dataclasses.replace(params, start=start, **moved)


def num_neurons(params: PyTree) -> int:
    """Number of neurons of the first layer."""
    return params.coefficients.shape[0] if isinstance(params, SpanParams) else first_layer(params).shape[0]


def float_type(params: PyTree) -> jnp.dtype:
    """Floating type of the first layer."""
    return (params.coefficients if isinstance(params, SpanParams) else first_layer(params)).dtype


def residual_norms(
    params: PyTree, draw: Draw, coefficients: Float[Array, "neurons features"]
) -> Float[Array, " neurons"]:
    r"""$\|w_r - \sum_j c_{rj} \mu_j\|$, of weights and features as `in_units` gives them.

    From Gram matrices it is a difference of squares: good to the square root of the rounding error
    relative to $\|w_r\|$.
    """
    if not isinstance(params, SpanParams):
        return lengths(params["W"] - coefficients @ stated(draw, "features"))
    inner = projections(params, draw)
    squares = jnp.square(norms(params)) - 2 * jnp.sum(coefficients * inner, axis=1)
    squares = squares + jnp.sum((coefficients @ feature_gram(params, draw)) * coefficients, axis=1)
    return jnp.sqrt(jnp.maximum(squares, 0))
