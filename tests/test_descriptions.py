"""Descriptions: what differs is told apart, the same in every process, whatever the value."""

import collections
import dataclasses
import enum
import functools
import json
import logging
import os
import pathlib
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import jaxtyped

from dynamics.descent import named, recipe_of, steepest
from dynamics.descriptions import checksum, describe, opaque
from dynamics.models.activations import Activation
from dynamics.observables.base import observable

ROOT = Path(__file__).parents[1]


def constant(rate):
    return lambda step: rate


def scaled(step, rate, power=1):
    return rate * step**power


class Schedule:
    """An object with `__call__`."""

    def __init__(self, rate):
        self.rate = rate

    def __call__(self, step):
        return self.rate


class Slotted:
    __slots__ = ("rate",)

    def __init__(self, rate):
        self.rate = rate


class Tuple(collections.namedtuple("Tuple", "rate")):
    pass


class OtherTuple(collections.namedtuple("OtherTuple", "rate")):
    pass


class Rates(list):
    pass


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass(frozen=True)
class Said:
    """Says that it equals others that differ."""

    name: str = "a"
    rate: float = dataclasses.field(default=0.0, compare=False)


class Net(nn.Module):
    """A network with a callable in it."""

    activation: Any = nn.relu

    @nn.compact
    def __call__(self, x):
        return self.activation(nn.Dense(1)(x)[:, 0])


def with_attribute(rate):
    def schedule(step):
        return schedule.rate

    schedule.rate = rate
    return schedule


def with_rule(rate):
    @jax.custom_jvp
    def identity(x):
        return x

    identity.defjvp(lambda primals, tangents: (primals[0], rate * tangents[0]))
    return identity


def measured(change):
    @observable()
    def total(params, problem, draw):
        return change(jnp.sum(params["W"]))

    return total


def labelled(label):
    rules = {"fast": optax.sgd(0.1), "slow": optax.sgd(0.01)}
    return optax.multi_transform(rules, lambda params: dict.fromkeys(params, label))


def of_class(rate):
    class Local:
        def __call__(self, step):
            return self.scale * step

        scale = rate

    return Local()


def of_base(rate):
    class Base:
        def value(self):
            return rate

    class Local(Base):
        pass

    return Local()


PAIRS = {
    "constants": (lambda step: 0.01, lambda step: 0.5),
    "int and float constants": (lambda step: 1, lambda step: 1.0),
    "names": (lambda step: jnp.sin(step), lambda step: jnp.cos(step)),
    "cells": (constant(0.01), constant(0.5)),
    "inner functions": (lambda step: (lambda: 1)(), lambda step: (lambda: 2)()),
    "sets in code": (lambda step: step in {1, 2}, lambda step: step in {1, 3}),
    "defaults": (lambda step, rate=0.01: rate, lambda step, rate=0.5: rate),
    "keyword defaults": (lambda step, *, rate=0.01: rate, lambda step, *, rate=0.5: rate),
    "attributes": (with_attribute(0.01), with_attribute(0.5)),
    "partial": (functools.partial(scaled, rate=0.01), functools.partial(scaled, rate=0.5)),
    "partial of another": (functools.partial(constant(1), rate=1), functools.partial(constant(2), rate=1)),
    "jit": (jax.jit(constant(0.01)), jax.jit(constant(0.5))),
    "vmap": (jax.vmap(constant(0.01)), jax.vmap(constant(0.5))),
    "jit of partial": tuple(jax.jit(functools.partial(scaled, rate=r)) for r in (0.01, 0.5)),
    "lru_cache": (functools.lru_cache(constant(0.01)), functools.lru_cache(constant(0.5))),
    "derivative": (with_rule(1.0), with_rule(2.0)),
    "objects": (Schedule(0.01), Schedule(0.5)),
    "methods": (Schedule(0.01).__call__, Schedule(0.5).__call__),
    "slots": (Slotted(0.01), Slotted(0.5)),
    "classes of one name": (of_class(0.01), of_class(0.5)),
    "bases of one name": (of_base(0.01), of_base(0.5)),
    "named tuples": (Tuple(1), OtherTuple(1)),
    "lists with a class": (Rates([1]), [1]),
    "enum": (Colour.RED, Colour.BLUE),
    "optax schedules": (optax.cosine_decay_schedule(0.01, 5), optax.cosine_decay_schedule(0.5, 5)),
    "optax rules": (optax.adam(0.01), optax.adam(0.5)),
    "labels": (labelled("fast"), labelled("slow")),
    "injected": tuple(optax.inject_hyperparams(optax.sgd)(learning_rate=r) for r in (0.01, 0.5)),
    "rules": tuple(recipe_of(steepest("l2", constant(r))) for r in (0.01, 0.5)),
    "observables": (measured(lambda x: x), measured(lambda x: -x)),
    "activations": (Net(lambda x: x), Net(lambda x: -x)),
    "initialisers": tuple(nn.Dense(1, kernel_init=nn.initializers.normal(s)) for s in (0.1, 0.2)),
    "submodules": (nn.Sequential([nn.Dense(1, name="a")]), nn.Sequential([nn.Dense(1, name="b")])),
    "a field called name": (Activation("relu"), Activation("gelu")),
    "fields that do not compare": (Said(rate=1.0), Said(rate=2.0)),
    "keys of dicts": ({1: 0}, {"1": 0}),
    "a dict like an array": ({"array": "int64[]", "entries": 3}, np.asarray(3)),
    "dtype": (np.ones(1, np.float32), np.ones(1)),
    "integers": (np.ones(1, int), np.ones(1)),
    "scalars": (np.int32(4), np.int64(4)),
    "many entries": (np.zeros(100), np.zeros(100) + 1e-300 * (np.arange(100) == 50)),
    "nan in arrays": (np.array([1.0, np.nan]), np.array([np.nan, 1.0])),
    "shape": (np.zeros((2, 50)), np.zeros((50, 2))),
    "objects in arrays": (np.array([Schedule(1)], object), np.array([Schedule(2)], object)),
    "bfloat16": (jnp.bfloat16(1), jnp.float16(1)),
    "keys": (jax.random.key(0), jax.random.key(1)),
    "generators": (jax.random.key(0), jax.random.key(0, impl="rbg")),
    "sets": ({1, 2}, {1, 3}),
    "complex": (1j, 2j),
    "bytes": (b"a", b"b"),
    "slices": (slice(1), slice(2)),
    "paths": (pathlib.Path("a"), pathlib.Path("b")),
    "types": (np.dtype("f4"), np.dtype("f8")),
    "patterns": (re.compile("a"), re.compile("b")),
    "queues": (collections.deque([1]), collections.deque([2])),
    "NumPy's generators": (np.random.default_rng(0), np.random.default_rng(1)),
    "functions of JAX": (jnp.tanh, jnp.sin),
    "functions of NumPy": (np.sin, np.cos),
    "functions and their names": (np.linalg.norm, "numpy.linalg.norm"),
}


