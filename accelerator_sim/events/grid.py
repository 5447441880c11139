"""The epochs of a stage: rounds of the loops that its nests share, for each instance, numbered one after another.

Each loop has as many rounds as it can have; where a tile is not full and has fewer rounds inside, the numbers of those that
are not there stand for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from accelerator_sim.events.tiles import Cuts, Range

_Ranges = tuple[Mapping[str, Range], Mapping[str, tuple[Range, Range]]]
_MOST_KNOWN = 20_000


@dataclass(frozen=True, slots=True)
class Epoch:
    """One round: ``digits`` of the instance and each loop, the range of each rank, and of each loop its own range and the one
    that it steps through."""

    number: int
    digits: tuple[int, ...]
    ranges: Mapping[str, Range]
    own: Mapping[str, tuple[Range, Range]]


@dataclass(frozen=True)
class Grid:
    """``loops`` outer to inner, inside of ``instances``; ``strides`` are the PEs that a loop steps over at a time. ``counts`` and
    ``sizes`` are the rounds of the instances and of each loop, and the epochs in one round."""

    cuts: Cuts
    loops: tuple[str, ...]
    strides: Mapping[str, int]
    instances: int
    counts: tuple[int, ...] = field(init=False)
    sizes: tuple[int, ...] = field(init=False)
    _known: dict[tuple[int, ...], _Ranges | None] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        counts = [self.instances]
        for number, loop in enumerate(self.loops):
            rank = self.cuts.rank_of[loop]
            around = [x for x in self.loops[:number] if self.cuts.rank_of[x] == rank]
            length = self.cuts.extents[rank]
            if around:
                length = min(length, self.step(around[-1]))
            counts.append(-(-length // self.step(loop)))
        object.__setattr__(self, "counts", tuple(counts))
        object.__setattr__(self, "sizes", tuple(math.prod(counts[n + 1:]) for n in range(len(counts))))

    @property
    def total(self) -> int:
        """The number of epochs of all instances."""
        return math.prod(self.counts)

    def step(self, loop: str) -> int:
        """Returns the coordinates that a round of a loop covers."""
        return self.cuts.inside[loop] * self.strides.get(loop, 1)

    def rounds(self, epoch: Epoch, loop: str) -> int:
        """Returns how many rounds a loop has where an epoch is."""
        first, end = epoch.own[loop][1]
        return -(-(end - first) // self.step(loop))

    def digits(self, number: int) -> tuple[int, ...]:
        """Returns the round of the instances and of each loop."""
        return tuple(number // size % count for size, count in zip(self.sizes, self.counts, strict=True))

    def number(self, digits: Sequence[int]) -> int:
        """Returns the epoch in which they have these rounds."""
        return sum(d * size for d, size in zip(digits, self.sizes, strict=True))

    def epoch(self, number: int) -> Epoch | None:
        """Returns an epoch; None where a tile that is not full has no such round."""
        if not 0 <= number < self.total:
            return None
        digits = self.digits(number)
        found = self._ranges(digits[1:])
        return None if found is None else Epoch(number, digits, *found)

    def _ranges(self, digits: tuple[int, ...]) -> _Ranges | None:
        if digits not in self._known:
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            self._known[digits] = self._walked(digits)
        return self._known[digits]

    def _walked(self, digits: tuple[int, ...]) -> _Ranges | None:
        ranges: dict[str, Range] = {rank: (0, size) for rank, size in self.cuts.extents.items()}
        own: dict[str, tuple[Range, Range]] = {}
        for loop, digit in zip(self.loops, digits, strict=True):
            rank = self.cuts.rank_of[loop]
            around = ranges[rank]
            start = around[0] + digit * self.step(loop)
            if start >= around[1]:
                return None
            ranges[rank] = start, min(start + self.step(loop), around[1])
            own[loop] = ranges[rank], around
        return ranges, own
