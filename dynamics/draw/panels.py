"""Panels: what is drawn into given axes, from labelled arrays.

Solid lines are medians over seeds with interquartile bands; theory is a dashed black line.
"""

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int, Real

from dynamics.draw.style import COLOURS, GREY, THEORY, legend_below, plain_numbers

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure
    import matplotlib.image


def time_axis(
    ax: "matplotlib.axes.Axes", steps: Sequence[int] | Int[np.ndarray, " times"], logarithmic: bool = True
) -> None:
    """Label the x-axis as steps, logarithmic from step 1 on, step 0 beside it."""
    ax.set_xlabel("step $t$")
    if logarithmic and max(steps) > 10:
        ax.set_xscale("symlog", linthresh=1, linscale=0.3)
        plain_numbers(ax.xaxis)
    ax.set_xlim(0, max(*steps, 1))


def log_steps(ax: "matplotlib.axes.Axes", steps: Sequence[int] | Int[np.ndarray, " times"]) -> None:
    """Label the x-axis as steps, logarithmic from the first record after the start on, unless few."""
    ax.set_xlabel("step $t$")
    if len(steps) > 2 and steps[-1] > 10:
        ax.set_xscale("log")
        ax.set_xlim(max(int(steps[1]), 1), int(steps[-1]))
        plain_numbers(ax.xaxis)


def band(
    ax: "matplotlib.axes.Axes",
    x: Real[np.ndarray, " points"],
    values: Float[np.ndarray, "samples points"],
    *,
    mean: bool = False,
    **line: Any,
) -> None:
    """The median or `mean` over samples as a line, with the interquartile range as a band of its colour."""
    with warnings.catch_warnings():  # a point without any number leaves a gap, as it should
        warnings.filterwarnings("ignore", "All-NaN slice", RuntimeWarning)
        low, middle, high = np.nanquantile(values, [0.25, 0.5, 0.75], axis=0)
        middle = np.nanmean(values, axis=0) if mean else middle
    (drawn,) = ax.plot(x, middle, **line)
    ax.fill_between(x, low, high, color=drawn.get_color(), alpha=0.2, linewidth=0)


def curve(ax: "matplotlib.axes.Axes", values: xr.DataArray, dim: str, **line: Any) -> None:
    """A variable of dimensions (seed, `dim`) as a `band` over the coordinate of that dimension."""
    values = values.transpose("seed", dim)
    band(ax, values[dim].values, values.values, **line)


def seed_lines(ax: "matplotlib.axes.Axes", x: xr.DataArray, values: xr.DataArray, **line: Any) -> None:
    """One thin line a seed, against numbers of its own: of other seeds records lie at other places."""
    for seed in values.seed.values:
        ax.plot(x.sel(seed=seed), values.sel(seed=seed), **{"linewidth": 0.9, "alpha": 0.7} | line)
        line["label"] = None


def curves(
    ax: "matplotlib.axes.Axes",
    values: xr.DataArray,
    dim: str,
    by: str,
    label: str | Mapping[str, str] = "{}",
    **line: Any,
) -> None:
    """A `curve` over `dim` for each value of another dimension, coloured in turn.

    Args:
      label: of each, with the value in its braces; or by value.
    """
    for number, value in enumerate(values[by].values):
        text = label.format(value) if isinstance(label, str) else label[str(value)]
        how = {"color": COLOURS[number % 6], "label": text} | line
        curve(ax, values.sel({by: value}), dim, **how)


def ticks(ax: "matplotlib.axes.Axes", values: xr.DataArray | Real[np.ndarray, " points"]) -> None:
    """Ticks of the x-axis at these numbers, and nowhere else."""
    values = np.asarray(values)
    ax.set_xticks(values, [f"{value:g}" for value in values])
    ax.minorticks_off()


