"""Tile sizes to choose from, and the grid of all their combinations under one set of loops."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np

from accelerator_sim.divisors import divisors
from accelerator_sim.machine import Machine

Array = np.ndarray[Any, Any]


def tile_sizes(extent: int, sides: Sequence[int], most: int) -> tuple[int, ...]:
    """Returns the tile sizes below an extent: divisors, powers of two and sides of units, in order.

    Where there are more than ``most``, those go first that lie closest to another one: what remains is spread over all
    magnitudes. 1, and the sides, stay.
    """
    powers = [1 << n for n in range(extent.bit_length())]
    found = sorted({n for n in (1, *divisors(extent), *powers, *sides) if n < extent})
    kept = {1, *sides}
    while len(found) > most:
        gaps = [(after / before, after) for before, after in pairwise(found) if after not in kept]
        if not gaps:
            break
        found.remove(min(gaps)[1])
    return tuple(found)


def unit_sides(machine: Machine) -> tuple[int, ...]:
    """Returns the lengths over which a part can be spread: of each side of each unit, and of all sides of one together."""
    return tuple(sorted({int(n) for unit in machine.units.values() for n in (*unit.dimensions.values(), unit.pes) if n > 1}))


@dataclass(frozen=True, eq=False)
class Grid:
    """All combinations of tile sizes of some ranks. ``choices`` holds, for each rank, the sizes of its parts but the outermost,
    outer to inner: ``{"p": ((4, 64), (8, 64))}``; a rank of which every coordinate is a round has the one choice ``()``."""

    parts: Mapping[str, tuple[str, ...]]
    choices: Mapping[str, tuple[tuple[int, ...], ...]]

    @property
    def count(self) -> int:
        """How many combinations there are."""
        total = 1
        for own in self.choices.values():
            total *= len(own)
        return total

    @cached_property
    def numbers(self) -> dict[str, Array]:
        """For each rank, the number of its choice in each combination."""
        shape = [len(own) for own in self.choices.values()]
        made = np.unravel_index(np.arange(self.count), shape) if shape else ()
        return dict(zip(self.choices, made, strict=True))

    @cached_property
    def sizes(self) -> dict[str, Array]:
        """The size of each part in each combination."""
        found = {}
        for rank, own in self.choices.items():
            for place, part in enumerate(self.parts[rank][1:]):
                found[part] = np.array([sizes[place] for sizes in own], float)[self.numbers[rank]]
        return found

    def even(self, extents: Mapping[str, int]) -> Array:
        """Returns for which combinations all tiles of all ranks are full."""
        if not self._even:
            found = np.ones(self.count, bool)
            for rank, own in self.choices.items():
                whole = [all(extents[rank] % prod(sizes[place:]) == 0 for place in range(len(sizes))) for sizes in own]
                found &= np.array(whole)[self.numbers[rank]]
            self._even.append(found)
        return self._even[0]

    @cached_property
    def _even(self) -> list[Array]:
        return []

    def within(self, ranks: Sequence[str]) -> Array:
        """Returns, for each combination, its number in the grid of some of the ranks alone."""
        total = np.zeros(self.count, np.int64)
        for rank in self.choices:
            if rank in ranks:
                total = total * len(self.choices[rank]) + self.numbers[rank]
        return total

    def only(self, ranks: Sequence[str]) -> Grid:
        """Returns the grid of some of the ranks alone."""
        return Grid({r: p for r, p in self.parts.items() if r in ranks}, {r: c for r, c in self.choices.items() if r in ranks})
