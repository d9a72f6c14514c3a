"""Panels and the table of clean generalisation and robust overfitting."""

import dataclasses
import math
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from dynamics import plots
from dynamics.experiments.clean_generalization_robust_overfitting import quantities as q
from dynamics.experiments.clean_generalization_robust_overfitting.images import Images
from dynamics.experiments.clean_generalization_robust_overfitting.setting import Construction, Patches
from dynamics.study import Run, last
from dynamics.words import counted

if TYPE_CHECKING:
    import matplotlib.figure

BLUE, RED, GREEN, _, ORANGE, SKY, _ = plots.COLOURS
ACCURACIES = (
    ("clean_train", "clean, training", BLUE, "-"),
    ("clean_test", "clean, test", SKY, "-."),
    ("robust_train", "robust, training", RED, "-"),
    ("robust_test", "robust, test", GREEN, "-"),
)
LANDSCAPE = {
    "loss_rise": ("rise of the loss", "loss about inputs"),
    "input_gradient": (r"$\|\nabla_x L\|_1$", "input gradient"),
}


def _one(run: Run) -> Run:
    """The first network under the first adversary, without the samples that only other networks have."""
    samples, width = next(iter(run.config.arms.values()))
    both = isinstance(run.config, Patches) and run.config.signed
    wanted = {"sample": slice(samples), "neuron": slice(width * (2 if both else 1))}
    one = run.isel(arm=0, gamma=0, missing_dims="ignore").isel(wanted, missing_dims="ignore")
    return Run(run.config, one)


def _draw_margins(ax, run):
    """F1: the signal's and the noise's shares of the scores over time."""
    one = _one(run)
    signal, noise = q.signal_margin(one), q.memory(one)
    for values, label, colour in (
        (signal, r"signal $\alpha^q U$", BLUE),
        (q.signal_margin(one, "robust_scores"), r"residual signal $\alpha'^q U$", SKY),
        (noise.mean("sample"), r"memory, mean $V_i$", RED),
        (noise.min("sample"), r"memory, smallest $V_i$", ORANGE),
    ):
        plots.curve(ax, values, "step", color=colour, label=label)
    low = min(1.3 * ax.dataLim.y0, -0.05)
    if q.laws_apply(run.config) and one.sizes["step"] > 2:
        _draw_laws(ax, run.config, one)
    plots.log_steps(ax, one.step.values)
    ax.set_yscale("symlog", linthresh=0.01, linscale=0.4)
    ax.set_title("signal learned and noise memorised", pad=16)
    top = max(float(signal.max()), float(noise.max()), 1.0)
    plots.label(ax, y="share of the score $y f$", ylim=(low, 2.5 * top), legend="below")


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
        # up to 1, where the loss of a sample begins to saturate
        grown = [np.minimum(race.memory_growth(steps, start) ** race.power, 1.0) for start in starts]
        style = plots.THEORY | {"color": "0.5"}
        label = r"phase III: mean of $v^q$ from $yv(0)$, up to 1"
        ax.plot(steps, np.mean(grown, axis=0), label=label, **style)
        _boundary(ax, config, race.memory_time(float(np.median(starts))), "$T_3$")


def _boundary(ax, config, step, name):
    """A predicted time, named above the curves."""
    if 1 < step < config.steps:
        ax.axvline(step, **plots.THEORY | {"linewidth": 0.7, "zorder": 1})
        ax.annotate(name, (step, 1.01), xycoords=ax.get_xaxis_transform(), ha="center", fontsize=7.5)


def _draw_accuracy(ax, run):
    """F2: clean and robust accuracy over time."""
    one = _one(run)
    shown = {name for name, *_ in ACCURACIES if name in one and "step" in one[name].dims}
    for name, label, colour, style in ACCURACIES:
        if name in shown:
            plots.curve(ax, one[name], "step", color=colour, linestyle=style, label=label)
    if "robust_test" in shown:
        label = "1/2: the sign of fresh noise decides"
        ax.axhline(0.5, label=label, **plots.THEORY | {"linewidth": 1.0})
    plots.log_steps(ax, one.step.values)
    title = "clean generalisation, robust overfitting"
    plots.label(ax, y="accuracy", title=title, ylim=(-0.02, 1.03), legend="below")


