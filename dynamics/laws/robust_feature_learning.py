r"""What theory predicts for patch networks that learn robust and non-robust features.

Setting: k classes, each with a robust feature of strength $\alpha$ in S patches and a non-robust one of
strength $\beta$ in $P_N$ patches, all orthonormal; a sum over neurons and patches of a smoothed ReLU of
power q and knee $\varrho$; gradient descent of step $\eta$ on the mean cross-entropy of balanced classes.
While all logits are small, $a = \langle w, u\rangle$ of a neuron with its own class's feature follows
$a \leftarrow a + C a_+^{q-1}$, each feature by itself.

Reference: the setting of Li & Li 2025, arXiv:2410.08503; the recursion and what follows from it are derived.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class PatchFeatures:
    r"""The sizes that the laws depend on: k, S, $P_N$, $\alpha$, $\beta$, q, $\varrho$, $\eta$."""

    num_classes: int
    num_robust: int
    num_nonrobust: int
    robust_strength: float
    nonrobust_strength: float
    power: float
    threshold: float
    learning_rate: float

    def robust_rate(self, radius: float = 0.0) -> float:
        r"""$C_u = \eta \frac1k (1 - \frac1k) S \alpha^q/\varrho^{q-1}$, with $\alpha - r$ for $\alpha$."""
        return self._rate(self.num_robust, self.robust_strength - radius)

    def nonrobust_rate(self, radius: float = 0.0) -> float:
        r"""$C_v$: the same with $P_N$ and $(\beta - r)_+$."""
        return self._rate(self.num_nonrobust, self.nonrobust_strength - radius)

    def _rate(self, count, strength):
        share = (1 - 1 / self.num_classes) / self.num_classes
        scale = max(strength, 0.0) ** self.power / self.threshold ** (self.power - 1)
        return self.learning_rate * share * count * scale

    def growth(
        self, start: Float[np.ndarray, "*neurons"], rate: float | Float[np.ndarray, "..."], steps: int
    ) -> Float[np.ndarray, "times *neurons"]:
        r"""$a \leftarrow a + C a_+^{q-1}$ from `start`, at steps 0 .. `steps`; inf once it has run away."""
        values = [np.asarray(start, float)]
        with np.errstate(over="ignore"):
            for _ in range(steps):
                values.append(values[-1] + rate * np.maximum(values[-1], 0) ** (self.power - 1))
        return np.stack(values)

    def escape_time(self, start: float, rate: float) -> float:
        r"""$1/((q-2) C a_0^{q-2})$, when the flow of the recursion runs away (q > 2); inf for $a_0 \le 0$."""
        if start <= 0 or rate == 0:
            return np.inf
        return 1 / ((self.power - 2) * rate * start ** (self.power - 2))

    def side_ratio(
        self,
        robust: Float[np.ndarray, "*classes"],
        nonrobust: Float[np.ndarray, "*classes"],
        radius: float = 0.0,
    ) -> Float[np.ndarray, "*classes"]:
        r"""$C_u a_0^{q-2} / (C_v b_0^{q-2})$ of the largest initial projections; above 1 the robust one wins.

        inf where only the non-robust feature cannot grow, NaN where neither can.
        """
        sides = (robust, self.robust_rate(radius)), (nonrobust, self.nonrobust_rate(radius))
        with np.errstate(divide="ignore", invalid="ignore"):
            u, v = (rate * np.maximum(start, 0) ** (self.power - 2) for start, rate in sides)
            return np.asarray(u / v)

    def robust_odds(self, width: int) -> float:
        r"""How often m random neurons give a class to its robust feature though the other's rate is larger.

        The chance that $a_0/b_0 > \rho = (C_v/C_u)^{1/(q-2)}$ for the largest of m normals each,
        $1 - \int m \varphi(b) \Phi(b)^{m-1} \Phi(\rho b)^m\,db$.
        """
        from scipy.integrate import quad
        from scipy.special import ndtr

        ratio = (self.nonrobust_rate() / self.robust_rate()) ** (1 / (self.power - 2))
        density = lambda b: math.exp(-(b**2) / 2) * ndtr(b) ** (width - 1) * ndtr(ratio * b) ** width  # noqa: E731
        return 1 - width * quad(density, -10, 10, limit=200)[0] / math.sqrt(2 * math.pi)

    def slowest_start(self, width: int, risk: float) -> float:
        """What the largest of m standard normals is above in every class, but for this risk."""
        from scipy.special import ndtri

        return float(ndtri((risk / self.num_classes) ** (1 / width)))

    def frozen(
        self, loser: Float[np.ndarray, "*classes"], winner: Float[np.ndarray, "*classes"], ratio: float
    ) -> Float[np.ndarray, "*classes"]:
        r"""Where the slower feature stays: $(a_0^{2-q} - \frac{C_u}{C_v} b_0^{2-q})^{1/(2-q)}$.

        `ratio` is the loser's rate over the winner's. Starts that are not positive stay where they are.
        """
        p = self.power - 2
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = (loser**-p - ratio * winner**-p) ** (-1 / p)
        return np.where(loser > 0, moved, loser)

    def crossing_radius(self) -> float:
        r"""$\epsilon^* = (\beta R - \alpha)/(R - 1)$ with $R = (P_N/S)^{1/q}$: equal rates.

        There the winner is the feature that started larger, each with probability 1/2. NaN for $P_N = S$,
        where the rates are equal at no radius or at all of them.
        """
        ratio = (self.num_nonrobust / self.num_robust) ** (1 / self.power)
        if ratio == 1:
            return math.nan
        return (self.nonrobust_strength * ratio - self.robust_strength) / (ratio - 1)

    def flip_radius(self, family: int) -> float:
        r"""Radius at which a network of one family's features alone (0: u, 1: v) gives in to $u_t - u_y$.

        $\alpha/\sqrt2$ or $\beta/\sqrt2$, without noise.
        """
        return (self.robust_strength, self.nonrobust_strength)[family] / 2**0.5

    def plant_radius(self) -> float:
        r"""$\alpha (S/P_N)^{1/q}$: $u_t$ of this size in all non-robust patches outweighs $\alpha u_y$.

        For $w_i = c u_i$ below the knee ($c\,\alpha \le \varrho$), without noise.
        """
        return self.robust_strength * (self.num_robust / self.num_nonrobust) ** (1 / self.power)
