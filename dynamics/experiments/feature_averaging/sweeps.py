"""What a sweep of feature averaging shows: certified radii, with their laws and the theorems' exponents."""

from dynamics.experiments.feature_averaging.figures import laws_apply
from dynamics.experiments.feature_averaging.quantities import decoupled, equal_labels
from dynamics.study import Law


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
    Law(
        "fine_radius",
        r"certified $\ell_2$ radius, fine labels",
        _radius("fine"),
        _decoupled,
        exponents=lambda config: _exponents(config, -0.5 if config.num_labels else 0.0) | {"num_labels": 0.5},
        recorded=lambda config: config.trains("fine"),
    ),
    Law(
        "binary_radius",
        r"certified $\ell_2$ radius, binary labels",
        _radius("binary"),
        _averaged,
        exponents=lambda config: _exponents(config, -0.5),
        recorded=lambda config: config.trains("binary"),
    ),
)
