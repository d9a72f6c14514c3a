"""The claims of Li & Li 2025, arXiv:2306.01271, each with the ablation that breaks it, and their runs.

What the theorem or a derivation says must hold in every seed. A band that an independent prototype of the
same setting measured, on two to five seeds, must hold for the mean over seeds (`typically`).
"""

from dataclasses import replace
from functools import partial

import numpy as np

from dynamics.experiments.clean_generalization_robust_overfitting import images, setting
from dynamics.experiments.clean_generalization_robust_overfitting import quantities as q
from dynamics.study import Ablation, CheckRun, Claims, around, at_least, at_most, between, last, typically
from dynamics.study.claim import enough
from dynamics.study.quantities import exponent_over, largest_of, largest_ratio

SMALL, CONSTRUCTION = setting.SMALL, setting.PRESETS["construction"]
PLAIN = replace(SMALL, attack_steps=0)
ENDS = replace(PLAIN, records=2)
COUNTS = {
    f"samples_{n}": CheckRun(replace(PLAIN, num_samples=(n,), steps=steps), min_seeds=4)
    for n, steps in ((8, 8000), (16, 10_000), (32, 20_000))
}
WEIGHTS = {
    f"weight_{weight}": CheckRun(replace(PLAIN, adversarial_weight=weight, steps=20_000), min_seeds=4)
    for weight in (0.3, 0.6, 0.9)
}
# the quartic starts as small as the cubic: from 0.2 some networks hold the signal at once
QUIET = replace(ENDS, init_scale=0.1, learning_rate=0.01)
CUBIC, QUARTIC = (
    {
        f"alpha_{alpha:g}_q{power:g}": CheckRun(
            replace(QUIET, signal=alpha, gamma=(0.05 / alpha,), power=power, steps=steps), max_seeds=8
        )
        for alpha in (1.5, 2.0, 3.0, 4.5)
    }
    for power, steps in ((3.0, 15_000), (4.0, 60_000))
)
THRESHOLDS = {
    f"threshold_{n}": CheckRun(
        replace(ENDS, num_samples=(n,), gamma=gammas, steps=steps), max_seeds=8, min_seeds=4
    )
    for n, steps, gammas in (
        (10, 8000, (0.06, 0.08, 0.10, 0.12)),
        (20, 12_000, (0.06, 0.07, 0.08, 0.09)),
        (40, 24_000, (0.045, 0.06, 0.075, 0.09)),
    )
}
COUNTED = replace(CONSTRUCTION, num_test=10, num_points=10, attack_steps=0)
BALLS = {
    f"balls_{n}_{dim}": CheckRun(replace(COUNTED, num_samples=(n,), dim=dim), max_seeds=1)
    for n, dim in ((50, 8), (100, 8), (50, 16))
}
RUNS = {
    "main": CheckRun(PLAIN),
    "attacked": CheckRun(replace(SMALL, records=2)),
    "standard": CheckRun(replace(PLAIN, adversarial_weight=0.0)),
    "weak": CheckRun(replace(PLAIN, gamma=(0.3,))),
    "every_step": CheckRun(replace(PLAIN, steps=300, records=301, spacing="linear")),
    "gammas": CheckRun(replace(ENDS, gamma=(0.02, 0.05, 0.07, 0.09, 0.11), steps=12_000)),
    "construction": CheckRun(CONSTRUCTION, max_seeds=8),
    "parity": CheckRun(replace(CONSTRUCTION, classifier="robust"), max_seeds=8),
    **(COUNTS | WEIGHTS | CUBIC | QUARTIC | THRESHOLDS | BALLS),
    "digits": CheckRun(replace(images.DIGITS, records=2), max_seeds=2, package="sklearn"),
}
CLAIMS = Claims(RUNS)

