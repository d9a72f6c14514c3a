"""How near to the laws finite sizes come: bands of the claims, and the settings that they are known in."""

import dataclasses

import numpy as np

from dynamics.experiments.feature_averaging import quantities as q
from dynamics.experiments.feature_averaging.setting import Images, certifies
from dynamics.laws import feature_averaging as laws
from dynamics.study import Band, Run, around, at_least, between, typically

# accepted in the paper's size, over the law there without suppression
SUM_SHARES = (24 * 6.06**0.5 / 3072**0.5, 26 * 6.06**0.5 / 3072**0.5)


def on_clusters(supervision: str, deviations: float = 0.0):
    """Whether a run is of the theorem's setting, whatever its update rule, with a label a cluster.

    And, if that is asked for, its radius so many standard deviations of the noise: hardly a point is turned.
    """

    def applies(config) -> bool:
        if q.theorem(config) is not True or not config.trains(supervision):
            return False
        one_each = supervision == "binary" or config.labels == config.num_clusters
        # neurons may start inactive on all their centres: noise activates them
        if not (deviations and one_each and config.noise > 0):
            return one_each and config.noise > 0
        summed = supervision == "fine" and config.readout != "max_logit"
        law = q.SUM_RADIUS if summed else q.RADIUS[supervision]
        return law.theory(config) >= deviations * config.noise

    return applies


def ended(supervision: str):
    """Whether it is not the beginning alone, too: neurons have turned, and their outputs left 0."""
    return lambda c: on_clusters(supervision)(c) and not q.begins(c, supervision)


def grows(supervision: str):
    """Whether it is trained by full-batch gradient descent, too."""
    return lambda c: ended(supervision)(c) and c.is_gradient_descent and not c.batch_size


def certified(supervision: str, deviations: float = 0.0):
    """Whether the radius of the run's own readout is there, too."""
    return lambda c: certifies(c, supervision, c.readout) and on_clusters(supervision, deviations)(c)


def turns(supervision: str):
    """Whether neurons turn while outputs are near 0, and it is recorded how."""

    def applies(config) -> bool:
        recorded = config.trains(supervision) and config.records >= 20
        if not recorded or q.early(supervision)(config) is not True or config.noise == 0:
            return False
        return bool(np.isfinite(q.early_turn_time(config, supervision)))

    return applies


def turns_in_time(supervision: str):
    """Within 5 % of the law's time, on average over seeds."""
    return lambda config: typically(around(q.early_turn_time(config, supervision), relative=0.05))


def sum_certified(config) -> bool:
    """Whether the radius of the sum of logits is there beside that of the largest."""
    there = on_clusters("fine")(config) and config.readout == "max_logit"
    return there and certifies(config, "fine", "sum_logit") and q.equal_classes(config)


def attack_reaches(config) -> bool:
    """Whether the sum of logits is certified below the radius that the attack is asked about."""
    if not sum_certified(config):
        return False
    farthest = SUM_SHARES[1] * q.SUM_RADIUS.theory(config) + 2 * config.noise  # of all but one point in forty
    return bool(farthest < q.masked_radius(config))


def paper_size(config) -> bool:
    """Whether opposite neurons, of order 1/sqrt(d), are as weak as in the paper's dimension."""
    return sum_certified(config) and config.norm >= 50


def attacked(config) -> bool:
    """Whether PGD goes so far, and not for longer, which would turn more."""
    few = 0 < config.attack_steps <= 40
    return few and paper_size(config) and bool(max(config.evaluation_radii) >= q.masked_radius(config))


def compares_images(name: str, radius: float):
    """Whether a run attacks both networks on these images, at radii around this one."""

    def applies(config) -> bool:
        compares = isinstance(config, Images) and config.data == name and config.supervision == "both"
        return compares and config.attack_steps > 0 and min(config.radii) <= radius <= max(config.radii)

    return applies


def enough_tested(run: Run) -> str:
    """What a run lacks of test points, two a cluster."""
    fewest = 2 * run.config.num_clusters
    return "" if run.config.num_test >= fewest else f"at least {fewest} test points"


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
    own, usual = q.growth_law(config, "binary", [max(share, 0.0) * config.steps, config.steps])
    return float(own / usual) if usual else share


def scatter(config) -> float:
    r"""Relative standard deviation of $\langle w, \mu_j\rangle$ over clusters, on the side of few samples."""
    return 1 - grown(config, 1 - spread(config))


def overshoot(first: float, last: float) -> float:
    """What the first step takes of all growth, for centres of other labels too."""
    return first / last if last else 1.0


def cosine_of_size(config, many: float, few: float) -> float:
    """The larger class's law for a cluster of so many standard deviations more samples; or the smaller's.

    `many` deviations are of clusters that have 100 samples on average. Of fewer, whose numbers are not normal
    any more, it is `few`; their cosines are also larger the less the neuron's other centres have, to second
    order.
    """
    plenty = config.num_samples >= 100 * config.num_clusters
    size = (min if many > 0 else max)(q.class_sizes(config))
    others = 2.5 * scatter(config) ** 2 if few > 0 and not plenty else 0.0
    share = 1 + (many if plenty else few) * spread(config)
    return grown(config, share) * (1 + others) * config.sizes.averaged_alignment(size)


