"""Figures and the robustness table of feature averaging, from a Dataset alone."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np
import xarray as xr

from dynamics import plots
from dynamics.experiments.feature_averaging.quantities import (
    COSINE,
    GROWTH,
    RADIUS,
    SUM_RADIUS,
    class_sizes,
    growth_law,
    own_projection,
    suppression,
)
from dynamics.experiments.feature_averaging.setting import Images
from dynamics.laws import feature_averaging as laws
from dynamics.problem.readouts import Readout
from dynamics.study import Run
from dynamics.words import counted

if TYPE_CHECKING:
    import matplotlib.figure

_FACTOR = r"$c=1+k\sigma^2d/nR^2$"
MASKED_BY = 1.1
NAMES = {"binary": "binary labels", "fine": "fine labels"}


def _arms(dataset: xr.Dataset) -> dict[str, xr.Dataset]:
    arms = {}
    for name in dataset.supervision.values.tolist():
        arm = dataset.sel(supervision=name)
        if "own" in arm:
            arm = arm.dropna("neuron", how="all", subset=["own"])
        arms[name] = arm
    return arms


def _draw_alignment(ax, config, name, arm):
    predicted = {}
    if COSINE[name].applies(config):
        for size in sorted(set(class_sizes(config))) if name == "binary" else (1,):
            value = config.sizes.averaged_alignment(size)
            root = f"{size}\\,c" if name == "binary" else "c"
            predicted[f"$1/\\sqrt{{{root}}}$ = {value:.3f},\n{_FACTOR}"] = value
    own = arm.own.transpose("seed", "neuron", "feature").values
    plots.alignment_curves(ax, arm.step.values, arm.alignment.values, own, predicted)
    ax.set_title(f"{NAMES[name]}: alignment of each neuron")


def _draw_map(ax, config, name, arm, numbers=True):
    plots.feature_map(ax, arm.alignment.isel(seed=0, step=-1).values, numbers=numbers)
    ax.set_title(f"{NAMES[name]}: step {config.steps}, seed {int(arm.seed[0])}")


def _draw_growth(ax, config, arms):
    for colour, (name, arm) in zip(plots.COLOURS, arms.items(), strict=False):
        own = own_projection(arm).transpose("seed", "step")
        plots.band(ax, arm.step.values, own.values, color=colour, label=NAMES[name])
        if not GROWTH[name].applies(config):
            continue
        law = growth_law(config, name, arm.step.values)
        ax.plot(
            arm.step.values,
            law,
            label=f"law of {name}",
            **plots.THEORY | {"dashes": (4, 2 + 2 * (name == "fine"))},
        )
    plots.time_axis(ax, arms[next(iter(arms))].step.values)
    ax.set_ylabel(r"$\langle w_r, \mu_j\rangle$, own features")
    ax.set_title("growth of own features")
    ax.legend(loc="upper left")


def _draw_robustness(ax, config, arms):
    top = max(config.evaluation_radii)
    fine_grid = np.linspace(0, top, 200)
    for colour, (name, arm) in zip(plots.COLOURS, arms.items(), strict=False):
        readout = "" if name == "binary" else f", {config.readout}"
        if "certified_radius" in arm and np.isfinite(arm.certified_radius).any():
            shares = plots.survival(_attacked_points(config, arm.certified_radius).values, fine_grid)
            plots.band(ax, fine_grid, shares, color=colour, label=f"{NAMES[name]}{readout}: certified")
        if "pgd_accuracy" in arm:
            middle = arm.pgd_accuracy.median("seed")
            style = {"color": colour, "marker": "o", "markersize": 3.5, "markerfacecolor": "white"}
            line = "none" if "certified_radius" in arm else "-"
            masked = " (masked)" if _is_masked(config, arm, "") else ""
            label = f"{NAMES[name]}{readout}: PGD-{config.attack_steps}{masked}"
            ax.plot(arm.radius.values, middle, linestyle=line, label=label, **style)
        if name == "fine" and "certified_radius_sum_logit" in arm:
            points = _attacked_points(config, arm.certified_radius_sum_logit)
            shares = plots.survival(points.values, fine_grid)
            plots.band(
                ax, fine_grid, shares, color=plots.COLOURS[2], label="fine labels, sum_logit: certified"
            )
        if (
            name == "fine"
            and "pgd_accuracy_sum_logit" in arm
            and config.readout != "sum_logit"
            and not isinstance(config, Images)
        ):
            middle = arm.pgd_accuracy_sum_logit.median("seed")
            style = {"color": plots.COLOURS[2], "marker": "^", "markersize": 3.5, "markerfacecolor": "white"}
            masked = " (masked)" if _is_masked(config, arm, "_sum_logit") else ""
            label = f"fine labels, sum_logit: PGD-{config.attack_steps}{masked}"
            ax.plot(arm.radius.values, middle, linestyle="none", label=label, **style)
    _draw_radius_theory(ax, config, arms, fine_grid)
    ax.set_xlim(0, top)
    ax.set_ylim(-0.02, 1.02)
    ax.set_xlabel(r"$\ell_2$ radius $\epsilon$")
    ax.set_ylabel("robust test accuracy")
    ax.set_title("robust accuracy against radius")


def _attacked_points(config, radii):
    """The radii of the test points that PGD attacked too, so that the two can be compared."""
    return radii.isel(point=slice(0, config.num_points))


def _is_masked(config, arm, suffix) -> bool:
    """Whether PGD needs over 10 % more than the proven radius to turn half of the points."""
    proven = arm.get(f"attained_radius{suffix}", arm.get(f"certified_radius{suffix}"))
    pgd = arm.get(f"pgd_accuracy{suffix}")
    if proven is None or pgd is None or proven.isnull().all():
        return False
    half = _half_radius(pgd)
    reached = float(pgd.radius.max()) if math.isinf(half) else half
    return reached > MASKED_BY * float(np.median(_attacked_points(config, proven)))


def _draw_radius_theory(ax, config, arms, grid):
    if "binary" in arms and (radius := RADIUS["binary"].predicted(config)) is not None:
        law = laws.robust_accuracy(grid, radius, config.noise)
        ax.plot(
            grid,
            law,
            label=rf"binary: $\Phi((\bar r-\epsilon)/\sigma)$, $\bar r=R/\sqrt{{kc}}$ = {radius:.1f}",
            **plots.THEORY,
        )
        ax.axvline(radius, **plots.THEORY | {"linewidth": 0.8})
    if "fine" in arms and (radius := RADIUS["fine"].predicted(config)) is not None:
        half = config.norm * math.sqrt(config.labels / (2 * config.num_clusters))
        share = "1/2" if config.labels == config.num_clusters else "G/2k"
        ax.axvline(
            radius,
            label=rf"fine: $R\sqrt{{{share}}}$ = {half:.1f} less noise: {radius:.1f}",
            **plots.THEORY | {"color": "0.5"},
        )


def _draw_training(ax, arms):
    for colour, (name, arm) in zip(plots.COLOURS, arms.items(), strict=False):
        loss = arm.training_loss.transpose("seed", "step").values
        plots.band(ax, arm.step.values, loss, color=colour, label=NAMES[name])
    plots.time_axis(ax, arms[next(iter(arms))].step.values)
    ax.set_yscale("log")
    ax.set_ylabel("mean training loss")
    ax.set_title("training")
    ax.legend(loc="lower left")


def _legend_beside(ax):
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=2.4, labelspacing=0.8)


@plots.styled
def overview(run: Run) -> "matplotlib.figure.Figure":
    """Alignment curves, final maps, growth and robust accuracy of each supervision in one picture."""
    dataset = run.dataset
    config, arms = run.config, _arms(dataset)
    if "alignment" not in dataset:
        figure, axes = plots.new_figure(1, 2, 8.5, 3.8)
        _draw_training(axes[0, 0], arms)
        _draw_robustness(axes[0, 1], config, arms)
        axes[0, 1].legend(loc="lower left")
    else:
        columns = len(arms) + 1
        figure, axes = plots.new_figure(2, columns, max(3.2 * columns, 8.0), 7.0)
        for column, (name, arm) in enumerate(arms.items()):
            _draw_alignment(axes[0, column], config, name, arm)
            _draw_map(axes[1, column], config, name, arm, numbers=False)
        _draw_growth(axes[0, -1], config, arms)
        _draw_robustness(axes[1, -1], config, arms)
        handles, labels = axes[1, -1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, title="robust accuracy")
    source = (
        f"{config.data}"
        if isinstance(config, Images)
        else f"k={config.num_clusters}, d={config.dim}, n={config.num_samples}"
    )
    seeds = counted(dataset.sizes["seed"], "seed")
    figure.suptitle(
        f"Feature averaging (Li et al. 2025): {source}, {seeds}, {config.descent}",
        fontsize=10.5,
    )
    return figure


@plots.styled
def alignment(run: Run) -> "matplotlib.figure.Figure | None":
    """Alignment of each neuron with each feature over time; None without neurons to align."""
    dataset = run.dataset
    if "alignment" not in dataset:
        return None
    config, arms = run.config, _arms(dataset)
    figure, axes = plots.new_figure(1, len(arms), 4.6 * len(arms), 3.4)
    for ax, (name, arm) in zip(axes[0], arms.items(), strict=True):
        _draw_alignment(ax, config, name, arm)
    return figure


@plots.styled
def feature_maps(run: Run) -> "matplotlib.figure.Figure | None":
    """Figure 2: cosine of each neuron with each feature at the end; None without neurons to align."""
    dataset = run.dataset
    if "alignment" not in dataset:
        return None
    config, arms = run.config, _arms(dataset)
    figure, axes = plots.new_figure(1, len(arms), 4.6 * len(arms), 3.7)
    for ax, (name, arm) in zip(axes[0], arms.items(), strict=True):
        _draw_map(ax, config, name, arm)
    return figure


@plots.styled
def robust_accuracy(run: Run) -> "matplotlib.figure.Figure | None":
    """Figure 3: robust accuracy against radius, certified and under PGD, with the theory's radii."""
    dataset = run.dataset
    config, arms = run.config, _arms(dataset)
    if "pgd_accuracy" not in dataset and "certified_radius" not in dataset:
        return None
    figure, axes = plots.new_figure(1, 1, 6.8, 3.6)
    _draw_robustness(axes[0, 0], config, arms)
    _legend_beside(axes[0, 0])
    return figure


