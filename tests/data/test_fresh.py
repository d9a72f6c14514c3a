"""Samples anew at every step: what stays, what changes, and what is refused."""

import jax
import numpy as np
import pytest

from dynamics import data
from dynamics.engine.batching import depends_on
from dynamics.keys import at_step
from dynamics.parts import part

KEY = jax.random.key(3)
SOURCES = {
    "clusters": data.Clusters(6, 2, 7, 5),
    "blocks": data.Spiked(7, 5, nonrobust_dim=4),
    "teacher": data.LinearTeacher(4, 7, 5),
    "relu": data.ReluTeacher(4, 7, 5),
    "cube": data.Hypercube(4, 7, 5),
    "sphere": data.Sphere(7, 5, dim=3, target="random"),
    "circle": data.Circle(7, 5, spacing="random", modes=2),
    "parity": data.Parity(4, 7, 5),
    "signal": data.SignalNoise(4, 2, 7, 5, signal=1.0, noise=0.5),
    "robust": data.RobustNonRobust(6, 2, 7, 5, num_nonrobust=3),
    "binary": data.BinaryClasses(data.Clusters(6, 2, 7, 5)),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_training_samples_follow_from_the_step_and_nothing_else_does(name):
    """Read off the traced program: nothing is compiled."""
    source = SOURCES[name]

    def drawn(step):
        draw = source.sample(KEY, step)
        return draw.train.x, (draw.test, draw.features)

    assert depends_on(lambda step: drawn(step)[0], 1) == [True]
    assert depends_on(lambda step: drawn(step)[1], 1) == [False]


def test_labels_of_a_step_are_those_of_the_seeds_own_teacher():
    stream = data.Fresh(data.LinearTeacher(4, 50, 5))
    teacher, batch = stream.sample(KEY).features[0], stream.batch(KEY, 8)
    np.testing.assert_array_equal(batch.y, np.sign(np.asarray(batch.x) @ np.asarray(teacher)))
    np.testing.assert_array_equal(stream.batch(KEY, 8).x, batch.x)
    assert not np.isin(stream.batch(KEY, 9).x, batch.x).any()


def test_keys_of_steps_differ_and_no_step_is_the_key_itself():
    keys = [at_step(KEY, step) for step in (None, 0, 1)]
    assert keys[0] is KEY
    assert len({jax.random.key_data(key).tobytes() for key in map(jax.device_get, keys)}) == 3


def test_sources_that_know_no_steps_are_refused(untyped):
    @part
    class Once:
        def sample(self, key):
            return None

    for source in (Once(), data.Shared(SOURCES["clusters"]), data.Rescaled(SOURCES["clusters"]), 3):
        with pytest.raises(TypeError, match=r"source of Fresh must have a method sample\(key, step\)"):
            data.Fresh(source)
