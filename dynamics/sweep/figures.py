"""Pictures of a sweep: curves along one axis with their power laws, and phase diagrams over two."""

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from dynamics import plots
from dynamics.study.law import Law
from dynamics.sweep import grid as grids
from dynamics.sweep import shown as choice
from dynamics.sweep.fits import PowerLaw, power_law
from dynamics.sweep.grid import Grid
from dynamics.sweep.run import dims_of

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

MOST_PANELS, MOST_CURVES, MOST_NUMBERS = 12, 8, 80
LEAST_SPAN = 1.5  # of a logarithmic axis
_MARKERS = "os^Dv<>p"


class Shown:
    """A sweep and what is to be seen of it.

    Raises: ValueError: a Dataset of something else, or a quantity that it does not have.
    """

    def __init__(self, experiment: Any, dataset: xr.Dataset, asked: Sequence[str] = ()):
        self.grid: Grid = grids.of(experiment.config_of(dataset), dataset)
        dims = dims_of(dataset)
        self.dims = [dims[name] for name in self.grid.axes]
        self.quantities: list[Law] = choice.choose(
            experiment.quantities, dataset, self.grid, self.dims, asked
        )
        self.values = [choice.values(one, dataset, self.dims) for one in self.quantities]
        self.theory = [choice.predicted(one, self.grid) for one in self.quantities]
        self.seeds = dataset.sizes["seed"]
        first = dataset.first_nonfinite_step
        ran = first.notnull().any([dim for dim in first.dims if dim not in self.dims])
        self.ran: Bool[np.ndarray, "*axes"] = ran.transpose(*self.dims).values  # False: not possible

    def fits(self) -> list[dict[str, Any]]:
        """Power laws along the first axis, one a value of the others, where a theorem has an exponent.

        Each is JSON-ready: quantity, along, at, exponent, interval, factor, theorem (its exponent), and law:
        the exponent of the theory's own numbers at these points, which are of finite size; None if unknown.
        """
        found = []
        for one, values, theory in zip(self.quantities, self.values, self.theory, strict=True):
            both = np.concatenate([values, theory[..., None]], axis=-1)
            theorems = one.exponents(self.grid.base)
            for along in (name for name in self.grid.axes if name in theorems):
                for at, line in _lines(self.grid, both, along):
                    fit, law = _fits(self.grid.axes[along], line[:, :-1], line[:, -1])
                    if fit is not None:
                        about = {"quantity": one.name, "along": along, "at": at, **fit._asdict()}
                        law = None if law is None else law.exponent
                        found.append(about | {"theorem": theorems[along], "law": law})
        return found

    def figures(self) -> dict[str, "matplotlib.figure.Figure"]:
        """Phase diagrams of two axes or more, and curves."""
        found = {"phase": phase(self)} if len(self.grid.axes) > 1 else {}
        return found | {"curve": curve(self)}

    def of_seeds(self, alone: str = "") -> str:
        """What curves show of the seeds, in words; `alone` for a single one."""
        return f"mean and middle half of {self.seeds} seeds" if self.seeds > 1 else alone

    def summary(self) -> str:
        """The smallest and largest value of each quantity, and a line a power law."""
        lines = [self.ranges()]
        for fit in self.fits():
            at = "".join(f", {name}={value}" for name, value in fit["at"].items())
            law = PowerLaw(fit["exponent"], fit["interval"], fit["factor"])
            text = f"{fit['quantity']} ~ {fit['along']}^e{at}: e = {_words(law)}; theorem {fit['theorem']:g}"
            lines.append(text + _of_law(fit["law"]))
        return "\n".join(lines)

    def ranges(self) -> str:
        """The smallest and largest value of each quantity, and how far they are from the theory's."""
        lines = []
        for one, values, theory in zip(self.quantities, self.values, self.theory, strict=True):
            mean = values.mean(axis=-1)
            if np.isfinite(mean).any():
                low, high = int(np.nanargmin(mean)), int(np.nanargmax(mean))
                ends = [f"{mean.flat[i]:.4g} at {self.grid.where(i)}" for i in (low, high)]
                same = ends[0] == ends[1]
                lines.append(f"{one.name}: " + (ends[0] if same else f"from {ends[0]} to {ends[1]}"))
            with np.errstate(divide="ignore", invalid="ignore"):
                off = np.abs(mean / theory - 1)
            if np.isfinite(off).any():
                about = int(np.isfinite(off).sum())
                where = (
                    "" if about == np.isfinite(mean).sum() else f", at the {about} points that it is about"
                )
                lines.append(f"    from the theory by at most {100 * np.nanmax(off):.1f} %{where}")
        return "\n".join(lines)


