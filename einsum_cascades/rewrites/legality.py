"""The errors of rewrites: a rewrite that is not legal where it was asked for, and a target that none reaches."""

from __future__ import annotations

from einsum_cascades.errors import FusebenchError


class IllegalRewriteError(FusebenchError):
    """A rewrite's condition does not hold where it was asked for. ``read`` is the access that stands in the way."""

    def __init__(self, message: str, *, read: str | None = None) -> None:
        super().__init__(message)
        self.read = read


class NoRewriteError(FusebenchError):
    """No legal sequence of rewrites reaches the number of passes that was asked for.

    ``rank`` is the rank that misses it, ``einsum`` the Einsum and ``read`` the access of it that force the pass,
    ``passes`` the fewest passes over the rank that the rewrites reach (None where none of them applies).
    """

    def __init__(self, message: str, *, rank: str, einsum: str | None = None, read: str | None = None,
                 passes: int | str | None = None) -> None:
        super().__init__(message)
        self.rank, self.einsum, self.read, self.passes = rank, einsum, read, passes
