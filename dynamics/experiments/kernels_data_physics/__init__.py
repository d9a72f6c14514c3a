"""What the kernel picture of wide networks says, checked: closed forms against networks and data.

On the subject of Cagnetta, Oliveira, Sabanayagam, Tsilivis & Kempe 2023, arXiv:2307.02693 (lecture notes),
whose text was not available: what is checked here is our choice of the results that such notes rest on.

Parts, one at a time: `kernels` (a finite network's kernel as width grows), `width` (how far training leaves
linearity), `linear` (function-space dynamics), `ensemble` (distributions over initial weights, against a
Gaussian process), `spectral_bias` (which frequencies are learned, and when), `sphere` (the spectrum on S^2),
`learning_curves` (error against the number of samples), `hypercube` (parities), `distillation` (a few
learned images) and `eigenfeatures` (digits, by rank and by time).
"""

from dynamics.experiments.base import Experiment
from dynamics.experiments.kernels_data_physics import claims, figures
from dynamics.experiments.kernels_data_physics.runs import check_runs
from dynamics.experiments.kernels_data_physics.setting import PRESETS, Config, run

EXPERIMENT = Experiment(
    name="kernels_data_physics",
    title="Kernels, Data & Physics",
    arxiv="2307.02693",
    about="wide networks as kernels: spectral bias, ensembles, learning curves, and where that ends",
    Config=Config,
    presets=PRESETS,
    measures=("fit", "error"),
    simulate=run,
    claims=claims.CLAIMS,
    check_runs=check_runs(),
    figures=figures.FIGURES,
    summary=figures.table,
)
