"""Swaps an iteration for an associative scan: a prefix reduction over steps that are composed in any grouping.

``init H[0,n] = H0[n]; H[i+1,n] = A[i,n] * H[i,n] + B[i,n]`` becomes ::

    op lin(a1, b1; a2, b2) = (a1*a2, a2*b1 + b2) identity (1, 0) associative
    (PH[i,n], SH[i,n]) = lin[k] (A[k,n], B[k,n]) where k <= i
    VH[i,n] = PH[i,n] * H0[n] + SH[i,n]

Legal for a recurrence that goes forward, is not filtered, and whose step is linear with a coefficient that does not
depend on the state and does not mix its elements (a diagonal one): composition of such steps is associative. A step
that applies an associative map (a running maximum) becomes the prefix reduction of that map.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, Reduction, UserOperator, coords
from einsum_cascades.operators import REDUCTIONS, reduction_operator
from einsum_cascades.rewrites.algebra import ring_of
from einsum_cascades.rewrites.draft import Draft
from einsum_cascades.rewrites.editing import bare_ranks, coordinates, edited, map_reads, substitute
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.rewrites.recurrences import Recurrence, recurrence, slot_of
from einsum_cascades.structure import structure

NAME = "associative-scan"


def associative_scan(cascade: Cascade, tensor: str) -> Cascade:
    """Returns the cascade with an iterative tensor as a prefix reduction.

    Raises: IllegalRewriteError where its steps cannot be composed, or all of its slots are an output.
    """
    made = recurrence(cascade, tensor)
    if tensor in structure(cascade).outputs:
        raise IllegalRewriteError(f"tensor {tensor!r}: all of its slots are an output, got it to replace; read the "
                                  "slots that are wanted")
    if made.rank not in coords(made.added) and made.rank not in coords(made.coefficient or made.added):
        raise IllegalRewriteError(f"tensor {tensor!r}: its step is the same at every coordinate, got no read along "
                                  f"{made.rank!r}; nothing would say how long the scan is")
    if made.coefficient is not None:
        cascade = _with_composition(cascade)
    draft = Draft(cascade)
    draft.begin(tensor)
    values: dict[str, Access] = {}

    def value(kind: str) -> Access:
        if kind not in values:
            values[kind] = _scan(draft, made, kind)
        return values[kind]

    def place(access: Access) -> Access:
        if access.tensor != tensor:
            return access
        kind = slot_of(access, made)
        if kind is None or access.fill is not None:
            raise IllegalRewriteError(f"tensor {tensor!r}: another slot than the one before or after a step is read, "
                                      "got such a read; read H[i], H[i+1] or the last")
        others = [i for d, i in enumerate(access.indices) if d != made.dimension]
        found = value("after" if kind == "last" else kind)
        last: Expr = Call("sub", (Extent(made.rank.upper()), Num(1.0)))
        table = {made.rank: last if kind == "last" else Coord(made.rank), **dict(zip(made.ranks, others, strict=True))}
        moved = substitute(found, table)
        assert isinstance(moved, Access)
        return moved

    lines = {e.name: map_reads(e, place) for e in cascade.einsums if e.name != tensor}
    return edited(cascade, (lines.get(e.name, e) for e in draft.einsums if e.name != tensor),
                  (map_reads(s, place) for s in cascade.inits if s.name != tensor))


def _scan(draft: Draft, made: Recurrence, kind: str) -> Access:
    """Adds the state after (or before) each step and returns a read of it."""
    ring = ring_of(str(REDUCTIONS["sum"].combine), draft.cascade)
    assert ring is not None
    earlier = draft.names.rank("k")
    guard = Call("le" if kind == "after" else "lt", (Coord(earlier), Coord(made.rank)))
    name = made.line.name
    ranks = (made.rank, *made.ranks)

    def at_earlier(expr: Expr, prefix: str) -> Expr:
        # A step that is no read at bare ranks gets a line: it is computed once for each coordinate, and the earlier
        # rank is as long as the iteration.
        own = tuple(r for r in ranks if r in coords(expr))
        if not isinstance(expr, Num) and (not isinstance(expr, Access) or bare_ranks(expr) is None):
            expr = draft.define(prefix + name, own, expr)
        return substitute(expr, {made.rank: Coord(earlier)})

    if made.coefficient is None:
        head_of = Reduction(made.reduction, (earlier,))
        prefix = draft.define("S" + name, ranks, at_earlier(made.added, "B"), head_of, guard)
        head = reduction_operator(made.reduction, draft.cascade)
        assert head is not None
        body: Expr = prefix if made.seed == Num(head.identity[0]) else Call(str(head.combine), (made.seed, prefix))
        return draft.define("V" + name, ranks, body)
    product, total = draft.names.tensor("P" + name), draft.names.tensor("S" + name)
    operator = next(o for o in draft.cascade.operators if _composes(o))
    outputs = tuple(Access(t, coordinates(ranks)) for t in (product, total))
    bodies = (at_earlier(made.coefficient, "A"), at_earlier(made.added, "B"))
    draft.place(Einsum(outputs, bodies, Reduction(operator.name, (earlier,)), guard))
    # Also from a seed of 0: a tensor of a tuple that nothing reads would be an output.
    scaled = Call(ring.mul, (outputs[0], made.seed))
    return draft.define("V" + name, ranks, Call(ring.add, (scaled, outputs[1])))


def _composition(name: str) -> UserOperator:
    ring = ring_of(str(REDUCTIONS["sum"].combine))
    assert ring is not None
    a1, b1, a2, b2 = (Access(n, ()) for n in ("a1", "b1", "a2", "b2"))
    bodies = (Call(ring.mul, (a1, a2)), Call(ring.add, (Call(ring.mul, (a2, b1)), b2)))
    return UserOperator(name, (("a1", "b1"), ("a2", "b2")), bodies, (ring.one, ring.zero), frozenset({"associative"}))


def _composes(operator: UserOperator) -> bool:
    """Whether an operator composes linear steps."""
    own = _composition(operator.name)
    return (operator.operands, operator.bodies, operator.identity) == (own.operands, own.bodies, own.identity) \
        and "associative" in operator.properties


def _with_composition(cascade: Cascade) -> Cascade:
    """The cascade with the operator that composes two linear steps."""
    if any(_composes(o) for o in cascade.operators):
        return cascade
    taken = {o.name for o in cascade.operators}
    name = next(n for n in ("lin", *(f"lin{i}" for i in range(2, 100))) if n not in taken)
    return replace(cascade, operators=(*cascade.operators, _composition(name)))


def candidates(cascade: Cascade) -> Iterator[tuple[str]]:
    """Yields the iterative tensors."""
    for tensor in structure(cascade).iterative:
        yield (tensor,)


apply = associative_scan
