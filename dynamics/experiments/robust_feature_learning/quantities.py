"""The mathematics of robust feature learning's claims: quantities of a run, and where they are decided."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from dynamics.experiments.robust_feature_learning.setting import Patches
from dynamics.study import Run, first, first_step, last
from dynamics.study.quantities import exponent_over, stacked

Runs = Mapping[str, Run]
FEWEST_CLASSES = 60  # that a share of predicted winners is taken of
CLEAR = 1.3  # times as strong: a side that the start decides for


def sides(strength: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Strengths of the robust and of the non-robust features, by class."""
    k = strength.sizes["feature"] // 2
    parts = (strength.isel(feature=slice(0, k)), strength.isel(feature=slice(k, None)))
    return tuple(part.rename(feature="class").drop_vars("class", errors="ignore") for part in parts)


def only(run: Run, **at: float) -> Run:
    """The one network that a run trained, or one of those at several radii."""
    return Run(run.config, run.dataset.isel(training=0, drop=True).sel(at, drop=True))


def robust(run) -> xr.DataArray:
    """Strength of each class's robust feature at the end."""
    return sides(last(run.strength))[0]


def nonrobust(run) -> xr.DataArray:
    """Strength of each class's non-robust feature at the end."""
    return sides(last(run.strength))[1]


def robust_share(run) -> xr.DataArray:
    """Share of classes whose robust feature ends as the stronger one."""
    return (robust(run) > nonrobust(run)).mean("class")


def nonrobust_share(run) -> xr.DataArray:
    """Share of classes whose non-robust feature ends as the stronger one."""
    return (nonrobust(run) > robust(run)).mean("class")


def start_ratio(run: Run, radius: float = 0.0) -> xr.DataArray:
    """The ratio of the sides' early growth by class: above 1 the start decides for the robust feature."""
    return xr.apply_ufunc(lambda u, v: run.config.sizes.side_ratio(u, v, radius), *sides(first(run.strength)))


def frozen_error(run: Run) -> xr.DataArray:
    """Largest distance of a losing robust feature from where the recursion freezes it."""
    sizes = run.config.sizes
    rates = sizes.robust_rate() / sizes.nonrobust_rate()
    law = xr.apply_ufunc(lambda u, v: sizes.frozen(u, v, rates), *sides(first(run.strength)))
    # where the sides are close the loser is nearly a winner, and its law diverges
    lost = (nonrobust(run) > robust(run)) & (start_ratio(run) < 0.5)
    return np.abs(robust(run) - law).where(lost, 0).max("class", skipna=False)


def lottery_score(runs: Runs) -> xr.DataArray:
    """Share of decided classes (one side `CLEAR` times the other) whose winner the initial weights predict.

    NaN where the seeds together have too few of them.
    """
    right, decided = _lottery(runs)
    return (right / decided).where(decided.sum() >= FEWEST_CLASSES)


def enough_decided(runs: Runs) -> str:
    """What the seeds together lack of decided classes."""
    count = int(_lottery(runs)[1].sum())
    if count >= FEWEST_CLASSES:
        return ""
    return f"at least {FEWEST_CLASSES} decided classes (--seeds), has {count}"


def _lottery(runs: Runs) -> tuple[xr.DataArray, xr.DataArray]:
    """How many classes of each seed were predicted, and how many were decided."""
    right, decided = 0, 0
    for run in runs.values():
        config = run.config
        for radius in config.radii or (config.radius if config.training == "adversarial" else 0.0,):
            chosen = only(run, **({"train_radius": radius} if config.radii else {}))
            ratio = start_ratio(chosen, radius)
            clear = (ratio > CLEAR) | (ratio < 1 / CLEAR)
            predicted = clear & ((robust(chosen) > nonrobust(chosen)) == (ratio > 1))
            right, decided = right + predicted.sum("class"), decided + clear.sum("class")
    return right, decided


def recursion_error(runs: Runs) -> xr.DataArray:
    """Largest relative error of any neuron's own projections, until one of them reaches 0.1 rho/beta."""
    return stacked({name: _recursion_error(only(run)) for name, run in runs.items()}).max("run")


