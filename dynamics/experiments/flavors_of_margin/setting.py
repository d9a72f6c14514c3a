"""Does each update rule maximise the margin in the norm that it descends in?

Tsilivis, Gronich, Vardi & Kempe 2025, "Flavors of Margin: Implicit Bias of Steepest Descent in Homogeneous
Neural Networks", arXiv:2410.22069.
"""

import functools
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import jax
import numpy as np
import xarray as xr

from dynamics import descent, observables, results
from dynamics.data import teachers
from dynamics.data.rescaled import Rescaled
from dynamics.data.shared import Shared
from dynamics.data.shipped import SHIPPED_COUNTS
from dynamics.descent import Objective, StepRule, norms
from dynamics.engine.job import Job
from dynamics.engine.stages import Staged
from dynamics.laws import max_margin
from dynamics.models.activations import Activation, ActivationName
from dynamics.models.homogeneous import Homogeneous
from dynamics.models.linear import DiagonalLinear, Linear
from dynamics.observables.steepest import BINS
from dynamics.problem import Problem
from dynamics.study.config import RunConfig, setting

SYNTHETIC = ("linear", "relu_teacher", "orthogonal", "point")
OWN = {"adam": "linf", "rmsprop": "linf", "muon": "spectral", "shampoo": "spectral"}
OWN |= {"momentum": "l2", "nesterov": "l2"}
"""The norm whose margin a rule that is not steepest descent itself is expected to maximise."""


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Separable data, a homogeneous network, and several update rules side by side."""

    data: str = setting(
        "relu_teacher", f"{', '.join(SYNTHETIC)}, mnist, digits, or a path of image or feature files"
    )
    dim: int = setting(10, "input dimension d (linear, relu_teacher, orthogonal)", low=1)
    num_samples: int = setting(20, "training samples n (not of orthogonal and point)", low=1)
    num_test: int = setting(1000, "test samples (not of orthogonal and point)", low=1)
    teacher_units: Literal["normal", "uniform"] = setting("normal", "entries of the teacher's two units")
    teacher_fraction: float = setting(1.0, "share of the inputs that a unit sees", above=0, high=1)
    tie: Literal[-1, 1] = setting(1, "label where both units of the teacher are inactive")
    num_positive: int = setting(6, "points labelled +1 (orthogonal)", low=0)
    num_negative: int = setting(2, "points labelled -1 (orthogonal)", low=0)
    radius: float = setting(2.0, "norm R of the points (orthogonal)", above=0)
    point: tuple[float, ...] = setting((3.0, -1.0, 0.5, 2.0), "the one input, labelled +1 (point)")
    classes: tuple[int, ...] = setting((2, 7), "labels of the images: the first is -1, the second +1")
    rescale: bool = setting(
        False, "divide the inputs by the largest dual norm of one: a step size of 1 is then 1/B^2"
    )
    model: Literal["linear", "diagonal", "network"] = setting("network", "predictor; all layers are trained")
    widths: tuple[int, ...] = setting((100,), "neurons k of each hidden layer (network)", low=1)
    depth: int = setting(2, "factors L (diagonal)", low=2)
    activation: ActivationName = setting("relu_power", "activation (network); linear: a deep linear network")
    power: float = setting(2.0, "power q of relu_power and odd_power", low=1)
    init_scale: float = setting(0.3, "initial weights are uniform in +-s/sqrt(fan-in)", low=0)
    loss: Literal["exponential", "logistic"] = setting("exponential", "loss, summed over samples")
    algorithms: tuple[str, ...] = setting(
        ("gd", "sign", "coordinate", "spectral"),
        f"update rules: {', '.join(descent.NAMES)}, or norms to descend in (l1.5, spectral, max-l2, ...)",
    )
    step_rule: tuple[StepRule, ...] = setting(
        ("log_decrease",), "length of a step, one for all algorithms or one each (steepest descent)"
    )
    learning_rate: tuple[float, ...] = setting(
        (0.05,), "step size eta (of log_decrease: by how much log L falls), one for all or one each", above=0
    )
    momentum: float = setting(0.0, "momentum beta of steepest descent; 0: none", low=0, below=1)
    decay: float = setting(0.0, "the step size falls as 1/(t+1)^decay", low=0)
    newton_schulz: int = setting(0, "steps of Newton and Schulz in spectral norms; 0: the exact SVD", low=0)
    objective: Objective = setting("log_loss", "what is differentiated; log_loss never underflows")
    adam_eps: float = setting(1e-8, "stability constant of adam", low=0)
    adam_b1: float = setting(0.9, "decay of adam's average of gradients", low=0, below=1)
    adam_b2: float = setting(0.999, "decay of adam's average of squares", low=0, below=1)
    norms: tuple[str, ...] = setting(
        ("l1", "l2", "linf", "spectral"), "norms that margins are measured in, beside the algorithms' own"
    )
    certificate: bool = setting(
        False, "also solve for the largest margin of the final tangent features (l1, l2, linf)"
    )
    steps: int = setting(10_000, "number of steps T", low=0)
    records: int = setting(201, "recording times", low=2)
    spacing: Literal["linear", "log"] = setting("linear", "spacing of the recording times")
    float64: bool = setting(True, "compute in float64, with or without --x64")

    def check(self) -> None:
        """Refuse what does not fit together."""
        if not self.algorithms or len(set(self.algorithms)) < len(self.algorithms):
            raise ValueError(
                f"algorithms must be different update rules, got {', '.join(self.algorithms) or 'none'}"
            )
        for name in ("step_rule", "learning_rate"):
            if len(getattr(self, name)) not in (1, len(self.algorithms)):
                raise ValueError(
                    f"{name} must be one value for all of the {len(self.algorithms)} algorithms or one each, "
                    f"got {len(getattr(self, name))}"
                )
        for algorithm in self.algorithms:
            descent.norm_of(algorithm)  # refuses an unknown one
        for name in self.norms:
            norms.parse(name)
        if self.model == "network":
            if not self.widths:
                raise ValueError("widths must name at least one hidden layer, got none")
            if Activation(self.activation, power=self.power).degree is None:
                raise ValueError(f"activation must be homogeneous, got {self.activation!r}")
        if self.adam_eps == 0 and self.objective == "loss" and "adam" in self.algorithms:
            raise ValueError(
                "adam_eps must be above 0 with objective 'loss': gradients underflow to 0/0, got 0.0"
            )
        if self.certificate and self.model == "network" and self.activation == "linear":
            raise ValueError("certificate is for networks that are not linear: those have a known optimum")
        if self.data not in SYNTHETIC:
            if len(self.classes) != 2 or self.classes[0] == self.classes[1]:
                got = ", ".join(map(str, self.classes))
                raise ValueError(f"classes must be two different labels, got {got}")
        elif self.data == "orthogonal":
            teachers.orthogonal(self.dim, self.num_positive, self.num_negative, self.radius)
        elif self.data == "point" and not any(self.point):
            raise ValueError("point must have an entry other than 0")
        elif round(self.teacher_fraction * self.dim) < 1:
            raise ValueError(
                f"teacher_fraction must leave a unit one input of dim={self.dim}, got {self.teacher_fraction}"
            )
        if self.batch_size > self.train_count:
            raise ValueError(
                f"batch_size must be at most the {self.train_count} training samples, got {self.batch_size}"
            )

    @property
    def train_count(self) -> int:
        """Number of training samples."""
        if self.data == "orthogonal":
            return self.num_positive + self.num_negative
        return 1 if self.data == "point" else self.num_samples

    def own_norm(self, algorithm: str) -> str:
        """The norm whose margin an algorithm is expected to maximise."""
        return descent.norm_of(algorithm) or OWN[algorithm]

    def rule(self, algorithm: str) -> StepRule:
        """The step rule of an algorithm."""
        return self.step_rule[self.algorithms.index(algorithm) if len(self.step_rule) > 1 else 0]

    def rate(self, algorithm: str) -> float:
        """The step size of an algorithm."""
        return self.learning_rate[self.algorithms.index(algorithm) if len(self.learning_rate) > 1 else 0]

    @property
    def measured_norms(self) -> tuple[str, ...]:
        """Norms that margins are measured in."""
        return tuple(dict.fromkeys([*self.norms, *map(self.own_norm, self.algorithms)]))

    @property
    def is_linear(self) -> bool:
        """Whether the predictor is linear in its inputs."""
        return self.model != "network" or self.activation == "linear"


_TRAJECTORIES = Config()
_LINEAR = Config(
    data="linear", dim=50, rescale=True, model="linear", init_scale=0.0,
    algorithms=("gd", "sign", "coordinate"), step_rule=("loss_adaptive",), learning_rate=(1.0,),
    norms=("l1", "l2", "linf"), steps=20_000, records=96, spacing="log",
)  # fmt: skip
_RELU = replace(_TRAJECTORIES, activation="relu", init_scale=0.1)
_DIGITS = replace(
    _RELU, data="mnist", num_samples=100, num_test=500, widths=(64,), learning_rate=(0.1,), steps=2000,
    records=41, float64=False,
)  # fmt: skip
PRESETS = {
    "small": _TRAJECTORIES,
    # of more than 100 images the rate of coordinate descent diverges, whose loss is a sum
    "paper": replace(
        _DIGITS, widths=(784,), init_scale=0.01, algorithms=("gd", "sign", "coordinate"),
        step_rule=("raw", "normalized", "raw"), learning_rate=(1e-4, 1e-4, 4e-2), steps=12_000, records=61,
    ),
    "relu": _RELU,
    "linear": _LINEAR,
    "deep_linear": replace(
        _TRAJECTORIES, data="linear", dim=30, num_samples=15, widths=(16,), activation="linear",
        init_scale=0.1, steps=20_000,
    ),
    "point": replace(
        _RELU, data="point", widths=(12,), init_scale=1e-3, steps=20_000,
        algorithms=("gd", "sign", "coordinate"),
    ),
    "orthogonal": replace(_RELU, data="orthogonal", dim=16, steps=20_000, algorithms=("gd",)),
    "adam": replace(
        _LINEAR, rescale=False, algorithms=("adam",), learning_rate=(1e-3,), objective="loss", adam_eps=1e-4,
        adam_b2=0.9, steps=40_000, records=401, spacing="linear",
    ),
    "momentum": replace(_TRAJECTORIES, momentum=0.9),
    "teacher": replace(
        _RELU, dim=50, num_samples=100, num_test=2000, teacher_units="uniform", teacher_fraction=0.04, tie=-1,
        algorithms=("l1.25", "gd", "sign"), steps=6000, records=61, float64=False,
    ),
    "digits": _DIGITS,
}  # fmt: skip


def data(config: Config, algorithm: str):
    """The data distribution of one algorithm's run."""
    sizes = {"dim": config.dim, "num_samples": config.num_samples, "num_test": config.num_test}
    if config.data == "linear":
        source = teachers.LinearTeacher(**sizes)
    elif config.data == "relu_teacher":
        teacher = {"units": config.teacher_units, "fraction": config.teacher_fraction, "tie": config.tie}
        source = teachers.ReluTeacher(**sizes, **teacher)
    elif config.data == "orthogonal":
        source = teachers.orthogonal(config.dim, config.num_positive, config.num_negative, config.radius)
    elif config.data == "point":
        source = teachers.FixedPoints(np.asarray([config.point]), (1,))
    else:
        from dynamics.data import images

        if config.data not in SHIPPED_COUNTS and not Path(config.data).exists():
            known = ", ".join((*SYNTHETIC, *SHIPPED_COUNTS))
            raise ValueError(f"data must be {known} or an existing path, got {config.data!r}")
        source = images.load(
            config.data, num_train=config.num_samples, num_test=config.num_test, classes=config.classes
        )
    return Rescaled(source, config.own_norm(algorithm)) if config.rescale else source


