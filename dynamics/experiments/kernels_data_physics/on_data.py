"""The parts of `kernels_data_physics` that rest on a kernel and data alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float

from dynamics import linalg, results
from dynamics import observables as o
from dynamics.data.directions import Circle, Hypercube, Sphere
from dynamics.data.shared import Shared
from dynamics.descent import named, within
from dynamics.engine.job import Job
from dynamics.engine.stages import Staged
from dynamics.experiments.kernels_data_physics.networks import kernel_of
from dynamics.models.kernel_regression import FirstSamples, KernelRegression
from dynamics.models.ntk_two_layer import NTKTwoLayer
from dynamics.observables import eigenfeatures as kernel_part
from dynamics.observables.base import observable
from dynamics.parts import Axis
from dynamics.problem import Problem
from kernels import spectra

SPHERE_DEGREES = tuple(range(9))
CUBE_JITTER = 1e-8
CIRCLE_JITTER = 1e-13
RIDGE = 1e-6
_FREQUENCIES = 2**15
BATCH = 200
_NO_NETWORK = NTKTwoLayer(2)


def _problem(config, data) -> Problem:
    return Problem(Shared(data) if config.shared_data else data, _NO_NETWORK, "squared")


@observable(("mode",), about="eigenvalue of the Gram matrix over the number of points")
def eigenvalues(params, problem, draw, kernel, count) -> Float[Array, " modes"]:
    """The largest eigenvalues of the training points' Gram matrix, over their number."""
    del params, problem
    gram = kernel(draw.train.x, draw.train.x)
    return linalg.eigvalsh((gram + gram.T) / 2)[::-1][:count] / len(gram)


def sphere(config: Any) -> Staged:
    """The spectrum of random points on S^2; adds the eigenvalue of each degree (`degree_eigenvalue`)."""
    count = min(sum(spectra.multiplicity(k, 3) for k in SPHERE_DEGREES), config.sphere_points)
    data = Sphere(config.sphere_points, 1, 3)
    end = {"eigenvalue": eigenvalues.given(kernel=kernel_of(config), count=count)}
    found = yield {"sphere": Job.still(_problem(config, data), end)}
    exact = spectra.sphere(kernel_of(config), SPHERE_DEGREES, 3)
    return (
        results.without_steps(found["sphere"])
        .assign_coords(degree=list(SPHERE_DEGREES))
        .assign(
            degree_eigenvalue=("degree", exact),
            multiplicity=("degree", [spectra.multiplicity(k, 3) for k in SPHERE_DEGREES]),
        )
    )


def _solve(gram, right, jitter):
    return linalg.solve(gram + jitter * jnp.eye(len(gram), dtype=gram.dtype), right[:, None])[:, 0]


@observable(("size",), about="mean squared test error", random=True)
def circle_error(params, problem, draw, key, kernel, size, draws) -> Float[Array, " sizes"]:
    """Of ridgeless regression on the first `size` samples, the mean over fresh teachers and points."""
    del params, draw

    def one(k):
        fresh = problem.sample(k)
        x, y, at, wanted = fresh.train.x, fresh.train.y, fresh.test.x, fresh.test.y
        gram, cross = kernel(x, x), kernel(at, x)
        errors = []
        for count in size:
            alpha = _solve(gram[:count, :count], y[:count], CIRCLE_JITTER)
            errors.append(jnp.mean((cross[:, :count] @ alpha - wanted) ** 2))
        return jnp.stack(errors)

    return jnp.mean(jax.lax.map(one, jax.random.split(key, draws)), axis=0)


@observable(("test_point",), about="ridgeless predictor")
def grid_prediction(params, problem, draw, kernel) -> Float[Array, " points"]:
    """The predictor at the test points."""
    del params, problem
    alpha = _solve(kernel(draw.train.x, draw.train.x), draw.train.y, 0.0)
    return kernel(draw.test.x, draw.train.x) @ alpha


