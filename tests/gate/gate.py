"""The gate: the runs that claims rest on, stored; judged anew, every verdict must be what it was.

    python tests/gate/gate.py             # judges the stored runs of all experiments, and compares
    python tests/gate/gate.py NAME ...    # of some
    python tests/gate/gate.py record NAME # makes the runs (minutes), and stores them and the verdicts

Nothing is trained to compare: a change of claims, quantities, laws or configs that changes any number, band,
statement or outcome of an ablation is told in seconds. Of each run the variables are kept that claims read.
"""

import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from dynamics import experiments
from dynamics.experiments.base import Experiment

HERE = Path(__file__).parent
SEEDS = 4
RELATIVE = 1e-5  # sums of float32 numbers in another order


class Stored(Experiment):
    """An experiment whose runs are looked up."""

    def run(self, config=None, *, seeds=SEEDS, **how):
        """The stored run of this config.

        Raises: LookupError: there is none.
        """
        for found, made_with in zip(self.runs, self.made_with, strict=True):
            there = found.seed.values.tolist() if "seed" in found.dims else list(seeds)
            if made_with == config and set(seeds) <= set(there):
                self.asked[id(found)] = sorted({*self.asked.get(id(found), ()), *seeds})
                return found.sel(seed=list(seeds)) if "seed" in found.dims else found
        raise LookupError(f"{self.name}: no stored run of {config} for seeds {seeds}")


def stored(name: str, runs: list[xr.Dataset]) -> Stored:
    """The experiment, whose runs are these."""
    fields = {field.name for field in dataclasses.fields(Experiment)}
    own = experiments.get(name)
    made = Stored(**{field: getattr(own, field) for field in fields})
    object.__setattr__(made, "runs", runs)
    object.__setattr__(made, "made_with", [made.config_of(run) for run in runs])
    object.__setattr__(made, "asked", {})
    return made


def load(name: str) -> list[xr.Dataset]:
    """The stored runs, as `xr.open_groups` reads them, which takes five times as long for many small ones."""
    with h5py.File(HERE / f"{name}.nc") as file:
        return [xr.decode_cf(_raw(file[group])) for group in sorted(file)]


def _raw(group):
    """A group as it stands in the file."""
    variables = {}
    for name, stored in group.items():
        attributes = {key: _text(value) for key, value in stored.attrs.items() if key not in _OF_HDF5}
        if "DIMENSION_LIST" in stored.attrs:
            dims = [group.file[axis[0]].name.rpartition("/")[2] for axis in stored.attrs["DIMENSION_LIST"]]
        else:  # a dimension of its own, or a single number
            dims = [name] * stored.ndim
        if stored.attrs.get("NAME", b"").startswith(b"This is a netCDF dimension but not"):
            continue
        is_text = h5py.check_string_dtype(stored.dtype)
        values = np.asarray(stored.asstr()[()], str) if is_text else stored[()]
        variables[name] = (dims, values, attributes)
    return xr.Dataset(variables, attrs={key: _text(value) for key, value in group.attrs.items()})


_OF_HDF5 = {"CLASS", "NAME", "REFERENCE_LIST", "DIMENSION_LIST", "_Netcdf4Dimid", "_Netcdf4Coordinates"}


def _text(value):
    return value.decode() if isinstance(value, bytes) else value[0] if np.shape(value) == (1,) else value


def judged(name: str, runs: list[xr.Dataset], **how) -> dict[str, dict]:
    """Every verdict as JSON, by claim."""
    found = stored(name, runs).check(seeds=SEEDS, ablations=True, **how)
    kept = ("statement", "source", "predicted", "per_seed", "holds", "tolerance", "ablation")
    return {v.id: json.loads(json.dumps({key: v.to_dict()[key] for key in kept})) for v in found}


