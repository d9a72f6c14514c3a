r"""What theory predicts for two-layer ReLU networks on orthogonal clusters.

Setting: k orthogonal centres of norm R, noise $\sigma\xi$ with $\xi \sim N(0, I_d)$, n training samples,
small initialisation, full-batch gradient descent with step $\eta$ on the mean loss. A weight that has
absorbed cluster j also carries the mean noise of its samples; that enters every norm through the
*memorisation factor* $c = 1 + k \sigma^2 d / (n R^2)$, which is $1 + k/n$ for $R = \sqrt d$, $\sigma = 1$.

Reference: Li et al. 2025, arXiv:2410.10322 (setting, orders); the finite-size forms are derived from the
gradient flow on the coefficients of the centres.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num

# SciPy is imported where it is used: it would double the time that a command takes to start


@dataclass(frozen=True)
class Clusters:
    """The sizes that the laws depend on: d, k, n, R and sigma."""

    dim: int
    num_clusters: int
    num_samples: int
    centre_norm: float
    noise: float

    @property
    def memorisation(self) -> float:
        r"""$c = 1 + k \sigma^2 d / (n R^2)$."""
        extra = self.num_clusters * self.noise**2 * self.dim / (self.num_samples * self.centre_norm**2)
        return 1 + extra

    def averaged_alignment(self, num_own: int) -> float:
        r"""Cosine of an averaging neuron with each of its `num_own` centres: $1/\sqrt{|J| c}$."""
        return 1 / math.sqrt(num_own * self.memorisation)

    def off_alignment(self, num_own: int, share: float = 1.0) -> float:
        r"""Cosine of such a neuron with a centre of another label: $-\sigma z / R$.

        A sample of the other label pushes the neuron away while it activates it, which a share $\Phi(-z)$ of
        a cluster does once $\langle w, \mu\rangle$ is z standard deviations $\sigma \|w\|$ of its noise below
        0. As the neuron grows that has to grow in proportion: $\Phi(-z) = z \sigma \sqrt{|J| c} / (R\,s)$,
        where s = `share` is how hard such a sample pushes, compared with the neuron's own.
        """
        from scipy.special import ndtr

        resists = self.noise * math.sqrt(num_own * self.memorisation) / (self.centre_norm * share)
        depth = _solve(lambda z: z * resists + ndtr(z), np.asarray([1.0]))[0] if resists else 0.0
        return -self.noise * depth / self.centre_norm

    @property
    def centre_error(self) -> float:
        r"""Standard error of a cosine with the centre of n/k noisy samples: $\sigma / (R \sqrt{n/k})$."""
        return self.noise * math.sqrt(self.num_clusters / self.num_samples) / self.centre_norm

    def averaged_radius(self) -> float:
        r"""Mean l2 distance to the boundary of the averaging classifier: $R / \sqrt{k c}$."""
        return self.centre_norm / math.sqrt(self.num_clusters * self.memorisation)

    def decoupled_radius(self, num_labels: int, num_positive: int | None = None) -> float:
        r"""Mean l2 radius of the max-logit readout with G labels, $R\sqrt{G/(2kc)} - \sigma\,E/\sqrt2$.

        Of a point that has q opposite labels E is $E_q$, the mean of the largest of q standard normals: the
        nearest of them wins. Points are equally often of each label, `num_positive` of which are positive
        (None: half).
        """
        mean = self.centre_norm * math.sqrt(num_labels / (2 * self.num_clusters * self.memorisation))
        one = num_labels / 2 if num_positive is None else num_positive
        other = num_labels - one
        nearest = (one * largest_normal(other) + other * largest_normal(one)) / num_labels
        return mean - self.noise * nearest / math.sqrt(2)

    def sum_logit_radius(self, num_labels: int, suppression: float = 0.0) -> float:
        r"""Radius of the sum-of-logits readout at a centre, G labels of equal size, half of each sign.

        A label's neuron has absorbed k/G centres, so that $R\sqrt{G/(kc)}$ takes the place of R in
        `sum_logit_radius`, with q = G/2.
        """
        distance = self.centre_norm * math.sqrt(num_labels / (self.num_clusters * self.memorisation))
        return sum_logit_radius(distance, num_labels // 2, suppression)

    def averaged_growth(
        self, steps: Num[np.ndarray, " times"], learning_rate: float, width: int
    ) -> Float[np.ndarray, " times"]:
        r"""$\lambda = \langle w_r, \mu_j\rangle$ solves $(e^{c\lambda}-1)/c+\lambda = \eta R^2 t/(km)$."""
        c = self.memorisation
        time = np.asarray(steps) * learning_rate * self.centre_norm**2 / (self.num_clusters * width)
        return _solve(lambda z: _expm1(c * z) / c + z, time)

    def decoupled_growth(
        self,
        steps: Num[np.ndarray, " times"],
        learning_rate: float,
        width: int,
        num_labels: int | None = None,
    ) -> Float[np.ndarray, " times"]:
        r"""The own logit z(t): solves $(e^{cz} - 1)/c + (G-1) z = (G-1)\,\eta R^2 t / (k h)$, G labels."""
        c, others = self.memorisation, (num_labels or self.num_clusters) - 1
        time = np.asarray(steps) * learning_rate * self.centre_norm**2 / (self.num_clusters * width)
        return _solve(lambda z: _expm1(c * z) / c + others * z, others * time)

    def early_alignment(
        self, times: Num[np.ndarray, " times"], width: int, pushes: Sequence[float], starts: int = 512
    ) -> Float[np.ndarray, " times"]:
        r"""Mean cosine of neurons with their own centres while the outputs are near 0.

        The pull of cluster j on a neuron's output is $p_j$ = `pushes`, minus the loss's slope there: +1/2 of
        its own sign and -1/2 of the other with the logistic loss, $1 - 1/G$ and $-1/G$ with the
        cross-entropy; own centres are those that pull up. Population flow of a neuron with fixed output
        weight, in units of the start: with $z_j = \langle w, \mu_j\rangle / \sigma\|w\|$,

        $\dot w = \frac{1}{km} \sum_j p_j (\Phi(z_j)\,\mu_j + \sigma\varphi(z_j)\,w/\|w\|)$,

        and beside it the noise of the samples that are active, which it memorises. Averaged over `starts`
        Gaussian initial weights, the same in every call.

        Args:
          times: $\eta t / s$ for a start of standard deviation s, increasing from 0 on.
          width: neurons that share an output, m of a sign or h of a class.
        """
        from scipy.special import ndtr

        k, d, n, R = self.num_clusters, self.dim, self.num_samples, self.centre_norm
        push = np.asarray(pushes, float)
        own = push > 0
        u = np.random.default_rng(0).standard_normal((starts, k))  # <w, mu_j> / R
        rest = np.full(starts, math.sqrt(max(d - k, 0)))  # of the initial weights, outside of the centres
        once, twice = np.zeros((starts, k)), np.zeros((starts, k))  # moments of how long samples pulled
        memory = (self.noise / (width * n)) ** 2 * d * (n / k)

        def length():
            return np.sqrt((u**2).sum(1) + rest**2 + memory * (push**2 * twice).sum(1))

        now, found = 0.0, []
        for time in np.asarray(times, float):
            while now < time:
                norm = length()  # no neuron moves by more than a five hundredth of its length
                step = min(time - now, 0.002 * norm.min() * k * width / (R * np.abs(push).max()))
                z = R * u / np.maximum(self.noise * norm[:, None], 1e-300)
                active = ndtr(z)
                along = self.noise * (push * np.exp(-(z**2) / 2)).sum(1) / math.sqrt(2 * math.pi) / norm
                # who pulls up has pulled since it began, who pulls down from the start on
                twice = twice + step * np.where(own, 2 * once, 2 * now * active)
                once = once + step * active
                u = u + step * (push * R * active + along[:, None] * u) / (k * width)
                rest = rest + step * along * rest / (k * width)
                now = time if step == time - now else now + step
            found.append(float((u[:, own] / length()[:, None]).mean()))
        return np.asarray(found)

    def growth_rate(self, num_own: int) -> float:
        r"""$\|g\| = R\sqrt{|J| c} / 2k$, at which a neuron and its small output weight grow together.

        The averaged feature g is the gradient with respect to a neuron of unit output weight, while the
        outputs are near 0 and the neuron is active on its own centres alone (logistic loss).
        """
        return self.centre_norm * math.sqrt(num_own * self.memorisation) / (2 * self.num_clusters)


def growth_speed(size: float, memorisation: float, others: int = 1) -> float:
    r"""$z'(\tau) = g/(e^{cz} + g)$ of the growth laws; g = `others`: G - 1, or 1 for binary labels."""
    return others / (math.exp(min(memorisation * size, 700.0)) + others)


