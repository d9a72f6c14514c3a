"""The mathematics of feature averaging: quantities of a run, and laws with the settings that they hold in."""

import math
from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr

from dynamics.experiments.feature_averaging.setting import Clusters, Images
from dynamics.study import Law, Run, last
from dynamics.study.quantities import first_above, slope, stacked, value_at

TURNED = 0.9  # of the cosine that training ends with
NEAR_0 = 0.3  # outputs below which the loss's slope is hardly less than at 0
MOVED = 0.5  # outputs below which training has not got far
PAIRS = ("neuron", "feature")


def own_cosines(run) -> xr.DataArray:
    """Final cosine of each neuron with each centre of its own label."""
    return last(run.alignment).where(run.own > 0.5)


def other_cosines(run) -> xr.DataArray:
    """Final cosine of each neuron with each centre of another label."""
    return last(run.alignment).where(run.own <= 0.5)


def cosine(run) -> xr.DataArray:
    """Mean final cosine of neurons with the centres of their own label."""
    return own_cosines(run).mean(PAIRS)


def farthest_other_cosine(run) -> xr.DataArray:
    """The cosine with another label's centre that is farthest from where it should be, a little below 0."""
    low, high = other_cosines(run).min(PAIRS), other_cosines(run).max(PAIRS)
    return xr.where(high > 0, high, low)


def nearest_cosines(run) -> xr.DataArray:
    """Every living neuron's cosine with the centre it is nearest to."""
    return last(run.alignment).where(run.dead < 0.5).max("feature")


def own_alignment(run) -> xr.DataArray:
    """Mean cosine of neurons with the centres of their own label, over time."""
    return run.alignment.where(run.own > 0.5).mean(PAIRS)


def turned(run: Run, supervision: str) -> xr.DataArray:
    """The step at which the mean own cosine reaches 90 % of where averaging or decoupling ends."""
    return first_above(own_alignment(run), TURNED * COSINE[supervision].theory(run.config))


def turn_time(supervision: str) -> Callable:
    r"""The same in units of $s/\eta$, s the initial standard deviation of a weight."""
    return lambda run: turned(run, supervision) * run.config.learning_rate / run.config.init_scale


def early_alignment(config, supervision: str, steps) -> np.ndarray:
    """What the law of early alignment says at some steps, in order."""
    times = np.asarray(steps) * config.learning_rate / config.init_scale
    if supervision == "fine":
        classes = np.asarray(config.classes)
        pushes = [(classes == c) - 1 / config.labels for c in range(config.labels)]
        width = config.group_width
    else:
        pushes, width = [np.multiply(sign, config.signs) / 2 for sign in (1, -1)], config.width
    kinds = {tuple(sorted(push)) for push in pushes}  # whose mean is the same
    return np.mean([config.sizes.early_alignment(times, width, push) for push in sorted(kinds)], axis=0)


def early_turn_time(config, supervision: str) -> float:
    """The law's time at which that happens."""
    steps = np.append(0.0, np.geomspace(1e-6, 1, 400)) * config.steps
    curve = early_alignment(config, supervision, steps)
    level = TURNED * COSINE[supervision].theory(config)
    above = curve > level
    if not above.any():
        return math.inf
    j = max(int(np.argmax(above)), 1)
    step = np.interp(level, curve[j - 1 : j + 1], steps[j - 1 : j + 1])
    return float(step * config.learning_rate / config.init_scale)


def fall_time(run: Run) -> xr.DataArray:
    r"""The time $\eta t$ at which the loss is half of log 2, times the averaged feature's growth rate."""
    config = run.config
    rate = config.sizes.growth_rate(class_sizes(config)[0])
    return first_above(-run.training_loss, -math.log(2) / 2) * config.learning_rate * rate


def fall_slope(runs: Mapping[str, Run]) -> xr.DataArray:
    """By how much that grows for each factor e by which the initial weights are smaller."""
    times = stacked({name: fall_time(run) for name, run in runs.items()})
    return slope([-math.log(run.config.init_scale) for run in runs.values()], times, "run")


def own_projection(run) -> xr.DataArray:
    r"""Mean $\langle w, \mu_j\rangle$ over neurons and centres of their own label, over time."""
    return run.projection.where(run.own > 0.5).mean(PAIRS)


def own_growth(run) -> xr.DataArray:
    """The same at the end; neurons that only the network of other labels has are left out."""
    return last(run.projection).where(run.own > 0.5).dropna("neuron", how="all").mean(PAIRS)


