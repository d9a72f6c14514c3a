"""Settings of Tsilivis et al. 2025, arXiv:2410.22069: networks on synthetic data, on images; predictors."""

import functools
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import xarray as xr

from dynamics import observables as o
from dynamics import results
from dynamics.data import images, teachers
from dynamics.data.rescaled import Rescaled
from dynamics.data.shared import Shared
from dynamics.descent import norms
from dynamics.engine.stages import Staged, Training, in_precision
from dynamics.laws import max_margin
from dynamics.models.activations import Activation
from dynamics.models.homogeneous import Homogeneous
from dynamics.models.linear import DiagonalLinear, Linear
from dynamics.observables.steepest import BINS
from dynamics.problem import Problem
from dynamics.study.config import setting
from dynamics.study.quantities import at_each
from dynamics.study.rules import RulesConfig

TIMED = ("parameter_norm", "geometric_margin", "soft_margin", "stationarity", "bregman_gap")
"""What is recorded at every recording time in every norm."""
LINEAR = {"linear_predictor": o.linear_predictor, "signed_inputs": o.signed_inputs}
DRAWN = {"data": ["linear", "relu_teacher"]}
TEACHER, ORTHOGONAL = {"data": ["relu_teacher"]}, {"data": ["orthogonal"]}


@dataclass(frozen=True, kw_only=True)
class Flavors(RulesConfig):
    """Several update rules side by side on separable data, and the norms that margins are measured in."""

    rescale: bool = setting(
        False, "divide the inputs by the largest dual norm of one: a step size of 1 is then 1/B^2"
    )
    init_scale: float = setting(0.3, "initial weights are uniform in +-s/sqrt(fan-in)", low=0)
    loss: Literal["exponential", "logistic"] = setting("exponential", "loss, summed over samples")
    norms: tuple[str, ...] = setting(
        ("l1", "l2", "linf", "spectral"), "norms that margins are measured in, beside the algorithms' own"
    )
    steps: int = 10_000
    records: int = 201
    spacing: Literal["linear", "log"] = "linear"
    float64: bool = setting(True, "compute in float64, with or without --x64")

    def check(self) -> None:
        """Refuse unknown norms."""
        super().check()
        for name in self.measured_norms:
            norms.parse(name)

    @property
    def measured_norms(self) -> tuple[str, ...]:
        """Norms that margins are measured in."""
        return tuple(dict.fromkeys([*self.norms, *map(self.own_norm, self.algorithms)]))

    def problem(self, algorithm: str) -> Problem:
        """The problem of one algorithm's run: the sum of an exponentially tailed loss."""
        data = self.source()
        data = Rescaled(data, self.own_norm(algorithm)) if self.rescale else data
        data = Shared(data) if self.shared_data else data
        return Problem(data, self.network(), loss=self.loss, reduction="sum", init_scale=self.init_scale)

    def observed(self) -> tuple[dict, dict]:
        """What is recorded at every recording time, and at the end."""
        names = ("log_loss", "smallest_margin", "train_accuracy", "test_accuracy")
        names += ("saturated", "vanishing", "effective_sparsity")
        always = {name: getattr(o, name) for name in names}
        always |= {name: getattr(o, name).given(norm=self.measured_norms) for name in TIMED}
        return always, {"margins": o.margins, "magnitudes": o.magnitudes.given(bin=BINS)}

    def jobs(self) -> Staged:
        """Train with each algorithm; dimension `algorithm` tells them apart.

        `optimum` (algorithm, seed, norm) is the largest margin that the model can have, where it is known.
        """
        always, end = self.observed()
        found = yield self.each(self.problem, observe=always, observe_end=end)
        dataset = results.join(found, "algorithm")
        about = "largest margin that the model can have"
        return dataset.assign(optimum=at_each(dataset, ("algorithm", "seed"), "norm", self.optimum, about))


