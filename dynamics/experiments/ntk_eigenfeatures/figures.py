"""Figures and the table of the NTK's eigenfeatures, from a Dataset alone."""

import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr

from dynamics import plots
from dynamics.experiments.ntk_eigenfeatures.quantities import FLIP, GRADIENTS, tail, useful
from dynamics.experiments.ntk_eigenfeatures.setting import data
from dynamics.study import Run
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


def _data(config) -> str:
    """The data in words."""
    norm = r"$\ell_\infty$" if config.norm == "linf" else r"$\ell_2$"
    ball = f"{norm} radius {config.radius:.3g}"
    if config.on_images:
        return (
            f"{config.data} {config.classes[0]} against {config.classes[1]}, $n$={config.num_samples}, {ball}"
        )
    blocks = rf"$d_r$={config.robust_dim}, $\mu_r$={config.robust_mean:g}; "
    blocks += rf"$d_n$={config.nonrobust_dim}, $\mu_n$={config.nonrobust_mean:g}"
    return f"{blocks}; $n$={config.num_samples}, {ball}"


def _kernel(config) -> str:
    depth = "" if config.kernel in ("linear", "rbf") else f", {counted(config.depth, 'hidden layer')}"
    return f"{config.kernel} kernel{depth}"


def _seeds(dataset) -> str:
    return counted(dataset.sizes["seed"], "seed")


def _rank_axis(ax, count):
    ax.set_xscale("log")
    ax.set_xlim(1, count)
    ax.set_xlabel("rank of the eigenvalue")


def _ledger(ax, dataset):
    gamma = dataset.robustness
    rho, gamma, ranks = xr.broadcast(useful(dataset), gamma, gamma.feature + 1)
    import matplotlib.colors

    shown = ax.scatter(
        rho, gamma, c=ranks, s=16, cmap="viridis", norm=matplotlib.colors.LogNorm(), edgecolors="none"
    )
    ax.figure.colorbar(shown, ax=ax, label="rank of the eigenvalue")
    ax.plot([0, 1], [0, 1], label="as robust as useful", **plots.THEORY)
    ax.set_xlim(0.4, 1.01)
    ax.set_ylim(-0.02, 1.01)
    ax.set_xlabel(r"usefulness $\rho_i$")
    ax.set_ylabel(r"robustness $\gamma_i$")
    ax.legend(loc="upper left")


def _by_rank(ax, dataset):
    gamma, rho = dataset.robustness, dataset.usefulness
    ranked = rho.assign_coords(mode=rho.mode + 1)
    plots.curve(ax, ranked, "mode", color=CLEAN, label=r"usefulness $\rho_i$", linewidth=0.8)
    plots.curve(ax, gamma.assign_coords(feature=gamma.feature + 1), "feature", color=ROBUST,
           label=r"robustness $\gamma_i$", marker=".", markersize=4)  # fmt: skip
    ax.axhline(0.5, label="chance", **plots.THEORY)
    _rank_axis(ax, dataset.sizes["mode"])
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("share of test points")
    ax.legend(loc="upper right")


def _pair(ax, dataset, dim, title, label):
    dots = {"marker": ".", "markersize": 4}
    plots.curve(ax, dataset[f"{dim}_clean"], dim, color=CLEAN, label="clean", **dots)
    plots.curve(ax, dataset[f"{dim}_robust"], dim, color=ROBUST, label="under attack", **dots)
    if dim == "time" and "net_robust" in dataset:
        for name, colour, what in (("net_clean", CLEAN, "clean"), ("net_robust", ROBUST, "under attack")):
            plots.curve(ax, dataset[name], dim, color=colour, linestyle=":", label=f"network, {what}")
    ax.set_xscale("log")
    ax.set_ylim(0, 1.02)
    ax.set_xlabel(label)
    ax.set_ylabel("test accuracy")
    ax.set_title(title)


def _bayes(ax, config):
    """What the best rule on the robust block alone reaches."""
    source = data(config)
    for radius, name, colour in ((0.0, "clean", "black"), (config.radius, "under attack", "0.5")):
        level = source.best_accuracy(radius)
        style = plots.THEORY | {"linewidth": 0.9, "color": colour}
        ax.axhline(level, label=f"best on the robust block, {name}", **style)


