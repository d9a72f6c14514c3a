"""Figures and the table of clean generalisation and robust overfitting, from a Dataset alone."""

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dynamics import plots
from dynamics.experiments.clean_generalization_robust_overfitting import quantities
from dynamics.experiments.clean_generalization_robust_overfitting.quantities import ROBUST_ERROR, THRESHOLD
from dynamics.study import Run, last
from dynamics.words import counted

if TYPE_CHECKING:
    import matplotlib.figure

BLUE, RED, GREEN = plots.COLOURS[:3]


def _one(run: Run) -> xr.Dataset:
    """The first network under the first adversary, without the samples that only other networks have."""
    one = run.isel(arm=0, gamma=0)
    sizes = next(iter(run.config.arms.values()))
    wanted = {"sample": sizes[0], "neuron": sizes[1] * (2 if run.config.signed else 1)}
    return one.isel({dim: slice(0, count) for dim, count in wanted.items() if dim in one.dims})


def _curve(ax, values, **line):
    values = values.transpose("seed", "step")
    plots.band(ax, values.step.values, values.values, **line)


def _log_time(ax, dataset):
    steps = dataset.step.values
    ax.set_xlabel("step $t$")
    if len(steps) > 2 and steps[-1] > 10:
        ax.set_xscale("log")
        ax.set_xlim(max(int(steps[1]), 1), int(steps[-1]))


def _draw_margins(ax, config, one):
    """F1: the signal's and the noise's shares of the scores over time."""
    signal, residual = quantities.signal_margin(one), quantities.signal_margin(one, "robust_scores")
    noise = quantities.memory(one)
    _curve(ax, signal, color=BLUE, label=r"signal $\alpha^q U$")
    _curve(ax, residual, color=plots.COLOURS[5], label=r"residual signal $\alpha'^q U$")
    _curve(ax, noise.mean("sample"), color=RED, label=r"memory, mean $V_i$")
    _curve(ax, noise.min("sample"), color=plots.COLOURS[4], label=r"memory, smallest $V_i$")
    low = min(1.3 * ax.dataLim.y0, -0.05)
    if quantities.laws_apply(config) and one.sizes["step"] > 2:
        _draw_laws(ax, config, one)
    _log_time(ax, one)
    top = max(float(signal.max()), float(noise.max()), 1.0)
    ax.set_yscale("symlog", linthresh=0.01, linscale=0.4)
    ax.set_ylim(low, 2.5 * top)
    ax.set_ylabel("share of the score $y f$")
    ax.set_title("signal learned and noise memorised", pad=16)
    plots.legend_below(ax)


def _draw_laws(ax, config, one):
    race = config.race(int(one.sizes["sample"]), float(one.gamma))
    steps = np.unique(np.geomspace(1, max(config.steps, 2), 400))
    first = one.isel(step=0)
    start = float(first.signals.max(["neuron", "feature"]).median("seed"))
    if start > 0:
        label = r"phases I, II: from $u_{\max}(0)$"
        ax.plot(steps, race.signal_margin(steps, start), label=label, **plots.THEORY)
        _boundary(ax, config, race.signal_time(start), "$T_1$")
    if "memory_strength" in one and race.memory_rate > 0:
        starts = np.maximum(first.memory_strength.values.ravel(), 1e-12)
        mean = np.zeros(len(steps))
        for start in starts:  # up to 1, where the loss of a sample begins to saturate
            mean += np.minimum(race.memory_growth(steps, start) ** race.power, 1.0) / len(starts)
        style = plots.THEORY | {"color": "0.5"}
        ax.plot(steps, mean, label=r"phase III: mean of $v^q$ from $yv(0)$, up to 1", **style)
        _boundary(ax, config, race.memory_time(float(np.median(starts))), "$T_3$")


def _boundary(ax, config, step, name):
    """A predicted time, named above the curves."""
    if 1 < step < config.steps:
        ax.axvline(step, **plots.THEORY | {"linewidth": 0.7, "zorder": 1})
        ax.annotate(name, (step, 1.01), xycoords=ax.get_xaxis_transform(), ha="center", fontsize=7.5)


