"""Partitions a rank: ``m`` becomes ``m1*M0 + m0``, with an outer rank ``m1`` over tiles and an inner one ``m0``.

``QK[p,m] = Q[p,e] * K[m,e]`` becomes ``QK[p,m1,m0] = Q[p,e] * K[m1*M0 + m0, e]``. The tile need not divide the rank:
what lies beyond its end is absent, because K is, or because a predicate ``m1*M0 + m0 < M`` says so.

Legal where no rank has the names of the parts and the rank is no device. An Einsum whose result the rest of the cascade
needs along the whole rank (an output, a recurrence over it, a read at another coordinate, a populate) keeps it; what
then reads its result in tiles reads it at ``m1*M0 + m0``. Reductions must be declared commutative where they go over
both parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from einsum_cascades.analysis.linear import linear
from einsum_cascades.analysis.presence import conjuncts
from einsum_cascades.indices import bounding_rank
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, accesses, coords
from einsum_cascades.operators import reduction_operator
from einsum_cascades.rewrites.draft import Draft
from einsum_cascades.rewrites.editing import (
    Names,
    conjunction,
    edited,
    keeps,
    map_right_side,
    outermost,
    replace_lines,
    replace_reads,
    substitute,
)
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.structure import structure

NAME = "partition"


def parts_of(rank: str) -> tuple[str, str]:
    """Returns the names of a rank's parts, outer first."""
    return f"{rank}1", f"{rank}0"


def partition(cascade: Cascade, rank: str) -> Cascade:
    """Returns the cascade with a rank in tiles.

    Raises: IllegalRewriteError where it cannot be partitioned.
    """
    found = structure(cascade)
    outer, inner = parts_of(rank)
    if rank not in found.ranks:
        raise IllegalRewriteError(f"rank {rank!r}: the cascade does not iterate it, got {', '.join(found.ranks)}; "
                                  "choose one of them")
    for name in (outer, inner):
        if name in Names(cascade).ranks:
            raise IllegalRewriteError(f"rank {rank!r}: its part {name!r} has a name that is taken, got another rank "
                                      f"{name!r}; rename that rank")
    if rank in cascade.devices:
        raise IllegalRewriteError(f"rank {rank!r}: its coordinates are devices, got 'device {rank}'; partition "
                                  "another rank")
    for copies in (False, True):
        made = _Partition(cascade, rank, copies=copies).made()
        if structure(made).composites.get(rank) == (outer, inner):
            return made
    raise IllegalRewriteError(f"rank {rank!r}: nothing is read at {outer}*{inner.upper()} + {inner}, got no tensor "
                              "along the whole rank; its extent would be lost")