def largest_normal(count: int | float) -> float:
    """Mean of the largest of `count` independent standard normals (a real count is interpolated)."""
    if count <= 1:
        return 0.0
    from scipy.integrate import quad
    from scipy.special import ndtr

    density = lambda z: z * count * math.exp(-(z**2) / 2) * ndtr(z) ** (count - 1)  # noqa: E731
    return quad(density, -10, 10)[0] / math.sqrt(2 * math.pi)


def sum_logit_radius(distance: float, num_opposite: int, suppression: float = 0.0) -> float:
    r"""Radius of the sum-of-logits readout at a centre, $\min_{s \le q} R (1 + s\beta)/\sqrt{1 + s}$.

    R = `distance` is how far the own neuron's boundary is: the centre's norm, where weights are multiples of
    single centres. The network is decoupled and free of biases, q = `num_opposite`, and opposite
    pre-activations are $-\beta$ (`suppression`) times the own one. Shrinking the own neuron while raising s
    opposite ones at once is what makes it smaller than $R$; for $\beta \le 1/(q + 2)$ all q take part.
    """
    raised = np.arange(num_opposite + 1)
    return float(np.min(distance * (1 + raised * suppression) / np.sqrt(1 + raised)))


def mixed_radius(centre_norm: float, num_clusters: int, mixing: float) -> float:
    r"""Max-logit radius at a centre of the hand-made net $w_j = (1-t)\mu_j/R^2 + t\sum_{own}\mu_s/R^2$.

    $R / \sqrt{2(1-t)^2 + 4t(1-t) + t^2 k}$ for $|J_\pm| = k/2$: $R/\sqrt2$ at t = 0, $R/\sqrt k$ at t = 1.
    Multi-class accuracy stays perfect for t < 1: fine labels alone do not force decoupling, as Proposition
    4.8 says; this net is a construction of ours for it.
    """
    t = mixing
    return centre_norm / math.sqrt(2 * (1 - t) ** 2 + 4 * t * (1 - t) + t**2 * num_clusters)


def robust_accuracy(
    radius: Float[np.ndarray, " radii"], mean: float, noise: float = 1.0
) -> Float[np.ndarray, " radii"]:
    r"""Share of test points farther than `radius` from the boundary: $\Phi((\bar r - r)/\sigma)$."""
    if noise == 0:
        return (np.asarray(radius) < mean).astype(float)
    from scipy.special import ndtr

    return ndtr((mean - np.asarray(radius)) / noise)


def _expm1(z):
    return math.expm1(z) if z < 700 else math.inf


def _solve(increasing, targets):
    from scipy.optimize import bisect

    def root(target):
        high = 1.0
        while increasing(high) < target:
            high *= 2
        return bisect(lambda z: increasing(z) - target, 0.0, high, xtol=1e-14, maxiter=200)

    return np.asarray([root(target) for target in np.atleast_1d(targets)])