def suppression(run) -> xr.DataArray:
    """How far below 0 neurons are on centres of other labels, in units of those on their own."""
    return -last(run.projection.where(run.own <= 0.5).mean(PAIRS) / own_projection(run))


def radius(run) -> xr.DataArray:
    """Mean certified radius over test points."""
    return run["certified_radius"].mean("point")


def bounds_gap(run) -> xr.DataArray:
    """Largest distance between the two bounds of a point's radius; inf where no attack is found."""
    return np.abs(run.attained_radius - run.certified_radius).fillna(np.inf).max("point")


def spread_within_clusters(run: Run) -> xr.DataArray:
    """Standard deviation of the radius within clusters: their means differ too, by their training samples."""
    members = run.point_feature == xr.DataArray(np.arange(run.config.num_clusters), dims="cluster")
    means = run.certified_radius.where(members).mean("point").where(members).sum("cluster")
    squares = ((run.certified_radius - means) ** 2).sum("point", skipna=False)
    return (squares / (members.sizes["point"] - members.any("point").sum("cluster"))) ** 0.5


def sum_radius(run) -> xr.DataArray:
    """Mean certified radius of the sum-of-logits readout."""
    return run["certified_radius_sum_logit"].mean("point")


def sum_radius_ratio(run: Run) -> xr.DataArray:
    """Certified mean over the closed form with the suppression that the trained network has."""
    exact = lambda b: run.config.sizes.sum_logit_radius(run.config.labels, float(b))  # noqa: E731
    law = xr.apply_ufunc(exact, suppression(run), vectorize=True)
    return sum_radius(run) / law


def masked_accuracy(run: Run) -> xr.DataArray:
    """Accuracy of the sum of logits under PGD at the radius where it is asked about."""
    return value_at(run.pgd_accuracy_sum_logit, "radius", masked_radius(run.config))


def share_below(run: Run) -> xr.DataArray:
    """Share of points that a constructed attack below that radius flips."""
    return (run.attained_radius_sum_logit < masked_radius(run.config)).mean("point")


def robustness_gain(place: float):
    """How much more accurate the multi-class network is than the binary one, under PGD of this radius."""

    def gain(run) -> xr.DataArray:
        accuracy = value_at(run.pgd_accuracy, "radius", place)
        return accuracy.sel(supervision="fine") - accuracy.sel(supervision="binary")

    return gain


def worst_error(quantity: Callable, law: Law):
    """Largest relative distance from a law over runs, whether it holds for them or is expected not to."""
    return lambda runs: stacked(
        {name: np.abs(quantity(run) / law.theory(run.config) - 1) for name, run in runs.items()}
    ).max("run", skipna=False)


LABEL_LAW = (-0.07, 0.03)  # accepted relative deviations


def label_law_error(runs: Mapping[str, Run]) -> xr.DataArray:
    """Relative deviation from sqrt(G d/(2k)), at the G where it comes nearest to leaving the range."""

    def error(run):
        config = run.config
        return radius(run) / (config.norm * np.sqrt(config.labels / (2 * config.num_clusters))) - 1

    errors = stacked({name: error(run) for name, run in runs.items()})
    low, high = errors.min("run", skipna=False), errors.max("run", skipna=False)
    return xr.where(low / LABEL_LAW[0] > high / LABEL_LAW[1], low, high)


def masked_radius(config) -> float:
    """Radius at which PGD on the sum of logits is asked: 30 in the paper's size, in proportion elsewhere."""
    return 30 / np.sqrt(3072) * config.norm


def class_sizes(config) -> tuple[int, int]:
    """How many clusters are labelled +1, and how many -1."""
    return config.signs.count(1), config.signs.count(-1)


def equal_labels(config) -> bool:
    """Whether every fine label has as many clusters as the others."""
    return len(set(Counter(config.classes).values())) == 1


def equal_classes(config) -> bool:
    """Whether half of the clusters are of each sign."""
    return len(set(class_sizes(config))) == 1


def _unless(reasons: Mapping[str, Callable]):
    def domain(config) -> bool | str:
        """Whether a config is of this setting: True, or why not."""
        return next((why for why, found in reasons.items() if found(config)), True)

    return domain


