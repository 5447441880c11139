"""What a value needs along one rank: which tensors an Einsum visits, and what had to be swept before it can run.

Along rank r, an Einsum *visits* X if it reads, at indices that mention r, X or a tensor that keeps r and derives from
X. A value without r *comes after* the tensors that were visited along r to compute it. An Einsum that reads a value
which comes after a tensor that it visits itself needs a sweep of its own, unless a rewrite takes the value out of it.
"""

from __future__ import annotations

from einsum_cascades.ir import Access, Cascade, Einsum, Num, coords
from einsum_cascades.rewrites.editing import keeps
from einsum_cascades.structure import structure


class Flow:
    """What depends on what along one rank of a cascade."""

    def __init__(self, cascade: Cascade, rank: str) -> None:
        self.cascade, self.rank = cascade, rank
        found = structure(cascade)
        self.producers, self.seeds, self.outputs = found.producers, found.seeds, found.outputs
        self.kept = frozenset(o.tensor for e in cascade.einsums for o in e.outputs if keeps(o, rank))
        self._visits: dict[str, frozenset[str]] = {}
        self._after: dict[str, frozenset[str]] = {}

    def along(self, access: Access) -> bool:
        """Whether a read moves with the rank."""
        return self.rank in coords(access)

    def lines(self, tensor: str) -> tuple[Einsum, ...]:
        """The Einsum and the seeds that define a tensor."""
        return (*((self.producers[tensor],) if tensor in self.producers else ()), *self.seeds.get(tensor, ()))

    def visits(self, tensor: str) -> frozenset[str]:
        """The tensors that the definition of a tensor visits along the rank."""
        if tensor not in self._visits:
            reached = {tensor}
            stack, found = [tensor], set()
            while stack:
                for line in self.lines(stack.pop()):
                    for access in line.reads:
                        if self.along(access):
                            found.add(access.tensor)
                            if access.tensor in self.kept and access.tensor not in reached:
                                reached.add(access.tensor)
                                stack.append(access.tensor)
            self._visits[tensor] = frozenset(found)
        return self._visits[tensor]

    def after(self, tensor: str) -> frozenset[str]:
        """The tensors that are visited along the rank before a tensor is known, whatever it needs included."""
        if tensor not in self._after:
            reached: set[str] = set()
            stack, found = [tensor], set()
            while stack:
                name = stack.pop()
                if name in reached:
                    continue
                reached.add(name)
                for line in self.lines(name):
                    for access in line.reads:
                        if self.along(access):
                            found.add(access.tensor)
                        stack.append(access.tensor)
            self._after[tensor] = frozenset(found)
        return self._after[tensor]

    def conflicts(self, visited: frozenset[str], access: Access) -> bool:
        """Whether a read is of a value that comes after one of the visited tensors.

        A read at a fixed first coordinate of a tensor along the rank is there as soon as a sweep begins.
        """
        if self.along(access) or access.tensor not in self.producers:
            return False
        if access.tensor in self.kept and any(isinstance(i, Num) for i in access.indices):
            return False
        return bool(visited & self.after(access.tensor))