def _fits(x, values, theory) -> tuple[PowerLaw | None, PowerLaw | None]:
    """The power law of the measured values, and that of the theory's, if it has all these points."""
    there = np.isfinite(values).all(axis=1)
    x = np.asarray(x, float)[there]
    law = power_law(x, theory[there, None]) if np.isfinite(theory[there]).all() else None
    return power_law(x, values[there]), law


def _of_law(exponent) -> str:
    return "" if exponent is None else f", its law at these sizes {exponent:.3f}"


def _words(law: PowerLaw) -> str:
    spread = "" if law.interval is None else f" [{law.interval[0]:.3f}, {law.interval[1]:.3f}]"
    return f"{law.exponent:.3f}{spread}"


def _lines(grid: Grid, values, along):
    """The (points, seeds) along one axis, for every combination of the others."""
    names = list(grid.axes)
    axis = names.index(along)
    others = [name for name in names if name != along]
    moved = np.moveaxis(values, axis, -2)
    for at in product(*(range(len(grid.axes[name])) for name in others)):
        yield {name: grid.axes[name][i] for name, i in zip(others, at, strict=True)}, moved[at]


def _label(shown: Shown, experiment_field: str) -> str:
    about = type(shown.grid.base).__dataclass_fields__[experiment_field].metadata["about"]
    short = about.split(";")[0].split(":")[0]
    return f"{short}" if len(short) <= 44 else experiment_field.replace("_", " ")


@plots.styled
def curve(shown: Shown) -> "matplotlib.figure.Figure":
    """Each quantity along the first axis, a curve for each value of the second; a row for the third."""
    grid = shown.grid
    names = list(grid.axes)
    figure, panels = _panels(shown, 4.8 if len(names) == 1 else 6.4, 3.5)
    for ax, column, i in panels:
        values, theory = shown.values[column], shown.theory[column]
        if i is not None:
            values, theory = values[:, :, i], theory[:, :, i]
            ax.set_title(f"{_label(shown, names[2])}: {_short(grid.axes[names[2]][i])}")
        _draw_curves(ax, shown, shown.quantities[column], values, theory)
    return figure


