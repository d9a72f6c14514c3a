"""Figures of the settings in which networks are trained or drawn."""

import math

import numpy as np

from dynamics import plots
from dynamics.experiments.kernels_data_physics import quantities
from dynamics.study import hitting_time
from dynamics.words import counted

COLOURS = plots.COLOURS
LAYERS = {"first": "first layer", "second": "second layer", "both": "both layers"}
CHANGES = {  # what falls with the width, and by which power
    "weight_motion": ("weights, relative change", -0.5, r"$m^{-1/2}$"),
    "kernel_drift": ("kernel, relative change", -1.0, r"$m^{-1}$"),
    "linear_gap": ("network less linearised network", -0.5, r"$m^{-1/2}$"),
    "infinite_gap": ("linearised less infinite network", -0.5, None),
}


def seeds(dataset) -> str:
    """How many."""
    return counted(dataset.sizes["seed"], "seed")


def net(config) -> str:
    """The network in words."""
    biases = "with hidden biases" if config.biases else "no biases"
    layers = LAYERS[config.trained] + (" train" if config.trained == "both" else " trains")
    return f"{config.activation}, {biases}, {layers}"


def kernels(config, dataset):
    """Distance from the limit and variance, by width."""
    figure, ((left, right),) = plots.new_figure(1, 2, 8.4, 3.5)
    plots.curves(left, dataset.kernel_error, "width", "layer", LAYERS, marker=".")
    start = float(dataset.kernel_error.sel(layer="both").isel(width=0).median())
    plots.guide(left, dataset.width, start, -0.5, r"$m^{-1/2}$")
    single = dataset.kernel_variance.sel(layer=["first", "second"])
    plots.curves(right, single, "width", "layer", LAYERS, marker=".")
    for law, label in ((quantities.FIRST_VARIANCE, "theory"), (quantities.SECOND_VARIANCE, None)):
        if law.applies(config):
            right.axhline(law.predicted(config), label=label, **plots.THEORY)
    distance, spread = r"$\|\hat\Theta - \Theta\| / \|\Theta\|$", r"$m\,\mathrm{Var}\,\hat\Theta(x, x)$"
    plots.label(left, "width $m$", distance, "a finite network's kernel nears its limit", log="xy")
    title = f"its variance on the diagonal, over {config.draws} networks"
    plots.label(right, "width $m$", spread, title, log="x", ylim=(0, None))
    return figure, f"{config.activation}; output weights: {config.output}; {seeds(dataset)}"


