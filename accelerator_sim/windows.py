"""What windows of one operand touch in each combination of tiles: closed forms where there are, else every point tried."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from accelerator_sim.data import EXPECTED, Case, Data, valued
from accelerator_sim.regions import MOST_BOXES, MOST_POINTS, Tiles, contiguous, drawn, has_gaps, span, touched
from einsum_cascades.ir import Access, Expr, accesses, coords

Array = Any
Boxes = Mapping[str, tuple[Array, Array]]
"""The first and the last coordinate of ranks, by combination of tiles."""


@dataclass(frozen=True, slots=True)
class Window:
    """A dimension of a tensor whose index is no rank: a window (``p + j``), a stride, a clamp, or a gather (``I[p,j]``).

    ``index`` is over whole ranks (a composite by its name), ``rank`` the rank that the dimension is as long as, if any,
    ``parts`` the parts of the ranks that it mentions.
    """

    tensor: str
    index: Expr
    rank: str | None
    parts: frozenset[str]


@dataclass(frozen=True, eq=False)
class Touches:
    """The windows of an operand over ``ranks``, in tiles. ``parts`` are its plain parts of the same ranks, of
    those in ``walked`` all; ``lanes`` are the PEs in each tile, by rank; ``digit`` gives a part's digit at each coordinate of a rank; ``caps`` bounds the coordinates of which a gather makes use."""

    windows: tuple[Window, ...]
    ranks: tuple[str, ...]
    tiles: Mapping[str, Tiles]
    extents: Mapping[str, int]
    data: Data
    case: Case
    caps: Mapping[str, int]
    parts: Mapping[str, tuple[str, ...]]
    walked: frozenset[str]
    lanes: Mapping[str, Array]
    digit: Callable[[str, str], Array]

    def count(self, boxes: Boxes, chunk: Boxes) -> Array:
        """Returns how many values the windows touch together, with the operand's parts of their ranks. ``chunk`` are the boxes of
        ranks that are no tiles."""
        result: Array = 1
        for together in self._together():
            result = result * self._joint(together, boxes, chunk)
        return result

    def _together(self) -> Iterator[list[Window]]:
        """Windows that share a rank, directly or through others."""
        left = list(self.windows)
        while left:
            group = [left.pop(0)]
            ranks = set(coords(group[0].index))
            while True:
                more = [w for w in left if ranks & set(coords(w.index))]
                if not more:
                    break
                left = [w for w in left if w not in more]
                group += more
                ranks |= {r for w in more for r in coords(w.index)}
            yield group

    def size(self, window: Window) -> int | None:
        """Returns how long the dimension is, where something says so."""
        return self.extents.get(window.rank) if window.rank is not None else None

    def _joint(self, windows: Sequence[Window], boxes: Boxes, chunk: Boxes) -> Array:
        drawing = [w for w in windows if not self.data.knows(w.index)]
        ranks = tuple(dict.fromkeys(r for w in windows for r in coords(w.index)))
        shared = [r for r in ranks if self.parts.get(r)]
        if drawing:
            return self._drawn(windows, drawing, ranks, shared, boxes)
        if len(windows) == 1 and not shared and not accesses(windows[0].index):
            closed = self._closed(windows[0], boxes)
            if closed is not None:
                return closed
        if set(ranks) & set(chunk):
            raise LookupError(f"a window that is no interval along {', '.join(set(ranks) & set(chunk))}, which is recomputed")
        return self._tried(windows, ranks, shared)

    def _closed(self, window: Window, boxes: Boxes) -> Array | None:
        if any(r in self.tiles and self.tiles[r].order is not None for r in coords(window.index)):
            return None
        try:
            gaps = has_gaps(window.index, boxes, self.extents)
            if gaps is None and not contiguous(window.index, boxes, self.extents):
                return None
            return touched(window.index, boxes, self.extents, self.size(window))
        except LookupError:
            return None

    def _drawn(self, windows: Sequence[Window], drawing: Sequence[Window], ranks: Sequence[str], shared: Sequence[str],
               boxes: Boxes) -> Array:
        """Gathers: as many draws as there are points, for each of the coordinates that the operand has as well."""
        import numpy as np
        if any(r not in self.walked for r in shared):
            raise LookupError(f"a gather over a part of rank {shared[0]}")
        draws: Array = 1
        times: Array = 1
        for rank in ranks:
            length = boxes[rank][1] - boxes[rank][0] + 1
            if rank in shared:
                times = times * length
            else:
                draws = draws * (np.minimum(length, self.caps[rank]) if rank in self.caps else length)
        sizes = [self.size(w) for w in drawing]
        size = None if any(s is None for s in sizes) else math.prod(s for s in sizes if s is not None)
        others = [w for w in windows if w not in drawing]
        if not others:
            # A mean is known of values that are coordinates themselves, each drawn by itself.
            plain = all(isinstance(w.index, Access) for w in drawing)
            return times * drawn(draws, size, self.case == EXPECTED and plain)
        most: Array = math.inf if size is None else size
        for window in others:
            closed = self._closed(window, boxes)
            most = most * (closed if closed is not None else self.size(window) or math.inf)
        return np.minimum(times * draws, most)

    def _tried(self, windows: Sequence[Window], ranks: Sequence[str], shared: Sequence[str]) -> Array:
        """Every point of the ranks is tried."""
        import numpy as np
        extents = tuple(self.extents[r] for r in ranks)
        if math.prod(extents) > MOST_POINTS:
            raise LookupError(f"an index without a closed form at {math.prod(extents)} points")
        grid = np.meshgrid(*(np.arange(n) for n in extents), indexing="ij", sparse=True)
        points = dict(zip(ranks, grid, strict=True))
        tile, key, inside = np.zeros(extents, np.int64), np.zeros(extents, np.int64), np.ones(extents, bool)
        for rank in ranks:
            tile = tile * len(self.tiles[rank].low) + self.tiles[rank].owner(points[rank])
        for window in windows:
            place = np.broadcast_to(np.asarray(valued(window.index, points, self.extents, self.data)).astype(np.int64), extents)
            size = self.size(window)
            inside = inside & (place >= 0) & (place < (math.inf if size is None else size))
            low = int(place.min(initial=0))
            key = key * (int(place.max(initial=0)) - low + 1) + place - low
        for rank in shared:
            for part in self.parts[rank]:
                digit = self.digit(rank, part).reshape(np.shape(points[rank]))
                key = key * (int(digit.max()) + 1) + digit
        shape = tuple(len(self.tiles[r].low) for r in ranks)
        found = np.unique(np.stack([tile[inside], key[inside]]), axis=1)
        counts = np.bincount(found[0], minlength=math.prod(shape)).reshape(shape)
        order = sorted(range(len(ranks)), key=lambda n: self.ranks.index(ranks[n]))
        counts = np.transpose(counts, order)
        return counts.reshape([len(self.tiles[r].low) if r in ranks else 1 for r in self.ranks])


