"""Observables of networks on patches against NumPy loops, in parameter and in Gram space."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import observables as o
from dynamics import simulate, steepest
from dynamics.adversary import FGSM, FeatureShift
from dynamics.data.clusters import Clusters
from dynamics.data.coarse import BinaryClasses
from dynamics.data.patches import RobustNonRobust, SignalNoise
from dynamics.keys import named_key, seed_key
from dynamics.models.activations import Activation
from dynamics.models.mlp import MLP
from dynamics.models.patch_cnn import PatchCNN
from dynamics.models.two_layer import TwoLayer
from dynamics.problem import Problem

KEY = jax.random.key(5)
SIGNAL = SignalNoise(5, 4, 6, 3, "random", "random")
ROBUST = RobustNonRobust(7, 3, 6, 4, 1, 2, shuffle=True, spread=0.3, noise=0.2)
CUBE = Activation("odd_power", power=3.0)
CASES = {
    "binary": Problem(SIGNAL, PatchCNN(2, activation=CUBE)),
    "signed with biases": Problem(SIGNAL, PatchCNN(2, signed=True, use_bias=True)),
    "classes": Problem(ROBUST, PatchCNN(2, 3, activation=Activation("smoothed_relu")), "cross_entropy"),
    "classes with biases": Problem(ROBUST, PatchCNN(2, 3, use_bias=True), "cross_entropy"),
}
ALL = (-1, 0, 1)
DRAWS = {id(data): jax.jit(data.sample)(KEY) for data in (SIGNAL, ROBUST)}


def weights(problem):
    """Random parameters."""
    rng, neurons = np.random.default_rng(0), problem.model.num_neurons
    params = {"W": rng.normal(size=(neurons, problem.data.dim))}
    if problem.model.use_bias:
        params["b"] = rng.normal(size=neurons)
    return jax.tree.map(jnp.asarray, params)


@pytest.fixture(scope="module", params=CASES)
def case(request):
    """A problem with its parameters and data."""
    problem = CASES[request.param]
    return problem, weights(problem), DRAWS[id(problem.data)]


def score_by_hand(problem, params, x, y, target, patches):
    """y f(x), or the target's logit, of some patches of one input."""
    total = 0.0
    for r, w in enumerate(np.asarray(params["W"])):
        for p in patches:
            z = w @ x[p] + (params["b"][r] if "b" in params else 0)
            name = problem.model.activation.name
            if name == "odd_power":
                value = z**3
            elif name == "relu":
                value = max(z, 0)
            else:
                value = max(z, 0) ** 3 / 3 if z <= 1 else z - 2 / 3
            if problem.model.num_outputs > 1:
                total += value * (r // problem.model.width == target)
            else:
                total += y * value * (1 if r < problem.model.width else -1)
    return total


def families(problem):
    return (-1, 0) if problem.data is SIGNAL else ALL


def test_scores_are_loops_over_patches_and_add_up(case):
    problem, params, draw = case
    for points, observable in (("train", o.patch_scores), ("test", o.test_patch_scores)):
        found = np.asarray(observable.given(family=families(problem))(params, problem, draw, KEY))
        sample = getattr(draw, points)
        x, family = np.asarray(sample.x), np.asarray(sample.patches.family)
        for i in range(len(x)):
            label = float(sample.y[i]), int(sample.target[i])
            for number, score in zip(families(problem), found[:, i], strict=True):
                inside = np.flatnonzero(family[i] == number)
                expected = score_by_hand(problem, params, x[i], *label, inside)
                np.testing.assert_allclose(score, expected, rtol=1e-9, atol=1e-12)
        outputs = np.asarray(problem.apply(params, sample.x))
        whole = (
            np.asarray(sample.y) * outputs
            if outputs.ndim == 1
            else outputs[np.arange(len(x)), np.asarray(sample.target)]
        )
        np.testing.assert_allclose(found.sum(axis=0), whole, rtol=1e-12, atol=1e-12)
        assert np.abs(found).max(axis=1)[0 if problem.data is SIGNAL else 1] > 0.01


def test_scores_add_up_in_float32_and_after_an_attack(case):
    problem, params, draw = case
    narrow = jax.tree.map(lambda a: a.astype(np.float32) if a.dtype == np.float64 else a, (params, draw))
    attack = FGSM(0.3, norm="max-l2", span="features")
    observable = o.patch_scores.given(family=families(problem), attack=attack)

    @jax.jit
    def measured(params, draw):
        moved = o.robustness.attacked(params, problem, draw, KEY, "train", attack)
        return observable(params, problem, draw, KEY), problem.apply(params, moved.x)

    found, outputs = map(np.asarray, measured(*narrow))
    assert found.dtype == np.float32
    train = draw.train
    if outputs.ndim == 1:
        whole = np.asarray(train.y) * outputs
    else:
        whole = outputs[np.arange(len(outputs)), np.asarray(train.target)]
    np.testing.assert_allclose(found.sum(axis=0), whole, atol=2e-5 * np.abs(found).max())
    clean = np.asarray(o.patch_scores.given(family=families(problem))(params, problem, draw, KEY))
    if -1 in families(problem):  # patches of noise stay where they are
        np.testing.assert_allclose(found[0], clean[0], atol=2e-5 * np.abs(clean).max())
    assert np.abs(found - clean).max() > 0.01


@pytest.mark.exhaustive
def test_projections_are_without_biases(case):
    problem, params, draw = case
    x, W = np.asarray(draw.train.x), np.asarray(params["W"])
    inner = np.einsum("rd,npd->rnp", W, x)
    np.testing.assert_allclose(o.patch_projection(params, problem, draw, KEY), inner, rtol=1e-10, atol=1e-13)
    lengths = np.linalg.norm(W, axis=1)[:, None, None] * np.linalg.norm(x, axis=2)
    np.testing.assert_allclose(
        o.patch_alignment(params, problem, draw, KEY), inner / lengths, rtol=1e-10, atol=1e-13
    )
    nothing = params | {"W": params["W"].at[0].set(0)}
    empty = dataclasses.replace(draw, train=dataclasses.replace(draw.train, x=draw.train.x.at[:, 1].set(0)))
    found = np.asarray(o.patch_alignment(nothing, problem, empty, KEY))
    np.testing.assert_array_equal(found[0], 0)
    np.testing.assert_array_equal(found[:, :, 1], 0)
    assert (found[1:, :, 0] != 0).all()


def test_strength_is_the_largest_projection_of_own_neurons(case):
    problem, params, draw = case
    inner = np.asarray(params["W"]) @ np.asarray(2 * draw.features).T / 2  # features have norm 1
    if problem.model.num_outputs == 1:
        expected = inner[: problem.model.width].max(axis=0)
    else:
        expected = [inner[2 * (j % 3) : 2 * (j % 3) + 2, j].max() for j in range(6)]
    longer = dataclasses.replace(draw, features=2 * draw.features)
    np.testing.assert_allclose(o.feature_strength(params, problem, longer, KEY), expected, rtol=1e-10)


def test_a_feature_that_no_neuron_speaks_for():
    problem = Problem(ROBUST, PatchCNN(2))
    params, draw = weights(problem), DRAWS[id(ROBUST)]
    found = np.asarray(o.feature_strength(params, problem, draw, KEY))
    np.testing.assert_array_equal(np.isneginf(found), np.asarray(draw.feature_signs) < 0)


@pytest.mark.exhaustive
def test_gram_space_observes_what_parameter_space_does():
    problem = dataclasses.replace(CASES["classes with biases"], init_scale=0.5)
    end = {
        "scores": o.patch_scores.given(family=ALL),
        "test_scores": o.test_patch_scores.given(family=ALL),
        "moved": o.test_patch_scores.given(family=ALL, attack=FeatureShift(0.2)),
        "projection": o.patch_projection,
        "alignment": o.patch_alignment,
        "strength": o.feature_strength,
        "weights": o.weights,
        "bias": o.bias,
    }
    result = simulate(
        problem, steepest("l2", 0.3), steps=4, observe=end, when=[4], seeds=2, engine="gram", strategy="vmap"
    )
    assert result.attrs["engine"] == "gram"
    np.testing.assert_array_equal(result.family, ALL)
    last = result.isel(step=-1, seed=1)
    params = {"W": jnp.asarray(last.weights.values), "b": jnp.asarray(last.bias.values)}

    @jax.jit
    def alone(params):
        draw = ROBUST.sample(named_key(seed_key(1), "data"))
        return {name: observable(params, problem, draw, KEY) for name, observable in end.items()}

    for name, value in alone(params).items():
        np.testing.assert_allclose(last[name], value, rtol=1e-8, atol=1e-11)
    assert np.abs(last.scores - result.scores.isel(step=-1, seed=0)).max() > 0.01


# --- refusals

CLUSTERS = Clusters(6, 3, 6, 4)


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (Problem(CLUSTERS, TwoLayer(2, 3), "cross_entropy"), "need data made of patches, such as"),
        (Problem(CLUSTERS, MLP((4,))), "need data made of patches, such as"),
    ],
)
@pytest.mark.parametrize(
    "name",
    [
        *("patch_scores", "test_patch_scores", "patch_projection", "patch_alignment"),
        *("memory_strength", "noise_square"),
    ],
)
def test_data_without_patches_are_one_sentence_before_compiling(untyped, problem, message, name):
    with pytest.raises(ValueError, match=message) as caught:
        simulate(problem, steepest("l2", 0.1), steps=1, observe={name: getattr(o, name)})
    assert "\n" not in str(caught.value)


