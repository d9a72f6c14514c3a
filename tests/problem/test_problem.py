"""A problem's pure functions: initial scale, score, the loss and its logarithm, the adversary's place."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.adversary import FGSM, PGD, FeatureAttack
from dynamics.data.clusters import Clusters
from dynamics.data.teachers import FixedPoints
from dynamics.models.activations import Activation
from dynamics.models.homogeneous import Homogeneous
from dynamics.models.linear import Linear
from dynamics.models.mlp import MLP
from dynamics.models.two_layer import TwoLayer
from dynamics.parts import Axis
from dynamics.problem import Problem
from dynamics.problem.readouts import read_out

DATA = Clusters(10, 4, 16, 8)
KEY = jax.random.key(2)


@pytest.mark.exhaustive
def test_init_scale_by_name_leaves_other_parameters_alone():
    plain = Problem(DATA, TwoLayer(3)).init(KEY)
    scaled = Problem(DATA, TwoLayer(3), init_scale={"W": 1e-3}).init(KEY)
    np.testing.assert_allclose(scaled["W"], 1e-3 * plain["W"], rtol=1e-12)
    np.testing.assert_array_equal(scaled["b"], plain["b"])
    everything = Problem(DATA, MLP((5,)), init_scale=2.0).init(KEY)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a, 2 * b), everything, Problem(DATA, MLP((5,))).init(KEY)
    )


@pytest.mark.exhaustive
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

    x = jax.jit(lambda key: adversary.perturb(key, objective, draw.train, draw))(KEY)
    assert float(jnp.abs(x - draw.train.x).max()) > 0.01

    def by_hand(p):
        return jnp.mean(jax.nn.softplus(-draw.train.y * plain.apply(p, x)))

    value, grads = jax.jit(jax.value_and_grad(hard.training_loss))(params, draw.train, draw, KEY)
    expected, expected_grads = jax.jit(jax.value_and_grad(by_hand))(params)
    np.testing.assert_allclose(value, expected, rtol=1e-10)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), grads, expected_grads)
    if isinstance(adversary, PGD):  # the feature direction need not hurt an untrained network
        assert value > plain.training_loss(params, draw.train, draw, KEY)


CASES = [("logistic", 1), ("exponential", 1), ("cross_entropy", 4)]


def value_and_grad(problem, of):
    """Loss or its logarithm with gradient, and the draw it was taken on."""
    params, draw = problem.init(KEY), DATA.sample(KEY)
    objective = jax.jit(jax.value_and_grad(lambda p: problem.training_loss(p, draw.train, draw, KEY, of)))
    return objective(params)


@pytest.mark.parametrize(("loss", "outputs"), CASES)
def test_the_sum_of_losses_is_their_mean_times_their_number(loss, outputs):
    mean, total = (Problem(DATA, TwoLayer(3, outputs), loss, reduction=r) for r in ("mean", "sum"))
    for of in ("loss", "log_loss"):
        (value, grads), (more, more_grads) = value_and_grad(mean, of), value_and_grad(total, of)
        factor = 16 if of == "loss" else 1
        np.testing.assert_allclose(more, 16 * value if of == "loss" else value + np.log(16), rtol=1e-14)
        jax.tree.map(
            lambda a, b, f=factor: np.testing.assert_allclose(a, f * b, rtol=1e-13, atol=1e-15),
            more_grads,
            grads,
        )


def test_the_mean_is_the_default_and_totals_are_numpys():
    values = np.random.default_rng(0).normal(size=16)
    totals = {
        reduction: [
            float(Problem(DATA, TwoLayer(3), reduction=reduction).total(jnp.asarray(values), of))
            for of in ("loss", "log_loss")
        ]
        for reduction in ("mean", "sum")
    }
    np.testing.assert_allclose(totals["mean"], [values.mean(), np.log(np.exp(values).mean())], rtol=1e-13)
    np.testing.assert_allclose(totals["sum"], [values.sum(), np.log(np.exp(values).sum())], rtol=1e-13)
    assert float(Problem(DATA, TwoLayer(3)).total(jnp.asarray(values))) == totals["mean"][0]


@pytest.mark.parametrize(
    ("case", "adversary", "reduction"),
    [
        *((case, None, reduction) for case in CASES for reduction in ("mean", "sum")),
        (CASES[0], PGD(0.5, steps=3), "mean"),
        (CASES[1], FeatureAttack(0.5), "sum"),
        (CASES[2], PGD(0.5, "linf", steps=3), "sum"),
    ],
)
def test_log_loss_is_the_logarithm_of_the_loss(case, adversary, reduction):
    loss, outputs = case
    problem = Problem(DATA, TwoLayer(3, outputs), loss, reduction=reduction, adversary=adversary)
    value, grads = value_and_grad(problem, "loss")
    log_value, log_grads = value_and_grad(problem, "log_loss")
    # an attack by normalised gradients finds the same points on either
    rtol = 1e-12 if adversary is None else 1e-9
    np.testing.assert_allclose(log_value, np.log(value), rtol=rtol, atol=1e-14)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(value * a, b, rtol=rtol, atol=1e-13), log_grads, grads
    )


@pytest.mark.exhaustive
def test_log_loss_still_has_a_gradient_where_the_loss_is_zero():
    """Margins of 1e4: e^-10000 is 0 in float64, and so is its gradient; that of the logarithm is -y x."""
    data = FixedPoints(np.array([[1e4, 0.0], [0.0, 2e4]]), (1, -1))
    draw = data.sample(KEY)
    params = {"W": jnp.array([[1.0, -1.0]])}
    for loss in ("logistic", "exponential"):
        problem = Problem(data, Linear(), loss)

        def objective(p, of, problem=problem):
            return problem.training_loss(p, draw.train, draw, KEY, of)

        np.testing.assert_array_equal(problem.margins_at(params, draw, "train"), [1e4, 2e4])
        value, grads = jax.value_and_grad(objective)(params, "loss")
        assert float(value) == 0
        np.testing.assert_array_equal(grads["W"], [[0, 0]])
        value, grads = jax.value_and_grad(objective)(params, "log_loss")
        np.testing.assert_allclose(value, -1e4 - np.log(2), rtol=1e-15)
        np.testing.assert_allclose(grads["W"], [[-1e4, 0]], rtol=1e-12)


@pytest.mark.exhaustive
def test_log_loss_of_a_deep_network_with_huge_logits_is_finite():
    problem = Problem(DATA, Homogeneous((4, 4), 4, Activation("leaky_relu")), "cross_entropy", init_scale=1e3)
    params, draw = problem.init(KEY), DATA.sample(KEY)
    outputs = problem.outputs(params, draw, "train")
    assert float(jnp.abs(outputs).max()) > 1e4
    # give every sample the label that the network gives it
    sample = type(draw.train)(draw.train.x, draw.train.y, jnp.argmax(outputs, axis=1), draw.train.feature)
    lead = np.sort(outputs, axis=1)
    assert (lead[:, -1] - lead[:, -2]).min() > 800

    def objective(p, of):
        return problem.training_loss(p, sample, draw, KEY, of)

    value, grads = jax.value_and_grad(objective)(params, "log_loss")
    np.testing.assert_allclose(value, -(lead[:, -1] - lead[:, -2]).min() - np.log(16), rtol=1e-12)
    for leaf in jax.tree.leaves(grads):
        assert np.isfinite(leaf).all()
        assert np.any(leaf != 0)
    for leaf in jax.tree.leaves(jax.grad(objective)(params, "loss")):
        np.testing.assert_array_equal(leaf, np.zeros(leaf.shape))


@pytest.mark.exhaustive
def test_losses_and_margins_of_each_sample():
    draw = DATA.sample(KEY)
    for loss, outputs in CASES:
        problem = Problem(DATA, TwoLayer(3, outputs), loss)
        params = problem.init(KEY)
        for points, sample in (("train", draw.train), ("test", draw.test)):
            values = {of: problem.losses_at(params, draw, points, of) for of in ("loss", "log_loss")}
            np.testing.assert_allclose(values["log_loss"], np.log(values["loss"]), rtol=1e-12, atol=1e-14)
            np.testing.assert_array_equal(
                values["log_loss"], problem.sample_losses(params, sample, "log_loss")
            )
            f, target = np.asarray(problem.apply(params, sample.x)), np.asarray(sample.target)
            if outputs == 1:
                margins = np.asarray(sample.y) * f
            else:
                margins = [f[i, c] - np.delete(f[i], c).max() for i, c in enumerate(target)]
            np.testing.assert_allclose(problem.margins_at(params, draw, points), margins, rtol=1e-14)


@pytest.mark.parametrize("reduction", ["average", "", None])
def test_unknown_reduction_is_refused(untyped, reduction):
    with pytest.raises(ValueError, match="reduction must be mean or sum, got"):
        Problem(DATA, TwoLayer(3), reduction=reduction)


@pytest.mark.parametrize("loss", ["hinge", "squared"])
def test_losses_that_reach_0_have_no_logarithm(loss):
    draw = DATA.sample(KEY)
    problem = Problem(DATA, TwoLayer(3), loss)
    with pytest.raises(ValueError, match="trained on by their logarithm"):
        problem.training_loss(problem.init(KEY), draw.train, draw, KEY, "log_loss")


def test_unknown_loss_is_refused():
    with pytest.raises(ValueError, match="loss must be one of"):
        Problem(DATA, TwoLayer(3), loss="hindge")


# --- mixed losses

WEIGHTS = (0.0, 0.3, 1.0)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_weight_mixes_the_losses_at_clean_and_moved_inputs(reduction):
    """Loss, log-loss and their gradients, by hand from the two losses; 0 and 1 are the ends of the mix."""
    draw, adversary = DATA.sample(KEY), FGSM(0.5, norm="l2")
    plain = Problem(DATA, TwoLayer(3), reduction=reduction)
    params = plain.init(KEY)

    @jax.jit
    def both(params):
        moved = dataclasses.replace(plain, adversary=adversary)
        return [
            jax.value_and_grad(p.training_loss)(params, draw.train, draw, KEY, of)
            for of in ("loss", "log_loss")
            for p in (plain, moved)
        ]

    (clean, clean_grads), (hard, hard_grads), *logs = both(params)
    assert hard > clean * 1.05

    @jax.jit
    def mixed(params, weight):
        problem = dataclasses.replace(plain, adversary=adversary, adversarial_weight=weight)
        return [
            jax.value_and_grad(problem.training_loss)(params, draw.train, draw, KEY, of)
            for of in ("loss", "log_loss")
        ]

    for weight in WEIGHTS:
        (value, grads), (log_value, log_grads) = mixed(params, weight)
        expected = (1 - weight) * clean + weight * hard
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        np.testing.assert_allclose(log_value, np.log(expected), rtol=1e-12, atol=1e-13)
        for name in params:
            mix = (1 - weight) * clean_grads[name] + weight * hard_grads[name]
            np.testing.assert_allclose(grads[name], mix, rtol=1e-10, atol=1e-13)
            np.testing.assert_allclose(log_grads[name], mix / expected, rtol=1e-10, atol=1e-13)
    assert mixed._cache_size() == 1
    # the ends, in logarithms too, and without a weight
    for (log_value, log_grads), weight in zip(logs, (0.0, 1.0), strict=True):
        found, grads = mixed(params, weight)[1]
        np.testing.assert_allclose(found, log_value, rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(grads["W"], log_grads["W"], rtol=1e-12, atol=1e-15)


@pytest.mark.exhaustive
def test_the_mix_of_losses_that_are_zero_has_a_logarithm():
    """Margins of 1e4 clean and 9e3 moved: both losses are 0, and the moved one decides the mix."""
    data = FixedPoints(np.array([[1e4, 0.0], [0.0, 2e4]]), (1, -1))
    draw = data.sample(KEY)
    params = {"W": jnp.array([[1.0, -1.0]])}
    attack = FGSM(1e3, norm="linf")
    for weight, expected in ((0.0, -1e4), (0.25, -8e3 + np.log(0.25)), (1, -8e3)):
        problem = Problem(data, Linear(), adversary=attack, adversarial_weight=weight)
        value, grads = jax.value_and_grad(problem.training_loss)(params, draw.train, draw, KEY, "log_loss")
        np.testing.assert_allclose(value, expected - np.log(2), rtol=1e-13)
        assert np.isfinite(grads["W"]).all()
        assert float(problem.training_loss(params, draw.train, draw, KEY)) == 0


@pytest.mark.parametrize("weight", [-0.1, 1.5, np.nan, Axis("w", [0.5, 2.0]), np.array([0.5, 0.5])])
def test_weights_that_are_none_are_refused(untyped, weight):
    with pytest.raises(ValueError, match=r"^adversarial_weight must be one number in \[0, 1\], got"):
        Problem(DATA, TwoLayer(3), adversary=FGSM(0.1), adversarial_weight=weight)


def test_a_weight_without_an_adversary_and_an_adversary_that_is_none_are_refused(untyped):
    with pytest.raises(ValueError, match=r"adversarial_weight needs an adversary, got 0.5 without one"):
        Problem(DATA, TwoLayer(3), adversarial_weight=0.5)
    for given, words in (("pgd", "'pgd'"), (FGSM, "the class FGSM")):
        with pytest.raises(ValueError, match=f"adversary must be a part with perturb, .*, got {words}"):
            Problem(DATA, TwoLayer(3), adversary=given)


@pytest.mark.parametrize(
    ("name", "adversary", "sentence"),
    [
        ("hindge", FGSM(0.1), "adversary_loss must be one of"),
        ("margin", None, "adversary_loss needs an adversary"),
    ],
)
def test_an_adversary_loss_that_is_none_is_refused(untyped, name, adversary, sentence):
    with pytest.raises(ValueError, match=sentence):
        Problem(DATA, TwoLayer(3), adversary=adversary, adversary_loss=name)
