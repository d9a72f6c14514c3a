"""Does each update rule maximise the margin in the norm that it descends in?

Tsilivis, Gronich, Vardi & Kempe 2025, "Flavors of Margin: Implicit Bias of Steepest Descent in Homogeneous
Neural Networks", arXiv:2410.22069.
"""

from dynamics.draw.gallery import Pictures
from dynamics.experiments.base import Experiment
from dynamics.experiments.flavors_of_margin import claims, figures
from dynamics.experiments.flavors_of_margin.setting import PRESETS, old, train

EXPERIMENT = Experiment(
    name="flavors_of_margin",
    title="Flavors of Margin: Implicit Bias of Steepest Descent in Homogeneous Neural Networks",
    arxiv="2410.22069",
    about="steepest descent in a norm maximises the margin of that norm",
    presets=PRESETS,
    train=train,
    old=old,
    arms="algorithm",
    claims=claims.CLAIMS,
    figures=figures.FIGURES,
    table=figures.margin_table,
    gallery=(
        Pictures("", "--seeds 16", "overview margin_matrix neurons stationarity weights"),
        Pictures("adam", "--preset adam --seeds 8", "adam"),
        Pictures("digits", "--preset digits --seeds 4", "overview margin_matrix weights"),
        Pictures("linear", "--preset linear --seeds 16", "overview margin_matrix rates"),
    ),
    cite="Tsilivis et al. 2025",
    short="flavors of margin",
    claimed="steepest descent in a norm raises the margin of that norm, monotonically once the data are "
    "fitted, towards a KKT point of its largest; gradient, sign, coordinate and spectral descent, "
    "momentum and Adam each have their own",
    shown={
        "overview": "overview.png",
        "descent × norm": "margin_matrix.png",
        "rates": "linear/rates.png",
        "Adam": "adam/adam.png",
        "MNIST": "digits/overview.png",
    },
)
