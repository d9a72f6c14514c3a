"""Evaluation under several attacks: exact on linear models, and it says when gradients are masked."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import observables, simulate
from dynamics.adversary import ATTACKS, evaluate, survivors
from dynamics.adversary.evaluation import suspicions
from dynamics.data.images import LabelledImages
from dynamics.data.sample import Sample
from dynamics.descent import named
from dynamics.keys import named_key, seed_key
from dynamics.models.linear import Linear
from dynamics.parts import part, static
from dynamics.problem import Problem

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 5))
W = RNG.normal(size=(5, 3))


def test_a_linear_score_loses_exactly_the_points_within_reach():
    w = W[:, 0]
    labels = np.sign(X @ w)
    labels[:6] *= -1  # errors from the start
    found = evaluate(KEY, lambda x: x @ jnp.asarray(w), X, labels, 0.3, trials=300)
    within = np.mean(labels * (X @ w) > 0.3 * np.abs(w).sum())
    assert found.accuracy.pop("clean") == pytest.approx(0.9)
    assert list(found.accuracy) == ["fgsm", "pgd", "margin", "random_search", "worst"]
    np.testing.assert_allclose(list(found.accuracy.values()), within)
    assert found.overestimate == 0
    assert found.zero_gradients == 0
    assert found.suspicions == ()


@pytest.mark.exhaustive
def test_trees_of_equal_structure_share_one_program():
    labels, traced = np.sign(X[:, 0]), []

    def score(w, x):
        traced.append(len(x))
        return x @ w

    def found(w, radius, function):
        return evaluate(KEY, function(score, w), X, labels, radius, trials=20, steps=2, margin_steps=2)

    first, w = found(jnp.ones(X.shape[1]), 0.1, jax.tree_util.Partial), jnp.arange(1.0, X.shape[1] + 1)
    compiled = len(traced)
    second = found(w, 0.2, jax.tree_util.Partial)
    assert len(traced) == compiled + 1  # for its shape
    assert second.accuracy == found(w, 0.2, lambda f, w: lambda x: f(w, x)).accuracy != first.accuracy


def test_each_attack_alone_and_the_worst_of_them():
    labels = np.argmax(X @ W, axis=1)
    sample = Sample(jnp.asarray(X), jnp.ones(60), jnp.asarray(labels), jnp.asarray(labels))
    source = {"source": lambda x: x @ jnp.asarray(W[:, ::-1].copy())}

    def model(x):
        return jnp.sin(x @ W)

    chosen = {"attack": ATTACKS, "trials": 50, **source}
    alive = np.asarray(jax.jit(lambda key: survivors(key, model, sample, 0.2, **chosen))(KEY))
    rows = dict(zip(ATTACKS, alive, strict=True))
    np.testing.assert_array_equal(rows["worst"], alive[:-1].all(axis=0))
    np.testing.assert_array_equal(rows["clean"], np.argmax(np.sin(X @ W), axis=1) == labels)
    some = jax.jit(lambda key: survivors(key, model, sample, 0.2, attack=("worst", "fgsm")))(KEY)
    np.testing.assert_array_equal(some[1], rows["fgsm"])
    np.testing.assert_array_equal(some[0], rows["fgsm"] & rows["clean"])
    # of two classes that differ by a plane, the distance in linf is exact
    lead = X @ (W[:, :1] - W[:, 1:2])
    two = Sample(jnp.asarray(X), jnp.ones(60), jnp.zeros(60, int), jnp.zeros(60, int))
    pair = jnp.asarray(W[:, :2])
    alive = jax.jit(lambda key: survivors(key, lambda x: x @ pair, two, 0.2, attack=("pgd", "margin")))(KEY)
    exact = lead[:, 0] > 0.2 * np.abs(W[:, 0] - W[:, 1]).sum()
    np.testing.assert_array_equal(alive, np.stack([exact, exact]))


@pytest.mark.exhaustive
def test_large_logits_mask_gradients_and_it_is_said():
    x, labels = X.astype(np.float32), np.argmax(X @ W, axis=1)

    def found(scale):
        some = ("clean", "pgd", "margin", "worst")
        return evaluate(KEY, lambda p: scale * (p @ jnp.asarray(W, jnp.float32)), x, labels, 0.2, attack=some)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = found(1.0)
    with pytest.warns(UserWarning, match="are exactly 0") as told:
        masked = found(1e4)
    assert any("overstates robustness" in str(w.message) for w in told)
    assert masked.accuracy["clean"] == plain.accuracy["clean"] == 1
    assert masked.accuracy["margin"] == pytest.approx(plain.accuracy["margin"], abs=0.01)
    assert masked.accuracy["pgd"] > plain.accuracy["pgd"] + 0.1
    assert masked.zero_gradients > 0.5
    assert masked.overestimate == pytest.approx(masked.accuracy["pgd"] - masked.accuracy["worst"])


@pytest.mark.parametrize(
    ("accuracy", "zeros", "count"),
    [
        ({"pgd": 0.5, "margin": 0.46, "random_search": 0.46}, 0.05, 0),
        ({"pgd": 0.5, "margin": 0.44, "random_search": 0.46}, 0.05, 1),
        ({"pgd": 0.5, "margin": 0.46, "random_search": 0.44}, 0.06, 2),
        ({"clean": 1.0}, 0.0, 0),
    ],
)
def test_suspicions(accuracy, zeros, count):
    assert len(suspicions(accuracy, zeros)) == count


@part
class Mirrored:
    """The start of a linear model: class means, the classes' order reversed if asked for."""

    reverse: bool = static(False)

    def params(self, model, draw):
        return {"W": draw.features[::-1] if self.reverse else draw.features}


