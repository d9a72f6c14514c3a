"""What a user of simulate gets wrong is one sentence with the way out, before anything is compiled."""

import dataclasses
import re
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynamics import descent as rules
from dynamics import observables as o
from dynamics import results
from dynamics.adversary import FGSM
from dynamics.data.clusters import Clusters
from dynamics.data.sample import Draw, Sample
from dynamics.data.shared import Shared
from dynamics.descent import steepest, traced
from dynamics.engine import checks, labels
from dynamics.engine.chunk import Work
from dynamics.engine.simulate import simulate
from dynamics.models.homogeneous import Homogeneous
from dynamics.models.ntk_two_layer import NTKTwoLayer
from dynamics.models.two_layer import TwoLayer
from dynamics.observables.base import observable
from dynamics.parts import Axis, bind, part, static
from dynamics.problem import Problem

DATA = Clusters(dim=6, num_clusters=4, num_samples=8, num_test=4, centre_norm=3.0)
RULE = steepest("l2", 0.1)
X = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
CLASSES = np.arange(8) % 2
SIGNS = np.where(CLASSES, 1.0, -1.0).astype(np.float32)


@pytest.fixture(autouse=True)
def _sentences(untyped):
    """The library's own, and not those of the hook that checks types."""


class Own(nn.Module):
    """A network as users write them."""

    outputs: int = 0
    keep_axis: bool = False
    extra: nn.Module | None = None

    @nn.compact
    def __call__(self, x):
        h = nn.relu(nn.Dense(5)(x))
        h = h if self.extra is None else self.extra(h)
        y = nn.Dense(self.outputs or 1)(h)
        return y if self.outputs or self.keep_axis else y[:, 0]


