"""Action counts: how often each memory, register file and operator is used, from a plan's loops.

The rules, the same for every design (Timeloop's dense rules, with what FuseMax's artifact shows of them):

* A tile is fetched again whenever a loop outside of it over one of its ranks advances. Of the loops outside, a run of
  innermost ones over other ranks reuses it; a loop over another rank outside of such a loop fetches it again.
* A result is written once for each time that it leaves; where it comes back to be added to, it is read back at all
  but its first time.
* Values that cross an array are read once and delivered to every PE that wants them; partial results of PEs that share
  a result are added on the way.
* A PE's registers: an Einsum reads its operands and writes its result at every point; a value that arrives is written
  once more; a running sum is read back at all but its first point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from accelerator_sim.capacity import spill_share
from accelerator_sim.design import Kept, Stage
from accelerator_sim.frame import Operand
from accelerator_sim.networks import Flow
from accelerator_sim.plan import Plan, Work, sides_of
from accelerator_sim.quantities import Quantity, everywhere, is_array, larger
from einsum_cascades.errors import DesignError


@dataclass(eq=False)
class Access:
    """Values that one tensor moves at one memory in one stage: ``reads`` and ``writes`` by the compute side and by memories
    further in, ``fills`` from and ``drains`` to the next memory outwards. In the outermost memory only reads and writes
    exist."""

    reads: Quantity = 0
    writes: Quantity = 0
    fills: Quantity = 0
    drains: Quantity = 0

    def add(self, reads: Quantity = 0, writes: Quantity = 0, fills: Quantity = 0, drains: Quantity = 0) -> None:
        """Adds accesses. Never in place: an array may be shared with others."""
        self.reads = _sum(self.reads, reads)
        self.writes = _sum(self.writes, writes)
        self.fills = _sum(self.fills, fills)
        self.drains = _sum(self.drains, drains)


@dataclass(eq=False)
class RegisterAccess:
    """Values that the PEs of a unit read and write for one Einsum, all PEs together."""

    reads: Quantity = 0
    writes: Quantity = 0

    def add(self, reads: Quantity = 0, writes: Quantity = 0) -> None:
        """Adds accesses. Never in place: an array may be shared with others."""
        self.reads = _sum(self.reads, reads)
        self.writes = _sum(self.writes, writes)


def _sum(a: Quantity, b: Quantity) -> Quantity:
    """Adds two quantities; a plain 0 is no reason to go through an array."""
    if not is_array(b) and b == 0:
        return a
    return b if not is_array(a) and a == 0 else a + b


@dataclass(frozen=True, eq=False)
class StageCounts:
    """The actions of one stage.

    ``memories``: memory to tensor to :class:`Access`. ``registers``: Einsum to its own accesses; ``transfers``: what
    passes between units, by tensor, as the accesses of the sending and the receiving unit. ``operations``: Einsum
    to operator to count. ``steps``: Einsum to the steps that its unit takes, one point of every PE at a time;
    ``cycles``: Einsum to unit to its cycles, steps times the cycles of a point (what another unit performs is spread
    over all of its PEs); ``busy``: the same in PE-cycles; ``flows``: what passes between memories and units.
    """

    memories: Mapping[str, Mapping[str, Access]]
    registers: Mapping[str, RegisterAccess]
    transfers: tuple[Transfer, ...]
    operations: Mapping[str, Mapping[str, Quantity]]
    steps: Mapping[str, Quantity]
    cycles: Mapping[str, Mapping[str, Quantity]]
    busy: Mapping[str, Mapping[str, Quantity]]
    flows: tuple[Flow, ...] = ()


@dataclass(frozen=True, eq=False)
class Transfer:
    """A tensor that one Einsum makes and another, on another unit, takes from its registers.

    ``values`` cross once each. With ``multicast``, one value is delivered to several PEs; otherwise partial results of
    the sender's PEs are added on the way.
    """

    tensor: str
    maker: Work
    consumer: Work
    multicast: bool
    values: Quantity

    @property
    def sender(self) -> str:
        """The unit that it leaves."""
        return self.maker.unit.name

    @property
    def receiver(self) -> str:
        """The unit that it comes to."""
        return self.consumer.unit.name


@dataclass(eq=False)
class _Counter:
    """Collects the actions of one stage."""

    plan: Plan
    stage: Stage
    memories: dict[str, dict[str, Access]] = field(default_factory=dict)
    registers: dict[str, RegisterAccess] = field(default_factory=dict)
    transfers: list[Transfer] = field(default_factory=list)
    nest: dict[str, dict[str, Access]] = field(default_factory=dict)
    filled: dict[tuple[str, str, str], Quantity] = field(default_factory=dict)
    flows: list[Flow] = field(default_factory=list)

    def at(self, memory: str, tensor: str) -> Access:
        """The accesses of the nest that is being counted."""
        return self.nest.setdefault(memory, {}).setdefault(tensor, Access())


def count_stage(plan: Plan, stage: Stage) -> StageCounts:
    """Returns the actions of one stage of a plan."""
    counter = _Counter(plan, stage)
    operations: dict[str, dict[str, Quantity]] = {}
    steps: dict[str, Quantity] = {}
    cycles: dict[str, dict[str, Quantity]] = {}
    busy: dict[str, dict[str, Quantity]] = {}
    for number in stage.nests:
        for work in plan.works[number]:
            points = work.walk.points()
            here = work.walk.steps()
            each = cycles_per_point(work)
            present = walk_present(work)
            steps[work.name] = here
            cycles[work.name] = cycles_of(work, here, present)
            busy[work.name] = {work.unit.name: present * each}
            for operator, unit in work.elsewhere.items():
                spent = present * work.operators.get(operator, 0) * unit.cycles[operator]
                busy[work.name][unit.name] = busy[work.name].get(unit.name, 0) + spent
            operations[work.name] = {op: present * n for op, n in work.operators.items()}
            counter.flows += _asked(work, operations[work.name])
            _count_work(counter, number, work, points)
        _merge(counter, number)
    return StageCounts(counter.memories, counter.registers, tuple(counter.transfers), operations, steps, cycles, busy,
                       tuple(counter.flows))


def cycles_of(work: Work, steps: Quantity | None = None, present: Quantity | None = None) -> dict[str, Quantity]:
    """Returns the cycles that an Einsum takes on each unit: on its own one, and on those that perform operators for it."""
    found = {work.unit.name: (work.walk.steps() if steps is None else steps) * cycles_per_point(work)}
    for operator, unit in work.elsewhere.items():
        points = walk_present(work) if present is None else present
        spent = points * work.operators.get(operator, 0) * unit.cycles[operator]
        found[unit.name] = found.get(unit.name, 0) + spent / unit.pes
    return found


def cycles_per_point(work: Work) -> Quantity:
    """Returns the cycles that a PE of an Einsum's own unit spends on one point."""
    total: Quantity = 0
    for operator, n in work.operators.items():
        if operator not in work.absorbed and operator not in work.elsewhere:
            total = total + n * work.unit.cycles[operator]
    return total


