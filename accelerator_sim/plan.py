"""A plan: a design with every size resolved for one machine and shape, checked to fit.

This is what counts, latency and energy are computed from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from accelerator_sim.capacity import check_capacity, kept_bytes
from accelerator_sim.data import NOTHING, WORST, Case, Data
from accelerator_sim.design import Binding, Design, Size, Stage
from accelerator_sim.divisors import largest_divisor
from accelerator_sim.frame import EinsumFrame, Frame, Operand, make_frame
from accelerator_sim.machine import BITS_PER_BYTE, ComputeUnit, Machine
from accelerator_sim.operators import own_operators, per_point
from accelerator_sim.quantities import Quantity, ceil_div, chosen, everywhere, is_array, larger, smaller
from accelerator_sim.residency import depth_of
from accelerator_sim.segments import with_segments
from accelerator_sim.space import Space
from accelerator_sim.walk import Ties, Walk
from einsum_cascades.errors import DesignError, UnknownNameError
from einsum_cascades.ir import Cascade
from einsum_cascades.mapping import Nest
from einsum_cascades.operators import DTYPE_BITS
from einsum_cascades.structure import structure


@dataclass(frozen=True)
class Shape:
    """The shape that a cascade is evaluated at: the extent of each rank, and of the instances that repeat it.

    ``workload`` and ``seq_len`` name what the shape is of; designs with a table of mappings look them up. ``data`` is what is known
    of values; what depends on others counts in the ``case``: at worst, or expected.
    """

    extents: Mapping[str, int]
    instances: Mapping[str, int] = field(default_factory=dict)
    workload: str | None = None
    seq_len: int | None = None
    data: Data = NOTHING
    case: Case = WORST


@dataclass(frozen=True, eq=False, slots=True)
class Work:
    """One Einsum on its unit.

    ``walk`` is how it goes through its iteration space, ``operators`` the counts for each point, with ``absorbed`` those
    that take no cycle and ``elsewhere`` the units that perform others.
    """

    frame: EinsumFrame
    nest: Nest
    binding: Binding
    unit: ComputeUnit
    walk: Walk
    operators: Mapping[str, int]
    elsewhere: Mapping[str, ComputeUnit]

    @property
    def name(self) -> str:
        """The Einsum's name."""
        return self.frame.einsum.name

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of its iteration space, instances included."""
        return self.frame.parts

    @property
    def loops(self) -> tuple[str, ...]:
        """All its loops, outer to inner."""
        return self.frame.loops

    @property
    def spread(self) -> Mapping[str, Quantity]:
        """The PEs along the parts that are spread over its unit."""
        return self.walk.spread

    @property
    def operands(self) -> tuple[Operand, ...]:
        """Its distinct reads."""
        return self.frame.operands

    @property
    def results(self) -> tuple[Operand, ...]:
        """What it writes: one tensor, or several of an Einsum over tuples."""
        return self.frame.written

    def operand(self, tensor: str) -> Operand:
        """Returns its read of a tensor."""
        return next(o for o in self.operands if o.tensor == tensor)

    @property
    def absorbed(self) -> tuple[str, ...]:
        """Operators that take no cycle here."""
        return self.binding.absorbed.get(self.name, ())

    def above(self, at: str | None) -> tuple[str, ...]:
        """Returns its loops outside of a tile that lives inside the loop ``at`` (None: outside of all)."""
        return self.frame.above(self.nest, at)


@dataclass(frozen=True, eq=False)
class Plan:
    """A design for one machine and shape. ``spaces`` are the ranks as each nest cuts them, and ``works`` its Einsums in order;
    ``valid`` says where, of a batch, everything fits (True for a single point, which is refused otherwise)."""

    frame: Frame
    machine: Machine
    shape: Shape
    spaces: tuple[Space, ...]
    works: tuple[tuple[Work, ...], ...]
    valid: Quantity = True

    @property
    def space(self) -> Space:
        """The ranks as the first nest cuts them: all nests, where no nest says otherwise."""
        return self.spaces[0]

    @property
    def design(self) -> Design:
        """The design."""
        return self.frame.design

    @property
    def cascade(self) -> Cascade:
        """The cascade."""
        return self.frame.cascade

    def stage_works(self, stage: Stage) -> tuple[Work, ...]:
        """Returns the Einsums of a stage in order."""
        return tuple(w for n in stage.nests for w in self.works[n])

    def value_bytes(self, tensor: str) -> Quantity:
        """Returns the bytes of one value of a tensor: by its precision in the cascade, or the machine's."""
        kinds = dict(self.cascade.dtypes)
        return DTYPE_BITS[kinds[tensor]] / BITS_PER_BYTE if tensor in kinds else self.machine.value_bytes

    def crosses(self, stage: Stage, tensor: str) -> bool:
        """Returns whether a tensor comes from or goes to the outermost memory in a stage."""
        return tensor in self.frame.crossing[stage.name]