def lane_points(touches: Touches, boxes: Boxes, chunk: Boxes) -> Array:
    """Returns how many points the tiles of a step have at which the windows stay inside their tensor: as many values are delivered."""
    import numpy as np
    ranks = [r for r in touches.ranks if any(r in coords(w.index) for w in touches.windows)]
    if all(_sure(touches, w, boxes) for w in touches.windows):
        result: Array = 1
        for rank in (r for r in chunk if any(r in coords(w.index) for w in touches.windows)):
            result = result * (boxes[rank][1] - boxes[rank][0] + 1)
        for rank in ranks:
            axis = touches.ranks.index(rank)
            result = result * touches.lanes[rank].reshape([-1 if a == axis else 1 for a in range(len(touches.ranks))])
        return result
    if any(np.any(touches.lanes[r] != touches.tiles[r].length) for r in ranks):
        raise LookupError("a window over a part of a rank that leaves its tensor")
    size = math.prod(touches.extents[r] for r in ranks) * max((int(np.size(low)) for low, _ in chunk.values()), default=1)
    if size > MOST_BOXES:
        raise LookupError(f"a window that leaves its tensor at {size} points")
    axes = len(touches.ranks)
    points: dict[str, Array] = {}
    for rank in ranks:
        order = touches.tiles[rank].order
        points[rank] = (np.arange(touches.extents[rank]) if order is None else order).reshape([-1 if r == rank else 1 for r in touches.ranks])
    for rank, (low, _) in chunk.items():
        # A halo's first coordinate follows the tiles of other ranks.
        points[rank] = low
    inside: Array = np.ones((1,) * axes, bool)
    for window in touches.windows:
        if not touches.data.knows(window.index):
            continue
        place = np.asarray(valued(window.index, points, touches.extents, touches.data))
        limit = touches.size(window)
        inside = inside & (place >= 0) & (place < (math.inf if limit is None else limit))
    result = inside.astype(np.int64)
    for axis, rank in enumerate(touches.ranks):
        if rank in ranks:
            result = np.broadcast_to(result, [touches.extents[rank] if a == axis else n for a, n in enumerate(result.shape)])
            result = np.add.reduceat(result, touches.tiles[rank].low, axis=axis)
    return result


def _sure(touches: Touches, window: Window, boxes: Boxes) -> bool:
    """Whether an index surely stays inside: as all gathers do."""
    import numpy as np
    if not touches.data.knows(window.index):
        return True
    size = touches.size(window)
    # Tiles that are no intervals may be anywhere.
    around = {r: (np.zeros(1, np.int64), np.full(1, touches.extents[r] - 1)) if r in touches.tiles and touches.tiles[r].order is not None
              else box for r, box in boxes.items()}
    try:
        low, high = span(window.index, around, touches.extents)
    except LookupError:
        return False
    return bool(np.all(low >= 0)) and (size is None or bool(np.all(high < size)))
