"""What the claims of data distillation measure: one number a seed."""

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float

from dynamics.study.old import Run

Runs = Mapping[str, Run]
PerSeed = Float[np.ndarray, " seeds"]
Measure = Callable[[Runs], PerSeed]


def overestimate(dataset: xr.Dataset) -> xr.DataArray:
    """By how much gradient ascent on the cross-entropy alone flatters each set."""
    return dataset.under.sel(attack="pgd") - dataset.under.sel(attack="worst")


def under(attack: str, training: str, run: str = "main") -> Measure:
    """Accuracy under an attack of what was fitted to one set."""
    return lambda runs: runs[run].dataset.under.sel(attack=attack, training=training).values


def gain(attack: str, training: str, over: str, run: str = "main") -> Measure:
    """By how much more accurate one set is than another under an attack."""

    def measure(runs: Runs) -> PerSeed:
        return under(attack, training, run)(runs) - under(attack, over, run)(runs)

    return measure


def flattery(training: str, over: str | None = None) -> Measure:
    """`overestimate` of a set, or by how much it exceeds another's."""

    def measure(runs: Runs) -> PerSeed:
        found = overestimate(runs["main"].dataset)
        own = found.sel(training=training)
        return (own if over is None else own - found.sel(training=over)).values

    return measure


def margin_excess(runs: Runs) -> PerSeed:
    """Largest excess over all sets of the accuracy under ascent on the margin over that on the loss."""
    found = runs["main"].dataset.under
    return (found.sel(attack="margin") - found.sel(attack="pgd")).max("training").values


def narrowed(runs: Runs) -> PerSeed:
    """By how much an inner attack on the margin lowers the overestimate of adv-KIP."""
    pair = [overestimate(runs[name].dataset.sel(training="adv_kip")) for name in ("main", "margin")]
    return (pair[0] - pair[1]).values


def at_scale(attack: str) -> Measure:
    """Accuracy under an attack where the logits are largest."""
    return lambda runs: runs["rescaling"].dataset.under.sel(attack=attack).isel(scale=-1).values


def spread(attack: str) -> Measure:
    """Largest difference of the accuracy under an attack between factors of the logits."""

    def measure(runs: Runs) -> PerSeed:
        found = runs["rescaling"].dataset.under.sel(attack=attack)
        return (found.max("scale") - found.min("scale")).values

    return measure


def gap(runs: Runs) -> PerSeed:
    """Distance of the widest networks from their kernel."""
    return runs["networks"].dataset.kernel_gap.sel(training="subset").isel(width=-1).values


def gap_ratio(runs: Runs) -> PerSeed:
    """Largest ratio of the distance at a width to that at the width before."""
    found = runs["networks"].dataset.kernel_gap.sel(training="subset").transpose("seed", "width").values
    return (found[:, 1:] / found[:, :-1]).max(axis=1)
