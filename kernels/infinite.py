"""Kernels of any infinitely wide architecture, by neural-tangents: convolutions, pooling, attention, ...

    nt = infinite.load()
    net = nt.stax.serial(nt.stax.Conv(1, (3, 3)), nt.stax.Relu(), nt.stax.Flatten(), nt.stax.Dense(1))
    kernel = infinite.kernel(net)
    kernel(images).ntk

neural-tangents 0.5.0 and 0.6.5 look up names that JAX has since moved or dropped. `load` lends JAX the
missing ones while the import runs, takes them back, and gives neural-tangents' modules stand-ins for what
they look up later: the rest of JAX is unchanged, and TensorFlow, which 0.6.5 asks for, is never imported.
"""

import contextlib
import importlib
import math
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core as extended

from kernels.closed_form import Kernels
from kernels.products import full_precision

TESTED = ("0.5.0", "0.6.5")
_NAME = "neural_tangents"
_LOCK = threading.RLock()


def load() -> types.ModuleType:
    """The neural_tangents module, ready for current JAX.

    `stax`, `predict`, `batch`, `monte_carlo_kernel_fn`, `linearize`, `taylor_expand` and empirical kernels
    (implementations 1 and 2) work.

    Raises: ImportError: it is not installed, or is of a version that cannot be loaded on this JAX; nothing
      else in this package needs it.
    """
    with _LOCK:
        if _NAME in sys.modules and hasattr(sys.modules[_NAME], "stax"):
            return sys.modules[_NAME]
        _forget()  # what a failed plain import left behind
        try:
            with contextlib.ExitStack() as loans:
                for module, names in _missing().items():
                    loans.enter_context(_lent(module, names))
                # of 0.6.5 only, and nothing but TensorFlow's
                sys.modules[f"{_NAME}.experimental"] = types.ModuleType(f"{_NAME}.experimental")
                found = importlib.import_module(_NAME)
                _adapt()
        except ModuleNotFoundError as error:
            _forget()
            if error.name == _NAME:
                raise ImportError(
                    "neural-tangents is not installed: pip install 'neural-tangents>=0.5.0,<0.6'"
                ) from None
            raise _unloadable(error) from error
        except Exception as error:
            _forget()
            raise _unloadable(error) from error
        except BaseException:
            _forget()
            raise
        return found


def _unloadable(error: Exception) -> ImportError:
    from importlib import metadata

    try:
        version = metadata.version("neural-tangents")
    except metadata.PackageNotFoundError:
        version = "of unknown version"
    return ImportError(
        f"neural-tangents {version} cannot be loaded on JAX {jax.__version__} ({error}); "
        f"releases {' and '.join(TESTED)} are known to load on JAX 0.10 to 0.12"
    )


def kernel(network: tuple | Callable) -> Callable[..., Kernels]:
    """A jitted kernel of a stax network: `kernel(x)` among points, `kernel(x, z)` between them.

    Args:
      network: what `stax.serial` gives, (init, apply, kernel_fn), or that kernel_fn alone.
    """
    function = network[2] if isinstance(network, tuple) else network

    @full_precision
    @jax.jit
    def both(x: Any, z: Any = None) -> Kernels:
        found = function(x, z, ("nngp", "ntk"))
        return Kernels(found.nngp, found.ntk)

    return both


def _missing() -> dict[str, dict[str, Any]]:
    """Names that neural-tangents imports, by the module in which it looks for them."""
    moved = ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var")
    return {
        "jax": {"ShapedArray": jax.core.ShapedArray},
        "jax.random": {"KeyArray": jax.Array},
        "jax.tree_util": {"tree_multimap": jax.tree_util.tree_map},
        # asked "is this array already sharded?": nothing may be an instance of it
        "jax.interpreters.pxla": {"ShardedDeviceArray": type("ShardedDeviceArray", (), {})},
        "jax.core": {name: getattr(extended, name) for name in moved if hasattr(extended, name)},
        "jax.interpreters.ad": {"zeros_like_p": extended.Primitive("zeros_like")},
        "jax.util": {"safe_map": _safe_map, "safe_zip": _safe_zip},
    }


def _safe_map(function, *columns):
    return [function(*row) for row in _safe_zip(*columns)]


def _safe_zip(*columns):
    return list(zip(*map(list, columns), strict=True))


@contextlib.contextmanager
def _lent(name: str, names: dict[str, Any]) -> Iterator[None]:
    """A module, or one that is no more, has the names it lacks while this lasts."""
    try:
        module, gone = importlib.import_module(name), False
    except ModuleNotFoundError:
        module, gone = types.ModuleType(name), True
        sys.modules[name] = module
    lacking = [n for n in names if n not in vars(module)]
    for n in lacking:
        setattr(module, n, names[n])
    try:
        yield
    finally:
        for n in lacking:
            delattr(module, n)
        if gone:
            del sys.modules[name]


def _forget() -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == _NAME]:
        del sys.modules[name]


class _View:
    """A module with some names replaced; the module itself stays as it is."""

    def __init__(self, base, **own):
        self.__dict__.update(own, _base=base)

    def __getattr__(self, name):
        return getattr(self._base, name)


def _adapt() -> None:
    """Replace what neural-tangents' modules look up when they are called."""
    import scipy.linalg

    def module(name):
        return sys.modules[f"{_NAME}._src.{name}"]

    # jax.core.eval_context refuses traced arguments by now
    evaluated = _View(jax, core=_View(jax.core, eval_context=jax.ensure_compile_time_eval))
    module("predict").jax = module("stax.linear").jax = evaluated

    def eigvalsh(a, eigvals=None, **options):  # SciPy renamed the argument
        return scipy.linalg.eigvalsh(a, subset_by_index=eigvals, **options)

    _replace(module("predict"), ("osp", "sp"), _View(scipy, linalg=_View(scipy.linalg, eigvalsh=eigvalsh)))

    # jnp.size and jnp.dtype are asked about shapes
    lenient = _View(jnp, size=lambda x: math.prod(jnp.shape(x)), dtype=lambda x: getattr(x, "dtype", x))
    for name in ("empirical", "utils.utils"):
        _replace(module(name), ("jnp", "np"), lenient)

    # an annotation that is evaluated at every call
    module("monte_carlo").random = _View(jax.random, KeyArray=jax.Array)


def _replace(module, names, value):
    """The first of the names that a module has: releases differ."""
    setattr(module, next(n for n in names if hasattr(module, n)), value)
