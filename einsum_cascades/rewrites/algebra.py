"""Rings and signs: how sums and products of an expression are built and taken apart, from what maps declare.

A *ring* belongs to the map that combines a reduction's partial results: its product distributes over that map. Sums
have (+, *), with inverses - and /; maxima and minima have (max, +), with - as the inverse of +.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num
from einsum_cascades.operators import (
    MAPS,
    REDUCTIONS,
    MapOperator,
    ReductionOperator,
    inlined,
    map_operator,
    reduction_operator,
)


@dataclass(frozen=True, slots=True)
class Ring:
    """``add`` combines, ``sub`` is its inverse; ``mul`` distributes over it, ``div`` is the inverse of that."""

    add: str
    sub: str | None
    mul: str
    div: str | None
    zero: float
    one: float


@lru_cache(maxsize=64)
def ring_of(combine: str, cascade: Cascade | None = None) -> Ring | None:
    """Returns the ring of a combining map, or None where no map is declared to distribute over it."""
    own = map_operator(combine, cascade)
    if own is None or not own.associative or not own.commutative or own.identity is None:
        return None
    users = tuple(o.name for o in cascade.operators) if cascade is not None else ()
    for name in (*MAPS, *users):
        product = map_operator(name, cascade)
        if product is not None and name != combine and product.arity == 2 and product.associative \
                and product.commutative and product.identity is not None and product.distributes_over(combine, 0) \
                and product.distributes_over(combine, 1):
            return Ring(combine, own.inverse, name, product.inverse, own.identity, product.identity)
    return None


def reduction_by(combine: str, cascade: Cascade | None = None) -> str | None:
    """Returns the reduction whose partial results a map combines, or None."""
    users = tuple(o.name for o in cascade.operators) if cascade is not None else ()
    for name in (*REDUCTIONS, *users):
        found = reduction_operator(name, cascade)
        if found is not None and found.combine == combine and found.arity == 1:
            return name
    return None


def is_upper_bound(reduction: ReductionOperator | None, cascade: Cascade | None = None) -> bool:
    """Returns whether a reduction gives at least each of its elements, and no more than the largest."""
    combine = map_operator(reduction.combine, cascade) if reduction is not None and reduction.combine else None
    return (reduction is not None and combine is not None and reduction.idempotent and reduction.monotone
            and reduction.identity == (float("-inf"),) and combine.idempotent)


def upper_bound(cascade: Cascade | None = None) -> str:
    """Returns the reduction that gives the least upper bound of its elements."""
    return next(name for name, r in REDUCTIONS.items() if is_upper_bound(r, cascade))


def lower_bound(cascade: Cascade | None = None) -> str:
    """Returns the reduction that gives the greatest lower bound of its elements."""
    return next(name for name, r in REDUCTIONS.items() if r.idempotent and r.monotone and r.combine is not None
                and r.identity == (float("inf"),))


# --- building ---

Signed = tuple[tuple[int, Expr], ...]
"""Terms of a sum with their signs, or factors of a product with +1 above and -1 below the line."""


def chain(parts: Iterable[tuple[int, Expr]], forward: str, backward: str | None, identity: float) -> Expr:
    """Returns ``a forward b backward c``: parts with +1 come first where one exists, in order."""
    ordered = list(parts)
    first = next((i for i, (sign, _) in enumerate(ordered) if sign > 0), None)
    if first is None:
        made: Expr = Num(identity)
    else:
        made = ordered.pop(first)[1]
    for sign, part in ordered:
        assert sign > 0 or backward is not None
        made = Call(forward if sign > 0 else str(backward), (made, part))
    return made


def product_of(ring: Ring, factors: Iterable[tuple[int, Expr]]) -> Expr:
    """Returns a product; a factor of -1 divides. Factors that are the identity are left out."""
    kept = [(s, f) for s, f in factors if f != Num(ring.one)]
    return chain(kept, ring.mul, ring.div, ring.one)


def sum_of(ring: Ring, terms: Iterable[tuple[int, Expr]]) -> Expr:
    """Returns a sum; a term of -1 is subtracted."""
    kept = list(terms)
    if kept and all(sign < 0 for sign, _ in kept):
        negated = negation(ring)
        if negated is not None:
            made = chain([(1, t) for _, t in kept], ring.add, ring.sub, ring.zero)
            return Call(negated, (made,))
    return chain(kept, ring.add, ring.sub, ring.zero)


def negation(ring: Ring) -> str | None:
    """Returns the map that multiplies by -1 in a ring with an inverse of its sum."""
    return next((name for name, m in MAPS.items() if m.factor == -1.0), None) if ring.sub is not None else None


def flat(expr: Expr, forward: str, backward: str | None, cascade: Cascade | None,
         sign: int = 1) -> list[tuple[int, Expr]]:
    """Returns the parts of nested applications of a map, its inverse, and maps that negate, with their signs."""
    if isinstance(expr, Call):
        if expr.op == forward and len(expr.args) == 2:
            return [part for a in expr.args for part in flat(a, forward, backward, cascade, sign)]
        if backward is not None and expr.op == backward:
            above, below = expr.args
            return flat(above, forward, backward, cascade, sign) + flat(below, forward, backward, cascade, -sign)
        own = map_operator(expr.op, cascade)
        if own is not None and backward is not None and negates(own, forward):
            return flat(expr.args[0], forward, backward, cascade, -sign)
    return [(sign, expr)]


def negates(operator: MapOperator, combine: str) -> bool:
    """Returns whether a map multiplies by -1 and takes a sum by ``combine`` apart: -(a + b) = -a + -b."""
    found = operator.homomorphism(combine)
    return operator.factor == -1.0 and found is not None and found.target == combine


def expanded(call: Call, cascade: Cascade | None) -> Expr | None:
    """Returns the definition of a cascade's own map with its arguments in place, or None for a map of the table."""
    operator = map_operator(call.op, cascade)
    return inlined(operator.user, call.args)[0] if operator is not None and operator.user is not None else None


