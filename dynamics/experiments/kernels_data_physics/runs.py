"""The runs that the claims rest on."""

import dataclasses

from dynamics.experiments.base import CheckRun
from dynamics.experiments.kernels_data_physics.setting import NETS, PRESETS


def check_runs() -> dict[str, CheckRun]:
    """The runs that the claims rest on, at the sizes of the specification's acceptance table."""
    change = dataclasses.replace
    kernels, circle, cube = PRESETS["kernels"], PRESETS["small"], PRESETS["hypercube"]
    odd = change(circle, frequencies=(3,), width=512, steps=2000, records=10)
    return {
        "kernels": CheckRun(kernels),
        "kernels_erf": CheckRun(change(kernels, activation="erf")),
        "fluctuation": CheckRun(change(kernels, widths=(256, 512), draws=4000)),
        "width": CheckRun(NETS, min_seeds=8),
        "linear": CheckRun(change(PRESETS["linear"], rates=(1.0,))),
        "stable": CheckRun(change(PRESETS["linear"], rates=(1.95,), records=10)),
        "unstable": CheckRun(change(PRESETS["linear"], rates=(2.05,), records=10)),
        "ensemble": CheckRun(PRESETS["ensemble"], min_seeds=1000),
        "readout": CheckRun(change(PRESETS["ensemble"], trained="second"), min_seeds=1000),
        "circle": CheckRun(circle),
        "odd": CheckRun(odd, max_seeds=2),
        "odd_rich": CheckRun(change(odd, frequencies=(5,), amplitudes=(1.0,), steps=500), max_seeds=2),
        "biases": CheckRun(change(circle, biases=True, frequencies=(3, 5))),
        "rich": CheckRun(change(circle, frequencies=(6, 8), amplitudes=(1.0,))),
        "sphere": CheckRun(PRESETS["sphere"], max_seeds=4),
        "learning_curves": CheckRun(PRESETS["learning_curves"], min_seeds=4),
        "regular": CheckRun(
            change(PRESETS["learning_curves"], regular=True, sizes=(16, 32, 64), frequencies=(3, 4, 6)),
            max_seeds=1,
        ),
        "hypercube": CheckRun(cube, min_seeds=5),
        "hypercube_biases": CheckRun(change(cube, bias_std=1.0), min_seeds=5),
        "distillation": CheckRun(PRESETS["distillation"], max_seeds=3, package="sklearn"),
    }
