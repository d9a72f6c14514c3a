"""The worker's side: read a line, do what it says, answer one line of JSON.

Needs no library, so that a peer can set its number of threads before it imports one.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Skip(Exception):
    """A row that cannot run here; its text says why and what would help."""


class Worker(Protocol):
    """What a row does when asked.

    Attributes:
      about: device and versions, told once at the start.
    """

    about: dict[str, Any]

    def go(self) -> dict[str, Any]:
        """The whole job on own data: at least `training_s` and `whole_s`."""

    def check(self, folder: str) -> dict[str, Any]:
        """`loss` (seeds, times) and `alignment` (seeds, times, neurons, features) on the data in `folder`."""


def serve(make: Callable[[dict[str, Any]], Worker]) -> None:
    """Make the worker of the job in the first argument, then answer `go` and `check FOLDER` until the end."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not end up between the answers

    def answer(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=answers, flush=True)

    try:
        worker = make(json.loads(sys.argv[1]))
    except Skip as reason:
        answer({"skipped": str(reason)})
        return
    answer({"ready": worker.about})
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        try:
            answer(worker.check(argument) if command == "check" else worker.go())
        except (ValueError, Skip) as reason:
            answer({"skipped": " ".join(str(reason).split())})
            return


def description(devices: Sequence[Any]) -> str:
    """JAX devices in a word or two."""
    kind, platform = devices[0].device_kind, devices[0].platform
    name = kind if kind == platform else f"{kind} ({platform})"
    return name if len(devices) == 1 else f"{len(devices)} x {name}"


class Clock:
    """Seconds of the whole job, and of the training in it."""

    def __init__(self):
        self._begun = time.perf_counter()
        self._training = 0.0

    def training(self, train: Callable[[], Any]) -> Any:
        """Call `train`, which must end with its results on the host, and count its time as training."""
        begun = time.perf_counter()
        result = train()
        self._training += time.perf_counter() - begun
        return result

    def times(self) -> dict[str, float]:
        """Both times so far."""
        return {"training_s": self._training, "whole_s": time.perf_counter() - self._begun}
