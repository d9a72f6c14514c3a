"""The mathematics of the kernel picture's claims: one number a seed, or one of all seeds where it says so."""

from collections.abc import Callable

import numpy as np
import xarray as xr

from dynamics.experiments.kernels_data_physics.setting import KernelConvergence, LearningCurves
from dynamics.study import Bracketed, Law, Run, first, hitting_time, last, power_law
from dynamics.study.bands import MORE_RECORDS
from dynamics.study.quantities import falls_between
from kernels import spectra


def width_exponent(name: str) -> Callable[[Run], xr.DataArray]:
    """Exponent of the width in a number."""
    return lambda run: power_law(run.width, run[name], "width")


def fluctuation(layer: str, theory: Callable[..., float]) -> Law:
    """Width times the variance over networks of a layer's kernel at a point, at the largest width."""
    return Law(
        f"variance_{layer}",
        rf"$m\,\mathrm{{Var}}\,\hat\Theta(x, x)$ of the {layer} layer",
        lambda run: run["kernel_variance"].sel(layer=layer).isel(width=-1, drop=True),
        theory=theory,
        domain=lambda c: (c.activation == "relu" and c.init_scale == 1) or "it is for relu and init_scale 1",
        recorded=lambda config: isinstance(config, KernelConvergence),
    )


# half the fourth moment of output weights, less the square of the mean
FIRST_VARIANCE = fluctuation("first", lambda config: {"sign": 1.0, "normal": 3.0}[config.output] / 2 - 1 / 4)
SECOND_VARIANCE = fluctuation("second", lambda config: 5 / 4)


def closed_form_error(run) -> xr.DataArray:
    """Largest distance over time of residuals and predictions from the closed form."""
    residual = np.abs(run.residual - run.residual_predicted).max(("rate", "step", "mode"))
    return np.maximum(residual, np.abs(run.output - run.output_predicted).max(("rate", "step", "point")))


def distance_error(run) -> xr.DataArray:
    """Largest relative distance of |theta_t - theta_0| from the closed form."""
    ratio = run.distance_moved / run.distance_predicted
    return np.abs(ratio.isel(step=slice(1, None)) - 1).max(("rate", "step"))


def top_growth(run) -> xr.DataArray:
    """Logarithm, a step, of the growth of the residual in the kernel's largest mode."""
    top = np.abs(run.residual.isel(rate=0, mode=0))
    return np.log(last(top) / first(top)) / last(run.step)


def ensemble_variance(run) -> xr.DataArray:
    """Largest relative distance, over points and times, of networks' variance from theory; one number."""
    ratio = run.output.var("seed", ddof=1) / run.variance_predicted
    return np.abs(ratio - 1).max(("point", "step"), skipna=False)


def ensemble_mean(run) -> xr.DataArray:
    """Largest distance, over points and times, of their mean from theory in standard errors; one number."""
    error = run.output.std("seed", ddof=1) / np.sqrt(run.output.sizes["seed"])
    distance = (run.output.mean("seed") - run.mean_predicted) / error
    return np.abs(distance).max(("point", "step"), skipna=False)


def posterior_distance(run) -> xr.DataArray:
    """Distance of the trained ensemble's limit from the posterior, in mean and variance; one number."""
    mean = np.abs(run.mean_limit - run.posterior_mean).max("point")
    return np.maximum(mean, np.abs(run.variance_limit - run.posterior_variance).max("point"))


def posterior_ratio(run) -> xr.DataArray:
    """Variance of the trained ensemble's limit over the posterior's, the least of all points; one number."""
    return (run.variance_limit / run.posterior_variance).min("point", skipna=False)


def time_error(run) -> Bracketed:
    """Largest distance from 1, over frequencies, of measured over predicted times at the first amplitude.

    One that is never reached is later than the last record.
    """
    run = run.isel(amplitude=0)
    times = hitting_time(run.fit).fillna(last(run.step))
    ends = xr.apply_ufunc(
        falls_between, run.step.astype(float), 1 - run.fit, 0.1,
        input_core_dims=[["step"], ["step"], []], output_core_dims=[[], []], vectorize=True,
    )  # fmt: skip
    expected = run.predicted_time
    # any time is none of one that is never to come
    found, low, high = ((at / expected).where(np.isfinite(expected), 0.0) - 1 for at in (times, *ends))
    nearest, farthest = np.maximum(np.maximum(low, -high), 0), np.maximum(np.abs(low), np.abs(high))
    return Bracketed(*(one.max("frequency") for one in (np.abs(found), nearest, farthest)), MORE_RECORDS)


def least_left(run, times: float) -> xr.DataArray:
    """Smallest unlearned share, over frequencies, at so many times the predicted time."""
    learned = run.fit.isel(amplitude=0).sel(step=times * run.predicted_time, method="ffill")
    return (1 - learned).min("frequency", skipna=False)


def most_learned(run) -> xr.DataArray:
    """Largest share of the target that is learned at any time."""
    return np.abs(run.fit).max(("frequency", "amplitude", "step"))


def circle_decay(frequencies: range) -> Callable[[Run], xr.DataArray]:
    """Exponent of the frequency in the first layer's eigenvalues on the circle; one number."""
    return lambda run: _decay(frequencies, spectra.circle(run.config.kernel("first"), frequencies, 2**16))


def sphere_decay(degrees: range) -> Callable[[Run], xr.DataArray]:
    """Exponent of the degree in the eigenvalues on S^2; one number."""
    return lambda run: _decay(degrees, spectra.sphere(run.config.kernel(), degrees, 3))


def _decay(degrees, values):
    return power_law(np.array(degrees), xr.DataArray(np.maximum(values, 1e-300), dims="degree"), "degree")


GROUPS = {0: 1, 1: 3, 2: 5, 4: 9}
"""How many harmonics S^2 has of the largest eigenvalues' degrees."""


def groups_error(run) -> xr.DataArray:
    """Largest relative distance of a random Gram matrix's eigenvalues from those of the first groups."""
    degrees = xr.DataArray([degree for degree, count in GROUPS.items() for _ in range(count)], dims="mode")
    found = run.eigenvalue.isel(mode=slice(degrees.size))
    return np.abs(found / run.degree_eigenvalue.sel(degree=degrees) - 1).max("mode")


def gap(run) -> xr.DataArray:
    """The eigenvalue after these groups, over the one before it."""
    count = sum(GROUPS.values())
    return run.eigenvalue.isel(mode=count, drop=True) / run.eigenvalue.isel(mode=count - 1, drop=True)


def learning_curve(power: float) -> Law:
    """Exponent of the number of samples in the test error, for a teacher of power k^(-power)."""
    return Law(
        f"error_exponent_{power:g}",
        f"exponent of the error in $P$, $a$ = {power:g}",
        lambda run: power_law(run["size"], run["error"].sel(exponent=power), "size"),
        theory=lambda config: -min(power - 1, 4.0),  # saturated at 2 alpha, alpha = 2
        domain=lambda config: config.biases or "it is for networks with hidden biases",
        recorded=lambda c: isinstance(c, LearningCurves) and not c.regular and power in c.exponents,
    )


def grid_error(run) -> xr.DataArray:
    """Largest distance of the predictor on a regular grid from the sum over aliases."""
    error = np.abs(run.prediction - run.prediction_exact)
    return error.max(("size", "frequency", "test_point"), skipna=False)
