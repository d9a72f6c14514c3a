"""Settings in which finite networks are drawn, or fitted to points on a sphere: fields and jobs."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from dynamics import Axis, Job, PerSeed, Problem, results
from dynamics import observables as o
from dynamics.data import Shared
from dynamics.data.directions import Sphere, SphereTarget
from dynamics.descent import named
from dynamics.engine.stages import Staged
from dynamics.keys import seed_key
from dynamics.laws import kernels_data_physics as laws
from dynamics.models import Activation, Linearized
from dynamics.models.ntk_two_layer import NTKTwoLayer, Output, Trained
from dynamics.study.config import Config, TimedConfig, setting
from kernels import empirical, regression
from kernels.regression import Kernel

LAYERS = ("first", "second", "both")
SLOPE = 0.1
EVERYWHERE = o.outputs.given(points="everywhere")
LIST = {"increasing": True, "filled": True}


@dataclass(frozen=True, kw_only=True)
class TwoLayer(Config):
    """Networks of two layers, of which both train."""

    trained, output, init_scale = "both", "sign", 1.0  # where they are no settings

    activation: Literal["relu", "erf", "leaky_relu"] = setting("relu", "activation of networks and kernels")
    biases: bool = setting(False, "hidden biases, which start at 0 and train")

    def network(self, width: int = 2, doubled: bool = False) -> NTKTwoLayer:
        """A network; `doubled`: it starts at 0."""
        activation = Activation(self.activation, slope=SLOPE)
        return NTKTwoLayer(width, self.trained, self.biases, self.output, doubled, activation)

    def kernel(self, trained: str = "", nngp: bool = False) -> Kernel:
        """The NTK of infinitely wide ones, or that of other layers; or their outputs' covariance."""
        return self.network().infinite(trained, nngp)

    def problem(self, data: Any, network: Any) -> Problem:
        """A network fitted to data by the squared loss."""
        return Problem(data, network, "squared", "sum", init_scale=self.init_scale)


@dataclass(frozen=True, kw_only=True)
class TrainedLayers(TwoLayer):
    """Networks of two layers, of which one or both train."""

    trained: Trained = setting("both", "layers that train")


@dataclass(frozen=True, kw_only=True)
class OnSphere(TwoLayer):
    """One draw of points for all seeds, whose networks differ: so one learning rate serves all of them."""

    num_test, target, great_circle, amplitude = 1, "xor", False, 1.0  # where they are no settings

    num_samples: int = setting(10, "training points", low=2)
    dim: int = setting(5, "dimension of the sphere's space", low=2)
    data_seed: int = setting(0, "the draw of points that all networks share", low=0)

    def points(self, larger: float = 1.0) -> Shared:
        """The points, with targets so many times as large."""
        test, amplitude = "great_circle" if self.great_circle else "uniform", self.amplitude * larger
        source = Sphere(self.num_samples, self.num_test, self.dim, self.target, test, amplitude)
        return Shared(source, self.data_seed)

    def modes(self) -> regression.Spectrum:
        """Those of the kernel on the training points."""
        x = self.points().sample(seed_key(0)).train.x
        return laws.modes(self.kernel()(x, x))

    def rate(self) -> float:
        """The learning rate 1 / lambda_max of the infinite network's kernel."""
        return 1 / float(self.modes().values[0])


@dataclass(frozen=True, kw_only=True)
class FittedOnSphere(OnSphere, TrainedLayers):
    """Networks that are fitted to labels of such points."""

    num_test: int = setting(10, "test points", low=1)
    target: SphereTarget = setting("xor", "labels on the sphere")
    amplitude: float = setting(1.0, "factor A on targets")


