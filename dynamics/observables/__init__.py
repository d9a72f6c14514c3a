"""What is measured on the way, one file a family."""

from dynamics.observables.activation import activation_pattern, dead
from dynamics.observables.alignment import (
    alignment,
    averaging_residual,
    bias,
    coefficients,
    features,
    neuron_norm,
    off_span,
    own,
    projection,
    weights,
)
from dynamics.observables.base import Observable, observable
from dynamics.observables.margin import (
    class_accuracy,
    margins,
    smallest_margin,
    test_accuracy,
    train_accuracy,
    training_loss,
)
from dynamics.observables.robustness import (
    attack_radius,
    attained_radius,
    certified_radius,
    pgd_accuracy,
    point_feature,
    universal_accuracy,
)

__all__ = [
    "Observable",
    "activation_pattern",
    "alignment",
    "attack_radius",
    "attained_radius",
    "averaging_residual",
    "bias",
    "certified_radius",
    "class_accuracy",
    "coefficients",
    "dead",
    "features",
    "margins",
    "neuron_norm",
    "observable",
    "off_span",
    "own",
    "pgd_accuracy",
    "point_feature",
    "projection",
    "smallest_margin",
    "test_accuracy",
    "train_accuracy",
    "training_loss",
    "universal_accuracy",
    "weights",
]
