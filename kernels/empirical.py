r"""The NTK of a finite network: $\hat\Theta(x, z) = J(x) J(z)^\top$, J the Jacobian in what trains.

`dense` contracts layer by layer, with no Jacobian anywhere: activations and back-propagated signals of each
layer are all it needs, at a hundredth of the time and a tenth of the memory. `ntk` serves any
`apply(params, x)` that treats its samples apart. Both work under `jit`, `vmap` (over seeds) and `grad`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from kernels import checks, products
from kernels.checks import PerLayer
from kernels.duals import Activation, dual
from kernels.products import full_precision

Outputs = Literal["full", "mean"]
LIMIT = 2**30


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("weight", "bias"),
    meta_fields=("weight_scale", "bias_scale", "trained"),
)
@dataclass(frozen=True)
class Dense:
    r"""A layer $u = s\,h W + b_s\,b$; with scales, NTK parametrisation.

    Attributes:
      weight: W, of shape (inputs, neurons).
      bias: b, or None.
      weight_scale, bias_scale: s and $b_s$; static, as is the next.
      trained: whether weight and bias count in the kernel.
    """

    __no_type_check__ = True  # JAX rebuilds pytrees with leaves that are no arrays

    weight: Float[Array, "inputs neurons"]
    bias: Float[Array, " neurons"] | None = None
    weight_scale: float = 1.0
    bias_scale: float = 1.0
    trained: bool = True


class _Trace(NamedTuple):
    """A network at some points: the layers' inputs, and each output's derivative in each layer's outputs."""

    inputs: list[Float[Array, "points inputs"]]
    signals: list[Float[Array, "points outputs neurons"]]


def _trace(layers, act, x) -> _Trace:
    inputs, before = [x], []
    for layer in layers:
        u = layer.weight_scale * (inputs[-1] @ layer.weight)
        before.append(u if layer.bias is None else u + layer.bias_scale * layer.bias[None])
        inputs.append(act.phi(before[-1]))
    outputs = layers[-1].weight.shape[1]
    signal = jnp.broadcast_to(jnp.eye(outputs, dtype=x.dtype), (len(x), outputs, outputs))
    signals = [signal]
    for layer, u in zip(reversed(layers[1:]), reversed(before[:-1]), strict=True):
        back = layer.weight_scale * jnp.einsum("pon,in->poi", signals[-1], layer.weight)
        signals.append(back * act.slope(u)[:, None])
    return _Trace(inputs[:-1], signals[::-1])


@full_precision
def dense(
    layers: Sequence[Dense],
    x: Float[Array, "points dim"],
    z: Float[Array, "others dim"] | None = None,
    activation: Activation = "relu",
    *,
    outputs: Outputs = "full",
) -> Float[Array, "points ..."]:
    r"""The NTK of a fully connected network of any depth.

    $\sum_l (s_l^2 H_{l-1} H_{l-1}^\top + b_{s,l}^2) \circ D_l D_l^\top$ with a layer's inputs $H_{l-1}$ and
    signals $D_l = \partial f / \partial u_l$; the activation follows every layer but the last.

    Args:
      outputs: `full`: (points, outputs, others, outputs), or (points, others) of a single output; `mean`:
        (points, others), the mean over outputs of the diagonal blocks.

    Raises: ValueError: shapes that do not fit, non-finite points, or an unknown name.
    """
    checks.points(x, z)
    checks.one_of("outputs", outputs, Outputs)
    _fit(layers, x)
    act, x = dual(activation), products.floating(x)
    here = _trace(layers, act, x)
    there = here if z is None else _trace(layers, act, products.floating(z))
    count = layers[-1].weight.shape[1]
    full = outputs == "full" and count > 1
    total = jnp.zeros((), x.dtype)
    for layer, h, k, d, e in zip(layers, here.inputs, there.inputs, here.signals, there.signals, strict=True):
        if not layer.trained:
            continue
        feed = products.inner(layer.weight_scale * h, layer.weight_scale * k)
        if layer.bias is not None:
            feed = feed + layer.bias_scale**2
        if full:
            flat, other = d.reshape(-1, d.shape[2]), e.reshape(-1, e.shape[2])
            signals = products.inner(flat, other).reshape(*d.shape[:2], *e.shape[:2])
            total = total + feed[:, None, :, None] * signals
        else:
            flat, other = d.reshape(len(d), -1), e.reshape(len(e), -1)
            total = total + feed * (products.inner(flat, other) / count)
    return total