@dataclass(frozen=True, kw_only=True)
class Networks(Flavors):
    """Homogeneous networks; all layers are trained."""

    model = "network"  # where it is no setting

    widths: tuple[int, ...] = setting((100,), "neurons k of each hidden layer", low=1, filled=True)
    activation: Literal["relu", "leaky_relu", "linear", "prelu", "quadratic", "odd_power", "relu_power"] = (
        setting("relu_power", "activation, homogeneous; linear: a deep linear network")
    )
    power: float = setting(2.0, "power q", low=1, of={"activation": ["relu_power", "odd_power", "prelu"]})
    certificate: bool = setting(
        False, "also solve for the largest margin of the final tangent features (l1, l2, linf)"
    )

    def network(self) -> Homogeneous:
        """The model."""
        return Homogeneous(self.widths, activation=Activation(self.activation, power=self.power))

    def observed(self) -> tuple[dict, dict]:
        """What is recorded, of neurons too."""
        always, end = super().observed()
        end |= {"neuron_norm": o.neuron_norm, "activation_pattern": o.activation_pattern}
        if len(self.widths) == 1:
            end |= {"output_weights": o.output_weights}
        if self.activation == "linear":
            end |= LINEAR
        if self.certificate:
            end |= {"signed_tangents": o.signed_tangents}
        return always | {"alignment": o.alignment}, end

    def optimum(self, one: xr.Dataset, norm: str) -> float:
        """The largest margin that one run's model can have: known if it is linear."""
        if self.activation != "linear" or len(set(self.widths)) > 1:
            return np.nan
        return max_margin.deep_linear(_rows(one), norm, len(self.widths) + 1, self.widths[0])

    def jobs(self) -> Staged:
        """As in any setting, with `certificate` if it is asked for."""
        dataset = yield from super().jobs()
        if not self.certificate:
            return dataset
        about = "KKT certificate: 1 at the largest margin of the tangent features"
        found = at_each(dataset.isel(step=-1), ("algorithm", "seed"), "norm", self.certified, about)
        return dataset.assign(certificate=found).drop_vars("signed_tangents")

    def certified(self, one: xr.Dataset, norm: str) -> float:
        """How close final weights that fit are to the largest margin of their own tangent features."""
        size, smallest = float(one.parameter_norm.sel(norm=norm)), float(one.smallest_margin)
        if not smallest > 0:
            return np.nan
        return max_margin.certificate(one.signed_tangents.values, size, smallest, self.network().degree, norm)


@dataclass(frozen=True, kw_only=True)
class Synthetic(Flavors):
    """Inputs that are drawn, labelled by a teacher; or a few given ones."""

    data: Literal["linear", "relu_teacher", "orthogonal", "point"] = setting(
        "relu_teacher", "who labels Gaussian inputs; or orthogonal points, or one point"
    )
    dim: int = setting(
        10, "input dimension d", low=1, high=100_000, of={"data": [*DRAWN["data"], "orthogonal"]}
    )
    num_samples: int = setting(20, "training samples n", low=1, of=DRAWN)
    num_test: int = setting(1000, "test samples", low=1, of=DRAWN)
    teacher_units: Literal["normal", "uniform"] = setting(
        "normal", "entries of the teacher's two units", of=TEACHER
    )
    teacher_fraction: float = setting(
        1.0, "share of the inputs that a unit sees", above=0, high=1, of=TEACHER
    )
    tie: Literal[-1, 1] = setting(1, "label where both units of the teacher are inactive", of=TEACHER)
    num_positive: int = setting(6, "points labelled +1", low=0, high=1000, of=ORTHOGONAL)
    num_negative: int = setting(2, "points labelled -1", low=0, high=1000, of=ORTHOGONAL)
    radius: float = setting(2.0, "norm R of the points", above=0, of=ORTHOGONAL)
    point: tuple[float, ...] = setting(
        (3.0, -1.0, 0.5, 2.0), "the one input, labelled +1", of={"data": ["point"]}
    )
    batch_size: int = setting(0, "samples a step; 0: full batch", low=0, high="train_count")

    def check(self) -> None:
        """Refuse data that cannot be."""
        super().check()
        if not any(self.point):
            raise ValueError("point must have an entry other than 0")
        self.source()  # refuses what does not fit into the dimension

    @property
    def train_count(self) -> int:
        """Number of training samples."""
        given = {"orthogonal": self.num_positive + self.num_negative, "point": 1}
        return given.get(self.data, self.num_samples)

    def source(self) -> Any:
        """The data distribution."""
        if self.data == "linear":
            return self.into(teachers.LinearTeacher)
        if self.data == "relu_teacher":
            return self.into(teachers.ReluTeacher, units=self.teacher_units, fraction=self.teacher_fraction)
        if self.data == "orthogonal":
            return teachers.orthogonal(self.dim, self.num_positive, self.num_negative, self.radius)
        return teachers.FixedPoints(np.asarray([self.point]), (1,))


@dataclass(frozen=True, kw_only=True)
class Network(Synthetic, Networks):
    """Homogeneous networks on synthetic data."""

    def optimum(self, one: xr.Dataset, norm: str) -> float:
        """As of any network; also of ReLU networks with one hidden layer on few points."""
        if self.activation == "relu" and len(self.widths) == 1:
            if self.data == "orthogonal" and norm == "l2":
                return max_margin.relu_orthogonal(self.num_positive, self.num_negative, self.radius)
            if self.data == "point":
                on = (one.activation_pattern.values[:, 0] > 0) & (one.output_weights.values[0] > 0)
                return max_margin.relu_one_point(np.asarray(self.point), norm, int(on.sum()))
        return super().optimum(one, norm)


