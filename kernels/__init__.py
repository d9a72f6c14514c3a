"""Neural tangent kernels of infinite and finite networks; knows nothing of `dynamics`."""

import importlib

_MODULES = (
    "attacks",
    "blocks",
    "closed_form",
    "distillation",
    "duals",
    "eigenfeatures",
    "empirical",
    "evolution",
    "infinite",
    "regression",
    "spectra",
)
__all__ = [*_MODULES]


def __getattr__(name: str):
    # imported when first used: neural-tangents and SciPy take their time
    if name in _MODULES:
        return importlib.import_module(f"kernels.{name}")
    raise AttributeError(f"module 'kernels' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
