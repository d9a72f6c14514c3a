"""Configs: plain frozen dataclasses whose every field knows its meaning and its range."""

import dataclasses
import inspect
import itertools
import json
import math
import operator
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np

from dynamics import descent
from dynamics.descent import Descent, Objective, StepRule
from dynamics.engine.job import Job
from dynamics.engine.schedule import linear_spaced, log_spaced
from dynamics.problem import Problem
from dynamics.words import near, no_field, quoted

C = TypeVar("C", bound="Config")
T = TypeVar("T")
FIELDS = "__dataclass_fields__"  # a base class that is a dataclass already has them
HEAD = "\n\nAttributes:\n"
WORDS = {"low": "at least", "high": "at most", "above": "above", "below": "below"}
COMPARE = {"low": operator.ge, "high": operator.le, "above": operator.gt, "below": operator.lt}
ENDS = {int: 2**31 - 1, float: 1e30}
"""The largest sizes of numbers without a limit: indices of arrays, and squares that stay in float64."""
MOST_RECORDS = 100_000


def setting(
    default: Any,
    about: str,
    *,
    low: int | float | str | None = None,
    high: int | float | str | None = None,
    above: int | float | str | None = None,
    below: int | float | str | None = None,
    increasing: bool = False,
    distinct: bool = False,
    filled: bool = False,
    of: Mapping[str, Sequence[Any]] = types.MappingProxyType({}),
) -> Any:
    """A config field: its default, meaning (with unit and the paper's symbol), and allowed range.

    A field that may be None, `float | None`, is derived from others then; its `about` says how.

    Args:
      low, high: allowed values themselves; `above` and `below` are not. A limit may be the name of another
        field, of a list the smallest or largest of its entries; it does not apply to a class without that
        field. For a tuple the range holds for each entry.
      increasing: a tuple's entries must increase.
      distinct: they must be different.
      filled: there must be at least one.
      of: values of other fields beside which alone it means something, `{"attack": ["pgd"]}`: beside others
        it must be its default. Of a tuple one such entry is enough. It does not apply to a class without that
        field.
    """
    limits = {"low": low, "high": high, "above": above, "below": below}
    given = {name: value for name, value in limits.items() if value is not None}
    form = {"increasing": increasing, "distinct": distinct, "filled": filled}
    about = {"about": about, "limits": given, "form": [name for name, asked in form.items() if asked]}
    return dataclasses.field(default=default, metadata=about | {"of": dict(of)})


