"""The error of timing."""

from __future__ import annotations

from einsum_cascades.errors import FusebenchError


class TimingError(FusebenchError):
    """Something cannot be timed: there is no device, or what is to be timed was not found correct."""
