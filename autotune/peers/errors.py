"""The error of peers."""

from __future__ import annotations

from einsum_cascades.errors import FusebenchError


class PeerError(FusebenchError):
    """A peer is not installed, or cannot be called as a campaign says."""
