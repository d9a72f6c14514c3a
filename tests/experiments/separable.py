"""Gradient descent on separable data finds the direction of the largest l2 margin, at the rate 1/log t.

Soudry et al. 2018, arXiv:1710.10345, Theorem 3, for losses with an exponential tail; a squared one has none.
"""

from dataclasses import dataclass
from math import exp
from typing import Literal

import numpy as np
import xarray as xr

from dynamics import Experiment, Job, Problem, data, models, observables, plots, study
from dynamics.laws import max_margin
from dynamics.study import Law, TrainingConfig, last, power_law, setting


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """A linear network on fewer points than dimensions, which some direction separates."""

    dim: int = setting(20, "input dimension d", low=1)
    num_samples: int = setting(10, "training samples n", low=1)
    loss: Literal["logistic", "exponential", "squared"] = setting("logistic", "loss")
    learning_rate: float = setting(0.1, "step size eta", above=0)
    log_steps: float = setting(9.0, "logarithm of the number of steps, log T", low=6, high=16)
    records: int = setting(40, "recording times", low=2)


def train(config):
    source = data.LinearTeacher(config.dim, config.num_samples, num_test=1)
    problem = Problem(source, models.Linear(), loss=config.loss, init_scale=1e-3)
    times = sorted({round(t) for t in np.geomspace(exp(5), exp(config.log_steps), config.records)})
    how = {"observe": {"w": observables.linear_predictor}, "observe_end": {"rows": observables.signed_inputs}}
    return {"training": Job(problem, config.update_rule, steps=times[-1], when=times, **how)}


def direction_error(run) -> xr.DataArray:
    """Distance of w / |w| from the direction of the largest l2 margin."""
    best = xr.apply_ufunc(lambda rows: max_margin.linear(rows, "l2")[1], run.rows, vectorize=True,
                          input_core_dims=[["sample", "dim"]], output_core_dims=[["dim"]])  # fmt: skip
    sizes = np.sqrt((run.w**2).sum("dim") * (best**2).sum("dim"))
    cosine = (run.w * best).sum("dim", skipna=False) / sizes
    return np.sqrt(2 - 2 * cosine)


ERROR = Law(
    "error", "direction error", lambda run: last(direction_error(run)),
    exponents=lambda c: {"log_steps": -1.0},
    domain=lambda c: c.loss != "squared" or "its loss has no exponential tail",
)  # fmt: skip
CLAIMS = study.Claims({"main": study.CheckRun(Config())})
claim = CLAIMS.about("main", source="Theorem 3", applies=ERROR.applies)
claim("rate", "the direction's error falls as 1/log t").holds(
    lambda run: power_law(np.log(run.step), direction_error(run), "step"),
    study.typically(study.around(-1.0, absolute=0.2)),
    study.Ablation("a squared loss", {"loss": "squared", "learning_rate": 0.01}),
)


@plots.styled
def rate(run):
    (ax,) = plots.panels(1, 4.4, 3.2)[1]
    error = direction_error(run).assign_coords(step=np.log(run.step))
    plots.curve(ax, error, "step", label=run.config.loss)
    if ERROR.applies(run.config):
        plots.guide(ax, error.step, float(error.isel(step=0).median()), -1.0, r"$1/\log t$")
    plots.label(ax, r"$\log t$", "direction error", log="xy", legend="best")
    return ax.figure


EXPERIMENT = Experiment(
    name="separable", title="The Implicit Bias of Gradient Descent on Separable Data", arxiv="1710.10345",
    about="gradient descent finds the largest margin, at the rate 1/log t", train=train, claims=CLAIMS,
    presets={"small": Config(), "paper": Config(log_steps=13.0)}, figures={"rate": rate}, quantities=[ERROR],
)  # fmt: skip
