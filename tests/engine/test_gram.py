"""Gram space against a NumPy loop, against the direct engine on every observable, and where it is refused."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dynamics import observables as o
from dynamics.adversary import FGSM
from dynamics.data.clusters import Clusters
from dynamics.data.patches import RobustNonRobust, SignalNoise
from dynamics.descent import named, steepest, traced
from dynamics.engine import gram
from dynamics.engine.simulate import simulate
from dynamics.keys import named_key, seed_key
from dynamics.models.activations import Activation
from dynamics.models.handmade import Averaging
from dynamics.models.mlp import MLP
from dynamics.models.patch_cnn import PatchCNN
from dynamics.models.two_layer import TwoLayer
from dynamics.observables.base import observable
from dynamics.parts import Axis, part
from dynamics.problem import Problem, first_layers

STEPS = 60
DATA = Clusters(dim=40, num_clusters=4, num_samples=24, num_test=15, centre_norm=3.0)


@observable(("neuron", "dim"))
def first_layer(params, problem, draw):
    return params["W"]


@observable(("neuron",))
def bias(params, problem, draw):
    return params["b"]


BINARY = Problem(DATA, TwoLayer(3), init_scale=0.3)
SQUARED = Problem(DATA, TwoLayer(3), "squared", init_scale=0.3)
FINE = Problem(DATA, TwoLayer(2, 4, use_bias=False), "cross_entropy", init_scale=0.3)


def close(actual, expected, tolerance, name=""):
    """Equal up to `tolerance` times the largest entry."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(actual), finite, err_msg=name)
    largest = np.max(np.abs(expected[finite]), initial=0)
    np.testing.assert_allclose(
        actual[finite], expected[finite], rtol=0, atol=tolerance * largest, err_msg=name
    )


def both(problem, rule, tolerance=1e-10, **changes):
    """The same run by either engine, compared on everything that was recorded."""
    arguments = {"steps": STEPS, "observe": {"W": first_layer}, "when": [0, 1, 7, 30], "seeds": [4, 2]}
    runs = [simulate(problem, rule, engine=engine, **arguments | changes) for engine in ("direct", "gram")]
    assert [run.attrs["engine"] for run in runs] == ["direct", "gram"]
    for name in runs[0].data_vars:
        close(runs[1][name].values, runs[0][name].values, tolerance, name)
    return runs


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("problem", [BINARY, FINE], ids=["binary", "fine"])
def test_agrees_with_a_numpy_loop(reference, problem, normalize):
    loop = reference("numpy_loop")
    observe = {"W": first_layer} | ({"b": bias} if problem.model.use_bias else {})
    ds = simulate(
        problem,
        steepest("l2", 0.05, normalize=normalize),
        steps=STEPS,
        observe=observe,
        when=range(STEPS + 1),
        seeds=[5],
        root=3,
        engine="gram",
    )
    key = seed_key(5, 3)
    draw = problem.sample(named_key(key, "data"))
    params = jax.tree.map(np.asarray, problem.init(named_key(key, "init")))
    labels = np.asarray(draw.train.y if problem.model.num_outputs == 1 else draw.train.target)
    a = loop.fixed_output(problem.model.width, problem.model.num_outputs)
    path, losses = loop.train(params, np.asarray(draw.train.x), labels, a, "gd", 0.05, STEPS, normalize)
    for name in observe:
        close(ds[name].values[0], [p[name] for p in path], 1e-10)
    assert losses[-1] < 0.9 * losses[0]  # there was something to compare


MOMENTUM = traced(optax.sgd, learning_rate=0.02, momentum=0.9)
NESTEROV = traced(optax.sgd, learning_rate=0.02, momentum=0.8, nesterov=True)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "rule", [MOMENTUM, NESTEROV, named("momentum", 0.02)], ids=["heavy", "nesterov", "named"]
)
def test_momentum(rule):
    runs = both(BINARY, rule)
    assert np.max(np.abs(np.diff(runs[0].W.values, axis=1))) > 0.01


