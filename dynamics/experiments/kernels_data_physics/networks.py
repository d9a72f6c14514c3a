"""The parts of `kernels_data_physics` in which finite networks are trained, or drawn at least."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from dynamics import observables as o
from dynamics import results
from dynamics.data.directions import Circle, Sphere
from dynamics.data.shared import Shared
from dynamics.descent import named
from dynamics.engine.job import Job
from dynamics.engine.stages import Staged
from dynamics.keys import seed_key
from dynamics.models.activations import Activation
from dynamics.models.linearized import Linearized
from dynamics.models.ntk_two_layer import NTKTwoLayer
from dynamics.observables.base import observable
from dynamics.parts import Axis, PerSeed
from dynamics.problem import Problem
from kernels import closed_form, empirical, regression, spectra
from kernels.duals import leaky_relu
from kernels.regression import Kernel

PARTS = ("kernels", "width", "linear", "ensemble", "spectral_bias")
LAYERS = ("first", "second", "both")
SLOPE = 0.1


@functools.cache  # one function for one kernel, so that equal runs share their programs
def two_layer(activation: str, trained: str, biases: bool, nngp: bool = False) -> Kernel:
    """The NTK of the infinitely wide network, or its outputs' covariance at the start."""

    def kernel(x, z):
        act = leaky_relu(SLOPE) if activation == "leaky_relu" else activation
        both = closed_form.two_layer(x, z, act, trained=trained, trained_bias=float(biases))
        return both.nngp if nngp else both.ntk

    return kernel


def kernel_of(config: Any, trained: str | None = None) -> Kernel:
    """The config's NTK, or that of other layers."""
    return two_layer(config.activation, trained or config.trained, config.biases)


def network(config: Any, width: int, doubled: bool = False) -> NTKTwoLayer:
    """The config's network at some width."""
    act = Activation(config.activation, slope=SLOPE)
    return NTKTwoLayer(
        width, config.trained, use_bias=config.biases, output=config.output,
        doubled=doubled or config.doubled, activation=act,
    )  # fmt: skip


def _sphere(config) -> Shared:
    """One draw of points for all seeds, whose networks differ: so one learning rate serves all of them."""
    test = "great_circle" if config.great_circle else "uniform"
    source = Sphere(config.num_samples, config.num_test, config.dim, config.target, test, config.amplitude)
    return Shared(source, config.data_seed)


def _fixed(config):
    """The points, and the modes of the kernel on the training points."""
    draw = _sphere(config).sample(seed_key(0))
    gram = kernel_of(config)(draw.train.x, draw.train.x)
    return draw, regression.spectrum((gram + gram.T) / 2)


@observable(("layer",), about="relative error of the kernel", random=True)
def kernel_error(params, problem, draw, key, layer, kernel, draws) -> Float[jax.Array, " layers"]:
    """Root mean square over `draws` networks of the relative Frobenius error, at the start."""
    del params
    x = draw.train.x
    exact = jnp.stack([one(x, x) for one in kernel])

    def error(k):
        found = jnp.stack([_finite(problem, k, x, one) for one in layer])
        return jnp.sum((found - exact) ** 2, (1, 2)) / jnp.sum(exact**2, (1, 2))

    return jnp.sqrt(jnp.mean(jax.lax.map(error, jax.random.split(key, draws)), axis=0))


@observable(("layer",), about="width times the kernel's variance on the diagonal", random=True)
def kernel_variance(params, problem, draw, key, layer, draws) -> Float[jax.Array, " layers"]:
    r"""$m\,\mathrm{Var}\,\hat\Theta(x, x)$ over `draws` networks, x the first training point."""
    del params
    x = draw.train.x[:1]

    def entry(k):
        return jnp.stack([_finite(problem, k, x, one)[0, 0] for one in layer])

    found = jax.lax.map(entry, jax.random.split(key, draws))
    return problem.model.width * jnp.var(found, axis=0, ddof=1)