@plots.styled
def growth(run: Run) -> "matplotlib.figure.Figure | None":
    """Inner products with own features over time against the growth laws."""
    dataset = run.dataset
    if "projection" not in dataset:
        return None
    figure, axes = plots.new_figure(1, 1, 4.6, 3.4)
    _draw_growth(axes[0, 0], run.config, _arms(dataset))
    return figure


FIGURES = {
    "overview": overview,
    "alignment": alignment,
    "feature_maps": feature_maps,
    "robust_accuracy": robust_accuracy,
    "growth": growth,
}


def robustness_table(run: Run) -> str:
    """A line a network and readout: certified and attacked radii beside the closed form.

    `masked`: to turn half of the points PGD needs over 10 % more than the radius at which constructed
    points prove half of them wrong; there PGD reports robustness that is not. The theory of `sum_logit`
    takes the suppression of opposite neurons from the trained network.
    """
    dataset = run.dataset
    config, arms = run.config, _arms(dataset)
    rows = [("network", "certified mean", "sd", "min", "PGD 50 %", "universal 50 %", "theory", "")]
    for name, arm in arms.items():
        readouts = (
            [""]
            if name == "binary"
            else [config.readout, *(r for r in get_args(Readout) if r != config.readout)]
        )
        for readout in readouts:
            suffix = "" if readout in ("", config.readout) else f"_{readout}"
            row = _table_row(config, arm, name, readout, suffix)
            if row is not None:
                rows.append(row)
    if len(rows) == 1:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)


