"""Which points of an Einsum are present: its predicate, the support of what it reads, and coordinates that exist.

Rule 3 of the notation: a map is absent where any operand is. A predicate on ranks that the left side keeps
belongs to the support of its tensor; one that mentions a reduced rank only skips terms, since a reduction over
nothing still gives its identity. A slot of an iterative tensor is always present.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from einsum_cascades.indices import bounding_rank
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, accesses, coords, transform
from einsum_cascades.ir import conjuncts as parts
from einsum_cascades.structure import Structure, structure

_NEGATED = {"lt": "ge", "le": "gt", "gt": "le", "ge": "lt", "eq": "ne", "ne": "eq"}
_MOST = 24
"""Conditions that one tensor hands on; a longer list would be the same ones over again."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One conjunct of presence. ``bounds`` says that it keeps an index inside its dimension."""

    expr: Expr
    bounds: bool = False


def presence(cascade: Cascade) -> Mapping[Einsum, tuple[Condition, ...]]:
    """Returns the conditions under which a point of each Einsum and seed is present."""
    found = structure(cascade)
    supports: dict[str, tuple[tuple[str, ...], tuple[Condition, ...]]] = {}
    result: dict[Einsum, tuple[Condition, ...]] = {}
    for einsum in (*cascade.inits, *found.order):
        own = _conditions(einsum, found, supports)
        result[einsum] = own
        kept = set(einsum.output_ranks)
        passed = tuple(c for c in own if set(coords(c.expr)) <= kept)[:_MOST]
        for out in einsum.outputs:
            if passed and out.tensor not in found.iterative and all(isinstance(i, Coord) for i in out.indices):
                supports[out.tensor] = tuple(i.rank for i in out.indices if isinstance(i, Coord)), passed
    return result


def _conditions(einsum: Einsum, found: Structure,
                supports: Mapping[str, tuple[tuple[str, ...], tuple[Condition, ...]]]) -> tuple[Condition, ...]:
    conditions = [Condition(c) for c in conjuncts(einsum.where)]
    for access in value_reads(einsum):
        if access.fill is not None:
            continue
        conditions += _inside(access, found)
        if access.tensor in supports:
            names, passed = supports[access.tensor]
            table = dict(zip(names, access.indices, strict=True))
            conditions += [Condition(_placed(c.expr, table), c.bounds) for c in passed]
    return tuple(dict.fromkeys(conditions))


def _placed(condition: Expr, indices: Mapping[str, Expr]) -> Expr:
    """A condition on the coordinates of a tensor, at the indices of an access."""
    return transform(condition, lambda node: indices.get(node.rank, node) if isinstance(node, Coord) else node)


def value_reads(einsum: Einsum) -> tuple[Access, ...]:
    """Returns the reads whose absence makes the point absent: those of the bodies."""
    return tuple(dict.fromkeys(a for body in einsum.bodies for a in accesses(body)))


def _inside(access: Access, found: Structure) -> list[Condition]:
    own = found.iterative.get(access.tensor)
    conditions = []
    for d, (index, rank) in enumerate(zip(access.indices, found.dimensions[access.tensor], strict=True)):
        if isinstance(index, (Coord, Num, Extent, Access)) or rank is None or not coords(index):
            continue
        if own is not None and own.dimension == d:
            continue
        if accesses(index) or bounding_rank(index) == rank:
            continue
        conditions.append(Condition(Call("le", (Num(0.0), index)), True))
        conditions.append(Condition(Call("lt", (index, Extent(rank.upper()))), True))
    return conditions


def conjuncts(where: Expr | None) -> tuple[Expr, ...]:
    """Returns a predicate as the parts that must all hold, a comparison that must not hold as its opposite."""
    return tuple(Call(_NEGATED[e.args[0].op], e.args[0].args)
                 if isinstance(e, Call) and e.op == "not" and isinstance(e.args[0], Call) and e.args[0].op in _NEGATED else e
                 for e in parts(where))
