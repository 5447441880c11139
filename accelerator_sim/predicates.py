"""Which tiles of an iteration space hold a point that predicates leave: exactly, whatever the predicates are.

A rank in which all predicates on it are linear is an interval for each point of the other ranks; whatever they are in those (a
modulo, an offset of a segment) is tried point by point. A tile of the rank is held by an outer tile where one of its intervals
meets it: intervals are united, sorted, so that nothing is as large as the product of all ranks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelerator_sim.data import Data, valued
from accelerator_sim.regions import MOST_BOXES, MOST_POINTS, Tiles
from einsum_cascades.analysis.linear import compared
from einsum_cascades.ir import Access, Call, Coord, Expr, Num, accesses, coords

Array = Any


@dataclass(frozen=True, eq=False)
class Predicates:
    """Predicates on some ``ranks``, at their ``extents`` (those of others are there for expressions), with what is known of data.

    A mask with a density counts by it, and what else depends on data that are not known as if it held.
    """

    conditions: tuple[Expr, ...]
    ranks: tuple[str, ...]
    extents: Mapping[str, int]
    data: Data

    def sum(self, tiles: Mapping[str, Tiles], weights: Mapping[str, Array]) -> Any:
        """Returns the sum, over all tiles that are held, of the product of their weights (by rank)."""
        import numpy as np
        if self._chances():
            held = self.held(tiles)
            for axis, rank in enumerate(self.ranks):
                held = held * np.asarray(weights[rank]).reshape([-1 if a == axis else 1 for a in range(len(self.ranks))])
            return np.sum(held).item()
        found = self._intervals(tiles)
        if found is None:
            return math.prod(int(np.sum(weights[r])) for r in self.ranks)
        first, last, owner = self._spans(found, tiles)
        if not len(first):
            return 0
        most = len(tiles[found.inner].low)
        start, end = _united(first, last, owner, most)
        sums = np.concatenate([[0], np.cumsum(np.asarray(weights[found.inner], np.int64))])
        along = sums[end % most + 1] - sums[start % most]
        outer: Array = np.ones((1,) * max(len(found.others), 1), np.int64)
        for axis, rank in enumerate(found.others):
            outer = outer * np.asarray(weights[rank]).reshape([-1 if a == axis else 1 for a in range(len(found.others))])
        return int(np.sum(along * np.ravel(outer)[start // most]))

    def held(self, tiles: Mapping[str, Tiles]) -> Array:
        """Returns whether each combination of tiles is held, by rank in order; with densities, how likely it is."""
        import numpy as np
        shape = tuple(len(tiles[r].low) for r in self.ranks)
        if math.prod(shape) > MOST_BOXES:
            raise LookupError(f"{math.prod(shape)} tiles that predicates and windows tie")
        if self._chances():
            return self._likely(tiles, shape)
        found = self._intervals(tiles)
        if found is None:
            return np.ones(shape, bool)
        first, last, owner = self._spans(found, tiles)
        size = len(tiles[found.inner].low)
        outer = tuple(len(tiles[r].low) for r in found.others)
        marks = np.zeros((max(math.prod(outer), 1), size + 1), np.int64)
        np.add.at(marks, (owner, first), 1)
        np.add.at(marks, (owner, last + 1), -1)
        held = (np.cumsum(marks, axis=1)[:, :-1] > 0).reshape((*outer, size))
        order = (*found.others, found.inner)
        return np.transpose(held, [order.index(r) for r in self.ranks])

    def points(self) -> Any:
        """Returns how many points are left."""
        import numpy as np
        ones = {r: Tiles(np.arange(self.extents[r]), np.ones(self.extents[r], np.int64)) for r in self.ranks}
        if not self._chances():
            return self.sum(ones, {r: t.length for r, t in ones.items()})
        share = math.prod(chance for _, chance in self._chances())
        rest = Predicates(tuple(c for c in self.conditions if self.data.density_of(c) is None), self.ranks, self.extents, self.data)
        return rest.points() * share

    @property
    def likely(self) -> bool:
        """Whether a density says how likely a point is."""
        return bool(self._chances())

    # --- private parts ---

    def _chances(self) -> list[tuple[Access, float]]:
        made = (self.data.density_of(c) for c in self.conditions)
        return list(dict.fromkeys(m for m in made if m is not None))

    def _known(self) -> list[Expr]:
        return [c for c in self.conditions if self.data.knows(c)]

    def _intervals(self, tiles: Mapping[str, Tiles]) -> _Intervals | None:
        """The intervals of one rank at each point of the others; None where nothing is known, or there are too many points."""
        import numpy as np
        known = self._known()
        if not known:
            return None
        best: str | None = None
        for rank in sorted(self.ranks, key=lambda r: -self.extents[r]):
            if tiles[rank].order is None and all(rank not in coords(c) or _bounds(c, rank, self.extents, self.data) is not None for c in known):
                best = rank
                break
        inner = best if best is not None else max(self.ranks, key=lambda r: self.extents[r])
        others = tuple(r for r in self.ranks if r != inner)
        size = math.prod(self.extents[r] for r in others) * (1 if best is not None else self.extents[inner])
        if size > MOST_POINTS:
            return None
        shape = tuple(self.extents[r] for r in others)
        points = dict(zip(others, np.meshgrid(*(np.arange(n) for n in shape), indexing="ij", sparse=True), strict=True)) if others else {}
        if best is None:
            return self._tried(inner, others, points, known)
        low = np.zeros(shape, np.int64)
        high = np.full(shape, self.extents[inner] - 1, np.int64)
        for condition in known:
            bounds = _bounds(condition, inner, self.extents, self.data) if inner in coords(condition) else None
            if bounds is None:
                held = np.broadcast_to(np.asarray(valued(condition, points, self.extents, self.data)) != 0, shape)
                high = np.where(held, high, -1)
                continue
            for coefficient, rest, strict in bounds:
                # coefficient * x + rest <= 0, or below 0
                over = np.floor(-np.asarray(valued(rest, points, self.extents, self.data), float)) if not strict else \
                    np.ceil(-np.asarray(valued(rest, points, self.extents, self.data), float)) - 1
                over = np.clip(over, -2.0**62, 2.0**62).astype(np.int64)
                if coefficient > 0:
                    high = np.minimum(high, np.floor_divide(over, coefficient))
                elif coefficient < 0:
                    low = np.maximum(low, -np.floor_divide(over, -coefficient))
                else:
                    high = np.where(over >= 0, high, -1)
        number = np.arange(max(math.prod(shape), 1))
        low, high = np.ravel(low), np.ravel(high)
        keep = low <= high
        return _Intervals(inner, others, low[keep], high[keep], number[keep])

    def _tried(self, inner: str, others: tuple[str, ...], points: Mapping[str, Array], known: Sequence[Expr]) -> _Intervals:
        import numpy as np
        shape = (*(self.extents[r] for r in others), self.extents[inner])
        spread = {r: np.expand_dims(np.asarray(p), -1) for r, p in points.items()}
        every = {**spread, inner: np.arange(self.extents[inner]).reshape([1] * len(others) + [-1])}
        held = np.ones(shape, bool)
        for condition in known:
            held = held & (np.asarray(valued(condition, every, self.extents, self.data)) != 0)
        where = np.nonzero(held.reshape(-1, shape[-1]))
        return _Intervals(inner, others, where[1], where[1], where[0])

    def _spans(self, found: _Intervals, tiles: Mapping[str, Tiles]) -> tuple[Array, Array, Array]:
        """The first and the last tile of each interval, and the number of the outer tile that it is of."""
        import numpy as np
        inner = tiles[found.inner]
        first, last = inner.owner(found.low), inner.owner(found.high)
        shape = tuple(self.extents[r] for r in found.others)
        owner = np.zeros(len(found.low), np.int64)
        for rank, coordinate in zip(found.others, np.unravel_index(found.number, shape) if shape else (), strict=True):
            owner = owner * len(tiles[rank].low) + tiles[rank].owner(coordinate)
        return first, last, owner

    def _likely(self, tiles: Mapping[str, Tiles], shape: tuple[int, ...]) -> Array:
        """How likely it is that a tile holds a point: one of the mask's elements that it needs is there."""
        import numpy as np
        extents = tuple(self.extents[r] for r in self.ranks)
        if math.prod(extents) > MOST_POINTS:
            raise LookupError(f"a mask by its density over {math.prod(extents)} points")
        grid = np.meshgrid(*(np.arange(n) for n in extents), indexing="ij", sparse=True)
        points = dict(zip(self.ranks, grid, strict=True))
        held = np.ones(extents, bool)
        for condition in self._known():
            held = held & (np.asarray(valued(condition, points, self.extents, self.data)) != 0)
        tile = np.zeros(extents, np.int64)
        for rank, coordinate in zip(self.ranks, grid, strict=True):
            tile = tile * len(tiles[rank].low) + tiles[rank].owner(coordinate)
        chances = self._chances()
        if len(chances) > 1:
            raise LookupError(f"{len(chances)} masks by their densities on the same ranks")
        (mask, density), = chances
        element = np.zeros(extents, np.int64)
        for index in mask.indices:
            place = np.broadcast_to(np.asarray(valued(index, points, self.extents, self.data)).astype(np.int64), extents)
            element = element * (int(place.max(initial=0)) + 1) + place
        pairs = np.unique(np.stack([tile[held], element[held]]), axis=1)
        count = np.bincount(pairs[0], minlength=math.prod(shape)).reshape(shape)
        return 1 - (1 - density) ** count


