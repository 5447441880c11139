"""What is known of a cascade's data: values of index tensors, offsets of ragged segments, densities of masks.

Counts follow from shapes, but for what depends on data: which points a predicate on a tensor leaves, which coordinates a gather or
scatter meets. Values that are given decide it. Of a mask, a density may be given instead; coordinates of gathers and scatters
are uniform draws with replacement otherwise (numbered assumption A20).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from einsum_cascades.analysis.counting import evaluated
from einsum_cascades.ir import Access, Call, Coord, Expr, Extent, Num, accesses

Array = Any

WORST: Final = "worst"
EXPECTED: Final = "expected"
Case = Literal["worst", "expected"]
"""What data that are not given do: the most that they can, or their mean."""


@dataclass(frozen=True, eq=False, slots=True)
class Data:
    """``values`` of integer tensors by name, and ``density`` of masks: the share of their elements for which a predicate on the
    mask alone holds, each independent of the others; values of ``assumed`` tensors are a default."""

    values: Mapping[str, Array] = field(default_factory=dict)
    density: Mapping[str, float] = field(default_factory=dict)
    assumed: frozenset[str] = frozenset()

    def knows(self, expr: Expr) -> bool:
        """Returns whether all tensors that an expression reads have values."""
        return all(a.tensor in self.values for a in accesses(expr))

    def density_of(self, condition: Expr) -> tuple[Access, float] | None:
        """Returns the mask that a predicate is about, and its density; None where it is about more, or none is given."""
        reads = [a for a in dict.fromkeys(accesses(condition)) if a.tensor not in self.values]
        if len(reads) == 1 and reads[0].tensor in self.density and _alone(condition, reads[0]):
            return reads[0], self.density[reads[0].tensor]
        return None


NOTHING: Final = Data()
"""Nothing is known of any data."""


def _alone(expr: Expr, read: Access) -> bool:
    match expr:
        case Access():
            return expr == read
        case Coord():
            return False
        case Call(args=args):
            return all(_alone(a, read) for a in args)
    return True


def valued(expr: Expr, points: Mapping[str, Array], extents: Mapping[str, int], data: Data) -> Array:
    """Returns an index or predicate at arrays of coordinates; a tensor's value outside of it is its fill, or 0."""
    import numpy as np
    reads = accesses(expr)
    if not reads:
        return evaluated(expr, points, extents)
    match expr:
        case Access(tensor=tensor, indices=indices, fill=fill):
            values = np.asarray(data.values[tensor])
            found = np.broadcast_arrays(*(np.asarray(valued(i, points, extents, data)).astype(np.int64) for i in indices)) \
                if indices else []
            inside: Array = True
            places = []
            for place, size in zip(found, values.shape, strict=True):
                inside = inside & (place >= 0) & (place < size)
                places.append(np.clip(place, 0, size - 1))
            return np.where(inside, values[tuple(places)], 0 if fill is None else fill)
        case Call(op=op, args=args):
            from einsum_cascades.elementwise import function_of
            return function_of(op)(*(valued(a, points, extents, data) for a in args))
        case Num() | Coord() | Extent():
            return evaluated(expr, points, extents)
