"""Critical path: the depth of a cascade's dependence graph, in operator applications, with unbounded resources.

Each map counts 1 on the way from an operand to a result, where it works on values (as in ``operations``). A reduction
of n elements by an associative operator is a balanced tree and counts log2 of n, rounded up; by one that is not, a
chain that counts n - 1. A populate counts as a tree over what it orders. Recurrences are sequential: a generation
counts its longest way from the state that it reads to the state that it makes, as often as there are generations.
Recurrences over one rank in one direction overlap, generation by generation, unless one needs the other's last state.

This is the work-span model's span (Blelloch), with a cascade's Einsums for the program. The formula is an upper bound
where ways of different kinds meet (a state that is read two generations back, two directions that are combined) and
where predicates shorten a reduction; otherwise it is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

from einsum_cascades.analysis.operations import has_value
from einsum_cascades.dependencies import Loop
from einsum_cascades.indices import offset
from einsum_cascades.ir import Access, Call, Cascade, Einsum, Expr, accesses
from einsum_cascades.operators import POPULATES, reduction_operator
from einsum_cascades.structure import structure
from einsum_cascades.symbols import Formula, depth_of_tree, extent, formula, maximum, multiplied

Along = tuple[str, int]
"""A rank and a direction in which a depth grows: +1 with the coordinate, -1 against it."""


@dataclass(frozen=True)
class Depth:
    """``base``, and for each of ``slopes`` as much again for each coordinate along a rank."""

    base: Formula
    slopes: Mapping[Along, Formula] = field(default_factory=dict)

    def plus(self, more: Formula | int) -> Depth:
        """Returns the depth after some more operators."""
        return Depth(self.base + more, self.slopes)

    def flat(self, rank: str | None = None) -> Depth:
        """Returns the depth with its growth along a rank (all of them for None) taken to the end."""
        gone = {a: s for a, s in self.slopes.items() if rank is None or a[0] == rank}
        # Growth in the two directions of a rank is never at its end in both; what is larger counts.
        base = self.base
        for name in dict.fromkeys(a[0] for a in gone):
            ends = [s for a, s in gone.items() if a[0] == name]
            most = ends[0] if len(ends) == 1 else maximum(*ends)
            base = base + most * (extent(name) - 1)
        return Depth(base, {a: s for a, s in self.slopes.items() if a not in gone})

    def ended(self, rank: str, step: int) -> Depth:
        """Returns the depth with its growth along a rank in one direction taken to the end."""
        if (rank, step) not in self.slopes:
            return self
        return Depth(self.base + self.slopes[rank, step] * (extent(rank) - 1),
                     {a: s for a, s in self.slopes.items() if a != (rank, step)})


def deeper(a: Depth | None, b: Depth | None) -> Depth | None:
    """Returns the larger of two depths, bound by bound."""
    if a is None or b is None:
        return a if b is None else b
    if a == b:
        return a
    slopes = dict(a.slopes)
    for along, slope in b.slopes.items():
        slopes[along] = maximum(slopes[along], slope) if along in slopes else slope
    return Depth(maximum(a.base, b.base), slopes)


def critical_path(cascade: Cascade) -> Formula:
    """Returns the depth of the cascade, as a formula in the extents."""
    found = structure(cascade)
    made = _Depths(cascade).of_steps(found.schedule, {}, {}, _NOTHING)
    # What is read lies before what reads it; but of a recurrence, perhaps not the last state is read.
    ends = dict.fromkeys((*found.outputs, *found.iterative))
    return reduce(maximum, (made[tensor].flat().base for tensor in ends), formula(0))


Known = Mapping[str, Depth]
"""The depths of tensors; of a seed, under its tensor's name after ``init``."""

_NOTHING = Depth(formula(0))


