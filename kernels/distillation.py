r"""Data sets optimised through kernel regression: kernel inducing points (KIP), plain and adversarial.

A support $(S, Y_S)$ of $n_s$ points predicts $f_S(x) = \Theta(x, S)[\Theta(S, S) + r I]^{-1} Y_S$ with
$r = \mathrm{ridge} \cdot \mathrm{tr}\,\Theta(S, S) / n_s$. KIP lowers
$E\,\frac12 |f_S(x) - y|^2$ in S over the data (x, y); the adversarial kind takes the loss at
$x + \delta^*(x, S)$, where an attack on $f_S$ ends, held fixed when differentiating (Danskin).

The targets of several classes are one-hot vectors, less 1/C if centred; of two classes they may be labels
-1 and +1, with one output. Use x64, or a ridge of 1e-4 at least: $\Theta(S, S)$ is ill-conditioned.

References: Nguyen et al. 2021, arXiv:2011.00050 (KIP); Tsilivis et al. 2022, arXiv:2207.11727 (adversarial).
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, ScalarLike

from kernels import checks
from kernels.attacks import Attack, adversity
from kernels.products import full_precision
from kernels.randomness import own_keys
from kernels.regression import Kernel, Predictor

Outer = Literal["squared", "cross_entropy"]
Labels = Float[Array, " samples"] | Int[Array, " samples"]


@jax.custom_batching.sequential_vmap
def _by_cholesky(matrix, right):
    # one matrix after another: a batch of LAPACK calls may wait for itself on a CPU that is busy otherwise
    return jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(matrix, lower=True), right)


@full_precision
def solve(
    matrix: Float[Array, "samples samples"], right: Float[Array, "samples *outputs"]
) -> Float[Array, "samples *outputs"]:
    """`matrix` (symmetric, positive definite) inverted on `right`, by Cholesky; differentiable both ways."""
    return jax.lax.custom_linear_solve(
        lambda v: jnp.tensordot(matrix, v, 1), right, lambda _, v: _by_cholesky(matrix, v), symmetric=True
    )


@full_precision
def coefficients(
    kernel: Kernel,
    support: Float[Array, "support dim"],
    labels: Float[Array, "support *outputs"],
    ridge: ScalarLike = 1e-6,
) -> Float[Array, "support *outputs"]:
    r"""$[\Theta(S, S) + r I]^{-1} Y_S$ with $r$ = `ridge` times the mean of the diagonal."""
    gram = kernel(support, support)
    own = jnp.eye(len(support), dtype=bool)
    return solve(jnp.where(own, gram + ridge * jnp.trace(gram) / len(support), gram), labels)


@full_precision
def predictor(
    kernel: Kernel,
    support: Float[Array, "support dim"],
    labels: Float[Array, "support *outputs"],
    ridge: ScalarLike = 1e-6,
) -> Predictor:
    r"""$f_S$ as a function of points; what depends on S alone is computed once, here."""
    alpha = coefficients(kernel, support, labels, ridge)
    return Predictor(kernel, support, alpha)


def one_hot(
    classes: Int[Array, " samples"], num_classes: int, *, centred: bool = True
) -> Float[Array, "samples {num_classes}"]:
    """One-hot vectors, less 1 / `num_classes` if `centred`."""
    return jax.nn.one_hot(classes, num_classes, dtype=float) - (1 / num_classes if centred else 0)


@dataclass(frozen=True)
class Distillation:
    """What is lowered, and within which limits.

    Attributes:
      kernel: maps two sets of points to their kernel, such as `closed_form.DeepNTK()`.
      ridge: in units of the mean of the Gram matrix's diagonal.
      outer: `squared` error, or `cross_entropy` (for one output: logistic loss).
      centred: whether targets of classes are one-hot less 1/C.
      attack: on f_S, within the loss; None: plain KIP.
      box: bounds that the support keeps to; None: none.
      ball: how far any coordinate of the support may move from where it started; None: anywhere.
      learn_labels: whether the support's labels are learned too.
    Raises: ValueError: unknown `outer`, a negative ridge or ball, a bad box.
    """

    kernel: Kernel
    ridge: float = 1e-6
    outer: Outer = "squared"
    centred: bool = True
    attack: Attack | None = None
    box: tuple[float, float] | None = (0.0, 1.0)
    ball: float | None = None
    learn_labels: bool = False

    def __post_init__(self):
        checks.one_of("outer", self.outer, Outer)
        for name in ("ridge", "ball"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        if self.box is not None and not self.box[0] < self.box[1]:
            raise ValueError(f"box must be (low, high) with low < high, got {self.box}")


class State(NamedTuple):
    """Where a distillation stands: support, its labels and starting point, and the rule's state."""

    support: Float[Array, "support dim"]
    labels: Float[Array, "support *outputs"]
    origin: Float[Array, "support dim"]
    rule: PyTree


