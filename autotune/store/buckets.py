"""Shape buckets: shapes that share a tuned configuration.

A tile, a head dimension or a state fits a kernel exactly or not at all, while lengths and the number of independent
instances change it little by little. So an extent of up to 256 is kept, and a larger one, or that of a rank of
independent instances, is rounded up to a power of two.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from autotune.store.record import Scalar

LARGEST_EXACT = 256
"""Extents up to it are kept: no tile is larger."""


def bucket_of(extents: Mapping[str, int], spec: Mapping[str, Scalar], instances: Collection[str] = ()) -> str:
    """Returns the bucket of a shape, such as ``b=8 e=64 m=4096 p=4096 | type=bf16``.

    ``instances`` are the ranks over which the kernel repeats independently (batch, heads).
    """
    ranks = " ".join(f"{rank}={_rounded(extents[rank], rank in instances)}" for rank in sorted(extents))
    rest = " ".join(f"{name}={spec[name]}" for name in sorted(spec))
    return f"{ranks} | {rest}" if rest else ranks


def _rounded(extent: int, instance: bool) -> int:
    return extent if extent <= LARGEST_EXACT and not instance else 1 << (extent - 1).bit_length()
