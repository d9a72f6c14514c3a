"""Figures of the kernel picture of wide networks and its table, from a Dataset alone."""

import math
from typing import TYPE_CHECKING

import numpy as np

from dynamics import plots
from dynamics.experiments.kernels_data_physics import network_figures as networks
from dynamics.experiments.kernels_data_physics import quantities, setting
from dynamics.experiments.kernels_data_physics.network_figures import net, seeds
from dynamics.study import Run, first, hitting_time, last

if TYPE_CHECKING:
    import matplotlib.figure

COLOURS = plots.COLOURS


def _sphere(config, dataset):
    figure, ((left, right),) = plots.new_figure(1, 2, 9.0, 3.6)
    ranked = dataset.eigenvalue.assign_coords(mode=dataset.mode + 1)
    name = f"{config.sphere_points:,} points"
    plots.curve(left, ranked, "mode", color=COLOURS[0], marker=".", linewidth=0.6, label=name)
    known = dataset.degree_eigenvalue > 1e-12
    values = dataset.degree_eigenvalue.where(known, drop=True)
    order = np.sort(np.repeat(values, dataset.multiplicity.values[known]))[::-1]
    left.plot(np.arange(1, len(order) + 1), order, label="theory, by degree", **plots.THEORY)
    plots.label(left, "rank", "eigenvalue of the Gram matrix / $n$", "groups of $2k + 1$", log="xy")
    values = values.sel(degree=slice(1, None))
    even, odd = (values.sel(degree=values.degree % 2 == parity) for parity in (0, 1))
    right.plot(even.degree, even, "o", color=COLOURS[0], label="even degrees")
    right.plot(odd.degree, odd, "o", color=COLOURS[1], label="odd degrees")
    if even.size:
        start = float(even[-1]) * (float(even.degree[0]) / float(even.degree[-1])) ** -3.0
        plots.guide(right, even.degree, start, -3.0, "$k^{-3}$, for large $k$")
    title = "by degree" if known.all() else "degrees that are not shown have eigenvalue 0"
    plots.label(right, "degree $k$", r"eigenvalue $\lambda_k$", title, log="xy")
    plots.ticks(right, dataset.degree[1:])
    return figure, f"$S^2$; {net(config)}; {seeds(dataset)}"


def _learning_curves(config, dataset):
    if config.regular:
        return _grids(config, dataset)
    figure, ((ax,),) = plots.new_figure(1, 1, 5.2, 4.0)
    name = "teacher power $k^{{-{:g}}}$"
    plots.curves(ax, dataset.error, "size", "exponent", name, marker=".")
    for number, a in enumerate(dataset.exponent.values):
        law, error = quantities.learning_curve(a), dataset.error.sel(exponent=a)
        if law.applies(config):
            label = r"$P^{-\min(a-1,\,4)}$" if number == 0 else None
            plots.guide(ax, error["size"], float(error.isel(size=0).median()), law.predicted(config), label)
    title = f"a mean over {config.draws} teachers per seed"
    plots.label(ax, "samples $P$", "mean squared test error", title, log="xy")
    plots.ticks(ax, dataset["size"])
    return figure, f"{net(config)}; {seeds(dataset)}"


def _grids(config, dataset):
    """Predictors of each frequency, on regular grids: those of the first seed are those of all."""
    count = dataset.sizes["frequency"]
    figure, axes = plots.new_figure(1, count, 4.2 * count, 3.5)
    angles = 360 * np.arange(dataset.sizes["test_point"]) / dataset.sizes["test_point"]
    for ax, k in zip(axes[0], dataset.frequency.values, strict=True):
        one = dataset.sel(frequency=k)
        ax.plot(angles, one.target, color=plots.GREY, linewidth=3, alpha=0.6, label="target")
        for number, size in enumerate(dataset["size"].values):
            found = one.sel(size=size)
            ax.plot(angles, found.prediction[0], color=COLOURS[number], label=f"$P$ = {size}")
            ax.plot(angles, found.prediction_exact, **plots.THEORY)
        ax.plot([], [], label="sum over aliases", **plots.THEORY)
        plots.label(ax, r"angle $\varphi$ (degrees)", "prediction", f"$k$ = {k:g}", xlim=(0, 180))
    return figure, f"ridgeless regression on a grid of $P$ points; {net(config)}"


def _hypercube(config, dataset):
    figure, ((ax,),) = plots.new_figure(1, 1, 5.2, 4.3)
    sizes = dataset["size"].values
    plots.curves(ax, dataset.error, "size", "degree", "$p$ = {:g}", marker=".")
    for number, p in enumerate(dataset.degree.values):
        if sizes[0] <= (enough := math.comb(config.cube_dim, int(p))) <= sizes[-1]:
            ax.axvline(enough, color=COLOURS[number % 6], linestyle="--", linewidth=1)
    ax.plot([], [], color=plots.GREY, linestyle="--", label=r"$\binom{d}{p}$ samples")
    ax.axhline(1, color=plots.GREY, linestyle=":", label="predicting 0")
    plots.label(ax, "samples $n$", "mean squared test error", log="x", ylim=(0, None))
    plots.ticks(ax, sizes)
    plots.legend_below(ax, 3)
    about = rf"parities on $\{{\pm1\}}^{{{config.cube_dim}}}$, $\sigma_b$ = {config.bias_std:g}"
    return figure, f"{about}; {seeds(dataset)}"