@full_precision
def loss(
    what: Distillation,
    support: Float[Array, "support dim"],
    labels: Float[Array, "support *outputs"],
    x: Float[Array, "samples dim"],
    y: Labels,
    key: Key[Array, ""] | None = None,
) -> Float[Array, ""]:
    """The mean loss over a batch, attacked where `what` says so; differentiable in `support` and `labels`.

    Args:
      y: class numbers where the support's labels have a column a class, else labels -1 and +1.
      key: for an attack with a random start.
    """
    predict = predictor(what.kernel, support, labels, what.ridge)
    if what.attack is not None:
        fixed = jax.lax.stop_gradient((support, labels))
        found = what.attack.perturb(predictor(what.kernel, *fixed, what.ridge), x, y, key)
        x = jax.lax.stop_gradient(found)
    outputs = predict(x)
    if what.outer == "cross_entropy":
        losses = adversity(outputs, y) if outputs.ndim == 2 else jax.nn.softplus(adversity(outputs, y))
    elif outputs.ndim == 1:
        losses = (outputs - y) ** 2 / 2
    else:
        targets = one_hot(y, outputs.shape[1], centred=what.centred).astype(outputs.dtype)
        losses = jnp.sum((outputs - targets) ** 2, axis=1) / 2
    return jnp.mean(losses)


def start(
    rule: optax.GradientTransformation,
    support: Float[Array, "support dim"],
    labels: Float[Array, "support *outputs"],
) -> State:
    """The state before the first step."""
    return State(support, labels, support, rule.init({"support": support, "labels": labels}))


@full_precision
def step(
    what: Distillation,
    rule: optax.GradientTransformation,
    state: State,
    x: Float[Array, "samples dim"],
    y: Labels,
    key: Key[Array, ""] | None = None,
) -> tuple[State, Float[Array, ""]]:
    """One step of `rule` (any of optax's) on one batch, and the loss before it; then the limits.

    For `jit`, with `what` and `rule` static and the rest as arguments. `optax.sign_sgd` with a `ball` makes
    the outer steps those of PGD on the data set.
    """
    params = {"support": state.support, "labels": state.labels}

    def lowered(params):
        labels = params["labels"] if what.learn_labels else jax.lax.stop_gradient(params["labels"])
        return loss(what, params["support"], labels, x, y, key)

    value, grads = jax.value_and_grad(lowered)(params)
    updates, inner = rule.update(grads, state.rule, params)
    params = optax.apply_updates(params, updates)
    support = params["support"]
    if what.ball is not None:
        support = state.origin + jnp.clip(support - state.origin, -what.ball, what.ball)
    if what.box is not None:
        support = jnp.clip(support, *what.box)
    labels = params["labels"] if what.learn_labels else state.labels  # a rule's weight decay would move them
    return State(support, labels, state.origin, inner), value


@full_precision
def distill(
    what: Distillation,
    rule: optax.GradientTransformation,
    x: Float[Array, "seeds samples dim"],
    y: Float[Array, "seeds samples"] | Int[Array, "seeds samples"],
    support: Float[Array, "seeds support dim"],
    labels: Float[Array, "seeds support *outputs"],
    keys: Key[Array, " seeds"],
    *,
    steps: int,
    batch_size: int | None = None,
) -> tuple[State, Float[Array, "seeds steps"]]:
    """Distilled sets of several seeds at once, and their losses on the way.

    Batches are taken without replacement; every epoch shuffles anew, and samples that do not fill a last
    batch wait for another one.

    Args:
      x, y: the data of each seed; `y` as for `loss`.
      support, labels: where each seed starts, such as its first images with `one_hot` of their classes.
      keys: one a seed, for batches, random starts and what the rule draws.
      batch_size: None: all samples.
    Raises: ValueError: sizes that do not fit.
    """
    checks.whole("steps", steps, 0)
    count = x.shape[1]
    if batch_size is not None and not 1 <= batch_size <= count:
        raise ValueError(f"batch_size must lie between 1 and the {count} samples, got {batch_size}")
    if support.shape[:1] + support.shape[2:] != x.shape[:1] + x.shape[2:]:
        raise ValueError(
            "x and support must have as many seeds and the same dimension, "
            f"got shapes {x.shape} and {support.shape}"
        )
    checks.shaped("y", y, *x.shape[:2])
    checks.shaped("labels", labels, *support.shape[:2], "...")
    checks.shaped("keys", keys, x.shape[0])
    checks.labels(y.reshape(-1), y.size, labels.shape[2] if labels.ndim > 2 else 1)
    return _distill(what, rule, steps, batch_size or count, x, y, support, labels, keys)


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
@partial(jax.vmap, in_axes=(None, None, None, None, 0, 0, 0, 0, 0))
def _distill(what, rule, steps, batch_size, x, y, support, labels, key):
    order_key, attack_key = jax.random.split(key)
    per_epoch = len(x) // batch_size

    def one(state, i):
        order = jax.random.permutation(jax.random.fold_in(order_key, i // per_epoch), len(x))
        chosen = jax.lax.dynamic_slice_in_dim(order, (i % per_epoch) * batch_size, batch_size)
        return step(what, rule, state, x[chosen], y[chosen], jax.random.fold_in(attack_key, i))

    first = start(rule, support, labels)
    first = first._replace(rule=own_keys(first.rule, jax.random.fold_in(key, 2)))  # 0 and 1 are used above
    return jax.lax.scan(one, first, jnp.arange(steps))


def in_turn(y: Int[Array, " samples"], num_classes: int, count: int) -> Int[Array, " {count}"]:
    """Which `count` samples to start from: the first of every class, the second of every class, and so on.

    Raises: ValueError: more than there are.
    """
    if not 1 <= count <= len(y):
        raise ValueError(f"count must lie between 1 and the {len(y)} samples, got {count}")
    member = jax.nn.one_hot(y, num_classes, dtype=int)
    place = jnp.sum(jnp.cumsum(member, axis=0) * member, axis=1)
    return jnp.argsort(place * num_classes + y)[:count]
