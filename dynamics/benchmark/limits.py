"""What the machine can do at most: matrix products, copying memory, reading an array that stays in cache."""

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from dynamics.benchmark.serve import serve
from dynamics.startup import num_cores

CACHES = "/sys/devices/system/cpu/cpu0/cache"
ASSUMED_CACHE = 8 * 2**20
SECONDS = 2.0  # for each limit: long enough to find a busy machine idle for a moment


def cache_bytes() -> tuple[int, str]:
    """Size of the last-level cache, and how it is known."""
    units = {"K": 2**10, "M": 2**20}
    sizes = [path.read_text().strip() for path in Path(CACHES).glob("index*/size")]
    found = [int(size[:-1]) * units[size[-1]] for size in sizes if size[-1:] in units]
    return (max(found), "as the system says") if found else (ASSUMED_CACHE, "assumed")


def best_rate(amount: float, work: Callable[[], Any], seconds: float) -> float:
    """`amount` a second, in the fastest call within `seconds`, after a first one that does not count."""
    work()
    fastest, end = math.inf, time.perf_counter() + seconds
    while fastest == math.inf or time.perf_counter() < end:
        begun = time.perf_counter()
        work()
        fastest = min(fastest, time.perf_counter() - begun)
    return amount / fastest


def product_rates(size: int, seconds: float) -> dict[str, float]:
    """float32 flops a second of a square matrix product, by library."""
    import jax
    import jax.numpy as jnp

    rates, flops = {}, 2.0 * size**3
    a = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    b, multiply = jnp.asarray(a), jax.jit(jnp.matmul)
    with jax.default_matmul_precision("highest"):
        rates["jax"] = best_rate(flops, lambda: jax.block_until_ready(multiply(b, b)), seconds)
    if jax.default_backend() != "cpu":
        return rates
    rates["numpy"] = best_rate(flops, lambda: a @ a, seconds)
    try:
        import torch
    except ImportError:
        return rates
    torch.set_num_threads(num_cores())
    c = torch.from_numpy(a)
    rates["torch"] = best_rate(flops, lambda: c @ c, seconds)
    return rates


def copy_bandwidth(num_bytes: int, seconds: float) -> float:
    """Bytes a second of copying a large array, reading and writing both counted, all cores at work."""
    import jax

    if jax.default_backend() != "cpu":
        import jax.numpy as jnp

        x, negate = jnp.ones(num_bytes // 4, jnp.float32), jax.jit(jnp.negative)
        return best_rate(2.0 * num_bytes, lambda: jax.block_until_ready(negate(x)), seconds)
    source, target = np.ones(num_bytes // 4, np.float32), np.zeros(num_bytes // 4, np.float32)
    parts = list(zip(np.array_split(target, num_cores()), np.array_split(source, num_cores()), strict=True))
    with ThreadPoolExecutor(num_cores()) as pool:  # NumPy lets go of the interpreter while it copies
        return best_rate(2.0 * num_bytes, lambda: list(pool.map(lambda p: np.copyto(*p), parts)), seconds)


def cache_bandwidth(num_bytes: int, seconds: float, rounds: int = 40) -> float:
    """Bytes a second of reading an array that stays in cache: the faster of a maximum and a product."""
    side = max(1, math.isqrt(num_bytes // 4))
    matrix = np.ones((side, side), np.float32)
    vector = np.ones(side, np.float32)
    parts = np.array_split(matrix.ravel(), num_cores())

    def maxima(part):
        for _ in range(rounds):
            np.max(part)

    with ThreadPoolExecutor(num_cores()) as pool:
        threads = best_rate(float(rounds * matrix.nbytes), lambda: list(pool.map(maxima, parts)), seconds)
    blas = best_rate(float(rounds * matrix.nbytes), lambda: [matrix @ vector for _ in range(rounds)], seconds)
    return max(threads, blas)


def measure(size: int | None = None, copied: int | None = None, seconds: float = SECONDS) -> dict[str, Any]:
    """The limits of this machine; `size` of the product and bytes `copied` fit the device if not given."""
    import jax

    on_cpu = jax.default_backend() == "cpu"
    cache, known = cache_bytes()
    rates = product_rates(size or (2048 if on_cpu else 8192), seconds)
    fits = min(cache // 4, copied or cache)  # a quarter: other processes use the cache too
    return {
        "matmul_flops_per_s": max(rates.values()),
        "matmul_flops_per_s_by_library": rates,
        "copy_bytes_per_s": copy_bandwidth(copied or (2**28 if on_cpu else 2**31), seconds),
        # the cache of an accelerator is faster than a call to it, so it is not measured
        "cache_bytes_per_s": cache_bandwidth(fits, seconds) if on_cpu else None,
        "cache_bytes": cache if on_cpu else None,
        "cache_bytes_known": known if on_cpu else "not measured",
        "device": f"{jax.devices()[0].device_kind} ({jax.default_backend()})",
    }


class Limits:
    """Measures when asked."""

    def __init__(self, job: dict[str, Any]):
        from dynamics.benchmark.ours import device, single_precision

        single_precision()
        self.about = device()
        self._sizes = job

    def go(self) -> dict[str, Any]:
        """The limits."""
        return measure(**self._sizes)

    def check(self, folder: str) -> dict[str, Any]:
        """Nothing: no network is trained here."""
        return {}


if __name__ == "__main__":
    serve(Limits)
