"""How many points of a set of ranks are present, as a number or as a formula in the extents.

Conditions split the ranks into parts that do not depend on each other, whose counts multiply. With extents, a part
is counted exactly: some ranks are enumerated, and for each of their points the coordinates of the others form
intervals. Without, the common shapes have a closed form (a bound, a triangle, a band, the tail of a partition).
What depends on data, or has no closed form, counts as if it held: an upper bound, which the result says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from einsum_cascades.analysis.linear import Linear, compared
from einsum_cascades.analysis.presence import Condition
from einsum_cascades.analysis.regions import at_most_zero, points_of
from einsum_cascades.ir import Access, Call, Coord, Expr, Extent, Num, coords, walk
from einsum_cascades.symbols import Formula, extent, formula, multiplied

_ENUMERATED = 200_000
"""Points of a part that are simply all tried."""

_MOST = 40_000_000
"""Points that are enumerated at most where the rest are intervals; above, the part counts as an upper bound."""

_CHUNK = 2_000_000


@dataclass(frozen=True, slots=True)
class Count:
    """A number of points; ``exact`` is False where it is only an upper bound."""

    value: Formula
    exact: bool = True


def count(ranks: Sequence[str], conditions: Iterable[Condition], composites: Mapping[str, tuple[str, ...]],
          extents: Mapping[str, int] | None = None) -> Count:
    """Returns how many points of the ranks meet the conditions (those that mention other ranks are left out).

    ``extents`` holds all extents, or is None for a formula.
    """
    among = set(ranks)
    used = tuple(dict.fromkeys(c.expr for c in conditions if set(coords(c.expr)) <= among))
    sizes = None if extents is None else tuple(extents.items())
    exact = True
    factors = []
    for part, exprs in _parts(tuple(dict.fromkeys(ranks)), used):
        known = tuple(e for e in exprs if not any(isinstance(node, Access) for node in walk(e)))
        exact = exact and len(known) == len(exprs)
        if not known:
            factors += [extent(r) if extents is None else formula(extents[r]) for r in part]
            continue
        # Einsums share their supports: the same part is counted once.
        found = _symbolic(part, known, tuple(composites.items())) if sizes is None else _numeric(part, known, sizes)
        factors.append(found.value)
        exact = exact and found.exact
    return Count(multiplied(factors), exact)


def _parts(ranks: Sequence[str], exprs: Sequence[Expr]) -> list[tuple[tuple[str, ...], list[Expr]]]:
    """Ranks that conditions connect, with those conditions; a condition without ranks goes with the first part."""
    label = {r: i for i, r in enumerate(ranks)}
    for expr in exprs:
        mentioned = coords(expr)
        for r in mentioned[1:]:
            old, new = label[r], label[mentioned[0]]
            label = {name: new if value == old else value for name, value in label.items()}
    groups: dict[int, tuple[list[str], list[Expr]]] = {}
    for r in ranks:
        groups.setdefault(label[r], ([], []))[0].append(r)
    if not groups:
        return [((), list(exprs))] if exprs else []
    first = next(iter(groups))
    for expr in exprs:
        mentioned = coords(expr)
        groups[label[mentioned[0]] if mentioned else first][1].append(expr)
    return [(tuple(part), found) for part, found in groups.values()]


# --- with extents ---

@lru_cache(maxsize=1024)
def _numeric(ranks: tuple[str, ...], exprs: tuple[Expr, ...], sizes: tuple[tuple[str, int], ...]) -> Count:
    import numpy as np
    extents = dict(sizes)
    whole = math.prod(extents[r] for r in ranks)
    if whole <= _ENUMERATED:
        points = _mesh(ranks, extents, 0, whole)
        return Count(formula(int(np.count_nonzero(_holds(exprs, points, extents, whole)))))
    inner, bounds = _intervals(ranks, exprs, extents)
    outer = [r for r in ranks if r not in inner]
    size = math.prod(extents[r] for r in outer)
    if size > _MOST:
        return Count(formula(whole), exact=False)
    rest = [e for e in exprs if not set(coords(e)) & set(inner)]
    total = 0
    for start in range(0, size, _CHUNK):
        end = min(start + _CHUNK, size)
        points = _mesh(outer, extents, start, end)
        here = np.where(_holds(rest, points, extents, end - start), 1, 0).astype(np.int64)
        for r in inner:
            low = np.zeros(end - start, np.int64)
            high = np.full(end - start, extents[r] - 1, np.int64)
            for form in bounds[r]:
                # coefficient * r + others <= 0
                others = np.full(end - start, form.constant, np.int64)
                for name, c in form.coordinates:
                    if name != r:
                        others = others + c * points[name]
                coefficient = form.coefficient(r)
                if coefficient > 0:
                    high = np.minimum(high, np.floor_divide(-others, coefficient))
                else:
                    low = np.maximum(low, -np.floor_divide(-others, -coefficient))
            here = here * np.maximum(high - low + 1, 0)
        total += int(here.sum())
    return Count(formula(total))


def _mesh(ranks: Sequence[str], extents: Mapping[str, int], start: int, end: int) -> dict[str, Any]:
    """The coordinates of points number start to end in row-major order."""
    import numpy as np
    number = np.arange(start, end, dtype=np.int64)
    points = {}
    for r in reversed(ranks):
        points[r] = number % extents[r]
        number = number // extents[r]
    return points


def _holds(exprs: Sequence[Expr], points: Mapping[str, Any], extents: Mapping[str, int], size: int) -> Any:
    import numpy as np
    result = np.ones(size, bool)
    for expr in exprs:
        result = result & (evaluated(expr, points, extents) != 0)
    return result


def evaluated(expr: Expr, points: Mapping[str, Any], extents: Mapping[str, int]) -> Any:
    """Returns an expression without tensors, evaluated at arrays of coordinates."""
    from einsum_cascades.elementwise import function_of
    match expr:
        case Num(value=value):
            return value
        case Coord(rank=rank):
            return points[rank]
        case Extent():
            return extents[expr.rank]
        case Call(op=op, args=args):
            return function_of(op)(*(evaluated(a, points, extents) for a in args))
    raise TypeError(f"condition: it reads a tensor, got {expr!r}; count it as an upper bound")


def _intervals(ranks: Sequence[str], exprs: Sequence[Expr],
               extents: Mapping[str, int]) -> tuple[list[str], dict[str, list[Linear]]]:
    """Ranks whose coordinates are intervals once the others are known, the longest first, with their bounds."""
    bounds: dict[str, list[Linear]] = {}
    for r in ranks:
        made = [inequalities(e, extents) for e in exprs if r in coords(e)]
        if all(m is not None for m in made):
            bounds[r] = [form for m in made if m is not None for form in m if form.coefficient(r)]
    inner: list[str] = []
    for r in sorted(bounds, key=lambda r: -extents[r]):
        if not any(r in coords(e) and other in coords(e) for e in exprs for other in inner):
            inner.append(r)
    return inner, bounds


def inequalities(expr: Expr, extents: Mapping[str, int]) -> list[Linear] | None:
    """Returns the forms f with f <= 0 that a comparison says, with numbers for extents; None where it is not linear."""
    comparison = compared(expr)
    if comparison is None:
        return None
    op, left, right = comparison
    a, b = affine_in(left, extents), affine_in(right, extents)
    if a is None or b is None:
        return None
    table = dict(a[0])
    for name, c in b[0].items():
        table[name] = table.get(name, 0) - c
    constant = a[1] - b[1]
    coordinates = tuple((n, c) for n, c in table.items() if c)
    made = [Linear(coordinates, (), constant + (1 if op == "lt" else 0))]
    if op == "eq":
        made.append(Linear(tuple((n, -c) for n, c in coordinates), (), -constant))
    return made


def affine_in(expr: Expr, extents: Mapping[str, int]) -> tuple[dict[str, int], int] | None:
    """Returns the coefficients of coordinates and the constant of an index, with numbers for extents; None where it is
    not affine."""
    if not coords(expr):
        value = float(evaluated(expr, {}, extents))
        return ({}, int(value)) if value == int(value) else None
    match expr:
        case Coord(rank=rank):
            return {rank: 1}, 0
        case Call(op="add" | "sub" as op, args=(left, right)):
            a, b = affine_in(left, extents), affine_in(right, extents)
            if a is None or b is None:
                return None
            sign = 1 if op == "add" else -1
            return {n: a[0].get(n, 0) + sign * b[0].get(n, 0) for n in (*a[0], *b[0])}, a[1] + sign * b[1]
        case Call(op="neg", args=(inner,)):
            a = affine_in(inner, extents)
            return None if a is None else ({n: -c for n, c in a[0].items()}, -a[1])
        case Call(op="mul", args=(left, right)):
            a, b = affine_in(left, extents), affine_in(right, extents)
            if a is None or b is None or a[0] and b[0]:
                return None
            form, factor = (a, b[1]) if a[0] else (b, a[1])
            return {n: c * factor for n, c in form[0].items()}, form[1] * factor
    return None


# --- without ---

@lru_cache(maxsize=1024)
def _symbolic(ranks: tuple[str, ...], exprs: tuple[Expr, ...],
              composites: tuple[tuple[str, tuple[str, ...]], ...]) -> Count:
    forms: list[Linear] = []
    exact = True
    for expr in exprs:
        made = at_most_zero(expr)
        exact = exact and made is not None
        forms += made or []
    points, known = points_of({r: extent(r) for r in ranks}, forms, composites)
    return Count(points, exact and known)
