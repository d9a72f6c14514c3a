"""How much memory runs will take, estimated before anything is compiled, and how much there is."""

import contextlib
import ctypes
import functools
import os
import resource
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jaxtyping import PyTree

from dynamics import startup

SHARE = 0.8  # of what is free, when the user sets no limit
GIB = 2**30


class Need(NamedTuple):
    """What one run takes, in bytes.

    Attributes:
      held: for as long as its chunk is worked on: data, inner products, state.
      work: while a program runs it.
      batched: while a program runs it beside others, where XLA keeps more of what it draws.
      kept: of results on the host, until the end.
    """

    held: int
    work: int
    batched: int
    kept: int


def size_of(tree: PyTree) -> int:
    """Bytes of arrays, or of their shapes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def resident() -> int:
    """Bytes this process holds now."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return peak()


def settled() -> int:
    """Bytes this process holds once what it has freed is the system's again (glibc keeps it for later)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
    return resident()


@functools.cache
def at_first() -> int:
    """Bytes this process held when it first asked."""
    return settled()


def peak() -> int:
    """The most bytes this process has held.

    `getrusage` would also count what its parent held when it forked.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        found = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return found if sys.platform == "darwin" else found * 1024


def available(device: Any) -> int:
    """Bytes that `device` can still give; for a CPU, the host's, or what its control group leaves."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    found = [_meminfo(), _cgroup(), _addresses()]
    known = [bytes_ for bytes_ in found if bytes_ is not None]
    return min(known) if known else 4 * GIB


def _meminfo() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        pages = os.sysconf_names.get("SC_PHYS_PAGES")
        return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE") // 2 if pages else None


def _cgroup() -> int | None:
    try:
        group = Path("/sys/fs/cgroup")
        most = (group / "memory.max").read_text().strip()
        return None if most == "max" else int(most) - int((group / "memory.current").read_text())
    except (OSError, ValueError):
        return None


def _addresses() -> int | None:
    """What is left of a limit of this process's addresses (`ulimit -v`), where there is one."""
    limit = startup.address_space()
    try:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
    return None if limit is None else max(limit - taken, 0)


def in_words(count: int) -> str:
    """Bytes as people say them: "9.1 GiB"."""
    if count < 2**20:
        return f"{count:,} bytes"
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / 2**20:.0f} MiB"
