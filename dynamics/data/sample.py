"""What a data distribution hands to the rest of the library."""

from jaxtyping import Array, Float, Int

from dynamics.parts import part


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
    """Inputs with their labels.

    Attributes:
      x: inputs.
      y: binary labels, -1 or +1; or the targets of a regression, for the squared loss.
      target: class index that a multi-class network is trained on.
      feature: index of the feature (cluster, signal, class) that generated the input.
      patches: what each patch carries, for data made of patches; else None.
    """

    x: Float[Array, "samples *shape"]
    y: Float[Array, " samples"]
    target: Int[Array, " samples"]
    feature: Int[Array, " samples"]
    patches: Patches | None = None


@part
class Draw:
    """One seed's data: training and test samples with the feature directions behind them.

    Attributes:
      train, test: the samples; they share nothing but the features.
      features: feature directions (cluster centres, signals, class means), not normalised.
      feature_signs: binary label -1 or +1 of each feature.
      class_signs: binary label -1 or +1 of each target class.
      feature_classes: target class of each feature; None where every feature is its own class.
      carried: of data made of patches, the unit vector that a patch of each family carries for each class.
      feature_families: of data made of patches, the family of each feature.
    """

    train: Sample
    test: Sample
    features: Float[Array, "features dim"]
    feature_signs: Float[Array, " features"]
    class_signs: Float[Array, " classes"]
    feature_classes: Int[Array, " features"] | None = None
    carried: Float[Array, "families classes dim"] | None = None
    feature_families: Int[Array, " features"] | None = None
