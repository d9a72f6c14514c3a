"""What samples may carry, each against a plain loop: targets of any shape or none, and weights."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.adversary import FGSM
from dynamics.data import Draw, Sample
from dynamics.descent import steepest
from dynamics.engine import direct
from dynamics.engine.simulate import simulate
from dynamics.keys import named_key, seed_key
from dynamics.models import Linear
from dynamics.observables import log_loss, training_loss, weights
from dynamics.observables.base import observable
from dynamics.parts import Axis, bind, part, static
from dynamics.problem import Problem

DIM, COUNT, STEPS, RATE = 3, 6, 5, 0.2


@part
class Own:
    """Gaussian inputs with targets and weights drawn beside them."""

    shape: tuple[int, ...] | None = static(None)
    weighted: bool = static(False)
    spread: Any = 1.0

    def sample(self, key):
        def one(name):
            of = named_key(key, name)
            x = self.spread * jax.random.normal(named_key(of, "x"), (COUNT, DIM))
            y = target = None
            if self.shape == (COUNT,):
                y, target = jnp.sign(x[:, 0]), (x[:, 0] > 0).astype(int)
            elif self.shape is not None:
                y = jax.random.normal(named_key(of, "y"), self.shape)
            # one sample counts for nothing, the others for 1, 2, ...
            return Sample(x, y, target, weights=1.0 * jnp.arange(COUNT) if self.weighted else None)

        return Draw(one("train"), one("test"), jnp.eye(2, DIM))


class Matrices(nn.Module):
    """Linear maps to matrices."""

    shape: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        W = self.param("W", nn.initializers.normal(), (*self.shape, DIM), jnp.result_type(float))
        return jnp.einsum("...d,nd->n...", W, x)


@observable(("row", "column", "dim"))
def matrices(params, problem, draw):
    return params["W"]


def of(problem, seed):
    """Initial weights and training samples, as NumPy arrays."""
    key = seed_key(seed)
    data = named_key(key, "data")
    return jax.device_get((problem.init(named_key(key, "init"), data), problem.sample(data).train))


def agrees(loop, problem, loss, what=weights, seeds=3, rule=None, **options):
    """One of some seeds is the plain loop's run."""
    how = {"steps": STEPS, "observe": {"W": what, "loss": training_loss}, "when": range(STEPS + 1)} | options
    rule = rule or steepest("l2", RATE)
    run = simulate(problem, rule, seeds=seeds, **how)
    start, sample = of(problem, seeds - 1)
    path = loop.train(lambda p, i: loss(p, sample, i), start, STEPS, RATE)
    np.testing.assert_allclose(run.W.sel(seed=seeds - 1), [p["W"] for p in path], rtol=0, atol=1e-12)
    return run, path, sample


# --- targets


@pytest.fixture
def loop(reference):
    return reference("plain_loop")


@pytest.mark.exhaustive
def test_matrices_as_targets(loop):
    def loss(params, sample, step):
        f = np.einsum("rcd,nd->nrc", params["W"], sample.x)
        return np.mean(0.5 * np.sum((f - sample.y) ** 2, axis=(1, 2)))

    problem = Problem(Own((COUNT, 2, 2)), Matrices((2, 2)), "squared")
    run, path, sample = agrees(loop, problem, loss, matrices)
    np.testing.assert_allclose(run.loss[2], [loss(p, sample, 0) for p in path], rtol=1e-12)


@pytest.mark.exhaustive
def test_a_function_as_the_loss_takes_samples_without_targets_and_has_numbers(loop):
    def shrunk(outputs, sample, strength):
        """An autoencoder's error."""
        return jnp.sum(jnp.square(strength * outputs - sample.x), axis=1)

    def loss(params, sample, step):
        return np.mean(np.sum((0.5 * sample.x @ params["W"].T - sample.x) ** 2, axis=1))

    problem = Problem(Own(), Linear(DIM), bind(shrunk, strength=Axis("strength", [0.1, 0.5])))
    run = simulate(problem, steepest("l2", RATE), steps=STEPS, observe={"W": weights}, when=[], seeds=2)
    start, sample = of(problem, 1)
    path = loop.train(lambda p, i: loss(p, sample, i), start, STEPS, RATE)
    np.testing.assert_allclose(run.W.sel(strength=0.5, seed=1)[0], path[-1]["W"], rtol=0, atol=1e-12)


def test_plain_functions_as_the_loss_and_as_a_term(loop):
    """The cosh of the error, which is no loss of the library, and 0.1 of the squared norm."""

    def loss(params, sample, step):
        return np.mean(np.cosh(sample.x @ params["W"][0] - sample.y)) + 0.1 * np.sum(params["W"] ** 2)

    def ridge(params, problem, sample, draw):
        return 0.1 * jnp.sum(params["W"] ** 2)

    def cosh(outputs, sample):
        return jnp.cosh(outputs - sample.y)

    agrees(loop, Problem(Own((COUNT,)), Linear(), cosh, terms=(ridge,)), loss, seeds=1)


# --- weights


def weighted(values, sample):
    return np.sum(sample.weights * values) / np.sum(sample.weights)


