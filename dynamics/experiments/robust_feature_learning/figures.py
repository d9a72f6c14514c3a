"""Panels and the table of robust feature learning."""

from typing import TYPE_CHECKING

import numpy as np

from dynamics import plots
from dynamics.experiments.robust_feature_learning.images import Images
from dynamics.experiments.robust_feature_learning.quantities import nonrobust, robust, sides, start_ratio
from dynamics.study import Run, last
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


def _arms(run: Run) -> dict[str, Run]:
    """The run of each kind of training."""
    return {kind: run.at(training=kind) for kind in run.training.values.tolist()}


def _radius(config, kind: str) -> float:
    """The radius of that training's attack."""
    return config.radius if kind == "adversarial" else 0.0


def _settings(run: Run) -> str:
    """The run in a line."""
    config = run.config
    sizes = rf"$k$={config.num_classes}, $S$={config.num_robust}, $P_N$={config.num_nonrobust}, "
    sizes += rf"$\alpha$={config.robust_strength:g}, $\beta$={config.nonrobust_strength:g}, "
    sizes += rf"$q$={config.power:g}"
    if config.training != "standard":
        sizes += rf", {config.attack} attack, $\epsilon$={config.radius:g}"
    return f"{sizes}; {config.descent}, {counted(run.sizes['seed'], 'seed')}"


def _draw_strengths(ax, run, kind):
    names = (r"robust, $\max_r\langle w_r, u\rangle$", r"non-robust, $\max_r\langle w_r, v\rangle$")
    # every class of every seed is a sample
    order = ("seed", "class", "step")
    values = [s.transpose(*order).values.reshape(-1, run.sizes["step"]) for s in sides(run.strength)]
    for side, name, colour in zip(values, names, (ROBUST, NONROBUST), strict=True):
        plots.band(ax, run.step.values, side, color=colour, label=name)
    if run.config.follows_recursion and run.config.start == "random":
        _draw_recursion(ax, run.config, kind, [side[:, 0] for side in values], int(run.step[-1]))
    plots.time_axis(ax, run.step.values)
    plots.label(ax, y="strength of a class's feature", title=TITLES[kind], log="y", legend="upper left")
    # strengths that shrink below a thousandth say no more than that
    ax.set_ylim(bottom=max(1e-3, ax.get_ylim()[0]), top=30)


def _draw_recursion(ax, config, kind, starts, last):
    """Both features' recursions until the first of them runs away; the other is frozen from there on."""
    sizes, radius = config.sizes, _radius(config, kind)
    rates = (sizes.robust_rate(radius), sizes.nonrobust_rate(radius))
    # what starts larger stays larger: the median grows from the middle starts
    pairs = zip(starts, rates, strict=True)
    laws = [sizes.growth(_middle(start), rate, last).mean(axis=1) for start, rate in pairs]
    name = "early recursion"
    if radius and config.attack != "oracle":
        name += "\n(of the oracle attack)"
    winner = int(np.argmin([sizes.escape_time(law[0], rate) for law, rate in zip(laws, rates, strict=True)]))
    loser = 1 - winner
    end = min(int(np.searchsorted(laws[winner], 1.0)), last)
    times = np.arange(end + 1)
    ax.plot(times, laws[winner][: end + 1], label=name, **plots.THEORY)
    if laws[winner][end] < 1:  # neither has run away by the end of the run
        ax.plot(times, laws[loser][: end + 1], **plots.THEORY)
        return
    frozen = np.median(sizes.frozen(starts[loser], starts[winner], rates[loser] / rates[winner]))
    ax.plot([*times, last], [*np.minimum(laws[loser][: end + 1], frozen), frozen], **plots.THEORY)


def _middle(values: np.ndarray) -> np.ndarray:
    """The one or two values whose mean is the median."""
    half = (values.size - 1) // 2
    return np.sort(values)[half : values.size - half]