class _Partition:
    """``copies`` is whether every read at another index than the rank itself is copied first."""

    def __init__(self, cascade: Cascade, rank: str, *, copies: bool) -> None:
        self.cascade, self.rank, self.copies = cascade, rank, copies
        self.outer, self.inner = parts_of(rank)
        before = Call("mul", (Coord(self.outer), Extent(self.inner.upper())))
        self.index: Expr = Call("add", (before, Coord(self.inner)))
        self.cascade = cascade = self._with_copies(cascade)
        self.found = structure(cascade)
        self.whole = self._whole()
        if not any(rank in e.ranks and e.name not in self.whole for e in cascade.einsums):
            raise IllegalRewriteError(f"rank {rank!r}: every Einsum over it needs the whole rank, got "
                                      f"{', '.join(sorted(self.whole))}; partition another rank")

    def made(self) -> Cascade:
        einsums = tuple(self._line(e) for e in self.cascade.einsums)
        inits = tuple(e if e.name in self.whole or self.rank not in e.ranks else self._moved(e)
                      for e in self.cascade.inits)
        cascade = self.cascade
        return replace_lines(cascade, einsums, inits, cascade.declared_outputs, cascade.dtypes, cascade.devices,
                             cascade.extents)

    def _with_copies(self, cascade: Cascade) -> Cascade:
        """Gives reads whose index would be no linear one any more (``K[g*T + t]``) a line that copies them first."""
        draft = Draft(cascade)

        def copied(line: Einsum, access: Access) -> Access:
            if all(self._stays_linear(i) for i in access.indices) or any(accesses(i) for i in access.indices):
                return access
            draft.begin(line.name)
            return draft.define("B" + access.tensor, coords(access), access)

        def with_copies(line: Einsum) -> Einsum:
            return line if self._is_copy(line) else map_right_side(line, lambda e: replace_reads(
                e, lambda a: copied(line, a)))

        lines = [with_copies(line) for line in cascade.einsums]
        table = {line.name: line for line in lines}
        return edited(cascade, (table.get(line.name, line) for line in draft.einsums))

    @staticmethod
    def _is_copy(line: Einsum) -> bool:
        return isinstance(line.body, Access) and len(line.bodies) == 1 and line.reduction is None \
            and not line.reduced_ranks

    # --- what keeps the whole rank ---

    def _whole(self) -> set[str]:
        """Names of Einsums that keep the rank as it is."""
        whole = {e.name for e in self.cascade.einsums if self.rank in e.ranks and self._must_stay(e)}
        producers = self.found.producers
        changed = True
        while changed:
            changed = False
            for line in self.cascade.einsums:
                for access in self._reads(line):
                    made = producers.get(access.tensor)
                    if made is None or made.name in whole or not keeps(self._left(made, access.tensor), self.rank):
                        continue
                    if line.name in whole or not self._in_step(made, line, access):
                        whole.add(made.name)
                        changed = True
        return whole

    def _reads(self, line: Einsum) -> Iterator[Access]:
        yield from line.reads
        for out in line.outputs:
            for seed in self.found.seeds.get(out.tensor, ()):
                yield from seed.reads

    @staticmethod
    def _left(line: Einsum, tensor: str) -> Access:
        return next(o for o in line.outputs if o.tensor == tensor)

    def _must_stay(self, line: Einsum) -> bool:
        kept = any(keeps(o, self.rank) for o in line.outputs)
        if kept and any(o.tensor in self.found.outputs for o in line.outputs):
            return True
        if any(self.rank in coords(i) and i != Coord(self.rank) for o in line.outputs for i in o.indices):
            return True
        if line.reduction is not None:
            head = reduction_operator(line.reduction.op, self.cascade)
            if head is None and self.rank in (*line.reduction.ranks, *line.reduction.into):
                return True
            if head is not None and self.rank in line.reduction.ranks and (head.index or not head.commutative):
                return True
        if not all(self._stays_linear(e) for body in (*line.bodies, *conjuncts(line.where)) for a in accesses(body)
                   for e in a.indices):
            return True
        # Without a read along the rank, nothing would say how long the partitioned rank is.
        return kept and not any(self.rank in coords(a) for a in line.reads)

    def _stays_linear(self, index: Expr) -> bool:
        """Whether an index still says as much once the rank is composed of its parts."""
        if self.rank not in coords(index):
            return True
        if self.copies and index != Coord(self.rank):
            return False
        made = substitute(index, {self.rank: self.index})
        return (linear(index) is None or linear(made) is not None) and bounding_rank(index) == bounding_rank(made)

    def _in_step(self, made: Einsum, line: Einsum, access: Access) -> bool:
        """Whether a read goes along the rank with the reader, so that both may be in tiles."""
        left = self._left(made, access.tensor)
        for own, index in zip(left.indices, access.indices, strict=True):
            if own == Coord(self.rank) and index != Coord(self.rank):
                return False
        return access.fill is None

    def _is_bounded(self, line: Einsum, inside: frozenset[str] = frozenset()) -> bool:
        """Whether a point beyond the rank's end is absent because a read of each body is."""
        return all(any(self._ends(a, inside) for a in outermost(body)) for body in line.bodies)

    def _ends(self, access: Access, inside: frozenset[str]) -> bool:
        """Whether a read is absent beyond the rank's end; a slot of an iterative tensor never is."""
        tensor = access.tensor
        if access.fill is not None or tensor in self.found.iterative or Coord(self.rank) not in access.indices:
            return False
        line = self.found.producers.get(tensor)
        if line is None or line.name in self.whole:
            return True
        return tensor not in inside and self._is_bounded(line, inside | {tensor})

    # --- the lines ---

    def _line(self, line: Einsum) -> Einsum:
        if line.name in self.whole or self.rank not in line.ranks:
            return line
        made = self._moved(line)
        if self.rank in line.reduced_ranks and not self._is_bounded(line):
            bound = Call("lt", (self.index, Extent(self.rank.upper())))
            made = replace(made, where=conjunction((*conjuncts(made.where), bound)))
        return made

    def _moved(self, line: Einsum) -> Einsum:
        made = map_right_side(line, self._expr)
        outputs = tuple(replace(o, indices=tuple(x for i in o.indices for x in self._left_index(i)))
                        for o in line.outputs)
        head = line.reduction
        if head is not None and self.rank in head.ranks:
            names = tuple(x for r in head.ranks for x in ((self.outer, self.inner) if r == self.rank else (r,)))
            head = replace(head, ranks=names)
        return replace(made, outputs=outputs, reduction=head)

    def _left_index(self, index: Expr) -> tuple[Expr, ...]:
        if index == Coord(self.rank):
            return Coord(self.outer), Coord(self.inner)
        return (self._expr(index),)

    def _expr(self, expr: Expr) -> Expr:
        match expr:
            case Coord(rank=rank):
                return self.index if rank == self.rank else expr
            case Call(args=args):
                return replace(expr, args=tuple(self._expr(a) for a in args))
            case Access(tensor=tensor, indices=indices):
                line = self.found.producers.get(tensor)
                tiled = line is not None and line.name not in self.whole
                left = self._left(line, tensor) if line is not None else None
                made: list[Expr] = []
                for d, index in enumerate(indices):
                    if tiled and left is not None and left.indices[d] == Coord(self.rank):
                        made += [Coord(self.outer), Coord(self.inner)]
                    else:
                        made.append(self._expr(index))
                return replace(expr, indices=tuple(made))
        return expr


def candidates(cascade: Cascade) -> Iterator[tuple[str]]:
    """Yields the ranks."""
    for rank in structure(cascade).ranks:
        yield (rank,)


apply = partition