@dataclass(frozen=True, kw_only=True)
class KernelConvergence(OnSphere):
    """Claims X1: how a finite network's kernel approaches its limit; dimension `width`."""

    output: Output = setting("sign", "law of the output weights a_r")
    init_scale: float = setting(1.0, "factor on the initial weights; theory is for 1", above=0)
    widths: tuple[int, ...] = setting((64, 256, 1024, 4096), "widths m", low=1, **LIST)
    draws: int = setting(32, "networks that a seed's mean is over", low=2)

    def check(self) -> None:
        """Refuse what shows no rate."""
        if len(self.widths) < 2:
            raise ValueError("give at least two widths, to show a rate")

    def jobs(self) -> Staged:
        """A kernel's error and variance, of networks at their start."""
        points, exact = self.points(), tuple(map(self.kernel, LAYERS))
        end = {
            "kernel_error": o.finite_kernel_error.given(layer=LAYERS, kernel=exact, draws=self.draws),
            "kernel_variance": o.finite_kernel_variance.given(layer=LAYERS, draws=self.draws),
        }
        problems = {str(m): self.problem(points, self.network(m)) for m in self.widths}
        found = yield {m: Job.still(problem, end) for m, problem in problems.items()}
        return results.without_steps(results.by_number(found, "width", self.widths))


@dataclass(frozen=True, kw_only=True)
class Width(FittedOnSphere):
    """Claims X2: networks of growing width trained alike, what moves, and how far they are from linear.

    The learning rate is 1 / lambda_max of the infinite network's kernel. Records `weight_motion`,
    `kernel_drift`, `linear_gap` (root mean square over test points of the network less the network linearised
    at its start) and `infinite_gap` (of the latter less the infinite network that starts from the same
    outputs). In mean-field scaling, outputs over the root of the width and learning rate times the width, the
    same is trained as with targets times that root.
    """

    widths: tuple[int, ...] = setting((128, 512, 2048, 8192), "widths m", low=1, **LIST)
    steps: int = setting(400, "number of steps T", low=0)
    mean_field: bool = setting(
        False, "mean-field scaling: targets grow as the root of width over the smallest width"
    )

    def jobs(self) -> Staged:
        """Every width's training; dimension `width`."""
        observe = {"output": EVERYWHERE, "kernel": o.ntk_everywhere, "parameters": o.parameters}
        how = {"steps": self.steps, "observe": observe, "when": [0, self.steps]}
        rule = named("gd", self.rate())
        found = yield {
            str(m): Job(self.problem(self._data(m), self.network(m)), rule, **how) for m in self.widths
        }
        measured = {str(m): self._measured(m, found[str(m)]) for m in self.widths}
        return results.by_number(measured, "width", self.widths)

    def _data(self, width):
        return self.points(math.sqrt(width / self.widths[0]) if self.mean_field else 1.0)

    def _measured(self, width, found):
        draw, start, end = self._data(width).sample(seed_key(0)), found.isel(step=0), found.isel(step=-1)
        limit = self.modes(), self.kernel()(draw.test.x, draw.train.x)
        known = (jnp.asarray(one.values) for one in (start.kernel, start.output, end.output))
        how = draw.train.y, limit, self.steps, self.rate()
        both = np.array([laws.gaps(*one, *how) for one in zip(*known, strict=True)])

        def moved(name):
            dims = [dim for dim in found[name].dims if dim not in ("seed", "step")]
            change = np.sqrt(((end[name] - start[name]) ** 2).sum(dims))
            return change / np.sqrt((start[name] ** 2).sum(dims))

        return results.without_steps(found.drop_dims(["point", "sample", "parameter"])).assign(
            weight_motion=moved("parameters"),
            kernel_drift=moved("kernel"),
            linear_gap=("seed", both[:, 0]),
            infinite_gap=("seed", both[:, 1]),
        )


@o.observable(about="learning rate")
def relative_rate(params, problem, draw, relative) -> Float[jax.Array, ""]:
    """`relative` over the largest eigenvalue of the empirical NTK on the training points."""
    return relative / laws.modes(empirical.ntk(problem.apply, params, draw.train.x, draw.train.x)).values[0]


