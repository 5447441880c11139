"""Ranks cut into parts, coordinate by coordinate: which exist, and what an index is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product

from accelerator_sim.design import Design
from einsum_cascades.ir import Access, Call, Cascade, Coord, Expr, Extent, Num
from einsum_cascades.structure import structure

Values = Mapping[tuple[int, ...], int]
"""An index tensor: its values by their indices."""


class Ranks:
    """Ranks cut into parts: which coordinates exist, and what they are."""

    def __init__(self, cascade: Cascade, design: Design, extents: Mapping[str, int], instances: Mapping[str, int],
                 sizes: Mapping[str, int], data: Mapping[str, Values]) -> None:
        found = structure(cascade)
        self.data = data
        self.extents = {**extents, **{r: instances.get(r, 1) for r in design.mapping.instances}}
        self.leaf: dict[str, tuple[str, ...]] = {r: (r,) for r in design.mapping.instances}
        self.rank_of: dict[str, str] = {}
        self.place: dict[str, int] = {}
        self.length: dict[str, int] = {}
        covered = {leaf for leaves in found.composites.values() for leaf in leaves}
        for rank in (*design.mapping.instances, *found.ranks, *found.composites):
            if rank not in covered:
                self._cut(rank, found.composites, design.mapping.partitions, sizes)

    def _cut(self, rank: str, composites: Mapping[str, tuple[str, ...]], partitions: Mapping[str, tuple[str, ...]],
             sizes: Mapping[str, int]) -> None:
        leaves, waiting = [], [rank]
        while waiting:
            name = waiting.pop(0)
            if name in composites:
                waiting = [*composites[name], *waiting]
            else:
                leaves.append(name)
        for leaf in leaves:
            self.leaf[leaf] = partitions.get(leaf, (leaf,))
        parts = [p for leaf in leaves for p in self.leaf[leaf]]
        self.leaf[rank] = tuple(parts)
        place = 1
        for part in reversed(parts):
            self.rank_of[part], self.place[part] = rank, place
            # The outermost part goes as far as there are coordinates.
            self.length[part] = self.extents[rank] if part == parts[0] else sizes[part]
            place *= self.length[part]

    def exists(self, digits: Mapping[str, int]) -> bool:
        """Whether the coordinates exist whose digits are given; digits that are not are 0."""
        at: dict[str, int] = {}
        for part, digit in digits.items():
            if digit >= self.length[part]:
                return False
            rank = self.rank_of[part]
            at[rank] = at.get(rank, 0) + digit * self.place[part]
        return all(coordinate < self.extents[rank] for rank, coordinate in at.items())

    def chunks(self, part: str, pes: int) -> int:
        """How many steps over a part there can be at most, so many coordinates at a time."""
        digits = 0
        while self.exists({part: digits}):
            digits += 1
        return (digits + pes - 1) // pes

    def coordinate(self, leaf: str, digits: Mapping[str, int]) -> int:
        """The coordinate of one of the cascade's ranks."""
        value = 0
        for part in self.leaf[leaf]:
            value = value * self.length[part] + digits[part]
        return value

    def extent(self, leaf: str) -> int:
        """How many coordinates one of the cascade's ranks has."""
        if leaf not in self.extents:
            digits = self.leaf[leaf]
            self.extents[leaf] = sum(self.exists(dict(zip(digits, values, strict=True)))
                                     for values in product(*(range(self.length[p]) for p in digits)))
        return self.extents[leaf]

    def value(self, index: Expr, point: Mapping[str, int]) -> int | None:
        """The value of an index or predicate where the coordinates of the cascade's ranks are given; None outside of what it reads."""
        match index:
            case Num(value=value):
                return int(value)
            case Coord(rank=rank):
                return point[rank]
            case Extent():
                return self.extent(index.rank)
            case Access(tensor=tensor, indices=indices):
                at = tuple(v for i in indices if (v := self.value(i, point)) is not None)
                return self.data[tensor].get(at) if len(at) == len(indices) else None
            case Call(op=op, args=args):
                found = [self.value(a, point) for a in args]
                known = [v for v in found if v is not None]
                return None if len(known) < len(found) else int(OPERATORS[op](*known))
        raise NotImplementedError(index)


OPERATORS: Mapping[str, Callable[..., int]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "neg": lambda a: -a, "mod": lambda a, b: a % b,
    "floordiv": lambda a, b: a // b, "clamp": lambda x, low, high: min(max(x, low), high), "min": min, "max": max,
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "and": lambda a, b: a and b, "or": lambda a, b: a or b, "not": lambda a: not a,
}
"""What indices and predicates are made of."""
