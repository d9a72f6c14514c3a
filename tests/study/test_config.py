"""Configs: what they accept, how they travel through JSON, what they refuse."""

import copy
import dataclasses
import inspect
import json
import pickle
import re
import typing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynamics import descent
from dynamics.data.spiked import Spiked
from dynamics.models import Linear
from dynamics.parts import describe
from dynamics.problem import Problem
from dynamics.study.config import Config, TrainingConfig, allowed, annotation, from_text, setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(Config):
    flag: bool = setting(False, "a flag")
    count: int = setting(1, "a count", low=0, high=100)
    size: float = setting(1.0, "a size", above=0)
    share: float = setting(0.5, "a share", above=-1, below=1)
    name: str = setting("a", "a name")
    kind: typing.Literal["one", "two"] = setting("one", "a kind")
    widths: tuple[int, ...] = setting((1,), "widths", low=1)
    radii: tuple[float, ...] = setting((), "radii", low=0)
    kinds: tuple[typing.Literal["one", "two"], ...] = setting(("one",), "kinds")

    def check(self):
        if self.count > 50 and self.flag:
            raise ValueError("count must be at most 50 with flag")


@given(
    flag=st.booleans(),
    count=st.integers(0, 50),
    size=st.floats(0, 1e30, exclude_min=True),
    share=st.floats(-1, 1, exclude_min=True, exclude_max=True),
    name=st.text(min_size=1),
    kind=st.sampled_from(["one", "two"]),
    widths=st.lists(st.integers(1, 10**6)).map(tuple),
    radii=st.lists(st.floats(0, 1e6) | st.integers(0, 10)).map(tuple),
)
def test_round_trip(**values):
    config = Sample(**values)
    stored = json.loads(json.dumps(config.to_dict(), allow_nan=False))
    again = Sample.from_dict(stored)
    assert again == config
    assert hash(again) == hash(config)
    assert again.to_dict() == stored
    for name, value in values.items():
        assert getattr(again, name) == value
    assert all(type(radius) is float for radius in again.radii)


def test_help_has_the_meaning_of_every_field():
    assert "  count: a count; by default 1\n" in Sample.__doc__

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Other(Sample):
        """Another."""

        count: int = setting(2, "other things")

    assert Other.__doc__.startswith("Another.\n\nAttributes:\n  flag: a flag; by default False\n")
    assert Other.__doc__.count("  count: ") == 1
    assert "  count: other things; by default 2\n" in Other.__doc__


def test_ints_where_floats_go():
    config = Sample(size=3, radii=[1, 2])
    assert type(config.size) is float
    assert config.radii == (1.0, 2.0)
    assert all(type(radius) is float for radius in config.radii)
    assert config == Sample(size=3.0, radii=(1.0, 2.0))


def test_numpy_numbers_become_plain():
    config = Sample(count=np.int64(3), size=np.float32(0.5), widths=(np.int32(2),))
    assert [type(v) for v in (config.count, config.size, config.widths[0])] == [int, float, int]
    json.dumps(config.to_dict())


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"flag": 1}, "flag must be true or false, got 1"),
        ({"flag": np.True_}, "flag must be true or false"),
        ({"count": True}, "count must be an integer at least 0 and at most 100, got True"),
        ({"count": 1.0}, "count must be an integer"),
        ({"count": -1}, "got -1"),
        ({"count": 101}, "got 101"),
        ({"size": 0}, "size must be a finite number above 0, got 0"),
        ({"size": True}, "size must be"),
        ({"size": "1"}, "size must be"),
        ({"size": float("nan")}, "size must be"),
        ({"size": float("inf")}, "size must be"),
        ({"size": 10**400}, "size must be"),
        ({"size": 1j}, "size must be"),
        ({"size": np.complex64(1)}, "size must be"),
        ({"share": 1}, "share must be a finite number above -1 and below 1, got 1"),
        ({"share": -1.0}, "share must be"),
        ({"name": ""}, "name must be a non-empty text, got ''"),
        ({"kind": "three"}, "kind must be one of one, two, got 'three'"),
        ({"kind": np.array(["one", "two"])}, "kind must be one of"),
        ({"widths": (1, 0)}, "widths must be an integer at least 1, got 0"),
        ({"widths": 3}, "widths must be a list of integers, got 3"),
        ({"widths": "12"}, "widths must be a list of integers"),
        ({"kinds": "one"}, "kinds must be a list of words among one, two, got 'one'"),
        ({"kinds": ["three"]}, "kinds must be one of one, two, got 'three'"),
        ({"radii": (0.0, -1.0)}, "radii must be"),
        ({"count": 60, "flag": True}, "count must be at most 50 with flag"),
    ],
)
def test_refusals(values, sentence):
    with pytest.raises(ValueError, match="must be") as caught:
        Sample(**values)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("values", [{"colour": 1}, {"count": 1, "colour": 1, "form": 2}])
