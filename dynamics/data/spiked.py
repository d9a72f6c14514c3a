r"""Two Gaussian blocks: a few strong coordinates that agree with the label, and many weak ones."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key
from scipy.special import ndtr

from dynamics.data.sample import Draw, Sample
from dynamics.keys import at_step, named_key
from dynamics.parts import as_one, is_number, part, static


@part
class Spiked:
    r"""Labels y = -1, +1 in equal odds and $x = (y \mu_r 1 + \sigma_r g,\; y \mu_n 1 + \sigma_n g')$.

    The robust block has few coordinates of large mean, the non-robust one many of a mean so small that an
    $\ell_\infty$ step of $\varepsilon > \mu_n$ reverses them all.

    Attributes:
      num_samples, num_test: training and test samples.
      robust_dim, nonrobust_dim: coordinates $d_r$ and $d_n$ of the blocks.
      robust_mean, nonrobust_mean: $\mu_r$ and $\mu_n$.
      robust_noise, nonrobust_noise: $\sigma_r$ and $\sigma_n$.
      random_labels: draw all labels anew, independent of the inputs.
    Raises: ValueError: a value out of range.
    """

    num_samples: int = static()
    num_test: int = static(500)
    robust_dim: int = static(2)
    nonrobust_dim: int = static(200)
    random_labels: bool = static(False)
    robust_mean: float = 1.0
    nonrobust_mean: float = 0.05
    robust_noise: float = 1.0
    nonrobust_noise: float = 0.2

    def __post_init__(self):
        for name, low in (("num_samples", 1), ("num_test", 1), ("robust_dim", 0), ("nonrobust_dim", 0)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        if self.robust_dim + self.nonrobust_dim < 1:
            raise ValueError("robust_dim and nonrobust_dim must not both be 0")
        for name in ("robust_noise", "nonrobust_noise"):
            value = getattr(self, name)
            if is_number(value) and not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")

    @as_one
    def sample(self, key: Key[Array, ""], step: int | Int[Array, ""] | None = None) -> Draw:
        """One seed's data, or its training samples of one step.

        The features are the two blocks' mean directions, for the label +1.
        """
        means = self._blocks(self.robust_mean, self.nonrobust_mean)
        spread = self._blocks(self.robust_noise, self.nonrobust_noise)

        def drawn(key, name, count):
            label_key, noise_key, other_key = (
                named_key(key, f"{name} {what}") for what in ("labels", "noise", "random labels")
            )
            y = jax.random.rademacher(label_key, (count,), means.dtype)
            g = jax.random.normal(noise_key, (count, means.shape[0]), means.dtype)
            x = y[:, None] * means[None] + spread[None] * g
            if self.random_labels:
                y = jax.random.rademacher(other_key, (count,), means.dtype)
            target = (y < 0).astype(int)
            return Sample(x, y, target, jnp.zeros(count, int))

        robust = jnp.arange(means.shape[0]) < self.robust_dim
        blocks = jnp.stack([jnp.where(robust, means, 0), jnp.where(robust, 0, means)])
        signs = jnp.array([1.0, -1.0], means.dtype)
        return Draw(
            drawn(at_step(key, step), "train", self.num_samples),
            drawn(key, "test", self.num_test),
            features=blocks,
            feature_signs=jnp.ones(2, means.dtype),
            class_signs=signs,
            feature_classes=jnp.zeros(2, int),
        )

    def _blocks(self, robust, other):
        dtype = jnp.result_type(float)
        return jnp.concatenate(
            [jnp.full(self.robust_dim, robust, dtype), jnp.full(self.nonrobust_dim, other, dtype)]
        )

    def best_accuracy(self, radius: float = 0.0, block: str = "robust") -> float:
        r"""Accuracy of the best linear rule on one block under an $\ell_\infty$ attack of this radius.

        $\Phi(\sqrt{d}\,(\mu - \varepsilon) / \sigma)$ of the rule that sums the block's coordinates.
        """
        robust = block == "robust"
        dim = self.robust_dim if robust else self.nonrobust_dim
        mean = self.robust_mean if robust else self.nonrobust_mean
        noise = self.robust_noise if robust else self.nonrobust_noise
        lead = math.sqrt(dim) * (mean - radius)
        if noise == 0:
            return 1.0 if lead > 0 else 0.0 if lead < 0 else 0.5
        return float(ndtr(lead / noise))
