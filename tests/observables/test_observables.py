"""Every observable against plain NumPy on small random networks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics import observables as o
from dynamics import simulate, steepest
from dynamics.adversary import PGD
from dynamics.data.clusters import Clusters
from dynamics.data.sample import Draw, Sample
from dynamics.models.activations import Activation
from dynamics.models.mlp import MLP
from dynamics.models.two_layer import TwoLayer
from dynamics.observables.alignment import averages, cosines, decompose
from dynamics.problem import Problem

KEY = jax.random.key(0)
DATA = Clusters(dim=9, num_clusters=4, num_samples=30, num_test=24, correlation=0.3, noise=0.8)
BINARY = Problem(DATA, TwoLayer(2))
FINE = Problem(DATA, TwoLayer(2, 4, use_bias=False), "cross_entropy")
RADII = jnp.array([0.0, 0.5, 1.0, 2.0])


def case(problem, seed=0):
    rng = np.random.default_rng(seed)
    neurons = problem.model.num_neurons
    params = {"W": jnp.asarray(rng.normal(size=(neurons, 9)))}
    if problem.model.use_bias:
        params["b"] = jnp.asarray(rng.normal(size=neurons))
    return params, DATA.sample(jax.random.key(seed))


DRAW = DATA.sample(jax.random.key(0))
PARAMS = case(BINARY)[0]
W, B = np.asarray(PARAMS["W"]), np.asarray(PARAMS["b"])
MU = np.asarray(DRAW.features)
X, Y = np.asarray(DRAW.train.x), np.asarray(DRAW.train.y)


def relu_net(W, b, x, y=None):
    """The binary network of width 2, written out."""
    z = np.maximum(np.asarray(x) @ np.asarray(W).T + np.asarray(b), 0)
    return (z[:, :2].sum(axis=1) - z[:, 2:].sum(axis=1)) / 2


def fine_net(W, x):
    """The logits of four classes of two neurons."""
    return np.maximum(np.asarray(x) @ np.asarray(W).T, 0).reshape(len(x), 4, 2).mean(axis=2)


def measured(observable, problem=BINARY, params=PARAMS, draw=DRAW):
    return np.asarray(observable(params, problem, draw, KEY))


def with_neuron(row, value):
    return PARAMS | {"W": PARAMS["W"].at[row].set(value)}


def test_classes_need_a_logit_each():
    with pytest.raises(ValueError, match="class_accuracy needs one logit a class"):
        measured(o.class_accuracy)


@pytest.mark.parametrize(
    ("radius", "radii"), [(1, [1.0]), (0.5, [0.5]), ([0.0, 1.0], [0.0, 1.0]), ((1, 2), [1.0, 2.0])]
)
def test_radii_are_a_number_or_a_list(radius, radii):
    observable = o.universal_accuracy.given(radius=radius)
    np.testing.assert_array_equal(observable.coordinates["radius"], radii)
    found = measured(observable, params=AVERAGE)
    np.testing.assert_array_equal(
        found, measured(o.universal_accuracy.given(radius=jnp.asarray(radii)), params=AVERAGE)
    )


def test_alignment():
    expected = [[w @ m / np.sqrt((w @ w) * (m @ m)) for m in MU] for w in W]
    np.testing.assert_allclose(measured(o.alignment), expected, rtol=1e-12)
    assert np.abs(MU[0] @ MU[1]) > 1  # the features are correlated


class Nested(nn.Module):
    """A network whose first layer has a name of its own, within a module of its own."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1, name="out")(nn.relu(MLP((4,), 4, name="encoder")(x)))[:, 0]


