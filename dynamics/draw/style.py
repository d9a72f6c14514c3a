"""The style of all pictures, figures and their axes, and how they are saved.

Nothing here shows anything, or keeps a figure open.
"""

import functools
import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dynamics.files import write_atomically, write_text

if TYPE_CHECKING:  # imported where something is drawn: half a second that other commands need not wait
    import matplotlib.axes
    import matplotlib.axis
    import matplotlib.figure

# Okabe & Ito's colour-blind-safe cycle; its yellow vanishes on white and its black is theory's: a dark
# purple, which differs from the others in lightness, is in their place
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4B2078")
GREY = "#9a9a9a"
THEORY = {"color": "black", "linestyle": "--", "linewidth": 1.4, "zorder": 5}
BELOW = 33  # points that an x-axis takes: ticks, numbers and label, in letters of 9 points
WIDEST = 9.6  # inches; shown in a page's column of 6 inches its letters of 9 points are 5.6 points high
SAVED = 200  # pixels an inch of a figure that is saved without saying how many
COLUMN = 3.3  # inches of a column in print, where letters keep the points that they have here
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
    """A figure outside of pyplot (so that nothing is shown or kept), and its axes as (rows, columns).

    A notebook whose cell ends with it shows it.
    """
    figure = _figures()(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


@functools.cache
def _figures() -> type:
    from matplotlib.figure import Figure

    class Shown(Figure):
        """A figure that notebooks know how to show, whatever pyplot's backend, and that is saved sharp."""

        def savefig(self, fname: Any, **how: Any) -> None:
            super().savefig(fname, **{"dpi": SAVED} | how)

        def _repr_png_(self) -> bytes:
            written = io.BytesIO()
            self.savefig(written, format="png", dpi=110)
            return written.getvalue()

    return Shown


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


def side_by_side(
    width: float,
    height: float,
    *draws: Callable[["matplotlib.axes.Axes", Any], None],
    where: Callable[[Any], bool] | str = lambda run: True,
) -> Callable[[Any], "matplotlib.figure.Figure | None"]:
    """A figure as a function of a run: a panel of this size by each `draw(ax, run)`.

    Args: where: whether it applies to a run, or a variable that runs to which it does have; it is None for
      others.
    """

    @styled
    def figure(run):
        if not (where in run if isinstance(where, str) else where(run)):
            return None
        made, axes = panels(len(draws), width, height)
        for ax, draw in zip(axes, draws, strict=True):
            draw(ax, run)
        return made

    return figure


def legend_below(ax: "matplotlib.axes.Axes", columns: int = 2, **legend: Any) -> None:
    """The legend below the label of the x-axis, whatever the panel's height; `legend`: its keywords."""
    from matplotlib.transforms import ScaledTranslation

    below = BELOW * ax.xaxis.label.get_size() / STYLE["font.size"]
    down = ScaledTranslation(0, -below / 72, ax.figure.dpi_scale_trans)
    place = {"bbox_to_anchor": (0.0, 0.0), "bbox_transform": ax.transAxes + down, "borderaxespad": 0}
    ax.legend(loc="upper left", ncols=columns, **place, **legend)


def legends(axes: Iterable["matplotlib.axes.Axes"]) -> None:
    """A legend in every panel that has none yet; dashed lines, which are theory's, come last."""

    def dashed(entry):
        return getattr(entry[0], "get_linestyle", lambda: "")() == "--"

    for ax in axes:
        if ax.get_legend() is None:
            entries = sorted(zip(*ax.get_legend_handles_labels(), strict=True), key=dashed)
            ax.legend([line for line, _ in entries], [text for _, text in entries], loc="best")


def plain_numbers(axis: "matplotlib.axis.Axis") -> None:
    """Ticks of a logarithmic axis as 1, 10, 100."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def label(
    ax: "matplotlib.axes.Axes",
    x: str | None = None,
    y: str | None = None,
    title: str | None = None,
    *,
    log: str = "",
    xlim: tuple[float | int | None, float | int | None] | None = None,
    ylim: tuple[float | int | None, float | int | None] | None = None,
    legend: str | None = None,
) -> None:
    """Name the axes and the panel, and set what it shows.

    Args:
      log: the axes that are logarithmic: "x", "y" or "xy".
      xlim, ylim: the ends; None leaves one as it is.
      legend: where the legend goes, as Matplotlib says it; "below": under the panel; None: nowhere.
    """
    for name, text in (("xlabel", x), ("ylabel", y), ("title", title)):
        if text is not None:
            ax.set(**{name: text})
    for axis in log:
        ax.set(**{f"{axis}scale": "log"})
    if "x" in log:
        plain_numbers(ax.xaxis)
    for name, ends in (("xlim", xlim), ("ylim", ylim)):
        if ends is not None:
            ax.set(**{name: ends})
    if legend == "below":
        legend_below(ax)
    elif legend is not None:
        ax.legend(loc=legend)


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


@styled
def save_panels(figures: Mapping[str, "matplotlib.figure.Figure"], folder: Path) -> list[Path]:
    """Write each panel by itself, for a column in print (3.3 inches), as `name-1.png`; returns the PNGs.

    The figures are laid out anew for it, and what is not the panel's is hidden. A legend of the whole figure
    is written as `name-legend.png`, its entries one below the other; so are those of a wide one.

    Raises: OSError: the folder cannot be written to.
    """
    paths = []
    for name, figure in figures.items():
        drawn = [ax for ax in figure.axes if ax.get_subplotspec() is not None and ax.axison]
        columns = max((ax.get_gridspec().ncols for ax in drawn), default=1)
        for legend in list(figure.legends):
            texts, title = [text.get_text() for text in legend.get_texts()], legend.get_title().get_text()
            legend.remove()
            alone = figure.legend(legend.legend_handles, texts, title=title, loc="lower center")
            alone.set_in_layout(False)
        figure.draw_without_rendering()
        for ax in drawn:
            if (legend := ax.get_legend()) is not None and _is_wide(ax, legend):
                texts, title = [text.get_text() for text in legend.get_texts()], legend.get_title().get_text()
                legend_below(ax, 1, handles=legend.legend_handles, labels=texts, title=title)
        width = COLUMN * columns
        for _ in range(6):  # what stands out of its column is known once it is laid out
            figure.set_figwidth(width)
            figure.draw_without_rendering()
            widest = max((_around([ax, *_bars(ax)]).width for ax in drawn), default=COLUMN)
            if widest <= COLUMN:
                break
            width -= columns * (widest - COLUMN)
        figure.set_layout_engine("none")
        groups = {str(number): [ax, *_bars(ax)] for number, ax in enumerate(drawn, 1)}
        keys = [ax for ax in figure.axes if not ax.axison and ax.get_legend() is not None]
        if of_all := [*figure.legends, *keys]:
            groups["legend"] = of_all
        everything = [*figure.axes, *figure.legends, *figure.texts]
        for part, shown in groups.items():
            for artist in everything:
                artist.set_visible(artist in shown)
            path = Path(folder) / f"{name}-{part}.png"
            how = {"format": "png", "dpi": 300, "bbox_inches": _around(shown)}
            write_atomically(path, lambda temporary, f=figure, h=how: f.savefig(temporary, **h))
            paths.append(path)
    return paths


def _is_wide(ax, legend):
    """Whether a legend stands beside its axes, or would not fit into a column."""
    box, panel = legend.get_window_extent(), ax.get_window_extent()
    return box.x1 > panel.x1 + 3 or box.width > 0.85 * COLUMN * ax.figure.dpi


def _around(artists):
    """The box around what is drawn, in inches."""
    from matplotlib.transforms import Bbox

    figure = artists[0].get_figure()
    box = Bbox.union([artist.get_tightbbox() for artist in artists]).padded(3)
    return box.transformed(figure.dpi_scale_trans.inverted())


def _bars(ax):
    """The axes of the colour bars of what is drawn in a panel."""
    return [drawn.colorbar.ax for drawn in (*ax.images, *ax.collections) if drawn.colorbar is not None]
