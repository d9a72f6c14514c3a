"""Readers of image files: IDX (MNIST), `.npz`, CIFAR-10 (binary and Python) and SVHN `.mat`.

Every file that cannot be read raises `ValueError` with one sentence that names the file. Nothing in a
file is ever run: `.npz` files are read without pickle, and CIFAR-10 pickles may hold arrays only.
"""

import dataclasses
import gzip
import io
import math
import os
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

FORMATS = (
    "the four MNIST files train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and "
    "t10k-labels-idx1-ubyte (plain or .gz), a .npz with x_train, y_train, x_test, y_test or x, y, the "
    "CIFAR-10 files data_batch_1 .. 5 and test_batch (.bin or Python), or the SVHN files "
    "train_32x32.mat and test_32x32.mat"
)


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """Images, or feature vectors, with their class numbers.

    Attributes:
      x_train, x_test: (count, height, width), (count, height, width, channels) or (count, dim). Bytes are
        scaled to float32 in [0, 1]; the floats of a `.npz` keep their values and dtype.
      y_train, y_test: classes 0, 1, ... as int64.
    The test part is None where the file gives no split.
    """

    x_train: Float[np.ndarray, "train *shape"]
    y_train: Int[np.ndarray, " train"]
    x_test: Float[np.ndarray, "test *shape"] | None = None
    y_test: Int[np.ndarray, " test"] | None = None