@dataclass(frozen=True, eq=False, slots=True)
class _Intervals:
    """Intervals of ``inner`` from ``low`` to ``high``, not empty, of the points number ``number`` (row-major) of the others."""

    inner: str
    others: tuple[str, ...]
    low: Array
    high: Array
    number: Array


def _united(first: Array, last: Array, owner: Array, most: int) -> tuple[Array, Array]:
    """Intervals of numbers below ``most``, each of an owner, as disjoint ones of ``owner * most + number``."""
    import numpy as np
    start, end = owner * most + first, owner * most + last
    order = np.argsort(start, kind="stable")
    start, end = start[order], end[order]
    reach = np.concatenate([[-1], np.maximum.accumulate(end)[:-1]])
    start = np.maximum(start, reach + 1)
    keep = start <= end
    return start[keep], end[keep]


def _bounds(condition: Expr, rank: str, extents: Mapping[str, int], data: Data) -> list[tuple[int, Expr, bool]] | None:
    """A comparison as ``coefficient * rank + rest <= 0`` (or below 0, where it is strict), of a rest without the rank."""
    comparison = compared(condition)
    if comparison is None:
        return None
    op, left, right = comparison
    split = _split(Call("sub", (left, right)), rank, extents)
    if split is None:
        return None
    coefficient, rest = split
    found = [(coefficient, rest, op == "lt")]
    if op == "eq":
        found.append((-coefficient, Call("neg", (rest,)), False))
    return found


def _split(expr: Expr, rank: str, extents: Mapping[str, int]) -> tuple[int, Expr] | None:
    """An expression as a whole number times a rank and a rest without it; None where it is no such sum."""
    from einsum_cascades.analysis.counting import evaluated
    if rank not in coords(expr):
        return 0, expr
    match expr:
        case Coord():
            return 1, Num(0.0)
        case Call(op="add" | "sub" as op, args=(left, right)):
            a, b = _split(left, rank, extents), _split(right, rank, extents)
            if a is None or b is None:
                return None
            return a[0] + (b[0] if op == "add" else -b[0]), Call(op, (a[1], b[1]))
        case Call(op="neg", args=(inner,)):
            a = _split(inner, rank, extents)
            return None if a is None else (-a[0], Call("neg", (a[1],)))
        case Call(op="mul", args=(left, right)):
            for factor, other in ((left, right), (right, left)):
                if not coords(factor) and not accesses(factor):
                    value = float(evaluated(factor, {}, extents))
                    a = _split(other, rank, extents)
                    if a is not None and value == int(value):
                        return a[0] * int(value), Call("mul", (factor, a[1]))
    return None
