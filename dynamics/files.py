"""Files that are either whole or not there, and whose checksum tells whether they are as they were written.

A binary file ends with a line that holds the SHA-256 of all before it; readers of netCDF and of .npz pass
over what follows their content. It is compared before such a reader sees the file, since HDF5 may hang on a
damaged one. JSON holds its checksum as one more field.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_SEAL = b"\ntraining-dynamics-lab sha256 %s\n"
_SEAL_SIZE = len(_SEAL % bytes(64))
_IS_SEAL = re.compile(_SEAL % rb"([0-9a-f]{64})")
_BLOCK = 2**20


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
    """Write a text file atomically; what UTF-8 cannot spell, as in names of other encodings, as escapes."""
    data = text.encode("utf-8", errors="backslashreplace")
    write_atomically(path, lambda temporary: temporary.write_bytes(data))


def seal(path: Path, place: str = "") -> None:
    """Append to a file the checksum of its content, and of `place`, to which it belongs."""
    with path.open("r+b") as file:
        line = _SEAL % _sha256(file, path.stat().st_size, place)
        file.seek(0, os.SEEK_END)
        file.write(line)


def is_sealed(path: Path, place: str = "") -> bool:
    """Whether a file ends with a checksum.

    Raises:
      ValueError: the checksum is that of another content or place.
      OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        size = max(file.seek(0, os.SEEK_END) - _SEAL_SIZE, 0)
        file.seek(size)
        found = _IS_SEAL.fullmatch(file.read())
        if found and found[1] != _sha256(file, size, place):
            raise ValueError(f"{path} is damaged: its checksum is not that of its content")
    return found is not None


def _sha256(file, size: int, place: str) -> bytes:
    file.seek(0)
    digest = hashlib.sha256()
    while size > 0 and (block := file.read(min(size, _BLOCK))):
        digest.update(block)
        size -= len(block)
    digest.update(place.encode())
    return digest.hexdigest().encode()


def checksum(content: Any) -> str:
    """The SHA-256 of what JSON can say."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write an object as JSON, atomically, with its checksum as one more field."""
    read = json.loads(json.dumps(content))
    write_text(path, json.dumps({**read, "checksum": checksum(read)}, indent=1) + "\n")


def read_json(path: Path) -> tuple[dict[str, Any], bool]:
    """An object that `write_json` wrote, without its checksum; and whether it had one.

    Raises:
      ValueError: not the JSON of an object, or the checksum is that of another content.
      OSError: the file cannot be read.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it is not the JSON of an object")
    stored = content.pop("checksum", None)
    if stored is not None and stored != checksum(content):
        raise ValueError(f"{path} is damaged or was edited: its checksum is not that of its content")
    return content, stored is not None


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