@pytest.mark.parametrize("case", PAIRS)
def test_what_differs_is_told_apart(case):
    one, other = map(describe, PAIRS[case])
    assert checksum(one) != checksum(other)
    assert opaque(one) is opaque(other) is None
    assert json.loads(json.dumps(one, allow_nan=False)) == one


SAME = {
    "a function made anew": lambda: constant(0.1),
    "an object made anew": lambda: Schedule(0.1),
    "a class made anew": lambda: of_class(0.1),
    "nan": lambda: float("nan"),
    "infinity": lambda: -np.float64("inf"),
    "a named rule": lambda: recipe_of(named("adam", 0.1)),
    "a network": lambda: Net(),
    "a function that checks its types": lambda: jaxtyped(typechecker=None)(constant(0.1)),
    "a logger": lambda: logging.getLogger("dynamics"),
    "a module that is closed over": lambda: (lambda module: lambda x: module.sin(x))(jnp),
}


@pytest.mark.parametrize("case", SAME)
def test_what_is_the_same_is_described_alike(case):
    one, other = describe(SAME[case]()), describe(SAME[case]())
    assert checksum(one) == checksum(other)
    assert opaque(["somewhere", one]) is None
    assert "0x" not in json.dumps(one)


def test_a_number_is_itself():
    for value in (np.float64(0.5), jnp.asarray(0.5), np.asarray(0.5), 0.5):
        assert describe(value) == 0.5
    assert describe([True, 1, None, "s"]) == [True, 1, None, "s"]
    assert describe(np.arange(2.0)) == {"array": "float64[2]", "entries": [0.0, 1.0]}
    assert describe(np.linalg.norm) == {"function": "numpy.linalg.norm"}
    assert describe(constant(0.5))["holds"] == {"rate": 0.5}


def cycles():
    def even(n):
        return n == 0 or odd(n - 1)

    def odd(n):
        return n != 0 and even(n - 1)

    def itself(n):
        return itself

    def unfilled():
        return later

    within: list[Any] = []
    within.append(within)
    known = Schedule(None)
    known.rate = known
    yield from (even, itself, within, known, {"a": within})
    if within is None:
        later = 0
    yield unfilled


def test_cycles_end():
    for value in cycles():
        described = describe(value)
        assert opaque([described]) is None
        assert len(json.dumps(described)) < 600


def test_shared_functions_are_described_once():
    function = constant(0.1)
    for _ in range(30):
        function = functools.partial(lambda f, g, step: f(step) + g(step), function, function)
    assert len(json.dumps(describe(function))) < 10**6


def test_what_cannot_be_told_apart_says_so():
    deep = constant(0.1)
    for _ in range(300):
        deep = (lambda inner: lambda step: inner(step))(deep)

    class Broken:
        def __getattr__(self, name):
            raise RuntimeError

        __slots__ = ("rate",)

    for value in (threading.Lock(), deep, sys.stdout.buffer, (i for i in range(3)), Broken()):
        assert opaque(describe({"here": [value]})) is not None
    assert opaque(describe({"here": [0, Schedule(threading.Lock())]})) == ("here.1.rate", "_thread.lock")


PROCESS = """
import json, sys
import jax
from dynamics.descriptions import describe

class Schedule:
    names = {"a", "b", "c", "d"}
    def __init__(self, rate):
        self.rate, self.words = rate, {"x", "y", "z", "w"}
    def __call__(self, step):
        return self.rate if step in {"p", "q", "r", "s"} else object

print(json.dumps(describe([Schedule(0.1), Schedule(0.1).__call__, jax.jit(lambda t: t in {"k", "l", "m"})])))
"""


def test_descriptions_are_the_same_in_every_process():
    found = set()
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed, "JAX_PLATFORMS": "cpu"}
        run = subprocess.run(
            [sys.executable, "-c", PROCESS], env=environment, capture_output=True, text=True, check=True
        )
        found.add(run.stdout)
    assert len(found) == 1
    assert "opaque" not in found.pop()
