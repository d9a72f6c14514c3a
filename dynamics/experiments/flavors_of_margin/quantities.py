"""What the claims about flavors of margin measure.

The smallest or largest of several algorithms is NaN where one of them has diverged, which makes a claim fail.
"""

import numpy as np
import xarray as xr
from jaxtyping import Float

from dynamics.laws import max_margin
from dynamics.study.old import Run

Runs = dict[str, Run]
PerSeed = Float[np.ndarray, " seeds"]
LAST_RECORDS = 20
"""Records at the end over which what chatters is averaged."""


def own(run: Run, values: xr.DataArray) -> xr.DataArray:
    """Of a quantity in every norm, each algorithm's in the norm that it descends in."""
    names = xr.DataArray(
        [run.config.own_norm(name) for name in values.algorithm.values.tolist()],
        dims="algorithm",
        coords={"algorithm": values.algorithm},
    )
    return values.sel(norm=names).drop_vars("norm")


def own_ratio(run: Run) -> xr.DataArray:
    """Each algorithm's own margin over the largest that its model can have: (algorithm, seed, step)."""
    return own(run, run.dataset.geometric_margin) / own(run, run.dataset.optimum)


def final_ratio(algorithm: str, name: str = "main"):
    """An algorithm's own margin at the end, over the largest one."""
    return lambda runs: own_ratio(runs[name]).isel(step=-1).sel(algorithm=algorithm).values


def worst_final_ratio(name: str):
    """The smallest of the algorithms' ratios."""
    return lambda runs: own_ratio(runs[name]).isel(step=-1).min("algorithm", skipna=False).values


def largest_over_optimum(**norms_of: tuple[str, ...]):
    """The largest of the algorithms' own margins at the end over the largest possible, of some runs.

    Args: norms_of: by run, the norm of each of its algorithms: whose largest margin it is compared with.
    """

    def measure(runs: Runs) -> PerSeed:
        ratios = []
        for name, norms in norms_of.items():
            margins = own(runs[name], runs[name].dataset.geometric_margin).isel(step=-1)
            for algorithm, norm in zip(margins.algorithm.values.tolist(), norms, strict=True):
                largest = runs[name].dataset.optimum.sel(algorithm=algorithm, norm=norm)
                ratios.append((margins.sel(algorithm=algorithm) / largest).drop_vars(["algorithm", "norm"]))
        # one run may have more seeds than another
        return xr.concat(ratios, dim="ratio", join="inner").max("ratio", skipna=False).values

    return measure


def predictor_ratio(algorithm: str, norm: str, name: str):
    """Margin of the final linear predictor in a norm, as one vector of weights, over the largest one."""
    order = {"l1": 1, "l2": 2, "linf": np.inf}[norm]

    def of(one):
        rows, w = one.signed_inputs.values, one.linear_predictor.values
        return (rows @ w).min() / np.linalg.norm(w, order) / max_margin.linear(rows, norm)[0]

    def measure(runs: Runs) -> PerSeed:
        dataset = runs[name].dataset.sel(algorithm=algorithm)
        return np.asarray([of(dataset.sel(seed=seed)) for seed in dataset.seed.values])

    return measure


def shortfall_over_bound(name: str):
    r"""The largest of the algorithms' shortfalls 1 - ratio over log n / (log(1/L) + log n), at the end.

    Steepest flow from 0 has log(1/L) + log n >= g |w|, as |grad log L|_* >= g: so it is at most 1.
    """

    def measure(runs: Runs) -> PerSeed:
        run = runs[name]
        last = run.dataset.isel(step=-1)
        bound = np.log(run.config.train_count) / (np.log(run.config.train_count) - last.log_loss)
        return ((1 - own_ratio(run).isel(step=-1)) / bound).max("algorithm", skipna=False).values

    return measure


def worst_identity(runs: Runs) -> PerSeed:
    """One point: the farthest that any algorithm's own margin is from the dual norm, at any step."""
    away = np.abs(own_ratio(runs["identity"]).isel(step=slice(1, None)) - 1)
    return away.max(["algorithm", "step"], skipna=False).values


def margins(run: Run, norm: str) -> xr.DataArray:
    """Margins in one norm at the end, (algorithm, seed), relative to the largest if that is known."""
    last = run.dataset.geometric_margin.isel(step=-1).sel(norm=norm)
    largest = run.dataset.optimum.sel(norm=norm)
    # inputs may be rescaled for each algorithm: then only ratios can be compared
    return last / largest if bool(np.isfinite(largest).all()) else last


def off_diagonal(norm: str, name: str = "main"):
    """In one norm, the largest margin of the other algorithms over that of the norm's own algorithm."""

    def measure(runs: Runs) -> PerSeed:
        run = runs[name]
        column = margins(run, norm)
        mine = [a for a in column.algorithm.values.tolist() if run.config.own_norm(a) == norm]
        others = [a for a in column.algorithm.values.tolist() if a not in mine]
        largest = column.sel(algorithm=others).max("algorithm", skipna=False)
        own_margin = column.sel(algorithm=mine[0])
        return xr.where(own_margin > 0, largest / own_margin, np.inf).values

    return measure


