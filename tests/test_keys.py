"""Keys: one generator whatever JAX is set to, seeds that do not wrap, and a rule's own randomness."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dynamics.keys import MOST, fixed_generator, named_key, raw, seed_key, typed
from kernels.randomness import own_keys


@contextlib.contextmanager
def seeds_offset(by):
    before = jax.config.jax_random_seed_offset
    jax.config.update("jax_random_seed_offset", by)
    yield
    jax.config.update("jax_random_seed_offset", before)


SETTINGS = {
    "rbg": lambda: jax.default_prng_impl("rbg"),
    "unsafe_rbg": lambda: jax.default_prng_impl("unsafe_rbg"),
    "threefry as it was": lambda: jax.threefry_partitionable(False),
    "offset": lambda: seeds_offset(7),
}


@pytest.mark.parametrize("root", [0, 5, 2**31, MOST])
@pytest.mark.parametrize("seed", [0, 3, MOST])
def test_a_key_is_jaxs_own(seed, root):
    expected = jax.random.fold_in(jax.random.key(root, impl="threefry2x32"), seed)
    for made in (seed_key(seed, root), seed_key(np.uint32(seed), root), seed_key(jnp.uint32(seed), root)):
        np.testing.assert_array_equal(jax.random.key_data(made), jax.random.key_data(expected))


@pytest.mark.parametrize("setting", SETTINGS)
def test_numbers_do_not_depend_on_jaxs_settings(setting):
    def drawn():
        with fixed_generator():
            assert jax.random.PRNGKey(0).shape == (2,)
            return np.asarray(jax.random.normal(named_key(seed_key(3, 1), "data"), (5,)))

    expected = drawn()
    with SETTINGS[setting]():
        np.testing.assert_array_equal(drawn(), expected)


@pytest.mark.parametrize("value", [2**32, 2**32 + 5, -1, True, np.True_, 1.5, 1.0, "x", None, 2**63, [1]])
def test_what_is_no_root_or_seed_is_refused(untyped, value):
    for name, key in (("root", lambda: seed_key(0, value)), ("seed", lambda: seed_key(value))):
        with pytest.raises(ValueError, match=f"{name} must be an integer from 0 to 4294967295, got"):
            key()


def noise(key):
    return optax.add_noise(1.0, 0.0, key=key)


def raw_rule(key):
    """A rule whose state is a key as JAX had them before typed ones."""
    return optax.GradientTransformation(lambda params: jax.random.PRNGKey(key), None)


STATES = {
    "typed": lambda: noise(3).init(None),
    "pairs": lambda: raw_rule(3).init(None),
    "one a layer": lambda: {"a": jax.random.split(jax.random.key(3), 4)},
    "another generator": lambda: noise(jax.random.key(3, impl="rbg")).init(None),
    "within others": lambda: optax.MultiSteps(optax.chain(optax.adam(0.1), noise(3)), 2).init(
        {"W": jnp.ones(3)}
    ),
    "Sophia": lambda: optax.contrib.sophia(0.1).init({"W": jnp.ones(3)}),
}


def words(state):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(raw(state))]


@pytest.mark.parametrize("case", STATES)
def test_keys_of_a_rule_are_each_seeds_own(case):
    state = STATES[case]()
    one, again, other = (own_keys(state, seed_key(seed)) for seed in (1, 1, 2))
    assert jax.tree.structure(one) == jax.tree.structure(state)
    changed = 0
    for given, a, b, c in zip(*map(words, (state, one, again, other)), strict=True):
        np.testing.assert_array_equal(a, b)
        if given.dtype == np.uint32:
            changed += 1
            assert (a != c).any(axis=-1).all()
        else:  # counts and averages stay
            np.testing.assert_array_equal(a, given)
    assert changed == 1
    np.testing.assert_equal(words(typed(raw(one), one)), words(one))


def test_the_key_that_a_rule_was_given_matters_too():
    found = {bytes(words(own_keys(noise(key).init(None), seed_key(1)))[1]) for key in (0, 1, 2)}
    assert len(found) == 3


def test_keys_beside_each_other_stay_different_and_equal_ones_equal():
    keys = jax.random.split(jax.random.key(0), 3)
    (found,) = words(own_keys({"keys": keys[jnp.array([0, 1, 2, 0])]}, seed_key(1)))
    assert len({bytes(key) for key in found}) == 3
    np.testing.assert_array_equal(found[0], found[3])
