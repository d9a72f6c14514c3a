"""Pictures of training dynamics: the public face of `draw`.

`alignment`, `feature_map`, `phase`, `margins` and `spectrum` take a result and give a figure, or draw into
given axes; all others draw into given axes. Nothing shows or saves except `save_figures` and `save_panels`.
Solid lines are medians over seeds with interquartile bands; theory is a dashed black line.
"""

from dynamics.draw.panels import (
    alignment_curves,
    band,
    curve,
    curves,
    guide,
    heat_map,
    log_steps,
    matrix,
    pictures,
    seed_lines,
    square,
    survival,
    ticks,
    time_axis,
)
from dynamics.draw.results import alignment, feature_map, margins, phase, spectrum
from dynamics.draw.style import (
    COLOURS,
    GREY,
    THEORY,
    WIDEST,
    label,
    legend_below,
    legends,
    new_figure,
    panels,
    save_figures,
    save_panels,
    side_by_side,
    styled,
)
from dynamics.draw.tables import number_table, text_table

__all__ = [
    "COLOURS",
    "GREY",
    "THEORY",
    "WIDEST",
    "alignment",
    "alignment_curves",
    "band",
    "curve",
    "curves",
    "feature_map",
    "guide",
    "heat_map",
    "label",
    "legend_below",
    "legends",
    "log_steps",
    "margins",
    "matrix",
    "new_figure",
    "number_table",
    "panels",
    "phase",
    "pictures",
    "save_figures",
    "save_panels",
    "seed_lines",
    "side_by_side",
    "spectrum",
    "square",
    "styled",
    "survival",
    "text_table",
    "ticks",
    "time_axis",
]
