"""Pictures of training dynamics: the public face of `draw`.

Every function draws into given axes; nothing shows or saves except `save_figures`. Solid lines are medians
over seeds with interquartile bands; theory is a dashed black line.
"""

from dynamics.draw.panels import (
    alignment_curves,
    band,
    curve,
    curves,
    feature_map,
    guide,
    log_steps,
    matrix,
    pictures,
    seed_lines,
    square,
    survival,
    ticks,
    time_axis,
)
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
    side_by_side,
    styled,
)
from dynamics.draw.tables import number_table, text_table

__all__ = [
    "COLOURS",
    "GREY",
    "THEORY",
    "WIDEST",
    "alignment_curves",
    "band",
    "curve",
    "curves",
    "feature_map",
    "guide",
    "label",
    "legend_below",
    "legends",
    "log_steps",
    "matrix",
    "new_figure",
    "number_table",
    "panels",
    "pictures",
    "save_figures",
    "seed_lines",
    "side_by_side",
    "square",
    "styled",
    "survival",
    "text_table",
    "ticks",
    "time_axis",
]