def make_plan(cascade: Cascade, design: Design, machine: Machine, shape: Shape, *, whole: bool = True) -> Plan:
    """Returns the plan of a cascade under a design, on a machine, at a shape. Sizes may be arrays, one element for each design
    point. A design that is not of the ``whole`` cascade places some of its Einsums; what passes between these and the others
    goes through the outermost memory.

    Raises: DesignError where the design fits neither the cascade nor the machine, CapacityError where what it keeps
        does not fit a memory; UnknownNameError for a name that the machine lacks.
    """
    frame = make_frame(cascade, design, whole)
    _check_units(design, machine)
    extents = _extents(frame, machine, shape)
    if structure(cascade).offsets:
        shape = replace(shape, data=with_segments(cascade, shape.data, extents))
    sizes: dict[str, Quantity] = {}
    free: list[tuple[str, Size]] = []
    for part, size in design.sizes.items():
        if part in shape.extents:
            sizes[part] = shape.extents[part]
        elif size.fits is not None:
            free.append((part, size))
        else:
            sizes[part] = _fixed(frame, machine, shape, part, size)
    if len(free) > 1:
        raise DesignError(f"design {design.id!r}: mapping.sizes: at most one size can be the largest that fits, got "
                          f"{', '.join(part for part, _ in free)}; give the others")

    def planned(sized: Mapping[str, Quantity]) -> Plan:
        spaces = _spaces(frame, machine, shape, extents, sized)
        return Plan(frame, machine, shape, spaces, _works(frame, machine, spaces, shape))

    for part, rule in free:
        sizes[part] = _largest(frame, machine, part, rule, sizes, extents,
                               tuple(planned({**sizes, part: n}) for n in (1, 2)))
    plan = planned(sizes)
    _check_partial(plan)
    valid = check_capacity(plan)
    return plan if valid is True else replace(plan, valid=valid)


def _spaces(frame: Frame, machine: Machine, shape: Shape, extents: Mapping[str, Quantity],
            sizes: Mapping[str, Quantity]) -> tuple[Space, ...]:
    """The ranks as each nest cuts them; nests that cut alike share one."""
    found: dict[int, Space] = {}
    made: dict[int, Space] = {}
    for stage in frame.design.stages:
        own = {part: _fixed(frame, machine, shape, part, size) for part, size in stage.sizes.items()}
        ours: dict[int, Space] = {}
        for number in stage.nests:
            parts, aliases = frame.parts[number], frame.aliases[number]
            if aliases:
                every = {**sizes, **own}
                found[number] = Space(extents, parts, {**every, **{a: every[p] for a, p in aliases.items() if p in every}})
            elif own:
                found[number] = ours.setdefault(id(parts), Space(extents, parts, {**sizes, **own}))
            else:
                found[number] = made.setdefault(id(parts), Space(extents, parts, sizes))
    return tuple(found[number] for number in sorted(found))


def _check_partial(plan: Plan) -> None:
    """An Einsum inside of a loop over a part that it lacks runs in one round of it; which one depends on the other parts where the
    tiles of the rank are not full."""
    if not plan.frame.partial:
        return
    spaces = {w.name: w.walk.space for works in plan.works for w in works}
    for einsum, lacking, part in plan.frame.partial:
        space = spaces[einsum]
        rank = space.whole(lacking)
        if not everywhere(space.extents[rank] % space.inside(space.parts[rank][0]) == 0):
            raise DesignError(f"design {plan.design.id!r}: Einsum {einsum!r}: it has part {part!r} of rank {rank!r} without {lacking!r}, a "
                              f"loop of its nest, and the last tile of the rank is not full, got an extent of "
                              f"{space.extents[rank]}; choose a size that divides it, or put the Einsum in a nest of its own")


