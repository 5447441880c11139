"""The error of configuration spaces."""

from __future__ import annotations

from einsum_cascades.errors import FusebenchError


class SpaceError(FusebenchError):
    """A space of configurations is empty, or a configuration is none of it."""
