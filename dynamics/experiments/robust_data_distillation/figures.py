"""Figures and the table of data distillation, from a Dataset alone."""

import math
import textwrap
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dynamics import plots
from dynamics.adversary.evaluation import suspicions
from dynamics.data.shipped import SHIPPED_COUNTS
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


def _setting(config, dataset: xr.Dataset) -> str:
    kernel = f"{config.kernel} kernel of {counted(config.depth, 'hidden layer')}"
    seeds = counted(dataset.sizes["seed"], "seed")
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
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("test accuracy")


def _draw_distillation(config, dataset):
    arms = dataset.training.values.tolist()
    curves = "margin_curve" in dataset
    on_the_way = "step" in dataset.dims and {"kip", "adv_kip"} & set(arms)
    count = 1 + curves + 2 * bool(on_the_way)
    figure, axes = plots.panels(count, 5.2 if count == 1 else 4.7, 3.5, most=2)
    figure.suptitle(_setting(config, dataset), fontsize=9)
    free = iter(axes)
    ax = next(free)
    _bars(ax, dataset.under)
    ax.set_title("what each attack leaves (mean and range over seeds)")
    plots.legend_below(ax, 3)
    if curves:
        _radii(next(free), config, dataset, arms)
    if on_the_way:
        _training(next(free), next(free), dataset, arms)
    return figure


def _radii(ax, config, dataset, arms):
    for arm in arms:
        label, colour = ARMS[arm]
        one = dataset.sel(training=arm)
        plots.curve(ax, one.margin_curve, "radius", color=colour, marker=".", label=label)
        plots.curve(ax, one.pgd_curve, "radius", color=colour, linestyle=":", marker=".", markersize=4)
    ax.plot([], [], color=plots.GREY, linestyle=":", label="PGD on the cross-entropy")
    ax.plot([], [], color=plots.GREY, label="PGD on the margin")
    ax.axvline(config.radius, color=plots.GREY, linewidth=0.8)
    ax.annotate(r" $\epsilon$ of training", (config.radius, 1.0), fontsize=7.5, color="#555555")
    ax.set_ylim(0, 1.06)
    scale = ", pixels in [0, 1]" if config.data in SHIPPED_COUNTS else ""
    ax.set_xlabel(rf"radius of the attack ($\ell_\infty${scale})")
    ax.set_ylabel("test accuracy")
    ax.set_title("robust accuracy by radius")
    ax.legend(loc="upper right", bbox_to_anchor=(1.0, 0.95))


def _training(left, right, dataset, arms):
    for arm in [name for name in arms if name in ("kip", "adv_kip")]:
        label, colour = ARMS[arm]
        one = dataset.sel(training=arm)
        for name, style, what in (
            ("accuracy", "-", "clean"),
            ("pgd_accuracy", ":", "PGD, cross-entropy"),
            ("margin_accuracy", "-.", "PGD, margin"),
        ):
            plots.curve(left, one[name], "step", color=colour, linestyle=style, label=f"{label}, {what}")
        plots.curve(right, one.outer_loss, "step", color=colour, label=label, marker=".")
    left.set_ylim(0, 1.02)
    left.set_ylabel("test accuracy")
    left.set_title("while the images are learned")
    right.set_ylim(bottom=0)
    right.set_ylabel("outer loss (its own: attacked, or not)")
    right.set_title("what is lowered, over all training images")
    for ax in (left, right):
        ax.set_xlabel("outer step $t$")
        ax.set_xlim(0, max(dataset.step.values.tolist()))
    plots.legend_below(left)
    right.legend(loc="upper right")


def _draw_networks(config, dataset):
    lazy = "kernel_gap" in dataset
    figure, axes = plots.new_figure(1, 1 + lazy, 9.6 if lazy else 5.8, 3.9)
    start = "lazy, started at 0" if config.doubled else "lazy, not started at 0"
    how = f"networks ({start if lazy else 'standard'}), {config.net_steps} steps"
    figure.suptitle(f"{how}\n{_setting(config, dataset)}", fontsize=9)
    if lazy:
        _gaps(axes[0, 0], dataset)
    _deployed(axes[0, -1], dataset)
    widths = dataset.width.values.astype(float)
    for ax in axes.flat if len(widths) > 1 else ():
        ax.set_xscale("log")
        ax.set_xticks(widths, [f"{width:g}" for width in widths])
        ax.minorticks_off()
        ax.set_xlabel("width $m$")
        ax.legend(loc="best")
    return figure


def _gaps(ax, dataset):
    widths = dataset.width.values.astype(float)
    for arm in dataset.training.values.tolist():
        label, colour = ARMS[arm]
        plots.curve(ax, dataset.kernel_gap.sel(training=arm), "width", color=colour, marker="o", label=label)
    first = float(dataset.kernel_gap.isel(width=0, training=0).median())
    ax.plot(widths, first * (widths / widths[0]) ** -0.5, label="width$^{-1/2}$", **plots.THEORY)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("rms distance of the outputs from the kernel's")
    ax.set_title("networks on the set, against the kernel")