def test_the_mean_over_weighted_samples(loop):
    def loss(params, sample, step):
        return weighted(loop.softplus(-sample.y * (sample.x @ params["W"][0])), sample)

    problem = Problem(Own((COUNT,), True), Linear())
    run, path, sample = agrees(loop, problem, loss)
    np.testing.assert_allclose(run.loss[2], [loss(p, sample, 0) for p in path], rtol=1e-12)
    alone = simulate(problem, steepest("l2", RATE), steps=STEPS, observe={"W": weights}, when=[2], seeds=[2])
    np.testing.assert_allclose(alone.W[0], run.W.sel(seed=2, step=[2, STEPS]), rtol=0, atol=1e-12)
    # steps on the logarithm: the gradient over the loss
    logs = simulate(
        problem,
        steepest("l2", RATE, step="loss_adaptive"),
        **{"steps": STEPS, "observe": {"W": weights, "log": log_loss}, "when": [STEPS], "seeds": 3},
    )
    start, sample = of(problem, 2)
    path = loop.train(lambda p, i: np.log(loss(p, sample, i)), start, STEPS, RATE)
    np.testing.assert_allclose(logs.W[2, 0], path[-1]["W"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(logs.log[2, 0], np.log(loss(path[-1], sample, 0)), rtol=1e-12)


@pytest.mark.exhaustive
def test_weights_with_an_adversary_and_minibatches(loop):
    """FGSM moves every sample by its own loss; a batch is divided by its own weights."""
    problem = Problem(Own((COUNT,), True), Linear(), adversary=FGSM(0.1, norm="linf"))

    def loss(params, sample, step):
        index = jnp.arange(COUNT)
        numbered = Sample(1.0 * index[:, None], 1.0 * index, index, index)
        rows = np.asarray(direct.minibatch(named_key(seed_key(2), "batches"), numbered, step, 3).target)
        w = params["W"][0]
        x = sample.x - 0.1 * sample.y[:, None] * np.sign(w.real)
        values = loop.softplus(-sample.y * (x @ w))[rows]
        return np.sum(sample.weights[rows] * values) / np.sum(sample.weights[rows])

    agrees(loop, problem, loss, batch_size=3)


@pytest.mark.exhaustive
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_totals_with_weights(reduction):
    values, counts = jnp.array([0.3, -2.0, 1.5]), jnp.array([2, 0, 3])
    repeated = jnp.repeat(values, counts)
    problem = Problem(Own((COUNT,)), Linear(), reduction=reduction)
    for of_what in ("loss", "log_loss"):
        expected = problem.total(repeated, of_what)
        np.testing.assert_allclose(problem.total(values, of_what, counts), expected, rtol=1e-13)
    assert float(problem.total(values, "loss", jnp.zeros(3))) == 0


# --- what is truly wrong


@part
class Labelled:
    y: Any = None
    weights: Any = None

    def sample(self, key):
        sample = Sample(jnp.ones((COUNT, DIM)), self.y, jnp.zeros(COUNT, int), weights=self.weights)
        return Draw(sample, sample)


SIGNS = np.array([1.0, -1.0] * 3)
WRONG = {
    "another shape": (Labelled(np.ones((COUNT, 2))), Linear(DIM), "squared", "outputs' shape, \\(6, 3\\)"),
    "no targets": (Labelled(), Matrices((2, 2)), "squared", "got None, with outputs of shape \\(6, 2, 2\\)"),
    "not finite": (Labelled(np.full((COUNT, DIM), np.nan)), Linear(DIM), "squared", "y of the train samples"),
    "no labels": (Labelled(), Linear(), "logistic", "y of the train samples must be one number"),
    "a loss of one number": (
        Labelled(SIGNS),
        Linear(),
        lambda outputs, sample: jnp.mean(outputs),
        "a loss must give one number for each of 6 samples, got shape \\(\\)",
    ),
    "too few weights": (
        Labelled(SIGNS, SIGNS[:2]),
        Linear(),
        "logistic",
        "weights of the train samples must",
    ),
    "negative weights": (Labelled(SIGNS, SIGNS), Linear(), "logistic", "must be finite, 0 or more, and not"),
    "no weight": (Labelled(SIGNS, 0 * SIGNS), Linear(), "logistic", "must be finite, 0 or more, and not"),
    "matrices of logits": (Labelled(SIGNS), Matrices((2, 2)), "logistic", "must give shape \\(6,\\) or"),
}


@pytest.mark.parametrize("case", WRONG)
def test_targets_and_weights_that_do_not_fit_are_refused(untyped, case):
    data, model, loss, words = WRONG[case]
    with pytest.raises(ValueError, match=words) as caught:
        simulate(Problem(data, model, loss), steepest("l2", RATE), steps=1, seeds=1)
    assert "\n" not in str(caught.value)


def test_a_function_has_no_logarithm_to_descend(untyped):
    problem = Problem(Own(), Linear(DIM), lambda outputs, sample: jnp.sum(outputs**2, axis=1))
    with pytest.raises(ValueError, match="are trained on by their logarithm, got a function"):
        simulate(problem, steepest("l2", RATE, of="log_loss"), steps=1, seeds=1)
