"""Figures and the table of the NTK's eigenfeatures, from a Dataset alone."""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from dynamics import plots
from dynamics.experiments.ntk_eigenfeatures import setting
from dynamics.experiments.ntk_eigenfeatures.quantities import FLIP, GRADIENTS, tail, useful
from dynamics.study import Run, last
from dynamics.words import counted
from kernels import evolution

if TYPE_CHECKING:
    import matplotlib.figure

CLEAN, ROBUST = plots.COLOURS[0], plots.COLOURS[1]
TRAININGS = {"standard": plots.COLOURS[0], "fgsm": plots.COLOURS[2], "pgd": plots.COLOURS[1]}
ATTACKS = {
    "white_box": ("white box", plots.COLOURS[1]),
    "kernel": ("made from the kernel", plots.COLOURS[0]),
    "other_network": ("made from another network", plots.COLOURS[2]),
    "random_signs": ("random signs", plots.GREY),
}
NETWORKS = {
    "net_clean": ("network, clean", CLEAN, {"linestyle": ":"}),
    "net_robust": ("network, under attack", ROBUST, {"linestyle": ":"}),
}
DOTS = {"marker": ".", "markersize": 4}


def _data(config) -> str:
    """The data in words."""
    norm = r"$\ell_2$" if isinstance(config, setting.Spectrum) and config.norm == "l2" else r"$\ell_\infty$"
    ball = f"{norm} attacks" if isinstance(config, setting.Width) else f"{norm} radius {config.radius:.3g}"
    if isinstance(config, setting.Images):
        first, second = config.classes
        return f"{config.data} {first} against {second}, $n$={config.num_samples}, {ball}"
    blocks = rf"$d_r$={config.robust_dim}, $\mu_r$={config.robust_mean:g}; "
    blocks += rf"$d_n$={config.nonrobust_dim}, $\mu_n$={config.nonrobust_mean:g}"
    return f"{blocks}; $n$={config.num_samples}, {ball}"


def _kernel(config) -> str:
    depth = "" if config.kernel in ("linear", "rbf") else f", {counted(config.depth, 'hidden layer')}"
    return f"{config.kernel} kernel{depth}"


def _title(figure, run, *words: str) -> None:
    """What was run, in a line."""
    figure.suptitle("; ".join((*words, counted(run.sizes["seed"], "seed"))), fontsize=9)


def _ranked(values: xr.DataArray, dim: str) -> xr.DataArray:
    """Values by rank: the largest eigenvalue's is 1."""
    return values.assign_coords({dim: values[dim] + 1})


def _ledger(ax, run):
    import matplotlib.colors

    rho, gamma, ranks = xr.broadcast(useful(run), run.robustness, run.robustness.feature + 1)
    colours = {"cmap": "viridis", "norm": matplotlib.colors.LogNorm()}
    shown = ax.scatter(rho, gamma, c=ranks, s=16, edgecolors="none", **colours)
    ax.figure.colorbar(shown, ax=ax, label="rank of the eigenvalue")
    ax.plot([0, 1], [0, 1], label="as robust as useful", **plots.THEORY)
    ends = {"xlim": (0.4, 1.01), "ylim": (-0.02, 1.01), "legend": "upper left"}
    plots.label(ax, r"usefulness $\rho_i$", r"robustness $\gamma_i$", "each eigenfeature on its own", **ends)


def _by_rank(ax, run):
    rho, gamma = _ranked(run.usefulness, "mode"), _ranked(run.robustness, "feature")
    plots.curve(ax, rho, "mode", color=CLEAN, label=r"usefulness $\rho_i$", linewidth=0.8)
    plots.curve(ax, gamma, "feature", color=ROBUST, label=r"robustness $\gamma_i$", **DOTS)
    ax.axhline(0.5, label="chance", **plots.THEORY)
    ends = {"log": "x", "xlim": (1, run.sizes["mode"]), "ylim": (0, 1.02), "legend": "upper right"}
    plots.label(ax, "rank of the eigenvalue", "share of test points", "the spectrum, from its top", **ends)


def _pair(dim, title, x):
    """Both accuracies along one dimension, beside those of networks or of the best rule on one block."""

    def draw(ax, run):
        drawn = {f"{dim}_clean": ("clean", CLEAN, DOTS), f"{dim}_robust": ("under attack", ROBUST, DOTS)}
        for name, (words, colour, style) in (drawn | (NETWORKS if dim == "time" else {})).items():
            if name in run:
                plots.curve(ax, run[name], dim, color=colour, label=words, **style)
        config = run.config
        blocks = isinstance(config, setting.Features) and config.norm == "linf" and config.robust_dim
        if dim == "kept" and blocks:
            for radius, words, colour in ((0.0, "clean", "black"), (config.radius, "under attack", "0.5")):
                style = plots.THEORY | {"linewidth": 0.9, "color": colour}
                level = config.source.best_accuracy(radius)
                ax.axhline(level, label=f"best on the robust block, {words}", **style)
        plots.label(ax, x, "test accuracy", title, log="x", ylim=(0, 1.02), legend="below")

    return draw


