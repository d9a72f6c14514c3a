"""The engine against a NumPy loop, against itself in another batching, and against bad arguments."""

import warnings
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dynamics.data.clusters import Clusters
from dynamics.data.sample import Draw, Sample
from dynamics.descent import named, steepest, traced
from dynamics.engine import direct
from dynamics.engine.schedule import linear_spaced, log_spaced, recording_times
from dynamics.engine.simulate import simulate
from dynamics.keys import named_key, seed_key
from dynamics.models.two_layer import TwoLayer
from dynamics.observables.base import observable
from dynamics.parts import Axis, part
from dynamics.problem import Problem

DIM, WIDTH, STEPS = 8, 3, 60


@observable(("neuron", "dim"))
def first_layer(params, problem, draw):
    return params["W"]


@observable(("neuron",))
def bias(params, problem, draw):
    return params["b"]


@observable()
def train_loss(params, problem, draw):
    return jnp.mean(problem.sample_losses(params, draw.train))


OBSERVE = {"W": first_layer, "b": bias, "loss": train_loss}


@part
class Blobs:
    """A data part of a user's own: three blobs around coordinate axes. It compiles faster than `Clusters`."""

    noise: Any = 1.0

    def sample(self, key):
        features = 3.0 * jnp.eye(3, DIM)
        blob = jnp.arange(20) % 3
        signs = jnp.array([1.0, 1.0, -1.0])
        x = features[blob] + self.noise * jax.random.normal(key, (20, DIM))
        sample = Sample(x, signs[blob], blob, blob)
        return Draw(sample, sample, features, signs, signs)


def binary(noise=1.0, **numbers):
    return Problem(Blobs(noise), TwoLayer(WIDTH), **{"init_scale": 0.3} | numbers)


def multi_class(**numbers):
    return Problem(Blobs(), TwoLayer(WIDTH, 3), "cross_entropy", **{"init_scale": 0.3} | numbers)


def start_of(problem, seed, root=0):
    """Initial parameters and data of one seed, as NumPy arrays, with the fixed second layer's labels."""
    key = seed_key(seed, root)
    draw = problem.sample(named_key(key, "data"))
    params = jax.tree.map(np.asarray, problem.init(named_key(key, "init")))
    labels = draw.train.y if problem.model.num_outputs == 1 else draw.train.target
    return params, np.asarray(draw.train.x), np.asarray(labels)


def close(actual, expected, tolerance):
    """Equal up to `tolerance` times the largest entry: round-off is relative to that, not to each entry."""
    expected = np.asarray(expected)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.max(np.abs(expected)))


def assert_same(one, other):
    """Bit for bit equal variables."""
    assert set(one.data_vars) == set(other.data_vars)
    for name in one.data_vars:
        np.testing.assert_array_equal(one[name].values, other[name].values, err_msg=name)


@pytest.fixture(scope="module")
def whole():
    """A run of gradient descent, every step recorded."""
    return simulate(
        binary(),
        steepest("l2", 0.1),
        steps=STEPS,
        observe=OBSERVE,
        when=range(STEPS + 1),
        seeds=[7, 3],
        strategy="map",
    )


# float64 keeps 16 digits; 60 steps of a network that fits its data amplify round-off by far less than 1e5
@pytest.mark.parametrize(
    ("rule", "normalize", "rate"),
    [
        ("gd", False, 0.1),
        ("gd", True, 0.1),
        ("sign", False, 0.003),
        ("sign", True, 0.003),
        ("coordinate", False, 0.1),
    ],
)
@pytest.mark.parametrize("make", [binary, multi_class])
def test_agrees_with_a_numpy_loop(reference, make, rule, normalize, rate):
    loop = reference("numpy_loop")
    problem = make()
    ds = simulate(
        problem,
        named(rule, rate, normalize=normalize),
        steps=STEPS,
        observe=OBSERVE,
        when=range(STEPS + 1),
        seeds=[5],
        root=3,
    )
    params, x, labels = start_of(problem, 5, root=3)
    a = loop.fixed_output(WIDTH, problem.model.num_outputs)
    path, losses = loop.train(params, x, labels, a, rule, rate, STEPS, normalize)
    for name in ("W", "b"):
        close(ds[name].values[0], [p[name] for p in path], 1e-10)
    close(ds.loss.values[0], losses, 1e-10)
    assert losses[-1] < 0.9 * losses[0]  # there was something to compare


