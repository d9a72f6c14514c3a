"""Losses, margins and accuracies."""

import jax.numpy as jnp

from dynamics.observables.base import observable


@observable(about="training loss")
def training_loss(params, problem, draw):
    """Mean loss over the (unperturbed) training samples, or its sum where the problem takes that.

    What a problem adds to it, `terms` and `penalty`, is not in it.
    """
    return problem.loss_at(params, draw, "train")


@observable(about="logarithm of the training loss")
def log_loss(params, problem, draw):
    """The logarithm of `training_loss`, exact where that is rounded to 0."""
    return problem.loss_at(params, draw, "train", "log_loss")


@observable(("sample",), about="training margin")
def margins(params, problem, draw):
    """y f(x) of every training sample, f the binary score."""
    return draw.train.y * problem.score_at(params, draw, "train")


@observable(about="smallest training margin")
def smallest_margin(params, problem, draw):
    """The smallest y f(x) over the training samples."""
    return jnp.min(draw.train.y * problem.score_at(params, draw, "train"))


@observable(about="training accuracy (binary)")
def train_accuracy(params, problem, draw, readout=None):
    """Share of training samples with y f(x) > 0; a score of 0 is an error."""
    score = problem.score_at(params, draw, "train", readout)
    return jnp.mean((draw.train.y * score > 0).astype(score.dtype))


@observable(about="test accuracy (binary)")
def test_accuracy(params, problem, draw, readout=None):
    """Share of test samples with y f(x) > 0; a score of 0 is an error."""
    score = problem.score_at(params, draw, "test", readout)
    return jnp.mean((draw.test.y * score > 0).astype(score.dtype))


@observable(about="test accuracy (classes)")
def class_accuracy(params, problem, draw):
    """Share of test samples whose largest logit is the target's; ties go to the lower class.

    Raises: ValueError: a network of one output.
    """
    logits = problem.outputs(params, draw, "test")
    if logits.ndim == 1:
        raise ValueError("class_accuracy needs one logit a class; of one output, test_accuracy is the share")
    return jnp.mean((jnp.argmax(logits, axis=1) == draw.test.target).astype(logits.dtype))