def _deployed(ax, dataset):
    """Accuracies of the networks: bars for one width, lines for several."""
    ax.set_title("robustness of the networks")
    if dataset.sizes["width"] == 1:
        _bars(ax, dataset.under.isel(width=0))
        plots.legend_below(ax, 3)
        return
    for arm in dataset.training.values.tolist():
        label, colour = ARMS[arm]
        for attack, style in (("clean", "-"), ("pgd", ":"), ("worst", "-.")):
            values = dataset.under.sel(training=arm, attack=attack)
            name = f"{label}, {ATTACKS[attack][0]}"
            plots.curve(ax, values, "width", color=colour, linestyle=style, marker=".", label=name)
    ax.set_ylim(0, 1.02)
    ax.set_ylabel("test accuracy of the networks")


def _draw_rescaling(config, dataset):
    figure, axes = plots.new_figure(1, 2, 9.6, 3.5)
    figure.suptitle(f"float32; {_setting(config, dataset)}", fontsize=9)
    left, right = axes[0]
    for attack in ("clean", "pgd", "margin", "worst"):
        label, colour = ATTACKS[attack]
        style = {"marker": "o", "linestyle": ":" if attack == "worst" else "-"}
        plots.curve(left, dataset.under.sel(attack=attack), "scale", color=colour, label=label, **style)
    left.set_ylim(0, 1.02)
    left.set_ylabel("test accuracy")
    left.set_title("same predictions, other logits")
    zeros = dataset.masking.sel(indicator="zero_gradients")
    plots.curve(right, zeros, "scale", color=plots.COLOURS[1], marker="o", label="exactly 0")
    right.axhline(0.05, color=plots.GREY, linewidth=0.8, label="a warning is given above")
    right.set_ylim(-0.02, 1.02)
    right.set_ylabel("share of input gradients")
    right.set_title("gradients of the cross-entropy that vanish")
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_xlabel("factor of the logits")
        ax.legend(loc="best")
    return figure


DRAWN = {"distillation": _draw_distillation, "networks": _draw_networks, "rescaling": _draw_rescaling}


@plots.styled
def overview(run: Run) -> "matplotlib.figure.Figure":
    """The part's main picture."""
    dataset = run.dataset
    config = run.config
    return DRAWN[config.part](config, dataset)


@plots.styled
def images(run: Run) -> "matplotlib.figure.Figure | None":
    """The first images of the first seed, before and after learning (distillation)."""
    dataset = run.dataset
    if "support" not in dataset:
        return None
    side = math.isqrt(dataset.sizes["pixel"])
    arms = [arm for arm in ("subset", "kip", "adv_kip") if arm in dataset.training]
    if side**2 != dataset.sizes["pixel"] or arms == ["subset"]:
        return None
    config = run.config
    count = min(10, dataset.sizes["point"])
    figure, axes = plots.new_figure(len(arms), count, 0.84 * count + 1.2, 1.0 * len(arms) + 0.5)
    one = dataset.isel(seed=0)
    # features of a file may lie anywhere
    supports = one.support.sel(training=arms).isel(point=range(count))
    limits = {"vmin": min(0, float(supports.min())), "vmax": max(1, float(supports.max()))}
    for row, arm in zip(axes, arms, strict=True):
        for i, ax in enumerate(row):
            values = one.support.sel(training=arm).isel(point=i).values.reshape(side, side)
            shown = ax.imshow(values, cmap="gray", **limits)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(False)
            if arm == arms[0]:
                ax.set_title(f"{int(one.support_class.sel(training=arm).isel(point=i))}")
        row[0].set_ylabel("before" if arm == "subset" else ARMS[arm][0])
    figure.colorbar(shown, ax=axes, label="pixel", shrink=0.9)
    figure.suptitle(f"learned images, by class; {_setting(config, dataset.isel(seed=[0]))}", fontsize=9)
    return figure


FIGURES = {"overview": overview, "images": images}


def table(run: Run) -> str:
    """Accuracies, means over seeds, and what is to be suspected of them."""
    dataset = run.dataset
    dim = next(name for name in ("scale", "training") if name in dataset.under.dims)
    attacks = dataset.attack.values.tolist()
    rows, told = [[dim, *attacks, "overestimate"]], []
    widths = "width" in dataset.under.dims
    ends = dataset.isel(width=-1) if widths else dataset
    for name in ends[dim].values.tolist():
        one = ends.sel({dim: name})
        means = {attack: float(one.under.sel(attack=attack).mean()) for attack in attacks}
        over = float(overestimate(one).mean())
        label = f"{name:g}" if dim == "scale" else name
        rows.append([label, *(f"{means[attack]:.3f}" for attack in attacks), f"{over:.3f}"])
        zeros = float(one.masking.sel(indicator="zero_gradients").mean()) if "masking" in one else 0.0
        told += [f"warning, {label}: {sentence}" for sentence in suspicions(means, zeros)]
    if "kernel_gap" in dataset:
        gaps = dataset.kernel_gap.mean("seed")
        for arm in dataset.training.values.tolist():
            found = ", ".join(
                f"{float(g):.4f} at {int(m)}"
                for m, g in zip(dataset.width, gaps.sel(training=arm), strict=True)
            )
            told.append(f"distance from the kernel, {arm}: {found}")
    sizes = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, sizes, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *told])