def test_unknown_names(values):
    with pytest.raises(ValueError, match=r"colour.*no such field; fields are .*count"):
        Sample.from_dict(values)


@pytest.mark.parametrize("values", [None, 3, ["count"], "count"])
def test_not_a_mapping(values, untyped):
    with pytest.raises(ValueError, match="mapping"):
        Sample.from_dict(values)


def test_replaced_values_are_checked():
    with pytest.raises(ValueError, match="count"):
        dataclasses.replace(Sample(), count=-1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sample().count = 2


def test_annotation_is_the_type():
    assert annotation(Sample, "widths") == tuple[int, ...]
    assert annotation(Sample, "flag") is bool
    assert annotation(TrainingConfig, "steps") is int


@pytest.mark.parametrize("rule", ["gd", "sign", "coordinate", "muon-signum", "l1.5", "max-l2", "spectral"])
def test_steepest_descent_has_every_option(rule):
    assert TrainingConfig(descent=rule, normalize=True).normalize
    config = TrainingConfig(
        descent=rule,
        step_rule="loss_adaptive",
        momentum=0.9,
        decay=0.5,
        objective="log_loss",
        learning_rate=2,
    )
    expected = descent.named(rule, 2.0, step="loss_adaptive", momentum=0.9, decay=0.5, of="log_loss")
    assert describe(config.update_rule.recipe) == describe(expected.recipe)
    assert TrainingConfig.from_dict(config.to_dict()) == config


def test_an_update_rule_without_options_is_the_plain_one():
    expected = descent.steepest("l2", 1e-3)
    assert describe(TrainingConfig().update_rule.recipe) == describe(expected.recipe)
    short = TrainingConfig(descent="sign", normalize=True).update_rule
    assert describe(short.recipe) == describe(
        TrainingConfig(descent="linf", step_rule="normalized").update_rule.recipe
    )


@pytest.mark.parametrize("rule", ["momentum", "nesterov", "adam", "rmsprop", "muon"])
def test_other_rules_have_a_decay_and_an_objective_only(rule):
    config = TrainingConfig(descent=rule, decay=0.5, objective="log_loss")
    assert not config.normalize
    assert descent.objective(config.update_rule.recipe) == "log_loss"
    for option, value in {"normalize": True, "step_rule": "normalized", "momentum": 0.5}.items():
        word = option.removesuffix("_rule")
        with pytest.raises(ValueError, match=f"{word} applies to steepest.*descent={rule!r}"):
            TrainingConfig(descent=rule, **{option: value})


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"descent": "sgd"}, "descent must be one of gd, sign, coordinate, muon-signum, momentum, "),
        ({"descent": "l0.5"}, "or a norm to descend in (l1.5, spectral, max-l2, ...), got 'l0.5'"),
        ({"step_rule": "fast"}, "step_rule must be one of raw, normalized, loss_adaptive, log_decrease, got"),
        ({"objective": "margin"}, "objective must be one of loss, log_loss, got 'margin'"),
        ({"momentum": 1}, "momentum must be a finite number at least 0 and below 1, got 1"),
        ({"momentum": -0.1}, "momentum must be"),
        ({"decay": -1.0}, "decay must be a finite number at least 0, got -1.0"),
        ({"normalize": True, "step_rule": "log_decrease"}, "give one of them"),
    ],
)
def test_training_configs_refuse(values, sentence):
    with pytest.raises(ValueError, match=re.escape(sentence)) as caught:
        TrainingConfig(**values)
    assert "\n" not in str(caught.value)


