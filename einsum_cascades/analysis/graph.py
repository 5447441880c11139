"""The nodes that the pass analysis works on: Einsums and seeds with their reads as linear forms.

An iteration that encloses everything is unrolled here: :func:`nodes` takes the number of generations of each rank
to unroll, and gives one node for each Einsum of the loop and generation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product

from einsum_cascades.analysis.linear import Linear, linear, plus
from einsum_cascades.analysis.presence import Condition, presence
from einsum_cascades.dependencies import Loop
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Num, accesses, kept_coords, transform
from einsum_cascades.structure import Structure, structure


@dataclass(frozen=True, slots=True)
class Read:
    """One access of a node.

    ``forms`` are its indices as linear forms, ``kept`` the ranks that each index mentions itself. ``gathers`` names
    the ranks of dimensions that it reads at a computed index; ``steers`` those of dimensions that it is an index of.
    """

    access: Access
    forms: tuple[Linear | None, ...]
    kept: tuple[frozenset[str], ...]
    gathers: tuple[str | None, ...]
    steers: frozenset[str]
    earlier_slot: bool

    @property
    def tensor(self) -> str:
        """The tensor that is read."""
        return self.access.tensor


@dataclass(frozen=True, slots=True)
class Node:
    """An Einsum, a seed, or one generation of an unrolled Einsum.

    ``ranks`` are those that it iterates, named composites included; ``virtual`` those that it traverses by gathers
    only. ``forms`` are the indices of each output. ``bounds`` are its predicates as forms that are at most 0.
    """

    number: int
    einsum: Einsum
    seed: bool
    generation: tuple[tuple[str, int], ...]
    ranks: frozenset[str]
    virtual: frozenset[str]
    kept: frozenset[str]
    outputs: tuple[tuple[str, tuple[Linear | None, ...]], ...]
    reads: tuple[Read, ...]
    bounds: tuple[Linear, ...]
    loops: tuple[str, ...]

    @property
    def name(self) -> str:
        """What it is called in an explanation: its tensor, and the generation of an unrolled one."""
        return ("init " if self.seed else "") + self.einsum.name + "".join(f"({r}={v})" for r, v in self.generation)


def nodes(cascade: Cascade, generations: Mapping[str, int] | None = None) -> tuple[Node, ...]:
    """Returns the nodes of a cascade; ``generations`` gives how often the loops over a rank are unrolled."""
    found = structure(cascade)
    conditions = presence(cascade)
    unrolled = dict(generations or {})
    made: list[Node] = []
    seeds = frozenset(cascade.inits)
    for einsum, loops in _with_loops(found.schedule, ()):
        own = [r for r in dict.fromkeys(loops) if r in unrolled and r in einsum.ranks]
        for values in product(*(range(unrolled[r]) for r in own)):
            generation = tuple(zip(own, values, strict=True))
            made.append(_node(len(made), einsum, conditions[einsum], found, generation, loops, einsum in seeds,
                              unrolled))
    return tuple(made)


def _with_loops(steps: tuple[Einsum | Loop, ...], loops: tuple[str, ...]) -> Iterator[tuple[Einsum, tuple[str, ...]]]:
    for step in steps:
        if isinstance(step, Loop):
            yield from _with_loops(step.body, (*loops, step.rank))
        else:
            yield step, loops


def _node(number: int, einsum: Einsum, conditions: tuple[Condition, ...], found: Structure,
          generation: tuple[tuple[str, int], ...], loops: tuple[str, ...], seed: bool,
          unrolled: Mapping[str, int]) -> Node:
    fixed = {rank: Num(float(value)) for rank, value in generation}

    def change(expr: Expr) -> Expr:
        if not fixed and not unrolled:
            return expr

        def place(node: Expr) -> Expr:
            if isinstance(node, Coord):
                return fixed.get(node.rank, node)
            if not isinstance(node, (Num, Access, Call)) and node.rank in unrolled:
                return Num(float(unrolled[node.rank]))
            return node
        return transform(expr, place)

    gone = frozenset(fixed)
    outputs = tuple((out.tensor, tuple(linear(change(i)) for i in out.indices)) for out in einsum.outputs)
    reads = tuple(_reads(einsum, found, change))
    bounds = tuple(form for c in conditions if not c.bounds for form in _at_most_zero(change(c.expr)))
    ranks = frozenset(einsum.ranks) - gone
    virtual = frozenset(r for read in reads for r in read.gathers if r is not None) - ranks - gone
    return Node(number, einsum, seed, generation, _with_composites(ranks, found), virtual,
                _with_composites(frozenset(einsum.output_ranks) - gone, found), outputs, reads, bounds, loops)


def _with_composites(ranks: frozenset[str], found: Structure) -> frozenset[str]:
    """The ranks, and the composites of which every part is among them."""
    every = set(ranks)
    for _ in found.composites:
        every |= {name for name, parts in found.composites.items() if every >= set(parts)}
    return frozenset(every)


def _reads(einsum: Einsum, found: Structure, change: Callable[[Expr], Expr]) -> Iterator[Read]:
    outer = [*einsum.bodies, *((einsum.where,) if einsum.where is not None else ())]
    seen: set[tuple[Access, frozenset[str]]] = set()

    def visit(expr: Expr, steers: frozenset[str]) -> Iterator[Read]:
        for access in _outermost(expr):
            yield from one(access, steers)

    def one(access: Access, steers: frozenset[str]) -> Iterator[Read]:
        names = found.dimensions[access.tensor]
        gathers = tuple(name if accesses(index) else None for name, index in zip(names, access.indices, strict=True))
        for name, index in zip(gathers, access.indices, strict=True):
            yield from visit(index, steers | {name} if name is not None else steers)
        changed = change(access)
        assert isinstance(changed, Access)
        if (changed, steers) in seen:
            return
        seen.add((changed, steers))
        own = found.iterative.get(access.tensor)
        yield Read(changed, tuple(None if accesses(i) else linear(i) for i in changed.indices),
                   tuple(frozenset(kept_coords(i)) for i in changed.indices), gathers, steers,
                   own is not None and access.tensor in {o.tensor for o in einsum.outputs})

    for expr in outer:
        yield from visit(expr, frozenset())
    for out in einsum.outputs:
        for index in out.indices:
            yield from visit(index, frozenset())


def _outermost(expr: Expr) -> Iterator[Access]:
    match expr:
        case Access():
            yield expr
        case Call(args=args):
            for arg in args:
                yield from _outermost(arg)
        case _:
            return


def _at_most_zero(expr: Expr) -> Iterator[Linear]:
    """The forms f with f <= 0 that a comparison says; none where it is not linear."""
    match expr:
        case Call(op="lt" | "le" | "gt" | "ge" | "eq" as op, args=(left, right)):
            pass
        case _:
            return
    if op in ("gt", "ge"):
        left, right, op = right, left, "lt" if op == "gt" else "le"
    form = linear(Call("sub", (left, right)))
    if form is None:
        return
    yield plus(form, Linear(constant=1), 1) if op == "lt" else form
    if op == "eq":
        yield plus(Linear(), form, -1)
