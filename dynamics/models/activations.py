"""Activations of two-layer networks; each sees a pre-activation and the norm of its neuron's weights."""

from dataclasses import dataclass
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dynamics.descent.norms import exponent, shifted
from dynamics.parts import written

ActivationName = Literal[
    "relu",
    "leaky_relu",
    "prelu",
    "smoothed_relu",
    "gelu",
    "erf",
    "linear",
    "quadratic",
    "odd_power",
    "relu_power",
]


@dataclass(frozen=True)
class Activation:
    r"""A named activation with its constants; ReLU'(0) = 0 throughout.

    - `relu`: $\max(z, 0)$.
    - `leaky_relu`: $\max(z, \alpha z)$ with $\alpha$ = `slope`.
    - `prelu`: $\mathrm{ReLU}(z)^p / \|w\|^{p-1}$ with $p$ = `power` (Min & Vidal 2024); zero for $w = 0$.
    - `smoothed_relu`: 0 below 0, $z^q / (q \varrho^{q-1})$ up to $\varrho$ = `threshold`, and
      $z - (1 - 1/q) \varrho$ above, with $q$ = `power`.
    - `gelu`: $z \Phi(z)$. `erf`: $\mathrm{erf}(z)$. `linear`: $z$. `quadratic`: $z^2$.
    - `odd_power`: $\mathrm{sign}(z) |z|^q$ with $q$ = `power`; its derivative $q |z|^{q-1}$ is 0 at 0,
      except for $q = 1$, where the activation is $z$.
    - `relu_power`: $\mathrm{ReLU}(z)^q$ with $q$ = `power`.

    Raises: ValueError: unknown name, `power` below 1, or `threshold` not positive.
    """

    name: ActivationName = "relu"
    power: float = 3.0
    slope: float = 0.01
    threshold: float = 1.0

    __repr__ = written

    def __post_init__(self):
        if self.name not in get_args(ActivationName):
            known = ", ".join(get_args(ActivationName))
            raise ValueError(f"activation must be one of {known}, got {self.name!r}")
        if not self.power >= 1:
            raise ValueError(f"power must be at least 1, got {self.power}")
        if not self.threshold > 0:
            raise ValueError(f"threshold must be positive, got {self.threshold}")

    @property
    def sees_norms(self) -> bool:
        """Whether the value depends on the norms of the weights, and not on the pre-activation alone."""
        return self.name == "prelu"

    @property
    def degree(self) -> float | None:
        r"""$p$ with $\phi(c z) = c^p \phi(z)$ for $c > 0$; None if there is none.

        Of `prelu` it is the degree in the weights $w$, of which $z$ and the norm both are multiples.
        """
        if self.name in ("relu", "leaky_relu", "linear", "prelu"):
            return 1.0
        if self.name in ("odd_power", "relu_power"):
            return float(self.power)
        return 2.0 if self.name == "quadratic" else None

    def __call__(self, z: Float[Array, "*shape"], norms: Float[Array, "..."]) -> Float[Array, "*shape"]:
        """The activation of pre-activations `z`; `norms` of their neurons' weights broadcast against them."""
        if self.name == "relu":
            return jax.nn.relu(z)
        if self.name == "leaky_relu":
            return jnp.where(z > 0, z, self.slope * z)
        if self.name == "prelu":
            norms = jnp.broadcast_to(norms, z.shape)
            # of degree 1 in its weights, so that powers are taken in units of their norm
            size = jnp.where(norms > 0, exponent(norms[..., None], axis=-1), 0)
            unit = shifted(jnp.where(norms > 0, norms, 1), -size)
            bent = unit * _power(shifted(jax.nn.relu(z), -size) / unit, self.power)
            return jnp.where(norms > 0, shifted(bent, size), 0)
        if self.name == "smoothed_relu":
            q, rho = self.power, self.threshold
            bend = _power(jnp.where(z > rho, rho, jax.nn.relu(z)), q) / (q * rho ** (q - 1))
            return jnp.where(z > rho, z - (1 - 1 / q) * rho, bend)
        if self.name == "gelu":
            return jax.nn.gelu(z, approximate=False)
        if self.name == "erf":
            return jax.scipy.special.erf(z)
        if self.name == "odd_power":
            is_odd = self.power % 2 == 1
            return _power(z, self.power) if is_odd else jnp.sign(z) * _power(jnp.abs(z), self.power)
        if self.name == "relu_power":
            return _power(jax.nn.relu(z), self.power)
        return z if self.name == "linear" else jnp.square(z)


def _power(z: Float[Array, "*shape"], power: float) -> Float[Array, "*shape"]:
    return z ** int(power) if power == int(power) else z**power
