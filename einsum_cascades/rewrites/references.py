"""References: what a homomorphism may be rebased on, and what the deviations of a polynomial are measured from.

A reference of a phase f(e + s) bounds e from the side on which f grows, so that f(e - reference) never overflows: the
maximum of e over all reduced ranks. A reference of a deviation is the mean of it, around which moments lose nothing.
One that the cascade has already is used; otherwise a line is added.
"""

from __future__ import annotations

from dataclasses import dataclass

from einsum_cascades.analysis.presence import conjuncts
from einsum_cascades.ir import Access, Call, Einsum, Expr, Extent, Reduction, coords, unique
from einsum_cascades.operators import REDUCTIONS, map_operator, reduction_operator
from einsum_cascades.rewrites.algebra import (
    Ring,
    Signed,
    is_upper_bound,
    lower_bound,
    negation,
    ring_of,
    sum_of,
    upper_bound,
)
from einsum_cascades.rewrites.assembly import Assembly
from einsum_cascades.rewrites.canonical import Key
from einsum_cascades.rewrites.editing import bare_ranks, conjunction, substitute
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.rewrites.separation import mean_parts
from einsum_cascades.rewrites.support import Conditions
from einsum_cascades.rewrites.terms import Deviation, Phase, Term


@dataclass(frozen=True)
class Reference:
    """``sign * access``; ``rest`` are the outer terms less the reference: e + s = (e - reference) + (reference + s).

    ``rest`` is empty where the reference is what the mixture had already.
    """

    sign: int
    access: Access
    rest: Signed

    def inner(self, inner: Signed) -> tuple[Signed, Signed]:
        """Returns the inner and the outer part of ``e - reference``."""
        return inner, ((-self.sign, self.access),)


