"""Data from arrays: what labels mean, one data set for all seeds or for each, and what is refused."""

import jax
import numpy as np
import pytest

from dynamics import observables as o
from dynamics import simulate, steepest
from dynamics.data import from_arrays
from dynamics.models import Linear, TwoLayer
from dynamics.problem import Problem

RNG = np.random.default_rng(0)
X = RNG.normal(size=(12, 3))
SIGNS = np.where(X[:, 0] > 0, 1, -1)
KEY = jax.random.key(0)
RULE = steepest("l2", 0.5)


def train(data, model, loss, seeds=2, **how):
    problem = Problem(data, model, loss=loss, init_scale=0.1)
    observe = {"W": o.projection} if how.pop("project", False) else {"loss": o.training_loss}
    return simulate(problem, RULE, steps=5, observe=observe, seeds=seeds, when=[0, 5])


def test_signs_are_binary_labels():
    draw = from_arrays(X, SIGNS).sample(KEY)
    np.testing.assert_array_equal(draw.train.y, SIGNS)
    np.testing.assert_array_equal(draw.test.x, X)
    assert draw.train.target is None
    losses = train(from_arrays(X, SIGNS), Linear(), "logistic").loss
    assert (losses.isel(step=1) < losses.isel(step=0)).all()


@pytest.mark.exhaustive
def test_integers_are_classes_and_two_of_them_signs_too():
    three = from_arrays(X, np.arange(12) % 3)
    assert three.sample(KEY).train.y is None
    train(three, TwoLayer(2, num_outputs=3), "cross_entropy")
    two = from_arrays(X, (SIGNS + 1) // 2)
    np.testing.assert_array_equal(two.sample(KEY).train.y, SIGNS)
    np.testing.assert_array_equal(two.sample(KEY).class_signs, [-1, 1])
    one, other = (
        train(two, Linear(), "logistic").loss,
        train(from_arrays(X, SIGNS), Linear(), "logistic").loss,
    )
    np.testing.assert_array_equal(one, other)
    train(two, TwoLayer(2, num_outputs=2), "cross_entropy")


def test_floats_are_targets_and_no_labels():
    data = from_arrays(X, X @ [1.0, 2.0, 0.0])
    assert train(data, Linear(), "squared").loss.isel(step=1).max() < 1
    with pytest.raises(ValueError, match="must be -1 or"):
        train(data, Linear(), "logistic")


def test_features_are_what_neurons_align_with():
    data = from_arrays(X, SIGNS, X[:4], SIGNS[:4], features=np.eye(3)[:2], feature_signs=[1, -1])
    found = simulate(
        Problem(data, TwoLayer(2), init_scale=0.1), RULE, steps=1, observe={"a": o.alignment, "own": o.own}
    )
    assert found.a.sizes["feature"] == 2
    assert found.own.isel(seed=0, step=0).values.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]


def test_a_data_set_for_each_seed():
    stack = np.stack([X, -2 * X])
    labels = np.stack([SIGNS, SIGNS])
    together = train(from_arrays(stack, labels, seeds=[3, 5]), Linear(), "logistic", seeds=[3, 5]).loss
    for number, seed in enumerate((3, 5)):
        alone = train(from_arrays(stack[number], SIGNS), Linear(), "logistic", seeds=[seed]).loss
        np.testing.assert_allclose(together.sel(seed=seed), alone.sel(seed=seed), rtol=1e-12)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"y": SIGNS[1:]}, "x must have shape .samples, dim. with a row of y a sample"),
        ({"x": X[:, 0]}, "x must have shape"),
        ({"x": np.where(X > 1, np.nan, X)}, "x must be finite"),
        ({"y": np.where(SIGNS > 0, np.inf, 0.0)}, "y must be finite"),
        ({"y": np.arange(12) - 3}, "y must be -1 and"),
        (
            {"y": SIGNS[:, None].astype(int)},
            r"\(12, 1\); leave out its last axis, as by y\[..., 0\]",
        ),
        ({"y": ["a"] * 12}, "y must be numbers, got an array of <U1; classes are counted from 0"),
        ({"x_test": X}, "given together"),
        ({"y": np.arange(12) % 3, "class_signs": [1, -1]}, "for each of the 3 classes"),
        ({"x_test": X[:, :2], "y_test": SIGNS}, "inputs of one shape"),
        ({"seeds": [0, 1]}, "x must have shape"),
        ({"x": X[None], "y": SIGNS[None], "seeds": [0, 1]}, "2 of them, got 1"),
    ],
)
def test_what_does_not_fit_is_refused(untyped, given, said):
    with pytest.raises(ValueError, match=said):
        from_arrays(**{"x": X, "y": SIGNS} | given)


def test_features_of_another_width_are_refused():
    with pytest.raises(ValueError, match=r"features must .* got \(3, 2\) for x of \(4, 5\)"):
        from_arrays(np.ones((4, 5)), np.ones(4), features=np.eye(3, 2))


def test_bools_are_classes():
    found, wanted = from_arrays(X, SIGNS > 0).sample(KEY), from_arrays(X, (SIGNS > 0).astype(int)).sample(KEY)
    np.testing.assert_array_equal(found.train.y, SIGNS)
    np.testing.assert_array_equal(found.train.target, wanted.train.target)
