"""Teachers: labels recomputed in NumPy, ties, sparse units, independent seeds; and points made by hand."""

import jax
import numpy as np
import pytest

from dynamics.data.teachers import FixedPoints, LinearTeacher, ReluTeacher, orthogonal

KEY = jax.random.key(3)


def drawn(data, key=KEY):
    return jax.tree.map(np.asarray, jax.jit(data.sample)(key))


def assert_gaussian(x):
    """Mean 0 and variance 1 within five standard deviations."""
    assert abs(x.mean()) < 5 / np.sqrt(x.size)
    assert abs(x.var() - 1) < 5 * np.sqrt(2 / x.size)


def relu_output(x, units):
    active = np.maximum(x @ units.T, 0)
    return active[:, 0] - active[:, 1]


# --- linear teacher


def test_linear_labels_are_the_teachers():
    draw = drawn(LinearTeacher(6, 40, 500))
    assert draw.features.shape == (1, 6)
    assert (draw.train.x.shape, draw.test.x.shape) == ((40, 6), (500, 6))
    for points in (draw.train, draw.test):
        np.testing.assert_array_equal(points.y, np.where(points.x @ draw.features[0] < 0, -1, 1))
        np.testing.assert_array_equal(points.target, (points.y + 1) / 2)
        np.testing.assert_array_equal(points.feature, np.zeros(len(points.y)))
        assert set(points.y) == {-1, 1}
    np.testing.assert_array_equal(draw.feature_signs, [1])
    np.testing.assert_array_equal(draw.feature_classes, [1])
    np.testing.assert_array_equal(draw.class_signs, [-1, 1])


def test_inputs_and_linear_teachers_are_gaussian():
    draw = drawn(LinearTeacher(500, 20, 30))
    for values in (draw.features, draw.train.x, draw.test.x):
        assert_gaussian(values)


# --- ReLU teacher


@pytest.mark.parametrize("options", [{}, {"tie": -1}, {"units": "uniform"}, {"fraction": 0.5, "tie": -1}])
def test_relu_labels_are_the_teachers(options):
    draw = drawn(ReluTeacher(6, 100, 400, **options))
    for points in (draw.train, draw.test):
        value = relu_output(points.x, draw.features)
        expected = np.where(value == 0, options.get("tie", 1), np.sign(value))
        np.testing.assert_array_equal(points.y, expected)
        np.testing.assert_array_equal(points.target, (points.y + 1) / 2)
        # a sample's feature is the unit of its label
        np.testing.assert_array_equal(draw.feature_signs[points.feature], points.y)
        assert (value == 0).any()
        assert set(points.y) == {-1, 1}
    np.testing.assert_array_equal(draw.feature_signs, [1, -1])
    np.testing.assert_array_equal(draw.feature_classes, [1, 0])
    np.testing.assert_array_equal(draw.class_signs, [-1, 1])


@pytest.mark.exhaustive
def test_ties_change_no_other_label():
    up, down = (drawn(ReluTeacher(6, 100, 400, tie=tie)) for tie in (1, -1))
    np.testing.assert_array_equal(up.test.x, down.test.x)
    tied = relu_output(up.test.x, up.features) == 0
    np.testing.assert_array_equal(up.test.y != down.test.y, tied)


@pytest.mark.exhaustive
@pytest.mark.parametrize("units", ["normal", "uniform"])
def test_a_quarter_of_the_points_are_ties(units):
    draw = drawn(ReluTeacher(1000, 10, 2000, units=units))
    share = np.mean(relu_output(draw.test.x, draw.features) == 0)
    # both units at an angle a are inactive at (pi - a) / (2 pi) of the points; 2000 of them
    u, v = draw.features
    expected = (np.pi - np.arccos(u @ v / np.linalg.norm(u) / np.linalg.norm(v))) / (2 * np.pi)
    assert abs(share - expected) < 5 * np.sqrt(0.25 * 0.75 / 2000)
    # cosines of random directions are of size dim^-1/2
    assert abs(expected - 0.25) < 5 / (2 * np.pi * np.sqrt(1000))


@pytest.mark.exhaustive
@pytest.mark.parametrize(("dim", "fraction", "kept"), [(50, 0.1, 5), (7, 0.5, 4), (9, 0.07, 1)])
def test_sparse_units_see_their_share_of_the_inputs(dim, fraction, kept):
    assert kept == round(fraction * dim)
    teacher = jax.jit(jax.vmap(lambda key: ReluTeacher(dim, 1, 1, fraction=fraction).sample(key).features))
    units = np.asarray(teacher(jax.random.split(KEY, 40)))
    np.testing.assert_array_equal((units != 0).sum(axis=-1), np.full((40, 2), kept))
    dense = np.asarray(
        jax.vmap(lambda key: ReluTeacher(dim, 1, 1).sample(key).features)(jax.random.split(KEY, 40))
    )
    np.testing.assert_array_equal(units[units != 0], dense[units != 0])
    # every input is seen by some unit of some seed, and the two units see inputs of their own
    seen = units != 0
    assert np.any(seen[:, 0] != seen[:, 1], axis=1).sum() > 20
    assert seen.any(axis=(0, 1)).all()


@pytest.mark.exhaustive
def test_units_are_normal_or_uniform():
    normal, uniform = (
        np.asarray(ReluTeacher(4000, 1, 1, units=units).sample(KEY).features)
        for units in ("normal", "uniform")
    )
    assert_gaussian(normal)
    assert 0.99 < np.abs(uniform).max() <= 1
    assert abs(uniform.mean()) < 5 / np.sqrt(3 * 8000)
    assert abs(np.mean(uniform**2) - 1 / 3) < 5 * np.sqrt(4 / 45 / 8000)