def learning_curves(config: Any) -> Staged:
    """Test error against the number of samples on the circle; dimension `exponent` of the teacher.

    On a regular grid the target is one frequency (dimension `frequency`) and the predictor is recorded beside
    the sum over aliases that it equals (`prediction_exact`), at each size.
    """
    kernel = kernel_of(config)
    if not config.regular:
        data = Circle(
            max(config.sizes), 400, "random", modes=config.modes, exponent=Axis("exponent", config.exponents)
        )
        end = {"error": circle_error.given(kernel=kernel, size=config.sizes, draws=config.draws)}
        found = yield {"random": Job.still(_problem(config, data), end)}
        return results.without_steps(found["random"])
    angles = 2 * np.pi * np.arange(97) / 97
    aliased = kernel_of(config, None if config.aliases == "own" else config.aliases)
    values = spectra.circle(aliased, range(_FREQUENCIES), 4 * _FREQUENCIES)

    def job(size):
        data = Circle(size, len(angles), frequency=Axis("frequency", config.frequencies))
        return Job.still(_problem(config, data), {"prediction": grid_prediction.given(kernel=kernel)})

    found = yield {str(size): job(size) for size in config.sizes}
    parts = [results.without_steps(one) for one in found.values()]
    found = xr.concat(parts, "size", combine_attrs="override").assign_coords(size=list(config.sizes))
    exact = [
        [
            spectra.grid_interpolant(k, size, angles, lambda q: values[q], (_FREQUENCIES - 1 - k) // size)
            for k in config.frequencies
        ]
        for size in config.sizes
    ]
    return found.assign(
        prediction_exact=(("size", "frequency", "test_point"), np.array(exact)),
        target=(("frequency", "test_point"), np.cos(np.outer(config.frequencies, angles))),
    )


@observable(("size",), about="mean squared test error")
def cube_error(params, problem, draw, kernel, size) -> Float[Array, " sizes"]:
    """Of regression with a jitter of 1e-8 of the mean diagonal on the first `size` training points."""
    del params, problem
    x, y = draw.train.x, draw.train.y
    gram, cross = kernel(x, x), kernel(draw.test.x, x)
    errors = []
    for count in size:
        own = gram[:count, :count]
        alpha = _solve(own, y[:count], CUBE_JITTER * jnp.trace(own) / count)
        errors.append(jnp.mean((cross[:, :count] @ alpha - draw.test.y) ** 2))
    return jnp.stack(errors)


def _deep(config):
    return kernel_part.kernel(config.activation, config.depth, 2**0.5, config.bias_std)


def hypercube(config: Any) -> Staged:
    """Parities of several degrees from growing samples; adds each degree's exact eigenvalue."""
    data = Hypercube(config.cube_dim, max(config.sizes), 500, Axis("degree", config.degrees))
    kernel = _deep(config)
    end = {"error": cube_error.given(kernel=kernel, size=config.sizes)}
    found = yield {"cube": Job.still(_problem(config, data), end)}
    values = spectra.hypercube(kernel, config.degrees, config.cube_dim)
    return results.without_steps(found["cube"]).assign(degree_eigenvalue=("degree", values))


def check_images(config: Any) -> None:
    """Refuse image settings that do not fit together."""
    if config.part == "eigenfeatures":
        if len(set(config.classes)) != 2 or len(config.classes) != 2:
            raise ValueError(f"classes must be two different labels, got {config.classes}")
        if max(config.kept) > config.num_images:
            raise ValueError(f"kept must be at most num_images={config.num_images}, got {max(config.kept)}")
    elif max(config.support) > config.num_images:
        raise ValueError(f"support must be at most num_images={config.num_images}, got {max(config.support)}")


def eigenfeatures(config: Any) -> Staged:
    """Two classes of images: accuracy by the number of features kept and by training time."""
    from dynamics.data import images

    data = images.load(
        config.data, num_train=config.num_images, num_test=config.num_test_images, classes=config.classes,
        box=config.box,
    )  # fmt: skip
    kernel = _deep(config)
    attack = {"radius": config.radius, "norm": "linf", "steps": 1, "box": data.box}
    end = {"usefulness": kernel_part.usefulness.given(kernel=kernel)}
    for dim, values in (("kept", config.kept), ("time", config.flow_times)):
        given = {"kernel": kernel, dim: values}
        end[f"{dim}_clean"] = getattr(kernel_part, f"{dim}_clean").given(**given)
        end[f"{dim}_robust"] = getattr(kernel_part, f"{dim}_robust").given(**given, **attack)
    found = yield {"eigenfeatures": Job.still(_problem(config, data), end)}
    return results.without_steps(found["eigenfeatures"])


@observable(about="mean loss over all training images")
def mean_loss(params, problem, draw) -> Float[Array, ""]:
    """Of all training samples, whatever the batch."""
    return jnp.mean(problem.losses_at(params, draw, "train"))


@observable(("image", "pixel"), about="learned image")
def learned(params, problem, draw, image) -> Float[Array, "images pixels"]:
    """The first learned images."""
    del problem, draw
    return params["support"][jnp.asarray(image)]


def distillation(config: Any) -> Staged:
    """A few images, learned for kernel regression on them to do well on all; dimension `support`."""
    from dynamics.data import images

    data = images.load(
        config.data, num_train=config.num_images, num_test=config.num_test_images, box=config.box
    )
    rule = named("adam", config.learning_rate)
    if data.box is not None:
        rule = within(rule, box=data.box, only=("support",))
    observe = {"accuracy": o.accuracy, "train_loss": mean_loss}

    def job(count):
        model = KernelRegression(_deep(config), count, len(data.class_signs), RIDGE)
        source = Shared(data) if config.shared_data else data
        problem = Problem(source, model, "squared", start=FirstSamples(in_turn=True))
        shown = tuple(range(min(count, 10)))
        observed = observe | ({"learned": learned.given(image=shown)} if len(shown) == 10 else {})
        size, times = min(BATCH, config.num_images), config.recording_times()
        return Job(problem, rule, steps=config.steps, observe=observed, when=times, batch_size=size)

    found = yield {str(count): job(count) for count in config.support}
    return results.join(found, "support").assign_coords(support=list(config.support))
