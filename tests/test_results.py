"""Results: what a file must be to be read, and that writing is all or nothing."""

import json
import os
from pathlib import Path

import jax
import numpy as np
import pytest
import xarray as xr

from dynamics import results
from dynamics.observables.base import observable


@observable(("neuron",), about="a quantity", units="m")
def quantity(params, problem, draw):
    return params


@observable()
def count(params, problem, draw):
    return params


def made(neurons=3, complete=1, first=(-1, 2), **attrs):
    """A result of two seeds, three recording times and one axis of two values."""
    first = np.asarray(first)
    runs = np.arange(len(first))
    times = np.array([0, 2, 5])
    recorded = {
        "quantity": 10.0 * times[None, :, None] + runs[:, None, None] + 0.1 * np.arange(neurons),
        "count": runs[:, None] + times,
    }
    return results.assemble(
        recorded,
        {"end": 1.0 * runs},
        first_nonfinite_step=first,
        axes={},
        seeds=[4, 9],
        times=[0, 2, 5],
        observables={"quantity": quantity, "count": count, "end": count},
        attrs={"complete": complete, "wall_s": 1.5, "problem": "{}", "descent": json.dumps({"x": 1})} | attrs,
    )


def test_assembled_values_are_labelled_and_blanked_from_divergence_on():
    ds = made()
    assert ds["quantity"].dims == ("seed", "step", "neuron")
    assert ds["count"].dims == ("seed", "step")
    assert ds["end"].dims == ("seed",)
    assert float(ds["quantity"].sel(seed=4, step=5)[2]) == 50.2
    np.testing.assert_array_equal(np.isnan(ds["quantity"].sel(seed=9)).all("neuron"), [False, True, True])
    assert not np.isnan(ds["quantity"].sel(seed=4)).any()
    np.testing.assert_array_equal(ds["count"].sel(seed=9), [1, 3, 6])  # integers stay
    np.testing.assert_array_equal(np.isnan(ds["end"]), [False, True])
    assert ds["quantity"].attrs == {"long_name": "a quantity", "units": "m"}


def test_axes_come_before_seeds():
    ds = results.assemble(
        {"count": np.arange(6.0)[:, None]},
        {},
        first_nonfinite_step=np.full(6, -1),
        axes={"noise": np.array([0.5, 1.0, 2.0])},
        seeds=[0, 7],
        times=[3],
        observables={"count": count},
        attrs={},
    )
    assert ds["count"].dims == ("noise", "seed", "step")
    assert float(ds["count"].sel(noise=1.0, seed=7, step=3)) == 3


def test_a_misnamed_dimension_is_refused():
    with pytest.raises(ValueError, match=r"observable 'count' names dimensions \(\) but has 1"):
        results.assemble(
            {"count": np.zeros((1, 1, 2))},
            {},
            first_nonfinite_step=np.array([-1]),
            axes={},
            seeds=[0],
            times=[0],
            observables={"count": count},
            attrs={},
        )


def test_round_trip(tmp_path):
    ds = made()
    results.save(ds, tmp_path / "result.nc")
    for place in (tmp_path, tmp_path / "result.nc", str(tmp_path)):
        back = results.load(place)
        xr.testing.assert_identical(back, ds)
    assert [p.name for p in tmp_path.iterdir()] == ["result.nc"]


def test_provenance_can_be_saved(tmp_path):
    about = results.provenance()
    versions = json.loads(about["versions"])
    assert versions["jax"] == jax.__version__
    assert versions["xarray"] == xr.__version__
    assert f"{os.cpu_count()} cores" in about["machine"]
    results.save(made(**about), tmp_path / "result.nc")
    assert results.load(tmp_path).attrs["created"] == about["created"]


def refused(message, *args, **kwargs):
    with pytest.raises(ValueError, match=message) as caught:
        results.load(*args, **kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.9])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "result.nc"
    results.save(made(), path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    refused("is not a readable result", path)


def test_what_is_not_netcdf_is_refused(tmp_path):
    path = tmp_path / "result.nc"
    path.write_text("weights\n")
    refused("is not a readable result", path)


def test_foreign_netcdf_is_refused(tmp_path):
    path = tmp_path / "weather.nc"
    xr.Dataset({"rain": ("day", [1.0, 2.0])}).to_netcdf(path, engine="h5netcdf")
    refused("is a netCDF file, but not a result of this library", path)


def test_nothing_there_is_refused(tmp_path):
    refused("does not exist: give a run's folder or its result.nc", tmp_path / "no")
    refused("does not exist", tmp_path)


def test_an_interrupted_run_is_read_only_on_demand(tmp_path):
    results.save(made(complete=0), tmp_path / "partial.nc")
    refused("holds an interrupted run: resume it with `dynamics resume", tmp_path)
    refused("is of an interrupted run", tmp_path / "partial.nc")
    assert results.load(tmp_path, partial=True).attrs["complete"] == 0
    results.save(made(), tmp_path / "result.nc")  # a finished one comes first
    assert results.load(tmp_path, partial=True).attrs["complete"] == 1


def test_a_failing_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "result.nc"
    results.save(made(), path)
    before = path.read_bytes()

    def half(self, data):
        with self.open("wb") as file:
            file.write(data[:100])
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(OSError, match="no space left"):
        results.save(made(neurons=5), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["result.nc"]


def test_join_pads_what_a_part_lacks():
    joined = results.join({"narrow": made(2), "wide": made(4)}, "network")
    assert joined["network"].values.tolist() == ["narrow", "wide"]
    assert joined.sizes["neuron"] == 4
    narrow = joined["quantity"].sel(network="narrow")
    assert np.isnan(narrow.isel(neuron=[2, 3])).all()
    np.testing.assert_array_equal(
        narrow.isel(neuron=[0, 1]).transpose("seed", "step", "neuron"), made(2)["quantity"]
    )
    np.testing.assert_array_equal(
        joined["quantity"].sel(network="wide").transpose("seed", "step", "neuron"), made(4)["quantity"]
    )
    assert joined.attrs["wall_s"] == 3.0
    assert joined.attrs["complete"] == 1
    assert json.loads(joined.attrs["descent"]) == {"narrow": {"x": 1}, "wide": {"x": 1}}
    assert results.join({"a": made(), "b": made(complete=0)}, "part").attrs["complete"] == 0


def test_join_keeps_variables_that_one_part_lacks(tmp_path):
    joined = results.join({"a": made(), "b": made().drop_vars("end")}, "part")
    assert np.isnan(joined["end"].sel(part="b")).all()
    assert float(joined["end"].sel(part="a", seed=4)) == 0
    results.save(joined, tmp_path / "result.nc")
    xr.testing.assert_identical(results.load(tmp_path), joined)


def test_a_condition_passes_between_two_records():
    steps = [0, 10, 30, 100]
    happened = [[0, 0, 1, 1], [0, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0]]
    values = xr.DataArray(np.asarray(happened, bool), dims=("seed", "step"), coords={"step": steps})
    before, after = results.passed_between(values)
    np.testing.assert_array_equal(before, [10, 0, 0, 100])
    np.testing.assert_array_equal(after, [30, 10, 0, np.inf])
    with pytest.raises(ValueError, match="dimension step"):
        results.passed_between(values.rename(step="time"))
