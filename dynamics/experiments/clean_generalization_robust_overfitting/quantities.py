"""The mathematics of clean generalisation and robust overfitting: quantities, laws, and where claims apply.

Where a law is about a run, it has one network (`arm`) under one adversary (`gamma`).
"""

import dataclasses
import math
from itertools import pairwise
from operator import attrgetter

import numpy as np
import xarray as xr

from dynamics.experiments.clean_generalization_robust_overfitting.images import DIGITS, Images
from dynamics.experiments.clean_generalization_robust_overfitting.setting import SMALL, Construction, Patches
from dynamics.laws import clean_generalization_robust_overfitting as laws
from dynamics.study import Band, Law, Run, around, expected, set_as
from dynamics.study.bands import MORE_RECORDS, Bracketed
from dynamics.study.quantities import first_above, last, passed_between, stacked

SIGNAL, NOISE = 0, -1  # families of patches


def num_samples(config) -> int:
    """N of the first network."""
    return config.num_samples[0]


# --- what the laws are about


def is_reduced(config) -> bool:
    """Whether training is full gradient descent on patches, which signals and memories alone describe."""
    odd = isinstance(config, Patches) and config.activation == "odd_power" and config.power >= 2
    return odd and config.is_gradient_descent and not config.batch_size


def laws_apply(config) -> bool:
    """Whether the closed forms are about this training: reduced, under an adversary along w*."""
    return is_reduced(config) and config.attack in ("fixed", "model") and config.adversarial_weight > 0


def trains_once(config) -> bool:
    """Whether they are about one network under one adversary."""
    return laws_apply(config) and len(config.arms) == len(config.residuals) == 1


def races(config) -> bool:
    """Whether signal and noise compete: each has a part of the loss, and there is noise."""
    return laws_apply(config) and config.adversarial_weight < 1 and config.num_patches > 1


def writes_down(config, classifier: str = "memorising") -> bool:
    """Whether the run is one network on parity of this kind, under attack."""
    kind = isinstance(config, Construction) and config.classifier == classifier
    return kind and len(config.arms) == 1 and config.radius > config.signal


# --- the phases of training


def _alone(values: xr.DataArray) -> xr.DataArray:
    """Without the dimensions of network and adversary, of which each run has one."""
    return values.mean([dim for dim in ("arm", "gamma") if dim in values.dims])


def signal_margin(run, scores: str = "scores") -> xr.DataArray:
    r"""$\alpha^q U$: what the signal adds to every sample's clean score; or to its `robust_scores`."""
    return _alone(run[scores].sel(family=SIGNAL, drop=True).mean("sample"))


def memory(run) -> xr.DataArray:
    r"""$V_i$: what the noise patches add to each sample's score."""
    return run.scores.sel(family=NOISE, drop=True)


def mean_memory(run) -> xr.DataArray:
    r"""The mean over samples of $V_i$."""
    return _alone(memory(run).mean("sample"))


SIGNAL_TIME = Law(
    "signal_time",
    r"step $T_1$ at which the signal is learned",
    lambda run: first_above(signal_margin(run), 1.0),
    theory=lambda config: config.phase_times(num_samples(config))[0],
    # phase I rests on the clean half of the loss
    recorded=lambda config: trains_once(config) and config.adversarial_weight < 1,
    exponents=lambda config: {"learning_rate": -1.0, "signal": -config.power, "init_scale": 2 - config.power},
)
MEMORY_TIME = Law(
    "memory_time",
    r"step $T_3$ at which the noise is memorised",
    lambda run: first_above(mean_memory(run), 0.5),
    theory=lambda config: config.phase_times(num_samples(config))[1],
    recorded=trains_once,
    exponents=lambda config: {
        "learning_rate": -1.0,
        "num_samples": 1.0,
        "adversarial_weight": -1.0,
        "noise": -config.power,
        "init_scale": 2 - config.power,
    },
)


def signal_range(run) -> Bracketed:
    """T1, which lies between two records."""
    return Bracketed(SIGNAL_TIME.quantity(run), *passed_between(signal_margin(run) > 1.0), MORE_RECORDS)


def phase_range(run) -> Bracketed:
    """T1/T3, both between two records; 0 where a network starts with the signal.

    For one that never learns it at least this: T3 is within the run, so that the ratio is above 1 too.
    """
    signal = signal_range(run)
    low, high = passed_between(mean_memory(run) > 0.5)
    latest = (signal.high / low).where(signal.high > 0, 0.0)
    ratio = signal.values.fillna(float(run.step.max())) / MEMORY_TIME.quantity(run)
    return Bracketed(ratio, signal.low / high, latest, MORE_RECORDS)


