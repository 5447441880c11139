"""A plan: a design with every size resolved for one machine and shape, checked to fit.

This is what counts, latency and energy are computed from. Building it finds the tensors' ranks, where each tensor
lives, the tile that each memory keeps, and the sizes that are the largest that fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from accelerator_sim.design import OVERFLOW, Binding, Design, Kept, Size, Stage
from accelerator_sim.errors import CapacityError
from accelerator_sim.machine import BITS_PER_BYTE, ComputeUnit, Machine
from accelerator_sim.operators import per_point
from accelerator_sim.quantities import Quantity, ceil_div, chosen, everywhere, is_array, larger, smaller
from accelerator_sim.space import Space
from einsum_cascades.errors import DesignError, UnknownNameError, suggest
from einsum_cascades.ir import Access, Cascade, Einsum, unique
from einsum_cascades.mapping import Nest
from einsum_cascades.operators import DTYPE_BITS
from einsum_cascades.structure import structure


@dataclass(frozen=True)
class Shape:
    """The shape that a cascade is evaluated at: the extent of each rank, and of the instances that repeat it.

    ``workload`` and ``seq_len`` name what the shape is of; designs with a table of mappings look them up.
    """

    extents: Mapping[str, int]
    instances: Mapping[str, int] = field(default_factory=dict)
    workload: str | None = None
    seq_len: int | None = None


@dataclass(frozen=True)
class Operand:
    """One tensor that an Einsum reads or writes: ``parts`` are the parts of ranks that its index walks."""

    tensor: str
    parts: frozenset[str]


@dataclass(frozen=True, eq=False)
class Work:
    """One Einsum in its nest.

    ``loops`` are all its loops, outer to inner; ``spread`` the PEs along the parts that are spread over its unit.
    ``operands`` are the distinct reads of its bodies, ``result`` what it writes. ``operators`` are counts for each
    point. ``density`` is the share of points that predicates leave.
    """

    einsum: Einsum
    unit: ComputeUnit
    binding: Binding
    nest: Nest
    parts: tuple[str, ...]
    loops: tuple[str, ...]
    spread: Mapping[str, Quantity]
    operands: tuple[Operand, ...]
    result: Operand
    operators: Mapping[str, int]
    absorbed: tuple[str, ...]
    density: float

    @property
    def name(self) -> str:
        """The Einsum's name."""
        return self.einsum.name


@dataclass(frozen=True, eq=False)
class Plan:
    """A design for one machine and shape. ``works`` holds the Einsums of each nest in order; ``valid`` says where, of
    a batch of machines, everything fits (True for a single machine, which is refused otherwise)."""

    design: Design
    machine: Machine
    cascade: Cascade
    shape: Shape
    space: Space
    works: tuple[tuple[Work, ...], ...]
    valid: Quantity

    def stage_works(self, stage: Stage) -> tuple[Work, ...]:
        """Returns the Einsums of a stage in order."""
        return tuple(w for n in stage.nests for w in self.works[n])

    def value_bytes(self, tensor: str) -> Quantity:
        """Returns the bytes of one value of a tensor: by its precision in the cascade, or the machine's."""
        return _value_bytes(self.cascade, self.machine, tensor)

    def crosses(self, stage: Stage, tensor: str) -> bool:
        """Returns whether a tensor comes from or goes to the outermost memory in a stage."""
        return _crosses(self, stage, tensor)


def make_plan(cascade: Cascade, design: Design, machine: Machine, shape: Shape) -> Plan:
    """Returns the plan of a cascade under a design, on a machine, at a shape.

    Raises: DesignError where the design fits neither the cascade nor the machine, CapacityError where what it keeps
        does not fit a memory; UnknownNameError for a name that the machine lacks.
    """
    design.mapping.verify(cascade, source=f"design {design.id!r}")
    frame = _frame(cascade, design)
    _check_units(design, machine)
    extents = _extents(design, machine, shape, frame)
    plan, valid = _fitted(cascade, design, machine, shape, frame, extents)
    return plan if valid is True else Plan(plan.design, machine, cascade, shape, plan.space, plan.works, valid)


# --- what depends on the cascade and the design alone ---