def _draw_attacks(ax, run):
    """Test accuracy at the end against the radius, by what the attack may move."""
    one = _one(run)
    marker = {"marker": "o", "markersize": 4, "markerfacecolor": "none"}
    for name, label, colour, style in (
        ("shift_test", "fixed shift along $w^*$, test", BLUE, "-"),
        ("span_test", "PGD along $w^*$, test", RED, "none"),
        ("full_test", "PGD in all directions, test", GREEN, "-"),
        ("full_train", "PGD in all directions, training", ORANGE, "-."),
    ):
        ax.plot(one.radius, one[name].median("seed"), color=colour, linestyle=style, label=label, **marker)
    label = r"training radius $\delta=\alpha(1-\gamma)$"
    radius = run.config.alpha * (1 - float(one.gamma))
    ax.axvline(radius, label=label, **plots.THEORY | {"linewidth": 1.0})
    plots.label(ax, r"$\ell_2$ radius $\delta$", "accuracy", "attacks at the end", ylim=(-0.03, 1.03))
    plots.legend_below(ax, 1)


def _draw_threshold(ax, run):
    """F3: robust test accuracy against gamma for every number of samples."""
    config, ordered = run.config, run.sortby("gamma")
    gamma = ordered.gamma.values
    for colour, (name, (count, width)) in zip(plots.COLOURS, config.arms.items(), strict=False):
        values = last(ordered.robust_test).sel(arm=name).transpose("seed", "gamma").values
        label = f"N={count}" + (f", m={width}" if len(config.width) > 1 else "")
        ax.plot(gamma, values.mean(axis=0), color=colour, marker="o", markersize=3.5, label=label)
        ax.fill_between(gamma, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.15, linewidth=0)
        if q.THRESHOLD.applies(config):
            line = plots.THEORY | {"linewidth": 1.1, "color": colour}
            ax.axvline(q.THRESHOLD.predicted(dataclasses.replace(config, num_samples=(count,))), **line)
    if q.THRESHOLD.applies(config):
        ax.plot([], [], label=r"$\gamma_c$ predicted (colour of N)", **plots.THEORY | {"color": plots.GREY})
    ax.plot([], [], color=plots.GREY, linewidth=6, alpha=0.3, label="range over seeds")
    x = r"residual signal $\gamma=(\alpha-\delta)/\alpha$"
    title = "a stronger residual signal is learned instead"
    plots.label(ax, x, "robust test accuracy", title, ylim=(0.35, 1.03), legend="below")


def _draw_widths(ax, run):
    """F4: accuracies at the end against the width."""
    widths = np.asarray(run.config.width)
    ran = run.isel(gamma=0, step=-1, missing_dims="ignore").sel(arm=list(run.config.arms)[: len(widths)])
    for name, label, colour, style in ACCURACIES:
        if name in ran:
            values = ran[name].transpose("seed", "arm").values
            dots = {"color": colour, "markersize": 4}
            ax.plot(widths, values.mean(axis=0), linestyle=style, marker="o", label=label, **dots)
            ax.plot(widths, values.T, linestyle="none", marker=".", alpha=0.6, **dots)
    trained = "standard" if run.config.attack == "none" else "adversarial"
    ax.set_xscale("log", base=2)
    ax.set_xticks(widths, [str(width) for width in widths])
    title = f"accuracy against width, {trained} training"
    plots.label(ax, "width $m$", "accuracy", title, ylim=(-0.02, 1.03), legend="below")