def test_trained_second_layer_agrees_with_a_numpy_loop(reference):
    loop = reference("numpy_loop")
    second = observable(("output", "neuron"))(lambda params, problem, draw: params["a"])
    model = TwoLayer(WIDTH, 3, use_bias=False, train_output=True)
    problem = Problem(multi_class().data, model, "cross_entropy", init_scale={"W": 0.3})
    ds = simulate(problem, named("gd", 0.2), steps=40, observe={"W": first_layer, "a": second}, seeds=[1])
    params, x, labels = start_of(problem, 1)
    path, _ = loop.train(params, x, labels, None, "gd", 0.2, 40)
    for name in ("W", "a"):
        close(ds[name].values[0], [path[t][name] for t in ds.step.values], 1e-10)
    assert np.max(np.abs(path[-1]["a"] - path[0]["a"])) > 0.01


@pytest.mark.parametrize(
    ("name", "rule"), [("momentum", optax.sgd(0.05, momentum=0.9)), ("adam", optax.adam(0.05))]
)
def test_optax_rules_agree_with_a_python_loop(reference, name, rule):
    loop = reference("numpy_loop")
    problem = binary()
    ds = simulate(problem, named(name, 0.05), steps=30, observe=OBSERVE, when=range(31), seeds=[2])
    params, x, labels = start_of(problem, 2)
    state, path = rule.init(params), [params]
    for _ in range(30):
        _, grads = loop.loss_and_gradient(params, x, labels, loop.fixed_output(WIDTH, 1))
        updates, state = rule.update(grads, state, params)
        params = jax.tree.map(np.asarray, optax.apply_updates(params, updates))
        path.append(params)
    for key in ("W", "b"):
        close(ds[key].values[0], [p[key] for p in path], 1e-10)


ASKING = {
    "line search": lambda: optax.lbfgs(memory_size=3),
    "backtracking": lambda: optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(10)),
    "sharpness-aware": lambda: optax.contrib.sam(optax.sgd(0.05), optax.sgd(0.1), opaque_mode=True),
    "second order": lambda: optax.contrib.sophia(0.05),
    "value": lambda: optax.polyak_sgd(max_learning_rate=0.1),
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", ASKING)
def test_rules_that_ask_for_more_than_the_gradient_agree_with_a_python_loop(name):
    """Line searches ask for the loss as a function, SAM for its gradient, Sophia for its Hessian."""
    problem, rule = binary(), ASKING[name]()
    ds = simulate(problem, rule, steps=6, observe=OBSERVE, when=range(7), seeds=[2])
    data, init = (named_key(seed_key(2), part) for part in ("data", "init"))
    draw, params = problem.sample(data), problem.init(init, data)

    def loss(params, **others):
        return problem.training_loss(params, draw.train, draw, data)

    slope = jax.grad(loss)
    state, path = rule.init(params), [params]
    for _ in range(6):
        value, grads = loss(params), slope(params)
        more = {
            "line search": {"value": value, "grad": grads, "value_fn": loss},
            "backtracking": {"value": value, "grad": grads, "value_fn": loss},
            "sharpness-aware": {"grad_fn": lambda p, _: slope(p)},
            "second order": {"obj_fn": loss},
            "value": {"value": value},
        }[name]
        updates, state = rule.update(grads, state, params, **more)
        params = optax.apply_updates(params, updates)
        path.append(params)
    for key in ("W", "b"):
        close(ds[key].values[0], [p[key] for p in path], 1e-9)
    assert float(ds.loss[0, -1]) < float(ds.loss[0, 0])


