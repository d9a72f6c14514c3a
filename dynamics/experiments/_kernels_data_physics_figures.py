"""Figures and the table of the kernel picture of wide networks, from a Dataset alone."""

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dynamics import plots
from dynamics.experiments import _kernels_data_physics_measures as measures

if TYPE_CHECKING:
    import matplotlib.figure

COLOURS = plots.COLOURS
LAYERS = {"first": "first layer", "second": "second layer", "both": "both layers"}


def _config(dataset: xr.Dataset):
    from dynamics.experiments.kernels_data_physics import Config

    return Config.from_dict(json.loads(dataset.attrs["config"]))


def _seeds(dataset) -> str:
    count = dataset.sizes["seed"]
    return f"{count:,} seed{'s' if count > 1 else ''}"


def _net(config) -> str:
    biases = "with hidden biases" if config.biases else "no biases"
    layers = LAYERS[config.trained] + (" train" if config.trained == "both" else " trains")
    return f"{config.activation}, {biases}, {layers}"


def _curve(ax, values: xr.DataArray, dim: str, **line) -> None:
    values = values.transpose("seed", dim)
    plots.band(ax, values[dim].values, values.values, **line)


def _guide(ax, x, values, exponent, label):
    """A power law through the median at the first x."""
    x = np.asarray(x, float)
    ax.plot(x, values * (x / x[0]) ** exponent, label=label, **plots.THEORY)


def _log(ax, xlabel, ylabel):
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)


def _kernels(config, dataset):
    figure, axes = plots.new_figure(1, 2, 8.4, 3.5)
    ax, widths = axes[0, 0], dataset.width.values
    for number, (layer, label) in enumerate(LAYERS.items()):
        error = dataset.kernel_error.sel(layer=layer)
        _curve(ax, error, "width", color=COLOURS[number], marker=".", label=label)
        if layer == "both":
            _guide(ax, widths, float(error.isel(width=0).median()), -0.5, r"$m^{-1/2}$")
        if layer != "both":
            at = axes[0, 1]
            _curve(at, dataset.kernel_variance.sel(layer=layer), "width", color=COLOURS[number], marker=".",
                   label=label)  # fmt: skip
    _log(ax, "width $m$", r"$\|\hat\Theta - \Theta\| / \|\Theta\|$")
    ax.set_title("a finite network's kernel nears its limit")
    if config.activation == "relu" and config.init_scale == 1:
        fourth = 1.0 if config.output == "sign" else 3.0
        levels = ((fourth / 2 - 1 / 4, "theory"), (5 / 4, None))
        for level, label in levels:
            axes[0, 1].axhline(level, label=label, **plots.THEORY)
    axes[0, 1].set_xscale("log")
    axes[0, 1].set_ylim(0, None)
    axes[0, 1].set_xlabel("width $m$")
    axes[0, 1].set_ylabel(r"$m\,\mathrm{Var}\,\hat\Theta(x, x)$")
    axes[0, 1].set_title(f"its variance on the diagonal, over {config.draws} networks")
    return figure, axes, f"{config.activation}; output weights: {config.output}; {_seeds(dataset)}"


