"""The claims of Li et al. 2025, arXiv:2410.10322, and the measurements they rest on."""

import numpy as np
import xarray as xr
from jaxtyping import Float

from dynamics.claims import Ablation, Band, Claim, Run, around, at_least, at_most, between
from dynamics.laws import feature_averaging as laws

Runs = dict[str, Run]
PerSeed = Float[np.ndarray, " seeds"]

GROWTH_RUNS = ("growth_k6", "growth_h2", "growth_m8")
CLUSTER_RUNS = tuple(f"k_{k}" for k in (4, 6, 8, 12, 16, 24))
DIM_RUNS = tuple(f"d_{d}" for d in (512, 1024, 2048, 4096))
LABEL_RUNS = tuple(f"labels_{g}" for g in (2, 4, 8, 16))


def final(run: Run, supervision: str) -> xr.Dataset:
    """One network's last recorded values, without neurons that only the other network has."""
    dataset = run.dataset.sel(supervision=supervision).isel(step=-1)
    return dataset.dropna("neuron", how="all", subset=["own"]) if "neuron" in dataset.dims else dataset


def _per_seed(values: xr.DataArray) -> PerSeed:
    return values.mean([d for d in values.dims if d != "seed"]).values


def _masked(arm: xr.Dataset, own: bool) -> xr.DataArray:
    return arm.alignment.where((arm.own > 0.5) == own)


def _block(supervision, reduce, own=True):
    def measure(runs: Runs) -> PerSeed:
        values = _masked(final(runs["main"], supervision), own)
        return getattr(values, reduce)(["neuron", "feature"]).values

    return measure


def _worst_off_block(runs: Runs) -> PerSeed:
    """The off-block cosine farthest from 0 (they should lie a little below it)."""
    values = _masked(final(runs["main"], "binary"), False)
    low, high = values.min(["neuron", "feature"]), values.max(["neuron", "feature"])
    return xr.where(high > 0, high, low).values


def _projection(run: Run, supervision: str) -> PerSeed:
    arm = final(run, supervision)
    return _per_seed(arm.projection.where(arm.own > 0.5))


def predicted_projection(config, supervision: str) -> float:
    """The growth law at the last step."""
    steps = np.asarray([config.steps])
    if supervision == "binary":
        return float(config.sizes.averaged_growth(steps, config.learning_rate, config.width)[0])
    return float(
        config.sizes.decoupled_growth(steps, config.learning_rate, config.group_width, config.labels)[0]
    )


def _worst_growth_error(supervision):
    def measure(runs: Runs) -> PerSeed:
        errors = [
            np.abs(_projection(run, supervision) / predicted_projection(run.config, supervision) - 1)
            for run in runs.values()
        ]
        return np.max(errors, axis=0)

    return measure


def _radius(name: str, supervision: str):
    return lambda runs: _per_seed(final(runs["main"], supervision)[name])


def _spread_within_clusters(runs: Runs) -> PerSeed:
    """Pooled over clusters: their means differ too, by how many training samples each happened to get."""
    arm = final(runs["main"], "binary")

    def pooled(radius, cluster):
        members = [radius[cluster == j] for j in np.unique(cluster)]
        squares = sum(((own - own.mean()) ** 2).sum() for own in members)
        return np.sqrt(squares / (len(radius) - len(members)))

    pairs = zip(arm.certified_radius.values, arm.point_feature.values, strict=True)
    return np.asarray([pooled(radius, cluster) for radius, cluster in pairs])


def _radius_gap(runs: Runs) -> PerSeed:
    arm = final(runs["main"], "binary")
    return (np.abs(arm.attained_radius - arm.certified_radius) / arm.attained_radius).max("point").values


def _exponent(runs: Runs, size: str) -> PerSeed:
    """Slope of log(mean radius) against log(size), seed by seed; each run has one supervision."""
    x = np.log([getattr(run.config, size) for run in runs.values()])
    radii = [_per_seed(run.dataset.isel(supervision=0).certified_radius) for run in runs.values()]
    return np.polyfit(x, np.log(radii), 1)[0]


LABEL_LAW = (-0.07, 0.03)


