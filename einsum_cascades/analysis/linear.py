"""Index and predicate expressions read as linear forms: coordinates, symbols that hold no coordinate, a constant."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from einsum_cascades.indices import composite
from einsum_cascades.ir import Access, Call, Coord, Expr, Extent, Num, coords, walk

Symbol = Hashable
"""The rank of an extent (a string), or an expression without coordinates (a scalar tensor, ``J//2``)."""

FAR = 10**6
"""Stands for a distance that is constant along a fiber but not a number: an extent of another rank."""

UNBOUNDED = 10**9
"""Stands for a distance that may grow with the fiber."""

Anchor = tuple[tuple[Symbol, int], ...]
"""A point that does not move along any rank: a sum of symbols; the empty one is 0."""


@dataclass(frozen=True, slots=True)
class Linear:
    """``sum(coefficient * coordinate) + sum(coefficient * symbol) + constant``.

    ``loose`` says that the value is only within a constant distance of the form: it was clamped.
    A composite such as ``m1*M0 + m0`` is the coordinate of its own name.
    """

    coordinates: tuple[tuple[str, int], ...] = ()
    symbols: Anchor = ()
    constant: int = 0
    loose: bool = False

    def coefficient(self, rank: str) -> int:
        """Returns the coefficient of a rank, 0 where it is absent."""
        return dict(self.coordinates).get(rank, 0)


def linear(expr: Expr) -> Linear | None:
    """Returns an expression as a linear form, or None where it is none (a product of coordinates, a floor, a gather)."""
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
        case Call(op="clamp", args=(inner, low, high)) if not coords(low) and not coords(high):
            a = linear(inner)
            return None if a is None or not a.coordinates else Linear(a.coordinates, a.symbols, a.constant, True)
        case Call(op="max" | "min", args=(left, right)):
            for one, other in ((left, right), (right, left)):
                if coords(one) and not coords(other):
                    a = linear(one)
                    return None if a is None else Linear(a.coordinates, a.symbols, a.constant, True)
        case _:
            pass
    if not coords(expr):
        return Linear(symbols=((expr, 1),))
    return None


def plus(a: Linear, b: Linear, factor: int) -> Linear:
    """Returns a + factor * b."""
    return Linear(_merged(a.coordinates, b.coordinates, factor), _merged(a.symbols, b.symbols, factor),
                  a.constant + factor * b.constant, a.loose or b.loose)


def _merged(left: Iterable[tuple[Symbol, int]], right: Iterable[tuple[Symbol, int]], factor: int) -> tuple:  # type: ignore[type-arg]
    total = dict(left)
    for name, coefficient in right:
        total[name] = total.get(name, 0) + factor * coefficient
    return tuple((n, c) for n, c in total.items() if c)


def anchor(form: Linear) -> Anchor:
    """Returns the fixed point that a form without coordinates stands at, less its constant."""
    return tuple(sorted(form.symbols, key=repr))


def span(form: Linear, rank: str, own: frozenset[str]) -> tuple[int, int]:
    """Returns bounds of ``form - rank``, whose coefficient is 1: every other coordinate within its extent.

    ``own`` are the ranks whose extents grow with the fiber: a distance by one of them is unbounded.
    """
    low: dict[Symbol, int] = {}
    high: dict[Symbol, int] = {}
    low_constant = high_constant = form.constant
    for symbol, coefficient in form.symbols:
        low[symbol] = high[symbol] = coefficient
    for name, coefficient in form.coordinates:
        if name == rank:
            continue
        if coefficient > 0:
            high[name] = high.get(name, 0) + coefficient
            high_constant -= coefficient
        else:
            low[name] = low.get(name, 0) + coefficient
            low_constant -= coefficient
    lowest = -_largest({s: -c for s, c in low.items()}, -low_constant, own)
    highest = _largest(high, high_constant, own)
    if form.loose:
        return min(lowest, -FAR), max(highest, FAR)
    return lowest, highest


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