STANDARD = Ablation("standard training (lambda = 0)", {"adversarial_weight": 0.0})
ADVERSARIAL = Ablation("adversarial training (lambda = 0.9)", {"adversarial_weight": 0.9})
WEAK = Ablation("an adversary that leaves 0.3 of the signal", {"gamma": (0.3,)})
STRONG = Ablation("an adversary that leaves 0.02 of the signal", {"gamma": (0.02,)})
FAINT = Ablation("a signal of a tenth: the noise is memorised in its place", {"signal": 0.3})
ONE_SIDED = Ablation(
    "ReLU^q with positive outputs only, whose scores cannot be negative", {"activation": "relu_power"}
)
ALONE = Ablation("adversarial loss alone (lambda = 1): no signal is learned", {"adversarial_weight": 1.0})
NORMALISED = Ablation("steps along the normalised gradient, whose length says nothing", {"normalize": True})
FIXED_RADIUS = Ablation("a radius of 1: the residual signal grows with the signal", {"radius": 1.0})
STOPPED = Ablation(
    "stopped at step 1,000, too early to memorise", {"steps": 1000, "gamma": (0.05, 0.07, 0.11, 0.16)}
)
CLEAN = Ablation("the clean classifier without balls", {"classifier": "clean"})
PARITY = Ablation("the parity of the signs", {"classifier": "robust"})
BARE = Ablation("standard training", {"attack": "none"})
NARROW = Ablation("width 4", {"width": (4,)})
HEAVY = Ablation("a twentieth of the clean loss (lambda = 0.995)", {"adversarial_weight": 0.995})
SAME_POWER = Ablation("the same power q = 3 for both", {"power": 3.0})
QUIETER = Ablation("noise of a fifth: the residual signal is learned first", {"noise": 0.02})
MOVING = Ablation("an adversary that moves noise patches too", {"attack": "pgd"})
UNTRAINED = Ablation("before training, where U < 0 in every other network", {"steps": 0})
WIDE = Ablation("width 64", {"width": (64,)})
NARROWING = Ablation("width 16 after width 64", {"width": (64, 16)})
WITHIN = Ablation("evaluated within a fifth of the training radius", {"radii": (0.03,)})

THEOREM = "Theorem 5.9 (v4), 4.1 (v1)"
PHASES, FRESH = f"{THEOREM}: three phases", f"{THEOREM}; the sign of fresh noise decides"
DERIVED = "derived from the reduced dynamics"
ORDER = f"{THEOREM}: U of order alpha^-q"
NOISE, CHANCE = "ablation of the theorem; the sign of the noise decides", typically(around(0.5, absolute=0.3))
THRESHOLD_LAW = f"{DERIVED}: threshold gamma_c"
BELOW, ABOVE = {"gamma": [0.02, 0.05]}, {"gamma": [0.09, 0.11]}
REPRESENTATION = "Theorem 4.4"


def _attacked(config) -> bool:
    """Whether a run of the prototype's setting is attacked at the radius 1."""
    return q.like_defaults(config) and config.attack_steps > 0 and 1.0 in config.evaluation_radii


