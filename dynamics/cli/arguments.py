"""Words of the command line: parsers that refuse in one sentence, and values from text."""

import argparse
import dataclasses
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn, TextIO

from dynamics.words import MOST_SEEDS, near, quoted, whole

ENGINES = ("auto", "direct", "gram")
QUANTITY = "of a sweep: what to show, a quantity or VARIABLE[dim=value,...]; may be repeated"
_UNITS = {"": 1, "B": 1}
_UNITS |= {f"{letter}{end}": base**power for end, base in (("iB", 1024), ("B", 1000))
           for power, letter in enumerate("KMG", 1)}  # fmt: skip


class Parser(argparse.ArgumentParser):
    """An argument parser that raises ValueError where another would print its usage and exit."""

    about = ""  # the experiment whose settings it knows
    elsewhere: Mapping[str, Sequence[str]] = {}  # flags that other presets have, and which

    def __init__(self, *given: Any, **options: Any):
        super().__init__(*given, **options)
        # a value, not a flag: -1,1 as well as -1
        self._negative_number_matcher = re.compile(r"-\.?\d")

    def error(self, message: str) -> NoReturn:
        """Refuse, with the way to help.

        Raises: ValueError: always.
        """
        raise ValueError(f"{message} (see `{' '.join([self.prog, self.about]).strip()} --help`)")

    def print_help(self, file: TextIO | None = None) -> None:
        """Print the help, and fail if that fails: argparse says nothing of it."""
        print(self.format_help(), end="", file=file)


def parse(parser: Parser, argv: list[str], commands: Mapping[str, Any] | None = None) -> argparse.Namespace:
    """The arguments; one that is not known is refused, with the nearest that is.

    Raises: ValueError: an unknown or incomplete argument.
    """
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        parser = (commands or {}).get(getattr(args, "command", None), parser)
        flags = [option for action in parser._actions for option in action.option_strings]
        hint = near(unknown[0], flags)
        if presets := parser.elsewhere.get(unknown[0].partition("=")[0], ()):
            hint = f"; it is a setting of the presets {', '.join(presets)} (--preset)"
        parser.error(f"unknown argument {unknown[0]}{hint}")
    return args


def add_settings(parser: Parser, experiment: Any, argv: Sequence[str] = (), start: Any = None) -> None:
    """A flag for every field of an experiment's config.

    The help shows the values of `start`, or else those of the preset that `argv` names.
    """
    from dynamics.study.config import allowed, annotation, described, required, several

    whose, named = "of this run", "small"
    if start is None:
        for word, following in zip(argv, [*argv[1:], ""], strict=True):
            asked = following if word == "--preset" else word.removeprefix("--preset=")
            named = asked if asked in experiment.presets and word.startswith("--preset") else named
        start, whose = experiment.presets[named], f"of the preset {named}"
    for action in parser._actions:
        if action.dest == "preset":
            parser.about = experiment.reference or experiment.name
            action.help = f"one of {', '.join(experiment.presets)} (default small)"
    own = {field.name for field in dataclasses.fields(start)}
    parser.elsewhere = {}
    for name, other in experiment.presets.items():
        for field in dataclasses.fields(other):
            if field.name not in own:
                flag = "--" + field.name.replace("_", "-")
                parser.elsewhere[flag] = [*parser.elsewhere.get(flag, ()), name]
    group = parser.add_argument_group(f"settings of {experiment.name} [{whose}]")
    taken = {option for action in parser._actions for option in action.option_strings}
    for field in dataclasses.fields(start):
        kind = annotation(type(start), field.name)
        flag = "--" + field.name.replace("_", "-")
        flag = f"--setting-{flag[2:]}" if flag in taken else flag
        text = described(field).replace("%", "%%") + f" [{_shown(getattr(start, field.name))}]"
        if kind is bool:
            action = argparse.BooleanOptionalAction
            group.add_argument(flag, dest=f"set_{field.name}", action=action, default=None, help=text)
            continue
        if typing.get_origin(kind) is tuple:
            text += f"; a comma-separated list of {several(typing.get_args(kind)[0])}"
        else:
            text += f" ({allowed(required(kind), field.metadata['limits'])})"
        group.add_argument(flag, dest=f"set_{field.name}", default=None, help=text, metavar="X")


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def preset(experiment: Any, args: argparse.Namespace) -> Any:
    """The preset that --preset names.

    Raises: ValueError: there is none.
    """
    if args.preset not in experiment.presets:
        raise ValueError(f"preset must be one of {', '.join(experiment.presets)}, got {quoted(args.preset)}")
    return experiment.presets[args.preset]


