"""What the claims of the NTK's eigenfeatures measure: one number a seed."""

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float
from scipy import stats

from dynamics.study.old import Run

Runs = Mapping[str, Run]
PerSeed = Float[np.ndarray, " seeds"]
Measure = Callable[[Runs], PerSeed]

FLIP_RADII = {4: 0.61952, 8: 0.49121, 16: 0.37211, 32: 0.27468, 64: 0.19959}
"""Flip radius of k clusters in units of the square root of the dimension, by an independent solution."""
TAIL = 20


def of(name: str, run: str, **chosen) -> Measure:
    """A recorded number at some coordinates."""
    return lambda runs: runs[run].dataset[name].sel(**chosen).values


def full(name: str, run: str) -> Measure:
    """A recorded number with all features kept."""
    return lambda runs: runs[run].dataset[name].isel(kept=-1).values


def peak(run: str, kept: int, fewer: int) -> Measure:
    """By how much `kept` features keep more under attack than `fewer` of them do, or than all, if less."""

    def measure(runs):
        robust = runs[run].dataset.kept_robust
        rise = robust.sel(kept=kept) - robust.sel(kept=fewer)
        fall = robust.sel(kept=kept) - robust.isel(kept=-1)
        return np.minimum(rise, fall).values

    return measure


def peak_time(run: str) -> Measure:
    """How many decades the time of the largest robust accuracy is from 1 / lambda_2."""

    def measure(runs: Runs) -> PerSeed:
        dataset = runs[run].dataset
        values = dataset.eigenvalues.transpose("seed", "mode").values
        when = dataset.time.values[dataset.time_robust.transpose("seed", "time").values.argmax(axis=1)]
        return np.abs(np.log10(when * values[:, 1] / values[:, 0]))

    return measure


def constant_feature(runs: Runs) -> PerSeed:
    """How far the top feature's usefulness and robustness differ."""
    dataset = runs["features"].dataset
    return np.abs(dataset.usefulness.sel(mode=0) - dataset.robustness.sel(feature=0)).values


def useful_nonrobust(runs: Runs) -> PerSeed:
    """Largest usefulness among features 3 to 5 whose robustness is at most 0.1."""
    dataset = runs["features"].dataset
    gamma = dataset.robustness.sel(feature=[3, 4, 5]).values
    rho = dataset.usefulness.sel(mode=[3, 4, 5]).values
    return np.where(gamma <= 0.1, rho, 0).max(axis=1)


def deepest(runs: Runs) -> PerSeed:
    """Largest robustness of the features from 6 on."""
    gamma = runs["features"].dataset.robustness
    return gamma.where(gamma.feature >= 6, drop=True).max("feature").values


def rank_correlation(run: str) -> Measure:
    """Spearman's correlation of a feature's rank and its robustness."""

    def measure(runs: Runs) -> PerSeed:
        gamma = runs[run].dataset.robustness
        return np.array([stats.spearmanr(gamma.feature.values, row).statistic for row in gamma.values])

    return measure


def full_gain(run: str) -> Measure:
    """Clean accuracy that the features below the second add."""
    return lambda runs: (
        (runs[run].dataset.kept_clean.isel(kept=-1) - runs[run].dataset.kept_clean.sel(kept=2)).values
    )


def nonrobust_gain(runs: Runs) -> PerSeed:
    """By how much the non-robust block's signal changes that gain."""
    return full_gain("features")(runs) - full_gain("no_signal")(runs)


def chance_excess(low: float, high: float) -> Measure:
    """How far out of a range the usefulness of the first 60 features gets; below 0 if all are inside."""

    def measure(runs: Runs) -> PerSeed:
        rho = runs["random_labels"].dataset.usefulness.isel(mode=slice(0, 60))
        return np.maximum(low - rho.min("mode"), rho.max("mode") - high).values

    return measure


def network_distance(runs: Runs) -> PerSeed:
    """Largest distance over time of the network's robust accuracy from the kernel's."""
    dataset = runs["networks"].dataset
    return np.abs(dataset.net_robust - dataset.time_robust).max("time").values


def gradient_slope(run: str) -> Measure:
    """Slope of log(1 - gradient cosine) in log width."""

    def measure(runs: Runs) -> PerSeed:
        dataset = runs[run].dataset
        widths = np.log(dataset.width.values)
        return np.array([np.polyfit(widths, np.log(1 - row), 1)[0] for row in dataset.gradient_cosine.values])

    return measure


