"""What a sweep of feature averaging shows: certified radii, with their laws and the theorems' exponents."""

from dynamics.experiments.feature_averaging.figures import laws_apply
from dynamics.experiments.feature_averaging.quantities import decoupled, equal_labels
from dynamics.sweep.measures import Measure


def _radius(supervision):
    # by item: where it was not recorded, the KeyError says so
    return lambda dataset: dataset["certified_radius"].sel(supervision=supervision).mean("point")


def _averaged(config):
    return config.sizes.averaged_radius() if laws_apply(config) else None


def _decoupled(config):
    """The granularity law, which is about groups of equal size."""
    readable = laws_apply(config) and config.readout == "max_logit" and equal_labels(config)
    return decoupled(config) if readable else None


def _exponents(config, clusters):
    """Powers of the radius in k, with k/n held, and in d, with centres of norm sqrt(d)."""
    return {"num_clusters": clusters} | ({} if config.centre_norm else {"dim": 0.5})


MEASURES = (
    Measure(
        "fine_radius",
        r"certified $\ell_2$ radius, fine labels",
        _radius("fine"),
        lambda config: config.trains("fine"),
        _decoupled,
        lambda config: _exponents(config, -0.5 if config.num_labels else 0.0) | {"num_labels": 0.5},
    ),
    Measure(
        "binary_radius",
        r"certified $\ell_2$ radius, binary labels",
        _radius("binary"),
        lambda config: config.trains("binary"),
        _averaged,
        lambda config: _exponents(config, -0.5),
    ),
)
