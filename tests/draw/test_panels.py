"""Figures from a tiny Dataset: labelled, with the theory dashed and in its place, and no global state."""

import dataclasses
import json

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from dynamics import experiments, plots

mpl.use("agg")
EXPERIMENT = experiments.get("feature_averaging")
STEPS = np.array([0, 1, 4, 20, 50])
SIZES = {"dim": 64, "num_clusters": 4, "num_samples": 80, "width": 2, "steps": 50, "radii": (0.0, 2.0, 4.0)}
FIGURES = sorted(EXPERIMENT.figures)


@pytest.fixture(autouse=True)
def _untyped(untyped):
    """As users have it."""


def arm(config, supervision):
    """Made-up records of one network: shapes as a run has them, values from a generator."""
    rng = np.random.default_rng(len(supervision))
    classes = config.labels if supervision == "fine" else 2
    count = classes * (config.group_width if supervision == "fine" else config.width)
    if supervision == "fine":
        own = np.repeat(np.eye(classes), config.group_width, axis=0)
    else:
        own = np.equal.outer(np.repeat([1, -1], config.width), config.signs).astype(float)
    seed, step, neuron = ("seed",), ("seed", "step"), ("seed", "step", "neuron", "feature")
    found = {
        "training_loss": (step, 0.7 * np.exp(-STEPS / 20) * rng.uniform(0.9, 1.1, (3, 1))),
        "alignment": (neuron, rng.uniform(-0.2, 0.8, (3, 5, count, 4))),
        "projection": (neuron, own * STEPS[None, :, None, None] / 50 + rng.normal(0, 0.01, (3, 5, count, 4))),
        "own": ((*seed, "neuron", "feature"), np.broadcast_to(own, (3, count, 4))),
        "certified_radius": ((*seed, "point"), rng.uniform(1, 3, (3, 10))),
        "pgd_accuracy": ((*seed, "radius"), np.tile([1.0, 0.6, 0.1], (3, 1))),
        "universal_accuracy": ((*seed, "radius"), np.tile([1.0, 0.8, 0.3], (3, 1))),
    }
    if supervision == "fine":
        found["pgd_accuracy_sum_logit"] = ((*seed, "radius"), np.tile([1.0, 0.9, 0.4], (3, 1)))
        found["certified_radius_sum_logit"] = ((*seed, "point"), rng.uniform(1, 2, (3, 10)))
    coordinates = {"seed": [0, 1, 2], "step": STEPS, "radius": list(config.radii), "point": range(10)}
    return xr.Dataset(found, coordinates | {"neuron": range(count), "feature": range(4)})


def made(supervision, **changes):
    """A Dataset as `run` returns it."""
    images = "data" in changes
    fields = changes if images else SIZES | changes
    config = EXPERIMENT.configs["Images" if images else "Clusters"](supervision=supervision, **fields)
    names = ["binary", "fine"] if supervision == "both" else [supervision]
    sizes = EXPERIMENT.Config(supervision=supervision, **SIZES)
    parts = [arm(sizes if images else config, name) for name in names]
    joined = xr.concat(parts, xr.IndexVariable("supervision", names), join="outer", data_vars="all")
    if images:
        joined = joined[["training_loss", "pgd_accuracy", "universal_accuracy"]].drop_dims(
            "neuron", errors="ignore"
        )
    return EXPERIMENT.signed(joined, config), config


IMAGES = {"data": "digits", "num_samples": 80, "num_test": 50, "num_points": 10, "radii": (0.0, 2.0, 4.0)}
KINDS = {
    "binary": ("binary", {}),
    "fine": ("fine", {}),
    "both": ("both", {}),
    "images": ("both", IMAGES),
    "image labels": ("fine", IMAGES),
}
GONE = {"alignment", "feature_maps", "growth"}  # nothing to draw without neurons


def own_axes(figure):
    """Axes other than colour bars."""
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


@pytest.fixture(scope="module", params=KINDS)
def drawn(request):
    """Every figure of one kind of Dataset."""
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    dataset, config = made(KINDS[request.param][0], **KINDS[request.param][1])
    figures = EXPERIMENT.draw(dataset)
    jaxtyping.config.update("jaxtyping_disable", False)
    return request.param, config, figures


def test_which_figures_there_are(drawn):
    kind, _, figures = drawn
    assert set(FIGURES) - set(figures) == (GONE if "image" in kind else set())


def test_axes_are_labelled(drawn, flaws):
    for name, figure in drawn[2].items():
        assert figure is None or not flaws(figure, curves=False), name
        for ax in own_axes(figure) if figure is not None else ():
            assert ax.get_xlabel(), name
            assert ax.get_ylabel(), name
            assert ax.get_title() or name == "robust_accuracy", name
            if not ax.images:
                legends = [ax.get_legend()] if ax.get_legend() is not None else figure.legends
                assert legends, name
                assert all(text.get_text() for legend in legends for text in legend.get_texts()), name