class Pair(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(x)[:, 0], x


class Constant(nn.Module):
    def __call__(self, x):
        return x.sum(axis=1)


class Trained(nn.Module):
    @nn.compact
    def __call__(self, x, mode):
        return nn.Dense(1)(x)[:, 0]


@part
class Mine:
    """Data of one's own; what is not given is as it should be."""

    y: Any = None
    target: Any = None
    x: Any = None
    test_y: Any = None
    test_target: Any = None
    features: Any = None
    without: tuple[str, ...] = static(())

    def sample(self, key):
        usual = {"x": X, "y": SIGNS, "target": CLASSES}
        own = {name: getattr(self, name) for name in usual if getattr(self, name) is not None}
        train = usual | own | dict.fromkeys(self.without)
        tested = {"y": self.test_y, "target": self.test_target}
        test = train | {name: value for name, value in tested.items() if value is not None}
        signs = jnp.array([1.0, -1.0])
        samples = (Sample(**half, feature=CLASSES) for half in (train, test))
        return Draw(*samples, self.features, signs, signs)


def refused(error, words, problem=None, rule=RULE, **options):
    """Before the first program of a run, and in one sentence."""
    with pytest.raises(error) as caught, mock.patch.object(Work, "carry_out", side_effect=AssertionError):
        simulate(problem or Problem(DATA, TwoLayer(2)), rule, **{"steps": 1, "seeds": 1} | options)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("radius", [1e39, 10**40, Axis("radius", [0.1, 1e39])])
def test_numbers_beyond_single_precision(radius):
    with jax.enable_x64(False):
        problem = Problem(DATA, TwoLayer(2), adversary=FGSM(radius))
        refused(ValueError, "beyond the range of float32", problem)


@pytest.mark.parametrize("seeds", [range(10**12), range(10**30), range(0, 10**9, 2)])
def test_more_seeds_than_there_may_be_are_not_listed(seeds):
    refused(ValueError, "seeds must be at most", seeds=seeds)


@pytest.mark.parametrize("name", ["averaging_residual", "features", "alignment", "feature_strength"])
def test_data_that_name_no_features(name):
    refused(ValueError, "the data name no ", Problem(Mine(), TwoLayer(2)), observe={"a": getattr(o, name)})


@pytest.mark.exhaustive
@pytest.mark.parametrize("kind", [">f4", np.longdouble, ">i8"])
def test_observables_of_numpy(kind):
    values = np.arange(3).astype(kind)
    given = observable(("place",))(lambda params, problem, draw: values)
    found = simulate(Problem(DATA, TwoLayer(2)), RULE, steps=0, seeds=1, observe={"a": given}).a
    np.testing.assert_array_equal(found.values.ravel(), [0, 1, 2])
    words = observable(("place",))(lambda params, problem, draw: values.astype(object))
    refused(TypeError, "what it gives must hold numbers, got the type object", observe={"a": words})


SHAPE_1 = "a network with a single output gives shape (8,), so leave out the last axis"
CHANGES = "it changes what it keeps beside its parameters whenever it is used: let __call__(x, train) do so"
MODELS = {
    "one axis too many": (ValueError, SHAPE_1, Own(keep_axis=True), "logistic"),
    "a column beside a row": (
        ValueError,
        SHAPE_1,
        Own(keep_axis=True),
        lambda o, s: ((o - s.y) ** 2).mean(1),
    ),
    "one logit": (ValueError, SHAPE_1, Own(keep_axis=True), "cross_entropy"),
    "batch norm": (ValueError, CHANGES, Own(extra=nn.BatchNorm(use_running_average=False)), "logistic"),
    "dropout": (
        ValueError,
        "it asks for random numbers",
        Own(extra=nn.Dropout(0.5, deterministic=False)),
        "hinge",
    ),
    "pair": (TypeError, "Pair must give one array, got tuple", Pair(), "logistic"),
    "no parameters": (
        ValueError,
        "Constant cannot be initialised: it has no parameters to train",
        Constant(),
        "hinge",
    ),
    "mode": (TypeError, "missing 1 required positional argument: 'mode'", Trained(), "logistic"),
    "class": (TypeError, "model must be an object, got the class Own: make one by Own(...)", Own, "logistic"),
    "function": (TypeError, "model must have a method 'apply', got function", lambda x: x, "logistic"),
    "logits": (
        ValueError,
        "the network has 3 logits, but the data has 4 classes",
        Own(outputs=3),
        "cross_entropy",
    ),
    "loss": (
        ValueError,
        "the logistic loss needs a network with a single output",
        Own(outputs=4),
        "logistic",
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_models(case):
    error, words, model, loss = MODELS[case]
    refused(error, words, Problem(DATA, model, loss))


ZERO_ONE = (SIGNS + 1) / 2
SINGLE = {  # labels of a network with a single output
    "0 and 1": ({"y": ZERO_ONE}, "y must be -1 or +1", "the train samples have 0: take 2 * y - 1"),
    "test 0 and 1": ({"test_y": ZERO_ONE}, "y must be -1 or +1", "the test samples have 0"),
    "indices": (
        {"y": np.arange(8.0)},
        "y must be -1 or +1",
        "for class indices use one logit a class and cross_entropy",
    ),
    "nan": ({"y": np.nan * SIGNS}, "y must be -1 or +1", "have nan"),
    "bools": ({"y": SIGNS > 0}, "y of the train samples must be numbers", "got bool"),
    "column": (
        {"y": SIGNS[:, None]},
        "must be one number for each of 8 inputs",
        "got shape (8, 1): leave out",
    ),
    "too few": ({"y": SIGNS[1:]}, "must be one number for each of 8 inputs", "got shape (7,)"),
    "nan inputs": ({"x": np.nan * X}, "inputs must be finite", "train inputs"),
    "bytes": ({"x": X.astype(np.uint8)}, "must be floats of shape (samples, ...)", "uint8"),
    "no array": ({"x": X.tolist()}, "must be floats of shape (samples, ...)", "list"),
}
LOGITS = {  # of a network with two logits
    "from 1": ({"target": CLASSES + 1}, "target must be class indices 0 .. 1", "train samples have 2"),
    "signs": ({"target": SIGNS.astype(int)}, "target must be class indices 0 .. 1", "have -1"),
    "test": ({"test_target": CLASSES + 7}, "target must be class indices 0 .. 1", "test samples have 7, 8"),
    "floats": ({"target": ZERO_ONE}, "target of the train samples must be integers", "float32"),
    "one-hot": ({"target": np.eye(2, dtype=int)[CLASSES]}, "must be one number for each", "(8, 2)"),
    "none": ({"without": ("target",)}, "must be one number for each", "got None"),
}


@pytest.mark.parametrize("case", SINGLE)
def test_labels_of_a_single_output(case):
    changed, *words = SINGLE[case]
    for word in words:
        refused(ValueError, word, Problem(Mine(**changed), Own()))


@pytest.mark.parametrize("loss", ["exponential", "hinge"])
def test_every_loss_of_margins_asks_for_signs(loss):
    refused(ValueError, f"y must be -1 or +1 for the {loss} loss", Problem(Mine(y=ZERO_ONE), Own(), loss))


@pytest.mark.parametrize("case", LOGITS)
def test_labels_of_logits(case):
    changed, *words = LOGITS[case]
    for word in words:
        refused(ValueError, word, Problem(Mine(**changed), Own(outputs=2), "cross_entropy"))


def test_labels_that_a_loss_does_not_look_at_may_be_anything():
    for data, shape, loss in (
        (Mine(y=ZERO_ONE), (8,), "squared"),
        (Mine(y=X[:, 0]), (8,), "squared"),
        (Mine(y=SIGNS.astype(int)), (8,), "logistic"),
        (Mine(without=("target",)), (8,), "logistic"),
        (Mine(target=CLASSES - 9), (8,), "hinge"),
        (Mine(y=ZERO_ONE), (8, 2), "cross_entropy"),
        (Mine(without=("y",)), (8, 2), "squared"),
    ):
        labels.first_draw(Problem(data, Own(), loss), [], shape, 0, 0)


def test_zero_and_one_are_no_signs():
    with pytest.warns(UserWarning, match=r"labels are 0 and 1: .* take 2 \* y - 1"):
        labels.first_draw(Problem(Mine(y=ZERO_ONE, test_y=ZERO_ONE), Own(), "squared"), [], (8,), 0, 0)


def test_test_labels_are_those_of_training():
    refused(ValueError, "training labels -1 and +1", Problem(Mine(test_y=ZERO_ONE), Own(), "squared"))


def test_labels_of_a_later_seed():
    """Seed 0 draws no label 0 here, and seed 3 does: it is named, and finished runs are not lost."""

    @part
    class Late:
        def sample(self, key):
            draw, wrong = Mine().sample(key), jax.random.bernoulli(key, 0.3)
            y = jnp.where(wrong, 0.0, draw.train.y)
            return dataclasses.replace(draw, train=dataclasses.replace(draw.train, y=y))

    wrong = [s for s in range(8) if not _first_draw_is_fine(Problem(Late(), Own()), s)]
    assert wrong
    assert 0 not in wrong
    with pytest.raises(ValueError, match=f"seed {wrong[0]}: y must be -1 or"):
        simulate(Problem(Late(), Own()), RULE, steps=1, seeds=8)


def _first_draw_is_fine(problem, seed):
    try:
        labels.first_draw(problem, [], (8,), seed, 0)
    except ValueError:
        return False
    return True


def test_the_librarys_own_data_need_no_look():
    assert [labels.are_known(data) for data in (DATA, Shared(DATA))] == [True, True]
    assert [labels.are_known(data) for data in (Mine(), Shared(Mine()))] == [False, False]
    refused(ValueError, "y must be -1 or +1", Problem(Shared(Mine(y=ZERO_ONE)), Own()))


@pytest.mark.exhaustive
def test_inputs_outside_of_the_box_of_an_attack():
    """Of data of one's own and of the library's, for training and for an observable, in any seed."""
    for problem, observed in (
        (Problem(Mine(), Own(), adversary=FGSM(0.1, box=(0.0, 0.5))), {}),
        (Problem(DATA, Own(), adversary=FGSM(0.1, box=(0.0, 0.5))), {}),
        (Problem(DATA, Own()), {"pgd": o.pgd_accuracy.given(radius=0.1, box=(-0.5, 0.5))}),
    ):
        with pytest.raises(ValueError, match=r"inputs must lie in the box .* that was asked for") as caught:
            simulate(problem, RULE, steps=1, seeds=2, observe=observed)
        assert "\n" not in str(caught.value)
    problem = Problem(Mine(), Own(), adversary=FGSM(0.1, box=(-50.0, 50.0)))
    labels.first_draw(problem, [], (8,), 0, 0)
    draws = jax.vmap(problem.data.sample)(jax.random.split(jax.random.key(0), 3))
    labels.of_runs(problem, [], (8,), draws, np.arange(3))
    beyond = dataclasses.replace(draws.test, x=draws.test.x.at[2, 0, 0].set(60.0))
    with pytest.raises(ValueError, match=r"test inputs .* reach 10 above 50"):
        labels.of_runs(problem, [], (8,), dataclasses.replace(draws, test=beyond), np.arange(3))


@dataclasses.dataclass(frozen=True)
class Frozen:
    """A dataclass that its author has not made a part."""

    noise: Any = 0.0
    source: Any = None

    def sample(self, key):
        return (self.source or Mine()).sample(key)


@dataclasses.dataclass
class Mutable:
    noise: Any = 0.0

    def sample(self, key):
        return Mine().sample(key)


@part
class Static:
    noise: Any = static(0.0)

    def sample(self, key):
        return Mine().sample(key)


class Returned:
    def __init__(self, draw):
        self.draw = draw

    def sample(self, key):
        return self.draw


NOISE = Axis("noise", [0.0, 1.0])


def returned(**changed):
    """Data that return these samples."""
    sample = Sample(X, SIGNS, CLASSES, CLASSES)
    samples = {name: value and dataclasses.replace(sample, **value) for name, value in changed.items()}
    samples = {"train": sample, "test": sample} | samples
    return Returned(Draw(**samples, features=None, feature_signs=None, class_signs=None))


NOT_RUN = "axis 'noise' at problem.data.{} would not be run: {}"
DRAWS = {
    "frozen": (ValueError, NOT_RUN.format("noise", "make Frozen a part"), lambda: Frozen(NOISE)),
    "nested": (
        ValueError,
        NOT_RUN.format("source.noise", "make Frozen a part"),
        lambda: Frozen(0.0, dataclasses.replace(DATA, noise=NOISE)),
    ),
    "shared": (ValueError, NOT_RUN.format("source.noise", ""), lambda: Shared(Frozen(NOISE))),
    "static": (ValueError, NOT_RUN.format("noise", "Static is compiled in there"), lambda: Static(NOISE)),
    "attribute": (ValueError, NOT_RUN.format("draw[0]", "make Returned a part"), lambda: Returned([NOISE])),
    "mutable": (TypeError, "data must be a part", Mutable),
    "array": (TypeError, "data must be a part", lambda: Frozen(X)),
    "static array": (TypeError, "field 'noise' of Static is static, which arrays", lambda: Static(X)),
    "class": (TypeError, "data must be an object, got the class Clusters", lambda: Clusters),
    "pair": (
        TypeError,
        "data must have a method 'sample', got tuple; arrays become data by data.from_arrays(x, y)",
        lambda: (X, SIGNS),
    ),
    "no draw": (
        TypeError,
        "must return a Draw, got tuple: return data.Draw(train=data.Sample(",
        lambda: Returned((X, SIGNS)),
    ),
    "no test": (TypeError, "test of the data's Draw must be a Sample", lambda: returned(test=None)),
    "other dim": (ValueError, "inputs must have one shape", lambda: returned(test={"x": X[:, 1:]})),
    "empty": (ValueError, "got shape (0, 6)", lambda: returned(train={"x": X[:0]})),
}


@pytest.mark.parametrize("case", DRAWS)
def test_data(case):
    error, words, make = DRAWS[case]
    refused(error, words, Problem(make(), Own()))


def test_an_axis_in_an_adversary_that_is_no_part():
    @dataclasses.dataclass(frozen=True)
    class Push:
        size: Any

        def perturb(self, params, sample, problem, draw, key):
            return sample

    refused(ValueError, "make it a part, by the decorator @part", Problem(DATA, Own(), adversary=Push(NOISE)))


RATE = Axis("rate", [0.1, 0.2])
TRACED = "dynamics.optax.adamw(Axis("


@pytest.mark.parametrize(
    "make",
    [
        lambda: optax.adamw(RATE),
        lambda: optax.sgd(RATE),
        lambda: optax.adamw(0.1, weight_decay=RATE),
        lambda: optax.adam(0.1, b1=RATE),
        lambda: optax.inject_hyperparams(optax.adam)(learning_rate=RATE),
        lambda: rules.on_log_loss(optax.adam(0.1, b2=RATE)),
        lambda: optax.chain(optax.clip(1.0), optax.trace(decay=RATE)),
    ],
)
def test_axes_in_plain_rules_name_the_way_out(make):
    with pytest.raises((ValueError, TypeError)) as caught:
        simulate(Problem(DATA, Own()), make(), steps=1, seeds=1)
    assert TRACED in str(caught.value)


def test_an_axis_is_no_number():
    one = np.float64(1)
    for compute in (
        lambda: 1 - RATE,
        lambda: one * RATE,
        lambda: jnp.ones(2) + RATE,
        lambda: RATE > 0,
        lambda: float(RATE),
        lambda: jnp.asarray(RATE),
        lambda: np.asarray(RATE),
        lambda: -RATE,
        lambda: 2**RATE,
    ):
        with pytest.raises(TypeError, match="axis 'rate' is many numbers"):
            compute()


def test_axes_in_functions():
    ax = Axis("width", [1.0, 2.0])
    closed = observable()(lambda params, problem, draw: jnp.float32(len(ax.values)))
    default = observable()(lambda params, problem, draw, x=ax: jnp.float32(len(x.values)))
    for what in (closed, default):
        refused(ValueError, "axis 'width' at observe['a']", observe={"a": what})
    refused(ValueError, TRACED, rule=steepest("l2", lambda step: ax.values[0] * step))


@pytest.mark.exhaustive
def test_axes_where_they_belong_are_run():
    rule = traced(optax.adamw, learning_rate=RATE, weight_decay=0.1)
    problem = Problem(dataclasses.replace(DATA, noise=NOISE), TwoLayer(2))
    run = simulate(problem, rule, steps=1, seeds=1, observe={"a": o.neuron_norm})
    assert dict(run.a.sizes) == {"noise": 2, "rate": 2, "seed": 1, "step": 2, "neuron": 4}


RULES = {
    "text": lambda: steepest("l2", "0.1"),
    "list": lambda: steepest("l2", [0.1, 0.2]),
    "none": lambda: steepest("l2", None),
    "negative": lambda: steepest("l2", np.float32(-1)),
    "negative axis": lambda: steepest("l2", Axis("rate", [0.1, -0.1])),
    "named": lambda: rules.named("adam", "fast"),
    "named negative": lambda: rules.named("adam", -0.1),
}


@pytest.mark.parametrize("case", RULES)
def test_learning_rates(case):
    with pytest.raises(ValueError, match=r"learning_rate must be (one number|finite and not negative)"):
        RULES[case]()


def test_a_rule_that_does_not_suit_the_parameters():
    refused(ValueError, "'V' is no parameter", rule=rules.within(RULE, ball=1.0, only=("V",)))
    refused(ValueError, "the update rule cannot be initialised",
            rule=optax.multi_transform({"a": optax.sgd(0.1)}, {"V": "a"}))  # fmt: skip


def gives(value, dims=(), **about):
    return observable(dims, **about)(lambda params, problem, draw: value)


NO_NAME = "names in a result's file are not empty"
UNDER = o.universal_accuracy
NAMES = {
    "own dimension": ({"neuron": o.alignment}, "that is a dimension of observable 'neuron'"),
    "another dimension": ({"a": o.alignment, "feature": o.log_loss}, "that is a dimension of observable 'a'"),
    "seed": ({"seed": o.training_loss}, "every result has that already"),
    "divergence": ({"first_nonfinite_step": o.training_loss}, "every result has that already"),
    "slash": ({"test/acc": o.training_loss}, NO_NAME),
    "empty": ({"": o.training_loss}, NO_NAME),
    "space": ({" a": o.training_loss}, NO_NAME),
    "long": ({"a" * 300: o.training_loss}, "at most 200 characters"),
    "number": ({3: o.training_loss}, "must be called by text, got 3"),
    "dimension slash": ({"a": gives(jnp.zeros(2), ("a/b",))}, NO_NAME),
    "dimension empty": ({"a": gives(jnp.zeros(2), ("",))}, NO_NAME),
    "dimension seed": ({"a": gives(jnp.zeros(2), ("seed",))}, "every result has that already"),
    "dimension step": ({"a": gives(jnp.zeros(2), ("step",))}, "every result has that already"),
    "repeated": ({"a": gives(jnp.zeros((2, 2)), ("k", "k"))}, "must have different names"),
    "sizes": ({"a": gives(jnp.zeros(3), ("neuron",)), "b": o.neuron_norm}, "has size 4, elsewhere 3"),
    "coordinates": ({"a": UNDER.given(radius=[0.1, 0.2]), "b": UNDER.given(radius=[0.1, 0.3])},
                    "have different coordinates for dimension 'radius'"),
    "units": ({"a": gives(jnp.zeros(()), units="a\nb")}, "units of observable 'a' must be text"),
    "dict": ({"a": gives({"b": jnp.zeros(())})}, "it must give one array, got dict"),
    "nothing": ({"a": gives(None)}, "it must give one array, got NoneType"),
    "complex": ({"a": gives(jnp.ones((), complex))}, "is complex: record its real and its imaginary part"),
    "keys": ({"a": gives(jax.random.key(0))}, "gives keys"),
    "function": ({"a": lambda params, problem, draw: 0.0}, "decorate it with @observable((\"neuron\",))"),
    "option": ({"a": o.pgd_accuracy}, "needs radius: give it by .given(radius=...)"),
    "numpy": ({"a": observable()(lambda p, problem, draw: np.linalg.norm(p["W"]))}, "take jax.numpy"),
    "branch": ({"a": observable()(lambda p, problem, draw: 1.0 if p["W"].sum() > 0 else 0.0)}, "jnp.where"),
    "key": ({"a": observable()(lambda p, problem, draw: p["V"])}, "'V'; there are params['W'], params['b']"),
    "attribute": ({"a": observable()(lambda p, problem, draw: p.V)}, "there are params['W'], params['b']"),
    "path": ({"a": observable()(lambda p, problem, draw: problem.data.none)}, "no attribute 'none'"),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMES)
def test_observables(case):
    observe, words = NAMES[case]
    refused((ValueError, TypeError), words, observe=observe)


@pytest.mark.parametrize("name", ["a/b", "", " a", 3])
def test_names_of_axes(name):
    with pytest.raises((ValueError, TypeError), match=r"an axis (cannot|must) be called"):
        Axis(name, [1.0])


def test_observable_without_parentheses_or_with_one_name():
    for dims in (lambda params, problem, draw: 0.0, "neuron", ["neuron"]):
        with pytest.raises(TypeError, match="observable takes a tuple of names of dimensions"):
            observable(dims)


@settings(max_examples=15)
@given(
    st.one_of(
        st.text(max_size=8), st.sampled_from([".", "..", "a b", "é", "file", "x.y", "a\\b", "\ud800", "a\0"])
    )
)
def test_what_passes_can_be_saved_and_loaded(tmp_path_factory, name):
    what = gives(jnp.zeros(2), (f"{name}2",), about="x")
    try:
        checks.observables({name: what}, {})
    except ValueError:
        return
    path = tmp_path_factory.mktemp("names") / "result.nc"
    run = results.assemble(
        {name: np.arange(4.0).reshape(1, 2, 2)},
        {},
        first_nonfinite_step=np.array([-1]),
        axes={},
        seeds=[0],
        times=[0, 1],
        observables={name: what},
        attrs={"complete": 1},
    )
    results.save(run, path)
    assert results.load(path).identical(run)


@pytest.mark.exhaustive
def test_types_that_files_do_not_know_are_widened(tmp_path):
    """And observables of every name that the checkpoint might take for its own are kept on the way."""
    kinds = {"bfloat16": 1.5, "float8_e4m3fn": 1.5, "float16": 1.5, "int4": 3, "bool": True}
    observe = {kind: gives(jnp.asarray([value], kind), ("k",)) for kind, value in kinds.items()}
    observe |= {"file": gives(jnp.ones(())), "allow_pickle": gives(jnp.ones(()))}
    run = simulate(
        Problem(DATA, TwoLayer(2)), RULE, steps=0, seeds=1, observe=observe, checkpoint=tmp_path / "c"
    )
    for kind, value in kinds.items():
        assert (run[kind].values == value).all()
    kept = [run[kind].dtype.name for kind in ("bfloat16", "float8_e4m3fn", "int4")]
    assert kept == ["float32", "float32", "int32"]
    results.save(run, tmp_path / "result.nc")
    assert results.load(tmp_path / "result.nc").identical(run)


W_WORDS = "needs a first layer `W` (neurons, dim) among the parameters; here they are Dense_0/bias"
SPEAKS = "what a neuron speaks for is known of networks with one hidden layer only"
SINGLE_ONLY = "is for networks with a single output, got 4"
HOMOGENEOUS = "a model that is homogeneous in its parameters; Own with these options is not"
MISFITS = [
    *[
        (name, Own(), W_WORDS)
        for name in ("alignment", "off_span", "coefficients", "neuron_norm", "weights", "dead")
    ],
    *[(name, Own(), SPEAKS) for name in ("own", "averaging_residual", "feature_strength")],
    ("output_weights", Own(), "Own has no second layer"),
    ("own", Homogeneous((4, 4)), "Homogeneous also has W2"),
    *[(name, Own(outputs=4), SINGLE_ONLY) for name in ("outputs", "signed_tangents")],
    *[(name, Own(), HOMOGENEOUS) for name in ("geometric_margin", "soft_margin", "bregman_gap")],
    ("class_accuracy", Own(), "class_accuracy needs one logit a class"),
    ("linear_predictor", Own(outputs=4), "names dimensions ('dim',), but has shape (6, 4)"),
]


@pytest.mark.parametrize(
    ("name", "model", "words"), MISFITS, ids=[f"{m[0]}-{type(m[1]).__name__}" for m in MISFITS]
)
def test_observables_on_models_that_they_do_not_suit(name, model, words):
    problem = Problem(DATA, model, "cross_entropy" if getattr(model, "outputs", 0) else "logistic")
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        checks.shapes(problem, None, {"x": getattr(o, name)})
    assert str(caught.value).startswith("observable 'x'")


def test_the_second_layer_of_a_network_without_an_axis_of_outputs():
    problem = Problem(DATA, NTKTwoLayer(6))
    checks.shapes(problem, None, {"own": o.own, "a": o.output_weights, "r": o.averaging_residual})


@pytest.mark.parametrize("observe", [[o.alignment], o.alignment, ["alignment"]])
def test_what_is_observed_has_names(observe):
    words = "observe must map names to Observables, as observe={'alignment': observables.alignment}, got "
    refused(TypeError, words + type(observe).__name__, observe=observe)


LOSSES = {
    "one argument": (
        lambda o: o,
        "loss must be a function of two, outputs and sample",
    ),
    "its head": (lambda o, y, z: o, "got <lambda>(o, y, z)"),
    "bound": (bind(lambda o, s, rate: o, other=1.0), "loss must be a function of two"),
    "mean": (
        lambda o, s: o.mean(),
        "from outputs of shape (8,); the problem itself takes the mean",
    ),
    "pair": (lambda o, s: (o, o), "got tuple from outputs"),
    "nothing": (lambda o, s: None, "got NoneType from outputs"),
    "no number to descend": (lambda o, s: o * s.y < 0, "got shape (8,), bool, from"),
}


@pytest.mark.parametrize("case", LOSSES)
def test_losses_of_other_arguments_or_values(case):
    loss, words = LOSSES[case]
    with pytest.raises(ValueError, match=re.escape(words)):
        checks.shapes(Problem(DATA, TwoLayer(2), loss=loss), None, {})


def test_functions_of_other_arguments():
    with pytest.raises(ValueError, match=r"a term must be a function .*, got <lambda>\(p\)"):
        Problem(DATA, TwoLayer(2), terms=(lambda p: 1.0,))
    with pytest.raises(TypeError, match=r"function of \(params, problem, .*, got <lambda>\(params\)"):
        observable()(lambda params: 1.0)
    with pytest.raises(TypeError, match=r"takes a key, which observable\(..., random=True\) gives"):
        observable()(lambda params, problem, draw, key: 1.0)


def test_data_without_features():
    problem = Problem(Mine(), TwoLayer(2))
    words = "the data name no features: give features= an array (features, dim), to data.from_arrays or"
    refused(ValueError, words, problem, observe={"a": o.alignment})
    refused(
        ValueError, "engine 'gram' cannot be used here: the data name no features", problem, engine="gram"
    )


def test_a_loss_of_labels_alone_is_told_what_it_gets():
    problem = Problem(Clusters(5, 2, 7, 3), TwoLayer(1), loss=lambda outputs, labels: outputs - labels)
    with pytest.raises(TypeError, match=r"the loss of outputs and a sample \(with its y, target, x\) cannot"):
        simulate(problem, steepest("l2", 0.1), steps=1, seeds=1)
