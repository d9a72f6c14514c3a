"""A stream that cannot be written to, in every way that users have had, stops nothing."""

import io
import sys
import warnings

import pytest

from dynamics import asides
from dynamics.engine.progress import Progress


class Failing(io.StringIO):
    """A terminal whose writing fails."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def isatty(self):
        return True

    def write(self, text):
        raise self.error


class Unflushed(io.StringIO):
    def isatty(self):
        return True

    def flush(self):
        raise OSError("no space left on device")


class Bare:
    """What some programs put in the place of stderr: it can be written to, and that is all."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS = {
    "none": lambda: None,
    "closed": closed,
    "bare": Bare,
    "nothing": object,
    "unflushed": Unflushed,
    "pipe": lambda: Failing(BrokenPipeError()),
    "value": lambda: Failing(ValueError("I/O operation on closed file")),
    "encoding": lambda: Failing(UnicodeEncodeError("ascii", "\u00e9", 0, 1, "ordinal not in range")),
    "other": lambda: Failing(RuntimeError("the notebook's kernel is gone")),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_progress_and_warnings_never_stop_a_run(kind, monkeypatch):
    monkeypatch.setattr(sys, "stderr", STREAMS[kind]())
    progress = Progress("training", 10, 2)
    progress.say("2 runs")
    progress.update(0)
    progress.update(10)
    progress.close()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        monkeypatch.setattr(warnings, "showwarning", write_to_stderr)
        asides.warn("1 of 2 runs diverged")


def write_to_stderr(message, *args, **kwargs):
    """As Python shows warnings outside of tests, and as programs replace it."""
    sys.stderr.write(str(message))


def test_a_stream_that_breaks_on_the_way(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    progress = Progress("training", 10, 2)
    progress.say("2 runs")
    assert "training: 2 runs" in stream.getvalue()
    stream.close()
    progress.say("half of the runs")
    monkeypatch.setattr(sys, "stderr", None)
    progress.update(10)
    progress.close()


def test_who_makes_errors_of_warnings_gets_them():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="1 of 2 runs diverged"):
            asides.warn("1 of 2 runs diverged")
