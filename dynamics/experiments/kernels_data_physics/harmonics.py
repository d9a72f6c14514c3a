"""Settings on the circle, the sphere and the hypercube, where eigenfunctions are known, and on images."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from dynamics import Axis, Job, Problem, results
from dynamics import observables as o
from dynamics.data import directions
from dynamics.descent import named, within
from dynamics.engine.stages import Staged
from dynamics.experiments.kernels_data_physics.networks import LIST, TrainedLayers
from dynamics.laws.kernels_data_physics import times_to_learn
from dynamics.models.kernel_regression import FirstSamples, KernelRegression
from dynamics.models.ntk_two_layer import NTKTwoLayer
from dynamics.observables import eigenfeatures
from dynamics.study.config import Config, TimedConfig, setting
from dynamics.study.images import OnImages
from dynamics.study.quantities import amplitude
from kernels import spectra
from kernels.regression import Kernel

SPHERE_DEGREES = tuple(range(9))
RIDGE = 1e-6
_FREQUENCIES = 2**15
BATCH = 200
RANDOM, REGULAR = {"regular": [False]}, {"regular": [True]}


@dataclass(frozen=True, kw_only=True)
class SpectralBias(TrainedLayers, TimedConfig):
    """Claims X5 and X11: frequencies learned one by one on the circle; dimensions `frequency`, `amplitude`.

    Networks start at 0, by pairs of opposite neurons. Records `fit`, the share of the target that is learned,
    and `predicted_time`.
    """

    width: int = setting(2048, "neurons m, an even number", low=2)
    grid: int = setting(64, "points N on the circle", low=4)
    frequencies: tuple[int, ...] = setting((2, 4, 6, 8), "target frequencies k", low=0, **LIST)
    amplitudes: tuple[float, ...] = setting((0.1,), "target amplitudes A", above=0, **LIST)
    horizon: float = setting(1.6, "train for so many times the longest predicted time", above=0)
    steps: int = setting(100, "number of steps where no frequency has a predicted time", low=0)
    rate: float = setting(0.5, "learning rate times lambda_max", above=0, below=2)

    def check(self) -> None:
        """Refuse what does not fit together."""
        if self.width % 2:
            raise ValueError(f"doubled networks need even widths, got {self.width}")
        if (highest := max(self.frequencies)) >= self.grid / 2:
            raise ValueError(f"frequencies must be below grid / 2 = {self.grid / 2:g}, got {highest}")

    @property
    def learning_rate(self) -> float:
        """The learning rate: relative to the largest eigenvalue."""
        largest = spectra.circle(self.kernel(), range(self.grid // 2)).max()
        return self.rate / (self.grid * float(largest))

    def predicted_times(self) -> Float[np.ndarray, " frequencies"]:
        r"""Steps $T_k = \ln 10 / -\ln(1 - \eta N \lambda_k)$ after which a tenth is left; inf: never."""
        values = spectra.circle(self.kernel(), self.frequencies)
        return times_to_learn(values, self.learning_rate * self.grid)

    def jobs(self) -> Staged:
        """The training of all frequencies and amplitudes."""
        when = self.predicted_times()
        finite = when[np.isfinite(when)]
        steps = math.ceil(self.horizon * float(finite.max())) if finite.size else self.steps
        how = {"steps": steps, "when": replace(self, steps=steps).recording_times()}
        axes = {"frequency": Axis("frequency", self.frequencies)}
        axes["amplitude"] = Axis("amplitude", self.amplitudes)
        data = directions.Circle(self.grid, self.grid, **axes)
        problem = self.problem(data, self.network(self.width, doubled=True))
        how["observe"] = {"output": o.outputs}
        found = (yield {"circle": Job(problem, named("gd", self.learning_rate), **how)})["circle"]
        fit = amplitude(found.output, found.frequency) / found.amplitude
        fit.attrs = {"long_name": "share of the target that is learned"}
        return found.assign(fit=fit, predicted_time=("frequency", when))


def _still(data, **observed) -> Job:
    """What is to be said of data alone."""
    return Job.still(Problem(data, NTKTwoLayer(2), "squared"), observed)


@dataclass(frozen=True, kw_only=True)
class Sphere(TrainedLayers):
    """Claims X6: the spectrum of random points on S^2, and the eigenvalue of each degree."""

    sphere_points: int = setting(1500, "points on S^2", low=19)

    def jobs(self) -> Staged:
        """The points' `eigenvalue`s over their number; adds `degree_eigenvalue` and `multiplicity`."""
        multiplicity = [spectra.multiplicity(k, 3) for k in SPHERE_DEGREES]
        every = eigenfeatures.eigenvalues.given(kernel=self.kernel())
        made = yield {"sphere": _still(directions.Sphere(self.sphere_points, 1, 3), eigenvalue=every)}
        found = results.without_steps(made["sphere"]).isel(mode=slice(sum(multiplicity)))
        exact = spectra.sphere(self.kernel(), SPHERE_DEGREES, 3)
        return found.assign(
            eigenvalue=found.eigenvalue / self.sphere_points,
            degree_eigenvalue=("degree", exact),
            multiplicity=("degree", multiplicity),
            degree=list(SPHERE_DEGREES),
        )