ACCURACIES = (
    ("clean_train", "clean, training", BLUE, "-"),
    ("clean_test", "clean, test", plots.COLOURS[5], "-."),
    ("robust_train", "robust, training", RED, "-"),
    ("robust_test", "robust, test", GREEN, "-"),
)


def _draw_accuracy(ax, config, one):
    """F2: clean and robust accuracy over time."""
    for name, label, colour, style in ACCURACIES:
        if name in one and "step" in one[name].dims:
            _curve(ax, one[name], color=colour, linestyle=style, label=label)
    if "robust_test" in one and "step" in one.robust_test.dims:
        label = "1/2: the sign of fresh noise decides"
        ax.axhline(0.5, label=label, **plots.THEORY | {"linewidth": 1.0})
    _log_time(ax, one)
    ax.set_ylim(-0.02, 1.03)
    ax.set_ylabel("accuracy")
    ax.set_title("clean generalisation, robust overfitting")
    plots.legend_below(ax)


def _draw_attacks(ax, config, one):
    """Test accuracy at the end against the radius, by what the attack may move."""
    radius = one.radius.values
    for name, label, colour, style in (
        ("shift_test", "fixed shift along $w^*$, test", BLUE, "-"),
        ("span_test", "PGD along $w^*$, test", RED, "none"),
        ("full_test", "PGD in all directions, test", GREEN, "-"),
        ("full_train", "PGD in all directions, training", plots.COLOURS[4], "-."),
    ):
        marker = {"marker": "o", "markersize": 4, "markerfacecolor": "none"}
        ax.plot(radius, one[name].median("seed"), color=colour, linestyle=style, label=label, **marker)
    label = r"training radius $\delta=\alpha(1-\gamma)$"
    ax.axvline(config.alpha * (1 - float(one.gamma)), label=label, **plots.THEORY | {"linewidth": 1.0})
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel(r"$\ell_2$ radius $\delta$")
    ax.set_ylabel("accuracy")
    ax.set_title("attacks at the end")
    plots.legend_below(ax, 1)


def _shape(config, one) -> str:
    return (
        f"d={config.dim}, P={config.num_patches}, N={one.sizes['sample']}, m={config.width[0]}, "
        rf"q={config.power:g}, $\gamma$={float(one.gamma):g}, $\lambda$={config.adversarial_weight:g}"
    )


def _title(figure, config, dataset, what):
    start = "Clean generalisation and robust overfitting (Li & Li 2025)"
    seeds = counted(dataset.sizes["seed"], "seed")
    figure.suptitle(f"{start}\n{what}, {seeds}", fontsize=9.5)


@plots.styled
def overview(run: Run) -> "matplotlib.figure.Figure":
    """What became of the run in one picture: phases and accuracies, a scan, widths, or the construction."""
    dataset = run.dataset
    config = run.config
    if config.data == "parity":
        figure, axes = plots.new_figure(1, 1, 5.6, 3.8)
        _draw_construction(axes[0, 0], config, dataset)
    elif config.on_images:
        shown = list(LANDSCAPE) if "loss_rise_train" in dataset else []
        figure, axes = plots.panels(1 + len(shown), 3.2 if shown else 5.2, 4.2)
        _draw_widths(axes[0], config, dataset)
        for ax, name in zip(axes[1:], shown, strict=True):
            _draw_landscape(ax, config, dataset, name)
        what = f"{config.data}, N={config.num_samples[0]}, radius {config.radius:g}"
        _title(figure, config, dataset, what)
    else:
        one = _one(run)
        drawn = [_draw_margins, _draw_accuracy]
        drawn += [_draw_attacks] if "full_test" in dataset else []
        drawn += [_draw_neurons] if "patch_alignment" in dataset else []
        scan = dataset.sizes["gamma"] > 1
        figure, axes = plots.panels(len(drawn) + scan, 4.6, 4.2)
        for ax, draw in zip(axes, drawn, strict=False):
            draw(ax, config, one)
        if scan:
            _draw_threshold(axes[-1], config, dataset)
        _title(figure, config, dataset, _shape(config, one))
    return figure


