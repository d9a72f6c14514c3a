"""Figures and the margin table of flavors of margin, from a Dataset alone."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dynamics import plots
from dynamics.experiments.flavors_of_margin.quantities import (
    LOGARITHM,
    RATE,
    SWITCH,
    increments,
    own,
    own_norms,
    own_ratio,
)
from dynamics.study import Run
from dynamics.words import counted

if TYPE_CHECKING:
    import matplotlib.figure

SYMBOLS = {"l1": r"\ell_1", "l2": r"\ell_2", "linf": r"\ell_\infty", "spectral": r"\mathrm{op}"}
NAMES = {
    "gd": "gradient descent",
    "sign": "sign descent",
    "coordinate": "coordinate descent",
    "spectral": "spectral descent",
}


def _name(algorithm: str) -> str:
    return NAMES.get(algorithm, algorithm)


def _symbol(norm: str) -> str:
    return f"${SYMBOLS[norm]}$" if norm in SYMBOLS else norm


def _colour(run: Run, norm: str) -> str:
    return plots.COLOURS[run.norm.values.tolist().index(norm) % len(plots.COLOURS)]


def _line(run: Run, algorithm: str) -> dict:
    """Colour of the norm that an algorithm descends in; algorithms of one norm differ in their dots."""
    config = run.config
    mine = config.own_norm(algorithm)
    alike = [name for name in run.algorithm.values.tolist() if config.own_norm(name) == mine]
    return {"color": _colour(run, mine), "linestyle": ("-", ":", "-.")[alike.index(algorithm) % 3]}


def _scale(run: Run) -> tuple[xr.DataArray, str]:
    """What margins are measured against: the largest possible where any is known, else the best in the run.

    Algorithms on rescaled data are not compared with each other: their inputs differ in size.
    """
    if bool(np.isfinite(run.optimum).any()):
        return run.optimum, "margin / largest possible"
    if run.config.rescale:
        return run.geometric_margin.max("step"), "margin / largest of the run"
    return run.geometric_margin.isel(step=-1).max("algorithm"), "margin / best at the end"


def _draw_margins(ax, config, run, algorithm):
    scale, label = _scale(run)
    mine = config.own_norm(algorithm)
    for norm in run.norm.values.tolist():
        at = {"algorithm": algorithm, "norm": norm}
        size = scale.sel({k: v for k, v in at.items() if k in scale.dims})
        one = run.sel(at)
        line = {"color": _colour(run, norm), "linewidth": 2.2 if norm == mine else 1.1}
        _draw_positive(ax, one.geometric_margin / size, **line)
        if norm == mine:
            _draw_positive(ax, one.soft_margin / size, **line | {"linestyle": ":", "linewidth": 1.4})
    ax.axhline(1.0, **plots.THEORY | {"linewidth": 0.9})
    _log_steps(ax, run)
    ax.set_yscale("log")
    ax.set_ylabel(label)
    ax.set_title(_name(algorithm))


def _draw_positive(ax, values, **line):
    """The band of what is positive in every seed: a margin below 0 is no margin yet."""
    values = values.transpose("seed", "step")
    kept = (values > 0).all("seed")
    if bool(kept.any()):
        plots.band(ax, values.step.values[kept.values], values.values[:, kept.values], **line)


def _legend_of_norms(figure, run):
    from matplotlib.lines import Line2D

    lines = [
        Line2D([], [], color=_colour(run, norm), label=_symbol(norm)) for norm in run.norm.values.tolist()
    ]
    lines.append(Line2D([], [], color=plots.GREY, linewidth=2.2, label="own norm"))
    lines.append(Line2D([], [], color=plots.GREY, linestyle=":", label="its soft margin"))
    most = _scale(run)[1].split(" / ")[1]
    lines.append(Line2D([], [], **plots.THEORY | {"linewidth": 0.9}, label=most))
    figure.legend(handles=lines, loc="outside lower center", ncols=len(lines))


def _log_steps(ax, run):
    steps = run.step.values
    ax.set_xlabel("step $t$")
    if len(steps) > 2 and steps[-1] > 10:
        ax.set_xscale("log")
        ax.set_xlim(max(steps[1], 1), steps[-1])


def _draw_matrix(ax, run):
    scale, label = _scale(run)
    values = (run.geometric_margin.isel(step=-1) / scale).median("seed").transpose("algorithm", "norm").values
    shown = np.where(values > 0, values, np.nan)
    image = ax.imshow(np.log10(shown), cmap="viridis", vmin=-2, vmax=0, aspect="auto")
    below = "min" if (shown < 1e-2).any() else "neither"
    ax.figure.colorbar(image, ax=ax, label=rf"$\log_{{10}}$ ({label})", shrink=0.9, extend=below)
    ax.set_xlabel("margin in the norm")
    ax.set_title("margin at the end (median over seeds)")
    texts = np.vectorize(lambda value: f"{value:.2g}" if np.isfinite(value) else "-", otypes=[str])(values)
    _annotate(ax, run, texts, np.where(shown > 0.3, "black", "white"))


def _annotate(ax, run, texts, colours):
    """Name the rows and columns of a matrix of algorithms and norms, and write into its cells."""
    ax.set_xticks(range(run.sizes["norm"]), [_symbol(norm) for norm in run.norm.values.tolist()])
    ax.set_yticks(range(run.sizes["algorithm"]), run.algorithm.values.tolist())
    for i, j in np.ndindex(texts.shape):
        ax.text(j, i, texts[i, j], ha="center", va="center", fontsize=8, color=colours[i, j])
    for spine in ax.spines.values():
        spine.set_visible(True)


def _draw_stationarity(ax, run, gap=False):
    from matplotlib.ticker import LogFormatter

    values = own(run, run.bregman_gap if gap else run.stationarity)
    for algorithm in run.algorithm.values.tolist():
        x = -run.log_loss.sel(algorithm=algorithm)
        kept = values.sel(algorithm=algorithm).where(x > 1)
        if not bool(kept.notnull().any()):
            continue
        # records fall at different losses in different seeds: one thin line each
        for i, seed in enumerate(run.seed.values.tolist()):
            label = f"{_name(algorithm)}, {_symbol(run.config.own_norm(algorithm))}" if i == 0 else None
            ax.plot(
                x.sel(seed=seed).where(x.sel(seed=seed) > 1), kept.sel(seed=seed),
                linewidth=0.9, alpha=0.7, label=label, **_line(run, algorithm),
            )  # fmt: skip
    ax.set_xscale("log")
    ax.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))  # 2 and not 2 x 10^0
    ax.set_xlabel(r"$\log(1/\mathcal{L})$")
    if gap:
        ax.set_yscale("log")
        ax.set_ylabel(r"Bregman gap $\|\tilde\theta\|^2(1-\beta)$")
    else:
        ax.set_ylim(0, 1.6)
        ax.set_yticks(np.arange(0, 1.1, 0.2))
        ax.axhline(1.0, **plots.THEORY)
        ax.set_ylabel(r"$\beta = \langle\theta,-g\rangle\,/\,\|\theta\|\|g\|_*$")
    ax.set_title("Bregman gap of the own norm" if gap else "stationarity in the own norm")
    if not gap:
        ax.legend(loc="upper left")


@plots.styled
def overview(run: Run) -> "matplotlib.figure.Figure":
    """Margins of each algorithm in every norm over time, at the end, and how stationary each is."""
    config = run.config
    algorithms = run.algorithm.values.tolist()
    figure, axes = plots.panels(len(algorithms) + 2, 3.2, 3.1)
    for ax, algorithm in zip(axes, algorithms, strict=False):
        _draw_margins(ax, config, run, algorithm)
    _draw_matrix(axes[-2], run)
    _draw_stationarity(axes[-1], run)
    seeds = counted(run.sizes["seed"], "seed")
    _legend_of_norms(figure, run)
    figure.suptitle(
        f"Flavors of margin: {config.data}, {config.model}, {seeds} (lines: medians, bands: quartiles)",
        fontsize=10,
    )
    return figure


@plots.styled
def margin_matrix(run: Run) -> "matplotlib.figure.Figure":
    """Which algorithm has how large a margin in which norm, and in which its soft margin ever falls."""
    figure, axes = plots.new_figure(1, 2, 9.4, 3.8)
    _draw_matrix(axes[0, 0], run)
    _draw_decreases(axes[0, 1], run)
    return figure


def _draw_decreases(ax, run):
    """The share of records between which each soft margin falls, once the loss is below 1."""
    from matplotlib.patches import Rectangle

    change = increments(run, run.soft_margin)
    falls = (
        (change < -1e-9).where(change.notnull()).mean(["seed", "step"]).transpose("algorithm", "norm").values
    )
    top = max(0.05, float(np.nanmax(falls)))
    image = ax.imshow(falls, cmap="magma_r", vmin=0, vmax=top, aspect="auto")
    ax.figure.colorbar(image, ax=ax, label="share of records", shrink=0.9)
    ax.set_xlabel("soft margin in the norm")
    ax.set_title("how often the soft margin falls after separation")
    texts = np.vectorize(lambda share: f"{share:.2g}" if share else "never", otypes=[str])(falls)
    _annotate(ax, run, texts, np.where(falls > top / 2, "white", "black"))
    for i, j in np.argwhere((own_norms(run) == run.norm).transpose("algorithm", "norm").values):
        frame = (j - 0.48, i - 0.46), 0.96, 0.92
        ax.add_patch(Rectangle(*frame, fill=False, edgecolor=plots.COLOURS[0], linewidth=2))


@plots.styled
def stationarity(run: Run) -> "matplotlib.figure.Figure":
    """Alignment with the steepest direction and Bregman gap against log(1/L)."""
    figure, axes = plots.new_figure(1, 2, 9.2, 3.8)
    _draw_stationarity(axes[0, 0], run)
    _draw_stationarity(axes[0, 1], run, gap=True)
    return figure


@plots.styled
def weights(run: Run) -> "matplotlib.figure.Figure":
    """Histograms of the final weights."""
    figure, axes = plots.new_figure(1, 1, 5.2, 3.8)
    ax = axes[0, 0]
    edges = np.append(run.bin.values, 1.0)
    for algorithm in run.algorithm.values.tolist():
        shares = run.magnitudes.sel(algorithm=algorithm).mean("seed").values
        line = {"label": _name(algorithm), "linewidth": 1.4} | _line(run, algorithm)
        ax.stairs(np.maximum(shares, 1e-6), edges, baseline=1e-6, **line)
    ax.set_yscale("log")
    ax.set_ylim(1e-5, 30)
    ax.set_xlabel(r"$|\theta_i|\,/\,\max_j|\theta_j|$")
    ax.set_ylabel("share of parameters")
    ax.set_title("weights at the end (mean over seeds)")
    ax.legend(loc="upper center", ncols=2)
    return figure


@plots.styled
def rates(run: Run) -> "matplotlib.figure.Figure | None":
    """How fast the own margins come to the largest possible; None where that is not known."""
    short = 1 - own_ratio(run)
    if not bool(np.isfinite(own(run, run.optimum)).any()):
        return None
    figure, axes = plots.new_figure(1, 1, 5.2, 3.8)
    ax = axes[0, 0]
    for algorithm in run.algorithm.values.tolist():
        values = short.sel(algorithm=algorithm)
        values = values.where((values > 0) & (values < 1)).transpose("seed", "step")
        values = values.dropna("step", how="all")
        if values.size:
            line = _line(run, algorithm)
            plots.band(ax, values.step.values, values.values, label=_name(algorithm), **line)
    _draw_rate(ax, run.config, run.step.values, short)
    _log_steps(ax, run)
    ax.set_yscale("log")
    ax.set_ylabel("1 - own margin / largest possible")
    ax.set_title("rate of the margin")
    ax.legend(loc="lower left")
    return figure


def _draw_rate(ax, config, steps, short):
    late = steps[steps >= max(steps[-1] / 100, 2)].astype(float)
    if not len(late):
        return
    at = float(short.isel(step=-1).median())
    if RATE.applies(config):
        power = RATE.theory(config)
        label = {-1.0: "$1/t$", -0.5: r"$1/\sqrt{t}$"}[power]
        ax.plot(late, 2 * at * (late / late[-1]) ** power, label=label, **plots.THEORY)
    elif LOGARITHM.applies(config):
        ax.plot(late, 1.2 * at * np.log(late[-1]) / np.log(late), label=r"$1/\log t$", **plots.THEORY)


@plots.styled
def adam(run: Run) -> "matplotlib.figure.Figure | None":
    """Margins of Adam in l2 and linf against log(1/L), with log(1/eps); None for a run without Adam."""
    config = run.config
    if "adam" not in config.algorithms:
        return None
    scale, label = _scale(run)
    one = run.sel(algorithm="adam")
    figure, axes = plots.new_figure(1, 1, 5.2, 3.8)
    ax = axes[0, 0]
    for norm in [name for name in ("l2", "linf") if name in one.norm.values]:
        size = scale.sel({k: v for k, v in {"algorithm": "adam", "norm": norm}.items() if k in scale.dims})
        values = one.geometric_margin.sel(norm=norm) / size
        for i, seed in enumerate(one.seed.values.tolist()):
            x, y = -one.log_loss.sel(seed=seed), values.sel(seed=seed)
            ax.plot(
                x.where(y > 0), y.where(y > 0), color=_colour(run, norm), linewidth=0.9, alpha=0.7,
                label=_symbol(norm) if i == 0 else None,
            )  # fmt: skip
    if (place := SWITCH.predicted(config)) is not None:
        ax.axvline(place, label=rf"$\log(1/\varepsilon)$ = {place:.1f}", **plots.THEORY)
    ax.set_xlim(left=0)
    ax.set_ylim(0, 1.05)
    ax.set_xlabel(r"$\log(1/\mathcal{L})$")
    ax.set_ylabel(label)
    ax.set_title("Adam changes the margin where gradients fall below its constant")
    ax.legend(loc="lower right")
    return figure


@plots.styled
def neurons(run: Run) -> "matplotlib.figure.Figure | None":
    """Largest cosine of any neuron with each teacher direction over time; None without neurons."""
    if "alignment" not in run or run.config.data not in ("relu_teacher", "linear"):
        return None
    algorithms = run.algorithm.values.tolist()
    figure, axes = plots.panels(len(algorithms), 3.2 if len(algorithms) == 3 else 4.4, 3.2)
    for ax, algorithm in zip(axes, algorithms, strict=True):
        best = (
            np.abs(run.alignment.sel(algorithm=algorithm)).max("neuron").transpose("feature", "seed", "step")
        )
        for j in range(best.sizes["feature"]):
            label = f"teacher direction {j + 1}"
            plots.band(ax, run.step.values, best.values[j], color=plots.COLOURS[j], label=label)
        _log_steps(ax, run)
        ax.set_ylim(0, 1.05)
        ax.set_ylabel(r"$\max_r |\cos(w_r, u_j)|$")
        ax.set_title(_name(algorithm))
        ax.legend(loc="lower right")
    return figure


@plots.styled
def accuracy(run: Run) -> "matplotlib.figure.Figure":
    """Test accuracy over time."""
    figure, axes = plots.new_figure(1, 1, 5.2, 3.8)
    ax = axes[0, 0]
    trained = run.sel(step=run.step > 0) if run.sizes["step"] > 1 else run
    for algorithm in run.algorithm.values.tolist():
        values = trained.test_accuracy.sel(algorithm=algorithm).transpose("seed", "step").values
        plots.band(ax, trained.step.values, values, label=_name(algorithm), **_line(run, algorithm))
    _log_steps(ax, run)
    ax.set_ylabel("test accuracy")
    ax.set_title("generalisation")
    ax.legend(loc="lower right")
    return figure


FIGURES = {
    "overview": overview,
    "margin_matrix": margin_matrix,
    "stationarity": stationarity,
    "weights": weights,
    "rates": rates,
    "adam": adam,
    "neurons": neurons,
    "accuracy": accuracy,
}


def margin_table(run: Run) -> str:
    """A line an algorithm: log(1/L), its stationarity, test accuracy, and the final margin in every norm.

    Margins are relative to the largest that the model can have, if that is known in any norm (nan in others).
    """
    known = bool(np.isfinite(run.optimum).any())
    last = run.isel(step=-1)
    values = last.geometric_margin / run.optimum if known else last.geometric_margin
    beta = own(run, run.stationarity).isel(step=-1)
    names = run.norm.values.tolist()
    head = "margin / largest possible" if known else "margin"
    lines = [
        f"{'algorithm':<14}{'log(1/L)':>10}{'beta':>8}{'test':>8}   {head} in "
        + "".join(f"{n:>12}" for n in names)
    ]
    for algorithm in run.algorithm.values.tolist():
        at = {"algorithm": algorithm}
        numbers = "".join(f"{float(values.sel(at).sel(norm=n).median()):>12.4g}" for n in names)
        lines.append(
            f"{algorithm:<14}{-float(last.log_loss.sel(at).median()):>10.4g}{float(beta.sel(at).median()):>8.3f}"
            f"{float(last.test_accuracy.sel(at).median()):>8.3f}   {'':<{len(head) + 4}}{numbers}"
        )
    return "\n".join(lines)
