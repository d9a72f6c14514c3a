"""Gradient descent of two neurons, one of each sign, on orthogonal clusters, in plain NumPy and float64."""

import numpy as np


def cosines(sizes, signs, steps, rate, seed):
    """Cosine of each neuron (+1, -1) with each centre after training from a start of 1e-5: (2, clusters).

    `sizes` as the laws have them; `signs` of the clusters, between which samples are dealt out evenly.
    """
    rng = np.random.default_rng(seed)
    k, n, d = sizes.num_clusters, sizes.num_samples, sizes.dim
    centres = np.linalg.qr(rng.normal(size=(d, k)))[0].T * sizes.centre_norm
    cluster = np.arange(n) % k
    x, y = centres[cluster] + sizes.noise * rng.normal(size=(n, d)), np.asarray(signs)[cluster]
    w, a = 1e-5 * rng.normal(size=(2, d)), np.array([1.0, -1.0])
    for _ in range(steps):
        inner = x @ w.T
        slope = y / (1 + np.exp(y * (np.maximum(inner, 0) @ a))) / n
        w += rate * a[:, None] * ((slope[:, None] * (inner > 0)).T @ x)
    return w @ centres.T / np.linalg.norm(w, axis=1, keepdims=True) / sizes.centre_norm
