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
from dynamics.adversary.evaluation import ATTACKS, Evaluation, evaluate, survivors
from dynamics.adversary.patches import FeatureFlip, FeaturePlant, FeatureShift, GradientStep, own_directions
from dynamics.adversary.random_search import RandomSearch, random_search
from dynamics.adversary.search import smallest_radius

__all__ = [
    "ATTACKS",
    "FGSM",
    "NORMS",
    "PGD",
    "Box",
    "Evaluation",
    "FeatureAttack",
    "FeatureFlip",
    "FeaturePlant",
    "FeatureShift",
    "GradientStep",
    "RandomSearch",
    "along",
    "evaluate",
    "feature_direction",
    "feature_span",
    "fgsm",
    "own_directions",
    "pgd",
    "project",
    "random_search",
    "smallest_radius",
    "survivors",
]
