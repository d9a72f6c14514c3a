"""What the claims of feature averaging measure, accept, and apply to."""

import dataclasses
from collections import Counter

import numpy as np
import xarray as xr
from jaxtyping import Float

from dynamics.adversary.certificates import MAX_PIECES
from dynamics.data.clusters import granular_classes
from dynamics.laws import feature_averaging as laws
from dynamics.study.old import Band, Run, around, at_least, between

_MOST_PAIRS = 2**12  # of pieces, where their number doubles with every neuron

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


def per_seed(values: xr.DataArray) -> PerSeed:
    return values.mean([d for d in values.dims if d != "seed"]).values


def masked(arm: xr.Dataset, own: bool) -> xr.DataArray:
    return arm.alignment.where((arm.own > 0.5) == own)


def block(supervision, reduce, own=True):
    def measure(runs: Runs) -> PerSeed:
        values = masked(final(runs["main"], supervision), own)
        return getattr(values, reduce)(["neuron", "feature"]).values

    return measure


def worst_off_block(runs: Runs) -> PerSeed:
    """The off-block cosine farthest from 0 (they should lie a little below it)."""
    values = masked(final(runs["main"], "binary"), False)
    low, high = values.min(["neuron", "feature"]), values.max(["neuron", "feature"])
    return xr.where(high > 0, high, low).values


def projection(run: Run, supervision: str) -> PerSeed:
    arm = final(run, supervision)
    return per_seed(arm.projection.where(arm.own > 0.5))


def predicted_projection(config, supervision: str) -> float:
    """The growth law at the last step."""
    steps = np.asarray([config.steps])
    if supervision == "binary":
        return float(config.sizes.averaged_growth(steps, config.learning_rate, config.width)[0])
    return float(
        config.sizes.decoupled_growth(steps, config.learning_rate, config.group_width, config.labels)[0]
    )


def worst_growth_error(supervision):
    def measure(runs: Runs) -> PerSeed:
        errors = [
            np.abs(projection(run, supervision) / predicted_projection(run.config, supervision) - 1)
            for run in runs.values()
        ]
        return np.max(errors, axis=0)

    return measure


def radius(name: str, supervision: str):
    return lambda runs: per_seed(final(runs["main"], supervision)[name])


def spread_within_clusters(runs: Runs) -> PerSeed:
    """Pooled over clusters: their means differ too, by how many training samples each happened to get."""
    arm = final(runs["main"], "binary")

    def pooled(radius, cluster):
        members = [radius[cluster == j] for j in np.unique(cluster)]
        squares = sum(((own - own.mean()) ** 2).sum() for own in members)
        return np.sqrt(squares / (len(radius) - len(members)))

    pairs = zip(arm.certified_radius.values, arm.point_feature.values, strict=True)
    return np.asarray([pooled(radius, cluster) for radius, cluster in pairs])


def radius_gap(runs: Runs) -> PerSeed:
    """The largest distance between the bounds; inf where no attack is found."""
    arm = final(runs["main"], "binary")
    return np.abs(arm.attained_radius - arm.certified_radius).fillna(np.inf).max("point").values


def exponent(runs: Runs, size: str) -> PerSeed:
    """Slope of log(mean radius) against log(size), seed by seed; each run has one supervision."""
    x = np.log([getattr(run.config, size) for run in runs.values()])
    radii = [per_seed(run.dataset.isel(supervision=0).certified_radius) for run in runs.values()]
    return np.polyfit(x, np.log(radii), 1)[0]


LABEL_LAW = (-0.07, 0.03)
# accepted in the paper's size, over the law there without suppression
SUM_RADIUS = (24 * 6.06**0.5 / 3072**0.5, 26 * 6.06**0.5 / 3072**0.5)


def label_law_error(runs: Runs) -> PerSeed:
    """Relative deviation from sqrt(G d/(2k)), at the G where it comes nearest to leaving the range."""
    errors = []
    for run in runs.values():
        law = run.config.norm * np.sqrt(run.config.labels / (2 * run.config.num_clusters))
        errors.append(per_seed(run.dataset.isel(supervision=0).certified_radius) / law - 1)
    low, high = np.min(errors, axis=0), np.max(errors, axis=0)
    return np.where(low / LABEL_LAW[0] > high / LABEL_LAW[1], low, high)


def best_alignment(name: str, reduce: str):
    """Every living neuron's cosine with the centre it is nearest to: the least or the largest of them."""

    def measure(runs: Runs) -> PerSeed:
        arm = final(runs[name], "binary")
        best = arm.alignment.where(arm.dead < 0.5).max("feature")
        return getattr(best, reduce)("neuron").values

    return measure


