"""The claims of Tsilivis & Kempe 2022, arXiv:2210.05577, each with the ablation that breaks it.

Identities hold in every seed; a band that an independent prototype measured on a few seeds must hold for
the mean over seeds (`typically`).
"""

from dynamics.experiments.ntk_eigenfeatures.quantities import (
    agreement,
    better_than_networks,
    chance_excess,
    constant_feature,
    deep_robustness,
    deepest,
    flip_error,
    flip_exponent,
    full,
    full_gain,
    gradient_slope,
    network_distance,
    nonrobust_gain,
    of,
    peak,
    peak_time,
    random_signs,
    rank_correlation,
    spectrum_error,
    tail_ratio,
    transfer_gap,
    useful_nonrobust,
)
from dynamics.experiments.ntk_eigenfeatures.setting import PRESETS
from dynamics.study.old import Ablation, Claim, around, at_least, at_most, between, set_as, typically

LEDGER = "abstract; features' usefulness and robustness"
TRADE = "abstract; accuracy against robustness along the spectrum"
TIME = "abstract; robust features are learned first"
TRANSFER = "abstract; training-free adversarial examples"
CONCENTRATION = "abstract; kernels under adversarial training"
SAME = "abstract; features agree across architectures"
CLUSTERS = "derived: the kernel interpolant of orthogonal centres"

NO_SIGNAL = Ablation("no signal in the non-robust block (mu_n = 0)", {"nonrobust_mean": 0.0})
WEAK = Ablation("a robust block without signal (mu_r = 0)", {"robust_mean": 0.0})
FAR = Ablation("a radius of 0.3", {"radius": 0.3})
HARMLESS = Ablation("a radius of 0.001", {"radius": 0.001})
UNDOUBLED = Ablation("networks that do not start at 0", {"doubled": False})
LAZY = Ablation(
    "a lazy network: width 2,048 in NTK parametrisation",
    {"network": "lazy", "hidden": 2048, "learning_rate": 10.0, "kernel_points": 50, "doubled": False},
)
RICH = Ablation("a standard network, which learns features", {
    "network": "standard", "hidden": 256, "learning_rate": 0.1, "kernel_points": 100,
})  # fmt: skip
TRUE = Ablation("the true labels", {"random_labels": False})
LINEAR = Ablation("the linear kernel, whose top feature is the data's", {"kernel": "linear"})
NO_DATA = Ablation("data without signal", {"nonrobust_mean": 0.0, "robust_mean": 0.0})
OTHER = Ablation("the erf kernel", {"kernel": "erf"})


def _features(config):
    """Whether a run is that of the prototype, from whose few seeds bands are, with all features kept."""
    free = ("num_samples", "num_test", "features", "kept", "times", "ridges", "compare", "net_width")
    free += ("doubled", "widths", "radii", "network", "hidden", "learning_rate", "train_steps", "dim")
    free += ("kernel_points", "clusters", "classes", "steps", "batch_size", "records", "spacing")
    recorded = config.features and config.num_samples in config.kept and config.num_samples >= 200
    return bool(recorded) and set_as(config, PRESETS["small"], *free)


def _enough_features(runs):
    """What a run lacks of features, whose ranks are compared with their robustness, or of test points."""
    (run,) = runs.values()
    return _enough_points(runs) if len(run.config.features) >= 12 else "at least 12 features (features)"


def _enough_points(runs):
    """What a run lacks of test points, which accuracies are shares of."""
    (run,) = runs.values()
    return "" if run.config.num_test >= 100 else "at least 100 test points (num_test)"


