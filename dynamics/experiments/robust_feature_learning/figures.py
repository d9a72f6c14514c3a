"""Figures and the table of robust feature learning, from a Dataset alone."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dynamics import plots
from dynamics.experiments.robust_feature_learning.quantities import nonrobust, robust, sides
from dynamics.study import Run
from dynamics.words import counted

if TYPE_CHECKING:
    import matplotlib.figure

ROBUST, NONROBUST = plots.COLOURS[0], plots.COLOURS[1]
TITLES = {"standard": "standard training", "adversarial": "adversarial training"}
ACCURACIES = {
    "accuracy": "clean",
    "flip_accuracy": "feature flip",
    "family_one_step_accuracy": "1 step, features",
    "family_pgd_accuracy": "PGD, features",
    "full_one_step_accuracy": "1 step, all directions",
    "full_pgd_accuracy": "PGD, all directions",
}
RATES = {
    "nonrobust_rate": ("follows the standard reference", NONROBUST),
    "robust_rate": ("follows the adversarial reference", ROBUST),
}


def _kinds(dataset: xr.Dataset) -> list[str]:
    return dataset.training.values.tolist()


def _settings(config, dataset) -> str:
    """The run in a line."""
    sizes = rf"$k$={config.num_classes}, $S$={config.num_robust}, $P_N$={config.num_nonrobust}, "
    sizes += (
        rf"$\alpha$={config.robust_strength:g}, $\beta$={config.nonrobust_strength:g}, $q$={config.power:g}"
    )
    rule = f"{config.descent}, {counted(dataset.sizes['seed'], 'seed')}"
    trained = (
        rf", {config.attack} attack, $\epsilon$={config.radius:g}" if config.training != "standard" else ""
    )
    return f"{sizes}{trained}; {rule}"


def _flat(strength: xr.DataArray) -> np.ndarray:
    """Every class of every seed as a sample: (samples, steps)."""
    return strength.transpose("seed", "class", "step").values.reshape(-1, strength.sizes["step"])


def _draw_strengths(ax, config, dataset, kind):
    arm = dataset.sel(training=kind)
    steps = arm.step.values
    names = (r"robust, $\max_r\langle w_r, u\rangle$", r"non-robust, $\max_r\langle w_r, v\rangle$")
    values = [_flat(side) for side in sides(arm.strength)]
    for side, name, colour in zip(values, names, (ROBUST, NONROBUST), strict=True):
        plots.band(ax, steps, side, color=colour, label=name)
    if config.follows_recursion and config.start == "random":
        _draw_recursion(ax, config, kind, [side[:, 0] for side in values], steps[-1])
    ax.set_yscale("log")
    ax.set_ylabel("strength of a class's feature")
    # strengths that shrink below a thousandth say no more than that
    ax.set_ylim(bottom=max(1e-3, ax.get_ylim()[0]), top=30)
    plots.time_axis(ax, steps)
    ax.set_title(TITLES[kind])
    ax.legend(loc="upper left")


def _draw_recursion(ax, config, kind, starts, last):
    """Both features' recursions until the first of them runs away; the other is frozen from there on."""
    sizes, radius = config.sizes, config.radius if kind == "adversarial" else 0.0
    rates = (sizes.robust_rate(radius), sizes.nonrobust_rate(radius))
    # what starts larger stays larger: the median grows from the middle starts
    laws = [
        sizes.growth(_middle(start), rate, int(last)).mean(axis=1)
        for start, rate in zip(starts, rates, strict=True)
    ]
    name = "early recursion"
    if radius and config.attack != "oracle":
        name += "\n(of the oracle attack)"
    winner = int(np.argmin([sizes.escape_time(law[0], rate) for law, rate in zip(laws, rates, strict=True)]))
    end = min(int(np.searchsorted(laws[winner], 1.0)), int(last))
    ax.plot(np.arange(end + 1), laws[winner][: end + 1], label=name, **plots.THEORY)
    if laws[winner][end] < 1:
        # neither has run away by the end of the run
        ax.plot(np.arange(end + 1), laws[1 - winner][: end + 1], **plots.THEORY)
        return
    loser = 1 - winner
    frozen = sizes.frozen(starts[loser], starts[winner], rates[loser] / rates[winner])
    grown = np.minimum(laws[loser][: end + 1], np.median(frozen))
    times, level = [*range(end + 1), int(last)], [*grown, np.median(frozen)]
    ax.plot(times, level, **plots.THEORY)


