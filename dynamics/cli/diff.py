"""`dynamics diff`: two results compared, in what made them and in their numbers."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from dynamics.cli import arguments
from dynamics.cli.arguments import Parser
from dynamics.words import printable

EXIT_DIFFERENT = 1
OWN = {"created", "wall_s", "memory_estimate", "chunk", "identity", "complete"}
"""Attributes that are a run's own, or follow from the others."""
OBJECTS = ("config", "sweep", "versions", "jax_settings")  # attributes in JSON, compared field by field
WIDEST = 40  # letters of a value


def diff(argv: list[str]) -> int:
    """Say what is different; exit code 0: nothing, 1: something."""
    parser = Parser(
        prog="dynamics diff",
        description="Compare two results: settings, versions and other provenance, and numbers. The exit "
        "code is 0 if they are equal, and 1 if not.",
        allow_abbrev=False,
    )
    for name in ("A", "B"):
        parser.add_argument(name, help="folder of a run or sweep, or a result file")
    parser.add_argument("--numbers", action="store_true", help="compare the numbers alone")
    args = arguments.parse(parser, argv)
    from dynamics import results
    from dynamics.draw.tables import text_table

    one, other = results.load(Path(args.A)), results.load(Path(args.B))
    made = [] if args.numbers else list(provenance(one.attrs, other.attrs))
    found = list(numbers(one, other))
    heads = ["made", "A", "B"], ["numbers", "A", "B", "largest difference", "relative"]
    for head, rows in zip(heads, (made, found), strict=True):
        if rows:
            print(printable(text_table([head, *rows])) + "\n")
    compared = () if args.numbers else (("settings and provenance", made),)
    words = [f"{what} {'differ' if rows else 'are equal'}" for what, rows in (*compared, ("numbers", found))]
    print("; ".join(words))
    return EXIT_DIFFERENT if made or found else 0


def provenance(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[list[str]]:
    """Rows of what differs in attributes: name, and the value of each."""
    for name in dict.fromkeys((*one, *other)):
        here, there = one.get(name, ""), other.get(name, "")
        if name in OWN or str(here) == str(there):
            continue
        if name in OBJECTS:
            here, there = json.loads(here or "{}"), json.loads(there or "{}")
            differing = [key for key in {**here, **there} if here.get(key) != there.get(key)]
            yield from (
                [f"{name}: {key}", _short(here.get(key)), _short(there.get(key))] for key in differing
            )
        elif name in ("problem", "descent"):  # long, and mostly said by the settings
            if one.get("config") == other.get("config"):
                yield [name, "another", "than this"]
        else:
            yield [name, _short(here), _short(there)]


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value, default=str)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."


def numbers(one: xr.Dataset, other: xr.Dataset) -> Iterator[list[str]]:
    """Rows of variables that differ: name, size or kind in each, largest absolute and relative difference.

    They are compared where their coordinates agree: of runs of 8 and of 16 seeds, those that both have; that
    shapes differ is said.
    """
    pair = (one, other)
    labelled = {dim for dim in one.dims if all(dim in d.indexes and d.indexes[dim].is_unique for d in pair)}
    both = xr.align(one, other, join="inner", exclude={*one.dims, *other.dims} - labelled)
    for name in dict.fromkeys((*one.variables, *other.variables)):
        here, there = (_kind(dataset, name) for dataset in (one, other))
        if name not in one.variables or name not in other.variables:
            yield [str(name), here, there, "", ""]
            continue
        a, b = (dataset[name].values for dataset in both)
        if a.shape != b.shape or (one[name].shape != other[name].shape and a.size == 0):
            yield [str(name), here, there, "shapes differ", ""]
        elif here != there or not _equal(a, b):
            words, relative = _distance(a, b)
            if one[name].shape != other[name].shape:
                words = f"shapes differ; {words} in both"
            yield [str(name), here, there, words, relative]


def _kind(dataset: xr.Dataset, name: Any) -> str:
    """Size and type of a variable, in words."""
    if name not in dataset.variables:
        return "not there"
    sizes = " x ".join(map(str, dataset[name].shape)) or "one"
    kind = dataset[name].dtype
    return f"{sizes} {'text' if kind.kind in 'OSU' else kind}"


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=a.dtype.kind in "fc" and b.dtype.kind in "fc")


def _distance(a: np.ndarray, b: np.ndarray) -> tuple[str, str]:
    """The largest absolute and relative difference of finite numbers, and how many are finite in one only."""
    if a.dtype.kind not in "biufc" or b.dtype.kind not in "biufc":
        return ("none" if np.array_equal(a, b) else f"in {int(np.sum(a != b))} of {a.size}"), ""
    kind = complex if "c" in (a.dtype.kind, b.dtype.kind) else float
    a, b = a.astype(kind), b.astype(kind)
    known = np.isfinite(a) & np.isfinite(b)
    odd = int(np.sum(~known & (a != b) & ~(np.isnan(a) & np.isnan(b))))
    gap, size = np.abs(a - b)[known], np.maximum(np.abs(a), np.abs(b))[known]
    relative = gap / np.where(size > 0, size, 1)
    words = f"{gap.max(initial=0):.3g}" + (f", and {odd} finite in one only" if odd else "")
    return words, f"{relative.max(initial=0):.3g}"
