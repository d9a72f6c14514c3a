r"""Gaussian clusters around orthogonal centres: $x = a \mu_j + \sigma \xi$ with $\xi \sim N(0, I_d)$."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from dynamics import linalg
from dynamics.data.sample import Draw, Sample
from dynamics.keys import at_step, named_key
from dynamics.parts import as_one, is_number, part, static

_POINTS = range(12, 33)  # drawn at a time


@part
class Clusters:
    r"""k clusters in two binary classes, with a finer label for every cluster or group of clusters.

    A sample picks cluster j (uniformly, or with `probabilities`), and is $x = a\mu_j + \sigma\xi$.
    Centres, training noise and test noise come from keys of their own, and every sample's noise too.

    Attributes:
      dim: input dimension d.
      num_clusters: k, at most d.
      num_samples, num_test: training and test samples n.
      signs: binary label -1 or +1 of each cluster; None: +1 for the first half (rounded up), -1 for the rest.
      classes: target class of each cluster, 0 .. G-1; None: every cluster is its own class. A class
        must lie within one binary label.
      exact_counts: give every cluster n/k samples (up to one) instead of drawing the clusters.
      centre_norm: $\|\mu_j\|$, one number or one a cluster; None: $\sqrt d$.
      scale: a, multiplies the centres.
      noise: $\sigma$, standard deviation of each coordinate.
      correlation: cosine of every two centres, in $(-1/(k-1), 1)$; 0: orthogonal to round-off.
      probabilities: of the clusters; None: uniform.
    Raises: ValueError: a value out of range.
    Reference: Li et al. 2025, arXiv:2410.10322, Definition 3.1 (a = sigma = 1, correlation 0).
    """

    dim: int = static()
    num_clusters: int = static()
    num_samples: int = static()
    num_test: int = static(1000)
    signs: tuple[int, ...] | None = static(None)
    classes: tuple[int, ...] | None = static(None)
    exact_counts: bool = static(False)
    centre_norm: Any = None
    scale: Any = 1.0
    noise: Any = 1.0
    correlation: Any = 0.0
    probabilities: Any = None

    def __post_init__(self):
        k = self.num_clusters
        if not 1 <= k <= self.dim:
            raise ValueError(f"orthogonal centres need 1 <= num_clusters <= dim, got {k} and dim={self.dim}")
        if self.num_samples < 1 or self.num_test < 1:
            raise ValueError(
                "num_samples and num_test must be at least 1, "
                f"got num_samples={self.num_samples} and num_test={self.num_test}"
            )
        for name in ("signs", "classes"):
            given = getattr(self, name)
            if given is not None and len(given) != k:
                raise ValueError(f"{name} needs one entry for each of the {k} clusters, got {len(given)}")
        if not set(self.cluster_signs) <= {-1, 1}:
            raise ValueError(f"signs must be -1 or +1, got {self.signs}")
        for c in set(self.cluster_classes):
            if (
                len({s for s, own in zip(self.cluster_signs, self.cluster_classes, strict=True) if own == c})
                > 1
            ):
                raise ValueError(
                    f"class {c} holds clusters of both binary labels; a class must lie within one"
                )
        if sorted(set(self.cluster_classes)) != list(range(self.num_classes)):
            raise ValueError(f"classes must be numbered 0, 1, ... without a gap, got {self.classes}")
        if is_number(self.correlation) and np.ndim(self.correlation) == 0:
            low = -1 / (k - 1) if k > 1 else -math.inf
            if not low < float(self.correlation) < 1:
                raise ValueError(
                    f"correlation of {k} centres must lie in ({low:.4g}, 1), got {self.correlation}"
                )
        if is_number(self.noise) and not np.all(np.asarray(self.noise) >= 0):
            raise ValueError(f"noise must be at least 0, got {self.noise}")
        if is_number(self.centre_norm):
            norms = np.asarray(self.centre_norm)
            if norms.shape not in ((), (k,)) or not np.all(norms > 0):
                raise ValueError(
                    f"centre_norm must be one positive number, or one for each of the {k} clusters, "
                    f"got {self.centre_norm}"
                )
        if self.probabilities is not None:
            shares = np.asarray(self.probabilities, dtype=float)
            if shares.shape != (k,) or np.any(shares < 0) or not math.isclose(shares.sum(), 1, rel_tol=1e-6):
                raise ValueError(
                    f"probabilities must be {k} numbers of at least 0 that sum to 1, got {self.probabilities}"
                )

    @property
    def cluster_signs(self) -> tuple[int, ...]:
        """Binary label of each cluster."""
        half = (self.num_clusters + 1) // 2
        return self.signs or (1,) * half + (-1,) * (self.num_clusters - half)

    @property
    def cluster_classes(self) -> tuple[int, ...]:
        """Target class of each cluster."""
        return tuple(range(self.num_clusters)) if self.classes is None else self.classes

    @property
    def num_classes(self) -> int:
        """Number G of target classes."""
        return max(self.cluster_classes) + 1

    @as_one
    def sample(self, key: Key[Array, ""], step: int | Int[Array, ""] | None = None) -> Draw:
        """Centres, training samples (of one step, if given) and test samples of one seed."""
        features = self.centres(named_key(key, "centres"))
        signs = jnp.asarray(self.cluster_signs, features.dtype)
        classes = jnp.asarray(self.cluster_classes)
        class_signs = jnp.zeros(self.num_classes, features.dtype).at[classes].set(signs)

        def points(key, count):
            cluster = self._pick(named_key(key, "cluster"), count)
            x = _scatter(named_key(key, "noise"), features[cluster], jnp.asarray(self.noise, features.dtype))
            return Sample(x, signs[cluster], classes[cluster], cluster)

        train = points(named_key(at_step(key, step), "train"), self.num_samples)
        test = points(named_key(key, "test"), self.num_test)
        return Draw(train, test, features, signs, class_signs, classes)

    def centres(self, key: Key[Array, ""]) -> Float[Array, "features dim"]:
        r"""$a\mu_1 .. a\mu_k$: orthonormal columns of a Gaussian matrix, correlated and scaled as asked."""
        k = self.num_clusters
        q, r = linalg.qr(jax.random.normal(key, (self.dim, k), jnp.result_type(float)))
        q = q * jnp.where(jnp.diagonal(r) < 0, -1, 1)[None]  # without it the signs of QR are not random
        rho = self.correlation
        own = jnp.sqrt(1 - jnp.asarray(rho, q.dtype))
        # square root of (1 - rho) I + rho 11^T; the second term is exactly 0 for rho = 0
        shared = (jnp.sqrt(1 + (k - 1) * jnp.asarray(rho, q.dtype)) - own) / k
        directions = own * q.T + shared * jnp.sum(q, axis=1)[None]
        norms = math.sqrt(self.dim) if self.centre_norm is None else self.centre_norm
        return directions * (self.scale * jnp.broadcast_to(jnp.asarray(norms, q.dtype), (k,)))[:, None]

    def _pick(self, key, count):
        k = self.num_clusters
        if self.exact_counts:
            return jnp.arange(count) % k
        if self.probabilities is None:
            return jax.random.randint(key, (count,), 0, k)
        return jax.random.choice(key, k, (count,), p=jnp.asarray(self.probabilities))


@jax.jit
def _scatter(key, centres, noise):
    """Points around their centres, each from a key of its own."""

    def point(key_and_centre):
        key, centre = key_and_centre
        return centre + noise * jax.random.normal(key, centre.shape, centre.dtype)

    # a few at a time: random bits for all at once are three more arrays of that size
    count = centres.shape[0]
    # without a remainder, if possible: that is a second program to compile
    at_once = next((size for size in _POINTS if count % size == 0), 16)
    return jax.lax.map(point, (jax.random.split(key, count), centres), batch_size=at_once)


def balanced_signs(num_clusters: int, num_positive: int) -> tuple[int, ...]:
    """+1 for the first `num_positive` clusters, -1 for the others."""
    return (1,) * num_positive + (-1,) * (num_clusters - num_positive)


def granular_classes(signs: tuple[int, ...], num_classes: int) -> tuple[int, ...]:
    """Classes 0 .. G-1 of equal size (up to one cluster), each within one binary label.

    Of the G classes, each binary label gets a share in proportion to its clusters, at least one.

    Raises: ValueError: fewer classes than binary labels, or more than clusters.
    """
    positive, negative = signs.count(1), signs.count(-1)
    labels = (positive > 0) + (negative > 0)
    if not labels <= num_classes <= len(signs):
        raise ValueError(
            f"num_labels must lie between {labels} and the {len(signs)} clusters, got {num_classes}"
        )
    share = min(max(round(num_classes * positive / len(signs)), int(positive > 0)), positive)
    share = max(share, num_classes - negative)
    share = min(share, num_classes - int(negative > 0))
    seen = {1: 0, -1: 0}
    classes = []
    for sign in signs:
        if sign == 1:
            classes.append(seen[1] * share // positive)
        else:
            classes.append(share + seen[-1] * (num_classes - share) // negative)
        seen[sign] += 1
    return tuple(classes)
