"""One chunk of runs, from its data to its last observable: segments between recording times."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import ModuleType
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from dynamics.engine import batching, direct, seed_numbers
from dynamics.engine.batching import Plan
from dynamics.engine.checkpoint import Checkpoint, Left, Part, Row
from dynamics.engine.interrupt import Interrupts
from dynamics.engine.progress import Progress
from dynamics.keys import raw, typed

IN_FLIGHT = 2  # segments that the host may be ahead of the device
KEEP_EVERY_S = 1.0  # seconds between two savings of progress


@dataclass
class Work:
    """What all chunks of a run have in common.

    Attributes:
      engine: `direct` or `gram`: a module with `start`, `advance` and `conclude`.
      plan, numbers: of the whole problem; numbers that vary have a value for every run.
      data_plan, data_numbers: of its data alone.
      seeds: seed of every run.
      per_seed: whether there are numbers that are taken of each run at its start.
      common: what all runs share of their data, if they do.
      spare: data of the last chunk, whose memory the next one takes over.
      times: when to record.
      kept: where to keep progress, and whether also on the way.
      check: refuses data by draws and their seeds; None: the data need no check.
      tell: is told every recording: step, runs, their values, and their first steps that are not finite.
    """

    engine: ModuleType
    plan: Plan
    numbers: list[Any]
    data_plan: Plan
    data_numbers: list[Any]
    seeds: np.ndarray
    per_seed: bool
    times: list[int]
    progress: Progress
    interrupts: Interrupts
    kept: Checkpoint | None = None
    on_the_way: bool = False
    check: Callable[[Any, np.ndarray], None] | None = None
    tell: Callable[[int, np.ndarray, Row, np.ndarray], None] | None = None
    common: Any = None
    saved_at: float = 0.0
    spare: list[Any] = field(default_factory=list)
    _shapes: tuple[Any, Any] | None = None

    def carry_out(self, mine: np.ndarray, parts: list[Part]) -> None:
        """Do the runs in `mine` that are not in `parts`, and add them there.

        On a KeyboardInterrupt the chunk at work is saved as it stands, added to `parts`, and the
        exception goes on.
        """
        self.prepare()
        chunks = self._chunks(mine, parts)
        self.progress.finished = len(mine) - sum(len(chunk.runs) for chunk in chunks)
        fresh: list[Part] = []  # not saved yet
        chunk: Chunk | None = None
        try:
            while chunks:
                chunk = chunks.popleft()
                if len(chunk.runs) > self.plan.size:  # made before memory ran out
                    chunks.extendleft(reversed(chunk.pieces(self.plan.size)))
                    continue
                self.progress.running = len(chunk.runs)
                if self._fits(chunk, chunks):
                    fresh.append(chunk.part)
                    parts.append(chunk.part)
                    self.progress.finished += len(chunk.runs)
                    chunk = None
                    if self.kept is not None and self.due():
                        self._save(fresh)
                self.interrupts.check()
        except KeyboardInterrupt:
            if chunk is not None:
                parts.append(chunk.partial())
                if self.kept is not None and chunk.position >= 0:
                    chunk.keep()
            self._save(fresh)
            raise
        except BaseException:
            self._save(fresh)
            raise
        self._save(fresh)

    def prepare(self) -> None:
        """Make the data that all runs share, once."""
        if not self.plan.shared:
            return
        one = Mesh(self.plan.mesh.devices.flat[:1], self.plan.mesh.axis_names)
        plan = self.data_plan._replace(lanes=1, mesh=one, alone=True)
        first = np.zeros(1, int)
        numbers = batching.spread_numbers(plan, self.data_numbers, first)
        common = self.data(plan, numbers, batching.spread(plan, self.seeds[first]))
        common = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[1:]), common)
        self.common = batching.everywhere(self.plan, common)

    def _chunks(self, mine: np.ndarray, parts: Sequence[Part]) -> "deque[Chunk]":
        """Chunks that were left on the way, and new ones of what else is to do."""
        done = {run for part in parts for run in part.runs.tolist()}
        todo = [run for run in mine.tolist() if run not in done]
        found: deque[Chunk] = deque()
        shapes = [] if self.kept is None else jax.tree.leaves(jax.eval_shape(raw, self.state_shapes()))
        for left in [] if self.kept is None else self.kept.left(shapes, set(todo)):
            if set(left.runs.tolist()) <= set(todo):
                found.append(Chunk(self, left.runs, left, saved=left.position))
                todo = [run for run in todo if run not in set(left.runs.tolist())]
        size = self.plan.size
        found.extend(Chunk(self, np.asarray(todo[i : i + size])) for i in range(0, len(todo), size))
        return found

    def _fits(self, chunk: "Chunk", chunks: "deque[Chunk]") -> bool:
        """Work on a chunk; or, if memory runs out, put it back as two, for smaller programs."""
        try:
            chunk.work()
        except batching.Reentrant:
            chunks.appendleft(Chunk(self, chunk.runs, chunk.given))
            self._resize(self.plan.lanes, Mesh(self.plan.mesh.devices.flat[:1], ("runs",)), alone=True)
            return False
        except (MemoryError, jax.errors.JaxRuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            if len(chunk.runs) == 1:
                raise MemoryError(
                    "one run alone does not fit in memory; use fewer samples, dimensions or test points"
                ) from error
            self.progress.say(f"out of memory: going on with half of {len(chunk.runs)} runs at a time")
            self._shrink()
            chunks.extendleft(reversed(chunk.pieces(-(-len(chunk.runs) // 2))))
            return False
        return True

    def _shrink(self) -> None:
        """Half as many runs at a time from now on: fewer lanes, or fewer devices."""
        lanes, mesh = -(-self.plan.lanes // 2), self.plan.mesh
        if self.plan.lanes == 1 and mesh.size > 1:
            mesh = Mesh(mesh.devices.flat[: mesh.size // 2], mesh.axis_names)
        self._resize(lanes, mesh, self.plan.alone)

    def _resize(self, lanes: int, mesh: Mesh, alone: bool) -> None:
        self.plan = self.plan._replace(lanes=lanes, mesh=mesh, alone=alone)
        self.data_plan = self.data_plan._replace(lanes=lanes, mesh=mesh, alone=alone)
        self.spare.clear()
        if self.common is not None:
            self.common = batching.everywhere(self.plan, self.common)

    def _save(self, fresh: list[Part]) -> None:
        """Keep finished runs in one file, and forget how they were left on the way."""
        if self.kept is None or not fresh:
            return
        self.kept.save_part(joined(fresh))
        for part in fresh:
            self.kept.forget(part.runs)
        fresh.clear()

    def due(self) -> bool:
        """Whether progress was last saved long enough ago; if so, the clock starts anew."""
        now = time.monotonic()
        if now - self.saved_at < KEEP_EVERY_S:
            return False
        self.saved_at = now
        return True

    def data(self, plan: Plan, numbers: Sequence[Any], seeds: Any) -> Any:
        """The data of some runs, as the engine wants them, in the place of those of a finished chunk."""
        draws, products = self._data_shapes()
        earlier = self.spare.pop() if self.spare and plan == self.data_plan else None
        if earlier is None:
            earlier = batching.blank(plan, draws if products is None else (draws, products))
        is_direct = self.engine is direct
        draws = direct.sample(plan, numbers, (seeds,), earlier=earlier if is_direct else earlier[0])
        if self.check is not None:
            self.check(draws, np.asarray(seeds))
        if is_direct:
            return draws
        plan = plan._replace(rest=batching.NOTHING, varied=())
        return draws, self.engine.products(plan, [], (), draws, earlier=earlier[1])

    def _data_shapes(self) -> tuple[Any, Any]:
        """Shapes of one run's data, and of their inner products if the engine wants those."""
        if self._shapes is None:
            seed = jax.ShapeDtypeStruct((), self.seeds.dtype)
            draws, products = direct.sample.shapes(self.data_plan, self.data_numbers, (seed,)), None
            if self.engine is not direct:
                plan = self.data_plan._replace(rest=batching.NOTHING, varied=())
                products = self.engine.products.shapes(plan, [], (), draws)
            self._shapes = draws, products
        return self._shapes

    def state_shapes(self) -> Any:
        """The state of one run, in shapes."""
        draws, products = self._data_shapes()
        data = draws if products is None else (draws, products)
        seed, numbers = jax.ShapeDtypeStruct((), self.seeds.dtype), list(self.numbers)
        if self.per_seed:
            own = seed_numbers.numbers.shapes(self.plan, numbers, (seed,), data)
            numbers += [jax.ShapeDtypeStruct((1, *one.shape), one.dtype) for one in own]
        return self.engine.start.shapes(self.plan, numbers, (seed,), data)[0]


