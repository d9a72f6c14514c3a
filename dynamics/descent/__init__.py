"""Update rules as optax transformations, and the norms that they descend in."""

from dynamics.descent import optax
from dynamics.descent.flow import gradient_flow, refuse_other_than_full_batches
from dynamics.descent.proximal import proximal, takes_penalty
from dynamics.descent.recipes import Descent, Objective, objective, recipe_of, traced
from dynamics.descent.rules import (
    NAMES,
    StepRule,
    check,
    is_linear,
    named,
    norm_of,
    on_log_loss,
    steepest,
    steepest_rule,
    within,
)

__all__ = [
    "NAMES",
    "Descent",
    "Objective",
    "StepRule",
    "check",
    "gradient_flow",
    "is_linear",
    "named",
    "norm_of",
    "objective",
    "on_log_loss",
    "optax",
    "proximal",
    "recipe_of",
    "refuse_other_than_full_batches",
    "steepest",
    "steepest_rule",
    "takes_penalty",
    "traced",
    "within",
]
