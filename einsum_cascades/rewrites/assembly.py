"""A reduction that was taken apart, put together again as lines: inner reductions, then what stands outside of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from einsum_cascades.ir import Access, Call, Cascade, Einsum, Expr, Extent, Reduction, coords, unique
from einsum_cascades.operators import REDUCTIONS, reduction_operator
from einsum_cascades.rewrites.algebra import Signed, product_of, ring_of, sum_of
from einsum_cascades.rewrites.draft import Draft
from einsum_cascades.rewrites.editing import conjunction, outermost, sum_head
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.rewrites.separation import Separation
from einsum_cascades.rewrites.support import Condition, Conditions, Support
from einsum_cascades.rewrites.terms import Deviation, Phase, Term


@dataclass(frozen=True)
class Summand:
    """``sign * numerator * outer``, where the numerator still has the ranks ``kept`` that the line reduces."""

    sign: int
    numerator: Access | None
    outer: Signed
    kept: tuple[str, ...] = ()


class Assembly:
    """Writes the lines of one separation into a draft."""

    def __init__(self, draft: Draft, parts: Separation) -> None:
        self.draft, self.parts, self.line = draft, parts, parts.line
        self.reduced = self.line.reduced_ranks
        support = draft.support
        self.own = support.of_line(self.line)
        self.present = {k: c for k, c in (support.of_terms(self.line) | support.predicates(parts.guards)).items()
                        if k not in self.own}

    # --- expressions ---

    def phase(self, phase: Phase, guards: tuple[Expr, ...], name: str) -> Access:
        """Returns a read of a line for ``op((inner + outer) * scale)``, filtered by the guards on its ranks."""
        expr = phase_expr(phase, self.draft.cascade)
        ranks = tuple(r for r in (*self.line.ranks, *coords(expr)) if r in coords(expr))
        where = self._needed(expr, tuple(g for g in guards if set(coords(g)) <= set(ranks)))
        return self.draft.define(name, unique(ranks), expr, None, where)

    def deviation(self, deviation: Deviation) -> Expr:
        """Returns ``inner + outer``."""
        return sum_of(self.parts.ring, (*deviation.inner, *deviation.outer))

    def _needed(self, expr: Expr, guards: tuple[Expr, ...]) -> Expr | None:
        return conjunction(missing(self.draft.support, guards, expr))

    # --- inner reductions ---

    def numerator(self, term: Term, mixtures: tuple[Expr, ...], name: str,
                  keep: frozenset[str] = frozenset()) -> Summand:
        """Adds the reduction of a term's inner factors and mixtures, and returns it with the factors outside.

        It keeps the reduced ranks that those factors know, and those in ``keep``.
        """
        ring = self.parts.ring
        reduced = (*self.reduced, *term.ranks)
        outside = list(term.outer)
        inner = list(term.inner)
        if not mixtures and not any(set(coords(f)) & set(reduced) for _, f in inner):
            outside, inner = outside + inner, []
        self._check_outer(outside)
        kept = {r for r in reduced if r in keep or any(r in coords(f) for _, f in outside)} - {self.parts.rank}
        # What no rank that is reduced here moves is applied once, outside.
        still = [f for f in inner if not set(coords(f[1])) & (set(reduced) - kept)]
        if len(still) < len(inner) or mixtures:
            outside, inner = outside + still, [f for f in inner if f not in still]
        factors = (*((1, m) for m in mixtures), *inner)
        gone = tuple(r for r in reduced if r not in kept)
        order = tuple(r for r in reduced if r in kept)
        if not factors:
            return self._number_of(term, outside, gone, order)
        body = product_of(ring, factors)
        guards = self._guards(term, body)
        mentioned = {*coords(body), *(r for g in guards for r in coords(g))}
        absent = tuple(r for r in gone if r not in mentioned)
        sizes = self._sizes(absent, self._conditions(term)) if absent else ()
        made = self.reduce(name, body, guards, tuple(r for r in gone if r not in absent), order, mentioned)
        return Summand(term.sign, made, (*sizes, *outside), order)

    def reduce(self, name: str, body: Expr, guards: tuple[Expr, ...], gone: tuple[str, ...], kept: tuple[str, ...],
               mentioned: set[str], reduction: str | None = None) -> Access:
        """Adds a reduction of a body over ``gone``, which keeps the reduced ranks ``kept``; ``guards`` skip terms."""
        draft = self.draft
        ranks = tuple(r for r in (*self.line.output_ranks, *kept) if r in mentioned)
        guards = missing(draft.support, guards, body)
        op = reduction or self.parts.reduction
        head = sum_head(body, gone) if op == "sum" else Reduction(op, gone)
        return draft.define(name, ranks, body, head, conjunction(guards))

    def _guards(self, term: Term, body: Expr) -> tuple[Expr, ...]:
        """The predicates of a term: its own, and those that say where reads that it has lost were present."""
        support = self.draft.support
        known = support.of(body)
        guards = {k: c for k, c in support.predicates(term.guards).items() if k not in self.own}
        guards |= {k: c for k, c in self.present.items() if k not in known}
        return tuple(self.predicate(c) for c in guards.values())

    def predicate(self, condition: Condition) -> Expr:
        """Returns a condition as a predicate.

        Raises: IllegalRewriteError where it is none.
        """
        if not condition.is_predicate:
            raise IllegalRewriteError(f"tensor {self.line.name!r}: where its terms are present is not known as a "
                                      f"predicate, got {condition}; give that read a line of its own")
        return condition.expr

    def _conditions(self, term: Term) -> Conditions:
        """Where a term is present, beyond where the line is."""
        found = {**self.draft.support.predicates(term.guards), **self.present}
        return {k: c for k, c in found.items() if k not in self.own}

    def _sizes(self, absent: tuple[str, ...], conditions: Conditions) -> Signed:
        """The factors for ranks along which a term does not change: it counts once for each of their coordinates.

        Raises: IllegalRewriteError where it does not, or where not all of them are present.
        """
        if any(set(coords(c.expr)) & set(absent) for c in conditions.values()):
            raise IllegalRewriteError(f"tensor {self.line.name!r}: a term does not depend on rank {absent[0]!r}, but "
                                      "where it is present does, got a predicate on it; give the term a line of its "
                                      "own")
        head = reduction_operator(self.parts.reduction, self.draft.cascade)
        if head is not None and head.idempotent:
            return ()
        self._counting()
        return tuple((1, Extent(r.upper())) for r in absent)

    def _counting(self) -> str:
        """The reduction that counts what this one adds up."""
        found = next((n for n, r in REDUCTIONS.items() if r.merged_by == self.parts.reduction), None)
        if found is None:
            raise IllegalRewriteError(f"tensor {self.line.name!r}: a term does not depend on every rank that is "
                                      f"reduced, got it inside of {self.parts.reduction!r}; give it a line of its own")
        return found

    def _number_of(self, term: Term, outside: list[tuple[int, Expr]], gone: tuple[str, ...],
                   kept: tuple[str, ...]) -> Summand:
        """A term without inner factors, added up: as often as it is present."""
        conditions = self._conditions(term)
        moving = tuple(r for r in gone if any(r in coords(c.expr) for c in conditions.values()))
        sizes = self._sizes(tuple(r for r in gone if r not in moving), conditions)
        number = self.count(conditions, moving, kept) if moving else None
        return Summand(term.sign, number, (*sizes, *outside), kept)

    def count(self, conditions: Conditions, gone: tuple[str, ...], kept: tuple[str, ...] = ()) -> Access:
        """Adds the number of elements along some ranks that meet the conditions."""
        witness = self.witness(gone, conditions)
        guards = tuple(c.expr for c in conditions.values() if c.is_predicate)
        mentioned = {*coords(witness), *(r for g in guards for r in coords(g))}
        return self.reduce("C" + self.line.name, witness, guards, gone, kept, mentioned, self._counting())

    def witness(self, gone: tuple[str, ...], conditions: Conditions) -> Expr:
        """A read, or a product of reads, that moves along some ranks and is absent where no predicate says so."""
        draft = self.draft
        known = self._known_ranks(gone)
        reads = [a for a in self._leaves() if set(coords(a)) & set(gone) and set(coords(a)) <= known]
        whole = {k for k, c in conditions.items() if not c.is_predicate}
        for access in reads:
            if whole <= set(draft.support.of(access)) and set(gone) <= set(coords(access)):
                return access
        return product_of(self.parts.ring, [(1, a) for a in dict.fromkeys(reads)])

    def _known_ranks(self, gone: tuple[str, ...]) -> set[str]:
        """The ranks that a number of elements may depend on: all of the line's but those that it reduces otherwise."""
        return {r for r in self.line.ranks if r in gone or r not in self.reduced} | set(gone)

    def _leaves(self) -> list[Access]:
        found: list[Access] = []
        for term in self.parts.terms:
            for expr in (*(f for _, f in term.inner), *(e for p in term.phases for _, e in p.inner),
                         *(e for d in term.deviations for _, e in d.inner)):
                found += [a for a in outermost(expr) if a not in found]
        return found

    def _check_outer(self, factors: list[tuple[int, Expr]]) -> None:
        for _, factor in factors:
            loose = [k for k in self.draft.support.of(factor) if k not in self.own and k not in self.present]
            if loose:
                raise IllegalRewriteError(f"tensor {self.line.name!r}: a factor that may be absent cannot leave the "
                                          f"reduction, got it in {self.line.name}; filter the line as the factor is "
                                          "filtered")

    # --- the line itself ---

    def finish(self, summands: list[Summand]) -> None:
        """Replaces the line by what stands outside of the inner reductions."""
        ring, line, draft = self.parts.ring, self.line, self.draft
        direct = len(summands) == 1 and not self.parts.wrappers and not self.parts.is_mean and summands[0].sign > 0
        terms = []
        for summand in summands:
            factors = (*(((1, summand.numerator),) if summand.numerator is not None else ()), *summand.outer)
            expr = product_of(ring, factors)
            if summand.kept and not direct:
                ranks = tuple(r for r in line.output_ranks if r in coords(expr))
                expr = draft.define("P" + line.name, ranks, expr, Reduction(self.parts.reduction, summand.kept))
            terms.append((summand.sign, expr))
        body = sum_of(ring, terms)
        if self.parts.is_mean:
            assert ring.div is not None
            body = Call(ring.div, (body, self._number()))
        for wrapper in reversed(self.parts.wrappers):
            body = wrapper.around(body)
        kept = summands[0].kept if direct else ()
        op = self.parts.reduction
        head = None if not kept else sum_head(body, kept) if op == "sum" else Reduction(op, kept)
        draft.replace(Einsum(line.outputs, (body,), head, self.where(body), line.span))

    def where(self, body: Expr) -> Expr | None:
        """Returns the predicate that makes a body absent where the line was.

        Raises: IllegalRewriteError where none can.
        """
        known = self.draft.support.of(body)
        return conjunction(self.predicate(c) for k, c in self.own.items() if k not in known)

    def _number(self) -> Expr:
        if not self.present and self.line.where is None:
            sizes: Signed = tuple((1, Extent(r.upper())) for r in self.reduced)
            return product_of(self.parts.ring, sizes)
        return self.count(self.present, self.reduced)

def missing(support: Support, guards: Iterable[Expr], expr: Expr) -> tuple[Expr, ...]:
    """Returns the predicates that do not hold already wherever an expression is present."""
    known = support.of(expr)
    return tuple(c.expr for k, c in support.predicates(guards).items() if k not in known)


def phase_expr(phase: Phase, cascade: Cascade) -> Expr:
    """Returns ``op((inner + outer) * scale)``."""
    ring = ring_of(phase.plus, cascade)
    assert ring is not None
    return Call(phase.op, (product_of(ring, ((1, sum_of(ring, (*phase.inner, *phase.outer))), *phase.scale)),))


