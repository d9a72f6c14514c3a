"""The harness's side of a worker: start it, ask it, and say in words why it is gone."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dynamics


class Gone(Exception):
    """A worker that does not answer any more, or never did; its text is the reason."""


class Process:
    """A worker process; it does nothing while it is not asked."""

    def __init__(self, script: Sequence[str], job: dict[str, Any]):
        """Start `python SCRIPT JOB`; whether it came up is known from `about`."""
        package = str(Path(dynamics.__file__).resolve().parent.parent)
        path = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path}
        environment.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the rows share one device
        # its idle threads count in circles after every LAPACK call: no row is to pay for that
        environment.setdefault("OPENBLAS_NUM_THREADS", "1")
        environment.setdefault("DYNAMICS_CACHE", "off")  # a first call is one that compiles
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  (closed with the rest)
        # in a session of its own, so that Ctrl-C reaches the harness alone, which then ends the workers
        self._process = subprocess.Popen(
            [sys.executable, *script, json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self._about: dict[str, Any] | None = None

    def about(self) -> dict[str, Any]:
        """What the worker says of itself once it is ready.

        Raises: Gone: it is not.
        """
        if self._about is None:
            self._about = self._answer()["ready"]
        return self._about

    def ask(self, line: str) -> dict[str, Any]:
        """The answer to one command.

        Raises: Gone: there is none.
        """
        self.about()
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise Gone(self._reason()) from None
        return self._answer()

    def close(self) -> None:
        """End the worker, whatever it is doing."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # a worker may have workers of its own
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(BrokenPipeError):
                stream.close()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise Gone(self._reason())
        answer = json.loads(line)
        if "skipped" in answer:
            raise Gone(f"skipped: {answer['skipped']}")
        return answer

    def _reason(self) -> str:
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "died: it was killed, as a system does that runs out of memory"
        self._errors.seek(0)
        said = [line.strip() for line in self._errors if line.strip()]
        return f"died with exit code {code}: {said[-1][:200] if said else 'it said nothing'}"
