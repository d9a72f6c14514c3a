"""Can a data set be optimised so that ordinary fitting on it is robust, and is it really?

Tsilivis, Su & Kempe 2022, "Can we achieve robustness from data alone?", arXiv:2207.11727. Three parts, one at
a time: `distillation` (images learned through kernel regression, plainly or against an attack),
`networks` (wide networks trained on such images) and `rescaling` (how large logits disable an attack).
"""

from dynamics.draw.gallery import Pictures
from dynamics.experiments.base import Experiment
from dynamics.experiments.robust_data_distillation import claims, figures
from dynamics.experiments.robust_data_distillation.runs import check_runs
from dynamics.experiments.robust_data_distillation.setting import PRESETS, Config, train

EXPERIMENT = Experiment(
    name="robust_data_distillation",
    title="Can we achieve robustness from data alone?",
    arxiv="2207.11727",
    about="images optimised through kernel regression look robust, until another attack is tried",
    Config=Config,
    presets=PRESETS,
    train=train,
    arms="training",
    claims=claims.CLAIMS,
    check_runs=check_runs(),
    figures=figures.FIGURES,
    summary=figures.table,
    gallery=(
        Pictures("", "--seeds 3", "overview images"),
        Pictures("deployed", "--preset deployed --seeds 2", "overview"),
        Pictures("mnist", "--preset mnist --seeds 1", "overview images"),
        Pictures("rescaling", "--preset rescaling --seeds 3", "overview"),
        Pictures("standard", "--preset standard --seeds 3", "overview"),
    ),
)
