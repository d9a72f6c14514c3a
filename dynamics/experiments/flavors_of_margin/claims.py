"""The claims of Tsilivis et al. 2025, arXiv:2410.22069, each with the ablation that breaks it.

What a theorem or a derived bound says must hold in every seed. A band that an independent prototype of the
same setting measured, on two to five seeds, must hold for the mean over seeds (`typically`).
"""

import math

from dynamics.experiments.flavors_of_margin.optima import CLAIMS as OPTIMA
from dynamics.experiments.flavors_of_margin.optima import (
    DERIVED,
    MARGIN,
    ONE_PARAMETER,
    ROUNDING,
    diagonal,
)
from dynamics.experiments.flavors_of_margin.quantities import (
    accuracy_distance,
    accuracy_gap,
    adam_after,
    adam_final,
    adam_peak,
    adam_peak_at,
    adam_peak_shift,
    enough_fitted_records,
    enough_late_records,
    final,
    final_stationarity,
    growth_surplus,
    largest_of_others,
    mismatched_decreases,
    momentum_change,
    off_diagonal,
    raw_growth,
    smallest_increment,
    worst_accuracy,
)
from dynamics.experiments.flavors_of_margin.setting import PRESETS
from dynamics.study.old import Ablation, Claim, at_least, at_most, between, set_as, typically

FIGURE = "margin figures, in order"
HIGH_POWERS = Ablation(
    "the others descend in l8 and l16", {"algorithms": ("sign", "l8", "l16"), "steps": 2000}
)
POWERS_OF_L1 = Ablation(
    "the others descend in l1.1 and l1.25", {"algorithms": ("coordinate", "l1.1", "l1.25"), "steps": 2000}
)
POWERS_OF_L2 = Ablation(
    "the others descend in l1.8 and l2.2", {"algorithms": ("gd", "l1.8", "l2.2"), "steps": 2000}
)
LATE_DIGITS = Ablation(
    "a start of large norm, which few steps do not leave", {"init_scale": 10.0, "steps": 40}
)
LONG_STEPS = Ablation(
    "steps so long that they follow no flow (log L by 20 a step)", {"learning_rate": (20.0,)}
)
FEW_STEPS = Ablation("training stopped soon after the data are fitted", {"steps": 400})
ON_LOG_LOSS = Ablation("Adam on the logarithm of the loss", {"objective": "log_loss"})
RAW_ADAM = Ablation("Adam on the loss itself", {"objective": "loss"})
DENSE = Ablation("a dense teacher", {"teacher_fraction": 1.0})
SPARSE = Ablation("a sparse teacher", {"teacher_fraction": 0.04})


def _trains(config) -> bool:
    """Whether a run is the setting of the trajectories: a smooth network followed closely, for long."""
    return (
        config.data == "relu_teacher"
        and config.model == "network"
        and config.activation == "relu_power"
        and config.step_rule == ("log_decrease",)
        and config.learning_rate[0] <= 0.05
        and config.learning_rate[0] * config.steps >= 400  # by so much log L falls
        and config.float64
        and not config.momentum
        and config.steps >= 10_000
        and set(config.algorithms) == {"gd", "sign", "coordinate", "spectral"}
    )


def _as_measured(config) -> bool:
    """Whether a run is that of the prototype, from whose few seeds bands are."""
    free = ("algorithms", "norms", "records", "spacing", "num_test", "certificate")
    return _trains(config) and set_as(config, PRESETS["small"], *free)


def _matrix(id, algorithm, norm, most, ablation, *, name="main", applies=_as_measured, where=""):
    return Claim(
        id,
        FIGURE,
        f"{where}no other algorithm's {norm} margin comes near that of {algorithm}",
        off_diagonal(norm, name),
        lambda runs: typically(at_most(most)),
        ablation,
        runs=(name,),
        applies=applies,
    )


def _stationary(algorithm, norm, least):
    return Claim(
        f"A6-stationary-{norm}",
        f"{MARGIN}: limit directions are KKT points",
        f"{algorithm}: parameters align with the steepest direction in {norm}",
        final_stationarity(algorithm),
        lambda runs: typically(at_least(least, 1.0)),
        FEW_STEPS,
        applies=_as_measured,
        needs=enough_late_records,
    )