def _finite(problem, key, x, trained):
    """The exact kernel of one network at its start; biases are weights of one more coordinate, 1."""
    params = problem.init(key, key)
    W, model = params["W"], problem.model
    act = model.activation.name
    if "b" in params:
        W, x = (
            jnp.concatenate([W, params["b"][:, None]], 1),
            jnp.pad(x, ((0, 0), (0, 1)), constant_values=1.0),
        )
    dual = leaky_relu(model.activation.slope) if act == "leaky_relu" else act
    return closed_form.finite_two_layer(W, params["a"], x, x, dual, trained=trained)


def kernels(config: Any) -> Staged:
    """How a finite network's kernel approaches its limit; dimension `width`."""
    exact = tuple(kernel_of(config, layer) for layer in LAYERS)
    end = {
        "kernel_error": kernel_error.given(layer=LAYERS, kernel=exact, draws=config.draws),
        "kernel_variance": kernel_variance.given(layer=LAYERS, draws=config.draws),
    }

    def job(width):
        net = network(config, width)
        return Job.still(Problem(_sphere(config), net, "squared", init_scale=config.init_scale), end)

    found = yield {str(width): job(width) for width in config.widths}
    return _by_width(config, {name: results.without_steps(one) for name, one in found.items()})


def _by_width(config, found):
    return results.join(found, "width").assign_coords(width=list(config.widths))


@observable(("point", "sample"), about="empirical NTK of test and training points with training points")
def cross_kernel(params, problem, draw) -> Float[jax.Array, "points samples"]:
    """The empirical NTK, training points' rows first."""
    everywhere = jnp.concatenate([draw.train.x, draw.test.x])
    return empirical.ntk(problem.apply, params, everywhere, draw.train.x)


@observable(("place",), about="output at the training points, then at the test points")
def all_outputs(params, problem, draw) -> Float[jax.Array, " places"]:
    """Outputs everywhere."""
    return problem.apply(params, jnp.concatenate([draw.train.x, draw.test.x]))


def width(config: Any) -> Staged:
    """Networks of growing width trained alike: what moves, and how far they are from linear.

    The learning rate is 1 / lambda_max of the infinite network's kernel. Adds `weight_motion`,
    `kernel_drift`, `linear_gap` (root mean square over test points of the network less the network linearised
    at its start) and `infinite_gap` (of the latter less the infinite network that starts from the same
    outputs). In mean-field scaling, outputs over the root of the width and learning rate times the width, the
    same is trained as with targets times that root.
    """
    modes = _fixed(config)[1]
    rate = 1 / float(modes.values[0])
    n = config.num_samples
    observe = {"output": all_outputs, "kernel": cross_kernel, "parameters": o.parameters}
    done = regression.descent(config.steps, rate)

    def source(width):
        if not config.mean_field:
            return _sphere(config)
        grown = math.sqrt(width / config.widths[0])
        return _sphere(dataclasses.replace(config, amplitude=config.amplitude * grown))

    def job(width):
        net = network(config, width)
        problem = Problem(source(width), net, "squared", "sum", init_scale=config.init_scale)
        times = [0, config.steps]
        return Job(problem, named("gd", rate), steps=config.steps, observe=observe, when=times)

    def gaps(draw, start, end, kernel):  # one seed
        gram, cross = (kernel[:n] + kernel[:n].T) / 2, kernel[n:]
        values, vectors = jnp.linalg.eigh(gram)
        own = regression.Spectrum(values[::-1], vectors[:, ::-1])
        rest = draw.train.y - start[:n]
        linear = start[n:] + cross @ regression.coefficients(own, rest, done)
        limit = kernel_of(config)(draw.test.x, draw.train.x)
        infinite = start[n:] + limit @ regression.coefficients(modes, rest, done)
        return jnp.sqrt(jnp.mean((end[n:] - linear) ** 2)), jnp.sqrt(jnp.mean((linear - infinite) ** 2))

    def measured(width, found):
        draw = source(width).sample(seed_key(0))
        first, last = found.isel(step=0), found.isel(step=-1)
        both = [
            gaps(draw, jnp.asarray(a), jnp.asarray(b), jnp.asarray(k))
            for a, b, k in zip(first.output.values, last.output.values, first.kernel.values, strict=True)
        ]

        def moved(name):
            dims = [dim for dim in found[name].dims if dim not in ("seed", "step")]
            change = np.sqrt(((last[name] - first[name]) ** 2).sum(dims))
            return change / np.sqrt((first[name] ** 2).sum(dims))

        return results.without_steps(found.drop_vars(list(observe))).assign(
            weight_motion=moved("parameters"),
            kernel_drift=moved("kernel"),
            linear_gap=("seed", np.array([float(pair[0]) for pair in both])),
            infinite_gap=("seed", np.array([float(pair[1]) for pair in both])),
        )

    found = yield {str(m): job(m) for m in config.widths}
    return _by_width(config, {str(m): measured(m, found[str(m)]) for m in config.widths})