def _label_law_error(runs: Runs) -> PerSeed:
    """Relative deviation from sqrt(G d/(2k)), at the G where it comes nearest to leaving the range."""
    errors = []
    for run in runs.values():
        law = run.config.norm * np.sqrt(run.config.labels / (2 * run.config.num_clusters))
        errors.append(_per_seed(run.dataset.isel(supervision=0).certified_radius) / law - 1)
    low, high = np.min(errors, axis=0), np.max(errors, axis=0)
    return np.where(low / LABEL_LAW[0] > high / LABEL_LAW[1], low, high)


def _best_alignment(name: str):
    def measure(runs: Runs) -> PerSeed:
        arm = final(runs[name], "binary")
        return _per_seed(arm.alignment.where(arm.dead < 0.5).max("feature"))

    return measure


def _at_radius(run: Run, supervision: str, name: str, radius: float) -> PerSeed:
    accuracy = run.dataset.sel(supervision=supervision)[name]
    return np.asarray([np.interp(radius, accuracy.radius, row) for row in accuracy.values])


def masked_radius(config) -> float:
    """Radius at which PGD on the sum of logits is asked: 30 in the paper's size, in proportion elsewhere."""
    return 30 / np.sqrt(3072) * config.norm


def _sum_radius_ratio(runs: Runs) -> PerSeed:
    """Certified mean over the closed form with the suppression b that the trained network has."""
    run, arm = runs["main"], final(runs["main"], "fine")
    own, other = (_per_seed(arm.projection.where((arm.own > 0.5) == kind)) for kind in (True, False))
    opposite = run.config.labels // 2
    law = [laws.sum_logit_radius(run.config.norm, opposite, b) for b in -other / own]
    return _per_seed(arm.certified_radius_sum_logit) / np.asarray(law)


def _masked_accuracy(runs: Runs) -> PerSeed:
    (run,) = runs.values()
    return _at_radius(run, "fine", "pgd_accuracy_sum_logit", masked_radius(run.config))


def _share_below(runs: Runs) -> PerSeed:
    arm = final(runs["main"], "fine")
    return _per_seed((arm.attained_radius_sum_logit < masked_radius(runs["main"].config)).astype(float))


def _robustness_gain(radius: float):
    def measure(runs: Runs) -> PerSeed:
        (run,) = runs.values()
        fine, binary = (_at_radius(run, s, "pgd_accuracy", radius) for s in ("fine", "binary"))
        return fine - binary

    return measure


def _compares_images(name: str, radius: float):
    def applies(config) -> bool:
        compares = config.data == name and config.supervision == "both" and bool(config.attack_steps)
        return compares and min(config.evaluation_radii) <= radius <= max(config.evaluation_radii)

    return applies


def _on_clusters(*supervisions):
    def applies(config) -> bool:
        plain = config.activation == "relu" and not config.train_output
        return not config.on_images and plain and all(config.trains(s) for s in supervisions)

    return applies


def _sum_certified(config) -> bool:
    few = config.labels * config.group_width <= 12  # pairs of pieces grow as 2 to the number of neurons
    return _on_clusters("fine")(config) and config.readout == "max_logit" and few


def _paper_size(config) -> bool:
    # beta, of order 1/sqrt(d), enters these numbers: the paper's d makes it small
    return _sum_certified(config) and config.norm >= 50


def _attacked(config) -> bool:
    attacks = bool(config.attack_steps) and max(config.evaluation_radii) >= masked_radius(config)
    return attacks and _paper_size(config)


def _class_sizes(config) -> list[int]:
    return [config.signs.count(1), config.signs.count(-1)]


def _block_cosines(runs: Runs) -> list[float]:
    config = runs["main"].config
    return [config.sizes.averaged_alignment(size) for size in _class_sizes(config)]


def _mean_alignment(config) -> float:
    return float(np.mean([config.sizes.averaged_alignment(size) for size in _class_sizes(config)]))


def _accept(predict, **tolerance):
    return lambda runs: around(predict(runs["main"].config), **tolerance)


def _times(low: float, high: float, predict):
    """Accept from `low` to `high` times the prediction."""

    def accept(runs: Runs) -> Band:
        predicted = predict(runs["main"].config)
        return between(low * predicted, high * predicted, predicted)

    return accept


def _averaged(config) -> float:
    return config.sizes.averaged_radius()


def _decoupled(config) -> float:
    return config.sizes.decoupled_radius(config.num_clusters)


