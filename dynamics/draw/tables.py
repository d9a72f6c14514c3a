"""Tables of text: what `run` prints, and reports show."""

from collections.abc import Iterable, Sequence
from typing import Any


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines whose columns stand one below the other; "" for no row but the head."""
    if len(rows) < 2:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def number_table(
    head: str,
    index: Iterable[Any],
    *columns: tuple[str, Iterable[Any]],
    form: str = ".3g",
    missing: str = "nan",
) -> str:
    """Numbers by an index: `number_table("width", run.width, ("error", error.mean("seed")))`.

    Args:
      head: the index's name.
      columns: name and numbers of each.
      form: of numbers, as `format` takes it.
      missing: what stands for NaN.
    """

    def text(number):
        return missing if number != number else format(float(number), form)

    numbers = zip(*(values for _, values in columns), strict=True)
    names = (value if isinstance(value, str) else f"{value:g}" for value in index)
    rows = [[name, *map(text, row)] for name, row in zip(names, numbers, strict=True)]
    return text_table([[head, *(name for name, _ in columns)], *rows])