def _check_units(design: Design, machine: Machine) -> None:
    place = f"design {design.id!r}"
    for binding in design.bindings:
        for einsum, name in binding.unit.items():
            unit = machine.unit(name, place)
            for side in (s for sides in binding.spread[einsum].values() for s in sides_of(sides)):
                if side not in unit.dimensions:
                    raise UnknownNameError(f"side of {name}", side, unit.dimensions, place=f"{place}: machine {machine.id!r}")
            for operator, other in binding.elsewhere.get(einsum, {}).items():
                if operator not in machine.unit(other, place).cycles:
                    raise UnknownNameError(f"operator of {other}", operator, machine.units[other].cycles,
                                           place=f"{place}: elsewhere.{einsum}")
            _check_sides(design, einsum, name, binding.spread[einsum])
        for memory in binding.kept:
            if memory not in machine.memories or memory == machine.outermost.name:
                inner = [m for m in machine.memories if m != machine.outermost.name]
                raise UnknownNameError("memory to keep tensors in", memory, inner, place=f"{place}: machine {machine.id!r}")
    _check_levels(design, machine)
    for stage in design.stages:
        for phase in stage.schedule.phases:
            if phase.drain is not None:
                machine.unit(phase.drain, place)
    for part, size in design.sizes.items():
        if size.fits is not None and size.fits not in machine.memories:
            raise UnknownNameError("memory", size.fits, machine.memories, place=f"{place}: mapping.sizes.{part}")


def _check_sides(design: Design, einsum: str, unit: str, spread: Mapping[str, str]) -> None:
    sides = [s for several in spread.values() for s in sides_of(several)]
    for part, side in ((p, s) for p, several in spread.items() for s in sides_of(several)):
        if sides.count(side) > 1:
            both = ", ".join(p for p, several in spread.items() if side in sides_of(several))
            raise DesignError(f"design {design.id!r}: Einsum {einsum!r}: a side of a unit takes one part of a rank, got {both} on side "
                              f"{side!r} of {unit}; spread {part!r} over another side, or not at all")


def _check_levels(design: Design, machine: Machine) -> None:
    """A tensor that is kept in several memories has larger tiles further out."""
    for number, binding in enumerate(design.bindings):
        depths: dict[str, tuple[int, str]] = {}
        for memory in machine.memories:
            for kept in binding.kept.get(memory, ()):
                depth = depth_of(design, number, kept.at)
                around, outer = depths.get(kept.tensor, (0, memory))
                if depth < around:
                    raise DesignError(f"design {design.id!r}: tensor {kept.tensor!r}: a tile lives in one of the memory further out, got "
                                      f"loop {kept.at!r} in {memory} outside of the loop in {outer}; keep it further in")
                depths[kept.tensor] = depth, memory


def _extents(frame: Frame, machine: Machine, shape: Shape) -> dict[str, Quantity]:
    """The extent of every rank: of the shape, or a number or path in the design's sizes."""
    design = frame.design
    found: dict[str, Quantity] = {}
    aliases = {a: r for own in frame.aliases for a, r in own.items()}
    for rank in dict.fromkeys(r for parts in frame.parts for r in parts if r not in aliases):
        # A rank that some nest does not cut has an extent of its own there.
        whole = any(parts[rank] == (rank,) for parts in frame.parts)
        if rank in design.mapping.instances:
            found[rank] = shape.instances.get(rank, 1)
        elif rank in shape.extents:
            found[rank] = shape.extents[rank]
        elif rank in design.sizes and whole:
            found[rank] = _fixed(frame, machine, shape, rank, design.sizes[rank])
        else:
            raise DesignError(f"design {design.id!r}: rank {rank!r} has no extent, got extents of "
                              f"{', '.join(shape.extents) or 'no rank'}; give it (--extent {rank}=...)")
    # Extents that only indices and predicates name.
    for rank, size in (*frame.cascade.extents, *shape.extents.items()):
        found.setdefault(rank, size)
    return found | {alias: found[rank] for alias, rank in aliases.items() if rank in found}