@pytest.mark.exhaustive
def test_a_plain_optax_rule_is_accepted():
    runs = [
        simulate(binary(), rule, steps=20, observe={"W": first_layer}, seeds=2)
        for rule in (optax.adam(1e-3), traced(optax.adam, learning_rate=1e-3))
    ]
    # the rate is a constant in one program and an argument of the other: round-off may differ
    close(runs[0].W.values, runs[1].W.values, 1e-12)
    assert np.max(np.abs(np.diff(runs[0].W.values, axis=1))) > 0


# --- batching ---


@pytest.fixture(scope="module")
def many():
    """64 seeds under either strategy."""
    return {
        strategy: simulate(
            binary(), steepest("l2", 0.1), steps=STEPS, observe=OBSERVE, seeds=64, strategy=strategy
        )
        for strategy in ("map", "vmap")
    }


@pytest.mark.exhaustive
def test_strategies_agree(many):
    for name in OBSERVE:
        close(many["vmap"][name].values, many["map"][name].values, 1e-12)


@pytest.mark.exhaustive
def test_seed_alone_is_the_seed_in_a_batch(many):
    alone = simulate(binary(), steepest("l2", 0.1), steps=STEPS, observe=OBSERVE, seeds=[7], strategy="map")
    assert_same(alone, many["map"].sel(seed=[7]))
    alone = simulate(binary(), steepest("l2", 0.1), steps=STEPS, observe=OBSERVE, seeds=[7], strategy="vmap")
    for name in OBSERVE:  # another batch shape may sum in another order
        close(alone[name].values, many["vmap"][name].sel(seed=[7]).values, 1e-12)


def test_seeds_differ(many):
    first = many["map"].W.isel(step=0).values
    assert len({w.tobytes() for w in first}) == 64


def test_an_axis_is_separate_runs():
    def run(noise, rate, scale):
        problem = binary(noise, init_scale=scale)
        return simulate(
            problem, steepest("l2", rate), steps=20, observe=OBSERVE, seeds=[0, 4], strategy="map"
        )

    ds = run(Axis("noise", [0.0, 0.5]), Axis("rate", [0.1, 0.2, 0.3]), 0.3)
    assert ds.W.dims == ("noise", "rate", "seed", "step", "neuron", "dim")
    for noise in (0.0, 0.5):
        for rate in (0.1, 0.2, 0.3):
            separate = run(noise, rate, 0.3)
            for name in OBSERVE:
                close(ds[name].sel(noise=noise, rate=rate).values, separate[name].values, 1e-12)
    # two axes of one name advance together
    ds = run(Axis("level", [0.0, 0.5]), 0.1, Axis("level", [0.3, 0.6]))
    assert ds.sizes["level"] == 2
    close(ds.W.sel(level=0.5).values, run(0.5, 0.1, 0.6).W.values, 1e-12)
    np.testing.assert_array_equal(ds.level, [0.0, 0.5])


# --- recording ---


@pytest.mark.parametrize("steps", [0, 1, 2, 7, 100, 12345])
@pytest.mark.parametrize("count", [3, 10, 64])
@pytest.mark.parametrize("space", [linear_spaced, log_spaced])
def test_spaced_times(space, steps, count):
    times = space(steps, count)
    assert times[0] == 0
    assert times[-1] == steps
    assert len(times) <= count
    assert times == sorted(set(times))
    assert all(type(t) is int for t in times)


def test_spacing_is_even():
    assert linear_spaced(100, 5) == [0, 25, 50, 75, 100]
    assert log_spaced(1000, 5) == [0, 1, 10, 100, 1000]


def test_recording_times():
    assert recording_times(10, [0, 3]) == [0, 3, 10]
    assert recording_times(10, np.array([2, 10])) == [2, 10]
    assert recording_times(10, []) == [10]
    assert recording_times(1000, None) == log_spaced(1000, 64)


@pytest.mark.parametrize("when", [None, [0, 11, 12, 40], [33], [], linear_spaced(STEPS, 5)])
def test_values_do_not_depend_on_other_recording_times(whole, when):
    ds = simulate(
        binary(), steepest("l2", 0.1), steps=STEPS, observe=OBSERVE, when=when, seeds=[7, 3], strategy="map"
    )
    assert ds.step.values.tolist() == recording_times(STEPS, when)
    assert_same(ds, whole.sel(step=ds.step))


