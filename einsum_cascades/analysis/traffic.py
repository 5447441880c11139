"""Compulsory traffic: the values that any implementation must read and write, each once.

Read are the elements of inputs that some present point touches, written the present elements of outputs (those that
are absent are zeros that nobody computes; an iterative output has all its slots, the seed's included). Whatever stays
between Einsums is not compulsory. This is the compulsory ("cold") traffic of the memory hierarchy literature,
counted in values so that precision does not matter; a value counts once however many Einsums touch it.

Where a gather, a predicate on data, or an index without a closed form decides what is touched, the count is an upper
bound and says so. With extents, what has no closed form is enumerated while it is small.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from einsum_cascades.analysis.counting import evaluated
from einsum_cascades.analysis.linear import Linear, linear, plus
from einsum_cascades.analysis.presence import Condition, presence
from einsum_cascades.analysis.regions import at_most_zero, largest, points_of, projected
from einsum_cascades.indices import composite
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, accesses, coords
from einsum_cascades.structure import Structure, structure
from einsum_cascades.symbols import Formula, extent, formula, is_positive, minimum, multiplied, quotient

_ENUMERATED = 200_000
"""Points of an Einsum that are tried one by one where there is no closed form."""


@dataclass(frozen=True)
class Traffic:
    """The values of each input that are read and of each output that are written; ``bounds`` names the tensors whose
    numbers are upper bounds."""

    read: Mapping[str, Formula]
    write: Mapping[str, Formula]
    bounds: tuple[str, ...]

    @property
    def total_read(self) -> Formula:
        """All values that are read."""
        return sum(self.read.values(), formula(0))

    @property
    def total_write(self) -> Formula:
        """All values that are written."""
        return sum(self.write.values(), formula(0))


@dataclass(frozen=True, slots=True)
class _Touch:
    """One access with the ranks and the conditions of its Einsum's points."""

    access: Access
    ranks: tuple[str, ...]
    conditions: tuple[Expr, ...]


def compulsory_traffic(cascade: Cascade, extents: Mapping[str, int] | None = None) -> Traffic:
    """Returns the compulsory traffic as formulas; numbers where all ``extents`` are given."""
    found = structure(cascade)
    conditions = presence(cascade)
    touches: dict[str, dict[_Touch, None]] = {tensor: {} for tensor in found.inputs}
    for einsum in (*cascade.inits, *cascade.einsums):
        for access in einsum.reads:
            if access.tensor in touches:
                touches[access.tensor][_touch(access, einsum, conditions[einsum])] = None
    counts = {tensor: _counted(tensor, list(own), found, extents) for tensor, own in touches.items()}
    written = {tensor: _written(tensor, found, conditions, extents) for tensor in found.outputs}
    return Traffic({t: c[0] for t, c in counts.items()}, {t: c[0] for t, c in written.items()},
                   tuple(t for t, c in (*counts.items(), *written.items()) if not c[1]))


def _touch(access: Access, einsum: Einsum, conditions: tuple[Condition, ...]) -> _Touch:
    made = set(einsum.reduction.into) if einsum.reduction is not None else set()
    # A predicate is read where the others hold; what lies beyond the end of the tensor is not read.
    own = tuple(dict.fromkeys(c.expr for c in conditions if access not in accesses(c.expr)))
    return _Touch(access, tuple(r for r in einsum.ranks if r not in made), own)


def _put(made: tuple[Formula, bool], extents: Mapping[str, int] | None) -> tuple[Formula, bool]:
    return made if extents is None else (made[0].put(extents), made[1])


# --- outputs ---

