"""Attacks on inputs, and the smallest radius at which one succeeds."""

from dynamics.adversary.attacks import FGSM, PGD, FeatureAttack, along, feature_direction, fgsm, pgd
from dynamics.adversary.ball import NORMS, Box, project
from dynamics.adversary.search import smallest_radius

__all__ = [
    "FGSM",
    "NORMS",
    "PGD",
    "Box",
    "FeatureAttack",
    "along",
    "feature_direction",
    "fgsm",
    "pgd",
    "project",
    "smallest_radius",
]