def _sum_radius(config) -> float:
    return laws.sum_logit_radius(config.norm, config.labels // 2)


def _mixed(config) -> float:
    return laws.mixed_radius(config.norm, config.num_clusters, config.mixing)


LARGE_INIT = Ablation(
    "initial weights and biases of size 1/sqrt(d): lazy training",
    {"init_scale": 3072**-0.5, "init_bias": 3072**-0.5},
)
SIGN = Ablation(
    "sign descent (normalised, step 1e-4) instead of gradient descent",
    {"descent": "sign", "normalize": True, "learning_rate": 1e-4},
)
COARSE = Ablation("the two binary labels as the only fine labels", {"num_labels": 2})
FEW_STEPS = Ablation("training stopped after 2 steps", {"steps": 2})
T1 = "feature-averaging theorem"
T2 = "feature-decoupling theorem"

CLAIMS = (
    Claim(
        "A1-block-mean",
        f"{T1}, Figure 2(a)",
        "binary labels: the mean cosine of a neuron with its own class's centres is 1/sqrt(|J|(1 + k/n))",
        _block("binary", "mean"),
        _accept(_mean_alignment, absolute=0.006),
        LARGE_INIT,
        applies=_on_clusters("binary"),
    ),
    Claim(
        "A1-block-min",
        f"{T1}, Figure 2(a)",
        "binary labels: no own-class cosine is far below the mean",
        _block("binary", "min"),
        lambda runs: at_least(0.37 / 0.445 * min(_block_cosines(runs))),
        LARGE_INIT,
        applies=_on_clusters("binary"),
    ),
    Claim(
        "A1-block-max",
        f"{T1}, Figure 2(a)",
        "binary labels: no own-class cosine is far above the mean",
        _block("binary", "max"),
        lambda runs: at_most(0.53 / 0.445 * max(_block_cosines(runs))),
        Ablation(
            "pReLU activation with p = 3, which picks single centres", {"activation": "prelu", "power": 3.0}
        ),
        applies=_on_clusters("binary"),
    ),
    Claim(
        "A1-off-block",
        f"{T1}, Figure 2(a)",
        "binary labels: cosines with the other class's centres lie in [-0.06, 0]",
        _worst_off_block,
        lambda runs: between(-0.06, 0.0),
        LARGE_INIT,
        applies=_on_clusters("binary"),
    ),
    Claim(
        "A2-growth",
        f"growth law derived from {T1}",
        "binary labels: <w, mu_j> of own centres follows (e^(c l) - 1)/c + l = eta R^2 t/(k m)",
        lambda runs: _projection(runs["main"], "binary"),
        _accept(lambda c: predicted_projection(c, "binary"), relative=0.02),
        SIGN,
        applies=_on_clusters("binary"),
    ),
    Claim(
        "A3-clean-binary",
        f"{T1} (i)",
        "binary labels: clean test accuracy is 1",
        lambda runs: final(runs["main"], "binary").test_accuracy.values,
        lambda runs: around(1.0),
        Ablation("noise sigma = 10 instead of 1", {"noise": 10.0}),
        applies=_on_clusters("binary"),
    ),
    Claim(
        "A3-clean-fine",
        f"{T2} (i)",
        "fine labels: clean binary test accuracy of the readout is 1",
        lambda runs: final(runs["main"], "fine").test_accuracy.values,
        lambda runs: around(1.0),
        Ablation("noise sigma = 20 instead of 1", {"noise": 20.0}),
        applies=_on_clusters("fine"),
    ),
    Claim(
        "A4-radius",
        f"{T1} (iii), exact radius of the averaging classifier",
        "binary labels: the mean certified l2 radius is sqrt(d/k)/sqrt(1 + k/n)",
        _radius("certified_radius", "binary"),
        _times(16.8 / 17.44, 17.8 / 17.44, _averaged),
        SIGN,
        applies=_on_clusters("binary"),
    ),
    Claim(
        "A4-radius-tight",
        "certificate",
        "binary labels: lower and upper bound of the radius agree to 1e-3 at every point",
        _radius_gap,
        lambda runs: at_most(1e-3, 0.0),
        LARGE_INIT,
        applies=_on_clusters("binary"),
    ),
    Claim(
        "A4-radius-spread",
        "exact radius of the averaging classifier",
        "binary labels: the radius varies over a cluster's test points with standard deviation sigma",
        _spread_within_clusters,
        _times(0.9, 1.6, lambda config: config.noise),
        Ablation("noise sigma = 20 instead of 1: many points lie on the wrong side", {"noise": 20.0}),
        applies=_on_clusters("binary"),
    ),
    Claim(
        "A5-diagonal",
        f"{T2}, Figure 2(b)",
        "fine labels: every neuron's cosine with its own centre is at least 0.99",
        _block("fine", "min"),
        lambda runs: at_least(0.99, runs["main"].config.sizes.averaged_alignment(1)),
        COARSE,
        applies=_on_clusters("fine"),
    ),
    Claim(
        "A5-growth",
        f"growth law derived from {T2}",
        "fine labels: z = <w_j, mu_j> follows (e^(c z) - 1)/c + (G-1) z = (G-1) eta R^2 t/(k h)",
        lambda runs: _projection(runs["main"], "fine"),
        _accept(lambda c: predicted_projection(c, "fine"), relative=0.02),
        SIGN,
        applies=_on_clusters("fine"),
    ),
    Claim(
        "A6-radius",
        f"{T2} (iii)",
        "fine labels: the mean certified max-logit radius is sqrt(d/2)/sqrt(1 + k/n), less the noise's "
        "E[max of k/2 normals]/sqrt 2",
        _radius("certified_radius", "fine"),
        _accept(_decoupled, relative=0.8 / 38.2),
        COARSE,
        applies=lambda c: _on_clusters("fine")(c) and c.readout == "max_logit" and 4**c.group_width <= 2**12,
    ),
    Claim(
        "A7-sum-radius",
        "Section 4 readout, exact geometry",
        "fine labels: the sum-of-logits readout is certified at about sqrt(d/(1 + k/2)) only, not sqrt(d/2)",
        _radius("certified_radius_sum_logit", "fine"),
        _times(24 / 22.63, 26 / 22.63, _sum_radius),
        Ablation("4 fine labels instead of one a cluster", {"num_labels": 4}),
        applies=_paper_size,
    ),
    Claim(
        "A7-masked-pgd",
        "Figure 3 (left), gradient masking",
        "fine labels: PGD at radius 30 sqrt(d/3072) leaves the sum-of-logits readout at least 85 % correct",
        _masked_accuracy,
        lambda runs: at_least(0.85),
        COARSE,
        runs=("attacked",),
        applies=_attacked,
    ),
    Claim(
        "A7-sum-geometry",
        "exact geometry",
        "fine labels: that radius is R (1 + q b)/sqrt(1 + q), q opposite labels at -b times the own neuron",
        _sum_radius_ratio,
        lambda runs: around(1.0, absolute=0.05),
        Ablation("4 fine labels instead of one a cluster", {"num_labels": 4}),
        applies=_sum_certified,
    ),
    Claim(
        "A7-attack-succeeds",
        "exact geometry",
        "fine labels: a constructed attack below that radius flips at least 90 % of the same points",
        _share_below,
        lambda runs: at_least(0.9),
        Ablation("4 clusters instead of 10: the exact radius exceeds the attack's", {"num_clusters": 4}),
        applies=_sum_certified,
    ),
    Claim(
        "A8-growth-binary",
        f"growth law derived from {T1}",
        "binary labels: the growth law holds within 2 % at three other (k, d, m, eta, T)",
        _worst_growth_error("binary"),
        lambda runs: at_most(0.02, 0.0),
        Ablation("momentum 0.9", {"descent": "momentum"}),
        runs=GROWTH_RUNS,
    ),
    Claim(
        "A8-growth-fine",
        f"growth law derived from {T2}",
        "fine labels: the growth law holds within 2 % at three other (k, d, h, eta, T), h = 2 among them",
        _worst_growth_error("fine"),
        lambda runs: at_most(0.02, 0.0),
        Ablation("momentum 0.9", {"descent": "momentum"}),
        runs=GROWTH_RUNS,
    ),
    Claim(
        "A9-exponent-k-binary",
        f"{T1} (iii): radius of order sqrt(d/k)",
        "binary labels: the radius falls with the number of clusters as k^(-1/2)",
        lambda runs: _exponent(runs, "num_clusters"),
        lambda runs: around(-0.5, absolute=0.03),
        Ablation("fine labels instead of binary ones", {"supervision": "fine"}),
        runs=tuple(f"{name}_binary" for name in CLUSTER_RUNS),
    ),
    Claim(
        "A9-exponent-k-fine",
        f"{T2} (iii): radius of order sqrt(d)",
        "fine labels: the max-logit radius hardly depends on the number of clusters",
        lambda runs: _exponent(runs, "num_clusters"),
        lambda runs: between(-0.05, 0.0, 0.0),
        Ablation("binary labels instead of fine ones", {"supervision": "binary"}),
        runs=tuple(f"{name}_fine" for name in CLUSTER_RUNS),
    ),
    Claim(
        "A10-exponent-d",
        f"{T1} (iii): radius of order sqrt(d/k)",
        "binary labels: the radius grows with the dimension as d^(1/2)",
        lambda runs: _exponent(runs, "dim"),
        lambda runs: around(0.5, absolute=0.03),
        Ablation("centres of norm sqrt(512) in every dimension", {"centre_norm": 512**0.5}),
        runs=DIM_RUNS,
    ),
    Claim(
        "A11-labels",
        "granularity law, closed form",
        "G fine labels: the max-logit radius is sqrt(G d/(2k)), up to 7 % below and 3 % above",
        _label_law_error,
        lambda runs: between(*LABEL_LAW, 0.0),
        Ablation("binary labels only, whatever G says", {"supervision": "binary"}),
        runs=LABEL_RUNS,
    ),
    Claim(
        "P4.8-accuracy",
        "Proposition 4.8",
        "fine labels do not force decoupling: a net that mixes 90 % of the average has class accuracy 1",
        lambda runs: final(runs["mixed"], "fine").class_accuracy.values,
        lambda runs: around(1.0),
        Ablation("the average itself (t = 1): classes of one sign cannot be told apart", {"mixing": 1.0}),
        runs=("mixed",),
    ),
    Claim(
        "P4.8-radius",
        "Proposition 4.8, closed form",
        "and is still not robust: its max-logit radius is R/sqrt(2(1-t)^2 + 4t(1-t) + t^2 k)",
        lambda runs: _per_seed(final(runs["mixed"], "fine").certified_radius),
        lambda runs: around(_mixed(runs["mixed"].config), relative=1e-3),
        Ablation("centres that are not orthogonal (cosine 0.3)", {"correlation": 0.3}),
        runs=("mixed",),
    ),
    Claim(
        "A12-large-init",
        "rich and lazy regimes",
        "binary labels: initial weights of size 1/sqrt(d) destroy averaging (mean cosine below 0.15)",
        lambda runs: _masked(final(runs["large_init"], "binary"), True).mean(["neuron", "feature"]).values,
        lambda runs: at_most(0.15),
        Ablation("the small initialisation of the theorem", {"init_scale": 1e-5, "init_bias": 1e-5}),
        runs=("large_init",),
    ),
    Claim(
        "A13-prelu-decouples",
        "Min & Vidal 2024, conjecture",
        "binary labels: with pReLU of power p = 3 every neuron takes one centre (best cosine above 0.95)",
        _best_alignment("prelu"),
        lambda runs: at_least(0.95),
        Ablation("p = 1, which is ReLU", {"power": 1.0}),
        runs=("prelu",),
    ),
    Claim(
        "A13-relu-averages",
        "Min & Vidal 2024, conjecture",
        "binary labels: with ReLU (p = 1) no neuron takes one centre (best cosine below 0.55)",
        _best_alignment("prelu_1"),
        lambda runs: at_most(0.55),
        Ablation("p = 3", {"power": 3.0}),
        runs=("prelu_1",),
    ),
    *(
        Claim(
            f"{name}-gain-{radius}",
            source,
            f"{name}: the 10-class net, read out as odd/even, beats the parity net by 0.1 at radius {radius}",
            _robustness_gain(radius),
            lambda runs: at_least(0.1),
            Ablation("the multi-class net sees the two binary labels only", {"num_labels": 2}),
            runs=(name,),
            applies=_compares_images(name, radius),
        )
        for name, radius, source in (
            ("mnist", 0.8, "Figure 3 (middle), in order"),
            ("mnist", 1.2, "Figure 3 (middle), in order"),
            # 1.2 in proportion to the images' mean norms, 3.9 and 9.2
            ("digits", 0.5, "Figure 3 (middle), in order, on other images"),
        )
    ),
)