@pytest.mark.parametrize(
    ("model", "path"),
    [(MLP((4,)), "Dense_0/kernel"), (Nested(), "encoder/Dense_0/kernel"), (None, "first/V")],
)
def test_the_first_layer_of_any_network_is_named_by_its_path(model, path):
    *above, name = path.split("/")
    if model is None:
        params = {"first": {"V": jnp.asarray(W), "b": jnp.asarray(B)}}
    else:
        shapes = jax.eval_shape(model.init, KEY, X)["params"]
        params = jax.tree.map(lambda leaf: np.full(leaf.shape, 9.0), shapes)
        layer = params
        for part in above:
            layer = layer[part]
        assert layer[name].shape == W.T.shape
        layer |= {name: jnp.asarray(W.T), "bias": jnp.asarray(B)}
    problem = Problem(DATA, model or MLP((4,)))
    on = X @ W.T + B > 0
    expected = {
        "weights": W,
        "bias": B,
        "neuron_norm": np.sqrt((W**2).sum(1)),
        "projection": W @ MU.T,
        "alignment": [[w @ m / np.sqrt((w @ w) * (m @ m)) for m in MU] for w in W],
        "coefficients": np.linalg.lstsq(MU.T, W.T, rcond=None)[0].T,
        "activation_pattern": np.stack([on[DRAW.train.feature == j].mean(0) for j in range(4)], 1),
        "dead": ~on.any(0),
    }
    for name, values in expected.items():
        found = measured(getattr(o, name).given(weights=path), problem, params)
        np.testing.assert_allclose(found, values, rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("outputs", [1, 2])
def test_what_a_neuron_speaks_for_in_a_network_of_ones_own(outputs):
    a = np.random.default_rng(5).normal(size=(outputs, 4))
    model = TwoLayer(4 // (3 - outputs), num_outputs=outputs, train_output=True)
    loss = "logistic" if outputs == 1 else "cross_entropy"
    plain = {"W": jnp.asarray(W), "b": jnp.asarray(B), "a": jnp.asarray(a)}
    layers = {"kernel": jnp.asarray(W.T), "bias": jnp.asarray(B)}, {"kernel": jnp.asarray(a.T)}
    named = {"Dense_0": layers[0], "Dense_1": layers[1] | {"bias": jnp.ones(outputs)}}
    for name in ("own", "averaging_residual", "feature_strength", "output_weights"):
        expected = measured(getattr(o, name), Problem(DATA, model, loss), plain)
        given = getattr(o, name).given(weights="Dense_0/kernel")
        found = measured(given, Problem(DATA, MLP((4,), outputs), loss), named)
        np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=name)
    deep = named | {"Dense_2": layers[1]}
    with pytest.raises(ValueError, match="beside Dense_0/kernel there are Dense_1/kernel, Dense_2/kernel"):
        o.own.measure.function(deep, Problem(DATA, MLP((4,))), DRAW, weights="Dense_0/kernel")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("Dense_0/weight", "'Dense_0/weight' is no parameter: there are Dense_0/bias, Dense_0/kernel"),
        ("Dense_0/bias", r"has shape \(4,\): a first layer is a matrix"),
        ("Dense_1/kernel", "the layer has neurons of 4 weights, but features have 9 entries"),
        (None, r'here they are Dense_0/bias, .*given\(weights="Dense_0/kernel"\)'),
    ],
)
def test_a_path_that_is_no_first_layer(path, words):
    leaves = {"kernel": jnp.ones((9, 4)), "bias": jnp.ones(4)}
    params = {"Dense_0": leaves, "Dense_1": {"kernel": jnp.ones((4, 2)), "bias": jnp.ones(2)}}
    with pytest.raises(ValueError, match=words):
        o.alignment.measure.function(params, None, DRAW, weights=path)


def test_alignment_of_a_zero_neuron():
    found = measured(o.alignment, params=with_neuron(1, 0.0))
    np.testing.assert_array_equal(found[1], 0.0)
    assert (found[0] != 0).all()
    gradient = jax.grad(lambda inner: cosines(inner, jnp.array([0.0, 1.0]), jnp.ones(2)).sum())(
        jnp.ones((2, 2))
    )
    assert np.isfinite(gradient).all()


@pytest.mark.exhaustive
def test_projection_norm_bias():
    np.testing.assert_allclose(measured(o.projection), [[w @ m for m in MU] for w in W], rtol=1e-12)
    np.testing.assert_allclose(measured(o.neuron_norm), np.sqrt((W**2).sum(axis=1)), rtol=1e-12)
    np.testing.assert_array_equal(measured(o.bias), B)
    params, draw = case(FINE)
    np.testing.assert_array_equal(measured(o.bias, FINE, params, draw), np.zeros(8))
    np.testing.assert_array_equal(measured(o.weights), W)
    np.testing.assert_array_equal(measured(o.features), MU)


def test_coefficients_of_correlated_features():
    expected = np.linalg.lstsq(MU.T, W.T, rcond=None)[0].T
    np.testing.assert_allclose(measured(o.coefficients), expected, rtol=1e-10)
    mixture = np.random.default_rng(1).normal(size=(3, 4))
    found = decompose(jnp.asarray(mixture @ MU @ MU.T), jnp.asarray(MU @ MU.T))
    np.testing.assert_allclose(found, mixture, rtol=1e-10)


def test_off_span():
    q, _ = np.linalg.qr(MU.T)
    expected = np.linalg.norm(W - W @ q @ q.T, axis=1) / np.linalg.norm(W, axis=1)
    np.testing.assert_allclose(measured(o.off_span), expected, rtol=1e-10)
    inside = measured(o.off_span, params=with_neuron(0, MU[0] - 2 * MU[3]))
    assert inside[0] < 1e-12
    assert measured(o.off_span, params=with_neuron(2, 0.0))[2] == 0.0


