"""Presets of the kernel picture's settings, how each is carried out, and results of before they had names."""

from dataclasses import replace
from typing import Any

from dynamics.engine.stages import Training, in_precision
from dynamics.experiments.kernels_data_physics.harmonics import (
    Distillation,
    Hypercube,
    LearningCurves,
    SpectralBias,
    Sphere,
)
from dynamics.experiments.kernels_data_physics.networks import Ensemble, KernelConvergence, Linear, Width
from dynamics.study import kept

SETTINGS = {
    "spectral_bias": SpectralBias, "kernels": KernelConvergence, "width": Width, "linear": Linear,
    "ensemble": Ensemble, "sphere": Sphere, "learning_curves": LearningCurves, "hypercube": Hypercube,
    "distillation": Distillation,
}  # fmt: skip
_CIRCLE = SpectralBias(records=200)
PRESETS = {
    "small": _CIRCLE,
    "paper": replace(_CIRCLE, width=8192, frequencies=(2, 4, 6, 8, 10, 12), amplitudes=(0.1, 1.0), grid=128),
    "kernels": KernelConvergence(),
    "width": Width(),
    "linear": Linear(steps=400),
    # of the first 40 draws the best conditioned one: on others networks of width 1,024 are not wide
    "ensemble": Ensemble(num_samples=6, dim=4, data_seed=26),
    "bands": Ensemble(num_samples=6, dim=2, num_test=72, great_circle=True),
    "biases": replace(_CIRCLE, biases=True, frequencies=(2, 3, 4, 5, 6)),
    "amplitude": replace(_CIRCLE, frequencies=(4, 6, 8), amplitudes=(0.1, 0.3, 1.0)),
    "sphere": Sphere(),
    "learning_curves": LearningCurves(trained="first", biases=True),
    "hypercube": Hypercube(),
    "distillation": Distillation(steps=300, records=16),
}


def train(config: Any) -> Training:
    """The setting's jobs, in float64: small eigenvalues need its digits."""
    return in_precision(True, type(config).jobs, config)


def old(values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Setting and fields of a result from when one class had all fields, of which a `part` used some.

    Raises: ValueError: the part `eigenfeatures`, which `ntk_eigenfeatures` has.
    """
    if (part := values.get("part", "spectral_bias")) not in SETTINGS:
        raise ValueError(f"kernels_data_physics has no part {part!r} any more; it has {', '.join(SETTINGS)}")
    setting = SETTINGS[part]
    return setting.__name__, kept(setting, values)
