"""Does standard training learn dense weak features, and adversarial training the sparse strong ones?

Li & Li 2025, "Adversarial Training Can Provably Improve Robustness: Theoretical Analysis of Feature
Learning Process Under Structured Data", arXiv:2410.08503.
"""

from dynamics.draw.gallery import Pictures
from dynamics.experiments.base import Experiment
from dynamics.experiments.robust_feature_learning import claims, figures, images, setting
from dynamics.experiments.robust_feature_learning.images import Images
from dynamics.experiments.robust_feature_learning.setting import Patches


def old(values):
    """The setting and its fields of a result of the time when one config held both."""
    if values["data"] == "patches":
        return Patches.of_old(values, "test_radius")
    return Images.of_old(values | {"test_steps": max(values["test_steps"], 1)}, "test_radius", "rate_radius")


EXPERIMENT = Experiment(
    name="robust_feature_learning",
    title="Adversarial Training Can Provably Improve Robustness: Theoretical Analysis of Feature Learning "
    "Process Under Structured Data",
    arxiv="2410.08503",
    about="standard training learns dense non-robust features, adversarial training sparse robust ones",
    presets=setting.PRESETS | images.PRESETS,
    train=lambda config: config.jobs(),
    old=old,
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