def _middle(values: np.ndarray) -> np.ndarray:
    """The one or two values whose mean is the median."""
    half = (values.size - 1) // 2
    return np.sort(values)[half : values.size - half]


def _draw_accuracies(ax, config, dataset, kind):
    arm = dataset.sel(training=kind)
    for colour, (name, label) in zip(plots.COLOURS[2:], ACCURACIES.items(), strict=False):
        if name not in arm:
            continue
        line = "-" if name in ("accuracy", "flip_accuracy") else (":" if "one_step" in name else "-.")
        values = arm[name].transpose("seed", "step").values
        ax.plot(arm.step.values, values.mean(axis=0), line, color=colour, label=label, linewidth=1.5)
    plots.time_axis(ax, arm.step.values)
    ax.set_ylim(-0.03, 1.03)
    ax.set_ylabel(f"mean test accuracy, radius {config.evaluation_radius:g}")
    ax.set_title(TITLES[kind])


def _draw_lottery(ax, config, dataset):
    for kind, colour, marker in (
        ("standard", NONROBUST, "o"),
        ("adversarial", ROBUST, "^"),
    ):
        if kind not in _kinds(dataset):
            continue
        arm = dataset.sel(training=kind)
        u0, v0 = sides(arm.strength.isel(step=0))
        u, v = robust(arm), nonrobust(arm)
        radius = config.radius if kind == "adversarial" else 0.0
        ratio = config.sizes.side_ratio(u0.values, v0.values, radius)
        # where the attack uses the non-robust feature up the ratio is infinite: drawn at the edge
        shown = np.clip(ratio, 1e-3, 1e3).ravel()
        end = np.clip((u / np.maximum(v, 1e-3)).values.ravel(), 1e-3, 1e4)
        ax.plot(shown, end, marker, color=colour, markersize=3.5, label=TITLES[kind])
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.axvline(1, label="theory: a step at 1", **plots.THEORY)
    ax.axhline(1, color=plots.GREY, linewidth=0.8)
    ax.set_xlabel("$S\\alpha^q a_0^{q-2}\\,/\\,P_N\\beta^q b_0^{q-2}$ at the start\n(at the edge: infinite)")
    ax.set_ylabel("robust / non-robust strength, end")
    ax.set_title("the start decides which feature wins")
    ax.legend(loc="lower right")


@plots.styled
def overview(run: Run) -> "matplotlib.figure.Figure":
    """The paper's picture; of a run over radii the crossing, of images the rates."""
    dataset = run.dataset
    config = run.config
    if config.on_images:
        return rates(run)
    if config.radii:
        return crossing(run)
    kinds = _kinds(dataset)
    count = len(kinds)
    lottery = config.follows_recursion and config.start == "random"
    if lottery:
        figure, (strengths, accuracies) = plots.new_figure(2, 1 + count, 3.2 * (1 + count), 6.4)
    else:
        figure, axes = plots.panels(2 * count, 4.4, 3.6)
        strengths, accuracies = axes[:count], axes[count:]
    for column, kind in enumerate(kinds):
        _draw_strengths(strengths[column], config, dataset, kind)
        _draw_accuracies(accuracies[column], config, dataset, kind)
    figure.suptitle(_settings(config, dataset), fontsize=9.5)
    handles, labels = accuracies[0].get_legend_handles_labels()
    title = "test points after"
    if lottery:
        _draw_lottery(strengths[-1], config, dataset)
        accuracies[-1].set_axis_off()
        accuracies[-1].legend(handles, labels, loc="center left", title=title, fontsize=9)
    else:
        figure.legend(handles, labels, loc="outside lower center", title=title, ncols=len(labels))
    return figure


@plots.styled
def neurons(run: Run) -> "matplotlib.figure.Figure | None":
    """Every neuron's projection on its own class's two features, first seed."""
    dataset = run.dataset
    config = run.config
    if config.on_images or config.radii:
        return None
    kinds = _kinds(dataset)
    figure, axes = plots.new_figure(1, len(kinds), 4.8 * len(kinds), 3.6)
    for ax, kind in zip(axes[0], kinds, strict=True):
        arm = dataset.sel(training=kind).isel(seed=0)
        k = config.num_classes
        own = arm.own.transpose("neuron", "feature").values > 0.5
        curves = arm.projection.transpose("neuron", "feature", "step").values
        for j in range(2 * k):
            colour = ROBUST if j < k else NONROBUST
            for line in curves[own[:, j], j]:
                ax.plot(arm.step.values, line, color=colour, linewidth=0.7, alpha=0.7)
        ax.plot([], [], color=ROBUST, label=r"$\langle w_r, u_i\rangle$, own robust feature")
        ax.plot([], [], color=NONROBUST, label=r"$\langle w_r, v_i\rangle$, own non-robust feature")
        plots.time_axis(ax, arm.step.values)
        ax.set_ylabel("projection of a neuron")
        ax.set_title(f"{TITLES[kind]}, seed {int(arm.seed)}")
        ax.legend(loc="upper left")
    return figure


