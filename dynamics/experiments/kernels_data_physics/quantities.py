"""What the claims of the kernel picture measure: one number a seed, or one of all seeds where it says so."""

from collections.abc import Callable, Mapping

import numpy as np
import xarray as xr
from jaxtyping import Float

from dynamics.experiments.kernels_data_physics.networks import kernel_of
from dynamics.study.old import MORE_RECORDS, Bracketed, Run
from kernels import spectra

Runs = Mapping[str, Run]
PerSeed = Float[np.ndarray, " seeds"]
Measure = Callable[[Runs], PerSeed | Bracketed]


def slope(x: Float[np.ndarray, " points"], y: Float[np.ndarray, "seeds points"]) -> PerSeed:
    """Log-log slope of each row."""
    return np.polyfit(np.log(x), np.log(y).T, 1)[0]


def width_slope(run: str, name: str, **chosen) -> Measure:
    """Log-log slope of a number in the width."""

    def measure(runs: Runs) -> PerSeed:
        dataset = runs[run].dataset
        return slope(dataset.width.values, dataset[name].sel(**chosen).transpose("seed", "width").values)

    return measure


def variance(layer: str) -> Measure:
    """Width times the variance of the kernel's diagonal, at the largest width."""
    return lambda runs: runs["fluctuation"].dataset.kernel_variance.sel(layer=layer).isel(width=-1).values


def closed_form_error(runs: Runs) -> PerSeed:
    """Largest distance over time of residuals and predictions from the closed form."""
    dataset = runs["linear"].dataset
    parts = [
        np.abs(dataset[name] - dataset[f"{name}_predicted"]).max(("rate", "step", dim)).values
        for name, dim in (("residual", "mode"), ("output", "point"))
    ]
    return np.max(parts, axis=0)


def distance_error(runs: Runs) -> PerSeed:
    """Largest relative distance of |theta_t - theta_0| from the closed form."""
    dataset = runs["linear"].dataset.isel(step=slice(1, None))
    return np.abs(dataset.distance_moved / dataset.distance_predicted - 1).max(("rate", "step")).values


def top_growth(run: str) -> Measure:
    """Logarithm, a step, of the growth of the residual in the kernel's largest mode."""

    def measure(runs: Runs) -> PerSeed:
        top = np.abs(runs[run].dataset.residual.isel(rate=0, mode=0))
        return (np.log(top.isel(step=-1) / top.isel(step=0)) / float(top.step[-1])).values

    return measure


def ensemble_variance(run: str) -> Measure:
    """Largest relative distance, over points and times, of networks' variance from theory; one number."""

    def measure(runs: Runs) -> PerSeed:
        dataset = runs[run].dataset
        ratio = dataset.output.var("seed", ddof=1) / dataset.variance_predicted
        return np.atleast_1d(np.abs(ratio.values - 1).max())

    return measure


def ensemble_mean(run: str) -> Measure:
    """Largest distance, over points and times, of their mean from theory in standard errors; one number."""

    def measure(runs: Runs) -> PerSeed:
        dataset = runs[run].dataset
        error = dataset.output.std("seed", ddof=1) / np.sqrt(dataset.sizes["seed"])
        distance = (dataset.output.mean("seed") - dataset.mean_predicted) / error
        return np.atleast_1d(np.abs(distance.values).max())

    return measure


def posterior_distance(runs: Runs) -> PerSeed:
    """Distance of the trained ensemble's limit from the posterior, in mean and variance; one number."""
    dataset = runs["readout"].dataset
    both = [
        np.abs(dataset[f"{what}_limit"] - dataset[f"posterior_{what}"]).max() for what in ("mean", "variance")
    ]
    return np.array([float(max(both))])


def posterior_ratio(runs: Runs) -> PerSeed:
    """Variance of the trained ensemble's limit over the posterior's, the least of all points; one number."""
    dataset = runs["ensemble"].dataset
    return np.atleast_1d((dataset.variance_limit / dataset.posterior_variance).values.min())


def hitting_times(dataset: xr.Dataset, left: float = 0.1) -> xr.DataArray:
    """First time at which a share `left` is unlearned, interpolated in its logarithm; or NaN."""
    rest = 1 - dataset.fit.transpose("frequency", "amplitude", "seed", "step")
    times = dataset.step.values.astype(float)

    def one(row):
        below = np.flatnonzero(row < left)
        if not below.size:
            return np.nan
        i = below[0]
        if i == 0:
            return 0.0
        high, low = np.log(row[i - 1]), np.log(max(row[i], 1e-300))
        return times[i - 1] + (times[i] - times[i - 1]) * (high - np.log(left)) / (high - low)

    values = np.apply_along_axis(one, -1, rest.values)
    return xr.DataArray(values, dims=rest.dims[:-1], coords={d: rest[d] for d in rest.dims[:-1]})


def hitting_range(
    times: Float[np.ndarray, " times"], rest: Float[np.ndarray, " times"], left: float = 0.1
) -> tuple[float, float]:
    """What that time lies between: where the lines through this, the last and the next two records pass.

    A curve whose logarithm bends to one side lies between them; beside the first or last record it may pass
    anywhere between the two, and after the last one any time later.
    """
    below = np.flatnonzero(rest < left)
    if not below.size:
        return float(times[-1]), np.inf
    i = below[0]
    if i == 0:
        return 0.0, 0.0
    if i < 2 or i + 1 == len(times):
        return float(times[i - 1]), float(times[i])
    height = np.log(np.maximum(np.abs(rest[i - 2 : i + 2]), 1e-300)) - np.log(left)
    near = times[i - 2 : i + 2]
    with np.errstate(divide="ignore"):
        passes = near[:-1] - height[:-1] * np.diff(near) / np.diff(height)
    passes = np.clip(np.nan_to_num(passes, nan=near[2]), near[1], near[2])
    return float(passes.min()), float(passes.max())


