"""`dynamics sweep`: an experiment over a grid of its settings, resumable, with its figures and exponents."""

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynamics.cli import arguments
from dynamics.cli.arguments import Parser
from dynamics.words import counted, printable

EXIT_INTERRUPTED = 130


def sweep(argv: list[str]) -> int:
    """Carry out a sweep in a new folder."""
    parser = command_line()
    if not argv or argv[0].startswith("-"):
        if argv[:1] in (["-h"], ["--help"]):
            parser.print_help()
            return 0
        parser.error("sweep needs the name of an experiment first: dynamics sweep NAME --vary ...")
    experiment, grid, args = read(parser, argv)
    about = {
        "experiment": experiment.reference or experiment.name,
        "experiment_sha256": experiment.sha256,
        "setting": type(grid.base).__name__,
        "config": grid.base.to_dict(),
        "sweep": json.loads(grid.to_json()),
        "quantity": args.quantity or [],
        "seeds": arguments.seeds(args.seeds, args.first_seed),
        "x64": args.x64,
        "checkpoint": args.checkpoint,
        "strategy": args.strategy,
        "engine": arguments.engine(args.engine),
        "memory": arguments.memory(args),
        "command": shlex.join(["dynamics", "sweep", *argv]),
    }
    from dynamics.cli.start import start_jax

    start_jax(args.x64)
    from dynamics.cli.folder import new_folder, take_back, write_run
    from dynamics.engine.batching import choose

    choose(args.strategy)
    if args.quantity:
        from dynamics.sweep.foresight import check_quantities

        check_quantities(experiment, grid, args.quantity)
    found = new_folder(args.out, f"{experiment.name}-sweep", args.overwrite)
    if found.chosen:
        print(f"writing to {found.path}")
    about["replaces"] = found.replaces
    write_run(found.path, about)
    try:
        return _carry_out(experiment, grid, about, found.path)
    except Exception:
        take_back(found)
        raise


def read(parser: Parser, argv: list[str]) -> tuple[Any, Any, Any]:
    """Experiment, grid and arguments of a command line.

    Raises: ValueError: any of them is not sound.
    """
    from dynamics import experiments

    experiment = experiments.get(argv[0])
    arguments.add_settings(parser, experiment, argv)
    args = arguments.parse(parser, argv)
    preset = arguments.preset(experiment, args)
    if not args.vary:
        parser.error("sweep needs a setting to vary: --vary NAME=a:b:n")
    from dynamics.sweep import grid as grids

    axes = _pairs("--vary", [grids.read_axis(type(preset), text) for text in args.vary])
    ties = _pairs("--tie", [grids.read_tie(type(preset), text) for text in args.tie or ()])
    return experiment, grids.make(preset, axes, ties, arguments.given(preset, args)), args