def _width(config, dataset):
    figure, axes = plots.new_figure(1, 2, 8.8, 3.6)
    names = {
        "weight_motion": "weights, relative change",
        "kernel_drift": "kernel, relative change",
        "linear_gap": "network less linearised network",
        "infinite_gap": "linearised less infinite network",
    }
    widths = dataset.width.values
    for number, (name, label) in enumerate(names.items()):
        ax = axes[0, number // 2]
        _curve(ax, dataset[name], "width", color=COLOURS[number % 2], marker=".", label=label)
        first = float(dataset[name].isel(width=0).median())
        shown = {0: (-0.5, r"$m^{-1/2}$"), 1: (-1.0, r"$m^{-1}$"), 2: (-0.5, r"$m^{-1/2}$"), 3: (-0.5, None)}
        if np.isfinite(first):
            _guide(ax, widths, first, *shown[number])
    _log(axes[0, 0], "width $m$", "relative change")
    _log(axes[0, 1], "width $m$", "root mean square on test points")
    axes[0, 0].set_title("training moves weights and kernel less and less")
    axes[0, 1].set_title("and the network becomes linear in its parameters")
    scaling = "mean-field scaling" if config.mean_field else "NTK scaling"
    return figure, axes, f"{scaling}; {_net(config)}; {config.steps} steps; {_seeds(dataset)}"


def _linear(config, dataset):
    figure, axes = plots.new_figure(1, 2, 9.0, 3.6)
    ax, one = axes[0, 0], dataset.isel(rate=0, seed=0)
    count = dataset.sizes["mode"]
    chosen = sorted({0, count // 4, count // 2, 3 * count // 4, count - 1})
    steps = dataset.step.values
    for number, i in enumerate(chosen):
        start = abs(float(one.residual.isel(step=0, mode=i)))
        label = rf"$\lambda$ = {float(one.eigenvalue.isel(mode=i)):.2g}"
        ax.plot(steps, np.abs(one.residual.isel(mode=i)) / start, color=COLOURS[number], label=label)
        ax.plot(steps, np.abs(one.residual_predicted.isel(mode=i)) / start, **plots.THEORY)
    ax.set_yscale("log")
    ax.set_ylim(1e-9, 3)
    ax.set_title(rf"each mode by itself: rate {float(one.rate):g}$/\lambda_{{\max}}$, seed {int(one.seed)}")
    ax.set_ylabel("residual over its start")
    for number, rate in enumerate(dataset.rate.values):
        rest = np.abs(dataset.residual.sel(rate=rate)).max("mode")
        _curve(axes[0, 1], rest, "step", color=COLOURS[number], label=rf"${rate:g}/\lambda_{{\max}}$")
        exact = np.abs(dataset.residual_predicted.sel(rate=rate)).max("mode").median("seed")
        axes[0, 1].plot(steps, exact, label="closed form" if number == 0 else None, **plots.THEORY)
    axes[0, 1].set_yscale("log")
    axes[0, 1].set_ylabel("largest residual of a mode")
    axes[0, 1].set_title(r"stable below $2/\lambda_{\max}$")
    for ax in axes.flat:
        plots.time_axis(ax, steps.tolist(), logarithmic=False)
    kind = "linearised network" if config.linearized else "network"
    return figure, axes, f"{kind} of width {config.width}; {_net(config)}; {_seeds(dataset)}"


def _ensemble(config, dataset):
    last = dataset.isel(step=-1)
    x, label = dataset.point.values + 1, "test point"
    figure, axes = plots.new_figure(1, 2, 9.4, 3.7)
    ax = axes[0, 0]
    if config.great_circle:
        x, label = 360 * dataset.point.values / dataset.sizes["point"], "angle on the great circle (degrees)"
    mean, spread = last.output.mean("seed"), last.output.std("seed")
    exact, width = last.mean_predicted.values, np.sqrt(last.variance_predicted.values)
    style = {"color": COLOURS[0], "label": "networks: mean and 2 sd"}
    if config.great_circle:
        ax.plot(x, mean, **style)
        ax.fill_between(x, mean - 2 * spread, mean + 2 * spread, color=COLOURS[0], alpha=0.2, linewidth=0)
        for sign in (-1, 1):
            ax.plot(x, exact + 2 * sign * width, **plots.THEORY)
        ax.plot(x, exact, label="infinite width", **plots.THEORY)
    else:
        ax.errorbar(x, mean, 2 * spread, linestyle="none", marker="o", markersize=4, capsize=3, **style)
        ax.errorbar(x + 0.3, exact, 2 * width, linestyle="none", marker="_", color="black", capsize=3,
                    label="infinite width")  # fmt: skip
        ax.set_xticks(x)
    posterior = np.sqrt(last.posterior_variance.values)
    if config.great_circle:
        for sign in (-1, 1):
            ax.plot(x, last.posterior_mean + 2 * sign * posterior, color=COLOURS[1], linestyle=":",
                    label="Gaussian process posterior" if sign == 1 else None)  # fmt: skip
    else:
        style = {"color": COLOURS[1], "linestyle": "none", "marker": "_", "capsize": 3}
        ax.errorbar(x + 0.6, last.posterior_mean, 2 * posterior, label="Gaussian process posterior", **style)
    ax.set_xlabel(label)
    ax.set_ylabel("output $f(x)$")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.35 * (high - low))  # room for the legend
    ax.set_title(f"after {int(last.step)} steps")
    ax = axes[0, 1]
    for number, step in enumerate(dataset.step.values):
        ratio = dataset.output.sel(step=step).var("seed", ddof=1) / dataset.variance_predicted.sel(step=step)
        ax.plot(x, ratio, color=COLOURS[number % 6], marker=".", label=f"step {step}")
    ax.axhline(1, label="infinite width", **plots.THEORY)
    error = 2 * math.sqrt(2 / max(dataset.sizes["seed"] - 1, 1))
    ax.axhspan(1 - error, 1 + error, color=plots.GREY, alpha=0.2, linewidth=0, label="2 standard errors")
    ax.set_xlabel(label)
    ax.set_ylabel("variance over its prediction")
    ax.set_title("spread over initial weights")
    return (
        figure,
        axes,
        f"{_seeds(dataset).replace('seed', 'network')} of width {config.width}; {_net(config)}",
    )


def _spectral_bias(config, dataset):
    many = dataset.sizes["amplitude"] > 1
    figure, axes = plots.new_figure(1, 3, 13.0, 3.7)
    ax = axes[0, 0]
    steps = dataset.step.values
    for number, k in enumerate(dataset.frequency.values):
        colour = COLOURS[number % 6]
        left = 1 - dataset.fit.sel(frequency=k).isel(amplitude=0)
        _curve(ax, left, "step", color=colour, label=f"$k$ = {k:g}")
        when = float(dataset.predicted_time.sel(frequency=k))
        ax.plot(steps, 0.1 ** (steps / when), **plots.THEORY)
    ax.plot([], [], label="kernel", **plots.THEORY)
    ax.set_yscale("log")
    ax.set_ylim(0.03, 1.4)
    plots.time_axis(ax, steps.tolist())
    ax.set_ylabel("share of the target not learned")
    ax.set_title(f"one frequency after another ($A$ = {float(dataset.amplitude[0]):g})")
    ax = axes[0, 1]
    times = measures.hitting_times(dataset)
    k = dataset.frequency.values
    for number, amplitude in enumerate(dataset.amplitude.values):
        found = times.sel(amplitude=amplitude).transpose("seed", "frequency").values
        shown = np.isfinite(found).any(0)
        ax.plot(k[shown], np.nanmedian(found[:, shown], axis=0), "o", color=COLOURS[number % 6],
                label=f"networks, $A$ = {amplitude:g}")  # fmt: skip
    finite = np.isfinite(dataset.predicted_time.values)
    ax.plot(
        k[finite],
        dataset.predicted_time.values[finite],
        label=r"kernel, $T_k \propto 1/\lambda_k$",
        **plots.THEORY,
    )
    for at in k[~finite]:
        ax.axvline(
            at, color=plots.GREY, linestyle=":", label="never, by the kernel" if at == k[~finite][0] else None
        )
    ax.set_yscale("log")
    ax.set_xticks(k, [f"{v:g}" for v in k])
    ax.set_xlabel("frequency $k$")
    ax.set_ylabel("steps until a tenth is left")
    ax.set_title("when they are learned")
    ax = axes[0, 2]
    if many:
        for number, amplitude in enumerate(dataset.amplitude.values):
            ratio = (times / dataset.predicted_time).sel(amplitude=amplitude).transpose("seed", "frequency")
            shown = np.isfinite(ratio.values).any(0)
            middle = np.nanmedian(ratio.values[:, shown], axis=0)
            ax.plot(k[shown], middle, marker="o", color=COLOURS[number % 6], label=f"$A$ = {amplitude:g}")
        ax.axhline(1, label="kernel", **plots.THEORY)
        ax.set_xticks(k, [f"{v:g}" for v in k])
        ax.set_xlabel("frequency $k$")
        ax.set_ylabel("measured over predicted time")
        ax.set_title("larger targets leave the kernel regime")
    else:
        smooth = np.flatnonzero(k <= dataset.sizes["point"] / 16)  # 16 points a period draw a cosine
        highest = dataset.isel(frequency=int(smooth[-1]) if smooth.size else 0, amplitude=0, seed=0)
        phi = 360 * dataset.point.values / dataset.sizes["point"]
        target = np.cos(float(highest.frequency) * np.deg2rad(phi)) * float(highest.amplitude)
        for number, share in enumerate((0.1, 0.5, 0.9)):
            i = int(np.argmin(np.abs(highest.fit.values - share)))
            ax.plot(phi, highest.output.isel(step=i), color=COLOURS[number], label=f"step {int(steps[i])}")
        ax.plot(phi, target, label="target", **plots.THEORY)
        ax.set_xlim(0, 180)
        ax.set_ylim(-1.15 * abs(float(highest.amplitude)), 1.8 * abs(float(highest.amplitude)))
        ax.set_xlabel(r"angle $\varphi$ (degrees)")
        ax.set_ylabel("$f$")
        ax.set_title(f"the function learned, $k$ = {float(highest.frequency):g}")
    return figure, axes, f"width {config.width}, {config.grid} points; {_net(config)}; {_seeds(dataset)}"


def _sphere(config, dataset):
    figure, axes = plots.new_figure(1, 2, 9.0, 3.6)
    ax = axes[0, 0]
    ranked = dataset.eigenvalue.assign_coords(mode=dataset.mode + 1)
    _curve(
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
    _log(ax, "rank", "eigenvalue of the Gram matrix / $n$")
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
    _log(ax, "degree $k$", r"eigenvalue $\lambda_k$")
    ax.set_xticks(degree[degree > 0], [str(k) for k in degree[degree > 0]])
    ax.minorticks_off()
    ax.set_title("degrees that are not shown have eigenvalue 0" if not known.all() else "by degree")
    return figure, axes, f"$S^2$; {_net(config)}; {_seeds(dataset)}"


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
        return figure, axes, f"ridgeless regression on a grid of $P$ points; {_net(config)}"
    figure, axes = plots.new_figure(1, 1, 5.2, 4.0)
    ax = axes[0, 0]
    for number, a in enumerate(dataset.exponent.values):
        error = dataset.error.sel(exponent=a)
        theory = min(a - 1, 4.0)
        _curve(
            ax, error, "size", color=COLOURS[number % 6], marker=".", label=f"teacher power $k^{{-{a:g}}}$"
        )
        if config.biases:
            middle = float(error.isel(size=0).median())
            _guide(
                ax, dataset["size"].values, middle, -theory, r"$P^{-\min(a-1,\,4)}$" if number == 0 else None
            )
    _log(ax, "samples $P$", "mean squared test error")
    ax.set_xticks(dataset["size"].values, [str(size) for size in dataset["size"].values])
    ax.minorticks_off()
    ax.set_title(f"a mean over {config.draws} teachers a seed")
    return figure, axes, f"{_net(config)}; {_seeds(dataset)}"


def _hypercube(config, dataset):
    figure, axes = plots.new_figure(1, 1, 5.2, 3.9)
    ax = axes[0, 0]
    for number, p in enumerate(dataset.degree.values):
        colour = COLOURS[number % 6]
        _curve(ax, dataset.error.sel(degree=p), "size", color=colour, marker=".", label=f"$p$ = {p:g}")
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
    about = rf"parities on $\{{\pm1\}}^{{{config.cube_dim}}}$, $\sigma_b$ = {config.bias_std:g}"
    return figure, axes, f"{about}; {_seeds(dataset)}"


def _distillation(config, dataset):
    figure, axes = plots.new_figure(1, 2, 8.8, 3.5)
    for number, count in enumerate(dataset.support.values):
        for ax, name in ((axes[0, 0], "accuracy"), (axes[0, 1], "train_loss")):
            values = dataset[name].sel(support=count)
            _curve(ax, values, "step", color=COLOURS[number % 6], marker=".", label=f"{count} images")
    axes[0, 0].set_ylabel("test accuracy")
    axes[0, 1].set_ylabel("mean loss on the training images")
    axes[0, 1].set_yscale("log")
    for ax in axes.flat:
        plots.time_axis(ax, dataset.step.values.tolist())
    return (
        figure,
        axes,
        f"kernel regression on learned images; {config.data}, {config.num_images} images; {_seeds(dataset)}",
    )


def _eigenfeatures(config, dataset):
    figure, axes = plots.new_figure(1, 2, 8.8, 3.5)
    labels = {"kept": "largest eigenfeatures kept", "time": r"time in units of $1/\lambda_{\max}$"}
    for ax, (dim, label) in zip(axes[0], labels.items(), strict=True):
        for name, colour, words in (("clean", COLOURS[0], "clean"), ("robust", COLOURS[1], "under attack")):
            _curve(ax, dataset[f"{dim}_{name}"], dim, color=colour, marker=".", label=words)
        ax.set_xscale("log")
        ax.set_ylim(0, 1.02)
        ax.set_xlabel(label)
        ax.set_ylabel("test accuracy")
    about = f"{config.data}, {config.classes[0]} against {config.classes[1]}"
    return figure, axes, rf"{about}, $\ell_\infty$ radius {config.radius:g}; {_seeds(dataset)}"


DRAWN = {
    "kernels": _kernels, "width": _width, "linear": _linear, "ensemble": _ensemble,
    "spectral_bias": _spectral_bias, "sphere": _sphere, "learning_curves": _learning_curves,
    "hypercube": _hypercube, "distillation": _distillation, "eigenfeatures": _eigenfeatures,
}  # fmt: skip


@plots.styled
def overview(dataset: xr.Dataset) -> "matplotlib.figure.Figure":
    """The part's main picture."""
    config = _config(dataset)
    figure, axes, about = DRAWN[config.part](config, dataset)
    figure.suptitle(about, fontsize=9)
    for ax in axes.flat:
        ax.legend(loc="best")
    return figure


@plots.styled
def images(dataset: xr.Dataset) -> "matplotlib.figure.Figure | None":
    """The first learned images of the first seed, before and after (distillation)."""
    side = math.isqrt(dataset.sizes.get("pixel", 0))
    if "learned" not in dataset or side**2 != dataset.sizes["pixel"]:
        return None
    config = _config(dataset)
    shown = dataset.learned.isel(seed=0)
    shown = shown.isel(support=0) if "support" in shown.dims else shown
    count = dataset.sizes["image"]
    figure, axes = plots.new_figure(2, count, 1.0 * count, 2.6)
    for row, (step, words) in enumerate(((0, "at the start"), (-1, "learned"))):
        for ax, i in zip(axes[row], range(count), strict=True):
            ax.imshow(
                shown.isel(step=step, image=i).values.reshape(side, side), cmap="gray_r", vmin=0, vmax=1
            )
            ax.set_xticks([])
            ax.set_yticks([])
        axes[row, 0].set_ylabel(words)
    figure.suptitle(
        f"{config.data}: {int(dataset.support[0])} images for kernel regression, seed {int(dataset.seed[0])}",
        fontsize=9,
    )
    return figure


FIGURES = {"overview": overview, "images": images}


def table(dataset: xr.Dataset) -> str:
    """Some numbers of the part, means over seeds."""
    config = _config(dataset)
    rows: list[list[str]] = []
    if config.part == "spectral_bias":
        rows = [["frequency", "predicted", *(f"A={a:g}" for a in dataset.amplitude.values)]]
        times = measures.hitting_times(dataset).mean("seed")
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
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows)
