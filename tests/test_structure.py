"""The house stands: imports run downwards, in no circle, and a paper's folder keeps to its rooms."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

import dynamics

ROOT = Path(__file__).parents[1]
# from the ground up: a module may import from its own floor and from those before it
FLOORS = (
    ("names", "words", "asides", "startup", "files", "linalg", "keys", "descriptions", "parts", "results"),
    ("descent",),
    ("data",),
    ("problem",),
    ("models", "adversary"),
    ("observables",),
    ("engine",),
    ("laws", "draw", "plots", "study"),
    ("sweep",),
    ("experiments",),
    ("report", "benchmark", "cli", "__main__"),
)
PAPERS = sorted(p.parent for p in (ROOT / "dynamics/experiments").glob("*/__init__.py"))


@cache
def imports() -> dict[str, set[str]]:
    """The modules that each module imports, at its top or inside a function."""
    paths = {}
    for path in (*(ROOT / "dynamics").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found = {}
    for module, path in paths.items():
        there = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                there |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                there |= {name if name in paths else node.module for name in names}
        found[module] = there & set(paths)
    return found


def floor(module: str) -> int | None:
    """The number of a module's floor; None for the package itself."""
    parts = module.split(".")
    if len(parts) < 2:
        return None
    return next(number for number, names in enumerate(FLOORS) if parts[1] in names)


def test_the_package_has_what_it_names():
    assert [name for name in dynamics.__all__ if not hasattr(dynamics, name)] == []


def test_there_is_no_circle():
    done: set[str] = set()

    def follow(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join((*way[way.index(module) :], module))
        if module not in done:
            for other in sorted(imports()[module]):
                follow(other, (*way, module))
            done.add(module)

    for module in imports():
        follow(module, ())


@pytest.mark.parametrize("module", sorted(m for m in imports() if m.startswith("dynamics.")))
def test_imports_run_downwards(module):
    for other in imports()[module] & {name for name in imports() if name.startswith("dynamics.")}:
        assert floor(other) <= floor(module), f"{module} imports {other}, which is above it"


def test_kernels_are_a_house_of_their_own():
    for module in (name for name in imports() if name.split(".")[0] == "kernels"):
        assert not [other for other in imports()[module] if other.startswith("dynamics")], module


@pytest.mark.parametrize("folder", PAPERS, ids=lambda folder: folder.name)
def test_a_papers_folder_keeps_to_its_rooms(folder):
    here = f"dynamics.experiments.{folder.name}"
    others = {f"dynamics.experiments.{paper.name}" for paper in PAPERS} - {here}
    for path in folder.glob("*.py"):
        text = path.read_text()
        module = here if path.stem == "__init__" else f"{here}.{path.stem}"
        used = {".".join(name.split(".")[:3]) for name in imports()[module]}
        assert not used & others, path
        assert text.count("\n") <= 400, path
        assert not path.stem.startswith("_") or path.stem == "__init__"
        for word in (r"\bsimulate\(", r"\bfrom_dict\(", r"\bjson\.loads\("):
            assert not re.search(word, text), (path, word)
    assert (
        not {f"{here}.{room}" for room in ("quantities", "claims", "figures")} & imports()[f"{here}.setting"]
    )