def _panels(shown: Shown, width: float, height: float):
    """A figure, and its panels as (axes, quantity, place on the third axis, if there is one)."""
    names, count = list(shown.grid.axes), len(shown.quantities)
    if len(names) > 2:
        third = range(len(shown.grid.axes[names[2]]))[: MOST_PANELS // count]
        wide = min(width * count, plots.WIDEST)
        figure, axes = plots.new_figure(len(third), count, wide, height * len(third))
        return figure, [(axes[i, column], column, i) for i in third for column in range(count)]
    figure, axes = plots.panels(count, width, height, most=2)
    return figure, [(ax, column, None) for column, ax in enumerate(axes)]


def _draw_curves(ax, shown, one, values, theory):
    grid = shown.grid
    names = list(grid.axes)
    places, ticks = _places(grid.axes[names[0]])
    if len(names) == 1:
        lines, labels = [(values, theory)], [shown.of_seeds("measured")]
        colours = [plots.COLOURS[0]]
    else:
        import matplotlib

        second = grid.axes[names[1]]
        chosen = np.unique(np.linspace(0, len(second) - 1, min(len(second), MOST_CURVES)).round().astype(int))
        lines = [(values[:, j], theory[:, j]) for j in chosen]
        labels = [_short(second[j]) for j in chosen]
        colours = [matplotlib.colormaps["viridis"](v) for v in np.linspace(0, 0.88, len(lines))]
    theorem = one.exponents(grid.base).get(names[0])
    logarithmic = ticks is None and _spans(places)
    power = logarithmic and _positive(values) and (theorem is not None or bool(np.isfinite(theory).any()))
    drawn = False
    for k, ((line, law), label, colour) in enumerate(zip(lines, labels, colours, strict=True)):
        there = np.isfinite(line).all(axis=1)
        if not there.any():
            continue
        x, fit, of_law = places[there], None, None
        if theorem is not None:
            fit, of_law = _fits(places, line, law)
        if fit is not None and len(lines) > 1:
            label = f"{label}: {_words(fit)}"
            label += "" if of_law is None else f"; {of_law.exponent:.3f}"
        style = {"marker": _MARKERS[k % len(_MARKERS)], "markersize": 4, "color": colour, "label": label}
        if ticks is None:
            plots.band(ax, x, line[there].T, mean=True, **style)  # as fits and phase diagrams
        else:
            aside = 0.3 * (k - (len(lines) - 1) / 2) / len(lines)
            _draw_bars(ax, x + aside, line[there], **style)
        if fit is not None:
            text = f"fit: exponent {_words(fit)}\ntheorem {theorem:g}"
            text += _of_law(None if of_law is None else of_law.exponent)
            dotted = {"color": colour, "linewidth": 0.8, "linestyle": ":"}
            ax.plot(x, fit.at(x), label=text if len(lines) == 1 else None, **dotted)
        if np.isfinite(law).any():
            alone = {} if ticks is None else {"linestyle": "none", "marker": "_", "markersize": 22}
            ax.plot(places, law, **plots.THEORY | alone)
            drawn = True
    if drawn:  # the last of the legend
        alone = {} if ticks is None else {"linestyle": "none", "marker": "_"}
        ax.plot([], [], label="theory", **plots.THEORY | alone)
    if logarithmic:
        ax.set_xscale("log")
        _plain_places(ax, places)
    if power:
        ax.set_yscale("log")
        _plain_values(ax)
    if ticks is not None:
        ax.set_xticks(places, ticks)
        ax.set_xlim(-0.5, len(places) - 0.5)
    ax.set_xlabel(_label(shown, names[0]))
    ax.set_ylabel(one.label)
    if len(lines) == 1:
        ax.legend()
    else:
        title = _label(shown, names[1])
        if theorem is not None:
            title += f":\nexponent (theorem {theorem:g})"
            title += "; of its law\nat these sizes" if np.isfinite(theory).any() else ""
        if shown.seeds > 1:
            title += f"\n({shown.of_seeds()})"
        ax.legend(loc="upper left", bbox_to_anchor=(1.02, 1), title=title, title_fontsize=7.5)


def _draw_bars(ax, x, values, **style):
    """Mean and middle half of the seeds for names, between which there is nothing to draw a line through."""
    mean = values.mean(axis=1)
    low, high = np.quantile(values, [0.25, 0.75], axis=1)
    ax.vlines(x, low, high, color=style["color"], linewidth=1)
    ax.plot(x, mean, linestyle="none", **style)


def _plain_places(ax, places):
    """The places on the axis as they are, where a logarithmic axis would show powers of ten only."""
    import matplotlib.ticker as ticker

    if len(places) <= 9:
        ax.set_xticks(places, [_short(p) for p in places])
        ax.xaxis.set_minor_locator(ticker.NullLocator())


def _plain_values(ax):
    """As many plain values as fit, on a logarithmic axis of small span; and that span never too small."""
    import matplotlib.ticker as ticker

    low, high = ax.get_ylim()
    if high / low < LEAST_SPAN:  # a flat curve should look flat
        wider = (LEAST_SPAN * low / high) ** 0.5
        ax.set_ylim(low / wider, high * wider)
    if high / low < 3:
        ax.yaxis.set_major_locator(ticker.MaxNLocator(5))
        ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
        ax.yaxis.set_minor_locator(ticker.NullLocator())
    elif high / low < 30:
        ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        ax.yaxis.set_major_formatter(ticker.FuncFormatter(lambda v, _: f"{v:g}"))
        ax.yaxis.set_minor_formatter(ticker.NullFormatter())


def _places(values) -> tuple[np.ndarray, list[str] | None]:
    """Where values go on an axis; texts and truth values go side by side."""
    if any(isinstance(value, str | bool) for value in values):
        return np.arange(len(values)), [str(value) for value in values]
    return np.asarray(values, float), None


def _spans(places) -> bool:
    return bool(len(places) > 2 and places.min() > 0 and places.max() / places.min() >= 4)


def _positive(values) -> bool:
    finite = values[np.isfinite(values)]
    return bool(finite.size and (finite > 0).all())


def _short(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@plots.styled
def phase(shown: Shown) -> "matplotlib.figure.Figure":
    """The mean over seeds of each quantity over the first two axes, with the theory's contours dashed."""
    grid = shown.grid
    names = list(grid.axes)
    figure, panels = _panels(shown, 5.2, 4.0)
    for ax, column, i in panels:
        values, theory, ran = shown.values[column].mean(axis=-1), shown.theory[column], shown.ran
        finite = values[np.isfinite(values)]
        scale = (finite.min(), finite.max()) if finite.size else (0, 1)  # the same in every panel
        if i is not None:
            values, theory, ran = values[:, :, i], theory[:, :, i], ran[:, :, i]
            ax.set_title(f"{_label(shown, names[2])}: {_short(grid.axes[names[2]][i])}")
        label = shown.quantities[column].label
        label += f"\n(mean of {shown.seeds} seeds)" if shown.seeds > 1 else ""
        _draw_phase(ax, shown, values, theory, ran, label, scale)
    return figure


def _draw_phase(
    ax: "matplotlib.axes.Axes",
    shown: Shown,
    values: Float[np.ndarray, "first second"],
    theory: Float[np.ndarray, "first second"],
    ran: Bool[np.ndarray, "first second"],
    label: str,
    scale: tuple[float, float],
) -> None:
    import matplotlib

    names = list(shown.grid.axes)
    colours = matplotlib.colormaps["viridis"].with_extremes(bad="0.88")
    image = ax.pcolormesh(
        np.ma.masked_invalid(values.T), cmap=colours, edgecolors="white", linewidth=0.3, clim=scale
    )
    ax.figure.colorbar(image, ax=ax, label=label)
    centres = [np.arange(size) + 0.5 for size in values.shape]
    handles = []
    finite = values[np.isfinite(values)]
    # a contour between two values, or two names, would say nothing
    numeric = all(_places(shown.grid.axes[name])[1] is None for name in names[:2])
    drawable = numeric and min(values.shape) > 2 and finite.size and np.ptp(finite) > 0
    if drawable and np.isfinite(theory).any():
        handles = _draw_contours(ax, centres, values, theory)
    elif values.size <= MOST_NUMBERS:
        _draw_numbers(ax, centres, values, theory, image)
        if np.isfinite(theory).any():
            handles = [matplotlib.lines.Line2D([], [], linestyle="none", label="in brackets: theory")]
    if np.isnan(values).any():
        # of a point that was run, a seed diverged, or never reached what is measured
        words = [("not possible", ~ran), ("no number in some seed", ran & np.isnan(values))]
        word = " or ".join(text for text, there in words if there.any())
        handles.append(matplotlib.patches.Patch(color="0.88", label=word))
    for name, axis, places in ((names[0], ax.xaxis, centres[0]), (names[1], ax.yaxis, centres[1])):
        every = -(-len(places) // 12)
        axis.set_ticks(places[::every], [_short(v) for v in shown.grid.axes[name][::every]])
    ax.set_xlabel(_label(shown, names[0]))
    ax.set_ylabel(_label(shown, names[1]))
    if handles:
        ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=len(handles))


def _draw_contours(ax, centres, values, theory):
    """Levels of what was measured (solid) and of the theory (dashed): the same levels."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    low, high = np.nanmin(values), np.nanmax(values)
    levels = [level for level in MaxNLocator(6).tick_values(low, high) if low < level < high]
    solid = {"colors": "white", "linewidths": 1.2}
    ax.contour(*centres, np.ma.masked_invalid(values.T), levels=levels, **solid)
    dashed = {"colors": "black", "linestyles": "--", "linewidths": 1.3}
    lines = ax.contour(*centres, np.ma.masked_invalid(theory.T), levels=levels, **dashed)
    for text in ax.clabel(lines, fontsize=7, fmt="%g"):
        text.set_path_effects(_outlined("white"))
    measured = Line2D([], [], color="white", linewidth=1.2, label="measured (white)")
    measured.set_path_effects(_outlined("0.4"))
    return [measured, Line2D([], [], color="black", linestyle="--", linewidth=1.3, label="theory")]


def _outlined(colour):
    import matplotlib.patheffects as effects

    return [effects.Stroke(linewidth=2.4, foreground=colour), effects.Normal()]


def _draw_numbers(ax, centres, values, theory, image):
    """What was measured, and the theory's in brackets."""
    for i, j in np.ndindex(values.shape):
        if np.isfinite(values[i, j]):
            dark = image.norm(values[i, j]) < 0.6
            text = _three(values[i, j]) + (f"\n({_three(theory[i, j])})" if np.isfinite(theory[i, j]) else "")
            ax.text(
                centres[0][i], centres[1][j], text, ha="center", va="center", fontsize=6.5,
                color="white" if dark else "black",
            )  # fmt: skip


def _three(value):
    """Three digits, zeros too."""
    return f"{value:#.3g}".rstrip(".")
