r"""Kernels of networks known in closed form: infinitely wide ones of any depth, two-layer ones of any width.

Conventions, which papers do not share:

- `two_layer`: $f(x) = m^{-1/2} \sum_r a_r \phi(w_r \cdot x + b_r)$ with $w_r \sim N(0, \sigma_w^2 I)$,
  $E a_r^2 = v$, and biases $N(0, \sigma_b^2)$ if any.
- `deep`: $h_0 = x$, $h_{l+1} = \phi(\sigma_{w,l} m_l^{-1/2} W_l h_l + \sigma_{b,l} b_l)$ with $m_0 = d$, and
  the same affine map without $\phi$ at the output; all W, b standard Gaussian (NTK parametrisation).

All are plain functions of arrays, for `jit`, `grad` and `vmap`; `blocks.gram` fills large matrices.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from kernels import angles, checks, products
from kernels.angles import Angle
from kernels.checks import PerLayer
from kernels.duals import Activation, dual
from kernels.products import full_precision

Trained = Literal["first", "second", "both"]


class Kernels(NamedTuple):
    """The kernel of the outputs at initialisation (NNGP) and the neural tangent kernel (NTK)."""

    nngp: Float[Array, "points others"]
    ntk: Float[Array, "points others"]


def _covariances(x, z):
    """Squared norms, a column and a row; inner products (their diagonal exact if z is None); angles."""
    x, z = products.floating(x), None if z is None else products.floating(z)
    angle, A, B = angles.between(x, z), _squares(x), _squares(x if z is None else z).T
    if z is None:
        return A, B, jnp.where(jnp.eye(len(x), dtype=bool), A, products.inner(x, x)), angle
    return A, B, products.inner(x, z), angle


def _squares(x):
    scale = products.size(x)
    return jnp.sum((x / scale) ** 2, axis=1, keepdims=True) * scale * scale


@full_precision
def two_layer(
    x: Float[Array, "points dim"],
    z: Float[Array, "others dim"] | None = None,
    activation: Activation = "relu",
    *,
    trained: Trained = "both",
    weight_std: float = 1.0,
    bias_std: float = 0.0,
    trained_bias: float = 0.0,
    output_variance: float = 1.0,
) -> Kernels:
    r"""Kernels of the infinitely wide two-layer network; `z` None: of the points among themselves.

    With $(u, v)$ Gaussian of covariance $\sigma_w^2 x \cdot z + \sigma_b^2$: the NNGP is
    $v\,E[\phi(u)\phi(v)]$, the first layer gives $v\,(x \cdot z + \beta^2)\,E[\phi'(u)\phi'(v)]$ to the NTK,
    and the second $E[\phi(u)\phi(v)]$.

    Args:
      trained: the layers that train.
      weight_std, bias_std: $\sigma_w$ and $\sigma_b$.
      trained_bias: $\beta$: 0 for hidden biases that do not train (or are not there), 1 for biases trained
        with the weights' learning rate, $\sigma_b$ for those of the NTK parametrisation.
      output_variance: $v$.

    Raises: ValueError: shapes that do not fit, non-finite inputs, or an unknown name.
    References: Jacot et al. 2018, arXiv:1806.07572; Cho and Saul 2009.
    """
    checks.points(x, z)
    checks.one_of("trained", trained, Trained)
    checks.number("weight_std", weight_std, low=0)
    checks.number("bias_std", bias_std, low=0)
    checks.number("trained_bias", trained_bias, low=0)
    checks.number("output_variance", output_variance, low=0)
    act = dual(activation)
    apart = _multiplies_last(act, (bias_std,))
    numbers = 1.0 * weight_std, (1.0 * bias_std) ** 2, (1.0 * trained_bias) ** 2, 1.0 * output_variance
    return _two_layer(x, z, *numbers, act=act, trained=trained, apart=apart)


@partial(jax.jit, static_argnames=("act", "trained", "apart"))
def _two_layer(x, z, weight_std, b, trained_bias, output_variance, *, act, trained, apart):
    x, z, back = _scaled(x, z) if apart else (x, z, lambda K, weight: K)
    s = 1.0 if apart else weight_std**2
    A, B, G, angle = _covariances(x, z)
    pair = (s * A + b, s * B + b, s * G + b, angles.with_bias(angle, s * A, s * B, b))
    values, slopes = act.values(*pair), act.slopes(*pair)
    values = back(values, weight_std)
    ntk = jnp.zeros_like(G)
    if trained != "second":
        ntk = ntk + output_variance * (back(G, 1.0) * slopes + trained_bias * slopes)
    if trained != "first":
        ntk = ntk + values
    return Kernels(output_variance * values, ntk)


def _multiplies_last(act, bias_stds):
    """Whether the kernel scales with points and weights, whose sizes are then multiplied at the end."""
    return act.scales and all(checks.known(std) and std == 0 for std in bias_stds)


def _scaled(x, z):
    """Points of sizes near 1, and what gives a kernel of degree 1 in each their sizes, and weights."""
    x, z = products.floating(x), None if z is None else products.floating(z)
    here = products.size(x)
    there = here if z is None else products.size(z)

    def back(K, weight):
        return K * (weight * here) * (weight * there).T

    return x / here, None if z is None else z / there, back


@full_precision
def deep(
    x: Float[Array, "points dim"],
    z: Float[Array, "others dim"] | None = None,
    depth: int = 1,
    activation: Activation = "relu",
    *,
    weight_std: PerLayer = 2**0.5,
    bias_std: PerLayer = 0.1,
    trained: Collection[int] | None = None,
    train_biases: bool = True,
) -> Kernels:
    r"""Kernels of the infinitely wide network with `depth` hidden layers; `z` None: of the points themselves.

    Layer by layer, $C \leftarrow \sigma_w^2 E[\phi\phi] + \sigma_b^2$ from
    $\sigma_w^2 x \cdot z / d + \sigma_b^2$, and from $\Theta = C$
    $\Theta \leftarrow C + \sigma_w^2\,\Theta\,E[\phi'\phi']$, with $\sigma_w$ and $\sigma_b$ of the layer.

    Args:
      weight_std, bias_std: $\sigma_w$ and $\sigma_b$, of all layers or, `depth` + 1 of them, of each.
      trained: the layers that train, counted from 0 (the input's) to `depth` (the output's); None: all.
      train_biases: whether their biases train too.

    Raises: ValueError: shapes that do not fit, non-finite inputs, unknown names or layers, or standard
      deviations of another number of layers.
    References: Jacot et al. 2018, arXiv:1806.07572, Theorem 1; Lee et al. 2019, arXiv:1902.06720.
    """
    checks.points(x, z)
    checks.whole("depth", depth, 0)
    weights = checks.per_layer("weight_std", weight_std, depth + 1)
    biases = checks.per_layer("bias_std", bias_std, depth + 1)
    if isinstance(trained, str) or not isinstance(trained, Collection | None):
        raise ValueError(f"trained must list layers from 0 to {depth}, got {trained!r}")
    layers = range(depth + 1) if trained is None else trained
    if unknown := sorted(set(layers) - set(range(depth + 1))):
        raise ValueError(f"trained names layers {unknown}, but a net of depth {depth} has 0 to {depth}")
    act, apart = dual(activation), _multiplies_last(dual(activation), biases)
    s, b = [1.0 if apart else std**2 for std in weights], [std**2 for std in biases]
    state = _input_layer(x, z, s[0], b[0], trained=0 in layers, train_biases=train_biases, apart=apart)
    for layer in range(1, depth + 1):  # one program for all of them
        own = s[layer], b[layer - 1], b[layer]
        state = _layer(*state, *own, act=act, trained=layer in layers, train_biases=train_biases)
    _, _, C, ntk, _ = state
    if apart:
        C, ntk = _apart(C, ntk, x, z, weights)
    return Kernels(C + b[depth], ntk)


@jax.jit
def _apart(C, ntk, x, z, weights):
    """Kernels without biases at the points' own sizes, and at these sizes of weights."""
    back = _scaled(x, z)[2]
    for weight_std in weights[:-1]:
        C, ntk = (weight_std * K * weight_std for K in (C, ntk))
    return back(C, weights[-1]), back(ntk, weights[-1])


