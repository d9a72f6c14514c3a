"""The pictures in figures/: which command makes each, and how they are made anew."""

from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """A folder of pictures.

    Attributes:
      experiment: whose run they are of.
      place: folder below the experiment's; "": that itself.
      options: of `dynamics run`, or of `dynamics sweep` if a setting is varied.
      figures: names; animations by the end .gif.
    """

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


def _entry(experiment: str, place: str, options: str, figures: str) -> Entry:
    return Entry(experiment, place, tuple(options.split()), tuple(figures.split()))


_AVERAGING, _PATCHES = "feature_averaging", "robust_feature_learning"
_OVERFITTING, _MARGIN = "clean_generalization_robust_overfitting", "flavors_of_margin"
_KERNEL, _PHYSICS, _DISTILLED = "ntk_eigenfeatures", "kernels_data_physics", "robust_data_distillation"
_BARE = "--preset paper --attack-steps 0 --records 2"
ENTRIES = (
    _entry(
        _AVERAGING,
        "",
        "--preset paper --seeds 16",
        "overview alignment feature_maps growth robust_accuracy neurons.gif",
    ),
    _entry(_AVERAGING, "mnist", "--preset mnist --seeds 3", "overview robust_accuracy"),
    _entry(
        _AVERAGING,
        "clusters",
        f"{_BARE} --dim 2048 --vary num_clusters=4,6,8,12,16,24 --tie num_samples=100*num_clusters "
        "--tie learning_rate=3.07/dim --seeds 8",
        "curve",
    ),
    _entry(
        _AVERAGING,
        "dimension",
        f"{_BARE} --supervision binary --num-clusters 8 --num-samples 800 --vary dim=512,1024,2048,4096 "
        "--tie learning_rate=3.07/dim --seeds 8",
        "curve",
    ),
    _entry(
        _AVERAGING,
        "labels",
        f"{_BARE} --supervision fine --dim 1024 --vary num_clusters=4,8,16,32 --vary num_labels=2,4,8,16,32 "
        "--tie num_samples=100*num_clusters --tie learning_rate=3.07/dim --seeds 4",
        "phase curve",
    ),
    _entry(_PATCHES, "", "--seeds 16", "overview neurons"),
    _entry(_PATCHES, "crossing", "--preset crossing --seeds 16", "overview"),
    _entry(_PATCHES, "digits", "--preset digits --seeds 2", "overview"),
    _entry(_OVERFITTING, "", "--seeds 8", "overview accuracy neurons phases"),
    _entry(_OVERFITTING, "construction", "--preset construction --seeds 8", "overview"),
    _entry(_OVERFITTING, "digits", "--preset digits --seeds 2", "overview landscape width"),
    _entry(_OVERFITTING, "mnist", "--preset mnist --seeds 1", "overview"),
    _entry(
        _OVERFITTING,
        "memory",
        "--attack-steps 0 --steps 30000 --vary num_samples=10,20,40 --vary adversarial_weight=0.3,0.5,0.9 "
        "--measure memory_time --seeds 16",
        "curve",
    ),
    _entry(_OVERFITTING, "threshold", "--preset threshold --seeds 8", "overview threshold"),
    _entry(_MARGIN, "", "--seeds 16", "overview margin_matrix neurons stationarity weights"),
    _entry(_MARGIN, "adam", "--preset adam --seeds 8", "adam"),
    _entry(_MARGIN, "digits", "--preset digits --seeds 4", "overview margin_matrix weights"),
    _entry(_MARGIN, "linear", "--preset linear --seeds 16", "overview margin_matrix rates"),
    _entry(_KERNEL, "", "--preset networks --seeds 4", "overview"),
    _entry(_KERNEL, "clusters", "--preset clusters --seeds 2", "overview"),
    _entry(_KERNEL, "cnn", "--preset cnn --seeds 1", "overview distances"),
    _entry(_KERNEL, "evolution", "--preset evolution --seeds 4", "overview distances"),
    _entry(_KERNEL, "mnist", "--preset mnist --seeds 4", "overview architectures gradients"),
    _entry(_KERNEL, "width", "--preset width --seeds 4", "overview"),
    _entry(_PHYSICS, "", "--seeds 4", "overview"),
    _entry(_PHYSICS, "amplitude", "--preset amplitude --seeds 4", "overview"),
    _entry(_PHYSICS, "bands", "--preset bands --seeds 1000", "overview"),
    _entry(_PHYSICS, "biases", "--preset biases --seeds 4", "overview"),
    _entry(_PHYSICS, "distillation", "--preset distillation --seeds 3", "overview images"),
    _entry(_PHYSICS, "eigenfeatures", "--preset eigenfeatures --seeds 4", "overview"),
    _entry(_PHYSICS, "ensemble", "--preset ensemble --seeds 1000", "overview"),
    _entry(_PHYSICS, "hypercube", "--preset hypercube --bias-std 1 --seeds 5", "overview"),
    _entry(_PHYSICS, "kernels", "--preset kernels --seeds 8", "overview"),
    _entry(_PHYSICS, "learning_curves", "--preset learning_curves --seeds 4", "overview"),
    _entry(_PHYSICS, "linear", "--preset linear --seeds 4", "overview"),
    _entry(_PHYSICS, "sphere", "--preset sphere --seeds 4", "overview"),
    _entry(_PHYSICS, "width", "--preset width --seeds 16", "overview"),
    _entry(_DISTILLED, "", "--seeds 3", "overview images"),
    _entry(_DISTILLED, "deployed", "--preset deployed --seeds 2", "overview"),
    _entry(_DISTILLED, "mnist", "--preset mnist --seeds 1", "overview images"),
    _entry(_DISTILLED, "rescaling", "--preset rescaling --seeds 3", "overview"),
    _entry(_DISTILLED, "standard", "--preset standard --seeds 3", "overview"),
)


def choose(name: str | None = None, place: str | None = None) -> list[Entry]:
    """The entries of an experiment, and of those the one of a folder or preset; None: all.

    Args:
      name: the experiment's; or, with its folder, `NAME/PLACE`.

    Raises: ValueError: there is none.
    """
    if name and place is None and "/" in name:
        name, _, place = name.partition("/")
    own = [entry for entry in ENTRIES if name in (None, entry.experiment)]
    if not own:
        known = ", ".join(dict.fromkeys(entry.experiment for entry in ENTRIES))
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
