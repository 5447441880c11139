"""A cascade and a tile configuration into a plan of kernels."""

from __future__ import annotations

from collections.abc import Mapping

from autotune.config import TileConfig
from autotune.errors import LoweringError
from autotune.kernel import KernelPlan
from einsum_cascades.ir import Cascade


def lower(cascade: Cascade, extents: Mapping[str, int], config: TileConfig) -> KernelPlan:
    """Returns the kernels of a cascade. ``extents`` are of all ranks, without the instances.

    Raises: LoweringError where it cannot be lowered, ConfigError where the configuration does not fit it.
    """
    raise LoweringError(f"{cascade.name}: nothing is lowered yet, got a cascade; wait")
