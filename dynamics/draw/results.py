"""Pictures of any result in one call: what its neurons align with, its margins, spectra, phase diagrams.

Each takes the Dataset of a run, or one of its variables, and finds dimensions by their names. It returns a
figure that a notebook shows and `savefig` writes (PNG, PDF, SVG), or draws into the axes it is given.
"""

import functools
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Shaped

from dynamics.draw.panels import band, heat_map, time_axis
from dynamics.draw.style import COLOURS, GREY, THEORY, legend_below, new_figure, styled
from dynamics.words import listed, quoted

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

Result = xr.Dataset | xr.DataArray
Size = Literal["column", "page", "slide"]
Own = Literal["recorded", "nearest"] | Shaped[np.ndarray, "*seed neurons features"] | xr.DataArray | None
Drawn = "matplotlib.figure.Figure | matplotlib.axes.Axes"
SIZES = {"column": (3.3, 2.8, 8), "page": (6.0, 3.9, 9), "slide": (10.0, 5.6, 16)}
"""Width and height in inches, and points of letters."""
MOST_GROUPS = 5  # in a legend
FEW = 12  # lines that show by themselves what a band would
PLAIN = {"linestyle": (0, (2.5, 2.5)), "linewidth": 2.0}  # dashes in a legend, wherever a curve's begin


def values_of(result: Result, name: str, dims: Sequence[str]) -> xr.DataArray:
    """A variable of a result with exactly these dimensions, in this order.

    Raises: TypeError: no result. ValueError: it is not there, or has other dimensions.
    """
    if isinstance(result, xr.Dataset):
        if name not in result:
            there = ", ".join(map(str, result.data_vars)) or "nothing"
            raise ValueError(f"the result has no {name!r}, which is to be drawn; it holds {there}")
        result = result[name]
    if not isinstance(result, xr.DataArray):
        raise TypeError(
            f"pictures are of a result of simulate, or of a variable of it, got {type(result).__name__}"
        )
    if missing := [dim for dim in dims if dim not in result.dims]:
        has, dim = ", ".join(map(str, result.dims)), missing[0]
        way = f"; choose by a list, as in result.sel({dim}=[...])" if dim in result.coords else ""
        raise ValueError(f"{name} has no dimension {dim!r}: it has {has}{way}")
    if more := [dim for dim in result.dims if dim not in dims]:
        there = result[more[0]].values.tolist()
        raise ValueError(
            f"{name} also has the dimension {more[0]!r}: choose one of {listed(there)}, as in "
            f"result.sel({more[0]}={there[-1]!r})"
        )
    return result.transpose(*dims)


def _picture(draw: Callable[..., None]) -> Callable[..., Any]:
    """A picture by `draw(ax, ...)`: in axes that are given, or in a figure of its own of some size."""

    declared = list(inspect.signature(draw).parameters.values())
    free = declared[-1].kind is inspect.Parameter.VAR_KEYWORD
    known = [] if free else [option.name for option in declared[2:]]

    @functools.wraps(draw)
    def made(result, *args, ax=None, size="page", **options):
        if unknown := sorted(set(options) - {*known}) if known else []:
            of_seeds = unknown[0] in ("seed", "seeds")
            way = "; of some seeds it is drawn by result.sel(seed=[...])" if of_seeds else ""
            has = ", ".join([*known, "ax", "size"])
            raise TypeError(f"{draw.__name__} has no option {unknown[0]!r}: its options are {has}{way}")
        if ax is not None:
            draw(ax, result, *args, **options)
            return ax
        if size not in SIZES:
            raise ValueError(f"size must be one of {', '.join(SIZES)}, got {size!r}")
        return _alone(draw, SIZES[size], result, *args, **options)

    return made


@styled
def _alone(draw, size, *args, **options):
    import matplotlib

    width, height, letters = size
    less = dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), letters - 1)
    with matplotlib.rc_context({"font.size": letters, "axes.titlesize": letters, **less}):
        figure, axes = new_figure(1, 1, width, height)
        draw(axes[0, 0], *args, **options)
    return figure


