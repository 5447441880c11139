"""A reduction taken apart along one of its ranks: what can stand outside of it, and the terms that stay inside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from einsum_cascades.analysis.presence import conjuncts
from einsum_cascades.ir import Access, Call, Cascade, Einsum, Expr, coords
from einsum_cascades.operators import REDUCTIONS, ReductionOperator, map_operator, reduction_operator
from einsum_cascades.rewrites.algebra import Ring, nonnegative, reduction_by, ring_of
from einsum_cascades.rewrites.editing import bare_ranks
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.rewrites.opening import InseparableError, Opening
from einsum_cascades.rewrites.terms import Separator, Term, multiplied_out
from einsum_cascades.structure import structure


@dataclass(frozen=True)
class Wrapper:
    """A map around a reduction: ``op`` with the reduction as operand number ``operand``, and ``other`` beside it."""

    op: str
    operand: int = 0
    other: Expr | None = None

    def around(self, expr: Expr) -> Expr:
        """Returns the map of an expression."""
        if self.other is None:
            return Call(self.op, (expr,))
        return Call(self.op, (expr, self.other) if self.operand == 0 else (self.other, expr))


@dataclass(frozen=True)
class Separation:
    """``line = wrappers(reduction over (sum of terms) where guards) where own``, for a mean divided by a count.

    ``own`` are predicates on ranks that the left side keeps, ``guards`` those that skip terms.
    """

    line: Einsum
    rank: str
    ring: Ring
    reduction: str
    wrappers: tuple[Wrapper, ...]
    is_mean: bool
    terms: tuple[Term, ...]
    own: tuple[Expr, ...]
    guards: tuple[Expr, ...]

    @property
    def is_free(self) -> bool:
        """Whether no outer read is left anywhere."""
        return not self.wrappers and all(not t.outer and not t.phases and not t.deviations for t in self.terms)

    @property
    def defers(self) -> bool:
        """Whether something can be taken out of the reduction."""
        return bool(self.wrappers) or any(t.outer for t in self.terms)

    @property
    def mixes(self) -> bool:
        """Whether a mixture is left that needs a change of reference."""
        return any(t.phases or t.deviations for t in self.terms)


def separation(cascade: Cascade, line: Einsum, rank: str, is_outer: Callable[[Access], bool], *,
               multiply_out: bool = True) -> Separation:
    """Returns a reduction over ``rank`` taken apart into outer and inner.

    ``multiply_out`` is whether a single deviation to the first power becomes two terms.

    Raises: IllegalRewriteError for a line that is no plain reduction over it; InseparableError where it cannot be taken
    apart.
    """
    head = reduced_by(cascade, line, rank)
    kept = set(line.output_ranks)
    predicates = conjuncts(line.where)
    own = tuple(c for c in predicates if set(coords(c)) <= kept)
    guards = tuple(c for c in predicates if c not in own)
    is_mean = mean_parts(head) is not None
    combine = REDUCTIONS[head.parts[0]].combine if is_mean else head.combine
    assert combine is not None
    peeled = _Peeled(cascade, line, rank, is_outer, combine)
    ring = ring_of(peeled.combine, cascade)
    name = reduction_by(peeled.combine, cascade)
    if any(peeled.finder.has_outer(g) for g in guards):
        raise InseparableError("a predicate depends on it", *peeled.finder.culprits(
            next(g for g in guards if peeled.finder.has_outer(g))), line.where or line.body)
    if ring is None or name is None:
        if peeled.finder.has_outer(peeled.body):
            raise peeled.finder.fail(peeled.body, f"nothing is declared to distribute over {head.name!r}")
        raise IllegalRewriteError(f"tensor {line.name!r}: {head.name!r} has no map that combines partial results, got "
                                  f"it for rank {rank!r}; only such reductions are taken apart")
    terms = Separator(cascade, rank, is_outer, ring, line.ranks).terms(peeled.body)
    if multiply_out:
        terms = multiplied_out(terms, ring)
    return Separation(line, rank, ring, name, tuple(peeled.wrappers), is_mean, terms, own, guards + peeled.guards)


def reduced_by(cascade: Cascade, line: Einsum, rank: str) -> ReductionOperator:
    """Returns the reduction of a line over a rank, if it is one of a single value that can be taken apart.

    Raises: IllegalRewriteError where it is not.
    """
    head = reduction_operator(line.reduction.op if line.reduction else "sum", cascade)
    name = line.reduction.op if line.reduction else "sum"
    if rank not in line.reduced_ranks:
        raise IllegalRewriteError(f"tensor {line.name!r}: it does not reduce rank {rank!r}, got "
                                  f"{', '.join(line.reduced_ranks) or 'no reduction'}; choose a rank that it reduces")
    if len(line.outputs) != 1 or line.reduction is not None and line.reduction.into or head is None \
            or bare_ranks(line.output) is None:
        raise IllegalRewriteError(f"tensor {line.name!r}: it is no plain reduction, got {name!r} on its right side or "
                                  "an index on its left; only a reduction of one value to bare ranks can be taken "
                                  "apart")
    if line.summed_ranks and line.reduction is not None and head.combine != REDUCTIONS["sum"].combine:
        raise IllegalRewriteError(f"tensor {line.name!r}: a sum stands inside of {name!r}, got both over "
                                  f"{', '.join(line.reduced_ranks)}; split the sum off first")
    if head.combine is None and mean_parts(head) is None:
        raise IllegalRewriteError(f"tensor {line.name!r}: {name!r} has no map that combines partial results, got it "
                                  f"for rank {rank!r}; only such reductions are taken apart")
    return head


def mean_parts(head: ReductionOperator) -> tuple[str, str] | None:
    """Returns (sum, count) for a reduction that is the one divided by the other, else None."""
    return (head.parts[0], head.parts[1]) if len(head.parts) == 2 and head.monotone else None


class _Peeled:
    """Takes maps off a body that stand around the whole of it and commute with the reduction, one after another."""

    def __init__(self, cascade: Cascade, line: Einsum, rank: str, is_outer: Callable[[Access], bool],
                 combine: str) -> None:
        self.cascade, self.combine, self.body = cascade, combine, line.body
        self.wrappers: list[Wrapper] = []
        self.guards: tuple[Expr, ...] = ()
        self.finder = Opening(cascade, rank, is_outer, line.ranks)
        self.producers = structure(cascade).producers
        own = map_operator(combine, cascade)
        while own is not None and own.idempotent and self.finder.has_outer(self.body) and self._step(rank, line):
            own = map_operator(self.combine, cascade)

    def _step(self, rank: str, line: Einsum) -> bool:
        body = self.body
        if isinstance(body, Access):
            if self.finder.is_outer(body) or not self.finder.moves(body):
                return False
            self.body, _, guards = self.finder.opened(body, None)
            self.guards += guards
            return True
        if not isinstance(body, Call):
            return False
        found = map_operator(body.op, self.cascade)
        assert found is not None
        if found.arity == 1:
            # A fiber without elements gives the identity, which such a map may not keep.
            for h in found.homomorphisms:
                if h.target == self.combine and h.safe_to_split and reduction_by(h.source, self.cascade) is not None \
                        and self._never_empty(line):
                    self.wrappers.append(Wrapper(body.op))
                    self.body, self.combine = body.args[0], h.source
                    return True
        ring = ring_of(self.combine, self.cascade)
        if found.arity == 2 and not (ring is not None and body.op in (ring.add, ring.mul, ring.div)):
            for operand in (0, 1):
                other = body.args[1 - operand]
                how = found.distribution(self.combine, operand)
                if how is None or self.finder.moves(other) or reduction_by(how.result, self.cascade) is None:
                    continue
                if how.needs_nonnegative and not nonnegative(other, self.producers, self.cascade) \
                        or not self._never_empty(line):
                    continue
                self.wrappers.append(Wrapper(body.op, operand, other))
                self.body, self.combine = body.args[operand], how.result
                return True
        return False

    def _never_empty(self, line: Einsum) -> bool:
        from einsum_cascades.rewrites.canonical import Canon
        from einsum_cascades.rewrites.support import Support
        return line.where is None and not Support(self.cascade, Canon(self.cascade)).of(line.body)