class _Depths:
    """The depths of the results of Einsums, given those of what they read.

    ``earlier`` has the slots that a generation reads of the states of its recurrence. ``inputs`` is the depth of an
    input: 0, or None where only what depends on certain states counts.
    """

    def __init__(self, cascade: Cascade) -> None:
        self.cascade, self.found = cascade, structure(cascade)
        self.seeds = frozenset(cascade.inits)

    def of_steps(self, steps: tuple[Einsum | Loop, ...], known: Known, earlier: Known,
                 inputs: Depth | None) -> dict[str, Depth]:
        made: dict[str, Depth] = {}
        for step in steps:
            if isinstance(step, Loop):
                made |= self.of_loop(step, {**known, **made}, earlier, inputs)
                continue
            depth = self.of_einsum(step, {**known, **made}, earlier, inputs)
            for out in step.outputs if depth is not None else ():
                name = f"init {out.tensor}" if step in self.seeds else out.tensor
                made[name] = _sure(deeper(made.get(name), depth))
        return made

    def of_loop(self, loop: Loop, known: Known, earlier: Known, inputs: Depth | None) -> dict[str, Depth]:
        """A recurrence: how much a generation adds, where the first one ends, and so where all do."""
        states = [out.tensor for e in _einsums(loop) for out in e.outputs
                  if out.tensor in self.found.iterative and self.found.iterative[out.tensor].rank == loop.rank]
        along = loop.rank, loop.step
        # What depends on the state alone. Twice: a state may come to grow along other ranks.
        added: Known = dict.fromkeys(states, _NOTHING)
        for _ in range(2):
            before = {t: Depth(formula(0), added[t].slopes) for t in states if t in added}
            added = self.of_steps(loop.body, {}, before, None)
            if not any(added[t].slopes for t in states if t in added):
                break
        period = reduce(maximum, (added[t].base for t in states if t in added), formula(0))
        start = {t: known.get(f"init {t}", _NOTHING) for t in states}
        first = self.of_steps(loop.body, known, {**earlier, **start}, inputs)
        ends: dict[str, Depth] = {}
        for tensor in states:
            # What grows against the recurrence is at its end when it begins.
            end = _sure(deeper(first.get(tensor, start[tensor]).ended(loop.rank, -loop.step), Depth(formula(0), {
                **(added[tensor].slopes if tensor in added else {}), along: period})))
            ends[tensor] = _sure(deeper(end, start[tensor]))
            before[tensor] = _sure(deeper(start[tensor], Depth(end.base - end.slopes[along], end.slopes)))
        return {**self.of_steps(loop.body, known, {**earlier, **before}, inputs), **ends}

    def of_einsum(self, einsum: Einsum, known: Known, earlier: Known, inputs: Depth | None) -> Depth | None:
        def read(access: Access) -> Depth | None:
            depth: Depth | None = None
            for one in accesses(access):
                depth = deeper(depth, self.of_element(one, einsum, known, earlier, inputs))
            return depth

        def value(expr: Expr) -> Depth | None:
            if isinstance(expr, Access):
                return read(expr)
            depth: Depth | None = None
            for arg in expr.args if isinstance(expr, Call) else ():
                depth = deeper(depth, value(arg))
            return depth.plus(1) if depth is not None and has_value(expr) else depth

        depth = None if inputs is None else _NOTHING
        for body in einsum.bodies:
            depth = deeper(depth, value(body))
        indices = [index for out in einsum.outputs for index in out.indices]
        for expr in (*((einsum.where,) if einsum.where is not None else ()), *indices):
            for access in accesses(expr):
                depth = deeper(depth, read(access))
        return None if depth is None else depth.plus(self.of_reduction(einsum))

    def of_reduction(self, einsum: Einsum) -> Formula:
        total = depth_of_tree(multiplied(extent(r) for r in einsum.summed_ranks))
        head = einsum.reduction
        if head is None:
            return total
        elements = multiplied(extent(r) for r in head.ranks)
        operator = None if head.op in POPULATES else reduction_operator(head.op, self.cascade)
        return total + (depth_of_tree(elements) if operator is None or operator.associative else elements - 1)

    def of_element(self, access: Access, einsum: Einsum, known: Known, earlier: Known,
                   inputs: Depth | None) -> Depth | None:
        """The depth of what one access reads, along the ranks that the Einsum keeps."""
        tensor = access.tensor
        if tensor not in self.found.producers:
            return inputs
        own = self.found.iterative.get(tensor)
        depth = known.get(tensor)
        if own is not None and tensor in earlier and self.lag(access) != 0:
            depth = earlier[tensor]
        if depth is None:
            return None
        moved: dict[Along, Formula] = {}
        names = self.found.dimensions[tensor]
        for (rank, step), slope in depth.slopes.items():
            place = offset(access.indices[names.index(rank)]) if rank in names else None
            if (place is not None and not place.extents and place.rank in einsum.output_ranks
                    and abs(place.constant) <= 1):
                moved[place.rank, step] = slope
            else:
                depth = depth.flat(rank)
        return Depth(depth.base, moved)

    def lag(self, access: Access) -> int | None:
        """How many generations back an access of an iterative tensor goes; None where that is not a number."""
        own = self.found.iterative[access.tensor]
        written = next(o for o in self.found.producers[access.tensor].outputs if o.tensor == access.tensor)
        left, right = offset(written.indices[own.dimension]), offset(access.indices[own.dimension])
        if left is None or right is None or right.rank != left.rank or right.extents:
            return None
        return (left.constant - right.constant) * own.step


def _sure(depth: Depth | None) -> Depth:
    assert depth is not None
    return depth


def _einsums(loop: Loop) -> list[Einsum]:
    return [e for step in loop.body for e in (_einsums(step) if isinstance(step, Loop) else [step])]
