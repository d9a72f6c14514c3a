"""The grid of a sweep: values, ties and points, and what is refused."""

import math
import time

import numpy as np
import pytest

from dynamics import experiments
from dynamics.sweep import grid

Config = experiments.get("feature_averaging").Config
pytestmark = pytest.mark.usefixtures("untyped")


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("noise=0:2:5", "noise", [0, 0.5, 1, 1.5, 2]),
        ("learning-rate=1e-4:1e-1:4:log", "learning_rate", [1e-4, 1e-3, 1e-2, 1e-1]),
        ("num_clusters=2,4,8", "num_clusters", [2, 4, 8]),
        ("num_clusters=4:16:3:log", "num_clusters", [4, 8, 16]),
        ("activation=relu,gelu", "activation", ["relu", "gelu"]),
        ("radii=64,128", "radii", [64, 128]),
        ("use_bias=true,false", "use_bias", [True, False]),
    ],
)
def test_reads_an_axis(text, name, values):
    found, got = grid.read_axis(Config, text)
    assert found == name
    if isinstance(values[0], float | int) and not isinstance(values[0], bool):
        np.testing.assert_allclose(got, values, rtol=1e-12)
    else:
        assert got == values


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("noise", "needs NAME="),
        ("noise=1e308:-1e308:3", "far out"),
        ("dim=1:1e19:3", "far out"),
        ("noise=", "needs NAME="),
        ("nois=1,2", "did you mean noise?"),
        ("noise=0:2", "a:b:n"),
        ("noise=0:2:x", "a:b:n"),
        ("noise=0:2:1", "2 to 10000 values"),
        ("noise=0:inf:3", "two finite ends"),
        ("noise=0:2:3:log", "ends above 0"),
        ("noise=1:2:3:lin", "a:b:n"),
        ("activation=a:b:3", "ranges are for numbers"),
    ],
)
def test_refuses_an_axis(text, words):
    with pytest.raises(ValueError, match=words):
        grid.read_axis(Config, text)


@pytest.mark.parametrize(
    ("axes", "ties", "words"),
    [
        ({}, {}, "varies 1 to 3 settings"),
        ({"noise": [-1.0, 1.0]}, {}, "noise must be a finite number at least 0, got -1.0"),
        ({"noise": ["x"]}, {}, "noise must be"),
        ({"noise": []}, {}, "at least one value"),
        ({"noise": 3}, {}, "must be a list"),
        ({"noise": [1, 1.0]}, {}, "different values, got 1.0 twice"),
        ({"radii": [(1.0, 2.0)]}, {}, "radii must be"),
        ({"colour": [1]}, {}, "colour is not a setting"),
        ({"noise": np.linspace(0, 1, 101), "correlation": np.linspace(0, 0.5, 101)}, {}, "at most 10000"),
        ({"num_clusters": [4]}, {"num_clusters": "dim"}, "both tied and varied"),
        ({"num_clusters": [4]}, {"num_samples": "100*"}, "not arithmetic"),
        ({"num_clusters": [4]}, {"num_samples": "num_samples + 1"}, "not arithmetic"),
        ({"num_clusters": [4]}, {"num_samples": "__import__('os')"}, "not arithmetic"),
        ({"num_clusters": [4]}, {"num_samples": "dim.real"}, "not arithmetic"),
        ({"num_clusters": [4]}, {"num_samples": "colour"}, "colour is not a setting"),
        ({"num_clusters": [4]}, {"num_samples": "activation"}, "not a number"),
        ({"num_clusters": [4]}, {"num_samples": "num_clusters / 0"}, "cannot be computed"),
        ({"num_clusters": [4, 5]}, {"num_samples": "num_clusters / 3"}, "num_samples must be an integer"),
        (
            {"num_labels": [11, 12]},
            {},
            "no point of the sweep is possible: num_labels must be at most num_clusters",
        ),
    ],
)
def test_refuses_a_grid(axes, ties, words):
    with pytest.raises(ValueError, match=words):
        grid.make(Config(), axes, ties)