ACTIVATIONS = ["relu", "leaky_relu", "smoothed_relu", "gelu", "linear", "quadratic", "odd_power"]


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_a_trained_second_layer(name):
    model = TwoLayer(3, train_output=True, activation=Activation(name))
    second = observable(("output", "neuron"))(lambda params, problem, draw: params["a"])
    both(Problem(DATA, model, init_scale=0.1), steepest("l2", 0.01), observe={"W": first_layer, "a": second})


@pytest.mark.exhaustive
@pytest.mark.parametrize("loss", ["exponential", "hinge", "squared"])
def test_losses(loss):
    both(Problem(DATA, TwoLayer(2), loss, init_scale=0.1), steepest("l2", 0.01))


@pytest.mark.exhaustive  # below are more patches a sample, outputs and families
@pytest.mark.parametrize("shuffle", [False, True])
def test_networks_of_signal_patches(shuffle):
    signal = SignalNoise(60, 3, 8, 10, signal_patch="random" if shuffle else "first")
    cubic = PatchCNN(5, activation=Activation("odd_power", power=3.0))
    runs = both(Problem(signal, cubic, init_scale=0.1), steepest("l2", 0.02), observe=PATCHED)
    assert np.max(np.abs(np.diff(runs[0].projection.values, axis=1))) > 0.01


@pytest.mark.exhaustive
@pytest.mark.parametrize("shuffle", [pytest.param(False, marks=pytest.mark.exhaustive), True])
def test_patch_networks(shuffle):
    several = RobustNonRobust(40, 3, 6, 5, num_nonrobust=4, shuffle=shuffle)
    smooth = PatchCNN(2, 3, use_bias=True, activation=Activation("smoothed_relu"))
    problem = Problem(several, smooth, "cross_entropy", init_scale=0.3)
    runs = both(problem, steepest("l2", 0.1), observe=PATCHED)
    assert np.max(np.abs(np.diff(runs[0].projection.values, axis=1))) > 0.01


PATCHED = {"W": first_layer, "projection": o.projection, "alignment": o.alignment, "loss": o.training_loss}
PATCHED |= {"margins": o.margins, "accuracy": o.test_accuracy}

COMMON = {
    name: getattr(o, name)
    for name in (
        *("alignment", "projection", "coefficients", "off_span", "neuron_norm", "bias", "averaging_residual"),
        *("own", "features", "weights", "training_loss", "margins", "smallest_margin", "train_accuracy"),
        *("test_accuracy", "activation_pattern", "dead", "point_feature"),
    )
}
RADII = {
    "certified": o.certified_radius.given(num_positive=3),
    "attained": o.attained_radius.given(num_positive=3),
}
FINE_RADII = {
    f"{kind}_{readout}": getattr(o, f"{kind}_radius").given(num_positive=4, readout=readout)
    for kind in ("certified", "attained")
    for readout in ("max_logit", "sum_logit")
} | {"class_accuracy": o.class_accuracy}
ATTACKED = {"pgd": o.pgd_accuracy.given(radius=jnp.array([0.5, 2.0]), steps=5, num_points=8)}


@pytest.mark.parametrize(
    ("problem", "radii"),
    [
        pytest.param(BINARY, RADII, id="binary", marks=pytest.mark.exhaustive),
        pytest.param(FINE, FINE_RADII, id="fine", marks=pytest.mark.exhaustive),
    ],
)
def test_every_observable_on_the_way_and_at_the_end(problem, radii):
    ended = {f"end_{name}": what for name, what in (COMMON | radii | ATTACKED).items()}
    both(problem, steepest("l2", 0.05), observe=COMMON | radii | ATTACKED, observe_end=ended)