def walk_present(work: Work) -> Quantity:
    """Returns the points that predicates leave, of those that an Einsum walks."""
    return work.walk.present((*work.frame.conditions, *work.frame.inside))


def _count_work(counter: _Counter, number: int, work: Work, points: Quantity) -> None:
    walk = work.walk
    registers = RegisterAccess(points * len(work.operands), points * len(work.results))
    for operand in work.operands:
        holder = _holder(counter, number, work, operand.tensor)
        if holder is None:
            _check_there(counter.plan, work, operand.tensor, walk.returning(operand, work.loops))
            _transfer(counter, work, operand)
            continue
        moved, delivered = walk.moved(operand, work.loops), walk.delivered(operand, work.loops)
        counter.at(holder, operand.tensor).add(reads=moved)
        registers.add(writes=delivered)
        counter.flows.append(Flow(holder, work.unit.name, operand.tensor, moved, delivered, _along(work, operand)))
        _fill(counter, number, work, operand)
    for result in work.results:
        _count_result(counter, number, work, result, points, registers)
    counter.registers[work.name] = registers


def _count_result(counter: _Counter, number: int, work: Work, result: Operand, points: Quantity, registers: RegisterAccess) -> None:
    walk = work.walk
    written, begun = walk.moved(result, work.loops), walk.delivered(result, work.loops)
    # A running sum is read back at every point but the first after it began.
    registers.add(reads=points - begun)
    holder = _home(counter, number, result.tensor)
    back = walk.returning(result, work.loops)
    if holder is None:
        _check_there(counter.plan, work, result.tensor, back)
        return
    counter.at(holder, result.tensor).add(reads=back, writes=written)
    # What comes back goes to one of the PEs that share the result; the others begin anew.
    registers.add(reads=back, writes=back)
    counter.flows.append(Flow(work.unit.name, holder, result.tensor, written, begun, _along(work, result), adding=True))
    counter.flows.append(Flow(holder, work.unit.name, result.tensor, back, back))
    _drain(counter, number, work, result)


