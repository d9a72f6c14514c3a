"""What the benchmark says: tables for the terminal, and the figure of time and memory against seeds."""

import datetime
import importlib.metadata
import os
import platform
from collections.abc import Sequence
from typing import Any

from dynamics import startup

FORMAT = "training-dynamics-lab benchmark 1"


def machine(cores: int) -> dict[str, Any]:
    """What is known of the machine without asking a worker."""
    load = os.getloadavg() if hasattr(os, "getloadavg") else None
    return {
        "cores": cores,
        "cpu": startup.cpu_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": None if load is None else [round(value, 2) for value in load],
    }


def versions() -> dict[str, str]:
    """Of Python and of what computes."""
    found = {"python": platform.python_version()}
    for name in ("training-dynamics-lab", "jax", "jaxlib", "numpy", "torch"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def now() -> str:
    """The date and time, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def text(rows: Sequence[Sequence[str]]) -> str:
    """Columns under their heads: names to the left, numbers to the right, the last column as it comes."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]

    def line(row):
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row[:-1], widths, strict=False))
        ]
        return "  ".join([*cells, row[-1]]).rstrip()

    return "\n".join(map(line, rows))


HEADS = (
    "row",
    "threads",
    "first s",
    "training s",
    "ms/seed",
    "ratio",
    "whole s",
    "ratio",
    "flops",
    "bytes",
    "deviation",
    "device",
)


def table(result: dict[str, Any]) -> str:
    """One setting's rows."""
    title = f"{result['name']}: {result['about']}"
    if "skipped" in result:
        return f"{title}\n  {result['skipped']}"
    job = result["job"]
    sizes = (
        f"  {job['seeds']} seeds, {job['steps']} steps, {job['samples']} samples, dim {job['dim']}, "
        f"{job['num_neurons']} neurons; ratios to {result['reference_row']}: above 1 is slower"
    )
    if job["model"] == "kernel":
        sizes = (
            f"  {job['seeds']} kernels of {job['samples']} points each, dim {job['dim']}; "
            f"ratios to {result['reference_row']}: above 1 is slower"
        )
    lines, notes = [HEADS], []
    for row in result["rows"]:
        if "training" in row:
            lines.append(_cells(row))
        if row["reason"]:
            notes.append(f"  {row['name']} {_after_status(row)}")
    shown = text(lines) if len(lines) > 1 else ""
    return "\n".join(filter(None, [title, sizes, shown, *notes]))


def _after_status(row: dict[str, Any]) -> str:
    return row["reason"] if row["reason"].startswith(row["status"]) else f"{row['status']}: {row['reason']}"


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    training, whole, shares = row["training"], row["whole"], row.get("shares", {})
    name = row["name"]
    if name == "auto" and "engine" in row:
        name = f"auto ({row['engine']}/{row['strategy']})"
    threads = sorted({training["threads"], whole["threads"]})
    return (
        name,
        "/".join(map(str, threads)),
        f"{row['first_s']:.3g}",
        f"{training['median_s']:.3g}",
        f"{1e3 * training['per_seed_s']:.3g}",
        _number(training["ratio"]),
        f"{whole['median_s']:.3g}",
        _number(whole["ratio"]),
        _share(shares.get("flops_share")),
        _share(shares.get("bytes_share")),
        "not finite" if row["deviation"] is None else f"{row['deviation']:.0e}",
        row["device"],
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.3g}%"


def limits_line(limits: dict[str, Any]) -> str:
    """The machine's limits in a sentence."""
    by = max(limits["matmul_flops_per_s_by_library"], key=limits["matmul_flops_per_s_by_library"].get)
    cache = (
        f", reading from cache {limits['cache_bytes_per_s'] / 1e9:.0f} GB/s "
        f"(last level {limits['cache_bytes'] / 2**20:.0f} MiB, {limits['cache_bytes_known']})"
        if limits["cache_bytes_per_s"] is not None
        else ""
    )
    return (
        f"limits of {limits['device']}: "
        f"matrix product {limits['matmul_flops_per_s'] / 1e9:.0f} Gflop/s ({by}), "
        f"copying {limits['copy_bytes_per_s'] / 1e9:.1f} GB/s{cache}"
    )


def curve_table(name: str, points: Sequence[dict[str, Any]]) -> str:
    """Time a seed and memory against the number of seeds."""
    lines, notes = [("seeds", "ms/seed", "with data", "peak MiB", "at start", "estimate", "engine")], []
    for point in points:
        if point["reason"]:
            notes.append(f"  {point['seeds']} seeds: {point['reason']}")
            continue
        estimate = point["memory_estimate"]
        lines.append(
            (
                str(point["seeds"]),
                f"{1e3 * point['training_per_seed_s']:.3g}",
                f"{1e3 * point['whole_per_seed_s']:.3g}",
                f"{point['peak_bytes'] / 2**20:.0f}",
                f"{point['baseline_bytes'] / 2**20:.0f}",
                "-" if estimate is None else f"{estimate / 2**20:.0f}",
                f"{point['engine']}/{point['strategy']}",
            )
        )
    shown = [text(lines)] if len(lines) > 1 else []
    return "\n".join([f"{name}: time per seed and memory of this library (auto)", *shown, *notes])


def curve_figure(name: str, points: Sequence[dict[str, Any]]):
    """The same as a Figure; None if no point was measured."""
    from dynamics.plots import new_figure, styled

    measured = [point for point in points if not point["reason"]]
    if not measured:
        return None

    def draw():
        figure, ((left, right),) = new_figure(1, 2, 8.0, 3.2)
        seeds = [point["seeds"] for point in measured]
        for kind, label in (("training", "training"), ("whole", "with drawing the data")):
            left.plot(seeds, [point[f"{kind}_per_seed_s"] for point in measured], "o-", label=label)
        left.set_ylabel("time per seed [s]")
        left.set_ylim(bottom=0)
        mib = [point["peak_bytes"] / 2**20 for point in measured]
        right.plot(seeds, mib, "o-", label="peak")
        right.plot(seeds, [p["baseline_bytes"] / 2**20 for p in measured], ":", label="before the first call")
        if all(point["memory_estimate"] is not None for point in measured):
            estimates = [point["memory_estimate"] / 2**20 for point in measured]
            right.plot(seeds, estimates, "k--", label="estimate of the engine")
        right.set_ylabel("memory [MiB]")
        for ax in (left, right):
            ax.set_xscale("log")
            ax.set_xticks(seeds, [str(count) for count in seeds])
            ax.xaxis.minorticks_off()
            ax.set_xlabel("number of seeds")
            ax.legend()
        right.set_ylim(bottom=0)
        left.set_title(name)
        return figure

    return styled(draw)()