def problem(config: Config, algorithm: str) -> Problem:
    """The problem of one algorithm's run: the sum of an exponentially tailed loss."""
    if config.model == "linear":
        model = Linear()
    elif config.model == "diagonal":
        model = DiagonalLinear(config.depth)
    else:
        model = Homogeneous(config.widths, activation=Activation(config.activation, power=config.power))
    source = data(config, algorithm)
    return Problem(
        Shared(source) if config.shared_data else source,
        model,
        loss=config.loss,
        reduction="sum",
        init_scale=config.init_scale,
    )


def update_rule(config: Config, algorithm: str) -> descent.Descent:
    """The update rule of one algorithm."""
    given = {"decay": config.decay or None, "of": config.objective}
    norm = descent.norm_of(algorithm)
    if norm is not None:
        given |= {"step": config.rule(algorithm), "momentum": config.momentum or None}
        if config.newton_schulz and norms.parse(norm).matrices is None:
            given["newton_schulz"] = config.newton_schulz
    elif algorithm == "adam":
        given |= {"eps": config.adam_eps, "b1": config.adam_b1, "b2": config.adam_b2}
    return descent.named(algorithm, config.rate(algorithm), **given)


def observed(config: Config) -> tuple[dict, dict]:
    """What is recorded at every recording time, and at the end."""
    o, measured = observables, config.measured_norms
    always = {
        "log_loss": o.log_loss,
        "smallest_margin": o.smallest_margin,
        "train_accuracy": o.train_accuracy,
        "test_accuracy": o.test_accuracy,
        "saturated": o.saturated,
        "vanishing": o.vanishing,
        "effective_sparsity": o.effective_sparsity,
    }
    for name in ("parameter_norm", "geometric_margin", "soft_margin", "stationarity", "bregman_gap"):
        always[name] = getattr(o, name).given(norm=measured)
    end = {"margins": o.margins, "magnitudes": o.magnitudes.given(bin=BINS)}
    if config.model == "network":
        always |= {"alignment": o.alignment}
        end |= {"neuron_norm": o.neuron_norm, "activation_pattern": o.activation_pattern}
        if len(config.widths) == 1:
            end |= {"output_weights": o.output_weights}
    if config.is_linear:
        end |= {"linear_predictor": o.linear_predictor, "signed_inputs": o.signed_inputs}
    if config.certificate:
        end |= {"signed_tangents": o.signed_tangents}
    return always, end