def read(path: str | os.PathLike[str]) -> Images:
    """The images of a file or folder, whose format is told from names and contents.

    A folder of IDX, CIFAR-10 or SVHN files must hold the whole data set and gives its training and test
    parts. One such file gives its own images without a split (an IDX images file needs its labels file
    beside it). A `.npz` has a split if it holds x_train, y_train, x_test and y_test, and none with x and y.

    Raises: ValueError: a path that does not exist, an unknown format, a file that is missing, broken,
      truncated or empty, a pickle of anything but arrays, counts of images and labels that differ, values
      that are not finite.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.exists():
        raise ValueError(f"{path} does not exist; give a file or folder that holds {FORMATS}")
    return Images(*_read_file(path))


def _read_folder(folder):
    names = {entry.name for entry in folder.iterdir()}
    found = [layout for layout in _LAYOUTS if any(name in names for name in _known_names(layout))]
    if not found:
        raise ValueError(f"{folder} is a folder without images of a known format; it should hold {FORMATS}")
    if len(found) > 1:
        raise ValueError(
            f"{folder} holds data sets of {len(found)} formats; keep each in a folder of its own"
        )
    reader, train, test = found[0]
    # either spelling of a file will do; the plain one comes first
    chosen = {options: next((n for n in options if n in names), None) for options in (*train, *test)}
    missing = [options[0] for options, name in chosen.items() if name is None]
    if missing:
        raise ValueError(
            f"{folder} lacks {', '.join(missing)}; "
            "add what is missing, or give one file instead of the folder to read that file alone"
        )
    parts = []
    for group in (train, test):
        pieces = [reader(folder / chosen[options]) for options in group if "labels" not in options[0]]
        parts.append([np.concatenate(arrays) for arrays in zip(*pieces, strict=True)])
    (x_train, y_train), (x_test, y_test) = parts
    if x_train.shape[1:] != x_test.shape[1:]:
        raise ValueError(_shapes_differ(folder, x_train, x_test))
    return Images(x_train, y_train, x_test, y_test)


def _known_names(layout):
    return [name for options in (*layout[1], *layout[2]) for name in options]


def _read_file(path):
    start = _contents(path, 12)
    if path.suffix == ".npz" or start[:4] == b"PK\x03\x04":
        return _read_npz(path)
    if path.suffix == ".mat" or start == b"MATLAB 5.0 M":
        return _read_svhn(path)
    if path.suffix == ".bin":
        return _read_cifar_binary(path)
    if path.suffix == ".gz" or "ubyte" in path.name or start[:3] == b"\0\0\x08" or start[:2] == _GZIP:
        return _read_idx(path)
    # pickles of protocol 2 and later, CIFAR-10's among them, begin with this byte
    if start[:1] == b"\x80" or path.name in _CIFAR_PYTHON:
        return _read_cifar_python(path)
    raise ValueError(f"{path} has no known format; those known are {FORMATS}")


def _contents(path, limit=-1):
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be opened ({error.strerror}); give a file that can be read"
        ) from error


def _scaled(x):
    return x / np.float32(255)


def _require(condition, path, wrong, right):
    if not condition:
        raise ValueError(f"{path} {wrong}; {right}")


# --- IDX ---

_GZIP = b"\x1f\x8b"
_IDX_NAMES = {1: "labels", 3: "images"}


def _idx_spellings(stem, kind, dims):
    names = [f"{stem}-{kind}-idx{dims}-ubyte", f"{stem}-{kind}.idx{dims}-ubyte"]
    return (*names, *(name + ".gz" for name in names))


def _read_idx(path):
    x = _idx_array(path, 3)
    labels_path = _labels_beside(path)
    y = _idx_array(labels_path, 1)
    _require(
        len(x) == len(y),
        path,
        f"holds {len(x)} images but {labels_path} holds {len(y)} labels",
        "the two must come from one data set",
    )
    return _scaled(x), y.astype(np.int64)


def _labels_beside(path):
    stem = path.name.partition("images")[0].rstrip("-._")
    same_style = path.name.replace("images", "labels").replace("idx3", "idx1")
    toggled = same_style.removesuffix(".gz") if same_style.endswith(".gz") else same_style + ".gz"
    for name in (same_style, toggled, *_idx_spellings(stem, "labels", 1)):
        if name != path.name and (path.parent / name).is_file():
            return path.parent / name
    raise ValueError(
        f"{path} has no labels beside it; put the labels file in the same folder, named like the images file "
        "with labels for images and idx1 for idx3"
    )


def _idx_array(path, dims):
    data = _contents(path)
    if path.suffix == ".gz" or data[:2] == _GZIP:
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is a broken gzip file; download it again") from error
    kind = _IDX_NAMES[dims]
    header = 4 + 4 * dims
    expected = bytes([0, 0, 8, dims])
    _require(data, path, "is empty", f"it should be an IDX file of {kind}")
    _require(
        data[:4] == expected,
        path,
        f"begins with the bytes {data[:4].hex(' ')}",
        f"an IDX file of {kind} begins with the magic number {expected.hex(' ')}",
    )
    _require(len(data) >= header, path, "is truncated", f"its IDX header should have {header} bytes")
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", dims, 4))
    _require(0 not in shape, path, f"is empty (shape {shape})", f"it should hold at least one of {kind}")
    size = header + math.prod(shape)
    _require(
        len(data) == size,
        path,
        f"is {'truncated' if len(data) < size else 'too long'}: it has {len(data)} bytes",
        f"{kind} of shape {shape} take {size}",
    )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


# --- npz ---

# a number beyond this is an identifier, not a class
_MAX_CLASSES = 10_000
_NPZ_NAMES = ("x_train", "y_train", "x_test", "y_test", "x", "y")


def _read_npz(path):
    _require(zipfile.is_zipfile(path), path, "is not a .npz file", "write it with numpy.savez")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: np.asarray(archive[name]) for name in archive.files if name in _NPZ_NAMES}
            names = sorted(archive.files)
    except Exception as error:  # a broken file can raise anything
        raise ValueError(
            f"{path} is broken or holds pickled objects; it should hold arrays of numbers only"
        ) from error
    if {"x_train", "y_train", "x_test", "y_test"} <= arrays.keys():
        train = _npz_pair(path, arrays, "x_train", "y_train")
        test = _npz_pair(path, arrays, "x_test", "y_test")
        if train[0].shape[1:] != test[0].shape[1:]:
            raise ValueError(_shapes_differ(path, train[0], test[0]))
        return (*train, *test)
    _require(
        {"x", "y"} <= arrays.keys(),
        path,
        f"holds arrays named {names}",
        "the names should be x_train, y_train, x_test, y_test, or x, y",
    )
    return _npz_pair(path, arrays, "x", "y")


def _npz_pair(path, arrays, x_name, y_name):
    x, y = arrays[x_name], arrays[y_name]
    _require(
        x.dtype == np.uint8 or x.dtype.kind == "f",
        path,
        f"has {x_name} of type {x.dtype}",
        "it should be uint8 (0 .. 255) or floating point",
    )
    _require(
        2 <= x.ndim <= 4,
        path,
        f"has {x_name} of shape {x.shape}",
        "it should be (count, dim), (count, height, width) or (count, height, width, channels)",
    )
    _require(x.size > 0, path, f"has an empty {x_name} (shape {x.shape})", "it should hold images")
    _require(y.dtype.kind in "iu", path, f"has {y_name} of type {y.dtype}", "labels should be integers")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    _require(y.ndim == 1, path, f"has {y_name} of shape {y.shape}", "it should be one label an image")
    _require(
        len(x) == len(y),
        path,
        f"has {len(x)} images in {x_name} but {len(y)} labels in {y_name}",
        "there should be one label an image",
    )
    _require(
        y.min() >= 0 and y.max() < _MAX_CLASSES,
        path,
        f"has labels from {y.min()} to {y.max()} in {y_name}",
        f"classes are numbered from 0 and lie below {_MAX_CLASSES}",
    )
    _require(np.isfinite(x).all(), path, f"has NaN or infinite values in {x_name}", "all must be finite")
    return _scaled(x) if x.dtype == np.uint8 else x, y.astype(np.int64)


def _shapes_differ(path, x_train, x_test):
    return (
        f"{path} has training images of shape {x_train.shape[1:]} but test images of shape "
        f"{x_test.shape[1:]}; the two should agree"
    )


# --- CIFAR-10 ---

_CIFAR_PYTHON = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
_CIFAR_RECORD = 1 + 3 * 32 * 32


def _read_cifar_binary(path):
    data = _contents(path)
    _require(data, path, "is empty", "a CIFAR-10 batch holds at least one image")
    _require(
        len(data) % _CIFAR_RECORD == 0,
        path,
        f"is truncated or no CIFAR-10 batch: it has {len(data)} bytes",
        f"the size should be a multiple of {_CIFAR_RECORD}",
    )
    records = np.frombuffer(data, np.uint8).reshape(-1, _CIFAR_RECORD)
    return _cifar_images(path, records[:, 1:], records[:, 0].tolist())


def _read_cifar_python(path):
    contents = _unpickle_arrays(path)
    _require(
        isinstance(contents, dict),
        path,
        f"holds a {type(contents).__name__}",
        "a CIFAR-10 batch is a dict with data and labels",
    )
    data, labels = (
        value.array if isinstance(value, _PickledArray) else value
        for value in (contents.get(name.encode(), contents.get(name)) for name in ("data", "labels"))
    )
    _require(
        isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.shape[1:] == (_CIFAR_RECORD - 1,),
        path,
        "has no image array under 'data'",
        f"it should be uint8 of shape (count, {_CIFAR_RECORD - 1})",
    )
    if isinstance(labels, np.ndarray) and labels.ndim == 1:
        labels = labels.tolist()
    _require(
        isinstance(labels, list) and all(type(label) is int for label in labels),
        path,
        "has no list of integers under 'labels'",
        "it should hold one class an image",
    )
    _require(len(data) > 0, path, "is empty", "a CIFAR-10 batch holds at least one image")
    _require(
        len(data) == len(labels),
        path,
        f"holds {len(data)} images but {len(labels)} labels",
        "there should be one label an image",
    )
    return _cifar_images(path, data, labels)


def _cifar_images(path, pixels, labels):
    _require(
        all(0 <= label <= 9 for label in labels),
        path,
        "has a label outside 0 .. 9",
        "CIFAR-10 has ten classes",
    )
    return _scaled(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), np.array(labels, np.int64)


class _Refused(Exception):
    """A pickle asked for something other than an array; the message is its name."""


class _PickledType:
    """The integer type that a pickle names; its state may set the byte order and nothing else."""

    def __init__(self, code):
        code = code.decode() if isinstance(code, bytes) else code
        if not isinstance(code, str) or np.dtype(code).kind not in "iu":
            raise _Refused(repr(f"dtype {code}"))
        self.dtype = np.dtype(code)

    def __setstate__(self, state):
        order = state[1].decode() if isinstance(state[1], bytes) else state[1]
        self.dtype = self.dtype.newbyteorder(order)


class _PickledArray:
    """An array as a pickle describes it: shape, type, order and bytes."""

    array = None

    def __setstate__(self, state):
        _, shape, kind, is_fortran, data = state
        self.array = np.frombuffer(data, kind.dtype).reshape(shape, order="F" if is_fortran else "C")


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles integer arrays and plain containers, whichever NumPy wrote them.

    What a pickle may call is defined here, not looked up: it gets no object of NumPy's to call or alter.
    """

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for what the pickle asks for; raises `_Refused` for all that is not an array."""

        # made anew for every request, as a pickle can set attributes of the functions that it gets

        def reconstruct(*_):
            return _PickledArray()

        def frombuffer(data, kind, shape, order):
            array = _PickledArray()
            array.__setstate__((1, shape, kind, order == "F", data))
            return array

        def dtype(code, *_):
            return _PickledType(code)

        def encode(text, encoding):
            if encoding != "latin1":
                raise _Refused(repr(f"encoding {encoding}"))
            return text.encode("latin1")

        admitted = {
            "numpy._core.multiarray._reconstruct": reconstruct,
            "numpy._core.numeric._frombuffer": frombuffer,
            "numpy.ndarray": None,  # only ever an argument of _reconstruct
            "numpy.dtype": dtype,
            "_codecs.encode": encode,
        }
        asked = f"{module}.{name}"
        current = asked.replace("numpy.core.", "numpy._core.") if asked.startswith("numpy.core.") else asked
        if current not in admitted:
            raise _Refused(repr(asked))
        return admitted[current]


def _unpickle_arrays(path):
    data = _contents(path)
    try:
        # bytes: the strings of Python 2, which wrote CIFAR-10, have no encoding
        return _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except _Refused as error:
        raise ValueError(
            f"{path} is a pickle that asks for {error}; only integer arrays and plain containers are admitted"
        ) from None
    except Exception as error:  # a broken pickle can raise anything
        raise ValueError(f"{path} is a broken pickle; download the CIFAR-10 batch again") from error


# --- SVHN ---


def _read_svhn(path):
    import scipy.io  # half a second, which only these files need

    data = _contents(path)
    try:
        arrays = scipy.io.loadmat(io.BytesIO(data), variable_names=["X", "y"])
    except Exception as error:  # a broken file can raise anything
        raise ValueError(
            f"{path} is not a readable MATLAB file (version 7 or older); download it again"
        ) from error
    x, y = arrays.get("X"), arrays.get("y")
    _require(
        isinstance(x, np.ndarray) and isinstance(y, np.ndarray),
        path,
        "lacks the array X or y",
        "SVHN's cropped digits hold images X and labels y",
    )
    _require(
        x.dtype == np.uint8 and x.ndim == 4 and x.shape[:3] == (32, 32, 3),
        path,
        f"has X of type {x.dtype} and shape {x.shape}",
        "it should be uint8 of shape (32, 32, 3, count)",
    )
    _require(x.size > 0, path, "is empty", "it should hold at least one image")
    _require(
        y.size == x.shape[3],
        path,
        f"holds {x.shape[3]} images but {y.size} labels",
        "there should be one label an image",
    )
    _require(
        np.isin(y, range(1, 11)).all(),
        path,
        "has a label outside 1 .. 10",
        "SVHN numbers its classes 1 .. 10, with 10 for the digit 0",
    )
    return _scaled(np.moveaxis(x, 3, 0)), y.ravel().astype(np.int64) % 10


# --- folders: reader, training files and test files; each file with its spellings ---

_LAYOUTS = (
    (
        _read_idx,
        (_idx_spellings("train", "images", 3), _idx_spellings("train", "labels", 1)),
        (_idx_spellings("t10k", "images", 3), _idx_spellings("t10k", "labels", 1)),
    ),
    (
        _read_cifar_binary,
        tuple((f"{name}.bin",) for name in _CIFAR_PYTHON[:5]),
        ((f"{_CIFAR_PYTHON[5]}.bin",),),
    ),
    (_read_cifar_python, tuple((name,) for name in _CIFAR_PYTHON[:5]), ((_CIFAR_PYTHON[5],),)),
    (_read_svhn, (("train_32x32.mat",),), (("test_32x32.mat",),)),
)
