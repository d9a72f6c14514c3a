"""A progress line on stderr, for people: at most once a second, and only on a terminal."""

import time

from dynamics import asides


class Progress:
    """Shows runs and steps done, rate and time left; silent when stderr is not a terminal."""

    def __init__(self, label: str, steps: int, num_runs: int):
        self.label, self.steps, self.num_runs = label, steps, num_runs
        self.begun = self.shown = time.monotonic()
        self.finished, self.running = 0, num_runs
        self.from_step: int | None = None
        self.enabled = asides.is_watched()

    def update(self, step: int) -> None:
        """Say that the runs that are being worked on have reached `step`."""
        now = time.monotonic()
        done = self.finished * self.steps + self.running * step
        if self.from_step is None:
            self.from_step, self.begun = done, now
        if not self.enabled or (now - self.shown < 1 and step < self.steps):
            return
        self.shown = now
        rate = (done - self.from_step) / max(now - self.begun, 1e-9)
        left = f"{(self.num_runs * self.steps - done) / rate:.0f} s left" if rate > 0 else ""
        runs = f"{self.running} of {self.num_runs} runs"
        before = f", {self.finished} done before" if self.finished else ""
        line = f"{self.label}: step {step}/{self.steps} of {runs}{before}, {rate:.3g} run-steps/s, {left}"
        asides.tell(f"\r\x1b[2K{line}")

    def say(self, text: str) -> None:
        """A line that stays."""
        if self.enabled:
            asides.tell(f"\r\x1b[2K{self.label}: {text}\n")

    def close(self) -> None:
        """End the line."""
        if self.enabled:
            asides.tell("\r\x1b[2K")