def test_observe_end_is_recorded_once(whole):
    ds = simulate(
        binary(),
        steepest("l2", 0.1),
        steps=STEPS,
        observe={"loss": train_loss},
        observe_end={"W": first_layer},
        seeds=[7, 3],
        strategy="map",
    )
    assert ds.W.dims == ("seed", "neuron", "dim")
    np.testing.assert_array_equal(ds.W, whole.W.sel(step=STEPS))
    assert ds.loss.dims == ("seed", "step")
    end = ds.isel(step=-1)  # what was recorded once is of the end too
    np.testing.assert_array_equal(end.W, ds.W)
    np.testing.assert_array_equal(end.loss, ds.loss[:, -1])
    assert ds[["W"]].isel(step=-1, missing_dims="ignore").W.identical(ds.W)


def test_no_steps_record_the_start():
    ds = simulate(binary(), steepest("l2", 0.1), steps=0, observe=OBSERVE, seeds=[7])
    np.testing.assert_allclose(ds.W.values[0, 0], start_of(binary(), 7)[0]["W"], rtol=1e-14)
    assert ds.step.values.tolist() == [0]


def test_an_observable_of_ones_own():
    @observable(("power", "neuron"), about="norm to a power", units="u")
    def powers(params, problem, draw, power, offset=0.0):
        return jnp.linalg.norm(params["W"], axis=1)[None] ** power[:, None] + offset

    @observable(random=True)
    def chance(params, problem, draw, key):
        return jax.random.uniform(key)

    ds = simulate(
        binary(),
        steepest("l2", 0.1),
        steps=4,
        observe={
            "powers": powers.given(power=np.array([1.0, 2.0]), offset=0.5),
            "chance": chance,
            "W": first_layer,
        },
        when=[0, 2],
        seeds=3,
    )
    assert ds.powers.dims == ("seed", "step", "power", "neuron")
    assert ds.powers.attrs == {"long_name": "norm to a power", "units": "u"}
    np.testing.assert_array_equal(ds.power, [1.0, 2.0])
    norms = np.linalg.norm(ds.W.values, axis=-1)
    np.testing.assert_allclose(ds.powers.sel(power=2).values, norms**2 + 0.5, rtol=1e-12)
    expected = [float(jax.random.uniform(named_key(seed_key(s), "observe"))) for s in range(3)]
    np.testing.assert_array_equal(ds.chance.values, np.repeat(np.array(expected)[:, None], 3, axis=1))


def test_result_says_how_it_was_made(whole):
    assert whole.attrs["steps"] == STEPS
    assert whole.attrs["complete"] == 1
    assert '"learning_rate": 0.1' in whole.attrs["descent"]
    assert whole.seed.values.tolist() == [7, 3]


# --- minibatches ---


def test_every_epoch_visits_every_sample_once():
    count, size = 12, 4
    index = jnp.arange(count)
    train = Sample(index[:, None] * 1.0, index * 1.0, index, index)
    epochs = []
    for epoch in range(4):
        seen = [direct.minibatch(seed_key(3), train, 3 * epoch + i, size) for i in range(3)]
        for batch in seen:
            np.testing.assert_array_equal(batch.x[:, 0], batch.target)
            np.testing.assert_array_equal(batch.y, batch.target)
        epochs.append(np.concatenate([batch.target for batch in seen]))
        assert sorted(epochs[-1].tolist()) == list(range(count))
    assert len({epoch.tobytes() for epoch in epochs}) == 4


@pytest.mark.exhaustive
def test_minibatch_training_agrees_with_a_loop(reference):
    loop = reference("numpy_loop")
    problem, size = binary(), 6  # 20 samples: three batches an epoch, two samples left over
    ds = simulate(
        problem,
        steepest("l2", 0.1),
        steps=10,
        observe={"W": first_layer},
        when=[0, 4, 5],
        seeds=[3],
        batch_size=size,
    )
    params, x, y = start_of(problem, 3)
    index = jnp.arange(20)
    numbered = Sample(1.0 * index[:, None], 1.0 * index, index, index)
    order = named_key(seed_key(3), "batches")
    path = [params]
    for i in range(10):
        rows = np.asarray(direct.minibatch(order, numbered, i, size).target)
        _, grads = loop.loss_and_gradient(params, x[rows], y[rows], loop.fixed_output(WIDTH, 1))
        params = loop.step(params, grads, "gd", 0.1)
        path.append(params)
    close(ds.W.values[0], [path[t]["W"] for t in (0, 4, 5, 10)], 1e-10)