class Chunk:
    """Runs that are one program.

    Attributes:
      runs: their numbers.
      given: how they were left at an earlier time, if they were.
      part: what was observed, once it is finished.
    """

    def __init__(self, whole: Work, runs: np.ndarray, left: Left | None = None, saved: int = -1):
        self.whole, self.runs, self.given = whole, np.asarray(runs), left
        # position and states as one: Ctrl-C may come between any two lines
        self._at: tuple[int, Any] = (-1 if left is None else left.position, None)
        self.rows: list[Any] = [] if left is None else list(left.rows)
        self._flight: list[Any] = []
        self.part: Part | None = None
        self._saved = saved  # newest position in the checkpoint

    @property
    def position(self) -> int:
        """Newest recording time whose record is at hand, -1 while there is none."""
        return self._at[0]

    def work(self) -> None:
        """Do everything; the host is at most `IN_FLIGHT` segments ahead of the devices."""
        whole = self.whole
        plan = whole.plan
        runs = batching.padded(plan, self.runs)
        numbers = batching.spread_numbers(plan, whole.numbers, runs)
        seeds = batching.spread(plan, whole.seeds[runs])
        common = whole.common
        if common is None:
            own = batching.spread_numbers(whole.data_plan, whole.data_numbers, runs)
            common = whole.data(whole.data_plan, own, seeds)
        if whole.per_seed:
            numbers += seed_numbers.numbers(plan, numbers, (seeds,), common)
        states, own = whole.engine.start(plan, numbers, (seeds,), common)
        if self.given is not None:
            structure = jax.tree.structure(states)
            leaves = [leaf[batching.padded(plan, np.arange(len(self.runs)))] for leaf in self.given.leaves]
            states = batching.spread(plan, typed(jax.tree.unflatten(structure, leaves), states))
        self._at = (self.position, states)
        for i, (previous, now) in enumerate(pairwise([0, *whole.times])):
            if i <= self.position:
                continue
            run = (seeds, states, own)
            states, row = whole.engine.advance(plan, numbers, run, common, previous, now - previous)
            self.rows.append(row)
            self._at = (i, states)
            self._flight.append(states.first_nonfinite_step)
            if len(self._flight) > IN_FLIGHT:
                jax.block_until_ready(self._flight.pop(0))
            self._fetch(upto=i - IN_FLIGHT)
            if whole.tell is not None:
                self._fetch(upto=i)
                first = batching.gather(states.first_nonfinite_step, len(self.runs))
                whole.tell(now, self.runs, self.rows[i], first)
            if whole.kept is not None and whole.on_the_way and whole.due():
                self.keep()
            whole.progress.update(now)
            whole.interrupts.check()
        end = whole.engine.conclude(plan, numbers, (seeds, states, own), common)
        self.part = self.partial()._replace(ended=batching.gather(end, len(self.runs)))
        if whole.common is None:
            whole.spare.append(common)

    def partial(self) -> Part:
        """What was observed so far."""
        self._fetch(upto=self.position)
        rows = self.rows[: self.position + 1]
        names = rows[0] if rows else ()
        recorded = {name: np.stack([row[name] for row in rows], axis=1) for name in names}
        if (states := self._at[1]) is not None:
            first = batching.gather(states.first_nonfinite_step, len(self.runs))
        elif self.given is not None:
            structure = jax.tree.structure(self.whole.state_shapes())
            first = np.asarray(jax.tree.unflatten(structure, self.given.leaves).first_nonfinite_step)
        else:
            first = np.full(len(self.runs), -1)
        return Part(self.runs, recorded, {}, first)

    def left(self) -> Left:
        """The chunk as it stands, at a record or where it was given, to go on from."""
        position, states = self._at
        if states is None:
            return self.given
        self._fetch(upto=position)
        leaves = jax.tree.leaves(batching.gather(states, len(self.runs)))
        return Left(self.runs, position, leaves, self.rows[: position + 1])

    def keep(self) -> None:
        """Save the records since the last time, and then the state."""
        left = self.left()
        for i in range(self._saved + 1, left.position + 1):
            self.whole.kept.save_record(left.runs, i, left.rows[i])
        self.whole.kept.save_state(left.runs, left.position, left.leaves)
        self._saved = left.position

    def stand(self) -> Left | None:
        """Where the chunk stands: at its last record, or at its start if that is lost with the memory."""
        if self.position < 0:
            return None
        try:
            return self.left()
        except (MemoryError, jax.errors.JaxRuntimeError):
            return self.given

    def pieces(self, size: int) -> list["Chunk"]:
        """The chunk as chunks of at most `size` runs, from where it stands."""
        left, found = self.stand(), []
        for first in range(0, len(self.runs), size):
            part = slice(first, first + size)
            own = None
            if left is not None:
                rows: list[Row] = [{name: value[part] for name, value in row.items()} for row in left.rows]
                leaves = [leaf[part] for leaf in left.leaves]
                own = Left(self.runs[part], left.position, leaves, rows)
            found.append(Chunk(self.whole, self.runs[part], own))
        return found

    def _fetch(self, upto: int) -> None:
        """Bring records on the host up to a recording time; records kept there already are NumPy arrays."""
        for i in range(upto, -1, -1):
            if all(isinstance(leaf, np.ndarray) for leaf in self.rows[i].values()):
                if self.rows[i]:
                    break
                continue
            self.rows[i] = batching.gather(self.rows[i], len(self.runs))


def joined(parts: Sequence[Part]) -> Part:
    """Parts of different runs as one."""
    names = {kind: list(getattr(parts[0], kind)) for kind in ("recorded", "ended")}
    values = {
        kind: {name: np.concatenate([getattr(part, kind)[name] for part in parts]) for name in names[kind]}
        for kind in names
    }
    runs = np.concatenate([part.runs for part in parts])
    first = np.concatenate([part.first_nonfinite_step for part in parts])
    return Part(runs, values["recorded"], values["ended"], first)


def _is_out_of_memory(error: BaseException) -> bool:
    text = str(error)
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in text or "ut of memory" in text