def resume(argv: list[str], folder: Path, about: dict[str, Any]) -> int:
    """Go on with the sweep in a folder."""
    parser = Parser(
        prog="dynamics resume",
        description="Go on with a sweep: points that are done are kept.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="folder of the sweep")
    arguments.add_memory(parser)
    arguments.add_experiment(parser)
    args = arguments.parse(parser, argv)
    if args.memory is not None:
        about["memory"] = arguments.memory(args)
    from dynamics import experiments
    from dynamics.sweep import grid as grids

    experiment = experiments.recorded(about["experiment"], about["experiment_sha256"], args.experiment)
    start = experiment.read(about["config"], about.get("setting"))
    try:
        axes, ties = grids.read(about["sweep"])
    except ValueError:
        raise ValueError(f"{folder / 'run.json'} is damaged: it does not describe a sweep") from None
    from dynamics.cli.start import start_jax

    start_jax(about["x64"])
    return _carry_out(experiment, grids.make(start, axes, ties), about, folder)


def _carry_out(experiment: Any, grid: Any, about: dict[str, Any], folder: Path) -> int:
    from dynamics import results
    from dynamics.cli.folder import refuse_other_config, remove_checkpoint, take_place
    from dynamics.cli.work import execution, remove_temporary

    remove_temporary(folder)
    result = folder / "result.nc"
    if result.exists():
        dataset = results.load(folder)
        refuse_other_config(experiment.config_of(dataset), grid.base)
        if json.loads(dataset.attrs.get("sweep", "{}")) != json.loads(grid.to_json()):
            raise ValueError(f"{result} is of another sweep than run.json: delete it to compute this one")
    else:
        try:
            dataset = experiment.swept(
                grid, lambda line: print(line, file=sys.stderr), **execution(about, folder)
            )
        except KeyboardInterrupt:
            print(
                f"dynamics: interrupted; kept in {folder}, go on with `dynamics resume {folder}`",
                file=sys.stderr,
            )
            return EXIT_INTERRUPTED
        results.save(dataset, result)
    remove_checkpoint(folder)
    try:
        paths = draw(experiment, dataset, folder, about.get("command", ""), about.get("quantity") or ())
    except ValueError as error:
        raise ValueError(f"{error}; the result is kept, and `dynamics plot {folder}` draws it") from None
    from dynamics.sweep.figures import Shown

    folder = take_place(folder, about)
    points = " x ".join(map(str, grid.shape)) + (" points" if len(grid.configs) > 1 else " point")
    wall, seeds = float(dataset.attrs.get("wall_s", 0)), counted(dataset.sizes["seed"], "seed")
    print(f"{experiment.name}: {points}, {seeds}, {wall:.1f} s")
    print(printable(Shown(experiment, dataset, about.get("quantity") or ()).summary()))
    print(f"\nresult and figures in {folder}: {', '.join(path.name for path in paths)}")
    return 0


def draw(
    experiment: Any,
    dataset: Any,
    folder: Path,
    command: str,
    asked: Sequence[str] = (),
    names: Sequence[str] | None = None,
) -> list[Path]:
    """Draw a sweep's figures, all or those named, their power laws in the JSON beside; returns the paths."""
    from dynamics.cli.work import provenance
    from dynamics.plots import save_figures
    from dynamics.sweep.figures import Shown

    shown = Shown(experiment, dataset, asked)
    about = provenance(experiment, dataset, command) | {
        "sweep": json.loads(shown.grid.to_json()),
        "quantities": [one.name for one in shown.quantities],
        "fits": shown.fits(),
    }
    figures = {name: f for name, f in shown.figures().items() if names is None or name in names}
    return save_figures(figures, folder, about)


def _pairs(flag: str, pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{flag} names {twice[0]} twice")
    return dict(pairs)


def command_line() -> Parser:
    """The parser, but for the settings of the experiment."""
    parser = Parser(
        prog="dynamics sweep",
        description="Run an experiment at every point of a grid; writes one result.nc, a phase diagram or "
        "curves, and fitted exponents. Points that differ in numbers only share a program.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="experiment, see `dynamics list`, or FILE.py:NAME")
    parser.add_argument(
        "--vary",
        action="append",
        metavar="NAME=VALUES",
        help="a setting and its values: 0:2:9 (evenly spaced), 1e-4:0.1:7:log, or 2,4,8; up to three times",
    )
    parser.add_argument(
        "--tie",
        action="append",
        metavar="NAME=FORMULA",
        help="a setting that follows others, such as num_samples=100*num_clusters",
    )
    parser.add_argument("--quantity", action="append", metavar="NAME", help=arguments.QUANTITY)
    parser.add_argument("--seeds", default="8", metavar="N", help="seeds of every point (default 8)")
    parser.add_argument("--first-seed", default="0", metavar="S", help="first seed (default 0)")
    parser.add_argument("--preset", default="small", metavar="NAME", help="small (default), paper, ...")
    parser.add_argument("--out", metavar="DIR", help="folder to write to; default runs/NAME-sweep-TIME")
    arguments.add_overwrite(parser)
    parser.add_argument(
        "--checkpoint", action="store_true", help="also keep the state of unfinished runs, each second"
    )
    parser.add_argument("--x64", action="store_true", help="compute in float64")
    parser.add_argument("--strategy", default="auto", metavar="NAME", help="auto (default), map or vmap")
    arguments.add_engine(parser)
    return parser