def _draw_features(config, dataset):
    panels = ["robustness" in dataset, "robustness" in dataset]
    panels += [f"{dim}_clean" in dataset for dim in ("kept", "time", "ridge")]
    figure, axes = plots.panels(max(sum(panels), 1), 4.1, 3.5)
    figure.suptitle(f"{_data(config)}; {_kernel(config)}; {_seeds(dataset)}", fontsize=9)
    free = iter(axes)
    if "robustness" in dataset:
        ax = next(free)
        _ledger(ax, dataset)
        ax.set_title("each eigenfeature on its own")
        ax = next(free)
        _by_rank(ax, dataset)
        ax.set_title("the spectrum, from its top")
    names = {
        "kept": ("the largest eigenfeatures alone", "number of features kept"),
        "time": ("training time", r"$t$ in units of $1/\lambda_{\max}$"),
        "ridge": ("ridge in the place of time", r"ridge in units of $\lambda_{\max}$"),
    }
    for dim, (title, label) in names.items():
        if f"{dim}_clean" in dataset:
            ax = next(free)
            _pair(ax, dataset, dim, title, label)
            if dim == "kept" and not config.on_images and config.norm == "linf" and config.robust_dim:
                _bayes(ax, config)
            plots.legend_below(ax)
    return figure


def _draw_width(config, dataset):
    figure, axes = plots.panels(1 + dataset.sizes["radius"], 3.2, 3.4)
    start = "started at 0" if config.doubled else "not started at 0"
    figure.suptitle(f"networks {start}, {config.steps} steps; {_data(config)}; {_seeds(dataset)}", fontsize=9)
    ax = axes[0]
    plots.curve(ax, 1 - dataset.gradient_cosine, "width", color=CLEAN, marker=".", label="networks")
    if GRADIENTS.applies(config):
        widths = dataset.width.values / float(dataset.width[0])
        law = float((1 - dataset.gradient_cosine).isel(width=0).median()) * widths ** GRADIENTS.theory(config)
        ax.plot(dataset.width, law, label=r"width$^{-1/2}$", **plots.THEORY)
    ax.set_yscale("log")
    ax.set_ylabel("1 - cosine of input gradients")
    ax.set_title("network against kernel")
    for ax, radius in zip(axes[1:], dataset.radius.values, strict=True):
        for name, (label, colour) in ATTACKS.items():
            plots.curve(ax, dataset.attacked_accuracy.sel(radius=radius, attack=name), "width", color=colour,
                   marker=".", label=label)  # fmt: skip
        ax.set_ylim(0, 1.02)
        ax.set_ylabel("the network's accuracy")
        ax.set_title(f"attacks of radius {radius:g}")
    for ax in axes:
        ax.set_xscale("log")
        ax.set_xlabel("width $m$")
        ax.legend(loc="best")
    return figure


def _draw_evolution(config, dataset):
    figure, axes = plots.panels(3, 3.2, 3.4)
    net = {"lazy": "lazy network", "cnn": "convolutional network"}.get(config.network, "standard network")
    figure.suptitle(f"{net}, width {config.hidden}; {_data(config)}; {_seeds(dataset)}", fontsize=9)
    for name, colour in TRAININGS.items():
        arm = dataset.sel(training=name)
        plots.curve(axes[0], arm.accuracy, "step", color=colour, label=f"{name}, clean")
        plots.curve(axes[0], arm.robust_accuracy, "step", color=colour, linestyle=":", label=f"{name}, PGD")
        share = tail(arm.kernel_attacked)
        plots.curve(axes[1], share.where(share > 0), "step", color=colour, label=name)
        path = arm.kernel_attacked.transpose("seed", "step", "row", "column").values.astype(float)
        with jax.enable_x64(True):  # angles near 0 need its digits
            radius, angle = jax.vmap(evolution.polar)(jnp.asarray(path))
        axes[2].plot(
            np.degrees(np.median(angle, 0)), np.median(radius, 0), color=colour, marker=".", label=name
        )
    axes[0].set_ylabel("test accuracy")
    axes[0].set_ylim(0, 1.02)
    axes[0].set_title("accuracy")
    if any(bool((line.get_ydata() > 0).any()) for line in axes[1].lines):  # few points: nothing is below
        axes[1].set_yscale("log")
    axes[1].set_ylabel(r"share of $\lambda^2$ below the 20 largest")
    axes[1].set_title("empirical NTK, attacked points")
    axes[2].set_xlabel("angle to the first kernel (degrees)")
    axes[2].set_ylabel(r"$\|K_t - K_0\| / \|K_T - K_0\|$")
    axes[2].set_title("its way from the start")
    for ax in axes[:2]:
        plots.time_axis(ax, dataset.step.values.tolist())
    plots.legend_below(axes[0])
    for ax in axes[1:]:
        ax.legend(loc="best")
    return figure