def _distillation(config, dataset):
    figure, axes = plots.new_figure(1, 2, 8.8, 3.5)
    for ax, name in zip(axes[0], ("accuracy", "train_loss"), strict=True):
        plots.curves(ax, dataset[name], "step", "support", "{} images", marker=".")
        plots.time_axis(ax, dataset.step.values)
    plots.label(axes[0, 0], y="test accuracy")
    plots.label(axes[0, 1], y="mean loss on the training images", log="y")
    about = f"{config.data}, {config.num_images} images; {seeds(dataset)}"
    return figure, f"kernel regression on learned images; {about}"


DRAWN = {
    setting.KernelConvergence: networks.kernels,
    setting.Width: networks.width,
    setting.Linear: networks.linear,
    setting.Ensemble: networks.ensemble,
    setting.SpectralBias: networks.spectral_bias,
    setting.Sphere: _sphere,
    setting.LearningCurves: _learning_curves,
    setting.Hypercube: _hypercube,
    setting.Distillation: _distillation,
}


@plots.styled
def overview(run: Run) -> "matplotlib.figure.Figure":
    """The setting's main picture."""
    figure, about = DRAWN[type(run.config)](run.config, run.dataset)
    figure.suptitle(about, fontsize=9)
    plots.legends(figure.axes)
    return figure


@plots.styled
def images(run: Run) -> "matplotlib.figure.Figure | None":
    """The first learned images of the first seed, before and after (distillation)."""
    dataset = run.dataset
    if "learned" not in dataset or not plots.square(dataset.sizes["pixel"]):
        return None
    shown = dataset.learned.isel(seed=0, support=0).isel(step=[0, -1])
    count = dataset.sizes["image"]
    figure, axes = plots.new_figure(2, count, 0.94 * count, 2.6)
    pixels = shown.transpose("step", "image", "pixel").values.reshape(2 * count, -1)
    plots.pictures(axes.flat, pixels, cmap="gray_r")
    plots.label(axes[0, 0], y="at the start")
    plots.label(axes[1, 0], y="learned")
    about = f"{int(dataset.support[0])} images for kernel regression, seed {int(dataset.seed[0])}"
    figure.suptitle(f"{run.config.data}: {about}", fontsize=9)
    return figure


FIGURES = {"overview": overview, "images": images}


def table(run: Run) -> str:
    """Some numbers of the setting, means over seeds."""
    rows, means = plots.number_table, run.dataset.mean("seed")
    match run.config:
        case setting.KernelConvergence():
            errors = means.kernel_error.sel(layer="both")
            return rows("width", run.width.values, ("kernel_error", errors), form=".4g")
        case setting.Width():
            found = [(name, means[name]) for name in networks.CHANGES]
            return rows("width", run.width.values, *found, form=".4g")
        case setting.Linear():
            ends = run.dataset[["residual", "residual_predicted"]].isel(step=-1)
            ends = np.abs(ends).max("mode").mean("seed")
            found = ("largest residual", ends.residual), ("of the closed form", ends.residual_predicted)
            return rows("rate", run.rate.values, *found)
        case setting.Ensemble():
            ratio = run.output.var("seed", ddof=1) / run.variance_predicted
            ends = zip(run.step.values, ratio.min("point").values, ratio.max("point").values, strict=True)
            found = [[str(step), f"{low:.2f} to {high:.2f}"] for step, low, high in ends]
            return plots.text_table([["step", "variance over its prediction"], *found])
        case setting.SpectralBias():
            times = hitting_time(run.fit).mean("seed")
            found = [(f"A={a:g}", times.sel(amplitude=a)) for a in run.amplitude.values]
            found = [("predicted", run.predicted_time), *found]
            return rows("frequency", run.frequency.values, *found, form=".1f", missing="not reached")
        case setting.Sphere():
            known = run.dataset.isel(degree=np.flatnonzero(run.degree_eigenvalue > 1e-12))
            groups = np.split(means.eigenvalue.values, np.cumsum(known.multiplicity.values))
            found = [group.mean() for group in groups[: known.sizes["degree"]]]
            found = ("eigenvalue", known.degree_eigenvalue), ("measured", found)
            return rows("degree", known.degree.values, *found, form=".4g")
        case setting.LearningCurves(regular=True):  # which no seed enters
            one = run.dataset.isel(seed=0)
            error = ((one.prediction - one.target) ** 2).mean("test_point")
            exact = np.abs(one.prediction - one.prediction_exact).max(("size", "test_point"))
            found = [(f"n={n}", error.sel(size=n)) for n in run["size"].values]
            return rows("frequency", run.frequency.values, *found, ("off the sum over aliases", exact))
        case setting.LearningCurves() | setting.Hypercube():
            dim = "degree" if "degree" in run else "exponent"
            found = [(f"n={n}", means.error.sel(size=n)) for n in run["size"].values]
            return rows(dim, run[dim].values, *found)
        case setting.Distillation():
            found = []
            for name, word in (("accuracy", "accuracy"), ("train_loss", "loss")):
                found += [(word, first(means[name])), ("learned", last(means[name]))]
            return rows("images", run.support.values, *found, form=".3f")