# --- adversaries ---


@part
class Jitter:
    """Moves inputs against their label along the first feature, and at random."""

    radius: Any
    spread: Any = 0.0

    def perturb(self, key, objective, sample, draw):
        away = sample.y[:, None] * draw.features[0][None]
        return sample.x - self.radius * away + self.spread * jax.random.normal(key, sample.x.shape)


@pytest.mark.exhaustive
def test_the_adversary_changes_training(reference):
    loop = reference("numpy_loop")
    problem = binary(adversary=Jitter(0.3, 0.2))
    ds = simulate(problem, steepest("l2", 0.1), steps=12, observe={"W": first_layer}, when=[0, 5], seeds=[4])
    params, x, y = start_of(problem, 4)
    key = seed_key(4)
    feature = np.asarray(problem.sample(named_key(key, "data")).features[0])
    path = [params]
    for i in range(12):
        attack = jax.random.fold_in(named_key(key, "attack"), i)
        moved = x - 0.3 * y[:, None] * feature + 0.2 * np.asarray(jax.random.normal(attack, x.shape))
        _, grads = loop.loss_and_gradient(params, moved, y, loop.fixed_output(WIDTH, 1))
        params = loop.step(params, grads, "gd", 0.1)
        path.append(params)
    close(ds.W.values[0], [path[t]["W"] for t in (0, 5, 12)], 1e-10)


@pytest.mark.exhaustive
def test_the_adversary_is_held_fixed_when_differentiating():
    @part
    class Follow:
        """An attack that depends on the parameters through the objective's gradient."""

        def perturb(self, key, objective, sample, draw):
            return sample.x + 0.1 * jax.grad(lambda x: jnp.sum(objective(x)))(sample.x)

    problem = binary(adversary=Follow())
    key = seed_key(0)
    draw, params = problem.sample(key), problem.init(key)
    sample = draw.train

    def plain(params, x):
        return jnp.mean(jax.nn.softplus(-sample.y * problem.apply(params, x)))

    moved = sample.x + 0.1 * 20 * jax.grad(plain, argnums=1)(params, sample.x)
    expected = jax.grad(plain)(params, moved)
    actual = jax.grad(problem.training_loss)(params, sample, draw, key)
    jax.tree.map(lambda a, e: close(a, e, 1e-12), actual, expected)


# --- compilation ---


def compiled():
    return [f._cache_size() for f in (direct.sample, direct.start, direct.advance, direct.conclude)]


def test_new_numbers_do_not_recompile():
    def run(noise=1.0, rate=0.1, scale=0.3, radius=0.1, steps=9, when=(0, 3), seeds=(0, 1), threshold=0.0):
        problem = Problem(
            Clusters(DIM, 4, 20, 5, noise=noise), TwoLayer(2), init_scale=scale, adversary=Jitter(radius)
        )
        above = observable()(lambda params, problem, draw, threshold: 1.0 * jnp.sum(params["W"] > threshold))
        run.above = getattr(run, "above", above)
        return simulate(
            problem,
            steepest("linf", rate, normalize=True),
            steps=steps,
            observe={"W": first_layer, "above": run.above.given(threshold=threshold)},
            when=when,
            seeds=seeds,
        )

    before = compiled()
    first = run()
    once = compiled()
    # data, start, segments, observables of the end: a program each
    assert [n - m for n, m in zip(once, before, strict=True)] == [1, 1, 1, 1]
    changed = {
        "noise": 0.5,
        "rate": 0.2,
        "scale": 2.0,
        "radius": 0.7,
        "steps": 11,
        "when": (1, 2, 5),
        "seeds": (8, 9),
        "threshold": 0.2,
    }
    for name, value in changed.items():
        other = run(**{name: value})
        assert compiled() == once, name
        assert other.W.shape != first.W.shape or not np.array_equal(other.W, first.W) or name == "threshold"
    run(noise=2, rate=1)  # integers are numbers too
    assert compiled() == once


