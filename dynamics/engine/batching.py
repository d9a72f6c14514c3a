"""How runs are batched: a chunk of runs is one program, with as many runs side by side as pay.

A *chunk* is `devices * lanes` runs. Every device of the mesh works on its own lanes: one of them by the
plain program, several by `jax.vmap`. The strategies differ in the number of lanes only: `vmap` takes as
many as fit in memory, `map` the few whose data stay in cache, and chunk follows chunk. On a CPU that
beats a `lax.map` over stacked data, which copies a run's data whenever it is entered.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache, partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from dynamics.engine.progress import compiling
from dynamics.keys import raw
from dynamics.parts import merge, partition
from dynamics.startup import for_once

Strategy = Literal["auto", "vmap", "map"]
RUNS = PartitionSpec("runs")
EVERYWHERE = PartitionSpec()

MAX_LANES = 64  # of `map`: beyond that, starting a program costs nothing beside running it
CACHE_BYTES = 2**20  # what the lanes of a device may touch at every step, to stay in its own cache
STEP_LANES = {
    "vmap": 256,
    "map": 1,
}  # a step takes about as long as this many lanes more, however few there are
SHARED_CACHE_BYTES = 2**23  # what one run may touch, for runs on several cores not to evict each other


class Plan(NamedTuple):
    """What is compiled in: hashable, and equal for runs that differ in numbers only.

    Attributes:
      rest: the static half of the parts that a program works on.
      varied: which of their numbers have a value of their own in every run.
      root: key that the seeds are folded into.
      batch_size: samples a step, None for all.
      shared: whether all runs have the same data, held once.
      lanes: runs side by side on each device.
      mesh: the devices, along one axis "runs".
      cross: whether inner products with test inputs are kept (Gram space).
      alone: whether no two programs are ever at work at once.
    """

    rest: Any
    varied: tuple[bool, ...]
    root: int
    batch_size: int | None
    shared: bool
    lanes: int
    mesh: Mesh
    cross: bool = False
    alone: bool = True

    @property
    def size(self) -> int:
        """Runs of a chunk."""
        return self.lanes * self.mesh.size


def choose(strategy: Strategy) -> Literal["vmap", "map"]:
    """The strategy to use here: `auto` is `map` on a CPU, where thin layers stay in cache, else `vmap`.

    Raises: ValueError: unknown strategy.
    """
    if strategy not in get_args(Strategy):
        raise ValueError(f"strategy must be one of {', '.join(get_args(Strategy))}, got {strategy!r}")
    if strategy != "auto":
        return strategy
    return "map" if jax.default_backend() == "cpu" else "vmap"


def mesh(step_bytes: int) -> Mesh:
    """The devices to use for runs that touch `step_bytes` at every step.

    All local ones; but on a CPU a run too large for a share of the cache has all cores to itself.
    """
    devices = jax.local_devices()
    if jax.default_backend() == "cpu" and step_bytes > SHARED_CACHE_BYTES:
        devices = devices[:1]
    return Mesh(np.asarray(devices), ("runs",))


def lanes(strategy: Literal["vmap", "map"], num_runs: int, devices: int, lane_bytes: int, fit: int) -> int:
    """Runs side by side on each device: a power of two, so that another number of seeds seldom compiles anew.

    The last chunk is filled up with runs whose results are dropped.

    Args:
      strategy: see above.
      num_runs: of all chunks together.
      devices: in the mesh.
      lane_bytes: what one more run adds to what a step touches.
      fit: the most runs a device has memory for.
    """
    most = max(1, fit)
    if strategy == "map":
        most = min(most, MAX_LANES, max(1, CACHE_BYTES // max(lane_bytes, 1)))
    powers = [2**k for k in reversed(range(most.bit_length()))]
    return min(powers, key=lambda power: -(-num_runs // (devices * power)) * (power + STEP_LANES[strategy]))


class Reentrant(Exception):
    """A program waits for the thread pool that it runs on: none may run beside it (see `dynamics.linalg`)."""


class Program:
    """`task(plan, *parts, *run, common, *extra)`, compiled once for a plan.

    `run` is one run's; `common` is too unless all runs share their data; `extra` is all runs'. With
    `reuse`, results are written where earlier ones are no longer needed: fresh memory costs more than
    filling it. A task that every run does `once` is compiled with less effort (`startup.for_once`).
    """

    def __init__(self, task: Callable[..., Any], *, reuse: bool = False, once: bool = False):
        def one(plan, numbers, run, common, extra):
            return task(plan, *merge(numbers, plan.rest), *run, common, *extra)

        def local(plan, numbers, runs, common, extra):
            if plan.lanes > 1:
                axes = ([0 if varied else None for varied in _varied(plan, numbers)], 0)
                axes += (None if plan.shared else 0,)
                return jax.vmap(lambda *own: one(plan, *own, extra), in_axes=axes)(numbers, runs, common)
            marked = zip(numbers, _varied(plan, numbers), strict=True)
            numbers = [_only(number) if varied else number for number, varied in marked]
            result = one(plan, numbers, _only(runs), common if plan.shared else _only(common), extra)
            return jax.tree.map(lambda leaf: leaf[None], result)

        def chunk(plan, numbers, runs, common, extra):
            if plan.mesh.size == 1:
                return local(plan, numbers, runs, common, extra)
            specs = ([RUNS if varied else EVERYWHERE for varied in _varied(plan, numbers)], RUNS)
            return jax.shard_map(
                partial(local, plan),
                mesh=plan.mesh,
                in_specs=(*specs, EVERYWHERE if plan.shared else RUNS, EVERYWHERE),
                out_specs=RUNS,
                check_vma=False,
            )(numbers, runs, common, extra)

        def over(plan, numbers, runs, common, extra, earlier):
            del earlier
            return chunk(plan, numbers, runs, common, extra)

        one.__name__ = chunk.__name__ = over.__name__ = task.__name__
        self.__doc__ = task.__doc__
        self._reuse = reuse
        # jitted for its cache of traces only
        self._alone = jax.jit(
            lambda plan, numbers, run, common: one(plan, numbers, run, common, ()), static_argnums=0
        )
        settings = {"donate_argnums": 5, "keep_unused": True} if reuse else {}
        self._jit = partial(jax.jit, over if reuse else chunk, static_argnums=0, **settings)
        self._once = once
        self._safe: set[Plan] = set()
        self._compiled: set[int] = set()

    @cached_property
    def _chunk(self):
        return self._jit(compiler_options=for_once() if self._once else None)

    def __call__(
        self,
        plan: Plan,
        numbers: Sequence[Any],
        runs: Sequence[Any],
        common: Any = (),
        *extra: Any,
        earlier: Any = None,
    ) -> Any:
        """The task's results for a chunk's runs, stacked; `earlier` results (`reuse`) are lost.

        Raises: Reentrant: the plan lets programs run side by side, but this one may wait for another.
        """
        given = (plan, list(numbers), tuple(runs), common, extra, *([earlier] if self._reuse else []))
        if not plan.alone and plan not in self._safe:
            if _waits_for_its_pool(self._chunk.trace(*given).jaxpr):
                raise Reentrant
            self._safe.add(plan)
        kinds = tuple((np.shape(leaf), getattr(leaf, "dtype", None)) for leaf in jax.tree.leaves(given[1:]))
        traced = hash((plan, kinds))  # which keeps nothing alive
        if traced in self._compiled:
            return self._chunk(*given)
        with compiling(self._jit.args[0].__name__):
            results = self._chunk(*given)
        self._compiled.add(traced)
        return results

    def shapes(self, plan: Plan, numbers: Sequence[Any], run: Sequence[Any], common: Any = ()) -> PyTree:
        """Shapes and dtypes of one run's results; nothing is compiled."""
        marked = zip(numbers, _varied(plan, numbers), strict=True)
        one = [jax.eval_shape(lambda n: n[0], number) if varied else number for number, varied in marked]
        return self._alone.eval_shape(plan, one, tuple(run), common)

    def _cache_size(self) -> int:
        return self._chunk._cache_size()