def _draw_accuracies(ax, run, kind):
    for colour, (name, label) in zip(plots.COLOURS[2:], ACCURACIES.items(), strict=False):
        if name in run:
            line = "-" if name in ("accuracy", "flip_accuracy") else (":" if "one_step" in name else "-.")
            mean = run[name].mean("seed")
            ax.plot(mean.step, mean, line, color=colour, label=label, linewidth=1.5)
    plots.time_axis(ax, run.step.values)
    y = f"mean test accuracy, radius {run.config.evaluation_radius:g}"
    plots.label(ax, y=y, title=TITLES[kind], ylim=(-0.03, 1.03))


def _draw_lottery(ax, arms):
    for kind, run in arms.items():
        colour, marker = (NONROBUST, "o") if kind == "standard" else (ROBUST, "^")
        ratio = start_ratio(run, _radius(run.config, kind))
        # where the attack uses the non-robust feature up the ratio is infinite: drawn at the edge
        shown, end = ratio.clip(1e-3, 1e3), (robust(run) / nonrobust(run).clip(1e-3)).clip(1e-3, 1e4)
        style = {"color": colour, "markersize": 3.5, "label": TITLES[kind]}
        ax.plot(shown.values.ravel(), end.transpose(*shown.dims).values.ravel(), marker, **style)
    ax.axvline(1, label="theory: a step at 1", **plots.THEORY)
    ax.axhline(1, color=plots.GREY, linewidth=0.8, label="equally strong")
    x = "$S\\alpha^q a_0^{q-2}\\,/\\,P_N\\beta^q b_0^{q-2}$ at the start\n(at the edge: infinite)"
    title = "the start decides which feature wins"
    y = "robust / non-robust strength, end"
    plots.label(ax, x, y, title, log="xy", legend="lower right")


@plots.styled
def overview(run: Run) -> "matplotlib.figure.Figure":
    """The paper's picture; of a run over radii the crossing, of images the rates."""
    config = run.config
    if isinstance(config, Images):
        return rates(run)
    if config.radii:
        return crossing(run)
    arms = _arms(run)
    count = len(arms)
    lottery = config.follows_recursion and config.start == "random"
    if lottery:
        figure, (strengths, accuracies) = plots.new_figure(2, 1 + count, 3.2 * (1 + count), 6.4)
    else:
        figure, axes = plots.panels(2 * count, 4.4, 3.6)
        strengths, accuracies = axes[:count], axes[count:]
    for column, (kind, arm) in enumerate(arms.items()):
        _draw_strengths(strengths[column], arm, kind)
        _draw_accuracies(accuracies[column], arm, kind)
    figure.suptitle(f"Robust feature learning (Li & Li 2025)\n{_settings(run)}", fontsize=9.5)
    handles, labels = accuracies[0].get_legend_handles_labels()
    labels = ["none: clean points" if label == "clean" else label for label in labels]
    title = "attack on test points"
    if lottery:
        _draw_lottery(strengths[-1], arms)
        accuracies[-1].set_axis_off()
        accuracies[-1].legend(handles, labels, loc="center left", title=title, fontsize=9)
    else:
        figure.legend(handles, labels, loc="outside lower center", title=title, ncols=len(labels))
    return figure


@plots.styled
def neurons(run: Run) -> "matplotlib.figure.Figure | None":
    """Every neuron's projection on its own class's two features, first seed; kinds share a scale."""
    if isinstance(run.config, Images) or run.config.radii:
        return None
    arms, k = _arms(run), run.config.num_classes
    figure, axes = plots.new_figure(1, len(arms), 4.8 * len(arms), 3.6)
    limits = []
    for ax, (kind, arm) in zip(axes[0], arms.items(), strict=True):
        one = arm.isel(seed=0)
        own = one.own.transpose("neuron", "feature").values > 0.5
        curves = one.projection.transpose("neuron", "feature", "step").values
        for r, j in zip(*np.nonzero(own), strict=True):  # neuron by neuron: neither kind hides the other
            line = {"color": ROBUST if j < k else NONROBUST, "linewidth": 0.7, "alpha": 0.7}
            ax.plot(one.step, curves[r, j], **line)
        ax.plot([], [], color=ROBUST, label=r"$\langle w_r, u_i\rangle$, own robust feature")
        ax.plot([], [], color=NONROBUST, label=r"$\langle w_r, v_i\rangle$, own non-robust feature")
        plots.time_axis(ax, one.step.values)
        title = f"{TITLES[kind]}, seed {int(one.seed)}"
        plots.label(ax, y="projection of a neuron", title=title, legend="upper left")
        limits.append(ax.get_ylim())
    for ax in axes[0]:
        ax.set_ylim(min(low for low, _ in limits), max(high for _, high in limits))
    return figure