PANELS = {
    "robustness": (_ledger, _by_rank),
    "kept_clean": (_pair("kept", "the largest eigenfeatures alone", "number of features kept"),),
    "time_clean": (_pair("time", "training time", r"$t$ in units of $1/\lambda_{\max}$"),),
    "ridge_clean": (_pair("ridge", "ridge in the place of time", r"ridge in units of $\lambda_{\max}$"),),
}


def _draw_features(run):
    drawn = [draw for name, several in PANELS.items() if name in run for draw in several]
    figure, axes = plots.panels(max(len(drawn), 1), 4.1, 3.5)
    for ax, draw in zip(axes, drawn, strict=False):
        draw(ax, run)
    _title(figure, run, _data(run.config), _kernel(run.config))
    return figure


def _draw_width(run):
    figure, axes = plots.panels(1 + run.sizes["radius"], 3.2, 3.4)
    config, start = run.config, "started at 0" if run.config.doubled else "not started at 0"
    _title(figure, run, f"networks {start}, {config.steps} steps", _data(config))
    distance = 1 - run.gradient_cosine
    plots.curve(axes[0], distance, "width", color=CLEAN, marker=".", label="networks")
    if GRADIENTS.applies(config):
        height = float(distance.isel(width=0).median())
        plots.guide(axes[0], run.width, height, GRADIENTS.theory(config), r"width$^{-1/2}$")
    title = "network against kernel"
    plots.label(axes[0], "width $m$", "1 - cosine of input gradients", title, log="xy", legend="best")
    for ax, radius in zip(axes[1:], run.radius.values, strict=True):
        for name, (words, colour) in ATTACKS.items():
            accuracy = run.attacked_accuracy.sel(radius=radius, attack=name)
            plots.curve(ax, accuracy, "width", color=colour, marker=".", label=words)
        title = f"attacks of radius {radius:g}"
        plots.label(ax, "width $m$", "the network's accuracy", title, log="x", ylim=(0, 1.02), legend="best")
    return figure


def _draw_evolution(run):
    figure, axes = plots.panels(3, 3.2, 3.4)
    network = run.config.network.replace("cnn", "convolutional")
    _title(figure, run, f"{network} network, width {run.config.hidden}", _data(run.config))
    for name, colour in TRAININGS.items():
        arm = run.at(training=name)
        plots.curve(axes[0], arm.accuracy, "step", color=colour, label=f"{name}, clean")
        plots.curve(axes[0], arm.robust_accuracy, "step", color=colour, linestyle=":", label=f"{name}, PGD")
        share = tail(arm.kernel_attacked)
        plots.curve(axes[1], share.where(share > 0), "step", color=colour, label=name)
        path = arm.kernel_attacked.transpose("seed", "step", "row", "column").values.astype(float)
        with jax.enable_x64(True):  # angles near 0 need its digits
            radius, angle = jax.vmap(evolution.polar)(jnp.asarray(path))
        way = (np.degrees(np.median(angle, 0)), np.median(radius, 0))
        axes[2].plot(*way, color=colour, marker=".", label=name)
    for ax in axes[:2]:
        plots.time_axis(ax, run.step.values.tolist())
    plots.label(axes[0], y="test accuracy", title="accuracy", ylim=(0, 1.02), legend="below")
    above = any(bool((line.get_ydata() > 0).any()) for line in axes[1].lines)  # few points: nothing is below
    y, title = r"share of $\lambda^2$ below the 20 largest", "empirical NTK, attacked points"
    plots.label(axes[1], y=y, title=title, log="y" if above else "", legend="best")
    x, y = "angle to the first kernel (degrees)", r"$\|K_t - K_0\| / \|K_T - K_0\|$"
    plots.label(axes[2], x, y, "its way from the start", legend="best")
    return figure


def _draw_clusters(run):
    figure, (ax,) = plots.panels(1, 4.8, 3.6)
    _title(figure, run, f"{_kernel(run.config)}, on orthogonal centres, $d$={run.config.dim}")
    counts, radii = run.num_clusters.values.astype(float), run.flip_radius
    plots.curve(ax, radii, "num_clusters", color=CLEAN, marker="o", label="kernel interpolant")
    if FLIP.applies(run.config):
        power = FLIP.theory(run.config)
        height = float(radii.isel(num_clusters=-1).median()) * (counts[0] / counts[-1]) ** power
        plots.guide(ax, counts, height, power, r"$k^{-1/2}$")
    plots.label(ax, "clusters $k$", r"flip radius over $\sqrt{d}$", log="xy", legend="best")
    plots.ticks(ax, counts)
    heights = np.arange(np.floor(10 * float(radii.min())), np.ceil(10 * float(radii.max())) + 1) / 10
    ax.set_yticks(heights, [f"{h:.1f}" for h in heights])
    return figure


