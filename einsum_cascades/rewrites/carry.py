"""Carries a sum about a running reference: what was summed so far is corrected when the reference moves.

``SD[p] = exp(S[p,m1,m0] - RM[M1,p])``, where ``RM`` is the running maximum of ``S`` over ``m1``, becomes ::

    LSD[m1,p]   = exp(S[p,m1,m0] - RM[m1+1,p])
    RSD[m1+1,p] = LSD[m1,p] + RSD[m1,p] * exp(RM[m1,p] - RM[m1+1,p])
    SD[p]       = RSD[M1,p]

Legal for a sum of a product of what is known in the sweep with mixtures that are closed under a change of reference:
maps that are declared homomorphisms from sums to products, f(s - r') = f(s - r) * f(r - r'), about a running bound of s
(so that neither factor exceeds 1), and powers of deviations, (x - r')**k = sum over j of C(k,j) (r - r')**(k-j) (x -
r)**j, about any running value. Moments below the k-th are carried too; the first about a running mean is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product as all_pairs
from math import comb

from einsum_cascades.analysis.presence import conjuncts
from einsum_cascades.ir import Access, Call, Cascade, Coord, Einsum, Expr, Extent, Num, Reduction, coords, unique
from einsum_cascades.operators import REDUCTIONS, map_operator, reduction_operator
from einsum_cascades.printing import expr_text
from einsum_cascades.rewrites.algebra import is_upper_bound, product_of, reduction_by, ring_of, sum_of
from einsum_cascades.rewrites.assembly import Assembly, missing
from einsum_cascades.rewrites.canonical import Key
from einsum_cascades.rewrites.draft import Draft, following
from einsum_cascades.rewrites.editing import bare_ranks, conjunction, coordinates, reductions, substitute, sum_head
from einsum_cascades.rewrites.iterate import elements, moved_mean, presence, step_elements
from einsum_cascades.rewrites.legality import IllegalRewriteError
from einsum_cascades.rewrites.separation import Separation, separation
from einsum_cascades.rewrites.terms import Deviation, Phase
from einsum_cascades.structure import structure

NAME = "carry"


def carry(cascade: Cascade, tensor: str, rank: str, references: frozenset[str] | None = None) -> Cascade:
    """Returns the cascade with a sum over ``rank`` carried about the running references that it reads the last slots
    of.

    ``references`` names the iterative tensors that are such; without it, all that iterate over the rank.

    Raises: IllegalRewriteError where it reads none, or mixes them in another way.
    """
    found = structure(cascade)
    line = found.producers[tensor]
    last = Extent(rank.upper())

    def is_outer(access: Access) -> bool:
        own = found.iterative.get(access.tensor)
        return own is not None and own.rank == rank and own.step == 1 and access.indices[own.dimension] == last \
            and (references is None or access.tensor in references)

    parts = separation(cascade, line, rank, is_outer, multiply_out=False)
    if parts.is_mean or parts.wrappers or len(parts.terms) != 1 or parts.terms[0].outer or not parts.mixes \
            or parts.terms[0].sign < 0 or parts.terms[0].ranks:
        raise IllegalRewriteError(f"tensor {tensor!r}: it is no sum of one product about running references over "
                                  f"{rank!r}, got {len(parts.terms)} term{'s' if len(parts.terms) != 1 else ''}; "
                                  "defer its factors and rebase it first")
    draft = Draft(cascade)
    draft.begin(tensor)
    made = _Carry(draft, parts, rank)
    total = made.state(made.powers)
    value = Access(total, (last, *coordinates(made.ranks)))
    draft.replace(Einsum(line.outputs, (value,), None, presence(draft, line), line.span))
    return draft.finish()


@dataclass(frozen=True)
class _Mixture:
    """A phase or a deviation about ``sign * reference``, whose dimension number ``dimension`` iterates."""

    parts: Phase | Deviation
    sign: int
    reference: Access
    dimension: int

    def at(self, slot: Expr) -> Access:
        """The reference in a slot."""
        return replace(self.reference, indices=tuple(slot if d == self.dimension else i
                                                     for d, i in enumerate(self.reference.indices)))


class _Carry:
    def __init__(self, draft: Draft, parts: Separation, rank: str) -> None:
        self.draft, self.parts, self.rank, self.line = draft, parts, rank, parts.line
        self.term = parts.terms[0]
        self.assembly = Assembly(draft, parts)
        self.ranks = tuple(r for r in self.line.output_ranks)
        self.phases = [self._mixture(p) for p in self.term.phases]
        for mixture in self.phases:
            self._check_bound(mixture)
        counts: dict[Deviation, int] = {}
        for deviation in self.term.deviations:
            counts[deviation] = counts.get(deviation, 0) + 1
        self.deviations = [self._mixture(d) for d in counts]
        self.powers = tuple(counts.values())
        self.states: dict[tuple[int, ...], str] = {}

    # --- legality ---

    def _mixture(self, parts: Phase | Deviation) -> _Mixture:
        own = structure(self.draft.cascade).iterative
        if len(parts.outer) != 1 or not isinstance(parts.outer[0][1], Access) or parts.outer[0][1].tensor not in own:
            raise IllegalRewriteError(f"tensor {self.line.name!r}: a mixture is not about one running value alone, got "
                                      f"{len(parts.outer)} outer terms; rebase it first")
        sign, reference = parts.outer[0]
        assert isinstance(reference, Access)
        if not set(coords(reference)) <= set(self.ranks):
            raise IllegalRewriteError(f"tensor {self.line.name!r}: it reduces ranks of its reference, got "
                                      f"{reference.tensor!r} with {', '.join(coords(reference))}; keep them, and "
                                      "reduce them after")
        return _Mixture(parts, -sign, reference, own[reference.tensor].dimension)

    def _check_bound(self, mixture: _Mixture) -> None:
        """A phase must be about a running bound of what it is a phase of."""
        phase = mixture.parts
        assert isinstance(phase, Phase)
        operator, ring = map_operator(phase.op, self.draft.cascade), ring_of(phase.plus, self.draft.cascade)
        assert operator is not None
        assert ring is not None
        side = operator.monotone[0] if operator.monotone else 0
        inner = sum_of(ring, tuple((side * s, e) for s, e in phase.inner))
        bound = self._running_bound(mixture.reference.tensor)
        if side and bound is not None:
            op, body, where = bound
            head = reduction_operator(op, self.draft.cascade)
            upper = is_upper_bound(head, self.draft.cascade)
            wanted = inner if upper else sum_of(ring, ((-1, inner),))
            if (mixture.sign * side > 0) == upper and self._covers(body, where, wanted, mixture):
                return
        raise IllegalRewriteError(f"tensor {self.line.name!r}: {phase.op!r} is not about a running bound of its "
                                  f"operand, got {mixture.reference.tensor!r}; rebase it on the running maximum first")

    def _running_bound(self, tensor: str) -> tuple[str, Expr, Expr | None] | None:
        """Of a running value R[r+1] = op(R[r], x): the reduction of op, x, and where x is taken."""
        line = self.draft.producers[tensor]
        body = line.body
        if not isinstance(body, Call) or len(body.args) != 2 or line.reduced_ranks:
            return None
        op = reduction_by(body.op, self.draft.cascade)
        own, rest = body.args
        if isinstance(rest, Access) and rest.tensor == tensor:
            own, rest = rest, own
        if op is None or not isinstance(own, Access) or own.tensor != tensor:
            return None
        return op, rest, line.where

    def _covers(self, body: Expr, where: Expr | None, wanted: Expr, mixture: _Mixture) -> bool:
        reference = self.draft.producers[mixture.reference.tensor].output
        table = {i.rank: mixture.reference.indices[d] for d, i in enumerate(reference.indices) if isinstance(i, Coord)}
        body = substitute(body, table)
        predicates = [substitute(c, table) for c in conjuncts(where)]
        if self._over(body, (), predicates, wanted):
            return True
        line = self.draft.producers.get(body.tensor) if isinstance(body, Access) else None
        names = bare_ranks(line.output) if line is not None else None
        if not isinstance(body, Access) or line is None or line.reduction is None or names is None:
            return False
        # A local reduction covers what it goes over.
        inside = dict(zip(names, body.indices, strict=True))
        predicates += [substitute(c, inside) for c in conjuncts(line.where)]
        return self._over(substitute(line.body, inside), line.reduction.ranks, predicates, wanted)

    def _over(self, body: Expr, free: tuple[str, ...], predicates: Sequence[Expr], wanted: Expr) -> bool:
        """Whether elements are those that are wanted, at least wherever the line has any."""
        matched = self.draft.canon.unify(body, free, wanted)
        if matched is None:
            return False
        support = self.draft.support
        known = {**self.assembly.present, **self.assembly.own, **support.predicates(self.term.guards)}
        return support.predicates(substitute(c, matched) for c in predicates).keys() <= known.keys()

    # --- states ---

    def state(self, powers: tuple[int, ...]) -> str:
        """Adds the running sum with deviations to these powers and returns its name."""
        if powers in self.states:
            return self.states[powers]
        ring = self.parts.ring
        below = [(p, self._before(p)) for p in _below(powers) if not self._vanishes(p)]
        ranks = self._ranks(powers)
        step = self._local(powers, ranks)
        name = self.line.name if powers == self.powers else f"{self.line.name}{''.join(map(str, powers))}"

        def body(fresh: str) -> Expr:
            terms: list[tuple[int, Expr]] = [(1, step)]
            for lower, slot in ((powers, self._slot(fresh, powers)), *below):
                terms.append((1, product_of(ring, ((1, slot), *self._correction(lower, powers)))))
            return sum_of(ring, terms)
        self.states[powers] = self.draft.iterate("R" + name, self.rank, ranks, body, ring.zero)
        return self.states[powers]

    def _before(self, powers: tuple[int, ...]) -> Expr:
        """The moment to these powers before the step."""
        if not any(powers) and not self.phases and not self.term.inner:
            number = elements(self.draft, self.line, self.rank, Coord(self.rank))
            if number is not None:
                return number
        return self._slot(self.state(powers), powers)

    def _slot(self, name: str, powers: tuple[int, ...]) -> Access:
        return Access(name, (Coord(self.rank), *coordinates(self._ranks(powers))))

    def _ranks(self, powers: tuple[int, ...]) -> tuple[str, ...]:
        """The ranks that moments to these powers depend on; the sum itself has all of its line's."""
        if powers == self.powers:
            return self.ranks
        known = [e for _, e in self.term.inner] + list(self.term.guards)
        known += [c.expr for c in self.assembly.present.values()]
        for mixture in (*self.phases, *(m for m, p in zip(self.deviations, powers, strict=True) if p)):
            known += [mixture.reference, *(e for _, e in mixture.parts.inner)]
        if not self.phases and not self.term.inner and not any(powers):
            known.append(self.assembly.witness(self.line.reduced_ranks, self.assembly.present))
        mentioned = {r for e in known for r in coords(e)}
        return tuple(r for r in self.ranks if r in mentioned)

    def _vanishes(self, powers: tuple[int, ...]) -> bool:
        """Whether these moments are 0: the first about a running mean, of elements without weights."""
        if sum(powers) != 1 or self.phases or self.term.inner:
            return False
        (mixture,) = [m for m, p in zip(self.deviations, powers, strict=True) if p]
        return self._is_running_mean(mixture)

    def _is_running_mean(self, mixture: _Mixture) -> bool:
        line = self.draft.producers[mixture.reference.tensor]
        ring = self.parts.ring
        # It has to be what makes a mean iterative: the same expression of the same parts.
        before = Access(line.name, (Coord(self.rank), *line.output.indices[1:]))
        match line.body:
            case Call(args=(_, Call(args=(Call(args=(step, _)), number)))):
                pass
            case _:
                return False
        added = step_elements(self.draft, self.line, self.rank)
        known = elements(self.draft, self.line, self.rank, following(self.rank))
        if known is None or added is None or not self.draft.canon.same(number, known):
            bound = self._running_bound(number.tensor) if isinstance(number, Access) else None
            if bound is None or bound[0] != self.parts.reduction \
                    or not self._adds_up(bound[1], self.parts.reduction, mixture):
                return False
            added = bound[1]
        wanted = moved_mean(ring, before, step, added, number)
        return self._adds_up(step, "", mixture) and self.draft.canon.same(line.body, wanted)

    def _adds_up(self, step: Expr, merged_by: str, mixture: _Mixture) -> bool:
        """Whether a step is the sum of what deviates over the other ranks, or (merged by it) the number of that."""
        deviation = mixture.parts
        assert isinstance(deviation, Deviation)
        inner = sum_of(self.parts.ring, deviation.inner)
        local = self.draft.producers.get(step.tensor) if isinstance(step, Access) else None
        if local is None or {self.rank} == set(self.line.reduced_ranks):
            return not merged_by and self._covers(step, None, inner, mixture)
        head = REDUCTIONS.get(local.reduction.op if local.reduction is not None else "sum")
        return head is not None and head.merged_by == merged_by \
            and {self.rank, *local.reduced_ranks} == set(self.line.reduced_ranks) \
            and self._covers(step, None, inner, mixture)

    def _local(self, powers: tuple[int, ...], ranks: tuple[str, ...]) -> Expr:
        """Returns what one coordinate of the rank adds: the sum over the other ranks, about the reference after it."""
        ring, line = self.parts.ring, self.line
        after = following(self.rank)
        factors: list[tuple[int, Expr]] = []
        for mixture in self.phases:
            phase = mixture.parts
            assert isinstance(phase, Phase)
            moved = replace(phase, outer=((-mixture.sign, mixture.at(after)),))
            factors.append((1, self.assembly.phase(moved, self.term.guards, "L" + self._origin(phase))))
        for mixture, power in zip(self.deviations, powers, strict=True):
            deviation = mixture.parts
            assert isinstance(deviation, Deviation)
            if power:
                expr = sum_of(ring, (*deviation.inner, (-1 * mixture.sign, mixture.at(after))))
                own = tuple(r for r in line.ranks if r in coords(expr))
                factors += [(1, self.draft.define("D" + line.name, own, expr))] * power
        factors += list(self.term.inner)
        conditions = {**self.draft.support.predicates(self.term.guards), **self.assembly.present}
        guards = tuple(c.expr for c in conditions.values() if c.is_predicate)
        name = "L" + (line.name if powers == self.powers else f"{line.name}{''.join(map(str, powers))}")
        others = tuple(r for r in line.reduced_ranks if r != self.rank)
        if not factors:
            counting = next(n for n, r in REDUCTIONS.items() if r.merged_by == self.parts.reduction)
            witness = self.assembly.witness(line.reduced_ranks, self.assembly.present)
            return self._reduced(name, witness, guards, others, counting, ranks)
        inside = [f for f in factors if set(coords(f[1])) & set(others)]
        outside = [f for f in factors if f not in inside] if inside else []
        body = product_of(ring, inside or factors)
        outside += self._times(others, {r for e in (body, *guards) for r in coords(e)})
        # What the other ranks do not move is applied once, to their sum.
        made = self._reduced(name, body, guards, others, self.parts.reduction, tuple(
            r for r in ranks if not outside or r in coords(body) or any(r in coords(g) for g in guards)))
        return product_of(ring, ((1, made), *outside))

    def _times(self, others: tuple[str, ...], mentioned: set[str]) -> list[tuple[int, Expr]]:
        """What a moment counts for along ranks that it does not depend on: each of their elements."""
        missing = tuple(r for r in others if r not in mentioned)
        if any(set(coords(c.expr)) & set(missing) for c in self.assembly.present.values()):
            raise IllegalRewriteError(f"tensor {self.line.name!r}: a moment does not depend on rank {missing[0]!r}, "
                                      "but where it is present does, got a predicate on it; give it a line of its own")
        return [(1, Extent(r.upper())) for r in missing]

    def _reduced(self, name: str, body: Expr, guards: Sequence[Expr], others: tuple[str, ...], op: str,
                 kept: tuple[str, ...]) -> Access:
        draft = self.draft
        ranks = (self.rank, *kept)
        rest = missing(draft.support, guards, body)
        self._check_steps({*draft.support.of(body), *draft.support.predicates(rest)})
        if not others:
            if op != self.parts.reduction:
                raise IllegalRewriteError(f"tensor {self.line.name!r}: elements are counted one by one, got rank "
                                          f"{self.rank!r} alone; partition the rank first")
            return draft.define(name, ranks, body, None, conjunction(rest))
        others = tuple(r for r in others if r in {s for e in (body, *rest) for s in coords(e)})
        if not others:
            raise IllegalRewriteError(f"tensor {self.line.name!r}: a moment depends on none of the ranks that it is "
                                      f"summed over, got {expr_text(body)}; give it a line of its own")
        head = sum_head(body, others) if op == "sum" else Reduction(op, others)
        return draft.define(name, ranks, body, head, conjunction(rest))

    def _check_steps(self, conditions: set[Key]) -> None:
        """Where a step adds nothing at all, the sum is not corrected: no reference may move there."""
        ranks = {self.rank, *self.ranks}
        known = {**self.assembly.present, **self.assembly.own, **self.draft.support.predicates(self.term.guards)}
        along = {k: set(coords(known[k].expr)) for k in conditions if k in known}
        still = {k for k, mentioned in along.items() if self.rank in mentioned and mentioned <= ranks}
        for mixture in (*self.phases, *self.deviations):
            if still - self._still(mixture):
                raise IllegalRewriteError(f"tensor {self.line.name!r}: a step that adds nothing would miss a "
                                          f"correction, got a predicate that {mixture.reference.tensor!r} does not "
                                          "have; filter both alike")

    def _still(self, mixture: _Mixture) -> set[Key]:
        """The conditions under which a reference moves, in the line's ranks."""
        line = self.draft.producers[mixture.reference.tensor]
        table = {i.rank: mixture.reference.indices[d] for d, i in enumerate(line.output.indices)
                 if isinstance(i, Coord)}
        found = self.draft.support.of_terms(line)
        for access in line.reads:
            inner = self.draft.producers.get(access.tensor)
            if access.tensor in self.draft.iterative and inner is not None and access.tensor != line.name:
                found |= self.draft.support.of_terms(inner)
        return set(self.draft.support.keyed(c.moved(table) for c in found.values()))

    def _origin(self, phase: Phase) -> str:
        """The name of the tensor that held the phase about the last reference, or the line's own."""
        from einsum_cascades.rewrites.assembly import phase_expr
        expr = phase_expr(phase, self.draft.cascade)
        for line in self.draft.einsums:
            if line.reduction is None and not line.reduced_ranks and len(line.outputs) == 1 and set(
                    line.output_ranks) == set(coords(expr)) and self.draft.canon.same(line.output, expr):
                return line.name
        return self.line.name

    def _correction(self, lower: tuple[int, ...], powers: tuple[int, ...]) -> tuple[tuple[int, Expr], ...]:
        """Factors by which a moment before the step enters another after it."""
        ring = self.parts.ring
        before, after = Coord(self.rank), following(self.rank)
        factors: list[tuple[int, Expr]] = []
        for mixture in self.phases:
            phase = mixture.parts
            assert isinstance(phase, Phase)
            own = ring_of(phase.plus, self.draft.cascade)
            assert own is not None
            shift = sum_of(own, ((mixture.sign, mixture.at(before)), (-mixture.sign, mixture.at(after))))
            expr = Call(phase.op, (product_of(own, ((1, shift), *phase.scale)),))
            ranks = tuple(r for r in unique((self.rank, *self.ranks)) if r in coords(expr))
            factors.append((1, self.draft.define("P" + mixture.reference.tensor.removeprefix("R"), ranks, expr)))
        for mixture, low, high in zip(self.deviations, lower, powers, strict=True):
            if low == high:
                continue
            shift = sum_of(ring, ((mixture.sign, mixture.at(before)), (-mixture.sign, mixture.at(after))))
            ranks = tuple(r for r in unique((self.rank, *self.ranks)) if r in coords(shift))
            made = self.draft.define("P" + mixture.reference.tensor.removeprefix("R"), ranks, shift)
            factors += [(1, made)] * (high - low)
            if comb(high, low) > 1:
                factors.append((1, Num(float(comb(high, low)))))
        return tuple(factors)


def _below(powers: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The powers below, the lowest first, without the powers themselves."""
    return [p for p in all_pairs(*(range(k + 1) for k in powers)) if p != powers]

apply = carry
candidates = reductions
