"""Files that are either whole or not there."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, then put it in the place of `path` in one move.

    Raises: OSError: the folder cannot be written to, or the disk is full; `path` is then as it was.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def check_writable(option: str, path: Path) -> None:
    """Refuse a file that could not be written in the end.

    Raises: ValueError: a folder, or in a folder that is not there or read-only; `option` is its name there.
    """
    if path.is_dir():
        raise ValueError(f"{option} {path} is a folder; give a file")
    try:
        tempfile.TemporaryFile(dir=path.absolute().parent).close()
    except OSError:
        raise ValueError(
            f"{option} {path} cannot be written: its folder does not exist or is read-only"
        ) from None