@given(steps=st.integers(0, 3000), records=st.integers(2, 80), spacing=st.sampled_from(["linear", "log"]))
def test_recording_times(steps, records, spacing):
    times = TrainingConfig(steps=steps, records=records, spacing=spacing).recording_times()
    assert times[0] == 0
    assert times[-1] == steps
    assert times == sorted(set(times))
    assert len(times) <= records


def test_declared_relations():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Own(Config):
        total: int = setting(10, "how many there are", low=1)
        sizes: tuple[int, ...] = setting((2, 4), "sizes", low=1, high="total", increasing=True, filled=True)
        names: tuple[str, ...] = setting(("a", "b"), "names", distinct=True)
        widths: tuple[int, ...] = setting((3,), "widths", distinct=True, filled=True)
        part: float = setting(2.0, "a part of it", above=0, below="total")
        least: int = setting(4, "not below any size", low="sizes")
        other: int = setting(0, "of a field that is not there", high="missing")

    assert Own(sizes=(1, 2, 10), least=10).sizes == (1, 2, 10)
    for change, sentence in (
        ({"sizes": (2, 11)}, "sizes must be at most total=10, got 11"),
        ({"total": 3, "part": 1.0}, "sizes must be at most total=3, got 4"),
        ({"sizes": (4, 2)}, "sizes must increase, got 4, 2"),
        ({"sizes": (2, 2)}, "sizes must increase, got 2, 2"),
        ({"sizes": ()}, "sizes must not be empty"),
        ({"names": ("a", "a")}, "names must be different values, got a, a"),
        ({"widths": ()}, "widths must be one value or several different ones, got none"),
        ({"part": 10.0}, "part must be below total=10, got 10"),
        ({"least": 3}, "least must be at least sizes=4, got 3"),
    ):
        with pytest.raises(ValueError, match=re.escape(sentence)):
            Own(**change)
    assert allowed(int, Own.__dataclass_fields__["sizes"].metadata["limits"]).endswith("at most total")


@pytest.mark.parametrize(("name", "value"), [("widths", (3, 10**40)), ("size", 1e300), ("radii", (2e30,))])
def test_every_number_has_an_upper_end(name, value):
    with pytest.raises(ValueError, match=f"{name} must be at most .* in size, got 1|{name} must .* got 2e"):
        Sample(**{name: value})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Attacked(Config):
    radius: float = setting(0.3, "radius")
    attack: typing.Literal["pgd", "one_step"] = setting("one_step", "attack")
    attack_steps: int = setting(4, "steps", of={"attack": ["pgd"]})
    test_radius: float | None = setting(None, "radius of tests; none: `radius`", above=0)


def test_a_field_of_another_value_is_refused():
    assert Attacked(attack="pgd", attack_steps=7).attack_steps == 7
    assert Attacked(attack_steps=4) == Attacked()
    with pytest.raises(
        ValueError, match=r"^attack_steps is for attack 'pgd', got .*=7 and attack='one_step'$"
    ):
        Attacked(attack_steps=7)
    assert "attack_steps: steps (for attack pgd); by default 4" in Attacked.__doc__


@dataclasses.dataclass(frozen=True, kw_only=True)
class Several(Config):
    rules: tuple[str, ...] = setting(("gd",), "rules")
    rate: float = setting(0.5, "a rate", of={"rules": ["adam", "sign"]})


def test_a_field_of_one_of_several_values():
    assert Several(rules=("gd", "adam"), rate=0.1).rate == 0.1
    with pytest.raises(
        ValueError, match=r"^rate is for rules 'adam' or 'sign', got rate=0.1 and rules='gd'$"
    ):
        Several(rate=0.1)
    assert Several.of_old({"rules": ["gd", "sign"], "rate": 0.1})[1] == {"rules": ["gd", "sign"], "rate": 0.1}
    assert Several.of_old({"rules": ["gd"], "rate": 0.1})[1] == {"rules": ["gd"]}


