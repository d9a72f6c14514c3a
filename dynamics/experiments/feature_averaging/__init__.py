"""Do neurons average the cluster centres, and do finer labels decouple them?

Li, Pan, Lyu & Li 2025, "Feature Averaging: An Implicit Bias of Gradient Descent Leading to
Non-Robustness in Neural Networks", arXiv:2410.10322.
"""

from functools import partial

from dynamics.draw import animations
from dynamics.experiments.base import Experiment
from dynamics.experiments.feature_averaging import claims, figures
from dynamics.experiments.feature_averaging.quantities import RADIUS
from dynamics.experiments.feature_averaging.setting import PRESETS, Config, run

EXPERIMENT = Experiment(
    name="feature_averaging",
    title="Feature Averaging: An Implicit Bias of Gradient Descent Leading to Non-Robustness "
    "in Neural Networks",
    arxiv="2410.10322",
    about="gradient descent averages cluster features; finer labels decouple them",
    Config=Config,
    presets=PRESETS,
    simulate=run,
    claims=claims.CLAIMS,
    check_runs=claims.CLAIMS.runs,
    figures=figures.FIGURES,
    summary=figures.robustness_table,
    animations={"neurons": partial(animations.neurons, names=figures.NAMES)},
    measures=tuple(RADIUS.values()),
)
