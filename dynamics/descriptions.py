"""Descriptions: what tells one value from another, as JSON that people can read.

A result says what made it, a checkpoint goes on only with the run that began it, and a compiled program
serves only what it was made of; all of them go by descriptions, which are the same in every process:

- an array is its kind, shape and entries, or their checksum where they are many; a random key its numbers;
- functions and classes of Python, JAX, its libraries and this one are their names;
- any other function is its code (constants and names in it, not where it stands), its defaults, what it
  closes over, and what it wraps or is bound to; any other class is the code of its methods;
- an object is its class and its state.

What is left are globals that a function reads, and the versions of libraries. An object without a state to
look at (a lock, an open file) is `{"opaque": its class}`: two of them cannot be told apart.
"""

import copyreg
import dataclasses
import functools
import hashlib
import json
import math
import sys
import types
import weakref
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

LIBRARIES = sys.stdlib_module_names | {"jax", "jaxlib", "optax", "flax", "numpy", "scipy"}
LIBRARIES |= {"dynamics", "kernels"}
MOST_ENTRIES = 64  # of an array whose entries are listed
MOST_LEVELS = 60  # of nesting; what is deeper is opaque

# the key by which a description that is a mapping says what it is of; other mappings do not have any
_KINDS = {"part", "class", "function", "partial", "array", "key", "number", "dict", "set", "module"}
_KINDS |= {"above", "again", "opaque"}
# what an object's description may have beside its attributes
_BESIDE = {"part", "code", "value", "made", "arguments", "state", "items", "pairs", "wraps", "opaque"}
_BUILTINS = (int, float, complex, str, bytes, bytearray, tuple, list, set, frozenset, dict)
# what classes and functions have beside what they do
_BOOKKEEPING = {
    *("__dict__", "__weakref__", "__doc__", "__module__", "__name__", "__qualname__", "__annotations__"),
    *("__annotate__", "__annotate_func__", "__annotations_cache__", "__type_params__", "__parameters__"),
    *("__dataclass_fields__", "__dataclass_params__", "__match_args__", "__abstractmethods__", "_abc_impl"),
    *("__orig_bases__", "__static_attributes__", "__firstlineno__", "__slots__", "__slotnames__"),
    *("__wrapped__", "__signature__", "_fun", "_jit_info"),
}


def describe(value: Any) -> Any:
    """A JSON-ready account of a value, for provenance and to tell two runs apart; it raises nothing."""
    return _Describer().describe(value)


def checksum(description: Any) -> str:
    """A description in 16 digits."""
    return _digest(json.dumps(description, sort_keys=True).encode())


def opaque(description: Any, path: str = "") -> tuple[str, str] | None:
    """Where a description has something that cannot be told apart, and its class; None: nowhere."""
    if isinstance(description, dict) and "opaque" in description:
        return path, description["opaque"]
    inner = description.items() if isinstance(description, dict) else enumerate(description)
    for name, value in inner:
        where = f"{path}.{name}" if path else str(name)
        if isinstance(value, dict | list) and (found := opaque(value, where)) is not None:
            return found
    return None