CLAIMS = (
    Claim(
        "C2-constant",
        LEDGER,
        "the top feature is nearly constant: accuracy 1/2",
        of("usefulness", "features", mode=0),
        lambda runs: typically(around(0.5, absolute=0.05)),
        LINEAR,
        runs=("features",),
    ),
    Claim(
        "C2-constant-robust",
        LEDGER,
        "the top feature is as robust as it is useful",
        constant_feature,
        lambda runs: typically(at_most(0.02, 0.0)),
        LINEAR,
        runs=("features",),
    ),
    Claim(
        "C2-robust-useful",
        LEDGER,
        "the second feature is useful: accuracy at least 0.92",
        of("usefulness", "features", mode=1),
        lambda runs: typically(at_least(0.92)),
        WEAK,
        runs=("features",),
    ),
    Claim(
        "C2-robust-robust",
        LEDGER,
        "and robust: accuracy at least 0.79 under attack",
        of("robustness", "features", feature=1),
        lambda runs: typically(at_least(0.79)),
        WEAK,
        runs=("features",),
    ),
    Claim(
        "C2-useful-nonrobust",
        LEDGER,
        "one of features 3 to 5 is useful (at least 0.60) and not robust (at most 0.10)",
        useful_nonrobust,
        lambda runs: typically(at_least(0.60)),
        NO_SIGNAL,
        runs=("features",),
    ),
    Claim(
        "C2-deep",
        LEDGER,
        "features from 6 on keep at most 0.02 under attack",
        deepest,
        lambda runs: typically(at_most(0.02, 0.0)),
        HARMLESS,
        runs=("features",),
    ),
    Claim(
        "C2-rank",
        LEDGER,
        "robustness falls with the rank: Spearman's correlation at most -0.75",
        rank_correlation("features"),
        lambda runs: typically(at_most(-0.75)),
        HARMLESS,
        runs=("features",),
        applies=_features,
        needs=_enough_features,
    ),
    Claim(
        "C3-two",
        TRADE,
        "the two largest features alone keep 0.834 under attack",
        of("kept_robust", "features", kept=2),
        lambda runs: typically(at_least(0.834)),
        WEAK,
        runs=("features",),
    ),
    Claim(
        "C3-ten-clean",
        TRADE,
        "the ten largest have accuracy 0.99",
        of("kept_clean", "features", kept=10),
        lambda runs: typically(at_least(0.99)),
        NO_SIGNAL,
        runs=("features",),
    ),
    Claim(
        "C3-ten-robust",
        TRADE,
        "and at most 0.15 under attack",
        of("kept_robust", "features", kept=10),
        lambda runs: typically(at_most(0.15)),
        HARMLESS,
        runs=("features",),
    ),
    Claim(
        "C3-full-clean",
        TRADE,
        "the full kernel has accuracy 0.99",
        full("kept_clean", "features"),
        lambda runs: typically(at_least(0.99)),
        NO_SIGNAL,
        runs=("features",),
        applies=_features,
        needs=_enough_points,
    ),
    Claim(
        "C3-full-robust",
        TRADE,
        "and at most 0.06 under attack",
        full("kept_robust", "features"),
        lambda runs: typically(at_most(0.06)),
        HARMLESS,
        runs=("features",),
        applies=_features,
        needs=_enough_points,
    ),
    Claim(
        "C3-trade",
        TRADE,
        "features below the second add at least 0.04 of clean accuracy",
        full_gain("features"),
        lambda runs: typically(at_least(0.04)),
        NO_SIGNAL,
        runs=("features",),
    ),
    Claim(
        "C3-no-signal",
        TRADE,
        "without signal in the non-robust block they cost at least 0.01 of it",
        full_gain("no_signal"),
        lambda runs: typically(at_most(-0.01)),
        Ablation("that signal put back", {"nonrobust_mean": 0.05}),
        runs=("no_signal",),
    ),
    Claim(
        "C3-difference",
        TRADE,
        "so that this signal is what the full kernel's accuracy rests on: a difference of 0.05",
        nonrobust_gain,
        lambda runs: typically(at_least(0.05)),
        NO_SIGNAL,
        runs=("features", "no_signal"),
    ),
    Claim(
        "C2-random-labels",
        LEDGER,
        "of random labels no feature is useful: accuracies of the first 60 are 0.44 to 0.57 (excess 0)",
        chance_excess(0.44, 0.57),
        lambda runs: typically(at_most(0.0)),
        TRUE,
        runs=("random_labels",),
    ),
    Claim(
        "C4-early",
        TIME,
        "at time 1/lambda_max the kernel predictor keeps 0.74 under attack",
        of("time_robust", "features", time=1),
        lambda runs: typically(at_least(0.74)),
        WEAK,
        runs=("features",),
    ),
    Claim(
        "C4-middle",
        TIME,
        "at 10/lambda_max 0.58 to 0.76",
        of("time_robust", "features", time=10),
        lambda runs: typically(between(0.58, 0.76)),
        WEAK,
        runs=("features",),
    ),
    Claim(
        "C4-late",
        TIME,
        "at 100/lambda_max at most 0.08: what is learned late is not robust",
        of("time_robust", "features", time=100),
        lambda runs: typically(at_most(0.08)),
        HARMLESS,
        runs=("features",),
    ),
    Claim(
        "C4-networks",
        TIME,
        "networks of width 512 follow the kernel's robust accuracy within 0.12 at each time",
        network_distance,
        lambda runs: at_most(0.12, 0.0),
        Ablation("networks of width 16", {"net_width": 16}),
        runs=("networks",),
    ),
    Claim(
        "C5-gradients",
        TRANSFER,
        "1 - cosine of network's and kernel's input gradients falls as width^(-1/2): exponent -0.58 to -0.38",
        gradient_slope("width"),
        lambda runs: typically(between(-0.58, -0.38, -0.5)),
        UNDOUBLED,
        runs=("width",),
    ),
    Claim(
        "C5-plateau",
        TRANSFER,
        "networks that do not start at 0 never come near: slope above -0.15",
        gradient_slope("undoubled"),
        lambda runs: typically(at_least(-0.15, 0.0)),
        Ablation("networks that start at 0", {"doubled": True}),
        runs=("undoubled",),
    ),
    Claim(
        "C5-transfer",
        TRANSFER,
        "from width 256 on the kernel's attack is as strong as the white-box one, within 0.03",
        transfer_gap("width"),
        lambda runs: typically(at_most(0.03, 0.0)),
        UNDOUBLED,
        runs=("width",),
    ),
    Claim(
        "C5-beats-networks",
        TRANSFER,
        "it is stronger than another network's attack, by at least 0.04",
        better_than_networks("width"),
        lambda runs: typically(at_least(0.04)),
        NO_DATA,
        runs=("width",),
    ),
    Claim(
        "C5-beats-networks-undoubled",
        TRANSFER,
        "also of networks that do not start at 0",
        better_than_networks("undoubled"),
        lambda runs: typically(at_least(0.04)),
        NO_DATA,
        runs=("undoubled",),
    ),
    Claim(
        "C5-signs",
        TRANSFER,
        "random signs of the same size leave 0.98",
        random_signs("width"),
        lambda runs: typically(at_least(0.98)),
        NO_DATA,
        runs=("width",),
    ),
    Claim(
        "C7-standard",
        CONCENTRATION,
        "standard training spreads the kernel: its tail below 20 eigenvalues grows",
        tail_ratio("evolution", "standard", "start"),
        lambda runs: at_least(1.01),
        Ablation("no training", {"steps": 0, "records": 2}),
        runs=("evolution",),
    ),
    Claim(
        "C7-adversarial",
        CONCENTRATION,
        "adversarial training concentrates it: the tail shrinks",
        tail_ratio("evolution", "pgd", "start"),
        lambda runs: at_most(0.99),
        HARMLESS,
        runs=("evolution",),
    ),
    Claim(
        "C7-ratio",
        CONCENTRATION,
        "the tail after standard training is at least 4 times that after adversarial training",
        tail_ratio("evolution", "standard", "pgd"),
        lambda runs: typically(at_least(4.0)),
        LAZY,
        runs=("evolution",),
    ),
    Claim(
        "C7-ratio-clean",
        CONCENTRATION,
        "and at least 3 times on clean points",
        tail_ratio("evolution", "standard", "pgd", "kernel_clean"),
        lambda runs: typically(at_least(3.0)),
        LAZY,
        runs=("evolution",),
    ),
    Claim(
        "C7-lazy",
        CONCENTRATION,
        "a lazy network's kernel hardly differs: a ratio below 2",
        tail_ratio("lazy", "standard", "pgd"),
        lambda runs: typically(at_most(2.0)),
        RICH,
        runs=("lazy",),
    ),
    Claim(
        "A7-spectrum",
        CLUSTERS,
        "eigenvalues on the centres: one of 1 + (k - 1)/2pi, all others 1 - 1/2pi, over their mean",
        spectrum_error,
        lambda runs: at_most(1e-10, 0.0),
        OTHER,
        runs=("clusters",),
    ),
    Claim(
        "A7-radius",
        CLUSTERS,
        "flip radii over sqrt(d): 0.61952, 0.49121, 0.37211, 0.27468, 0.19959 at k = 4 to 64",
        flip_error("clusters"),
        lambda runs: at_most(1e-5, 0.0),
        OTHER,
        runs=("clusters",),
    ),
    Claim(
        "A7-dimension",
        CLUSTERS,
        "whatever the dimension",
        flip_error("wide_clusters"),
        lambda runs: at_most(1e-5, 0.0),
        OTHER,
        runs=("wide_clusters",),
    ),
    Claim(
        "A7-exponent",
        CLUSTERS,
        "the radius falls towards k^(-1/2), the sqrt(d/k) law of clusters: local exponent -0.5 +- 0.05",
        flip_exponent("clusters"),
        lambda runs: around(-0.5, absolute=0.05),
        Ablation("few clusters", {"clusters": (2, 4)}),
        runs=("clusters",),
    ),
    Claim(
        "A8-two",
        TRADE,
        "MNIST, 3 against 8: two features have accuracy 0.72 to 0.79 ...",
        of("kept_clean", "mnist", kept=2),
        lambda runs: typically(between(0.72, 0.79)),
        Ablation("0 against 1", {"classes": (0, 1)}),
        runs=("mnist",),
    ),
    Claim(
        "A8-twenty",
        TRADE,
        "... twenty keep 0.705 to 0.735 under attack, on average over 24 draws of the images ...",
        of("kept_robust", "mnist_draws", kept=20),
        lambda runs: typically(between(0.705, 0.735)),
        FAR,
        runs=("mnist_draws",),
    ),
    Claim(
        "A8-peak",
        TRADE,
        "... in each more than two do, and than all do ...",
        peak("mnist_draws", 20, 2),
        lambda runs: at_least(0.0),
        HARMLESS,
        runs=("mnist_draws",),
    ),
    *(
        Claim(
            f"A8-{name}-robust",
            TRADE,
            f"... {name} keep {low:g} to {high:g}, on average over as many draws ...",
            of("kept_robust", "mnist_draws", kept=kept),
            lambda runs, low=low, high=high: typically(between(low, high)),
            FAR,
            runs=("mnist_draws",),
        )
        for name, kept, low, high in (
            ("two", 2, 0.55, 0.61),
            ("ten", 10, 0.68, 0.72),
            ("fifty", 50, 0.62, 0.65),
        )
    ),
    Claim(
        "A8-full",
        TRADE,
        "... and the full kernel 0.175 to 0.335 ...",
        full("kept_robust", "mnist"),
        lambda runs: typically(between(0.175, 0.335)),
        HARMLESS,
        runs=("mnist",),
    ),
    Claim(
        "A8-full-clean",
        TRADE,
        "... of an accuracy of at least 0.955, over 24 draws",
        full("kept_clean", "mnist_draws"),
        lambda runs: typically(between(0.955, 1.0)),
        Ablation("the linear kernel", {"kernel": "linear"}),
        runs=("mnist_draws",),
    ),
    *(
        Claim(
            f"A8-time-{time}",
            TIME,
            f"MNIST: at {time}/lambda_max the kernel predictor keeps {low:g} to {high:g}, over 24 draws",
            of("time_robust", "mnist_draws", time=time),
            lambda runs, low=low, high=high: typically(between(low, high)),
            FAR,
            runs=("mnist_draws",),
        )
        for time, low, high in ((1, 0.635, 0.71), (10, 0.655, 0.73), (100, 0.705, 0.735), (1000, 0.47, 0.56))
    ),
    Claim(
        "A8-time-peak",
        TIME,
        "MNIST: most at about 1/lambda_2: over 24 draws within a factor of ten of it",
        peak_time("mnist_draws"),
        lambda runs: typically(at_most(1.0)),
        HARMLESS,
        runs=("mnist_draws",),
    ),
    Claim(
        "A8-rank",
        LEDGER,
        "MNIST: robustness falls with the rank: Spearman's correlation at most -0.94",
        rank_correlation("mnist"),
        lambda runs: typically(at_most(-0.94)),
        HARMLESS,
        runs=("mnist",),
    ),
    Claim(
        "A8-deep-features",
        LEDGER,
        "MNIST: features 40 to 59 keep at most 0.02",
        deep_robustness(40, 59),
        lambda runs: typically(at_most(0.02, 0.0)),
        HARMLESS,
        runs=("mnist",),
    ),
    Claim(
        "A8-deeper-net",
        TRADE,
        "MNIST: the full kernel of a net with two hidden layers keeps 0.505 to 0.61",
        full("kept_robust", "mnist_deep"),
        lambda runs: typically(between(0.505, 0.61)),
        Ablation("one hidden layer", {"depth": 1}),
        runs=("mnist_deep",),
    ),
    Claim(
        "A8-deeper-twenty",
        TRADE,
        "MNIST: and twenty of its features 0.72 to 0.74, over 24 draws",
        of("kept_robust", "mnist_deep_draws", kept=20),
        lambda runs: typically(between(0.72, 0.74)),
        Ablation("one hidden layer", {"depth": 1}),
        runs=("mnist_deep_draws",),
    ),
    Claim(
        "C6-subspace",
        SAME,
        "MNIST: nets with one and two hidden layers share their ten leading eigenvectors: overlap 0.98",
        of("overlap", "mnist", other="relu 2", leading=10),
        lambda runs: typically(at_least(0.98)),
        Ablation("an rbf kernel", {"kernel": "rbf"}),
        runs=("mnist",),
    ),
    Claim(
        "C6-top",
        SAME,
        "MNIST: and their ten leading features on test points: mean |cos| 0.95",
        agreement("relu 2", 0, 10),
        lambda runs: typically(at_least(0.95)),
        Ablation("an rbf kernel", {"kernel": "rbf"}),
        runs=("mnist",),
    ),
    Claim(
        "C6-bottom",
        SAME,
        "MNIST: but not those from 100 on: mean |cos| at most 0.35",
        agreement("relu 2", 100, None),
        lambda runs: typically(at_most(0.35)),
        Ablation("the same kernel", {"depth": 2}),
        runs=("mnist",),
    ),
)
