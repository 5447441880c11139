"""Lengths of ragged segments: a list, a distribution, or equal ones where nothing says otherwise (numbered assumption A43)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from accelerator_sim.data import Data
from einsum_cascades.analysis.linear import compared
from einsum_cascades.errors import ExtentError
from einsum_cascades.ir import Access, Cascade, Expr, accesses, conjuncts, kept_coords
from einsum_cascades.structure import structure

DISTRIBUTIONS = ("even", "uniform:LOW:HIGH", "exponential")
"""Lengths at evenly spaced quantiles, scaled so that they fill the rank."""


def with_segments(cascade: Cascade, data: Data, extents: Mapping[str, Any]) -> Data:
    """Returns what is known of data, with offsets of equal segments for those that nothing is said of."""
    missing = [tensor for tensor, _ in structure(cascade).offsets if tensor not in data.values]
    known = {tensor: segment_offsets(cascade, tensor, "even", extents) for tensor in dict.fromkeys(missing)
             if _bounded(cascade, tensor) is not None}
    return replace(data, values={**data.values, **known}, assumed=data.assumed | frozenset(known)) if known else data


def segment_offsets(cascade: Cascade, tensor: str, lengths: Sequence[int] | str, extents: Mapping[str, Any]) -> Any:
    """Returns the offsets of segments with some lengths, or with lengths by a distribution.

    Raises: ExtentError for a tensor that holds no offsets, lengths that are more or fewer than there are segments, or that are longer
        together than the rank, and for an unknown distribution.
    """
    import numpy as np
    found = structure(cascade)
    place = f"segments of {tensor!r}"
    rank = next((r for (name, _), r in found.offsets.items() if name == tensor), None)
    bounded = _bounded(cascade, tensor)
    if rank is None or bounded is None:
        names = ", ".join(dict.fromkeys(name for name, _ in found.offsets)) or "none"
        raise ExtentError(f"{place}: no predicate bounds segments by it, got such a tensor; use one of {names}")
    for r in (rank, bounded[0]):
        if r not in extents:
            raise ExtentError(f"{place}: rank {r!r} has no extent, got extents of {', '.join(extents) or 'no rank'}; give it "
                              f"(--extent {r}=...)")
    count = int(extents[rank])
    total = int(extents[bounded[0]]) * (count if bounded[1] else 1)
    sizes = _distributed(lengths, count, total, place) if isinstance(lengths, str) else list(lengths)
    if len(sizes) != count:
        raise ExtentError(f"{place}: there are {count} of them (extent of {rank}), got {len(sizes)} lengths; give as many")
    if sum(sizes) > total or min(sizes) < 0:
        raise ExtentError(f"{place}: they lie in the {total} coordinates of {bounded[0]}, got lengths of {sum(sizes)} together; shorten them, "
                          f"or give --extent {bounded[0]}={sum(sizes)}")
    own = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    shape = found.shape(tensor, {r: int(n) for r, n in extents.items()})
    axis = next(d for (name, d) in found.offsets if name == tensor)
    return np.broadcast_to(own.reshape([-1 if d == axis else 1 for d in range(len(shape))]), [n or 1 for n in shape])


def _distributed(name: str, count: int, total: int, place: str) -> list[int]:
    """Whole lengths that add to the total, in proportion to a distribution's values at evenly spaced quantiles."""
    kind, *numbers = name.split(":")
    quantiles = [(i + 0.5) / count for i in range(count)]
    if kind == "even" and not numbers:
        weights = [1.0] * count
    elif kind == "exponential" and not numbers:
        weights = [-math.log1p(-q) for q in quantiles]
    elif kind == "uniform" and len(numbers) == 2 and all(n.isdecimal() for n in numbers) and int(numbers[0]) <= int(numbers[1]) > 0:
        low, high = map(int, numbers)
        weights = [low + (high - low) * q for q in quantiles]
    else:
        raise ExtentError(f"{place}: there is no such distribution of lengths, got {name!r}; use one of {', '.join(DISTRIBUTIONS)}, or lengths "
                          f"such as 3,5,2")
    shares = [total * w / math.fsum(weights) for w in weights]
    sizes = [math.floor(s) for s in shares]
    # What is left goes to those that lost most by rounding.
    for i in sorted(range(count), key=lambda i: (sizes[i] - shares[i], i))[:total - sum(sizes)]:
        sizes[i] += 1
    return sizes


def _bounded(cascade: Cascade, tensor: str) -> tuple[str, bool] | None:
    """The rank that segments lie in; or the rank that is as long as each at most (``j < Off[s + 1] - Off[s]``)."""
    for einsum in cascade.einsums:
        for condition in conjuncts(einsum.where):
            sides = compared(condition)
            if sides is None:
                continue
            for one, other in ((sides[1], sides[2]), (sides[2], sides[1])):
                reads = [a for a in accesses(one) if a.tensor == tensor]
                ranks = kept_coords(other)
                if reads and len(ranks) == 1 and not _reads(other, tensor):
                    return ranks[0], len(reads) > 1
    return None


def _reads(expr: Expr, tensor: str) -> bool:
    return any(isinstance(a, Access) and a.tensor == tensor for a in accesses(expr))
