"""Moving pictures from a Dataset alone, as small GIFs: neurons on their way through feature space."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from jaxtyping import Float

from dynamics import plots
from dynamics.files import write_atomically

if TYPE_CHECKING:
    import matplotlib.axes

FRAMES, FRAMES_A_SECOND, HELD = 60, 12, 18
DPI = 100  # two panels are as wide as a page shows them: 780 pixels


def plane(num_features: int) -> Float[np.ndarray, "features 2"]:
    """Where features are drawn: evenly on the unit circle, the first one at the top, clockwise."""
    angle = np.pi / 2 - 2 * np.pi * (np.arange(num_features) + 0.5) / num_features
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def positions(
    alignment: Float[np.ndarray, "*times neurons features"],
) -> Float[np.ndarray, "*times neurons 2"]:
    r"""Neurons in the plane: the features' places, weighted by $\pm\cos^2$, signed as the cosine.

    Of orthogonal features that is a feature's share of the neuron's squared norm: a neuron of one feature
    sits on it, an average of several in their middle, and one of none at the centre.
    """
    alignment = np.asarray(alignment)
    return (alignment * np.abs(alignment)) @ plane(alignment.shape[-1])


def frames(path: Float[np.ndarray, "times neurons 2"]) -> Float[np.ndarray, " frames"]:
    """Which recording times to show, in fractions: half of the film goes by time, half by distance moved."""
    moved = np.nan_to_num(np.linalg.norm(np.diff(path, axis=0), axis=-1)).sum(axis=1)
    count = len(moved)
    pace = (moved / moved.sum() if moved.sum() > 0 else np.full(count, 1 / count)) + 1 / count
    clock = np.concatenate([[0], np.cumsum(pace)])
    return np.interp(np.linspace(0, clock[-1], FRAMES), clock, np.arange(count + 1))


@plots.styled
def neurons(
    dataset: xr.Dataset,
    path: Path,
    *,
    seed: int | None = None,
    names: Mapping[str, str] = MappingProxyType({}),
) -> Path:
    """Write a GIF of every neuron's way through feature space; a panel for each arm of the run.

    Args:
      dataset: with `alignment` (seed, step, neuron, feature) and `own`, and perhaps a dimension of arms.
      path: the file to write.
      seed: which seed; None: the first.
      names: titles of arms; without one an arm is called as in the dataset.

    Raises: ValueError: nothing recorded to follow, or no such seed.
    """
    from matplotlib.animation import PillowWriter

    if "alignment" not in dataset or "own" not in dataset or dataset.sizes.get("step", 0) < 2:
        raise ValueError(
            "neurons are followed by `alignment` and `own` at two steps or more: not in this result"
        )
    seeds = dataset.seed.values.tolist()
    if seed is not None and seed not in seeds:
        raise ValueError(f"seed {seed} is not in this result; there are {', '.join(map(str, seeds))}")
    arms = _arms(dataset.sel(seed=seeds[0] if seed is None else seed), names)
    figure, axes = plots.new_figure(1, len(arms), 3.9 * len(arms), 4.2)
    moving = [_Panel(ax, name, arm) for ax, (name, arm) in zip(axes[0], arms.items(), strict=True)]
    steps = dataset.step.values
    chosen = frames(np.concatenate([panel.path for panel in moving], axis=1))
    title = figure.suptitle(f"step {steps[0]}", fontsize=12)
    figure.supxlabel(r"a dot a neuron $r$, pulled to $\mu_j$ by $\pm\cos^2(w_r, \mu_j)$", fontsize=11)
    writer = PillowWriter(fps=FRAMES_A_SECOND)

    def write(temporary: Path) -> None:
        gif = temporary.with_name(temporary.name + ".gif")  # Pillow goes by the name
        try:
            with writer.saving(figure, gif, DPI):
                for time in (*chosen, *[chosen[-1]] * HELD):
                    for panel in moving:
                        panel.show(time)
                    title.set_text(f"step {steps[int(time)]}")
                    writer.grab_frame()
            gif.replace(temporary)
        finally:
            gif.unlink(missing_ok=True)

    write_atomically(Path(path), write)
    return Path(path)


def _arms(dataset: xr.Dataset, names: Mapping[str, str]) -> dict[str, xr.Dataset]:
    extra = [dim for dim in dataset.alignment.dims if dim not in ("step", "neuron", "feature")]
    if len(extra) > 1:
        raise ValueError(f"choose one of each of {', '.join(map(str, extra[1:]))} by Dataset.sel first")
    if not extra:
        return {"": dataset}
    dim = extra[0]
    return {
        names.get(value, f"{dim}: {value}"): dataset.sel({dim: value})
        for value in dataset[dim].values.tolist()
    }


class _Panel:
    """Features on a circle, and neurons that move, each with its trail in the colour of its group."""

    def __init__(self, ax: "matplotlib.axes.Axes", name: str, arm: xr.Dataset):
        arm = arm.dropna("neuron", how="all", subset=["own"])
        own = arm.own.transpose("neuron", "feature").values > 0.5
        self.path = positions(arm.alignment.transpose("step", "neuron", "feature").values)
        places = plane(own.shape[1])
        groups = [list(g) for g in dict.fromkeys(tuple(np.flatnonzero(row)) for row in own)]
        colours = [plots.COLOURS[groups.index(list(np.flatnonzero(row))) % len(plots.COLOURS)] for row in own]
        ax.add_artist(_circle())
        ax.scatter(*places.T, s=70, marker="s", color="white", edgecolors="black", zorder=3)
        for j, place in enumerate(places):
            ax.annotate(rf"$\mu_{{{j + 1}}}$", 1.18 * place, ha="center", va="center", fontsize=13)
        self.trails = [ax.plot([], [], color=c, linewidth=1.1, alpha=0.7)[0] for c in colours]
        self.dots = ax.scatter(*self.path[0].T, s=34, c=colours, zorder=4, edgecolors="white", linewidths=0.5)
        reach = max(1.32, 1.08 * float(np.nanmax(np.abs(self.path))))
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
        ax.set_title(name, fontsize=12)
        for spine in ax.spines.values():
            spine.set_visible(False)

    def show(self, time: float) -> None:
        """Put every neuron where it is at this recording time, or between two."""
        before = int(time)
        after = min(before + 1, len(self.path) - 1)
        now = self.path[before] + (time - before) * (self.path[after] - self.path[before])
        self.dots.set_offsets(now)
        way = np.concatenate([self.path[: before + 1], now[None]])
        for r, trail in enumerate(self.trails):
            trail.set_data(*way[:, r].T)


def _circle():
    from matplotlib.patches import Circle

    return Circle((0, 0), 1, fill=False, color=plots.GREY, linewidth=0.8, linestyle=":")