@dataclass(frozen=True, kw_only=True)
class Images(Networks):
    """Homogeneous networks on images of two classes."""

    data: str = setting("mnist", "mnist, digits, or a path of image or feature files")
    num_samples: int = setting(100, "training samples n", low=1)
    num_test: int = setting(500, "test samples", low=1)
    classes: tuple[int, ...] = setting(
        (2, 7), "labels of the images: the first is -1, the second +1", distinct=True
    )

    def check(self) -> None:
        """Refuse other than two classes."""
        super().check()
        if len(self.classes) != 2:
            got = ", ".join(map(str, self.classes))
            raise ValueError(f"classes must be two different labels, got {got or 'none'}")

    def source(self) -> images.LabelledImages:
        """The data distribution."""
        how = {"num_train": self.num_samples, "num_test": self.num_test, "classes": self.classes}
        return images.load(self.data, **how)


@dataclass(frozen=True, kw_only=True)
class Predictor(Synthetic):
    """Linear predictors on synthetic data."""

    data: Literal["linear", "relu_teacher", "orthogonal", "point"] = "linear"
    model: Literal["linear", "diagonal"] = setting("linear", "its weights, or two factors of each")

    def network(self) -> Linear | DiagonalLinear:
        """The model."""
        return Linear() if self.model == "linear" else DiagonalLinear()

    def observed(self) -> tuple[dict, dict]:
        """What is recorded, at the end the predictor too."""
        always, end = super().observed()
        return always, end | LINEAR

    def optimum(self, one: xr.Dataset, norm: str) -> float:
        """The largest margin of one run's model in a norm."""
        rows = _rows(one)
        if self.model == "diagonal":
            return max_margin.diagonal_linear(rows, norm)
        return _linear_optimum(rows.tobytes(), rows.shape, "l2" if norm == "spectral" else norm)


def _rows(one):
    rows = one.signed_inputs.values.astype(float)
    if not np.all(np.isfinite(rows)):
        raise ValueError("rows must be finite")
    return rows


@functools.lru_cache(maxsize=256)
def _linear_optimum(data, shape, norm):
    # the same for every algorithm, unless inputs are rescaled
    return max_margin.linear(np.frombuffer(data).reshape(shape), norm)[0]


_NETWORK = Network()
_LINEAR = Predictor(
    dim=50, rescale=True, init_scale=0.0, algorithms=("gd", "sign", "coordinate"),
    step_rule=("loss_adaptive",), learning_rate=(1.0,), norms=("l1", "l2", "linf"), steps=20_000, records=96,
    spacing="log",
)  # fmt: skip
_RELU = Network(activation="relu", init_scale=0.1)
_DIGITS = Images(
    activation="relu", init_scale=0.1, widths=(64,), learning_rate=(0.1,), steps=2000, records=41,
    float64=False,
)  # fmt: skip
PRESETS = {
    "small": _NETWORK,
    # of more than 100 images the rate of coordinate descent diverges, whose loss is a sum
    "paper": replace(
        _DIGITS, widths=(784,), init_scale=0.01, algorithms=("gd", "sign", "coordinate"),
        step_rule=("raw", "normalized", "raw"), learning_rate=(1e-4, 1e-4, 4e-2), steps=12_000, records=61,
    ),
    "relu": _RELU,
    "linear": _LINEAR,
    "deep_linear": Network(
        data="linear", dim=30, num_samples=15, widths=(16,), activation="linear", init_scale=0.1, steps=20_000
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
    "momentum": replace(_NETWORK, momentum=0.9),
    "teacher": replace(
        _RELU, dim=50, num_samples=100, num_test=2000, teacher_units="uniform", teacher_fraction=0.04, tie=-1,
        algorithms=("l1.25", "gd", "sign"), steps=6000, records=61, float64=False,
    ),
    "digits": _DIGITS,
}  # fmt: skip


def train(config: Flavors) -> Training:
    """The setting's jobs, in its precision."""
    return in_precision(config.float64 or None, type(config).jobs, config)


def old(values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Setting and fields of a result from when one class had all fields.

    Raises: ValueError: linear predictors of images, which there are no more.
    """
    synthetic = values["data"] in ("linear", "relu_teacher", "orthogonal", "point")
    if values["model"] == "network":
        return (Network if synthetic else Images).of_old(values)
    if not synthetic:
        raise ValueError(f"flavors_of_margin has no linear predictors of {values['data']} any more")
    return Predictor.of_old(values)
