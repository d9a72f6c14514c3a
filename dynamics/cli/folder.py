"""The folder of a run: chosen or checked, written to, read, and taken back if the run is refused."""

import contextlib
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from dynamics.files import read_json, write_json

FORMAT = "training-dynamics-lab run 2"
WRITTEN = {".nc", ".json", ".png", ".pdf", ".svg", ".gif", ".html", ".tmp"}
"""Endings of the files that commands leave in a run's folder."""


class NewFolder(NamedTuple):
    """Where a new run goes.

    Attributes:
      path: the folder.
      chosen: whether its name was chosen here.
      already: the part of the path that was there before.
      replaces: the run's folder whose place it takes in the end; "": none.
    """

    path: Path
    chosen: bool
    already: Path
    replaces: str = ""


def new_folder(out: str | None, name: str, overwrite: bool = False) -> NewFolder:
    """The folder of a new run, made and found to be writable.

    Args:
      overwrite: where there is a run in it, make the new one beside it: `take_place` ends that.

    Raises: ValueError: it is a file, not empty, or cannot be written to.
    """
    if overwrite and out is None:
        raise ValueError("--overwrite needs --out DIR: a folder that is chosen for you is always new")
    found = _beside(Path(out)) if overwrite else find_folder(out, name)
    try:
        found.path.mkdir(parents=True, exist_ok=True)
        probe = found.path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"--out {found.path} cannot be written to ({error.strerror})") from None
    return found


def find_folder(out: str | None, name: str) -> NewFolder:
    """The folder that a new run will have; nothing is made yet.

    Raises: ValueError: it is a file, or not empty.
    """
    chosen = out is None
    folder = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}" if chosen else Path(out)
    while chosen and folder.exists():
        folder = folder.with_name(folder.name + "x")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder} is a file; give a new or empty folder")
    if folder.exists() and not all(map(_is_left_over, folder.iterdir())):
        raise ValueError(
            f"--out {folder} is not empty; give a new or empty folder, resume the run in it, or replace it "
            "by --overwrite"
        )
    already = next(path for path in (folder, *folder.parents) if path.exists())
    return NewFolder(folder, chosen, already)


def _beside(out: Path) -> NewFolder:
    """Where a run is made that is to take the place of the one in `out`, if there is one.

    Raises: ValueError: there is something else, or another run that is to replace it already.
    """
    if not out.is_dir() or all(map(_is_left_over, out.iterdir())):
        return find_folder(str(out), "")
    folder = out.resolve()
    others = [path.name for path in folder.iterdir() if not _is_written_by_a_run(path)]
    if others or not (folder / "run.json").exists():
        what = f"{min(others)}, which no run writes" if others else "no run"
        raise ValueError(f"--out {out} holds {what}: --overwrite replaces the folders of runs only")
    if Path.cwd().is_relative_to(folder):
        raise ValueError(f"--out {out} is where you are: go elsewhere to replace it")
    beside = folder.with_name(f"{folder.name}.new")
    if beside.exists():
        raise ValueError(
            f"{beside} is to replace {out} already: finish it by `dynamics resume {beside}`, or remove it"
        )
    return NewFolder(beside, False, folder.parent, str(folder))


def _is_written_by_a_run(path: Path) -> bool:
    if path.is_dir():
        return path.name == "checkpoint"
    return path.suffix in WRITTEN or path.name == ".merging" or _is_left_over(path)


def take_place(folder: Path, about: dict[str, Any]) -> Path:
    """Put a finished run in the place of the one that it replaces, if any; returns where it is then.

    At every moment one of them is in the place, or both are whole beside it.
    """
    import shutil

    if not about.get("replaces"):
        return folder
    place = Path(about["replaces"])
    if folder.resolve() != place:  # else a process was killed that had moved it already
        old = Path(tempfile.mkdtemp(prefix=f".{place.name}.", suffix=".old", dir=place.parent))
        with contextlib.suppress(FileNotFoundError):  # moved away by such a process, or removed
            place.replace(old)
        folder.rename(place)
        shutil.rmtree(old, ignore_errors=True)
    write_run(place, {name: value for name, value in about.items() if name != "replaces"})
    return place


def _is_left_over(path: Path) -> bool:
    """Whether a run that was killed as it began left this file."""
    return path.name == ".writable" or (path.name.startswith(".run.json.") and path.suffix == ".tmp")


def take_back(found: NewFolder) -> None:
    """Remove the folder of a run that was refused before anything was recorded, up to what was there."""
    folder = found.path
    if any(path.is_file() and path.name != "run.json" for path in folder.rglob("*")):
        return
    remove_checkpoint(folder)
    (folder / "run.json").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # another run may have come to lie beside it
        while folder != found.already:
            folder.rmdir()
            folder = folder.parent


def remove_checkpoint(folder: Path) -> None:
    """Remove what a run kept to go on from, once its result is written."""
    import shutil

    shutil.rmtree(folder / "checkpoint", ignore_errors=True)


def write_run(folder: Path, about: dict[str, Any]) -> None:
    """Say in the folder what is being run."""
    write_json(folder / "run.json", {"format": FORMAT, **about})


def read_run(folder: Path) -> dict[str, Any]:
    """What is being run in a folder; of a file that names no format, from before checksums, with a warning.

    Raises: ValueError: nothing, or the file is damaged.
    """
    path = folder / "run.json"
    if not path.exists():
        raise ValueError(f"{folder} is not the folder of a run: it has no run.json")
    about, verified = read_json(path)
    about = {"format": None, "experiment_sha256": "", **about}
    needed = {"experiment": str, "experiment_sha256": str, "config": dict, "seeds": list, "x64": bool}
    others = {"checkpoint": bool, "strategy": str, "engine": str, "command": str, "quantity": list}
    others |= {"replaces": str}
    sound = all(isinstance(about.get(name), kind) for name, kind in needed.items())
    sound &= all(isinstance(about.get(name, kind()), kind) for name, kind in others.items())
    sound = sound and all(isinstance(name, str) for name in about.get("quantity", ()))
    sound &= type(about.get("memory")) in (int, type(None))
    if not sound or about.pop("format") != (FORMAT if verified else None):
        raise ValueError(f"{path} is damaged: it does not describe a run")
    if not verified:
        warnings.warn(f"{path} was made before such files had checksums: it is not verified", stacklevel=2)
    return about


def refuse_earlier(folder: Path, about: dict[str, Any]) -> None:
    """Refuse to go on with a run that was begun before settings had names; what it finished is read still.

    Raises: ValueError: it is one, and has no result.
    """
    if "setting" not in about and not (folder / "result.nc").exists():
        again = f": `{about['command']}`" if about.get("command") else ""
        raise ValueError(
            f"{folder} was begun by an earlier version, whose unfinished runs cannot be resumed: start a new "
            f"run{again}"
        )


def refuse_other_config(stored: Any, given: Any) -> None:
    """Refuse to go on with a run under other settings.

    Raises: ValueError: the configs differ.
    """
    from dynamics.engine.checkpoint import differences

    if different := differences(stored.to_dict(), given.to_dict()):
        raise ValueError(f"a run is resumed as it was started ({different}); start a new run instead")