def _table_row(config, arm, name, readout, suffix):
    certified = arm.get(f"certified_radius{suffix}")
    pgd, universal = arm.get(f"pgd_accuracy{suffix}"), arm.get("universal_accuracy")
    if certified is None and pgd is None:
        return None
    numbers = [math.nan] * 3
    if certified is not None:
        numbers = [float(f(certified)) for f in (np.mean, lambda c: c.std("point").mean(), np.min)]
    half = _half_radius(pgd)
    moved = _half_radius(universal) if not suffix else math.nan
    theory = _theory(config, arm, name, readout)
    masked = "masked" if _is_masked(config, arm, suffix) else ""
    cells = [
        "-" if math.isnan(v) else ("> grid" if math.isinf(v) else f"{v:.2f}")
        for v in (*numbers, half, moved, theory)
    ]
    return (f"{NAMES[name]} {readout}".strip(), *cells, masked)


def _theory(config, arm, name, readout) -> float:
    """The closed form of a readout's radius; NaN where there is none."""
    if readout == "sum_logit" and SUM_RADIUS.applies(config):
        pushed = float(suppression(arm[["projection", "own"]].mean("seed")).fillna(0))
        return config.sizes.sum_logit_radius(config.labels, max(pushed, 0.0))
    law = RADIUS[name].predicted(replace(config, readout=readout) if readout else config)
    return math.nan if law is None else law


def _half_radius(accuracy):
    """Radius at which the mean accuracy over seeds crosses one half; inf if not within the grid."""
    if accuracy is None:
        return math.nan
    mean, radius = accuracy.mean("seed").values, accuracy.radius.values
    below = np.flatnonzero(mean <= 0.5)
    if below.size == 0:
        return math.inf
    i = below[0]
    if i == 0:
        return 0.0
    return float(radius[i - 1] + (mean[i - 1] - 0.5) / (mean[i - 1] - mean[i]) * (radius[i] - radius[i - 1]))