@pytest.mark.exhaustive
def test_noiseless_data_and_a_start_of_zero():
    observe = {"alignment": o.alignment, "loss": o.training_loss, "norm": o.neuron_norm}
    for noise, scale in ((0.0, 0.3), (1.0, 0.0)):  # one program
        problem = Problem(
            dataclasses.replace(DATA, noise=noise), TwoLayer(3), init_scale={"W": scale, "b": 0.1}
        )
        both(problem, steepest("l2", 0.05), observe=observe)


@part
class Fitted:
    """A network that has fitted its data long ago."""

    scale: Any

    def params(self, model, draw):
        return {"W": self.scale * Averaging().params(model, draw)["W"]}


@pytest.mark.exhaustive
def test_normalised_descent_on_a_tiny_gradient():
    """The squares of the gradient underflow, the direction does not; both engines take the same steps."""
    clear = Clusters(40, 4, 24, 15, centre_norm=3.0, noise=0.1)
    fitted = Problem(clear, TwoLayer(3, use_bias=False), "exponential", start=Fitted(60.0))
    with jax.enable_x64(False):
        runs = both(fitted, steepest("l2", 0.01, normalize=True), 1e-4, observe={"W": first_layer}, seeds=[3])
        ds = simulate(fitted, steepest("l2", 0.01), steps=1, observe={"loss": o.training_loss}, seeds=[3])
    assert 0 < ds.loss.values[0, 0] < 1e-20
    moved = np.linalg.norm(np.diff(runs[1].W.values[0], axis=0)[0])
    np.testing.assert_allclose(moved, 0.01, rtol=1e-2)


@pytest.mark.exhaustive
@pytest.mark.parametrize("size", [2.0**-660, 2.0**560])
def test_the_scale_of_inputs_is_undone_by_that_of_weights(size):
    """Squares of these inputs leave the range of float64; a run is that of inputs of the usual size."""
    runs = []
    for scale in (1.0, size):
        data = Clusters(40, 4, 24, 15, noise=0.3 * scale, centre_norm=3.0 * scale)
        problem = Problem(data, TwoLayer(3, use_bias=False), init_scale=0.3 / scale)
        rule = steepest("l2", 0.05 / scale, normalize=True)
        runs.append(
            both(problem, rule, 1e-8, observe={"a": o.alignment, "m": o.margins, "off": o.off_span})[1]
        )
    for name in ("a", "m", "off"):
        close(runs[1][name].values, runs[0][name].values, 1e-8, name)


@pytest.mark.exhaustive
def test_axes_and_divergence():
    with pytest.warns(UserWarning, match="2 of 4 runs diverged and were frozen"):
        ds = simulate(
            SQUARED,
            steepest("l2", Axis("rate", [0.05, 1e3])),
            steps=STEPS,
            observe={"W": first_layer},
            seeds=2,
            engine="gram",
        )
    assert (ds.first_nonfinite_step.sel(rate=0.05) == -1).all()
    assert (ds.first_nonfinite_step.sel(rate=1e3) > 0).all()
    alone = simulate(
        SQUARED, steepest("l2", 0.05), steps=STEPS, observe={"W": first_layer}, seeds=2, engine="gram"
    )
    close(ds.W.sel(rate=0.05).values, alone.W.values, 1e-12)


@observable(("neuron", "dim"))
def bits(params, problem, draw):
    """The weights as integers, which the result does not blank where a run has diverged."""
    return jax.lax.bitcast_convert_type(params["W"], jnp.int64)