class _Describer:
    """One description under way.

    Attributes:
      above: what the present value is inside of.
      callables: those met so far; the first mention has all about them.
      classes: checksums of their code, "" while they are looked at.
    """

    def __init__(self, classes: dict[type, str] | None = None):
        self.above: list[Any] = []
        self.callables: list[Any] = []
        self.classes = {} if classes is None else classes

    def describe(self, value):
        if value is None or type(value) in (bool, int, str):
            return value
        if type(value) in (float, np.float64):
            return float(value) if math.isfinite(value) else {"number": str(float(value))}
        for levels, each in enumerate(reversed(self.above), 1):
            if each is value:
                return {"above": levels}
        if len(self.above) >= MOST_LEVELS:
            return {"opaque": _name(type(value))}
        self.above.append(value)
        try:
            return self._compound(value)
        except Exception:  # whatever an object's attributes raise
            return {"opaque": _name(type(value))}
        finally:
            self.above.pop()

    def _compound(self, value):
        kind = type(value)
        if kind in (tuple, list):
            return [self.describe(item) for item in value]
        if kind is dict:
            return self._dict(value)
        if kind in (set, frozenset):
            return {"set": self._in_order(value)}
        if kind in (bytes, bytearray, complex):
            text = repr(value)
            return {"part": kind.__name__, "value": text if len(text) <= 100 else _digest(text.encode())}
        if isinstance(value, jax.Array | np.generic) or kind is np.ndarray:
            return self._array(value)
        if isinstance(value, types.ModuleType):
            return {"module": value.__name__}
        if (name := _public(value)) is not None:
            return {"class" if isinstance(value, type) else "function": name}
        if isinstance(value, type):
            return self._class(value)
        if callable(value) and not dataclasses.is_dataclass(value):
            for number, known in enumerate(self.callables):
                if known is value:
                    return {"again": number}
            self.callables.append(value)
        return self._callable(value) or self._object(value)

    def _dict(self, value):
        if all(type(key) is str and key not in _KINDS for key in value):
            return {key: self.describe(item) for key, item in value.items()}
        return {"dict": self._in_order(value.items())}

    def _in_order(self, items: Iterable[Any]):
        return sorted(map(self.describe, items), key=lambda item: json.dumps(item, sort_keys=True))

    def _array(self, value):
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            words = self.describe(jax.random.key_data(value))
            return {"key": str(jax.random.key_impl(value)), "value": words}
        array = np.asarray(value)
        if array.ndim == 0 and array.dtype in (np.float64, jax.dtypes.canonicalize_dtype(float)):
            return self.describe(float(array))  # the engine takes it as it takes a float
        about = {"array": f"{array.dtype}{list(array.shape)}"}
        if array.dtype.hasobject:
            return about | {"entries": self.describe(array.ravel().tolist())}
        plain = array.dtype.kind in "biuf" and array.dtype.itemsize <= 8
        if plain and array.size <= MOST_ENTRIES and np.isfinite(array).all():
            return about | {"entries": array.tolist()}
        return about | {"checksum": _digest(np.ascontiguousarray(array).tobytes())}

    def _callable(self, value):
        """A function, or what Python makes of one; None for anything else."""
        if isinstance(value, types.FunctionType):
            return self._function(value)
        if type(value) is functools.partial:
            made = {"arguments": self.describe(value.args), "keywords": self.describe(value.keywords)}
            return {"partial": self.describe(value.func)} | made | self._extras(value)
        if isinstance(value, weakref.ReferenceType):  # wrappers that check types hold themselves like this
            return {"part": "weakref.ReferenceType", "value": self.describe(value())}
        if isinstance(value, types.MethodType):
            return self.describe(value.__func__) | {"self": self.describe(value.__self__)}
        if isinstance(value, types.BuiltinFunctionType | types.MethodWrapperType):
            return {"function": value.__qualname__, "self": self.describe(value.__self__)}
        if isinstance(value, property):
            return {"function": "property", "wraps": self.describe([value.fget, value.fset, value.fdel])}
        if isinstance(value, classmethod | staticmethod | functools.cached_property):
            function = value.func if isinstance(value, functools.cached_property) else value.__func__
            return {"function": type(value).__name__, "wraps": self.describe(function)}
        if isinstance(value, types.MemberDescriptorType | types.GetSetDescriptorType):
            return {"function": value.__qualname__}
        return None

    def _function(self, function):
        module, name = function.__globals__.get("__name__", "?"), function.__code__.co_qualname
        about: dict[str, Any] = {"function": f"{module}.{name}"}
        if _is_library(module) and "<" not in name:
            return about
        about["code"] = _digest(repr(_plain(function.__code__)).encode())
        if function.__defaults__:
            about["defaults"] = self.describe(function.__defaults__)
        if function.__kwdefaults__:
            about["keywords"] = self.describe(function.__kwdefaults__)
        if function.__closure__:
            cells = zip(function.__code__.co_freevars, function.__closure__, strict=True)
            about["holds"] = {name: self._cell(cell) for name, cell in cells}
        return about | self._extras(function)

    def _extras(self, function):
        """Attributes of a function, and what it wraps."""
        extras = self._state(vars(function))
        wraps = {"wraps": extras.pop("wraps")} if "wraps" in extras else {}
        return wraps | ({"attributes": extras} if extras else {})

    def _cell(self, cell):
        try:
            return self.describe(cell.cell_contents)
        except ValueError:  # not filled yet
            return {"value": "empty"}

    def _class(self, cls):
        """A class by name and, unless it is a library's, by the checksum of what it and its bases define."""
        about = {"class": _name(cls)}
        if _public(cls) is not None:
            return about
        if cls not in self.classes:
            self.classes[cls] = ""
            inner = _Describer(self.classes)
            body = {name: item for name, item in vars(cls).items() if name not in _BOOKKEEPING}
            described = [[name, inner.describe(body[name])] for name in sorted(body)]
            self.classes[cls] = checksum([described, [inner._class(base) for base in cls.__mro__[1:]]])
        return about | {"code": self.classes[cls]}

    def _object(self, value):
        cls = type(value)
        about = self._class(cls)
        about = {"part": about.pop("class")} | about
        if dataclasses.is_dataclass(value):
            return about | self._state(_fields(value))
        if isinstance(value, tuple) and hasattr(cls, "_fields"):
            return about | self._state(dict(zip(cls._fields, value, strict=True)))
        base = next((base for base in _BUILTINS if isinstance(value, base)), None)
        if base is not None:
            about["value"] = self.describe(base(value))
        elif not hasattr(value, "__wrapped__") and (_pickled_by_library(cls) or not _has_attributes(cls)):
            about |= self._pickled(value)
            if _public(cls) is not None:
                return about
        return about | self._state(_attributes(value))

    def _pickled(self, value):
        """What pickling would keep: of a library's object all that there is to know.

        Raises: TypeError: it cannot be pickled.
        """
        made = copyreg.dispatch_table.get(type(value), lambda value: value.__reduce_ex__(4))(value)
        if isinstance(made, str):
            raise TypeError(f"{made} is pickled by name, but no library has it")
        kept = dict(zip(("made", "arguments", "state", "items", "pairs"), made, strict=False))
        kept |= {name: list(kept[name]) for name in ("items", "pairs") if kept.get(name) is not None}
        if made[:2] == (copyreg.__newobj__, (type(value),)):  # in the usual way
            del kept["made"], kept["arguments"]
            if type(kept["state"]) is dict:
                return self._state(kept["state"])
        return {name: self.describe(item) for name, item in kept.items() if item is not None}

    def _state(self, state: Mapping[str, Any]):
        """Attributes, and what a wrapper wraps."""
        own = {name: item for name, item in state.items() if name not in _BOOKKEEPING}
        about = {f".{name}" if name in _BESIDE else name: self.describe(item) for name, item in own.items()}
        return about | ({"wraps": self.describe(state["__wrapped__"])} if "__wrapped__" in state else {})


