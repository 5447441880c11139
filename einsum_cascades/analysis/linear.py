"""Index and predicate expressions read as linear forms, and bounds of their distance to a coordinate."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from einsum_cascades.indices import composite
from einsum_cascades.ir import Access, Call, Coord, Expr, Extent, Num, coords, walk

Symbol = Hashable
"""The rank of an extent (a string), or an expression without coordinates (a scalar tensor, ``J//2``)."""

FAR = 10**6
"""Stands for a distance that is constant along a fiber but not a number: an extent of another rank."""

UNBOUNDED = 10**9
"""Stands for a distance that may grow with the fiber."""

_Name = TypeVar("_Name", bound=Hashable)

Anchor = tuple[tuple[Symbol, int], ...]
"""A point that does not move along any rank: a sum of symbols; the empty one is 0."""

Range = tuple[int, int]
"""A lower and an upper bound: numbers, at least :data:`FAR` for a constant, :data:`UNBOUNDED` for none."""

_ANYWHERE: Range = (-UNBOUNDED, UNBOUNDED)


@dataclass(frozen=True, slots=True)
class Linear:
    """``sum(coefficient * coordinate) + sum(coefficient * symbol) + constant``.

    A composite such as ``m1*M0 + m0`` is the coordinate of its own name.
    """

    coordinates: tuple[tuple[str, int], ...] = ()
    symbols: Anchor = ()
    constant: int = 0

    def coefficient(self, rank: str) -> int:
        """Returns the coefficient of a rank, 0 where it is absent."""
        return dict(self.coordinates).get(rank, 0)


def compared(expr: Expr) -> tuple[str, Expr, Expr] | None:
    """Returns a comparison as ``lt``, ``le`` or ``eq`` of two sides, or None where it is none of these, nor their opposites."""
    match expr:
        case Call(op="lt" | "le" | "eq" as op, args=(left, right)):
            return op, left, right
        case Call(op="gt" | "ge" as op, args=(left, right)):
            return "lt" if op == "gt" else "le", right, left
    return None


@lru_cache(maxsize=8192)
def linear(expr: Expr) -> Linear | None:
    """Returns an expression as a linear form, or None where it is none (a product of coordinates, a floor, a clamp)."""
    match expr:
        case Num(value=value):
            if abs(value) < UNBOUNDED and value == int(value):
                return Linear(constant=int(value))
            return Linear(symbols=((expr, 1),))
        case Coord(rank=rank):
            return Linear(coordinates=((rank, 1),))
        case Extent():
            return Linear(symbols=((expr.rank, 1),))
        case Call(op="add" | "sub" as op, args=(left, right)):
            made = composite(expr) if op == "add" else None
            if made is not None:
                return Linear(coordinates=((made.name or "*".join(made.parts), 1),))
            a, b = linear(left), linear(right)
            return None if a is None or b is None else plus(a, b, 1 if op == "add" else -1)
        case Call(op="neg", args=(inner,)):
            a = linear(inner)
            return None if a is None else plus(Linear(), a, -1)
        case Call(op="mul", args=(left, right)):
            a, b = linear(left), linear(right)
            if a is not None and b is not None:
                for one, other in ((a, b), (b, a)):
                    if not one.coordinates and not one.symbols:
                        return plus(Linear(), other, one.constant)
        case _:
            pass
    if not coords(expr):
        return Linear(symbols=((expr, 1),))
    return None


def plus(a: Linear, b: Linear, factor: int) -> Linear:
    """Returns a + factor * b."""
    return Linear(_merged(a.coordinates, b.coordinates, factor), _merged(a.symbols, b.symbols, factor),
                  a.constant + factor * b.constant)


def _merged(left: Iterable[tuple[_Name, int]], right: Iterable[tuple[_Name, int]],
            factor: int) -> tuple[tuple[_Name, int], ...]:
    total = dict(left)
    for name, coefficient in right:
        total[name] = total.get(name, 0) + factor * coefficient
    return tuple((n, c) for n, c in total.items() if c)


def anchor(form: Linear) -> Anchor:
    """Returns the fixed point that a form without coordinates stands at, less its constant."""
    return tuple(sorted(form.symbols, key=repr))


def span(form: Linear, rank: str | None, own: frozenset[str]) -> Range:
    """Returns bounds of ``form - rank`` (of the form itself for None), every coordinate within its extent.

    ``own`` are the ranks whose extents grow with the fiber: a distance by one of them is unbounded.
    """
    low: dict[Symbol, int] = dict(form.symbols)
    high: dict[Symbol, int] = dict(form.symbols)
    low_constant = high_constant = form.constant
    others = dict(form.coordinates)
    if rank is not None:
        others[rank] = others.get(rank, 0) - 1
    for name, coefficient in others.items():
        if coefficient > 0:
            high[name] = high.get(name, 0) + coefficient
            high_constant -= coefficient
        elif coefficient < 0:
            low[name] = low.get(name, 0) + coefficient
            low_constant -= coefficient
    return -_largest({s: -c for s, c in low.items()}, -low_constant, own), _largest(high, high_constant, own)


def apart(expr: Expr, rank: str | None, own: frozenset[str]) -> Range:
    """Returns bounds of an index less the coordinate of a rank (of the index itself for None), as :func:`span`."""
    form = linear(expr)
    if form is not None:
        return span(form, rank, own)
    match expr:
        case Call(op="max" | "min" as op, args=(left, right)):
            chosen = max if op == "max" else min
            a, b = apart(left, rank, own), apart(right, rank, own)
            return chosen(a[0], b[0]), chosen(a[1], b[1])
        case Call(op="clamp", args=(inner, low, high)):
            return apart(Call("min", (Call("max", (inner, low)), high)), rank, own)
        case Call(op="where", args=(_, left, right)):
            a, b = apart(left, rank, own), apart(right, rank, own)
            return min(a[0], b[0]), max(a[1], b[1])
        case Call(op="neg", args=(inner,)) if rank is None:
            return _opposite(apart(inner, None, own))
        case Call(op="sub", args=(left, right)):
            return _total(apart(left, rank, own), _opposite(apart(right, None, own)))
        case Call(op="add", args=(left, right)):
            return _both(_total(apart(left, rank, own), apart(right, None, own)),
                         _total(apart(left, None, own), apart(right, rank, own)))
        case (Call(op="floordiv", args=(inner, by))
              | Call(op="floor" | "ceil" | "round", args=(Call(op="div", args=(inner, by)),))):
            return _divided(inner, by, rank, own)
        case Call(op="mod", args=(inner, by)):
            return _remainder(inner, by, rank, own)
    return _ANYWHERE


def _divided(inner: Expr, by: Expr, rank: str | None, own: frozenset[str]) -> Range:
    """x / d, rounded in any way, lies between 0 and x where x is at least 0 and d at least 1."""
    if apart(by, None, own)[0] < 1 or apart(inner, None, own)[0] < 0:
        return _ANYWHERE
    return span(Linear(), rank, own)[0], apart(inner, rank, own)[1]


def _remainder(inner: Expr, by: Expr, rank: str | None, own: frozenset[str]) -> Range:
    """x % d lies between 0 and d - 1; below x where x is at least 0, above x where x is below d."""
    divisor, form = linear(by), linear(inner)
    if divisor is None or form is None or divisor.coordinates or apart(by, None, own)[0] < 1:
        return _ANYWHERE
    if len(divisor.symbols) == 1 and not divisor.constant and divisor.symbols[0][1] == 1:
        # Whole multiples of d change nothing: (k + K - 1) % K is (k - 1) % K.
        extra = dict(form.symbols).get(divisor.symbols[0][0], 0)
        form = plus(form, divisor, -extra)
    low, high = span(Linear(), rank, own)[0], span(plus(divisor, Linear(constant=1), -1), rank, own)[1]
    if span(form, None, own)[0] >= 0:
        high = min(high, span(form, rank, own)[1])
    if span(plus(form, divisor, -1), None, own)[1] < 0:
        low = max(low, span(form, rank, own)[0])
    return low, high


def _total(a: Range, b: Range) -> Range:
    return (-UNBOUNDED if min(a[0], b[0]) <= -UNBOUNDED else a[0] + b[0],
            UNBOUNDED if max(a[1], b[1]) >= UNBOUNDED else a[1] + b[1])


def _opposite(a: Range) -> Range:
    return -a[1], -a[0]


def _both(a: Range, b: Range) -> Range:
    return max(a[0], b[0]), min(a[1], b[1])


def most(form: Linear, own: frozenset[str]) -> int:
    """Returns the largest value of a form without coordinates: a number, :data:`FAR` or :data:`UNBOUNDED`."""
    return _largest(dict(form.symbols), form.constant, own)


def _largest(symbols: dict[Symbol, int], constant: int, own: frozenset[str]) -> int:
    total = constant
    for symbol, coefficient in symbols.items():
        if not coefficient:
            continue
        if isinstance(symbol, str) and coefficient < 0:
            total += coefficient  # an extent is at least 1
        elif _grows(symbol, own):
            return UNBOUNDED
        else:
            total += FAR
    return total


def _grows(symbol: Symbol, own: frozenset[str]) -> bool:
    if isinstance(symbol, str):
        return symbol in own
    assert isinstance(symbol, (Num, Coord, Extent, Access, Call))
    return any(isinstance(node, Access) or isinstance(node, Extent) and node.rank in own for node in walk(symbol))