def at_radius(run: Run, supervision: str, name: str, radius: float) -> PerSeed:
    accuracy = run.dataset.sel(supervision=supervision)[name]
    return np.asarray([np.interp(radius, accuracy.radius, row) for row in accuracy.values])


def masked_radius(config) -> float:
    """Radius at which PGD on the sum of logits is asked: 30 in the paper's size, in proportion elsewhere."""
    return 30 / np.sqrt(3072) * config.norm


def sum_radius_ratio(runs: Runs) -> PerSeed:
    """Certified mean over the closed form with the suppression b that the trained network has."""
    run, arm = runs["main"], final(runs["main"], "fine")
    own, other = (per_seed(arm.projection.where((arm.own > 0.5) == kind)) for kind in (True, False))
    law = [run.config.sizes.sum_logit_radius(run.config.labels, b) for b in -other / own]
    return per_seed(arm.certified_radius_sum_logit) / np.asarray(law)


def masked_accuracy(runs: Runs) -> PerSeed:
    (run,) = runs.values()
    return at_radius(run, "fine", "pgd_accuracy_sum_logit", masked_radius(run.config))


def share_below(runs: Runs) -> PerSeed:
    arm = final(runs["main"], "fine")
    return per_seed((arm.attained_radius_sum_logit < masked_radius(runs["main"].config)).astype(float))


def robustness_gain(radius: float):
    def measure(runs: Runs) -> PerSeed:
        (run,) = runs.values()
        fine, binary = (at_radius(run, s, "pgd_accuracy", radius) for s in ("fine", "binary"))
        return fine - binary

    return measure


def compares_images(name: str, radius: float):
    def applies(config) -> bool:
        compares = config.data == name and config.supervision == "both" and bool(config.attack_steps)
        return compares and min(config.evaluation_radii) <= radius <= max(config.evaluation_radii)

    return applies


def on_clusters(*supervisions):
    def applies(config) -> bool:
        plain = config.activation == "relu" and not config.train_output
        theorem = config.correlation == 0 and not config.train_radius and config.start == "random"
        awake = config.noise > 0  # neurons that start inactive on all their centres: noise activates them
        # what is said of fine labels is said of one a cluster
        fine = "fine" not in supervisions or config.labels == config.num_clusters
        trained = all(config.trains(s) for s in supervisions)
        return not config.on_images and plain and theorem and awake and fine and trained

    return applies


def separates(supervision, deviations: float = 5.0):
    """Whether noise turns no test point: the radius is so many standard deviations of it."""

    def applies(config) -> bool:
        if not on_clusters(supervision)(config):
            return False
        sizes = config.sizes
        if supervision == "binary":
            radius = sizes.averaged_radius()
        elif config.readout == "max_logit":
            radius = decoupled(config)
        else:
            radius = sizes.sum_logit_radius(config.labels)
        return radius >= deviations * config.noise

    return applies


def grows(supervision):
    def applies(config) -> bool:
        flow = config.is_gradient_descent and not config.batch_size
        return on_clusters(supervision)(config) and flow

    return applies


def certifies(config, supervision: str, readout: str) -> bool:
    """Whether a run has this readout's certified radius: on the plain network, while there are few pieces."""
    plain = config.model == "two_layer" and config.activation == "relu" and not config.train_output
    if config.on_images or not plain or (supervision == "fine" and readout == "softmax_group"):
        return False
    if supervision == "binary":
        return 4**config.width <= _MOST_PAIRS
    if readout == "sum_logit":
        return 2 ** (config.labels * config.group_width) <= _MOST_PAIRS
    pieces = config.labels * (2**config.group_width - 1)
    return pieces * (pieces + 1) <= MAX_PIECES


def certified(supervision: str):
    """Whether the theorem's setting holds and the radius of the run's own readout is there."""
    return lambda c: on_clusters(supervision)(c) and certifies(c, supervision, c.readout)


def equal_labels(config) -> bool:
    """Whether every fine label has as many clusters as the others."""
    return len(set(Counter(granular_classes(config.signs, config.labels)).values())) == 1


def equal_halves(config) -> bool:
    """The same, and half of the clusters are of each sign."""
    return equal_labels(config) and config.signs.count(1) == config.signs.count(-1)


def sum_certified(config) -> bool:
    return (
        on_clusters("fine")(config)
        and config.readout == "max_logit"
        and certifies(config, "fine", "sum_logit")
        and equal_halves(config)
    )


def attack_reaches(config) -> bool:
    """Whether the sum of logits is certified below the radius that the attack is asked about."""
    farthest = SUM_RADIUS[1] * sum_radius(config) + 2 * config.noise  # of all but one point in forty
    return sum_certified(config) and bool(farthest < masked_radius(config))


