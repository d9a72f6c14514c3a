"""Figures and the robustness table of feature averaging, from a Dataset alone."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, get_args

import numpy as np
import xarray as xr

from dynamics import plots
from dynamics.experiments.feature_averaging import quantities as q
from dynamics.experiments.feature_averaging.setting import Images
from dynamics.laws import feature_averaging as laws
from dynamics.problem.readouts import Readout
from dynamics.study import Run
from dynamics.words import counted

if TYPE_CHECKING:
    import matplotlib.figure

MASKED_BY = 1.1
NAMES = {"binary": "binary labels", "fine": "fine labels"}
SUMMED = plots.COLOURS[2]


def _arms(run: Run) -> dict[str, xr.Dataset]:
    arms = {name: run.dataset.sel(supervision=name) for name in run.supervision.values.tolist()}
    return {k: a.dropna("neuron", how="all", subset=["own"]) if "own" in a else a for k, a in arms.items()}


def _coloured(arms):
    """Each network's colour, name and records."""
    return [(colour, *arm) for colour, arm in zip(plots.COLOURS, arms.items(), strict=False)]


def _draw_alignment(ax, config, name, arm):
    predicted = {}
    if q.COSINE[name].applies(config):
        for size in sorted(set(q.class_sizes(config))) if name == "binary" else (1,):
            value = config.sizes.averaged_alignment(size)
            root = f"{size}\\,c" if name == "binary" else "c"
            predicted[rf"$1/\sqrt{{{root}}}$ = {value:.3f}," + "\n" + r"$c=1+k\sigma^2d/nR^2$"] = value
    if q.early(name)(config) is True:
        predicted["mean, while outputs are near 0"] = q.early_alignment(config, name, arm.step.values)
    own = arm.own.transpose("seed", "neuron", "feature").values
    plots.alignment_curves(ax, arm.step.values, arm.alignment.values, own, predicted)
    ax.set_title(f"{NAMES[name]}: alignment of each neuron")


def _draw_map(ax, config, name, arm, numbers=True):
    plots.heat_map(ax, arm.alignment.isel(seed=0, step=-1).values, numbers=numbers, limit=1.0)
    ax.set_title(f"{NAMES[name]}: step {config.steps}, seed {int(arm.seed[0])}")


def _draw_growth(ax, config, arms):
    for colour, name, arm in _coloured(arms):
        plots.curve(ax, q.own_projection(arm), "step", color=colour, label=NAMES[name])
        if q.GROWTH[name].applies(config):
            shade = {"color": "0.5"} if name == "fine" else {}  # as its radius has
            law = q.growth_law(config, name, arm.step.values)
            ax.plot(arm.step.values, law, label=f"law of {name}", **plots.THEORY | shade)
    plots.time_axis(ax, arm.step.values)
    y, title = r"$\langle w_r, \mu_j\rangle$, own features", "growth of own features"
    plots.label(ax, y=y, title=title, legend="upper left")


def _draw_robustness(ax, config, arms):
    top = max(config.evaluation_radii)
    grid = np.linspace(0, top, 200)
    for colour, name, arm in _coloured(arms):
        readout = "" if name == "binary" else f", {config.readout}"
        _draw_readout(ax, config, arm, grid, "", f"{NAMES[name]}{readout}", color=colour, marker="o")
        summed = name == "fine" and config.readout != "sum_logit" and not isinstance(config, Images)
        if summed:
            label = "fine labels, sum_logit"
            _draw_readout(ax, config, arm, grid, "_sum_logit", label, color=SUMMED, marker="^")
    _draw_radius_theory(ax, config, arms, grid)
    x, title = r"$\ell_2$ radius $\epsilon$", "robust accuracy against radius"
    plots.label(ax, x, "robust test accuracy", title, xlim=(0, top), ylim=(-0.02, 1.02))


