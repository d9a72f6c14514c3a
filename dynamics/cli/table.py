"""What pages list, in Markdown: papers with their verdicts, notebooks, and what problems are made of."""

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def papers(names: list[str], folder: Path) -> str:
    """Rows in Markdown, one a paper: what it is about, its picture, its verdict.

    Args:
      names: of experiments.
      folder: the one in which `figures/NAME/verdicts.json` are, as `dynamics check NAME --ablations --json`
        writes them; links are relative to it.

    Raises: OSError: verdicts that are not there.
    """
    rows = ["| paper | about | picture | verdict |", f"|{' --- |' * 4}"]
    for experiment, place, held in _verdicts(names, folder / "figures"):
        pictures = (f"[{word}](figures/{place}/{file})" for word, file in experiment.shown.items())
        cells = (
            _paper(experiment),
            experiment.about,
            next(pictures),
            f"[{held}](figures/{place}/verdicts.json)",
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def verdicts(names: list[str], folder: Path) -> str:
    """Rows in Markdown, one a paper: its claims in full, its pictures, its verdict and what that took.

    Args:
      names: of experiments.
      folder: the one with `NAME/verdicts.json`; links are relative to it.

    Raises: OSError: verdicts that are not there.
    """
    columns = ("paper", "what is claimed", "command", "figures", "verdict", "CPU minutes")
    rows = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for experiment, place, held in _verdicts(names, folder):
        record = _record(folder / place)
        cells = (
            f"{_paper(experiment)}, {experiment.short}",
            experiment.claimed,
            f"`dynamics check {place}`",
            ", ".join(f"[{word}]({place}/{file})" for word, file in experiment.shown.items()),
            f"[{held}]({place}/verdicts.json), {record['seeds']} seeds",
            _minutes(record),
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def _paper(experiment: Any) -> str:
    return f"[{experiment.cite}](https://arxiv.org/abs/{experiment.arxiv})"


def _record(folder: Path) -> dict[str, Any]:
    (record,) = json.loads((folder / "verdicts.json").read_text())
    return record


def _verdicts(names: list[str], figures: Path) -> Iterator[tuple[Any, str, str]]:
    """Each experiment, its folder, and how many of its claims held."""
    from dynamics import experiments

    for name in names:
        made = _record(figures / name)["verdicts"]
        held = sum(verdict["holds"] is True for verdict in made)
        yield experiments.get(name), name, f"{held} of {len(made)}"


def _minutes(record: dict[str, Any]) -> str:
    """Minutes of CPU; records of before these were kept have those of a clock."""
    if "cpu_seconds" in record:
        return f"{record['cpu_seconds'] / 60:.0f}"
    return f"{record['seconds'] / 60:.0f} (by the clock)"


def notebooks(names: list[str], folder: Path) -> str:
    """Rows in Markdown, one a notebook of an experiment, in the order of their names.

    Args:
      names: of experiments.
      folder: with `NAME.ipynb`, which begins with a heading.

    Raises: OSError: a notebook that is not there.
    """
    from dynamics import experiments

    rows = ["| notebook | paper | what it shows |", f"|{' --- |' * 3}"]
    for experiment in map(experiments.get, names):
        cells = json.loads((folder / f"{experiment.name}.ipynb").read_text())["cells"]
        title = "".join(cells[0]["source"]).splitlines()[0].removeprefix("# ")
        rows.append(f"| [{title}]({experiment.name}.ipynb) | {_paper(experiment)} | {experiment.about} |")
    return "\n".join(rows)


RULES = ("steepest", "gradient_flow", "proximal", "within", "on_log_loss", "traced", "named")
READERS = ("from_arrays", "load", "mnist5000", "digits")
JUDGES = ("evaluate", "survivors", "smallest_radius")


def parts() -> str:
    """All data, models, rules, attacks and observables, a line of their docstrings each, in Markdown."""
    from dynamics import adversary, data, descent, models, observables

    def having(module, method):
        return [name for name in module.__all__ if hasattr(getattr(module, name), method)]

    kinds = {
        "Data": (data, [*having(data, "sample"), *READERS]),
        "Models": (models, models.__all__),
        "Rules": (descent, RULES),
        "Attacks": (adversary, [*having(adversary, "perturb"), *JUDGES]),
        "Observables": (observables, [name for name in having(observables, "dims") if name.islower()]),
    }
    return "\n\n".join(
        "\n".join([f"**{kind}** (`{module.__name__}`)\n", *(_line(module, name) for name in names)])
        for kind, (module, names) in kinds.items()
    )


def _line(module, name):
    thing = getattr(module, name)
    is_observable = hasattr(thing, "dims") and not isinstance(thing, type)
    dims = f" ({', '.join(thing.dims)})" if is_observable and thing.dims else ""
    text = inspect.getdoc(thing.measure.function if is_observable else thing) or ""
    return f"- `{name}`{dims}: {text.splitlines()[0]}"
