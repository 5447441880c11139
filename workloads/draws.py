"""How inputs of a case are drawn: each function returns a draw, (generator, shape, extents) into an array."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from workloads.variant import Array, Draw


def normal(scale: float = 1.0, mean: float = 0.0) -> Draw:
    """Returns a draw of normally distributed numbers."""
    return lambda rng, shape, extents: rng.normal(mean, scale, shape)


def uniform(low: float, high: float) -> Draw:
    """Returns a draw of numbers between two bounds."""
    return lambda rng, shape, extents: rng.uniform(low, high, shape)


def signs(scale: float = 1.0) -> Draw:
    """Returns a draw of ``scale`` and ``-scale``, evenly."""
    return lambda rng, shape, extents: scale * (2.0 * rng.integers(0, 2, shape) - 1.0)


def constant(value: float) -> Draw:
    """Returns a draw of one value everywhere."""
    def draw(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
        import numpy as np
        return np.full(shape, value)
    return draw


def coordinates(rank: str) -> Draw:
    """Returns a draw of coordinates of a rank, as whole numbers: an index tensor."""
    return lambda rng, shape, extents: rng.integers(0, extents[rank], shape)


def visible(share: float = 0.5, *, empty_rows: int = 0) -> Draw:
    """Returns a draw of a mask: true for a share of the elements, and nowhere in the first ``empty_rows`` rows."""
    def draw(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
        mask = rng.random(shape) < share
        mask[:empty_rows] = False
        return mask
    return draw


def offsets(rank: str) -> Draw:
    """Returns a draw of the offsets of ragged segments of a rank: ascending from 0 to its extent; segments may be
    empty."""
    def draw(rng: np.random.Generator, shape: tuple[int, ...], extents: Mapping[str, int]) -> Array:
        import numpy as np
        (count,) = shape
        inner = np.sort(rng.integers(0, extents[rank] + 1, max(count - 2, 0)))
        return np.concatenate(([0], inner, [extents[rank]]))[:count]
    return draw
