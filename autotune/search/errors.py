"""The error of searches."""

from __future__ import annotations

from einsum_cascades.errors import FusebenchError


class SearchError(FusebenchError):
    """A search has nothing to search, or a strategy lacks what it needs."""