def _draw_clusters(config, dataset):
    figure, axes = plots.new_figure(1, 1, 4.8, 3.6)
    ax = axes[0, 0]
    counts = dataset.num_clusters.values.astype(float)
    plots.curve(ax, dataset.flip_radius, "num_clusters", color=CLEAN, marker="o", label="kernel interpolant")
    if FLIP.applies(config):
        last = float(dataset.flip_radius.isel(num_clusters=-1).median())
        law = last * (counts / counts[-1]) ** FLIP.theory(config)
        ax.plot(counts, law, label=r"$k^{-1/2}$", **plots.THEORY)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("clusters $k$")
    ax.set_ylabel(r"flip radius over $\sqrt{d}$")
    figure.suptitle(
        f"{_kernel(config)}, on orthogonal centres, $d$={config.dim}; {_seeds(dataset)}", fontsize=9
    )
    ax.set_xticks(counts, [f"{k:g}" for k in counts])
    ax.minorticks_off()
    low, high = (
        np.floor(10 * float(dataset.flip_radius.min())),
        np.ceil(10 * float(dataset.flip_radius.max())),
    )
    heights = np.arange(low, high + 1) / 10
    ax.set_yticks(heights, [f"{h:.1f}" for h in heights])
    ax.legend()
    return figure


DRAWN = {
    "features": _draw_features,
    "width": _draw_width,
    "evolution": _draw_evolution,
    "clusters": _draw_clusters,
}


@plots.styled
def overview(run: Run) -> "matplotlib.figure.Figure":
    """The part's main picture."""
    dataset = run.dataset
    config = run.config
    return DRAWN[config.part](config, dataset)


