"""`dynamics plot`: draws a run's figures again from its result."""

from pathlib import Path

from dynamics.cli import arguments
from dynamics.cli.arguments import MEASURE, Parser


def plot(argv: list[str]) -> int:
    """Redraw the figures of a run, and print where they are."""
    parser = Parser(
        prog="dynamics plot", description="Redraw the figures of a run from its result.", allow_abbrev=False
    )
    parser.add_argument("path", metavar="DIR", help="folder of a run or sweep, or a result file")
    parser.add_argument("--measure", action="append", metavar="NAME", help=MEASURE)
    args = arguments.parse(parser, argv)
    path = Path(args.path)
    from dynamics import experiments, results
    from dynamics.cli.folder import read_run
    from dynamics.cli.work import draw

    dataset = results.load(path)
    experiment = experiments.made(dataset)
    folder = path if path.is_dir() else path.parent
    command = read_run(folder).get("command", "") if (folder / "run.json").exists() else ""
    if "sweep" in dataset.attrs:
        from dynamics.cli import sweep

        for drawn in sweep.draw(experiment, dataset, folder, command, args.measure or ()):
            print(drawn)
        return 0
    if args.measure:
        raise ValueError("--measure is for sweeps; this is a single run")
    for drawn in draw(experiment, dataset, folder, command):
        print(drawn)
    return 0