def _fit(layers, x):
    """Refuse layers that do not follow on each other."""
    if not layers:
        raise ValueError("a network needs at least one layer")
    size = x.shape[1]
    for number, layer in enumerate(layers):
        if layer.weight.ndim != 2 or layer.weight.shape[0] != size:
            raise ValueError(
                f"layer {number} must have a weight of shape ({size}, neurons), got {layer.weight.shape}"
            )
        size = layer.weight.shape[1]
        if layer.bias is not None and layer.bias.shape != (size,):
            raise ValueError(f"layer {number} must have a bias of shape ({size},), got {layer.bias.shape}")


Apply = Callable[[PyTree, Float[Array, "points *shape"]], Float[Array, "points *outputs"]]


@full_precision
def ntk(
    apply: Apply,
    params: PyTree,
    x: Float[Array, "points *shape"],
    z: Float[Array, "others *shape"] | None = None,
    *,
    outputs: Outputs = "full",
    limit: int = LIMIT,
) -> Float[Array, "points ..."]:
    """The NTK of any network that treats its samples apart, in the parameters given.

    Jacobians of as many points as fit into memory are contracted at a time. Where not even those of one
    point and of all others fit, Jacobian-vector products stand in for the second ones.

    Args:
      params: all of them train; freeze some by a function of the others alone.
      outputs: as in `dense`.
      limit: bytes for Jacobians, beside the result.

    Raises: ValueError: shapes that do not fit, or non-finite points.
    """
    checks.one_of("outputs", outputs, Outputs)
    checks.whole("limit", limit, 1)
    for name, value in (("x", x), ("z", z)):
        if value is not None:
            checks.finite(name, value)
    other = x if z is None else z
    if x.shape[1:] != other.shape[1:]:
        raise ValueError(f"x and z must have points of one shape, got {x.shape[1:]} and {other.shape[1:]}")
    shape = jax.eval_shape(apply, params, x)
    checks.shaped("the network's output", shape, len(x), "...")
    count = math.prod(shape.shape[1:])
    size = sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(params)) * shape.dtype.itemsize
    if (len(other) + 1) * count * size <= limit:
        batch = limit // (count * size) - len(other)
        blocks = _by_jacobians(apply, params, x, other, max(1, min(len(x), batch)))
    else:
        blocks = _by_products(apply, params, x, other, max(1, limit // (4 * size)))
    # (points, outputs, others, outputs)
    if outputs == "mean":
        return jnp.einsum("poqo->pq", blocks) / count
    return blocks[:, 0, :, 0] if count == 1 else blocks


def _single(apply, params, point):
    return apply(params, point[None])[0].reshape(-1)


def _jacobian(apply, params, point):
    jacobian = jax.jacrev(lambda p: _single(apply, p, point))(params)
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in jax.tree.leaves(jacobian)], 1)


def _by_jacobians(apply, params, x, other, batch):
    def scaled(point):
        jacobian = _jacobian(apply, params, point)
        return jacobian / products.size(jacobian), products.size(jacobian)

    J, there = jax.vmap(scaled)(other)

    def row(point):
        jacobian, here = scaled(point)
        return jnp.einsum("op,qcp->oqc", jacobian, J) * here[:, None] * there[None, :, :, 0]

    return jax.lax.map(row, x, batch_size=batch)