class References:
    """Finds or makes the references of one line's mixtures."""

    def __init__(self, assembly: Assembly) -> None:
        self.assembly, self.draft = assembly, assembly.draft
        self.cascade, self.rank = assembly.draft.cascade, assembly.parts.rank
        self.line = assembly.line

    # --- phases ---

    def of_phase(self, phase: Phase, term: Term) -> Reference:
        """Returns the bound of a phase.

        Raises: IllegalRewriteError where its operator is not declared to grow or to fall.
        """
        operator = map_operator(phase.op, self.cascade)
        ring = ring_of(phase.plus, self.cascade)
        assert operator is not None
        assert ring is not None
        side = operator.monotone[0] if operator.monotone else 0
        if side == 0:
            raise IllegalRewriteError(f"operator {phase.op!r}: it is not declared monotone, got it around "
                                      f"{_text(ring, phase)}; a reference can only bound a map that grows or falls")
        inner = sum_of(ring, tuple((side * s, e) for s, e in phase.inner))
        conditions = self._conditions(inner, term)
        found = [(access, sign * side) for access, sign in self._bounds(ring, inner, phase.outer, conditions)]
        for access, sign in found:
            rest = self._rest(phase.outer, sign, access)
            if not rest:
                return Reference(sign, access, ())
        for access, sign in found:
            # Over more elements than the sum has, a bound may be far above them; not if it is under the old reference.
            if self._conditions_of(access) == set(conditions) or self._is_under(access, sign, phase.outer):
                return Reference(sign, access, self._rest(phase.outer, sign, access))
        made = self._make("M", inner, upper_bound(self.cascade), conditions, term)
        return Reference(side, made, self._rest(phase.outer, side, made))

    def _is_under(self, access: Access, sign: int, outer: Signed) -> bool:
        """Whether a bound is no more than the reference of a phase: that is the larger of it and others."""
        if len(outer) != 1 or outer[0][0] != -sign:
            return False
        combine = reduction_operator(upper_bound(self.cascade) if sign > 0 else lower_bound(self.cascade), self.cascade)
        assert combine is not None
        stack = [outer[0][1]]
        while stack:
            expr = stack.pop()
            if self.draft.canon.same(expr, access):
                return True
            if isinstance(expr, Call) and expr.op == combine.combine:
                stack += expr.args
            elif isinstance(expr, Access):
                line = self.draft.producers.get(expr.tensor)
                names = bare_ranks(line.output) if line is not None else None
                if line is not None and names is not None and not line.reduced_ranks and line.reduction is None:
                    stack.append(substitute(line.body, dict(zip(names, expr.indices, strict=True))))
        return False

    def _bounds(self, ring: Ring, inner: Expr, outer: Signed, conditions: Conditions) -> list[tuple[Access, int]]:
        """Reads of reductions that bound an expression from above (sign 1), or whose negatives do (sign -1)."""
        found = []
        for access, line in self._reductions(outer):
            assert line.reduction is not None
            head = reduction_operator(line.reduction.op, self.cascade)
            sign = 1 if is_upper_bound(head, self.cascade) else -1 if self._is_lower_bound(line) else 0
            if sign == 0 or sign < 0 and negation(ring) is None:
                continue
            pattern = inner if sign > 0 else sum_of(ring, ((-1, inner),))
            if self._covers(access, line, pattern, conditions):
                found.append((access, sign))
        return found

    def _is_lower_bound(self, line: Einsum) -> bool:
        assert line.reduction is not None
        head = reduction_operator(line.reduction.op, self.cascade)
        return (head is not None and head.idempotent and head.monotone and head.identity == (float("inf"),)
                and head.combine is not None)

    # --- deviations ---

    def of_deviation(self, deviation: Deviation, term: Term) -> Reference:
        """Returns the centre of a deviation."""
        ring = self.assembly.parts.ring
        inner = sum_of(ring, deviation.inner)
        conditions = self._conditions(inner, term)
        centre = next(n for n, r in REDUCTIONS.items() if mean_parts(r) is not None)
        for access, line in self._reductions(deviation.outer):
            assert line.reduction is not None
            head = reduction_operator(line.reduction.op, self.cascade)
            if head is not None and mean_parts(head) is not None and self._covers(access, line, inner, conditions) \
                    and self._conditions_of(access) == set(conditions) and self._is_over(access, line, inner, term):
                return Reference(1, access, self._rest(deviation.outer, 1, access))
        made = self._make("C", inner, centre, conditions, term)
        rest = self._rest(deviation.outer, 1, made)
        if len(rest) == 2 and self._is_mean(deviation.outer, inner, conditions):
            rest = ()
        return Reference(1, made, rest)

    def _is_over(self, access: Access, line: Einsum, inner: Expr, term: Term) -> bool:
        """Whether a mean is over all ranks that are reduced, and no others: only a bound may be over more."""
        names = bare_ranks(line.output)
        assert names is not None
        table = dict(zip(names, access.indices, strict=True))
        free = tuple(r for r in line.reduced_ranks if r != self.rank)
        matched = self.draft.canon.unify(substitute(line.body, table), free, inner) or {}
        over = {self.rank} | {r for e in matched.values() for r in coords(e)}
        return over == {r for r in (*self.assembly.reduced, *term.ranks) if r in coords(inner)}

    def _is_mean(self, outer: Signed, inner: Expr, conditions: Conditions) -> bool:
        """Whether a deviation is from a sum over the rank divided by its extent, which is the mean."""
        ring = self.assembly.parts.ring
        if len(outer) != 1 or outer[0][0] != -1 or conditions or self.line.where is not None:
            return False
        total = Reduction("sum", (self.rank,))
        ranks = tuple(r for r in coords(inner) if r != self.rank)
        name = self.draft.define("S" + self.line.name, ranks, inner, total)
        from einsum_cascades.rewrites.algebra import product_of
        return self.draft.canon.same(outer[0][1], product_of(ring, ((1, name), (-1, Extent(self.rank.upper())))))

    # --- both ---

    def _reductions(self, outer: Signed) -> list[tuple[Access, Einsum]]:
        """Reductions over the rank, those that the outer terms read first."""
        reads = [e for _, e in outer if isinstance(e, Access)]
        for line in self.draft.einsums:
            names = bare_ranks(line.output)
            if names is not None and set(names) <= {*self.line.ranks}:
                reads.append(line.output)
        found = []
        for access in dict.fromkeys(reads):
            made = self.draft.producers.get(access.tensor)
            if made is None or made.reduction is None or made.reduction.into or made.summed_ranks:
                continue
            if self.rank in made.reduction.ranks and len(made.outputs) == 1 and bare_ranks(made.output) is not None \
                    and access.tensor != self.line.name:
                found.append((access, made))
        return found

    def _covers(self, access: Access, line: Einsum, expr: Expr, conditions: Conditions) -> bool:
        """Whether a reduction goes over the expression, at least wherever the conditions hold."""
        names = bare_ranks(line.output)
        assert names is not None
        assert line.reduction is not None
        table = dict(zip(names, access.indices, strict=True))
        free = tuple(r for r in line.reduction.ranks if r != self.rank)
        canon = self.draft.canon
        matched = canon.unify(substitute(line.body, table), free, expr)
        if matched is None:
            return False
        every = {**table, **matched}
        wanted = self.draft.support.predicates(substitute(c, every) for c in conjuncts(line.where))
        return wanted.keys() <= {*conditions, *self.assembly.own} \
            and set(coords(access)) <= {*self.line.ranks, *coords(expr)}

    def _conditions(self, inner: Expr, term: Term) -> Conditions:
        """Where a term is present, as far as the ranks of its inner part and of its predicates say."""
        found = {**self.assembly.present, **self.draft.support.predicates(term.guards)}
        return {k: c for k, c in found.items() if k not in self.assembly.own}

    def _conditions_of(self, access: Access) -> set[Key]:
        """Where the elements of a reduction are present, in terms of the read, beyond where the line is."""
        line = self.draft.producers[access.tensor]
        names = bare_ranks(line.output)
        assert names is not None
        table = dict(zip(names, access.indices, strict=True))
        body = substitute(line.body, table)
        support = self.draft.support
        found = support.of(body) | support.predicates(substitute(c, table) for c in conjuncts(line.where))
        return found.keys() - self.assembly.own.keys()

    def _make(self, prefix: str, inner: Expr, op: str, conditions: Conditions, term: Term) -> Access:
        known = self.draft.support.of(inner)
        guards = [self.assembly.predicate(c) for k, c in conditions.items() if k not in known]
        mentioned = unique((*coords(inner), *(r for g in guards for r in coords(g))))
        reduced = tuple(r for r in (*self.assembly.reduced, *term.ranks) if r in mentioned)
        ranks = tuple(r for r in unique((*self.line.output_ranks, *mentioned)) if r in mentioned and r not in reduced)
        if any(set(coords(g)) <= set(ranks) for g in guards):
            every = (*ranks, *reduced)
            inner = self.draft.define("W" + self.line.name, every, inner, None, conjunction(guards))
            guards = []
        return self.draft.define(prefix + self.line.name, ranks, inner, Reduction(op, reduced), conjunction(guards))

    def _rest(self, outer: Signed, sign: int, access: Access) -> Signed:
        """The outer terms and the reference, less what cancels."""
        canon = self.draft.canon
        for i, (s, e) in enumerate(outer):
            if s == -sign and canon.same(e, access):
                return tuple(part for j, part in enumerate(outer) if j != i)
        return ((sign, access), *outer)


def _text(ring: Ring, phase: Phase) -> str:
    from einsum_cascades.printing import expr_text
    return expr_text(sum_of(ring, (*phase.inner, *phase.outer)))