main = partial(CLAIMS.about, "main")
plain = main(source=THEOREM, applies=q.overfits)
alike = partial(main, applies=q.like_defaults)
standard = partial(CLAIMS.about, "standard", applies=q.standard)
without = standard(source="ablation of the theorem")
weak = CLAIMS.about("weak", source=DERIVED, applies=q.learns_residual)
cubic, quartic = (exponent_over(lambda c: c.alpha, q.signal_strength, runs) for runs in (CUBIC, QUARTIC))
gammas = partial(CLAIMS.about, "gammas")
thresholds = CLAIMS.about(*THRESHOLDS, source=THRESHOLD_LAW)
around_all = CLAIMS.about("attacked", where={"radius": 1.0}, source="outside the theorem", applies=_attacked)
written = partial(CLAIMS.about, "construction", applies=q.ROBUST_ERROR.applies)
digits = partial(CLAIMS.about, "digits", applies=q.on_digits, needs=enough("num_test", "num_points"))
SIZES = "model sizes, in order, on other images"
sized, rises = digits(source=SIZES), digits(source="loss landscape, in order, on other images")
CLAIMS.hold(
    (plain, "A1-clean-train", "adversarial training: clean training accuracy is 1",
     lambda run: last(run.clean_train), around(1.0), ONE_SIDED),
    (plain, "A1-clean-test", "adversarial training: clean test accuracy is 1",
     lambda run: last(run.clean_test), around(1.0), FAINT),
    (plain, "A1-robust-train", "adversarial training: robust training accuracy is 1",
     lambda run: last(run.robust_train), around(1.0), STANDARD),
    (main(source=FRESH, applies=q.overfits, needs=enough("num_test", fewest=50)),
     "A1-robust-test", "adversarial training: robust test accuracy is that of a coin",
     lambda run: last(run.robust_test), q.fair_coin, WEAK),
    (alike(source=ORDER), "A1-signal",
     "adversarial training: the signal is learned in part, alpha^q U between 7.5 and 11",
     lambda run: last(q.signal_margin(run)), typically(between(7.5, 11.0)), WEAK),
    (alike(source=f"{THEOREM}: V_i of order 1"), "A1-memory",
     "adversarial training: the noise of the training samples is memorised, mean V between 5 and 7.5",
     lambda run: last(q.memory(run)).mean("sample"), typically(between(5.0, 7.5)), STANDARD),
    (alike(source=f"{THEOREM}: V_i of order 1 for every i"), "A1-least-memory",
     "adversarial training: so is that of the least memorised sample, min V above 2",
     lambda run: last(q.memory(run)).min("sample"), typically(at_least(2.0)), STANDARD),
    (without, "A2-no-memory",
     "standard training (lambda = 0) memorises nothing: V below 0.2 for every sample",
     lambda run: last(q.memory(run)).max("sample"), at_most(0.2, 0.0), ADVERSARIAL),
    (standard(source=NOISE, needs=q.enough_samples),
     "A2-robust-train", "standard training: robust training accuracy is that of a coin",
     lambda run: last(run.robust_train), CHANCE, ADVERSARIAL),
    (without, "A2-clean-test", "standard training: clean test accuracy is 1",
     lambda run: last(run.clean_test), around(1.0), ONE_SIDED),
    (weak, "A3-robust", "an adversary that leaves 0.3 of the signal: robust test accuracy is 1",
     lambda run: last(run.robust_test), around(1.0), STRONG),
    (weak, "A3-no-memory",
     "an adversary that leaves 0.3 of the signal: nothing is memorised, mean V below 0.1",
     lambda run: last(q.memory(run)).mean("sample"), at_most(0.1, 0.0), STRONG),
    (alike(source=PHASES), "A4-signal-time", "phase I is short: alpha^q U passes 1 before step 200",
     q.signal_range, lambda config: typically(at_most(200.0, q.SIGNAL_TIME.predicted(config))), HEAVY),
    (main(source=PHASES, applies=q.overfits),
     "A4-order", "the noise is memorised after the signal is learned: T1 < T3",
     q.phase_range, at_most(1.0, 0.0), ALONE,
     r"T_1 < T_3"),
    (alike(source=PHASES), "A4-ratio", "at the defaults more than 8 times later: T1/T3 below 1/8",
     q.phase_range, typically(at_most(1 / 8)), ALONE),
    (CLAIMS.about(*COUNTS, source=f"{PHASES}; phase III takes a time in proportion to N"),
     "A5-samples", "the time to memorise grows in proportion to the number of samples",
     exponent_over(q.num_samples, q.mean_memory_time), between(0.75, 1.15, 1.0), NORMALISED,
     r"T_3 \propto N"),
    (CLAIMS.about(*WEIGHTS, source=f"{PHASES}; phase III takes a time in inverse proportion to lambda"),
     "A5-weight",
     "the time to memorise falls in inverse proportion to the weight of the adversarial loss",
     exponent_over(lambda c: c.adversarial_weight, q.mean_memory_time),
     around(-1.0, absolute=0.25), NORMALISED,
     r"T_3 \propto \lambda^{-1}"),
    (CLAIMS.about(*CUBIC, source=ORDER),
     "A6-cubic", "q = 3, at a fixed residual signal: U falls with the signal as alpha^-3",
     cubic, typically(between(-3.0, -2.5, -3.0)), FIXED_RADIUS,
     r"U \propto \alpha^{-3}"),
    (CLAIMS.about(*QUARTIC, source=ORDER),
     "A6-quartic", "q = 4, at a fixed residual signal: U falls with the signal as alpha^-4",
     quartic, typically(between(-4.0, -3.4, -4.0)), FIXED_RADIUS,
     r"U \propto \alpha^{-4}"),
    (CLAIMS.about(*CUBIC, *QUARTIC, source=ORDER),
     "A6-difference", "the exponent of q = 4 is lower than that of q = 3 by 1, at least by 0.7",
     lambda runs: cubic(runs) - quartic(runs), typically(at_least(0.7, 1.0)), SAME_POWER),
    (gammas(source=THRESHOLD_LAW, where=BELOW), "A7-overfits",
     "below the threshold (gamma = 0.02, 0.05) robust test accuracy is at most 0.58",
     lambda run: last(run.robust_test).max("gamma"), typically(at_most(0.58, 0.5)), QUIETER),
    (gammas(source=THRESHOLD_LAW, where=ABOVE), "A7-robust",
     "above the threshold (gamma = 0.09, 0.11) robust test accuracy is at least 0.99",
     lambda run: last(run.robust_test).min("gamma"), typically(at_least(0.99, 1.0)), STANDARD),
    (gammas(source=THEOREM), "A7-train", "on both sides of the threshold robust training accuracy is 1",
     lambda run: last(run.robust_train).min("gamma"), around(1.0), STANDARD),
    (thresholds, "A8-decreases",
     "with more samples a weaker residual signal is enough: gamma_c, the first of a grid with robust test "
     "accuracy above 0.9, falls from N = 10 to 20 and to 40",
     largest_ratio(q.threshold), at_most(0.999), STOPPED),
    (thresholds, "A8-exponent", "and this gamma_c falls as N^(-1/q)",
     exponent_over(q.num_samples, q.threshold), between(-0.45, -0.12, -1 / 3), STOPPED,
     r"\gamma_c \propto N^{-1/q}"),
    (main(source="identity", applies=lambda c: q.MEMORY_TIME.applies(c) and c.direction == "first_axis"),
     "A9-scores", "clean and adversarial scores are alpha^q U + V_i and alpha'^q U + V_i at every record",
     q.score_error, at_most(1e-5, 0.0), ONE_SIDED,
     r"\alpha^q U + V_i,\quad \alpha'^q U + V_i"),
    (CLAIMS.about("every_step", source="identity"),
     "A9-update", "every step moves u_r as the reduced dynamics say",
     q.update_error, at_most(1e-5, 0.0), MOVING),
    (CLAIMS.about("attacked", source=DERIVED, applies=lambda c: q.overfits(c) and c.attack_steps > 0),
     "A10-shift-is-worst",
     "within the span of w* PGD leaves the fixed shift's accuracy, at any radius from 0.5 to alpha + 0.1",
     lambda run: np.abs(run.shift_test - run.span_test).max("radius"), around(0.0), UNTRAINED),
    (around_all, "A11-full-train",
     "PGD of radius 1 in all directions turns the training samples: memory is robust along w* only",
     lambda run: run.full_train, typically(at_most(0.05, 0.0)), WEAK),
    (around_all, "A11-full-test", "and the test samples",
     lambda run: run.full_test, typically(at_most(0.05, 0.0)), WEAK),
    (written(source=REPRESENTATION), "A12-memorises",
     "clean classifier with memorised balls: clean test and robust training accuracy are 1",
     lambda run: np.minimum(last(run.clean_test), q.robust_points(run, "train")), around(1.0), CLEAN),
    (written(source=f"{REPRESENTATION}, exact counts"), "A12-counts",
     "and attacks turn exactly those test inputs whose signs no training input has (difference of counts)",
     q.overfit_count_error, around(0.0), PARITY),
    (written(source=f"{REPRESENTATION}, closed form"), "A12-overfits",
     "so that its robust test error is (1 - 2^(1-D))^N in expectation, here within three standard errors",
     q.ROBUST_ERROR.quantity, q.share_unseen, PARITY,
     r"\left(1 - 2^{1 - D}\right)^N"),
    (CLAIMS.about("parity", source=REPRESENTATION, applies=lambda c: q.writes_down(c, "robust")),
     "A12-robust-exists",
     "though a robust classifier of these data exists: the parity of the signs has robust error 0",
     q.ROBUST_ERROR.quantity, around(0.0), CLEAN),
    (CLAIMS.about(*BALLS, source=f"{REPRESENTATION}: poly(D) + O(N D) parameters"),
     "A12-parameters", "the balls take exactly N (10 D + 2) + 1 parameters for D a power of 2",
     largest_of(q.count_error), around(0.0),
     Ablation("D = 12: the tree of maxima has a leaf left over", {"dim": 12}),
     r"N\,(10 D + 2) + 1"),
    (sized, "C7-narrow", "digits: width 4 learns nothing robust, on training or test images",
     lambda run: np.maximum(run.robust_train, run.robust_test).isel(arm=0),
     typically(at_most(0.2, 0.1)), WIDE),
    (digits(source=SIZES, applies=q.widens),
     "C7-rises", "digits: robust training accuracy rises with the width",
     lambda run: run.robust_train.diff("arm").min("arm"), at_least(1e-3), NARROWING),
    (sized, "C7-robust-train", "digits: width 256 memorises: robust training accuracy at least 0.92",
     lambda run: q.widest(run.robust_train), typically(at_least(0.92)), BARE),
    (sized, "C7-robust-test", "digits: and its robust test accuracy stays between 0.55 and 0.8",
     lambda run: q.widest(run.robust_test), typically(between(0.55, 0.8)), BARE),
    (sized, "C7-clean-test", "digits: its clean test accuracy is at least 0.96",
     lambda run: q.widest(last(run.clean_test)), typically(at_least(0.96)), NARROW),
    (sized, "C7-gap", "digits: robust accuracy falls by at least 0.2 from training to test images",
     lambda run: q.widest(run.robust_train - run.robust_test), typically(at_least(0.2)), BARE),
    (rises, "C8-flat-train",
     "digits: the loss is flat about training images: it rises by at most 0.3 within the training radius",
     lambda run: q.rise(run, "train"), typically(at_most(0.3)), BARE),
    (rises, "C8-steep-test", "digits: and steep about test images: it rises by at least 0.6",
     lambda run: q.rise(run, "test"), typically(at_least(0.6)), NARROW),
    (rises, "C8-beyond",
     "digits: at twice the training radius test and training images differ by less than a factor 2",
     lambda run: q.rise(run, "test", 2.0) / q.rise(run, "train", 2.0), typically(at_most(2.0, 1.0)), WITHIN),
)  # fmt: skip
