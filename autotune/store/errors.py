"""The error of the store of measurements."""

from __future__ import annotations

from einsum_cascades.errors import FusebenchError


class StoreError(FusebenchError):
    """A store, or a file of results, cannot be opened, read, written or merged."""
