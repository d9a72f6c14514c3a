"""The NTK of a two-layer ReLU network as its formula reads, jitted, one seed after another."""

import sys

from jax_loop import limit_threads

from dynamics.benchmark.serve import Clock, description, serve


class Peer:
    """The formula for one job."""

    def __init__(self, job):
        limit_threads(job["threads"])
        import jax
        import jax.numpy as jnp

        jax.config.update("jax_enable_x64", False)
        jax.config.update("jax_default_matmul_precision", "highest")
        self.about = {"device": description(jax.devices()[:1]), "versions": {"jax": jax.__version__}}
        self.job = job

        @jax.jit
        def kernel(x):
            norms = jnp.linalg.norm(x, axis=1)
            product, inner = norms[:, None] * norms[None], x @ x.T
            theta = jnp.arccos(jnp.clip(inner / product, -1, 1))
            return inner * (jnp.pi - theta) / jnp.pi + product * jnp.sin(theta) / (2 * jnp.pi)

        self.kernel = kernel

    def go(self):
        """Points and kernel of every seed."""
        import jax

        shape, clock = (self.job["samples"], self.job["dim"]), Clock()
        for seed in range(self.job["seeds"]):
            x = jax.block_until_ready(jax.random.normal(jax.random.key(seed), shape))
            clock.training(lambda x=x: jax.device_get(self.kernel(x)))
        return clock.times()

    def check(self, folder):
        """The first rows, of the points in `folder`."""
        import numpy as np

        points = [np.load(f"{folder}/x-{seed}.npy") for seed in range(self.job["checked_seeds"])]
        return {"kernel": [np.asarray(self.kernel(x))[:50].tolist() for x in points]}


if __name__ == "__main__":
    sys.exit(serve(Peer))
