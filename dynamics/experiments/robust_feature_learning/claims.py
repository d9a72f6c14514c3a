"""The claims of Li & Li 2025, arXiv:2410.08503, each with the ablation that breaks it.

What a theorem or an exact derivation says must hold in every seed. A band that an independent prototype of
the same setting measured on a few seeds must hold for the mean over seeds (`typically`).

On images all seeds share one split and one pair of reference networks, and differ in initial weights and
batches: the intervals of those claims say nothing of other splits or references.
"""

from dynamics.experiments.robust_feature_learning.quantities import (
    LOTTERY_RUNS,
    RECURSION_RUNS,
    SLOW_RUNS,
    at_end,
    at_steps,
    density_ratio,
    enough_decided,
    escape_exponent,
    extreme,
    frozen_error,
    identity_error,
    lottery_score,
    mean_ratio,
    nonrobust_share,
    on_patches,
    recursion_error,
    robust_share,
    threshold_error,
    tie_score,
)
from dynamics.study.claim import Ablation, Claim, around, at_least, at_most, typically

STANDARD = "theorem on standard training"
ADVERSARIAL = "theorem on adversarial training"
DERIVED = "derived from the early dynamics"
GEOMETRY = "exact geometry of pure networks"
MEASURED = "adversarial training with unrestricted attacks, in order"
IMAGES = "feature learning process on images, in order; seeds share the split and both references"

SPARSE = Ablation("18 non-robust patches, too few to win", {"num_nonrobust": 18})
WEAK = Ablation("a training radius of 0.02, far below the crossing", {"radius": 0.02, "test_radius": 0.3})
LATE_KNEE = Ablation("a knee of 1.5: the same logit takes larger projections", {"threshold": 1.5})
LONGER = Ablation("five times the steps", {"steps": 6000})
HALF = Ablation("half of that radius, where the non-robust feature wins", {"radius": 0.06})
NOISY = Ablation("noise 1.5 instead of 0.03", {"noise": 1.5})
SIGN = Ablation(
    "sign descent, under which all projections grow alike",
    {"descent": "sign", "normalize": True, "learning_rate": 1e-3},
)
LINEAR_GROWTH = Ablation("power 2: growth that does not depend on the start's size", {"power": 2.0})
EQUAL = Ablation("adversarial networks that are trained plainly (radius 0.001)", {
    "radius": 0.001, "test_radius": 0.15, "rate_radius": 0.3,
})  # fmt: skip

_standard = on_patches("standard", False)
_adversarial = on_patches("adversarial", True)