@dataclass(frozen=True)
class _Frame:
    """Ranks and their parts, and for each Einsum its parts, loops, operands and operators."""

    parts: Mapping[str, tuple[str, ...]]
    instances: tuple[str, ...]
    einsums: Mapping[str, tuple[tuple[str, ...], tuple[Operand, ...], Operand]]


@lru_cache(maxsize=64)
def _frame_cached(cascade: Cascade, key: _Key) -> _Frame:
    return _build_frame(cascade, key.design)


@dataclass(frozen=True, eq=False)
class _Key:
    design: Design

    def __hash__(self) -> int:
        return id(self.design)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.design is self.design


def _frame(cascade: Cascade, design: Design) -> _Frame:
    return _frame_cached(cascade, _Key(design))


def _build_frame(cascade: Cascade, design: Design) -> _Frame:
    found = structure(cascade)
    mapping = design.mapping
    parts: dict[str, tuple[str, ...]] = {r: (r,) for r in mapping.instances}
    inside = {leaf for leaves in found.composites.values() for leaf in leaves}
    for rank in found.ranks:
        if rank not in inside:
            parts[rank] = mapping.partitions.get(rank, (rank,))
    for name in found.composites:
        if name not in inside:
            parts[name] = tuple(p for leaf in _leaves(name, found.composites)
                                for p in mapping.partitions.get(leaf, (leaf,)))
    _check_parts(design, parts)
    einsums = {}
    for einsum in cascade.einsums:
        if einsum.reduction is not None and einsum.reduction.into:
            raise _unsupported(design, einsum, f"{einsum.reduction.op}[...; ...]", "a populate")
        reads = tuple(Operand(a.tensor, _walked(design, einsum, a)) for b in einsum.bodies for a in _accesses(b))
        out = einsum.output
        einsums[einsum.name] = (mapping.parts(einsum), tuple(dict.fromkeys(reads)),
                                Operand(out.tensor, _walked(design, einsum, out)))
    return _Frame(parts, mapping.instances, einsums)