def _written(tensor: str, found: Structure, conditions: Mapping[Einsum, tuple[Condition, ...]],
             extents: Mapping[str, int] | None) -> tuple[Formula, bool]:
    einsum = found.producers[tensor]
    out = next(o for o in einsum.outputs if o.tensor == tensor)
    own = found.iterative.get(tensor)
    if own is not None or not all(isinstance(i, Coord) for i in out.indices):
        # Of a scatter, what nothing meets holds the identity.
        sizes = [_dimension(tensor, d, found) for d in range(len(out.indices))]
        known = [s for s in sizes if s is not None]
        return _put((multiplied(known), len(known) == len(sizes)), extents)
    made = set(einsum.reduction.into) if einsum.reduction is not None else set()
    ranks = tuple(dict.fromkeys(i.rank for i in out.indices if isinstance(i, Coord)))
    held = tuple(c.expr for c in conditions[einsum] if set(coords(c.expr)) <= set(ranks) - made)
    return _counted(tensor, [_Touch(out, ranks, held)], found, extents)


def _dimension(tensor: str, d: int, found: Structure) -> Formula | None:
    own = found.iterative.get(tensor)
    if own is not None and own.dimension == d:
        return extent(own.rank) + 1
    name = found.dimensions[tensor][d]
    return None if name is None else extent(name)


# --- elements that are touched ---

def _counted(tensor: str, touches: Sequence[_Touch], found: Structure,
             extents: Mapping[str, int] | None) -> tuple[Formula, bool]:
    """How many elements of a tensor any of some accesses touches, and whether that is exact."""
    sizes = [_dimension(tensor, d, found) for d in range(len(touches[0].access.indices))]
    known = [s for s in sizes if s is not None]
    whole = multiplied(known) if len(known) == len(sizes) else None
    parts = [_elements(touch, sizes, found) for touch in touches]
    total, exact = parts[0]
    if whole is not None and (whole, True) in parts:
        total, exact = whole, True
    elif len(set(parts)) > 1 or len({t.access for t in touches}) > 1:
        total, exact = sum((value for value, _ in parts), formula(0)), False
        total = total if whole is None else minimum(total, whole)
    if extents is None:
        return total, exact
    if not exact:
        tried = _enumerated(touches, sizes, extents)
        if tried is not None:
            return formula(tried[0]), tried[1]
    return total.put(extents), exact


def _elements(touch: _Touch, sizes: Sequence[Formula | None], found: Structure) -> tuple[Formula, bool]:
    """The elements that one access touches: those of variables ``@d``, one a dimension, that forms bound."""
    lengths = {r: extent(r) for r in touch.ranks}
    lengths |= {name: extent(name) for name, parts in found.composites.items() if set(parts) <= set(touch.ranks)}
    lengths |= {f"@{d}": size for d, size in enumerate(sizes) if size is not None}
    forms: list[Linear] = []
    exact = True
    for condition in touch.conditions:
        made = None if accesses(condition) else at_most_zero(condition)
        known = [f for f in made or () if all(r in lengths for r, _ in f.coordinates)]
        exact = exact and made == known
        forms += known
    factor = formula(1)
    variables: list[str] = []
    for d, index in enumerate(touch.access.indices):
        form = None if accesses(index) else linear(index)
        if form is not None and not form.coordinates:
            continue  # one element
        if form is None or not _solvable(form, lengths):
            most, sure = _values(index, touch, lengths)
            size = sizes[d]
            factor = factor * (most if size is None else minimum(size, most))
            exact = exact and sure and size is None
            continue
        variable = f"@{d}"
        variables.append(variable)
        if variable not in lengths:
            # Nothing says how long the dimension is: it is as long as the index needs.
            lengths[variable] = largest(form, lengths) + 1
            exact = exact and touch.access.fill is None
        equal = plus(form, Linear(((variable, 1),)), -1)
        forms += [equal, plus(Linear(), equal, -1)]
        exact = exact and _contiguous(form, lengths)
    mentioned = {r for form in forms for r, _ in form.coordinates}
    exact = exact and not any(name in mentioned and mentioned & set(parts) for name, parts in found.composites.items())
    left, sound = projected(forms, lengths, variables)
    points, counted = points_of({v: lengths[v] for v in variables}, left)
    return factor * points, exact and sound and counted