def mean_memory_time(run) -> xr.DataArray:
    """The mean over seeds of T3."""
    return MEMORY_TIME.quantity(run).mean("seed", skipna=False)


def signal_strength(run) -> xr.DataArray:
    """U at the end."""
    return last(signal_margin(run)) / run.config.alpha**run.config.power


def threshold(run) -> xr.DataArray:
    r"""$\gamma_c$: the first of a grid with robust test accuracy above 0.9, as the mean over seeds.

    NaN where there is none, and where it is the grid's smallest: the threshold may then lie below the grid.
    """
    found = run.gamma.where(last(run.robust_test).mean(["arm", "seed"]) > 0.9).min("gamma")
    return found.where(found > run.gamma.min())


THRESHOLD = Law(
    "threshold",
    r"residual signal $\gamma_c$ from which on it is learned before the noise is memorised",
    threshold,
    theory=lambda config: config.threshold(num_samples(config)),
    domain=races,
)


# --- identities


def odd_power(values: xr.DataArray, power: float) -> xr.DataArray:
    """The activation, sign(z)|z|^q."""
    return np.sign(values) * np.abs(values) ** power


def _strengths(config) -> tuple[float, float]:
    r"""$\alpha^q$ and $\alpha'^q$ of the first adversary."""
    return config.alpha**config.power, (config.residuals[0] * config.alpha) ** config.power


def score_error(run: Run) -> xr.DataArray:
    r"""Largest deviation of the scores from $\alpha^q U + V_i$ and $\alpha'^q U + V_i$, over their size.

    Their size is that of the largest score over samples, at each record by itself.
    """
    u = run.signals.sel(feature=0, drop=True)
    signs = np.where(np.arange(u.sizes["neuron"]) < run.config.width[0], 1.0, -1.0)  # of the second layer
    total = (xr.DataArray(signs, dims="neuron") * odd_power(u, run.config.power)).sum("neuron")
    scores = run.margins, run.robust_scores.sum("family")
    errors = [
        np.abs(score - strength * total - memory(run)).max("sample") / np.abs(score).max("sample")
        for score, strength in zip(scores, _strengths(run.config), strict=True)
    ]
    return np.maximum(*(error.max("step") for error in errors))


def update_error(run: Run) -> xr.DataArray:
    r"""Largest deviation of $u_r$ after a step from the reduced dynamics, over the largest $|u_r|$ then."""
    from scipy.special import expit

    q, weight = run.config.power, run.config.adversarial_weight
    u = run.signals.sel(feature=0, drop=True)
    total = odd_power(u, q).sum("neuron")
    clean, moved = (s * expit(-(s * total + memory(run))) for s in _strengths(run.config))
    pull = ((1 - weight) * clean + weight * moved).mean("sample")
    law = u + run.config.learning_rate * q * np.abs(u) ** (q - 1) * pull
    after = u.shift(step=-1)
    return (np.abs(after - law).max("neuron") / np.abs(after).max("neuron")).max("step")


# --- networks that are written down


def robust_points(run, points: str) -> xr.DataArray:
    """The smaller of the accuracies under the attacks that were made."""
    made = {name: run[name] for name in run.data_vars if name.startswith(f"robust_{points}_")}
    return stacked(made, "attack").min("attack")


ROBUST_ERROR = Law(
    "robust_error",
    "share of the test inputs that attacks turn",
    lambda run: _alone(1 - robust_points(run, "test")),
    theory=lambda config: laws.unseen(config.dim, num_samples(config)),
    domain=writes_down,
    recorded=lambda config: isinstance(config, Construction),
)


def share_unseen(config) -> Band:
    """As many as are unseen in expectation."""
    attacked = min(config.num_points, config.num_test)
    deviation = laws.unseen_deviation(config.dim, num_samples(config), attacked)
    return expected(ROBUST_ERROR.theory(config), deviation)


def overfit_count_error(run: Run) -> xr.DataArray:
    """Test inputs that attacks turn, less those whose signs no training input has: a whole number."""
    attacked = min(run.config.num_points, run.config.num_test)
    return np.rint(attacked * ROBUST_ERROR.quantity(run)) - np.rint(attacked * run.unseen_test)


def count_error(run: Run) -> xr.DataArray:
    """Deviation of the number of parameters from N (10 D + 2) + 1."""
    law = num_samples(run.config) * (10 * run.config.dim + 2) + 1
    return np.abs(_alone(run.num_parameters) - law)


