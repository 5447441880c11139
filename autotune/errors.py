"""The errors of kernels: what cannot be lowered, configured, launched."""

from __future__ import annotations

from einsum_cascades.errors import FusebenchError


class LoweringError(FusebenchError):
    """A cascade, or a cascade with this configuration, has no kernel; the message says why and what to do."""


class UnstoredError(LoweringError):
    """A tensor is read in a way that needs it in memory; ``tensor`` is to be stored between two kernels."""

    def __init__(self, message: str, tensor: str) -> None:
        self.tensor = tensor
        super().__init__(message)


class ConfigError(FusebenchError):
    """A tile configuration does not fit the cascade that it is for."""


class LaunchError(FusebenchError):
    """A plan cannot run on the tensors that it was given."""
