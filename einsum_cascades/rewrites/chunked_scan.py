"""Swaps an iteration for a chunked scan: products of matrices inside of a chunk, a recurrence over chunks between them.

``H[i+1,n,f] = A[i] * H[i,n,f] + B[i,n] * X[i,f]; Y[i,f] = C[i,n] * H[i+1,n,f]`` becomes, in chunks of ``I0`` ::

    WH[i1,i0,ij] = prod[ik] AH[i1,ik] where ij < ik and ik <= i0 and ij <= i0    # decay from ij to i0
    GY[i1,i0,ij] = C[i1*I0 + i0, n] * BB[i1,ij,n] where ij <= i0                 # inside of the chunk
    IY[i1,i0,f]  = WH[i1,i0,ij] * GY[i1,i0,ij] * BX[i1,ij,f]
    SH[i1,n,f]   = EH[i1,i0] * B[i1*I0 + i0, n] * X[i1*I0 + i0, f]               # the chunk's state
    KH[i1+1,n,f] = KH[i1,n,f] * DH[i1] + SH[i1,n,f]                              # between chunks
    TY[i1,i0,f]  = IY[i1,i0,f] + OY[i1,i0,f] * FH[i1,i0]                         # OY = C * KH[i1]

which is the state-space duality of Mamba-2. Legal for a recurrence whose step is linear and diagonal, with a
coefficient that does not depend on the ranks that its readers sum over: with one that does, the decay could not leave
the product of matrices. Readers are sums of products of the state after the step; its last slot may be read too. A
coefficient that a declared homomorphism makes of a sum (exp(d)) is multiplied up as that of the sum.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, Reduction, coords, unique
from einsum_cascades.operators import REDUCTIONS, map_operator
from einsum_cascades.rewrites.algebra import Ring, flat, product_of, reduction_by, ring_of
from einsum_cascades.rewrites.assembly import missing
from einsum_cascades.rewrites.canonical import Canon
from einsum_cascades.rewrites.draft import Draft
from einsum_cascades.rewrites.editing import bare_ranks, conjunction, edited, map_reads, substitute, sum_head
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.rewrites.partition import parts_of
from einsum_cascades.rewrites.recurrences import Recurrence, recurrence, slot_of
from einsum_cascades.rewrites.support import Support
from einsum_cascades.structure import structure

NAME = "chunked-scan"

Factors = list[tuple[int, Expr]]


def chunked_scan(cascade: Cascade, tensor: str) -> Cascade:
    """Returns the cascade with an iterative tensor in chunks of its rank.

    Raises: IllegalRewriteError where its step is not linear and diagonal, or a reader is no sum of products of it.
    """
    made = recurrence(cascade, tensor)
    head = REDUCTIONS.get(made.reduction)
    if made.coefficient is None and head is not None and head.combine == REDUCTIONS["sum"].combine:
        made = replace(made, coefficient=Num(1.0))
    if made.coefficient is None or tensor in structure(cascade).outputs:
        raise IllegalRewriteError(f"tensor {tensor!r}: it is no linear recurrence that other lines read, got one by "
                                  f"{made.reduction!r} or an output; use the associative scan, or read the slots that "
                                  "are wanted")
    if made.coefficient == Num(0.0):
        raise IllegalRewriteError(f"tensor {tensor!r}: a step does not depend on the one before, got a coefficient of "
                                  "0; there is no state to carry")
    if made.rank not in coords(made.added):
        raise IllegalRewriteError(f"tensor {tensor!r}: it adds the same at every step, got no read along "
                                  f"{made.rank!r}; nothing would say how long the inside of a chunk is; use the "
                                  "associative scan")
    result = _Chunks(cascade, made).made()
    outer, inner = parts_of(made.rank)
    if structure(result).composites.get(made.rank) != (outer, inner):
        raise IllegalRewriteError(f"rank {made.rank!r}: nothing is read at {outer}*{inner.upper()} + {inner}, got no "
                                  "tensor along the whole rank; its extent would be lost")
    return result


class _Chunks:
    def __init__(self, cascade: Cascade, made: Recurrence) -> None:
        self.cascade, self.recurrence = cascade, made
        self.draft = Draft(cascade)
        self.outer, self.inner = parts_of(made.rank)
        for part in (self.outer, self.inner):
            if part in self.draft.names.ranks:
                raise IllegalRewriteError(f"rank {made.rank!r}: its part {part!r} has a name that is taken, got "
                                          f"another rank {part!r}; rename that rank")
        self.draft.names.ranks |= {self.outer, self.inner}
        self.earlier, self.between = (self.draft.names.rank(made.rank + suffix) for suffix in ("j", "k"))
        ring = ring_of(str(REDUCTIONS["sum"].combine), cascade)
        assert ring is not None
        self.ring: Ring = ring
        self.name = made.line.name
        assert made.coefficient is not None
        self.decays = tuple(r for r in made.ranks if r in coords(made.coefficient))

    def index(self, position: str) -> Expr:
        """``i1*I0 + position``."""
        return Call("add", (Call("mul", (Coord(self.outer), Extent(self.inner.upper()))), Coord(position)))

    def at(self, expr: Expr, position: str) -> Expr:
        """An expression at a position of the chunk."""
        return substitute(expr, {self.recurrence.rank: self.index(position)})

    def made(self) -> Cascade:
        made, tensor = self.recurrence, self.name
        readers = [e for e in self.cascade.einsums if e.name != tensor and any(a.tensor == tensor for a in e.reads)]
        self.draft.begin(tensor)
        carry = self._carry()
        lines = {}
        for reader in readers:
            slots = {slot_of(a, made) for a in reader.reads if a.tensor == tensor}
            if slots == {"last"}:
                lines[reader.name] = map_reads(reader, lambda a: self._last(a, carry))
            elif slots == {"after"}:
                self.draft.begin(reader.name)
                lines[reader.name] = self._reader(reader, carry)
            else:
                raise IllegalRewriteError(f"tensor {tensor!r}: {reader.name!r} reads another slot than the one after "
                                          "a step or the last, got such a read; write it with H[i+1]")
        if any(a.tensor == tensor for s in self.cascade.inits if s.name != tensor for a in s.reads):
            raise IllegalRewriteError(f"tensor {tensor!r}: a seed reads it, got another recurrence that begins with "
                                      "it; give that its last slot by a line")
        return edited(self.cascade, (lines.get(e.name, e) for e in self.draft.einsums if e.name != tensor),
                      (s for s in self.draft.inits if s.name != tensor))

    # --- decays ---

    def _product(self, name: str, ranks: tuple[str, ...], guards: tuple[Expr, ...]) -> Factors:
        """The product of coefficients at positions ``between`` that meet the guards; none where all are 1."""
        made, draft, ring = self.recurrence, self.draft, self.ring
        assert made.coefficient is not None
        if made.coefficient == Num(ring.one):
            return []
        coefficient = self._written(made.coefficient)
        operator = map_operator(coefficient.op, self.cascade) if isinstance(coefficient, Call) else None
        known = operator.homomorphisms if operator is not None else ()
        turned = next((h for h in known if h.target == ring.mul), None)
        total = reduction_by(turned.source, self.cascade) if turned is not None else None
        every = unique((*ranks, *self.decays))
        if total is not None and isinstance(coefficient, Call):
            step = self._step("A", coefficient.args[0])
            summed = draft.define("L" + name, every, step, Reduction(total, (self.between,)), conjunction(guards))
            return [(1, draft.define(name, every, Call(coefficient.op, (summed,))))]
        product = reduction_by(ring.mul, self.cascade)
        assert product is not None
        step = self._step("A", coefficient)
        return [(1, draft.define(name, every, step, Reduction(product, (self.between,)), conjunction(guards)))]

    def _written(self, expr: Expr) -> Expr:
        """A coefficient that is read from a plain map, as that map."""
        line = self.draft.producers.get(expr.tensor) if isinstance(expr, Access) else None
        names = bare_ranks(line.output) if line is not None else None
        if isinstance(expr, Access) and line is not None and names is not None and isinstance(line.body, Call) \
                and line.reduction is None and not line.reduced_ranks and line.where is None:
            return substitute(line.body, dict(zip(names, expr.indices, strict=True)))
        return expr

    def _step(self, prefix: str, expr: Expr) -> Expr:
        """A read of an expression at position ``between``, from a line that holds it for every position."""
        # A coefficient that reads nothing along the rank counts as often as there are steps, not as often as the chunk
        # has positions.
        ranks = (self.outer, self.inner, *self.decays)
        moved = self.at(expr, self.inner)
        held = self.draft.define(prefix + self.name, ranks, moved, None, self.bound(moved, self.inner))
        return substitute(held, {self.inner: Coord(self.between)})

    def bound(self, expr: Expr, position: str) -> Expr | None:
        """The predicate that a position is before the end of the rank, where an expression does not say so already."""
        end = Call("lt", (self.index(position), Extent(self.recurrence.rank.upper())))
        return conjunction(missing(self.draft.support, (end,), expr))

    def _added(self) -> Factors:
        """The factors of what a step adds."""
        return flat(self.recurrence.added, self.ring.mul, self.ring.div, self.cascade)

    def _earlier(self, factor: Expr) -> Expr:
        """A factor at position ``earlier``: a read of a line that holds it for every position, so that both are as
        long."""
        rank = self.recurrence.rank
        if rank not in coords(factor):
            return factor
        name = factor.tensor if isinstance(factor, Access) else self.name
        ranks = tuple(x for r in coords(factor) for x in ((self.outer, self.inner) if r == rank else (r,)))
        moved = self.at(factor, self.inner)
        held = self.draft.define("B" + name, ranks, moved, None, self.bound(moved, self.inner))
        return substitute(held, {self.inner: Coord(self.earlier)})

    # --- the state between chunks ---

    def _carry(self) -> str:
        made, draft, ring = self.recurrence, self.draft, self.ring
        after = Call("lt", (Coord(self.inner), Coord(self.between)))
        to_end = self._product("E" + self.name, (self.outer, self.inner), (after,))
        whole = self._product("D" + self.name, (self.outer,), ())
        added = product_of(ring, (*to_end, *((s, self.at(f, self.inner)) for s, f in self._added())))
        state = draft.define("S" + self.name, (self.outer, *made.ranks), added, sum_head(added, (self.inner,)),
                             self.bound(added, self.inner))

        def body(fresh: str) -> Expr:
            before = Access(fresh, (Coord(self.outer), *(Coord(r) for r in made.ranks)))
            return Call(ring.add, (product_of(ring, ((1, before), *whole)), state))
        return draft.iterate("K" + self.name, self.outer, made.ranks, body, made.seed)

    def _last(self, access: Access, carry: str) -> Access:
        if access.tensor != self.name:
            return access
        others = (i for d, i in enumerate(access.indices) if d != self.recurrence.dimension)
        return Access(carry, (Extent(self.outer.upper()), *others))

    # --- readers ---

    def _reader(self, reader: Einsum, carry: str) -> Einsum:
        made, draft, ring = self.recurrence, self.draft, self.ring
        factors = flat(reader.body, ring.mul, ring.div, self.cascade)
        states = [f for s, f in factors if isinstance(f, Access) and f.tensor == self.name and s > 0]
        names = bare_ranks(reader.output)
        summed = reader.reduced_ranks
        named = reader.reduction is not None and reader.reduction.op != "sum"
        if len(states) != 1 or sum(a.tensor == self.name for a in reader.reads) != 1 or names is None \
                or reader.where is not None or named or not summed or made.rank not in names:
            raise IllegalRewriteError(f"tensor {reader.name!r}: it is no sum of products of {self.name!r} over its "
                                      f"other ranks, got another line; give the product with {self.name!r} a line of "
                                      "its own")
        if Support(self.cascade, Canon(self.cascade)).of_terms(reader):
            raise IllegalRewriteError(f"tensor {reader.name!r}: it may be absent, got a condition; read {self.name!r} "
                                      "unfiltered")
        indices = [i for d, i in enumerate(states[0].indices) if d != made.dimension]
        inside = dict(zip(made.ranks, indices, strict=True))
        decays = {r for d in self.decays for r in coords(inside[d])}
        if decays & set(summed):
            raise IllegalRewriteError(f"tensor {reader.name!r}: it sums over "
                                      f"{', '.join(sorted(decays & set(summed)))}, which the coefficient of "
                                      f"{self.name!r} depends on, got a decay inside of the sum; use the associative "
                                      "scan")
        outside = [(s, f) for s, f in factors if f is not states[0]]
        ranks = (self.outer, self.inner, *(r for r in names if r != made.rank))
        near = self._near(reader, outside, inside, summed, ranks)
        far = self._far(reader, outside, inside, carry, summed, ranks)
        both = draft.define("T" + reader.name, ranks, Call(ring.add, (near, far)))
        extent = Extent(self.inner.upper())
        table: dict[str, Expr] = {self.outer: Call("floordiv", (Coord(made.rank), extent)),
                                  self.inner: Call("mod", (Coord(made.rank), extent))}
        return Einsum(reader.outputs, (substitute(both, table),), None, None, reader.span)

    def _near(self, reader: Einsum, outside: Factors, inside: dict[str, Expr], summed: tuple[str, ...],
              ranks: tuple[str, ...]) -> Access:
        """What the chunk's own inputs give."""
        _made, draft, ring = self.recurrence, self.draft, self.ring
        here, there = Coord(self.inner), Coord(self.earlier)
        seen = Call("le", (there, here))
        guards = (Call("lt", (there, Coord(self.between))), Call("le", (Coord(self.between), here)), seen)
        decay = self._product("W" + self.name, (self.outer, self.inner, self.earlier), guards)
        added = [(s, substitute(self._earlier(f), inside)) for s, f in self._added()]
        readout = [(s, self.at(f, self.inner)) for s, f in outside]
        # The ranks that are summed: first those of the product of matrices, with the factors that know them.
        known = {r for _, f in (*added, *readout) for r in coords(f)}
        if not set(summed) <= known:
            raise IllegalRewriteError(f"tensor {reader.name!r}: it sums over a rank that no factor of the step knows, "
                                      f"got {', '.join(summed)}; give the sum a line of its own")
        product = [(s, f) for s, f in (*readout, *added) if set(coords(f)) & set(summed)]
        rest = [(s, f) for s, f in (*added, *readout) if not set(coords(f)) & set(summed)]
        body = product_of(ring, product)
        mentioned = {r for _, f in product for r in coords(f)} - set(summed)
        matrix = draft.define("G" + reader.name, tuple(r for r in unique((self.outer, self.inner, self.earlier, *ranks))
                                                       if r in mentioned), body, sum_head(body, summed),
                              seen if {self.inner, self.earlier} <= mentioned else None)
        near = product_of(ring, (*((s, substitute(f, inside)) for s, f in decay), (1, matrix), *rest))
        within = conjunction(missing(draft.support, (seen,), near))
        return draft.define("I" + reader.name, ranks, near, sum_head(near, (self.earlier,)), within)

    def _far(self, reader: Einsum, outside: Factors, inside: dict[str, Expr], carry: str, summed: tuple[str, ...],
             ranks: tuple[str, ...]) -> Expr:
        """What the state before the chunk gives."""
        made, draft, ring = self.recurrence, self.draft, self.ring
        until = Call("le", (Coord(self.between), Coord(self.inner)))
        decay = self._product("F" + self.name, (self.outer, self.inner), (until,))
        state = Access(carry, (Coord(self.outer), *(inside[r] for r in made.ranks)))
        body = product_of(ring, (*((s, self.at(f, self.inner)) for s, f in outside), (1, state)))
        read = draft.define("O" + reader.name, ranks, body, sum_head(body, summed))
        return product_of(ring, ((1, read), *((s, substitute(f, inside)) for s, f in decay)))


def candidates(cascade: Cascade) -> Iterator[tuple[str]]:
    """Yields the iterative tensors."""
    for tensor in structure(cascade).iterative:
        yield (tensor,)


apply = chunked_scan
