"""Workers of this library's own rows: one process a row, kept alive between calls."""

import functools
import time
from typing import Any

import numpy as np

from dynamics import startup
from dynamics.benchmark.serve import Skip, description, serve
from dynamics.engine import memory
from dynamics.keys import named_key, seed_key

DRAWN = 16  # seeds that the time of drawing is taken from in one call


def problem(job: dict[str, Any]):
    """The problem that a job describes."""
    from dynamics.data.clusters import Clusters
    from dynamics.models.activations import Activation
    from dynamics.models.two_layer import TwoLayer
    from dynamics.problem import Problem

    data = job["data"]
    if job["model"] == "two_layer":
        clusters = Clusters(job["dim"], data["num_clusters"], job["samples"], data["num_test"])
        return Problem(clusters, TwoLayer(job["width"]), init_scale=job["init_scale"])
    from dynamics.data.patches import SignalNoise
    from dynamics.models.patch_cnn import PatchCNN

    patches = SignalNoise(job["dim"], data["num_patches"], job["samples"], data["num_test"])
    network = PatchCNN(job["width"], activation=Activation("odd_power", power=float(data["power"])))
    return Problem(patches, network, init_scale=job["init_scale"])


def rule(job: dict[str, Any]):
    """The update rule that a job describes."""
    from dynamics.descent import steepest

    if job["rule"] == "sign":
        return steepest("linf", job["rate"], normalize=True)
    return steepest("l2", job["rate"])


def single_precision() -> None:
    """float32, whatever the environment says: what is compared is compared in one precision."""
    import jax

    jax.config.update("jax_enable_x64", False)
    jax.config.update("jax_default_matmul_precision", "highest")


def device() -> dict[str, Any]:
    """What JAX computes on here."""
    import jax

    devices = jax.devices()
    return {
        "device": description(devices),
        "platform": devices[0].platform,
        "versions": {"jax": jax.__version__},
    }


def peak_bytes() -> int:
    """The most memory held so far: of an accelerator if JAX uses one, else of this process."""
    import jax

    stats = jax.local_devices()[0].memory_stats() if jax.default_backend() != "cpu" else None
    if stats and "peak_bytes_in_use" in stats:
        return int(stats["peak_bytes_in_use"])
    return memory.peak()


class Engine:
    """`simulate` with one choice of engine and strategy."""

    def __init__(self, job: dict[str, Any]):
        from dynamics import observables
        from dynamics.engine.simulate import simulate

        startup.prepare()  # as the command line does: a virtual device a core
        single_precision()
        self.about = {**device(), "baseline_bytes": peak_bytes()}
        self._problem, self._seeds = problem(job), job["seeds"]
        self._checked = job["checked_seeds"]
        self._draw: Any = None
        self._fastest = float("inf")
        self._last: dict[str, Any] | None = None
        self._simulate = functools.partial(
            simulate,
            self._problem,
            rule(job),
            steps=job["steps"],
            observe={"loss": observables.training_loss, "alignment": observables.alignment},
            when=job["when"],
            seeds=job["seeds"],
            engine=job["engine"],
            strategy=job["strategy"],
        )

    def go(self) -> dict[str, Any]:
        """One call; the clock is outside of it, so that all it does besides drawing counts as training."""
        begun = time.perf_counter()
        dataset = self._simulate()
        whole = time.perf_counter() - begun
        first = dataset.isel(seed=slice(self._checked))
        self._last = {"loss": first.loss.values.tolist(), "alignment": first.alignment.values.tolist()}
        peak = peak_bytes()
        with startup.single_threaded_blas():
            drawing = self._drawing()
        estimate = dataset.attrs.get("memory_estimate")
        return {
            "training_s": whole - drawing,
            "whole_s": whole,
            "engine": dataset.attrs["engine"],
            "strategy": dataset.attrs["strategy"],
            "at_once": int(dataset.attrs.get("chunk", 1)),
            "peak_bytes": peak,
            "memory_estimate": None if estimate is None else float(estimate),
        }

    def _drawing(self) -> float:
        """Seconds a call spends on drawing at the least: the fastest seen so far, all devices at work."""
        import jax
        from jax.sharding import Mesh, NamedSharding, PartitionSpec

        devices, runs = jax.local_devices(), PartitionSpec("runs")
        mesh = Mesh(np.asarray(devices), ("runs",))
        rounds = max(1, min(self._seeds, DRAWN) // len(devices))
        seeds = np.arange(rounds * len(devices), dtype=np.uint32).reshape(rounds, -1)
        seeds = [jax.device_put(each, NamedSharding(mesh, runs)) for each in seeds]
        if self._draw is None:

            def draw(seed):
                sample = self._problem.sample(named_key(seed_key(seed[0]), "data"))
                return jax.tree.map(lambda leaf: leaf[None], sample)

            spread = jax.shard_map(draw, mesh=mesh, in_specs=runs, out_specs=runs, check_vma=False)
            self._draw = jax.jit(spread)
            jax.block_until_ready(self._draw(seeds[0]))
        for each in seeds:
            begun = time.perf_counter()
            jax.block_until_ready(self._draw(each))
            self._fastest = min(self._fastest, time.perf_counter() - begun)
        return self._fastest * self._seeds / len(devices)

    def check(self, folder: str) -> dict[str, Any]:
        """What the last call recorded of the checked seeds, which draw the data in `folder` themselves."""
        del folder
        if self._last is None:
            self.go()
        return self._last


def make(job: dict[str, Any]) -> Engine:
    """The worker of a job.

    Raises: Skip: the accelerator is taken or absent.
    """
    try:
        return Engine(job)
    except RuntimeError as error:
        raise Skip(f"JAX does not start: {' '.join(str(error).split())}") from None


if __name__ == "__main__":
    serve(make)
