"""Figures of the kernel picture of wide networks and its table, from a Dataset alone."""

import math
from typing import TYPE_CHECKING

import numpy as np

from dynamics import plots
from dynamics.experiments.kernels_data_physics import network_figures as networks
from dynamics.experiments.kernels_data_physics import quantities
from dynamics.experiments.kernels_data_physics.network_figures import (
    guide,
    loglog,
    net,
    seeds,
)
from dynamics.study import Run

if TYPE_CHECKING:
    import matplotlib.figure

COLOURS = plots.COLOURS


def _sphere(config, dataset):
    figure, axes = plots.new_figure(1, 2, 9.0, 3.6)
    ax = axes[0, 0]
    ranked = dataset.eigenvalue.assign_coords(mode=dataset.mode + 1)
    plots.curve(
        ax,
        ranked,
        "mode",
        color=COLOURS[0],
        marker=".",
        linewidth=0.6,
        label=f"{config.sphere_points:,} points",
    )
    known = dataset.degree_eigenvalue.values > 1e-12
    steps = np.repeat(dataset.degree_eigenvalue.values[known], dataset.multiplicity.values[known])
    order = np.sort(steps)[::-1]
    ax.plot(np.arange(1, len(order) + 1), order, label="theory, by degree", **plots.THEORY)
    loglog(ax, "rank", "eigenvalue of the Gram matrix / $n$")
    ax.set_title("groups of $2k + 1$")
    ax = axes[0, 1]
    degree = dataset.degree.values
    for parity, colour in ((0, COLOURS[0]), (1, COLOURS[1])):
        chosen = (degree % 2 == parity) & known & (degree > 0)
        name = "odd" if parity else "even"
        ax.plot(
            degree[chosen],
            dataset.degree_eigenvalue.values[chosen],
            "o",
            color=colour,
            label=f"{name} degrees",
        )
    even = (degree % 2 == 0) & known & (degree > 0)
    if even.any():
        x = degree[even]
        last = dataset.degree_eigenvalue.values[even][-1]
        ax.plot(x, last * (x / x[-1]) ** -3.0, label="$k^{-3}$", **plots.THEORY)
    loglog(ax, "degree $k$", r"eigenvalue $\lambda_k$")
    ax.set_xticks(degree[degree > 0], [str(k) for k in degree[degree > 0]])
    ax.minorticks_off()
    ax.set_title("degrees that are not shown have eigenvalue 0" if not known.all() else "by degree")
    return figure, axes, f"$S^2$; {net(config)}; {seeds(dataset)}"


def _learning_curves(config, dataset):
    if config.regular:
        figure, axes = plots.new_figure(1, dataset.sizes["frequency"], 4.2 * dataset.sizes["frequency"], 3.5)
        angles = 360 * np.arange(dataset.sizes["test_point"]) / dataset.sizes["test_point"]
        for ax, k in zip(axes[0], dataset.frequency.values, strict=True):
            one = dataset.sel(frequency=k).isel(seed=0)
            ax.plot(angles, one.target, color=plots.GREY, linewidth=3, alpha=0.6, label="target")
            for number, size in enumerate(dataset["size"].values):
                ax.plot(angles, one.prediction.sel(size=size), color=COLOURS[number], label=f"$P$ = {size}")
                ax.plot(angles, one.prediction_exact.sel(size=size), **plots.THEORY)
            ax.plot([], [], label="sum over aliases", **plots.THEORY)
            ax.set_xlim(0, 180)
            ax.set_xlabel(r"angle $\varphi$ (degrees)")
            ax.set_ylabel("prediction")
            ax.set_title(f"$k$ = {k:g}")
        return figure, axes, f"ridgeless regression on a grid of $P$ points; {net(config)}"
    figure, axes = plots.new_figure(1, 1, 5.2, 4.0)
    ax = axes[0, 0]
    for number, a in enumerate(dataset.exponent.values):
        error = dataset.error.sel(exponent=a)
        law = quantities.learning_curve(a)
        plots.curve(
            ax, error, "size", color=COLOURS[number % 6], marker=".", label=f"teacher power $k^{{-{a:g}}}$"
        )
        if law.applies(config):
            middle = float(error.isel(size=0).median())
            label = r"$P^{-\min(a-1,\,4)}$" if number == 0 else None
            guide(ax, dataset["size"].values, middle, law.predicted(config), label)
    loglog(ax, "samples $P$", "mean squared test error")
    ax.set_xticks(dataset["size"].values, [str(size) for size in dataset["size"].values])
    ax.minorticks_off()
    ax.set_title(f"a mean over {config.draws} teachers a seed")
    return figure, axes, f"{net(config)}; {seeds(dataset)}"


