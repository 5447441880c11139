"""A brute-force trace of a design: every loop is walked, element by element, and what moves is counted.

An oracle for the simulator's action counts that shares nothing with them but their inputs: nothing here multiplies the
lengths of loops. A register tile is the set of elements that the PEs touch in one step of the loops; a memory's tile is
the set that is touched inside one iteration of the loop at which it is kept. When the next step or iteration needs nothing
else, it is reused; otherwise its own is fetched. Where predicates, windows or recomputing tie ranks, a tile is that of an
iteration of the loops down to the innermost that changes it, and is fetched in each that is not empty. Coordinates beyond an
extent do not exist, and steps and PEs without any do nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from accelerator_sim.design import Design, Kept, Stage
from accelerator_sim.machine import ComputeUnit, Machine
from einsum_cascades.ir import Access, Call, Cascade, Einsum, accesses, walk
from einsum_cascades.structure import structure
from tests.accelerator_sim.traced_points import Element, Lane, Points, reads_of
from tests.accelerator_sim.traced_ranks import Ranks, Values


class LostError(Exception):
    """A value is wanted again that has left the last place that held it."""


@dataclass
class Moves:
    """Values of one tensor at one memory."""

    reads: float = 0
    writes: float = 0
    fills: float = 0
    drains: float = 0

    def add(self, more: Moves) -> None:
        """Adds the moves of another nest."""
        self.reads += more.reads
        self.writes += more.writes
        self.fills += more.fills
        self.drains += more.drains


@dataclass
class Trace:
    """What was seen in one stage.

    ``registers`` are reads and writes by Einsum; ``crossed`` the distinct values that a unit takes from the registers of
    another, and how many PEs took each, by tensor and receiving unit; ``tiles`` the most values of a tensor that one nest
    held in a memory at a time, by nest, memory and tensor.
    """

    memories: dict[str, dict[str, Moves]] = field(default_factory=dict)
    registers: dict[str, tuple[int, int]] = field(default_factory=dict)
    operations: dict[str, Counter[str]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    points: dict[str, int] = field(default_factory=dict)
    crossed: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    tiles: dict[tuple[int, str, str], int] = field(default_factory=dict)

    def at(self, memory: str, tensor: str) -> Moves:
        """The moves of a tensor at a memory."""
        return self.memories.setdefault(memory, {}).setdefault(tensor, Moves())


def trace(cascade: Cascade, design: Design, machine: Machine, extents: Mapping[str, int], instances: Mapping[str, int],
          sizes: Mapping[str, int], data: Mapping[str, Values] | None = None) -> dict[str, Trace]:
    """Returns what moves in each stage; ``sizes`` are those of all parts but the outermost of each rank, ``data`` the values of
    index tensors and of what predicates read.

    Raises: LostError where the design gives a value up that it needs later.
    """
    ranks = Ranks(cascade, design, extents, instances, sizes, data or {})
    return {stage.name: _Stage(cascade, design, machine, ranks, stage).traced() for stage in design.stages}


@dataclass(frozen=True)
class _Touch:
    """A step of an Einsum touches elements of a tensor: ``when`` it is in the order of the nest, ``chunk`` where its own
    loops are, of which the first ``down`` count where ranks are ``tied``. An ``idle`` step is skipped."""

    when: tuple[int, ...]
    order: int
    chunk: Mapping[str, int]
    tensor: str
    elements: frozenset[Element]
    writes: bool
    tied: bool
    walked: frozenset[str]
    idle: bool


class _Stage:
    def __init__(self, cascade: Cascade, design: Design, machine: Machine, ranks: Ranks, stage: Stage) -> None:
        self.cascade, self.design, self.machine, self.ranks, self.stage = cascade, design, machine, ranks, stage
        self.einsums = {e.name: e for e in cascade.einsums}
        self.made = {o.tensor for n in stage.nests for name in design.nest(n).runs for o in self.einsums[name].outputs}
        self.again = {o.tensor for n in stage.nests for name in design.nest(n).recompute for o in self.einsums[name].outputs}
        self.outermost = next(iter(machine.memories))
        self.found = Trace()

    def traced(self) -> Trace:
        nests = [_Nest(self, number) for number in self.stage.nests]
        for nest in nests:
            for name in nest.nest.runs:
                nest.run(self.einsums[name])
            nest.tiles()
        for nest in nests:
            nest.spill()
            for memory, tensors in nest.found.memories.items():
                for tensor, moves in tensors.items():
                    self.found.at(memory, tensor).add(moves)
        return self.found

    def crosses(self, tensor: str) -> bool:
        """Whether a tensor comes from or goes to the outermost memory."""
        if tensor in self.again:
            return False
        if tensor not in self.made or tensor in self.stage.off_chip or tensor in structure(self.cascade).outputs:
            return True
        elsewhere = [(name, self.design.nest(n)) for s in self.design.stages if s is not self.stage for n in s.nests
                     for name in self.design.nest(n).runs]
        return any(a.tensor == tensor and tensor not in nest.recompute for name, nest in elsewhere for a in reads_of(self.einsums[name]))

    def overflow(self, memory: str, number: int, mine: Kept) -> float:
        """The share of a tile that the other rooms of the stage leave no place for; what is in place shares a room."""
        rooms: dict[str, float] = {}
        for n in self.stage.nests:
            for kept in self.design.bindings[n].kept.get(memory, ()):
                if not isinstance(kept.spill, str):
                    room = kept.in_place or kept.tensor
                    size = self.found.tiles[n, memory, kept.tensor] * (1 - kept.spill)
                    rooms[room] = max(rooms.get(room, 0), size)
        rooms.pop(mine.in_place or mine.tensor, None)
        size = self.found.tiles[number, memory, mine.tensor]
        left = self.machine.memories[memory].bytes / self.machine.value_bytes - sum(rooms.values())
        return float(max(0, size - left) / size)

    def unit(self, einsum: str) -> ComputeUnit:
        number = next(n for n in self.stage.nests if einsum in self.design.nest(n).runs)
        return self.machine.units[self.design.bindings[number].unit[einsum]]


class _Nest:
    def __init__(self, stage: _Stage, number: int) -> None:
        self.stage, self.number = stage, number
        self.nest, self.binding = stage.design.nest(number), stage.design.bindings[number]
        self.found = Trace()
        self.touches: list[_Touch] = []
        self.points = Points(stage.cascade, stage.design, number, stage.ranks, {
            name: stage.unit(name).dimensions for name in self.nest.runs})
        self.shared = self.points.shared
        self.made = {o.tensor for name in self.nest.runs for o in stage.einsums[name].outputs}

    # --- the compute side ---

    def run(self, einsum: Einsum) -> None:
        """Walks one Einsum from its first step to its last."""
        found, name, unit = self.stage.found, einsum.name, self.stage.unit(einsum.name)
        operators = _operators(self.stage.cascade, einsum, unit)
        operands = {a: _Register(self.holder(name, a.tensor)) for a in reads_of(einsum)}
        results = {o: _Result(self.home(o.tensor)) for o in einsum.outputs}
        ties = self.points.ties(name)
        reads = writes = steps = points = present = 0
        found.operations[name] = Counter()
        for step in self.points.steps(name):
            for access in (*operands, *results):
                pairs = [(lane, e) for lane, point in step.pes if (e := self.points.element(access, point)) is not None]
                self.touch(einsum, step.chunk, access, pairs, writes=access in results, idle=ties.skips and not step.held)
            if ties.skips and not step.held:
                continue
            steps += 1
            points += len(step.pes)
            present += step.present
            for _ in range(step.present):
                found.operations[name].update(operators)
            for access, register in operands.items():
                taken = {(lane, e) for lane, point in step.pes if (e := self.points.element(access, point)) is not None}
                writes += register.step(taken, self.key(name, access, step.chunk), self.found)
                reads += len(step.pes)
            for access, result in results.items():
                made = [(lane, (*e, *step.anew)) for lane, point in step.pes if (e := self.points.element(access, point)) is not None]
                writes += result.arrive(set(made), self.key(name, access, step.chunk), self.found)
                for lane, element in made:
                    reads += result.add(lane, element)
                writes += len(step.pes)
        for result in results.values():
            result.leave(self.found)
        found.steps[name], found.points[name], found.registers[name] = steps, present, (reads, writes)
        for access, register in operands.items():
            self.crossing(name, access.tensor, register)

    def key(self, name: str, access: Access, chunk: Mapping[str, int]) -> tuple[int, ...] | None:
        """Where the loops stand down to the innermost that changes what an access touches, where ranks are tied."""
        if not self.points.tied(name, access):
            return None
        walked = self.points.walked(name, access)
        last = max((i for i, x in enumerate(chunk) if x in walked and not self.points.single(name, x)), default=-1)
        return tuple(chunk.values())[:last + 1]

    def places(self, tensor: str) -> list[str]:
        """The memories that a tensor lives in, outermost first."""
        beyond = [self.stage.outermost] if self.stage.crosses(tensor) else []
        return beyond + [memory for memory in self.stage.machine.memories
                         if any(k.tensor == tensor for k in self.binding.kept.get(memory, ()))]

    def home(self, tensor: str) -> tuple[str, str] | None:
        """The memory, with the tensor, that values are written to or read from; None for registers."""
        places = self.places(tensor)
        return (places[-1], tensor) if places else None

    def holder(self, einsum: str, tensor: str) -> tuple[str, str] | None:
        return None if einsum in self.binding.forward.get(tensor, ()) else self.home(tensor)

    def crossing(self, einsum: str, tensor: str, register: _Register) -> None:
        receiver = self.stage.unit(einsum).name
        maker = structure(self.stage.cascade).producers[tensor].name if register.place is None else ""
        if register.place is None and self.stage.unit(maker).name != receiver:
            distinct = len({element for _, element in register.seen})
            self.stage.found.crossed.setdefault((tensor, receiver), (distinct, len(register.seen)))

    # --- the memories ---

    def touch(self, einsum: Einsum, chunk: Mapping[str, int], access: Access, pairs: Iterable[tuple[Lane, Element]], *,
              writes: bool, idle: bool) -> None:
        elements = frozenset(element for _, element in pairs)
        rounds = {x: chunk[x] for x in self.shared if x in chunk}
        for loop in self.shared:
            if loop not in rounds:
                rounds[loop] = 0 if self.precedes(einsum, loop) else self.last(loop, rounds)
        when = tuple(rounds[x] for x in self.shared)
        # A loop that runs once changes nothing.
        walked = frozenset(x for x in self.points.walked(einsum.name, access) if not self.points.single(einsum.name, x))
        self.touches.append(_Touch(when, self.nest.runs.index(einsum.name), chunk, access.tensor, elements, writes,
                                   self.points.tied(einsum.name, access), walked, idle))

    def precedes(self, einsum: Einsum, loop: str) -> bool:
        """Whether an Einsum that lacks a loop runs in its first round, because one that has the loop needs its result; it runs in
        the last one otherwise."""
        made = {o.tensor for o in einsum.outputs}
        readers = [self.stage.einsums[name] for name in self.nest.runs if name != einsum.name
                   and any(a.tensor in made for a in reads_of(self.stage.einsums[name]))]
        return any(loop in self.points.loops(reader.name) or self.precedes(reader, loop) for reader in readers)

    def last(self, loop: str, rounds: Mapping[str, int]) -> int:
        """The last round of a loop inside of rounds of others."""
        last = 0
        while self.stage.ranks.exists({**rounds, loop: last + 1}):
            last += 1
        return last

    def tiles(self) -> None:
        """Follows each kept tensor through the nest, tile by tile."""
        for memory, kepts in self.binding.kept.items():
            for kept in kepts:
                self.follow(memory, kept)

    def outer(self, memory: str, tensor: str) -> str | None:
        """The memory that tiles come from and go to."""
        places = self.places(tensor)
        at = places.index(memory)
        return places[at - 1] if at else None

    def follow(self, memory: str, kept: Kept) -> None:
        tensor = kept.tensor
        beyond, made = self.outer(memory, tensor), tensor in self.made
        inner, outer = self.found.at(memory, tensor), Moves() if beyond is None else self.found.at(beyond, tensor)
        held: frozenset[Element] = frozenset()
        before: object = None
        gone: set[Element] = set()
        written: set[Element] = set()
        most = 0
        end: tuple[object, frozenset[Element], set[Element]] = object(), frozenset(), set()
        for key, tile, results in [*self.sequence(kept), end]:
            most = max(most, len(tile))
            if key is end[0] or not tile <= held or key is not None and key != before:
                if beyond is not None:
                    inner.drains += len(written)
                    outer.writes += len(written)
                gone |= held
                again = 0 if tensor in self.stage.again else len(tile & gone) if made or beyond is None else len(tile)
                if again and beyond is None:
                    if not tile <= held:
                        raise LostError(f"{tensor} in {memory}")
                    again = 0
                inner.fills += again
                outer.reads += again
                held, written = tile, set()
            before = key
            written |= results
        self.stage.found.tiles[self.number, memory, tensor] = most

    def sequence(self, kept: Kept) -> list[tuple[object, frozenset[Element], set[Element]]]:
        """The tiles of a kept tensor in the order of the nest: what is touched in each round of the loop that it is kept at, and
        what of it is written there; with the iteration that it is of, where ranks are tied. Of an iterative tensor one generation
        lives at a time: its tile has no slots."""
        iterative = structure(self.stage.cascade).iterative.get(kept.tensor)
        slot = None if iterative is None else 1 + len(self.stage.design.mapping.instances) + iterative.dimension
        rounds: dict[tuple[int, ...], tuple[set[Element], set[Element], list[bool]]] = {}
        mine = sorted((t for t in self.touches if t.tensor == kept.tensor), key=lambda t: (t.when, t.order))
        tied = any(t.tied for t in mine)
        down = 0
        for touch in mine:
            names = self.shared if kept.at is None or kept.at in self.shared else tuple(touch.chunk)
            depth = 0 if kept.at is None else names.index(kept.at) + 1
            down = max([down, *(i + 1 for i, x in enumerate(names[:depth]) if x in touch.walked)])
        for touch in mine:
            if kept.at is None:
                key: tuple[int, ...] = ()
            elif kept.at in self.shared:
                key = touch.when[:self.shared.index(kept.at) + 1]
            else:
                own = tuple(touch.chunk)
                key = (*touch.when, touch.order, *(touch.chunk[x] for x in own[:own.index(kept.at) + 1]))
                key = tuple(touch.chunk[x] for x in own[:own.index(kept.at) + 1]) if tied else key
            if tied:
                key = key[:down]
            tile, written, live = rounds.setdefault(key, (set(), set(), []))
            tile.update(e if slot is None else (*e[:slot], *e[slot + 1:]) for e in touch.elements)
            if touch.writes:
                written.update(touch.elements)
            live.append(not touch.idle)
        return [(key if tied else None, frozenset(tile), written) for key, (tile, written, live) in rounds.items() if any(live)]

    def spill(self) -> None:
        """A share of a tile that does not fit: (1 - s) of the tensor's own traffic and s of the compute side's accesses."""
        for memory, kepts in self.binding.kept.items():
            for kept in kepts:
                share = self.stage.overflow(memory, self.number, kept) if isinstance(kept.spill, str) else kept.spill
                if share:
                    inner = self.found.at(memory, kept.tensor)
                    outer = self.found.at(self.outer(memory, kept.tensor) or self.stage.outermost, kept.tensor)
                    outer.reads = (1 - share) * outer.reads + share * inner.reads
                    outer.writes = (1 - share) * outer.writes + share * inner.writes


@dataclass
class _Register:
    """The register tile of one operand, on all PEs; ``place`` is the memory and tensor that it comes from."""

    place: tuple[str, str] | None
    held: set[Element] = field(default_factory=set)
    pairs: set[tuple[Lane, Element]] = field(default_factory=set)
    seen: set[tuple[Lane, Element]] = field(default_factory=set)
    key: object = None

    def step(self, pairs: set[tuple[Lane, Element]], key: object, found: Trace) -> int:
        """Takes the operand of one step, in an iteration of its own where ranks are tied; returns how many values PEs write to
        their registers for it."""
        self.seen |= pairs
        if self.place is None:
            return 0
        tile = {element for _, element in pairs}
        if key != self.key or key is None and not tile <= self.held:
            found.at(*self.place).reads += len(tile)
            self.held, self.pairs, self.key = tile, pairs, key
            return len(pairs)
        late = pairs - self.pairs
        assert not late or key is not None, "a PE came to a tile that others hold already"
        # Predicates may leave PEs idle in the first steps.
        self.pairs = self.pairs | late
        return len(late)


@dataclass
class _Result:
    """The register tile of a result, on all PEs: ``running`` are the sums that PEs hold."""

    place: tuple[str, str] | None
    held: set[Element] = field(default_factory=set)
    running: set[tuple[Lane, Element]] = field(default_factory=set)
    written: set[Element] = field(default_factory=set)
    key: object = object()

    def arrive(self, pairs: set[tuple[Lane, Element]], key: object, found: Trace) -> int:
        """Begins the step's tile; what comes back goes to one PE for each element. Returns how many register writes."""
        tile = {element for _, element in pairs}
        if tile <= self.held if key is None else key == self.key:
            return 0
        self.key = key
        self.leave(found)
        back = tile & self.written
        if back and self.place is None:
            raise LostError(f"{next(iter(back))[0]} in registers")
        if self.place is not None:
            found.at(*self.place).reads += len(back)
        self.held = tile
        self.running = {min(pair for pair in pairs if pair[1] == element) for element in back}
        return len(back)

    def add(self, lane: Lane, element: Element) -> int:
        """Adds a point to the running sum of a PE; returns 1 where it reads one."""
        if (lane, element) in self.running:
            return 1
        self.running.add((lane, element))
        return 0

    def leave(self, found: Trace) -> None:
        """Writes the tile where it belongs."""
        if self.place is not None:
            found.at(*self.place).writes += len(self.held)
        self.written |= self.held
        self.held = set()


def _operators(cascade: Cascade, einsum: Einsum, unit: ComputeUnit) -> Counter[str]:
    """What a PE performs at one point: the maps of the bodies, a sum in each, and one of the reduction."""
    found = Counter(node.op for body in einsum.bodies for node in walk(body) if isinstance(node, Call)
                    and not _is_index(einsum, node))
    named = set(einsum.reduction.ranks) if einsum.reduction is not None else set()
    summed = len(einsum.bodies) if set(einsum.reduced_ranks) - named else 0
    head = einsum.reduction.op if einsum.reduction is not None else None
    found["add"] += summed
    own = {o.name: o for o in cascade.operators}
    if head in own:
        found.update(node.op for body in own[head].bodies for node in walk(body) if isinstance(node, Call))
    elif head is not None:
        found[{"sum": "add", "prod": "mul"}.get(head, head)] += 1
    body = einsum.body
    if (summed or head == "sum") and isinstance(body, Call) and body.op == "mul" and "mac" in unit.cycles:
        found.subtract({"mul": 1, "add": 1})
        found["mac"] += 1
    return +found


def _is_index(einsum: Einsum, call: Call) -> bool:
    return any(call is node for body in einsum.bodies for access in accesses(body) for index in access.indices
               for node in walk(index))
