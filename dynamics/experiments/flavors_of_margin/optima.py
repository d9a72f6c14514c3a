"""Claims about flavors of margin where the largest margin is known: linear predictors, few points."""

from dynamics.experiments.flavors_of_margin.quantities import (
    final_ratio,
    final_stationarity,
    integer_distance,
    largest_over_optimum,
    logarithmic_change,
    logarithmic_growth,
    predictor_ratio,
    shortfall_over_bound,
    slope,
    where_fitted,
    worst_final_ratio,
    worst_identity,
    worst_off_diagonal,
)
from dynamics.study.old import Ablation, Claim, around, at_least, at_most, between, typically

MARGIN = "margin theorem"
LINEAR = "Gunasekar et al. 2018, on linear predictors"
DERIVED = "derived from the margin theorem"
ROUNDING = 1e-6
"""What rounding, of a margin or of the program that finds the largest one, may add to a ratio."""
LATE_START = Ablation(
    "a start of large norm, which few steps do not leave", {"init_scale": 30.0, "steps": 300}
)
ONE_PARAMETER = Ablation(
    "one parameter: all norms are one",
    {
        "model": "linear",
        "data": "linear",
        "dim": 1,
        "init_scale": 0.0,
        "step_rule": ("loss_adaptive",),
        "steps": 500,
    },
)
STALLED = Ablation(
    "the raw step, which stalls as the loss vanishes", {"step_rule": ("raw",), "learning_rate": (1 / 40,)}
)
SHORT = Ablation("training stopped early", {"steps": 300})
SQUARE_ROOT = Ablation("steps that decay as 1/sqrt(t)", {"decay": 0.5})
CONSTANT = Ablation("steps that do not decay", {"decay": 0.0})
ADAPTIVE = Ablation("the loss-adaptive step", {"step_rule": ("loss_adaptive",), "learning_rate": (1.0,)})


def _ratio(id, algorithm, least, name, ablation, statement, most=float("inf")):
    return Claim(
        id,
        DERIVED,
        statement,
        final_ratio(algorithm, name),
        lambda runs: typically(between(least, most, 1.0)),
        ablation,
        runs=(name,),
    )


def _never_above(id, source, statement, swapped, **norms_of):
    return Claim(
        id,
        source,
        statement,
        largest_over_optimum(**norms_of),
        lambda runs: at_most(1 + ROUNDING),
        Ablation("margins of other norms against the same optima", {"algorithms": swapped, "steps": 1000}),
        runs=tuple(norms_of),
    )


def diagonal(id, source, statement, name, *norms, applies=None):
    return Claim(
        id,
        source,
        statement,
        worst_off_diagonal(name, *norms),
        lambda runs: at_most(1 - ROUNDING),
        ONE_PARAMETER,
        runs=(name,),
        applies=applies,
    )


def _rate(id, algorithm, name, first, last, band, ablation, statement):
    return Claim(
        id, "rates of steepest descent on linear predictors", statement,
        slope(algorithm, name, first, last), lambda runs: band, ablation, runs=(name,),
    )  # fmt: skip