def worst_off_diagonal(name: str, *norms: str):
    """The largest `off_diagonal` of several norms."""
    return lambda runs: np.max([off_diagonal(norm, name)(runs) for norm in norms], axis=0)


def slope(algorithm: str, name: str, first: int, last: int):
    """Exponent of t in the shortfall 1 - ratio between two steps."""

    def measure(runs: Runs) -> PerSeed:
        short = 1 - own_ratio(runs[name]).sel(algorithm=algorithm)
        ends = short.sel(step=[first, last], method="nearest")
        change = np.log(ends.isel(step=1).values / ends.isel(step=0).values)
        return change / np.log(float(ends.step[1]) / float(ends.step[0]))

    return measure


def logarithmic_growth(runs: Runs) -> PerSeed:
    """Growth of 1/(1 - ratio) of raw gradient descent in the last half decade over that in the one before.

    With (1 - ratio) = C / (log t + c) it is linear in log t, whatever C and c: the two growths are equal.
    """
    short = 1 - own_ratio(runs["raw"]).sel(algorithm="gd")
    ends = (1 / short).sel(step=[10_000, 10_000 * 10**0.5, 100_000], method="nearest")
    ends = ends.transpose("seed", "step")
    growth = (ends.diff("step") / np.log(ends.step).diff("step")).values
    return growth[:, 1] / growth[:, 0]


def logarithmic_change(runs: Runs) -> PerSeed:
    """By what share (1 - ratio) log t of raw gradient descent changes from step 10,000 to 100,000."""
    short = 1 - own_ratio(runs["raw"]).sel(algorithm="gd")
    ends = short.sel(step=[10_000, 100_000], method="nearest").transpose("seed", "step")
    product = (ends * np.log(ends.step)).values
    return np.abs(product[:, 1] / product[:, 0] - 1)


def separated(run: Run, beyond: float = 0.0) -> xr.DataArray:
    """Where log(1/L) has passed a value: (algorithm, seed, step)."""
    return -run.dataset.log_loss > beyond


def increments(run: Run, values: xr.DataArray) -> xr.DataArray:
    """Changes of the logarithm between records, from the first record on whose loss is below 1."""
    grown = np.log(values.where(separated(run))).diff("step")
    return grown


def smallest_increment(runs: Runs, name: str = "main") -> PerSeed:
    """The smallest change of the log of any algorithm's own soft margin between two records."""
    run = runs[name]
    smallest = increments(run, own(run, run.dataset.soft_margin)).min("step")
    return smallest.min("algorithm", skipna=False).values


def mismatched_decreases(runs: Runs, name: str = "main") -> PerSeed:
    """How many pairs of an algorithm and a norm not its own have a soft margin that falls at some record."""
    run = runs[name]
    falls = (increments(run, run.dataset.soft_margin) < -1e-9).any("step")
    mine = xr.concat(
        [falls.norm == run.config.own_norm(a) for a in falls.algorithm.values.tolist()], dim="algorithm"
    ).assign_coords(algorithm=falls.algorithm)
    return (falls & ~mine).sum(["algorithm", "norm"]).values.astype(float)


def final_stationarity(algorithm: str, name: str = "main"):
    """The alignment beta of parameters and steepest direction, a mean over the last `LAST_RECORDS` records.

    Steps of finite length go to and fro about the flow, and beta with them: most in coordinate descent, which
    moves one weight at a time.
    """

    def measure(runs: Runs) -> PerSeed:
        run = runs[name]
        beta = own(run, run.dataset.stationarity).sel(algorithm=algorithm)
        return beta.isel(step=slice(-LAST_RECORDS, None)).mean("step", skipna=False).values

    return measure


def enough_late_records(runs: Runs) -> str:
    """What a run lacks of records, for a mean over the last ones."""
    (run,) = runs.values()
    late = int((run.dataset.step > run.dataset.step[-1] / 2).sum())
    return "" if late >= LAST_RECORDS else f"at least {LAST_RECORDS} records in the second half, has {late}"


def enough_fitted_records(fewest: int):
    """What a run lacks of records at which each algorithm has brought the loss below 1."""

    def needs(runs: Runs) -> str:
        (run,) = runs.values()
        fitted = separated(run).sum("step").min("algorithm")
        if int(fitted.min()) >= fewest or bool((run.dataset.first_nonfinite_step >= 0).any()):
            return ""
        return f"at least {fewest} records with a loss below 1 of each algorithm, has {int(fitted.min())}"

    return needs


def where_fitted(measure, algorithm: str, name: str):
    """A measure in the seeds whose loss an algorithm has brought below 1, which the theorem starts from."""

    def fitted(runs: Runs) -> PerSeed:
        return measure(runs)[separated(runs[name]).sel(algorithm=algorithm).isel(step=-1).values]

    return fitted


def growth_surplus(*algorithms: str):
    """By how much the growth of log soft margin exceeds its lower bound, the least of some algorithms.

    The bound is the integral of L (1/beta - 1) over log of the norm, from log(1/L) = 1 on.
    """

    def measure(runs: Runs) -> PerSeed:
        surplus = _surplus(runs["fine"]).sel(algorithm=list(algorithms))
        return surplus.min("algorithm", skipna=False).values

    return measure


