"""Pictures of training dynamics: alignment curves, neuron-feature maps, curves with their theory.

Every function draws into given axes; nothing here shows or saves except `save_figures`. Solid lines are
medians over seeds with interquartile bands; theory is a dashed black line.
"""

import functools
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from jaxtyping import Float, Int, Real

from dynamics.files import write_atomically, write_text

if TYPE_CHECKING:  # imported where something is drawn: half a second that other commands need not wait
    import matplotlib.axes
    import matplotlib.figure

# Okabe & Ito's colour-blind-safe cycle; its yellow vanishes on white and its black is theory's: a dark
# purple, which differs from the others in lightness, is in their place
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4B2078")
GREY = "#9a9a9a"
THEORY = {"color": "black", "linestyle": "--", "linewidth": 1.4, "zorder": 5}
BELOW = 33  # points that an x-axis takes: ticks, numbers and label
WIDEST = 9.6  # inches; shown in a page's column of 6 inches its letters of 9 points are 5.6 points high
STYLE = {
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": True,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.75,
    "legend.fontsize": 7.5,
}


def styled(draw: Callable[..., Any]) -> Callable[..., Any]:
    """Run a drawing function under this library's style, whatever the user's own is."""

    @functools.wraps(draw)
    def wrapper(*args, **kwargs):
        import matplotlib

        cycle = {"axes.prop_cycle": matplotlib.cycler(color=COLOURS)}
        with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE, **cycle}):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(
    rows: int, columns: int, width: float, height: float
) -> tuple["matplotlib.figure.Figure", np.ndarray]:
    """A figure outside of pyplot (so that nothing is shown or kept), and its axes as (rows, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def panels(
    count: int, width: float, height: float, most: int = 3
) -> tuple["matplotlib.figure.Figure", list["matplotlib.axes.Axes"]]:
    """A figure of `count` panels of a size in inches, in rows of at most `most` that fit into a column.

    Four go two by two. What is left of the last row is empty.
    """
    most = max(1, min(most, int(WIDEST / width + 1e-9)))
    columns = min(count, 2 if count == 4 else most)
    rows = -(-count // columns)
    figure, axes = new_figure(rows, columns, width * columns, height * rows)
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    return figure, list(axes.flat[:count])


def legend_below(ax: "matplotlib.axes.Axes", columns: int = 2) -> None:
    """The legend below the label of the x-axis, whatever the panel's height."""
    from matplotlib.transforms import ScaledTranslation

    down = ScaledTranslation(0, -BELOW / 72, ax.figure.dpi_scale_trans)
    place = {"bbox_to_anchor": (0.0, 0.0), "bbox_transform": ax.transAxes + down, "borderaxespad": 0}
    ax.legend(loc="upper left", ncols=columns, **place)


def time_axis(
    ax: "matplotlib.axes.Axes", steps: Sequence[int] | Int[np.ndarray, " times"], logarithmic: bool = True
) -> None:
    """Label the x-axis as steps, logarithmic from step 1 on, step 0 beside it."""
    ax.set_xlabel("step $t$")
    if logarithmic and max(steps) > 10:
        ax.set_xscale("symlog", linthresh=1, linscale=0.3)
    ax.set_xlim(0, max(*steps, 1))


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


def alignment_curves(
    ax: "matplotlib.axes.Axes",
    steps: Sequence[int] | Int[np.ndarray, " times"],
    alignment: Float[np.ndarray, "seeds steps neurons features"],
    own: Float[np.ndarray, "*seed neurons features"],
    predicted: Mapping[str, float] | None = None,
) -> None:
    """Cosine of every neuron with every feature over time: own features coloured by what they belong to.

    One thin line a neuron and feature of the first seed, as a neuron of one seed is none of another; a thick
    line is the median, and the band the interquartile range, over the pairs of its kind in all seeds.

    Args:
      own: above 0.5 where a feature is the neuron's own; in every seed by itself, or alike in all.

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
    ends = list((predicted or {}).values())
    for mask, colour, line in ((mine, COLOURS[0], COLOURS[6]), (~mine, GREY, GREY)):
        if mask.any():
            pairs = alignment.transpose(0, 2, 3, 1)[mask]
            low, middle, high = np.nanquantile(pairs, [0.25, 0.5, 0.75], axis=0)
            ax.fill_between(steps, low, high, color=colour, alpha=0.15, linewidth=0)
            ax.plot(steps, middle, color=line, linewidth=1.6)
            ends += [middle[-1]] if mask is mine else []
    lines = {
        "own features, by group": _sample(list(dict.fromkeys(shown))[:4]),
        "other features": _sample([GREY]),
        "median over seeds and pairs": _sample([COLOURS[6], GREY]),
    }
    for label, value in (predicted or {}).items():
        lines[label] = ax.axhline(value, label=label, **THEORY)
    time_axis(ax, steps)
    ax.set_ylabel(r"alignment $\cos(w_r, \mu_j)$")
    ax.set_ylim(min(-0.25, float(np.nanmin(first)) * 1.1), 1.05)
    # own features end above the legend, or below it
    place = "center right" if any(value > 0.5 for value in ends) else "upper left"
    side_by_side = {tuple: HandlerTuple(ndivide=None, pad=0)}
    ax.legend(lines.values(), lines.keys(), loc=place, handler_map=side_by_side)


def _sample(colours):
    """A legend's line in several colours, one after the other."""
    from matplotlib.lines import Line2D

    return tuple(Line2D([], [], color=colour, linewidth=1.2, solid_capstyle="butt") for colour in colours)


def feature_map(
    ax: "matplotlib.axes.Axes",
    matrix: Float[np.ndarray, "neurons features"],
    value: str = r"$\cos(w_r, \mu_j)$",
    numbers: bool = True,
) -> None:
    """Heat map of neurons (columns) against features (rows), on a scale symmetric about 0.

    `numbers`: write each entry too, if there are at most 144.
    """
    matrix = np.asarray(matrix)
    limit = max(float(np.nanmax(np.abs(matrix))), 1e-12)
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


def save_figures(
    figures: Mapping[str, "matplotlib.figure.Figure"], folder: Path, about: Mapping[str, Any]
) -> list[Path]:
    """Write each figure as `name.png` with its provenance as `name.json` beside it; returns the PNGs.

    Raises: OSError: the folder cannot be written to.
    """
    paths = []
    for name, figure in figures.items():
        path = Path(folder) / f"{name}.png"
        write_atomically(path, lambda temporary, f=figure: f.savefig(temporary, format="png", dpi=160))
        write_text(path.with_suffix(".json"), json.dumps({"figure": name, **about}, indent=1) + "\n")
        paths.append(path)
    return paths
