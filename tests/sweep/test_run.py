"""A sweep is its separate runs: point by point, for numbers that share a program and for shapes."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from dynamics import experiments
from dynamics.engine import gather
from dynamics.results import load, save
from dynamics.sweep import grid

EXHAUSTIVE = pytest.mark.exhaustive
SMALL = {"steps": 3, "records": 3}
CASES = {
    "feature_averaging": (
        {"noise": [0.5, 0.75, 1.0]},
        {"supervision": "binary", "dim": 8, "num_clusters": 2, "num_samples": 12, "num_test": 6}
        | {"num_points": 3, "width": 1, "attack_steps": 0, **SMALL},
    ),
    "robust_feature_learning": (
        {"radius": [0.1, 0.3], "num_nonrobust": [3, 5]},
        {"training": "adversarial", "dim": 4, "num_classes": 2, "num_samples": 4, "num_test": 4}
        | {"noise": 0.0, "compact": True, "width": 2, "test_steps": 0, **SMALL},
    ),
    "flavors_of_margin": (
        {"init_scale": [0.1, 0.5, 1.0]},
        {"rescale": False, "dim": 3, "num_samples": 5, "num_test": 5, "norms": ("l2",)}
        | {"algorithms": ("sign",), "learning_rate": (0.1,), **SMALL},
    ),
}
pytestmark = pytest.mark.usefixtures("untyped")


def own():
    return experiments.get(str(Path(__file__).parents[1] / "experiments" / "own_experiment.py"))


def assert_is_the_separate_runs(dataset, experiment, config, axes, seeds):
    """Every variable of the first and the last point, to round-off."""
    for values in ([one[0] for one in axes.values()], [one[-1] for one in axes.values()]):
        at = dict(zip(axes, values, strict=True))
        alone = experiment.run(dataclasses.replace(config, **at), seeds=seeds)
        there = dataset.sel(at)
        assert set(alone.data_vars) == set(there.data_vars)
        for name, wanted in alone.data_vars.items():
            got = there[name].sel({dim: alone[dim].values for dim in wanted.dims if dim in alone.coords})
            got = got.transpose(*wanted.dims).values.astype(float)
            np.testing.assert_allclose(
                got, wanted.values.astype(float), rtol=1e-10, atol=1e-12, err_msg=f"{name} at {at}"
            )


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    "name",
    ["flavors_of_margin", "feature_averaging", "robust_feature_learning"],
)
def test_equals_the_separate_runs(name):
    axes, settings = CASES[name]
    experiment = experiments.get(name)
    preset = "linear" if name == "flavors_of_margin" else "small"
    config = dataclasses.replace(experiment.presets[preset], **settings)
    said = []
    dataset = experiment.sweep(axes, config, seeds=2, say=said.append)
    assert len(said) == 1  # one program for all points
    for dim, values in axes.items():
        np.testing.assert_array_equal(dataset[dim].values, values)
        assert dataset[dim].attrs["long_name"]
    assert_is_the_separate_runs(dataset, experiment, config, axes, 2)


def test_points_share_programs_whatever_the_number_is_used_for():
    experiment, said = own(), []
    axes = {"learning_rate": [0.5, 1.0], "momentum": [0.0, 0.5]}
    dataset = experiment.sweep(axes, seeds=[3, 5], say=said.append)
    # a momentum of 0 is no momentum, and a program of its own
    assert len(said) == 2
    assert all("2 different runs" in line for line in said)
    assert_is_the_separate_runs(dataset, experiment, experiment.presets["small"], axes, [3, 5])


def test_equal_points_are_computed_once(monkeypatch):
    experiment, runs = own(), []
    original = gather._side_by_side
    monkeypatch.setattr(gather, "_side_by_side", lambda jobs: runs.append(original(jobs)) or runs[-1])
    dataset = experiment.sweep({"normalize": [False], "decay": [0.0], "momentum": [0.0]}, seeds=1)
    assert dataset.test_accuracy.dims[:3] == ("normalize", "decay", "momentum")
    assert runs[0][1] == [0]
    assert dataset.normalize.values.tolist() == ["False"]


def test_impossible_points_are_empty_with_one_warning(tmp_path):
    experiment = own()
    changed = dataclasses.replace(experiment, presets={"small": _Picky()})
    with pytest.warns(UserWarning, match=r"1 of 2 points .* dim=5, num_samples=9: too few") as warned:
        dataset = changed.sweep({"dim": [2, 5], "num_samples": [9]}, seeds=2)
    assert len(warned) == 1
    empty = dataset.test_accuracy.isnull().all(["seed", "step"]).values
    np.testing.assert_array_equal(empty, [[False], [True]])
    save(dataset, tmp_path / "result.nc")
    again = load(tmp_path / "result.nc")
    assert changed.config_of(again).num_samples == 9
    assert grid.of(changed.config_of(again), again).shape == (2, 1)
    with pytest.raises(ValueError, match="no point of the sweep is possible: too few"):
        changed.sweep({"dim": [5, 6]}, _Picky(num_samples=9, dim=2), seeds=2)


_Base = own().Config


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Picky(_Base):
    def check(self):
        if self.num_samples < 2 * self.dim:
            raise ValueError("too few samples")


def test_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    experiment = own()
    axes = {"dim": [2, 3], "learning_rate": [0.5, 1.0]}
    whole = experiment.sweep(axes, seeds=2)
    execute, made = gather.execute, []

    def stopped(job, execution):
        made.append(execution.checkpoint)
        if len(made) == 2:
            raise KeyboardInterrupt
        return execute(job, execution)

    monkeypatch.setattr(gather, "execute", stopped)
    with pytest.raises(KeyboardInterrupt):
        experiment.sweep(axes, seeds=2, checkpoint=tmp_path)
    assert (made[0] / "result.nc").exists()
    kept = (made[0] / "result.nc").stat().st_mtime_ns
    monkeypatch.setattr(gather, "execute", execute)
    again = experiment.sweep(axes, seeds=2, checkpoint=tmp_path)
    assert (made[0] / "result.nc").stat().st_mtime_ns == kept
    for name in whole.data_vars:
        np.testing.assert_array_equal(whole[name].values, again[name].values)
    assert json.loads(again.attrs["sweep"])["axes"]["dim"] == [2, 3]


def test_a_config_of_another_experiment_is_refused():
    with pytest.raises(TypeError, match="needs its own Config"):
        own().sweep({"dim": [2]}, experiments.get("feature_averaging").Config())
