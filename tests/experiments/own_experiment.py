"""An experiment in a file of one's own: does gradient descent find the teacher's direction?"""

from dataclasses import dataclass

import numpy as np

from dynamics import Job, observables
from dynamics.data.teachers import LinearTeacher
from dynamics.experiments.base import CheckRun, Experiment
from dynamics.models.linear import Linear
from dynamics.plots import band, new_figure, styled
from dynamics.problem import Problem
from dynamics.study.bands import at_least
from dynamics.study.claim import Ablation, Claim
from dynamics.study.config import TrainingConfig, setting


@dataclass(frozen=True, kw_only=True)
class Config(TrainingConfig):
    """A linear teacher and a linear student."""

    dim: int = setting(4, "input dimension d", low=1)
    num_samples: int = setting(40, "training samples n", low=1)
    init_scale: float = setting(0.1, "scale of the initial weights", low=0)
    learning_rate: float = setting(1.0, "step size eta", above=0)
    steps: int = setting(20, "number of steps T", low=0)
    records: int = setting(4, "recording times", low=2)


def train(config):
    """One network a seed."""
    problem = Problem(LinearTeacher(config.dim, config.num_samples), Linear(), init_scale=config.init_scale)
    observe = {"test_accuracy": observables.test_accuracy, "training_loss": observables.training_loss}
    times = config.recording_times()
    return {"training": Job(problem, config.update_rule, steps=config.steps, observe=observe, when=times)}


@styled
def accuracy(dataset):
    """Test accuracy over time."""
    figure, axes = new_figure(1, 1, 4.0, 3.0)
    band(axes[0, 0], dataset.step.values, dataset.test_accuracy.values)
    axes[0, 0].set(xlabel="step $t$", ylabel="test accuracy")
    return figure


def _last(runs):
    return np.asarray(runs["main"].dataset.test_accuracy.isel(step=-1))


EXPERIMENT = Experiment(
    name="teacher",
    title="A linear teacher",
    arxiv="0000.00000",
    about="gradient descent finds the teacher's direction",
    Config=Config,
    presets={"small": Config()},
    train=train,
    claims=[
        Claim(
            "found",
            "own",
            "test accuracy is above 0.8",
            _last,
            lambda runs: at_least(0.8),
            Ablation("no training", {"steps": 0}),
            applies=lambda config: config.steps > 0,
        )
    ],
    check_runs={"main": CheckRun(Config())},
    figures={"accuracy": accuracy},
)
