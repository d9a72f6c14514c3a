"""Relabelling leaves everything but the classes alone."""

import jax
import numpy as np
import pytest

from dynamics.data.clusters import Clusters
from dynamics.data.coarse import BinaryClasses


@pytest.mark.exhaustive
def test_classes_are_the_binary_labels_and_nothing_else_changes():
    source = Clusters(12, 4, 30, 20)
    key = jax.random.key(5)
    fine, coarse = source.sample(key), BinaryClasses(source).sample(key)
    for old, new in ((fine.train, coarse.train), (fine.test, coarse.test)):
        np.testing.assert_array_equal(new.x, old.x)
        np.testing.assert_array_equal(new.y, old.y)
        np.testing.assert_array_equal(new.feature, old.feature)
        np.testing.assert_array_equal(np.asarray(coarse.class_signs)[new.target], old.y)
    np.testing.assert_array_equal(np.asarray(coarse.class_signs)[coarse.feature_classes], fine.feature_signs)
