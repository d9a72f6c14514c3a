"""A problem's pure functions: initial scale, score, loss, and the adversary's place in it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.adversary import PGD, FeatureAttack
from dynamics.data.clusters import Clusters
from dynamics.models.mlp import MLP
from dynamics.models.two_layer import TwoLayer
from dynamics.problem import Problem
from dynamics.readouts import read_out

DATA = Clusters(10, 4, 16, 8)
KEY = jax.random.key(2)


def test_init_scale_by_name_leaves_other_parameters_alone():
    plain = Problem(DATA, TwoLayer(3)).init(KEY)
    scaled = Problem(DATA, TwoLayer(3), init_scale={"W": 1e-3}).init(KEY)
    np.testing.assert_allclose(scaled["W"], 1e-3 * plain["W"], rtol=1e-12)
    np.testing.assert_array_equal(scaled["b"], plain["b"])
    everything = Problem(DATA, MLP((5,)), init_scale=2.0).init(KEY)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, 2 * b), everything, Problem(DATA, MLP((5,))).init(KEY)
    )


def test_score_is_the_output_or_the_readout():
    draw = DATA.sample(KEY)
    binary, fine = Problem(DATA, TwoLayer(3)), Problem(DATA, TwoLayer(3, 4), loss="cross_entropy")
    params = binary.init(KEY)
    np.testing.assert_array_equal(binary.score(params, draw.test.x, draw), binary.apply(params, draw.test.x))
    params = fine.init(KEY)
    logits = fine.apply(params, draw.test.x)
    for readout in ("max_logit", "softmax_group", "sum_logit"):
        expected = read_out(logits, draw.class_signs, readout)
        np.testing.assert_array_equal(fine.score(params, draw.test.x, draw, readout), expected)


@pytest.mark.parametrize("adversary", [PGD(0.5, steps=3), FeatureAttack(0.5)])
def test_adversarial_loss_is_the_loss_at_the_perturbed_inputs(adversary):
    """By hand: perturb, then take the plain loss there; its gradient holds the points fixed."""
    draw = DATA.sample(KEY)
    plain = Problem(DATA, TwoLayer(3))
    hard = Problem(DATA, TwoLayer(3), adversary=adversary)
    params = plain.init(KEY)

    def objective(x):
        return jax.nn.softplus(-draw.train.y * plain.apply(params, x))

    x = adversary.perturb(KEY, objective, draw.train, draw)
    assert float(jnp.abs(x - draw.train.x).max()) > 0.01

    def by_hand(p):
        return jnp.mean(jax.nn.softplus(-draw.train.y * plain.apply(p, x)))

    value, grads = jax.value_and_grad(hard.training_loss)(params, draw.train, draw, KEY)
    expected, expected_grads = jax.value_and_grad(by_hand)(params)
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), grads, expected_grads)
    if isinstance(adversary, PGD):  # the feature direction need not hurt an untrained network
        assert value > plain.training_loss(params, draw.train, draw, KEY)


def test_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="loss must be one of"):
        Problem(DATA, TwoLayer(3), loss="hindge")