@_picture
def alignment(
    ax: "matplotlib.axes.Axes",
    result: Result,
    own: Own = "recorded",
    *,
    lines: Literal["first", "all"] | None = "first",
    predicted: Mapping[str, float | Float[np.ndarray, " times"]] | None = None,
) -> None:
    r"""How neurons align with features over time: `plots.alignment(result, own, ax=None, size="page")`.

    Neurons are grouped by the features that are their own, each group with a colour and a name, and the
    legend says by what. Thick lines are medians over its pairs in all seeds, bands interquartile ranges (none
    where a few thin lines show all that there is), and grey is what is not their own.

    Args:
      result: with `alignment` of dimensions seed, step, neuron and feature, or that variable itself.
      own: which features are a neuron's own, in every seed by itself: `own` of the result, where it has one;
        "nearest" at the end; an array (above 0.5: own) of neurons and features, of each seed or of all;
        None: none, and a colour a feature.
      lines: thin ones, of every neuron and own feature: of the first seed, of all seeds, or none.
      predicted: by label, the theory's number, or its value at each step, as dashed lines.
      ax: draws into these axes and returns them. size: of the figure: "column", "page" or "slide".

    Raises: ValueError: no such variable, other dimensions, or an `own` that does not fit.
    """
    from matplotlib.lines import Line2D

    values = values_of(result, "alignment", ("seed", "step", "neuron", "feature"))
    steps, names = values.step.values, _names(values)
    curves = values.values.transpose(0, 2, 3, 1)  # seed, neuron, feature, step
    mine, grouped = _own(result, values, own)
    groups = _groups(mine)
    if not mine.all() and groups:
        middle = _spread(ax, steps, curves, ~mine, GREY, lines)
        ax.plot(steps, middle, color=GREY, linewidth=1.6, label="other features", path_effects=_edged(1.6))
    if not groups:  # features by themselves
        groups = [((j,), np.ones(mine.shape[:2], bool)) for j in range(mine.shape[2])]
        mine = np.ones_like(mine)
        grouped = f"one colour per feature{grouped and f': {grouped}'}"
    shown = groups[: len(COLOURS)]
    period = 2.5 * len(shown)
    for number, (features, members) in enumerate(shown):
        pairs = members[:, :, None] & mine & np.isin(np.arange(mine.shape[2]), features)
        colour, label = COLOURS[number], _named(features, names)
        if number >= MOST_GROUPS:
            label = None
        middle = _spread(ax, steps, curves, pairs, colour, lines)
        # dashes between each other's, so that of curves that coincide none hides another
        dashes = (2.5 * number, (2.5, period - 2.5)) if len(shown) > 1 else "-"
        ax.plot(steps, middle, color=colour, linewidth=0.8, zorder=3.0, path_effects=_edged(2.0))
        ax.plot(steps, middle, color=colour, linewidth=2.0, linestyle=dashes, zorder=3.1, label=label)
    if len(groups) > min(len(shown), MOST_GROUPS):
        more = len(groups) - min(len(shown), MOST_GROUPS)
        ax.plot([], [], color="white", linewidth=0, label=f"and {more} groups more")
    for label, value in (predicted or {}).items():
        over_time = np.ndim(value) > 0
        ax.plot(steps, value if over_time else np.full(len(steps), value), label=label, **THEORY)
    time_axis(ax, steps)
    ax.set_ylabel(r"alignment $\cos(w_r, \mu_j)$")
    ax.set_ylim(min(-0.25, float(np.nanmin(curves)) * 1.1), 1.05)
    named = dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    if len(shown) > 1:
        for features, _ in shown[:MOST_GROUPS]:
            label = _named(features, names)
            named[label] = Line2D([], [], color=named[label].get_color(), **PLAIN)
    how = {"title": grouped, "title_fontsize": "small", "alignment": "left"}
    legend_below(ax, 2, handles=[*named.values()], labels=[*named], handlelength=3.0, **how)


def _own(result, values, own) -> tuple[Bool[np.ndarray, "seeds neurons features"], str]:
    """Which features are a neuron's own, and what a legend says of that."""
    seeds, _, *pair = values.shape
    words, lacking = "by own features, as given", ""
    if isinstance(own, str) and own == "recorded":
        own = result["own"] if isinstance(result, xr.Dataset) and "own" in result else None
        words, lacking = "by own features, as recorded", "no own is recorded"
    if own is None:
        return np.zeros((seeds, *pair), bool), lacking
    if isinstance(own, str):
        if own != "nearest":
            raise ValueError(f"own must be recorded, nearest, an array or None, got {own!r}")
        end = np.nan_to_num(values.isel(step=-1).values, nan=-2.0)
        return end == end.max(axis=2, keepdims=True), "by the features nearest at the end"
    if isinstance(own, xr.DataArray):
        own = own.isel(step=-1) if "step" in own.dims else own
        dims = [dim for dim in ("seed", "neuron", "feature") if dim != "seed" or "seed" in own.dims]
        own = values_of(own, "own", dims).values
    own = np.asarray(own)
    if own.shape not in ((seeds, *pair), tuple(pair)):
        expected = f"{(seeds, *pair)} or {tuple(pair)}"
        raise ValueError(f"own must say which features are a neuron's: shape {expected}, got {own.shape}")
    mine = np.broadcast_to(own > 0.5, (seeds, *pair))
    return mine, words if mine.any() else "own is 0 everywhere"


