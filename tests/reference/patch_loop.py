"""Adversarial training on patches in plain NumPy: float64, gradients by hand, one sample at a time.

The network is f(X) = sum over neurons r and patches p of sign(z)|z|^q with z = <w_r, x_p>. The adversary
leaves `residual` of the signal `alpha` in the patch that carries it.
"""

import numpy as np


def phi(z, q):
    return np.sign(z) * np.abs(z) ** q


def score(W, patches, q):
    return sum(phi(np.dot(w, x), q) for w in W for x in patches)


def moved(patches, label, direction, alpha, residual, signal):
    """The adversarial example: less of the signal, whatever the network."""
    changed = patches.copy()
    changed[signal] = patches[signal] - (alpha - residual) * label * direction
    return changed


def gradient(W, x, y, direction, alpha, residual, weight, q, signal=0):
    """Of (1 - weight) clean + weight adversarial mean logistic loss."""
    total = np.zeros_like(W)
    for patches, label in zip(x, y, strict=True):
        attacked = moved(patches, label, direction, alpha, residual, signal)
        for share, inputs in ((1 - weight, patches), (weight, attacked)):
            slope = -label / (1 + np.exp(label * score(W, inputs, q)))
            for r, w in enumerate(W):
                for patch in inputs:
                    total[r] += share * slope * q * np.abs(np.dot(w, patch)) ** (q - 1) * patch
    return total / len(y)


def train(W, x, y, direction, alpha, residual, weight, q, rate, steps):
    """Weights at steps 0 .. steps."""
    path = [np.asarray(W, float)]
    for _ in range(steps):
        W = path[-1]
        path.append(W - rate * gradient(W, x, y, direction, alpha, residual, weight, q))
    return path


def reduced(u, v, gram, y, alpha, residual, weight, q, rate, steps):
    """The same without weights: signals u (neurons,) and memories v (neurons, samples, noise patches).

    `gram` has shape (samples, noise patches, samples, noise patches).
    """
    path = [(np.array(u, float), np.array(v, float))]
    count = len(y)
    for _ in range(steps):
        u, v = path[-1]
        new_u, new_v = u.copy(), v.copy()
        total = sum(phi(one, q) for one in u)
        for i, label in enumerate(y):
            memory = label * sum(phi(one, q) for one in v[:, i].ravel())
            c = (1 - weight) / (1 + np.exp(alpha**q * total + memory))
            a = weight / (1 + np.exp(residual**q * total + memory))
            for r in range(len(u)):
                new_u[r] += rate * q * abs(u[r]) ** (q - 1) * (alpha**q * c + residual**q * a) / count
                for j in range(v.shape[2]):
                    push = rate * q / count * (c + a) * label * abs(v[r, i, j]) ** (q - 1)
                    new_v[r] += push * gram[i, j]
        path.append((new_u, new_v))
    return path
