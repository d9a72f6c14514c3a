"""Each format is written by hand, byte for byte, and must come back exactly; each broken file is refused."""

import builtins
import bz2
import gzip
import io
import lzma
import os
import pickle
import struct
import tarfile
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import scipy.io

from dynamics.data.readers import read

RNG = np.random.default_rng(0)
MNIST = {"train": 7, "t10k": 4}


def pixels(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def labels(count, low=0):
    return RNG.integers(low, low + 10, count, dtype=np.uint8)


def idx(array, magic=None):
    magic = 2048 + array.ndim if magic is None else magic
    return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


def cifar_binary(x, y):
    return b"".join(
        bytes([label]) + image.transpose(2, 0, 1).tobytes() for image, label in zip(x, y, strict=True)
    )


def cifar_rows(x):
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2).reshape(len(x), -1))


def write_mnist(folder, name="{}-{}-idx{}-ubyte", pack=lambda data: data):
    made = {}
    for stem, count in MNIST.items():
        x, y = pixels(count, 5, 6), labels(count)
        (folder / name.format(stem, "images", 3)).write_bytes(pack(idx(x)))
        (folder / name.format(stem, "labels", 1)).write_bytes(pack(idx(y)))
        made[stem] = x, y
    return made["train"], made["t10k"]


def write_cifar(folder, suffix, encode):
    parts = []
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        x, y = pixels(3, 32, 32, 3), labels(3)
        (folder / (name + suffix)).write_bytes(encode(x, y))
        parts.append((x, y))
    train = tuple(np.concatenate(arrays) for arrays in zip(*parts[:5], strict=True))
    return train, parts[5]


def write_svhn(path, count):
    x, y = pixels(count, 32, 32, 3), labels(count, 1)
    scipy.io.savemat(path, {"X": np.moveaxis(x, 0, 3), "y": y[:, None]})
    return x, np.where(y == 10, 0, y)