@dataclass(frozen=True, kw_only=True)
class LearningCurves(TrainedLayers):
    """Claims X7: test error against the number of samples on the circle; dimension `exponent` of the teacher.

    On a regular grid the target is one frequency (dimension `frequency`) and the predictor is recorded beside
    the sum over aliases that it equals (`prediction_exact`), at each size; seeds do not differ there.
    """

    sizes: tuple[int, ...] = setting((16, 32, 64, 128, 256), "numbers of samples", low=1, **LIST)
    regular: bool = setting(False, "samples on a regular grid")
    exponents: tuple[float, ...] = setting(
        (2.0, 4.0, 8.0), "teacher's power exponents a", above=1, **LIST, of=RANDOM
    )
    modes: int = setting(3000, "teacher's frequencies", low=1, of=RANDOM)
    draws: int = setting(20, "data sets that a seed's mean is over", low=2, of=RANDOM)
    frequencies: tuple[int, ...] = setting((2, 4, 6, 8), "target frequencies k", low=0, **LIST, of=REGULAR)
    aliases: Literal["own", "first", "second", "both"] = setting(
        "own", "layers whose kernel the exact predictor is of: those that train, or others", of=REGULAR
    )

    def check(self) -> None:
        """Refuse what shows no rate."""
        if len(self.sizes) < 2:
            raise ValueError("give at least two sizes, to show a rate")

    def jobs(self) -> Staged:
        """Regression on random samples, or on grids."""
        return self._on_grids() if self.regular else self._on_random_samples()

    def _on_random_samples(self):
        teacher = {"modes": self.modes, "exponent": Axis("exponent", self.exponents)}
        data = directions.Circle(max(self.sizes), 400, "random", **teacher)
        how = {"size": self.sizes, "jitter": 1e-13, "draws": self.draws}
        error = o.regression_error.given(kernel=self.kernel(), **how)
        found = yield {"random": _still(data, error=error)}
        return results.without_steps(found["random"])

    def _on_grids(self):
        angles = 2 * np.pi * np.arange(97) / 97

        def job(size):
            data = directions.Circle(size, len(angles), frequency=Axis("frequency", self.frequencies))
            return _still(data, prediction=o.ridgeless.given(kernel=self.kernel()))

        found = yield {str(size): job(size) for size in self.sizes}
        found = results.without_steps(results.by_number(found, "size", self.sizes))
        aliased = self.kernel("" if self.aliases == "own" else self.aliases)
        values = spectra.circle(aliased, range(_FREQUENCIES), 4 * _FREQUENCIES)

        def exact(k, size):
            most = (_FREQUENCIES - 1 - k) // size
            return spectra.grid_interpolant(k, size, angles, lambda q: values[q], most)

        every = np.array([[exact(k, size) for k in self.frequencies] for size in self.sizes])
        return found.assign(
            prediction_exact=(("size", "frequency", "test_point"), every),
            target=(("frequency", "test_point"), np.cos(np.outer(self.frequencies, angles))),
        )


@dataclass(frozen=True, kw_only=True)
class DeepKernel(Config):
    """The kernel of infinitely wide networks of some depth, with biases."""

    activation: Literal["relu", "erf", "leaky_relu"] = setting("relu", "activation of the kernel")
    bias_std: float = setting(0.0, "sigma_b of the kernel", low=0)
    depth: int = setting(1, "hidden layers of the kernel", low=1)

    def kernel(self) -> Kernel:
        """The NTK, with sigma_w^2 = 2."""
        return eigenfeatures.kernel(self.activation, self.depth, 2**0.5, self.bias_std)


@dataclass(frozen=True, kw_only=True)
class Hypercube(DeepKernel):
    """Claims X8: parities of several degrees from growing samples, and each degree's exact eigenvalue."""

    cube_dim: int = setting(16, "dimension of the hypercube", low=1)
    degrees: tuple[int, ...] = setting((1, 2, 3), "parities' degrees p", low=0, high="cube_dim", **LIST)
    sizes: tuple[int, ...] = setting((32, 64, 128, 256, 512, 1024), "numbers of samples", low=1, **LIST)

    def jobs(self) -> Staged:
        """The test error (`error`) at every size; adds `degree_eigenvalue`."""
        degree = Axis("degree", self.degrees)
        data = directions.Hypercube(self.cube_dim, max(self.sizes), 500, degree)
        error = o.regression_error.given(kernel=self.kernel(), size=self.sizes, ridge=1e-8)
        found = yield {"cube": _still(data, error=error)}
        values = spectra.hypercube(self.kernel(), self.degrees, self.cube_dim)
        return results.without_steps(found["cube"]).assign(degree_eigenvalue=("degree", values))


@dataclass(frozen=True, kw_only=True)
class Distillation(OnImages, DeepKernel, TimedConfig):
    """Claims X9: a few images, learned for kernel regression on them to do well on all; dim `support`."""

    num_images: int = setting(1200, "training images", low=2)
    num_test_images: int = setting(500, "test images", low=1)
    support: tuple[int, ...] = setting(
        (10, 20, 50), "numbers of learned images", low=1, high="num_images", **LIST
    )
    learning_rate: float = setting(1e-2, "Adam's step size", above=0)

    def jobs(self) -> Staged:
        """The training of every number of images, in batches."""
        from dynamics.data import images

        data = images.load(self.data, num_train=self.num_images, num_test=self.num_test_images, box=self.box)
        rule = named("adam", self.learning_rate)
        if data.box is not None:
            rule = within(rule, box=data.box, only=("support",))
        observe = {"accuracy": o.accuracy, "train_loss": o.training_loss}
        how = {"steps": self.steps, "when": self.recording_times(), "batch_size": min(BATCH, self.num_images)}

        def job(count):
            model = KernelRegression(self.kernel(), count, len(data.class_signs), RIDGE)
            problem = Problem(data, model, "squared", start=FirstSamples(in_turn=True))
            shown = {"learned": o.support.given(point=tuple(range(10)))} if count >= 10 else {}
            return Job(problem, rule, observe=observe | shown, **how)

        found = yield {str(count): job(count) for count in self.support}
        found = results.by_number(found, "support", self.support)
        return found.rename(point="image") if "learned" in found else found