CLAIMS = (
    *OPTIMA,
    Claim(
        "A6-monotone",
        MARGIN,
        "once the loss is below 1, the soft margin of each algorithm's own norm never falls",
        smallest_increment,
        lambda runs: at_least(0.0),
        Ablation(
            f"{LONG_STEPS.about}, without coordinate descent, which then fits nothing",
            LONG_STEPS.change | {"algorithms": ("gd", "sign", "spectral")},
        ),
        applies=_trains,
        needs=enough_fitted_records(2),
    ),
    Claim(
        "A6-mismatched",
        f"{MARGIN}, by contrast",
        "in a norm not its own, the soft margin of some algorithm falls",
        mismatched_decreases,
        lambda runs: at_least(1.0),
        Ablation(
            "one parameter and one point: all norms are one",
            {
                **{"model": "linear", "data": "linear", "dim": 1, "num_samples": 1},
                **{"step_rule": ("loss_adaptive",), "steps": 2000},
            },
        ),
        applies=_trains,
        needs=enough_fitted_records(20),
    ),
    _stationary("gd", "l2", 0.96),
    _stationary("sign", "linf", 0.83),
    _stationary("spectral", "spectral", 0.93),
    _stationary("coordinate", "l1", 0.4),
    Claim(
        "A6-growth",
        DERIVED,
        "gd, spectral: the soft margin grows at least as the integral of L (1/beta - 1) d log |theta|",
        growth_surplus("gd", "spectral"),
        lambda runs: at_least(0.0),
        LONG_STEPS,
        runs=("fine",),
    ),
    Claim(  # of flow; steps of finite length chatter about it, and one seed in sixteen falls a little short
        "A6-growth-sign",
        DERIVED,
        "sign: the soft margin grows at least as the integral of L (1/beta - 1) d log |theta|",
        growth_surplus("sign"),
        lambda runs: typically(at_least(0.0)),
        LONG_STEPS,
        runs=("fine",),
    ),
    _matrix("A7-linf", "sign", "linf", 0.03, HIGH_POWERS),
    _matrix("A7-spectral", "spectral", "spectral", 0.55, ONE_PARAMETER),
    _matrix("A7-l1", "coordinate", "l1", 0.4, POWERS_OF_L1),
    _matrix("A7-l2", "gd", "l2", 0.98, POWERS_OF_L2),
    diagonal(
        "A7-diagonal",
        FIGURE,
        "in each of the four norms its own algorithm has the largest margin",
        "main",
        "l1",
        "l2",
        "linf",
        "spectral",
        applies=_trains,
    ),
    diagonal(
        "A7-relu",
        FIGURE,
        "ReLU network: the l2, linf and spectral margins each are largest under their own algorithm",
        "relu",
        "l2",
        "linf",
        "spectral",
    ),
    # no band in linf: one seed in sixteen fits the data late, and has 0.75 where the others have about 0.09
    Claim(
        "A8-peak-4",
        "connection to Adam",
        "Adam with eps = 1e-4 first raises the linf margin",
        adam_peak("adam_4"),
        lambda runs: typically(at_least(0.9, 1.0)),
        Ablation("eps = 10: rescaled gradient descent from the start", {"adam_eps": 10.0}),
        runs=("adam_4",),
    ),
    Claim(
        "A8-peak-8",
        "connection to Adam",
        "Adam with eps = 1e-8 first raises the linf margin",
        adam_peak("adam_8"),
        lambda runs: typically(at_least(0.95, 1.0)),
        Ablation("eps = 10: rescaled gradient descent from the start", {"adam_eps": 10.0}),
        runs=("adam_8",),
    ),
    *(
        Claim(
            f"A8-switch-{name[-1]}",
            "connection to Adam",
            f"Adam with eps = 1e-{name[-1]} leaves the linf margin where gradients fall below eps",
            adam_peak_at(name),
            lambda runs: typically(between(2.5, 5.2)),
            ON_LOG_LOSS,
            runs=(name,),
        )
        for name in ("adam_4", "adam_8")
    ),
    Claim(
        "A8-shift",
        "connection to Adam",
        "the switch moves with log(1/eps)",
        adam_peak_shift,
        # log(1e-4 / 1e-8) by theory; a prototype, whose band this is, measured 8.6
        lambda runs: typically(between(7.9, 9.3, math.log(1e4))),
        ON_LOG_LOSS,
        runs=("adam_4", "adam_8"),
    ),
    *(
        Claim(
            f"A8-linf-falls-{name[-1]}",
            "connection to Adam",
            f"Adam with eps = 1e-{name[-1]}: after the switch the linf margin falls below 0.9 of the largest",
            adam_final("linf", name),
            lambda runs: typically(at_most(0.9)),
            ON_LOG_LOSS,
            runs=(name,),
        )
        for name in ("adam_4", "adam_8")
    ),
    *(
        Claim(
            f"A8-l2-rises-{name[-1]}",
            "connection to Adam",
            f"Adam with eps = 1e-{name[-1]}: after the switch the l2 margin rises",
            adam_after("l2", name),
            lambda runs: typically(at_least(0.06)),
            ON_LOG_LOSS,
            runs=(name,),
        )
        for name in ("adam_4", "adam_8")
    ),
    Claim(
        "A8-log-loss",
        "connection to Adam",
        "Adam on the logarithm of the loss stays with the linf margin",
        adam_final("linf", "adam_log"),
        lambda runs: between(0.99, 1 + ROUNDING, 1.0),
        RAW_ADAM,
        runs=("adam_log",),
    ),
    diagonal(
        "A9-diagonal",
        "Gronich & Vardi 2026, arXiv:2602.16340",
        "with momentum, too, the l2, linf and spectral margins are largest under their own algorithm",
        "momentum",
        "l2",
        "linf",
        "spectral",
    ),
    # sign, one seed in sixteen: momentum carries the weights far before the data are fitted, and the
    # direction that they then have is outgrown only slowly
    *(
        Claim(
            f"A9-stationary-{norm}",
            "Gronich & Vardi 2026, arXiv:2602.16340",
            f"{algorithm} with momentum: parameters align with the steepest direction in {norm}, as without",
            final_stationarity(algorithm, "momentum"),
            lambda runs, least=least: typically(at_least(least, 1.0)),
            FEW_STEPS,
            runs=("momentum",),
        )
        for algorithm, norm, least in (
            ("gd", "l2", 0.96), ("spectral", "spectral", 0.93), ("sign", "linf", 0.83),
        )
    ),
    # of gd no such claim is made: there momentum lowers the margin by 5 to 6 %, at equal loss too
    *(
        Claim(
            f"A9-same-{norm}",
            "Gronich & Vardi 2026, arXiv:2602.16340, in numbers",
            f"{algorithm}: momentum changes the own margin by little",
            momentum_change(algorithm),
            lambda runs, most=most: typically(at_most(most, 0.0)),
            LONG_STEPS._replace(change=LONG_STEPS.change | {"steps": 1000}),
            runs=("momentum", "plain"),
        )
        for algorithm, norm, most in (("spectral", "spectral", 0.05), ("sign", "linf", 0.2))
    ),
    Claim(
        "A10-sparse",
        "teacher-student figure",
        "sparse teacher: descent in l1.25 generalises better than gd",
        accuracy_gap("sparse", "l1.25", "gd"),
        lambda runs: typically(at_least(0.025)),
        DENSE,
        runs=("sparse",),
    ),
    Claim(
        "A10-sparse-sign",
        "teacher-student figure",
        "sparse teacher: sign descent generalises worse than gd",
        accuracy_gap("sparse", "gd", "sign"),
        lambda runs: typically(at_least(0.04)),
        DENSE,
        runs=("sparse",),
    ),
    Claim(
        "A10-dense",
        "teacher-student figure",
        "dense teacher: descent in l1.25 generalises worse than gd",
        accuracy_gap("dense", "gd", "l1.25"),
        lambda runs: typically(at_least(0.025)),
        SPARSE,
        runs=("dense",),
    ),
    Claim(
        "A10-dense-sign",
        "teacher-student figure",
        "dense teacher: sign descent and gd generalise alike",
        accuracy_distance("dense", "gd", "sign"),
        lambda runs: typically(at_most(0.02, 0.0)),
        SPARSE,
        runs=("dense",),
    ),
    *(
        _matrix(
            f"A11-{norm}", algorithm, norm, most, ablation, name="digits", applies=None, where="digits: ",
        )
        for algorithm, norm, most, ablation in (
            ("sign", "linf", 0.06, HIGH_POWERS),
            ("coordinate", "l1", 0.06, POWERS_OF_L1),
            ("gd", "l2", 0.3, POWERS_OF_L2),
            ("spectral", "spectral", 0.65, ONE_PARAMETER),
        )
    ),
    Claim(
        "A11-saturated",
        "weight histograms, in order",
        "digits: sign descent has over a third of its weights above half the largest",
        final("saturated", "sign", "digits"),
        lambda runs: at_least(0.35),
        LATE_DIGITS,
        runs=("digits",),
    ),
    Claim(
        "A11-not-saturated",
        "weight histograms, in order",
        "digits: no other algorithm has one weight in a hundred there",
        largest_of_others("saturated", "sign", "digits"),
        lambda runs: at_most(0.01),
        HIGH_POWERS,
        runs=("digits",),
    ),
    Claim(
        "A11-sparse",
        "weight histograms, in order",
        "digits: coordinate descent leaves all but one weight in a hundred near 0",
        final("vanishing", "coordinate", "digits"),
        lambda runs: at_least(0.99),
        LATE_DIGITS,
        runs=("digits",),
    ),
    Claim(
        "A11-vanishing-gd",
        "weight histograms, in order",
        "digits: gd leaves between a half and two thirds of its weights near 0",
        final("vanishing", "gd", "digits"),
        lambda runs: between(0.5, 0.65),
        LATE_DIGITS,
        runs=("digits",),
    ),
    Claim(
        "A11-vanishing-sign",
        "weight histograms, in order",
        "digits: sign descent leaves less than one weight in ten near 0",
        final("vanishing", "sign", "digits"),
        lambda runs: at_most(0.1),
        Ablation(
            "a start near 0, where pixels that are always black leave their weights", {"init_scale": 1e-3}
        ),
        runs=("digits",),
    ),
    Claim(
        "A11-accuracy",
        "digits figure",
        "digits: every algorithm generalises",
        worst_accuracy("digits"),
        lambda runs: at_least(0.91),
        Ablation("almost no training", {"steps": 3}),
        runs=("digits",),
    ),
    Claim(
        "A11-authors",
        "digits figure",
        "digits, at the authors' rates: each algorithm's own margin grows from step 500 to 2,000",
        raw_growth,
        lambda runs: at_least(0.01),
        Ablation("steps a million times shorter", {"learning_rate": (1e-10, 1e-10, 4e-8)}),
        runs=("authors",),
    ),
)  # fmt: skip