@pytest.mark.exhaustive
@pytest.mark.parametrize("strategy", ["map", "vmap"])
def test_a_diverged_run_is_frozen_where_the_direct_engine_freezes_it(strategy, untyped):
    runs = []
    for engine in ("direct", "gram"):
        with pytest.warns(UserWarning, match="diverged and were frozen"):
            runs.append(
                simulate(
                    SQUARED,
                    steepest("l2", Axis("rate", [0.05, 1e4, 1e8, 1e200])),
                    steps=STEPS,
                    observe={"bits": bits},
                    when=[5, 30, STEPS],
                    seeds=2,
                    engine=engine,
                    strategy=strategy,
                )
            )
    direct, gram_run = runs
    steps = direct.first_nonfinite_step.transpose("rate", "seed").values
    np.testing.assert_array_equal(gram_run.first_nonfinite_step.transpose("rate", "seed"), steps)
    # never, in the last segment, in the second, in the first
    segments = np.digitize(steps, [-0.5, 5.5, 30.5])
    np.testing.assert_array_equal(segments, [[0, 0], [3, 3], [2, 2], [1, 1]])
    weights = [np.ascontiguousarray(run.bits.values).view(np.float64) for run in runs]
    assert np.isfinite(weights[1]).all()
    scale = np.abs(weights[0]).max(axis=(-1, -2), keepdims=True)
    np.testing.assert_allclose(weights[1] / scale, weights[0] / scale, rtol=0, atol=1e-9)


@pytest.mark.exhaustive
def test_the_weights_are_rebuilt_from_what_is_kept():
    draw = DATA.sample(jax.random.key(0))
    x, W0 = draw.train.x, jax.random.normal(jax.random.key(1), (6, 40))
    C = jax.random.normal(jax.random.key(2), (6, 24))
    products = dataclasses.replace(gram.products_of(draw, True), draw=draw)
    unit = x / 2.0**products.exponent
    start = gram.start_of(W0, draw, products)
    params = first_layers.SpanParams(C, (W0 + C @ unit) @ unit.T, {"b": jnp.arange(6.0)}, start, products)
    W = np.asarray(W0 + C @ unit)
    assert 1 <= np.abs(unit).max() < 2
    assert list(params) == ["W", "b"]
    close(params["W"], W, 1e-13)
    close(first_layers.weight_gram(params), W @ W.T, 1e-12)
    close(first_layers.norms(params), np.linalg.norm(W, axis=1), 1e-12)
    close(first_layers.projections(params, draw), W @ draw.features.T, 1e-12)
    for points in ("train", "test"):
        expected = getattr(draw, points).x @ W.T + np.arange(6.0)[None]
        close(first_layers.pre_activations(params, draw, points), expected, 1e-12)
    with pytest.raises((TypeError, AttributeError)):  # a function of all leaves must not take C for W
        optax.global_norm(params)


@pytest.mark.parametrize("rows", [1, 2, 7, 511, 512, 700, 1300])
def test_symmetric_products(rows):
    x = np.random.default_rng(rows).normal(size=(rows, 3))
    close(gram.symmetric(jnp.asarray(x)), x @ x.T, 1e-14)


# --- the choice ---


CANNOT = {
    "deep": (Problem(DATA, MLP((4,), 1)), steepest("l2", 0.1), {}, "MLP is not a two-layer network"),
    "prelu": (
        Problem(DATA, TwoLayer(2, activation=Activation("prelu"))),
        steepest("l2", 0.1),
        {},
        "activation prelu also depends on the norms",
    ),
    "attack": (
        Problem(DATA, TwoLayer(2), adversary=FGSM(0.1)),
        steepest("l2", 0.1),
        {},
        "adversarial training moves the inputs",
    ),
    "batch": (BINARY, steepest("l2", 0.1), {"batch_size": 5}, "needs full batches"),
    "sign": (BINARY, steepest("linf", 0.1), {}, "steepest descent in linf leaves the span"),
    "coordinate": (BINARY, steepest("l1", 0.1), {}, "steepest descent in l1 leaves the span"),
    "adam": (BINARY, named("adam", 0.1), {}, "follows gradient descent"),
    "plain optax": (BINARY, optax.sgd(0.1), {}, "follows gradient descent"),
    "observable": (
        BINARY,
        steepest("l2", 0.1),
        {"observe": {"size": observable()(lambda params, problem, draw: optax.global_norm(params))}},
        "observable 'size' uses the parameters otherwise than by name",
    ),
}


