"""`dynamics bench`: its options, and what it does with them."""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from dynamics.files import check_writable, write_text
from dynamics.words import quoted, whole

EXIT_DISAGREES = 1
NO_PEERS = (
    "the peers come with a clone of the repository (tests/benchmarks/peers), not with an installed package: "
    "only this library's own rows are measured"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `dynamics bench` to its parser."""
    parser.description = (
        "Time this library beside loops in torch and JAX that do the same job, in turns, after checking that "
        "all reach the numbers of a float64 run. Exit code 1: a row disagrees with that run."
    )
    add = parser.add_argument
    add("--settings", metavar="NAME,NAME", help="paper, sign, patch, ntk (default: all)")
    add("--rows", metavar="NAME,NAME", help="torch-eager, torch-func, torch-bmm, jax-loop, auto, ...")
    add("--against", default="auto", metavar="ROW", help="the row that ratios are taken to (default auto)")
    add("--seeds", default="32", metavar="N", help="seeds of each row (default 32)")
    add("--steps", default="200", metavar="N", help="steps of each run (default 200)")
    add("--repeats", default="5", metavar="N", help="timed calls of each row, after a first one (default 5)")
    add("--dim", metavar="D", help="another input dimension, for a quick trial")
    add("--samples", metavar="N", help="another number of samples, for a quick trial")
    add("--curve", metavar="N,N", help="also time per seed and memory against these numbers of seeds")
    add("--json", metavar="FILE", help="write everything to FILE")
    add("--out", metavar="DIR", help="write bench.json and the figure of --curve into DIR")


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, write the files; 1 if a row disagrees with the float64 run, else 0.

    Raises: ValueError: bad input, before anything is started.
    """
    from dynamics.benchmark import rows as lines
    from dynamics.benchmark.settings import SETTINGS

    seeds = whole("--seeds", args.seeds, 1, 2**20)
    steps = whole("--steps", args.steps, 1, 10**7)
    repeats = whole("--repeats", args.repeats, 1, 1000)
    dim = None if args.dim is None else whole("--dim", args.dim, 2, 10**7)
    samples = None if args.samples is None else whole("--samples", args.samples, 1, 10**7)
    names = _names("--settings", args.settings, tuple(SETTINGS))
    chosen_rows = _names("--rows", args.rows, lines.NAMES)
    _names("--against", args.against, lines.NAMES)
    if args.against not in chosen_rows:
        raise ValueError(f"--against {args.against} is not among the rows that run: {', '.join(chosen_rows)}")
    counts = [] if args.curve is None else [whole("--curve", c, 1, 2**20) for c in args.curve.split(",")]
    if len(set(counts)) < len(counts):
        raise ValueError(f"--curve must be different numbers of seeds, got {quoted(args.curve)}")
    chosen = [SETTINGS[name].resized(dim, samples) for name in names]
    curve_setting = SETTINGS["paper"].resized(dim, samples) if counts else None
    targets = _targets(args)
    rows = lines.rows(chosen_rows)
    if len(rows) < len(chosen_rows):
        print(NO_PEERS)
    if not rows:
        raise ValueError(f"--rows {args.rows} names peers only, and {NO_PEERS}")

    from dynamics.benchmark import harness, report
    from dynamics.benchmark.process import Gone
    from dynamics.results import git_revision
    from dynamics.startup import num_cores

    begun = time.perf_counter()

    def say(line: str) -> None:
        print(f"[{time.perf_counter() - begun:6.1f} s] {line}", file=sys.stderr)

    result: dict[str, Any] = {
        "format": report.FORMAT,
        "created": report.now(),
        "git_revision": git_revision(),
        "options": {name: value for name, value in vars(args).items() if name != "command"},
        "machine": report.machine(num_cores()),
        "versions": report.versions(),
        "explained": harness.EXPLAINED,
        "settings": [],
    }
    load = result["machine"]["load_before"]
    if load is not None and load[0] > 0.2 * num_cores():
        print(f"other programs are at work here (load {load[0]}): times are of a busy machine")
    say("limits of the machine")
    try:
        result["limits"] = harness.measure_limits()
        print(report.limits_line(result["limits"]))
    except Gone as reason:
        result["limits"] = None
        print(f"the machine's limits could not be measured: {reason}")
    for setting in chosen:
        found = harness.measure(
            setting,
            lines.kernel_rows(chosen_rows) if setting.model == "kernel" else rows,
            seeds=seeds,
            steps=steps,
            repeats=repeats,
            cores=num_cores(),
            against=args.against,
            limits=result["limits"],
            say=say,
        )
        result["settings"].append(found)
        print("\n" + report.table(found))
        _write(result, targets)  # a long benchmark that is stopped keeps what it has
    if curve_setting is not None:
        points = harness.curve(curve_setting, counts, steps=steps, repeats=repeats, say=say)
        result["curve"] = {"setting": curve_setting.name, "steps": steps, "points": points}
        print("\n" + report.curve_table(curve_setting.name, points))
        _write(result, targets)
        if args.out is not None:
            _draw(result, Path(args.out))
    for path in targets:
        print(f"\nwritten to {path}")
    disagreeing = [row for found in result["settings"] for row in found.get("rows", [])]
    return EXIT_DISAGREES if any(row["status"] == "disagrees" for row in disagreeing) else 0


def _names(option: str, text: str | None, known: tuple[str, ...]) -> tuple[str, ...]:
    if text is None:
        return known
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in known:
            raise ValueError(f"{option} must be among {', '.join(known)}, got {quoted(name)}")
    return names


def _targets(args: argparse.Namespace) -> list[Path]:
    """Where the JSON goes; refuses now what could not be written after the measurement."""
    targets = []
    if args.json is not None:
        targets.append(Path(args.json))
    if args.out is not None:
        folder = Path(args.out)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"--out {folder} cannot be written to ({error.strerror})") from None
        targets.append(folder / "bench.json")
    for path, option in zip(targets, ["--json"] * (args.json is not None) + ["--out"], strict=False):
        check_writable(option, path)
    return targets


def _write(result: dict[str, Any], targets: list[Path]) -> None:
    for path in targets:
        write_text(path, json.dumps(result, indent=1, allow_nan=False) + "\n")


def _draw(result: dict[str, Any], folder: Path) -> None:
    from dynamics.benchmark.report import curve_figure
    from dynamics.plots import save_figures

    figure = curve_figure(result["curve"]["setting"], result["curve"]["points"])
    if figure is not None:
        names = ("created", "git_revision", "machine", "versions", "options", "curve")
        about = {name: result[name] for name in names}
        print(f"the figure is {save_figures({'curve': figure}, folder, about)[0]}")
