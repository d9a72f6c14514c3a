"""What a sweep of clean generalisation and robust overfitting shows: when its phases end, with their laws."""

import xarray as xr

from dynamics.experiments.clean_generalization_robust_overfitting.quantities import (
    crossing,
    memory,
    signal_margin,
)
from dynamics.study import Law


def _alone(values: xr.DataArray) -> xr.DataArray:
    """Without the dimensions of network and adversary, of which each run has one."""
    return values.mean([dim for dim in ("arm", "gamma") if dim in values.dims])


def _signal_time(dataset: xr.Dataset) -> xr.DataArray:
    return crossing(_alone(signal_margin(dataset)), 1.0)


def _memory_time(dataset: xr.Dataset) -> xr.DataArray:
    return crossing(_alone(memory(dataset).mean("sample")), 0.5)


def _applies(config) -> bool:
    return config.laws_apply and len(config.arms) == 1 and len(config.gamma) == 1


def _learns_first(config) -> bool:
    """Whether phase I rests on the clean half of the loss."""
    return _applies(config) and config.adversarial_weight < 1


def _time(phase: int):
    return lambda config: config.phase_times(config.num_samples[0])[phase] if _applies(config) else None


MEASURES = (
    Law(
        "signal_time",
        r"step $T_1$ at which the signal is learned",
        _signal_time,
        _time(0),
        recorded=_learns_first,
        exponents=lambda config: {
            "learning_rate": -1.0,
            "signal": -config.power,
            "init_scale": -(config.power - 2),
        },
    ),
    Law(
        "memory_time",
        r"step $T_3$ at which the noise is memorised",
        _memory_time,
        _time(1),
        recorded=_applies,
        exponents=lambda config: {
            "learning_rate": -1.0,
            "num_samples": 1.0,
            "adversarial_weight": -1.0,
            "noise": -config.power,
            "init_scale": -(config.power - 2),
        },
    ),
    "robust_train",
    "robust_test",
)
