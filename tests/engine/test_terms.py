"""Terms and penalties beside the loss, against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.adversary import FGSM
from dynamics.data import Clusters, LinearTeacher
from dynamics.descent import proximal, steepest, within
from dynamics.engine.simulate import simulate
from dynamics.keys import named_key, seed_key
from dynamics.models import Linear, TwoLayer
from dynamics.observables import weights
from dynamics.parts import Axis, bind
from dynamics.problem import GroupLasso, Lasso, Loss, Problem, Ridge

DIM, COUNT, STEPS, RATE = 5, 6, 8, 0.3
DATA = LinearTeacher(DIM, COUNT, 2)
HOW = {"steps": STEPS, "observe": {"W": weights}, "when": range(STEPS + 1)}


def of(problem, seed):
    """Initial weights and training samples, as NumPy arrays."""
    key = seed_key(seed)
    data = named_key(key, "data")
    return jax.device_get((problem.init(named_key(key, "init"), data), problem.sample(data).train))


def pull(params, problem, sample, draw, strength):
    """A term of one's own: the weights are drawn towards the teacher."""
    return strength * jnp.sum((params["W"] - draw.features) ** 4)


@pytest.mark.parametrize("adversary", [None, FGSM(0.1, norm="linf")])
def test_several_losses_and_terms_add_up(reference, adversary):
    """With an adversary and a weight every loss is taken at both inputs, and terms of weights count once."""
    loop = reference("plain_loop")
    strengths = Axis("ridge", [0.0, 0.2])
    terms = (Ridge(strengths, only=("W",)), Loss("squared", 0.3), bind(pull, strength=0.01))
    mixed = {} if adversary is None else {"adversary": adversary, "adversarial_weight": 0.6}
    problem = Problem(DATA, Linear(), terms=terms, **mixed)
    run = simulate(problem, steepest("l2", RATE), seeds=2, **HOW).W.sel(ridge=0.2, seed=1)
    start, sample = of(problem, 1)
    teacher = np.asarray(DATA.sample(named_key(seed_key(1), "data")).features)

    def at(x, w):
        f = x @ w
        return np.mean(loop.softplus(-sample.y * f)) + 0.3 * np.mean(0.5 * (f - sample.y) ** 2)

    def loss(params, step):
        w = params["W"][0]
        total = at(sample.x, w)
        if adversary is not None:
            moved = sample.x - 0.1 * sample.y[:, None] * np.sign(w.real)
            total = 0.4 * total + 0.6 * at(moved, w)
        return total + 0.1 * np.sum(w**2) + 0.01 * np.sum((params["W"] - teacher) ** 4)

    path = loop.train(loss, start, STEPS, RATE)
    np.testing.assert_allclose(run, [p["W"] for p in path], rtol=0, atol=1e-12)


# --- penalties


def smooth(loop, sample):
    return lambda params, step=None: np.mean(loop.softplus(-sample.y * (sample.x @ params["W"][0])))


def test_proximal_descent_with_l1_is_soft_thresholding(reference):
    loop = reference("plain_loop")
    problem = Problem(DATA, Linear(), penalty=Lasso(Axis("strength", [0.0, 0.15])))
    run = simulate(problem, proximal(RATE), seeds=3, **HOW)
    start, sample = of(problem, 2)

    def move(params, grads):
        w = params["W"] - RATE * grads["W"]
        return {"W": np.sign(w) * np.maximum(np.abs(w) - RATE * 0.15, 0)}

    path = loop.train(smooth(loop, sample), start, STEPS, None, move)
    found = run.W.sel(strength=0.15, seed=2)
    np.testing.assert_allclose(found, [p["W"] for p in path], rtol=0, atol=1e-13)
    np.testing.assert_array_equal(found == 0, np.stack([p["W"] for p in path]) == 0)
    assert 0 < np.sum(path[-1]["W"] == 0) < DIM
    alone = simulate(problem, proximal(RATE), **HOW | {"when": [3]}, seeds=[2]).W.sel(strength=0.15, seed=2)
    np.testing.assert_allclose(alone, found.sel(step=[3, STEPS]), rtol=0, atol=1e-13)


@pytest.mark.exhaustive
@pytest.mark.parametrize("normalize", [False, True])
def test_other_rules_descend_along_the_subgradient(reference, normalize):
    loop, rules = reference("plain_loop"), reference("numpy_loop")
    problem = Problem(DATA, Linear(), penalty=Lasso(0.15), init_scale=0.0)
    rule = "sign" if normalize else "gd"
    run = simulate(
        problem, steepest("linf" if normalize else "l2", 0.05, normalize=normalize), seeds=1, **HOW
    )
    start, sample = of(problem, 0)

    def move(params, grads):
        return rules.step(params, {"W": grads["W"] + 0.15 * np.sign(params["W"])}, rule, 0.05, normalize)

    path = loop.train(smooth(loop, sample), start, STEPS, None, move)
    # sign descent steps from 0 by multiples of 0.05, whose sums are 0 up to rounding: signs there are chance
    last = 2 if normalize else STEPS + 1
    np.testing.assert_allclose(run.W[0, :last], [p["W"] for p in path[:last]], rtol=0, atol=1e-13)