def about_mean(config) -> Band:
    """The law, up to 1.34 % above; below, less 0.65 % and what unequal clusters and other centres take.

    The cosines with the other label's centres have their share of the norm.
    """
    sizes, classes = config.sizes, q.class_sizes(config)
    others = [
        opposite * (sizes.off_alignment(own) ** 2 + sizes.centre_error**2)
        for own, opposite in zip(classes, classes[::-1], strict=True)
    ]
    law = q.averaged_cosine(config)
    lost = unequal(config, scatter(config) ** 2) + 0.75 * np.average(others, weights=classes)
    return between(law * (1 - 0.0065 - lost), law * 1.0134, law)


def below_zero(config) -> Band:
    """Within six standard errors of either class's law, and of what the first step overshoots."""
    sizes, classes = config.sizes, q.class_sizes(config)
    depths = [sizes.off_alignment(size) for size in classes]
    error = 6 * sizes.centre_error
    first_step = overshoot(*q.growth_law(config, "binary", [min(1, config.steps), config.steps]))
    low = min(depths) - error - sizes.averaged_alignment(min(classes)) * first_step
    return between(low, max(0.0, max(depths) + error))


def decoupled_cosine(config) -> Band:
    """At least the law for a cluster of few samples, four standard deviations below n/k, less other centres.

    A sample of another label pushes the neuron 1/(G-1) times as hard as one of its own, the first step too.
    """
    sizes, mean = config.sizes, config.num_samples / config.num_clusters
    fewest = max(mean - 4 * mean**0.5, 1.0)
    scarce = dataclasses.replace(sizes, num_samples=int(fewest * config.num_clusters))
    others = config.num_clusters - 1
    steps = np.asarray([min(1, config.steps), config.steps])
    first_step = overshoot(*sizes.decoupled_growth(steps, config.learning_rate, config.group_width)) / others
    off, error = sizes.off_alignment(1, 1 / others), sizes.centre_error
    share = others * (off**2 + error**2 + first_step**2) - 4 * others**0.5 * off * error  # two deviations
    return at_least(scarce.averaged_alignment(1) * max(1 - share, 0.0) ** 0.5, sizes.averaged_alignment(1))


def near_growth(supervision: str):
    r"""The growth law up to 0.89 %, and what it leaves out: unequal clusters, noisy margins, long steps.

    Clusters of unequal size take $\tau^2 |z''|/2z$ of the relative variance k/n, at most half of it; noise
    of standard deviation $\sigma\|w\|$ in a margin moves z by half its variance at most; gradient descent of
    step $\tau/T$ is ahead of the flow by $\frac{\tau}{2T} z'(\tau) \ln(z'(0)/z'(\tau))$, where
    $\tau = \eta R^2 t$ over k and the neurons of a label.
    """

    def band(config) -> Band:
        sizes, exact, binary = config.sizes, q.GROWTH[supervision].theory(config), supervision == "binary"
        others = 1 if binary else config.labels - 1
        first, last = (laws.growth_speed(size, sizes.memorisation, others) for size in (0.0, exact))
        width = config.width if binary else config.group_width
        time = config.steps * config.learning_rate * config.norm**2 / (config.num_clusters * width)
        ahead = time / max(config.steps, 1) / 2 * last * np.log(first / last)
        distance = sizes.averaged_radius() if binary else config.norm / (2 * sizes.memorisation) ** 0.5
        noise = (exact * config.noise / distance) ** 2 / 2
        clusters = config.num_clusters / config.num_samples / 2
        return around(exact, relative=float(0.0089 + clusters + ((ahead + noise) / exact if exact else 0.0)))

    return band


def near_radius(supervision: str, below: float, above: float):
    """The law for the mean radius up to these shares, unequal clusters, and four standard errors."""

    def band(config) -> Band:
        exact, error = q.RADIUS[supervision].theory(config), 4 * config.noise / config.num_test**0.5
        lost = below + unequal(config, spread(config) ** 2)
        return between(exact * (1 - lost) - error, exact * (1 + above) + error, exact)

    return band


def near_noise(config) -> Band:
    """sigma, up to 50 % above, and 4.4 standard errors of a standard deviation of the test points."""
    error = 4.4 / (2 * max(config.num_test - config.num_clusters, 1)) ** 0.5
    return between(config.noise * (1 - error), config.noise * (1.5 + error), config.noise)


def near_geometry(config) -> Band:
    """1 up to 5 % in the paper's size; a point's noise, which the law leaves out, weighs sigma/R."""
    return around(1.0, absolute=0.05 * max(1.0, config.noise * 3072**0.5 / config.norm))


def above_floor(config) -> Band:
    """In the paper's size from 24 to 26; the law without q.suppression, in proportion, is a floor only."""
    return between(*(share * q.SUM_RADIUS.theory(config) for share in SUM_SHARES))