def _leaves(name: str, composites: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(leaf for part in composites[name]
                 for leaf in (_leaves(part, composites) if part in composites else (part,)))


def _check_parts(design: Design, parts: Mapping[str, tuple[str, ...]]) -> None:
    known = [p for own in parts.values() for p in own]
    for part in design.sizes:
        if part not in known:
            raise DesignError(f"design {design.id!r}: mapping.sizes: no rank has such a part, got {part!r}; "
                              f"{suggest(part, known)}")
    for own in parts.values():
        for part in own[1:]:
            if part not in design.sizes:
                raise DesignError(f"design {design.id!r}: mapping.sizes: part {part!r} has no size, got none; give the "
                                  f"extent of every part but the outermost")


def _walked(design: Design, einsum: Einsum, access: Access) -> frozenset[str]:
    walked: list[str] = []
    for index in access.indices:
        parts = design.mapping.parts_of_index(index)
        if parts is None:
            from einsum_cascades.printing import expr_text
            raise _unsupported(design, einsum, expr_text(access), "an index that is no rank, partition or slot")
        walked += parts
    return frozenset(walked)


def _unsupported(design: Design, einsum: Einsum, got: str, what: str) -> DesignError:
    return DesignError(f"design {design.id!r}: Einsum {einsum.name!r}: {what} has no action counts yet, got {got}; "
                       f"simulate a cascade without it")


def _accesses(body: object) -> tuple[Access, ...]:
    from einsum_cascades.ir import accesses
    return accesses(body)  # type: ignore[arg-type]


# --- extents and sizes ---

def _check_units(design: Design, machine: Machine) -> None:
    place = f"design {design.id!r}"
    for binding in design.bindings:
        for einsum, name in binding.unit.items():
            unit = machine.unit(name, place)
            for side in binding.spread[einsum].values():
                if side not in unit.dimensions:
                    raise UnknownNameError(f"side of {name}", side, unit.dimensions, place=f"{place}: machine {machine.id!r}")
        for memory in binding.kept:
            if memory not in machine.memories:
                raise UnknownNameError("memory", memory, machine.memories, place=f"{place}: machine {machine.id!r}")
    for stage in design.stages:
        for phase in stage.schedule.phases:
            if phase.drain is not None:
                machine.unit(phase.drain, place)


def _extents(design: Design, machine: Machine, shape: Shape, frame: _Frame) -> dict[str, Quantity]:
    """The extent of every rank: of the shape, or a number or path in the design's sizes."""
    found: dict[str, Quantity] = {}
    for rank, own in frame.parts.items():
        if rank in frame.instances:
            found[rank] = shape.instances.get(rank, 1)
        elif rank in shape.extents:
            found[rank] = shape.extents[rank]
        elif rank in design.sizes and own == (rank,):
            found[rank] = _fixed(design, machine, shape, rank, design.sizes[rank])
        else:
            raise DesignError(f"design {design.id!r}: rank {rank!r} has no extent, got extents of "
                              f"{', '.join(shape.extents) or 'no rank'}; give it (--extent {rank}=...)")
    return found


def _fixed(design: Design, machine: Machine, shape: Shape, part: str, size: Size) -> Quantity:
    value = size.value
    if isinstance(value, str):
        return shape.extents[value] if value in shape.extents else machine.parameter(value)
    if value is None:
        raise DesignError(f"design {design.id!r}: mapping.sizes.{part}: a whole rank cannot be the largest that fits, got "
                          f"a rule; partition it")
    return value


def _fitted(cascade: Cascade, design: Design, machine: Machine, shape: Shape, frame: _Frame,
            extents: dict[str, Quantity]) -> tuple[Plan, Quantity]:
    sizes: dict[str, Quantity] = {}
    free: list[tuple[str, Size]] = []
    for part, size in design.sizes.items():
        if size.fits is not None:
            free.append((part, size))
        else:
            sizes[part] = _fixed(design, machine, shape, part, size)
    if len(free) > 1:
        raise DesignError(f"design {design.id!r}: mapping.sizes: at most one size can be the largest that fits, got "
                          f"{', '.join(part for part, _ in free)}; give the others")

    def planned(sized: Mapping[str, Quantity]) -> Plan:
        space = Space(extents, frame.parts, sized)
        return Plan(design, machine, cascade, shape, space, _works(cascade, design, machine, frame, space, shape), True)

    if free:
        (part, rule), = free
        sizes[part] = _largest(part, rule, planned, sizes, frame, extents)
    plan = planned(sizes)
    return plan, _check_capacity(plan)


def _largest(part: str, rule: Size, planned: object, sizes: dict[str, Quantity], frame: _Frame,
             extents: Mapping[str, Quantity]) -> Quantity:
    """The largest divisor of the tiles left for which what is kept fits: bytes are linear in the size of one part."""
    assert callable(planned) and rule.fits is not None
    rank = next(r for r, own in frame.parts.items() if part in own)
    own = frame.parts[rank]
    if part != own[1]:
        raise DesignError(f"mapping.sizes.{part}: only the part next to the outermost can be the largest that fits, got "
                          f"{', '.join(own)}; reorder the parts")
    tile: Quantity = 1
    for inner in own[2:]:
        tile = tile * sizes[inner]
    tiles = ceil_div(extents[rank], tile)
    one, two = (_most_bytes(planned({**sizes, part: n}), rule) for n in (1, 2))
    machine = planned({**sizes, part: 1}).machine
    capacity = machine.memories[rule.fits].bytes
    if rule.at_most_bytes is not None:
        capacity = rule.at_most_bytes if capacity is None or rule.of else smaller(capacity, rule.at_most_bytes)
    each = two - one
    # Where nothing grows, everything fits or nothing does; a size of 1 is then checked like any other.
    room = chosen(each > 0, (capacity - (one - each)) // larger(each, 1), tiles)
    return _divisor(tiles, larger(smaller(room, tiles), 1))


def _divisor(whole: Quantity, most: Quantity) -> Quantity:
    """The largest divisor of ``whole`` that is at most ``most``."""
    if not is_array(whole) and not is_array(most):
        return max(d for d in _divisors(int(whole)) if d <= most)
    import numpy as np
    wholes, mosts = np.broadcast_arrays(np.asarray(whole), np.asarray(most))
    result = np.empty(wholes.shape, np.int64)
    values, place = np.unique(wholes, return_inverse=True)
    order = np.argsort(place, kind="stable")
    ends = np.cumsum(np.bincount(place, minlength=len(values)))
    start = 0
    for value, end in zip(values, ends, strict=True):
        rows = order[start:end]
        divisors = np.array(_divisors(int(value)))
        result[rows] = divisors[np.searchsorted(divisors, mosts[rows], side="right") - 1]
        start = end
    return result


@lru_cache(maxsize=65536)
def _divisors(n: int) -> tuple[int, ...]:
    small = [d for d in range(1, int(n ** 0.5) + 1) if n % d == 0]
    return tuple(sorted({*small, *(n // d for d in small)}))


# --- works ---

def _works(cascade: Cascade, design: Design, machine: Machine, frame: _Frame, space: Space,
           shape: Shape) -> tuple[tuple[Work, ...], ...]:
    einsums = {e.name: e for e in cascade.einsums}
    found = []
    for nest, binding in zip(design.mapping.nests, design.bindings, strict=True):
        own = []
        for name in nest.einsums:
            einsum = einsums[name]
            parts, operands, result = frame.einsums[name]
            unit = machine.units[binding.unit[name]]
            spread = {part: unit.dimensions[side] for part, side in binding.spread[name].items() if part in parts}
            own.append(Work(einsum, unit, binding, nest, (*frame.instances, *parts), design.mapping.loops_of(nest, einsum),
                            spread, operands, result, per_point(cascade, einsum, unit.cycles, f"design {design.id!r}", unit.name),
                            binding.absorbed.get(name, ()), _density(cascade, einsum, shape)))
        found.append(tuple(own))
    return tuple(found)


@lru_cache(maxsize=256)
def _filtered(cascade: Cascade) -> frozenset[str]:
    from einsum_cascades.analysis.presence import presence
    return frozenset(e.name for e, conditions in presence(cascade).items() if any(not c.bounds for c in conditions))


def _density(cascade: Cascade, einsum: Einsum, shape: Shape) -> float:
    """The share of an Einsum's points that predicates leave: energy is spent on these, time on all of them."""
    if einsum.name not in _filtered(cascade):
        return 1.0
    from einsum_cascades.analysis.counting import count
    from einsum_cascades.analysis.presence import presence
    ranks = [r for r in einsum.ranks]
    missing = [r for r in ranks if r not in shape.extents]
    if missing:
        raise DesignError(f"Einsum {einsum.name!r}: a predicate over a part that the design sizes cannot be counted, got "
                          f"rank {missing[0]!r}; give its extent (--extent {missing[0]}=...)")
    present = count(ranks, presence(cascade)[einsum], structure(cascade).composites, shape.extents).value.constant
    whole = 1
    for rank in ranks:
        whole *= shape.extents[rank]
    return float(present or 0) / whole


# --- what is kept where ---

def _value_bytes(cascade: Cascade, machine: Machine, tensor: str) -> Quantity:
    kinds = dict(cascade.dtypes)
    return DTYPE_BITS[kinds[tensor]] / BITS_PER_BYTE if tensor in kinds else machine.value_bytes


def _crosses(plan: Plan, stage: Stage, tensor: str) -> bool:
    found = structure(plan.cascade)
    if tensor in found.inputs or tensor in found.outputs or tensor in stage.off_chip:
        return True
    inside = {w.result.tensor for w in plan.stage_works(stage)}
    needed = {o.tensor for other in plan.design.stages if other is not stage
              for w in plan.stage_works(other) for o in w.operands}
    return tensor not in inside or tensor in needed


def above(work: Work, at: str | None) -> tuple[str, ...]:
    """Returns the loops of an Einsum outside of a tile that lives inside the loop ``at``."""
    if at is None:
        return ()
    if at in work.loops:
        return work.loops[:work.loops.index(at) + 1]
    # A loop that the Einsum lacks: those of the shared loops outside of it that the Einsum has.
    shared = work.nest.loops
    outer = shared[:shared.index(at) + 1] if at in shared else ()
    return tuple(x for x in work.loops if x in outer)


def tile_values(plan: Plan, stage: Stage, nest: int, kept: Kept) -> Quantity:
    """Returns how many values of a tensor one tile holds; an iterative tensor holds one generation."""
    iterative = structure(plan.cascade).iterative.get(kept.tensor)
    found: Quantity = 0
    for work in plan.works[nest]:
        outer = above(work, kept.at)
        for operand in (*work.operands, work.result):
            if operand.tensor != kept.tensor:
                continue
            parts = [p for p in operand.parts if iterative is None or p != iterative.rank]
            inside = [p for p in parts if p not in outer]
            # A loop that steps over PEs leaves as many coordinates inside as there are PEs.
            steps = [p for p in parts if p in outer and p in work.spread]
            size = plan.space.size(inside)
            for part in steps:
                size = size * smaller(work.spread[part], plan.space.extent(part))
            found = larger(found, size)
    return found


def footprints(plan: Plan, stage: Stage) -> Iterator[tuple[str, dict[str, Quantity]]]:
    """Yields, for each memory, the bytes that each tensor takes in a stage: tensors in place count once, in the name of
    the tensor whose room they take; shares that are spilled do not count."""
    memories = unique(tuple(m for n in stage.nests for m in plan.design.bindings[n].kept))
    for memory in memories:
        taken: dict[str, Quantity] = {}
        overflow: list[tuple[str, Quantity]] = []
        for n in stage.nests:
            for kept in plan.design.bindings[n].kept.get(memory, ()):
                size = tile_values(plan, stage, n, kept) * plan.value_bytes(kept.tensor)
                room = kept.in_place or kept.tensor
                if isinstance(kept.spill, str):
                    overflow.append((room, size))
                else:
                    taken[room] = larger(taken.get(room, 0), size * (1 - kept.spill))
        capacity = plan.machine.memories[memory].bytes
        left = None if capacity is None else capacity - sum(v for k, v in taken.items() if k not in dict(overflow))
        for room, size in overflow:
            fits = size if left is None else larger(smaller(size, left), 0)
            taken[room] = larger(taken.get(room, 0), fits)
        yield memory, taken


def spill_share(plan: Plan, stage: Stage, nest: int, memory: str, kept: Kept) -> Quantity:
    """Returns the share of a kept tensor's tile that does not fit."""
    if kept.spill != OVERFLOW:
        return kept.spill
    whole = tile_values(plan, stage, nest, kept) * plan.value_bytes(kept.tensor)
    inside = dict(footprints(plan, stage))[memory][kept.in_place or kept.tensor]
    return larger(1 - inside / whole, 0.0)


def _most_bytes(plan: Plan, rule: Size) -> Quantity:
    """The bytes that are kept in the rule's memory: the most of any stage."""
    most: Quantity = 0
    for stage in plan.design.stages:
        for memory, taken in footprints(plan, stage):
            if memory == rule.fits:
                total: Quantity = 0
                for room, size in taken.items():
                    if not rule.of or room in rule.of:
                        total = total + size
                most = larger(most, total)
    return most


def _check_capacity(plan: Plan) -> Quantity:
    valid: Quantity = True
    for stage in plan.design.stages:
        for memory, taken in footprints(plan, stage):
            capacity = plan.machine.memories[memory].bytes
            if capacity is None:
                continue
            total: Quantity = 0
            for size in taken.values():
                total = total + size
            fits = total <= capacity
            if is_array(fits):
                valid = fits if valid is True else valid & fits
            elif not everywhere(fits):
                raise CapacityError(_does_not_fit(plan, stage, memory, taken, total, capacity))
    return valid


def _does_not_fit(plan: Plan, stage: Stage, memory: str, taken: Mapping[str, Quantity], total: Quantity,
                  capacity: Quantity) -> str:
    largest = max(taken, key=lambda name: taken[name])
    return (f"design {plan.design.id!r}: stage {stage.name!r}: its tiles do not fit {memory} of machine "
            f"{plan.machine.id!r}, got {_bytes(total)} for {', '.join(f'{k} {_bytes(v)}' for k, v in _sorted(taken))} where "
            f"{_bytes(capacity)} are there; the largest is {largest}: use smaller tiles, or --set {memory}.bytes="
            f"{int(-(-total // 1))}")


def _sorted(taken: Mapping[str, Quantity]) -> Iterable[tuple[str, Quantity]]:
    return sorted(taken.items(), key=lambda item: -item[1])


def _bytes(value: Quantity) -> str:
    return f"{int(-(-value // 1))} bytes"
