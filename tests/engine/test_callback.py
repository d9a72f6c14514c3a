"""A callback at recordings: it sees what the result will have, and what it raises loses nothing."""

import struct

import numpy as np
import pytest
import xarray as xr
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event

from dynamics.data import LinearTeacher
from dynamics.descent import steepest
from dynamics.engine import batching
from dynamics.engine.simulate import Interrupted, simulate
from dynamics.models import Homogeneous
from dynamics.observables import parameters, training_loss
from dynamics.parts import Axis
from dynamics.problem import Problem

WHEN = [0, 2, 5]
PROBLEM = Problem(LinearTeacher(3, 6, 4), Homogeneous((2,)), init_scale=Axis("scale", [0.5, 1.0]))


def run(callback=None, **changes):
    observe = {"loss": training_loss, "parameters": parameters}
    how = {"steps": 5, "observe": observe, "when": WHEN, "seeds": [0, 2, 7]} | changes
    return simulate(PROBLEM, steepest("l2", 0.1), callback=callback, **how)


@pytest.fixture(scope="module")
def whole():
    told = []
    return run(lambda *given: told.append(given)), told


def same(part, result):
    """Whether what was told is in the result, bit for bit."""
    for name in ("loss", "parameters"):
        expected = result[name].sel({dim: part[dim] for dim in ("scale", "seed")})
        xr.testing.assert_equal(part[name], expected.drop_vars("step"))


def test_every_recording_of_all_seeds_is_told(whole):
    result, told = whole
    assert [step for step, _ in told] == WHEN
    for step, values in told:
        assert values.loss.dims == ("scale", "seed")
        assert values.loss.attrs["long_name"] == result.loss.attrs["long_name"]
        assert values.attrs["job"] == "training"
        same(values, result.sel(step=step))


@pytest.mark.exhaustive
def test_seeds_that_do_not_advance_together_are_told_apart(whole, monkeypatch):
    result, _ = whole
    monkeypatch.setattr(batching, "MAX_LANES", 1)
    told = []
    run(lambda *given: told.append(given), strategy="map")
    assert [step for step, _ in told] == 6 * WHEN
    assert all(values.loss.size == 1 for _, values in told)
    for step, values in told:
        np.testing.assert_allclose(
            values.loss, result.loss.sel(step=step, seed=values.seed, scale=values.scale)
        )


def test_an_incomplete_grid_is_told_with_nan(whole, tmp_path):
    """Three of the six runs of a share, which is shuffled, are of both scales and different seeds."""
    result, _ = whole
    told = []
    with pytest.raises(Exception, match="3 of 6 runs are done"):
        run(lambda *given: told.append(given), share=(0, 2), checkpoint=tmp_path)
    missing = np.isnan(told[0][1].loss)
    assert int((~missing).sum()) == 3
    np.testing.assert_array_equal(told[0][1].parameters.isnull().all("parameter"), missing)
    expected = result.loss.sel(step=0, seed=told[0][1].seed)
    np.testing.assert_array_equal(told[0][1].loss, expected.where(~missing))


def test_what_it_raises_ends_the_run_and_loses_nothing(whole, tmp_path):
    result, _ = whole
    seen = []

    def full(step, values):
        seen.append(step)
        if step == 2 and seen == [0, 2]:
            raise OSError("the disk is full")

    with pytest.raises(Interrupted, match=r"the callback raised OSError at step 2: the disk is full") as info:
        run(full, checkpoint=tmp_path)
    assert isinstance(info.value.__cause__, OSError)
    xr.testing.assert_equal(info.value.dataset.loss, result.loss.sel(step=[0, 2]))
    again = run(full, checkpoint=tmp_path)  # another callback is the same run
    assert seen == [0, 2, 5]
    xr.testing.assert_equal(again.drop_attrs(), result.drop_attrs())
    assert again.attrs["identity"] == result.attrs["identity"]


def test_a_tensorboard_writer(whole, tmp_path):
    result, _ = whole
    with SummaryWriter(str(tmp_path)) as writer:

        def write(step, values):
            for seed in values.seed.values:
                writer.add_scalar(f"loss/{seed}", float(values.loss.sel(seed=seed, scale=0.5)), step)

        run(write)
    (path,) = tmp_path.iterdir()
    found = {}
    for event in events(path.read_bytes()):
        for value in event.summary.value:
            found[value.tag, event.step] = value.simple_value
    assert len(found) == 9
    for (tag, step), loss in found.items():
        expected = result.loss.sel(seed=int(tag.removeprefix("loss/")), scale=0.5, step=step)
        assert loss == np.float32(expected)


def events(content):
    """The events in a file of TensorBoard: each with its length before it, and checksums."""
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        yield Event.FromString(content[12 : 12 + length])
        content = content[16 + length :]


def test_a_callback_that_is_none_is_refused(untyped):
    with pytest.raises(TypeError, match="callback must be a function of a step and a Dataset, got 'print'"):
        run("print")