def whole_power(operator: MapOperator, args: Sequence[Expr], product: str) -> int:
    """Returns how often a map combines its first operand with itself by ``product``, 0 where it is no whole power of
    it."""
    if operator.power_of != product:
        return 0
    if operator.power > 0:
        return operator.power
    if operator.power < 0 and len(args) == 2 and isinstance(args[1], Num):
        value = args[1].value
        return int(value) if value == int(value) and 1 <= value <= 4 else 0
    return 0


# --- signs ---

def nonnegative(expr: Expr, producers: Mapping[str, Einsum], cascade: Cascade | None = None, depth: int = 12) -> bool:
    """Returns whether an expression is certainly at least 0, from what its operators declare."""
    match expr:
        case Num(value=value):
            return value >= 0
        case Coord() | Extent():
            return True
        case Access(tensor=tensor, fill=fill):
            line = producers.get(tensor)
            return line is not None and depth > 0 and (fill is None or fill >= 0) \
                and _line(line, producers, cascade, depth - 1)
        case Call(op=op, args=args):
            found = map_operator(op, cascade)
            if found is None:
                return False
            if found.minimum >= 0 or found.kind != "value":
                return True
            return found.keeps_nonnegative and all(
                nonnegative(a, producers, cascade, depth) for a in (args[1:] if found.selects else args))


def _line(line: Einsum, producers: Mapping[str, Einsum], cascade: Cascade | None, depth: int) -> bool:
    if len(line.outputs) != 1 or line.reads and any(a.tensor == line.name for a in line.reads):
        return False
    if line.reduction is not None:
        found = reduction_operator(line.reduction.op, cascade)
        if found is None or line.reduction.into or min(found.identity) < 0:
            return False
        if found.index or found.merged_by:
            return True
        combine = map_operator(found.combine, cascade) if found.combine is not None else None
        if combine is not None and not combine.keeps_nonnegative and combine.kind != "logic":
            return False
        if combine is None and not found.parts:
            return False
    return nonnegative(line.body, producers, cascade, depth)
