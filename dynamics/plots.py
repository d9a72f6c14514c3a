"""Pictures of training dynamics: the public face of `draw`."""

from dynamics.draw.panels import (
    COLOURS,
    GREY,
    THEORY,
    WIDEST,
    alignment_curves,
    band,
    curve,
    feature_map,
    legend_below,
    new_figure,
    panels,
    save_figures,
    styled,
    survival,
    time_axis,
)

__all__ = [
    "COLOURS",
    "GREY",
    "THEORY",
    "WIDEST",
    "alignment_curves",
    "band",
    "curve",
    "feature_map",
    "legend_below",
    "new_figure",
    "panels",
    "save_figures",
    "styled",
    "survival",
    "time_axis",
]