def differences(old, new, where: str = "") -> Iterator[str]:
    """Where two verdicts differ, in words; numbers by more than rounding."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from differences(old.get(key), new.get(key), f"{where}/{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{where}[{number}]")
    else:
        numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (old, new))
        same = np.isclose(old, new, rtol=RELATIVE, atol=1e-12) if numbers else old == new
        if not same:
            yield f"{where}: {old!r} is now {new!r}"


def compare(name: str) -> list[str]:
    """What has changed of an experiment's verdicts."""
    old = json.loads((HERE / f"{name}.json").read_text())
    return list(differences(old, judged(name, load(name)), name))


def needed(name: str, runs: list[xr.Dataset]) -> list[xr.Dataset]:
    """The runs with only those variables whose lack would change a verdict, or prevent it."""
    experiment = stored(name, runs)
    experiment.check(seeds=SEEDS, ablations=True)
    asked = dict(experiment.asked)
    runs = [run.sel(seed=asked[id(run)]) if "seed" in run.dims else run for run in runs if id(run) in asked]
    whole = judged(name, runs)
    users: dict[int, set[str]] = {}
    for claim in whole:
        one = stored(name, runs)
        one.check(seeds=SEEDS, ablations=True, claims=[claim])
        for number, run in enumerate(runs):
            if id(run) in one.asked:
                users.setdefault(number, set()).add(claim)
    for number in range(len(runs)):
        claims = [claim for claim in whole if claim in users[number]]
        for fewer in (
            *(lambda run, name=variable: run.drop_vars(name) for variable in runs[number].variables),
            lambda run: run.isel(step=[0, -1]),
            lambda run: run.isel(step=slice(None, None, 4)),
            *(lambda run, name=variable: short(run, name) for variable in runs[number].data_vars),
        ):
            try:
                tried = [*runs[:number], fewer(runs[number]), *runs[number + 1 :]]
                same = not any(differences({c: whole[c] for c in claims}, judged(name, tried, claims=claims)))
            except (KeyError, AttributeError, IndexError, TypeError, ValueError):
                same = False
            if same:
                runs = tried
    return runs


def short(run: xr.Dataset, variable: str) -> xr.Dataset:
    """The run with a variable in float32, of whose 24 digits 8 are 0: 16 are half of the size when packed.

    Raises: ValueError: it holds no such numbers.
    """
    if variable not in run or run[variable].dtype.kind != "f":
        raise ValueError(f"{variable} holds no numbers of floating point")
    values = np.ascontiguousarray(run[variable].values, np.float32)
    whole = (values.view(np.uint32) + np.uint32(0x80)) & np.uint32(0xFFFFFF00)
    return run.assign({variable: run[variable].copy(data=whole.view(np.float32))})


def record(name: str, runs: list[xr.Dataset]) -> None:
    """Store an experiment's runs and verdicts."""
    path = HERE / f"{name}.nc"
    path.unlink(missing_ok=True)
    for number, run in enumerate(needed(name, runs)):
        run.attrs = {key: run.attrs[key] for key in ("experiment", "setting", "config") if key in run.attrs}
        packed = {
            variable: {"zlib": True, "complevel": 9, "shuffle": True}
            for variable in run.variables
            if run[variable].ndim
        }
        run.to_netcdf(path, mode="a", engine="h5netcdf", group=f"run{number:03d}", encoding=packed)
    (HERE / f"{name}.json").write_text(json.dumps(judged(name, load(name)), indent=1) + "\n")


class Made(Stored):
    """An experiment whose runs are made, and kept."""

    def run(self, config=None, **how):
        """A run, made."""
        self.runs.append(Experiment.run(self, config, **how))
        return self.runs[-1]


def make(name: str) -> list[xr.Dataset]:
    """All runs of an experiment's check with ablations."""
    made = stored(name, [])
    made.__class__ = Made
    made.check(seeds=SEEDS, ablations=True, say=lambda line: print(line, file=sys.stderr))
    return made.runs


def main(argv: list[str]) -> int:
    """Compare, or record."""
    if argv[:1] == ["record"]:
        for name in argv[1:]:
            record(name, make(name))
        return 0
    changed = [line for name in argv or experiments.names() for line in compare(name)]
    print("\n".join(changed) or "every verdict is what it was")
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
