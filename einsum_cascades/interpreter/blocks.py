"""Values over the points of an Einsum, and what makes some of them absent.

An Einsum is evaluated over a :class:`Space`, which has one axis for each of its free ranks. Every array over a
space has all of its axes, of size 1 where it does not depend on the rank, so that NumPy's broadcasting aligns
operands. Ranks of enclosing iterations are *bound* to one coordinate and have no axis.

Absence is kept as *parts*: a mapping from a set of ranks to a boolean array that depends on those ranks alone. A
point is present where all parts hold. The sets matter: a reduction skips what a part on one of its ranks takes
away, while a part on other ranks makes the result itself absent (rule 3 of the notation).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Parts = Mapping[frozenset[str], Array]
NO_PARTS: Parts = {}


@dataclass(slots=True)
class Tensor:
    """A tensor: float64 ``values``, 0 where absent, and ``parts`` by sets of dimensions.

    A part has every dimension, of size 1 where it does not depend on it.
    """

    values: Array
    parts: dict[frozenset[int], Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Block:
    """Values over a space (0-dimensional where they depend on no free rank) with their parts."""

    values: Array
    parts: Parts = field(default_factory=lambda: NO_PARTS)


class Space:
    """The points at which an Einsum is evaluated: ``ranks`` are its axes, ``ranges`` their coordinates [low, high).

    ``bound`` is the coordinate of each rank of an enclosing iteration; it is shared and changes from one generation
    to the next. ``predicate`` holds the parts of the Einsum's own predicate while it is evaluated.
    """

    def __init__(self, ranges: Mapping[str, tuple[int, int]], bound: Mapping[str, int]) -> None:
        self.ranks, self.ranges, self.bound = tuple(ranges), ranges, bound
        self.axes = {rank: axis for axis, rank in enumerate(ranges)}
        self.sizes = tuple(high - low for low, high in ranges.values())
        self.coordinates = {rank: self.along(np.arange(low, high), rank) for rank, (low, high) in ranges.items()}
        self.predicate: Parts = NO_PARTS

    def along(self, line: Array, rank: str) -> Array:
        """Returns a 1-dimensional array as one over the space, along a rank."""
        return line.reshape([-1 if r == rank else 1 for r in self.ranks])

    def axes_of(self, ranks: Iterable[str]) -> tuple[int, ...]:
        """Returns the axes of those of the ranks that are free."""
        return tuple(self.axes[r] for r in ranks if r in self.axes)

    def full(self, values: Array) -> Array:
        """Returns an array with all axes of the space."""
        return values if values.ndim == len(self.ranks) else values.reshape((1,) * len(self.ranks))

    def narrowed(self, rank: str, low: int, high: int) -> Space:
        """Returns the space with fewer coordinates of one rank."""
        return Space({**self.ranges, rank: (low, high)}, self.bound)

    def points(self, ranks: Iterable[str]) -> int:
        """Returns how many points the given ranks span."""
        total = 1
        for axis in self.axes_of(ranks):
            total *= self.sizes[axis]
        return total


def joined(*several: Parts) -> Parts:
    """Returns the parts of a map of several operands: it is present where all of them are."""
    found = [parts for parts in several if parts]
    if len(found) <= 1:
        return found[0] if found else NO_PARTS
    result = dict(found[0])
    for parts in found[1:]:
        for ranks, held in parts.items():
            known = result.get(ranks)
            result[ranks] = held if known is None or known is held else known & held
    return result


def divided(parts: Parts, reduced: Iterable[str]) -> tuple[tuple[Array, ...], Parts]:
    """Returns what a reduction over ``reduced`` skips, and the parts that its result inherits."""
    gone = frozenset(reduced)
    skipped = tuple(held for ranks, held in parts.items() if ranks & gone)
    return skipped, {ranks: held for ranks, held in parts.items() if not ranks & gone} if skipped else parts


def every(conditions: Sequence[Array]) -> Array | None:
    """Returns where all conditions hold, or None where there is none."""
    result: Array | None = None
    for held in conditions:
        result = held if result is None else result & held
    return result