def test_own():
    np.testing.assert_array_equal(measured(o.own), [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]])
    params, draw = case(FINE)
    np.testing.assert_array_equal(measured(o.own, FINE, params, draw), np.repeat(np.eye(4), 2, axis=0))
    coarse = Clusters(dim=9, num_clusters=4, num_samples=30, num_test=24, classes=(0, 0, 1, 2))
    problem = Problem(coarse, TwoLayer(1, 3, use_bias=False), "cross_entropy")
    params = {"W": jnp.asarray(W[:3])}
    found = measured(o.own, problem, params, coarse.sample(KEY))
    np.testing.assert_array_equal(found, [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def test_averaging_residual():
    expected = []
    for r, w in enumerate(W):
        group = MU[:2] if r < 2 else MU[2:]
        mean = np.mean([w @ m for m in group])
        average = mean * sum(m / (m @ m) for m in group)
        expected.append(np.linalg.norm(w - average) / np.linalg.norm(average))
    np.testing.assert_allclose(measured(o.averaging_residual), expected, rtol=1e-10)


def test_averaging_residual_of_exact_averages():
    mu = np.linalg.qr(np.random.default_rng(2).normal(size=(9, 4)))[0].T * np.array([[1.0], [2], [3], [4]])
    own = np.array([[True, True, False, False], [False, False, True, True], [True, False, False, False]])
    exact = 2.5 * own @ (mu / (mu**2).sum(axis=1, keepdims=True))
    found = averages(jnp.asarray(exact @ mu.T), jnp.asarray(mu @ mu.T), jnp.asarray(own))
    np.testing.assert_allclose(found @ mu, exact, atol=1e-12)
    single = measured(o.averaging_residual, params=PARAMS | {"W": jnp.asarray(MU)})
    assert single.min() > 0.5  # one centre is no average
    nothing = measured(o.averaging_residual, params=PARAMS | {"W": jnp.zeros_like(PARAMS["W"])})
    assert np.isinf(nothing).all()


def test_activation_pattern():
    on = X @ W.T + B > 0
    feature = np.asarray(DRAW.train.feature)
    expected = [[on[feature == j, r].mean() for j in range(4)] for r in range(4)]
    np.testing.assert_allclose(measured(o.activation_pattern), expected, rtol=1e-12)


def test_activation_pattern_of_an_absent_feature():
    train = Sample(DRAW.train.x, DRAW.train.y, DRAW.train.target, jnp.minimum(DRAW.train.feature, 2))
    draw = Draw(train, DRAW.test, DRAW.features, DRAW.feature_signs, DRAW.class_signs, DRAW.feature_classes)
    found = measured(o.activation_pattern, draw=draw)
    assert np.isnan(found[:, 3]).all()
    assert np.isfinite(found[:, :3]).all()


def test_dead():
    params = {"W": jnp.zeros((4, 9)), "b": jnp.array([-1.0, 0.0, 1e-9, 1.0])}
    np.testing.assert_array_equal(measured(o.dead, params=params), [1, 1, 0, 0])
    one = with_neuron(0, X[3] / (X[3] @ X[3])) | {"b": jnp.asarray(B).at[0].set(-0.999)}
    assert measured(o.dead, params=one)[0] == 0.0


def test_margins_and_losses():
    q = Y * relu_net(W, B, X)
    np.testing.assert_allclose(measured(o.margins), q, rtol=1e-10)
    np.testing.assert_allclose(measured(o.smallest_margin), q.min(), rtol=1e-10)
    np.testing.assert_allclose(measured(o.training_loss), np.log1p(np.exp(-q)).mean(), rtol=1e-10)


def test_accuracies():
    test = DRAW.test
    np.testing.assert_allclose(measured(o.train_accuracy), np.mean(Y * relu_net(W, B, X) > 0))
    expected = np.mean(np.asarray(test.y) * relu_net(W, B, test.x) > 0)
    assert 0 < expected < 1
    np.testing.assert_allclose(measured(o.test_accuracy), expected)


@pytest.mark.parametrize("readout", ["max_logit", "softmax_group", "sum_logit"])
def test_accuracies_of_logits(readout):
    params, draw = case(FINE, 3)
    logits, y = fine_net(params["W"], draw.test.x), np.asarray(draw.test.y)
    plus, minus = logits[:, :2], logits[:, 2:]
    score = {
        "max_logit": plus.max(axis=1) - minus.max(axis=1),
        "softmax_group": np.exp(plus).sum(axis=1) - np.exp(minus).sum(axis=1),
        "sum_logit": plus.sum(axis=1) - minus.sum(axis=1),
    }[readout]
    found = measured(o.test_accuracy.given(readout=readout), FINE, params, draw)
    np.testing.assert_allclose(found, np.mean(y * score > 0))
    right = logits.argmax(axis=1) == np.asarray(draw.test.target)
    np.testing.assert_allclose(measured(o.class_accuracy, FINE, params, draw), right.mean())


@pytest.mark.exhaustive
def test_a_score_of_zero_is_an_error():
    nothing = {"W": jnp.zeros((4, 9)), "b": jnp.zeros(4)}
    for observable in (o.train_accuracy, o.test_accuracy):
        assert measured(observable, params=nothing) == 0.0
    for observable in (o.pgd_accuracy.given(radius=RADII, steps=2), o.universal_accuracy.given(radius=RADII)):
        np.testing.assert_array_equal(measured(observable, params=nothing), 0.0)
    certified = o.certified_radius.given(num_positive=2)
    np.testing.assert_array_equal(measured(certified, params=nothing), 0.0)


# --- robustness, of a network that averages: most points are right, and have a radius

AVERAGE = {
    "W": jnp.asarray(np.repeat([MU[0] + MU[1], MU[2] + MU[3]], 2, axis=0) / 9)
    + 0.1 * jnp.asarray(np.random.default_rng(5).normal(size=(4, 9))),
    "b": jnp.array([0.1, -0.1, 0.0, 0.2]),
}


def pgd(steps, params=AVERAGE, radius=RADII, **options):
    return measured(o.pgd_accuracy.given(radius=radius, steps=steps, **options), params=params)


@pytest.mark.exhaustive
def test_pgd_at_radius_zero_is_clean():
    clean = measured(o.test_accuracy, params=AVERAGE)
    assert clean > 0.5
    assert pgd(3)[0] == clean
    assert pgd(3, loss="training")[0] == clean


@pytest.mark.exhaustive
def test_pgd_is_between_certificate_and_clean():
    certified = measured(o.certified_radius.given(num_positive=2), params=AVERAGE)
    attained = measured(o.attained_radius.given(num_positive=2), params=AVERAGE)
    assert (certified <= attained * (1 + 1e-9)).all()
    assert np.median(certified) > 0.3
    sure = (certified[:, None] > np.asarray(RADII)[None]).mean(axis=0)
    short, long = pgd(1), pgd(40)
    for found in (short, long):
        assert (found >= sure - 1e-9).all()
        assert (np.diff(found) <= 0).all()
    # a long attack finds what was constructed, up to a point or two
    broken = (attained[:, None] <= np.asarray(RADII)[None] * 0.99).mean(axis=0)
    assert (long <= 1 - broken + 2 / 24).all()
    assert long[-1] < long[0]


@pytest.mark.exhaustive
def test_pgd_of_the_first_points_only():
    clean = measured(o.pgd_accuracy.given(radius=RADII, steps=2, num_points=5), params=AVERAGE)[0]
    right = np.asarray(DRAW.test.y) * relu_net(AVERAGE["W"], AVERAGE["b"], DRAW.test.x) > 0
    np.testing.assert_allclose(clean, right[:5].mean())
    found = o.certified_radius.given(num_positive=2, num_points=5)
    assert measured(found, params=AVERAGE).shape == (5,)


def test_universal_accuracy():
    direction = MU[0] + MU[1] - MU[2] - MU[3]
    direction /= np.linalg.norm(direction)
    x, y = np.asarray(DRAW.test.x), np.asarray(DRAW.test.y)
    expected = [
        np.mean(y * relu_net(AVERAGE["W"], AVERAGE["b"], x - r * y[:, None] * direction) > 0)
        for r in np.asarray(RADII)
    ]
    found = measured(o.universal_accuracy.given(radius=RADII), params=AVERAGE)
    np.testing.assert_allclose(found, expected)
    assert found[-1] < found[0]


def test_attack_radius_is_at_least_the_certificate():
    certified = measured(o.certified_radius.given(num_positive=2), params=AVERAGE)
    found = measured(o.attack_radius.given(max_radius=10.0, steps=5, rounds=4), params=AVERAGE)
    assert (found >= certified * (1 - 1e-6)).all()
    wrong = np.asarray(DRAW.test.y) * relu_net(AVERAGE["W"], AVERAGE["b"], DRAW.test.x) <= 0
    np.testing.assert_array_equal(found == 0, wrong)


def test_names_dimensions_and_coordinates():
    assert o.alignment.dims == ("neuron", "feature")
    asked = o.pgd_accuracy.given(radius=RADII)
    np.testing.assert_array_equal(asked.coordinates["radius"], RADII)
    assert o.alignment.coordinates == {}


@pytest.mark.exhaustive
def test_jit_and_vmap():
    """One program for three networks gives what three calls give."""
    asked = [
        o.alignment,
        o.coefficients,
        o.off_span,
        o.averaging_residual,
        o.activation_pattern,
        o.dead,
        o.margins,
        o.test_accuracy,
        o.universal_accuracy.given(radius=RADII),
        o.pgd_accuracy.given(radius=RADII, steps=3),
        o.certified_radius.given(num_positive=2),
    ]
    networks = [case(BINARY, seed)[0] for seed in range(3)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *networks)

    def every(params):
        return [what(params, BINARY, DRAW, KEY) for what in asked]

    together, alone = jax.jit(jax.vmap(every))(stacked), jax.jit(every)
    for i, params in enumerate(networks):
        for batched, single in zip(together, alone(params), strict=True):
            np.testing.assert_allclose(batched[i], single, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(together[0][0], measured(o.alignment, params=networks[0]), rtol=1e-10)


@pytest.mark.parametrize(
    "model",
    [
        TwoLayer(2, activation=Activation("leaky_relu")),
        TwoLayer(2, activation=Activation("prelu")),
        TwoLayer(2, activation=Activation("gelu")),
        TwoLayer(2, train_output=True),
        TwoLayer(2, 4, use_bias=False, activation=Activation("linear")),
        MLP((3,)),
    ],
)
def test_certificates_are_refused_where_they_do_not_hold(model):
    loss = "logistic" if model.num_outputs == 1 else "cross_entropy"
    problem = Problem(Clusters(8, 4, 12, 6), model, loss=loss)
    for what in (o.certified_radius, o.attained_radius):
        with pytest.raises(ValueError, match="ReLU and a fixed second layer only"):
            simulate(
                problem, steepest("l2", 0.1), steps=1, observe_end={"r": what.given(num_positive=2)}, seeds=1
            )


@pytest.mark.exhaustive
def test_a_wrong_number_of_positive_neurons_is_refused_or_nan():
    end = {"r": o.certified_radius.given(num_positive=1, readout="sum_logit")}
    data = Clusters(8, 4, 12, 6)
    with pytest.raises(ValueError, match="num_positive of this binary network must be 2"):
        simulate(Problem(data, TwoLayer(2)), steepest("l2", 0.1), steps=1, observe_end=end, seeds=1)
    fine = Problem(data, TwoLayer(1, 4, use_bias=False), loss="cross_entropy")
    assert np.isnan(simulate(fine, steepest("l2", 0.1), steps=1, observe_end=end, seeds=1).r).all()


def test_options_are_checked_when_they_are_given():
    with pytest.raises(
        ValueError, match="robust_curve has no option 'radii': its options are attack, radius"
    ):
        o.robust_curve.given(radii=[0.1])
    with pytest.raises(ValueError, match="num_parameters has no option 'key': it has no options"):
        o.num_parameters.given(key=1)
    with pytest.raises(ValueError, match=r"options are attack, .*; did you mean num_points\?"):
        o.robust_accuracy.given(num_point=3)
    for given, words in (("pgd", "'pgd'"), (PGD, "the class PGD")):
        with pytest.raises(ValueError, match=rf"attack must be a part .* as PGD\(0.3\), got {words}"):
            o.robust_accuracy.given(attack=given)
    assert o.patch_scores.given(attack=None).measure.function
    for count in (0, -1, 2.0):
        with pytest.raises(ValueError, match=f"num_points must be an integer of at least 1, got {count}"):
            o.ntk_usefulness.given(num_points=count)
    with pytest.raises(ValueError, match="points must be train or test, got 'all'"):
        o.accuracy.given(points="all")


def test_one_value_of_a_dimension_stands_for_a_list_of_one():
    assert o.geometric_margin.given(norm="l2").coordinates["norm"].tolist() == ["l2"]
    assert o.patch_scores.given(family=-1).coordinates["family"].tolist() == [-1]
    assert o.robust_curve.given(radius=0.5).coordinates["radius"].tolist() == [0.5]


def test_options_of_ones_own_observables_mean_what_they_like():
    @o.observable()
    def mean_at(params, problem, draw, points="corners", num_points=0, attack="none"):
        return jnp.zeros(())

    assert mean_at.given(points="corners", num_points=0, attack="none")
