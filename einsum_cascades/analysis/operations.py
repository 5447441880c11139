"""Operations of a cascade by class: rule 9 of the notation.

A map counts one of its operator for each present point of its Einsum's iteration space; a reduction of n present
elements counts n of its operator; what is filtered, and what lies beyond the end of a partitioned rank, counts
nothing. Operators on constants and on coordinates alone are not counted: they are known before anything runs, and
neither are indices and predicates. ``mean`` and other reductions without a combining map are classes of their own.
Where a predicate depends on data, or no closed form is known, the count is an upper bound and says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from einsum_cascades.analysis.counting import Count, count
from einsum_cascades.analysis.presence import Condition, presence
from einsum_cascades.ir import Access, Call, Cascade, Einsum, Expr
from einsum_cascades.operators import POPULATES, map_operator, reduction_operator
from einsum_cascades.structure import Structure, structure
from einsum_cascades.symbols import Formula, formula


@dataclass(frozen=True)
class Operations:
    """Counts by class for the whole cascade and for each Einsum; ``bounds`` names the Einsums whose counts are
    upper bounds."""

    total: Mapping[str, Formula]
    einsums: Mapping[str, Mapping[str, Formula]]
    bounds: tuple[str, ...]


def count_operations(cascade: Cascade, extents: Mapping[str, int] | None = None) -> Operations:
    """Returns the operations of a cascade as formulas; numbers where all ``extents`` are given."""
    found = structure(cascade)
    conditions = presence(cascade)
    total: dict[str, Formula] = {}
    einsums: dict[str, dict[str, Formula]] = {}
    bounds: list[str] = []
    for number_of, einsum in enumerate((*cascade.inits, *cascade.einsums)):
        own: dict[str, Formula] = {}
        for name, number in _of_einsum(einsum, conditions[einsum], found, cascade, extents):
            if not number.exact and einsum.name not in bounds:
                bounds.append(einsum.name)
            own[name] = own.get(name, formula(0)) + number.value
            total[name] = total.get(name, formula(0)) + number.value
        einsums["init " * (number_of < len(cascade.inits)) + einsum.name] = own
    return Operations(total, einsums, tuple(bounds))


def operations(cascade: Cascade, extents: Mapping[str, int] | None = None) -> dict[str, int | str]:
    """Returns the operations of a cascade by class: numbers, or formulas such as ``"P*M*E"`` without extents."""
    order = extent_order(cascade)
    return {name: value.plain(order) for name, value in count_operations(cascade, extents).total.items()}


def extent_order(cascade: Cascade) -> list[str]:
    """Returns the extents in the order in which formulas name them: by first appearance, a composite before its
    parts."""
    found = structure(cascade)
    order: list[str] = []
    for rank in found.ranks:
        order += [name for name, parts in found.composites.items() if rank in parts]
        order.append(rank)
    return [r.upper() for r in dict.fromkeys(order)]


def _of_einsum(einsum: Einsum, conditions: tuple[Condition, ...], found: Structure, cascade: Cascade,
               extents: Mapping[str, int] | None) -> Iterator[tuple[str, Count]]:
    head = einsum.reduction
    made = set(head.into) if head is not None else set()
    ranks = tuple(r for r in einsum.ranks if r not in made)
    points = count(ranks, conditions, found.composites, extents)
    for body in einsum.bodies:
        for call in counted_calls(body):
            operator = map_operator(call.op, cascade)
            for name in operator.cost if operator is not None else (call.op,):
                yield name, points
    summed = einsum.summed_ranks
    if summed:
        for _ in einsum.bodies:
            yield "add", points
    if head is None:
        return
    if summed:
        points = count(tuple(r for r in ranks if r not in summed), conditions, found.composites, extents)
    if head.op in POPULATES:
        yield POPULATES[head.op].counts, points
    else:
        reduction = reduction_operator(head.op, cascade)
        yield (reduction.counts or head.op) if reduction is not None else head.op, points


def counted_calls(expr: Expr) -> Iterator[Call]:
    """Yields the operators of an expression that work on values: not those inside indices, nor on constants."""
    if isinstance(expr, Call) and has_value(expr):
        yield expr
        for arg in expr.args:
            yield from counted_calls(arg)


def has_value(expr: Expr) -> bool:
    """Returns whether an expression depends on a tensor other than through indices."""
    match expr:
        case Access():
            return True
        case Call(args=args):
            return any(has_value(a) for a in args)
    return False