def paper_size(config) -> bool:
    # beta, of order 1/sqrt(d), enters these numbers: the paper's d makes it small
    return sum_certified(config) and config.norm >= 50


def attacked(config) -> bool:
    # a longer attack turns more
    attacks = 0 < config.attack_steps <= 40 and max(config.evaluation_radii) >= masked_radius(config)
    return attacks and paper_size(config)


def class_sizes(config) -> tuple[int, int]:
    return config.signs.count(1), config.signs.count(-1)


def positive_labels(config) -> int:
    """How many fine labels are positive."""
    classes = granular_classes(config.signs, config.labels)
    return len({c for c, sign in zip(classes, config.signs, strict=True) if sign == 1})


def alike_classes(config) -> bool:
    return class_sizes(config)[0] == class_sizes(config)[1]


def block_cosines(config) -> list[float]:
    return [config.sizes.averaged_alignment(size) for size in class_sizes(config)]


def growth_time(config, supervision: str) -> float:
    r"""$\tau$ of the growth law at the last step, $\eta R^2 t$ over k and the neurons of a label."""
    neurons = config.width if supervision == "binary" else config.group_width
    return config.steps * config.learning_rate * config.norm**2 / (config.num_clusters * neurons)


def spread(config) -> float:
    r"""Relative standard deviation of a cluster's number of samples, a share 1/k of n: $\sqrt{(k-1)/n}$."""
    return ((config.num_clusters - 1) / config.num_samples) ** 0.5


def unequal(config, variance: float) -> float:
    r"""How far a mean over clusters may fall below the root of the mean square.

    By half their relative variance, which of few clusters may be three of its standard deviations larger.
    """
    return variance / 2 * (1 + 3 * (2 / max(config.num_clusters - 2, 1)) ** 0.5)


def grown(config, share: float) -> float:
    r"""$\langle w, \mu_j\rangle$ of a cluster with so many times n/k samples, over that of one with n/k."""
    steps = np.asarray([max(share, 0.0) * config.steps, config.steps])
    own, usual = config.sizes.averaged_growth(steps, config.learning_rate, config.width)
    return float(own / usual) if usual else share


def scatter(config) -> float:
    r"""Relative standard deviation of $\langle w, \mu_j\rangle$ over clusters, on the side of few samples."""
    return 1 - grown(config, 1 - spread(config))


def near_block(runs: Runs, many: float, few: float) -> float:
    """The larger class's law for a cluster of so many standard deviations more samples; or the smaller's.

    `many` deviations are of clusters that have 100 samples on average. Of fewer, whose numbers are not normal
    any more, it is `few`; their cosines are also larger the less the neuron's other centres have, to second
    order.
    """
    config = runs["main"].config
    plenty = config.num_samples >= 100 * config.num_clusters
    law = (max if many > 0 else min)(block_cosines(config))
    others = 2.5 * scatter(config) ** 2 if few > 0 and not plenty else 0.0
    return grown(config, 1 + (many if plenty else few) * spread(config)) * (1 + others) * law


def mean_alignment(config) -> float:
    """Of all neurons with their own centres: as many neurons of each sign, but not as many centres."""
    return float(np.average(block_cosines(config), weights=class_sizes(config)))


def about_mean(runs: Runs) -> Band:
    """The law, up to 1.34 % above; below, less 0.65 % and what unequal clusters and other centres take.

    The cosines with the other label's centres have their share of the norm.
    """
    config = runs["main"].config
    sizes = config.sizes
    others = [
        opposite * (sizes.off_alignment(own) ** 2 + sizes.centre_error**2)
        for own, opposite in zip(class_sizes(config), class_sizes(config)[::-1], strict=True)
    ]
    law = mean_alignment(config)
    lost = unequal(config, scatter(config) ** 2) + 0.75 * np.average(others, weights=class_sizes(config))
    return between(law * (1 - 0.0065 - lost), law * 1.0134, law)


def off_block(runs: Runs) -> Band:
    """Within six standard errors of either class's law, and of what the first step overshoots."""
    config = runs["main"].config
    law = min(config.sizes.off_alignment(size) for size in class_sizes(config))
    error = 6 * config.sizes.centre_error
    steps = np.asarray([min(1, config.steps), config.steps])
    first, last = config.sizes.averaged_growth(steps, config.learning_rate, config.width)
    overshoot = max(block_cosines(config)) * (first / last if last else 1.0)
    shallow = max(config.sizes.off_alignment(size) for size in class_sizes(config))
    return between(law - error - overshoot, max(0.0, shallow + error), None)