def _groups(mine):
    """The sets of own features that there are, the most frequent first, and whose they are."""
    packed, inverse, counts = np.unique(
        mine.reshape(-1, mine.shape[2]), axis=0, return_inverse=True, return_counts=True
    )
    members = inverse.reshape(mine.shape[:2])
    order = sorted(range(len(packed)), key=lambda g: (-counts[g], np.flatnonzero(packed[g]).tolist()))
    if len(order) <= len(COLOURS):
        order = sorted(order, key=lambda g: np.flatnonzero(packed[g]).tolist())
    return [(tuple(np.flatnonzero(packed[g])), members == g) for g in order if packed[g].any()]


def _names(values) -> list[str]:
    numbers = [str(j + 1) for j in range(values.sizes["feature"])]  # as in a map
    if "feature" not in values.coords or values.feature.values.tolist() == list(range(len(numbers))):
        return numbers
    return [str(value) for value in values.feature.values]


def _named(features, names) -> str:
    listed = ", ".join(names[j] for j in features[:4]) + (", ..." if len(features) > 4 else "")
    return f"feature {listed}" if len(features) == 1 else f"features {listed}"


def _spread(ax, steps, curves, pairs, colour, lines):
    """Thin lines of pairs and the band of their quartiles, where those do not show it; their median."""
    rows = curves[pairs]
    low, middle, high = np.nanquantile(rows, [0.25, 0.5, 0.75], axis=0)
    drawn = _thin(ax, steps, curves, pairs, colour, lines)
    if drawn < len(rows) or drawn > FEW:
        shades = {"facecolor": (colour, 0.15), "edgecolor": (colour, 0.6)}
        ax.fill_between(steps, low, high, linewidth=0.5, **shades)
    return middle


def _thin(ax, steps, curves, pairs, colour, lines) -> int:
    """The pairs' own curves, as one artist, the paler the more they are; how many they are."""
    from matplotlib.collections import LineCollection

    if lines is None:
        return 0
    if lines == "first":
        there = int(np.argmax(np.isfinite(curves).any(axis=(1, 2, 3))))  # not one that diverged at once
        curves, pairs = curves[there], pairs[there]
    rows = curves[pairs]
    segments = np.stack([np.broadcast_to(steps, rows.shape), rows], axis=2)
    pale = float(np.clip(20 / max(len(rows), 1), 0.06, 0.5))
    ax.add_collection(LineCollection(segments, colors=colour, linewidths=0.6, alpha=pale), autolim=False)
    return len(rows)


def _edged(width):
    """White edges of a line of this width, so that it stands out from what is below it."""
    from matplotlib.patheffects import Normal, Stroke

    return [Stroke(linewidth=width + 1.6, foreground="white"), Normal()]


@_picture
def feature_map(
    ax: "matplotlib.axes.Axes",
    result: Result,
    *,
    seed: int | None = None,
    step: int | None = None,
    limit: float = 1.0,
    numbers: bool = True,
) -> None:
    """Cosine of each neuron with each feature, of one seed at one step, as a heat map.

    The scale goes from -`limit` to `limit`, so that panels of one comparison share it.

    Args:
      result: as in `alignment`.
      seed, step: which; None: the first, the last.
      numbers: write each entry too, if there are at most 144.
      ax, size: as in `alignment`.

    Raises: ValueError: no such variable, other dimensions, or no such seed or step.
    """
    values = values_of(result, "alignment", ("seed", "step", "neuron", "feature"))
    for dim, value, default in (("seed", seed, 0), ("step", step, -1)):
        if value is None:
            values = values.isel({dim: slice(default, None if default else 1)})
        elif value not in (there := values[dim].values.tolist()):
            raise ValueError(f"alignment has no {dim} {quoted(value)}: it has {listed(there)}")
        else:
            values = values.sel({dim: [value]})
    heat_map(ax, values.values[0, 0], numbers=numbers, limit=limit)
    if (count := values.sizes["neuron"]) > FEW:  # numbers of three digits need more room
        tens = 10 ** np.floor(np.log10(count / 5))
        every = int(next(tens * times for times in (1, 2, 5, 10) if 5 * tens * times >= count))
        numbered = [1, *range(every, count + 1, every)]
        ax.set_xticks([number - 1 for number in numbered], map(str, numbered))
    ax.set_title(f"seed {values.seed.item()}, step {values.step.item()}")


