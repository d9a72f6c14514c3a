"""A few seeds' data and initial weights as files, and what float64 NumPy makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dynamics.benchmark import kernel
from dynamics.benchmark.serve import serve


def draw(job: dict[str, Any], folder: Path) -> None:
    """Write `x`, `y`, `W`, `b` (if there is one) and `features` of each checked seed into `folder`."""
    import jax

    from dynamics.benchmark.ours import problem
    from dynamics.keys import named_key, seed_key

    if job["model"] == "kernel":
        for seed in range(job["checked_seeds"]):
            x = np.random.default_rng(seed).normal(size=(job["samples"], job["dim"]))
            np.save(folder / f"x-{seed}.npy", x.astype(np.float32))
        return
    chosen = problem(job)
    for seed in range(job["checked_seeds"]):
        key = seed_key(seed)
        data = jax.jit(chosen.sample)(named_key(key, "data"))
        params = chosen.init(named_key(key, "init"), named_key(key, "data"))
        arrays = {"x": data.train.x, "y": data.train.y, "features": data.features, **params}
        for name, array in arrays.items():
            np.save(folder / f"{name}-{seed}.npy", np.asarray(array))


def train(job: dict[str, Any], folder: Path, seed: int) -> tuple[list[float], list[list[list[float]]]]:
    """Losses and alignments of one seed at the recording times, gradients written out by hand."""

    def read(name):
        path = folder / f"{name}-{seed}.npy"
        return np.load(path).astype(np.float64) if path.exists() else None

    x, y, W, b, features = (read(name) for name in ("x", "y", "W", "b", "features"))
    flat = x.reshape(-1, x.shape[-1])
    two_layer, power = job["model"] == "two_layer", job["data"].get("power")
    a = np.repeat([1.0, -1.0], job["width"]) / job["width"] if two_layer else np.ones(len(W))
    losses, alignments = [], []
    for step in range(job["steps"] + 1):
        z = flat @ W.T + (0 if b is None else b)
        hidden = np.maximum(z, 0) if two_layer else np.sign(z) * np.abs(z) ** power
        slope = (z > 0).astype(float) if two_layer else power * np.abs(z) ** (power - 1)
        margins = y * (hidden @ a).reshape(len(y), -1).sum(axis=1)
        if step in job["when"]:
            losses.append(float(np.mean(np.logaddexp(0, -margins))))
            alignments.append(cosines(W, features).tolist())
        pull = -y / (1 + np.exp(margins)) / len(y)
        back = np.repeat(pull, len(flat) // len(y))[:, None] * slope * a
        gradients = [back.T @ flat, back.sum(axis=0)]
        dW, db = map(np.sign, gradients) if job["rule"] == "sign" else gradients
        W = W - job["rate"] * dW
        b = None if b is None else b - job["rate"] * db
    return losses, alignments


def cosines(
    W: Float[np.ndarray, "neurons dim"], features: Float[np.ndarray, "features dim"]
) -> Float[np.ndarray, "neurons features"]:
    """Cosine of each neuron with each feature."""
    norms = np.linalg.norm(W, axis=1)[:, None] * np.linalg.norm(features, axis=1)[None]
    return W @ features.T / norms


class Reference:
    """Draws and trains when asked to check."""

    def __init__(self, job: dict[str, Any]):
        from dynamics.benchmark.ours import device, single_precision

        single_precision()
        self.about = device()
        self._job = job

    def go(self) -> dict[str, Any]:
        """Nothing: the float64 run is no row."""
        return {}

    def check(self, folder: str) -> dict[str, Any]:
        """Fill `folder` with the data, and train on it."""
        draw(self._job, Path(folder))
        if self._job["model"] == "kernel":
            points = [np.load(Path(folder) / f"x-{seed}.npy") for seed in range(self._job["checked_seeds"])]
            return {"kernel": [kernel.reference(x).tolist() for x in points]}
        runs = [train(self._job, Path(folder), seed) for seed in range(self._job["checked_seeds"])]
        return {"loss": [run[0] for run in runs], "alignment": [run[1] for run in runs]}


def deviation(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """The largest difference of what was expected, relative to its largest number; inf for NaN."""
    worst = 0.0
    for name in expected:
        a, b = np.asarray(found[name], float), np.asarray(expected[name], float)
        if a.shape != b.shape or not np.isfinite(a).all():
            return float("inf")
        worst = max(worst, float(np.max(np.abs(a - b)) / np.max(np.abs(b))))
    return worst


if __name__ == "__main__":
    serve(Reference)
