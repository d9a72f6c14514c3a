r"""Inputs made of patches: a signal among noise, or robust and non-robust features of each class."""

import math
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from dynamics.data.clusters import Clusters
from dynamics.data.sample import Draw, Patches, Sample
from dynamics.keys import at_step, named_key
from dynamics.parts import Axis, as_one, is_number, part, static
from dynamics.words import quoted

Labels = Literal["balanced", "random"]
Direction = Literal["first_axis", "random"]
SignalPatch = Literal["first", "random"]


@part
class SignalNoise:
    r"""Binary patch data: one patch is $\alpha y w^*$, the others are noise orthogonal to $w^*$.

    Inputs have shape (samples, patches, dim). A noise patch is $\sigma (I - w^* w^{*\top}) \xi$ with
    $\xi \sim N(0, I_d)$ and $\|w^*\| = 1$. The only feature is $w^*$, of shape (1, dim); class 0 has label
    +1 and class 1 label -1. The only family is 0, the signal. Direction, labels, noise, signal positions
    and test samples come from keys of their own, and another signal position only swaps two patches.

    Attributes:
      dim: patch dimension d, at least 2.
      num_patches: P, the signal patch included.
      num_samples, num_test: training and test samples n.
      direction: $w^*$ is the first coordinate axis (noise is then exactly 0 there), or a random unit vector.
      signal_patch: the signal is patch 0, or one drawn uniformly for each sample.
      labels: +1 and -1 in turn (`balanced`), or each with probability 1/2.
      signal: $\alpha$; None: $d^{0.249}$.
      noise: $\sigma$; None: $d^{-0.509}$.
    Raises: ValueError: a value out of range.
    Reference: Li & Li 2025, arXiv:2306.01271 (scales without their logarithmic factors).
    """

    dim: int = static()
    num_patches: int = static()
    num_samples: int = static()
    num_test: int = static(1000)
    direction: Direction = static("first_axis")
    signal_patch: SignalPatch = static("first")
    labels: Labels = static("balanced")
    signal: Any = None
    noise: Any = None

    def __post_init__(self):
        _check_count("dim", self.dim, 2)
        for name in ("num_patches", "num_samples", "num_test"):
            _check_count(name, getattr(self, name), 1)
        for name, choices in (("direction", Direction), ("signal_patch", SignalPatch), ("labels", Labels)):
            _check_choice(name, getattr(self, name), get_args(choices))
        for name in ("signal", "noise"):
            if getattr(self, name) is not None:
                _check_number(name, getattr(self, name))

    @property
    def alpha(self) -> Any:
        """The signal strength in use."""
        return self.dim**0.249 if self.signal is None else self.signal

    @property
    def sigma(self) -> Any:
        """The standard deviation of the noise in use."""
        return self.dim**-0.509 if self.noise is None else self.noise

    @property
    def class_signs(self) -> tuple[int, ...]:
        """Binary label of each class."""
        return (1, -1)

    @as_one
    def sample(self, key: Key[Array, ""], step: int | Int[Array, ""] | None = None) -> Draw:
        """Direction, training samples (of one step, if given) and test samples of one seed."""
        feature = self.feature(named_key(key, "direction"))
        dtype = feature.dtype
        signs = jnp.asarray(self.class_signs, dtype)

        def points(key, count):
            target = _classes(named_key(key, "labels"), count, 2, self.labels)
            y = signs[target]
            signal = jnp.asarray(self.alpha, dtype) * y[:, None, None] * feature[None]
            shape = (count, self.num_patches - 1, self.dim)
            xi = jax.random.normal(named_key(key, "noise"), shape, dtype)
            if self.direction == "first_axis":
                xi = xi.at[:, :, 0].set(0)  # exactly, where a compiled projection would leave rounding errors
            else:
                xi = xi - jnp.sum(xi * feature[None], axis=-1, keepdims=True) * feature[None]
            x = jnp.concatenate([signal, jnp.asarray(self.sigma, dtype) * xi], axis=1)
            family = jnp.broadcast_to(jnp.where(jnp.arange(self.num_patches) == 0, 0, -1), x.shape[:2])
            if self.signal_patch == "random":
                p = jax.random.randint(named_key(key, "position"), (count, 1), 0, self.num_patches)
                patch = jnp.arange(self.num_patches)[None]
                source = jnp.where(patch == p, 0, jnp.where(patch == 0, p, patch))
                x = jnp.take_along_axis(x, source[:, :, None], axis=1)
                family = jnp.take_along_axis(family, source, axis=1)
            amplitude = jnp.where(family == 0, jnp.asarray(self.alpha, dtype), 0)
            return Sample(x, y, target, jnp.zeros_like(target), Patches(family, amplitude))

        train = points(named_key(at_step(key, step), "train"), self.num_samples)
        test = points(named_key(key, "test"), self.num_test)
        zero = jnp.zeros(1, train.target.dtype)
        carried = signs[None, :, None] * feature[:, None]
        return Draw(train, test, feature, signs[:1], signs, zero, carried, zero)

    def feature(self, key: Key[Array, ""]) -> Float[Array, "1 dim"]:
        """The unit vector $w^*$."""
        if self.direction == "first_axis":
            return jnp.eye(1, self.dim, dtype=jnp.result_type(float))
        return _orthonormal(key, 1, self.dim)