def agrees(x, y, expected):
    raw, raw_labels = expected
    assert x.dtype == np.float32
    assert y.dtype == np.int64
    assert x.min() >= 0
    assert x.max() <= 1
    np.testing.assert_array_equal(x, raw.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(y, raw_labels)


def folder_agrees(folder, train, test):
    images = read(folder)
    agrees(images.x_train, images.y_train, train)
    agrees(images.x_test, images.y_test, test)


def file_agrees(path, expected):
    images = read(path)
    agrees(images.x_train, images.y_train, expected)
    assert images.x_test is None
    assert images.y_test is None


# --- round trips ---


@pytest.mark.parametrize("name", ["{}-{}-idx{}-ubyte", "{}-{}.idx{}-ubyte"])
@pytest.mark.parametrize("packed", [False, True])
def test_mnist(tmp_path, name, packed):
    suffix, pack = (".gz", gzip.compress) if packed else ("", lambda data: data)
    train, test = write_mnist(tmp_path, name + suffix, pack)
    folder_agrees(tmp_path, train, test)
    file_agrees(tmp_path / (name.format("t10k", "images", 3) + suffix), test)
    folder_agrees(str(tmp_path), train, test)


def test_mnist_labels_may_be_packed_beside_plain_images(tmp_path):
    train, _ = write_mnist(tmp_path)
    path = tmp_path / "train-labels-idx1-ubyte"
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    file_agrees(tmp_path / "train-images-idx3-ubyte", train)


@pytest.mark.parametrize("packed", [False, True])
def test_gzip_is_told_by_contents_and_not_by_name(tmp_path, packed):
    pack = gzip.compress if packed else lambda data: data
    for name in ("{}-{}-idx{}-ubyte", "{}-{}-idx{}-ubyte.gz", "{}-{}.idx{}.gz", "{}-{}-idx{}.npz"):
        folder = tmp_path / name.replace("{}", "")
        folder.mkdir()
        train, test = write_mnist(folder, name, pack)
        file_agrees(folder / name.format("t10k", "images", 3), test)
        if "ubyte" in name:
            folder_agrees(folder, train, test)


@pytest.mark.parametrize("name", ["a.npz.gz", "a.npz", "a.gz", "a"])
def test_other_formats_may_be_packed_by_gzip(tmp_path, name):
    x, y = pixels(6, 4), labels(6)
    (tmp_path / name).write_bytes(gzip.compress(_savez(x=x, y=y)))
    file_agrees(tmp_path / name, (x, y))
    x, y = pixels(3, 32, 32, 3), labels(3)
    (tmp_path / "b.bin.gz").write_bytes(gzip.compress(cifar_binary(x, y)))
    file_agrees(tmp_path / "b.bin.gz", (x, y))


def test_bytes_have_a_box_and_floats_have_none(tmp_path):
    write_mnist(tmp_path)
    for path in (tmp_path, tmp_path / "train-images-idx3-ubyte"):
        assert read(path).box == (0, 1)
    write_svhn(tmp_path / "a.mat", 2)
    assert read(tmp_path / "a.mat").box == (0, 1)
    (tmp_path / "b.bin").write_bytes(cifar_binary(pixels(2, 32, 32, 3), labels(2)))
    assert read(tmp_path / "b.bin").box == (0, 1)
    for x, box in ((pixels(4, 3), (0, 1)), (pixels(4, 3) / 255, None)):
        np.savez(tmp_path / "a.npz", x=x, y=labels(4))
        assert read(tmp_path / "a.npz").box == box
        np.savez(tmp_path / "a.npz", x_train=x, y_train=labels(4), x_test=x, y_test=labels(4))
        assert read(tmp_path / "a.npz").box == box


def test_npz_with_a_split(tmp_path):
    train, test = (pixels(6, 4, 4), labels(6)), (pixels(3, 4, 4), labels(3))
    np.savez(tmp_path / "a.npz", x_train=train[0], y_train=train[1], x_test=test[0], y_test=test[1])
    folder_agrees(tmp_path / "a.npz", train, test)


def test_npz_without_a_split_and_with_a_column_of_labels(tmp_path):
    x, y = pixels(6, 4, 4, 3), labels(6)
    np.savez_compressed(tmp_path / "a.npz", x=x, y=y[:, None], note=np.array("unused"))
    file_agrees(tmp_path / "a.npz", (x, y))


@pytest.mark.parametrize(
    ("dtype", "kept"),
    [
        (np.float16, np.float16),
        (np.float32, np.float32),
        (np.float64, np.float64),
        (">f2", np.float16),
        (">f4", np.float32),
        (">f8", np.float64),
        (np.longdouble, np.float64),
        (np.dtype(np.longdouble).newbyteorder(), np.float64),
    ],
)
@pytest.mark.parametrize("label_type", ["<i4", ">i8", ">u2"])
def test_npz_floats_are_kept_in_native_byte_order(tmp_path, dtype, kept, label_type):
    x, y = RNG.normal(size=(6, 5)).astype(dtype), labels(6)
    np.savez(tmp_path / "a.npz", x=np.asfortranarray(x), y=y.astype(label_type))
    images = read(tmp_path / "a.npz")
    assert images.x_train.dtype == kept
    assert images.x_train.dtype.isnative
    assert images.y_train.dtype == np.int64
    np.testing.assert_array_equal(images.x_train, x.astype(kept))
    np.testing.assert_array_equal(images.y_train, y)


def test_npz_is_told_by_its_contents(tmp_path):
    x, y = pixels(6, 4), labels(6)
    np.savez(tmp_path / "a.npz", x=x, y=y)
    (tmp_path / "a.npz").rename(tmp_path / "images")
    file_agrees(tmp_path / "images", (x, y))


def test_cifar_binary(tmp_path):
    folder_agrees(tmp_path, *write_cifar(tmp_path, ".bin", cifar_binary))


def test_cifar_binary_batch(tmp_path):
    x, y = pixels(3, 32, 32, 3), labels(3)
    (tmp_path / "b.bin").write_bytes(cifar_binary(x, y))
    file_agrees(tmp_path / "b.bin", (x, y))


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("as_bytes", [False, True])
def test_cifar_python(tmp_path, protocol, as_bytes):
    def encode(x, y):
        batch = {"data": cifar_rows(x), "labels": y.tolist(), "filenames": ["a.png"] * len(y)}
        if as_bytes:
            batch = {name.encode(): value for name, value in batch.items()}
        return pickle.dumps(batch, protocol)

    folder_agrees(tmp_path, *write_cifar(tmp_path, "", encode))


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("protocol", range(2, 6))
def test_cifar_python_arrays_of_either_order_and_labels_as_array(tmp_path, layout, protocol):
    x, y = pixels(4, 32, 32, 3), labels(4)
    batch = {"data": np.array(cifar_rows(x), order=layout), "labels": y.astype(">i8")}
    (tmp_path / "test_batch").write_bytes(pickle.dumps(batch, protocol))
    file_agrees(tmp_path / "test_batch", (x, y))


@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
def test_cifar_python_as_python_2_wrote_it(tmp_path, package):
    x, y = pixels(2, 32, 32, 3), labels(2)
    rows = cifar_rows(x).tobytes()

    def short(text):
        return b"U" + bytes([len(text)]) + text

    array = (
        f"c{package}.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85".encode("latin1")
        + short(b"b")
        + b"\x87R(K\x01K\x02M\x00\x0c\x86cnumpy\ndtype\n"
        + short(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + short(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89T"
        + struct.pack("<I", len(rows))
        + rows
        + b"tb"
    )
    listed = b"](" + b"".join(b"K" + bytes([label]) for label in y) + b"e"
    batch = b"\x80\x02}(" + short(b"data") + array + short(b"labels") + listed + b"u."
    (tmp_path / "data_batch_1").write_bytes(batch)
    file_agrees(tmp_path / "data_batch_1", (x, y))


def test_svhn(tmp_path):
    train = write_svhn(tmp_path / "train_32x32.mat", 12)
    test = write_svhn(tmp_path / "test_32x32.mat", 5)
    folder_agrees(tmp_path, train, test)
    file_agrees(tmp_path / "test_32x32.mat", test)


def test_svhn_label_ten_is_the_digit_zero(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"X": pixels(32, 32, 3, 2), "y": np.array([[10], [1]])})
    assert read(tmp_path / "a.mat").y_train.tolist() == [0, 1]


# --- refusals ---


class Owned:
    pass


class Runs:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def file(name, data):
    def write(folder):
        (folder / name).write_bytes(data() if callable(data) else data)
        return folder / name

    return write


def npz(**arrays):
    def write(folder):
        np.savez(folder / "a.npz", **arrays)
        return folder / "a.npz"

    return write


def mat(**arrays):
    def write(folder):
        scipy.io.savemat(folder / "a.mat", arrays)
        return folder / "a.mat"

    return write


def pickled(value, protocol=2):
    return file("data_batch_1", lambda: pickle.dumps(value, protocol))


def mnist(name, change, named=None):
    """MNIST's folder with one file changed (None: removed); `named` is the file that is read."""

    def write(folder):
        write_mnist(folder)
        path = folder / name
        data = change(path.read_bytes())
        path.unlink() if data is None else path.write_bytes(data)
        return folder if named is None else folder / named

    return write


def both_cifar(folder):
    write_cifar(folder, ".bin", cifar_binary)
    (folder / "test_batch").write_bytes(b"")
    return folder


def four_cifar_batches(folder):
    write_cifar(folder, ".bin", cifar_binary)
    (folder / "data_batch_3.bin").unlink()
    return folder


def two_shapes(folder):
    write_mnist(folder)
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx(pixels(4, 3, 3)))
    return folder


def folders_for_files(folder):
    for name in ("train_32x32.mat", "test_32x32.mat"):
        (folder / name).mkdir()
    return folder


def device(folder):
    os.mkfifo(folder / "images")
    return folder / "images"


def plain_zip(folder):
    with zipfile.ZipFile(folder / "a.npz", "w") as archive:
        archive.writestr("x", b"text")
        archive.writestr("y", b"text")
    return folder / "a.npz"


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
ROWS = cifar_rows(pixels(2, 32, 32, 3))
BAD = {
    "missing": (lambda folder: folder / "nothing.npz", "does not exist"),
    "empty folder": (lambda folder: folder, "known format"),
    "unknown format": (file("notes.txt", b"some text"), "known format"),
    "empty file": (file("notes", b""), "known format"),
    "two data sets": (both_cifar, "2 formats"),
    "batch missing": (four_cifar_batches, "lacks data_batch_3.bin"),
    "folder instead of file": (folders_for_files, "cannot be opened"),
    "idx file missing": (mnist("t10k-labels-idx1-ubyte", lambda _: None), "lacks t10k-labels-idx1-ubyte"),
    "idx without labels": (mnist(LABELS, lambda _: None, IMAGES), "no labels beside it"),
    "idx truncated": (mnist(IMAGES, lambda data: data[:-1]), "truncated"),
    "idx header truncated": (mnist(IMAGES, lambda data: data[:9]), "truncated"),
    "idx too long": (mnist(IMAGES, lambda data: data + b"\0"), "too long"),
    "idx empty file": (mnist(IMAGES, lambda _: b""), "is empty"),
    "idx no images": (mnist(IMAGES, lambda _: idx(pixels(0, 5, 6))), "is empty"),
    "idx wrong magic": (mnist(IMAGES, lambda data: b"\0\0\x0d\x03" + data[4:]), "magic number 00 00 08 03"),
    "idx labels for images": (mnist(IMAGES, lambda data: data, LABELS), "magic number 00 00 08 03"),
    "idx labels truncated": (mnist(LABELS, lambda data: data[:-1]), LABELS),
    "idx counts differ": (mnist(LABELS, lambda _: idx(labels(6))), "7 images but"),
    "idx shapes differ": (two_shapes, "should agree"),
    "gzip broken": (mnist(IMAGES, lambda data: gzip.compress(data)[:-12], IMAGES), "broken gzip"),
    "gzip by name, otherwise labels": (mnist(LABELS, lambda _: b"plain"), "magic number 00 00 08 01"),
    "bzip2": (file("train-images-idx3-ubyte.bz2", lambda: bz2.compress(idx(pixels(4, 2, 2)))), "unpack"),
    "xz": (file("a.npz.xz", lambda: lzma.compress(_savez(x=pixels(2, 2), y=labels(2)))), "unpack"),
    "tar": (file("cifar-10-python.tar.gz", lambda: _tar(b"some text")), "unpack"),
    "no file": (device, "neither a file nor a folder"),
    "gzip by name only": (file("train-images-idx3-ubyte.gz", b"plain"), "broken gzip"),
    "npz not a zip": (file("a.npz", b"plain"), "not a .npz"),
    "npz truncated": (file("a.npz", lambda: _savez(x=pixels(9, 9), y=labels(9))[:-30]), "not a .npz"),
    "npz corrupt": (file("a.npz", lambda: _damaged(_savez(x=pixels(9, 99), y=labels(9)))), "broken"),
    "npz pickled": (npz(x=np.array([{}, []], object), y=labels(2)), "pickled"),
    "npz names": (npz(images=pixels(2, 2), y=labels(2)), "['images', 'y']"),
    "npz half a split": (npz(x_train=pixels(2, 2), y_train=labels(2)), "['x_train', 'y_train']"),
    "npz of text": (plain_zip, "has x of type"),
    "npz integers": (npz(x=np.ones((2, 2), int), y=labels(2)), "int64"),
    "npz vector": (npz(x=pixels(2), y=labels(2)), "shape (2,)"),
    "npz empty": (npz(x=pixels(0, 3), y=labels(0)), "empty"),
    "npz zip of others": (file("a.zip", lambda: _zip("photo.png")), "['photo.png']"),
    "npz complex": (npz(x=np.ones((2, 2), complex), y=labels(2)), "complex128"),
    "npz booleans": (npz(x=np.ones((2, 2), bool), y=labels(2)), "of type bool"),
    "npz wide integers": (npz(x=pixels(2, 2).astype(">u2"), y=labels(2)), "no range that is known"),
    "npz structured": (npz(x=np.zeros((2, 2), [("a", "f4")]), y=labels(2)), "it should be uint8"),
    "npz number": (npz(x=np.float32(1), y=labels(1)), "shape ()"),
    "npz without columns": (npz(x=np.ones((2, 0)), y=labels(2)), "empty x"),
    "npz beyond double": (npz(x=np.full((2, 2), np.longdouble("1e4000")), y=labels(2)), "beyond the range"),
    "npz bytes and floats": (
        npz(x_train=pixels(2, 2), y_train=labels(2), x_test=np.ones((2, 2)), y_test=labels(2)),
        "x_train of type uint8 but x_test of type float64",
    ),
    "npz float labels": (
        npz(x=pixels(2, 2), y=np.array([-1.0, 1.0])),
        "has y of type float64 (-1.0, 1.0); labels are integers that count the classes from 0",
    ),
    "npz boolean labels": (npz(x=pixels(2, 2), y=np.array([False, True])), "bool (False, True); labels are"),
    "npz text labels": (npz(x=pixels(2, 2), y=np.array(["0", "1"])), "count the classes from 0"),
    "npz one label": (npz(x=pixels(2, 2), y=np.int64(1)), "one label an image"),
    "npz one-hot labels": (npz(x=pixels(2, 2), y=np.eye(2, dtype=int)), "one label an image"),
    "npz counts differ": (npz(x=pixels(2, 2), y=labels(3)), "2 images in x but 3 labels"),
    "npz negative labels": (npz(x=pixels(2, 2), y=np.array([-1, 1])), "from -1 to 1"),
    "npz huge labels": (npz(x=pixels(2, 2), y=np.array([0, 10**12])), "to 1000000000000"),
    "npz nan": (npz(x=np.array([[0.0, np.nan]]), y=labels(1)), "NaN or infinite"),
    "npz infinite": (npz(x=np.array([[0.0, np.inf]]), y=labels(1)), "NaN or infinite"),
    "npz shapes differ": (
        npz(x_train=pixels(2, 2), y_train=labels(2), x_test=pixels(2, 3), y_test=labels(2)),
        "should agree",
    ),
    "cifar binary truncated": (file("a.bin", b"\1" * 3072), "truncated"),
    "cifar binary empty": (file("a.bin", b""), "is empty"),
    "cifar binary label": (file("a.bin", b"\x0a" * 3073), "outside 0 .. 9"),
    "cifar pickle truncated": (
        file("test_batch", lambda: pickle.dumps({"data": ROWS})[:-9]),
        "broken pickle",
    ),
    "cifar pickle garbage": (file("test_batch", b"garbage"), "broken pickle"),
    "cifar pickle empty": (file("test_batch", b""), "broken pickle"),
    "cifar not a dict": (pickled([1, 2]), "holds a list"),
    "cifar no data": (pickled({"labels": [1, 2]}), "'data'"),
    "cifar data type": (pickled({"data": ROWS.astype(np.int32), "labels": [1, 2]}), "'data'"),
    "cifar data shape": (pickled({"data": ROWS[:, :-1], "labels": [1, 2]}), "'data'"),
    "cifar no images": (pickled({"data": ROWS[:0], "labels": []}, 4), "is empty"),
    "cifar no labels": (pickled({"data": ROWS}), "'labels'"),
    "cifar labels type": (pickled({"data": ROWS, "labels": [1.0, 2.0]}), "'labels'"),
    "cifar counts differ": (pickled({"data": ROWS, "labels": [1]}), "2 images but 1 labels"),
    "cifar label": (pickled({"data": ROWS, "labels": [1, 10**30]}), "outside 0 .. 9"),
    "pickle os.system": (pickled(Runs(os.system, "exit")), "system'"),
    "pickle eval": (pickled(Runs(builtins.eval, "1"), 4), "'builtins.eval'"),
    "pickle eval, protocol 2": (pickled(Runs(builtins.eval, "1")), "'__builtin__.eval'"),
    "pickle class": (pickled({"data": Owned()}), "Owned'"),
    "pickle class itself": (pickled(Owned, 4), "Owned'"),
    "pickle OrderedDict": (pickled(OrderedDict(data=ROWS)), "OrderedDict'"),
    "pickle inside data": (pickled({"data": ROWS, "labels": [Runs(os.system, "exit")]}, 5), "system'"),
    "pickle objects": (pickled({"data": np.array([1, "a"], object)}), "dtype O8"),
    "pickle numpy scalar": (pickled({"data": ROWS, "labels": [np.int64(1)]}), "multiarray.scalar"),
    "pickle codec": (
        file("test_batch", b"\x80\x02c_codecs\nencode\n(X\1\0\0\0aX\4\0\0\0zliptR."),
        "encoding zlip",
    ),
    "pickle attribute of an array": (
        file("test_batch", b"\x80\x04\x8c\x05numpy\x8c\x0bndarray.dot\x93."),
        "ndarray.dot",
    ),
    "mat broken": (file("a.mat", b"garbage"), "MATLAB"),
    "mat truncated": (
        file("a.mat", lambda: _savemat(X=pixels(32, 32, 3, 2), y=labels(2, 1))[:-50]),
        "MATLAB",
    ),
    "mat variables": (mat(X=pixels(32, 32, 3, 2)), "lacks the array"),
    "mat shape": (mat(X=pixels(32, 32, 2), y=labels(2, 1)), "shape (32, 32, 2)"),
    "mat type": (mat(X=np.ones((32, 32, 3, 2)), y=labels(2, 1)), "float64"),
    "mat empty": (mat(X=pixels(32, 32, 3, 0), y=labels(0)), "is empty"),
    "mat counts differ": (mat(X=pixels(32, 32, 3, 2), y=labels(3, 1)), "2 images but 3 labels"),
    "mat label": (mat(X=pixels(32, 32, 3, 2), y=np.array([0, 1])), "outside 1 .. 10"),
}


def _savez(**arrays):
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def _zip(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"some bytes")
    return buffer.getvalue()


def _tar(data):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("data_batch_1"), io.BytesIO(data))
    return buffer.getvalue()


def _savemat(**arrays):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, arrays)
    return buffer.getvalue()


def _damaged(data):
    middle = len(data) // 3
    return data[:middle] + bytes(255 - byte for byte in data[middle : middle + 20]) + data[middle + 20 :]


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_sentence(tmp_path, case):
    make, wrong = BAD[case]
    path = make(tmp_path)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is checked below
        read(path)
    message = str(caught.value)
    assert wrong in message
    assert str(path) in message
    assert "\n" not in message
    assert ". " not in message.replace(" .. ", "")


def test_a_refused_pickle_runs_nothing(tmp_path):
    mark = tmp_path / "mark"
    for protocol in range(6):
        path = tmp_path / "data_batch_1"
        path.write_bytes(pickle.dumps({"data": Runs(os.mkdir, str(mark))}, protocol))
        with pytest.raises(ValueError, match="asks for"):
            read(path)
    assert not mark.exists()
