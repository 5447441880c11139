"""What stays the same of each Einsum of a stage: its unit, loops, operators, and what it moves in an epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accelerator_sim.design import Binding, Kept
from accelerator_sim.events.inputs import Inputs
from accelerator_sim.events.tiles import Cuts, Range, parts_of, ranks_of, values_in
from accelerator_sim.machine import ComputeUnit
from accelerator_sim.operators import counted, own_operators, per_point
from accelerator_sim.plan import sides_of
from einsum_cascades.errors import DesignError
from einsum_cascades.ir import Access, Einsum, accesses
from einsum_cascades.structure import Structure


@dataclass(frozen=True, eq=False)
class Piece:
    """An Einsum on its unit. ``order`` are all its loops, ``inner`` those that are its own; ``cycles`` of one point on its unit,
    ``elsewhere`` the PE-cycles of one point on other units, ``tail`` the cycles until the last result is there."""

    einsum: Einsum
    nest: int
    binding: Binding
    unit: ComputeUnit
    parts: frozenset[str]
    spread: Mapping[str, int]
    order: tuple[str, ...]
    inner: tuple[str, ...]
    reads: tuple[Access, ...]
    cycles: float
    elsewhere: Mapping[str, float]
    asked: int
    tail: float

    @property
    def name(self) -> str:
        """The Einsum's name."""
        return self.einsum.name


def make_piece(inputs: Inputs, einsum: Einsum, nest_number: int, loops: Sequence[str]) -> Piece:
    """Returns an Einsum of a nest, inside the ``loops`` that the stage shares."""
    mapping, machine = inputs.design.mapping, inputs.machine
    binding, nest = inputs.design.bindings[nest_number], inputs.design.mapping.nests[nest_number]
    unit = machine.units[binding.unit[einsum.name]]
    spread = {part: math.prod(int(unit.dimensions[s]) for s in sides_of(sides)) for part, sides in binding.spread[einsum.name].items()}
    order = tuple(x for x in mapping.loops_of(nest, einsum) if x not in mapping.instances)
    parts = parts_of(einsum, inputs.cuts)
    _check_leaves(inputs, einsum, parts)
    _check_order(inputs, einsum, order)
    others = {op: machine.units[u] for op, u in binding.elsewhere.get(einsum.name, {}).items()}
    operators = per_point(*counted(inputs.cascade, einsum), {**unit.cycles, **others}, f"Einsum {einsum.name!r}", unit.name,
                          own_operators(inputs.cascade))
    absorbed = binding.absorbed.get(einsum.name, ())
    cycles = tail = 0.0
    elsewhere: dict[str, float] = {}
    asked = 0
    for operator, n in operators.items():
        place = others.get(operator, unit)
        if operator in others:
            elsewhere[place.name] = elsewhere.get(place.name, 0.0) + n * float(place.cycles[operator])
            asked += n
        elif operator not in absorbed:
            cycles += n * float(unit.cycles[operator])
        if operator in others or operator not in absorbed:
            tail += n * float(place.latency_of(operator) - place.cycles[operator])
    reads = tuple(dict.fromkeys(a for body in einsum.bodies for a in accesses(body)))
    return Piece(einsum, nest_number, binding, unit, parts, {p: n for p, n in spread.items() if p in parts}, order,
                 tuple(x for x in order if x not in loops), reads, cycles, elsewhere, asked, tail)


def _check_leaves(inputs: Inputs, einsum: Einsum, parts: frozenset[str]) -> None:
    cut = sorted(p for p in parts if p not in inputs.cuts.rank_of)
    if cut:
        raise DesignError(f"design {inputs.design.id!r}: Einsum {einsum.name!r}: events cut no part further that the cascade itself cuts, got "
                          f"parts of {cut[0]!r}; use --timing analytic")


def _check_order(inputs: Inputs, einsum: Einsum, order: Sequence[str]) -> None:
    cuts = inputs.cuts
    for rank in dict.fromkeys(cuts.rank_of[x] for x in order):
        walked = [x for x in order if cuts.rank_of[x] == rank]
        if walked != [x for x in cuts.parts[rank] if x in walked]:
            raise DesignError(f"design {inputs.design.id!r}: Einsum {einsum.name!r}: events go through the parts of a rank from the outer to "
                              f"the inner, got loops {', '.join(walked)}; use --timing analytic")


