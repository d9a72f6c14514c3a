"""Steepest descent on a two-layer network without biases, both layers trained, in plain NumPy.

Loops over samples and neurons, sums of exponentials in the log domain: slow, and independent of the library.
"""

import numpy as np


def outputs_and_gradient(W, a, x, y, power):
    """log of the sum of exponential losses, and its gradient."""
    outputs, jacobians = [], []
    for x_i in x:
        z = np.maximum(W @ x_i, 0.0)
        outputs.append(a @ z**power)
        slope = power * z ** (power - 1) * (z > 0)
        jacobians.append((np.outer(a * slope, x_i), z**power))
    losses = -np.asarray(y) * np.asarray(outputs)
    top = losses.max()
    weights = np.exp(losses - top)
    total = top + np.log(weights.sum())
    weights = weights / weights.sum()
    dW = sum(-p * y_i * jac[0] for p, y_i, jac in zip(weights, y, jacobians, strict=True))
    da = sum(-p * y_i * jac[1] for p, y_i, jac in zip(weights, y, jacobians, strict=True))
    return total, dW, da


def norm(W, a, name):
    flat = np.concatenate([W.ravel(), a])
    if name == "spectral":
        return max(np.linalg.svd(W, compute_uv=False)[0], np.linalg.norm(a))
    return np.linalg.norm(flat, {"l1": 1, "l2": 2, "linf": np.inf}[name])


def direction(dW, da, name):
    """The direction of steepest ascent in both layers, and the dual norm."""
    if name == "l2":
        size = np.sqrt((dW**2).sum() + (da**2).sum())
        return dW / size, da / size, size
    if name == "linf":
        return np.sign(dW), np.sign(da), np.abs(dW).sum() + np.abs(da).sum()
    if name == "l1":
        vW, va = np.zeros_like(dW), np.zeros_like(da)
        if np.abs(dW).max() >= np.abs(da).max():
            at = np.unravel_index(np.argmax(np.abs(dW)), dW.shape)
            vW[at] = np.sign(dW[at])
            return vW, va, np.abs(dW).max()
        at = np.argmax(np.abs(da))
        va[at] = np.sign(da[at])
        return vW, va, np.abs(da).max()
    u, values, vh = np.linalg.svd(dW, full_matrices=False)
    return u @ vh, da / np.linalg.norm(da), values.sum() + np.linalg.norm(da)


def train(W, a, x, y, name, steps, *, power=1, drop=0.05, cap=0.1, momentum=0.0):
    """W, a and the log of the loss at steps 0 .. steps, each step lowering that by `drop` to first order."""
    W, a = np.array(W, float), np.array(a, float)
    path, mW, ma = [], np.zeros_like(W), np.zeros_like(a)
    for _ in range(steps + 1):
        total, dW, da = outputs_and_gradient(W, a, x, y, power)
        path.append((W, a, total))
        mW, ma = momentum * mW + (1 - momentum) * dW, momentum * ma + (1 - momentum) * da
        vW, va, _ = direction(mW, ma, name)
        length = min(drop / direction(dW, da, name)[2], cap * norm(W, a, name))
        W, a = W - length * vW, a - length * va
    return path