@observable(about="learning rate")
def relative_rate(params, problem, draw, relative) -> Float[jax.Array, ""]:
    """`relative` over the largest eigenvalue of the empirical NTK on the training points."""
    gram = empirical.ntk(problem.apply, params, draw.train.x, draw.train.x)
    return relative / regression.spectrum((gram + gram.T) / 2).values[0]


def linear(config: Any) -> Staged:
    """Gradient descent on a linearised network beside its closed form; dimension `rate`.

    Learning rates are relative to each seed's own largest eigenvalue. Adds `residual` (y - f in the kernel's
    eigendirections), `residual_predicted`, `output_predicted` (at the test points), `distance_moved` (of the
    parameters from their start) and `distance_predicted`.
    """
    net = network(config, config.width)
    net = Linearized(net) if config.linearized else net
    problem = Problem(_sphere(config), net, "squared", "sum", init_scale=config.init_scale)
    rate = PerSeed(relative_rate.given(relative=Axis("rate", config.rates)))
    observe = {"output": all_outputs, "parameters": o.parameters}
    times = config.recording_times()
    made = yield {
        "start": Job.still(problem, {"kernel": cross_kernel, "start": all_outputs}),
        "rates": Job(problem, named("gd", rate), steps=config.steps, observe=observe, when=times),
    }
    known, found = made["start"], made["rates"]
    n, y = config.num_samples, problem.sample(seed_key(0)).train.y
    output, parameters = found.output.values, found.parameters.values  # of every rate and seed

    def predicted(relative, kernel, start):  # one seed
        modes = regression.spectrum((kernel[:n] + kernel[:n].T) / 2)
        rest, rate = y - start[:n], relative / float(modes.values[0])
        learned = [regression.descent(t, rate) for t in found.step.values.tolist()]
        alphas = [regression.coefficients(modes, rest, h) for h in learned]
        return {
            "eigenvalue": modes.values,
            "mode": modes.vectors,
            "residual": np.stack([(1 - h(modes.values)) * (modes.vectors.T @ rest) for h in learned]),
            "output": np.stack([start[n:] + kernel[n:] @ alpha for alpha in alphas]),
            "distance": np.stack([regression.weight_distance(modes, rest, h) for h in learned]),
        }

    starts = list(zip(jnp.asarray(known.kernel.values), jnp.asarray(known.start.values), strict=True))
    every = [[predicted(relative, *start) for start in starts] for relative in config.rates]
    exact = {name: np.array([[one[name] for one in row] for row in every]) for name in every[0][0]}
    by_seed = ("rate", "seed", "step")
    return found.drop_vars(["output", "parameters"]).assign(
        distance_moved=(by_seed, np.linalg.norm(parameters - parameters[:, :, :1], axis=-1)),
        eigenvalue=(("rate", "seed", "mode"), exact["eigenvalue"]),
        residual=((*by_seed, "mode"), (np.asarray(y) - output[..., :n]) @ exact["mode"]),
        residual_predicted=((*by_seed, "mode"), exact["residual"]),
        output=((*by_seed, "point"), output[..., n:]),
        output_predicted=((*by_seed, "point"), exact["output"]),
        distance_predicted=(by_seed, exact["distance"]),
    )


