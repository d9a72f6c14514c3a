"""What is set before JAX starts: virtual CPU devices, and a cache of compiled programs between processes.

XLA compiles for seconds what then runs for milliseconds. Compiled programs are therefore kept in

    $XDG_CACHE_HOME or ~/.cache  /  training-dynamics-lab  /  jax-<this kind of machine>

`DYNAMICS_CACHE=off` turns that off, `DYNAMICS_CACHE=FOLDER` puts it elsewhere, and who has told JAX of a
cache of their own keeps that one. A program from the cache is the program that was compiled: the same
numbers, bit for bit.
"""

import contextlib
import functools
import hashlib
import os
import platform
import re
import signal
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

from dynamics import asides

CACHE_BYTES = 2**30
MIN_COMPILE_SECONDS = 0.1  # below that, reading a program takes about as long as compiling it
SETTLED_SECONDS = 10  # a younger file may still be being written

MOST_MAPS = 20_000
LOOK_SECONDS = 10

# what JAX and a small run take of addresses: seen are 1.68 GiB on one core and 1.87 GiB on two
ADDRESSES, ADDRESSES_A_CORE = int(1.5 * 2**30), int(0.2 * 2**30)
TRIAL_SECONDS = 30  # a trial that takes longer says nothing

_looked = 0.0
_started = False
_turned_off = False
_warned: set[str] = set()


def prepare(cpu_devices: int | None = None, cache: str | os.PathLike | None = None) -> None:
    """Set JAX up for this library; call it first thing in a notebook or script.

    Args:
      cpu_devices: virtual CPU devices, which runs are spread over; None: one a core, unless JAX's own setting
        says otherwise. A number in `XLA_FLAGS` wins over both.
      cache: folder to keep compiled programs in, or "off"; None: as `DYNAMICS_CACHE` says,
        by default `~/.cache/training-dynamics-lab`.

    Raises:
      ValueError: a number of devices below 1.
      RuntimeError: JAX has started computing, so that the number of devices is settled; if none was asked
        for, that is a warning.
    """
    use_cache(cache)
    if set_devices(cpu_devices):
        return
    sentence = (
        "the number of CPU devices cannot be set any more, because JAX has started: "
        "call dynamics.prepare() before anything is computed"
    )
    if cpu_devices is not None:
        raise RuntimeError(sentence)
    asides.warn(sentence, stacklevel=2)


def set_devices(cpu_devices: int | None = None) -> bool:
    """Set the number of virtual CPU devices; returns False if it is settled, and another.

    Raises: ValueError: a number below 1.
    """
    import jax

    given = cpu_devices is not None
    if given and (isinstance(cpu_devices, bool) or not isinstance(cpu_devices, int) or cpu_devices < 1):
        raise ValueError(f"cpu_devices must be an integer of at least 1, got {cpu_devices!r}")
    if "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", ""):
        return True
    wanted = cpu_devices if given else num_cores()
    present = jax.config.jax_num_cpu_devices
    if present == wanted or (present > 0 and not given):
        return True
    try:
        jax.config.update("jax_num_cpu_devices", wanted)
    except RuntimeError:
        return False
    return True


def start() -> None:
    """Let JAX find its devices, unless it has.

    Raises:
      ValueError: the environment keeps it from that (`JAX_PLATFORMS`, `XLA_FLAGS`): what JAX says of it.
      MemoryError: as `check_address_space`.
    """
    global _started
    if _started:
        return
    check_address_space()
    import jax

    _try_flags()
    try:
        jax.devices()
    except Exception as error:  # JAX raises many kinds
        names = ("JAX_PLATFORMS", "JAX_PLATFORM_NAME", "XLA_FLAGS", "JAX_NUM_CPU_DEVICES")
        given = ", ".join(f"{name}={os.environ[name]}" for name in names if os.environ.get(name))
        where = f" with {given}" if given else ""
        why = str(error) or "there is no such device, or the package that drives it is not installed"
        raise ValueError(f"JAX does not start{where}: {why}") from None
    _started = True