def _is_library(module: str) -> bool:
    return module.partition(".")[0] in LIBRARIES


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _public(value: Any) -> str | None:
    """The name under which a library has `value`; None if none has."""
    module = getattr(value, "__module__", None) or type(value).__module__  # NumPy's ufuncs have none
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not _is_library(module):
        return None
    found: Any = sys.modules.get(module)
    for word in name.split("."):
        found = getattr(found, word, None)
    return f"{module}.{name}" if found is value else None


def _fields(value: Any) -> dict[str, Any]:
    """Fields of a dataclass, and attributes that it has besides."""
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if hasattr(value, f.name)}
    if any(cls.__module__ == "flax.linen.module" for cls in type(value).__mro__):
        # linen keeps books of its own there
        return {n: v for n, v in fields.items() if n != "parent" and (n, v) != ("name", None)}
    return fields | {n: v for n, v in _attributes(value).items() if n not in fields}


def _attributes(value: Any) -> dict[str, Any]:
    """Attributes in slots and `__dict__`, but for those that are computed from others when asked for."""
    cls = type(value)
    slots = [name for base in cls.__mro__ for name in np.atleast_1d(vars(base).get("__slots__", ())).tolist()]
    found = {name: getattr(value, name) for name in slots if name[:2] != "__" and hasattr(value, name)}
    found |= getattr(value, "__dict__", {})
    return {
        n: v for n, v in found.items() if not isinstance(getattr(cls, n, None), functools.cached_property)
    }


def _has_attributes(cls: type) -> bool:
    return cls.__dictoffset__ != 0 or any("__slots__" in vars(base) for base in cls.__mro__)


def _pickled_by_library(cls: type) -> bool:
    """Whether it is a library's class, or base of the class, that says how its objects are pickled."""
    for base in cls.__mro__:
        if base in copyreg.dispatch_table or not {"__reduce__", "__reduce_ex__"}.isdisjoint(vars(base)):
            return (_public(cls) if base is object else _public(base)) is not None
    return False


def _plain(code: Any) -> Any:
    """Code, or a constant in it, as what has the same `repr` in every process."""
    if isinstance(code, types.CodeType):
        counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        return (code.co_code, code.co_exceptiontable, counts, names, [_plain(c) for c in code.co_consts])
    if isinstance(code, tuple):
        return [_plain(item) for item in code]
    if isinstance(code, frozenset):
        return "set", sorted(repr(_plain(item)) for item in code)
    return code


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