@_picture
def phase(ax: "matplotlib.axes.Axes", values: xr.DataArray, x: str, y: str, **image: Any) -> None:
    """A phase diagram of a measure of one's own: its mean over seeds, over two axes of a run or sweep.

    Points without a number are grey. An axis is logarithmic where its values grow by a factor.

    Args:
      values: of dimensions `x`, `y` and, if there are several, `seed`.
      image: keywords of Matplotlib's `pcolormesh` (`vmin`, `cmap`, ...).
      ax, size: as in `alignment`.

    Raises: TypeError: no variable. ValueError: other dimensions, or fewer than two values of one.
    """
    from matplotlib.ticker import NullLocator

    if isinstance(values, xr.Dataset):
        there = ", ".join(map(str, values.data_vars)) or "nothing"
        raise TypeError(f'a phase diagram is of one variable, as in phase(result["..."], x, y), of: {there}')
    if not isinstance(values, xr.DataArray):
        raise TypeError(f"a phase diagram is of a variable of a result, got {type(values).__name__}")
    dims = (y, x, *(("seed",) if "seed" in values.dims else ()))
    name = str(values.name or "the measure")
    values = values_of(values, name, dims)
    shown = values.mean("seed", keep_attrs=True) if "seed" in dims else values
    for dim, axis in ((x, "x"), (y, "y")):
        at = shown[dim].values
        if len(at) < 2 or at.dtype.kind not in "iuf":
            raise ValueError(f"a phase diagram needs two or more numbers of {dim!r}, got {at.tolist()}")
        if (at > 0).all() and len(at) > 2 and np.ptp(np.diff(np.log(at))) < np.ptp(np.diff(at)):
            ax.set(**{f"{axis}scale": "log"})
        if len(at) <= 10:
            ax.set(**{f"{axis}ticks": at, f"{axis}ticklabels": [f"{value:.3g}" for value in at]})
            getattr(ax, f"{axis}axis").set_minor_locator(NullLocator())
    mesh = ax.pcolormesh(
        _edges(shown[x].values, ax.get_xscale()),
        _edges(shown[y].values, ax.get_yscale()),
        shown.values,
        **image,
    )
    ax.set_facecolor("0.85")
    ax.set(xlabel=shown[x].attrs.get("long_name", x), ylabel=shown[y].attrs.get("long_name", y))
    ax.figure.colorbar(mesh, ax=ax, label=textwrap.fill(values.attrs.get("long_name", name), 32))


def _edges(at, scale):
    """The ends of cells around numbers in order."""
    at = np.log(at) if scale == "log" else np.asarray(at, float)
    middle = (at[1:] + at[:-1]) / 2
    edges = np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])
    return np.exp(edges) if scale == "log" else edges


@_picture
def margins(ax: "matplotlib.axes.Axes", result: Result, name: str = "margin") -> None:
    """Normalised margins over time, one curve a norm: medians over seeds with interquartile bands.

    Args:
      result: with a variable of dimensions seed, step and norm, as `observables.geometric_margin` records it.
      name: of that variable.
      ax, size: as in `alignment`.

    Raises: ValueError: no such variable, or other dimensions.
    """
    values = values_of(result, name, ("norm", "seed", "step"))
    for colour, norm in zip(COLOURS * values.sizes["norm"], values.norm.values, strict=False):
        band(ax, values.step.values, values.sel(norm=norm).values, color=colour, label=str(norm))
    ax.axhline(0, color="0.6", linewidth=0.8)
    time_axis(ax, values.step.values)
    ax.set_ylabel(values.attrs.get("long_name", "margin"))
    ax.legend(title="norm")


@_picture
def spectrum(ax: "matplotlib.axes.Axes", result: Result, name: str = "ntk_eigenvalues") -> None:
    """Eigenvalues, the largest first, at the start and at the end: medians over seeds with bands.

    Args:
      result: with a variable of dimensions seed, step and mode; or of seed and mode.
      name: of that variable.
      ax, size: as in `alignment`.

    Raises: ValueError: no such variable, or other dimensions.
    """
    found = result[name] if isinstance(result, xr.Dataset) and name in result else result
    over_time = "step" in found.dims
    values = values_of(result, name, ("seed", *(("step",) if over_time else ()), "mode"))
    ends = {"": values}
    if over_time:
        ends = {f"step {step}": values.sel(step=step) for step in values.step.values[[0, -1]]}
    for colour, (label, one) in zip(COLOURS, ends.items(), strict=False):
        one = np.where(one.values > 0, one.values, np.nan)
        band(ax, np.arange(1, one.shape[1] + 1), one, color=colour, label=label or None)
    ax.set(xscale="log", yscale="log", xlabel="mode", ylabel=values.attrs.get("long_name", "eigenvalue"))
    if over_time:
        ax.legend()