# --- what an access walks and moves ---


def walked_parts(access: Access, cuts: Cuts) -> frozenset[str]:
    """Returns the parts of ranks that an access mentions."""
    if id(access) not in cuts.walked:
        cuts.walked[id(access)] = access, frozenset(p for i in access.indices for r in ranks_of(i) for p in cuts.parts.get(r, (r,)))
    return cuts.walked[id(access)][1]


def lengths_of(access: Access, found: Structure, cuts: Cuts) -> list[int | None]:
    """Returns the length of each dimension of a tensor, where a rank says it."""
    return [None if r is None else cuts.extents.get(r) for r in found.dimensions[access.tensor]]


def points(piece: Piece, ranges: Mapping[str, Range], cuts: Cuts) -> int:
    """Returns the points of an Einsum inside ranges of whole ranks."""
    total = 1
    for rank in dict.fromkeys(cuts.rank_of[p] for p in piece.parts):
        here = [p for p in cuts.parts[rank] if p in piece.parts]
        first, end = ranges[rank]
        total *= -(-(end - first) // cuts.inside[here[-1]]) if here[-1] != cuts.parts[rank][-1] else \
            _inside(end - first, here, cuts, rank)
    return total


def _inside(length: int, here: Sequence[str], cuts: Cuts, rank: str) -> int:
    """The coordinates of inner parts alone, whatever outer parts there are."""
    outer = cuts.parts[rank][:cuts.parts[rank].index(here[0])]
    return length if not outer else min(length, cuts.inside[outer[-1]])


@dataclass(frozen=True, eq=False, slots=True)
class Passing:
    """What passes through a tile in one epoch: ``values`` in all, of them ``distinct``; ``advances`` says that the tile changes within
    the epoch."""

    values: float
    distinct: float
    advances: bool


def passing(piece: Piece, access: Access, ranges: Mapping[str, Range], inner: Sequence[str], cuts: Cuts,
            lengths: Sequence[int | None]) -> Passing:
    """Returns what passes through a tile inside some of an Einsum's own loops: all of it once for each loop over another rank
    that comes outside of one that advances."""
    walked = walked_parts(access, cuts)
    values = float(values_in(access, ranges, cuts, lengths))
    advances, times = False, 1
    for loop in reversed(inner):
        count = rounds_of(piece, loop, ranges, cuts)
        if loop in walked:
            advances = advances or count > 1
        elif advances:
            times *= count
    return Passing(values * times, values, advances)


def rounds_of(piece: Piece, loop: str, ranges: Mapping[str, Range], cuts: Cuts) -> int:
    """Returns the rounds of one of an Einsum's own loops inside ranges of ranks."""
    rank = cuts.rank_of[loop]
    first, end = ranges[rank]
    around = [x for x in piece.inner[:piece.inner.index(loop)] if cuts.rank_of[x] == rank]
    length = min(end - first, cuts.inside[around[-1]] if around else end - first)
    return math.ceil(length / (cuts.inside[loop] * piece.spread.get(loop, 1)))


def copies_of(piece: Piece, access: Access, ranges: Mapping[str, Range], cuts: Cuts) -> float:
    """Returns how many PEs have each value of an access, on average."""
    walked, total = walked_parts(access, cuts), 1.0
    for part, pes in piece.spread.items():
        if part not in walked:
            first, end = ranges[cuts.rank_of[part]]
            count = -(-(end - first) // cuts.inside[part])
            total *= count / math.ceil(count / pes)
    return total


def places_of(inputs: Inputs, nest: int, tensor: str) -> tuple[tuple[str, Kept], ...]:
    """Returns the memories in which a nest keeps a tensor, innermost first."""
    kept = inputs.design.bindings[nest].kept
    return tuple((memory, k) for memory in reversed(tuple(inputs.machine.memories)) for k in kept.get(memory, ()) if k.tensor == tensor)
