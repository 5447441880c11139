"""Lowering: a cascade and a tile configuration into Triton source.

:func:`default_config` chooses a configuration, :func:`lower` makes a plan of kernels from one.
"""

from __future__ import annotations

from autotune.lowering.defaults import default_config
from autotune.lowering.lower import lower

__all__ = ["default_config", "lower"]