def _hypercube(config, dataset):
    figure, axes = plots.new_figure(1, 1, 5.2, 4.3)
    ax = axes[0, 0]
    for number, p in enumerate(dataset.degree.values):
        colour = COLOURS[number % 6]
        plots.curve(ax, dataset.error.sel(degree=p), "size", color=colour, marker=".", label=f"$p$ = {p:g}")
        enough = math.comb(config.cube_dim, int(p))
        if dataset["size"].values[0] <= enough <= dataset["size"].values[-1]:
            ax.axvline(enough, color=colour, linestyle="--", linewidth=1)
    ax.plot([], [], color=plots.GREY, linestyle="--", label=r"$\binom{d}{p}$ samples")
    ax.axhline(1, color=plots.GREY, linestyle=":", label="predicting 0")
    ax.set_xscale("log")
    sizes = dataset["size"].values
    ax.set_xticks(sizes, [str(n) for n in sizes])
    ax.minorticks_off()
    ax.set_xlabel("samples $n$")
    ax.set_ylabel("mean squared test error")
    ax.set_ylim(0, None)
    plots.legend_below(ax, 3)
    about = rf"parities on $\{{\pm1\}}^{{{config.cube_dim}}}$, $\sigma_b$ = {config.bias_std:g}"
    return figure, axes, f"{about}; {seeds(dataset)}"


def _distillation(config, dataset):
    figure, axes = plots.new_figure(1, 2, 8.8, 3.5)
    for number, count in enumerate(dataset.support.values):
        for ax, name in ((axes[0, 0], "accuracy"), (axes[0, 1], "train_loss")):
            values = dataset[name].sel(support=count)
            plots.curve(ax, values, "step", color=COLOURS[number % 6], marker=".", label=f"{count} images")
    axes[0, 0].set_ylabel("test accuracy")
    axes[0, 1].set_ylabel("mean loss on the training images")
    axes[0, 1].set_yscale("log")
    for ax in axes.flat:
        plots.time_axis(ax, dataset.step.values.tolist())
    return (
        figure,
        axes,
        f"kernel regression on learned images; {config.data}, {config.num_images} images; {seeds(dataset)}",
    )


def _eigenfeatures(config, dataset):
    figure, axes = plots.new_figure(1, 2, 8.8, 3.5)
    labels = {"kept": "largest eigenfeatures kept", "time": r"time in units of $1/\lambda_{\max}$"}
    for ax, (dim, label) in zip(axes[0], labels.items(), strict=True):
        for name, colour, words in (("clean", COLOURS[0], "clean"), ("robust", COLOURS[1], "under attack")):
            plots.curve(ax, dataset[f"{dim}_{name}"], dim, color=colour, marker=".", label=words)
        ax.set_xscale("log")
        ax.set_ylim(0, 1.02)
        ax.set_xlabel(label)
        ax.set_ylabel("test accuracy")
    about = f"{config.data}, {config.classes[0]} against {config.classes[1]}"
    return figure, axes, rf"{about}, $\ell_\infty$ radius {config.radius:g}; {seeds(dataset)}"


DRAWN = {
    "kernels": networks.kernels, "width": networks.width, "linear": networks.linear,
    "ensemble": networks.ensemble, "spectral_bias": networks.spectral_bias,
    "sphere": _sphere, "learning_curves": _learning_curves,
    "hypercube": _hypercube, "distillation": _distillation, "eigenfeatures": _eigenfeatures,
}  # fmt: skip


@plots.styled
def overview(run: Run) -> "matplotlib.figure.Figure":
    """The part's main picture."""
    dataset = run.dataset
    config = run.config
    figure, axes, about = DRAWN[config.part](config, dataset)
    figure.suptitle(about, fontsize=9)
    for ax in axes.flat:
        if ax.get_legend() is None:
            handles, labels = ax.get_legend_handles_labels()
            order = sorted(range(len(labels)), key=lambda i: _is_theory(handles[i]))
            ax.legend([handles[i] for i in order], [labels[i] for i in order], loc="best")
    return figure


def _is_theory(handle):
    """Legends end with the dashed lines."""
    return getattr(handle, "get_linestyle", lambda: "")() == "--"


