"""The claims where the largest margin is known, and their runs: linear predictors, few points."""

from dataclasses import replace

import numpy as np

from dynamics.experiments.flavors_of_margin import quantities as q
from dynamics.experiments.flavors_of_margin.setting import PRESETS, Predictor
from dynamics.study import Ablation, CheckRun, Claims, around, at_least, at_most, between, last, typically
from dynamics.study.quantities import largest_of

WIDE, ORTHOGONAL = PRESETS["linear"], PRESETS["orthogonal"]
LONG = replace(WIDE, steps=100_000)
RUNS = {
    "identity": CheckRun(
        replace(
            WIDE,
            data="point",
            dim=10,
            rescale=False,
            learning_rate=(0.05,),
            steps=100,
            records=101,
            spacing="linear",
        )
    ),
    "wide": CheckRun(WIDE),
    "tall": CheckRun(replace(WIDE, num_samples=40, dim=20)),
    "sqrt": CheckRun(replace(LONG, decay=0.5)),
    "raw": CheckRun(replace(LONG, step_rule=("raw",), learning_rate=(1 / 20,)), min_seeds=16),
    "deep_linear": CheckRun(PRESETS["deep_linear"]),
    "point": CheckRun(PRESETS["point"]),
    "orthogonal": CheckRun(ORTHOGONAL),
    "narrow": CheckRun(replace(ORTHOGONAL, widths=(20,))),
}
CLAIMS = Claims(RUNS)

NORM = {"gd": "l2", "sign": "linf", "coordinate": "l1", "spectral": "spectral"}
"""The norm that each algorithm descends in, by which claims are called."""
ROUNDING = 1e-6
"""What rounding, of a margin or of the program that finds the largest one, may add to a ratio."""
STALLED = Ablation(
    "the raw step, which stalls as the loss vanishes", {"step_rule": ("raw",), "learning_rate": (1 / 40,)}
)
SQUARE_ROOT = Ablation("steps that decay as 1/sqrt(t)", {"decay": 0.5})
CONSTANT = Ablation("steps that do not decay", {"decay": 0.0})
ADAPTIVE = Ablation("the loss-adaptive step", {"step_rule": ("loss_adaptive",), "learning_rate": (1.0,)})
FAR_START = Ablation("a start other than 0", {"init_scale": 1000.0})
LATE_START = Ablation(
    "a start of large norm, which few steps do not leave", {"init_scale": 30.0, "steps": 300}
)
ONE_PARAMETER = Ablation(
    "one parameter: all norms are one",
    Predictor(dim=1, init_scale=0.0, step_rule=("loss_adaptive",), steps=500),
)


def stopped(steps: int) -> Ablation:
    """Training that ends after so many steps."""
    return Ablation("training stopped early", {"steps": steps})


def swapped(*algorithms: str) -> Ablation:
    """Other algorithms in the place of those whose optima margins are compared with."""
    change = {"algorithms": algorithms, "steps": 1000}
    return Ablation("margins of other norms against the same optima", change)


KKT, DERIVED = "margin theorem: limit directions are KKT points", "derived from the margin theorem"
LINEAR = "Gunasekar et al. 2018, on linear predictors"
RATES = "rates of steepest descent on linear predictors"
LARGEST = "no algorithm's margin is above the largest one of its norm"

START = Ablation("a start other than 0", {"init_scale": 0.1})
FEW_NEURONS = Ablation(
    "12 neurons instead of 100: other KKT points, or a point that no neuron is active on", {"widths": (12,)}
)


def by(run: str, algorithm: str, source: str = DERIVED):
    """About one algorithm of a run."""
    return CLAIMS.about(run, where={"algorithm": algorithm}, source=source)


