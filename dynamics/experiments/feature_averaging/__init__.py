"""Do neurons average the cluster centres, and do finer labels decouple them?

Li, Pan, Lyu & Li 2025, "Feature Averaging: An Implicit Bias of Gradient Descent Leading to
Non-Robustness in Neural Networks", arXiv:2410.10322.
"""

from functools import partial

from dynamics.draw import animations
from dynamics.draw.gallery import Pictures
from dynamics.experiments.base import Experiment
from dynamics.experiments.feature_averaging import claims, figures
from dynamics.experiments.feature_averaging.quantities import RADIUS
from dynamics.experiments.feature_averaging.setting import PRESETS, old, train

EXPERIMENT = Experiment(
    name="feature_averaging",
    title="Feature Averaging: An Implicit Bias of Gradient Descent Leading to Non-Robustness "
    "in Neural Networks",
    arxiv="2410.10322",
    about="gradient descent averages cluster features; finer labels decouple them",
    presets=PRESETS,
    train=train,
    old=old,
    arms="supervision",
    claims=claims.CLAIMS,
    figures=figures.FIGURES,
    table=figures.robustness_table,
    animations={"neurons": partial(animations.neurons, names=figures.NAMES)},
    quantities=tuple(RADIUS.values()),
    gallery=(
        Pictures(
            "",
            "--preset paper --seeds 16",
            "overview alignment feature_maps growth robust_accuracy neurons.gif",
        ),
        Pictures("early", "--preset early --seeds 16", "overview alignment"),
        Pictures("mnist", "--preset mnist --seeds 3", "overview robust_accuracy"),
        Pictures(
            "clusters",
            "--preset paper --attack-steps 0 --records 2 --dim 2048"
            " --vary num_clusters=4,6,8,12,16,24 --tie num_samples=100*num_clusters"
            " --tie learning_rate=3.07/dim --seeds 8",
            "curve",
        ),
        Pictures(
            "dimension",
            "--preset paper --attack-steps 0 --records 2 --supervision binary"
            " --num-clusters 8 --num-samples 800 --vary dim=512,1024,2048,4096"
            " --tie learning_rate=3.07/dim --seeds 8",
            "curve",
        ),
        Pictures(
            "labels",
            "--preset paper --attack-steps 0 --records 2 --supervision fine --dim 1024"
            " --vary num_clusters=4,8,16,32 --vary num_labels=2,4,8,16,32"
            " --tie num_samples=100*num_clusters --tie learning_rate=3.07/dim --seeds 4",
            "phase curve",
        ),
    ),
    cite="Li et al. 2025",
    short="feature averaging",
    claimed="gradient descent makes every neuron the average of its class's cluster centres, robust to "
    "`sqrt(d/k)` only; finer labels decouple the centres and give `sqrt(d)`",
    shown={
        "overview": "overview.png",
        "neurons turning": "early/overview.png",
        "maps": "feature_maps.png",
        "radii": "robust_accuracy.png",
        "MNIST": "mnist/robust_accuracy.png",
    },
)
