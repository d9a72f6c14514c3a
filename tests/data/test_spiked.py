"""The two blocks of `Spiked` against their moments and the accuracies of their best rules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dynamics.data.spiked import Spiked


@pytest.mark.exhaustive
def test_moments_and_labels():
    draw = Spiked(num_samples=20_000, num_test=10, nonrobust_dim=3).sample(jax.random.key(0))
    x, y = np.asarray(draw.train.x), np.asarray(draw.train.y)
    assert set(np.unique(y)) == {-1.0, 1.0}
    assert abs(y.mean()) < 4 / np.sqrt(len(y))
    centred = x * y[:, None]
    np.testing.assert_allclose(centred.mean(0), [1, 1, 0.05, 0.05, 0.05], atol=0.03)
    np.testing.assert_allclose(centred.std(0), [1, 1, 0.2, 0.2, 0.2], rtol=0.03)
    np.testing.assert_allclose(draw.features, [[1, 1, 0, 0, 0], [0, 0, 0.05, 0.05, 0.05]])
    np.testing.assert_array_equal(draw.class_signs[draw.train.target], y)


@pytest.mark.exhaustive
def test_random_labels_are_independent_of_the_inputs():
    source = Spiked(num_samples=2000, num_test=2000, robust_noise=0.1, random_labels=True)
    draw = source.sample(jax.random.key(1))
    agree = [float(jnp.mean(jnp.sign(part.x[:, 0]) == part.y)) for part in (draw.train, draw.test)]
    np.testing.assert_allclose(agree, 0.5, atol=0.06)


@pytest.mark.parametrize(
    ("block", "radius"), [("robust", 0.0), ("robust", 0.1), ("other", 0.0), ("other", 0.1)]
)
def test_accuracy_of_the_best_rule(block, radius):
    source = Spiked(num_samples=1, num_test=20_000)
    test = source.sample(jax.random.key(2)).test
    columns = slice(0, 2) if block == "robust" else slice(2, None)
    margins = np.asarray(test.y) * (
        np.asarray(test.x[:, columns]) - radius * np.asarray(test.y)[:, None]
    ).sum(1)
    found = (margins > 0).mean()
    expected = source.best_accuracy(radius, block)
    assert found == pytest.approx(expected, abs=4 * np.sqrt(max(expected * (1 - expected), 1e-4) / 20_000))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1"),
        ({"num_samples": 1, "robust_dim": 0, "nonrobust_dim": 0}, "must not both be 0"),
        ({"num_samples": 1, "robust_noise": -1.0}, "robust_noise must be at least 0"),
    ],
)
def test_bad_input(given, message):
    with pytest.raises(ValueError, match=message):
        Spiked(**given)