@pytest.mark.parametrize("case", CANNOT)
def test_where_it_cannot_apply_it_says_why_and_auto_goes_direct(case):
    problem, rule, changes, reason = CANNOT[case]
    arguments = {"steps": 40, "seeds": 1, "when": []} | changes
    with pytest.raises(ValueError, match=f"engine 'gram' cannot be used here: .*{reason}") as caught:
        simulate(problem, rule, engine="gram", **arguments)
    assert "\n" not in str(caught.value)
    assert simulate(problem, rule, **arguments).attrs["engine"] == "direct"


@pytest.mark.parametrize(
    ("dim", "samples", "steps", "expected"),
    [(200, 20, 50, "gram"), (200, 100, 1, "direct"), (200, 390, 5000, "gram"), (200, 410, 5000, "direct")],
)
def test_it_is_chosen_where_it_pays(dim, samples, steps, expected):
    problem = Problem(Clusters(dim, 4, samples, 5), TwoLayer(5), init_scale=1e-3)
    ds = simulate(problem, steepest("l2", 1e-3), steps=steps, when=[], seeds=1)
    assert ds.attrs["engine"] == expected


def test_an_unknown_engine_is_refused(untyped):
    with pytest.raises(ValueError, match="engine must be one of auto, direct, gram, got 'dual'"):
        simulate(BINARY, steepest("l2", 0.1), steps=1, engine="dual")


# --- at the size of the paper ---


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize(
    ("x64", "tolerance", "outputs"),
    [
        (False, 1e-4, 10),
        pytest.param(True, 1e-10, 1, marks=pytest.mark.exhaustive),
        pytest.param(False, 1e-4, 1, marks=pytest.mark.exhaustive),
        pytest.param(True, 1e-10, 10, marks=pytest.mark.exhaustive),
    ],
)
def test_engines_agree_at_paper_size(x64, tolerance, outputs):
    data = Clusters(3072, 10, 1000, 100)
    model = TwoLayer(5) if outputs == 1 else TwoLayer(1, 10, use_bias=False)
    problem = Problem(data, model, "logistic" if outputs == 1 else "cross_entropy", init_scale=1e-5)
    names = ("alignment", "projection", "neuron_norm", "averaging_residual", "off_span", "coefficients")
    names += ("bias", "training_loss", "margins", "smallest_margin", "test_accuracy")
    observe = {name: getattr(o, name) for name in names}
    for kind in ("certified_radius", "attained_radius"):
        observe[kind] = getattr(o, kind).given(num_positive=5, num_points=20)
    times = {"steps": 100, "when": [0, 10, 50], "seeds": 1}
    with jax.enable_x64(x64):
        runs = [
            simulate(problem, steepest("l2", 1e-3), observe=observe, engine=engine, **times)
            for engine in ("direct", "gram")
        ]
        # float32 in norm: a sample on the edge of a neuron moves single entries a little further
        for name in observe:
            expected, found = runs[0][name].values, runs[1][name].values
            if x64:
                close(found, expected, tolerance, name)
            finite = np.isfinite(expected)
            np.testing.assert_array_equal(np.isfinite(found), finite, err_msg=name)
            apart = np.linalg.norm(found[finite] - expected[finite])
            assert apart <= tolerance * np.linalg.norm(expected[finite]), name
        counted = {"on": o.activation_pattern}
        runs = [
            simulate(problem, steepest("l2", 1e-3), observe=counted, engine=engine, **times)
            for engine in ("direct", "gram")
        ]
    # a count of signs jumps where a pre-activation passes zero: in float32, a few of 10,000 differ
    flips = 100 * np.abs(runs[0].on - runs[1].on).sum(["neuron", "feature"])
    assert flips.max() < (20 if not x64 else 1e-6)
