"""Can a data set be optimised so that ordinary fitting on it is robust, and is it really?

Tsilivis, Su & Kempe 2022, "Can we achieve robustness from data alone?", arXiv:2207.11727. Three settings:
`Distillation` (images learned through kernel regression, plainly or against an attack), `Networks` (wide
networks trained on such images) and `Rescaling` (how large logits disable an attack).
"""

from dynamics.draw.gallery import Pictures
from dynamics.experiments.base import Experiment
from dynamics.experiments.robust_data_distillation import claims, figures
from dynamics.experiments.robust_data_distillation.setting import PRESETS, old, train

EXPERIMENT = Experiment(
    name="robust_data_distillation",
    title="Can we achieve robustness from data alone?",
    arxiv="2207.11727",
    about="images optimised through kernel regression look robust, until another attack is tried",
    presets=PRESETS,
    train=train,
    old=old,
    arms="training",
    claims=claims.CLAIMS,
    figures=figures.FIGURES,
    table=figures.table,
    gallery=(
        Pictures("", "--seeds 3", "overview images"),
        Pictures("deployed", "--preset deployed --seeds 2", "overview"),
        Pictures("mnist", "--preset mnist --seeds 1", "overview images"),
        Pictures("rescaling", "--preset rescaling --seeds 3", "overview"),
        Pictures("standard", "--preset standard --seeds 3", "overview"),
    ),
    cite="Tsilivis et al. 2022",
    short="robustness from data",
    claimed="a hundred images, learned through kernel regression against an attack, look robust: 56 % of "
    "digits withstand PGD at linf 0.2, and 22 % with 1,200 real images. Against every attack it "
    "is 36 %, and networks trained on them keep 6 %; large logits in float32 hide a model from "
    "PGD on the cross-entropy, and not from ascent on the margin",
    shown={
        "overview": "overview.png",
        "images": "images.png",
        "MNIST": "mnist/overview.png",
        "rescaling": "rescaling/overview.png",
        "lazy networks": "deployed/overview.png",
        "standard networks": "standard/overview.png",
    },
)