CLAIMS = (
    Claim(
        "A1-order",
        STANDARD,
        "standard training: in every class the non-robust feature ends as the stronger one",
        nonrobust_share("standard", "standard"),
        lambda runs: at_least(1.0),
        SPARSE,
        runs=("standard",),
        applies=_standard,
    ),
    Claim(
        "A1-nonrobust",
        STANDARD,
        "standard training: max <w, v> is at least 1.7 after 400 steps (smallest over classes)",
        extreme("v", "min", "standard", "standard"),
        lambda runs: typically(at_least(1.7)),
        SPARSE,
        runs=("standard",),
    ),
    Claim(
        "A1-nonrobust-top",
        STANDARD,
        "standard training: max <w, v> is at most 2.3 after 400 steps (largest over classes)",
        extreme("v", "max", "standard", "standard"),
        lambda runs: typically(at_most(2.3)),
        LATE_KNEE,
        runs=("standard",),
    ),
    Claim(
        "A1-robust",
        STANDARD,
        "standard training: the robust feature stays small, max <w, u> below 0.5 (largest over classes)",
        extreme("u", "max", "standard", "standard"),
        lambda runs: typically(at_most(0.5)),
        SPARSE,
        runs=("standard",),
    ),
    Claim(
        "A1-clean",
        STANDARD,
        "standard training: clean test accuracy is 1",
        at_end("accuracy", "standard", "standard"),
        lambda runs: around(1.0),
        NOISY,
        runs=("standard",),
        applies=_standard,
    ),
    Claim(
        "A1-flip",
        STANDARD,
        "standard training: moving patches by 0.3 along v_t - v_y flips at least 95 % of the test points",
        at_end("flip_accuracy", "standard", "standard"),
        lambda runs: at_most(0.05, 0.0),
        SPARSE,
        runs=("standard",),
        applies=lambda config: (
            _standard(config) and config.evaluation_radius > 1.2 * config.sizes.flip_radius(1)
        ),
    ),
    Claim(
        "A1-pgd",
        STANDARD,
        "standard training: PGD in the span of the features leaves at most 5 % correct",
        at_end("family_pgd_accuracy", "standard", "standard"),
        lambda runs: at_most(0.05, 0.0),
        SPARSE,
        runs=("standard",),
    ),
    Claim(
        "C4-frozen",
        DERIVED,
        "standard training: a losing robust feature freezes at (a^(2-q) - C_u/C_v b^(2-q))^(1/(2-q))",
        frozen_error,
        lambda runs: typically(at_most(0.02, 0.0)),
        SIGN,
        runs=("standard",),
    ),
    Claim(
        "A2-order",
        ADVERSARIAL,
        "adversarial training: in every class the robust feature ends as the stronger one",
        nonrobust_share("adversarial", "adversarial"),
        lambda runs: at_most(0.0),
        WEAK,
        runs=("adversarial",),
        applies=_adversarial,
    ),
    Claim(
        "A2-robust",
        ADVERSARIAL,
        "adversarial training: max <w, u> is at least 5 after 1,200 steps (smallest over classes)",
        extreme("u", "min", "adversarial", "adversarial"),
        lambda runs: typically(at_least(5.0)),
        WEAK,
        runs=("adversarial",),
    ),
    Claim(
        "A2-robust-top",
        ADVERSARIAL,
        "adversarial training: max <w, u> is at most 9.5 after 1,200 steps (largest over classes)",
        extreme("u", "max", "adversarial", "adversarial"),
        lambda runs: typically(at_most(9.5)),
        LONGER,
        runs=("adversarial",),
    ),
    Claim(
        "A2-nonrobust",
        ADVERSARIAL,
        "adversarial training: max <w, v> stays below 1 (largest over classes)",
        extreme("v", "max", "adversarial", "adversarial"),
        lambda runs: at_most(1.0),
        WEAK,
        runs=("adversarial",),
        applies=_adversarial,
    ),
    Claim(
        "A2-clean",
        ADVERSARIAL,
        "adversarial training: clean test accuracy is 1",
        at_end("accuracy", "adversarial", "adversarial"),
        lambda runs: around(1.0),
        NOISY,
        runs=("adversarial",),
        applies=_adversarial,
    ),
    Claim(
        "A2-flip",
        ADVERSARIAL,
        "adversarial training: at least 90 % of the test points withstand u_t - u_y and v_t - v_y",
        at_end("flip_accuracy", "adversarial", "adversarial"),
        lambda runs: at_least(0.9),
        WEAK,
        runs=("adversarial",),
        applies=lambda config: (
            _adversarial(config) and config.evaluation_radius < 0.5 * config.sizes.flip_radius(0)
        ),
    ),
    Claim(
        "A2-pgd",
        ADVERSARIAL,
        "adversarial training: PGD in the span of the features leaves at least 70 % correct in every seed",
        at_end("family_pgd_accuracy", "adversarial", "adversarial"),
        lambda runs: at_least(0.7),
        WEAK,
        runs=("adversarial",),
    ),
    Claim(
        "A2-pgd-mean",
        ADVERSARIAL,
        "adversarial training: and at least 85 % on average",
        at_end("family_pgd_accuracy", "adversarial", "adversarial"),
        lambda runs: typically(at_least(0.85)),
        WEAK,
        runs=("adversarial",),
    ),
    Claim(
        "A3-lottery",
        DERIVED,
        "the larger of S alpha^q a^(q-2) and P_N beta^q b^(q-2) at the start wins (97 % of clear cases)",
        lottery_score,
        lambda runs: typically(at_least(0.97)),
        SIGN,
        runs=LOTTERY_RUNS,
        needs=enough_decided,
    ),
    Claim(
        "A4-recursion",
        DERIVED,
        "without noise every neuron follows a + C a_+^(q-1) within 1 % (q = 3 and 4)",
        recursion_error,
        lambda runs: at_most(0.01, 0.0),
        Ablation("momentum 0.9", {"momentum": 0.9}),
        runs=RECURSION_RUNS,
    ),
    Claim(
        "A5-below",
        DERIVED,
        "oracle radius 0.06, below the crossing: at most 20 % of the classes are won by the robust feature",
        robust_share("crossing", 0.06),
        lambda runs: typically(at_most(0.2)),
        Ablation("30 non-robust patches, too few for a crossing", {"num_nonrobust": 30}),
        runs=("crossing",),
    ),
    Claim(
        "A5-above",
        DERIVED,
        "oracle radius 0.18, above the crossing: at least 85 %",
        robust_share("crossing", 0.18),
        lambda runs: typically(at_least(0.85)),
        Ablation("900 non-robust patches, whose crossing lies higher", {"num_nonrobust": 900}),
        runs=("crossing",),
    ),
    Claim(
        "A5-all",
        DERIVED,
        "oracle radius 0.3, where the non-robust feature vanishes: all",
        robust_share("crossing", 0.3),
        lambda runs: at_least(1.0),
        Ablation("a non-robust feature that the attack does not use up", {"nonrobust_strength": 0.6}),
        runs=("crossing",),
    ),
    Claim(
        "C5-tie",
        DERIVED,
        "below the knee, at the oracle radius (beta R - alpha)/(R - 1), R = (P_N/S)^(1/q), the rates tie: "
        "the feature that starts larger wins (97 % of classes)",
        tie_score("at_crossing"),
        lambda runs: typically(at_least(0.97)),
        HALF,
        runs=("at_crossing",),
    ),
    Claim(
        "C5-half",
        DERIVED,
        "and that is the robust one in half of the classes",
        robust_share("at_crossing"),
        # three standard errors of a share of 64 independent classes
        lambda runs: typically(around(0.5, absolute=3 * 0.5 / 64**0.5)),
        HALF,
        runs=("at_crossing",),
    ),
    Claim(
        "A6-sparse",
        f"{STANDARD}, density condition",
        "18 non-robust patches: in classes that the start gives to u, u ends over 10 times as strong as v",
        density_ratio("density_18", "u"),
        lambda runs: typically(at_least(10.0)),
        SIGN,
        runs=("density_18",),
    ),
    Claim(
        "A6-dense",
        f"{STANDARD}, density condition",
        "148 non-robust patches: in classes that the start gives to v, v ends over 5 times as strong as u",
        density_ratio("density_148", "v"),
        lambda runs: typically(at_least(5.0)),
        SIGN,
        runs=("density_148",),
    ),
    Claim(
        "A7-oracle",
        DERIVED,
        "training against the oracle attack is standard training with weaker features (final weights)",
        identity_error,
        lambda runs: at_most(1e-5, 0.0),
        Ablation("an attack that sees the network", {"attack": "one_step"}),
        runs=("oracle", "shrunk"),
    ),
    Claim(
        "A8-nonrobust",
        GEOMETRY,
        "a network of non-robust features alone is flipped at beta/sqrt 2: accuracy steps from 1 to 0",
        threshold_error("pure_nonrobust", "flip_curve", lambda c: c.sizes.flip_radius(1)),
        lambda runs: at_most(1e-3, 0.0),
        Ablation("robust features instead", {"start": "robust"}),
        runs=("pure_nonrobust",),
    ),
    Claim(
        "A8-robust",
        GEOMETRY,
        "a network of robust features alone is flipped at alpha/sqrt 2: accuracy steps from 1 to 0",
        threshold_error("pure_robust", "flip_curve", lambda c: c.sizes.flip_radius(0)),
        lambda runs: at_most(1e-3, 0.0),
        Ablation("non-robust features instead", {"start": "nonrobust"}),
        runs=("pure_robust",),
    ),
    Claim(
        "A8-plant",
        GEOMETRY,
        "and gives in to robust features planted in all non-robust patches at alpha (S/P_N)^(1/q)",
        threshold_error("pure_robust", "plant_curve", lambda c: c.sizes.plant_radius()),
        lambda runs: at_most(1e-3, 0.0),
        Ablation("weights past the knee of the activation", {"start_size": 3.0}),
        runs=("pure_robust",),
    ),
    Claim(
        "C8-time",
        DERIVED,
        "radii near alpha slow learning down: the time for u to grow falls as (alpha - eps)^(-q)",
        escape_exponent,
        lambda runs: around(-3.0, relative=0.05),
        LINEAR_GROWTH,
        runs=SLOW_RUNS,
    ),
    Claim(
        "full-ratio",
        MEASURED,
        "PGD-4 in all directions: robust features end over 3 times as strong as non-robust ones",
        mean_ratio("full_attack"),
        lambda runs: at_least(3.0),
        WEAK,
        runs=("full_attack",),
    ),
    Claim(
        "full-flip",
        MEASURED,
        "PGD-4 in all directions: at least 90 % withstand feature flips",
        at_end("flip_accuracy", "adversarial", "full_attack"),
        lambda runs: at_least(0.9),
        WEAK,
        runs=("full_attack",),
    ),
    Claim(
        "full-one-step",
        MEASURED,
        "PGD-4 in all directions: at least 90 % withstand one unrestricted step",
        at_end("full_one_step_accuracy", "adversarial", "full_attack"),
        lambda runs: at_least(0.9),
        WEAK,
        runs=("full_attack",),
    ),
    Claim(
        "C7-limit",
        "derived limit of robust features",
        "and yet unrestricted PGD-20 breaks over 20 %: dense patches can carry planted robust features",
        at_end("full_pgd_accuracy", "adversarial", "full_attack"),
        lambda runs: at_most(0.8),
        Ablation("a test radius below the limit (0.02)", {"test_radius": 0.02}),
        runs=("full_attack",),
    ),
    Claim(
        "digits-standard",
        IMAGES,
        "digits, at 500 and 1,500 steps: plain networks follow a plain reference's perturbations by 0.15 "
        "more than those of a robust one",
        at_steps("digits", "standard", lambda d: d.nonrobust_rate - d.robust_rate, "min"),
        lambda runs: at_least(0.15),
        EQUAL,
        runs=("digits",),
    ),
    Claim(
        "digits-adversarial",
        IMAGES,
        "digits, at 500 and 1,500 steps: adversarially trained ones follow the robust one's by 0.02 more",
        at_steps("digits", "adversarial", lambda d: d.robust_rate - d.nonrobust_rate, "min"),
        lambda runs: typically(at_least(0.02)),
        EQUAL,
        runs=("digits",),
    ),
    Claim(
        "digits-standard-accuracy",
        IMAGES,
        "digits, at 500 and 1,500 steps: the plain network's PGD accuracy at 0.15 is at most 0.15",
        at_steps("digits", "standard", lambda d: d.pgd_accuracy, "max"),
        lambda runs: at_most(0.15),
        Ablation("PGD of radius 0.02", {"test_radius": 0.02}),
        runs=("digits",),
    ),
    Claim(
        "digits-adversarial-accuracy",
        IMAGES,
        "digits, at 500 and 1,500 steps: the adversarially trained network's is at least 0.55",
        at_steps("digits", "adversarial", lambda d: d.pgd_accuracy, "min"),
        lambda runs: at_least(0.55),
        EQUAL,
        runs=("digits",),
    ),
)