# --- divergence ---


@part
class Line:
    """One-dimensional data of a user's own; about a third of the seeds have inputs 40 times as large."""

    def wild(self, key):
        return jax.random.bernoulli(named_key(key, "wild"), 0.3)

    def sample(self, key):
        x = jax.random.normal(named_key(key, "x"), (6, 1)) * jnp.where(self.wild(key), 40.0, 1.0)
        zero = jnp.zeros(6, int)
        sample = Sample(x, jnp.sign(x[:, 0]), zero, zero)
        return Draw(sample, sample, jnp.ones((1, 1)), jnp.ones(1), jnp.ones(1))


class Linear(nn.Module):
    """A model of a user's own."""

    @nn.compact
    def __call__(self, x):
        return x @ self.param("w", nn.initializers.ones, (x.shape[-1],), jnp.result_type(float))


@observable(("dim",))
def slope(params, problem, draw):
    return params["w"]


@observable(("dim",))
def bits(params, problem, draw):
    """The parameters as integers, which the result does not blank."""
    return jax.lax.bitcast_convert_type(params["w"], jnp.int64)


def first_nonfinite(x, y, rate, steps):
    """Least squares in a plain loop: the first step that is not finite, and the weight before it."""
    w = 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        for t in range(steps):
            residual = w * x - y
            new = w - rate * np.mean(residual * x)
            if not (np.isfinite(np.mean(0.5 * residual**2)) and np.isfinite(new)):
                return t + 1, w
            w = new
    return -1, w


def test_a_diverging_seed_is_named_and_frozen_and_leaves_the_others_alone(untyped):
    problem, rate, steps = Problem(Line(), Linear(), "squared"), 0.1, 100
    observe = {"w": slope, "bits": bits, "loss": train_loss}
    with pytest.warns(UserWarning, match="diverged") as caught:
        ds = simulate(
            problem,
            steepest("l2", rate),
            steps=steps,
            observe=observe,
            observe_end={"end": slope},
            when=range(0, 101, 4),
            seeds=8,
        )
    expected, tame = {}, []
    for seed in range(8):
        draw = problem.sample(named_key(seed_key(seed), "data"))
        x, y = np.asarray(draw.train.x[:, 0]), np.asarray(draw.train.y)
        first, last = first_nonfinite(x, y, rate, steps)
        assert int(ds.first_nonfinite_step.sel(seed=seed)) == first
        if first < 0:
            tame.append(seed)
            continue
        expected[seed] = first
        run = ds.sel(seed=seed)
        late = run.step.values >= first
        assert 0 < late.sum() < late.size
        for name in ("w", "loss"):
            assert np.isnan(run[name].values[late]).all()
            assert np.isfinite(run[name].values[~late]).all()
        assert np.isnan(run.end.values).all()
        frozen = np.unique(run.bits.values[late]).view(np.float64)
        assert frozen.size == 1
        np.testing.assert_allclose(frozen[0], last, rtol=1e-9)  # round-off grows with the weights
    assert 1 <= len(expected) < 8
    message = str(caught[0].message)
    assert message.startswith(f"{len(expected)} of 8 runs diverged")
    for seed, first in expected.items():
        assert f"seed {seed} at step {first}" in message

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        without = simulate(
            problem,
            steepest("l2", rate),
            steps=steps,
            observe=observe,
            observe_end={"end": slope},
            when=range(0, 101, 4),
            seeds=tame,
        )
    assert_same(without, ds.sel(seed=tame))


@pytest.mark.exhaustive
def test_a_diverging_run_on_an_axis_is_named_by_its_place():
    with pytest.warns(UserWarning, match=r"1 of 2 runs diverged.*1e\+200.*0.* at step \d"):
        ds = simulate(
            Problem(Line(), Linear(), "squared"), steepest("l2", Axis("eta", [1e-9, 1e200])), steps=9, seeds=1
        )
    assert (ds.first_nonfinite_step.values[:, 0] >= 0).tolist() == [False, True]


