"""Results: what a file must be to be read, and that writing is all or nothing."""

import json
import os
import random
import shutil
import subprocess
import warnings
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


def test_every_kind_of_value_and_attribute_is_read_back_and_saved_again(tmp_path):
    nans = np.array([0x7FC00001, 0xFFC12345, 0x7F800000, 0x80000000], np.uint32).view(np.float32)
    kinds = {f"kind_{d}": ("x", np.arange(4).astype(d)) for d in ("i1", "u2", "f2", "f8", "?")}
    ds = xr.Dataset(
        {
            "nans": ("x", nans),
            "none": (("empty", "x"), np.zeros((0, 4))),
            "scalar": 3.5,
            "word": "ä😀",
            **kinds,
        },
        coords={"x": ["ä", "", "😀", "a longer one"], "one": 7},
        attrs={"int": 3, "float": 0.1, "list": [1, 2], "array": np.array([0.5, np.nan]), "word": "ä\x1b😀"},
    )
    ds.nans.attrs["units"] = "µ"
    path = tmp_path / "result.nc"
    for _ in range(2):
        results.save(ds, path)
        back = results.load(path)
        xr.testing.assert_identical(back, ds.assign_attrs(format=results.FORMAT, complete=1))
        np.testing.assert_array_equal(back.nans.values.view(np.uint32), nans.view(np.uint32))
        summed = {n for n, v in back.variables.items() if v.encoding.get("fletcher32")}
        assert summed == {n for n, v in ds.variables.items() if v.dtype.kind != "U" and v.ndim and v.size}
        ds = back
    changed = back.assign(scalar=4.5).isel(x=[0, 1])  # and so is what a user has made of it
    results.save(changed, path)
    xr.testing.assert_identical(results.load(path), changed)


@pytest.mark.parametrize("value", [None, True, {"a": 1}, object()])
@pytest.mark.parametrize("of", ["result", "variable"])
def test_an_attribute_that_netcdf_has_not_is_refused(tmp_path, of, value):
    ds = made()
    (ds if of == "result" else ds["count"]).attrs["mine"] = value
    with pytest.raises(TypeError, match="attribute mine must be text or numbers"):
        results.save(ds, tmp_path / "result.nc")
    assert not list(tmp_path.iterdir())


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


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.exhaustive)])
def test_no_corruption_is_believed(tmp_path, count, reference):
    corrupted = reference("corruption").corrupted
    path, chance = tmp_path / "result.nc", random.Random(0)
    results.save(made(config=json.dumps({"dim": 3})), path)
    whole = path.read_bytes()
    changed = 0
    for _ in range(count):
        content = corrupted(whole, chance)
        if content != whole:
            changed += 1
            path.write_bytes(content)
            refused("is not a readable result", path)
    assert changed > 0.8 * count


def test_a_part_read_by_others_is_verified_by_its_chunks(tmp_path):
    path = tmp_path / "result.nc"
    results.save(made(), path)
    content, value = bytearray(path.read_bytes()), np.float64(50.2).tobytes()
    assert content.count(value) == 1
    content[content.index(value)] ^= 1
    path.write_bytes(content)
    with xr.open_dataset(path, engine="h5netcdf") as opened:
        assert opened["count"].values.tolist() == made()["count"].values.tolist()
        with pytest.raises(OSError, match=r"[Ff]letcher32|filter"):
            opened["quantity"].load()


def before_checksums(path, **attrs):
    """As results were written before they had checksums."""
    made().assign_attrs(format="training-dynamics-lab result 1", **attrs).to_netcdf(path, engine="h5netcdf")


