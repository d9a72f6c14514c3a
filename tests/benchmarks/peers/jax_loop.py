"""A plain JAX training loop: jitted, value_and_grad in a fori_loop, one seed after another."""

import os
import sys

from dynamics.benchmark.serve import Clock, description, serve


def limit_threads(threads):
    """One thread means one core and no threads of Eigen; XLA reads both when it starts."""
    if threads == 1:
        if hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_multi_thread_eigen=false".strip()


class Peer:
    """The loop for one job."""

    def __init__(self, job):
        limit_threads(job["threads"])
        import jax

        jax.config.update("jax_enable_x64", False)
        jax.config.update("jax_default_matmul_precision", "highest")
        devices = jax.devices()
        self.about = {
            "device": description(devices[:1]),
            "versions": {"jax": jax.__version__},
        }
        self.job = job
        self.draw, self.advance, self.record = functions(job)

    def go(self):
        """All seeds, one after another."""
        import jax

        clock = Clock()
        for seed in range(self.job["seeds"]):
            x, y, features, params = jax.block_until_ready(self.draw(jax.random.key(seed)))
            clock.training(lambda x=x, y=y, f=features, p=params: self.train(p, x, y, f))
        return clock.times()

    def train(self, params, x, y, features):
        """Losses and alignments at the recording times."""
        import jax

        rows, before = [], 0
        for now in self.job["when"]:
            params = self.advance(params, x, y, now - before)
            rows.append(self.record(params, x, y, features))
            before = now
        return jax.device_get(rows)

    def check(self, folder):
        """The same on the data in `folder`."""
        import jax.numpy as jnp
        import numpy as np

        found = {"loss": [], "alignment": []}
        for seed in range(self.job["checked_seeds"]):
            names = ["x", "y", "features", "W", *(["b"] if self.job["model"] == "two_layer" else [])]
            arrays = {name: jnp.asarray(np.load(f"{folder}/{name}-{seed}.npy")) for name in names}
            x, y, features = (arrays.pop(name) for name in ("x", "y", "features"))
            rows = self.train(arrays, x, y, features)
            found["loss"].append([float(loss) for loss, _ in rows])
            found["alignment"].append([cosines.tolist() for _, cosines in rows])
        return found


def functions(job):
    """How to draw, to advance and to record, each compiled."""
    import jax
    import jax.numpy as jnp

    n, d, m, data = job["samples"], job["dim"], job["num_neurons"], job["data"]
    two_layer = job["model"] == "two_layer"

    def outputs(params, x):
        z = x @ params["W"].T
        if two_layer:
            hidden = jax.nn.relu(z + params["b"])
            half = job["width"]
            return (hidden[:, :half].sum(axis=1) - hidden[:, half:].sum(axis=1)) / half
        return (z ** data["power"]).sum(axis=(1, 2))

    def loss(params, x, y):
        return jnp.mean(jax.nn.softplus(-y * outputs(params, x)))

    @jax.jit
    def advance(params, x, y, steps):
        def step(_, params):
            _, grads = jax.value_and_grad(loss)(params, x, y)
            direction = jnp.sign if job["rule"] == "sign" else lambda g: g
            return jax.tree.map(lambda p, g: p - job["rate"] * direction(g), params, grads)

        return jax.lax.fori_loop(0, steps, step, params)

    @jax.jit
    def record(params, x, y, features):
        W = params["W"]
        norms = jnp.linalg.norm(W, axis=1)[:, None] * jnp.linalg.norm(features, axis=1)
        return loss(params, x, y), W @ features.T / norms

    @jax.jit
    def draw(key):
        points, centres, chosen, weights, bias = jax.random.split(key, 5)
        params = {"W": job["init_scale"] * jax.random.normal(weights, (m, d))}
        if two_layer:
            k = data["num_clusters"]
            q, _ = jnp.linalg.qr(jax.random.normal(centres, (d, k)))
            features = q.T * d**0.5
            cluster = jax.random.randint(chosen, (n,), 0, k)
            x = features[cluster] + jax.random.normal(points, (n, d))
            params["b"] = job["init_scale"] * jax.random.normal(bias, (m,))
            return x, jnp.where(cluster < (k + 1) // 2, 1.0, -1.0), features, params
        y = 1.0 - 2.0 * (jnp.arange(n) % 2)
        noise = d**-0.509 * jax.random.normal(points, (n, data["num_patches"] - 1, d))
        features = jnp.eye(1, d)
        signal = (d**0.249 * y)[:, None, None] * features
        return jnp.concatenate([signal, noise.at[:, :, 0].set(0.0)], axis=1), y, features, params

    return draw, advance, record


if __name__ == "__main__":
    sys.exit(serve(Peer))