def test_points_ties_and_what_does_not_go_together():
    axes = {"num_clusters": [4, 8], "num_labels": [2, 4, 8]}
    ties = {
        "num_samples": "100*num_clusters",
        "learning_rate": "3.07/dim",
        "centre_norm": "sqrt(dim) - -1**2",
    }
    made = grid.make(Config(), axes, ties, {"dim": 64})
    assert made.shape == (2, 3)
    assert [config is None for config in made.configs] == [False, False, True, False, False, False]
    assert "num_labels must be at most num_clusters" in made.refused
    for (i, j), config in zip(made.indices, made.configs, strict=True):
        if config is not None:
            assert (config.num_clusters, config.num_labels) == ([4, 8][i], [2, 4, 8][j])
            assert config.num_samples == 100 * config.num_clusters
            assert config.learning_rate == 3.07 / 64
            assert config.centre_norm == math.sqrt(64) - -(1**2)
    assert made.where(4) == "num_clusters=8, num_labels=4"
    for settings, words in (({"num_labels": 2}, "both varied and set"), ({"num_samples": 3}, "tied and set")):
        with pytest.raises(ValueError, match=words):
            grid.make(Config(), axes, ties, settings)


def test_a_list_is_varied_over_lists_of_one():
    made = grid.make(Config(), {"radii": [1.0, 2.0]})
    assert made.axes["radii"] == (1.0, 2.0)
    assert [config.radii for config in made.configs] == [(1.0,), (2.0,)]


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        ("1e308*10", "too large"),
        ("1e308*10-1e308*10", "too large"),
        ("1e400", "too large"),
        ("noise*1e308*1e308", "too large"),
        ("10**19", "too large: 1e[+]19"),
        ("9223372036854775808", "too large: 9.22e[+]18"),
        ("dim" + "*dim" * 70, "too large"),
        ("exp(710)", "cannot be computed"),
        ("2**99999999", "cannot be computed"),
        ("9**9**9**9", "cannot be computed"),
        ("(-1)**0.5", "cannot be computed"),
        ("0/0", "cannot be computed: division by zero"),
        ("round(7,-999999999)", "round takes whole numbers of digits up to 300"),
        ("round(7,0.5)", "round takes whole numbers of digits"),
        ("-" * 2000 + "1", "at most 300 letters"),
        ("+".join(["1"] * 1500), "at most 300 letters"),
        ("9" * 5000, "at most 300 letters"),
        ("(" * 200 + "1", "not arithmetic"),
        ("max()", "not arithmetic"),
        ("min(dim)", "not arithmetic"),
        ("exp(1, 2)", "not arithmetic"),
        ("max(*[1, 2])", "not arithmetic"),
        ("1or 2", "not arithmetic"),
        ("20 # x", "not arithmetic"),
        ("2.5", "num_samples must be an integer"),
    ],
)
def test_refuses_a_formula(formula, words):
    begun = time.process_time()
    with pytest.raises(ValueError, match=words) as caught:
        grid.make(Config(), {"noise": [1.0, 2.0]}, {"num_samples": formula})
    assert time.process_time() - begun < 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("-" * 296 + "3000", 3000),
        ("+".join(["20"] * 100), 2000),
        ("max(1, " * 30 + "2000" + ")" * 30, 2000),
        ("round(2000.4)", 2000),
        ("round(2**11, -2)", 2000),
        ("2000*log(8, 2)/3", 2000),
    ],
)
def test_computes_a_formula(formula, value):
    made = grid.make(Config(), {"noise": [1.0]}, {"num_samples": formula})
    assert made.base.num_samples == value
    assert type(made.base.num_samples) is int


@pytest.mark.parametrize(
    "about",
    [None, 3, "x", [], {}, {"axes": {}}, {"axes": [], "ties": {}}, {"axes": {"noise": [1]}, "ties": None}],
)
def test_refuses_what_is_no_grid(about):
    with pytest.raises(ValueError, match="does not describe a grid"):
        grid.read(about)
