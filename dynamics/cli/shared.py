"""A run that several processes share: each computes its part, and whoever finishes last writes the result.

The processes meet once, then have nothing in common but the folder. `.merging` in it is locked by the one
that writes the result; a process that waited for the lock finds the result there and ends.
"""

import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dynamics.cli.folder import (
    find_folder,
    new_folder,
    read_run,
    refuse_other_config,
    remove_checkpoint,
    take_back,
    write_run,
)
from dynamics.cli.work import EXIT_INTERRUPTED, conclude, remove_temporary, train

RUN_SECONDS = 120.0  # for process 0's run.json to be seen by the others, on a slow shared disk


def run(experiment: Any, config: Any, about: dict[str, Any], out: str, meeting: dict[str, Any]) -> int:
    """Start a new run in several processes; this one's exit code."""
    from dynamics.engine import processes
    from dynamics.engine.batching import choose

    folder = find_folder(out, experiment.name).path  # every process looks before process 0 writes
    share = processes.join(**meeting, say=_say)
    choose(about["strategy"])
    if share[0] != 0:
        _wait_for_run(folder, about, share)
        return carry_out(experiment, config, about, folder, share)
    found = new_folder(out, experiment.name)
    write_run(folder, about)
    try:
        return carry_out(experiment, config, about, folder, share)
    except (ValueError, ImportError, MemoryError):
        take_back(found)
        raise


def resume(experiment: Any, config: Any, about: dict[str, Any], folder: Path, meeting: dict[str, Any]) -> int:
    """Go on with a run in several processes, however many there were before; this one's exit code."""
    from dynamics.engine import processes

    return carry_out(experiment, config, about, folder, processes.join(**meeting, say=_say))


def _say(line: str) -> None:
    print(line, file=sys.stderr)


def carry_out(
    experiment: Any, config: Any, about: dict[str, Any], folder: Path, share: tuple[int, int]
) -> int:
    """Compute this process's share; write the result if by then all shares are there."""
    from dynamics import results
    from dynamics.engine.simulate import Interrupted, Unfinished

    me, result = f"process {share[0]} of {share[1]}", folder / "result.nc"
    dataset = None
    try:
        if not result.exists():
            dataset = train(experiment, config, about, folder, share)
    except Unfinished:
        pass
    except Interrupted as stopped:
        print(
            f"dynamics: {me}: {stopped}; kept in {folder}, go on with `dynamics resume {folder}`",
            file=sys.stderr,
        )
        return EXIT_INTERRUPTED
    except (OSError, ValueError):
        if not result.exists():  # else another one has written it, and removed what was being read
            raise
    with _merging(folder):
        if result.exists():
            if dataset is None and share[0] == 0:  # whoever wrote it may have been killed before the figures
                dataset = results.load(folder)
                refuse_other_config(experiment.config_of(dataset), config)
                if not (folder / "claims.json").exists():
                    conclude(experiment, dataset, about, folder)
            remove_checkpoint(folder)
            print(f"{me}: the result is in {folder}")
            return 0
        remove_temporary(folder)
        try:  # once more, as another share may have come meanwhile: what is there is only read
            dataset = train(experiment, config, about, folder, share) if dataset is None else dataset
        except Unfinished as waiting:
            print(
                f"{me}: its runs are done, {waiting.done} of {waiting.total} are there; "
                "whoever finishes last writes the result"
            )
            return 0
        results.save(dataset, result)
        conclude(experiment, dataset, about, folder)
    return 0


def _wait_for_run(folder: Path, about: dict[str, Any], share: tuple[int, int]) -> None:
    """Wait until process 0 has said what is run, and check that it is the same here."""
    from dynamics.engine.checkpoint import differences

    deadline = time.monotonic() + RUN_SECONDS
    while not (folder / "run.json").exists():
        if time.monotonic() > deadline:
            raise ValueError(f"process 0 has not begun a run in {folder}; do all processes see that folder?")
        time.sleep(0.1)
    there = read_run(folder) | {"command": ""}
    if different := differences(there, about | {"command": ""}):
        raise ValueError(f"process {share[0]} was given another run than process 0 ({different})")


@contextlib.contextmanager
def _merging(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; it goes away with the process that holds it, however that one ends."""
    import fcntl

    path = folder / ".merging"
    with path.open("a") as file:
        # a disk that knows no locks: results are whole files, and two of the same run are the same
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
        if (folder / "result.nc").exists():  # who comes now finds the result, with or without this file
            path.unlink(missing_ok=True)