@pytest.mark.exhaustive
def test_groups_at_once_and_within_limits(reference):
    """A penalty on columns makes whole inputs drop out; `within` hands the penalty on."""
    loop = reference("plain_loop")
    problem = Problem(DATA, Linear(), penalty=GroupLasso(0.15, axis=0), init_scale=0.5)
    rule = within(proximal(RATE), box=(-0.2, 0.2), only=("W",))
    run = simulate(problem, rule, seeds=1, **HOW)
    start, sample = of(problem, 0)

    def move(params, grads):
        w = params["W"] - RATE * grads["W"]
        size = np.sqrt(np.sum(w**2, axis=0, keepdims=True))
        return {"W": np.clip(w * np.maximum(1 - RATE * 0.15 / size, 0), -0.2, 0.2)}

    path = loop.train(smooth(loop, sample), start, STEPS, None, move)
    np.testing.assert_allclose(run.W[0], [p["W"] for p in path], rtol=0, atol=1e-13)


@pytest.mark.parametrize("penalty", [Lasso(0.3), GroupLasso(0.3), GroupLasso(0.3, ("W",), axis=0)])
def test_a_proximal_map_is_where_its_objective_is_least(penalty):
    """By its definition, at random points; and subgradients by theirs."""
    rng = np.random.default_rng(0)
    params = {"W": jnp.asarray(rng.normal(size=(3, 4))).at[1].set(0.01), "b": jnp.asarray(rng.normal(size=3))}
    found = penalty.prox(params, 0.5)

    def objective(p):
        far = sum(jnp.sum((p[name] - params[name]) ** 2) for name in params)
        return 0.5 * far + 0.5 * penalty.value(p)

    least = objective(found)
    for scale in (1e-3, 1e-1, 1.0):
        for _ in range(10):
            other = {n: p + scale * rng.normal(size=p.shape) for n, p in found.items()}
            assert objective(other) >= least
    # the subgradient inequality, everywhere
    slope = penalty.subgradient(params)
    for _ in range(10):
        other = {n: rng.normal(size=p.shape) for n, p in params.items()}
        linear = sum(jnp.sum(slope[n] * (other[n] - params[n])) for n in params)
        assert penalty.value(other) >= penalty.value(params) + linear - 1e-12


WRONG = {
    "log": ({"terms": (Ridge(0.1),)}, steepest("l2", 0.1, of="log_loss"), "has no place for terms beside it"),
    "log penalty": ({"penalty": Lasso(0.1)}, steepest("l2", 0.1, of="log_loss"), "no place for a penalty"),
    "no penalty": ({}, proximal(0.1), "it takes a problem with a penalty"),
    "term of many": (
        {"terms": (lambda params, problem, sample, draw: params["W"],)},
        steepest("l2", 0.1),
        "a term must give one number, got shape \\(1, 5\\)",
    ),
    "name": ({"terms": (Ridge(0.1, only=("V",)),)}, steepest("l2", 0.1), "'V' is no parameter: there are W"),
    "penalty's name": ({"penalty": Lasso(0.1, only=("V",))}, proximal(0.1), "'V' is no parameter"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_go_together_is_refused(untyped, case):
    given, rule, words = WRONG[case]
    with pytest.raises(ValueError, match=words) as caught:
        simulate(Problem(DATA, Linear(), **given), rule, steps=1, seeds=1)
    assert "\n" not in str(caught.value)


def test_terms_and_penalties_that_are_none_are_refused(untyped):
    for terms in (Ridge(0.1), (0.1,), [Ridge(0.1)]):
        with pytest.raises(ValueError, match="terms must be a tuple of functions"):
            Problem(DATA, Linear(), terms=terms)
    with pytest.raises(ValueError, match="penalty must have a method value"):
        Problem(DATA, Linear(), penalty=Ridge(0.1))
    with pytest.raises(ValueError, match="strength must be finite and not negative"):
        Lasso(-0.1)
    with pytest.raises(ValueError, match="learning_rate of proximal must be a number"):
        proximal(lambda step: 0.1)
    with pytest.raises(ValueError, match="loss must be one of"):
        Loss("l2")
    for given in ({"terms": (Ridge(0.1),)}, {"penalty": Lasso(0.1)}):
        with pytest.raises(ValueError, match="terms and penalties beside the loss look at the parameters"):
            simulate(
                Problem(Clusters(8, 2, 3, 2), TwoLayer(2), **given),
                steepest("l2", 0.1),
                steps=1,
                seeds=1,
                engine="gram",
            )
