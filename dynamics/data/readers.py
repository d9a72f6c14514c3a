"""Readers of image files: IDX (MNIST), `.npz`, CIFAR-10 (binary and Python) and SVHN `.mat`.

Every file that cannot be read raises `ValueError` with one sentence that names the file. Nothing in a
file is ever run: `.npz` files are read without pickle, and CIFAR-10 pickles may hold arrays only.
"""

import dataclasses
import gzip
import io
import math
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from dynamics.data import pickled
from dynamics.data.box import PIXELS, Box
from dynamics.words import listed
from kernels.arrays import native

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
        scaled to float32 in [0, 1]; the floats of a `.npz` keep their values and dtype, but for extended
        precision, which becomes double.
      y_train, y_test: classes 0, 1, ... as int64.
      box: bounds of every value: (0, 1) for bytes; None for floats, which have none.
    The test part is None where the file gives no split.
    """

    x_train: Float[np.ndarray, "train *shape"]
    y_train: Int[np.ndarray, " train"]
    x_test: Float[np.ndarray, "test *shape"] | None = None
    y_test: Int[np.ndarray, " test"] | None = None
    box: Box = None


def read(path: str | os.PathLike[str]) -> Images:
    """The images of a file or folder, whose format is told from contents and, where those do not say, names.

    Files compressed by gzip are read as what they hold, whatever they are called.

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
    if not path.is_file():
        raise ValueError(f"{path} is neither a file nor a folder; give one that holds {FORMATS}")
    return _read_file(path)


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
        paths = [folder / chosen[options] for options in group if "labels" not in options[0]]
        pieces = [reader(path, _contents(path)) for path in paths]
        parts.append([np.concatenate(arrays) for arrays in zip(*pieces, strict=True)])
    (x_train, y_train), (x_test, y_test) = parts
    if x_train.shape[1:] != x_test.shape[1:]:
        raise ValueError(_shapes_differ(folder, x_train, x_test))
    return Images(x_train, y_train, x_test, y_test, PIXELS)


def _known_names(layout):
    return [name for options in (*layout[1], *layout[2]) for name in options]


def _read_file(path):
    data, name = _contents(path), path.name.removesuffix(".gz")
    if data[:4] in _ZIP:
        return _read_npz(path, data)
    if data[:12] == b"MATLAB 5.0 M":
        return Images(*_read_svhn(path, data), box=PIXELS)
    if name.endswith(".bin"):  # raw bytes: any may come first
        return Images(*_read_cifar_binary(path, data), box=PIXELS)
    if data[:3] == b"\0\0\x08":
        return Images(*_read_idx(path, data), box=PIXELS)
    if data[:1] == b"\x80":  # pickles of protocol 2 and later, CIFAR-10's among them
        return Images(*_read_cifar_python(path, data), box=PIXELS)
    if data[257:262] == b"ustar" or any(data.startswith(mark) for mark in _PACKED):
        raise ValueError(f"{path} is an archive or packed by other than gzip; unpack it first")
    # what remains is not what its name says: its reader knows what is wrong
    for is_named, reader in (
        (name.endswith(".npz"), _read_npz),
        (name.endswith(".mat"), _read_svhn),
        (name in _CIFAR_PYTHON, _read_cifar_python),
        ("ubyte" in name and not (data and path.suffix == ".gz"), _read_idx),
    ):
        if is_named:
            return reader(path, data)
    if path.suffix == ".gz" and data:
        raise ValueError(f"{path} is a broken gzip file; download it again")
    raise ValueError(f"{path} has no known format; those known are {FORMATS}")


