"""Figures and the margin table of flavors of margin, from a Dataset alone."""

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from dynamics import plots
from dynamics.experiments.flavors_of_margin import quantities as q
from dynamics.study import Run, last
from dynamics.words import counted

if TYPE_CHECKING:
    import matplotlib.figure

SYMBOLS = {"l1": r"$\ell_1$", "l2": r"$\ell_2$", "linf": r"$\ell_\infty$", "spectral": r"$\mathrm{op}$"}
NAMES = {name: f"{name} descent" for name in ("sign", "coordinate", "spectral")} | {"gd": "gradient descent"}
NORMED = ("algorithm", "norm")
LOSS = r"$\log(1/\mathcal{L})$"
THIN = plots.THEORY | {"linewidth": 0.9}


def _name(algorithm: str) -> str:
    return NAMES.get(algorithm, algorithm)


def _symbols(run: Run) -> dict[str, str]:
    """How each norm is written."""
    return {norm: SYMBOLS.get(norm, norm) for norm in run.norm.values.tolist()}


def _colour(run: Run, norm: str) -> str:
    return plots.COLOURS[run.norm.values.tolist().index(norm) % len(plots.COLOURS)]


def _lines(run: Run) -> dict[str, dict]:
    """Of each algorithm the colour of the norm that it descends in; of one norm they differ in their dots."""
    lines, seen = {}, []
    for algorithm in run.algorithm.values.tolist():
        mine = run.config.own_norm(algorithm)
        dots = ("-", ":", "-.")[seen.count(mine) % 3]
        lines[algorithm] = {"color": _colour(run, mine), "linestyle": dots, "label": _name(algorithm)}
        seen.append(mine)
    return lines


def _scale(run: Run) -> tuple[xr.DataArray, str]:
    """What margins are measured against: the largest possible where any is known, else the best in the run.

    Algorithms on rescaled data are not compared with each other: their inputs differ in size.
    """
    if bool(np.isfinite(run.optimum).any()):
        return run.optimum, "margin / largest possible"
    if run.config.rescale:
        return run.geometric_margin.max("step"), "margin / largest of the run"
    return last(run.geometric_margin).max("algorithm"), "margin / best at the end"


def _draw_margins(ax, run, algorithm):
    scale, label = _scale(run)
    mine = run.config.own_norm(algorithm)
    for norm in _symbols(run):
        line, at = {"color": _colour(run, norm)}, {"algorithm": algorithm, "norm": norm}
        width = 2.2 if norm == mine else 1.1
        _draw_positive(ax, (run.geometric_margin / scale).sel(at), linewidth=width, **line)
        if norm == mine:
            _draw_positive(ax, (run.soft_margin / scale).sel(at), linestyle=":", linewidth=1.4, **line)
    ax.axhline(1.0, **THIN)
    plots.log_steps(ax, run.step.values)
    plots.label(ax, y=label, title=_name(algorithm), log="y")


def _draw_positive(ax, values, **line):
    """The band of what is positive in every seed: a margin below 0 is no margin yet."""
    kept = values.isel(step=np.flatnonzero((values > 0).all("seed")))
    if kept.size:
        plots.curve(ax, kept, "step", **line)


def _legend_of_norms(figure, run):
    from matplotlib.lines import Line2D

    lines = [
        *({"color": _colour(run, norm), "label": symbol} for norm, symbol in _symbols(run).items()),
        {"color": plots.GREY, "linewidth": 2.2, "label": "own norm"},
        {"color": plots.GREY, "linestyle": ":", "label": "its soft margin"},
        THIN | {"label": _scale(run)[1].split(" / ")[1]},
    ]
    handles = [Line2D([], [], **line) for line in lines]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(lines))


def _draw_matrix(ax, run):
    scale, label = _scale(run)
    values = (last(run.geometric_margin) / scale).median("seed").transpose(*NORMED)
    shown = values.where(values > 0)
    texts = np.vectorize(lambda one: f"{one:.2g}" if np.isfinite(one) else "-", otypes=[str])(values)
    bar = {"label": rf"$\log_{{10}}$ ({label})", "extend": "min" if (shown < 1e-2).any() else "neither"}
    how = {"columns": [*_symbols(run).values()], "dark": ~(shown > 0.3), "bar": bar}
    plots.matrix(ax, np.log10(shown), texts, **how, cmap="viridis", vmin=-2, vmax=0)
    plots.label(ax, "margin in the norm", title="margin at the end (median over seeds)")


