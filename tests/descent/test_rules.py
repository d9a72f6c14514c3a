"""Update rules: the length of every step, on the loss and on its logarithm, and use outside of the engine."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dynamics.descent import check, named, norm_of, norms, objective, on_log_loss, recipe_of, steepest, traced
from dynamics.parts import Axis, describe, merge, partition

STEPS = ("raw", "normalized", "loss_adaptive", "log_decrease")
NORMS = ("l1", "l2", "linf", "l3", "max-l2", "spectral", "spectral-linf")
FEW = ("l2", "linf", "spectral")
SHAPES = {"W": (3, 2), "b": (3,)}


def update(rule, grads, params=None, **extra):
    return rule.update(grads, rule.init(grads), params, **extra)[0]


def tree(seed):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape) for name, shape in SHAPES.items()}


def times(factor, values):
    return {name: factor * x for name, x in values.items()}


def assert_close(actual, expected, **tolerance):
    # sums of a few terms and powers of at most 3
    tolerance = tolerance or {"rtol": 1e-12, "atol": 1e-15}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), actual, expected)


def plain(g, name):
    """Direction and dual norm of a tree of SHAPES in NumPy."""
    flat = np.concatenate([g["W"].ravel(), g["b"]])
    if name == "l1":
        v = np.sign(flat) * (np.arange(flat.size) == np.argmax(np.abs(flat)))
    elif name == "linf":
        v = np.sign(flat)
    elif name == "l2":
        v = flat / np.linalg.norm(flat)
    elif name == "l3":
        v = np.sign(flat) * np.abs(flat) ** 0.5 / np.linalg.norm(flat, 1.5) ** 0.5
    else:
        u, _, vh = np.linalg.svd(g["W"], full_matrices=False)
        W = g["W"] / np.linalg.norm(g["W"]) if name == "max-l2" else u @ vh
        b = np.sign(g["b"]) if name == "spectral-linf" else g["b"] / np.linalg.norm(g["b"])
        v = np.concatenate([W.ravel(), b])
    return {"W": v[:6].reshape(3, 2), "b": v[6:]}, flat @ v


def plain_norm(theta, name):
    flat = np.concatenate([theta["W"].ravel(), theta["b"]])
    if name[0] == "l":
        return np.linalg.norm(flat, float(name[1:]))
    of_vector = np.linalg.norm(theta["b"], np.inf if name == "spectral-linf" else 2)
    return max(np.linalg.norm(theta["W"], "fro" if name == "max-l2" else 2), of_vector)


def plain_step(name, step, rate, m, g, loss, theta, cap=0.1):
    """The step of the docstring; `m` and `g` are gradients of the loss."""
    v, size = plain(m, name)
    length = {
        "raw": rate * size,
        "normalized": rate,
        "loss_adaptive": rate * size / loss,
        "log_decrease": min(rate * loss / plain(g, name)[1], cap * plain_norm(theta, name)),
    }[step]
    return times(-length, v)


@functools.cache
def compiled(name, step, of="loss", **options):
    """One step from the initial state."""
    rule = steepest(name, 0.3, step=step, of=of, **options)
    return jax.jit(lambda g, value, theta: update(rule, g, theta, value=value))


# --- the length of a step


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", NORMS)
def test_steps_on_the_loss_and_on_its_logarithm_are_those_of_the_formula(name, step):
    # weights so long that the cap, a tenth of their norm, lies far off; then so short that it is what counts
    for seed, loss, length in ((0, 0.037, 1e3), (1, 12.5, 1e4), (2, 0.5, 1e-3)):
        g, theta = tree(seed), times(length, tree(seed + 10))
        expected = plain_step(name, step, 0.3, g, g, loss, theta)
        assert_close(compiled(name, step)(g, loss, theta), expected)
        assert_close(compiled(name, step, "log_loss")(times(1 / loss, g), np.log(loss), theta), expected)


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", NORMS)
def test_log_decrease_is_capped_by_a_share_of_the_weights(name):
    g, theta = tree(0), tree(1)
    rule = steepest(name, 1e6, step="log_decrease", cap=0.02)
    step = update(rule, jax.tree.map(jnp.asarray, g), jax.tree.map(jnp.asarray, theta), value=0.5)
    np.testing.assert_allclose(
        plain_norm(jax.tree.map(np.asarray, step), name), 0.02 * plain_norm(theta, name)
    )


@pytest.mark.parametrize("name", ["l1", "l2", "linf", "l3"])
@pytest.mark.parametrize("delta", [1e-2, 1e-3])
def test_log_decrease_lowers_the_logarithm_of_the_loss_by_the_learning_rate(name, delta):
    rng = np.random.default_rng(3)
    x, theta = rng.normal(size=(6, 4)) + 1, rng.normal(size=4)

    def log_loss(w):  # of exponential losses
        return jax.nn.logsumexp(-x @ w)

    value, g = jax.value_and_grad(log_loss)(theta)
    rule = steepest(name, delta, step="log_decrease", cap=1e3, of="log_loss")
    fall = value - log_loss(theta + update(rule, g, theta, value=value))
    # the Hessian of the logarithm is the covariance of the x in some weights: v'Hv <= max ||x||_*^2
    largest = max(float(norms.dual_norm(jnp.asarray(row), name)) for row in x)
    missing = delta**2 * largest**2 / (2 * float(norms.dual_norm(g, name)) ** 2)
    assert delta - missing <= fall <= delta * (1 + 1e-12)
    assert missing < delta / 2


@pytest.mark.parametrize("step", STEPS)
def test_steps_on_the_logarithm_do_not_stall_where_the_loss_has_underflowed(step):
    g, theta = tree(0), tree(1)
    size = plain(g, "linf")[1]
    length = {
        "raw": 0,
        "normalized": 0.3,
        "loss_adaptive": 0.3 * size,
        "log_decrease": min(0.3 / size, 0.1 * plain_norm(theta, "linf")),
    }
    expected = times(-length[step], plain(g, "linf")[0])
    assert_close(compiled("linf", step, "log_loss")(g, -1e4, theta), expected)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", NORMS)
def test_a_zero_gradient_is_no_step(name, step):
    zero = jax.tree.map(np.zeros, SHAPES, is_leaf=lambda x: isinstance(x, tuple))
    for of, value in (("loss", 0.7), ("log_loss", -0.4)):
        assert_close(compiled(name, step, of)(zero, value, tree(0)), zero, rtol=0)


@pytest.mark.parametrize("size", [1e-30, 1e-37, 1e30])
def test_normalised_l2_neither_underflows_nor_overflows_in_float32(size):
    g = jnp.asarray([3 * size, -4 * size], jnp.float32)
    step = update(steepest("l2", jnp.float32(1.0), normalize=True), g)
    np.testing.assert_allclose(step, [-0.6, 0.8], rtol=1e-6)


@pytest.mark.exhaustive
def test_float32_gradients_stay_float32_at_the_engines_precision():
    with jax.enable_x64(False):
        g = {"W": jnp.array([[1.0, -2.0], [0.5, 3.0]])}
        for name in FEW:
            for step in STEPS:
                rule = steepest(name, 0.1, step=step, momentum=0.9, decay=0.5)
                moved, state = rule.update(g, rule.init(g), g, value=jnp.float32(0.5))
                assert moved["W"].dtype == state.average["W"].dtype == jnp.float32


def test_normalize_is_the_normalized_step():
    g = jnp.array([1.0, -3.0, 2.0])
    for name in ("l1", "l2", "linf"):
        short = steepest(name, 0.1, normalize=True)
        long = steepest(name, 0.1, step="normalized")
        np.testing.assert_array_equal(update(short, g), update(long, g))
        assert partition(short.recipe)[1] == partition(long.recipe)[1]


# --- momentum, decay, schedules


@pytest.mark.parametrize("of", ["loss", "log_loss"])
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", FEW)
def test_momentum_is_an_average_from_zero(name, step, of):
    rule = steepest(name, 0.3, step=step, momentum=0.8, of=of)
    go = jax.jit(lambda g, state, theta, value: rule.update(g, state, theta, value=value))
    theta, m = times(1e3, tree(9)), times(0, tree(0))
    state = rule.init(m)
    for t in range(4):
        g, loss = tree(t), 1.5 ** (1 - t)
        # whose average is taken: of gradients of the loss, or of those of its logarithm, times the loss now
        m = {k: 0.8 * m[k] + (1 - 0.8) * g[k] / (1 if of == "loss" else loss) for k in m}
        average = times(1 if of == "loss" else loss, m)
        if of == "loss":
            moved, state = go(g, state, theta, loss)
        else:
            moved, state = go(times(1 / loss, g), state, theta, np.log(loss))
        assert_close(moved, plain_step(name, step, 0.3, average, g, loss, theta))
        assert_close(state.average, m)


def test_no_momentum_and_no_decay_keep_no_state():
    assert jax.tree.leaves(steepest("linf", 0.1).init(tree(0))) == []


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", FEW)
def test_the_learning_rate_decays_or_follows_a_schedule(name, step):
    schedule = optax.exponential_decay(0.2, 2, 0.7)
    theta, loss = times(1e3, tree(9)), 0.4
    weights = jax.tree.map(jnp.asarray, theta)
    rules = {
        "decay": (steepest(name, 0.2, step=step, decay=0.5), lambda t: 0.2 * (t + 1) ** -0.5),
        "schedule": (steepest(name, schedule, step=step), lambda t: 0.2 * 0.7 ** (t / 2)),
        "both": (
            steepest(name, schedule, step=step, decay=1.0, momentum=0.0),
            lambda t: 0.2 * 0.7 ** (t / 2) / (t + 1),
        ),
    }
    for rule, rate in rules.values():
        go = jax.jit(lambda g, state, rule=rule: rule.update(g, state, weights, value=loss))
        state = rule.init(theta)
        for t in range(3):
            g = tree(t)
            moved, state = go(g, state)
            assert_close(moved, plain_step(name, step, rate(t), g, g, loss, theta))
        assert int(state.count) == 3


# --- the iteration in place of the SVD


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", ["spectral", "spectral-linf"])
def test_newton_schulz_replaces_the_svd_of_matrices_only(name, step):
    g, theta, loss = tree(0), times(1e3, tree(1)), 0.4
    moved = compiled(name, step, newton_schulz=5)(g, loss, theta)
    exact, _ = plain(g, name)
    v = {"W": np.asarray(norms.newton_schulz(jnp.asarray(g["W"]), 5)), "b": exact["b"]}
    assert np.abs(v["W"] - exact["W"]).max() > 1e-3
    size = sum(np.sum(v[k] * g[k]) for k in g)
    length = {
        "raw": 0.3 * size,
        "normalized": 0.3,
        "loss_adaptive": 0.3 * size / loss,
        "log_decrease": 0.3 * loss / size,
    }
    assert_close(moved, times(-length[step], v))


@pytest.mark.exhaustive
def test_newton_schulz_takes_layers_of_more_axes_as_matrices():
    g = {"W": jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4))), "b": jnp.zeros(2)}
    moved = update(steepest("spectral", 1.0, normalize=True, newton_schulz=3), g)
    expected = norms.newton_schulz(g["W"].reshape(6, 4), 3).reshape(2, 3, 4)
    assert_close(moved, {"W": -expected, "b": np.zeros(2)})


# --- what a step needs

NEEDS_VALUE = [("loss", "loss_adaptive"), ("loss", "log_decrease"), ("log_loss", "raw")]


@pytest.mark.parametrize("name", FEW)
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("of", ["loss", "log_loss"])
def test_the_value_is_asked_for_where_it_is_needed(name, step, of):
    rule, g = steepest(name, 0.1, step=step, of=of), jax.tree.map(jnp.asarray, tree(0))
    if (of, step) in NEEDS_VALUE:
        with pytest.raises(ValueError, match=f"step '{step}' on the gradient of the {of} needs its value"):
            update(rule, g, g)
    else:
        assert_close(update(rule, g, g), update(rule, g, g, value=0.5))


def test_log_decrease_asks_for_the_parameters():
    g = jnp.array([1.0, -3.0])
    for of in ("loss", "log_loss"):
        with pytest.raises(ValueError, match="params"):
            update(steepest("l2", 0.1, step="log_decrease", of=of), g, value=0.5)


# --- optax and traced numbers


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", FEW)
def test_works_in_an_optax_chain_under_jit(name, step):
    g, theta = jax.tree.map(jnp.asarray, tree(0)), jax.tree.map(jnp.asarray, times(1e3, tree(1)))
    rule = optax.chain(optax.scale(2.0), steepest(name, 0.1, step=step), optax.scale(0.5))
    moved = jax.jit(rule.update)(g, rule.init(g), theta, value=0.4)[0]
    assert_close(
        moved, times(0.5, plain_step(name, step, 0.1, times(2, tree(0)), times(2, tree(0)), 0.4, theta))
    )


@pytest.mark.exhaustive
def test_learning_rate_may_be_a_hyperparameter_of_optax():
    static = ("norm", "normalize", "step", "of", "newton_schulz")
    rule = optax.inject_hyperparams(steepest, static_args=static)(
        norm="linf", learning_rate=0.1, normalize=True
    )
    g = jnp.array([1.0, -3.0])
    state = rule.init(g)
    np.testing.assert_allclose(rule.update(g, state)[0], [-0.1, 0.1], rtol=1e-7)
    state.hyperparams["learning_rate"] = jnp.asarray(0.5)
    np.testing.assert_allclose(rule.update(g, state)[0], [-0.5, 0.5], rtol=1e-7)
    rule = optax.inject_hyperparams(steepest, static_args=static)(
        norm="spectral", learning_rate=0.1, step="loss_adaptive", momentum=0.5, decay=1.0, newton_schulz=5
    )
    g = jnp.eye(2)
    moved = rule.update(g, rule.init(g), g, value=0.5)[0]
    expected = update(steepest("spectral", 0.1, step="loss_adaptive", newton_schulz=5), 0.5 * g, g, value=0.5)
    np.testing.assert_allclose(moved, expected, rtol=1e-7)


def test_numbers_may_be_traced():
    g, theta = jnp.array([1.0, -3.0]), jnp.array([20.0, 10.0])

    @jax.jit
    def step(rate, momentum, decay, cap):
        rule = steepest("linf", rate, step="log_decrease", momentum=momentum, decay=decay, cap=cap)
        _, state = rule.update(g, rule.init(g), theta, value=0.8)
        return rule.update(g, state, theta, value=0.8)[0]

    for rate, momentum, decay, cap in ((0.1, 0.9, 0.5, 0.1), (0.2, 0.5, 1.0, 0.1), (5.0, 0.5, 0.0, 0.01)):
        length = min(rate * 2**-decay * 0.8 / 4, cap * 20)
        np.testing.assert_allclose(step(rate, momentum, decay, cap), [-length, length], rtol=1e-12)
    assert step._cache_size() == 1


def test_axes_stand_for_numbers():
    """As the engine does it: the numbers of a recipe are its leaves, and what is left makes it anew."""
    rates, betas = [0.1, 0.2], [0.0, 0.5]
    rule = steepest("l2", Axis("rate", rates), momentum=Axis("beta", betas), decay=0.5)
    numbers, rest = partition(rule.recipe)
    axes = {n.name: n for n in numbers if isinstance(n, Axis)}
    assert {name: axis.values.tolist() for name, axis in axes.items()} == {"rate": rates, "beta": betas}
    g = jnp.array([1.0, -3.0])

    def step(numbers):
        return update(merge(numbers, rest)(), g)

    batched = [isinstance(n, Axis) for n in numbers]
    values = [jnp.asarray(n.values) if isinstance(n, Axis) else n for n in numbers]
    moved = jax.vmap(step, in_axes=([0 if b else None for b in batched],))(values)
    np.testing.assert_allclose(moved, [-0.1 * g, -0.2 * 0.5 * g], rtol=1e-12)


def test_recipes_differ_in_numbers_only():
    numbers, rest = partition(steepest("l2", 0.1).recipe)
    assert [float(n) for n in numbers] == [0.1]
    assert partition(steepest("l2", 0.7).recipe)[1] == rest
    assert partition(steepest("l2", Axis("rate", [0.1, 0.2])).recipe)[1] == rest
    others = [
        steepest("l1", 0.1),
        steepest("l2", 0.1, of="log_loss"),
        steepest("l2", 0.1, momentum=0.5),
        *(steepest("l2", 0.1, step=step) for step in STEPS[1:]),
    ]
    assert len({rest, *(partition(rule.recipe)[1] for rule in others)}) == 7


def test_traced_takes_any_factory():
    g = jnp.array([1.0, -3.0])
    rule = traced(optax.sgd, learning_rate=0.25)
    np.testing.assert_allclose(update(rule, g), -0.25 * g, rtol=1e-12)
    assert isinstance(rule, optax.GradientTransformationExtraArgs)


# --- rules by name

OPTAX = {
    "momentum": (optax.sgd, {"momentum": 0.9}, {}),
    "nesterov": (optax.sgd, {"momentum": 0.9, "nesterov": True}, {}),
    "adam": (optax.adam, {}, {"b1": 0.5, "b2": 0.9, "eps": 0.1}),
    "rmsprop": (optax.rmsprop, {}, {"eps": 0.1}),
    "muon": (optax.contrib.muon, {}, {"beta": 0.5, "ns_steps": 3, "adam_b1": 0.5}),
}


def assert_same_rule(rule, other):
    theta = jax.tree.map(jnp.asarray, tree(5))
    state, other_state = rule.init(theta), other.init(theta)
    go, other_go = jax.jit(rule.update), jax.jit(other.update)
    for t in range(3):
        g = jax.tree.map(jnp.asarray, tree(t))
        moved, state = go(g, state, theta)
        expected, other_state = other_go(g, other_state, theta)
        assert_close(moved, expected)


@pytest.mark.parametrize("name", OPTAX)
def test_named_optax_rules(name):
    factory, defaults, options = OPTAX[name]
    assert_same_rule(named(name, 0.1), factory(0.1, **defaults))
    assert_same_rule(named(name, 0.1, **options), factory(0.1, **defaults | options))


@pytest.mark.parametrize("name", ["momentum", "adam", "muon"])
def test_the_step_size_of_named_optax_rules_decays(name):
    factory, defaults, options = OPTAX[name]
    rule = named(name, 0.1, decay=0.5, **options)
    assert_same_rule(rule, factory(lambda t: 0.1 * (t + 1.0) ** -0.5, **defaults | options))
    other = named(name, 0.2, decay=0.7, **options)
    assert partition(rule.recipe)[1] == partition(other.recipe)[1]


STEEPEST = {"gd": "l2", "sign": "linf", "coordinate": "l1", "muon-signum": "spectral-linf"}


@pytest.mark.parametrize("name", [*STEEPEST, "l2", "l1.5", "spectral", "max-l2"])
@pytest.mark.parametrize("options", [{}, {"normalize": True}, {"momentum": 0.5, "decay": 1.0}])
def test_named_steepest_rules(name, options):
    other = steepest(STEEPEST.get(name, name), 0.1, **options)
    assert describe(named(name, 0.1, **options).recipe) == describe(other.recipe)
    assert norm_of(name) == STEEPEST.get(name, name)


def test_named_steepest_rules_take_every_option():
    rule = named("spectral", 0.1, step="log_decrease", of="log_loss", cap=0.2, newton_schulz=3)
    other = steepest("spectral", 0.1, step="log_decrease", of="log_loss", cap=0.2, newton_schulz=3)
    assert describe(rule.recipe) == describe(other.recipe)
    assert objective(rule.recipe) == "log_loss"


@pytest.mark.parametrize("name", OPTAX)
def test_optax_rules_are_no_steepest_descent(name):
    assert norm_of(name) is None
    check(name)


# --- what is differentiated


@pytest.mark.parametrize("decay", [None, 0.5])
@pytest.mark.parametrize("name", ["gd", "spectral", "adam", "muon"])
@pytest.mark.parametrize("of", ["loss", "log_loss"])
def test_a_named_rule_says_what_it_wants_differentiated(name, decay, of):
    assert objective(named(name, 0.1, decay=decay, of=of).recipe) == of


def test_a_rule_says_what_it_wants_differentiated():
    plain_rule, made = optax.adam(0.1), traced(optax.sgd, learning_rate=0.1)
    for rule in (plain_rule, made, steepest("l2", 0.1)):
        assert objective(recipe_of(rule)) == "loss"
    for rule in (on_log_loss(plain_rule), on_log_loss(made), steepest("l2", 0.1, of="log_loss")):
        assert objective(recipe_of(rule)) == "log_loss"


def test_a_rule_on_the_log_loss_is_the_rule_itself_given_another_gradient():
    assert_same_rule(on_log_loss(optax.adam(0.1, eps=1e-3)), optax.adam(0.1, eps=1e-3))
    assert_same_rule(named("adam", 0.1, eps=1e-3, of="log_loss"), optax.adam(0.1, eps=1e-3))
    rule = on_log_loss(traced(optax.sgd, learning_rate=0.1))
    assert [float(n) for n in partition(rule.recipe)[0]] == [0.1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: steepest("l0.5", 0.1), "norm must be l1, l2, linf or another lp .* got 'l0.5'"),
        (lambda: steepest("l2", 0.1, step="fast"), "step must be one of raw, normalized, .* got 'fast'"),
        (lambda: steepest("l2", 0.1, of="margin"), "of must be one of loss, log_loss, got 'margin'"),
        (lambda: steepest("l2", 0.1, step="log_decrease", normalize=True), "give one of them"),
        (lambda: steepest("l2", 0.1, cap=0.2), "cap applies to step='log_decrease' only"),
        (lambda: steepest("linf", 0.1, newton_schulz=5), "newton_schulz applies to the spectral norms only"),
        (lambda: named("sgd", 0.1), "descent must be one of gd, sign, coordinate, .* got 'sgd'"),
        (lambda: named("adam", 0.1, normalize=True), "normalize applies to steepest descent in a norm only"),
        (lambda: named("adam", 0.1, momentum=0.5), "momentum applies to steepest descent in a norm only"),
        (lambda: named("muon", 0.1, step="log_decrease"), "step applies to steepest descent in a norm only"),
        (lambda: named("gd", 0.1, step="log_decrease", normalize=True), "give one of them"),
        (lambda: check("l0.5"), "descent must be one of .* or a norm to descend in .* got 'l0.5'"),
    ],
)
def test_bad_arguments(untyped, call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("step", ["loss_adaptive", "log_decrease"])
@pytest.mark.parametrize("norm", ["l2", "linf", "l1", "spectral"])
def test_where_loss_and_gradient_have_underflowed_there_is_no_step(norm, step):
    params = {"W": jnp.ones((2, 3)), "a": jnp.ones(2)}
    rule, zeros = steepest(norm, 0.1, step=step), jax.tree.map(jnp.zeros_like, params)
    change, _ = rule.update(zeros, rule.init(params), params, value=jnp.asarray(0.0))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(change))
