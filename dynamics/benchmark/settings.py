"""What is timed: named settings, each with its sizes; what a worker is told of one is a plain dict."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

CHECKED_SEEDS = 2  # the float64 run is slow, and a row that is wrong is wrong on every seed
RECORDS = 8


@dataclass(frozen=True)
class Setting:
    """A network on data, with the rule that trains it.

    Attributes:
      name: what `--settings` calls it; with "(changed)" once a size is not its own.
      about: one line for the table.
      model: `two_layer`, `patch` or `kernel`.
      rule: `gd` (gradient descent) or `sign` (signs of the gradient).
      rate: step size.
      init_scale: standard deviation of the initial parameters.
      width: as the model counts it.
      dim, samples: size of the data (of a patch, for `patch`).
      data: what else fixes the data.
    """

    name: str
    about: str
    model: str
    rule: str
    rate: float
    init_scale: float
    width: int
    dim: int
    samples: int
    data: dict[str, Any] = field(default_factory=dict)

    def resized(self, dim: int | None, samples: int | None) -> "Setting":
        """The setting at other sizes, which its name then says.

        Raises: ValueError: fewer dimensions than the data needs.
        """
        dim, samples = dim or self.dim, samples or self.samples
        if (dim, samples) == (self.dim, self.samples):
            return self
        if dim < (least := self.data.get("num_clusters", 2)):
            raise ValueError(f"--dim must be at least {least} for the setting {self.name}, got {dim}")
        return dataclasses.replace(self, name=f"{self.name} (changed)", dim=dim, samples=samples)

    @property
    def num_neurons(self) -> int:
        """Neurons of the network; a two-layer network has `width` of each sign."""
        return 2 * self.width if self.model == "two_layer" else self.width

    @property
    def num_inputs(self) -> int:
        """Vectors that the first layer sees a step: the samples, or all their patches."""
        return self.samples * self.data.get("num_patches", 1)

    def job(self, seeds: int, steps: int) -> dict[str, Any]:
        """What a worker is told; a kernel takes no steps."""
        from dynamics.engine.schedule import log_spaced

        steps = 0 if self.model == "kernel" else steps

        return {
            **dataclasses.asdict(self),
            "num_neurons": self.num_neurons,
            "seeds": seeds,
            "steps": steps,
            "when": log_spaced(steps, RECORDS),
            "checked_seeds": min(seeds, CHECKED_SEEDS),
        }


_CLUSTERS = {"num_clusters": 10, "num_test": 10}
_PAPER = Setting(
    name="paper",
    about="feature averaging at the paper's size, gradient descent",
    model="two_layer",
    rule="gd",
    rate=1e-3,
    init_scale=1e-5,
    width=5,
    dim=3072,
    samples=1000,
    data=_CLUSTERS,
)
SETTINGS = {
    setting.name: setting
    for setting in (
        _PAPER,
        dataclasses.replace(
            _PAPER, name="sign", about="the same with signs of the gradient", rule="sign", rate=1e-5
        ),
        Setting(
            name="patch",
            about="a patch network: one signal patch, one noise patch, cubic activation",
            model="patch",
            rule="gd",
            rate=0.02,
            init_scale=0.1,
            width=20,
            dim=100,
            samples=20,
            data={"num_patches": 2, "num_test": 10, "power": 3},
        ),
        Setting(
            name="ntk",
            about="the neural tangent kernel of a two-layer ReLU network on 2,000 points",
            model="kernel",
            rule="",
            rate=0.0,
            init_scale=1.0,
            width=0,
            dim=3072,
            samples=2000,
        ),
    )
}