def _draw_decreases(ax, run):
    """The share of records between which each soft margin falls, once the loss is below 1."""
    change = q.increments(run, run.soft_margin)
    falls = (change < -1e-9).where(change.notnull()).mean(["seed", "step"]).transpose(*NORMED)
    framed = (q.own_norms(run) == run.norm).transpose(*NORMED)
    top = max(0.05, float(falls.max()))
    texts = np.vectorize(lambda share: f"{share:.2g}" if share else "never", otypes=[str])(falls)
    how = {"columns": [*_symbols(run).values()], "dark": falls > top / 2, "framed": framed}
    bar = {"label": "share of records"}
    plots.matrix(ax, falls, texts, **how, bar=bar, cmap="magma_r", vmin=0, vmax=top)
    plots.label(ax, "soft margin in the norm", title="how often the soft margin falls after separation")


def _over_loss(ax, run, values):
    from matplotlib.ticker import LogFormatter

    for algorithm, line in _lines(run).items():
        x = -run.log_loss.sel(algorithm=algorithm)
        kept = values.sel(algorithm=algorithm).where(x > 1)
        line["label"] += f", {_symbols(run)[run.config.own_norm(algorithm)]}"
        if bool(kept.notnull().any()):
            plots.seed_lines(ax, x.where(x > 1), kept, **line)
    plots.label(ax, LOSS, log="x")
    ax.xaxis.set_minor_formatter(LogFormatter(minor_thresholds=(1, 0.4)))  # 2 and not 2 x 10^0


def _draw_stationarity(ax, run):
    stationarity = q.own(run, run.stationarity)
    _over_loss(ax, run, stationarity)
    ax.set_yticks(np.arange(0, 1.1, 0.2))
    slow = bool((stationarity.isel(step=-1) < 0.8).any())
    limit = r"limit as $\mathcal{L}\to 0$" + slow * ", not yet reached"
    ax.axhline(1.0, label=limit, **plots.THEORY)
    beta = r"$\beta = \langle\theta,-g\rangle\,/\,\|\theta\|\|g\|_*$"
    title = "stationarity in the own norm"
    plots.label(ax, y=beta, title=title, ylim=(0, 1.75), legend="upper left")


def _draw_gap(ax, run):
    _over_loss(ax, run, q.own(run, run.bregman_gap))
    gap = r"Bregman gap $\|\tilde\theta\|^2(1-\beta)$"
    plots.label(ax, y=gap, title="Bregman gap of the own norm", log="y")


@plots.styled
def overview(run: Run) -> "matplotlib.figure.Figure":
    """Margins of each algorithm in every norm over time, at the end, and how stationary each is."""
    algorithms = run.algorithm.values.tolist()
    figure, axes = plots.panels(len(algorithms) + 2, 3.2, 3.1)
    for ax, algorithm in zip(axes, algorithms, strict=False):
        _draw_margins(ax, run, algorithm)
    _draw_matrix(axes[-2], run)
    _draw_stationarity(axes[-1], run)
    _legend_of_norms(figure, run)
    what = f"{run.config.data}, {run.config.model}, {counted(run.sizes['seed'], 'seed')}"
    figure.suptitle(f"Flavors of margin: {what} (lines: medians, bands: quartiles)", fontsize=10)
    return figure


def _draw_weights(ax, run):
    """Histograms of the final weights."""
    edges = np.append(run.bin.values, 1.0)
    for algorithm, line in _lines(run).items():
        shares = run.magnitudes.sel(algorithm=algorithm).mean("seed").values
        ax.stairs(np.maximum(shares, 1e-6), edges, baseline=1e-6, linewidth=1.4, **line)
    size, title = r"$|\theta_i|\,/\,\max_j|\theta_j|$", "weights at the end (mean over seeds)"
    plots.label(ax, size, "share of parameters", title, log="y", ylim=(1e-5, 30))
    ax.legend(loc="upper center", ncols=2)


def _draw_rates(ax, run):
    """How fast the own margins come to the largest possible."""
    short = 1 - q.own_ratio(run)
    for algorithm, line in _lines(run).items():
        values = short.sel(algorithm=algorithm)
        values = values.where((values > 0) & (values < 1)).dropna("step", how="all")
        if values.size:
            plots.curve(ax, values, "step", **line)
    _draw_rate(ax, run.config, run.step.values, float(last(short).median()))
    plots.log_steps(ax, run.step.values)
    ylabel = "1 - own margin / largest possible"
    plots.label(ax, y=ylabel, title="rate of the margin", log="y", legend="lower left")