def _recursion_error(run: Run) -> xr.DataArray:
    config = run.config
    own = run.own > 0.5
    k = config.num_classes
    rates = np.repeat([config.sizes.robust_rate(), config.sizes.nonrobust_rate()], k)
    start = first(run.projection).transpose("seed", "neuron", "feature")
    grown = config.sizes.growth(start.values, rates[None, None], int(run.step.max()))[run.step.values]
    law = xr.DataArray(grown, dims=("step", "seed", "neuron", "feature"), coords={"step": run.step})
    largest = run.projection.where(own).max(("neuron", "feature"))
    early = largest <= 0.1 * config.threshold / config.nonrobust_strength
    error = np.abs(run.projection / law - 1).where(own & early, 0)
    return error.max(("step", "neuron", "feature"), skipna=False)


def tie_score(run) -> xr.DataArray:
    """Share of classes that the feature with the larger initial projection wins."""
    u, v = sides(first(run.strength))
    return ((robust(run) > nonrobust(run)) == (u > v)).mean("class")


def mean_ratio(run) -> xr.DataArray:
    """Mean strength of robust features over that of non-robust ones."""
    return robust(run).mean("class") / nonrobust(run).mean("class")


def sparse_ratio(run: Run) -> xr.DataArray:
    """The same, over the classes that the initial weights clearly give to the robust feature."""
    given = start_ratio(run) > CLEAR
    return robust(run).where(given, 0).sum("class") / nonrobust(run).where(given, 0).sum("class")


def dense_ratio(run: Run) -> xr.DataArray:
    """Its inverse, over the classes that they clearly give to the non-robust feature."""
    given = start_ratio(run) < 1 / CLEAR
    return nonrobust(run).where(given, 0).sum("class") / robust(run).where(given, 0).sum("class")


def identity_error(runs: Runs) -> xr.DataArray:
    """Largest relative difference of the final weights of two runs."""
    one, other = (only(run).weights for run in runs.values())
    return np.abs(one - other).max(("neuron", "dim")) / np.abs(other).max(("neuron", "dim"))


def threshold_error(curve: str, law):
    """How far from the law's radius an accuracy is neither 1 below it nor 0 above it."""

    def error(run: Run) -> xr.DataArray:
        accuracy, exact = run[curve], law(run.config.sizes)
        first_error = accuracy.radius.where(accuracy < 1).min("radius")
        last_success = accuracy.radius.where(accuracy > 0).max("radius")
        return np.maximum(np.abs(first_error - exact), np.abs(last_success - exact))

    return error


# the power of alpha - radius in the step at which u reaches 0.2
escape_exponent = exponent_over(
    lambda config: config.robust_strength - config.radius,
    lambda run: first_step(sides(run.strength)[0].max("class") >= 0.2),
)


def on_patches(training: str):
    """Whether a run is the standard, or the adversarial, training of the acceptance table."""
    adversarial = training == "adversarial"

    def applies(config) -> bool:
        if not isinstance(config, Patches) or not config.follows_recursion:
            return False
        random = config.start == "random" and config.training in (training, "both")
        attack = config.attack != "gradient" and config.span == "features" and config.norm == "max-l2"
        if not (random and attack and not config.radii and config.adversarial_weight == 1):
            return False
        # among many classes a single step goes mostly along other classes' features, and overfits
        if adversarial and config.attack == "one_step" and config.num_classes > 4:
            return False
        sizes, radius = config.sizes, config.radius
        dense = sizes.nonrobust_rate() > 3 * sizes.robust_rate() > 0
        strong = sizes.nonrobust_rate(radius) == 0 and radius < config.robust_strength / 2**0.5
        if not dense or (adversarial and not strong):
            return False
        rate = sizes.robust_rate(radius) if adversarial else sizes.nonrobust_rate()
        start = config.init_scale * sizes.slowest_start(config.width, 0.03)
        grown = config.steps > 1.1 * sizes.escape_time(start, rate)
        decided = adversarial or config.num_classes * sizes.robust_odds(config.width) < 0.05
        return grown and decided and _is_small(config, adversarial)

    return applies


def _is_small(config, adversarial: bool) -> bool:
    """Whether the start is far below the knee, and the noise of all patches far below the feature."""
    q = config.power
    largest = config.init_scale * (2 * np.log(max(config.width, 2))) ** 0.5
    if adversarial:
        feature = config.num_robust * (config.robust_strength - config.radius) ** q
    else:
        feature = config.num_nonrobust * config.nonrobust_strength**q
    noise = (config.num_robust + config.num_nonrobust) * config.noise**q
    return bool(largest < 0.25 * config.threshold and noise < 0.1 * feature)
