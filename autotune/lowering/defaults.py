"""The configuration that a cascade gets without a search."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.config import TileConfig
from autotune.errors import LoweringError
from einsum_cascades.ir import Cascade


def default_config(cascade: Cascade, extents: Mapping[str, int], dtype: str = "fp16") -> TileConfig:
    """Returns a configuration for a cascade with these extents: the tiles of hand-written kernels, where it has such ranks.

    Raises: LoweringError where it cannot be lowered.
    """
    raise LoweringError(f"{cascade.name}: nothing is lowered yet, got {dtype}; wait")
