"""Laws: a quantity, the theory's number for a config, and where it holds."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr

from dynamics.study.claim import Run


def _always(config: Any) -> bool:
    return True


def _none(config: Any) -> None:
    return None


def _no_exponents(config: Any) -> Mapping[str, float]:
    return {}


@dataclasses.dataclass(frozen=True)
class Law:
    """A number of a run, and what the theory says of it; where it holds is said here and nowhere else.

    Attributes:
      name: what `--quantity` calls it.
      label: for an axis, with symbol.
      quantity: from a result (of a run, or with the axes of a sweep), with `seed` and those axes left over.
      theory: the theory's number for a config; None where it has none.
      domain: whether it holds for a config: True, or why not, in words.
      exponents: by field, the theorem's power of that field, for which a sweep over it is fitted; given the
        config of a point.
      recorded: whether runs of a config have the quantity at all.
    """

    name: str
    label: str
    quantity: Callable[[Any], xr.DataArray]
    theory: Callable[[Any], float | None] = _none
    domain: Callable[[Any], bool | str] = _always
    exponents: Callable[[Any], Mapping[str, float]] = _no_exponents
    recorded: Callable[[Any], bool] = _always

    def applies(self, config: Any) -> bool:
        """Whether the law holds for a config."""
        return self.recorded(config) and self.domain(config) is True

    def why_not(self, config: Any) -> str:
        """Why the law does not hold for a config, in words; "" where it does."""
        found = self.domain(config)
        return "" if found is True else str(found or "this setting is not the theorem's")

    def predicted(self, config: Any) -> float | None:
        """The theory's number for a config; None where the law does not hold, or has none."""
        return self.theory(config) if self.applies(config) else None

    def error(self, run: Run) -> xr.DataArray:
        """Relative distance of a run's quantity from the theory's number; NaN where it has none."""
        exact = self.predicted(run.config)
        return np.abs(self.quantity(run) / (np.nan if exact is None else exact) - 1)
