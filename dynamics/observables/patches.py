"""Networks on patches: how strongly features are learned, and which patches a network's outputs rest on."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np

from dynamics.descent import norms
from dynamics.models.patch_cnn import PatchCNN
from dynamics.observables.alignment import cosines, own_features, two_layers
from dynamics.observables.base import observable
from dynamics.observables.robustness import attacked
from dynamics.problem import first_layers


@observable(("feature",), about="largest projection of a feature's own neurons")
def feature_strength(params, problem, draw, weights=None):
    r"""$\max_r \langle w_r, u_j\rangle/\|u_j\|$ over the neurons of the feature's sign or class.

    -inf for a feature that no neuron speaks for.
    """
    params = two_layers(params, weights)
    own = own_features(params, problem, draw)
    params, draw, neurons, _ = first_layers.in_units(params, draw)
    lengths = jnp.sqrt(first_layers.feature_gram(params, draw).diagonal())
    inner = first_layers.projections(params, draw) / jnp.where(lengths > 0, lengths, 1)[None]
    return jnp.max(jnp.where(own, norms.shifted(inner, neurons[:, None]), -jnp.inf), axis=0)


@observable(("neuron", "sample", "patch"), about="inner product of neuron and training patch")
def patch_projection(params, problem, draw):
    r"""$\langle w_r, x_p\rangle$ (without bias) of every patch of every training sample.

    Raises: ValueError: data that are not made of patches, or a network that does not see patches.
    """
    _check_patches(problem, draw.train)
    return jnp.moveaxis(first_layers.inner_products(params, draw, "train"), -1, 0)


@observable(("neuron", "sample", "patch"), about="cosine of neuron and training patch")
def patch_alignment(params, problem, draw):
    r"""$\langle w_r, x_p\rangle/(\|w_r\|\|x_p\|)$ of every training patch; 0 for a zero patch or neuron.

    Raises: ValueError: as `patch_projection`.
    """
    _check_data(draw.train)
    params, draw, _, _ = first_layers.in_units(params, draw)
    inner = patch_projection.measure(params, problem, draw)
    lengths = norms.lengths(draw.train.x).reshape(-1)
    flat = cosines(inner.reshape(len(inner), -1), first_layers.norms(params), lengths)
    return flat.reshape(inner.shape)


def _check_data(sample):
    if sample.patches is None:
        raise ValueError("observables of patches need data made of patches, such as RobustNonRobust")


def _check_patches(problem, sample):
    _check_data(sample)
    if not isinstance(problem.model, PatchCNN):
        raise ValueError(f"observables of patches need a PatchCNN, got {type(problem.model).__name__}")


def _scores(params, problem, draw, key, points, family, attack):
    """What patches of one family add to y f(x), or to the target's logit."""
    sample = getattr(draw, points)
    _check_patches(problem, sample)
    if (
        not isinstance(family, tuple)
        or not family
        or not all(isinstance(f, int | np.integer) for f in family)
    ):
        raise ValueError(f"family must be a tuple of families of patches, such as (0, -1), got {family!r}")
    known = math.inf if draw.carried is None else draw.carried.shape[0]
    if unknown := [int(f) for f in family if not -1 <= f < known]:
        raise ValueError(f"the data has families of patches -1 to {known - 1}, got {unknown[0]} in family")
    if attack is None:
        z, others = first_layers.pre_activations(params, draw, points), params
    else:
        others = first_layers.plain(params)
        x = attacked(others, problem, draw, key, points, attack).x
        moved = dataclasses.replace(draw, **{points: dataclasses.replace(sample, x=x)})
        z = first_layers.pre_activations(others, moved, points)

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
    the sample. Over all families scores add up to $y f(x)$. A bias counts in every patch. With an `attack`,
    scores are those of the inputs that it moved to raise the training loss.

    Raises: ValueError: data that are not made of patches, a network that does not see patches, or a
      family that the data do not have.
    """
    return _scores(params, problem, draw, key, "train", family, attack)


@observable(("family", "point"), about="what a family of patches adds to the test score", random=True)
def test_patch_scores(params, problem, draw, key, family=(0,), attack=None):
    """As `patch_scores`, of test samples."""
    return _scores(params, problem, draw, key, "test", family, attack)


@observable(("sample",), about="largest memory of a noise patch by one neuron")
def memory_strength(params, problem, draw):
    r"""$\max_{r,p} y_i\langle w_r, \xi_{ip}\rangle$ over the noise patches of each training sample.

    A bias is added to the inner product.
    """
    _check_patches(problem, draw.train)
    z = first_layers.pre_activations(params, draw, "train") * draw.train.y[:, None, None]
    is_noise = (draw.train.patches.family < 0)[..., None]
    return jnp.max(jnp.where(is_noise, z, -jnp.inf), axis=(1, 2))


@observable(("sample",), about="largest squared norm of a noise patch")
def noise_square(params, problem, draw):
    r"""$\max_p \|\xi_{ip}\|^2$ of each training sample."""
    _check_data(draw.train)
    squares = jnp.sum(jnp.square(draw.train.x), axis=-1)
    return jnp.max(jnp.where(draw.train.patches.family < 0, squares, 0), axis=1)