def _draw_readout(ax, config, arm, grid, suffix, label, **style):
    """Of one readout, the certified share of points as a line and PGD's as marks, or its line alone."""
    certified, pgd = arm.get(f"certified_radius{suffix}"), arm.get(f"pgd_accuracy{suffix}")
    if certified is not None and np.isfinite(certified).any():
        shares = plots.survival(_attacked_points(config, certified).values, grid)
        plots.band(ax, grid, shares, color=style["color"], label=f"{label}: certified")
    if pgd is not None:
        line = "none" if suffix or certified is not None else "-"
        masked = " (masked)" if _is_masked(config, arm, suffix) else ""
        style |= {"linestyle": line, "label": f"{label}: PGD-{config.attack_steps}{masked}"}
        style |= {"markersize": 3.5, "markerfacecolor": "white", "clip_on": False, "zorder": 6}
        ax.plot(arm.radius.values, pgd.median("seed"), **style)


def _attacked_points(config, radii):
    """The radii of the test points that PGD attacked too, so that the two can be compared."""
    return radii.isel(point=slice(0, config.num_points))


def _is_masked(config, arm, suffix) -> bool:
    """Whether PGD needs over 10 % more than the proven radius to turn half of the points."""
    proven = arm.get(f"attained_radius{suffix}", arm.get(f"certified_radius{suffix}"))
    pgd = arm.get(f"pgd_accuracy{suffix}")
    if proven is None or pgd is None or proven.isnull().all():
        return False
    reached = min(_half_radius(pgd), float(pgd.radius.max()))
    return reached > MASKED_BY * float(np.median(_attacked_points(config, proven)))


def _draw_radius_theory(ax, config, arms, grid):
    if "binary" in arms and (radius := q.RADIUS["binary"].predicted(config)) is not None:
        label = rf"binary: $\Phi((\bar r-\epsilon)/\sigma)$, $\bar r=R/\sqrt{{kc}}$ = {radius:.1f}"
        ax.plot(grid, laws.robust_accuracy(grid, radius, config.noise), label=label, **plots.THEORY)
    if "fine" in arms and (radius := q.RADIUS["fine"].predicted(config)) is not None:
        half = config.norm * math.sqrt(config.labels / (2 * config.num_clusters))
        share = "1/2" if config.labels == config.num_clusters else "G/2k"
        label = rf"fine: $R\sqrt{{{share}}}$ = {half:.1f} less noise: {radius:.1f}"
        ax.axvline(radius, label=label, **plots.THEORY | {"color": "0.5"})


def _draw_training(ax, arms):
    for colour, name, arm in _coloured(arms):
        plots.curve(ax, arm.training_loss, "step", color=colour, label=NAMES[name])
    plots.time_axis(ax, arm.step.values)
    plots.label(ax, y="mean training loss", title="training", log="y", legend="lower left")


@plots.styled
def overview(run: Run) -> "matplotlib.figure.Figure":
    """Alignment curves, final maps, growth and robust accuracy of each supervision in one picture."""
    config, arms = run.config, _arms(run)
    if "alignment" not in run:
        figure, (left, right) = plots.panels(2, 4.25, 3.8)
        _draw_training(left, arms)
        _draw_robustness(right, config, arms)
        right.legend(loc="lower left")
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
    sized = not isinstance(config, Images)
    source = f"k={config.num_clusters}, d={config.dim}, n={config.num_samples}" if sized else config.data
    about = f"{source}, {counted(run.sizes['seed'], 'seed')}, {config.descent}"
    figure.suptitle(f"Feature averaging (Li et al. 2025): {about}", fontsize=10.5)
    return figure


def _each(run, draw, height):
    """A panel for each network; None without neurons to align."""
    if "alignment" not in run:
        return None
    arms = _arms(run)
    figure, axes = plots.panels(len(arms), 4.6, height)
    for ax, (name, arm) in zip(axes, arms.items(), strict=True):
        draw(ax, run.config, name, arm)
    return figure


