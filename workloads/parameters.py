"""The number of parameters of a model's layer, from the tensors of its cascade."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

from einsum_cascades.ir import Cascade
from einsum_cascades.structure import structure


def parameter_count(cascade: Cascade, weights: Iterable[str], extents: Mapping[str, int]) -> int:
    """Returns how many values the inputs ``weights`` of a cascade hold; ``extents`` are those of their ranks."""
    dimensions = structure(cascade).dimensions
    return sum(prod(extents[rank] for rank in dimensions[tensor] if rank is not None) for tensor in weights)
