"""Asks the workers in turns, and makes rows of what they answer."""

import contextlib
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dynamics.benchmark.process import Gone, Process
from dynamics.benchmark.rows import Row
from dynamics.benchmark.settings import Setting

TOLERANCE = 1e-3  # of losses and alignments, against float64
KINDS = ("training", "whole")
OWN = ("-m", "dynamics.benchmark.ours")
REFERENCE = ("-m", "dynamics.benchmark.reference")
LIMITS = ("-m", "dynamics.benchmark.limits")

EXPLAINED = {
    "training": "seconds from initial weights to final weights and recorded numbers, data in memory; of this "
    "library's rows all of a call but the drawing of data, Gram matrices and bookkeeping included. Where the "
    "engine does not say how long it drew, the fastest drawing of the same data that its worker has seen, "
    "all devices at work, is taken off, so that training errs on the long side",
    "first_s": "seconds of a worker's first job, all seeds, compiling included (from no cache, unless "
    "DYNAMICS_CACHE asks for one); starting the process and importing are not in it",
    "whole": "the same with drawing the data: torch.randn for torch, jax.random for JAX",
    "ratio": "median over repeats of the row's time over the reference row's time in the same repeat; above "
    "1 the row is slower",
    "threads": "peers run with one thread and with all cores, and the better median counts",
    "deviation": "largest difference of losses and alignments at all recording times from a float64 NumPy "
    f"run on the same data, relative to the largest value; a row above {TOLERANCE:g} gets no ratio",
    "flops_share": "flops of the algorithm a second over the measured rate of a large float32 product. "
    "direct: 4 n m d a step. gram: 2 n^2 m a step and 2 n^2 d once. A kernel: 2 n^2 d, of which symmetry "
    "spares the half. n inputs (samples times patches), m "
    "neurons, dimension d; activations, recording and everything else count as nothing",
    "bytes_share": "bytes of the algorithm a second over a measured bandwidth. direct: the inputs are read "
    "twice a step, 8 n d. gram: the n x n matrix is read once a step, 4 n^2. The bandwidth is that of the "
    "cache where what is read again and again (of all seeds at work at once) fits the last-"
    "level cache, else that of copying memory. Above 1: part of it stays in a faster cache",
}


@dataclass
class Lane:
    """A row with one number of threads: its worker and what that answered."""

    row: Row
    threads: int
    process: Process
    reason: str = ""
    deviation: float = 0.0
    first: dict[str, Any] = field(default_factory=dict)
    repeats: list[dict[str, Any]] = field(default_factory=list)
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The row's name, with the threads of a peer."""
        return f"{self.row.name} ({self.threads} threads)" if self.row.peer else self.row.name

    @property
    def agrees(self) -> bool:
        """Whether the lane computes what it should, and has done so to the end."""
        return not self.reason and self.deviation <= TOLERANCE

    def median(self, kind: str) -> float:
        """Median seconds."""
        return statistics.median(self.seconds(kind))

    def seconds(self, kind: str) -> list[float]:
        """Seconds of every repeat."""
        return [repeat[f"{kind}_s"] for repeat in self.repeats]