@part
class RobustNonRobust:
    r"""Multi-class patch data: few patches carry a strong feature of the class, many a weak one.

    Class i has a robust feature $u_i$ and a non-robust feature $v_i$, all of them orthonormal. Inputs have
    shape (samples, patches, dim): $x_p = \alpha_p u_c + \sigma\xi_p$ in S patches and
    $x_p = \beta_p v_c + \sigma\xi_p$ in $P_N$ patches, with c the class and $\xi_p \sim N(0, I_d)$.
    `features` are $u_1 .. u_k, v_1 .. v_k$, of shape (2k, dim); a sample's `feature` is that of $u_c$.
    Robust patches are family 0, non-robust ones family 1.
    The first half of the classes (rounded up) has binary label +1, the rest -1. Features, labels, noise,
    amplitudes, patch order and test samples come from keys of their own, and `shuffle` only permutes the
    patches of each sample.

    Attributes:
      dim: patch dimension d, at least 2k.
      num_classes: k.
      num_samples, num_test: training and test samples n.
      num_robust: S, patches with the robust feature; the first ones, unless shuffled.
      num_nonrobust: $P_N$, patches with the non-robust feature.
      shuffle: put the patches of each sample in a random order.
      labels: classes in turn (`balanced`), or drawn uniformly.
      robust_strength, nonrobust_strength: $\alpha$ and $\beta$, the means of $\alpha_p$ and $\beta_p$.
      spread: r; $\alpha_p/\alpha$ and $\beta_p/\beta$ are uniform in $[1 - r, 1 + r]$, drawn for each patch.
      noise: $\sigma$, standard deviation of each coordinate.
    Raises: ValueError: a value out of range.
    Reference: after Li & Li 2025, arXiv:2410.08503.
    """

    dim: int = static()
    num_classes: int = static()
    num_samples: int = static()
    num_test: int = static(1000)
    num_robust: int = static(1)
    num_nonrobust: int = static(120)
    shuffle: bool = static(False)
    labels: Labels = static("balanced")
    robust_strength: Any = 1.0
    nonrobust_strength: Any = 0.3
    spread: Any = 0.0
    noise: Any = 0.03

    def __post_init__(self):
        _check_count("num_classes", self.num_classes, 2)
        _check_count("dim", self.dim, 1)
        if 2 * self.num_classes > self.dim:
            raise ValueError(
                "orthonormal features, two a class, need 2 * num_classes <= dim, "
                f"got num_classes={self.num_classes} and dim={self.dim}"
            )
        for name in ("num_samples", "num_test"):
            _check_count(name, getattr(self, name), 1)
        for name in ("num_robust", "num_nonrobust"):
            _check_count(name, getattr(self, name), 0)
        if self.num_patches < 1:
            raise ValueError("num_robust and num_nonrobust must sum to at least 1, got 0 and 0")
        _check_choice("shuffle", self.shuffle, (False, True))
        _check_choice("labels", self.labels, get_args(Labels))
        for name in ("robust_strength", "nonrobust_strength", "noise"):
            _check_number(name, getattr(self, name))
        _check_number("spread", self.spread, high=1.0)

    @property
    def num_patches(self) -> int:
        """Number of patches P of an input."""
        return self.num_robust + self.num_nonrobust

    @property
    def class_signs(self) -> tuple[int, ...]:
        """Binary label of each class."""
        half = (self.num_classes + 1) // 2
        return (1,) * half + (-1,) * (self.num_classes - half)

    @as_one
    def sample(self, key: Key[Array, ""], step: int | Int[Array, ""] | None = None) -> Draw:
        """Features, training samples (of one step, if given) and test samples of one seed."""
        k = self.num_classes
        features = _orthonormal(named_key(key, "features"), 2 * k, self.dim)
        dtype = features.dtype
        signs = jnp.asarray(self.class_signs, dtype)
        sizes = jnp.asarray([self.robust_strength, self.nonrobust_strength], dtype)
        kinds = np.repeat([0, 1], [self.num_robust, self.num_nonrobust])

        def points(key, count):
            target = _classes(named_key(key, "labels"), count, k, self.labels)
            shape = (count, self.num_patches)
            xi = jax.random.normal(named_key(key, "noise"), (*shape, self.dim), dtype)
            factor = jax.random.uniform(named_key(key, "amplitudes"), shape, dtype, -1, 1)
            amplitude = sizes[kinds][None] * (1 + jnp.asarray(self.spread, dtype) * factor)
            own = features[target[:, None] + k * kinds[None]]
            x = amplitude[:, :, None] * own + jnp.asarray(self.noise, dtype) * xi
            family = jnp.broadcast_to(kinds[None], shape)
            if self.shuffle:
                order = jax.random.uniform(named_key(key, "order"), shape, dtype).argsort(axis=1)
                x = jnp.take_along_axis(x, order[:, :, None], axis=1)
                family, amplitude = (jnp.take_along_axis(a, order, axis=1) for a in (family, amplitude))
            return Sample(x, signs[target], target, target, Patches(family, amplitude))

        train = points(named_key(at_step(key, step), "train"), self.num_samples)
        test = points(named_key(key, "test"), self.num_test)
        classes, families = jnp.tile(jnp.arange(k), 2), jnp.repeat(jnp.arange(2), k)
        carried = features.reshape(2, k, self.dim)
        return Draw(train, test, features, signs[classes], signs, classes, carried, families)


