"""Loop bounds from conditions: the steps in which a condition holds in some lane, and those in which it holds in all.

A condition that is linear in the looped rank is ``c*v + rest <= 0``, v the first coordinate of a step. What is added
is bounded over the lanes by interval arithmetic: clamps, minima, maxima and divisions by positive numbers are monotone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from autotune.lowering.expressions import Expressions
from autotune.lowering.values import Value
from einsum_cascades.analysis.linear import compared
from einsum_cascades.ir import Access, Call, Coord, Expr, Extent, Num, accesses, coords


@dataclass(frozen=True)
class Bound:
    """Steps for which a condition can hold (``some``) or holds in all lanes (``every``), each as a first coordinate that is
    the last one (``upper``) or the first one."""

    upper: bool
    some: Value
    every: Value


@dataclass(frozen=True)
class _Term:
    """``number * product of extents * what``."""

    number: int
    extents: tuple[Extent, ...]
    what: Expr


class Corners(Expressions):
    """Adds bounds of integer expressions over the lanes of tiles."""

    def corner(self, expr: Expr, high: bool) -> Value | None:
        """Returns the smallest or largest value over the coordinates of all lanes that exist, or None."""
        match expr:
            case Num() | Extent():
                found = self.value(expr)
                return found if found.is_integer else None
            case Coord(rank=rank):
                if rank in self.corners:
                    start, block = self.corners[rank]
                    if not high:
                        return start
                    last = self.integer("add", start, self.number(block - 1, "int32"))
                    return self.integer("min", last, self.integer("sub", self.extent(rank), self.number(1, "int32")))
                if rank not in self.coordinates:
                    # A loop inside of this one.
                    return self.integer("sub", self.extent(rank), self.number(1, "int32")) if high else self.number(0, "int32")
                found = self.coordinates[rank]
                return found if not found.axes else None
            case Call(op="add" | "min" | "max" as op, args=(a, b)):
                return self._both(op, self.corner(a, high), self.corner(b, high))
            case Call(op="sub", args=(a, b)):
                return self._both("sub", self.corner(a, high), self.corner(b, not high))
            case Call(op="clamp", args=(a, low, limit)):
                first = self._both("max", self.corner(a, high), self.corner(low, high))
                return self._both("min", first, self.corner(limit, high))
            case Call(op="mul", args=(a, b)):
                for one, other in ((a, b), (b, a)):
                    if isinstance(one, Extent) or isinstance(one, Num) and one.value >= 0:
                        return self._both("mul", self.corner(other, high), self.value(one))
            case Call(op="floordiv", args=(a, b)) if isinstance(b, Extent) or isinstance(b, Num) and b.value > 0:
                found_a = self.corner(a, high)
                return None if found_a is None else self._floor(found_a, self.value(b))
            case _:
                pass
        ranks = coords(expr)
        if all(not self.coordinates[r].axes for r in ranks if r in self.coordinates) and all(
                r in self.coordinates for r in ranks) and not any(a.fill is not None for a in accesses(expr)):
            found = self.value(expr)
            if found.is_integer and not found.axes and found.type != "int1" and not found.pads:
                return found
        return None

    def _both(self, op: str, a: Value | None, b: Value | None) -> Value | None:
        return None if a is None or b is None else self.integer(op, a, b)

    def _floor(self, a: Value, b: Value) -> Value:
        if b.constant == 1:
            return a
        if a.constant is not None and b.constant is not None:
            return self.integer("floordiv", a, b)
        return self.emit("i", "floor_floordiv", (a, b), None, "int32")

    def bounds(self, condition: Expr, rank: str, block: int) -> tuple[Bound, ...]:
        """Returns what a condition says about the steps of a loop over a rank; nothing where it is not linear in it."""
        found = []
        for difference in differences(condition):
            bound = self._bound(difference, rank, block)
            if bound is None:
                return ()
            found.append(bound)
        return tuple(found)

    def _bound(self, difference: tuple[Expr, Expr, int], rank: str, block: int) -> Bound | None:
        terms = [*flattened(difference[0], 1, ()), *flattened(difference[1], -1, ())]
        own = [t for t in terms if t.what == Coord(rank)]
        rest = [t for t in terms if t.what != Coord(rank)]
        if len(own) != 1 or any(rank in coords(t.what) for t in rest):
            return None
        factor = self.number(abs(own[0].number), "int32")
        for extent in own[0].extents:
            factor = self.integer("mul", factor, self.value(extent))
        upper = own[0].number > 0
        spread = self.integer("mul", factor, self.number(block - 1, "int32"))
        if upper:
            # c*v + c*lane + rest <= 0: some lane while v <= -least / c, every lane while v <= (-most - c*(block-1)) / c.
            less = [self._total(rest, high, -1, -difference[2]) for high in (False, True)]
            if less[0] is None or less[1] is None:
                return None
            return Bound(True, self._floor(less[0], factor), self._floor(self.integer("sub", less[1], spread), factor))
        # c*v + c*lane >= rest: some lane from v >= (least - c*(block-1)) / c, every lane from v >= most / c, rounded up.
        more = [self._total(rest, high, 1, difference[2]) for high in (False, True)]
        if more[0] is None or more[1] is None:
            return None
        return Bound(False, self._ceiling(self.integer("sub", more[0], spread), factor), self._ceiling(more[1], factor))

    def _total(self, terms: list[_Term], high: bool, sign: int, constant: int) -> Value | None:
        """``sign`` times the least or greatest total of the terms, and a constant."""
        total = self.number(constant, "int32")
        for term in sorted(terms, key=lambda t: t.number * sign < 0):
            found = self.corner(term.what, high == (term.number > 0))
            if found is None:
                return None
            for extent in term.extents:
                found = self.integer("mul", found, self.value(extent))
            found = self.integer("mul", found, self.number(abs(term.number), "int32"))
            total = self.integer("add" if term.number * sign > 0 else "sub", total, found)
        return total

    def _ceiling(self, a: Value, b: Value) -> Value:
        if b.constant == 1:
            return a
        return self._floor(self.integer("add", a, self.integer("sub", b, self.number(1, "int32"))), b)


def differences(condition: Expr) -> Iterator[tuple[Expr, Expr, int]]:
    """Yields a condition as ``a - b + constant <= 0``, all of which must hold."""
    match condition:
        case Call(op="lt", args=(a, b)) | Call(op="gt", args=(b, a)):
            yield a, b, 1
        case Call(op="le", args=(a, b)) | Call(op="ge", args=(b, a)):
            yield a, b, 0
        case Call(op="eq", args=(a, b)):
            yield a, b, 0
            yield b, a, 0


def is_comparison(condition: Expr) -> bool:
    """Returns whether a condition compares two sides, so that it may bound a loop."""
    return compared(condition) is not None


def flattened(expr: Expr, number: int, extents: tuple[Extent, ...]) -> Iterator[_Term]:
    """Yields the terms of a sum."""
    match expr:
        case Call(op="add", args=(a, b)):
            yield from flattened(a, number, extents)
            yield from flattened(b, number, extents)
        case Call(op="sub", args=(a, b)):
            yield from flattened(a, number, extents)
            yield from flattened(b, -number, extents)
        case Call(op="neg", args=(a,)):
            yield from flattened(a, -number, extents)
        case Call(op="mul", args=(a, Extent() as e)) | Call(op="mul", args=(Extent() as e, a)) if coords(a):
            yield from flattened(a, number, (*extents, e))
        case Call(op="mul", args=(a, Num(value=v))) | Call(op="mul", args=(Num(value=v), a)) if v == int(v) and coords(a):
            yield from flattened(a, number * int(v), extents)
        case Num(value=v) if v == int(v):
            yield _Term(number * int(v), extents, Num(1.0))
        case _:
            yield _Term(number, extents, expr)


__all__ = ["Access", "Bound", "Corners", "differences", "flattened", "is_comparison"]
