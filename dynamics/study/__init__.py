"""The words of a theorem: configs, quantities, laws, and claims with their ablations."""

from dynamics.study.bands import Band, Bracketed, around, at_least, at_most, between, expected, typically
from dynamics.study.claim import Ablation, CheckRun, Claim, Claims, Run, set_as
from dynamics.study.config import Config, RuleConfig, RunConfig, TimedConfig, TrainingConfig, kept, setting
from dynamics.study.law import Law
from dynamics.study.quantities import (
    amplitude,
    first,
    first_above,
    first_step,
    hitting_time,
    last,
    passed_between,
    power_law,
    slope,
)

__all__ = [
    "Ablation",
    "Band",
    "Bracketed",
    "CheckRun",
    "Claim",
    "Claims",
    "Config",
    "Law",
    "RuleConfig",
    "Run",
    "RunConfig",
    "TimedConfig",
    "TrainingConfig",
    "amplitude",
    "around",
    "at_least",
    "at_most",
    "between",
    "expected",
    "first",
    "first_above",
    "first_step",
    "hitting_time",
    "kept",
    "last",
    "passed_between",
    "power_law",
    "set_as",
    "setting",
    "slope",
    "typically",
]
