"""The claims of Tsilivis et al. 2022, arXiv:2207.11727, each with the ablation that breaks it.

What follows from the attacks' definition holds in every seed; a band that an independent prototype measured
on a few seeds must hold for the mean over seeds (`typically`).
"""

from dynamics.experiments.robust_data_distillation.quantities import (
    at_scale,
    flattery,
    gain,
    gap,
    gap_ratio,
    margin_excess,
    narrowed,
    spread,
    under,
)
from dynamics.experiments.robust_data_distillation.setting import PRESETS
from dynamics.study.old import Ablation, Claim, at_least, at_most, between, set_as, typically

KIP = "base method: kernel inducing points"
ADVERSARIAL = "abstract; robustness from data alone"
FALLACY = "abstract; the robustness is largely fallacious"
NETWORKS = "derived: wide networks follow their kernel"
EVALUATION = "derived: attacks on saturated losses"

PLAIN = Ablation("no attack within the loss (adv-KIP is KIP)", {"attack_steps": 0})
STILL = Ablation("no outer steps", {"steps": 0})
NEAR = Ablation("half the radius", {"radius": 0.1})
WEAK = Ablation("evaluation at a quarter of the radius", {"test_radius": 0.05})
FEW = Ablation("ten learned images", {"num_support": 10})
HARMLESS = Ablation("evaluation at a radius of 1e-6", {"test_radius": 1e-6})
LOSS = Ablation("an inner attack on the cross-entropy", {"attack_loss": "cross_entropy"})
UNDOUBLED = Ablation("networks that do not start at 0", {"doubled": False})
UNSCALED = Ablation("logits as they are", {"scales": (1,)})
SOFTMAX = Ablation("a model that gives out probabilities", {"probabilities": True})


def _reference(config):
    """Whether a run is that of the prototype, from whose few seeds bands are, with every set fitted."""
    free = ("arms", "num_test", "curve_radii", "records", "spacing", "probabilities", "scales", "widths")
    free += ("doubled", "network", "net_rate", "net_steps", "test_radius")
    at_radius = config.evaluation_radius == config.radius
    return len(config.arms) == 4 and at_radius and set_as(config, PRESETS["small"], *free)


def _enough_points(runs):
    """What a run lacks of test points, which accuracies are shares of."""
    fewest = min(run.config.num_test for run in runs.values())
    return "" if fewest >= 100 else "at least 100 test points (num_test)"


def _half_a_point(runs):
    return 0.5 / runs["main"].config.num_test


CLAIMS = (
    Claim(
        "D1-clean",
        KIP,
        "learning the images lowers the error: clean accuracy rises by at least 0.03",
        gain("clean", "kip", "subset"),
        lambda runs: typically(at_least(0.03)),
        STILL,
        runs=("main",),
        applies=_reference,
        needs=_enough_points,
    ),
    Claim(
        "D1-worst",
        KIP,
        "without a gain in robustness: at most 0.08 of the points withstand every attack",
        under("worst", "kip"),
        lambda runs: typically(at_most(0.08)),
        WEAK,
        runs=("main",),
        applies=_reference,
        needs=_enough_points,
    ),
    Claim(
        "D2-clean",
        ADVERSARIAL,
        "images learned against an attack keep a clean accuracy of at least 0.92",
        under("clean", "adv_kip"),
        lambda runs: typically(at_least(0.92)),
        FEW,
        runs=("main",),
        applies=_reference,
        needs=_enough_points,
    ),
    Claim(
        "D2-pgd",
        ADVERSARIAL,
        "and seem robust: about half of the points withstand PGD on the cross-entropy",
        under("pgd", "adv_kip"),
        lambda runs: typically(between(0.48, 0.65)),
        PLAIN,
        runs=("main",),
        applies=_reference,
        needs=_enough_points,
    ),
    Claim(
        "D2-worst",
        ADVERSARIAL,
        "of which fewer withstand every attack",
        under("worst", "adv_kip"),
        lambda runs: typically(between(0.28, 0.46)),
        PLAIN,
        runs=("main",),
        applies=_reference,
        needs=_enough_points,
    ),
    Claim(
        "D2-full",
        ADVERSARIAL,
        "100 learned images withstand every attack at 0.2 more of the points than 1,200 real ones",
        gain("worst", "adv_kip", "full"),
        lambda runs: typically(at_least(0.2)),
        PLAIN,
        runs=("main",),
        applies=_reference,
        needs=_enough_points,
    ),
    Claim(
        "D2-near",
        ADVERSARIAL,
        "at radius 0.1 the gain over plain KIP under every attack is at least 0.05",
        gain("worst", "adv_kip", "kip", "near"),
        lambda runs: typically(at_least(0.05)),
        PLAIN,
        runs=("near",),
    ),
    Claim(
        "D3-overestimate",
        FALLACY,
        "PGD on the cross-entropy overstates the robustness of adv-KIP by at least 0.13",
        flattery("adv_kip"),
        lambda runs: typically(at_least(0.13)),
        NEAR,
        runs=("main",),
        applies=_reference,
        needs=_enough_points,
    ),
    Claim(
        "D3-larger",
        FALLACY,
        "and by more than that of the images it started from",
        flattery("adv_kip", over="subset"),
        lambda runs: at_least(_half_a_point(runs)),
        NEAR,
        runs=("main",),
        applies=_reference,
        needs=_enough_points,
    ),
    Claim(
        "D3-margin",
        FALLACY,
        "ascent on the margin is the stronger attack on every set",
        margin_excess,
        lambda runs: at_most(-_half_a_point(runs)),
        HARMLESS,
        runs=("main",),
        applies=_reference,
        needs=_enough_points,
    ),
    Claim(
        "D3-narrower",
        FALLACY,
        "learned against an attack on the margin, it is overstated less",
        narrowed,
        lambda runs: typically(at_least(_half_a_point(runs))),
        LOSS,
        runs=("main", "margin"),
    ),
    Claim(
        "D3-far",
        FALLACY,
        "at radius 0.5, from which one grey image is in reach of all, nothing is left",
        under("worst", "adv_kip", "far"),
        lambda runs: at_most(0.0, 0.0),
        Ablation("radius 0.1", {"test_radius": 0.1}),
        runs=("far",),
    ),
    Claim(
        "D4-lazy",
        NETWORKS,
        "networks of width 4,096 are within 0.035 of their kernel after 300 steps",
        gap,
        lambda runs: typically(at_most(0.035)),
        UNDOUBLED,
        runs=("networks",),
    ),
    Claim(
        "D4-wider",
        NETWORKS,
        "and come nearer with every width, by a tenth at least where it grows fourfold",
        gap_ratio,
        lambda runs: at_most(0.9),
        UNDOUBLED,
        runs=("networks",),
    ),
    Claim(
        "D5-masked",
        EVALUATION,
        "in float32, logits of 10,000 times the size look robust to PGD on the cross-entropy",
        at_scale("pgd"),
        lambda runs: typically(at_least(0.4)),
        UNSCALED,
        runs=("rescaling",),
    ),
    Claim(
        "D5-margin",
        EVALUATION,
        "the accuracy under ascent on the margin does not depend on their size",
        spread("margin"),
        lambda runs: at_most(0.01, 0.0),
        SOFTMAX,
        runs=("rescaling",),
    ),
)
