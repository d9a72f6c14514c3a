"""The runs that the claims rest on."""

import dataclasses
import itertools

from dynamics.experiments.base import CheckRun
from dynamics.experiments.clean_generalization_robust_overfitting.setting import PRESETS


def check_runs() -> dict[str, CheckRun]:
    """The runs that the claims rest on, at the sizes of the specification's acceptance table."""
    change = dataclasses.replace
    construction = PRESETS["construction"]
    bare = change(PRESETS["small"], attack_steps=0)
    ends = change(bare, records=2)
    runs = {
        "main": bare,
        "attacked": change(PRESETS["small"], records=2),
        "standard": change(bare, adversarial_weight=0.0),
        "weak": change(bare, gamma=(0.3,)),
        "every_step": change(bare, steps=300, records=301, spacing="linear"),
        "gammas": change(ends, gamma=(0.02, 0.05, 0.07, 0.09, 0.11), steps=12_000),
        "construction": construction,
        "parity": change(construction, classifier="robust"),
    }
    for count, steps in ((8, 8000), (16, 10_000), (32, 20_000)):
        runs[f"samples_{count}"] = change(bare, num_samples=(count,), steps=steps)
    for weight in (0.3, 0.6, 0.9):
        runs[f"weight_{weight}"] = change(bare, adversarial_weight=weight, steps=20_000)
    for alpha, (power, steps) in itertools.product((1.5, 2.0, 3.0, 4.5), ((3.0, 15_000), (4.0, 60_000))):
        # the quartic starts as small as the cubic: from 0.2 some networks hold the signal at once
        runs[f"alpha_{alpha:g}_q{power:g}"] = change(
            ends,
            signal=alpha,
            gamma=(0.05 / alpha,),
            power=power,
            init_scale=0.1,
            learning_rate=0.01,
            steps=steps,
        )
    for count, steps, gammas in (
        (10, 8000, (0.06, 0.08, 0.10, 0.12)),
        (20, 12_000, (0.06, 0.07, 0.08, 0.09)),
        (40, 24_000, (0.045, 0.06, 0.075, 0.09)),
    ):
        runs[f"threshold_{count}"] = change(ends, num_samples=(count,), gamma=gammas, steps=steps)
    for count, dim in ((50, 8), (100, 8), (50, 16)):
        runs[f"balls_{count}_{dim}"] = change(
            construction, num_samples=(count,), dim=dim, num_test=10, num_points=10, attack_steps=0
        )
    # the most seeds, and the fewest that decide a number of their mean
    seeds = {"alpha": (8, 1), "balls": (1, 1), "construction": (8, 1), "parity": (8, 1)}
    seeds |= {"samples": (None, 4), "weight": (None, 4), "threshold": (8, 4)}
    checks = {}
    for name, config in runs.items():
        most, fewest = seeds.get(name.split("_")[0], (None, 1))
        checks[name] = CheckRun(config, most, min_seeds=fewest)
    checks["digits"] = CheckRun(change(PRESETS["digits"], records=2), max_seeds=2, package="sklearn")
    return checks
