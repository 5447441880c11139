"""Rewrites: cascades into equal cascades, from the algebra that the operators declare, and the search that combines them."""

from __future__ import annotations

from einsum_cascades.rewrites.legality import IllegalRewriteError, NoRewriteError
from einsum_cascades.rewrites.search import Rewriting, rewrite

__all__ = ["IllegalRewriteError", "NoRewriteError", "Rewriting", "rewrite"]
