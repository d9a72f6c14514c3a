"""Training dynamics that theorems talk about: simulate many seeds, observe, and hold against the claims."""

import importlib

_PLACES = {
    "prepare": "dynamics.startup",
    "simulate": "dynamics.engine.simulate",
    "Interrupted": "dynamics.engine.simulate",
    "load": "dynamics.results",
    "save": "dynamics.results",
    "Problem": "dynamics.problem",
    "Observable": "dynamics.observables.base",
    "observable": "dynamics.observables.base",
    "parameters": "dynamics.observables.trained",
    "predictor": "dynamics.observables.trained",
    "steepest": "dynamics.descent",
    "optax": "dynamics.descent",
    "losses": "dynamics.problem",
    "Experiment": "dynamics.experiments.base",
    "Axis": "dynamics.parts",
    "Job": "dynamics.engine.job",
    "PerSeed": "dynamics.parts",
    "part": "dynamics.parts",
    "static": "dynamics.parts",
}
_MODULES = (
    "experiments",
    "observables",
    "adversary",
    "descent",
    "plots",
    "data",
    "models",
    "study",
)

__all__ = [*_PLACES, *_MODULES]


def __getattr__(name: str):
    # imported when first used, so that `dynamics --help` need not wait for JAX
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    if name == "__version__":
        from importlib import metadata

        return metadata.version("training-dynamics-lab")
    if name in _MODULES:
        return importlib.import_module(f"dynamics.{name}")
    raise AttributeError(f"module 'dynamics' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
