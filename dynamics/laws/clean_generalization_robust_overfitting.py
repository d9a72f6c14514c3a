r"""What theory predicts for adversarial training on one signal patch and patches of noise.

Setting: an input has a patch $\alpha y w^*$ and patches of noise $\xi$ orthogonal to $w^*$; the network is
$f(X) = \sum_r \sum_p \phi(\langle w_r, x_p\rangle)$ with $\phi(z) = \mathrm{sign}(z)|z|^q$. The adversary
leaves $\alpha' y w^*$ of the signal and nothing else changes. With the *signal*
$u_r = \langle w_r, w^*\rangle$ and the *memory* $v_{rk} = \langle w_r, \xi_k\rangle$ of each noise patch,

$$U = \sum_r \phi(u_r), \quad V_i = y_i \sum_{r,\,k \in i} \phi(v_{rk}), \quad
y_i f(X_i) = \alpha^q U + V_i, \quad y_i f(\tilde X_i) = \alpha'^q U + V_i,$$

exactly: the two scores see the same memory, and only the signal tells them apart. Time is counted in steps
of gradient descent of size $\eta$ on $(1-\lambda)$ clean + $\lambda$ adversarial mean logistic loss.

Reference: Li & Li 2025, arXiv:2306.01271 (setting, phases, orders); the curves in closed form, the threshold
and the reduced dynamics are derived from the equations above.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Num

# SciPy is imported where it is used: it would double the time that a command takes to start


@dataclass(frozen=True)
class Race:
    r"""The sizes that decide between learning the signal and memorising the noise.

    Attributes:
      signal: $\alpha$.
      residual: $\alpha'$, what the adversary leaves of it.
      noise_square: $\|\xi\|^2$ of a noise patch.
      num_samples: N.
      adversarial_weight: $\lambda$.
      learning_rate: $\eta$.
      power: q, at least 2.
    """

    signal: float
    residual: float
    noise_square: float
    num_samples: int
    adversarial_weight: float
    learning_rate: float
    power: float = 3.0

    def __post_init__(self):
        if self.power < 2:
            raise ValueError(f"power must be at least 2, got {self.power}")

    @property
    def signal_rate(self) -> float:
        r"""$\eta q\,[(1-\lambda)\alpha^q + \lambda\alpha'^q]/2$, of $\dot u = \mathrm{rate}\,u^{q-1}$.

        Phase I: both scores are near 0 and the logistic loss has slope 1/2.
        """
        q, weight = self.power, self.adversarial_weight
        return self.learning_rate * q * ((1 - weight) * self.signal**q + weight * self.residual**q) / 2

    @property
    def memory_rate(self) -> float:
        r"""$\eta q \lambda \|\xi\|^2/(2N)$: $\dot v = \mathrm{rate}\,v^{q-1}$ until the memory counts.

        Only the adversarial half of the loss is left by then, and it has slope 1/2.
        """
        push = self.learning_rate * self.power * self.adversarial_weight * self.noise_square
        return push / (2 * self.num_samples)

    def signal_growth(self, steps: Num[np.ndarray, " times"], start: float) -> Float[np.ndarray, " times"]:
        r"""Phase I: $u(t)$ of a neuron from $u(0) > 0$; inf from the time at which it blows up."""
        return _power_growth(steps, start, self.signal_rate, self.power)

    def memory_growth(self, steps: Num[np.ndarray, " times"], start: float) -> Float[np.ndarray, " times"]:
        r"""Phase III: $v(t)$ of a noise patch and neuron from $y v(0) > 0$; inf from where it blows up."""
        return _power_growth(steps, start, self.memory_rate, self.power)

    def signal_time(self, start: float) -> float:
        r"""T1: when phase I ends for a neuron with $u(0)$, its curve having blown up."""
        return _end(start, self.signal_rate, self.power, 1 / self.signal)

    def memory_time(self, start: float) -> float:
        r"""T3: when phase III ends for a noise patch and neuron with $y v(0)$, as T1."""
        return _end(start, self.memory_rate, self.power, 1.0)

    def signal_margin(self, steps: Num[np.ndarray, " times"], start: float) -> Float[np.ndarray, " times"]:
        r"""$\alpha^q u(t)^q$ of the one neuron that holds the signal, through phases I and II.

        $\dot u = \eta q u^{q-1}[(1-\lambda)\alpha^q s(\alpha^q u^q) + \lambda\alpha'^q s(\alpha'^q u^q)]$,
        $s(z) = 1/(1+e^z)$, memory left out: past 1 the clean score has no slope left, and grows like log t.
        """
        from scipy.integrate import solve_ivp
        from scipy.special import expit

        q, weight, rate = self.power, self.adversarial_weight, self.learning_rate * self.power

        def slope(_, u):
            clean, moved = (a**q for a in (self.signal, self.residual))
            pull = (1 - weight) * clean * expit(-clean * u**q) + weight * moved * expit(-moved * u**q)
            return rate * u ** (q - 1) * pull

        times = np.asarray(steps, float)
        end = max(float(times[-1]), 1.0)
        flow = solve_ivp(slope, (0, end), [start], t_eval=times, method="LSODA", rtol=1e-8, atol=1e-10)
        return self.signal**q * flow.y[0] ** q

    def signal_strength(self, step: float, start: float) -> float:
        r"""$u(t)$ of the same neuron; $u_*$ of the threshold, at the end of phase II."""
        return float(self.signal_margin(np.asarray([step]), start)[0]) ** (1 / self.power) / self.signal

    def threshold(self, strength: float, start: float) -> float:
        r"""$\gamma_c$: residual over signal beyond which the signal is learned before the noise is memorised.

        Both grow as $\dot x = \mathrm{rate}\,x^{q-1}$, and the one that blows up first saturates the loss:
        $\alpha'^q u_*^{q-2} = \|\xi\|^2 v_0^{q-2}/N$ at equality; `strength` is $u_*$, the largest $u_r$
        after phase I, and `start` $v_0$ the largest initial $|v|$.
        """
        q = self.power
        level = self.noise_square * (start / strength) ** (q - 2) / self.num_samples
        return level ** (1 / q) / self.signal


def largest_start(init_scale: float, noise_length: float, width: int) -> float:
    r"""$\sigma_0\|\xi\|\sqrt{2\ln m}$: about the largest $|\langle w_r, \xi\rangle|$ of m random neurons."""
    return init_scale * noise_length * math.sqrt(2 * math.log(max(width, 2)))


def slowest_start(count: int, width: int, risk: float = 0.05) -> float:
    r"""What the largest of m standard normals is above, for each of `count` such sets, but for this risk."""
    from scipy.special import ndtri

    return float(ndtri((risk / count) ** (1 / width)))


def start_deviation(scale: float, count: int, power: float) -> float:
    r"""Standard deviation of $\sum_k \phi(z_k)$ of `count` normals of standard deviation `scale`."""
    from scipy.special import gamma

    moment = 2**power * gamma(power + 0.5) / math.sqrt(math.pi)  # E z^2q
    return math.sqrt(count * moment) * scale**power


def unseen(dim: int, num_samples: int) -> float:
    r"""$(1 - 2^{-(D-1)})^N$: how often the signs of a parity input are those of no training input."""
    return (1 - 2.0 ** (1 - dim)) ** num_samples


def unseen_deviation(dim: int, num_samples: int, num_test: int) -> float:
    r"""Standard deviation of the share of test inputs with signs of no training input, of one seed.

    Of $M = 2^{D-1}$ sign patterns N draws with replacement leave a share of variance
    $e^{-c}(1 - (1 + c)e^{-c})/M$ unseen, $c = N/M$.
    """
    patterns, share = 2.0 ** (dim - 1), unseen(dim, num_samples)
    load = num_samples / patterns
    drawn = math.exp(-load) * (1 - (1 + load) * math.exp(-load)) / patterns
    return math.sqrt(share * (1 - share) / num_test + drawn)


def _power_growth(steps, start, rate, power):
    """x(t) of x' = rate x^(q-1) from x(0) = `start`."""
    times = np.asarray(steps, float)
    if power == 2:
        return start * np.exp(rate * times)
    left = start ** (2 - power) - (power - 2) * rate * times
    grown = np.where(left > 0, left, 1.0) ** (-1 / (power - 2))
    return np.where(left > 0, grown, np.inf)


