"""What the kernel picture of wide networks says, checked: closed forms against networks and data.

On the subject of Cagnetta, Oliveira, Sabanayagam, Tsilivis & Kempe 2023, arXiv:2307.02693 (lecture notes),
whose text was not available: what is checked here is our choice of the results that such notes rest on.

Parts, one at a time: `kernels` (a finite network's kernel as width grows), `width` (how far training leaves
linearity), `linear` (function-space dynamics), `ensemble` (distributions over initial weights, against a
Gaussian process), `spectral_bias` (which frequencies are learned, and when), `sphere` (the spectrum on S^2),
`learning_curves` (error against the number of samples), `hypercube` (parities), `distillation` (a few
learned images) and `eigenfeatures` (digits, by rank and by time).
"""

import dataclasses
from itertools import pairwise
from typing import Any, Literal

from dynamics import keys
from dynamics.data import box as boxes
from dynamics.data.shipped import SHIPPED_COUNTS
from dynamics.engine.stages import Training, in_precision
from dynamics.experiments.kernels_data_physics import networks
from dynamics.experiments.kernels_data_physics import on_data as from_data
from dynamics.study.config import RunConfig, setting

PARTS = {
    "kernels": networks.kernels,
    "width": networks.width,
    "linear": networks.linear,
    "ensemble": networks.ensemble,
    "spectral_bias": networks.spectral_bias,
    "sphere": from_data.sphere,
    "learning_curves": from_data.learning_curves,
    "hypercube": from_data.hypercube,
    "distillation": from_data.distillation,
    "eigenfeatures": from_data.eigenfeatures,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Settings; in parentheses the parts that look at a field. Learning rates are relative to lambda_max."""

    part: Literal[
        "kernels", "width", "linear", "ensemble", "spectral_bias", "sphere", "learning_curves", "hypercube",
        "distillation", "eigenfeatures",
    ] = setting(
        "spectral_bias",
        "what is simulated: claims X1 to X10 in this order; X11 is spectral_bias with large amplitudes",
    )  # fmt: skip
    activation: Literal["relu", "erf", "leaky_relu"] = setting("relu", "activation of networks and kernels")
    trained: Literal["first", "second", "both"] = setting("both", "layers that train")
    biases: bool = setting(False, "hidden biases, which start at 0 and train")
    output: Literal["sign", "normal"] = setting("sign", "law of the output weights a_r")
    doubled: bool = setting(False, "start at 0 by pairs of opposite neurons; spectral_bias always does")
    init_scale: float = setting(1.0, "factor on the initial weights; theory is for 1", above=0)
    width: int = setting(1024, "neurons m (linear, ensemble, spectral_bias)", low=1)
    widths: tuple[int, ...] = setting((128, 512, 2048), "widths (kernels, width)", low=1)
    draws: int = setting(
        32, "networks or data sets that a seed's mean is over (kernels, learning_curves)", low=2
    )
    num_samples: int = setting(10, "training points (kernels, width, linear, ensemble)", low=2)
    num_test: int = setting(10, "test points (width, ensemble)", low=1)
    dim: int = setting(5, "dimension of the sphere's space (kernels, width, linear, ensemble)", low=2)
    target: Literal["xor", "linear", "random"] = setting(
        "xor", "labels on the sphere (width, linear, ensemble)"
    )
    data_seed: int = setting(
        0, "the draw of points that all networks share (width, linear, ensemble)", low=0, high=keys.MOST
    )
    great_circle: bool = setting(False, "test points along a great circle (width, ensemble)")
    amplitude: float = setting(1.0, "factor A on targets (width, linear, ensemble)")
    mean_field: bool = setting(
        False, "mean-field scaling: targets grow as the root of width over the smallest width (width)"
    )
    rates: tuple[float, ...] = setting((1.0,), "learning rates times lambda_max (linear)", above=0)
    linearized: bool = setting(True, "train the network linearised at its start (linear)")
    times: tuple[int, ...] = setting((0, 20, 400), "steps at which outputs are recorded (ensemble)", low=0)
    grid: int = setting(64, "points N on the circle (spectral_bias)", low=4)
    frequencies: tuple[int, ...] = setting((2, 4, 6, 8), "target frequencies k (spectral_bias)", low=0)
    amplitudes: tuple[float, ...] = setting((0.1,), "target amplitudes A (spectral_bias)", above=0)
    horizon: float = setting(
        1.6,
        "train for so many times the longest predicted time; without one for `steps` (spectral_bias)",
        above=0,
    )
    rate: float = setting(0.5, "learning rate times lambda_max (spectral_bias)", above=0, below=2)
    sphere_points: int = setting(1500, "points on S^2 (sphere)", low=19)
    sizes: tuple[int, ...] = setting(
        (16, 32, 64, 128, 256), "numbers of samples (learning_curves, hypercube)", low=1
    )
    exponents: tuple[float, ...] = setting(
        (2.0, 4.0, 8.0), "teacher's power exponents a (learning_curves)", above=1
    )
    modes: int = setting(3000, "teacher's frequencies (learning_curves)", low=1)
    regular: bool = setting(False, "samples on a regular grid (learning_curves)")
    aliases: Literal["own", "first", "second", "both"] = setting(
        "own",
        "layers whose kernel the exact predictor is of: those that train, or others (learning_curves)",
    )
    cube_dim: int = setting(16, "dimension of the hypercube", low=1)
    degrees: tuple[int, ...] = setting((1, 2, 3), "parities' degrees p (hypercube)", low=0)
    bias_std: float = setting(0.0, "sigma_b of the kernel (hypercube, distillation, eigenfeatures)", low=0)
    depth: int = setting(1, "hidden layers of the kernel (hypercube, distillation, eigenfeatures)", low=1)
    data: str = setting("digits", "digits, mnist, or a path of images (distillation, eigenfeatures)")
    box: tuple[float, ...] = setting((), boxes.ABOUT, low=-boxes.FARTHEST, high=boxes.FARTHEST)
    num_images: int = setting(1200, "training images (distillation, eigenfeatures)", low=2)
    num_test_images: int = setting(500, "test images (distillation, eigenfeatures)", low=1)
    support: tuple[int, ...] = setting((10, 20, 50), "numbers of learned images (distillation)", low=1)
    learning_rate: float = setting(1e-2, "Adam's step size (distillation)", above=0)
    classes: tuple[int, ...] = setting((3, 8), "labels -1 and +1 of images (eigenfeatures)", low=0)
    radius: float = setting(0.1, "l_inf radius of the attacks (eigenfeatures)", low=0)
    kept: tuple[int, ...] = setting((1, 2, 5, 10, 20, 50, 100, 200), "features kept (eigenfeatures)", low=1)
    flow_times: tuple[float, ...] = setting(
        (1, 3, 10, 30, 100, 300, 1000), "times in units of 1/lambda_max (eigenfeatures)", above=0
    )

    def check(self) -> None:
        """Refuse what does not fit together."""
        super().check()
        listed = ("widths", "rates", "times", "frequencies", "amplitudes", "sizes", "exponents", "degrees",
                  "support", "kept", "flow_times")  # fmt: skip
        for name in listed:
            values = getattr(self, name)
            if not values:
                raise ValueError(f"{name} must not be empty")
            if any(b <= a for a, b in pairwise(values)):
                raise ValueError(f"{name} must increase, got {', '.join(f'{v:g}' for v in values)}")
        pairs = self.doubled or self.part == "spectral_bias"
        used = self.widths if self.part in ("kernels", "width") else (self.width,)
        if pairs and self.part in networks.PARTS and any(m % 2 for m in used):
            raise ValueError(f"doubled networks need even widths, got {', '.join(map(str, used))}")
        if self.part == "spectral_bias" and max(self.frequencies) >= self.grid / 2:
            raise ValueError(
                f"frequencies must be below grid / 2 = {self.grid / 2:g}, got {max(self.frequencies)}"
            )
        if self.part == "hypercube" and max(self.degrees) > self.cube_dim:
            raise ValueError(f"degrees must be at most cube_dim={self.cube_dim}, got {max(self.degrees)}")
        if self.part == "ensemble" and self.doubled:
            raise ValueError("part ensemble is about networks that do not start at 0: leave doubled out")
        if self.part == "ensemble" and max(self.times) > self.steps:
            raise ValueError(f"times must be at most steps={self.steps}, got {max(self.times)}")
        if self.part == "kernels" and len(self.widths) < 2:
            raise ValueError("give at least two widths, to show a rate")
        if self.part == "learning_curves" and len(self.sizes) < 2:
            raise ValueError("give at least two sizes, to show a rate")
        if self.part == "learning_curves" and self.shared_data:
            raise ValueError("shared_data is not for learning_curves, whose seeds are draws of the data")
        if self.batch_size:
            raise ValueError(f"batch_size must be 0: theory is for full batches, got {self.batch_size}")
        on_images = self.part in ("distillation", "eigenfeatures")
        of_file = on_images and self.data not in SHIPPED_COUNTS
        boxes.asked(self.box, of_file=of_file, where=f"part={self.part!r} and data={self.data!r}")
        if on_images:
            from_data.check_images(self)


_CIRCLE = Config(width=2048, records=200)
NETS = Config(part="width", widths=(128, 512, 2048, 8192), steps=400, records=2)
PRESETS = {
    "small": _CIRCLE,
    "paper": dataclasses.replace(
        _CIRCLE, width=8192, frequencies=(2, 4, 6, 8, 10, 12), amplitudes=(0.1, 1.0), grid=128
    ),
    "kernels": Config(part="kernels", widths=(64, 256, 1024, 4096)),
    "width": NETS,
    "linear": Config(part="linear", width=256, rates=(1.0, 1.95, 2.05), steps=400),
    # of the first 40 draws the best conditioned one: on others networks of width 1,024 are not wide
    "ensemble": Config(part="ensemble", num_samples=6, dim=4, steps=400, data_seed=26),
    "bands": Config(
        part="ensemble", num_samples=6, dim=2, steps=400, num_test=72, great_circle=True, times=(0, 20, 400)
    ),
    "biases": dataclasses.replace(_CIRCLE, biases=True, frequencies=(2, 3, 4, 5, 6)),
    "amplitude": dataclasses.replace(_CIRCLE, frequencies=(4, 6, 8), amplitudes=(0.1, 0.3, 1.0)),
    "sphere": Config(part="sphere"),
    "learning_curves": Config(part="learning_curves", trained="first", biases=True, draws=20),
    "hypercube": Config(part="hypercube", sizes=(32, 64, 128, 256, 512, 1024)),
    "distillation": Config(part="distillation", steps=300, records=16),
    "eigenfeatures": Config(part="eigenfeatures", num_images=250, num_test_images=100, bias_std=0.1),
}


def train(config: Config) -> Training:
    """The part asked for, in float64: small eigenvalues need its digits."""
    return in_precision(True, PARTS[config.part], config)


def old(values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Setting and fields of a result from before `aliases` took the place of `alias_biases`."""
    return "Config", {name: value for name, value in values.items() if name != "alias_biases"}