@plots.styled
def crossing(run: Run) -> "matplotlib.figure.Figure | None":
    """Share of classes that the robust feature wins against the training radius, with Wilson intervals."""
    from scipy.stats import binomtest

    config = run.config
    if isinstance(config, Images) or not config.radii:
        return None
    alone = run.isel(training=0)
    wins = (robust(alone) > nonrobust(alone)).stack(all=("seed", "class")).transpose("train_radius", "all")
    share, count = wins.mean("all").values, wins.sizes["all"]
    ends = np.transpose([binomtest(w, count).proportion_ci(method="wilson") for w in wins.values.sum(axis=1)])
    figure, (ax,) = plots.panels(1, 5.2, 3.6)
    error = np.maximum([share - ends[0], ends[1] - share], 0)
    label = f"{count} classes a radius, 95 % interval"
    ax.errorbar(config.radii, share, error, color=ROBUST, marker="o", markersize=4, capsize=2, label=label)
    if config.attack == "oracle" and config.follows_recursion:
        start = config.sizes.crossing_radius()
        if min(config.radii) < start < max(config.radii):
            text = rf"theory: $\epsilon^* = (\beta R - \alpha)/(R-1)$ = {start:.3f}"
            ax.axvline(start, label=text, **plots.THEORY)
    ax.axhline(0.5, color=plots.GREY, linewidth=0.8, label="half of the classes")
    x, y = r"radius $\epsilon$ of adversarial training", "share won by the robust feature"
    title = f"the winner flips with the radius ({config.attack} attack)"
    plots.label(ax, x, y, title, ylim=(-0.03, 1.03), legend="lower right")
    return figure


@plots.styled
def rates(run: Run) -> "matplotlib.figure.Figure | None":
    """Images: whose adversarial perturbations a network follows, and its accuracies, while it trains."""
    if not isinstance(run.config, Images):
        return None
    arms = _arms(run)
    figure, axes = plots.new_figure(1, len(arms), 4.8 * len(arms), 3.8)
    pgd = f"PGD accuracy, radius {run.config.evaluation_radius:g}"
    for ax, (kind, arm) in zip(axes[0], arms.items(), strict=True):
        for name, (label, colour) in RATES.items():
            plots.curve(ax, arm[name], "step", color=colour, label=label)
        for name, label, line in (("accuracy", "clean accuracy", "-"), ("pgd_accuracy", pgd, ":")):
            ax.plot(arm.step, arm[name].median("seed"), line, color=plots.COLOURS[2], label=label)
        plots.time_axis(ax, arm.step.values)
        plots.label(ax, y="share of test images", title=TITLES[kind], ylim=(-0.02, 1.02))
    axes[0, -1].legend(loc="upper left", bbox_to_anchor=(1.02, 1))
    return figure


FIGURES = {"overview": overview, "neurons": neurons, "crossing": crossing, "rates": rates}


def table(run: Run) -> str:
    """A line a kind of training: strengths of the features and accuracies at the end, means over seeds."""
    images = isinstance(run.config, Images)
    if not images and run.config.radii:
        return ""
    names = {"accuracy": "clean", "pgd_accuracy": "PGD", "nonrobust_rate": "follows standard"}
    names = names | {"robust_rate": "follows adversarial"} if images else ACCURACIES
    shown = {name: label for name, label in names.items() if name in run}
    rows = [["training", *([] if images else ["u", "v"]), *shown.values()]]
    for kind, arm in _arms(run).items():
        numbers = [] if images else list(sides(last(arm.strength)))
        numbers += [last(arm[name]) for name in shown]
        rows.append([kind, *(f"{float(number.mean()):.2f}" for number in numbers)])
    return plots.text_table(rows)
