"""Random search: exact on linear functions, never outside of ball or box, and asks for values only."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.adversary import RandomSearch, random_search
from dynamics.data.sample import Draw, Sample

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.uniform(size=(9, 6)))


@pytest.mark.parametrize("box", [None, (0.0, 1.0)])
def test_reaches_the_best_corner_of_a_linear_function(box):
    w = jnp.asarray(RNG.normal(size=6))
    found = random_search(jax.random.key(0), lambda x: x @ w, X, 0.2, trials=300, box=box)
    corners = np.asarray(X)[:, None] + 0.2 * np.asarray(list(itertools.product((-1, 1), repeat=6)))[None]
    corners = corners if box is None else np.clip(corners, *box)
    np.testing.assert_allclose(found @ w, (corners @ np.asarray(w)).max(axis=1), rtol=1e-9)


def test_stays_inside_and_never_loses_the_best():
    def bumpy(x):
        return jnp.where(x[:, 0] > 0.9, jnp.nan, jnp.sin(20 * jnp.sum(x, axis=1)))

    radius = jnp.linspace(0, 0.3, 9)
    found = random_search(jax.random.key(1), bumpy, X, radius, trials=50, share=1.0, box=(0.0, 1.0))
    assert (np.abs(found - X).max(axis=1) <= np.asarray(radius) * (1 + 1e-12)).all()
    assert found.min() >= 0
    assert found.max() <= 1
    np.testing.assert_array_equal(found[0], X[0])
    start = jnp.where(jnp.isnan(bumpy(X)), -jnp.inf, bumpy(X))
    assert bool(jnp.all(bumpy(found) >= start))


@pytest.mark.exhaustive
def test_as_a_part_and_in_vmap():
    w = jnp.asarray(RNG.normal(size=6))
    sample = Sample(X, jnp.ones(9), jnp.zeros(9, int), jnp.zeros(9, int))
    search = RandomSearch(0.1, trials=20)
    keys = jax.random.split(jax.random.key(0), 2)
    draw = Draw(sample, sample, X[:1], jnp.ones(1), jnp.ones(1))
    both = jax.vmap(lambda key: search.perturb(key, lambda x: x @ w, sample, draw))(keys)
    one = random_search(keys[1], lambda x: x @ w, X, 0.1, trials=20)
    np.testing.assert_allclose(both[1], one, rtol=1e-12)
    assert search.norm == "linf"


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"trials": 0}, "trials must be an integer of at least 1"),
        ({"share": 0.0}, "share must lie above 0"),
        ({"radius": -1.0}, "radius must be finite and not negative"),
        ({"box": (1.0, 0.0)}, "low < high"),
    ],
)
def test_bad_input_is_refused(untyped, given, sentence):
    with pytest.raises(ValueError, match=sentence):
        RandomSearch(**{"radius": 0.1} | given)
