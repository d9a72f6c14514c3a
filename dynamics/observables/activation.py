"""Which neurons are on for which samples; `weights` names the first layer, as in `alignment`."""

import jax
import jax.numpy as jnp

from dynamics.data.sample import stated
from dynamics.observables.base import observable
from dynamics.problem import first_layers


@observable(("neuron", "feature"), about="share of the feature's samples that switch the neuron on")
def activation_pattern(params, problem, draw, weights=None):
    """Fraction of each feature's training samples with a positive pre-activation; NaN for no samples."""
    params = first_layers.at(params, weights)
    on = (first_layers.pre_activations(params, draw, "train") > 0).astype(draw.train.x.dtype)
    member = jax.nn.one_hot(stated(draw.train, "feature"), stated(draw, "features").shape[0], dtype=on.dtype)
    return on.T @ member / jnp.sum(member, axis=0)[None]


@observable(("neuron",), about="1 where the neuron is off on every training sample")
def dead(params, problem, draw, weights=None):
    """1.0 for a neuron that no training sample switches on (its gradient is zero), else 0.0."""
    params = first_layers.at(params, weights)
    z = first_layers.pre_activations(params, draw, "train")
    return 1.0 - jnp.any(z > 0, axis=0).astype(z.dtype)
