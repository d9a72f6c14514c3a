"""`dynamics plot`: draws a run's figures again from its result."""

from pathlib import Path
from typing import Any

from dynamics.cli import arguments
from dynamics.cli.arguments import QUANTITY, Parser


def plot(argv: list[str]) -> int:
    """Redraw the figures of a run, and print where they are."""
    parser = Parser(
        prog="dynamics plot", description="Redraw the figures of a run from its result.", allow_abbrev=False
    )
    parser.add_argument("path", metavar="DIR", help="folder of a run or sweep, or a result file")
    parser.add_argument("--quantity", action="append", metavar="NAME", help=QUANTITY)
    parser.add_argument("--animate", action="store_true", help="draw the moving pictures instead, as GIFs")
    parser.add_argument(
        "--panels", action="store_true", help="each panel by itself instead, 3.3 inches wide for a column"
    )
    arguments.add_experiment(parser)
    args = arguments.parse(parser, argv)
    path = Path(args.path)
    if args.panels and args.animate:
        raise ValueError("--panels is for still figures; leave out --animate, or it")
    from dynamics import experiments, results
    from dynamics.cli.folder import read_run
    from dynamics.cli.work import draw

    dataset = results.load(path)
    experiment = experiments.made(dataset, args.experiment)
    folder = path if path.is_dir() else path.parent
    command = read_run(folder).get("command", "") if (folder / "run.json").exists() else ""
    if "sweep" in dataset.attrs:
        if args.animate:
            raise ValueError("--animate is for single runs; this is a sweep")
        if args.panels:
            raise ValueError("--panels is for single runs; this is a sweep")
        from dynamics.cli import sweep

        paths = sweep.draw(experiment, dataset, folder, command, args.quantity or ())
    elif args.quantity:
        raise ValueError("--quantity is for sweeps; this is a single run")
    elif args.animate:
        paths = animate(experiment, dataset, folder)
    elif args.panels:
        from dynamics.plots import save_panels

        paths = save_panels(experiment.draw(dataset), folder)
    else:
        paths = draw(experiment, dataset, folder, command)
    for path in paths:
        print(path)
    return 0


def animate(experiment: Any, dataset: Any, folder: Path) -> list[Path]:
    """Draw an experiment's moving pictures into a folder; returns their paths.

    Raises: ValueError: it has none.
    """
    if not experiment.animations:
        raise ValueError(f"{experiment.name} has no moving pictures")
    return [made(dataset, folder / f"{name}.gif") for name, made in experiment.animations.items()]
