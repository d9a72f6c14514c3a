"""`dynamics check`: makes the runs that claims rest on, and says which claims hold."""

import json
import shlex
import sys
import time
from pathlib import Path

from dynamics.cli import arguments
from dynamics.cli.arguments import Parser
from dynamics.files import check_writable, write_text
from dynamics.words import counted, whole

EXIT_CLAIM_FAILED = 1


def check(argv: list[str]) -> int:
    """Judge the claims of one experiment or all; returns 1 unless all hold, and each ablation fails."""
    parser = Parser(
        prog="dynamics check",
        description="Make every run that the claims rest on, each distinct one once, and judge.",
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="experiment, FILE.py:NAME, or all")
    parser.add_argument("--seeds", default="8", metavar="N", help="seeds of each run (default 8)")
    parser.add_argument("--json", metavar="FILE", help="also write the verdicts to FILE")
    parser.add_argument("--claims", metavar="ID,ID", help="only these claims")
    parser.add_argument(
        "--ablations", action="store_true", help="also run each claim's ablation, which should fail"
    )
    parser.add_argument(
        "--allow-undecided", action="store_true", help="exit with 0 though these runs leave a claim undecided"
    )
    parser.add_argument("--x64", action="store_true", help="compute in float64")
    arguments.add_engine(parser)
    args = arguments.parse(parser, argv)
    seeds = whole("--seeds", args.seeds, 1, arguments.MOST_SEEDS)
    how = {"engine": arguments.engine(args.engine), "memory": arguments.memory(args)}
    from dynamics import experiments

    names = experiments.names() if args.name == "all" else [args.name]
    found = [experiments.get(name) for name in names]
    if args.json is not None:
        check_writable("--json", Path(args.json))
    from dynamics.cli.start import start_jax
    from dynamics.results import provenance
    from dynamics.study.verdict import table, tally, was_ablated

    start_jax(args.x64)
    begun, records, verdicts = time.perf_counter(), [], []

    def say(line: str) -> None:
        print(f"[{time.perf_counter() - begun:6.1f} s] {line}", file=sys.stderr)

    for experiment in found:
        claims = None if args.claims is None else args.claims.split(",")
        first, first_cpu = time.perf_counter(), time.process_time()
        made = experiment.check(seeds=seeds, ablations=args.ablations, claims=claims, say=say, **how)
        seconds, cpu_seconds = time.perf_counter() - first, time.process_time() - first_cpu
        verdicts += made
        summary = f"{tally([v.holds for v in made])} over {counted(seeds, 'seed')}, {seconds:.0f} s"
        print(f"{experiment.name}: {summary}\n\n{table(made)}\n", flush=True)
        if args.json is not None:
            origin = provenance()
            records.append({
                "experiment": experiment.name,
                "arxiv": experiment.arxiv,
                "command": f"dynamics check {shlex.join(_without_folder(argv, args.json))}",
                "seeds": seeds,
                "seconds": round(seconds, 1),
                "cpu_seconds": round(cpu_seconds, 1),
                **origin | {"versions": json.loads(origin["versions"])},
                "verdicts": [verdict.to_dict() for verdict in made],
            })  # fmt: skip
            write_text(Path(args.json), json.dumps(records, indent=1) + "\n")
    accepted = (True, None) if args.allow_undecided else (True,)
    sound = all(v.holds in accepted for v in verdicts)
    sound = sound and all(v.ablation["holds"] is False for v in verdicts if was_ablated(v.ablation))
    return 0 if sound else EXIT_CLAIM_FAILED


def _without_folder(argv: list[str], record: str) -> list[str]:
    """The command line, whose record says nothing of the machine's folders."""
    name = Path(record).name
    short = {record: name, f"--json={record}": f"--json={name}"}
    return [short.get(word, word) for word in argv]
