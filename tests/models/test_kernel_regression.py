"""Kernel regression as a model: trained by the engine it takes the steps of `kernels.distillation`."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dynamics import observable, simulate
from dynamics.adversary import PGD
from dynamics.data.images import LabelledImages
from dynamics.descent import named, traced, within
from dynamics.engine.direct import minibatch
from dynamics.keys import named_key, seed_key
from dynamics.models.kernel_regression import FirstSamples, KernelRegression
from dynamics.models.mlp import MLP
from dynamics.problem import Problem
from kernels import closed_form, distillation
from kernels.attacks import Attack

RNG = np.random.default_rng(0)
DATA = LabelledImages(RNG.uniform(size=(40, 6)), np.arange(40) % 3, (1, -1, 1), 24, 10)


@observable(("point", "dim"))
def support(params, problem, draw):
    return params["support"]


@observable(("point", "class"))
def labels(params, problem, draw):
    return params["labels"]


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("raised", "rule"),
    [("cross_entropy", "adam"), pytest.param("margin", "sign", marks=pytest.mark.exhaustive)],
)
def test_the_engine_takes_the_steps_of_the_functions(raised, rule):
    kernel = closed_form.DeepNTK(depth=1 if rule == "sign" else 0)
    model = KernelRegression(kernel, 5, 3, ridge=1e-4, learn_labels=rule == "sign")
    limits, rate = {"box": (0.0, 1.0), "ball": None if rule == "adam" else 0.02}, 0.01
    adversary = PGD(0.1, norm="linf", steps=3, random_start=False, box=(0.0, 1.0))
    problem = Problem(
        DATA, model, "squared", adversary=adversary, adversary_loss=raised, start=FirstSamples()
    )
    descent = named(rule, rate, normalize=rule == "sign")
    found = simulate(
        problem,
        within(descent, **limits, only=("support",)),
        steps=4,
        batch_size=8,
        seeds=[7],
        observe={"support": support, "labels": labels},
        when=[4],
    )
    attack = Attack(0.1, "linf", 3, None, (0.0, 1.0), raised=raised)
    what = distillation.Distillation(kernel, 1e-4, attack=attack, learn_labels=rule == "sign", **limits)
    optimiser = optax.adam(rate) if rule == "adam" else optax.sign_sgd(rate)
    draw, key = DATA.sample(named_key(seed_key(7), "data")), named_key(seed_key(7), "batches")
    first = distillation.one_hot(draw.train.target[:5], 3)
    state = distillation.start(optimiser, draw.train.x[:5], first)
    step = jax.jit(distillation.step, static_argnums=(0, 1))
    for i in range(4):
        batch = minibatch(key, draw.train, i, 8)
        state, _ = step(what, optimiser, state, batch.x, batch.target)
    np.testing.assert_allclose(found.support[0, -1], state.support, atol=1e-10)
    np.testing.assert_allclose(found.labels[0, -1], state.labels, atol=1e-10)
    moved = np.abs(state.support - draw.train.x[:5]).max()
    assert moved > 0.015
    assert rule == "adam" or moved <= 0.02 + 1e-12
    assert bool(np.all(state.labels == first)) == (rule == "adam")


def test_outputs_against_plain_numpy_and_what_depends_on_the_support_alone_is_computed_once():
    model = KernelRegression(closed_form.DeepNTK(0), 4, 3, ridge=0.01, logit_scale=7.0)
    problem = Problem(DATA, model, "squared")
    params = jax.jit(problem.init)(jax.random.key(0))
    np.testing.assert_allclose(params["labels"], np.eye(3)[[0, 1, 2, 0]] - 1 / 3, rtol=1e-12)
    x = jnp.asarray(RNG.uniform(size=(5, 6)))
    S = np.asarray(params["support"])
    gram, cross = (2 * z @ S.T / 6 + 0.01 for z in (S, np.asarray(x)))
    alpha = np.linalg.solve(gram + 0.01 * np.mean(np.diag(gram)) * np.eye(4), params["labels"])
    both = jax.jit(lambda p, x: (problem.apply(p, x), problem.predictor(p)(x)))(params, x)
    np.testing.assert_allclose(both[0], 7 * cross @ alpha, rtol=1e-9)
    np.testing.assert_allclose(both[1], both[0], rtol=1e-12)
    gives = KernelRegression(closed_form.DeepNTK(0), 4, 3, probabilities=True)
    shares = jax.jit(lambda p, x: gives.predictor(p)(x))(params, x)
    np.testing.assert_allclose(jnp.sum(shares, axis=1), 1, rtol=1e-12)


@pytest.mark.exhaustive
def test_one_output_and_samples_in_turn():
    draw = jax.jit(DATA.sample)(jax.random.key(1))
    binary = Problem(DATA, KernelRegression(num_support=4), "squared", start=FirstSamples())
    params = binary.init(jax.random.key(0), jax.random.key(1))
    np.testing.assert_array_equal(params["labels"], draw.train.y[:4])
    own = jax.jit(lambda p, x: KernelRegression(num_support=4, ridge=0.0).predictor(p)(x))(
        params, draw.train.x[:4]
    )
    np.testing.assert_allclose(own, draw.train.y[:4], rtol=1e-8)
    many = KernelRegression(num_support=6, num_outputs=3)
    params = FirstSamples(in_turn=True, centred=False).params(many, draw)
    np.testing.assert_array_equal(params["labels"], np.tile(np.eye(3), (2, 1)))
    rows = [np.flatnonzero(np.asarray(draw.train.target) == c)[i] for i in (0, 1) for c in range(3)]
    np.testing.assert_array_equal(params["support"], draw.train.x[np.asarray(rows)])
    np.testing.assert_array_equal(KernelRegression().targets(jnp.arange(3), float), [-1, 1, -1])


def test_a_model_without_preparation_predicts_as_it_is():
    problem = Problem(DATA, MLP((4,), 3), "cross_entropy")
    params, x = problem.init(jax.random.key(0)), jnp.ones((2, 6))
    np.testing.assert_array_equal(problem.predictor(params)(x), problem.apply(params, x))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"num_support": 0}, "num_support must be at least 1"),
        ({"ridge": -1.0}, "ridge must not be negative"),
        ({"logit_scale": 0.0}, "logit_scale must be above 0"),
        ({"probabilities": True}, "probabilities need one output a class"),
    ],
)
def test_bad_models_are_refused(untyped, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        KernelRegression(**given)


def test_starts_that_do_not_fit_are_refused(untyped):
    draw = DATA.sample(jax.random.key(1))
    with pytest.raises(ValueError, match="more than the 24 training samples"):
        FirstSamples().params(KernelRegression(num_support=25), draw)
    with pytest.raises(ValueError, match="1 or the 3 classes"):
        FirstSamples().params(KernelRegression(num_support=2, num_outputs=4), draw)


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [
        ({"box": (1.0, 0.0), "only": ("support",)}, "low < high"),
        ({"ball": -1.0, "only": ("support",)}, "ball must not be negative"),
    ],
)
def test_bad_limits_are_refused(untyped, limits, sentence):
    with pytest.raises(ValueError, match=sentence):
        within(named("adam", 0.1), **limits)


def test_limits_on_what_is_no_parameter_are_refused():
    with pytest.raises(ValueError, match="'W' is no parameter: there are a, b"):
        within(traced(optax.sgd, learning_rate=0.1), only=("W",)).init({"a": 1.0, "b": 2.0})
