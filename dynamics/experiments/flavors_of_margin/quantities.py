"""The mathematics of flavors of margin's claims: quantities of a run, their laws, and where they are decided.

Quantities of one algorithm are those of a run from which it is chosen: `run.at(algorithm="gd")`. The smallest
or largest of several is NaN where one of them has diverged, which makes a claim fail.
"""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from dynamics.experiments.flavors_of_margin.setting import PRESETS, Network, Predictor
from dynamics.laws import max_margin
from dynamics.study import Law, Run, first, last, power_law, set_as

LAST_RECORDS = 20
"""Records at the end over which what chatters is averaged."""
Runs = Mapping[str, Run]


def own_norms(run: Run) -> xr.DataArray:
    """The norm that each algorithm descends in."""
    return xr.apply_ufunc(run.config.own_norm, run.algorithm, vectorize=True)


def own(run: Run, values: xr.DataArray) -> xr.DataArray:
    """Of a quantity in every norm, each algorithm's in the norm that it descends in."""
    return values.sel(norm=own_norms(run)).drop_vars("norm")


def own_ratio(run: Run) -> xr.DataArray:
    """The own margin over the largest that the model can have, at every step."""
    return own(run, run.geometric_margin) / own(run, run.optimum)


def final_ratio(run: Run) -> xr.DataArray:
    """The own margin over the largest that the model can have, at the end."""
    return last(own_ratio(run))


def largest_error(run: Run) -> xr.DataArray:
    """By how much the own margin is off the largest one, at the worst record after the start."""
    return np.abs(own_ratio(run).isel(step=slice(1, None)) - 1).max(("algorithm", "step"), skipna=False)


def largest_over_optimum(*norms: str):
    """The largest of the own margins at the end over the largest possible in `norms`, one an algorithm."""

    def largest(run: Run) -> xr.DataArray:
        named = xr.DataArray(list(norms), {"algorithm": run.algorithm}, "algorithm")
        optimum = run.optimum.sel(norm=named).drop_vars("norm")
        return (last(own(run, run.geometric_margin)) / optimum).max("algorithm", skipna=False)

    return largest


def predictor_ratio(norm: str):
    """Margin of the final linear predictor in a norm, as one vector of weights, over the largest one."""
    order = {"l1": 1, "l2": 2, "linf": np.inf}[norm]

    def ratio(rows, w):
        return (rows @ w).min() / np.linalg.norm(w, order) / max_margin.linear(rows, norm)[0]

    dims = [["sample", "dim"], ["dim"]]
    return lambda run: xr.apply_ufunc(
        ratio, run.signed_inputs, run.linear_predictor, input_core_dims=dims, vectorize=True
    )


def shortfall_over_bound(run: Run) -> xr.DataArray:
    r"""The largest of the algorithms' shortfalls 1 - ratio over log n / (log(1/L) + log n), at the end.

    Steepest flow from 0 has log(1/L) + log n >= g |w|, as |grad log L|_* >= g: so it is at most 1.
    """
    log_n = np.log(run.config.train_count)
    bound = log_n / (log_n - last(run.log_loss))
    return ((1 - final_ratio(run)) / bound).max("algorithm", skipna=False)


def off_diagonal(*norms: str):
    """The largest margin of other algorithms over that of the norm's own one, of all of some norms."""

    def largest(run: Run) -> xr.DataArray:
        run = run.at(norm=list(norms))
        # inputs may be rescaled for each algorithm: then only ratios, to what is known, can be compared
        known = np.isfinite(run.optimum).all(("algorithm", "seed"))
        margins = last(run.geometric_margin) / run.optimum.where(known, 1)
        is_own = own_norms(run) == run.norm
        mine = margins.where(is_own).max("algorithm")
        others = margins.where(~is_own, -np.inf).max("algorithm", skipna=False)
        return xr.where(mine > 0, others / mine, np.inf).max("norm", skipna=False)

    return largest


