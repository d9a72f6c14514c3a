"""A problem: data, model and loss, and an adversary if training is adversarial; pure functions only."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, Num, PyTree

from dynamics.data.sample import Draw, Sample
from dynamics.descent import Objective
from dynamics.keys import seed_key
from dynamics.parts import Axis, as_one, bind, headed, known, need, part, static, takes
from dynamics.problem import first_layers, losses, parameters
from dynamics.problem.readouts import Readout, read_out


@part
class Problem:
    r"""What is trained, on what, and to lower which loss.

    Attributes:
      data: a part with `sample(key) -> Draw`; with a method `batch(key, step) -> Sample` too, it gives every
        step samples of its own (`data.Fresh`).
      model: a flax module (one of flax.nnx by `models.NNX`) mapping (samples, dim) to (samples,) or
        (samples, classes), or to outputs of any shape, for which a loss asks.
      loss: name of a loss in `problem.losses`, or a function (outputs, sample) that gives each sample's loss;
        of one made by `parts.bind` the numbers are traced.
      reduction: whether the mean of the samples' losses is minimised, or their sum. Of samples with weights
        $w_i$ the mean is $\sum_i w_i \ell_i / \sum_i w_i$ over those that a step takes, and the sum
        $\sum_i w_i \ell_i$; an attack raises each sample's own loss, whatever its weight.
      readout: how the logits of a multi-class network become one binary score.
      init_scale: multiplies the module's initial parameters: one number, or a dict by parameter
        name, where parameters not named keep the module's own scale.
      adversary_loss: what the adversary raises: a name in `problem.losses` or a function, as the loss, or
        `margin` to lower the margin; None: the loss that is trained on.
      terms: what is added to the loss, each a function (params, problem, sample, draw) that gives one number
        (see the module `terms`).
      frozen: names or paths (`Dense_0/kernel`) of parameters that are not trained. A rule does not see them:
        their gradients are in no norm, and no decay reaches them.
      mask: which entries of parameters are trained: a tree of arrays of 0 and 1 with the names, or the paths,
        and the shapes of those that are not trained whole; or a part with `mask(key, params)` that draws
        such a tree for each seed. A rule sees entries that are left out, and their gradients, as 0.
      penalty: None, or what is added to the loss and is not smooth: a part as in `penalties`.
      collections: what the model keeps beside its parameters (running means), as it stands: put there by the
        engine, with `training`, in the problem that terms and observables are given. See `at`.
      training: whether `apply` is the network as steps train it, or as it is used: a model whose `__call__`
        takes `train` is told so.
      start: None, or a part with `params(model, draw)` that gives the initial parameters instead (see
        `models.handmade`); `init_scale` does not apply to it.
      adversary: None, or a part with `perturb(key, objective, sample, draw)`; training then takes the
        loss at the perturbed inputs, which are held fixed when differentiating (Danskin).
      adversarial_weight: lambda in [0, 1]; the loss is lambda times that at the perturbed inputs plus
        1 - lambda times that at the clean ones. None: at the perturbed inputs alone.
    Raises: ValueError: unknown loss or reduction, an adversary without `perturb`, or a weight that is not
      one number in [0, 1] or has no adversary; the same of an adversary_loss.
    """

    data: Any
    model: Any = static()
    loss: losses.Loss = "logistic"
    reduction: Literal["mean", "sum"] = static("mean")
    readout: Readout = static("max_logit")
    init_scale: Any = 1.0
    adversary: Any = None
    adversarial_weight: Any = None
    start: Any = None
    adversary_loss: losses.Loss | None = None
    terms: tuple[Any, ...] = ()
    frozen: tuple[str, ...] = static(())
    mask: Any = None
    penalty: Any = None
    collections: Any = None
    training: bool = static(False)

    def __post_init__(self):
        for name in ("loss", "adversary_loss"):
            given = getattr(self, name)
            if callable(given) and not takes(given, 2):
                raise ValueError(
                    f"{name} must be a function of two, outputs and sample (with its x, y, target), such as "
                    f"lambda outputs, sample: jnp.abs(outputs - sample.y), got {headed(given)}"
                )
            object.__setattr__(self, name, _as_part(getattr(self, name)))
        if not callable(self.loss) and self.loss not in losses.LOSSES:
            known_losses = ", ".join(losses.LOSSES)
            raise ValueError(f"loss must be one of {known_losses}, or a function, got {self.loss!r}")
        if self.reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be mean or sum, got {self.reduction!r}")
        if self.adversary is not None:
            need("adversary", self.adversary, "perturb", "PGD(0.3)")
        if not isinstance(self.terms, tuple) or not all(map(callable, self.terms)):
            raise ValueError(f"terms must be a tuple of functions, such as (Ridge(0.1),), got {self.terms!r}")
        if lacking := [term for term in self.terms if not takes(term, 4)]:
            raise ValueError(
                f"a term must be a function (params, problem, sample, draw), got {headed(lacking[0])}"
            )
        object.__setattr__(self, "terms", tuple(map(_as_part, self.terms)))
        if not isinstance(self.frozen, tuple) or not all(isinstance(name, str) for name in self.frozen):
            raise ValueError(f'frozen must be a tuple of names, such as ("W",), got {self.frozen!r}')
        if self.mask is not None and not hasattr(self.mask, "mask") and not isinstance(self.mask, Mapping):
            raise ValueError(
                f"mask must map names of parameters to arrays, or have a method mask, got {self.mask!r}"
            )
        lacking = [name for name in ("value", "subgradient", "prox") if not hasattr(self.penalty, name)]
        if self.penalty is not None and lacking:
            raise ValueError(f"penalty must have a method {lacking[0]}, got {self.penalty!r}")
        if self.streams and self.warm_start:
            raise ValueError("warm_start needs the same samples at every step, and these data give new ones")
        if (name := self.adversary_loss) is not None:
            if not callable(name) and name not in losses.RAISED:
                raise ValueError(f"adversary_loss must be one of {', '.join(losses.RAISED)}, got {name!r}")
            if self.adversary is None:
                raise ValueError(f"adversary_loss needs an adversary, got {name} without one")
        if (weight := self.adversarial_weight) is None:
            return
        if self.adversary is None:
            raise ValueError(f"adversarial_weight needs an adversary, got {weight} without one")
        values, single = known(weight), isinstance(weight, Axis) or jnp.ndim(weight) == 0
        if not single or (values is not None and not ((values >= 0) & (values <= 1)).all()):
            raise ValueError(f"adversarial_weight must be one number in [0, 1], got {weight}")

    @as_one
    def sample(self, key: Key[Array, ""]) -> Draw:
        """One seed's data."""
        return self.data.sample(key)

    def init(self, key: Key[Array, ""], data_key: Key[Array, ""] | None = None) -> PyTree:
        """One seed's initial parameters: the module's own, times `init_scale`; or those of `start`.

        `data_key` is the key of the seed's data, which a `start` is built on.
        """
        return self.variables(key, data_key)[0]

    @as_one
    def variables(
        self, key: Key[Array, ""], data_key: Key[Array, ""] | None = None
    ) -> tuple[PyTree, dict[str, PyTree]]:
        """`init`, and what the model keeps beside its parameters, in the precision of the run; {}: nothing.

        A `start` gives parameters only.
        """
        if self.start is not None:
            return self.start.params(self.model, self.sample(data_key)), {}
        shape, dtype = jax.eval_shape(self.data.sample, key).train.x.shape, jnp.result_type(float)
        variables = self.model.init(key, jnp.zeros((1, *shape[1:]), dtype), **self._mode())
        params = variables.get("params")
        if not params:
            raise ValueError("it has no parameters to train")

        def wide(leaf):
            return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

        kept = {n: v for n, v in variables.items() if n not in ("params", "intermediates")}
        return self._scaled(params), jax.tree.map(wide, kept)

    def kept_shapes(self) -> dict[str, PyTree]:
        """Shapes of what the model keeps beside its parameters."""
        return {} if self.start is not None else jax.eval_shape(lambda: self.variables(seed_key(0))[1])

    def _scaled(self, params):
        if not isinstance(self.init_scale, dict):
            return jax.tree.map(lambda p: p * self.init_scale, params)
        scale = self.init_scale
        if unknown := sorted(set(scale) - set(params)):
            raise ValueError(
                f"init_scale names {', '.join(unknown)}, but the parameters are {', '.join(sorted(params))}"
            )
        factor = {name: scale.get(name, 1.0) for name in params}
        return {n: jax.tree.map(lambda p, s=factor[n]: p * s, sub) for n, sub in params.items()}

    def apply(self, params: PyTree, x: Float[Array, "samples *shape"]) -> Float[Array, "samples *outputs"]:
        """The network's outputs; in training those on which a step's loss is taken."""
        return self.forward(params, x)[0]

    def forward(
        self, params: PyTree, x: Float[Array, "samples *shape"]
    ) -> tuple[Float[Array, "samples *outputs"], PyTree]:
        """The network's outputs, and its collections after it: as they were, unless it is being trained."""
        kept = self.collections or {}
        variables = {"params": first_layers.plain(params), **kept}
        if not (kept and self.training):
            return self.model.apply(variables, x, **self._mode()), self.collections
        outputs, moved = self.model.apply(variables, x, **self._mode(), mutable=list(kept))
        return outputs, jax.tree.map(lambda new, old: new.astype(old.dtype), {**kept, **moved}, kept)

    def _mode(self):
        takes = callable(self.model) and "train" in inspect.signature(self.model).parameters
        return {"train": self.training} if takes else {}

    def at(self, collections: PyTree, training: bool = False) -> "Problem":
        """The problem where the model's collections stand as given, to be used or to be trained on."""
        return dataclasses.replace(self, collections=collections or None, training=training)

    def predictor(
        self, params: PyTree
    ) -> Callable[[Float[Array, "samples *shape"]], Float[Array, "samples *outputs"]]:
        """`apply` with these parameters, for many inputs: a model may do its part of the work beforehand."""
        prepare = getattr(self.model, "predictor", None)
        if prepare is None:
            return lambda x: self.apply(params, x)
        return prepare(first_layers.plain(params))

    def outputs(
        self, params: PyTree, draw: Draw, points: first_layers.Points
    ) -> Float[Array, "samples *outputs"]:
        """The network's outputs at the training or test inputs: without weights, if they are not at hand."""
        if isinstance(params, first_layers.SpanParams):
            return self.model.from_pre_activations(
                params.others, first_layers.pre_activations(params, draw, points)
            )
        return self.apply(params, getattr(draw, points).x)

    def score(
        self, params: PyTree, x: Float[Array, "samples *shape"], draw: Draw, readout: Readout | None = None
    ) -> Float[Array, " samples"]:
        """The binary score: the output itself, or the readout of the logits. A score of 0 is an error."""
        return self._score(self.apply(params, x), draw, readout)

    def score_at(
        self, params: PyTree, draw: Draw, points: first_layers.Points, readout: Readout | None = None
    ) -> Float[Array, " samples"]:
        """The binary score at the training or test inputs, as `score`."""
        return self._score(self.outputs(params, draw, points), draw, readout)

    def _score(self, outputs, draw, readout):
        return outputs if outputs.ndim == 1 else read_out(outputs, draw.class_signs, readout or self.readout)

    def margins_at(self, params: PyTree, draw: Draw, points: first_layers.Points) -> Float[Array, " samples"]:
        r"""$y f(x)$ of each training or test sample; of logits, the target's lead over the next class."""
        return losses.margins(self.outputs(params, draw, points), getattr(draw, points))

    def sample_losses(
        self, params: PyTree, sample: Sample, of: Objective = "loss"
    ) -> Float[Array, " samples"]:
        """The loss of each sample, or its logarithm."""
        return losses.evaluate(self.loss, self.apply(params, sample.x), sample, of)

    def losses_at(
        self, params: PyTree, draw: Draw, points: first_layers.Points, of: Objective = "loss"
    ) -> Float[Array, " samples"]:
        """The loss of each training or test sample, as `sample_losses`."""
        return losses.evaluate(self.loss, self.outputs(params, draw, points), getattr(draw, points), of)

    def total(
        self,
        values: Float[Array, " samples"],
        of: Objective = "loss",
        weights: Num[Array, " samples"] | None = None,
    ) -> Float[Array, ""]:
        """What samples' losses amount to: their mean or sum; of logarithms, the logarithm of that.

        Samples that all have weight 0 have a mean of 0.
        """
        count = values.size if weights is None else jnp.sum(weights)
        if of == "loss":
            if weights is not None:
                summed = jnp.sum(weights * values)
                return summed / jnp.where(count > 0, count, 1) if self.reduction == "mean" else summed
            return jnp.mean(values) if self.reduction == "mean" else jnp.sum(values)
        summed = jax.nn.logsumexp(values, b=weights)
        return summed - jnp.log(jnp.asarray(count, summed.dtype)) * (self.reduction == "mean")

    def loss_at(
        self, params: PyTree, draw: Draw, points: first_layers.Points, of: Objective = "loss"
    ) -> Float[Array, ""]:
        """What the losses of the training or test samples amount to, at their own inputs."""
        return self.total(self.losses_at(params, draw, points, of), of, getattr(draw, points).weights)

    @property
    def streams(self) -> bool:
        """Whether every step has training samples of its own."""
        return hasattr(self.data, "batch")

    @property
    def warm_start(self) -> bool:
        """Whether each step's attack begins where the one before ended."""
        return getattr(self.adversary, "warm_start", False)

    def attacked(
        self,
        params: PyTree,
        sample: Sample,
        draw: Draw,
        key: Key[Array, ""],
        of: Objective = "loss",
        last: Float[Array, "samples *shape"] | None = None,
    ) -> Float[Array, "samples *shape"]:
        """Where the adversary moves the inputs, held fixed; a warm start begins at `last`.

        It attacks the network as it is used, not as it is trained.
        """
        predict = self.at(self.collections).predictor(jax.lax.stop_gradient(params))
        name, other = self.loss, self.adversary_loss
        if other is not None and not (isinstance(other, str) and other == name):
            name, of = other, "loss"

        def objective(x):
            return losses.raised(name, predict(x), sample, of)

        begin = {"start": last} if self.warm_start else {}
        return jax.lax.stop_gradient(self.adversary.perturb(key, objective, sample, draw, **begin))

    def training_loss(
        self,
        params: PyTree,
        sample: Sample,
        draw: Draw,
        key: Key[Array, ""],
        of: Objective = "loss",
        moved: Float[Array, "samples *shape"] | None = None,
    ) -> Float[Array, ""]:
        """What a step lowers: the loss over `sample`, or its logarithm, at inputs that an adversary moved.

        Given `moved`, those are the inputs, and the adversary is not asked. A penalty is not in it.
        """
        return self.lowered(params, sample, draw, key, of, moved)[0]

    def lowered(
        self,
        params: PyTree,
        sample: Sample,
        draw: Draw,
        key: Key[Array, ""],
        of: Objective = "loss",
        moved: Float[Array, "samples *shape"] | None = None,
    ) -> tuple[Float[Array, ""], PyTree]:
        """`training_loss`, and the model's collections after it: of moved inputs, then of the clean ones."""
        if self.adversary is None:
            return self._total_over(params, sample, draw, of)
        x = self.attacked(params, sample, draw, key, of) if moved is None else moved
        attacked, kept = self._total_over(params, dataclasses.replace(sample, x=x), draw, of)
        weight = self.adversarial_weight
        if weight is None:
            return attacked, kept
        clean, kept = self.at(kept, self.training)._total_over(params, sample, draw, of)
        if of == "loss":
            return (1 - weight) * clean + weight * attacked, kept
        return jnp.logaddexp(jnp.log1p(-weight) + clean, jnp.log(weight) + attacked), kept

    def _total_over(self, params, sample, draw, of):
        """The loss with its terms over some samples, and the model's collections after it."""
        outputs, kept = self.forward(params, sample.x)
        total = self.total(losses.evaluate(self.loss, outputs, sample, of), of, sample.weights)
        if self.terms and of == "log_loss":
            raise ValueError("a rule on the logarithm of the loss has no place for terms beside it")
        for term in self.terms:
            value = term(params, self, sample, draw)
            if jnp.shape(value) != ():
                raise ValueError(f"a term must give one number, got shape {jnp.shape(value)}")
            total = total + value
        return total, kept

    def masks(self, key: Key[Array, ""], params: PyTree) -> dict[str, Bool[Array, "..."]]:
        """By path, which entries of one seed's parameters are trained, where not all are.

        Raises: ValueError: a mask of what is no parameter, or of another shape.
        """
        mask = self.mask.mask(key, params) if hasattr(self.mask, "mask") else self.mask
        return parameters.checked(mask, params)

    def trained(self, params: PyTree, masks: Mapping[str, Bool[Array, "..."]]) -> PyTree:
        """What a rule sees of the parameters; `parameters.whole` is the way back.

        Raises: ValueError: a frozen name that is no parameter, or nothing left to train.
        """
        found = parameters.trained(params, self.frozen, masks)
        if not jax.tree.leaves(found):
            raise ValueError("all parameters are frozen: none is left to train")
        return found


def _as_part(function):
    """A plain function, which is no argument of a program, as a part without numbers; all else as it is."""
    return bind(function) if callable(function) and jax.tree_util.all_leaves([function]) else function
