"""Attacks on inputs, and the smallest radius at which one succeeds."""

from dynamics.adversary.attacks import (
    FGSM,
    PGD,
    FeatureAttack,
    along,
    feature_direction,
    feature_span,
    fgsm,
    pgd,
)
from dynamics.adversary.ball import NORMS, Box, project
from dynamics.adversary.patches import FeatureFlip, FeaturePlant, FeatureShift, GradientStep, own_directions
from dynamics.adversary.search import smallest_radius

__all__ = [
    "FGSM",
    "NORMS",
    "PGD",
    "Box",
    "FeatureAttack",
    "FeatureFlip",
    "FeaturePlant",
    "FeatureShift",
    "GradientStep",
    "along",
    "feature_direction",
    "feature_span",
    "fgsm",
    "own_directions",
    "pgd",
    "project",
    "smallest_radius",
]
