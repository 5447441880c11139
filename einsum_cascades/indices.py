"""Index expressions read as affine forms: offsets, composites of a partitioned rank, and upper bounds."""

from __future__ import annotations

from dataclasses import dataclass

from einsum_cascades.ir import Access, Call, Coord, Expr, Extent, Num, children


@dataclass(frozen=True, slots=True)
class Affine:
    """A sum of terms: ``coordinates`` and ``extents`` map a name to its coefficient, ``constant`` is added.

    ``coordinates`` are ranks, ``extents`` names of extents as ranks in lower case.
    """

    coordinates: tuple[tuple[str, int], ...] = ()
    extents: tuple[tuple[str, int], ...] = ()
    constant: int = 0


def affine(index: Expr) -> Affine | None:
    """Returns an index as an affine form with integer coefficients, or None where it is not one."""
    match index:
        case Num(value=value):
            return Affine(constant=int(value)) if abs(value) < 2**53 and value == int(value) else None
        case Coord(rank=rank):
            return Affine(coordinates=((rank, 1),))
        case Extent():
            return Affine(extents=((index.rank, 1),))
        case Call(op="add" | "sub" as op, args=(left, right)):
            a, b = affine(left), affine(right)
            return None if a is None or b is None else _plus(a, b, 1 if op == "add" else -1)
        case Call(op="neg", args=(inner,)):
            a = affine(inner)
            return None if a is None else _plus(Affine(), a, -1)
        case Call(op="mul", args=(left, right)):
            a, b = affine(left), affine(right)
            if a is None or b is None:
                return None
            if not a.coordinates and not a.extents:
                return _plus(Affine(), b, a.constant)
            if not b.coordinates and not b.extents:
                return _plus(Affine(), a, b.constant)
    return None


def _plus(a: Affine, b: Affine, factor: int) -> Affine:
    def merged(left: tuple[tuple[str, int], ...], right: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
        total = dict(left)
        for name, coefficient in right:
            total[name] = total.get(name, 0) + factor * coefficient
        return tuple((n, c) for n, c in total.items() if c)
    return Affine(merged(a.coordinates, b.coordinates), merged(a.extents, b.extents), a.constant + factor * b.constant)


@dataclass(frozen=True, slots=True)
class Offset:
    """A rank at a distance: ``rank + constant + extents``; ``unit`` extents are at least 1 each."""

    rank: str
    constant: int
    extents: tuple[tuple[str, int], ...] = ()


def offset(index: Expr) -> Offset | None:
    """Returns an index that is one rank with coefficient 1 at a distance, or None."""
    form = affine(index)
    if form is None or len(form.coordinates) != 1 or form.coordinates[0][1] != 1:
        return None
    return Offset(form.coordinates[0][0], form.constant, form.extents)


@dataclass(frozen=True, slots=True)
class Composite:
    """The index ``r1*R0 + r0``: its ``parts``, outer first, and its ``name`` (``r``; None where no stem is shared).

    ``inner`` are the composites that it is made of in turn, as in ``(m11*M10 + m10)*M0 + m0``.
    """

    parts: tuple[str, ...]
    name: str | None
    inner: tuple[Composite, ...] = ()


def composite(index: Expr) -> Composite | None:
    """Returns an index such as ``m1*M0 + m0`` or ``(m2*M1 + m1)*M0 + m0`` as a composite, or None."""
    match index:
        case Call(op="add", args=(Call(op="mul", args=(outer, Extent() as extent)), Coord(rank=last))):
            pass
        case Call(op="add", args=(Call(op="mul", args=(Extent() as extent, outer)), Coord(rank=last))):
            pass
        case Call(op="add", args=(Coord(rank=last), Call(op="mul", args=(outer, Extent() as extent)))):
            pass
        case Call(op="add", args=(Coord(rank=last), Call(op="mul", args=(Extent() as extent, outer)))):
            pass
        case _:
            return None
    if extent.rank != last:
        return None
    if isinstance(outer, Coord):
        return None if outer.rank == last else Composite((outer.rank, last), _stem((outer.rank, last)))
    inside = composite(outer)
    if inside is None or last in inside.parts:
        return None
    if inside.name is not None:
        return Composite((inside.name, last), _stem((inside.name, last)), (inside,))
    return Composite((*inside.parts, last), _stem((*inside.parts, last)))


def _stem(parts: tuple[str, ...]) -> str | None:
    """The rank that the parts are digits of: ``m`` of ``m1``, ``m0``; ``m1`` of ``m11``, ``m10``."""
    digits = [str(d) for d in range(len(parts) - 1, -1, -1)]
    stems = {part[:-1] for part in parts}
    return stems.pop() if len(stems) == 1 and "" not in stems and [p[-1] for p in parts] == digits else None


def bounding_rank(index: Expr) -> str | None:
    """Returns the rank whose extent bounds a clamped or wrapped index, or None.

    ``clamp(p - J//2, 0, M - J) + j`` stays below M, and so does ``p % M``: the dimension is as long as m.
    A plain affine index bounds nothing by itself, so that a convolution's ``p + s`` names no rank.
    """
    if not _is_bounded(index):
        return None
    limit = _limit(index)
    if limit is None or limit.coordinates or limit.constant != -1:
        return None
    return limit.extents[0][0] if len(limit.extents) == 1 and limit.extents[0][1] == 1 else None


def _is_bounded(index: Expr) -> bool:
    match index:
        case Call(op="clamp" | "mod"):
            return True
        case Call(op="add", args=(a, b)):
            return _is_bounded(a) or _is_bounded(b)
        case Call(op="min", args=(a, Call(op="max"))) | Call(op="max", args=(a, Call(op="min"))):
            return True
        case Call(op="min" | "max", args=(a, b)):
            return True
    return False


def _limit(index: Expr) -> Affine | None:
    """The largest value of an index as an affine form of extents, or None where it is not known."""
    match index:
        case Num() | Extent():
            return affine(index)
        case Coord(rank=rank):
            return Affine(extents=((rank, 1),), constant=-1)
        case Call(op="add", args=(a, b)):
            left, right = _limit(a), _limit(b)
            return None if left is None or right is None else _plus(left, right, 1)
        case Call(op="sub", args=(a, b)):
            left, right = _limit(a), affine(b)
            return None if left is None or right is None or right.coordinates else _plus(left, right, -1)
        case Call(op="clamp", args=(_, _, high)):
            return _limit(high)
        case Call(op="mod", args=(_, divisor)):
            form = affine(divisor)
            return None if form is None or form.coordinates else _plus(form, Affine(constant=1), -1)
        case Call(op="min", args=(a, b)):
            known = [f for f in (affine(a), affine(b)) if f is not None and not f.coordinates]
            return known[0] if known else None
        case Call(op="max", args=(Num(value=0.0), other)) | Call(op="max", args=(other, Num(value=0.0))):
            return _limit(other)
    return None


def index_reads(expr: Expr) -> tuple[Access, ...]:
    """Returns the accesses that give an index of another access as they are: the reads of index tensors.

    What is rounded first (``X[floor(P[q])]``) is a number, not an index.
    """
    if isinstance(expr, Access):
        return tuple(a for index in expr.indices for a in _whole_reads(index))
    return tuple(a for child in children(expr) for a in index_reads(child))


def _whole_reads(index: Expr) -> tuple[Access, ...]:
    match index:
        case Access():
            return (index, *index_reads(index))
        case Call(op="floor" | "ceil" | "round", args=args):
            return tuple(a for arg in args for a in index_reads(arg))
        case _:
            return tuple(a for child in children(index) for a in _whole_reads(child))