def test_figures_are_not_registered(drawn):
    assert plt.get_fignums() == []
    for figure in drawn[2].values():
        if figure is not None:
            assert isinstance(figure, Figure)
            assert figure.number is None if hasattr(figure, "number") else True


def theory_lines(ax):
    return [
        line for line in ax.lines if to_hex(line.get_color()) == "#000000" and line.get_linestyle() == "--"
    ]


def test_alignment_theory_is_dashed_and_in_its_place():
    dataset, _ = made("both")
    binary, fine = own_axes(EXPERIMENT.draw(dataset, ["alignment"])["alignment"])
    c = 1 + 4 / 80
    for ax, value in ((binary, 1 / np.sqrt(2 * c)), (fine, 1 / np.sqrt(c))):
        (line,) = theory_lines(ax)
        np.testing.assert_allclose(line.get_ydata(), value, rtol=1e-12)
        assert any(f"{value:.3f}" in text.get_text() for text in ax.get_legend().get_texts())


def test_growth_theory_is_dashed_and_solves_its_equation():
    dataset, config = made("both")
    (ax,) = own_axes(EXPERIMENT.draw(dataset, ["growth"])["growth"])
    laws = [line for line in ax.lines if line.get_linestyle() == "--"]
    assert [line.get_color() for line in laws] == ["black", "0.5"]  # where they lie on each other
    c, push = 1 + 4 / 80, config.learning_rate * 64 * STEPS / 4
    for line, others, width in zip(laws, (1, 3), (2, 1), strict=True):
        assert line.is_dashed() if hasattr(line, "is_dashed") else line._dash_pattern[1] is not None
        z = line.get_ydata()
        np.testing.assert_allclose(
            np.expm1(c * z) / c + others * z, others * push / width, rtol=1e-8, atol=1e-10
        )
    middle = [line for line in ax.lines if line not in laws]
    own = dataset.projection.where(dataset.own > 0.5).mean(["neuron", "feature"]).median("seed")
    for line, name in zip(middle, ("binary", "fine"), strict=True):
        np.testing.assert_allclose(line.get_ydata(), own.sel(supervision=name), rtol=1e-12)


def test_robust_accuracy_theory():
    dataset, config = made("both")
    (ax,) = own_axes(EXPERIMENT.draw(dataset, ["robust_accuracy"])["robust_accuracy"])
    radius = np.sqrt(64 / 4) / np.sqrt(1 + 4 / 80)
    (curve,) = theory_lines(ax)
    x, y = curve.get_xdata(), curve.get_ydata()
    assert np.interp(radius, x, y) == pytest.approx(0.5, abs=1e-3)
    assert (np.diff(y) <= 0).all()
    assert x[0] == 0
    assert x[-1] == max(config.radii)


@pytest.mark.parametrize("changes", [{"activation": "prelu"}, {"descent": "sign"}, {"train_radius": 0.5}])
def test_no_theory_where_it_does_not_apply(changes):
    dataset, _ = made("both", **changes)
    for name in ("alignment", "growth", "robust_accuracy"):
        for ax in own_axes(EXPERIMENT.draw(dataset, [name])[name]):
            assert theory_lines(ax) == []
            assert not any("law" in text.get_text() for text in ax.get_legend().get_texts())


def test_alignment_follows_each_seeds_own_features():
    own = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]])
    steps = np.array([0, 1, 5])
    grown = own[:, None] * np.array([0.0, 0.4, 0.9])[None, :, None, None]
    _, axes = plots.new_figure(1, 1, 3, 3)
    plots.alignment_curves(axes[0, 0], steps, grown, own)
    ends = {to_hex(line.get_color()): [] for line in axes[0, 0].lines}
    for line in axes[0, 0].lines:
        ends[to_hex(line.get_color())].append(line.get_ydata()[-1])
    grey = to_hex(plots.GREY)
    assert set(ends.pop(grey)) == {0.0}
    assert {end for found in ends.values() for end in found} == {0.9}
    assert len(axes[0, 0].lines) == 4 + 2  # the first seed's pairs, and a median of each kind
    lowest, highest = (area.get_paths()[0].vertices[:, 1].max() for area in axes[0, 0].collections[::-1])
    assert (lowest, highest) == (0.0, 0.9)
    alike = np.broadcast_to(grown[:1], grown.shape)
    plots.alignment_curves(axes[0, 0], steps, alike, own[0])
    with pytest.raises(ValueError, match=r"shape \(3, 2, 2\) or \(2, 2\), got \(2, 2, 2\)"):
        plots.alignment_curves(axes[0, 0], steps, grown, own[:2])


def test_colours_of_a_feature_map():
    figure, axes = plots.new_figure(1, 1, 4, 3)
    matrix = np.array([[0.5, -0.25], [0.0, 0.1], [-0.1, 0.2]])
    plots.heat_map(axes[0, 0], matrix)
    (image,) = axes[0, 0].images
    np.testing.assert_array_equal(image.get_array(), matrix.T)
    assert image.get_clim() == (-0.5, 0.5)
    assert {text.get_text() for text in axes[0, 0].texts} >= {"0.50", "-0.25"}
    assert isinstance(figure, Figure)


