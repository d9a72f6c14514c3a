"""What makes a figure hard to read, found by drawing it."""

from itertools import combinations

import numpy as np
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.legend import Legend
from matplotlib.text import Text

from dynamics import plots

SMALLEST = 5.5  # points: numbers inside of a map
SLACK = 1.0  # pixels that boxes may share


def flaws(figure, curves: bool = True) -> list[str]:
    """Sentences on what is too wide, too small, overlaps, is cut off, or looks like theory and is not.

    `curves`: legends that cover curves too; made-up and tiny data go anywhere.
    """
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    found = []
    if figure.get_figwidth() > plots.WIDEST + 1e-9:
        found.append(f"{figure.get_figwidth():.1f} inches wide")
    texts = _texts(figure, renderer)
    for text, box in texts:
        if text.get_fontsize() < SMALLEST:
            found.append(f"{text.get_text()!r} has {text.get_fontsize():.1f} points")
        if box.x0 < -SLACK or box.y0 < -SLACK or box.x1 > figure.bbox.x1 + 1 or box.y1 > figure.bbox.y1 + 1:
            found.append(f"{text.get_text()!r} is cut off")
    for (a, one), (b, two) in combinations(texts, 2):
        if _share(one, two):
            found.append(f"{a.get_text()!r} overlaps {b.get_text()!r}")
    for legend in [*figure.legends, *(ax.get_legend() for ax in figure.axes if ax.get_legend() is not None)]:
        own, box = {id(text) for text in legend.findobj(Text)}, legend.get_window_extent(renderer)
        found += [
            f"a legend lies on {text.get_text()!r}"
            for text, other in texts
            if id(text) not in own and _share(box, other)
        ]
    for ax in figure.axes:
        found += _covered(ax, renderer) if curves else []
        found += _dashes(ax)
    return found


def _texts(figure, renderer):
    """Texts that can be seen, with their boxes in pixels; ticks beyond the axis are not drawn."""
    hidden = set()
    for ax in figure.axes:
        if not ax.axison:
            hidden |= {id(t) for axis in (ax.xaxis, ax.yaxis) for t in axis.findobj(Text)}
        for axis in (ax.xaxis, ax.yaxis):
            hidden |= _unseen_ticks(axis)
    return [
        (text, text.get_window_extent(renderer))
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and id(text) not in hidden and _shown(text)
    ]


def _shown(artist) -> bool:
    ax = getattr(artist, "axes", None)
    return ax is None or ax.get_visible()


def _unseen_ticks(axis: Axis) -> set[int]:
    low, high = sorted(axis.get_view_interval())
    margin = 1e-9 * (high - low)
    seen, every = set(), set()
    for tick in (*axis.majorTicks, *axis.minorTicks):
        every |= {id(tick.label1), id(tick.label2)}
    for tick in axis._update_ticks():
        if low - margin <= tick.get_loc() <= high + margin:
            seen |= {id(t) for t in (tick.label1, tick.label2) if t.get_visible()}
    return every - seen


def _share(one, two) -> bool:
    wide = min(one.x1, two.x1) - max(one.x0, two.x0)
    high = min(one.y1, two.y1) - max(one.y0, two.y0)
    return wide > SLACK and high > SLACK


def _covered(ax, renderer) -> list[str]:
    """Curves below a legend."""
    legend = ax.get_legend()
    if not isinstance(legend, Legend):
        return []
    box, found = legend.get_window_extent(renderer), []
    for line in ax.lines:
        path = line.get_path()
        if not line.get_visible() or len(path.vertices) == 0:
            continue
        points = line.get_transform().transform_path(path).interpolated(20).vertices
        inside = points[(np.isfinite(points)).all(axis=1)]
        inside = inside[ax.bbox.contains(0, 0) | _within(inside, ax.bbox)]
        if len(inside) and _within(inside, box).mean() > 0.02:
            found.append(f"the legend of {ax.get_title()!r} lies on {line.get_label()!r}")
    return found


def _within(points, box):
    return (
        (points[:, 0] > box.x0) & (points[:, 0] < box.x1) & (points[:, 1] > box.y0) & (points[:, 1] < box.y1)
    )


def _dashes(ax) -> list[str]:
    """Dashed lines are theory, and theory is black, grey, or of the colour of what it is about."""
    found = []
    for line in ax.lines:
        black = max(to_rgb(line.get_color())) < 0.05
        if black and line.get_linestyle() in (":", "-."):
            found.append(f"{ax.get_title()!r}: {line.get_label()!r} is black and not dashed")
    return found
