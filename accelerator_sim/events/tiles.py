"""Walks the loops of a nest tile by tile: ranges of coordinates, steps of an Einsum, and bytes of a tensor in a tile."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from einsum_cascades.errors import DesignError
from einsum_cascades.indices import Affine, affine, composite
from einsum_cascades.ir import Access, Einsum, Expr, coords
from einsum_cascades.printing import expr_text

Range = tuple[int, int]
"""First coordinate and the one after the last."""


@dataclass(frozen=True)
class Cuts:
    """How ranks are cut: ``parts`` of each rank, outer to inner, the ``sizes`` of all parts but the outermost, extents."""

    parts: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, int]
    extents: Mapping[str, int]
    rank_of: dict[str, str] = field(default_factory=dict, init=False)
    inside: dict[str, int] = field(default_factory=dict, init=False)
    walked: dict[int, tuple[Access, frozenset[str]]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for rank, parts in self.parts.items():
            for number, part in enumerate(parts):
                self.rank_of[part] = rank
                self.inside[part] = math.prod(int(self.sizes[p]) for p in parts[number + 1:])

    def rounds(self, part: str, within: Range, pes: int = 1) -> Iterator[Range]:
        """Yields the ranges that a loop over a part steps through inside a range of its rank."""
        step = self.inside[part] * pes
        for start in range(within[0], within[1], step):
            yield start, min(start + step, within[1])

    def steps(self, parts: Collection[str], ranges: Mapping[str, Range], spread: Mapping[str, int], done: frozenset[str]) -> int:
        """Returns the steps that an Einsum of these parts takes in a tile: every part that is not done is walked, in groups
        of PEs where it is spread."""
        total = 1
        for rank in dict.fromkeys(self.rank_of[p] for p in parts):
            left = [p for p in self.parts[rank] if p in parts and p not in done]
            total *= self._along(left, ranges[rank], spread)
        return total

    def _along(self, parts: Sequence[str], within: Range, spread: Mapping[str, int]) -> int:
        if not parts:
            return 1
        if not any(p in spread for p in parts):
            # Nothing is spread: as many steps as the innermost part has coordinates.
            return -(-(within[1] - within[0]) // self.inside[parts[-1]])
        part, *rest = parts
        step = self.inside[part]
        if part in spread:
            groups = -(-(within[1] - within[0]) // (step * spread[part]))
            return groups * self._along(rest, (0, min(step, within[1] - within[0])), spread)
        return sum(self._along(rest, r, spread) for r in self.rounds(part, within))


@lru_cache(maxsize=4096)
def ranks_of(expr: Expr) -> tuple[str, ...]:
    """Returns the whole ranks that an index walks: a composite by its name."""
    made = composite(expr)
    if made is not None and made.name is not None:
        return (made.name,)
    return coords(expr)


def values_in(access: Access, ranges: Mapping[str, Range], cuts: Cuts, lengths: Sequence[int | None]) -> int:
    """Returns how many values of a tensor a tile touches; ``lengths`` are those of its dimensions."""
    total = 1
    for index, length in zip(access.indices, lengths, strict=True):
        total *= _touched(index, ranges, cuts, length)
    return total


@lru_cache(maxsize=4096)
def _form(index: Expr) -> str | Affine | None:
    """An index as the name of a composite rank, as an affine form, or None."""
    made = composite(index)
    return made.name if made is not None and made.name is not None else affine(index)


def _touched(index: Expr, ranges: Mapping[str, Range], cuts: Cuts, length: int | None) -> int:
    form = _form(index)
    if isinstance(form, str):
        first, end = ranges[form]
        return end - first
    if form is None:
        raise DesignError(f"events: an index that is no sum of coordinates has no tiles, got {expr_text(index)}; use --timing analytic")
    if not form.coordinates:
        return 1
    if len(form.coordinates) == 1 and form.coordinates[0][1] == 1:
        part = form.coordinates[0][0]
        rank = part if part in ranges else cuts.rank_of[part]
        first, end = ranges[rank]
        if part == rank or part not in cuts.inside:
            return end - first
        # A part of a rank by itself counts tiles: their numbers, or the places that each of them has.
        parts = cuts.parts[rank]
        around = end - first if part == parts[0] else min(end - first, cuts.inside[parts[parts.index(part) - 1]])
        return -(-around // cuts.inside[part])
    fixed = form.constant + sum(c * cuts.extents[e] for e, c in form.extents)
    seen = {fixed}
    for rank, coefficient in form.coordinates:
        first, end = ranges[rank]
        seen = {v + coefficient * x for v in seen for x in range(first, end)}
    return len([v for v in seen if v >= 0 and (length is None or v < length)])


def parts_of(einsum: Einsum, cuts: Cuts) -> frozenset[str]:
    """Returns the parts of the ranks of an Einsum's iteration space."""
    return frozenset(p for r in einsum.ranks for p in cuts.parts.get(r, (r,)))
