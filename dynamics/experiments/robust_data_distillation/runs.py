"""The runs that the claims rest on."""

from dynamics.experiments.base import CheckRun
from dynamics.experiments.robust_data_distillation.setting import CHANGE, PRESETS


def check_runs() -> dict[str, CheckRun]:
    """The runs that the claims rest on: means are over three seeds at least."""
    small = CHANGE(PRESETS["small"], records=2, curve_radii=())
    return {
        "main": CheckRun(small, min_seeds=3, package="sklearn"),
        "near": CheckRun(
            CHANGE(small, radius=0.1, steps=200, arms=("kip", "adv_kip")), min_seeds=3, package="sklearn"
        ),
        "margin": CheckRun(
            CHANGE(small, attack_loss="margin", arms=("adv_kip",)), min_seeds=3, package="sklearn"
        ),
        "far": CheckRun(
            CHANGE(small, arms=("adv_kip",), test_radius=0.5), max_seeds=3, package="sklearn"
        ),
        "networks": CheckRun(PRESETS["networks"], max_seeds=2, package="sklearn"),
        "rescaling": CheckRun(PRESETS["rescaling"], max_seeds=3, package="sklearn"),
    }  # fmt: skip