def ensemble(config: Any) -> Staged:
    """Networks that differ by their initial weights alone, beside the infinite network's distribution.

    Adds its mean and variance (`mean_predicted`, `variance_predicted`), those after training without end, and
    the Gaussian process posterior (`posterior_mean`, `posterior_variance`).
    """
    draw, modes = _fixed(config)
    rate = 1 / float(modes.values[0])
    problem = Problem(
        _sphere(config), network(config, config.width), "squared", "sum", init_scale=config.init_scale
    )
    observe = {"output": o.outputs.given(points="test")}
    steps = max(config.times)
    job = Job(problem, named("gd", rate), steps=steps, observe=observe, when=config.times)
    found = (yield {"ensemble": job})["ensemble"]
    x, at, y = draw.train.x, draw.test.x, draw.train.y
    ntk = kernel_of(config)
    prior = two_layer(config.activation, config.trained, config.biases, nngp=True)
    cross = ntk(at, x)

    def variance(learned):
        return jnp.diag(
            regression.ensemble_covariance(prior(at, at), prior(at, x), prior(x, x), cross, modes, learned)
        )

    def mean(learned):
        return cross @ regression.coefficients(modes, y, learned)

    learned = [regression.descent(t, rate) for t in found.step.values.tolist()]
    gram = prior(x, x)
    posterior = regression.posterior(prior(at, at), prior(at, x), regression.spectrum((gram + gram.T) / 2), y)
    return found.assign(
        mean_predicted=(("step", "point"), np.stack([mean(h) for h in learned])),
        variance_predicted=(("step", "point"), np.stack([variance(h) for h in learned])),
        mean_limit=("point", np.asarray(mean(None))),
        variance_limit=("point", np.asarray(variance(None))),
        posterior_mean=("point", np.asarray(posterior[0])),
        posterior_variance=("point", np.diag(np.asarray(posterior[1])).copy()),
    )


def predicted_times(config: Any) -> Float[np.ndarray, " frequencies"]:
    r"""Steps $T_k = \ln 10 / -\ln(1 - \eta N \lambda_k)$ after which a tenth is left; inf: never."""
    values = spectra.circle(kernel_of(config), config.frequencies)
    known = values > 1e-12
    contraction = 1 - _rate(config) * config.grid * np.where(known, values, 0.1)
    return np.where(known, math.log(10) / -np.log(np.abs(contraction)), np.inf)


def _rate(config) -> float:
    """The learning rate: relative to the largest eigenvalue."""
    largest = spectra.circle(kernel_of(config), range(config.grid // 2)).max()
    return config.rate / (config.grid * float(largest))


def spectral_bias(config: Any) -> Staged:
    """Frequencies learned one by one on the circle; dimensions `frequency` and `amplitude`.

    Adds `fit`, the share of the target that is learned, and `predicted_time`.
    """
    when = predicted_times(config)
    finite = when[np.isfinite(when)]
    steps = math.ceil(config.horizon * float(finite.max())) if finite.size else config.steps
    times = dataclasses.replace(config, steps=steps).recording_times()
    data = Circle(
        config.grid, config.grid,
        frequency=Axis("frequency", config.frequencies), amplitude=Axis("amplitude", config.amplitudes),
    )  # fmt: skip
    problem = Problem(
        data, network(config, config.width, doubled=True), "squared", "sum", init_scale=config.init_scale
    )
    observe = {"output": o.outputs}
    job = Job(problem, named("gd", _rate(config)), steps=steps, observe=observe, when=times)
    found = (yield {"circle": job})["circle"]
    phi = xr.DataArray(2 * np.pi * np.arange(config.grid) / config.grid, dims="point")
    target = found.amplitude * np.cos(found.frequency * phi)
    fit = (found.output * target).sum("point") / (target**2).sum("point")
    fit.attrs = {"long_name": "share of the target that is learned"}
    return found.assign(fit=fit, predicted_time=("frequency", when))
