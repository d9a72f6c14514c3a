"""A job: what is trained, as a value. How it is executed is another (`engine.execution`)."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import jax
import optax

from dynamics.descent import Descent, named, objective, recipe_of, refuse_other_than_full_batches
from dynamics.engine import checks, hidden, seed_numbers
from dynamics.engine.schedule import recording_times
from dynamics.keys import MOST
from dynamics.observables import trained
from dynamics.observables.base import Observable
from dynamics.parts import Bound
from dynamics.problem import Problem
from dynamics.words import integer


@dataclass(frozen=True, eq=False)
class Job:
    """What is trained, how, for how long, and what is observed.

    Attributes:
      problem: data, model, loss and adversary.
      descent: an optax transformation; one of `steepest`, `named` or `dynamics.optax` has its numbers traced.
      steps: number of steps; 0 records the initial state only.
      observe: what to record at every recording time, by name.
      observe_end: what to record once, at the end, by name.
      parameters: also record all parameters at the end, and what the model keeps beside them: of the result,
        `parameters` and `predictor` make the trained networks again.
      when: recording times, increasing; `steps` is appended. Default: 64, log-spaced.
      batch_size: samples a step; None takes them all.
      root: from 0 to 2**32 - 1; makes the key that all seeds are folded into.
      seeds: None: those that are asked for when it is executed; or its own, as of one network that serves
        all of them.
      whole: a later job needs the result: each of several processes that share a run makes all of it. A job
        with seeds of its own always is.
      float64: its precision; None: that which JAX is set to where the job is made. Its parts are best made in
        the same (`stages.in_precision`): arrays of theirs keep what they have.
    Raises: ValueError, TypeError: bad arguments; what only tracing can tell is refused before compiling.
    """

    problem: Problem
    descent: optax.GradientTransformation
    _: KW_ONLY
    steps: int
    observe: Mapping[str, Observable] | None = None
    observe_end: Mapping[str, Observable] | None = None
    parameters: bool = False
    when: Sequence[int] | None = None
    batch_size: int | None = None
    root: int = 0
    seeds: Sequence[int] | None = None
    whole: bool = False
    float64: bool | None = None

    # what is given is checked below, in words: run-time type checkers keep off
    __no_type_check__ = True

    def __post_init__(self):
        problem, descent = self.problem, self.descent
        if not isinstance(problem, Problem):
            raise TypeError(f"problem must be a Problem, got {type(problem).__name__}")
        if not isinstance(descent, optax.GradientTransformation):
            raise TypeError(f"descent must be an optax transformation such as steepest(...), got {descent!r}")
        for given in (self.observe, self.observe_end):
            if given is not None and not isinstance(given, Mapping):
                raise TypeError(
                    "observe must map names to Observables, as observe={'alignment': observables.alignment}, "
                    f"got {type(given).__name__}"
                )
        checks.kinds(problem)
        observe, observe_end = dict(self.observe or {}), dict(self.observe_end or {})
        steps = integer("steps", self.steps, 0)
        if self.batch_size is not None:
            integer("batch_size", self.batch_size, 1)
            if problem.warm_start:
                raise ValueError("warm_start needs full batches: leave out batch_size, or warm_start")
        checks.observables(observe, observe_end)
        checks.coordinates(observe | observe_end)
        recipe = recipe_of(descent)
        refuse_other_than_full_batches(recipe, problem, self.batch_size)
        hidden.refuse(problem=problem, descent=recipe, observe=observe, observe_end=observe_end)
        seed_numbers.refuse(problem, recipe, observe, observe_end)
        ambient = bool(jax.config.jax_enable_x64)
        float64 = ambient if self.float64 is None else self.float64
        if self.parameters:
            with jax.enable_x64(float64):
                observe_end |= _of_parameters(problem, recipe, self.batch_size)
        sound = {
            "steps": steps,
            "observe": observe,
            "observe_end": observe_end,
            "when": recording_times(steps, self.when),
            "root": integer("root", self.root, 0, MOST),
            "seeds": None if self.seeds is None else tuple(checks.seed_list(self.seeds)),
            "whole": self.whole or self.seeds is not None,
            "float64": float64,
        }
        for name, value in sound.items():
            object.__setattr__(self, name, value)

    @classmethod
    def still(cls, problem: Problem, observe_end: Mapping[str, Observable], **options: Any) -> "Job":
        """A job of no steps: what data and initial weights say."""
        return cls(problem, named("gd", 1.0), steps=0, observe_end=observe_end, **options)

    @property
    def parts(self) -> tuple[Problem, Bound, Mapping[str, Observable], Mapping[str, Observable]]:
        """Problem, update rule as it is made anew, and what is observed: what a program is made of."""
        return self.problem, recipe_of(self.descent), self.observe, self.observe_end

    @property
    def observed(self) -> Mapping[str, Observable]:
        """All that is observed, by name."""
        return {**self.observe, **self.observe_end}

    def with_parts(self, problem: Any, recipe: Any, observe: Any, observe_end: Any) -> "Job":
        """The same job of other parts."""
        changed = {"problem": problem, "descent": Descent(recipe)}
        return dataclasses.replace(self, **changed, observe=observe, observe_end=observe_end)


def _of_parameters(problem: Problem, recipe: Bound, batch_size: int | None) -> dict[str, Observable]:
    """Observables of all parameters, and of what the model keeps beside them."""
    one, rule = seed_numbers.typical((problem, recipe))
    _, params, _ = checks.shapes(one, batch_size, {}, objective(rule))
    return trained.recorded(params, one.kept_shapes())