def test_none_is_the_word_for_derived():
    assert Attacked().test_radius is None
    assert Attacked.from_dict(json.loads(json.dumps(Attacked().to_dict()))) == Attacked()
    assert type(Attacked(test_radius=1).test_radius) is float
    with pytest.raises(ValueError, match="test_radius must be a finite number above 0, got 0"):
        Attacked(test_radius=0)
    with pytest.raises(ValueError, match="radius must be a finite number, got None"):
        Attacked(radius=None)
    kind = annotation(Attacked, "test_radius")
    assert [from_text(kind, text) for text in ("none", "2", "x")] == [None, 2.0, "x"]


@dataclasses.dataclass
class Part:
    size: float = 0.0
    name: str = ""
    colour: str = "red"


def test_a_part_takes_the_fields_that_it_shares_with_a_config():
    assert Sample(size=3.0, name="b").into(Part) == Part(3.0, "b")
    assert Sample(size=3.0).into(Part, name="c", colour="blue") == Part(3.0, "c", "blue")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Narrow(Config):
    kind: typing.Literal["one", "two"] = setting("one", "a kind")
    size: float | None = setting(None, "a size; none: by the kind")
    count: int = setting(1, "a count", of={"kind": ["two"]})


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({"kind": "two", "size": 0.0, "count": 3}, {"kind": "two", "size": None, "count": 3}),
        ({"kind": "one", "size": 2.0, "count": 3, "gone": 1}, {"kind": "one", "size": 2.0}),
        ({"count": 3}, {}),  # beside the default kind it means nothing
    ],
)
def test_a_setting_keeps_what_it_has_of_the_fields_of_another_time(values, kept):
    name, fields = Narrow.of_old(values, "size")
    assert (name, fields) == ("Narrow", kept)
    Narrow.from_dict(fields)


def test_a_job_of_a_config_has_its_rule_and_its_times():
    config = TrainingConfig(steps=7, records=3, spacing="linear", batch_size=2)
    problem = Problem(Spiked(num_samples=4, num_test=4), Linear(), loss="squared")
    job = config.job(problem, root=3)
    assert (job.steps, list(job.when), job.batch_size, job.root) == (7, config.recording_times(), 2, 3)


def test_another_default_keeps_meaning_and_range():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Other(Sample):
        count: int = 7

    assert Other().count == 7
    assert "  count: a count; by default 7\n" in Other.__doc__
    with pytest.raises(ValueError, match="count must be an integer at least 0 and at most 100, got 101"):
        Other(count=101)
    assert Sample().count == 1


def test_help_of_a_setting_of_two_bases_shows_the_fields_of_both():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Other(Config):
        tall: int = setting(2, "a height")

    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Both(Narrow, Other):
        """Both."""

    assert {"kind", "size", "count", "tall"} <= {
        line.split(":")[0].strip() for line in Both.__doc__.splitlines()
    }


def test_what_is_derived_is_no_more_than_its_size():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Limited(Config):
        most: int = setting(3, "the most")
        some: int | None = setting(None, "none: derived", high="most")

    assert Limited().some is None
    with pytest.raises(ValueError, match="some must be at most most=3, got 4"):
        Limited(some=4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beside(Config):
    size: float | None = setting(None, "a size; none: derived", above=0)
    start: typing.Literal["one", "two"] = setting("one", "a start", of={"size": [None]})


def test_what_means_something_beside_a_derived_field_is_kept():
    assert Beside.of_old({"size": 0.0, "start": "two"}, "size")[1] == {"size": None, "start": "two"}
    assert Beside.of_old({"size": 1.0, "start": "two"}, "size")[1] == {"size": 1.0}


def test_a_field_that_there_is_not_is_told():
    with pytest.raises(TypeError, match=r"^Beside has no field 'sise'; did you mean size\?$"):
        Beside(sise=1.0)
    with pytest.raises(TypeError, match="Beside has no field 'q': its fields are size, start"):
        dataclasses.replace(Beside(), q=1.0)
    with pytest.raises(TypeError, match=r"fields of Beside go by name, size=\.\.\., got 64"):
        Beside(64)
    with pytest.raises(ValueError, match=r"sise: no such field; did you mean size\?; fields are size, start"):
        Beside.from_dict({"sise": 1.0})
    assert list(inspect.signature(Beside).parameters) == ["size", "start"]
    assert copy.copy(Beside(size=2.0)) == pickle.loads(pickle.dumps(Beside(size=2.0))) == Beside(size=2.0)
