"""Eigenfeatures of the neural tangent kernel, which of them are robust, and how training moves them.

Tsilivis & Kempe 2022, arXiv:2210.05577.
"""

from dynamics.draw.gallery import Pictures
from dynamics.experiments.base import Experiment
from dynamics.experiments.ntk_eigenfeatures import claims, figures, quantities
from dynamics.experiments.ntk_eigenfeatures.setting import PRESETS, old, train

EXPERIMENT = Experiment(
    name="ntk_eigenfeatures",
    title="What Can the Neural Tangent Kernel Tell Us About Adversarial Robustness?",
    arxiv="2210.05577",
    about="kernel eigenfeatures: robust ones at the top of the spectrum, useful non-robust ones below",
    presets=PRESETS,
    quantities=quantities.LAWS,
    train=train,
    old=old,
    arms="training",
    claims=claims.CLAIMS,
    figures=figures.FIGURES,
    table=figures.table,
    gallery=(
        Pictures("", "--preset networks --seeds 4", "overview"),
        Pictures("clusters", "--preset clusters --seeds 2", "overview"),
        Pictures("cnn", "--preset cnn --seeds 1", "overview distances"),
        Pictures("evolution", "--preset evolution --seeds 4", "overview distances"),
        Pictures("mnist", "--preset mnist --seeds 4", "overview architectures gradients"),
        Pictures("width", "--preset width --seeds 4", "overview"),
    ),
    cite="Tsilivis & Kempe 2022",
    short="NTK eigenfeatures",
    claimed="the robust features of a kernel predictor are at the top of the spectrum and learned first, "
    "the useful non-robust ones below; attacks made from the kernel work on trained networks; "
    "adversarial training concentrates the empirical kernel",
    shown={
        "overview": "overview.png",
        "networks": "width/overview.png",
        "training": "evolution/overview.png",
        "MNIST": "mnist/overview.png",
        "architectures": "mnist/architectures.png",
        "clusters": "clusters/overview.png",
        "convolutions": "cnn/overview.png",
    },
)
