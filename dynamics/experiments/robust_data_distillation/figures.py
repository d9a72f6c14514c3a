"""Figures and the table of data distillation, from a Dataset alone."""

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dynamics import plots
from dynamics.adversary.evaluation import suspicions
from dynamics.data.shipped import SHIPPED_COUNTS
from dynamics.experiments.robust_data_distillation import setting
from dynamics.experiments.robust_data_distillation.quantities import overestimate
from dynamics.study import Run
from dynamics.words import counted

if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

ARMS = {
    "subset": ("real images", plots.COLOURS[0]),
    "full": ("all training images", plots.COLOURS[2]),
    "kip": ("KIP", plots.COLOURS[4]),
    "adv_kip": ("adversarial KIP", plots.COLOURS[1]),
}
ATTACKS = {
    "clean": ("clean", plots.GREY),
    "pgd": ("PGD, cross-entropy", plots.COLOURS[5]),
    "margin": ("PGD, margin", plots.COLOURS[0]),
    "random_search": ("random search", plots.COLOURS[3]),
    "worst": ("all attacks", plots.COLOURS[6]),
}


def _setting(run: Run) -> str:
    config, seeds = run.config, counted(run.sizes["seed"], "seed")
    kernel = f"{config.kernel} kernel of {counted(config.depth, 'hidden layer')}"
    return (
        f"{config.data}, $n_s$={config.num_support} of {config.num_samples}, "
        rf"$\epsilon$={config.evaluation_radius:g} ($\ell_\infty$); {kernel}; {seeds}"
    )


def _bars(ax: "matplotlib.axes.Axes", under: xr.DataArray) -> None:
    """Mean over seeds, with the range, of the accuracy under each attack; a group of bars each set."""
    arms = under.training.values.tolist()
    attacks = [name for name in ATTACKS if name in under.attack]
    width = 0.85 / len(attacks)
    for i, attack in enumerate(attacks):
        label, colour = ATTACKS[attack]
        found = under.sel(attack=attack).transpose("seed", ...).values
        middle = found.mean(axis=0)
        spread = np.abs(np.stack([found.min(axis=0), found.max(axis=0)]) - middle[None])
        at = np.arange(len(arms)) + (i - (len(attacks) - 1) / 2) * width
        ax.bar(at, middle, width, yerr=spread, color=colour, label=label, error_kw={"linewidth": 0.8})
    ax.set_xticks(range(len(arms)), [textwrap.fill(ARMS[arm][0], 12) for arm in arms])
    plots.label(ax, y="test accuracy", ylim=(0, 1.02))
    plots.legend_below(ax, 3)


def _distillation(run):
    learned = [arm for arm in run.training.values.tolist() if arm in ("kip", "adv_kip")]
    curves, on_the_way = "margin_curve" in run, "step" in run.dims and learned
    count = 1 + curves + 2 * bool(on_the_way)
    figure, axes = plots.panels(count, 5.2 if count == 1 else 4.7, 3.5, most=2)
    figure.suptitle(_setting(run), fontsize=9)
    _bars(axes[0], run.under)
    plots.label(axes[0], title="what each attack leaves (mean and range over seeds)")
    if curves:
        _radii(axes[1], run)
    if on_the_way:
        _training(*axes[-2:], run, learned)
    return figure


def _radii(ax, run):
    for arm in run.training.values.tolist():
        (label, color), one = ARMS[arm], run.at(training=arm)
        plots.curve(ax, one.margin_curve, "radius", color=color, marker=".", label=label)
        plots.curve(ax, one.pgd_curve, "radius", color=color, linestyle=":", marker=".", markersize=4)
    ax.plot([], [], color=plots.GREY, linestyle=":", label="PGD on the cross-entropy")
    ax.plot([], [], color=plots.GREY, label="PGD on the margin")
    ax.axvline(run.config.radius, color=plots.GREY, linewidth=0.8)
    ax.annotate(r" $\epsilon$ of training", (run.config.radius, 1.0), fontsize=7.5, color="#555555")
    scale = ", pixels in [0, 1]" if run.config.data in SHIPPED_COUNTS else ""
    x = rf"radius of the attack ($\ell_\infty${scale})"
    plots.label(ax, x, "test accuracy", "robust accuracy by radius", ylim=(0, 1.06))
    ax.legend(loc="upper right", bbox_to_anchor=(1.0, 0.95))


def _training(left, right, run, arms):
    ways = {"accuracy": ("-", "clean"), "pgd_accuracy": (":", "PGD, cross-entropy")}
    ways["margin_accuracy"] = ("-.", "PGD, margin")
    for arm in arms:
        (label, color), one = ARMS[arm], run.at(training=arm)
        for name, (style, what) in ways.items():
            how = {"color": color, "linestyle": style, "label": f"{label}, {what}"}
            plots.curve(left, one[name], "step", **how)
        plots.curve(right, one.outer_loss, "step", color=color, label=label, marker=".")
    xlim, title = (0, int(run.step.max())), "while the images are learned"
    plots.label(left, "outer step $t$", "test accuracy", title, xlim=xlim, ylim=(0, 1.02), legend="below")
    y, title = "outer loss (its own: attacked, or not)", "what is lowered, over all training images"
    plots.label(right, "outer step $t$", y, title, xlim=xlim, ylim=(0, None), legend="upper right")


def _networks(run):
    lazy = "kernel_gap" in run
    figure, axes = plots.new_figure(1, 1 + lazy, 9.6 if lazy else 5.8, 3.9)
    start = "lazy, started at 0" if run.config.doubled else "lazy, not started at 0"
    how = f"networks ({start if lazy else 'standard'}), {run.config.net_steps} steps"
    figure.suptitle(f"{how}\n{_setting(run)}", fontsize=9)
    if lazy:
        _gaps(axes[0, 0], run)
    _deployed(axes[0, -1], run)
    for ax in axes.flat if run.sizes["width"] > 1 else ():
        plots.label(ax, "width $m$", log="x", legend="best")
        plots.ticks(ax, run.width)
    return figure


