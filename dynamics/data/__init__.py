"""Data distributions, one file a family."""

from dynamics.data.arrays import Arrays, from_arrays
from dynamics.data.clusters import Clusters
from dynamics.data.coarse import BinaryClasses
from dynamics.data.directions import Circle, Hypercube, Sphere
from dynamics.data.fresh import Fresh
from dynamics.data.images import LabelledImages, class_means, digits, first_half, load, mnist5000, odd_even
from dynamics.data.parity import Parity
from dynamics.data.patches import RobustNonRobust, SignalNoise
from dynamics.data.rescaled import Rescaled
from dynamics.data.sample import Draw, Patches, Sample
from dynamics.data.shared import Shared
from dynamics.data.spiked import Spiked
from dynamics.data.teachers import FixedPoints, LinearTeacher, ReluTeacher

__all__ = [
    "Arrays",
    "BinaryClasses",
    "Circle",
    "Clusters",
    "Draw",
    "FixedPoints",
    "Fresh",
    "Hypercube",
    "LabelledImages",
    "LinearTeacher",
    "Parity",
    "Patches",
    "ReluTeacher",
    "Rescaled",
    "RobustNonRobust",
    "Sample",
    "Shared",
    "SignalNoise",
    "Sphere",
    "Spiked",
    "class_means",
    "digits",
    "first_half",
    "from_arrays",
    "load",
    "mnist5000",
    "odd_even",
]