@plots.styled
def alignment(run: Run) -> "matplotlib.figure.Figure | None":
    """Alignment of each neuron with each feature over time; None without neurons to align."""
    return _each(run, _draw_alignment, 3.4)


@plots.styled
def feature_maps(run: Run) -> "matplotlib.figure.Figure | None":
    """Figure 2: cosine of each neuron with each feature at the end; None without neurons to align."""
    return _each(run, _draw_map, 3.7)


@plots.styled
def robust_accuracy(run: Run) -> "matplotlib.figure.Figure | None":
    """Figure 3: robust accuracy against radius, certified and under PGD, with the theory's radii."""
    if "pgd_accuracy" not in run and "certified_radius" not in run:
        return None
    figure, (ax,) = plots.panels(1, 6.8, 3.6)
    _draw_robustness(ax, run.config, _arms(run))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=2.4, labelspacing=0.8)
    return figure


@plots.styled
def growth(run: Run) -> "matplotlib.figure.Figure | None":
    """Inner products with own features over time against the growth laws."""
    if "projection" not in run:
        return None
    figure, (ax,) = plots.panels(1, 4.6, 3.4)
    _draw_growth(ax, run.config, _arms(run))
    return figure


FIGURES = {draw.__name__: draw for draw in (overview, alignment, feature_maps, robust_accuracy, growth)}


def robustness_table(run: Run) -> str:
    """A line a network and readout: certified and attacked radii beside the closed form.

    `masked`: to turn half of the points PGD needs over 10 % more than the radius at which constructed
    points prove half of them wrong; there PGD reports robustness that is not. The theory of `sum_logit`
    takes the suppression of opposite neurons from the trained network.
    """
    own = run.config.readout
    rows = [("network", "certified mean", "sd", "min", "PGD 50 %", "universal 50 %", "theory", "")]
    for name, arm in _arms(run).items():
        for readout in [""] if name == "binary" else dict.fromkeys([own, *get_args(Readout)]):
            suffix = "" if readout in ("", own) else f"_{readout}"
            if f"certified_radius{suffix}" in arm or f"pgd_accuracy{suffix}" in arm:
                rows.append(_table_row(run.config, arm, name, readout, suffix))
    return plots.text_table(rows)


def _table_row(config, arm, name, readout, suffix):
    certified = arm.get(f"certified_radius{suffix}")
    numbers = [math.nan] * 3
    if certified is not None:
        numbers = [float(f(certified)) for f in (np.mean, lambda c: c.std("point").mean(), np.min)]
    half = _half_radius(arm.get(f"pgd_accuracy{suffix}"))
    moved = _half_radius(arm.get("universal_accuracy")) if not suffix else math.nan
    numbers += [half, moved, _theory(config, arm, name, readout)]
    cells = ["-" if math.isnan(v) else "> grid" if math.isinf(v) else f"{v:.2f}" for v in numbers]
    masked = "masked" if _is_masked(config, arm, suffix) else ""
    return (f"{NAMES[name]} {readout}".strip(), *cells, masked)


def _theory(config, arm, name, readout) -> float:
    """The closed form of a readout's radius; NaN where there is none."""
    if readout == "sum_logit" and q.SUM_RADIUS.applies(config):
        pushed = float(q.suppression(arm[["projection", "own"]].mean("seed")).fillna(0))
        return config.sizes.sum_logit_radius(config.labels, max(pushed, 0.0))
    law = q.RADIUS[name].predicted(replace(config, readout=readout) if readout else config)
    return math.nan if law is None else law


def _half_radius(accuracy):
    """Radius at which the mean accuracy over seeds crosses one half; inf if not within the grid."""
    if accuracy is None:
        return math.nan
    mean, radius = accuracy.mean("seed").values, accuracy.radius.values
    below = np.flatnonzero(mean <= 0.5)
    if below.size == 0:
        return math.inf
    if (i := below[0]) == 0:
        return 0.0
    return float(np.interp(-0.5, -mean[i - 1 : i + 1], radius[i - 1 : i + 1]))
