"""The fixed point of regularised adversarial training in plain NumPy, by its unreduced equations.

Labels are summed over, proximal points are found by bisection at every node, the response is a finite
difference: nothing is shared with `dynamics.laws.regularization_geometry` but the definition of the loss.
"""

import numpy as np
from scipy.special import erfc

XI = np.linspace(-8, 8, 16_001)
DXI = np.exp(-(XI**2) / 2) / np.sqrt(2 * np.pi) * (XI[1] - XI[0])


def slope(loss, margin, shift):
    """Of the worst-case loss by the clean margin, from the left of a corner."""
    if loss == "logistic":
        return -1 / (1 + np.exp(margin - shift))
    if loss == "hinge":
        return np.where(margin - shift < 1, -1.0, 0.0)
    return np.where(margin < 1, -2 * (1 - margin + shift), 2 * (margin - 1 + shift))


def proximal(loss, field, V, shift):
    """The clean margin that minimises the worst-case loss + (margin - field)^2 / 2V, by bisection."""
    low, high = field - V * 1e3 - 10, field + V * 1e3 + 10
    for _ in range(80):
        middle = (low + high) / 2
        rising = slope(loss, middle, shift) + (middle - field) / V > 0
        low, high = np.where(rising, low, middle), np.where(rising, middle, high)
    return (low + high) / 2


def conjugates(loss, overlaps, alpha, epsilon, p_star, rho=1.0, noise=0.0):
    """(m, q, V, P) hats, as sums over both labels of Gaussian averages."""
    m, q, V, P = overlaps
    shift = epsilon * P ** (1 / p_star)
    v = rho + noise**2 - m**2 / q
    omega, eta = np.sqrt(q) * XI, m / np.sqrt(q) * XI
    hats = np.zeros(4)
    for y in (1, -1):
        # margins are of y omega
        at = proximal(loss, y * omega, V, shift)
        force = y * (at - y * omega) / V
        near = [proximal(loss, y * omega + y * h, V, shift) - (y * omega + y * h) for h in (-1e-5, 1e-5)]
        dforce = y * (near[1] - near[0]) / V / 2e-5
        Z = erfc(-y * eta / np.sqrt(2 * v)) / 2
        dZ = y * np.exp(-(eta**2) / 2 / v) / np.sqrt(2 * np.pi * v)
        hats[0] += alpha * np.sum(DXI * dZ * force)
        hats[1] += alpha * np.sum(DXI * Z * force**2)
        hats[2] -= alpha * np.sum(DXI * Z * dforce)
        # the derivative of the loss by the shift: what decreases in the margin less the shift has that force
        pull = 2 * (np.abs(1 - at) + shift) if loss == "squared" else y * force
        hats[3] += alpha * epsilon / p_star * P ** (1 / p_star - 1) * np.sum(DXI * Z * pull)
    return hats