def train(config: Config) -> Staged:
    """Train with each algorithm; dimension `algorithm` tells them apart.

    `optimum` (algorithm, seed, norm) is the largest margin that the model can have, where it is known.
    """
    with jax.enable_x64(config.float64 or bool(jax.config.jax_enable_x64)):
        jobs = {algorithm: _job(config, algorithm) for algorithm in config.algorithms}
    found = yield jobs
    dataset = results.join(found, "algorithm")
    dataset = dataset.assign(optimum=_optima(config, dataset))
    if config.certificate:
        dataset = dataset.assign(certificate=_certificates(config, dataset)).drop_vars("signed_tangents")
    return dataset


def _job(config: Config, algorithm: str) -> Job:
    always, end = observed(config)
    return Job(
        problem(config, algorithm),
        update_rule(config, algorithm),
        steps=config.steps,
        observe=always,
        observe_end=end,
        when=config.recording_times(),
        batch_size=config.batch_size or None,
    )


def _optima(config, dataset):
    """The largest margins that are known, NaN for the others."""
    shape = (dataset.sizes["algorithm"], dataset.sizes["seed"])
    names = dataset.norm.values.tolist()
    values = np.full((*shape, len(names)), np.nan)
    for i, j in np.ndindex(shape):
        one = dataset.isel(algorithm=i, seed=j)
        for k, name in enumerate(names):
            values[i, j, k] = _optimum(config, one, name)
    about = {"long_name": "largest margin that the model can have"}
    return xr.DataArray(values, dims=("algorithm", "seed", "norm"), attrs=about)