def _draw_rate(ax, config, steps, at):
    late = steps[steps >= max(steps[-1] / 100, 2)].astype(float)
    if not len(late):
        return
    if q.RATE.applies(config):
        power = q.RATE.theory(config)
        label = {-1.0: "$1/t$", -0.5: r"$1/\sqrt{t}$"}[power]
        plots.guide(ax, late, 2 * at * (late[0] / late[-1]) ** power, power, label)
    elif q.LOGARITHM.applies(config):
        ax.plot(late, 1.2 * at * np.log(late[-1]) / np.log(late), label=r"$1/\log t$", **plots.THEORY)


def _draw_adam(ax, run):
    """Margins of Adam in l2 and linf against log(1/L), with log(1/eps)."""
    scale, label = _scale(run)
    share, x = (run.geometric_margin / scale).sel(algorithm="adam"), -run.log_loss.sel(algorithm="adam")
    for norm in [name for name in ("l2", "linf") if name in run.norm.values]:
        y = share.sel(norm=norm)
        plots.seed_lines(ax, x.where(y > 0), y.where(y > 0), color=_colour(run, norm), label=SYMBOLS[norm])
    if (place := q.SWITCH.predicted(run.config)) is not None:
        ax.axvline(place, label=rf"$\log(1/\varepsilon)$ = {place:.1f}", **plots.THEORY)
    title = "Adam changes the margin where gradients fall below its constant"
    plots.label(ax, LOSS, label, title, xlim=(0, None), ylim=(0, 1.05), legend="lower right")


@plots.styled
def neurons(run: Run) -> "matplotlib.figure.Figure | None":
    """Largest cosine of any neuron with each teacher direction over time; None without neurons."""
    if "alignment" not in run or run.config.data not in ("relu_teacher", "linear"):
        return None
    algorithms = run.algorithm.values.tolist()
    figure, axes = plots.panels(len(algorithms), 3.2 if len(algorithms) == 3 else 4.4, 3.2)
    for ax, algorithm in zip(axes, algorithms, strict=True):
        best = np.abs(run.alignment.sel(algorithm=algorithm)).max("neuron")
        for j in range(best.sizes["feature"]):
            line = {"color": plots.COLOURS[j], "label": f"teacher direction {j + 1}"}
            plots.curve(ax, best.isel(feature=j), "step", **line)
        plots.log_steps(ax, run.step.values)
        cosine = r"$\max_r |\cos(w_r, u_j)|$"
        plots.label(ax, y=cosine, title=_name(algorithm), ylim=(0, 1.05), legend="lower right")
    return figure


def _draw_accuracy(ax, run):
    """Test accuracy over time."""
    trained = run.sel(step=run.step > 0) if run.sizes["step"] > 1 else run
    for algorithm, line in _lines(run).items():
        plots.curve(ax, trained.test_accuracy.sel(algorithm=algorithm), "step", **line)
    plots.log_steps(ax, run.step.values)
    plots.label(ax, y="test accuracy", title="generalisation", legend="lower right")


def _knows_optimum(run):
    return bool(np.isfinite(q.own(run, run.optimum)).any())


FIGURES = {
    "overview": overview,
    "margin_matrix": plots.side_by_side(4.7, 3.8, _draw_matrix, _draw_decreases),
    "stationarity": plots.side_by_side(4.6, 3.8, _draw_stationarity, _draw_gap),
    "weights": plots.side_by_side(5.2, 3.8, _draw_weights),
    "rates": plots.side_by_side(5.2, 3.8, _draw_rates, where=_knows_optimum),
    "adam": plots.side_by_side(5.2, 3.8, _draw_adam, where=lambda run: "adam" in run.config.algorithms),
    "neurons": neurons,
    "accuracy": plots.side_by_side(5.2, 3.8, _draw_accuracy),
}


def margin_table(run: Run) -> str:
    """A line an algorithm: log(1/L), its stationarity, test accuracy, and the final margin in every norm.

    Margins are relative to the largest that the model can have, if that is known in any norm (nan in others).
    """
    known = bool(np.isfinite(run.optimum).any())
    share = last(run.geometric_margin) / (run.optimum if known else 1)
    columns = {"log(1/L)": -last(run.log_loss), "beta": last(q.own(run, run.stationarity))}
    columns |= {"test": last(run.test_accuracy)}
    columns |= {f"{norm} margin": share.sel(norm=norm) for norm in run.norm.values.tolist()}
    medians = ((name, values.median("seed").values) for name, values in columns.items())
    text = plots.number_table("algorithm", run.algorithm.values.tolist(), *medians, form=".4g")
    return text + "\nmargins: shares of the largest possible" * known
