"""Pictures of any result: what they show, whose curves they follow, and what they say of a misfit."""

import io

import matplotlib.image
import numpy as np
import pytest
import xarray as xr

from dynamics import plots

STEPS = np.arange(0, 50, 10)


def result(seeds=3, neurons=6, features=4, own="by sign"):
    """Neurons that turn to their own features: half of them each, in another order in every seed."""
    rng = np.random.default_rng(0)
    sets = np.repeat([[1, 1, 0, 0], [0, 0, 1, 1]], neurons // 2, axis=0)
    mine = np.stack([sets[rng.permutation(len(sets))] for _ in range(seeds)])[:, :, :features]
    rise = (STEPS / STEPS[-1])[None, :, None, None]
    cosines = 0.7 * rise * mine[:, None] - 0.1 * rise * (1 - mine[:, None])
    cosines = cosines + 0.01 * rng.normal(size=(seeds, len(STEPS), neurons, features))
    dims = ("seed", "step", "neuron", "feature")
    made = xr.Dataset({"alignment": (dims, cosines)}, {"seed": np.arange(seeds), "step": STEPS})
    if own == "by sign":
        made["own"] = ("seed", "neuron", "feature"), mine.astype(float)
    return made


def lines(ax):
    """The curves of the legend, by name."""
    handles, labels = ax.get_legend_handles_labels()
    return dict(zip(labels, handles, strict=True))


def test_own_features_are_each_seeds_own():
    (ax,) = plots.alignment(result()).axes
    drawn = lines(ax)
    assert set(drawn) == {"other features", "features 1, 2", "features 3, 4"}
    for name in ("features 1, 2", "features 3, 4"):
        np.testing.assert_allclose(drawn[name].get_ydata()[-1], 0.7, atol=0.02)
    np.testing.assert_allclose(drawn["other features"].get_ydata()[-1], -0.1, atol=0.02)


@pytest.mark.parametrize("own", ["nearest", None])
def test_without_features_of_their_own(own):
    (ax,) = plots.alignment(result(own=None), own).axes
    names = set(lines(ax))
    single = {f"feature {j}" for j in range(1, 5)}
    assert names <= single | {"other features"}
    assert ("other features" in names) == (own == "nearest")


def test_an_own_of_arrays_and_at_recorded_times():
    data = result()
    expected = lines(plots.alignment(data).axes[0])["features 1, 2"].get_ydata()
    for own in (data.own, data.own.values, data.own.expand_dims(step=STEPS, axis=1)):
        found = lines(plots.alignment(data.drop_vars("own"), own).axes[0])["features 1, 2"].get_ydata()
        np.testing.assert_array_equal(found, expected)


def test_of_curves_that_coincide_none_is_hidden():
    figure = plots.alignment(result(), lines=None)
    figure.axes[0].get_legend().remove()
    written = io.BytesIO()
    figure.savefig(written, format="png", dpi=200)
    written.seek(0)
    pixels = matplotlib.image.imread(written)[..., :3]
    for colour in plots.COLOURS[:2]:
        wanted = matplotlib.colors.to_rgb(colour)
        assert (np.abs(pixels - wanted).max(axis=2) < 0.02).sum() > 50, colour


def test_hundreds_of_neurons_are_few_artists_and_a_short_legend():
    data = result(seeds=2, neurons=300)
    for options in ({}, {"own": "nearest"}, {"own": None}, {"lines": "all"}):
        (ax,) = plots.alignment(data, **options).axes
        assert len(ax.lines) + len(ax.collections) < 40
        assert len(lines(ax)) <= 7


def test_medians_stand_out_from_hundreds_of_lines(flaws):
    data = result(seeds=1, neurons=300)
    (ax,) = plots.alignment(data, size="column").axes
    thin = [one for one in ax.collections if isinstance(one, matplotlib.collections.LineCollection)]
    assert max(one.get_alpha() for one in thin) < 0.1
    medians = [line for line in ax.lines if line.get_color() in plots.COLOURS]
    assert min(line.get_zorder() for line in medians) > max(one.get_zorder() for one in ax.collections)
    assert sum(bool(line.get_path_effects()) for line in medians) == 2
    few = plots.alignment(result(seeds=1)).axes[0].collections
    assert {type(one) for one in few} == {matplotlib.collections.LineCollection}  # no band hides another
    assert max(one.get_alpha() for one in few) == 0.5
    figure = plots.feature_map(data, size="column")
    assert [text.get_text() for text in figure.axes[0].get_xticklabels()] == ["1", "100", "200", "300"]
    assert not flaws(figure)


@pytest.mark.parametrize(
    ("own", "title"),
    [
        ("recorded", "by own features, as recorded"),
        ("nearest", "by the features nearest at the end"),
        (np.eye(6, 4), "by own features, as given"),
        (np.zeros((6, 4)), "one colour per feature: own is 0 everywhere"),
        (None, "one colour per feature"),
    ],
)
def test_the_legend_says_by_what_neurons_are_grouped_in_plain_dashes(own, title):
    legend = plots.alignment(result(), own).axes[0].get_legend()
    assert legend.get_title().get_text() == title
    dashed = [line._unscaled_dash_pattern for line in legend.get_lines() if line.get_color() in plots.COLOURS]
    assert dashed == [(0, (2.5, 2.5))] * len(dashed)
    assert len(dashed) >= 2


def test_an_own_that_is_not_recorded_is_said():
    title = plots.alignment(result(own=None)).axes[0].get_legend().get_title().get_text()
    assert title == "one colour per feature: no own is recorded"


def test_saved_pictures_are_sharp(tmp_path):
    figure = plots.feature_map(result(), size="column")
    for how, width in (({}, 660), ({"dpi": 50}, 165)):
        figure.savefig(tmp_path / "map.png", **how)
        assert matplotlib.image.imread(tmp_path / "map.png").shape[1] == width


def test_theory_is_dashed_over_time_or_not():
    (ax,) = plots.alignment(result(), predicted={"end": 0.7, "law": 0.7 * STEPS / STEPS[-1]}).axes
    assert lines(ax)["end"].get_ydata()[0] == 0.7
    assert lines(ax)["law"].get_ydata()[0] == 0.0
    assert {lines(ax)[name].get_linestyle() for name in ("end", "law")} == {"--"}


def test_a_shared_scale_tells_averaging_from_decoupling():
    averaged, decoupled = result(), result()
    averaged["alignment"] = averaged.alignment * 0.6
    shades = [plots.feature_map(one).axes[0].images[0] for one in (averaged, decoupled)]
    assert {image.get_clim() for image in shades} == {(-1.0, 1.0)}
    chosen = plots.feature_map(decoupled, seed=2, step=20).axes[0].images[0].get_array()
    np.testing.assert_array_equal(chosen, decoupled.alignment.sel(seed=2, step=20).values.T)


def test_a_phase_diagram_of_ones_own_measure():
    width, scale = np.array([2, 4, 8]), np.array([1e-3, 1e-2, 1e-1, 1.0])
    values = np.arange(12.0).reshape(3, 4)
    measure = xr.DataArray(
        np.stack([values, values + 2]), {"seed": [0, 1], "width": width, "init": scale},
        ("seed", "width", "init"), name="cosine", attrs={"long_name": "mean cosine"},
    )  # fmt: skip
    figure = plots.phase(measure, x="init", y="width")
    ax, bar = figure.axes
    np.testing.assert_array_equal(ax.collections[0].get_array(), values + 1)
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert bar.get_ylabel() == "mean cosine"
    with pytest.raises(ValueError, match="needs two or more numbers of 'init'"):
        plots.phase(measure.isel(init=[0]), x="init", y="width")


def test_margins_and_spectra():
    dims = ("norm", "seed", "step")
    margin = xr.DataArray(np.ones((2, 3, 5)), {"norm": ["l1", "l2"], "step": STEPS}, dims)
    assert set(lines(plots.margins(xr.Dataset({"margin": margin})).axes[0])) == {"l1", "l2"}
    values = xr.DataArray(np.ones((3, 5, 4)), {"step": STEPS}, ("seed", "step", "mode"))
    assert set(lines(plots.spectrum(values).axes[0])) == {"step 0", "step 40"}
    assert plots.spectrum(values.isel(step=0, drop=True)).axes[0].get_legend() is None


@pytest.mark.parametrize("size", ["column", "page", "slide"])
@pytest.mark.parametrize("seeds", [1, 3])
def test_they_are_legible_at_every_size(size, seeds, flaws):
    for figure in (plots.alignment(result(seeds), size=size), plots.feature_map(result(seeds), size=size)):
        found = [flaw for flaw in flaws(figure, curves=False) if size != "slide" or "wide" not in flaw]
        assert not found
        smallest = min(
            text.get_fontsize() for text in figure.findobj(matplotlib.text.Text) if text.get_text()
        )
        assert smallest >= 5.5


def test_axes_that_are_given_and_figures_that_show_themselves():
    figure, axes = plots.new_figure(1, 2, 8.0, 3.0)
    assert plots.alignment(result(), ax=axes[0, 0]) is axes[0, 0]
    assert plots.feature_map(result(), ax=axes[0, 1]) is axes[0, 1]
    assert figure._repr_png_().startswith(b"\x89PNG")
    for kind in ("pdf", "svg"):
        written = io.BytesIO()
        figure.savefig(written, format=kind)
        assert written.getvalue()


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: plots.alignment(result()[["own"]]), "no 'alignment', which is to be drawn; it holds own"),
        (lambda: plots.alignment(result().isel(step=-1)), "alignment has no dimension 'step': it has seed, "),
        (
            lambda: plots.alignment(result().expand_dims(noise=[0.5])),
            r"choose one of 0.5, as in result.sel\(noise=0.5",
        ),
        (lambda: plots.alignment(result(), "mine"), "own must be recorded, nearest, an array or None"),
        (lambda: plots.alignment(result(), np.ones((2, 2))), r"shape \(3, 6, 4\) or \(6, 4\), got \(2, 2\)"),
        (lambda: plots.alignment(result(), size="poster"), "size must be one of column, page, slide"),
        (lambda: plots.feature_map(result(), seed=9), "alignment has no seed 9: it has 0, 1, 2"),
        (
            lambda: plots.alignment(result().isel(seed=0)),
            r"choose by a list, as in result.sel\(seed=\[...\]\)",
        ),
        (lambda: plots.margins(result()), "no 'margin'"),
        (
            lambda: plots.phase(result(), "x", "y"),
            r'as in phase\(result\["..."\], x, y\), of: alignment, own',
        ),
        (lambda: plots.phase(np.ones((2, 2)), "x", "y"), "a variable of a result, got ndarray"),
        (lambda: plots.alignment(3), "a result of simulate, or of a variable of it, got int"),
        (lambda: plots.alignment(result(), seed=1), r"no option 'seed': .*result.sel\(seed=\["),
        (
            lambda: plots.spectrum(result(), step=1),
            "no option 'step': its options are name, ax, size",
        ),
    ],
)
def test_misfits_are_told(draw, said, untyped):
    with pytest.raises((ValueError, TypeError), match=said):
        draw()
