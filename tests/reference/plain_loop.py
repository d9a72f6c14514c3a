"""Training in plain NumPy and float64: a loss as one writes it down, its gradient by complex steps.

Nothing here knows about JAX. A complex step of 1e-30 gives the gradient of an analytic function to rounding:
losses must be written with what takes complex numbers (no abs, no maximum).
"""

import numpy as np


def gradient(loss, params):
    """Gradient of `loss(params)`, params a dict of float arrays."""
    grads = {}
    for name, value in params.items():
        grads[name] = np.zeros(value.shape)
        for at in np.ndindex(value.shape):
            moved = value.astype(complex)
            moved[at] += 1e-30j
            grads[name][at] = np.imag(loss(params | {name: moved})) / 1e-30
    return grads


def train(loss, params, steps, rate, move=None):
    """Parameters at steps 0 .. steps; `loss(params, step)`, and `move(params, grads)`: gradient descent."""
    params = {name: np.asarray(value, float) for name, value in params.items()}
    path = [params]
    for step in range(steps):
        grads = gradient(lambda p, i=step: loss(p, i), params)
        if move is None:
            params = {name: params[name] - rate * grads[name] for name in params}
        else:
            params = move(params, grads)
        path.append(params)
    return path


def softplus(z):
    """log(1 + e^z) of moderate z."""
    return np.log(1 + np.exp(z))