def _draw_landscape(ax, run, what):
    """F5: how the loss rises about training and test inputs of the widest network."""
    label, title = LANDSCAPE[what]
    widest = run.isel(arm=-1, gamma=0, missing_dims="ignore").mean("seed")
    for points, words, colour in (("train", "training", RED), ("test", "test", GREEN)):
        style = {"color": colour, "marker": "o", "markersize": 4}
        at_end = f"{words} inputs, at the maximiser"
        ax.plot(widest.radius, widest[f"{what}_{points}"], label=at_end, **style)
        if what == "input_gradient" and f"gradient_supremum_{points}" in widest:
            largest, inside = widest[f"gradient_supremum_{points}"], f"{words} inputs, largest in the ball"
            ax.plot(largest.radius, largest, label=inside, **style | {"linestyle": ":"})
    whose = "training" if run.config.attack != "none" else "the evaluation"
    ax.axvline(run.config.radius, label=f"radius of {whose}", **plots.THEORY | {"linewidth": 1.0})
    plots.label(ax, r"$\ell_\infty$ radius", label, f"{title}, m={run.config.width[-1]}", log="y")
    plots.legend_below(ax, 1)


def _draw_neurons(ax, run):
    """Each neuron's cosine with the signal against its largest one with a noise patch, at the end."""
    one = _one(run)
    cosine = one.patch_alignment
    # the signal patch is the one whose cosine is that with w*, whichever it is
    signal = last(one.alignment).sel(feature=0, drop=True)
    is_noise = np.abs(np.abs(cosine) - np.abs(signal)) > 1e-5
    largest = np.abs(cosine).where(is_noise).max(["sample", "patch"])
    for i, seed in enumerate(one.seed.values.tolist()[:4]):
        x, y = signal.sel(seed=seed).values, largest.sel(seed=seed).values
        ax.scatter(x, y, s=16, color=plots.COLOURS[i], alpha=0.8, linewidths=0, label=f"seed {seed}")
    line = np.linspace(-1, 1, 200)
    ax.plot(line, np.sqrt(1 - line**2), label="all of the neuron: signal and one patch", **plots.THEORY)
    x, y = r"$\cos(w_r, w^*)$: signal", r"largest $|\cos(w_r, \xi_i)|$: memory"
    title = f"neurons at step {run.config.steps}"
    plots.label(ax, x, y, title, xlim=(-1.02, 1.02), ylim=(0, 1.05), legend="below")


def _draw_construction(ax, run):
    config, end = run.config, run.isel(arm=0, gamma=0, step=-1, missing_dims="ignore")
    values = {
        "clean\ntraining": end.clean_train,
        "clean\ntest": end.clean_test,
        "robust\ntraining": q.robust_points(end, "train"),
        "robust\ntest": q.robust_points(end, "test"),
    }
    for i, ((_, _, colour, _), value) in enumerate(zip(ACCURACIES, values.values(), strict=True)):
        ax.bar(i, float(value.mean()), color=colour, width=0.6)
        ax.plot(np.full(value.size, i), value.values.ravel(), ".", color="black", markersize=4)
    if q.ROBUST_ERROR.applies(config):
        law = 1 - q.ROBUST_ERROR.predicted(config)
        ax.plot([2.6, 3.4], [law, law], label=rf"$1-(1-2^{{1-D}})^N$ = {law:.3f}", **plots.THEORY)
        ax.legend(loc="upper right")
    ax.set_xticks(range(len(values)), list(values))
    count = f"{int(end.num_parameters.median()):,} parameters"
    title = f"{config.classifier} classifier, D={config.dim}, N={config.num_samples[0]}: {count}"
    plots.label(ax, "inputs", "accuracy", title, ylim=(0, 1.12))