def check_address_space() -> None:
    """Refuse a limit of this process's address space (`ulimit -v`) in which JAX would abort, or hang.

    Raises: MemoryError: says how much JAX needs here before the first run.
    """
    limit, needed = address_space(), ADDRESSES + ADDRESSES_A_CORE * num_cores()
    if limit is not None and limit < needed:
        raise MemoryError(
            f"this process may take {limit / 2**30:.2f} GiB of addresses (`ulimit -v`), and JAX needs "
            f"{needed / 2**30:.2f} GiB on {num_cores()} cores before anything is computed"
        )


def address_space() -> int | None:
    """Bytes of addresses that this process may take in all; None: without limit."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return None if limit == resource.RLIM_INFINITY else limit


def _try_flags() -> None:
    """Let a child read `XLA_FLAGS` first: XLA ends its process at a flag that it does not know.

    Raises: ValueError: it does; with its words.
    """
    given = os.environ.get("XLA_FLAGS", "")
    if (count := re.search(r"xla_force_host_platform_device_count=(-?\d+)", given)) and int(count[1]) < 1:
        raise ValueError(f"XLA_FLAGS={given} asks for {count[1]} CPU devices; it must be at least 1")
    if not given or sys.platform != "linux":
        return
    import jax

    with tempfile.TemporaryFile() as said:
        with warnings.catch_warnings(action="ignore"):  # of threads, which the child has no need of
            child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                os.dup2(said.fileno(), 2)
                signal.alarm(TRIAL_SECONDS)
                jax.config.update("jax_platforms", "cpu")  # no accelerator is taken for a trial
                jax.devices()
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        said.seek(0)
        lines = said.read().decode(errors="replace").strip().splitlines()
    if status not in (0, signal.SIGALRM):
        words = lines[0].rpartition("] ")[2] if lines else "no reason is given"
        raise ValueError(f"JAX does not start with XLA_FLAGS={given}: {words}")


@contextlib.contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Keep OpenBLAS to one thread: LAPACK calls on a CPU go through it.

    For small matrices its other threads have nothing to do, but wait for more by counting, which takes
    a core for some 40 ms after every call: half the machine, on two cores.
    """
    with _blas().limit(limits=1, user_api="blas"):
        yield


@functools.cache  # looking for libraries takes longer than limiting them
def _blas():
    import scipy.linalg  # noqa: F401  (loads the library that JAX calls)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def num_cores() -> int:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(len(os.sched_getaffinity(0)), 1)
    return os.cpu_count() or 1


def use_cache(folder: str | os.PathLike | None = None) -> Path | None:
    """Turn the cache of compiled programs on, unless it is on already; returns its folder, None if off.

    A folder that cannot be written to stops nothing: there is then no cache, with one warning if the
    folder was asked for by name.
    """
    global _turned_off
    asked = os.environ.get("DYNAMICS_CACHE") if folder is None else os.fspath(folder)
    if asked is not None and asked.lower() == "off":
        _turned_off = _turned_off or folder is not None
        return None
    import jax

    if (_turned_off and folder is None) or not jax.config.jax_enable_compilation_cache:
        return None
    if jax.config.jax_compilation_cache_dir:
        return Path(jax.config.jax_compilation_cache_dir)
    try:
        place = cache_place(asked)
        place.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=place).close()
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        if asked and asked not in _warned:
            _warned.add(asked)
            reason = getattr(error, "strerror", None) or error
            asides.warn(
                f"compiled programs are not kept, as {asked} cannot be written to ({reason})", stacklevel=2
            )
        return None
    with contextlib.suppress(OSError):  # another process may clean up at the same time
        clean(place)
    _hush_loader(jax)
    # an entry that a kill left truncated is compiled anew, and removed at the next start
    warnings.filterwarnings("ignore", message="Error reading persistent compilation cache entry")
    if jax.config.jax_persistent_cache_min_compile_time_secs == 1.0:  # JAX's default
        jax.config.update("jax_persistent_cache_min_compile_time_secs", MIN_COMPILE_SECONDS)
    jax.config.update("jax_compilation_cache_dir", str(place))
    return place


