"""Experiments, one file a paper, named as its specification; `experiments.get(name)` finds one."""


def get(name: str):
    """The experiment of this name (see `registry.get`)."""
    from dynamics.experiments import registry

    return registry.get(name)


def names() -> list[str]:
    """Names of all experiments, sorted."""
    from dynamics.experiments import registry

    return registry.names()
