"""Rebases mixtures on a reference: exponentials on a running maximum's last value, deviations on the mean.

``T[p] = sum[m] exp(S[p,m] - L[p]) * V[m]`` with any L becomes ``M[p] = max[m] S[p,m]; N[p] = sum[m] exp(S[p,m] - M[p])
* V[m]; T[p] = N[p] * exp(M[p] - L[p])``.

Legal for a map that is declared a homomorphism from sums to products, and monotone, so that the maximum bounds it: the
map is never split into exp(S) / exp(L), which would overflow. Powers of a deviation x - L are rebased on the mean of x,
since polynomials are closed under translation: (x - L)**2 = (x - C)**2 + 2 (x - C) (C - L) + (C - L)**2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import comb

from einsum_cascades.ir import Access, Call, Cascade, Expr, Num, coords
from einsum_cascades.rewrites.algebra import Signed, product_of, ring_of, sum_of
from einsum_cascades.rewrites.assembly import Assembly, Summand
from einsum_cascades.rewrites.defer import free_of
from einsum_cascades.rewrites.draft import Draft
from einsum_cascades.rewrites.editing import reductions
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.rewrites.references import Reference, References
from einsum_cascades.rewrites.separation import separation
from einsum_cascades.rewrites.terms import Deviation, Phase, Term
from einsum_cascades.structure import structure

NAME = "rebase"


def rebase(cascade: Cascade, tensor: str, rank: str, is_outer: Callable[[Access], bool] | None = None, *,
           only_if_needed: bool = False) -> Cascade:
    """Returns the cascade with the mixtures of a reduction over ``rank`` about references that bound or centre them.

    ``only_if_needed`` is whether a reduction with factors to defer, and references that bound it already, is refused
    too.

    Raises: IllegalRewriteError where it has none, or all are about such references already.
    """
    line = structure(cascade).producers[tensor]
    parts = separation(cascade, line, rank, is_outer or free_of(cascade, rank))
    draft = Draft(cascade)
    draft.begin(tensor)
    made = Rebasing(Assembly(draft, parts))
    if not parts.mixes or not (made.changes or parts.defers and not only_if_needed):
        raise IllegalRewriteError(f"tensor {tensor!r}: nothing is to be rebased along {rank!r}, got "
                                  f"{'references that bound it already' if parts.mixes else 'no mixture'}; choose "
                                  "another tensor")
    made.assembly.finish(made.summands)
    return draft.finish()


class Rebasing:
    """The lines of one reduction about its references."""

    def __init__(self, assembly: Assembly) -> None:
        self.assembly, self.references = assembly, References(assembly)
        self.changes = assembly.parts.is_mean or len(assembly.parts.terms) > 1
        self.name = assembly.line.name
        self.summands = [s for term in assembly.parts.terms for s in self._term(term)]

    def _term(self, term: Term) -> list[Summand]:
        assembly = self.assembly
        outer = list(term.outer)
        phases: list[Expr] = []
        about: set[str] = set()
        for phase in term.phases:
            found = self.references.of_phase(phase, term)
            if found.rest:
                self.changes = True
                outer.append((1, self._correction(phase, found)))
            about |= set(coords(found.access))
            inner, beyond = found.inner(phase.inner)
            phases.append(assembly.phase(replace(phase, inner=inner, outer=beyond), term.guards, "W" + self.name))
        summands = []
        expansion = self._powers(term)
        about |= {r for _, _, powers in expansion for _, _, reference in powers for r in coords(reference)}
        # What is summed about a reference has to keep the ranks of the reference.
        keep = frozenset(about & {*assembly.reduced, *term.ranks})
        self.changes = self.changes or bool(keep)
        for sign, factors, powers in expansion:
            moved = replace(term, outer=(*outer, *factors), sign=term.sign * sign)
            if len(powers) == 1 and not phases and not term.inner and powers[0][1] == 1 \
                    and not any(set(coords(f)) & {*assembly.reduced, *term.ranks} for _, f in moved.outer):
                # The deviations from a mean over all reduced ranks add up to 0.
                continue
            deviations = [d for d, count, _ in powers for _ in range(count)]
            summands.append(assembly.numerator(moved, (*phases, *deviations), "N" + self.name, keep))
        return summands

    def _correction(self, phase: Phase, found: Reference) -> Expr:
        ring = ring_of(phase.plus, self.assembly.draft.cascade)
        assert ring is not None
        return Call(phase.op, (product_of(ring, ((1, sum_of(ring, found.rest)), *phase.scale)),))

    def _powers(self, term: Term) -> list[tuple[int, Signed, list[tuple[Expr, int, Access]]]]:
        """The expansion of a product of powers of deviations about their references."""
        ring = self.assembly.parts.ring
        counts: dict[Deviation, int] = {}
        for deviation in term.deviations:
            counts[deviation] = counts.get(deviation, 0) + 1
        found: list[tuple[int, Signed, list[tuple[Expr, int, Access]]]] = [(1, (), [])]
        for deviation, count in counts.items():
            reference = self.references.of_deviation(deviation, term)
            about = sum_of(ring, (*deviation.inner, (-1, reference.access)))
            if reference.rest or reference.access not in [e for _, e in deviation.outer]:
                self.changes = True
            lowest = count if not reference.rest else 0
            shift = sum_of(ring, reference.rest) if reference.rest else Num(ring.zero)
            found = [(sign, (*factors, *_coefficient(comb(count, j)), *(((1, shift),) * (count - j))),
                      [*powers, *([(about, j, reference.access)] if j else [])])
                     for sign, factors, powers in found for j in range(lowest, count + 1)]
        return found


def _coefficient(number: int) -> Signed:
    return () if number == 1 else ((1, Num(float(number))),)

apply = rebase
candidates = reductions
