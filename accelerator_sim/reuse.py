"""What passes through a tile where no predicate or window ties ranks: products over ranks.

Every iteration of the loops around a tile, down to the innermost that changes it, brings a tile, but for those that find
their tile there: a loop over another rank has advanced, and the loops further in have gone from their last iteration to
their first, which is the same one for those that change the tile. This is exact where the last tiles of a rank are not
full, and evaluates for arrays of machine parameters at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from accelerator_sim.quantities import Quantity, ceil_div, chosen, everywhere, is_array
from accelerator_sim.space import Seen, Space
from einsum_cascades.errors import DesignError


@dataclass(frozen=True, eq=False, slots=True)
class _Inner:
    """The loops further in, over the parts of one rank, that change a tile and may run more than once. ``once`` says where
    they do not. The rank may also be cut ``outside`` of the loop that advances, or by loops ``ahead`` of these that
    do not change the tile."""

    loops: tuple[str, ...]
    once: Quantity
    outside: bool
    ahead: bool

    @property
    def never(self) -> bool:
        """Whether none of the rank's tiles has them run once."""
        return self.once is False and not self.outside and not self.ahead


@dataclass(frozen=True, eq=False, slots=True)
class Reuse:
    """The tiles of one Einsum's operands; ``spread`` are the PEs along parts of ranks."""

    einsum: str
    space: Space
    spread: Mapping[str, Quantity]

    def passing(self, parts: frozenset[str], around: tuple[str, ...], *, pes: bool = False) -> Quantity:
        """Returns how many values of an operand over ``parts`` pass through a tile inside the loops ``around``; with ``pes``,
        each once for every PE that it comes to."""
        seen = self._seen(parts, pes)
        others = self._others(parts, around)
        every = {**seen, **{around[i]: self._iterations(around[i], pes) for i in others}}
        total = self.space.tally(every, self.spread)
        for i in others:
            total = total - self._found(parts, around, i, seen, pes)
        return total

    def returning(self, parts: frozenset[str], around: tuple[str, ...]) -> Quantity:
        """Returns how many of these values have passed before."""
        return self.passing(parts, around) - self.space.size(parts) if self._others(parts, around) else 0

    def held(self, parts: frozenset[str]) -> Quantity:
        """Returns how many values over ``parts`` there are, each once for every PE that it comes to."""
        return self.space.tally(self._seen(parts, True), self.spread)

    def single(self, loop: str) -> bool:
        """Returns whether a loop surely runs once."""
        count = self.space.count(loop, self.spread)
        return not is_array(count) and bool(count == 1)

    # --- private parts ---

    def _seen(self, parts: frozenset[str], pes: bool) -> dict[str, Seen]:
        """What tells values apart: their parts, and the PEs that hold them."""
        seen: dict[str, Seen] = dict.fromkeys(self.spread, "pe") if pes else {}
        return {**seen, **dict.fromkeys(parts, "all")}

    def _others(self, parts: frozenset[str], around: tuple[str, ...]) -> list[int]:
        """The loops over other parts that have one over these further in."""
        last = max((i for i, x in enumerate(around) if x in parts), default=0)
        return [i for i, x in enumerate(around[:last]) if x not in parts and not self.single(x)]

    def _iterations(self, loop: str, pes: bool) -> Seen:
        return "all" if pes or loop not in self.spread else "step"

    def _found(self, parts: frozenset[str], around: tuple[str, ...], at: int, seen: Mapping[str, Seen], pes: bool) -> Quantity:
        """What is there already when the loop number ``at`` advances."""
        space, mine = self.space, self.space.whole(around[at])
        inner = self._inner(parts, around, at)
        if any(found.never and rank != mine for rank, found in inner.items()):
            return 0
        for rank, found in inner.items():
            self._check_order(rank, around, found.ahead and (found.outside or rank == mine))
        if any(found.never or found.once is False and rank == mine for rank, found in inner.items()):
            return 0
        before = {**seen, **{x: self._iterations(x, pes) for x in around[:at] if x not in parts}}
        advanced: dict[str, Seen] = {**before, around[at]: self._iterations(around[at], pes)}
        total: Quantity = 1
        for rank in dict.fromkeys(space.whole(p) for p in sorted(advanced)):
            count = space.along(rank, advanced, self.spread)
            if rank == mine:
                count = count - space.along(rank, before, self.spread)
            if rank in inner:
                count = chosen(inner[rank].once, count, 0 if rank == mine else self._last(inner[rank], seen))
            total = total * count
        if pes and any(f.ahead for f in inner.values()):
            self._check_beginning(parts, around, total)
        return total

    def _inner(self, parts: frozenset[str], around: tuple[str, ...], at: int) -> dict[str, _Inner]:
        space = self.space
        loops: dict[str, list[str]] = {}
        for x in around[at + 1:]:
            if x in parts and not self.single(x):
                loops.setdefault(space.whole(x), []).append(x)
        found = {}
        for rank, own in loops.items():
            order = space.parts[rank]
            outer = order[:order.index(own[-1])]
            found[rank] = _Inner(
                tuple(own), self._once(own), any(space.whole(x) == rank and not self.single(x) for x in around[:at]),
                any(x in outer and x not in own and not self.single(x) for x in around[at + 1:]))
        return found

    def _once(self, loops: Sequence[str]) -> Quantity:
        """Whether loops run once each."""
        result: Quantity = True
        for loop in loops:
            result = result & (self.space.count(loop, self.spread) == 1)
        return result if is_array(result) else bool(result)

    def _last(self, inner: _Inner, seen: Mapping[str, Seen]) -> Quantity:
        """What the last tile of a rank holds where the loops inside of it run once there, though not in the others. Where the
        rank's tiles lie ahead, its first must hold the same."""
        if not inner.outside and not inner.ahead:
            return 0
        space, outermost = self.space, inner.loops[0]
        tile = step = space.inside(outermost) * space.extent(outermost)
        for loop in inner.loops:
            step = chosen(space.count(loop, self.spread) > 1, space.inside(loop) * self.spread.get(loop, 1), step)
        extent = space.extents[space.whole(outermost)]
        left = extent - (ceil_div(extent, tile) - 1) * tile
        same = left == step if inner.ahead else left <= step
        order = space.parts[space.whole(outermost)]
        for part in order[:order.index(outermost)]:
            if part in self.spread:
                # Beside other PEs, whose tiles are full, the last tile does not come by itself.
                last = ceil_div(extent, space.inside(part)) - 1
                if part != order[0]:
                    last = last % space.extent(part)
                same = same & (last % self.spread[part] == 0)
        return chosen(same, space.within(outermost, left, seen, self.spread), 0)

    def _check_beginning(self, parts: frozenset[str], around: tuple[str, ...], found: Quantity) -> None:
        """Tiles that are found at the end of a rank may have come when fewer PEs were at work than there are now."""
        space = self.space
        varied = [x for x in around if x in self.spread and x not in parts and not (
            self.single(x) and everywhere(space.extents[space.whole(x)] % (space.inside(x) * space.extent(x)) == 0))]
        if varied and not everywhere(found == 0):
            raise DesignError(f"Einsum {self.einsum!r}: a tensor over an inner part of a rank, of which the last tile is not full, has no "
                              f"counts beside another rank that does not fill its PEs, got {', '.join(varied)}; choose sizes that "
                              f"divide the rank")

    def _check_order(self, rank: str, around: tuple[str, ...], mixed: bool) -> None:
        """Loops over parts of a rank must go from the outer to the inner where its tiles are not all full; ``mixed`` ones, over
        parts that a tensor has between those that it has not, are not counted there either."""
        space = self.space
        order = [x for x in space.parts[rank] if x in around and not self.single(x)]
        looped = [x for x in around if x in order]
        if (looped != order or mixed) and not everywhere(space.extents[rank] % space.inside(space.parts[rank][0]) == 0):
            raise DesignError(f"Einsum {self.einsum!r}: loops over the parts of rank {rank!r} are counted from the outer to the inner "
                              f"where its tiles are not all full, got loops {', '.join(looped)}; reorder them, or choose sizes that "
                              f"divide the rank")
