"""Fields of settings whose data are images."""

from collections.abc import Mapping
from dataclasses import dataclass

from dynamics.data import box as boxes
from dynamics.data.shipped import SHIPPED_COUNTS
from dynamics.study.config import Config, setting


@dataclass(frozen=True, kw_only=True)
class OnImages(Config):
    """Where images come from, and what bounds them: a base of settings, beside what trains on them.

    A file is read, and refused, where the data are loaded.
    """

    data: str = setting("digits", "digits, mnist, or a path of image files")
    box: tuple[float, ...] = setting((), boxes.ABOUT, low=-boxes.FARTHEST, high=boxes.FARTHEST)

    def check(self) -> None:
        """Refuse a box that is none, or that shipped images have no need of."""
        super().check()
        boxes.asked(self.box, of_file=self.data not in SHIPPED_COUNTS, where=f"data={self.data!r}")

    def ask_for(self, counts: Mapping[str, int]) -> None:
        """Refuse to ask for more images, these by what they are, than a package ships.

        Raises: ValueError: as above.
        """
        shipped = SHIPPED_COUNTS.get(self.data)
        if shipped is not None and sum(counts.values()) > shipped:
            raise ValueError(
                f"{' + '.join(counts)} must be at most the {shipped} images of {self.data}, "
                f"got {' + '.join(map(str, counts.values()))}"
            )
