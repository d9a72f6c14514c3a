"""Does standard training learn dense weak features, and adversarial training the sparse strong ones?

Li & Li 2025, "Adversarial Training Can Provably Improve Robustness: Theoretical Analysis of Feature
Learning Process Under Structured Data", arXiv:2410.08503.
"""

from dynamics.draw.gallery import Pictures
from dynamics.experiments.base import Experiment
from dynamics.experiments.robust_feature_learning import claims, figures
from dynamics.experiments.robust_feature_learning.setting import PRESETS, train

EXPERIMENT = Experiment(
    name="robust_feature_learning",
    title="Adversarial Training Can Provably Improve Robustness: Theoretical Analysis of Feature Learning "
    "Process Under Structured Data",
    arxiv="2410.08503",
    about="standard training learns dense non-robust features, adversarial training sparse robust ones",
    presets=PRESETS,
    train=train,
    arms="training",
    claims=claims.CLAIMS,
    figures=figures.FIGURES,
    table=figures.table,
    quantities=("flip_accuracy",),
    gallery=(
        Pictures("", "--seeds 16", "overview neurons"),
        Pictures("crossing", "--preset crossing --seeds 16", "overview"),
        Pictures("digits", "--preset digits --seeds 2", "overview"),
    ),
    cite="Li & Li 2025",
    short="robust feature learning",
    claimed="on patch data standard training learns dense, weak features and is flipped along them; "
    "adversarial training learns the sparse, strong ones. The initial weights tell which one a "
    "class gets",
    shown={
        "overview": "overview.png",
        "neurons": "neurons.png",
        "crossing": "crossing/overview.png",
        "digits": "digits/overview.png",
    },
)