def _solvable(form: Linear, lengths: Mapping[str, Formula]) -> bool:
    """Whether elimination can take the coordinates out: one has a coefficient of 1, and all have an extent."""
    return (any(abs(c) == 1 for _, c in form.coordinates) and all(r in lengths for r, _ in form.coordinates)
            and all(isinstance(s, str) for s, _ in form.symbols))


def _values(index: Expr, touch: _Touch, lengths: Mapping[str, Formula]) -> tuple[Formula, bool]:
    """The most values that an index without a form has, and whether it has as many."""
    ranks = coords(index)
    others = {r for e in (*touch.access.indices, *touch.conditions) if e is not index for r in coords(e)}
    if composite(index) is not None and not others & set(ranks):
        return multiplied(lengths[r] for r in ranks), True
    match index:
        case Call(op="floordiv", args=(Coord(rank=rank), Extent() | Num() as by)) if rank not in others:
            return quotient(lengths[rank], extent(by.rank) if isinstance(by, Extent) else formula(int(by.value))), True
    return multiplied(lengths[r] for r in ranks if r in lengths), False


def _contiguous(form: Linear, lengths: Mapping[str, Formula]) -> bool:
    """Whether a form takes every value between its extremes: strides are no longer than what shorter ones cover."""
    covered = formula(0)
    for rank, coefficient in sorted(form.coordinates, key=lambda c: abs(c[1])):
        if not is_positive(covered + 1 - abs(coefficient)):
            return False
        covered = covered + (lengths[rank] - 1) * abs(coefficient)
    return True


def _enumerated(touches: Sequence[_Touch], sizes: Sequence[Formula | None],
                extents: Mapping[str, int]) -> tuple[int, bool] | None:
    """The elements that some accesses touch, by trying all points; None where a gather decides, or for too many."""
    import numpy as np
    # A dimension that every access runs through by a coordinate of its own is a factor.
    free = [d for d, size in enumerate(sizes) if size is not None and all(_runs(touch, d) for touch in touches)]
    factor = math.prod(int(size.put(extents).constant or 0) for d in free if (size := sizes[d]) is not None)
    rest = [d for d in range(len(sizes)) if d not in free]
    exact = True
    touched: list[Any] = []
    for touch in touches:
        tried = [c for c in touch.conditions if not accesses(c)]
        exact = exact and len(tried) == len(touch.conditions)
        indices = [touch.access.indices[d] for d in rest]
        ranks = tuple(dict.fromkeys(r for e in (*indices, *tried) for r in coords(e)))
        shape = tuple(extents[r] for r in ranks)
        if any(accesses(i) for i in indices) or math.prod(shape) > _ENUMERATED:
            return None
        points = dict(zip(ranks, np.indices(shape, sparse=True), strict=True))
        held: Any = np.ones(shape, bool)
        for condition in tried:
            held = held & (evaluated(condition, points, extents) != 0)
        places = []
        for d, index in zip(rest, indices, strict=True):
            place = np.broadcast_to(np.asarray(evaluated(index, points, extents)), shape)
            held = held & (place >= 0)
            size = sizes[d]
            if size is not None:
                held = held & (place < int(size.put(extents).constant or 0))
            elif touch.access.fill is not None:
                exact = False
            places.append(place)
        touched.append([place[held].astype(np.int64) for place in places] or [np.zeros(int(held.any()), np.int64)])
    columns = [np.concatenate(column) for column in zip(*touched, strict=True)]
    number = columns[0]
    for column in columns[1:]:
        number = number * (int(column.max(initial=0)) + 1) + column
    return factor * len(np.unique(number)), exact


def _runs(touch: _Touch, d: int) -> bool:
    """Whether an access runs through a dimension by a coordinate that nothing else mentions."""
    index = touch.access.indices[d]
    others = (*(i for o, i in enumerate(touch.access.indices) if o != d), *touch.conditions)
    return isinstance(index, Coord) and all(index.rank not in coords(e) for e in others)