def _orthonormal(key: Key[Array, ""], count: int, dim: int) -> Float[Array, "count dim"]:
    """Random orthonormal rows."""
    return Clusters(dim, count, 1, centre_norm=1.0).centres(key)


def _classes(key: Key[Array, ""], count: int, num_classes: int, labels: Labels) -> Int[Array, " count"]:
    """Classes of `count` samples."""
    if labels == "balanced":
        return jnp.arange(count) % num_classes
    return jax.random.randint(key, (count,), 0, num_classes)


def _check_count(name: str, value: Any, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < low:
        raise ValueError(f"{name} must be an integer of at least {low}, got {quoted(value)}")


def _check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(str, choices))}, got {quoted(value)}")


def _check_number(name: str, value: Any, high: float = math.inf) -> None:
    """Refuse what is not one finite number in [0, `high`], or an axis of such; tracers pass."""
    if isinstance(value, jax.core.Tracer):
        return
    values = value.values if isinstance(value, Axis) else np.asarray(value)
    single = isinstance(value, Axis) or (is_number(value) and values.ndim == 0)
    if not single or not np.all(np.isfinite(values) & (values >= 0) & (values <= high)):
        allowed = "not negative" if high == math.inf else f"from 0 to {high:g}"
        raise ValueError(f"{name} must be a finite number, {allowed}, got {quoted(value)}")