@plots.styled
def crossing(run: Run) -> "matplotlib.figure.Figure | None":
    """Share of classes that the robust feature wins against the training radius, with Wilson intervals."""
    dataset = run.dataset
    config = run.config
    if not config.radii or config.on_images:
        return None
    alone = dataset.isel(training=0)
    u, v = robust(alone), nonrobust(alone)
    wins = (u > v).transpose("train_radius", "seed", "class").values.reshape(len(config.radii), -1)
    share, count = wins.mean(axis=1), wins.shape[1]
    low, high = wilson(share, count)
    figure, axes = plots.new_figure(1, 1, 5.2, 3.6)
    ax = axes[0, 0]
    error = [np.maximum(share - low, 0), np.maximum(high - share, 0)]
    label = f"{count} classes a radius, 95 % interval"
    ax.errorbar(config.radii, share, error, color=ROBUST, marker="o", markersize=4, capsize=2, label=label)
    if config.attack == "oracle" and config.follows_recursion:
        start = config.sizes.crossing_radius()
        if min(config.radii) < start < max(config.radii):
            text = rf"theory: $\epsilon^* = (\beta R - \alpha)/(R-1)$ = {start:.3f}"
            ax.axvline(start, label=text, **plots.THEORY)
    ax.axhline(0.5, color=plots.GREY, linewidth=0.8)
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel(r"radius $\epsilon$ of adversarial training")
    ax.set_ylabel("share won by the robust feature")
    ax.set_title(f"the winner flips with the radius ({config.attack} attack)")
    ax.legend(loc="lower right")
    return figure


def wilson(share: np.ndarray, count: int, z: float = 1.96) -> tuple[np.ndarray, np.ndarray]:
    """Wilson's interval of a share of `count` trials."""
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return middle - half, middle + half


@plots.styled
def rates(run: Run) -> "matplotlib.figure.Figure | None":
    """Images: whose adversarial perturbations a network follows, and its accuracies, while it trains."""
    dataset = run.dataset
    config = run.config
    if not config.on_images:
        return None
    kinds = _kinds(dataset)
    figure, axes = plots.new_figure(1, len(kinds), 4.8 * len(kinds), 3.8)
    for ax, kind in zip(axes[0], kinds, strict=True):
        arm = dataset.sel(training=kind)
        for name, (label, colour) in RATES.items():
            plots.band(
                ax, arm.step.values, arm[name].transpose("seed", "step").values, color=colour, label=label
            )
        for name, label, line in (
            ("accuracy", "clean accuracy", "-"),
            ("pgd_accuracy", f"PGD accuracy, radius {config.evaluation_radius:g}", ":"),
        ):
            middle = arm[name].median("seed")
            ax.plot(arm.step.values, middle, line, color=plots.COLOURS[2], label=label)
        plots.time_axis(ax, arm.step.values)
        ax.set_ylim(-0.02, 1.02)
        ax.set_ylabel("share of test images")
        ax.set_title(TITLES[kind])
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.02, 1))
    return figure


FIGURES = {"overview": overview, "neurons": neurons, "crossing": crossing, "rates": rates}


def table(run: Run) -> str:
    """A line a kind of training: strengths of the features and accuracies at the end, means over seeds."""
    dataset = run.dataset
    config = run.config
    if config.radii:
        return ""
    names = {"accuracy": "clean", "pgd_accuracy": "PGD", "nonrobust_rate": "follows standard"}
    names |= {"robust_rate": "follows adversarial"}
    names = names if config.on_images else ACCURACIES
    shown = {name: label for name, label in names.items() if name in dataset}
    head = ["training"] + ([] if config.on_images else ["u", "v"]) + list(shown.values())
    rows = [head]
    for kind in _kinds(dataset):
        arm = dataset.sel(training=kind).isel(step=-1)
        strengths = [] if config.on_images else [f"{float(s.mean()):.2f}" for s in sides(arm.strength)]
        rows.append([kind, *strengths, *(f"{float(arm[name].mean()):.2f}" for name in shown)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