def test_a_result_of_before_checksums_says_that_it_is_not_verified(tmp_path):
    path = tmp_path / "result.nc"
    before_checksums(path)
    with pytest.warns(UserWarning, match=r"result\.nc was made before results had checksums: it is not ver"):
        old = results.load(path)
    xr.testing.assert_equal(old, made())
    results.save(old, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        xr.testing.assert_identical(results.load(path), made())


def test_only_the_version_makes_it_one_of_before_checksums(tmp_path):
    path = tmp_path / "result.nc"
    results.save(made(), path)
    whole = path.read_bytes()
    new, old = b"lab result 2", b"lab result 1"
    assert whole.count(new) == 1
    path.write_bytes(whole.replace(new, old))
    refused("is damaged, or was changed by another program", path)
    path.write_bytes(whole.replace(new, old)[:-40])  # and without its checksum
    refused("says that it has no checksums, but has some", path)
    path.write_bytes(whole[:-40])
    refused("truncated, damaged, or written by another program", path)


def test_another_programs_copy_is_refused_with_the_way_out(tmp_path):
    path = tmp_path / "result.nc"
    results.save(made(), path)
    results.load(path).to_netcdf(path, engine="h5netcdf")
    refused(r"written by another program than `dynamics\.results\.save`", path)


@pytest.mark.parametrize("name", ["config", "versions", "sweep", "problem", "complete", "wall_s"])
@pytest.mark.parametrize("value", ['{"dim": 3, "st', 3.5, [1, 2]])
def test_a_damaged_attribute_of_an_old_result_names_the_file(tmp_path, name, value):
    if isinstance(value, float) and name in ("complete", "wall_s"):
        value = "three"
    path = tmp_path / "old.nc"
    before_checksums(path, **{name: value})
    with pytest.warns(UserWarning, match="not verified"):
        refused(rf"old\.nc is damaged: its attribute {name} is not", path)


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


# --- the revision of the code


def git(folder, *words):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    run = subprocess.run(
        ["git", *who, *words], cwd=folder, env=clean, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()


def repository(folder):
    """A repository of one commit, which holds this package's module; its revision."""
    (folder / "dynamics").mkdir(parents=True)
    (folder / "kernels").mkdir()
    (folder / "kernels" / "one.py").write_text("")
    shutil.copy(results.__file__, folder / "dynamics" / "results.py")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", folder.name)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def revision(monkeypatch):
    """The revision that the module would say if it lay in this folder."""

    def of(folder):
        monkeypatch.setattr(results, "__file__", str(folder / "dynamics" / "results.py"))
        return results.git_revision.__wrapped__()

    return of


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_revision_is_that_of_the_code_whatever_git_is_told(tmp_path, monkeypatch, revision):
    ours = repository(tmp_path / "ours")
    repository(tmp_path / "theirs")
    git(tmp_path / "ours", "worktree", "add", "-q", str(tmp_path / "linked"), "-b", "other")
    theirs = str(tmp_path / "theirs")
    for name, value in {
        "GIT_DIR": f"{theirs}/.git",
        "GIT_WORK_TREE": theirs,
        "GIT_INDEX_FILE": f"{theirs}/.git/index",
        "GIT_OBJECT_DIRECTORY": f"{theirs}/.git/objects",
        "GIT_COMMON_DIR": f"{theirs}/.git",
        "GIT_PREFIX": "kernels/",
        "GIT_NAMESPACE": "theirs",
        "GIT_LITERAL_PATHSPECS": "0",
        "GIT_TRACE": "1",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.worktree",
        "GIT_CONFIG_VALUE_0": theirs,
    }.items():
        monkeypatch.setenv(name, value)
    assert revision(tmp_path / "ours") == ours
    assert revision(tmp_path / "linked") == ours  # where .git is a file
    (tmp_path / "ours" / "kernels" / "one.py").write_text("edited")
    assert revision(tmp_path / "ours") == ours + "+changes"
    assert revision(tmp_path / "linked") == ours


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_no_repository_above_is_cited(tmp_path, revision):
    repository(tmp_path / "theirs")
    for name in ("installed", "broken"):
        shutil.copytree(tmp_path / "theirs" / "dynamics", tmp_path / "theirs" / name / "dynamics")
    (tmp_path / "theirs" / "broken" / ".git").mkdir()  # git passes over what is no repository
    assert revision(tmp_path / "theirs" / "installed") == ""
    assert revision(tmp_path / "theirs" / "broken") == ""