_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_PACKED = (b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc\xaf")


def _contents(path):
    """The bytes of a file, without the compression by gzip that it may have."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be opened ({error.strerror}); give a file that can be read"
        ) from error
    if data[:2] != _GZIP:
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is a broken gzip file; download it again") from error


def _scaled(x):
    return x / np.float32(255)


def _require(condition, path, wrong, right):
    if not condition:
        raise ValueError(f"{path} {wrong}; {right}")


# --- IDX ---

_IDX_NAMES = {1: "labels", 3: "images"}


def _idx_spellings(stem, kind, dims):
    names = [f"{stem}-{kind}-idx{dims}-ubyte", f"{stem}-{kind}.idx{dims}-ubyte"]
    return (*names, *(name + ".gz" for name in names))


def _read_idx(path, data):
    x = _idx_array(path, data, 3)
    labels_path = _labels_beside(path)
    y = _idx_array(labels_path, _contents(labels_path), 1)
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


def _idx_array(path, data, dims):
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


def _read_npz(path, data):
    _require(zipfile.is_zipfile(io.BytesIO(data)), path, "is not a .npz file", "write it with numpy.savez")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
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
        _require(
            (train[2] is None) == (test[2] is None),
            path,
            f"has x_train of type {arrays['x_train'].dtype} but x_test of type {arrays['x_test'].dtype}",
            "bytes are scaled and floats are not, so the two should agree",
        )
        return Images(*train[:2], *test)
    _require(
        {"x", "y"} <= arrays.keys(),
        path,
        f"holds arrays named {names}",
        "the names should be x_train, y_train, x_test, y_test, or x, y",
    )
    x, y, box = _npz_pair(path, arrays, "x", "y")
    return Images(x, y, box=box)


def _npz_pair(path, arrays, x_name, y_name):
    """Inputs, labels, and the box of the inputs."""
    x, y = arrays[x_name], arrays[y_name]
    _require(
        x.dtype == np.uint8 or x.dtype.kind == "f",
        path,
        f"has {x_name} of type {x.dtype}",
        "it should be uint8 (0 .. 255) or floating point: other integers have no range that is known",
    )
    _require(
        2 <= x.ndim <= 4,
        path,
        f"has {x_name} of shape {x.shape}",
        "it should be (count, dim), (count, height, width) or (count, height, width, channels)",
    )
    _require(x.size > 0, path, f"has an empty {x_name} (shape {x.shape})", "it should hold images")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    _require(y.ndim == 1, path, f"has {y_name} of shape {y.shape}", "it should be one label an image")
    count_from_0 = "labels are integers that count the classes from 0: 0, 1, ..."
    found = f" ({listed(np.unique(y).tolist())})" if y.dtype.kind in "fb" else ""
    _require(y.dtype.kind in "iu", path, f"has {y_name} of type {y.dtype}{found}", count_from_0)
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
    if x.dtype == np.uint8:
        return _scaled(x), y.astype(np.int64), PIXELS
    _require(np.isfinite(x).all(), path, f"has NaN or infinite values in {x_name}", "all must be finite")
    with np.errstate(over="ignore"):  # extended precision reaches further than double
        x = native(x)
    _require(
        np.isfinite(x).all(),
        path,
        f"has values in {x_name} beyond the range of double precision",
        "all must lie within it",
    )
    return x, y.astype(np.int64), None


def _shapes_differ(path, x_train, x_test):
    return (
        f"{path} has training images of shape {x_train.shape[1:]} but test images of shape "
        f"{x_test.shape[1:]}; the two should agree"
    )


# --- CIFAR-10 ---

_CIFAR_PYTHON = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
_CIFAR_RECORD = 1 + 3 * 32 * 32


def _read_cifar_binary(path, data):
    _require(data, path, "is empty", "a CIFAR-10 batch holds at least one image")
    _require(
        len(data) % _CIFAR_RECORD == 0,
        path,
        f"is truncated or no CIFAR-10 batch: it has {len(data)} bytes",
        f"the size should be a multiple of {_CIFAR_RECORD}",
    )
    records = np.frombuffer(data, np.uint8).reshape(-1, _CIFAR_RECORD)
    return _cifar_images(path, records[:, 1:], records[:, 0].tolist())


def _read_cifar_python(path, data):
    contents = pickled.load(path, data)
    _require(
        isinstance(contents, dict),
        path,
        f"holds a {type(contents).__name__}",
        "a CIFAR-10 batch is a dict with data and labels",
    )
    pixels, labels = (contents.get(name.encode(), contents.get(name)) for name in ("data", "labels"))
    _require(
        isinstance(pixels, np.ndarray)
        and pixels.dtype == np.uint8
        and pixels.shape[1:] == (_CIFAR_RECORD - 1,),
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
    _require(len(pixels) > 0, path, "is empty", "a CIFAR-10 batch holds at least one image")
    _require(
        len(pixels) == len(labels),
        path,
        f"holds {len(pixels)} images but {len(labels)} labels",
        "there should be one label an image",
    )
    return _cifar_images(path, pixels, labels)


def _cifar_images(path, pixels, labels):
    _require(
        all(0 <= label <= 9 for label in labels),
        path,
        "has a label outside 0 .. 9",
        "CIFAR-10 has ten classes",
    )
    return _scaled(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), np.array(labels, np.int64)


# --- SVHN ---


def _read_svhn(path, data):
    import scipy.io  # half a second, which only these files need

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
