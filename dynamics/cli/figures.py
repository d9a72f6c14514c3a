"""`dynamics figures`: makes the pictures in figures/ anew, each from its declared command."""

import json
import shlex
import sys
import tempfile
from pathlib import Path

from dynamics.cli import arguments, run, sweep
from dynamics.cli.arguments import Parser
from dynamics.draw.gallery import Entry, choose, entries


def figures(argv: list[str]) -> int:
    """Make all declared pictures, or those of one experiment or folder."""
    parser = Parser(
        prog="dynamics figures",
        description="Make the pictures in figures/ anew: one folder an experiment, PNG with provenance.",
        allow_abbrev=False,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="only this experiment's")
    parser.add_argument("place", nargs="?", metavar="PRESET", help="only this folder or preset of it")
    parser.add_argument(
        "--out", default="figures", metavar="DIR", help="folder to write to (default figures)"
    )
    parser.add_argument("--list", action="store_true", help="show the commands, and make nothing")
    args = arguments.parse(parser, argv)
    chosen = choose(declared(), args.name, args.place)
    if args.list:
        for entry in chosen:
            print(f"{entry.folder}: {shlex.join(['dynamics', *entry.argv])}")
        return 0
    out = Path(args.out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give a folder")
    from dynamics.cli.start import start_jax

    start_jax()
    for count, entry in enumerate(chosen, 1):
        command = shlex.join(["dynamics", *entry.argv])
        print(f"{count} of {len(chosen)}, {entry.folder}: {command}", file=sys.stderr)
        for path in make(entry, out / entry.folder):
            print(path)
    return 0


def declared() -> list[Entry]:
    """The folders that all experiments declare."""
    from dynamics import experiments

    return entries({name: experiments.get(name).gallery for name in experiments.names()})


def make(entry: Entry, folder: Path) -> list[Path]:
    """Run an entry's command, and draw its pictures into a folder; returns their paths."""
    from dynamics.cli.plot import animate
    from dynamics.cli.work import draw, provenance, train
    from dynamics.files import write_text

    command = shlex.join(["dynamics", *entry.argv])
    still = [name for name in entry.figures if not name.endswith(".gif")]
    if entry.is_sweep:
        experiment, grid, args = sweep.read(sweep.command_line(), entry.argv[1:])
        dataset = experiment.swept(
            grid,
            lambda line: print(f"    {line}", file=sys.stderr),
            seeds=arguments.seeds(args.seeds, args.first_seed),
        )
        folder.mkdir(parents=True, exist_ok=True)
        return sweep.draw(experiment, dataset, folder, command, args.quantity or (), still)
    experiment, config, args = run.read(run.command_line(), entry.argv[1:])
    about = {"seeds": arguments.seeds(args.seeds, args.first_seed)}
    with tempfile.TemporaryDirectory() as temporary:
        dataset = train(experiment, config, about, Path(temporary))
    folder.mkdir(parents=True, exist_ok=True)
    paths = draw(experiment, dataset, folder, command, still)
    if len(still) < len(entry.figures):
        for path in animate(experiment, dataset, folder):
            text = json.dumps({"figure": path.stem, **provenance(experiment, dataset, command)}, indent=1)
            write_text(path.with_suffix(".json"), text + "\n")
            paths.append(path)
    return paths
