"""The check of figures finds what it is to find."""

import pytest
from matplotlib.figure import Figure

from dynamics import plots


def sound():
    figure, axes = plots.panels(2, 4.0, 3.0)
    for ax in axes:
        ax.plot([0, 1, 2], [0, 1, 4], label="measured")
        ax.plot([0, 1, 2], [0, 1, 4], label="theory", **plots.THEORY)
        ax.set(xlabel="x", ylabel="y", title="a square")
        ax.legend(loc="upper left")
    return figure


def wide(figure):
    figure.set_figwidth(12.0)


def small(figure):
    figure.axes[0].text(1, 1, "tiny", fontsize=4)


def overlapping(figure):
    figure.axes[0].text(0.5, 3, "first words")
    figure.axes[0].text(0.52, 3, "second words")


def cut(figure):
    figure.text(0.95, 0.5, "far outside")


def covered(figure):
    figure.axes[1].legend(loc="upper right")


def dotted(figure):
    figure.axes[0].plot([0, 2], [4, 4], color="black", linestyle=":", label="level")


def crowded(figure):
    figure.axes[0].set_xticks([1, 1.01], ["one thing", "another"])


def test_a_sound_figure_has_none(flaws):
    assert flaws(sound()) == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (wide, "12.0 inches wide"),
        (small, "'tiny' has 4.0 points"),
        (overlapping, "'first words' overlaps 'second words'"),
        (cut, "'far outside' is cut off"),
        (covered, "the legend of 'a square' lies on 'measured'"),
        (dotted, "'level' is black and not dashed"),
        (crowded, "'one thing' overlaps 'another'"),
    ],
)
def test_finds(flaws, spoil, words):
    figure = sound()
    spoil(figure)
    assert any(words in flaw for flaw in flaws(figure))


def test_panels_fit_a_column():
    for count, shape in ((1, (1, 1)), (2, (1, 2)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)), (7, (3, 3))):
        figure, axes = plots.panels(count, 3.2, 3.0)
        assert isinstance(figure, Figure)
        assert len(axes) == count
        assert axes[0].get_gridspec().get_geometry() == shape
        assert figure.get_figwidth() <= plots.WIDEST + 1e-9
    assert plots.panels(3, 4.1, 3.0)[1][0].get_gridspec().get_geometry() == (2, 2)
