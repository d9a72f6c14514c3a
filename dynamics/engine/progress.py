"""What a run says on its way: a line on a terminal or in a notebook, and a line now and then in a pipe."""

import contextlib
import time
from collections.abc import Iterator

from dynamics import asides

EVERY_S = {"terminal": 1.0, "notebook": 1.0, "pipe": 30.0}
FIRST_S = {"terminal": 1.0, "notebook": 3.0, "pipe": 30.0}  # shorter runs say nothing

_at_work: "Progress | None" = None


@contextlib.contextmanager
def compiling(program: str) -> Iterator[None]:
    """Say that a program is being compiled, if a run is at work; that time does not count into its rate."""
    begun, run = time.monotonic(), _at_work
    if run is not None:
        run.show(f"{run.label}: compiling {program}", lasts=run.place != "pipe")
    try:
        yield
    finally:
        if run is not None:
            run.compiled_s += time.monotonic() - begun


class Progress:
    """Shows runs and steps done, rate and time left."""

    def __init__(self, label: str, steps: int, num_runs: int):
        global _at_work
        self.label, self.steps, self.num_runs = label, steps, num_runs
        self.begun = time.monotonic()
        self.place = asides.place()
        self.first = self.next = self.begun + FIRST_S[self.place]
        self.finished, self.running = 0, num_runs
        self.from_step: int | None = None
        self.compiled_s = 0.0
        self.line = asides.Line(self.place)
        _at_work = self

    def update(self, step: int) -> None:
        """Say that the runs that are being worked on have reached `step`."""
        now = time.monotonic()
        done = self.finished * self.steps + self.running * step
        if self.from_step is None:
            self.from_step, self.begun, self.compiled_s = done, now, 0.0
        rate = (done - self.from_step) / max(now - self.begun - self.compiled_s, 1e-9)
        left = f", {(self.num_runs * self.steps - done) / rate:.0f} s left" if rate > 0 else ""
        runs = f"{self.running} of {self.num_runs} runs"
        before = f", {self.finished} done before" if self.finished else ""
        self.show(f"{self.label}: step {step}/{self.steps} of {runs}{before}, {rate:.3g} run-steps/s{left}")

    def show(self, text: str, *, lasts: bool = False) -> None:
        """The line as it is now; unless there was one a moment ago and this one does not last."""
        now = time.monotonic()
        if now >= (self.first if lasts else self.next):
            self.next = now + EVERY_S[self.place]
            self.line.show(text)

    def say(self, text: str) -> None:
        """A line that stays, on a terminal."""
        if self.place == "terminal":
            self.line.clear()
            asides.tell(f"{self.label}: {text}\n")

    def close(self) -> None:
        """End the line."""
        global _at_work
        _at_work = None
        self.line.clear()
