"""Checkpoints: a folder that holds what a run has recorded and the states to go on from.

    run.json               what is being run; another run is refused here
    part-00016-8-1f2e.npz  finished runs: 8 of them, the first is run 16
    chunk-1f2e3d4c/        a chunk of runs that is being worked on:
        record-00012.npz       its observables at recording time 12
        state.npz              which runs, and their state at the newest recording time with a record
    result.nc              the finished result, once there is one

Every file is written under another name and moved, so a kill at any moment leaves whole files only. Each has
a checksum of its content, of its name and of the run: one that is damaged, or another's, is not gone on from.
Several processes may write parts into one folder; each reads what the others have finished.
"""

import contextlib
import json
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from dynamics import results
from dynamics.files import checksum, is_sealed, read_json, seal, write_atomically, write_json

Row = dict[str, np.ndarray]
FORMAT = 2  # 1 described runs in another way


class Part(NamedTuple):
    """What was observed of some runs.

    Attributes:
      runs: their numbers.
      recorded: by name, (runs, times, ...).
      ended: by name, (runs, ...); empty while the runs go on.
      first_nonfinite_step: (runs,).
    """

    runs: np.ndarray
    recorded: Row
    ended: Row
    first_nonfinite_step: np.ndarray


class Left(NamedTuple):
    """A chunk as it was left: its runs, the newest recording time, state leaves and records so far."""

    runs: np.ndarray
    position: int
    leaves: list[np.ndarray]
    rows: list[Row]