def wide(run: str, radius: float, least: int) -> Callable[[Runs], xr.DataArray]:
    def chosen(runs: Runs) -> xr.DataArray:
        found = runs[run].dataset.attacked_accuracy.sel(radius=radius)
        return found.where(found.width >= least, drop=True)

    return chosen


def transfer_gap(run: str) -> Measure:
    """Largest distance, over widths from 256 on, of the accuracies under kernel and white-box attack."""

    def measure(runs: Runs) -> PerSeed:
        found = wide(run, 0.05, 256)(runs)
        return np.abs(found.sel(attack="kernel") - found.sel(attack="white_box")).max("width").values

    return measure


def better_than_networks(run: str) -> Measure:
    """Accuracy under another network's attack less that under the kernel's, at width 1024."""

    def measure(runs: Runs) -> PerSeed:
        found = runs[run].dataset.attacked_accuracy.sel(radius=0.1, width=1024)
        return (found.sel(attack="other_network") - found.sel(attack="kernel")).values

    return measure


def random_signs(run: str) -> Measure:
    """Accuracy under random signs at width 1024."""
    return of("attacked_accuracy", run, radius=0.1, width=1024, attack="random_signs")


def tail(dataset: xr.Dataset, name: str, training: str) -> xr.DataArray:
    """Share of the squared eigenvalues below the 20 largest, at every time."""
    kernel = dataset[name].sel(training=training)
    squares = np.sort(np.linalg.eigvalsh(kernel.values.astype(float)) ** 2, axis=-1)[..., ::-1]
    share = squares[..., TAIL:].sum(-1) / squares.sum(-1)
    return xr.DataArray(share, coords={"seed": kernel.seed, "step": kernel.step}, dims=("seed", "step"))


def tail_ratio(run: str, first: str, second: str, points: str = "kernel_attacked") -> Measure:
    """Ratio of two trainings' tails; `start` is standard training's at step 0."""

    def share(dataset, training):
        when = 0 if training == "start" else -1
        return tail(dataset, points, "standard" if training == "start" else training).isel(step=when).values

    return lambda runs: share(runs[run].dataset, first) / share(runs[run].dataset, second)


def flip_error(run: str) -> Measure:
    """Largest distance of the flip radii from their values."""

    def measure(runs: Runs) -> PerSeed:
        dataset = runs[run].dataset
        known = [FLIP_RADII.get(int(k), np.nan) for k in dataset.num_clusters.values]
        exact = xr.DataArray(known, dims="num_clusters", coords={"num_clusters": dataset.num_clusters})
        return np.abs(dataset.flip_radius - exact).max("num_clusters").values

    return measure


def spectrum_error(runs: Runs) -> PerSeed:
    """Relative distance of the centres' eigenvalues, over their mean, from 1 + (k - 1)/2pi and 1 - 1/2pi."""
    dataset = runs["clusters"].dataset
    errors = []
    for k in dataset.num_clusters.values:
        values = dataset.centre_eigenvalues.sel(num_clusters=k).isel(mode=slice(0, int(k))).values
        rest = 1 - 1 / (2 * np.pi)
        exact = np.array([rest + k / (2 * np.pi), *[rest] * (int(k) - 1)])
        errors.append(np.abs(values / values.mean(axis=1, keepdims=True) / exact[None] - 1).max(axis=1))
    return np.max(errors, axis=0)


def flip_exponent(run: str) -> Measure:
    """Local exponent of the flip radius in k, between the two largest k."""

    def measure(runs: Runs) -> PerSeed:
        radii = runs[run].dataset.flip_radius.isel(num_clusters=[-2, -1])
        slope = np.log(radii).diff("num_clusters") / np.log(radii.num_clusters.astype(float)).diff(
            "num_clusters"
        )
        return slope.isel(num_clusters=0).values

    return measure


def deep_robustness(low: int, high: int) -> Measure:
    """Mean robustness of some features of images."""
    return lambda runs: runs["mnist"].dataset.robustness.sel(feature=slice(low, high)).mean("feature").values


def agreement(other: str, start: int, stop: int | None) -> Measure:
    """Mean |cos| of features of the same rank."""
    return lambda runs: (
        runs["mnist"].dataset.agreement.sel(other=other).isel(mode=slice(start, stop)).mean("mode").values
    )
