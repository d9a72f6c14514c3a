"""Experiments, one folder a paper, named as its specification; `experiments.get(name)` finds one."""


def get(name: str):
    """The experiment of this name, or of a file of your own: `FILE.py:NAME` (see `registry.get`)."""
    from dynamics.experiments import registry

    return registry.get(name)


def names() -> list[str]:
    """Names of all experiments, sorted."""
    from dynamics.experiments import registry

    return registry.names()


def made(dataset, named=None):
    """The experiment that made a Dataset (see `registry.made`)."""
    from dynamics.experiments import registry

    return registry.made(dataset, named)


def recorded(name, sha256, named=None):
    """The experiment that a file names (see `registry.recorded`)."""
    from dynamics.experiments import registry

    return registry.recorded(name, sha256, named)
