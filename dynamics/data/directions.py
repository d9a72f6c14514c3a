"""Points that differ by their direction alone, where kernels of networks have known eigenfunctions."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from dynamics.data.sample import Draw, Sample
from dynamics.keys import at_step, named_key
from dynamics.parts import Axis, as_one, is_number, part, static
from dynamics.words import quoted

Spacing = Literal["regular", "random"]
SphereTest = Literal["uniform", "great_circle"]
SphereTarget = Literal["xor", "linear", "random"]


def _whole(part, **lowest):
    for name, low in lowest.items():
        value = getattr(part, name)
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
            raise ValueError(f"{name} must be an integer of at least {low}, got {quoted(value)}")


def _finite(part, *names, low=-np.inf):
    for name in names:
        value = getattr(part, name)
        values = value.values if isinstance(value, Axis) else value
        if (is_number(value) or isinstance(value, Axis)) and not np.all(
            np.isfinite(values) & (values >= low)
        ):
            bound = "" if low == -np.inf else f" and at least {low:g}"
            raise ValueError(f"{name} must be finite{bound}, got {quoted(value)}")


def _sample(x, y):
    target = (y < 0).astype(int)
    return Sample(x, y, target, jnp.zeros_like(target))


def _draw(train, test, features):
    signs = jnp.array([1.0, -1.0], features.dtype)
    ones = jnp.ones(len(features), features.dtype)
    return Draw(train, test, features, ones, signs, jnp.zeros(len(features), int))


@part
class Circle:
    r"""Points $(\cos\varphi, \sin\varphi)$ with a periodic target, for regression.

    One frequency, $y = A \cos k\varphi$; or, with `modes` K > 0, a random function
    $y = A \sum_{k=1}^K k^{-a/2} (g_k \cos k\varphi + h_k \sin k\varphi)$ with standard normal g and h, whose
    power falls as $k^{-a}$. Test points are drawn, or spaced, like training points. The features are the two
    axes.

    Attributes:
      num_samples, num_test: training and test samples.
      spacing: a regular grid from angle 0 on, or independent uniform angles.
      modes: K; 0: one frequency.
      frequency: k.
      amplitude: A.
      exponent: a.
    Raises: ValueError: a value out of range.
    """

    num_samples: int = static()
    num_test: int = static(256)
    spacing: Spacing = static("regular")
    modes: int = static(0)
    frequency: Any = 1.0
    amplitude: Any = 1.0
    exponent: Any = 2.0

    def __post_init__(self):
        _whole(self, num_samples=1, num_test=1, modes=0)
        _finite(self, "amplitude", "exponent")
        _finite(self, "frequency", low=0.0)
        if self.spacing not in ("regular", "random"):
            raise ValueError(f"spacing must be regular or random, got {self.spacing!r}")

    @as_one
    def sample(self, key: Key[Array, ""], step: int | Int[Array, ""] | None = None) -> Draw:
        """One seed's data; on a regular grid with one frequency they are the same for all seeds and steps."""
        dtype = jnp.result_type(float)

        def points(own_key, name, count):
            if self.spacing == "regular":
                phi = 2 * jnp.pi * jnp.arange(count, dtype=dtype) / count
            else:
                phi = jax.random.uniform(named_key(own_key, name), (count,), dtype, -jnp.pi, jnp.pi)
            return _sample(jnp.stack([jnp.cos(phi), jnp.sin(phi)], 1), self._target(key, phi))

        axes = jnp.eye(2, dtype=dtype)
        train = points(at_step(key, step), "train", self.num_samples)
        return _draw(train, points(key, "test", self.num_test), axes)

    def _target(self, key, phi: Float[Array, " points"]) -> Float[Array, " points"]:
        if not self.modes:
            return self.amplitude * jnp.cos(self.frequency * phi)
        k = jnp.arange(1, self.modes + 1, dtype=phi.dtype)
        decay = k ** (-self.exponent / 2)
        g = jax.random.normal(named_key(key, "teacher"), (2, self.modes), phi.dtype) * decay[None]
        angles = jnp.outer(phi, k)
        return self.amplitude * (jnp.cos(angles) @ g[0] + jnp.sin(angles) @ g[1])


