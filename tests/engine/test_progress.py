"""What a run says while it goes on: on a terminal, in a notebook, in a pipe."""

import io
import sys
import types

import pytest

from dynamics import asides, simulate, steepest
from dynamics.data import Clusters
from dynamics.engine import progress
from dynamics.models import TwoLayer
from dynamics.problem import Problem


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when they are told to."""
    now = types.SimpleNamespace(s=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.s)
    return now


def writing_to(stream, monkeypatch):
    """The stream, as stderr: in the test itself, as pytest puts its own there after fixtures."""
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_compiling_does_not_count_into_the_rate(monkeypatch, clock):
    stream = writing_to(Terminal(), monkeypatch)
    run = progress.Progress("job", steps=100, num_runs=4)
    with progress.compiling("sample"):
        clock.s += 7
    run.update(0)
    with progress.compiling("advance"):
        clock.s += 20
    clock.s += 10
    run.update(50)
    said = stream.getvalue().split("\r\x1b[2K")
    assert said[-2:] == [
        "job: compiling advance",
        "job: step 50/100 of 4 of 4 runs, 20 run-steps/s, 10 s left",
    ]
    run.close()
    assert stream.getvalue().endswith("\r\x1b[2K")


def test_a_pipe_has_a_line_now_and_then_and_none_of_a_short_run(monkeypatch, clock):
    stream = writing_to(io.StringIO(), monkeypatch)
    run = progress.Progress("job", steps=100, num_runs=1)
    for step in range(0, 101, 5):
        run.update(step)
        clock.s += 4
    run.close()
    assert [line.split(",")[0] for line in stream.getvalue().splitlines()] == [
        "job: step 40/100 of 1 of 1 runs",
        "job: step 80/100 of 1 of 1 runs",
    ]
    assert "\r" not in stream.getvalue()


def test_a_notebook_has_one_line_that_goes_away(monkeypatch, clock):
    shown = []

    class Handle:
        def update(self, text):
            shown.append(text)

    class ZMQInteractiveShell:
        pass

    display = types.ModuleType("IPython.display")
    display.Pretty, display.display = str, lambda text, display_id: shown.append(text) or Handle()
    shell = types.ModuleType("IPython")
    shell.get_ipython, shell.display = ZMQInteractiveShell, display
    monkeypatch.setitem(sys.modules, "IPython", shell)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    assert asides.place() == "notebook"
    run = progress.Progress("job", steps=10, num_runs=1)
    run.update(0)
    assert not shown
    clock.s += 5
    run.update(5)
    clock.s += 5
    run.update(10)
    run.close()
    assert [text[:12] for text in shown] == ["job: step 5/", "job: step 10", ""]


def test_a_run_says_what_it_compiles_and_how_far_it_is(monkeypatch):
    stream = writing_to(Terminal(), monkeypatch)
    for seconds in (progress.EVERY_S, progress.FIRST_S):
        monkeypatch.setitem(seconds, "terminal", 0.0)
    problem = Problem(Clusters(5, 2, 7, 3), TwoLayer(1))
    simulate(problem, steepest("l2", 0.125), steps=3, seeds=3)
    said = stream.getvalue()
    assert "compiling sample" in said
    assert "compiling advance" in said
    assert "step 3/3 of 3 of 3 runs" in said
    before = len(said)
    simulate(problem, steepest("l2", 0.25), steps=3, seeds=3)
    assert "compiling" not in stream.getvalue()[before:]