def decoupled_cosine(runs: Runs) -> Band:
    """At least the law for a cluster of few samples, four standard deviations below n/k, less other centres.

    A sample of another label pushes the neuron 1/(G-1) times as hard as one of its own, the first step too.
    """
    config = runs["main"].config
    sizes, mean = config.sizes, config.num_samples / config.num_clusters
    fewest = max(mean - 4 * mean**0.5, 1.0)
    scarce = dataclasses.replace(sizes, num_samples=int(fewest * config.num_clusters))
    others = config.num_clusters - 1
    steps = np.asarray([min(1, config.steps), config.steps])
    first, last = sizes.decoupled_growth(steps, config.learning_rate, config.group_width)
    overshoot = (first / last if last else 1.0) / others
    off, error = sizes.off_alignment(1, 1 / others), sizes.centre_error
    share = others * (off**2 + error**2 + overshoot**2) - 4 * others**0.5 * off * error  # two deviations
    low = scarce.averaged_alignment(1) * max(1 - share, 0.0) ** 0.5
    return at_least(low, sizes.averaged_alignment(1))


def near_growth(supervision: str):
    r"""The growth law up to 0.89 %, and what it leaves out: unequal clusters, noisy margins, long steps.

    Clusters of unequal size take $\tau^2 |z''|/2z$ of the relative variance k/n, at most half of it; noise
    of standard deviation $\sigma\|w\|$ in a margin moves z by half its variance at most; gradient descent of
    step $\tau/T$ is ahead of the flow by $\frac{\tau}{2T} z'(\tau) \ln(z'(0)/z'(\tau))$.
    """

    def accept(runs: Runs) -> Band:
        config = runs["main"].config
        sizes, law = config.sizes, predicted_projection(config, supervision)
        binary = supervision == "binary"
        others = 1 if binary else config.labels - 1
        first, last = (laws.growth_speed(size, sizes.memorisation, others) for size in (0.0, law))
        ahead = growth_time(config, supervision) / max(config.steps, 1) / 2 * last * np.log(first / last)
        distance = sizes.averaged_radius() if binary else config.norm / (2 * sizes.memorisation) ** 0.5
        noise = (law * config.noise / distance) ** 2 / 2
        clusters = config.num_clusters / config.num_samples / 2
        relative = 0.0089 + clusters + ((ahead + noise) / law if law else 0.0)
        return around(law, relative=float(relative))

    return accept


def near_radius(predict, below: float, above: float):
    """The law for the mean radius up to these shares, unequal clusters, and four standard errors."""

    def accept(runs: Runs) -> Band:
        config = runs["main"].config
        law, error = predict(config), 4 * config.noise / config.num_test**0.5
        lost = below + unequal(config, spread(config) ** 2)
        return between(law * (1 - lost) - error, law * (1 + above) + error, law)

    return accept


def near_noise(runs: Runs) -> Band:
    """sigma, up to 60 % above, and 4.4 standard errors of a standard deviation of the test points."""
    config = runs["main"].config
    error = 4.4 / (2 * max(config.num_test - config.num_clusters, 1)) ** 0.5
    return between(config.noise * (1 - error), config.noise * (1.5 + error), config.noise)


def near_geometry(runs: Runs) -> Band:
    """1 up to 5 % in the paper's size; a point's noise, which the law leaves out, weighs sigma/R."""
    config = runs["main"].config
    return around(1.0, absolute=0.05 * max(1.0, config.noise * 3072**0.5 / config.norm))


def enough_tested(fewest):
    """What a run lacks of test points, for a number that this many decide."""

    def needs(runs: Runs) -> str:
        config = runs["main"].config
        return "" if config.num_test >= fewest(config) else f"at least {fewest(config)} test points"

    return needs


def enough_attacked(fewest: int):
    """What a run lacks of attacked points."""

    def needs(runs: Runs) -> str:
        (run,) = runs.values()
        return "" if run.config.num_points >= fewest else f"at least {fewest} attacked points (num_points)"

    return needs


def scaled(low: float, high: float, predict, is_floor: bool = False):
    """Accept from `low` to `high` times the prediction; not shown as one if it is a floor only."""

    def accept(runs: Runs) -> Band:
        predicted = predict(runs["main"].config)
        return between(low * predicted, high * predicted, None if is_floor else predicted)

    return accept


def averaged(config) -> float:
    return config.sizes.averaged_radius()


def decoupled(config) -> float:
    return config.sizes.decoupled_radius(config.labels, positive_labels(config))


def sum_radius(config) -> float:
    return config.sizes.sum_logit_radius(config.labels)


def mixed(config) -> float:
    return laws.mixed_radius(config.norm, config.num_clusters, config.mixing)
