"""Which engine, how many runs at a time, on which devices: decided on shapes, before compiling."""

from collections.abc import Mapping
from types import ModuleType
from typing import Literal, NamedTuple, get_args

import jax
from jax.sharding import Mesh
from jaxtyping import PyTree

from dynamics.data.sample import Draw
from dynamics.engine import batching, direct, gram, memory
from dynamics.keys import seed_key
from dynamics.observables.base import Observable
from dynamics.parts import Bound
from dynamics.problem import Problem

EngineName = Literal["auto", "direct", "gram"]
COMPILER_BYTES = 150 * 2**20  # what the compiler and its programs add to a CPU process
MARGIN = 0.9  # of a limit is planned with, as an estimate may be a little low


class Sized(NamedTuple):
    """How runs are laid on the machine.

    Attributes:
      mesh, lanes: see `batching`.
      estimate: bytes at the peak: of this process on a CPU, of each device elsewhere.
      sentence: the same in words.
    """

    mesh: Mesh
    lanes: int
    estimate: int
    sentence: str


class Choice(NamedTuple):
    """The engine for a problem, and what one run of it takes.

    Attributes:
      name: `direct` or `gram`.
      cross: whether inner products with test inputs are kept (Gram space).
      fixed_data: whether the data are the same for every seed.
      need: bytes of one run.
      common: bytes of `need` that runs on the same data share.
      step: bytes that a step of one run touches, and those of them that are its own on shared data.
    """

    name: Literal["direct", "gram"]
    cross: bool
    fixed_data: bool
    need: memory.Need
    common: int
    step: tuple[int, int]

    @property
    def module(self) -> ModuleType:
        """The engine itself."""
        return {"direct": direct, "gram": gram}[self.name]

    def sized(
        self,
        strategy: Literal["vmap", "map"],
        num_runs: int,
        num_mine: int,
        limit: int | None,
        shared: bool,
    ) -> Sized:
        """How to lay out `num_mine` of `num_runs` runs under a memory limit in bytes.

        Raises: ValueError: one run alone needs more than the limit.
        """
        step = self.step[1] if shared else self.step[0]
        mesh = batching.mesh(step)
        device = mesh.devices.flat[0]
        on_host = device.platform == "cpu"
        first = memory.at_first() if on_host else 0
        there = memory.settled() if on_host else 0
        if limit is None:
            limit = there + int(memory.SHARE * memory.available(device))
        held = self.need.held - (self.common if shared else 0)
        fixed = self.common * (mesh.size if on_host else 1) if shared else 0
        if on_host:
            fixed += there + COMPILER_BYTES + 2 * self.need.kept * num_mine
        alone, each = held + self.need.work, held + self.need.batched
        if on_host:
            if fixed + mesh.size * alone > limit:  # fewer at a time may still fit
                mesh = Mesh(mesh.devices[:1], mesh.axis_names)
            alone, each = mesh.size * alone, mesh.size * each
        if fixed + alone > limit:
            beside = f" beside {memory.in_words(fixed)} for JAX, its programs and results" if fixed else ""
            raise ValueError(
                f"one run needs {memory.in_words(alone)}{beside}, but the memory limit is "
                f"{memory.in_words(limit)}; use fewer samples, dimensions or test points, or allow more"
            )
        fit = max(1, int(MARGIN * limit - fixed) // max(each, 1))
        # cut as all processes of a run together would cut it, so that their programs are the same
        runs = num_runs if strategy == "map" else num_mine
        lanes = batching.lanes(strategy, runs, mesh.size, step, fit)
        chunks = -(-num_mine // (lanes * mesh.size))
        # a limit leaves room for the compiler at every call; what it has taken before is part of `there`
        again = min(there - first, COMPILER_BYTES) if on_host else 0
        fixed -= max(again, 0)
        estimate = fixed + (alone if lanes == 1 else lanes * each)
        whole = fixed + each * -(-num_mine // mesh.size)
        sentence = f"{num_mine:,} runs in space `{self.name}` need {memory.in_words(estimate)}"
        if chunks > 1:
            sentence = (
                f"{num_mine:,} runs at once would need {memory.in_words(whole)}: {chunks} chunks of "
                f"{lanes * mesh.size}, {memory.in_words(estimate)} in all"
            )
        return Sized(mesh, lanes, estimate, sentence)


def choose_engine(
    asked: EngineName,
    problem: Problem,
    recipe: Bound,
    observe: Mapping[str, Observable],
    observe_end: Mapping[str, Observable],
    batch_size: int | None,
    steps: int,
    records: int,
    draw: Draw,
    params: PyTree,
) -> Choice:
    """The engine asked for, or the cheaper one that applies; `draw` and `params` are shapes.

    Raises: ValueError: unknown engine, or `gram` where it cannot apply, with the reason.
    """
    if asked not in get_args(EngineName):
        raise ValueError(f"engine must be one of {', '.join(get_args(EngineName))}, got {asked!r}")
    key = jax.eval_shape(lambda: seed_key(0))
    fixed_data = not any(batching.depends_on(problem.data.sample, key))
    x = draw.train.x
    dim, rows, test_rows = x.shape[-1], x.size // x.shape[-1], draw.test.x.size // x.shape[-1]
    beside = problem.kept_shapes()
    kept = _kept(problem, observe, observe_end, records, draw, params, beside, key)
    obstacle = None
    cross = rebuilds = False
    if asked != "direct":
        obstacle = gram.obstacle(problem, recipe, batch_size, params)
        if draw.features is None:
            obstacle = obstacle or "the data name no features"
        if beside:
            obstacle = obstacle or "the network keeps other variables beside its parameters"
        if obstacle is None and (asked == "gram" or rows < 2 * dim):
            try:
                cross, rebuilds = gram.uses(problem, observe, draw, params)
            except gram.NeedsWeights as error:
                obstacle = f"observable {error.args[0]!r} uses the parameters otherwise than by name"
    if asked == "gram" and obstacle is not None:
        raise ValueError(f"engine 'gram' cannot be used here: {obstacle}; use engine 'direct'")
    if asked == "gram" or (asked == "auto" and obstacle is None and rows < 2 * dim):
        neurons = params["W"].shape[0]
        looked_at = rows + (test_rows if cross else 0)
        in_parameters = (4 * steps * rows + 2 * records * looked_at) * neurons * dim
        in_products = 2 * rows * (0.75 * rows + (test_rows if cross else 0)) * dim
        in_products += 2 * steps * rows * rows * neurons
        in_products += records * (2 * rows * neurons * (test_rows if cross else 0))
        in_products += records * (2 * rows * neurons * dim if rebuilds else 0)
        if asked == "gram" or in_products < in_parameters:
            return _gram_choice(cross, fixed_data, kept, draw, params)
    return _direct_choice(batch_size, fixed_data, kept, draw, params)


def _kept(problem, observe, observe_end, records, draw, params, beside, key):
    """Bytes of a run's results."""

    def look(params, beside, draw, key, asked):
        return [what(params, problem.at(beside), draw, key) for what in asked.values()]

    row = jax.eval_shape(lambda *args: look(*args, observe), params, beside, draw, key)
    end = jax.eval_shape(lambda *args: look(*args, observe_end), params, beside, draw, key)
    return records * memory.size_of(row) + memory.size_of(end)


def _direct_choice(batch_size, fixed_data, kept, draw, params) -> Choice:
    x = draw.train.x
    data, weights = memory.size_of(draw), memory.size_of(params)
    rows, number = x.size // x.shape[-1], x.dtype.itemsize
    share = 1.0 if batch_size is None else batch_size / draw.train.x.shape[0]
    neurons = max((leaf.shape[0] for leaf in jax.tree.leaves(params) if leaf.ndim), default=1)
    activations = int(3 * rows * neurons * number * share)
    step_work = 3 * weights + activations
    work = max(memory.size_of(draw.train), step_work)
    batched = max(_drawing(draw), step_work)
    step = int(memory.size_of(draw.train) * share)
    own = step_work
    need = memory.Need(data + 3 * weights, work, batched, kept)
    return Choice("direct", False, fixed_data, need, data, (step + own, own))


def _drawing(draw) -> int:
    """Bytes beside the data while many runs draw theirs: three times the larger half, once the smaller."""
    sizes = sorted(memory.size_of(half) for half in (draw.train, draw.test))
    return 3 * sizes[1] + sizes[0]


def _gram_choice(cross, fixed_data, kept, draw, params) -> Choice:
    x = draw.train.x
    rows, number = x.size // x.shape[-1], x.dtype.itemsize
    test_rows = draw.test.x.size // x.shape[-1] if cross else 0
    neurons = params["W"].shape[0]
    data = memory.size_of(draw)
    products = number * rows * (rows + test_rows)
    own = number * neurons * (5 * rows + test_rows) + memory.size_of(params)
    work = max(memory.size_of(draw.train), number * rows * rows)
    batched = max(_drawing(draw), 2 * number * rows * rows)
    need = memory.Need(data + products + own, work, batched, kept)
    return Choice("gram", cross, fixed_data, need, data + products, (number * rows * rows, own))