CLAIMS = (
    Claim(
        "A1-identity",
        DERIVED,
        "one point, linear: from 0 on every step has the largest margin, the dual norm of the point",
        worst_identity,
        lambda runs: at_most(1e-10, 0.0),
        Ablation("a start other than 0", {"init_scale": 0.1}),
        runs=("identity",),
    ),
    Claim(
        "A2-own",
        LINEAR,
        "linear, n=20, d=50: each algorithm comes to the largest margin of its own norm",
        worst_final_ratio("wide"),
        lambda runs: typically(at_least(0.995, 1.0)),
        STALLED,
        runs=("wide",),
    ),
    # of coordinate descent no such claim is made: few seeds, whose largest margin is small, decide its mean
    *(
        Claim(
            f"A2-tall-{norm}",
            LINEAR,
            f"linear, n=40, d=20: {algorithm} comes to the largest margin of its own norm",
            final_ratio(algorithm, "tall"),
            lambda runs: typically(at_least(0.97, 1.0)),
            STALLED,
            runs=("tall",),
        )
        for algorithm, norm in (("gd", "l2"), ("sign", "linf"))
    ),
    _never_above(
        "A2-never-above",
        "definition of the largest margin",
        "linear: no algorithm's margin is above the largest one of its norm",
        ("sign", "coordinate", "gd"),
        **dict.fromkeys(("wide", "tall", "sqrt", "raw"), ("l2", "linf", "l1")),
    ),
    *(
        Claim(
            f"A2-bound-{name}",
            f"{LINEAR}; bound derived for the flow",
            f"linear, {shape}: each shortfall is at most log n / (log(1/L) + log n) of the optimum",
            shortfall_over_bound(name),
            lambda runs: at_most(1.0),
            Ablation("a start other than 0", {"init_scale": 1000.0}),
            runs=(name,),
        )
        for name, shape in (("wide", "n=20, d=50"), ("tall", "n=40, d=20"))
    ),
    diagonal(
        "A2-diagonal",
        LINEAR,
        "linear: in each norm its own algorithm has the largest margin",
        "wide",
        "l1",
        "l2",
        "linf",
    ),
    *(
        _rate(
            f"A3-adaptive-{norm}",
            algorithm,
            "wide",
            1000,
            10_000,
            around(-1.0, absolute=0.15),
            SQUARE_ROOT,
            f"linear, {algorithm}: with loss-adaptive steps the shortfall of the margin falls as 1/t",
        )
        for algorithm, norm in (("gd", "l2"), ("sign", "linf"), ("coordinate", "l1"))
    ),
    # of coordinate descent the mean only, here and below: its slopes scatter widely between seeds
    *(
        _rate(
            f"A3-sqrt-{norm}",
            algorithm,
            "sqrt",
            10_000,
            100_000,
            band,
            CONSTANT,
            f"linear, {algorithm}: with steps that decay as 1/sqrt(t) the shortfall falls as 1/sqrt(t)",
        )
        for algorithm, norm, band in (
            ("gd", "l2", around(-0.5, absolute=0.15)),
            ("sign", "linf", around(-0.5, absolute=0.15)),
            ("coordinate", "l1", typically(around(-0.5, absolute=0.15))),
        )
    ),
    *(
        _rate(
            id,
            algorithm,
            "raw",
            10_000,
            100_000,
            band,
            ADAPTIVE,
            f"linear, {algorithm}: with raw steps the shortfall falls slower than any power of t",
        )
        for id, algorithm, band in (
            ("A3-raw-slope", "gd", between(-0.25, -0.1)),
            ("A3-raw-slope-linf", "sign", between(-0.25, -0.1)),
            ("A3-raw-slope-l1", "coordinate", typically(between(-0.25, -0.1))),
        )
    ),
    Claim(
        "A3-raw-constant",
        "rates of steepest descent on linear predictors",
        "linear, gd: with raw steps the shortfall times log t stays within 15 % from step 1e4 to 1e5",
        logarithmic_change,
        lambda runs: typically(at_most(0.15, 0.0)),
        ADAPTIVE,
        runs=("raw",),
    ),
    Claim(
        "A3-raw-logarithm",
        "rates of steepest descent on linear predictors",
        "linear, gd: with raw steps the inverse of the shortfall grows linearly in log t",
        logarithmic_growth,
        lambda runs: around(1.0, absolute=0.15),
        ADAPTIVE,
        runs=("raw",),
    ),
    *(
        _ratio(
            f"A4-deep-{norm}",
            algorithm,
            least,
            "deep_linear",
            Ablation("training stopped early", {"steps": 150}),
            f"two-layer linear network, {algorithm}: the {norm} margin is the largest possible",
        )
        for algorithm, norm, least in (
            ("gd", "l2", 0.998),
            ("spectral", "spectral", 0.99),
            ("sign", "linf", 0.97),
            ("coordinate", "l1", 0.88),
        )
    ),
    *(
        Claim(
            f"A4-predictor-{name}",
            DERIVED,
            f"two-layer linear network, {algorithm}: the predictor has the largest {norm} margin there is",
            predictor_ratio(algorithm, norm, "deep_linear"),
            lambda runs, least=least: typically(at_least(least, 1.0)),
            Ablation("training stopped early", {"steps": 150}),
            runs=("deep_linear",),
        )
        for algorithm, name, norm, least in (
            ("gd", "l2", "l2", 0.99),
            ("spectral", "spectral", "l2", 0.99),
            ("sign", "linf", "linf", 0.99),
            ("coordinate", "l1", "l1", 0.985),
        )
    ),
    Claim(
        "A4-stationary",
        f"{MARGIN}: limit directions are KKT points",
        "two-layer linear network, gd: parameters align with the steepest direction in l2",
        final_stationarity("gd", "deep_linear"),
        lambda runs: typically(at_least(0.999, 1.0)),
        Ablation("training stopped early", {"steps": 150}),
        runs=("deep_linear",),
    ),
    _never_above(
        "A4-never-above",
        DERIVED,
        "two-layer linear network: no algorithm's margin is above the largest one of its norm",
        ("sign", "coordinate", "spectral", "gd"),
        deep_linear=("l2", "linf", "l1", "spectral"),
    ),
    _ratio(
        "A5-point-l2", "gd", 1 - 0.002 / 1.8875, "point", LATE_START,
        "ReLU network, one point: gd comes to |x|_2 / 2", 1 + 0.002 / 1.8875,
    ),
    _ratio(
        "A5-point-l1", "coordinate", 1 - 0.002 / 0.75, "point", SHORT,
        "ReLU network, one point: coordinate descent comes to |x|_inf / 4", 1 + 0.002 / 0.75,
    ),
    Claim(
        "A5-point-linf",
        DERIVED,
        "ReLU network, one point: sign descent comes to |x|_1 for every active positive neuron",
        integer_distance,
        lambda runs: at_most(1e-3, 0.0),
        Ablation("training stopped early", {"steps": 60}),
        runs=("point",),
    ),
    _ratio(
        "A5-orthogonal", "gd", 0.9, "orthogonal",
        Ablation(
            "12 neurons instead of 100: other KKT points, or a point that no neuron is active on",
            {"widths": (12,)},
        ),
        "ReLU network, orthogonal points: gd comes near R / (2 (sqrt n+ + sqrt n-))",
    ),
    Claim(
        "A5-local",
        f"{MARGIN}: limit directions are KKT points",
        "ReLU network, 20 neurons, orthogonal points: where gd fits them, it aligns with the direction of l2",
        where_fitted(final_stationarity("gd", "narrow"), "gd", "narrow"),
        lambda runs: typically(at_least(0.99, 1.0)),
        Ablation("training stopped early", {"steps": 100}),
        runs=("narrow",),
    ),
    _never_above(
        "A5-never-above-orthogonal",
        DERIVED,
        "ReLU networks, 100 or 20 neurons, orthogonal points: the margin of gd is never above the largest",
        ("sign",),
        orthogonal=("l2",),
        narrow=("l2",),
    ),
    _never_above(
        "A5-never-above-point",
        DERIVED,
        "ReLU network, one point: no algorithm's margin is above the largest one of its norm",
        ("sign", "coordinate", "gd"),
        point=("l2", "linf", "l1"),
    ),
)  # fmt: skip