@plots.styled
def distances(run: Run) -> "matplotlib.figure.Figure | None":
    """Distance 1 - similarity of every two kernels of a run, for each kind of training (evolution)."""
    dataset = run.dataset
    config = run.config
    if config.part != "evolution":
        return None
    figure, axes = plots.new_figure(1, dataset.sizes["training"], 3.2 * dataset.sizes["training"], 3.2)
    found = {}
    for name in dataset.training.values.tolist():
        path = dataset.kernel_attacked.sel(training=name).transpose("seed", "step", ...).values.astype(float)
        flat = path.reshape(*path.shape[:2], -1)
        unit = flat / np.linalg.norm(flat, axis=2, keepdims=True)
        found[name] = np.mean(1 - unit @ unit.transpose(0, 2, 1), axis=0)
    top = max(float(values.max()) for values in found.values())
    steps = dataset.step.values
    for ax, (name, values) in zip(axes[0], found.items(), strict=True):
        image = ax.imshow(values, vmin=0, vmax=max(top, 1e-12), cmap="magma", origin="lower")
        every, last = -(-len(steps) // 6), len(steps) - 1
        places = [*range(0, last - every // 2, every), last]
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_ticks(places, [str(int(steps[i])) for i in places])
        ax.set_title(f"{name} training")
        ax.set_xlabel("step $t$")
        ax.set_ylabel("step $t'$")
    figure.colorbar(image, ax=list(axes[0]), label="kernel distance")
    figure.suptitle(f"{_data(config)}; {_seeds(dataset)}", fontsize=9)
    return figure


@plots.styled
def architectures(run: Run) -> "matplotlib.figure.Figure | None":
    """Agreement with other kernels, feature by feature and for leading eigenspaces (features)."""
    dataset = run.dataset
    if "overlap" not in dataset:
        return None
    config = run.config
    figure, axes = plots.new_figure(1, 2, 8.6, 3.5)
    figure.suptitle(f"{_data(config)}; against the {_kernel(config)}; {_seeds(dataset)}", fontsize=9)
    for number, other in enumerate(dataset.other.values.tolist()):
        colour = plots.COLOURS[number % len(plots.COLOURS)]
        one = dataset.sel(other=other)
        plots.curve(axes[0, 0], one.overlap, "leading", color=colour, marker=".", label=other)
        ranked = one.agreement.assign_coords(mode=one.mode + 1)
        plots.curve(axes[0, 1], ranked, "mode", color=colour, linewidth=0.7, label=other)
    axes[0, 0].set_xscale("log")
    axes[0, 0].set_ylim(0, 1.02)
    axes[0, 0].set_xlabel("leading eigenvectors")
    axes[0, 0].set_ylabel("overlap of their spaces")
    _rank_axis(axes[0, 1], dataset.sizes["mode"])
    axes[0, 1].set_ylim(0, 1.02)
    axes[0, 1].set_ylabel("|cos| of features on test points")
    for ax in axes.flat:
        ax.legend(loc="lower left")
    return figure


@plots.styled
def gradients(run: Run) -> "matplotlib.figure.Figure | None":
    """Input gradients of the first eigenfeatures at a test image of the first seed (images)."""
    dataset = run.dataset
    side = math.isqrt(dataset.sizes.get("pixel", 0))
    if "feature_gradients" not in dataset or side**2 != dataset.sizes["pixel"]:
        return None
    config = run.config
    count = dataset.sizes["shown"]
    figure, axes = plots.new_figure(2, -(-count // 2), 1.9 * -(-count // 2), 4.2)
    figure.suptitle(f"input gradients of eigenfeatures, {_data(config)}; {_kernel(config)}", fontsize=9)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, i in zip(axes.flat, dataset.shown.values, strict=False):
        image = dataset.feature_gradients.isel(seed=0).sel(shown=i).values.reshape(side, side)
        limit = max(float(np.abs(image).max()), 1e-30)
        ax.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set_title(f"rank {int(i) + 1}")
    return figure


FIGURES = {
    "overview": overview,
    "distances": distances,
    "architectures": architectures,
    "gradients": gradients,
}


def table(run: Run) -> str:
    """Some numbers of the part, means over seeds."""
    dataset = run.dataset
    config = run.config
    if config.part == "features" and "robustness" in dataset:
        rows = [["feature", "eigenvalue", "useful", "robust"]]
        for i in dataset.feature.values[:12]:
            one = dataset.sel(mode=i, feature=i)
            numbers = (one.eigenvalues, one.usefulness, one.robustness)
            rows.append([str(int(i)), *(f"{float(v.mean()):.3g}" for v in numbers)])
    elif config.part == "width":
        rows = [["width", "gradient cosine", *(label for label, _ in ATTACKS.values())]]
        for m in dataset.width.values:
            one = dataset.sel(width=m).isel(radius=-1)
            cells = [one.gradient_cosine, *(one.attacked_accuracy.sel(attack=name) for name in ATTACKS)]
            rows.append([str(int(m)), *(f"{float(v.mean()):.3f}" for v in cells)])
    elif config.part == "evolution":
        rows = [["training", "clean", "PGD", "tail"]]
        for name in dataset.training.values.tolist():
            arm = dataset.sel(training=name).isel(step=-1)
            numbers = (arm.accuracy, arm.robust_accuracy, tail(arm.kernel_attacked))
            rows.append([name, *(f"{float(v.mean()):.3g}" for v in numbers)])
    elif config.part == "clusters":
        rows = [["clusters", "flip radius / sqrt(d)"]]
        for k in dataset.num_clusters.values:
            rows.append([str(int(k)), f"{float(dataset.flip_radius.sel(num_clusters=k).mean()):.5f}"])
    else:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
