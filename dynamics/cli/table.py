"""Tables in Markdown, made from the records of experiments: of papers with their verdicts, of notebooks."""

import json
from pathlib import Path
from typing import Any

COLUMNS = ("paper", "what is claimed", "command", "figures", "verdict", "CPU minutes")


def verdicts(names: list[str], figures: Path) -> str:
    """Rows in Markdown, one an experiment, in the order of their names.

    Args:
      names: of experiments.
      figures: the folder with `NAME/verdicts.json`, as `dynamics check NAME --ablations --json` writes it.

    Raises: OSError: verdicts that are not there.
    """
    head = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    return "\n".join([*head, *(_row(name, figures) for name in names)])


def _row(name: str, figures: Path) -> str:
    from dynamics import experiments

    experiment = experiments.get(name)
    (record,) = json.loads((figures / name / "verdicts.json").read_text())
    verdicts = record["verdicts"]
    held = sum(verdict["holds"] is True for verdict in verdicts)
    cells = (
        f"[{experiment.cite}](https://arxiv.org/abs/{experiment.arxiv}), {experiment.short}",
        experiment.claimed,
        f"`dynamics check {name}`",
        ", ".join(f"[{word}](figures/{name}/{file})" for word, file in experiment.shown.items()),
        f"[{held} of {len(verdicts)}](figures/{name}/verdicts.json), {record['seeds']} seeds",
        _minutes(record),
    )
    return f"| {' | '.join(cells)} |"


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
        paper = f"[{experiment.cite}](https://arxiv.org/abs/{experiment.arxiv})"
        rows.append(f"| [{title}]({experiment.name}.ipynb) | {paper} | {experiment.about} |")
    return "\n".join(rows)
