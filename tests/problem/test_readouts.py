"""Binary readouts of logits, against sums written out."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.problem.readouts import Readout, read_out

LOGITS = np.array([[1.0, 2.0, -0.5, 0.0], [3.0, -1.0, 3.5, 2.0], [-700.0, -701.0, -710.0, -705.0]])
SIGNS = np.array([1.0, -1.0, 1.0, -1.0])


def expected(row, readout):
    plus, minus = row[SIGNS > 0], row[SIGNS < 0]
    if readout == "max_logit":
        return max(plus) - max(minus)
    if readout == "sum_logit":
        return sum(plus) - sum(minus)
    return np.logaddexp(*plus) - np.logaddexp(*minus)


@pytest.mark.parametrize("readout", get_args(Readout))
def test_readouts(readout):
    scores = read_out(jnp.asarray(LOGITS), jnp.asarray(SIGNS), readout)
    np.testing.assert_allclose(scores, [expected(row, readout) for row in LOGITS], rtol=1e-12)


def test_softmax_group_has_the_sign_of_the_summed_probabilities():
    logits = np.random.default_rng(0).normal(size=(200, 4))
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    scores = read_out(jnp.asarray(logits), jnp.asarray(SIGNS), "softmax_group")
    np.testing.assert_array_equal(np.sign(scores), np.sign(p @ SIGNS))


@pytest.mark.parametrize("readout", get_args(Readout))
def test_gradients_are_finite_and_scores_shift_invariant(readout):
    g = jax.grad(lambda f: jnp.sum(read_out(f, jnp.asarray(SIGNS), readout)))(jnp.asarray(LOGITS))
    assert np.isfinite(g).all()
    # as many classes of either sign: adding a constant to all logits changes no score
    shifted = read_out(jnp.asarray(LOGITS + 4.0), jnp.asarray(SIGNS), readout)
    np.testing.assert_allclose(
        shifted, read_out(jnp.asarray(LOGITS), jnp.asarray(SIGNS), readout), atol=1e-12
    )


def test_a_negated_labelling_negates_the_score():
    for readout in get_args(Readout):
        one = read_out(jnp.asarray(LOGITS), jnp.asarray(SIGNS), readout)
        np.testing.assert_array_equal(read_out(jnp.asarray(LOGITS), jnp.asarray(-SIGNS), readout), -one)


def test_unknown_readout(untyped):
    with pytest.raises(
        ValueError, match="readout must be one of max_logit, softmax_group, sum_logit, got 'mean'"
    ):
        read_out(jnp.asarray(LOGITS), jnp.asarray(SIGNS), "mean")