def time_ratio(run: str, frequencies: tuple[int, ...]) -> Measure:
    """Largest distance from 1, over frequencies, of measured over predicted times.

    One that is never reached is later than the last record.
    """

    def measure(runs: Runs) -> Bracketed:
        chosen = {"frequency": list(frequencies), "amplitude": runs[run].dataset.amplitude[0]}
        dataset = runs[run].dataset.sel(chosen)
        times = hitting_times(runs[run].dataset).sel(chosen).fillna(dataset.step[-1])
        ends = xr.apply_ufunc(
            hitting_range, dataset.step.astype(float), 1 - dataset.fit,
            input_core_dims=[["step"], ["step"]], output_core_dims=[[], []], vectorize=True,
        )  # fmt: skip
        predicted = dataset.predicted_time
        # any time is none of one that is never to come
        values, low, high = ((at / predicted).where(np.isfinite(predicted), 0.0) for at in (times, *ends))
        nearest = np.maximum(np.maximum(low - 1, 1 - high), 0)
        farthest = np.maximum(np.abs(low - 1), np.abs(high - 1))
        found = (np.abs(values - 1), nearest, farthest)
        return Bracketed(*(one.max("frequency").values for one in found), MORE_RECORDS)

    return measure


def left_at(run: str, times: float) -> Measure:
    """Smallest unlearned share, over frequencies, at so many times the predicted time."""

    def measure(runs: Runs) -> PerSeed:
        dataset = runs[run].dataset
        rows = []
        for i in range(dataset.sizes["frequency"]):
            at = dataset.isel(frequency=i, amplitude=0)
            by = np.flatnonzero(at.step.values <= times * float(at.predicted_time))[-1]
            rows.append((1 - at.fit.isel(step=int(by))).values)
        return np.min(rows, axis=0)

    return measure


def unlearned(run: str) -> Measure:
    """Largest share of the target that is learned at any time."""
    return lambda runs: np.abs(runs[run].dataset.fit).max(("frequency", "amplitude", "step")).values


def spectrum_slope(run: str, frequencies: range) -> Measure:
    """Log-log slope of the first layer's eigenvalues on the circle in the frequency; one number."""

    def measure(runs: Runs) -> PerSeed:
        values = np.maximum(spectra.circle(kernel_of(runs[run].config, "first"), frequencies, 2**16), 1e-300)
        return slope(np.array(frequencies, float), values[None])

    return measure


def degree_values(degree: int) -> Measure:
    """The kernel's eigenvalue of a degree on S^2; one number."""
    return lambda runs: np.atleast_1d(float(runs["sphere"].dataset.degree_eigenvalue.sel(degree=degree)))


def odd_degrees(runs: Runs) -> PerSeed:
    """Largest eigenvalue, in size, of an odd degree from 3 on; one number."""
    values = runs["sphere"].dataset.degree_eigenvalue
    return np.atleast_1d(float(np.abs(values.where((values.degree % 2 == 1) & (values.degree >= 3))).max()))


def groups(runs: Runs) -> PerSeed:
    """Largest relative distance of a random Gram matrix's eigenvalues from those of degrees 0, 1, 2 and 4."""
    dataset = runs["sphere"].dataset
    exact = np.concatenate(
        [np.full(2 * k + 1, float(dataset.degree_eigenvalue.sel(degree=k))) for k in (0, 1, 2, 4)]
    )
    return np.abs(dataset.eigenvalue.values[:, : len(exact)] / exact[None] - 1).max(axis=1)


def gap(runs: Runs) -> PerSeed:
    """The eigenvalue after the first 1 + 3 + 5 + 9, over the one before it."""
    values = runs["sphere"].dataset.eigenvalue
    return (values.isel(mode=18) / values.isel(mode=17)).values


def sphere_slope(runs: Runs) -> PerSeed:
    """Log-log slope of S^2's eigenvalues over even degrees 10 to 30; one number."""
    degrees = range(10, 31, 2)
    values = np.maximum(spectra.sphere(kernel_of(runs["sphere"].config), degrees, 3), 1e-300)
    return slope(np.array(degrees, float), values[None])


def curve_exponent(exponent: float) -> Measure:
    """Log-log slope of the mean test error in the number of samples."""

    def measure(runs: Runs) -> PerSeed:
        error = runs["learning_curves"].dataset.error.sel(exponent=exponent).transpose("seed", "size")
        return slope(error["size"].values, error.values)

    return measure


def grid_error(runs: Runs) -> PerSeed:
    """Largest distance of the predictor on a regular grid from the sum over aliases."""
    dataset = runs["regular"].dataset
    return (
        np.abs(dataset.prediction - dataset.prediction_exact).max(("size", "frequency", "test_point")).values
    )


def parity_error(run: str, degree: int, size: int) -> Measure:
    """Mean squared test error of a parity."""
    return lambda runs: runs[run].dataset.error.sel(degree=degree, size=size).values


def distilled(name: str, support: int) -> Measure:
    """A number of the learned images after training, or before (`initial_...`); or of the only size."""

    def measure(runs: Runs) -> PerSeed:
        dataset = runs["distillation"].dataset
        initial = name.startswith("initial_")
        values = dataset[name.removeprefix("initial_")].isel(step=0 if initial else -1)
        chosen = support if support in dataset.support else int(dataset.support[0])
        return values.sel(support=chosen).values

    return measure