# --- precision ---


@pytest.mark.exhaustive
def test_float32(reference):
    loop = reference("numpy_loop")
    with jax.enable_x64(False):
        problem = binary()
        ds = simulate(problem, steepest("l2", 0.1), steps=30, observe=OBSERVE, seeds=[5])
        assert {ds[name].dtype for name in OBSERVE} == {np.dtype("float32")}
        params, x, labels = start_of(problem, 5)
    path, _ = loop.train(params, x.astype(float), labels, loop.fixed_output(WIDTH, 1), "gd", 0.1, 30)
    # 30 steps of round-off of 6e-8 each
    close(ds.W.values[0], [path[t]["W"] for t in ds.step.values], 1e-5)


# --- randomness ---


@pytest.mark.exhaustive
@pytest.mark.parametrize("setting", ["rbg", "threefry as it was"])
def test_jaxs_settings_change_no_number(setting):
    how = {"descent": steepest("l2", 0.1), "steps": 3, "observe": {"W": first_layer}}
    expected = simulate(binary(), seeds=3, **how)
    settings = {"rbg": jax.default_prng_impl("rbg"), "threefry as it was": jax.threefry_partitionable(False)}
    with settings[setting]:
        assert_same(simulate(binary(), seeds=3, **how), expected)
        close(simulate(binary(), seeds=[2], **how).W.values[0], expected.W.values[2], 1e-12)
    assert "jax_random_seed_offset" in expected.attrs["jax_settings"]


def noisy(learning_rate, key):
    return optax.chain(optax.scale(0.0), optax.add_noise(learning_rate, 0.0, key=key))


def old_noise():
    """Noise from a key as JAX had them before typed ones."""

    def update(grads, state, params=None):
        state, key = jax.random.split(state)
        return jax.tree.map(lambda g: jax.random.normal(key, g.shape), grads), state

    return optax.GradientTransformation(lambda params: jax.random.PRNGKey(0), update)


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "rule", [traced(noisy, learning_rate=1.0, key=jax.random.key(1)), optax.MultiSteps(old_noise(), 1)]
)
def test_a_rules_own_randomness_is_each_seeds_own(rule):
    rule = getattr(rule, "gradient_transformation", lambda: rule)()
    how = {"observe": {"W": first_layer}, "when": [0, 2], "steps": 2}
    moved = simulate(binary(), rule, seeds=3, **how).W.diff("step").values[:, 0].reshape(3, -1)
    between = np.corrcoef(moved)[np.triu_indices(3, 1)]
    assert (np.abs(between) < 5 / np.sqrt(moved.shape[1])).all()
    alone = simulate(binary(), rule, seeds=[2], **how).W.diff("step").values[0, 0].ravel()
    np.testing.assert_allclose(alone, moved[2], rtol=1e-12)


# --- bad arguments ---