wide = CLAIMS.about("wide", source=LINEAR)
root, slower = around(-0.5, absolute=0.15), between(-0.25, -0.1)
CLAIMS.hold(
    (CLAIMS.about("identity", source=DERIVED), "A1-identity",
     "one point, linear: from 0 on every step has the largest margin, the dual norm of the point",
     lambda run: np.abs(q.own_ratio(run).isel(step=slice(1, None)) - 1).max(("algorithm", "step"), skipna=False),
     at_most(1e-10, 0.0), START),
    (wide, "A2-own", "linear, n=20, d=50: each algorithm comes to the largest margin of its own norm",
     lambda run: q.final_ratio(run).min("algorithm", skipna=False), typically(at_least(0.995, 1.0)), STALLED),
    # of coordinate descent no such claim is made: few seeds, whose largest margin is small, decide its mean
    *((by("tall", algorithm, LINEAR), f"A2-tall-{NORM[algorithm]}",
       f"linear, n=40, d=20: {algorithm} comes to the largest margin of its own norm",
       q.final_ratio, typically(at_least(0.97, 1.0)), STALLED) for algorithm in ("gd", "sign")),
    (CLAIMS.about("wide", "tall", "sqrt", "raw", source="definition of the largest margin"), "A2-never-above",
     f"linear: {LARGEST}", largest_of(q.largest_over_optimum("l2", "linf", "l1")), at_most(1 + ROUNDING),
     swapped("sign", "coordinate", "gd")),
    *((CLAIMS.about(name, source=f"{LINEAR}; bound derived for the flow"), f"A2-bound-{name}",
       f"linear, {shape}: each shortfall is at most log n / (log(1/L) + log n) of the optimum",
       q.shortfall_over_bound, at_most(1.0), FAR_START)
      for name, shape in (("wide", "n=20, d=50"), ("tall", "n=40, d=20"))),
    (wide, "A2-diagonal", "linear: in each norm its own algorithm has the largest margin",
     q.off_diagonal("l1", "l2", "linf"), at_most(1 - ROUNDING), ONE_PARAMETER),
    *((by("wide", algorithm, RATES), f"A3-adaptive-{NORM[algorithm]}",
       f"linear, {algorithm}: with loss-adaptive steps the shortfall of the margin falls as 1/t",
       q.rate(1000, 10_000), around(-1.0, absolute=0.15), SQUARE_ROOT) for algorithm in WIDE.algorithms),
    # of coordinate descent the mean only, here and below: its slopes scatter widely between seeds
    *((by("sqrt", algorithm, RATES), f"A3-sqrt-{NORM[algorithm]}",
       f"linear, {algorithm}: with steps that decay as 1/sqrt(t) the shortfall falls as 1/sqrt(t)",
       q.RATE.quantity, band, CONSTANT)
      for algorithm, band in (("gd", root), ("sign", root), ("coordinate", typically(root)))),
    *((by("raw", algorithm, RATES), f"A3-raw-slope{suffix}",
       f"linear, {algorithm}: with raw steps the shortfall falls slower than any power of t",
       q.RATE.quantity, band, ADAPTIVE)
      for algorithm, suffix, band in (("gd", "", slower), ("sign", "-linf", slower),
                                      ("coordinate", "-l1", typically(slower)))),
    (by("raw", "gd", RATES), "A3-raw-constant",
     "linear, gd: with raw steps the shortfall times log t stays within 15 % from step 1e4 to 1e5",
     q.logarithmic_change, typically(at_most(0.15, 0.0)), ADAPTIVE),
    (by("raw", "gd", RATES), "A3-raw-logarithm",
     "linear, gd: with raw steps the inverse of the shortfall grows linearly in log t",
     q.LOGARITHM.quantity, around(1.0, absolute=0.15), ADAPTIVE),
    *((by("deep_linear", algorithm), f"A4-deep-{NORM[algorithm]}",
       f"two-layer linear network, {algorithm}: the {NORM[algorithm]} margin is the largest possible",
       q.final_ratio, typically(at_least(least, 1.0)), stopped(150))
      for algorithm, least in (("gd", 0.998), ("spectral", 0.99), ("sign", 0.97), ("coordinate", 0.88))),
    *((by("deep_linear", algorithm), f"A4-predictor-{NORM[algorithm]}",
       f"two-layer linear network, {algorithm}: the predictor has the largest {norm} margin there is",
       q.predictor_ratio(norm), typically(at_least(least, 1.0)), stopped(150))
      for algorithm, norm, least in (("gd", "l2", 0.99), ("spectral", "l2", 0.99), ("sign", "linf", 0.99),
                                     ("coordinate", "l1", 0.985))),
    (by("deep_linear", "gd", KKT), "A4-stationary",
     "two-layer linear network, gd: parameters align with the steepest direction in l2",
     q.final_stationarity, typically(at_least(0.999, 1.0)), stopped(150)),
    (CLAIMS.about("deep_linear", source=DERIVED), "A4-never-above", f"two-layer linear network: {LARGEST}",
     q.largest_over_optimum("l2", "linf", "l1", "spectral"), at_most(1 + ROUNDING),
     swapped("sign", "coordinate", "spectral", "gd")),
    (by("point", "gd"), "A5-point-l2", "ReLU network, one point: gd comes to |x|_2 / 2",
     q.final_ratio, typically(around(1.0, absolute=0.002 / 1.8875)), LATE_START),
    (by("point", "coordinate"), "A5-point-l1", "ReLU network, one point: coordinate descent comes to |x|_inf / 4",
     q.final_ratio, typically(around(1.0, absolute=0.002 / 0.75)), stopped(300)),
    (by("point", "sign"), "A5-point-linf",
     "ReLU network, one point: sign descent comes to |x|_1 for every active positive neuron",
     lambda run: np.abs(q.final_ratio(run) - 1), at_most(1e-3, 0.0), stopped(60)),
    (by("orthogonal", "gd"), "A5-orthogonal",
     "ReLU network, orthogonal points: gd comes near R / (2 (sqrt n+ + sqrt n-))",
     q.final_ratio, typically(at_least(0.9, 1.0)), FEW_NEURONS),
    (by("narrow", "gd", KKT), "A5-local",
     "ReLU network, 20 neurons, orthogonal points: where gd fits them, it aligns with the direction of l2",
     lambda run: q.final_stationarity(run).isel(seed=last(q.separated(run))), typically(at_least(0.99, 1.0)), stopped(100)),
    (CLAIMS.about("orthogonal", "narrow", source=DERIVED), "A5-never-above-orthogonal",
     "ReLU networks, 100 or 20 neurons, orthogonal points: the margin of gd is never above the largest",
     largest_of(q.largest_over_optimum("l2")), at_most(1 + ROUNDING), swapped("sign")),
    (CLAIMS.about("point", source=DERIVED), "A5-never-above-point", f"ReLU network, one point: {LARGEST}",
     q.largest_over_optimum("l2", "linf", "l1"), at_most(1 + ROUNDING), swapped("sign", "coordinate", "gd")),
)  # fmt: skip