# --- both


@pytest.mark.parametrize("teacher", [LinearTeacher, ReluTeacher])
def test_seeds_teachers_and_samples_are_independent(teacher):
    a, again, b = (drawn(teacher(400, 20, 20), jax.random.key(seed)) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, a, again)
    blocks = [a.features, a.train.x, a.test.x, b.features, b.train.x, b.test.x]
    rows = np.concatenate([x / np.linalg.norm(x, axis=1, keepdims=True) for x in blocks])
    cosines = rows @ rows.T - np.eye(len(rows))
    # some thousand cosines of independent directions, each of size 400^-1/2
    assert np.abs(cosines).max() < 6 / np.sqrt(400)


@pytest.mark.exhaustive
@pytest.mark.parametrize("teacher", [LinearTeacher, ReluTeacher])
def test_training_samples_do_not_depend_on_the_number_of_test_samples(teacher):
    few, many = (drawn(teacher(5, 10, num_test)) for num_test in (1, 30))
    jax.tree.map(np.testing.assert_array_equal, few.train, many.train)
    np.testing.assert_array_equal(few.features, many.features)


@pytest.mark.exhaustive
@pytest.mark.parametrize("data", [LinearTeacher(5, 8, 9), ReluTeacher(6, 8, 9, fraction=0.5)])
def test_batches_of_seeds_are_loops(data):
    keys = jax.random.split(KEY, 3)
    many = jax.jit(jax.vmap(data.sample))(keys)
    sample = jax.jit(data.sample)
    for i, key in enumerate(keys):
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-13), many, sample(key))


@pytest.mark.exhaustive
def test_float32_at_the_engines_precision():
    with jax.enable_x64(False):
        for data in (LinearTeacher(5, 8, 9), ReluTeacher(6, 8, 9, fraction=0.5), orthogonal(3, 1, 1, 2.0)):
            draw = drawn(data, jax.random.key(0))
            assert {draw.train.x.dtype, draw.train.y.dtype, draw.features.dtype} == {np.dtype("float32")}


# --- points made by hand


def test_fixed_points():
    points, labels = np.array([[1.0, 2.0], [-3.0, 0.5], [0.0, 0.0]]), (1, -1, -1)
    data = FixedPoints(points, labels)
    for seed in (0, 1):
        draw = drawn(data, jax.random.key(seed))
        for part in (draw.train, draw.test):
            np.testing.assert_array_equal(part.x, points)
            np.testing.assert_array_equal(part.y, labels)
            np.testing.assert_array_equal(part.target, [1, 0, 0])
            np.testing.assert_array_equal(part.feature, [0, 1, 2])
        np.testing.assert_array_equal(draw.features, points)
        np.testing.assert_array_equal(draw.feature_signs, labels)
        np.testing.assert_array_equal(draw.feature_classes, [1, 0, 0])
        np.testing.assert_array_equal(draw.class_signs, [-1, 1])


@pytest.mark.parametrize(("positive", "negative"), [(2, 1), (0, 3), (4, 0)])
def test_orthogonal_points(positive, negative):
    data = orthogonal(4, positive, negative, 2.5)
    np.testing.assert_array_equal(data.points, 2.5 * np.eye(4)[: positive + negative])
    assert data.labels == (1,) * positive + (-1,) * negative


@pytest.mark.parametrize(
    ("make", "message"),
    [
        *(
            (
                lambda teacher=teacher, sizes=sizes: teacher(**{"dim": 3, "num_samples": 4} | sizes),
                f"{name} must be at least 1, got",
            )
            for teacher in (LinearTeacher, ReluTeacher)
            for name, sizes in {
                "dim": {"dim": 0},
                "num_samples": {"num_samples": 0},
                "num_test": {"num_test": -1},
            }.items()
        ),
        (lambda: ReluTeacher(3, 4, units="sparse"), "units must be one of normal, uniform, got 'sparse'"),
        (
            lambda: ReluTeacher(3, 4, fraction=0.0),
            "fraction must leave each unit of the teacher an input of 3",
        ),
        (lambda: ReluTeacher(3, 4, fraction=0.1), "an input of 3, at most all, got 0.1"),
        (lambda: ReluTeacher(3, 4, fraction=1.1), "at most all, got 1.1"),
        (lambda: ReluTeacher(3, 4, fraction=float("nan")), "at most all, got nan"),
        (lambda: ReluTeacher(3, 4, tie=0), r"tie must be -1 or \+1, got 0"),
        (lambda: FixedPoints(np.eye(2), (1, 0)), r"labels must be -1 or \+1, got \(1, 0\)"),
        (lambda: FixedPoints(np.eye(2), (1,)), r"one label each, got shape \(2, 2\) and 1 labels"),
        (lambda: FixedPoints(np.array([[1, np.nan]]), (1,)), "points must be finite"),
        (lambda: FixedPoints(np.ones(2), (1, -1)), r"points must have shape \(samples, dim\)"),
        (lambda: FixedPoints(np.ones((0, 2)), ()), "one label each"),
        (lambda: orthogonal(3, 2, 2, 1.0), "orthogonal points need 1 to dim=3 of them, got 2 and 2"),
        (lambda: orthogonal(3, 0, 0, 1.0), "got 0 and 0"),
        (lambda: orthogonal(3, -1, 2, 1.0), "got -1 and 2"),
    ],
)
def test_bad_arguments(untyped, make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
