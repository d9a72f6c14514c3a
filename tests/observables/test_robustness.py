"""Accuracies under attack against NumPy: exact attacks of linear networks, ties, and what is refused."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import observables as o
from dynamics.adversary import FGSM, PGD, FeatureShift
from dynamics.data import LinearTeacher
from dynamics.data.patches import RobustNonRobust
from dynamics.models import Linear
from dynamics.models.activations import Activation
from dynamics.models.patch_cnn import PatchCNN
from dynamics.observables.robustness import attacked
from dynamics.parts import Axis
from dynamics.problem import Problem

KEY = jax.random.key(2)
LINEAR = Activation("linear")
DATA = RobustNonRobust(8, 4, 24, 20, 1, 2, noise=0.4)
BINARY = Problem(DATA, PatchCNN(1, activation=LINEAR))
CLASSES = Problem(DATA, PatchCNN(1, 4, activation=LINEAR), "cross_entropy")
DRAW = jax.jit(DATA.sample)(KEY)
RADII = np.array([0.0, 0.05, 0.1, 0.3])
DUAL = {
    "l2": lambda v: np.sqrt(3) * np.linalg.norm(v, axis=-1),
    "linf": lambda v: 3 * np.abs(v).sum(axis=-1),
    "max-l2": lambda v: 3 * np.linalg.norm(v, axis=-1),
}


def weights(problem):
    """Weights that are mostly right: sums of a class's features, and noise."""
    features, classes = np.asarray(DRAW.features), np.asarray(DRAW.feature_classes)
    if problem is BINARY:
        W = (np.asarray(DRAW.feature_signs)[:, None] * features).sum(axis=0, keepdims=True)
    else:
        W = np.stack([features[classes == c].sum(axis=0) for c in range(4)])
    return W + 0.2 * np.random.default_rng(0).normal(size=W.shape)


def leads(problem, W, sample, norm):
    """The smallest margin over the other classes at every radius, in closed form."""
    inputs = np.asarray(sample.x).sum(axis=1)
    if problem is BINARY:
        margins = np.asarray(sample.y) * (inputs @ W[0])
        return margins[:, None] - RADII * DUAL[norm](W[0])
    found = []
    for x, c in zip(inputs, np.asarray(sample.target), strict=True):
        apart = np.delete(W[c] - W, c, axis=0)
        found.append(((apart @ x)[:, None] - RADII * DUAL[norm](apart)[:, None]).min(axis=0))
    return np.stack(found)


@pytest.mark.parametrize("problem", [BINARY, CLASSES], ids=["binary", "classes"])
def test_exact_attacks_of_linear_networks(problem):
    W = weights(problem)
    params = {"W": jnp.asarray(W)}
    attacks = {norm: FGSM(9.0, norm=norm) for norm in DUAL}

    @jax.jit
    def measured(params):
        found = {}
        for norm, attack in attacks.items():
            for points in ("train", "test"):
                curve = o.robust_curve.given(attack=attack, radius=RADII, points=points, objective="margin")
                found[norm, points] = curve(params, problem, DRAW, KEY)
        single = o.robust_accuracy.given(attack=FGSM(RADII[2], norm="l2"), num_points=7)
        rates = [o.accuracy.given(points=p)(params, problem, DRAW, KEY) for p in ("train", "test")]
        return found, single(params, problem, DRAW, KEY), rates

    curves, single, clean = measured(params)
    for (norm, points), curve in curves.items():
        sample = getattr(DRAW, points)
        robust = (leads(problem, W, sample, norm) > 0).mean(axis=0)
        np.testing.assert_allclose(clean[points == "test"], robust[0])
        if problem is BINARY:
            np.testing.assert_allclose(curve, robust)
            assert 0 < robust[1] < robust[0]
        else:  # one step goes for the best class at the clean input, which need not be the nearest
            assert (curve >= robust - 1e-12).all()
            np.testing.assert_allclose(curve[0], robust[0])
            assert curve[-1] < curve[0]
    if problem is BINARY:
        first = leads(problem, W, DRAW.test, "l2")[:7, 2] > 0
        np.testing.assert_allclose(single, first.mean())


def test_ties_are_errors():
    """Of one output at 0, and of logits where another class has as much."""
    nothing = jnp.zeros((1, 8))
    for points in ("train", "test"):
        observable = o.accuracy.given(points=points)
        assert observable({"W": nothing}, BINARY, DRAW, KEY) == 0
        assert observable({"W": jnp.zeros((4, 8))}, CLASSES, DRAW, KEY) == 0
    # classes 0 and 1 tie, so that only samples of the others can be right
    W = weights(CLASSES)
    W[1] = W[0]
    logits = np.einsum("npd,cd->nc", np.asarray(DRAW.test.x), W)
    target = np.asarray(DRAW.test.target)
    right = np.mean([t >= 2 and row.argmax() == t for t, row in zip(target, logits, strict=True)])
    found = o.accuracy({"W": jnp.asarray(W)}, CLASSES, DRAW, KEY)
    np.testing.assert_allclose(found, right)
    assert 0 < right <= 0.5