def _optimum(config, one, norm):
    unknown = float("nan")
    if config.is_linear:
        rows = one.signed_inputs.values.astype(float)
        if not np.all(np.isfinite(rows)):
            return unknown
        try:
            if config.model == "linear":
                return _linear_optimum(rows.tobytes(), rows.shape, "l2" if norm == "spectral" else norm)
            if config.model == "diagonal":
                return max_margin.diagonal_linear(rows, norm) if config.depth == 2 else unknown
            if len(set(config.widths)) > 1:
                return unknown
            return max_margin.deep_linear(rows, norm, len(config.widths) + 1, config.widths[0])
        except ValueError:  # a norm whose largest margin has no closed form and no program
            return unknown
    if config.activation != "relu" or len(config.widths) != 1:
        return unknown
    if config.data == "orthogonal" and norm == "l2":
        return max_margin.relu_orthogonal(config.num_positive, config.num_negative, config.radius)
    if config.data == "point" and norm in max_margin.NORMS:
        on = (one.activation_pattern.values[:, 0] > 0) & (one.output_weights.values[0] > 0)
        return max_margin.relu_one_point(np.asarray(config.point), norm, int(on.sum()))
    return unknown


@functools.lru_cache(maxsize=256)
def _linear_optimum(data, shape, norm):
    # the same for every algorithm, unless inputs are rescaled
    return max_margin.linear(np.frombuffer(data).reshape(shape), norm)[0]


def _certificates(config, dataset):
    """How close the final weights are to the largest margin of their own tangent features."""
    names = [name for name in dataset.norm.values.tolist() if name in max_margin.NORMS]
    shape = (dataset.sizes["algorithm"], dataset.sizes["seed"])
    values = np.full((*shape, dataset.sizes["norm"]), np.nan)
    last = dataset.isel(step=-1)
    degree = problem(config, config.algorithms[0]).model.degree
    for i, j in np.ndindex(shape):
        one = last.isel(algorithm=i, seed=j)
        smallest = float(one.smallest_margin)
        if not smallest > 0:
            continue
        for name in names:
            size, k = float(one.parameter_norm.sel(norm=name)), dataset.norm.values.tolist().index(name)
            values[i, j, k] = max_margin.certificate(one.signed_tangents.values, size, smallest, degree, name)
    about = {"long_name": "KKT certificate: 1 at the largest margin of the tangent features"}
    return xr.DataArray(values, dims=("algorithm", "seed", "norm"), attrs=about)