def _surplus(run):
    degree = 3.0 if run.config.activation == "relu_power" and run.config.power == 2 else 2.0
    after = separated(run, 1.0)
    beta = own(run, run.dataset.stationarity).where(after)
    size = np.log(own(run, run.dataset.parameter_norm)).where(after)
    soft = np.log(own(run, run.dataset.soft_margin)).where(after)
    rate = degree * (1 / beta - 1)
    middle = (rate + rate.shift(step=1)) / 2
    bound = (middle * (size - size.shift(step=1))).sum("step")
    first = soft.isel(step=soft.notnull().argmax("step"))
    return soft.isel(step=-1) - first - bound


def _adam(runs: Runs, name: str):
    run = runs[name]
    one = run.dataset.sel(algorithm="adam")
    ratio = (one.geometric_margin / one.optimum).transpose("seed", "step", "norm")
    best = ratio.sel(norm="linf").where(one.train_accuracy >= 1).argmax("step")
    return run, one, ratio, best


def adam_peak(name: str):
    """The largest linf margin of Adam on the way, over the largest possible."""

    def measure(runs: Runs) -> PerSeed:
        _, _, ratio, best = _adam(runs, name)
        return ratio.sel(norm="linf").isel(step=best).values

    return measure


def adam_peak_at(name: str):
    """log(1/eps) minus log(1/L) where Adam's linf margin is largest."""

    def measure(runs: Runs) -> PerSeed:
        run, one, _, best = _adam(runs, name)
        return np.log(1 / run.config.adam_eps) + one.log_loss.isel(step=best).values

    return measure


def adam_peak_shift(runs: Runs) -> PerSeed:
    """By how much log(1/L) at the peak moves from eps = 1e-4 to 1e-8."""
    at = []
    for name in ("adam_4", "adam_8"):
        _, one, _, best = _adam(runs, name)
        at.append(-one.log_loss.isel(step=best).values)
    return at[1] - at[0]


def adam_after(norm: str, name: str):
    """Adam's final margin in a norm minus that at the peak of its linf margin, as ratios."""

    def measure(runs: Runs) -> PerSeed:
        _, _, ratio, best = _adam(runs, name)
        return (ratio.sel(norm=norm).isel(step=-1) - ratio.sel(norm=norm).isel(step=best)).values

    return measure


def adam_final(norm: str, name: str):
    """Adam's final margin in a norm, over the largest."""
    return lambda runs: _adam(runs, name)[2].sel(norm=norm).isel(step=-1).values


def momentum_change(algorithm: str):
    """By what share of it momentum changes an algorithm's own final margin, in either direction."""

    def measure(runs: Runs) -> PerSeed:
        with_, without = (
            own(runs[name], runs[name].dataset.geometric_margin).sel(algorithm=algorithm).isel(step=-1).values
            for name in ("momentum", "plain")
        )
        return np.abs(with_ / without - 1)

    return measure


def accuracy_gap(name: str, better: str, worse: str):
    """Difference of two algorithms' test accuracies at the end."""

    def measure(runs: Runs) -> PerSeed:
        last = runs[name].dataset.test_accuracy.isel(step=-1)
        return (last.sel(algorithm=better) - last.sel(algorithm=worse)).values

    return measure


def accuracy_distance(name: str, one: str, other: str):
    """How far two algorithms' test accuracies are apart at the end, in either direction."""
    return lambda runs: np.abs(accuracy_gap(name, one, other)(runs))


def final(variable: str, algorithm: str, name: str):
    """A variable of one algorithm at the end."""
    return lambda runs: runs[name].dataset[variable].sel(algorithm=algorithm).isel(step=-1).values


def largest_of_others(variable: str, algorithm: str, name: str):
    """The largest of a variable over all algorithms but one, at the end."""

    def measure(runs: Runs) -> PerSeed:
        last = runs[name].dataset[variable].isel(step=-1)
        return last.drop_sel(algorithm=algorithm).max("algorithm", skipna=False).values

    return measure


def worst_accuracy(name: str):
    """The smallest test accuracy of all algorithms at the end."""
    return lambda runs: runs[name].dataset.test_accuracy.isel(step=-1).min("algorithm", skipna=False).values


def raw_growth(runs: Runs) -> PerSeed:
    """The least growth of an own margin from step 500 to step 2,000 of the authors' rates, over its size."""
    run = runs["authors"]
    values = own(run, run.dataset.geometric_margin).sel(step=[500, 2000], method="nearest")
    grown = (values.isel(step=1) - values.isel(step=0)) / np.abs(values.isel(step=1))
    return grown.min("algorithm", skipna=False).values


def integer_distance(runs: Runs) -> PerSeed:
    """Relative distance of sign descent's own margin from the optimum for as many neurons as are active."""
    return np.abs(own_ratio(runs["point"]).sel(algorithm="sign").isel(step=-1) - 1).values