@plots.styled
def overview(run: Run) -> "matplotlib.figure.Figure":
    """The setting's main picture."""
    drawn = {
        setting.Spectrum: _draw_features,
        setting.Width: _draw_width,
        setting.Moving: _draw_evolution,
        setting.Centres: _draw_clusters,
    }
    return setting.part_of(run.config, drawn)(run)


@plots.styled
def distances(run: Run) -> "matplotlib.figure.Figure | None":
    """Distance 1 - similarity of every two kernels of a run, for each kind of training (evolution)."""
    if not isinstance(run.config, setting.Moving):
        return None
    names, steps = run.training.values.tolist(), run.step.values
    figure, axes = plots.panels(len(names), 3.2, 3.2)
    found = {}
    for name in names:
        path = run.kernel_attacked.sel(training=name).transpose("seed", "step", ...).values.astype(float)
        flat = path.reshape(*path.shape[:2], -1)
        unit = flat / np.linalg.norm(flat, axis=2, keepdims=True)
        found[name] = np.mean(1 - unit @ unit.transpose(0, 2, 1), axis=0)
    top = max(float(values.max()) for values in found.values())
    every, end = -(-len(steps) // 6), len(steps) - 1
    places = [*range(0, end - every // 2, every), end]
    for ax, (name, values) in zip(axes, found.items(), strict=True):
        image = ax.imshow(values, vmin=0, vmax=max(top, 1e-12), cmap="magma", origin="lower")
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_ticks(places, [str(int(steps[i])) for i in places])
        plots.label(ax, "step $t$", "step $t'$", f"{name} training")
    figure.colorbar(image, ax=axes, label="kernel distance")
    _title(figure, run, _data(run.config))
    return figure


@plots.styled
def architectures(run: Run) -> "matplotlib.figure.Figure | None":
    """Agreement with other kernels, feature by feature and for leading eigenspaces (features)."""
    if "overlap" not in run:
        return None
    figure, (left, right) = plots.panels(2, 4.3, 3.5)
    _title(figure, run, _data(run.config), f"against the {_kernel(run.config)}")
    plots.curves(left, run.overlap, "leading", "other", marker=".")
    plots.curves(right, _ranked(run.agreement, "mode"), "mode", "other", linewidth=0.7)
    how = {"log": "x", "ylim": (0, 1.02), "legend": "lower left"}
    plots.label(left, "leading eigenvectors", "overlap of their spaces", **how)
    ends = {"xlim": (1, run.sizes["mode"])}
    plots.label(right, "rank of the eigenvalue", "|cos| of features on test points", **how, **ends)
    return figure


@plots.styled
def gradients(run: Run) -> "matplotlib.figure.Figure | None":
    """Input gradients of the first eigenfeatures at a test image of the first seed (images)."""
    if not plots.square(run.sizes.get("pixel", 0)):
        return None
    columns = -(-run.sizes["shown"] // 2)
    figure, axes = plots.new_figure(2, columns, 1.9 * columns, 4.2)
    about = f"{_data(run.config)}; {_kernel(run.config)}"
    figure.suptitle(f"input gradients of eigenfeatures, {about}", fontsize=9)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, i in zip(axes.flat, run.shown.values, strict=False):
        image = run.feature_gradients.isel(seed=0).sel(shown=i).values
        limit = max(float(np.abs(image).max()), 1e-30)
        plots.pictures([ax], image[None], [f"rank {int(i) + 1}"], cmap="RdBu_r", vmin=-limit, vmax=limit)
    return figure


FIGURES = {draw.__name__: draw for draw in (overview, distances, architectures, gradients)}


def _columns(run) -> tuple:
    """The table's rows and columns, how its numbers are written, and what stands above the rows."""
    if isinstance(run.config, setting.Spectrum):
        columns = {"eigenvalue": run.eigenvalues.sel(mode=run.feature), "useful": useful(run)}
        columns |= {"robust": run.robustness}
        return "feature", {name: values.isel(feature=slice(12)) for name, values in columns.items()}, ".3g"
    if isinstance(run.config, setting.Width):
        attacked = run.attacked_accuracy.isel(radius=-1)
        columns = {words: attacked.sel(attack=name) for name, (words, _) in ATTACKS.items()}
        return "width", {"gradient cosine": run.gradient_cosine} | columns, ".3f"
    if isinstance(run.config, setting.Moving):
        columns = {"clean": run.accuracy, "PGD": run.robust_accuracy, "tail": tail(run.kernel_attacked)}
        return "training", {name: last(values) for name, values in columns.items()}, ".3g"
    return "num_clusters", {"flip radius / sqrt(d)": run.flip_radius}, ".5f", "clusters"


def table(run: Run) -> str:
    """Some numbers of the setting, means over seeds."""
    if isinstance(run.config, setting.Spectrum) and "robustness" not in run:
        return ""
    dim, columns, form, *head = _columns(run)
    means = {name: v.mean([other for other in v.dims if other != dim]) for name, v in columns.items()}
    index = next(iter(means.values()))[dim].values.tolist()
    return plots.number_table(*head or [dim], index, *means.items(), form=form)
