"""The claims of Tsilivis et al. 2022, arXiv:2207.11727, each with the ablation that breaks it; their runs.

What follows from the attacks' definition holds in every seed; a band that an independent prototype measured
on a few seeds must hold for the mean over seeds (`typically`).
"""

from dataclasses import replace
from functools import partial

from dynamics.experiments.robust_data_distillation.quantities import (
    gain,
    gap_ratio,
    margin_excess,
    margin_spread,
    narrowed,
    overestimate,
    under,
)
from dynamics.experiments.robust_data_distillation.setting import PRESETS, Distillation
from dynamics.study import Ablation, CheckRun, Claims, at_least, at_most, between, set_as, typically
from dynamics.study.claim import enough

SMALL = replace(PRESETS["small"], records=2, curve_radii=())
BOTH = replace(SMALL, radius=0.1, steps=200, arms=("kip", "adv_kip"))
ALONE = replace(SMALL, arms=("adv_kip",))

# means are over three seeds at least
RUNS = {
    "main": CheckRun(SMALL, min_seeds=3, package="sklearn"),
    "near": CheckRun(BOTH, min_seeds=3, package="sklearn"),
    "margin": CheckRun(replace(ALONE, attack_loss="margin"), min_seeds=3, package="sklearn"),
    "far": CheckRun(replace(ALONE, test_radius=0.5), max_seeds=3, package="sklearn"),
    "networks": CheckRun(PRESETS["networks"], max_seeds=2, package="sklearn"),
    "rescaling": CheckRun(PRESETS["rescaling"], max_seeds=3, package="sklearn"),
}
CLAIMS = Claims(RUNS)

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

FREE = ("arms", "num_test", "curve_radii", "records", "spacing", "test_radius")


def is_reference(config) -> bool:
    """Whether a run is that of the prototype, from whose few seeds bands are, with every set fitted."""
    if not isinstance(config, Distillation):
        return False
    at_radius = config.evaluation_radius == config.radius
    return len(config.arms) == 4 and at_radius and set_as(config, PRESETS["small"], *FREE)


def half_a_point(config) -> float:
    """The least difference between two accuracies, halved."""
    return 0.5 / config.num_test


ADVERSARIAL = "abstract; robustness from data alone"
FALLACY = "abstract; the robustness is largely fallacious"
OF_ADV_KIP = {"training": "adv_kip"}

main = partial(CLAIMS.about, "main", applies=is_reference, needs=enough("num_test", of="test points"))
plain = partial(main, source="base method: kernel inducing points")
adv_kip = main(source=ADVERSARIAL, where=OF_ADV_KIP)
fallacy = partial(main, source=FALLACY)
lazy = CLAIMS.about(
    "networks", where={"training": "subset"}, source="derived: wide networks follow their kernel"
)
rescaled = CLAIMS.about("rescaling", source="derived: attacks on saturated losses")
CLAIMS.hold(
    (plain(), "D1-clean", "learning the images lowers the error: clean accuracy rises by at least 0.03",
     gain(under("clean"), "kip", over="subset"), typically(at_least(0.03)), STILL),
    (plain(where={"training": "kip"}), "D1-worst",
     "without a gain in robustness: at most 0.08 of the points withstand every attack",
     under("worst"), typically(at_most(0.08)), WEAK),
    (adv_kip, "D2-clean", "images learned against an attack keep a clean accuracy of at least 0.92",
     under("clean"), typically(at_least(0.92)), FEW),
    (adv_kip, "D2-pgd", "and seem robust: about half of the points withstand PGD on the cross-entropy",
     under("pgd"), typically(between(0.48, 0.65)), PLAIN),
    (adv_kip, "D2-worst", "of which fewer withstand every attack",
     under("worst"), typically(between(0.28, 0.46)), PLAIN),
    (main(source=ADVERSARIAL), "D2-full",
     "100 learned images withstand every attack at 0.2 more of the points than 1,200 real ones",
     gain(under("worst"), "adv_kip", over="full"), typically(at_least(0.2)), PLAIN),
    (CLAIMS.about("near", source=ADVERSARIAL), "D2-near",
     "at radius 0.1 the gain over plain KIP under every attack is at least 0.05",
     gain(under("worst"), "adv_kip", over="kip"), typically(at_least(0.05)), PLAIN),
    (fallacy(where=OF_ADV_KIP), "D3-overestimate",
     "PGD on the cross-entropy overstates the robustness of adv-KIP by at least 0.13",
     overestimate, typically(at_least(0.13)), NEAR),
    (fallacy(), "D3-larger", "and by more than that of the images it started from",
     gain(overestimate, "adv_kip", over="subset"), lambda config: at_least(half_a_point(config)), NEAR),
    (fallacy(), "D3-margin", "ascent on the margin is the stronger attack on every set",
     margin_excess, lambda config: at_most(-half_a_point(config)), HARMLESS),
    (CLAIMS.about("main", "margin", where=OF_ADV_KIP, source=FALLACY),
     "D3-narrower", "learned against an attack on the margin, it is overstated less",
     narrowed, lambda configs: typically(at_least(half_a_point(configs["main"]))), LOSS),
    (CLAIMS.about("far", where=OF_ADV_KIP, source=FALLACY),
     "D3-far", "at radius 0.5, from which one grey image is in reach of all, nothing is left",
     under("worst"), at_most(0.0, 0.0), Ablation("radius 0.1", {"test_radius": 0.1})),
    (lazy, "D4-lazy", "networks of width 4,096 are within 0.035 of their kernel after 300 steps",
     lambda run: run.kernel_gap.isel(width=-1), typically(at_most(0.035)), UNDOUBLED),
    (lazy, "D4-wider", "and come nearer with every width, by a tenth at least where it grows fourfold",
     gap_ratio, at_most(0.9), UNDOUBLED),
    (rescaled, "D5-masked",
     "in float32, logits of 10,000 times the size look robust to PGD on the cross-entropy",
     lambda run: run.under.sel(attack="pgd").isel(scale=-1), typically(at_least(0.4)), UNSCALED),
    (rescaled, "D5-margin", "the accuracy under ascent on the margin does not depend on their size",
     margin_spread, at_most(0.01, 0.0), SOFTMAX),
)  # fmt: skip
