"""Shared panels and tables, by what stands in the axes."""

import numpy as np
import pytest
import xarray as xr

from dynamics import plots


@pytest.fixture
def ax():
    return plots.new_figure(1, 1, 3.0, 2.0)[1][0, 0]


def test_a_guide_is_a_power_law_through_its_first_point(ax):
    plots.guide(ax, xr.DataArray([2.0, 4.0, 8.0], dims="width"), 3.0, -0.5, "law", color="red")
    (line,) = ax.lines
    np.testing.assert_allclose(line.get_ydata(), 3 * np.array([1, 2**-0.5, 0.5]))
    assert (line.get_label(), line.get_color(), line.get_linestyle()) == ("law", "red", "--")


def test_a_matrix_names_its_rows_and_columns_and_writes_into_its_cells(ax):
    values = xr.DataArray(
        [[0.0, 1.0, 4.0], [3.0, np.nan, 0.5]],
        dims=("rule", "norm"),
        coords={"rule": ["gd", "sign"], "norm": ["l1", "l2", "linf"]},
    )
    shown = plots.matrix(
        ax, values, [list("abc"), list("def")], columns=["x", "y", "z"], bar={"label": "size"}
    )
    np.testing.assert_array_equal(shown.get_array().filled(np.nan), values)
    assert [text.get_text() for text in ax.get_yticklabels()] == ["gd", "sign"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["x", "y", "z"]
    written = {text.get_text(): text for text in ax.texts}
    assert written["f"].get_position() == (2, 1)
    assert [written[name].get_color() for name in "acd"] == ["black", "white", "white"]
    assert ax.figure.axes[1].get_ylabel() == "size"


def test_pictures_are_squares_of_one_scale():
    axes = plots.new_figure(1, 2, 4.0, 2.0)[1][0]
    pixels = np.arange(8.0).reshape(2, 4)
    plots.pictures(axes, pixels, ["first", "second"])
    for ax, one, title in zip(axes, pixels, ("first", "second"), strict=True):
        (image,) = ax.images
        np.testing.assert_array_equal(image.get_array(), one.reshape(2, 2))
        assert image.get_clim() == (0.0, 7.0)
        assert ax.get_title() == title
        assert not ax.get_xticks().size
    with pytest.raises(ValueError, match="square number of pixels, got 3"):
        plots.pictures(axes, np.ones((2, 3)))
    assert (plots.square(784), plots.square(785), plots.square(0)) == (28, 0, 0)


def test_labels_of_a_panel(ax):
    ax.plot([1, 2], [1, 2], label="line")
    plots.label(ax, "width $m$", "loss", "title", log="xy", xlim=(1, 10), ylim=(None, 5), legend="best")
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("width $m$", "loss", "title")
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert ax.get_xlim() == (1, 10)
    assert ax.get_ylim()[1] == 5
    assert ax.get_legend() is not None
    plots.label(ax, y="other")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("width $m$", "other")


def test_columns_of_a_table_stand_one_below_the_other():
    text = plots.text_table([["rule", "loss"], ["gradient descent", "0.1"], ["sign", "10"]])
    assert text == "rule              loss\ngradient descent  0.1\nsign              10"
    assert plots.text_table([["rule", "loss"]]) == ""


def test_steps_are_logarithmic_from_the_first_record_after_the_start_on(ax):
    plots.log_steps(ax, np.array([0, 2, 50]))
    assert (ax.get_xscale(), ax.get_xlim()) == ("log", (2, 50))


def test_few_steps_are_not_logarithmic(ax):
    plots.log_steps(ax, [0, 5, 10])
    assert ax.get_xscale() == "linear"


def test_panels_side_by_side_are_drawn_of_runs_to_which_they_apply():
    def draw(ax, run):
        ax.plot(run["x"])

    figure = plots.side_by_side(3.0, 2.0, draw, draw, where="x")
    assert figure({"y": [1.0]}) is None
    drawn = figure({"x": [1.0, 2.0]})
    assert [len(ax.lines) for ax in drawn.axes] == [1, 1]
    assert drawn.get_size_inches().tolist() == [6.0, 2.0]
    assert plots.side_by_side(3.0, 2.0, draw, where=lambda run: False)({"x": [1.0]}) is None
