"""Arrays of NumPy as JAX can take them."""

import jax
import numpy as np


def native(value: np.ndarray | np.generic, name: str = "an array") -> np.ndarray | np.generic:
    """`value` in this machine's byte order, extended precision as double.

    Integers that JAX would cut to 32 bits, so that they wrap around, are floating-point numbers.

    Raises: TypeError: what is no number.
    """
    dtype = value.dtype
    if dtype.kind != "b" and not jax.dtypes.issubdtype(dtype, np.number):
        raise TypeError(f"{name} must hold numbers, got the type {dtype}")
    known = {"f": np.float64, "c": np.complex128}.get(dtype.kind, dtype)
    if dtype.itemsize > np.dtype(known).itemsize or _wraps(value):
        dtype = np.dtype(known if dtype.kind in "fc" else np.float64)
    return value.astype(dtype.newbyteorder("="), copy=False)


def _wraps(value):
    dtype = value.dtype
    if dtype.kind not in "iu" or dtype.itemsize < 8 or jax.config.jax_enable_x64 or not value.size:
        return False
    kept = np.iinfo(np.int32 if dtype.kind == "i" else np.uint32)
    return value.min() < kept.min or value.max() > kept.max