@pytest.mark.exhaustive
def test_as_observables():
    data = LabelledImages(RNG.uniform(size=(40, 6)), np.arange(40) % 3, (1, -1, 1), 24, 10)
    problem = Problem(data, Linear(3), "cross_entropy", start=Mirrored())
    options = {"steps": 3, "margin_steps": 3, "trials": 5, "box": (0.0, 1.0)}
    under = observables.accuracy_under.given(radius=0.1, attack=ATTACKS, source=Mirrored(True), **options)
    end = {"under": under, "masking": observables.masking}
    found = simulate(problem, named("gd", 0.01), steps=0, observe_end=end, seeds=2)
    assert found.under.attack.values.tolist() == list(ATTACKS)
    assert found.under.dims == ("seed", "attack")
    assert bool((found.under.sel(attack="worst") <= found.under.min("attack")).all())
    assert found.masking.sel(indicator="zero_gradients").max() == 0
    draw = data.sample(named_key(seed_key(1), "data"))
    W, target = np.asarray(draw.features), np.asarray(draw.test.target)
    scores = np.exp(np.asarray(draw.test.x) @ W.T)
    slopes = (scores / scores.sum(axis=1, keepdims=True) - np.eye(3)[target]) @ W
    size = np.linalg.norm(slopes, axis=1).mean()
    assert float(found.masking.sel(indicator="gradient_norm")[1]) == pytest.approx(size, rel=1e-9)


@pytest.mark.parametrize(
    ("labels", "options", "sentence"),
    [
        (np.zeros(60), {"attack": ("pdg",)}, "attack must name some of clean"),
        (np.zeros(60), {"attack": ()}, "at least one attack"),
        (np.zeros(60), {"attack": ("transfer",)}, "needs a source"),
        (np.zeros(60), {"norm": "l2"}, "random_search needs norm linf"),
        (np.full(60, 3), {}, "labels must lie in 0 .. 2, got 3 .. 3"),
        (np.zeros(59), {}, "one for each of the 60 points"),
    ],
)
def test_bad_input_is_refused(untyped, labels, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        evaluate(KEY, lambda x: x @ W, X, labels, 0.1, **options)
    with pytest.raises(ValueError, match="labels must be -1 and"):
        evaluate(KEY, lambda x: x @ W[:, 0], X, np.zeros(60), 0.1)