def rate(early: int, late: int):
    """Exponent of t in the shortfall 1 - ratio between two steps."""

    def exponent(run: Run) -> xr.DataArray:
        short = (1 - own_ratio(run)).sel(step=[early, late], method="nearest")
        return power_law(short.step, short, "step")

    return exponent


def logarithmic_growth(run: Run) -> xr.DataArray:
    """Growth of 1/(1 - ratio) in the half decade up to step 100,000 over that in the one before.

    With (1 - ratio) = C / (log t + c) it is linear in log t, whatever C and c: the two growths are equal.
    """
    inverse = (1 / (1 - own_ratio(run))).sel(step=[10_000, 10_000 * 10**0.5, 100_000], method="nearest")
    growth = inverse.diff("step") / np.log(inverse.step).diff("step")
    return last(growth) / first(growth)


def logarithmic_change(run: Run) -> xr.DataArray:
    """By what share (1 - ratio) log t changes from step 10,000 to 100,000."""
    short = (1 - own_ratio(run)).sel(step=[10_000, 100_000], method="nearest")
    product = short * np.log(short.step)
    return np.abs(last(product) / first(product) - 1)


def separated(run: Run, beyond: float = 0.0) -> xr.DataArray:
    """Where log(1/L) has passed a value."""
    return -run.log_loss > beyond


def increments(run: Run, values: xr.DataArray) -> xr.DataArray:
    """Changes of the logarithm between records, from the first record on whose loss is below 1."""
    return np.log(values.where(separated(run))).diff("step")


def smallest_increment(run: Run) -> xr.DataArray:
    """The smallest change of the log of any algorithm's own soft margin between two records."""
    return increments(run, own(run, run.soft_margin)).min("step").min("algorithm", skipna=False)


def mismatched_decreases(run: Run) -> xr.DataArray:
    """How many pairs of an algorithm and a norm not its own have a soft margin that falls at some record."""
    falls = (increments(run, run.soft_margin) < -1e-9).any("step")
    return (falls & (falls.norm != own_norms(run))).sum(("algorithm", "norm"))


def final_stationarity(run: Run) -> xr.DataArray:
    """The alignment beta of parameters and steepest direction, a mean over the last `LAST_RECORDS` records.

    Steps of finite length go to and fro about the flow, and beta with them: most in coordinate descent, which
    moves one weight at a time.
    """
    return own(run, run.stationarity).isel(step=slice(-LAST_RECORDS, None)).mean("step", skipna=False)


def enough_late_records(run: Run) -> str:
    """What a run lacks of records, for a mean over the last ones."""
    late = int((run.step > run.step[-1] / 2).sum())
    return "" if late >= LAST_RECORDS else f"at least {LAST_RECORDS} records in the second half, has {late}"


def enough_fitted_records(fewest: int):
    """What a run lacks of records at which each algorithm has brought the loss below 1."""

    def needs(run: Run) -> str:
        fitted = int(separated(run).sum("step").min())
        if fitted >= fewest or bool((run.first_nonfinite_step >= 0).any()):
            return ""
        return f"at least {fewest} records with a loss below 1 of each algorithm, has {fitted}"

    return needs


def growth_surplus(run: Run) -> xr.DataArray:
    """By how much the growth of log soft margin exceeds its lower bound, the least of the algorithms.

    The bound is the integral of L (1/beta - 1) over log of the norm, from log(1/L) = 1 on.
    """
    after = separated(run, 1.0)
    beta, size, soft = (
        own(run, values).where(after) for values in (run.stationarity, run.parameter_norm, run.soft_margin)
    )
    rate = run.config.network().degree * (1 / beta - 1)
    bound = ((rate + rate.shift(step=1)) / 2 * np.log(size / size.shift(step=1))).sum("step")
    start = soft.isel(step=soft.notnull().argmax("step"), drop=True)
    return (np.log(last(soft) / start) - bound).min("algorithm", skipna=False)


