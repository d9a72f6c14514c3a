"""Tables of text: what `run` prints, and reports show."""

from collections.abc import Mapping, Sequence

import xarray as xr


def text_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as lines whose columns stand one below the other; "" for no row but the head."""
    if len(rows) < 2:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def number_table(dim: str, columns: Mapping[str, xr.DataArray], digits: str, head: str = "") -> str:
    """Means of labelled arrays, a column each, by the coordinate `dim` (or called `head`)."""
    means = [values.mean([other for other in values.dims if other != dim]) for values in columns.values()]
    places = means[0][dim].values
    rows = ([str(at), *(f"{float(v.sel({dim: at})):{digits}}" for v in means)] for at in places)
    return text_table([[head or dim, *columns], *rows])
