"""An experiment in a file of one's own: does gradient descent find the teacher's direction?"""

from dataclasses import dataclass

from dynamics import Experiment, Job, Problem, data, models, observables, plots
from dynamics.study import Ablation, CheckRun, Claims, TrainingConfig, at_least, last, setting


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
    source = data.LinearTeacher(config.dim, config.num_samples)
    problem = Problem(source, models.Linear(), init_scale=config.init_scale)
    observe = {"test_accuracy": observables.test_accuracy, "training_loss": observables.training_loss}
    times = config.recording_times()
    return {"training": Job(problem, config.update_rule, steps=config.steps, observe=observe, when=times)}


@plots.styled
def accuracy(run):
    """Test accuracy over time."""
    figure, axes = plots.new_figure(1, 1, 4.0, 3.0)
    plots.curve(axes[0, 0], run.test_accuracy, "step")
    plots.label(axes[0, 0], "step $t$", "test accuracy")
    return figure


CLAIMS = Claims({"main": CheckRun(Config())})
CLAIMS.about("main", source="own", applies=lambda config: config.steps > 0)(
    "found", "test accuracy is above 0.8"
).holds(lambda run: last(run.test_accuracy), at_least(0.8), Ablation("no training", {"steps": 0}))

EXPERIMENT = Experiment(
    name="teacher",
    title="A linear teacher",
    arxiv="0000.00000",
    about="gradient descent finds the teacher's direction",
    presets={"small": Config()},
    train=train,
    claims=CLAIMS,
    figures={"accuracy": accuracy},
)
