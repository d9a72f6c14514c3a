"""The pictures in figures/: which command makes each, as the records of experiments declare them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple


class Pictures(NamedTuple):
    """A folder of an experiment's pictures, as its record declares it.

    Attributes:
      place: folder below the experiment's; "": that itself.
      options: of `dynamics run`, or of `dynamics sweep` if a setting is varied, in one line.
      figures: names, in one line; animations by the end .gif.
    """

    place: str
    options: str
    figures: str


class Entry(NamedTuple):
    """A folder of pictures of one experiment; the attributes are those of `Pictures`, in words."""

    experiment: str
    place: str
    options: tuple[str, ...]
    figures: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where they go, below figures/."""
        return Path(self.experiment) / self.place

    @property
    def is_sweep(self) -> bool:
        """Whether a setting is varied."""
        return "--vary" in self.options

    @property
    def argv(self) -> list[str]:
        """The command's arguments."""
        return ["sweep" if self.is_sweep else "run", self.experiment, *self.options]

    @property
    def preset(self) -> str:
        """The preset that is run."""
        return self.options[self.options.index("--preset") + 1] if "--preset" in self.options else "small"


def entries(declared: Mapping[str, Sequence[Pictures]]) -> list[Entry]:
    """The folders of all experiments, from what each declares, by name."""
    return [
        Entry(name, each.place, tuple(each.options.split()), tuple(each.figures.split()))
        for name, folders in declared.items()
        for each in folders
    ]


def choose(entries: Sequence[Entry], name: str | None = None, place: str | None = None) -> list[Entry]:
    """The entries of an experiment, and of those the one of a folder or preset; None: all.

    Args:
      name: the experiment's; or, with its folder, `NAME/PLACE`.

    Raises: ValueError: there is none.
    """
    if name and place is None and "/" in name:
        name, _, place = name.partition("/")
    own = [entry for entry in entries if name in (None, entry.experiment)]
    if not own:
        known = ", ".join(dict.fromkeys(entry.experiment for entry in entries))
        raise ValueError(f"no figures of {name!r} are declared; there are those of {known}")
    if place is None:
        return own
    found = [entry for entry in own if entry.place == place != ""] or [
        entry for entry in own if entry.preset == place and not entry.is_sweep
    ]
    if not found:
        known = ", ".join(entry.place or entry.preset for entry in own)
        raise ValueError(f"{name} has no figures called {place!r}; there are {known}")
    return found
