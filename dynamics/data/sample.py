"""What a data distribution hands to the rest of the library."""

from typing import Any

from jaxtyping import Array, Float, Int, Num

from dynamics.parts import part

MISSING = {
    "features": "features: give features= an array (features, dim), to data.from_arrays or to the Draw of "
    "your own data",
    "feature_signs": "signs of features: give feature_signs= -1 or +1 of each, to data.from_arrays or to the "
    "Draw of your own data",
    "feature": "feature of a sample: give feature= the index of each one's, to the Sample of your own data",
}


def stated(where: Any, name: str) -> Any:
    """What a draw or a sample says of features.

    Raises: ValueError: it says nothing.
    """
    value = getattr(where, name)
    if value is None:
        raise ValueError(f"the data name no {MISSING[name]}")
    return value


@part
class Patches:
    """What the patches of inputs carry: `amplitude` times a unit vector of the sample's class, and noise.

    Attributes:
      family: which of the class's directions (`Draw.carried`) the patch holds; -1: noise alone.
      amplitude: its strength; 0 in a patch of noise.
    """

    family: Int[Array, "samples patches"]
    amplitude: Float[Array, "samples patches"]


@part
class Sample:
    """Inputs with what a loss compares the outputs with: any of it may be missing, if no one asks for it.

    Attributes:
      x: inputs.
      y: binary labels, -1 or +1; or the targets of a regression, of the shape of the network's outputs.
      target: class index that a multi-class network is trained on.
      feature: index of the feature (cluster, signal, class) that generated the input.
      patches: what each patch carries, for data made of patches; else None.
      weights: how much each sample counts in the loss, 0 or more; None: all alike. Accuracies and margins
        do not look at them.
    """

    x: Float[Array, "samples *shape"]
    y: Num[Array, "samples *outputs"] | None = None
    target: Int[Array, " samples"] | None = None
    feature: Int[Array, " samples"] | None = None
    patches: Patches | None = None
    weights: Num[Array, " samples"] | None = None


@part
class Draw:
    """One seed's data: training and test samples with the feature directions behind them.

    Attributes:
      train, test: the samples; they share nothing but the features.
      features: feature directions (cluster centres, signals, class means), not normalised; None: none known.
      feature_signs: binary label -1 or +1 of each feature.
      class_signs: binary label -1 or +1 of each target class.
      feature_classes: target class of each feature; None where every feature is its own class.
      carried: of data made of patches, the unit vector that a patch of each family carries for each class.
      feature_families: of data made of patches, the family of each feature.
    """

    train: Sample
    test: Sample
    features: Float[Array, "features dim"] | None = None
    feature_signs: Float[Array, " features"] | None = None
    class_signs: Float[Array, " classes"] | None = None
    feature_classes: Int[Array, " features"] | None = None
    carried: Float[Array, "families classes dim"] | None = None
    feature_families: Int[Array, " features"] | None = None
