"""The command line: list, run, check, resume, plot. Bad input is one sentence and exit code 2."""

import argparse
import contextlib
import dataclasses
import difflib
import json
import os
import shlex
import sys
import tempfile
import time
import typing
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

EXIT_CLAIM_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 1, 2, 130
MOST_SEEDS = 2**20


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} (see `{self.prog} --help`)")


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 a claim failed, 2 bad input, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    warnings.showwarning = _show_warning
    try:
        return _dispatch(argv)
    except SystemExit as stop:  # argparse after --help
        return int(stop.code or 0)
    except BrokenPipeError:  # the reader of our output has left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, ImportError, OSError) as error:
        if os.environ.get("DYNAMICS_TRACEBACK"):
            raise
        print(f"dynamics: {_sentence(error)}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("dynamics: interrupted; what was finished is kept", file=sys.stderr)
        return EXIT_INTERRUPTED


def entry() -> None:
    """The command `dynamics`: `main`, and then the process ends."""
    code = main()
    if code == EXIT_INTERRUPTED:  # threads of the device may still compute; they must not end in a crash
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{place}"
    return " ".join(str(error).split())


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print(f"dynamics: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _dispatch(argv: list[str]) -> int:
    parser = _Parser(
        prog="dynamics",
        description="Training dynamics that theorems talk about: simulate, observe, check the claims.",
        epilog="`dynamics run NAME --help` shows the settings of an experiment.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    commands.add_parser("list", help="the experiments: name, arXiv id, one line", allow_abbrev=False)
    for name, text in (
        ("run", "train an experiment for many seeds, draw it, judge its claims"),
        ("resume", "go on with a run that was interrupted or killed"),
    ):
        commands.add_parser(name, help=text, add_help=False, allow_abbrev=False)
    check = commands.add_parser(
        "check", help="make every run that the claims rest on, and judge", allow_abbrev=False
    )
    check.add_argument("name", metavar="NAME", help="experiment, or all")
    check.add_argument("--seeds", default="8", metavar="N", help="seeds of each run (default 8)")
    check.add_argument("--json", metavar="FILE", help="also write the verdicts to FILE")
    check.add_argument("--claims", metavar="ID,ID", help="only these claims")
    check.add_argument(
        "--ablations", action="store_true", help="also run each claim's ablation, which should fail"
    )
    check.add_argument("--x64", action="store_true", help="compute in float64")
    plot = commands.add_parser("plot", help="redraw the figures of a run from its result", allow_abbrev=False)
    plot.add_argument("path", metavar="DIR", help="folder of a run, or a result file")

    if argv and argv[0] in ("run", "resume"):
        return (_run if argv[0] == "run" else _resume)(argv[1:])
    args = _parse(parser, argv, commands.choices)
    if args.command is None:
        parser.print_help()
        return 0
    return {"list": _list, "check": _check, "plot": _plot}[args.command](args)


def _list(args) -> int:
    from dynamics import experiments

    found = [experiments.get(name) for name in experiments.names()]
    width = max(len(e.name) for e in found)
    for e in found:
        print(f"{e.name:<{width}}  arXiv:{e.arxiv}  {e.about}")
    return 0


# --- run, resume


def _run(argv: list[str]) -> int:
    parser = _run_parser("run")
    if not argv or argv[0].startswith("-"):
        if argv[:1] in (["-h"], ["--help"]):
            parser.print_help()
            return 0
        parser.error("run needs the name of an experiment first: dynamics run NAME")
    from dynamics import experiments

    experiment = experiments.get(argv[0])
    _add_settings(parser, experiment)
    args = _parse(parser, argv)
    if args.preset not in experiment.presets:
        raise ValueError(f"preset must be one of {', '.join(experiment.presets)}, got {args.preset!r}")
    config = _configured(experiment.presets[args.preset], args)
    seeds = _seeds(args.seeds, args.first_seed)
    from dynamics.engine.batching import choose

    choose(args.strategy)
    folder, chosen, already = _new_folder(args.out, experiment.name)
    if chosen:
        print(f"writing to {folder}")
    about = {
        "experiment": experiment.name,
        "config": config.to_dict(),
        "seeds": seeds,
        "x64": args.x64,
        "checkpoint": args.checkpoint,
        "strategy": args.strategy,
        "command": shlex.join(["dynamics", "run", *argv]),
    }
    from dynamics.files import write_text

    write_text(folder / "run.json", json.dumps(about, indent=1) + "\n")
    try:
        return _carry_out(experiment, config, about, folder)
    except (ValueError, ImportError):
        _take_back(folder, already)
        raise


def _take_back(folder: Path, already: Path) -> None:
    """Remove the folder of a run that was refused before anything was recorded, up to what was there."""
    if any(path.is_file() and path.name != "run.json" for path in folder.rglob("*")):
        return
    _remove_checkpoint(folder / "checkpoint")
    (folder / "run.json").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # another run may have come to lie beside it
        while folder != already:
            folder.rmdir()
            folder = folder.parent


def _resume(argv: list[str]) -> int:
    parser = _run_parser("resume")
    if not argv or argv[0].startswith("-"):
        if argv[:1] in (["-h"], ["--help"]):
            parser.print_help()
            return 0
        parser.error("resume needs the folder of a run first: dynamics resume DIR")
    from dynamics import experiments

    folder = Path(argv[0])
    about = _read_run(folder)
    experiment = experiments.get(about["experiment"])
    _add_settings(parser, experiment)
    args = _parse(parser, argv)
    config = experiment.Config.from_dict(about["config"])
    _refuse_other_config(config, _configured(config, args))
    return _carry_out(experiment, config, about, folder)


def _refuse_other_config(stored, given) -> None:
    from dynamics.engine.checkpoint import differences

    if different := differences(stored.to_dict(), given.to_dict()):
        raise ValueError(f"a run is resumed as it was started ({different}); start a new run instead")


def _read_run(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    if not path.exists():
        raise ValueError(f"{folder} is not the folder of a run: it has no run.json")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        kinds = {"experiment": str, "config": dict, "seeds": list, "x64": bool}
        sound = all(isinstance(about[name], kind) for name, kind in kinds.items())
    except (ValueError, KeyError, TypeError):
        sound = False
    if not sound:
        raise ValueError(f"{path} is damaged: it does not describe a run")
    return about


def _run_parser(command: str) -> _Parser:
    parser = _Parser(prog=f"dynamics {command}", allow_abbrev=False)
    if command == "resume":
        parser.description = (
            "Go on with a run from its checkpoint; settings, if given, must be the run's own."
        )
        parser.add_argument("folder", metavar="DIR", help="folder of the run")
        return parser
    parser.description = "Train an experiment for many seeds; writes result.nc, claims.json and figures."
    parser.add_argument("name", metavar="NAME", help="experiment, see `dynamics list`")
    parser.add_argument("--seeds", default="8", metavar="N", help="number of seeds (default 8)")
    parser.add_argument("--first-seed", default="0", metavar="S", help="first seed (default 0)")
    parser.add_argument("--preset", default="small", metavar="NAME", help="small (default), paper, ...")
    parser.add_argument("--out", metavar="DIR", help="folder to write to; default runs/NAME-TIME")
    parser.add_argument("--checkpoint", action="store_true", help="keep progress at every recording time")
    parser.add_argument("--x64", action="store_true", help="compute in float64")
    parser.add_argument("--strategy", default="auto", metavar="NAME", help="auto (default), map or vmap")
    return parser


def _add_settings(parser: _Parser, experiment) -> None:
    from dynamics.config import allowed, annotation

    group = parser.add_argument_group(f"settings of {experiment.name} (defaults: those of the preset)")
    for field in dataclasses.fields(experiment.Config):
        kind = annotation(experiment.Config, field.name)
        flag = "--" + field.name.replace("_", "-")
        text = field.metadata["about"].replace("%", "%%")
        if kind is bool:
            action = argparse.BooleanOptionalAction
            group.add_argument(flag, dest=f"set_{field.name}", action=action, default=None, help=text)
            continue
        if typing.get_origin(kind) is tuple:
            text += f"; a comma-separated list of {allowed(typing.get_args(kind)[0], {})}"
        else:
            text += f" ({allowed(kind, field.metadata['limits'])})"
        group.add_argument(flag, dest=f"set_{field.name}", default=None, help=text, metavar="X")


def _parse(parser: _Parser, argv: list[str], commands: Mapping[str, Any] | None = None) -> argparse.Namespace:
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        parser = (commands or {}).get(getattr(args, "command", None), parser)
        flags = [option for action in parser._actions for option in action.option_strings]
        near = difflib.get_close_matches(unknown[0], flags, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        parser.error(f"unknown argument {unknown[0]}{hint}")
    return args


def _configured(preset, args: argparse.Namespace):
    """The preset with the settings given on the command line."""
    from dynamics.config import annotation

    changes = {}
    for field in dataclasses.fields(preset):
        text = getattr(args, f"set_{field.name}")
        if text is not None:
            changes[field.name] = _value(annotation(type(preset), field.name), text)
    return dataclasses.replace(preset, **changes)


def _value(kind: Any, text: Any) -> Any:
    """`text` as the type of its field; what cannot be one is left for the config to refuse in its words."""
    if typing.get_origin(kind) is tuple:
        return tuple(_value(typing.get_args(kind)[0], item) for item in text.split(",") if item)
    if kind in (int, float) and isinstance(text, str):
        try:
            return kind(text)
        except ValueError:
            return text
    return text


def _whole(name: str, text: str, low: int, high: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = low - 1
    if not low <= number <= high:
        raise ValueError(f"{name} must be an integer from {low} to {high}, got {text!r}")
    return number


def _seeds(count: str, first: str) -> list[int]:
    number = _whole("--seeds", count, 1, MOST_SEEDS)
    start = _whole("--first-seed", first, 0, 2**32 - number)
    return list(range(start, start + number))


def _new_folder(out: str | None, name: str) -> tuple[Path, bool, Path]:
    """The folder of a new run, whether its name was chosen here, and the part of its path that was there."""
    chosen = out is None
    folder = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}" if chosen else Path(out)
    while chosen and folder.exists():
        folder = folder.with_name(folder.name + "x")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--out {folder} is a file; give a new or empty folder")
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"--out {folder} is not empty; give a new or empty folder, or resume the run in it")
    already = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ValueError(f"--out {folder} cannot be written to ({error.strerror})") from None
    return folder, chosen, already


def _carry_out(experiment, config, about: dict[str, Any], folder: Path) -> int:
    """Make or finish the run in `folder`, write everything, print the verdicts."""
    import jax

    from dynamics import results
    from dynamics.engine.simulate import Interrupted

    jax.config.update("jax_enable_x64", about["x64"])
    for left_over in folder.glob(".*.tmp"):  # a kill in the middle of a write leaves one
        left_over.unlink(missing_ok=True)
    if (folder / "result.nc").exists():
        dataset = results.load(folder)
        _refuse_other_config(experiment.config_of(dataset), config)
    else:
        try:
            dataset = experiment.run(
                config,
                seeds=about["seeds"],
                checkpoint=folder / "checkpoint",
                checkpoint_every=about.get("checkpoint", True),
                strategy=about.get("strategy", "auto"),
            )
        except Interrupted as stopped:
            results.save(stopped.dataset, folder / "partial.nc")
            print(
                f"dynamics: {stopped}; kept in {folder}, go on with `dynamics resume {folder}`",
                file=sys.stderr,
            )
            return EXIT_INTERRUPTED
        results.save(dataset, folder / "result.nc")
        (folder / "partial.nc").unlink(missing_ok=True)
    _remove_checkpoint(folder / "checkpoint")
    verdicts = experiment.judge(dataset)
    _write_verdicts(verdicts, folder / "claims.json")
    paths = _draw(experiment, dataset, folder, about.get("command", ""))
    _report(experiment, dataset, verdicts)
    print(f"\nresult, claims and {len(paths)} figures in {folder}; the overview is {paths[0]}")
    return 0


def _remove_checkpoint(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


def _write_verdicts(verdicts, path: Path) -> None:
    from dynamics.files import write_text

    write_text(path, json.dumps([verdict.to_dict() for verdict in verdicts], indent=1) + "\n")


def _draw(experiment, dataset, folder: Path, command: str) -> list[Path]:
    from dynamics.plots import save_figures

    config = experiment.config_of(dataset)
    about = {
        "experiment": experiment.name,
        "arxiv": experiment.arxiv,
        "command": command,
        "config": config.to_dict(),
        "seeds": dataset.seed.values.tolist(),
        **{name: dataset.attrs.get(name, "") for name in ("device", "float64", "git_revision", "created")},
        "versions": json.loads(dataset.attrs.get("versions", "{}")),
    }
    figures = {name: draw(dataset) for name, draw in experiment.figures.items()}
    return save_figures({name: f for name, f in figures.items() if f is not None}, folder, about)


def _report(experiment, dataset, verdicts) -> None:
    from dynamics.claims import table

    wall = float(dataset.attrs.get("wall_s", 0))
    print(f"{experiment.name}: {dataset.sizes['seed']} seeds, {wall:.1f} s on {dataset.attrs['device']}")
    if summary := experiment.summary(dataset):
        print("\n" + summary)
    if verdicts:
        held = sum(v.holds for v in verdicts)
        print(f"\n{held} of {len(verdicts)} claims that this run can decide hold\n")
        print(table(verdicts))


# --- check, plot


def _check(args) -> int:
    seeds = _whole("--seeds", args.seeds, 1, MOST_SEEDS)
    from dynamics import experiments

    names = experiments.names() if args.name == "all" else [args.name]
    found = [experiments.get(name) for name in names]
    if args.json is not None:
        _check_file(Path(args.json))
    import jax

    from dynamics.claims import table

    jax.config.update("jax_enable_x64", args.x64)
    begun, verdicts = time.perf_counter(), []

    def say(line: str) -> None:
        print(f"[{time.perf_counter() - begun:6.1f} s] {line}", file=sys.stderr)

    for experiment in found:
        claims = None if args.claims is None else args.claims.split(",")
        made = experiment.check(seeds=seeds, ablations=args.ablations, claims=claims, say=say)
        verdicts += made
        held = sum(v.holds for v in made)
        print(f"{experiment.name}: {held} of {len(made)} claims hold over {seeds} seeds\n\n{table(made)}\n")
    if args.json is not None:
        _write_verdicts(verdicts, Path(args.json))
    sound = all(v.holds for v in verdicts) and not any(v.ablation["holds"] for v in verdicts)
    return 0 if sound else EXIT_CLAIM_FAILED


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise ValueError(f"--json {path} is a folder; give a file")
    try:
        tempfile.TemporaryFile(dir=path.absolute().parent).close()
    except OSError:
        raise ValueError(
            f"--json {path} cannot be written: its folder does not exist or is read-only"
        ) from None


def _plot(args) -> int:
    from dynamics import experiments, results

    path = Path(args.path)
    dataset = results.load(path)
    if "experiment" not in dataset.attrs:
        raise ValueError(f"{path} was not made by an experiment, so there is no figure to draw")
    experiment = experiments.get(dataset.attrs["experiment"])
    folder = path if path.is_dir() else path.parent
    command = _read_run(folder).get("command", "") if (folder / "run.json").exists() else ""
    for drawn in _draw(experiment, dataset, folder, command):
        print(drawn)
    return 0
