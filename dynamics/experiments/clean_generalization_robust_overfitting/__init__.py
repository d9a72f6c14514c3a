"""Why does adversarial training generalise on clean data and overfit robustly?

Li & Li 2025, "On the Clean Generalization and Robust Overfitting in Adversarial Training from Two
Theoretical Views: Representation Complexity and Training Dynamics", arXiv:2306.01271.
"""

from dynamics.draw.gallery import Pictures
from dynamics.experiments.base import Experiment
from dynamics.experiments.clean_generalization_robust_overfitting import claims, figures, sweeps
from dynamics.experiments.clean_generalization_robust_overfitting.runs import check_runs
from dynamics.experiments.clean_generalization_robust_overfitting.setting import PRESETS, Config, train

EXPERIMENT = Experiment(
    name="clean_generalization_robust_overfitting",
    title="On the Clean Generalization and Robust Overfitting in Adversarial Training from Two Theoretical "
    "Views: Representation Complexity and Training Dynamics",
    arxiv="2306.01271",
    about="adversarial training learns the signal in part and memorises the noise of its samples",
    Config=Config,
    presets=PRESETS,
    measures=sweeps.MEASURES,
    train=train,
    arms="arm",
    claims=claims.CLAIMS,
    check_runs=check_runs(),
    figures=figures.FIGURES,
    summary=figures.summary,
    gallery=(
        Pictures("", "--seeds 8", "overview accuracy neurons phases"),
        Pictures("construction", "--preset construction --seeds 8", "overview"),
        Pictures("digits", "--preset digits --seeds 2", "overview landscape width"),
        Pictures("mnist", "--preset mnist --seeds 1", "overview"),
        Pictures(
            "memory",
            "--attack-steps 0 --steps 30000 --vary num_samples=10,20,40 --vary adversarial_weight=0.3,0.5,0.9 "
            "--measure memory_time --seeds 16",
            "curve",
        ),
        Pictures("threshold", "--preset threshold --seeds 8", "overview threshold"),
    ),
)