def test_networks_that_see_no_patches_and_unknown_families_are_refused(untyped):
    problem = CASES["classes"]
    params, drawn = weights(problem), DRAWS[id(ROBUST)]
    other = Problem(ROBUST, TwoLayer(2, 3), "cross_entropy")
    with pytest.raises(ValueError, match="observables of patches need a PatchCNN, got TwoLayer"):
        o.patch_scores(params, other, drawn, KEY)
    for family, message in (
        ((0, 2), "families of patches -1 to 1, got 2 in family"),
        ((-2,), "families of patches -1 to 1, got -2 in family"),
        ((), "family must be a tuple"),
        (np.array([0.0]), "family must be a tuple"),
    ):
        with pytest.raises(ValueError, match=message):
            o.patch_scores.given(family=family)(params, problem, drawn, KEY)
    # with binary classes the families are still there
    binary = Problem(ROBUST, PatchCNN(2, signed=True))
    draw = BinaryClasses(SimpleNamespace(sample=lambda key: drawn)).sample(KEY)
    params = weights(binary)
    scores = o.patch_scores.given(family=[0, 1])(params, binary, draw, KEY)
    np.testing.assert_allclose(
        scores.sum(axis=0), draw.train.y * binary.apply(params, draw.train.x), rtol=1e-10
    )