def test_frames_stand_around_their_cells():
    _, axes = plots.new_figure(1, 1, 3, 3)
    values = xr.DataArray(np.eye(3), dims=("a", "b"), coords={"a": [1, 2, 3], "b": [1, 2, 3]})
    plots.matrix(axes[0, 0], values, framed=[[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    corners = [(patch.get_y(), patch.get_x()) for patch in axes[0, 0].patches]
    np.testing.assert_allclose(corners, [(-0.46, 1.52), (1.54, -0.48)])


def test_a_line_a_seed_and_one_label():
    _, axes = plots.new_figure(1, 1, 3, 3)
    values = xr.DataArray([[1.0, 2.0], [3.0, 4.0]], dims=("seed", "step"), coords={"seed": [4, 7]})
    plots.seed_lines(axes[0, 0], -values, values, label="x", color="red")
    for line, x in zip(axes[0, 0].lines, ([-1, -2], [-3, -4]), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), x)
    assert axes[0, 0].get_legend_handles_labels()[1] == ["x"]


def test_band_is_median_and_quartiles():
    _, axes = plots.new_figure(1, 1, 3, 3)
    values = np.arange(20.0).reshape(5, 4) ** 2
    plots.band(axes[0, 0], np.arange(4.0), values, label="x")
    (line,) = axes[0, 0].lines
    np.testing.assert_array_equal(line.get_ydata(), values[2])
    (area,) = axes[0, 0].collections
    heights = area.get_paths()[0].vertices
    at_start = heights[heights[:, 0] == 0, 1]
    assert at_start.min() == values[1, 0]
    assert at_start.max() == values[3, 0]


def test_curve_is_a_band_over_its_coordinate():
    _, axes = plots.new_figure(1, 1, 3, 3)
    values = xr.DataArray(
        np.arange(12.0).reshape(4, 3), dims=("radius", "seed"), coords={"radius": [1, 2, 4, 8]}
    )
    plots.curve(axes[0, 0], values, "radius", label="x")
    (line,) = axes[0, 0].lines
    np.testing.assert_array_equal(line.get_xdata(), [1, 2, 4, 8])
    np.testing.assert_array_equal(line.get_ydata(), [1, 4, 7, 10])


def test_survival_counts_strictly():
    samples = np.array([[0.0, 1.0, 2.0, 2.0], [3.0, 3.0, 3.0, 3.0]])
    found = plots.survival(samples, np.array([0.0, 2.0, 2.5]))
    np.testing.assert_array_equal(found, [[0.75, 0.0, 0.0], [1.0, 1.0, 1.0]])


def test_style_of_the_user_is_left_alone():
    with mpl.rc_context({"font.size": 31.0}):
        figure = EXPERIMENT.plot(made("binary")[0])
        assert mpl.rcParams["font.size"] == 31.0
    sizes = {ax.xaxis.label.get_size() for ax in own_axes(figure)}
    assert max(sizes) < 15


def test_saved_with_provenance(tmp_path):
    figure = EXPERIMENT.draw(made("binary")[0], ["growth"])["growth"]
    paths = plots.save_figures({"growth": figure}, tmp_path, {"seeds": [0, 1, 2]})
    assert paths == [tmp_path / "growth.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["growth.json", "growth.png"]
    assert json.loads((tmp_path / "growth.json").read_text()) == {"figure": "growth", "seeds": [0, 1, 2]}
    assert plt.imread(paths[0]).std() > 0.01
    with pytest.raises(OSError, match="nowhere"):
        plots.save_figures({"growth": figure}, tmp_path / "nowhere", {})


def test_summary_marks_masked_attacks():
    dataset, config = made("both")
    lines = EXPERIMENT.summary(dataset).splitlines()
    assert lines[0].startswith("network")
    rows = {line.split("  ")[0]: line for line in lines[1:]}
    assert f"{dataset.certified_radius.sel(supervision='binary').mean():.2f}" in rows["binary labels"]
    # PGD crosses one half at 2 + 2 (0.6 - 0.5) / (0.6 - 0.1)
    assert "2.40" in rows["binary labels"]
    proven = float(dataset.certified_radius.sel(supervision="binary").median())
    assert rows["binary labels"].endswith("masked") == (proven * 1.1 < 2.4)
    # PGD that reaches half of the points where they are proven wrong is not masked
    tight = dataset.assign(attained_radius=xr.full_like(dataset.certified_radius, 2.3))
    (row,) = [ln for ln in EXPERIMENT.summary(tight).splitlines() if ln.startswith("binary labels")]
    assert not row.endswith("masked")
    assert "3.60" in rows["fine labels sum_logit"]  # 2 + 2 (0.9 - 0.5) / (0.9 - 0.4)
    assert rows["fine labels sum_logit"].endswith("masked")
    images, _ = made("both", **IMAGES)
    assert "masked" not in EXPERIMENT.summary(images)
    assert dataclasses.replace(config, supervision="fine").trains("fine")
