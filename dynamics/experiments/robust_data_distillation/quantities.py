"""The quantities of data distillation's claims: numbers of a run, or of one fitted set of it."""

from collections.abc import Mapping

import xarray as xr

from dynamics.study import Run


def under(attack: str):
    """Accuracy under an attack."""
    return lambda run: run.under.sel(attack=attack)


def overestimate(run) -> xr.DataArray:
    """By how much gradient ascent on the cross-entropy alone flatters each set."""
    return run.under.sel(attack="pgd") - run.under.sel(attack="worst")


def gain(quantity, training: str, over: str):
    """By how much one set's quantity exceeds another's."""
    return lambda run: quantity(run.at(training=training)) - quantity(run.at(training=over))


def margin_excess(run: Run) -> xr.DataArray:
    """Largest excess over all sets of the accuracy under ascent on the margin over that on the loss."""
    return (run.under.sel(attack="margin") - run.under.sel(attack="pgd")).max("training")


def narrowed(runs: Mapping[str, Run]) -> xr.DataArray:
    """By how much an inner attack on the margin lowers the overestimate."""
    return overestimate(runs["main"]) - overestimate(runs["margin"])


def margin_spread(run: Run) -> xr.DataArray:
    """Largest difference of the accuracy under ascent on the margin between factors of the logits."""
    found = run.under.sel(attack="margin")
    return found.max("scale") - found.min("scale")


def gap_ratio(run: Run) -> xr.DataArray:
    """Largest ratio of the networks' distance from their kernel at a width to that at the width before."""
    ratio = run.kernel_gap / run.kernel_gap.shift(width=1)
    return ratio.isel(width=slice(1, None)).max("width", skipna=False)