@pytest.mark.exhaustive
def test_the_curve_is_the_accuracy_at_every_radius():
    problem = Problem(DATA, PatchCNN(2, 4, activation=Activation("smoothed_relu")), "cross_entropy")
    params = {"W": jnp.repeat(jnp.asarray(weights(CLASSES)), 2, axis=0)}
    attack = PGD(1.0, norm="max-l2", steps=4, span="features")

    @jax.jit
    def measured(params, attack, radius):
        chosen = {"attack": attack, "points": "train", "num_points": 11}
        one = o.robust_accuracy.given(**chosen)(params, problem, DRAW, KEY)
        return one, o.robust_curve.given(radius=radius, **chosen)(params, problem, DRAW, KEY)

    radii = jnp.asarray([0.0, 0.2, 0.5])
    single = [measured(params, dataclasses.replace(attack, radius=r), radii)[0] for r in radii]
    curve = measured(params, attack, radii)[1]
    np.testing.assert_array_equal(curve, single)
    assert curve[2] < curve[0]


@pytest.mark.exhaustive
def test_attacked_samples_keep_their_labels_and_raise_what_is_asked():
    params = {"W": jnp.asarray(weights(CLASSES))}
    attack = FGSM(0.2, norm="linf")
    for objective in ("loss", "margin"):
        moved = attacked(params, CLASSES, DRAW, KEY, "test", attack, num_points=5, objective=objective)
        for name in ("y", "target", "feature"):
            np.testing.assert_array_equal(getattr(moved, name), getattr(DRAW.test, name)[:5])
        logits = np.einsum("npd,cd->nc", np.asarray(DRAW.test.x[:5]), params["W"])
        for i, c in enumerate(np.asarray(moved.target)):
            if objective == "loss":
                share = np.exp(logits[i]) / np.exp(logits[i]).sum()
                gradient = share @ np.asarray(params["W"]) - params["W"][c]
            else:
                other = max(set(range(4)) - {int(c)}, key=lambda j: logits[i, j])
                gradient = params["W"][other] - params["W"][c]
            np.testing.assert_allclose(
                moved.x[i], DRAW.test.x[i] + 0.2 * np.sign(gradient)[None], rtol=1e-9, atol=1e-12
            )
    shifted = attacked(params, CLASSES, DRAW, KEY, "test", FeatureShift(0.1))
    assert np.abs(shifted.x - DRAW.test.x).max() > 0.01


@pytest.mark.parametrize("radius", [-1.0, [0.1, -0.5], [math.nan], math.inf, "a", None, Axis("radius", [-1])])
@pytest.mark.parametrize("name", ["universal_accuracy", "pgd_accuracy", "robust_curve"])
def test_a_radius_that_is_none_is_refused(name, radius):
    with pytest.raises(ValueError, match="radius must be finite numbers of at least 0"):
        getattr(o, name).given(radius=radius)


def test_an_unknown_objective_is_refused(untyped):
    params = {"W": jnp.asarray(weights(CLASSES))}
    with pytest.raises(ValueError, match="objective must be one of loss, logistic"):
        attacked(params, CLASSES, DRAW, KEY, "test", FGSM(0.1), objective="score")


def test_evaluation_has_settings_of_its_own_beside_those_of_training():
    """PGD of 1 step trains, of 2 and of 9 evaluates: each share is that of its attack, called directly."""
    problem = Problem(LinearTeacher(3, 6, 20), Linear(), adversary=PGD(0.1, steps=1, random_start=False))
    attacks = [PGD(0.4, steps=n, relative_step=0.1 * n, random_start=False) for n in (2, 9)]

    @jax.jit
    def shares(key):
        params, draw = problem.init(key), problem.sample(key)
        test = draw.test

        def raised(x):
            return jax.nn.softplus(-test.y * problem.apply(params, x))

        moved = [attack.perturb(key, raised, test, draw) for attack in attacks]
        direct = [jnp.mean(test.y * problem.apply(params, x) > 0) for x in moved]
        return direct, [o.robust_accuracy.given(attack=a)(params, problem, draw, key) for a in attacks]

    direct, observed = shares(KEY)
    assert direct[1] < direct[0]
    np.testing.assert_allclose(observed, direct, rtol=1e-6)
