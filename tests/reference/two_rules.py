"""A small experiment to be stopped: two rules, one after another, and results of some tens of kilobytes."""

from dataclasses import dataclass

from dynamics import Experiment, Job, Problem, data, descent, models, observable, observables, plots
from dynamics.study import Ablation, CheckRun, Claims, RunConfig, at_most, last, setting

RULES = ("gd", "sign")


@dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """A linear student of a linear teacher."""

    dim: int = setting(30, "input dimension d", low=1)
    num_samples: int = setting(20, "training samples n", low=1)
    init_scale: float = setting(0.001, "scale of the initial weights", low=0)
    steps: int = 100
    records: int = 101
    spacing: str = "linear"


@observable(("output", "input"), about="weights")
def weights(params, problem, draw):
    """The student's."""
    return params["W"]


def train(config):
    """A student for each rule."""
    problem = Problem(
        data.LinearTeacher(config.dim, config.num_samples), models.Linear(), init_scale=config.init_scale
    )
    observe = {"training_loss": observables.training_loss, "weights": weights}
    how = {"steps": config.steps, "observe": observe, "when": config.recording_times()}
    return {rule: Job(problem, descent.named(rule, 0.01), **how) for rule in RULES}


@plots.styled
def loss(run):
    """Over time."""
    figure, axes = plots.new_figure(1, 1, 4.0, 3.0)
    plots.curve(axes[0, 0], run.training_loss.sel(rule="gd"), "step")
    return figure


CLAIMS = Claims({"main": CheckRun(Config())})
CLAIMS.about("main", where={"rule": "gd"}, source="own", applies=lambda config: True)(
    "fitted", "the loss ends below 1"
).holds(lambda run: last(run.training_loss), at_most(1.0), Ablation("no training", {"steps": 0}))

EXPERIMENT = Experiment(
    name="two_rules",
    title="Two rules",
    arxiv="0000.00000",
    about="two rules find a linear teacher",
    presets={"small": Config()},
    train=train,
    arms="rule",
    claims=CLAIMS,
    figures={"loss": loss},
)
