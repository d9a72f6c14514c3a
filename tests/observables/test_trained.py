"""Trained parameters in a result, against what observables of a plain run see, and networks made of them."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dynamics
from dynamics import observables, results
from dynamics.data import LinearTeacher
from dynamics.data.clusters import Clusters
from dynamics.descent import steepest
from dynamics.descriptions import describe
from dynamics.engine.simulate import simulate
from dynamics.keys import named_key, seed_key
from dynamics.models import MLP, Homogeneous, TwoLayer
from dynamics.models.activations import Activation
from dynamics.observables import trained
from dynamics.observables.base import observable
from dynamics.parts import Axis
from dynamics.problem import Problem

DIM = 3
DATA = LinearTeacher(DIM, 6, 4)
SCALES = [0.5, 1.0]
RULE = steepest("l2", 0.1)


class Normed(nn.Module):
    """A module of a user's own: batch norm, and names that are no Python names."""

    @nn.compact
    def __call__(self, x, train):
        z = nn.Dense(2, name="first.layer, 1", param_dtype=float)(x)
        norm = nn.BatchNorm(use_running_average=not train, momentum=0.8, param_dtype=float, name="norm")
        return (nn.tanh(norm(z)) @ self.param("a", nn.initializers.normal(1.0), (2, 1), float))[:, 0]


@observable(("output", "inner"))
def last_layer(params, problem, draw):
    return params["a"]


@observable(("inner", "dim"))
def first_layer(params, problem, draw):
    return params["W"]


LAYERS = {"a": last_layer, "W": first_layer}
PLAIN = {"steps": 5, "when": [5], "seeds": [0, 4]}
DEEP = Problem(DATA, Homogeneous((2,)), init_scale=Axis("scale", SCALES))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "result.nc"
    observe_end = {"f": observables.outputs.given(points="test")}
    dynamics.save(simulate(DEEP, RULE, observe_end=observe_end, parameters=True, **PLAIN), path)
    return dynamics.load(path)


def test_parameters_are_those_of_a_plain_run(run):
    plain = simulate(DEEP, RULE, observe=LAYERS, **PLAIN).isel(step=-1)
    for scale in SCALES:
        found = dynamics.parameters(run, 4, scale=scale)
        assert sorted(found) == ["W", "a"]
        for name in LAYERS:
            np.testing.assert_array_equal(found[name], plain[name].sel(seed=4, scale=scale), strict=True)


def test_a_predictor_needs_the_result_only(run):
    key = named_key(seed_key(4), "data")
    network = dynamics.predictor(run, 4, scale=0.5)
    expected = run.f.sel(seed=4, scale=0.5)
    np.testing.assert_allclose(network(DATA.sample(key).test.x), expected, rtol=0, atol=1e-13)


@pytest.mark.exhaustive
def test_a_network_in_gram_space_too():
    wide = Problem(Clusters(40, 2, 5), TwoLayer(3), init_scale=0.1)
    how = {"steps": 3, "seeds": [2], "engine": "gram"}
    run = simulate(wide, RULE, observe_end={"w": observables.weights}, parameters=True, **how)
    assert run.attrs["engine"] == "gram"
    np.testing.assert_array_equal(dynamics.parameters(run, 2)["W"], run.w.sel(seed=2))


@pytest.fixture(scope="module")
def own():
    problem = Problem(DATA, Normed())
    observe = {"f": observables.outputs.given(points="test"), "all": observables.parameters}
    return problem, simulate(problem, RULE, observe_end=observe, parameters=True, **PLAIN)


def test_a_module_of_ones_own_with_running_means(own):
    problem, run = own
    params = dynamics.parameters(run, 4)
    assert set(params["first.layer, 1"]) == {"kernel", "bias"}
    vector = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)])
    np.testing.assert_array_equal(vector, run["all"].sel(seed=4), strict=True)
    network = dynamics.predictor(run, 4, problem)
    x = DATA.sample(named_key(seed_key(4), "data")).test.x
    np.testing.assert_allclose(network(x), run.f.sel(seed=4), rtol=0, atol=1e-13)


def test_a_module_of_ones_own_is_asked_for(own):
    problem, run = own
    with pytest.raises(ValueError, match=r"its model Normed is made of: give the problem too, as predictor"):
        dynamics.predictor(run, 4)
    with pytest.raises(ValueError, match="of another model than the problem's TwoLayer"):
        dynamics.predictor(run, 4, dataclasses.replace(problem, model=TwoLayer(2)))


def test_what_is_not_in_the_result_is_said(run):
    with pytest.raises(ValueError, match="has no seed 1: it has 0, 4"):
        dynamics.parameters(run, 1, scale=0.5)
    with pytest.raises(ValueError, match=r"has no scale 0.7: it has 0.5, 1.0"):
        dynamics.parameters(run, 0, scale=0.7)
    with pytest.raises(ValueError, match=r"several scale: give scale=, one of 0.5, 1.0"):
        dynamics.parameters(run, 0)
    with pytest.raises(ValueError, match="has no axis 'noise': it has scale, seed"):
        dynamics.parameters(run, 0, scale=0.5, noise=1.0)
    with pytest.raises(ValueError, match="no parameters: run it with parameters=True"):
        dynamics.parameters(run[["f"]], 0, scale=0.5)


def test_a_seed_that_diverged_has_none(run):
    gone = run.copy()
    gone["first_nonfinite_step"] = gone.first_nonfinite_step + 3
    with pytest.raises(ValueError, match="seed 4 diverged at step 2"):
        dynamics.parameters(gone, 4, scale=0.5)


def test_of_joined_results_the_arm_is_an_axis(run):
    arms = results.join(
        {"small": run.sel(scale=0.5, drop=True), "large": run.sel(scale=1.0, drop=True)}, "arm"
    )
    x = jnp.ones((2, DIM))
    expected = dynamics.predictor(run, 4, scale=1.0)(x)
    np.testing.assert_array_equal(dynamics.predictor(arms, 4, arm="large")(x), expected)


@pytest.mark.parametrize("model", [MLP((3, 2)), TwoLayer(2, activation=Activation("gelu"))])
def test_models_are_made_again_from_what_a_result_says(model):
    assert trained._rebuilt_model(describe(model)) == model


@pytest.mark.parametrize("said", [describe(nn.Dense(1)), {"part": "os.system", "command": "true"}, None, 3])
def test_what_is_not_all_said_is_not_made(said):
    with pytest.raises(ValueError, match="give the problem too"):
        trained._rebuilt_model(said)


def test_parameters_in_lists_are_refused():
    with pytest.raises(ValueError, match="in dicts of dicts"):
        trained.recorded({"layers": [jnp.ones(2)]}, {})


def test_a_network_takes_one_input_too_and_tells_of_others(run, untyped):
    found = trained.predictor(run, 4, scale=0.5)
    assert repr(found) == "Homogeneous(widths=(2,)) trained with seed=4, scale=0.5"
    assert found(np.ones((2, DIM))).dtype == float
    np.testing.assert_array_equal(found([1.0] * DIM), found(np.ones((1, DIM)))[0])
    with pytest.raises(ValueError, match=r"must be of the shape .* got \(2, 4\): "):
        found(np.ones((2, DIM + 1)))


def test_parameters_leave_the_coordinates_to_what_has_labels(run, untyped):
    assert set(run.coords) == {"scale", "seed", "step", "point"}
    with pytest.raises(ValueError, match=r"^the result has no seed 9: it has 0, 4$"):
        trained.parameters(run, np.int64(9), scale=0.5)