def _check_there(plan: Plan, work: Work, tensor: str, back: Quantity) -> None:
    """Registers hold one tile: what is in no memory must not be needed again after others have come."""
    if not everywhere(back == 0):
        what = "its partial results leave" if any(o.tensor == tensor for o in work.results) else f"{tensor} has left"
        raise DesignError(f"design {plan.design.id!r}: Einsum {work.name!r}: {what} the registers when they are needed again, got "
                          f"loops {', '.join(work.loops)}; keep {tensor} in a memory, or move the loops over ranks that it lacks "
                          f"further in")


def _places(counter: _Counter, number: int, tensor: str) -> tuple[tuple[str, Kept], ...]:
    """The memories in which a nest keeps a tensor, innermost first."""
    kept = counter.plan.design.bindings[number].kept
    return tuple((memory, k) for memory in reversed(tuple(counter.plan.machine.memories)) for k in kept.get(memory, ())
                 if k.tensor == tensor)


def _beyond(counter: _Counter, tensor: str) -> str | None:
    """The outermost memory where a tensor comes from it or goes to it; None where it stays on the chip."""
    return counter.plan.machine.outermost.name if counter.plan.crosses(counter.stage, tensor) else None


def _home(counter: _Counter, number: int, tensor: str) -> str | None:
    """The memory that a result is written to; None where it stays in registers."""
    places = _places(counter, number, tensor)
    return places[0][0] if places else _beyond(counter, tensor)


def _holder(counter: _Counter, number: int, work: Work, tensor: str) -> str | None:
    """The memory that an operand is read from; None where it is taken from registers."""
    if work.name in work.binding.forward.get(tensor, ()):
        return None
    return _home(counter, number, tensor)


def _levels(counter: _Counter, number: int, tensor: str) -> Iterator[tuple[str, Kept, str]]:
    """Yields each memory that keeps a tensor, with the one further out that its tiles come from and go to."""
    places = _places(counter, number, tensor)
    further = (*(memory for memory, _ in places[1:]), _beyond(counter, tensor))
    for (memory, kept), outer in zip(places, further, strict=False):
        if outer is not None:
            yield memory, kept, outer


def _fill(counter: _Counter, number: int, work: Work, operand: Operand) -> None:
    """The tile that a memory keeps comes from the next one outwards, once for all Einsums of the nest that read it: as often as
    the one in most loops needs it."""
    if any(o.tensor == operand.tensor for w in counter.plan.works[number] for o in w.results):
        return
    for memory, kept, outer in _levels(counter, number, operand.tensor):
        values = work.walk.moved(operand, work.above(kept.at))
        key = memory, operand.tensor, outer
        counter.filled[key] = larger(counter.filled[key], values) if key in counter.filled else values


