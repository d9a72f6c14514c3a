"""What the claims of clean generalisation and robust overfitting measure, and where they apply."""

import dataclasses
import math
from itertools import pairwise

import numpy as np
import xarray as xr
from jaxtyping import Float

from dynamics.experiments.clean_generalization_robust_overfitting.setting import PRESETS
from dynamics.study.old import MORE_RECORDS, Band, Bracketed, Run, around, set_as
from dynamics.study.quantities import passed_between

Runs = dict[str, Run]
PerSeed = Float[np.ndarray, " seeds"]
SIGNAL, NOISE = 0, -1  # families of patches


def single(run: Run) -> xr.Dataset:
    """The first network under the first adversary."""
    return run.dataset.isel(arm=0, gamma=0)


def last(run: Run) -> xr.Dataset:
    """Its last recorded values."""
    return single(run).isel(step=-1)


def signal_margin(dataset: xr.Dataset) -> xr.DataArray:
    r"""$\alpha^q U$: what the signal patch adds to the clean score, the same for every sample."""
    return dataset.scores.sel(family=SIGNAL, drop=True).mean("sample")


def residual_margin(dataset: xr.Dataset) -> xr.DataArray:
    r"""$\alpha'^q U$: what it adds after the adversary."""
    return dataset.robust_scores.sel(family=SIGNAL, drop=True).mean("sample")


def memory(dataset: xr.Dataset) -> xr.DataArray:
    r"""$V_i$: what the noise patches add to each sample's score."""
    return dataset.scores.sel(family=NOISE, drop=True)


def final(name: str, run: str = "main"):
    """A recorded number at the end."""
    return lambda runs: last(runs[run])[name].values


def final_memory(reduce: str, run: str = "main"):
    """The mean, smallest or largest memory of a sample at the end."""
    return lambda runs: getattr(memory(last(runs[run])), reduce)("sample").values


def final_signal(runs: Runs) -> PerSeed:
    return signal_margin(last(runs["main"])).values


def crossing(values: xr.DataArray, level: float) -> xr.DataArray:
    """The first time a curve is above a level, linear between records; NaN if it never is."""

    def first(curve, steps):
        there = np.isfinite(curve)  # in a sweep, points of other lengths have other records
        curve, steps = curve[there], steps[there]
        above = np.flatnonzero(curve > level)
        if above.size == 0:
            return np.nan
        j = above[0]
        return np.interp(level, curve[j - 1 : j + 1], steps[j - 1 : j + 1]) if j else float(steps[0])

    core = [["step"], ["step"]]
    return xr.apply_ufunc(first, values, values.step, input_core_dims=core, vectorize=True)


def signal_time(run: Run) -> PerSeed:
    r"""T1: when $\alpha^q U$ passes 1."""
    return crossing(signal_margin(single(run)), 1.0).values


def memory_time(run: Run) -> PerSeed:
    """T3: when the mean memory passes 1/2."""
    return crossing(memory(single(run)).mean("sample"), 0.5).values


def phase_ratio(runs: Runs) -> PerSeed:
    """T1/T3; 0 for a network that starts with the signal, at least this for one that never learns it."""
    signal, memorised = signal_time(runs["main"]), memory_time(runs["main"])
    # T3 is within the run, so that this ratio is above 1 too
    return np.where(np.isnan(signal), float(runs["main"].dataset.step.max()), signal) / memorised


def signal_range(runs: Runs) -> Bracketed:
    """T1, which lies between two records."""
    low, high = passed_between(signal_margin(single(runs["main"])) > 1.0)
    return Bracketed(signal_time(runs["main"]), low.values, high.values, MORE_RECORDS)


def phase_range(runs: Runs) -> Bracketed:
    """T1/T3, both of which lie between two records."""
    signal = signal_range(runs)
    low, high = passed_between(memory(single(runs["main"])).mean("sample") > 0.5)
    latest = np.where(signal.high > 0, signal.high / low.values, 0.0)
    return Bracketed(phase_ratio(runs), signal.low / high.values, latest, MORE_RECORDS)


