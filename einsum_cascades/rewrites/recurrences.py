"""Recurrences taken apart: a state that follows from the one before by a coefficient and an input, or by a map."""

from __future__ import annotations

from dataclasses import dataclass, replace

from einsum_cascades.indices import offset
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, accesses
from einsum_cascades.operators import REDUCTIONS, map_operator
from einsum_cascades.rewrites.algebra import Ring, negates, product_of, reduction_by, ring_of, sum_of
from einsum_cascades.rewrites.canonical import Canon
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.rewrites.support import Support
from einsum_cascades.structure import structure


@dataclass(frozen=True)
class Recurrence:
    """``H[i+1,...] = coefficient * H[i,...] + added``, or ``reduction(H[i,...], added)`` where ``coefficient`` is None.

    ``ranks`` are the state's ranks without the iterative one, in order; ``seed`` is the right side of its seed.
    """

    line: Einsum
    rank: str
    dimension: int
    ranks: tuple[str, ...]
    seed: Expr
    coefficient: Expr | None
    added: Expr
    reduction: str

    def at(self, slot: Expr) -> Access:
        """The state in a slot."""
        out = self.line.output
        return replace(out, indices=tuple(slot if d == self.dimension else i for d, i in enumerate(out.indices)))


def recurrence(cascade: Cascade, tensor: str) -> Recurrence:
    """Returns an iterative tensor as a recurrence.

    Raises: IllegalRewriteError where it is none whose steps can be composed.
    """
    found = structure(cascade)
    own, line = found.iterative.get(tensor), found.producers.get(tensor)
    if own is None or line is None or own.step != 1 or len(line.outputs) != 1 or line.reduced_ranks or line.reduction:
        raise IllegalRewriteError(f"tensor {tensor!r}: it is no recurrence of one value that goes forward, got "
                                  "another line; choose an iterative tensor")
    (seed,) = found.seeds[tensor]
    ranks = tuple(i.rank for d, i in enumerate(line.output.indices) if d != own.dimension and isinstance(i, Coord))
    if len(ranks) != len(line.output.indices) - 1 or seed.where is not None or seed.reduced_ranks:
        raise IllegalRewriteError(f"tensor {tensor!r}: its state or its seed is filtered or scattered, got such a "
                                  "line; write it over bare ranks")
    names = [i.rank if isinstance(i, Coord) else "" for d, i in enumerate(seed.output.indices) if d != own.dimension]
    from einsum_cascades.rewrites.editing import substitute
    start = substitute(seed.body, {n: Coord(r) for n, r in zip(names, ranks, strict=True)})
    made = Recurrence(line, own.rank, own.dimension, ranks, start, None, line.body, "sum")
    state = made.at(Coord(own.rank))
    if Support(cascade, Canon(cascade)).of_terms(line):
        raise IllegalRewriteError(f"tensor {tensor!r}: a step of it may be absent, got a predicate; a filtered step "
                                  "cannot be composed")
    if isinstance(line.body, Call) and len(line.body.args) == 2 and state in line.body.args:
        name = reduction_by(line.body.op, cascade)
        rest = line.body.args[1] if line.body.args[0] == state else line.body.args[0]
        head = map_operator(line.body.op, cascade)
        if name is not None and head is not None and head.associative and not _depends(cascade, rest, tensor):
            return replace(made, added=rest, reduction=name)
    ring = ring_of(str(REDUCTIONS["sum"].combine), cascade)
    assert ring is not None
    coefficient, added = _affine(cascade, line.body, state, ring)
    for part in (coefficient, added):
        if _depends(cascade, part, tensor):
            raise IllegalRewriteError(f"tensor {tensor!r}: its coefficient or its input depends on the state, got "
                                      "another read of it; only a linear, diagonal recurrence can be composed")
    return replace(made, coefficient=coefficient, added=added)


def _depends(cascade: Cascade, expr: Expr, tensor: str) -> bool:
    found = structure(cascade)
    reached: set[str] = set()
    stack = [a.tensor for a in accesses(expr)]
    while stack:
        name = stack.pop()
        if name == tensor:
            return True
        if name not in reached and name in found.producers:
            reached.add(name)
            lines = (found.producers[name], *found.seeds.get(name, ()))
            stack += [a.tensor for e in lines for a in e.reads]
    return False


def _affine(cascade: Cascade, expr: Expr, state: Access, ring: Ring) -> tuple[Expr, Expr]:
    """Returns (a, b) with ``expr = a * state + b``."""
    zero, one = Num(ring.zero), Num(ring.one)
    if state not in accesses(expr):
        return zero, expr
    if expr == state:
        return one, zero
    if not isinstance(expr, Call):
        raise _nonlinear(state, expr)
    operator = map_operator(expr.op, cascade)
    assert operator is not None
    if negates(operator, ring.add):
        a, b = _affine(cascade, expr.args[0], state, ring)
        return _signed(ring, -1, a), _signed(ring, -1, b)
    if expr.op in (ring.add, ring.sub):
        sign = 1 if expr.op == ring.add else -1
        (a, b), (c, d) = (_affine(cascade, x, state, ring) for x in expr.args)
        return _plus(ring, a, sign, c), _plus(ring, b, sign, d)
    if expr.op in (ring.mul, ring.div):
        left, right = expr.args
        if state in accesses(left) and state not in accesses(right):
            a, b = _affine(cascade, left, state, ring)
            sign = 1 if expr.op == ring.mul else -1
            return _times(ring, a, sign, right), _times(ring, b, sign, right)
        if expr.op == ring.mul and state in accesses(right) and state not in accesses(left):
            a, b = _affine(cascade, right, state, ring)
            return _times(ring, a, 1, left), _times(ring, b, 1, left)
    raise _nonlinear(state, expr)


def _nonlinear(state: Access, expr: Expr) -> IllegalRewriteError:
    from einsum_cascades.printing import expr_text
    return IllegalRewriteError(f"tensor {state.tensor!r}: its step is not linear in the state, got {expr_text(expr)}; "
                               "only a linear, diagonal recurrence can be composed")


def _signed(ring: Ring, sign: int, expr: Expr) -> Expr:
    return expr if sign > 0 or expr == Num(ring.zero) else sum_of(ring, ((-1, expr),))


def _plus(ring: Ring, left: Expr, sign: int, right: Expr) -> Expr:
    zero = Num(ring.zero)
    if right == zero:
        return left
    return _signed(ring, sign, right) if left == zero else sum_of(ring, ((1, left), (sign, right)))


def _times(ring: Ring, left: Expr, sign: int, right: Expr) -> Expr:
    return left if left == Num(ring.zero) else product_of(ring, ((1, left), (sign, right)))


def slot_of(read: Access, made: Recurrence) -> str | None:
    """Returns which slot of a recurrence a read is of: "before" or "after" the step, the "last", or None."""
    index = read.indices[made.dimension]
    if index == Extent(made.rank.upper()):
        return "last"
    place = offset(index)
    if place is None or place.extents or place.rank != made.rank:
        return None
    return {0: "before", 1: "after"}.get(place.constant)