def _gaps(ax, run):
    for arm in run.training.values.tolist():
        label, color = ARMS[arm]
        plots.curve(ax, run.kernel_gap.sel(training=arm), "width", color=color, marker="o", label=label)
    first = float(run.kernel_gap.isel(width=0, training=0).median())
    plots.guide(ax, run.width, first, -0.5, "width$^{-1/2}$")
    y, title = "rms distance of the outputs from the kernel's", "networks on the set, against the kernel"
    plots.label(ax, y=y, title=title, ylim=(0, None))


def _deployed(ax, run):
    """Accuracies of the networks: bars for one width, lines for several."""
    if run.sizes["width"] == 1:
        _bars(ax, run.under.isel(width=0))
        plots.label(ax, title="robustness of the networks")
        return
    styles = {"clean": "-", "pgd": ":", "worst": "-."}
    for arm in run.training.values.tolist():
        label, color = ARMS[arm]
        for attack, style in styles.items():
            how = {"color": color, "linestyle": style, "label": label if attack == "clean" else None}
            plots.curve(ax, run.under.sel(training=arm, attack=attack), "width", marker=".", **how)
    for attack, style in styles.items():
        ax.plot([], [], color=plots.GREY, linestyle=style, label=ATTACKS[attack][0])
    plots.label(ax, y="test accuracy of the networks", title="robustness of the networks", ylim=(0, 1.02))


def _rescaling(run):
    figure, ((left, right),) = plots.new_figure(1, 2, 9.6, 3.5)
    figure.suptitle(f"float32; {_setting(run)}", fontsize=9)
    for attack in ("clean", "pgd", "margin", "worst"):
        label, color = ATTACKS[attack]
        how = {"marker": "o", "linestyle": ":" if attack == "worst" else "-", "color": color, "label": label}
        plots.curve(left, run.under.sel(attack=attack), "scale", **how)
    zeros = run.masking.sel(indicator="zero_gradients")
    plots.curve(right, zeros, "scale", color=plots.COLOURS[1], marker="o", label="exactly 0")
    right.axhline(0.05, color=plots.GREY, linewidth=0.8, label="a warning is given above")
    x, title = "factor of the logits", "same predictions, other logits"
    plots.label(left, x, "test accuracy", title, log="x", ylim=(0, 1.02), legend="best")
    y, title = "share of input gradients", "gradients of the cross-entropy that vanish"
    plots.label(right, x, y, title, log="x", ylim=(-0.02, 1.02), legend="best")
    return figure


DRAWN = {
    setting.Distillation: _distillation,
    setting.Networks: _networks,
    setting.Rescaling: _rescaling,
}


@plots.styled
def overview(run: Run) -> "matplotlib.figure.Figure":
    """The setting's main picture."""
    return DRAWN[type(run.config)](run)


@plots.styled
def images(run: Run) -> "matplotlib.figure.Figure | None":
    """The first images of the first seed, before and after learning (distillation)."""
    arms = [arm for arm in ("subset", "kip", "adv_kip") if arm in run.training] if "support" in run else []
    if arms in ([], ["subset"]) or not plots.square(run.sizes["pixel"]):
        return None
    count = min(10, run.sizes["point"])
    figure, axes = plots.new_figure(len(arms), count, 0.84 * count + 1.2, 1.0 * len(arms) + 0.5)
    one = run.dataset.isel(seed=0, point=range(count)).sel(training=arms)
    titles = [f"{int(number)}" for number in one.support_class.isel(training=0)]
    pixels = one.support.transpose("training", "point", "pixel").values.reshape(-1, run.sizes["pixel"])
    shown = plots.pictures(axes.flat, pixels)
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title)
    for row, arm in zip(axes, arms, strict=True):
        row[0].set_ylabel("before" if arm == "subset" else ARMS[arm][0])
    figure.colorbar(shown, ax=axes, label="pixel", shrink=0.9)
    about = _setting(Run(run.config, run.dataset.isel(seed=[0])))
    figure.suptitle(f"learned images, by class; {about}", fontsize=9)
    return figure


FIGURES = {"overview": overview, "images": images}


def table(run: Run) -> str:
    """Accuracies, means over seeds, and what is to be suspected of them."""
    dim = "scale" if "scale" in run.under.dims else "training"
    attacks, told = run.attack.values.tolist(), []
    ends = run.dataset.isel(width=-1) if "width" in run.under.dims else run.dataset
    rows = [[dim, *attacks, "overestimate"]]
    for name in ends[dim].values.tolist():
        one = ends.sel({dim: name})
        means = {attack: float(one.under.sel(attack=attack).mean()) for attack in attacks}
        label = f"{name:g}" if dim == "scale" else name
        rows.append([label, *(f"{mean:.3f}" for mean in (*means.values(), float(overestimate(one).mean())))])
        zeros = float(one.masking.sel(indicator="zero_gradients").mean()) if "masking" in one else 0.0
        told += [f"warning, {label}: {sentence}" for sentence in suspicions(means, zeros)]
    for arm in run.training.values.tolist() if "kernel_gap" in run else ():
        gaps = zip(run.width, run.kernel_gap.sel(training=arm).mean("seed"), strict=True)
        found = ", ".join(f"{float(gap):.4f} at {int(width)}" for width, gap in gaps)
        told.append(f"distance from the kernel, {arm}: {found}")
    return "\n".join([plots.text_table(rows), *told])