def alignment_curves(
    ax: "matplotlib.axes.Axes",
    steps: Sequence[int] | Int[np.ndarray, " times"],
    alignment: Float[np.ndarray, "seeds steps neurons features"],
    own: Float[np.ndarray, "*seed neurons features"],
    predicted: Mapping[str, float | Float[np.ndarray, " times"]] | None = None,
) -> None:
    """Cosine of every neuron with every feature over time: own features coloured by what they belong to.

    One thin line a neuron and feature of the first seed, as a neuron of one seed is none of another; a thick
    line is the median, and the band the interquartile range, over the pairs of its kind in all seeds.

    Args:
      own: above 0.5 where a feature is the neuron's own; in every seed by itself, or alike in all.
      predicted: by label, the theory's number, or its value at each step.

    Raises: ValueError: `own` of another shape.
    """
    from matplotlib.legend_handler import HandlerTuple

    seeds, _, *pair = alignment.shape
    if own.shape not in ((seeds, *pair), tuple(pair)):
        expected = f"{(seeds, *pair)} or {tuple(pair)}"
        raise ValueError(f"own must say which features are a neuron's: shape {expected}, got {own.shape}")
    mine = np.broadcast_to(own > 0.5, (seeds, *pair))
    there = int(np.argmax(np.isfinite(alignment).any(axis=(1, 2, 3))))  # not one that has diverged at once
    first, own_first = alignment[there], mine[there]
    groups = [list(g) for g in dict.fromkeys(tuple(np.flatnonzero(row)) for row in own_first)]
    for r, j in zip(*np.nonzero(~own_first), strict=True):
        ax.plot(steps, first[:, r, j], color=GREY, linewidth=0.4, alpha=0.5)
    shown = []
    for r, j in zip(*np.nonzero(own_first), strict=True):
        group = groups.index(list(np.flatnonzero(own_first[r])))
        shown.append(COLOURS[group % len(COLOURS)])
        ax.plot(steps, first[:, r, j], color=shown[-1], linewidth=0.7, alpha=0.7)
    for mask, colour, line in ((mine, COLOURS[0], COLOURS[6]), (~mine, GREY, GREY)):
        if mask.any():
            pairs = alignment.transpose(0, 2, 3, 1)[mask]
            low, middle, high = np.nanquantile(pairs, [0.25, 0.5, 0.75], axis=0)
            ax.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
            ax.plot(steps, middle, color=line, linewidth=1.6)
    lines = {
        "own features, by group": _sample(list(dict.fromkeys(shown))[:4]),
        "other features": _sample([GREY]),
        "median over seeds and pairs": _sample([COLOURS[6], GREY]),
    }
    for label, value in (predicted or {}).items():
        dotted = THEORY | {"dashes": (1.2, 1.2), "linewidth": 2.0}
        lines[label] = (
            ax.plot(steps, value, **dotted)[0] if np.ndim(value) else ax.axhline(value, label=label, **THEORY)
        )
    time_axis(ax, steps)
    ax.set_ylabel(r"alignment $\cos(w_r, \mu_j)$")
    ax.set_ylim(min(-0.25, float(np.nanmin(first)) * 1.1), 1.05)
    # curves and theory may be anywhere in the panel
    side_by_side = {tuple: HandlerTuple(ndivide=None, pad=0)}
    handles, labels = list(lines.values()), list(lines)
    legend_below(ax, 1, handles=handles, labels=labels, handler_map=side_by_side)


def _sample(colours):
    """A legend's line in several colours, one after the other."""
    from matplotlib.lines import Line2D

    return tuple(Line2D([], [], color=colour, linewidth=1.2, solid_capstyle="butt") for colour in colours)


