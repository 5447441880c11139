"""Sets of points that linear forms bound, for extents that are symbols: their points, projections and longest fibers.

A *form* is at most 0 on the set. ``sizes`` gives the extent of every coordinate; each lies between 0 and its extent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from einsum_cascades.analysis.linear import Linear, compared, linear, plus
from einsum_cascades.ir import Call, Expr
from einsum_cascades.symbols import Formula, extent, formula, is_positive, maximum, minimum, multiplied

Sizes = Mapping[str, Formula]
Composites = Iterable[tuple[str, tuple[str, ...]]]


def at_most_zero(expr: Expr) -> list[Linear] | None:
    """Returns the forms f with f <= 0 that a comparison says, extents as symbols; None where it is not linear."""
    comparison = compared(expr)
    if comparison is None:
        return None
    op, left, right = comparison
    form = linear(Call("sub", (left, right)))
    if form is None or not all(isinstance(s, str) for s, _ in form.symbols):
        return None
    made = [plus(form, Linear(constant=1), 1) if op == "lt" else form]
    return [*made, plus(Linear(), form, -1)] if op == "eq" else made


def value_of(form: Linear) -> Formula:
    """Returns a form less its coordinates, as a formula."""
    total = formula(form.constant)
    for symbol, coefficient in form.symbols:
        total = total + extent(str(symbol)) * coefficient
    return total


def largest(form: Linear, sizes: Sizes) -> Formula:
    """Returns the largest value of a form over all coordinates."""
    total = value_of(form)
    for rank, coefficient in form.coordinates:
        if coefficient > 0:
            total = total + (sizes[rank] - 1) * coefficient
    return total


# --- points ---

def points_of(sizes: Sizes, forms: Iterable[Linear], composites: Composites = ()) -> tuple[Formula, bool]:
    """Returns how many points there are, and whether that is exact or an upper bound.

    ``composites`` are the parts of composite coordinates that the forms may mention in place of them.
    """
    sizes = dict(sizes)
    used = list(dict.fromkeys(forms))
    for name, parts in composites:
        if set(parts) <= set(sizes) and any(f.coefficient(name) for f in used):
            if any(f.coefficient(p) for f in used for p in parts):
                return multiplied(sizes.values()), False
            sizes = {r: s for r, s in sizes.items() if r not in parts} | {name: extent(name)}
    used = [f for f in used if not is_positive(-largest(f, sizes | {r: extent(r) for r in _names(f) - set(sizes)}))]
    total, exact = formula(1), True
    for form in used:
        if not form.coordinates:
            # It holds everywhere or nowhere; which, the extents decide.
            total, exact = (formula(0), True) if is_positive(value_of(form) - 1) else (total, False)
            if total == formula(0):
                return total, True
    for part in _connected(sizes, used):
        own = [f for f in used if _names(f) & set(part)]
        whole = multiplied(sizes[r] for r in part)
        found: Formula | None = whole
        if own:
            small = {r: sizes[r] for r in part}
            found = (None if any(_names(f) - set(part) for f in own) else _interval(small, own) if len(part) == 1
                     else _band(small, own) if len(part) == 2 else None)
        total = total * (whole if found is None else found)
        exact = exact and found is not None
    return total, exact


def _names(form: Linear) -> set[str]:
    return {r for r, _ in form.coordinates}


def _connected(sizes: Sizes, forms: Sequence[Linear]) -> list[tuple[str, ...]]:
    """The coordinates that forms connect."""
    parts: list[set[str]] = [{r} for r in sizes]
    for form in forms:
        touched = [p for p in parts if p & _names(form)]
        if touched:
            parts = [p for p in parts if p not in touched] + [set().union(*touched)]
    order = list(sizes)
    return sorted((tuple(sorted(p, key=order.index)) for p in parts), key=lambda p: order.index(p[0]))


def _interval(sizes: Sizes, forms: Sequence[Linear]) -> Formula | None:
    (rank, size), = sizes.items()
    low, high = formula(0), size
    for form in forms:
        coefficient = form.coefficient(rank)
        if coefficient == 1:
            high = minimum(high, 1 - value_of(form))
        elif coefficient == -1:
            low = maximum(low, value_of(form))
        else:
            return None
    return maximum(formula(0), high - low)


def _band(sizes: Sizes, forms: Sequence[Linear]) -> Formula | None:
    """Pairs (a, b) with low <= b - a <= high."""
    a, b = sizes
    high: Formula | None = None
    low: Formula | None = None
    for form in forms:
        bound = value_of(form)
        match form.coefficient(a), form.coefficient(b):
            case (-1, 1):
                high = -bound if high is None else minimum(high, -bound)
            case (1, -1):
                low = bound if low is None else maximum(low, bound)
            case _:
                return None
    if low is None:
        assert high is not None
        return _below(sizes[a], sizes[b], high)
    if high is None:
        # b - a >= low is a - b <= -low.
        return _below(sizes[b], sizes[a], -low)
    pairs = _below(sizes[a], sizes[b], high) - _below(sizes[a], sizes[b], low - 1)
    return pairs if is_positive(high - low + 1) else maximum(formula(0), pairs)


def _below(a: Formula, b: Formula, most: Formula) -> Formula:
    """Pairs (x, y) of coordinates below a and b with y - x <= most."""
    return _steps(a + most, b) - _steps(most, b)


def _steps(x: Formula, b: Formula) -> Formula:
    """The sum of min(max(t, 0), b) over t = 1 ... x."""
    short = maximum(formula(0), minimum(x, b))
    return (short * short + short) * Fraction(1, 2) + b * maximum(formula(0), x - b)


# --- projections and fibers ---

def projected(forms: Iterable[Linear], sizes: Sizes, kept: Iterable[str]) -> tuple[list[Linear], bool]:
    """Returns forms of the kept coordinates alone that hold where some values of the others meet all forms.

    The second value is whether they say all there is (Fourier and Motzkin's elimination, exact for coefficients of 1).
    """
    left, exact = list(dict.fromkeys(forms)), True
    for rank in set().union(*map(_names, left)) - set(kept) if left else ():
        uppers = [f for f in left if f.coefficient(rank) == 1]
        lowers = [f for f in left if f.coefficient(rank) == -1]
        exact = exact and len(uppers) + len(lowers) == sum(1 for f in left if f.coefficient(rank))
        # 0 <= rank and rank <= extent - 1, where extents are symbols.
        uppers.append(Linear(((rank, 1),), ((rank, -1),), 1))
        lowers.append(Linear(((rank, -1),)))
        left = list(dict.fromkeys((*(f for f in left if not f.coefficient(rank)),
                                   *(plus(u, low, 1) for u in uppers for low in lowers))))
        left = [f for f in left if not is_positive(-largest(f, sizes))]
    return left, exact


def longest(variable: str, forms: Iterable[Linear], sizes: Sizes) -> Formula:
    """Returns the most coordinates that a variable has for any one choice of the others.

    Exact for two bounds, an upper bound for more.
    """
    highs, lows, others = [], [], []
    for form in forms:
        # variable <= high and variable >= low are forms without the variable.
        coefficient = form.coefficient(variable)
        rest = plus(form, Linear(((variable, 1),)), -coefficient)
        if coefficient == 1:
            highs.append(plus(Linear(), rest, -1))
        elif coefficient == -1:
            lows.append(rest)
        elif not coefficient:
            others.append(form)
    ranges = _ranges(others, sizes)
    if any(is_positive(value_of(f) - 1) for f in others if not f.coordinates) or any(
            is_positive(low - high - 1) for low, high in ranges.values()):
        return formula(0)  # no others meet the forms
    least = sizes[variable]
    for high in highs:
        least = minimum(least, _most(high, ranges) + 1)
        for low in lows:
            least = minimum(least, _most(plus(high, low, -1), ranges) + 1)
    for low in lows:
        least = minimum(least, sizes[variable] + _most(plus(Linear(), low, -1), ranges))
    return maximum(formula(0), least)


def _ranges(forms: Iterable[Linear], sizes: Sizes) -> dict[str, tuple[Formula, Formula]]:
    """The smallest and the largest value of each coordinate, as far as forms of one coordinate say."""
    ranges = {rank: (formula(0), size - 1) for rank, size in sizes.items()}
    for form in forms:
        if len(form.coordinates) == 1:
            (rank, coefficient), = form.coordinates
            low, high = ranges[rank]
            if coefficient == 1:
                ranges[rank] = low, minimum(high, -value_of(form))
            elif coefficient == -1:
                ranges[rank] = maximum(low, value_of(form)), high
    return ranges


def _most(form: Linear, ranges: Mapping[str, tuple[Formula, Formula]]) -> Formula:
    total = value_of(form)
    for rank, coefficient in form.coordinates:
        total = total + ranges[rank][coefficient > 0] * coefficient
    return total