def described(field: dataclasses.Field) -> str:
    """What a field means, and beside which values of others."""
    of = field.metadata["of"].items()
    where = "; ".join(f"for {name} {' or '.join(map(str, values))}" for name, values in of)
    return field.metadata["about"] + (f" ({where})" if where else "")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every experiment's config: checks each field's type and range when it is made.

    A field that a subclass only gives another default keeps its meaning and range: `records: int = 24`.

    Raises: ValueError: names the field, what is allowed and what was given.
    """

    def __init_subclass__(cls, **how):
        super().__init_subclass__(**how)
        own = {name: value for name, value in vars(cls).items() if isinstance(value, dataclasses.Field)}
        bases = [base for base in reversed(cls.__mro__[1:]) if hasattr(base, FIELDS)]
        inherited = {f.name: f for base in bases for f in dataclasses.fields(base)}
        for name in inherited.keys() & vars(cls).get("__annotations__", {}).keys() - own.keys():
            own[name] = dataclasses.field(default=vars(cls)[name], metadata=inherited[name].metadata)
            setattr(cls, name, own[name])
        lines = [f"  {n}: {described(f)}; by default {f.default!r}" for n, f in (inherited | own).items()]
        about = inspect.cleandoc(vars(cls).get("__doc__") or "")
        cls.__doc__ = (about + HEAD + "\n".join(lines)).strip()  # what `help` shows

    # fields are checked below, in words, and ints may go where floats do: run-time type checkers keep off
    __no_type_check__ = True

    def __new__(cls, *given, **named):
        fields = [field.name for field in dataclasses.fields(cls)]
        if given:
            raise TypeError(f"fields of {cls.__name__} go by name, {fields[0]}=..., got {quoted(given[0])}")
        for name in named:
            if name not in fields:
                raise TypeError(no_field(cls.__name__, name, fields))
        return super().__new__(cls)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = checked(field, annotation(type(self), field.name), getattr(self, field.name))
            object.__setattr__(self, field.name, value)
        for field in dataclasses.fields(self):
            _check_form(field, getattr(self, field.name))
            _check_beside(field, getattr(self, field.name), self)
            _check_meant(field, getattr(self, field.name), self)
        self.check()

    def check(self) -> None:
        """What fields must fulfil together; subclasses raise ValueError."""

    def into(self, kind: type[T], **other: Any) -> T:
        """A part or the like of this kind, its fields those that are called as the config's, or `other`."""
        own = {field.name for field in dataclasses.fields(self)}
        shared = {f.name: getattr(self, f.name) for f in dataclasses.fields(kind) if f.name in own}
        return kind(**shared | other)

    @classmethod
    def of_old(cls, values: Mapping[str, Any], *derived: str) -> tuple[str, dict[str, Any]]:
        """This setting's name and fields, of those of a result from before it was a setting of its own.

        What is no field of it, or means nothing beside the others, is left out. For `derived` fields 0 said
        what None says.
        """
        given = {name: values[name] or None for name in derived if name in values}
        return cls.__name__, kept(cls, dict(values) | given)

    def to_dict(self) -> dict[str, Any]:
        """Field values, JSON-ready."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls: type[C], values: dict[str, Any]) -> C:
        """The config with these field values.

        Raises: ValueError: a name that is not a field, or a value that is not allowed.
        """
        if not isinstance(values, dict):
            raise ValueError(f"a config must be a mapping of field names to values, got {quoted(values)}")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(values) - known):
            hint = near(unknown[0], known) if len(unknown) == 1 else ""
            raise ValueError(
                f"{', '.join(unknown)}: no such field{hint}; fields are {', '.join(sorted(known))}"
            )
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


@dataclasses.dataclass(frozen=True, kw_only=True)
class TimedConfig(Config):
    """Fields of what is followed in time: how long, and what is recorded when."""

    steps: int = setting(100, "number of steps T", low=0)
    records: int = setting(64, "recording times", low=2, high=MOST_RECORDS)
    spacing: Literal["linear", "log"] = setting("log", "spacing of the recording times")

    def recording_times(self) -> list[int]:
        """The steps to record at."""
        return (linear_spaced if self.spacing == "linear" else log_spaced)(self.steps, self.records)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig(TimedConfig):
    """Fields of every experiment that trains on samples: besides its time, on how many a step, and whose."""

    batch_size: int = setting(0, "samples a step; 0: full batch", low=0, high="num_samples")
    shared_data: bool = setting(
        False, "train all seeds on the data of seed 0, from initial weights of their own"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class RuleConfig(Config):
    """Fields of an update rule of the user's choice."""

    descent: str = setting(
        "gd",
        f"update rule: {', '.join(descent.NAMES)}, or a norm to descend in (l1.5, spectral, max-l2, ...)",
    )
    normalize: bool = setting(False, "leave out the dual norm of the gradient (steepest descent)")
    step_rule: StepRule = setting("raw", "length of a step (steepest descent)")
    momentum: float = setting(0.0, "momentum beta of steepest descent; 0: none", low=0, below=1)
    decay: float = setting(0.0, "the step size falls as 1/(t+1)^decay", low=0)
    objective: Objective = setting("loss", "what is differentiated; log_loss never underflows")
    learning_rate: float = setting(1e-3, "step size eta", above=0)

    @property
    def is_gradient_descent(self) -> bool:
        """Whether the rule is plain gradient descent, which closed forms of its time course are about."""
        plain = self.step_rule == "raw" and self.objective == "loss" and not self.normalize
        return self.descent in ("gd", "l2") and plain and not self.momentum and not self.decay

    @property
    def update_rule(self) -> Descent:
        """The update rule.

        Raises: ValueError: options that do not go with it.
        """
        return descent.named(
            self.descent,
            self.learning_rate,
            normalize=self.normalize,
            step=self.step_rule,
            momentum=self.momentum or None,
            decay=self.decay or None,
            of=self.objective,
        )

    def check(self) -> None:
        """Refuse an unknown rule, and options that do not go with it."""
        super().check()
        descent.check(
            self.descent, normalize=self.normalize, step=self.step_rule, momentum=self.momentum or None
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig(RuleConfig, RunConfig):
    """Fields of an experiment that trains by one update rule of the user's choice."""

    def job(self, problem: Problem, **how: Any) -> Job:
        """The training of a problem, for these steps by this rule; `how`: the other attributes of a job."""
        own = {"steps": self.steps, "when": self.recording_times(), "batch_size": self.batch_size or None}
        return Job(problem, self.update_rule, **own | how)


def kept(cls: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """Of a result's field values those that a config class has, and that mean something beside the others."""
    known = {field.name: field for field in dataclasses.fields(cls)}

    def meant(name):
        of = known[name].metadata["of"]
        return all(_among(values.get(other, known[other].default), allowed) for other, allowed in of.items())

    return {name: value for name, value in values.items() if name in known and meant(name)}


def annotation(cls: type, name: str) -> Any:
    """The type of a config's field."""
    kind = next(field.type for field in dataclasses.fields(cls) if field.name == name)
    if not isinstance(kind, str):
        return kind
    # text, under `from __future__ import annotations`
    owner = next(each for each in cls.__mro__ if name in inspect.get_annotations(each))
    return inspect.get_annotations(owner, eval_str=True)[name]


def checked(field: dataclasses.Field, kind: Any, value: Any) -> Any:
    """`value`, if it has the field's type and lies in its range; ints are made floats where floats go."""
    if typing.get_origin(kind) is tuple:
        entry = typing.get_args(kind)[0]
        if not isinstance(value, tuple | list):
            raise ValueError(f"{field.name} must be a list of {several(entry)}, got {quoted(value)}")
        return tuple(_checked_one(field, entry, item) for item in value)
    return _checked_one(field, kind, value)


def _check_form(field, value):
    """Refuse a tuple whose entries do not stand to each other as they should."""
    form = field.metadata.get("form", ())
    shown = ", ".join(f"{v:g}" if isinstance(v, int | float) else str(v) for v in value) if form else ""
    repeated = "distinct" in form and len(set(value)) < len(value)
    if "filled" in form and not value and "distinct" not in form:
        raise ValueError(f"{field.name} must not be empty")
    if repeated or ("filled" in form and not value):
        one = "one value or several different ones" if "filled" in form else "different values"
        raise ValueError(f"{field.name} must be {one}, got {shown or 'none'}")
    if "increasing" in form and any(b <= a for a, b in itertools.pairwise(value)):
        raise ValueError(f"{field.name} must increase, got {shown}")


def _check_beside(field, value, config):
    """Refuse a value beyond another field's."""
    for name, other in field.metadata.get("limits", {}).items():
        if not isinstance(other, str) or not hasattr(config, other):
            continue
        bound = getattr(config, other)
        if isinstance(bound, tuple):
            bound = (min if name in ("high", "below") else max)(bound, default=None)
        for one in value if isinstance(value, tuple) else (value,):
            if one is not None and bound is not None and not COMPARE[name](one, bound):
                worst = max(value) if isinstance(value, tuple) and name in ("high", "below") else one
                raise ValueError(f"{field.name} must be {WORDS[name]} {other}={bound:g}, got {worst:g}")


def _check_meant(field, value, config):
    """Refuse a value of a field that means nothing beside what others are."""
    for name, meant in field.metadata.get("of", {}).items():
        if value != field.default and not _among(getattr(config, name, meant[0]), meant):
            words = " or ".join(_plain(one) for one in meant)
            raise ValueError(
                f"{field.name} is for {name} {words}, got {field.name}={_plain(value)} and "
                f"{name}={_plain(getattr(config, name))}"
            )


def _among(value, meant):
    """Whether a value, or an entry of a list, is one of those meant."""
    return not set(value).isdisjoint(meant) if isinstance(value, tuple | list) else value in meant


def _plain(value):
    if isinstance(value, tuple):
        return ",".join(map(_plain, value)) or "none"
    if isinstance(value, str):
        return quoted(value)
    return str(value).lower() if value is None or isinstance(value, bool) else f"{value:g}"


def _checked_one(field, kind, value):
    if value is None and type(None) in typing.get_args(kind):
        return None
    kind = required(kind)
    limits = field.metadata.get("limits", {})
    fits = {
        bool: lambda v: isinstance(v, bool),
        int: lambda v: isinstance(v, int | np.integer) and not isinstance(v, bool),
        float: lambda v: (
            isinstance(v, int | float | np.integer | np.floating)
            and not isinstance(v, bool)
            and (abs(v) <= sys.float_info.max if isinstance(v, int) else math.isfinite(v))
        ),
        str: lambda v: isinstance(v, str) and v != "",
    }
    if typing.get_origin(kind) is Literal:
        options = typing.get_args(kind)
        ok = type(value) in {type(option) for option in options} and value in options
    else:
        ok = fits[kind](value)
    numbers = {name: bound for name, bound in limits.items() if not isinstance(bound, str)}
    if not ok or not all(COMPARE[name](value, bound) for name, bound in numbers.items()):
        raise ValueError(f"{field.name} must be {allowed(kind, limits)}, got {quoted(value)}")
    if kind in ENDS and abs(value) > ENDS[kind]:
        raise ValueError(f"{field.name} must be at most {ENDS[kind]:g} in size, got {quoted(value)}")
    return kind(value) if kind in (int, float) else value


def required(kind: Any) -> Any:
    """The type of a field's value where it is given: `float` of `float | None`."""
    given = [one for one in typing.get_args(kind) if one is not type(None)]
    return given[0] if type(None) in typing.get_args(kind) else kind


def allowed(kind: Any, limits: dict[str, int | float | str]) -> str:
    """The allowed values in words."""
    if typing.get_origin(kind) is Literal:
        return "one of " + ", ".join(str(option) for option in typing.get_args(kind))
    ends = (f"{WORDS[n]} {b if isinstance(b, str) else format(b, 'g')}" for n, b in limits.items())
    return " ".join([_noun(kind), " and ".join(ends)]).strip()


def from_text(kind: Any, text: str) -> Any:
    """`text` as a value of this kind; what cannot be one is left for the config to refuse in its words."""
    if text.lower() == "none" and type(None) in typing.get_args(kind):
        return None
    kind = required(kind)
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if typing.get_origin(kind) is Literal:
        return next((option for option in typing.get_args(kind) if str(option) == text), text)
    try:
        return kind(text) if kind in (int, float) else text
    except ValueError:
        return text


def several(kind: Any) -> str:
    """What a list of such values holds, in words."""
    if typing.get_origin(kind) is Literal:
        return "words among " + ", ".join(str(option) for option in typing.get_args(kind))
    return _noun(kind, plural=True)


def _noun(kind, plural=False):
    nouns = {
        bool: ("true or false", "true or false values"),
        int: ("an integer", "integers"),
        float: ("a finite number", "numbers"),
        str: ("a non-empty text", "texts"),
    }
    return nouns[kind][plural]