def _end(start, rate, power, level):
    """When x of x' = rate x^(q-1) from x(0) = `start` is inf; for q = 2, where it never is, at `level`."""
    if start <= 0 or rate == 0:
        return math.inf
    if power == 2:
        return max(math.log(level / start), 0.0) / rate
    return start ** (2 - power) / ((power - 2) * rate)


def reduced_dynamics(
    u: Float[np.ndarray, " neurons"],
    v: Float[np.ndarray, "neurons noise_patches"],
    gram: Float[np.ndarray, "noise_patches noise_patches"],
    y: Float[np.ndarray, " samples"],
    race: Race,
    when: Sequence[int],
) -> tuple[Float[np.ndarray, "times neurons"], Float[np.ndarray, "times neurons noise_patches"]]:
    r"""Training without weights: signals u and memories v at the steps `when`, whatever the dimension.

    $u_r \leftarrow u_r + \eta q |u_r|^{q-1}\,\mathrm{mean}_i[\alpha^q c_i + \alpha'^q a_i]$ and
    $v_{rk} \leftarrow v_{rk} + \frac{\eta q}{N}\sum_l (c_l + a_l) y_l |v_{rl}|^{q-1} K_{lk}$, with
    $c_i = (1-\lambda)s(\alpha^q U + V_i)$, $a_i = \lambda s(\alpha'^q U + V_i)$ and $s(z) = 1/(1+e^z)$:
    gradient descent itself, exactly. A step costs $2 m n^2$ flops for m neurons and n noise patches.

    Args:
      u, v: signals and memories at step 0.
      gram: $K$, inner products of the noise patches of all samples; those of sample i are rows
        $i p .. (i+1)p - 1$ where each has p of them.
      y: labels -1 and +1.
      race: the sizes; `noise_square` and `num_samples` are not looked at.
      when: steps to record, increasing.

    Raises: ValueError: noise patches that cannot be dealt out evenly to the samples.
    """
    from scipy.special import expit

    num_samples = len(y)
    if v.shape[1] % num_samples:
        raise ValueError(
            f"noise patches must be a multiple of the {num_samples} samples, got {v.shape[1]} of them"
        )
    each = v.shape[1] // num_samples
    q, weight = race.power, race.adversarial_weight
    clean, moved = race.signal**q, race.residual**q
    rate = race.learning_rate * q
    u, v = np.array(u), np.array(v)
    recorded = []
    for step in range(max(when) + 1):
        if step in when:
            recorded.append((u.copy(), v.copy()))
        memory = y * (np.sign(v) * np.abs(v) ** q).sum(axis=0).reshape(num_samples, each).sum(axis=1)
        total = np.sum(np.sign(u) * np.abs(u) ** q)
        c = (1 - weight) * expit(-(clean * total + memory))
        a = weight * expit(-(moved * total + memory))
        push = np.repeat((c + a) * y, each)
        u = u + rate * np.abs(u) ** (q - 1) * np.mean(clean * c + moved * a)
        v = v + rate / num_samples * ((push * np.abs(v) ** (q - 1)) @ gram)
    signals, memories = zip(*recorded, strict=True)
    return np.stack(signals), np.stack(memories)
