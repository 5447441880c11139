"""Counts of a walk where predicates, windows or halos tie ranks: sums over the tiles that its loops cut ranks into.

Ranks that are tied, directly or through others, are a group; groups multiply. In a group each combination of tiles counts, where
it holds a point that predicates leave, what an operand has there: the coordinates of its parts, what its windows touch, how
long a halo is.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from accelerator_sim.data import Case, Data, valued
from accelerator_sim.predicates import Predicates
from accelerator_sim.quantities import Quantity
from accelerator_sim.recompute import Halo
from accelerator_sim.regions import (
    MOST_BOXES,
    MOST_POINTS,
    Tiles,
    contiguous,
    gathered,
    has_gaps,
    sorted_by,
    span,
    split,
    touched,
    whole,
)
from accelerator_sim.space import Seen, Space
from accelerator_sim.windows import Touches, Window, lane_points
from einsum_cascades.errors import DesignError
from einsum_cascades.ir import Expr, coords

Array = Any


@dataclass(frozen=True, eq=False)
class Ties:
    """Predicates that leave out points of an Einsum.

    ``conditions`` are over whole ranks. Iterations of ``loops`` that hold no point are skipped; loops further in run
    wholly inside an iteration that is not.
    """

    conditions: tuple[Expr, ...]
    loops: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Grid:
    """The tiles of one Einsum's ranks. ``leaves`` are the parts of those leaves of composites that stand by themselves,
    ``halos`` ranks that follow windows of others, ``data`` and ``case`` what is known of data and taken of the rest."""

    einsum: str
    space: Space
    spread: Mapping[str, Quantity]
    leaves: Mapping[str, tuple[str, ...]]
    halos: tuple[Halo, ...]
    ties: Ties | None
    data: Data
    case: Case

    def total(self, parts: frozenset[str], windows: Sequence[Window], loops: frozenset[str], *, pairs: bool = False,
              caps: Mapping[str, int] | None = None) -> Quantity:
        """Returns the values of an operand over all iterations of some loops that are not empty; ``pairs`` counts a value once
        for each PE that has it. An operand without parts and windows is one value: its total is that of the iterations.
        ``caps`` bounds, by rank, the coordinates of which a gather makes use."""
        seen = {*parts, *loops, *(self.spread if pairs else ())}
        result: Quantity = 1
        grouped: set[str] = set()
        for group, own, conditions in self._groups(windows):
            grouped |= {p for r in group for p in self.parts_of(r)}
            result = result * self._refusing(lambda g=group, o=own, c=conditions: self._sum(g, o, c, parts, loops, pairs, caps or {}))
        for rank in dict.fromkeys(self.space.whole(p) for p in sorted(seen - grouped)):
            told: dict[str, Seen] = {}
            for part in self.space.parts[rank]:
                if part in grouped:
                    continue
                if part in parts or part in loops and (pairs or part not in self.spread):
                    told[part] = "all"
                elif part in loops:
                    told[part] = "step"
                elif pairs and part in self.spread:
                    told[part] = "pe"
            if told:
                result = result * self.space.along(rank, told, self.spread)
        return result

    def most(self, parts: frozenset[str], windows: Sequence[Window], loops: frozenset[str]) -> tuple[Quantity, frozenset[str]]:
        """Returns the most values that the tied ranks of an operand have in a tile inside some loops, and the parts of these."""
        result: Quantity = 1
        done: set[str] = set()
        halos = {h.rank for h in self.halos}
        for group, own, _ in self._groups(windows):
            if own or halos & set(group):
                done |= {p for r in group for p in self.parts_of(r)}
                _, value = self._refusing(lambda g=group, o=own: self._values(g, o, parts, loops, False, {}))
                result = result * value.max().item()
        return result, frozenset(done)

    def present(self, parts: frozenset[str], loops: frozenset[str], conditions: tuple[Expr, ...]) -> Quantity:
        """Returns how many points over some parts meet some conditions, in all iterations of some loops."""
        own = Ties(conditions, tuple(loops))
        return replace(self, ties=own).total_present(parts, loops)

    def total_present(self, parts: frozenset[str], loops: frozenset[str]) -> Quantity:
        """Returns the points over some parts that meet the predicates."""
        result: Quantity = 1
        grouped: set[str] = set()
        for group, _, conditions in self._groups(()):
            grouped |= {p for r in group for p in self.parts_of(r)}
            result = result * self._refusing(lambda g=group, c=conditions: self._present(g, c, parts, loops))
        return result * self.space.size(parts - grouped)

    def _present(self, group: tuple[str, ...], conditions: tuple[Expr, ...], parts: frozenset[str], loops: frozenset[str]) -> Quantity:
        import numpy as np
        halos = [h for h in self.halos if h.rank in group]
        base = tuple(r for r in group if r not in {h.rank for h in halos})
        if not halos:
            return Predicates(conditions, base, self.extents(), self.data).points()
        conditions = tuple(c for c in conditions if self.data.knows(c))
        tied = {r for c in conditions for r in coords(c)}
        outer = tuple(r for r in base if any(r in coords(h.index) for h in halos))
        if tied & set(outer):
            raise LookupError(f"a predicate on {', '.join(sorted(tied & set(outer)))} in what is recomputed with a halo")
        fine = {r: self.tiles(r, loops) for r in outer}
        boxes = {r: (fine[r].low.reshape(_axis(a, len(outer))), fine[r].high.reshape(_axis(a, len(outer)))) for a, r in enumerate(outer)}
        cells: Array = np.ones((1,) * len(outer), np.int64)
        for axis, rank in enumerate(outer):
            cells = cells * self._told(rank, parts, loops, fine[rank], False).reshape(_axis(axis, len(outer)))
        ranges = []
        for halo in halos:
            low, length = self._halo(halo, boxes, halo.rank in tied, any(t.order is not None for t in fine.values()))
            if halo.rank in tied:
                ranges.append((halo.rank, low, length))
            else:
                cells = cells * length
        sums = self._prefixes(conditions, tuple(r for r, _, _ in ranges), tuple(r for r in base if r not in outer))
        total: Array = 0
        for ends in product((0, 1), repeat=len(ranges)):
            corner = tuple(np.where(length > 0, low + end * length, 0) for end, (_, low, length) in zip(ends, ranges, strict=True))
            total = total + (-1) ** (len(ranges) - sum(ends)) * sums[corner]
        return np.sum(cells * total).item()

    def _prefixes(self, conditions: tuple[Expr, ...], stretched: tuple[str, ...], free: tuple[str, ...]) -> Array:
        """How many points of free ranks meet conditions below each coordinate of others."""
        import numpy as np
        extents = self.extents()
        shape = tuple(extents[r] for r in (*stretched, *free))
        if math.prod(shape) > MOST_POINTS:
            raise LookupError(f"a predicate in what is recomputed with a halo, at {math.prod(shape)} points")
        points = dict(zip((*stretched, *free), np.meshgrid(*(np.arange(n) for n in shape), indexing="ij", sparse=True), strict=True))
        held = np.ones(shape, bool)
        for condition in conditions:
            held = held & (np.asarray(valued(condition, points, extents, self.data)) != 0)
        sums = held.sum(axis=tuple(range(len(stretched), len(shape))), dtype=np.int64)
        for axis in range(len(stretched)):
            sums = np.concatenate([np.zeros_like(sums.take([0], axis=axis)), np.cumsum(sums, axis=axis)], axis=axis)
        return sums

    def longest(self, ranks: Iterable[str], loops: frozenset[str]) -> dict[str, int]:
        """Returns the longest tile that loops cut each of some ranks into."""
        return self._refusing(lambda: {r: int(self.tiles(r, loops).length.max()) for r in ranks})  # type: ignore[no-any-return]

    # --- private parts ---

    def _refusing(self, make: Any) -> Any:
        try:
            return make()
        except LookupError as error:
            raise DesignError(f"Einsum {self.einsum!r}: an index, window or predicate has no action counts, got {error.args[0]}; "
                              f"simulate a cascade without it, use larger tiles, or shorter ranks") from None

    def parts_of(self, rank: str) -> tuple[str, ...]:
        """Returns the parts of a rank, whole or a leaf."""
        return self.space.parts[rank] if rank in self.space.parts else self.leaves[rank]

    def extents(self) -> dict[str, int]:
        """Returns the extent of every rank and leaf, by the names that expressions give them."""
        found = {leaf: int(self.space.size(own)) for leaf, own in self.leaves.items()}
        return {**{p: int(n) for p, n in self.space.sizes.items()}, **found, **{r: int(n) for r, n in self.space.extents.items()}}

    def _groups(self, windows: Sequence[Window]) -> Iterator[tuple[tuple[str, ...], list[Window], tuple[Expr, ...]]]:
        conditions = self.ties.conditions if self.ties is not None else ()
        sets = [*(coords(w.index) for w in windows), *(coords(c) for c in conditions),
                *((h.rank, *coords(h.index)) for h in self.halos)]
        for group in _joined(sets):
            yield (group, [w for w in windows if set(coords(w.index)) <= set(group)],
                   tuple(c for c in conditions if set(coords(c)) <= set(group)))

    def tiles(self, rank: str, loops: frozenset[str]) -> Tiles:
        """Returns the tiles that loops cut a rank into."""
        parts = self.parts_of(rank)
        found = whole(self.extents()[rank])
        looped = [p for p in parts if p in loops and int(self.space.extent(p)) > 1]
        # Tiles are intervals where loops go from the outer parts inwards, and none is inside of a part that is spread over PEs.
        ahead = [p for p in parts[:parts.index(looped[-1])] if int(self.space.extent(p)) > 1] if looped else []
        if any(p not in loops or p in self.spread and int(self.spread[p]) > 1 for p in ahead):
            key: Array = 0
            for part in looped:
                digit = self._digit(rank, part) // int(self.spread.get(part, 1))
                key = key * (int(digit.max()) + 1) + digit
            return sorted_by(key)
        for part in looped:
            inside = 1
            for inner in parts[parts.index(part) + 1:]:
                inside *= int(self.space.extent(inner))
            found = split(found, inside * int(self.spread.get(part, 1)))
        return found

    def _sum(self, group: tuple[str, ...], windows: Sequence[Window], conditions: tuple[Expr, ...], parts: frozenset[str],
             loops: frozenset[str], pairs: bool, caps: Mapping[str, int]) -> Quantity:
        import numpy as np
        halos = [h.rank for h in self.halos if h.rank in group]
        base = tuple(r for r in group if r not in halos)
        if conditions and set(halos) & {r for c in conditions for r in coords(c)}:
            raise LookupError(f"a predicate on {halos[0]}, which is recomputed with a halo")
        skipping = loops & frozenset(self.ties.loops) if self.ties is not None and conditions else loops
        predicates = Predicates(conditions, base, self.extents(), self.data)
        coarse = {r: self.tiles(r, skipping) for r in base}
        fine = {r: self.tiles(r, loops) for r in base}
        late = [r for r in base if pairs and skipping == loops and conditions and any(
            p in self.spread and p not in parts and p not in loops for p in self.parts_of(r))
            and len(self.tiles(r, loops | frozenset(self.parts_of(r))).low) > len(fine[r].low)]
        if late:
            return self._lanes(predicates, base, late, parts, loops, bool(windows or halos))
        if not windows and not halos:
            weights = {r: gathered(self._told(r, parts, loops, fine[r], pairs), fine[r], coarse[r]) for r in base}
            return predicates.sum(coarse, weights)
        _, value = self._values(group, windows, parts, loops, pairs, caps)
        if conditions:
            held = predicates.held(coarse)
            for axis, rank in enumerate(base):
                held = np.take(held, coarse[rank].owner(fine[rank].first), axis=axis)
            value = value * held
        return np.sum(np.broadcast_to(value, np.broadcast_shapes(np.shape(value), tuple(len(fine[r].low) for r in base)))).item()

    def _lanes(self, predicates: Predicates, base: tuple[str, ...], late: Sequence[str], parts: frozenset[str], loops: frozenset[str],
               others: bool) -> Quantity:
        """Values for each PE that has them, where PEs along a rank stay idle in some of the steps that predicates leave: those of a
        last step, that is not full, are among those of the others."""
        import numpy as np
        if len(late) > 1 or others or predicates.likely:
            raise LookupError(f"PEs along {', '.join(late)} of which predicates leave some idle")
        (rank,), fine = late, {r: self.tiles(r, loops) for r in base}
        steps = loops | frozenset(self.parts_of(rank))
        coarse, fine[rank] = fine[rank], self.tiles(rank, steps)
        axis = base.index(rank)
        value = predicates.held(fine) * self._told(rank, parts, steps, fine[rank], True).reshape(_axis(axis, len(base)))
        most = np.zeros((len(coarse.low), *(n for a, n in enumerate(value.shape) if a != axis)), value.dtype)
        np.maximum.at(most, coarse.owner(fine[rank].first), np.moveaxis(value, axis, 0))
        value = np.moveaxis(most, 0, axis)
        for a, r in enumerate(base):
            if r != rank:
                value = value * self._told(r, parts, loops, fine[r], True).reshape(_axis(a, len(base)))
        return np.sum(value).item()

    def _values(self, group: tuple[str, ...], windows: Sequence[Window], parts: frozenset[str], loops: frozenset[str], pairs: bool,
                caps: Mapping[str, int]) -> tuple[dict[str, Tiles], Array]:
        """What an operand has in each combination of tiles."""
        import numpy as np
        own = [h for h in self.halos if h.rank in group]
        base = tuple(r for r in group if r not in {h.rank for h in own})
        fine = {r: self.tiles(r, loops) for r in base}
        if math.prod(len(t.low) for t in fine.values()) > MOST_BOXES:
            raise LookupError(f"{math.prod(len(t.low) for t in fine.values())} tiles that predicates and windows tie")
        tied = {r for w in windows for r in coords(w.index)}
        result: Array = np.ones((1,) * len(base), np.int64)
        for axis, rank in enumerate(base):
            if rank not in tied:
                result = result * self._told(rank, parts, loops, fine[rank], pairs).reshape(_axis(axis, len(base)))
        boxes: dict[str, tuple[Array, Array]] = {
            r: (fine[r].low.reshape(_axis(a, len(base))), fine[r].high.reshape(_axis(a, len(base)))) for a, r in enumerate(base)}
        touches = Touches(tuple(windows), base, fine, self.extents(), self.data, self.case, caps,
                          {r: tuple(p for p in self.parts_of(r) if p in parts) for r in tied if r in base},
                          frozenset(r for r in tied if r in base and parts.issuperset(self.parts_of(r))),
                          {r: self._told(r, parts.union(*(w.parts for w in windows)), loops, fine[r], True) for r in tied
                           if r in base} if pairs else {}, self._digit)
        stretched: list[tuple[Halo, Array, Array]] = []
        for halo in own:
            low, length = self._halo(halo, boxes, halo.rank in tied, any(t.order is not None for t in fine.values()))
            if halo.rank in tied:
                stretched.append((halo, low, length))
                result = result * (length > 0)
            else:
                result = result * self._along(halo, parts, loops, length, pairs)
        if not windows:
            return fine, result
        total: Array = 0
        for chunk, held in self._chunks(stretched, loops, pairs):
            here = {**boxes, **chunk}
            total = total + held * (lane_points(touches, here, chunk) if pairs else touches.count(here, chunk))
        return fine, result * total

    def _halo(self, halo: Halo, boxes: Mapping[str, tuple[Array, Array]], tied: bool,
              scattered: bool) -> tuple[Array, Array]:
        """The first coordinate of a halo in each tile, and how many there are."""
        import numpy as np
        extents = self.extents()
        if scattered:
            raise LookupError(f"tiles of {halo.rank}, which is recomputed, that are no intervals")
        gaps = has_gaps(halo.index, boxes, extents)
        if gaps is None and not contiguous(halo.index, boxes, extents) or gaps and tied:
            raise LookupError(f"a window with gaps along {halo.rank}, which is recomputed")
        low, _ = span(halo.index, boxes, extents)
        length = np.asarray(touched(halo.index, boxes, extents, extents[halo.of]), np.int64)
        for index, of in halo.behind:
            # Where its reader has nothing, there is nothing to make.
            length = length * (touched(index, boxes, extents, extents[of]) > 0)
        return np.maximum(low, 0), length

    def _along(self, halo: Halo, parts: frozenset[str], loops: frozenset[str], length: Array, pairs: bool) -> Array:
        import numpy as np
        pes = int(self.spread.get(halo.rank, 1))
        if halo.rank in parts or halo.rank in loops and pairs:
            return length
        if halo.rank in loops:
            return -(-length // pes)
        return np.minimum(length, pes) if pairs and halo.rank in self.spread else (length > 0).astype(np.int64)

    def _chunks(self, halos: Sequence[tuple[Halo, Array, Array]], loops: frozenset[str],
                pairs: bool) -> Iterator[tuple[dict[str, tuple[Array, Array]], Array]]:
        """The steps through halos that windows are over: their ranges, and where there are any."""
        import numpy as np
        if not halos:
            yield {}, 1
            return
        (halo, low, length), *others = halos
        size = int(self.spread.get(halo.rank, 1)) if halo.rank in loops else int(np.max(length, initial=1))
        size = 1 if pairs else max(size, 1)
        for start in range(0, int(np.max(length, initial=0)), size):
            end = np.minimum(start + size, length)
            for chunk, held in self._chunks(others, loops, pairs):
                yield {halo.rank: (low + start, low + np.maximum(end, start + 1) - 1), **chunk}, held * (start < length)

    def _told(self, rank: str, parts: frozenset[str], loops: frozenset[str], tiles: Tiles, pairs: bool) -> Array:
        """How many coordinates of an operand's parts of a rank each tile holds, or, in pairs, with PEs that it does not walk."""
        import numpy as np
        every = self.parts_of(rank)
        told = [(p, 0) for p in every if p in parts]
        if pairs:
            told += [(p, int(self.spread[p])) for p in every if p in self.spread and p not in parts and p not in loops]
            told += [(p, 0) for p in every if p in self.spread and p not in parts and p in loops]
        if not told:
            return np.ones(len(tiles.low), np.int64)
        if len(told) == len(every) and all(pes == 0 for _, pes in told):
            return tiles.length
        extent = self.extents()[rank]
        key = np.zeros(extent, np.int64)
        for part, pes in told:
            digit = self._digit(rank, part)
            key = key * (int(digit.max()) + 1) + (digit % pes if pes else digit)
        owner = tiles.owner(np.arange(extent))
        found = np.unique(np.stack([owner, key]), axis=1)
        return np.bincount(found[0], minlength=len(tiles.low))

    def _digit(self, rank: str, part: str) -> Array:
        """The digit of a part at every coordinate of its rank."""
        import numpy as np
        inside = 1
        for inner in reversed(self.parts_of(rank)):
            if inner == part:
                break
            inside *= int(self.space.extent(inner))
        count = int(self.space.extent(part))
        found = np.arange(self.extents()[rank]) // inside
        return found if part == self.parts_of(rank)[0] else found % count


def _axis(axis: int, axes: int) -> list[int]:
    return [-1 if a == axis else 1 for a in range(axes)]


def _joined(sets: Iterable[Iterable[str]]) -> list[tuple[str, ...]]:
    """Ranks that are tied together, directly or through others."""
    groups: list[list[str]] = []
    for found in sets:
        mine = list(dict.fromkeys(found))
        joined = [g for g in groups if set(g) & set(mine)]
        merged = list(dict.fromkeys([r for g in joined for r in g] + mine))
        groups = [g for g in groups if g not in joined] + ([merged] if merged else [])
    return [tuple(g) for g in groups]