@plots.styled
def overview(run: Run) -> "matplotlib.figure.Figure":
    """What became of the run in one picture: phases and accuracies, a scan, widths, or the construction."""
    config, size = run.config, (4.6, 4.2)
    if isinstance(config, Construction):
        return plots.side_by_side(5.6, 3.8, _draw_construction)(run)
    if isinstance(config, Images):
        draws = [_draw_widths, *(_landscape if "loss_rise_train" in run else ())]
        size = (3.2 if len(draws) > 1 else 5.2, 4.2)
        what = f"{config.data}, N={config.num_samples[0]}, radius {config.radius:g}"
    else:
        draws = [_draw_margins, _draw_accuracy]
        draws += [_draw_attacks] if "full_test" in run else []
        draws += [_draw_neurons] if "patch_alignment" in run else []
        draws += [_draw_threshold] if run.sizes["gamma"] > 1 else []
        what = f"d={config.dim}, P={config.num_patches}, N={config.num_samples[0]}, m={config.width[0]}, "
        what += rf"q={config.power:g}, $\gamma$={float(run.gamma[0]):g}, "
        what += rf"$\lambda$={config.adversarial_weight:g}"
    figure = plots.side_by_side(*size, *draws)(run)
    start = "Clean generalisation and robust overfitting (Li & Li 2025)"
    figure.suptitle(f"{start}\n{what}, {counted(run.sizes['seed'], 'seed')}", fontsize=9.5)
    return figure


_landscape = [partial(_draw_landscape, what=what) for what in LANDSCAPE]
FIGURES = {
    "overview": overview,
    "phases": plots.side_by_side(5.2, 4.6, _draw_margins, where="scores"),
    "accuracy": plots.side_by_side(5.2, 4.2, _draw_accuracy, where=lambda run: run.sizes["step"] > 2),
    "threshold": plots.side_by_side(
        5.2, 4.4, _draw_threshold, where=lambda run: "scores" in run and run.sizes["gamma"] > 1
    ),
    "width": plots.side_by_side(
        5.2, 4.2, _draw_widths, where=lambda run: len(getattr(run.config, "width", ())) > 1
    ),
    "landscape": plots.side_by_side(4.5, 4.2, *_landscape, where="loss_rise_train"),
    "neurons": plots.side_by_side(4.8, 4.2, _draw_neurons, where="patch_alignment"),
}


def summary(run: Run) -> str:
    """A line a network and adversary: accuracies at the end, signal, memory, and when each came.

    `best robust test`: the largest mean over seeds at any record, with its step: what early stopping gives.
    """
    config = run.config
    head = ["clean train", "test", "robust train", "test"]
    if isinstance(config, Patches):
        head = ["gamma", *head, "signal", "memory", "least", "T1", "T3", "best robust test"]
    else:
        head += ["loss rise train", "test"] if isinstance(config, Images) else ["parameters"]
    rows = [["network", *head]]
    for name in config.arms:
        for k in range(run.sizes.get("gamma", 1)):
            one = run.sel(arm=name).isel(gamma=k, missing_dims="ignore")
            rows.append([name, *_cells(config, one)])
    return plots.text_table(rows)


def _cells(config, one):
    end, written = one.isel(step=-1), isinstance(config, Construction)
    robust = partial(q.robust_points, end) if written else lambda points: end.get(f"robust_{points}")
    found = end.clean_train, end.clean_test, robust("train"), robust("test")
    accuracies = [_number(value) for value in found]
    if written:
        return [*accuracies, f"{int(end.num_parameters.median()):,}"]
    if isinstance(config, Images):
        rises = [end.get(f"loss_rise_{points}") for points in ("train", "test")]
        at = {"radius": config.radius, "method": "nearest"}
        return [*accuracies, *(_number(None if rise is None else rise.sel(**at)) for rise in rises)]
    shares = q.signal_margin(one), q.mean_memory(one), q.memory(one).min("sample")
    times = [float(law.quantity(one).fillna(np.inf).median()) for law in (q.SIGNAL_TIME, q.MEMORY_TIME)]
    shown = [f"{time:.0f}" if math.isfinite(time) else "never" for time in times]
    mean = one.robust_test.mean("seed")
    best = mean.isel(step=int(mean.argmax("step")))
    own = [*(_number(last(value)) for value in shares), *shown, f"{float(best):.3f} at {int(best.step)}"]
    return [f"{float(one.gamma):g}", *accuracies, *own]


def _number(value):
    return "-" if value is None else f"{float(value.mean()):.3f}"
