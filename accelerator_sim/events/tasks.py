"""Cuts a stage into tasks: one for each Einsum and epoch, and one for each tile that crosses the memory channel."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from accelerator_sim.design import Kept, Stage
from accelerator_sim.events.engine import Task
from accelerator_sim.events.inputs import CHANNEL, MOST_TASKS, Inputs
from accelerator_sim.events.phases import epoch_offsets
from accelerator_sim.events.tiles import Cuts, Range, parts_of, ranks_of, values_in
from einsum_cascades.errors import DesignError
from einsum_cascades.ir import Access, Call, Expr, accesses, children
from einsum_cascades.mapping import Nest
from einsum_cascades.structure import structure


@dataclass
class StageTasks:
    """Tasks of a stage for some instances; ``epochs`` of each instance."""

    tasks: list[Task] = field(default_factory=list)
    epochs: int = 0
    bytes_moved: float = 0.0


@dataclass
class _Tile:
    """A tile of a tensor in a memory: its key, the task that brought it, and the last tasks that used it."""

    key: tuple[int, tuple[Range, ...]] | None = None
    fetch: int | None = None
    users: list[int] = field(default_factory=list)
    before: list[int] = field(default_factory=list)
    seen: set[tuple[int, tuple[Range, ...]]] = field(default_factory=set)


class StageBuilder:
    """Builds the tasks of one stage, instance by instance."""

    def __init__(self, inputs: Inputs, stage: Stage) -> None:
        self.inputs, self.stage = inputs, stage
        self.built = StageTasks()
        self.found = structure(inputs.cascade)
        self.einsums = {e.name: e for e in inputs.cascade.einsums}
        self.nests = [(n, inputs.design.mapping.nests[n]) for n in stage.nests]
        self.instances = inputs.design.mapping.instances
        self.loops = tuple(x for x in self._shared() if x not in self.instances)
        self.names = [name for _, nest in self.nests for name in nest.einsums]
        self.nest_of = {name: n for n, nest in self.nests for name in nest.einsums}
        self.parts = {name: parts_of(self.einsums[name], inputs.cuts) for name in self.names}
        self.waits = {(name, loop): self._after(name, loop) for name in self.names for loop in self.loops}
        self.spread = {name: self._spread(name) for name in self.names}
        self.cycles = {name: self._cycles(name) for name in self.names}
        self.reads = {name: tuple(dict.fromkeys(a for b in self.einsums[name].bodies for a in accesses(b))) for name in self.names}
        self.crossing = {t for name in self.names
                         for t in (self.einsums[name].output.tensor, *(a.tensor for a in self.reads[name])) if self._crosses(t)}
        self.orders = {name: inputs.design.mapping.loops_of(inputs.design.mapping.nests[self.nest_of[name]], self.einsums[name])
                       for name in self.names}
        self.strides = {loop: pes for own in self.spread.values() for loop, pes in own.items() if loop in self.loops}
        self.latest: dict[tuple[str, int, tuple[Range, ...]], int] = {}
        self.last: dict[tuple[str, int], list[int]] = {}
        self.tiles: dict[tuple[int, str], _Tile] = {}
        self.barrier: list[int] = []
        self.phase_of = {e: k for k, p in enumerate(stage.schedule.phases) for e in p.einsums}
        self.offsets = epoch_offsets(inputs.cascade, stage.schedule, self.names) if self.phase_of else {}

    # --- what stays the same ---

    def _shared(self) -> tuple[str, ...]:
        first, *others = [nest.loops for _, nest in self.nests]
        length = next((i for i, x in enumerate(first) if any(len(o) <= i or o[i] != x for o in others)), len(first))
        return tuple(first[:length])

    def _spread(self, name: str) -> dict[str, int]:
        binding = self.inputs.design.bindings[self.nest_of[name]]
        unit = self.inputs.machine.units[binding.unit[name]]
        return {part: math.prod(int(unit.dimensions[side.strip()]) for side in sides.split("*")) for part, sides in binding.spread[name].items()
                if part in self.parts[name]}

    def _cycles(self, name: str) -> float:
        einsum, binding = self.einsums[name], self.inputs.design.bindings[self.nest_of[name]]
        unit = self.inputs.machine.units[binding.unit[name]]
        operators = [op for body in einsum.bodies for op in _operators(body)]
        summed = bool(einsum.summed_ranks) or einsum.reduction is not None and einsum.reduction.op == "sum"
        if einsum.reduction is not None and einsum.reduction.op != "sum":
            operators.append(einsum.reduction.op)
        if summed:
            fused = "mac" in unit.cycles and isinstance(einsum.body, Call) and einsum.body.op == "mul"
            if fused:
                operators.remove("mul")
            operators.append("mac" if fused else "add")
        elsewhere = binding.elsewhere.get(name, {})
        for absorbed in (*binding.absorbed.get(name, ()), *elsewhere):
            operators = [op for op in operators if op != absorbed]
        return float(sum(unit.cycles[op] for op in operators))

    def _after(self, name: str, loop: str) -> bool:
        """Whether an Einsum that lacks a loop comes after Einsums that have it: it waits for the last round."""
        pending, seen = [name], set()
        while pending:
            for access in self.einsums[pending.pop()].reads:
                producer = self.found.producers.get(access.tensor)
                if producer is None or producer.name in seen or producer.name not in self.nest_of:
                    continue
                seen.add(producer.name)
                if loop in self.parts[producer.name]:
                    return True
                pending.append(producer.name)
        return False

    def _active(self, name: str, ranges: Mapping[str, Range], outer: Mapping[str, tuple[Range, Range]]) -> bool:
        """Whether an Einsum runs in this epoch: at the first or the last round of each loop that it lacks."""
        parts = self.parts[name]
        for loop in self.loops:
            if loop not in parts:
                here, around = outer[loop]
                if (here[1] != around[1]) if self.waits[name, loop] else (here[0] != around[0]):
                    return False
        return True

    # --- instances ---

    def build(self, instances: int) -> StageTasks:
        """Returns the tasks of some instances of the cascade, one after another."""
        slots: dict[int, list[tuple[str, dict[str, Range], int]]] = {}
        epoch = count = 0
        for instance in range(instances):
            for ranges, outer in self._epochs():
                for name in self.names:
                    if self._active(name, ranges, outer):
                        slots.setdefault(epoch + self.offsets.get(name, 0), []).append((name, ranges, epoch))
                        count += 1
                epoch += 1
                if count > MOST_TASKS:
                    raise DesignError(f"design {self.inputs.design.id!r}: stage {self.stage.name!r}: {instance + 1} of {instances} "
                                      f"instances to simulate have more than {MOST_TASKS} tiles, got {epoch} epochs and more; "
                                      f"shorten the sequence, or use --timing analytic")
        self.built.epochs = epoch // instances
        for slot in sorted(slots):
            if self.phase_of:
                self._phased(slots[slot])
            else:
                for name, ranges, number in slots[slot]:
                    self._einsum(name, ranges, number, [])
        for (nest, tensor), tile in self.tiles.items():
            producer = self.found.producers.get(tensor)
            if producer is not None and self.nest_of.get(producer.name) == nest and tile.key is not None:
                self._drained(tensor, tile, epoch - 1, self.inputs.spilled.get((nest, tensor), 0.0))
        return self.built

    def _epochs(self) -> Iterator[tuple[dict[str, Range], dict[str, tuple[Range, Range]]]]:
        """The ranges of ranks in each epoch, and for each loop its own range within the one around it."""
        cuts = self.inputs.cuts
        for ranges in cuts.walk(self.loops, self.strides):
            outer: dict[str, tuple[Range, Range]] = {}
            for number, loop in enumerate(self.loops):
                rank = cuts.rank_of[loop]
                inner = [x for x in self.loops[number + 1:] if cuts.rank_of[x] == rank]
                here = self._widened(ranges[rank], loop) if inner else ranges[rank]
                above = [x for x in self.loops[:number] if cuts.rank_of[x] == rank]
                around = _clipped(self._widened(here, above[-1]), cuts, rank) if above else (0, cuts.extents[rank])
                outer[loop] = _clipped(here, cuts, rank), around
            yield ranges, outer

    def _widened(self, here: Range, loop: str) -> Range:
        """The range of the tile of a loop in which a range lies."""
        size = self.inputs.cuts.inside[loop] * self.strides.get(loop, 1)
        start = here[0] // size * size
        return start, start + size

    def _phased(self, entries: list[tuple[str, dict[str, Range], int]]) -> None:
        barrier = list(self.barrier)
        for number, phase in enumerate(self.stage.schedule.phases):
            made: list[int] = []
            if phase.drain is not None:
                unit = self.inputs.machine.units[phase.drain]
                if any(name for name, *_ in entries):
                    made.append(self._task(Task("drain", None, float(unit.drain_cycles), entries[0][2], list(barrier))))
            else:
                for name in phase.einsums:
                    for entry, ranges, epoch in entries:
                        if entry == name and self.phase_of[name] == number:
                            made.append(self._einsum(name, ranges, epoch, barrier))
            if made:
                barrier = [self._task(Task("phase", None, 0.0, entries[0][2], made))]
        self.barrier = barrier

    def _task(self, task: Task) -> int:
        self.built.tasks.append(task)
        return len(self.built.tasks) - 1

    def _einsum(self, name: str, ranges: dict[str, Range], epoch: int, after: list[int]) -> int:
        einsum, cuts = self.einsums[name], self.inputs.cuts
        nest_number = self.nest_of[name]
        binding = self.inputs.design.bindings[nest_number]
        needs = list(after)
        streams: list[int] = []
        for access in self.reads[name]:
            needs += self._needed(access, ranges, epoch)
            if name not in binding.forward.get(access.tensor, ()):
                fetch = self._fetched(nest_number, name, access, ranges, epoch)
                if fetch is not None:
                    streams.append(fetch)
        done = frozenset(self.loops)
        steps = cuts.steps(self.parts[name], ranges, self.spread[name], done)
        number = self._task(Task(name, binding.unit[name], steps * self.cycles[name], epoch,
                                 list(dict.fromkeys([*needs, *streams]))))
        for access in self.reads[name]:
            tile = self.tiles.get((nest_number, access.tensor))
            if tile is not None:
                tile.users.append(number)
        instance = epoch // self.built.epochs
        self.latest[einsum.output.tensor, instance, self._key(einsum.output, ranges)] = number
        self.last[einsum.output.tensor, instance] = [number]
        self._written(nest_number, name, einsum.output, ranges, epoch, number)
        return number

    def _key(self, access: Access, ranges: Mapping[str, Range]) -> tuple[Range, ...]:
        """What tells tiles of a tensor apart: the ranges of its ranks, without the round of an iteration."""
        iteration = self.found.iterative.get(access.tensor)
        key: list[Range] = []
        for dimension, index in enumerate(access.indices):
            if iteration is not None and iteration.dimension == dimension:
                continue
            for rank in ranks_of(index):
                key.append(ranges[self.inputs.cuts.rank_of.get(rank, rank)])
        return tuple(key)

    def _needed(self, access: Access, ranges: Mapping[str, Range], epoch: int) -> list[int]:
        """The task that made what is read: in this epoch, or in an earlier round (the last that wrote this tile)."""
        if access.tensor not in self.found.producers:
            return []
        instance = epoch // self.built.epochs
        exact = self.latest.get((access.tensor, instance, self._key(access, ranges)))
        if exact is not None:
            return [exact]
        return self.last.get((access.tensor, instance), [])

    # --- the memory channel ---

    def _crosses(self, tensor: str) -> bool:
        if tensor in (*self.found.inputs, *self.found.outputs) or tensor in self.stage.off_chip:
            return True
        producer = self.found.producers[tensor].name
        readers = {e.name for e in self.inputs.cascade.einsums if any(a.tensor == tensor for a in e.reads)}
        return producer not in self.nest_of or not readers <= set(self.nest_of)

    def _kept(self, nest: int, tensor: str) -> Kept | None:
        for kepts in self.inputs.design.bindings[nest].kept.values():
            for kept in kepts:
                if kept.tensor == tensor:
                    return kept
        return None

    def _transfer(self, name: str, values: float, tensor: str, epoch: int, needs: list[int]) -> int | None:
        size = values * float(self.inputs.machine.value_bytes)
        if not size:
            return None
        self.built.bytes_moved += size
        memory = self.inputs.machine.outermost
        seconds = 0.0 if memory.bytes_per_s is None else size / float(memory.bytes_per_s)
        return self._task(Task(f"{name} {tensor}", CHANNEL, seconds * float(self.inputs.machine.clock_hz), epoch, needs))

    def _lengths(self, access: Access) -> list[int | None]:
        return [None if r is None else self.inputs.cuts.extents.get(r) for r in self.found.dimensions[access.tensor]]

    def _tile_key(self, name: str, access: Access, ranges: Mapping[str, Range], at: str | None) -> tuple[Range, ...]:
        """The tile of a kept tensor: the ranges of its ranks in the loops outside of it."""
        loops = self._outside(name, at)
        cuts = self.inputs.cuts
        key: list[Range] = []
        for rank in dict.fromkeys(cuts.rank_of.get(r, r) for i in access.indices for r in ranks_of(i)):
            own = [x for x in loops if cuts.rank_of[x] == rank]
            here = ranges[rank]
            key.append(_clipped(self._widened(here, own[-1]), cuts, rank) if own else (0, cuts.extents[rank]))
        return tuple(key)

    def _outside(self, name: str, at: str | None) -> tuple[str, ...]:
        nest: Nest = self.inputs.design.mapping.nests[self.nest_of[name]]
        order = self.orders[name]
        if at is None:
            return ()
        if at in order:
            return tuple(x for x in order[:order.index(at) + 1] if x not in self.instances)
        shared = nest.loops[:nest.loops.index(at) + 1]
        return tuple(x for x in shared if x in order and x not in self.instances)

    def _fetched(self, nest: int, name: str, access: Access, ranges: dict[str, Range], epoch: int) -> int | None:
        """The transfer that brings what an Einsum reads, if any."""
        tensor = access.tensor
        kept = self._kept(nest, tensor)
        crosses = tensor in self.crossing
        share = self.inputs.spilled.get((nest, tensor), 0.0)
        if kept is None:
            if not crosses:
                return None
            values = self._streamed(name, access, ranges)
            return self._transfer("read", values, tensor, epoch, self._needed(access, ranges, epoch))
        made_here = any(self.einsums[e].output.tensor == tensor for e in self.inputs.design.mapping.nests[nest].einsums)
        extra = share * self._streamed(name, access, ranges)
        if extra:
            self._transfer("spill", extra, tensor, epoch, [])
        if not crosses or made_here:
            return None
        inner = [x for x in self._outside(name, kept.at) if x not in self.loops]
        tile = self.tiles.setdefault((nest, tensor), _Tile())
        at = kept.at if not inner else (self.loops[-1] if self.loops else None)
        key = (epoch // self.built.epochs, self._tile_key(name, access, ranges, at))
        if tile.key == key:
            return tile.fetch
        if inner:
            values = self._streamed(name, access, ranges, tuple(inner))
        else:
            values = values_in(access, {**ranges, **self._tile_ranges(name, access, ranges, kept.at)}, self.inputs.cuts,
                               self._lengths(access))
        # Two tiles have room: the next comes while this one is used, once the one before is done with.
        needs = [*tile.before, *self._needed(access, ranges, epoch)]
        tile.before, tile.users, tile.key = list(tile.users), [], key
        tile.fetch = self._transfer("read", values * (1 - share), tensor, epoch, needs)
        return tile.fetch

    def _tile_ranges(self, name: str, access: Access, ranges: Mapping[str, Range], at: str | None) -> dict[str, Range]:
        cuts = self.inputs.cuts
        ranks = dict.fromkeys(cuts.rank_of.get(r, r) for i in access.indices for r in ranks_of(i))
        return dict(zip(ranks, self._tile_key(name, access, ranges, at), strict=True))

    def _streamed(self, name: str, access: Access, ranges: dict[str, Range], inner: tuple[str, ...] | None = None) -> float:
        """Values that an Einsum's inner loops bring through a tile of registers in one epoch (or through one inside some of its
        inner loops): all of the tile's, once for each loop over another rank that comes outside of one that advances."""
        cuts = self.inputs.cuts
        order = [x for x in self.orders[name] if x not in self.loops and x not in self.instances]
        if inner is not None:
            order = [x for x in order if x in inner]
        walked = {p for i in access.indices for r in ranks_of(i) for p in cuts.parts.get(r, (r,))}
        values = float(values_in(access, ranges, cuts, self._lengths(access)))
        advances, times = False, 1
        for loop in reversed(order):
            rank = cuts.rank_of[loop]
            pes = self.spread[name].get(loop, 1)
            within = ranges[rank]
            around = [x for x in order[:order.index(loop)] if cuts.rank_of[x] == rank]
            length = min(within[1] - within[0], cuts.inside[around[-1]] if around else within[1] - within[0])
            count = math.ceil(length / (cuts.inside[loop] * pes))
            if loop in walked:
                advances = advances or count > 1
            elif advances:
                times *= count
        return values * times

    def _written(self, nest: int, name: str, access: Access, ranges: dict[str, Range], epoch: int, number: int) -> None:
        tensor = access.tensor
        kept, crosses = self._kept(nest, tensor), tensor in self.crossing
        share = self.inputs.spilled.get((nest, tensor), 0.0)
        if kept is None:
            if crosses:
                self._transfer("write", self._streamed(name, access, ranges), tensor, epoch, [number])
            return
        if share:
            self._transfer("spill", share * self._streamed(name, access, ranges), tensor, epoch, [number])
        if not crosses:
            return
        tile = self.tiles.setdefault((nest, tensor), _Tile())
        key = (epoch // self.built.epochs, self._tile_key(name, access, ranges, kept.at))
        if tile.key not in (None, key):
            self._drained(tensor, tile, epoch, share)
        if tile.key != key:
            tile.key, tile.users = key, []
            if key in tile.seen:
                # A tile that comes back to be added to.
                self._transfer("read", self._values_of(access, key[1]) * (1 - share), tensor, epoch, [number])
            tile.seen.add(key)
        tile.users.append(number)

    def _values_of(self, access: Access, key: tuple[Range, ...]) -> float:
        cuts = self.inputs.cuts
        ranks = dict.fromkeys(cuts.rank_of.get(r, r) for i in access.indices for r in ranks_of(i))
        ranges = {**{r: (0, n) for r, n in cuts.extents.items()}, **dict(zip(ranks, key, strict=True))}
        return float(values_in(access, ranges, cuts, self._lengths(access)))

    def _drained(self, tensor: str, tile: _Tile, epoch: int, share: float) -> None:
        assert tile.key is not None
        access = self.found.producers[tensor].output
        self._transfer("write", self._values_of(access, tile.key[1]) * (1 - share), tensor, epoch, list(tile.users))


def _operators(expr: Expr) -> Iterator[str]:
    """The operators of an expression that work on values."""
    if isinstance(expr, Call) and accesses(expr):
        yield expr.op
        for child in children(expr):
            yield from _operators(child)


def _clipped(here: Range, cuts: Cuts, rank: str) -> Range:
    return here[0], min(here[1], cuts.extents[rank])