def _drain(counter: _Counter, number: int, work: Work, result: Operand) -> None:
    for memory, kept, outer in _levels(counter, number, result.tensor):
        above = work.above(kept.at)
        values, back = work.walk.moved(result, above), work.walk.returning(result, above)
        counter.at(memory, result.tensor).add(drains=values, fills=back)
        counter.at(outer, result.tensor).add(writes=values, reads=back)
        counter.flows += [Flow(memory, outer, result.tensor, values, values), Flow(outer, memory, result.tensor, back, back)]


def _transfer(counter: _Counter, work: Work, operand: Operand) -> None:
    plan = counter.plan
    maker = next((w for n in counter.stage.nests for w in plan.works[n] if any(o.tensor == operand.tensor for o in w.results)), None)
    if maker is None or maker.unit.name == work.unit.name:
        return
    if any(t.tensor == operand.tensor and t.receiver == work.unit.name for t in counter.transfers):
        return
    passed = Transfer(operand.tensor, maker, work, bool(frozenset(work.spread) - operand.walked), work.walk.distinct(operand, work.loops))
    counter.transfers.append(passed)
    if plan.machine.networks:
        own, what = (work, operand) if passed.multicast else (maker, next(o for o in maker.results if o.tensor == operand.tensor))
        counter.flows.append(Flow(passed.sender, passed.receiver, operand.tensor, passed.values, own.walk.held(what), _along(own, what),
                                  adding=not passed.multicast))


def _along(work: Work, operand: Operand) -> frozenset[str]:
    """The sides of its unit along which PEs have the same values of an operand."""
    return frozenset(side for part, sides in work.binding.spread[work.name].items() if part in work.parts and part not in operand.walked
                     for side in sides_of(sides))


def _asked(work: Work, operations: Mapping[str, Quantity]) -> Iterator[Flow]:
    """What passes to other units that perform operators of an Einsum, and back: a value each way for each."""
    for operator, unit in work.elsewhere.items():
        count = operations.get(operator, 0)
        yield Flow(work.unit.name, unit.name, work.name, count, count)
        yield Flow(unit.name, work.unit.name, work.name, count, count)


def active_pes(work: Work) -> Quantity:
    """Returns how many PEs work at a time, on average."""
    return work.walk.points() / work.walk.steps()


def _merge(counter: _Counter, number: int) -> None:
    """Adds a nest's accesses to the stage's. A share of what is kept did not fit: that share of the compute side's accesses
    goes on outwards, and of the tensor's own traffic the rest remains."""
    plan = counter.plan
    for (memory, tensor, outer), values in counter.filled.items():
        counter.at(memory, tensor).add(fills=values)
        counter.at(outer, tensor).add(reads=values)
        counter.flows.append(Flow(outer, memory, tensor, values, values))
    counter.filled.clear()
    for memory, kepts in plan.design.bindings[number].kept.items():
        for kept in kepts:
            share = spill_share(plan, counter.stage, number, memory, kept)
            if not is_array(share) and share == 0:
                continue
            outermost = plan.machine.outermost.name
            further = next((o for m, _, o in _levels(counter, number, kept.tensor) if m == memory), outermost)
            near, far = counter.at(memory, kept.tensor), counter.at(further, kept.tensor)
            reads, writes = share * (near.reads - far.reads), share * (near.writes - far.writes)
            far.add(reads=reads, writes=writes)
            counter.flows += [Flow(further, memory, kept.tensor, reads, reads), Flow(memory, further, kept.tensor, writes, writes)]
    for memory, tensors in counter.nest.items():
        for tensor, access in tensors.items():
            total = counter.memories.setdefault(memory, {}).setdefault(tensor, Access())
            total.add(access.reads, access.writes, access.fills, access.drains)
    counter.nest.clear()