def _own(values, s, b, trained, train_biases):
    """What a layer's own parameters give to the NTK."""
    if not trained:
        return jnp.zeros_like(values)
    return s * values + b if train_biases else s * values


@partial(jax.jit, static_argnames=("trained", "train_biases", "apart"))
def _input_layer(x, z, s, b, *, trained, train_biases, apart):
    x, z, _ = _scaled(x, z) if apart else (x, z, None)
    A, B, G, angle = _covariances(x, z)
    d = x.shape[1]
    return s * (A / d), s * (B / d), s * (G / d), _own(G / d, s, b, trained, train_biases), angle


@partial(jax.jit, static_argnames=("act", "trained", "train_biases"))
def _layer(A, B, C, ntk, angle, s, before, b, *, act, trained, train_biases):
    angle = angles.with_bias(angle, A, B, before)  # the biases of the layer before join
    A, B, C = A + before, B + before, C + before
    values, slopes = act.values(A, B, C, angle), act.slopes(A, B, C, angle)
    ntk = _own(values, s, b, trained, train_biases) + s * ntk * slopes
    turned = None if act.turned is None else act.turned(A, B, angle)
    A, B = (s * act.values(V, V, V, Angle(jnp.ones_like(V), jnp.zeros_like(V))) for V in (A, B))
    C = s * values
    return A, B, C, ntk, turned or angles.of(A, B, C)


