"""`dynamics report`: a run or sweep as one HTML page."""

from pathlib import Path

from dynamics.cli import arguments
from dynamics.cli.arguments import QUANTITY, Parser


def report(argv: list[str]) -> int:
    """Write the page, and print where it is."""
    parser = Parser(
        prog="dynamics report",
        description="Write a run or sweep as one HTML page: settings, claims, figures, how to make it again.",
        allow_abbrev=False,
    )
    parser.add_argument("path", metavar="DIR", help="folder of a run or sweep, or a result file")
    parser.add_argument("--out", metavar="FILE", help="the page; default report.html in the folder")
    parser.add_argument("--quantity", action="append", metavar="NAME", help=QUANTITY)
    arguments.add_experiment(parser)
    args = arguments.parse(parser, argv)
    path = Path(args.path)
    from dynamics import experiments, results
    from dynamics.cli.folder import read_run
    from dynamics.files import write_text

    folder = path if path.is_dir() else path.parent
    out = folder / "report.html" if args.out is None else Path(args.out)
    if out.is_dir():
        raise ValueError(f"--out {out} is a folder; give a file")
    if not out.absolute().parent.is_dir():
        raise ValueError(f"--out {out} cannot be written: its folder does not exist")
    dataset = results.load(path)
    experiment = experiments.made(dataset, args.experiment)
    about = read_run(folder) if (folder / "run.json").exists() else {}
    if args.quantity and "sweep" not in dataset.attrs:
        raise ValueError("--quantity is for sweeps; this is a single run")
    from dynamics.report import page

    text = page(
        experiment,
        dataset,
        command=about.get("command", ""),
        quantities=args.quantity or about.get("quantity") or (),
    )
    write_text(out, text)
    print(out)
    return 0