def cache_place(asked: str | None = None) -> Path:
    """The cache's folder on this kind of machine, in `asked` or in the user's cache folder.

    Raises: RuntimeError: the user has no home.
    """
    if asked:
        base = Path(asked).expanduser().absolute()
    else:
        xdg = os.environ.get("XDG_CACHE_HOME", "")
        base = (Path(xdg) if os.path.isabs(xdg) else Path.home() / ".cache") / "training-dynamics-lab"
    return base / f"jax-{machine()}"


def machine() -> str:
    """Tells CPUs apart on which compiled code may differ: a hash of architecture, model and instructions."""
    about = [platform.system(), platform.machine(), platform.processor()]
    telling = ("vendor_id", "model name", "flags", "Features", "CPU implementer", "CPU part")
    with contextlib.suppress(OSError):
        seen = set()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name = line.split(":")[0].strip()
            if name in telling and name not in seen:
                seen.add(name)
                about.append(line)
    return hashlib.sha256("\n".join(about).encode()).hexdigest()[:12]


def let_programs_go() -> None:
    """Let compiled programs go before a long session has too many of them.

    Each is made of memory maps, of which Linux gives a process 65,530; LLVM crashes beyond. What is used
    again comes from the cache. Looks every ten seconds at most.
    """
    global _looked
    if time.monotonic() < _looked + LOOK_SECONDS:
        return
    _looked = time.monotonic()
    with contextlib.suppress(OSError):
        if Path("/proc/self/maps").read_bytes().count(b"\n") > MOST_MAPS:
            import jax

            jax.clear_caches()


def for_once() -> dict[str, int] | None:
    """Options to compile what runs once by: on a CPU, where that is most of its cost, with less effort."""
    import jax

    level = "xla_backend_optimization_level"
    if jax.default_backend() != "cpu" or level in os.environ.get("XLA_FLAGS", ""):
        return None
    return {level: 1}


@functools.cache
def cpu_name() -> str:
    """The CPU's model, as the system names it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def clean(place: Path, limit: int = CACHE_BYTES) -> None:
    """Remove truncated entries, each looked at once, and the longest unused beyond `limit` bytes.

    JAX bounds a cache only with the package filelock, and never replaces an entry that it cannot read.
    """
    stamp, settled = place / ".checked", time.time() - SETTLED_SECONDS
    checked = stamp.stat().st_mtime if stamp.exists() else 0.0
    entries = []
    for path in place.glob("*-cache"):
        about = path.stat()
        if checked <= about.st_mtime < settled:
            if not _is_whole(path):
                path.unlink(missing_ok=True)
                continue
            os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))  # looking at it is not using it
        entries.append((max(about.st_atime, about.st_mtime), about.st_size, path))
    stamp.touch()
    os.utime(stamp, (settled, settled))
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit:
            break
        path.unlink(missing_ok=True)
        total -= size


def _is_whole(path: Path) -> bool:
    data = path.read_bytes()
    if data[:4] == b"\x28\xb5\x2f\xfd":  # zstd, which JAX takes where there is one, notices by itself
        return True
    stream = zlib.decompressobj()
    try:
        stream.decompress(data)
    except zlib.error:
        return False
    return stream.eof


def _hush_loader(jax) -> None:
    """Keep XLA from calling every program it reads a misfit of 3,000 letters.

    Its loader takes two tuning preferences for instructions that this machine lacks (jax-ml/jax 38445).
    Setting the level and taking it back leaves Python's logging as it was and the loader silent. Whoever
    has asked for messages gets them.
    """
    before = jax.config.jax_logging_level
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1" and before in (None, "NOTSET"):
        jax.config.update("jax_logging_level", "CRITICAL")
        jax.config.update("jax_logging_level", before)
