"""Two-layer ReLU networks trained in plain NumPy: float64, gradients by hand, one sample at a time.

Parameters are a dict with `W` (neurons, dim) and possibly `b` (neurons,) and `a` (outputs, neurons).
"""

import numpy as np


def fixed_output(width, num_outputs):
    """The second layer that is not trained."""
    if num_outputs == 1:
        return np.array([[1 / width] * width + [-1 / width] * width])
    a = np.zeros((num_outputs, num_outputs * width))
    for j in range(num_outputs):
        a[j, j * width : (j + 1) * width] = 1 / width
    return a


def loss_and_gradient(params, x, labels, a):
    """Mean loss and its gradient; labels are -1 and +1 for one output, class numbers for several.

    One output takes the logistic loss, several take cross-entropy. `a` is used where `params` lacks it.
    """
    W, b = params["W"], params.get("b", np.zeros(len(params["W"])))
    a = params.get("a", a)
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    total = 0.0
    for x_i, label in zip(x, labels, strict=True):
        z = W @ x_i + b
        h = np.maximum(z, 0)
        f = a @ h
        if len(a) == 1:
            q = label * f[0]
            total += np.log(1 + np.exp(-q))
            df = np.array([-label / (1 + np.exp(q))])
        else:
            p = np.exp(f) / np.sum(np.exp(f))
            total -= np.log(p[label])
            df = p.copy()
            df[label] -= 1
        dz = (a.T @ df) * (z > 0)
        grads["W"] += np.outer(dz, x_i)
        if "b" in grads:
            grads["b"] += dz
        if "a" in grads:
            grads["a"] += np.outer(df, h)
    return total / len(x), {name: g / len(x) for name, g in grads.items()}


def step(params, grads, rule, rate, normalize=False):
    """One step of steepest descent: `gd` (l2), `sign` (linf) or `coordinate` (l1)."""
    names = sorted(params)
    flat = np.concatenate([grads[name].ravel() for name in names])
    if rule == "gd":
        change = flat / np.sqrt(np.sum(flat**2)) if normalize else flat
    elif rule == "sign":
        change = np.sign(flat) * (1 if normalize else np.sum(np.abs(flat)))
    elif rule == "coordinate":
        change = np.zeros_like(flat)
        j = np.argmax(np.abs(flat))
        change[j] = np.sign(flat[j]) if normalize else flat[j]
    else:
        raise ValueError(rule)
    new, at = {}, 0
    for name in names:
        size = params[name].size
        new[name] = params[name] - rate * change[at : at + size].reshape(params[name].shape)
        at += size
    return new


def train(params, x, labels, a, rule, rate, steps, normalize=False):
    """Parameters and loss at steps 0 .. steps."""
    params = {name: np.asarray(value, np.float64) for name, value in params.items()}
    path, losses = [], []
    for _ in range(steps + 1):
        loss, grads = loss_and_gradient(params, x, labels, a)
        path.append(params)
        losses.append(loss)
        params = step(params, grads, rule, rate, normalize)
    return path, losses