@plots.styled
def phases(run: Run) -> "matplotlib.figure.Figure | None":
    """F1: signal and memory over time, with the curves of phases I to III; None unless on patches."""
    dataset = run.dataset
    if "scores" not in dataset:
        return None
    config, one = run.config, _one(run)
    figure, axes = plots.new_figure(1, 1, 5.2, 4.6)
    _draw_margins(axes[0, 0], config, one)
    return figure


@plots.styled
def accuracy(run: Run) -> "matplotlib.figure.Figure | None":
    """F2: clean and robust accuracy on training and test samples over time."""
    dataset = run.dataset
    if dataset.sizes["step"] < 3:
        return None
    figure, axes = plots.new_figure(1, 1, 5.2, 4.2)
    _draw_accuracy(axes[0, 0], run.config, _one(run))
    return figure


def _draw_threshold(ax, config, dataset):
    """F3: robust test accuracy against gamma for every number of samples."""
    order = np.argsort(dataset.gamma.values)
    gamma = dataset.gamma.values[order]
    for colour, (name, (count, width)) in zip(plots.COLOURS, config.arms.items(), strict=False):
        values = dataset.robust_test.isel(step=-1).sel(arm=name).transpose("seed", "gamma").values[:, order]
        label = f"N={count}" + (f", m={width}" if len(config.width) > 1 else "")
        style = {"color": colour, "marker": "o", "markersize": 3.5}
        ax.plot(gamma, values.mean(axis=0), label=label, **style)
        ax.fill_between(gamma, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
        if THRESHOLD.applies(config):
            line = plots.THEORY | {"linewidth": 1.1, "color": colour}
            ax.axvline(THRESHOLD.predicted(dataclasses.replace(config, num_samples=(count,))), **line)
    if THRESHOLD.applies(config):
        ax.plot([], [], label=r"$\gamma_c$ predicted (colour of N)", **plots.THEORY | {"color": plots.GREY})
    ax.plot([], [], color=plots.GREY, linewidth=6, alpha=0.3, label="range over seeds")
    ax.set_ylim(0.35, 1.03)
    ax.set_xlabel(r"residual signal $\gamma=(\alpha-\delta)/\alpha$")
    ax.set_ylabel("robust test accuracy")
    ax.set_title("a stronger residual signal is learned instead")
    plots.legend_below(ax)


@plots.styled
def threshold(run: Run) -> "matplotlib.figure.Figure | None":
    """F3: robust test accuracy against gamma, with the predicted thresholds; None for a single gamma."""
    dataset = run.dataset
    if dataset.sizes["gamma"] < 2 or "scores" not in dataset:
        return None
    figure, axes = plots.new_figure(1, 1, 5.2, 4.4)
    _draw_threshold(axes[0, 0], run.config, dataset)
    return figure


def _draw_widths(ax, config, dataset):
    """F4: accuracies at the end against the width."""
    widths = np.asarray(config.width)
    names = list(config.arms)[: len(widths)]
    for name, label, colour, style in ACCURACIES:
        if name not in dataset:
            continue
        values = dataset[name].isel(gamma=0).sel(arm=names)
        values = values.isel(step=-1) if "step" in values.dims else values
        values = values.transpose("seed", "arm").values
        ax.plot(
            widths, values.mean(axis=0), color=colour, linestyle=style, marker="o", markersize=4, label=label
        )
        for one in values:
            ax.plot(widths, one, color=colour, linestyle="none", marker=".", markersize=4, alpha=0.6)
    ax.set_xscale("log", base=2)
    ax.set_xticks(widths, [str(width) for width in widths])
    ax.set_ylim(-0.02, 1.03)
    ax.set_xlabel("width $m$")
    ax.set_ylabel("accuracy")
    trained = "standard" if config.attack == "none" else "adversarial"
    ax.set_title(f"accuracy against width, {trained} training")
    plots.legend_below(ax)


@plots.styled
def width(run: Run) -> "matplotlib.figure.Figure | None":
    """F4: clean and robust accuracy against the width; None for a single width."""
    dataset = run.dataset
    config = run.config
    if len(config.width) < 2:
        return None
    figure, axes = plots.new_figure(1, 1, 5.2, 4.2)
    _draw_widths(axes[0, 0], config, dataset)
    return figure


LANDSCAPE = {
    "loss_rise": ("rise of the loss", "loss about inputs"),
    "input_gradient": (r"$\|\nabla_x L\|_1$", "input gradient"),
}


def _draw_landscape(ax, config, dataset, what):
    """F5: how the loss rises about training and test inputs of the widest network."""
    label, title = LANDSCAPE[what]
    name = list(config.arms)[-1]
    for points, colour in (("train", RED), ("test", GREEN)):
        values = dataset[f"{what}_{points}"].sel(arm=name).isel(gamma=0).transpose("seed", "radius").values
        words = "training" if points == "train" else "test"
        style = {"color": colour, "marker": "o", "markersize": 4}
        ax.plot(
            dataset.radius.values, values.mean(axis=0), label=f"{words} inputs, at the maximiser", **style
        )
        if what == "input_gradient" and f"gradient_supremum_{points}" in dataset:
            largest = dataset[f"gradient_supremum_{points}"].sel(arm=name).isel(gamma=0).mean("seed")
            ax.plot(
                largest.radius,
                largest,
                label=f"{words} inputs, largest in the ball",
                **style | {"linestyle": ":"},
            )
    label_radius = "radius of training" if config.attack != "none" else "radius of the evaluation"
    ax.axvline(config.radius, label=label_radius, **plots.THEORY | {"linewidth": 1.0})
    ax.set_yscale("log")
    ax.set_xlabel(r"$\ell_\infty$ radius")
    ax.set_ylabel(label)
    ax.set_title(f"{title}, m={config.width[-1]}")
    plots.legend_below(ax, 1)


@plots.styled
def landscape(run: Run) -> "matplotlib.figure.Figure | None":
    """F5: rise of the loss and input gradient against the radius; None unless on images."""
    dataset = run.dataset
    if "loss_rise_train" not in dataset:
        return None
    config = run.config
    figure, axes = plots.new_figure(1, 2, 9.0, 4.2)
    for ax, what in zip(axes[0], LANDSCAPE, strict=True):
        _draw_landscape(ax, config, dataset, what)
    return figure


def _draw_neurons(ax, config, one):
    """Each neuron's cosine with the signal against its largest one with a noise patch, at the end."""
    cosine = one.patch_alignment
    # the signal patch is the one whose cosine is that with w*, whichever it is
    signal = one.alignment.isel(step=-1).sel(feature=0, drop=True)
    is_noise = np.abs(np.abs(cosine) - np.abs(signal)) > 1e-5
    largest = np.abs(cosine).where(is_noise).max(["sample", "patch"])
    for i, seed in enumerate(one.seed.values.tolist()[:4]):
        x, y = signal.sel(seed=seed).values, largest.sel(seed=seed).values
        ax.scatter(x, y, s=16, color=plots.COLOURS[i], alpha=0.8, linewidths=0, label=f"seed {seed}")
    line = np.linspace(-1, 1, 200)
    ax.plot(line, np.sqrt(1 - line**2), label="all of the neuron: signal and one patch", **plots.THEORY)
    ax.set_xlim(-1.02, 1.02)
    ax.set_ylim(0, 1.05)
    ax.set_xlabel(r"$\cos(w_r, w^*)$: signal")
    ax.set_ylabel(r"largest $|\cos(w_r, \xi_i)|$: memory")
    ax.set_title(f"neurons at step {config.steps}")
    plots.legend_below(ax)


@plots.styled
def neurons(run: Run) -> "matplotlib.figure.Figure | None":
    """Each neuron's cosine with the signal against its largest one with a noise patch; None off patches."""
    dataset = run.dataset
    if "patch_alignment" not in dataset:
        return None
    figure, axes = plots.new_figure(1, 1, 4.8, 4.2)
    _draw_neurons(axes[0, 0], run.config, _one(run))
    return figure


def _draw_construction(ax, config, dataset):
    end = dataset.isel(arm=0, gamma=0, step=-1)
    values = {
        "clean\ntraining": end.clean_train,
        "clean\ntest": end.clean_test,
        "robust\ntraining": quantities.robust_points(end, "train"),
        "robust\ntest": quantities.robust_points(end, "test"),
    }
    colours = [colour for _, _, colour, _ in ACCURACIES]
    for i, (colour, value) in enumerate(zip(colours, values.values(), strict=True)):
        ax.bar(i, float(value.mean()), color=colour, width=0.6)
        ax.plot(np.full(value.size, i), value.values.ravel(), ".", color="black", markersize=4)
    if ROBUST_ERROR.applies(config):
        law = 1 - ROBUST_ERROR.predicted(config)
        ax.plot([2.6, 3.4], [law, law], label=rf"$1-(1-2^{{1-D}})^N$ = {law:.3f}", **plots.THEORY)
        ax.legend(loc="upper right")
    ax.set_xticks(range(len(values)), list(values))
    ax.set_ylim(0, 1.12)
    ax.set_xlabel("inputs")
    ax.set_ylabel("accuracy")
    count = int(end.num_parameters.median())
    ax.set_title(
        f"{config.classifier} classifier, D={config.dim}, N={config.num_samples[0]}: {count:,} parameters"
    )


FIGURES = {
    "overview": overview,
    "phases": phases,
    "accuracy": accuracy,
    "threshold": threshold,
    "width": width,
    "landscape": landscape,
    "neurons": neurons,
}


def summary(run: Run) -> str:
    """A line a network and adversary: accuracies at the end, signal, memory, and when each came.

    `best robust test`: the largest mean over seeds at any record, with its step: what early stopping gives.
    """
    dataset = run.dataset
    config = run.config
    on_patches = "scores" in dataset
    head = ["network", *(["gamma"] if on_patches else []), "clean train", "test", "robust train", "test"]
    if on_patches:
        head += ["signal", "memory", "least", "T1", "T3", "best robust test"]
    elif config.on_images:
        head += ["loss rise train", "test"]
    else:
        head += ["parameters"]
    rows = [head]
    for name in config.arms:
        for k, gamma in enumerate(dataset.gamma.values.tolist()):
            one = dataset.sel(arm=name).isel(gamma=k)
            rows.append([name, *([f"{gamma:g}"] if on_patches else []), *_cells(config, one)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _cells(config, one):
    end = one.isel(step=-1)
    if config.data == "parity":
        robust = [quantities.robust_points(end, points) for points in ("train", "test")]
    else:
        robust = [end.get(f"robust_{points}") for points in ("train", "test")]
    cells = [_number(value) for value in (end.clean_train, end.clean_test, *robust)]
    if "scores" in one:
        shares = (
            quantities.signal_margin(one),
            quantities.mean_memory(one),
            quantities.memory(one).min("sample"),
        )
        times = quantities.SIGNAL_TIME.quantity(one), quantities.MEMORY_TIME.quantity(one)
        cells += [_number(last(value)) for value in shares]
        medians = [float(np.median(np.where(np.isnan(t), np.inf, t))) for t in times]
        cells += [f"{t:.0f}" if math.isfinite(t) else "never" for t in medians]
        mean = one.robust_test.mean("seed")
        best = int(mean.argmax("step"))
        cells.append(f"{float(mean[best]):.3f} at {int(mean.step[best])}")
    elif config.on_images:
        rises = [end.get(f"loss_rise_{points}") for points in ("train", "test")]
        at = {"radius": config.radius, "method": "nearest"}
        cells += [_number(None if rise is None else rise.sel(**at)) for rise in rises]
    else:
        cells.append(f"{int(end.num_parameters.median()):,}")
    return cells


def _number(value):
    return "-" if value is None else f"{float(value.mean()):.3f}"
