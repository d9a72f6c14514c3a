"""Checkpoints: a folder that holds what a run has recorded and the state to go on from.

    run.json          what is being run; another run is refused here
    record-00012.npz  the observables at recording time 12
    state.npz         the state at the newest recording time whose record is complete
    result.nc         the finished result, once there is one

Every file is written under another name and moved, so a kill at any moment leaves whole files only.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dynamics.files import write_atomically, write_text


class Checkpoint:
    """One run's checkpoint folder.

    Raises: ValueError: the folder belongs to another run (the difference is named), or is damaged.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]):
        self.folder = Path(folder)
        self.identity = json.loads(json.dumps(identity))
        about = self.folder / "run.json"
        if about.exists():
            try:
                stored = json.loads(about.read_text(encoding="utf-8"))
            except (ValueError, OSError):
                raise ValueError(f"{about} is damaged: it is not the JSON of a checkpoint") from None
            if different := differences(stored, self.identity):
                raise ValueError(
                    f"{self.folder} holds a checkpoint of another run ({different}); "
                    "resume with the same settings, or choose another folder"
                )
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_text(about, json.dumps(self.identity, indent=1))

    @property
    def result(self) -> Path:
        """Where the finished result goes."""
        return self.folder / "result.nc"

    def save_record(self, position: int, row: dict[str, np.ndarray]) -> None:
        """Keep the observables of one recording time."""
        _save(self.folder / f"record-{position:05d}.npz", row)

    def save_state(self, position: int, leaves: list[np.ndarray]) -> None:
        """Keep the state at recording time `position`, whose record is already kept."""
        _save(self.folder / "state.npz", {"position": np.asarray(position)} | _numbered(leaves))

    def load(
        self, shapes: list[jax.ShapeDtypeStruct]
    ) -> tuple[int, list[np.ndarray], list[dict[str, np.ndarray]]] | None:
        """Position, state leaves of these `shapes`, and records so far; None if nothing is kept."""
        path = self.folder / "state.npz"
        if not path.exists():
            return None
        stored = _load(path)
        position = int(stored.pop("position", -1))
        expected = {f"leaf{i:04d}": (leaf.shape, leaf.dtype) for i, leaf in enumerate(shapes)}
        if position < 0 or {name: (leaf.shape, leaf.dtype) for name, leaf in stored.items()} != expected:
            raise ValueError(f"{path} is damaged: it does not hold the state of this run")
        rows = [_load(self.folder / f"record-{i:05d}.npz") for i in range(position + 1)]
        return position, [stored[name] for name in expected], rows

    def clear(self) -> None:
        """Remove state and records, once the result is kept."""
        left = ("record-*.npz", ".*.tmp")  # a kill in the middle of a write leaves a temporary file
        for path in [self.folder / "state.npz", *(p for pattern in left for p in self.folder.glob(pattern))]:
            path.unlink(missing_ok=True)


def differences(stored: Any, given: Any, path: str = "") -> str:
    """Where two JSON values differ, in words: `learning_rate: 0.1 there, 0.2 here`; "" if nowhere."""
    if isinstance(stored, dict) and isinstance(given, dict):
        names = [*stored, *(name for name in given if name not in stored)]
        parts = [differences(stored.get(n), given.get(n), f"{path}.{n}" if path else n) for n in names]
        return "; ".join(part for part in parts if part)
    return "" if stored == given else f"{path}: {_short(stored)} there, {_short(given)} here"


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _numbered(leaves):
    return {f"leaf{i:04d}": np.asarray(leaf) for i, leaf in enumerate(leaves)}


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.savez(file, **arrays)

    write_atomically(path, write)


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        raise ValueError(f"{path} is missing or damaged: the run cannot go on from this checkpoint") from None
