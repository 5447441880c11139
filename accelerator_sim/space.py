"""Sizes of sets of ranks when ranks are cut into parts: how many coordinates, and how often a loop runs.

A rank of extent X in parts (x2, x1, x0), outer to inner, has coordinates (x2*X1 + x1)*X0 + x0. Parts that are all
there count the coordinates that exist, X, even where the tiles do not divide it; the outer ones count tiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from accelerator_sim.quantities import Quantity, ceil_div, smaller


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
    _known: dict[frozenset[str], Quantity] = field(default_factory=dict, init=False, repr=False)
    _steps: dict[tuple[str, int], Quantity] = field(default_factory=dict, init=False, repr=False)
    _extents: dict[str, Quantity] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for rank, parts in self.parts.items():
            tile: Quantity = 1
            for part in reversed(parts):
                self._rank_of[part] = rank
                size = ceil_div(self.extents[rank], tile) if part == parts[0] else self.sizes[part]
                self._extents[part] = size
                tile = tile * size

    def extent(self, part: str) -> Quantity:
        """Returns the extent of a part."""
        return self._extents[part]

    def size(self, parts: Iterable[str]) -> Quantity:
        """Returns how many coordinates the parts have together."""
        wanted = frozenset(parts)
        if wanted not in self._known:
            total: Quantity = 1
            for rank in dict.fromkeys(self._rank_of[p] for p in sorted(wanted)):
                total = total * self._along(rank, wanted)
            self._known[wanted] = total
        return self._known[wanted]

    def _along(self, rank: str, wanted: frozenset[str]) -> Quantity:
        parts = self.parts[rank]
        here = [p in wanted for p in parts]
        if all(here):
            return self.extents[rank]
        if len(parts) == 1:
            return self.extents[rank]
        outer = here.index(False)
        if not any(here[outer:]):
            # The outer parts alone count tiles.
            tile: Quantity = 1
            for part in parts[outer:]:
                tile = tile * self._extents[part]
            return ceil_div(self.extents[rank], tile)
        total: Quantity = 1
        for part, present in zip(parts, here, strict=True):
            if present:
                total = total * self._extents[part]
        return smaller(total, self.extents[rank])

    def steps(self, parts: Iterable[str], spread: Mapping[str, Quantity]) -> Quantity:
        """Returns how many steps a walk over the parts takes where some are spread over so many PEs each."""
        wanted = tuple(dict.fromkeys(parts))
        total: Quantity = 1
        for rank in dict.fromkeys(self._rank_of[p] for p in wanted):
            own = [p for p in self.parts[rank] if p in wanted]
            along = [p for p in own if p in spread]
            if not along:
                total = total * self.size(own)
                continue
            for part in along:
                total = total * self._spread_steps(part, spread[part])
            outer = [p for p in own if p not in along]
            if outer:
                total = total * self.size(outer)
        return total

    def _spread_steps(self, part: str, pes: Quantity) -> Quantity:
        # The sides of a unit are the same objects for all its Einsums.
        key = (part, id(pes))
        if key not in self._steps:
            self._steps[key] = ceil_div(self._extents[part], pes)
        return self._steps[key]

    def copies(self, parts: Iterable[str], spread: Mapping[str, Quantity]) -> Quantity:
        """Returns how many PEs hold each coordinate of the parts, on a unit that spreads some parts over so many PEs each:
        those along the parts that are not among them."""
        held = frozenset(parts)
        total: Quantity = 1
        for part, pes in spread.items():
            if part not in held:
                total = total * smaller(self._extents[part], pes)
        return total

    def count(self, part: str, spread: Mapping[str, Quantity]) -> Quantity:
        """Returns how often the loop over a part runs, on a unit that spreads some parts over so many PEs each."""
        return self._spread_steps(part, spread[part]) if part in spread else self._extents[part]

    def whole(self, part: str) -> str:
        """Returns the rank that a part is of."""
        return self._rank_of[part]