def slope(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least-squares slope of y (points, ...) on x; NaN where all x are equal."""
    x = np.asarray(x, float) - np.mean(x)
    square = np.sum(x**2)
    return np.asarray(np.tensordot(x, np.asarray(y), 1) / (square if square > 0 else np.nan))


def memory_exponent(field: str, *names: str):
    """Exponent of a config's number in the mean over seeds of T3: one number for all seeds."""

    def measure(runs: Runs) -> PerSeed:
        values = [np.atleast_1d(getattr(runs[name].config, field))[0] for name in names]
        times = [np.mean(memory_time(runs[name])) for name in names]
        return np.atleast_1d(slope(np.log(values), np.log(times)))

    return measure


def signal_exponent(*names: str):
    r"""Slope of log U in log alpha, seed by seed."""

    def measure(runs: Runs) -> PerSeed:
        alphas = np.asarray([runs[name].config.alpha for name in names])
        powers = np.asarray([runs[name].config.power for name in names])
        margins = np.asarray([signal_margin(last(runs[name])).values for name in names])
        return slope(np.log(alphas), np.log(margins / alphas[:, None] ** powers[:, None]))

    return measure


def exponent_difference(first: tuple[str, ...], second: tuple[str, ...]):
    return lambda runs: signal_exponent(*first)(runs) - signal_exponent(*second)(runs)


def scan(run: Run) -> xr.Dataset:
    """Values at the end of a run over gamma."""
    return run.dataset.isel(arm=0, step=-1)


def worst_over(name: str, reduce: str, low: float, high: float):
    """The largest or smallest of a number at the end over the adversaries with gamma in a range."""

    def measure(runs: Runs) -> PerSeed:
        values = scan(runs["gammas"])[name]
        inside = (values.gamma >= low - 1e-9) & (values.gamma <= high + 1e-9)
        return getattr(values.isel(gamma=np.flatnonzero(inside.values)), reduce)("gamma").values

    return measure


def thresholds(runs: Runs) -> np.ndarray:
    """For every run the first gamma of its grid at which mean robust test accuracy is above 0.9.

    NaN where there is none, and where it is the grid's smallest: the threshold may then lie below the grid.
    """
    found = []
    for run in runs.values():
        mean = scan(run).robust_test.mean("seed")
        above = np.flatnonzero(mean.values > 0.9)
        found.append(mean.gamma.values[above[0]] if above.size and above[0] else np.nan)
    return np.asarray(found)


def threshold_exponent(runs: Runs) -> PerSeed:
    """Exponent of N in the threshold: one number for all seeds."""
    counts = [run.config.num_samples[0] for run in runs.values()]
    return np.atleast_1d(slope(np.log(counts), np.log(thresholds(runs))))


def largest_threshold_ratio(runs: Runs) -> PerSeed:
    """The largest ratio of the threshold at one N and at the next smaller one."""
    found = thresholds(runs)
    return np.atleast_1d(np.max(found[1:] / found[:-1]))


def odd_power(values: xr.DataArray, power: float) -> xr.DataArray:
    return np.sign(values) * np.abs(values) ** power


def score_error(runs: Runs) -> PerSeed:
    r"""Largest deviation of the scores from $\alpha^q U + V_i$ and $\alpha'^q U + V_i$, over their size.

    Their size is that of the largest score over samples, at each record by itself.
    """
    run = runs["main"]
    data, config = single(run), run.config
    u = data.signals.sel(feature=0, drop=True)
    signs = np.where(np.arange(u.sizes["neuron"]) < config.width[0], 1.0, -1.0)  # of the second layer
    total = (xr.DataArray(signs, dims="neuron") * odd_power(u, config.power)).sum("neuron")
    clean = config.alpha**config.power * total
    moved = (config.residuals[0] * config.alpha) ** config.power * total
    errors = [
        np.abs(score - signal - memory(data)).max("sample") / np.abs(score).max("sample")
        for score, signal in ((data.margins, clean), (data.robust_scores.sum("family"), moved))
    ]
    return np.max([error.max("step").values for error in errors], axis=0)


def update_error(runs: Runs) -> PerSeed:
    r"""Largest deviation of $u_r$ after a step from the reduced dynamics, over the largest $|u_r|$ then."""
    from scipy.special import expit

    run = runs["every_step"]
    data, config = single(run), run.config
    q, weight = config.power, config.adversarial_weight
    clean, moved = (a**q for a in (config.alpha, config.residuals[0] * config.alpha))
    u = data.signals.sel(feature=0, drop=True)
    total = odd_power(u, q).sum("neuron")
    c = (1 - weight) * expit(-(clean * total + memory(data)))
    a = weight * expit(-(moved * total + memory(data)))
    pull = (clean * c + moved * a).mean("sample")
    expected = u + config.learning_rate * q * np.abs(u) ** (q - 1) * pull
    before, after = expected.isel(step=slice(0, -1)), u.isel(step=slice(1, None))
    error = np.abs(after.drop_vars("step") - before.drop_vars("step")).max("neuron")
    return (error / np.abs(after).drop_vars("step").max("neuron")).max("step").values


def attack_gap(runs: Runs) -> PerSeed:
    """Largest difference of the test accuracies under the fixed shift and under PGD along w*."""
    end = last(runs["attacked"])
    return np.abs(end.shift_test - end.span_test).max("radius").values


def full_accuracy(points: str, radius: float = 1.0):
    """Accuracy under PGD in all directions at one radius."""
    name = f"full_{points}"
    return lambda runs: last(runs["attacked"])[name].sel(radius=radius, method="nearest").values


def held_balls(runs: Runs) -> PerSeed:
    """The smaller of clean test accuracy and of what attacks leave of the training inputs."""
    end = last(runs["construction"])
    return np.minimum(end.clean_test, robust_points(end, "train")).values


def robust_points(end: xr.Dataset, points: str) -> xr.DataArray:
    """The smaller of the accuracies under the attacks that were made."""
    names = [f"robust_{points}_{attack}" for attack in ("shift", "pgd")]
    return xr.concat([end[name] for name in names if name in end], "attack", coords="minimal").min("attack")


def robust_error(run: str):
    return lambda runs: 1 - robust_points(last(runs[run]), "test").values


def overfit_count_error(runs: Runs) -> PerSeed:
    """Test inputs that attacks turn, less those whose signs no training input has: a whole number."""
    end, config = last(runs["construction"]), runs["construction"].config
    attacked = min(config.num_points, config.num_test)
    turned, new = (np.rint(attacked * share) for share in (1 - robust_points(end, "test"), end.unseen_test))
    return (turned - new).values


def unseen_deviation(config) -> float:
    r"""Standard deviation of the share of test inputs with signs of no training input, of one seed.

    Of $M = 2^{D-1}$ sign patterns N draws with replacement leave a share of variance
    $e^{-c}(1 - (1 + c)e^{-c})/M$ unseen, $c = N/M$.
    """
    patterns, share = 2.0 ** (config.dim - 1), unseen(config)
    load = config.num_samples[0] / patterns
    drawn = math.exp(-load) * (1 - (1 + load) * math.exp(-load)) / patterns
    return math.sqrt(share * (1 - share) / min(config.num_points, config.num_test) + drawn)


def unseen(config) -> float:
    r"""$(1 - 2^{-(D-1)})^N$: how often a test input's signs are those of no training input."""
    return (1 - 2.0 ** (1 - config.dim)) ** config.num_samples[0]


def count_error(runs: Runs) -> PerSeed:
    """Largest deviation of the number of parameters from N (10 D + 2) + 1."""
    errors = []
    for run in runs.values():
        law = run.config.num_samples[0] * (10 * run.config.dim + 2) + 1
        errors.append(np.abs(last(run).num_parameters.values - law))
    return np.max(errors, axis=0)


def widest(name: str):
    """A number at the end of the widest network."""
    return lambda runs: by_width(runs)[name].isel(arm=-1).values


def by_width(runs: Runs) -> xr.Dataset:
    """Values at the end for every width."""
    return runs["digits"].dataset.isel(gamma=0, step=-1)


def narrowest_robust(runs: Runs) -> PerSeed:
    """The larger of robust training and test accuracy of the narrowest network."""
    narrow = by_width(runs).isel(arm=0)
    return np.maximum(narrow.robust_train, narrow.robust_test).values


def smallest_rise(runs: Runs) -> PerSeed:
    """The smallest gain of robust training accuracy from one width to the next."""
    return by_width(runs).robust_train.diff("arm").min("arm").values


def robust_gap(runs: Runs) -> PerSeed:
    return widest("robust_train")(runs) - widest("robust_test")(runs)


def loss_rise(points: str, factor: float):
    """Mean rise of the widest network's loss within `factor` times the training radius."""

    def measure(runs: Runs) -> PerSeed:
        rise = by_width(runs)[f"loss_rise_{points}"].isel(arm=-1)
        return rise.sel(radius=factor * runs["digits"].config.radius, method="nearest").values

    return measure


def rise_ratio(factor: float):
    """The rise at test points over that at training points."""
    return lambda runs: loss_rise("test", factor)(runs) / loss_rise("train", factor)(runs)


# --- where a single run decides


def trains_once(config) -> bool:
    """One network on patches under one adversary, as the laws have it."""
    return config.laws_apply and len(config.arms) == len(config.residuals) == 1


def slowest_start(count: int, width: int, risk: float = 0.05) -> float:
    r"""What the largest of m standard normals is above, for each of `count` such sets, but for this risk."""
    from scipy.special import ndtri

    return float(ndtri((risk / count) ** (1 / width)))


def memorises_all(config) -> bool:
    r"""Whether the run is long enough for the sample whose largest initial memory is the smallest.

    Times go as its $v_0^{-(q-2)}$, and are about two thirds of the law's.
    """
    count, width = config.num_samples[0], config.width[0]
    ratio = config.steps / (0.67 * config.phase_times(count)[1])
    largest = math.sqrt(2 * math.log(max(width, 2)))
    needed = largest * ratio ** (-1 / (config.power - 2)) if config.power > 2 else 0.0
    return ratio > 2.5 / 0.67 and slowest_start(count, width * (config.num_patches - 1)) > needed


def overfits(config) -> bool:
    """The theorem's setting: an adversary far beyond the threshold, and time to memorise."""
    if not trains_once(config) or not 0.5 <= config.adversarial_weight < 1 or config.num_patches < 2:
        return False
    return memorises_all(config) and abs(config.residuals[0]) < 0.5 * config.threshold(config.num_samples[0])


def attacks(config) -> bool:
    return overfits(config) and bool(config.attack_steps)


def like_defaults(config) -> bool:
    """The setting of the prototype, from whose few seeds some bands are."""
    sizes = (config.dim, config.num_patches, config.num_samples, config.width, config.power, config.steps)
    scales = (config.alpha, config.sigma, config.sigma_0, config.learning_rate)
    default = (100**0.249, 100**-0.509, 0.1, 0.02)
    near = bool(np.allclose(scales, default)) and config.adversarial_weight == 0.9
    return overfits(config) and near and sizes == (100, 2, (20,), (20,), 3.0, 10_000)


def attacks_at_one(config) -> bool:
    return like_defaults(config) and attacks(config) and 1.0 in config.evaluation_radii


def starts_quiet(config) -> bool:
    r"""Whether the memory at the start is no memory: three standard deviations of $V_i$ below 1/10."""
    from scipy.special import gamma

    q, patches = config.power, config.width[0] * max(config.num_patches - 1, 1)
    moment = 2**q * gamma(q + 0.5) / math.sqrt(math.pi)  # E z^2q
    return 3 * math.sqrt(patches * moment) * (config.sigma_0 * config.noise_square**0.5) ** q < 0.1


def standard(config) -> bool:
    """Standard training on patches, long enough to learn the signal, eight times before the noise."""
    bare = config.attack == "none" or config.adversarial_weight == 0
    full = config.is_gradient_descent and not config.batch_size
    plain = config.data == "patches" and config.activation == "odd_power" and config.power >= 2 and full
    once = len(config.arms) == len(config.gamma) == 1
    if not (bare and plain and once and config.steps >= 10_000 and starts_quiet(config)):
        return False
    race = dataclasses.replace(config.race(config.num_samples[0], 0.0), adversarial_weight=0.0)
    signal, memory_start = config.starts
    learned = race.signal_time(signal)
    noise = dataclasses.replace(race, adversarial_weight=1.0).memory_time(memory_start)
    awake = slowest_start(1, config.width[0], 0.01) > 0.1  # some neuron starts on the signal's side
    return awake and 10 * learned < config.steps and 8 * learned < noise


def learns_residual(config) -> bool:
    """An adversary that leaves far more of the signal than the threshold."""
    if not trains_once(config) or not 0 < config.adversarial_weight < 1 or config.num_patches < 2:
        return False
    count = config.num_samples[0]
    long_enough = config.steps > 2.5 * config.phase_times(count)[1]
    awake = slowest_start(1, config.width[0], 0.01) > 0.1
    return (
        long_enough and awake and starts_quiet(config) and config.residuals[0] > 2 * config.threshold(count)
    )


def writes_down(classifier: str):
    """A network on parity of this kind, under attack."""

    def applies(config) -> bool:
        broken = config.shifts[0] > config.alpha
        kind = config.data == "parity" and config.classifier == classifier
        return kind and broken and len(config.arms) == 1

    return applies


def on_digits(config) -> bool:
    """The digits as the prototype had them, from a narrow network to a wide one."""
    widths = min(config.width) == config.width[0] <= 4 and max(config.width) == config.width[-1] >= 256
    free = ("width", "num_test", "num_points", "records", "spacing")
    return widths and set_as(config, PRESETS["digits"], *free)


def widens(config) -> bool:
    return on_digits(config) and all(b >= 4 * a for a, b in pairwise(config.width))


# --- what a single run has too few of


def enough_points(*fields: str, fewest: int = 100):
    """What a run lacks of test points or attacked ones, which accuracies are shares of."""

    def needs(runs: Runs) -> str:
        (run,) = runs.values()
        few = [name for name in fields if getattr(run.config, name) < fewest]
        return "" if not few else f"at least {fewest} points ({', '.join(few)})"

    return needs


def enough_samples(runs: Runs) -> str:
    """What a run lacks of training samples, whose share is compared with a coin's: of all seeds, 25."""
    (run,) = runs.values()
    count = run.config.num_samples[0] * run.dataset.sizes["seed"]
    return "" if count >= 25 else f"at least 25 training samples in all seeds together, it has {count}"


def fair_coin(runs: Runs) -> Band:
    """1/2, up to 0.08 of 500 test points, and as many standard errors of fewer."""
    return around(0.5, absolute=0.08 * max(1.0, 500 / runs["main"].config.num_test) ** 0.5)
