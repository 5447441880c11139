"""Offsets of ragged segments: inputs that bound a coordinate from below at a rank and from above one further.

``where Off[s] <= t and t < Off[s + 1]`` reads the start of segment s and that of the next one, which is its end. The
last segment has an end too: the tensor has one entry more than there are segments, although s names it alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from einsum_cascades.indices import composite
from einsum_cascades.ir import Access, Call, Cascade, Coord, Expr, Num, children, kept_coords


def segment_offsets(cascade: Cascade, inputs: Collection[str]) -> dict[tuple[str, int], str]:
    """Returns the dimensions of inputs that hold offsets, and the rank whose segments they bound.

    Such a dimension is read at ``s`` where a comparison bounds a coordinate from below, and at ``s + 1`` where one
    bounds it from above, be it ``Off[s] <= t and t < Off[s + 1]`` or ``j < Off[s + 1] - Off[s]``.
    """
    below: dict[tuple[str, int], set[str]] = {}
    above: dict[tuple[str, int], set[str]] = {}
    for einsum in (*cascade.einsums, *cascade.inits):
        for expr in (*einsum.bodies, *((einsum.where,) if einsum.where is not None else ())):
            for access, sign in _bounds(expr, 1):
                if access.tensor not in inputs or access.fill is not None:
                    continue
                for d, index in enumerate(access.indices):
                    if sign > 0 and (rank := whole_rank(index)) is not None:
                        below.setdefault((access.tensor, d), set()).add(rank)
                    elif sign < 0 and (rank := _after(index)) is not None:
                        above.setdefault((access.tensor, d), set()).add(rank)
    return {place: min(both) for place, ranks in below.items() if (both := ranks & above.get(place, set()))}


def whole_rank(index: Expr) -> str | None:
    """Returns the rank that an index goes through by itself: that of a coordinate, or the composite of its parts."""
    if isinstance(index, Coord):
        return index.rank
    made = composite(index)
    return made.name if made is not None else None


def _after(index: Expr) -> str | None:
    """The rank of an index that is one further."""
    match index:
        case Call(op="add", args=(inner, Num(value=1.0))) | Call(op="add", args=(Num(value=1.0), inner)):
            return whole_rank(inner)
    return None


def _bounds(expr: Expr, sign: int) -> Iterator[tuple[Access, int]]:
    """The accesses that bound a coordinate: from below (1) or from above (-1), turned by each ``not`` around them."""
    match expr:
        case Call(op="not", args=(inner,)):
            yield from _bounds(inner, -sign)
        case Call(op="lt" | "le", args=(small, large)) if kept_coords(expr):
            yield from _terms(small, sign)
            yield from _terms(large, -sign)
        case Call(op="gt" | "ge", args=(large, small)) if kept_coords(expr):
            yield from _terms(small, sign)
            yield from _terms(large, -sign)
        case _:
            for child in children(expr):
                yield from _bounds(child, sign)


def _terms(expr: Expr, sign: int) -> Iterator[tuple[Access, int]]:
    """The accesses of a sum with their signs."""
    match expr:
        case Access():
            yield expr, sign
        case Call(op="add" | "sub" as op, args=(left, right)):
            yield from _terms(left, sign)
            yield from _terms(right, sign if op == "add" else -sign)
        case Call(op="neg", args=(inner,)):
            yield from _terms(inner, -sign)
        case _:
            return
