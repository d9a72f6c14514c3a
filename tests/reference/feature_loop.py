"""Adversarial training of a multi-class patch network in plain NumPy, in float64, sample by sample."""

import numpy as np


def activation(z, power, knee):
    """The smoothed ReLU and its slope."""
    c = np.clip(z, 0, knee)
    value = np.where(z > knee, z - (1 - 1 / power) * knee, c**power / (power * knee ** (power - 1)))
    return value, (c / knee) ** (power - 1)


def outputs(W, x, power, knee):
    """Logits of one input (patches, dim) for W (classes, width, dim)."""
    return activation(np.einsum("crd,pd->crp", W, x), power, knee)[0].sum(axis=(1, 2))


def softmax(logits):
    e = np.exp(logits - logits.max())
    return e / e.sum()


def input_gradient(W, x, y, power, knee):
    """Gradient of the cross-entropy in every patch."""
    z = np.einsum("crd,pd->crp", W, x)
    error = softmax(outputs(W, x, power, knee)) - np.eye(len(W))[y]
    return np.einsum("c,crp,crd->pd", error, activation(z, power, knee)[1], W)


def attacked(W, x, y, family, kind, radius, u, v, strengths, power, knee):
    """One input after the named attack."""
    if kind is None:
        return x
    moved = x.copy()
    if kind == "oracle":
        for p, f in enumerate(family):
            moved[p] -= min(radius, strengths[f]) * (u, v)[f][y]
        return moved
    gradient = input_gradient(W, x, y, power, knee)
    for p, f in enumerate(family):
        g = gradient[p]
        if kind == "family":
            g = sum(np.dot(g, b) * b for b in (u, v)[f])
        size = np.linalg.norm(g)
        if size > 0:
            moved[p] += radius * g / size
    return moved


def train(W, x, y, family, steps, rate, kind, radius, u, v, strengths, power=3.0, knee=1.0):
    """W after `steps` of full-batch gradient descent on the attacked inputs."""
    for _ in range(steps):
        total = np.zeros_like(W)
        for one, label, kinds in zip(x, y, family, strict=True):
            moved = attacked(W, one, label, kinds, kind, radius, u, v, strengths, power, knee)
            z = np.einsum("crd,pd->crp", W, moved)
            error = softmax(outputs(W, moved, power, knee)) - np.eye(len(W))[label]
            total += np.einsum("c,crp,pd->crd", error, activation(z, power, knee)[1], moved)
        W = W - rate * total / len(x)
    return W
