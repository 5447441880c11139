"""Sizes of sets of ranks when ranks are cut into parts: how many coordinates, and how often a loop runs.

A rank of extent X in parts (x2, x1, x0), outer to inner, has coordinates (x2*X1 + x1)*X0 + x0 below X, also where the tiles
do not divide it. What is counted are the digits that such coordinates have: the last tile counts what is left of it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from accelerator_sim.quantities import Quantity, ceil_div, chosen, is_array, smaller

Seen = Literal["all", "step", "pe"]
"""What of a part's digit is told apart: all of it; the step in which a unit comes to it, so many PEs at a time; or the PE
that it falls to."""


@dataclass(frozen=True, eq=False, slots=True)
class _Digit:
    """A part, or parts next to each other: ``count`` values with ``inside`` coordinates in each, spread over ``pes``."""

    seen: Seen | None
    count: Quantity
    inside: Quantity
    pes: Quantity = 1

    def told(self, count: Quantity) -> Quantity:
        """How many of so many values are told apart."""
        match self.seen:
            case "all":
                return count
            case "step":
                return ceil_div(count, self.pes)
            case "pe":
                return smaller(count, self.pes)
        return 1


@dataclass(frozen=True, eq=False)
class Space:
    """The extents of ranks (``extents``, by whole rank) and the parts that ranks are cut into.

    ``parts`` maps each rank to its parts, outer to inner (a rank that is not cut to itself); ``sizes`` the extent of
    each part but the outermost, which follows.
    """

    extents: Mapping[str, Quantity]
    parts: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, Quantity]
    _rank_of: dict[str, str] = field(default_factory=dict, init=False, repr=False)
    _extents: dict[str, Quantity] = field(default_factory=dict, init=False, repr=False)
    _inside: dict[str, Quantity] = field(default_factory=dict, init=False, repr=False)
    _known: dict[Hashable, Quantity] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for rank, parts in self.parts.items():
            inside: Quantity = 1
            for part in reversed(parts):
                self._rank_of[part] = rank
                self._inside[part] = inside
                left = ceil_div(self.extents[rank], inside) if part != parts[-1] else self.extents[rank]
                # A part that is longer than what there is of its rank ends with it.
                self._extents[part] = left if part == parts[0] else smaller(self.sizes[part], left)
                inside = inside * self._extents[part]

    def extent(self, part: str) -> Quantity:
        """Returns the extent of a part."""
        return self._extents[part]

    def inside(self, part: str) -> Quantity:
        """Returns how many coordinates one value of a part stands for."""
        return self._inside[part]

    def whole(self, part: str) -> str:
        """Returns the rank that a part is of."""
        return self._rank_of[part]

    def count(self, part: str, spread: Mapping[str, Quantity]) -> Quantity:
        """Returns how often the loop over a part runs at most, on a unit that spreads some parts over so many PEs each."""
        if part not in spread:
            return self._extents[part]
        if self._fits(part, spread[part]):
            return 1
        return self._once(("count", part, id(spread[part])), lambda: ceil_div(self._extents[part], spread[part]))

    def size(self, parts: Iterable[str]) -> Quantity:
        """Returns how many coordinates the parts have together."""
        return self.tally(dict.fromkeys(parts, "all"), {})

    def steps(self, parts: Iterable[str], spread: Mapping[str, Quantity]) -> Quantity:
        """Returns how many steps a walk over the parts takes where some are spread over so many PEs each."""
        return self.tally({p: "step" if p in spread else "all" for p in parts}, spread)

    def tally(self, seen: Mapping[str, Seen], spread: Mapping[str, Quantity]) -> Quantity:
        """Returns how many different digits the coordinates have in what is ``seen`` of the parts, all ranks together."""
        return self._once(frozenset(self._told_apart(seen, seen, spread)), lambda: self._product(seen, spread))

    def along(self, rank: str, seen: Mapping[str, Seen], spread: Mapping[str, Quantity]) -> Quantity:
        """Returns as :meth:`tally`, for one rank."""
        own = self._told_apart([p for p in self.parts[rank] if p in seen], seen, spread)
        return self._once((rank, *own), lambda: self._told(self._digits(rank, seen, spread), self.extents[rank]))

    def within(self, outer: str, extent: Quantity, seen: Mapping[str, Seen], spread: Mapping[str, Quantity]) -> Quantity:
        """Returns as :meth:`along`, for the first ``extent`` coordinates of the parts from ``outer`` inwards."""
        parts = self.parts[self._rank_of[outer]]
        inner = parts[parts.index(outer):]
        return self._told(self._digits(self._rank_of[outer], {p: s for p, s in seen.items() if p in inner}, spread), extent)

    # --- private parts ---

    def _told_apart(self, parts: Iterable[str], seen: Mapping[str, Seen],
                    spread: Mapping[str, Quantity]) -> list[tuple[str, Seen, int]]:
        # The sides of a unit are the same objects for all its Einsums.
        return [(p, seen[p], 0 if seen[p] == "all" else id(spread[p])) for p in parts]

    def _product(self, seen: Mapping[str, Seen], spread: Mapping[str, Quantity]) -> Quantity:
        counts = [self.along(rank, seen, spread) for rank in dict.fromkeys(self._rank_of[p] for p in sorted(seen))]
        total: Quantity = 1
        # Numbers before arrays: products of arrays take the time.
        for count in sorted(counts, key=is_array):
            total = total * count
        return total

    def _once(self, key: Hashable, make: Callable[[], Quantity]) -> Quantity:
        if key not in self._known:
            self._known[key] = make()
        return self._known[key]

    def _fits(self, part: str, pes: Quantity) -> bool:
        """Whether a part surely takes one step."""
        size = self.sizes.get(part)
        extent = self._extents[part]
        return size is pes or not is_array(extent) and not is_array(pes) and extent <= pes

    def _digits(self, rank: str, seen: Mapping[str, Seen], spread: Mapping[str, Quantity]) -> list[_Digit]:
        """The digits of a rank, outer to inner; parts next to each other that are seen whole, or not at all, are one."""
        found: list[_Digit] = []
        for part in self.parts[rank]:
            what = seen.get(part)
            pes = spread.get(part, 1)
            if what in ("step", "pe") and self._fits(part, pes):
                what = None if what == "step" else "all"
            digit = _Digit(what, self._extents[part], self._inside[part], pes)
            if found and what == found[-1].seen and what in (None, "all"):
                digit = _Digit(what, found[-1].count * digit.count, digit.inside)
                found.pop()
            found.append(digit)
        while found and found[-1].seen is None:
            found.pop()
        return found

    def _told(self, digits: list[_Digit], extent: Quantity) -> Quantity:
        """How many different digits the coordinates below an extent have."""
        if not digits:
            return 1
        first, *rest = digits
        if first.seen is None and len(rest) == 1 and rest[0].seen == "all" and not is_array(rest[0].inside) and rest[0].inside == 1:
            return smaller(rest[0].count, extent)
        count = extent if not is_array(first.inside) and first.inside == 1 else ceil_div(extent, first.inside)
        if not rest:
            return first.told(count)
        # Inside of all values but the last everything is there, inside of the last what is left.
        last = count - 1
        full: Quantity = 1
        for digit in rest:
            full = full * digit.told(digit.count)
        edge = self._told(rest, extent - last * first.inside)
        match first.seen:
            case "all":
                return last * full + edge
            case "step":
                return last // first.pes * full + chosen(last % first.pes > 0, full, edge)
            case "pe":
                return smaller(last, first.pes) * full + chosen(last < first.pes, edge, 0)
        return chosen(last > 0, full, edge)