def width(config, dataset):
    """What moves, and how linear networks are, by width."""
    figure, axes = plots.new_figure(1, 2, 8.8, 3.6)
    for number, (name, (label, power, guide)) in enumerate(CHANGES.items()):
        ax, start = axes[0, number // 2], float(dataset[name].isel(width=0).median())
        plots.curve(ax, dataset[name], "width", color=COLOURS[number % 2], marker=".", label=label)
        if np.isfinite(start):
            line = {"color": "0.5", "dashes": (2.5, 1.5)} if power == -1 else {}
            plots.guide(ax, dataset.width, start, power, guide, **line)
    words = "training moves weights and kernel less and less"
    plots.label(axes[0, 0], "width $m$", "relative change", words, log="xy")
    words = "and the network becomes linear in its parameters"
    plots.label(axes[0, 1], "width $m$", "root mean square on test points", words, log="xy")
    scaling = "mean-field scaling" if config.mean_field else "NTK scaling"
    return figure, f"{scaling}; {net(config)}; {config.steps} steps; {seeds(dataset)}"


def linear(config, dataset):
    """Modes over time, and stability."""
    figure, ((left, right),) = plots.new_figure(1, 2, 9.0, 3.6)
    one, steps = dataset.isel(rate=0, seed=0), dataset.step.values
    count = dataset.sizes["mode"]
    for number, i in enumerate(sorted({0, count // 4, count // 2, 3 * count // 4, count - 1})):
        mode, label = one.isel(mode=i), "closed form" if number == 0 else None
        start = abs(float(mode.residual[0]))
        name = rf"$\lambda$ = {float(mode.eigenvalue):.2g}"
        left.plot(steps, np.abs(mode.residual) / start, color=COLOURS[number], label=name)
        left.plot(steps, np.abs(mode.residual_predicted) / start, label=label, **plots.THEORY)
    largest = np.abs(dataset[["residual", "residual_predicted"]]).max("mode")
    plots.curves(right, largest.residual, "step", "rate", r"${:g}/\lambda_{{\max}}$")
    for number, exact in enumerate(largest.residual_predicted.median("seed")):
        right.plot(steps, exact, label="closed form" if number == 0 else None, **plots.THEORY)
    for ax in (left, right):
        plots.time_axis(ax, steps, logarithmic=False)
    title = rf"each mode by itself: rate {float(one.rate):g}$/\lambda_{{\max}}$, seed {int(one.seed)}"
    plots.label(left, y="residual over its start", title=title, log="y", ylim=(1e-9, 3))
    plots.label(right, y="largest residual of a mode", title=r"stable below $2/\lambda_{\max}$", log="y")
    kind = "linearised network" if config.linearized else "network"
    return figure, f"{kind} of width {config.width}; {net(config)}; {seeds(dataset)}"


def ensemble(config, dataset):
    """Outputs over initial weights, beside the infinite network."""
    figure, ((left, right),) = plots.new_figure(1, 2, 9.4, 3.7)
    last, x, label = dataset.isel(step=-1), dataset.point.values + 1, "test point"
    if config.great_circle:
        x, label = 360 * dataset.point.values / dataset.sizes["point"], "angle on the great circle (degrees)"
    mean, spread = last.output.mean("seed"), 2 * last.output.std("seed")
    own = {"color": COLOURS[0], "label": "networks: mean and 2 sd"}
    theories = (
        (last.mean_predicted, 2 * np.sqrt(last.variance_predicted), "black", "infinite width"),
        (last.posterior_mean, 2 * np.sqrt(last.posterior_variance), "0.55", "Gaussian process posterior"),
    )
    if config.great_circle:
        left.plot(x, mean, **own)
        left.fill_between(x, mean - spread, mean + spread, color=COLOURS[0], alpha=0.2, linewidth=0)
        for middle, half, colour, words in theories:
            for sign in (-1, 1):
                name = words if sign == 1 else None
                left.plot(x, middle + sign * half, label=name, **plots.THEORY | {"color": colour})
        left.plot(x, last.mean_predicted, **plots.THEORY)
    else:
        left.errorbar(x, mean, spread, linestyle="none", marker="o", markersize=4, capsize=3, **own)
        for number, (middle, half, colour, words) in enumerate(theories):
            how = {"linestyle": "none", "marker": "_", "capsize": 3, "zorder": 5}
            at = x + 0.3 * (number + 1)
            for bar in left.errorbar(at, middle, half, color=colour, label=words, **how)[2]:
                bar.set_linestyle("--")  # as theory's curves are
        left.set_xticks(x)
    low, high = left.get_ylim()
    room = (low, high + 0.35 * (high - low))  # for the legend
    plots.label(left, label, "output $f(x)$", f"after {int(last.step)} steps", ylim=room)
    ratio = dataset.output.var("seed", ddof=1) / dataset.variance_predicted
    for number, step in enumerate(dataset.step.values):
        # late steps may agree: the earlier one stays to be seen below, or beside
        how = {"color": COLOURS[number % 6], "label": f"step {step}", "marker": "."}
        if config.great_circle:
            right.plot(x, ratio.sel(step=step), linewidth=max(3.0 - number, 1.0), **how)
        else:
            right.plot(x + 0.2 * number, ratio.sel(step=step), linestyle="none", markersize=8, **how)
    right.axhline(1, label="infinite width", **plots.THEORY)
    error = 2 * math.sqrt(2 / max(dataset.sizes["seed"] - 1, 1))
    grey = {"color": plots.GREY, "alpha": 0.2, "linewidth": 0}
    right.axhspan(1 - error, 1 + error, label="2 standard errors", **grey)
    plots.label(right, label, "variance over its prediction", "spread over initial weights")
    networks = counted(dataset.sizes["seed"], "network")
    return figure, f"{networks} of width {config.width}; {net(config)}"


def spectral_bias(config, dataset):
    """Frequencies over time."""
    figure, ((left, middle, right),) = plots.new_figure(1, 3, 9.6, 3.7)
    steps, k, expected = dataset.step.values, dataset.frequency.values, dataset.predicted_time
    plots.curves(left, 1 - dataset.fit.isel(amplitude=0), "step", "frequency", "$k$ = {:g}")
    for when in expected.values:
        left.plot(steps, 0.1 ** (steps / when), **plots.THEORY)
    left.plot([], [], label="kernel", **plots.THEORY)
    plots.time_axis(left, steps)
    title = f"one frequency after another ($A$ = {float(dataset.amplitude[0]):g})"
    plots.label(left, y="share of the target not learned", title=title, log="y", ylim=(0.03, 1.4))
    times = hitting_time(dataset.fit)
    for number, found in enumerate(times.median("seed").transpose("amplitude", "frequency")):
        name = f"networks, $A$ = {float(found.amplitude):g}"
        found = found.dropna("frequency")
        middle.plot(found.frequency, found, "o", color=COLOURS[number % 6], label=name)
    known = np.isfinite(expected.values)
    label = r"kernel, $T_k \propto 1/\lambda_k$"
    middle.plot(k[known], expected.values[known], label=label, **plots.THEORY)
    for number, at in enumerate(k[~known]):
        label = "never, by the kernel" if number == 0 else None
        middle.axvline(at, color=plots.GREY, linestyle=":", label=label)
    plots.label(middle, "frequency $k$", "steps until a tenth is left", "when they are learned")
    plots.ticks(middle, k)
    middle.set_yscale("log" if known.any() or np.isfinite(times).any() else "linear")
    if dataset.sizes["amplitude"] > 1:
        _slower(right, times / expected)
    else:
        _function(right, dataset)
    return figure, f"width {config.width}, {config.grid} points; {net(config)}; {seeds(dataset)}"


def _slower(ax, ratio):
    """How much later than predicted targets of each amplitude are learned."""
    for number, found in enumerate(ratio.median("seed").transpose("amplitude", "frequency")):
        name, found = f"$A$ = {float(found.amplitude):g}", found.dropna("frequency")
        ax.plot(found.frequency, found, marker="o", color=COLOURS[number % 6], label=name)
    ax.axhline(1, label="kernel", **plots.THEORY)
    plots.ticks(ax, ratio.frequency)
    title = "larger targets leave the kernel regime"
    plots.label(ax, "frequency $k$", "measured over predicted time", title)


def _function(ax, dataset):
    """What one network computes on the way, for the highest frequency of which 16 points draw a period."""
    smooth = np.flatnonzero(dataset.frequency.values <= dataset.sizes["point"] / 16)
    one = dataset.isel(frequency=int(smooth[-1]) if smooth.size else 0, amplitude=0, seed=0)
    phi = 360 * dataset.point.values / dataset.sizes["point"]
    for number, share in enumerate((0.1, 0.5, 0.9)):
        i = int(np.argmin(np.abs(one.fit.values - share)))
        label = f"step {int(dataset.step[i])}"
        ax.plot(phi, one.output.isel(step=i), color=COLOURS[number], label=label)
    target = np.cos(float(one.frequency) * np.deg2rad(phi)) * float(one.amplitude)
    ax.plot(phi, target, label="target", **plots.THEORY)
    ends = (-1.15 * float(one.amplitude), 1.8 * float(one.amplitude))
    title = f"the function learned, $k$ = {float(one.frequency):g}"
    plots.label(ax, r"angle $\varphi$ (degrees)", "$f$", title, xlim=(0, 180), ylim=ends)
