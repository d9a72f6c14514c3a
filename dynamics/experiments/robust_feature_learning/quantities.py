"""What the claims of robust feature learning measure, accept, and apply to."""

from collections.abc import Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float

from dynamics.study.claim import Run

Runs = Mapping[str, Run]
PerSeed = Float[np.ndarray, " seeds"]

LOTTERY_RUNS = ("lottery_37", "lottery_74", "lottery_148", "lottery_oracle")
RECURSION_RUNS = ("recursion_3", "recursion_4")
SLOW_RUNS = ("slow_2", "slow_4", "slow_6")
FEWEST_CLASSES = 60  # that a share of predicted winners is taken of


def arm(run: Run, training: str) -> xr.Dataset:
    """The network of one kind of training."""
    return run.dataset.sel(training=training)


def sides(strength: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Strengths of the robust and of the non-robust features, by class."""
    k = strength.sizes["feature"] // 2
    parts = (strength.isel(feature=slice(0, k)), strength.isel(feature=slice(k, None)))
    return tuple(part.rename(feature="class").drop_vars("class", errors="ignore") for part in parts)


def only(run: Run) -> xr.Dataset:
    """The one network that the run trained."""
    return run.dataset.isel(training=0)


def at_end(name: str, training: str, run: str):
    """A recorded number at the last step."""
    return lambda runs: arm(runs[run], training)[name].isel(step=-1).values


def end_sides(dataset: xr.Dataset) -> tuple[xr.DataArray, xr.DataArray]:
    return sides(dataset.strength.isel(step=-1))


def nonrobust_share(training: str, run: str):
    """Share of classes whose non-robust feature is the stronger one."""

    def measure(runs: Runs) -> PerSeed:
        u, v = end_sides(arm(runs[run], training))
        return (v > u).mean("class").values

    return measure


def extreme(side: str, reduce: str, training: str, run: str):
    """Smallest or largest strength over classes of the robust (u) or non-robust (v) feature."""

    def measure(runs: Runs) -> PerSeed:
        values = dict(zip("uv", end_sides(arm(runs[run], training)), strict=True))[side]
        return getattr(values, reduce)("class").values

    return measure


def frozen_error(runs: Runs) -> PerSeed:
    """Largest distance of a losing robust feature from where the recursion freezes it."""
    run = runs["standard"]
    dataset, sizes = arm(run, "standard"), run.config.sizes
    u0, v0 = sides(dataset.strength.isel(step=0))
    u, v = end_sides(dataset)
    law = sizes.frozen(u0.values, v0.values, sizes.robust_rate() / sizes.nonrobust_rate())
    # where the sides are close the loser is nearly a winner, and its law diverges
    lost = (v > u).values & (sizes.side_ratio(u0.values, v0.values) < 0.5)
    return np.where(lost, np.abs(u.values - law), 0).max(axis=1)


def lottery_score(runs: Runs) -> PerSeed:
    """Share of decided classes (one side 1.3 times the other) whose winner the initial weights predict.

    NaN where the seeds together have fewer than 60 of them.
    """
    right, decided = _lottery(runs)
    return right / decided if np.sum(decided) >= FEWEST_CLASSES else np.full(len(decided), np.nan)


def enough_decided(runs: Runs) -> str:
    """What the seeds together lack of decided classes."""
    count = int(np.sum(_lottery(runs)[1]))
    return (
        "" if count >= FEWEST_CLASSES else f"at least {FEWEST_CLASSES} decided classes (--seeds), has {count}"
    )


def _lottery(runs):
    """How many classes of each seed were predicted, and how many were decided."""
    right, decided = 0, 0
    for run in runs.values():
        config, dataset = run.config, only(run)
        radii = config.radii or (config.radius if config.training == "adversarial" else 0.0,)
        for radius in radii:
            chosen = dataset.sel(train_radius=radius) if config.radii else dataset
            u0, v0 = sides(chosen.strength.isel(step=0))
            u, v = end_sides(chosen)
            ratio = config.sizes.side_ratio(u0.values, v0.values, radius)
            clear = (ratio > 1.3) | (ratio < 1 / 1.3)
            right = right + np.sum(clear & ((u > v).values == (ratio > 1)), axis=1)
            decided = decided + np.sum(clear, axis=1)
    return right, decided


def recursion_error(runs: Runs) -> PerSeed:
    """Largest relative error of any neuron's own projections, until one of them reaches 0.1 rho/beta."""
    worst = []
    for run in runs.values():
        config, dataset = run.config, only(run)
        own = dataset.own.values > 0.5
        start = dataset.projection.isel(step=0).values
        k = config.num_classes
        rates = np.repeat([config.sizes.robust_rate(), config.sizes.nonrobust_rate()], k)
        law = config.sizes.growth(start, rates[None, None], int(dataset.step.max()))[dataset.step.values]
        seen = dataset.projection.transpose("step", "seed", "neuron", "feature").values
        largest = np.where(own[None], seen, -np.inf).max(axis=(2, 3))
        early = largest <= 0.1 * config.threshold / config.nonrobust_strength
        with np.errstate(invalid="ignore", divide="ignore"):
            error = np.abs(seen / law - 1)
        counted = own[None] & early[:, :, None, None]
        worst.append(np.where(counted, error, 0).max(axis=(0, 2, 3)))
    return np.max(worst, axis=0)


def robust_share(run: str, radius: float | None = None):
    """Share of classes whose robust feature is the stronger one, at one training radius."""

    def measure(runs: Runs) -> PerSeed:
        dataset = only(runs[run])
        chosen = dataset if radius is None else dataset.sel(train_radius=radius)
        u, v = end_sides(chosen)
        return (u > v).mean("class").values

    return measure


def tie_score(run: str):
    """Share of classes that the feature with the larger initial projection wins."""

    def measure(runs: Runs) -> PerSeed:
        dataset = only(runs[run])
        u0, v0 = sides(dataset.strength.isel(step=0))
        u, v = end_sides(dataset)
        return ((u > v) == (u0 > v0)).mean("class").values

    return measure


def mean_ratio(run: str):
    """Mean strength of robust features over that of non-robust ones."""

    def measure(runs: Runs) -> PerSeed:
        u, v = (side.mean("class").values for side in end_sides(only(runs[run])))
        return u / v

    return measure


def density_ratio(run: str, winner: str):
    """The same, or its inverse, over the classes that the initial weights give to the winner by 1.3."""

    def measure(runs: Runs) -> PerSeed:
        dataset = only(runs[run])
        u0, v0 = sides(dataset.strength.isel(step=0))
        ratio = runs[run].config.sizes.side_ratio(u0.values, v0.values)
        given = ratio > 1.3 if winner == "u" else ratio < 1 / 1.3
        u, v = (np.where(given, side, 0).sum(axis=1) for side in end_sides(dataset))
        return u / v if winner == "u" else v / u

    return measure


def identity_error(runs: Runs) -> PerSeed:
    """Largest relative difference of final weights under the oracle attack and on shrunk data."""
    one, other = (only(runs[name]).weights for name in ("oracle", "shrunk"))
    size = np.abs(other).max(["neuron", "dim"])
    return (np.abs(one - other).max(["neuron", "dim"]) / size).values


def threshold_error(run: str, curve: str, law):
    """How far from the exact radius accuracy is neither 1 below it nor 0 above it."""

    def measure(runs: Runs) -> PerSeed:
        config, accuracy = runs[run].config, only(runs[run])[curve]
        first_error = accuracy.radius.where(accuracy < 1).min("radius")
        last_success = accuracy.radius.where(accuracy > 0).max("radius")
        exact = law(config)
        return np.maximum(np.abs(first_error - exact), np.abs(last_success - exact)).values

    return measure


def escape_exponent(runs: Runs) -> PerSeed:
    """Slope of the log of the step at which u reaches 0.2 against log(alpha - radius)."""
    gaps, times = [], []
    for run in runs.values():
        u, _ = sides(only(run).strength)
        reached = u.step.where(u.max("class") >= 0.2).min("step")
        gaps.append(run.config.robust_strength - run.config.radius)
        times.append(reached.values)
    return np.polyfit(np.log(gaps), np.log(times), 1)[0]


def at_steps(run: str, training: str, measure, reduce: str, steps: tuple[int, ...] = (500, 1500)):
    """A number of an image run at these steps: its smallest or largest.

    Raises: ValueError: a run that does not record all of them.
    """

    def measured(runs: Runs) -> PerSeed:
        dataset = arm(runs[run], training)
        recorded = dataset.step.values.tolist()
        if not set(steps) <= set(recorded):
            raise ValueError(f"{run} must record the steps {steps}, and records {recorded}")
        return getattr(measure(dataset.sel(step=list(steps))), reduce)("step").values

    return measured


def on_patches(training: str, adversarial: bool):
    """Whether a run is the standard, or the adversarial, training of the acceptance table."""

    def applies(config) -> bool:
        sizes = config.sizes
        setting = (
            config.follows_recursion
            and config.start == "random"
            and not config.radii
            and config.adversarial_weight == 1
            and config.attack != "gradient"
            and config.span == "features"
            and config.norm == "max-l2"
            and config.training in (training, "both")
        )
        if not setting:
            return False
        # among many classes a single step goes mostly along other classes' features, and overfits
        if adversarial and config.attack == "one_step" and config.num_classes > 4:
            return False
        dense = sizes.nonrobust_rate() > 3 * sizes.robust_rate() > 0
        strong = sizes.nonrobust_rate(config.radius) == 0 and config.radius < config.robust_strength / 2**0.5
        if not dense or (adversarial and not strong):
            return False
        rate = sizes.robust_rate(config.radius) if adversarial else sizes.nonrobust_rate()
        start = config.init_scale * sizes.slowest_start(config.width, 0.03)
        grown = config.steps > 1.1 * sizes.escape_time(start, rate)
        decided = adversarial or config.num_classes * sizes.robust_odds(config.width) < 0.05
        return grown and decided and _is_small(config, adversarial)

    return applies


def _is_small(config, adversarial: bool) -> bool:
    """Whether the start is far below the knee, and the noise of all patches far below the feature."""
    sizes, q = config.sizes, config.power
    largest = config.init_scale * (2 * np.log(max(config.width, 2))) ** 0.5
    feature = (
        sizes.num_robust * (sizes.robust_strength - config.radius) ** q
        if adversarial
        else sizes.num_nonrobust * sizes.nonrobust_strength**q
    )
    noise = (sizes.num_robust + sizes.num_nonrobust) * config.noise**q
    return bool(largest < 0.25 * config.threshold and noise < 0.1 * feature)