# --- images, by width


def widest(values: xr.DataArray) -> xr.DataArray:
    """Of the widest network."""
    return values.isel(arm=-1, drop=True)


def rise(run: Run, points: str, factor: float = 1.0) -> xr.DataArray:
    """Mean rise of the widest network's loss within `factor` times the training radius."""
    at = {"radius": factor * run.config.radius}
    return widest(run[f"loss_rise_{points}"]).sel(at, method="nearest", drop=True)


# --- where a single run decides a claim


def starts_quiet(config) -> bool:
    r"""Whether no memory is there at the start, but some neuron on the signal's side.

    No memory: three standard deviations of $V_i$ are below 1/10.
    """
    width, scale = config.width[0], config.sigma_0 * config.noise_square**0.5
    deviation = laws.start_deviation(scale, width * max(config.num_patches - 1, 1), config.power)
    return 3 * deviation < 0.1 < laws.slowest_start(1, width, 0.01)


def memorises_all(config) -> bool:
    r"""Whether the run is long enough for the sample whose largest initial memory is the smallest.

    Times go as its $v_0^{-(q-2)}$, and are about two thirds of the law's.
    """
    count, width = num_samples(config), config.width[0]
    ratio = config.steps / (0.67 * MEMORY_TIME.theory(config))
    largest = math.sqrt(2 * math.log(max(width, 2)))
    needed = largest * ratio ** (-1 / (config.power - 2)) if config.power > 2 else 0.0
    return ratio > 2.5 / 0.67 and laws.slowest_start(count, width * (config.num_patches - 1)) > needed


def overfits(config) -> bool:
    """The theorem's setting: an adversary far beyond the threshold, and time to memorise."""
    strong = trains_once(config) and races(config) and config.adversarial_weight >= 0.5
    return strong and memorises_all(config) and abs(config.residuals[0]) < 0.5 * THRESHOLD.theory(config)


def learns_residual(config) -> bool:
    """An adversary that leaves far more of the signal than the threshold, and time to memorise."""
    long = trains_once(config) and races(config) and config.steps > 2.5 * MEMORY_TIME.theory(config)
    return long and config.residuals[0] > 2 * THRESHOLD.theory(config) and starts_quiet(config)


def standard(config) -> bool:
    """Standard training on patches, long enough to learn the signal, eight times before the noise."""
    if not is_reduced(config) or not len(config.arms) == len(config.residuals) == 1:
        return False
    bare = config.attack == "none" or config.adversarial_weight == 0
    if not (bare and config.steps >= 10_000 and starts_quiet(config)):
        return False
    race = dataclasses.replace(config.race(num_samples(config), 0.0), adversarial_weight=0.0)
    signal, memory_start = config.starts
    learned = race.signal_time(signal)
    noise = dataclasses.replace(race, adversarial_weight=1.0).memory_time(memory_start)
    return 10 * learned < config.steps and 8 * learned < noise


def like_defaults(config) -> bool:
    """The setting of the prototype, from whose few seeds some bands are."""
    sizes = attrgetter("dim", "num_patches", "num_samples", "width", "power", "steps", "adversarial_weight")
    scales = attrgetter("alpha", "sigma", "sigma_0", "learning_rate")
    same = overfits(config) and sizes(config) == sizes(SMALL)
    return bool(same and np.allclose(scales(config), scales(SMALL)))


def on_digits(config) -> bool:
    """The digits as the prototype had them, from a narrow network to a wide one."""
    free = ("width", "num_test", "num_points", "records", "spacing")
    if not isinstance(config, Images) or not set_as(config, DIGITS, *free):
        return False
    return min(config.width) == config.width[0] <= 4 and max(config.width) == config.width[-1] >= 256


def widens(config) -> bool:
    """The same, where each network is four times as wide as the one before."""
    return on_digits(config) and all(b >= 4 * a for a, b in pairwise(config.width))


# --- what a single run has too few of


def enough_samples(run: Run) -> str:
    """What a run lacks of training samples, whose share is compared with a coin's: of all seeds, 25."""
    count = num_samples(run.config) * run.dataset.sizes["seed"]
    return "" if count >= 25 else f"at least 25 training samples in all seeds together, it has {count}"


def fair_coin(config) -> Band:
    """1/2, up to 0.08 of 500 test points, and as many standard errors of fewer."""
    return around(0.5, absolute=0.08 * max(1.0, 500 / config.num_test) ** 0.5)