@dataclass(frozen=True)
class DeepNTK:
    """The NTK of `deep` as one value: callable, hashable, and equal to another of the same numbers.

    Attributes: as the arguments of `deep`; depth 0 is the linear kernel of its parametrisation.
    Raises: ValueError: a depth that is negative or no integer, an unknown activation, or standard deviations
      of another number of layers.
    """

    depth: int = 1
    activation: Activation = "relu"
    weight_std: float | tuple[float, ...] = math.sqrt(2)
    bias_std: float | tuple[float, ...] = 0.1

    def __post_init__(self):
        checks.whole("depth", self.depth, 0)
        checks.per_layer("weight_std", self.weight_std, self.depth + 1)
        checks.per_layer("bias_std", self.bias_std, self.depth + 1)
        dual(self.activation)

    def __call__(
        self, x: Float[Array, "points dim"], z: Float[Array, "others dim"] | None = None
    ) -> Float[Array, "points others"]:
        """The kernel of every point with every other; `z` None: of the points among themselves."""
        size = {"weight_std": self.weight_std, "bias_std": self.bias_std}
        return deep(x, z, self.depth, self.activation, **size).ntk


@full_precision
def finite_two_layer(
    W: Float[Array, "neurons dim"],
    a: Float[Array, " neurons"],
    x: Float[Array, "points dim"],
    z: Float[Array, "others dim"] | None = None,
    activation: Activation = "relu",
    *,
    trained: Trained = "both",
) -> Float[Array, "points others"]:
    r"""The NTK of $f(x) = m^{-1/2} \sum_r a_r \phi(w_r \cdot x)$ at these weights, exactly.

    First layer: $\frac{x \cdot z}{m} \sum_r a_r^2 \phi'(w_r \cdot x) \phi'(w_r \cdot z)$; second:
    $\frac1m \sum_r \phi(w_r \cdot x) \phi(w_r \cdot z)$. $\phi'(0) = 0$ for ReLU.

    Raises: ValueError: shapes that do not fit, non-finite inputs, or an unknown name.
    """
    checks.points(x, z)
    checks.one_of("trained", trained, Trained)
    checks.shaped("W", W, "neurons", x.shape[1])
    checks.shaped("a", a, W.shape[0])
    checks.finite("W", W)
    checks.finite("a", a)
    return _finite(W, a, x, z, act=dual(activation), trained=trained)


