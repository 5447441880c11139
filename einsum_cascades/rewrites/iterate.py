"""Makes a reduction iterative: the value over a rank becomes the last one of a running value.

``GM[p] = max[m1] LGM[m1,p]`` becomes ``init RGM[0,p] = -inf; RGM[m1+1,p] = max(RGM[m1,p], LGM[m1,p]); GM[p] =
RGM[M1,p]``.

Legal for a reduction that is declared associative and whose partial results are combined by a map; one that is not
commutative goes over one rank alone. A mean moves by what a step adds, less what the mean so far would add, over the
number of elements. A prefix reduction, whose predicate keeps the rank up to a kept one (``m <= p``), reads the running
value at that coordinate.
"""

from __future__ import annotations

from einsum_cascades.analysis.presence import conjuncts
from einsum_cascades.indices import offset
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, Reduction, coords
from einsum_cascades.operators import REDUCTIONS, map_operator, reduction_operator
from einsum_cascades.rewrites.algebra import Ring, ring_of
from einsum_cascades.rewrites.canonical import Key
from einsum_cascades.rewrites.draft import Draft, following
from einsum_cascades.rewrites.editing import bare_ranks, conjunction, coordinates, reductions
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.rewrites.separation import mean_parts
from einsum_cascades.rewrites.split import local, own_conjuncts
from einsum_cascades.rewrites.support import Condition
from einsum_cascades.structure import structure

NAME = "iterate"


def iterate(cascade: Cascade, tensor: str, rank: str) -> Cascade:
    """Returns the cascade with a reduction over ``rank`` as an iteration; other reduced ranks are reduced locally
    first.

    Raises: IllegalRewriteError where the reduction has no running value.
    """
    line = structure(cascade).producers[tensor]
    draft = Draft(cascade)
    draft.begin(tensor)
    running = Running(draft, rank)
    prefix = _prefix(line, rank)
    if prefix is not None:
        own, guard, slot = prefix
        plain = Einsum(line.outputs, line.bodies, line.reduction, conjunction(
            c for c in conjuncts(line.where) if c != guard and c not in own))
        name, ranks = running.reduction(plain, tuple(r for r in line.output_ranks if r in coords(line.body)))
        value: Expr = Access(name, (slot, *coordinates(ranks)))
    else:
        name, ranks = running.reduction(line, line.output_ranks)
        value = Access(name, (Extent(rank.upper()), *coordinates(ranks)))
    draft.replace(Einsum(line.outputs, (value,), None, presence(draft, line), line.span))
    return draft.finish()


def presence(draft: Draft, line: Einsum) -> Expr | None:
    """Returns the predicate under which the result of a line is present; a slot of an iterative tensor always is.

    Raises: IllegalRewriteError where it cannot be written as one.
    """
    conditions = draft.support.of_line(line).values()
    opaque = next((c for c in conditions if not c.is_predicate), None)
    if opaque is not None:
        raise IllegalRewriteError(f"tensor {line.name!r}: where it is present is not known as a predicate, got "
                                  f"{opaque}; give that read a line of its own", read=str(opaque))
    return conjunction(c.expr for c in conditions)


