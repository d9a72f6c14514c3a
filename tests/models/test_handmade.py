"""Networks written down: their weights, outputs and robust radii are closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import observables, simulate, steepest
from dynamics.adversary.certificates import max_logit_radius, two_layer_radius
from dynamics.data.clusters import Clusters
from dynamics.data.patches import RobustNonRobust
from dynamics.laws.feature_averaging import mixed_radius, sum_logit_radius
from dynamics.models.handmade import Averaging, Mixed, PureFeatures
from dynamics.models.patch_cnn import PatchCNN
from dynamics.models.two_layer import TwoLayer
from dynamics.problem import Problem

K, DIM = 6, 48
CENTRES_ONLY = Clusters(DIM, K, 24, 36, noise=0.0, exact_counts=True)
NOISY = Clusters(DIM, K, 24, 60, noise=0.2)


def built(data, model, start, readout="max_logit"):
    problem = Problem(
        data, model, loss="logistic" if model.num_outputs == 1 else "cross_entropy", start=start
    )
    key = jax.random.key(3)
    return problem, problem.sample(key), problem.init(jax.random.key(4), key)


def test_averaging_scores_every_centre_one_and_has_the_hyperplane_distance():
    model = TwoLayer(3)
    problem, draw, params = built(NOISY, model, Averaging())
    at_centres = problem.score(params, draw.features, draw)
    np.testing.assert_allclose(at_centres, draw.feature_signs, rtol=1e-12)
    np.testing.assert_array_equal(params["b"], 0)
    # both blocks are on near the centres, so the boundary is a plane: distance in plain NumPy
    normal = np.asarray(draw.feature_signs @ draw.features)
    exact = np.asarray(draw.test.y) * (np.asarray(draw.test.x) @ normal) / np.linalg.norm(normal)
    a = np.repeat([1.0, -1.0], 3) / 3
    lower, upper = two_layer_radius(params["W"], params["b"], a, draw.test.x, draw.test.y, 3)
    np.testing.assert_allclose(lower, exact, rtol=1e-9)
    np.testing.assert_allclose(upper, exact, rtol=1e-5)


@pytest.mark.exhaustive
@pytest.mark.parametrize("mixing", [0.0, 0.3, 0.7, 0.99])
def test_mixed_classifies_all_and_has_the_closed_form_radius(mixing):
    problem, draw, params = built(CENTRES_ONLY, TwoLayer(1, K, use_bias=False), Mixed(mixing))
    logits = problem.apply(params, draw.test.x)
    np.testing.assert_array_equal(jnp.argmax(logits, axis=1), draw.test.target)
    z = draw.test.x @ params["W"].T
    lower, upper = max_logit_radius(z, params["W"] @ params["W"].T, draw.test.y, draw.class_signs)
    np.testing.assert_allclose(lower, mixed_radius(np.sqrt(DIM), K, mixing), rtol=1e-6)
    np.testing.assert_allclose(upper, lower, rtol=1e-4)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("bias", "radius"), [(0.0, sum_logit_radius(DIM**0.5, K // 2)), (-0.5, DIM**0.5 / 2)]
)
def test_summed_logits_of_the_decoupled_net(bias, radius):
    """Figure 1's classifier (bias -1/2) has radius R/2; without biases it is R/sqrt(1 + k/2)."""
    model = TwoLayer(1, K, use_bias=True)
    _, draw, params = built(CENTRES_ONLY, model, Mixed(0.0, bias))
    a = np.asarray(draw.class_signs)
    lower, upper = two_layer_radius(params["W"], params["b"], a, draw.test.x, draw.test.y, K // 2)
    np.testing.assert_allclose(lower, radius, rtol=1e-6)
    np.testing.assert_allclose(upper, radius, rtol=1e-4)


@pytest.mark.exhaustive
def test_mixing_is_traced_and_training_goes_on_from_it():
    from dynamics import Axis

    model = TwoLayer(2, K, use_bias=False)
    problem = Problem(NOISY, model, loss="cross_entropy", start=Mixed(Axis("mixing", [0.0, 0.5])))
    end = {"loss": observables.training_loss}
    result = simulate(problem, steepest("l2", 0.1), steps=5, observe=end, when=[0], seeds=2)
    assert result.loss.dims == ("mixing", "seed", "step")
    assert (result.loss.isel(step=-1) < result.loss.isel(step=0)).all()
    assert (result.loss.isel(mixing=0, step=0) < result.loss.isel(mixing=1, step=0)).all()


@pytest.mark.parametrize(
    ("model", "start", "message"),
    [
        (TwoLayer(1, K), Averaging(), "binary network"),
        (TwoLayer(1), Mixed(0.5), "one class"),
        (TwoLayer(1, K - 2), Mixed(0.5), "one class"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(model, start, message):
    problem = Problem(
        NOISY, model, loss="logistic" if model.num_outputs == 1 else "cross_entropy", start=start
    )
    with pytest.raises(ValueError, match=message):
        simulate(problem, steepest("l2", 0.1), steps=1, seeds=1)


@pytest.mark.parametrize("mixing", [-0.1, 1.5, np.array([0.5, 2.0])])
def test_mixing_out_of_range(mixing):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Mixed(mixing)


@pytest.mark.exhaustive
@pytest.mark.parametrize("family", [0, 1])
def test_pure_features_answer_to_one_family_alone(family):
    data = RobustNonRobust(8, 3, 6, 6, 1, 4, noise=0.0)
    _, draw, params = built(data, PatchCNN(2, 3, use_bias=True), PureFeatures(0.7, family))
    own = np.asarray(draw.features)[3 * family : 3 * family + 3]
    np.testing.assert_array_equal(params["W"], 0.7 * np.repeat(own, 2, axis=0))
    np.testing.assert_array_equal(params["b"], 0)


def test_pure_features_need_patches_of_that_family_and_an_output_a_class():
    data = RobustNonRobust(8, 3, 6, 6, 1, 4)
    with pytest.raises(ValueError, match="with a family 2"):
        built(data, PatchCNN(2, 3), PureFeatures(1.0, 2))
    with pytest.raises(ValueError, match="with a family 0"):
        built(NOISY, PatchCNN(2, 3), PureFeatures())
    with pytest.raises(ValueError, match="each of 3 classes"):
        built(data, PatchCNN(2), PureFeatures())
