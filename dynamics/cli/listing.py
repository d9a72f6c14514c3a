"""`dynamics list`: what experiments there are, read without running them, so that it takes no time."""

import ast
from collections.abc import Sequence
from pathlib import Path

WANTED = ("name", "arxiv", "about")


def listing(names: Sequence[str] = (), folder: str | None = None, *, parts: bool = False) -> int:
    """Print name, arXiv id and one line of every experiment, or of those named.

    Args:
      folder: of notebooks, of figures, or that of the figures' folder, as `--table` names it: print the
        table of them instead.
      parts: print what problems are made of instead.
    """
    if parts:
        from dynamics.cli import table

        print(table.parts())
        return 0
    if folder is not None:
        from dynamics import experiments
        from dynamics.cli import table

        kind = table.papers if (Path(folder) / "figures").is_dir() else table.verdicts
        kind = table.notebooks if any(Path(folder).glob("*.ipynb")) else kind
        print(kind(list(names) or experiments.names(), Path(folder)))
        return 0
    found = list(map(named, names)) or list(map(about, modules()))
    width = max(len(each["name"]) for each in found)
    for each in found:
        print(f"{each['name']:<{width}}  arXiv:{each['arxiv']}  {each['about']}")
    return 0


def modules() -> list[Path]:
    """The records of the experiments, by name."""
    from dynamics import experiments

    paths = [path for folder in experiments.__path__ for path in Path(folder).glob("*/__init__.py")]
    return sorted(path for path in paths if "\nEXPERIMENT = " in path.read_text(encoding="utf-8"))


def about(path: Path) -> dict[str, str]:
    """Name, arXiv id and one line of the experiment in a file: its literals, or else the module's objects."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            values = {
                word.arg: word.value.value
                for word in statement.value.keywords
                if isinstance(word.value, ast.Constant) and isinstance(word.value.value, str)
            }
            if ast.unparse(statement.targets[0]) == "EXPERIMENT" and set(WANTED) <= set(values):
                return {name: values[name] for name in WANTED}
    return named(path.parent.name)


def named(name: str) -> dict[str, str]:
    """The same of an experiment by its name."""
    from dynamics import experiments

    experiment = experiments.get(name)
    return {name: getattr(experiment, name) for name in WANTED}