def _by_products(apply, params, x, other, batch):
    count = math.prod(jax.eval_shape(apply, params, x).shape[1:])

    def column(entry):
        point, unit = entry
        direction = jax.vjp(lambda p: _single(apply, p, point), params)[1](unit)
        # scaled, for the other factor is as small as this one
        largest = jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(direction)])
        scale = products.size(largest)[0]
        direction = jax.tree.map(lambda d: d / scale, direction)
        moved = jax.jvp(lambda p: apply(p, x), (params,), direction)[1]
        return moved.reshape(len(x), count) * scale

    units = jnp.tile(jnp.eye(count, dtype=x.dtype), (len(other), 1))
    columns = jax.lax.map(
        column, (jnp.repeat(other, count, axis=0), units), batch_size=min(batch, len(units))
    )
    return jnp.moveaxis(columns.reshape(len(other), count, len(x), count), (2, 3), (0, 1))


def as_matrix(kernel: Float[Array, "points outputs others outputs"]) -> Float[Array, "rows columns"]:
    """A multi-output kernel as a matrix: rows and columns count points first, outputs within a point."""
    checks.shaped("kernel", kernel, "points", "outputs", "others", "outputs")
    points, outputs, others, _ = kernel.shape
    return kernel.reshape(points * outputs, others * outputs)


def linearize(apply: Apply, params: PyTree) -> Apply:
    r"""$f_{\mathrm{lin}}(\theta, x) = f(\theta_0, x) + J(x)(\theta - \theta_0)$ at $\theta_0$ = `params`."""

    @full_precision
    def linear(moved, x):
        difference = jax.tree.map(jnp.subtract, moved, params)
        value, change = jax.jvp(lambda p: apply(p, x), (params,), (difference,))
        return value + change

    return linear


def normal_mlp(
    key: Array, sizes: Sequence[int], *, weight_std: PerLayer = 2**0.5, bias_std: PerLayer = 0.0
) -> list[Dense]:
    """A network of `closed_form.deep`'s convention at initialisation: layers of `sizes`, standard Gaussian.

    Args:
      sizes: input dimension, widths, number of outputs.
      weight_std, bias_std: of all layers, or one for each; a layer of `bias_std` 0 is without biases.

    Raises: ValueError: fewer than two sizes, sizes below 1, or scales that are negative or of another number.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes must hold at least the input dimension and the outputs, got {sizes!r}")
    for size in sizes:
        checks.whole("sizes", size, 1)
    count = len(sizes) - 1
    weight_stds = checks.per_layer("weight_std", weight_std, count)
    bias_stds = checks.per_layer("bias_std", bias_std, count)
    layers = []
    for number, k in enumerate(jax.random.split(key, count)):
        (inputs, neurons), (kw, kb) = sizes[number : number + 2], jax.random.split(k)
        weight = jax.random.normal(kw, (inputs, neurons))
        bias = jax.random.normal(kb, (neurons,)) if bias_stds[number] else None
        layers.append(Dense(weight, bias, weight_stds[number] / math.sqrt(inputs), bias_stds[number]))
    return layers


@full_precision
def evaluate(
    layers: Sequence[Dense], x: Float[Array, "points dim"], activation: Activation = "relu"
) -> Float[Array, "points outputs"]:
    """The outputs of a network of `Dense` layers."""
    act, h = dual(activation), x
    for number, layer in enumerate(layers):
        u = layer.weight_scale * (h @ layer.weight)
        u = u if layer.bias is None else u + layer.bias_scale * layer.bias[None]
        h = act.phi(u) if number < len(layers) - 1 else u
    return h


def doubled(layers: Sequence[Dense]) -> list[Dense]:
    r"""A two-layer network whose output is 0 everywhere, and whose NTK is that of `layers`.

    Each hidden unit comes twice, with opposite output weights and both divided by $\sqrt2$; the output bias
    is set to 0. All parameters still train.

    Raises: ValueError: a network that does not have two layers.
    """
    if len(layers) != 2:
        raise ValueError(f"doubling is for two-layer networks, got {len(layers)} layers")
    first, last = layers
    bias = None if first.bias is None else jnp.concatenate([first.bias, first.bias])
    output = None if last.bias is None else jnp.zeros_like(last.bias)
    return [
        replace(first, weight=jnp.concatenate([first.weight, first.weight], axis=1), bias=bias),
        replace(
            last,
            weight=jnp.concatenate([last.weight, -last.weight]),
            bias=output,
            weight_scale=last.weight_scale / math.sqrt(2),
        ),
    ]