def heat_map(
    ax: "matplotlib.axes.Axes",
    matrix: Float[np.ndarray, "neurons features"],
    value: str = r"$\cos(w_r, \mu_j)$",
    numbers: bool = True,
    limit: float | None = None,
) -> None:
    """Heat map of neurons (columns) against features (rows), on a scale symmetric about 0.

    Args:
      numbers: write each entry too, if there are at most 144.
      limit: end of the scale; None: the largest entry.
    """
    matrix = np.asarray(matrix)
    limit = max(float(np.nanmax(np.abs(matrix))), 1e-12) if limit is None else limit
    image = ax.imshow(
        matrix.T, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
    )
    ax.figure.colorbar(image, ax=ax, label=value, shrink=0.9, pad=0.02)
    ax.set_xlabel("neuron $r$")
    ax.set_ylabel(r"feature $\mu_j$")
    for axis, count in ((ax.xaxis, matrix.shape[0]), (ax.yaxis, matrix.shape[1])):
        every = -(-count // 12)
        axis.set_ticks(range(0, count, every), [str(i + 1) for i in range(0, count, every)])
    if numbers and matrix.size <= 144:
        for r, j in np.ndindex(matrix.shape):
            shade = "white" if abs(matrix[r, j]) > 0.6 * limit else "black"
            ax.text(r, j, f"{matrix[r, j]:.2f}", ha="center", va="center", fontsize=5.5, color=shade)
    for spine in ax.spines.values():
        spine.set_visible(True)


def survival(
    samples: Float[np.ndarray, "seeds points"], at: Float[np.ndarray, " radii"]
) -> Float[np.ndarray, "seeds radii"]:
    """Share of each seed's points with a value above `at`: robust accuracy from radii."""
    return np.stack([(samples > radius).mean(axis=1) for radius in np.asarray(at)], axis=1)


def guide(
    ax: "matplotlib.axes.Axes",
    x: xr.DataArray | Real[np.ndarray, " points"],
    height: float,
    exponent: float,
    label: str | None,
    **line: Any,
) -> None:
    """A power law as theory's line, of this height at the first x."""
    x = np.asarray(x, float)
    ax.plot(x, height * (x / x[0]) ** exponent, label=label, **THEORY | line)


def matrix(
    ax: "matplotlib.axes.Axes",
    values: xr.DataArray,
    texts: Any = None,
    *,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    dark: Any = None,
    bar: Mapping[str, Any] | None = None,
    framed: Any = None,
    **image: Any,
) -> "matplotlib.image.AxesImage":
    """A matrix as an image, its rows and columns named, with texts in its cells.

    Args:
      values: of two dimensions, rows and columns.
      texts: what is written into each cell; None: nothing.
      rows, columns: names; by default the coordinates.
      dark: where letters are white; by default where values are above half of the largest.
      bar: keywords of the colour bar; None: none.
      framed: around which cells there is a frame; None: none.
      image: keywords of `imshow`.
    """
    from matplotlib.patches import Rectangle

    shown = ax.imshow(values.values, **{"aspect": "auto", "interpolation": "nearest"} | image)
    names = [values[dim].values.astype(str).tolist() for dim in values.dims]
    ax.set_yticks(range(values.shape[0]), rows or names[0])
    ax.set_xticks(range(values.shape[1]), columns or names[1])
    if texts is not None:
        dark = values.values > 0.5 * np.nanmax(values.values) if dark is None else np.asarray(dark)
        for i, j in np.ndindex(values.shape):
            colour = "white" if dark[i, j] else "black"
            ax.text(j, i, texts[i][j], ha="center", va="center", fontsize=8, color=colour)
    for spine in ax.spines.values():
        spine.set_visible(True)
    if bar is not None:
        ax.figure.colorbar(shown, ax=ax, **{"shrink": 0.9} | bar)
    for i, j in np.argwhere(np.asarray(framed)) if framed is not None else ():
        frame = {"fill": False, "edgecolor": COLOURS[0], "linewidth": 2}
        ax.add_patch(Rectangle((j - 0.48, i - 0.46), 0.96, 0.92, **frame))
    return shown


def pictures(
    axes: Sequence["matplotlib.axes.Axes"],
    pixels: Float[np.ndarray, "pictures pixels"],
    titles: Sequence[str] = (),
    **image: Any,
) -> "matplotlib.image.AxesImage":
    """Square images, one an axes, without ticks; those of one call share one scale unless `image` says else.

    Raises: ValueError: a number of pixels that is no square.
    """
    side = square(pixels.shape[-1])
    if not side:
        raise ValueError(f"pictures need a square number of pixels, got {pixels.shape[-1]}")
    # features of a file may lie anywhere
    scale = {"vmin": min(0.0, float(pixels.min())), "vmax": max(1.0, float(pixels.max()))}
    for number, (ax, one) in enumerate(zip(axes, pixels, strict=False)):
        shown = ax.imshow(one.reshape(side, side), **{"cmap": "gray"} | scale | image)
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        if titles:
            ax.set_title(titles[number])
    return shown


def square(count: int) -> int:
    """The side of a square of so many pixels; 0 where there is none."""
    side = round(count**0.5)
    return side if side**2 == count else 0
