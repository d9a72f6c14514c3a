"""What the kernel picture of wide networks says, checked: closed forms against networks and data.

On the subject of Cagnetta, Oliveira, Sabanayagam, Tsilivis & Kempe 2023, arXiv:2307.02693 (lecture notes),
whose text was not available: what is checked here is our choice of the results that such notes rest on.

Settings, of which a preset is one: a finite network's kernel as width grows, how far training leaves
linearity, function-space dynamics, distributions over initial weights (`networks`); which frequencies are
learned, and when, the spectrum on S^2, errors by the number of samples, parities, images (`harmonics`).
"""

from dynamics.draw.gallery import Pictures
from dynamics.experiments.base import Experiment
from dynamics.experiments.kernels_data_physics import claims, figures
from dynamics.experiments.kernels_data_physics.quantities import FIRST_VARIANCE, SECOND_VARIANCE
from dynamics.experiments.kernels_data_physics.setting import PRESETS, old, train

EXPERIMENT = Experiment(
    name="kernels_data_physics",
    title="Kernels, Data & Physics",
    arxiv="2307.02693",
    about="wide networks as kernels: spectral bias, ensembles, learning curves, and where that ends",
    presets=PRESETS,
    quantities=("fit", "error", FIRST_VARIANCE, SECOND_VARIANCE),
    train=train,
    old=old,
    claims=claims.CLAIMS,
    figures=figures.FIGURES,
    table=figures.table,
    gallery=(
        Pictures("", "--seeds 4", "overview"),
        Pictures("amplitude", "--preset amplitude --seeds 4", "overview"),
        Pictures("bands", "--preset bands --seeds 1000", "overview"),
        Pictures("biases", "--preset biases --seeds 4", "overview"),
        Pictures("distillation", "--preset distillation --seeds 3", "overview images"),
        Pictures("ensemble", "--preset ensemble --seeds 1000", "overview"),
        Pictures("hypercube", "--preset hypercube --bias-std 1 --seeds 5", "overview"),
        Pictures("kernels", "--preset kernels --seeds 8", "overview"),
        Pictures("learning_curves", "--preset learning_curves --seeds 4", "overview"),
        Pictures("linear", "--preset linear --seeds 4", "overview"),
        Pictures("sphere", "--preset sphere --seeds 4", "overview"),
        Pictures("width", "--preset width --seeds 16", "overview"),
    ),
    cite="Cagnetta et al. 2023",
    short="kernels, data and physics (its subjects; the statements are ours)",
    claimed="wide networks are their kernel: its limit and fluctuations, lazy training, time courses in "
    "closed form, ensembles against Gaussian processes, frequencies learned one by one, spectra "
    "on circle, sphere and hypercube, learning curves, parities, learned images; and where that "
    "ends",
    shown={
        "spectral bias": "overview.png",
        "large targets": "amplitude/overview.png",
        "ensembles": "ensemble/overview.png",
        "width": "width/overview.png",
        "stability": "linear/overview.png",
        "sphere": "sphere/overview.png",
        "learning curves": "learning_curves/overview.png",
        "parities": "hypercube/overview.png",
        "learned images": "distillation/images.png",
    },
)
