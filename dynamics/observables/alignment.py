"""How neurons point: alignment with features, decomposition in the feature basis, averaging.

`weights` names the first layer where it is not the parameter `W`, by its path: `Dense_0/kernel` of a flax
module, `hidden/kernel` of an nnx one. A path that ends in `kernel` is laid out as flax does, (inputs,
neurons), and transposed; any other has a row a neuron. A `bias` or `b` beside it is the neurons' bias. What
rests on the second layer too takes the one other matrix for that, laid out by the same rule.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from dynamics import linalg
from dynamics.data.sample import stated
from dynamics.descent.norms import shifted
from dynamics.models import two_layer
from dynamics.observables.base import observable
from dynamics.problem import first_layers, parameters

NEURON_FEATURE = ("neuron", "feature")


def cosines(
    inner: Float[Array, "neurons features"],
    weight_norms: Float[Array, " neurons"],
    feature_norms: Float[Array, " features"],
) -> Float[Array, "neurons features"]:
    r"""Entry $(r, j)$ is $\langle w_r, \mu_j\rangle / (\|w_r\| \|\mu_j\|)$, in $[-1, 1]$ up to round-off.

    A neuron or feature of norm zero has cosine 0, not NaN.
    """
    norms = jnp.outer(weight_norms, feature_norms)
    return jnp.where(norms > 0, inner / jnp.where(norms > 0, norms, 1), 0)


def decompose(
    inner: Float[Array, "neurons features"], feature_gram: Float[Array, "features features"]
) -> Float[Array, "neurons features"]:
    r"""Coefficients $c_{rj}$ of the least-squares decomposition $w_r \approx \sum_j c_{rj}\,\mu_j$.

    Exact for correlated features too, as long as they are linearly independent.
    """
    return linalg.solve(feature_gram, inner.T).T


def averages(
    inner: Float[Array, "neurons features"],
    feature_gram: Float[Array, "features features"],
    own: Bool[Array, "neurons features"],
) -> Float[Array, "neurons features"]:
    r"""Coefficients in the features of $\bar\lambda_r v_r$, the average that a neuron is compared with.

    $v_r$ sums $\mu_j / \|\mu_j\|^2$ over the neuron's own features and $\bar\lambda_r$ is the mean of
    $\langle w_r, \mu_j\rangle$ over them.

    Reference: Li et al. 2025, arXiv:2410.10322, the residual of the feature-averaging theorem.
    """
    own = own.astype(inner.dtype)
    mean = jnp.sum(own * inner, axis=1) / jnp.maximum(jnp.sum(own, axis=1), 1)
    return mean[:, None] * own / feature_gram.diagonal()[None]


def two_layers(params: PyTree, weights: str | None) -> PyTree:
    """Parameters as `W`, `b` and `a` of a network whose first layer is at the path `weights`.

    Raises: ValueError: no such first layer, or not one layer beside it.
    """
    first = first_layers.at(params, weights)
    if first is params:
        return params
    found = parameters.by_path(first_layers.plain(params))
    others = [path for path, leaf in found.items() if jnp.ndim(leaf) > 1 and path != weights]
    if len(others) != 1:
        raise ValueError(
            "what a neuron speaks for is known of networks with one hidden layer only, but beside "
            f"{weights} there are {', '.join(others) or 'no other weights'}"
        )
    (path,) = others
    second = found[path].T if path.rpartition("/")[2] == "kernel" else found[path]
    return {**first, "a": second}


def own_features(params, problem, draw) -> Bool[Array, "neurons features"]:
    """Which features a neuron speaks for: those of its sign (binary network) or of its class."""
    labels = two_layer.neuron_labels(problem.model, params)
    if two_layer.output_weights(problem.model, params).shape[0] == 1:
        return labels[:, None] == stated(draw, "feature_signs")[None]
    classes = draw.feature_classes
    if classes is None:
        classes = jnp.arange(stated(draw, "features").shape[0])
    return labels[:, None] == classes[None].astype(labels.dtype)


@observable(NEURON_FEATURE, about="cosine of neuron and feature")
def alignment(params, problem, draw, weights=None):
    """Cosine of the angle between each neuron and each feature direction.

    `weights` is the path of the first layer: a `kernel` (inputs, neurons), or what has a row a neuron.
    """
    params = first_layers.at(params, weights)
    params, draw, _, _ = first_layers.in_units(params, draw)
    lengths = jnp.sqrt(first_layers.feature_gram(params, draw).diagonal())
    return cosines(first_layers.projections(params, draw), first_layers.norms(params), lengths)


@observable(NEURON_FEATURE, about="inner product of neuron and feature")
def projection(params, problem, draw, weights=None):
    r"""$\lambda_{rj} = \langle w_r, \mu_j\rangle$."""
    params = first_layers.at(params, weights)
    return first_layers.projections(params, draw)


@observable(NEURON_FEATURE, about="coefficient in the feature basis")
def coefficients(params, problem, draw, weights=None):
    r"""Least-squares coefficients of each neuron in the basis of features."""
    params = first_layers.at(params, weights)
    params, draw, neurons, features = first_layers.in_units(params, draw)
    found = decompose(first_layers.projections(params, draw), first_layers.feature_gram(params, draw))
    return shifted(found, neurons[:, None] - features[None])


@observable(("neuron",), about="share of the neuron's norm outside the span of the features")
def off_span(params, problem, draw, weights=None):
    r"""$\|w_r - \sum_j c_{rj}\mu_j\| / \|w_r\|$; 0 for a neuron of norm zero."""
    params = first_layers.at(params, weights)
    params, draw, _, _ = first_layers.in_units(params, draw)
    within = decompose(first_layers.projections(params, draw), first_layers.feature_gram(params, draw))
    rest, norms = first_layers.residual_norms(params, draw, within), first_layers.norms(params)
    return jnp.where(norms > 0, rest / jnp.where(norms > 0, norms, 1), 0)


@observable(("neuron",), about="norm of the neuron")
def neuron_norm(params, problem, draw, weights=None):
    r"""$\|w_r\|_2$."""
    params = first_layers.at(params, weights)
    return first_layers.norms(params)


@observable(("neuron",), about="bias of the neuron")
def bias(params, problem, draw, weights=None):
    r"""$b_r$, zero for a network without biases."""
    params = first_layers.at(params, weights)
    return two_layer.biases(params)


@observable(("neuron",), about="relative distance from feature averaging")
def averaging_residual(params, problem, draw, weights=None):
    r"""$\|w_r - \bar\lambda_r v_r\| / \|\bar\lambda_r v_r\|$, see `averages`; inf if the average is 0."""
    params = two_layers(params, weights)
    own = own_features(params, problem, draw)
    params, draw, _, _ = first_layers.in_units(params, draw, alike=True)
    gram = first_layers.feature_gram(params, draw)
    average = averages(first_layers.projections(params, draw), gram, own)
    size = jnp.sqrt(jnp.maximum(jnp.sum((average @ gram) * average, axis=1), 0))
    distance = first_layers.residual_norms(params, draw, average)
    return jnp.where(size > 0, distance / jnp.where(size > 0, size, 1), jnp.inf)


@observable(NEURON_FEATURE, about="1 where the neuron speaks for the feature's sign or class")
def own(params, problem, draw, weights=None):
    """1.0 where the feature belongs to what the neuron speaks for, else 0.0."""
    params = two_layers(params, weights)
    return own_features(params, problem, draw).astype(first_layers.float_type(params))


@observable(("neuron", "dim"), about="first-layer weights")
def weights(params, problem, draw, weights=None):
    """The first layer itself; large, so ask for it only when the weights are what you need."""
    params = first_layers.at(params, weights)
    return first_layers.first_layer(params)


@observable(("feature", "dim"), about="feature directions")
def features(params, problem, draw):
    """The feature directions (cluster centres, class means) of this seed."""
    return stated(draw, "features")


@observable(("output", "neuron"), about="second-layer weight")
def output_weights(params, problem, draw, weights=None):
    """The second layer, fixed or trained."""
    params = two_layers(params, weights)
    return two_layer.output_weights(problem.model, params)
