"""How neurons point: alignment with features, decomposition in the feature basis, averaging."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dynamics.models import two_layer
from dynamics.observables.base import observable

NEURON_FEATURE = ("neuron", "feature")


def cosines(
    W: Float[Array, "neurons dim"], features: Float[Array, "features dim"]
) -> Float[Array, "neurons features"]:
    r"""Entry $(r, j)$ is $\langle w_r, \mu_j\rangle / (\|w_r\| \|\mu_j\|)$, in $[-1, 1]$ up to round-off.

    A neuron or feature of norm zero has cosine 0, not NaN.
    """
    norms = jnp.outer(jnp.linalg.norm(W, axis=1), jnp.linalg.norm(features, axis=1))
    return jnp.where(norms > 0, W @ features.T / jnp.where(norms > 0, norms, 1), 0)


def decompose(
    W: Float[Array, "neurons dim"], features: Float[Array, "features dim"]
) -> Float[Array, "neurons features"]:
    r"""Coefficients $c_{rj}$ of the least-squares decomposition $w_r \approx \sum_j c_{rj}\,\mu_j$.

    Exact for correlated features too, as long as they are linearly independent.
    """
    gram = features @ features.T
    return jnp.linalg.solve(gram, features @ W.T).T


def averaging_residuals(
    W: Float[Array, "neurons dim"],
    features: Float[Array, "features dim"],
    own: Bool[Array, "neurons features"],
) -> Float[Array, " neurons"]:
    r"""Distance of each neuron from the average of its own features, relative to that average's norm.

    $\|w_r - \bar\lambda_r v_r\| / \|\bar\lambda_r v_r\|$, where $v_r$ sums $\mu_j / \|\mu_j\|^2$ over the own
    features and $\bar\lambda_r$ is the mean of $\langle w_r, \mu_j\rangle$ over them. Inf if that is 0.

    Reference: Li et al. 2025, arXiv:2410.10322, the residual of the feature-averaging theorem.
    """
    own = own.astype(W.dtype)
    mean = jnp.sum(own * (W @ features.T), axis=1) / jnp.maximum(jnp.sum(own, axis=1), 1)
    average = mean[:, None] * (own @ (features / jnp.sum(jnp.square(features), axis=1, keepdims=True)))
    size = jnp.linalg.norm(average, axis=1)
    return jnp.where(size > 0, jnp.linalg.norm(W - average, axis=1) / jnp.where(size > 0, size, 1), jnp.inf)


def own_features(params, problem, draw) -> Bool[Array, "neurons features"]:
    """Which features a neuron speaks for: those of its sign (binary network) or of its class."""
    labels = two_layer.neuron_labels(problem.model, params)
    if problem.model.num_outputs == 1:
        return labels[:, None] == draw.feature_signs[None]
    classes = jnp.arange(draw.features.shape[0]) if draw.feature_classes is None else draw.feature_classes
    return labels[:, None] == classes[None].astype(labels.dtype)


@observable(NEURON_FEATURE, about="cosine of neuron and feature")
def alignment(params, problem, draw):
    """Cosine of the angle between each neuron and each feature direction."""
    return cosines(params["W"], draw.features)


@observable(NEURON_FEATURE, about="inner product of neuron and feature")
def projection(params, problem, draw):
    r"""$\lambda_{rj} = \langle w_r, \mu_j\rangle$."""
    return params["W"] @ draw.features.T


@observable(NEURON_FEATURE, about="coefficient in the feature basis")
def coefficients(params, problem, draw):
    r"""Least-squares coefficients of each neuron in the basis of features."""
    return decompose(params["W"], draw.features)


@observable(("neuron",), about="share of the neuron's norm outside the span of the features")
def off_span(params, problem, draw):
    r"""$\|w_r - \sum_j c_{rj}\mu_j\| / \|w_r\|$; 0 for a neuron of norm zero."""
    W = params["W"]
    rest = jnp.linalg.norm(W - decompose(W, draw.features) @ draw.features, axis=1)
    norms = jnp.linalg.norm(W, axis=1)
    return jnp.where(norms > 0, rest / jnp.where(norms > 0, norms, 1), 0)


@observable(("neuron",), about="norm of the neuron")
def neuron_norm(params, problem, draw):
    r"""$\|w_r\|_2$."""
    return jnp.linalg.norm(params["W"], axis=1)


@observable(("neuron",), about="bias of the neuron")
def bias(params, problem, draw):
    r"""$b_r$, zero for a network without biases."""
    return two_layer.biases(params)


@observable(("neuron",), about="relative distance from feature averaging")
def averaging_residual(params, problem, draw):
    """Distance of each neuron from the average of its own features, see `averaging_residuals`."""
    return averaging_residuals(params["W"], draw.features, own_features(params, problem, draw))


@observable(NEURON_FEATURE, about="1 where the neuron speaks for the feature's sign or class")
def own(params, problem, draw):
    """1.0 where the feature belongs to what the neuron speaks for, else 0.0."""
    return own_features(params, problem, draw).astype(params["W"].dtype)


@observable(("neuron", "dim"), about="first-layer weights")
def weights(params, problem, draw):
    """The first layer itself; large, so ask for it only when the weights are what you need."""
    return params["W"]


@observable(("feature", "dim"), about="feature directions")
def features(params, problem, draw):
    """The feature directions (cluster centres, class means) of this seed."""
    return draw.features