@dataclass(frozen=True, kw_only=True)
class Linear(FittedOnSphere, TimedConfig):
    """Claims X3: gradient descent on a linearised network beside its closed form; dimension `rate`.

    Learning rates are relative to each seed's own largest eigenvalue. Records `residual` (y - f in the
    kernel's eigendirections), `residual_predicted`, `output_predicted` (at the test points),
    `distance_moved` (of the parameters from their start) and `distance_predicted`.
    """

    width: int = setting(256, "neurons m", low=1)
    rates: tuple[float, ...] = setting((1.0, 1.95, 2.05), "learning rates times lambda_max", above=0, **LIST)
    linearized: bool = setting(True, "train the network linearised at its start")

    def jobs(self) -> Staged:
        """Every rate's training, and the kernel that it starts from."""
        network = self.network(self.width)
        problem = self.problem(self.points(), Linearized(network) if self.linearized else network)
        rate = PerSeed(relative_rate.given(relative=Axis("rate", self.rates)))
        observe = {"output": EVERYWHERE, "parameters": o.parameters}
        how = {"steps": self.steps, "observe": observe, "when": self.recording_times()}
        made = yield {
            "start": Job.still(problem, {"kernel": o.ntk_everywhere, "start": EVERYWHERE}),
            "rates": Job(problem, named("gd", rate), **how),
        }
        known, found = made["start"], made["rates"]
        n, y = self.num_samples, problem.sample(seed_key(0)).train.y
        output, parameters = found.output.values, found.parameters.values  # of every rate and seed
        starts = list(zip(jnp.asarray(known.kernel.values), jnp.asarray(known.start.values), strict=True))
        times = found.step.values.tolist()
        every = [[laws.course(*start, y, rate, times) for start in starts] for rate in self.rates]
        exact = {name: np.array([[one[name] for one in row] for row in every]) for name in every[0][0]}
        by_seed = ("rate", "seed", "step")
        return found.drop_dims(["point", "parameter"]).assign(
            distance_moved=(by_seed, np.linalg.norm(parameters - parameters[:, :, :1], axis=-1)),
            eigenvalue=(("rate", "seed", "mode"), exact["eigenvalue"]),
            residual=((*by_seed, "mode"), (np.asarray(y) - output[..., :n]) @ exact["mode"]),
            residual_predicted=((*by_seed, "mode"), exact["residual"]),
            output=((*by_seed, "point"), output[..., n:]),
            output_predicted=((*by_seed, "point"), exact["output"]),
            distance_predicted=(by_seed, exact["distance"]),
        )


@dataclass(frozen=True, kw_only=True)
class Ensemble(FittedOnSphere):
    """Claims X4: networks that differ by their initial weights alone, beside the infinite one's distribution.

    Records its mean and variance (`mean_predicted`, `variance_predicted`), those after training without end,
    and the Gaussian process posterior (`posterior_mean`, `posterior_variance`).
    """

    width: int = setting(1024, "neurons m", low=1)
    init_scale: float = setting(1.0, "factor on the initial weights; theory is for 1", above=0)
    great_circle: bool = setting(False, "test points along a great circle")
    times: tuple[int, ...] = setting((0, 20, 400), "steps at which outputs are recorded", low=0, **LIST)

    def jobs(self) -> Staged:
        """The training, by 1 / lambda_max of the infinite network's kernel."""
        rate = self.rate()
        how = {"observe": {"output": o.outputs.given(points="test")}, "when": self.times}
        problem = self.problem(self.points(), self.network(self.width))
        found = yield {"ensemble": Job(problem, named("gd", rate), steps=max(self.times), **how)}
        draw, found = self.points().sample(seed_key(0)), found["ensemble"]
        kernels, times = (self.kernel(), self.kernel(nngp=True)), found.step.values.tolist()
        exact = laws.ensemble(*kernels, draw.train.x, draw.train.y, draw.test.x, rate, times)
        return found.assign({name: (("step", "point")[-v.ndim :], v) for name, v in exact.items()})
