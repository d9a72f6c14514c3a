"""The worker of the kernel setting: this library's NTK of a two-layer ReLU network, block by block."""

from typing import Any

import numpy as np
from jaxtyping import Float

from dynamics.benchmark.ours import device, single_precision
from dynamics.benchmark.serve import Clock, serve

SHOWN = 50  # rows of the kernel that are compared


class Kernel:
    """The closed form for a job's points."""

    def __init__(self, job: dict[str, Any]):
        from kernels import blocks, closed_form

        single_precision()
        self.about = device()
        self._job = job

        def ntk(x, z=None):  # one function, one compiled program
            return closed_form.two_layer(x, z).ntk

        self._compute = lambda x: blocks.gram(ntk, x)

    def go(self) -> dict[str, Any]:
        """Points and kernel of every seed."""
        import jax

        shape = (self._job["samples"], self._job["dim"])
        clock = Clock()
        for seed in range(self._job["seeds"]):
            x = jax.block_until_ready(jax.random.normal(jax.random.key(seed), shape))
            clock.training(lambda x=x: self._compute(x))
        return clock.times() | {"engine": "closed form", "strategy": "blocks"}

    def check(self, folder: str) -> dict[str, Any]:
        """The first rows of the kernels of the points in `folder`."""
        found = [
            self._compute(np.load(f"{folder}/x-{seed}.npy")) for seed in range(self._job["checked_seeds"])
        ]
        return {"kernel": [kernel[:SHOWN].tolist() for kernel in found]}


def reference(x: Float[np.ndarray, "points dim"]) -> Float[np.ndarray, "shown points"]:
    r"""The first rows in float64: $G (\pi - \theta) / \pi + rR \sin\theta / 2\pi$."""
    x = x.astype(np.float64)
    norms = np.linalg.norm(x, axis=1)
    product, inner = np.outer(norms[:SHOWN], norms), x[:SHOWN] @ x.T
    theta = np.arccos(np.clip(inner / product, -1, 1))
    return inner * (np.pi - theta) / np.pi + product * np.sin(theta) / (2 * np.pi)


if __name__ == "__main__":
    serve(Kernel)
