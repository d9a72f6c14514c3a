"""The mathematics of the eigenfeatures' claims: quantities of a run, and the laws that two of them follow."""

import numpy as np
import xarray as xr

from dynamics.experiments.ntk_eigenfeatures.setting import Centres, Spectrum, Width
from dynamics.study import Law, Run, first, last, power_law
from dynamics.study.quantities import rank_correlation

FLIP_RADII = xr.DataArray(
    [0.61952, 0.49121, 0.37211, 0.27468, 0.19959], coords={"num_clusters": [4, 8, 16, 32, 64]}
)
"""Flip radius of k clusters in units of the square root of the dimension, by an independent solution."""
TAIL = 20


def useful(run) -> xr.DataArray:
    """Usefulness of the features whose robustness is measured."""
    return run.usefulness.sel(mode=run.feature).drop_vars("mode")


def useful_nonrobust(run) -> xr.DataArray:
    """Largest usefulness among features 3 to 5 whose robustness is at most 0.1."""
    return useful(run).where(run.robustness <= 0.1, 0).sel(feature=[3, 4, 5]).max("feature", skipna=False)


def robust_ranks(run) -> xr.DataArray:
    """Spearman's correlation of a feature's rank and its robustness."""
    return rank_correlation(run.feature, run.robustness, "feature")


def useless(run) -> xr.DataArray:
    """How far accuracies of the first 60 features get out of 0.44 to 0.57; below 0 if all are inside."""
    values = run.usefulness.isel(mode=slice(60))
    return np.maximum(0.44 - values.min("mode"), values.max("mode") - 0.57)


def full_gain(run) -> xr.DataArray:
    """Clean accuracy that the features below the second add."""
    return CLEAN.quantity(run) - run.kept_clean.sel(kept=2)


def peak(run) -> xr.DataArray:
    """By how much twenty features keep more under attack than two of them do, or than all, if less."""
    return run.kept_robust.sel(kept=20) - np.maximum(run.kept_robust.sel(kept=2), ROBUST.quantity(run))


def peak_time(run) -> xr.DataArray:
    """How many decades the time of the largest robust accuracy is from 1 / lambda_2."""
    second = run.eigenvalues.isel(mode=1) / run.eigenvalues.isel(mode=0)
    return np.abs(np.log10(run.time_robust.idxmax("time") * second))


def transfer_gap(run) -> xr.DataArray:
    """Largest distance, from width 256 on, of accuracies under the kernel's and the white-box attack."""
    accuracy = run.attacked_accuracy.sel(width=slice(256, None))
    return np.abs(accuracy.sel(attack="kernel") - accuracy.sel(attack="white_box")).max("width")


def better_than_networks(run) -> xr.DataArray:
    """A network's accuracy under another network's attack less that under the kernel's."""
    accuracy = run.attacked_accuracy
    return accuracy.sel(attack="other_network") - accuracy.sel(attack="kernel")


def tail(kernel: xr.DataArray) -> xr.DataArray:
    """Share of a kernel's squared eigenvalues below the `TAIL` largest."""
    squares = xr.apply_ufunc(
        lambda matrix: np.sort(np.linalg.eigvalsh(matrix) ** 2),
        kernel.astype(float),
        input_core_dims=[["row", "column"]],
        output_core_dims=[["mode"]],
    )
    return squares.isel(mode=slice(None, -TAIL)).sum("mode") / squares.sum("mode")


def tail_growth(run) -> xr.DataArray:
    """By which factor training changes the tail."""
    return tail(last(run.kernel_attacked)) / tail(first(run.kernel_attacked))


def concentration(kernel: xr.DataArray) -> xr.DataArray:
    """Ratio of the kernel's tails after standard and after adversarial training."""
    ends = tail(last(kernel))
    return ends.sel(training="standard") / ends.sel(training="pgd")


def flip_error(run) -> xr.DataArray:
    """Largest distance of the flip radii from their values."""
    return np.abs(run.flip_radius - FLIP_RADII.reindex_like(run.num_clusters)).max("num_clusters")


def spectrum_error(run: Run) -> xr.DataArray:
    """Relative distance of the centres' eigenvalues, over their mean, from 1 + (k - 1)/2pi and 1 - 1/2pi."""
    there = run.mode < run.num_clusters
    values = run.centre_eigenvalues / run.centre_eigenvalues.where(there).mean("mode")
    exact = 1 - 1 / (2 * np.pi) + (run.mode == 0) * run.num_clusters / (2 * np.pi)
    return np.abs(values / exact - 1).where(there, 0).max(("num_clusters", "mode"), skipna=False)


def _last_two(run) -> xr.DataArray:
    radii = run.flip_radius.isel(num_clusters=[-2, -1])
    return power_law(radii.num_clusters, radii, "num_clusters")


CLEAN, ROBUST = (
    Law(
        f"{name}_accuracy",
        f"{name} test accuracy, most features kept",
        lambda run, variable=f"kept_{name}": run[variable].isel(kept=-1),
        recorded=lambda config: isinstance(config, Spectrum) and bool(config.kept),
    )
    for name in ("clean", "robust")
)
GRADIENTS = Law(
    "gradient_exponent", "exponent of the width in 1 - cosine of input gradients",
    lambda run: power_law(run.width, 1 - run.gradient_cosine, "width"),
    theory=lambda config: -0.5,
    domain=lambda config: config.doubled or "networks that do not start at 0 never come near the kernel",
    recorded=lambda config: isinstance(config, Width) and len(config.widths) > 1,
)  # fmt: skip
FLIP = Law(
    "flip_exponent", "local exponent of the flip radius in k, between the two largest k", _last_two,
    theory=lambda config: -0.5,
    recorded=lambda config: isinstance(config, Centres) and len(config.clusters) > 1,
)  # fmt: skip
LAWS = (CLEAN, ROBUST, GRADIENTS, FLIP)