def configured(preset: Any, args: argparse.Namespace) -> Any:
    """The preset with the settings given on the command line."""
    return dataclasses.replace(preset, **given(preset, args))


def given(preset: Any, args: argparse.Namespace) -> dict[str, Any]:
    """The settings given on the command line."""
    from dynamics.study.config import annotation

    changes = {}
    for field in dataclasses.fields(preset):
        text = getattr(args, f"set_{field.name}")
        if text is not None:
            changes[field.name] = _value(annotation(type(preset), field.name), text)
    return changes


def _value(kind: Any, text: Any) -> Any:
    """`text` as the type of its field; what cannot be one is left for the config to refuse in its words."""
    from dynamics.study.config import from_text

    if typing.get_origin(kind) is tuple:
        return tuple(from_text(typing.get_args(kind)[0], item) for item in text.split(",") if item)
    return from_text(kind, text) if isinstance(text, str) else text


def seeds(count: str, first: str) -> list[int]:
    """The seeds that --seeds and --first-seed ask for."""
    number = whole("--seeds", count, 1, MOST_SEEDS)
    start = whole("--first-seed", first, 0, 2**32 - number)
    return list(range(start, start + number))


def size(name: str, text: str) -> int:
    """A number of bytes: plain, or with KiB, MiB, GiB, KB, MB or GB.

    Raises: ValueError: anything else, or less than a byte.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMG]i?B|B|)", text, re.ASCII)
    number = float(found[1]) * _UNITS[found[2]] if found else 0
    if not 1 <= number < 2**63:
        raise ValueError(
            f"{name} must be a size such as 4GiB, 500MB or a number of bytes, got {quoted(text)}"
        )
    return int(number)


def add_engine(parser: Parser) -> None:
    """The flags that say how a run is computed."""
    parser.add_argument(
        "--engine",
        default="auto",
        metavar="NAME",
        help="auto (default), direct, or gram: inner products only",
    )
    add_memory(parser)


def add_overwrite(parser: Parser) -> None:
    """The flag that lets a run replace another."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace the run in --out DIR, once the new one is finished"
    )


def add_memory(parser: Parser) -> None:
    """The flag that bounds memory."""
    parser.add_argument(
        "--memory", metavar="SIZE", help="most memory that runs side by side may take, such as 4GiB"
    )


def add_experiment(parser: argparse.ArgumentParser) -> None:
    """The flag that names the experiment's file, where the one on record is not trusted."""
    parser.add_argument(
        "--experiment",
        metavar="FILE.py:NAME",
        help="the experiment that made it, where its file has changed or moved: this file is run",
    )


def named_experiment(argv: Sequence[str]) -> str | None:
    """What --experiment names, read before the settings of the experiment are known."""
    parser = Parser(add_help=False, allow_abbrev=False)
    add_experiment(parser)
    return parser.parse_known_args(argv)[0].experiment


def memory(args: argparse.Namespace) -> int | None:
    """What --memory asks for, in bytes; None without it."""
    return None if args.memory is None else size("--memory", args.memory)


def engine(name: str) -> str:
    """The engine of this name.

    Raises: ValueError: there is none.
    """
    if name not in ENGINES:
        raise ValueError(f"--engine must be one of {', '.join(ENGINES)}, got {quoted(name)}")
    return name


def add_processes(parser: Parser) -> None:
    """The flags of a run that several processes share."""
    group = parser.add_argument_group("several processes, which share the run's folder")
    group.add_argument(
        "--distributed",
        action="store_true",
        help="compute this process's share; Slurm or Kubernetes say which",
    )
    group.add_argument("--coordinator", metavar="HOST:PORT", help="without them: where process 0 is,")
    group.add_argument("--num-processes", metavar="N", help="how many there are,")
    group.add_argument("--process-id", metavar="I", help="and which one this is, from 0")


def processes(args: argparse.Namespace) -> dict[str, Any] | None:
    """Arguments for `processes.join`; None without --distributed.

    Raises: ValueError: numbers or an address that make no sense, or given without --distributed.
    """
    given = {"--coordinator": args.coordinator, "--num-processes": args.num_processes}
    given |= {"--process-id": args.process_id}
    if not args.distributed:
        for flag, value in given.items():
            if value is not None:
                raise ValueError(f"{flag} needs --distributed")
        return None
    count, index = args.num_processes, args.process_id
    count = None if count is None else whole("--num-processes", count, 1, 2**20)
    index = None if index is None else whole("--process-id", index, 0, (count or 2**20) - 1)
    from dynamics.engine.processes import check_address

    check_address(args.coordinator, count, index)
    return {"coordinator": args.coordinator, "num_processes": count, "process_id": index}
