"""Figures of the parts of `kernels_data_physics` in which networks are trained or drawn."""

import math

import numpy as np

from dynamics import plots
from dynamics.experiments.kernels_data_physics import quantities
from dynamics.words import counted

COLOURS = plots.COLOURS
LAYERS = {"first": "first layer", "second": "second layer", "both": "both layers"}


def seeds(dataset) -> str:
    """How many."""
    return counted(dataset.sizes["seed"], "seed")


def net(config) -> str:
    """The network in words."""
    biases = "with hidden biases" if config.biases else "no biases"
    layers = LAYERS[config.trained] + (" train" if config.trained == "both" else " trains")
    return f"{config.activation}, {biases}, {layers}"


def guide(ax, x, values, exponent, label, **line):
    """A power law through the median at the first x."""
    x = np.asarray(x, float)
    ax.plot(x, values * (x / x[0]) ** exponent, label=label, **plots.THEORY | line)


def loglog(ax, xlabel, ylabel):
    """Logarithmic axes."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel(xlabel)
    ax.set_ylabel(ylabel)


def kernels(config, dataset):
    """Distance from the limit and variance, by width."""
    figure, axes = plots.new_figure(1, 2, 8.4, 3.5)
    ax, widths = axes[0, 0], dataset.width.values
    for number, (layer, label) in enumerate(LAYERS.items()):
        error = dataset.kernel_error.sel(layer=layer)
        plots.curve(ax, error, "width", color=COLOURS[number], marker=".", label=label)
        if layer == "both":
            guide(ax, widths, float(error.isel(width=0).median()), -0.5, r"$m^{-1/2}$")
        if layer != "both":
            at = axes[0, 1]
            spread = dataset.kernel_variance.sel(layer=layer)
            plots.curve(at, spread, "width", color=COLOURS[number], marker=".", label=label)
    loglog(ax, "width $m$", r"$\|\hat\Theta - \Theta\| / \|\Theta\|$")
    ax.set_title("a finite network's kernel nears its limit")
    for law, label in ((quantities.FIRST_VARIANCE, "theory"), (quantities.SECOND_VARIANCE, None)):
        if law.applies(config):
            axes[0, 1].axhline(law.predicted(config), label=label, **plots.THEORY)
    axes[0, 1].set_xscale("log")
    axes[0, 1].set_ylim(0, None)
    axes[0, 1].set_xlabel("width $m$")
    axes[0, 1].set_ylabel(r"$m\,\mathrm{Var}\,\hat\Theta(x, x)$")
    axes[0, 1].set_title(f"its variance on the diagonal, over {config.draws} networks")
    return figure, axes, f"{config.activation}; output weights: {config.output}; {seeds(dataset)}"


def width(config, dataset):
    """What moves, and how linear networks are, by width."""
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
        plots.curve(ax, dataset[name], "width", color=COLOURS[number % 2], marker=".", label=label)
        first = float(dataset[name].isel(width=0).median())
        shown = {0: (-0.5, r"$m^{-1/2}$"), 1: (-1.0, r"$m^{-1}$"), 2: (-0.5, r"$m^{-1/2}$"), 3: (-0.5, None)}
        line = {"color": "0.5", "dashes": (2.5, 1.5)} if shown[number][0] == -1 else {}
        if np.isfinite(first):
            guide(ax, widths, first, *shown[number], **line)
    loglog(axes[0, 0], "width $m$", "relative change")
    loglog(axes[0, 1], "width $m$", "root mean square on test points")
    axes[0, 0].set_title("training moves weights and kernel less and less")
    axes[0, 1].set_title("and the network becomes linear in its parameters")
    scaling = "mean-field scaling" if config.mean_field else "NTK scaling"
    return figure, axes, f"{scaling}; {net(config)}; {config.steps} steps; {seeds(dataset)}"


def linear(config, dataset):
    """Modes over time, and stability."""
    figure, axes = plots.new_figure(1, 2, 9.0, 3.6)
    ax, one = axes[0, 0], dataset.isel(rate=0, seed=0)
    count = dataset.sizes["mode"]
    chosen = sorted({0, count // 4, count // 2, 3 * count // 4, count - 1})
    steps = dataset.step.values
    for number, i in enumerate(chosen):
        start = abs(float(one.residual.isel(step=0, mode=i)))
        label = rf"$\lambda$ = {float(one.eigenvalue.isel(mode=i)):.2g}"
        ax.plot(steps, np.abs(one.residual.isel(mode=i)) / start, color=COLOURS[number], label=label)
        exact = np.abs(one.residual_predicted.isel(mode=i)) / start
        ax.plot(steps, exact, label="closed form" if number == 0 else None, **plots.THEORY)
    ax.set_yscale("log")
    ax.set_ylim(1e-9, 3)
    ax.set_title(rf"each mode by itself: rate {float(one.rate):g}$/\lambda_{{\max}}$, seed {int(one.seed)}")
    ax.set_ylabel("residual over its start")
    for number, rate in enumerate(dataset.rate.values):
        rest = np.abs(dataset.residual.sel(rate=rate)).max("mode")
        plots.curve(axes[0, 1], rest, "step", color=COLOURS[number], label=rf"${rate:g}/\lambda_{{\max}}$")
        exact = np.abs(dataset.residual_predicted.sel(rate=rate)).max("mode").median("seed")
        axes[0, 1].plot(steps, exact, label="closed form" if number == 0 else None, **plots.THEORY)
    axes[0, 1].set_yscale("log")
    axes[0, 1].set_ylabel("largest residual of a mode")
    axes[0, 1].set_title(r"stable below $2/\lambda_{\max}$")
    for ax in axes.flat:
        plots.time_axis(ax, steps.tolist(), logarithmic=False)
    kind = "linearised network" if config.linearized else "network"
    return figure, axes, f"{kind} of width {config.width}; {net(config)}; {seeds(dataset)}"


def _dashed_bars(ax, x, middle, half, colour, label):
    """Intervals of a theory, dashed as its curves are."""
    bars = ax.errorbar(
        x, middle, half, linestyle="none", marker="_", color=colour, capsize=3, label=label, zorder=5
    )
    for lines in bars[2]:
        lines.set_linestyle("--")


def ensemble(config, dataset):
    """Outputs over initial weights, beside the infinite network."""
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
        _dashed_bars(ax, x + 0.3, exact, 2 * width, "black", "infinite width")
        ax.set_xticks(x)
    posterior = np.sqrt(last.posterior_variance.values)
    if config.great_circle:
        for sign in (-1, 1):
            style = plots.THEORY | {
                "color": "0.55",
                "label": "Gaussian process posterior" if sign == 1 else None,
            }
            ax.plot(x, last.posterior_mean + 2 * sign * posterior, **style)
    else:
        about = (2 * posterior, "0.55", "Gaussian process posterior")
        _dashed_bars(ax, x + 0.6, last.posterior_mean, *about)
    ax.set_xlabel(label)
    ax.set_ylabel("output $f(x)$")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.35 * (high - low))  # room for the legend
    ax.set_title(f"after {int(last.step)} steps")
    ax = axes[0, 1]
    for number, step in enumerate(dataset.step.values):
        ratio = dataset.output.sel(step=step).var("seed", ddof=1) / dataset.variance_predicted.sel(step=step)
        # late steps may agree: the earlier one stays to be seen below
        style = {"color": COLOURS[number % 6], "linewidth": max(3.0 - number, 1.0), "marker": "."}
        ax.plot(x, ratio, label=f"step {step}", **style)
    ax.axhline(1, label="infinite width", **plots.THEORY)
    error = 2 * math.sqrt(2 / max(dataset.sizes["seed"] - 1, 1))
    ax.axhspan(1 - error, 1 + error, color=plots.GREY, alpha=0.2, linewidth=0, label="2 standard errors")
    ax.set_xlabel(label)
    ax.set_ylabel("variance over its prediction")
    ax.set_title("spread over initial weights")
    return (
        figure,
        axes,
        f"{seeds(dataset).replace('seed', 'network')} of width {config.width}; {net(config)}",
    )


def spectral_bias(config, dataset):
    """Frequencies over time."""
    many = dataset.sizes["amplitude"] > 1
    figure, axes = plots.new_figure(1, 3, 9.6, 3.7)
    ax = axes[0, 0]
    steps = dataset.step.values
    for number, k in enumerate(dataset.frequency.values):
        colour = COLOURS[number % 6]
        left = 1 - dataset.fit.sel(frequency=k).isel(amplitude=0)
        plots.curve(ax, left, "step", color=colour, label=f"$k$ = {k:g}")
        when = float(dataset.predicted_time.sel(frequency=k))
        ax.plot(steps, 0.1 ** (steps / when), **plots.THEORY)
    ax.plot([], [], label="kernel", **plots.THEORY)
    ax.set_yscale("log")
    ax.set_ylim(0.03, 1.4)
    plots.time_axis(ax, steps.tolist())
    ax.set_ylabel("share of the target not learned")
    ax.set_title(f"one frequency after another ($A$ = {float(dataset.amplitude[0]):g})")
    ax = axes[0, 1]
    times = quantities.hitting_times(dataset)
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
    reached = bool(finite.any() or np.isfinite(times).any())
    for at in k[~finite]:
        ax.axvline(
            at, color=plots.GREY, linestyle=":", label="never, by the kernel" if at == k[~finite][0] else None
        )
    ax.set_yscale("log" if reached else "linear")
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
    return figure, axes, f"width {config.width}, {config.grid} points; {net(config)}; {seeds(dataset)}"
