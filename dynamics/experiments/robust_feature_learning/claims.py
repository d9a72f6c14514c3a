"""The claims of Li & Li 2025, arXiv:2410.08503, each with the ablation that breaks it, and their runs.

What a theorem or an exact derivation says must hold in every seed. A band that an independent prototype of
the same setting measured on a few seeds must hold for the mean over seeds (`typically`).

On images all seeds share one split and one pair of reference networks, and differ in initial weights and
batches: the intervals of those claims say nothing of other splits or references.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from dynamics.experiments.robust_feature_learning import images, setting
from dynamics.experiments.robust_feature_learning import quantities as q
from dynamics.study import Ablation, CheckRun, Claims, around, at_least, at_most, last, typically

SMALL = setting.SMALL
QUICK = replace(SMALL, test_steps=0, records=2)
PLAIN = replace(QUICK, training="standard")
ORACLE = replace(QUICK, training="adversarial", attack="oracle", noise=0.01)
QUIET = replace(PLAIN, noise=0.01)
IDENTITY = replace(PLAIN, steps=300, keep_weights=True)
GRID = tuple(np.round(np.arange(1, 1600) / 2000, 6).tolist())
PURE = replace(PLAIN, steps=0, noise=0.0, compact=True, curve_radii=GRID)
RECURSION = replace(PLAIN, noise=0.0, compact=True, records=200, steps=600)
DENSITY = replace(QUIET, width=8, dim=20, num_samples=20, learning_rate=0.3)
SLOW = replace(
    ORACLE, noise=0.0, compact=True, num_nonrobust=1, nonrobust_strength=0.0, learning_rate=0.1, steps=8000,
    records=400,
)  # fmt: skip
# a knee out of reach: past it the robust feature grows slower, and the crossing shifts
AT_CROSSING = replace(
    ORACLE, radius=SMALL.sizes.crossing_radius(), noise=0.0, compact=True, threshold=10.0, learning_rate=6.0,
    steps=20_000,
)  # fmt: skip
# steps 500, 1000 and 1500
DIGITS = replace(images.DIGITS, records=4, spacing="linear")
LOTTERY = ("lottery_37", "lottery_74", "lottery_148", "lottery_oracle")
SLOW_RUNS = ("slow_2", "slow_4", "slow_6")

RUNS = {
    "standard": CheckRun(replace(SMALL, training="standard", steps=400)),
    "adversarial": CheckRun(replace(SMALL, training="adversarial")),
    "full_attack": CheckRun(setting.PRESETS["full_attack"], max_seeds=4),
    "crossing": CheckRun(replace(ORACLE, radii=(0.06, 0.18, 0.3)), min_seeds=16),
    "at_crossing": CheckRun(AT_CROSSING, min_seeds=16),
    # the fewest seeds that leave the lottery 60 decided classes
    **{f"lottery_{n}": CheckRun(replace(QUIET, num_nonrobust=n), min_seeds=4) for n in (37, 74, 148)},
    "lottery_oracle": CheckRun(replace(ORACLE, radii=(0.06, 0.1, 0.14, 0.18)), min_seeds=4),
    **{f"recursion_{power}": CheckRun(replace(RECURSION, power=power)) for power in (3, 4)},
    **{f"density_{count}": CheckRun(replace(DENSITY, num_nonrobust=count)) for count in (18, 148)},
    "oracle": CheckRun(replace(IDENTITY, training="adversarial", attack="oracle", radius=0.2)),
    "shrunk": CheckRun(replace(IDENTITY, robust_strength=0.8, nonrobust_strength=0.3 - 0.2)),
    "pure_robust": CheckRun(replace(PURE, start="robust")),
    "pure_nonrobust": CheckRun(replace(PURE, start="nonrobust")),
    **{name: CheckRun(replace(SLOW, radius=float(f"0.{name[-1]}"))) for name in SLOW_RUNS},
    # a claim asks for a gap of 0.02, which scatters by 0.015 between networks: two would not decide
    "digits": CheckRun(DIGITS, min_seeds=8, max_seeds=8, package="sklearn"),
}
CLAIMS = Claims(RUNS)

SPARSE = Ablation("18 non-robust patches, too few to win", {"num_nonrobust": 18})
WEAK = Ablation("a training radius of 0.02, far below the crossing", {"radius": 0.02, "test_radius": 0.3})
LATE_KNEE = Ablation("a knee of 1.5: the same logit takes larger projections", {"threshold": 1.5})
LONGER = Ablation("five times the steps", {"steps": 6000})
HALF = Ablation("half of that radius, where the non-robust feature wins", {"radius": 0.06})
FEW = Ablation("30 non-robust patches, too few for a crossing", {"num_nonrobust": 30})
MANY = Ablation("900 non-robust patches, whose crossing lies higher", {"num_nonrobust": 900})
STRONG = Ablation("a non-robust feature that the attack does not use up", {"nonrobust_strength": 0.6})
SEEING = Ablation("an attack that sees the network", {"attack": "one_step"})
WITHIN = Ablation("a test radius below the limit (0.02)", {"test_radius": 0.02})
ROBUST = Ablation("robust features instead", {"start": "robust"})
NONROBUST = Ablation("non-robust features instead", {"start": "nonrobust"})
LARGE = Ablation("weights past the knee of the activation", {"start_size": 3.0})
NEAR = Ablation("PGD of radius 0.02", {"test_radius": 0.02})
NOISY = Ablation("noise 1.5 instead of 0.03", {"noise": 1.5})
SIGN = Ablation(
    "sign descent, under which all projections grow alike",
    {"descent": "sign", "normalize": True, "learning_rate": 1e-3},
)
LINEAR_GROWTH = Ablation("power 2: growth that does not depend on the start's size", {"power": 2.0})
EQUAL = Ablation(
    "adversarial networks that are trained plainly (radius 0.001)",
    {"radius": 0.001, "test_radius": 0.15, "rate_radius": 0.3},
)

DERIVED, GEOMETRY = "derived from the early dynamics", "exact geometry of pure networks"
is_standard, is_adversarial = q.on_patches("standard"), q.on_patches("adversarial")
DENSITY_CONDITION = "theorem on standard training, density condition"
IMAGES, STEPS = (
    "feature learning process on images, in order; seeds share the split and both references",
    [500, 1500],
)

plainly = partial(CLAIMS.about, "standard", where={"training": "standard"})
standard = partial(plainly, source="theorem on standard training")
adversarial = partial(
    CLAIMS.about, "adversarial", where={"training": "adversarial"}, source="theorem on adversarial training"
)
crossing = partial(CLAIMS.about, "crossing", source=DERIVED)
tied, pure_robust = CLAIMS.about("at_crossing", source=DERIVED), CLAIMS.about("pure_robust", source=GEOMETRY)
full = partial(CLAIMS.about, "full_attack")
attacked = full(source="adversarial training with unrestricted attacks, in order")
plain_digits, robust_digits = (
    CLAIMS.about("digits", where={"training": training, "step": STEPS}, source=IMAGES)
    for training in ("standard", "adversarial")
)
CLAIMS.hold(
    (standard(applies=is_standard), "A1-order",
     "standard training: in every class the non-robust feature ends as the stronger one",
     q.nonrobust_share, at_least(1.0), SPARSE),
    (standard(), "A1-nonrobust",
     "standard training: max <w, v> is at least 1.7 after 400 steps (smallest over classes)",
     lambda run: q.nonrobust(run).min("class"), typically(at_least(1.7)), SPARSE),
    (standard(), "A1-nonrobust-top",
     "standard training: max <w, v> is at most 2.3 after 400 steps (largest over classes)",
     lambda run: q.nonrobust(run).max("class"), typically(at_most(2.3)), LATE_KNEE),
    (standard(), "A1-robust",
     "standard training: the robust feature stays small, max <w, u> below 0.5 (largest over classes)",
     lambda run: q.robust(run).max("class"), typically(at_most(0.5)), SPARSE),
    (standard(applies=is_standard), "A1-clean", "standard training: clean test accuracy is 1",
     lambda run: last(run.accuracy), around(1.0), NOISY),
    (standard(applies=lambda c: is_standard(c) and c.evaluation_radius > 1.2 * c.sizes.flip_radius(1)),
     "A1-flip",
     "standard training: moving patches by 0.3 along v_t - v_y flips at least 95 % of the test points",
     lambda run: last(run.flip_accuracy), at_most(0.05, 0.0), SPARSE),
    (standard(), "A1-pgd",
     "standard training: PGD in the span of the features leaves at most 5 % correct",
     lambda run: last(run.family_pgd_accuracy), at_most(0.05, 0.0), SPARSE),
    (plainly(source=DERIVED), "C4-frozen",
     "standard training: a losing robust feature freezes at (a^(2-q) - C_u/C_v b^(2-q))^(1/(2-q))",
     q.frozen_error, typically(at_most(0.02, 0.0)), SIGN,
     r"\left(a^{2 - q} - \frac{C_u}{C_v}\,b^{2 - q}\right)^{1/(2 - q)}"),
    (adversarial(applies=is_adversarial), "A2-order",
     "adversarial training: in every class the robust feature ends as the stronger one",
     q.nonrobust_share, at_most(0.0), WEAK),
    (adversarial(), "A2-robust",
     "adversarial training: max <w, u> is at least 5 after 1,200 steps (smallest over classes)",
     lambda run: q.robust(run).min("class"), typically(at_least(5.0)), WEAK),
    (adversarial(), "A2-robust-top",
     "adversarial training: max <w, u> is at most 9.5 after 1,200 steps (largest over classes)",
     lambda run: q.robust(run).max("class"), typically(at_most(9.5)), LONGER),
    (adversarial(applies=is_adversarial), "A2-nonrobust",
     "adversarial training: max <w, v> stays below 1 (largest over classes)",
     lambda run: q.nonrobust(run).max("class"), at_most(1.0), WEAK),
    (adversarial(applies=is_adversarial), "A2-clean", "adversarial training: clean test accuracy is 1",
     lambda run: last(run.accuracy), around(1.0), NOISY),
    (adversarial(applies=lambda c: is_adversarial(c) and c.evaluation_radius < 0.5 * c.sizes.flip_radius(0)),
     "A2-flip",
     "adversarial training: at least 90 % of the test points withstand u_t - u_y and v_t - v_y",
     lambda run: last(run.flip_accuracy), at_least(0.9), WEAK),
    (adversarial(), "A2-pgd",
     "adversarial training: PGD in the span of the features leaves at least 70 % correct in every seed",
     lambda run: last(run.family_pgd_accuracy), at_least(0.7), WEAK),
    (adversarial(), "A2-pgd-mean", "adversarial training: and at least 85 % on average",
     lambda run: last(run.family_pgd_accuracy), typically(at_least(0.85)), WEAK),
    (CLAIMS.about(*LOTTERY, source=DERIVED, needs=q.enough_decided), "A3-lottery",
     "the larger of S alpha^q a^(q-2) and P_N beta^q b^(q-2) at the start wins (97 % of clear cases)",
     q.lottery_score, typically(at_least(0.97)), SIGN,
     r"S \alpha^q a^{q - 2} \lessgtr P_N \beta^q b^{q - 2}"),
    (CLAIMS.about("recursion_3", "recursion_4", source=DERIVED), "A4-recursion",
     "without noise every neuron follows a + C a_+^(q-1) within 1 % (q = 3 and 4)",
     q.recursion_error, at_most(0.01, 0.0), Ablation("momentum 0.9", {"momentum": 0.9}),
     r"a \leftarrow a + C a_+^{q - 1}"),
    (crossing(where={"train_radius": 0.06}), "A5-below",
     "oracle radius 0.06, below the crossing: at most 20 % of the classes are won by the robust feature",
     q.robust_share, typically(at_most(0.2)), FEW),
    (crossing(where={"train_radius": 0.18}), "A5-above",
     "oracle radius 0.18, above the crossing: at least 85 %",
     q.robust_share, typically(at_least(0.85)), MANY),
    (crossing(where={"train_radius": 0.3}), "A5-all",
     "oracle radius 0.3, where the non-robust feature vanishes: all",
     q.robust_share, at_least(1.0), STRONG),
    (tied, "C5-tie",
     "below the knee, at the oracle radius (beta R - alpha)/(R - 1), R = (P_N/S)^(1/q), the rates tie: "
     "the feature that starts larger wins (97 % of classes)",
     q.tie_score, typically(at_least(0.97)), HALF,
     r"\varepsilon = \frac{\beta R - \alpha}{R - 1},\quad R = (P_N/S)^{1/q}"),
    # three standard errors of a share of 64 independent classes
    (tied, "C5-half", "and that is the robust one in half of the classes",
     q.robust_share, typically(around(0.5, absolute=3 * 0.5 / 64**0.5)), HALF),
    (CLAIMS.about("density_18", source=DENSITY_CONDITION), "A6-sparse",
     "18 non-robust patches: in classes that the start gives to u, u ends over 10 times as strong as v",
     q.sparse_ratio, typically(at_least(10.0)), SIGN),
    (CLAIMS.about("density_148", source=DENSITY_CONDITION), "A6-dense",
     "148 non-robust patches: in classes that the start gives to v, v ends over 5 times as strong as u",
     q.dense_ratio, typically(at_least(5.0)), SIGN),
    (CLAIMS.about("oracle", "shrunk", source=DERIVED), "A7-oracle",
     "training against the oracle attack is standard training with weaker features (final weights)",
     q.identity_error, at_most(1e-5, 0.0), SEEING),
    (CLAIMS.about("pure_nonrobust", source=GEOMETRY), "A8-nonrobust",
     "a network of non-robust features alone is flipped at beta/sqrt 2: accuracy steps from 1 to 0",
     q.threshold_error("flip_curve", lambda sizes: sizes.flip_radius(1)), at_most(1e-3, 0.0), ROBUST,
     r"\frac{\beta}{\sqrt{2}}"),
    (pure_robust, "A8-robust",
     "a network of robust features alone is flipped at alpha/sqrt 2: accuracy steps from 1 to 0",
     q.threshold_error("flip_curve", lambda sizes: sizes.flip_radius(0)), at_most(1e-3, 0.0), NONROBUST,
     r"\frac{\alpha}{\sqrt{2}}"),
    (pure_robust, "A8-plant",
     "and gives in to robust features planted in all non-robust patches at alpha (S/P_N)^(1/q)",
     q.threshold_error("plant_curve", lambda sizes: sizes.plant_radius()), at_most(1e-3, 0.0), LARGE,
     r"\alpha\,(S/P_N)^{1/q}"),
    (CLAIMS.about(*SLOW_RUNS, source=DERIVED), "C8-time",
     "radii near alpha slow learning down: the time for u to grow falls as (alpha - eps)^(-q)",
     q.escape_exponent, around(-3.0, relative=0.05), LINEAR_GROWTH,
     r"T \propto (\alpha - \varepsilon)^{-q}"),
    (attacked, "full-ratio",
     "PGD-4 in all directions: robust features end over 3 times as strong as non-robust ones",
     q.mean_ratio, at_least(3.0), WEAK),
    (attacked, "full-flip", "PGD-4 in all directions: at least 90 % withstand feature flips",
     lambda run: last(run.flip_accuracy), at_least(0.9), WEAK),
    (attacked, "full-one-step", "PGD-4 in all directions: at least 90 % withstand one unrestricted step",
     lambda run: last(run.full_one_step_accuracy), at_least(0.9), WEAK),
    (full(source="derived limit of robust features"), "C7-limit",
     "and yet unrestricted PGD-20 breaks over 20 %: dense patches can carry planted robust features",
     lambda run: last(run.full_pgd_accuracy), at_most(0.8), WITHIN),
    (plain_digits, "digits-standard",
     "digits, at 500 and 1,500 steps: plain networks follow a plain reference's perturbations by 0.15 "
     "more than those of a robust one",
     lambda run: (run.nonrobust_rate - run.robust_rate).min("step"), at_least(0.15), EQUAL),
    (robust_digits, "digits-adversarial",
     "digits, at 500 and 1,500 steps: adversarially trained ones follow the robust one's by 0.02 more",
     lambda run: (run.robust_rate - run.nonrobust_rate).min("step"), typically(at_least(0.02)), EQUAL),
    (plain_digits, "digits-standard-accuracy",
     "digits, at 500 and 1,500 steps: the plain network's PGD accuracy at 0.15 is at most 0.15",
     lambda run: run.pgd_accuracy.max("step"), at_most(0.15), NEAR),
    (robust_digits, "digits-adversarial-accuracy",
     "digits, at 500 and 1,500 steps: the adversarially trained network's is at least 0.55",
     lambda run: run.pgd_accuracy.min("step"), at_least(0.55), EQUAL),
)  # fmt: skip
