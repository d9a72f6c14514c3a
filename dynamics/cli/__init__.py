"""The command line. Bad input is one sentence and exit code 2."""

import contextlib
import os
import sys
import traceback
import warnings
from typing import Any, TextIO

from dynamics import startup
from dynamics.cli.arguments import Parser, parse
from dynamics.words import brief, printable

EXIT_BAD_INPUT, EXIT_FAULT, EXIT_INTERRUPTED = 2, 3, 130
COMPUTE = ("run", "sweep", "resume", "check", "plot", "figures", "report", "diff", "bench")
_held: list[BaseException] = []


def main(argv: list[str] | None = None) -> int:
    """Run one command.

    Returns: the exit code: 0 done, 1 a claim failed or results differ, 2 bad input, 3 a fault of this
      library (with its traceback), 130 interrupted.
    """
    argv = sys.argv[1:] if argv is None else argv
    warnings.showwarning = _show_warning
    try:
        code = _carry_out(argv)
        sys.stdout.flush()  # a full disk is noticed here
        return code
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, ImportError, OSError, MemoryError) as error:
        if os.environ.get("DYNAMICS_TRACEBACK"):
            raise
        print(f"dynamics: {_sentence(error)}", file=sys.stderr)
        if isinstance(error, OSError):  # HDF5 crashes when a file that a full disk cut short is let go of
            _held[:] = [error]
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("dynamics: interrupted; what was finished is kept", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception:  # in `check`, exit code 1 says that a claim failed, and nothing else
        traceback.print_exc()
        return EXIT_FAULT


def entry() -> None:
    """The command `dynamics`: `main`, and then the process ends."""
    sys.unraisablehook = _unraisable
    os.environ["MPLBACKEND"] = "agg"  # figures are written; what a user set for windows may not be there
    _open_streams()
    code = main()
    # threads of the device may still compute, a file on a full disk be half written: no crash in the end
    if code in (EXIT_BAD_INPUT, EXIT_FAULT, EXIT_INTERRUPTED):
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


class _Forgiving:
    """A stream for what is said beside the results: that it cannot be written stops nothing."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            return self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _open_streams() -> None:
    """Streams that are there, and write names that their encoding cannot spell as escapes."""
    # a file that is opened where a stream was closed would get what libraries write to it by number
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        getattr(sys, name).reconfigure(errors="backslashreplace")
    sys.stderr = _Forgiving(sys.stderr)


def _carry_out(argv: list[str]) -> int:
    try:
        return _dispatch(argv)
    except SystemExit as stop:  # argparse after --help
        return int(stop.code or 0)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f": {error.filename}" if error.filename else ""
        # HDF5 says where in its depths a write failed, in several lines
        reason = os.strerror(error.errno) if "errno = " in error.strerror else error.strerror
        return _line(f"{reason}{place}")
    if isinstance(error, MemoryError):
        return _line(f"not enough memory{': ' * bool(str(error))}{error}")
    return _line(str(error) or type(error).__name__)


def _line(said: str) -> str:
    return brief(printable(said))


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print(f"dynamics: warning: {_line(str(message))}", file=sys.stderr)


def _unraisable(what):
    # Ctrl-C that falls into a callback of the garbage collector would be lost there: ask again
    if what.exc_type is not None and issubclass(what.exc_type, KeyboardInterrupt):
        import _thread
        import threading

        threading.Timer(0.01, _thread.interrupt_main).start()  # here it would be lost again
    else:
        sys.__unraisablehook__(what)


def _dispatch(argv: list[str]) -> int:
    # a command's module is imported when the command is called, and JAX not before it computes: help is fast
    parser = Parser(
        prog="dynamics",
        description="Training dynamics that theorems talk about: simulate, observe, check the claims.",
        epilog="`dynamics run NAME --help` shows the settings of an experiment.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    listed = commands.add_parser("list", help="the experiments: name, arXiv id, one line", allow_abbrev=False)
    listed.add_argument("names", nargs="*", metavar="NAME", help="only these; or FILE.py:NAME")
    listed.add_argument(
        "--table",
        metavar="DIR",
        help="a Markdown table: of the claims in DIR/NAME/verdicts.json (in short: DIR/figures/NAME/...), or "
        "of the notebooks DIR/NAME.ipynb",
    )
    listed.add_argument(
        "--parts", action="store_true", help="all data, models, rules, attacks and observables instead"
    )
    for name, text in (
        ("run", "train an experiment for many seeds, draw it, judge its claims"),
        ("sweep", "an experiment over a grid of its settings: phase diagrams, exponents"),
        ("resume", "go on with a run or sweep that was interrupted or killed"),
        ("check", "make every run that the claims rest on, and judge"),
        ("plot", "redraw the figures of a run or sweep from its result"),
        ("figures", "make the pictures in figures/ anew"),
        ("report", "a run or sweep as one HTML page"),
        ("diff", "two results compared: settings, versions, numbers"),
        ("bench", "measure how fast this machine trains"),
    ):
        commands.add_parser(name, help=text, add_help=False, allow_abbrev=False)

    command, rest = (argv[0], argv[1:]) if argv else (None, [])
    if command in COMPUTE and rest[:1] not in (["-h"], ["--help"]):
        startup.check_address_space()
    if command in ("run", "resume"):
        from dynamics.cli import run

        return {"run": run.run, "resume": run.resume}[command](rest)
    if command == "sweep":
        from dynamics.cli import sweep

        return sweep.sweep(rest)
    if command == "check":
        from dynamics.cli import check

        return check.check(rest)
    if command == "plot":
        from dynamics.cli import plot

        return plot.plot(rest)
    if command == "figures":
        from dynamics.cli import figures

        return figures.figures(rest)
    if command == "report":
        from dynamics.cli import report

        return report.report(rest)
    if command == "diff":
        from dynamics.cli import diff

        return diff.diff(rest)
    if command == "bench":
        from dynamics.cli import bench

        return bench.bench(rest)
    args = parse(parser, argv, commands.choices)
    if args.command is None:
        parser.print_help()
        return 0
    from dynamics.cli import listing

    return listing.listing(args.names, args.table, parts=args.parts)
