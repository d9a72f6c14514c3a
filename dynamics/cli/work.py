"""A run carried out in its folder: trained, saved, judged, drawn and reported."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dynamics.cli.folder import refuse_other_config, remove_checkpoint, take_place
from dynamics.words import counted, printable

EXIT_INTERRUPTED = 130
PROVENANCE = ("device", "machine", "float64", "git_revision", "created")


def carry_out(experiment: Any, config: Any, about: dict[str, Any], folder: Path) -> int:
    """Make or finish the run in `folder`, write everything, print the verdicts; returns the exit code."""
    from dynamics import results
    from dynamics.engine.simulate import Interrupted

    remove_temporary(folder)
    if (folder / "result.nc").exists():
        dataset = results.load(folder)
        refuse_other_config(experiment.config_of(dataset), config)
    else:
        try:
            dataset = train(experiment, config, about, folder)
        except Interrupted as stopped:
            results.save(stopped.dataset, folder / "partial.nc")
            print(
                f"dynamics: {stopped}; kept in {folder}, go on with `dynamics resume {folder}`",
                file=sys.stderr,
            )
            return EXIT_INTERRUPTED
        except KeyboardInterrupt:  # before the first of them was finished
            print(f"dynamics: interrupted; go on with `dynamics resume {folder}`", file=sys.stderr)
            return EXIT_INTERRUPTED
        results.save(dataset, folder / "result.nc")
    conclude(experiment, dataset, about, folder)
    return 0


def train(
    experiment: Any, config: Any, about: dict[str, Any], folder: Path, share: tuple[int, int] | None = None
) -> Any:
    """The run's Dataset, made or finished; `share`: this process's index and the number of processes."""
    return experiment.run(config, **execution(about, folder), share=share)


def execution(about: dict[str, Any], folder: Path) -> dict[str, Any]:
    """How what run.json describes is executed, as keywords of `Experiment.run` and `Experiment.swept`."""
    return {
        "seeds": about["seeds"],
        "checkpoint": folder / "checkpoint",
        "checkpoint_every": about.get("checkpoint", True),
        "strategy": about.get("strategy", "auto"),
        "engine": about.get("engine", "auto"),
        "memory": about.get("memory"),
    }


def conclude(experiment: Any, dataset: Any, about: dict[str, Any], folder: Path) -> None:
    """What follows a saved result: claims and figures, a report, and nothing left of the way there."""
    for name in ("partial.nc", ".merging"):  # the lock is left behind by a process that was killed
        (folder / name).unlink(missing_ok=True)
    remove_checkpoint(folder)
    verdicts = experiment.judge(dataset)
    write_verdicts(verdicts, folder / "claims.json")
    paths = draw(experiment, dataset, folder, about.get("command", ""))
    folder = take_place(folder, about)
    _report(experiment, dataset, verdicts)
    figures = counted(len(paths), "figure")
    overview = f"; the overview is {folder / paths[0].name}" if paths else ""
    print(f"\nresult, claims and {figures} in {folder}{overview}")


def remove_temporary(folder: Path) -> None:
    """Remove the file that a kill in the middle of a write leaves."""
    for left_over in folder.glob(".*.tmp"):
        left_over.unlink(missing_ok=True)


def write_verdicts(verdicts: list[Any], path: Path) -> None:
    """Write verdicts as JSON."""
    from dynamics.files import write_text

    write_text(path, json.dumps([verdict.to_dict() for verdict in verdicts], indent=1) + "\n")


def draw(
    experiment: Any, dataset: Any, folder: Path, command: str, names: Sequence[str] | None = None
) -> list[Path]:
    """Draw an experiment's figures of a Dataset into a folder, all or those named; returns their paths."""
    from dynamics.plots import save_figures

    about = provenance(experiment, dataset, command)
    return save_figures(experiment.draw(dataset, names), folder, about)


def provenance(experiment: Any, dataset: Any, command: str) -> dict[str, Any]:
    """What the JSON beside a figure says of how it was made."""
    return {
        "experiment": experiment.name,
        "arxiv": experiment.arxiv,
        "command": command,
        "setting": type(config := experiment.config_of(dataset)).__name__,
        "config": config.to_dict(),
        "seeds": dataset.seed.values.tolist(),
        **{name: dataset.attrs.get(name, "") for name in PROVENANCE},
        "versions": json.loads(dataset.attrs.get("versions", "{}")),
    }


def _report(experiment: Any, dataset: Any, verdicts: list[Any]) -> None:
    from dynamics.study.verdict import table, tally

    wall = float(dataset.attrs.get("wall_s", 0))
    seeds = counted(dataset.sizes["seed"], "seed")
    print(f"{experiment.name}: {seeds}, {wall:.1f} s on {printable(str(dataset.attrs.get('device', '')))}")
    if summary := experiment.summary(dataset):
        print("\n" + printable(summary))
    if verdicts:
        print(f"\n{tally([v.holds for v in verdicts], ' that this run can decide')}\n")
        print(table(verdicts))
