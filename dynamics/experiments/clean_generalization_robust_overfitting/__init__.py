"""Why does adversarial training generalise on clean data and overfit robustly?

Li & Li 2025, "On the Clean Generalization and Robust Overfitting in Adversarial Training from Two
Theoretical Views: Representation Complexity and Training Dynamics", arXiv:2306.01271.
"""

from dynamics.draw.gallery import Pictures
from dynamics.experiments.base import Experiment
from dynamics.experiments.clean_generalization_robust_overfitting import claims, figures, images, setting
from dynamics.experiments.clean_generalization_robust_overfitting import quantities as q
from dynamics.experiments.clean_generalization_robust_overfitting.images import Images
from dynamics.experiments.clean_generalization_robust_overfitting.setting import Construction, Patches


def old(values):
    """The setting and its fields of a result of the time when one config held all."""
    if values["data"] == "patches":
        return Patches.of_old(values, "signal", "noise", "init_scale", "radius")
    if values["data"] != "parity":
        return Images.of_old(values)
    signal = values["signal"] or 0.1
    radius = values["radius"] or signal * (1 - values["gamma"][0])
    return Construction.of_old(values | {"signal": signal, "radius": radius})


EXPERIMENT = Experiment(
    name="clean_generalization_robust_overfitting",
    title="On the Clean Generalization and Robust Overfitting in Adversarial Training from Two Theoretical "
    "Views: Representation Complexity and Training Dynamics",
    arxiv="2306.01271",
    about="adversarial training learns the signal in part and memorises the noise of its samples",
    presets=setting.PRESETS | images.PRESETS,
    old=old,
    quantities=(q.SIGNAL_TIME, q.MEMORY_TIME, q.ROBUST_ERROR, "robust_train", "robust_test"),
    train=lambda config: config.jobs(),
    arms="arm",
    claims=claims.CLAIMS,
    figures=figures.FIGURES,
    table=figures.summary,
    gallery=(
        Pictures("", "--seeds 8", "overview accuracy neurons phases"),
        Pictures("construction", "--preset construction --seeds 8", "overview"),
        Pictures("digits", "--preset digits --seeds 2", "overview landscape width"),
        Pictures("mnist", "--preset mnist --seeds 1", "overview"),
        Pictures(
            "memory",
            "--attack-steps 0 --steps 30000 --vary num_samples=10,20,40 "
            "--vary adversarial_weight=0.3,0.5,0.9 --quantity memory_time --seeds 16",
            "curve",
        ),
        Pictures("threshold", "--preset threshold --seeds 8", "overview threshold"),
    ),
    cite="Li & Li 2025",
    short="clean generalisation and robust overfitting",
    claimed="adversarial training first learns the signal in part, then memorises the noise of its "
    "samples: clean and robust training accuracy 1, robust test accuracy 1/2; above a threshold "
    "of the residual signal, which falls with the number of samples, it generalises robustly",
    shown={
        "overview": "overview.png",
        "threshold": "threshold/threshold.png",
        "digits": "digits/overview.png",
        "MNIST": "mnist/overview.png",
        "construction": "construction/overview.png",
    },
)
