"""Errors of the regression gate."""

from __future__ import annotations

from einsum_cascades.errors import FusebenchError


class RegressionGateError(FusebenchError):
    """A comparison that cannot be made: nothing in common, too few processes, a file that is none."""