def _varied(plan, numbers):
    """Which of a chunk's numbers have a value for each run: those of each seed, behind the others, all do."""
    return (*plan.varied, *(True,) * (len(numbers) - len(plan.varied)))


def _only(tree):
    return jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[1:]), tree)


def padded(plan: Plan, runs: np.ndarray) -> np.ndarray:
    """`runs` filled up to the size of a chunk by repeating the last one, whose results are dropped."""
    return np.concatenate([runs, np.repeat(runs[-1:], plan.size - len(runs))])


def spread(plan: Plan, tree: PyTree) -> PyTree:
    """Arrays with a leading axis of one chunk's runs, on the devices of the plan."""
    sharding = NamedSharding(plan.mesh, RUNS)
    return jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), tree)


def blank(plan: Plan, shapes: PyTree) -> PyTree:
    """Zeros on the devices of the plan, for a chunk of runs of these shapes."""
    leaves, structure = jax.tree.flatten(shapes)
    wanted = tuple(((plan.size, *leaf.shape), leaf.dtype) for leaf in leaves)
    return jax.tree.unflatten(structure, _zeros(wanted, NamedSharding(plan.mesh, RUNS))())


@lru_cache(maxsize=32)
def _zeros(wanted: tuple[tuple[tuple[int, ...], Any], ...], sharding: NamedSharding) -> Callable[[], list]:
    # one program, where an array at a time would be one for every shape
    def zeros():
        return [jnp.zeros(*one) for one in wanted]

    return jax.jit(zeros, out_shardings=sharding, compiler_options=for_once())