class Checkpoint:
    """One run's checkpoint folder.

    Raises: ValueError: the folder belongs to another run (the difference is named) or to another version of
      this library, or is damaged.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]):
        self.folder = Path(folder)
        self.identity = {"format": FORMAT} | json.loads(json.dumps(identity))
        self._run = identity_of(identity)
        about = self.folder / "run.json"
        if about.exists():
            stored, verified = read_json(about)
            if not verified:
                raise ValueError(
                    f"{about} is damaged, or of another version of this library, which kept no checksums: it "
                    f"cannot be verified; delete {self.folder}, or choose another folder"
                )
            if stored.get("format") != FORMAT:
                raise ValueError(
                    f"{self.folder} holds a checkpoint of another version of this library: go on with that "
                    "version, or choose another folder"
                )
            if different := differences(stored, self.identity):
                raise ValueError(
                    f"{self.folder} holds a checkpoint of another run ({different}); "
                    "resume with the same settings, or choose another folder"
                )
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(about, self.identity)

    @property
    def result(self) -> Path:
        """Where the finished result goes."""
        return self.folder / "result.nc"

    def finished(self) -> xr.Dataset:
        """The finished result.

        Raises: ValueError: it is damaged, or of another run.
        """
        result = results.load(self.result)
        if result.attrs.get("identity") != self._run:
            raise ValueError(
                f"{self.result} is of another run than its run.json: delete it to compute this run"
            )
        return result

    def save_part(self, part: Part) -> None:
        """Keep finished runs."""
        arrays = {"runs": part.runs, "first_nonfinite_step": part.first_nonfinite_step}
        arrays |= {f"recorded.{name}": value for name, value in part.recorded.items()}
        arrays |= {f"ended.{name}": value for name, value in part.ended.items()}
        name = f"part-{part.runs[0]:05d}-{len(part.runs)}-{_name(part.runs)}.npz"
        self._save(self.folder / name, arrays)

    def parts(self) -> list[Part]:
        """The finished runs so far, whichever process finished them."""
        return [self._part(path) for path in sorted(self.folder.glob("part-*.npz"))]

    def save_record(self, runs: np.ndarray, position: int, row: Row) -> None:
        """Keep the observables of one recording time of a chunk that goes on."""
        folder = self._chunk(runs)
        folder.mkdir(exist_ok=True)
        self._save(folder / f"record-{position:05d}.npz", {f"recorded.{name}": v for name, v in row.items()})

    def save_state(self, runs: np.ndarray, position: int, leaves: Sequence[np.ndarray]) -> None:
        """Keep a chunk's state at recording time `position`, whose record is already kept."""
        arrays = {"position": np.asarray(position), "runs": runs}
        arrays |= {f"leaf{i:04d}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        self._save(self._chunk(runs) / "state.npz", arrays)

    def left(self, shapes: Sequence[Any], todo: set[int]) -> list[Left]:
        """Chunks of runs in `todo` that were left at some time.

        Args:
          shapes: of the state leaves of one run.
        """
        found = []
        for path in sorted(self.folder.glob("chunk-*/state.npz")):
            try:
                stored = self._load(path, "the state")
            except ValueError:
                if path.exists():
                    raise
                continue  # another process has just finished it
            if not set(stored.get("runs", np.zeros(0, int)).tolist()) <= todo:
                continue
            position, runs = int(stored.pop("position", -1)), stored.pop("runs", np.zeros(0, int))
            expected = {
                f"leaf{i:04d}": ((len(runs), *leaf.shape), leaf.dtype) for i, leaf in enumerate(shapes)
            }
            if position < 0 or {n: (leaf.shape, leaf.dtype) for n, leaf in stored.items()} != expected:
                raise ValueError(f"{path} is damaged: it does not hold the state of this run")
            rows = [self._load(path.parent / f"record-{i:05d}.npz") for i in range(position + 1)]
            rows = [_named(row, "recorded.") for row in rows]
            found.append(Left(runs, position, [stored[name] for name in expected], rows))
        return found

    def forget(self, runs: np.ndarray) -> None:
        """Remove a chunk's state and records, once its part is kept."""
        shutil.rmtree(self._chunk(runs), ignore_errors=True)

    def clear(self) -> None:
        """Remove everything but the result, once that is kept."""
        left = ("part-*.npz", ".*.tmp")  # a kill in the middle of a write leaves a temporary file
        for path in (p for pattern in left for p in self.folder.glob(pattern)):
            with contextlib.suppress(OSError):
                path.unlink()
        for path in self.folder.glob("chunk-*"):
            shutil.rmtree(path, ignore_errors=True)

    def _chunk(self, runs):
        return self.folder / f"chunk-{_name(runs)}"

    def _place(self, path: Path) -> str:
        return f"{path.relative_to(self.folder).as_posix()} of {self._run}"

    def _save(self, path: Path, arrays: Row) -> None:
        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, **arrays)
            seal(temporary, self._place(path))

        write_atomically(path, write)

    def _load(self, path: Path, what: str = "what was recorded") -> Row:
        with contextlib.suppress(OSError, ValueError, EOFError, zipfile.BadZipFile):
            if is_sealed(path, self._place(path)):
                with np.load(path, allow_pickle=False) as stored:
                    return {name: stored[name] for name in stored.files}
        again = path if path.parent == self.folder else path.parent
        raise ValueError(
            f"{path} is missing or damaged: it does not hold {what} of this run; "
            f"delete {again}, and that is computed anew"
        )

    def _part(self, path: Path) -> Part:
        stored = self._load(path)
        recorded, ended = (_named(stored, kind) for kind in ("recorded.", "ended."))
        return Part(stored["runs"], recorded, ended, stored["first_nonfinite_step"])


def identity_of(run: dict[str, Any]) -> str:
    """A hash of all that the numbers of a run depend on."""
    return checksum(json.loads(json.dumps(run)))


def differences(stored: Any, given: Any, path: str = "") -> str:
    """Where two JSON values differ, in words: `learning_rate: 0.1 there, 0.2 here`; "" if nowhere.

    They are compared as text: 1, 1.0 and true are three values, and NaN is one.
    """
    if json.dumps(stored, sort_keys=True) == json.dumps(given, sort_keys=True):
        return ""
    lists = isinstance(stored, list) and isinstance(given, list) and len(stored) == len(given)
    if lists and any(isinstance(item, dict | list) for item in stored):
        stored, given = dict(enumerate(stored)), dict(enumerate(given))
    if isinstance(stored, dict) and isinstance(given, dict):
        names = [*stored, *(name for name in given if name not in stored)]
        parts = [differences(stored.get(n), given.get(n), f"{path}.{n}" if path else str(n)) for n in names]
        return "; ".join(part for part in parts if part)
    return f"{path}: {_short(stored)} there, {_short(given)} here"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _name(runs: np.ndarray) -> str:
    return f"{zlib.crc32(np.asarray(runs, np.int64).tobytes()):08x}"


def _named(stored: Row, kind: str) -> Row:
    return {name[len(kind) :]: value for name, value in stored.items() if name.startswith(kind)}
