"""Fields of several update rules that a setting compares."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dynamics import descent
from dynamics.descent import Objective, StepRule, norms
from dynamics.engine.job import Job
from dynamics.problem import Problem
from dynamics.study.config import RunConfig, setting

ADAM = {"algorithms": ["adam"]}
OWN = {"adam": "linf", "rmsprop": "linf", "muon": "spectral", "shampoo": "spectral"}
OWN |= {"momentum": "l2", "nesterov": "l2"}
"""The norm whose margin a rule that is not steepest descent itself is expected to maximise."""


@dataclass(frozen=True, kw_only=True)
class RulesConfig(RunConfig):
    """Fields of an experiment that trains by several update rules of the user's choice, side by side."""

    algorithms: tuple[str, ...] = setting(
        ("gd", "sign", "coordinate", "spectral"),
        f"update rules: {', '.join(descent.NAMES)}, or norms to descend in (l1.5, spectral, max-l2, ...)",
        distinct=True,
        filled=True,
    )
    step_rule: tuple[StepRule, ...] = setting(
        ("log_decrease",), "length of a step, one for all algorithms or one each (steepest descent)"
    )
    learning_rate: tuple[float, ...] = setting(
        (0.05,), "step size eta (of log_decrease: by how much log L falls), one for all or one each", above=0
    )
    momentum: float = setting(0.0, "momentum beta of steepest descent; 0: none", low=0, below=1)
    decay: float = setting(0.0, "the step size falls as 1/(t+1)^decay", low=0)
    newton_schulz: int = setting(0, "steps of Newton and Schulz in spectral norms; 0: the exact SVD", low=0)
    objective: Objective = setting("log_loss", "what is differentiated; log_loss never underflows")
    adam_eps: float = setting(1e-8, "stability constant of adam", low=0, of=ADAM)
    adam_b2: float = setting(0.999, "decay of adam's average of squares", low=0, below=1, of=ADAM)

    def check(self) -> None:
        """Refuse an unknown rule, and what does not fit to the rules."""
        super().check()
        for algorithm in self.algorithms:
            descent.norm_of(algorithm)
        for name in ("step_rule", "learning_rate"):
            if len(getattr(self, name)) not in (1, len(self.algorithms)):
                raise ValueError(
                    f"{name} must be one value for all of the {len(self.algorithms)} algorithms or one each, "
                    f"got {len(getattr(self, name))}"
                )
        if self.adam_eps == 0 and self.objective == "loss":
            raise ValueError(
                "adam_eps must be above 0 with objective 'loss': gradients underflow to 0/0, got 0.0"
            )

    def own_norm(self, algorithm: str) -> str:
        """The norm whose margin an algorithm is expected to maximise."""
        return descent.norm_of(algorithm) or OWN[algorithm]

    def update_rule(self, algorithm: str) -> descent.Descent:
        """The update rule of one algorithm."""
        place = self.algorithms.index(algorithm)
        step, rate = (one[place if len(one) > 1 else 0] for one in (self.step_rule, self.learning_rate))
        given = {"decay": self.decay or None, "of": self.objective}
        norm = descent.norm_of(algorithm)
        if norm is not None:
            given |= {"step": step, "momentum": self.momentum or None}
            if self.newton_schulz and norms.parse(norm).matrices is None:
                given["newton_schulz"] = self.newton_schulz
        elif algorithm == "adam":
            given |= {"eps": self.adam_eps, "b2": self.adam_b2}
        return descent.named(algorithm, rate, **given)

    def each(self, problem: Callable[[str], Problem], **how: Any) -> dict[str, Job]:
        """The training of each algorithm's problem, for these steps; `how`: the other attributes of a job."""
        own = {"steps": self.steps, "when": self.recording_times(), "batch_size": self.batch_size or None}
        return {name: Job(problem(name), self.update_rule(name), **own | how) for name in self.algorithms}