@part
class Sphere:
    r"""Points uniform on the unit sphere $S^{d-1}$, with labels of -1 and +1 times an amplitude.

    Labels: $\mathrm{sign}(x_1 x_2)$ (`xor`), $\mathrm{sign}(x_1)$ (`linear`), or fair coins (`random`). The
    features are the first two axes.

    Attributes:
      num_samples, num_test: training and test samples.
      dim: d, at least 2.
      target: the labels.
      test: where test points lie: uniform too, or evenly spaced along the great circle through the first
        two axes, from the first one on.
      amplitude: A, which multiplies the labels; for regression.
    Raises: ValueError: a value out of range.
    """

    num_samples: int = static()
    num_test: int = static(100)
    dim: int = static(3)
    target: SphereTarget = static("xor")
    test: SphereTest = static("uniform")
    amplitude: Any = 1.0

    def __post_init__(self):
        _whole(self, num_samples=1, num_test=1, dim=2)
        _finite(self, "amplitude")
        for name, known in (("target", ("xor", "linear", "random")), ("test", ("uniform", "great_circle"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")

    @as_one
    def sample(self, key: Key[Array, ""], step: int | Int[Array, ""] | None = None) -> Draw:
        """One seed's data, or its training samples of one step."""
        dtype = jnp.result_type(float)

        def uniform(key, name, count):
            x = jax.random.normal(named_key(key, name), (count, self.dim), dtype)
            return x / jnp.linalg.norm(x, axis=1, keepdims=True)

        x = uniform(key, "test", self.num_test)
        if self.test == "great_circle":
            phi = 2 * jnp.pi * jnp.arange(self.num_test, dtype=dtype) / self.num_test
            x = jnp.zeros_like(x).at[:, 0].set(jnp.cos(phi)).at[:, 1].set(jnp.sin(phi))
        now = at_step(key, step)
        train = self._labelled(now, "train labels", uniform(now, "train", self.num_samples))
        axes = jnp.eye(2, self.dim, dtype=dtype)
        return _draw(train, self._labelled(key, "test labels", x), axes)

    def _labelled(self, key, name, x):
        if self.target == "random":
            y = jax.random.rademacher(named_key(key, name), (len(x),), x.dtype)
        else:
            value = x[:, 0] if self.target == "linear" else x[:, 0] * x[:, 1]
            y = jnp.where(value < 0, -1, 1).astype(x.dtype)
        return _sample(x, self.amplitude * y)


@part
class Hypercube:
    r"""Points uniform on $\{\pm1\}^d$, drawn with replacement, labelled by a parity.

    $y = \prod_{j \le p} x_j$; $p = 0$ is a constant. The features are the d axes, all
    with the label +1. (`data.parity` hides a parity behind a small linear
    signal; here there is none.)

    Attributes:
      dim: d.
      num_samples, num_test: training and test samples.
      degree: p; may be an axis.
    Raises: ValueError: a value out of range.
    """

    dim: int = static()
    num_samples: int = static()
    num_test: int = static(500)
    degree: Any = 1

    def __post_init__(self):
        _whole(self, dim=1, num_samples=1, num_test=1)
        values = self.degree.values if isinstance(self.degree, Axis) else self.degree
        if not (is_number(self.degree) or isinstance(self.degree, Axis)):
            return
        values = np.asarray(values, float)
        if not np.all((values >= 0) & (values <= self.dim) & (values == np.round(values))):
            raise ValueError(f"degree must be a whole number from 0 to dim={self.dim}, got {self.degree!r}")

    @as_one
    def sample(self, key: Key[Array, ""], step: int | Int[Array, ""] | None = None) -> Draw:
        """One seed's data, or its training samples of one step."""
        dtype = jnp.result_type(float)

        def points(key, name, count):
            x = jax.random.rademacher(named_key(key, name), (count, self.dim), dtype)
            among = jnp.arange(self.dim)[None] < self.degree
            return _sample(x, jnp.prod(jnp.where(among, x, 1), axis=1))

        axes = jnp.eye(self.dim, dtype=dtype)
        train = points(at_step(key, step), "train", self.num_samples)
        return _draw(train, points(key, "test", self.num_test), axes)
