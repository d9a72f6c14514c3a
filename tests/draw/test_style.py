"""Figures are taken apart into panels for a column in print."""

import matplotlib.image
import numpy as np

from dynamics import plots

INCH = 300  # pixels


def test_each_panel_of_a_figure_fits_into_a_column(tmp_path):
    figure, axes = plots.new_figure(1, 2, 9.6, 3.0)
    shown = axes[0, 0].imshow(np.eye(2))
    figure.colorbar(shown, ax=axes[0, 0], label="value")
    axes[0, 1].plot([1, 1000], [0, 1], color="red", label="measured")
    plots.label(axes[0, 1], "steps", "share", "the right one", log="x")
    figure.suptitle("both together")
    figure.legend(loc="outside lower center")
    paths = plots.save_panels({"both": figure}, tmp_path)
    assert [path.name for path in paths] == ["both-1.png", "both-2.png", "both-legend.png"]
    left, right, legend = (matplotlib.image.imread(path)[..., :3] for path in paths)
    for panel in (left, right):
        assert 2.4 * INCH < panel.shape[1] <= 3.3 * INCH + 1
    assert legend.shape[0] < 0.5 * INCH
    red = [((panel - [1.0, 0.0, 0.0]) ** 2).sum(-1).min() < 0.01 for panel in (left, right, legend)]
    assert red == [False, True, True]  # what is of another panel is not in this one


def test_ticks_of_a_logarithmic_axis_are_plain_numbers():
    figure, axes = plots.new_figure(1, 1, 3.0, 3.0)
    plots.label(axes[0, 0], "steps", log="x", xlim=(1, 1000))
    figure.draw_without_rendering()
    assert {text.get_text() for text in axes[0, 0].get_xticklabels()} >= {"1", "10", "100", "1000"}