@partial(jax.jit, static_argnames=("act", "trained"))
def _finite(W, a, x, z, *, act, trained):
    x = products.floating(x)
    other = x if z is None else products.floating(z)
    u, v = x @ W.T, other @ W.T
    total = jnp.zeros((), x.dtype)
    if trained != "second":
        slopes = products.inner(act.slope(u) * a[None], act.slope(v) * a[None]) / len(a)
        total = total + products.inner(x, other) * slopes
    if trained != "first":
        total = total + products.inner(act.phi(u) / math.sqrt(len(a)), act.phi(v) / math.sqrt(len(a)))
    return total


def fluctuation(
    square_norm: float,
    activation: Activation = "relu",
    *,
    trained: Literal["first", "second"] = "first",
    output_fourth_moment: float = 1.0,
) -> float:
    r"""$m\,\mathrm{Var}\,\hat\Theta(x, x)$ of `finite_two_layer` over $w \sim N(0, I)$ and $a$, $E a^2 = 1$.

    Exact at every width. `output_fourth_moment` is $E a^4$: 1 for signs, 3 for Gaussian $a$; the second
    layer's part does not depend on it.

    Raises: ValueError: an unknown name, or a negative norm.
    """
    from scipy import integrate  # a fifth of a second, which few runs need

    checks.one_of("trained", trained, Literal["first", "second"])
    checks.number("square_norm", square_norm, low=0)
    checks.number("output_fourth_moment", output_fourth_moment, low=0)
    act, norm = dual(activation), math.sqrt(square_norm)
    f = act.slope if trained == "first" else act.phi

    def moment(power):
        def integrand(g):
            density = math.exp(-(g**2) / 2) / math.sqrt(2 * math.pi)
            return float(f(jnp.asarray(norm * g, float))) ** power * density

        sides = (integrate.quad(integrand, *side, epsabs=1e-13)[0] for side in ((-38, 0), (0, 38)))
        return sum(sides)

    if trained == "second":
        return moment(4) - moment(2) ** 2
    return square_norm**2 * (output_fourth_moment * moment(4) - moment(2) ** 2)


def circle_spectrum(frequency: int, part: Literal["slopes", "first", "second", "both"] = "both") -> float:
    r"""Eigenvalue, at a frequency, of a two-layer ReLU kernel on the circle with uniform measure.

    Of $E[\phi'\phi']$ (`slopes`), or of the NTK of the layers that train. The Gram matrix of N equispaced
    points has N times these, up to aliasing. Odd frequencies from 3 on are not learned without biases.

    Raises: ValueError: a negative frequency or an unknown name.
    Reference: Basri et al. 2019, arXiv:1906.00425 (the statement; values by Fourier series).
    """
    checks.whole("frequency", frequency, 0)
    checks.one_of("part", part, Literal["slopes", "first", "second", "both"])
    k, scale = frequency, math.pi**2
    if part == "slopes":
        return 0.25 if k == 0 else (1 / (scale * k**2) if k % 2 else 0.0)
    if part == "both":
        return circle_spectrum(k, "first") + circle_spectrum(k, "second")
    if k == 1:
        return 1 / 8
    if k % 2:
        return 0.0
    over = scale * (k**2 - 1) ** 2
    return (k**2 + 1) / over if part == "first" else 2 / over


def cluster_spectrum(
    num_clusters: int, dim: int, trained: Literal["first", "both"] = "both"
) -> tuple[float, float]:
    r"""Eigenvalues of the two-layer ReLU NTK on k orthogonal centres of norm $\sqrt d$.

    Returns: that of the constant vector, and the one of multiplicity k - 1.
    Raises: ValueError: no centres, or more of them than dimensions.
    """
    checks.whole("num_clusters", num_clusters, 1)
    checks.whole("dim", dim, 1)
    if num_clusters > dim:
        raise ValueError(f"num_clusters must be at most dim={dim} for orthogonal centres, got {num_clusters}")
    if trained == "first":
        return dim / 2, dim / 2
    rest = dim * (1 - 1 / (2 * math.pi))
    return rest + dim * num_clusters / (2 * math.pi), rest