class Dropping(nn.Module):
    """A network with dropout."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1)(nn.Dropout(0.5, deterministic=False)(x))[:, 0]


GOOD = {"problem": binary(), "descent": steepest("l2", 0.1), "steps": 3, "seeds": 1}
BAD = {
    "steps negative": ({"steps": -1}, ValueError, "steps must be an integer of at least 0"),
    "steps bool": ({"steps": True}, ValueError, "steps must be"),
    "steps float": ({"steps": 2.5}, ValueError, "steps must be"),
    "seeds zero": ({"seeds": 0}, ValueError, "seeds must be at least 1"),
    "seeds negative": ({"seeds": -1}, ValueError, "seeds must be at least 1"),
    "seeds empty": ({"seeds": []}, ValueError, "seeds must be different"),
    "seeds twice": ({"seeds": [1, 1]}, ValueError, "seeds must be different"),
    "seeds text": ({"seeds": "a"}, ValueError, "seeds must be a number"),
    "seeds digits": ({"seeds": "12"}, ValueError, "seeds must be a number"),
    "seeds bool": ({"seeds": True}, ValueError, "seeds must be a number"),
    "seeds float": ({"seeds": 2.5}, ValueError, "seeds must be a number"),
    "seeds floats": ({"seeds": [0.5, 1]}, ValueError, "seeds must be a number"),
    "seeds list negative": ({"seeds": [-1]}, ValueError, "seeds must be different"),
    "seeds too large": ({"seeds": [2**32]}, ValueError, "seeds must be different"),
    "seeds bools": ({"seeds": [True]}, ValueError, "seeds must be a number"),
    "too many seeds": ({"seeds": 2**40}, ValueError, "seeds must be at most 1048576"),
    "root too large": ({"root": 2**32 + 5}, ValueError, "root must be an integer from 0 to 4294967295, got"),
    "root negative": ({"root": -1}, ValueError, "root must be an integer from 0"),
    "root bool": ({"root": True}, ValueError, "root must be an integer from 0"),
    "root float": ({"root": 1.5}, ValueError, "root must be an integer from 0"),
    "root None": ({"root": None}, ValueError, "root must be an integer from 0"),
    "memory bool": ({"memory": True}, ValueError, "memory must be an integer of at least 1"),
    "share bools": ({"share": (False, 2), "checkpoint": "here"}, ValueError, r"share must be \(i, n\)"),
    "share number": ({"share": 2, "checkpoint": "here"}, ValueError, r"share must be \(i, n\)"),
    "when bools": ({"when": [False, True]}, ValueError, "when must be a list of steps"),
    "when unsorted": ({"when": [2, 1]}, ValueError, "when must increase"),
    "when twice": ({"when": [1, 1]}, ValueError, "when must increase"),
    "when beyond": ({"when": [0, 4]}, ValueError, "when must lie between 0 and steps=3"),
    "when negative": ({"when": [-1, 2]}, ValueError, "when must lie"),
    "when floats": ({"when": [0.0, 1.5]}, ValueError, "when must be a list of steps"),
    "when number": ({"when": 2}, ValueError, "when must be a list of steps"),
    "batch too large": ({"batch_size": 21}, ValueError, "batch_size must be at most the 20 training samples"),
    "batch zero": ({"batch_size": 0}, ValueError, "batch_size must be"),
    "batch bool": ({"batch_size": True}, ValueError, "batch_size must be"),
    "batch float": ({"batch_size": 2.0}, ValueError, "batch_size must be"),
    "strategy": ({"strategy": "pmap"}, ValueError, "strategy must be one of auto, vmap, map"),
    "observable": ({"observe": {"x": lambda params: 0}}, TypeError, r"observe\['x'\] must be an Observable"),
    "end observable": ({"observe_end": {"x": 3}}, TypeError, "must be an Observable"),
    "name in both": (
        {"observe": {"W": first_layer}, "observe_end": {"W": first_layer}},
        ValueError,
        "W is named in both",
    ),
    "loss wants logits": ({"problem": binary(loss="cross_entropy")}, ValueError, "cross_entropy needs"),
    "loss wants one output": (
        {"problem": Problem(Blobs(), TwoLayer(2, 3), "hinge")},
        ValueError,
        "hinge loss needs a network with a single output",
    ),
    "fewer logits than classes": (
        {"problem": Problem(Blobs(), TwoLayer(2, 2), "cross_entropy")},
        ValueError,
        "2 logits.*3 classes",
    ),
    "dropout": (
        {"problem": Problem(Blobs(), Dropping())},
        ValueError,
        "Dropping cannot be applied .* it asks for random numbers",
    ),
    "axis lengths": (
        {"descent": steepest("l2", Axis("s", [1, 2])), "problem": binary(init_scale=Axis("s", [1, 2, 3]))},
        ValueError,
        "axis 's' stands for 3 and 2 values",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused_before_compiling(untyped, case):
    arguments, kind, message = BAD[case]
    before = compiled()
    with pytest.raises(kind, match=message) as caught:
        simulate(**GOOD | arguments)
    assert "\n" not in str(caught.value)
    assert compiled() == before


def test_problem_refuses_an_unknown_loss():
    with pytest.raises(ValueError, match="loss must be one of logistic"):
        binary(loss="l2")
