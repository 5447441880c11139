"""Errors of compiling kernels."""

from __future__ import annotations

from einsum_cascades.errors import FusebenchError


class CompileError(FusebenchError):
    """A kernel cannot be compiled, or was not within its time."""


class MissingPackageError(FusebenchError):
    """A package that only kernels need is not installed."""


class CacheError(FusebenchError):
    """The folder of the cache cannot be used."""
