"""Networks on patches: how strongly features are learned, and which patches a network's outputs rest on."""

import dataclasses

import jax.numpy as jnp

from dynamics import geometry
from dynamics.observables.alignment import cosines, own_features
from dynamics.observables.base import observable
from dynamics.observables.robustness import attacked


@observable(("feature",), about="largest projection of a feature's own neurons")
def feature_strength(params, problem, draw):
    r"""$\max_r \langle w_r, u_j\rangle/\|u_j\|$ over the neurons of the feature's sign or class."""
    lengths = jnp.sqrt(geometry.feature_gram(params, draw).diagonal())
    inner = geometry.projections(params, draw) / jnp.where(lengths > 0, lengths, 1)[None]
    return jnp.max(jnp.where(own_features(params, problem, draw), inner, -jnp.inf), axis=0)


@observable(("neuron", "sample", "patch"), about="inner product of neuron and training patch")
def patch_projection(params, problem, draw):
    r"""$\langle w_r, x_p\rangle$ (without bias) of every patch of every training sample."""
    z = geometry.pre_activations(params, draw, "train")
    bias = jnp.reshape(params["b"], (1, 1, -1)) if "b" in params else 0
    return jnp.moveaxis(z - bias, -1, 0)


@observable(("neuron", "sample", "patch"), about="cosine of neuron and training patch")
def patch_alignment(params, problem, draw):
    r"""$\langle w_r, x_p\rangle/(\|w_r\|\|x_p\|)$ of every training patch; 0 for a zero patch."""
    inner = patch_projection.measure(params, problem, draw)
    lengths = jnp.sqrt(jnp.sum(jnp.square(draw.train.x), axis=-1))
    flat = cosines(inner.reshape(len(inner), -1), geometry.norms(params), lengths.reshape(-1))
    return flat.reshape(inner.shape)


def _scores(params, problem, draw, key, points, family, attack):
    """What patches of one family add to y f(x), or to the target's logit."""
    sample = getattr(draw, points)
    if sample.patches is None:
        raise ValueError("patch scores need data made of patches, whose contents are known")
    if attack is None:
        z, others = geometry.pre_activations(params, draw, points), params
    else:
        others = geometry.plain(params)
        x = attacked(others, problem, draw, key, points, attack).x
        moved = dataclasses.replace(draw, **{points: dataclasses.replace(sample, x=x)})
        z = geometry.pre_activations(others, moved, points)

    def of_family(number):
        inside = (sample.patches.family == number)[..., None]
        # every activation is 0 at 0, so that patches of other families are silent
        outputs = problem.model.from_pre_activations(others, jnp.where(inside, z, 0))
        if outputs.ndim == 1:
            return sample.y * outputs
        return jnp.take_along_axis(outputs, sample.target[:, None], axis=1)[:, 0]

    return jnp.stack([of_family(int(number)) for number in family])


@observable(("family", "sample"), about="what a family of patches adds to the training score", random=True)
def patch_scores(params, problem, draw, key, family=(0,), attack=None):
    r"""What patches of each family add to $y f(x)$, or to the target's logit, of training samples.

    `family` lists families of patches, -1 being patches of noise: there the score is what is memorised of
    the sample. With an `attack`, scores are those of the inputs that it moved to raise the training loss.

    Raises: ValueError: data that are not made of patches.
    """
    return _scores(params, problem, draw, key, "train", family, attack)


@observable(("family", "point"), about="what a family of patches adds to the test score", random=True)
def test_patch_scores(params, problem, draw, key, family=(0,), attack=None):
    """As `patch_scores`, of test samples."""
    return _scores(params, problem, draw, key, "test", family, attack)
