"""In which orders of a rank two nodes that need each other may share a sweep.

For a rank r, a node at coordinate x needs another at coordinates y. Bounds of ``y - x`` decide: at most a constant
allows a forward sweep, at least a constant a backward one. Where neither holds, a sweep of another order may do: one
that begins with a single coordinate that all others wait for, or one that folds the rank, so that k and R-1-k are
neighbours (and so are neighbours on a ring).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from einsum_cascades.analysis.graph import Read
from einsum_cascades.analysis.linear import UNBOUNDED, Anchor

Order = str | tuple[str, Anchor, int]
"""An order of a sweep: forward, backward, folded, or first a certain coordinate (a point and a constant)."""

FORWARD, BACKWARD, FOLDED = "forward", "backward", "folded"


@dataclass(frozen=True, slots=True)
class Relation:
    """``consumer`` needs ``producer``: upper bounds of y - x and of x - y (x the consumer's coordinate).

    ``folds`` says that a folded sweep suits both, ``firsts`` which coordinates a sweep may begin with (None: any,
    since it can go on with their neighbours on both sides). ``read`` is the access through which the consumer needs
    it, ``path`` the tensors on the way.
    """

    consumer: int
    producer: int
    ahead: int
    behind: int
    folds: bool
    firsts: frozenset[Order] | None
    read: Read
    path: tuple[str, ...]

    def shares(self, order: Order) -> bool:
        """Returns whether both may run in one sweep of an order."""
        if order == FORWARD:
            return self.ahead < UNBOUNDED
        if order == BACKWARD:
            return self.behind < UNBOUNDED
        if order == FOLDED:
            return self.folds
        return self.firsts is None or order in self.firsts

    @property
    def forced(self) -> bool:
        """Whether they need two sweeps."""
        return not (self.shares(FORWARD) or self.shares(BACKWARD) or self.folds or self.firsts)

    def joined(self, other: Relation) -> Relation:
        """Returns the relation that holds for both ways; the way remembered is the one that forces most."""
        way = self if self.forced or not other.forced else other
        firsts = (other.firsts if self.firsts is None else self.firsts if other.firsts is None
                  else self.firsts & other.firsts)
        return replace(way, ahead=max(self.ahead, other.ahead), behind=max(self.behind, other.behind),
                       folds=self.folds and other.folds, firsts=firsts)