THEOREM = {
    "the data are images": lambda c: isinstance(c, Images),
    "the activation is not ReLU": lambda c: c.activation != "relu",
    "the training is adversarial": lambda c: c.train_radius > 0,
    "the centres are not orthogonal": lambda c: c.correlation != 0,
    "the initial weights are written down": lambda c: c.start != "random",
    "the output weights are trained": lambda c: c.second_layer != "fixed",
}
DESCENT = THEOREM | {"the update rule is not gradient descent": lambda c: not c.is_gradient_descent}
UNEQUAL = {"labels have unequal numbers of clusters": lambda c: not equal_labels(c)}
theorem, descends = _unless(THEOREM), _unless(DESCENT)
decouples = _unless(DESCENT | {"labels have several clusters": lambda c: c.labels != c.num_clusters})
granular = _unless(DESCENT | {"the readout is not max_logit": lambda c: c.readout != "max_logit"} | UNEQUAL)
symmetric = _unless(DESCENT | UNEQUAL | {"classes are unequal": lambda c: not equal_classes(c)})


def begins(config, supervision: str) -> bool:
    """Whether gradient descent without biases from small weights ends with outputs hardly off 0."""
    plain = descends(config) is True and not (supervision == "binary" and config.use_bias)
    return plain and float(growth_law(config, supervision, [config.steps])[0]) <= MOVED


def early(supervision: str) -> Callable:
    """Whether the law of early alignment holds for a config: True, or why not."""

    def leaves(config):
        return float(growth_law(config, supervision, [config.steps])[0]) > NEAR_0

    biased = {"binary": lambda c: c.use_bias, "fine": lambda c: False}[supervision]
    outside = {"there are biases": biased, "samples come in batches": lambda c: c.batch_size}
    outside |= {"weights start at 0": lambda c: c.init_scale == 0, "the outputs leave 0": leaves}
    return _unless(DESCENT | outside)


def growth_law(config, supervision: str, steps) -> np.ndarray:
    r"""The growth law of $\langle w, \mu_j\rangle$ of own centres at some steps."""
    steps, sizes = np.asarray(steps), config.sizes
    if supervision == "binary":
        return sizes.averaged_growth(steps, config.learning_rate, config.width)
    return sizes.decoupled_growth(steps, config.learning_rate, config.group_width, config.labels)


def averaged_cosine(config) -> float:
    """Of all neurons with their own centres: as many neurons of each sign, but not as many centres."""
    cosines = [config.sizes.averaged_alignment(size) for size in class_sizes(config)]
    return float(np.average(cosines, weights=class_sizes(config)))


def _radius_exponents(config, **powers: float) -> dict[str, float]:
    """Powers of a radius; in k with k/n held, in d with centres of norm sqrt(d)."""
    return powers | ({} if config.centre_norm else {"dim": 0.5})


def _laws(name: str, label: str, quantity: Callable, **theories) -> dict[str, Law]:
    """By supervision, the law with this theory, domain and exponents."""

    def law(supervision, *theory):
        return Law(
            f"{supervision}_{name}",
            f"{label}, {supervision} labels",
            lambda run: quantity(run).sel(supervision=supervision),
            *theory,
            recorded=lambda config: isinstance(config, Clusters) and config.trains(supervision),
        )

    return {supervision: law(supervision, *theory) for supervision, theory in theories.items()}


COSINE = _laws(
    "cosine", "cosine with own centres", cosine, binary=(averaged_cosine, descends),
    fine=(lambda c: c.sizes.averaged_alignment(1), decouples),
)  # fmt: skip
GROWTH = _laws(
    "growth", r"$\langle w_r, \mu_j\rangle$ of own centres", own_growth,
    binary=(lambda c: float(growth_law(c, "binary", [c.steps])[0]), descends),
    fine=(lambda c: float(growth_law(c, "fine", [c.steps])[0]), descends),
)  # fmt: skip
RADIUS = _laws(
    "radius", r"certified $\ell_2$ radius", radius,
    fine=(lambda c: c.sizes.decoupled_radius(c.labels, c.positive_labels), granular,
          lambda c: _radius_exponents(c, num_clusters=-0.5 if c.num_labels else 0.0, num_labels=0.5)),
    binary=(lambda c: c.sizes.averaged_radius(), descends, lambda c: _radius_exponents(c, num_clusters=-0.5)),
)  # fmt: skip
SUM_RADIUS = _laws(
    "sum_radius", r"certified $\ell_2$ radius of the sum of logits", sum_radius,
    fine=(lambda c: c.sizes.sum_logit_radius(c.labels), symmetric),
)["fine"]  # fmt: skip