class Running:
    """Adds running values over one rank to a draft."""

    def __init__(self, draft: Draft, rank: str) -> None:
        self.draft, self.rank = draft, rank

    def reduction(self, line: Einsum, ranks: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """Adds the running value of a reduction; returns its name and its ranks after the iterative one.

        Raises: IllegalRewriteError where the reduction has none.
        """
        name = line.reduction.op if line.reduction is not None else "sum"
        head = reduction_operator(name, self.draft.cascade)
        if head is None or self.rank not in line.reduced_ranks or len(line.outputs) != 1 \
                or bare_ranks(line.output) is None or head.arity != 1:
            raise IllegalRewriteError(f"tensor {line.name!r}: it is no plain reduction over rank {self.rank!r}, got "
                                      f"{name!r} over {', '.join(line.reduced_ranks) or 'nothing'}; choose another "
                                      "tensor")
        if mean_parts(head) is not None:
            return self._mean(line, ranks)
        merge = reduction_operator(head.merged_by or name, self.draft.cascade)
        has = merge is not None and merge.combine is not None
        combine = map_operator(str(merge.combine), self.draft.cascade) if merge is not None and has else None
        if merge is None or combine is None or not merge.associative:
            raise IllegalRewriteError(f"reduction {name!r}: no map combines its partial results, got it for "
                                      f"{line.name!r}; only such a reduction has a running value")
        step = self._step(line, ranks)
        return self.running("R" + line.name, ranks, combine.name, step, merge.identity[0]), ranks

    def running(self, name: str, ranks: tuple[str, ...], combine: str, step: Einsum, identity: float) -> str:
        """Adds ``R[rank+1] = combine(R[rank], step)``."""
        def body(fresh: str) -> Expr:
            return Call(combine, (Access(fresh, (Coord(self.rank), *coordinates(ranks))), step.body))
        return self.draft.iterate(name, self.rank, ranks, body, identity, step.where)

    def _step(self, line: Einsum, ranks: tuple[str, ...]) -> Einsum:
        """What one coordinate of the rank adds: the local reduction, or the body where nothing else is reduced."""
        others = tuple(r for r in line.reduced_ranks if r != self.rank)
        keep = own_conjuncts(line)
        if others:
            part, _ = local(self.draft, Einsum(line.outputs, line.bodies, line.reduction, conjunction(
                c for c in conjuncts(line.where) if c not in keep)), self.rank)
            return Einsum(line.outputs, (part,))
        head = reduction_operator(line.reduction.op if line.reduction is not None else "sum", self.draft.cascade)
        if head is not None and head.merged_by:
            raise IllegalRewriteError(f"tensor {line.name!r}: elements are counted one by one, got rank {self.rank!r} "
                                      "alone; partition the rank first")
        return Einsum(line.outputs, (line.body,), None, conjunction(c for c in conjuncts(line.where) if c not in keep))

    def _mean(self, line: Einsum, ranks: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
        """Adds a running mean: what a step adds moves it by its difference from the mean so far.

        Source: Welford, Note on a method for calculating corrected sums of squares and products, Technometrics 4
        (1962).
        """
        assert line.reduction is not None
        head = REDUCTIONS[line.reduction.op]
        parts = mean_parts(head)
        assert parts is not None
        ring = ring_of(str(REDUCTIONS[parts[0]].combine))
        assert ring is not None

        def part(prefix: str, op: str) -> Einsum:
            assert line.reduction is not None
            return Einsum((Access(prefix + line.name, line.output.indices),), line.bodies,
                          Reduction(op, line.reduction.ranks), line.where)
        step = self._step(part("S", parts[0]), ranks)
        after = following(self.rank)
        number, added = elements(self.draft, line, self.rank, after), step_elements(self.draft, line, self.rank)
        if number is None or added is None:
            counted = part("C", parts[1])
            number = Access(self.reduction(counted, ranks)[0], (after, *coordinates(ranks)))
            added = self._step(counted, ranks).body
        total, count = number, added
        return self.draft.iterate("R" + line.name, self.rank, ranks, lambda fresh: moved_mean(
            ring, Access(fresh, (Coord(self.rank), *coordinates(ranks))), step.body, count, total),
            head.identity[0], step.where), ranks


def moved_mean(ring: Ring, before: Expr, step: Expr, added: Expr, number: Expr) -> Expr:
    """Returns ``before + (step - added * before) / number``: the mean of ``number`` elements, the last ``added`` of
    which add up to ``step``."""
    assert ring.sub is not None
    assert ring.div is not None
    scaled = before if added == Num(ring.one) else Call(ring.mul, (added, before))
    return Call(ring.add, (before, Call(ring.div, (Call(ring.sub, (step, scaled)), number))))


def step_elements(draft: Draft, line: Einsum, rank: str) -> Expr | None:
    """Returns how many elements one step of ``rank`` has, where all are present; else None. The last tile may be a
    part."""
    return _number(draft, line, rank, None)


def elements(draft: Draft, line: Einsum, rank: str, slot: Expr) -> Expr | None:
    """Returns how many elements a reduction has had before a slot of ``rank``, where all are present; else None."""
    return _number(draft, line, rank, slot)


def _number(draft: Draft, line: Einsum, rank: str, slot: Expr | None) -> Expr | None:
    composites = structure(draft.cascade).composites
    pairs = ((n, parts[1]) for n, parts in composites.items() if parts[0] == rank and len(parts) == 2)
    name, inner = next(pairs, (rank, rank))
    end: dict[Key, Condition] = {}
    number = slot or Num(1.0)
    if inner != rank and inner in line.reduced_ranks:
        tile, whole = Extent(inner.upper()), Extent(name.upper())
        before = Call("mul", (Coord(rank), tile))
        end = draft.support.predicates([Call("lt", (Call("add", (before, Coord(inner))), whole))])
        if slot is None:
            number = Call("min", (tile, Call("sub", (whole, before))))
        else:
            number = before if slot == Coord(rank) else Call("min", (Call("mul", (slot, tile)), whole))
    if not draft.support.of_terms(line).keys() <= end.keys():
        return None
    for other in line.reduced_ranks:
        if other not in (rank, inner):
            number = Extent(other.upper()) if number == Num(1.0) else Call("mul", (number, Extent(other.upper())))
    return number


def _prefix(line: Einsum, rank: str) -> tuple[tuple[Expr, ...], Expr, Expr] | None:
    """The own predicates of a prefix reduction, the one that makes it a prefix, and the slot to read; None for another.

    The body must not know the kept rank, else its running value would be another for each coordinate.
    """
    own = own_conjuncts(line)
    rest = tuple(c for c in conjuncts(line.where) if c not in own)
    for guard in rest:
        match guard:
            case Call(op="le" | "lt" | "ge" | "gt" as op, args=(left, right)):
                pass
            case _:
                continue
        if op in ("ge", "gt"):
            left, right, op = right, left, "le" if op == "ge" else "lt"
        small, large = offset(left), offset(right)
        if small is None or large is None or small.rank != rank or small.extents or large.extents \
                or large.rank not in line.output_ranks or large.rank in coords(line.body) \
                or any(large.rank in coords(c) for c in rest if c != guard):
            continue
        ahead = large.constant - small.constant + (1 if op == "le" else 0)
        slot: Expr = Coord(large.rank) if ahead == 0 else Call("add" if ahead > 0 else "sub", (
            Coord(large.rank), Num(float(abs(ahead)))))
        # A coordinate beyond the rank's end, or before its beginning, has seen all of it, or nothing.
        slot = Call("min", (slot, Extent(rank.upper())))
        if ahead < 0:
            slot = Call("max", (slot, Num(0.0)))
        return own, guard, slot
    return None

apply = iterate
candidates = reductions
