"""Pickles of integer arrays and plain containers, read without running anything: CIFAR-10's Python files."""

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np


def load(path: Path, data: bytes) -> Any:
    """What a pickle holds: integer arrays, of a dict as NumPy's own, and plain containers.

    Args: path: of the file whose bytes are given; named in errors.

    Raises: ValueError: it asks for anything else, or is broken.
    """
    try:
        # bytes: the strings of Python 2, which wrote CIFAR-10, have no encoding
        found = _Unpickler(io.BytesIO(data), encoding="bytes").load()
    except _Refused as error:
        raise ValueError(
            f"{path} is a pickle that asks for {error}; only integer arrays and plain containers are admitted"
        ) from None
    except Exception as error:  # a broken pickle can raise anything
        raise ValueError(f"{path} is a broken pickle; download the CIFAR-10 batch again") from error
    if not isinstance(found, dict):
        return found
    return {name: one.array if isinstance(one, _PickledArray) else one for name, one in found.items()}


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


class _Unpickler(pickle.Unpickler):
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
