"""`dynamics run` and `dynamics resume`: from words to a run in its folder."""

import shlex
from pathlib import Path
from typing import Any

from dynamics.cli import arguments
from dynamics.cli.arguments import Parser


def run(argv: list[str]) -> int:
    """Train an experiment in a new folder."""
    parser = command_line()
    if not argv or argv[0].startswith("-"):
        if argv[:1] in (["-h"], ["--help"]):
            parser.print_help()
            return 0
        parser.error("run needs the name of an experiment first: dynamics run NAME")
    experiment, config, args = read(parser, argv)
    about = {
        "experiment": experiment.reference or experiment.name,
        "experiment_sha256": experiment.sha256,
        "setting": type(config).__name__,
        "config": config.to_dict(),
        "seeds": arguments.seeds(args.seeds, args.first_seed),
        "x64": args.x64,
        "checkpoint": args.checkpoint,
        "strategy": args.strategy,
        "engine": arguments.engine(args.engine),
        "memory": arguments.memory(args),
        "command": shlex.join(["dynamics", "run", *argv]),
    }
    meeting = arguments.processes(args)
    if meeting is not None and args.overwrite:
        raise ValueError("--overwrite is for a run of one process: give --distributed a new folder")
    if meeting is not None and args.out is None:
        raise ValueError("--distributed needs --out DIR: the folder that the processes share")
    from dynamics.cli.start import start_jax

    start_jax(args.x64)
    if meeting is not None:
        from dynamics.cli import shared

        return shared.run(experiment, config, about, args.out, meeting)
    from dynamics.cli.folder import new_folder, take_back, write_run
    from dynamics.cli.work import carry_out
    from dynamics.engine.batching import choose

    choose(args.strategy)
    found = new_folder(args.out, experiment.name, args.overwrite)
    if found.chosen:
        print(f"writing to {found.path}")
    about["replaces"] = found.replaces
    write_run(found.path, about)
    try:
        return carry_out(experiment, config, about, found.path)
    except Exception as error:
        take_back(found)
        if found.path.exists() and isinstance(error, ValueError):
            raise ValueError(f"{error}; what is finished is kept: `dynamics resume {found.path}`") from error
        raise


def read(parser: Parser, argv: list[str]) -> tuple[Any, Any, Any]:
    """Experiment, config and arguments of a command line.

    Raises: ValueError: any of them is not sound.
    """
    from dynamics import experiments

    experiment = experiments.get(argv[0])
    arguments.add_settings(parser, experiment, argv)
    args = arguments.parse(parser, argv)
    return experiment, arguments.configured(arguments.preset(experiment, args), args), args


def resume(argv: list[str]) -> int:
    """Go on with the run in a folder."""
    parser = Parser(
        prog="dynamics resume",
        description="Go on with a run or sweep that was interrupted or killed; what is finished is kept. "
        "Settings, if given, must be the run's own: `dynamics resume DIR --help` shows them.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="folder of the run or sweep")
    arguments.add_memory(parser)
    arguments.add_processes(parser)
    arguments.add_experiment(parser)
    if not argv or argv[0].startswith("-"):
        if argv[:1] in (["-h"], ["--help"]):
            parser.print_help()
            return 0
        parser.error("resume needs the folder of a run first: dynamics resume DIR")
    from dynamics import experiments
    from dynamics.cli.folder import read_run, refuse_earlier, refuse_other_config

    folder = Path(argv[0])
    about = read_run(folder)
    refuse_earlier(folder, about)
    if "sweep" in about:
        from dynamics.cli import sweep

        return sweep.resume(argv, folder, about)
    named = arguments.named_experiment(argv)
    experiment = experiments.recorded(about["experiment"], about["experiment_sha256"], named)
    config = experiment.read(about["config"], about.get("setting"))
    arguments.add_settings(parser, experiment, start=config)
    args = arguments.parse(parser, argv)
    refuse_other_config(config, arguments.configured(config, args))
    if args.memory is not None:  # another machine may have more or less of it
        about["memory"] = arguments.memory(args)
    meeting = arguments.processes(args)
    from dynamics.cli.start import start_jax

    start_jax(about["x64"])
    if meeting is not None:
        from dynamics.cli import shared

        return shared.resume(experiment, config, about, folder, meeting)
    from dynamics.cli.work import carry_out

    return carry_out(experiment, config, about, folder)


def command_line() -> Parser:
    """The parser of `dynamics run`, but for the settings of the experiment."""
    parser = Parser(
        prog="dynamics run",
        description="Train an experiment for many seeds; writes result.nc, claims.json and figures.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="experiment, see `dynamics list`, or FILE.py:NAME")
    parser.add_argument("--seeds", default="8", metavar="N", help="number of seeds (default 8)")
    parser.add_argument("--first-seed", default="0", metavar="S", help="first seed (default 0)")
    parser.add_argument("--preset", default="small", metavar="NAME", help="small (default), paper, ...")
    parser.add_argument("--out", metavar="DIR", help="folder to write to; default runs/NAME-TIME")
    arguments.add_overwrite(parser)
    parser.add_argument(
        "--checkpoint", action="store_true", help="also keep the state of unfinished runs, each second"
    )
    parser.add_argument("--x64", action="store_true", help="compute in float64")
    parser.add_argument("--strategy", default="auto", metavar="NAME", help="auto (default), map or vmap")
    arguments.add_engine(parser)
    arguments.add_processes(parser)
    return parser
