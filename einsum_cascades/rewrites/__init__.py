"""Rewrites: cascades into equal cascades, from the algebra that the operators declare, and the search that combines them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from einsum_cascades.ir import Cascade
from einsum_cascades.rewrites.legality import IllegalRewriteError, NoRewriteError

__all__ = ["IllegalRewriteError", "NoRewriteError", "Rewriting", "rewrite"]


@dataclass(frozen=True)
class Rewriting:
    """A derived cascade: the names of the rewrites that led to it (none where the target was met), and what it costs."""

    cascade: Cascade
    applied: tuple[str, ...]
    passes: Mapping[str, int | str]


def rewrite(cascade: Cascade, passes: int = 1, over: str | None = None,
            extents: Mapping[str, int] | None = None) -> Rewriting:
    """Returns the cascade that needs at most ``passes`` sweeps of a rank, with the fewest operations."""
    from einsum_cascades.analysis.passes import passes as counted
    from einsum_cascades.rewrites.search import search
    derived = search(cascade, passes, over, extents or {})
    return Rewriting(derived.cascade, derived.applied, counted(derived.cascade))