def everywhere(plan: Plan, tree: PyTree) -> PyTree:
    """Arrays that every device of the plan needs."""
    sharding = NamedSharding(plan.mesh, EVERYWHERE)
    return jax.tree.map(lambda leaf: jax.device_put(leaf, sharding), tree)


def spread_numbers(plan: Plan, numbers: Sequence[Any], runs: np.ndarray) -> list[Any]:
    """Numbers for a chunk of these `runs` (padded): those that vary have a value for each."""
    return [
        spread(plan, number[runs]) if varied else everywhere(plan, number)
        for number, varied in zip(numbers, plan.varied, strict=True)
    ]


def gather(tree: PyTree, count: int) -> PyTree:
    """The first `count` runs of a chunk's results, on the host; random keys as numbers."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:count], jax.device_get(raw(tree)))


def depends_on(function: Callable[..., Any], *shapes: Any) -> list[bool]:
    """Of each argument of `function`, whether any result depends on it.

    Read off the traced program, so it errs on the safe side: a value that is multiplied by zero counts.
    """
    jaxpr = jax.make_jaxpr(function)(*shapes).jaxpr
    inputs = iter(jaxpr.invars)
    arguments = [[next(inputs) for _ in jax.tree.leaves(shape)] for shape in shapes]

    def reaches(argument):
        reached = set(map(id, argument))
        for equation in jaxpr.eqns:
            if any(id(variable) in reached for variable in equation.invars):
                reached.update(map(id, equation.outvars))
        return any(id(variable) in reached for variable in jaxpr.outvars)

    return [reaches(argument) for argument in arguments]


_LAPACK = {
    "qr",
    "lu",
    "cholesky",
    "eigh",
    "eig",
    "svd",
    "schur",
    "hessenberg",
    "tridiagonal",
    "triangular_solve",
}


def _waits_for_its_pool(jaxpr) -> bool:
    """Whether a program holds batched linear algebra, or a Fourier transform of any kind."""
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name == "fft" or (name in _LAPACK and equation.invars[0].aval.ndim > 2):
            return True
        inner = jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns"))
        if any(hasattr(value, "eqns") and _waits_for_its_pool(value) for value in inner):
            return True
    return False


NOTHING = partition(())[1]
"""The static half of no parts."""
