"""What is refused before anything is compiled, in one sentence each."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from dynamics import names
from dynamics.data.made import Made
from dynamics.data.sample import Draw, Sample
from dynamics.data.shared import Shared
from dynamics.descent import Objective, takes_penalty
from dynamics.descriptions import opaque
from dynamics.keys import MOST, seed_key
from dynamics.observables.base import Observable
from dynamics.parts import Bound
from dynamics.problem import Problem, losses, penalties
from dynamics.words import MOST_SEEDS, as_integer, integer, listed

RESERVED = ("seed", "step", "first_nonfinite_step")
"""What every result has."""


def data_of_seeds(data: Any, seeds: Sequence[int], root: int) -> None:
    """Refuse seeds that data of each seed's own do not have.

    Raises: ValueError: see `data.made.Made`.
    """
    while data is not None:
        if isinstance(data, Shared):
            seeds, root = [data.seed], 0
        if isinstance(data, Made):
            data.check(seeds, root)
        data = getattr(data, "source", None)


def seed_list(seeds: Any) -> list[int]:
    """Seeds as a list: a number of them counts from 0.

    Raises: ValueError: neither a number of seeds nor a list of different ones.
    """
    if isinstance(seeds, int | np.integer) and not isinstance(seeds, bool):
        if not 1 <= seeds <= MOST_SEEDS:
            bound = "at least 1" if seeds < 1 else f"at most {MOST_SEEDS}"
            raise ValueError(f"seeds must be {bound}, got {seeds}")
        return list(range(int(seeds)))
    if isinstance(seeds, range) and len(seeds[: MOST_SEEDS + 1]) > MOST_SEEDS:
        raise ValueError(f"seeds must be at most {MOST_SEEDS}, got {seeds!r}")
    try:
        listed = [as_integer(seed) for seed in seeds]
    except TypeError:
        listed = [None]
    if None in listed:
        raise ValueError(f"seeds must be a number of seeds or a list of integers, got {seeds!r}")
    if not listed or len(set(listed)) < len(listed) or not all(0 <= seed <= MOST for seed in listed):
        raise ValueError("seeds must be different integers from 0 to 2**32 - 1, and at least one")
    return listed


def share(given: tuple[int, int] | None, checkpoint: str | Path | None) -> None:
    """Refuse a share (i, n) that is none, or that has no folder to go to."""
    if given is None:
        return
    try:
        index, count = given
        integer("share", index, 0, integer("share", count, 1) - 1)
    except (TypeError, ValueError):
        raise ValueError(f"share must be (i, n) with 0 <= i < n, got {given!r}") from None
    if checkpoint is None:
        raise ValueError("a share of the runs needs a checkpoint folder, where all shares come together")


def told_apart(identity: dict[str, Any]) -> None:
    """Refuse to keep a run that a checkpoint could not tell from another."""
    if (found := opaque(identity)) is not None:
        where, kind = found
        raise TypeError(
            f"a checkpoint cannot tell this run from others: {where} is of {kind}, which has no contents "
            "to look at; leave checkpoint out, or use numbers, arrays, functions or dataclasses there"
        )


def observables(observe: Mapping[str, Observable], observe_end: Mapping[str, Observable]) -> None:
    """Refuse what is no observable, and names of observables and dimensions that a result cannot have.

    Raises: TypeError: no observable. ValueError: a name, or dimensions, that do not do.
    """
    asked = observe | observe_end
    for name, what in asked.items():
        names.check(name, "an observable")
        if not isinstance(what, Observable):
            hint = (
                ': decorate it with @observable(("neuron",)), each dimension\'s name, or @observable() for '
            )
            hint = f"{hint}one number" if callable(what) else ""
            raise TypeError(f"observe[{name!r}] must be an Observable, got {type(what).__name__}{hint}")
        if missing := what.missing:
            raise TypeError(f"observable {name!r} needs {missing[0]}: give it by .given({missing[0]}=...)")
        if not isinstance(what.dims, tuple):
            raise TypeError(f"dims of observable {name!r} must be a tuple of names, got {what.dims!r}")
        for dim in what.dims:
            names.check(dim, f"a dimension of observable {name!r}")
        if len(set(what.dims)) < len(what.dims):
            raise ValueError(f"dimensions of observable {name!r} must have different names, got {what.dims}")
        for field in ("about", "units"):
            text = getattr(what, field)
            if not isinstance(text, str) or not text.isprintable():
                raise TypeError(f"{field} of observable {name!r} must be text on one line, got {text!r}")
    if both := set(observe) & set(observe_end):
        raise ValueError(f"{', '.join(sorted(both))} is named in both observe and observe_end")
    dims = {dim: name for name, what in asked.items() for dim in what.dims}
    for name in asked:
        if name in RESERVED:
            raise ValueError(f"an observable cannot be called {name!r}: every result has that already")
        if name in dims:
            raise ValueError(
                f"an observable cannot be called {name!r}: that is a dimension of observable {dims[name]!r}"
            )
    for dim in dims:
        if dim in RESERVED:
            raise ValueError(
                f"a dimension of observable {dims[dim]!r} cannot be called {dim!r}: "
                "every result has that already"
            )


def coordinates(asked: Mapping[str, Observable]) -> None:
    """Refuse dimensions whose coordinates are no list, or that two observables give different ones.

    Raises: ValueError: see above.
    """
    found: dict[str, tuple[str, np.ndarray]] = {}
    for name, what in asked.items():
        for dim, values in what.coordinates.items():
            if values.ndim != 1 or values.dtype.kind not in "biufU":
                raise ValueError(
                    f"{dim} of observable {name!r} gives a dimension its coordinates: it must be a list of "
                    f"numbers or of names, got {values.tolist()!r}"
                )
            other, known = found.setdefault(dim, (name, values))
            if not np.array_equal(known, values):
                raise ValueError(
                    f"observables {other!r} and {name!r} have different coordinates for dimension {dim!r}: "
                    "record them in runs of their own, or under observables that name it differently"
                )


def kinds(problem: Problem) -> None:
    """Refuse data and models that are no such things, or cannot be told apart from others.

    Raises: TypeError: see above.
    """
    kind = problem.model if isinstance(problem.model, type) else type(problem.model)
    if any(base.__module__.startswith("flax.nnx") for base in kind.__mro__):
        raise TypeError(
            "a network of flax.nnx goes in by what makes one, so that every seed has weights of its own: "
            f"models.NNX(lambda rngs: {kind.__name__}(..., rngs=rngs))"
        )
    for name, value, needs in (("data", problem.data, "sample"), ("model", problem.model, "apply")):
        if isinstance(value, type):
            kind = value.__name__
            raise TypeError(f"{name} must be an object, got the class {kind}: make one by {kind}(...)")
        if not hasattr(value, needs):
            way = "; what makes a flax.nnx network goes in as models.NNX(it)" if callable(value) else ""
            way = "; arrays become data by data.from_arrays(x, y)" if name == "data" else way
            raise TypeError(f"{name} must have a method {needs!r}, got {type(value).__name__}{way}")
    kind, fields = type(problem.data).__name__, getattr(problem.data, "__dict__", {})
    for inner in fields.values():
        if hasattr(inner, "batch") and hasattr(inner, "sample") and not problem.streams:
            raise TypeError(
                f"{kind} would give one sample to all steps where its source draws them anew: "
                f"put Fresh outside, as in Fresh({kind}(...))"
            )
    if jax.tree_util.all_leaves([problem.data]):
        try:
            hash(problem.data)
        except TypeError:
            raise TypeError(
                f"data must be a part, whose numbers and arrays are traced: decorate {kind} with @part"
            ) from None
        return
    for field in dataclasses.fields(problem.data) if dataclasses.is_dataclass(problem.data) else ():
        if field.metadata.get("static") and isinstance(
            fields.get(field.name), np.ndarray | jax.Array | list | dict
        ):
            raise TypeError(
                f"field {field.name!r} of {kind} is static, which arrays, lists and dicts cannot be: "
                "leave static() out, or give a tuple"
            )


def shapes(
    problem: Problem, batch_size: int | None, observed: Mapping[str, Observable], of: Objective = "loss"
) -> tuple[Draw, PyTree, jax.ShapeDtypeStruct]:
    """Trace on shapes alone: refuse a misfit of model, loss, data or observables.

    Returns: shapes of a run's data, of its parameters, and of the network's outputs on the training inputs.
    """
    key = jax.eval_shape(lambda: seed_key(0))

    def once(key):
        with _in_words("the data cannot be drawn"):
            draw = problem.sample(key)
        _drawn(draw)
        model = type(problem.model).__name__
        with _in_words(f"{model} cannot be initialised"):
            params, kept = problem.variables(key, key)
        with _in_words(f"{model} cannot be applied to inputs of shape {draw.train.x.shape}"):
            outputs = problem.at(kept).apply(params, draw.train.x)
        _labelled(problem, draw, outputs)
        batch = draw.train
        if problem.streams:
            with _in_words("the samples of a step cannot be drawn"):
                batch = problem.data.batch(key, jnp.zeros((), int))
            _one_sample("batch(key, step) of the data", "the samples of a step", batch, draw.train)
        own = "" if isinstance(problem.loss, str) else " of outputs and a sample (with its y, target, x)"
        with _in_words(f"the loss{own} cannot be taken", params if problem.terms else None):
            problem.at(kept, training=True).training_loss(params, batch, draw, key, of)
        with _in_words("what is trained cannot be told"):
            trained = problem.trained(params, problem.masks(key, params))
        if problem.penalty is not None:
            if of == "log_loss":
                raise ValueError("a rule on the logarithm of the loss has no place for a penalty beside it")
            with _in_words("the penalty cannot be taken"):
                penalties.surrogate(problem.penalty, trained)
        return draw, params, outputs, kept

    draw, params, outputs, kept = jax.eval_shape(once, key)
    count = draw.train.x.shape[0]
    if batch_size is not None and problem.streams:
        raise ValueError(
            "batch_size is for samples that are drawn once: data that draw them at every step say how many"
        )
    if batch_size is not None and batch_size > count:
        raise ValueError(f"batch_size must be at most the {count} training samples, got {batch_size}")
    sizes: dict[str, int] = {}
    for name, what in observed.items():
        value = _observed(name, what, params, kept, problem, draw, key)
        if len(value.shape) != len(what.dims):
            raise ValueError(f"observable {name!r} names dimensions {what.dims}, but has shape {value.shape}")
        given = {dim: len(values) for dim, values in what.coordinates.items()}
        for dim, size in zip(what.dims, value.shape, strict=True):
            if given.get(dim, size) != size:
                raise ValueError(
                    f"observable {name!r} has {size} values along {dim!r}, but {given[dim]} coordinates"
                )
            if sizes.setdefault(dim, size) != size:
                raise ValueError(
                    f"dimension {dim!r} of observable {name!r} has size {size}, elsewhere {sizes[dim]}; "
                    "give it a name of its own"
                )
    return draw, params, outputs


def single(what: Observable, params: PyTree, problem: Problem, draw: Draw, key: Key[Array, ""]) -> Any:
    """An observable's value.

    Raises: TypeError: it is not one array.
    """
    found = what(params, problem, draw, key)
    if not isinstance(found, jax.Array | np.ndarray | np.generic | bool | int | float):
        raise TypeError(f"it must give one array, got {type(found).__name__}; several need a name each")
    return found


value = jax.jit(single)
"""The same, jitted for its cache of traces: checks and programs share one of each observable."""


def _observed(name, what, params, kept, problem, draw, key):
    """Shape and dtype of what an observable gives."""
    with _in_words(f"observable {name!r}", params):
        found = jax.eval_shape(
            lambda *given: value(what, given[0], problem.at(given[1]), *given[2:]), params, kept, draw, key
        )
    if jax.dtypes.issubdtype(found.dtype, jax.dtypes.extended):
        raise TypeError(f"observable {name!r} gives keys, which a result cannot hold: record numbers")
    if jnp.issubdtype(found.dtype, jnp.complexfloating):
        raise TypeError(
            f"observable {name!r} is complex: record its real and its imaginary part, each by a name"
        )
    return found


def rule(recipe: Bound, params: PyTree, problem: Problem) -> None:
    """Refuse an update rule that these parameters (shapes), as the problem trains them, do not suit."""

    def init(params, key):
        return recipe().init(problem.trained(params, problem.masks(key, params)))

    with _in_words("the update rule cannot be initialised"):
        jax.eval_shape(init, params, jax.eval_shape(lambda: seed_key(0)))
        if problem.penalty is None and takes_penalty(recipe):
            raise ValueError("it takes a problem with a penalty, such as penalty=Lasso(0.1)")


def _drawn(draw):
    """Refuse what is no draw, and samples that do not belong together."""
    if not isinstance(draw, Draw):
        raise TypeError(
            f"sample(key) of the data must return a Draw, got {type(draw).__name__}: return "
            "data.Draw(train=data.Sample(x, y), test=data.Sample(x, y)), or give arrays by "
            "data.from_arrays(x, y)"
        )
    for name in ("train", "test"):
        _one_sample(f"{name} of the data's Draw", f"the {name} samples", getattr(draw, name))
    if draw.train.x.shape[1:] != draw.test.x.shape[1:]:
        raise ValueError(
            f"training and test inputs must have one shape, got {draw.train.x.shape} and {draw.test.x.shape}"
        )


def _one_sample(source, what, sample, like=None):
    """Refuse what is no sample, or is of another form than `like`: what labels and inputs have in common."""
    if not isinstance(sample, Sample):
        raise TypeError(f"{source} must be a Sample, got {type(sample).__name__}")
    x = sample.x
    if not hasattr(x, "shape") or not x.shape or not x.size or not jnp.issubdtype(x.dtype, jnp.floating):
        got = f"shape {x.shape} of {x.dtype}" if hasattr(x, "shape") else type(x).__name__
        raise ValueError(f"x of {what} must be floats of shape (samples, ...), got {got}")
    if sample.weights is not None and getattr(sample.weights, "shape", None) != x.shape[:1]:
        raise ValueError(
            f"weights of {what} must be one number for each of {len(x)} inputs, got shape "
            f"{jnp.shape(sample.weights)}"
        )
    if like is None:
        return
    form, wanted = (
        jax.tree.map(lambda leaf: (leaf.shape[1:], leaf.dtype.name), one) for one in (sample, like)
    )
    if form != wanted:
        raise ValueError(f"{what} must be of the same form as the seed's own, but for their number")


def _labelled(problem, draw, outputs):
    """Refuse outputs and labels of shapes, or labels of a type, that do not belong together."""
    model, count = type(problem.model).__name__, draw.train.x.shape[0]
    if not isinstance(outputs, jax.Array):
        raise TypeError(f"{model} must give one array, got {type(outputs).__name__}")
    # a column of outputs and a row of labels make a matrix, whatever the loss is
    of_rows = outputs.shape == (count, 1) and getattr(draw.train.y, "shape", None) == (count,)
    if callable(problem.loss) and outputs.shape[:1] == (count,) and not of_rows:
        return  # what it looks at is its own affair
    if losses.is_regression(problem.loss, outputs.ndim, draw.train.y):
        for name in ("train", "test"):
            sample = getattr(draw, name)
            wanted, shape = (len(sample.x), *outputs.shape[1:]), getattr(sample.y, "shape", None)
            if shape != wanted or outputs.shape[0] != count:
                got = "None" if shape is None else f"shape {shape}"
                raise ValueError(
                    f"y of the {name} samples must be of the outputs' shape, {wanted} for {len(sample.x)} "
                    f"inputs, got {got}, with outputs of shape {outputs.shape}"
                )
        return
    if outputs.ndim == 2 and outputs.shape[1] == 1:
        raise ValueError(
            f"{model} gives outputs of shape {outputs.shape}: a network with a single output gives shape "
            f"({count},), so leave out the last axis, as by outputs[:, 0] or squeeze(-1)"
        )
    if outputs.ndim not in (1, 2) or outputs.shape[0] != count:
        raise ValueError(
            f"{model} must give shape ({count},) or ({count}, classes) for {count} inputs, got shape "
            f"{outputs.shape}"
        )
    if outputs.ndim == 2:
        classes = 0 if draw.class_signs is None else draw.class_signs.shape[0]
        if outputs.shape[1] != classes:
            raise ValueError(
                f"the network has {outputs.shape[1]} logits, but the data has {classes} classes, the "
                "length of class_signs"
            )
    field = "y" if outputs.ndim == 1 else "target"
    for name in ("train", "test"):
        sample = getattr(draw, name)
        values = getattr(sample, field)
        what, shape = f"{field} of the {name} samples", getattr(values, "shape", None)
        if shape != (len(sample.x),):
            got = "None" if values is None else f"shape {shape}"
            way = f": leave out its last axis, as by {field}[:, 0]" if shape == (len(sample.x), 1) else ""
            raise ValueError(f"{what} must be one number for each of {len(sample.x)} inputs, got {got}{way}")
        if outputs.ndim == 1 and not jnp.issubdtype(values.dtype, jnp.number):
            raise ValueError(f"{what} must be numbers such as -1.0 and 1.0, got {values.dtype}")
        if outputs.ndim == 2 and not jnp.issubdtype(values.dtype, jnp.integer):
            raise ValueError(f"{what} must be integers, class indices from 0 on, got {values.dtype}")


@contextlib.contextmanager
def _in_words(what, params=None):
    """Errors from inside a trace as one sentence that begins with what was tried.

    Args:
      params: that may have been looked into, by a name that none of them has.
    """
    try:
        yield
    except flax.errors.ScopeCollectionNotFound as error:
        raise ValueError(
            f"{what}: it keeps other variables beside its parameters, as BatchNorm does, and a start gives "
            "parameters only"
        ) from error
    except flax.errors.ModifyScopeVariableError as error:
        raise ValueError(
            f"{what}: it changes what it keeps beside its parameters whenever it is used: let "
            "__call__(x, train) do so for train=True only, as by nn.BatchNorm(use_running_average=not train)"
        ) from error
    except flax.errors.InvalidRngError as error:
        raise ValueError(
            f"{what}: it asks for random numbers, as Dropout does, which is not supported: a network is a "
            "function of its parameters and inputs"
        ) from error
    except jax.errors.JAXTypeError as error:
        raise TypeError(
            f"{what}: it asks for the value of a number that JAX traces; take jax.numpy in the place of "
            "numpy, and jnp.where in the place of if"
        ) from error
    except (ValueError, TypeError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{what}: {_first_line(error)}") from error
    except (LookupError, AttributeError, ArithmeticError, NotImplementedError) as error:
        sentence = f"{what}: {type(error).__name__}: {_first_line(error)}"
        if params is not None and (isinstance(error, KeyError) or "'dict' object" in sentence):
            paths = (jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params))
            sentence += f"; there are {listed(f'params{path}' for path in paths)}"
        raise ValueError(sentence) from error


def _first_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
