r"""Update rules as optax transformations: steepest descent for a norm, and named rules for experiments.

A rule made here works anywhere optax does. It also remembers its numbers, so that the engine can
trace them: another learning rate does not recompile, and an `Axis` of them runs side by side. And it
says what it wants differentiated, the loss or its logarithm: late in training, where the loss and its
gradient underflow, $\nabla \log \mathcal L = \nabla \mathcal L / \mathcal L$ still has its digits.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int, PyTree, ScalarLike

from dynamics.descent import norms
from dynamics.descent.recipes import Descent, Objective, as_written, objective, recipe_of, traced
from dynamics.descent.shampoo import shampoo
from dynamics.parts import Axis, PerSeed, bind, known
from dynamics.words import quoted

StepRule = Literal["raw", "normalized", "loss_adaptive", "log_decrease"]
Number = ScalarLike | Axis | PerSeed


@as_written()
def on_log_loss(rule: optax.GradientTransformation) -> Descent:
    """A rule that is given gradient and value of the logarithm of the loss, in place of the loss.

    `simulate` then differentiates that: Adam on it, say, has no loss scale at which its `eps` takes over.
    """
    return Descent(bind(_on_log_loss, rule=recipe_of(rule), of="log_loss"))


def _on_log_loss(rule, of):
    del of  # read by `objective`
    return rule()


@as_written()
def within(
    rule: optax.GradientTransformation,
    *,
    box: tuple[float, float] | None = None,
    ball: float | None = None,
    only: tuple[str, ...],
) -> Descent:
    """`rule`, after each of whose updates the parameters named in `only` are brought back within limits.

    Args:
      box: (low, high) of every coordinate.
      ball: how far any coordinate may move from where it started.
      only: names of parameters.

    Raises: ValueError: a bad box, a negative ball, or (when it is initialised) a name that is no parameter.
    """
    if box is not None and not box[0] < box[1]:
        raise ValueError(f"box must be (low, high) with low < high, got {box}")
    if ball is not None and not ball >= 0:
        raise ValueError(f"ball must not be negative, got {ball}")
    inner = recipe_of(rule)
    given = {"box": box, "ball": ball, "only": tuple(only), "of": objective(inner)}
    return Descent(bind(_within, rule=inner, **given))


def _within(rule, box, only, of, ball=None):
    del of  # read by `objective`
    inner = optax.with_extra_args_support(rule())

    def init(params):
        present = [name for name in params if jax.tree.leaves(params[name])]
        if unknown := sorted(set(only) - set(present)):
            raise ValueError(f"{unknown[0]!r} is no parameter: there are {', '.join(sorted(present))}")
        return inner.init(params), {name: params[name] for name in only if ball is not None}

    def limited(p, update, origin):
        wanted = p + update
        if origin is not None:
            wanted = origin + jnp.clip(wanted - origin, -ball, ball)
        if box is not None:
            wanted = jnp.clip(wanted, *box)
        return wanted - p

    def update(grads, state, params=None, **extra):
        updates, inner_state = inner.update(grads, state[0], params, **extra)
        moved = {n: limited(params[n], updates[n], state[1].get(n)) for n in only}
        return {**updates, **moved}, (inner_state, state[1])

    return optax.GradientTransformationExtraArgs(init, update)


@as_written("")
def steepest(
    norm: str,
    learning_rate: Number | optax.Schedule,
    *,
    normalize: bool = False,
    step: StepRule = "raw",
    momentum: Number | None = None,
    decay: Number | None = None,
    cap: Number | None = None,
    of: Objective = "loss",
    newton_schulz: int | None = None,
) -> Descent:
    r"""Steepest descent for a norm, taken over all parameters of all layers at once.

    With $g$ the gradient of the loss $\mathcal L$, $\|\cdot\|_*$ the dual norm and
    $v = \arg\max_{\|v\| \le 1} \langle g, v\rangle$, one step is $\theta \leftarrow \theta - s\,v$ with

    - `raw`: $s = \eta\,\|g\|_*$,
    - `normalized`: $s = \eta$,
    - `loss_adaptive`: $s = \eta\,\|g\|_* / \mathcal L$, the raw step on $\log\mathcal L$, which does not
      stall when the loss is small,
    - `log_decrease`: $s = \min(\eta\,\mathcal L / \|g\|_*,\ \kappa \|\theta\|)$, by which
      $\log\mathcal L$ falls by $\eta$ to first order.

    With momentum $\beta$, $m \leftarrow \beta m + (1 - \beta) g$ from $m = 0$ takes the place of $g$ in
    $v$ and in $\|g\|_*$; only in `log_decrease` the dual norm stays that of $g$.

    Args:
      norm: `"l2"` is gradient descent, `"linf"` sign descent, `"l1"` greedy coordinate descent, with its
        ties to the lowest index; `"spectral"` is Muon or one-step Shampoo; see `norms` for the others.
      learning_rate: $\eta$; a number is traced, so a sweep does not recompile; or an optax schedule.
      normalize: the same as `step="normalized"`; what is usually called signGD is `"linf"` with it.
      step: the length of a step, as above.
      momentum: $\beta$; None: no momentum.
      decay: in step t = 0, 1, ... the learning rate is $\eta\,(t + 1)^{-\mathrm{decay}}$.
      cap: $\kappa$ of `log_decrease`; None: 0.1.
      of: `"log_loss"`: the gradient and value handed in are those of $\log\mathcal L$ ($\|g\|_*/\mathcal L$
        is then their dual norm as it is). `simulate` hands in what is asked for here.
      newton_schulz: steps of the iteration that stands in for $U V^\top$ in the spectral norm of
        matrices, and $\langle v, m\rangle$ for the dual norm; None: the exact SVD.

    `update` needs `params` for `log_decrease`, and `value=` (as `optax.lbfgs` does) where the loss is part of
    the step and not of the gradient: `loss_adaptive` and `log_decrease` of the loss, `raw` of its logarithm.

    Raises: ValueError: unknown norm or step, a negative learning rate, or options that do not go together.
    References: Gunasekar et al. 2018, arXiv:1802.08246, Section 2; Tsilivis et al. 2025, arXiv:2410.22069.
    """
    norms.parse(norm)
    if step not in get_args(StepRule):
        raise ValueError(f"step must be one of {', '.join(get_args(StepRule))}, got {step!r}")
    rate = as_rate(learning_rate)
    if of not in get_args(Objective):
        raise ValueError(f"of must be one of {', '.join(get_args(Objective))}, got {of!r}")
    if normalize and step not in ("raw", "normalized"):
        raise ValueError(f"normalize leaves the dual norm out, and step={step!r} needs it: give one of them")
    if cap is not None and step != "log_decrease":
        raise ValueError(f"cap applies to step='log_decrease' only, got step={step!r}")
    if newton_schulz is not None and norms.parse(norm).matrices is not None:
        raise ValueError(f"newton_schulz applies to the spectral norms only, got norm={norm!r}")
    return traced(
        steepest_rule,
        name=norm,
        learning_rate=rate,
        step="normalized" if normalize else step,
        momentum=_number("momentum", momentum),
        decay=_number("decay", decay),
        cap=_number("cap", 0.1 if cap is None and step == "log_decrease" else cap),
        of=of,
        newton_schulz=newton_schulz,
    )


def _number(name, value, optional=True):
    if isinstance(value, Axis | PerSeed) or (value is None and optional):
        return value
    if value is None or isinstance(value, bool | str) or np.ndim(value) != 0:
        raise ValueError(f"{name} must be one number, or an Axis for several values, got {quoted(value)}")
    return jnp.asarray(value, float)


def as_rate(value: Number | optax.Schedule) -> Number | optax.Schedule:
    """A learning rate as it is traced; a schedule as it is.

    Raises: ValueError: a number that is negative or not finite, or none.
    """
    if callable(value):
        return value
    number = _number("learning_rate", value, optional=False)
    values = known(number)
    if values is not None and not (np.isfinite(values) & (values >= 0)).all():
        raise ValueError(f"learning_rate must be finite and not negative, got {value}")
    return number


class SteepestState(NamedTuple):
    """State of steepest descent: steps taken, and the averaged gradient; None for what is not needed."""

    count: Int[Array, ""] | None
    average: PyTree | None


def steepest_rule(
    name: str,
    learning_rate: ScalarLike | optax.Schedule,
    step: StepRule = "raw",
    momentum: ScalarLike | None = None,
    decay: ScalarLike | None = None,
    cap: ScalarLike | None = None,
    of: Objective = "loss",
    newton_schulz: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    """What `steepest` binds: the rule itself, made anew from its numbers in every trace."""
    counts = callable(learning_rate) or decay is not None
    needs_value = step in ("loss_adaptive", "log_decrease") if of == "loss" else step == "raw"

    def init(params):
        count = jnp.zeros((), jnp.result_type(int)) if counts else None
        return SteepestState(count, None if momentum is None else jax.tree.map(jnp.zeros_like, params))

    def update(grads, state, params=None, *, value=None, **extra):
        del extra
        if needs_value and value is None:
            raise ValueError(
                f"step {step!r} on the gradient of the {of} needs its value: update(..., value=...)"
            )
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        if decay is not None:
            rate = rate * (state.count + 1.0) ** -decay
        average = grads
        if momentum is not None:
            average = jax.tree.map(lambda m, g: momentum * m + (1 - momentum) * g, state.average, grads)
        state = SteepestState(
            None if state.count is None else state.count + 1, None if momentum is None else average
        )
        scale = 1.0
        if needs_value and of == "loss":  # a loss of 0 has a gradient of 0: no step, and not 0/0
            scale = jnp.where(value > 0, value, 1)
        if is_linear(name, step):  # the average itself, with no detour over its norm
            factor = jnp.exp(value) if needs_value and step == "raw" else 1 / scale
            return jax.tree.map(lambda m: -rate * factor * m, average), state
        if newton_schulz is None:
            v, size = norms.steepest(average, name)
        else:
            v, size = _approximate(average, name, newton_schulz)
        if step == "raw":
            length = rate * size * (1 if of == "loss" else jnp.exp(value))
        elif step == "normalized":
            length = rate
        elif step == "loss_adaptive":
            length = rate * size / scale
        else:
            if params is None:
                raise ValueError("step 'log_decrease' needs the parameters: update(grads, state, params)")
            slope = size if momentum is None else norms.dual_norm(grads, name)
            wanted = jnp.where(slope > 0, rate * scale / jnp.where(slope > 0, slope, 1), 0)
            length = jnp.minimum(wanted, cap * norms.norm(params, name))
        return jax.tree.map(lambda d: -length * d, v), state

    return optax.GradientTransformationExtraArgs(init, update)


def _approximate(average, name, steps):
    """`norms.steepest` with the iteration of Newton and Schulz in the place of the SVD."""
    vectors = jax.tree.map(lambda m: jnp.zeros_like(m) if norms.is_matrix(m) else m, average)
    exact, _ = norms.steepest(vectors, name)

    def of_layer(m, v):
        return norms.newton_schulz(norms.as_matrix(m), steps).reshape(m.shape) if norms.is_matrix(m) else v

    v = jax.tree.map(of_layer, average, exact)
    return v, sum(jax.tree.leaves(jax.tree.map(lambda m, d: jnp.sum(m * d), average, v)))


def is_linear(name: str, step: StepRule) -> bool:
    """Whether steps of this rule are multiples of gradients, whose factors do not depend on their norm."""
    return name == "l2" and step in ("raw", "loss_adaptive")


class _Named(NamedTuple):
    factory: Callable
    arguments: dict[str, Any]


STEEPEST = {"gd": "l2", "sign": "linf", "coordinate": "l1", "muon-signum": "spectral-linf"}
"""Names of steepest descent in some norms; any other norm is named by itself."""
_OPTAX = {
    "momentum": _Named(optax.sgd, {"momentum": 0.9}),
    "nesterov": _Named(optax.sgd, {"momentum": 0.9, "nesterov": True}),
    "adam": _Named(optax.adam, {}),
    "rmsprop": _Named(optax.rmsprop, {}),
    "muon": _Named(optax.contrib.muon, {}),
    "shampoo": _Named(shampoo, {"b2": 0.9}),
}
NAMES = (*STEEPEST, *_OPTAX)


def norm_of(name: str) -> str | None:
    """The norm in which the rule of this name is steepest descent; None for optax's rules.

    Raises: ValueError: unknown name.
    """
    if name in _OPTAX:
        return None
    norm = STEEPEST.get(name, name)
    try:
        norms.parse(norm)
    except ValueError:
        raise ValueError(
            f"descent must be one of {', '.join(NAMES)}, or a norm to descend in "
            f"(l1.5, spectral, max-l2, ...), got {name!r}"
        ) from None
    return norm


def check(
    name: str, *, normalize: bool = False, step: StepRule = "raw", momentum: Number | None = None
) -> None:
    """Refuse a rule that `named` does not know, or options that do not go with it; starts no JAX.

    Raises: ValueError: see above.
    """
    if norm_of(name) is not None:
        if normalize and step not in ("raw", "normalized"):
            raise ValueError(
                f"normalize leaves the dual norm out, and step={step!r} needs it: give one of them"
            )
        return
    for option, given in (
        ("normalize", normalize),
        ("step", step != "raw"),
        ("momentum", momentum is not None),
    ):
        if given:
            raise ValueError(f"{option} applies to steepest descent in a norm only, got descent={name!r}")


@as_written()
def named(
    name: str,
    learning_rate: Number,
    *,
    normalize: bool = False,
    step: StepRule = "raw",
    momentum: Number | None = None,
    decay: Number | None = None,
    of: Objective = "loss",
    **options: Any,
) -> Descent:
    """The update rule that an experiment's config names.

    `gd`, `sign` and `coordinate` are steepest descent in l2, linf and l1, `muon-signum` in spectral-linf; a
    norm's own name is steepest descent in it. `momentum` (0.9), `nesterov` (0.9), `adam`, `rmsprop` and
    `muon` are optax's, with its defaults, and `shampoo` averages over 10 steps (b2 = 0.9), where `options`
    (`eps=`, `b2=`, ...) do not overrule them.

    Raises: ValueError: unknown name, or an option of steepest descent with another rule.
    """
    check(name, normalize=normalize, step=step, momentum=momentum)
    if (norm := norm_of(name)) is not None:
        return steepest(
            norm,
            learning_rate,
            normalize=normalize,
            step=step,
            momentum=momentum,
            decay=decay,
            of=of,
            **options,
        )
    arguments = _OPTAX[name].arguments | {"learning_rate": as_rate(learning_rate)} | options
    if decay is None:
        rule = traced(_OPTAX[name].factory, **arguments)
    else:
        rule = traced(_decayed, make=_OPTAX[name].factory, decay=_number("decay", decay), **arguments)
    return on_log_loss(rule) if of == "log_loss" else rule


def _decayed(make, decay, learning_rate, **arguments):
    def rate(count):
        return learning_rate * (count + 1.0) ** -decay

    return optax.chain(make(learning_rate=1.0, **arguments), optax.scale_by_schedule(rate))