def of_largest(run: Run, norm: str) -> xr.DataArray:
    """The margin in a norm over the largest possible, at every step."""
    return (run.geometric_margin / run.optimum).sel(norm=norm, drop=True)


def at_peak(run: Run, values: xr.DataArray) -> xr.DataArray:
    """Values at the record of the largest linf margin of fitted data."""
    best = of_largest(run, "linf").where(run.train_accuracy >= 1).argmax("step")
    return values.isel(step=best).drop_vars("step")


def after_peak(run: Run, values: xr.DataArray) -> xr.DataArray:
    """By how much values change from there to the end."""
    return last(values) - at_peak(run, values)


def momentum_change(runs: Runs) -> xr.DataArray:
    """By what share momentum changes the own final margin, in either direction."""
    with_, without = (last(own(run, run.geometric_margin)) for run in runs.values())
    return np.abs(with_ / without - 1)


def accuracy_gap(run: Run, better: str, worse: str) -> xr.DataArray:
    """Difference of two algorithms' test accuracies at the end."""
    return last(run.test_accuracy.sel(algorithm=better) - run.test_accuracy.sel(algorithm=worse))


def raw_growth(run: Run) -> xr.DataArray:
    """The least growth of an own margin from step 500 to step 2,000 of the authors' rates, over its size."""
    margin = own(run, run.geometric_margin).sel(step=[500, 2000], method="nearest")
    return ((last(margin) - first(margin)) / np.abs(last(margin))).min("algorithm", skipna=False)


def _on_predictor(config) -> bool:
    return isinstance(config, Predictor) and config.model == "linear"


def _steps_of_rate(config) -> bool | str:
    if not _on_predictor(config):
        return "the rate is that of linear predictors"
    known = config.step_rule == ("loss_adaptive",) and config.decay in (0, 0.5)
    return known or "the rate is that of loss-adaptive steps, constant or decaying as 1/sqrt(t)"


def _raw_steps(config) -> bool | str:
    raw = _on_predictor(config) and config.step_rule == ("raw",) and not config.decay
    return raw or "the rate is that of raw steps of linear predictors"


RATE = Law(
    "rate",
    "exponent of $t$ in 1 - own margin / largest possible",
    rate(10_000, 100_000),
    theory=lambda config: -0.5 if config.decay else -1.0,
    domain=_steps_of_rate,
)
LOGARITHM = Law(
    "logarithm",
    r"growth of 1 / (1 - own margin / largest possible) in $\log t$, late over early",
    logarithmic_growth,
    theory=lambda config: 1.0,
    domain=_raw_steps,
)
SWITCH = Law(
    "switch",
    r"$\log(1/\mathcal{L})$ where Adam's $\ell_\infty$ margin is largest",
    lambda run: -at_peak(run, run.log_loss),
    theory=lambda config: float(np.log(1 / config.adam_eps)),
    domain=lambda config: config.objective == "loss" or "the logarithm's gradients do not fall below eps",
    recorded=lambda config: "adam" in config.algorithms,
)


def on_trajectories(config) -> bool:
    """Whether a run is the setting of the trajectories: a smooth network followed closely, for long."""
    if not isinstance(config, Network):
        return False
    return (
        config.data == "relu_teacher"
        and config.activation == "relu_power"
        and config.step_rule == ("log_decrease",)
        and config.learning_rate[0] <= 0.05
        and config.learning_rate[0] * config.steps >= 400  # by so much log L falls
        and config.float64
        and not config.momentum
        and config.steps >= 10_000
        and set(config.algorithms) == {"gd", "sign", "coordinate", "spectral"}
    )


def as_measured(config) -> bool:
    """Whether a run is that of the prototype, from whose few seeds bands are."""
    free = ("algorithms", "norms", "records", "spacing", "num_test", "certificate")
    return on_trajectories(config) and set_as(config, PRESETS["small"], *free)
