"""optax with numbers that are traced, against optax itself."""

import jax
import jax.numpy as jnp
import numpy as np
import optax as plain
import pytest

from dynamics import Axis, Problem, descent, optax, simulate
from dynamics import observables as o
from dynamics.data import LinearTeacher
from dynamics.descent import objective, on_log_loss, recipe_of
from dynamics.keys import named_key, seed_key
from dynamics.models import Linear
from dynamics.parts import partition

PARAMS = {"W": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "b": jnp.array([0.3, -0.1])}
GRADS = {"W": jnp.array([[0.7, 1.0], [-2.0, 0.1]]), "b": jnp.array([5.0, -0.2])}
RULES = {
    "adamw": lambda ox, x: ox.adamw(x, weight_decay=x),
    "chain": lambda ox, x: ox.chain(ox.clip(x), ox.adamw(x, b1=0.8, weight_decay=1e-2), ox.scale(0.5)),
    "by name": lambda ox, x: ox.named_chain(("clip", ox.clip(x)), ("sgd", ox.sgd(0.1, momentum=0.9))),
    "parts": lambda ox, x: ox.multi_transform({"a": ox.sgd(x), "b": ox.adam(1e-2)}, {"W": "a", "b": "b"}),
    "masked": lambda ox, x: ox.masked(ox.rmsprop(x), {"W": True, "b": False}),
    "schedule": lambda ox, x: ox.sgd(ox.exponential_decay(x, 1, 0.5)),
    "joined": lambda ox, x: ox.sgd(
        ox.join_schedules([ox.constant_schedule(x), ox.linear_schedule(x, 0.0, 2)], [1])
    ),
    "contrib": lambda ox, x: ox.contrib.muon(x, ns_steps=2),
}


def moved(rule):
    def steps():
        state, params = rule.init(PARAMS), PARAMS
        for _ in range(2):
            updates, state = rule.update(GRADS, state, params)
            params = plain.apply_updates(params, updates)
        return params

    return jax.jit(steps)()


@pytest.mark.parametrize("case", RULES)
def test_rules_are_those_of_optax_with_their_numbers_traced(case):
    make = RULES[case]
    rule, other = make(optax, 0.1), make(optax, 0.2)
    found, expected = moved(rule), moved(make(plain, 0.1))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), found, expected)
    (numbers, rest), (others, its) = partition(recipe_of(rule)), partition(recipe_of(other))
    assert rest == its
    assert numbers != others
    axis = Axis("rate", [0.1, 0.2])
    assert any(number is axis for number in partition(recipe_of(make(optax, axis)))[0])


def test_an_axis_in_a_chain_runs_as_optax_does_in_a_loop():
    problem, rates = Problem(LinearTeacher(3, 6, 4), Linear()), [0.05, 0.2]

    def rule(ox, rate):
        return ox.chain(ox.clip_by_global_norm(0.1), ox.adamw(rate, weight_decay=1e-2))

    @jax.jit
    def looped(rate):
        key, tx = seed_key(0), rule(plain, rate)
        draw = problem.sample(named_key(key, "data"))
        params = problem.init(named_key(key, "init"))
        state = tx.init(params)
        for _ in range(2):
            grads = jax.grad(problem.training_loss)(params, draw.train, draw, key)
            updates, state = tx.update(grads, state, params)
            params = plain.apply_updates(params, updates)
        return params["W"]

    observe = {"W": o.weights}
    axis = Axis("rate", rates)
    run = simulate(problem, rule(optax, axis), steps=2, observe=observe, when=[], seeds=1)
    for rate in rates:
        np.testing.assert_allclose(run.W.sel(rate=rate)[0, 0], looped(rate), rtol=1e-9)


def test_what_looks_at_its_numbers_is_as_in_optax_and_takes_no_axis():
    """The warm-up divides by the peak unless it is 0."""
    given = (0.0, 0.3, 2, 6)
    rule, expected = (ox.sgd(ox.warmup_cosine_decay_schedule(*given)) for ox in (optax, plain))
    jax.tree.map(np.testing.assert_allclose, moved(rule), moved(expected))
    with pytest.raises(TypeError, match="'peak' cannot be one of them: run the values one after another"):
        optax.warmup_cosine_decay_schedule(0.0, Axis("peak", [0.1, 0.2]), 2, 6)


def test_what_makes_no_rule_is_optax_itself():
    assert optax.apply_updates is plain.apply_updates
    assert optax.huber_loss is plain.huber_loss
    assert descent.optax is optax
    with pytest.raises(AttributeError, match="adamz"):
        _ = optax.adamz


def test_a_chain_wants_differentiated_what_its_rules_do():
    assert objective(optax.chain(optax.clip(1.0), on_log_loss(optax.sgd(0.1))).recipe) == "log_loss"
    assert objective(optax.chain(optax.clip(1.0), optax.sgd(0.1)).recipe) == "loss"


def test_a_chain_is_of_the_kind_of_its_rules():
    schedule = optax.sgd(optax.constant_schedule(0.1))
    assert not descent.takes_penalty(optax.chain(optax.clip(1.0), schedule).recipe)
    assert descent.takes_penalty(optax.chain(optax.clip(1.0), descent.proximal(0.1)).recipe)
    for rule, flows in ((descent.gradient_flow(0.1), True), (schedule, False)):
        assert descent.flow.is_flow(optax.chain(optax.clip(1.0), rule).recipe) is flows


@pytest.mark.parametrize(
    "make",
    [
        lambda rate: optax.nadam(rate),
        lambda rate: optax.nadamw(rate),
        lambda rate: optax.contrib.dog(rate),
        lambda rate: optax.transforms.chain(optax.scale(rate)),
        lambda rate: optax.sgd(optax.schedules.constant_schedule(rate)),
    ],
)
def test_rules_of_every_module_and_kind_remember_their_numbers(make):
    recipe = make(Axis("rate", [0.1, 0.2])).recipe
    assert [leaf for leaf in jax.tree.leaves(recipe) if isinstance(leaf, Axis)]
