"""Boxes of an iteration space: the tiles that loops cut ranks into, and what a tile of them touches.

Where a predicate or a window ties ranks together, counts are no products any more. They are sums over boxes (one
tile of each rank), vectorised: of those that are not empty, of how many coordinates of a tensor each touches.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from einsum_cascades.analysis.counting import evaluated
from einsum_cascades.analysis.linear import Linear
from einsum_cascades.ir import Call, Coord, Expr, Extent, Num, coords

Array = Any

MOST_POINTS = 1 << 24
"""Points of a grid on which a predicate that is no linear inequality is tried."""

MOST_BOXES = 1 << 26
"""Boxes that are summed one by one."""


@dataclass(frozen=True, eq=False)
class Tiles:
    """The tiles of one rank: first coordinates ``low`` and lengths. Where tiles are no intervals (PEs along an outer part, a loop
    over an inner one), ``order`` lists the coordinates tile by tile, and ``low`` are places in it."""

    low: Array
    length: Array
    order: Array | None = None

    @property
    def high(self) -> Array:
        """The last coordinate of each, or its place."""
        return self.low + self.length - 1

    @property
    def first(self) -> Array:
        """One coordinate of each."""
        return self.low if self.order is None else self.order[self.low]

    def owner(self, coordinate: Array) -> Array:
        """Returns the number of the tile that each coordinate is of."""
        import numpy as np
        if self.order is None:
            return np.searchsorted(self.low, coordinate, "right") - 1
        table = np.empty(len(self.order), np.int64)
        table[self.order] = np.repeat(np.arange(len(self.low)), self.length)
        return table[coordinate]


def whole(extent: int) -> Tiles:
    """Returns the one tile that is the whole rank."""
    import numpy as np
    return Tiles(np.zeros(1, np.int64), np.full(1, extent, np.int64))


def split(tiles: Tiles, size: int) -> Tiles:
    """Returns every tile cut into tiles of ``size``, the last of each as long as what is left."""
    import numpy as np
    pieces = -(-tiles.length // size)
    owner = np.repeat(np.arange(len(tiles.low)), pieces)
    number = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    length = np.minimum(size, tiles.length[owner] - number * size)
    return Tiles(tiles.low[owner] + number * size, length)


def sorted_by(key: Array) -> Tiles:
    """Returns the tiles of coordinates that have the same key each."""
    import numpy as np
    order = np.argsort(key, kind="stable")
    _, low, length = np.unique(key[order], return_index=True, return_counts=True)
    return Tiles(low, length, None if np.array_equal(order, np.arange(len(key))) else order)


def gathered(values: Array, fine: Tiles, coarse: Tiles) -> Array:
    """Returns the sums of values of fine tiles over the coarse tiles that they lie in."""
    import numpy as np
    found = np.zeros(len(coarse.low), np.asarray(values).dtype)
    np.add.at(found, coarse.owner(fine.first), values)
    return found


def span(expr: Expr, boxes: Mapping[str, tuple[Array, Array]], extents: Mapping[str, int]) -> tuple[Array, Array]:
    """Returns the least and the greatest value of an index over boxes of coordinates (rank to first and last).

    Raises: LookupError for an operator that has no such bounds here.
    """
    import numpy as np
    match expr:
        case Num() | Extent():
            value = evaluated(expr, {}, extents)
            return value, value
        case Coord(rank=rank):
            return boxes[rank]
        case Call(op=op, args=args):
            inner = [span(a, boxes, extents) for a in args]
            match op:
                case "add":
                    return inner[0][0] + inner[1][0], inner[0][1] + inner[1][1]
                case "sub":
                    return inner[0][0] - inner[1][1], inner[0][1] - inner[1][0]
                case "neg":
                    return -inner[0][1], -inner[0][0]
                case "mul" | "floordiv":
                    made = [_apply(op, a, b) for a in inner[0] for b in inner[1]]
                    return np.minimum.reduce(np.broadcast_arrays(*made)), np.maximum.reduce(np.broadcast_arrays(*made))
                case "min" | "max" | "clamp":
                    names = tuple(Coord(str(i)) for i in range(len(inner)))
                    low, high = (evaluated(Call(op, names), {str(i): side[end] for i, side in enumerate(inner)}, extents)
                                 for end in (0, 1))
                    return low, high
                case "mod" if not coords(args[1]):
                    size = evaluated(args[1], {}, extents)
                    low, high = inner[0]
                    within = np.floor_divide(low, size) == np.floor_divide(high, size)
                    return np.where(within, np.mod(low, size), 0), np.where(within, np.mod(high, size), size - 1)
    raise LookupError(type(expr).__name__ if not isinstance(expr, Call) else expr.op)


def _apply(op: str, a: Array, b: Array) -> Array:
    import numpy as np
    return np.multiply(a, b) if op == "mul" else np.floor_divide(a, b)


def touched(expr: Expr, boxes: Mapping[str, tuple[Array, Array]], extents: Mapping[str, int], size: int | None) -> Array:
    """Returns how many coordinates below ``size`` an index touches in each box.

    Raises: LookupError for an index that has no such count here.
    """
    import numpy as np
    low, high = span(expr, boxes, extents)
    steps = _steps(expr, boxes, extents)
    if steps:
        return _progressions(low, high, steps, size)
    return np.maximum((high if size is None else np.minimum(high, size - 1)) - np.maximum(low, 0) + 1, 0)


def drawn(points: Array, size: int | None, expected: bool) -> Array:
    """Returns how many different ones of ``size`` coordinates so many draws meet: at most, or in the mean of uniform draws with
    replacement."""
    import numpy as np
    if size is None:
        return points
    if expected:
        return size * -np.expm1(points * math.log1p(-1 / size)) if size > 1 else np.minimum(points, 1)
    return np.minimum(points, size)


def contiguous(expr: Expr, boxes: Mapping[str, tuple[Array, Array]], extents: Mapping[str, int]) -> bool:
    """Returns whether an index that is not affine surely takes every value between its extremes in each box."""
    import numpy as np
    match expr:
        case Num() | Extent() | Coord():
            return True
        case Call(op="add" | "sub", args=(a, b)):
            return not set(coords(a)) & set(coords(b)) and contiguous(a, boxes, extents) and contiguous(b, boxes, extents)
        case Call(op="neg", args=(a,)):
            return contiguous(a, boxes, extents)
        case Call(op="clamp" | "min" | "max", args=args):
            return sum(bool(coords(a)) for a in args) <= 1 and all(contiguous(a, boxes, extents) for a in args)
        case Call(op="floordiv", args=(a, b)):
            return not coords(b) and contiguous(a, boxes, extents)
        case Call(op="mod", args=(a, b)):
            if coords(b) or not contiguous(a, boxes, extents):
                return False
            size = evaluated(b, {}, extents)
            low, high = span(a, boxes, extents)
            within = np.floor_divide(low, size) == np.floor_divide(high, size)
            return bool(np.all(within | (high - low + 1 >= size)))
    return not coords(expr)


def has_gaps(expr: Expr, boxes: Mapping[str, tuple[Array, Array]], extents: Mapping[str, int]) -> bool | None:
    """Returns whether an affine index leaves out values between its extremes; None for an index that is not affine."""
    steps = _steps(expr, boxes, extents)
    return None if steps is None else bool(steps)


def _steps(expr: Expr, boxes: Mapping[str, tuple[Array, Array]],
           extents: Mapping[str, int]) -> list[tuple[int, Array]] | None:
    """The positive coefficients and the number of coordinates of an affine index, ascending, where it may leave gaps; none where it
    does not, None where it is not affine."""
    import numpy as np

    from einsum_cascades.analysis.counting import affine_in
    form = affine_in(expr, extents)
    if form is None:
        return None
    steps = sorted(((abs(c), boxes[r][1] - boxes[r][0] + 1) for r, c in form[0].items() if c), key=lambda s: s[0])
    reach: Array = 0
    for coefficient, count in steps:
        if np.any((count > 1) & (coefficient > reach + 1)):
            return steps
        reach = reach + coefficient * (count - 1)
    return []


def _progressions(low: Array, high: Array, steps: list[tuple[int, Array]], size: int | None) -> Array:
    """Distinct values of sums of arithmetic progressions that leave gaps, counted by trying them."""
    import numpy as np
    counts = [np.broadcast_to(c, np.shape(low)).ravel() for _, c in steps]
    starts = np.ravel(low)
    keys = np.stack([*counts, starts], axis=1) if size is not None else np.stack([*counts, np.zeros_like(starts)], axis=1)
    shapes, place = np.unique(keys, axis=0, return_inverse=True)
    if len(shapes) * int(np.prod([c.max() for c in counts])) > MOST_POINTS:
        raise LookupError("a strided window over so many tiles")
    found = np.empty(len(shapes), np.int64)
    for number, shape in enumerate(shapes):
        values = np.array([shape[-1]], np.int64)
        for (coefficient, _), count in zip(steps, shape[:-1], strict=True):
            values = (values[:, None] + coefficient * np.arange(count)).ravel()
        values = np.unique(values)
        found[number] = len(values) if size is None else int(np.count_nonzero((values >= 0) & (values < size)))
    return found[place.ravel()].reshape(np.shape(low))


def active(forms: Sequence[Linear], boxes: Mapping[str, tuple[Array, Array]]) -> Array:
    """Returns which boxes hold a point at which each linear form is at most 0 (each by itself)."""
    result: Array = True
    for form in forms:
        least: Array = form.constant
        for rank, coefficient in form.coordinates:
            least = least + coefficient * boxes[rank][0 if coefficient > 0 else 1]
        result = result & (least <= 0)
    return result