def _fixed(frame: Frame, machine: Machine, shape: Shape, part: str, size: Size) -> Quantity:
    value = size.value
    if isinstance(value, str):
        found = shape.extents[value] if value in shape.extents else machine.parameter(value)
        if not everywhere((found >= 1) & (found == found // 1)):
            raise DesignError(f"design {frame.design.id!r}: mapping.sizes.{part}: it should be a whole number of at least 1, got "
                              f"{value} = {'an array' if is_array(found) else f'{found:g}'}; name another parameter or give a number")
        return found
    if value is None:
        raise DesignError(f"design {frame.design.id!r}: mapping.sizes.{part}: a whole rank cannot be the largest that "
                          f"fits, got a rule; partition it")
    return value


def _largest(frame: Frame, machine: Machine, part: str, rule: Size, sizes: Mapping[str, Quantity],
             extents: Mapping[str, Quantity], plans: tuple[Plan, ...]) -> Quantity:
    """The most of the tiles left, or their largest divisor, for which what is kept fits: bytes are linear in the coordinates that
    the part spans."""
    rank, own = next((r, own) for parts in frame.parts for r, own in parts.items() if part in own)
    if len(own) < 2 or part != own[1]:
        raise DesignError(f"design {frame.design.id!r}: mapping.sizes.{part}: only the part next to the outermost can be the "
                          f"largest that fits, got parts {', '.join(own)}; give its size")
    tile: Quantity = 1
    for inner in own[2:]:
        tile = tile * sizes[inner]
    tiles = ceil_div(extents[rank], tile)
    assert rule.fits is not None
    one, two = (kept_bytes(plan, rule.fits, rule.of) for plan in plans)
    capacity = machine.memories[rule.fits].bytes
    if rule.at_most_bytes is not None:
        capacity = rule.at_most_bytes if capacity is None else smaller(capacity, rule.at_most_bytes)
    if capacity is None:
        return tiles
    # Coordinates in one tile and in two: the last one may not be full. A part of size 1 that does not fit either is refused with
    # everything else that does not.
    first, second = smaller(tile, extents[rank]), smaller(2 * tile, extents[rank])
    each = two - one
    fit = first + (capacity - one) * (second - first) // chosen(each > 0, each, 1)
    room = chosen((each > 0) & (fit < extents[rank]), fit // tile, tiles)
    most = larger(smaller(room, tiles), 1)
    return largest_divisor(tiles, most) if rule.divides else most


def _works(frame: Frame, machine: Machine, spaces: tuple[Space, ...], shape: Shape) -> tuple[tuple[Work, ...], ...]:
    design = frame.design
    found = []
    for nest, binding, frames, space in zip(design.mapping.nests, design.bindings, frame.einsums, spaces, strict=True):
        own = []
        for einsum in frames:
            name = einsum.einsum.name
            unit = machine.units[binding.unit[name]]
            named = {einsum.names.get(part, part): sides for part, sides in binding.spread[name].items()}
            spread = {part: _pes(unit, sides) for part, sides in named.items() if part in einsum.parts}
            others = {op: machine.units[u] for op, u in binding.elsewhere.get(name, {}).items()}
            operators = per_point(einsum.operators, einsum.sums_product, {**unit.cycles, **others},
                                  f"design {design.id!r}: Einsum {name!r}", unit.name, own_operators(frame.cascade))
            walk = Walk(name, space, einsum.parts, einsum.loops, spread, _ties(einsum, nest, binding, frames), einsum.leaves, einsum.halos,
                        shape.data, shape.case)
            own.append(Work(einsum, nest, binding, unit, walk, operators, others))
        found.append(tuple(own))
    return tuple(found)


def sides_of(text: str) -> tuple[str, ...]:
    """Returns the sides that a part is spread over together: ``cores*rows``."""
    return tuple(side.strip() for side in text.split("*"))


def _pes(unit: ComputeUnit, text: str) -> Quantity:
    sides = sides_of(text)
    total = unit.dimensions[sides[0]]
    for side in sides[1:]:
        total = total * unit.dimensions[side]
    return total


def _ties(einsum: EinsumFrame, nest: Nest, binding: Binding, frames: tuple[EinsumFrame, ...]) -> Ties | None:
    """An Einsum skips iterations that hold none of its points, and, where its nest does, those of the shared loops in which
    no Einsum with a predicate has any."""
    if einsum.conditions:
        return Ties(einsum.conditions, einsum.loops)
    drivers = [f.conditions for f in frames if f.conditions]
    if not binding.skip_empty or not drivers or any(set(d) != set(drivers[0]) for d in drivers):
        return None
    return Ties(drivers[0], tuple(x for x in nest.loops if x in einsum.loops))