def measure(
    setting: Setting,
    rows: Sequence[Row],
    *,
    seeds: int,
    steps: int,
    repeats: int,
    cores: int,
    against: str = "auto",
    limits: dict[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """All rows of one setting.

    Args:
      cores: threads that a peer may use.
      against: the row that ratios are taken to; the first row if it is not among them.
      limits: of the machine, for the shares.
      say: told what is going on.
    """
    from dynamics.benchmark.reference import deviation

    job = setting.job(seeds, steps)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:

        def start(script, extra):
            process = Process(script, job | extra)
            stack.callback(process.close)
            return process

        say(f"{setting.name}: a float64 run to compare with")
        reference = start(REFERENCE, {})
        try:
            platform = reference.about()["platform"]
            expected = reference.ask(f"check {folder}")
        except Gone as reason:
            return {"name": setting.name, "about": setting.about, "skipped": f"the float64 run {reason}"}
        reference.close()

        extra = {"platform": platform}
        lanes = [
            Lane(row, threads, start(row.script, {**extra, **row.job, "threads": threads}))
            for row in rows
            for threads in row.threads(cores, platform)
        ]
        say(f"{setting.name}: {len(lanes)} workers start")
        for lane in lanes:
            with _reported(lane):
                lane.about = lane.process.about()
        for lane in lanes:
            if lane.reason:
                continue
            say(f"{setting.name}: {lane.name}, first call")
            with _reported(lane):
                lane.first = lane.process.ask("go")
                lane.deviation = deviation(lane.process.ask(f"check {folder}"), expected)
            if lane.reason:
                lane.process.close()  # it may have died with memory held by workers of its own
        for repeat in range(repeats):
            running = [lane for lane in lanes if not lane.reason]
            turn = repeat % max(len(running), 1)
            for lane in running[turn:] + running[:turn]:
                say(f"{setting.name}: repeat {repeat + 1} of {repeats}, {lane.name}")
                with _reported(lane):
                    lane.repeats.append(lane.process.ask("go"))

    names = [row.name for row in rows]
    against = against if against in names else next(iter(names), "")
    to = {kind: _best([lane for lane in lanes if lane.row.name == against], kind) for kind in KINDS}
    return {
        "name": setting.name,
        "about": setting.about,
        "job": job,
        "platform": platform,
        "reference_row": against,
        "rows": [
            _row(row, [lane for lane in lanes if lane.row is row], to, setting, job, limits) for row in rows
        ],
    }


@contextlib.contextmanager
def _reported(lane: Lane):
    """A worker that is gone gives its row a reason; the others go on."""
    try:
        yield
    except Gone as reason:
        lane.reason = str(reason)


def _best(lanes: Sequence[Lane], kind: str) -> Lane | None:
    sound = [lane for lane in lanes if lane.agrees and lane.repeats]
    return min(sound, key=lambda lane: lane.median(kind), default=None)


def _row(row, lanes, to, setting, job, limits) -> dict[str, Any]:
    # a worker that is gone makes no row by itself: the other number of threads may have gone well
    alive = [lane for lane in lanes if not lane.reason]
    wrong = [lane for lane in alive if not lane.agrees]
    found: dict[str, Any] = {
        "name": row.name,
        "status": "measured",
        "reason": "",
        "lanes": [
            {
                "threads": lane.threads,
                "reason": lane.reason,
                "deviation": lane.deviation if lane.first and lane.deviation < float("inf") else None,
                **lane.about,
                "first": lane.first,
                "repeats": lane.repeats,
            }
            for lane in lanes
        ],
    }
    if not alive:
        reason = lanes[0].reason
        return found | {"status": "skipped" if reason.startswith("skipped") else "died", "reason": reason}
    worst = max(lane.deviation for lane in alive)
    found["deviation"] = worst if worst < float("inf") else None
    if wrong:
        by = f"by {worst:.1e} (allowed {TOLERANCE:g})" if worst < float("inf") else "in a number not finite"
        found |= {"status": "disagrees", "reason": f"disagrees with the float64 run {by}, so it has no ratio"}
    for kind in KINDS:
        best = min(alive, key=lambda lane: lane.median(kind))
        seconds, reference = best.seconds(kind), to[kind]
        ratio = None
        if reference is not None and not wrong:
            pairs = zip(seconds, reference.seconds(kind), strict=False)
            ratio = statistics.median(a / b for a, b in pairs)
        found[kind] = {
            "median_s": best.median(kind),
            "per_seed_s": best.median(kind) / job["seeds"],
            "repeats_s": seconds,
            "ratio": ratio,
            "threads": best.threads,
        }
    best = min(alive, key=lambda lane: lane.median("training"))
    last = best.repeats[-1]
    found |= {"device": best.about.get("device", ""), "first_s": best.first["whole_s"]}
    found |= {name: last[name] for name in ("engine", "strategy") if name in last}
    if limits is not None:
        found["shares"] = shares(setting, job, limits, found, last.get("at_once", 1))
    return found


def shares(
    setting: Setting,
    job: dict[str, Any],
    limits: dict[str, Any],
    row: dict[str, Any],
    at_once: int,
) -> dict[str, float]:
    """Which part of the machine's limits a row's algorithm uses, by the formulas in `EXPLAINED`."""
    n, m, d, steps = setting.num_inputs, setting.num_neurons, setting.dim, job["steps"]
    if setting.model == "kernel":
        flops, read, held = 2 * n**2 * d, 4 * (n * d + n**2), 4 * n**2
    elif row.get("engine") == "gram":
        flops, read, held = 2 * n**2 * m * steps + 2 * n**2 * d, 4 * n**2 * steps, 4 * n**2
    else:
        flops, read, held = 4 * n * m * d * steps, 8 * n * d * steps, 4 * n * d
    held *= at_once
    cached = limits["cache_bytes_per_s"] is not None and held <= limits["cache_bytes"]
    bandwidth = limits["cache_bytes_per_s"] if cached else limits["copy_bytes_per_s"]
    seconds = row["training"]["per_seed_s"]
    return {
        "flops_share": flops / seconds / limits["matmul_flops_per_s"],
        "bytes_share": read / seconds / bandwidth,
        "bandwidth": "cache" if cached else "memory",
    }


def measure_limits(sizes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The limits of this machine, by a worker of its own.

    Raises: Gone: it died.
    """
    process = Process(LIMITS, sizes or {})
    try:
        return process.ask("go")
    finally:
        process.close()


def curve(
    setting: Setting,
    counts: Sequence[int],
    *,
    steps: int,
    repeats: int,
    say: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """Time a seed and peak memory of this library (`auto`) against the number of seeds.

    Every number of seeds has a worker of its own, so that its peak memory is its own too. Large numbers
    average over their seeds and are repeated less.
    """
    points = []
    for count in counts:
        say(f"{setting.name}: {count} seeds")
        job = setting.job(count, steps) | {"engine": "auto", "strategy": "auto"}
        process = Process(OWN, job)
        point: dict[str, Any] = {"seeds": count, "reason": ""}
        try:
            point |= process.about()
            point["first"] = process.ask("go")
            point["repeats"] = [process.ask("go") for _ in range(min(repeats, 1 + 256 // count))]
            last = point["repeats"][-1]
            point |= {name: last[name] for name in ("memory_estimate", "engine", "strategy")}
            # the first call compiles, as the estimate assumes; after it drawing alone may have been timed
            point["peak_bytes"] = point["first"]["peak_bytes"]
            for kind in KINDS:
                median = statistics.median(repeat[f"{kind}_s"] for repeat in point["repeats"])
                point[f"{kind}_per_seed_s"] = median / count
        except Gone as reason:
            point["reason"] = str(reason)
        finally:
            process.close()
        points.append(point)
    return points