@plots.styled
def images(run: Run) -> "matplotlib.figure.Figure | None":
    """The first learned images of the first seed, before and after (distillation)."""
    dataset = run.dataset
    side = math.isqrt(dataset.sizes.get("pixel", 0))
    if "learned" not in dataset or side**2 != dataset.sizes["pixel"]:
        return None
    config = run.config
    shown = dataset.learned.isel(seed=0)
    shown = shown.isel(support=0) if "support" in shown.dims else shown
    count = dataset.sizes["image"]
    ends = shown.isel(step=[0, -1])
    limits = {"vmin": min(0, float(ends.min())), "vmax": max(1, float(ends.max()))}  # features lie anywhere
    figure, axes = plots.new_figure(2, count, 0.94 * count, 2.6)
    for row, (step, words) in enumerate(((0, "at the start"), (-1, "learned"))):
        for ax, i in zip(axes[row], range(count), strict=True):
            pixels = shown.isel(step=step, image=i).values.reshape(side, side)
            ax.imshow(pixels, cmap="gray_r", **limits)
            ax.set_xticks([])
            ax.set_yticks([])
        axes[row, 0].set_ylabel(words)
    figure.suptitle(
        f"{config.data}: {int(dataset.support[0])} images for kernel regression, seed {int(dataset.seed[0])}",
        fontsize=9,
    )
    return figure


FIGURES = {"overview": overview, "images": images}


def table(run: Run) -> str:
    """Some numbers of the part, means over seeds."""
    dataset = run.dataset
    config = run.config
    rows: list[list[str]] = []
    if config.part == "spectral_bias":
        rows = [["frequency", "predicted", *(f"A={a:g}" for a in dataset.amplitude.values)]]
        times = quantities.hitting_times(dataset).mean("seed")
        for k in dataset.frequency.values:
            found = [float(times.sel(frequency=k, amplitude=a)) for a in dataset.amplitude.values]
            cells = [f"{v:.1f}" if np.isfinite(v) else "not reached" for v in found]
            rows.append([f"{k:g}", f"{float(dataset.predicted_time.sel(frequency=k)):.1f}", *cells])
    elif config.part in ("kernels", "width"):
        names = {
            "kernels": ["kernel_error"],
            "width": ["weight_motion", "kernel_drift", "linear_gap", "infinite_gap"],
        }
        chosen = dataset.sel(layer="both") if config.part == "kernels" else dataset
        rows = [["width", *names[config.part]]]
        for m in dataset.width.values:
            rows.append(
                [str(int(m)), *(f"{float(chosen[n].sel(width=m).mean()):.4g}" for n in names[config.part])]
            )
    elif config.part == "distillation":
        rows = [["images", "accuracy", "learned", "loss", "learned"]]
        for count in dataset.support.values:
            one = dataset.sel(support=count).mean("seed")
            cells = [one[name].isel(step=i) for name in ("accuracy", "train_loss") for i in (0, -1)]
            rows.append([str(int(count)), *(f"{float(v):.3f}" for v in cells)])
    elif config.part == "hypercube" or (config.part == "learning_curves" and not config.regular):
        dim = "degree" if config.part == "hypercube" else "exponent"
        rows = [[dim, *(f"n={n}" for n in dataset["size"].values)]]
        for value in dataset[dim].values:
            one = dataset.error.sel({dim: value}).mean("seed")
            rows.append([f"{value:g}", *(f"{float(v):.3g}" for v in one)])
    elif config.part == "linear":
        rows = [["rate", "largest residual", "of the closed form"]]
        for rate in dataset.rate.values:
            one = np.abs(dataset.sel(rate=rate).isel(step=-1)).max("mode").mean("seed")
            rows.append([f"{rate:g}", f"{float(one.residual):.3g}", f"{float(one.residual_predicted):.3g}"])
    elif config.part == "ensemble":
        rows = [["step", "variance over its prediction"]]
        for step in dataset.step.values:
            one = dataset.sel(step=step)
            ratio = one.output.var("seed", ddof=1) / one.variance_predicted
            rows.append([str(int(step)), f"{float(ratio.min()):.2f} to {float(ratio.max()):.2f}"])
    elif config.part == "sphere":
        rows = [["degree", "eigenvalue", "measured"]]
        ends = np.cumsum(dataset.multiplicity.values[dataset.degree_eigenvalue.values > 1e-12])
        known = dataset.degree.values[dataset.degree_eigenvalue.values > 1e-12]
        for degree, low, high in zip(known, [0, *ends[:-1]], ends, strict=True):
            found = float(dataset.eigenvalue.isel(mode=slice(int(low), int(high))).mean())
            exact = float(dataset.degree_eigenvalue.sel(degree=degree))
            rows.append([str(int(degree)), f"{exact:.4g}", f"{found:.4g}"])
    elif config.part == "eigenfeatures":
        rows = [["kept", "clean", "under attack"]]
        for kept in dataset.kept.values:
            one = dataset.sel(kept=kept).mean("seed")
            rows.append([str(int(kept)), f"{float(one.kept_clean):.3f}", f"{float(one.kept_robust):.3f}"])
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
